"""The public verb: scores of layers and networks against the scores of unrelated ones."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxsim import inputs, schemes, statistics
from jaxsim.calibration.program import TOGETHER, Sides, calibrated_call, pairs_at_once
from jaxsim.engine.checks import min_images, of_one_or_several, undefined_networks
from jaxsim.engine.devices import count, local_count, on_one, put
from jaxsim.engine.memory import GIB, budget_of, map_bytes, require, require_maps, widest
from jaxsim.engine.padding import both_buckets, by_freedom
from jaxsim.engine.processes import least, lost_processes
from jaxsim.inputs import OwnersOf
from jaxsim.io.files import warn
from jaxsim.linalg import on_cpu
from jaxsim.measures import Measure
from jaxsim.protocols import ComparatorCapabilities, declared
from jaxsim.resampling.plans import check_networks
from jaxsim.resampling.verbs import One, key_text, read_networks
from jaxsim.results import Calibration, FewResamples, Provenance
from jaxsim.results.calibrations import ADJUSTMENTS, ARRAYS
from jaxsim.statistics.checks import as_count, as_key, one_of, probability

MOST_AT_ONCE = 64
"""Most permutations to summarize together."""
REFUSED_FROM = 0.5
"""Lowest level that is mistaken for a confidence level."""


@of_one_or_several
def calibrate(
    features: Any,
    measure: One | Sequence[One],
    *,
    against: Any = None,
    layers_of: OwnersOf = None,
    strata: Any = None,
    groups: Any = None,
    n_permutations: int = 999,
    key: jax.Array | int = 0,
    adjust: str = "step-down",
    level: float = 0.05,
    ids: Any = None,
    against_ids: Any = None,
    align: bool = False,
    memory: float | None = None,
    channels: Any = None,
    devices: Any = None,
) -> Calibration | list[Calibration]:
    """Compare the scores of all layers and networks with their permutation nulls, in one device call.

    The images of the columns' networks are permuted relative to those of the rows', in the same way for all layers. A
    calibrated score is `(s - t) / (1 - t)`, clipped to between 0 and 1. The threshold t is the score that permutations
    reach with probability `level`, so the calibrated score is zero unless `p <= level`. The best layers of two networks
    are calibrated against the permutations' own best layers, so searching many layers gains nothing.

    Works inside `jax.jit`, where checks of values are skipped.

    Args:
        features: as for `js.affinity`, with one array per layer; if the measures are comparators, maps as for
            `js.compare_maps`.
        measure: a measure, or a comparator of maps, that can be embedded, as can all in this library; or its name; or a
            list.
        against: layers of the columns, as for `js.affinity`.
        layers_of: network of each layer: a mapping or a function of the layer name, or a sequence in the order of the
            layers (those of `features`, then those of `against`). With None each layer is its own network.
        strata: `(n,)` labels. Images are then permuted within each stratum, as for `js.Permutation`.
        groups: `(n,)` labels. Whole groups of images are then permuted, as for `js.Permutation`.
        n_permutations: number of permutations, in addition to the observed order, which counts as one more.
        key: as for `js.resample`.
        adjust: how to adjust p-values of network pairs for their number: "step-down" or "single-step" for the
            family-wise error rate by the maximum over pairs, "false-discovery" (Benjamini-Hochberg), "bonferroni", or
            "none".
        level: accepted rate of false findings, such as 0.05.
        ids: as for `js.affinity`.
        against_ids: as for `js.affinity`.
        align: as for `js.affinity`.
        memory: budget in bytes for maps and summaries on each device, as for `js.affinity`.
        channels: as for `js.affinity`.
        devices: as for `js.affinity`. Each device makes the maps of some of the layers and computes some of the
            permutations.

    Returns:
        `Calibration`, or a list of them.

    Raises:
        TypeError: a measure has no embedding, or the key is missing.
        ValueError: the permutations cannot reach the level, layers have no network, or sizes, labels or ids do not
            match; the message says which.

    >>> import jaxsim as js
    >>> C = js.calibrate(js.demo.features(), "cka", layers_of=lambda name: name.split("_")[0], n_permutations=99)
    >>> C.networks, C.estimate.shape, C.best.shape
    (('amber', 'coral', 'indigo', 'jade'), (12, 12), (4, 4))
    """
    given = (features, measure, against, ids, against_ids, align, channels, devices)
    x, y, measures, several, mesh = read_networks("calibrate", *given)
    check_networks(measures, x, y)
    _check_measures(measures)
    of_rows, of_columns = _networks(layers_of, x.names, None if y is None else y.names)
    sides = _sides(of_rows, of_columns, square=y is None)
    scheme = schemes.Permutation(strata=strata, groups=groups)
    plan = scheme.plan(x.images, max(min_images(m) for m in measures), as_count(n_permutations, "n_permutations"))
    _check_resolution(plan, adjust, level, int(sides.family.sum()))
    kept = plan.count + 2 - math.ceil((1 - level) * (plan.count + 1) * (1 - 1e-12))
    tracing = inputs.traced(x.arrays, y and y.arrays)
    at_once = _at_once(measures, x, y, sides, kept, memory, mesh)
    random = as_key(key)
    more = (sides, random, plan.layout)
    if not tracing:
        more = jax.tree.map(jax.device_put, more) if mesh is None else put(more, mesh)

    def run(some, a, b):
        some = put(some, mesh)
        networks = both_buckets(a, b, some, mesh)
        with lost_processes():
            return on_one(calibrated_call(some, *networks, *more, scheme.draw, plan.count, kept, at_once, mesh), mesh)

    made = []
    for m, (found, bad_x, bad_y) in zip(measures, by_freedom(measures, (x, y), run), strict=True):
        undefined = undefined_networks(m, x, y, bad_x, bad_y, found.layers.score)
        how = {"scheme": schemes.describe(scheme), "key": key_text(random)}
        made.append(
            Calibration(
                **dict(zip(ARRAYS, (*found.layers, *found.networks, *found[2:]), strict=True)),
                names=x.names,
                targets=(y or x).names,
                networks=tuple(dict.fromkeys(of_rows)),
                target_networks=tuple(dict.fromkeys(of_columns)),
                network_of=of_rows,
                target_of=of_columns,
                provenance=Provenance.now(str(m), found.layers.score, **how),
                images=x.images,
                n_permutations=plan.count,
                level=float(level),
                adjust=adjust,
                undefined=tuple(undefined.items()),
                against=y is not None,
            )
        )
    return made if several else made[0]


def _check_measures(measures: Sequence[Measure]) -> None:
    for m in measures:
        own = declared(m.compare, ComparatorCapabilities)
        if own.embed is None or own.permuted is None:
            raise TypeError(
                f"{m} compares maps with a function that does not declare embed and permuted, needed to permute maps "
                "without recomputing them; use a measure of this library, such as js.RSA."
            )


def _networks(layers_of: OwnersOf, rows, columns) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Network of each layer of the rows and of the columns.

    Raises:
        ValueError: all layers have the same network and there is no other.
    """
    found = inputs.owners(layers_of, (*rows, *(columns or ())), "layers_of", "network", "layer")
    of_rows = found[: len(rows)]
    if columns is None and len(set(of_rows)) == 1:
        raise ValueError(
            f"layers_of puts all {len(rows)} layers in one network, {of_rows[0]!r}, and there is no other to compare "
            "it with: give the layers of other networks too, here or as against."
        )
    return of_rows, of_rows if columns is None else found[len(rows) :]


def _sides(of_rows, of_columns, *, square: bool) -> Sides:
    rows, row_layers = _layers(of_rows)
    columns, column_layers = (rows, row_layers) if square else _layers(of_columns)
    family = np.ones((len(row_layers), len(column_layers)), bool)
    return Sides(rows, columns, row_layers, column_layers, np.triu(family, 1) if square else family)


def _layers(networks):
    """Network number of each layer, and the layers of each network, padded by repeating the first."""
    number = {network: k for k, network in enumerate(dict.fromkeys(networks))}
    code = np.array([number[network] for network in networks], np.int32)
    each = [np.flatnonzero(code == k) for k in range(len(number))]
    most = max(map(len, each))
    return code, np.stack([np.concatenate([e, np.full(most - len(e), e[0])]) for e in each]).astype(np.int32)


def _check_resolution(plan, adjust, level, pairs) -> None:
    """Reject permutations that cannot reach the level; warn about those that cannot for a single pair."""
    if probability(level) >= REFUSED_FROM:
        raise ValueError(f"level is the share of false findings, such as 0.05, not a confidence level like {level}.")
    rule, least = ADJUSTMENTS[one_of(adjust, ADJUSTMENTS, "adjust")], statistics.resamples_needed(level)
    if plan.distinct is not None and plan.distinct < least + 1:
        raise ValueError(
            f"strata or groups leave only {plan.distinct:.0f} distinct orders of the images, so no p-value is below "
            f"{1 / plan.distinct:.2g}, and level {level:g} needs {least + 1}: use more images, larger strata or more "
            "groups."
        )
    if plan.count < least:
        text = f"{plan.count} permutations can reject nothing at level {level:g}"
        raise ValueError(f"{text}: give n_permutations={least} or more.")
    if plan.count < rule.needed(level, pairs):
        raise ValueError(
            f"{plan.count} permutations can reject nothing at level {level:g} by {adjust} over {pairs} pairs of "
            f'networks: give n_permutations={rule.needed(level, pairs)} or more, or adjust="step-down", which needs '
            f"{least}."
        )
    alone = rule.alone(level, pairs)
    if plan.count < alone:
        fewest = math.ceil(pairs / (level * (plan.count + 1)) - 1e-9)
        warn(
            f"at level {level:g}, {plan.count} permutations by {adjust} can reject {fewest} or more of {pairs} pairs "
            f"of networks together, but no fewer; to reject a single pair, give n_permutations={alone}.",
            FewResamples,
        )


def _at_once(measures, x, y, sides, kept, memory, mesh) -> int:
    """Number of permutations whose scores are held together, in addition to all maps and the highest scores so far.

    The highest scores of layer and network pairs are held before and after an update and merged with the new ones, plus
    one copy for each of several devices at the end.

    Raises:
        ValueError: not even a few fit.
    """
    rows, columns = len(x.names), len((y or x).names)
    maps, size = rows + (0 if y is None else columns), x.dtype.itemsize
    width = widest(measures, x, y)
    each = map_bytes(measures, x.images, size, width)
    require_maps(2 * maps, each, x.images, size, width)
    budget, shares = least(budget_of(memory, local_count(mesh)), mesh), count(mesh)
    tops = (3 + shares * (shares > 1)) * rows * columns + sides.family.size
    held = 2 * maps * each + tops * size * kept
    # scores and, on an accelerator, the gathered pairs for all of them
    order = (6 * rows + (0 if on_cpu() else pairs_at_once())) * columns * size
    at_once = MOST_AT_ONCE
    while at_once > TOGETHER and held + at_once * order > budget:
        at_once //= 2
    need = held + at_once * order
    what = f"maps of {maps} layers and the {kept} highest scores of their {rows * columns} pairs"
    require(need, what)
    if memory is not None and need > budget:
        raise ValueError(f"{what} need {need / GIB:.3g} GiB, more than the memory budget of {budget / GIB:.3g} GiB.")
    return at_once
