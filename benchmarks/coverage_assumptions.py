"""Coverage of 95 % intervals when their assumptions are met and when they fail, on the host in NumPy.

Network X mixes ten causes linearly. Y(theta) mixes them with ten other causes, so its similarity to X falls as theta
goes from 0 to pi / 2. Causes are normal or have heavy tails (Student's t), and `relu` clips the features. A biased
measure should cover its limit, which is the limit of its debiased form.
"""

import functools
from collections.abc import Callable

import numpy as np
from scipy.spatial.distance import squareform
from scipy.special import stdtrit

from benchmarks import coverage_numpy
from benchmarks.coverage_studies import Study
from jaxsim import statistics
from jaxsim.assumptions import Facts, flags

CAUSES, WIDTH = 10, 32
THETAS = np.array([np.pi / 2, 1.2, 0.85, 0.35, 0.1])
"""From unrelated networks to nearly equal ones."""
AT_ONCE, PAIRS = 50, 25
TRUTH_IMAGES, TRUTH_DRAWS = 600, 40
MIXING = np.random.default_rng(5).normal(size=(2, CAUSES, WIDTH)) / CAUSES**0.5


def _normal(rng, shape):
    return rng.normal(size=shape)


def _student(df):
    return lambda rng, shape: rng.standard_t(df, shape)


def mixtures(rng, n, causes=_normal):
    """Features `(1 + K, n, WIDTH)` of X, and of Y at the K angles."""
    common, own = causes(rng, (n, CAUSES)), causes(rng, (len(THETAS), n, CAUSES))
    x = common @ MIXING[0]
    y = np.cos(THETAS)[:, None, None] * x + np.sin(THETAS)[:, None, None] * (own @ MIXING[1])
    return np.concatenate([x[None], y])


def _of_one_pattern(rng, n, causes):
    """Every feature its own cause, so that one image is far out along one feature."""
    x, own = causes(rng, (n, WIDTH)), causes(rng, (len(THETAS), n, WIDTH))
    return np.concatenate([x[None], np.cos(THETAS)[:, None, None] * x + np.sin(THETAS)[:, None, None] * own])


WORLDS: dict[str, Callable] = {
    "normal": mixtures,
    "relu": lambda rng, n: np.maximum(mixtures(rng, n) - 0.3, 0),
    "one feature": lambda rng, n: np.maximum(_of_one_pattern(rng, n, _normal)[..., :1], -1),
    "t_3": functools.partial(mixtures, causes=_student(3)),
    "t_2": functools.partial(mixtures, causes=_student(2)),
    "t_2, every feature": functools.partial(_of_one_pattern, causes=_student(2)),
}


def _log(x):
    """A transform that pulls tails in."""
    return np.sign(x) * np.log1p(np.abs(x))


def _biased(features, subset, kernel):
    """Cosines of the double-centered kernels of images, diagonal included."""
    found = []
    for x in features[:, subset]:
        k = kernel(x)
        k = k - k.mean(0) - k.mean(1, keepdims=True) + k.mean()
        found.append(k.ravel() / np.linalg.norm(k))
    return np.stack(found[1:]) @ found[0]


def _linear(x):
    return x @ x.T


def _squares(x):
    k = x @ x.T
    return np.maximum(np.diag(k)[:, None] + np.diag(k) - 2 * k, 0)


def _rbf(x):
    s = _squares(x)
    return np.exp(-2 * s / np.median(s))


BIASED = {
    "cka-linear-biased": (_linear, "cka-linear"),
    "cka-rbf-biased": (_rbf, "cka-rbf"),
    "distance-correlation": (lambda x: np.sqrt(_squares(x)), "distance-correlation-unbiased"),
}
"""Kernel of each biased measure, and its debiased form."""


def scores(name: str, features: np.ndarray, subsets) -> np.ndarray:
    """Scores `(B, K)` of the first network with the others on images `(B, m)`, everything fitted on these."""
    if name.endswith(" of logarithms"):
        return scores(name.removesuffix(" of logarithms"), _log(features), subsets)
    if name not in BIASED:
        return coverage_numpy.scores(name, features, subsets)
    found = np.stack([_biased(features, s, BIASED[name][0]) for s in subsets])
    return np.sqrt(np.maximum(found, 0)) if name == "distance-correlation" else found


@functools.cache
def truth(name: str, world: str) -> np.ndarray:
    """Scores of infinitely many images, the bias of order 1 / n taken out by halves; of a biased measure, its limit."""
    if name in BIASED:
        found = truth(BIASED[name][1], world)
        return np.sqrt(np.maximum(found, 0)) if name == "distance-correlation" else found
    rng = np.random.default_rng(1)

    def drawn():
        x = WORLDS[world](rng, TRUTH_IMAGES)
        return coverage_numpy.without_bias(lambda s: scores(name, x, [s])[0], TRUTH_IMAGES)

    found = np.mean([drawn() for _ in range(TRUTH_DRAWS)], 0)
    found[0] = 0  # unrelated
    return found


def halves(rng, n: int, pairs: int, strata=None) -> np.ndarray:
    """Images `(2 pairs, m)`, each half followed by the other; within strata, of which one odd image stays out."""
    labels = np.zeros(n, int) if strata is None else np.asarray(strata)
    found = []
    for _ in range(pairs):
        orders = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
        found += [np.concatenate([o[: len(o) // 2] for o in orders])]
        found += [np.concatenate([o[len(o) // 2 : len(o) // 2 * 2] for o in orders])]
    return np.stack(found)


def interval(estimate, values, m: int, n: int):
    """`HalfSamples.interval` in NumPy, on Fisher's scale: `(2, K)`, from halves of m images."""
    error = np.sqrt(np.mean((values[0::2] - values[1::2]) ** 2, 0) * m / (2 * n))
    step = stdtrit(len(values) // 2 - 1, 0.975) * error / (1 - estimate**2)
    return np.tanh(np.arctanh(estimate) + np.stack([-step, step]))


def effective(name: str, features: np.ndarray) -> list[float]:
    """Effective numbers of images of the networks' maps; all of them where ranks are compared."""
    n, found = features.shape[1], []
    if name.startswith("rsa") or name in BIASED or name.endswith("logarithms"):
        return [float(n)] * len(features)
    for m in coverage_numpy.RESTATED[name][0](features)(np.arange(n)):
        k = squareform(m, checks=False)
        rows = k.sum(1)
        k = k - (rows[:, None] + rows) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
        np.fill_diagonal(k, 0)
        e = (k * k).sum(1)
        found.append(float(e.sum() ** 2 / (e * e).sum()))
    return found


def coverage(
    names, world: str, n: int, seed: int, *, at=(0, 1, 2, 3, 4), pairs=PAIRS, strata=None, warned=False
) -> dict:
    """Whether the interval of each measure holds the truth at each angle, one entry a data set and angle."""
    rng = np.random.default_rng([seed, n])
    found: dict[str, list] = {}
    for _ in range(AT_ONCE):
        x = WORLDS[world](rng, n)[[0, *(1 + k for k in at)]]
        subsets = halves(rng, n, pairs, strata)
        for name in names:
            estimate = scores(name, x, [np.arange(n)])[0]
            low, high = interval(estimate, scores(name, x, subsets), subsets.shape[1], n)
            true = truth(name, world)[list(at)]
            holds = (low <= true) & (true <= high)
            for k, held in zip(at, holds.tolist(), strict=True):
                found.setdefault(f"{name}, truth {truth(name, world)[k]:.2f}", []).append(held)
            if warned:
                sizes = effective(name, x)
                for place, (k, held) in enumerate(zip(at, holds.tolist(), strict=True)):
                    pair = Facts(name, images=n, effective=[("x", sizes[0]), ("y", sizes[1 + place])])
                    row = f"{name}, truth {truth(name, world)[k]:.2f}, held or warned of"
                    found.setdefault(row, []).append(held or bool(flags(pair)))
    return {name: np.array(values) for name, values in found.items()}


def two_factor(members: int, seed: int, n: int = 50) -> dict:
    """Intervals for the mean score of new members and images, of scores in which members differ most.

    The variances are those of bootstraps with many draws.
    """
    rng = np.random.default_rng([seed, members])
    shape = (AT_ONCE, n, members)
    x = 0.5 * rng.normal(size=(AT_ONCE, n, 1)) + rng.normal(size=(AT_ONCE, 1, members)) + rng.normal(size=shape)
    rows, columns, mean = x.mean(2, keepdims=True), x.mean(1, keepdims=True), x.mean((1, 2), keepdims=True)
    by_images, by_members = rows.var(1)[:, 0] / n, columns.var(2)[:, 0] / members
    both = by_images + by_members + ((x - rows - columns + mean) ** 2).mean((1, 2)) / (n * members)
    corrected = statistics.corrected_variance(both, by_members, by_images, members_count=members, images_count=n)
    error = np.sqrt(np.asarray(corrected, float))
    student = stdtrit(members - 1, 0.975)
    steps = {
        "normal, variance bounded as in rsatoolbox": 1.96 * np.minimum(error, np.sqrt(both)),
        "normal": 1.96 * error,
        "Student's t of members less one": student * error,
    }
    return {name: np.abs(mean[:, 0, 0]) <= step for name, step in steps.items()}


EXACT = ("cka-linear", "dds-laplacian", "rsa")
TAILED = ("cka-linear", "cka-linear of logarithms", "cka-rbf", "dds-laplacian", "rsa")


def _settings():
    made = {}
    for n, names in {12: EXACT, 20: EXACT, 30: EXACT, 50: EXACT, 100: EXACT, 500: EXACT[:1]}.items():
        made[f"exchangeable, n = {n}"] = functools.partial(coverage, names, "relu", n)
    for n in (12, 20, 30, 100):
        made[f"one cut feature, n = {n}"] = functools.partial(
            coverage, EXACT[:1], "one feature", n, at=(1, 2, 3), warned=True
        )
    for world in ("t_3", "t_2", "t_2, every feature"):
        made[f"{world}, n = 100"] = functools.partial(coverage, TAILED, world, 100, at=(1, 2, 3))
        made[f"{world}, n = 100, and warnings"] = functools.partial(
            coverage, EXACT[:1], world, 100, at=(1, 2, 3), warned=True
        )
    made["biased, n = 100"] = functools.partial(coverage, (*BIASED, "cka-rbf"), "normal", 100, at=(1, 2, 3))
    for b in (4, 10, 20):
        made[f"{b} half-samples, n = 100"] = functools.partial(
            coverage, EXACT[:1], "normal", 100, at=(1, 2, 3), pairs=b // 2
        )
    strata = [*range(50), *[50] * 50]
    made["50 strata of one image and one of 50"] = functools.partial(
        coverage, EXACT[:1], "normal", 100, at=(1, 2, 3), strata=strata
    )
    for members in (2, 3, 5, 10):
        made[f"two-factor variance, {members} members"] = functools.partial(two_factor, members)
    return made


STUDY = Study(
    "Do half-sample intervals cover the truth, and is there a warning when they don't?", 95, (93, 97), _settings()
)
