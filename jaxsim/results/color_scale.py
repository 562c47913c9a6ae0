"""Scores at the ends of a matrix's color scale, in figures and reports alike."""

from typing import Any

import numpy as np

from jaxsim import measures

FAR_BELOW = 0.15
"""If scores fall below zero by more than this share of the highest, the scale has two colors, white at zero."""


def ends(values: np.ndarray, scores: Any, *, count_own: bool = False) -> tuple[float, float]:
    """Lowest and highest score of the color scale: 0 to 1 for a known similarity, the data range for others.

    Args:
        values: `(S, T)`; NaN has no color.
        scores: the record that the values come from.
        count_own: whether scores of networks with themselves count toward the data range.
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
    """Whether the color scale diverges at zero."""
    return bool(low < -FAR_BELOW * max(high, 0.0))
