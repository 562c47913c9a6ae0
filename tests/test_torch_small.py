"""The rooms' networks, losses, gradients and training against PyTorch's, written apart; the benchmark's parts."""

import copy
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

nnx = pytest.importorskip("flax.nnx")
torch = pytest.importorskip("torch")

from benchmarks import torch_small, turns
from benchmarks.training import loss_name, random_targets, summary, weights_of
from jaxsim.studies.rooms import encoders, losses, tasks
from jaxsim.vision import training
from jaxsim.vision.training import optimizers, sources, steps

pytestmark = pytest.mark.usefixtures("one_thread")
KINDS = ["rgb2sfnorm", "segmentsemantic", "vanishing_point"]
"""A task of each decoder."""
BATCH = 3


@functools.cache
def case(name, count=BATCH):
    """A task's network with NumPy's random weights, its loss, its peer and both losses' data."""
    task, rng = tasks.TASKS[name], np.random.default_rng(7)
    graph, state = nnx.split(nnx.eval_shape(lambda: encoders.network(task)))
    scale = {leaf.shape: 1 / np.sqrt(np.prod(leaf.shape[:-1])) for leaf in jax.tree.leaves(state)}
    drawn = jax.tree.map(lambda v: jnp.asarray(scale[v.shape] * rng.standard_normal(v.shape), v.dtype), state)
    network = nnx.merge(graph, drawn)
    images, target = rng.integers(0, 256, (count, 64, 64, 3), np.uint8), random_targets(task, count, rng)
    loss = encoders.TaskLoss.of(task, target)
    peer = torch_small.Network(task.kind, task.channels, weights_of(network))
    return network, loss, peer, peer_loss(task, loss), images, target


def peer_loss(task, loss):
    pairs = np.stack(task.loss.draw(64, 64)) if isinstance(task.loss, losses.Pairs) else None
    return torch_small.loss_named(loss_name(task), loss.weights, pairs)


def seconds(array):
    """As PyTorch takes it: channels second."""
    tensor = torch.tensor(np.asarray(array))
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor


@pytest.mark.parametrize("name", KINDS)
def test_outputs_and_gradients_of_a_step_are_pytorchs(name):
    network, loss, peer, theirs, images, target = case(name)
    peer = copy.deepcopy(peer).double()
    graph, state = steps.initial(network, 1e-3, 10)
    step = jax.jit(steps.gradient(graph, lambda p, batch: (loss(p, batch), p)[0], "images"))
    value, slopes, rest = step(state, {"images": images, "target": target})
    expected = peer(seconds(images).double() / 255)
    ours = np.asarray(jax.jit(lambda x: network(x))(images.astype(np.float32) / 255))
    spread = expected.std().item()
    assert spread > 0.01
    assert np.max(np.abs(ours - np.moveaxis(expected.detach().numpy(), 1, -1))) < 1e-5 * spread
    wanted = seconds(loss.target(jnp.asarray(target)))
    expected = theirs(expected, wanted.double() if wanted.is_floating_point() else wanted)
    expected.backward()
    assert float(value) == pytest.approx(expected.item(), rel=1e-5)
    found = torch_small.renamed(weights_of(nnx.merge(graph, slopes, rest)))
    wanted = {name: parameter.grad for name, parameter in peer.named_parameters() if parameter.grad is not None}
    assert found.keys() == wanted.keys()
    largest = max(slope.abs().max() for slope in wanted.values())
    for name, slope in wanted.items():
        assert slope.abs().max() > 1e-4 * largest, name
        assert (found[name] - slope).abs().max() < 1e-5 * largest, name


@pytest.mark.parametrize("name", tasks.TASKS)
def test_losses_and_their_gradients_are_pytorchs(name):
    task, rng = tasks.TASKS[name], np.random.default_rng(5)
    target = random_targets(task, BATCH, rng)
    if task.kind == "distribution":
        target[0] = 0
    space = (64, 64) if task.kind in ("image", "segmentation", "embedding") else ()
    prediction = rng.standard_normal((BATCH, *space, task.channels)).astype(np.float32)
    if task.kind == "embedding":
        prediction *= 0.2
    loss = encoders.TaskLoss.of(task, target)
    wanted = loss.target(jnp.asarray(target))
    value, slope = jax.jit(jax.value_and_grad(loss.value))(prediction, wanted)
    given = seconds(prediction).requires_grad_()
    expected = peer_loss(task, loss)(given, seconds(wanted))
    expected.backward()
    slopes = np.moveaxis(given.grad.numpy(), 1, -1) if space else given.grad.numpy()
    assert expected.item() > 0.01
    assert float(value) == pytest.approx(expected.item(), rel=1e-5)
    assert np.max(np.abs(slope - slopes)) < 1e-5 * np.max(np.abs(slopes))


@pytest.mark.slow
def test_training_is_pytorchs():
    count, many, rate = 12, 6, 3e-3
    network, loss, _, theirs, images, target = case("class_object", many)
    begun = weights_of(network)
    data, key = {"images": images, "target": target}, jax.random.key(0)
    fitted = training.fit(network, loss, data, steps=count, batch=BATCH, key=key, learning_rate=rate, progress=False)
    ended = torch_small.renamed(weights_of(fitted.network))
    rows = np.array(sources.rows_of_steps(key, jnp.arange(count), rows=many, batch=BATCH), np.int64)
    for last in (False, True):
        peer = torch_small.Network("distribution", tasks.TASKS["class_object"].channels, begun)
        run = torch_small.Training(peer, theirs, images, target, last=last, steps=count, learning_rate=rate)
        curve = np.array([run.step(torch.from_numpy(row)).item() for row in rows])
        np.testing.assert_allclose(fitted.curve, curve, rtol=1e-3)
        for name, start in torch_small.renamed(begun).items():
            moved = (peer.state_dict()[name] - start).abs().mean()
            assert moved > rate / 10, name
            assert (peer.state_dict()[name] - ended[name]).abs().mean() < 1e-2 * moved, name


def test_rate_is_that_of_adam():
    for count in (7, 30, 2000):
        rise = min(optimizers.WARMUP_STEPS, count // 10)
        assert torch_small.rate(rise, count, 0.5) == 0.5
        assert torch_small.rate(count, count, 0.5) == pytest.approx(0, abs=1e-9)
    assert torch_small.rate(50, 2000, 0.5) == pytest.approx(0.25)
    assert torch_small.rate(1050, 2000, 0.5) == pytest.approx(0.25)


def test_even_padding_is_another_network_of_the_same_shape():
    peer = case(KINDS[0])[2]
    other = torch_small.evenly_padded(torch_small.Network("image", 3, weights_of(case(KINDS[0])[0])))
    x = torch.rand(1, 3, 64, 64)
    assert other(x).shape == peer(x).shape
    assert (other(x) - peer(x)).abs().max() > 1e-3


ECHO = """
import sys, time
from benchmarks import turns
turns.limit()
said = []
def prepare(word):
    time.sleep(0.3)
    if word == "bad":
        raise SystemExit(1)
    return lambda: time.sleep(0.02)
print("something a library says")
turns.serve(prepare)
"""


def test_contenders_are_asked_in_turn_and_preparing_is_not_timed():
    commands = {name: [sys.executable, "-c", ECHO] for name in ("one", "two")}
    with turns.started(commands) as contenders:
        taken = turns.in_turn(contenders, ["a", "b"], rounds=2)
        assert {name: {word: len(runs) for word, runs in words.items()} for name, words in taken.items()} == {
            name: {"a": 2, "b": 2} for name in commands
        }
        every = [turn for words in taken.values() for runs in words.values() for turn in runs]
        assert min(turn.wall for turn in every) >= 0.02
        assert min(turn.wall for turn in every) < 0.3
        assert max(turn.processor for turn in every) < 0.2
        with pytest.raises(RuntimeError, match="two ended at 'bad'"):
            contenders["two"].ask("bad")
    with (
        pytest.raises(RuntimeError, match="none ended at 'start'"),
        turns.started({"none": [sys.executable, "-c", ""]}),
    ):
        pass


def test_summary_divides_all_images_by_all_time():
    def turn(wall):
        return [turns.Turn(wall, wall)] * 3

    sides = {"jaxsim": (1, 4), "torch": (2, 2), "torch last": (3, 1), "torch even": (1, 1), "torch even last": (5, 5)}
    taken = {side: {"edge2d": turn(a), "class_scene": turn(b)} for side, (a, b) in sides.items()}
    found = summary(taken, {"edge2d": "image", "class_scene": "classes"}, images=10)
    assert found["images_per_second"]["all"]["jaxsim"] == pytest.approx(20 / 5)
    assert found["ratios"]["same network"] == pytest.approx({"all": 4 / 5, "SmallDecoder": 2, "VectorHead": 1 / 4})
    assert found["ratios"]["even padding"]["all"] == pytest.approx(2 / 5)
    assert found["by_task"]["edge2d"]["torch last"]["images_per_second"] == pytest.approx(10 / 3)
