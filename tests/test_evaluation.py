"""Agreement with transfer against SciPy and hand counts, and the numbers known of the released matrices."""

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from machine import DATA
from scipy import stats

from jaxsim import evaluation, results, statistics

TRANSFER = DATA / "taskonomy_transfer"


def frame(values, names=None, targets=None):
    names = names or [f"net{i}" for i in range(len(values))]
    return pd.DataFrame(np.asarray(values, dtype=float), names, targets or names)


def pair(count=8, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.random((count, count)) + np.eye(count)
    return frame(truth + rng.normal(0, 0.3, truth.shape)), frame(truth)


VECTORS = [
    ([1, 2, 3, 4], [2, 1, 4, 3]),
    ([1, 1, 1, 2, 2, 5], [3, 3, 1, 1, 2, 9]),
    ([1e9 + 1, 1e9 + 2, 1e9 + 4], [1e-9, 3e-9, 2e-9]),
]


@pytest.mark.parametrize(("x", "y"), VECTORS)
def test_correlations_are_scipys(x, y):
    assert evaluation.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert evaluation.pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic)


@pytest.mark.parametrize("correlation", [evaluation.spearman, evaluation.pearson])
@pytest.mark.parametrize("x", [[1.0, 1.0, 1.0], [0.1, 0.1, 0.1], [2.0]])
def test_correlations_are_nan_for_a_constant(correlation, x):
    assert np.isnan(correlation(x, list(range(len(x)))))


@pytest.mark.parametrize("correlation", [evaluation.spearman, evaluation.pearson])
def test_correlations_are_nan_where_an_entry_is(correlation):
    assert np.isnan(correlation([1.0, np.nan, 3.0, 2.0], [1.0, 2.0, 3.0, 4.0]))


@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize("correlation", [evaluation.spearman, evaluation.pearson])
def test_columns_are_correlated_with_and_without_self(correlation, diagonal):
    a, g = pair()
    e = evaluation.evaluate(a, g, diagonal=diagonal, correlation=correlation)
    keep = np.ones((8, 8), bool) if diagonal else ~np.eye(8, dtype=bool)
    columns = [(a.to_numpy()[keep[:, t], t], g.to_numpy()[keep[:, t], t]) for t in range(8)]
    theirs = {"spearman": stats.spearmanr, "pearson": stats.pearsonr}[correlation.__name__]
    expected = [theirs(x, y).statistic for x, y in columns]
    np.testing.assert_allclose(e.per_target, expected)
    assert e.mean == pytest.approx(np.mean(expected))
    assert e.sources.tolist() == [8 if diagonal else 7] * 8
    assert (e.diagonal, e.correlation, e.undefined) == (diagonal, correlation.__name__, ())


def test_diagonal_has_no_default():
    a, g = pair()
    with pytest.raises(TypeError, match="diagonal"):
        evaluation.evaluate(a, g)  # pyright: ignore[reportCallIssue]


def test_a_users_own_correlation_sees_the_two_columns():
    seen = []

    def mine(x, y):
        seen.append((x, y))
        return 0.25

    a, g = pair(4)
    e = evaluation.evaluate(a, g, diagonal=True, correlation=mine)
    assert e.correlation == "mine"
    assert e.mean == 0.25
    np.testing.assert_array_equal(seen[2], [a.to_numpy()[:, 2], g.to_numpy()[:, 2]])


def test_names_align_whatever_the_order():
    a, g = pair()
    rng = np.random.default_rng(1)
    larger = g.copy()
    larger.loc["extra"] = rng.random(8)
    larger["another"] = rng.random(9)
    moved = larger.iloc[rng.permutation(9), rng.permutation(9)]
    one, two = (evaluation.evaluate(a, truth, diagonal=False) for truth in (g, moved))
    np.testing.assert_allclose(one.per_target, two.per_target)
    np.testing.assert_array_equal(one.found, two.found)


def test_truth_that_lacks_tasks_is_refused_unless_the_shared_are_asked_for():
    a, g = pair()
    smaller = g.drop(index=["net2"], columns=["net5", "net6"])
    for table, kind in ((g.drop(index=["net2", "net3"]), "sources net2, net3"), (smaller, "sources net2")):
        with pytest.raises(ValueError, match=re.escape(kind)):
            evaluation.evaluate(a, table, diagonal=True)
    with pytest.raises(ValueError, match="lacks the targets net5"):
        evaluation.evaluate(a, g.drop(columns="net5"), diagonal=True)
    with pytest.raises(ValueError, match=r"lacks the sources net2 \(is net2 its nett2\?\); pass subset=True"):
        evaluation.evaluate(a, g.rename(index={"net2": "nett2"}), diagonal=True)
    e = evaluation.evaluate(a, smaller, diagonal=True, subset=True)
    expected = evaluation.evaluate(a.drop(index="net2", columns=["net5", "net6"]), smaller, diagonal=True)
    assert e.targets == expected.targets == ("net0", "net1", "net2", "net3", "net4", "net7")
    np.testing.assert_array_equal(e.per_target, expected.per_target)
    with pytest.raises(ValueError, match="share no sources"):
        evaluation.evaluate(a, frame(np.eye(3), list("xyz")), diagonal=True, subset=True)


def test_undefined_targets_are_nan_counted_and_warned_of():
    a, g = pair(6)
    g["net1"] = 0.5
    g.loc[["net0", "net1", "net3", "net4"], "net2"] = np.nan
    a["net4"] = 0.5
    with pytest.warns(RuntimeWarning, match="3 of 6 targets: net1, net2, net4"):
        e = evaluation.evaluate(a, g, diagonal=True)
    assert e.undefined == ("net1", "net2", "net4")
    assert e.sources.tolist() == [6, 6, 2, 6, 6, 6]
    assert e.mean == pytest.approx(np.nanmean(e.per_target))
    assert np.isnan(e.top_k_hits[[1, 2, 4]]).all()
    assert e.to_json()["undefined"] == ["net1", "net2", "net4"]
    assert e.to_json()["per_target"][1] is None


def test_nothing_defined_is_nan_without_numpys_warning():
    with pytest.warns(RuntimeWarning, match="2 of 2"):
        e = evaluation.evaluate(frame(np.eye(2)), frame(np.eye(2)), diagonal=True)
    assert np.isnan(e.mean)
    assert e.to_json()["mean"] is None
    assert e.precision_at_k.shape == (0,)


def test_hits_count_the_predicted_best_among_the_truly_best():
    """Truth ranks the other sources of a as b > c > d = e; the prediction picks c, then d."""
    names = list("abcde")
    truth = frame([[9.0], [4], [3], [2], [2]], names, ["a"])
    for best, hits in (("b", [1, 1, 1]), ("c", [0, 1, 1]), ("d", [0, 0, 1]), ("e", [0, 0, 1])):
        predicted = frame([[1.0], [0.1], [0.2], [0.3], [0.4]], names, ["a"])
        predicted.loc[best, "a"] = 0.9
        for diagonal in (True, False):
            e = evaluation.evaluate(predicted, truth, diagonal=diagonal, top=(1, 2, 3))
            assert e.top_k_hits.tolist() == [hits]


def test_precision_and_recall_by_hand():
    names = list("abcd")
    truth = frame([[9.0, 1], [4, 9], [3, 2], [2, 3]], names, ["a", "b"])
    predicted = frame([[1.0, 3], [3, 9], [1, 2], [2, 1]], names, ["a", "b"])
    e = evaluation.evaluate(predicted, truth, diagonal=False, relevant=2)
    assert e.found.tolist() == [[1, 1, 2], [0, 1, 2]]  # a: b d c of {b, c}; b: a c d of {d, c}
    np.testing.assert_allclose(e.precision_at_k, [1 / 2, 2 / 4, 4 / 6])
    np.testing.assert_allclose(e.recall_at_k, [1 / 4, 2 / 4, 4 / 4])


def test_a_perfect_prediction_is_the_oracle_curve():
    _, g = pair(17)
    e = evaluation.evaluate(g, g, diagonal=True)
    k = np.arange(1, 17)
    np.testing.assert_allclose(e.precision_at_k, np.minimum(1, 5 / k))
    np.testing.assert_allclose(e.recall_at_k, np.minimum(1, k / 5))
    np.testing.assert_allclose(e.per_target, 1.0)
    assert e.top_k_hits.all()


def test_records_and_tables_give_the_same():
    a, g = pair()
    provenance = results.Provenance(measure="rsa", dtype="float32", device="cpu")
    names = tuple(a.index)
    record = results.Affinity(jnp.asarray(a.to_numpy()), None, names, names, provenance)
    one, two = (evaluation.evaluate(x, g, diagonal=True) for x in (record, a))
    np.testing.assert_allclose(one.per_target, two.per_target)
    assert (one.provenance.measure, one.truth) == ("rsa", "the truth")


def test_save_load_and_table(tmp_path):
    e = evaluation.evaluate(*pair(), diagonal=False, top=(1, 4))
    again = results.load(e.save(tmp_path / "agreement.npz"))
    assert isinstance(again, evaluation.Agreement)
    assert (again.mean, again.targets, again.top, again.diagonal) == (e.mean, e.targets, (1, 4), False)
    np.testing.assert_array_equal(again.precision_at_k, e.precision_at_k)
    table = again.to_pandas()
    assert list(table.columns) == ["spearman", "sources", "top_1", "top_4"]
    assert table.index.name == "target"
    np.testing.assert_array_equal(table["spearman"], e.per_target)
    assert e.to_json()["mean"] == e.mean


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"top": (1, 0)}, ValueError, "top and relevant must be positive whole numbers of sources, not 0"),
        ({"top": 1.5}, ValueError, "not 1.5"),
        ({"relevant": -1}, ValueError, "not -1"),
        ({"relevant": True}, ValueError, "not True"),
        ({"correlation": "spearman"}, TypeError, "correlation must be a function, .*not 'spearman'"),
    ],
)
def test_numbers_of_sources_and_correlations_that_are_none_are_refused(given, kind, said):
    with pytest.raises(kind, match=said):
        evaluation.evaluate(*pair(4), diagonal=False, **given)


def test_one_number_of_best_sources():
    assert evaluation.evaluate(*pair(4), diagonal=False, top=np.int64(2)).top == (2,)


def test_matrices_without_names_or_with_doubled_ones_are_refused():
    a, g = pair(3)
    with pytest.raises(TypeError, match="the truth must be an Affinity or a pandas DataFrame with names"):
        evaluation.evaluate(a, g.to_numpy(), diagonal=True)
    with pytest.raises(ValueError, match="the affinity has more than one row or column named b"):
        evaluation.evaluate(frame(np.eye(3), list("abb")), g, diagonal=True)


# The released Taskonomy matrices


def released(name):
    path = TRANSFER / "dds17_matrices.npz"
    if not path.exists():
        pytest.skip(f"the Taskonomy matrices are not at {path}; set JAXSIM_DATA")
    return evaluation.load_truth(path, key=name)


KNOWN = [
    ("wins_vs_pixels_16k", True, 0.919),
    ("wins_vs_pixels_16k", False, 0.899),
    ("all_affinities_16k", True, 0.990),
    ("all_affinities_16k", False, 0.989),
]


@pytest.mark.parametrize(("truth", "diagonal", "mean"), KNOWN)
def test_released_matrices_agree_as_known(truth, diagonal, mean):
    e = evaluation.evaluate(released("all_affinities"), released(truth), diagonal=diagonal)
    assert e.mean == pytest.approx(mean, abs=5e-4)
    assert len(e.targets) == 17
    assert e.sources.tolist() == [17 if diagonal else 16] * 17


def test_the_columns_with_ties_disagree():
    e = evaluation.evaluate(released("all_affinities"), released("wins_vs_pixels_16k"), diagonal=True)
    per_target = dict(zip(e.targets, e.per_target.round(2).tolist(), strict=True))
    weak = {"autoencoder": 0.66, "denoise": 0.67, "keypoint2d": 0.67, "edge2d": 0.80}
    assert {t: v for t, v in per_target.items() if v < 0.93} == weak


def test_self_is_the_best_source_of_15_of_17_targets():
    values = released("all_affinities").values
    assert int(np.sum(values.argmax(axis=0) == np.arange(17))) == 15


@pytest.mark.filterwarnings("ignore:.* which are for several sources")
def test_the_pickle_gives_what_the_matrix_gives():
    """The pickle holds more tasks, in another order."""
    path = TRANSFER / "results_winrates_wins_vs_pixels_16k.pkl"
    if not path.exists():
        pytest.skip(f"the Taskonomy pickles are not at {path}; set JAXSIM_DATA")
    truth, a = evaluation.load_truth(path), released("all_affinities")
    assert len(truth.names) > 17
    assert truth.provenance.measure == path.name
    assert truth.images is None
    one, two = (evaluation.evaluate(a, t, diagonal=False) for t in (truth, released("wins_vs_pixels_16k")))
    np.testing.assert_allclose(one.per_target, two.per_target)
    with pytest.raises(ValueError, match="lacks the sources"):
        evaluation.evaluate(truth, a, diagonal=True)
    assert evaluation.evaluate(truth, a, diagonal=False, subset=True).mean == pytest.approx(two.mean)


def test_load_truth_from_csv(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text(",a,b\na,1,0.5\nb,,2\n")
    truth = evaluation.load_truth(path)
    assert (truth.names, truth.targets, truth.provenance.measure) == (("a", "b"), ("a", "b"), "truth.csv")
    np.testing.assert_array_equal(truth.values, [[1, 0.5], [np.nan, 2]])
    assert results.load(truth.save(tmp_path / "truth.npz")).images is None


# Intervals


def resampled(names="abcdef", seed=0, noise=0.3, kind="bootstrap", draws=200):
    """A record of resamples, and a truth that holds one more network."""
    rng = np.random.default_rng(seed)
    count = len(names)
    truth = rng.normal(size=(count + 1, count + 1))
    estimate = truth[:count, :count] + rng.normal(0, noise, (count, count))
    values = estimate + rng.normal(0, noise, (draws, count, count))
    given = results.Provenance(measure="rsa", dtype="float32", device="cpu")
    arrays = values.astype(np.float32), estimate.astype(np.float32)
    r = results.Resamples(*arrays, tuple(names), tuple(names), given, kind, 50)
    moved = rng.permutation(count + 1)
    return r, frame(truth, [*names, "zz"]).iloc[moved, moved], truth[:count, :count]


agreement_over_images = jax.jit(statistics.agreement_over_images, static_argnums=3, static_argnames="level")


@pytest.mark.parametrize(
    ("correlation", "diagonal", "level"),
    [(evaluation.spearman, False, 0.95), pytest.param(evaluation.pearson, True, 0.8, marks=pytest.mark.slow)],
)
def test_intervals_are_those_of_statistics_on_aligned_matrices(correlation, diagonal, level):
    r, truth, plain = resampled()
    asked = {"diagonal": diagonal, "key": jax.random.key(3), "correlation": correlation, "level": level}
    out = evaluation.agreement_intervals(r, truth, **asked)
    full = results.Affinity(r.estimate, None, r.names, r.targets, r.provenance)
    e = evaluation.evaluate(full, truth, diagonal=diagonal, correlation=correlation)
    assert float(out.estimate) == pytest.approx(e.mean, abs=1e-6)
    masked = getattr(statistics, f"masked_{correlation.__name__}")
    mask = np.ones((6, 6), bool) if diagonal else ~np.eye(6, dtype=bool)
    images = agreement_over_images(r.values, r.estimate, plain.astype(np.float32), masked, mask, level=level)
    np.testing.assert_allclose(out.interval[0], images.interval, atol=1e-5)
    np.testing.assert_allclose(out.draws[0], images.values, atol=1e-5)
    assert out.bias[0] < 0 < out.error.min()
    assert out.corrected[0] >= out.estimate
    assert out.corrected[1] == pytest.approx(float(out.estimate), abs=1e-6)
    assert (out.interval[:, 0] < out.corrected).all()
    assert (out.interval[:, 1] >= out.corrected - 1e-6).all()
    assert np.abs(out.interval).max() <= 1
    assert out.over == ("images", "targets", "images and targets")
    assert all("onditions on" in text for text in out.conditions)
    again = evaluation.agreement_intervals(r, truth, **asked)
    np.testing.assert_array_equal(out.draws, again.draws)


@pytest.mark.slow
def test_intervals_leave_out_and_say_so():
    r, truth, _ = resampled()
    truth["b"] = 1.0
    r.values[5, 0, 3] = np.nan
    r.values[6, 0, 1] = np.nan  # in the target that does not count anyway
    with pytest.warns(RuntimeWarning) as caught:
        out = evaluation.agreement_intervals(r, truth, diagonal=False, key=jax.random.key(0))
    assert [str(w.message) for w in caught] == list(out.notes)
    assert {w.filename for w in caught} == {__file__}
    assert out.notes[0].endswith(
        "1 of 6 targets: b; a correlation needs at least three sources that are not all equal."
    )
    assert out.notes[1].startswith("1 of 200 resamples")
    assert out.targets == tuple("acdef")
    assert out.draws.shape == (3, 199)


@pytest.mark.slow
def test_intervals_that_do_not_vary_are_none_and_few_targets_are_said():
    """Before, the interval over targets that all agree alike had no width."""
    r, truth, _ = resampled("abcde", noise=0.0)
    with pytest.warns(RuntimeWarning) as caught:
        out = evaluation.agreement_intervals(r, truth, diagonal=False)
    assert [str(w.message) for w in caught] == list(out.notes)
    assert out.notes[0] == "5 targets are too few for an interval over targets; at least 6 are needed."
    assert out.notes[1].startswith("There is no interval over images, nor over targets, nor over images and targets")
    assert np.isnan(out.interval).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:5 targets are too few")
@pytest.mark.parametrize("noise", [0.05, 0.6])
def test_intervals_stay_within_the_range_of_a_correlation(noise):
    """Before, those over images and over both were cut off at 1."""
    r, truth, _ = resampled("abcde", noise=noise)
    out = evaluation.agreement_intervals(r, truth, diagonal=False)
    assert (np.abs(out.interval[[0, 2]]) < 1).all()
    assert (np.diff(out.interval, axis=1) > 0).all()


def test_intervals_save_load_and_table(tmp_path):
    r, truth, _ = resampled()
    out = evaluation.agreement_intervals(r, truth, diagonal=True, key=jax.random.key(0))
    again = results.load(out.save(tmp_path / "intervals.npz"))
    assert (again.over, again.level, again.conditions) == (out.over, 0.95, out.conditions)
    table = again.to_pandas()
    assert list(table.index) == list(out.over)
    np.testing.assert_array_equal(table[["low", "high"]].to_numpy(), out.interval)


def test_a_seed_is_the_key_made_of_it():
    r, truth, _ = resampled()
    by_key = evaluation.agreement_intervals(r, truth, diagonal=True, key=jax.random.key(0))
    np.testing.assert_array_equal(evaluation.agreement_intervals(r, truth, diagonal=True).draws, by_key.draws)


def test_intervals_refuse():
    r, truth, _ = resampled()
    ask = {"diagonal": True, "key": jax.random.key(0)}
    for kind in ("jackknife", "permutation"):
        with pytest.raises(ValueError, match=f"not resamples from {kind}"):
            evaluation.agreement_intervals(resampled(kind=kind)[0], truth, **ask)
    with pytest.raises(ValueError, match="no scheme is named 'parametric bootstrap'"):
        evaluation.agreement_intervals(resampled(kind="parametric bootstrap")[0], truth, **ask)
    with pytest.raises(TypeError, match="not ndarray"):
        evaluation.agreement_intervals(r.values, truth, **ask)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="evaluation.spearman or evaluation.pearson"):
        evaluation.agreement_intervals(r, truth, **ask, correlation=lambda x, y: 0.0)
    with pytest.raises(ValueError, match="lacks the sources c"):
        evaluation.agreement_intervals(r, truth.drop(index="c"), **ask)
    with pytest.raises(ValueError, match="undefined for all 6 targets"):
        evaluation.agreement_intervals(r, truth * 0, **ask)
    r.values[:] = np.nan
    with pytest.raises(ValueError, match="all 200 resamples contain NaN"):
        evaluation.agreement_intervals(r, truth, **ask)


def made(values, distance=False):
    names = list("abcdefgh")
    return results.Affinity.from_array(values, names, measure="made", distance=distance)


def test_distances_are_turned_where_they_are_said(tmp_path):
    s, truth = (np.asarray(x) for x in pair())
    want = evaluation.evaluate(made(s), made(truth), diagonal=False)
    for affinity, measured in ((made(2 - s, True), made(truth)), (made(s), made(2 - truth, True))):
        found = evaluation.evaluate(affinity, measured, diagonal=False)
        np.testing.assert_allclose(found.per_target, want.per_target)
        np.testing.assert_array_equal(found.top_k_hits, want.top_k_hits)
    distances = results.load(made(2 - s, True).save(tmp_path / "d.npz"))
    assert distances.distance
    assert [n for n, _ in distances.ranking("c")] == [n for n, _ in made(s).ranking("c")]
    assert "lower is more similar" in str(distances)


def test_distances_that_are_not_said_are_warned_of():
    truth = np.asarray(pair()[1])
    falls = r"affinity \(made\) falls where the truth rises .-1.00.; if it contains"
    for wrong, held in (
        (made(-truth), "distances.*distance=True"),
        (made(truth, True), "similarities.*distance=False"),
    ):
        with pytest.warns(RuntimeWarning, match=f"{falls} {held}"):
            evaluation.evaluate(wrong, made(truth), diagonal=False)
    noise = np.random.default_rng(5).random((8, 8)) + 1
    np.fill_diagonal(noise, 0)
    with pytest.warns(RuntimeWarning, match="least similar values on the diagonal; if it contains distances"):
        evaluation.evaluate(made(noise), made(truth), diagonal=True)


def test_chance_is_not_warned_of():
    rng = np.random.default_rng(0)
    for _ in range(50):
        evaluation.evaluate(made(rng.random((8, 8))), made(rng.random((8, 8))), diagonal=False)


@pytest.mark.slow
def test_intervals_from_subsets_scale_their_deviations():
    """Deviations of subsets of 20 among 50 images become errors by sqrt(20 / 30)."""
    rng = np.random.default_rng(0)
    score = rng.normal(size=(8, 1))
    drawn, names, targets = score + 0.3 * rng.normal(size=(200, 8, 1)), tuple("abcdefgh"), ("t",)
    given = results.Provenance("rsa", "float64", "cpu")
    subsets = results.Resamples(drawn, np.nan * score, names, targets, given, "subsample", images=50, size=20)
    errors = np.sqrt(20 / 30) * (drawn - drawn.mean(0))
    as_bootstrap = results.Resamples(
        drawn.mean(0) + errors, drawn.mean(0), names, targets, given, "bootstrap", images=50
    )
    truth = results.Affinity(score + rng.normal(size=(8, 1)), None, names, targets, given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, wanted = (
            evaluation.agreement_intervals(r, truth, diagonal=True, key=0) for r in (subsets, as_bootstrap)
        )
    np.testing.assert_allclose(found.interval[0], wanted.interval[0], atol=1e-6)
    assert found.interval[0, 0] < found.interval[0, 1]
    none = results.Resamples(drawn, score, names, targets, given, "permutation", images=50)
    with pytest.raises(ValueError, match=r"js.Subsample\(size\), not resamples from permutation"):
        evaluation.agreement_intervals(none, truth, diagonal=True)
