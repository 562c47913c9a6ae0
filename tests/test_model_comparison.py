"""Models compared with subjects: scores, ceilings, errors and tests against float64 loops, SciPy and rsatoolbox."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import squareform
from scipy.stats import pearsonr, rankdata, spearmanr, ttest_1samp, ttest_rel, wilcoxon
from scipy.stats import t as student_t

import jaxsim as js
from jaxsim import statistics
from jaxsim.engine.padding import both_buckets
from jaxsim.inference import program
from jaxsim.inference.verbs import from_rsatoolbox
from jaxsim.inputs import square_maps
from jaxsim.measures import of_maps
from jaxsim.resampling.program import Source
from jaxsim.statistics.mean_scores import holm

N, SUBJECTS, MODELS = 12, 4, 3
RANKS = ("spearman", "rho-a")
COMPARATORS = (*RANKS, "pearson", "cosine")


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
    options = {"n_resamples": 200} | options
    return js.compare_models(named(models, "m"), named(subjects, "s"), **options)


def score(name, a, b):
    if name == "rho-a":
        a, b = rankdata(a) - (a.size + 1) / 2, rankdata(b) - (b.size + 1) / 2
        return 12 * (a @ b) / (a.size**3 - a.size)
    if name == "cosine":
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return {"spearman": spearmanr, "pearson": pearsonr}[name](a, b)[0]


def pooled(name, rows):
    if name in RANKS:
        return np.mean([rankdata(r) for r in rows], 0)
    rows = rows - rows.mean(1, keepdims=True) * (name == "pearson")
    return np.mean(rows / np.linalg.norm(rows, axis=1, keepdims=True), 0)


def loop(name, models, subjects):
    """Scores `(S + 2, U)` of models and of the two ceilings, a pair at a time."""
    of_models = [[score(name, m, s) for s in subjects] for m in models]
    others = [np.delete(subjects, u, 0) for u in range(len(subjects))]
    lower = [score(name, pooled(name, rest), s) for rest, s in zip(others, subjects, strict=True)]
    upper = [score(name, pooled(name, subjects), s) for s in subjects]
    return np.array([*of_models, lower, upper])


def drawn(rows, images):
    """Condensed maps of images drawn with replacement, without the pairs of an image with itself."""
    i, j = np.triu_indices(len(images), 1)
    keep = images[i] != images[j]
    return np.stack([squareform(r)[images][:, images][i, j][keep] for r in rows])


def device_scores(name, models, subjects, weights):
    x, y = square_maps(named(models, "m")), square_maps(named(subjects, "s"))
    measure = of_maps(js.measures.PARTS["compare"][name])
    networks = both_buckets(x, y, [measure])
    return program.scores_call(measure, *networks, None, Source(given=jnp.asarray(weights, float)), 3)[:2]


@pytest.mark.parametrize("name", COMPARATORS)
def test_scores_and_ceilings_equal_a_loop_over_resamples(name):
    models, subjects = rdms()
    rng = np.random.default_rng(1)
    images = rng.integers(N, size=(5, N))
    weights = np.stack([np.bincount(i, minlength=N) for i in images])
    scores, values = device_scores(name, models, subjects, weights)
    np.testing.assert_allclose(scores, loop(name, models, subjects), atol=2e-6)
    expected = [loop(name, drawn(models, i), drawn(subjects, i)) for i in images]
    np.testing.assert_allclose(values, expected, atol=4e-6)


def test_ceilings_of_debiased_maps_equal_a_loop_over_mutual_scores():
    models, subjects = rdms(ties=False)
    weights = np.random.default_rng(2).multinomial(N, np.full(N, 1 / N), size=2)
    scores, values = device_scores("u-centered-cosine", models, subjects, weights)
    np.testing.assert_allclose(
        np.asarray(scores[-2:]).mean(1), js.noise_ceiling(named(subjects, "s"), "u-centered-cosine"), atol=2e-6
    )
    plain = device_scores("u-centered-cosine", models, subjects, np.ones((1, N)))[1][0]
    np.testing.assert_allclose(plain, scores, atol=3e-6)
    assert np.isfinite(values).all()


def test_ranks_under_counts_equal_those_of_the_expanded_list():
    rng = np.random.default_rng(0)
    v, counts = np.round(5 * rng.uniform(size=60)), rng.integers(3, size=60)
    found = np.asarray(js.ranks.counted(jnp.asarray(v, jnp.float32), jnp.asarray(counts, jnp.float32)))
    np.testing.assert_array_equal(np.repeat(found, counts), rankdata(np.repeat(v, counts)))
    assert np.isnan(js.ranks.counted(jnp.array([1.0, jnp.nan]), jnp.ones(2))).all()


def test_over_subjects_is_the_t_test():
    found = compared(over="subjects")
    s = np.asarray(found.scores, float)
    np.testing.assert_allclose(found.p_zero, ttest_1samp(s, 0, axis=1, alternative="greater").pvalue, rtol=1e-4)
    np.testing.assert_allclose(found.p_pair[0, 1], ttest_rel(s[0], s[1]).pvalue, rtol=1e-3)
    ends = ttest_1samp(s, 0, axis=1).confidence_interval(0.95)
    np.testing.assert_allclose([found.low, found.high], [ends.low, ends.high], atol=2e-6)
    np.testing.assert_array_equal(found.degrees, SUBJECTS - 1)


def test_errors_over_both_are_those_of_two_factor():
    models, subjects = rdms()
    R = js.resample(named(models, "m"), "rho-a", js.Bootstrap(), n_resamples=200, against=named(subjects, "s"), key=0)
    found = compared(key=0)
    np.testing.assert_allclose(found.estimate, np.mean(R.estimate, 1), atol=1e-6)
    draws = statistics.mean_draws(R.values, R.estimate, images_count=N, key=jax.random.fold_in(jax.random.key(0), 200))
    np.testing.assert_allclose(draws.error(), found.error, atol=1e-6)
    images, members, both = (np.var(v, 0, ddof=1) for v in draws[1:4])
    u, v = SUBJECTS / (SUBJECTS - 1), N / (N - 1)
    expected = u * members + v * images - u * v * (both - members - images)
    expected = np.minimum(np.maximum(expected, np.maximum(u * members, v * images)), u * v * both)
    np.testing.assert_allclose(found.error, np.sqrt(expected), rtol=1e-4)
    pair = np.var(np.asarray(draws.both[:, 0] - draws.both[:, 1]), ddof=1)
    assert found.difference_error[0, 1] < np.sqrt(u * v * pair) * 1.0001


@pytest.mark.parametrize("name", ["rho-a", "pearson"])
def test_the_ceiling_varies_as_the_jackknife_over_subjects_says(name):
    models, subjects = rdms()
    found = js.compare_models(named(models, "m"), named(subjects, "s"), name, over="subjects", n_resamples=200)
    s = np.array([score(name, models[0], one) for one in subjects])
    without = np.array([loop(name, models[:0], np.delete(subjects, u, 0)).mean(1) for u in range(SUBJECTS)])
    values = (1 - SUBJECTS) * (without - without.mean(0))
    lower, upper = np.std(values, 0, ddof=1) / np.sqrt(SUBJECTS)
    quantile = student_t.isf(0.025, SUBJECTS - 1)
    for k, error in enumerate((lower, upper)):
        np.testing.assert_allclose(found.ceiling_high[k] - found.ceiling[k], quantile * error, rtol=2e-3)
    apart = s - s.mean() - values[:, 0]
    t = (s.mean() - float(found.ceiling[0])) / (np.std(apart, ddof=1) / np.sqrt(SUBJECTS))
    np.testing.assert_allclose(found.p_ceiling[0], 2 * student_t.sf(abs(t), SUBJECTS - 1), rtol=5e-3)


def test_degrees_of_freedom_follow_the_share_of_subjects():
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=(2, 400, 3, 6)).astype(np.float32)
    for values, scores, expected in (
        (0.01 * own, own[0], 5),  # subjects alone
        (np.repeat(shared[..., :1], 6, 2), np.zeros((3, 6), np.float32), 20),  # images alone
    ):
        draws = statistics.mean_draws(scores + values, scores, images_count=50)
        np.testing.assert_allclose(draws.degrees, expected, rtol=0.1)
    found = compared(over="both")
    assert (np.asarray(found.degrees) >= SUBJECTS - 1).all()
    assert (np.asarray(found.degrees) <= N - 1).all()


@pytest.mark.parametrize("degrees", [2.0, 3.7, 19.0, 100.0])
def test_quantiles_and_p_values_of_student(degrees):
    found = statistics.student_quantile(jnp.array(degrees), 0.9)
    np.testing.assert_allclose(found, student_t.isf(0.05, degrees), rtol=2e-5)
    np.testing.assert_allclose(statistics.student_p(jnp.array(2.5), degrees), 2 * student_t.sf(2.5, degrees), rtol=1e-4)


def test_over_images_keeps_subjects():
    found = compared(over="images")
    np.testing.assert_allclose(found.error, np.std(found.draws, 0, ddof=1) * np.sqrt(N / (N - 1)), rtol=1e-4)
    np.testing.assert_array_equal(found.degrees, N - 1)


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


def test_adjusted_p_values_are_of_the_largest_t():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 5)).astype(np.float32)
    tests = statistics.student_tests(
        statistics.mean_draws(None, rows, images_count=50, over="subjects", n_resamples=4000)
    )
    p, adjusted = np.asarray(tests.p, float), np.asarray(tests.adjusted, float)
    assert (adjusted >= p).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= -1e-6).all()
    lone = statistics.student_tests(
        statistics.mean_draws(None, rows[:1], images_count=50, over="subjects", n_resamples=4000)
    )
    assert abs(float(lone.adjusted[0]) - p[0]) < 0.05  # nothing to adjust for
    alike = statistics.student_tests(
        statistics.mean_draws(None, np.repeat(rows[:1], 9, 0), images_count=50, over="subjects", n_resamples=4000)
    )
    np.testing.assert_allclose(
        alike.adjusted, np.full(9, lone.adjusted[0]), atol=1e-6
    )  # nor for the same test nine times


def test_equal_models_do_not_differ():
    models, subjects = rdms()
    found = js.compare_models(
        {"a": models[0], "b": 2 * models[0] + 1}, named(subjects, "s"), "pearson", n_resamples=100
    )
    assert (found.difference[0, 1], found.p_pair[0, 1], found.p_adjusted[0, 1]) == (0, 1, 1)


def test_one_model_has_no_pairs():
    models, subjects = rdms()
    found = js.compare_models({"a": models[0]}, named(subjects, "s"), n_resamples=100)
    assert found.p_adjusted.shape == (1, 1)
    assert len(found.pair_rows()[1]) == 0


def test_squared_scores_lose_their_sign_and_say_so():
    plain, squared = compared(over="subjects"), compared(over="subjects", squared=True)
    np.testing.assert_allclose(squared.scores, np.square(plain.scores), atol=1e-6)
    np.testing.assert_allclose(squared.ceiling, np.square(plain.ceiling_scores).mean(1), atol=1e-6)
    assert np.isnan(squared.p_zero).all()
    assert "sign is lost" in str(squared)


def test_maps_of_one_subject_are_averaged():
    models, subjects = rdms()
    of = {"s0": "anna", "s1": "anna", "s2": "ben", "s3": "cleo"}
    options = {"over": "subjects", "n_resamples": 100}
    found = js.compare_models(named(models, "m"), named(subjects, "s"), subject_of=of, **options)
    apart = {"anna": subjects[:2].mean(0), "ben": subjects[2], "cleo": subjects[3]}
    expected = js.compare_models(named(models, "m"), apart, **options)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
    assert found.subjects == ("anna", "ben", "cleo")
    assert "anna (2)" in str(found)
    again = js.compare_models(named(models, "m"), named(subjects, "s"), subject_of=list(of.values()), **options)
    np.testing.assert_array_equal(found.scores, again.scores)


def test_features_become_maps_beside_ready_ones():
    models, subjects = rdms()
    x = np.random.default_rng(3).normal(size=(N, 2, 5)).astype(np.float32)
    brains = named(subjects, "s")
    found = js.compare_models({"rdm": models[0], "net": x}, brains, measure="rsa", over="subjects", n_resamples=100)
    both = {"rdm": models[0], "net": np.asarray(js.maps({"net": x}, "rsa").values[0])}
    expected = js.compare_models(both, brains, over="subjects", n_resamples=100)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
    with pytest.raises(TypeError, match="give measure="):
        js.compare_models({"net": x}, brains)


def test_maps_are_matched_by_their_images():
    models, subjects = rdms()
    ids = [f"image{k}" for k in range(N)]
    order = np.random.default_rng(0).permutation(N)
    brains = js.Maps.from_condensed(subjects, ids=ids)
    shuffled = {"m": squareform(models[0])[order][:, order]}
    with pytest.raises(ValueError, match="another order"):
        js.compare_models(shuffled, brains, ids=[ids[k] for k in order])
    found = js.compare_models(shuffled, brains, ids=[ids[k] for k in order], align=True, over="subjects")
    expected = js.compare_models({"m": models[0]}, named(subjects, "s"), over="subjects")
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


def test_rdms_of_rsatoolbox_by_their_attributes():
    models, subjects = rdms()
    ids = [f"image{k}" for k in range(N)]
    one = types.SimpleNamespace(
        dissimilarities=subjects,
        rdm_descriptors={"index": np.arange(SUBJECTS), "session": [1] * SUBJECTS, "subject": list("abcd")},
        pattern_descriptors={"index": np.arange(N), "conds": ids},
    )
    maps = from_rsatoolbox(one)
    assert maps.names == tuple("abcd")
    assert maps.ids == tuple(ids)
    found = js.compare_models(named(models, "m"), one, over="subjects", ids=ids)
    assert found.subjects == tuple("abcd")


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


def test_inside_jit_and_by_seed():
    models, subjects = rdms()
    maps = [np.stack([squareform(r) for r in rows]).astype(np.float32) for rows in (models, subjects)]

    def run(x, y):
        found = js.compare_models(x, y, n_resamples=100, key=5)
        return found.error, found.p_adjusted

    for plain, traced in zip(run(*maps), jax.jit(run)(*maps), strict=True):
        np.testing.assert_allclose(plain, traced, rtol=1e-4, atol=1e-6)


BAD = {
    "one subject": ({"subjects": {"s0": rdms()[1][0]}}, "two of them or more"),
    "missing pairs": ({"subjects": {"s0": rdms()[1][0], "s1": np.where(np.arange(66) < 3, np.nan, 1.0)}}, "lacks 3 of"),
    "other sizes": ({"models": {"m": np.arange(10.0)}}, "5 and 12 images"),
    "subjects as features": ({"subjects": np.zeros((3, N, 2, 2))}, "no stack|no map|shape"),
    "over": ({"over": "runs"}, "over must be one of"),
    "test": ({"test": "z"}, "test must be one of"),
    "ranks of images": ({"test": "rank", "over": "images"}, "ranks subjects"),
    "subject_of": ({"subject_of": ["a", "b"]}, "holds 2 subjects for 4 maps"),
    "subject_of names": ({"subject_of": {"s0": "a"}}, "in one of them alone"),
    "level": ({"level": 95}, "strictly between"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_a_sentence(case):
    options, message = BAD[case]
    models, subjects = rdms()
    given = {"models": named(models, "m"), "subjects": named(subjects, "s")} | options
    with pytest.raises(ValueError, match=message):
        js.compare_models(**given)


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
        found = js.compare_models(named(models, "m"), named(subjects, "s"), "pearson", n_resamples=100)
    assert np.isnan(found.estimate).all()
    assert "nan" in str(found)


def test_few_resamples_are_warned_of():
    with pytest.warns(js.FewResamples, match="few for standard errors"):
        compared(n_resamples=20)


@pytest.mark.parametrize("name", [*RANKS, "corr", "cosine"])
def test_rsatoolbox_has_the_same_scores_ceilings_and_variances(name):
    """Full-sample evaluations and ceilings, those of given images, and the corrected variance of given draws."""
    pytest.importorskip("rsatoolbox")
    from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling
    from rsatoolbox.rdm import RDMs, compare
    from rsatoolbox.util.inference_util import extract_variances

    models, subjects = rdms()
    x, y = RDMs(models), RDMs(subjects)
    images = np.random.default_rng(4).integers(N, size=N)
    ours = {"corr": "pearson"}.get(name, name)
    scores, values = device_scores(ours, models, subjects, [np.bincount(images, minlength=N)])
    for found, a, b in ((scores, x, y), (values[0], *(r.subsample_pattern("index", images) for r in (x, y)))):
        np.testing.assert_allclose(found[:-2], compare(a, b, name), atol=3e-6)
        np.testing.assert_allclose(np.mean(found[-2:], 1), boot_noise_ceiling(b, name), atol=3e-6)
    found = js.compare_models(named(models, "m"), named(subjects, "s"), ours, n_resamples=300)
    R = js.resample(named(models, "m"), ours, js.Bootstrap(), n_resamples=300, against=named(subjects, "s"))
    draws = statistics.mean_draws(R.values, R.estimate, images_count=N, key=jax.random.fold_in(jax.random.key(0), 300))
    covariances = np.stack([np.cov(np.asarray(v, float).T) for v in (draws.both, draws.subjects, draws.images)])
    single, pairs, _ = extract_variances(covariances, nc_included=False, n_rdm=SUBJECTS, n_pattern=N)
    u, v = SUBJECTS / (SUBJECTS - 1), N / (N - 1)
    np.testing.assert_allclose(
        np.minimum(single, covariances[0].diagonal()),
        np.minimum(np.square(found.error), covariances[0].diagonal()),
        rtol=1e-3,
    )
    i, j = np.triu_indices(MODELS, 1)
    first = covariances[0]
    both = first[i, i] + first[j, j] - 2 * first[i, j]
    ours = np.minimum(np.square(found.difference_error[i, j]), both)
    np.testing.assert_allclose(np.minimum(pairs, both), ours, rtol=2e-3)
    assert (np.square(found.error) <= u * v * covariances[0].diagonal() * 1.001).all()
