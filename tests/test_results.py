"""Records: what their methods compute, how they look as tables, and that files give back what was saved."""

import dataclasses
import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import oracles as o
import pytest
from marks import slow_but
from scipy import stats

import jaxsim as js
from jaxsim import results, schemes, taxonomy
from jaxsim.cli import bootstrap

NAMES, TARGETS = ("a", "b", "c"), ("t", "a")
B, N, M = 40, 30, 12


def quick(method, *records):
    """The method of records as one program; operation by operation it would compile each."""
    return jax.jit(method)(*records)


def provenance(**rest):
    return results.Provenance.now("rsa", jnp.zeros(1), **rest)


def resamples(kind, *, square=True, seed=0, count=B):
    rng = np.random.default_rng(seed)
    targets = NAMES if square else TARGETS
    estimate = rng.uniform(0.2, 0.8, (3, len(targets)))
    values = estimate + 0.05 * rng.normal(size=(count, 3, len(targets)))
    return js.Resamples(
        jnp.asarray(values, jnp.float32),
        jnp.asarray(estimate, jnp.float32),
        NAMES,
        targets,
        provenance(scheme=kind, key="threefry2x32:[0, 0]", notes=("a note",)),
        kind,
        N,
        {"subsample": M, "half-samples": N // 2}.get(kind),
        (("b", 2),),
    )


AFFINITY = js.Affinity(
    jnp.asarray([[1.0, 0.25, np.nan], [0.25, 1.0, 0.5], [np.nan, 0.5, 1.0]]),
    np.full((3, 3), N),
    NAMES,
    NAMES,
    provenance(),
    (("c", 1),),
)
MAPS = js.Maps(jnp.arange(18.0).reshape(2, 3, 3), ("a", "b"), provenance(), ("cat", "dog", "cow"))
RECORDS = {
    "affinity": AFFINITY,
    "affinity of maps with gaps": dataclasses.replace(AFFINITY, pairs=np.full((3, 3), 400)),
    "maps": MAPS,
    "maps without ids": dataclasses.replace(MAPS, ids=None),
    "bootstrap": resamples("bootstrap"),
    "subsample": resamples("subsample", square=False),
    "half-samples": resamples("half-samples"),
}
SCALED = ("bootstrap", "bayesian-bootstrap", "jackknife", "subsample")


# Errors, intervals, p-values


@pytest.mark.parametrize("kind", SCALED)
def test_standard_errors_are_scaled_by_scheme(kind):
    r = resamples(kind)
    spread = np.asarray(r.values, np.float64).std(0, ddof=1)
    np.testing.assert_allclose(r.spread(), spread, rtol=1e-5)
    scale = {"jackknife": (B - 1) / np.sqrt(B), "subsample": np.sqrt(M / (N - M))}.get(kind, 1.0)
    np.testing.assert_allclose(r.standard_error(), scale * spread, rtol=1e-5)


@pytest.mark.parametrize("kind", SCALED)
@pytest.mark.parametrize(("level", "z"), [(0.95, 1.959964), (0.5, 0.6744898)])
def test_intervals_are_percentiles_for_the_bootstraps_and_normal_otherwise(kind, level, z):
    r = resamples(kind)
    low, high = r.interval(level)
    if "bootstrap" in kind:
        want = np.quantile(np.asarray(r.values, np.float64), [(1 - level) / 2, (1 + level) / 2], 0)
    else:
        want = np.stack([r.estimate - z * r.standard_error(), r.estimate + z * r.standard_error()])
    np.testing.assert_allclose([low, high], want, rtol=1e-5)
    assert r.interval().shape == (2, 3, 3)


# Half-samples


def half_error(values, size, images):
    """Root mean square gap of the two halves, over two, for 2 size <= images."""
    gap = np.asarray(values[0::2], np.float64) - np.asarray(values[1::2], np.float64)
    return np.sqrt((gap**2).mean(0)) / 2 * np.sqrt(2 * size / images)


@pytest.mark.parametrize(("size", "images"), [(15, 30), (15, 31)], ids=["all images", "one left over"])
def test_the_error_of_half_samples_is_half_of_their_gap(size, images):
    r = dataclasses.replace(resamples("half-samples"), size=size, images=images)
    np.testing.assert_allclose(r.standard_error(), half_error(r.values, size, images), rtol=1e-5)
    # the spread of the halves says nothing more than noise about the pairing; the gap is of paired halves
    paired = dataclasses.replace(r, values=jnp.repeat(r.values[::2], 2, axis=0))
    np.testing.assert_array_equal(paired.standard_error(), 0)
    assert (np.asarray(paired.spread()) > 0).all()


@pytest.mark.parametrize(("level", "count"), [(0.9, 4), (0.95, 40)])
def test_the_interval_of_half_samples_is_students_on_fishers_scale(level, count):
    r = resamples("half-samples", count=count)
    estimate = np.asarray(r.estimate, np.float64)
    t = stats.t.ppf((1 + level) / 2, count // 2 - 1)
    step = t * half_error(r.values, N // 2, N) / (1 - estimate**2)
    want = np.tanh([np.arctanh(estimate) - step, np.arctanh(estimate) + step])
    np.testing.assert_allclose(quick(lambda r: r.interval(level), r), want, rtol=0, atol=2e-5)
    gap = r.difference(("a", "b"), ("c", "b"), level)
    error = half_error(r.values[:, 0, 1] - r.values[:, 2, 1], N // 2, N)
    middle = estimate[0, 1] - estimate[2, 1]
    want = {"difference": middle, "error": error, "low": middle - t * error, "high": middle + t * error}
    assert gap == pytest.approx(want, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("one", [1.0, 1 - 3e-7], ids=["one", "one up to rounding"])
def test_a_score_of_one_has_an_interval_of_no_width(one):
    r = resamples("half-samples")
    sure = dataclasses.replace(r, estimate=r.estimate.at[1, 1].set(one))
    low, high = np.asarray(quick(js.Resamples.interval, sure))
    assert low[1, 1] == high[1, 1] == np.float32(one)
    hit = np.eye(3, dtype=bool) & (np.arange(3) == 1)
    np.testing.assert_array_equal(low[~hit], np.asarray(quick(js.Resamples.interval, r))[0][~hit])


def test_one_pair_of_halves_has_an_error_and_no_interval():
    r = resamples("half-samples", count=2)
    assert np.isfinite(r.standard_error()).all()
    assert np.isnan(quick(js.Resamples.interval, r)).all()


def test_an_odd_number_of_halves_is_refused():
    with pytest.raises(ValueError, match="come in pairs, and there are 5 values"):
        resamples("half-samples", count=5).standard_error()


ONLY_BOOTSTRAPS = {
    "BCa interval": lambda r: r.bca_interval(r),
    "two-factor variance": lambda r: r.two_factor((0, 0, 1), key=jax.random.key(0)),
}


@pytest.mark.parametrize("kind", ["half-samples", "subsample", "jackknife"])
@pytest.mark.parametrize("what", ONLY_BOOTSTRAPS)
def test_what_only_bootstraps_say(what, kind):
    with pytest.raises(ValueError, match=rf"^there is no {what} for the scheme {kind}; use js\.Bootstrap\(\)\.$"):
        ONLY_BOOTSTRAPS[what](resamples(kind))


NOT_OF_EVERY_SCHEME = {
    "max-t test": (lambda r: r.family_wise(), ("subsample", "jackknife", "permutation")),
    "false discovery rate": (lambda r: r.false_discovery(), ("subsample", "jackknife")),
    "paired test": (lambda r: r.compare_sources("a"), ("subsample", "jackknife", "permutation")),
    "share of first ranks": (lambda r: r.first_share(), ("jackknife", "permutation")),
    "rank stability": (lambda r: r.rank_stability(), ("jackknife", "permutation")),
}


@pytest.mark.parametrize("what", NOT_OF_EVERY_SCHEME)
def test_a_statistic_takes_the_schemes_that_it_holds_for(what):
    ask, refused = NOT_OF_EVERY_SCHEME[what]
    for kind in js.schemes.NAMED:
        if kind not in refused:
            jax.eval_shape(ask, resamples(kind, count=80))
            continue
        instead = r"use js\.HalfSamples\(\), or js\.Bootstrap\(\) for precomputed maps\."
        with pytest.raises(ValueError, match=rf"^there is no {what} for the scheme {kind}; {instead}$"):
            ask(resamples(kind))


# Tests of many scores


def oracle_family(values, estimate, null=0.0):
    """t, and single-step and unadjusted p-values, by loops over the resamples."""
    values, estimate = np.asarray(values, np.float64), np.asarray(estimate, np.float64)
    spread = values.std(0, ddof=1)
    t, stars = (estimate - null) / spread, np.abs(values - estimate) / spread
    count = len(values) + 1
    alone = [(1 + sum(star[h] >= abs(t[h]) for star in stars)) / count for h in range(len(t))]
    together = [(1 + sum(star.max() >= abs(t[h]) for star in stars)) / count for h in range(len(t))]
    return t, np.array(alone), np.array(together)


def benjamini_hochberg(p):
    order = np.argsort(p)
    q = [min(1.0, *(len(p) * p[order[j]] / (j + 1) for j in range(i, len(p)))) for i in range(len(p))]
    return np.asarray(q)[np.argsort(order)]


@pytest.mark.parametrize("square", slow_but([True], [True, False]), ids=["square", "against"])
def test_family_wise_counts_every_pair_once(square):
    r = resamples("bootstrap", square=square)
    found = quick(lambda r: r.family_wise(null=0.5), r)
    i, j = np.triu_indices(3, 1) if square else np.divmod([0, 2, 3, 4, 5], 2)  # not a with itself
    want = oracle_family(r.values[:, i, j], r.estimate[i, j], 0.5)
    for name, one in zip(("statistic", "unadjusted", "single_step"), want, strict=True):
        matrix = np.asarray(getattr(found, name))
        np.testing.assert_allclose(matrix[i, j], one, rtol=1e-4, err_msg=name)
        if square:
            np.testing.assert_array_equal(matrix, matrix.T, err_msg=name)
            assert np.isnan(np.diagonal(matrix)).all()
    assert (np.asarray(found.step_down)[i, j] <= np.asarray(found.single_step)[i, j] + 1e-7).all()
    assert len(set(want[2])) > 1


@pytest.mark.parametrize("kind", ["bootstrap", "permutation"])
def test_false_discovery_adjusts_the_p_values_of_the_scheme(kind):
    r = resamples(kind, count=200)
    i, j = np.triu_indices(3, 1)
    null = {"null": 0.5} if kind == "bootstrap" else {}
    p = (
        np.asarray(r.p_value())[i, j]
        if kind == "permutation"
        else np.asarray(quick(lambda r: r.family_wise(0.5), r).unadjusted)[i, j]
    )
    found = np.asarray(quick(lambda r: r.false_discovery(**null), r))
    np.testing.assert_allclose(found[i, j], benjamini_hochberg(p.astype(np.float64)), rtol=1e-5)
    np.testing.assert_array_equal(found, found.T)
    assert np.isnan(np.diagonal(found)).all()


def test_too_few_resamples_to_reject_anything_are_said():
    """Of 40 p-values none is below 1/41, and 3/41 > 0.05 >= 3/41/2: Benjamini and Hochberg reject two at once."""
    fdr, alone = js.Resamples.false_discovery, "^no p-value from 40 resamples is below 1 / 41: at 0.05"
    for kind in ("bootstrap", "permutation"):
        with pytest.warns(
            results.FewResamples, match=f"{alone}.* 2 or more of 3 hypotheses together, or none.* takes 59.$"
        ):
            jax.eval_shape(fdr, resamples(kind))
    lowest = np.asarray(js.statistics.false_discovery(np.array([1.0, 1.0, 41.0]) / 41))
    np.testing.assert_array_equal(lowest <= 0.05, [True, True, False])
    for kind, ask in {
        "bootstrap": js.Resamples.family_wise,
        "bayesian-bootstrap": fdr,
        "permutation": js.Resamples.p_value,
    }.items():
        with pytest.warns(results.FewResamples, match="^18 resamples can reject nothing at 0.05: .* 1 / 19; use 19.$"):
            jax.eval_shape(ask, resamples(kind, count=18))
        with warnings.catch_warnings():
            if ask is fdr:
                warnings.simplefilter("ignore")
            jax.eval_shape(ask, resamples(kind, count=19))
    with pytest.warns(
        results.FewResamples, match="^a 95 % percentile interval from 38 resamples is too narrow: it needs 39"
    ):
        jax.eval_shape(js.Resamples.interval, resamples("bootstrap", count=38))


@pytest.mark.parametrize(
    "ask", [pytest.param(js.Resamples.family_wise, marks=pytest.mark.slow), js.Resamples.false_discovery]
)
def test_half_samples_reject_at_any_number(ask):
    r = resamples("half-samples", count=10)
    found = ask(dataclasses.replace(r, values=0.01 * r.values + 0.99 * r.estimate))
    assert (np.asarray(found.step_down if isinstance(found, js.statistics.FamilyWise) else found)[0, 1:] < 0.05).all()


def test_half_samples_test_every_score_by_students_t():
    r = resamples("half-samples")
    found = quick(lambda r: r.family_wise(0.5), r)
    s = np.asarray(r.estimate, np.float64)
    t = (np.arctanh(s) - np.arctanh(0.5)) * (1 - s * s) / half_error(r.values, N // 2, N)
    degrees = 1 / (1 / (B // 2) + 1 / (N - 1))
    i, j = np.triu_indices(3, 1)
    np.testing.assert_allclose(np.asarray(found.statistic)[i, j], t[i, j], rtol=1e-3)
    np.testing.assert_allclose(np.asarray(found.unadjusted)[i, j], 2 * stats.t.sf(np.abs(t), degrees)[i, j], rtol=1e-2)
    ordered = [np.asarray(p)[i, j] for p in (found.unadjusted, found.step_down, found.single_step)]
    assert (np.diff(ordered, axis=0) > -0.01).all()
    holm = np.asarray(3 * ordered[0])
    assert (ordered[2] < holm + 0.01).all()
    q = benjamini_hochberg(ordered[0].astype(float))
    np.testing.assert_allclose(quick(lambda r: r.false_discovery(0.5), r)[i, j], q, rtol=1e-4)


def test_half_samples_compare_sources_by_paired_differences():
    r = resamples("half-samples", square=False)
    found = quick(lambda r: r.compare_sources("t"), r)
    gap = np.asarray(r.values[:, 0, 0] - r.values[:, 2, 0], np.float64)
    even, odd = ((gap[0::2] + sign * gap[1::2]) / 2 for sign in (1, -1))
    second = min(even.var(ddof=1) / (odd**2).mean(), 0.5)
    t = float(r.estimate[0, 0] - r.estimate[2, 0]) / half_error(gap, N // 2, N) / np.sqrt(1 - second / 2)
    assert float(found.statistic[0, 2]) == pytest.approx(t, rel=1e-4)
    assert float(found.statistic[2, 0]) == pytest.approx(-t, rel=1e-4)
    np.testing.assert_array_equal(found.step_down, np.asarray(found.step_down).T)


@pytest.mark.parametrize("square", slow_but([True], [True, False]), ids=["square", "against"])
def test_compare_sources_tests_all_pairs_of_sources(square):
    """Against "a", which is a source too and takes no part; against "t" all three sources are compared."""
    r = resamples("bootstrap", square=square)
    for target in ("a", "t")[: 1 if square else 2]:
        column = r.targets.index(target)
        names = [n for n in NAMES if n != target]
        pairs = [(NAMES.index(a), NAMES.index(b)) for k, a in enumerate(names) for b in names[k + 1 :]]
        a, b = np.transpose(pairs)
        values, estimate = (np.asarray(v[..., a, column] - v[..., b, column]) for v in (r.values, r.estimate))
        t, alone, together = oracle_family(values, estimate)
        found = quick(lambda r, target=target: r.compare_sources(target), r)
        np.testing.assert_allclose(np.asarray(found.statistic)[a, b], t, rtol=1e-4)
        np.testing.assert_allclose(np.asarray(found.statistic)[b, a], -t, rtol=1e-4)
        for matrix, want in ((found.unadjusted, alone), (found.single_step, together)):
            np.testing.assert_allclose(np.asarray(matrix)[a, b], want, rtol=1e-5)
            np.testing.assert_array_equal(matrix, np.asarray(matrix).T)
        assert np.isfinite(found.single_step).sum() == 2 * len(pairs)
    with pytest.raises(ValueError, match="'nobody'"):
        r.compare_sources("nobody")


@pytest.mark.slow
def test_contenders_are_the_first_and_those_that_tests_do_not_exclude():
    r = resamples("half-samples", square=False)
    scores, p = np.asarray(r.estimate)[:, 0], np.asarray(r.compare_sources("t").step_down)
    first = int(scores.argmax())
    for level in (1e-6, 0.5, 0.95, 1 - 1e-6):
        kept = [s for s in np.argsort(-scores) if s == first or p[first, s] > 1 - level]
        assert r.contenders("t", level) == tuple(r.names[s] for s in kept)
    assert len(r.contenders("t", 1e-6)) == 1
    for level in (0, 1, 95, np.nan):
        with pytest.raises(ValueError, match="strictly between 0 and 1"):
            r.contenders("t", level)


@pytest.mark.slow
def test_two_factor_takes_any_labels_of_the_targets():
    """Groups in the order of first appearance, with variances by hand for the images alone."""
    r = resamples("bootstrap")
    key = jax.random.key(1)
    found = quick(lambda r: r.two_factor(("late", "early", "late"), key=key), r)
    same = quick(lambda r: js.statistics.two_factor(r.values, r.estimate, (0, 1, 0), key=key, images=N), r)
    for one, other in zip(found, same, strict=True):
        np.testing.assert_array_equal(one, other)
    late = np.asarray(r.values, np.float64)[:, :, [0, 2]].mean(2)
    np.testing.assert_allclose(found.images[:, 0], late.var(0, ddof=1), rtol=1e-4)
    np.testing.assert_allclose(found.estimate[:, 0], np.asarray(r.estimate)[:, [0, 2]].mean(1), rtol=1e-5)
    parts = (np.asarray(v)[:, 0] for v in (found.both, found.members, found.images))
    want = [o.two_factor_variance(*row, 2, N) for row in zip(*parts, strict=True)]
    np.testing.assert_allclose(found.corrected[:, 0], want, rtol=1e-4)
    assert np.isnan(found.corrected[:, 1]).all()
    with pytest.raises(ValueError, match="2 members, but the scores have 3"):
        r.two_factor(("late", "early"), key=key)


# Back to single scores


def test_bca_interval_corrects_the_bias_of_the_resamples():
    r, jack = resamples("bootstrap", count=400), resamples("jackknife", count=N)
    shifted = dataclasses.replace(r, values=r.values - 0.03)
    (low, high), (moved_low, moved_high) = (quick(js.Resamples.bca_interval, b, jack) for b in (r, shifted))
    assert (np.asarray(low) < r.estimate).all()
    assert (np.asarray(high) > r.estimate).all()
    # the percentile interval moves with the bias, the corrected one much less
    assert (np.abs(moved_low - low) + np.abs(moved_high - high) < 2 * 0.03).all()
    np.testing.assert_allclose(shifted.interval()[0], r.interval()[0] - 0.03, rtol=1e-4)


def test_p_values_count_the_estimate_itself():
    r = resamples("permutation")
    count = (np.asarray(r.values) >= np.asarray(r.estimate) - 1e-6).sum(0)
    np.testing.assert_allclose(r.p_value(), (1 + count) / (B + 1), rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "ask", "said"),
    [
        ("permutation", lambda r: r.standard_error(), "no standard error for the scheme permutation"),
        ("permutation", lambda r: r.interval(), "no interval for the scheme permutation"),
        ("permutation", lambda r: r.interval(), "use js.HalfSamples(), or js.Bootstrap() for precomputed maps"),
        ("permutation", lambda r: r.difference(("a", "b"), ("a", "c")), "scheme permutation; use js.HalfSamples()"),
        ("bootstrap", lambda r: r.p_value(), "p-values come from js.Permutation(), not from bootstrap"),
        ("subsample", lambda r: r.bca_interval(r), "no BCa interval for the scheme subsample"),
        ("bootstrap", lambda r: r.bca_interval(r), "needs js.resample(..., js.Jackknife())"),
        ("bootstrap", lambda r: r.bca_interval(resamples("jackknife", square=False)), "of the same networks"),
        ("bootstrap", lambda r: r.interval(1.5), "between 0 and 1"),
        ("bootstrap", lambda r: r.table(95), "between 0 and 1"),
    ],
)
def test_what_a_scheme_cannot_say_is_refused(kind, ask, said):
    with pytest.raises(ValueError, match=".") as error:
        ask(resamples(kind))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_difference_pairs_the_resamples():
    r = resamples("bootstrap")
    found = r.difference(("a", "b"), ("c", "b"))
    paired = np.asarray(r.values[:, 0, 1] - r.values[:, 2, 1], np.float64)
    want = {
        "difference": float(r.estimate[0, 1] - r.estimate[2, 1]),
        "error": paired.std(ddof=1),
        "low": np.quantile(paired, 0.025),
        "high": np.quantile(paired, 0.975),
    }
    assert found == pytest.approx(want, rel=1e-4)
    assert r.difference(("a", "b"), ("a", "b")) == pytest.approx(dict.fromkeys(want, 0.0))


@pytest.mark.parametrize("entry", [("nobody", "a"), ("a", "nobody")])
def test_difference_of_an_unknown_network_is_refused_by_name(entry):
    with pytest.raises(ValueError, match="'nobody'"):
        resamples("bootstrap").difference(entry, ("a", "b"))


@pytest.mark.parametrize("square", [True, False])
def test_first_share_leaves_a_network_out_of_its_own_column(square):
    r = resamples("bootstrap", square=square)
    found = np.asarray(r.first_share())
    for t, target in enumerate(r.targets):
        others = [s for s, name in enumerate(NAMES) if name != target]
        best = np.asarray(r.values)[:, others, t].argmax(1)
        want = np.bincount(best, minlength=len(others)) / B
        np.testing.assert_allclose(found[others, t], want, atol=1e-6)
        if target in NAMES:
            assert np.isnan(found[NAMES.index(target), t])
    np.testing.assert_allclose(np.nansum(found, 0), 1, rtol=1e-6)
    assert r.rank_stability().shape == (len(r.targets),)


def test_draws_of_the_order_vary_as_the_estimate_does():
    """Half the differences of halves with both signs; subsets scaled; bootstraps as they are."""
    for kind in ("half-samples", "subsample", "bayesian-bootstrap"):
        r = resamples(kind)
        center, errors = r.error_draws("order")
        np.testing.assert_array_equal(center, r.estimate)
        size = np.sqrt((np.asarray(errors, np.float64) ** 2).mean(0))
        np.testing.assert_allclose(size, r.standard_error(), rtol=0.03)
        draws = np.asarray(center + errors) - 9 * np.eye(3)
        want = (draws.argmax(1)[:, :, None] == np.arange(3)).mean(0).T
        np.testing.assert_allclose(np.nan_to_num(r.first_share()), want, atol=1e-6)


def means(sets, n, sources, seed=0):
    """Values `(sets, n, sources)` whose means are scores of equal sources: products, whose tails are heavy."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(sets, n, 1)) * rng.normal(size=(sets, n, sources))


def signs(n, pairs, seed=1):
    """Weights `(2 pairs, n)` of half-samples: the mean of every half, and of its complement."""
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(n), (pairs, 1)), axis=1)
    first = (orders < n // 2) * 2.0
    return np.stack([first, 2 - first], 1).reshape(2 * pairs, n) / n


def scored(kind, weights, x, size=None):
    """Resamples `(sets, B, S, 1)` of means, as records of one target that vmap runs over."""
    names = tuple(f"s{k}" for k in range(x.shape[-1]))
    r = dataclasses.replace(resamples(kind), names=names, targets=("t",), images=x.shape[1], size=size)
    return r, (np.einsum("bn,dns->dbs", weights, x)[..., None], x.mean(1)[..., None])


def test_no_share_of_first_ranks_is_certain_among_equal_sources():
    """Nine tenths of the images vary a third as much as the estimate: unscaled, 24 % of shares were above 0.95."""
    x = means(120, 60, 6)
    keep = np.random.default_rng(2).permuted(np.tile(np.arange(60) < 54, (100, 1)), axis=1) / 54
    for kind, weights, size in (("subsample", keep, 54), ("half-samples", signs(60, 50), 30)):
        r, both = scored(kind, weights, x, size)
        share = jax.vmap(lambda v, s, r=r: dataclasses.replace(r, values=v, estimate=s).first_share())(*both)
        assert (np.asarray(share).max(1) > 0.95).mean() < 0.04, kind


def test_the_order_of_equal_sources_is_not_stable():
    """The order in a resample has a correlation of 0.7 with that of the full sample even so."""
    r, both = scored("half-samples", signs(60, 20), means(60, 60, 8), 30)
    stable = jax.vmap(lambda v, s: dataclasses.replace(r, values=v, estimate=s).rank_stability())(*both)
    assert abs(np.asarray(stable).mean()) < 0.15


@pytest.mark.slow
def test_paired_tests_of_equal_sources_hold_their_level():
    """Family-wise 5 % of 300 data sets (1.3 to 8.7 % within three standard errors), p-values uniform."""
    r, both = scored("half-samples", signs(60, 50), means(300, 60, 8), 30)
    tests = jax.jit(
        lambda *both: jax.lax.map(
            lambda one: dataclasses.replace(r, values=one[0], estimate=one[1]).compare_sources("t"), both
        )
    )(*(jnp.asarray(v, jnp.float32) for v in both))
    assert 0.013 < (np.nanmin(tests.single_step, (1, 2)) <= 0.05).mean() < 0.087
    assert 0.013 < (np.nanmin(tests.step_down, (1, 2)) <= 0.05).mean() < 0.087
    assert stats.kstest(np.asarray(tests.unadjusted)[:, 0, 1], "uniform").pvalue > 0.01


# The same network twice


def against(kind, scores, names=("a", "b", "c"), targets=("a", "b", "d"), **more):
    """Resamples of two sets whose resampled scores all have the estimate's spread."""
    r = dataclasses.replace(resamples(kind, count=1000), names=names, targets=targets, against=True)
    estimate = jnp.asarray(scores, jnp.float32)
    return dataclasses.replace(r, estimate=estimate, values=r.values - r.values.mean(0) + estimate, **more)


SAME = [[1 - 2e-7, 0.4, 0.3], [0.4, 0.6, 0.5], [0.3, 0.45, 0.35]]
"""Network a is in both sets; b and b only share a name."""


@pytest.mark.parametrize("kind", slow_but(["permutation"], ["half-samples", "bootstrap", "permutation"]))
def test_a_network_in_both_sets_is_no_hypothesis_about_itself(kind):
    r = against(kind, SAME)
    want = np.zeros((3, 3), bool)
    want[0, 0] = True
    np.testing.assert_array_equal(r.own, want)
    null = {} if kind == "permutation" else {"null": 0.42}
    found = np.asarray(r.false_discovery(**null))
    np.testing.assert_array_equal(np.isnan(found), want)
    np.testing.assert_allclose(quick(lambda r: r.false_discovery(**null), r), found, rtol=1e-4)
    p = np.asarray(r.p_value() if kind == "permutation" else r.family_wise(**null).unadjusted)
    np.testing.assert_allclose(found[~want], benjamini_hochberg(p[~want].astype(float)), rtol=1e-4)
    assert [n for n, _ in r.ranking("a")] == ["a", "b", "c"]
    assert [name for name, _ in r.ranking("b")] == ["b", "c", "a"]
    if kind != "permutation":
        assert np.isnan(np.asarray(r.first_share())).sum() == 1
        np.testing.assert_array_equal(np.isnan(r.family_wise(0.42).step_down), want)
        for compared in (r.compare_sources("a"), quick(lambda r: r.compare_sources("a"), r)):
            assert np.isfinite(np.asarray(compared.statistic)).sum() == 2
        two = dataclasses.replace(r, names=("a", "b"), values=r.values[:, :2], estimate=r.estimate[:2])
        with pytest.raises(ValueError, match="needs at least two of them"):
            two.compare_sources("a")


@pytest.mark.parametrize("kind", slow_but(["bootstrap"], ["half-samples", "bootstrap", "subsample", "jackknife"]))
def test_equal_networks_differ_by_zero(kind):
    """Sources a and b are the same up to rounding in every resample: no t of 2.7."""
    r = resamples(kind)
    rounding = 2e-7 * np.random.default_rng(1).normal(size=(B, 3)) + 1e-7
    twin = dataclasses.replace(
        r,
        values=r.values.at[:, 1].set(r.values[:, 0] * (1 + rounding)).at[:, 0, 1].set(1 - jnp.abs(rounding[:, 0])),
        estimate=r.estimate.at[1].set(r.estimate[0] * (1 + 2e-7)).at[0, 1].set(1 - 3e-7),
    )
    assert twin.difference(("a", "c"), ("b", "c")) == dict.fromkeys(("difference", "error", "low", "high"), 0.0)
    assert float(twin.standard_error()[0, 1]) == 0
    low, high = np.asarray(twin.interval())[:, 0, 1]
    assert (low, high) == pytest.approx((1, 1), abs=1e-6)
    if kind in ("half-samples", "bootstrap"):
        found = twin.compare_sources("c")
        assert (float(found.statistic[0, 1]), float(found.unadjusted[0, 1]), float(found.step_down[0, 1])) == (0, 1, 1)
        assert np.isnan(twin.family_wise(0.5).statistic[0, 1])


# Affinities


def test_ranking_is_best_first_with_the_undefined_last():
    assert AFFINITY.ranking("b") == [("c", 0.5), ("a", 0.25)]
    best, worst = AFFINITY.ranking("a")
    assert best == ("b", 0.25)
    assert worst[0] == "c"
    assert np.isnan(worst[1])
    with pytest.raises(ValueError, match="'nobody'"):
        AFFINITY.ranking("nobody")


@pytest.mark.parametrize(("names", "targets"), [(["a", "a"], None), (["a", "b"], ["c", "c"]), ([1, "1"], None)])
def test_numbers_made_elsewhere_have_each_name_once(names, targets):
    with pytest.raises(ValueError, match="made up has more than one row or column named [ac1]"):
        js.Affinity.from_array(np.eye(2), names, targets, measure="made up")


def test_numbers_of_numpy_in_a_record_are_read_back(tmp_path):
    made = dataclasses.replace(resamples("subsample"), size=np.int64(M), degrees=np.float32(2.5))
    again = results.load(made.save(tmp_path / "r.npz"))
    assert (again.size, again.degrees) == (M, 2.5)
    assert schemes.describe(js.Subsample(np.int64(M))) == f"subsample(size={M})"


@pytest.mark.parametrize("kind", ["bfloat16", "int8", "bool"])
def test_given_numbers_of_other_types_become_floats_that_files_hold(kind, tmp_path):
    values = jnp.eye(2, dtype=kind)
    given = js.Affinity.from_array(values, ["a", "b"], measure="made up", against=True)
    assert given.own.tolist() == [[True, False], [False, True]]
    np.testing.assert_array_equal(results.load(given.save(tmp_path / "a.npz")).values, np.eye(2))
    maps = js.Maps.from_dict({"a": values, "b": values[:, ::-1]})
    assert results.load(maps.save(tmp_path / "m.npz")).values.dtype == np.float64


@pytest.mark.parametrize("values", [[["a", "b"], ["c", "d"]], [[1, None], [2, 3]], np.eye(2) * 1j])
def test_given_numbers_that_are_none_are_refused(values):
    with pytest.raises(TypeError, match="made up has elements of type .*real numbers"):
        js.Affinity.from_array(values, ["a", "b"], measure="made up")
    with pytest.raises(TypeError, match="maps has elements of type .*real numbers"):
        js.Maps.from_array(values)


def test_names_of_given_numbers_are_text():
    given = js.Affinity.from_array(np.eye(2), [1, 2], [3, 4], measure="made up")
    assert (given.names, given.targets) == (("1", "2"), ("3", "4"))
    assert "1.000" in str(given)


def test_resamples_rank_by_the_full_sample_as_the_matrix_does():
    """Equal names in two sets are the same network only where the score is 1."""
    other = dataclasses.replace(AFFINITY, values=AFFINITY.values - 0.01)
    r = dataclasses.replace(resamples("bootstrap"), estimate=other.values)
    for against in (False, True):
        ours, theirs = (dataclasses.replace(one, against=against).ranking("b") for one in (r, other))
        assert ours == theirs
        assert ("b" in dict(ours)) == against


# Resamples without a score


def holed(kind="bootstrap", score=0.5):
    """Resamples of which three have no score of a and b, whose score is given."""
    r = resamples(kind)
    return dataclasses.replace(
        r,
        values=r.values.at[4:7, 0, 1].set(np.nan).at[4:7, 1, 0].set(np.nan),
        estimate=r.estimate.at[0, 1].set(score).at[1, 0].set(score),
    )


@pytest.mark.parametrize("score", [0.5, 1.0])
@pytest.mark.parametrize("kind", ["bootstrap", "half-samples"])
def test_an_entry_that_lacks_a_score_in_some_resample_has_no_interval(kind, score):
    r, hit = holed(kind, score), np.zeros((3, 3), bool)
    hit[0, 1] = hit[1, 0] = True
    np.testing.assert_array_equal(r.unscored(), np.where(hit, 3, 0))
    np.testing.assert_array_equal(np.isnan(r.interval()), np.broadcast_to(hit, (2, 3, 3)))
    np.testing.assert_array_equal(np.isnan(r.standard_error()), hit)


def test_resamples_without_a_score_stand_in_every_table():
    shown = holed().table()
    assert shown.header[-1] == "no score"
    assert next(row for row in shown.rows if row[0] == "a - b")[-4:] == ["nan", "nan", "nan", "3"]
    assert "a pair with any has no error, interval or p-value" in shown.note
    header, rows = bootstrap.pairs(holed(), 0.95)
    assert header[-1] == "no score"
    assert [row[-1] for row in rows] == [3, 0, 0]
    assert "no score" not in bootstrap.pairs(resamples("bootstrap"), 0.95)[0]
    pytest.importorskip("pandas", reason="pandas is not installed (extra: tables)")
    assert holed().to_pandas()["no score"].loc[("a", "b")] == 3


def test_subsets_of_all_images_say_why_they_have_no_interval():
    r = dataclasses.replace(resamples("subsample"), size=N)
    assert "subsets of all images have no error" in str(r)
    with pytest.raises(ValueError, match=r"use smaller subsets, or js\.HalfSamples\(\)"):
        r.interval()


def test_bca_of_no_record_says_what_it_takes():
    with pytest.raises(TypeError, match=r"needs js\.resample\(\.\.\., js\.Jackknife\(\)\) .*, not NoneType"):
        resamples("bootstrap").bca_interval(None)  # pyright: ignore[reportArgumentType]


def test_many_records_that_vmap_stacked_print_their_shapes():
    for one in (AFFINITY, resamples("bootstrap")):
        many = jax.tree.map(lambda a: np.stack([a, a]), one)
        assert str(many) == repr(many)
        assert many._repr_html_() == f"<code>{many!r}</code>"


# Tables


def test_pandas_views():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed (extra: tables)")
    frame = AFFINITY.to_pandas()
    assert (list(frame.index), list(frame.columns)) == (list(NAMES), list(NAMES))
    assert frame.loc["b", "c"] == 0.5
    r = resamples("subsample", square=False)
    long = r.to_pandas(0.9)
    assert list(long.columns) == ["estimate", "error", "low", "high"]
    assert isinstance(long.index, pandas.MultiIndex)
    assert long.index.names == ["source", "target"]
    low, high = r.interval(0.9)
    row = long.loc[("c", "t")]
    assert list(row) == pytest.approx([float(v[2, 0]) for v in (r.estimate, r.standard_error(), low, high)])
    assert list(resamples("permutation").to_pandas().columns) == ["estimate", "p"]


def test_xarray_views():
    pytest.importorskip("xarray", reason="xarray is not installed (extra: tables)")
    array = AFFINITY.to_xarray()
    assert (array.dims, array.name) == (("source", "target"), "rsa")
    assert float(array.sel(source="a", target="b")) == 0.25
    maps = MAPS.to_xarray()
    assert float(maps.sel(network="b", image="dog", other_image="cow")) == float(MAPS.values[1, 1, 2])
    assert dataclasses.replace(MAPS, ids=None).to_xarray().sizes == {"network": 2, "image": 3, "other_image": 3}


# Files


def test_what_is_no_pair_or_no_npz_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"two pairs \(source, target\) of names; 'a' is not one"):
        resamples("bootstrap").difference("a", ("a", "b"))
    with pytest.raises(ValueError, match=r"saved as npz, not csv; to_pandas\(\)"):
        resamples("bootstrap").save(tmp_path / "r.csv")


@pytest.mark.parametrize("name", RECORDS)
def test_files_give_back_what_was_saved(name, tmp_path):
    record = RECORDS[name]
    path = record.save(tmp_path / "record.npz")
    again = js.load(path)
    assert type(again) is type(record)
    for field in dataclasses.fields(record):
        before, after = getattr(record, field.name), getattr(again, field.name)
        if field.name in record._arrays:
            np.testing.assert_array_equal(before, after)
            assert np.asarray(before).dtype == np.asarray(after).dtype
        else:
            assert before == after, field.name
    assert [p.name for p in tmp_path.iterdir()] == ["record.npz"]
    with np.load(path, allow_pickle=False) as archive:
        assert json.loads(str(archive["record_json"]))["record"] == type(record).__name__


def test_loaded_resamples_compute_the_same(tmp_path):
    r = resamples("bootstrap")
    again = js.load(r.save(tmp_path / "r.npz"))
    np.testing.assert_array_equal(again.interval(), r.interval())
    assert again.difference(("a", "b"), ("c", "b")) == r.difference(("a", "b"), ("c", "b"))


def damaged(saved, tmp_path, text=None, arrays=(), **meta):
    """The sentence with which a record changed in its file is refused."""
    path = saved.save(tmp_path / "r.npz", overwrite=True)
    entries = dict(np.load(path))
    text = text or json.dumps(json.loads(str(entries["record_json"])) | meta)
    np.savez(path, **entries | dict(arrays) | {"record_json": np.asarray(text)})
    with pytest.raises(ValueError, match=r"r\.npz is damaged") as caught:
        js.load(path)
    return str(caught.value)


CONTRADICTIONS = [
    ("Affinity", {"names": ["a"]}),
    ("Affinity", {"names": 5}),
    ("Affinity", {"names": ["a", "a", "c"]}),
    ("Affinity", {"names": ["a", "b", "\ud800"]}),
    ("Affinity", {"against": "no"}),
    ("Affinity", {"undefined": [["a", "many"]]}),
    ("Affinity", {"provenance": {"measure": 5, "dtype": "", "device": ""}}),
    ("Affinity", {"provenance": []}),
    ("Affinity", {"surprise": 1}),
    ("Affinity", {"record": ["Affinity"]}),
    ("Affinity", {"text": "[" * 100_000}),
    ("Affinity", {"text": "[]"}),
    ("Affinity", {"text": "{"}),
    ("Affinity", {"arrays": {"values": np.ones(3)}}),
    ("Affinity", {"arrays": {"values": np.array([["a"] * 3] * 3)}}),
    ("Affinity", {"arrays": {"images": np.full((3, 3), 0.5)}}),
    ("Affinity", {"arrays": {"images": np.full((3, 3), -1)}}),
    ("Affinity", {"arrays": {"pairs": np.full((3, 3), 0.5)}}),
    ("Affinity", {"arrays": {"pairs": np.full((3, 3), N * N)}}),
    ("Resamples", {"kind": "guess"}),
    ("Resamples", {"images": 0}),
    ("Resamples", {"images": 2.5}),
    ("Resamples", {"size": 10**6}),
    ("Resamples", {"arrays": {"values": np.ones((0, 3, 3))}}),
    ("Resamples", {"arrays": {"estimate": np.ones((3, 2))}}),
    ("Maps", {"ids": ["cat"]}),
    ("Maps", {"ids": None, "arrays": {"values": np.ones((2, 3, 4))}}),
    ("Tree", {"names": ["a"]}),
    ("Tree", {"arrays": {"merges": np.zeros((2, 4))}}),
    ("Tree", {"arrays": {"merges": np.array([[0, 9, 0.1, 2], [2, 3, 0.2, 3]])}}),
    ("AgreementIntervals", {"level": 2.0}),
    ("AgreementIntervals", {"arrays": {"interval": np.zeros((3, 3))}}),
    ("Agreement", {"top": [1]}),
    ("Agreement", {"targets": []}),
]


@pytest.mark.filterwarnings("ignore:3 targets are too few", "ignore:There is no interval")
@pytest.mark.parametrize(("kind", "change"), CONTRADICTIONS)
def test_records_that_contradict_themselves_are_refused(kind, change, tmp_path):
    symmetric = np.array([[1, 0.5, 0.2], [0.5, 1, 0.3], [0.2, 0.3, 1]])
    scores = js.Affinity.from_array(symmetric, NAMES, measure="transfer")
    made = {
        "Tree": lambda: taxonomy.tree(scores),
        "Agreement": lambda: js.evaluate(scores, scores, diagonal=True),
        "AgreementIntervals": lambda: js.evaluation.agreement_intervals(resamples("bootstrap"), scores, diagonal=True),
    }
    saved = made[kind]() if kind in made else next(r for r in RECORDS.values() if type(r).__name__ == kind)
    damaged(saved, tmp_path, **change)


def test_the_refusal_of_a_record_says_what_is_wrong(tmp_path):
    said = damaged(AFFINITY, tmp_path, names=["a"])
    assert said.endswith("its array 'values' is float32 of shape (3, 3), not numbers of shape (1 x 3).")
    assert damaged(AFFINITY, tmp_path, names=5).endswith("its names cannot be 5.")


def test_an_existing_file_is_kept_unless_asked(tmp_path):
    path = tmp_path / "record.npz"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="record.npz"):
        AFFINITY.save(path)
    assert path.read_text() == "precious"
    AFFINITY.save(path, overwrite=True)
    assert js.load(path).names == NAMES


@pytest.mark.parametrize("name", RECORDS)
def test_json_is_strict_and_whole(name):
    record = RECORDS[name]
    text = json.dumps(record.to_json(), allow_nan=False)
    again = json.loads(text)
    assert again["record"] == type(record).__name__
    assert again["names"] == list(record.names)
    assert np.shape(again["values"]) == record.values.shape
    assert again["provenance"]["measure"] == "rsa"


def test_infinite_values_are_strict_json_too():
    record = dataclasses.replace(AFFINITY, values=jnp.full((3, 3), jnp.inf))
    json.dumps(record.to_json(), allow_nan=False)


# Records as pytrees


def test_records_are_pytrees_of_their_arrays():
    r = resamples("bootstrap")
    leaves, tree = jax.tree.flatten(r)
    assert len(leaves) == 2
    assert jax.tree.unflatten(tree, leaves).names == NAMES
    doubled = jax.jit(lambda v: jax.tree.map(lambda a: 2 * a, v))(r)
    np.testing.assert_allclose(doubled.estimate, 2 * r.estimate)
    assert doubled.provenance == r.provenance


def test_records_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        AFFINITY.names = ()


def test_provenance_says_how_to_make_it_again():
    values = jnp.ones((2, 2), jnp.float32)
    found = results.Provenance.now("rsa", values, scheme="jackknife()")
    versions = dict(found.versions)
    assert {"jax", "jaxlib", "numpy", "python"} <= set(versions)
    assert versions["jax"] == jax.__version__
    assert (found.dtype, found.precision, found.scheme) == ("float32", "highest", "jackknife()")
    assert jax.default_backend() in found.device


@pytest.mark.slow
def test_bca_refuses_a_jackknife_of_other_images():
    x = np.random.default_rng(0).normal(size=(2, 12, 5)).astype(np.float32)
    boot = js.resample(x, "cka", "bootstrap", n_resamples=20)
    assert boot.bca_interval(js.resample(x, "cka", "jackknife")).shape == (2, 2, 2)
    with pytest.raises(ValueError, match="same networks and images"):
        boot.bca_interval(js.resample(x[:, :7], "cka", "jackknife"))


def test_maps_made_elsewhere(tmp_path):
    from scipy.spatial import distance

    rows = np.random.default_rng(0).random((2, 10))
    squares = np.stack([distance.squareform(row) for row in rows])
    ids = list("abcde")
    whole = js.Maps.from_array(squares, ["v1", "it"], ids=ids, measure="brain RDMs")
    condensed = js.Maps.from_condensed(rows, ["v1", "it"], ids=ids)
    mixed = js.Maps.from_dict({"v1": squares[0], "it": rows[1].tolist()}, ids=ids)
    for maps, without in ((whole, False), (condensed, True), (mixed, True)):
        loaded = results.load(maps.save(tmp_path / "maps.npz", overwrite=True))
        np.testing.assert_array_equal(loaded.values, squares)
        assert (loaded.names, loaded.ids, loaded.condensed) == (("v1", "it"), tuple(ids), without)
        assert loaded.provenance.measure == ("brain RDMs" if maps is whole else "given")
        np.testing.assert_allclose(
            js.compare_maps(loaded, "spearman").values[0, 1], stats.spearmanr(*rows)[0], atol=2e-6
        )
    assert js.Maps.from_array(squares[0]).names == ("map",)
    with pytest.raises(ValueError, match="reads the diagonal, which condensed maps lack"):
        js.compare_maps(condensed, "centered-cosine")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: js.Maps.from_array(np.ones(6)), r"shape \(6,\) are neither one map \(n, n\) nor a stack"),
        (lambda: js.Maps.from_array(np.ones((5, 4))), r"map 'map' has shape \(5, 4\)"),
        (lambda: js.Maps.from_array(np.triu(np.ones((4, 4)))), "'map' is not symmetric"),
        (lambda: js.Maps.from_array(np.eye(4), "it"), "1 maps and the names 'it'; give a list with one name per map"),
        (
            lambda: js.Maps.from_array(np.eye(4), ["it"], ids=[1, 2]),
            r"ids of shape \(2,\) must hold one label for each of the 4 images",
        ),
        (lambda: js.Maps.from_condensed(np.ones(7)), "map 'map' has 7 entries"),
        (lambda: js.Maps.from_dict({"a": np.eye(4), 1: np.eye(4), "1": np.eye(4)}), "two maps have the name '1'"),
        (lambda: js.Maps.from_dict({"a": np.eye(4), "b": np.eye(5)}), "'a' and 'b' have 4 and 5 images"),
        (lambda: js.Maps.from_dict({}), "no maps"),
        (lambda: js.Maps.from_array(np.zeros((1, 1))), r"maps of shape \(1, 1\) hold no pairs of images"),
        (lambda: js.Maps.from_array([[0, 1], [1]]), "maps is not an array: its rows have different lengths"),
    ],
)
def test_maps_that_cannot_be_made(make, said):
    with pytest.raises(ValueError, match=said):
        make()
