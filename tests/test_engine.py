"""The verbs on features and on precomputed maps, against float64 oracles given the same numbers."""

import itertools
import math
import subprocess
import sys
import time
import typing
import warnings

import jax
import jax.monitoring
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import oracles as o
import pytest
from marks import slow_but

import jaxsim as js
from jaxsim import inputs
from jaxsim.engine import checks, feature_space, padding, program, reasons
from jaxsim.engine import memory as budgets
from jaxsim.results import UndefinedScores

N, D = 20, 12
ACCURACY = 2e-6  # of a float32 score, against float64 on the same numbers
RAGGED = [(2, 2, 8), (3, 3, 4), (2, 3, 6), (1, 4, 10), (4, 2, 2), (2, 2, 4)]  # more shapes than buckets
NAMED = [n for n in dir(js) if n.isupper()]

EVENTS = []
jax.monitoring.register_event_duration_secs_listener(lambda event, _, **what: EVENTS.append((event, what)))


def events(kind):
    return [what for event, what in EVENTS if kind in event]


def signals(sizes, seed=0):
    """Networks that share six latent causes, each with its own noise."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(N, 6))
    made = {}
    for k, size in enumerate(sizes):
        d = int(np.prod(size))
        mixed = causes @ rng.normal(size=(6, d)) + rng.normal(size=(N, d))
        made[f"net{k}"] = mixed.reshape(N, *np.atleast_1d(size)).astype(np.float32)
    return made


FOUR = signals([D] * 4)


def cell(transform, pairwise, compare="u_centered_cosine"):
    ours = js.Measure(*(getattr(m, p) for m, p in zip(MODULES, (transform, pairwise, compare), strict=True)))
    return ours, o.Measure(o.TRANSFORMS[transform], o.PAIRWISE[pairwise], o.COMPARE[compare])


MODULES = (js.transforms, js.pairwise, js.compare)
TABLE = [cell(t, f) for t in o.TRANSFORMS for f in o.PAIRWISE]
BOTH = len(o.TRANSFORMS), len(o.PAIRWISE)
EACH = [TABLE[k % BOTH[0] * BOTH[1] + k % BOTH[1]] for k in range(3, max(BOTH))]
"""Cells that hold every transform and every distance or kernel that no named measure has."""
POSITIONS = [cell(t, "linear") for t in o.TRANSFORMS] + [
    cell("mean_pool", "correlation"),
    cell("group_norm", "laplacian"),
]
FLAT = [cell("center", "linear"), cell("zscore", "laplacian"), cell("layer_norm", "euclidean")] + [
    cell("identity", "correlation", "spearman")
]


@pytest.mark.parametrize(
    ("sizes", "cells"),
    [
        pytest.param([(2, 2, 4)] * 3, EACH, id="one shape, each part"),
        pytest.param([(2, 2, 4)] * 3, TABLE, id="one shape, all cells", marks=pytest.mark.slow),
        pytest.param(RAGGED, POSITIONS[-4:], id="padded positions", marks=pytest.mark.slow),
        pytest.param(RAGGED, POSITIONS[:-4], id="more padded positions", marks=pytest.mark.slow),
        pytest.param(RAGGED[:3], POSITIONS[-3:], id="three shapes kept", marks=pytest.mark.slow),
        pytest.param(RAGGED, FLAT, id="padded columns", marks=pytest.mark.slow),
    ],
)
def test_affinity_is_the_oracle(sizes, cells, request, monkeypatch):
    if request.node.callspec.id.endswith("padded positions"):
        monkeypatch.setattr(padding, "BUCKETS", 1)  # every bucket is more to compile
    features = signals(sizes)
    found = js.affinity(features, [ours for ours, _ in cells], channels="last")
    for (ours, theirs), a in zip(cells, found, strict=True):
        want = o.affinity(list(features.values()), theirs)
        np.testing.assert_allclose(a.values, want, rtol=0, atol=ACCURACY, err_msg=str(ours))
        assert a.names == a.targets == tuple(features)
        assert (np.asarray(a.images) == N).all()
        assert a.undefined == ()


EVERY = {n: getattr(js, n) for n in NAMED} | {
    "COSINE": js.Measure(js.transforms.identity, js.pairwise.cosine, js.compare.pearson)
}


def scores(features):
    """Every named measure and one of lengths, of four networks by one program."""
    return dict(zip(EVERY, js.affinity(features, list(EVERY.values())), strict=True))


@pytest.fixture(scope="module")
def named():
    return scores(FOUR)


@pytest.mark.parametrize("name", NAMED)
def test_named_measures(name, named):
    want = o.affinity(list(FOUR.values()), getattr(o, name))
    np.testing.assert_allclose(named[name].values, want, rtol=0, atol=ACCURACY)
    assert named[name].provenance.measure in (name.lower().replace("_", "-"), "cka-linear-biased")


@pytest.mark.parametrize("name", ["CKA_LINEAR", "DDS_LAPLACIAN"])
def test_a_list_is_the_same_as_one_by_one(name, named):
    alone = js.affinity(FOUR, getattr(js, name))
    np.testing.assert_allclose(alone.values, named[name].values, rtol=0, atol=3e-7)
    assert alone.provenance.measure == named[name].provenance.measure


def test_a_measure_called_on_two_networks_is_its_entry(named):
    score = jax.jit(js.CKA_LINEAR)(FOUR["net0"], FOUR["net2"])
    np.testing.assert_allclose(score, named["CKA_LINEAR"].values[0, 2], atol=3e-7)


# What features may be


def cka(features):
    return js.affinity(features, js.CKA_LINEAR)


def expected(features):
    return o.affinity(list(features.values()), o.CKA_LINEAR)


@pytest.mark.parametrize(
    "hold",
    [
        lambda f: f,
        lambda f: {k: jnp.asarray(v) for k, v in f.items()},
        lambda f: {k: v if k == "net1" else jnp.asarray(v) for k, v in f.items()},
        lambda f: np.stack(list(f.values())),
        lambda f: jnp.stack(list(f.values())),
        lambda f: list(f.values()),
        lambda f: {k: np.asfortranarray(v)[::1] for k, v in f.items()},
        lambda f: {k: v.tolist() for k, v in f.items()},
        lambda f: {k: v.astype(np.float64) for k, v in f.items()},
    ],
    ids=["numpy", "jax", "both", "stack", "jax stack", "list", "fortran order", "nested lists", "float64"],
)
def test_containers(hold):
    held = hold(FOUR)
    found = cka(held)
    np.testing.assert_allclose(found.values, expected(FOUR), rtol=0, atol=ACCURACY)
    assert found.names == (tuple(FOUR) if isinstance(held, dict) else tuple(f"network_{k}" for k in range(4)))
    assert found.values.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.int8, np.uint8, np.int32, np.int64, bool])
@pytest.mark.parametrize("place", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_dtypes(dtype, place):
    """Small floats, integers and booleans are computed in float32 on the numbers that they hold."""
    given = {k: (np.abs(v) * (30 if np.dtype(dtype).kind in "iu" else 1)).astype(dtype) for k, v in FOUR.items()}
    if dtype is bool:
        given = {k: v > 0 for k, v in FOUR.items()}
    found = cka({k: place(v) for k, v in given.items()})
    assert found.values.dtype == np.float32
    want = expected({k: v.astype(np.float64) for k, v in given.items()})
    np.testing.assert_allclose(found.values, want, rtol=0, atol=ACCURACY)


def test_float64_in_is_float64_out_where_the_user_enabled_it():
    with jax.enable_x64(True):
        found = cka({k: v.astype(np.float64) for k, v in FOUR.items()})
        assert found.values.dtype == np.float64
        assert found.provenance.dtype == "float64"
        np.testing.assert_allclose(found.values, expected(FOUR), rtol=0, atol=1e-12)
        assert cka(FOUR).values.dtype == np.float32


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t,
        lambda t: t.double(),
        lambda t: t.half(),
        lambda t: t.bfloat16(),
        lambda t: (10 * t).int(),
        lambda t: t > 0,
        lambda t: t.clone().requires_grad_(),
        lambda t: t.T.contiguous().T,
        lambda t: t.repeat_interleave(2, 1)[:, ::2],
    ],
    ids=["float32", "float64", "float16", "bfloat16", "int", "bool", "with gradient", "transposed", "strided"],
)
def test_torch_tensors(change):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
    given = {k: change(torch.tensor(v)) for k, v in FOUR.items()}
    found = cka(given)
    numbers = {k: v.detach().to(torch.float64).numpy() for k, v in given.items()}
    np.testing.assert_allclose(found.values, expected(numbers), rtol=0, atol=ACCURACY)


def test_torch_images_with_channels_first_are_permuted_by_the_caller():
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
    first = {k: torch.tensor(v.reshape(N, 3, 2, 2)) for k, v in FOUR.items()}
    found = js.affinity({k: v.permute(0, 2, 3, 1) for k, v in first.items()}, js.dds(*POOLED))
    last = [v.numpy().transpose(0, 2, 3, 1) for v in first.values()]
    want = o.affinity(last, o.dds(o.mean_pool, o.linear))
    np.testing.assert_allclose(found.values, want, rtol=0, atol=ACCURACY)


POOLED = (js.transforms.mean_pool, js.pairwise.linear)


def test_memory_mapped_files(tmp_path):
    for name, array in FOUR.items():
        np.save(tmp_path / f"{name}.npy", array)
    mapped = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in FOUR}
    np.testing.assert_array_equal(cka(mapped).values, cka(FOUR).values)


@pytest.mark.parametrize(
    "shape", slow_but([(N, D), (N, 3, 4)], [(N, D), (N, 3, 4), (N, 2, 1, 2, 3)]), ids=lambda s: f"rank {len(s)}"
)
def test_ranks_of_features(shape):
    given = {k: v.reshape(shape) for k, v in FOUR.items()}
    pool = js.affinity(given, js.dds(*POOLED))
    want = o.affinity(list(given.values()), o.dds(o.mean_pool, o.linear))
    np.testing.assert_allclose(pool.values, want, rtol=0, atol=ACCURACY)


def test_a_column_that_never_varies_changes_nothing_under_z_scores():
    others = {k: np.delete(v, 3, 1) for k, v in FOUR.items()}
    found = scores({k: np.insert(v, 3, 7, 1) for k, v in others.items()})["DDS_COSINE"]
    want = o.affinity(list(others.values()), o.DDS_COSINE)
    np.testing.assert_allclose(found.values, want, rtol=0, atol=ACCURACY)


def test_identical_networks_score_one():
    found = scores(FOUR | {"net1": FOUR["net0"].copy()})
    for a in (found[name] for name in ("RSA", "CKA_LINEAR", "DDS_LAPLACIAN")):
        np.testing.assert_allclose(a.values[0, 1], 1, atol=5e-7)
        np.testing.assert_allclose(a.values[0], a.values[1], atol=5e-7)


# Memory


def tight(measure, count):
    """A budget that two blocks of `count` networks fit into."""
    return 6 * N**2 * 4 + 2 * count * budgets.map_bytes((measure,), N, 4)


def test_blocks_give_the_same_numbers():
    whole, cut = cka(FOUR), js.affinity(FOUR, js.CKA_LINEAR, memory=tight(js.CKA_LINEAR, 1))
    np.testing.assert_allclose(cut.values, whole.values, rtol=0, atol=4 * np.finfo(np.float32).eps)
    np.testing.assert_array_equal(cut.values, np.asarray(cut.values).T)


@pytest.mark.slow
def test_blocks_of_unequal_widths_and_an_undefined_network():
    five = signals([D, 7, D, 7, 7]) | {"net4": np.full((N, 7), 2, np.float32)}
    budget = tight(js.CKA_LINEAR, 2)
    for count in (1, 2):
        size = budgets.block_size((js.CKA_LINEAR,), 5, N, np.dtype(np.float32), tight(js.CKA_LINEAR, count))
        assert size == count
    with pytest.warns(UndefinedScores, match="net4"):
        cut = js.affinity(five, js.CKA_LINEAR, memory=budget)
    fine = {k: v for k, v in five.items() if k != "net4"}
    np.testing.assert_allclose(cut.values[:4, :4], expected(fine), rtol=0, atol=ACCURACY)
    assert np.isnan(cut.values).sum() == 9
    np.testing.assert_array_equal(cut.values, np.asarray(cut.values).T)
    assert cut.undefined == (("net4", 0),)


@pytest.mark.slow
def test_blocks_of_two_sets():
    ys = {k: v[:, ::-1] for k, v in list(signals([D] * 3, 1).items())[:2]}
    cut = js.affinity(FOUR, js.CKA_LINEAR, against=ys, memory=tight(js.CKA_LINEAR, 2))
    want = [[o.CKA_LINEAR(x, y) for y in ys.values()] for x in FOUR.values()]
    np.testing.assert_allclose(cut.values, want, rtol=0, atol=ACCURACY)


# Two sets


def shapes_in(jaxpr):
    for equation in jaxpr.eqns:
        yield from (v.aval.shape for v in equation.outvars)
        for parameter in equation.params.values():
            for inner in parameter if isinstance(parameter, (tuple, list)) else (parameter,):
                if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                    yield from shapes_in(getattr(inner, "jaxpr", inner))


def test_cross_affinity_is_the_oracle_and_never_holds_the_square():
    xs, ys = signals([D] * 7), dict(zip("abcde", signals([D - 1] * 5, 1).values(), strict=True))
    found = js.affinity(xs, js.DDS_LAPLACIAN, against=ys)
    want = [[o.DDS_LAPLACIAN(x, y) for y in ys.values()] for x in xs.values()]
    np.testing.assert_allclose(found.values, want, rtol=0, atol=ACCURACY)
    assert (found.names, found.targets, found.square) == (tuple(xs), tuple(ys), False)
    x, y = inputs.networks(xs), inputs.networks(ys)
    px, py, rows, columns = padding.both_buckets(x, y, [js.DDS_LAPLACIAN])
    closed = jax.make_jaxpr(lambda a, b: program.affinity_call((js.DDS_LAPLACIAN,), a, b, rows, columns))(px, py)
    held = set(shapes_in(closed.jaxpr))
    assert (7, 5) in held
    assert not held & {(12, 12), (7, 7), (5, 5)}


@pytest.mark.slow
def test_cross_affinity_with_itself_is_the_square(named):
    crossed = js.affinity(FOUR, js.DDS_LAPLACIAN, against=FOUR)
    np.testing.assert_allclose(crossed.values, named["DDS_LAPLACIAN"].values, rtol=0, atol=3e-7)
    assert crossed.ranking("net0")[0][0] == "net0", "the columns are another set, whose names say nothing"
    assert not crossed.square


BUILT = []


def counted_linear(x):
    """The linear kernel, telling how often it runs."""
    jax.debug.callback(lambda: BUILT.append("map"))
    return js.pairwise.linear(x)


def counted_center(x):
    jax.debug.callback(lambda: BUILT.append("transform"))
    return js.transforms.center(x)


def test_every_map_is_built_once():
    BUILT.clear()
    js.affinity(FOUR, js.dds(js.transforms.center, counted_linear)).values.block_until_ready()
    jax.effects_barrier()
    assert len(BUILT) == 4
    BUILT.clear()
    crossed = js.affinity(FOUR, js.dds(js.transforms.center, counted_linear), against=signals([D] * 3, 1))
    crossed.values.block_until_ready()
    jax.effects_barrier()
    assert len(BUILT) == 7


@pytest.mark.slow
def test_measures_asked_for_together_share_a_transform():
    BUILT.clear()
    together = [js.dds(counted_center, f) for f in (js.pairwise.linear, js.pairwise.laplacian)]
    js.affinity(FOUR, together)[0].values.block_until_ready()
    jax.effects_barrier()
    assert len(BUILT) == 4


# Maps


def test_maps_are_the_pairwise_function_itself():
    """Not the form that keeps more digits for one comparator: a kernel keeps its diagonal of ones."""
    found = js.maps(FOUR, js.CKA_RBF, ids=[f"image {k}" for k in range(N)])
    want = np.stack([o.rbf(x) for x in FOUR.values()])
    np.testing.assert_allclose(found.values, want, rtol=0, atol=ACCURACY)
    assert (found.names, found.ids[3], found.provenance.measure) == (tuple(FOUR), "image 3", "cka-rbf")


@pytest.mark.slow
def test_maps_of_many_shapes_keep_the_order_of_the_networks():
    features = signals([D, 7, D])
    found = js.maps(features, js.RSA)
    want = np.stack([o.RSA.map(x) for x in features.values()])
    np.testing.assert_allclose(found.values, want, rtol=0, atol=ACCURACY)
    assert found.names == tuple(features)


MAPS = {k: o.RSA.map(v).astype(np.float32) for k, v in FOUR.items()}
TRIANGLE = np.triu_indices(N, 1)


@pytest.mark.parametrize(
    "hold",
    [
        lambda m: m,
        lambda m: np.stack(list(m.values())),
        lambda m: {k: v[TRIANGLE] for k, v in m.items()},
        lambda m: np.stack([v[TRIANGLE] for v in m.values()]),
        lambda m: [v[TRIANGLE].tolist() for v in m.values()],
        lambda m: {k: jnp.asarray(v) for k, v in m.items()},
    ],
    ids=["full", "stack", "condensed", "condensed stack", "lists", "jax"],
)
def test_ready_made_maps(hold, compared):
    found = js.compare_maps(hold(MAPS), js.compare.cosine)
    np.testing.assert_allclose(found.values, compared["cosine"].values, rtol=0, atol=3e-7)


@pytest.fixture(scope="module")
def compared():
    return dict(zip(COMPARED, js.compare_maps(MAPS, [getattr(js.compare, n) for n in COMPARED]), strict=True))


COMPARED = [n for n in o.COMPARE if n not in ("kendall_b", "whitened_pearson")]
"""One of each family of comparators, at least."""


@pytest.mark.parametrize("name", COMPARED)
def test_comparators_of_ready_made_maps(name, compared):
    with np.errstate(invalid="ignore"):
        want = o.compare_maps(list(MAPS.values()), o.COMPARE[name])
    np.testing.assert_allclose(compared[name].values, want, rtol=0, atol=ACCURACY)
    assert compared[name].provenance.measure == name.replace("_", "-")


def test_maps_of_the_library_and_maps_of_others(compared):
    own = js.compare_maps(js.maps(FOUR, js.RSA, ids=range(N)), js.compare.cosine)
    np.testing.assert_allclose(own.values, compared["cosine"].values, rtol=0, atol=ACCURACY)
    shuffled = np.random.default_rng(0).permutation(N)
    other = {k: v[shuffled][:, shuffled] for k, v in MAPS.items()}
    ids = {"own": range(N)}
    with pytest.raises(ValueError, match="another order"):
        js.compare_maps({"own": MAPS["net0"], "other": other["net1"]}, js.compare.cosine, ids=ids | {"other": shuffled})
    aligned = js.compare_maps(
        {"own": MAPS["net0"], "other": other["net1"]}, js.compare.cosine, ids=ids | {"other": shuffled}, align=True
    )
    np.testing.assert_allclose(aligned.values[0, 1], compared["cosine"].values[0, 1], atol=ACCURACY)


def test_maps_against_other_maps(compared):
    brain = {"region": MAPS["net2"], "other": MAPS["net3"]}
    found = js.compare_maps(MAPS, js.compare.cosine, against=brain)
    np.testing.assert_allclose(found.values, compared["cosine"].values[:, 2:], rtol=0, atol=3e-7)
    assert found.targets == ("region", "other")


def without_pairs(m, lost):
    """A map with NaN for the marked pairs of images."""
    m, (i, j) = m.copy(), (side[lost] for side in TRIANGLE)
    m[i, j] = m[j, i] = np.nan
    return m


LOST = np.random.default_rng(1).random((2, N * (N - 1) // 2)) < 0.2
TIED = np.round(MAPS["net0"], 1)
ROUNDED = TIED + 1e-7 * (np.arange(N) % 2).astype(np.float32)
OF_PAIRS = ("pearson", "spearman", "rho_a", "cosine")
GAPS = MAPS | {"net0": without_pairs(ROUNDED, LOST[0]), "net1": without_pairs(MAPS["net1"], LOST[1])}


def of_shared_pairs(maps, **options):
    found = js.compare_maps(maps, list(OF_PAIRS), missing="pairwise", **options)
    return dict(zip(OF_PAIRS, found, strict=True))


@pytest.fixture(scope="module")
def partial():
    return of_shared_pairs(GAPS)


@pytest.mark.parametrize("name", OF_PAIRS)
def test_maps_with_gaps_are_compared_on_the_pairs_that_both_have(name, partial, compared):
    found = partial[name]
    flat = [m[TRIANGLE] for m in (GAPS | {"net0": without_pairs(TIED, LOST[0])}).values()]
    for s, t in np.ndindex(4, 4):
        there = np.isfinite(flat[s]) & np.isfinite(flat[t])
        want = o.VECTOR_COMPARE[name](*(v[there].astype(np.float64) for v in (flat[s], flat[t])))
        assert abs(found.values[s, t] - want) < ACCURACY
        assert found.pairs[s, t] == there.sum()
    np.testing.assert_allclose(found.values[2:, 2:], compared[name].values[2:, 2:], rtol=2e-7)
    assert found.undefined == ()
    assert "20 images, 116 to 190 pairs" in str(found)


def test_two_sets_of_maps_with_gaps_and_labels_of_their_own(partial, compared):
    """Both meanings of pairwise at once: the images and the pairs of images that both have."""
    order = np.random.default_rng(0).permutation(N)
    shuffled = GAPS | {"net1": GAPS["net1"][order][:, order]}
    ids = {k: order if k == "net1" else np.arange(N) for k in GAPS}
    aligned = js.compare_maps(shuffled, "cosine", ids=ids, align=True, missing="pairwise")
    crossed = js.compare_maps(GAPS, "cosine", against=GAPS, missing="pairwise")
    whole = js.compare_maps(MAPS, "cosine", against=GAPS, missing="pairwise")  # of the same names, without gaps
    np.testing.assert_allclose(whole.values[2:], crossed.values[2:], rtol=0, atol=3e-7)
    np.testing.assert_allclose(whole.values[:, 2:], compared["cosine"].values[:, 2:], rtol=0, atol=3e-7)
    for one in (aligned, crossed):
        np.testing.assert_allclose(one.values, partial["cosine"].values, rtol=0, atol=3e-7)
        np.testing.assert_array_equal(one.pairs, partial["cosine"].pairs)


@pytest.mark.slow
def test_maps_with_gaps_in_blocks(partial):
    memory = tight(js.measures.of_maps(js.compare.cosine), 1)
    found = js.compare_maps(GAPS, "cosine", missing="pairwise", memory=memory)
    np.testing.assert_allclose(found.values, partial["cosine"].values, rtol=0, atol=3e-7)


def test_maps_that_share_too_few_pairs_are_named():
    lost = np.ones(len(TRIANGLE[0]), bool)
    lost[:2] = False
    scarce = GAPS | {"net0": without_pairs(MAPS["net0"], lost), "net1": without_pairs(np.ones((N, N)), LOST[1])}
    with pytest.warns(UndefinedScores) as caught:
        found = of_shared_pairs(scarce)
    said = [str(w.message) for w in caught]
    few = "maps without a cosine score (NaN), because they share fewer than 3 pairs of images: "
    assert few + "net0 - net0, net0 - net1, net0 - net2, net0 - net3." in said
    flat = "maps without a pearson score (NaN), because they are constant or infinite on the pairs that both have: "
    assert flat + "net1 - net1, net1 - net2, net1 - net3." in said
    assert np.isnan(found["cosine"].values).sum() == 7
    np.testing.assert_array_equal(found["cosine"].pairs[0], [2, (~LOST[1][:2]).sum(), 2, 2])


@pytest.mark.parametrize("compare", ["u_centered_cosine", lambda a, b: a[0, 1] * b[0, 1]], ids=["centered", "own"])
def test_comparators_that_need_whole_maps_refuse_gaps(compare):
    with pytest.raises(TypeError, match="map 'net0' lacks pairs .* spearman, rho-a, cosine, to compare the pairs"):
        js.compare_maps(GAPS, compare, missing="pairwise")


def test_nan_on_the_diagonal_is_no_gap(compared):
    """It stands between no two images, and only comparators that read the diagonal mind it."""
    maps = {k: m + np.diag(np.full(N, np.nan, np.float32)) for k, m in MAPS.items()}
    for missing in ("shared", "pairwise"):
        for one in js.compare_maps(maps, list(OF_PAIRS), missing=missing):
            name = one.provenance.measure.replace("-", "_")
            np.testing.assert_allclose(one.values, compared[name].values, rtol=0, atol=3e-7)
            assert (one.pairs is None) == (missing == "shared")


# Functions of one's own


def squares(x):
    return jnp.reshape(x, (x.shape[0], -1)) ** 2


def chebyshev(x):
    return jnp.max(jnp.abs(x[:, None] - x[None]), -1)


def mean_gap(a, b):
    return -jnp.mean(jnp.abs(a - b))


def own_oracle(features, compare):
    maps = [np.abs((y := o.flatten(x) ** 2)[:, None] - y[None]).max(-1) for x in features.values()]
    return o.compare_maps(maps, compare)


@pytest.mark.parametrize(
    "sizes", slow_but([[D] * 4], [[D] * 4, [5, 6, 7, 8]]), ids=["one shape", "four shapes, not padded"]
)
def test_functions_of_ones_own(sizes):
    features = signals(sizes)
    embedded = js.affinity(features, js.Measure(squares, chebyshev, js.compare.pearson))
    np.testing.assert_allclose(embedded.values, own_oracle(features, o.pearson), rtol=0, atol=ACCURACY)
    looped = js.affinity(features, js.Measure(squares, chebyshev, mean_gap))
    want = own_oracle(features, lambda a, b, w: -np.abs(a - b).mean())
    np.testing.assert_allclose(looped.values, want, rtol=2e-6)
    assert looped.provenance.measure.endswith("test_engine.squares:test_engine.chebyshev:test_engine.mean_gap")


class Embeds:
    """The cosine, told of by its embedding alone."""

    def embed(self, m):
        return js.compare.cosine.embed(m)

    def __call__(self, a, b):
        return jnp.sum(self.embed(a) * self.embed(b))


def plain_cosine(a, b):
    return js.compare.cosine(a, b)


@pytest.mark.parametrize(
    "own", [Embeds(), pytest.param(plain_cosine, marks=pytest.mark.slow)], ids=["embed", "function"]
)
def test_a_comparator_that_offers_little(own, compared):
    """Scores whole and in blocks, of condensed maps, of two images; a sentence where something else is needed."""
    found = js.compare_maps(MAPS, own)
    np.testing.assert_allclose(found.values, compared["cosine"].values, rtol=0, atol=5e-7)
    budget = tight(js.measures.of_maps(own), 1)
    cut = js.compare_maps({k: m[TRIANGLE] for k, m in MAPS.items()}, own, memory=budget)
    np.testing.assert_allclose(cut.values, found.values, rtol=0, atol=3e-7)
    np.testing.assert_allclose(js.compare_maps({"a": [2.0], "b": [3.0]}, own).values, 1)
    given = js.Maps(np.stack(list(MAPS.values())), tuple(MAPS), found.provenance)
    with pytest.raises(TypeError, match="does not declare embed_pooled; use one from js.compare"):
        js.noise_ceiling(given, own)
    with pytest.raises(
        TypeError, match=r"does not declare 'weighted' .* as jackknife needs; js.HalfSamples\(\) works with any"
    ):
        js.resample(given, own, js.Jackknife())
    with pytest.raises(TypeError, match="does not declare 'permuted' .* as permutation needs"):
        js.resample(given, own, js.Permutation(), n_resamples=2, key=jax.random.key(0))


def projected(a, b):
    """Not symmetric."""
    return jnp.sum(a * b) / jnp.sum(b * b)


def test_a_comparator_that_is_not_symmetric_is_asked_one_way_only():
    text = "projected is not symmetric: it gives .* for 'net0' with 'net1' and .* the other way around"
    with pytest.raises(ValueError, match=text):
        js.compare_maps(MAPS, projected)
    own, ids = js.Measure(js.transforms.identity, js.pairwise.linear, projected), np.arange(N)
    with pytest.raises(ValueError, match="projected is not symmetric"):
        js.affinity(FOUR, own, ids=ids, align=True, missing="pairwise")
    with pytest.raises(ValueError, match="projected is not symmetric"):
        js.resample(FOUR, own, js.HalfSamples(), n_resamples=4, key=jax.random.key(0))
    got = js.compare_maps(MAPS, projected, against=dict(MAPS)).values
    want = [[projected(np.float64(a), np.float64(b)) for b in MAPS.values()] for a in MAPS.values()]
    np.testing.assert_allclose(got, want, rtol=1e-5)
    inside = jax.jit(lambda maps: js.compare_maps(maps, projected).values)(dict(MAPS))
    np.testing.assert_allclose(inside, want, rtol=1e-5)


@pytest.mark.parametrize("shape", [(20, 3, 30), pytest.param((1000, 32, 30), marks=pytest.mark.slow)])
def test_a_square_matrix_is_symmetric_to_the_last_bit(shape):
    """As SciPy's `squareform` wants it; compiled programs of these shapes rounded an entry and its mirror apart."""
    n, d, count = shape
    x = np.random.default_rng(0).normal(size=(count, n, d)).astype(np.float32)
    for found in js.affinity(dict(zip(map(str, range(count)), x, strict=True)), [js.CKA_LINEAR, js.RSA]):
        np.testing.assert_array_equal(found.values, found.values.T)


def plain_centered(a, b):
    return js.compare.centered_cosine(a, b)


def test_the_pair_loop_is_the_embedding(named):
    """Of two sets; of one in the tests before."""
    looped = js.Measure(js.transforms.identity, js.pairwise.linear, plain_centered)
    crossed = js.affinity(FOUR, looped, against={"t": FOUR["net3"]})
    np.testing.assert_allclose(crossed.values, named["CKA_LINEAR_BIASED"].values[:, 3:], rtol=0, atol=ACCURACY)


def test_the_general_form_of_the_duality_diagram():
    """D X Q with the centering matrix and a random metric; new matrices of one shape compile nothing new."""
    rng = np.random.default_rng(5)
    centering = np.eye(N) - 1 / N
    for k in range(2):
        q = rng.normal(size=(D, 6)).astype(np.float32)
        measure = js.dds(js.transforms.Duality(jnp.asarray(q), jnp.asarray(centering)), js.pairwise.linear)
        EVENTS.clear()
        found = js.affinity(FOUR, measure)
        assert k == 0 or not [e for e in events("backend_compile") if "affinity_call" in e["fun_name"]]
        want = o.affinity([o.duality(x, q, centering) for x in FOUR.values()], o.CKA_LINEAR)
        np.testing.assert_allclose(found.values, want, rtol=0, atol=ACCURACY)


# Features that have no score


def one_image_of(value):
    def spoil(x):
        x = x.copy()
        x[3] = value
        return x

    return spoil


def one_feature_of(value):
    def spoil(x):
        x = x.copy()
        x.reshape(len(x), -1)[3, 2] = value
        return x

    return spoil


PLAIN = (
    *("COSINE", "RSA_UNCENTERED", "RSA", "CKA_LINEAR", "CKA_RBF", "CKA_LINEAR_BIASED", "DDS_LAPLACIAN"),
    "DISTANCE_CORRELATION",
)
SPOILT = {
    "one NaN": (one_feature_of(np.nan), PLAIN, 1),
    "one infinity": (one_feature_of(np.inf), PLAIN, 1),
    "a NaN image": (one_image_of(np.nan), PLAIN, 1),
    "an infinite image": (one_image_of(-np.inf), PLAIN, 1),
    "a constant image": (one_image_of(2.0), ("RSA_UNCENTERED",), 1),
    "a zero image": (one_image_of(0.0), ("COSINE", "RSA_UNCENTERED"), 1),
    "all constant": (lambda x: np.full_like(x, 3), PLAIN, None),
}


def test_a_process_forked_after_the_first_call_is_told_to_be_spawned(monkeypatch):
    with pytest.raises(TypeError, match="an empty list"):
        js.affinity([], [])
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(RuntimeError, match=r'has no compute threads: .* multiprocessing.get_context\("spawn"\)'):
        js.affinity([], [])


@pytest.mark.parametrize("how", SPOILT)
def test_a_network_without_a_map_is_nan_in_its_own_entries_alone(how, named):
    """One image is bad, so one is counted, whatever the transform then spreads it to."""
    spoil, lost, images = SPOILT[how]
    with pytest.warns(UndefinedScores) as caught:
        found = scores(FOUR | {"net1": spoil(FOUR["net1"])})
    hit = np.zeros((4, 4), bool)
    hit[1] = hit[:, 1] = True
    for name in PLAIN:
        a, whole = found[name], named[name]
        said = [str(w.message) for w in caught if f" {a.provenance.measure} " in str(w.message)]
        if name not in lost:
            assert (not np.isnan(a.values).any(), a.undefined, said) == (True, (), []), name
            continue
        np.testing.assert_array_equal(np.isnan(a.values), hit, err_msg=name)
        np.testing.assert_allclose(a.values[~hit], whole.values[~hit], rtol=0, atol=3e-7, err_msg=name)
        assert [n for n, _ in a.undefined] == ["net1"], name
        assert images in (None, dict(a.undefined)["net1"]), name
        assert len(said) == 1
        assert "'net1'" in said[0]
        assert "\n" not in said[0]
        assert "network 'net1' has no" in said[0]


@pytest.mark.parametrize("where", [np.s_[3], np.s_[:, 2], np.s_[3, 2], np.s_[:]], ids=str)
@pytest.mark.parametrize("tile", [None, pytest.param(8, marks=pytest.mark.slow)])
def test_infinite_features_have_no_score(where, tile):
    """Neither where a transform sees nothing but infinities, nor where a kernel makes zero of their distance."""
    transforms, kernels = ["identity", "zscore", "layer-norm"], ["linear", "laplacian"]
    measures = [f"{t}:{k}:pearson" for t, k in itertools.product(transforms, kernels)] + ["identity:cityblock:spearman"]
    x = np.random.default_rng(0).normal(size=(2, 20, 6)).astype(np.float32)
    x[0][where] = np.inf
    with pytest.warns(UndefinedScores, match="network 'a' has no .* (NaN or )?infinite in (1|20) of 20 images"):
        found = js.affinity({"a": x[0], "b": x[1]}, measures, tile=tile)
    for one in found:
        assert np.isnan(one.values[0]).all(), one.provenance.measure


@pytest.mark.parametrize("pairwise", ["cosine", "correlation"])
def test_an_image_without_a_distance_spoils_its_own_row_alone(pairwise):
    x = one_image_of(0.0)(FOUR["net0"])
    measure = js.Measure(js.transforms.identity, getattr(js.pairwise, pairwise), js.compare.spearman)
    found = np.isnan(np.asarray(js.maps({"a": x, "b": x}, measure).values[0]))
    want = np.zeros((N, N), bool)
    want[3] = want[:, 3] = True
    np.testing.assert_array_equal(found, want)


def test_an_undefined_target_is_not_blamed_on_the_sources():
    with pytest.warns(UndefinedScores) as caught:
        found = js.affinity(FOUR, js.CKA_LINEAR, against={"target": np.ones((N, D), np.float32)})
    assert np.isnan(found.values).all()
    assert [n for n, _ in found.undefined] == ["target"]
    assert ["'target'" in str(w.message) for w in caught] == [True]


def _own_distance(x):
    return jnp.abs(x[:, :1] - x[:, 0]) / 0


def _own_kernel(x):
    return x[:, :1] * x[:, 0]


_own_kernel.why_undefined = lambda x: "it is too loud"


def _own_comparator(a, b):
    return jnp.nan * jnp.sum(a * b)


X0 = np.float64(FOUR["net0"])
LABELS = np.eye(2)[(np.arange(N) < 5).astype(int)]  # finite, not zero, no row constant; most pairs coincide
OFFSET = X0 + 1e9
COSINE, LAPLACIAN = "identity:cosine:pearson", "identity:laplacian:pearson"
REASONS = {
    "NaN": (one_feature_of(np.nan)(X0), "rsa", "its features are NaN in 1 of 20 images"),
    "infinite": (one_feature_of(-np.inf)(X0), "rsa", "its features are infinite in 1 of 20 images"),
    "beyond float32": (X0 * 1e60, LAPLACIAN, "are beyond the range of float32; scale them first"),
    "a kernel of zeros": (X0 * 1e6, LAPLACIAN, "all pairs of images have the value 0 in its map"),
    "beyond the range of an own part": (X0 * 1e60, "own", "beyond the range of float32; scale them first, or compute"),
    "an offset": (OFFSET, COSINE, "20 different values near 1e+09 become 1 in float32; subtract an offset"),
    "zero before the cast too": (one_image_of(0)(OFFSET), COSINE, "its features are all zero in 1 of 20 images"),
    "zero images": (one_image_of(0)(X0), COSINE, "its features are all zero in 1 of 20 images"),
    "constant images": (one_image_of(2)(X0), "rsa-uncentered", "its features are constant in 1 of 20 images"),
    "zero after the transform": (
        one_image_of(2)(X0),
        "layer-norm:cosine:pearson",
        "its features are all zero in 1 of 20 images after the transform layer-norm",
    ),
    "all the same": (0 * X0 + X0[:1], "cka", "all of its images have the same features"),
    "the same after the transform": (
        0 * X0 + np.arange(N)[:, None],
        "layer-norm:linear:pearson",
        "after the transform",
    ),
    "median zero": (LABELS, "cka-rbf", "median distance of its images is zero, as 61% of their pairs are identical"),
    "a constant map": (np.eye(N), "cka", "all pairs of images have the value 0 in its map"),
    "a map of margins": (np.eye(N)[:, :1] + np.eye(N)[:, 1:2], "own kernel", "it is too loud"),
    "an own distance": (X0, "own distance", "_own_distance gives NaN or infinity for 20 of 20 images"),
}
OWN = {
    "own": js.Measure(js.transforms.identity, js.pairwise.linear, _own_comparator),
    "own distance": js.Measure(js.transforms.identity, _own_distance, js.compare.pearson),
    "own kernel": js.Measure(js.transforms.identity, _own_kernel, js.compare.pearson),
}


@pytest.mark.parametrize("name", REASONS)
def test_one_cause_one_reason(name):
    x, measure, said = REASONS[name]
    measure = OWN.get(measure) or js.measures.by_name(measure)
    assert said in reasons.why(measure, inputs.networks({"a": x}), 0)


MAP0 = np.abs(X0[:, :1] - X0[:, 0])
MARGINS = X0[:, :1] + X0[:, 0]


def with_entries(value, *places):
    m = MAP0.copy()
    for i, j in places:
        m[i, j] = m[j, i] = value
    return m


NAN_DIAGONAL = MAP0 + np.diag(np.full(N, np.nan))
MAP_REASONS = {
    "a missing pair": (
        with_entries(np.nan, (2, 5)),
        "spearman",
        "NaN for 1 of 190 pairs of images; js.compare_maps(...,",
    ),
    "a missing pair, centered": (
        with_entries(np.nan, (2, 5), (3, 4)),
        "centered-cosine",
        "NaN for 2 of 190 pairs",
    ),
    "an infinite pair": (with_entries(np.inf, (2, 5)), "pearson", "infinite for 1 of 190 pairs"),
    "NaN on the diagonal": (NAN_DIAGONAL, "centered-cosine", "20 of 20 entries on the diagonal, which centered-cosine"),
    "constant": (1 - np.eye(N), "pearson", "all pairs of images have the value 1 in its map"),
    "margins": (MARGINS, "u-centered-cosine", "sum of terms a_i + a_j"),
    "an offset": (MAP0 + 1e9, "own", "become 1 in float32; subtract an offset first"),
    "beyond float32": (MAP0 * 1e60, "own", "beyond the range of float32"),
}


@pytest.mark.parametrize("name", MAP_REASONS)
def test_one_cause_one_reason_of_maps(name):
    m, compare, said = MAP_REASONS[name]
    measure = js.measures.of_maps(js.measures.PARTS["compare"].get(compare, _own_comparator))
    found = reasons.why(measure, inputs.square_maps({"a": m}), 0)
    assert said in found
    assert ("pairwise" in found) == (name == "a missing pair")


def test_a_diagonal_that_is_not_read_may_be_nan():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = js.compare_maps({"a": NAN_DIAGONAL, "b": MAP0}, "pearson")
    np.testing.assert_allclose(found.values, 1, atol=1e-6)


def test_a_pair_without_a_score_is_named():
    opposed = {"a": MAP0, "b": -MAP0, "c": -MAP0}
    with pytest.warns(UndefinedScores) as caught:
        found = js.compare_maps(opposed, js.compare.root_centered_cosine)
    assert np.isnan(found.values).sum() == 4
    assert found.undefined == ()
    (said,) = (str(w.message) for w in caught)
    assert said.startswith(
        "networks 'a' and 'b' and 1 more have no root-centered-cosine score (NaN): the score is the square root"
    )


# What an editor knows


@pytest.mark.parametrize(
    ("verb", "record"),
    [(js.affinity, js.Affinity), (js.compare_maps, js.Affinity), (js.resample, js.Resamples)]
    + [(js.calibrate, js.Calibration), (js.variance_study, js.VarianceStudy)],
)
def test_one_measure_gives_a_record_and_several_a_list(verb, record):
    assert typing.get_type_hints(verb)["return"] == record | list[record]


# One device call


def test_a_second_affinity_compiles_nothing():
    js.affinity(FOUR, js.CKA_LINEAR)
    fresh = js.Measure(js.transforms.Identity(), js.pairwise.Linear(), js.compare.UCenteredCosine())
    EVENTS.clear()
    js.affinity(signals([D] * 4, seed=9), fresh)
    assert events("backend_compile") == []


# Noise ceilings


CEILINGS = ("pearson", "spearman", "cosine", "rho_a")


@pytest.mark.parametrize("name", slow_but(["cosine"], CEILINGS))
def test_noise_ceilings(name):
    """Of maps, and once of features; the best possible map lies between the bounds of its group."""
    comparator = getattr(js.compare, name)
    want = o.noise_ceiling([o.RSA.map(x) for x in FOUR.values()], name)
    if name == "pearson":
        found = js.noise_ceiling(FOUR, js.Measure(js.transforms.center, js.pairwise.correlation, comparator))
        np.testing.assert_allclose(found, want, rtol=0, atol=ACCURACY)
    made = js.Maps(np.stack(list(MAPS.values())), tuple(FOUR), js.results.Provenance.now("rsa", jnp.zeros(1)))
    np.testing.assert_allclose(js.noise_ceiling(made, comparator), want, rtol=0, atol=ACCURACY)
    assert want[0] < want[1] - 1e-3


@pytest.mark.slow
def test_the_noise_ceiling_of_centered_maps_comes_from_their_scores(named):
    found = js.noise_ceiling(FOUR, js.CKA_LINEAR)
    want = jax.jit(js.statistics.noise_ceiling_from_scores)(named["CKA_LINEAR"].values)
    np.testing.assert_allclose(found, want, rtol=0, atol=ACCURACY)


def test_the_noise_ceiling_aligns_by_id():
    order = np.random.default_rng(0).permutation(N)
    mixed = FOUR | {"net2": FOUR["net2"][order]}
    ids = dict.fromkeys(FOUR, range(N)) | {"net2": order}
    with pytest.raises(ValueError, match="align=True"):
        js.noise_ceiling(mixed, js.CKA_LINEAR, ids=ids)
    found = js.noise_ceiling(mixed, js.CKA_LINEAR, ids=ids, align=True)
    np.testing.assert_allclose(found, js.noise_ceiling(FOUR, js.CKA_LINEAR), rtol=0, atol=3e-7)


# Linear CKA from features


def spoilt(value, **networks):
    return networks | {"net1": value(networks["net1"])}


LINEAR = {
    "CKA_LINEAR": (js.CKA_LINEAR, o.CKA_LINEAR),
    "CKA_LINEAR_BIASED": (js.CKA_LINEAR_BIASED, o.CKA_LINEAR_BIASED),
    "pooled": (js.dds(js.transforms.mean_pool, js.pairwise.linear), o.dds(o.mean_pool, o.linear)),
}
NARROW = {
    "padded widths": (signals([2, 3, 4, 5]), None),
    "two sets": (signals([4] * 3), dict(zip("ab", signals([3] * 2, 1).values(), strict=True))),
    "one shape": (signals([(2, 2)] * 3), None),
    "a constant network": (spoilt(lambda x: np.full_like(x, 0.1), **signals([(2, 2)] * 3)), None),
    "one NaN": (spoilt(one_feature_of(np.nan), **signals([(2, 2)] * 3)), None),
    "one infinity": (spoilt(one_feature_of(np.inf), **signals([(2, 2)] * 3)), None),
}
OF_ONE_SHAPE = list(NARROW)[2:]


def linear_scores(cases):
    """The cases under all measures, and the warnings."""
    found = {}
    for case in cases:
        x, y = NARROW[case]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            measures = [ours for ours, _ in LINEAR.values()]
            scores = js.affinity(x, measures) if y is None else js.affinity(x, measures, against=y)
        found[case] = dict(zip(LINEAR, scores, strict=True)), [str(w.message) for w in caught]
    return found


@pytest.fixture(scope="module")
def two_ways():
    """From features, and those of one shape from maps with that form switched off."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_space, "MAP_BYTES", 0)  # no maps for lost digits
        from_features = linear_scores([case for case in NARROW if case not in OF_ONE_SHAPE])
    from_features, asked = from_features | linear_scores(OF_ONE_SHAPE), []

    def never(*given):
        asked.append(given)
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_space, "is_cheaper", never)
        from_maps = linear_scores(OF_ONE_SHAPE)
    assert asked
    return from_features, from_maps


@pytest.mark.slow
@pytest.mark.parametrize("case", NARROW)
def test_linear_cka_from_features_is_that_from_maps(case, two_ways):
    x, y = NARROW[case]
    nets = [None if group is None else inputs.networks(group) for group in (x, y)]
    for name, (ours, theirs) in LINEAR.items():
        parts = [None if group is None else padding.buckets(group, [ours])[0] for group in nets]
        assert feature_space.is_cheaper(ours, *parts)
        found, said = two_ways[0][case][0][name], two_ways[0][case][1]
        if case in OF_ONE_SHAPE:
            want, also_said = two_ways[1][case][0][name], two_ways[1][case][1]
            np.testing.assert_allclose(found.values, want.values, rtol=0, atol=ACCURACY, err_msg=name)
            np.testing.assert_array_equal(np.isnan(found.values), np.isnan(want.values), err_msg=name)
            assert (found.undefined, said) == (want.undefined, also_said)
        assert [n for n, _ in found.undefined] == (["net1"] if case in list(NARROW)[-3:] else [])
        whole = {k: v for k, v in x.items() if k not in dict(found.undefined)}
        rows = [k for k, n in enumerate(x) if n in whole]
        columns = rows if y is None else range(len(y))
        score = [[theirs(u, v) for v in (whole if y is None else y).values()] for u in whole.values()]
        np.testing.assert_allclose(np.asarray(found.values)[np.ix_(rows, columns)], score, rtol=0, atol=ACCURACY)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["padded widths", "two sets"])
def test_linear_cka_from_features_makes_no_map_of_many_images(case, monkeypatch):
    monkeypatch.setattr(feature_space, "MAP_BYTES", 0)  # as if the maps of these images were too large

    def made(measures):
        (px, rows), (py, columns) = (
            (None, None) if group is None else padding.buckets(inputs.networks(group), measures)
            for group in NARROW[case]
        )
        columns = rows if columns is None else columns
        closed = jax.make_jaxpr(lambda a, b: program.affinity_call(measures, a, b, rows, columns))(px, py)
        return {s for s in shapes_in(closed.jaxpr) if s.count(N) > 1 or N * (N - 1) // 2 in s or N * N in s}

    assert made((js.CKA_LINEAR, js.CKA_LINEAR_BIASED)) == set()
    assert made((js.CKA_LINEAR, js.RSA)) != set()


def test_maps_are_cheaper_for_wide_networks_and_needed_for_other_measures():
    parts = {d: padding.buckets(inputs.networks(signals([d] * 3)), [js.CKA_LINEAR])[0] for d in (4, 100)}
    assert feature_space.is_cheaper(js.CKA_LINEAR, parts[4], None)
    assert not feature_space.is_cheaper(js.CKA_LINEAR, parts[100], None)
    assert not any(feature_space.is_cheaper(m, parts[4], None) for m in (js.RSA, js.CKA_RBF, js.DISTANCE_CORRELATION))


FIFTY = """
import jax, jax.monitoring, numpy as np, jaxsim as js
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, _, **what: compiled.append(what.get("fun_name")) if "backend_compile" in event else None
)
rng = np.random.default_rng(0)
features = {str(k): rng.normal(size=(12, 8 + 3 * k)).astype(np.float32) for k in range(50)}
found = js.affinity(features, [js.RSA, js.CKA_LINEAR, js.DDS_COSINE])
assert all(np.isfinite(a.values).all() and a.values.shape == (50, 50) for a in np.ravel(found))
print(len(compiled), *compiled)
"""


@pytest.mark.slow
def test_fifty_networks_of_fifty_widths_compile_at_most_four_programs():
    done = subprocess.run([sys.executable, "-c", FIFTY], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    count, *names = done.stdout.split(maxsplit=1)
    assert int(count) <= 4, names


def own_distance(x, where=None):
    """A distance that divides by the number of real columns."""
    width = x.shape[1] if where is None else jnp.sum(where)
    return jnp.sum(jnp.abs(x[:, None] - x[None]), 2) / width


own_distance.accepts_padding = True


def test_padding_reaches_a_distance_without_a_product():
    measure = js.Measure(js.transforms.identity, own_distance, js.compare.pearson)
    features = {str(k): np.random.default_rng(k).normal(size=(12, k)).astype(np.float32) for k in (2, 5, 9, 20)}
    want = o.compare_maps([np.abs(x[:, None] - x[None]).mean(2) for x in features.values()], o.pearson)
    np.testing.assert_allclose(js.affinity(features, measure).values, want, rtol=0, atol=2e-6)


def stretched(n, factor, scale=np.float32):
    """Three networks of three features, one image of the first far from the others."""
    x = np.random.default_rng(0).normal(size=(3, n, 3))
    x[1] = x[0] + 0.5 * x[1]
    x[0, 0] *= factor
    return x.astype(scale)


cka_inside = jax.jit(lambda x: js.affinity(x, js.CKA_LINEAR).values)


@pytest.mark.slow
@pytest.mark.parametrize("factor", slow_but([5000], [1, 1000, 5000]))
def test_one_long_image_costs_no_digits_in_feature_space(factor):
    x = stretched(200, factor)
    assert feature_space.is_cheaper(js.CKA_LINEAR, padding.buckets(inputs.networks(x), [js.CKA_LINEAR])[0], None)
    want = o.affinity(x.astype(float), o.CKA_LINEAR)
    both = js.affinity(x, [js.CKA_LINEAR, js.CKA_LINEAR_BIASED])
    np.testing.assert_allclose(both[0].values, want, rtol=0, atol=2e-6)
    np.testing.assert_allclose(cka_inside(x), want, rtol=0, atol=2e-6)
    biased = o.affinity(x.astype(float), o.CKA_LINEAR_BIASED)
    np.testing.assert_allclose(both[1].values, biased, rtol=0, atol=2e-6)


@pytest.mark.slow
def test_digits_that_are_lost_for_good_are_warned_of(monkeypatch):
    monkeypatch.setattr(feature_space, "MAP_BYTES", 0)
    with pytest.warns(RuntimeWarning, match="'network_0' has images with much larger features") as said:
        js.affinity(stretched(201, 5000), "cka")
    assert said[0].filename == __file__


# Many networks
def padded_cells(shapes, groups):
    return sum(len(g) * math.prod(max(shapes[k][axis] for k in g) for axis in (0, 1)) for g in groups)


@pytest.mark.slow
def test_networks_of_many_shapes_are_cut_where_they_take_the_least_memory():
    rng = np.random.default_rng(0)
    shapes = [(int(s), int(c)) for s, c in rng.integers(1, 6, (14, 2))]
    groups = padding._split_by_size(shapes)
    assert sorted(itertools.chain(*groups)) == list(range(14))
    order = sorted(range(14), key=lambda k: math.prod(shapes[k]))
    cuts = itertools.combinations_with_replacement(range(15), 2)
    every = [[g for g in (order[:a], order[a:b], order[b:]) if g] for a, b in cuts]
    assert padded_cells(shapes, groups) == min(padded_cells(shapes, groups) for groups in every)


@pytest.mark.slow
def test_thousands_of_shapes_are_cut_and_checked_at_once(monkeypatch):
    """The cuts took the cube of the number of networks; every shape was traced, for milliseconds each."""
    traced = []
    monkeypatch.setattr(checks, "_check_parts", lambda measure, shape, name: traced.append(shape))
    nets = inputs.networks({f"net{k}": np.zeros((4, 1 + k), np.float32) for k in range(3000)})
    start = time.process_time()
    checks.check([js.RSA, js.CKA_LINEAR], nets)
    assert len(padding._split_by_size([(1, 1 + k) for k in range(3000)])) == 3
    assert time.process_time() - start < 3
    assert len(traced) == 2 * checks.CHECKED
    traced.clear()
    checks.check([js.dds(js.transforms.group_norm, js.pairwise.linear)], nets.select(range(9)))
    assert len(traced) == 9
