"""Experiment on the layer to branch from: the one with the highest similarity, and the best one by training."""

import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jaxsim import measures
from jaxsim.io.files import finite
from jaxsim.studies.reproduce import figures, rankings
from jaxsim.studies.reproduce.layers import ENCODER
from jaxsim.studies.reproduce.model_cache import ModelCache
from jaxsim.studies.reproduce.settings import Outcome, Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxsim.studies.branching import Branches

SEED = 4_000_000
"""Seed of the pictures of branches; the seeds of other experiments are near 2 and 3 million."""
TASKS, TASKS_QUICK = ("edge", "normals", "semantic", "scene"), ("normals", "semantic")
AMOUNTS = {"pictures": 1000, "epochs": 6, "seeds": 3}
AMOUNTS_QUICK = {"pictures": 64, "epochs": 2, "seeds": 1}
RATE, BATCH = 3e-3, 16
RIGHT = 0.75
"""Share of the tasks for which the recommended layer must be the best."""


class Point(NamedTuple):
    """A row of the table of `branches`: a layer for a task.

    Metrics are means and standard deviations over seeds; `equal_view` is the similarity of maps averaged to one grid.
    """

    task: str
    layer: str
    metric: str
    mean: float
    standard_deviation: float | None
    best: bool
    similarity: float
    recommended: bool
    equal_view: float
    recommended_by_equal_view: bool


def branches(setting: Setting) -> Outcome:
    """Train branches from every layer of the object network, and compare them with the layers of highest DDS.

    Each branch is the encoder up to a layer with a decoder, trained as a whole (DDS 2020, section 6.5, figure 4 and
    table 5). None starts from the code, which has few channels. The layers are compared with the bank's networks for
    the tasks, both directly and with equal view, because a feature of an early layer describes a smaller part of the
    picture.

    Raises:
        ValueError: the setting has no workshop, or the bank lacks the encoder of objects or a network of a task.
        ImportError: scikit-image is not installed.
    """
    shop = rankings.workshop(setting, "branches")
    if ENCODER not in shop.bank:
        raise ValueError(f"branches compares the layers of {ENCODER}, which the bank lacks.")
    plain, equal = _trained(shop, setting)
    best, chosen, of_equal = plain.best, plain.recommended, equal.recommended
    if lacking := [task.name for task in plain.tasks if task.name not in chosen]:
        raise ValueError(f"no layer is recommended for {', '.join(lacking)}, whose network the bank lacks.")
    rows = [
        Point(
            task.name,
            layer,
            task.kind.label,
            float(plain.mean[i, t]),
            finite(float(plain.deviation[i, t])),
            best.get(task.name) == layer,
            float(plain.scores.mean(0)[i, t]),
            chosen[task.name] == layer,
            float(equal.scores.mean(0)[i, t]),
            of_equal.get(task.name) == layer,
        )
        for t, task in enumerate(plain.tasks)
        for i, layer in enumerate(plain.layers)
    ]
    count = len(plain.tasks)
    right = len(plain.agreeing)
    return Outcome(
        source="DDS 2020, figure 4 and table 5",
        claim="The layer that is most similar to a task's network is the best one to branch from for that task.",
        criterion=f"the recommended layer has the best mean metric for at least {RIGHT:.0%} of the tasks",
        paper="block 1 for edges, 3 for normals and depth, 4 for semantic segmentation, each the best or nearly",
        here="; ".join(
            f"{task.name} {chosen[task.name]}, best {best.get(task.name, 'none')} ({_regret(plain, task.name)}), "
            f"by equal view {of_equal.get(task.name, 'none')}"
            for task in plain.tasks
        )
        + f"; right for {right} of {count}, by equal view for {len(equal.agreeing)}",
        holds=bool(right >= RIGHT * count),
        header=Point._fields,
        rows=tuple(rows),
        draw=functools.partial(draw_branches, rows),
    )


def draw_branches(rows: "list[Point]") -> "Figure":
    """Draw the table of `branches`: metric and similarities along the layers, with a row of panels for each task."""
    panels = {}
    for task in dict.fromkeys(row.task for row in rows):
        own = [row for row in rows if row.task == task]
        panels[task] = {
            own[0].metric: ([row.mean for row in own], [row.best for row in own]),
            "DDS": ([row.similarity for row in own], [row.recommended for row in own]),
            "DDS, equal view": ([row.equal_view for row in own], [row.recommended_by_equal_view for row in own]),
        }
    return figures.along_layers(list(dict.fromkeys(row.layer for row in rows)), panels)


def _regret(found: "Branches", task: str) -> str:
    return f"regret {found.regret(task):.3g}" if task in found.best else "no metric"


def _trained(shop: ModelCache, setting: Setting) -> "tuple[Branches, Branches]":
    """Branches with the similarity of their layers, direct and with equal view; the branches are trained once."""
    from jaxsim.studies import branching
    from jaxsim.studies.branching import networks
    from jaxsim.studies.rooms import export

    amounts, names = (AMOUNTS_QUICK, TASKS_QUICK) if setting.quick else (AMOUNTS, TASKS)
    seed, encoder = SEED + 10 * setting.seed, shop.bank[ENCODER]
    with _folder(shop) as root:
        data = root / f"pictures-{seed}-{amounts['pictures']}"
        if not data.exists():
            export.write_world(data, "taskonomy", amounts["pictures"], seed=seed, resolution=encoder.side)
        folder = branching.open_folder(data, names)
        plan = branching.Plan(encoder.side, amounts["epochs"], BATCH, RATE, "adam")
        probe = branching.Probe(measures.DDS_LAPLACIAN, resamples=20 if setting.quick else 100, seed=setting.seed)
        layers = list(networks.layers(encoder))[:-1]
        recipe = branching.recipe("branches", folder, probe, shop.bank, plan, layers=layers)
        tell = shop.report("branches")
        with branching.working(root / "branches", recipe) as work:
            plain, equal = (
                branching.compare_layers(
                    [encoder],
                    shop.bank,
                    folder,
                    plan,
                    dataclasses.replace(probe, equal_view=view),
                    work,
                    name=ENCODER,
                    layers=layers,
                    seeds=amounts["seeds"],
                    progress=None if view else tell,
                )
                for view in (False, True)
            )
    return plain, equal


@contextlib.contextmanager
def _folder(shop: ModelCache) -> Iterator[Path]:
    """The workshop's folder, or a temporary one that is deleted after the block."""
    if shop.folder is not None:
        yield shop.folder
    else:
        with tempfile.TemporaryDirectory(prefix="jaxsim-", dir=shop.scratch) as temporary:
            yield Path(temporary)
