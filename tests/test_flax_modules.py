"""Features of networks of Flax: NNX and Linen modules, compiled, by the names of their modules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

nnx = pytest.importorskip("flax.nnx")
linen = pytest.importorskip("flax.linen")

from jaxsim.vision import flax_modules, modules

X = np.random.default_rng(0).normal(size=(7, 6, 5, 3)).astype(np.float32)


class Block(nnx.Module):
    def __init__(self, width, rngs):
        self.linear = nnx.Linear(3, width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.norm(self.linear(x)))


class Wide(Block):
    """A block whose call goes on in its base."""

    def __call__(self, x):
        return super().__call__(x) + 1


class Small(nnx.Module):
    def __init__(self, rngs):
        self.blocks = nnx.List([Block(3, rngs), Wide(3, rngs)])
        self.last = nnx.Linear(3, 2, rngs=rngs)
        self.unused = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return self.last(self.last(x)[..., [0, 1, 0]])


class LinenSmall(linen.Module):
    @linen.compact
    def __call__(self, x, train):
        x = linen.BatchNorm(use_running_average=not train, name="norm")(linen.Dense(4, name="block_0")(x))
        return linen.Dense(2, name="block_1")(x).mean((1, 2)), {"pre": x}


def small():
    return Small(nnx.Rngs(0))


def bound():
    module = LinenSmall()
    return module.bind(module.init(jax.random.key(0), X[:1], train=True))


def test_outputs_of_nnx_in_evaluation():
    network = small()
    network.train()
    before = jax.tree.map(np.asarray, jax.tree.leaves(nnx.state(network, nnx.Param, nnx.BatchStat)))
    found = modules.features(network, X, ["blocks.*", "last"], batch=3)
    assert not network.blocks[0].norm.use_running_average
    assert not network.blocks[0].dropout.deterministic
    for x, y in zip(before, jax.tree.leaves(nnx.state(network, nnx.Param, nnx.BatchStat)), strict=True):
        np.testing.assert_array_equal(x, y)
    assert {Block.__call__.__qualname__, Wide.__call__.__qualname__} == {"Block.__call__", "Wide.__call__"}
    assert not hasattr(Block.__call__, "__wrapped__")
    network.eval()
    first = network.blocks[0](X)
    second = network.blocks[1](first)
    again = network.last(second)
    right = {"blocks.0": first, "blocks.1": second, "last#1": again, "last#2": network.last(again[..., [0, 1, 0]])}
    assert list(found) == list(right)
    for name, x in right.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], x, atol=1e-5)


def test_outputs_of_linen_in_evaluation():
    network = bound()
    module, variables = network.unbind()
    _, state = module.apply(variables, X, train=False, capture_intermediates=True)
    right = {name: state["intermediates"][name]["__call__"][0] for name in ("block_0", "block_1", "norm")}
    found = modules.features({"net": network}, X, ["block_?", "norm"], batch=4)
    assert list(found) == ["net.block_0", "net.norm", "net.block_1"]
    for name, x in right.items():
        np.testing.assert_allclose(found[f"net.{name}"], x, atol=1e-5)


def test_pooling_and_kinds_of_batches():
    right = modules.features(small(), X, "blocks.0")["blocks.0"].mean((1, 2))
    for images in (X, jnp.asarray(X), [(X[:4], None), (X[4:], None)], {"x": X, "label": np.arange(7)}):
        found = modules.features(small(), images, "blocks.0", pool="mean", batch=4)["blocks.0"]
        np.testing.assert_allclose(found, right, atol=1e-6)
    found = modules.features(small(), X, "blocks.0", pool=lambda x: x.max((1, 2)), call=lambda network, x: network(-x))
    assert found["blocks.0"].shape == (7, 3)
    tokens = modules.features(small(), X[:, 0], "blocks.0", pool="first")["blocks.0"]
    np.testing.assert_allclose(tokens, modules.features(small(), X[:, 0], "blocks.0")["blocks.0"][:, 0], atol=1e-6)


def test_a_short_batch_compiles_nothing(monkeypatch):
    programs, jit = [], jax.jit
    monkeypatch.setattr(flax_modules.jax, "jit", lambda run: programs.append(jit(run)) or programs[-1])
    modules.features(small(), X, "blocks.0", batch=3)
    assert [program._cache_size() for program in programs] == [1]


def test_what_is_refused():
    with pytest.raises(ValueError, match="the network has no layer 'layer.'; it has blocks.0, blocks.0.dropout,"):
        modules.features(small(), X, "layer*")
    with pytest.raises(ValueError, match="the network has no layer 'layer.'; it has block_0, norm, block_1"):
        modules.features(bound(), X, "layer*")
    with pytest.raises(ValueError, match="layer 'unused' was not called"):
        modules.features(small(), X, "unused")
    with pytest.raises(ValueError, match="the network does not accept a batch of 7 x 6 x 5 x 2: "):
        modules.features(small(), X[..., :2], "last")
    with pytest.raises(ValueError, match="does not contain its variables; give module.bind"):
        modules.features(LinenSmall(), X, "block*")
    assert not hasattr(Block.__call__, "__wrapped__")


def test_equal_names_are_refused():
    rngs = nnx.Rngs(0)
    inner = nnx.Sequential(nnx.Linear(3, 2, rngs=rngs))
    networks = {"a": nnx.Sequential(inner), "a.layers.0": inner}
    with pytest.raises(ValueError, match=r"two layers would both be named 'a\.layers\.0\.layers\.0'"):
        modules.features(networks, X, {"a": "layers.0.layers.0", "a.layers.0": "layers.0"})
    with pytest.raises(ValueError, match="layers of network 'a' name 'layers.0' more than once"):
        modules.features({"a": inner}, X, ["layers.0", "layers.0"])
    with pytest.raises(ValueError, match="ids name '1' more than once"):
        modules.features(inner, X, "layers.0", ids=[0, 1, "1", 3, 4, 5, 6])


def test_a_folder_says_which_weights_made_it(tmp_path):
    pytest.importorskip("google_crc32c", reason="folders need the nn extra")
    network = bound()
    found = modules.features(network, X, "block_*", out=tmp_path / "f")
    right = modules.features(network, X, "block_*")
    for name, x in right.items():
        np.testing.assert_array_equal(found[name], x)
    sums = {flax_modules._digest(nnx.state(Small(nnx.Rngs(seed)))) for seed in (0, 0, 1)}
    assert len(sums) == 2
