"""Checks at the door of the verbs, and warnings about networks without scores."""

import functools
import itertools
import os
from collections.abc import Callable, Container, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim.casts import Freedom
from jaxsim.engine import feature_space, reasons
from jaxsim.engine.memory import refuse_many_pairs
from jaxsim.engine.program import DIMENSIONS, is_embedded
from jaxsim.inputs import Networks, traced
from jaxsim.io.files import counted, warn
from jaxsim.measures import Measure, by_name, is_comparator, is_known, name_of, of_maps, part_by_name
from jaxsim.protocols import (
    ComparatorCapabilities,
    PairwiseCapabilities,
    TransformCapabilities,
    declared,
    holds_arrays,
)
from jaxsim.results import Maps, UndefinedScores

P = ParamSpec("P")
Given = TypeVar("Given", contravariant=True)
Found = TypeVar("Found")
MOST_CHECKED = 1000
"""Images that a measure is traced on where maps are never whole, which may have more pairs than integers count."""
CHECKED = 3
"""Shapes that a measure is traced on where it takes features of any width; each takes milliseconds."""


class Verb(Protocol[P, Given, Found]):
    """A verb that makes one record by a measure, and a list of them by a list of measures."""

    @overload
    def __call__(self, features: Any, measure: Given, *args: P.args, **options: P.kwargs) -> Found: ...
    @overload
    def __call__(self, features: Any, measure: Sequence[Given], *args: P.args, **options: P.kwargs) -> list[Found]: ...


def of_one_or_several(
    verb: Callable[Concatenate[Any, Given | Sequence[Given], P], Found | list[Found]],
) -> Verb[P, Given, Found]:
    """The function itself, as a `Verb` for type checkers, with the options of its signature."""
    return cast(Any, verb)


def as_measures(measure: Any) -> tuple[tuple[Measure, ...], bool]:
    """Measures given by value or by name, and whether they came as a list.

    Raises:
        TypeError: there is none, or something else.
        ValueError: no measure has that name.
        RuntimeError: the process was forked from one that had computed.
    """
    given, several = _as_tuple(measure)
    measures: tuple[Any, ...] = tuple(by_name(m) if isinstance(m, str) and not is_comparator(m) else m for m in given)
    odd = [m for m in measures if not isinstance(m, Measure)]
    if odd or not measures:
        shown = repr(odd[0]) if odd else "an empty list"
        hint = " To compare precomputed maps, use js.compare_maps." if odd and is_comparator(odd[0]) else ""
        known = "a jaxsim Measure such as js.RSA, its name, or a list of them"
        raise TypeError(f"measure must be {known}, not {shown}.{hint}")
    return measures, several


def as_comparators(compare: Any) -> tuple[tuple[Measure, ...], bool]:
    """Comparators of precomputed maps, given by value or by name, as measures, and whether they came as a list.

    Raises:
        TypeError: there is none, or something else, such as a measure of features.
        ValueError: no comparator has that name.
    """
    given, several = _as_tuple(compare)
    names = [by_name(c) if isinstance(c, str) and is_known(c) and not is_comparator(c) else c for c in given]
    comparators = tuple(part_by_name("compare", c) if isinstance(c, str) else c for c in names)
    odd = [c for c in comparators if isinstance(c, Measure) or not callable(c)]
    if odd or not comparators:
        shown = "an empty list"
        if odd:
            shown = repr(odd[0])
            if isinstance(odd[0], Measure):
                shown = f"the measure {odd[0]} for features, which compares its own maps with {name_of(odd[0].compare)}"
        raise TypeError(f"precomputed maps need a comparator such as js.compare.spearman, or a list, not {shown}.")
    return tuple(of_maps(c) for c in comparators), several


def as_one(found: tuple[tuple[Measure, ...], bool], verb: str, what: str = "measure") -> Measure:
    """The measure that `as_measures`, or the comparator that `as_comparators` found, for a verb that takes one.

    Raises:
        TypeError: there are several.
    """
    (one, *more), _ = found
    if more:
        raise TypeError(f"{verb} takes one {what}, not a list.")
    return one


def means_maps(features: Any, measure: Any) -> bool:
    """Whether the input is precomputed maps rather than features: it is `Maps`, or some measure is a comparator."""
    return isinstance(features, Maps) or any(is_comparator(m) for m in _as_tuple(measure)[0])


@functools.cache
def _first_process() -> int:
    """Number of the process in which a verb was first called."""
    return os.getpid()


def _as_tuple(value: Any) -> tuple[tuple[Any, ...], bool]:
    if _first_process() != os.getpid():
        raise RuntimeError(
            "this process was forked after jaxsim had started computing, so it has no compute threads: start it with "
            'multiprocessing.get_context("spawn"), or fork before the first call.'
        )
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return (tuple(value) if several else (value,)), several


def undefined_networks(
    measure: Measure, x: Networks, y: Networks | None, bad_x, bad_y, values: Any = None
) -> dict[str, int]:
    """Networks without scores, each warned of with its reason, and the number of images to blame.

    None while JAX is tracing.

    Args:
        measure: scored by which they have none.
        x: networks of the rows, as they were given.
        y: networks of the columns, or None for those of the rows.
        bad_x: `Embedded.undefined` of the rows.
        bad_y: the same of the columns; that of the rows if `y` is None.
        values: the scores `(S, T)`, to find pairs without one.
    """
    found: dict[str, int] = {}
    if traced(bad_x, bad_y):
        return found
    values = None if traced(values) else values
    bad_x, bad_y, values = jax.device_get((bad_x, None if y is None else bad_y, values))
    for nets, bad in ((x, bad_x),) if y is None else ((x, bad_x), (y, bad_y)):
        for k, count in enumerate(bad.tolist()):
            name = nets.names[k]
            if count >= 0:
                found[name] = count
                warn(
                    f"network {name!r} has no {measure} scores (NaN): {reasons.why(measure, nets, k)}.", UndefinedScores
                )
            elif count == feature_space.LOST:
                text = f"network {name!r} has images with much larger features than others, and too many for maps"
                warn(f"{text}: its linear scores lose digits.", RuntimeWarning)
        if nets.careful:
            warn_of_lost_digits(f"its {measure} scores", measure.freedom, nets, found)
    _warn_of_full_subspaces(measure, x, y, bad_x, bad_y)
    if values is not None and np.isnan(values).any():
        bad_y = bad_x if y is None else bad_y
        pairs = np.argwhere(np.isnan(values) & (bad_x < 0)[:, None] & (bad_y < 0))
        pairs = pairs if y else pairs[pairs[:, 0] <= pairs[:, 1]]
        if len(pairs):
            warn(reasons.of_pairs(measure, x.names, (y or x).names, pairs), UndefinedScores)
    return found


def require_symmetric(measure: Measure, names: Sequence[str], values: Any) -> None:
    """Refuse scores `(T, T)` that depend on which network comes first, as a comparator of one's own may give.

    Raises:
        ValueError: they do.
    """
    if is_embedded(measure) or traced(values):
        return
    values = np.asarray(values)
    size = np.max(np.abs(values), initial=0, where=np.isfinite(values))
    apart = ~np.isclose(values, values.T, rtol=1e-3, atol=1e-4 * size, equal_nan=True)
    for s, t in np.argwhere(apart)[:1]:
        pair = f"{values[s, t]:.4g} for {names[s]!r} with {names[t]!r} and {values[t, s]:.4g} the other way around"
        raise ValueError(
            f"comparator {name_of(measure.compare)} is not symmetric: it gives {pair}; with against=, each pair "
            "is compared one way only."
        )


def _warn_of_full_subspaces(measure, x, y, bad_x, bad_y):
    """Warn of pairs whose subspaces must meet, n images less their mean having no more than n - 1 dimensions."""
    size_x, size_y = (
        np.where(bad <= DIMENSIONS, DIMENSIONS - bad, 0) for bad in (bad_x, bad_x if y is None else bad_y)
    )
    shared = np.minimum(size_x[:, None] + size_y - (x.images - 1), np.minimum(size_x[:, None], size_y))
    pairs = np.argwhere(np.triu(shared > 0, 1) if y is None else shared > 0)
    if len(pairs):
        i, j = max(pairs.tolist(), key=lambda pair: shared[*pair])
        a, b = x.names[i], (y or x).names[j]
        warn(
            f"{shared[i, j]} of {min(size_x[i], size_y[j])} canonical correlations of {a!r} and {b!r} are 1 by "
            f"construction, as {x.images} images span {x.images - 1} dimensions and these networks {size_x[i]} and "
            f"{size_y[j]}. This affects {counted(len(pairs), 'pair')} by {measure}: use more images, or fewer "
            "dimensions.",
            RuntimeWarning,
        )


def warn_of_lost_digits(what: str, free: Freedom, nets: Networks, but: Container[str] = ()) -> None:
    """Warn of networks, but for those without scores, whose cast loses digits that `what` may depend on."""
    for k in nets.careful:
        if nets.names[k] not in but and (words := reasons.lost(free, nets, k)):
            warn(f"network {nets.names[k]!r} loses digits that {what} may depend on: {words}.", RuntimeWarning)


def min_images(measure: Measure) -> int:
    """Fewest images that the measure can compare."""
    return declared(measure.compare, ComparatorCapabilities).min_images


def require_others(verb: str, x: Networks, y: Networks | None) -> None:
    """Refuse one network that there is nothing to compare with.

    Raises:
        ValueError: naming it.
    """
    if y is None and len(x.names) < 2:
        text = f"{verb} compares networks with each other; there is only {''.join(x.names)!r}"
        raise ValueError(f"{text}: give more networks, or others to compare it with (against).")


def check(measures: Sequence[Measure], nets: Networks, *, whole: bool = True) -> None:
    """Refuse features that a measure cannot be computed from; `whole` if their maps will be held in one piece.

    Raises:
        ValueError: too few images, no positions, channels that do not divide, a Duality of another shape, or condensed
            maps for a comparator that reads the diagonal; or more images than maps can have.
    """
    for m in measures:
        if nets.condensed and declared(m.compare, ComparatorCapabilities).reads_diagonal:
            raise ValueError(f"{m} reads the diagonal, which condensed maps lack; give full (n, n) maps.")
        if nets.images < min_images(m):
            raise ValueError(f"{m} needs at least {min_images(m)} images; there are {nets.images}.")
        _refuse_mixed(m)
        if whole and not feature_space.applies(m) and not declared(m.compare, ComparatorCapabilities).coordinates:
            refuse_many_pairs(m, nets.images)
        shapes = {s: n for n, s in reversed([*zip(nets.names, nets.shapes, strict=True)])}
        for shape, name in itertools.islice(shapes.items(), CHECKED if _takes_any_width(m) else None):
            _check_parts(m, shape if whole else (min(shape[0], MOST_CHECKED), *shape[1:]), name)
    _warn_of_channels(measures, nets)


def _refuse_mixed(measure):
    """Refuse coordinates for a comparator of maps, and maps for one of coordinates."""
    made = declared(measure.pairwise, PairwiseCapabilities).coordinates
    taken = declared(measure.compare, ComparatorCapabilities).coordinates
    if made != taken:
        kinds = ("maps (n, n)", "coordinates (n, m)")
        pairwise, compare = (name_of(part) for part in (measure.pairwise, measure.compare))
        raise ValueError(
            f"{compare} compares {kinds[taken]}, and {pairwise} makes {kinds[made]}; see jaxsim.subspaces."
        )


def _takes_any_width(measure):
    own = declared(measure.transform, TransformCapabilities)
    pads = own.accepts_padding and declared(measure.pairwise, PairwiseCapabilities).accepts_padding
    return pads and own.ignores_positions


def _warn_of_channels(measures, nets):
    """Warn of shapes (n, c, h, h) where a transform tells channels from positions and nobody said which come first."""
    odd = [(n, s) for n, s in zip(nets.names, nets.shapes, strict=True) if len(s) == 4 and s[1] != s[2] == s[3] > 1]
    minding = [m for m in measures if not declared(m.transform, TransformCapabilities).ignores_positions]
    if nets.doubtful_channels and odd and minding:
        text = f"network {odd[0][0]!r} of shape {odd[0][1]} looks as if its channels come first, but {minding[0]}"
        remedy = 'reads them from the last axis; give channels="first", or channels="last" if they are last.'
        warn(f"{text} {remedy}")


def _check_parts(measure, shape, name):
    """Follow shapes through transform, map and comparator, naming the part that does not fit."""
    n = shape[0]
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    coordinates = declared(measure.pairwise, PairwiseCapabilities).coordinates

    def fits_pairwise(s):
        return (len(s) == 2 and s[0] == n) if coordinates else s == (n, n)

    steps = [
        ("transform", measure.transform, 1, lambda s: len(s) == 2 and s[0] == n, f"({n}, d)"),
        ("pairwise", measure.pairwise, 1, fits_pairwise, f"({n}, {n})"),
        ("compare", measure.compare, 2, lambda s: s == (), "()"),
    ]
    for role, part, arguments, fits, wanted in steps:
        if not holds_arrays(part) and type(part).__hash__ is None:
            kind = type(part).__name__
            raise TypeError(f"the {role} {kind} cannot be hashed: make its class frozen, or a pytree of its arrays.")
        try:
            evaluate = _result.__wrapped__ if holds_arrays(part) else _result
            found = evaluate(part, arguments, x.shape)
        except ValueError as error:
            raise ValueError(f"network {name!r}: {_first_line(error)}") from None
        except (TypeError, jax.errors.JAXTypeError) as error:
            raise TypeError(f"{role} {name_of(part)} fails on {tuple(x.shape)} arrays: {_first_line(error)}") from None
        if not hasattr(found, "shape") or not fits(found.shape):
            shown = getattr(found, "shape", type(found).__name__)
            raise ValueError(f"{role} {name_of(part)} returns {shown} for {tuple(x.shape)}; it must return {wanted}.")
        x = found


@functools.lru_cache(maxsize=1024)
def _result(part, arguments, shape):
    """Abstract result of a part; tracing it takes longer than comparing twenty small networks does."""
    return jax.eval_shape(part, *[jax.ShapeDtypeStruct(shape, jnp.float32)] * arguments)


def _first_line(error):
    """First line of an error, as the end of a sentence; it may come from a user's function."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".") + "."
