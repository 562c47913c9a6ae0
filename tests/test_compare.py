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
OF_A_CLASS = [
    "pearson",
    "spearman",
    "kendall_b",
    "cosine",
    "whitened_pearson",
    "u_centered_cosine",
    "root_centered_cosine",
]
"""One comparator of each class, for what flags do not change."""
each_class = pytest.mark.parametrize("name", OF_A_CLASS)
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


def names_for(stack):
    return NAMES if stack.dtype == np.float32 and stack.shape[1] == N else OF_A_CLASS


@every
@pytest.mark.parametrize("dtype", [bool, jnp.uint8, jnp.int32])
def test_maps_of_whole_numbers_are_refused(name, dtype):
    m = jax.ShapeDtypeStruct((N, N), dtype)
    with pytest.raises(TypeError, match="need float"):
        jax.eval_shape(value(name), m, m)


@pytest.mark.parametrize("name", RANKED + KENDALL)
def test_half_precision_has_no_ranks(name):
    m = jax.ShapeDtypeStruct((N, N), jnp.float16)
    with pytest.raises(TypeError, match="need float32 or float64, not float16"):
        jax.eval_shape(value(name), m, m)


@jax.jit
def table(stack):
    """All pairs by embedding and one matrix product, and the embeddings."""
    embedded = {name: jax.vmap(value(name).embed)(stack) for name in names_for(stack)}
    return {name: (cross(name, z), z) for name, z in embedded.items()}


@functools.cache
def found(n=N, dtype=np.float32):
    with jax.enable_x64(dtype == np.float64):
        return jax.tree.map(np.asarray, table(maps(n).astype(dtype)))


def of_pair(a, b, name):
    """The score of two maps by the program that compares four."""
    return table(np.stack([a, b, b, b]))[name][0][0, 1]


# Scores. Odd numbers of images are in float32 here, even ones in float64.
SIZES = pytest.mark.parametrize(
    ("name", "n", "dtype", "tolerance"),
    [(name, N, np.float32, SCORE) for name in NAMES]
    + [pytest.param(name, N + 1, np.float64, 1e-12, marks=pytest.mark.slow) for name in OF_A_CLASS],
)


@SIZES
def test_oracle(name, n, dtype, tolerance):
    got = found(n, dtype)[name][0]
    assert got.dtype == dtype
    np.testing.assert_allclose(got, scores(name, maps(n)), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", RANKED)
def test_scores_of_ranks_are_scipys(name):
    a, b = (o.condense(m) for m in maps()[:2])
    want = scipy.stats.spearmanr(a, b).statistic
    if name == "rho_a":
        p = a.size
        want *= 12 * scipy.stats.rankdata(a).std() * scipy.stats.rankdata(b).std() * p / (p**3 - p)
    np.testing.assert_allclose(found()[name][0][0, 1], want, rtol=0, atol=SCORE)


def test_jit_is_eager():
    """Examples in docstrings are eager too."""
    a, b = (jnp.asarray(m) for m in maps()[:2])
    got = compare.root_centered_cosine(a, b)
    np.testing.assert_allclose(got, found()["root_centered_cosine"][0][0, 1], rtol=0, atol=SCORE)


@pytest.mark.slow
@every
def test_jit_is_eager_under_weights(name):
    w = jnp.asarray(weightings().T, jnp.float32)
    prepare = jax.vmap(own(name).prepare or own(name).embed)
    got = value(name).weighted(prepare(jnp.asarray(maps())), None, w)
    np.testing.assert_allclose(got, weighted()[name], rtol=0, atol=SCORE)


@every
def test_a_map_with_itself(name):
    diagonal = np.diag(found()[name][0])
    if name in COUNTING:
        assert (diagonal < 1).all()  # ties
        untied = of_pair(*maps(ties=False)[[0, 0]], name)
        np.testing.assert_allclose(untied, 1, atol=1e-6)
    else:
        np.testing.assert_allclose(diagonal, 1, atol=1e-6)


@pytest.mark.slow
@each_class
def test_accuracy_with_many_images(name):
    stack = maps(200, ties=False)[:2].astype(float)
    of = QUICK.get(name, o.COMPARE[name])
    np.testing.assert_allclose(many_images(0)[name], of(*stack), rtol=0, atol=SCORE)


def scipy_tau(a, b):
    return scipy.stats.kendalltau(o.condense(a), o.condense(b)).statistic


def whitened_pearson(a, b):
    """The cosine of doubly centered distances."""
    return o.centered_cosine(*((m - o.condense(m).mean()) * (1 - np.eye(len(m))) for m in (a, b)))


QUICK = {"kendall_b": scipy_tau, "whitened_pearson": whitened_pearson}
"""Oracles without all pairs of entries of the maps, 2e8 for 200 images."""


@functools.cache
def many_images(constant):
    found = table(maps(200, ties=False)[:2] + np.float32(constant))
    return {name: np.asarray(score[0, 1]) for name, (score, _) in found.items()}


@functools.cache
def with_additions():
    """Scores and slopes of two maps, of the first as it is, and with terms in the order of `invariance`."""
    a, b = maps(ties=False)[:2].astype(np.float64)
    margins = np.random.default_rng(1).uniform(size=N)
    added = [0 * b, 0.3 * b, np.full((N, N), 0.7), np.add.outer(margins, margins)]
    run = jax.jit(lambda a, b: {name: jax.value_and_grad(value(name))(a, b) for name in NAMES})
    with jax.enable_x64(True):
        return [jax.tree.map(np.asarray, run(a + extra, b)) for extra in added]


@pytest.mark.slow
@every
def test_what_may_be_added_to_a_map(name):
    """A constant or terms a_i + a_j, as the comparator's `invariance` says, and nothing beyond it."""
    plain, *others = (float(found[name][0]) for found in with_additions())
    same = [abs(plain - other) < 1e-10 for other in others]
    level = own(name).invariance
    assert same == [False, level >= protocols.CONSTANT, level >= protocols.MARGINS]
    assert level >= protocols.SCALE


@every
def test_scale_of_a_map(name):
    a, b = maps()[:2]
    for scale in (1e-6, 1e6):
        got = of_pair(np.float32(scale) * a, b, name)
        np.testing.assert_allclose(got, found()[name][0][0, 1], rtol=0, atol=SCORE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pearson", "whitened_pearson", "u_centered_cosine", "root_centered_cosine"])
def test_a_large_constant_costs_only_the_digits_of_the_map(name):
    a, b = ((m + 1e3).astype(np.float32) for m in maps(200, ties=False)[:2])
    of = QUICK.get(name, o.COMPARE[name])
    np.testing.assert_allclose(many_images(1e3)[name], of(a.astype(float), b.astype(float)), rtol=0, atol=SCORE)


# Degenerate maps.
@every
def test_a_constant_map_has_no_score(name):
    a, b = maps()[0], np.full((N, N), 0.1, np.float32)
    got, of_zeros = of_pair(a, b, name), of_pair(a, 0 * b, name)
    if name in COUNTING:
        np.testing.assert_allclose([got, of_zeros], 0, atol=1e-7)
    else:
        assert np.isnan(got) == (name not in ("cosine", "whitened_cosine"))
        assert np.isnan(of_zeros)


@pytest.mark.parametrize("name", CENTERED)
def test_a_map_of_margins_has_no_score(name):
    a = np.random.default_rng(2).uniform(size=N)
    assert np.isnan(of_pair(maps()[0], np.add.outer(a, a).astype(np.float32), name))


@every
def test_nan_stays_in_its_network(name):
    stack = maps().copy()
    stack[2, 3, 5] = stack[2, 5, 3] = np.nan
    want = found()[name][0].copy()
    want[2], want[:, 2] = np.nan, np.nan
    np.testing.assert_allclose(table(stack)[name][0], want, rtol=0, atol=SCORE)


# The upper triangle.
@functools.cache
def triangle(n):
    """The order of pairs, and the places of pairs and of mirrored pairs in it."""

    @jax.jit
    def run():
        first, second = triangles.pairs_of(n)
        places = [compare.condensed_place(*pair, n) for pair in ((first, second), (second, first))]
        return compare.condensed(jnp.arange(n * n).reshape(n, n)), first, second, places

    return jax.tree.map(np.asarray, run())


@pytest.mark.parametrize("n", range(2, 10))
def test_condensed_is_a_permutation_of_the_upper_triangle(n):
    code, first, second, places = triangle(n)
    i, j = np.divmod(code, n)
    assert (i != j).all()
    assert sorted(zip(np.minimum(i, j), np.maximum(i, j), strict=True)) == list(itertools.combinations(range(n), 2))
    np.testing.assert_array_equal(first, i)
    np.testing.assert_array_equal(second, j)
    for place in places:
        np.testing.assert_array_equal(place, np.arange(n * (n - 1) // 2))


def test_condensed_keeps_trailing_axes():
    m = np.random.default_rng(3).normal(size=(7, 7, 2))
    got = jax.jit(compare.condensed)(m)
    code = triangle(7)[0]
    np.testing.assert_array_equal(got, m.astype(np.float32).reshape(49, 2)[code])


@pytest.mark.parametrize("n", [6, 7])
def test_pair_weights(n):
    w = np.random.default_rng(4).uniform(size=(n, 2)).astype(np.float32)
    _, i, j, _ = triangle(n)
    run = jax.jit(compare.pair_weights)
    np.testing.assert_allclose(run(w), w[i] * w[j])
    np.testing.assert_allclose(run(w[:, 0]), w[i, 0] * w[j, 0])


@functools.cache
def permutation(n):
    """An order of n images, and the index that it is for embeddings, by comparator."""
    order = np.random.default_rng(n).permutation(n)
    assert not np.array_equal(order, np.arange(n))
    index = jax.jit(lambda order: {name: value(name).permuted(order) for name in NAMES})(order)
    return order, jax.tree.map(np.asarray, index)


@every
@pytest.mark.parametrize("n", range(4, 10))
def test_permuted_is_the_place_of_permuted_pairs(name, n):
    order, index = permutation(n)
    i, j = np.indices((n, n))
    code = np.minimum(i, j) * n + np.maximum(i, j)
    read = slice(None) if "centered_cosine" in name and name != "u_centered_cosine" else triangle(n)[0]
    assert sorted(index[name]) == list(range(index[name].size))
    np.testing.assert_array_equal(code.ravel()[read][index[name]], code[order][:, order].ravel()[read])


@SIZES
def test_permuted_is_the_embedding_of_permuted_images(name, n, dtype, tolerance):
    order, index = permutation(n)
    with jax.enable_x64(dtype == np.float64):
        got = table(maps(n)[:, order][:, :, order].astype(dtype))[name][1]
    np.testing.assert_allclose(got, found(n, dtype)[name][1][:, index[name]], rtol=0, atol=tolerance)


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


@jax.jit
def all_weighted(x, y, w):
    """Scores of one set of maps, for y None, or of two."""
    prepare = {name: jax.vmap(own(name).prepare or own(name).embed) for name in names_for(x)}
    return {name: value(name).weighted(of(x), None if y is None else of(y), w) for name, of in prepare.items()}


@functools.cache
def weighted():
    return jax.tree.map(np.asarray, all_weighted(maps(), None, weightings().T.astype(np.float32)))


@functools.cache
def crossed(factor=1):
    """In float64, of two sets."""
    stack = maps(N + 1).astype(np.float64)
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, all_weighted(stack[:3], stack[1:], factor * weightings(N + 1).T))


@every
def test_weighted_oracle(name):
    assert weighted()[name].dtype == np.float32
    for got, w in zip(weighted()[name], weightings().astype(np.float32), strict=True):
        np.testing.assert_allclose(got, scores(name, maps(), w.astype(float)), rtol=0, atol=5 * SCORE)


@pytest.mark.slow
@each_class
def test_weighted_oracle_of_two_sets(name):
    assert crossed()[name].dtype == np.float64
    for got, w in zip(crossed()[name], weightings(N + 1), strict=True):
        np.testing.assert_allclose(got, scores(name, maps(N + 1), w)[:3, 1:], rtol=0, atol=1e-10)


def test_an_image_that_is_half_of_the_sample_has_margins_too():
    """The closed form divides by W - 2 w_i; at zero the least-squares fit is as good as anywhere."""
    w = weightings()
    w[:2] = [4, 1, 1, 1, 1, 0, 0, 0, 0], [4.001, 1, 1, 1, 1, 0, 0, 0, 0]
    got = all_weighted(maps(), None, w.T.astype(np.float32))["u_centered_cosine"]
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


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OF_A_CLASS if not name.startswith("whitened")])
def test_scale_of_the_weights(name):
    """Four times all weights is the same sample, but for numbers of tied pairs, and copies as images of their own."""
    np.testing.assert_allclose(crossed(4)[name][5:], crossed()[name][5:], rtol=0, atol=1e-10)


@every
def test_nan_stays_in_its_network_under_weights(name):
    stack = maps().copy()
    stack[2, 3, 5] = stack[2, 5, 3] = np.nan
    got = all_weighted(stack, None, weightings().T.astype(np.float32))[name]
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
        "classes": lambda: np.eye(8)[rng.integers(8, size=n)],
        "outlier": lambda: rng.normal(size=(n, 8)) * np.where(np.arange(n) == n // 2, 100, 1)[:, None],
        "gauss": lambda: rng.normal(size=(n, 8)),
    }[pattern]
    features = [x().astype(np.float32) for _ in range(2)]
    named = dict(measures.NAMED)
    if pattern in ("copies", "classes"):
        named = {name: m for name, m in named.items() if m.compare != compare.spearman}
    for name, measure in named.items():
        theirs = getattr(o, name.upper().replace("-", "_"))
        got = np.asarray(engine.affinity(features, measure).values)
        maps = [theirs.map(one.astype(float)) for one in features]
        want = [theirs.compare(maps[i], maps[j]) for i, j in ((0, 0), (0, 1), (1, 1))]
        np.testing.assert_allclose(got[[0, 0, 1], [0, 1, 1]], want, rtol=0, atol=SCORE, err_msg=name)


@pytest.mark.parametrize(("s", "t", "k"), [(1, 1, 3), (3, 2, 64), (2, 2, 10_001), (40, 30_000, 300)])
def test_long_products_of_any_shape(s, t, k):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(m, k)).astype(np.float32) for m in (s, t))
    of_two, of_one, gram = jax.jit(lambda a, b: (linalg.long_dot(a, b), linalg.long_dot(a, a), linalg.long_gram(a)))(
        a, b
    )
    np.testing.assert_allclose(of_two, a.astype(float) @ b.T.astype(float), rtol=0, atol=2e-6 * k)
    np.testing.assert_array_equal(gram, of_one)


@pytest.mark.parametrize(("s", "t"), [(600, 530), (3, 600)])
def test_long_products_of_many_rows(s, t):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(m, 100), scale=0.1).astype(np.float32) for m in (s, t))
    of_two, of_one = jax.jit(lambda a, b: (linalg.long_dot(a, b), linalg.long_dot(b, b)))(a, b)
    np.testing.assert_allclose(of_two, a.astype(float) @ b.T.astype(float), rtol=0, atol=5e-7)
    np.testing.assert_allclose(of_one, b.astype(float) @ b.T.astype(float), rtol=0, atol=5e-7)
    np.testing.assert_array_equal(of_one, of_one.T)


@pytest.mark.parametrize("columns", [(), (2,)])
@pytest.mark.parametrize("n", [1, linalg.RUN, linalg.RUN + 1, linalg.RUN**2 + 1])
def test_cumulative_sums_and_maxima_are_numpys(n, columns):
    x = np.random.default_rng(n).integers(-50, 50, (n, *columns)).astype(np.int32)
    lowest = np.iinfo(np.int32).min
    sums, largest = jax.jit(
        lambda x: [linalg.cumulative(f, x, at) for f, at in ((jax.lax.add, 0), (jax.lax.max, lowest))]
    )(x)
    np.testing.assert_array_equal(sums, np.cumsum(x, 0))
    np.testing.assert_array_equal(largest, np.maximum.accumulate(x))


def test_compensated_sums_keep_what_an_addition_rounds_off():
    tenth = np.float32(0.1)
    got = jax.jit(lambda: linalg.compensated_sum(lambda _: tenth, jnp.arange(100_000), jnp.float32(1e4)))()
    assert float(got) == np.float32(1e4 + 1e5 * float(tenth))


def test_rounding_below_zero_is_zero_under_the_root():
    got = jax.jit(compare.root_centered_cosine.finish)(np.float32([-3e-9, 0, 0.25, -0.1]))
    np.testing.assert_array_equal(got, [0, 0, 0.5, np.nan])


def test_kendall_refuses_more_pairs_than_float32_ranks():
    n = 4098
    with pytest.raises(ValueError, match=f"in float32 ranks at most 8388608 pairs of images, not {n * (n - 1) // 2}"):
        jax.eval_shape(compare.kendall_a, *[jax.ShapeDtypeStruct((n, n), np.float32)] * 2)


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 1000])
@pytest.mark.parametrize("levels", [(0, 0), (0, 3), (3, 0), (2, 5), (1, 2)])
def test_concordance_is_scipys(n, levels):
    """Of values with no ties (0) or with that many levels, with and without counts."""
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(2, n)).astype(np.float32)
    x, y = (rng.integers(k, size=n).astype(np.float32) if k else v for v, k in zip((x, y + x), levels, strict=True))
    counts = rng.integers(4, size=n)
    (a, weighted), (b, _) = (concordances(*pair, counts[:, None].astype(np.float32)) for pair in ((x, y), (y, x)))
    for found, index in ((a, np.arange(n)), (weighted[0], np.repeat(np.arange(n), counts))):
        d = (np.sign(v[index][:, None] - v[index]) for v in (x, y))
        np.testing.assert_allclose(found, np.sum(next(d) * next(d)) / 2, rtol=2e-6, atol=1e-6 * n * n)
    np.testing.assert_array_equal(a, b)


@jax.jit
def concordances(x, y, counts):
    a, b = (concordance.ranking(ranks.average(v)) for v in (x, y))
    return concordance.concordance(a, b), concordance.concordance(a, b, counts)


# Gradients.
@pytest.mark.slow
@every
def test_gradient_is_the_difference_quotient(name):
    a, b = maps(ties=False)[:2].astype(np.float64)
    got = with_additions()[0][name][1]
    assert np.isfinite(got).all()
    if name in (*RANKED, *KENDALL):
        assert (got == 0).all()  # ranks are flat
        return
    for i, j in [(0, 1), (2, 7), (5, 8)]:
        step = np.zeros((N, N))
        step[i, j] = step[j, i] = 1e-6
        slope = (o.COMPARE[name](a + step, b) - o.COMPARE[name](a - step, b)) / 2e-6
        np.testing.assert_allclose(got[i, j] + got[j, i], slope, rtol=1e-5, atol=1e-8)


@jax.jit
def against(a, others):
    """Scores of one map with others of as few images, by the comparators that need no more."""
    names = [name for name in OF_A_CLASS if value(name).min_images == len(a)]
    return {name: jax.vmap(value(name), (None, 0))(a, others) for name in names}


@pytest.mark.slow
@each_class
def test_needs_as_many_images_as_it_says(name):
    """Scores of random maps of that many images are the oracle's, and not the same for every pair of maps."""
    n = value(name).min_images
    rng = np.random.default_rng(7)
    a, *others = (o.euclidean(rng.normal(size=(n, 3))).astype(np.float32) for _ in range(6))
    got = np.asarray(against(a, np.stack(others))[name])
    want = [o.COMPARE[name](*(m.astype(float) for m in (a, b))) for b in others]
    np.testing.assert_allclose(got, want, rtol=0, atol=SCORE)
    assert np.ptp(got) > 1e-3
