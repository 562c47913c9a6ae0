"""The papers' experiments on made-up settings whose answers are known."""

import argparse
import csv
import dataclasses
import functools
import json
import re
import types

import numpy as np
import pytest

from jaxsim import engine, evaluation, measures, statistics
from jaxsim.evaluation.differences import Difference
from jaxsim.results import Affinity
from jaxsim.studies import reproduce
from jaxsim.studies.reproduce import (
    baseline_comparison,
    branch_points,
    catalog,
    comparator_choice,
    layers,
    measure_comparison,
    picture_counts,
    picture_sets,
    predictors,
    rankings,
    target_tables,
)
from jaxsim.studies.rooms.transfer import Truth

NAMES = tuple("abcdefghijkl")
GROUPS = {name: ("2d", "3d", "geometric", "semantic")[i // 3] for i, name in enumerate(NAMES)}


def features(share, n=60, seed=0, width=32):
    """Networks whose features are `share` of their group's factors, the rest of what all have in common."""
    rng = np.random.default_rng(seed)
    common, group = rng.normal(size=(n, 6)), rng.normal(size=(4, n, 6))
    found = {}
    for i, name in enumerate(NAMES):
        weights = np.random.default_rng(100 + i).normal(size=(2, 6, width))
        own = 0.15 * (1 + i % 3) * share * rng.normal(size=(n, width))
        mixed = (1 - share) * common @ weights[0] + share * group[i // 3] @ weights[1] + own
        found[name] = mixed.astype(np.float32).reshape(n, 2, 4, width // 8)
    return found


def truth(affinity, sources=NAMES, targets=NAMES):
    affinity = np.asarray(affinity, dtype=float)
    none = np.full_like(affinity, np.nan)
    return Truth(sources, targets, none[..., None], affinity, none, none, none, np.full(len(targets), np.nan))


def similarity(measure=measures.RSA):
    return np.asarray(engine.affinity(features(0.8), measure).values)


@functools.cache
def made(kind):
    """Truth that is RSA itself ('true'), or RSA of other names ('shuffled')."""
    values = similarity()
    if kind == "shuffled":
        order = np.random.default_rng(5).permutation(len(NAMES))
        values = values[np.ix_(order, order)]
    layers = {"conv1": features(0.1), "conv2": features(0.4), "conv3": features(0.8)}
    rest = {"labels": features(0.2, seed=3), "reference": features(0.8, seed=1), "elsewhere": features(0.1, seed=2)}
    return reproduce.Setting(layers, truth(values), GROUPS, **rest, quick=True)


@functools.cache
def outcome(name, kind):
    return reproduce.EXPERIMENTS[name].run(made(kind))


def column(found, name):
    return [row[found.header.index(name)] for row in found.rows]


# Every experiment


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["true", "shuffled"])
@pytest.mark.parametrize("name", ["rsa-matrix", "depth", "trees", "display", "selection", "subsets"])
def test_outcomes_are_whole(name, kind):
    found = outcome(name, kind)
    assert found.rows
    assert {len(row) for row in found.rows} == {len(found.header)}
    assert isinstance(found.holds, bool)
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trees", "selection"])
def test_claims_about_transfer_hold_for_true_and_not_for_shuffled(name):
    assert outcome(name, "true").holds is True
    assert outcome(name, "shuffled").holds is False


@pytest.mark.slow
def test_rsa_matrix_finds_the_groups_and_only_them():
    found = outcome("rsa-matrix", "true")
    assert found.holds
    assert "adjusted Rand index 1.00" in found.here
    other = dataclasses.replace(made("true"), groups={n: "wxyz"[i % 4] for i, n in enumerate(NAMES)})
    assert not catalog.rsa_matrix(other).holds


@pytest.mark.slow
def test_depth_agrees_wholly_where_truth_is_the_last_layer():
    found = outcome("depth", "true")
    assert column(found, "layer") == ["conv1", "conv2", "conv3", "labels"]
    assert column(found, "correlation_without_self")[2] == pytest.approx(1)
    assert np.all(np.diff(column(found, "mean_similarity")[:3]) < 0)
    assert column(found, "features") == [32, 32, 32, 32]


@pytest.mark.slow
def test_depth_asks_how_clearly_groups_are_told_apart_and_not_for_transfer():
    assert outcome("depth", "true").holds
    assert outcome("depth", "shuffled").holds
    assert column(outcome("depth", "true"), "grouping") == column(outcome("depth", "shuffled"), "grouping")
    setting = made("true")
    assert not catalog.depth(dataclasses.replace(setting, groups={n: "wxyz"[i % 4] for i, n in enumerate(NAMES)})).holds
    early = dict(zip(setting.features, reversed(setting.features.values()), strict=True))
    assert not catalog.depth(dataclasses.replace(setting, features=early)).holds
    with pytest.raises(ValueError, match="at least two groups"):
        catalog.depth(dataclasses.replace(setting, groups={n: n for n in NAMES}))


@pytest.mark.slow
def test_grouping_counts_the_pairs_that_stand_in_order():
    rng = np.random.default_rng(0)
    values, groups = rng.integers(0, 4, (7, 7)).astype(float), list("aabbbcd")
    values = np.triu(values, 1) + np.triu(values, 1).T + np.eye(7)
    pairs = [(values[i, j], groups[i] == groups[j]) for i in range(7) for j in range(i)]
    won = [(a > b) + (a == b) / 2 for a, same in pairs if same for b, other in pairs if not other]
    found, p = rankings.grouping(values, groups, made("true"))
    assert found == pytest.approx(np.mean(won))
    assert 0 < p <= 1
    assert rankings.grouping(np.exp(values), groups, made("true")) == (found, p)
    assert np.isnan(rankings.grouping(values, list("abcdefg"), made("true"))).all()
    assert np.isnan(rankings.grouping(values, list("aaaaaaa"), made("true"))).all()
    sure = np.equal.outer(np.arange(9) // 3, np.arange(9) // 3).astype(float)
    assert rankings.grouping(sure, list("aaabbbccc"), made("true"))[0] == 1


def test_labels_of_one_form_are_told_from_those_of_one_type():
    by_group = made("true")
    other = {name: "wxyz"[i % 4] for i, name in enumerate(NAMES)}
    setting = dataclasses.replace(by_group, labels=features(0.8), forms=GROUPS, groups=other)
    found = catalog.labels(setting)
    assert found.holds
    assert "by form 1.00 (p = 0.005), by type 0" in found.here
    assert sorted(column(found, "task")) == list(NAMES)
    assert not catalog.labels(dataclasses.replace(setting, forms=other, groups=GROUPS)).holds
    with pytest.raises(ValueError, match="forms of outputs lack a, b"):
        catalog.labels(dataclasses.replace(setting, forms={}))
    with pytest.raises(ValueError, match="at least two forms"):
        catalog.labels(dataclasses.replace(setting, forms=dict.fromkeys(NAMES, "one")))


def test_transfer_is_seen_only_when_scaled():
    """Shares of a tournament among twelve are small; their exponentials fill the scale."""
    shares = np.random.default_rng(0).dirichlet(np.ones(12), 12).T
    found = catalog.display(dataclasses.replace(made("true"), truth=truth(shares)))
    assert found.holds
    off = ~np.eye(12, dtype=bool)
    assert found.rows[1][1:] == pytest.approx(np.percentile(shares[off], (5, 50, 95)))
    assert found.rows[2][1:] == pytest.approx(np.percentile(1 - np.exp(-20 * shares[off]), (5, 50, 95)))
    assert not outcome("display", "true").holds  # its transfer is RSA itself


@pytest.mark.slow
def test_labels_are_no_layer():
    setting = made("true")
    layers = dict.fromkeys(("conv1", "conv2"), setting.features["conv1"])
    told = catalog.depth(dataclasses.replace(setting, features=layers, labels=features(0.8)))
    assert column(told, "correlation_without_self")[-1] == pytest.approx(1)
    assert "highest at conv1" in told.here
    wide = {name: x if name != "a" else np.concatenate([x, x], -1) for name, x in features(0.2, seed=3).items()}
    assert column(catalog.depth(dataclasses.replace(setting, labels=wide)), "features")[-1] is None


@pytest.mark.slow
def test_trees_of_one_matrix_agree():
    found = outcome("trees", "true")
    values = dict(zip(column(found, "agreement"), column(found, "here"), strict=True))
    assert values["Pearson correlation of the matrices, without self"] == pytest.approx(1)
    assert values["RSA and transfer: adjusted Rand index of cuts into 4"] == pytest.approx(1)
    assert values["RSA and RSA, authors' linkage: adjusted Rand index of cuts into 4"] == pytest.approx(1)
    assert len(found.rows) == 3 * 2 + 3 + 2


@pytest.mark.slow
def test_selection_counts_true_ranks():
    assert column(outcome("selection", "true"), "true_rank") == [1] * len(NAMES)
    opposite = dataclasses.replace(made("true"), truth=truth(-similarity()))
    found = catalog.selection(opposite)
    assert column(found, "true_rank") == [len(NAMES) - 1] * len(NAMES)
    assert not found.holds


@pytest.mark.slow
def test_selection_takes_fewer_targets_in_another_order():
    targets = ("k", "b")
    values = similarity()[:, [10, 1]]
    found = catalog.selection(dataclasses.replace(made("true"), truth=truth(values, NAMES, targets)))
    assert column(found, "target") == list(targets)
    assert column(found, "true_rank") == [1, 1]


@pytest.mark.slow
def test_images_agree_more_the_more_there_are(monkeypatch):
    monkeypatch.setattr(picture_counts, "STABILITY_COUNTS", (20,))
    found = catalog.images(made("true"))
    assert column(found, "pictures") == [20, 60]
    means = column(found, "mean_correlation")
    assert means == sorted(means)
    monkeypatch.setattr(picture_counts, "STABILITY_COUNTS", ())
    last = catalog.images(dataclasses.replace(made("true"), reference=made("true").code))
    assert column(last, "mean_correlation")[-1] == pytest.approx(1)
    assert last.holds
    noise = {n: np.random.default_rng(i).normal(size=(60, 2, 4, 4)).astype("f") for i, n in enumerate(NAMES)}
    assert not catalog.images(dataclasses.replace(made("true"), reference=noise)).holds


@pytest.mark.slow
def test_subsets_prefer_pictures_that_show_the_groups():
    found = outcome("subsets", "true")
    assert found.holds
    setting = made("true")
    swapped = {**setting.features, "conv3": setting.elsewhere}
    assert not catalog.subsets(dataclasses.replace(setting, features=swapped, elsewhere=setting.code)).holds


@pytest.mark.slow
def test_image_count_saturates_where_pictures_agree(monkeypatch):
    monkeypatch.setattr(picture_counts, "COUNTS", (20,))
    monkeypatch.setattr(picture_counts, "ENOUGH", 20)
    setting = dataclasses.replace(made("true"), truth=truth(similarity(measures.DDS_COSINE)))
    found = catalog.image_count(setting)
    assert column(found, "pictures") == [20, 20, 60, 60]
    assert column(found, "draws") == [5, 5, 1, 1]
    assert column(found, "mean")[2] == pytest.approx(1)  # all pictures, and the measure that is the truth
    first, last = np.array(column(found, "mean")).reshape(2, 2)
    assert found.holds is bool(np.all(last - first < 0.01))


@pytest.mark.slow
def test_comparators_find_the_one_that_is_the_truth(monkeypatch):
    zscore, cosine = comparator_choice.TRANSFORMS["z-score"], comparator_choice.FUNCTIONS["cosine"]
    monkeypatch.setattr(comparator_choice, "FUNCTIONS", {"cosine": cosine})
    monkeypatch.setattr(comparator_choice, "CELLS", ("z-score",))
    measure = measures.Measure(zscore, cosine, comparator_choice.COMPARATORS["spearman"])
    found = catalog.comparators(dataclasses.replace(made("true"), truth=truth(similarity(measure))))
    assert column(found, "comparator") == ["unbiased cosine", "pearson", "spearman"]
    assert column(found, "without_self")[2] == pytest.approx(1)
    assert "spearman 1.000, best in 1 of 1" in found.here


# The grid and the methods


@pytest.fixture
def few(monkeypatch):
    """A grid of two transforms and two functions, and two methods: compiling all takes long."""
    kept = {
        "TRANSFORMS": ("identity", "z-score"),
        "FUNCTIONS": ("laplacian", "cosine"),
        "METHODS": ("DDS, Laplacian", "RSA"),
    }
    for table, names in kept.items():
        whole = getattr(measure_comparison, table)
        monkeypatch.setattr(measure_comparison, table, {name: whole[name] for name in names})
    monkeypatch.setattr(measure_comparison, "GRID_NOTEBOOK", np.array([[0.6, 0.7], [0.8, 0.9]]))
    monkeypatch.setattr(measure_comparison, "GRID_PRINTED", np.array([[np.nan, 0.7], [0.85, 0.9]]))


def test_the_papers_grid_stands_in_the_order_of_ours():
    rows, columns = list(measure_comparison.TRANSFORMS), list(measure_comparison.FUNCTIONS)
    assert measure_comparison.GRID_NOTEBOOK.shape == (7, 6) == (len(rows), len(columns))
    for row, column_, value in (
        ("z-score", "cosine", 0.862),
        ("centering", "correlation", 0.749),
        ("batch norm", "rbf", 0.851),
    ):
        assert measure_comparison.GRID_NOTEBOOK[rows.index(row), columns.index(column_)] == value
    assert np.argmax(measure_comparison.GRID_NOTEBOOK.mean(1)) == rows.index("z-score")


def test_the_printed_grid_has_the_papers_numbers():
    rows, columns = list(measure_comparison.TRANSFORMS), list(measure_comparison.FUNCTIONS)
    printed = dict(zip(rows, measure_comparison.GRID_PRINTED, strict=True))
    assert dict(zip(columns, printed["identity"], strict=True))["linear"] == 0.632
    assert dict(zip(columns, printed["identity"], strict=True))["rbf"] == 0.8
    assert columns[np.argmax(printed["z-score"])] == "cosine"
    assert np.nanmax(measure_comparison.GRID_PRINTED) == 0.864
    assert np.mean(printed["z-score"] - printed["identity"]) == pytest.approx(0.102, abs=5e-4)
    assert [measure_comparison.METHODS[f"CKA, {k}"][1] for k in ("linear", "RBF")] == [0.632, 0.8]


@pytest.mark.slow
def test_grid_scores_the_cell_that_is_the_truth_highest(few):
    values = similarity(measures.DDS_LAPLACIAN)
    found = catalog.grid(dataclasses.replace(made("true"), truth=truth(values)))
    cells = {row[:2]: row[2:] for row in found.rows}
    assert cells["z-score", "laplacian"] == pytest.approx((0.85, 0.8, 1, 1))
    assert cells["identity", "laplacian"][0] is None
    assert max(v[2] for v in cells.values()) == pytest.approx(1)
    assert "best z-score with laplacian, 1.000" in found.here
    pytest.importorskip("matplotlib")
    texts = [text.get_text() for text in found.draw().axes[0].texts]
    assert texts == [f"{v[2]:.2f}" for v in cells.values()]


@pytest.mark.slow
def test_methods_put_the_true_measure_first(few):
    values = similarity(measures.DDS_LAPLACIAN)
    values = values + 0.01 * values.std() * np.random.default_rng(0).normal(size=values.shape)
    found = catalog.methods(dataclasses.replace(made("true"), truth=truth(values)))
    scores = dict(zip(column(found, "method"), column(found, "without_self"), strict=True))
    assert found.holds
    assert 1 > scores["DDS, Laplacian"] > 0.95
    assert abs(scores["random"]) < 0.15
    assert column(found, "p")[0] == pytest.approx(1 / 200)
    assert min(column(found, "seconds")[:-1]) > 0
    assert all(low < high for low, high in zip(column(found, "low")[:-1], column(found, "high")[:-1], strict=True))
    assert not catalog.methods(made("shuffled")).holds
    pytest.importorskip("matplotlib")
    assert [t.get_text() for t in found.draw().axes[0].get_yticklabels()] == column(found, "method")


# Predictors without a network of the target


def ranked(values):
    """A setting with losses of 40 images whose tournament ranks the sources as the values do."""
    noise = np.random.default_rng(3).normal(size=(*values.shape, 40))
    losses = 5 + (values.mean() - values)[..., None] / values.std() + 0.1 * noise
    found = dataclasses.replace(truth(values), losses=losses, skill=np.zeros_like(values))
    shop = types.SimpleNamespace(names=(), bank={}, shown={"rooms": np.zeros((4, 2, 2, 3), np.uint8)})
    return dataclasses.replace(unseen(values, labels=features(0.2), workshop=shop), truth=found)


def given_methods(matrices):
    """Methods of these names whose scores are given."""
    known = {one.name: one for one in predictors.METHODS}
    return tuple(
        dataclasses.replace(known[name], part=predictors.Given(lambda evidence, m=m: np.asarray(m), ("labels",)))
        for name, m in matrices.items()
    )


@pytest.mark.slow
def test_baselines_need_a_gap_to_every_predictor_without_a_target_network(monkeypatch):
    values, flat = symmetric(0), np.ones((12, 12))
    near, far = values + 0.01 * symmetric(1), symmetric(2)
    rows = {"DDS, Laplacian": near, "RSA": far, "labels, RSA": symmetric(3), "network size": flat}
    rows["random"] = np.stack([symmetric(k) for k in range(9, 12)])
    setting = ranked(values)
    monkeypatch.setattr(baseline_comparison, "METHODS", given_methods(rows))
    found = catalog.baselines(setting)
    assert found.holds
    assert column(found, "method")[0] == "DDS, Laplacian"
    assert column(found, "method")[-1] == "network size"
    assert "1 of 1 beaten; no ranking: network size" in found.here
    table = {row[0]: dict(zip(found.header, row, strict=True)) for row in found.rows}
    assert table["labels, RSA"]["kind"] == table["random"]["kind"] == "no target network"
    assert table["DDS, Laplacian"]["with_self"] > 0.9 > abs(table["random"]["with_self"])
    judged = Affinity.from_array(predictors.halves(setting.truth)[0].values, NAMES, measure="transfer")
    each = [
        evaluation.evaluate(Affinity.from_array(m, NAMES, measure="m"), judged, diagonal=False) for m in (near, far)
    ]
    assert table["RSA"]["behind"] == pytest.approx(each[0].mean - each[1].mean)
    assert table["RSA"]["without_self"] == pytest.approx(each[1].mean)
    json.dumps(found.to_json(), allow_nan=False)

    monkeypatch.setattr(baseline_comparison, "METHODS", given_methods(rows | {"kNN on features": near}))
    assert not catalog.baselines(setting).holds  # one predictor is as good
    monkeypatch.setattr(baseline_comparison, "METHODS", given_methods(rows | {"DDS, Laplacian": symmetric(6)}))
    assert not catalog.baselines(setting).holds  # the measure is no better than chance
    monkeypatch.setattr(baseline_comparison, "METHODS", given_methods(rows))
    nothing = Difference(0.5, np.nan, np.nan)
    monkeypatch.setattr(baseline_comparison, "difference", lambda *arguments: nothing)
    found = catalog.baselines(setting)
    assert not found.holds  # a difference without a p value shows nothing
    assert "labels, RSA" in found.here


def test_the_tournament_is_judged_by_other_images_than_its_own():
    losses = np.random.default_rng(0).uniform(size=(12, 12, 6))
    given = dataclasses.replace(truth(np.eye(12)), losses=losses, skill=np.full((12, 12), 0.5))
    affinity, skill, others = predictors.halves(given)
    np.testing.assert_array_equal(others, losses[..., 1::2].astype(np.float32))
    assert affinity.values.sum(0) == pytest.approx(1)
    expected = 1 - 0.5 * losses[..., ::2].mean(-1) / losses.mean(-1)
    np.testing.assert_allclose(skill, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workshop": None}, "needs a setting with labels and a workshop"),
        ({"labels": None}, "needs a setting with labels and a workshop"),
        ({"truth": truth(np.eye(12))}, "on at least two images"),
    ],
)
def test_baselines_refuse_what_they_cannot_read(change, message):
    with pytest.raises(ValueError, match=message):
        catalog.baselines(dataclasses.replace(ranked(symmetric(0)), **change))


# Single targets


def by_measure(monkeypatch, dds, others):
    """Measures of features that give these scores, whatever the features."""
    ours = (measures.DDS_LAPLACIAN, measures.DDS_COSINE)

    def affinity(code, wanted):
        return [Affinity.from_array(dds if m in ours else others, NAMES, measure="made up") for m in wanted]

    monkeypatch.setattr(engine, "affinity", affinity)


@pytest.mark.slow
def test_first_sources_are_among_the_best_where_similarity_is_transfer(monkeypatch):
    values = symmetric(0)
    by_measure(monkeypatch, values, symmetric(1))
    found = catalog.precision_recall(unseen(values))
    assert found.holds
    table = {row[:3]: row[3:] for row in found.rows}
    for k in range(1, 12):
        expected = (min(1, 5 / k), min(k / 5, 1))
        assert table["DDS, cosine", "mean", k] == pytest.approx(expected)
        assert table["DDS, cosine", "c", k] == pytest.approx(expected)
        assert table["random", "mean", k] == pytest.approx((5 / 11, k / 11))
    rsa = np.array([[table["RSA", name, k][0] for k in range(1, 6)] for name in NAMES])
    assert rsa.mean(0) == pytest.approx([table["RSA", "mean", k][0] for k in range(1, 6)])
    assert f"RSA {rsa.mean():.3f}" in found.here
    others = [i for i, name in enumerate(NAMES) if name != "c"]
    best = {others[i] for i in np.argsort(-values[others, 2])[:5]}
    first = [others[i] for i in np.argsort(-symmetric(1)[others, 2])[:3]]
    assert table["RSA", "c", 3] == pytest.approx((len(best & {*first}) / 3, len(best & {*first}) / 5))
    json.dumps(found.to_json(), allow_nan=False)
    pytest.importorskip("matplotlib")
    figure = found.draw()
    figure.canvas.draw()
    assert [axes.get_title(loc="left") for axes in figure.axes][1:-1] == list(NAMES)


@pytest.mark.slow
def test_precision_needs_both_measures_ahead_and_more_than_chance(monkeypatch):
    values = symmetric(0)
    by_measure(monkeypatch, symmetric(1), values)
    assert not catalog.precision_recall(unseen(values)).holds
    by_measure(monkeypatch, values, symmetric(1))
    null = np.ones((199, 5))
    monkeypatch.setattr(target_tables, "_early_precision", lambda found, setting: (np.array([1, 1, 0, 0, 0.0]), null))
    assert not catalog.precision_recall(unseen(values)).holds
    few = tuple("abcdef")
    six = Affinity.from_array(symmetric(0, 6), few, measure="made up")
    monkeypatch.setattr(engine, "affinity", lambda code, wanted: [six] * len(wanted))
    with pytest.raises(ValueError, match="more than 5 sources besides its own"):
        catalog.precision_recall(unseen(symmetric(0, 6), few, dict.fromkeys(few, "2d")))


@pytest.mark.slow
@pytest.mark.parametrize(("better", "holds"), [(9, True), (8, False)])
def test_targets_need_dds_ahead_for_three_quarters(monkeypatch, better, holds):
    """DDS is transfer itself for some targets, and its opposite for the others."""
    values, rng = symmetric(0), np.random.default_rng(0)
    dds = np.where(np.arange(12) < better, values, -values)
    rsa = symmetric(1)
    by_measure(monkeypatch, dds, rsa)
    ours, kept = (measures.DDS_LAPLACIAN, measures.DDS_COSINE), []

    def resample(code, wanted, *scheme, n_resamples, **how):
        full = [dds if m in ours else rsa for m in wanted]
        noise = 0.05 * rng.normal(size=(n_resamples, 12, 12))
        kept[:] = [types.SimpleNamespace(values=m + noise, estimate=m, names=NAMES) for m in full]
        return kept

    monkeypatch.setattr(target_tables.resampling, "resample", resample)
    found = catalog.targets(unseen(values))
    assert found.holds is holds
    assert f"DDS, cosine above RSA for {better} of 12" in found.here
    table = {(row[0], row[2]): row[3:] for row in found.rows}
    assert len(found.rows) == 12 * 5
    whole, without = (
        evaluation.evaluate(*(Affinity.from_array(m, NAMES, measure="m") for m in (rsa, values)), diagonal=d).per_target
        for d in (True, False)
    )
    assert [table[name, "RSA"][0] for name in NAMES] == pytest.approx(list(whole))
    assert [table[name, "RSA"][1] for name in NAMES] == pytest.approx(list(without))
    low, high = np.array([table[name, "RSA"][2:] for name in NAMES], dtype=float).T
    assert np.all((low < high) & (low >= -1) & (high <= 1))
    assert np.mean((low <= without) & (without <= high)) > 0.8
    alone = (kept[2].values[..., 3:4], rsa[:, 3:4], values[:, 3:4])
    mask = np.arange(12)[:, None] != 3
    one = statistics.agreement_over_images(*alone, statistics.masked_spearman, mask)
    np.testing.assert_allclose([low[3], high[3]], one.interval, atol=1e-4)
    pytest.importorskip("matplotlib")
    figure = found.draw()
    assert len({axes.get_xlim() for axes in figure.axes}) == 1


# Branches


@pytest.mark.parametrize(("right", "holds"), [(4, True), (3, True), (2, False)])
def test_branches_need_the_recommended_layer_to_be_the_best(monkeypatch, right, holds):
    """The last layer is recommended; it is the best one for the first tasks, the first layer for the others."""
    pytest.importorskip("flax")
    pytest.importorskip("grain")
    from jaxsim.studies.branching import Branches, Task

    tasks = (Task("semantic", 3), Task("scene", 3), Task("normals", 3), Task("edge", 1))
    better = np.array([[0.1, 0.2, 0.3]] * right + [[0.3, 0.2, 0.1]] * (4 - right)).T
    better[:, 2:] *= -1  # errors
    values = better + np.array([-0.01, 0.01])[:, None, None]
    scores = np.tile([[0.1], [0.2], [0.3]], 4)[None]
    plain = Branches(("a", "b", "c"), tasks, values, scores)
    equal = dataclasses.replace(plain, scores=-scores)
    monkeypatch.setattr(branch_points, "_trained", lambda shop, setting: (plain, equal))
    shop = types.SimpleNamespace(names=(), bank={"class_object": None})
    setting = unseen(symmetric(0), workshop=shop)
    found = catalog.branches(setting)
    assert found.holds is holds
    assert f"right for {right} of 4, by equal view for {4 - right}" in found.here
    assert (
        f"edge c, best {'c' if right == 4 else 'a'} (regret {0 if right == 4 else 0.2:.3g}), by equal view a"
        in found.here
    )
    assert column(found, "recommended") == [False, False, True] * 4
    assert column(found, "recommended_by_equal_view") == [True, False, False] * 4
    assert column(found, "standard_deviation") == pytest.approx([0.02 / 2**0.5] * 12)
    json.dumps(found.to_json(), allow_nan=False)
    unknown = dataclasses.replace(plain, scores=np.where(np.arange(4) == 1, np.nan, scores))
    monkeypatch.setattr(branch_points, "_trained", lambda shop, setting: (unknown, equal))
    with pytest.raises(ValueError, match="no layer is recommended for scene"):
        catalog.branches(setting)
    with pytest.raises(ValueError, match="class_object, which the bank lacks"):
        catalog.branches(dataclasses.replace(setting, workshop=types.SimpleNamespace(names=(), bank={})))
    pytest.importorskip("matplotlib")
    figure = found.draw()
    figure.canvas.draw()
    assert [axes.get_title(loc="left") for axes in figure.axes[1::3]] == ["DDS"] * 4


# Permutation tests


@pytest.mark.slow
def test_relabeled_means_begin_with_the_agreement_itself():
    setting = made("shuffled")
    found = [engine.affinity(setting.code, m) for m in (measures.RSA, measures.DDS_LAPLACIAN)]
    observed, null = rankings.relabeled_means(found, setting)
    expected = [rankings.agreement(a, setting, diagonal=False).mean for a in found]
    np.testing.assert_allclose(observed, expected, atol=1e-12)
    assert null.shape == (199, 2)
    order = rankings.relabelings(setting, len(NAMES))[3]
    moved = Affinity.from_array(np.asarray(found[1].values)[np.ix_(order, order)], NAMES, measure="moved")
    assert null[3, 1] == pytest.approx(rankings.agreement(moved, setting, diagonal=False).mean)
    assert abs(null.mean()) < 0.05


@pytest.mark.slow
def test_p_values_of_unrelated_matrices_are_spread_evenly():
    rng, p = np.random.default_rng(0), []
    for seed in range(40):
        both = [(a + a.T) / 2 for a in rng.normal(size=(2, len(NAMES), len(NAMES)))]
        setting = dataclasses.replace(made("true"), truth=truth(both[0]), seed=seed)
        observed, null = rankings.relabeled_means([Affinity.from_array(both[1], NAMES, measure="noise")], setting)
        p.append(rankings.p_value(observed[0], null[:, 0]))
    assert 0.35 < np.mean(p) < 0.65
    assert np.mean(np.array(p) < 0.1) < 0.25


# Layers of one encoder


@pytest.mark.slow
def test_layers_find_the_tasks_they_were_made_of(monkeypatch):
    """Early layers hold what half of the tasks share, late ones what the other half share; and the other way round."""
    monkeypatch.setattr(layers, "ENCODER", "l")
    names, rng = NAMES, np.random.default_rng(0)
    early, late = rng.normal(size=(2, 60, 6))
    groups = {name: "2d" if i < 6 else "semantic" for i, name in enumerate(names)}
    codes = {}
    for i, name in enumerate(names):
        mixed = (early if i < 6 else late) @ np.random.default_rng(i).normal(size=(6, 32))
        codes[name] = (mixed + 0.3 * rng.normal(size=mixed.shape)).astype(np.float32)

    def setting(*of):
        made_of = {f"conv{k}": {"l": codes[name]} for k, name in enumerate(of, 1)}
        return reproduce.Setting({**made_of, "conv3": codes}, truth(np.eye(12)), groups, quick=True)

    found = catalog.layer_types(setting("a", "g"))
    assert found.holds
    assert column(found, "task") == list(names[:-1])
    assert set(column(found, "most_similar")[:6]) == {"conv1"}
    assert set(column(found, "most_similar")[6:]) <= {"conv2", "conv3"}
    assert "2d 1.0" in found.here
    first = column(found, "conv1")[2]
    pair = {"l": codes["a"], "c": codes["c"]}
    assert first == pytest.approx(float(engine.affinity(pair, measures.DDS_LAPLACIAN).values[0, 1]), abs=1e-5)
    reverse = reproduce.Setting({"conv1": codes, "conv2": {**codes, "l": codes["a"]}}, truth(np.eye(12)), groups)
    assert not catalog.layer_types(reverse).holds
    with pytest.raises(ValueError, match="there are none in the group semantic"):
        catalog.layer_types(dataclasses.replace(setting("a", "g"), groups=dict.fromkeys(names, "2d")))


# Every condition of a criterion alone, with made-up similarities


def unseen(affinity, names=NAMES, groups=GROUPS, value=0.0, **rest):
    """A setting whose features are all one value, with measured transfer of every network to every other."""
    code = {name: np.full((4, 1), value) for name in names}
    return reproduce.Setting({"conv1": code, "conv2": code}, truth(affinity, names, names), groups, quick=True, **rest)


def p_of(found):
    return float(re.search(r"p = ([\d.e-]+)", found.here)[1])


def symmetric(seed, n=12):
    values = np.random.default_rng(seed).uniform(size=(n, n))
    return values + values.T + 2 * np.eye(n)


@pytest.mark.parametrize(
    ("n", "hits", "chance", "holds"), [(40, 30, False, True), (40, 16, False, False), (12, 8, True, False)]
)
def test_selection_needs_more_than_half_and_more_than_chance(monkeypatch, n, hits, chance, holds):
    """Networks come in pairs; the partner transfers best to the first `hits` of them and worst to the others."""
    names, partner = tuple(f"n{i}" for i in range(n)), np.arange(n) ^ 1
    similar, affinity = symmetric(0, n) / 10, np.random.default_rng(1).uniform(size=(n, n))
    similar[np.arange(n), partner] = 1
    affinity[partner, np.arange(n)] = np.where(np.arange(n) < hits, 2, -1)
    monkeypatch.setattr(
        engine, "affinity", lambda code, measure: Affinity.from_array(similar, names, measure="made up")
    )
    found = catalog.selection(unseen(affinity, names, dict.fromkeys(names, "2d")))
    assert column(found, "true_rank") == [1] * hits + [n - 1] * (n - hits)
    assert (p_of(found) >= rankings.LEVEL) == chance
    assert found.holds is holds


@pytest.mark.parametrize(("each", "p"), [(2, 1 / 6), (4, 1 / 70)])
def test_layers_need_more_than_the_order_of_the_groups(monkeypatch, each, p):
    """Early tasks are nearest to the first layer and late ones to the second, as in one exchange of all there are."""
    groups = {f"{group}{i}": group for group in ("2d", "semantic") for i in range(each)} | {"class_object": "semantic"}
    values = np.repeat([[1.0, 0.0], [0.0, 1.0]], each, axis=1)
    monkeypatch.setattr(engine, "affinity", lambda seen, measure, against: types.SimpleNamespace(values=values))
    found = catalog.layer_types(unseen(np.eye(len(groups)), tuple(groups), groups))
    assert column(found, "most_similar") == ["conv1"] * each + ["conv2"] * each
    assert p_of(found) == pytest.approx(p, rel=0.01)
    assert found.holds is (p < rankings.LEVEL)


@pytest.mark.parametrize(("best", "p_first", "holds"), [(0, 1 / 200, False), (1, 1.0, True)])
def test_methods_take_the_p_value_of_the_best_measure(monkeypatch, best, p_first, holds):
    """The first measure is above chance and the best of all is not; and the other way round."""
    observed, null = (
        np.full(len(measure_comparison.METHODS), 0.1),
        np.full((199, len(measure_comparison.METHODS)), 0.05),
    )
    observed[best] = 0.5
    null[:, 0 if best else -1] = 0.3 if best else 0.9
    values, dds = symmetric(0), (measures.DDS_LAPLACIAN, measures.DDS_COSINE)
    of = {True: values, False: symmetric(1)}
    monkeypatch.setattr(engine, "affinity", lambda code, m: Affinity.from_array(of[m in dds], NAMES, measure="made up"))
    monkeypatch.setattr(rankings, "relabeled_means", lambda affinities, setting: (observed, null))
    monkeypatch.setattr(rankings, "over_tasks", lambda values, setting: (0.0, None, None))
    spans = [(0.0, 1.0)] * len(measure_comparison.METHODS)
    monkeypatch.setattr(measure_comparison, "_intervals", lambda code, setting: spans)
    found = catalog.methods(unseen(values))
    assert column(found, "with_self")[:2] == pytest.approx([1, 1])
    assert column(found, "p")[0] == pytest.approx(p_first)
    assert found.holds is holds


@pytest.mark.filterwarnings("ignore:the affinity")
def test_subsets_leave_self_out(monkeypatch):
    """Other networks are ranked as transfer ranks them here and the other way round elsewhere; self disagrees."""
    values = symmetric(0)

    def resample(code, wanted, *scheme, **how):
        drawn = np.where(np.eye(12) > 0, -9 * code["a"][0, 0], code["a"][0, 0] * values)
        return [types.SimpleNamespace(values=drawn[None].repeat(3, 0), names=NAMES)] * len(wanted)

    monkeypatch.setattr(picture_sets.resampling, "resample", resample)
    elsewhere = unseen(values, value=-1.0).code
    found = catalog.subsets(unseen(values, value=1.0, elsewhere=elsewhere))
    assert column(found, "mean") == pytest.approx([1, 1, -1, -1])
    assert column(found, "standard_deviation") == pytest.approx([0] * 4)
    assert found.holds


@pytest.mark.parametrize(
    ("transfer", "chance", "first", "holds"),
    [
        ([12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1], False, 1, True),
        ([8, 12, 11, 10, 9, 7, 6, 5, 4, 3, 2, 1], False, 5, True),
        ([7, 12, 11, 10, 9, 8, 6, 5, 4, 3, 2, 1], False, 6, False),
        ([12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], True, 1, False),
    ],
)
def test_new_task_needs_more_than_chance_and_a_good_first_choice(monkeypatch, transfer, chance, first, holds):
    """Similarity falls from 'a' to 'l' by pictures of the other world, and rises by those of the home world."""
    one = truth(np.array(transfer)[:, None], NAMES, ("new",))
    shop = types.SimpleNamespace(
        names=(), transfer=lambda: dataclasses.replace(one, skill=one.affinity, wins_scratch=one.affinity)
    )
    shop.made = lambda task, world: types.SimpleNamespace(code=None, skill=0.5)
    home, elsewhere = ({n: np.full((4, 1), sign * i) for i, n in enumerate(NAMES)} for sign in (1.0, -1.0))
    setting = reproduce.Setting(
        {"conv1": home}, truth(np.eye(12)), GROUPS, elsewhere=elsewhere, workshop=shop, quick=True
    )
    monkeypatch.setattr(rankings, "similarities", lambda bank, codes: np.array([x[0] for x in bank.values()]))
    found = catalog.new_task(setting)
    assert column(found, "source") == list(NAMES)
    assert (p_of(found) >= rankings.LEVEL) == chance
    assert column(found, "rank_by_transfer")[0] == first
    assert found.holds is holds


# Names, settings and what is refused


@pytest.mark.slow
def test_run_takes_names_in_any_order_and_tells_progress():
    told = []
    found = reproduce.run(made("true"), ["trees", "rsa-matrix"], told.append)
    assert list(found) == told == ["rsa-matrix", "trees"]
    rows = reproduce.summary(found)
    assert [len(row) for row in rows] == [len(catalog.SUMMARY)] * 2
    assert rows[0][-1] == "yes"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("depth", {"features": {"conv1": features(0.8)}}, "several layers"),
        ("depth", {"labels": None}, "with labels"),
        ("labels", {"labels": None}, "with labels"),
        ("large", {}, "large trains networks"),
        ("layers", {"features": {"conv1": features(0.8)}}, "several layers"),
        ("layers", {}, "class_object, which is not a source"),
        ("stages", {}, "stages trains networks"),
        ("sizes", {}, "sizes trains networks"),
        ("small", {}, "small trains networks"),
        ("new-task", {}, "new-task trains networks"),
        ("images", {"reference": None}, "a reference"),
        ("subsets", {"elsewhere": None}, "another world"),
        ("image-sets", {}, "image-sets trains networks"),
        ("rsa-matrix", {"groups": {"a": "2d"}}, "the groups do not include b, c"),
        ("trees", {"features": {"conv1": {"a": np.ones((5, 3))}}}, "but the features do not include"),
        ("grid", {"truth": truth(np.ones((12, 1)), NAMES, ("zoo",))}, "zoo, but the sources do not include"),
    ],
)
def test_settings_that_lack_something_are_refused(name, change, message):
    with pytest.raises(ValueError, match=message):
        reproduce.EXPERIMENTS[name].run(dataclasses.replace(made("true"), **change))


@pytest.mark.slow
def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="there is no experiment 'tree'"):
        reproduce.run(made("true"), ["tree"])
    with pytest.raises(ValueError, match="no part 'colors'"):
        reproduce.setting(parts=["colors"])


@pytest.mark.slow
def test_setting_of_the_world(monkeypatch, tmp_path):
    nnx = pytest.importorskip("flax.nnx")
    from jaxsim.studies.reproduce import settings
    from jaxsim.studies.rooms import pictures
    from jaxsim.vision import models

    seen = []

    def make(count, *, seed, world, names, progress):
        seen.append((count, seed, world))
        progress(count, count)
        rng = np.random.default_rng(seed)
        rgb, ab = rng.integers(0, 256, (count, 16, 16, 3), np.uint8), rng.normal(size=(count, 16, 16, 2))
        return pictures.Pictures(world, seed, rgb, {name: ab.astype(np.float16) for name in names})

    monkeypatch.setattr(pictures, "make", make)
    monkeypatch.setattr(settings, "PICTURES_QUICK", 12)
    names = ("edge2d", "rgb2depth", "colorization")
    sizes = {"widths": (4, 8), "strides": (2, 2)}
    encoders = {n: models.SmallEncoder(**sizes, rngs=nnx.Rngs(i)) for i, n in enumerate(names)}
    told = []
    given = {"encoders": encoders, "truth": truth(np.eye(3), names, names)}
    with pytest.raises(ValueError, match="at least 4 networks, but this world has 3: edge2d, rgb2depth, colorization"):
        reproduce.setting(True, **given)
    with pytest.raises(ValueError, match="belong together"):
        reproduce.setting(True, encoders=encoders)
    monkeypatch.setattr(settings, "FEWEST", 3)
    found = reproduce.setting(True, **given, progress=lambda what: lambda *now: told.append((what, *now)))
    assert list(found.features) == ["conv1", "conv2"]
    assert found.features["conv1"]["edge2d"].shape == (12, 8, 8, 4)
    assert found.code["rgb2depth"].shape == (12, 4, 4, 8)
    assert [world for _, _, world in seen] == ["rooms", "rooms", "lofts"]
    assert len({seed for _, seed, _ in seen}) == 3
    assert min(seed for _, seed, _ in seen) > 1_000_001
    assert told == [("pictures", done, 36) for done in (12, 24, 36)]
    assert found.grouped == {"edge2d": "2d", "rgb2depth": "3d", "colorization": "2d"}
    assert {name: x.shape for name, x in found.labels.items()} == dict.fromkeys(names, (12, 8, 8, 2))
    assert found.forms["edge2d"] == "image, 1"
    assert found.forms["class_scene"] == found.forms["class_object"] == "classes"
    with pytest.raises(ValueError, match="'huge' is neither"):
        reproduce.setting(True, **given, large="huge")
    bare = reproduce.setting(True, **given, parts=[])
    assert list(bare.features) == ["conv2"]
    assert [bare.labels, bare.reference, bare.elsewhere, bare.workshop] == [None] * 4
    assert len(seen) == 4
    kept = [reproduce.setting(True, **given, parts=["elsewhere"], work=tmp_path) for _ in range(2)]
    assert len(seen) == 6
    np.testing.assert_array_equal(kept[0].elsewhere["edge2d"], kept[1].elsewhere["edge2d"])
    with pytest.raises(ValueError, match="only one of them has: reshade"):
        reproduce.setting(encoders=encoders, truth=truth(np.eye(4), (*names, "reshade"), names))


# The command and the figures


@pytest.fixture
def command(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    from jaxsim.cli import reproduce as command

    monkeypatch.setattr(command, "_setting", lambda arguments, parts, scratch: made("true"))

    def call(*experiments, **changed):
        given = {
            "out": str(tmp_path / "out"),
            "overwrite": False,
            "json": False,
            "quiet": True,
            "quick": True,
            "spreadsheet": False,
        }
        given |= {
            "seed": 0,
            "large": "wide",
            "world": None,
            "work": None,
            "command": "reproduce",
            "experiments": list(experiments),
        }
        command.run(argparse.Namespace(**given | changed))
        return tmp_path / "out"

    return call


@pytest.mark.slow
def test_command_writes_tables_figures_and_a_summary(command, capsys):
    names = ["rsa-matrix", "depth", "trees", "selection", "subsets"]
    folder = command(*names)
    expected = {f"{n}.{e}" for n in names for e in ("csv", "png")} | {"summary.csv", "summary.md"}
    assert {p.name for p in folder.iterdir()} == expected
    assert all((folder / f"{n}.png").read_bytes().startswith(b"\x89PNG") for n in names)
    rows = list(csv.DictReader((folder / "summary.csv").read_text().splitlines()))
    assert [row["experiment"] for row in rows] == names
    assert {row["holds"] for row in rows} == {"yes"}
    first, _, header, rule, *_ = (folder / "summary.md").read_text().splitlines()
    assert "not a verdict" in first
    columns = "| experiment | claim | source | paper | here | criterion | holds |"
    assert (header, rule) == (columns, "| --- " * 7 + "|")
    printed = capsys.readouterr().out
    assert "5 of 5 claims hold." in printed
    assert first in printed


@pytest.mark.slow
def test_command_prints_json_and_spares_what_is_there(command, capsys):
    command("trees", json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["experiments"][0]["holds"] is True
    assert printed["experiments"][0]["rows"][0]["agreement"].startswith("RSA and RSA, authors' linkage: cophenetic")
    with pytest.raises(FileExistsError, match="already exists"):
        command("trees")
    command("trees", overwrite=True)


# The signs of groups and what fits into a figure


def test_groups_are_told_by_signs_and_nothing_is_clipped():
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    from jaxsim.studies.reproduce import figures

    names = ("a", "b", "c", "d")
    groups = dict(zip(names, ("2d", "3d", "geometric", "semantic"), strict=True))
    figure = figures.side_by_side(names, {"here": [1, 2, 3, 4], "paper": [1, 2, None, 4]}, groups)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["a ●", "b ■", "c ▲", "d ◆"]
    assert [line.get_marker() for line in figure.axes[0].lines] == ["o", "s", "^", "D"]
    FigureCanvasAgg(figure).draw()
    width = figure.get_size_inches()[0] * figure.dpi
    assert all(t.get_window_extent().x1 <= width for t in figure.findobj(Text) if t.get_text())


def test_matrices_name_their_rows_and_nothing_is_clipped():
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    from jaxsim.studies.reproduce import figures

    groups = {name: f"a rather long name of {GROUPS[name]}" for name in NAMES}
    figure = figures.matrices({str(k): np.eye(12) for k in range(4)}, NAMES, groups)
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 1, 1, 0]
    assert [len(axes.get_yticks()) for axes in figure.axes[:4]] == [12, 0, 0, 12]
    FigureCanvasAgg(figure).draw()
    width, height = figure.get_size_inches() * figure.dpi
    shown = [text.get_window_extent() for text in figure.findobj(Text) if text.get_text()]
    assert all(box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height for box in shown)


def test_lines_of_intervals_cross_no_marker_of_another_series():
    pytest.importorskip("matplotlib")
    from jaxsim.studies.reproduce import figures

    series = {"with self": [0.5, 0.6], "without self": [0.4, 0.5], "paper": [0.45, 0.55]}
    axes = figures.listed(["RSA", "CKA"], series, "score", spans=[(0.3, 0.7), (0.4, 0.8)]).axes[0]
    spans = axes.collections[-1].get_segments()
    heights = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert [segment[0][1] for segment in spans] == heights["without self"]
    assert not set(heights["without self"]) & (set(heights["with self"]) | set(heights["paper"]))
