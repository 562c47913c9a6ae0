"""Small generated features with known groups, for trying the pipeline."""

from types import MappingProxyType

import numpy as np

IMAGES = 200
_FAMILIES = MappingProxyType({"warm": ("amber", "coral"), "cool": ("indigo", "jade")})
_SHAPES = ((4, 4, 24), (6, 6, 16), (3, 3, 40))
_STRENGTH = MappingProxyType({"common": 0.7, "family": 0.8, "group": 0.9})
_OWN = (0.5, 0.8, 1.2)
_FACTORS = 6


def groups() -> dict[str, tuple[str, ...]]:
    """The four groups of networks in `features`, with three members each.

    Example:
        >>> groups()["amber"]
        ('amber_1', 'amber_2', 'amber_3')
    """
    labels = [group for members in _FAMILIES.values() for group in members]
    return {g: tuple(f"{g}_{i + 1}" for i in range(len(_SHAPES))) for g in labels}


def features(seed: int = 0) -> dict[str, np.ndarray]:
    """Features of 12 made-up networks for 200 made-up images.

    Every network sees the same images through `relu(Z W)`. The latent factors Z of an image are shared by all networks,
    by
    the two groups of a family, by the three networks of a group, or belong to a single network. Networks in the same
    group
    are therefore most similar, then those in the same family (amber with coral, indigo with jade). The share of a
    network's
    own factors grows from the first to the third member of its group. The weights W are random: nothing is trained, and
    no
    pictures are used.

    Args:
        seed: seed of the NumPy generator; the same seed gives the same features.

    Returns:
        Float32 arrays `(200, h, w, c)` by name; the networks of a group differ in shape.

    Example:
        >>> made = features()
        >>> len(made), made["amber_1"].shape, made["amber_2"].shape
        (12, (200, 4, 4, 24), (200, 6, 6, 16))
    """
    rng = np.random.default_rng(seed)
    members, result = groups(), {}
    common = _latent(rng, _STRENGTH["common"])
    for family in _FAMILIES.values():
        shared = _latent(rng, _STRENGTH["family"])
        for group in family:
            grouped = _latent(rng, _STRENGTH["group"])
            for name, shape, own in zip(members[group], _SHAPES, _OWN, strict=True):
                latent = np.concatenate([common, shared, grouped, _latent(rng, own)], axis=1)
                result[name] = _network(rng, latent, shape)
    return result


def _latent(rng: np.random.Generator, strength: float) -> np.ndarray:
    return strength * rng.standard_normal((IMAGES, _FACTORS))


def _network(rng: np.random.Generator, latent: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    weights = rng.standard_normal((latent.shape[1], int(np.prod(shape))))
    units = np.maximum(np.matmul(latent, weights) / np.sqrt(latent.shape[1]), 0.0)
    return units.reshape(IMAGES, *shape).astype(np.float32)
