"""Resamples of images whose maps do not fit together are taken in tiles, and are those of full maps."""

import jax
import numpy as np
import oracles as o
import pytest
from marks import slow_but

import jaxsim as js
from jaxsim.engine import feature_products, tile_products, tiles
from jaxsim.engine.checks import as_measures
from jaxsim.inputs import networks
from jaxsim.resampling import tiled, verbs

N = 120
RANDOM = np.random.default_rng(0)
SHARED = RANDOM.normal(size=(N, 12))
MADE = {k: (SHARED @ RANDOM.normal(size=(12, 16)) + RANDOM.normal(size=(N, 16))).astype(np.float32) for k in "abcd"}
ROWS, COLUMNS = ({k: MADE[k] for k in names} for names in ("ab", "cd"))


def whole_and_tiled(monkeypatch, measure, scheme, **options):
    """The same resamples from full maps, and from tiles of 48 images."""
    options = {"n_resamples": 20, "key": 5, **options}
    whole = js.resample(ROWS, measure, scheme, **options)
    monkeypatch.setattr(tiles, "largest", lambda *_: 48)
    return whole, js.resample(ROWS, measure, scheme, memory=1e5, **options)


CASES = [
    ("cka", js.HalfSamples(), True),
    pytest.param("dds-laplacian", js.HalfSamples(), False, marks=pytest.mark.slow),
    pytest.param("cka-rbf", js.Permutation(), False, marks=pytest.mark.slow),
    ("cka", js.Permutation(), False),
    pytest.param("cka", js.Permutation(), True, marks=pytest.mark.slow),
    pytest.param("rsa", js.Permutation(strata=np.arange(N) % 2), False, marks=pytest.mark.slow),
    pytest.param("identity:euclidean:spearman", js.Permutation(), True, marks=pytest.mark.slow),
    pytest.param("dds-laplacian", js.Permutation(), True, marks=pytest.mark.slow),
    pytest.param("rsa", js.HalfSamples(), False, marks=pytest.mark.slow),  # ranks compile for every number of bins
    pytest.param("cka-rbf", js.Subsample(50), True, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("measure", "scheme", "against"), CASES, ids=lambda one: getattr(one, "kind", str(one)))
def test_resamples_are_those_of_whole_maps(measure, scheme, against, monkeypatch):
    whole, found = whole_and_tiled(monkeypatch, measure, scheme, against=COLUMNS if against else None)
    # two of 1770 pairs whose order is rounding change a Spearman correlation by up to 4e-6
    close = 5e-6 if measure == "rsa" else 1e-6
    np.testing.assert_allclose(found.values, whole.values, atol=close)
    np.testing.assert_allclose(found.estimate, whole.estimate, atol=close)
    assert "in tiles of 48 images" in found.provenance.notes
    assert not any("tiles" in note for note in whole.provenance.notes)
    assert (found.kind, found.images, found.size, found.flags) == (whole.kind, whole.images, whole.size, whole.flags)


@pytest.mark.slow
def test_pairs_are_ranked_once_for_all_orders(monkeypatch):
    made, real = [], tile_products._ranked
    monkeypatch.setattr(tile_products, "_ranked", lambda *given: made.append(given) or real(*given))
    whole, found = whole_and_tiled(monkeypatch, "rsa", js.Permutation(), against=COLUMNS)
    assert len(made) == 4  # networks
    np.testing.assert_allclose(found.values, whole.values, atol=5e-6)
    assert len(np.unique(found.values)) > 70  # of 80 scores


@pytest.mark.slow
@pytest.mark.parametrize("measure", slow_but(["cka"], ["rsa", "rho-a", "dds-laplacian", "cka", "rv"]))
def test_integers_and_ties_in_another_order(measure, monkeypatch):
    """Few values, so that bins hold many ties, and integers that float64 does not hold."""
    few = np.random.default_rng(3).integers(0, 3, (N, 3))
    # distances that differ do so by far more than rounding, which may part or join ties
    gaps = np.diff(np.unique(o.PAIRWISE["correlation"](few - few.mean(0)).round(9)))
    assert gaps.min() > 1e-4
    coarse = dict.fromkeys(("a", "b"), few + 2**60)
    measure = (
        js.Measure(js.transforms.center, js.pairwise.euclidean, js.compare.rho_a) if measure == "rho-a" else measure
    )
    options = {"n_resamples": 20, "key": 1, "against": {"c": MADE["c"], "d": np.round(MADE["d"])}}
    whole = js.resample(coarse, measure, js.Permutation(), **options)
    monkeypatch.setattr(tiles, "largest", lambda *_: 48)
    found = js.resample(coarse, measure, js.Permutation(), memory=1e5, **options)
    np.testing.assert_allclose(found.values, whole.values, atol=5e-6)
    assert "in tiles of 48 images" in found.provenance.notes


@pytest.mark.slow
def test_given_subsets_without_the_full_sample(monkeypatch):
    subsets = np.stack([np.random.default_rng(k).permutation(N)[:100] for k in range(20)])
    options = {"n_resamples": None, "estimate": False}
    whole, found = whole_and_tiled(monkeypatch, "cka", js.Subsample(indices=subsets), **options)
    np.testing.assert_allclose(found.values, whole.values, atol=1e-6)
    assert np.isnan(found.estimate).all()


def test_progress_and_files_on_the_disk(tmp_path, monkeypatch):
    for name, x in ROWS.items():
        np.save(tmp_path / f"{name}.npy", x)
    mapped = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ROWS}
    told = []
    whole, found = whole_and_tiled(monkeypatch, "cka", js.HalfSamples(), progress=lambda *done: told.append(done))
    again = js.resample(mapped, "cka", js.HalfSamples(), n_resamples=20, key=5, memory=1e5)
    np.testing.assert_array_equal(again.values, found.values)
    np.testing.assert_allclose(found.values, whole.values, atol=1e-6)
    assert told[-1] == (20, 20)
    assert told[-20:] == [(k, 20) for k in range(1, 21)]


@pytest.mark.slow
def test_networks_without_scores_are_named(monkeypatch):
    broken = {"broken": np.where(np.arange(N)[:, None] == 7, np.nan, ROWS["a"])}
    with pytest.warns(js.UndefinedScores, match="'broken' has no cka-linear scores"):
        whole, found = whole_and_tiled(monkeypatch, "cka", js.HalfSamples(), against=broken)
    assert found.undefined == whole.undefined == (("broken", 1),)
    # halves without the broken image have scores
    np.testing.assert_array_equal(np.isnan(found.values), np.isnan(whole.values))
    assert 0 < np.isnan(found.values).sum() < found.values.size


@pytest.mark.parametrize("measure", slow_but(["cka"], ["cka", "rv", "dds-cosine", "dds-laplacian", "cka-rbf-biased"]))
@pytest.mark.parametrize("tail", [1.0, 30.0])
def test_effective_numbers_of_images_are_those_of_whole_maps(measure, tail, monkeypatch):
    heavy = {name: x * np.where(np.arange(N) == 3, tail, 1)[:, None].astype(np.float32) for name, x in ROWS.items()}
    seen, facts = [], verbs._facts
    monkeypatch.setattr(verbs, "_facts", lambda *given: seen.append(given[-1]) or facts(*given))
    js.resample(heavy, measure, n_resamples=20)
    (chosen,), _ = as_measures(measure)
    exact = feature_products.applies(chosen)  # margins of blocks of maps are fitted to a sample
    found = tiles.effective(chosen, networks(heavy, None), 48, exact)
    np.testing.assert_allclose(found, seen[0][0], rtol=1e-4 if exact else 0.03)


def test_large_subsets_come_from_products_of_features(monkeypatch):
    narrow = {name: x[:, :8] for name, x in ROWS.items()}
    whole = js.resample(narrow, "cka", js.HalfSamples(), n_resamples=4, key=1)
    monkeypatch.setattr(tiles, "FEATURES_FROM", N // 2)
    found = js.resample(narrow, "cka", js.HalfSamples(), n_resamples=4, key=1)
    assert found.provenance.notes[0].startswith("in tiles")
    np.testing.assert_allclose(found.values, whole.values, atol=1e-6)
    np.testing.assert_allclose(found.estimate, whole.estimate, atol=1e-6)
    assert js.explain(narrow, "cka", js.HalfSamples(), n_resamples=4).tile
    for kept in ((narrow, "dds-laplacian", js.HalfSamples()), (narrow, "cka", js.Subsample(N // 3))):
        assert js.explain(*kept, n_resamples=4).tile is None


@pytest.mark.slow
def test_what_takes_no_tiles_keeps_whole_maps(monkeypatch):
    (cka, cca, rsa), _ = as_measures(["cka", "cca", "rsa"])
    x, memory = networks(ROWS, None), 1e5
    monkeypatch.setattr(tiles, "largest", lambda *_: 48)
    half, weights = js.HalfSamples(), js.Bootstrap()
    assert tiled.tile_of([cka, rsa], x, None, half, N, memory) == 48
    assert tiled.tile_of([cka], x, None, half, N, 1e9) is None
    assert tiled.tile_of([cka, cca], x, None, half, N, memory) is None
    assert tiled.tile_of([cka], x, None, weights, N, memory) is None
    taken = []
    stack = jax.ShapeDtypeStruct((2, N, 16), np.float32)
    jax.eval_shape(lambda x: taken.append(tiled.tile_of([cka], networks(x, None), None, half, N, memory)), stack)
    assert taken == [None]


@pytest.mark.slow
def test_a_cast_that_loses_digits_is_told_without_the_full_sample(monkeypatch):
    monkeypatch.setattr(tiles, "largest", lambda *_: 48)
    far = ROWS | {"a": ROWS["a"].astype(float) + 1e9}
    options = {"n_resamples": 20, "estimate": False, "memory": 1e5}
    with pytest.warns(RuntimeWarning, match="'a' loses digits that its identity:linear:cosine scores may depend on"):
        js.resample(far, "identity:linear:cosine", js.Subsample(100), **options)


@pytest.mark.slow
def test_the_scheme_that_takes_tiles_is_named_where_maps_do_not_fit(monkeypatch):
    monkeypatch.setattr("jaxsim.engine.memory.available", lambda: 1e5)
    with pytest.raises(ValueError, match=r"GiB are free; js.HalfSamples\(\) takes them in tiles"):
        js.resample(ROWS, "dds-laplacian", js.Bootstrap(), n_resamples=20)
