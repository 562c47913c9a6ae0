"""Ranks of numbers that are counted in bins, against `ranks.average` of the numbers themselves."""

import jax
import numpy as np
import pytest
from marks import slow_but

from jaxsim import ranks
from jaxsim.engine import rank_bins
from jaxsim.engine.rank_bins import Bins

P = 3000
place, tie_bounds = jax.jit(rank_bins.place), jax.jit(ranks.tie_bounds)


def numbers(kind, dtype):
    random = np.random.default_rng(P)
    v, eps = random.gamma(4, 0.2, P), np.finfo(dtype).eps
    made = {
        "continuous": v,
        "signed": v - 0.8,
        "integers": random.integers(0, 7, P) / 1.0,
        # what is equal in exact arithmetic, and differs by rounding; also on the edges of bins
        "fuzzy": (1 + random.integers(0, 40, P) / 16) * (1 + random.integers(-1, 2, P) * eps),
        "two scales": np.where(random.random(P) < 0.4, 1e-5 * v, v),
        "outlier": np.where(np.arange(P) < 20, 1e5, 1) * v,
        "two values": np.repeat([0.0, 1.0], [P - 9, 9]),
        "constant": np.full(P, 0.3),
        "some tied": np.where(random.random(P) < 0.5, random.integers(0, 50, P) / 16, v),
        "heavy tail": np.exp(3 * random.normal(size=P)),
        # apart by more than the width of a tie of what is largest, and by less at the next power of two
        "nearly tied": np.concatenate([np.repeat([0.5, 0.5 + 4 * eps], P // 2)[1:], [1 - eps / 2]]),
    }
    return made[kind].astype(dtype)


KINDS = [
    "continuous",
    "signed",
    "integers",
    "fuzzy",
    "two scales",
    "outlier",
    "two values",
    "constant",
    "some tied",
    "heavy tail",
    "nearly tied",
]
QUICK = ["fuzzy", "outlier", "some tied", "nearly tied"]


def counted(bins, v):
    return np.bincount(np.asarray(place(bins.levels, v)), minlength=len(bins.low))


def ranked(bins, v):
    return bins.ranked(counted(bins, v), np.abs(v).max())


def looked_up(bins, found, v):
    table = np.full(len(bins.low), np.nan)
    table[found.bins] = found.centered
    return table[np.asarray(place(bins.levels, v))]


def exact(v):
    """Centered ranks in float64, of ties as in the library."""
    first, last = (np.asarray(a, float) for a in tie_bounds(np.sort(v)))
    r = np.empty(v.size)
    r[np.argsort(v, kind="stable")] = (first + last) / 2 + 1
    return (r - (v.size + 1) / 2) / v.size


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bins_follow_the_order_of_the_floats(dtype):
    random = np.random.default_rng(0)
    v = random.normal(size=P - 4) * 10.0 ** random.integers(-30, 30, P - 4)
    v = np.concatenate([v, [0.0, -0.0, np.inf, -np.inf]])
    v = np.sort(v.astype(dtype))
    with jax.enable_x64(dtype == np.float64):
        bins = Bins.by_digit(np.dtype(dtype))
        for bits in (random.integers(0, 3, len(bins.low)), np.zeros(1, int)):
            found = np.asarray(place(bins.levels, v))
            assert (np.diff(found) >= 0).all()
            low, high = bins._edges(found)
            assert ((low <= v) & (v <= high))[np.isfinite(v)].all()
            assert np.ptp(found[v == 0]) == 0
            bins = bins.split(bits)


@pytest.mark.parametrize("kind", slow_but(QUICK, KINDS))
def test_bins_of_one_float_give_exact_ranks(kind):
    v = numbers(kind, np.float32)
    bins = Bins.by_digit(v.dtype)
    for _ in range(2):
        bins = bins.split(np.where(counted(bins, v) > 0, 8, 0))
    found = ranked(bins, v)
    assert found.error.sum() == 0
    np.testing.assert_allclose(looked_up(bins, found, v), exact(v), atol=1e-12)
    assert found.size == pytest.approx((exact(v) ** 2).sum())


@pytest.mark.parametrize("most", [40, 700, 20_000])
@pytest.mark.parametrize("kind", slow_but(QUICK, KINDS))
def test_the_error_of_wide_bins_is_within_its_bound(kind, most, monkeypatch):
    monkeypatch.setattr(rank_bins, "MOST", most)
    v = numbers(kind, np.float32)
    bins = Bins.by_digit(v.dtype)
    bins = bins.for_shares(counted(bins, v), P)
    found = ranked(bins, v)
    gap = ((looked_up(bins, found, v) - exact(v)) ** 2).sum()
    assert gap <= found.error.sum() + 1e-12


@pytest.mark.parametrize("seed", range(20))
def test_ties_astride_the_edges_of_bins_are_within_the_bound(seed):
    random = np.random.default_rng(seed)
    bins = Bins.by_digit(np.dtype(np.float32))
    places = np.asarray(place((), np.float32([0.5, 2])))
    edges = bins._edges(random.choice(np.arange(*places), 12, replace=False))[0].astype(np.float32)
    # of each tie a part lies below the edge, and a part above
    counts = random.integers(1, 40, 12)
    steps = random.integers(-1, 1, counts.sum()) * np.float32(2**-23)
    v = np.concatenate([np.repeat(edges, counts) + steps, random.uniform(0.5, 2, 500 - counts.sum())])
    v = v.astype(np.float32)
    found = ranked(bins, v)
    gap = ((looked_up(bins, found, v) - exact(v)) ** 2).sum()
    assert 0 < gap <= found.error.sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", slow_but(QUICK, KINDS))
def test_bins_are_split_until_the_error_is_small(kind, dtype, monkeypatch):
    monkeypatch.setattr(rank_bins, "MOST", 4000)
    v, most, rounds = numbers(kind, dtype), 1e-9 * P, 0
    with jax.enable_x64(dtype == np.float64):
        bins = Bins.by_digit(v.dtype)
        bins = bins.for_shares(counted(bins, v), P)
        while (found := ranked(bins, v)).error.sum() > most:
            finer, rounds = bins.finer(found, most), rounds + 1
            assert finer
            bins = finer
        assert rounds < (12 if kind == "some tied" else 8)
        assert ((looked_up(bins, found, v) - exact(v)) ** 2).sum() <= most + 1e-12


def test_sizes_of_tables_are_few():
    sizes = {rank_bins.padded(k) for k in np.random.default_rng(0).integers(1, 12_000_000, 5000).tolist()}
    assert len(sizes) < 24
    assert all(rank_bins.padded(k) >= k for k in (1, 2**19, 2**19 + 1, 5_999_999))
