"""Refusing what a measure cannot be computed from, and saying which networks have no scores."""

import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import compare
from jaxsim.inputs import Networks
from jaxsim.measures import Measure, name_of, of_maps
from jaxsim.results import UndefinedScores


def listed(measure: Any) -> tuple[tuple[Measure, ...], bool]:
    """The measures, and whether they came as a list.

    Raises:
        TypeError: there is none, or something else.
    """
    measures, several = _as_tuple(measure)
    odd = [m for m in measures if not isinstance(m, Measure)]
    if odd or not measures:
        what = repr(odd[0]) if odd else "an empty list"
        raise TypeError(f"measure must be a jaxsim Measure, such as js.RSA, or a list of them, not {what}.")
    return measures, several


def listed_comparators(given: Any) -> tuple[tuple[Measure, ...], bool]:
    """Comparators of ready-made maps as measures, and whether they came as a list.

    Raises:
        TypeError: there is none, or something else, such as a measure of features.
    """
    comparators, several = _as_tuple(given)
    odd = [c for c in comparators if isinstance(c, Measure) or not callable(c)]
    if odd or not comparators:
        what = "an empty list"
        if odd:
            what = f"the measure {odd[0]}" if isinstance(odd[0], Measure) else repr(odd[0])
        raise TypeError(f"maps are compared by a comparator such as js.compare.spearman, or a list, not by {what}.")
    return tuple(of_maps(c) for c in comparators), several


def check_condensed(measures: Sequence[Measure], nets: Networks) -> None:
    """Refuse comparators that read the diagonal for maps that came without one.

    Raises:
        ValueError: a map was given condensed.
    """
    for m in measures:
        if nets.condensed and compare.offer(m.compare).reads_diagonal:
            raise ValueError(f"{m} reads the diagonal, which condensed maps lack; give full (n, n) maps.")


def _as_tuple(value: Any) -> tuple[tuple[Any, ...], bool]:
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return (tuple(value) if several else (value,)), several


def ids_against(against: Any, ids: Any, against_ids: Any) -> Any:
    """Labels of the images of the columns' networks: `against_ids`, or `ids` where that is None.

    Raises:
        ValueError: there are labels and no such networks.
    """
    if against is None and against_ids is not None:
        raise ValueError("against_ids labels the images of against, which is not given.")
    return ids if against_ids is None else against_ids


def undefined_networks(x: Networks, y: Networks | None, bad_x, bad_y) -> dict[str, int]:
    """Networks that have no scores, with the number of their images to blame."""
    counts = [*zip(x.names, np.asarray(bad_x), strict=True)]
    counts += [] if y is None else zip(y.names, np.asarray(bad_y), strict=True)
    return {name: int(count) for name, count in counts if count >= 0}


def say_undefined(measure: Measure, undefined: dict[str, int], images: int) -> list[str]:
    """Which networks have no scores, and why: a sentence each."""
    said = []
    for name, count in undefined.items():
        why = (
            f"{count} of its {images} images have NaN, infinite, zero or constant features"
            if count
            else "its map is constant, so that there is nothing to compare"
        )
        said.append(f"network {name!r} has no {measure} scores (NaN): {why}.")
    return said


def warn_undefined(sentences: Sequence[str]) -> None:
    """Warn on the host, at the line that called the public verb that calls this."""
    for sentence in sentences:
        warnings.warn(sentence, UndefinedScores, stacklevel=3)


def fewest_images(measure: Measure) -> int:
    """Images that the measure's comparator needs at least."""
    return compare.offer(measure.compare).fewest


def check(measures: Sequence[Measure], nets: Networks) -> None:
    """Refuse what a measure cannot be computed from.

    Raises:
        ValueError: too few images, no positions, channels that do not divide, or a Duality of another shape.
    """
    for m in measures:
        if nets.images < fewest_images(m):
            raise ValueError(f"{m} needs at least {fewest_images(m)} images; there are {nets.images}.")
        for shape in {a.shape: n for n, a in reversed([*zip(nets.names, nets.arrays, strict=True)])}.items():
            _check_parts(m, *shape)


def _check_parts(measure, shape, name):
    """Follow shapes through transform, map and comparator, naming the part that does not fit."""
    n = shape[0]
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    steps = [
        ("transform", measure.transform, 1, lambda s: len(s) == 2 and s[0] == n, f"({n}, d)"),
        ("pairwise", measure.pairwise, 1, lambda s: s == (n, n), f"({n}, {n})"),
        ("compare", measure.compare, 2, lambda s: s == (), "()"),
    ]
    for role, part, arguments, fits, wanted in steps:
        if not callable(part):
            raise TypeError(f"the {role} of {measure} is {part!r}, which cannot be called.")
        try:
            found = jax.eval_shape(part, *[x] * arguments)
        except ValueError as error:
            raise ValueError(f"network {name!r}: {_first_line(error)}") from None
        except (TypeError, jax.errors.JAXTypeError) as error:
            raise TypeError(f"{role} {name_of(part)} fails on {tuple(x.shape)} arrays: {_first_line(error)}") from None
        if not hasattr(found, "shape") or not fits(found.shape):
            shown = getattr(found, "shape", type(found).__name__)
            raise ValueError(f"{role} {name_of(part)} makes {shown} of {tuple(x.shape)}; it must make {wanted}.")
        x = found


def _first_line(error):
    """What an error says, as the end of a sentence; it may come from a function of the user's own."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".") + "."
