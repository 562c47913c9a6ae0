"""Two labeled matrices brought onto the same sources and targets by name, and which entries count."""

import warnings
from typing import NamedTuple

import numpy as np

from jaxsim.results import Affinity, on_host


class Aligned(NamedTuple):
    """Prediction and truth over the networks that both have, in the prediction's order.

    Attributes:
        scores: `(S, T)` float64 prediction.
        truth: `(S, T)` float64 measured transfer.
        finite: `(S, T)` whether both are finite.
        others: `(S, T)` whether, besides, source and target are different networks.
        rows: `(S,)` positions of the sources in the prediction.
        columns: `(T,)` positions of the targets in the prediction.
        targets: names of the targets.
    """

    scores: np.ndarray
    truth: np.ndarray
    finite: np.ndarray
    others: np.ndarray
    rows: list[int]
    columns: list[int]
    targets: tuple[str, ...]

    def used(self, diagonal: bool) -> np.ndarray:
        """`(S, T)` entries that a correlation rests on."""
        return self.finite if diagonal else self.others

    def pairs(self, used: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, bool]]:
        """Per target, its used scores and truth, and whether they are 3 or more and constant in neither."""
        pairs = ((self.scores[u, t], self.truth[u, t]) for t, u in enumerate(used.T))
        return [(a, g, bool(a.size >= 3 and np.ptp(a) > 0 and np.ptp(g) > 0)) for a, g in pairs]

    def defined(self, used: np.ndarray) -> np.ndarray:
        """`(T,)` whether a correlation over the used entries is defined."""
        return np.array([fine for _, _, fine in self.pairs(used)])


def align(affinity: Affinity, truth: Affinity, *, subset: bool) -> Aligned:
    """Bring the truth, which may hold more networks in another order, onto the affinity's.

    Raises:
        ValueError: it lacks some and `subset` is False, or the two share none.
    """
    names = _shared("sources", affinity.names, truth, truth.names, subset)
    targets = _shared("targets", affinity.targets, truth, truth.targets, subset)
    rows, columns = [affinity.names.index(n) for n in names], [affinity.targets.index(t) for t in targets]
    a = on_host(affinity.values).astype(np.float64)[np.ix_(rows, columns)]
    there = np.ix_([truth.names.index(n) for n in names], [truth.targets.index(t) for t in targets])
    g = on_host(truth.values).astype(np.float64)[there]
    finite = np.isfinite(a) & np.isfinite(g)
    others = finite & (np.asarray(names)[:, None] != np.asarray(targets)[None, :])
    return Aligned(a, g, finite, others, rows, columns, targets)


def _shared(kind, mine, truth, theirs, subset) -> tuple[str, ...]:
    known = set(theirs)
    lacking = [n for n in mine if n not in known]
    if lacking and not subset:
        which = f"The truth ({truth.provenance.measure}) lacks the {kind} {', '.join(lacking)}"
        raise ValueError(f"{which}; pass subset=True to evaluate the shared ones.")
    if len(lacking) == len(mine):
        raise ValueError(f"The affinity and the truth ({truth.provenance.measure}) share no {kind}.")
    return tuple(n for n in mine if n in known)


def warn_undefined(targets: tuple[str, ...], defined: np.ndarray) -> tuple[str, ...]:
    """Name the targets whose correlation is undefined in a warning; the same sentence as a note, if any."""
    lost = [t for t, fine in zip(targets, defined, strict=True) if not fine]
    if not lost:
        return ()
    note = f"The correlation is undefined for {len(lost)} of {len(targets)} targets: {', '.join(lost)}."
    warnings.warn(note, RuntimeWarning, stacklevel=3)
    return (note,)
