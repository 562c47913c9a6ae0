"""P values for agreement with transfer against loops over SciPy, exact laws, and small simulations of their level."""

import itertools
import time

import jax
import numpy as np
import pytest
from marks import slow_but
from scipy import stats

import jaxsim as js
from benchmarks import coverage_relabelings as study
from jaxsim import evaluation, results
from jaxsim.evaluation import comparison, mantel
from jaxsim.evaluation.differences import difference


def made(values, names=None, targets=None):
    values = np.asarray(values, float)
    names = names or [f"task{i}" for i in range(max(values.shape))]
    targets = targets or names[: values.shape[1]]
    return js.Affinity.from_array(values, names[: values.shape[0]], targets, measure="made")


def random(shape, seed=0, decimals=1, gaps=0.0):
    """Affinity and truth with ties, and with missing pairs."""
    rng = np.random.default_rng(seed)
    common = 0.5 * rng.normal(size=shape)
    both = [np.round(common + rng.normal(size=shape), decimals) for _ in range(2)]
    for m in both:
        m[rng.random(shape) < gaps] = np.nan
    return both


def by_loop(a, g, own, rows, columns, oracle):
    """Mean correlation of each relabeling, target by target, over the pairs that both have."""
    means = []
    for r, c in zip(rows, columns, strict=True):
        moved, found = a[np.ix_(r, c)], []
        for t in range(g.shape[1]):
            used = np.isfinite(moved[:, t]) & np.isfinite(g[:, t]) & ~own[:, t]
            x, y = moved[used, t], g[used, t]
            if used.sum() >= 3 and np.ptp(x) > 0 and np.ptp(y) > 0:
                found.append(oracle(x, y).statistic)
        means.append(np.mean(found))
    return np.array(means)


@pytest.mark.parametrize("shape", [(6, 6), (9, 7), (7, 9)])
@pytest.mark.parametrize("gaps", [0.0, 0.2])
@pytest.mark.parametrize("correlation", ["spearman", "pearson"])
def test_relabeled_agreement_is_scipys(shape, gaps, correlation):
    a, g = random(shape, gaps=gaps)
    own = np.eye(*shape, dtype=bool)
    orders = mantel.relabelings(own, 25, 3)
    oracle = {"spearman": stats.spearmanr, "pearson": stats.pearsonr}[correlation]
    found = mantel.null(a, g, own, orders, correlation == "spearman")
    np.testing.assert_allclose(found.means, by_loop(a, g, own, orders.rows, orders.columns, oracle), atol=1e-12)


def test_the_p_value_counts_the_relabelings_that_agree_no_less():
    a, g = random((8, 8))
    own = np.eye(8, dtype=bool)
    orders = mantel.relabelings(own, 199, 5)
    null = by_loop(a, g, own, orders.rows, orders.columns, stats.spearmanr)
    found = js.evaluate(made(a), made(g), diagonal=False, relabelings=199, key=5)
    assert found.p == np.mean(null >= null[0] - 1e-10)
    assert found.mean == pytest.approx(null[0])
    assert (found.null_mean, found.null_deviation) == pytest.approx((null[1:].mean(), null[1:].std(ddof=1)))
    assert (found.relabelings, found.exact) == (199, False)
    again = js.evaluate(made(a), made(g), diagonal=False, relabelings=199, key=jax.random.key(5))
    assert (again.p, again.partial_p) == (found.p, found.partial_p)


@pytest.mark.parametrize(("shape", "count"), [((5, 5), 120), ((5, 3), 12), ((3, 5), 12), ((6, 6), 720)])
def test_few_tasks_are_relabeled_in_every_way(shape, count):
    orders = mantel.relabelings(np.eye(*shape, dtype=bool), 999, 0)
    assert orders.exact
    assert orders.count == count
    assert len({(*r, *c) for r, c in zip(orders.rows.tolist(), orders.columns.tolist(), strict=True)}) == count
    assert (orders.rows[0] == np.arange(shape[0])).all()
    shared = min(shape)
    np.testing.assert_array_equal(orders.rows[:, :shared], orders.columns[:, :shared])


def test_exact_p_values_are_those_of_all_relabelings():
    a, g = random((5, 5), decimals=3)
    own = np.eye(5, dtype=bool)
    every = np.array(list(itertools.permutations(range(5))))
    null = by_loop(a, g, own, every, every, stats.spearmanr)
    found = js.evaluate(made(a), made(g), diagonal=False, relabelings=999)
    assert found.exact
    assert found.relabelings == 120
    assert found.p == np.mean(null >= null[0] - 1e-10)
    assert "by all 120 relabelings" in str(found)


def test_sources_that_are_no_targets_move_among_themselves():
    orders = mantel.relabelings(np.eye(20, 17, dtype=bool), 50, 0)
    np.testing.assert_array_equal(orders.rows[:, :17], orders.columns)
    np.testing.assert_array_equal(np.sort(orders.rows[:, 17:]), np.tile([17, 18, 19], (51, 1)))
    apart = mantel.relabelings(np.zeros((6, 6), bool), 50, 0)
    assert (apart.rows != apart.columns).any()


def test_names_in_another_order_change_nothing():
    a, g = random((9, 7))
    moved = np.random.default_rng(1).permutation(7)
    names = [f"task{i}" for i in range(9)]
    there = made(g[:, moved], names, [names[i] for i in moved])
    one, two = (js.evaluate(made(a), t, diagonal=False, relabelings=99) for t in (made(g), there))
    assert (one.p, one.partial_p) == (two.p, two.partial_p)


def test_ten_thousand_relabelings_of_twenty_tasks_are_a_blink():
    a, g = random((20, 20), decimals=9)
    own, times = np.eye(20, dtype=bool), []
    for key in range(5):
        start = time.process_time()
        mantel.p_values(mantel.null(a, g, own, mantel.relabelings(own, 9999, key), True).scores)
        times.append(time.process_time() - start)
    assert min(times) <= 0.1


def test_a_perfect_prediction_has_the_smallest_p():
    _, g = random((8, 8), decimals=9)
    found = js.evaluate(made(g), made(g), diagonal=False, relabelings=999)
    assert found.p == found.smallest_p == found.partial_p == 1 / 1000
    assert found.partial == pytest.approx(1)


def test_records_with_p_values_are_saved_and_older_ones_are_read(tmp_path):
    a, g = random((8, 8))
    found = js.evaluate(made(a), made(g), diagonal=False, relabelings=99)
    again = results.load(found.save(tmp_path / "a.npz"))
    assert (again.p, again.exact, again.null_mean, again.tests()) == (found.p, False, found.null_mean, found.tests())
    assert found.to_json()["p"] == found.p
    plain = js.evaluate(made(a), made(g), diagonal=False)
    assert (plain.p, plain.relabelings, plain.tests()) == (None, 0, "")


def test_an_agreement_of_before_the_p_values_is_read(tmp_path, monkeypatch):
    a, g = random((8, 8))
    whole = results.Saved.metadata
    new = ("relabelings", "exact", "p", "null_mean", "null_deviation", "partial", "partial_p", "smallest_p")
    monkeypatch.setattr(results.Saved, "metadata", lambda self: {k: v for k, v in whole(self).items() if k not in new})
    path = js.evaluate(made(a), made(g), diagonal=False).save(tmp_path / "a.npz")
    assert results.load(path).p is None


# Bad input


def test_what_cannot_be_relabeled_is_refused():
    a, g = map(made, random((8, 8)))
    with pytest.raises(ValueError, match="keep every task's own network on the diagonal.*give diagonal=False"):
        js.evaluate(a, g, diagonal=True, relabelings=99)
    for count in (-1, 0.5, True):
        with pytest.raises(ValueError, match=rf"relabelings must be a whole number from 0 to 2\^31 - 1, not {count}"):
            js.evaluate(a, g, diagonal=False, relabelings=count)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"relabelings need evaluation.spearman or evaluation.pearson"):
        js.evaluate(a, g, diagonal=False, relabelings=9, correlation=lambda x, y: 0.0)
    with pytest.raises(TypeError, match="evaluate needs a single affinity; for several, use compare_agreements"):
        js.evaluate([a, a], g, diagonal=False)  # pyright: ignore[reportArgumentType]


def test_relabelings_that_cannot_reach_the_level_are_said():
    a, g = random((5, 3), decimals=9)
    with pytest.warns(RuntimeWarning, match=r"smallest p value that all 12 relabelings can give is 0.083, above .05"):
        js.evaluate(made(a), made(g), diagonal=False, relabelings=999)
    a, g = random((8, 8), decimals=9)
    with pytest.warns(RuntimeWarning, match=r"that 9 relabelings can give is 0.1, above .05; use more relabelings"):
        found = js.evaluate(made(a), made(g), diagonal=False, relabelings=9)
    assert found.smallest_p == 0.1


def test_a_truth_of_ties_has_no_p_value():
    a, _ = random((8, 8))
    with pytest.warns(RuntimeWarning, match="undefined for 8 of 8 targets"):
        found = js.evaluate(made(a), made(np.ones((8, 8))), diagonal=False, relabelings=99)
    assert (found.p, found.partial_p) == (None, None)
    assert "no p value: no target has a correlation" in str(found)
    assert found.table().rows[0][-3:] == ["n/a"] * 3
    with pytest.warns(RuntimeWarning, match="undefined for 8 of 8 targets"):
        two = js.compare_agreements({"a": made(a), "b": made(a)}, made(np.ones((8, 8))))
    assert np.isnan(two.p).all()
    assert np.isnan(two.difference_p[0, 1])


def test_networks_without_a_pair_do_not_move():
    a, g = random((9, 9), decimals=9)
    a[3], a[:, 3] = np.nan, np.nan
    rest = np.arange(9) != 3
    with pytest.warns(RuntimeWarning, match="1 of 9 targets"):
        whole = js.evaluate(made(a), made(g), diagonal=False, relabelings=99)
    part = js.evaluate(*(made(m[np.ix_(rest, rest)]) for m in (a, g)), diagonal=False, relabelings=99)
    assert (whole.p, whole.partial_p) == (part.p, part.partial_p)


# Main effects of sources


def test_effects_of_sources_are_taken_off():
    rng = np.random.default_rng(0)
    own = np.eye(9, 7, dtype=bool)
    noise, effect, units = rng.normal(size=(9, 7)), rng.normal(size=(9, 1)), np.exp(rng.normal(size=7))
    assert np.nanmax(np.abs(mantel.without_source_effects(effect * units + rng.normal(size=7), own).values)) < 0.1
    left = mantel.without_source_effects(noise + 3 * effect, own).values
    assert abs(stats.pearsonr(left[~own], np.tile(effect, 7)[~own]).statistic) < 0.02
    np.testing.assert_array_equal(np.isnan(left), own)


# Several measures


def three(seed=0, count=9):
    rng = np.random.default_rng(seed)
    g = rng.normal(size=(count, count))
    return {name: made(g + s * rng.normal(size=g.shape)) for name, s in (("near", 1), ("far", 3), ("none", 99))}, made(
        g
    )


@pytest.mark.filterwarnings("ignore:the affinity .made. falls")
def test_each_of_several_measures_is_what_evaluate_gives():
    affinities, g = three()
    found = js.compare_agreements(affinities, g, relabelings=199, key=4)
    for k, a in enumerate(affinities.values()):
        one = js.evaluate(a, g, diagonal=False, relabelings=199, key=4)
        assert (found.means[k], found.p[k], found.partial_p[k]) == pytest.approx((one.mean, one.p, one.partial_p))
        assert (found.null_mean[k], found.partial[k]) == pytest.approx((one.null_mean, one.partial))
    assert (found.adjusted >= found.p).all()
    assert found.adjusted[0] < 0.05
    np.testing.assert_allclose(found.difference, np.subtract.outer(found.means, found.means), atol=1e-12)


@pytest.mark.filterwarnings("ignore:the affinity .made. falls")
def test_the_adjusted_p_is_of_the_maximum_step_by_step():
    affinities, g = three()
    own, values = np.eye(9, dtype=bool), [np.asarray(a.values) for a in affinities.values()]
    orders = mantel.relabelings(own, 199, 4)
    null = np.stack([mantel.null(a, np.asarray(g.values), own, orders, True).means for a in values], 1)
    z = (null - null.mean(0)) / null.std(0)
    expected, last = {}, 0.0
    left = list(np.argsort(-z[0]))
    while left:
        last = max(last, np.mean(z[:, left].max(1) >= z[0, left[0]] - 1e-10))
        expected[left.pop(0)] = last
    found = js.compare_agreements(affinities, g, relabelings=199, key=4)
    np.testing.assert_allclose(found.adjusted, [expected[k] for k in range(3)])


@pytest.mark.filterwarnings("ignore:the affinity .made. falls")
def test_a_measure_differs_neither_from_itself_nor_from_its_ranks():
    affinities, g = three()
    again = made(np.exp(np.asarray(affinities["near"].values)))
    found = js.compare_agreements({"near": affinities["near"], "again": again, "none": affinities["none"]}, g)
    assert (found.difference[0, 1], found.error[0, 1], found.difference_p[0, 1]) == (0, 0, 1)
    assert found.difference_p[0, 2] == found.difference_p[2, 0] < 0.05
    assert found.difference_adjusted[0, 2] >= found.difference_p[0, 2]


def test_the_error_of_a_difference_is_the_jackknifes_where_tasks_are_noisy():
    """With noise of tasks above all, little is taken off the jackknife's error."""
    rng = np.random.default_rng(3)
    g, a, b = study._task_noise(rng, 24)
    own = np.eye(24, dtype=bool)
    found = difference(a, b, g, own, False)
    without = []
    for k in range(24):
        rest = np.ix_(np.arange(24) != k, np.arange(24) != k)
        r, s = (
            js.evaluate(made(m[rest]), made(g[rest]), diagonal=False, correlation=evaluation.pearson) for m in (a, b)
        )
        without.append(r.mean - s.mean)
    jackknife = np.sqrt(23 / 24 * np.sum((np.array(without) - np.mean(without)) ** 2))
    assert 0.7 * jackknife < found.error < 1.05 * jackknife


@pytest.mark.filterwarnings("ignore:the affinity .made. falls")
def test_comparisons_are_saved_and_shown(tmp_path):
    affinities, g = three()
    found = js.compare_agreements(affinities, g, relabelings=99)
    again = results.load(found.save(tmp_path / "c.npz"))
    np.testing.assert_array_equal(again.adjusted, found.adjusted)
    assert again.names == ("near", "far", "none")
    assert "minus best" in str(found)
    assert list(found.to_pandas().index) == ["near", "far", "none"]


def test_distances_among_predictions_are_warned_of_and_names_may_be_numbers(tmp_path):
    affinities, g = three()
    turned = made(-np.asarray(affinities["near"].values))
    with pytest.warns(RuntimeWarning, match="falls where the truth rises .*distance=True"):
        found = js.compare_agreements({1: affinities["near"], 2: turned}, g, relabelings=99)
    assert results.load(found.save(tmp_path / "c.npz")).names == ("1", "2")
    assert "2" in str(found)


def test_comparisons_that_cannot_be_made_are_refused():
    affinities, g = three()
    with pytest.raises(TypeError, match="affinities must be a dict from names to Affinity"):
        js.compare_agreements(list(affinities.values()), g)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="needs two affinities or more; for a single one, use evaluate"):
        js.compare_agreements({"near": affinities["near"]}, g)
    smaller = made(np.asarray(affinities["far"].values)[:8, :8])
    with pytest.raises(ValueError, match="'near' and 'less' have different networks; only one of them has: task8"):
        js.compare_agreements({"near": affinities["near"], "less": smaller}, g)


# Levels; the full simulations are `python -m benchmarks.coverage --study relabelings`


def rates(setting, batches, monkeypatch, size=100):
    """Share of p values up to .05, or of rejections, of some batches."""
    monkeypatch.setattr(study, "BATCH", size)
    found = [study.STUDY.settings[setting](seed) for seed in range(0, 100 * batches, 100)]
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


SETTINGS = ["unrelated and symmetric, 8 tasks", "unrelated, main effects of sources, 8 tasks"]


@pytest.mark.slow
@pytest.mark.parametrize("setting", slow_but(SETTINGS[:1], SETTINGS))
def test_relabelings_hold_the_level_that_the_interval_over_targets_does_not(setting, monkeypatch):
    found = rates(setting, 1, monkeypatch, 50)
    assert np.mean(found["p by relabelings"] <= 0.05) <= 0.16
    assert stats.kstest(found["p by relabelings"], "uniform").pvalue > 1e-3
    assert np.mean(found["the same with the diagonal"]) > 0.6


@pytest.mark.slow
def test_shared_effects_of_sources_are_no_partial_agreement(monkeypatch):
    found = rates("shared effects of sources, 12 tasks", 1, monkeypatch, 60)
    assert np.mean(found["plain p (its null is false)"]) > 0.8
    assert np.mean(found["p without sources' effects"] <= 0.05) <= 0.15


@pytest.mark.slow
def test_the_best_of_several_measures_is_adjusted(monkeypatch):
    found = rates("five measures, none related", 1, monkeypatch, 60)
    assert found["any adjusted p of an unrelated measure"].mean() <= 0.16
    assert found["any p that is not adjusted"].mean() > found["any adjusted p of an unrelated measure"].mean()


@pytest.mark.slow
def test_equal_measures_differ_at_the_level(monkeypatch):
    found = rates("two measures agree equally, noise of sources, 12 tasks", 1, monkeypatch, 60)
    assert np.mean(found["p of the difference"] <= 0.05) <= 0.15
    assert found["paired t over targets"].mean() > 0.2


@pytest.mark.slow
def test_partial_p_holds_where_few_sources_make_the_effects_of_both():
    own, p = np.eye(5, dtype=bool), []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        effect = 3 * rng.standard_t(3, size=(5, 1))
        a, g = (effect + rng.normal(size=(5, 5)) for _ in range(2))
        p.append(mantel.p_values(mantel.partial_null(a, g, own, mantel.relabelings(own, 120, 0), True).scores))
    assert np.mean(np.array(p) <= 0.05) < 0.11  # the mean alone rejects in 14 %, over either deviation in 10 and 15 %


def test_the_error_of_a_difference_counts_noise_of_pairs_once():
    own, found = np.eye(16, dtype=bool), []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        g, e, f = rng.normal(size=(3, 16, 16))
        found.append(difference(g + e, g + f, g, own, True)[:2])
    value, error = np.array(found).T
    assert 0.85 < np.std(value) / np.sqrt(np.mean(error**2)) < 1.2  # 0.7 if twice


def test_a_difference_that_few_tasks_make_has_few_degrees_of_freedom():
    rng, own = np.random.default_rng(0), np.eye(16, dtype=bool)
    g, e, f = rng.normal(size=(3, 16, 16))
    f[:2] *= 30
    value, error, p, *_ = difference(g + 0.3 * e, g + 0.3 * f, g, own, False)
    assert p > 3 * stats.t.sf(abs(value) / error, 15)


def test_adjusted_p_follow_the_order_of_the_scores():
    """The second measure is about as many deviations out as the first, and far fewer relabelings reach it alone."""
    scores = np.stack([np.tile([1.0, -1.0], 10), np.r_[0.5, 2.5, np.full(18, -0.3)]], axis=1)
    first, second = comparison._step_down(scores, np.array([True, True]))
    assert mantel.p_values(scores)[1] == 0.1 < first <= second
