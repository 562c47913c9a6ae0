"""Experiments on layers: their similarity across tasks, agreement with transfer, and most similar tasks."""

import functools
import itertools
from typing import NamedTuple

import numpy as np

from jaxsim import engine, measures
from jaxsim.studies.reproduce import figures, rankings
from jaxsim.studies.reproduce.settings import Outcome, Setting

ENCODER = "class_object"
"""Encoder whose layers `layer_types` compares; the paper's was trained on ImageNet's object classes."""
EARLY, LATE = "2d", "semantic"
"""Groups of tasks expected to be most similar to earlier and to later layers."""


class Layer(NamedTuple):
    """A row of the table of `depth`: features per image, and means over pairs of tasks and over targets."""

    layer: str
    features: int | None
    mean_similarity: float
    correlation_without_self: float
    correlation_with_self: float


def depth(setting: Setting) -> Outcome:
    """Compare RSA at every layer, and of the labels, across tasks and with transfer (RSA 2019, fig. 5).

    The labels of a task are its targets for the same pictures, images at half size; they do not count as a layer.
    Transfer is measured from the last layer, which favors that layer's agreement with transfer.

    Raises:
        ValueError: the setting has only one layer, or no labels.
    """
    if len(setting.features) < 2:
        raise ValueError("depth needs features of several layers, but the setting has one.")
    if setting.labels is None:
        raise ValueError("depth needs the tasks' own targets of the pictures: a setting with labels.")
    rows = []
    for layer, features in (*setting.features.items(), ("labels", setting.labels)):
        features = setting.ordered(features)
        affinity = engine.affinity(features, measures.RSA)
        off = np.asarray(affinity.values, dtype=float)[~np.eye(len(affinity.names), dtype=bool)]
        shapes = {int(np.prod(values.shape[1:])) for values in features.values()}
        size = shapes.pop() if len(shapes) == 1 else None
        scores = [rankings.agreement(affinity, setting, diagonal=d).mean for d in (False, True)]
        rows.append(Layer(layer, size, float(np.nanmean(off)), *scores))
    *layers, labels = rows
    first, last = layers[0], layers[-1]
    best = max(layers, key=lambda row: row.correlation_without_self)
    drawn = [*layers, Layer("", None, np.nan, np.nan, np.nan), labels]
    return Outcome(
        source="RSA 2019, figure 5",
        claim="First layers are alike whatever the task; with depth tasks part, and the code tells most of transfer.",
        criterion="different tasks are less similar at the last layer than at the first, and the last layer's mean "
        "correlation with transfer, without self, is the highest of all layers",
        paper="all similarities very high at block 1 and falling with depth, clusters only in the code; low between "
        "labels, which group by their form (by eye)",
        here="mean similarity "
        + _along(first, last, labels, "mean_similarity")
        + "; correlation with transfer "
        + _along(first, last, labels, "correlation_without_self")
        + f", highest at {best.layer} ({best.correlation_without_self:.2f})",
        holds=bool(last.mean_similarity < first.mean_similarity and best is last),
        header=Layer._fields,
        rows=tuple(rows),
        draw=functools.partial(
            figures.lines,
            [row.layer for row in drawn],
            {
                "similarity of different tasks": [row.mean_similarity for row in drawn],
                "correlation with transfer": [row.correlation_without_self for row in drawn],
            },
            "layer",
            "mean over tasks",
        ),
    )


def _along(first: Layer, last: Layer, labels: Layer, field: str) -> str:
    """Format a field at the first and last layer and of the labels."""
    values = [getattr(row, field) for row in (first, last, labels)]
    return f"{values[0]:.2f} at {first.layer}, {values[1]:.2f} at {last.layer}, {values[2]:.2f} of labels"


def layer_types(setting: Setting) -> Outcome:
    """Compare every layer of one encoder with the codes of other tasks by DDS (DDS 2020, fig. 3 and 4).

    The p value is exact, over all exchanges of tasks between the two groups; with two tasks in a group there are few.

    Raises:
        ValueError: the setting has only one layer, or lacks the encoder or a task of either group.
    """
    if len(setting.features) < 2:
        raise ValueError("layers needs features of several layers, but the setting has one.")
    if ENCODER not in setting.truth.sources:
        raise ValueError(f"layers compares the layers of {ENCODER}, which is not a source of measured transfer.")
    codes = {name: code for name, code in setting.code.items() if name != ENCODER}
    seen = {layer: np.asarray(features[ENCODER]) for layer, features in setting.features.items()}
    names, scores = list(seen), engine.affinity(seen, measures.DDS_LAPLACIAN, against=codes)
    values = np.asarray(scores.values, dtype=float).T
    groups = [setting.grouped[name] for name in codes]
    best = np.argmax(values, axis=1)
    lacking = [group for group in (EARLY, LATE) if group not in groups]
    if lacking:
        raise ValueError(f"layers compares {EARLY} tasks with {LATE} ones; there are none of group {lacking[0]}.")
    rows = [(name, groups[i], *values[i].tolist(), names[best[i]]) for i, name in enumerate(codes)]
    depths = {group: 1 + float(np.mean(best[np.array(groups) == group])) for group in dict.fromkeys(groups)}
    p, exchanges = _exchanged(best, np.array(groups))
    means = {
        group: [float(np.mean(values[np.array(groups) == group, k])) for k in range(len(names))] for group in depths
    }
    return Outcome(
        source="DDS 2020, figures 3 and 4",
        claim="Early layers of one encoder are most similar to low-level tasks, late layers to semantic ones.",
        criterion=f"the layer most similar to a task is on average earlier for {EARLY} than for {LATE} tasks, "
        f"exact permutation p < {rankings.LEVEL}",
        paper="block 1 of a ResNet-50 trained on ImageNet is nearest to 2D tasks, block 3 to 3D, block 4 to semantic "
        "ones",
        here=f"most similar layer of {ENCODER}'s {len(names)}, mean: "
        + ", ".join(f"{group} {value:.1f}" for group, value in depths.items())
        + f" ({EARLY} before {LATE}: p = {p:.3g}, {exchanges} exchanges of tasks)",
        holds=bool(depths[EARLY] < depths[LATE] and p < rankings.LEVEL),
        header=("task", "group", *names, "most_similar"),
        rows=tuple(rows),
        draw=functools.partial(
            figures.lines,
            names,
            means,
            f"layer of the encoder for {ENCODER}",
            "DDS with codes, mean of the group",
        ),
    )


def _exchanged(best: np.ndarray, groups: np.ndarray) -> tuple[float, int]:
    """Exact p value of the difference in mean layer between the groups, and the number of exchanges of their tasks."""
    best, late = best[(groups == EARLY) | (groups == LATE)], groups[(groups == EARLY) | (groups == LATE)] == LATE
    count = int(late.sum())
    sums = np.array([best[list(places)].sum() for places in itertools.combinations(range(len(best)), count)])
    return float(np.mean(sums >= best[late].sum())), len(sums)
