"""Taskonomy's affinity: a tournament of the sources over held-out images (Zamir et al. 2018, section 3.3)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxsim.results import Affinity
from jaxsim.statistics.checks import is_number, shown

LEAST_WIN = 0.001
"""Win rates are clipped to stay this far from 0 and 1, as in Taskonomy."""


def win_rates(losses: Float[np.ndarray, "S *T images"]) -> Float[np.ndarray, "*T S S"]:
    """Share of images on which source i has a lower loss than source j; ties count half.

    An image whose loss is NaN for one of the two is ignored; NaN if no image is left. Clipped to [.001, .999], so that
    no source is infinitely better than another.

    >>> import numpy as np
    >>> from jaxsim.taxonomy import win_rates
    >>> win_rates(np.array([[1, 2, 3, 4], [2, 2, 2, 5]])).tolist()
    [[0.5, 0.625], [0.375, 0.5]]
    """
    losses = np.moveaxis(np.asarray(losses), 0, -2)
    return np.clip(_beaten(losses[..., :, None, :], losses[..., None, :, :]), LEAST_WIN, 1 - LEAST_WIN)


def strengths(wins: Float[np.ndarray, "*T S S"]) -> Float[np.ndarray, "*T S"]:
    """Principal eigenvector of the ratios `wins_ij / wins_ji`, positive and summing to 1.

    The analytic hierarchy process of Saaty (1987): if every ratio is a ratio of two strengths, it returns these
    strengths. NaN where a win rate is NaN.

    >>> import numpy as np
    >>> from jaxsim.taxonomy import strengths
    >>> strengths(np.array([[0.5, 0.75], [0.25, 0.5]])).round(2).tolist()
    [0.75, 0.25]
    """
    ratios = wins / np.swapaxes(wins, -1, -2)
    unknown = np.asarray(np.isnan(ratios).any(axis=(-2, -1), keepdims=True))
    values, vectors = np.linalg.eig(np.where(unknown, 1, ratios))
    first = np.argmax(np.real(values), -1)[..., None, None]
    lead = np.abs(np.real(np.take_along_axis(vectors, first, -1)))[..., 0]
    return np.where(unknown[..., 0], np.nan, lead / lead.sum(-1, keepdims=True))


def transfer_affinity(
    losses: Float[np.ndarray, "S T images"], names: Sequence[str], targets: Sequence[str] | None = None
) -> Affinity:
    """Taskonomy's affinity of each source to each target, from the losses on held-out images.

    Columns sum to 1, so adding a source changes all numbers of a column, but hardly their order.

    Args:
        losses: loss of each image under transfer from each source to each target; lower is better. Only their order
            between sources matters.
        names: names of the S sources.
        targets: names of the T targets; the sources by default.

    Raises:
        ValueError: the losses have the wrong shape, or one is NaN.

    >>> import jaxsim as js
    >>> losses = [[[1, 2, 3]], [[2, 3, 2]], [[3, 4, 4]]]
    >>> A = js.taxonomy.transfer_affinity(losses, ["edges", "depth", "faces"], ["walls"])
    >>> A.ranking("walls")[0][0]
    'edges'
    """
    losses, targets = np.asarray(losses, float), tuple(names if targets is None else targets)
    if losses.ndim != 3 or losses.shape[:2] != (len(names), len(targets)) or not losses.size:
        raise ValueError(
            f"losses must have shape (sources, targets, images) for {len(names)} sources and {len(targets)} targets, "
            f"not of shape {losses.shape}."
        )
    unknown = np.argwhere(np.isnan(losses))
    if len(unknown):
        s, t, i = unknown[0]
        raise ValueError(f"the loss of image {i} under transfer from {names[s]!r} to {targets[t]!r} is NaN.")
    return Affinity.from_array(strengths(win_rates(losses)).T, names, targets, measure="tournament")


def win_rates_over(
    losses: Float[np.ndarray, "S T images"], baseline: Float[np.ndarray, "T images"]
) -> Float[np.ndarray, "S T"]:
    """Share of images on which transfer beats a baseline; ties count half, and images with a NaN are ignored.

    Taskonomy calls it gain if the baseline is a network trained from scratch on the same images, and quality if it is
    the network trained with all of the target's labels.

    >>> import numpy as np
    >>> from jaxsim.taxonomy import win_rates_over
    >>> win_rates_over(np.array([[[1, 2, 3, 4]]]), np.array([[2, 2, 2, 5]])).tolist()
    [[0.625]]
    """
    return _beaten(np.asarray(losses), np.asarray(baseline))


def transfer_distance(affinity: Affinity, beta: float = 20.0) -> Affinity:
    """Distances `exp(-beta P)` of an affinity P, the scale of Taskonomy's figures.

    Args:
        affinity: `(S, T)`, higher is more similar.
        beta: above zero; 20 in the figures.

    Raises:
        ValueError: beta is not a positive number, or the values are distances already.

    >>> import jaxsim as js
    >>> P = js.Affinity.from_array([[0.5, 0.0]], ["edges"], ["edges", "depth"], measure="tournament")
    >>> js.taxonomy.transfer_distance(P, beta=2).values.tolist()
    [[0.36787944117144233, 1.0]]
    """
    if not is_number(beta) or not 0 < beta < np.inf:
        raise ValueError(f"beta must be a positive number, not {shown(beta)}.")
    if affinity.distance:
        raise ValueError(
            f"{affinity.provenance.measure} already contains distances; give transfer_distance an affinity."
        )
    name = f"exp(-{beta:g} {affinity.provenance.measure})"
    values = np.exp(-beta * np.asarray(affinity.values, float))
    return Affinity.from_array(values, affinity.names, affinity.targets, measure=name, distance=True)


def _beaten(first, second):
    known = ~(np.isnan(first) | np.isnan(second))
    count = known.sum(-1)
    won = ((first < second) + 0.5 * (first == second)).sum(-1)
    return np.where(count > 0, won / np.maximum(count, 1), np.nan)
