"""Simulated features with fixed seeds: twenty networks that share causes to different degrees."""

import numpy as np

SHAPE = (16, 16, 8)
"""Height, width and channels of the features, as in the DDS paper: 2,048 values per image."""


def network(index: int, n: int, networks: int = 20, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Features of one network, non-negative as after a ReLU.

    Three groups of eight hidden causes are common to all networks. A network draws on the groups in its own
    proportion and adds causes of its own, so that scores between networks spread between 0 and 1.

    Args:
        index: which network; it seeds everything that is not shared.
        n: number of images.
        networks: how many there are in all; places this one among the groups.
        shape: shape of one image's features, channels last.

    Returns:
        `(n, *shape)` float32.
    """
    shared = np.random.default_rng(2020).standard_normal((n, 3, 8), dtype=np.float32)
    rng = np.random.default_rng([7, index])
    group = np.arange(3) - 3 * index / networks
    share = 0.3 + np.exp(-np.square(group + 1))[None, :, None].astype(np.float32)
    own = rng.standard_normal((n, 8), dtype=np.float32)
    own *= np.float32(0.15 + 0.85 * rng.random())
    causes = np.concatenate([(shared * share).reshape(n, -1), own], axis=1)
    d = int(np.prod(shape))
    weights = rng.standard_normal((causes.shape[1], d), dtype=np.float32)
    x = np.matmul(causes, weights)
    noise = rng.standard_normal(x.shape, dtype=np.float32)
    noise *= np.float32(0.5)
    x += noise
    x -= rng.standard_normal(d, dtype=np.float32)
    np.maximum(x, 0, out=x)
    return x.reshape(n, *shape)


def networks(count: int, n: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Features of `count` networks, `(count, n, *shape)` float32."""
    out = np.empty((count, n, *shape), np.float32)
    for index in range(count):
        out[index] = network(index, n, count, shape)
    return out


def shifted(count: int, n: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """The same networks with every feature brought to mean 1,000 and standard deviation 1 (float32)."""
    out = networks(count, n, shape)
    for x in out:
        mean, sd = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
        x[...] = (x - mean) / np.where(sd > 0, sd, 1) + 1000
    return out


def repeated(count: int, n: int, images: int = 5, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """The same networks on n copies of a few images, whose maps repeat a few numbers: running sums of these drift."""
    return networks(count, images, shape)[:, np.arange(n) % images]


def of_widths(widths: list[int], n: int) -> dict[str, np.ndarray]:
    """Networks named `w<d>` of the widths asked for, `(n, d)` each."""
    return {f"w{d}": network(i, n, len(widths), (d,)) for i, d in enumerate(widths)}


def subsets(resamples: int, size: int, n: int) -> np.ndarray:
    """Indices of distinct images, `(resamples, size)`; the draws of DDS Table 4, but reproducible."""
    rng = np.random.default_rng(1993)
    return np.stack([rng.choice(n, size, replace=False) for _ in range(resamples)]).astype(np.int32)
