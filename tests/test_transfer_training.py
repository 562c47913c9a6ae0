"""Transfer training: losses, SGD and its schedule against PyTorch, augmentation, loaders, exact resumption."""

from pathlib import Path

import jax
import numpy as np
import pytest
from marks import slow_but

nnx = pytest.importorskip("flax.nnx")
grain = pytest.importorskip("grain")
pytest.importorskip("orbax.checkpoint")

from test_training import assert_same, kill_after, squared_error

from jaxsim.studies.branching.augmentation import Augment, warp
from jaxsim.vision import training
from jaxsim.vision.datasets import Example
from jaxsim.vision.training import checkpoints, losses

RNG = np.random.default_rng(0)


# Losses


@pytest.fixture(scope="module")
def torch():
    found = pytest.importorskip("torch", reason="PyTorch is the oracle")
    found.set_num_threads(1)
    return found


def known(share=0.7, shape=(2, 7, 9)):
    return RNG.random(shape) < share


def test_cross_entropy_is_torchs_with_255_ignored(torch):
    logits, target = RNG.normal(size=(2, 7, 9, 5)).astype(np.float32), RNG.integers(0, 5, (2, 7, 9)).astype(np.uint8)
    target[RNG.random(target.shape) < 0.3] = 255
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits).permute(0, 3, 1, 2), torch.from_numpy(target).long(), ignore_index=255
    )
    assert float(losses.cross_entropy(logits, target, target != 255)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.slow
def test_losses_of_nothing_known_are_zero_with_gradients_of_zero():
    none = np.zeros((1, 4, 4), bool)
    plane = np.full((1, 4, 4), 2.0, np.float32)
    slopes = [
        jax.grad(lambda p: losses.cross_entropy(p, np.full((1, 4, 4), 255), none))(np.ones((1, 4, 4, 3), np.float32)),
        jax.grad(lambda p: losses.normals(p, np.ones((1, 4, 4, 3)), none))(np.zeros((1, 4, 4, 3), np.float32)),
        jax.grad(lambda p: losses.edges(p, plane, none))(plane),
    ]
    for slope in slopes:
        np.testing.assert_array_equal(slope, 0)


def test_normals_are_the_sources(torch):
    """Unknown components are put to 0 before the prediction is normalized; the mean is over known components.

    Targets are brought to length 1 there when pictures are resized.
    """
    predicted, true = RNG.normal(size=(2, 2, 7, 9, 3)).astype(np.float32)
    stored = 1.3 * (true := true / np.linalg.norm(true, axis=-1, keepdims=True))
    mask = known()
    p = torch.tensor(np.where(mask[..., None], predicted, 0), requires_grad=True)
    unit = p / (torch.linalg.vector_norm(p, dim=-1, keepdim=True) + 1e-12)
    expected = (unit - torch.tensor(np.where(mask[..., None], true, 0))).abs().sum() / (3 * mask.sum())
    expected.backward()
    value, slope = jax.value_and_grad(losses.normals)(predicted, stored, mask)
    assert float(value) == pytest.approx(float(expected.detach()), rel=1e-5)
    np.testing.assert_allclose(slope, p.grad.numpy(), rtol=1e-4, atol=1e-7)


def test_depth_is_the_sources(torch):
    """L1 over known pixels, and L1 of Sobel derivatives everywhere with unknown depth as 0, both per known pixel."""
    predicted, true = RNG.normal(size=(2, 2, 7, 9)).astype(np.float32)
    mask = known()
    p, t = torch.tensor(predicted)[:, None], torch.tensor(np.where(mask, true, 0))[:, None]
    across = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
    filters = torch.stack([across, across.T])[:, None]
    slopes = [torch.nn.functional.conv2d(x, filters, padding=1) for x in (p, t)]
    expected = ((p - t).abs()[torch.tensor(mask)[:, None]].sum() + (slopes[0] - slopes[1]).abs().sum()) / mask.sum()
    assert float(losses.depth(predicted, true, mask)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("weight", [0.95, 0.8])
def test_edges_are_balanced(torch, weight):
    logits = 3 * RNG.normal(size=(2, 7, 9)).astype(np.float32)
    true, mask = (RNG.random((2, 7, 9)) < 0.2).astype(np.float32), known()
    each = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(logits),
        torch.tensor(true),
        weight=torch.tensor(np.where(true > 0, weight, 1 - weight).astype(np.float32)),
        reduction="none",
    )
    assert float(losses.edges(logits, true, mask, weight)) == pytest.approx(
        float(each[torch.tensor(mask)].mean()), rel=1e-5
    )


# Optimizer


def test_the_schedule_is_torchs_polynomial_of_epochs(torch):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.02)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=6, power=0.9)
    rate, found, expected = training.Sgd(epochs=6).schedule(0.02, 18), [], []
    for epoch in range(6):
        expected += [optimizer.param_groups[0]["lr"]] * 3
        found += [float(rate(3 * epoch + i)) for i in range(3)]
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert float(rate(18)) == 0
    with pytest.raises(ValueError, match="17 steps are not a multiple of 6 epochs"):
        training.Sgd(epochs=6).schedule(0.02, 17)


X = RNG.normal(size=(12, 4)).astype(np.float32)
Y = RNG.normal(size=(12, 2)).astype(np.float32)


def stream(x=X, y=Y, batch=4, seed=0):
    pairs = grain.MapDataset.range(len(x)).seed(seed).shuffle().repeat().map(lambda i: {"images": x[i], "target": y[i]})
    return pairs.batch(batch).to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2))


class Dense(nnx.Module):
    """A linear layer, batch normalization, a linear layer."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(4, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(3, use_running_average=True, momentum=0.9, use_fast_variance=False, rngs=rngs)
        self.last = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, x):
        return self.last(self.norm(self.first(x)))


def test_sgd_is_torchs_over_many_steps_with_batch_normalization(torch):
    network = Dense()
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))
    with torch.no_grad():
        for ours, layer in ((network.first, theirs[0]), (network.last, theirs[2])):
            layer.weight.copy_(torch.tensor(np.asarray(ours.kernel[...]).T))
            layer.bias.copy_(torch.tensor(np.asarray(ours.bias[...])))
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=5, power=0.9)
    reader, curve, mean = iter(stream()), [], np.zeros(3)
    for step in range(15):
        batch = next(reader)
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(theirs(torch.tensor(batch["images"])), torch.tensor(batch["target"]))
        mean = 0.9 * mean + 0.1 * theirs[0](torch.tensor(batch["images"])).detach().numpy().mean(0)
        loss.backward()
        optimizer.step()
        curve.append(float(loss.detach()))
        if step % 3 == 2:
            schedule.step()
    recipe = training.Sgd(epochs=5, weight_decay=0.01)
    done = training.fit_stream(
        network, squared_error, stream(), steps=15, optimizer=recipe, learning_rate=0.1, progress=False
    )
    np.testing.assert_allclose(done.curve, curve, rtol=1e-4)
    np.testing.assert_allclose(
        done.network.first.kernel[...], theirs[0].weight.detach().numpy().T, rtol=1e-3, atol=1e-5
    )
    np.testing.assert_allclose(done.network.norm.mean[...], theirs[1].running_mean.numpy(), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(done.network.norm.mean[...], mean, rtol=1e-3, atol=1e-5)
    assert np.ptp(done.network.norm.var[...]) > 0
    np.testing.assert_array_equal(network.norm.mean[...], 0)
    assert done.network.norm.use_running_average


# Loaders and resumption

STEPS = 24


def fitted(folder=None, **changes):
    how = {"steps": STEPS, "optimizer": training.Sgd(epochs=8), "learning_rate": 0.1, "every": 3, "progress": False}
    return training.fit_stream(
        Dense(), squared_error, changes.pop("stream", stream()), checkpoints=folder, **how | changes
    )


class Stopped(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("saves", slow_but([4], [1, 4]))
def test_a_stopped_run_sees_the_batches_it_would_have_seen(tmp_path, monkeypatch, saves):
    save, count = checkpoints.save, iter(range(100))

    def stopping(*arguments, **keywords):
        save(*arguments, **keywords)
        if next(count) == saves:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", stopping)
        with pytest.raises(Stopped):
            fitted(tmp_path)
    seen, first = [], stream()

    class Watched:
        def __iter__(self):
            return Reader(iter(first))

    class Reader:
        def __init__(self, inner):
            self.inner, self.get_state, self.set_state = inner, inner.get_state, inner.set_state

        def __next__(self):
            batch = next(self.inner)
            seen.append(batch["images"])
            return batch

    assert_same(fitted(tmp_path, stream=Watched()), fitted())
    whole = iter(stream())
    expected = [next(whole)["images"] for _ in range(STEPS)][3 * (saves + 1) :]
    np.testing.assert_array_equal(seen, expected)


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import test_transfer_training as t
t.fitted({folder!r}, **t.LONG)
"""
LONG = {"steps": 240, "every": 40, "optimizer": training.Sgd(epochs=40)}


@pytest.mark.slow
def test_a_killed_process_resumes_to_the_same_bits(tmp_path):
    folder = tmp_path / "run"
    script = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(folder))
    kill_after(lambda: list(folder.glob("step_*")), script, 240)
    steps = [int(path.name[5:]) for path in folder.glob("step_*")]
    assert steps
    assert max(steps) < LONG["steps"]
    assert_same(fitted(folder, **LONG), fitted(**LONG))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": training.Sgd(epochs=4)}, r"optimizer is Sgd\(.*\(here Sgd\("),
        ({"optimizer": training.adam}, "settings: network.loss is"),
        ({"learning_rate": 0.2}, r"learning rate is 0.1 \(here 0.2\)"),
    ],
)
def test_checkpoints_of_another_training_are_refused(tmp_path, changes, words):
    fitted(tmp_path, steps=8)
    with pytest.raises(ValueError, match=words):
        fitted(tmp_path, steps=8, **changes)


def test_streams_that_end_or_hold_no_images_are_named():
    with pytest.raises(ValueError, match="the stream ended before step 3; give a longer one"):
        fitted(
            stream=grain.MapDataset.range(12).map(lambda i: {"images": X[i], "target": Y[i]}).batch(4).to_iter_dataset()
        )
    with pytest.raises(ValueError, match="batch of step 0 has no 'images'; it has target"):
        fitted(stream=grain.MapDataset.range(12).map(lambda i: {"target": Y[i]}).batch(4).to_iter_dataset())
    with pytest.raises(ValueError, match="25 steps are not a multiple of 8 epochs"):
        fitted(steps=25)


# Augmentation


def example(side=24):
    """A smooth picture, a class map in four quarters, depth, and the normals of a sphere in front of the camera."""
    y, x = np.mgrid[:side, :side] / side * 2 - 1 + 1 / side
    z = np.sqrt(np.clip(1 - (x**2 + y**2) / 2, 0, 1))
    normals = np.stack([x, y, z], -1) / np.linalg.norm(np.stack([x, y, z], -1), axis=-1, keepdims=True)
    image = (np.stack([x, y, x * y], -1) * 100 + 128).astype(np.uint8)
    targets = {
        "semantic": (1 + (x > 0) + 2 * (y > 0)).astype(np.uint8),
        "depth": (3 + x).astype(np.float32),
        "normals": normals.astype(np.float32),
        "scene": np.array([0.5, 0.5], np.float32),
    }
    masks = {name: np.ones((side, side), bool) for name in ("semantic", "depth", "normals")}
    return Example("a", image, targets, masks)


def test_moving_nowhere_changes_nothing():
    before = example()
    after = warp(before)
    np.testing.assert_array_equal(after.image, before.image)
    for name, values in before.targets.items():
        np.testing.assert_array_equal(after.targets[name], values)
    assert all(mask.all() for mask in after.masks.values())


def test_a_flip_is_a_flip_and_turns_the_vectors():
    before = example()
    after = warp(before, flip=True)
    np.testing.assert_array_equal(after.image, before.image[:, ::-1])
    np.testing.assert_array_equal(after.targets["semantic"], before.targets["semantic"][:, ::-1])
    np.testing.assert_allclose(after.targets["normals"], before.targets["normals"][:, ::-1] * [-1, 1, 1], atol=1e-6)


def test_a_quarter_turn_is_numpys_and_turns_the_vectors():
    before = example()
    after = warp(before, degrees=90)
    np.testing.assert_array_equal(after.targets["depth"], np.rot90(before.targets["depth"]))
    np.testing.assert_allclose(after.image.astype(int), np.rot90(before.image).astype(int), atol=1)
    x, y, z = np.moveaxis(np.rot90(before.targets["normals"]), -1, 0)
    np.testing.assert_allclose(after.targets["normals"], np.stack([y, -x, z], -1), atol=1e-6)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("degrees", [-20, 13, 90])
def test_a_sphere_looks_the_same_however_it_is_turned(flip, degrees):
    before = example(64)
    after = warp(before, flip=flip, degrees=degrees)
    seen = after.masks["normals"]
    off = np.linalg.norm(after.targets["normals"] - before.targets["normals"], axis=-1)[seen]
    assert off.max() < 0.06  # the nearest pixel is half a pixel off at most
    turned = np.linalg.norm(np.rot90(before.targets["normals"]) - before.targets["normals"], axis=-1)
    assert turned.mean() > 0.5  # the field itself would not be
    np.testing.assert_allclose(np.linalg.norm(after.targets["normals"][seen], axis=-1), 1, atol=1e-5)


def test_what_comes_from_outside_is_masked_and_labels_stay_labels():
    before = example()
    after = warp(before, degrees=20, scale=0.75, shift=(2, 0))
    outside = ~after.masks["semantic"]
    assert 0.3 < outside.mean() < 0.6
    assert set(np.unique(after.targets["semantic"][~outside])) == {1, 2, 3, 4}
    assert set(np.unique(after.targets["semantic"][outside])) == {255}
    assert not after.targets["depth"][outside].any()
    assert after.image[outside & ~_near(~outside)].max() == 0
    np.testing.assert_array_equal(after.targets["scene"], before.targets["scene"])
    assert set(np.unique(after.targets["depth"][~outside])) <= set(np.unique(before.targets["depth"]))


def _near(mask):
    from scipy.ndimage import binary_dilation

    return binary_dilation(mask, iterations=2)


@pytest.mark.slow
def test_scaling_up_shows_a_part_and_down_all_of_it():
    before = example(32)
    larger = warp(before, scale=2.0)
    np.testing.assert_array_equal(
        larger.targets["depth"], np.kron(before.targets["depth"][8:24, 8:24], np.ones((2, 2)))
    )
    smaller = warp(before, scale=0.5)
    assert smaller.masks["depth"].sum() == 16 * 16
    assert smaller.masks["depth"][8:24, 8:24].all()


@pytest.mark.slow
def test_random_changes_are_reproducible_and_within_limits():
    before, draw = example(), Augment()
    first, second = (draw(before, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    rng = np.random.default_rng(0)
    shares = [draw(before, rng).masks["depth"].mean() for _ in range(60)]
    assert min(shares) < 0.75
    assert max(shares) == 1
    assert min(shares) > 0.75**2 - 0.15
    still = Augment(degrees=0, scales=(1, 1))
    flips = [not np.array_equal(still(before, rng).image, before.image) for _ in range(60)]
    assert 15 < sum(flips) < 45
