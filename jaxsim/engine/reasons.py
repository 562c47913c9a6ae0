"""Reasons for scores that do not exist, told apart on the host; only networks without scores are looked at."""

import contextlib
from collections.abc import Sequence

import jax
import numpy as np

from jaxsim import casts
from jaxsim.inputs import Elsewhere, Networks
from jaxsim.io.files import few
from jaxsim.measures import Measure, name_of
from jaxsim.protocols import ComparatorCapabilities, PairwiseCapabilities, declared

MAP_BYTES = 2**31
"""Size of a map beyond which none is made to see why it has no scores."""


def lost(free: casts.Freedom, nets: Networks, k: int) -> str:
    """Words on digits of network `k` that its cast loses, for a measure that leaves it so free."""
    here = k in nets.careful and not isinstance(nets.arrays[k], Elsewhere)
    words = casts.carried(nets.arrays[k], free, is_map=nets.maps)[1] if here else ""
    return f"{words}, or compute in float64 (jax_enable_x64, --x64)" if words and nets.dtype.itemsize == 4 else words


def why(measure: Measure, nets: Networks, k: int) -> str:
    """Words on why network `k` has no scores under the measure."""
    if isinstance(nets.arrays[k], Elsewhere):
        return f"process {nets.arrays[k].process}, which has its features, says why"
    x = np.asarray(nets.arrays[k])
    if found := (_map_not_finite if nets.maps else _features_not_finite)(measure, x):
        return found
    digits = lost(measure.freedom, nets, k)
    if digits:  # a cause that is there before the cast is the cause
        x, precision = x.astype(np.float64), jax.enable_x64(True)
    else:
        x, precision = np.asarray(nets.select([k]).cast(measure.freedom).arrays[0]), contextlib.nullcontext()
        x = x.astype(casts.score_type(x.dtype), copy=False)
    with precision:
        found = _of_map(x) if nets.maps else _of_features(measure, x)
    if found or digits:
        return found or digits
    return ("" if nets.maps else _of_made_map(measure, x)) or _of_comparator(measure)


def of_tiles(measure: Measure, broken: int, same: bool, images: int) -> str:
    """Words on why a network whose map was never whole has no scores."""
    if broken:
        return f"its features are NaN or infinite in {broken} of {images} images"
    if same:
        return "all of its images have the same features"
    return _of_comparator(measure) + ", or one of its entries is undefined"


def of_pairs(measure: Measure, names: Sequence[str], targets: Sequence[str], pairs: np.ndarray) -> str:
    """A sentence on pairs `(k, 2)` of networks that have maps and no score."""
    own = declared(measure.compare, ComparatorCapabilities).why_undefined_pair
    own = own or f"{name_of(measure.compare)} gives NaN for their maps"
    who = few([f"{names[i]!r} and {targets[j]!r}" for i, j in pairs], 1)
    return f"networks {who} have no {measure} score (NaN): {own}."


def _features_not_finite(measure, x):
    for flaw, what in ((np.isnan, "NaN"), (np.isinf, "infinite")):
        if count := int(flaw(x).reshape(len(x), -1).any(1).sum()):
            return f"its features are {what} in {count} of {len(x)} images"
    return ""


def _map_not_finite(measure, m):
    pairs, diagonal = m[np.triu_indices(len(m), 1)], m.diagonal()
    if missing := int(np.isnan(pairs).sum()):
        text = f"its map is NaN for {missing} of {pairs.size} pairs of images"
        can = declared(measure.compare, ComparatorCapabilities).embed_pairs is not None
        return text + '; js.compare_maps(..., missing="pairwise") leaves such pairs out' * can
    if infinite := int(np.isinf(pairs).sum()):
        return f"its map is infinite for {infinite} of {pairs.size} pairs of images"
    if blank := int((~np.isfinite(diagonal)).sum()):
        text = f"its map is NaN or infinite in {blank} of {len(m)} entries on the diagonal"
        return f"{text}, which {name_of(measure.compare)} reads; give the value of an image with itself"
    return ""


def _of_features(measure, x):
    """Words on finite features; empty where nothing is wrong with them."""
    if _all_same(x):
        return "all of its images have the same features"
    known = name_of(measure.transform)
    after = "" if known == "identity" else f" after the transform {known}"
    x = _transformed(measure, x)
    if count := int((~np.isfinite(x)).any(1).sum()):
        return f"its features are NaN or infinite in {count} of {len(x)} images{after}"
    if _all_same(x):
        return f"all of its images have the same features{after}"
    own = declared(measure.pairwise, PairwiseCapabilities)
    found = "" if own.why_undefined is None else own.why_undefined(x)
    return found and found + after


def _of_made_map(measure, x):
    """Words on the map of features with which nothing is wrong."""
    x = _transformed(measure, x)
    if len(x) ** 2 * x.itemsize > MAP_BYTES:
        return ""
    m = np.asarray(jax.jit(measure.pairwise)(x))
    if count := int((~np.isfinite(m)).any(1).sum()):
        return f"{name_of(measure.pairwise)} gives NaN or infinity for {count} of {len(x)} images"
    return _of_map(m)


def _transformed(measure, x):
    return np.asarray(jax.jit(measure.transform)(x))


def _all_same(x):
    return bool((x == x[:1]).all())


def _of_map(m):
    """Words on a map whose entries are all the same."""
    pairs = m[~np.eye(len(m), dtype=bool)]
    return f"all pairs of images have the value {pairs[0]:.3g} in its map" if (pairs == pairs[0]).all() else ""


def _of_comparator(measure):
    known = declared(measure.compare, ComparatorCapabilities).why_undefined
    return f"{known}, to within rounding" if known else f"{name_of(measure.compare)} gives NaN for its map"
