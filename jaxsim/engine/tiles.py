"""Scores without full maps: blocks of pairs of images, or products of features, added up in float64.

Memory is that of T blocks of a map, whatever the number n of images, beside n numbers a network. A comparator qualifies
whose embedding is a map less terms a_i + a_j, at length 1, or ranks, which are counted in `rank_bins` first.
"""

import dataclasses
from collections.abc import Callable, Container, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxsim import pairwise
from jaxsim.engine import feature_products, feature_space, rank_bins, reasons, tile_products
from jaxsim.engine import memory as budgets
from jaxsim.engine.checks import warn_of_lost_digits
from jaxsim.engine.row_blocks import RowBlocks
from jaxsim.inputs import Networks
from jaxsim.io.files import warn
from jaxsim.linalg import TALL, on_cpu
from jaxsim.measures import Measure, name_of
from jaxsim.protocols import ComparatorCapabilities, PairwiseCapabilities, TransformCapabilities, declared
from jaxsim.results import UndefinedScores
from jaxsim.statistics.checks import is_whole, shown

FEWEST, MOST = 2, 16384
"""Images in a block."""
COUNTED_FROM = 4000
"""Images from which on XLA's sort takes longer on a CPU than counts in bins, which are right to 1e-6."""
FEATURES_FROM = 2000
"""Images from which on full maps take longer on a CPU than products of features with half of their operations."""
PRODUCT_BYTES = 24
"""Bytes for each product of two columns."""
TILE = 1024
"""Most images in a block whose size nobody gave; blocks of 2048 leave a CPU's caches and take half as long again."""
ROUNDING = 8
"""Length of a centered map, in eps times that of the map, up to which it is rounding."""


def why_not(measure: Measure) -> str:
    """Words on why a measure cannot be computed in blocks; empty if it can."""
    transform = declared(measure.transform, TransformCapabilities)
    if not transform.by_image and transform.from_moments is None:
        return f"the transform {name_of(measure.transform)} needs all images together"
    if declared(measure.pairwise, PairwiseCapabilities).tiling is None:
        return f"{name_of(measure.pairwise)} needs all images together"
    own = declared(measure.compare, ComparatorCapabilities)
    if own.margins is None and own.rank_size is None:
        return f"{name_of(measure.compare)} needs full maps"
    return ""


def ranks_pairs(measure: Measure) -> bool:
    """Whether blocks are ranked, which takes a pass over them more, for the counts."""
    own = declared(measure.compare, ComparatorCapabilities)
    return own.margins is None and own.rank_size is not None


def require(measures: Sequence[Measure], tile: int) -> None:
    """Refuse measures that cannot be computed in blocks, and sizes that are none.

    Raises:
        TypeError: `tile` is no whole number.
        ValueError: naming the measure and the part that needs all images.
    """
    if not is_whole(tile):
        raise TypeError(f"tile must be a number of images, not {shown(tile)}.")
    if not FEWEST <= tile <= MOST:
        raise ValueError(f"tile must be between {FEWEST} and {MOST} images, not {tile}.")
    for m in measures:
        if words := why_not(m):
            raise ValueError(f"{m} cannot be computed in tiles: {words}; leave tile out.")


class Flaw(NamedTuple):
    """Why a network has no scores.

    Attributes:
        broken: images with features that are not finite.
        same: whether all images have the same features.
    """

    broken: int
    same: bool


class Scores(NamedTuple):
    """Scores from blocks.

    Attributes:
        values: `(S, T)`.
        rows: why networks of rows have none, or None where they have.
        columns: the same of columns.
        error: bound on the error by ranks in bins; zero where ranks are exact, or there are none.
        reordered: the values with the images of the columns' networks in another order, from what is known of the maps.
    """

    values: np.ndarray
    rows: list[Flaw | None]
    columns: list[Flaw | None]
    error: float
    reordered: Callable[[np.ndarray], np.ndarray]


without_warning = np.errstate(invalid="ignore")
"""NumPy's words on infinities that meet; networks without scores are warned of by name."""


@without_warning
def scores(measure: Measure, x: Networks, y: Networks | None, tile: int, by_features: bool) -> Scores:
    """Scores of all networks, from products of features if `by_features`."""
    arrays = [*x.arrays, *(() if y is None else y.arrays)]
    networks = [RowBlocks(a, measure, tile) for a in arrays]
    if by_features:
        networks = [RowBlocks(a, measure, min(tile, TALL)) for a in arrays]
        products = feature_products.products(measure, networks)
        canceled = np.diagonal(products.centered) < feature_space.CANCELED * products.parts
        if np.any(canceled & np.isfinite(products.plain)):
            products = tile_products.of_maps(measure, [RowBlocks(a, measure, tile) for a in arrays])
    elif ranks_pairs(measure):
        products = tile_products.of_ranks(measure, networks)
    else:
        products = tile_products.of_maps(measure, networks)
    length, total = np.sqrt(products.size), np.sqrt(products.plain)
    dtype = np.result_type(*(one.dtype for one in networks))
    eps = np.array([jnp.finfo(one.dtype).eps for one in networks], float)
    length = np.where(length > ROUNDING * eps * total, length, np.nan)
    finish, rows = declared(measure.compare, ComparatorCapabilities).finish, len(x.arrays)
    first, second = (slice(None),) * 2 if y is None else (slice(rows), slice(rows, None))

    def finished(centered):
        found = centered / length[first, None] / length[None, second]
        found = np.triu(found) + np.triu(found, 1).T if y is None else found
        return np.asarray(finish(jnp.asarray(found, dtype)))

    @without_warning
    def reordered(order):
        return finished(products.reordered(first, second, order))

    flaws = [
        Flaw(one.moments.broken, one.moments.reach == 0) if none else None
        for one, none in zip(networks, np.isnan(length).tolist(), strict=True)
    ]
    # of two networks, the sum of their errors is the largest
    error = float(np.sort(products.error)[-2:].sum())
    return Scores(
        finished(products.centered[first, second]),
        flaws[:rows],
        flaws[:rows] if y is None else flaws[rows:],
        error,
        reordered,
    )


def undefined(measure: Measure, found: Scores, x: Networks, y: Networks | None, tile: int) -> dict[str, int]:
    """Networks without scores, each warned of with its reason, and the number of images to blame."""
    named: dict[str, int] = {}
    for nets, flaws in ((x, found.rows),) if y is None else ((x, found.rows), (y, found.columns)):
        for name, flaw in zip(nets.names, flaws, strict=True):
            if flaw is not None:
                named[name] = flaw.broken
                why = reasons.of_tiles(measure, flaw.broken, flaw.same, x.images)
                warn(f"network {name!r} has no {measure} scores (NaN): {why}.", UndefinedScores)
    warn_of_digits(measure, (x,) if y is None else (x, y), tile, named)
    return named


def warn_of_digits(measure: Measure, sides: Sequence[Networks], tile: int, but: Container[str] = ()) -> None:
    """Warn of networks, but for those without scores, whose cast loses digits that scores may depend on."""
    for nets in sides:
        warn_of_lost_digits(f"its {measure} scores", measure.freedom, sample(nets, tile), but)


def notes(measure: Measure, tile: int, error: float) -> tuple[str, ...]:
    """Notes of the record on how scores were computed."""
    first = f"in tiles of {tile} images"
    if not ranks_pairs(measure):
        return (first,)
    return first, f"error by ranks in bins at most {error:.1g}" if error else "exact ranks"


@without_warning
def effective(measure: Measure, x: Networks, tile: int, by_features: bool) -> np.ndarray:
    """Effective number of images of each network's map `(T,)`: (sum e)^2 / sum e^2 of their shares e of its length.

    The map's margins are fitted to a sample of the images, which moves the number by about a hundredth. It is n for a
    comparator that declares no shares.
    """
    if declared(measure.compare, ComparatorCapabilities).shares is None:
        return np.full(len(x.names), float(x.images))
    of = feature_products.shares if by_features else tile_products.map_shares
    shares = [of(measure, RowBlocks(a, measure, tile)) for a in x.arrays]
    return np.array([e.sum() ** 2 / (e * e).sum() for e in shares])


def in_feature_space(
    measure: Measure, x: Networks, y: Networks | None, images: int | None = None, *, clearly: bool = False
) -> bool:
    """Whether scores of all images, or of so many of them, come from products of features.

    They do where that takes fewer operations, `clearly` half as many, and the products fit in memory.
    """
    width = declared(measure.transform, TransformCapabilities).width
    shapes = [*x.shapes, *(() if y is None else y.shapes)]
    total = sum(width(shape[1:]) for shape in shapes)
    fewer = feature_space.takes_fewer_operations(total, len(shapes), images or x.images, 2 if clearly else 1)
    return feature_products.applies(measure) and fewer and PRODUCT_BYTES * total**2 <= budgets.budget_of(None)


def sample(nets: Networks, tile: int) -> Networks:
    """The networks on about a block of images from all over."""
    rows = range(0, nets.images, -(-nets.images // tile))
    return dataclasses.replace(nets, arrays=tuple(a[rows.start : rows.stop : rows.step] for a in nets.arrays), ids=None)


def automatic(
    measures: Sequence[Measure], x: Networks, y: Networks | None, memory: float | None, *, to_save_time: bool
) -> int | None:
    """Images in a tile where the maps of two networks do not fit in the budget, or tiles save time; else None."""
    arrays = [*x.arrays, *(() if y is None else y.arrays)]
    maps, itemsize = [m for m in measures if not feature_space.applies(m)], x.dtype.itemsize
    budget = budgets.budget_of(memory)
    whole = 2 * budgets.map_bytes(tuple(maps), x.images, itemsize) + budgets.working_bytes(x.images, itemsize)
    if not maps or any(why_not(m) for m in measures):
        return None
    if whole <= budget and not (to_save_time and all(_is_faster(m, x, y) for m in maps)):
        return None
    return largest(measures, len(arrays), x.images, x.dtype, budget)


def largest(measures: Sequence[Measure], networks: int, images: int, dtype: np.dtype, budget: float) -> int | None:
    """Most images in a tile within a budget in bytes, or None where none fits."""
    left = budget - (rank_bins.table_bytes(networks, images, dtype) if any(map(ranks_pairs, measures)) else 0)
    if left <= 0:
        return None
    # a block of every network, and a few on the way
    tile = int((left / 2 / dtype.itemsize / (networks + 6)) ** 0.5)
    return min(tile, TILE, images) if tile >= FEWEST else None


def _is_faster(measure: Measure, x: Networks, y: Networks | None) -> bool:
    """Whether blocks take less time than full maps, as from many images on on a CPU.

    Products of features do, and counting pairs in bins does where it takes the place of sorting them. Other distances
    than these have fewer digits in blocks where one image is far from all others.
    """
    if not on_cpu():
        return False
    if not ranks_pairs(measure):
        return x.images >= FEATURES_FROM and in_feature_space(measure, x, y, clearly=True)
    bounded = measure.pairwise in (pairwise.correlation, pairwise.cosine)
    return x.images >= COUNTED_FROM and bounded and x.dtype == np.float32
