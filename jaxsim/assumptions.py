"""Assumptions behind errors and intervals: one rule each, with its condition and the sentence that warns about it.

A rule reads `Facts`. The default facts break no rule, so each question states only what it knows. The thresholds are
from the study `assumptions` of `benchmarks.coverage`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jaxsim.io.files import counted, few, warn

FEWEST_IMAGES = 20
"""Number of images below which intervals are too wide for most features and too narrow for uneven ones."""
LEAST_SHARE, MOST_EFFECTIVE = 0.25, 30
"""Heavy tails: the effective number of images is below this share of all images and below this number."""
LEAST_SHARE_OF_GROUPS = 0.5
"""Uneven groups: the effective number of groups is below this share of all groups and below FEWEST_GROUPS."""
FEWEST_GROUPS = 20
"""Number of groups at which half-sample intervals for new groups hold their level; with ten, 95 % cover 92 to 100 %."""
ALIKE = 0.1
"""Share of variance between strata, beyond chance, above which images within a stratum are far more alike."""
FEWEST_MEMBERS = 10
"""Members below which 1.96 errors are too narrow: such intervals cover 75 % with two members, 88 % with five."""


class DoubtfulInference(UserWarning):
    """An error, an interval or a share may not be valid for these images, measure or scheme."""


class Facts(NamedTuple):
    """Facts about a question that the rules read; the defaults break no rule.

    Attributes:
        measure: name of the measure.
        debiased: name of the debiased version of the measure, if it is biased.
        images: number of independent images.
        groups: number of groups that are drawn whole.
        apart: number of images, if each is its own group.
        within: whether images of the same group are compared.
        alike: networks and the share of their variance that lies between strata, beyond chance.
        effective: networks and the effective number of images of their maps.
        effective_groups: networks and the effective number of groups of their maps, if groups are drawn.
        resamples: number of random resamples.
        enough: `SchemeCapabilities.enough` of the scheme.
        strata: number of images in each stratum.
        lonely: targets that have only one source.
        members: groups and their numbers of members.
    """

    measure: str = ""
    debiased: str = ""
    images: float = math.inf
    groups: float = math.inf
    apart: int = 0
    within: bool = False
    alike: Sequence[tuple[str, float]] = ()
    effective: Sequence[tuple[str, float]] = ()
    effective_groups: Sequence[tuple[str, float]] = ()
    resamples: float = math.inf
    enough: int = 0
    strata: Sequence[int] = ()
    lonely: Sequence[str] = ()
    members: Sequence[tuple[Any, int]] = ()


class Rule(NamedTuple):
    """An assumption: whether the facts violate it, and the sentence that says so."""

    broken: Callable[[Facts], Any]
    sentence: Callable[[Facts], str]


def _below(effective, least):
    return [(name, number) for name, number in effective if number < least]


def _made_by(facts, found, unit):
    """Text naming the uneven maps, and the small number of images or groups that the worst effectively rests on."""
    fewest = max(1, round(min(number for _, number in found)))
    return f"the {facts.measure} map of {few([name for name, _ in found])} is as uneven as if {counted(fewest, unit)}"


def _dominated(facts):
    return _below(facts.effective, min(MOST_EFFECTIVE, LEAST_SHARE * facts.images))


def _of_dominated(facts):
    return (
        f"heavy tails: {_made_by(facts, _dominated(facts), 'image')} made it, so its intervals are too narrow; "
        "compare ranks (rsa), or transform the features first, for example with a logarithm."
    )


def _uneven(facts):
    return _below(facts.effective_groups, min(FEWEST_GROUPS, LEAST_SHARE_OF_GROUPS * facts.groups))


def _of_uneven(facts):
    return (
        f"uneven groups: {_made_by(facts, _uneven(facts), 'group')} of {facts.groups} made it, so its intervals for "
        "new groups may be too narrow; use groups of similar sizes, and compare ranks (rsa) or transform the features "
        "first, for example with a logarithm."
    )


def _alike(facts):
    return [(name, share) for name, share in facts.alike if share > ALIKE]


def _of_alike(facts):
    found = _alike(facts)
    most = max(share for _, share in found)
    return (
        f"images of one stratum are far more alike than others: up to {100 * most:.0f} % of the variance of the "
        f"features lies between strata ({few([name for name, _ in found])}). With strata=, an interval is for new "
        "images of these strata only; for new classes, scenes or runs, give the labels as groups=."
    )


def _small(facts):
    return [(group, count) for group, count in facts.members if 1 < count < FEWEST_MEMBERS]


def _of_small(facts):
    group, count = min(_small(facts), key=lambda one: one[1])
    return (
        f"group {group!r} has {count} members, so its variance has about {counted(count - 1, 'degree')} of freedom: "
        f"multiply the error by Student's t, not by 1.96, or use {FEWEST_MEMBERS} members."
    )


def _of_lonely(facts):
    return (
        f"a single source always ranks first, as for {few(facts.lonely)}: a share of first ranks needs at least two "
        "sources."
    )


def _alone(facts):
    return sum(1 for size in facts.strata if size == 1)


RULES = (
    Rule(
        lambda facts: facts.debiased,
        lambda facts: (
            f"{facts.measure} is biased upward with few images, and its intervals cover the biased score, not the "
            f"score of many images: use {facts.debiased}."
        ),
    ),
    Rule(_dominated, _of_dominated),
    Rule(_uneven, _of_uneven),
    Rule(
        lambda facts: facts.images < FEWEST_IMAGES,
        lambda facts: (
            f"{facts.images} images are few: below about {FEWEST_IMAGES}, intervals are too wide for most features and "
            "too narrow for uneven ones; use more images, or test for any similarity with the scheme permutation."
        ),
    ),
    Rule(
        lambda facts: facts.groups < FEWEST_GROUPS,
        lambda facts: (
            f"{facts.groups} groups are few: half-sample intervals for new groups reach their level from "
            f"{FEWEST_GROUPS} groups on; with ten, 95 % intervals cover 92 to 100 %; use images from more groups."
        ),
    ),
    Rule(
        lambda facts: facts.apart,
        lambda facts: (
            f"each of the {facts.apart} images has its own label in groups=, so they are drawn one by one, as without "
            "groups=; give one label to all images of a class, scene or run."
        ),
    ),
    Rule(
        lambda facts: facts.within,
        lambda facts: (
            f"{facts.measure} scores also compare images within a group, which are alike in all networks, so they lie "
            "above the score for new groups: their 95 % intervals covered it in 0 to 92 % of simulations with 10 to 40 "
            "groups. js.HalfSamples(groups=...) leaves such pairs out of unbiased measures."
        ),
    ),
    Rule(_alike, _of_alike),
    Rule(
        lambda facts: facts.resamples < facts.enough,
        lambda facts: (
            f"an interval from {facts.resamples} resamples is wider than necessary and depends on the key: use "
            f"{facts.enough} or more; 100 are usual."
        ),
    ),
    Rule(
        _alone,
        lambda facts: (
            f"{_alone(facts)} of {len(facts.strata)} strata hold one image (or group). Resamples cannot show its "
            "variation, and half-samples leave it out: merge small strata."
        ),
    ),
    Rule(lambda facts: facts.lonely, _of_lonely),
    Rule(_small, _of_small),
)


def flags(facts: Facts) -> tuple[str, ...]:
    """Sentences of the rules that these facts break."""
    return tuple(rule.sentence(facts) for rule in RULES if rule.broken(facts))


def warn_of(sentences: Sequence[str]) -> None:
    """Warn of each sentence once."""
    for sentence in dict.fromkeys(sentences):
        warn(sentence, DoubtfulInference)
