"""Inference on resampled scores: SciPy, NumPy loops and rsatoolbox as float64 oracles."""

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import pytest
from marks import slow_but
from scipy import stats

from jaxsim import statistics
from jaxsim.statistics.members import replacement_weights

RNG = np.random.default_rng(7)
VALUES = RNG.normal(0.3, 0.1, (40, 4, 3))
ESTIMATE = RNG.normal(0.3, 0.03, (4, 3))
JACKKNIFE = RNG.gamma(2.0, 0.02, (25, 4, 3))
TRUTH = RNG.normal(size=(4, 3))
SPEARMAN = statistics.masked_spearman
KEY = 3

COMPILED = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, _, **what: COMPILED.append(what.get("fun_name")) if "backend_compile" in event else None
)


@pytest.fixture(autouse=True)
def strict():
    """float64, and no silent promotion of dtypes or ranks."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def close(got, want, atol=1e-12):
    np.testing.assert_allclose(np.asarray(got), want, rtol=0, atol=atol)


def over_images(values, estimate, truth, mask=None, nested=8):
    run = jax.jit(statistics.agreement_over_images, static_argnames=("correlation", "nested"))
    return run(values, estimate, truth, correlation=SPEARMAN, mask=mask, nested=nested)


def two_factor(values, estimate, groups, **rest):
    run = jax.jit(statistics.two_factor, static_argnames=("groups", "n_resamples", "images"))
    return run(values, estimate, groups=groups, **rest)


# One row per function that works entry by entry: name, function of (values, estimate, jackknife).
ENTRYWISE = {
    "spread": lambda v, s, j: statistics.spread(v),
    "subsample_error": lambda v, s, j: statistics.subsample_error(v, 20, 100),
    "jackknife_error": lambda v, s, j: statistics.jackknife_error(v),
    "percentile": lambda v, s, j: statistics.percentile_interval(v, 0.9),
    "basic": lambda v, s, j: statistics.basic_interval(v, s, 0.9),
    "normal": lambda v, s, j: statistics.normal_interval(s, statistics.spread(v)),
    "fisher": lambda v, s, j: statistics.fisher_interval(s, statistics.spread(v)),
    "bca": lambda v, s, j: statistics.bca_interval(v, s, j),
    "permutation_p": lambda v, s, j: statistics.permutation_p(v, s),
    "permutation_p two-sided": lambda v, s, j: statistics.permutation_p(v, s, two_sided=True),
    "family_wise": lambda v, s, j: jnp.stack(statistics.family_wise(v, s)),
    "simultaneous": lambda v, s, j: statistics.simultaneous_interval(v, s, 0.9),
    "first_share": lambda v, s, j: statistics.first_share(v),
    "rank_distribution": lambda v, s, j: jnp.moveaxis(statistics.rank_distribution(v), 1, 0),
}
entrywise = pytest.mark.parametrize("name", ENTRYWISE)


@entrywise
def test_nan_stays_in_its_own_entries(name):
    values = jnp.asarray(VALUES).at[5, 1, 2].set(jnp.nan)
    got = np.isnan(np.asarray(ENTRYWISE[name](values, jnp.asarray(ESTIMATE), jnp.asarray(JACKKNIFE))))
    want = np.zeros((4, 3), bool)
    want[1, 2] = True
    assert got.shape[-2:] == (4, 3)
    expected = np.broadcast_to(want, got.shape).copy()
    if name == "family_wise":
        expected[0] &= got[0]  # the statistic needs no more than the spread
    np.testing.assert_array_equal(got, expected)


@entrywise
@pytest.mark.parametrize("dtype", slow_but([jnp.float32], [jnp.float32, jnp.float64]))
def test_jit_and_dtype(name, dtype):
    arrays = [jnp.asarray(a, dtype) for a in (VALUES, ESTIMATE, JACKKNIFE)]
    got = jax.jit(ENTRYWISE[name])(*arrays)
    assert got.dtype == dtype
    exact = ENTRYWISE[name](*(jnp.asarray(a, jnp.float64) for a in arrays))
    tolerance = 1e-12 if dtype == jnp.float64 else 2e-5
    np.testing.assert_allclose(got, exact, rtol=tolerance, atol=tolerance)


def test_standard_errors():
    sd = VALUES.std(axis=0, ddof=1)
    close(statistics.spread(VALUES), sd)
    close(statistics.subsample_error(VALUES, 20, 100), sd * 0.5)
    deviations = VALUES - VALUES.mean(axis=0)
    close(statistics.jackknife_error(VALUES), np.sqrt(39 / 40 * (deviations**2).sum(axis=0)))


def test_subsample_error_is_the_standard_error_of_a_mean():
    x = RNG.normal(size=60)
    subsets = np.array([RNG.permutation(60)[:20] for _ in range(4000)])
    got = float(statistics.subsample_error(x[subsets].mean(axis=1), 20, 60))
    assert got == pytest.approx(x.std(ddof=1) / np.sqrt(60), rel=0.04)  # sd of an sd of 4000 draws: 1.1 %


def test_spread_of_one_number_is_exactly_zero():
    with jax.enable_x64(False):
        assert float(statistics.spread(jnp.full((1000,), 0.1, jnp.float32))) == 0.0


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_percentile_and_basic(level):
    want = np.quantile(VALUES, [(1 - level) / 2, (1 + level) / 2], axis=0)
    close(statistics.percentile_interval(VALUES, level), want)
    close(statistics.basic_interval(VALUES, ESTIMATE, level), 2 * ESTIMATE - want[::-1])


def test_normal_and_fisher():
    error = VALUES.std(axis=0, ddof=1)
    z = stats.norm.ppf(0.95)
    close(statistics.normal_interval(ESTIMATE, error, 0.9), [ESTIMATE - z * error, ESTIMATE + z * error])
    center, step = np.arctanh(ESTIMATE), z * error / (1 - ESTIMATE**2)
    close(statistics.fisher_interval(ESTIMATE, error, 0.9), np.tanh([center - step, center + step]))
    scores = jnp.array([-1.0, 0.0, 1.0, 1.2, jnp.nan])
    got = np.asarray(statistics.fisher_interval(scores, jnp.full(5, 0.1)))
    np.testing.assert_array_equal(np.isnan(got).all(axis=0), [True, False, True, True, True])


def test_bca_against_scipy():
    data = RNG.gamma(2.0, size=(30, 3))
    found = stats.bootstrap(
        (data,), lambda x, axis: np.var(x, axis=axis), axis=0, method="BCa", n_resamples=999, rng=RNG
    )
    leave_out = np.array([np.delete(data, i, axis=0).var(axis=0) for i in range(30)])
    got = statistics.bca_interval(np.moveaxis(found.bootstrap_distribution, -1, 0), data.var(axis=0), leave_out)
    close(got, np.stack(found.confidence_interval), atol=1e-10)


def test_bca_counts_ties_by_half_and_says_nan_where_undefined():
    values = RNG.normal(1.0, 1.0, size=200)
    values[:60] = 1.0  # distinct tails: had ties counted whole or not at all, both ends would move
    jackknife = np.array([0.1, 0.2, 0.4])
    below = np.mean(values < 1) + np.mean(values == 1) / 2
    z0, d = stats.norm.ppf(below), jackknife.mean() - jackknife
    a = (d**3).sum() / (6 * (d**2).sum() ** 1.5)
    shift = z0 + stats.norm.ppf([0.025, 0.975])
    want = np.quantile(values, stats.norm.cdf(z0 + shift / (1 - a * shift)))
    close(statistics.bca_interval(values, 1.0, jackknife), want, atol=1e-9)
    outside = statistics.bca_interval(values, -9.0, jackknife)
    degenerate = statistics.bca_interval(values, 1.0, np.full(3, 0.1))
    assert np.isnan(outside).all()
    assert np.isnan(degenerate).all()


def test_permutation_p_counts_ties_and_itself():
    null = np.array([0.0, 0.1, 0.2, 0.3])
    close(statistics.permutation_p(null, 0.2), 3 / 5)
    close(statistics.permutation_p(null, 0.2 * (1 + 1e-15)), 3 / 5)
    close(statistics.permutation_p(null, 1.0), 1 / 5)
    close(statistics.permutation_p(null, -1.0, two_sided=True), 2 / 5)
    close(statistics.permutation_p(null, 0.15, two_sided=True), 1.0)


def test_permutation_p_against_scipy():
    x, y = RNG.normal(size=(2, 12))
    y = y + 0.4 * x

    def statistic(one):
        return stats.pearsonr(one, y).statistic

    for alternative in ("greater", "two-sided"):
        found = stats.permutation_test(
            (x,),
            statistic,
            permutation_type="pairings",
            n_resamples=199,
            alternative=alternative,
            vectorized=False,
            rng=np.random.default_rng(1),
        )
        two_sided = alternative == "two-sided"
        close(statistics.permutation_p(found.null_distribution, found.statistic, two_sided=two_sided), found.pvalue)


def test_differences():
    close(statistics.difference(VALUES, (0, 1), (3, 2)), VALUES[:, 0, 1] - VALUES[:, 3, 2])
    entries = ((0, 1), (3, 2), (2, 0))
    flat = statistics.select(VALUES, entries)
    close(flat, np.stack([VALUES[:, i, j] for i, j in entries], axis=1))
    got = statistics.pair_differences(flat)
    want = [np.asarray(flat)[:, a] - np.asarray(flat)[:, b] for a, b in statistics.pairs(3)]
    close(got, np.stack(want, axis=1))
    assert statistics.select(VALUES, ()).shape == (40, 0)


@pytest.mark.parametrize("entry", [(4, 0), (0, 3), (-1, 0)])
def test_entries_outside_the_matrix_are_refused(entry):
    with pytest.raises(IndexError, match=r"outside scores of shape \(4, 3\)"):
        statistics.difference(VALUES, entry, (0, 0))


def loop_family(values, estimate, null):
    """Single-step and step-down p-values by their definition."""
    sd = values.std(axis=0, ddof=1)
    t, stars = np.abs((estimate - null) / sd), np.abs((values - estimate) / sd)
    alone = [(1 + np.sum(stars[:, h] >= t[h])) / (len(values) + 1) for h in range(len(t))]
    single = [(1 + np.sum(stars.max(axis=1) >= x)) / (len(values) + 1) for x in t]
    down, before, left = np.empty(len(t)), 0.0, list(np.argsort(-t))
    while left:
        h = left[0]
        before = max(before, (1 + np.sum(stars[:, left].max(axis=1) >= t[h])) / (len(values) + 1))
        down[left.pop(0)] = before
    return alone, single, down


def test_family_wise_against_its_definition():
    values, estimate = VALUES.reshape(40, -1), ESTIMATE.ravel()
    null = RNG.uniform(0.1, 0.5, estimate.shape)
    got = statistics.family_wise(values, estimate, null)
    for one, want in zip(got[1:], loop_family(values, estimate, null), strict=True):
        close(one, want)
    assert np.all(np.asarray(got.step_down) <= np.asarray(got.single_step))
    assert np.any(np.asarray(got.step_down) < np.asarray(got.single_step))


def test_family_wise_leaves_undefined_and_constant_scores_out():
    values, estimate = VALUES.reshape(40, -1).copy(), ESTIMATE.ravel().copy()
    values[:, 2], estimate[2] = 1.0, 1.0
    values[3, 5] = np.nan
    got = statistics.family_wise(values, estimate, 0.2)
    kept = np.setdiff1d(np.arange(12), [2, 5])
    want = statistics.family_wise(values[:, kept], estimate[kept], 0.2)
    for one, other in zip(got[1:], want[1:], strict=True):
        close(np.asarray(one)[kept], np.asarray(other))
        assert np.isnan(np.asarray(one)[[2, 5]]).all()


def test_family_wise_takes_a_corrected_error():
    values, estimate = VALUES.reshape(40, -1), ESTIMATE.ravel()
    halved = statistics.family_wise(values, estimate, error=values.std(axis=0, ddof=1) / 2)
    close(halved.statistic, 2 * np.asarray(statistics.family_wise(values, estimate).statistic))


@pytest.mark.parametrize(("resamples", "level"), [(19, 0.95), (99, 0.9), (200, 0.95), (199, 0.9)])
def test_simultaneous_interval_agrees_with_the_test(resamples, level):
    values = RNG.normal(size=(resamples, 5))
    low, high = np.asarray(statistics.simultaneous_interval(values, np.zeros(5), level))
    for factor, inside in ((1 - 1e-9, True), (1 + 1e-9, False)):
        p = np.asarray(statistics.family_wise(values, np.zeros(5), factor * high).single_step)
        assert np.all((p > 1 - level + 1e-9) == inside), (p, low, high)


def test_simultaneous_interval_says_when_resamples_do_not_suffice():
    assert np.isnan(statistics.simultaneous_interval(VALUES[:18], ESTIMATE, 0.95)).all()


@pytest.mark.slow
def test_family_wise_error_under_the_null():
    """Ten correlated means that are all zero: the realized error of 500 data sets, 5 % nominal."""

    def one(key):
        a, b, c = jax.random.split(key, 3)
        x = jax.random.normal(a, (80, 10)) + jax.random.normal(b, (80, 1))
        counts = jax.vmap(lambda i: jnp.zeros(80).at[i].add(1.0))(jax.random.randint(c, (199, 80), 0, 80))
        means = jnp.einsum("bn,nh->bh", counts, x, precision="highest") / 80
        tests = statistics.family_wise(means, x.mean(axis=0))
        return jnp.stack([p.min() <= 0.05 for p in tests[1:]])

    with jax.numpy_rank_promotion("allow"):
        keys = jax.random.split(jax.random.key(0), 500)
        alone, single, down = np.asarray(jax.jit(jax.vmap(one))(keys)).mean(axis=0)
    # Binomial sd at 5 %: 0.0097. Normal-theory excess at n = 80 (t with 79 df, sd without n - 1): about 0.01.
    assert 0.02 < single < 0.09
    assert down == single  # under the complete null the first step is the single step
    assert alone > 0.15


@pytest.mark.parametrize("family", [RNG.uniform(size=30) ** 2, np.array([0.01, 0.01, 0.2, 1.0, 0.0]), [0.3]])
def test_false_discovery_against_scipy(family):
    family = np.asarray(family)
    close(statistics.false_discovery(family), stats.false_discovery_control(family))
    close(statistics.false_discovery(family, any_dependence=True), stats.false_discovery_control(family, method="by"))


def test_false_discovery_does_not_count_nan():
    family = RNG.uniform(size=(3, 4)) ** 3
    holes = family.copy()
    holes[1, 2], holes[0, 0], holes[2, 3] = np.nan, 1.5, -0.1
    kept = np.isfinite(holes) & (holes >= 0) & (holes <= 1)
    for any_dependence, method in ((False, "bh"), (True, "by")):
        got = np.asarray(statistics.false_discovery(holes, any_dependence=any_dependence))
        close(got[kept], stats.false_discovery_control(holes[kept], method=method))
        assert np.isnan(got[~kept]).all()


def test_resamples_needed_are_the_fewest_that_reach_the_level():
    for level, hypotheses in ((0.05, 1), (0.05, 190), (0.01, 3), (0.1, 7), (0.5, 1)):
        needed = statistics.resamples_needed(level, hypotheses)
        assert hypotheses / (needed + 1) <= level * (1 + 1e-9)
        assert needed == 1 or hypotheses / needed > level


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_student_stretch_against_scipy(level):
    for degrees in (1, 2, 7, 499):
        want = stats.t.ppf((1 + level) / 2, degrees) / stats.norm.ppf((1 + level) / 2)
        assert statistics.student_stretch(degrees, level) == pytest.approx(want, rel=1e-12)
    assert np.isnan(statistics.student_stretch(0, level))


def loop_ranks(values, exclude):
    """Rank shares by enumeration, ties spread over the ranks they span."""
    resamples, sources, targets = values.shape
    out = np.full((sources, sources, targets), np.nan)
    for t in range(targets):
        usable = np.flatnonzero(~exclude[:, t])
        out[usable, :, t] = 0
        for column in -values[:, usable, t]:
            low, high = (stats.rankdata(column, how).astype(int) for how in ("min", "max"))
            for s, a, b in zip(usable, low, high, strict=True):
                out[s, a - 1 : b, t] += 1 / (b - a + 1) / resamples
    return out


@pytest.mark.parametrize("ties", [False, True])
def test_rank_distribution_and_first_share(ties):
    values = RNG.integers(0, 3, (30, 5, 5)).astype(float) if ties else RNG.normal(size=(30, 5, 5))
    exclude = np.eye(5, dtype=bool)
    want = loop_ranks(values, exclude)
    got = statistics.rank_distribution(values, exclude)
    close(got, want)
    close(np.nansum(got, axis=1), 1.0 * ~exclude)
    close(statistics.first_share(values, exclude), want[:, 0])
    close(statistics.first_share(values), loop_ranks(values, np.zeros((5, 5), bool))[:, 0])


@pytest.mark.parametrize("ties", [False, True])
def test_rank_stability_against_scipy(ties):
    rng = np.random.default_rng(5)
    errors, estimate = rng.normal(size=(12, 6, 6)), rng.normal(size=(6, 6))
    if ties:
        errors, estimate = np.round(errors * 2), np.round(estimate * 2)
    off = ~np.eye(6, dtype=bool)
    halves = [(estimate + e, estimate - e) for e in errors]
    r = np.array(
        [np.mean([stats.spearmanr(*(v[off[:, t], t] for v in h)).statistic for h in halves]) for t in range(6)]
    )
    assert (r > 0).any()
    assert (r < 0).any()
    close(statistics.rank_stability(errors, estimate, ~off), np.where(r > 0, 2 * r / (1 + r), r))
    close(statistics.rank_stability(np.zeros((2, 6, 6)), estimate), 1.0)


SCANS = {
    "rank_distribution": statistics.rank_distribution,
    "rank_stability": lambda v: statistics.rank_stability(v, ESTIMATE),
    "agreement_over_images": lambda v: statistics.agreement_over_images(v, ESTIMATE, TRUTH, SPEARMAN),
}


@pytest.mark.parametrize("name", SCANS)
def test_a_second_call_compiles_nothing(name):
    SCANS[name](VALUES)
    COMPILED.clear()
    SCANS[name](VALUES + 1)
    assert COMPILED == []


def test_one_source_and_one_resample():
    one = np.array([[[0.4, 0.2]]])
    assert np.isnan(statistics.spread(one)).all()
    assert np.isnan(statistics.percentile_interval(one)).all()
    close(statistics.permutation_p(one, one[0]), 1.0)
    close(statistics.first_share(one), [[1.0, 1.0]])
    close(statistics.rank_distribution(one), [[[1.0, 1.0]]])
    assert np.isnan(statistics.rank_stability(one, one[0])).all()
    tests = jax.jit(statistics.family_wise)(one, one[0])
    assert np.isnan(tests.step_down).all()
    assert np.isnan(statistics.target_agreement(one, one[0], SPEARMAN)).all()
    assert np.isnan(jax.jit(statistics.bca_interval)(one, one[0], one)).all()
    images = over_images(VALUES[:1], ESTIMATE, TRUTH)
    assert np.isfinite(images.estimate)
    assert np.isnan(images.interval).all()


def test_corrected_variance_against_rsatoolbox():
    util = pytest.importorskip("rsatoolbox.util.inference_util", exc_type=ImportError)
    for factor in (1.0, 0.3, 3.0):  # the formula itself, its lower bound and its upper bound
        members, images = RNG.uniform(0.5, 1.5, (2, 20))
        both = factor * (members + images) * RNG.uniform(1.0, 1.5, 20)
        stacked = np.stack([both, members, images])
        close(statistics.corrected_variance(both, members, images), util._dual_bootstrap(stacked.copy()))
        got = statistics.corrected_variance(both, members, images, members_count=5, images_count=12)
        # its upper bound leaves out the factors, which makes the variance of few members too small
        close(np.minimum(got, both), util._dual_bootstrap(stacked.copy(), n_rdm=5, n_pattern=12))


def test_two_factor_against_rsatoolbox_on_the_same_draws():
    util = pytest.importorskip("rsatoolbox.util.inference_util", exc_type=ImportError)
    values, estimate = RNG.normal(size=(50, 3, 6)), RNG.normal(size=(3, 6))
    got = two_factor(values, estimate, (0,) * 6, key=jax.random.key(KEY), images=40)
    weights = np.asarray(replacement_weights(jax.random.fold_in(jax.random.key(KEY), 0), 50, np.ones(6, bool), float))
    close(weights.sum(axis=1), 1.0)
    close(weights * 6, np.round(weights * 6))
    bootstraps = [
        np.einsum("bu,bsu->bs", weights, values),
        np.einsum("bu,su->bs", weights, estimate),
        values.mean(axis=2),
    ]
    covariances = np.stack([np.cov(b, rowvar=False) for b in bootstraps])
    model, _, _ = util.extract_variances(covariances, nc_included=False, n_rdm=6, n_pattern=40)
    close(np.minimum(got.corrected, got.both)[:, 0], model)
    for name, want in zip(("both", "members", "images"), covariances, strict=True):
        close(getattr(got, name)[:, 0], np.diag(want))


@pytest.mark.slow
def test_two_factor_estimates_the_variance_of_new_images_and_members():
    """Scores a_i + b_u + e_iu averaged over 25 images: the true variance of the group mean is known."""
    images, members = 25, 10
    truth = 0.5**2 / images + 0.1**2 / members + 1.0**2 / (images * members)

    def one(key):
        a, b, e, k, draw = jax.random.split(key, 5)
        x = 0.5 * jax.random.normal(a, (images, 1)) + 0.1 * jax.random.normal(b, (1, members))
        x = x + jax.random.normal(e, (images, members))
        index = jax.random.randint(draw, (200, images), 0, images)
        out = statistics.two_factor(
            x[index].mean(axis=1)[:, None], x.mean(axis=0)[None], (0,) * members, key=k, images=images
        )
        return out.corrected[0, 0], out.both[0, 0]

    with jax.numpy_rank_promotion("allow"):
        corrected, both = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 200))
    corrected, both = np.asarray(corrected), np.asarray(both)
    assert corrected.mean() == pytest.approx(truth, rel=0.15)  # sd of the mean over 200 data sets: about 3 %
    assert both.mean() > 1.3 * truth


@pytest.mark.slow
def test_two_factor_keeps_groups_apart():
    values, estimate = RNG.normal(size=(20, 2, 5)), RNG.normal(size=(2, 5))
    holes = values.copy()
    holes[3, 1, 0] = np.nan
    out = two_factor(holes, estimate, (0, 1, 0, 1, 2), key=jax.random.key(KEY))
    assert np.isnan(out.both[1, 0])
    np.testing.assert_array_equal(np.isnan(out.corrected), [[False, False, True], [True, False, True]])
    np.testing.assert_array_equal(np.isnan(out.images), [[False] * 3, [True, False, False]])
    close(out.estimate[:, 1], estimate[:, [1, 3]].mean(axis=1))
    longer = two_factor(values, estimate, (0,) * 5, key=jax.random.key(KEY), n_resamples=40)
    assert longer.both.shape == (2, 1)


def test_contractions_ask_for_full_precision():
    def run(values, estimate, key):
        return statistics.two_factor(values, estimate, (0, 0, 1, 1), key=key)

    text = str(jax.make_jaxpr(run)(jnp.ones((3, 2, 4)), jnp.ones((2, 4)), jax.random.key(KEY)))
    assert text.count("dot_general[") == text.count("HIGHEST, Precision.HIGHEST") + text.count(
        "precision=(HIGHEST, HIGHEST)"
    )
    assert text.count("dot_general[") == 4


@pytest.mark.parametrize("method", ["cosine", "corr"])
@pytest.mark.parametrize("members", [2, 5])
def test_noise_ceiling_against_rsatoolbox(method, members):
    rsatoolbox = pytest.importorskip("rsatoolbox", exc_type=ImportError)
    from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling

    rdms = rsatoolbox.rdm.RDMs(RNG.uniform(size=(1, 45)) + 0.5 * RNG.uniform(size=(members, 45)))
    scores = rsatoolbox.rdm.compare(rdms, rdms, method=method)
    got = statistics.noise_ceiling_from_scores(scores)
    close(np.stack(got), boot_noise_ceiling(rdms, method=method), atol=1e-10)


def test_noise_ceiling_of_one_member_and_of_many_matrices():
    low, high = statistics.noise_ceiling_from_scores(np.ones((1, 1)))
    assert np.isnan(low)
    close(high, 1.0)
    batch = np.stack([np.ones((3, 3)), np.eye(3)])
    low, high = statistics.noise_ceiling_from_scores(batch)
    close(low, [1.0, 0.0])
    close(high, [1.0, 1 / np.sqrt(3)])


@pytest.mark.parametrize(
    ("function", "oracle"), [(SPEARMAN, stats.spearmanr), (statistics.masked_pearson, stats.pearsonr)]
)
@pytest.mark.parametrize("ties", [False, True])
def test_agreement_against_scipy(function, oracle, ties):
    scores, truth = RNG.normal(size=(2, 7, 5)) * 1e-9, RNG.normal(size=(7, 5))
    if ties:
        scores, truth = np.round(scores * 2e9), np.round(truth * 2)
    mask = np.array(statistics.usable_entries(scores[0], truth, diagonal=False))
    mask[:, 3] = False
    holes = np.where(mask, truth, np.nan)
    want = [[oracle(s[m, t], truth[m, t]).statistic for t, m in enumerate(mask.T) if m.any()] for s in scores]
    got = np.asarray(statistics.target_agreement(scores, holes, function, mask))
    close(np.delete(got, 3, axis=1), want, atol=1e-10)
    assert np.isnan(got[:, 3]).all()
    close(statistics.column_agreement(scores, holes, function, mask), np.mean(want, axis=1), atol=1e-10)


def test_agreement_is_nan_only_where_undefined():
    scores, truth = VALUES[0].copy(), TRUTH.copy()
    scores[0, 1], truth[:, 2] = np.nan, 0.7
    got = np.asarray(statistics.target_agreement(scores, truth, SPEARMAN))
    np.testing.assert_array_equal(np.isnan(got), [False, True, True])
    assert np.isnan(statistics.column_agreement(scores, truth, SPEARMAN))


def test_average_ranks_against_scipy():
    x = np.round(RNG.normal(size=40) * 3)
    close(statistics.average_ranks(jnp.asarray(x), jnp.ones(40, bool)), stats.rankdata(x))


def world(key, size=12, resamples=60, noise=0.3):
    a, b, c, d = jax.random.split(key, 4)
    true = jax.random.normal(a, (size, size))
    truth = 0.5 * true + 0.75**0.5 * jax.random.normal(b, (size, size))
    estimate = true + noise * jax.random.normal(c, (size, size))
    values = estimate[None] + noise * jax.random.normal(d, (resamples, size, size))
    return true, truth, estimate, values


@pytest.mark.slow
def test_agreement_over_images_is_centered_against_its_bias():
    _, truth, estimate, values = world(jax.random.key(1))
    off = statistics.usable_entries(estimate, truth, diagonal=False)
    got = over_images(values, estimate, truth, off)
    close(got.values, np.asarray(statistics.column_agreement(values, truth, SPEARMAN, off)))
    close(got.estimate, statistics.column_agreement(estimate, truth, SPEARMAN, off))
    close(got.bias, np.mean(got.values) - got.estimate)
    close(got.corrected, got.estimate - got.bias)
    center, step = np.asarray(got.corrected), stats.norm.ppf(0.975) * np.asarray(got.error) * np.array([-1, 1])
    fisher, plain = np.tanh(np.arctanh(center) + step / (1 - center**2)), center + step
    close(got.interval, [min(fisher[0], plain[0]), max(fisher[1], plain[1])], atol=1e-6)
    close(got.percentile, np.quantile(got.values, [0.025, 0.975]))
    second = np.mean(
        [
            statistics.column_agreement(
                np.asarray(values) + np.roll(values, k, axis=0) - np.asarray(estimate), truth, SPEARMAN, off
            )
            for k in (1, 2)
        ],
        axis=0,
    )
    two = over_images(values, estimate, truth, off, nested=2)
    close(two.error, np.std(2 * np.asarray(two.values) - second, ddof=1))


@pytest.mark.slow
def test_agreement_over_targets_is_the_error_of_a_mean():
    per_target = RNG.normal(0.6, 0.2, 10)
    keep = np.ones(10, bool)
    keep[4] = False
    holes = np.where(keep, per_target, np.nan)
    got = statistics.agreement_over_targets(holes, key=jax.random.key(KEY), n_resamples=4000, keep=keep)
    close(got.estimate, per_target[keep].mean())
    assert float(got.error) == pytest.approx(stats.sem(per_target[keep]), rel=0.05)
    kept = per_target[keep]
    without = np.arctanh((kept.sum() - kept) / 8)
    half = stats.t.ppf(0.975, 8) * np.sqrt(8 / 9 * np.sum((without - without.mean()) ** 2))
    expected = np.tanh(np.arctanh(kept.mean()) + half * np.array([-1, 1]))
    assert np.allclose(got.interval, expected, rtol=0, atol=1e-4)
    assert np.isnan(statistics.agreement_over_targets(holes, key=jax.random.key(KEY), n_resamples=9).estimate)
    again = statistics.agreement_over_targets(holes, key=jax.random.key(KEY), n_resamples=7, keep=keep)
    close(again.values, np.asarray(got.values)[:7])


@pytest.mark.slow
def test_agreement_over_both_is_wider_than_either():
    _, truth, estimate, values = world(jax.random.key(2), resamples=200)
    images = over_images(values, estimate, truth)
    per_target = statistics.target_agreement(estimate, truth, SPEARMAN)
    targets = statistics.agreement_over_targets(per_target, key=jax.random.key(KEY), n_resamples=2000)
    run = jax.jit(statistics.agreement_over_both, static_argnames="correlation")
    both = run(values, estimate, truth, correlation=SPEARMAN, key=jax.random.key(KEY))
    close(both.corrected, images.corrected)
    assert float(both.error) >= float(images.error)
    assert float(both.error) >= 0.9 * float(targets.error)


@pytest.mark.slow
def test_coverage_of_the_agreement_over_images():
    def one(key):
        true, truth, estimate, values = world(key, size=17, resamples=200)
        target = statistics.column_agreement(true, truth, SPEARMAN)
        out = statistics.agreement_over_images(values, estimate, truth, SPEARMAN)
        return jnp.stack([(i[0] <= target) & (target <= i[1]) for i in (out.interval, out.percentile)])

    run = jax.jit(lambda keys: jax.lax.map(one, keys))
    corrected, plain = np.asarray(run(jax.random.split(jax.random.key(0), 200))).mean(axis=0)
    # Binomial sd of 200 data sets at 94 %: 1.7 %.
    assert corrected > 0.89
    assert plain < 0.65


WRONG = {
    "no resamples": (lambda: statistics.spread(np.zeros((0, 2))), ValueError, "at least one resample"),
    "integers": (lambda: statistics.spread(np.zeros((3, 2), int)), TypeError, "int64"),
    "estimate": (lambda: statistics.basic_interval(VALUES, TRUTH[:2]), ValueError, r"\(2, 3\).*\(4, 3\)"),
    "error": (lambda: statistics.normal_interval(ESTIMATE, TRUTH[:2]), ValueError, r"\(4, 3\).*\(2, 3\)"),
    "jackknife": (
        lambda: statistics.bca_interval(VALUES, ESTIMATE, JACKKNIFE[:, :2]),
        ValueError,
        r"jackknife.*\(25, 2, 3\)",
    ),
    "level": (lambda: statistics.percentile_interval(VALUES, 95), ValueError, "strictly between 0 and 1"),
    "subset": (lambda: statistics.subsample_error(VALUES, 100, 100), ValueError, "0 < m < n"),
    "null": (lambda: statistics.family_wise(VALUES, ESTIMATE, TRUTH[:2]), ValueError, r"null \(2, 3\)"),
    "hypotheses": (lambda: statistics.resamples_needed(0.05, 0), ValueError, "at least 1"),
    "flat ranks": (lambda: statistics.first_share(VALUES[:, 0]), ValueError, r"\(B, S, T\)"),
    "exclude": (lambda: statistics.first_share(VALUES, np.eye(4, dtype=bool)), ValueError, r"\(4, 4\)"),
    "mask": (lambda: statistics.column_agreement(ESTIMATE, TRUTH, SPEARMAN, TRUTH), TypeError, "boolean"),
    "truth": (lambda: statistics.column_agreement(ESTIMATE, TRUTH.T, SPEARMAN), ValueError, r"\(3, 4\)"),
    "vector": (lambda: statistics.select(TRUTH[0], ((0, 0),)), ValueError, r"\(\.\.\., S, T\)"),
    "square": (lambda: statistics.noise_ceiling_from_scores(TRUTH), ValueError, r"\(\.\.\., U, U\)"),
    "groups": (
        lambda: statistics.two_factor(VALUES, ESTIMATE, (0, 1), key=jax.random.key(0)),
        ValueError,
        "2 members, but the scores have 3",
    ),
    "empty group": (
        lambda: statistics.two_factor(VALUES, ESTIMATE, (0, 2, 2), key=jax.random.key(0)),
        ValueError,
        "every number from 0",
    ),
    "key": (
        lambda: statistics.two_factor(VALUES, ESTIMATE, (0, 0, 0), key=jnp.zeros(2, jnp.uint32)),
        TypeError,
        "typed random key",
    ),
    "nested": (
        lambda: statistics.agreement_over_images(VALUES, ESTIMATE, TRUTH, SPEARMAN, nested=0),
        ValueError,
        "nested",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_named(name):
    call, error, match = WRONG[name]
    with pytest.raises(error, match=match):
        call()


@pytest.mark.slow
def test_numbers_of_the_host_may_come_as_arrays():
    values = np.arange(101.0)
    for level in (np.float64(0.9), np.array(0.9), jnp.array(0.9)):
        close(statistics.percentile_interval(values, level), [5, 95])
