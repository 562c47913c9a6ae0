"""The public verb `variance_study`, with the checks of its arguments."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import inputs, layouts, schemes
from jaxsim.engine.checks import min_images, of_one_or_several, require_symmetric, undefined_networks
from jaxsim.engine.memory import map_bytes, require_maps, require_resamples, widest
from jaxsim.engine.padding import both_buckets, by_freedom
from jaxsim.io.files import few, warn
from jaxsim.measures import Measure, as_given
from jaxsim.protocols import (
    CONSTANT,
    ComparatorCapabilities,
    Draws,
    PairwiseCapabilities,
    TransformCapabilities,
    declared,
)
from jaxsim.resampling.plans import check_networks, weightings_at_once
from jaxsim.resampling.program import Source, prepare_call, resampled_call
from jaxsim.resampling.verbs import NOT_REFITTED, One, between_calls, chunks, key_text, read_networks
from jaxsim.results import Provenance, UndefinedScores, VarianceStudy
from jaxsim.statistics.checks import as_count, as_key, is_whole, shown
from jaxsim.variance.draws import DRAWINGS
from jaxsim.variance.program import DRAWS, Case, refitted_call, stacked, summary_call, weighted_call, weights_of

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Default sizes, as shares of the images."""
CHUNKS = 10
"""Number of progress calls per size and scheme."""
LEAST = 4
"""Fewest resamples: an error needs two, and source rankings need two pairs."""


@of_one_or_several
def variance_study(
    features: Any,
    measure: One | Sequence[One],
    *,
    sizes: Sequence[int] | None = None,
    schemes: Any = tuple(DRAWINGS),
    n_resamples: int = 200,
    key: jax.Array | int = 0,
    against: Any = None,
    strata: Any = None,
    groups: Any = None,
    ids: Any = None,
    against_ids: Any = None,
    align: bool = False,
    progress: Callable[[int, int], None] | None = None,
    memory: float | None = None,
    channels: Any = None,
) -> VarianceStudy | list[VarianceStudy]:
    """Study standard error, bias and rank stability as a function of the number of images.

    Each scheme draws resamples of m of the N images. Half-samples are pairs of disjoint halves of m images. Subsets are
    m images, with the finite-population correction sqrt(N / (N - m)). Bootstraps draw m images with replacement, or
    Dirichlet weights that are as uneven. So each error is that of m new images, even if m is close to N. A bias is the
    expected score on m images minus the score on all N: zero for an unbiased measure. The numbers do not depend on
    which sizes and schemes are combined, and fewer resamples are the first of more.

    Bootstraps keep the maps, transforms and bandwidths of all images. Half-samples and subsets refit them, as in
    `js.resample`, unless groups are drawn. Measures such as CKA, in which a map entry depends only on two images, need
    no refitting. All their sizes and schemes are one compiled program.

    Works inside `jax.jit`, where checks of values are skipped.

    Args:
        features: as for `js.affinity`; if the measures are comparators, maps as for `js.compare_maps`.
        measure: a measure, or a comparator of maps, or its name, or a list.
        sizes: numbers of images m, ascending; of groups, if there are any. By default 1/16, 1/8, 1/4 and 1/2 of all.
        schemes: schemes or their names: half-samples, subsample, bootstrap, bayesian-bootstrap; all by default.
        n_resamples: number of resamples B for each size and scheme, even. Results are reported for B/8, B/4, B/2 and B.
        key: as for `js.resample`.
        against: as for `js.affinity`.
        strata: `(n,)` labels; each resample then contains each label in proportion.
        groups: `(n,)` labels of classes, scenes or runs that would be new in a new set of images; whole groups are then
            drawn.
        ids: as for `js.affinity`.
        against_ids: as for `js.affinity`.
        align: as for `js.affinity`.
        progress: as for `js.resample`, over all sizes and schemes together. Refitted sizes run from the largest, which
            takes longest, to the smallest.
        memory: budget in bytes for the weighted resamples that are held together, as for `js.affinity`; maps are always
            held in full.
        channels: as for `js.affinity`.

    Returns:
        `VarianceStudy`, or a list of them.

    Raises:
        TypeError: the scheme, measure or random key is missing or invalid, or a measure cannot be weighted where that
            is needed.
        ValueError: sizes, schemes, resamples, labels, ids or the budget do not fit; the message says which.

    >>> import jaxsim as js
    >>> V = js.variance_study(js.demo.features(), "cka", sizes=(20, 40), schemes="half-samples", n_resamples=40)
    >>> V.sizes, V.counts, V.error.shape
    ((20, 40), (4, 10, 20, 40), (1, 2, 4, 12, 12))
    """
    given = (features, measure, against, ids, against_ids, align, channels, 1)
    x, y, measures, several, _ = read_networks("variance_study", *given)
    check_networks(measures, x, y)
    tracing = inputs.traced(x.arrays, y and y.arrays)
    progress = between_calls(progress, tracing)
    kinds = _kinds(schemes)
    counts = _counts(n_resamples)
    layout = layouts.layout(strata, x.images, groups)
    units = layout if layout.groups is None else layout.groups.units
    fewest = max(min_images(m) for m in measures)
    what = "images" if layout.groups is None else "groups"
    sizes = _sizes(sizes, units.code.size, what, kinds, fewest)
    _require(measures, x, y, n_resamples)
    at_once = weightings_at_once(x, y, n_resamples, memory)
    cases = {(k, m): _case(kind, m, units, what, fewest) for k, kind in enumerate(kinds) for m in sizes}
    tell = _adding_up(progress, len(measures), len(cases) * counts[-1])
    random = as_key(key)
    put = (lambda a: a) if tracing else jax.device_put
    targets = (y or x).names
    same = np.array([[s == t for t in targets] for s in x.names])
    shared = (put(random), jax.tree.map(put, layout))

    def run(some, a, b):
        return _by_refitting(some, a, b, kinds, cases, layout, shared, same, counts, at_once, tell)

    made = []
    for m, (summary, refits, full, bad_x, bad_y, *_) in zip(measures, by_freedom(measures, (x, y), run), strict=True):
        undefined = undefined_networks(m, x, y, bad_x, bad_y, full)
        how = {"scheme": ", ".join(kinds), "key": key_text(random), "notes": _notes(m, kinds, refits)}
        found = VarianceStudy(
            **{n: v.reshape(len(kinds), len(sizes), *v.shape[1:]) for n, v in summary._asdict().items()},
            estimate=full,
            names=x.names,
            targets=targets,
            kinds=kinds,
            sizes=sizes,
            counts=counts,
            provenance=Provenance.now(str(m), full, **how),
            images=x.images,
            groups=None if layout.groups is None else units.code.size,
            undefined=tuple(undefined.items()),
            against=y is not None,
        )
        made.append(found)
        _warn_of_unscored(found, m)
    return made if several else made[0]


def _notes(measure: Measure, kinds: Sequence[str], refits: bool) -> tuple[str, ...]:
    """What is not refitted on the resamples, if it matters to the measure."""
    if _by_pair(measure):
        return ()
    if not refits:
        return (NOT_REFITTED,)
    some = any(not DRAWINGS[kind].subsets for kind in kinds)
    return ("bootstraps keep maps, transforms and bandwidths of the full sample",) * some


def _by_refitting(measures, x, y, kinds, cases, layout, shared, same, counts, at_once, tell):
    """Summaries stacked over cases, whether any case was refitted, and the full-sample fields, for each measure."""
    found = {}
    for again in (False, True):
        places = [k for k, m in enumerate(measures) if (layout.groups is None and not _by_pair(m)) is again]
        if places:
            some = tuple(measures[k] for k in places)
            summaries = _run(some, x, y, kinds, cases, again, shared, same, counts, at_once, tell)
            found |= zip(places, summaries, strict=True)
    return [found[k] for k in range(len(measures))]


def _run(measures, x, y, kinds, cases, again, shared, same, counts, at_once, tell):
    """The same for measures that are either all refitted on subsets or all not."""
    networks = both_buckets(x, y, measures)
    weighted = [place for place, (k, _) in enumerate(cases) if not (again and DRAWINGS[kinds[k]].subsets)]
    given = [*cases.values()]
    made: list[Any] = [None] * len(cases)
    tell = tell and functools.partial(tell, len(measures))

    if weighted:
        _check_weighted(measures)
        some = [given[place][0] for place in weighted]
        summaries, full = _by_weights(measures, networks, some, shared, same, counts, at_once, tell)
        for place, found in zip(weighted, summaries, strict=True):
            made[place] = found
    else:
        full = prepare_call(measures, *networks, None, Draws.SUBSETS).full_sample
    if y is None:
        for m, scores in zip(measures, full[0], strict=True):
            require_symmetric(m, x.names, scores)
    refitted = [place for place in range(len(given)) if place not in weighted]
    for place in sorted(refitted, key=lambda place: -given[place][1]):
        case, size = given[place]
        case = jax.tree.map(np.asarray, case)  # only subset sizes require separate programs
        of_case = (measures, *networks, *shared, case)
        values = _in_chunks(lambda numbers, a=of_case, m=size: refitted_call(*a, numbers, m), counts[-1], 1, tell)
        made[place] = summary_call(values, full[0], case, same, y is None, counts)
    whole = [jax.tree.map(lambda *a: jnp.stack(a), *of_one) for of_one in zip(*made, strict=True)]
    return [(summary, again, *fields) for summary, fields in zip(whole, zip(*full, strict=True), strict=True)]


def _by_weights(measures, networks, cases, shared, same, counts, at_once, tell):
    """`Summary` of each case and measure from weights, and the full-sample fields, in one call or in chunks."""
    if tell is None:
        summaries, full = weighted_call(measures, *networks, *shared, stacked(cases), same, counts, at_once)
        return [jax.tree.map(lambda a, at=at: a[at], summaries) for at in range(len(cases))], full
    ready = prepare_call(measures, *networks, None, Draws.WEIGHTS)
    key, layout = shared

    def summarized(case):
        def call(numbers):
            source = Source(key, numbers, (case, layout))
            return resampled_call(measures, ready, *networks, None, Draws.WEIGHTS, weights_of, source, at_once)

        values = _in_chunks(call, counts[-1], at_once, tell)
        return summary_call(values, ready.estimate, case, same, networks[1] is None, counts)

    return [summarized(jax.tree.map(np.asarray, case)) for case in cases], ready.full_sample


def _in_chunks(call, count, step, tell):
    """Scores `(B, S, T)` of each measure, by a function of the resample numbers; in one call without `tell`."""
    if tell is None:
        return call(np.arange(count))
    parts = []
    for numbers in chunks(count, max(step, count // CHUNKS // step * step)):
        parts.append(jax.block_until_ready(call(numbers)))
        tell(int(numbers[-1] - numbers[0]) + 1)
    return [jnp.concatenate(each)[:count] for each in zip(*parts, strict=True)]


def _adding_up(progress, measures, total):
    """A function of (measures, resamples) done, which reports to `progress` the part of `total`; or None."""
    done = 0

    def tell(some, count):
        nonlocal done
        done += some * count
        progress(done // measures, total)

    return None if progress is None else tell


def _by_pair(measure: Measure) -> bool:
    """Whether the score on a subset of images can be read from the full map at the subset's pairs."""
    transform = declared(measure.transform, TransformCapabilities)
    pairwise, own = (
        declared(measure.pairwise, PairwiseCapabilities),
        declared(measure.compare, ComparatorCapabilities),
    )
    if measure.pairwise is as_given:
        return True
    shift = transform.only_shifts and (pairwise.ignores_shift or (pairwise.inner_product and own.invariance > CONSTANT))
    return own.weighted is not None and pairwise.by_pair and (transform.by_image or shift)


def _check_weighted(measures):
    for m in measures:
        if declared(m.compare, ComparatorCapabilities).weighted is None:
            raise TypeError(
                f"{m} compares maps with a function that has no weighted form; leave out bootstraps and groups, and "
                'give schemes=("half-samples", "subsample").'
            )


def _kinds(given: Any) -> tuple[str, ...]:
    """Names of schemes, each once.

    Raises:
        TypeError: there is none, or one of them is not a scheme.
        ValueError: a scheme is unknown, cannot draw fewer images, has labels or sizes, or appears twice.
    """
    several = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    if not several:
        raise TypeError(f"schemes must name at least one of {', '.join(DRAWINGS)}.")
    kinds = []
    for one in several:
        kind = one if isinstance(one, str) else getattr(one, "kind", None)
        if kind is None or isinstance(one, type):
            raise TypeError(f"schemes must be names or values such as js.HalfSamples(), not {shown(one)}.")
        if kind not in DRAWINGS:
            known = kind in schemes.NAMED
            why = f"the scheme {kind} says nothing about fewer images" if known else f"no scheme is named {kind!r}"
            raise ValueError(f"{why}; a variance study takes {', '.join(DRAWINGS)}.")
        if not isinstance(one, str) and any(value is not None for value in vars(one).values()):
            raise ValueError(
                f"{schemes.describe(one)}: give sizes=, strata= and groups= to variance_study, which uses them for all "
                "its schemes, and give no explicit resamples."
            )
        if kind in kinds:
            raise ValueError(f"the scheme {kind} is given twice.")
        kinds.append(kind)
    return tuple(kinds)


def _counts(n_resamples: Any) -> tuple[int, ...]:
    """Numbers of resamples to report, ascending and even."""
    n = as_count(n_resamples, "n_resamples")
    if n < LEAST or n % 2:
        raise ValueError(f"n_resamples must be an even number of at least {LEAST}, not {n}.")
    return tuple(sorted({max(LEAST, n // share // 2 * 2) for share in (8, 4, 2)} | {n}))


def _sizes(sizes: Any, units: int, what: str, kinds, fewest: int) -> tuple[int, ...]:
    """Checked sizes, or the default ones that the measure can score.

    Raises:
        ValueError: sizes are not whole, ascending and different, or exceed the number of images or groups.
    """
    if sizes is None:
        least = fewest if what == "images" else 2
        found = [m for m in (round(share * units) for share in SHARES) if m >= 2 * least]
        if not found:
            raise ValueError(f"{units} {what} are too few for a variance study; it needs {4 * least}.")
        return tuple(dict.fromkeys(found))
    given: list[Any] = list(sizes) if isinstance(sizes, Iterable) and not isinstance(sizes, str) else [sizes]
    if not given:
        raise ValueError("sizes must hold at least one number of images.")
    if odd := [m for m in given if not is_whole(m) or m < 1]:
        raise ValueError(f"sizes must be whole numbers of {what}, not {shown(odd[0])}.")
    if any(a >= b for a, b in zip(given, given[1:], strict=False)):
        raise ValueError(f"sizes must be ascending and different, not {', '.join(map(str, given))}.")
    if given[-1] > units:
        raise ValueError(f"sizes go up to {given[-1]} {what}, and there are {units}; leave out the larger sizes.")
    below = [kind for kind in kinds if DRAWINGS[kind].below_all]
    if given[-1] == units and below:
        raise ValueError(f"a subset of all {units} {what} has no error: give smaller sizes, or leave out {below[0]}.")
    return tuple(map(int, given))


def _case(kind: str, m: int, units, what: str, fewest: int) -> tuple[Case, int]:
    """A scheme at one size, and the number of images in its subsets.

    Raises:
        ValueError: the measure needs more images.
    """
    drawing, total = DRAWINGS[kind], np.bincount(units.code)
    quotas = layouts.in_proportion(total, m)
    drawn = drawing.drawn(quotas)
    least = fewest if what == "images" else 2
    if drawn < least:
        of = f"{kind} of {m} {what} hold {drawn}"
        raise ValueError(
            f"{of}, and the measure needs {least}: give larger sizes{' or fewer strata' * (total.size > 1)}."
        )
    correction = drawing.correction(m, units.code.size, drawn)
    return Case(DRAWS.index(drawing.draw), quotas[units.code], m / units.code.size, correction), drawn


def _require(measures, x, y, count):
    """Reject maps, and scores of one size and scheme, that do not fit in memory."""
    networks, size = len(x.names) + (0 if y is None else len(y.names)), x.dtype.itemsize
    width = widest(measures, x, y)
    require_maps(networks, map_bytes(measures, x.images, size, width), x.images, size, width)
    require_resamples(count, measures, x, y, copies=4)


def _warn_of_unscored(found: VarianceStudy, measure) -> None:
    """Warn about sizes at which some resample has no score for a pair that has one in full."""
    if inputs.traced(found.error):
        return
    lost = np.isnan(np.asarray(found.error[:, :, -1])) & ~np.isnan(np.asarray(found.estimate))
    at = [f"{kind} of {m}" for k, kind in enumerate(found.kinds) for j, m in enumerate(found.sizes) if lost[k, j].any()]
    if at:
        pairs = few([f"{found.names[s]} - {found.targets[t]}" for s, t in np.argwhere(lost.any((0, 1)))], 5)
        warn(
            f"some resamples have no {measure} score for {pairs} by {few(at, 5)}, because their images are too few or "
            "too alike; the errors, biases and orders of these pairs are NaN.",
            UndefinedScores,
        )
