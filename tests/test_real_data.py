"""Ten really trained networks on 92 real images: what is known about them comes out under every measure."""

import json

import jax
import numpy as np
import oracles as o
import pytest
from machine import DATA

import jaxsim as js
from jaxsim import io
from jaxsim.engine import padding

FOLDER = DATA / "networks92"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no networks92 in {DATA}; set JAXSIM_DATA")
MEASURES = ["rsa", "cka-linear", pytest.param("dds-laplacian", marks=pytest.mark.slow)]  # no product, so it runs long


@pytest.fixture(scope="module")
def features():
    return io.read_features(FOLDER / "features.npz")


@pytest.fixture(scope="module")
def groups():
    return json.loads((FOLDER / "groups.json").read_text())


@pytest.fixture(scope="module")
def most(features):
    arrays, ids = features
    names = ["rsa", "cka-linear", "rsa-uncentered"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(padding, "BUCKETS", 1)  # every bucket is more to compile
        return dict(zip(names, js.affinity(arrays, names, ids=ids), strict=True))


@pytest.fixture(scope="module")
def laplacian(features):
    arrays, ids = features
    return js.affinity(arrays, "dds-laplacian", ids=ids)


@pytest.fixture
def affinity(name, most, request):
    return most[name] if name in most else request.getfixturevalue(name.removeprefix("dds-"))


@pytest.fixture(scope="module")
def uncentered(most):
    return most["rsa-uncentered"]


def similarity(affinity, first, second):
    values, names = np.asarray(affinity.values), affinity.names
    return [float(values[names.index(a), names.index(b)]) for a in first for b in second if a != b]


def test_the_networks_and_their_images(features, groups):
    arrays, ids = features
    assert sorted(arrays) == sorted(n for members in groups.values() for n in members)
    assert {a.shape[0] for a in arrays.values()} == {92}
    assert len({a.shape[1:] for a in arrays.values()}) > 3
    assert ids is None or len(ids if not isinstance(ids, dict) else next(iter(ids.values()))) == 92


@pytest.mark.parametrize("name", MEASURES)
def test_scores_are_defined_and_sane(affinity):
    values = np.asarray(affinity.values)
    assert affinity.undefined == ()
    np.testing.assert_allclose(np.diagonal(values), 1, atol=2e-6)
    np.testing.assert_array_equal(values, values.T)
    assert values.min() > -0.2
    assert values.max() < 1 + 2e-6


@pytest.mark.parametrize("name", MEASURES)
def test_the_segmentation_networks_are_each_others_nearest(affinity, groups):
    first, second = groups["segmentation"]
    assert affinity.ranking(first)[0][0] == second
    assert affinity.ranking(second)[0][0] == first


@pytest.mark.parametrize("name", MEASURES)
def test_imagenet_networks_group(affinity, groups):
    """They are more like each other than like any network of another group, in the mean and for each network."""
    own = groups["imagenet"]
    others = [n for group, members in groups.items() if group != "imagenet" for n in members]
    within, between = similarity(affinity, own, own), similarity(affinity, own, others)
    assert np.mean(within) > np.mean(between) + 0.1
    for network in own:
        assert affinity.ranking(network)[0][0] in own


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        (["imagenet_mnv2"], ["imagenet_mnv2_tf2"], 0.7, 0.9),
        (["pascal_seg_mnv2"], ["pascal_seg_mnv2_dm05"], 0.75, 0.95),
        (["inat_bird_mnv2"], ["inat_insect_mnv2"], 0.5, 0.75),
        (["imagenet_mnv2"], ["pascal_seg_mnv2"], 0.35, 0.55),
    ],
)
def test_known_values_without_centering(first, second, low, high, uncentered):
    (found,) = similarity(uncentered, first, second)
    assert low < found < high


def test_pose_is_like_nothing_else(uncentered, most, groups):
    others = [n for n in uncentered.names if n not in groups["pose"]]
    assert max(similarity(uncentered, groups["pose"], others)) < 0.4
    for a in most.values():
        assert all(a.ranking(n)[0][0] not in groups["pose"] for n in others)


@pytest.mark.parametrize("name", MEASURES)
def test_real_features_against_the_oracle(name, features, affinity):
    arrays, _ = features
    few = ["imagenet_mnv1_025", "pascal_seg_mnv2_dm05", "pose_movenet_mnv2"]
    want = o.affinity([arrays[n] for n in few], getattr(o, name.upper().replace("-", "_")))
    rows = [affinity.names.index(n) for n in few]
    np.testing.assert_allclose(np.asarray(affinity.values)[np.ix_(rows, rows)], want, rtol=0, atol=2e-6)


def test_the_bootstrap_holds_the_segmentation_pair_together(features, groups):
    arrays, ids = features
    chosen = {n: arrays[n] for n in (*groups["segmentation"], *groups["species"], "imagenet_mnv2", "imagenet_mnv2_tf2")}
    found = js.resample(chosen, js.CKA_LINEAR, js.Bootstrap(), n_resamples=100, key=jax.random.key(0))
    first, second = (found.names.index(n) for n in groups["segmentation"])
    share, interval = jax.jit(lambda r: (r.first_share(), r.interval(0.95)))(found)
    assert np.asarray(share)[first, second] > 0.95
    low, high = np.asarray(interval)[:, first, second]
    assert low < np.asarray(found.estimate)[first, second] < high
    assert 0.005 < high - low < 0.3
