"""The public verb: scores of all networks on the full sample and on B resamples of the images."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxsim import assumptions, inputs, layouts, schemes
from jaxsim.assumptions import Facts
from jaxsim.engine.checks import (
    as_comparators,
    as_measures,
    means_maps,
    min_images,
    of_one_or_several,
    require_others,
    require_symmetric,
    undefined_networks,
)
from jaxsim.engine.devices import on_one, put, put_along
from jaxsim.engine.padding import both_buckets, by_freedom
from jaxsim.engine.plans import Plan
from jaxsim.engine.processes import divide, lost_processes
from jaxsim.engine.program import is_embedded
from jaxsim.io.files import few, warn
from jaxsim.measures import Measure
from jaxsim.protocols import Comparator, ComparatorCapabilities, Draws, Scheme, SchemeCapabilities, declared
from jaxsim.resampling import plans, tiled
from jaxsim.resampling.program import (
    Scored,
    Source,
    leaves_out_pairs,
    prepare_call,
    resampled_call,
    whole_call,
    without_estimate,
)
from jaxsim.results import FewResamples, Provenance, Resamples, UndefinedScores
from jaxsim.results.resamples import BETWEEN
from jaxsim.statistics.checks import as_key, callback, flag

LEAST_DISTINCT = 20
"""Distinct rearrangements needed for a p-value of 0.05."""
NOT_REFITTED = "maps, transforms and bandwidths are those of the full sample"

One = str | Measure | Comparator


@of_one_or_several
def resample(
    features: Any,
    measure: One | Sequence[One],
    scheme: Scheme | str = schemes.HalfSamples(),  # noqa: B008
    *,
    n_resamples: int | None = None,
    key: jax.Array | int = 0,
    against: Any = None,
    ids: Any = None,
    against_ids: Any = None,
    align: bool = False,
    progress: Callable[[int, int], None] | None = None,
    memory: float | None = None,
    estimate: bool = True,
    channels: Any = None,
    devices: Any = None,
) -> Resamples | list[Resamples]:
    """Score all networks on the full sample and on B resamples of the images, in one device call.

    Works inside `jax.jit`, `vmap`, `grad` and `scan`, where checks of values are skipped.

    Args:
        features: as for `js.affinity`; if the measures are comparators, maps as for `js.compare_maps`.
        measure: a measure of features, or a comparator of maps, or the name of one, or a list of either.
        scheme: `HalfSamples()`, whose intervals hold their level, `Bootstrap()`, `BayesianBootstrap()`,
            `Subsample(size)`, `Jackknife()` or `Permutation()`; or the name of one.
        n_resamples: number of resamples B; by default 100 for half-samples and subsets, and 1000 for the other schemes.
            The jackknife and explicit weights or indices determine it.
        key: typed random key, or a seed for one. Resample b depends only on the key and b, so draws do not depend on
            chunks or devices.
        against: as for `js.affinity`.
        ids: as for `js.affinity`.
        against_ids: as for `js.affinity`.
        align: as for `js.affinity`.
        progress: called with (done, B) between chunks. This splits the work into several device calls, so it does not
            work inside `jit`.
        memory: budget in bytes for what each device holds per chunk of resamples; None as for `js.affinity`. If the
            maps of all networks do not fit in it together, schemes that refit or permute process one resample after
            another in tiles, as `js.affinity` does. Weights and groups always need full maps. `js.explain` shows which
            it is and how long it takes.
        estimate: False skips the full-sample scores (NaN), which for small subsets of many images cost more than all
            the resamples; for `Subsample` only.
        channels: as for `js.affinity`.
        devices: as for `js.affinity`. Each device makes the maps of some of the networks and computes some of the
            resamples.

    Returns:
        `Resamples` with `values (B, S, T)` and `estimate (S, T)`, or a list of them.

    Raises:
        TypeError: the scheme, the measure or a required random key is missing or invalid.
        ValueError: sizes, indices, weights, strata, groups or ids do not fit; the message says which.

    >>> import jax, jaxsim as js
    >>> features = jax.random.normal(jax.random.key(0), (3, 40, 8))
    >>> R = js.resample(features, "cka", js.Bootstrap(), n_resamples=50, key=1)
    >>> R.values.shape, R.interval(0.95).shape
    ((50, 3, 3), (2, 3, 3))
    """
    given = (features, measure, against, ids, against_ids, align, channels, devices)
    scheme = as_scheme(scheme)
    x, y, measures, several, mesh = read_networks("resample", *given)
    plan = scheme.plan(x.images, max(min_images(m) for m in measures), n_resamples)
    estimate, progress = flag(estimate, "estimate"), between_calls(progress, inputs.traced(x.arrays, y and y.arrays))
    made = plans.plan(measures, x, y, scheme, plan, memory, mesh, estimate=estimate, asked=devices is not None)
    source = source_of(plan, key, inputs.traced(x.arrays, y and y.arrays))
    warn_if_few(plan, scheme)
    if made.tile:
        plans.warn_if_long(made, measures, x, y, scheme, plan, estimate, progress=progress is not None)
        found = tiled.resampled(measures, x, y, scheme, source, plan, made, progress, estimate)
    else:
        found = _from_maps(measures, x, y, scheme, source, made, progress, estimate, mesh)
    records, alike = [], _alike(scheme, plan, x, y)
    for m, (values, full, undefined, effective, notes) in zip(measures, found, strict=True):
        notes = (*_notes(m, scheme, plan), *notes)
        provenance = Provenance.now(
            str(m), values, scheme=schemes.describe(scheme), key=key_text(source.key), notes=notes
        )
        facts = _facts(m, scheme, plan, x.images, (x.names, (y or x).names), effective)
        found = Resamples(
            values,
            full,
            x.names,
            (y or x).names,
            provenance,
            scheme.kind,
            x.images,
            plan.size,
            tuple(undefined.items()),
            against=y is not None,
            groups=plan.groups,
            groups_drawn=plan.groups_drawn,
            degrees=plan.degrees,
            flags=assumptions.flags(facts._replace(alike=alike)),
        )
        records.append(found)
        _warn_of_unscored(found, m, estimate)
    assumptions.warn_of([flag for one in records for flag in one.flags])
    return records if several else records[0]


def plan_of(
    features: Any,
    measure: One | Sequence[One],
    scheme: Scheme | str,
    *,
    n_resamples: int | None,
    against: Any,
    ids: Any,
    against_ids: Any,
    align: bool,
    memory: float | None,
    estimate: bool,
    channels: Any,
    devices: Any,
) -> Plan:
    """The plan that `resample` follows for the same arguments, with its costs."""
    scheme, estimate = as_scheme(scheme), flag(estimate, "estimate")
    given = (features, measure, against, ids, against_ids, align, channels, devices)
    x, y, measures, _, mesh = read_networks("resample", *given)
    drawn = scheme.plan(x.images, max(min_images(m) for m in measures), n_resamples)
    made = plans.plan(measures, x, y, scheme, drawn, memory, mesh, estimate=estimate, asked=devices is not None)
    return plans.with_costs(made, measures, x, y, scheme, drawn, estimate)


def warn_if_few(plan, scheme):
    """Warn about fewer resamples than an interval or a p-value needs."""
    own = declared(scheme, SchemeCapabilities)
    if plan.given is None and plan.count < own.fewest:
        what, so = ("a p-value of 0.05", "every p-value is larger") if own.null else ("an interval", "it is NaN")
        text = f"{what} from the scheme {scheme.kind} needs at least {own.fewest} resamples, not {plan.count}: {so}."
        warn(text, FewResamples)
    if plan.distinct is not None and plan.distinct < LEAST_DISTINCT:
        text = (
            f"{schemes.describe(scheme)} makes only {plan.distinct:.0f} distinct rearrangements: no p-value is below "
            f"{1 / plan.distinct:.2g} and 0.05 is out of reach; that needs {LEAST_DISTINCT}."
        )
        warn(text, FewResamples)


def _facts(measure, scheme, plan, images, names, effective) -> Facts:
    """Facts of a measure under a scheme, without those of the maps while JAX is tracing."""
    own, can, strata = (
        declared(measure.compare, ComparatorCapabilities),
        declared(scheme, SchemeCapabilities),
        strata_of(plan),
    )
    if can.null:
        return Facts(strata=strata if plan.groups is None else ())  # groups are swapped by size, which is not a stratum
    debiased = "" if own.debiased is None else str(dataclasses.replace(measure, compare=own.debiased))
    sides = () if inputs.traced(*effective) else zip(names, effective, strict=True)
    shares = {pair: None for some, numbers in sides for pair in zip(some, np.asarray(numbers).tolist(), strict=True)}
    resamples = plan.count if plan.given is None else np.inf
    found = Facts(str(measure), debiased, images, resamples=resamples, enough=can.enough, strata=strata)
    if plan.groups is not None:
        within = scheme.draws is not Draws.SUBSETS or not leaves_out_pairs(measure)
        apart = images if plan.groups == images else 0
        found = found._replace(images=np.inf, groups=plan.groups, apart=apart, within=within)
        if scheme.draws is Draws.SUBSETS:
            return found._replace(effective_groups=tuple(shares))
    return found._replace(effective=tuple(shares))


def strata_of(plan):
    """Sizes of the strata, if the layout of a plan has any."""
    return layouts.strata_sizes(plan.layout) if isinstance(plan.layout, layouts.Layout) else ()


def _alike(scheme, plan, x, y):
    """Networks and the share of their variance between strata, if there are several strata and no groups."""
    null, tracing = declared(scheme, SchemeCapabilities).null, inputs.traced(x.arrays, y and y.arrays)
    if null or tracing or x.maps or plan.groups or len(strata_of(plan)) < 2:
        return ()
    nets = [x] if y is None else [x, y]
    return tuple(
        (name, layouts.share_between(np.asarray(a), plan.layout.code))
        for n in nets
        for name, a in zip(n.names, n.arrays, strict=True)
        if not isinstance(a, inputs.Elsewhere)
    )


def _warn_of_unscored(found, measure, estimate):
    """Warn about pairs of networks that have a score but lack one in some resamples; not while JAX is tracing."""
    if inputs.traced(found.values):
        return
    lost, said = found.unscored(), np.isnan(jax.device_get(found.estimate)) & estimate
    named = (lost > 0) & ~said
    places = np.argwhere(np.triu(named, 1) if found.square else named)
    if not len(places):
        return
    fewest, most = min(lost[s, t] for s, t in places), max(lost[s, t] for s, t in places)
    number = most if fewest == most else f"{fewest} to {most}"
    pairs = few([f"{found.names[s]} - {found.targets[t]}" for s, t in places], 5)
    text = (
        f"{number} of {len(found.values)} resamples have no {measure} score for {pairs}, because their images are too "
        "few or too alike; the errors, intervals and p-values of these pairs are NaN"
    )
    other = schemes.BayesianBootstrap.kind
    weighted = declared(measure.compare, ComparatorCapabilities).weighted is not None
    remedy = f"; the scheme {other} leaves no image out" * (weighted and found.kind != other)
    warn(f"{text}{remedy}.", UndefinedScores)


def read_networks(verb, features, measure, against, ids, against_ids, align, channels, devices):
    """Networks of the rows, and of the columns or None; measures; whether these came as a list; and a mesh."""
    maps = means_maps(features, measure)
    measures, several = (as_comparators if maps else as_measures)(measure)
    x, y = inputs.both(features, against, ids, against_ids, channels, maps=maps)
    x, y, mesh = divide(x, y, devices)
    x, y = inputs.same_images(x, y, align=align)
    require_others(verb, x, y)
    return x, y, measures, several, mesh


def as_scheme(scheme) -> Scheme:
    """A scheme, or the one with that name and its defaults; raise TypeError or ValueError for anything else."""
    if isinstance(scheme, str):
        if scheme not in schemes.NAMED:
            raise ValueError(f"no scheme is named {scheme!r}; there are {', '.join(schemes.NAMED)}.")
        scheme = schemes.NAMED[scheme]()
    if isinstance(scheme, type):
        raise TypeError(f"scheme must be an instance, {scheme.__name__}(...), not the class.")
    if not isinstance(scheme, Scheme):
        raise TypeError(f"scheme must be an instance such as js.HalfSamples() or js.Subsample(size), not {scheme!r}.")
    if not isinstance(scheme, schemes.NAMED.get(scheme.kind, ())):
        raise ValueError(
            f"scheme {type(scheme).__name__} is not registered: call jaxsim.schemes.register with it first."
        )
    return scheme


def source_of(plan, key, tracing=False) -> Source:
    """Source of the resamples of a plan."""
    put = (lambda a: a) if tracing else jax.device_put
    if plan.given is not None:
        return Source(given=put(plan.given))
    return Source(as_key(key), put(np.arange(plan.count)), jax.tree.map(put, plan.layout))


def key_text(key):
    """The key as text for the record, implementation and data; None if nothing was drawn."""
    if key is None or isinstance(key, Tracer):
        return None if key is None else "traced"
    with jax.ensure_compile_time_eval():
        return f"{jax.random.key_impl(key)}:{jax.device_get(jax.random.key_data(key)).tolist()}"


def _from_maps(measures, x, y, scheme, source, made, progress, estimate, mesh) -> list[Scored]:
    """Scores of each measure from maps that are all held in memory."""

    def run(some, a, b):
        return _run(some, a, b, scheme, source, made, progress, estimate, mesh)

    scored = []
    for m, (values, full, bad_x, bad_y, *effective) in zip(measures, by_freedom(measures, (x, y), run), strict=True):
        undefined = undefined_networks(m, x, y, bad_x, bad_y, full if estimate else None)
        if y is None and not is_embedded(m) and not inputs.traced(values):
            require_symmetric(m, x.names, np.asarray(values)[0])
        scored.append(Scored(values, full, undefined, effective))
    return scored


def _run(measures, x, y, scheme, source, made, progress, estimate, mesh):
    count, shares, at_once = made.resamples, made.devices, made.at_once
    tracing = inputs.traced(x.arrays, y and y.arrays)
    measures = put(measures, mesh)
    networks = (*both_buckets(x, y, measures, mesh), put(_groups(scheme, source), mesh))
    if progress is None and estimate:
        source = source if mesh is None else _part(source, chunks(count, -(-count // shares) * shares)[0], mesh)
        with lost_processes():
            found = whole_call(measures, *networks, scheme.draws, scheme.draw, source, at_once, mesh)
            values, rest = on_one(found, mesh)
        return _by_measure(values if mesh is None else [v[:count] for v in values], rest)
    if estimate:
        ready = prepare_call(measures, *networks, scheme.draws, mesh)
    else:
        ready = put(without_estimate(measures, len(x.names), len((y or x).names), x.dtype), mesh)
    step = at_once * shares
    chunk = -(-count // shares) * shares if progress is None else max(step, count // 50 // step * step)
    parts = []
    for numbers in chunks(count, chunk):
        part = _part(source, numbers, mesh)
        with lost_processes():
            found = resampled_call(measures, ready, *networks, scheme.draws, scheme.draw, part, at_once, mesh)
            parts.append(found if tracing else [np.asarray(v) for v in found])
        if progress is not None:
            progress(int(numbers[-1]) + 1, count)
    join = jnp.concatenate if tracing else np.concatenate
    values = [jnp.asarray(join([one[k] for one in parts])[:count]) for k in range(len(measures))]
    return _by_measure(values, on_one(ready.full_sample, mesh))


def between_calls(progress: Any, tracing: bool) -> Any:
    """A function to call between device calls, or None.

    Raises:
        TypeError: it is not callable, or JAX is tracing.
    """
    if callback(progress, "progress") is not None and tracing:
        raise TypeError("progress is called between device calls, and there are none inside jit; leave it out.")
    return progress


def chunks(count: int, size: int) -> list[np.ndarray]:
    """Numbers of resamples, `size` at a time; the last chunk is padded so that all chunks use one program."""
    return [np.minimum(np.arange(first, first + size), count - 1) for first in range(0, count, size)]


def _part(source, numbers, mesh) -> Source:
    """The part of a source with some of the resamples."""
    given = None if source.given is None else source.given[numbers]
    if mesh is None:
        return source._replace(numbers=numbers) if given is None else Source(given=given)
    if given is not None:
        return Source(given=put_along(np.asarray(given), mesh))
    return Source(put(source.key, mesh), put_along(numbers, mesh), put(source.layout, mesh))


def _notes(measure, scheme, plan):
    """Notes on the scores for the record."""
    if scheme.draws is not Draws.SUBSETS:
        return (NOT_REFITTED,)
    return (BETWEEN,) if plan.groups is not None and leaves_out_pairs(measure) else ()


def _groups(scheme, source):
    """Groups whose pairs of images are left out of scores, as in resamples that refit."""
    return source.layout.groups if scheme.draws is Draws.SUBSETS and source.layout is not None else None


def _by_measure(values, rest):
    """Values, and the fields of `Ready.full_sample`, of each measure."""
    return [*zip(values, *rest, strict=True)]
