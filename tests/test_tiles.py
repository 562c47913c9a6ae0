"""Scores from blocks of pairs of images are those from full maps."""

import itertools
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import slow_but
from scipy import stats
from scipy.spatial.distance import pdist

import jaxsim as js
from jaxsim.cli import main
from jaxsim.engine import feature_products, rank_bins, tile_products, tiles
from jaxsim.engine.map_blocks import MapBlocks
from jaxsim.engine.row_blocks import RowBlocks
from jaxsim.measures import by_name
from jaxsim.protocols import PairwiseCapabilities, declared

N, TILE = 120, 40  # equal blocks, which share their programs
CLOSE = 5e-7


def networks(offset=0.0, scale=1.0, seed=0):
    random = np.random.default_rng(seed)
    shared = random.normal(size=(N, 20))
    made = [shared @ random.normal(size=(20, 20)) + 0.5 * random.normal(size=(N, 20)) for _ in range(3)]
    return {name: ((x + offset) * scale).astype(np.float32) for name, x in zip("abc", made, strict=True)}


def both(features, measure, tile=TILE, **options):
    whole = js.affinity(features, measure, **options)
    return np.asarray(whole.values), js.affinity(features, measure, tile=tile, **options)


MEASURES = [
    "cka",
    "rv",
    "cka-rbf",
    "dds-laplacian",
    "dds-cosine",
    "distance-correlation",
    "center:correlation:pearson",
    "zscore:cityblock:cosine",
    "identity:linear:pearson",
    "center:squared-euclidean:u-centered-cosine",
    "layer-norm:euclidean:pearson",
    "rsa",
    "zscore:cityblock:rho-a",
    "identity:rbf:spearman",
]


@pytest.mark.parametrize("name", slow_but(["cka"], MEASURES))
def test_scores_are_those_of_whole_maps(name, monkeypatch):
    tile = (TILE, 48)[MEASURES.index(name) % 2]  # 48 leaves a smaller block
    whole, found = both(networks(), name, tile)
    np.testing.assert_allclose(found.values, whole, atol=1e-6 if tiles.ranks_pairs(by_name(name)) else CLOSE)
    assert found.names == ("a", "b", "c")
    assert f"in tiles of {tile} images" in found.provenance.notes
    if feature_products.applies(by_name(name)):
        monkeypatch.setattr(feature_products, "applies", lambda _: False)
        np.testing.assert_allclose(js.affinity(networks(), name, tile=tile).values, whole, atol=CLOSE)


@pytest.mark.parametrize(
    "name", ["identity:cosine:pearson", "identity:correlation:cosine", "layer-norm:linear:pearson"]
)
def test_what_rounding_leaves_of_equal_images_has_no_score(name):
    features = networks()
    features["c"] = np.tile(features["c"][:1], (N, 1))
    with pytest.warns(js.UndefinedScores, match="'c' has no"):
        found = js.affinity(features, name, tile=TILE)
    gone = np.arange(3) == 2
    np.testing.assert_array_equal(np.isnan(found.values), gone | gone[:, None])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::jaxsim.results.UndefinedScores")
def test_a_shift_that_takes_all_digits_leaves_no_score():
    """Rows at length 1 of features with an offset of 1e5 differ by less than float32 holds."""
    random = np.random.default_rng(0)
    features = {k: (random.normal(size=(N, 12)) + 1e5 * np.arange(1, 13) / 12).astype(np.float32) for k in "ab"}
    found = js.affinity(features, "layer-norm:linear:pearson", tile=TILE).values
    np.testing.assert_array_equal(np.isnan(found), np.isnan(js.affinity(features, "layer-norm:linear:pearson").values))


@pytest.mark.parametrize("name", ["cka", pytest.param("dds-laplacian", marks=pytest.mark.slow)])
def test_tiles_are_symmetric_to_the_last_bit(name):
    random = np.random.default_rng(1)
    with jax.enable_x64(True):
        found = js.affinity({str(k): random.normal(size=(N, 8)) for k in range(12)}, name, tile=TILE).values
    np.testing.assert_array_equal(found, found.T)


OF_FEATURES = [
    f"{transform}:{pairwise}:{compare}"
    for transform in ("identity", "zscore", "layer-norm")
    for pairwise in ("linear", "squared-euclidean", "cosine", "correlation")
    for compare in ("pearson", "cosine", "u-centered-cosine", "centered-cosine")
]


@pytest.mark.parametrize("offset", [0, 1e3])
@pytest.mark.parametrize("name", slow_but(["layer-norm:linear:u-centered-cosine"], OF_FEATURES))
def test_products_of_features_give_the_scores_of_maps(name, offset, monkeypatch):
    """In float64, and as near to that as full maps in float32; no block of a map is made."""
    features = networks(offset, seed=1)
    with jax.enable_x64(True):
        exact = js.affinity({key: x.astype(np.float64) for key, x in features.items()}, name).values
    monkeypatch.setattr(tile_products, "of_maps", None)
    np.testing.assert_allclose(js.affinity(features, name, tile=TILE).values, exact, atol=2e-6)
    with jax.enable_x64(True):
        found = js.affinity({key: x.astype(np.float64) for key, x in features.items()}, name, tile=TILE).values
    np.testing.assert_allclose(found, exact, atol=1e-11)


def test_every_shipped_distance_and_kernel_has_tiles():
    parts = js.measures.PARTS["pairwise"]
    assert [name for name, part in parts.items() if declared(part, PairwiseCapabilities).tiling is None] == []
    used = {part for name in MEASURES for part in parts if by_name(name).pairwise == parts[part]}
    assert used == set(parts)


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(["cka"], ["cka", "dds-laplacian"]))
def test_in_float64_scores_have_its_digits(name):
    features = {key: x.astype(np.float64) for key, x in networks().items()}
    with jax.enable_x64(True):
        whole, found = both(features, name)
    assert found.values.dtype == np.float64
    np.testing.assert_allclose(found.values, whole, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(["dds-cosine"], ["cka-rbf", "dds-cosine", "rsa"]))
def test_networks_may_be_of_different_types(name):
    with jax.enable_x64(True):
        features = networks()
        features["b"] = features["b"].astype(np.float64)
        whole, found = both(features, name)
    np.testing.assert_allclose(found.values, whole, atol=1e-6)


def exact_spearman(features, distance):
    """Scores of the first network with all, in float64; distances that differ by rounding are ties."""
    maps = [np.round(pdist(x.astype(float), distance), 10) for x in features.values()]
    return [stats.spearmanr(maps[0], m)[0] for m in maps]


def tied(n=N, seed=0):
    """Features of few integers, whose distances have many ties."""
    random = np.random.default_rng(seed)
    shared = random.integers(0, 2, (n, 5))
    flips = [random.random((n, 5)) < share for share in (0, 0.1, 0.3)]
    return {name: (shared + flip) % 2 for name, flip in zip("abc", flips, strict=True)}


@pytest.mark.parametrize(("tile", "most"), [(40, None), (17, None), (40, 300)])
@pytest.mark.parametrize(
    "features",
    [
        tied(),
        *(pytest.param(x, marks=pytest.mark.slow) for x in (networks(), {"a": tied()["a"], "b": networks()["b"]})),
    ],
)
def test_spearman_agrees_with_scipy(features, tile, most, monkeypatch):
    if most:
        monkeypatch.setattr(rank_bins, "MOST", most)  # bins are split again and again
    found = js.affinity(features, "identity:euclidean:spearman", tile=tile)
    np.testing.assert_allclose(found.values[0], exact_spearman(features, "euclidean"), atol=1e-6)


@pytest.mark.slow
def test_what_is_equal_but_for_rounding_is_tied():
    """Correlation distances of five classes take two values, of which float32 makes a dozen."""
    random = np.random.default_rng(7)
    classes = np.eye(5, dtype=np.float32)[random.integers(0, 5, N)] * np.float32(1.7)
    features = {"a": classes, "b": networks()["b"]}
    found = js.affinity(features, "rsa-uncentered", tile=TILE)
    np.testing.assert_allclose(found.values[0], exact_spearman(features, "correlation"), atol=1e-6)
    assert found.provenance.notes[1] == "exact ranks"


@pytest.mark.slow
def test_rho_a_of_a_map_with_ties_is_less_than_one_with_itself():
    features = tied()
    whole, found = both(features, "identity:euclidean:rho-a")
    np.testing.assert_allclose(found.values, whole, atol=1e-6)
    assert found.values[0, 0] < 0.99


def test_counts_leave_the_device_before_its_integers_end(monkeypatch):
    wanted = js.affinity(tied(), "identity:euclidean:spearman", tile=TILE).values
    monkeypatch.setattr(tile_products, "COUNTED", 4000)
    np.testing.assert_array_equal(js.affinity(tied(), "identity:euclidean:spearman", tile=TILE).values, wanted)


@pytest.mark.slow
def test_the_error_by_ranks_is_told_and_holds(monkeypatch):
    monkeypatch.setattr(tile_products, "TOLERANCE", 1e-2)
    monkeypatch.setattr(rank_bins, "MOST", 300)
    whole, found = both(networks(), "rsa")
    words, bound = found.provenance.notes[1].rsplit(maxsplit=1)
    assert words == "error by ranks in bins at most"
    assert 1e-7 < np.abs(found.values - whole).max() < float(bound) <= 1e-2


@pytest.mark.slow
def test_ranks_of_millions_of_pairs_are_those_of_whole_maps():
    random = np.random.default_rng(11)
    shared = random.normal(size=(3000, 16))
    features = {name: shared @ random.normal(size=(16, 32)) + random.normal(size=(3000, 32)) for name in "abc"}
    features = {name: x.astype(np.float32) for name, x in features.items()}
    whole, found = both(features, "rsa", tile=1024)
    np.testing.assert_allclose(found.values, whole, atol=1e-6)


@pytest.mark.parametrize("name", slow_but(["cka"], ["cka", "dds-cosine", "rsa"]))
def test_rows_and_columns_may_be_other_networks(name):
    features = networks()
    columns = {"new": features.pop("c")}
    whole, found = both(features, name, against=columns)
    assert found.values.shape == (2, 1)
    np.testing.assert_allclose(found.values, whole, atol=1e-6)


POSITIONS = ["dds:batch-norm,linear", "dds:instance-norm,cosine", "mean-pool:euclidean:pearson"]


@pytest.mark.slow
@pytest.mark.parametrize("name", POSITIONS)
def test_images_with_positions(name):
    random = np.random.default_rng(1)
    features = {name: random.normal(size=(30, 3, 2, 4)).astype(np.float32) + 2 for name in "ab"}
    whole, found = both(features, name, tile=16, channels="last")
    np.testing.assert_allclose(found.values, whole, atol=CLOSE)


@pytest.mark.parametrize(("offset", "scale"), [(1e4, 1.0), (0, 1e-25), (0, 1e25)])
@pytest.mark.parametrize(
    "name",
    slow_but(
        ["cka", "identity:cosine:spearman"],
        ["cka", "identity:cosine:spearman", "rsa-uncentered", "dds-laplacian", "distance-correlation"],
    ),
)
def test_offsets_and_scales_lose_nothing(name, offset, scale):
    near = networks()
    far = {key: ((x.astype(float) + offset) * scale).astype(np.float32) for key, x in near.items()}
    with jax.enable_x64(True):
        exact = js.affinity({key: x.astype(np.float64) for key, x in far.items()}, name).values
    np.testing.assert_allclose(js.affinity(far, name, tile=TILE).values, exact, atol=2e-6)


def test_a_memory_mapped_file_is_read_in_blocks(tmp_path):
    features = networks()
    for name, x in features.items():
        np.save(tmp_path / f"{name}.npy", x)
    mapped = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in features}
    for measure in ("cka", "dds-laplacian", "rsa"):
        found = js.affinity(mapped, measure, tile=TILE)
        np.testing.assert_array_equal(found.values, js.affinity(features, measure, tile=TILE).values)


@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_a_file_of_narrow_numbers_stays_on_the_disk(tmp_path, kind):
    x = (20 * np.random.default_rng(5).normal(size=(20_000, 64))).astype(kind)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    features = {"a": mapped[:, :32], "b": mapped[:, 32:]}
    js.affinity(features, "cka", tile=256)
    tracemalloc.start()
    found = js.affinity(features, "cka", tile=256)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * x.size / 2  # half of the features in float32
    wide = {name: part.astype(np.float32) for name, part in features.items()}
    np.testing.assert_array_equal(found.values, js.affinity(wide, "cka", tile=256).values)


@pytest.mark.slow
def test_images_in_the_order_of_their_classes():
    random = np.random.default_rng(3)
    center = 30 * random.normal(size=(3, 20))[np.repeat([0, 1, 2], 40)]
    features = {name: (center @ random.normal(size=(20, 20)) + random.normal(size=(120, 20))) for name in "ab"}
    features = {name: x.astype(np.float32) for name, x in features.items()}
    for measure in ("dds-laplacian", "distance-correlation", "cka-rbf"):
        whole, found = both(features, measure)
        np.testing.assert_allclose(found.values, whole, atol=CLOSE)


def test_integers_far_from_zero_keep_their_differences():
    random = np.random.default_rng(2)
    small = {name: random.integers(0, 100, (50, 6)) for name in "ab"}
    far = {name: x + 2**40 for name, x in small.items()}
    np.testing.assert_allclose(
        js.affinity(far, "cka", tile=16).values, js.affinity(small, "cka", tile=16).values, atol=CLOSE
    )


@pytest.mark.parametrize("far", [-(2**62), 2**60, 2**63])
@pytest.mark.parametrize("name", slow_but(["cka"], ["cka", "dds-laplacian"]))
def test_integers_of_64_bits_keep_their_differences(far, name):
    random = np.random.default_rng(4)
    small = {key: random.integers(0, 100, (50, 6)) for key in "ab"}
    wide = {key: (x.astype(object) + far).astype(np.uint64 if far > 2**62 else np.int64) for key, x in small.items()}
    np.testing.assert_allclose(
        js.affinity(wide, name, tile=16).values, js.affinity(small, name, tile=16).values, atol=CLOSE
    )


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_scales_that_float64_cannot_square(scale):
    features = {key: x.astype(np.float64) for key, x in networks().items()}
    wide = {key: x * scale for key, x in features.items()}
    np.testing.assert_allclose(
        js.affinity(wide, "dds-laplacian", tile=TILE).values, js.affinity(features, "dds-laplacian").values, atol=CLOSE
    )


@pytest.mark.parametrize("row", [0, 51, N - 1])
@pytest.mark.parametrize(
    "name",
    slow_but(["cka"], ["cka", "cka-rbf", "dds-laplacian", "identity:linear:pearson", "distance-correlation"]),
)
def test_one_image_far_from_all_others(name, row):
    features = networks()
    for x in features.values():
        x[row] *= 1e4
    whole, found = both(features, name)
    np.testing.assert_allclose(found.values, whole, atol=1e-5)


@pytest.mark.slow
def test_copies_of_an_image_are_at_distance_zero():
    x = networks()
    for name in x:
        x[name][60:] = x[name][:60]
    whole, found = both(x, "distance-correlation")
    np.testing.assert_allclose(found.values, whole, atol=CLOSE)


@pytest.mark.slow
def test_networks_without_scores_are_named_with_the_reason():
    features = networks()
    features["b"][7, 3] = np.nan
    features["c"][:] = 1.0
    for measure in ("cka", "dds-cosine", "cka-rbf", "identity:linear:pearson", "rsa", "identity:euclidean:spearman"):
        with pytest.warns(js.UndefinedScores) as caught:
            found = js.affinity(features, measure, tile=TILE)
        words = {str(one.message).split("'")[1]: str(one.message) for one in caught}
        assert "NaN or infinite in 1 of 120 images" in words["b"]
        assert "all of its images have the same features" in words["c"]
        assert set(words) == {"b", "c"}
        assert dict(found.undefined) == {"b": 1, "c": 0}
        assert np.isnan(found.values).sum() == 8
        assert found.values[0, 0] == pytest.approx(1)


@pytest.mark.parametrize(
    ("measure", "tile", "words"),
    [
        ("center:correlation:whitened-cosine", 40, "whitened-cosine needs full maps"),
        (js.Measure(js.transforms.identity, js.pairwise.linear, lambda a, b: jnp.sum(a * b)), 40, "needs full maps"),
        (
            js.Measure(js.transforms.Duality(d=jnp.eye(N)), js.pairwise.linear, js.compare.pearson),
            40,
            "all images together",
        ),
        (js.Measure(js.transforms.identity, lambda x: x @ x.T, js.compare.pearson), 40, "needs all images together"),
        ("cka", 1, "between 2 and"),
        ("cka", 10**6, "between 2 and"),
    ],
)
def test_what_takes_no_tiles_is_refused(measure, tile, words):
    with pytest.raises(ValueError, match=words):
        js.affinity(networks(), measure, tile=tile)


def test_a_budget_beside_a_tile_is_refused():
    with pytest.raises(ValueError, match="leave one out"):
        js.affinity(networks(), "cka", tile=40, memory=1e9)


def test_digits_that_are_lost_are_told():
    features = networks()
    features["a"] = features["a"].astype(np.float64) + 1e6
    with pytest.warns(RuntimeWarning, match="'a' loses digits that its identity:cosine:pearson scores may depend on"):
        js.affinity(features, "identity:cosine:pearson", tile=TILE)


def test_networks_of_two_precisions_have_scores_in_the_higher():
    features = networks()
    features["c"] = features["c"].astype(np.float64)
    with jax.enable_x64(True):
        assert js.affinity(features, "cka", tile=TILE).values.dtype == np.float64


@pytest.mark.slow
def test_features_read_ahead_keep_the_precision_of_float64():
    features = {name: x[:, :3].astype(np.float64) for name, x in networks().items()}
    with jax.enable_x64(True):
        whole, found = both(features, "cka")
    assert found.values.dtype == np.float64
    np.testing.assert_allclose(found.values, whole, rtol=0, atol=1e-12)


def test_inside_jit_there_are_no_tiles():
    with pytest.raises(TypeError, match="inside jit"):
        jax.jit(lambda x: js.affinity(x, "cka", tile=4).values)(jnp.ones((2, 8, 3)))


def test_tiles_are_taken_where_two_maps_do_not_fit():
    features = networks()
    budget = 330_000.0  # two maps of 120 images and what they pass through take 403,000 bytes
    found = js.affinity(features, "dds-cosine", memory=budget)
    assert found.provenance.notes[0].startswith("in tiles of")
    np.testing.assert_allclose(found.values, js.affinity(features, "dds-cosine").values, atol=CLOSE)
    assert js.affinity(features, "dds-cosine", memory=1e7).provenance.notes == ()
    with pytest.raises(ValueError, match="too small"):
        js.affinity(features, "rsa", memory=budget)  # tables of ranks take more than such small maps


def test_ranks_are_taken_in_tiles_where_their_tables_fit(monkeypatch):
    monkeypatch.setattr(rank_bins, "MOST", 300)
    monkeypatch.setattr(rank_bins, "DIGIT", 9)
    assert js.explain(networks(), "rsa", memory=250_000.0).tile == 42


@pytest.mark.slow
def test_many_pairs_are_ranked_in_tiles_to_save_time(monkeypatch):
    features, whole = networks(), js.affinity(networks(), "rsa")
    monkeypatch.setattr(tiles, "COUNTED_FROM", N)
    monkeypatch.setattr(tiles, "FEATURES_FROM", N)
    made = js.affinity(features, "rsa")
    assert made.provenance.notes[0].startswith("in tiles of")
    np.testing.assert_allclose(made.values, whole.values, atol=CLOSE)
    assert js.explain(features, ["rsa", "identity:cosine:pearson"]).tile  # whose scores come from features
    assert js.explain(features, "dds-laplacian").tile is None
    assert js.explain(features, ["rsa", "dds-laplacian"]).tile is None
    assert js.explain({name: np.tile(x, 5) for name, x in features.items()}, "identity:cosine:pearson").tile is None
    assert js.explain(features, "identity:euclidean:spearman").tile is None
    assert js.explain(features, "rsa", devices=jax.devices()[:1]).tile is None
    assert js.explain({name: x[1:] for name, x in features.items()}, "rsa").tile is None
    assert not jax.jit(lambda x: js.affinity(x, "rsa"))(jnp.ones((2, N, 3))).provenance.notes


@pytest.mark.parametrize("name", ["cka-rbf", "rsa"])
def test_more_pairs_than_integers_count_are_begun(name, monkeypatch):
    class Begun(Exception):
        pass

    def begin(measure, x, y, tile, by_features):
        raise Begun(f"{measure} of {x.images} images in tiles of {tile}")

    monkeypatch.setattr(tiles, "scores", begin)
    x = {name: np.zeros((100_000, 1), np.float32) for name in "ab"}
    with pytest.raises(Begun, match=f"{name} of 100000 images in tiles of 1024"):
        js.affinity(x, name, memory=2e9)


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 21])
@pytest.mark.parametrize("x64", [False, True])
def test_the_median_is_exact(n, x64):
    x = np.random.default_rng(n).normal(size=(n, 5)).astype(np.float64 if x64 else np.float32)
    with jax.enable_x64(x64):
        points = MapBlocks(js.CKA_RBF, RowBlocks(x, js.CKA_RBF, 8))
        blocks = [points.block(k) for k in range(points.features.count)]
        between = jax.jit(js.CKA_RBF.pairwise.tiling.between)
        rows = [np.concatenate([between(a, b) for b in blocks], 1) for a in blocks]
        quantities = np.concatenate(rows)
        assert float(points.level) == np.median(np.maximum(quantities, quantities.T))


def test_moments_are_those_of_all_images():
    x = np.random.default_rng(0).normal(size=(N, 7)) + [0, 1e6, -1e9, 3, 0, 0, 0]
    x[:, 5] = 0.1
    x[0, 6] = 1e12  # the others lie far from the first image
    m = RowBlocks(x, js.DDS_COSINE, TILE).moments
    np.testing.assert_allclose(m.mean, x.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(m.sd, np.where(x.max(0) > x.min(0), x.std(0), 0), rtol=1e-6)
    assert m.sd[5] == 0
    assert m.broken == 0


def test_blocks_cover_all_images_in_order():
    x = np.arange(2.0 * N).reshape(N, 2)
    blocks = RowBlocks(x, js.CKA_LINEAR, TILE)
    rows = [blocks.rows(k) for k in range(blocks.count)]
    assert [*itertools.chain.from_iterable(range(N)[r] for r in rows)] == [*range(N)]
    found = np.concatenate([*blocks.blocks()])[:, 0]
    np.testing.assert_array_equal(found - found[0], (x[:, 0] - x[0, 0]) / 128)
    assert abs(found.mean()) <= np.ptp(found) / 16


@pytest.mark.slow
def test_the_command_takes_tiles_from_files_and_refuses_them_for_maps(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    (tmp_path / "x").mkdir()
    for name, x in networks().items():
        np.save(tmp_path / "x" / f"{name}.npy", x)
    given = ["affinity", str(tmp_path / "x"), "--no-stack", "--tile", "40", "--out", str(tmp_path / "out")]
    for measure in ("cka-rbf", "rsa"):
        assert main([*given, "--overwrite", "--measure", measure]) == 0
        found = js.load(tmp_path / "out" / "affinity.npz")
        np.testing.assert_allclose(found.values, js.affinity(networks(), measure).values, atol=1e-6)
    assert main([*given, "--overwrite", "--measure", "spearman"]) == 2
    assert "--tile has no effect on precomputed" in capsys.readouterr().err


def sparse_codes(rng, n):
    x = np.maximum(rng.normal(size=(n, 20)) @ rng.normal(size=(20, 128)) - 9, 0)
    return x, np.maximum(x + 0.3 * rng.normal(size=x.shape) * (x > 0), 0)


def labels(rng, n, classes=20):
    codes = rng.integers(classes, size=n)
    return np.eye(classes)[codes], np.eye(classes)[np.where(rng.random(n) < 0.5, codes, rng.integers(classes, size=n))]


def many_labels(rng, n):
    return labels(rng, 5 * n, 200)


def labels_far_from_zero(rng, n):
    return [0.125 * x + 3 for x in many_labels(rng, n)]


def counts(rng, n):
    x = rng.poisson(0.3, size=(n, 60))
    return x, x * (rng.random(x.shape) < 0.8)


@pytest.mark.parametrize("x64", slow_but([False], [False, True]))
@pytest.mark.parametrize("tile", [None, 64])
@pytest.mark.parametrize("pairwise", slow_but(["cosine"], ["cosine", "correlation", "squared-euclidean", "euclidean"]))
@pytest.mark.parametrize(
    "made",
    slow_but([sparse_codes, many_labels], [sparse_codes, labels, many_labels, labels_far_from_zero, counts]),
)
def test_equal_distances_are_ties_however_they_are_rounded(made, pairwise, tile, x64):
    """Most images share no feature, and most of their distances are one number, which rounding spread over a dozen."""
    x, y = made(np.random.default_rng(0), 220)
    some = (x > 0).any(1) & (y > 0).any(1)
    sides = [side[some].astype(np.float64) for side in (x, y)]

    def distances(x):
        return np.round(pdist(x, pairwise.replace("squared-", "sq")), 9)

    want = stats.spearmanr(*map(distances, sides))[0]
    with jax.enable_x64(x64):
        given = [x if x64 else x.astype(np.float32) for x in sides]
        found = js.affinity(dict(zip("ab", given, strict=True)), f"identity:{pairwise}:spearman", tile=tile)
        error = abs(float(found.values[0, 1]) - want)
    # of sparse codes, distinct correlation distances lie as close as float32 rounds
    assert error < (1e-5 if pairwise == "correlation" and made is sparse_codes and not x64 else 2e-6)
