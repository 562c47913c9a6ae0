"""Recommended scheme for a question, from the coverage tables; error messages that name a scheme use it too."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxsim import assumptions, layouts, measures
from jaxsim.protocols import ComparatorCapabilities, Scheme, declared
from jaxsim.schemes import Bootstrap, HalfSamples, Permutation
from jaxsim.statistics.checks import is_whole

FEWEST = 10
"""Number of images or groups below which no interval is recommended."""


class Advice(NamedTuple):
    """A scheme, the reason for it, and the problems it does not fix; prints as all three.

    Attributes:
        scheme: for `js.resample`.
        why: the reason for it, as text.
        doubts: what `js.resample` will warn about, as far as the question tells.
    """

    scheme: Any
    why: str
    doubts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([f"{written(self.scheme)}: {self.why}", *(f"But {doubt}" for doubt in self.doubts)])


class _Case(NamedTuple):
    """Number and kind of independent units (images or groups), whether maps are precomputed, and units required."""

    units: int
    grouped: bool
    maps: bool
    fewest: int


class _Rule(NamedTuple):
    applies: Callable[[_Case], bool]
    scheme: Any
    why: str


_RULES = (
    _Rule(
        lambda case: case.units < max(FEWEST, 2 * case.fewest),
        Permutation,
        "{units} {what} are too few for an interval; a p-value for no similarity is valid at any number.",
    ),
    _Rule(
        lambda case: case.maps,
        Bootstrap,
        "precomputed maps cannot be recomputed on halves of the images; its intervals contain the true score in 91 to "
        "98 % of cases at 100 images drawn one by one; use n_resamples=1000.",
    ),
    _Rule(
        lambda case: case.grouped,
        HalfSamples,
        "its 95 % intervals contain the true score in 93 to 98 % of cases from 20 groups on, and in more near a "
        "similarity of 0; the usual 100 resamples are enough.",
    ),
    _Rule(
        lambda case: True,
        HalfSamples,
        "its 95 % intervals contain the true score in 93 to 97 % of cases from 30 images on, and in more near a "
        "similarity of 0; the usual 100 resamples are enough.",
    ),
)


def recommend_scheme(n: int, groups: Any = None, measure: Any = "rsa") -> Advice:
    """Recommend a scheme for errors and intervals of scores on n images, with the reason.

    Args:
        n: number of images.
        groups: as for `js.variance_study`.
        measure: a measure of features, or a comparator for precomputed maps, or the name of either.

    Raises:
        ValueError: n is not a positive whole number, the number of labels is not n, no measure has that name, there is
            only one group, or the groups are too few for an interval and no two have the same size.

    >>> import jaxsim as js
    >>> advice = js.recommend_scheme(200)
    >>> advice.scheme.kind
    'half-samples'
    >>> print(js.recommend_scheme(6))
    js.Permutation(): 6 images are too few for an interval; a p-value for no similarity is valid at any number.
    """
    if not is_whole(n) or n < 1:
        raise ValueError(f"n must be a positive whole number of images, not {n!r}.")
    given = {} if groups is None else {"groups": groups}
    units = n if groups is None else len(np.unique(layouts.codes(groups, n, "groups")))
    measure = _measure(measure)
    own = declared(measure.compare, ComparatorCapabilities)
    case = _Case(int(units), bool(given), measure.pairwise is measures.as_given, own.min_images)
    rule = next(rule for rule in _RULES if rule.applies(case))
    if given and rule.scheme is Permutation:
        layouts.interchangeable(layouts.layout(None, n, groups))  # refuses groups that cannot be swapped
    why = rule.why.format(units=units, what="groups" if given else "images")
    return Advice(rule.scheme(**given), why, () if rule.scheme is Permutation else _doubts(measure, own, case))


def _doubts(measure, own, case):
    """Sentences about the assumptions that the question violates."""
    debiased = "" if own.debiased is None else str(dataclasses.replace(measure, compare=own.debiased))
    facts = assumptions.Facts(str(measure), debiased)
    if not case.grouped:
        return assumptions.flags(facts._replace(images=case.units))
    within = case.maps or (own.embed_between is None and own.embed_pairs is None)
    return assumptions.flags(facts._replace(groups=case.units, within=within))


def _measure(measure):
    """A measure, or the measure of precomputed maps for a comparator."""
    if measures.is_comparator(measure):
        return measures.of_maps(measures.part_by_name("compare", measure) if isinstance(measure, str) else measure)
    measure = measures.by_name(measure) if isinstance(measure, str) else measure
    if not isinstance(measure, measures.Measure):
        raise TypeError(f"measure must be a measure, a comparator, or the name of one, not {measure!r}.")
    return measure


def written(scheme: Scheme) -> str:
    """Code for a scheme, without its labels.

    >>> written(HalfSamples(groups=[0, 0, 1, 1]))
    'js.HalfSamples(groups=...)'
    """
    return f"js.{type(scheme).__name__}({', '.join(f'{k}=...' for k, v in vars(scheme).items() if v is not None)})"


FOR_MAPS = Bootstrap()
WITH_INTERVALS = f"use {written(HalfSamples())}, or {written(FOR_MAPS)} for precomputed maps"
"""Advice added to errors about a scheme that cannot answer the question asked."""
