"""Scores at the ends of the colors of a matrix, in figures and reports alike."""

from typing import Any

import numpy as np

from jaxsim import measures

FAR_BELOW = 0.15
"""Scores below zero by more than that share of the highest have a scale of two colors, white at zero."""


def ends(values: np.ndarray, scores: Any, *, count_own: bool = False) -> tuple[float, float]:
    """Lowest and highest score of the colors: 0 to 1 of a known similarity, and the range of others.

    Args:
        values: `(S, T)`; NaN has no color.
        scores: their record.
        count_own: whether a network with itself counts in the range of others.
    """
    every = values[np.isfinite(values)]
    known = measures.is_known(scores.provenance.measure) and not scores.distance
    off = every if known or count_own else values[np.isfinite(values) & ~np.asarray(scores.own)]
    off = off if off.size else every if every.size else np.array([0.0, 1.0])
    low, high = float(off.min()), float(off.max())
    if known:
        return min(low, 0.0), high if high > 1 + 1e-3 else 1.0
    if scores.distance and 0 < low < high:
        return 0.0, high
    return (low - 0.05, high + 0.05) if high - low < 1e-6 * max(abs(high), 1.0) else (low, high)


def is_diverging(low: float, high: float) -> bool:
    """Whether the colors of a scale part at zero."""
    return bool(low < -FAR_BELOW * max(high, 0.0))
