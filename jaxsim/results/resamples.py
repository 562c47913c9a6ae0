"""The record of resampled scores, with the inference that its scheme allows."""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxsim import advice, assumptions, schemes, statistics
from jaxsim.assumptions import Facts
from jaxsim.io.files import warn
from jaxsim.protocols import Scheme, SchemeCapabilities, declared
from jaxsim.results import tables
from jaxsim.results.matrices import Scores, family, unfolded, wrong_labels
from jaxsim.results.saved import Provenance, on_host, record
from jaxsim.statistics.checks import probability


class FewResamples(UserWarning):
    """There are too few resamples for an interval, or for rejecting any hypothesis of the family."""


BETWEEN = "images are compared with those of other groups only, in the full-sample scores too"
"""Note on a record whose scores leave out pairs of images within a group."""
BEYOND = 1e-3
"""How far rounding may push a score above 1."""
UNSCORED = "no score"
"""Column for the number of resamples without a score."""


def _cell(value: Any) -> str:
    return str(value) if value.dtype.kind in "iu" else tables.number(float(value))


def _wrong(found: "Resamples") -> str | None:
    if found.kind not in schemes.NAMED:
        return f"no scheme is named {found.kind!r}; there are {', '.join(schemes.NAMED)}"
    if found.images < 1 or not 1 <= (found.images if found.size is None else found.size) <= found.images:
        return f"it cannot have {found.size} of {found.images} images in a resample"
    if found.groups is not None and not 2 <= found.groups <= found.images:
        return f"it cannot have {found.groups} groups of {found.images} images"
    return wrong_labels(found) if len(found.values) else "it has no resamples"


@record(arrays={"values": ("resamples", "names", "targets"), "estimate": ("names", "targets")}, check=_wrong)
class Resamples(Scores):
    """Scores on B resamples of the images, along with the full-sample scores.

    Attributes:
        values: `(B, S, T)`.
        estimate: `(S, T)`, the full-sample scores.
        names: names of the rows (sources).
        targets: names of the columns; the same tuple as `names` for a square matrix.
        provenance: measure, scheme, key, dtype, device and versions.
        kind: name of the scheme in `jaxsim.schemes.NAMED`.
        images: number n of images.
        size: `Plan.size` of the scheme: images in a subset or half, for subsampling and half-samples.
        undefined: pairs of network name and number of images for which its map has no value.
        groups: number of groups, the independent units, if whole groups were drawn; None if images were.
        groups_drawn: number of groups in a half.
        degrees: degrees of freedom of an error from that many groups.
        flags: assumptions behind errors and intervals that these images, measure or scheme violate, one sentence each.
    """

    values: Any
    estimate: Any
    names: tuple[str, ...]
    targets: tuple[str, ...]
    provenance: Provenance
    kind: str
    images: int
    size: int | None = None
    undefined: tuple[tuple[str, int], ...] = ()
    against: bool = False
    """Whether the columns are a second set of networks, even if their names are the same."""
    groups: int | None = None
    groups_drawn: int | None = None
    degrees: float | None = None
    flags: tuple[str, ...] = ()
    _full_sample = "estimate"

    @property
    def scheme(self) -> type[Scheme]:
        """The kind of scheme that made the resamples.

        Raises:
            ValueError: no scheme has that name.
        """
        if self.kind not in schemes.NAMED:
            raise ValueError(f"no scheme is named {self.kind!r}; there are {', '.join(schemes.NAMED)}.")
        return schemes.NAMED[self.kind]

    @property
    def can(self) -> SchemeCapabilities:
        """Optional capabilities of the scheme."""
        return declared(self.scheme(), SchemeCapabilities)

    @property
    def ranks(self) -> bool:
        """Whether the resamples vary as the estimate does, so that they show how stable a ranking is."""
        return self.can.bootstraps or self.can.errors is not None

    @property
    def between(self) -> bool:
        """Whether scores only use pairs of images from different groups, which `js.affinity` does not do."""
        return BETWEEN in self.provenance.notes

    @property
    def origin(self) -> str:
        """How the resamples were made, for captions: scheme, number, and groups if whole groups were drawn."""
        made = f"{self.kind}, {np.shape(self.values)[0]} resamples"
        return made if self.groups is None else f"{made} of {self.groups} groups"

    def unscored(self) -> np.ndarray:
        """Number of resamples in which an entry has no score, `(S, T)`.

        A resample may contain too few different images, or only images that a network does not distinguish (such as a
        rare class). An entry that lacks a score in any resample has no error, interval or p-value (NaN), because the
        remaining resamples are not a fair sample of all that could have been drawn.
        """
        return np.isnan(on_host(self.values)).sum(-3)

    def spread(self) -> jax.Array:
        """Standard deviation over resamples `(S, T)`. This is what Table 4 of DDS 2020 reports for subsampling."""
        return statistics.spread(self.values)

    def standard_error(self) -> jax.Array:
        """Standard error of the estimate `(S, T)`: the spread, scaled as the scheme requires.

        Raises:
            ValueError: the scheme is a permutation or a subset of all images, which have no error.
        """
        self._need(not self.can.null, "standard error")
        return self.scheme().standard_error(self.values, *self._sizes())

    def interval(self, level: float = 0.95) -> jax.Array:
        """Confidence interval `(2, S, T)`.

        Half-samples use Fisher's scale and the Student's t quantile for the number of pairs minus one. The interval of
        a score of 1 has no width. Scores that are not `bounded` stay on their own scale. K groups give at most K - 1
        degrees of freedom. Bootstraps use percentiles. Subsamples and the jackknife use the normal distribution with
        the scaled error, or Student's t for groups. The interval is NaN where an entry has no score in some resample
        (`unscored`), and for a single resample or pair of halves.

        Raises:
            ValueError: the scheme is a permutation, which has no intervals.
        """
        self._need(not self.can.null, "interval")
        if self.can.bootstraps:
            self._warn_if_no_percentiles(level)
        return self._interval(self.values, self.estimate, level, bounded=self.bounded)

    def bca_interval(self, jackknife: "Resamples", level: float = 0.95) -> jax.Array:
        """Bias-corrected and accelerated interval `(2, S, T)` (Efron 1987), with the acceleration from a jackknife.

        Raises:
            TypeError: `jackknife` is not a record of resamples.
            ValueError: this is not a bootstrap, or `jackknife` is not a jackknife of the same networks.
        """
        self._need(self.can.bootstraps, "BCa interval", "use js.Bootstrap()")
        needed = "a BCa interval needs js.resample(..., js.Jackknife()) of the same networks and images"
        if not isinstance(jackknife, Resamples):
            raise TypeError(f"{needed}, not {type(jackknife).__name__}.")
        theirs, ours = ((r.names, r.targets, r.against, r.images) for r in (jackknife, self))
        if not jackknife.can.accelerates or theirs != ours:
            raise ValueError(f"{needed}.")
        ours, theirs = self.provenance.measure, jackknife.provenance.measure
        if ours != theirs:
            raise ValueError(f"a BCa interval needs a jackknife of the same measure: this is {ours}, that {theirs}.")
        return statistics.bca_interval(self.values, self.estimate, jackknife.values, level)

    def p_value(self) -> jax.Array:
        """Share of permutations that are at least as similar, `(1 + #) / (B + 1)`: `(S, T)`, one-sided.

        Raises:
            ValueError: the scheme is not a permutation.
        """
        if not self.can.null:
            raise ValueError(f"p-values come from js.Permutation(), not from {self.kind}.")
        self._warn_if_few(1)
        return statistics.permutation_p(self.values, self.estimate)

    def first_share(self) -> jax.Array:
        """Share of draws in which each source ranks first for each target `(S, T)`, leaving out the target itself.

        A draw is the estimate plus an error that varies as the estimate varies around the truth. For half-samples the
        error is half the difference of two halves with a random sign. For a bootstrap it is the deviation. For a subset
        it is the deviation scaled like its standard error.

        Raises:
            ValueError: the scheme's resamples do not vary as the estimate does (jackknife, permutation).
        """
        center, errors = self.error_draws("share of first ranks")
        lonely = [t for t, rivals in zip(self.targets, (~self.own).sum(0), strict=True) if rivals == 1]
        assumptions.warn_of(assumptions.flags(Facts(lonely=lonely)))
        return statistics.first_share(center + errors, self.own)

    def rank_stability(self) -> jax.Array:
        """Expected Spearman correlation between the source rankings of two samples of this size, `(T,)`.

        Computed from the rankings of two halves of the images, see `statistics.rank_stability`. It is about 0 if the
        sources do not differ.

        Raises:
            ValueError: the scheme's resamples do not vary as the estimate does (jackknife, permutation).
        """
        center, errors = self.error_draws("rank stability")
        return statistics.rank_stability(errors, center, self.own)

    def difference(self, first: tuple[str, str], second: tuple[str, str], level: float = 0.95) -> dict[str, float]:
        """Difference of two entries (source, target) in the same resamples, with its error and interval."""
        self._need(not self.can.null, "difference")
        if odd := [one for one in (first, second) if isinstance(one, str) or len(one) != 2]:
            raise ValueError(f"difference compares two pairs (source, target) of names; {odd[0]!r} is not one.")
        entries = [(self._place(s, self.names), self._place(t, self.targets)) for s, t in (first, second)]
        pair = dataclasses.replace(
            self,
            values=statistics.difference(self.values, *entries)[:, None, None],
            estimate=statistics.difference(self.estimate, *entries)[None, None],
        )
        interval = self._interval(pair.values, pair.estimate, level, bounded=False)
        low, high = on_host(interval)[:, 0, 0].tolist()
        error = float(pair.standard_error()[0, 0])
        return {"difference": float(pair.estimate[0, 0]), "error": error, "low": low, "high": high}

    def family_wise(self, null: float = 0.0) -> statistics.FamilyWise:
        """Test all entries against `null`, adjusting for their number by the largest |t|. Arrays are `(S, T)`.

        Half-samples use t on Fisher's scale with rotations (`statistics.rotation_tests`). Bootstraps use the largest
        |t| of the resamples (`statistics.family_wise`). They are conservative for differences: at a nominal 5 % the
        error rate is between 0 and 6 %.

        Each pair of a square matrix is one hypothesis. The diagonal and networks that are in both sets are not tested
        (NaN). A debiased score of exactly zero is degenerate: use `js.Permutation()` to test for no similarity at all.

        Raises:
            ValueError: the scheme has no tests.
        """
        self._warn_if_few(1)
        return self._tested(null, "max-t test")

    def false_discovery(self, null: float = 0.0) -> jax.Array:
        """Benjamini-Hochberg adjusted p-values of all entries against `null`, or against no similarity, `(S, T)`.

        Computed from the permutation p-values if the scheme is a permutation, else from the t of each entry. The
        hypotheses are those of `family_wise`.

        Raises:
            ValueError: the scheme has no p-values.
        """
        if self.can.null:
            p = family(self._others(statistics.permutation_p(self.values, self.estimate)), self.square)
        else:
            p = family(self._tested(null, "false discovery rate").unadjusted, self.square)
        self._warn_if_few(p.size if isinstance(p, Tracer) else int(np.isfinite(p).sum()))
        return self._matrix(statistics.false_discovery(p))

    def compare_sources(self, target: str) -> statistics.FamilyWise:
        """Paired tests that two sources are equally similar to `target`, for all pairs of sources. Arrays are `(S, S)`.

        Entry (a, b) has the statistic of a minus b. The target itself is left out. The tests are those of
        `family_wise`, on the scale of the scores. Half-samples have more power than bootstraps.

        Raises:
            ValueError: there is no column of that name.
            ValueError: the scheme has no tests.
        """
        t, count = self._place(target, self.targets), len(self.names)
        self._warn_if_few(1)
        own = self.own[:, t]
        out = np.zeros(count, bool) if isinstance(own, Tracer) else own
        pairs = [(a, b) for a, b in statistics.pairs(count) if not (out[a] or out[b])]
        if not pairs:
            raise ValueError(f"comparing sources of {target!r} needs at least two of them, not counting itself.")
        a, b = np.asarray(pairs).T
        values, estimate = (jnp.where(own, jnp.nan, v[..., t]) for v in (self.values, self.estimate))
        values, estimate = (statistics.gap(v[..., a], v[..., b]) for v in (values, estimate))
        tests = self._tests("paired test")(values, estimate, 0.0, *self._sizes(), bounded=False, **self._of_groups())
        blank = jnp.full((count, count), jnp.nan, values.dtype)
        signs = (-1, 1, 1, 1)
        made = (blank.at[a, b].set(f).at[b, a].set(k * f) for f, k in zip(tests, signs, strict=True))
        return statistics.FamilyWise(*made)

    def contenders(self, target: str, level: float = 0.95) -> tuple[str, ...]:
        """The source most similar to `target` and the sources that cannot be told apart from it, most similar first.

        A single name is a decision. Several names mean that these images cannot tell. The truly most similar source is
        among them with probability at least `level`: a source is left out only if `compare_sources` finds it less
        similar than the first, adjusted for all pairs. Sources without a score and the target itself are left out.

        Raises:
            ValueError: there is no column of that name, the level is not between 0 and 1, or the scheme has no tests.

        Example:
            >>> import jaxsim as js, numpy as np
            >>> a, b, c = np.random.default_rng(0).normal(size=(3, 60, 8))
            >>> R = js.resample({"near": a + b / 9, "far": b}, "cka", against={"goal": a, "other": a + b + c})
            >>> R.contenders("goal")
            ('near',)
        """
        t, level = self._place(target, self.targets), probability(level)
        scores = np.where(on_host(self.own[:, t]), np.nan, on_host(self.estimate[:, t]).astype(float))
        order = [int(s) for s in np.argsort(-scores, kind="stable") if np.isfinite(scores[s])]
        if len(order) < 2:
            return tuple(self.names[s] for s in order)
        p = on_host(self.compare_sources(target).step_down)[order[0]]
        return tuple(self.names[s] for s in order if s == order[0] or not p[s] <= 1 - level)

    def two_factor(self, groups: Sequence[Any], *, key: jax.Array | int = 0) -> statistics.TwoFactor:
        """Mean score of each source with each group of targets, with its variance over images and members together.

        For brain regions of several subjects, or networks trained with several seeds. Members are resampled along with
        the images, with the variance correction of Schuett et al. 2023.

        Args:
            groups: group of each target; the columns of the result are the groups in order of first appearance.
            key: typed random key for the draws of members, or a seed.

        Raises:
            ValueError: the scheme is not a bootstrap, or the number of labels is not the number of targets.
        """
        self._need(self.can.bootstraps, "two-factor variance", "use js.Bootstrap()")
        labels = list(dict.fromkeys(groups))
        codes = [labels.index(g) for g in groups]
        assumptions.warn_of(assumptions.flags(Facts(members=[*Counter(groups).items()])))
        return statistics.two_factor(self.values, self.estimate, codes, key=key, images=self.images)

    def table(self, level: float = 0.95) -> tables.Table:
        """Estimate, error and interval of each pair, or its p-value; one row per pair, most similar first.

        If a pair lacks a score in any resample, a column counts those resamples.
        """
        columns = {k: on_host(v) for k, v in self.columns(level).items()}
        places = [(s, t) for s, t in np.ndindex(len(self.names), len(self.targets)) if not self.square or s < t]
        places.sort(key=lambda place: -np.nan_to_num(columns["estimate"][place], nan=-np.inf))
        shown = places[: tables.MOST_ROWS]
        rows = [[f"{self.names[s]} - {self.targets[t]}", *(_cell(v[s, t]) for v in columns.values())] for s, t in shown]
        title = (
            f"{self.provenance.measure}, {len(self.names)} x {len(self.targets)}, {self.kind}, "
            f"{np.shape(self.values)[0]} resamples of {self.images} images"
        )
        title += "" if self.groups is None else f" in {self.groups} groups"
        unscored = f"{UNSCORED}: resamples without a score; a pair with any has no error, interval or p-value"
        notes = [f"... {len(places)} pairs in all"] * (len(places) > len(shown)) + [unscored] * (UNSCORED in columns)
        notes += self.provenance.notes if self.between else ()
        notes += ["subsets of all images have no error and no interval"] * (self.size == self.images)
        return tables.Table(title, ["", *columns], rows, "; ".join(notes), self.flags)

    def to_xarray(self):
        """Convert to a DataArray with dimensions `resample`, `source` and `target`."""
        import xarray as xr

        coords = {"source": list(self.names), "target": list(self.targets)}
        return xr.DataArray(on_host(self.values), coords, ("resample", "source", "target"), self.provenance.measure)

    def to_pandas(self, level: float = 0.95):
        """Convert to a DataFrame with one row per entry: source, target, estimate, error, low, high; or the p-value.

        If an entry lacks a score in any resample, a column counts those resamples, see `unscored`.
        """
        import pandas as pd

        index = pd.MultiIndex.from_product([self.names, self.targets], names=["source", "target"])
        return pd.DataFrame({k: on_host(v).ravel() for k, v in self.columns(level).items()}, index=index)

    def columns(self, level: float = 0.95) -> dict[str, Any]:
        """Arrays `(S, T)` for all entries, by name: estimate, error, low, high, or the p-value; as in `to_pandas`."""
        unscored = self.unscored()
        return self._inference(level) | ({UNSCORED: unscored} if unscored.any() else {})

    def _inference(self, level):
        if self.can.null:
            return {"estimate": self.estimate, "p": self.p_value()}
        probability(level)
        try:
            error, (low, high) = self.standard_error(), self.interval(level)
        except ValueError:  # subsets of all images say nothing about the error
            error = low = high = jnp.full_like(self.estimate, jnp.nan)
        return {"estimate": self.estimate, "error": error, "low": low, "high": high}

    def _sizes(self) -> tuple[int | None, int]:
        """Sizes of a resample and of the full sample, in groups if halves contain whole groups, else in images."""
        if self.groups is None or self.groups_drawn is None:
            return self.size, self.images
        return self.groups_drawn, self.groups

    @property
    def bounded(self) -> bool:
        """Whether all estimates lie within [-1, 1], as the library's own do; true while JAX is tracing."""
        if isinstance(self.estimate, Tracer):
            return True
        return not (np.abs(jax.device_get(self.estimate)) > 1 + BEYOND).any()

    def _interval(self, values, estimate, level, *, bounded):
        return self.scheme().interval(values, estimate, level, *self._sizes(), bounded=bounded, **self._of_groups())

    def _of_groups(self) -> dict[str, Any]:
        """Degrees of freedom from groups; a scheme without groups has no such argument."""
        return {} if self.degrees is None else {"degrees": self.degrees}

    def _matrix(self, flat):
        """Hypotheses as a matrix `(S, T)`."""
        return unfolded(flat, (len(self.names), len(self.targets)), self.square)

    def _others(self, matrix):
        """Scores with NaN, meaning no hypothesis, where row and column are the same network."""
        return jnp.where(self.own, jnp.nan, matrix)

    def _tested(self, null, what):
        """Adjusted tests of all entries, as `(S, T)` arrays."""
        tests = self._tests(what)
        values, estimate = (family(self._others(v), self.square) for v in (self.values, self.estimate))
        found = tests(values, estimate, null, *self._sizes(), bounded=self.bounded, **self._of_groups())
        return statistics.FamilyWise(*map(self._matrix, found))

    def _tests(self, what):
        """Tests of the scheme: its own, or the largest |t| for bootstraps."""
        if self.can.tests is not None:
            return self.can.tests
        self._need(self.can.bootstraps, what)
        return lambda values, estimate, null, *_, **__: statistics.family_wise(values, estimate, null)

    def error_draws(self, what: str = "error") -> tuple[jax.Array, jax.Array]:
        """Center `(S, T)` and draws `(R, S, T)` of the error.

        Raises:
            ValueError: the scheme has no such draws; `what` is the quantity to name in the message.
        """
        if self.can.bootstraps:
            return self.estimate, self.values - self.estimate
        made: Any = self.can.errors
        self._need(made is not None, what)
        errors = made(self.values, self.estimate, *self._sizes())
        # subsamples may come without an estimate
        return jnp.where(jnp.isnan(self.estimate), jnp.mean(self.values, 0), self.estimate), errors

    def _warn_if_no_percentiles(self, level):
        count, need = len(self.values), statistics.resamples_needed((1 - probability(level)) / 2)
        if count < need:
            text = f"a {100 * level:g} % percentile interval from {count} resamples is too narrow: it needs {need}."
            warn(text, FewResamples)

    def _warn_if_few(self, hypotheses, level=0.05):
        """Warn about p-values that cannot be reached with this number of resamples."""
        if not (self.can.bootstraps or self.can.null):
            return
        count, need = self.values.shape[0], statistics.resamples_needed(level)
        if count < need:
            text = f"{count} resamples can reject nothing at {level}: no p-value is below 1 / {count + 1}; use {need}."
            warn(text, FewResamples)
        elif count < (alone := statistics.resamples_needed(level, hypotheses)):
            together = math.ceil(hypotheses / (level * (count + 1)) * (1 - 1e-12))
            text = (
                f"no p-value from {count} resamples is below 1 / {count + 1}: at {level}, Benjamini and Hochberg's "
                f"rule can reject {together} or more of {hypotheses} hypotheses together, or none; one takes {alone}."
            )
            warn(text, FewResamples)

    def _need(self, able, what, instead=advice.WITH_INTERVALS):
        if not able:
            raise ValueError(f"there is no {what} for the scheme {self.kind}; {instead}.")
