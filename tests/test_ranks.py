"""Average ranks, plain and weighted, and the exact median: SciPy, NumPy and literal expansion as oracles."""

import functools

import hypothesis
import jax
import numpy as np
import pytest
import scipy.stats
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxsim import ranks
from jaxsim.compare import triangles

pairs_of = jax.jit(triangles.pairs_of, static_argnums=0)
median = jax.jit(ranks.median)
median_slope = jax.jit(jax.grad(ranks.median))
average = jax.jit(ranks.average)
PAIRS = 36  # of 9 images
few_examples = hypothesis.settings(max_examples=40, deadline=None, derandomize=True)


def draws(kind, size=PAIRS):
    rng = np.random.default_rng(0)
    return {
        "distinct": rng.normal(size=size),
        "ties": np.round(rng.normal(size=size)),
        "two values": rng.integers(0, 2, size),
        "constant": np.full(size, 0.3),
        "signed zeros": np.where(np.arange(size) % 2, 0.0, -0.0),
        "huge and small": 10.0 ** rng.integers(-30, 30, size),
        "infinities": np.where(rng.random(size) < 0.2, np.inf, rng.normal(size=size)),
        "descending": np.arange(size, 0, -1),
        "rounded ties": rng.integers(0, 3, size) + 1e-7 * rng.integers(-1, 2, size),
        "rounded zeros": (rng.random(size) < 0.1) + 1e-7 * rng.integers(0, 2, size),
        "a chain": 1 + 3e-7 * np.arange(size),
        "pairs": 1 + 0.01 * (np.arange(size) // 2) + 3.6e-7 * (np.arange(size) % 2),
        "an offset": 1000 + 0.1 * np.arange(size) - 0.0997 * (np.arange(size) == 1),
        "an outlier": np.where(np.arange(size) < size // 9, 1e7, rng.normal(size=size)),
    }[kind].astype(np.float32)


KINDS = [
    *("distinct", "ties", "two values", "constant", "signed zeros", "huge and small", "infinities", "descending"),
    *("rounded ties", "rounded zeros", "a chain", "an outlier", "an offset", "pairs"),
]


def merged(v):
    """`v` with runs that rounding could have made replaced by their first value: `ranks.tie_bounds`, literally."""
    v = np.asarray(v)
    u, eps = np.sort(v), np.finfo(v.dtype).eps
    size = np.where(np.isfinite(u), np.abs(u), 0)
    largest, quartile = size.max(), max(size[v.size // 4], size[3 * v.size // 4])
    unit = eps * (min(largest, 4 * quartile) if quartile > 4 * eps * largest else largest)
    with np.errstate(invalid="ignore", over="ignore"):
        runs = np.split(u, 1 + np.flatnonzero(np.diff(u) > 4 * unit))
        close = sum(np.isfinite(run[1:]).sum() for run in runs)
        spread = unit / eps - (u[0] if np.isfinite(u[0]) else -unit / eps)
        of_two = 4 if (close - 1) * spread > 16 * 4 * unit * v.size**2 else 1
        for run in runs:
            if not run[-1] - run[0] > (of_two if run.size == 2 else 4) * unit:
                v = np.where((v >= run[0]) & (v <= run[-1]), run[0], v)
    return v


def rankdata(v):
    return scipy.stats.rankdata(merged(v))


# Average ranks.
@pytest.mark.parametrize("kind", KINDS)
def test_average_is_rankdata(kind):
    v = draws(kind)
    got = average(v)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, rankdata(v))


def test_average_over_networks_is_a_loop():
    v = np.stack([draws(kind) for kind in KINDS])
    np.testing.assert_array_equal(jax.jit(jax.vmap(ranks.average))(v), [rankdata(a) for a in v])


def test_average_in_float64(x64):
    got = average(draws("ties").astype(np.float64))
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, scipy.stats.rankdata(draws("ties")))


def test_ties_broken_by_rounding_are_mended_and_chains_and_outliers_keep_their_order():
    assert [np.unique(average(draws(kind))).size for kind in ("rounded ties", "rounded zeros")] == [3, 2]
    np.testing.assert_array_equal(average(draws("a chain")), np.arange(PAIRS) + 1)
    assert np.unique(average(draws("an outlier"))).size == PAIRS - PAIRS // 9 + 1
    assert np.unique(average(draws("an offset"))).size == PAIRS
    np.testing.assert_array_equal(average(draws("pairs")), np.arange(PAIRS) // 2 * 2 + 1.5)


@pytest.mark.parametrize("outlier", [4.0, 1e5])
def test_two_values_that_chance_brings_together_are_no_tie_and_three_are(outlier):
    v = np.float32([0.5, 1, 1 + 1.7e-6, 1 + 8e-7, 3, outlier])
    np.testing.assert_array_equal(average(v), [1, 3, 3, 3, 5, 6])
    np.testing.assert_array_equal(average(v[[0, 1, 2, 4, 5]]), [1, 2, 3, 4, 5])
    near = np.float32([1, 1 + 2.5e-7])
    np.testing.assert_array_equal(average(np.r_[v[:1], near, v[4:]]), [1, 2.5, 2.5, 4, 5])


@pytest.mark.parametrize("place", [0, 7, PAIRS - 1])
def test_average_of_nan_is_nan(place):
    v = draws("ties")
    v[place] = np.nan
    assert np.isnan(average(v)).all()


@pytest.mark.parametrize("elsewhere", [np.nan, 1e30, np.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_ranks_among_some_values_ignore_the_others(kind, elsewhere):
    v, there = draws(kind), np.random.default_rng(1).random(PAIRS) < 0.7
    got = average(np.where(there, v, np.float32(elsewhere)), there)
    np.testing.assert_array_equal(got[there], rankdata(v[there]))


@few_examples
@hypothesis.given(hnp.arrays(np.float32, PAIRS, elements=st.floats(-4, 4, width=16)))
def test_average_of_anything(v):
    np.testing.assert_array_equal(average(v), rankdata(v))


# The median.
@pytest.mark.parametrize("size", [1, 2, 3, 4, 9, 10, 25])
def test_median_is_numpy(size):
    v = np.random.default_rng(size).exponential(size=size).astype(np.float32)
    assert median(v) == np.median(v)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [PAIRS, PAIRS + 1])
def test_median_of_the_awkward(kind, size):
    v = np.abs(draws(kind, size))
    if kind == "huge and small":
        v = np.clip(v, 1e-35, 1e35)
    got = median(v)
    assert got.dtype == np.float32
    assert got == np.median(v)


def test_median_of_squares_needs_no_headroom_of_integers():
    """The two middle values at opposite ends of the range of floats."""
    v = np.array([0.0, 1e-38, 1e38, 3e38], np.float32)
    assert median(v) == np.float32(1e38) / 2
    assert median(np.array([0, 0, 1, 1], np.float32)) == 0.5
    assert median(np.array([0, 0, 0, 1], np.float32)) == 0


def test_median_runs_over_every_axis():
    v = np.random.default_rng(0).exponential(size=(5, 5)).astype(np.float32)
    assert median(v) == np.median(v)
    stack = np.stack([v, v**2, 0 * v])
    np.testing.assert_array_equal(jax.jit(jax.vmap(ranks.median))(stack), np.median(stack, (1, 2)))


@pytest.mark.parametrize("size", [4, 5])
def test_median_of_nan_is_nan(size):
    v = np.arange(size, dtype=np.float32)
    v[1] = np.nan
    assert np.isnan(median(v))


@pytest.mark.parametrize("kind", KINDS)
def test_median_in_float64(kind, x64):
    for size in (PAIRS, PAIRS + 1):
        v = np.abs(draws(kind, size)).astype(np.float64) ** 3
        got = median(v)
        assert got.dtype == np.float64
        assert got == np.median(v)


@few_examples
@hypothesis.given(hnp.arrays(np.float32, 12, elements=st.floats(0, 2.0**100, width=32, allow_subnormal=False)))
def test_median_of_anything(v):
    assert median(v) == np.median(v)


@pytest.mark.parametrize("size", [8, 9])
def test_gradient_of_the_median(size):
    """One half on each of two middle values, one on a single one, shared among ties."""
    v = np.random.default_rng(1).permutation(size).astype(np.float32)
    slope = np.asarray(median_slope(v))
    middle = {(size - 1) // 2, size // 2}
    np.testing.assert_array_equal(slope, np.where(np.isin(v, list(middle)), 1 / len(middle), 0))
    tied = np.array([0, 2, 2, 2, 5], np.float32)
    np.testing.assert_allclose(median_slope(tied), [0, 1 / 3, 1 / 3, 1 / 3, 0], rtol=1e-6)
    np.testing.assert_allclose(median_slope(np.zeros(5, np.float32)), [0.2] * 5, rtol=1e-6)


def test_gradient_of_the_median_is_the_difference_quotient(x64):
    v = np.random.default_rng(2).exponential(size=20)
    slope = jax.jit(jax.grad(lambda v: ranks.median(v * v)))(v)
    for k in range(20):
        up, down = (v + sign * 1e-6 * (np.arange(20) == k) for sign in (1, -1))
        want = (np.median(up**2) - np.median(down**2)) / 2e-6
        np.testing.assert_allclose(slope[k], want, atol=1e-8)


# Weighted ranks. 36 pairs fill a part of one run of the cumulative sums, 190 pairs one run and a part of the next.
IMAGES = [9, 20]


@jax.jit
def weigh(stack, w):
    """One map at a time, as the comparators do, so that maps with and without ties take their own ways."""
    i, j = pairs_of(w.shape[0])
    pairs = w[i] * w[j]
    return jax.lax.map(lambda v: ranks.weighted(ranks.sort_pairs(v, i, j), w, pairs), stack)


@functools.cache
def weighted_ranks(n):
    w = np.random.default_rng(3).multinomial(n, np.ones(n) / n, size=6).T.astype(np.float32)
    w[:, 0] = 1
    stack = np.stack([draws(kind, n * (n - 1) // 2) for kind in KINDS])
    i, j = (np.asarray(a) for a in pairs_of(n))
    return stack, np.asarray(weigh(stack, w)), w, w[i] * w[j]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", IMAGES)
def test_weighted_ranks_are_those_of_the_expanded_pairs(kind, n):
    stack, got, w, pairs = weighted_ranks(n)
    assert (w == 0).any()
    k = KINDS.index(kind)
    for b in range(w.shape[1]):
        count = pairs[:, b].astype(int)
        expanded = scipy.stats.rankdata(np.repeat(merged(stack[k]), count))
        # copies of a value tie with each other, whether or not values do
        np.testing.assert_array_equal(np.repeat(got[k, :, b], count), expanded)


@pytest.mark.parametrize("n", IMAGES)
def test_weights_of_one_give_average_ranks(n):
    stack, got, w, _ = weighted_ranks(n)
    assert (w[:, 0] == 1).all()
    np.testing.assert_array_equal(got[:, :, 0], [rankdata(v) for v in stack])


def test_weighted_ranks_under_fractions(x64):
    """Halves of everything: the weight below, plus half of the own run, plus one half."""
    n = 20
    stack = np.stack([draws(kind, 190) for kind in ("ties", "distinct")]).astype(np.float64)
    i, j = (np.asarray(a) for a in pairs_of(n))
    w = np.random.default_rng(4).uniform(0.1, 2, size=(n, 2))
    got, pair = weigh(stack, w), w[i] * w[j]
    assert got.dtype == np.float64
    for v, found in zip(stack, got, strict=True):
        below = np.array([[pair[v < u, b].sum() for b in range(2)] for u in v])
        own = np.array([[pair[v == u, b].sum() for b in range(2)] for u in v])
        np.testing.assert_allclose(found, below + (own + 1) / 2, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_order_knows_ties_and_nan(kind):
    v = draws(kind)
    order = sort(v, *pairs_of(9))
    assert order.tied == (np.unique(merged(v)).size < v.size)
    assert not order.undefined
    assert sort(np.where(np.arange(PAIRS) == 3, np.float32(np.nan), v), *pairs_of(9)).undefined


sort = jax.jit(ranks.sort_pairs)
