"""The record of calibrated scores: layers and networks against what unrelated ones would score."""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import measures, statistics
from jaxsim.io.files import counted
from jaxsim.results import tables
from jaxsim.results.matrices import Affinity, Scores, family, unfolded, wrong_labels
from jaxsim.results.resamples import Resamples
from jaxsim.results.saved import Provenance, on_host, record


class Adjustment(NamedTuple):
    """Adjustment of p-values of network pairs for their number.

    Attributes:
        p: adjusted p-values `(N, M)` of a `Calibration`.
        needed: fewest permutations that can reject anything, from the level and the number of pairs.
        alone: fewest permutations that can reject a single pair.
    """

    p: Callable[["Calibration"], jax.Array]
    needed: Callable[[float, int], int]
    alone: Callable[[float, int], int]


def _of_one(level: float, pairs: int) -> int:
    return statistics.resamples_needed(level)


def _false_discovery(found: "Calibration") -> jax.Array:
    p = statistics.false_discovery(family(found.best_p, not found.against))
    return unfolded(p, np.shape(found.best), not found.against)


def _bonferroni(found: "Calibration") -> jax.Array:
    return jnp.minimum(found.best_p * jnp.sum(~jnp.isnan(family(found.best_p, not found.against))), 1)


ADJUSTMENTS: Mapping[str, Adjustment] = MappingProxyType(
    {
        "step-down": Adjustment(lambda found: found.step_down, _of_one, _of_one),
        "single-step": Adjustment(lambda found: found.single_step, _of_one, _of_one),
        "false-discovery": Adjustment(_false_discovery, _of_one, statistics.resamples_needed),
        "bonferroni": Adjustment(_bonferroni, statistics.resamples_needed, statistics.resamples_needed),
        "none": Adjustment(lambda found: found.best_p, _of_one, _of_one),
    }
)
"""Read-only view of the adjustments by name."""


def _wrong(found: "Calibration") -> str | None:
    if found.adjust not in ADJUSTMENTS:
        return f"no adjustment is named {found.adjust!r}; there are {', '.join(ADJUSTMENTS)}"
    if found.n_permutations < 1 or not 0 < found.level < 1:
        return f"it cannot have {found.n_permutations} permutations or level {found.level}"
    sides = ((found.names, found.network_of, found.networks), (found.targets, found.target_of, found.target_networks))
    for layers, of, networks in sides:
        if len(of) != len(layers) or set(of) != set(networks):
            return "its layers do not belong to its networks"
    for places, layers in ((found.best_source, found.names), (found.best_target, found.targets)):
        if places.dtype.kind not in "iu" or (places < 0).any() or (places >= len(layers)).any():
            return "its best layers are not places of layers"
    return wrong_labels(found)


_LAYERS = ("estimate", "mean", "deviation", "threshold", "p")
_BEST = ("best", "best_mean", "best_deviation", "best_threshold", "best_p")
_NETWORKS = (*_BEST, "best_source", "best_target", "single_step", "step_down")
ARRAYS = dict.fromkeys(_LAYERS, ("names", "targets")) | dict.fromkeys(_NETWORKS, ("networks", "target_networks"))
"""Array fields of a `Calibration`, in order, with their axes."""


@record(arrays=ARRAYS, check=_wrong)
class Calibration(Scores):
    """Scores of layers, and of the best layers of networks, compared with the scores of permuted images.

    Attributes:
        estimate: `(S, T)` scores of layers, as in `js.affinity`.
        mean: `(S, T)` mean of the permuted scores.
        deviation: `(S, T)` standard deviation of the permuted scores.
        threshold: `(S, T)` score that a permuted score (counting the observed one) reaches with probability `level`.
        p: `(S, T)` share of permutations that score at least as high, `(1 + #) / (B + 1)`.
        best: `(N, M)` highest score between any layers of two networks; NaN on the diagonal of a square matrix.
        best_mean: `(N, M)` mean of each permutation's own highest score.
        best_deviation: `(N, M)` standard deviation of those highest scores.
        best_threshold: `(N, M)` like `threshold`, for the highest scores.
        best_p: `(N, M)` like `p`, for the highest scores; not adjusted for the number of network pairs.
        best_source: `(N, M)` positions in `names` of the layers with the highest score.
        best_target: `(N, M)` positions in `targets`.
        single_step: `(N, M)` p adjusted by the largest of all pairs' highest scores, each in units of its deviation.
        step_down: `(N, M)` the same over pairs that are no more extreme; never above `single_step`.
        names: layers of the rows.
        targets: layers of the columns; the same tuple as `names` for a square matrix.
        networks: networks of the rows, in order of first appearance.
        target_networks: networks of the columns.
        network_of: network of each of `names`.
        target_of: network of each of `targets`.
        provenance: measure, strata or groups, key, dtype, device and versions.
        images: number n of images.
        n_permutations: number B of permutations.
        level: rate of false findings that thresholds and calibrated scores are set to.
        adjust: default adjustment of `adjusted_p`, see `js.calibrate`.
        undefined: pairs of layer name and number of images for which its map has no value.
    """

    estimate: Any
    mean: Any
    deviation: Any
    threshold: Any
    p: Any
    best: Any
    best_mean: Any
    best_deviation: Any
    best_threshold: Any
    best_p: Any
    best_source: Any
    best_target: Any
    single_step: Any
    step_down: Any
    names: tuple[str, ...]
    targets: tuple[str, ...]
    networks: tuple[str, ...]
    target_networks: tuple[str, ...]
    network_of: tuple[str, ...]
    target_of: tuple[str, ...]
    provenance: Provenance
    images: int
    n_permutations: int
    level: float
    adjust: str
    undefined: tuple[tuple[str, int], ...] = ()
    against: bool = False
    """Whether the columns are a second set of networks, even if their names are the same."""
    _full_sample = "estimate"

    def calibrated(self) -> jax.Array:
        """Layer scores on a scale from 0 at their threshold, or below it, to 1, `(S, T)`."""
        return _between(self.estimate, self.threshold)

    def best_calibrated(self) -> jax.Array:
        """Scores of the best layers on a scale from 0 at their threshold, or below it, to 1, `(N, M)`."""
        return _between(self.best, self.best_threshold)

    def z(self) -> jax.Array:
        """Scores of the best layers minus the mean of their null, in units of its deviation, `(N, M)`."""
        return (self.best - self.best_mean) / self.best_deviation

    def above_chance(self) -> jax.Array:
        """`(s - mean) / (1 - mean)` of layers `(S, T)`: zero on average for unrelated layers, 1 for equal ones."""
        return (self.estimate - self.mean) / (1 - self.mean)

    def adjusted_p(self, adjust: str | None = None) -> jax.Array:
        """P-values of network pairs, adjusted for their number by the given method, `(N, M)`.

        Raises:
            ValueError: no adjustment has that name.
        """
        adjust = self.adjust if adjust is None else adjust
        if adjust not in ADJUSTMENTS:
            raise ValueError(f"adjust must be one of {', '.join(ADJUSTMENTS)}, not {adjust!r}.")
        return ADJUSTMENTS[adjust].p(self)

    def scores(self, *, layers: bool = False) -> Affinity:
        """Calibrated scores of networks, or of `layers`, as a matrix with 1 on its own diagonal."""
        values = on_host(self.calibrated() if layers else self.best_calibrated()).astype(float)
        names, targets = (self.names, self.targets) if layers else (self.networks, self.target_networks)
        if not self.against:
            known = np.diag(~np.isnan(np.diag(on_host(self.estimate)))) if layers else np.eye(len(names), dtype=bool)
            values = np.where(known, 1.0, values)
        measure = f"{measures.title_of(self.provenance.measure)}, calibrated"
        found = Affinity.from_array(values, names, targets, measure=measure, against=self.against)
        scheme = self.provenance.scheme  # captions mention its null hypothesis
        return dataclasses.replace(found, provenance=dataclasses.replace(found.provenance, scheme=scheme))

    def interval(self, resamples: Resamples, level: float = 0.95) -> jax.Array:
        """Confidence interval `(2, S, T)` of the calibrated layer scores, treating their thresholds as known.

        Args:
            resamples: `js.resample` of the same layers, by a scheme with intervals.
            level: confidence level.

        Raises:
            TypeError: `resamples` is not a record of resamples.
            ValueError: it has other layers, images or another measure, or its scheme has no intervals.
        """
        if not isinstance(resamples, Resamples):
            raise TypeError(f"an interval needs js.resample of the same layers, not {type(resamples).__name__}.")
        theirs, ours = ((r.names, r.targets, r.images, r.provenance.measure) for r in (resamples, self))
        for what, a, b in zip(
            ("other names", "other targets", "another number of images", "another measure"), theirs, ours, strict=True
        ):
            if a != b:
                raise ValueError(f"the resamples have {what}: {a}, and the calibrated scores {b}.")
        return _between(resamples.interval(level), self.threshold)

    def table(self) -> tables.Table:
        """Best layers of each network pair with score, null and p-values; one row per pair, lowest p first."""
        columns = {k: on_host(v) for k, v in self.columns().items()}
        p, score = columns["adjusted p"], columns["calibrated"]
        places = self._pairs(*np.shape(self.best))
        places.sort(key=lambda place: (np.nan_to_num(p[place], nan=2), -np.nan_to_num(score[place], nan=-1)))
        shown = places[: tables.MOST_ROWS]
        rows = [
            [
                f"{self.networks[i]} - {self.target_networks[j]}",
                *(["{} - {}".format(*self.best_layers(i, j))] if self.has_layers else []),
                *(tables.number(float(v[i, j])) for v in columns.values()),
            ]
            for i, j in shown
        ]
        title = (
            f"{self.provenance.measure} calibrated at {self.level:g}, {len(self.networks)} x "
            f"{len(self.target_networks)} networks, {self.n_permutations} permutations of {self.images} images"
        )
        notes = [f"p adjusted for {counted(len(places), 'pair')} of networks: {self.adjust}"] * (self.adjust != "none")
        notes += [f"... {len(places)} pairs in all"] * (len(places) > len(shown))
        note = "; ".join(notes)
        return tables.Table(title, ["", *(["best layers"] if self.has_layers else []), *columns], rows, note)

    def to_pandas(self, *, layers: bool = False):
        """Convert to a DataFrame of scores, nulls and p-values, one row per pair of networks or of `layers`."""
        import pandas as pd

        header, rows = self.rows(layers=layers)
        return pd.DataFrame(rows, columns=header).set_index(["source", "target"])

    def rows(self, *, layers: bool = False) -> tuple[list[str], list[list[Any]]]:
        """Header and rows of a table of all pairs of networks, or of different `layers`, in order.

        Network pairs come with their best layers if any network has several.
        """
        names, targets = (self.names, self.targets) if layers else (self.networks, self.target_networks)
        columns = {k: on_host(v) for k, v in self.columns(layers=layers).items()}
        best = self.has_layers and not layers
        header = ["source", "target", *(["source layer", "target layer"] if best else []), *columns]
        return header, [
            [
                *(names[i], targets[j]),
                *(self.best_layers(i, j) if best else []),
                *(float(v[i, j]) for v in columns.values()),
            ]
            for i, j in self._pairs(len(names), len(targets))
        ]

    @property
    def has_layers(self) -> bool:
        """Whether any network has several layers."""
        return len(self.networks) < len(self.names) or len(self.target_networks) < len(self.targets)

    def _pairs(self, rows, columns):
        return [(i, j) for i, j in np.ndindex(rows, columns) if self.against or i < j]

    def best_layers(self, i: int, j: int) -> list[str]:
        """Names of the layers with the highest score between two networks, given by position."""
        source, target = on_host(self.best_source)[i, j], on_host(self.best_target)[i, j]
        return [self.names[source], self.targets[target]]

    def columns(self, *, layers: bool = False) -> dict[str, Any]:
        """Arrays by name for all pairs of networks `(N, M)`, or of `layers` `(S, T)`: scores, nulls and p-values."""
        if layers:
            return {
                "score": self.estimate,
                "null mean": self.mean,
                "null deviation": self.deviation,
                "threshold": self.threshold,
                "calibrated": self.calibrated(),
                "p": self.p,
            }
        return {
            "score": self.best,
            "null mean": self.best_mean,
            "null deviation": self.best_deviation,
            "threshold": self.best_threshold,
            "calibrated": self.best_calibrated(),
            "p": self.best_p,
            "adjusted p": self.adjusted_p(),
        }


def _between(score, threshold):
    """Position of a score between its threshold and 1, from 0 to 1."""
    room = jnp.maximum(1 - threshold, 1e-12)
    return jnp.clip((score - threshold) / room, 0, 1)
