"""Measures as values: oracles, names, gradients, and the identities between RSA, CKA, DDS and their relatives."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import oracles as o
import pytest
from marks import slow_but

import jaxsim as js
from jaxsim import centering, compare, measures, pairwise, transforms

N = 12
NAMED = list(measures.NAMED)
every = pytest.mark.parametrize("name", NAMED)
DIRECT = ["rsa", "cka-linear", "cka-rbf", "dds-laplacian", "dds-cosine", "rv", "distance-correlation", "cca", "svcca"]
"""Every part of a measure in one of these, which are called without the engine too."""
direct = pytest.mark.parametrize("name", DIRECT)
SCORE = 2e-6
"""Largest error of a float32 score."""
ORACLES = {
    "rsa": o.RSA,
    "rsa-uncentered": o.RSA_UNCENTERED,
    "cka-linear": o.CKA_LINEAR,
    "cka-rbf": o.CKA_RBF,
    "cka-linear-biased": o.CKA_LINEAR_BIASED,
    "cka-rbf-biased": o.CKA_RBF_BIASED,
    "dds-laplacian": o.DDS_LAPLACIAN,
    "dds-cosine": o.DDS_COSINE,
    "rv": o.RV,
    "distance-correlation": o.DISTANCE_CORRELATION,
    "distance-correlation-unbiased": o.DISTANCE_CORRELATION_UNBIASED,
    "cca": o.CCA,
    "cca-squared": o.CCA_SQUARED,
    "svcca": o.SVCCA,
}
CELLS = list(itertools.product(o.TRANSFORMS, o.PAIRWISE))


def features(n=N, seed=0, other=(2, 3, 4)):
    """Two networks that share something, the second of shape `other`, both with positions."""
    rng = np.random.default_rng(seed)
    shared, wide = rng.normal(size=(n, 24)), int(np.prod(other))
    x = (shared + 0.7 * rng.normal(size=(n, 24))) * rng.uniform(0.5, 2, 24) + rng.normal(size=24)
    y = shared @ rng.normal(size=(24, wide)) / 5 + rng.normal(size=(n, wide)) + 1
    return x.astype(np.float32).reshape(n, 2, 3, 4), y.astype(np.float32).reshape(n, *other)


UNEQUAL = functools.partial(features, other=(5, 6))


@jax.jit
def cells(x, y):
    """Every cell of the table; maps of one distance or kernel, and all comparisons, are taken as stacks."""
    both = jnp.stack([x, y])
    names = [t for t in o.TRANSFORMS if t != "mean_pool"]  # the others have one width
    wide = jnp.stack([jax.vmap(getattr(transforms, t))(both) for t in names])
    pooled = jax.vmap(transforms.mean_pool)(both)[None]
    found = {}
    for f in o.PAIRWISE:
        kernel = jax.vmap(jax.vmap(getattr(pairwise, f)))
        for t, m in zip([*names, "mean_pool"], jnp.concatenate([kernel(wide), kernel(pooled)]), strict=True):
            found[t, f] = m
    a, b = (jnp.stack([m[k] for m in found.values()]) for k in (0, 1))
    return dict(zip(found, jax.vmap(compare.u_centered_cosine)(a, b), strict=True))


def each(function):
    """Program of all of these measures."""
    return jax.jit(lambda x, y: {name: function(measures.NAMED[name])(x, y) for name in DIRECT})


named = each(jax.vmap)


@functools.cache
def scores():
    """Of two networks both ways, of one with itself, and of one with a NaN, in one call."""
    x, y = features()
    broken = x.copy()
    broken[3, 0, 1, 2] = np.nan
    pairs = (x, y), (y, x), (x, x), (broken, y), (y, broken)
    return jax.tree.map(np.asarray, named(*map(np.stack, zip(*pairs, strict=True))))


def awkward():
    """Identical images, constant features, and features of mean 100."""
    x, y = features()
    x = x.copy()
    x[5], x[:, 0, 1, 2], x[..., 3] = x[2], 0.7, x[..., 3] + 100
    return x, y


@functools.cache
def in_float64():
    """Scores and slopes at ordinary features, at awkward ones, and of an awkward network with itself."""
    run = each(jax.value_and_grad)
    pairs = features(), awkward(), awkward()[:1] * 2
    with jax.enable_x64(True):
        return [jax.tree.map(np.asarray, run(*(a.astype(np.float64) for a in both))) for both in pairs]


@functools.cache
def table():
    return jax.tree.map(np.asarray, cells(*features(200)))


@direct
def test_oracle(name):
    got, (x, y) = scores()[name][0], features()
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, ORACLES[name](x.astype(float), y.astype(float)), rtol=0, atol=SCORE)


@pytest.mark.slow
@direct
def test_oracle_of_many_images_and_unequal_widths(name):
    x, y = UNEQUAL(200)
    got = of_unequal_widths()[name][0]
    np.testing.assert_allclose(got, ORACLES[name](x.astype(float), y.astype(float)), rtol=0, atol=SCORE)


@functools.cache
def of_unequal_widths():
    return named(*(a[None] for a in UNEQUAL(200)))


@pytest.mark.slow
@direct
def test_oracle_in_float64(name):
    for found, both in zip(in_float64(), (features(), awkward()), strict=False):
        assert found[name][0].dtype == np.float64
        want = ORACLES[name](*(a.astype(float) for a in both))
        np.testing.assert_allclose(found[name][0], want, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=":".join)
def test_every_cell_of_dds(cell):
    x, y = (a.astype(np.float64) for a in features(200))
    np.testing.assert_allclose(table()[cell], o.DDS_TABLE[cell](x, y), rtol=0, atol=SCORE)


@direct
def test_symmetric_and_one_with_itself(name):
    np.testing.assert_allclose(scores()[name][1], scores()[name][0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(scores()[name][2], 1, rtol=0, atol=1e-6)


@pytest.mark.slow
@every
def test_the_engine_gives_the_same_score(name):
    """Through stable maps and one matrix product, and under other company."""
    values, (x, y) = engine()[NAMED.index(name)].values, features()
    want = ORACLES[name](x.astype(float), y.astype(float))
    np.testing.assert_allclose(values[0, 2], want, rtol=0, atol=SCORE)
    assert np.isnan(values[1]).all()
    assert np.isnan(values[:, 1]).all()


@functools.cache
def engine():
    """Beside a network with one NaN, which keeps it to itself."""
    x, y = features()
    broken = x.copy()
    broken[3, 0, 1, 2] = np.nan
    with pytest.warns(js.results.UndefinedScores, match="'broken' has no"):
        return js.affinity({"x": x, "broken": broken, "y": y}, list(measures.NAMED.values()))


@direct
def test_nan_has_no_score(name):
    assert np.isnan(scores()[name][3:]).all()


# Values and names.
def test_too_few_images_are_refused_as_by_the_verbs():
    x, y = features()
    with pytest.raises(ValueError, match="cka-linear needs at least 4 images; there are 3"):
        js.CKA_LINEAR(x[:3], y[:3])
    with pytest.raises(ValueError, match="rsa needs at least 3 images; there are 1"):
        js.RSA(x[:1], y[:1])


def test_named_measures_have_sources():
    assert all(m.source for m in measures.NAMED.values())


@every
def test_name_round_trip(name):
    measure = measures.NAMED[name]
    assert measures.by_name(name) == measure
    assert str(measure) == name
    assert hash(measure) == hash(measures.by_name(name))
    assert measures.by_name(name.upper().replace("-", "_")) == measure  # as it is called in Python


@pytest.mark.parametrize("cell", CELLS, ids=":".join)
def test_cell_by_name(cell):
    t, f = cell
    measure = js.dds(getattr(transforms, t), getattr(pairwise, f))
    assert measures.by_name(f"dds:{t},{f}".replace("_", "-")) == measure
    assert measures.by_name(f"{t}:{f}:u_centered_cosine".replace("_", "-")) == measure
    assert measures.by_name(str(measure)) == measure


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rsaa", "did you mean rsa"),
        ("dds:zscore,laplace", "'laplace' is not one of the pairwise"),
        ("dds:whiten,rbf", "'whiten' is not one of the transform functions"),
        ("center:correlation:kendall", "'kendall' is not one of the compare"),
        ("dds:zscore", "no measure is named 'dds:zscore'; cells are dds:TRANSFORM,PAIRWISE"),
        ("qqqqq", "there are rsa, .*, and cells such as dds:zscore,laplacian"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(ValueError, match=message):
        measures.by_name(name)


def test_measures_are_static_but_for_their_arrays():
    assert not jax.tree.leaves(list(measures.NAMED.values()))
    with_matrix = js.Measure(transforms.Duality(q=jnp.eye(3)), pairwise.linear, compare.u_centered_cosine)
    assert len(jax.tree.leaves(with_matrix)) == 1
    back = jax.tree.map(lambda a: 2 * a, with_matrix)
    assert back.pairwise is pairwise.linear
    np.testing.assert_array_equal(back.transform.q, 2 * np.eye(3))


def test_equal_measures_compile_once_and_matrices_are_traced():
    traces = []

    @jax.jit
    def score(measure, x):
        traces.append(measure)
        return measure(x, x)

    x = jnp.asarray(features()[0].reshape(N, -1))
    for q in (1.0, 2.0):
        score(js.Measure(transforms.Duality(q=q * jnp.eye(24)), pairwise.linear, compare.cosine), x)
    assert len(traces) == 1
    for fraction in (0.5, 0.5, 0.4):
        score(js.dds(transforms.identity, pairwise.Rbf(fraction=fraction)), x)
    assert len(traces) == 3


@pytest.mark.slow
def test_duality_as_a_measure():
    """CKA of zscored features through D and Q."""
    x, y = (a.reshape(N, -1).astype(np.float64) for a in features())

    @jax.jit
    def run(x, y):
        forms = [transforms.Duality(jnp.diag(1 / jnp.std(a, 0)), jnp.eye(N) - 1 / N) for a in (x, y)]
        maps = [pairwise.linear(form(a)) for form, a in zip(forms, (x, y), strict=True)]
        return compare.u_centered_cosine(*maps), js.dds(transforms.zscore, pairwise.linear)(x, y)

    with jax.enable_x64(True):
        parts, whole = run(x, y)
        np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-12)


# Identities: each says why two numbers, reached in two ways, are one. They hold for any features.
def _flat(x):
    return x.reshape(x.shape[0], -1)


def _hsic_song(k, l_):
    """Song et al. 2012, equation 5."""
    n = k.shape[0]
    k, l_ = centering.off_diagonal(k), centering.off_diagonal(l_)
    cross = jnp.sum(k * l_) + jnp.sum(k) * jnp.sum(l_) / ((n - 1) * (n - 2))
    return (cross - 2 / (n - 2) * jnp.sum(jnp.sum(k, 0) * jnp.sum(l_, 0))) / (n * (n - 3))


def _cka_song(x, y):
    k, l_ = pairwise.linear(_flat(x)), pairwise.linear(_flat(y))
    return _hsic_song(k, l_) / jnp.sqrt(_hsic_song(k, k) * _hsic_song(l_, l_))


def _cka_features(x, y):
    """No n x n array: sums of squares of cross-products of centered features, less the diagonal's part."""
    x, y = transforms.center(x), transforms.center(y)

    def hsic(a, b):
        n = a.shape[0]
        da, db = jnp.sum(a * a, 1), jnp.sum(b * b, 1)
        cross = jnp.einsum("ni,nj->ij", a, b, precision="highest")
        ra = -da  # a centered: the rows of its Gram matrix sum to zero
        rb = -db
        whole = jnp.sum(cross**2) - jnp.sum(da * db)
        return whole + jnp.sum(ra) * jnp.sum(rb) / ((n - 1) * (n - 2)) - 2 * jnp.sum(ra * rb) / (n - 2)

    return hsic(x, y) / jnp.sqrt(hsic(x, x) * hsic(y, y))


def _pearson_off_diagonal(measure):
    def score(x, y):
        a, b = (centering.unbiased(measure.pairwise(measure.transform(f))) for f in (x, y))
        return compare.pearson(a, b)

    return score


def _rv(x, y):
    """Escoufier: tr(S_xy S_yx) / sqrt(tr(S_xx^2) tr(S_yy^2)), S the covariances of the features."""
    x, y = transforms.center(x), transforms.center(y)

    def size(a, b):
        return jnp.sum(jnp.einsum("ni,nj->ij", a, b, precision="highest") ** 2)

    return size(x, y) / jnp.sqrt(size(x, x) * size(y, y))


def _squared_dcor_unbiased(x, y):
    """Szekely and Rizzo 2014: R* from U-centered distances, mean over n (n - 3) of the products."""
    a, b = (centering.unbiased(pairwise.euclidean(_flat(f))) for f in (x, y))
    return jnp.sum(a * b) / jnp.sqrt(jnp.sum(a * a) * jnp.sum(b * b))


def _pearson_of_ranks(x, y):
    """Spearman is Pearson of the ranks, and no centering but that of one mean: RSA with its comparator spelled out."""
    a, b = (compare.condensed(pairwise.correlation(transforms.center(f))) for f in (x, y))
    ranks = [js.ranks.average(v) for v in (a, b)]
    u, v = (r - jnp.mean(r) for r in ranks)
    return jnp.sum(u * v) / jnp.sqrt(jnp.sum(u * u) * jnp.sum(v * v))


def _cell(t, f, g=compare.u_centered_cosine):
    return js.Measure(getattr(transforms, t), getattr(pairwise, f), g)


IDENTITIES = {
    "RSA is DDS (center, pearson) with g = spearman": (js.RSA, _pearson_of_ranks),
    "RSA_UNCENTERED is DDS (identity, pearson) with g = spearman": (
        js.RSA_UNCENTERED,
        _cell("identity", "correlation", compare.spearman),
    ),
    "CKA_LINEAR is dds(identity, linear)": (js.CKA_LINEAR, js.dds(transforms.identity, pairwise.linear)),
    "CKA_RBF is dds(identity, rbf)": (js.CKA_RBF, js.dds(transforms.identity, pairwise.rbf)),
    "Song's HSIC ratio is U-centered cosine": (js.CKA_LINEAR, _cka_song),
    "feature-space HSIC ratio is U-centered cosine": (js.CKA_LINEAR, _cka_features),
    "U-centered cosine is Pearson over the off-diagonals of U-centered maps": (
        js.CKA_LINEAR,
        _pearson_off_diagonal(js.CKA_LINEAR),
    ),
    "squared Euclidean distance is the linear kernel": (_cell("identity", "squared_euclidean"), js.CKA_LINEAR),
    "Pearson is cosine after layer_norm": (_cell("layer_norm", "correlation"), _cell("layer_norm", "cosine")),
    "Pearson is cosine after group_norm": (_cell("group_norm", "correlation"), _cell("group_norm", "cosine")),
    "Pearson before layer_norm is cosine after it": (_cell("identity", "correlation"), _cell("layer_norm", "cosine")),
    "cosine after layer_norm is the linear kernel after it": (
        _cell("layer_norm", "cosine"),
        _cell("layer_norm", "linear"),
    ),
    "RV is biased linear CKA": (js.RV, js.CKA_LINEAR_BIASED),
    "RV is Escoufier's ratio of covariances": (js.RV, _rv),
    "bias-corrected distance correlation is dds(identity, euclidean)": (
        js.DISTANCE_CORRELATION_UNBIASED,
        _squared_dcor_unbiased,
    ),
    "distance correlation squared is biased CKA of Euclidean distances": (
        lambda x, y: js.DISTANCE_CORRELATION(x, y) ** 2,
        _cell("identity", "euclidean", compare.centered_cosine),
    ),
}
DIFFERENT = {
    "Pearson of raw off-diagonals is not U-centered cosine": (
        _cell("identity", "linear", compare.pearson),
        js.CKA_LINEAR,
    ),
    "Pearson is not cosine without a norm per image": (_cell("zscore", "correlation"), _cell("zscore", "cosine")),
    "centering matters to cosine": (_cell("center", "cosine"), _cell("identity", "cosine")),
    "centering matters to Pearson": (js.RSA, js.RSA_UNCENTERED),
    "biased and unbiased CKA differ": (js.CKA_LINEAR, js.CKA_LINEAR_BIASED),
    "distance correlation is not its unbiased square": (js.DISTANCE_CORRELATION, js.DISTANCE_CORRELATION_UNBIASED),
}


QUICK = [
    "Song's HSIC ratio is U-centered cosine",
    "feature-space HSIC ratio is U-centered cosine",
    "Pearson is cosine after layer_norm",
    "RV is Escoufier's ratio of covariances",
    "centering matters to cosine",
]
"""A program of these compiles in a third of the time of all."""


@functools.cache
def both_ways(quick):
    """Of the quick ones or of all others."""
    pairs = {name: pair for name, pair in (IDENTITIES | DIFFERENT).items() if (name in QUICK) == quick}

    @jax.jit
    def run(x, y):
        """Many stand in several pairs, and a map in several measures; U-centered cosines are taken as a stack."""
        two = jnp.stack([x, y])
        maps = functools.cache(lambda t, f: jax.vmap(lambda z: f(t(z)))(two))
        every = {f for pair in pairs.values() for f in pair}
        cells = [f for f in every if isinstance(f, js.Measure)]
        debiased = [m for m in cells if m.compare == compare.u_centered_cosine]
        stacks = jnp.stack([maps(m.transform, m.pairwise) for m in debiased], 1)
        scores = dict(zip(debiased, jax.vmap(compare.u_centered_cosine)(*stacks), strict=True))
        scores |= {m: m.compare(*maps(m.transform, m.pairwise)) for m in cells if m not in scores}
        scores |= {f: f(x, y) for f in every if f not in scores}
        return {name: (scores[f], scores[g]) for name, (f, g) in pairs.items()}

    with jax.enable_x64(True):
        return jax.tree.map(float, run(*(jnp.asarray(a, np.float64) for a in features())))


@pytest.mark.parametrize("identity", slow_but(QUICK[:-1], IDENTITIES))
def test_identity(identity):
    left, right = both_ways(identity in QUICK)[identity]
    assert 0.05 < abs(left) < 0.999
    np.testing.assert_allclose(left, right, rtol=0, atol=1e-7 if "layer_norm" in identity else 1e-12)


@pytest.mark.parametrize("difference", slow_but(QUICK[-1:], DIFFERENT))
def test_not_an_identity(difference):
    left, right = both_ways(difference in QUICK)[difference]
    assert abs(left - right) > 1e-3


@pytest.mark.slow
def test_feature_space_form_is_the_oracles():
    x, y = (a.astype(np.float64) for a in features())
    np.testing.assert_allclose(o.ratio(o.hsic_features, x, y), in_float64()[0]["cka-linear"][0], atol=1e-12)


# Gradients.
@pytest.mark.slow
@direct
def test_gradient_is_the_difference_quotient(name):
    """Through the median of the RBF kernel, and through ranks, where it is zero."""
    got = in_float64()[0][name][1]
    assert np.isfinite(got).all()
    if name.startswith("rsa"):
        assert (got == 0).all()
        return
    x, y = (a.astype(np.float64) for a in features())
    for place in [(0, 0, 0, 0), (4, 1, 2, 3), (11, 0, 1, 2)]:
        step = np.zeros_like(x)
        step[place] = 1e-5
        slope = (ORACLES[name](x + step, y) - ORACLES[name](x - step, y)) / 2e-5
        np.testing.assert_allclose(got[place], slope, rtol=1e-4, atol=1e-9)


@pytest.mark.slow
@direct
def test_gradient_is_finite(name):
    """At identical images and constant features, and of a network with itself."""
    for found in in_float64():
        assert np.isfinite(found[name][1]).all()
