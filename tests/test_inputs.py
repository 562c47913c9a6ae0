"""Names, shapes, labels of the images: what is taken as given, put in order on request, or refused."""

import numpy as np
import oracles as o
import pytest

import jaxsim as js
from jaxsim import inputs

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
    js.affinity(X, js.DDS_COSINE)
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


def test_align_puts_rows_in_the_order_of_the_first_network():
    features, ids = held(**FULL | {"b": turned(X["b"])})
    found = js.affinity(features, js.CKA_LINEAR, ids=ids, align=True)
    want = o.affinity(list(X.values()), o.CKA_LINEAR)
    np.testing.assert_allclose(found.values, want, rtol=0, atol=2e-6)
    blind = js.affinity(features, js.CKA_LINEAR)
    assert abs(float(blind.values[0, 1] - found.values[0, 1])) > 1e-3


def test_align_keeps_the_images_that_all_share_and_says_how_many():
    features, ids = held(a=without(X["a"], 0, 1), b=turned(X["b"]), c=without(X["c"], 5))
    found = js.affinity(features, js.CKA_LINEAR, ids=ids, align=True)
    rows = [k for k in range(N) if k not in (0, 1, 5)]
    want = o.affinity([x[rows] for x in X.values()], o.CKA_LINEAR)
    np.testing.assert_allclose(found.values, want, rtol=0, atol=2e-6)
    assert (np.asarray(found.images) == N - 3).all()


def test_pairwise_uses_what_each_pair_shares_and_counts_it():
    features, ids = held(a=without(X["a"], 0, 1), b=turned(X["b"]), c=without(X["c"], 5))
    found = js.affinity(features, js.CKA_LINEAR, ids=ids, align=True, missing="pairwise")
    lost = {"a": {0, 1}, "b": set(), "c": {5}}
    for s, first in enumerate(lost):
        for t, second in enumerate(lost):
            rows = [k for k in range(N) if k not in lost[first] | lost[second]]
            want = oracle(rows, rows, first, second)
            np.testing.assert_allclose(found.values[s, t], want, rtol=0, atol=2e-6, err_msg=first + second)
            assert found.images[s, t] == len(rows)
    assert "images that both have" in found.provenance.notes[0]


def test_pairwise_of_two_sets():
    features, ids = held(a=without(X["a"], 0, 1), b=(X["b"], IDS))
    found = js.affinity(
        features, js.CKA_LINEAR, against={"c": X["c"][2:]}, ids=ids, against_ids=IDS[2:], align=True, missing="pairwise"
    )
    np.testing.assert_array_equal(found.images, [[N - 2], [N - 2]])
    rows = list(range(2, N))
    want = [[oracle(rows, rows, s, "c")] for s in "ab"]
    np.testing.assert_allclose(found.values, want, rtol=0, atol=2e-6)


def test_a_pair_that_shares_too_few_images_has_no_score_and_is_said():
    features, ids = held(a=(X["a"][:8], IDS[:8]), b=(X["b"][5:], IDS[5:]), c=(X["c"], IDS))
    with pytest.warns(RuntimeWarning, match="'a' and 'b'.*3 images"):
        found = js.affinity(features, js.CKA_LINEAR, ids=ids, align=True, missing="pairwise")
    assert found.images[0, 1] == 3
    assert np.isnan(found.values[0, 1])
    assert np.isfinite(found.values[0, 2])


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
