"""The public verbs on features and on precomputed maps."""

import itertools
from collections.abc import Sequence
from typing import Any, TypedDict, Unpack, overload

import jax.numpy as jnp
import numpy as np

from jaxsim import inputs
from jaxsim.engine import gaps, tiles
from jaxsim.engine import memory as budgets
from jaxsim.engine.checks import (
    as_comparators,
    as_measures,
    as_one,
    check,
    min_images,
    of_one_or_several,
    require_others,
    require_symmetric,
    undefined_networks,
    warn_of_lost_digits,
)
from jaxsim.engine.devices import local_count, on_one, put
from jaxsim.engine.host_ranks import affinity_call
from jaxsim.engine.padding import both_buckets, buckets, by_freedom
from jaxsim.engine.plans import FEATURES, Plan, plan, together, with_costs
from jaxsim.engine.processes import divide, least, lost_processes, several
from jaxsim.engine.program import defined, is_embedded, maps_call
from jaxsim.io.files import warn
from jaxsim.linalg import mirrored
from jaxsim.measures import Measure
from jaxsim.protocols import Comparator, PairwiseCapabilities, declared
from jaxsim.results import Affinity, Maps, Provenance, UndefinedScores
from jaxsim.statistics.checks import flag, one_of


class MapOptions(TypedDict, total=False):
    """Keywords of `compare_maps`."""

    against: Any
    ids: Any
    against_ids: Any
    align: bool
    missing: str
    memory: float | None
    devices: Any


@of_one_or_several
def affinity(
    features: Any,
    measure: str | Measure | Sequence[str | Measure],
    *,
    against: Any = None,
    ids: Any = None,
    against_ids: Any = None,
    align: bool = False,
    missing: str = "shared",
    channels: Any = None,
    memory: float | None = None,
    tile: int | None = None,
    devices: Any = None,
) -> Affinity | list[Affinity]:
    """Similarity of networks with each other, or with others, over the same n images.

    Works inside `jax.jit`, `vmap`, `grad` and `scan`; checks of values and `missing="pairwise"` are not for there.

    Args:
        features: mapping of name to `(n, ..., c)`, or a stack `(T, n, ..., c)`; NumPy, JAX, or any DLPack array.
            The networks may differ in all but n.
        measure: a measure or its name, or a list of them, which shares transforms and products and returns a list.
        against: networks of the columns (layers with networks, networks with brain regions), as `features`; None
            compares `features` with themselves. The square matrix of both together is never formed.
        ids: labels of the images: `(n,)` for all, or a mapping of name to labels.
        against_ids: labels of the images of `against`; if None, those that `Maps` carry, or `ids`.
        align: match images by id where networks hold them in another order or miss some.
        missing: with `align`, "shared" uses the images that all networks have, "pairwise" for every pair of networks
            those that both have.
        channels: "first" for features `(n, c, ...)`, as in PyTorch, or a mapping of name to "first" or "last".
        memory: budget in bytes for maps held at once; if None, half of the free memory, or 60 % of an accelerator's.
            It divides the work into several device calls, so that it does not go inside `jit`.
        tile: images in a block of pairs. Maps are then never whole, and features are read block by block, from
            memory-mapped arrays too; not with `memory`. If None, maps are whole, unless two of them do not fit in the
            budget, or correlation or cosine distances of 4000 images or more are ranked on a CPU, where tiles take
            less time. Ranks in tiles come from counts, right to 1e-6. Parts that take all images at once have none.
        devices: number of this process's devices, a list of devices, a `jax.sharding.Mesh`, or "all" for those of all
            processes: each takes a share of the networks. If None, all accelerators of this process, if there are
            several and the features are on the host; else the device where they are. `memory` is that of each.

    Returns:
        `Affinity` with `values (T, T)`, or `(S, T)` with `against`; or a list of them.

    Raises:
        TypeError: an array is not numeric.
        ValueError: names, shapes, ids, numbers of images or the budget do not fit, or a measure takes no tiles; the
            message says which.

    >>> import numpy as np, jaxsim as js
    >>> x = np.random.default_rng(0).normal(size=(20, 8))
    >>> A = js.affinity({"a": x, "b": x[:, :5]}, "cka")
    >>> A.names, A.values.shape
    (('a', 'b'), (2, 2))
    >>> js.affinity({"a": x, "b": -x[:, :5]}, "cka", against={"new": x}).ranking("new")[0][0]
    'a'
    """
    measures, several = as_measures(measure)
    x, y, mesh = _read(features, against, ids, against_ids, channels, tile, devices)
    found = _run(measures, x, y, align, missing, memory, mesh, tile, devices is not None)
    return found if several else found[0]


def plan_of(
    features: Any,
    measure: Any,
    *,
    against: Any,
    ids: Any,
    against_ids: Any,
    align: bool,
    missing: str,
    channels: Any,
    memory: float | None,
    tile: int | None,
    devices: Any,
) -> Plan:
    """The plan that `affinity` of the same arguments follows, with its costs."""
    measures, _ = as_measures(measure)
    align, missing = flag(align, "align"), one_of(missing, inputs.MISSING, "missing")
    x, y, mesh = _read(features, against, ids, against_ids, channels, tile, devices)
    memory = _least_memory(measures, memory, tile, mesh)
    if _on_shared_images(x, align, missing, tile, mesh):
        x, y = _aligned(x, y, align, missing)
        return with_costs(plan(measures, x, y, memory, tile, mesh, asked=devices is not None), measures, x, y)
    parts = []
    for shared, _, a, b in _pairs_by_images(x, x if y is None else y, y is None):
        if len(shared) >= max(map(min_images, measures)):
            parts.append(with_costs(plan(measures, a, b, memory, None, mesh), measures, a, b))
    if not parts:
        raise ValueError("no two networks share enough images to have a score.")
    return together(parts, x, y)


def _read(features, against, ids, against_ids, channels, tile, devices):
    """Networks of the rows and of the columns, or None, and the devices that share them."""
    x, y = inputs.both(features, against, ids, against_ids, channels, cast=tile is None)
    x, y, mesh = divide(x, y, devices)
    require_others("affinity", x, y)
    return x, y, mesh


def maps(features: Any, measure: str | Measure, *, ids: Any = None, align: bool = False, channels: Any = None) -> Maps:
    """Pairwise map of every network, `measure.pairwise(measure.transform(x))`.

    Args:
        features: as for `js.affinity`.
        measure: a measure or its name.
        ids: as for `js.affinity`.
        align: as for `js.affinity`.
        channels: as for `js.affinity`.

    Returns:
        `Maps` with `values (T, n, n)`.

    Raises:
        TypeError: an array is not numeric, or there are several measures.
        ValueError: the measure has no maps, or names, shapes, ids or memory do not fit.

    >>> import jax, jaxsim as js
    >>> js.maps(jax.random.normal(jax.random.key(0), (3, 20, 8)), js.RSA).values.shape
    (3, 20, 20)
    """
    measure = as_one(as_measures(measure), "maps")
    if declared(measure.pairwise, PairwiseCapabilities).coordinates:
        raise ValueError(
            f"{measure} compares subspaces and has no maps of pairs of images; js.affinity computes its scores."
        )
    nets = inputs.same_images(inputs.networks(features, ids, channels=channels), align=align)[0]
    check([measure], nets)
    size = nets.dtype.itemsize
    budgets.require_maps(len(nets.names), nets.images**2 * size, nets.images, size)
    plain = defined(measure)
    warn_of_lost_digits(f"its {measure} map", plain.freedom, nets)
    values = maps_call(plain, *buckets(nets.cast(plain.freedom), [plain]))
    return Maps(values, nets.names, Provenance.now(str(measure), values), nets.ids[0] if nets.ids else None)


@overload
def compare_maps(maps: Any, compare: str | Comparator, **options: Unpack[MapOptions]) -> Affinity: ...
@overload
def compare_maps(maps: Any, compare: Sequence[str | Comparator], **options: Unpack[MapOptions]) -> list[Affinity]: ...
def compare_maps(
    maps: Any,
    compare: str | Comparator | Sequence[str | Comparator],
    *,
    against: Any = None,
    ids: Any = None,
    against_ids: Any = None,
    align: bool = False,
    missing: str = "shared",
    memory: float | None = None,
    devices: Any = None,
) -> Affinity | list[Affinity]:
    """Similarity of precomputed maps.

    A pair of images that a map lacks is NaN in it. Scores of such a map are NaN, or with `missing="pairwise"` those on
    the pairs of images that both maps have; then `Affinity.pairs` says how many, and fewer than 3 have no score.

    Args:
        maps: mapping of name to `(n, n)` or to condensed rows `(n (n - 1) / 2,)` in SciPy's order, a stack of either,
            or `Maps`; or one map, where there are others in `against`.
        compare: comparator such as `js.compare.spearman` or its name, or a list of them.
        against: other maps for the columns; None compares `maps` with themselves.
        ids: as for `js.affinity`; rows and columns of a map are aligned together.
        against_ids: as for `js.affinity`.
        align: as for `js.affinity`.
        missing: "pairwise" compares two maps on the pairs of images that both have, by pearson, spearman, rho_a or
            cosine; with `align`, also as for `js.affinity`.
        memory: as for `js.affinity`.
        devices: as for `js.affinity`.

    Raises:
        TypeError: `compare` is a measure of features, or a map lacks pairs that it needs.
        ValueError: maps, ids or the budget do not fit, or there is one map alone; the message says which.

    >>> import jax.numpy as jnp, jaxsim as js
    >>> js.compare_maps({"a": [0.1, 0.5, 0.3], "b": [1.0, 3.0, 2.0]}, "spearman").values.round(3).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    measures, several = as_comparators(compare)
    x, y = inputs.both(maps, against, ids, against_ids, maps=True)
    x, y, mesh = divide(x, y, devices)
    require_others("compare_maps", x, y)
    found = _run(measures, x, y, align, missing, memory, mesh)
    return found if several else found[0]


def _run(measures, x, y, align, missing, memory, mesh, tile=None, asked=True) -> list[Affinity]:
    """Scores of each measure."""
    align, missing = flag(align, "align"), one_of(missing, inputs.MISSING, "missing")
    memory = _least_memory(measures, memory, tile, mesh)
    if not _on_shared_images(x, align, missing, tile, mesh):
        found = _pairwise(measures, x, y, memory, mesh)
    else:
        x, y = _aligned(x, y, align, missing)
        chosen = plan(measures, x, y, memory, tile, mesh, asked=asked)
        found = _followed(chosen, measures, x, y, mesh, missing == "pairwise")
    for one in found:
        gaps.warn_of_unscored(one)
    return found


def _on_shared_images(x, align, missing, tile, mesh) -> bool:
    """Whether all networks are compared on the images that all share, and not every pair on its own.

    Raises:
        ValueError: `missing` does not go with the others.
    """
    if several(mesh) and missing == "pairwise":
        raise ValueError('missing="pairwise" needs all networks in one process, and there are several processes.')
    if not align or missing != "pairwise" or x.ids is None:
        return True
    if tile is not None:
        raise ValueError(
            'missing="pairwise" compares maps of different images for each pair of networks; leave tile out.'
        )
    return False


def _aligned(x, y, align, missing):
    """Networks of rows and columns on the same images.

    Raises:
        ValueError: ids do not fit, or `missing` has no effect.
    """
    x, y = inputs.same_images(x, y, align=align)
    if missing == "pairwise" and not x.maps:
        raise ValueError('missing="pairwise" has no effect on features without ids and align=True; leave it out.')
    return x, y


def _least_memory(measures, memory, tile, mesh):
    """`memory`, or the least that a process of several has.

    Raises:
        ValueError: there is a tile too, or a measure takes none.
    """
    if tile is not None:
        tiles.require(measures, tile)
        if memory is not None:
            raise ValueError("memory and tile both limit what is held in memory; leave one out.")
    return least(budgets.budget_of(memory, local_count(mesh)), mesh) if several(mesh) else memory


def _followed(chosen, measures, x, y, mesh, pairwise) -> list[Affinity]:
    """Scores of each measure, as planned."""
    if chosen.tile:
        return _tiled(chosen, measures, x, y)
    return _scores(chosen, measures, x, y, mesh, pairwise)


def _scores(chosen, measures, x, y, mesh, pairwise) -> list[Affinity]:
    holes = gaps.find(measures, x, y) if pairwise and x.maps else None
    # by identity, since a measure that holds arrays has no hash
    planned = {id(m): route == FEATURES for m, (_, route) in zip(measures, chosen.routes, strict=True)}

    def run(call, mesh=None):
        return by_freedom(measures, (x, y), lambda some, a, b: _in_blocks(some, a, b, chosen.block, mesh, call(some)))

    def as_planned(some):
        cheaper = tuple(planned[id(m)] for m in some)
        return lambda *args, mesh=None: affinity_call(*args, mesh=mesh, cheaper=cheaper)

    found = run(as_planned, mesh)
    if holes and holes.exist:
        found = gaps.filled(found, run(lambda some: gaps.shared_call), holes)
    made = []
    for m, (values, bad_x, bad_y) in zip(measures, found, strict=True):
        images = np.full(values.shape, x.images)
        if y is None and not is_embedded(m) and not inputs.traced(values):
            require_symmetric(m, x.names, values)
            values = mirrored(values)
        # of pairs of maps with gaps that have no score, `gaps` speaks
        undefined = undefined_networks(m, x, y, bad_x, bad_y, None if holes and holes.exist else values)
        provenance, bad, pairs = Provenance.now(str(m), values), tuple(undefined.items()), holes and holes.pairs
        made.append(Affinity(values, images, x.names, (y or x).names, provenance, bad, y is not None, pairs=pairs))
    return made


def _tiled(chosen, measures, x, y) -> list[Affinity]:
    tile = chosen.tile

    def one(m, route):
        # what is known of the maps goes before the next measure
        found = tiles.scores(m, x, y, tile, route == FEATURES)
        undefined = tuple(tiles.undefined(m, found, x, y, tile).items())
        array = jnp.asarray(found.values)
        provenance = Provenance.now(str(m), array, notes=tiles.notes(m, tile, found.error))
        images = np.full(array.shape, x.images)
        return Affinity(array, images, x.names, (y or x).names, provenance, undefined, y is not None)

    return [one(m, route) for m, (_, route) in zip(measures, chosen.routes, strict=True)]


def _in_blocks(measures, x, y, block, mesh, call):
    """Scores of all networks, block by block where the plan says that their maps do not fit together."""
    count = len(x.names) + (0 if y is None else len(y.names))
    measures = put(measures, mesh)

    def run(*networks):
        if mesh is None:
            return call(measures, *networks)
        with lost_processes():
            return on_one(call(measures, *networks, mesh=mesh), mesh)

    if block >= count:
        return run(*both_buckets(x, y, measures, mesh))
    cuts_x, cuts_y = _cuts(x, block), None if y is None else _cuts(y, block)
    grid = []
    for i, a in enumerate(cuts_x):
        others = cuts_x[i:] if cuts_y is None else cuts_y
        grid.append([run(*both_buckets(a, None if b is a else b, measures, mesh)) for b in others])
    found = []
    for k in range(len(measures)):
        bad_x = np.concatenate([row[0][k][1] for row in grid])
        bad_y = bad_x if y is None else np.concatenate([cell[k][2] for cell in grid[0]])
        found.append((_assemble([[cell[k][0] for cell in row] for row in grid], y is None), bad_x, bad_y))
    return found


def _cuts(nets, block):
    return [nets.select(range(k, min(k + block, len(nets.names)))) for k in range(0, len(nets.names), block)]


def _assemble(cells, symmetric):
    """Blocks to one matrix; of a symmetric one, the blocks on and above the diagonal are given."""
    if not symmetric:
        return jnp.block(cells)
    count = len(cells)
    return jnp.block([[cells[i][j - i] if j >= i else cells[j][i - j].T for j in range(count)] for i in range(count)])


def _pairwise(measures, x, y, memory, mesh) -> list[Affinity]:
    """Every pair on the images that both have; pairs with the same images are computed together."""
    columns = x if y is None else y
    shape = (len(x.names), len(columns.names))
    values = [np.full(shape, np.nan, np.float64) for _ in measures]
    images, numbers, undefined = np.zeros(shape, int), np.zeros(shape, int), [{} for _ in measures]
    notes = [{"every pair of networks on the images that both have": None} for _ in measures]
    least = max(min_images(m) for m in measures)
    one_way = y is None and all(map(is_embedded, measures))
    for shared, pairs, own_x, own_y in _pairs_by_images(x, columns, one_way):
        places = tuple(np.transpose(pairs))
        images[places] = len(shared)
        if len(shared) < least:
            a, b = x.names[pairs[0][0]], columns.names[pairs[0][1]]
            text = f"networks {a!r} and {b!r} share {len(shared)} images, and a score needs {least}: theirs are NaN."
            warn(text, UndefinedScores)
            continue
        chosen = plan(measures, own_x, own_y, memory, None, mesh)
        found = _followed(chosen, measures, own_x, own_y, mesh, True)
        if inputs.traced(found):
            raise TypeError(gaps.TRACED)
        own = tuple(np.searchsorted(np.unique(one), one) for one in places)
        for k, one in enumerate(found):
            values[k][places] = np.asarray(one.values)[own]
            undefined[k] |= dict(one.undefined)
            notes[k] |= dict.fromkeys(one.provenance.notes)
            numbers[places] = 0 if one.pairs is None else one.pairs[own]
    if y is None:
        for m, matrix in zip(measures, values, strict=True):
            require_symmetric(m, x.names, matrix)
        for matrix in (*values, images, numbers):
            matrix[:] = np.triu(matrix) + np.triu(matrix, 1).T
    records = zip(measures, values, undefined, notes, strict=True)
    pairs = numbers if x.maps else None
    return [_pairwise_record(m, v, images, pairs, x, columns, u, tuple(said)) for m, v, u, said in records]


def _pairs_by_images(x, columns, square):
    """Pairs of networks (row, column) with the same images: the images, the pairs, and their networks on these.

    One of each two pairs if `square`.

    Raises:
        ValueError: the columns have no image ids.
    """
    if columns.ids is None:
        raise ValueError("one set of networks has image ids and the other has none; give ids for both or neither.")
    groups: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for s, t in itertools.product(range(len(x.names)), range(len(columns.names))):
        if not square or s <= t:
            groups.setdefault(tuple(sorted(set(x.ids[s]).intersection(columns.ids[t]))), []).append((s, t))
    for shared, pairs in groups.items():
        rows, cols = (sorted({p[k] for p in pairs}) for k in (0, 1))
        yield shared, pairs, x.select(rows, shared), columns.select(cols, shared)


def _pairwise_record(measure, values, images, pairs, x, columns, undefined, notes):
    array = jnp.asarray(values.astype(x.dtype))
    provenance = Provenance.now(str(measure), array, notes=notes)
    bad = tuple(undefined.items())
    return Affinity(array, images, x.names, columns.names, provenance, bad, columns is not x, pairs=pairs)
