"""The record of a variance study, and its answers to "how many images?"."""

import math
from typing import Any, NamedTuple

import numpy as np

from jaxsim.results import tables
from jaxsim.results.matrices import Scores, wrong_labels
from jaxsim.results.saved import Provenance, on_host, record
from jaxsim.statistics.checks import is_number

OFF = 0.15
"""Relative deviation of an error from the fitted curve above which the curve is not trusted."""
FAR = 4
"""Multiple of the largest size studied beyond which a fit is not trusted."""


class ImagesNeeded(NamedTuple):
    """Answer to "how many images do I need?"; prints as a sentence.

    Attributes:
        images: number of images (or of groups, if groups were drawn); None if no number is enough or it cannot be
            determined.
        trusted: whether the results follow the curve used to interpolate and extrapolate.
        text: the answer as a sentence.
    """

    images: int | None
    trusted: bool
    text: str

    def __str__(self) -> str:
        return self.text


def _wrong(found: "VarianceStudy") -> str | None:
    for what in ("sizes", "counts"):
        values = getattr(found, what)
        if not values or any(a >= b for a, b in zip((0, *values), values, strict=False)):
            return f"its {what} are not ascending numbers from 1"
    if found.groups is not None and not 2 <= found.groups <= found.images:
        return f"it cannot have {found.groups} groups of {found.images} images"
    if found.sizes[-1] > found.units or len(set(found.kinds)) < len(found.kinds):
        return "its sizes or schemes do not fit"
    return wrong_labels(found)


_EACH = ("kinds", "sizes", "counts")
_ENTRIES = (*_EACH, "names", "targets")
ARRAYS = {"error": _ENTRIES, "bias": _ENTRIES, "stability": (*_EACH, "targets"), "estimate": ("names", "targets")}
"""Array fields of a `VarianceStudy`, in order, with their axes."""


@record(arrays=ARRAYS, check=_wrong)
class VarianceStudy(Scores):
    """Error, bias and rank stability by scheme, number of images and number of resamples.

    Attributes:
        error: `(K, L, C, S, T)` standard error of a score on m new images, for K schemes, L values of m and C numbers
            of resamples.
        bias: `(K, L, C, S, T)` expected score on m images, minus the score on all images.
        stability: `(K, L, C, T)` expected Spearman correlation between the source rankings of two samples of m images,
            without the target itself; 1 for the same ranking, about 0 if the sources do not differ.
        estimate: `(S, T)` scores on all images.
        names: names of the rows (sources).
        targets: names of the columns; the same tuple as `names` for a square matrix.
        kinds: names of the K schemes.
        sizes: numbers of images m (of groups, if whole groups were drawn), ascending.
        counts: numbers of resamples, ascending.
        provenance: measure, schemes, key, dtype, device and versions.
        images: number N of images.
        groups: number of groups, if whole groups were drawn; None if images were.
        undefined: pairs of network name and number of images for which its map has no value.
    """

    error: Any
    bias: Any
    stability: Any
    estimate: Any
    names: tuple[str, ...]
    targets: tuple[str, ...]
    kinds: tuple[str, ...]
    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    provenance: Provenance
    images: int
    groups: int | None = None
    undefined: tuple[tuple[str, int], ...] = ()
    against: bool = False
    """Whether the columns are a second set of networks, even if their names are the same."""
    _full_sample = "estimate"

    @property
    def units(self) -> int:
        """Number of images, or of groups if whole groups were drawn."""
        return self.images if self.groups is None else self.groups

    @property
    def what(self) -> str:
        """Whether sizes count images or groups."""
        return "images" if self.groups is None else "groups"

    def images_for(
        self, error: float, source: str | None = None, target: str | None = None, *, scheme: str | None = None
    ) -> ImagesNeeded:
        """Number of images needed for a standard error, from a fit of `error^2 = a / m + b / m^2` to the sizes.

        A score is a mean over pairs of images, so its error is `sqrt(a / m)` for many images, with a second term for
        few. The result is not trusted if an error is 15 % off that curve, if a cannot be determined, or if the answer
        is more than 4 times the largest size.

        Args:
            error: the target standard error, such as 0.02.
            source: name of a row; None for the largest error over all pairs.
            target: name of a column.
            scheme: one of the names in `kinds`; the first by default.

        Raises:
            ValueError: the error is not above zero, or a name is unknown.

        >>> import jaxsim as js
        >>> V = js.variance_study(js.demo.features(), "cka", schemes="half-samples", n_resamples=40)
        >>> V.images_for(1e-4).text.split(":")[0]
        'for a standard error of 0.0001, more than you have'
        """
        if not (is_number(error) and 0 < error < math.inf):
            raise ValueError(f"error must be a standard error above zero, such as 0.02, not {error!r}.")
        values, of = self._errors(self._kind(scheme), source, target)
        return self._answer(values, error, f"for a standard error of {error:g}", of, _Error)

    def images_for_stability(
        self, stability: float, target: str | None = None, *, scheme: str | None = None
    ) -> ImagesNeeded:
        """Number of images needed for stable source rankings, from a fit of `(1 - s) / s = a / m + b / m^2`.

        This is the Spearman-Brown formula with the variance of scores as in `images_for`. The result is trusted under
        the same conditions.

        Args:
            stability: target correlation between the rankings of two samples, such as 0.9.
            target: name of a column; None for the least stable column.
            scheme: one of the names in `kinds`; the first by default.

        Raises:
            ValueError: the stability is not strictly between 0 and 1, a name is unknown, or no target has two sources.
        """
        if not (is_number(stability) and 0 < stability < 1):
            raise ValueError(f"stability must be strictly between 0 and 1, such as 0.9, not {stability!r}.")
        found = on_host(self.stability)[self._kind(scheme), :, -1].astype(float)
        if np.isnan(found).all():
            raise ValueError("no target has two sources whose order could change; give more networks.")
        if target is None:
            values, of = _worst(found, -found), "the least stable target"
        else:
            values, of = found[:, self._place(target, self.targets, "target")], target
        return self._answer(values, stability, f"for a rank stability of {stability:g}", of, _Stability)

    def table(self) -> tables.Table:
        """Largest and median error, mean bias and lowest stability of each size and scheme, from all resamples."""
        error, bias, stability = (on_host(v)[:, :, -1].astype(float) for v in (self.error, self.bias, self.stability))
        header = [f"scheme, {self.what}", "median error", "largest error", "mean bias", "least stability"]
        rows = []
        for k, kind in enumerate(self.kinds):
            for j, m in enumerate(self.sizes):
                e, b = (self._entries(v[k, j]) for v in (error, bias))
                cells = (_over(np.nanmedian, e), _over(np.nanmax, e), _over(np.nanmean, b))
                rows.append([f"{kind}, {m}", *map(_small, (*cells, _over(np.nanmin, stability[k, j])))])
        title = (
            f"{self.provenance.measure}, {len(self.names)} x {len(self.targets)}, {self.counts[-1]} resamples of "
            f"{self.images} images"
        )
        title += "" if self.groups is None else f" in {self.groups} groups"
        return tables.Table(title, header, rows, "; ".join(self.provenance.notes))

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """Header and rows of a table of all pairs, sizes, schemes and numbers of resamples."""
        error, bias, stability = (on_host(v).astype(float) for v in (self.error, self.bias, self.stability))
        header = ["scheme", self.what, "resamples", "source", "target", "standard error", "bias", "stability of target"]
        pairs = [(s, t) for s, t in np.ndindex(len(self.names), len(self.targets)) if not self.square or s != t]
        return header, [
            [
                *(self.kinds[k], self.sizes[j], self.counts[c], self.names[s], self.targets[t]),
                *(float(error[k, j, c, s, t]), float(bias[k, j, c, s, t]), float(stability[k, j, c, t])),
            ]
            for k, j, c in np.ndindex(*error.shape[:3])
            for s, t in pairs
        ]

    def to_pandas(self):
        """Convert to a DataFrame with one row for each pair, size, scheme and number of resamples."""
        import pandas as pd

        header, rows = self.rows()
        return pd.DataFrame(rows, columns=header).set_index(header[:5])

    def _kind(self, scheme):
        return 0 if scheme is None else self._place(scheme, self.kinds, "scheme")

    def _entries(self, matrix):
        """Entries other than a network with itself, `(..., S, T) -> (..., E)`."""
        return matrix[..., ~self.own]

    def _errors(self, kind, source, target):
        """Errors at each size `(L,)` of an entry or of the worst entry, and a text naming the entry."""
        found = on_host(self.error)[kind, :, -1].astype(float)
        s = slice(None) if source is None else self._place(source, self.names, "source")
        t = slice(None) if target is None else self._place(target, self.targets, "target")
        if source is not None and target is not None:
            return found[:, s, t], f"{source} - {target}"
        own = np.zeros_like(self.own)
        own[s, t] = ~self.own[s, t]
        of = "the pair with the largest error" + "".join(f" of {n}" for n in (source, target) if n is not None)
        return _worst(found[:, own], found[:, own]), of

    def _answer(self, values, wanted, asked, of, curve) -> ImagesNeeded:
        usable = np.isfinite(values) & curve.fits(values)
        if not usable.any():
            why = curve.none if np.isfinite(values).any() else "it is undefined at every size"
            return ImagesNeeded(None, False, f"{asked}, no number of {self.what} can be given: {why} ({of}).")
        m, y = np.asarray(self.sizes, float)[usable], curve.variance(values[usable])
        first, second = _fit(m, y)
        goal = float(curve.variance(np.asarray(wanted)))
        images = math.ceil((first + math.sqrt(first**2 + 4 * goal * second)) / (2 * goal) * (1 - 1e-9))
        off = float(np.abs(np.log((first / m + second / m**2) / y)).max()) / 2
        doubts = [f"only {usable.sum()} of the sizes could be used"] * (not usable.all())
        doubts += ["one size does not make a curve"] * (len(m) == 1)
        doubts += [f"a size is off the curve by {100 * off:.0f} %"] * (off > OFF)
        doubts += ["the part that falls as a / n does not show yet, and will need more"] * (first == 0)
        doubts += [f"it is more than {FAR} times the largest size, {self.sizes[-1]}"] * (images > FAR * self.sizes[-1])
        said = f"about {_rounded(images)} {self.what}"
        if images > self.units:
            said = f"more than you have: {said}, and there are {self.units}"
        elif images <= self.sizes[0]:
            images = self.sizes[0]
            said = f"the smallest size studied is enough: {images} {self.what}"
        else:
            said = f"{said} of the {self.units} there are"
        remedy = "; study larger sizes" * (self.sizes[-1] < self.units)
        note = f"; not to be trusted: {', and '.join(doubts)}{remedy}" * bool(doubts)
        made = f"{of}; {curve.formula} = a / n + b / n^2 through {len(self.sizes)} sizes{note}"
        return ImagesNeeded(images, not doubts, f"{asked}, {said} ({made}).")


class _Error:
    """Error: its square is the variance."""

    formula, none = "error^2", "its errors are zero"

    @staticmethod
    def fits(values):
        return values > 0

    @staticmethod
    def variance(values):
        return values**2


class _Stability:
    """Stability: (1 - s) / s is the variance of scores relative to that between sources (Spearman-Brown)."""

    formula, none = "(1 - s) / s", "the order is no better than chance, or never changes"

    @staticmethod
    def fits(values):
        return (values > 0) & (values < 1)

    @staticmethod
    def variance(values):
        return (1 - values) / values


def _fit(m, y):
    """Nonnegative coefficients a and b of y = a / m + b / m^2, by least squares of relative deviations."""
    terms = np.stack([1 / (m * y), 1 / (m**2 * y)], 1)
    alone = terms.sum(0) / (terms**2).sum(0)
    if len(m) == 1:
        return float(alone[0]), 0.0
    a, b = np.linalg.lstsq(terms, np.ones(len(m)), rcond=None)[0]
    if b < 0:
        return float(alone[0]), 0.0
    return (0.0, float(alone[1])) if a < 0 else (float(a), float(b))


def _worst(values, badness):
    """Values at each size of the entry that is worst at the largest size."""
    last = np.where(np.isnan(badness[-1]), -np.inf, badness[-1])
    return values[:, int(np.argmax(last))]


def _over(function, values):
    return float(function(values)) if np.isfinite(values).any() else math.nan


def _small(value):
    return f"{value:.4f}".replace("-0.0000", "0.0000")


def _rounded(count):
    """Round a count up to two digits."""
    step = 10 ** max(int(math.log10(count)) - 1, 0)
    return f"{-(-count // step) * step:,}"
