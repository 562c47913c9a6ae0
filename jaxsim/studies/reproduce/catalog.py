"""The experiments by name, running several of them, and a summary of their outcomes."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from jaxsim.studies.reproduce.baseline_comparison import baselines
from jaxsim.studies.reproduce.branch_points import branches
from jaxsim.studies.reproduce.comparator_choice import comparators
from jaxsim.studies.reproduce.large_networks import large
from jaxsim.studies.reproduce.layers import depth, labels, layer_types
from jaxsim.studies.reproduce.measure_comparison import grid, methods
from jaxsim.studies.reproduce.model_sizes import sizes, small
from jaxsim.studies.reproduce.picture_counts import image_count, images
from jaxsim.studies.reproduce.picture_sets import image_sets, subsets
from jaxsim.studies.reproduce.settings import Outcome, Setting
from jaxsim.studies.reproduce.source_selection import new_task, selection
from jaxsim.studies.reproduce.target_tables import precision_recall, targets
from jaxsim.studies.reproduce.task_trees import display, rsa_matrix, trees
from jaxsim.studies.reproduce.timings import costs
from jaxsim.studies.reproduce.training_stages import stages


@dataclasses.dataclass(frozen=True)
class Experiment:
    """An experiment and the parts of a setting that it needs.

    Attributes:
        run: function from a setting to an outcome.
        parts: parts of the setting besides codes, for `setting(parts=...)`.
    """

    run: Callable[[Setting], Outcome]
    parts: tuple[str, ...] = ()


EXPERIMENTS: dict[str, Experiment] = {
    "rsa-matrix": Experiment(rsa_matrix),
    "depth": Experiment(depth, ("layers", "labels")),
    "labels": Experiment(labels, ("labels",)),
    "trees": Experiment(trees),
    "display": Experiment(display),
    "small": Experiment(small, ("workshop",)),
    "large": Experiment(large, ("workshop",)),
    "selection": Experiment(selection),
    "new-task": Experiment(new_task, ("elsewhere", "workshop")),
    "stages": Experiment(stages, ("workshop",)),
    "sizes": Experiment(sizes, ("workshop",)),
    "images": Experiment(images, ("reference",)),
    "grid": Experiment(grid),
    "comparators": Experiment(comparators),
    "methods": Experiment(methods),
    "baselines": Experiment(baselines, ("labels", "workshop")),
    "targets": Experiment(targets),
    "precision-recall": Experiment(precision_recall),
    "subsets": Experiment(subsets, ("elsewhere",)),
    "image-sets": Experiment(image_sets, ("elsewhere", "workshop")),
    "costs": Experiment(costs, ("elsewhere", "workshop")),
    "image-count": Experiment(image_count),
    "layers": Experiment(layer_types, ("layers",)),
    "branches": Experiment(branches, ("workshop",)),
}
SUMMARY = ("experiment", "source", "claim", "criterion", "paper", "here", "holds")


def chosen(names: Sequence[str]) -> dict[str, Experiment]:
    """Look up experiments, in the papers' order; 'all' or no names give all of them.

    Raises:
        ValueError: a name is unknown.

    >>> list(chosen(["trees", "depth"]))
    ['depth', 'trees']
    """
    unknown = [name for name in names if name not in EXPERIMENTS and name != "all"]
    if unknown:
        raise ValueError(f"there is no experiment {unknown[0]!r}; choose from {', '.join(EXPERIMENTS)}, or all.")
    every = not names or "all" in names
    return {name: one for name, one in EXPERIMENTS.items() if every or name in names}


def run(
    setting: Setting, names: Sequence[str] = (), progress: Callable[[str], None] | None = None
) -> dict[str, Outcome]:
    """Run the named experiments, or all of them.

    Args:
        setting: features and measured transfer.
        names: names of experiments in any order; all if empty.
        progress: called with the name of each before it runs.

    Raises:
        ValueError: a name is unknown, or the setting lacks a part that one needs.
    """
    found = {}
    for name, one in chosen(names).items():
        if progress is not None:
            progress(name)
        found[name] = one.run(setting)
    return found


def summary(outcomes: Mapping[str, Outcome]) -> list[list[str]]:
    """One row of text per experiment by name, with the columns of `SUMMARY`."""
    return [
        [name, o.source, o.claim, o.criterion, o.paper, o.here, "yes" if o.holds else "no"]
        for name, o in outcomes.items()
    ]
