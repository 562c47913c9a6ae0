"""Records: what their methods compute, how they look as tables, and that files give back what was saved."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsim as js
from jaxsim import results

NAMES, TARGETS = ("a", "b", "c"), ("t", "a")
B, N, M = 40, 30, 12


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
        M if kind == "subsample" else None,
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
    "maps": MAPS,
    "maps without ids": dataclasses.replace(MAPS, ids=None),
    "bootstrap": resamples("bootstrap"),
    "subsample": resamples("subsample", square=False),
}
SCALED = ("bootstrap", "bayesian bootstrap", "jackknife", "subsample")


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


def test_bca_interval_corrects_the_bias_of_the_resamples():
    r, jack = resamples("bootstrap", count=400), resamples("jackknife", count=N)
    shifted = dataclasses.replace(r, values=r.values - 0.03)
    low, high = r.bca_interval(jack)
    moved_low, moved_high = shifted.bca_interval(jack)
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
        ("permutation", lambda r: r.interval(), "no standard error for the scheme permutation"),
        ("permutation", lambda r: r.difference(("a", "b"), ("a", "c")), "no difference for the scheme permutation"),
        ("bootstrap", lambda r: r.p_value(), "p-values come from js.Permutation(), not from bootstrap"),
        ("subsample", lambda r: r.bca_interval(r), "no BCa interval for the scheme subsample"),
        ("bootstrap", lambda r: r.bca_interval(r), "needs js.resample(..., js.Jackknife())"),
        ("bootstrap", lambda r: r.bca_interval(resamples("jackknife", square=False)), "of the same networks"),
        ("bootstrap", lambda r: r.interval(1.5), "between 0 and 1"),
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
    with pytest.raises((KeyError, ValueError), match="'nobody'"):
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


# Affinities


def test_ranking_is_best_first_with_the_undefined_last():
    assert AFFINITY.ranking("b") == [("c", 0.5), ("a", 0.25)]
    best, worst = AFFINITY.ranking("a")
    assert best == ("b", 0.25)
    assert worst[0] == "c"
    assert np.isnan(worst[1])
    with pytest.raises(KeyError, match="'nobody'"):
        AFFINITY.ranking("nobody")


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
