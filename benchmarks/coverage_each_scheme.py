"""Coverage of every scheme's 95 % intervals, through `js.resample`, for exchangeable images and for new classes.

Exchangeable images and their truths are from the study `assumptions`. Classes and their truths are from `groups`.
"""

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np

import jaxsim as js
from benchmarks import coverage_assumptions, coverage_groups
from benchmarks.coverage_studies import Study
from jaxsim.protocols import Scheme

AT_ONCE = 25
MEASURES = ("rsa", "cka-linear", "dds-laplacian")
SCHEMES: Mapping[str, tuple[Callable[[int], Scheme], int | None]] = {
    "HalfSamples()": (lambda n: js.HalfSamples(), 100),
    "Bootstrap()": (lambda n: js.Bootstrap(), 200),
    "BayesianBootstrap()": (lambda n: js.BayesianBootstrap(), 200),
    "Subsample(n / 2)": (lambda n: js.Subsample(n // 2), 200),
    "Jackknife()": (lambda n: js.Jackknife(), None),
}
"""Scheme for n images, and its resamples."""


def held(features: np.ndarray, name: str, scheme: Scheme, count: int | None, seed: int, truth: Sequence[float]):
    """Whether the intervals of the first network with the others hold the truths."""
    first, others = {"x": features[0]}, {f"y{k}": y for k, y in enumerate(features[1:])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = js.resample(first, name, scheme, n_resamples=count, key=seed, against=others)
        low, high = np.asarray(found.interval(0.95))[:, 0]
    return (low <= truth) & (truth <= high)


def exchangeable(n: int, seed: int, measures: Sequence[str] = MEASURES, world: str = "relu") -> dict[str, np.ndarray]:
    """One batch of data sets of images drawn one by one."""
    rng, made = np.random.default_rng([seed, n, 3]), {}
    for k in range(AT_ONCE):
        features = coverage_assumptions.WORLDS[world](rng, n).astype(np.float32)
        for name in measures:
            truth = coverage_assumptions.truth(name, world)
            for text, (scheme, count) in SCHEMES.items():
                for value, one in zip(truth, held(features, name, scheme(n), count, seed + k, truth), strict=True):
                    made.setdefault(f"{text}, {name}, truth {value:.2f}", []).append(bool(one))
    return {text: np.array(one) for text, one in made.items()}


def of_classes(classes: int, images: int, name: str, seed: int) -> dict[str, np.ndarray]:
    """One batch of data sets of whole classes, for the schemes that draw groups."""
    thetas, truth = coverage_groups.truth(coverage_groups.NORMAL, name, 0.8)
    code, made = np.repeat(np.arange(classes), images), {}
    drawn = {
        "HalfSamples(groups=class)": (js.HalfSamples(groups=code), 100),
        "Bootstrap(groups=class)": (js.Bootstrap(groups=code), 200),
        "Jackknife(groups=class)": (js.Jackknife(groups=code), None),
    }
    for k in range(AT_ONCE):
        rng = np.random.default_rng([9, classes, seed + k])
        features = coverage_groups.NORMAL.features(rng, code, 0.8, thetas)
        for text, (scheme, count) in drawn.items():
            for level, one in zip(
                coverage_groups.LEVELS, held(features, name, scheme, count, seed + k, truth), strict=True
            ):
                made.setdefault(f"{text}, S = {level}", []).append(bool(one))
    return {text: np.array(one) for text, one in made.items()}


STUDY = Study(
    "Do the intervals of every scheme cover the truth, as returned by `js.resample`?",
    95,
    (93, 97),
    {f"exchangeable, n = {n}": functools.partial(exchangeable, n) for n in (20, 30, 50)}
    | {
        f"{name}: share .8, K = {classes}": functools.partial(of_classes, classes, images, name)
        for classes, images in ((10, 6), (20, 4), (40, 3))
        for name in MEASURES
    },
)
