"""Models compared with subjects: scores, ceilings, errors and tests against float64 loops, SciPy and rsatoolbox."""

import argparse
import csv
import functools
import itertools
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import oracles as o
import pytest
from machine import DATA
from marks import slow_but
from scipy.spatial.distance import squareform
from scipy.stats import norm, rankdata, ttest_1samp, ttest_rel, wilcoxon
from scipy.stats import t as student_t

import jaxsim as js
from jaxsim import cli, io, statistics
from jaxsim.cli import rdm as cli_rdm
from jaxsim.engine.padding import joined_buckets
from jaxsim.inference import program, verbs
from jaxsim.inputs import square_maps
from jaxsim.measures import of_maps
from jaxsim.plotting import model_dots
from jaxsim.resampling.program import Source
from jaxsim.statistics import holm

N, SUBJECTS, MODELS = 12, 4, 3
RANKS = ("spearman", "rho-a", "kendall-a", "kendall-b")
WHITENED = ("whitened-pearson", "whitened-cosine")
COMPARATORS = (*RANKS, "pearson", "cosine", *WHITENED)
COMPARED = slow_but(["pearson"], COMPARATORS)
RSATOOLBOX = {
    "pearson": "corr",
    "kendall-a": "tau-a",
    "kendall-b": "tau-b",
    "whitened-pearson": "corr_cov",
    "whitened-cosine": "cosine_cov",
}


def rdms(seed=0, n=N, ties=True):
    """Condensed maps of models and of subjects that share something; the last model has ties."""
    rng = np.random.default_rng(seed)
    shared, other = rng.uniform(size=(2, n * (n - 1) // 2))
    subjects = shared + rng.uniform(0.3, 2, size=(SUBJECTS, 1)) * rng.uniform(size=(SUBJECTS, shared.size))
    models = np.stack([shared, shared + 2 * other, np.round(3 * shared) if ties else other])
    return models, subjects


def named(rows, start):
    return {f"{start}{k}": row for k, row in enumerate(rows)}


def compared(**options):
    models, subjects = rdms()
    options = {"compare": "pearson", "n_resamples": 200} | options
    return js.compare_models(named(models, "m"), named(subjects, "s"), **options)


def score(name, a, b, v):
    """Of two condensed maps; `v` is the covariance of their entries."""
    if name in WHITENED:
        a, b = (x - x.mean() if name == "whitened-pearson" else x for x in (a, b))
        va, vb = np.linalg.solve(v, np.stack([a, b], 1)).T
        return a @ vb / np.sqrt((a @ va) * (b @ vb))
    return o.VECTOR_COMPARE[name.replace("-", "_")](a, b)


def pooled(name, rows, v):
    if name in RANKS:
        return np.mean([rankdata(r) for r in rows], 0)
    rows = rows - rows.mean(1, keepdims=True) * (name in ("pearson", "whitened-pearson"))
    length = np.sum(rows.T * (np.linalg.solve(v, rows.T) if name in WHITENED else rows.T), 0)
    return np.mean(rows / np.sqrt(length)[:, None], 0)


def covariance(images):
    """Of the distances of images drawn, those of an image with itself left out."""
    i, j = np.triu_indices(len(images), 1)
    keep = images[i] != images[j]
    return o.distance_covariance(np.eye(len(images)))[keep][:, keep]


def loop(name, models, subjects, images=None):
    """Scores `(S + 2, U)` of models and of the two ceilings, a pair at a time."""
    v = covariance(np.arange(N) if images is None else images)
    of_models = [[score(name, m, s, v) for s in subjects] for m in models]
    others = [np.delete(subjects, u, 0) for u in range(len(subjects))]
    lower = [score(name, pooled(name, rest, v), s, v) for rest, s in zip(others, subjects, strict=True)]
    upper = [score(name, pooled(name, subjects, v), s, v) for s in subjects]
    return np.array([*of_models, lower, upper])


def drawn(rows, images):
    """Condensed maps of images drawn with replacement, without the pairs of an image with itself."""
    i, j = np.triu_indices(len(images), 1)
    keep = images[i] != images[j]
    return np.stack([squareform(r)[images][:, images][i, j][keep] for r in rows])


def images_drawn():
    """All images as they are, and some drawn with replacement."""
    return np.vstack([np.arange(N), np.random.default_rng(1).integers(N, size=(5, N))])


@functools.cache
def device_scores(name):
    """Scores on the full sample, on `images_drawn`, and ceilings without each subject, of `rdms()`."""
    models, subjects = rdms()
    x, y = square_maps(named(models, "m")), square_maps(named(subjects, "s"))
    measure = of_maps(js.measures.PARTS["compare"][name])
    weights = np.stack([np.bincount(i, minlength=N) for i in images_drawn()])
    networks = joined_buckets(x, y, [measure])
    return program.scores_call(measure, *networks, len(models), None, Source(given=jnp.asarray(weights, float)), 3)[:3]


@pytest.mark.parametrize("name", COMPARED)
def test_scores_and_ceilings_equal_a_loop_over_resamples(name):
    models, subjects = rdms()
    scores, values, without = device_scores(name)
    np.testing.assert_allclose(scores, loop(name, models, subjects), atol=2e-6)
    expected = [loop(name, drawn(models, i), drawn(subjects, i), i) for i in images_drawn()]
    np.testing.assert_allclose(values, expected, atol=4e-6)
    for u in range(SUBJECTS):
        rest = loop(name, models[:0], np.delete(subjects, u, 0))
        np.testing.assert_allclose(np.delete(without[:, u], u, 1), rest, atol=2e-6)


@pytest.mark.slow
def test_kendall_and_its_ceilings_under_counts_equal_a_loop():
    rows, own = rdms(), js.compare.kendall_b
    weights = np.stack([np.bincount(i, minlength=N) for i in images_drawn()], 1).astype("f4")

    @jax.jit
    def weighted(x, y, w):
        x, y = (jax.vmap(own.embed)(m) for m in (x, y))
        return jnp.concatenate([own.weighted(x, y, w), own.weighted_ceiling(y, w)], 1)

    found = weighted(*(np.stack([squareform(r) for r in some]).astype("f4") for some in rows), weights)
    expected = [loop("kendall-b", *(drawn(some, i) for some in rows), i) for i in images_drawn()]
    np.testing.assert_allclose(found, expected, atol=4e-6)


@pytest.mark.slow
def test_ceilings_of_debiased_maps_equal_a_loop_over_mutual_scores():
    scores, values, _ = device_scores("u-centered-cosine")
    ceiling = js.noise_ceiling(named(rdms()[1], "s"), "u-centered-cosine")
    np.testing.assert_allclose(np.mean(scores[-2:], 1), ceiling, atol=2e-6)
    np.testing.assert_allclose(values[0], scores, atol=3e-6)
    assert np.isfinite(values).all()


def test_ranks_under_counts_equal_those_of_the_expanded_list():
    rng = np.random.default_rng(0)
    v, counts = np.round(5 * rng.uniform(size=60)).astype("f4"), rng.integers(3, size=60)
    counted = jax.jit(js.ranks.counted)
    found = np.asarray(counted(v, counts.astype("f4")))
    np.testing.assert_array_equal(np.repeat(found, counts), rankdata(np.repeat(v, counts)))
    v[1] = np.nan
    assert np.isnan(counted(v, np.ones(60, "f4"))).all()


@functools.partial(jax.jit, static_argnums=2)
def mean_draws(values, scores, images_count, key=0):
    """Draws over images and subjects, errors of rows and of their differences, degrees of freedom, and tests."""
    draws = statistics.mean_draws(values, scores, images_count=images_count, key=key)
    apart = draws.rows(*np.triu_indices(len(scores), 1))
    return draws, draws.error(), apart.error(), draws.degrees, statistics.bootstrap_tests(draws)


def test_over_subjects_is_the_t_test():
    found = compared(over="subjects")
    s = np.asarray(found.scores, float)
    np.testing.assert_allclose(found.p_zero, ttest_1samp(s, 0, axis=1, alternative="greater").pvalue, rtol=1e-4)
    np.testing.assert_allclose(found.p_pair[0, 1], ttest_rel(s[0], s[1]).pvalue, rtol=1e-3)
    ends = ttest_1samp(s, 0, axis=1).confidence_interval(0.95)
    np.testing.assert_allclose([found.low, found.high], [ends.low, ends.high], atol=2e-6)
    np.testing.assert_array_equal(found.degrees, SUBJECTS - 1)


@pytest.mark.slow
def test_errors_over_both_are_those_of_two_factor():
    models, subjects = rdms()
    R = js.resample(named(models, "m"), "pearson", js.Bootstrap(), n_resamples=200, against=named(subjects, "s"), key=0)
    found = compared(key=0)
    np.testing.assert_allclose(found.estimate, np.mean(R.estimate, 1), atol=1e-6)
    draws, error, *_ = mean_draws(R.values, R.estimate, N, jax.random.fold_in(jax.random.key(0), 200))
    np.testing.assert_allclose(error, found.error, atol=1e-6)
    images, members, both = (np.var(v, 0, ddof=1) for v in draws[1:4])
    u, v = SUBJECTS / (SUBJECTS - 1), N / (N - 1)
    expected = u * members + v * images - u * v * (both - members - images)
    expected = np.minimum(np.maximum(expected, np.maximum(u * members, v * images)), u * v * both)
    np.testing.assert_allclose(found.error, np.sqrt(expected), rtol=1e-4)
    pair = np.var(np.asarray(draws.both)[:, 0] - np.asarray(draws.both)[:, 1], ddof=1)
    assert found.difference_error[0, 1] < np.sqrt(u * v * pair) * 1.0001


def test_the_ceiling_varies_as_the_jackknife_over_subjects_says():
    models, subjects = rdms()
    found = compared(over="subjects")
    s = loop("pearson", models, subjects)[0]
    without = np.array([loop("pearson", models[:0], np.delete(subjects, u, 0)).mean(1) for u in range(SUBJECTS)])
    values = (1 - SUBJECTS) * (without - without.mean(0))
    lower, upper = np.std(values, 0, ddof=1) / np.sqrt(SUBJECTS)
    quantile = student_t.isf(0.025, SUBJECTS - 1)
    for k, error in enumerate((lower, upper)):
        np.testing.assert_allclose(found.ceiling_high[k] - found.ceiling[k], quantile * error, rtol=2e-3)
    apart = s - s.mean() - values[:, 0]
    t = (s.mean() - float(found.ceiling[0])) / (np.std(apart, ddof=1) / np.sqrt(SUBJECTS))
    np.testing.assert_allclose(found.p_ceiling[0], 2 * student_t.sf(abs(t), SUBJECTS - 1), rtol=5e-3)


@pytest.mark.slow
def test_degrees_of_freedom_follow_the_share_of_subjects():
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=(2, 400, 3, 6)).astype(np.float32)
    for values, scores, expected in (
        (0.01 * own, own[0], 5),  # subjects alone
        (np.repeat(shared[..., :1], 6, 2), np.zeros((3, 6), np.float32), 20),  # images alone
    ):
        degrees = mean_draws(scores + values, scores, 50)[3]
        np.testing.assert_allclose(degrees, expected, rtol=0.1)
    found = compared(over="both")
    assert (np.asarray(found.degrees) >= SUBJECTS - 1).all()
    assert (np.asarray(found.degrees) <= N - 1).all()


@pytest.mark.slow
def test_few_images_bound_the_degrees_of_freedom():
    shared = np.random.default_rng(0).normal(size=(400, 3, 1)).astype(np.float32)
    scores = np.zeros((3, 6), np.float32)
    degrees = mean_draws(scores + shared, scores, 9)[3]
    np.testing.assert_array_equal(degrees, 8)  # 20 for six subjects of no variance


@pytest.mark.parametrize("degrees", [2.0, 3.7, 19.0, 100.0])
def test_quantiles_and_p_values_of_student(degrees):
    found = statistics.student_quantile(jnp.array(degrees), 0.9)
    np.testing.assert_allclose(found, student_t.isf(0.05, degrees), rtol=2e-5)
    np.testing.assert_allclose(statistics.student_p(jnp.array(2.5), degrees), 2 * student_t.sf(2.5, degrees), rtol=1e-4)


@pytest.mark.slow
def test_over_images_keeps_subjects():
    found = compared(over="images")
    np.testing.assert_allclose(found.error, np.std(found.draws, 0, ddof=1) * np.sqrt(N / (N - 1)), rtol=1e-4)
    np.testing.assert_array_equal(found.degrees, N - 1)


@pytest.mark.slow
def test_rank_test_is_wilcoxon_over_subjects():
    found = compared(test="rank")
    s = np.asarray(found.scores, float)
    expected = [wilcoxon(row, alternative="greater").pvalue for row in s]
    np.testing.assert_allclose(found.p_zero, expected, rtol=1e-6)
    np.testing.assert_allclose(found.p_pair[0, 2], wilcoxon(s[0] - s[2]).pvalue, rtol=1e-6)
    pairs = np.array([found.p_pair[a, b] for a, b in ((0, 1), (0, 2), (1, 2))])
    np.testing.assert_allclose([found.p_adjusted[a, b] for a, b in ((0, 1), (0, 2), (1, 2))], holm(pairs), rtol=1e-6)


def test_bootstrap_p_values_are_shares_of_the_draws():
    found = compared(test="bootstrap", over="images")
    draws = np.asarray(found.draws)
    np.testing.assert_allclose(found.p_zero, (1 + (draws <= 0).sum(0)) / 201, rtol=1e-6)
    apart = draws[:, 0] - draws[:, 2]
    expected = min(1, 2 * min(1 + (apart <= 0).sum(), 1 + (apart >= 0).sum()) / 201)
    np.testing.assert_allclose(found.p_pair[0, 2], expected, rtol=1e-6)
    pairs = tuple(np.transpose([(0, 1), (0, 2), (1, 2)]))
    estimate, v = (np.asarray(m)[..., pairs[0]] - np.asarray(m)[..., pairs[1]] for m in (found.estimate, draws))
    steps = stepped(np.abs(estimate) / v.std(0, ddof=1), np.abs(v - estimate) / v.std(0, ddof=1))
    assert (steps > np.asarray(found.p_pair)[pairs]).any()
    np.testing.assert_allclose(found.p_adjusted[pairs], np.maximum(steps, found.p_pair[pairs]), rtol=1e-5)


def test_differences_are_row_less_column():
    found = compared(over="subjects")
    s = np.asarray(found.estimate)
    np.testing.assert_allclose(found.difference, s[:, None] - s, atol=1e-6)
    for name in ("difference_error", "p_pair", "p_adjusted"):
        np.testing.assert_array_equal(getattr(found, name), np.transpose(getattr(found, name)))


replacement_weights = jax.jit(statistics.members.replacement_weights, static_argnums=(1, 3))


@pytest.mark.slow
@pytest.mark.parametrize("power", slow_but([1], [1, 2]))
def test_draws_over_both_hold_the_jackknife_of_the_ceiling(power):
    """That of the squares where scores are squared."""
    rng, draws, count, rows = np.random.default_rng(6), 200, SUBJECTS, MODELS + 2
    scores, without = rng.normal(size=(rows, count)), rng.normal(size=(2, count, count)) * (1 - np.eye(count))
    values, key = rng.normal(size=(draws, rows, count)), jax.random.key(0)
    options = {"images_count": N, "over": "both", "test": "t", "n_resamples": draws, "level": 0.95}
    given = [jnp.asarray(v, jnp.float32) for v in (values, scores, without)]
    found = program.inference_call(*given, key, **options, squared=power == 2)
    ceilings, acts = scores[MODELS:] ** power, -np.sum(without**power, 2)
    shift = (acts - acts.mean(1)[:, None]) - (ceilings - ceilings.mean(1)[:, None])
    drawn_subjects = jax.random.fold_in(key, draws)
    weights = replacement_weights(drawn_subjects, draws, np.ones(count, bool), jnp.float32)
    expected = np.einsum("bu,bku->bk", weights, values[:, MODELS:] ** power + shift)
    np.testing.assert_allclose(found["ceiling_draws"], expected, atol=1e-5)
    np.testing.assert_allclose(found["ceiling_scores"], ceilings, atol=1e-5)


@jax.jit
def over_subjects(rows):
    """Tests of rows of scores, and the draws of their means."""
    draws = statistics.mean_draws(None, rows, images_count=50, over="subjects", n_resamples=4000)
    return statistics.student_tests(draws), draws.widest


def test_adjusted_p_values_are_of_the_largest_t():
    rows = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    tests, alike = over_subjects(rows)[0], over_subjects(np.repeat(rows[:1], 30, 0))[0]
    p, adjusted = np.asarray(tests.p, float), np.asarray(tests.adjusted, float)
    assert (adjusted >= p).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= -1e-6).all()
    assert adjusted[p.argmin()] > 5 * p.min()
    np.testing.assert_allclose(alike.adjusted, p[0], atol=0.05)  # the same test thirty times is one


def stepped(size, largest):
    """P-values `(H,)` by the largest of the draws `(B, H)` of the hypotheses that are no more extreme."""
    steps, before = np.zeros(len(size)), 0.0
    for k in np.argsort(-size):
        above = (largest[:, size <= size[k]].max(1) >= size[k]).sum()
        before = steps[k] = max(before, (1 + above) / (1 + len(largest)))
    return steps


def test_adjusted_p_values_of_t_step_down():
    rows = np.random.default_rng(1).normal(size=(30, 5)) + np.geomspace(0.1, 3, 30)[:, None]
    tests, v = (jax.tree.map(np.asarray, part) for part in over_subjects(rows.astype(np.float32)))
    p = tests.p.astype(float)
    expected = stepped(norm.isf(p / 2), np.abs(v - v.mean(0)) / v.std(0, ddof=1))
    np.testing.assert_allclose(tests.adjusted, np.maximum(expected, p), rtol=1e-5)


@pytest.mark.slow
def test_a_row_that_lacks_a_draw_has_no_p_value():
    values = np.random.default_rng(2).normal(size=(400, 3, 6)).astype(np.float32)
    values[7, 1, 2] = np.nan
    tests = mean_draws(values, values[0], 9)[4]
    np.testing.assert_array_equal(np.isnan(tests.p), [False, True, False])
    np.testing.assert_array_equal(np.isnan(tests.adjusted), [False, True, False])


@pytest.mark.slow
def test_equal_models_do_not_differ():
    models, subjects = rdms()
    found = js.compare_models(
        {"a": models[0], "b": 2 * models[0] + 1, "c": models[1]}, named(subjects, "s"), "pearson", n_resamples=200
    )
    assert (found.difference[0, 1], found.p_pair[0, 1], found.p_adjusted[0, 1]) == (0, 1, 1)


@pytest.mark.slow
def test_one_model_of_two_subjects_has_no_pairs():
    models, subjects = rdms()
    one = types.SimpleNamespace(
        dissimilarities=subjects, rdm_descriptors={"subject": list("aabb")}, pattern_descriptors={}
    )
    of, options = one.rdm_descriptors["subject"], {"over": "subjects", "n_resamples": 200}
    found = js.compare_models({"a": models[0]}, one, "pearson", subject_of=of, **options)
    assert found.subjects == ("a", "b")
    assert found.p_adjusted.shape == (1, 1)
    assert len(found.pair_rows()[1]) == 0


@pytest.mark.slow
def test_squared_scores_lose_their_sign_and_say_so():
    plain, squared = compared(), compared(squared=True)
    np.testing.assert_allclose(squared.scores, np.square(plain.scores), atol=1e-6)
    np.testing.assert_allclose(squared.ceiling, np.square(plain.ceiling_scores).mean(1), atol=1e-6)
    assert np.isnan(squared.p_zero).all()
    assert "sign is lost" in str(squared)


def test_maps_of_one_subject_are_averaged():
    models, subjects = rdms()
    subjects = np.vstack([subjects, models[1]])
    of = {"s0": "anna", "s1": "anna", "s2": "ben", "s3": "cleo", "s4": "dora"}
    options = {"over": "subjects", "n_resamples": 200}
    found = js.compare_models(named(models, "m"), named(subjects, "s"), "pearson", subject_of=of, **options)
    apart = {"anna": subjects[:2].mean(0), "ben": subjects[2], "cleo": subjects[3], "dora": subjects[4]}
    expected = js.compare_models(named(models, "m"), apart, "pearson", **options)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
    assert found.subjects == ("anna", "ben", "cleo", "dora")
    assert "anna (2)" in str(found)
    again = js.compare_models(
        named(models, "m"), named(subjects, "s"), "pearson", subject_of=list(of.values()), **options
    )
    np.testing.assert_array_equal(found.scores, again.scores)
    numbered, of = dict(enumerate(subjects)), dict(enumerate(of.values()))
    again = js.compare_models(named(models, "m"), numbered, "pearson", subject_of=of, **options)
    np.testing.assert_array_equal(found.scores, again.scores)


@pytest.mark.slow
def test_features_become_maps_beside_ready_ones():
    models, subjects = rdms()
    x, y = np.random.default_rng(3).normal(size=(2, N, 5)).astype(np.float32)
    brains = named(subjects, "s")
    found = js.compare_models(
        {"net": x, "rdm": models[0], "other": y},
        brains,
        "pearson",
        measure="rsa",
        over="subjects",
        n_resamples=200,
    )
    made = np.asarray(js.maps({"net": x, "other": y}, "rsa").values)
    both = {"net": made[0], "rdm": models[0], "other": made[1]}
    expected = js.compare_models(both, brains, "pearson", over="subjects", n_resamples=200)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
    with pytest.raises(TypeError, match="give measure="):
        js.compare_models({"net": x}, brains)


def test_maps_are_matched_by_their_images():
    models, subjects = rdms()
    ids = [f"image{k}" for k in range(N)]
    order = np.random.default_rng(0).permutation(N)
    brains = js.Maps.from_condensed(subjects, ids=ids)
    shuffled = {f"m{k}": squareform(m)[order][:, order] for k, m in enumerate(models)}
    with pytest.raises(ValueError, match="another order"):
        js.compare_models(shuffled, brains, ids=[ids[k] for k in order])
    found = js.compare_models(
        shuffled, brains, "pearson", ids=[ids[k] for k in order], align=True, over="subjects", n_resamples=200
    )
    expected = js.compare_models(named(models, "m"), named(subjects, "s"), "pearson", over="subjects", n_resamples=200)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


def test_features_in_other_orders_are_aligned_before_they_are_maps():
    models, subjects = rdms()
    rng = np.random.default_rng(4)
    x, order = rng.normal(size=(2, N, 5)).astype(np.float32), rng.permutation(N)
    ids = [f"image{k}" for k in range(N)]
    brains = js.Maps.from_condensed(subjects, ids=ids)
    options = {"compare": "pearson", "measure": "rsa", "over": "subjects", "n_resamples": 200}
    labels = {"a": [ids[k] for k in order], "b": ids, "c": ids}
    found = js.compare_models({"a": x[0][order], "b": x[1], "c": models[0]}, brains, ids=labels, align=True, **options)
    expected = js.compare_models({"a": x[0], "b": x[1], "c": models[0]}, named(subjects, "s"), **options)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("test", ["t", "bootstrap", "rank"])
def test_a_constant_map_is_not_above_zero(test):
    """Its rho-a with every subject is 0, of which sums leave some 1e-14."""
    models, subjects = rdms()
    given = {"a": models[0], "constant": np.ones_like(models[0]), "b": models[1]}
    found = js.compare_models(given, named(subjects, "s"), "rho-a", over="subjects", test=test, n_resamples=200)
    assert abs(float(found.estimate[1])) < 1e-6
    assert found.p_zero[1] >= 0.5
    assert found.p_zero[0] < 0.1


def test_rdms_of_rsatoolbox_by_their_attributes():
    models, subjects = rdms()
    ids = [f"image{k}" for k in range(N)]
    one = types.SimpleNamespace(
        dissimilarities=subjects,
        rdm_descriptors={"index": np.arange(SUBJECTS), "session": [1] * SUBJECTS, "subject": list("abcd")},
        pattern_descriptors={"index": np.arange(N), "conds": ids},
    )
    maps = js.Maps.from_rsatoolbox(one)
    assert maps.names == tuple("abcd")
    assert maps.ids == tuple(ids)
    found = js.compare_models(named(models, "m"), one, "pearson", over="subjects", ids=ids, n_resamples=200)
    assert found.subjects == tuple("abcd")


def test_sessions_that_count_as_subjects_are_told():
    models, subjects = rdms()
    one = types.SimpleNamespace(
        dissimilarities=subjects, rdm_descriptors={"subject": list("aabb")}, pattern_descriptors={}
    )
    with pytest.warns(UserWarning, match="4 RDMs of 2 subjects count as 4 subjects, .*give subject_of=rdms"):
        js.compare_models(named(models, "m"), one, "pearson", over="subjects", n_resamples=200)
    one = dict(zip(("anna | Session: 1", "anna | Session: 2", "ben_run1", "ben"), subjects, strict=True))
    with pytest.warns(UserWarning, match="4 maps of 2 subjects .*makes 'anna' of 'anna . Session: 1'"):
        js.compare_models(named(models, "m"), one, "pearson", over="subjects", n_resamples=200)


@pytest.mark.parametrize("names", [("brun1", "brun2"), ("s1", "s2"), ("a_runner", "a_runners"), ("run1", "run2")])
def test_names_without_sessions_are_subjects(names, recwarn):
    verbs._warn_of_sessions({}, names)
    assert not recwarn.list


def test_the_record_prints_saves_and_becomes_tables(tmp_path):
    found = compared()
    again = js.load(found.save(tmp_path / "found.npz"))
    assert str(again) == str(found)
    assert again.names == found.names
    np.testing.assert_array_equal(again.p_adjusted, found.p_adjusted)
    frame, pairs = found.to_pandas(), found.to_pandas(pairs=True)
    assert list(frame.columns) == ["score", "error", "low", "high", "p zero", "p ceiling"]
    assert frame.index[0] == found.ranking()[0][0]
    assert len(pairs) == 3
    a, b = pairs.index[0]
    i, j = found.names.index(a), found.names.index(b)
    assert pairs["difference"].iloc[0] == float(found.difference[i, j])
    assert "noise ceiling: lower" in str(found)
    assert "new subjects and images" in str(found)


def test_it_goes_inside_jit():
    models, subjects = rdms()
    maps = [np.stack([squareform(r) for r in rows]).astype(np.float32) for rows in (models, subjects)]
    found = jax.eval_shape(lambda x, y: js.compare_models(x, y, "pearson", n_resamples=200, key=5), *maps)
    assert found.p_adjusted.shape == (MODELS, MODELS)
    assert found.draws.shape == (200, MODELS)
    with pytest.raises(TypeError, match="sorts on the host"):
        jax.eval_shape(lambda x, y: js.compare_models(x, y, "pearson", test="rank", n_resamples=200), *maps)


def test_draws_follow_from_the_key():
    first, again, other = (np.asarray(compared(key=k).draws) for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


BAD = {
    "one subject": ({"subjects": {"s0": rdms()[1][0]}}, "needs at least two"),
    "missing pairs": ({"subjects": {"s0": rdms()[1][0], "s1": np.where(np.arange(66) < 3, np.nan, 1.0)}}, "lacks 3 of"),
    "other sizes": ({"models": {"m": np.arange(10.0)}}, "5 and 12 images"),
    "subjects as features": ({"subjects": np.zeros((3, N, 2, 2))}, "not a stack|not a map|shape"),
    "over": ({"over": "runs"}, "over must be one of"),
    "ranks of images": ({"test": "rank", "over": "images"}, "ranks subjects"),
    "subject_of": ({"subject_of": ["a", "b"]}, "holds 2 subjects for 4 maps"),
    "subject_of names": ({"subject_of": {"s0": "a"}}, "subject_of has no subject for s1, s2, s3"),
    "a measure of maps": ({"measure": "rsa"}, "all models are maps"),
    "a text of resamples": ({"n_resamples": "9"}, "n_resamples must be a whole number from 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_a_sentence(case):
    options, message = BAD[case]
    models, subjects = rdms()
    given = {"models": named(models, "m"), "subjects": named(subjects, "s")} | options
    with pytest.raises(ValueError, match=message):
        js.compare_models(**given)


@pytest.mark.slow
def test_features_of_models_may_have_their_channels_first():
    models, subjects = rdms()
    x = np.random.default_rng(3).normal(size=(N, 4, 3, 3)).astype(np.float32)
    measure = js.Measure(js.transforms.mean_pool, js.pairwise.euclidean, js.compare.pearson)
    given = {"subjects": named(subjects, "s"), "compare": "pearson", "over": "subjects", "n_resamples": 200}
    first = js.compare_models({"a": x}, measure=measure, channels="first", **given)
    last = js.compare_models({"a": np.moveaxis(x, 1, -1)}, measure=measure, channels="last", **given)
    np.testing.assert_array_equal(first.scores, last.scores)
    with pytest.raises(ValueError, match="all models are maps; leave channels out"):
        js.compare_models(named(models, "m"), channels="first", **given)


def test_a_text_is_no_subject_of():
    models, subjects = rdms()
    with pytest.raises(TypeError, match="partition"):
        js.compare_models(named(models, "m"), named(subjects, "s"), subject_of="_session")


def test_comparators_without_a_ceiling_are_refused():
    models, subjects = rdms()
    with pytest.raises(TypeError, match="no noise ceiling under bootstraps"):
        js.compare_models(named(models, "m"), named(subjects, "s"), "root-centered-cosine")
    with pytest.raises(TypeError, match="comparator such as"):
        js.compare_models(named(models, "m"), named(subjects, "s"), js.RSA)


def test_a_constant_map_has_no_score_and_no_ceiling():
    models, subjects = rdms()
    subjects[1] = 1.0
    with pytest.warns(js.UndefinedScores, match="s1"):
        found = js.compare_models(named(models, "m"), named(subjects, "s"), "pearson", n_resamples=200)
    assert np.isnan(found.estimate).all()
    assert "nan" in str(found)


def test_few_resamples_are_warned_of():
    with pytest.warns(js.FewResamples, match="few for standard errors"):
        verbs._check_options(of_maps(js.compare.pearson), "both", "t", 20)


@pytest.mark.filterwarnings("ignore:Noise ceiling for tau")
@pytest.mark.parametrize("name", COMPARED)
def test_rsatoolbox_has_the_same_scores_and_ceilings(name):
    """On the full sample, and on images drawn with replacement."""
    pytest.importorskip("rsatoolbox")
    from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling
    from rsatoolbox.rdm import RDMs, compare

    x, y = (RDMs(rows) for rows in rdms())
    images, theirs = images_drawn()[1], RSATOOLBOX.get(name, name)
    scores, values, _ = device_scores(name)
    for found, a, b in ((scores, x, y), (values[1], *(r.subsample_pattern("index", images) for r in (x, y)))):
        np.testing.assert_allclose(found[:-2], compare(a, b, theirs), atol=3e-6)
        if name not in WHITENED:  # of which it pools maps that are not whitened, see `test_rsatoolbox.py`
            np.testing.assert_allclose(np.mean(found[-2:], 1), boot_noise_ceiling(b, theirs), atol=3e-6)


def test_rsatoolbox_has_the_same_variances_of_the_same_draws():
    """Of models and of differences; where its bounds are not in the way, see `corrected_variance`."""
    pytest.importorskip("rsatoolbox")
    from rsatoolbox.util.inference_util import extract_variances

    rng = np.random.default_rng(5)
    scores = rng.normal(size=(3, 6)).astype(np.float32)
    values = scores + rng.normal(size=(400, 3, 1)) + rng.normal(size=(400, 3, 6)) / 2
    draws, error, difference_error, *_ = mean_draws(values.astype(np.float32), scores, 50)
    covariances = np.stack([np.cov(np.asarray(v, float).T) for v in (draws.both, draws.subjects, draws.images)])
    single, pairs, _ = extract_variances(covariances, nc_included=False, n_rdm=6, n_pattern=50)
    i, j = np.triu_indices(3, 1)
    first = covariances[0]
    for theirs, ours, largest in (
        (single, error, first.diagonal()),
        (pairs, difference_error, first[i, i] + first[j, j] - 2 * first[i, j]),
    ):
        np.testing.assert_allclose(np.minimum(theirs, largest), np.minimum(np.square(ours), largest), rtol=1e-4)


def test_the_figure_shows_models_best_first_with_the_ceiling():
    found = compared()
    figure = found.plot(title="models")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [name for name, _ in found.ranking()]
    bands = sorted((p.get_x(), p.get_x() + p.get_width()) for p in axes.patches)
    np.testing.assert_allclose(bands[1], found.ceiling, rtol=1e-5)
    np.testing.assert_allclose(bands[0], (found.ceiling_low[0], found.ceiling_high[1]), rtol=1e-5)
    marks = [text.get_position()[1] for text in axes.texts]
    assert len(marks) == (np.asarray(found.p_ceiling) < 0.05).sum()


@pytest.mark.parametrize(
    ("apart", "lines"),
    [
        ([], [(0, 1, 2, 3)]),
        ([(0, 2), (0, 3), (1, 3)], [(0, 1), (1, 2), (2, 3)]),
        ([(0, 1), (0, 2), (0, 3)], [(1, 2, 3)]),
        ([(1, 3)], [(0, 1, 2), (0, 2, 3)]),  # the first and the last do not differ
        ([(i, j) for i in range(4) for j in range(i)], []),
    ],
)
def test_lines_join_models_that_do_not_differ(apart, lines):
    p = np.ones((4, 4))
    for i, j in apart:
        p[i, j] = p[j, i] = 0.01
    assert model_dots._alike(p) == lines
    together = {frozenset(pair) for line in lines for pair in itertools.combinations(line, 2)}
    assert together == {frozenset(pair) for pair in itertools.combinations(range(4), 2) if p[pair] > 0.05}


def test_so_many_lines_that_none_is_drawn_are_not_all_sought():
    p = np.ones((40, 40))
    p[range(0, 40, 2), range(1, 40, 2)] = 0.01  # 2^20 sets
    assert len(model_dots._alike(p)) > model_dots.MOST_LINES


def files_of(folder):
    """Models with features among them and subjects of two sessions, in files."""
    models, subjects = rdms()
    x = np.random.default_rng(3).normal(size=(N, 2, 5)).astype(np.float32)
    np.savez(folder / "models.npz", edges=squareform(models[0]), shapes=squareform(models[1]))
    np.savez(folder / "networks.npz", net=x)
    np.savez(
        folder / "brains.npz",
        **{f"s{k}_run{r}": squareform(m + 0.1 * r) for k, m in enumerate(subjects) for r in (1, 2)},
    )
    return [str(folder / name) for name in ("models.npz", "networks.npz", "brains.npz")]


def test_the_command_writes_tables_record_and_figure(tmp_path, capsys):
    models, networks, brains = files_of(tmp_path)
    out = tmp_path / "out"
    options = ["--subject-of", "_run", "--compare", "pearson", "--resamples", "200", "--json", "--quiet"]
    options += ["--channels", "first"]
    assert cli.main(["rdm", models, networks, "--against", brains, "--out", str(out), *options]) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(cli_rdm.FILES)
    found, printed = js.load(out / "comparison.npz"), json.loads(capsys.readouterr().out)
    assert found.subjects == ("s0", "s1", "s2", "s3")
    assert [row["model"] for row in printed["models"]] == [name for name, _ in found.ranking()]
    rows = list(csv.reader((out / "models.csv").read_text().splitlines()))
    assert rows[0] == ["model", "score", "error", "low", "high", "p zero", "p ceiling"]
    assert float(rows[1][1]) == found.ranking()[0][1]
    assert len(list(csv.reader((out / "pairs.csv").read_text().splitlines()))) == 1 + 3
    assert np.allclose(printed["ceiling"]["value"], found.ceiling)


COMMANDS = {
    "a comparator as measure": (["--measure", "pearson"], "--compare pearson"),
    "no such subject": (["--subject-of", "_session"], "no map of a subject has --subject-of '_session' in its name"),
    "a measure of maps": (["--measure", "rsa"], "--measure has no effect"),
    "channels of maps": (["--channels", "first"], "--channels has no effect"),
    "alignment without ids": (["--align"], "--align has no effect"),
    "an unknown comparator": (["--compare", "kendall"], "invalid choice"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_the_command_refuses_in_a_sentence(case, tmp_path, capsys):
    options, message = COMMANDS[case]
    models, _, brains = files_of(tmp_path)
    assert cli.main(["rdm", models, "--against", brains, "--out", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_x64_is_of_bfloat16_too(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    rows = {f"m{k}": row.astype(jnp.bfloat16) for k, row in enumerate(rdms()[0])} | {"count": np.arange(66)}
    numpy.save_file(rows, tmp_path / "models.safetensors")
    arguments = argparse.Namespace(x64=True, align=False, quiet=True, measure=None)
    found, _ = cli_rdm._read(arguments, [str(tmp_path / "models.safetensors")], "models")
    assert {name: x.dtype.name for name, x in found.items()} == dict.fromkeys(rows, "float64") | {"count": "int64"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:only the field RDM of the MATLAB struct")
@pytest.mark.skipif(not (DATA / "rdm92").is_dir(), reason=f"no rdm92 in {DATA}; set JAXSIM_DATA")
def test_human_it_of_four_subjects(tmp_path):
    """Eighteen models by one command: scores and ceilings of rsatoolbox, animacy first and Gabor filters last."""
    pytest.importorskip("rsatoolbox")
    from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling
    from rsatoolbox.rdm import RDMs, compare

    files = [str(DATA / name) for name in ("rdm92/92_modelRDMs.mat", "networks92/features.npz")]
    brains, out = str(DATA / "rdm92/92_brainRDMs.mat"), str(tmp_path / "out")
    assert cli.main(["rdm", *files, "--against", brains, "--subject-of", " | Session", "--out", out, "--quiet"]) == 0
    found = js.load(tmp_path / "out" / "comparison.npz")
    read = io.read_features(brains)[0]
    average = {}
    for name, m in read.items():
        average.setdefault(name.partition(" | Session")[0], []).append(m)
    subjects = RDMs(np.stack([np.mean(m, 0, dtype=float) for m in average.values()]))
    models = io.read_features(files[0])[0]
    maps = js.maps(io.read_features(files[1])[0], "rsa")
    both = [*(np.asarray(m, float) for m in models.values()), *np.asarray(maps.values, float)]
    assert found.names == (*models, *maps.names)
    theirs = compare(RDMs(np.stack([squareform(m, checks=False) for m in both])), subjects, "rho-a")
    np.testing.assert_allclose(found.scores, theirs, atol=2e-5)
    np.testing.assert_allclose(found.ceiling, boot_noise_ceiling(subjects, "rho-a"), atol=2e-5)
    order = [name for name, _ in found.ranking()]
    assert order[0] == "Models/animacy"
    assert order[-1] == "Models/V1"
    assert found.p_pair[found.names.index("Models/animacy"), found.names.index("Models/V1")] < 0.05
    assert found.ceiling[0] > found.estimate.max()


def test_stacks_of_condensed_maps_are_taken_apart():
    rng = np.random.default_rng(0)
    models, subjects = rng.uniform(size=(3, 66)), rng.uniform(size=(5, 66))
    whole = js.compare_models(models, subjects, over="subjects")
    named = js.compare_models({"m": models}, {"s": subjects}, over="subjects")
    np.testing.assert_array_equal(named.scores, whole.scores)
    assert named.names == ("m/0", "m/1", "m/2")
    assert js.compare_maps({"s": subjects}, "spearman").names == tuple(f"s/{k}" for k in range(5))
    features = {"f": rng.normal(size=(12, 6))}  # 6 is a number of pairs too
    assert js.compare_models(features, {"s": subjects}, over="subjects", measure="rsa").names == ("f",)
