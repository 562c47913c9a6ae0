"""The record of resampled scores, with the inference that its scheme allows."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import schemes, statistics
from jaxsim.io.files import warn
from jaxsim.protocols import Scheme, SchemeCapabilities, declared
from jaxsim.results import tables
from jaxsim.results.matrices import Scores, wrong_labels
from jaxsim.results.saved import Provenance, on_host, record
from jaxsim.statistics.checks import probability


class FewResamples(UserWarning):
    """There are too few resamples for an interval, or for any hypothesis of the family to be rejected."""


UNSCORED = "no score"
"""Column with the numbers of resamples without a score."""


def _cell(value: Any) -> str:
    return str(value) if value.dtype.kind in "iu" else tables.number(float(value))


def _wrong(found: "Resamples") -> str | None:
    if found.kind not in schemes.NAMED:
        return f"no scheme is named {found.kind!r}; there are {', '.join(schemes.NAMED)}"
    if found.images < 1 or not 1 <= (found.images if found.size is None else found.size) <= found.images:
        return f"it cannot have {found.size} of {found.images} images in a resample"
    return wrong_labels(found) if len(found.values) else "it has no resamples"


@record(arrays={"values": ("resamples", "names", "targets"), "estimate": ("names", "targets")}, check=_wrong)
class Resamples(Scores):
    """Scores on B resamples of the images beside those of the full sample.

    Attributes:
        values: `(B, S, T)`.
        estimate: `(S, T)`, the full-sample scores.
        names: names of the rows (sources).
        targets: names of the columns; the same tuple as `names` for a square matrix.
        provenance: measure, scheme, key, dtype, device and versions.
        kind: name of the scheme in `jaxsim.schemes.NAMED`.
        images: number n of images.
        size: `Plan.size` of the scheme: images in a subset or half, for subsampling and half-samples.
        undefined: pairs of network and the number of its images whose map has no value.
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
    """Whether the columns are another set of networks, even if their names are the same."""
    _full_sample = "estimate"

    @property
    def scheme(self) -> type[Scheme]:
        """The kind of scheme that made the resamples.

        Raises:
            ValueError: there is none of that name.
        """
        if self.kind not in schemes.NAMED:
            raise ValueError(f"no scheme is named {self.kind!r}; there are {', '.join(schemes.NAMED)}.")
        return schemes.NAMED[self.kind]

    @property
    def can(self) -> SchemeCapabilities:
        """Optional capabilities of the scheme."""
        return declared(self.scheme, SchemeCapabilities)

    def unscored(self) -> np.ndarray:
        """Number of resamples in which an entry has no score, `(S, T)`.

        A resample may hold too few different images, or only ones that a network tells apart by nothing (a class that
        is rare). An entry without a score in any resample has no error, interval or p-value (NaN): the other resamples
        are no sample of all that could have been drawn.
        """
        return np.isnan(on_host(self.values)).sum(-3)

    def spread(self) -> jax.Array:
        """Standard deviation over resamples `(S, T)`; DDS 2020, Table 4 reports this number for subsampling."""
        return statistics.spread(self.values)

    def standard_error(self) -> jax.Array:
        """Standard error of the estimate `(S, T)`, the spread scaled as the scheme demands.

        Raises:
            ValueError: permutations have none, nor has a subset of all images.
        """
        return self.scheme().standard_error(self.values, self.size, self.images)

    def interval(self, level: float = 0.95) -> jax.Array:
        """Confidence interval `(2, S, T)`.

        Half-samples: on Fisher's scale, with the quantile of Student's t for the number of pairs less one; a score of 1
        has an interval of no width. Bootstraps: percentile. Subsamples and the jackknife: normal on the scaled error.
        NaN where an entry has no score in some resample (`unscored`), and for a single resample or pair of halves.

        Raises:
            ValueError: permutations have none.
        """
        return self.scheme().interval(self.values, self.estimate, level, self.size, self.images)

    def bca_interval(self, jackknife: "Resamples", level: float = 0.95) -> jax.Array:
        """Bias-corrected and accelerated interval `(2, S, T)` (Efron 1987) with the acceleration of a jackknife.

        Raises:
            TypeError: `jackknife` is no record of resamples.
            ValueError: this is no bootstrap, or `jackknife` is none of the same networks.
        """
        self._refuse_all_but_bootstraps("BCa interval")
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
        """Share of permutations at least as similar, `(1 + #) / (B + 1)`: `(S, T)`, one-sided.

        Raises:
            ValueError: the scheme is not a permutation.
        """
        if not self.can.null:
            raise ValueError(f"p-values come from js.Permutation(), not from {self.kind}.")
        return statistics.permutation_p(self.values, self.estimate)

    def first_share(self) -> jax.Array:
        """Share of resamples in which each source ranks first for each target `(S, T)`; self left out."""
        self._refuse_null("share of first ranks")
        return statistics.first_share(self.values, self.own)

    def rank_stability(self) -> jax.Array:
        """Mean Spearman correlation of the sources' order in a resample with the full sample's, `(T,)`."""
        self._refuse_null("rank stability")
        return statistics.rank_stability(self.values, self.estimate, self.own)

    def difference(self, first: tuple[str, str], second: tuple[str, str], level: float = 0.95) -> dict[str, float]:
        """Difference of two entries (source, target) in the same resamples, with its error and interval."""
        self._refuse_null("difference")
        entries = [(self._place(s, self.names), self._place(t, self.targets)) for s, t in (first, second)]
        pair = dataclasses.replace(
            self,
            values=statistics.difference(self.values, *entries)[:, None, None],
            estimate=statistics.difference(self.estimate, *entries)[None, None],
        )
        sizes = (self.size, self.images)
        interval = self.scheme().interval(pair.values, pair.estimate, level, *sizes, bounded=False)
        low, high = on_host(interval)[:, 0, 0].tolist()
        error = float(pair.standard_error()[0, 0])
        return {"difference": float(pair.estimate[0, 0]), "error": error, "low": low, "high": high}

    def family_wise(self, null: float = 0.0) -> statistics.FamilyWise:
        """Tests of all entries against `null`, adjusted for their number by the largest |t|; arrays `(S, T)`.

        Each pair of a square matrix is one hypothesis, and the diagonal none (NaN). A debiased score of exactly zero is
        degenerate: test for no similarity at all with `js.Permutation()`.

        Raises:
            ValueError: the scheme is no bootstrap.
        """
        self._refuse_all_but_bootstraps("max-t test")
        self._warn_if_few(1)
        tests = statistics.family_wise(self._family(self.values), self._family(self.estimate), null)
        return statistics.FamilyWise(*(self._matrix(field) for field in tests))

    def false_discovery(self, null: float = 0.0) -> jax.Array:
        """Benjamini-Hochberg adjusted p-values of all entries against `null`, or against no similarity, `(S, T)`.

        From the permutation p-values where the scheme is a permutation, else from the bootstrap t of each entry.

        Raises:
            ValueError: the scheme has no p-values.
        """
        if self.can.null:
            p = self._family(self.p_value())
        else:
            self._refuse_all_but_bootstraps("false discovery rate")
            p = statistics.family_wise(self._family(self.values), self._family(self.estimate), null).unadjusted
        self._warn_if_few(p.size)
        return self._matrix(statistics.false_discovery(p))

    def compare_sources(self, target: str) -> statistics.FamilyWise:
        """Paired tests that two sources are equally similar to `target`, over all pairs of sources; arrays `(S, S)`.

        Entry (a, b) has the statistic of a less b. The target itself takes no part.

        Raises:
            ValueError: no column has that name.
            ValueError: the scheme is no bootstrap.
        """
        self._refuse_all_but_bootstraps("paired test")
        t, count = self._place(target, self.targets), len(self.names)
        self._warn_if_few(1)
        pairs = [
            (a, b) for a, b in statistics.pairs(count) if self.against or target not in (self.names[a], self.names[b])
        ]
        if not pairs:
            raise ValueError(f"comparing sources of {target!r} takes two of them, itself left out.")
        a, b = np.asarray(pairs).T
        values, estimate = (v[..., a, t] - v[..., b, t] for v in (self.values, self.estimate))
        tests = statistics.family_wise(values, estimate)
        blank = jnp.full((count, count), jnp.nan, values.dtype)
        signs = (-1, 1, 1, 1)
        made = (blank.at[a, b].set(f).at[b, a].set(k * f) for f, k in zip(tests, signs, strict=True))
        return statistics.FamilyWise(*made)

    def two_factor(self, groups: Sequence[Any], *, key: jax.Array | int = 0) -> statistics.TwoFactor:
        """Mean score of each source with each group of targets, and its variance over images and members together.

        For brain regions of several subjects, or networks of several seeds: members are resampled beside the images,
        with the variance correction of Schuett et al. 2023.

        Args:
            groups: group of each target; columns of the result are the groups in the order of first appearance.
            key: typed random key for the draws of members, or a seed.

        Raises:
            ValueError: the scheme is no bootstrap, or there is not one label a target.
        """
        self._refuse_all_but_bootstraps("two-factor variance")
        labels = list(dict.fromkeys(groups))
        codes = [labels.index(g) for g in groups]
        return statistics.two_factor(self.values, self.estimate, codes, key=key, images=self.images)

    def table(self, level: float = 0.95) -> tables.Table:
        """Estimate, error and interval of every pair, or its p-value; a row a pair, most similar first.

        Where any resample has no score of a pair, their numbers are a column too.
        """
        columns = {k: on_host(v) for k, v in self._columns(level).items()}
        places = [(s, t) for s, t in np.ndindex(len(self.names), len(self.targets)) if not self.square or s < t]
        places.sort(key=lambda place: -np.nan_to_num(columns["estimate"][place], nan=-np.inf))
        shown = places[: tables.MOST_ROWS]
        rows = [[f"{self.names[s]} - {self.targets[t]}", *(_cell(v[s, t]) for v in columns.values())] for s, t in shown]
        title = (
            f"{self.provenance.measure}, {len(self.names)} x {len(self.targets)}, {self.kind}, "
            f"{np.shape(self.values)[0]} resamples of {self.images} images"
        )
        notes = [f"... {len(places)} pairs in all"] if len(places) > len(shown) else []
        notes += [f"{UNSCORED}: resamples without a score; a pair with any has no error, interval or p-value"] * (
            UNSCORED in columns
        )
        notes += ["subsets of all images have no error and no interval"] * (self.size == self.images)
        return tables.Table(title, ["", *columns], rows, "; ".join(notes))

    def to_xarray(self):
        """A DataArray with dimensions `resample`, `source` and `target`."""
        import xarray as xr

        coords = {"source": list(self.names), "target": list(self.targets)}
        return xr.DataArray(on_host(self.values), coords, ("resample", "source", "target"), self.provenance.measure)

    def to_pandas(self, level: float = 0.95):
        """A DataFrame with one row an entry: source, target, estimate, error, low, high; or the p-value.

        Where any resample has no score, their numbers too, see `unscored`.
        """
        import pandas as pd

        index = pd.MultiIndex.from_product([self.names, self.targets], names=["source", "target"])
        return pd.DataFrame({k: on_host(v).ravel() for k, v in self._columns(level).items()}, index=index)

    def _columns(self, level):
        unscored = self.unscored()
        return self._inference(level) | ({UNSCORED: unscored} if unscored.any() else {})

    def _inference(self, level):
        if self.can.null:
            return {"estimate": self.estimate, "p": self.p_value()}
        probability(level)
        try:
            error, (low, high) = self.standard_error(), self.interval(level)
        except ValueError:  # subsets of all images say nothing of the error
            error = low = high = jnp.full_like(self.estimate, jnp.nan)
        return {"estimate": self.estimate, "error": error, "low": low, "high": high}

    def _family(self, matrix):
        """The hypotheses, one a pair of networks: `(..., S, T) -> (..., H)`."""
        if not self.square:
            return matrix.reshape(*matrix.shape[:-2], -1)
        i, j = np.triu_indices(len(self.names), 1)
        return matrix[..., i, j]

    def _matrix(self, family):
        """`_family` undone, NaN on the diagonal of a square matrix."""
        shape = (len(self.names), len(self.targets))
        if not self.square:
            return family.reshape(shape)
        i, j = np.triu_indices(len(self.names), 1)
        return jnp.full(shape, jnp.nan, family.dtype).at[i, j].set(family).at[j, i].set(family)

    def _warn_if_few(self, hypotheses, level=0.05):
        count, need = self.values.shape[0], statistics.resamples_needed(level, hypotheses)
        if count < need:
            text = f"{count} resamples cannot reject any of {hypotheses} hypotheses at {level}; it takes {need}."
            warn(text, FewResamples)

    def _refuse_all_but_bootstraps(self, what):
        if not self.can.bootstraps:
            raise ValueError(f"there is no {what} for the scheme {self.kind}; use js.Bootstrap().")

    def _place(self, name, names):
        if name not in names:
            raise ValueError(f"no network is named {name!r}; there are {', '.join(names)}.")
        return names.index(name)

    def _refuse_null(self, what):
        if self.can.null:
            raise ValueError(f"there is no {what} for the scheme {self.kind}; {schemes.WITH_INTERVALS}.")
