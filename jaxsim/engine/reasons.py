"""Reasons for scores that do not exist, told apart on the host; only networks without scores are looked at."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import casts
from jaxsim.inputs import Networks
from jaxsim.measures import Measure, name_of
from jaxsim.protocols import ComparatorCapabilities, PairwiseCapabilities, declared

MAP_BYTES = 2**31
"""Size of a map beyond which none is made to see why it has no scores."""


def lost(measure: Measure, nets: Networks, k: int) -> str:
    """Words on digits of a network that the cast to the type of scores loses, for want of freedom of the measure."""
    return casts.carried(nets.arrays[k], measure.freedom, is_map=nets.maps)[1] if k in nets.careful else ""


def why(measure: Measure, nets: Networks, k: int) -> str:
    """Words on why network `k` has no scores under the measure."""
    x = np.asarray(nets.arrays[k])
    if found := (_map_not_finite if nets.maps else _features_not_finite)(measure, x):
        return found
    cast, digits = casts.carried(x, measure.freedom, is_map=nets.maps) if k in nets.careful else (x, "")
    # a cause that is there before the cast is the cause
    x = x.astype(np.float64) if digits else cast.astype(casts.score_type(cast.dtype), copy=False)
    with jax.enable_x64(bool(digits) or jax.config.jax_enable_x64):
        found = _of_map(x) if nets.maps else _of_features(measure, x)
    return found or digits or _of_comparator(measure)


def _features_not_finite(measure, x):
    nan, infinite = (flaw(x).reshape(len(x), -1).any(1).sum() for flaw in (np.isnan, np.isinf))
    parts = [
        f"{n} of its {len(x)} images have {what} features" for n, what in ((nan, "NaN"), (infinite, "infinite")) if n
    ]
    return " and ".join(parts)


def _map_not_finite(measure, m):
    pairs = m[np.triu_indices(len(m), 1)]
    missing, infinite = int(np.isnan(pairs).sum()), int(np.isinf(m).sum())
    if missing:
        text = f"{missing} of the {pairs.size} pairs of images in its map are missing (NaN)"
        return f'{text}; js.compare_maps(..., missing="pairwise") leaves such pairs out'
    if infinite:
        return f"{infinite} entries of its map are infinite"
    blank = int(np.isnan(m.diagonal()).sum())
    text = f"{blank} entries on the diagonal of its map are NaN, and {name_of(measure.compare)} reads the diagonal"
    return f"{text}; set them to the value of an image with itself" if blank else ""


def _of_features(measure, x):
    """Words on finite features; empty where nothing is wrong with them or with their map."""
    if _all_same(x):
        return "all of its images have the same features"
    known = name_of(measure.transform)
    after = "" if known == "identity" else f" after the transform {known}"
    x = np.asarray(measure.transform(jnp.asarray(x)))
    if count := int((~np.isfinite(x)).any(1).sum()):
        return f"{count} of its {len(x)} images have NaN or infinite features{after}"
    if _all_same(x):
        return f"all of its images have the same features{after}"
    own = declared(measure.pairwise, PairwiseCapabilities)
    if own.why_undefined is not None and (found := own.why_undefined(x)):
        return found + after
    if len(x) ** 2 * x.itemsize > MAP_BYTES:
        return ""
    m = np.asarray(measure.pairwise(jnp.asarray(x)))
    if count := int((~np.isfinite(m)).any(1).sum()):
        return f"{name_of(measure.pairwise)} gives NaN or infinity for {count} of its {len(x)} images{after}"
    return _of_map(m)


def _all_same(x):
    return bool((x == x[:1]).all())


def _of_map(m):
    """Words on a map whose entries are all the same."""
    pairs = m[~np.eye(len(m), dtype=bool)]
    return f"all pairs of images have the value {pairs[0]:.3g} in its map" if (pairs == pairs[0]).all() else ""


def _of_comparator(measure):
    known = declared(measure.compare, ComparatorCapabilities).why_undefined
    return f"{known}, to within rounding" if known else f"{name_of(measure.compare)} gives NaN for its map"
