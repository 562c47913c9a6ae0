"""Experiments on layers: their similarity across tasks, agreement with transfer, and most similar tasks."""

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxsim import engine, measures
from jaxsim.studies.reproduce import figures, rankings
from jaxsim.studies.reproduce.settings import Features, Outcome, Setting

ENCODER = "class_object"
"""Encoder whose layers `layer_types` compares; the paper's was trained on ImageNet's object classes."""
EARLY, LATE = "2d", "semantic"
"""Groups of tasks expected to be most similar to earlier and to later layers."""


class Layer(NamedTuple):
    """A row of the table of `depth`: features per image, mean similarity, separation of groups, mean correlations."""

    layer: str
    features: int | None
    mean_similarity: float
    grouping: float
    grouping_p: float
    correlation_without_self: float
    correlation_with_self: float


class Form(NamedTuple):
    """A row of the table of `labels`: a task, and the one whose labels are most similar."""

    task: str
    group: str
    form: str
    most_similar: str
    similarity: float


def depth(setting: Setting) -> Outcome:
    """Compare RSA at every layer, and of the labels, across tasks and with transfer (RSA 2019, fig. 5).

    The labels of a task are its targets for the same pictures, with images at half size; they do not count as a layer.
    Transfer is measured from the last layer, which favors that layer's agreement with transfer. So the criterion is how
    well a layer separates the paper's groups of tasks, which were defined before any network here was trained.

    Raises:
        ValueError: the setting has only one layer, no labels, or no two tasks in the same group.
    """
    if len(setting.features) < 2:
        raise ValueError("depth needs features of several layers, but the setting has one.")
    rows, panels, groups = [], {}, setting.grouped
    for layer, features in (*setting.features.items(), ("labels", _labels(setting, "depth"))):
        features = setting.ordered(features)
        affinity = engine.affinity(features, measures.RSA)
        values = np.asarray(affinity.values, dtype=float)
        shapes = {int(np.prod(found.shape[1:])) for found in features.values()}
        size = shapes.pop() if len(shapes) == 1 else None
        told = rankings.grouping(values, list(groups.values()), setting)
        scores = [rankings.agreement(affinity, setting, diagonal=d).mean for d in (False, True)]
        off = values[~np.eye(len(values), dtype=bool)]
        rows.append(Layer(layer, size, float(np.nanmean(off)), *told, *scores))
        panels[f"{layer}: {rows[-1].mean_similarity:.2f}, groups {told[0]:.2f}"] = values
    if np.isnan(rows[0].grouping):
        raise ValueError("depth needs tasks of at least two groups, with two tasks in one of them.")
    *layers, labels = rows
    first, last = layers[0], layers[-1]
    best = max(layers, key=lambda row: row.correlation_without_self)
    return Outcome(
        source="RSA 2019, figure 5",
        claim="First layers are alike whatever the task; with depth tasks part, and groups are clearest in the code.",
        criterion="different tasks are less similar at the last layer than at the first, and no layer tells the "
        f"paper's groups apart better than the last, which does so above chance, permutation p < {rankings.LEVEL}",
        paper="all similarities very high at block 1 and falling with depth, clusters only in the code; low between "
        "labels (by eye)",
        here="mean similarity "
        + _along(layers, labels, "mean_similarity")
        + "; a pair of one group is more similar than one of two groups with probability "
        + _along(layers, labels, "grouping")
        + f" (p = {last.grouping_p:.3g} at {last.layer}); correlation with transfer, measured from {last.layer}, "
        f"{first.correlation_without_self:.2f} to {last.correlation_without_self:.2f}, highest at {best.layer}",
        holds=bool(
            last.mean_similarity < first.mean_similarity
            and last.grouping >= max(row.grouping for row in layers)
            and last.grouping_p < rankings.LEVEL
        ),
        header=Layer._fields,
        rows=tuple(rows),
        draw=functools.partial(figures.matrices, panels, list(groups), groups),
    )


def labels(setting: Setting) -> Outcome:
    """Ask whether RSA of the labels groups tasks by the form of their outputs (RSA 2019, fig. 5, panel 6).

    A form is the kind of output and its number of channels, whatever the task is about.

    Raises:
        ValueError: the setting has no labels, lacks the form of a task, or has no two tasks with the same form.
    """
    targets, groups = _labels(setting, "labels"), setting.grouped
    lacking = [name for name in groups if name not in setting.forms]
    if lacking:
        raise ValueError(f"the forms of outputs lack {', '.join(lacking)}.")
    forms = {name: setting.forms[name] for name in groups}
    affinity = engine.affinity(setting.ordered(targets), measures.RSA)
    values = np.asarray(affinity.values, dtype=float)
    by_form, p = rankings.grouping(values, list(forms.values()), setting)
    if np.isnan(by_form):
        raise ValueError("labels needs tasks of at least two forms, with two tasks in one of them.")
    by_group, group_p = rankings.grouping(values, list(groups.values()), setting)
    codes = np.asarray(engine.affinity(setting.code, measures.RSA).values, dtype=float)
    code, _ = rankings.grouping(codes, list(forms.values()), setting)
    order = sorted(forms, key=lambda name: forms[name])
    places = [list(forms).index(name) for name in order]
    rows = [Form(name, groups[name], forms[name], *affinity.ranking(name)[0]) for name in order]
    return Outcome(
        source="RSA 2019, figure 5",
        claim="Labels group tasks by the form of the output, not by the type of the task.",
        criterion="a pair of one form is more similar than a pair of two, above chance, permutation p < "
        f"{rankings.LEVEL}, and with higher probability than a pair of one type",
        paper="clusters of labels follow the structure of the output, independently of the type; most are low (by eye)",
        here=f"by form {by_form:.2f} (p = {p:.3g}), by type {by_group:.2f} (p = {group_p:.3g}); codes by form "
        f"{code:.2f}",
        holds=bool(p < rankings.LEVEL and by_form > by_group),
        header=Form._fields,
        rows=tuple(rows),
        draw=functools.partial(
            figures.matrices,
            {what: found[np.ix_(places, places)] for what, found in (("labels", values), ("codes", codes))},
            order,
            forms,
        ),
    )


def _labels(setting: Setting, who: str) -> Features:
    if setting.labels is None:
        raise ValueError(f"{who} needs the tasks' own targets for the pictures; use a setting with labels.")
    return setting.labels


def _along(layers: Sequence[Layer], labels: Layer, field: str) -> str:
    """Format a field for every layer and for the labels."""
    values = ", ".join(f"{getattr(row, field):.2f}" for row in layers)
    return f"{values} from {layers[0].layer} to {layers[-1].layer}, {getattr(labels, field):.2f} of labels"


def layer_types(setting: Setting) -> Outcome:
    """Compare every layer of one encoder with the codes of other tasks by DDS (DDS 2020, fig. 3 and 4).

    The p value is exact, over all exchanges of tasks between the two groups; if a group has two tasks there are few.

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
        raise ValueError(f"layers compares {EARLY} tasks with {LATE} ones; there are none in the group {lacking[0]}.")
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
