"""Crossnobis distances of repeated measurements: float64 oracle, no bias, bad input."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import oracles as o
import pytest

import jaxsim as js
from jaxsim.measurements import noise_precision

RUNS, N, CHANNELS = 3, 8, 6


def measured(seed=0, runs=RUNS, channels=CHANNELS):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N, channels)) + rng.normal(size=(runs, N, channels)) + 1000


def precision(channels=CHANNELS):
    root = np.random.default_rng(1).normal(size=(channels, channels))
    return np.matmul(root, root.T) + np.eye(channels)


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("runs", [2, 3, 5])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-6), (np.float64, 1e-12)])
def test_oracle(noise, runs, dtype, tolerance):
    """Digits survive a mean far from zero, which the host takes off in float64."""
    x, given = measured(runs=runs), precision() if noise else None
    with jax.enable_x64(dtype == np.float64):
        found = js.crossnobis(x if dtype == np.float64 else x.astype(dtype), precision=given)
    want = o.crossnobis(x.astype(dtype).astype(float), given)
    assert found.values.dtype == dtype
    np.testing.assert_allclose(found.values[0], want, rtol=0, atol=tolerance * np.abs(want).max())
    np.testing.assert_array_equal(found.values[0], np.transpose(found.values[0]))


def test_noise_alone_has_distances_of_zero_in_the_mean():
    x = np.random.default_rng(2).normal(size=(400, 4, N, 20))
    found = np.asarray(js.crossnobis({str(k): one for k, one in enumerate(x)}).values)
    entries = found[(slice(None), *np.triu_indices(N, 1))]
    error = entries.mean(1).std(ddof=1) / np.sqrt(len(x))
    assert abs(entries.mean()) < 4 * error
    assert 0.4 < (entries < 0).mean() < 0.65


def test_subjects_of_other_channels_and_noise_of_each():
    given = {"a": measured(), "b": [*measured(3, 2, 4)]}
    residuals = {
        "a": np.random.default_rng(4).normal(size=(30, CHANNELS)),
        "b": np.random.default_rng(5).normal(size=(2, 9, 4)),
    }
    found = js.crossnobis(given, residuals=residuals, ids=range(N))
    assert (found.names, found.ids) == (("a", "b"), tuple(map(str, range(N))))
    assert "noise of a: covariances shrunk by" in found.provenance.notes[0]
    for k, name in enumerate(given):
        want = o.crossnobis(np.asarray(given[name]), noise_precision(residuals[name])[0])
        np.testing.assert_allclose(found.values[k], want, rtol=0, atol=3e-6 * np.abs(want).max())


def test_maps_go_on_to_comparisons_and_into_files(tmp_path):
    found = js.crossnobis({"a": measured(0), "b": measured(1), "c": measured(2)})
    js.Maps.from_array(found.values[0])
    assert np.isfinite(js.compare_maps(found, "whitened-cosine").values).all()
    found.save(tmp_path / "maps.npz")
    np.testing.assert_array_equal(js.load(tmp_path / "maps.npz").values, found.values)


def test_inside_jit():
    x = (measured() - 1000).astype(np.float32)
    got = jax.jit(lambda x: js.crossnobis(x).values)(x)
    np.testing.assert_allclose(got, js.crossnobis(x).values, rtol=0, atol=1e-5)


WITH_NAN = measured()
WITH_NAN[1, 2:4, 0] = np.nan
FLAT = np.random.default_rng(0).normal(size=(9, CHANNELS)) * (np.arange(CHANNELS) != 2)
BAD = {
    "one run": ({"s": measured()[:1]}, {}, "subject 's' has 1 run; distances across runs need at least two"),
    "no runs": (measured()[0], {}, "subject 'map' has measurements of shape (8, 6); they must be (runs, n, channels)"),
    "runs of other images": ([measured()[0], measured()[0, :5]], {}, "'map' has runs of shapes (8, 6) and (5, 6)"),
    "one image": (measured()[:, :1], {}, "subject 'map' has one image"),
    "NaN": ({"s": WITH_NAN}, {}, "subject 's' has NaN or infinity in 2 of 8 images of run 1"),
    "nothing": ({}, {}, "there are no subjects"),
    "subjects of other images": ({"a": measured(), "b": measured()[:, 1:]}, {}, "'a' and 'b' have 8 and 7 images"),
    "both noises": (measured(), {"precision": 1, "residuals": 1}, "give one"),
    "noise of others": ({"a": measured()}, {"residuals": {"b": FLAT}}, "subject 'a' has no residuals"),
    "noise of too many": (
        {"a": measured()},
        {"precision": {"a": np.eye(6), "b": np.eye(6)}},
        "precision of b: there are no measurements of them",
    ),
    "noise twice": ({"1": measured()}, {"precision": {1: np.eye(6), "1": np.eye(6)}}, "for two subjects named '1'"),
    "noise of other channels": (
        measured(),
        {"precision": np.eye(5)},
        "has 6 channels, and its precision is of shape (5, 5)",
    ),
    "not symmetric": (measured(), {"precision": np.triu(np.ones((6, 6)))}, "is not symmetric"),
    "not definite": (measured(), {"precision": -np.eye(6)}, "is not positive definite"),
    "residuals without variance": (measured(), {"residuals": FLAT}, "do not vary in 1 channel; the first is 2"),
    "few residuals": (measured(), {"residuals": FLAT[:1]}, "residuals of subject 'map' of shape (1, 6) are neither"),
    "residuals of NaN": (measured(), {"residuals": WITH_NAN}, "residuals of subject 'map' hold NaN or infinity"),
    "infinite noise": (measured(), {"precision": np.full((6, 6), np.inf)}, "is not symmetric, or not finite"),
    "two residuals": (measured(), {"residuals": measured()[0, :2]}, "are too few, or too alike, for 6 channels"),
    "one name twice": ({1: measured(), "1": measured()}, {}, "two subjects are named '1'"),
    "squares beyond float32": (1e25 * measured(), {}, "subject 'map' has distances beyond float32"),
    "ids": (measured(), {"ids": ["a"]}, "ids of shape (1,) must hold one label for each of the 8 images"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_a_sentence(case):
    given, options, message = BAD[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        js.crossnobis(given, **options)


def test_texts_are_no_measurements():
    with pytest.raises(TypeError, match="subject 'map' has elements of type"):
        js.crossnobis(np.full((2, 3, 4), "a"))


def test_noise_stays_outside_jit():
    with pytest.raises(TypeError, match="on the host"):
        jax.jit(lambda p: js.crossnobis(measured(), precision=p).values)(jnp.eye(CHANNELS))


def test_noise_goes_to_its_subject_by_name_as_text():
    a, b = measured(), 2 * measured()
    found = js.crossnobis({1: a, 2: b}, precision={2: 4 * np.eye(CHANNELS), 1: np.eye(CHANNELS)})
    np.testing.assert_allclose(found.values[1], 16 * np.asarray(found.values[0]), rtol=1e-5, atol=1e-5)
