"""Casts of wide types: what is shifted or scaled first, what is left alone, and what is said of lost digits."""

import numpy as np
import pytest
from marks import slow_but

import jaxsim as js
from jaxsim import casts, compare, measures, pairwise, transforms
from jaxsim.casts import NO_SHIFT, NUMBER, ROW, Freedom

RNG = np.random.default_rng(0)
B = RNG.normal(size=(40, 6))
WHOLE = RNG.integers(0, 1000, (40, 6))
FAR = {
    "float64 at 1e9": (B + 1e9, B),
    "one column at 1e7": (B + [0, 0, 1e7, 0, 0, 0], B),
    "nanoseconds": (WHOLE + 1_700_000_000_000_000_000, WHOLE),
    "far below zero": (WHOLE - 2**62, WHOLE),
    "uint64": (WHOLE.astype(np.uint64) + np.uint64(2**63), WHOLE),
    "int32": ((WHOLE + 2**30).astype(np.int32), WHOLE),
    "uint32": (WHOLE.astype(np.uint32) + np.uint32(2**31), WHOLE),
    "long double": (B.astype(np.longdouble) + 1e9, B),
}
NEAR = {
    "near zero": B,
    "an offset of a few": B + 5,
    "ReLU": np.maximum(B, 0),
    "float32 stored as float64": np.float64(np.float32(B + 1e4)),
    "identity numbers that float32 holds": WHOLE + 10**6,
    "constant columns": np.where(np.arange(6) < 3, 0.1, B),
    "hashes": RNG.integers(-(2**63), 2**63 - 1, (40, 6)),
    "unsigned hashes": RNG.integers(0, 2**64 - 1, (40, 6), dtype=np.uint64),
    "bytes": WHOLE.astype(np.uint8),
    "infinite": np.where(B > 2, np.inf, B),
}


def between(x):
    """Differences between images, which a shift leaves alone."""
    x = np.float64(x)
    return x - x[:1]


@pytest.mark.parametrize("name", FAR)
def test_offsets_go_before_the_cast(name):
    x, near = FAR[name]
    assert casts.needs_care(x)
    moved, lost = casts.carried(x, Freedom(ROW))
    assert (moved.dtype, lost) == (np.float32, "")
    np.testing.assert_allclose(between(moved), between(near), rtol=0, atol=5e-7 * np.ptp(near))
    before = x.copy()
    kept, lost = casts.carried(x, Freedom(NO_SHIFT, weighs=True))
    np.testing.assert_array_equal(kept, x.astype(np.float32))
    np.testing.assert_array_equal(x, before)
    assert "different values near" in lost
    assert "become" in lost


@pytest.mark.parametrize("name", [name for name in FAR if "column" not in name])
def test_one_number_for_all_features_goes_too(name):
    x, near = FAR[name]
    moved, lost = casts.carried(x, Freedom(NUMBER, weighs=True))
    assert lost == ""
    assert np.ptp((np.float64(moved) - near).ravel()) < 1e-6 * np.ptp(near)


@pytest.mark.parametrize("name", NEAR)
def test_what_float32_holds_is_cast_as_it_is(name):
    assert not casts.needs_care(NEAR[name])
    for shift in (NO_SHIFT, NUMBER, ROW):
        cast, lost = casts.carried(NEAR[name], Freedom(shift, scale=True))
        np.testing.assert_array_equal(cast, NEAR[name].astype(np.float32))
        assert lost == ""


def test_float32_has_no_digits_to_lose():
    assert not casts.needs_care(np.float32(B + 1e9))
    assert not casts.needs_care("no array")


@pytest.mark.parametrize("power", [-900, -150, 200, 900])
def test_a_scale_that_float32_does_not_reach_is_taken_away_exactly(power):
    x = B * 2.0**power
    assert casts.needs_care(x)
    cast, lost = casts.carried(x, Freedom(NO_SHIFT, scale=True))
    ratio = cast / np.float32(B)
    assert lost == ""
    assert (ratio == ratio[0, 0]).all()
    assert np.log2(ratio[0, 0]) % 1 == 0
    assert "beyond the range of float32" in casts.carried(x, Freedom(NO_SHIFT))[1]


@pytest.mark.parametrize(
    "name",
    slow_but(
        ["cka-rbf", "dds-laplacian"],
        ["rsa", "rsa-uncentered", "cka-linear-biased", "cka-rbf", "dds-laplacian", "distance-correlation", "svcca"],
    ),
)
def test_float32_near_the_ends_of_its_range(name):
    """A device takes numbers below 1.2e-38 for zero, and sums of the largest overflow."""
    x = (np.round(B * 2**8) / 2**8).astype(np.float32)  # short enough for subnormal numbers
    scales = np.float32(2) ** np.float32([0, -128, -110, 101, 124])
    want, *found = (js.affinity({"a": x * scale, "b": B}, name).values for scale in scales)
    np.testing.assert_allclose(found, [want] * 4, atol=2e-6)


def test_float32_of_common_size_is_left_alone():
    x = np.float32(B)
    assert casts.careful([x, x * np.float32(1e20), np.zeros_like(x), x * np.float32(1e-35)]) == (3,)


@pytest.mark.slow
def test_features_each_too_small_for_float32_count_in_a_z_score():
    x = B * 10.0 ** np.array([-60, -45, 0, 30, 45, 200])
    want, found = (js.affinity({"a": a, "b": B[:, :3]}, "dds-cosine").values for a in (B, x))
    np.testing.assert_allclose(found, want, atol=2e-6)
    assert casts.needs_care(B * [1, 1, 1, 1, 1, 1e-60])


def test_a_narrow_feature_is_a_loss_only_to_what_scales_every_feature():
    x = B * [1, 1, 1, 1, 1, 1e-9] + [0, 0, 0, 0, 0, 1]
    assert casts.carried(x, Freedom(NO_SHIFT, weighs=True))[1] == ""
    assert casts.carried(x, Freedom(NO_SHIFT, weighs=False))[1] != ""


def test_one_feature_that_loses_its_digits_is_a_loss_beside_one_that_keeps_them():
    kept, lost = np.where(B[:, :1] > 0, 9001.0001, 8998.9999), B[:, :1] + 1e9
    assert casts.carried(kept, Freedom())[1] == ""
    assert "40 different values near 1e+09" in casts.carried(np.hstack([kept, lost]), Freedom())[1]


@pytest.mark.parametrize("own", [0.0, 1.0, np.nan])
def test_the_diagonal_of_a_map_does_not_say_where_it_lies(own):
    m = np.abs(np.subtract.outer(B[:, 0], B[:, 0])) + 1e9
    np.fill_diagonal(m, own)
    assert casts.needs_care(m, is_map=True)
    moved, lost = casts.carried(m, casts.freedom_of_maps(compare.pearson), is_map=True)
    i, j = np.triu_indices(40, 1)
    np.testing.assert_allclose(moved[i, j] - moved[0, 1], m[i, j] - m[0, 1], rtol=0, atol=1e-6)
    assert lost == ""
    assert casts.carried(m, casts.freedom_of_maps(compare.cosine), is_map=True)[1] != ""


@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
@pytest.mark.parametrize("scale", [1.0, 1e-200])
def test_an_infinite_distance_does_not_say_where_the_others_lie(infinite, scale):
    far = B[:, 0] + 1e9
    far[3] = infinite
    assert casts.needs_care(scale * far)
    moved, _ = casts.carried(scale * far, casts.freedom_of_maps(compare.spearman))
    np.testing.assert_array_equal(np.argsort(moved), np.argsort(far))


def test_whole_numbers_on_a_diagonal_stay_below_the_others():
    m = 2**40 + WHOLE[:6].T @ WHOLE[:6]
    m = m - np.diag(m.diagonal())
    moved, _ = casts.carried(m, Freedom(NUMBER), is_map=True)
    assert (moved.diagonal() < 0).all()
    np.testing.assert_array_equal(moved[0, 1:] - moved[0, 1], (m[0, 1:] - m[0, 1]).astype(np.float32))


@pytest.mark.parametrize(
    ("measure", "want"),
    [
        ("rsa", (ROW, True)),
        ("rsa-uncentered", (NUMBER, True)),
        ("cka-linear", (ROW, True)),
        ("identity:linear:pearson", (NO_SHIFT, True)),
        ("mean-pool:linear:u-centered-cosine", (ROW, True)),
        ("identity:cosine:spearman", (NO_SHIFT, True)),
        ("identity:laplacian:spearman", (ROW, False)),
        ("zscore:laplacian:spearman", (ROW, True)),
        ("layer-norm:cosine:spearman", (NUMBER, False)),
    ],
)
def test_freedom_follows_from_the_parts(measure, want):
    assert measures.by_name(measure).freedom[:2] == want


def test_parts_that_declare_nothing_leave_no_freedom():
    assert casts.freedom(transforms.identity, lambda x: x, compare.spearman) == Freedom()
    assert casts.freedom(transforms.identity, pairwise.linear, lambda a, b: 0).shift == NO_SHIFT


@pytest.mark.slow
def test_whole_numbers_beyond_float64_are_carried_too(x64):
    x = FAR["nanoseconds"][0]
    assert casts.needs_care(x)
    np.testing.assert_array_equal(between(casts.carried(x, Freedom(ROW))[0]), between(WHOLE))
    assert not casts.needs_care(B + 1e9)
