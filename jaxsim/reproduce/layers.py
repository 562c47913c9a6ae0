"""Depth: how much each layer says of the task and of transfer."""

import functools

import numpy as np

from jaxsim import engine, measures
from jaxsim.reproduce import figures, judging
from jaxsim.reproduce.outcomes import Outcome
from jaxsim.reproduce.settings import Setting


def depth(setting: Setting) -> Outcome:
    """RSA at every layer: mean similarity of different tasks, and agreement with transfer (RSA 2019, fig. 5).

    Raises:
        ValueError: the setting holds one layer only.
    """
    if len(setting.features) < 2:
        raise ValueError("depth needs features of several layers, and the setting holds one.")
    rows = []
    for layer, features in setting.features.items():
        features = setting.ordered(features)
        affinity = engine.affinity(features, measures.RSA)
        off = np.asarray(affinity.values, dtype=float)[~np.eye(len(affinity.names), dtype=bool)]
        size = int(np.prod(next(iter(features.values())).shape[1:]))
        scores = [judging.agreement(affinity, setting, diagonal=d).mean for d in (False, True)]
        rows.append((layer, size, float(off.mean()), *scores))
    first, last = rows[0], rows[-1]
    best = max(rows, key=lambda row: row[3])
    return Outcome(
        "depth",
        "RSA 2019, figure 5",
        "First layers are alike whatever the task; with depth tasks part, and the code tells most of transfer.",
        "different tasks are less similar at the last layer than at the first, and the last layer's mean correlation "
        "with transfer, without self, is the highest",
        "all similarities very high at block 1 and falling with depth, clusters only in the code (by eye)",
        f"mean similarity {first[2]:.2f} at {first[0]}, {last[2]:.2f} at {last[0]}; correlation with transfer "
        f"{first[3]:.2f} at {first[0]}, {last[3]:.2f} at {last[0]}, highest at {best[0]} ({best[3]:.2f})",
        bool(last[2] < first[2] and best is last),
        ("layer", "features", "mean_similarity", "correlation_without_self", "correlation_with_self"),
        tuple(rows),
        functools.partial(
            figures.lines,
            [row[0] for row in rows],
            {
                "similarity of different tasks": [row[2] for row in rows],
                "correlation with transfer": [row[3] for row in rows],
            },
            "layer",
            "mean over tasks",
        ),
    )
