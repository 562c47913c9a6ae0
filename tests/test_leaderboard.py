"""The leaderboard: scores against plain loops, methods against plain formulas, tests, files and bad input."""

import csv
import dataclasses
import html
import json

import jax
import numpy as np
import pytest
import scipy.stats
from marks import slow_but

from jaxsim import evaluation, io, measures, statistics
from jaxsim.cli import main
from jaxsim.results import Affinity, Provenance, Resamples
from jaxsim.studies import leaderboard
from jaxsim.studies.leaderboard import Evidence, Method, scores, standings
from jaxsim.studies.reproduce import predictors
from jaxsim.taxonomy import strengths, win_rates

NAMES = tuple("abcdef")
RNG = np.random.default_rng(0)
TRUTH = RNG.normal(size=(6, 6)) + 2 * np.eye(6)
FEATURES = {name: RNG.normal(size=(12, 3)).astype(np.float32) for name in NAMES}
NEAR, FAR = TRUTH + 0.2 * RNG.normal(size=(6, 6)), RNG.normal(size=(6, 6))


def evidence(truth=TRUTH, names=NAMES, targets=NAMES, **more):
    given = Affinity.from_array(truth, names, targets, measure="made up")
    return Evidence(given, **{"features": FEATURES} | more)


def given(name, values, **more):
    return Method(name, "made up", predictors.Given(lambda e: np.asarray(values)), **more)


def rows_of(made):
    return {row.method: row for row in made.rows}


@pytest.fixture(scope="module")
def made():
    """An oracle, two methods, a static one that lacks its evidence, and one that reads the truth."""
    methods = [
        given("oracle", TRUTH, oracle=True),
        given("near", NEAR),
        given("far", FAR),
        next(one for one in predictors.METHODS if one.name == "network size"),
        next(one for one in predictors.METHODS if one.name == "mean transfer to other targets"),
        next(one for one in predictors.METHODS if one.name == "random"),
    ]
    return leaderboard.score(evidence(), methods, world="here", relabelings=99, resamples=20)


@pytest.mark.slow
def test_few_targets_and_few_relabelings_are_said(made):
    assert not any("too few" in line or "use more relabelings" in line for line in leaderboard.sentences(made))
    some = evidence(TRUTH[:, :5], targets=NAMES[:5])
    few = leaderboard.score(some, [given("near", NEAR[:, :5]), given("far", FAR[:, :5])], relabelings=9, resamples=20)
    assert leaderboard.sentences(few)[-2:] == [
        "5 targets are too few for an interval over targets; at least 6 are needed.",
        "No p value of 9 relabelings is below 0.1; use more relabelings.",
    ]


# Scores


def column_oracle(a, g, skill, own):
    """The scores of a target as one would write them down, without ties."""
    others = [s for s in range(len(a)) if not own[s]]
    best = max(others, key=lambda s: a[s])
    better = sum(g[s] > g[best] for s in others)
    return {
        "with_self": scipy.stats.spearmanr(a, g).statistic,
        "without_self": scipy.stats.spearmanr(a[others], g[others]).statistic,
        "weighted_tau": scipy.stats.weightedtau(a[others], g[others]).statistic,
        "top": [float(better < k) for k in (1, 3, 5)],
        "regret": max(skill[s] for s in others) - skill[best],
    }


@pytest.mark.parametrize("targets", [6, 4], ids=["square", "more sources"])
def test_scores_are_those_of_the_loop(targets):
    rng = np.random.default_rng(1)
    a, g, skill = rng.normal(size=(3, 6, targets))
    own = np.eye(6, targets, dtype=bool)
    found = scores.scored(a, g, skill, own)
    for t in range(targets):
        for name, value in column_oracle(a[:, t], g[:, t], skill[:, t], own[:, t]).items():
            np.testing.assert_allclose(getattr(found, name)[t], value, rtol=1e-12)


def test_weighted_tau_is_its_formula():
    """Mean of two correlations of signs, whose pairs weigh 1 / (1 + rank) + 1 / (1 + rank)."""

    def one(x, y, lead, then):
        order = sorted(range(len(x)), key=lambda i: (-lead[i], -then[i]))
        rank = {i: r for r, i in enumerate(order)}
        total, sizes = 0.0, [0.0, 0.0]
        for i in range(len(x)):
            for j in range(len(x)):
                if i != j:
                    w = 1 / (1 + rank[i]) + 1 / (1 + rank[j])
                    a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
                    total, sizes = total + w * a * b, [sizes[0] + w * a * a, sizes[1] + w * b * b]
        return total / np.sqrt(sizes[0] * sizes[1])

    rng = np.random.default_rng(2)
    for x, y in (rng.normal(size=(2, 9)), rng.integers(0, 4, (2, 9)).astype(float)):
        assert scores.weighted_tau(x, y) == pytest.approx((one(x, y, x, y) + one(x, y, y, x)) / 2)
    assert np.isnan(scores.weighted_tau(np.ones(5), np.arange(5.0)))


def test_of_tied_sources_any_may_be_chosen():
    g = np.array([9.0, 4.0, 3.0, 2.0, 1.0, 0.0])[:, None]
    own = np.arange(6)[:, None] == 0
    two = scores.scored(np.array([9.0, 5.0, 5.0, 1.0, 1.0, 1.0])[:, None], g, g, own)
    np.testing.assert_allclose(two.top[0], [0.5, 1, 1])
    assert two.regret[0] == pytest.approx(0.5)
    none = scores.scored(np.ones((6, 1)), g, g, own)
    np.testing.assert_allclose(none.top[0], [0.2, 0.6, 1])
    assert none.regret[0] == pytest.approx(4 - 2)
    assert np.isnan(none.without_self[0])
    assert np.isnan(none.with_self[0])


def test_several_matrices_are_scored_on_average():
    own = np.eye(6, dtype=bool)
    both = scores.scored(np.stack([NEAR, FAR]), TRUTH, TRUTH, own)
    each = [scores.scored(one, TRUTH, TRUTH, own) for one in (NEAR, FAR)]
    np.testing.assert_allclose(both.regret, (each[0].regret + each[1].regret) / 2)


def test_pairs_that_were_not_measured_are_left_out():
    truth = TRUTH.copy()
    truth[3, 0] = np.nan
    found = scores.scored(NEAR, truth, TRUTH, np.eye(6, dtype=bool))
    kept = [1, 2, 4, 5]
    assert found.without_self[0] == pytest.approx(scipy.stats.spearmanr(NEAR[kept, 0], TRUTH[kept, 0]).statistic)
    truth[2:5, 0] = np.nan
    assert np.isnan(scores.scored(NEAR, truth, TRUTH, np.eye(6, dtype=bool)).without_self[0])


# Methods


def test_names_are_unlike_and_measures_are_shared():
    from jaxsim.studies.reproduce import measure_comparison

    assert len({one.name for one in predictors.METHODS}) == len(predictors.METHODS)
    assert measure_comparison.METHODS is predictors.MEASURES
    assert list(predictors.MEASURES)[:3] == ["DDS, Laplacian", "DDS, cosine", "RSA"]
    assert {one.name for one in predictors.METHODS if one.static} == {
        *("kNN on features", "network size", "mean transfer to other targets", "random"),
    }


def test_mean_transfer_leaves_out_the_target_and_the_source_itself():
    truth = TRUTH.copy()
    truth[0, 1] = np.nan
    found = predictors.mean_transfer(evidence(truth))
    for s in range(6):
        for t in range(6):
            rest = [truth[s, u] for u in range(6) if u not in (s, t) and np.isfinite(truth[s, u])]
            assert found[s, t] == pytest.approx(np.mean(rest))


def test_neighbors_predict_labels_as_the_loop_does():
    labels = {name: np.random.default_rng(k).normal(size=(12, 2)) for k, name in enumerate(NAMES)}
    found = predictors.neighbor_errors(evidence(labels=labels))
    assert found.shape == (12, 6, 6)
    x, y = FEATURES["b"].astype(float), labels["d"]
    for i in range(12):
        order = sorted((k for k in range(12) if k != i), key=lambda k: np.linalg.norm(x[k] - x[i]))
        error = np.mean((y[i] - np.mean(y[order[:5]], 0)) ** 2) / np.mean((y - y.mean(0)) ** 2)
        assert found[i, 1, 3] == pytest.approx(-error, rel=1e-5)


def test_constant_labels_give_no_nan():
    labels = {name: np.ones((12, 2)) for name in NAMES}
    np.testing.assert_array_equal(predictors.neighbor_errors(evidence(labels=labels)), 0)


def test_random_similarities_are_symmetric_with_the_highest_diagonal():
    found = predictors.random_similarities(evidence(TRUTH[:, 1:], targets=NAMES[1:]))
    assert found.shape == (predictors.CHANCE, 6, 5)
    np.testing.assert_array_equal(found[:, 1, 0], 1)
    np.testing.assert_array_equal(found[:, 1, 2], found[:, 3, 0])
    assert found[:, 0, 1:].max() < 1


def test_tournament_draws_images_with_replacement():
    losses = np.random.default_rng(3).integers(0, 9, (6, 6, 12)).astype(np.float32)
    part, key = predictors.Tournament(), jax.random.key(4)
    e = evidence(losses=losses)
    np.testing.assert_allclose(part.scores(e), strengths(win_rates(losses)).T)
    drawn = part.draws(e, 20, key)
    for b, weights in enumerate(predictors._weights(key, 20, 12)):
        picked = np.repeat(np.arange(12), np.round(12 * weights).astype(int))
        np.testing.assert_allclose(drawn[b], strengths(win_rates(losses[..., picked])).T, rtol=2e-4)


def test_scores_of_pictures_are_drawn_alike():
    each = np.random.default_rng(5).normal(size=(12, 6, 6))
    part = predictors.PerPicture(lambda e: each, ())
    drawn = part.draws(evidence(), 20, jax.random.key(1))
    for b, weights in enumerate(predictors._weights(jax.random.key(1), 20, 12)):
        picked = np.repeat(np.arange(12), np.round(12 * weights).astype(int))
        np.testing.assert_allclose(drawn[b], each[picked].mean(0))


def test_similarities_stand_in_the_order_of_the_truth(monkeypatch):
    """Targets in another order, one of them no source; features against labels; and their resamples."""

    def affinity(x, measure, against=None):
        second = x if against is None else against
        values = np.array([[a[0, 0] * 10 + b[0, 0] for b in second.values()] for a in x.values()])
        return Affinity.from_array(values, list(x), list(second), measure="", against=True)

    def resample(x, measure, scheme, *, n_resamples, key, against):
        return type("Drawn", (), {"values": np.stack([affinity(x, measure, against).values] * n_resamples)})

    monkeypatch.setattr(predictors.engine, "affinity", affinity)
    monkeypatch.setattr(predictors.resampling, "resample", resample)
    features = {name: np.full((2, 1), k) for k, name in enumerate(NAMES)}
    labels = {name: np.full((2, 1), 5 - k) for k, name in enumerate(NAMES)}
    e = evidence(TRUTH[:4, :2], "abcd", ("e", "b"), features=features, labels=labels)
    same, cross = predictors.Similarity(None), predictors.Similarity(None, "features", "labels")
    expected = [[10 * k + second for second in (4, 1)] for k in range(4)]
    np.testing.assert_array_equal(same.scores(e), expected)
    np.testing.assert_array_equal(same.draws(e, 2, jax.random.key(0)), [expected] * 2)
    np.testing.assert_array_equal(cross.scores(e), [[10 * k + second for second in (1, 4)] for k in range(4)])


@pytest.mark.slow
def test_similarity_is_the_measure():
    e = evidence(labels={name: x[:, :2] for name, x in FEATURES.items()})
    part = predictors.Similarity(measures.CKA_LINEAR, "features", "labels")
    found = part.scores(e)
    for s, a in enumerate(NAMES):
        for t, b in enumerate(NAMES):
            assert found[s, t] == pytest.approx(float(measures.CKA_LINEAR(FEATURES[a], e.labels[b])), abs=1e-5)
    assert part.draws(e, 3, jax.random.key(0)).shape == (3, 6, 6)


@pytest.mark.slow
def test_size_is_the_number_of_parameters():
    nnx, models = pytest.importorskip("flax.nnx"), pytest.importorskip("jaxsim.vision.models")
    encoder = models.SmallEncoder.named("tiny", rngs=nnx.Rngs(0))
    count = sum(x.size for x in jax.tree.leaves(nnx.state(encoder)))
    found = predictors.parameters(evidence(encoders=dict.fromkeys(NAMES, encoder)))
    np.testing.assert_array_equal(found, np.full((6, 6), count))


# Standings


def test_each_row_has_the_numbers_of_the_public_verbs(made):
    truth = Affinity.from_array(TRUTH, NAMES, measure="made up")
    row, near = rows_of(made)["near"], Affinity.from_array(NEAR, NAMES, measure="near")
    for diagonal, mine in ((True, row.with_self), (False, row.without_self)):
        assert mine == pytest.approx(evaluation.evaluate(near, truth, diagonal=diagonal).mean)
    hits = evaluation.evaluate(near, truth, diagonal=False).top_k_hits.mean(0)
    assert [row.top_1, row.top_3, row.top_5] == pytest.approx(list(hits))
    some = {n: Affinity.from_array(m, NAMES, measure=n) for n, m in (("oracle", TRUTH), ("near", NEAR), ("far", FAR))}
    key = jax.random.fold_in(statistics.checks.as_key(0), 6)
    tests = evaluation.compare_agreements(some, truth, relabelings=99, key=key)
    rows = [rows_of(made)[name] for name in some]
    assert [r.p for r in rows] == pytest.approx(list(tests.p))
    assert [r.p_adjusted for r in rows] == pytest.approx(list(tests.adjusted))
    assert [r.minus_best for r in rows] == pytest.approx(list(tests.difference[:, 1]))


def test_differences_are_adjusted_for_all_pairs_and_have_the_interval_of_their_test(made):
    names = ["oracle", "near", "far", "mean transfer to other targets"]
    pairs = [(a, b) for i, a in enumerate(names) for b in names[:i]]
    p = {pair: made.difference(*pair).p for pair in pairs}
    order, adjusted, top = sorted(pairs, key=lambda pair: p[pair]), {}, 0.0
    for k, pair in enumerate(order):
        top = max(top, min(1.0, p[pair] * (len(pairs) - k)))
        adjusted[pair] = top
    row, gap = rows_of(made)["far"], made.difference("far", "near")
    assert row.minus_best_p == pytest.approx(adjusted["far", "near"])
    far = scipy.stats.t.ppf(0.975, gap.degrees) * gap.error
    assert (row.minus_best_low, row.minus_best_high) == pytest.approx((gap.value - far, gap.value + far))
    assert 2 * scipy.stats.t.sf(abs(gap.value) / gap.error, gap.degrees) == pytest.approx(gap.p)


def test_oracles_are_not_the_best_and_what_reads_the_truth_has_no_p(made):
    rows = rows_of(made)
    assert made.best == "near"
    assert rows["near"].minus_best == 0
    assert rows["oracle"].minus_best > 0
    assert np.isfinite(rows["oracle"].p)
    mean = rows["mean transfer to other targets"]
    assert np.isnan(mean.p)
    assert np.isfinite(mean.minus_best_p)
    assert "reads the transfer" in mean.note


def test_static_rows_stand_there_with_their_reason_and_others_are_left_out(made):
    rows = rows_of(made)
    assert rows["network size"].note == "needs encoders"
    assert np.isnan(rows["network size"].without_self)
    assert abs(rows["random"].without_self) < 0.1
    assert np.isnan(rows["random"].p)
    found = leaderboard.score(evidence(), [one for one in predictors.METHODS if one.part.needs != ("features",)])
    assert [r.method for r in found.rows] == [one.name for one in predictors.METHODS if one.static]


def test_svcca_has_an_interval_over_targets_alone_and_says_so():
    method = next(one for one in predictors.METHODS if one.name == "SVCCA")
    row = leaderboard.score(evidence(), [method, given("near", NEAR)], relabelings=19).rows[0]
    assert row.note == "interval over targets alone"
    assert np.isnan([row.images_low, row.both_low]).all()
    assert row.targets_low < row.without_self < row.targets_high
    assert "SVCCA" not in predictors.MEASURES


def test_labels_that_a_method_lacks_are_named():
    method = next(one for one in predictors.METHODS if one.name == "kNN on features")
    assert standings.missing(method, evidence(labels={n: FEATURES[n] for n in "abcde"})) == ["labels of f"]


@pytest.mark.slow
def test_intervals_are_those_of_the_public_verbs():
    each = TRUTH + 0.5 * np.random.default_rng(6).normal(size=(12, 6, 6))
    method = Method("pictures", "", predictors.PerPicture(lambda e: each, ()))
    found = leaderboard.score(evidence(), [method], resamples=20, relabelings=19, key=3)
    first, second = jax.random.split(jax.random.fold_in(jax.random.key(3), 0))
    drawn = method.part.draws(evidence(), 20, first)
    r = Resamples(drawn, each.mean(0), NAMES, NAMES, Provenance("", "float64", "host"), "bootstrap", images=12)
    truth = Affinity.from_array(TRUTH, NAMES, measure="made up")
    wanted = evaluation.agreement_intervals(r, truth, diagonal=False, key=second)
    (row,) = found.rows
    ends = [row.images_low, row.images_high, row.targets_low, row.targets_high, row.both_low, row.both_high]
    np.testing.assert_allclose(ends, np.asarray(wanted.interval).ravel(), rtol=1e-5)
    alone = evaluation.evaluate(
        Affinity.from_array(each.mean(0), NAMES, measure=""),
        truth,
        diagonal=False,
        relabelings=19,
        key=jax.random.fold_in(jax.random.key(3), 1),
    )
    assert (row.p, row.p_adjusted) == (alone.p, alone.p)
    assert found.best == "pictures"
    assert np.isnan(row.minus_best_p)


def test_an_interval_over_targets_needs_no_pictures(made):
    row = rows_of(made)["near"]
    assert row.targets_low < row.without_self < row.targets_high
    assert np.isnan([row.images_low, row.both_low]).all()


@pytest.mark.slow
def test_an_order_is_confirmed_refuted_or_undecided():
    truth = np.random.default_rng(7).normal(size=(16, 16))
    names = [f"n{k}" for k in range(16)]
    noise = np.random.default_rng(8).normal(size=(3, 16, 16))
    values = {"first": truth + 0.1 * noise[0], "second": noise[1], "third": noise[1] + 1e-6 * noise[2], "last": truth}
    e = evidence(truth, names, names, features=dict.fromkeys(names, FEATURES["a"]))
    board = leaderboard.score(e, [given(n, v) for n, v in values.items()], relabelings=19)
    found = standings.claims(board, ("first", "second", "absent", "third", "last"))
    assert [(c.higher, c.lower, c.verdict) for c in found] == [
        ("first", "second", "confirmed"),
        ("second", "third", "undecided"),
        ("third", "last", "refuted"),
    ]
    assert found[0].low < found[0].difference < found[0].high
    raw = sorted(board.difference(c.higher, c.lower).p for c in found)
    assert min(c.p for c in found) == pytest.approx(3 * raw[0])


def test_worlds_are_compared_by_students_paired_test():
    boards = []
    for k in range(3):
        rng = np.random.default_rng(10 + k)
        methods = [given(n, TRUTH + s * rng.normal(size=(6, 6))) for n, s in (("a", 0.3), ("b", 2.0), ("c", 1.0))]
        methods += [given("oracle", TRUTH, oracle=True)] + ([given("alone", TRUTH)] if k == 0 else [])
        boards.append(leaderboard.score(evidence(), methods, world=str(k), relabelings=19))
    found = {one.method: one for one in leaderboard.overall(boards)}
    assert set(found) == {"a", "b", "c", "oracle"}
    each = {n: [rows_of(one)[n].without_self for one in boards] for n in found}
    fisher = np.arctanh(each["b"])
    ends = scipy.stats.t.interval(0.95, 2, np.mean(fisher), scipy.stats.sem(fisher))
    assert (found["b"].low, found["b"].high) == pytest.approx(tuple(np.tanh(ends)))
    assert np.isnan([found["oracle"].low, found["oracle"].high]).all()  # 1 in all worlds
    assert found["a"].minus_best == 0
    gap = scipy.stats.ttest_rel(each["b"], each["a"])
    assert found["b"].minus_best_low == pytest.approx(gap.confidence_interval().low)
    assert gap.pvalue <= found["b"].minus_best_p <= min(1, 6 * gap.pvalue) + 1e-12
    pairs = [(m, n) for k, m in enumerate(found) for n in list(found)[:k]]
    adjusted = standings.holm([scipy.stats.ttest_rel(each[m], each[n]).pvalue for m, n in pairs])
    want = next(p for pair, p in zip(pairs, adjusted, strict=True) if set(pair) == {"a", "b"})
    assert found["b"].minus_best_p == pytest.approx(want)
    for value, p, verdict in ((1, 0.04, "confirmed"), (-1, 0.04, "refuted"), (1, 0.06, "undecided")):
        assert standings.Claim("a", "b", value, 0, 1, p).verdict == verdict
    with pytest.raises(ValueError, match="at least two worlds"):
        leaderboard.overall(boards[:1])
    with pytest.raises(ValueError, match="different names"):
        leaderboard.overall([boards[0], boards[0]])


def test_worlds_of_oracles_alone_have_no_best_and_equal_differences_no_p():
    def over(**more):
        methods = [given("near", NEAR, **more), given("far", FAR, **more)]
        one = leaderboard.score(evidence(), methods, relabelings=19)
        return leaderboard.overall([dataclasses.replace(one, world=name) for name in "ab"])

    assert all(np.isnan([one.minus_best, one.minus_best_low, one.minus_best_p]).all() for one in over(oracle=True))
    assert [one.minus_best == 0 for one in over()] == [True, False]
    assert np.isnan([one.minus_best_p for one in over()]).all()
    assert np.isnan([(one.minus_best_low, one.minus_best_high, one.low, one.high) for one in over()]).all()


# Bad input


def test_features_and_losses_that_are_nan_give_no_score():
    labels = {name: RNG.normal(size=(12, 2)) for name in NAMES}
    found = predictors.neighbor_errors(evidence(labels=labels, features=FEATURES | {"b": np.full((12, 3), np.nan)}))
    assert np.isnan(found[:, 1]).all()
    assert np.isfinite(np.delete(found, 1, 1)).all()
    losses = RNG.uniform(size=(6, 6, 8))
    losses[2, 3, 0] = np.nan
    part, lost = predictors.Tournament(), np.isnan(losses).any(-1)
    np.testing.assert_array_equal(np.isnan(part.scores(evidence(losses=losses))), lost)
    nothing = leaderboard.score(evidence(), [given("nan", np.full((6, 6), np.nan)), given("flat", np.ones((6, 6)))])
    assert [row.note for row in nothing.rows] == [standings.NOTHING, "all sources alike: no correlation"]
    for draw in part.draws(evidence(losses=losses), 2, jax.random.key(0)):
        np.testing.assert_array_equal(np.isnan(draw), lost)


def test_neighbors_take_labels_of_any_mean_and_two_pictures():
    labels = {name: RNG.normal(size=(12, 2)) for name in NAMES}
    far = {name: y + 1e4 for name, y in labels.items()}
    near = [predictors.neighbor_errors(evidence(labels=some)) for some in (labels, far)]
    np.testing.assert_allclose(*near, atol=1e-5)
    with pytest.raises(ValueError, match="at least two pictures, not 1"):
        predictors.neighbors(np.zeros((1, 3)), 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": {n: FEATURES[n] for n in "abcd"}}, "the features lack e, f, which the truth has"),
        ({"features": FEATURES | {"b": FEATURES["b"][:9]}}, "b and a have 9 and 12 pictures"),
        ({"labels": dict.fromkeys(NAMES, np.ones((7, 1)))}, "the labels of a and a have 7 and 12 pictures"),
        ({"losses": np.ones((6, 5, 9))}, r"the shape of the losses must start with \(sources, targets\) \(6, 6\)"),
        ({"skill": np.ones((5, 6))}, "the shape of the skill must start with"),
    ],
)
def test_evidence_that_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        leaderboard.score(evidence(**change))


def test_few_sources_no_method_and_two_of_one_name_are_refused():
    with pytest.raises(ValueError, match="needs at least 4 sources, not 3"):
        leaderboard.score(evidence(TRUTH[:3, :3], "abc", "abc"))
    for some in ([], [given("x", TRUTH)] * 2):
        with pytest.raises(ValueError, match="at least one method, and every method needs a different name"):
            leaderboard.score(evidence(), some)


def test_any_truth_is_aligned_by_name():
    order = [3, 1, 0, 2, 5, 4]
    names = [NAMES[k] for k in order]
    truth = Affinity.from_array(TRUTH, NAMES, measure="t")
    skill = Affinity.from_array(-TRUTH[np.ix_(order, order)], names, measure="s", distance=True)
    e = leaderboard.given_evidence(truth, {n: FEATURES[n] for n in names}, skill=skill)
    np.testing.assert_array_equal(e.skill, TRUTH)
    few = {n: FEATURES[n] for n in "fdcba"}
    with pytest.raises(ValueError, match="the features lack e"):
        leaderboard.score(leaderboard.given_evidence(truth, few))
    kept = leaderboard.given_evidence(truth, few, subset=True, skill=skill)
    assert kept.sources == kept.targets == tuple("abcdf")
    np.testing.assert_array_equal(kept.skill, np.delete(np.delete(TRUTH, 4, 0), 4, 1))
    lacking = Affinity.from_array(TRUTH[1:, 1:], NAMES[1:], measure="s")
    with pytest.raises(ValueError, match="the skill lacks the sources a, which the truth has"):
        leaderboard.given_evidence(truth, FEATURES, skill=lacking)
    losses = dataclasses.replace(truth, distance=True)
    np.testing.assert_array_equal(leaderboard.given_evidence(losses, FEATURES).values, -TRUTH)


# Files


def test_the_report_says_what_the_table_holds(made):
    text = leaderboard.markdown([made])
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| oracle: oracle: measures transfer", "| near"]
    assert lines[7].startswith("| network size (static): needs encoders | ")
    assert "near agrees best" in text
    header, rows = leaderboard.table_rows(made)
    assert {len(row) for row in rows} == {len(header)}
    told = json.loads(leaderboard.as_text(leaderboard.to_json([made])))
    assert told["worlds"][0]["best"] == "near"
    assert len(told["worlds"][0]["targets_of"]["near"]["regret"]) == 6
    unknown = leaderboard.score(evidence(), [given("flat", np.ones((6, 6)))])
    assert unknown.best is None
    assert "No method has a correlation" in leaderboard.markdown([unknown])


def test_the_picture_has_a_row_a_method_best_first(made):
    pytest.importorskip("matplotlib")
    axes = leaderboard.draw(made).axes
    labels = [tick.get_text() for tick in axes[0].get_yticklabels()]
    assert labels[:2] == ["oracle", "near"]
    assert labels[-1] == "network size"
    assert len(axes) == 2


@pytest.fixture
def files(tmp_path):
    io.write_csv_matrix(tmp_path / "truth.csv", TRUTH, NAMES, NAMES)
    io.write_npz(tmp_path / "features.npz", FEATURES)
    return tmp_path


def test_the_command_scores_any_truth(files, capsys):
    pytest.importorskip("matplotlib")
    argv = ["leaderboard", "--truth", files / "truth.csv", "--features", files / "features.npz", "--json", "--quiet"]
    argv += ["--labels", files / "features.npz", "--skill", files / "truth.csv", "--relabelings", "19", "--quick"]
    argv += ["--method", "tournament", "--out", files / "out", "--report"]
    assert main([*map(str, argv)]) == 0
    told = json.loads(capsys.readouterr().out)
    names = [row["method"] for row in told["worlds"][0]["rows"]]
    assert sorted(names) == sorted(one.name for one in predictors.METHODS if one.static)
    with open(files / "out/leaderboard.csv", newline="") as file:
        assert [row["method"] for row in csv.DictReader(file)] == names
    first = (files / "out/leaderboard.md").read_text().split("\n")[0]
    assert first.startswith("With --quick: 50 resamples")
    assert "pictures" not in first  # those are of --features
    page = (files / "out/report.html").read_text()
    assert "A first look, not a verdict." in page
    assert all(html.escape(name) in page for name in names)
    assert json.loads((files / "out/leaderboard.json").read_text())["quick"] is True
    assert (files / "out/leaderboard.png").stat().st_size > 5000
    assert main([*map(str, argv)]) == 2
    assert "already exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--features features.npz", "--features has no effect without --truth"),
        ("--truth truth.csv", "give --features with a file of their features"),
        ("--truth truth.csv --features features.npz --world rooms", "give --truth with --features, or --world"),
        ("--truth truth.csv --features features.npz --images 9", "--images has no effect with --truth"),
        ("--world rooms --world rooms", "--world rooms is given twice"),
        ("--method RSAs", "there is no method 'RSAs'"),
        ("--method RSA --method RSA", "--method RSA is given twice"),
        ("--world nowhere", "nowhere"),
        ("--truth other.csv --features features.npz", "the features lack x, y, z"),
    ],
)
def test_the_command_refuses_what_does_not_fit(files, monkeypatch, capsys, more, message):
    if "nowhere" in more:
        pytest.importorskip("jaxsim.studies.rooms.world")
    monkeypatch.chdir(files)
    io.write_csv_matrix("other.csv", TRUTH, list("abcxyz"), list("abcxyz"))
    assert main(["leaderboard", *more.split(), "--out", "out", "--quiet"]) == 2
    assert message in capsys.readouterr().err
    assert not (files / "out").exists()


def test_a_world_of_another_version_is_refused(files, capsys):
    nnx, models = pytest.importorskip("flax.nnx"), pytest.importorskip("jaxsim.vision.models")
    bank = {"a": models.SmallEncoder.named("tiny", rngs=nnx.Rngs(0))}
    (files / "old").mkdir()
    models.to_safetensors(bank, files / "old/encoders.safetensors", {"world_version": 0})
    assert main(["leaderboard", "--world", str(files / "old"), "--out", str(files / "out"), "--quiet"]) == 2
    assert "was made for version 0 of the world" in capsys.readouterr().err


@pytest.mark.parametrize("stop", slow_but([KeyboardInterrupt], [KeyboardInterrupt, OSError]))
def test_a_stopped_run_writes_nothing(files, monkeypatch, stop):
    pytest.importorskip("matplotlib")

    def draw(made):
        raise stop

    monkeypatch.setattr(leaderboard, "draw", draw)
    argv = ["leaderboard", "--truth", files / "truth.csv", "--features", files / "features.npz", "--quiet"]
    argv += ["--method", "tournament", "--relabelings", "19", "--out", files / "out"]
    assert main([*map(str, argv)]) in (2, 130)
    assert not (files / "out").exists()


@pytest.mark.slow
def test_the_shipped_world_is_scored_on_halves_of_its_images():
    world = pytest.importorskip("jaxsim.studies.rooms.world")
    e = leaderboard.evidence_of(count=24)
    truth = world.load_truth()
    judged = np.asarray(truth.losses, np.float32)[..., ::2]
    np.testing.assert_allclose(e.values, strengths(win_rates(judged)).T)
    np.testing.assert_array_equal(e.losses, np.asarray(truth.losses, np.float32)[..., 1::2])
    both = 1 - np.asarray(truth.skill)
    constant = np.asarray(truth.losses, np.float32).mean(-1) / both
    np.testing.assert_allclose(e.skill, 1 - judged.mean(-1) / constant, rtol=1e-5)
    some = [one for one in predictors.METHODS if one.static or one.name in ("tournament", "CKA, linear")]
    rows = rows_of(leaderboard.score(e, some, resamples=20, relabelings=99))
    assert rows["tournament"].without_self > 0.95
    assert 0.5 < rows["CKA, linear"].without_self < 0.85
    assert rows["network size"].note.startswith("all sources alike: no correlation")
    assert rows["CKA, linear"].seconds > e.seconds > 0
