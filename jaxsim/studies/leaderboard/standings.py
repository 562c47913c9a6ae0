"""Score predictors of transfer on one truth or several, with intervals and paired tests."""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import evaluation, statistics
from jaxsim.evaluation.differences import Difference, difference
from jaxsim.io.files import few
from jaxsim.results import Affinity, Provenance, Resamples
from jaxsim.statistics import holm
from jaxsim.statistics.checks import as_key
from jaxsim.studies.leaderboard.scores import TOP, Scores, scored
from jaxsim.studies.reproduce.predictors import METHODS, Evidence, Method
from jaxsim.studies.reproduce.timings import timed

OVER = ("images", "targets", "both")
"""What intervals resample, as in `jaxsim.evaluation.intervals`."""
NOTHING = "no correlation: too few scores, or the truth is the same for all"
READS, MEASURES = "oracle: reads the transfer to the other targets, so no p value", "oracle: measures transfer"
WITHIN = 1 - 1e-6
"""Largest correlation on Fisher's scale."""
ALIKE = 1e-12
"""Difference of two scores that counts as rounding."""
LEVEL = 0.05
"""Significance level of the sentences and verdicts."""
FEWEST = 4
"""Fewest sources for a ranking."""
ORDER = ("tournament", "DDS, Laplacian", "RSA", "attribution, epsilon-LRP")
"""The order in DDS 2020, table 3; attribution is represented by its best rule there."""


class Row(NamedTuple):
    """A row of the table: a method, its scores, and its difference from the best one.

    Correlations are Spearman's, averaged over targets. Intervals and p values are for `without_self`.
    """

    method: str
    source: str
    static: bool
    oracle: bool
    with_self: float
    without_self: float
    images_low: float
    images_high: float
    targets_low: float
    targets_high: float
    both_low: float
    both_high: float
    weighted_tau: float
    top_1: float
    top_3: float
    top_5: float
    regret: float
    p: float
    p_adjusted: float
    minus_best: float
    minus_best_low: float
    minus_best_high: float
    minus_best_p: float
    seconds: float
    paper: float | None
    note: str


@dataclasses.dataclass(frozen=True, eq=False)
class Standings:
    """All methods on one truth.

    Attributes:
        world: name of the truth.
        rows: one per method, in the order of the table.
        scores: scores of each method by target.
        matrices: predictions by method.
        evidence: the input of all methods.
        relabelings: number of relabelings in the tests.
        level: confidence level of the intervals.
    """

    world: str
    rows: tuple[Row, ...]
    scores: dict[str, Scores]
    matrices: dict[str, np.ndarray]
    evidence: Evidence
    relabelings: int
    level: float

    @property
    def best(self) -> str | None:
        """The method with the highest mean correlation without self that is not an oracle; None if there is none."""
        known = {row.method: row.without_self for row in self.rows if not row.oracle and row.method in self.matrices}
        known = {name: value for name, value in known.items() if np.isfinite(value)}
        return max(known, key=lambda name: known[name]) if known else None

    def difference(self, first: str, second: str) -> Difference:
        """Mean correlation of one method minus that of another, with its error over tasks."""
        e = self.evidence
        return difference(self.matrices[first], self.matrices[second], e.values, e.own, True)


def score(
    evidence: Evidence,
    methods: Sequence[Method] = METHODS,
    *,
    world: str = "",
    resamples: int = 200,
    relabelings: int = 999,
    level: float = 0.95,
    key: jax.Array | int = 0,
    tell: Callable[[str], None] = lambda name: None,
) -> Standings:
    """Score methods on one truth.

    Static methods have a row even if they cannot be computed; other methods are then left out.

    Args:
        evidence: the truth, and what methods read.
        methods: the methods.
        world: name of the truth.
        resamples: number of bootstrap resamples of the images for intervals.
        relabelings: number of relabelings of the tasks for p values.
        level: confidence level of the intervals.
        key: typed random key, or a seed.
        tell: called with the name of each method before it is scored.

    Raises:
        ValueError: the evidence does not match the truth, see `check`; or there is no method, or two have the same
            name.
    """
    check(evidence)
    if not methods or len({one.name for one in methods}) < len(methods):
        raise ValueError("a leaderboard needs at least one method, and every method needs a different name.")
    key = as_key(key)
    rows, scores, matrices = [], {}, {}
    for k, method in enumerate(methods):
        tell(method.name)
        lacking = missing(method, evidence)
        if lacking:
            rows += [_row(method, f"needs {few(lacking)}")] if method.static else []
            continue
        first, second = jax.random.split(jax.random.fold_in(key, k))
        drawn = method.part.draws(evidence, resamples, first)
        predicted, seconds = _timed(method, evidence)
        skill = evidence.values if evidence.skill is None else evidence.skill
        found = scored(predicted, evidence.values, skill, evidence.own)
        scores[method.name], spans = found, np.full((3, 2), np.nan)
        if predicted.ndim == 2:
            matrices[method.name] = predicted
            spans = _intervals(predicted, drawn, found, evidence, level, second)
        rows.append(_summary(method, found, spans, seconds))
    made = Standings(world, tuple(rows), scores, matrices, evidence, relabelings, level)
    return dataclasses.replace(made, rows=tuple(_tested(made, methods, jax.random.fold_in(key, len(methods)))))


def check(evidence: Evidence) -> None:
    """Reject evidence that does not match the truth.

    Raises:
        ValueError: features or labels lack a task or come from different pictures; there are too few sources; the
            losses or the skill are for other sources or targets.
    """
    if len(evidence.sources) < FEWEST:
        raise ValueError(f"ranking sources needs at least {FEWEST} sources, not {len(evidence.sources)}.")
    lacking = [name for name in evidence.names if name not in evidence.features]
    if lacking:
        have = few(list(evidence.features)) or "none"
        raise ValueError(f"the features lack {few(lacking)}, which the truth has; there are features of {have}.")
    counts = {name: len(x) for name, x in evidence.features.items() if name in evidence.names}
    counts |= {f"the labels of {name}": len(y) for name, y in (evidence.labels or {}).items()}
    first, count = next(iter(counts.items()))
    for name, other in counts.items():
        if other != count:
            raise ValueError(f"{name} and {first} have {other} and {count} pictures; give both for the same pictures.")
    shape = evidence.values.shape
    for what, array in (("the losses", evidence.losses), ("the skill", evidence.skill)):
        if array is not None and array.shape[:2] != shape:
            raise ValueError(
                f"the shape of {what} must start with (sources, targets) {shape}, but it is {array.shape}."
            )


def missing(method: Method, evidence: Evidence) -> list[str]:
    """Text on what a method needs and the evidence lacks."""
    lacking = [need for need in method.part.needs if getattr(evidence, need) is None]
    if "labels" in method.part.needs and evidence.labels is not None:
        names = evidence.targets if "features" in method.part.needs else evidence.names
        odd = [name for name in names if name not in evidence.labels]
        lacking += [f"labels of {name}" for name in odd]
    return lacking


def _timed(method: Method, evidence: Evidence) -> tuple[np.ndarray, float]:
    """A method's matrix, and the seconds from pictures to matrix without compilation."""
    found, seconds = timed(lambda: method.part.scores(evidence), compiled=method.part.warm)
    reads = evidence.seconds if "features" in method.part.needs else 0.0
    return np.asarray(found, dtype=np.float64), reads + seconds


def _intervals(predicted, draws, found, evidence, level, key) -> np.ndarray:
    """Intervals `(3, 2)` of the mean correlation without self, in the order of `OVER`; NaN if there is none."""
    spans, keep = np.full((3, 2), np.nan), np.isfinite(found.without_self)
    if draws is not None and keep.any():
        given = Provenance(measure="", dtype="float64", device="host")
        images = len(next(iter(evidence.features.values())))
        made = Resamples(draws, predicted, evidence.sources, evidence.targets, given, "bootstrap", images=images)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an undefined correlation is NaN in the table
            how = {"diagonal": False, "key": key, "level": level}
            return np.asarray(evaluation.agreement_intervals(made, evidence.truth, **how).interval)
    if keep.sum() > 1:
        each, counts = jnp.asarray(np.where(keep, found.without_self, 0), jnp.float32), np.sum(~evidence.own, 0)
        how = {"n_resamples": 2, "keep": keep, "level": level, "sources": counts}
        spans[1] = np.asarray(statistics.agreement_over_targets(each, key=key, **how).interval)
    return spans


def _mean(values: np.ndarray) -> float:
    values = np.asarray(values)[np.isfinite(values)]
    return float(values.mean()) if values.size else np.nan


def _row(method: Method, note: str = "", **known: float) -> Row:
    """A row with the given fields; the rest are NaN."""
    told = {
        "method": method.name,
        "source": method.source,
        "static": method.static,
        "oracle": method.oracle,
        "paper": method.paper,
    }
    fields: dict[str, Any] = dict.fromkeys(Row._fields, np.nan) | known | told | {"note": note}
    return Row(**fields)


def _summary(method: Method, found: Scores, spans: np.ndarray, seconds: float) -> Row:
    alike = "all sources alike: no correlation"
    note = method.note if np.isfinite(found.without_self).any() else alike if np.isfinite(found.top).any() else NOTHING
    note = note if not method.oracle else MEASURES if method.fair else READS
    ends = [f"{over}_{end}" for over in OVER for end in ("low", "high")]
    known = dict(zip(ends, map(float, spans.ravel()), strict=True))
    known |= {name: _mean(getattr(found, name)) for name in ("with_self", "without_self", "weighted_tau", "regret")}
    known |= {f"top_{k}": _mean(found.top[:, i]) for i, k in enumerate(TOP)}
    return _row(method, note, seconds=seconds, **known)


def _tested(made: Standings, methods: Sequence[Method], key: jax.Array) -> list[Row]:
    """The rows with p values and differences from the best.

    P values are adjusted for all methods that are tested. Differences are adjusted for all pairs of methods, since the
    best one is not known beforehand.
    """
    evidence, unfair = made.evidence, {one.name for one in methods if not one.fair}
    names = [n for n in made.matrices if np.isfinite(made.scores[n].without_self).any()]
    fair = [name for name in names if name not in unfair]
    best = made.best
    how = {"relabelings": made.relabelings, "key": key}

    def affinities(some):
        return {n: Affinity.from_array(made.matrices[n], evidence.sources, evidence.targets, measure=n) for n in some}

    known: dict[str, dict[str, float]] = {name: {} for name in made.scores}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if len(fair) == 1:
            alone = evaluation.evaluate(affinities(fair)[fair[0]], evidence.truth, diagonal=False, **how)
            known[fair[0]] = dict.fromkeys(("p", "p_adjusted"), np.nan if alone.p is None else alone.p)
        elif fair:
            tests = evaluation.compare_agreements(affinities(fair), evidence.truth, **how)
            for name, p, adjusted in zip(fair, tests.p, tests.adjusted, strict=True):
                known[name] = {"p": float(p), "p_adjusted": float(adjusted)}
        if len(names) > 1 and best is not None:
            pairs = evaluation.compare_agreements(affinities(names), evidence.truth, **how)
            for name, adjusted in zip(names, pairs.difference_adjusted[:, names.index(best)], strict=True):
                gap = made.difference(name, best)
                ends = gap.interval(made.level)
                known[name] |= {"minus_best": gap.value, "minus_best_low": ends[0], "minus_best_high": ends[1]}
                known[name] |= {"minus_best_p": float(adjusted)}
    if best is not None:
        known[best] |= {"minus_best": 0.0, "minus_best_low": np.nan, "minus_best_high": np.nan, "minus_best_p": np.nan}
    return [row._replace(**known.get(row.method, {})) for row in made.rows]


class Claim(NamedTuple):
    """A comparison of two methods that was planned beforehand.

    `p` is two-sided, adjusted by Holm's method for the claims of one table.
    """

    higher: str
    lower: str
    difference: float
    low: float
    high: float
    p: float

    @property
    def verdict(self) -> str:
        """The verdict as text."""
        if not self.p < LEVEL:
            return "undecided"
        return "confirmed" if self.difference > 0 else "refuted"


def claims(made: Standings, order: Sequence[str] = ORDER) -> list[Claim]:
    """Test an order of methods, each against the next one that was scored."""
    known = [name for name in order if name in made.matrices]
    gaps = [made.difference(first, second) for first, second in zip(known, known[1:], strict=False)]
    adjusted = holm([gap.p for gap in gaps])
    pairs = zip(known, known[1:], gaps, adjusted, strict=False)
    return [Claim(a, b, gap.value, *gap.interval(made.level), float(p)) for a, b, gap, p in pairs]


class Overall(NamedTuple):
    """A method over several worlds: the mean correlation without self, and the difference from the best.

    The interval of the mean is Student's over worlds on Fisher's scale. That of the difference is Student's, and its p
    value comes from a paired t test, adjusted by Holm's method for all pairs.
    """

    method: str
    worlds: int
    with_self: float
    without_self: float
    low: float
    high: float
    regret: float
    minus_best: float
    minus_best_low: float
    minus_best_high: float
    minus_best_p: float


def overall(several: Sequence[Standings]) -> list[Overall]:
    """Compare methods over worlds; those that some world lacks are left out.

    Raises:
        ValueError: there are fewer than two worlds, or two with the same name.
    """
    if len(several) < 2 or len({one.world for one in several}) < len(several):
        raise ValueError("an interval over worlds needs at least two worlds with different names.")
    tables = [{row.method: row for row in one.rows} for one in several]
    names = [n for n in tables[0] if all(n in t and np.isfinite(t[n].without_self) for t in tables)]
    scores = np.array([[t[n].without_self for t in tables] for n in names])
    if not names:
        return []
    level, oracle = several[0].level, np.array([tables[0][n].oracle for n in names])
    best = int(np.argmax(np.where(oracle, -np.inf, scores.mean(1))))
    pairs = [(i, j) for i in range(len(names)) for j in range(i)]
    adjusted = dict(zip(pairs, holm([_student(scores[i] - scores[j], level)[2] for i, j in pairs]), strict=True))
    found = []
    for k, name in enumerate(names):
        rest = [float(np.mean([getattr(t[name], what) for t in tables])) for what in ("with_self", "regret")]
        low, high = np.tanh(_student(np.arctanh(np.clip(scores[k], -WITHIN, WITHIN)), level)[:2])
        ends = (np.nan, np.nan) if k == best else _student(scores[k] - scores[best], level)[:2]
        p = np.nan if k == best else float(adjusted[max(k, best), min(k, best)])
        gap = float(np.mean(scores[k] - scores[best]))
        if oracle.all():
            gap, ends, p = np.nan, (np.nan, np.nan), np.nan
        found.append(
            Overall(
                name, len(several), rest[0], float(scores[k].mean()), float(low), float(high), rest[1], gap, *ends, p
            )
        )
    return found


def _student(values: np.ndarray, level: float) -> tuple[float, float, float]:
    """Student's interval of a mean, and the two-sided p value of a mean of zero; NaN if nothing varies.

    Values that are the same in all worlds say nothing about how they vary over worlds.
    """
    from scipy.special import stdtr, stdtrit

    mean, error, degrees = values.mean(), values.std(ddof=1) / len(values) ** 0.5, len(values) - 1
    if np.ptp(values) <= ALIKE:
        return np.nan, np.nan, 1.0 if abs(mean) <= ALIKE else np.nan
    far = stdtrit(degrees, (1 + level) / 2) * error
    return float(mean - far), float(mean + far), float(2 * stdtr(degrees, -abs(mean) / error))
