"""Metrics over a dataset: `start`, `update` with each batch, and `result`.

Each metric is a frozen record. A batch is reduced on the device to sums over rows of pixels; these are added up on the
host in float64, so that neither the number of pixels nor float32 changes a result by 1e-6.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

State = Mapping[str, Any]
"""Totals in float64 by name, on the host."""

BINS = 18000
"""Bins of the histogram of angles, for the median: 0.01 degrees each."""
WITHIN = (11.25, 22.5, 30.0)
"""Limits in degrees below which normals are counted."""
NOTHING = 1e-9
"""Meters that the released evaluation substitutes for zero."""
DEPTH_ERRORS = ("rmse", "log_rmse", "rmse_released", "log_rmse_released")


@dataclasses.dataclass(frozen=True)
class MeanIoU:
    """Mean intersection over union of classes, over all pixels of a dataset.

    IoU_c = TP / max(TP + FP + FN, 1e-8). 'miou' is the mean over all classes, where a class that never occurs counts 0,
    as Maninis et al. 2019 (ASTMT) evaluate; 'miou_present' is the mean over the classes that occur in targets or
    predictions. 'iou' has each class, 'accuracy' the share of correct pixels. NaN if there were no pixels.

    Attributes:
        classes: their number, including the background: 21 for VOC, 41 for NYUD_MT.
        ignore: class number of pixels that are not counted.
        unlabeled: class numbers that mark unknown pixels and are masked; 'miou' is the mean over the other classes.

    >>> metric = MeanIoU(2)
    >>> state = metric.update(metric.start(), jnp.array([0, 1, 1, 1]), jnp.array([0, 0, 1, 255]))
    >>> metric.result(state)["miou"]
    0.5
    """

    classes: int
    ignore: int = 255
    unlabeled: tuple[int, ...] = ()

    def start(self) -> State:
        """The state before the first batch."""
        return dict.fromkeys(("hits", "predicted", "actual"), np.zeros(self.classes)) | {"strays": 0.0}

    def update(
        self, state: State, predicted: Int[Array, "*a"], actual: Int[Array, "*a"], mask: Bool[Array, "*a"] | None = None
    ) -> State:
        """Add a batch of class numbers and an optional mask of the pixels that count.

        Raises:
            ValueError: the shapes differ.
        """
        return _added(state, _overlaps(self, *_checked(predicted, actual, mask)))

    def result(self, state: State) -> dict[str, Any]:
        """The metrics so far.

        Raises:
            ValueError: a counted pixel had a class number outside of 0 to classes - 1.
        """
        if strays := int(state["strays"]):
            raise ValueError(f"{strays} pixels have classes other than 0 to {self.classes - 1} and {self.ignore}.")
        hits, actual = state["hits"], state["actual"]
        union = state["predicted"] + actual - hits
        iou, seen = hits / np.maximum(union, 1e-8), union > 0
        if not seen.any():
            return dict.fromkeys(("miou", "miou_present", "accuracy"), float("nan")) | {"iou": iou}
        return {
            "miou": float(np.delete(iou, self.unlabeled).mean()),
            "miou_present": float(iou[seen].mean()),
            "accuracy": float(hits.sum() / actual.sum()),
            "iou": iou,
        }


@jax.jit(static_argnums=0)
def _overlaps(metric: MeanIoU, predicted: Array, actual: Array, mask: Array | None) -> dict[str, Array]:
    predicted, actual = (numbers.astype(jnp.int32) for numbers in (predicted, actual))
    counted = actual != metric.ignore if mask is None else (actual != metric.ignore) & mask
    known = [(a >= 0) & (a < metric.classes) for a in (predicted, actual)]
    inside = counted & known[0] & known[1]

    def count(number, where):
        return jnp.bincount(jnp.where(where, number, metric.classes).ravel(), length=metric.classes + 1)[:-1]

    return {
        "hits": count(actual, inside & (predicted == actual)),
        "predicted": count(predicted, inside),
        "actual": count(actual, inside),
        "strays": jnp.sum(counted & ~inside),
    }


@dataclasses.dataclass(frozen=True)
class AngularError:
    """Angles between predicted and true normals, over all known pixels of a dataset.

    'mean', 'median' and 'rmse' in degrees, and 'within_11.25', 'within_22.5' and 'within_30' in percent, as Maninis et
    al. 2019 (ASTMT) evaluate. The median is read off a histogram, to 0.005 degrees; `angles` gives the angle of every
    pixel. NaN if there were no pixels.

    >>> metric = AngularError()
    >>> true = jnp.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    >>> state = metric.update(metric.start(), jnp.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]), true)
    >>> round(metric.result(state)["mean"], 4)
    45.0
    """

    def start(self) -> State:
        """The state before the first batch."""
        sums = dict.fromkeys(("pixels", "angles", "squares"), 0.0)
        return sums | {"within": np.zeros(len(WITHIN)), "histogram": np.zeros(BINS)}

    def update(
        self,
        state: State,
        predicted: Float[Array, "*a 3"],
        actual: Float[Array, "*a 3"],
        mask: Bool[Array, "*a"] | None = None,
    ) -> State:
        """Add a batch of vectors and an optional mask; pixels whose true vector is zero never count.

        Raises:
            ValueError: the shapes differ.
        """
        return _added(state, _turns(*_checked(predicted, actual, mask, channels=1)))

    def result(self, state: State) -> dict[str, float]:
        """The metrics so far."""
        upto, pixels = np.cumsum(state["histogram"]), int(state["pixels"])
        middle = [np.searchsorted(upto, k, side="right") for k in ((pixels - 1) // 2, pixels // 2)]
        within = _ratio(state["within"], pixels)
        return {
            "mean": float(_ratio(state["angles"], pixels)),
            "median": float(np.mean(middle) + 0.5) * 180 / BINS if pixels else float("nan"),
            "rmse": float(np.sqrt(_ratio(state["squares"], pixels))),
            **{f"within_{limit:g}": float(v) * 100 for limit, v in zip(WITHIN, within, strict=True)},
        }


def angles(predicted: Float[Array, "*a 3"], actual: Float[Array, "*a 3"]) -> Float[Array, "*a"]:
    """Degrees between vectors of any length, atan2(|p x a|, p . a); 90 where the prediction is zero.

    Equal to the arc cosine of the unit vectors' product, without its loss of digits at small angles.

    >>> round(float(angles(jnp.array([1.0, 0, 0]), jnp.array([1.0, 1.0, 0]))), 4)
    45.0
    """
    across = jnp.linalg.norm(jnp.cross(predicted, actual), axis=-1)
    found = jnp.rad2deg(jnp.arctan2(across, jnp.sum(predicted * actual, -1)))
    return jnp.where(jnp.any(predicted != 0, -1), found, 90.0)


@jax.jit
def _turns(predicted: Array, actual: Array, mask: Array | None) -> dict[str, Array]:
    predicted, actual = _wide(predicted), _wide(actual)
    counted = jnp.any(actual != 0, -1) if mask is None else jnp.any(actual != 0, -1) & mask
    off = jnp.where(counted, angles(predicted, actual), 0)
    bins = jnp.where(counted, jnp.clip((off * (BINS / 180)).astype(jnp.int32), 0, BINS - 1), BINS)
    within = [jnp.sum((off < limit) & counted) for limit in jnp.asarray(WITHIN, off.dtype)]
    return {
        "pixels": jnp.sum(counted),
        "angles": jnp.sum(off, -1),
        "squares": jnp.sum(off**2, -1),
        "within": jnp.stack(within),
        "histogram": jnp.bincount(bins.ravel(), length=BINS + 1)[:-1],
    }


@dataclasses.dataclass(frozen=True)
class DepthError:
    """Errors of depth, image by image: the mean of their RMSE, and the median of their RMSE of natural logarithms.

    'rmse' and 'log_rmse' count the pixels of the mask, by default those with positive true depth; an image without
    any is left out. 'rmse_released' and 'log_rmse_released' are computed as in the code of Maninis et al. 2019 (ASTMT):
    it sets true depths of zero to 1e-9 m before it asks which are not zero, so every pixel counts, and one of unknown
    depth adds some 20 to the logarithms. Both logarithms, and 'rmse_released', replace predictions that are not
    positive by 1e-9 m. NaN if no image had a known depth.

    >>> metric = DepthError()
    >>> state = metric.update(metric.start(), jnp.full((1, 2, 2), 3.0), jnp.full((1, 2, 2), 2.0))
    >>> metric.result(state)["rmse"]
    1.0
    """

    def start(self) -> State:
        """The state before the first batch."""
        return {name: np.zeros(0) for name in DEPTH_ERRORS}

    def update(
        self,
        state: State,
        predicted: Float[Array, "b h w"],
        actual: Float[Array, "b h w"],
        mask: Bool[Array, "b h w"] | None = None,
    ) -> State:
        """Add a batch of images: depths in meters, and an optional mask of the pixels that count.

        Raises:
            ValueError: the shapes differ.
        """
        errors, pixels = jax.device_get(_squares(*_checked(predicted, actual, mask)))
        each = np.sqrt(_ratio(np.sum(errors, -1, dtype=np.float64), pixels))
        return {name: np.concatenate([state[name], new]) for name, new in zip(DEPTH_ERRORS, each, strict=True)}

    def result(self, state: State) -> dict[str, float]:
        """The metrics so far."""
        kept = [state[name][~np.isnan(state[name])] for name in DEPTH_ERRORS]
        averages = zip(DEPTH_ERRORS, (np.mean, np.median) * 2, kept, strict=True)
        return {name: float(average(each)) if len(each) else float("nan") for name, average, each in averages}


@jax.jit
def _squares(predicted: Array, actual: Array, mask: Array | None) -> tuple[Array, Array]:
    """Sums of squared errors over rows, `(4, b, h)`, and numbers of pixels, `(4, b)`."""
    predicted, actual = _wide(predicted), _wide(actual)
    counted = actual > 0 if mask is None else (actual > 0) & mask
    floor = jnp.where(predicted > 0, predicted, NOTHING)
    filled, all_pixels = jnp.where(actual == 0, NOTHING, actual), jnp.ones_like(counted)
    errors = [
        jnp.where(counted, predicted - actual, 0),
        jnp.where(counted, _log_ratio(jnp.where(counted, actual, 1), jnp.where(counted, floor, 1)), 0),
        floor - filled,
        _log_ratio(filled, floor),
    ]
    pixels = [counted, counted, all_pixels, all_pixels]
    return jnp.sum(jnp.stack(errors) ** 2, -1), jnp.sum(jnp.stack(pixels), (-2, -1))


def _log_ratio(a: Array, b: Array) -> Array:
    """ln(a / b), accurate where the two are close."""
    near = jnp.abs(a - b) < 0.5 * b
    return jnp.where(near, jnp.log1p(jnp.where(near, (a - b) / b, 0)), jnp.log(a / b))


@dataclasses.dataclass(frozen=True)
class EdgeError:
    """'mae': mean of |p - e| over all counted pixels, p the predicted probability of an edge, e 1 on an edge, else 0.

    The definition is our own: DDS 2020 (Table 5) states neither its scale nor the settings of its Canny edges, so its
    numbers are not comparable. Nothing is thresholded or balanced; with few edges, predicting 0 everywhere scores well.
    NaN if no pixel was counted.

    >>> metric = EdgeError()
    >>> metric.result(metric.update(metric.start(), jnp.array([0.5, 0.0]), jnp.array([1.0, 0.0])))
    {'mae': 0.25}
    """

    def start(self) -> State:
        """The state before the first batch."""
        return {"pixels": 0.0, "errors": 0.0}

    def update(
        self,
        state: State,
        predicted: Float[Array, "*a"],
        actual: Float[Array, "*a"],
        mask: Bool[Array, "*a"] | None = None,
    ) -> State:
        """Add a batch: probabilities, edges, and an optional mask of the pixels that count.

        Raises:
            ValueError: the shapes differ.
        """
        return _added(state, _deviations(*_checked(predicted, actual, mask)))

    def result(self, state: State) -> dict[str, float]:
        """The metric so far."""
        return {"mae": float(_ratio(state["errors"], state["pixels"]))}


@jax.jit
def _deviations(predicted: Array, actual: Array, mask: Array | None) -> dict[str, Array]:
    counted = jnp.ones(actual.shape, bool) if mask is None else mask
    errors = jnp.where(counted, jnp.abs(_wide(predicted) - _wide(actual)), 0)
    return {"pixels": jnp.sum(counted), "errors": jnp.sum(errors, -1)}


def _added(state: State, sums: Mapping[str, Array]) -> State:
    """Totals plus a batch's partial sums, whose leading axes are summed in float64."""
    host = {name: np.asarray(part, np.float64) for name, part in jax.device_get(sums).items()}
    return {name: total + host[name].reshape(-1, *np.shape(total)).sum(0) for name, total in state.items()}


def _ratio(total: Any, count: Any) -> np.ndarray:
    """Ratio in float64; NaN where the count is zero."""
    count = np.asarray(count, np.float64)
    return np.where(count > 0, total / np.where(count > 0, count, 1), np.nan)


def _wide(values: Array) -> Array:
    """Numbers as floats of at least 32 bits."""
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def _checked(predicted: Any, actual: Any, mask: Any, channels: int = 0) -> tuple[Array, Array, Array | None]:
    """Arrays on the device; raise ValueError unless their shapes, the mask's without `channels` axes, are equal."""
    predicted, actual, mask = jax.tree.map(jnp.asarray, (predicted, actual, mask))
    if predicted.shape != actual.shape or (mask is not None and mask.shape != actual.shape[: actual.ndim - channels]):
        masks = "" if mask is None else f" and a mask of shape {mask.shape}"
        raise ValueError(f"predictions of shape {predicted.shape} do not fit a target of shape {actual.shape}{masks}.")
    return predicted, actual, mask
