"""Intervals for the agreement with transfer: over images, over targets, and over both."""

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from jaxsim import statistics
from jaxsim.evaluation.prediction import Correlation, pearson, spearman
from jaxsim.evaluation.truth import align, as_affinity, warn_undefined
from jaxsim.io.files import warn
from jaxsim.results import Affinity, Provenance, Resamples, Saved, record
from jaxsim.results.tables import Table, number
from jaxsim.statistics.checks import as_key, flag, probability, shown

if TYPE_CHECKING:
    import pandas as pd

_ON_DEVICE: dict[Correlation, Any] = {spearman: statistics.masked_spearman, pearson: statistics.masked_pearson}
FEWEST_TARGETS = 6
"""Number of targets below which an interval over them causes a warning."""
_STACKED = ("corrected", "bias", "error", "interval", "percentile")


class Over(NamedTuple):
    """What an interval resamples, and the sentence that explains it."""

    factor: str
    condition: str


OVER = (
    Over(
        "images",
        "How the agreement would vary with other images of the same kind. "
        "Conditions on these networks, these targets and this transfer matrix.",
    ),
    Over(
        "targets",
        "How the agreement would vary with other targets of the same kind, taken as independent. "
        "Conditions on these images and these sources; noise that differs between targets is part of it. "
        "It does not test whether there is any agreement; p values of relabelings do.",
    ),
    Over(
        "images and targets",
        "How the agreement would vary with other images and other targets. Conditions on these sources.",
    ),
)
"""The three intervals, in the order in which they are reported."""


_SHAPES = {
    "estimate": (),
    **dict.fromkeys(("corrected", "bias", "error"), ("over",)),
    **dict.fromkeys(("interval", "percentile"), ("over", 2)),
    "draws": ("over", "draws"),
}


@record(arrays=_SHAPES, check=lambda found: None if 0 < found.level < 1 else f"its level cannot be {found.level}")
class AgreementIntervals(Saved):
    """The agreement with transfer and three intervals for it.

    Attributes:
        estimate: `()` correlation of the full-sample scores, averaged over targets.
        corrected: `(3,)` center of each interval on Fisher's scale: the estimate minus its bias if images are
            resampled.
        bias: `(3,)` mean of the draws minus the estimate; over targets it is shown but not corrected.
        error: `(3,)` standard error of `corrected`.
        interval: `(3, 2)` lower and upper end, within [-1, 1]; NaN if nothing varies, which gives no interval.
        percentile: `(3, 2)` plain percentile interval of the draws, for comparison; too low over images.
        draws: `(3, B)` the resampled agreements, uncorrected.
        over: what is resampled, from `OVER`: `images`, `targets`, `images and targets`.
        conditions: sentences from `OVER` on what each interval covers and what it conditions on.
        level: confidence level.
        targets: the targets that count.
        diagonal: whether a target's own network counts as a source.
        correlation: name of the correlation.
        truth: name of the measured transfer.
        provenance: where the resamples come from.
        notes: targets and resamples that were left out.
    """

    estimate: Any
    corrected: Any
    bias: Any
    error: Any
    interval: Any
    percentile: Any
    draws: Any
    over: tuple[str, ...]
    conditions: tuple[str, ...]
    level: float
    targets: tuple[str, ...]
    diagonal: bool
    correlation: str
    truth: str
    provenance: Provenance
    notes: tuple[str, ...] = ()

    def table(self) -> Table:
        """Bias, corrected mean, error and interval over images, over targets and over both."""
        low, high = np.asarray(self.interval).T
        columns = {"bias": self.bias, "corrected": self.corrected, "error": self.error, "low": low, "high": high}
        rows = [[name, *(number(float(column[k])) for column in columns.values())] for k, name in enumerate(self.over)]
        title = f"mean {self.correlation} with {self.truth} {number(float(self.estimate))}, {self.level:.0%} intervals"
        return Table(title, ["over", *columns], rows, "; ".join(note.rstrip(".") for note in self.notes))

    def to_pandas(self):
        """Convert to a DataFrame with one row per interval."""
        import pandas as pd

        low, high = np.asarray(self.interval).T
        columns = {"estimate": np.full(len(self.over), float(self.estimate)), "bias": self.bias}
        columns |= {"corrected": self.corrected, "error": self.error, "low": low, "high": high}
        table = pd.DataFrame({k: np.asarray(v) for k, v in columns.items()}, index=pd.Index(self.over, name="over"))
        return table.assign(conditions=list(self.conditions))


def agreement_intervals(
    resamples: Resamples,
    truth: "Affinity | pd.DataFrame",
    *,
    diagonal: bool,
    key: jax.Array | int = 0,
    correlation: Correlation = spearman,
    level: float = 0.95,
    subset: bool = False,
) -> AgreementIntervals:
    """Intervals for the mean agreement with transfer, from bootstrapped images.

    The agreement is that of `evaluate`. Resampling images adds noise to the scores and pulls any correlation with them
    toward zero. The interval over images is corrected for that bias, which is shown
    (`statistics.agreement_over_images`). The interval over targets leaves out columns at the full-sample scores. The
    third interval does both. All three are computed on Fisher's scale and lie within [-1, 1].

    The interval over targets treats them as independent, although they share their sources. It is not a test of
    association. If affinity and truth are unrelated but both symmetric, it excludes zero 15 % of the time; if both have
    main effects of sources, 41 to 68 %; with the diagonal, 85 to 87 %. To test association, use the p values of
    `evaluate(..., relabelings=999)`. Fewer than six targets cause a warning.

    Args:
        resamples: scores under `js.Bootstrap()` or `js.BayesianBootstrap()`; or under `js.Subsample(size)` or
            `js.HalfSamples()`, whose deviations are first scaled to the error of the full sample.
        truth: measured transfer, higher is better; aligned by name.
        diagonal: whether a target's own network counts as a source.
        key: key for the draws of targets, as for `js.resample`.
        correlation: `spearman` or `pearson` of `jaxsim.evaluation`.
        level: confidence level of the intervals.
        subset: use the networks that both have instead of failing when the truth lacks some.

    Returns:
        The three intervals. Targets whose correlation is undefined (see `evaluate`) and resamples with a NaN that
        matters are left out with a warning and a note. So is an interval that does not exist because nothing varies.

    Raises:
        ValueError: the truth lacks networks, the scheme has no draws of errors, no target or no resample is defined,
            the correlation is another one, or the level is outside (0, 1).
        TypeError: `resamples` is not a record of resamples, or the key is neither a typed key nor a seed.

    Example:
        >>> s = jax.random.normal(jax.random.key(0), (6, 6))
        >>> values = s + 0.3 * jax.random.normal(jax.random.key(1), (200, 6, 6))
        >>> names, given = tuple("abcdef"), Provenance("rsa", "float32", "cpu")
        >>> r = Resamples(values, s, names, names, given, "bootstrap", images=50)
        >>> truth = Affinity(s + 0.3 * jax.random.normal(jax.random.key(3), (6, 6)), None, names, names, given)
        >>> found = agreement_intervals(r, truth, diagonal=False, key=jax.random.key(2))
        >>> found.over, found.interval.shape, bool(found.bias[0] < 0)
        (('images', 'targets', 'images and targets'), (3, 2), True)
    """
    masked = next((on_device for known, on_device in _ON_DEVICE.items() if known is correlation), None)
    if masked is None:
        text = f"intervals need evaluation.spearman or evaluation.pearson as the correlation, not {shown(correlation)}"
        raise ValueError(f"{text}.")
    diagonal, level, key = flag(diagonal, "diagonal"), probability(level), as_key(key)
    truth = as_affinity(truth, "the truth")
    both, used, values, notes = _usable(resamples, truth, diagonal, subset)
    estimate, g = both.scores.astype(values.dtype), np.where(used, both.truth, 0.0).astype(values.dtype)
    three = _three(values, estimate, g, used, key, correlation=masked, level=level)
    stacked = {name: np.stack([getattr(one, name) for one in three]) for name in _STACKED}
    notes += _warned(stacked["interval"], int(used.any(axis=0).sum()))
    return AgreementIntervals(
        estimate=np.asarray(three[0].estimate),
        draws=np.stack([one.values for one in three]),
        **stacked,
        over=tuple(one.factor for one in OVER),
        conditions=tuple(one.condition for one in OVER),
        level=level,
        targets=tuple(t for t, u in zip(both.targets, used.T, strict=True) if u.any()),
        diagonal=diagonal,
        correlation=correlation.__name__,
        truth=truth.provenance.measure,
        provenance=resamples.provenance,
        notes=notes,
    )


@functools.partial(jax.jit, static_argnames=("correlation", "level"))
def _three(values, estimate, truth, used, key, *, correlation, level):
    """Compute the agreements of `OVER` in one device call, with B draws of the targets."""
    rest = (values, estimate, truth, correlation, used)
    images = statistics.agreement_over_images(*rest, level=level)
    per_target = statistics.target_agreement(estimate, truth, correlation, used)
    first, second = jax.random.split(key)
    targets = statistics.agreement_over_targets(
        per_target,
        key=first,
        n_resamples=values.shape[0],
        keep=used.any(axis=0),
        level=level,
        sources=used.sum(axis=0),
    )
    return images, targets, statistics.agreement_over_both(*rest, key=second, level=level)


def _warned(intervals, targets: int) -> tuple[str, ...]:
    """Warn about few targets and about missing intervals, and return the warnings as notes."""
    notes = ()
    if targets < FEWEST_TARGETS:
        notes += (f"{targets} targets are too few for an interval over targets; at least {FEWEST_TARGETS} are needed.",)
    none = [one.factor for one, ends in zip(OVER, intervals, strict=True) if np.isnan(ends).any()]
    if none:
        notes += (f"There is no interval over {', nor over '.join(none)}: the agreement does not vary with them.",)
    for note in notes:
        warn(note, RuntimeWarning)
    return notes


def _usable(resamples, truth, diagonal, subset):
    """Aligned estimate and truth, mask of entries that count, resamples without NaN in those entries, and notes."""
    if not isinstance(resamples, Resamples):
        raise TypeError(f"resamples must be the result of js.resample, not {type(resamples).__name__}.")
    if not resamples.ranks:
        raise ValueError(
            "agreement intervals need resamples from js.Bootstrap() or js.Subsample(size), not "
            f"resamples from {resamples.kind}."
        )
    center, errors = resamples.error_draws("agreement interval")
    full = Affinity(center, None, resamples.names, resamples.targets, resamples.provenance)
    both = align(full, truth, subset=subset)
    defined = [fine for _, _, fine in both.pairs(both.used(diagonal))]
    if not any(defined):
        raise ValueError(f"the correlation is undefined for all {len(both.targets)} targets.")
    notes = warn_undefined(both.targets, defined)
    used = both.used(diagonal) & np.array(defined)
    values = np.asarray(resamples.values if resamples.can.bootstraps else center + errors)[:, both.rows][
        :, :, both.columns
    ]
    finite = np.isfinite(values[:, used]).all(axis=1)
    if not finite.any():
        raise ValueError(f"all {len(values)} resamples contain NaN.")
    if not finite.all():
        notes += (f"{int(np.sum(~finite))} of {len(values)} resamples contain NaN and are left out.",)
        warn(notes[-1], RuntimeWarning)
    return both, used, values[finite], notes
