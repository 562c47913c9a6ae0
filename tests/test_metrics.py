"""Metrics over datasets against scikit-learn, float64 restatements and tables worked out by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("flax", reason="training needs the nn extra")

from sklearn.metrics import confusion_matrix, jaccard_score

from jaxsim.vision.training.metrics import AngularError, DepthError, EdgeError, MeanIoU, angles

RNG = np.random.default_rng(0)


def run(metric, *batches):
    """State of the metric after some batches."""
    state = metric.start()
    for batch in batches:
        state = metric.update(state, *batch)
    return state


# Totals


def test_totals_are_exact_far_beyond_float32():
    metric, whole = MeanIoU(1), np.zeros((1, 5), int)
    state = metric.start() | {
        "hits": np.full(1, 2.0**40),
        "predicted": np.full(1, 2.0**40),
        "actual": np.full(1, 2.0**40),
    }
    assert metric.update(state, whole, whole)["hits"] == 2**40 + 5


def test_sums_of_many_floats_are_those_of_float64():
    values = (RNG.random((1001, 1003)) * 180).astype(np.float32)
    metric = EdgeError()
    found = metric.result(run(metric, (values, np.zeros_like(values))))["mae"]
    assert found == pytest.approx(values.astype(np.float64).mean(), rel=1e-8)


# Intersection over union


def labeled(classes, shape=(3, 20, 30)):
    predicted, actual = RNG.integers(0, classes, (2, *shape))
    agree = RNG.random(shape) < 0.5
    actual = np.where(agree, predicted, actual)
    return predicted, np.where(RNG.random(shape) < 0.1, 255, actual)


def test_iou_is_that_of_scikit_learn():
    batches = [labeled(21) for _ in range(3)]
    predicted, actual = (np.concatenate(parts).ravel() for parts in zip(*batches, strict=True))
    kept = actual != 255
    table = confusion_matrix(actual[kept], predicted[kept], labels=range(21))
    expected = jaccard_score(actual[kept], predicted[kept], labels=range(21), average=None)
    metric = MeanIoU(21)
    found = metric.result(run(metric, *batches))
    np.testing.assert_allclose(found["iou"], expected, rtol=1e-12)
    assert found["miou"] == pytest.approx(expected.mean(), abs=1e-12)
    assert found["accuracy"] == pytest.approx(np.trace(table) / table.sum(), abs=1e-12)


def test_absent_classes_count_zero_in_one_mean_and_not_in_the_other():
    predicted, actual = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 255])
    metric = MeanIoU(4)
    found = metric.result(run(metric, (predicted, actual)))
    assert found["iou"].tolist() == [0.5, 0.5, 0, 0]
    assert (found["miou"], found["miou_present"]) == (0.25, 0.5)


def test_a_mask_leaves_pixels_out_as_255_does():
    predicted, actual = labeled(5)
    metric = MeanIoU(5)
    by_mask = metric.result(run(metric, (predicted, np.where(actual == 255, 0, actual), actual != 255)))
    assert by_mask["miou"] == metric.result(run(metric, (predicted, actual)))["miou"]


def test_batches_and_bytes_change_nothing():
    predicted, actual = labeled(7, (4, 9, 9))
    metric = MeanIoU(7)
    whole = metric.result(run(metric, (predicted, actual)))
    parts = run(metric, *[(predicted[k : k + 2].astype(np.uint8), actual[k : k + 2].astype(np.uint8)) for k in (0, 2)])
    assert metric.result(parts)["miou"] == whole["miou"]
    assert metric.result(metric.update(metric.start(), predicted, actual))["miou"] == whole["miou"]


def test_class_numbers_out_of_range_are_refused_and_nothing_is_nan():
    metric = MeanIoU(3)
    with pytest.raises(ValueError, match="2 pixels have classes other than 0 to 2 and 255"):
        metric.result(run(metric, (np.array([0, 3, 1]), np.array([0, 1, 40]))))
    assert np.isnan(metric.result(metric.start())["miou"])
    with pytest.raises(ValueError, match=r"shape \(2,\) do not fit a target of shape \(3,\)"):
        metric.update(metric.start(), jnp.zeros(2, int), jnp.zeros(3, int))


# Normals


def turned(shape=(2, 40, 50)):
    actual = RNG.normal(size=(*shape, 3)).astype(np.float32)
    actual /= np.linalg.norm(actual, axis=-1, keepdims=True)
    predicted = (actual + RNG.exponential(0.4, (*shape, 1)) * RNG.normal(size=actual.shape)).astype(np.float32)
    actual[RNG.random(shape) < 0.1] = 0
    return predicted, actual


def true_angles(predicted, actual):
    """Float64, by the arc cosine, of the pixels whose target is not zero."""
    p, a = predicted.astype(np.float64), actual.astype(np.float64)
    kept = np.linalg.norm(a, axis=-1) != 0
    p, a = p[kept], a[kept]
    cosine = (p * a).sum(-1) / np.linalg.norm(p, axis=-1) / np.linalg.norm(a, axis=-1)
    return np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))


def test_angular_error_is_that_of_float64():
    batches = [turned() for _ in range(3)]
    off = np.concatenate([true_angles(*batch) for batch in batches])
    metric = AngularError()
    found = metric.result(run(metric, *batches))
    assert found["mean"] == pytest.approx(off.mean(), rel=1e-6)
    assert found["rmse"] == pytest.approx(np.sqrt((off**2).mean()), rel=1e-6)
    assert found["median"] == pytest.approx(np.median(off), abs=0.01)
    for limit in (11.25, 22.5, 30):
        assert found[f"within_{limit:g}"] == pytest.approx((off < limit).mean() * 100, abs=1e-6)
    each = np.concatenate([np.asarray(angles(*batch))[np.any(batch[1] != 0, -1)] for batch in batches])
    assert np.median(each) == pytest.approx(np.median(off), rel=1e-6)


def test_angles_by_hand():
    straight, tiny = np.array([0.0, 0.0, 1.0]), 1e-4
    found = [
        angles(jnp.array(p), jnp.array(straight))
        for p in ([0.0, 0.0, 5.0], [0.0, 3.0, 0.0], [0.0, 0.0, -2.0], [np.sin(tiny), 0, np.cos(tiny)], [0.0, 0.0, 0.0])
    ]
    np.testing.assert_allclose(found, [0, 90, 180, np.rad2deg(tiny), 90], rtol=1e-6)


def test_the_median_of_two_far_values_is_between_them():
    metric = AngularError()
    found = metric.result(run(metric, (np.array([[0.0, 0, 1], [0, 1.0, 0]]), np.array([[0.0, 0, 1], [0, 0, 1.0]]))))
    assert found["median"] == pytest.approx(45, abs=0.01)


def test_masked_normals_and_no_normals():
    predicted, actual = turned()
    mask = RNG.random(actual.shape[:-1]) < 0.5
    metric = AngularError()
    found = metric.result(run(metric, (predicted, actual, mask)))
    assert found["mean"] == pytest.approx(true_angles(predicted, actual * mask[..., None]).mean(), rel=1e-6)
    assert np.isnan(list(metric.result(metric.start()).values())).all()
    with pytest.raises(ValueError, match=r"a mask of shape \(3,\)"):
        metric.update(metric.start(), jnp.zeros((2, 3)), jnp.zeros((2, 3)), jnp.ones(3, bool))


# Depth


def depths(count=5):
    actual = RNG.uniform(0.5, 9, (count, 12, 16)).astype(np.float32)
    return (actual * RNG.lognormal(0, 0.2, actual.shape)).astype(np.float32), actual


def test_depth_errors_are_means_and_medians_over_images():
    predicted, actual = depths()
    actual[1, :4] = 0
    p, a = predicted.astype(np.float64), actual.astype(np.float64)
    kept = [a[k] > 0 for k in range(5)]
    rmse = [np.sqrt(((p[k] - a[k])[kept[k]] ** 2).mean()) for k in range(5)]
    logs = [np.sqrt((np.log(p[k][kept[k]] / a[k][kept[k]]) ** 2).mean()) for k in range(5)]
    metric = DepthError()
    found = metric.result(run(metric, (predicted[:3], actual[:3]), (predicted[3:], actual[3:])))
    assert found["rmse"] == pytest.approx(np.mean(rmse), rel=1e-6)
    assert found["log_rmse"] == pytest.approx(np.median(logs), rel=1e-6)


def test_released_depth_errors_count_unknown_pixels_as_a_nanometer():
    predicted, actual = depths()
    actual[1, :4], predicted[2, 0] = 0, -1
    filled = np.where(actual == 0, 1e-9, actual.astype(np.float64))
    floor = np.where(predicted <= 0, 1e-9, predicted.astype(np.float64))
    rmse = np.sqrt(((filled - floor) ** 2).mean((1, 2)))
    logs = np.sqrt(((np.log(filled) - np.log(floor)) ** 2).mean((1, 2)))
    metric = DepthError()
    found = metric.result(run(metric, (predicted, actual)))
    assert found["rmse_released"] == pytest.approx(rmse.mean(), rel=1e-6)
    assert found["log_rmse_released"] == pytest.approx(np.median(logs), rel=1e-6)
    assert logs[1] > 10 > found["log_rmse"]


def test_small_errors_of_depth_keep_their_digits():
    actual = np.full((1, 8, 8), 7.3, np.float32)
    predicted = (actual * np.float32(1.001)).astype(np.float32)
    expected = np.log(predicted[0, 0, 0].astype(np.float64) / actual[0, 0, 0].astype(np.float64))
    metric = DepthError()
    assert metric.result(run(metric, (predicted, actual)))["log_rmse"] == pytest.approx(expected, rel=1e-6)


def test_images_without_depth_are_left_out():
    predicted, actual = depths(2)
    actual[0] = 0
    metric = DepthError()
    alone = metric.result(run(metric, (predicted[1:], actual[1:])))
    assert metric.result(run(metric, (predicted, actual)))["rmse"] == alone["rmse"]
    assert np.isnan(list(metric.result(metric.start()).values())).all()


# Edges


def test_edge_error_is_the_mean_absolute_difference():
    predicted, actual = RNG.random((2, 3, 30, 30)).astype(np.float32)
    actual, mask = (actual > 0.9).astype(np.float32), RNG.random(actual.shape) < 0.7
    metric = EdgeError()
    whole = metric.result(run(metric, (predicted[:1], actual[:1]), (predicted[1:], actual[1:])))["mae"]
    assert whole == pytest.approx(np.abs(predicted.astype(np.float64) - actual).mean(), rel=1e-7)
    masked = metric.result(run(metric, (predicted, actual, mask)))["mae"]
    assert masked == pytest.approx(np.abs(predicted.astype(np.float64) - actual)[mask].mean(), rel=1e-7)
    assert np.isnan(metric.result(metric.start())["mae"])


@pytest.mark.parametrize("metric", [MeanIoU(3), AngularError(), DepthError(), EdgeError()])
def test_records_of_equal_settings_are_equal(metric):
    assert hash(metric) == hash(type(metric)(**vars(metric)))
    assert metric == type(metric)(**vars(metric))


def test_half_precision_and_float64_are_taken(x64):
    predicted, actual = (a.astype(np.float64) for a in turned((2, 10, 10)))
    metric = AngularError()
    found = metric.result(run(metric, (jnp.asarray(predicted), jnp.asarray(actual))))["mean"]
    assert found == pytest.approx(true_angles(predicted, actual).mean(), rel=1e-9)
    half = metric.result(run(metric, (jnp.asarray(predicted, jnp.bfloat16), jnp.asarray(actual, jnp.bfloat16))))
    assert half["mean"] == pytest.approx(found, rel=0.05)
