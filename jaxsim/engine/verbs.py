"""The public verbs on features and on ready-made maps."""

import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import inputs
from jaxsim.engine import memory as budgets
from jaxsim.engine.program import affinity_call, maps_call
from jaxsim.engine.shapes import buckets
from jaxsim.inputs import Networks
from jaxsim.measures import Measure, of_maps
from jaxsim.results import Affinity, Maps, Provenance, UndefinedScores


def affinity(
    features: Any,
    measure: Measure | Sequence[Measure],
    *,
    ids: Any = None,
    align: bool = False,
    missing: str = "shared",
    memory: float | None = None,
) -> Any:
    """Similarity of every network with every other over the same n images.

    Args:
        features: mapping of name to `(n, ..., c)`, or a stack `(T, n, ..., c)`; NumPy, JAX, or any DLPack array.
            The networks may differ in all but n.
        measure: one measure, or a list, which shares transforms and products and returns a list.
        ids: labels of the images: `(n,)` for all, or a mapping of name to labels.
        align: match rows by id where networks hold their images in another order or miss some.
        missing: with `align`, "shared" uses the images that all networks have, "pairwise" for every pair of networks
            those that both have.
        memory: budget in bytes for maps held at once; half of the free memory if None.

    Returns:
        `Affinity` with `values (T, T)`, or a list of them.

    Raises:
        TypeError: an array is not numeric.
        ValueError: names, shapes, ids, numbers of images or the budget do not fit; the message says which.

    >>> import jax, jaxsim as js
    >>> x = jax.random.normal(jax.random.key(0), (20, 8))
    >>> A = js.affinity({"a": x, "b": x[:, :5]}, js.CKA_LINEAR)
    >>> A.names, A.values.shape
    (('a', 'b'), (2, 2))
    """
    nets = inputs.networks(features, ids)
    if len(nets.names) < 2:
        raise ValueError(f"affinity compares networks with each other; there is only {''.join(nets.names)!r}.")
    return _run(measure, nets, None, align, missing, memory)


def cross_affinity(
    xs: Any,
    ys: Any,
    measure: Measure | Sequence[Measure],
    *,
    ids: Any = None,
    ids_ys: Any = None,
    align: bool = False,
    missing: str = "shared",
    memory: float | None = None,
) -> Any:
    """Similarity of S networks with T others (layers with networks, networks with brain regions): `(S, T)`.

    The square matrix of all S + T is never formed. Arguments as for `affinity`; `ids_ys` labels the images of `ys`
    where that needs saying, and is `ids` if None.

    >>> import jax, jaxsim as js
    >>> xs = jax.random.normal(jax.random.key(0), (3, 20, 8))
    >>> js.cross_affinity(xs, {"target": xs[1]}, js.DDS_LAPLACIAN).ranking("target")[0][0]
    'network_1'
    """
    x = inputs.networks(xs, ids, "xs")
    y = inputs.networks(ys, ids if ids_ys is None else ids_ys, "ys")
    return _run(measure, x, y, align, missing, memory)


def maps(features: Any, measure: Measure, *, ids: Any = None, align: bool = False) -> Maps:
    """Pairwise map of every network, `measure.pairwise(measure.transform(x))`: `Maps` with `values (T, n, n)`.

    >>> import jax, jaxsim as js
    >>> js.maps(jax.random.normal(jax.random.key(0), (3, 20, 8)), js.RSA).values.shape
    (3, 20, 20)
    """
    nets = inputs.same_images(inputs.networks(features, ids), align=align)[0]
    check([measure], nets)
    parts, rows = buckets(nets, [measure])
    values = maps_call(measure, parts, rows)
    return Maps(values, nets.names, Provenance.now(str(measure), values), nets.ids[0] if nets.ids else None)


def compare_maps(
    maps: Any,
    compare: Callable | Sequence[Callable],
    *,
    against: Any = None,
    ids: Any = None,
    align: bool = False,
    memory: float | None = None,
) -> Any:
    """Similarity of ready-made maps.

    Args:
        maps: mapping of name to `(n, n)` or to condensed rows `(n (n - 1) / 2,)` in SciPy's order, a stack of either,
            or the `Maps` of `js.maps`.
        compare: comparator such as `js.compare.spearman`, or a list of them.
        against: other maps for the columns; None compares `maps` with themselves.
        ids: labels of the images, as for `affinity`; rows and columns of a map are aligned together.
        align: match images by id.
        memory: as for `affinity`.

    >>> import jax.numpy as jnp, jaxsim as js
    >>> js.compare_maps({"a": [0.1, 0.5, 0.3], "b": [1.0, 3.0, 2.0]}, js.compare.spearman).values.round(3).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    x = inputs.square_maps(maps, ids)
    y = None if against is None else inputs.square_maps(against, ids)
    several = isinstance(compare, Sequence)
    measures = [of_maps(c) for c in compare] if several else of_maps(compare)
    return _run(measures, x, y, align, "shared", memory)


def _run(measure, x, y, align, missing, memory):
    """Scores as records; a list of them where `measure` is one."""
    several = not isinstance(measure, Measure)
    measures = tuple(measure) if several else (measure,)
    if not measures or not all(isinstance(m, Measure) for m in measures):
        raise TypeError("measure must be a jaxsim Measure, such as js.RSA, or a list of them.")
    if missing not in inputs.MISSING:
        raise ValueError(f"missing must be one of {', '.join(inputs.MISSING)}, not {missing!r}.")
    if align and missing == "pairwise" and x.ids is not None:
        found = _pairwise(measures, x, y, memory)
    else:
        x, *rest = inputs.same_images(*([x] if y is None else [x, y]), align=align)
        found = _scores(measures, x, rest[0] if rest else None, memory)
    return found if several else found[0]


def _scores(measures, x, y, memory) -> list[Affinity]:
    for nets in (x,) if y is None else (x, y):
        check(measures, nets)
    values, bad_x, bad_y = _in_blocks(measures, x, y, memory)
    made = []
    for k, m in enumerate(measures):
        images = np.full(values[k].shape, x.images)
        undefined = undefined_networks(values[k], x, y, bad_x[k], bad_y[k])
        warn_undefined(m, undefined, x.images, level=5)
        targets = x.names if y is None else y.names
        provenance = Provenance.now(str(m), values[k])
        made.append(Affinity(values[k], images, x.names, targets, provenance, tuple(undefined.items())))
    return made


def _in_blocks(measures, x, y, memory):
    """Scores of all networks, block by block where their maps do not fit into the budget together."""
    together = x if y is None else Networks(x.names + y.names, x.arrays + y.arrays, None)
    block = budgets.block_size(measures, together, memory)
    if block >= len(together.names):
        return _one_call(measures, x, y)
    cuts_x, cuts_y = _cuts(x, block), None if y is None else _cuts(y, block)
    rows = []
    for i, a in enumerate(cuts_x):
        others = cuts_x if cuts_y is None else cuts_y
        row = [_one_call(measures, a, None if b is a else b) for b in (others[i:] if cuts_y is None else others)]
        rows.append(row)
    values = [_assemble([[cell[0][k] for cell in row] for row in rows], y is None) for k in range(len(measures))]
    bad_x = [np.concatenate([row[0][1][k] for row in rows]) for k in range(len(measures))]
    bad_y = bad_x if y is None else [np.concatenate([c[2][k] for c in rows[0]]) for k in range(len(measures))]
    return values, bad_x, bad_y


def _cuts(nets, block):
    return [nets.select(range(k, min(k + block, len(nets.names)))) for k in range(0, len(nets.names), block)]


def _assemble(cells, symmetric):
    """Blocks to one matrix; of a symmetric one, the blocks on and above the diagonal are given."""
    if not symmetric:
        return jnp.block(cells)
    count = len(cells)
    return jnp.block([[cells[i][j - i] if j >= i else cells[j][i - j].T for j in range(count)] for i in range(count)])


def _one_call(measures, x, y):
    parts_x, rows = buckets(x, measures)
    parts_y, columns = (None, rows) if y is None else buckets(y, measures)
    return affinity_call(measures, parts_x, parts_y, rows, columns)


def _pairwise(measures, x, y, memory) -> list[Affinity]:
    """Every pair on the images that both have; pairs with the same images are computed together."""
    columns = x if y is None else y
    shape = (len(x.names), len(columns.names))
    values = [np.full(shape, np.nan, np.float64) for _ in measures]
    images = np.zeros(shape, int)
    groups: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for s, t in itertools.product(*map(range, shape)):
        if y is None and t < s:
            continue
        shared = set(columns.ids[t])
        groups.setdefault(tuple(sorted(shared.intersection(x.ids[s]))), []).append((s, t))
    fewest = max(fewest_images(m) for m in measures)
    for shared, pairs in groups.items():
        rows, cols = (sorted({p[k] for p in pairs}) for k in (0, 1))
        if len(shared) >= fewest:
            a, b = x.select(rows, shared), columns.select(cols, shared)
            found = _scores(measures, a, b, memory)
        for s, t in pairs:
            images[s, t] = len(shared)
            for k in range(len(measures) if len(shared) >= fewest else 0):
                values[k][s, t] = found[k].values[rows.index(s), cols.index(t)]
            if y is None:
                images[t, s] = images[s, t]
                for v in values:
                    v[t, s] = v[s, t]
    return [_pairwise_record(m, v, images, x, columns) for m, v in zip(measures, values, strict=True)]


def _pairwise_record(measure, values, images, x, columns):
    array = jnp.asarray(values.astype(np.result_type(*(a.dtype for a in x.arrays))))
    note = "every pair of networks on the images that both have"
    return Affinity(array, images, x.names, columns.names, Provenance.now(str(measure), array, notes=(note,)))


def undefined_networks(values: jax.Array, x: Networks, y: Networks | None, bad_x, bad_y) -> dict[str, int]:
    """Networks whose scores are all NaN, with the number of their images that have no distances."""
    nan = np.atleast_2d(np.isnan(np.asarray(values)))
    found = {
        n: int(b)
        for n, b, all_nan in zip(x.names, np.asarray(bad_x), np.atleast_1d(nan.all(1)), strict=True)
        if all_nan
    }
    if y is not None:
        found |= {
            n: int(b)
            for n, b, all_nan in zip(y.names, np.asarray(bad_y), np.atleast_1d(nan.all(0)), strict=True)
            if all_nan
        }
    return found


def warn_undefined(measure: Measure, undefined: dict[str, int], images: int, level: int) -> None:
    """Say on the host which networks have no scores, and why."""
    for name, count in undefined.items():
        why = (
            f"{count} of its {images} images have NaN, infinite or constant features"
            if count
            else "its map is constant, or its features hold NaN"
        )
        warnings.warn(f"network {name!r} has no {measure} scores (NaN): {why}.", UndefinedScores, stacklevel=level + 1)


def fewest_images(measure: Measure) -> int:
    """Images that the measure's comparator needs at least."""
    return getattr(measure.compare, "fewest", 2)


def check(measures: Sequence[Measure], nets: Networks) -> None:
    """Refuse what a measure cannot be computed from.

    Raises:
        ValueError: too few images, no positions, channels that do not divide, or a Duality of another shape.
    """
    for m in measures:
        if nets.images < fewest_images(m):
            raise ValueError(f"{m} needs at least {fewest_images(m)} images; there are {nets.images}.")
        for name, array in zip(nets.names, nets.arrays, strict=True):
            try:
                jax.eval_shape(m.transform, jax.ShapeDtypeStruct(array.shape, array.dtype))
            except ValueError as error:
                raise ValueError(f"network {name!r}: {error}") from None
