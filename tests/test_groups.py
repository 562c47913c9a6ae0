"""Images in groups: layouts, draws of whole groups, scores between groups, and intervals for new groups."""

import functools
import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jaxsim as js
from benchmarks import coverage_groups, coverage_numpy
from jaxsim import centering, layouts
from jaxsim.assumptions import DoubtfulInference
from jaxsim.resampling import verbs
from jaxsim.results.resamples import BETWEEN

N = 24
EQUAL = np.repeat(list("abcdefgh"), 3)
UNEQUAL = np.repeat(list("abcdefgh"), [1, 2, 2, 3, 3, 4, 4, 5])
HALVES_OF_STRATA = np.repeat([0, 1], 12)


@functools.partial(jax.jit, static_argnums=0)
def _many(draw, layout):
    return jax.vmap(draw, (None, 0, None))(jax.random.key(0), jnp.arange(200), layout)


def drawn(scheme, n=N):
    return np.asarray(_many(scheme.draw, scheme.plan(n, 2, 200).layout))


def networks(labels=EQUAL, count=3, share=0.8, seed=0):
    rng, code = np.random.default_rng(seed), np.unique(labels, return_inverse=True)[1]
    centers = rng.normal(size=(code.max() + 1, 6))
    own = rng.normal(size=(count, len(code), 6))
    return dict(zip("abcdef", (np.sqrt(share) * centers[code] + np.sqrt(1 - share) * own).astype("f4"), strict=False))


# Draws


@pytest.mark.parametrize("labels", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("order", ["sorted", "mixed"])
def test_halves_hold_whole_groups_but_for_images_that_the_smaller_half_lacks(labels, order):
    labels = labels if order == "sorted" else np.random.default_rng(0).permutation(labels)
    scheme = js.HalfSamples(groups=labels)
    plan, halves = scheme.plan(N, 2, 200), drawn(scheme)
    sizes = dict(zip(*np.unique(labels, return_counts=True), strict=True))
    assert (plan.groups, plan.groups_drawn, plan.size) == (8, 4, halves.shape[1])
    assert plan.size == (12 if labels[0] == labels[1] and len(set(sizes.values())) == 1 else plan.size)
    missing = set()
    for one, other in zip(halves[::2], halves[1::2], strict=True):
        first, second = set(labels[one]), set(labels[other])
        assert not first & second
        assert len(first) <= 4
        missing.add(tuple(sorted({*range(N)} - {*one} - {*other})))
    largest = max(sizes.values()) - min(sizes.values())
    assert plan.size >= (N - largest) // 2
    if len(set(sizes.values())) == 1:
        assert missing == {()}
        assert all(len(set(labels[half])) == 4 for half in halves)
    else:
        assert len(missing) > 20  # what is left out is drawn anew


def test_a_group_left_out_of_an_odd_number_is_drawn_anew():
    labels = np.repeat(range(7), 3)
    halves = drawn(js.HalfSamples(groups=labels), 21)
    left = [set(range(7)) - set(labels[a]) - set(labels[b]) for a, b in zip(halves[::2], halves[1::2], strict=True)]
    assert {k for (k,) in left} == set(range(7))


def test_every_pair_of_halves_of_equal_groups_is_as_likely():
    labels = np.repeat(range(4), 2)
    halves = drawn(js.HalfSamples(groups=labels), 8)
    seen = np.unique([tuple(sorted(set(labels[h]))) for h in halves[::2]], axis=0, return_counts=True)[1]
    assert len(seen) == 6
    assert seen.min() > 5


def test_halves_of_groups_hold_half_of_the_groups_of_each_stratum():
    for half in drawn(js.HalfSamples(groups=EQUAL, strata=HALVES_OF_STRATA)):
        assert np.bincount(HALVES_OF_STRATA[half]).tolist() == [6, 6]


@pytest.mark.parametrize("scheme", [js.Bootstrap, js.BayesianBootstrap])
def test_images_of_a_group_have_one_weight(scheme):
    for labels in (EQUAL, UNEQUAL):
        weights = drawn(scheme(groups=labels))
        by_group = np.stack([weights[:, labels == g] for g in np.unique(labels)[:1]], 1)
        assert all((weights[:, labels == g] == weights[:, labels == g][:, :1]).all() for g in np.unique(labels))
        first = [np.flatnonzero(labels == g)[0] for g in np.unique(labels)]
        np.testing.assert_allclose(weights[:, first].sum(1), 8, rtol=1e-5)
        assert by_group.std() > 0


def test_subsets_hold_whole_groups_but_for_the_last():
    for subset in drawn(js.Subsample(10, groups=EQUAL)):
        counts = np.unique(EQUAL[subset], return_counts=True)[1]
        assert sorted(counts.tolist()) == [1, 3, 3, 3]


def test_the_jackknife_leaves_out_every_group_once():
    plan = js.Jackknife(groups=UNEQUAL).plan(N, 3, None)
    assert (plan.count, plan.groups, plan.degrees) == (8, 8, 7)
    np.testing.assert_array_equal(plan.given == 0, np.unique(UNEQUAL)[:, None] == UNEQUAL)


def test_groups_change_places_with_groups_of_as_many_images():
    labels = np.random.default_rng(0).permutation(UNEQUAL)
    size = np.array([np.sum(labels == g) for g in labels])
    for order in drawn(js.Permutation(groups=labels)):
        assert sorted(order) == list(range(N))
        assert (size[order] == size).all()
        for g in np.unique(labels):
            place = np.flatnonzero(labels == g)
            moved = order[place]
            assert len(set(labels[moved])) == 1
            assert (np.diff(moved) > 0).all()
    orders = {tuple(o) for o in drawn(js.Permutation(groups=labels))}
    assert js.Permutation(groups=labels).plan(N, 2, 10).distinct == 2 * 2 * 2 == len(orders)


def test_permuted_groups_stay_in_their_strata():
    for order in drawn(js.Permutation(groups=EQUAL, strata=HALVES_OF_STRATA)):
        assert (HALVES_OF_STRATA[order] == HALVES_OF_STRATA).all()


def test_degrees_of_freedom_are_those_of_the_halves():
    def degrees(labels, strata=None):
        return js.HalfSamples(groups=labels, strata=strata).plan(len(labels), 2, 10).degrees

    assert degrees(EQUAL) == 7
    assert degrees(EQUAL, HALVES_OF_STRATA) == 6
    # one order of sizes: pairs are fixed, and each gives one degree
    assert degrees(np.repeat(range(8), range(1, 9))) == pytest.approx(4, abs=0.2)
    assert 4 < degrees(UNEQUAL) < 7


# Scores between groups


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param((3,) * 8, marks=pytest.mark.slow),
        (1, 2, 2, 3, 3, 4, 4, 5),
        pytest.param((1,) * N, marks=pytest.mark.slow),
    ],
    ids=["equal", "unequal", "of one image"],
)
def test_scores_between_groups_are_those_of_a_float64_oracle(sizes):
    code = np.repeat(range(len(sizes)), sizes)
    x, scheme, names = np.stack([*networks(code).values()]), js.HalfSamples(groups=code), ("rsa", "cka-linear")
    for name, found in zip(names, js.resample(x, names, scheme, n_resamples=4), strict=True):
        values = coverage_groups.between(name, x, drawn(scheme)[:4], code)
        estimate = coverage_groups.between(name, x, np.arange(N)[None], code)
        np.testing.assert_allclose(found.values[:, 0, 1:], values, atol=1e-4)
        np.testing.assert_allclose(found.estimate[:1, 1:], estimate, atol=1e-4)
        if len(sizes) == N:
            plain = coverage_numpy.scores(name, x, np.arange(N)[None])
            np.testing.assert_allclose(found.estimate[:1, 1:], plain, atol=1e-5)


center_between = jax.jit(centering.between, static_argnums=2)


@pytest.mark.parametrize("sizes", [(3,) * 8, (2, 4, 7, 11), (4, 4, 4, 12)], ids=["equal", "unequal", "half of all"])
def test_maps_are_centered_between_groups_as_least_squares_does(sizes):
    code = np.repeat(range(len(sizes)), sizes)
    x = np.random.default_rng(0).normal(size=(len(code), 5)).astype("f4")
    i, j = np.triu_indices(len(code), 1)
    found = np.asarray(center_between(x @ x.T, code, 10))
    want = coverage_groups._between((x @ x.T)[i, j], code, i, j) * (code[i] != code[j])
    np.testing.assert_allclose(found[i, j], want, atol=1e-4)


@pytest.mark.slow
def test_inner_products_between_groups_are_unbiased():
    """Linear kernels of independent features of classes and images: the mean over data sets is that of one pair."""
    rng, code, products = np.random.default_rng(0), np.repeat(range(6), 3), []
    center = jax.jit(jax.vmap(lambda m: centering.between(m, jnp.asarray(code), 6)))
    for share in (0.0, 0.5, 1.0):
        z = np.sqrt(share) * rng.normal(size=(20000, 6, 2))[:, code] + np.sqrt(1 - share) * rng.normal(
            size=(20000, 18, 2)
        )
        maps = np.asarray(center(np.float32(z @ z.transpose(0, 2, 1))))
        products.append(np.mean(maps**2, 0)[code[:, None] != code].mean())
    # E (x . y)^2 = 2 for independent normal x, y in two dimensions, whatever lies between classes
    np.testing.assert_allclose(products, 2, rtol=0.03)


# Intervals


def rates(setting, batch, seed=0):
    """Percent of intervals that hold the truth, of one batch."""
    coverage_groups.BATCH, usual = batch, coverage_groups.BATCH
    try:
        return {name: 100 * held.mean() for name, held in coverage_groups.SETTINGS[setting](seed).items()}
    finally:
        coverage_groups.BATCH = usual


@pytest.mark.slow
@pytest.mark.parametrize("name", coverage_groups.MEASURES[:2])
def test_intervals_for_new_classes_hold_where_those_for_new_images_do_not(name):
    found = rates(f"{name}: normal, share .8, K = 10", 60)
    assert found["HalfSamples(strata=class), S = 0.3"] < 60
    assert found["HalfSamples(), S = 0.3"] < 80
    for level in coverage_groups.LEVELS:
        assert found[f"HalfSamples(groups=class), S = {level}"] >= 85


@pytest.fixture(scope="module")
def between_and_plain():
    """Resamples of twenty groups of two images, and of the images."""
    labels = np.repeat(range(20), 2)
    x = networks(labels, count=2)
    return [js.resample(x, "cka", js.HalfSamples(groups=g), n_resamples=20) for g in (labels, None)]


@pytest.mark.slow
def test_an_interval_of_groups_uses_their_number(between_and_plain):
    r, _ = between_and_plain
    assert (r.groups, r.groups_drawn, r.degrees, r.size) == (20, 10, 19, 20)
    error, s = float(r.standard_error()[0, 1]), float(r.estimate[0, 1])
    gap = np.asarray(r.values[::2] - r.values[1::2], float)[:, 0, 1]
    assert error == pytest.approx(np.sqrt(np.mean(gap**2)) / 2, rel=1e-4)
    from scipy import stats

    step = stats.t.ppf(0.975, 1 / (1 / 9 + 1 / 19)) * error / (1 - s * s)
    np.testing.assert_allclose(r.interval()[:, 0, 1], np.tanh(np.arctanh(s) + step * np.array([-1, 1])), rtol=1e-4)


@pytest.mark.slow
def test_groups_are_on_the_record_and_in_files_and_older_files_load(tmp_path, between_and_plain):
    r, plain = between_and_plain
    assert "in 20 groups" in str(r)
    assert any("other groups only" in note for note in r.provenance.notes)
    back = js.load(r.save(tmp_path / "r.npz"))
    assert (back.groups, back.groups_drawn, back.degrees) == (20, 10, 19)
    np.testing.assert_array_equal(back.interval(), r.interval())
    old = plain.metadata()
    for name in ("groups", "groups_drawn", "degrees"):
        assert old.pop(name) is None
    import json

    np.savez(tmp_path / "old.npz", values=plain.values, estimate=plain.estimate, record_json=np.array(json.dumps(old)))
    assert js.load(tmp_path / "old.npz").groups is None


@pytest.mark.slow
def test_chunks_and_tracing_change_nothing():
    x, scheme = networks(), js.HalfSamples(groups=EQUAL)
    cut = js.resample(x, "cka", scheme, n_resamples=8, progress=lambda *_: None)
    whole = jax.jit(lambda z: js.resample(z, "cka", scheme, n_resamples=8))(np.stack([*x.values()]))
    np.testing.assert_allclose(cut.values, whole.values, atol=1e-5)
    np.testing.assert_allclose(cut.estimate, whole.estimate, atol=1e-5)


# Warnings


@pytest.fixture
def without_work(monkeypatch):
    """Scores made up: what is warned of here follows from the labels and the features."""

    def run(measures, x, y, scheme, source, made, *_):
        k = len(x.names)
        scores, complete = jnp.asarray(np.full((made.resamples, k, k), 0.5, "f4")), np.full(k, -1)
        given = np.full((k, k), 0.5, "f4"), complete, complete, np.full(k, x.images), np.full(k, x.images)
        return [(scores, *given) for _ in measures]

    monkeypatch.setattr(verbs, "_run", run)


def warned(scheme, x, measure="cka"):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        js.resample(x, measure, scheme, n_resamples=8)
    return " ".join(str(w.message) for w in found if w.category is DoubtfulInference)


@pytest.mark.usefixtures("without_work")
def test_few_groups_pairs_within_groups_and_alike_strata_are_warned_of():
    labels = np.repeat(range(20), 4)
    x = networks(labels)
    assert "8 groups are few" in warned(js.HalfSamples(groups=EQUAL), networks())
    assert "groups are few" not in warned(js.HalfSamples(groups=labels), x)
    assert "also compare images within a group" not in warned(js.HalfSamples(groups=labels), x)
    assert "also compare images within a group" in warned(js.Bootstrap(groups=labels), x)
    assert "also compare images within a group" in warned(js.HalfSamples(groups=labels), x, "cka-linear-biased")
    assert "far more alike" in warned(js.HalfSamples(strata=labels), x)
    assert "far more alike" not in warned(js.Permutation(strata=labels), x)
    assert "hold one image" not in warned(js.Permutation(groups=np.minimum(labels, labels.max() - 1)), x)
    assert "hold one image" in warned(js.HalfSamples(strata=[*labels[:-1], "alone"]), x)
    assert "has its own label" in warned(js.HalfSamples(groups=range(len(labels))), x)
    assert "has its own label" not in warned(js.HalfSamples(groups=labels), x)
    shuffled = np.random.default_rng(0).permutation(labels)
    assert "far more alike" not in warned(js.HalfSamples(strata=shuffled), x)
    assert layouts.share_between(np.ones((80, 2)), labels) == 0


@pytest.mark.slow
def test_records_and_captions_say_that_scores_are_between_groups(between_and_plain):
    between, plain = between_and_plain
    assert BETWEEN in str(between)
    assert BETWEEN not in str(plain)
    assert between.origin == "half-samples, 20 resamples of 20 groups"
    texts = [t.get_text() for t in between.plot().findobj(lambda a: hasattr(a, "get_text"))]
    assert any("of 20 groups" in text for text in texts)


# Bad input


BAD = {
    "another length": (js.HalfSamples(groups=range(9)), ["groups of shape (9,)", "24 images"]),
    "more groups than images": (js.Bootstrap(groups=range(30)), ["groups of shape (30,)", "24 images"]),
    "a missing label": (js.Subsample(8, groups=["a", None] * 12), ["no label for image 1 in groups"]),
    "a label that pandas lacks": (js.Subsample(8, groups=["a", pd.NA] * 12), ["no label for image 1 in groups"]),
    "an empty label": (js.HalfSamples(groups=["a", "", "b"] * 8), ["no label for image 1 in groups"]),
    "a label that is NaN": (js.Jackknife(groups=[0.0, 1.0, np.nan] * 8), ["no label for image 2 in groups"]),
    "one group": (js.HalfSamples(groups=["a"] * 24), ["one label for all 24 images"]),
    "too few groups for halves": (
        js.HalfSamples(groups=[0, 1, 2, 3] * 6),
        ["halves of 4 groups hold 2 each", "needs 4 in each half"],
    ),
    "strata that leave nothing for halves": (
        js.HalfSamples(strata=range(24)),
        ["halves of 24 images in 24 strata hold 0 each", "each half takes half of every stratum"],
    ),
    "too few groups for a jackknife": (js.Jackknife(groups=[0, 1, 2] * 8), ["jackknife of 3 groups keeps 2"]),
    "groups that cross strata": (
        js.HalfSamples(groups=EQUAL, strata=["x", "y"] * 12),
        ["group a has images in two strata (images 0 and 1)"],
    ),
    "no two groups of a size": (
        js.Permutation(groups=[0] * 3 + [1] * 5 + [2] * 16),
        ["no two groups have the same number of images"],
    ),
    "no two groups of a size in a stratum": (
        js.Permutation(groups=[0] * 4 + [1] * 8 + [2] * 4 + [3] * 8, strata=HALVES_OF_STRATA),
        ["no two groups of a stratum have the same number of images"],
    ),
    "subsets that can lie in too few groups": (
        js.Subsample(9, groups=EQUAL),
        ["a subset of 9 images may fall in only 3 of the 8 groups", "needs 4", "at least 10 images"],
    ),
    "explicit weights": (js.Bootstrap(weights=np.ones((2, 24)), groups=EQUAL), ["groups only affect random draws"]),
    "explicit subsets": (js.Subsample(indices=[[0, 1, 2, 3]], groups=EQUAL), ["groups only affect random draws"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_groups_are_refused_in_words(name):
    scheme, words = BAD[name]
    with pytest.raises(ValueError, match=".") as caught:
        js.resample(networks(), "cka", scheme)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_subsets_of_several_strata_lie_in_groups_of_each():
    scheme = js.Subsample(9, groups=EQUAL, strata=HALVES_OF_STRATA)
    assert scheme.plan(N, 4, 2).size == 9
    with pytest.raises(ValueError, match="a subset of 6 images may fall in only 2 of the 8 groups.* at least 8 images"):
        js.resample(networks(), "cka", js.Subsample(6, groups=EQUAL, strata=HALVES_OF_STRATA))


@pytest.mark.usefixtures("without_work")
def test_permutations_that_cannot_reach_the_level_are_said_before_the_work():
    with pytest.warns(js.results.FewResamples, match="makes only 6 distinct rearrangements: no p-value is below 0.17"):
        js.resample(networks(), "cka", js.Permutation(groups=[0] * 8 + [1] * 8 + [2] * 8), n_resamples=19)


def test_groups_under_jit_are_told_apart_from_labels():
    with pytest.raises(TypeError, match="groups must not be traced by jit"):
        jax.jit(lambda x: js.resample(x, "cka", js.HalfSamples(groups=x[0, :, 0])).values)(
            np.stack([*networks().values()])
        )


def test_the_smallest_half_is_the_smallest_of_all():
    for sizes in itertools.combinations_with_replacement([5, 1, 2], 4):
        code = np.repeat(range(4), sizes)
        plan = js.HalfSamples(groups=code).plan(len(code), 1, 2)
        ordered = np.sort(sizes)
        assert plan.size == ordered[0] + ordered[2]
