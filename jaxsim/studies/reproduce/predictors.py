"""Predictors of transfer, one record of `METHODS` each.

A method is a name, a source, and a part that computes its matrix `(S, T)` from `Evidence`. A part has `needs`, the
fields of the evidence that it reads; `scores`; and `draws`, the scores under resampled images, or None if it uses no
images.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import jax
import numpy as np

from jaxsim import engine, measures, resampling, schemes
from jaxsim.resampling.program import drawn
from jaxsim.resampling.verbs import source_of
from jaxsim.results import Affinity
from jaxsim.statistics.checks import as_key
from jaxsim.taxonomy import strengths, win_rates
from jaxsim.taxonomy.tournament import LEAST_WIN

if TYPE_CHECKING:
    from jaxsim.studies.rooms.transfer import Truth

Features = Mapping[str, np.ndarray]
NEIGHBORS = 5
"""Number of neighbors in the regression on features."""
CHANCE = 200
"""Number of random matrices whose scores are averaged."""


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that a predictor of transfer may read.

    Attributes:
        truth: measured transfer `(S, T)`, which predictions are judged against; a method that reads it says so.
        features: features of every source and target by name, `(n, ...)` for the same n pictures.
        skill: performance `(S, T)` after transfer, used to measure regret; the truth itself by default.
        labels: labels of tasks by name, `(n, ...)` for the same pictures.
        losses: `(S, T, m)` losses of held-out images that the truth is not based on.
        encoders: the networks by name.
        pictures: `(n, h, w, 3)` uint8.
        seconds: time for computing the features.
    """

    truth: Affinity
    features: Features
    skill: np.ndarray | None = None
    labels: Any = None
    losses: Any = None
    encoders: Any = None
    pictures: Any = None
    seconds: float = 0.0

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources."""
        return self.truth.names

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets."""
        return self.truth.targets

    @property
    def names(self) -> list[str]:
        """Names of all tasks, each once: the sources, then the other targets."""
        return list(dict.fromkeys((*self.sources, *self.targets)))

    @property
    def block(self) -> tuple[np.ndarray, ...]:
        """Index of the sources' rows and the targets' columns in a matrix of `names`."""
        names = self.names
        return np.ix_(*([names.index(n) for n in some] for some in (self.sources, self.targets)))

    @property
    def own(self) -> np.ndarray:
        """Whether source and target have the same name, `(S, T)`."""
        return np.asarray(self.sources)[:, None] == np.asarray(self.targets)[None, :]

    @property
    def values(self) -> np.ndarray:
        """The truth in float64, higher is better."""
        values = np.asarray(self.truth.values, dtype=np.float64)
        return -values if self.truth.distance else values


def halves(truth: "Truth") -> tuple[Affinity, np.ndarray, np.ndarray]:
    """Taskonomy's affinity and the skill on every second held-out image, and the losses of the other images.

    A tournament that reads the losses is then judged on other images than its own.
    """
    losses = np.asarray(truth.losses, np.float32)
    judged, others = losses[..., ::2], losses[..., 1::2]
    affinity = Affinity.from_array(strengths(win_rates(judged)).T, truth.sources, truth.targets, measure="transfer")
    whole = losses.mean(-1)
    skill = 1 - (1 - np.asarray(truth.skill, float)) * judged.mean(-1) / np.where(whole > 0, whole, 1)
    return affinity, skill, others


class Part(Protocol):
    """Computes the matrix of a method.

    Attributes:
        warm: whether `draws` compiles everything that `scores` runs.
    """

    warm: ClassVar[bool]

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of the evidence that it reads."""
        ...

    def scores(self, evidence: Evidence) -> np.ndarray:
        """Scores `(S, T)`, higher predicts better transfer; or `(D, S, T)` of D matrices whose results are averaged."""
        ...

    def draws(self, evidence: Evidence, count: int, key: jax.Array) -> np.ndarray | None:
        """Scores `(count, S, T)` with images drawn with replacement; None if it uses no images."""
        ...


@dataclasses.dataclass(frozen=True)
class Similarity:
    """Similarity of sources and targets under a measure.

    Attributes:
        measure: the measure.
        first: field of the evidence that represents a source, 'features' or 'labels'.
        second: the same for a target.
        resampled: whether to resample over images; False if that takes too long.
    """

    measure: Any
    first: str = "features"
    second: str = "features"
    resampled: bool = True
    warm: ClassVar[bool] = False

    @property
    def needs(self) -> tuple[str, ...]:
        """The fields that it compares."""
        return tuple(dict.fromkeys((self.first, self.second)))

    def scores(self, evidence: Evidence) -> np.ndarray:
        """The measure's affinity."""
        (x, against), place = self._sets(evidence)
        return np.asarray(engine.affinity(x, self.measure, against=against).values)[place]

    def draws(self, evidence: Evidence, count: int, key: jax.Array) -> np.ndarray | None:
        """The measure under the bootstrap."""
        if not self.resampled:
            return None
        (x, against), place = self._sets(evidence)
        how: dict[str, Any] = {"n_resamples": count, "key": key, "against": against}
        found = resampling.resample(x, self.measure, schemes.Bootstrap(), **how)
        return np.asarray(found.values)[:, *place]

    def _sets(self, evidence):
        """One or two sets of networks, and the positions of sources and targets in their affinity."""
        first, second = getattr(evidence, self.first), getattr(evidence, self.second)
        if self.first != self.second:
            sets = {n: first[n] for n in evidence.sources}, {n: second[n] for n in evidence.targets}
            return sets, np.ix_(*map(range, map(len, sets)))
        return ({n: first[n] for n in evidence.names}, None), evidence.block


@dataclasses.dataclass(frozen=True)
class PerPicture:
    """Mean over pictures of a per-picture score.

    Attributes:
        each: function from the evidence to `(n, S, T)`.
        needs: fields of the evidence that it reads.
    """

    each: Callable[[Evidence], np.ndarray]
    needs: tuple[str, ...]
    warm: ClassVar[bool] = True

    def scores(self, evidence: Evidence) -> np.ndarray:
        """The mean."""
        return self.each(evidence).mean(0)

    def draws(self, evidence: Evidence, count: int, key: jax.Array) -> np.ndarray:
        """Means over pictures drawn with replacement."""
        each = self.each(evidence)
        return np.tensordot(_weights(key, count, len(each)), each, 1)


@dataclasses.dataclass(frozen=True)
class Given:
    """Scores that do not depend on pictures.

    Attributes:
        make: function from the evidence to `(S, T)` or `(D, S, T)`.
        needs: fields of the evidence that it reads.
    """

    make: Callable[[Evidence], np.ndarray]
    needs: tuple[str, ...] = ()
    warm: ClassVar[bool] = False

    def scores(self, evidence: Evidence) -> np.ndarray:
        """The scores."""
        return self.make(evidence)

    def draws(self, evidence: Evidence, count: int, key: jax.Array) -> None:
        """None."""
        return


@dataclasses.dataclass(frozen=True)
class Tournament:
    """Taskonomy's affinity, from losses of held-out images other than the truth's."""

    needs: tuple[str, ...] = ("losses",)
    warm: ClassVar[bool] = False

    def scores(self, evidence: Evidence) -> np.ndarray:
        """The eigenvector of each target's tournament; NaN where a loss is."""
        lost = np.isnan(np.asarray(evidence.losses)).any(-1)
        return np.where(lost, np.nan, strengths(win_rates(evidence.losses)).T)

    def draws(self, evidence: Evidence, count: int, key: jax.Array) -> np.ndarray:
        """The same, with images drawn with replacement."""
        losses = np.moveaxis(np.asarray(evidence.losses), 0, 1)
        first, second = losses[:, :, None], losses[:, None]
        won = (first < second) + np.float32(0.5) * (first == second)  # (T, S, S, m)
        weights = _weights(key, count, losses.shape[-1]).astype(np.float32)
        drawn = (strengths(np.clip(won @ w, LEAST_WIN, 1 - LEAST_WIN)).T for w in weights)
        return np.where(np.isnan(losses).any(-1).T, np.nan, np.stack(list(drawn)))


def _weights(key: jax.Array, count: int, images: int) -> np.ndarray:
    """Shares `(count, images)` of each image in the resamples of `js.Bootstrap`."""
    scheme = schemes.Bootstrap()
    counts = drawn(scheme.draw, source_of(scheme.plan(images, 1, count), key))
    return np.asarray(counts, np.float64) / images


def neighbor_errors(evidence: Evidence) -> np.ndarray:
    """Minus the squared error of each picture's labels when predicted from its nearest pictures, `(n, S, T)`.

    A source's features select `NEIGHBORS` other pictures by Euclidean distance, and the mean of their labels is the
    prediction. Errors are divided by the variance of the target's labels. A source with NaN in its features has no
    errors.

    Raises:
        ValueError: there is only one picture.
        ValueError: there is one picture.
    """
    labels = {t: np.asarray(evidence.labels[t]) for t in evidence.targets}
    # a large mean would lead to rounding errors in float32
    labels = {t: (y - y.mean(0, dtype=np.float64)).reshape(len(y), -1).astype(np.float32) for t, y in labels.items()}
    spread = {t: max(float(np.mean((y - y.mean(0)) ** 2)), np.finfo(np.float32).tiny) for t, y in labels.items()}
    out = np.empty((len(next(iter(labels.values()))), len(evidence.sources), len(evidence.targets)))
    for s, source in enumerate(evidence.sources):
        if np.isnan(evidence.features[source]).any():
            out[:, s] = np.nan
            continue
        near = neighbors(evidence.features[source], NEIGHBORS)
        for t, (target, y) in enumerate(labels.items()):
            out[:, s, t] = -np.mean((y - y[near].mean(1)) ** 2, 1) / spread[target]
    return out


def neighbors(x: np.ndarray, count: int) -> np.ndarray:
    """Indices `(n, count)` of the nearest other rows of `(n, ...)` by Euclidean distance, nearest first.

    Raises:
        ValueError: there is only one row.

    >>> neighbors(np.array([[0.0], [1.0], [3.0]]), 1).ravel().tolist()
    [1, 0, 1]
    """
    if len(x) < 2:
        raise ValueError(f"nearest neighbors need at least two pictures, not {len(x)}.")
    x = np.asarray(x, np.float64).reshape(len(x), -1)
    x = x - x.mean(0)
    norms = np.sum(x**2, 1)
    distances = norms[:, None] + norms - 2 * x @ x.T
    np.fill_diagonal(distances, np.inf)
    return np.argsort(distances, axis=1, kind="stable")[:, : min(count, len(x) - 1)]


def attribution_similarities(rule: str, evidence: Evidence) -> np.ndarray:
    """Similarity of attribution maps on each picture, `(n, S, T)`; see `jaxsim.vision.attribution`."""
    from jaxsim.studies.rooms.encoders import preprocessing_of
    from jaxsim.vision import attribution

    bank, shown = {n: evidence.encoders[n] for n in evidence.names}, {n: preprocessing_of(n) for n in evidence.names}
    found = attribution.image_scores(evidence.pictures, bank, rule, preprocessing=shown)
    return np.asarray(found.values, np.float64)[:, *evidence.block]


def attribution(rule: str) -> PerPicture:
    """Similarity by the attribution maps of a rule."""
    return PerPicture(functools.partial(attribution_similarities, rule), ("encoders", "pictures"))


def mean_transfer(evidence: Evidence) -> np.ndarray:
    """Mean transfer of each source to the other targets, without the source's own, `(S, T)`.

    It reads the truth of all targets except the one being predicted.
    """
    values, others = evidence.values, ~evidence.own & np.isfinite(evidence.values)
    sums, counts = np.where(others, values, 0).sum(1, keepdims=True), others.sum(1, keepdims=True)
    left = counts - others
    return np.where(left > 0, (sums - np.where(others, values, 0)) / np.maximum(left, 1), np.nan)


def parameters(evidence: Evidence) -> np.ndarray:
    """Number of parameters of each source, the same for all targets."""
    counts = [[float(parameter_count(evidence.encoders[n]))] for n in evidence.sources]
    return np.repeat(counts, len(evidence.targets), 1)


def parameter_count(encoder: Any) -> int:
    """Number of parameters of a network."""
    from flax import nnx

    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(nnx.state(encoder, nnx.Param)))


def random_similarities(evidence: Evidence) -> np.ndarray:
    """Random symmetric similarities `(CHANCE, S, T)` with the diagonal highest."""
    count = len(evidence.names)
    values = np.array(jax.random.uniform(as_key(0), (CHANCE, count, count)), np.float64)
    values = (values + np.swapaxes(values, 1, 2)) / 2
    values[:, range(count), range(count)] = 1.0
    return values[:, *evidence.block]


@dataclasses.dataclass(frozen=True)
class Method:
    """A predictor of transfer.

    Attributes:
        name: name in tables.
        source: where it comes from.
        part: computes its matrix.
        paper: mean correlation with Taskonomy's affinity or win rate in DDS 2020, including self.
        static: whether it is a baseline that every table shows.
        oracle: whether it reads measured transfer, and so cannot be the best method.
        fair: whether it is independent of the truth if transfer is random; p values are only valid for such methods.
        note: note in tables.
    """

    name: str
    source: str
    part: Part
    paper: float | None = None
    static: bool = False
    oracle: bool = False
    fair: bool = True
    note: str = ""


PRINTED, CELLS = "DDS 2020, table 3", "DDS 2020, table 2"
METHODS: tuple[Method, ...] = (
    Method("tournament", "Zamir et al. 2018, by other images", Tournament(), 0.988, oracle=True),
    Method("DDS, Laplacian", PRINTED, Similarity(measures.DDS_LAPLACIAN), 0.860),
    Method("DDS, cosine", PRINTED, Similarity(measures.DDS_COSINE), 0.862),
    Method("RSA", PRINTED, Similarity(measures.RSA), 0.777),
    Method("CKA, linear", CELLS, Similarity(measures.CKA_LINEAR), 0.632),
    Method("CKA, RBF", CELLS, Similarity(measures.CKA_RBF), 0.800),
    Method(
        "SVCCA",
        "Raghu et al. 2017",
        Similarity(measures.SVCCA, resampled=False),
        note="interval over targets alone",
    ),
    Method("attribution, saliency", PRINTED, attribution("saliency"), 0.605),
    Method("attribution, gradient x input", "Song et al. 2019", attribution("gradient-x-input")),
    Method("attribution, DeepLIFT", PRINTED, attribution("deeplift"), 0.681),
    Method("attribution, epsilon-LRP", PRINTED, attribution("epsilon-lrp"), 0.682),
    Method("labels, RSA", "RSA 2019, figure 5", Similarity(measures.RSA, "labels", "labels")),
    Method("features with labels, RSA", "Bolya et al. 2021", Similarity(measures.RSA, "features", "labels")),
    Method("kNN on features", "Bolya et al. 2021", PerPicture(neighbor_errors, ("features", "labels")), static=True),
    Method("network size", "parameters", Given(parameters, ("encoders",)), static=True),
    Method("mean transfer to other targets", "the truth", Given(mean_transfer), None, True, oracle=True, fair=False),
    Method("random", "chance", Given(random_similarities), static=True),
)
"""Every method, in the order of tables. The paper's numbers are printed ones: Table 3 (affinity); for CKA, which that
table lacks, Table 2 (win rate) for the identity with the linear and the RBF kernel."""
MEASURES = {
    one.name: (one.part.measure, one.paper)
    for one in METHODS
    if isinstance(one.part, Similarity) and one.part.needs == ("features",) and one.part.resampled
}
"""Measures of features that are resampled, and the papers' correlation with transfer, including self."""
