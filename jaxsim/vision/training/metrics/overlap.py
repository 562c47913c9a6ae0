"""Intersection over union of classes, over all pixels of a dataset."""

import dataclasses
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from jaxsim.vision.training.metrics.totals import Total, added, check, counted_up, value, zero


class Overlap(NamedTuple):
    """Pixels of each class: where prediction and target agree, in the predictions, in the targets; and strays."""

    hits: Total
    predicted: Total
    actual: Total
    strays: Total


@dataclasses.dataclass(frozen=True)
class MeanIoU:
    """Mean intersection over union of classes, from true and false positives and negatives of all pixels together.

    IoU_c = TP / max(TP + FP + FN, 1e-8). 'miou' is the mean over all classes, a class that never occurs counting 0,
    as Maninis et al. 2019 (ASTMT) evaluate; 'miou_present' is that over the classes that occur in targets or
    predictions. 'iou' has each class, 'accuracy' the share of pixels that are right. NaN if there were no pixels.

    Attributes:
        classes: their number, background included: 21 of VOC, 41 of NYUD_MT.
        ignore: class number of pixels that are not counted.
        unlabeled: class numbers that mark unknown pixels, which no mask counts; 'miou' is the mean over the others.

    >>> import jax
    >>> metric = MeanIoU(2)
    >>> state = jax.jit(metric.update)(metric.start(), jnp.array([0, 1, 1, 1]), jnp.array([0, 0, 1, 255]))
    >>> metric.result(state)["miou"]
    0.5
    """

    classes: int
    ignore: int = 255
    unlabeled: tuple[int, ...] = ()

    def start(self) -> Overlap:
        """The state before the first batch."""
        return Overlap(zero(self.classes), zero(self.classes), zero(self.classes), zero())

    def update(
        self,
        state: Overlap,
        predicted: Int[Array, "*a"],
        actual: Int[Array, "*a"],
        mask: Bool[Array, "*a"] | None = None,
    ) -> Overlap:
        """Count a batch: class numbers, and where they count if not everywhere.

        Raises:
            ValueError: the shapes differ.
        """
        predicted, actual = (jnp.asarray(numbers).astype(jnp.int32) for numbers in (predicted, actual))
        check(predicted, actual, mask, actual.shape)
        counted = actual != self.ignore if mask is None else (actual != self.ignore) & mask
        known = [(a >= 0) & (a < self.classes) for a in (predicted, actual)]
        inside = counted & known[0] & known[1]

        def count(number, where):
            return counted_up(
                jnp.bincount(jnp.where(where, number, self.classes).ravel(), length=self.classes + 1)[:-1]
            )

        return Overlap(
            added(state.hits, count(actual, inside & (predicted == actual))),
            added(state.predicted, count(predicted, inside)),
            added(state.actual, count(actual, inside)),
            added(state.strays, counted_up(jnp.sum(counted & ~inside))),
        )

    def result(self, state: Overlap) -> dict[str, Any]:
        """The metrics so far.

        Raises:
            ValueError: a counted pixel had a class number outside of 0 to classes - 1.
        """
        if strays := int(value(state.strays)):
            raise ValueError(f"{strays} pixels have classes other than 0 to {self.classes - 1} and {self.ignore}.")
        hits, predicted, actual = (value(t) for t in (state.hits, state.predicted, state.actual))
        union = predicted + actual - hits
        iou = hits / np.maximum(union, 1e-8)
        seen = union > 0
        none = not seen.any()
        return {
            "miou": float("nan") if none else float(np.delete(iou, self.unlabeled).mean()),
            "miou_present": float("nan") if none else float(iou[seen].mean()),
            "accuracy": float("nan") if none else float(hits.sum() / actual.sum()),
            "iou": iou,
        }
