"""Intervals and tests when images come in classes and the question is about new classes.

There are K classes with a few images each. An image's causes are `sqrt(share)` times those of its class plus
`sqrt(1 - share)` times its own. The truth is the score of infinitely many classes. Networks are the same as in
`coverage_data`. "skewed" is a second world: exponential classes with different spreads, another nonlinearity, fewer
causes, and other weights.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import coverage_numpy
from benchmarks.coverage_studies import Study
from jaxsim import schemes

LEVELS = (0.3, 0.6, 0.9)
MEASURES = ("rsa", "cka-linear", "dds-laplacian")
RESAMPLES = 100
BATCH = 50


class World(NamedTuple):
    """Population of classes and networks.

    Attributes:
        seed: of the weights.
        causes: number of latent causes.
        width: features of a network.
        skewed: whether classes are exponential, of different spread, and softplus takes the place of relu.
    """

    seed: int
    causes: int
    width: int
    skewed: bool

    def latent(self, rng, code, share):
        """Causes `(n, causes)` of images of these classes."""
        classes, n = code.max() + 1, len(code)
        if self.skewed:
            center = rng.exponential(size=(classes, self.causes)) - 1
            own = np.exp(0.3 * rng.normal(size=(classes, 1)))[code] * rng.normal(size=(n, self.causes))
        else:
            center, own = rng.normal(size=(classes, self.causes)), rng.normal(size=(n, self.causes))
        return np.sqrt(share) * center[code] + np.sqrt(1 - share) * own

    def features(self, rng, code, share, thetas):
        """Features `(1 + K, n, width)` of network X and of Y at K angles, for images of these classes."""
        weights = np.random.default_rng(self.seed)
        first, second = weights.normal(size=(2, self.causes, self.width)) / np.sqrt(self.causes)
        bias, gain = 0.3 * weights.normal(size=self.width), np.exp(0.5 * weights.normal(size=self.width))
        gains = gain * np.exp(0.15 * weights.normal(size=(2, self.width)))
        act = (lambda v: np.logaddexp(0, 2 * v)) if self.skewed else (lambda v: np.maximum(v, 0))
        common, apart = self.latent(rng, code, share) @ first, self.latent(rng, code, share) @ second
        y = [gains[1] * act(np.cos(t) * common + np.sin(t) * apart + bias) for t in thetas]
        return np.stack([gains[0] * act(common + bias), *y]).astype(np.float32)


NORMAL, SKEWED = World(0, 10, 32, False), World(100, 6, 20, True)


def between(name: str, features: np.ndarray, subsets: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Scores `(B, K)` of the first network with the others on images `(B, m)`, images of different groups only."""
    maps, comparator = coverage_numpy.RESTATED[name]
    of = maps(features)

    def one(subset):
        group = np.unique(code[subset], return_inverse=True)[1]
        rows, columns = np.triu_indices(len(subset), 1)
        apart = group[rows] != group[columns]
        if name.startswith("rsa"):
            return comparator(of(subset)[:, apart])
        z = np.stack([_between(m, group, rows, columns)[apart] for m in of(subset).astype(float)])
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        return z[1:] @ z[0]

    return np.array([one(s) for s in subsets], np.float32)


def _between(condensed, group, rows, columns):
    """`centering.between`, by least squares for groups of any sizes."""
    n, count, size = len(group), group.max() + 1, np.bincount(group)
    m, apart, member = np.zeros((n, n)), group[:, None] != group, np.eye(count)[group]
    m[rows, columns] = condensed
    m = np.where(apart, m + m.T, 0)
    margins = np.linalg.solve(np.diag(apart.sum(1)) + apart, m.sum(1))
    m = np.where(apart, m - margins[:, None] - margins, 0)
    image = m @ member / size
    pair = (member.T @ image / size[:, None])[group][:, group]
    image = image[:, group]
    of_pair, of_image = (np.sqrt((count - 1) / (count - lost)) for lost in (3, 2))
    return (m + (of_pair - 1) * pair + (of_image - 1) * (image + image.T - 2 * pair))[rows, columns]


@functools.cache
def truth(world: World, name: str, share: float, images: int = 400, draws: int = 60):
    """Angles at which the measure is about LEVELS, and its value there for images of classes of their own."""
    rng = np.random.default_rng(1)

    def scores(thetas):
        features = world.features(rng, np.arange(images), share, thetas)
        return coverage_numpy.without_bias(lambda p: coverage_numpy.scores(name, features, p[None])[0], images)

    grid = np.linspace(0.05, 1.5, 12)
    thetas = coverage_numpy.angles(np.mean([scores(grid) for _ in range(4)], 0), grid, LEVELS)
    return thetas, np.mean([scores(thetas) for _ in range(draws)], 0)


@functools.cache
def drawer(draw):
    """The draws of a scheme in one call, `(key, numbers, layout)`."""
    return jax.jit(jax.vmap(draw, (None, 0, None)))


def _intervals(scheme, key, estimate: Callable, scores: Callable, n: int):
    """Interval `(2, K)` of a scheme, whose halves `scores` takes."""
    plan = scheme.plan(n, 4, RESAMPLES)
    halves = np.asarray(drawer(scheme.draw)(key, jnp.arange(RESAMPLES), jax.tree.map(jnp.asarray, plan.layout)))
    groups = () if plan.groups is None else (plan.groups_drawn, plan.groups)
    known = {"degrees": plan.degrees} if groups else {}
    return np.asarray(scheme.interval(scores(halves), estimate(), 0.95, *(groups or (plan.size, n)), **known))


def coverage(world: World, name: str, share: float, sizes: tuple[int, ...], before: bool, seed: int):
    """Whether intervals hold the truth, for one batch of data sets."""
    thetas, value = truth(world, name, share)
    code, found = np.repeat(np.arange(len(sizes)), sizes), {}
    n = len(code)
    everything = np.arange(n)[None]
    for k in range(BATCH):
        features = world.features(np.random.default_rng([7, n, seed + k]), code, share, thetas)
        key = jax.random.fold_in(jax.random.key(len(sizes)), seed + k)
        part = functools.partial(between, name, features, code=code)
        ends = {
            "HalfSamples(groups=class)": _intervals(
                schemes.HalfSamples(groups=code), key, lambda f=part: f(everything)[0], part, n
            )
        }
        if before:
            plain = functools.partial(coverage_numpy.scores, name, features)
            of = functools.partial(_intervals, key=key, estimate=lambda f=plain: f(everything)[0], scores=plain, n=n)
            ends["HalfSamples()"] = of(schemes.HalfSamples())
            ends["HalfSamples(strata=class)"] = of(schemes.HalfSamples(strata=code))
        for text, (low, high) in ends.items():
            for level, held in zip(LEVELS, (low <= value) & (value <= high), strict=True):
                found.setdefault(f"{text}, S = {level}", []).append(bool(held))
    return {text: np.array(held) for text, held in found.items()}


UNEQUAL = (1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 5, 5, 6, 6, 7, 8, 9, 12)
CASES = {
    "normal, share .8, K = 10": (NORMAL, 0.8, (6,) * 10, True),
    "normal, share .2, K = 10": (NORMAL, 0.2, (6,) * 10, True),
    "skewed, share .8, K = 10": (SKEWED, 0.8, (6,) * 10, False),
    "normal, share .8, K = 20": (NORMAL, 0.8, (4,) * 20, False),
    "skewed, share .8, K = 20": (SKEWED, 0.8, (4,) * 20, False),
    "skewed, share .2, K = 20": (SKEWED, 0.2, (4,) * 20, False),
    "normal, share .8, K = 20, 1 to 12 images each": (NORMAL, 0.8, UNEQUAL, False),
    "normal, share .8, K = 40": (NORMAL, 0.8, (3,) * 40, False),
}
SETTINGS: dict[str, Callable[[int], dict[str, np.ndarray]]] = {
    f"{name}: {text}": functools.partial(coverage, world, name, share, sizes, before)
    for text, (world, share, sizes, before) in CASES.items()
    for name in MEASURES
}
STUDY = Study(
    "Intervals for new classes: share that covers the score of infinitely many classes.", 95, (93, 97), SETTINGS
)
