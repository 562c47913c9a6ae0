"""Every comparator x every behavior: oracle, jit, vmap, embedding, weights, permutation, ties, NaN, gradients."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import oracles as o
import pytest
import scipy.stats

from jaxsim import compare, engine, linalg, measures, protocols, ranks
from jaxsim.compare import concordance, triangles
from jaxsim.linalg import dot
from jaxsim.protocols import ComparatorCapabilities, declared

N, T = 9, 4
NAMES = list(o.COMPARE)
PAIRS = [name for name in NAMES if not name.endswith("centered_cosine")] + ["u_centered_cosine"]
"""Read no pair of an image with itself."""
CENTERED = ["u_centered_cosine", "centered_cosine", "root_centered_cosine"]
RANKED = ["spearman", "rho_a"]
KENDALL = ["kendall_a", "kendall_b"]
COUNTING = ["rho_a", "kendall_a"]
"""Count tied entries too: a map with ties has less than 1 with itself, and a constant one 0 with others."""
every = pytest.mark.parametrize("name", NAMES)
SCORE = 2e-6
"""Largest error of a float32 score."""


def value(name):
    return getattr(compare, name)


def own(name):
    return declared(value(name), ComparatorCapabilities)


@functools.cache
def maps(n=N, ties=True):
    """Related Euclidean distance matrices, so that the biased comparators are positive; rounded, so that values tie."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(n, 3))
    features = [np.concatenate([shared, rng.normal(size=(n, 3))], 1) for _ in range(T)]
    found = np.stack([o.euclidean(x) for x in features])
    return (np.round(found, 1) if ties else found).astype(np.float32)


def scores(name, stack, w=None):
    stack = np.asarray(stack, np.float64)
    return o.compare_maps(stack, o.COMPARE[name], w)


def cross(name, z):
    return own(name).scores(z, None) if own(name).scores else own(name).finish(dot(z, z.T))


@jax.jit
def table(stack):
    """All pairs by embedding and one matrix product, and the first pair by the comparator itself."""
    out = {}
    for name in NAMES:
        z = jax.vmap(value(name).embed)(stack)
        out[name] = cross(name, z), value(name)(stack[0], stack[1])
    return out


@functools.cache
def found(n=N, dtype=np.float32):
    with jax.enable_x64(dtype == np.float64):
        return jax.tree.map(np.asarray, table(maps(n).astype(dtype)))


# Scores. Odd numbers of images are in float32 here, even ones in float64.
SIZES = pytest.mark.parametrize(("n", "dtype", "tolerance"), [(N, np.float32, SCORE), (N + 1, np.float64, 1e-12)])


@every
@SIZES
def test_oracle(name, n, dtype, tolerance):
    got, pair = found(n, dtype)[name]
    assert got.dtype == pair.dtype == dtype
    want = scores(name, maps(n))
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)
    np.testing.assert_allclose(pair, want[0, 1], rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", RANKED)
def test_scores_of_ranks_are_scipys(name):
    a, b = (o.condense(m) for m in maps()[:2])
    want = scipy.stats.spearmanr(a, b).statistic
    if name == "rho_a":
        p = a.size
        want *= 12 * scipy.stats.rankdata(a).std() * scipy.stats.rankdata(b).std() * p / (p**3 - p)
    np.testing.assert_allclose(found()[name][0][0, 1], want, rtol=0, atol=SCORE)


@every
def test_jit_is_eager(name):
    a, b = (jnp.asarray(m) for m in maps()[:2])
    np.testing.assert_allclose(value(name)(a, b), found()[name][0][0, 1], rtol=0, atol=SCORE)


@pytest.mark.slow
@every
def test_jit_is_eager_under_weights(name):
    w = jnp.asarray(weightings().T, jnp.float32)
    got = value(name).weighted(prepared(name, jnp.asarray(maps())), None, w)
    np.testing.assert_allclose(got, weighted()[name], rtol=0, atol=SCORE)


@every
def test_vmap_is_a_loop(name):
    stack = maps()
    got = over_networks(stack, stack[::-1])[name]
    np.testing.assert_allclose(got, np.diag(found()[name][0][:, ::-1]), rtol=0, atol=SCORE)


over_networks = jax.jit(lambda a, b: {name: jax.vmap(value(name))(a, b) for name in NAMES})
one_pair = jax.jit(lambda a, b: {name: value(name)(a, b) for name in NAMES})


@every
def test_a_map_with_itself(name):
    diagonal = np.diag(found()[name][0])
    if name in COUNTING:
        assert (diagonal < 1).all()  # ties
        untied = one_pair(maps(ties=False)[0], maps(ties=False)[0])[name]
        np.testing.assert_allclose(untied, 1, atol=1e-6)
    else:
        np.testing.assert_allclose(diagonal, 1, atol=1e-6)


@every
def test_accuracy_with_many_images(name):
    stack = maps(200, ties=False)[:2].astype(float)
    of = QUICK.get(name, o.COMPARE[name])
    np.testing.assert_allclose(many_images()[name], of(*stack), rtol=0, atol=SCORE)


def scipy_tau(a, b):
    return scipy.stats.kendalltau(o.condense(a), o.condense(b)).statistic


def centered_distances(a, b, centered=False):
    """Whitened comparison, as the cosine of doubly centered distances."""
    a, b = ((m - o.condense(m).mean() * centered) * (1 - np.eye(len(m))) for m in (a, b))
    return o.centered_cosine(a, b)


QUICK = {
    **dict.fromkeys(KENDALL, scipy_tau),
    "whitened_cosine": centered_distances,
    "whitened_pearson": functools.partial(centered_distances, centered=True),
}
"""Oracles without all pairs of entries of the maps, 2e8 for 200 images."""


@functools.cache
def many_images():
    return one_pair(*maps(200, ties=False)[:2])


@every
def test_what_may_be_added_to_a_map(name):
    """A constant or terms a_i + a_j, as the comparator's `invariance` says, and nothing beyond it."""
    a, b = (m.astype(np.float64) for m in maps(ties=False)[:2])
    margins = np.random.default_rng(1).uniform(size=N)
    added = [0.3 * b, np.full((N, N), 0.7), np.add.outer(margins, margins)]  # in the order of `invariance`
    with jax.enable_x64(True):
        plain, *others = (float(one_pair(a + extra, b)[name]) for extra in [0 * a, *added])
    same = [abs(plain - other) < 1e-10 for other in others]
    level = own(name).invariance
    assert same == [False, level >= protocols.CONSTANT, level >= protocols.MARGINS]
    assert level >= protocols.SCALE


@every
def test_scale_of_a_map(name):
    a, b = maps()[:2]
    for scale in (1e-6, 1e6):
        got = one_pair(np.float32(scale) * a, b)[name]
        np.testing.assert_allclose(got, found()[name][0][0, 1], rtol=0, atol=SCORE)


@pytest.mark.parametrize("name", ["pearson", "whitened_pearson", *CENTERED])
def test_a_large_constant_costs_only_the_digits_of_the_map(name):
    a, b = ((m + 1e3).astype(np.float32) for m in maps(200, ties=False)[:2])
    of = QUICK.get(name, o.COMPARE[name])
    np.testing.assert_allclose(one_pair(a, b)[name], of(a.astype(float), b.astype(float)), rtol=0, atol=SCORE)


# Degenerate maps.
@every
def test_a_constant_map_has_no_score(name):
    a, b = maps()[0], np.full((N, N), 0.1, np.float32)
    got, of_zeros = one_pair(a, b)[name], one_pair(a, 0 * b)[name]
    if name in COUNTING:
        np.testing.assert_allclose([got, of_zeros], 0, atol=1e-7)
    else:
        assert np.isnan(got) == (name not in ("cosine", "whitened_cosine"))
        assert np.isnan(of_zeros)


@pytest.mark.parametrize("name", CENTERED)
def test_a_map_of_margins_has_no_score(name):
    a = np.random.default_rng(2).uniform(size=N)
    assert np.isnan(one_pair(maps()[0], np.add.outer(a, a).astype(np.float32))[name])


@every
def test_nan_stays_in_its_network(name):
    stack = maps().copy()
    stack[2, 3, 5] = stack[2, 5, 3] = np.nan
    want = found()[name][0].copy()
    want[2], want[:, 2] = np.nan, np.nan
    np.testing.assert_allclose(table(stack)[name][0], want, rtol=0, atol=SCORE)


# The upper triangle.
@pytest.mark.parametrize("n", range(2, 10))
def test_condensed_is_a_permutation_of_the_upper_triangle(n):
    code = jnp.arange(n * n).reshape(n, n)
    i, j = np.divmod(np.asarray(compare.condensed(code)), n)
    assert (i != j).all()
    assert sorted(zip(np.minimum(i, j), np.maximum(i, j), strict=True)) == list(itertools.combinations(range(n), 2))
    first, second = triangles.pairs_of(n)
    np.testing.assert_array_equal(first, i)
    np.testing.assert_array_equal(second, j)


@pytest.mark.parametrize("n", range(2, 10))
def test_condensed_place(n):
    first, second = triangles.pairs_of(n)
    np.testing.assert_array_equal(compare.condensed_place(first, second, n), np.arange(n * (n - 1) // 2))
    np.testing.assert_array_equal(compare.condensed_place(second, first, n), np.arange(n * (n - 1) // 2))


def test_condensed_keeps_trailing_axes():
    m = np.random.default_rng(3).normal(size=(7, 7, 2))
    got = compare.condensed(jnp.asarray(m))
    for k in range(2):
        np.testing.assert_array_equal(got[:, k], compare.condensed(jnp.asarray(m[..., k])))


@pytest.mark.parametrize("n", [6, 7])
def test_pair_weights(n):
    w = np.random.default_rng(4).uniform(size=(n, 2)).astype(np.float32)
    i, j = triangles.pairs_of(n)
    np.testing.assert_allclose(compare.pair_weights(jnp.asarray(w)), w[np.asarray(i)] * w[np.asarray(j)])
    np.testing.assert_allclose(compare.pair_weights(jnp.asarray(w[:, 0])), w[np.asarray(i), 0] * w[np.asarray(j), 0])


@every
@pytest.mark.parametrize("n", range(4, 10))
def test_permuted_is_the_place_of_permuted_pairs(name, n):
    order = np.random.default_rng(n).permutation(n)
    assert not np.array_equal(order, np.arange(n))
    i, j = np.indices((n, n))
    code = jnp.asarray(np.minimum(i, j) * n + np.maximum(i, j))
    read = jnp.ravel if "centered_cosine" in name and name != "u_centered_cosine" else compare.condensed
    index = np.asarray(value(name).permuted(jnp.asarray(order)))
    assert sorted(index) == list(range(index.size))
    np.testing.assert_array_equal(read(code)[index], read(code[order][:, order]))


@functools.cache
def embedded(n):
    order = np.random.default_rng(n).permutation(n)

    @jax.jit
    def run(m, order):
        again = m[order][:, order]
        return {k: (value(k).embed(m)[value(k).permuted(order)], value(k).embed(again)) for k in NAMES}

    return run(maps(n)[0], order)


@every
@pytest.mark.parametrize("n", [N, N + 1])
def test_permuted_is_the_embedding_of_permuted_images(name, n):
    got, want = embedded(n)[name]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


# Weights of the images.
def weightings(n=N):
    rng = np.random.default_rng(5)
    counts = rng.multinomial(n, np.ones(n) / n, size=3).astype(float)
    kept = np.ones((1, n))
    kept[0, [1, 6]] = 0
    return np.concatenate([np.ones((1, n)), kept, counts, rng.uniform(0.2, 2, size=(2, n))])


KIND = ["ones", "subset", "counts", "counts", "counts", "fractions", "fractions"]


def prepared(name, stack):
    return jax.vmap(own(name).prepare or own(name).embed)(stack)


# sums that are not vectorized lose digits that users' programs keep; they show where four images have weight
@functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 3})
def all_weighted(stack, w):
    return {name: value(name).weighted(prepared(name, stack), None, w) for name in NAMES}


@jax.jit
def cross_weighted(x, y, w):
    out = {}
    for name in NAMES:
        out[name] = value(name).weighted(prepared(name, x), prepared(name, y), w)
    return out


@functools.cache
def weighted(n=N, dtype=np.float32):
    with jax.enable_x64(dtype == np.float64):
        return jax.tree.map(np.asarray, all_weighted(maps(n).astype(dtype), weightings(n).T.astype(dtype)))


@functools.cache
def crossed():
    return cross_weighted(maps()[:3], maps()[1:], weightings().T.astype(np.float32))


@every
@pytest.mark.parametrize(("n", "dtype", "tolerance"), [(N, np.float32, 5 * SCORE), (N + 1, np.float64, 1e-10)])
def test_weighted_oracle(name, n, dtype, tolerance):
    got = weighted(n, dtype)[name]
    assert got.dtype == dtype
    for b, w in enumerate(weightings(n).astype(dtype).astype(float)):
        np.testing.assert_allclose(got[b], scores(name, maps(n), w), rtol=0, atol=tolerance)


@every
def test_weighted_of_two_sets_is_a_block_of_one(name):
    np.testing.assert_allclose(crossed()[name], weighted()[name][:, :3, 1:], rtol=0, atol=SCORE)


def test_an_image_that_is_half_of_the_sample_has_margins_too():
    """The closed form divides by W - 2 w_i; at zero the least-squares fit is as good as anywhere."""
    w = weightings()
    w[:2] = [4, 1, 1, 1, 1, 0, 0, 0, 0], [4.001, 1, 1, 1, 1, 0, 0, 0, 0]
    got = all_weighted(maps(), w.T.astype(np.float32))["u_centered_cosine"]
    for b in range(2):
        np.testing.assert_allclose(got[b], scores("u_centered_cosine", maps(), w[b]), rtol=0, atol=1e-4)


@every
def test_weights_of_one_give_the_plain_score(name):
    np.testing.assert_allclose(weighted()[name][0], found()[name][0], rtol=0, atol=2 * SCORE)


@every
@pytest.mark.parametrize("b", [1])
def test_weights_of_zero_and_one_are_a_subset(name, b):
    keep = np.flatnonzero(weightings()[b])
    assert keep.size == N - 2
    want = scores(name, maps()[:, keep][:, :, keep])
    np.testing.assert_allclose(weighted()[name][b], want, rtol=0, atol=5 * SCORE)


@pytest.mark.parametrize("name", list(o.VECTOR_COMPARE))
@pytest.mark.parametrize("b", [2, 3, 4])
def test_counts_are_copies_of_images_without_pairs_of_copies(name, b):
    """As rsatoolbox resamples: index, then drop the pairs of an image with itself."""
    index = o.index_of(weightings()[b].astype(int))
    want = o.bootstrap(maps(), [index], o.VECTOR_COMPARE[name])[0]
    np.testing.assert_allclose(weighted()[name][b], want, rtol=0, atol=5 * SCORE)


@pytest.mark.parametrize("name", ["centered_cosine", "root_centered_cosine"])
@pytest.mark.parametrize("b", [2, 3, 4])
def test_counts_are_copies_of_images_pairs_of_copies_included(name, b):
    index = o.index_of(weightings()[b].astype(int))
    want = scores(name, maps()[:, index][:, :, index])
    np.testing.assert_allclose(weighted()[name][b], want, rtol=0, atol=5 * SCORE)


@every
def test_scale_of_the_weights(name):
    """Twice all weights is the same sample, but for numbers of tied pairs, and copies that are images of their own."""
    if name in COUNTING or name.startswith("whitened"):
        pytest.skip("counts images")
    with jax.enable_x64(True):
        got = all_weighted(maps(N + 1).astype(np.float64), 4 * weightings(N + 1).T)[name]
    np.testing.assert_allclose(got[5:], weighted(N + 1, np.float64)[name][5:], rtol=0, atol=1e-10)


@every
def test_nan_stays_in_its_network_under_weights(name):
    stack = maps().copy()
    stack[2, 3, 5] = stack[2, 5, 3] = np.nan
    got = all_weighted(stack, weightings().T.astype(np.float32))[name]
    want = weighted()[name].copy()
    want[:, 2], want[:, :, 2] = np.nan, np.nan
    np.testing.assert_allclose(got, want, rtol=0, atol=SCORE)


@pytest.mark.parametrize("blocks", [1, 3])
def test_pair_moments_over_blocks(blocks):
    rng = np.random.default_rng(6)
    p = 1024 * (blocks - 1) + 100
    x, y, w = rng.normal(size=(3, p)), rng.normal(size=(2, p)), rng.uniform(size=(p, 5))
    x, y, w = (a.astype(np.float32) for a in (x, y, w))
    got = jax.jit(compare.pair_moments)(x, y, w).reshape(3, 2, 5)
    want = np.einsum("sp,tp,pb->stb", *(a.astype(float) for a in (x, y, w)))
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * p)


# Sums of many equal terms: a running sum of k of them drifts by up to k eps.
@functools.cache
def long_sums():
    """Products of three rows of 2^21 + 5 entries of one magnitude each, by every accumulator."""
    k = 2**21 + 5
    rows = np.float32([[1 / 3], [0.7], [1.1]]) * np.where(np.arange(k) % 10 == 0, -1, 1).astype(np.float32)
    exact = rows.astype(float)
    return rows, exact @ exact.T


def relative(got, want):
    return np.max(np.abs(np.asarray(got, float) - want) / np.abs(want))


def test_long_products_do_not_drift():
    rows, want = long_sums()
    assert relative(jax.jit(linalg.long_dot)(rows, rows), want) < 1e-6
    assert relative(jax.jit(linalg.sum_of_squares)(rows[0]), want[0, 0]) < 1e-6
    moments = jax.jit(compare.pair_moments)(rows, None, np.ones((rows.shape[1], 1), np.float32))[:, 0]
    assert relative(moments, want[np.triu_indices(3)]) < 1e-6
    assert relative(jax.jit(lambda v: jnp.mean(v * v))(rows[1]), want[1, 1] / rows.shape[1]) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["copies", "classes", "outlier", "gauss"])
def test_every_measure_holds_its_accuracy_with_many_images(pattern):
    """The oracles' ranks do not know which distances are equal, so that RSA sees maps without ties here."""
    n, rng = 1000, np.random.default_rng(0)
    x = {
        "copies": lambda: rng.normal(size=(5, 8))[np.arange(n) % 5],
        "classes": lambda: np.eye(4)[rng.integers(4, size=n)],
        "outlier": lambda: rng.normal(size=(n, 8)) * np.where(np.arange(n) == n // 2, 100, 1)[:, None],
        "gauss": lambda: rng.normal(size=(n, 8)),
    }[pattern]
    features = [x().astype(np.float32) for _ in range(3)]
    named = dict(measures.NAMED)
    if pattern in ("copies", "classes"):
        named = {name: m for name, m in named.items() if m.compare != compare.spearman}
    for name, measure in named.items():
        theirs = getattr(o, name.upper().replace("-", "_"))
        got = np.asarray(engine.affinity(features, measure).values)
        maps = [theirs.map(one.astype(float)) for one in features]
        want = [[theirs.compare(a, b) for b in maps] for a in maps]
        np.testing.assert_allclose(got, want, rtol=0, atol=SCORE, err_msg=name)


@pytest.mark.parametrize(("s", "t", "k"), [(1, 1, 3), (3, 2, 64), (2, 2, 10_001), (40, 30_000, 300)])
def test_long_products_of_any_shape(s, t, k):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(m, k)).astype(np.float32) for m in (s, t))
    np.testing.assert_allclose(linalg.long_dot(a, b), a.astype(float) @ b.T.astype(float), rtol=0, atol=2e-6 * k)
    np.testing.assert_array_equal(linalg.long_gram(a), linalg.long_dot(a, a))


def test_compensated_sums_keep_what_an_addition_rounds_off():
    tenth = np.float32(0.1)
    got = linalg.compensated_sum(lambda _: tenth, jnp.arange(100_000), jnp.float32(1e4))
    assert float(got) == np.float32(1e4 + 1e5 * float(tenth))


def test_rounding_below_zero_is_zero_under_the_root():
    got = np.asarray(compare.root_centered_cosine.finish(jnp.float32([-3e-9, 0, 0.25, -0.1])))
    np.testing.assert_array_equal(got, [0, 0, 0.5, np.nan])


def test_kendall_refuses_more_pairs_than_float32_ranks():
    n = 4098
    with pytest.raises(ValueError, match=f"in float32 ranks at most 8388608 pairs of images, not {n * (n - 1) // 2}"):
        jax.eval_shape(compare.kendall_a, *[jax.ShapeDtypeStruct((n, n), np.float32)] * 2)


@pytest.mark.parametrize("n", [2, 3, 17, 1000])
@pytest.mark.parametrize("levels", [(0, 0), (0, 3), (3, 0), (2, 5), (1, 2)])
def test_concordance_is_scipys(n, levels):
    """Of values with no ties (0) or with that many levels, with and without counts."""
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(2, n)).astype(np.float32)
    x, y = (rng.integers(k, size=n).astype(np.float32) if k else v for v, k in zip((x, y + x), levels, strict=True))
    counts = rng.integers(4, size=n)
    a, b, weighted = concordances(x, y, counts[:, None].astype(np.float32))
    for found, index in ((a, np.arange(n)), (weighted[0], np.repeat(np.arange(n), counts))):
        d = (np.sign(v[index][:, None] - v[index]) for v in (x, y))
        np.testing.assert_allclose(found, np.sum(next(d) * next(d)) / 2, rtol=2e-6, atol=1e-6 * n * n)
    np.testing.assert_array_equal(a, b)


@jax.jit
def concordances(x, y, counts):
    a, b = (concordance.ranking(ranks.average(v)) for v in (x, y))
    return concordance.concordance(a, b), concordance.concordance(b, a), concordance.concordance(a, b, counts)


# Gradients.
@functools.cache
def slopes():
    with jax.enable_x64(True):
        a, b = maps(ties=False)[:2].astype(np.float64)
        run = jax.jit(lambda a, b: {name: jax.grad(value(name))(a, b) for name in NAMES})
        return jax.tree.map(np.asarray, run(a, b))


@every
def test_gradient_is_the_difference_quotient(name):
    a, b = maps(ties=False)[:2].astype(np.float64)
    got = slopes()[name]
    assert np.isfinite(got).all()
    if name in (*RANKED, *KENDALL):
        assert (got == 0).all()  # ranks are flat
        return
    for i, j in [(0, 1), (2, 7), (5, 8)]:
        step = np.zeros((N, N))
        step[i, j] = step[j, i] = 1e-6
        slope = (o.COMPARE[name](a + step, b) - o.COMPARE[name](a - step, b)) / 2e-6
        np.testing.assert_allclose(got[i, j] + got[j, i], slope, rtol=1e-5, atol=1e-8)


@every
def test_needs_as_many_images_as_it_says(name):
    """Scores of random maps of that many images are defined, and not the same for every pair of maps."""
    n = value(name).min_images
    rng = np.random.default_rng(7)
    a, *others = (o.euclidean(rng.normal(size=(n, 3))).astype(np.float32) for _ in range(6))
    got = np.array([one_pair(a, b)[name] for b in others])
    assert np.isfinite(got).all()
    assert np.ptp(got) > 1e-3
