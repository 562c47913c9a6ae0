"""The record of models compared with subjects."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from jaxsim import statistics
from jaxsim.extras import needed
from jaxsim.io.files import few
from jaxsim.results import tables
from jaxsim.results.matrices import Maps, wrong_labels
from jaxsim.results.saved import Provenance, Saved, on_host, record
from jaxsim.statistics import MeanTests
from jaxsim.statistics.mean_scores import OVER

SQUARED = "scores are squared: their sign is lost, and nothing tests them against zero"
"""Note on a record of squared scores."""
MADE_BY = "maps of features made by "
"""Start of the note that says how maps were made from features."""
AVERAGED = "averaged over several maps of each subject: "
"""Start of the note on subjects with several maps."""
TESTS: Mapping[str, Callable[..., MeanTests]] = MappingProxyType(
    {"t": statistics.student_tests, "bootstrap": statistics.bootstrap_tests, "rank": statistics.rank_tests}
)
"""Read-only view of the tests by name."""
WORDS = {
    "both": "new subjects and images",
    "images": "new images, these subjects",
    "subjects": "new subjects, these images",
}
"""What an error describes, by `over`."""

RSATOOLBOX: Mapping[str, str] = MappingProxyType(
    {
        "pearson": "corr",
        "kendall-a": "tau-a",
        "kendall-b": "tau-b",
        "whitened-pearson": "corr_cov",
        "whitened-cosine": "cosine_cov",
    }
)
"""rsatoolbox names of comparators, where they differ."""


def _wrong(found: "ModelComparison") -> str | None:
    if found.over not in OVER or found.test not in TESTS:
        return f"it cannot be over {found.over!r} with test {found.test!r}"
    if found.images < 1 or not 0 < found.level < 1:
        return f"it cannot have {found.images} images or level {found.level}"
    return wrong_labels(found)


_MODELS = dict.fromkeys(("estimate", "error", "low", "high", "p_zero", "p_ceiling", "degrees"), ("names",))
_PAIRS = dict.fromkeys(("difference", "difference_error", "p_pair", "p_adjusted"), ("names", "names"))
_CEILINGS = dict.fromkeys(("ceiling", "ceiling_low", "ceiling_high"), (2,))
_REST = {
    "scores": ("names", "subjects"),
    "ceiling_scores": (2, "subjects"),
    "draws": ("resamples", "names"),
    "ceiling_draws": ("resamples", 2),
}


@record(arrays=_MODELS | _PAIRS | _CEILINGS | _REST, check=_wrong)
class ModelComparison(Saved):
    """Mean scores of S models with U subjects, tested against zero, the noise ceiling and each other.

    Attributes:
        estimate: `(S,)` full-sample scores averaged over subjects.
        error: `(S,)` standard errors.
        low: `(S,)` lower ends of the Student's t intervals.
        high: `(S,)` upper ends.
        p_zero: `(S,)` one-sided p-value of a mean above zero; NaN for squared scores.
        p_ceiling: `(S,)` two-sided p-value of a difference from the lower noise ceiling.
        degrees: `(S,)` degrees of freedom of `error`, see `statistics.MeanDraws.degrees`.
        difference: `(S, S)` row minus column.
        difference_error: `(S, S)` standard errors of the differences, paired by subject and image.
        p_pair: `(S, S)` two-sided p-values of the differences, unadjusted.
        p_adjusted: `(S, S)` p-values adjusted for all pairs by the largest |t| (by Holm's method for ranks).
        ceiling: `(2,)` lower and upper noise ceiling: each subject with the mean of the others, and with the mean of
            all.
        ceiling_low: `(2,)` lower ends of their intervals.
        ceiling_high: `(2,)` upper ends.
        scores: `(S, U)` full-sample scores with each subject.
        ceiling_scores: `(2, U)` ceilings for each subject.
        draws: `(B, S)` bootstrap means over everything that is resampled. If that is both subjects and images, they
            vary more than `error` says.
        ceiling_draws: `(B, 2)` bootstrap draws of the ceilings.
        names: names of the models.
        subjects: names of the subjects.
        provenance: comparator, scheme, key, dtype, device and versions.
        images: number n of images.
        over: what is treated as a sample from a population: "both", "images" or "subjects".
        test: "t", "bootstrap" or "rank".
        level: confidence level of the intervals.
        squared: whether each subject's score is squared.
        undefined: pairs of model or subject name and number of images for which its map has no value.
        flags: assumptions that these images or subjects violate, one sentence each.
    """

    estimate: Any
    error: Any
    low: Any
    high: Any
    p_zero: Any
    p_ceiling: Any
    degrees: Any
    difference: Any
    difference_error: Any
    p_pair: Any
    p_adjusted: Any
    ceiling: Any
    ceiling_low: Any
    ceiling_high: Any
    scores: Any
    ceiling_scores: Any
    draws: Any
    ceiling_draws: Any
    names: tuple[str, ...]
    subjects: tuple[str, ...]
    provenance: Provenance
    images: int
    over: str
    test: str
    level: float
    squared: bool = False
    undefined: tuple[tuple[str, int], ...] = ()
    flags: tuple[str, ...] = ()

    def ranking(self) -> list[tuple[str, float]]:
        """Rank models by mean score, best first."""
        pairs = [(n, float(v)) for n, v in zip(self.names, on_host(self.estimate), strict=True)]
        return sorted(pairs, key=lambda pair: (np.isnan(pair[1]), -pair[1]))

    @property
    def title(self) -> str:
        """Comparator, numbers of models, subjects and images, and what the errors describe."""
        squared = ", squared" * self.squared
        counts = f"{len(self.names)} models, {len(self.subjects)} subjects, {self.images} images"
        return f"{self.provenance.measure}{squared}: {counts}, for {WORDS[self.over]}"

    def table(self) -> tables.Table:
        """Score, error, interval and p-values of each model, best first."""
        header, rows = self.rows()
        shown = [
            [row[0], *map(tables.number, row[1:-2]), *map(tables.p_value, row[-2:])] for row in rows[: tables.MOST_ROWS]
        ]
        note = self.note() + f"; ... {len(rows)} models in all" * (len(rows) > len(shown))
        return tables.Table(self.title, ["", *header[1:]], shown, note, self.flags)

    def note(self) -> str:
        """Text with the noise ceiling and how maps were made and averaged."""
        return "; ".join([self.ceiling_note(), *self.provenance.notes])

    def ceiling_note(self) -> str:
        """Text with the noise ceiling, its intervals and their level, and the test."""
        ends = [
            f"{bound} {tables.number(float(c))} [{tables.number(float(a))}, {tables.number(float(b))}]"
            for bound, c, a, b in zip(
                ("lower", "upper"), *map(on_host, (self.ceiling, self.ceiling_low, self.ceiling_high)), strict=True
            )
        ]
        note = f"noise ceiling: {', '.join(ends)}; {100 * self.level:g} % intervals, test {self.test}"
        known = on_host(self.degrees)[~np.isnan(on_host(self.degrees))]
        some = (
            sorted({f"{k:.1f}".removesuffix(".0") for k in (known.min(), known.max())}, key=float) if known.size else []
        )
        return note + f" with {' to '.join(some)} degrees of freedom" * (self.test == "t" and bool(some))

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """Header and rows of the table of models, best first."""
        columns = {
            "score": self.estimate,
            "error": self.error,
            "low": self.low,
            "high": self.high,
            "p zero": self.p_zero,
            "p ceiling": self.p_ceiling,
        }
        values = {k: on_host(v) for k, v in columns.items()}
        places = [self.names.index(name) for name, _ in self.ranking()]
        return ["model", *columns], [[self.names[k], *(float(v[k]) for v in values.values())] for k in places]

    def pair_rows(self) -> tuple[list[str], list[list[Any]]]:
        """Header and rows of a table of all pairs of models, smallest adjusted p-value first."""
        columns = {
            "difference": self.difference,
            "error": self.difference_error,
            "p": self.p_pair,
            "adjusted p": self.p_adjusted,
        }
        values = {k: on_host(v) for k, v in columns.items()}
        places = [self.names.index(name) for name, _ in self.ranking()]
        pairs = [(a, b) for k, a in enumerate(places) for b in places[k + 1 :]]
        pairs.sort(key=lambda pair: np.nan_to_num(values["adjusted p"][pair], nan=2.0))
        rows = [[self.names[a], self.names[b], *(float(v[a, b]) for v in values.values())] for a, b in pairs]
        return ["model", "other", *columns], rows

    def to_pandas(self, *, pairs: bool = False):
        """Convert to a DataFrame with one row per model, best first, or one row per pair of models with `pairs`."""
        import pandas as pd

        header, rows = self.pair_rows() if pairs else self.rows()
        return pd.DataFrame(rows, columns=header).set_index(header[: 1 + pairs])

    def to_rsatoolbox(self, models: Maps | None = None):
        """Convert to an rsatoolbox `Result`, for its plots and tests: scores and ceilings of each subject, in float64.

        Its variances reproduce the errors of the models and of their differences. Its degrees of freedom are the fewest
        of any model here, and with them it reproduces the p-values against the lower ceiling. It has no place for
        draws, adjusted p-values and intervals, so use its "t-test" or "ranksum". If the degrees of freedom differ
        between models, its other Student's t p-values are larger than the ones here.

        Args:
            models: maps of the models by name, to be stored in the `Result`.

        Raises:
            MissingExtra: rsatoolbox is not installed.
            ValueError: `models` lacks a model.
        """
        with needed("ModelComparison.to_rsatoolbox needs", "rsatoolbox", install="rsatoolbox"):
            from rsatoolbox.inference.result import Result
            from rsatoolbox.model.model import Model, ModelFixed
            from scipy.stats import t
        if models is not None and (lacking := [n for n in self.names if n not in models.names]):
            raise ValueError(f"models has no map of {few(lacking)}.")
        held = [Model(name) for name in self.names]
        if models is not None:
            rdms = models.to_rsatoolbox()
            held = [ModelFixed(name, rdms[models.names.index(name)]) for name in self.names]
        error, apart, ceiling, high, p, estimate = (
            on_host(v).astype(float)
            for v in (self.error, self.difference_error, self.ceiling, self.ceiling_high, self.p_ceiling, self.estimate)
        )
        degrees: Any = float(np.min(on_host(self.degrees)))
        variance = np.square(np.concatenate([error, (high - ceiling) / t.isf((1 - self.level) / 2, degrees)]))
        count = len(error)
        # the covariance is half of what the variance of the difference lacks
        lacks = np.zeros((count + 2, count + 2))
        lacks[:count, :count] = np.square(np.where(np.eye(count, dtype=bool), 0, apart))
        with np.errstate(divide="ignore", invalid="ignore"):
            below = np.square((estimate - ceiling[0]) / t.isf(p / 2, degrees))
        lacks[:count, count] = np.where(np.isfinite(below), below, variance[:count] + variance[count])
        lacks[:count, count + 1] = variance[:count] + variance[count + 1]
        lacks[count:, :count] = lacks[:count, count:].T
        lacks[count, count + 1] = lacks[count + 1, count] = variance[count:].sum()
        return Result(
            held,
            on_host(self.scores).astype(float)[None],
            RSATOOLBOX.get(self.provenance.measure, self.provenance.measure),
            "fixed",
            on_host(self.ceiling_scores).astype(float),
            variances=(variance[:, None] + variance - lacks) / 2,
            dof=degrees,
        )
