"""The kinds of part: transforms, pairwise functions, comparators and schemes, with their optional capabilities.

Any callable with the stated shapes is a part. A part declares a capability as a plain attribute with the name used in
the capability record of its kind; `declared` fills in the defaults. The engine reads only these records: it does not
know any part by name or class.

>>> from jaxsim import compare
>>> declared(compare.spearman, ComparatorCapabilities).min_images
3
>>> declared(lambda a, b: a[0, 1] * b[0, 1], ComparatorCapabilities).min_images
2
"""

import enum
import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
from jaxtyping import Array, Float

NOTHING = 0
"""Invariance of a comparator: no change of a map is known to leave the score unchanged."""
SCALE = 1
"""Invariance of a comparator: a map may be multiplied by a positive number."""
CONSTANT = 2
"""Invariance of a comparator: a constant, the same for all pairs, may be added as well."""
MARGINS = 3
"""Invariance of a comparator: terms a_i + a_j may be added as well, including a constant."""
PRODUCTS, SQUARES = "inner products", "squared distances"
"""What the entries of a map may be a multiple of, given the points."""


@runtime_checkable
class Transform(Protocol):
    """D X Q of the duality diagram: features of n images to one row per image."""

    def __call__(self, x: Float[Array, "n ..."], /) -> Float[Array, "n d"]:
        """`(n, ..., c) -> (n, d)`."""
        ...


@runtime_checkable
class Pairwise(Protocol):
    """f of the duality diagram: a distance or kernel between all pairs of images."""

    def __call__(self, x: Float[Array, "n d"], /) -> Float[Array, "n n"]:
        """`(n, d) -> (n, n)`."""
        ...


@runtime_checkable
class Comparator(Protocol):
    """g of the duality diagram: the similarity of two pairwise maps, in either order."""

    def __call__(self, a: Float[Array, "n n"], b: Float[Array, "n n"], /) -> Float[Array, ""]:
        """`(n, n), (n, n) -> ()`."""
        ...


def _ravel(where):
    return where.ravel()


def _unchanged(x):
    return x


class TransformCapabilities(NamedTuple):
    """Optional capabilities of a transform, with their defaults.

    Attributes:
        accepts_padding: whether it accepts `where`, of shape `x.shape[1:]`, which is true for features that are not
            padding.
        ignores_positions: whether flattening the features first changes nothing.
        by_image: whether the row of an image does not depend on other images.
        only_shifts: whether it adds the same row to all images, leaving differences between images unchanged.
        keeps_shift: whether a row added to all images, or a number added to all features, is added to the result as a
            row.
        ignores_shift: whether adding the same row to all images leaves the result unchanged.
        ignores_number: whether adding one number to all features leaves the result unchanged.
        keeps_scale: whether multiplying the features by a positive number multiplies the result by a positive number.
        ignores_scale: whether multiplying each feature by its own positive number leaves the result unchanged.
        padding_after: columns `(d,)` of the result that are not padding, from `where`.
        width: number of columns d of the result, from the shape `(..., c)` of one image.
        from_moments: `(x, mean, sd) -> (m, ...)`, the result for some images `(m, ..., c)`, from the mean and the
            standard deviation of each feature over all images, `(..., c)`; in NumPy and float64.
    """

    accepts_padding: bool = False
    ignores_positions: bool = False
    by_image: bool = False
    only_shifts: bool = False
    keeps_shift: bool = False
    ignores_shift: bool = False
    ignores_number: bool = False
    keeps_scale: bool = False
    ignores_scale: bool = False
    padding_after: Callable = _ravel
    width: Callable[[tuple[int, ...]], int] = math.prod
    from_moments: Callable | None = None


class Tiling(NamedTuple):
    """Blocks of a map from blocks of images, for maps that do not fit in memory.

    Attributes:
        between: `(a, b) -> (m, k)`, a quantity for each pair of the points `(m, d)` and `(k, d)`; not negative if
            `median` is set.
        entries: `(quantity, width, level, invariance) -> (m, k)`, map entries for a comparator of that invariance, from
            the number of columns and a typical quantity.
        points: `(m, d) -> (m, d)`, rows computed one by one that `between` accepts.
        shifts_from: lowest invariance of the comparator for which a row may be added to all points to keep precision;
            None if never.
        median: whether `level` is the median of the quantities of all n^2 pairs, or else the mean of some of them.
        multiple_of: `PRODUCTS` or `SQUARES` of the points if entries are these times a positive number, so that scores
            may be computed from products of features instead; None otherwise.
    """

    between: Callable
    entries: Callable
    points: Callable = _unchanged
    shifts_from: int | None = NOTHING
    median: bool = False
    multiple_of: str | None = None


class PairwiseCapabilities(NamedTuple):
    """Optional capabilities of a distance or kernel, with their defaults.

    Attributes:
        accepts_padding: whether it accepts `where (d,)` as a second argument, which is true for columns that are not
            padding.
        product: `(x, where) -> product`, the expensive contraction; functions that use the same one share it.
        finish: `(product, width) -> (n, n)`, the map from the product and the number of columns.
        stable: `(invariance) -> (product, finish)`, a more precise map that a comparator of that invariance cannot tell
            from the plain one; without `keeps_scale`, at the same scale as the plain one.
        by_pair: whether the entry of two images does not depend on other images.
        ignores_shift: whether adding the same row to all images leaves the product unchanged.
        ignores_number: whether adding one number to all features leaves the map unchanged.
        keeps_scale: whether multiplying the features by a positive number multiplies the map by a positive number.
        inner_product: whether the map is X X', so that comparators may work from X'Y instead.
        coordinates: whether it returns coordinates `(n, min(n, d))` of the images instead of a map, for comparators of
            coordinates.
        why_undefined: `(n, d) -> str`, why these features (in NumPy and finite) have no map, such as "its features are
            all zero in 3 of 40 images"; empty if they have one.
        tiling: the map in blocks; None if it needs the whole map.
    """

    accepts_padding: bool = False
    product: Callable | None = None
    finish: Callable | None = None
    stable: Callable | None = None
    by_pair: bool = False
    ignores_shift: bool = False
    ignores_number: bool = False
    keeps_scale: bool = False
    inner_product: bool = False
    coordinates: bool = False
    why_undefined: Callable | None = None
    tiling: Tiling | None = None


class ComparatorCapabilities(NamedTuple):
    """Optional capabilities of a comparator, with their defaults.

    Attributes:
        embed: `(n, n) -> (k,)`, such that the score is an inner product of embedded maps.
        finish: the score from that inner product; by default the product itself.
        scores: `(x, y) -> (S, T)`, scores of embedded maps that are not an inner product, with `y` None for those of
            `x`.
        coordinates: whether it compares coordinates `(n, m)` of the images instead of maps; the last axis may then be
            padded with zeros, and `embed` keeps both axes.
        dimensions: `(n, m) -> ()`, number of dimensions of coordinates.
        min_images: fewest images it can compare.
        reads_diagonal: whether it reads the diagonal of a map, which condensed maps lack.
        invariance: changes of a map that do not change the score: `NOTHING`, `SCALE`, `CONSTANT` or `MARGINS`.
        prepare: what `weighted` needs from a map; by default the embedding, or the map if there is none.
        weighted: `(x, y, w) -> (b, S, T)`, scores of prepared maps under b weightings of the images `w (n, b)`, with
            `y` None for those of `x`; for bootstraps and the jackknife.
        weighted_ceiling: `(x, w) -> (b, 2, U)`, scores of U prepared maps with the best map of the others, and of all,
            under b weightings; by default from their mutual scores, which is exact if maps are pooled as embedded.
        permuted: `(n,) -> (k,)`, index that reorders an embedded map to match the images in another order.
        pooled: vector of a map whose mean over a group is the group's best map, for noise ceilings; by default the
            embedding.
        embed_pooled: the embedding of such a mean.
        embed_ranks: `(p,) -> (k,)`, the embedding from the average ranks of the `compare.condensed` entries, if it
            depends on nothing else; this allows ranking on the host.
        embed_pairs: `(v, where) -> (p,)`, the embedding of `compare.condensed` entries of which only those in `where`
            count, zero elsewhere; for maps that lack pairs of images.
        embed_between: `(map, group, K) -> (k,)`, the embedding of pairs of images from different groups, from the group
            `(n,)` of each image out of K; by default `embed_pairs`.
        summable: `(n, n) -> (k,)`, the embedding before normalization, if inner products over n images equal on average
            those over all images times a number that depends only on n. They may then be summed over batches of images
            before the ratio is taken. None otherwise.
        from_features: `(|X'Y|^2, |x_i|^2, |y_i|^2) -> ()`, inner product of the embedded linear kernels of features
            with centered columns, before normalization: `(S, T), (S, n), (T, n) -> (S, T)`.
        shares: `(k,) -> (n,)`, how much of an embedded map's squared length lies with each image, up to a factor; None
            if no image can have much of it, as with ranks.
        debiased: the version of this comparator without its bias of order 1 / n in each map; None if it has no bias.
        margins: `(sums, n) -> (n,)`, the a of the terms a_i + a_j that embedding subtracts from a map, from its row
            sums, without the diagonal unless it is read; in NumPy and float64. None if an embedding is not such a
            difference scaled to length 1.
        of_these_images: text on what ties it to the images it was made for, so that they cannot be resampled; empty if
            nothing does.
        rank_size: `(size, p) -> ()`, squared length by which embedding divides the centered average ranks of p pairs,
            divided by p, from their own; in NumPy and float64. None if an embedding is not scaled ranks.
        why_undefined: text on why a finite map has no score with any other, such as "its map is constant".
        why_undefined_pair: text on why two maps that have scores have none with each other.
    """

    embed: Callable | None = None
    finish: Callable = _unchanged
    scores: Callable | None = None
    coordinates: bool = False
    dimensions: Callable | None = None
    min_images: int = 2
    reads_diagonal: bool = False
    invariance: int = NOTHING
    prepare: Callable | None = None
    weighted: Callable | None = None
    weighted_ceiling: Callable | None = None
    permuted: Callable | None = None
    pooled: Callable | None = None
    embed_pooled: Callable | None = None
    embed_ranks: Callable | None = None
    embed_pairs: Callable | None = None
    embed_between: Callable | None = None
    summable: Callable | None = None
    from_features: Callable | None = None
    shares: Callable | None = None
    debiased: Callable | None = None
    margins: Callable | None = None
    of_these_images: str = ""
    rank_size: Callable | None = None
    why_undefined: str = ""
    why_undefined_pair: str = ""


class Draws(enum.Enum):
    """Form of the resamples that a scheme draws.

    `WEIGHTS (n,)` leave maps unchanged, `SUBSETS (m,)` refit everything on the images they list, and `ORDERS (n,)`
    reorder the images of one of two networks.
    """

    WEIGHTS = "weights"
    SUBSETS = "subsets"
    ORDERS = "orders"


class Plan(NamedTuple):
    """Resamples that a scheme makes of n images.

    Attributes:
        count: number B of resamples.
        given: all of them, `(B, ...)`, if they are not drawn.
        layout: what `Scheme.draw` needs to know about the images.
        size: number of images in a resample, if it is a subset or if the standard error depends on it.
        groups: number of groups of images that are drawn whole; None if images are drawn one by one.
        groups_drawn: number of groups in one half.
        degrees: degrees of freedom of an error from that many groups.
        distinct: number of distinct resamples that can be drawn, if it limits p-values.
    """

    count: int
    given: Any = None
    layout: Any = None
    size: int | None = None
    groups: int | None = None
    groups_drawn: int | None = None
    degrees: float | None = None
    distinct: float | None = None


@runtime_checkable
class Scheme(Protocol):
    """A resampling scheme: what it draws, and what its resamples say about the full-sample estimate.

    Its optional capabilities are `SchemeCapabilities`. Use `jaxsim.schemes.register` to let results find your own
    scheme. Results may come from a file, so they call `standard_error` and `interval` on a scheme created without
    arguments. Its fields have their defaults there, and only `Plan.size` is passed on from the scheme that drew. If
    groups were drawn whole, `size` and `images` count groups, and `interval` receives `degrees`.
    """

    kind: ClassVar[str]
    draws: ClassVar[Draws]

    def plan(self, images: int, min_images: int, n_resamples: int | None) -> Plan:
        """Plan the resamples of n images; None means the scheme's own number."""
        ...

    @property
    def draw(self) -> Callable | None:
        """`(key, b, layout) -> resample b`, traced."""
        ...

    def standard_error(self, values: Array, size: int | None, images: int) -> Array:
        """Standard error of the estimate, from `(B, ...)`."""
        ...

    def interval(
        self, values: Array, estimate: Array, level: float, size: int | None, images: int, *, bounded: bool = True
    ) -> Array:
        """Confidence interval `(2, ...)`; `bounded` scores lie within [-1, 1], differences of scores do not."""
        ...


class SchemeCapabilities(NamedTuple):
    """Optional capabilities of a scheme, with their defaults.

    Attributes:
        bootstraps: whether its resamples vary around the estimate as estimates vary around the truth, so that
            percentiles, BCa and max-t tests apply.
        errors: `(values, estimate, size, images) -> (R, ...)`, draws of the estimate's error, for the ranking of
            sources; not needed for bootstraps, whose draws are `values - estimate`.
        tests: `(values, estimate, null, size, images, *, bounded, degrees) -> statistics.FamilyWise`, adjusted tests of
            many estimates; by default the largest |t| of bootstraps.
        null: whether its resamples are scores under no similarity.
        accelerates: whether it leaves out one image at a time, which gives the acceleration for BCa.
        estimate_optional: whether its spread means something without the full-sample estimate.
        fewest: number of resamples needed for an interval, or for a p-value of 0.05.
        enough: number of resamples above which more of them hardly change the width of an interval.
        default_resamples: number of resamples if none is given; None if the images determine it.
    """

    bootstraps: bool = False
    errors: Callable | None = None
    tests: Callable | None = None
    null: bool = False
    accelerates: bool = False
    estimate_optional: bool = False
    fewest: int = 2
    enough: int = 0
    default_resamples: int | None = 1000


_ABSENT: Any = object()
C = TypeVar("C", TransformCapabilities, PairwiseCapabilities, ComparatorCapabilities, SchemeCapabilities)


def declared(part: Any, kind: type[C]) -> C:
    """Capabilities of a part, with defaults for those it does not declare.

    Raises:
        TypeError: an attribute with the name of a capability that should be a function is not a function.
    """
    own = {name: value for name in kind._fields if (value := getattr(part, name, _ABSENT)) is not _ABSENT}
    for name, value in own.items():
        default = kind._field_defaults[name]
        if value is default or isinstance(value, Tiling):
            continue
        if (default is None or callable(default)) and value is not None and not callable(value):
            raise TypeError(
                f"attribute {name!r} of {type(part).__name__} is {value!r}; jaxsim expects a function under that name "
                f"({kind.__name__}): rename the attribute."
            )
    return kind(**own)


def product_and_finish(pairwise: Pairwise, compare: Comparator) -> tuple[Callable, Callable] | tuple[None, None]:
    """`product` and `finish` of the most precise map for that comparator; None if a part lacks them."""
    own = declared(pairwise, PairwiseCapabilities)
    if own.product is None or own.finish is None:
        return None, None
    if own.stable is None:
        return own.product, own.finish
    return own.stable(declared(compare, ComparatorCapabilities).invariance)


def holds_arrays(part: Any) -> bool:
    """Whether a part is a pytree with arrays, which are traced, rather than a static value or a function."""
    return bool(jax.tree.leaves(part)) and not jax.tree_util.all_leaves([part])


def public_names(namespace: dict[str, Any]) -> list[str]:
    """Public names that a module itself defines: functions, classes, and values of its own classes.

    >>> from jaxsim import pairwise
    >>> "linear" in public_names(vars(pairwise)), "jnp" in public_names(vars(pairwise))
    (True, False)
    """
    own = namespace["__name__"]
    public = {n: (getattr(v, "__module__", None), type(v).__module__) for n, v in namespace.items() if n[0] != "_"}
    return [name for name, modules in public.items() if own in modules]
