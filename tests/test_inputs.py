"""Names, shapes, labels of the images: what is taken as given, put in order on request, or refused."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles as o
import pytest
from marks import slow_but

import jaxsim as js
from jaxsim import inputs
from jaxsim.engine import tiles

N, D = 12, 5
RNG = np.random.default_rng(0)
X = {k: RNG.normal(size=(N, D)).astype(np.float32) for k in "abc"}
IDS = [f"image {k}" for k in range(N)]
TURNED = RNG.permutation(N)


def turned(array, ids=IDS):
    """The same images in another order."""
    return array[TURNED], [ids[k] for k in TURNED]


def without(array, *rows):
    keep = [k for k in range(N) if k not in rows]
    return array[keep], [IDS[k] for k in keep]


def held(**networks):
    """Features and ids of networks given as pairs."""
    return {k: x for k, (x, _) in networks.items()}, {k: ids for k, (_, ids) in networks.items()}


FULL = {k: (x, IDS) for k, x in X.items()}


def oracle(rows_a, rows_b, a="a", b="b"):
    return o.CKA_LINEAR(X[a][rows_a], X[b][rows_b])


# Names


@pytest.mark.parametrize(
    ("features", "names"),
    [
        (X, ("a", "b", "c")),
        (np.stack(list(X.values())), ("network_0", "network_1", "network_2")),
        (list(X.values()), ("network_0", "network_1", "network_2")),
        ({"z": X["a"], "a": X["b"]}, ("z", "a")),
        ({3: X["a"], 1: X["b"]}, ("3", "1")),
    ],
)
def test_names_and_their_order(features, names):
    found = inputs.networks(features)
    assert found.names == names
    assert found.images == N
    assert inputs.networks(found) is found


def test_arrays_are_not_copied_or_changed():
    before = {k: v.copy() for k, v in X.items()}
    assert all(a is b for a, b in zip(inputs.networks(X).arrays, X.values(), strict=True))
    js.affinity(X, js.CKA_LINEAR)
    assert all((X[k] == before[k]).all() for k in X)


# Image ids


def test_equal_ids_need_nothing_and_are_kept_as_text():
    features, ids = held(**FULL)
    numbered = js.maps(features, js.CKA_LINEAR, ids=range(N))
    assert numbered.ids == tuple(map(str, range(N)))
    assert js.maps(features, js.CKA_LINEAR, ids=ids).ids == tuple(IDS)
    assert js.maps(features, js.CKA_LINEAR).ids is None
    assert js.maps(features, js.CKA_LINEAR, ids=np.array(IDS)).ids == tuple(IDS)


@pytest.mark.parametrize(
    ("networks", "said"),
    [
        (FULL | {"b": turned(X["b"])}, ["'a'", "'b'", "another order", "align=True"]),
        (FULL | {"b": without(X["b"], 3)}, ["'a'", "'b'", "'image 3'", "align=True"]),
        (FULL | {"b": (X["b"], [*IDS[:-1], "stranger"])}, ["'a'", "'b'", "different image ids", "align=True"]),
    ],
    ids=["reordered", "missing", "other"],
)
def test_other_ids_are_refused_naming_both_networks(networks, said):
    features, ids = held(**networks)
    with pytest.raises(ValueError, match="image ids") as error:
        js.affinity(features, js.CKA_LINEAR, ids=ids)
    assert all(word in str(error.value) for word in said), str(error.value)


@pytest.mark.parametrize("verb", [js.affinity, js.maps, js.noise_ceiling, js.resample])
def test_without_ids_there_is_nothing_to_align(verb):
    with pytest.raises(ValueError, match="align=True matches images by their ids, and there are none"):
        verb(X, js.CKA_LINEAR, align=True)


def test_align_puts_rows_in_the_order_of_the_first_network():
    features, ids = held(**FULL | {"b": turned(X["b"])})
    found = js.affinity(features, js.CKA_LINEAR, ids=ids, align=True)
    want = o.affinity(list(X.values()), o.CKA_LINEAR)
    np.testing.assert_allclose(found.values, want, rtol=0, atol=2e-6)
    blind = js.affinity(features, js.CKA_LINEAR)
    assert abs(float(blind.values[0, 1] - found.values[0, 1])) > 1e-3


def test_align_keeps_the_images_that_all_share_and_says_how_many():
    features, ids = held(a=without(X["a"], 0, 1), b=turned(X["b"]), c=without(X["c"], 5))
    with pytest.warns(
        UserWarning, match="align=True leaves out 3 images of network 'b', and some of 2 other.* 9 are left"
    ):
        found = js.affinity(features, js.CKA_LINEAR, ids=ids, align=True)
    rows = [k for k in range(N) if k not in (0, 1, 5)]
    want = o.affinity([x[rows] for x in X.values()], o.CKA_LINEAR)
    np.testing.assert_allclose(found.values, want, rtol=0, atol=2e-6)
    assert (np.asarray(found.images) == N - 3).all()


def test_pairwise_uses_what_each_pair_shares_and_counts_it():
    features, ids = held(a=without(X["a"], 0), b=turned(X["b"]), c=without(X["c"], 5))
    found = js.affinity(features, js.CKA_LINEAR, ids=ids, align=True, missing="pairwise")
    lost = {"a": {0}, "b": set(), "c": {5}}
    for s, first in enumerate(lost):
        for t, second in enumerate(lost):
            rows = [k for k in range(N) if k not in lost[first] | lost[second]]
            want = oracle(rows, rows, first, second)
            np.testing.assert_allclose(found.values[s, t], want, rtol=0, atol=2e-6, err_msg=first + second)
            assert found.images[s, t] == len(rows)
    assert "images that both have" in found.provenance.notes[0]


@pytest.mark.parametrize("measure", ["dds-cosine", "center:correlation:pearson", "cka"])
def test_pairs_of_networks_follow_their_plan(measure, monkeypatch):
    """As products of features do, which take the place of maps from many images on."""
    rng = np.random.default_rng(0)
    features = {name: rng.normal(size=(160, 4)).astype(np.float32) for name in "abc"}
    ids = {name: [str(k) for k in range(160)] for name in features}
    want = js.affinity(features, measure)
    monkeypatch.setattr(tiles, "FEATURES_FROM", 160)
    found = js.affinity(features, measure, ids=ids, align=True, missing="pairwise")
    np.testing.assert_allclose(found.values, want.values, rtol=0, atol=2e-6)
    assert found.provenance.notes[1:] == js.affinity(features, measure).provenance.notes
    assert bool(found.provenance.notes[1:]) == (measure != "cka")


def test_pairwise_of_two_sets():
    features, ids = held(a=without(X["a"], 0, 1), b=(X["b"], IDS))
    found = js.affinity(
        features, js.CKA_LINEAR, against={"c": X["c"][2:]}, ids=ids, against_ids=IDS[2:], align=True, missing="pairwise"
    )
    np.testing.assert_array_equal(found.images, [[N - 2], [N - 2]])
    rows = list(range(2, N))
    want = [[oracle(rows, rows, s, "c")] for s in "ab"]
    np.testing.assert_allclose(found.values, want, rtol=0, atol=2e-6)


@pytest.mark.slow
def test_a_pair_that_shares_too_few_images_has_no_score_and_is_said():
    features, ids = held(a=(X["a"][:8], IDS[:8]), b=(X["b"][5:], IDS[5:]), c=(X["c"], IDS))
    with pytest.warns(RuntimeWarning, match="'a' and 'b'.*3 images"):
        found = js.affinity(features, js.CKA_LINEAR, ids=ids, align=True, missing="pairwise")
    assert found.images[0, 1] == 3
    assert np.isnan(found.values[0, 1])
    assert np.isfinite(found.values[0, 2])


@pytest.mark.slow
def test_pairwise_keeps_track_of_a_network_without_scores():
    spoilt = np.ones_like(X["a"])
    features, ids = held(a=(spoilt, IDS), b=without(X["b"], 2), c=(X["c"], IDS))
    with pytest.warns(js.results.UndefinedScores) as caught:
        found = js.affinity(features, js.CKA_LINEAR, ids=ids, align=True, missing="pairwise")
    assert [n for n, _ in found.undefined] == ["a"]
    assert {"network 'a' has no" in str(w.message) for w in caught} == {True}


@pytest.mark.parametrize("side", ["xs", "ys"])
def test_two_sets_are_both_labeled_or_neither(side):
    xs, ys = inputs.networks({"a": X["a"]}, IDS), inputs.networks({"b": X["b"]})
    pair = (xs, ys) if side == "xs" else (ys, xs)
    with pytest.raises(ValueError, match="give ids for both or neither"):
        js.affinity(pair[0], js.CKA_LINEAR, against=pair[1])
    with pytest.raises(ValueError, match="give ids for both or neither"):
        js.affinity(pair[0], js.CKA_LINEAR, against=pair[1], align=True, missing="pairwise")


def test_two_sets_in_another_order_align():
    y, ids = turned(X["b"])
    with pytest.raises(ValueError, match="another order"):
        js.affinity({"a": X["a"]}, js.CKA_LINEAR, against={"b": y}, ids=IDS, against_ids=ids)
    found = js.affinity({"a": X["a"]}, js.CKA_LINEAR, against={"b": y}, ids=IDS, against_ids=ids, align=True)
    np.testing.assert_allclose(found.values[0, 0], oracle(slice(None), slice(None)), rtol=0, atol=2e-6)


def test_maps_are_aligned_along_both_axes():
    made = {k: o.linear(x) for k, x in X.items()}
    made["b"] = made["b"][TURNED][:, TURNED]
    ids = dict.fromkeys(X, IDS) | {"b": [IDS[k] for k in TURNED]}
    found = js.compare_maps(made, js.compare.u_centered_cosine, ids=ids, align=True)
    want = o.affinity(list(X.values()), o.CKA_LINEAR)
    np.testing.assert_allclose(found.values, want, rtol=0, atol=2e-6)


def test_condensed_maps_are_read_in_the_order_of_scipy():
    from scipy.spatial import distance

    full = o.euclidean(X["a"])
    found = inputs.square_maps({"a": distance.squareform(full, checks=False)})
    np.testing.assert_array_equal(found.arrays[0], full)
    assert found.maps


# Maps

MAPS = {k: o.euclidean(x) for k, x in X.items()}


@pytest.mark.parametrize("n", [10, 12, 28])  # 10 and 28 are k (k - 1) / 2
@pytest.mark.parametrize("given", [np.asarray, np.ndarray.tolist])
def test_one_square_map_is_one_map(n, given):
    m = o.euclidean(RNG.normal(size=(n, 3)))
    found = inputs.square_maps(given(m))
    assert (found.names, found.shapes, found.condensed) == (("map",), ((n, n),), False)
    with pytest.raises(ValueError, match="map 'map' is not symmetric"):
        inputs.square_maps(np.triu(m))


def test_one_condensed_map_and_several():
    from scipy.spatial import distance

    rows = np.stack([distance.squareform(m, checks=False) for m in MAPS.values()])
    assert inputs.square_maps(rows[0]).names == ("map",)
    for given in (rows, list(rows), rows.tolist()):
        np.testing.assert_allclose(np.stack(inputs.square_maps(given).arrays), np.stack(list(MAPS.values())))
    three = [[0.1, 0.5, 0.3], [1.0, 3.0, 2.0], [1.0, 2.0, 0.0]]  # three condensed maps of three images
    assert len(inputs.square_maps(three).names) == 3


VERBS = {
    "affinity": lambda maps: js.affinity(maps, js.RSA),
    "against": lambda maps: js.affinity(X, js.RSA, against=maps),
    "maps": lambda maps: js.maps(maps, js.RSA),
    "resample": lambda maps: js.resample(maps, js.RSA, js.Bootstrap(), n_resamples=2),
    "noise_ceiling": lambda maps: js.noise_ceiling(maps, js.RSA),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", ["stack", "mapping", "JAX", "cosines"])
def test_maps_in_place_of_features_are_recognized(verb, kind):
    stack = np.stack(list(MAPS.values())).astype(np.float32)
    cosines = np.stack([np.corrcoef(x) for x in X.values()])
    given = {"stack": stack, "mapping": MAPS, "JAX": jnp.asarray(stack), "cosines": cosines}[kind]
    with pytest.raises(ValueError, match=r"of shape \(12, 12\) is a map.*js.compare_maps"):
        VERBS[verb](given)


@pytest.mark.parametrize("square", [np.eye(N), np.ones((N, N)), np.zeros((N, N)), RNG.normal(size=(N, N))])
def test_square_features_are_features(square):
    inputs.networks({"a": square})
    inputs.networks({"a": MAPS["a"][:, :, None]})


def test_condensed_maps_in_place_of_features_are_told_where_to_go():
    with pytest.raises(ValueError, match=r"shape \(66,\).*js.compare_maps"):
        js.affinity({"a": np.ones(66), "b": X["b"]}, js.RSA)


@pytest.mark.slow
def test_a_comparator_means_maps():
    stack, whole = np.stack(list(MAPS.values())), js.maps(X, js.DISTANCE_CORRELATION)
    want = js.resample(whole, "pearson", js.Bootstrap(), n_resamples=3)
    ceiling = js.noise_ceiling(whole, js.compare.pearson)
    for given in (stack, MAPS, js.Maps.from_dict(MAPS)):
        found = js.resample(given, "pearson", js.Bootstrap(), n_resamples=3)
        np.testing.assert_allclose(found.values, want.values, atol=2e-6)
        np.testing.assert_allclose(js.noise_ceiling(given, "pearson"), ceiling, atol=2e-6)
    with pytest.raises(TypeError, match=r"not 'pearson'. To compare precomputed maps, use js.compare_maps"):
        js.affinity(X, "pearson")
    with pytest.raises(ValueError, match=r"\(12, 5\); it must be \(n, n\).*js.RSA"):
        js.resample(X, "pearson", js.Bootstrap())


# Channels


def test_channels_first():
    x, stack = (RNG.normal(size=s).astype(np.float32) for s in ((N, 3, 4, 4), (2, N, 3, 4, 4)))
    for channels in ("first", {"a": "first"}):
        nets = inputs.networks({"a": x, "b": X["b"]}, channels=channels)
        np.testing.assert_array_equal(nets.arrays[0], np.moveaxis(x, 1, -1))
        assert nets.arrays[1] is X["b"]
    np.testing.assert_array_equal(inputs.networks(stack, channels="first").arrays, np.moveaxis(stack, 2, -1))
    np.testing.assert_array_equal(inputs.networks(stack, channels={"network_1": "first"}).arrays[0], stack[0])
    with pytest.raises(ValueError, match="channels must be one of first, last, not 'middle'"):
        inputs.networks(X, channels="middle")
    with pytest.raises(ValueError, match="channels names 'z', which is not a network; the networks are a, b, c"):
        inputs.networks(X, channels={"z": "first"})


def test_channels_by_name_speak_of_both_sets():
    x, y = (np.moveaxis(RNG.normal(size=(N, 4, 4, c)).astype(np.float32), -1, 1) for c in (3, 2))
    rows, columns = inputs.both({"a": x}, {"b": y}, None, None, {"a": "first", "b": "last"})
    assert rows.shapes + columns.shapes == ((N, 4, 4, 3), (N, 2, 4, 4))
    with pytest.raises(ValueError, match="channels names 'z', which is not a network; the networks are a, b"):
        inputs.both({"a": x}, {"b": y}, None, None, {"z": "last"})
    for verb in (js.resample, js.noise_ceiling):
        with pytest.raises(ValueError, match="channels applies to features, and these are maps; leave channels out"):
            verb(js.maps(X, js.RSA), "pearson", channels="first")


def test_labels_come_in_anything_that_has_an_order():
    for ids in (IDS, tuple(IDS), np.array(IDS), dict.fromkeys(IDS).keys(), iter(IDS)):
        assert inputs.networks(X, ids).ids == (tuple(IDS),) * 3


def test_names_that_are_no_texts_name_ids_and_channels_too():
    numbered = {k: X["abc"[k]][:, :, None] for k in range(3)}
    nets = inputs.networks(numbered, dict.fromkeys(numbered, IDS), channels={1: "first"})
    assert (nets.names, nets.ids) == (("0", "1", "2"), (tuple(IDS),) * 3)
    assert nets.shapes == ((N, D, 1), (N, 1, D), (N, D, 1))
    maps = {k: np.abs(np.subtract.outer(x[:, 0], x[:, 0])) for k, x in enumerate(X.values())}
    maps[9] = np.stack([maps[0]] * 2)
    assert inputs.square_maps(maps, dict.fromkeys(maps, IDS)).ids == (tuple(IDS),) * 5


@pytest.mark.parametrize(
    "verb", slow_but([js.affinity, js.maps], [js.affinity, js.resample, js.maps, js.noise_ceiling])
)
def test_shapes_with_channels_first_are_doubted_where_they_matter(verb):
    x = {k: RNG.normal(size=(N, 3, 2, 2)).astype(np.float32) for k in "ab"}
    pooled = js.Measure(js.transforms.mean_pool, js.pairwise.linear, js.compare.u_centered_cosine)
    with pytest.warns(UserWarning, match=r"'a' of shape \(12, 3, 2, 2\) looks as if its channels come first"):
        verb(x, pooled)
    turned = {k: np.moveaxis(v, 1, -1).copy() for k, v in x.items()}
    first, last = verb(x, pooled, channels="first"), verb(turned, pooled)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(last), strict=True):
        np.testing.assert_array_equal(a, b)
    verb(x, pooled, channels="last")
    if verb == js.maps:
        verb(x, js.CKA_LINEAR)


@pytest.mark.parametrize("shape", [(12, 3, 4, 4), (8, 14, 14, 2), (12, 5, 3)])
def test_one_array_that_may_be_one_network_is_doubted(shape):
    with pytest.warns(UserWarning, match=rf"read as {shape[0]} networks of {shape[1]} images; give a single network"):
        inputs.networks(np.ones(shape))


# Tensors and views


def as_torch(change):
    def make(x):
        return change(pytest.importorskip("torch").from_numpy(x).bfloat16())

    return make


TENSORS = {
    "view": as_torch(lambda t: t.repeat(1, 2)[:, : t.shape[1]]),
    "transposed": as_torch(lambda t: t.T.contiguous().T),
    "gradient": as_torch(lambda t: t.T.contiguous().T.requires_grad_()),
    "rows": as_torch(lambda t: list(t)),
    "rows with gradient": as_torch(lambda t: t.requires_grad_().unbind()),
    "rows of JAX": lambda x: list(jnp.asarray(x, jnp.bfloat16)),
    "DataFrame": lambda x: pytest.importorskip("pandas").DataFrame(np.asarray(x, jnp.bfloat16).astype(float)),
    "long double": lambda x: np.asarray(x, jnp.bfloat16).astype(np.longdouble),
    "big endian": lambda x: np.asarray(x, jnp.bfloat16).astype(">f4"),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_and_views_are_taken(kind):
    want = np.asarray(jnp.asarray(X["a"], jnp.bfloat16), np.float32)
    (found,) = inputs.networks({"a": TENSORS[kind](X["a"])}).arrays
    np.testing.assert_array_equal(np.asarray(found, np.float32), want)
    js.affinity({"a": TENSORS[kind](X["a"]), "b": X["b"]}, js.CKA_LINEAR)
    jax.eval_shape(lambda y: js.CKA_LINEAR(TENSORS[kind](X["a"]), y), X["b"])


WHOLE = np.round(1000 * X["a"]).astype(np.int64)
WIDE = {
    "float64": lambda: np.float64(X["a"]) + 1e9,
    "big endian float64": lambda: (np.float64(X["a"]) + 1e9).astype(">f8"),
    "times in nanoseconds": lambda: WHOLE + 1_700_000_000_000_000_000,
    "uint64": lambda: (WHOLE + 2**40).astype(np.uint64) + np.uint64(2**63),
    "int32 of JAX": lambda: jnp.asarray((WHOLE + 2**30).astype(np.int32)),
    "int64 of torch": lambda: pytest.importorskip("torch").from_numpy(WHOLE + 10**12),
    "float64 of torch": lambda: pytest.importorskip("torch").from_numpy(np.float64(X["a"]) + 1e9),
    "rows": lambda: list(WHOLE + 10**12),
    "lists": lambda: (WHOLE + 10**12).tolist(),
}


@pytest.mark.parametrize("kind", WIDE)
def test_wide_types_far_from_zero_keep_their_digits(kind):
    x = WIDE[kind]()
    near = X["a"] if "float" in kind else WHOLE
    found = js.affinity({"a": x, "b": X["b"], "c": X["c"]}, js.CKA_LINEAR)
    assert abs(found.values[0, 1] - o.CKA_LINEAR(np.float64(near), X["b"])) < 2e-6
    assert found.values.dtype == np.float32


def test_a_score_does_not_depend_on_what_else_is_asked_for():
    far = X | {"a": np.float64(X["a"]) + 1e5}
    plain, kept = js.CKA_LINEAR, js.Measure(js.transforms.identity, js.pairwise.linear, js.compare.pearson)
    with pytest.warns(RuntimeWarning, match="network 'a' loses digits that its identity:linear:pearson scores") as said:
        together = js.affinity(far, [plain, kept])
    assert len(said) == 1
    np.testing.assert_array_equal(together[0].values, js.affinity(far, plain).values)
    assert abs(together[0].values[0, 1] - o.CKA_LINEAR(np.float64(X["a"]), X["b"])) < 2e-6


def test_rows_of_tensors_that_differ_are_said():
    with pytest.raises(ValueError, match=r"network 'a' is not an array: its rows have shapes \(5,\) and \(3,\)"):
        inputs.networks({"a": [jnp.ones(5), jnp.ones(3)]})
    with pytest.raises(TypeError, match="network 'a' has type dict"):
        inputs.networks({"a": {"layer": X["a"]}})


def test_data_frames_bring_their_labels():
    pandas = pytest.importorskip("pandas")
    frames = {k: pandas.DataFrame(x, IDS) for k, x in X.items()}
    assert js.maps(frames, js.CKA_LINEAR).ids == tuple(IDS)
    assert inputs.square_maps(pandas.DataFrame(MAPS["a"], IDS, IDS)).ids == (tuple(IDS),)
    frames["b"] = frames["b"].iloc[TURNED]
    with pytest.raises(ValueError, match="another order.*align=True"):
        js.affinity(frames, js.CKA_LINEAR)
    with pytest.raises(ValueError, match="network 'c' has none; give ids"):
        js.affinity(frames | {"c": X["c"]}, js.CKA_LINEAR)
    found = js.affinity(frames, js.CKA_LINEAR, align=True)
    np.testing.assert_allclose(found.values, o.affinity(list(X.values()), o.CKA_LINEAR), rtol=0, atol=2e-6)
    with pytest.raises(TypeError, match="network 'a' has the column 'kind' of type"):
        inputs.networks({"a": frames["a"].assign(kind="cat")})


def test_stacks_of_maps_with_the_maps_last():
    x = np.random.default_rng(0).random((3, 8, 2))
    stack = np.linalg.norm(x[:, :, None] - x[:, None], axis=-1)
    want = js.compare_maps(stack, "pearson")
    for given in (np.moveaxis(stack, 0, -1), {"r": np.moveaxis(stack, 0, -1)}, {"r": stack}):
        np.testing.assert_array_equal(js.compare_maps(given, "pearson").values, want.values)
    eight = np.random.default_rng(1).random((8, 8, 2))
    cube = np.linalg.norm(eight[:, :, None] - eight[:, None], axis=-1)
    turned = js.compare_maps(np.moveaxis(cube, 0, -1), "pearson").values
    np.testing.assert_array_equal(turned, js.compare_maps(cube, "pearson").values)


def test_images_left_out_are_counted_in_english():
    x = np.random.default_rng(0).random((3, 13, 5))
    ids = {"a": range(13), "b": range(12), "c": range(13)}
    with pytest.warns(UserWarning, match="leaves out 1 image of network 'a', and some of 1 other network, because"):
        js.affinity({"a": x[0], "b": x[1][:12], "c": x[2]}, js.CKA_LINEAR, ids=ids, align=True)
