"""ResNet-50 features and twenty small networks, all together and one by one, compared with eager PyTorch."""

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import accelerator_torch as peers
from benchmarks.accelerator_bench import Bench, Case, guarded, memory, operations_of
from benchmarks.cases import largest

LAYOUTS = ("contiguous_format", "channels_last")
TASK = "autoencoder"
"""Whose network and loss the small ones have; nothing that is timed depends on which it is."""
LEARNING_RATE, TOTAL = 3e-3, 10_000


def resnet(bench: Bench, place: int) -> Case:
    """Features of a batch, random weights, normalization folded into the convolutions on both sides."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from jaxsim.vision import models

    a = bench.amounts
    batch, side = a.batches[place], a.side
    network, peer = pair(a.depths, a.width)
    graph, state = nnx.split(models.for_inference(network))
    images = np.random.default_rng(0).uniform(-1, 1, (batch, side, side, 3)).astype(np.float32)
    call = jax.jit(lambda state, x: nnx.merge(graph, state)(x))
    x = jnp.asarray(images)
    # operations as XLA counts them; weights and images read once
    operations = operations_of(call.lower(state, x))
    moved = 4.0 * (x.size + sum(leaf.size for leaf in jax.tree.leaves(state)))
    title = f"ResNet features, depths {a.depths}, {batch} images of {side} x {side}"
    out = bench.timed(title, lambda: [jax.block_until_ready(call(state, x))], operations, moved)
    out["images_per_second"] = batch / out["seconds"]
    ours = np.asarray(call(state, x))
    return out | {"torch": guarded(lambda: _resnet_torch(bench, peer, images, ours, out["seconds"]))}


@functools.lru_cache(maxsize=1)
def pair(depths: tuple[int, ...], width: int) -> tuple[Any, Any]:
    """The library's network, and PyTorch's with the same random weights, or None without PyTorch."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from jaxsim.vision import models
    from jaxsim.vision.models import convert

    empty = nnx.eval_shape(lambda: models.ResNet(depths, width, rngs=nnx.Rngs(0)))
    try:
        from benchmarks.torch_resnet import TorchResNet, randomize
    except ImportError:
        graph, state = nnx.split(empty)
        rng = np.random.default_rng(0)
        draw = lambda v: jnp.asarray(rng.uniform(0.01, 0.03, v.shape), v.dtype)  # noqa: E731
        return nnx.merge(graph, jax.tree.map(draw, state)), None
    peer = randomize(TorchResNet(depths, width))
    arrays = {name: tensor.numpy() for name, tensor in peer.state_dict().items()}
    return convert.fill(empty, arrays, convert.NAMINGS["resnet50"], source="the peer").network, peer


def _resnet_torch(bench: Bench, peer: Any, images: np.ndarray, ours: np.ndarray, seconds: float) -> Case:
    """Both memory layouts, of which the better counts."""
    where = peers.device(bench)
    import torch

    from benchmarks.torch_resnet import folded

    found: Case = {}
    for layout in LAYOUTS:
        form = getattr(torch, layout)
        network = folded(copy.deepcopy(peer)).to(where, memory_format=form)
        x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(where, memory_format=form)
        with torch.inference_mode():
            times, code = peers.clock(bench, functools.partial(network, x), where)
        scale = np.max(np.abs(ours))
        found[layout] = times | {"difference": largest(code.cpu().numpy() / scale, ours / scale)}
    return found | {"ratio": min(found[layout]["seconds"] for layout in LAYOUTS) / seconds}


def small(bench: Bench) -> tuple[Any, list[Any]]:
    """The task, and its network with as many sets of random weights as there are encoders."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from jaxsim.studies.rooms import encoders, tasks

    task, rng = tasks.TASKS[TASK], np.random.default_rng(7)
    graph, state = nnx.split(nnx.eval_shape(lambda: encoders.network(task)))

    def draw(v: Any) -> Any:
        return jnp.asarray(rng.standard_normal(v.shape) / np.sqrt(max(np.prod(v.shape[:-1]), 1)), v.dtype)

    return task, [nnx.merge(graph, jax.tree.map(draw, state)) for _ in range(bench.amounts.encoders)]


def encoders(bench: Bench) -> Case:
    """Codes of the same images by all encoders: under vmap, and one after another."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    a = bench.amounts
    task, networks = small(bench)
    images = np.random.default_rng(0).random((a.encoder_images, 64, 64, 3), np.float32)
    x, parts = jnp.asarray(images), [nnx.split(n.encoder) for n in networks]
    graph, states = parts[0][0], [state for _, state in parts]
    one = lambda state, x: nnx.merge(graph, state)(x)  # noqa: E731
    stack, alone = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states), jax.jit(one)
    together = jax.jit(jax.vmap(one, (0, None)))
    operations = operations_of(together.lower(stack, x))
    moved = 4.0 * (x.size * (1 + len(states) / 24) + sum(leaf.size for leaf in jax.tree.leaves(stack)))
    # operations as XLA counts them; images and weights read once, codes (1 / 24 of the images) written
    title = f"codes of {len(images)} images by {len(states)} small encoders under vmap"
    out = bench.timed(title, lambda: [jax.block_until_ready(together(stack, x))], operations, moved)
    codes = np.asarray(together(stack, x))
    out |= _one_by_one(bench, lambda: jax.block_until_ready([alone(s, x) for s in states]), out["seconds"])
    return out | {"torch": guarded(lambda: _encoders_torch(bench, task, networks, images, codes, out["seconds"]))}


def _one_by_one(bench: Bench, run: Callable[[], Any], seconds: float) -> Case:
    times, _ = bench.clock(run)
    return {"one_by_one": times, "one_by_one_over_together": times["seconds"] / seconds}


def _peer(bench: Bench, task: Any, network: Any, where: Any) -> Any:
    from benchmarks import torch_small
    from benchmarks.training import weights_of

    return torch_small.Network(task.kind, task.channels, weights_of(network)).to(where)


def _encoders_torch(bench: Bench, task: Any, networks: list[Any], images: np.ndarray, codes: Any, ours: float) -> Case:
    """One after another in both memory layouts."""
    where = peers.device(bench)
    import torch

    found: Case = {}
    for layout in LAYOUTS:
        form = getattr(torch, layout)
        each = [_peer(bench, task, n, where).encoder.to(memory_format=form) for n in networks]
        x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(where, memory_format=form)
        with torch.inference_mode():
            times, values = peers.clock(bench, lambda each=each, x=x: [e(x) for e in each], where)
        theirs = np.stack([np.moveaxis(v.cpu().numpy(), 1, -1) for v in values])
        scale = np.max(np.abs(codes))
        found[layout] = times | {"difference": largest(theirs / scale, codes / scale)}
    return found | {"ratio": min(found[layout]["seconds"] for layout in LAYOUTS) / ours}


def training(bench: Bench) -> Case:
    """Gradient steps of all small networks: one vmapped step, and one network after another; images per second."""
    import jax
    import jax.numpy as jnp

    from benchmarks.training import random_targets
    from jaxsim.studies.rooms.encoders import TaskLoss
    from jaxsim.vision.training import steps

    a = bench.amounts
    task, networks = small(bench)
    rng, count = np.random.default_rng(0), len(networks)
    images = rng.integers(0, 256, (a.training_images, 64, 64, 3), np.uint8)
    targets = np.stack([random_targets(task, len(images), rng) for _ in networks])
    loss = TaskLoss(task.name)
    begun = [steps.initial(network, LEARNING_RATE, TOTAL) for network in networks]
    graph, states = begun[0][0], [state for _, state in begun]
    x, y = jnp.asarray(images), jnp.asarray(targets)
    alone = steps.compiled(graph, (loss,), "images", LEARNING_RATE, TOTAL)
    together = steps.compiled(graph, (loss,) * count, "images", LEARNING_RATE, TOTAL, frozenset({"images"}))
    held = {"together": jax.tree.map(lambda *leaves: jnp.stack(leaves), *states), "alone": states}

    def stacked() -> Any:
        for _ in range(a.training_steps):
            held["together"], value = together(held["together"], {"images": x, "target": y})
        return [jax.block_until_ready(value)]

    def in_turn() -> Any:
        values = []
        for k in range(count):
            for _ in range(a.training_steps):
                held["alone"][k], value = alone(held["alone"][k], {"images": x, "target": y[k]})
            values.append(value)
        return jax.block_until_ready(values)

    title = f"{a.training_steps} steps of {count} small networks on {len(images)} images, one vmapped step"
    times, _ = bench.clock(stacked)
    rate = {"images_per_second": a.training_steps * count * len(images) / times["seconds"]}
    out = {"title": title, **times, **rate, **_one_by_one(bench, in_turn, times["seconds"]), **memory()}
    return out | {"torch": guarded(lambda: _training_torch(bench, task, networks, images, targets, times["seconds"]))}


def _training_torch(bench: Bench, task: Any, networks: list[Any], images: Any, targets: Any, ours: float) -> Case:
    """One network after another in both memory layouts, batches already on the device, fused Adam."""
    where = peers.device(bench)
    import torch

    from benchmarks import torch_small
    from benchmarks.training import loss_name

    found: Case = {}
    rows = torch.arange(len(images), device=where)
    for layout in LAYOUTS:
        runs = []
        for network, target in zip(networks, targets, strict=True):
            peer, loss = _peer(bench, task, network, where), torch_small.loss_named(loss_name(task))
            last = {"last": layout == "channels_last", "steps": TOTAL, "learning_rate": LEARNING_RATE}
            run = torch_small.Training(peer, loss, images, target, **last)
            run.images, run.targets = run.images.to(where), run.targets.to(where)
            runs.append(run)

        def turn(runs: list[Any] = runs) -> Any:
            return [[run.step(rows) for _ in range(bench.amounts.training_steps)] for run in runs]

        found[layout] = peers.clock(bench, turn, where)[0]
    return found | {"ratio": min(found[layout]["seconds"] for layout in LAYOUTS) / ours}
