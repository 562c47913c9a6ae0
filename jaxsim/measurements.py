"""Maps from repeated measurements, such as scanner runs: squared distances that are not biased by noise."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsim import casts
from jaxsim.foreign_arrays import numeric, traced
from jaxsim.io.files import counted, few, repeated
from jaxsim.linalg import dot, gram
from jaxsim.meshes import automatic
from jaxsim.results import Maps, Provenance
from jaxsim.results.matrices import ONE_MAP, image_labels

FEWEST_RUNS = 2


def crossnobis(measurements: Any, *, precision: Any = None, residuals: Any = None, ids: Any = None) -> Maps:
    """Crossvalidated squared Mahalanobis distances between images, from repeated measurements of each subject.

    d_ij = mean over runs m of (x_mi - x_mj)' P (y_mi - y_mj) / channels, where y_m is the mean of all runs except m. P
    is the precision of the noise between channels, 1 by default (Walther et al. 2016, NeuroImage 137; "crossnobis" in
    rsatoolbox). Noise that is independent between runs does not bias the distances: if images do not differ, their
    distance is zero on average, and negative half the time. Negative values are kept, so do not use a comparator that
    takes square roots.

    Args:
        measurements: `(runs, n, channels)` of one subject, or a mapping of subjects to these; channels may differ.
        precision: inverse of the noise covariance, `(channels, channels)`, for all subjects or as a mapping.
        residuals: residuals `(r, channels)`, or `(runs, r, channels)`, from which `noise_precision` computes a
            precision; for all subjects or as a mapping.
        ids: labels of the n images, as for `js.affinity`.

    Returns:
        `Maps` with one map per subject, in units of the squared noise deviation if noise is given.

    Raises:
        TypeError: elements are not real numbers.
        ValueError: a subject has only one run, its runs differ in shape or number of images, it has NaN, or its noise
            does not fit; the message names the subject.

    >>> import jax, jaxsim as js
    >>> image, noise = jax.random.normal(jax.random.key(0), (12, 30)), jax.random.normal(jax.random.key(1), (4, 12, 30))
    >>> maps = js.crossnobis({"s1": image + noise, "s2": image - noise})
    >>> maps.names, maps.values.shape
    (('s1', 's2'), (2, 12, 12))
    """
    if precision is not None and residuals is not None:
        raise ValueError("precision and residuals both say what the noise is; give one.")
    subjects = measurements if isinstance(measurements, Mapping) else {ONE_MAP: measurements}
    if not subjects:
        raise ValueError("there are no subjects: measurements is empty.")
    if twice := repeated(map(str, subjects)):
        raise ValueError(f"two subjects are named {twice[0]!r}.")
    runs = {str(name): _runs(str(name), x) for name, x in subjects.items()}
    first, *others = runs
    labels = image_labels(ids, runs[first].shape[1])
    for name in others:
        if runs[name].shape[1] != runs[first].shape[1]:
            counts = f"{runs[first].shape[1]} and {runs[name].shape[1]}"
            raise ValueError(f"subjects {first!r} and {name!r} have {counts} images; all need the same ones.")
    what = "precision" if residuals is None else "residuals"
    noise = _by_subject(precision if residuals is None else residuals, what, list(runs))
    made, notes = [], []
    for name, x in runs.items():
        root, note = _noise(name, x.shape[2], noise[name], residuals is not None)
        made.append(_crossvalidated(_centered(x), root))
        if not traced(made[-1]) and not jnp.isfinite(made[-1]).all():
            raise ValueError(f"subject {name!r} has distances beyond {made[-1].dtype}; divide its measurements.")
        notes += note
    values = jnp.stack(made)
    return Maps(values, tuple(runs), Provenance.now("crossnobis", values, notes=tuple(notes)), labels)


def noise_precision(residuals: Any, who: str = "residuals") -> tuple[np.ndarray, float]:
    """Noise precision between channels, from a covariance that is shrunk toward its diagonal, and the shrinkage.

    The share removed from the covariances is the variance of the correlations divided by their squares, both summed
    over pairs of channels (Schaefer & Strimmer 2005, section 2.4, target D); "shrinkage_diag" in rsatoolbox.

    Args:
        residuals: `(r, channels)`, or `(runs, r, channels)`, where each run has its own mean.
        who: start of the error messages.

    Raises:
        ValueError: a run has fewer than two residuals, or there is NaN or a channel without variance.

    >>> import numpy as np
    >>> found, shrinkage = noise_precision(np.random.default_rng(0).normal(size=(50, 3)))
    >>> found.shape, 0 <= shrinkage <= 1
    ((3, 3), True)
    """
    x = np.asarray(numeric(residuals, who), np.float64)
    if x.ndim not in (2, 3) or x.shape[-2] < 2 or not x.size:
        raise ValueError(
            f"{who} of shape {x.shape} are neither (r, channels) nor (runs, r, channels), with r at least 2."
        )
    if not np.isfinite(x).all():
        raise ValueError(f"{who} hold NaN or infinity.")
    x = x - x.mean(-2, keepdims=True)
    count, channels = x.size // x.shape[-1], x.shape[-1]
    degrees = count - count // x.shape[-2]
    x = x.reshape(count, channels)
    deviation = np.sqrt((x**2).sum(0) / degrees)
    if (flat := deviation <= 1e-12 * deviation.max(initial=0)).any():
        raise ValueError(f"{who} do not vary in {counted(int(flat.sum()), 'channel')}; the first is {flat.argmax()}.")
    z = x / deviation
    correlation, squares = z.T @ z / (count - 1), (z**2).T @ z**2 / (count - 1)
    apart = ~np.eye(channels, dtype=bool)
    variance = count / degrees**2 * (squares - correlation**2)[apart].sum()
    total = (correlation[apart] ** 2).sum()
    shrinkage = float(np.clip(variance / total, 0, 1)) if total else 1.0
    covariance = (z.T @ z / degrees) * np.where(apart, 1 - shrinkage, 1)
    try:
        inverse = np.linalg.inv(covariance)
    except np.linalg.LinAlgError:
        raise ValueError(
            f"{who} are too few, or too alike, for {channels} channels: give more, or a precision."
        ) from None
    return inverse / np.outer(deviation, deviation), shrinkage


def _runs(name, x):
    """Measurements of a subject as one array `(runs, n, channels)`."""
    if isinstance(x, list | tuple):
        shapes = [np.shape(run) for run in x]
        if odd := next((shape for shape in shapes if shape != shapes[0]), None):
            raise ValueError(
                f"subject {name!r} has runs of shapes {shapes[0]} and {odd}; all runs hold the same images."
            )
    x = numeric(x, f"subject {name!r}", cast=False)
    if x.ndim != 3 or 0 in x.shape:
        raise ValueError(f"subject {name!r} has measurements of shape {x.shape}; they must be (runs, n, channels).")
    if x.shape[0] < FEWEST_RUNS:
        raise ValueError(f"subject {name!r} has {counted(x.shape[0], 'run')}; distances across runs need at least two.")
    if x.shape[1] < 2:
        raise ValueError(f"subject {name!r} has one image; distances need at least two.")
    if not traced(x):
        lost = np.argwhere(~np.isfinite(np.asarray(x)).all(axis=-1))[:, 0]
        if len(lost):
            images = f"{np.sum(lost == lost[0])} of {x.shape[1]} images of run {lost[0]}"
            raise ValueError(f"subject {name!r} has NaN or infinity in {images}; leave the images or the run out.")
    return x


def _centered(x):
    """Runs minus their mean over images, which distances ignore, in the type of scores; on the host in float64."""
    dtype = casts.score_type(x.dtype)
    if traced(x):
        return x.astype(dtype) - jnp.mean(x.astype(dtype), 1, keepdims=True)
    x = np.asarray(x, np.float64)
    return (x - x.mean(1, keepdims=True)).astype(dtype)


def _by_subject(given, what, names):
    """What is known about the noise of each subject."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, given)
    if twice := repeated(map(str, given)):
        raise ValueError(f"{what} are given for two subjects named {twice[0]!r}.")
    found = {str(name): one for name, one in given.items()}
    for name in names:
        if name not in found:
            raise ValueError(f"subject {name!r} has no {what}.")
    if odd := [name for name in found if name not in names]:
        raise ValueError(f"{what} of {few(odd)}: there are no measurements of them.")
    return found


def _noise(name, channels, given, are_residuals):
    """A square root of the precision of a subject's noise, or None, and notes on it."""
    if given is None:
        return None, []
    if traced(given):
        raise TypeError("crossnobis factors precision and residuals on the host; they cannot be traced by jit.")
    notes = []
    if are_residuals:
        given, shrinkage = noise_precision(given, f"residuals of subject {name!r}")
        notes = [f"noise of {name}: covariances shrunk by {shrinkage:.3g}"]
    found = np.asarray(numeric(given, f"precision of subject {name!r}"), np.float64)
    if found.shape != (channels, channels):
        what = "residuals make a precision" if are_residuals else "its precision is"
        raise ValueError(f"subject {name!r} has {channels} channels, and {what} of shape {found.shape}.")
    if not np.isfinite(found).all() or not np.allclose(found, found.T, rtol=0, atol=1e-5 * np.abs(found).max()):
        raise ValueError(f"the precision of subject {name!r} is not symmetric, or not finite.")
    try:
        return np.linalg.cholesky((found + found.T) / 2), notes
    except np.linalg.LinAlgError:
        raise ValueError(f"the precision of subject {name!r} is not positive definite.") from None


@jax.jit
@automatic
def _crossvalidated(x: Float[Array, "m n c"], root) -> Float[Array, "n n"]:
    """Distances from centered runs; products of different runs are those of the sum minus each run's with itself."""
    if root is not None:
        x = jax.vmap(dot, (0, None))(x, root.astype(x.dtype))
    runs, _, channels = x.shape
    products = gram(jnp.sum(x, 0)) - jax.lax.fori_loop(1, runs, lambda m, k: k + gram(x[m]), gram(x[0]))
    own = jnp.diagonal(products)
    found = (own[:, None] + own[None, :] - 2 * products) / (runs * (runs - 1) * channels)
    return jnp.where(jnp.eye(len(found), dtype=bool), 0, found)
