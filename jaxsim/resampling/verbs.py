"""The public verb: scores of all networks on the full sample and on B resamples of the images."""

from collections.abc import Callable, Sequence
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import compare, inputs
from jaxsim.engine.checks import (
    check,
    fewest_images,
    ids_against,
    listed,
    listed_comparators,
    say_undefined,
    undefined_networks,
    warn_undefined,
)
from jaxsim.engine.memory import default_budget
from jaxsim.engine.program import embed
from jaxsim.engine.shapes import buckets
from jaxsim.inputs import Networks
from jaxsim.measures import Measure
from jaxsim.resampling import schemes
from jaxsim.resampling.program import (
    Path,
    keep_prepared,
    permuted_scores,
    prepare_call,
    refitted_scores,
    resampled_call,
    weighted_scores,
    whole_call,
    without_estimate,
)
from jaxsim.resampling.schemes import (
    BayesianBootstrap,
    Bootstrap,
    HalfSamples,
    Jackknife,
    Permutation,
    Scheme,
    Subsample,
)
from jaxsim.results import Maps, Provenance, Resamples

WEIGHTINGS_AT_ONCE = 8
"""Weightings that go through memory side by side; 16 and 32 measured slower, 8 floats being one vector register."""
NOT_REFITTED = "maps, transforms and bandwidths are those of the full sample"


@overload
def resample(
    features: Any,
    measure: Measure | Callable,
    scheme: Scheme,
    *,
    resamples: int | None = ...,
    key: jax.Array | None = ...,
    against: Any = ...,
    ids: Any = ...,
    against_ids: Any = ...,
    align: bool = ...,
    progress: Callable[[int, int], None] | None = ...,
    memory: float | None = ...,
    estimate: bool = ...,
) -> Resamples: ...
@overload
def resample(
    features: Any,
    measure: Sequence[Measure | Callable],
    scheme: Scheme,
    *,
    resamples: int | None = ...,
    key: jax.Array | None = ...,
    against: Any = ...,
    ids: Any = ...,
    against_ids: Any = ...,
    align: bool = ...,
    progress: Callable[[int, int], None] | None = ...,
    memory: float | None = ...,
    estimate: bool = ...,
) -> list[Resamples]: ...
def resample(
    features: Any,
    measure: Measure | Callable | Sequence[Measure | Callable],
    scheme: Scheme,
    *,
    resamples: int | None = None,
    key: jax.Array | None = None,
    against: Any = None,
    ids: Any = None,
    against_ids: Any = None,
    align: bool = False,
    progress: Callable[[int, int], None] | None = None,
    memory: float | None = None,
    estimate: bool = True,
) -> Resamples | list[Resamples]:
    """Scores of all networks on the full sample and on B resamples of the images, in one device call.

    Args:
        features: as for `js.affinity`; or `Maps`, with comparators as measures.
        measure: one measure or a list; a comparator for `Maps`.
        scheme: `HalfSamples()` for intervals that cover as they say, 100 resamples; or `Bootstrap()`,
            `BayesianBootstrap()`, `Subsample(size)`, `Jackknife()`, `Permutation()`.
        resamples: B; not given where the scheme says it itself (jackknife, explicit weights or indices).
        key: typed random key; resample b is folded in from b, so numbers do not depend on chunks or devices.
        against: networks of the columns, `(B, S, T)`; None compares `features` with themselves.
        ids: image labels, as for `js.affinity`.
        against_ids: labels of the images of `against` where that needs saying; `ids` if None.
        align: match images by id.
        progress: called with (done, B) between chunks; asking for it cuts the work into several device calls.
        memory: budget in bytes for what is held per chunk of resamples.
        estimate: False leaves out the full-sample scores (NaN), which for small subsets of many images cost more than
            all the resamples; for `Subsample` only.

    Returns:
        `Resamples` with `values (B, S, T)` and `estimate (S, T)`, or a list of them.

    Raises:
        TypeError: no scheme, no measure, or no typed key where one is needed.
        ValueError: sizes, indices, weights, strata or ids do not fit; the message says which.

    >>> import jax, jaxsim as js
    >>> features = jax.random.normal(jax.random.key(0), (3, 40, 8))
    >>> R = js.resample(features, js.CKA_LINEAR, js.Bootstrap(), resamples=50, key=jax.random.key(1))
    >>> R.values.shape, R.interval(0.95).shape
    ((50, 3, 3), (2, 3, 3))
    """
    x, y, measures, several = _read(features, against, ids, ids_against(against, ids, against_ids), measure)
    x, *rest = inputs.same_images(*([x] if y is None else [x, y]), align=align)
    y = rest[0] if rest else None
    for nets in (x, *rest):
        check(measures, nets)
    path, source, count = _plan(measures, scheme, resamples, key, x)
    if not estimate and not isinstance(scheme, Subsample):
        raise ValueError(f"{schemes.text(scheme)} needs the full-sample scores; estimate=False goes with Subsample.")
    values, (full, bad_x, bad_y) = _run(measures, x, y, path, source, count, progress, memory, estimate)
    made = []
    for k, m in enumerate(measures):
        undefined = undefined_networks(x, y, bad_x[k], bad_y[k])
        warn_undefined(say_undefined(m, undefined, x.images))
        made.append(_record(m, values[k], full[k], x, y, scheme, key, path, undefined))
    return made if several else made[0]


def _read(features, against, ids, against_ids, measure):
    if not isinstance(features, Maps):
        y = None if against is None else inputs.networks(against, against_ids, "against")
        return inputs.networks(features, ids), y, *listed(measure)
    y = None if against is None else inputs.square_maps(against, against_ids)
    return inputs.square_maps(features, ids), y, *listed_comparators(measure)


def _plan(measures, scheme, resamples, key, x: Networks):
    """The path on the device, what it draws from, and the number of resamples."""
    n, fewest = x.images, max(fewest_images(m) for m in measures)
    size, explicit = None, None
    if isinstance(scheme, Subsample):
        explicit = schemes.check_subsets(scheme, n, fewest)
        size = scheme.size
        path = Path(schemes.subset, embed, refitted_scores)
    elif isinstance(scheme, HalfSamples):
        _check_halves(scheme, resamples, n, fewest)
        path = Path(schemes.half, embed, refitted_scores)
    elif isinstance(scheme, Permutation):
        path = Path(schemes.shuffle, embed, permuted_scores)
    elif isinstance(scheme, (Bootstrap, BayesianBootstrap, Jackknife)):
        draw = schemes.dirichlet_weights if isinstance(scheme, BayesianBootstrap) else schemes.bootstrap_counts
        path = Path(draw, keep_prepared, weighted_scores)
        explicit = _explicit_weights(scheme, n)
    else:
        raise TypeError(f"scheme must be one of js.Bootstrap(), js.Subsample(size) and so on, not {scheme!r}.")
    if x.maps and path.scores is refitted_scores:
        raise ValueError(f"{schemes.text(scheme)} refits from features; ready-made maps go with the other schemes.")
    _check_comparators(measures, path)
    if explicit is not None:
        if getattr(scheme, "strata", None) is not None:
            raise ValueError(f"{schemes.text(scheme)}: strata guide random draws and do nothing beside explicit ones.")
        if resamples not in (None, len(explicit)):
            raise ValueError(f"{schemes.text(scheme)} gives {len(explicit)} resamples, not the {resamples} asked for.")
        return path._replace(draw=None), jax.device_put(explicit), len(explicit)
    if isinstance(resamples, bool) or not isinstance(resamples, (int, np.integer)) or resamples < 1:
        raise ValueError(f"resamples must be a positive whole number for {schemes.text(scheme)}, not {resamples!r}.")
    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise TypeError(f"{schemes.text(scheme)} needs a typed random key: key=jax.random.key(seed).")
    plan = schemes.layout(getattr(scheme, "strata", None), n, size, halves=isinstance(scheme, HalfSamples))
    plan = jax.tree.map(jax.device_put, plan)
    return path, (key, np.arange(resamples), plan), int(resamples)


def _check_halves(scheme, resamples, images, fewest):
    size = schemes.layout(scheme.strata, images, halves=True).kept.size
    if size < fewest:
        raise ValueError(
            f"{schemes.text(scheme)} of {images} images hold {size} each, and the measure needs {fewest} in each half."
        )
    if isinstance(resamples, (int, np.integer)) and resamples % 2:
        raise ValueError(f"half-samples come in pairs: resamples must be even, not {resamples}.")


def _explicit_weights(scheme, n):
    if isinstance(scheme, Jackknife):
        return scheme.weights(n)
    given = getattr(scheme, "weights", None)
    return None if given is None else schemes.check_weights(given, n)


def _check_comparators(measures, path):
    needed = {weighted_scores: "weighted", permuted_scores: "permuted"}.get(path.scores)
    for m in measures:
        own = compare.offer(m.compare)
        if needed and (getattr(own, needed) is None or needed == "permuted" and own.embed is None):
            raise TypeError(f"{m} compares with a function that has no {needed} form; use Subsample, which refits.")


def _run(measures, x, y, path, source, count, progress, memory, estimate):
    parts_x, rows = buckets(x, measures)
    parts_y, columns = (None, rows) if y is None else buckets(y, measures)
    at_once = _weightings_at_once(x, y, count, memory)
    inputs_ = (parts_x, parts_y, rows, columns, path)
    if progress is None and estimate:
        return whole_call(measures, *inputs_, source, at_once)
    if estimate:
        ready = prepare_call(measures, *inputs_)
    else:
        others = x if y is None else y
        ready = without_estimate(measures, len(x.names), len(others.names), x.arrays[0].dtype)
    chunk = count if progress is None else max(at_once, count // 50 // at_once * at_once)
    chunks = []
    for first in range(0, count, chunk):
        # the last chunk runs over the end and is cut, so that all chunks are one program
        numbers = np.minimum(np.arange(first, first + chunk), count - 1)
        part = source[numbers] if path.draw is None else (source[0], source[1][numbers], source[2])
        found = resampled_call(measures, ready, *inputs_, part, at_once)
        chunks.append([np.asarray(v) for v in found])
        if progress is not None:
            progress(min(first + chunk, count), count)
    values = [jnp.asarray(np.concatenate([c[k] for c in chunks])[:count]) for k in range(len(measures))]
    return values, (ready.estimate, ready.bad_x, ready.bad_y)


def _weightings_at_once(x, y, count, memory):
    """Resamples whose weighted ranks or pair weights are held together."""
    budget = default_budget() if memory is None else memory
    networks = len(x.names) + (0 if y is None else len(y.names))
    each = 4 * x.arrays[0].dtype.itemsize * (networks + 4) * x.images**2 / 2
    if memory is not None and each > budget:
        raise ValueError(
            f"a memory budget of {budget:.3g} bytes is too small for one resample, which needs {each:.3g}."
        )
    return int(max(1, min(WEIGHTINGS_AT_ONCE, count, budget // each)))


def _record(measure, values, estimate, x, y, scheme, key, path, undefined):
    notes = () if path.scores is refitted_scores else (NOT_REFITTED,)
    words = None if path.draw is None else f"{jax.random.key_impl(key)}:{np.asarray(jax.random.key_data(key)).tolist()}"
    provenance = Provenance.now(str(measure), values, scheme=schemes.text(scheme), key=words, notes=notes)
    size = None
    if isinstance(scheme, Subsample):
        size = scheme.size or np.shape(scheme.indices)[1]
    elif isinstance(scheme, HalfSamples):
        size = schemes.layout(scheme.strata, x.images, halves=True).kept.size
    targets = x.names if y is None else y.names
    bad = tuple(undefined.items())
    return Resamples(
        values, estimate, x.names, targets, provenance, scheme.kind, x.images, size, bad, against=y is not None
    )
