"""Measured transfer between tasks: a readout from frozen encoders to every target, and a tournament over images.

The readout is solved, not trained: each cell of a code sees its 3 x 3 neighborhood through fixed random ReLU units,
and ridge regression predicts the cell's patch of the target. It needs few images, is deterministic and far stronger
than a linear probe. The tournament and its eigenvector follow Taskonomy (Zamir et al. 2018, section
3.3: the analytic hierarchy process).
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from jaxsim.evaluation import spearman
from jaxsim.results import Affinity
from jaxsim.taxonomy import strengths, win_rates, win_rates_over

UNITS = 384
"""Number of random units of the readout."""
PENALTIES = np.logspace(-5, 1, 13)
"""Candidate ridge penalties, as multiples of the mean eigenvalue."""
MATRICES = ("affinity", "wins_scratch", "wins_full", "skill")
"""Fields of `Truth` with one row per source and one column per target."""


@dataclasses.dataclass(frozen=True, repr=False)
class Truth:
    """Measured transfer from encoders to tasks.

    Attributes:
        sources: names of the encoders, S.
        targets: names of the tasks, T.
        losses: held-out loss of each image, `(S, T, images)`.
        affinity: eigenvector of each target's tournament, `(S, T)`, columns summing to 1.
        wins_scratch: share of images on which the source beats an untrained encoder, `(S, T)`.
        wins_full: share on which it beats the target's own encoder, `(S, T)`; one half on the diagonal.
        skill: 1 - loss / loss of the best constant, `(S, T)`.
        reliability: Spearman correlation between the affinities from two halves of the images, extrapolated to all
            images by the Spearman-Brown formula, `(T,)`.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    losses: np.ndarray
    affinity: np.ndarray
    wins_scratch: np.ndarray
    wins_full: np.ndarray
    skill: np.ndarray
    reliability: np.ndarray

    def __repr__(self) -> str:
        """One line with the numbers of sources, targets and images."""
        sources, targets, images = self.losses.shape
        return f"Truth({sources} sources to {targets} targets, {images} images)"

    def matrix(self, what: str = "affinity") -> Affinity:
        """One of the matrices `(S, T)` as a labeled record, for `evaluate`, trees and plots.

        Args:
            what: 'affinity', 'wins_scratch', 'wins_full' or 'skill'.

        Raises:
            ValueError: the name is unknown.

        >>> from jaxsim.studies.rooms import world
        >>> world.load_truth().matrix().ranking("rgb2depth")[0][0]
        'rgb2mist'
        """
        if what not in MATRICES:
            raise ValueError(f"there is no matrix {what!r}; choose from {', '.join(MATRICES)}.")
        return Affinity.from_array(
            getattr(self, what), self.sources, self.targets, measure=f"measured transfer, {what}"
        )


def units(codes: np.ndarray, seed: int = 0) -> np.ndarray:
    """Readout inputs `(n, h w, UNITS + 9 c + 1)` of codes `(n, h, w, c)`; the last is a constant."""
    n, h, w, c = codes.shape
    padded = np.pad(codes, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    near = [padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]
    local = np.concatenate(near, -1).reshape(n, h * w, 9 * c).astype(np.float32)
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((9 * c, UNITS)).astype(np.float32) / np.sqrt(9 * c)
    bias = rng.standard_normal(UNITS).astype(np.float32)
    hidden = np.maximum(np.matmul(local, weights) + bias, 0)
    return np.concatenate([hidden, local, np.ones((n, h * w, 1), np.float32)], -1)


def patches(target: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
    """Cut targets `(n, H, W, c)` into `(n, cells, values)`; `(n, k)` is one cell, `(n, 1, k)`."""
    if target.ndim == 2:
        return target[:, None]
    n, height, width, c = target.shape
    rows, columns = height // cells[0], width // cells[1]
    cut = target.reshape(n, cells[0], rows, cells[1], columns, c)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(n, cells[0] * cells[1], rows * columns * c)


class Readout:
    """Ridge regressions from one encoder's codes; one eigendecomposition serves all targets and penalties."""

    def __init__(self, train: np.ndarray, test: np.ndarray, seed: int = 0):
        """Prepare codes `(n, h, w, c)` of the training and test images."""
        scale = train.std((0, 1, 2), keepdims=True)
        mean, scale = train.mean((0, 1, 2), keepdims=True), np.where(scale > 0, scale, 1)
        self.cells = train.shape[1:3]
        self.train, self.test = (units((x - mean) / scale, seed) for x in (train, test))
        whole = [np.concatenate([x.mean(1), _pooled(x)], 1)[:, None] for x in (self.train, self.test)]
        self.inputs = {True: (self.train, self.test), False: tuple(whole)}
        self.bases: dict[tuple[bool, int], tuple[np.ndarray, np.ndarray]] = {}

    def _basis(self, spatial: bool, count: int):
        if (spatial, count) not in self.bases:
            x = self.inputs[spatial][0][:count]
            x = x.reshape(-1, x.shape[-1])
            values, vectors = np.linalg.eigh(np.matmul(x.T, x).astype(np.float64))
            self.bases[spatial, count] = np.maximum(values, 0), vectors.astype(np.float32)
        return self.bases[spatial, count]

    def _fit(self, target, count, penalties):
        spatial = target.ndim > 2
        x = self.inputs[spatial][0][:count]
        y = patches(target[:count], self.cells)
        values, vectors = self._basis(spatial, count)
        cross = np.matmul(vectors.T, np.matmul(x.reshape(-1, x.shape[-1]).T, y.reshape(-1, y.shape[-1])))
        floor = values.mean()
        return [np.matmul(vectors, cross / (values + p * floor)[:, None].astype(np.float32)) for p in penalties]

    def losses(self, train: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Mean squared error of each test image, `(m,)`; the penalty is chosen on the last quarter of `train`."""
        spatial, count = train.ndim > 2, len(train) * 3 // 4
        x, y = self.inputs[spatial][0][count:], patches(train[count:], self.cells)
        tuned = [np.mean((np.matmul(x, w) - y) ** 2) for w in self._fit(train, count, PENALTIES)]
        (weights,) = self._fit(train, len(train), PENALTIES[[int(np.argmin(tuned))]])
        error = np.matmul(self.inputs[spatial][1], weights) - patches(test, self.cells)
        return np.mean(error**2, (1, 2))


def _pooled(x):
    """Maximum of every unit over the cells."""
    return x[..., :-1].max(1)


def reliability(losses: np.ndarray) -> np.ndarray:
    """Spearman-Brown reliability of every target's affinity from even and odd images: `(S, T, images) -> (T,)`.

    NaN if the halves rank the sources in opposite orders, or one half is constant.
    """
    first, second = (strengths(win_rates(losses[..., k::2])) for k in (0, 1))
    r = np.array([spearman(a, b) for a, b in zip(first, second, strict=True)])
    return 2 * r / np.where(r > -1, 1 + r, np.nan)


Pair = tuple[np.ndarray, np.ndarray]
"""Arrays of the training and of the test images."""


def measure(
    codes: Mapping[str, Mapping[str, Pair]],
    scratch: Mapping[str, Pair],
    targets: Mapping[str, tuple[str, np.ndarray, np.ndarray]],
    progress: Callable[[str], None] | None = None,
) -> Truth:
    """Measure transfer of every encoder to every task.

    Args:
        codes: by source and by input ('clean', 'noisy', ...), codes `(n, h, w, c)` of the training and `(m, h, w, c)`
            of the test images.
        scratch: codes of an untrained encoder by input.
        targets: by task, the input of its networks, and targets `(n, H, W, k)` or `(n, k)` of the training images and
            of the test images.
        progress: called with the name of each finished source.

    Raises:
        ValueError: a target has another number of images than the codes, or there are fewer than 8 images.
    """
    fitted, judged = (len(a) for a in next(iter(scratch.values())))
    if min(fitted, judged) < 8:
        raise ValueError(f"transfer needs at least 8 training and 8 test images, not {fitted} and {judged}.")
    for name, (_, first, second) in targets.items():
        if (len(first), len(second)) != (fitted, judged):
            raise ValueError(
                f"{name} has {len(first)} and {len(second)} images, but the codes have {fitted} and {judged}."
            )
    scaled = {name: (shown, *_standardized(first, second)) for name, (shown, first, second) in targets.items()}

    def row(shown: Mapping[str, Pair]) -> np.ndarray:
        readouts = {kind: Readout(*shown[kind]) for kind in dict.fromkeys(t[0] for t in scaled.values())}
        return np.stack([readouts[kind].losses(first, second) for kind, first, second in scaled.values()])

    rows = []
    for name, shown in codes.items():
        rows.append(row(shown))
        if progress is not None:
            progress(name)
    losses, baseline = np.stack(rows), row(scratch)
    constant = np.array([np.mean((b - a.mean(0)) ** 2) for _, a, b in scaled.values()])
    sources, names = tuple(codes), tuple(targets)
    own = np.stack([losses[sources.index(t), k] if t in sources else baseline[k] for k, t in enumerate(names)])
    return Truth(
        sources,
        names,
        losses.astype(np.float32),
        strengths(win_rates(losses)).T,
        (losses < baseline).mean(-1),
        win_rates_over(losses, own),
        1 - losses.mean(-1) / constant,
        reliability(losses),
    )


def _standardized(train, test):
    """Standardize both by the mean and standard deviation of each channel in `train`."""
    axes = tuple(range(train.ndim - 1))
    sd = train.std(axes)
    sd = np.where(sd > 0, sd, 1)
    return tuple(((a - train.mean(axes)) / sd).astype(np.float32) for a in (train, test))
