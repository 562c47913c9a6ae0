"""Sums over batches of images: the ratio of summed unbiased HSIC, in any order and split, and what it estimates."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles as o
import pytest
from jax import lax
from marks import slow_but

import jaxsim as js
from jaxsim.minibatches import Minibatches

NAMES = ["b", "a", "c"]  # not in the order of the alphabet, in which JAX takes dictionaries apart
WIDTHS = {"b": 6, "a": 9, "c": 4}
SIZES = [16, 16, 9]
ACCURACY = 2e-6
RNG = np.random.default_rng(0)


def batch(size, rng=RNG, offset=0.0):
    """Features that share causes, of unequal widths."""
    causes = rng.normal(size=(size, 6))
    made = {name: causes @ rng.normal(size=(6, d)) + rng.normal(size=(size, d)) for name, d in WIDTHS.items()}
    return {name: (x + offset).astype(np.float32) for name, x in made.items()}


BATCHES = [batch(size) for size in SIZES]
ORACLES = {
    "cka-linear": o.linear,
    "distance-correlation-unbiased": o.euclidean,
    "dds:center,euclidean": o.euclidean,
    "dds:layer_norm,laplacian": lambda x: o.laplacian(o.layer_norm(x)),
    "dds:identity,cosine": o.cosine_distance,
}


def oracle(batches, kernel=o.linear):
    """Ratio of sums of b (b - 3) HSIC over batches of b images, in loops and float64."""
    sums = np.zeros((len(NAMES),) * 2)
    for x in batches:
        maps = [kernel(x[name].astype(np.float64)) for name in NAMES]
        b = len(maps[0])
        sums += b * (b - 3) * np.array([[o.hsic_song(k, m) for m in maps] for k in maps])
    length = np.sqrt(np.diag(sums))
    return sums / length[:, None] / length


def summed(batches, measure="cka-linear", start=None):
    found = Minibatches.of(NAMES, measure) if start is None else start
    for x in batches:
        found = found.add(x)
    return found


def values(found):
    return np.asarray(found.affinity().values)


@pytest.mark.parametrize("measure", slow_but(["cka-linear"], ORACLES))
def test_scores_are_ratios_of_summed_hsic(measure):
    want = oracle(BATCHES, ORACLES[measure])
    np.testing.assert_allclose(values(summed(BATCHES, measure)), want, atol=ACCURACY)
    whole = {name: np.concatenate([x[name] for x in BATCHES]) for name in NAMES}
    assert np.abs(oracle([whole], ORACLES[measure]) - want).max() > 1e-3  # batches are not the whole


@pytest.mark.parametrize("measure", slow_but(["cka-linear"], ["cka-linear", "dds:layer_norm,laplacian"]))
def test_one_batch_of_all_images_is_affinity(measure):
    want = js.affinity(BATCHES[0], measure)
    got = summed(BATCHES[:1], measure).affinity()
    np.testing.assert_allclose(got.values, want.values, atol=ACCURACY)
    assert got.names == want.names == tuple(NAMES)
    np.testing.assert_array_equal(got.images, want.images)
    assert got.provenance.measure == want.provenance.measure


@pytest.mark.slow
def test_float64(x64):
    wide = [{name: x.astype(np.float64) for name, x in one.items()} for one in BATCHES]
    np.testing.assert_allclose(values(summed(wide)), oracle(wide), atol=1e-13)


def test_order_and_split_do_not_matter():
    want = values(summed(BATCHES))
    np.testing.assert_allclose(values(summed(BATCHES[::-1])), want, atol=ACCURACY)
    parts = summed(BATCHES[:1]), summed(BATCHES[1:])
    for one, other in (parts, parts[::-1]):
        merged = one.merge(other)
        np.testing.assert_allclose(values(merged), want, atol=ACCURACY)
        assert (int(merged.batches), int(merged.images)) == (3, sum(SIZES))
    nothing = Minibatches.of(NAMES, "cka-linear")
    np.testing.assert_array_equal(values(parts[0].merge(nothing)), values(parts[0]))


def test_lists_stacks_and_dictionaries_in_any_order():
    x = BATCHES[0]
    want = values(summed([x]))
    for given in ([x[name] for name in NAMES], dict(sorted(x.items())), {n: jnp.asarray(v) for n, v in x.items()}):
        np.testing.assert_allclose(values(summed([given])), want, atol=ACCURACY)
    stack = np.stack([x[name][:, :4] for name in NAMES])
    cut = {name: x[name][:, :4] for name in NAMES}
    np.testing.assert_allclose(values(summed([stack])), values(summed([cut])), atol=ACCURACY)


@pytest.mark.slow
def test_networks_of_many_widths_are_padded_alike():
    names = [f"n{k}" for k in range(6)]
    found, causes = Minibatches.of(names, "dds:layer_norm,laplacian"), RNG.normal(size=(16, 8))
    x = {name: causes[:, : k + 3].astype(np.float32) for k, name in enumerate(names)}
    want = js.affinity(x, "dds:layer_norm,laplacian").values
    np.testing.assert_allclose(found.add(x).affinity().values, want, atol=ACCURACY)


def test_positions_and_channels():
    x = {name: RNG.normal(size=(16, 5, 3, 4)).astype(np.float32) for name in NAMES}
    found = Minibatches.of(NAMES, "dds:instance_norm,linear")
    first = {name: np.moveaxis(one, -1, 1) for name, one in x.items()}
    np.testing.assert_allclose(values(found.add(first, channels="first")), values(found.add(x)), atol=ACCURACY)


# Inside JAX


STACKS = RNG.normal(size=(2, 5, 3, 16, 6)).astype(np.float32) + RNG.normal(size=(2, 5, 1, 16, 6)).astype(np.float32)


def scanned(stacks):
    """Scores from batches `(B, T, b, d)`."""
    return lax.scan(lambda found, x: (found.add(x), None), Minibatches.of(NAMES, "cka-linear"), stacks)[0]


def test_scan_is_the_loop():
    got, want = jax.jit(scanned)(STACKS[0]), summed(STACKS[0])
    np.testing.assert_allclose(values(got), values(want), atol=ACCURACY)
    assert repr(got) == repr(want) == "Minibatches(cka-linear, 3 networks, 5 batches of 80 images in all)"


def test_vmap_and_results_inside_jit():
    runs = jax.jit(jax.vmap(lambda s: scanned(s).affinity().values))(STACKS)
    for run, stacks in zip(runs, STACKS, strict=True):
        np.testing.assert_allclose(run, values(summed(stacks)), atol=ACCURACY)
    record = jax.jit(lambda s: scanned(s).affinity())(STACKS[0])
    np.testing.assert_allclose(record.values, runs[0], atol=ACCURACY)
    np.testing.assert_array_equal(record.images, np.full((3, 3), 80))
    stacked = jax.vmap(scanned)(STACKS)
    assert repr(stacked) == "Minibatches(cka-linear, 3 networks, batches)"
    for call in (stacked.affinity, lambda: stacked.add(STACKS[0, 0]), lambda: stacked.merge(stacked)):
        with pytest.raises(ValueError, match="these are 2 Minibatches that vmap stacked; call .* inside vmap too"):
            call()


@pytest.mark.slow
def test_gradients_are_those_of_affinity():
    x = STACKS[0, 0]
    got = jax.jit(jax.grad(lambda x: summed([x]).affinity().values[0, 1]))(x)
    want = jax.jit(jax.grad(lambda x: js.affinity(x, "cka").values[0, 1]))(x)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_dictionaries_inside_jit_keep_their_names():
    got = jax.jit(lambda found, x: found.add(x))(Minibatches.of(NAMES, "cka-linear"), BATCHES[0])
    np.testing.assert_allclose(values(got), values(summed(BATCHES[:1])), atol=ACCURACY)


def test_a_second_batch_of_the_shape_traces_nothing():
    traces: list[tuple[int, ...]] = []
    measure = js.Measure(Noting(traces), js.pairwise.linear, js.compare.u_centered_cosine)
    found = Minibatches.of(NAMES, measure).add(STACKS[0, 0])
    count = len(traces)
    for x in STACKS[0, 1:]:
        found = found.add(x)
    assert count == len(traces) > 0


def test_the_state_is_as_large_as_the_networks_are_many():
    sizes = [leaf.size for leaf in jax.tree.leaves(summed(BATCHES))]
    assert sum(sizes) == 2 * 3 * 3 + 3 + 3


# Digits


def test_offsets_keep_their_digits():
    shifted = [batch(size, np.random.default_rng(1), 1e3) for size in SIZES]
    back = [{name: x.astype(np.float64) - 1e3 for name, x in one.items()} for one in shifted]
    np.testing.assert_allclose(values(summed(shifted)), oracle(back), atol=ACCURACY)


@pytest.mark.parametrize("sizes", [(1e-6, 1.0, 1e6), (1e6, 1.0, 1e-6), (1e-8, 1e-8, 1e-8), (1e12, 1e12, 1e12)])
def test_batches_of_all_sizes(sizes):
    """Products of maps are fourth powers of features, and some of these leave the range of float32."""
    scaled = [{n: np.float32(c) * v for n, v in x.items()} for c, x in zip(sizes, BATCHES, strict=True)]
    np.testing.assert_allclose(values(summed(scaled)), oracle(scaled), atol=ACCURACY)
    parts = summed(scaled[:1]), summed(scaled[1:])
    np.testing.assert_allclose(values(parts[0].merge(parts[1])), oracle(scaled), atol=ACCURACY)


@pytest.mark.slow
def test_small_distances_of_an_exponential_kernel_keep_their_digits():
    near = [{name: np.float32(1e-4) * v for name, v in x.items()} for x in BATCHES]
    np.testing.assert_allclose(values(summed(near, "dds:identity,laplacian")), oracle(near, o.laplacian), atol=1e-5)


@pytest.mark.slow
def test_a_hundred_thousand_batches_lose_no_digits():
    x = jnp.stack([jnp.asarray(BATCHES[0][name][:5, :4]) for name in NAMES])
    one, many = summed([x]), 100_000
    found = jax.jit(lambda s: lax.scan(lambda f, _: (f.add(s), None), Minibatches.of(NAMES, "cka"), length=many)[0])(x)
    np.testing.assert_allclose(found.total / many, one.total, rtol=2e-7)
    np.testing.assert_allclose(values(found), values(one), atol=2e-7)
    naive = jax.jit(lambda v: lax.scan(lambda s, _: (s + v, None), jnp.zeros_like(v), length=many)[0])(one.total)
    assert np.abs(naive / many / one.total - 1).max() > 1e-5  # as plain sums do
    assert int(found.images) == 5 * many


# What it estimates


@pytest.mark.slow
def test_sums_are_unbiased_for_the_population():
    """Mean over draws against |S_xy|^2 of Gaussian features with covariance S, for batches of several sizes."""
    d, draws = 3, 4000
    rng = np.random.default_rng(3)
    mix = [rng.normal(size=(4, d)) for _ in NAMES]
    want = np.array([[np.sum((a.T @ b) ** 2) for b in mix] for a in mix])

    def one(key):
        found = Minibatches.of(NAMES, "cka-linear")
        for size, own in zip((4, 12), jax.random.split(key), strict=True):
            causes = jax.random.normal(own, (size, 4))
            found = found.add(jnp.stack([jnp.matmul(causes, jnp.asarray(m, jnp.float32)) for m in mix]))
        return (found.total - found.lost) * found.scale[:, None] * found.scale

    pairs = sum(b * (b - 3) / 2 for b in (4, 12))
    sums = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), draws)), np.float64) / pairs
    error = sums.std(0) / np.sqrt(draws)
    assert (np.abs(sums.mean(0) - want) < 4 * error).all()
    assert (error < 0.06 * np.diag(want).mean()).all()  # narrow enough to tell a bias of a tenth


def test_pytorch_cka_of_batches():
    torch, cka = pytest.importorskip("torch"), pytest.importorskip("cka")
    x, y = ([torch.from_numpy(one[name]) for one in BATCHES[:2]] for name in ("a", "b"))

    class Half(torch.nn.Module):
        def __init__(self, columns):
            super().__init__()
            self.columns = columns

        def forward(self, both):
            return both[:, self.columns]

    both = torch.cat([torch.cat(x), torch.cat(y)], 1)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(both), batch_size=16)
    nets = [torch.nn.Sequential(Half(c)) for c in (slice(0, 9), slice(9, 15))]
    want = cka.compute_cka(*nets, loader, layers=["0"], device="cpu", progress=False)[0].item()
    assert values(summed(BATCHES[:2]))[0, 1] == pytest.approx(want, abs=ACCURACY)


# Records


def test_columns_against_rows():
    found = summed(BATCHES)
    A = found.affinity(against=["a"])
    assert (A.names, A.targets, A.against) == (("b", "c"), ("a",), True)
    np.testing.assert_array_equal(A.values[:, 0], values(found)[[0, 2], 1])


def test_the_record_says_what_it_is(tmp_path):
    found = summed(BATCHES)
    A = found.affinity()
    assert A.provenance.notes == (
        "a ratio of sums over 3 batches of 41 images in all: pairs of images in different batches are not seen",
    )
    assert js.load(A.save(tmp_path / "a.npz")).provenance == A.provenance
    small = {name: x[:3] for name, x in BATCHES[0].items()}
    kept = found.add(small, drop_small=True)
    np.testing.assert_array_equal(values(kept), A.values)
    assert kept.affinity().provenance.notes[1] == "left out: 3 images in batches that were too small"
    assert int(kept.images) == 41


# What has no value


def test_a_batch_of_one_image_repeated_adds_nothing():
    same = {name: np.repeat(x[:1], 16, 0) for name, x in batch(16, np.random.default_rng(5), 100.0).items()}
    np.testing.assert_array_equal(summed([*BATCHES, same]).total, summed(BATCHES).total)


def test_a_constant_network_has_no_scores():
    constant = [x | {"a": np.full_like(x["a"], 0.1)} for x in BATCHES]
    with pytest.warns(js.UndefinedScores, match="network 'a' has no cka-linear scores .* same features"):
        A = summed(constant).affinity()
    assert A.undefined == (("a", 0),)
    np.testing.assert_array_equal(np.isnan(A.values), [[0, 1, 0], [1, 1, 1], [0, 1, 0]])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_refused_by_name_and_stays_nan_inside_jit(bad):
    x = BATCHES[0] | {"c": BATCHES[0]["c"].copy()}
    x["c"][[2, 5], 1] = bad
    with pytest.raises(ValueError, match=r"'c' has no cka-linear map of this batch: its .* in 2 of 16 images; leave"):
        summed([x])
    found = jax.jit(lambda x: summed([x]))(x)
    with pytest.warns(js.UndefinedScores, match="network 'c' .* NaN or infinite in a batch, inside jit"):
        got = values(found)
    np.testing.assert_array_equal(np.isnan(got), [[0, 0, 1], [0, 0, 1], [1, 1, 1]])


@pytest.mark.slow
def test_zero_images_have_no_angles():
    x = BATCHES[0] | {"c": BATCHES[0]["c"].copy()}
    x["c"][3] = 0
    with pytest.raises(ValueError, match="its features are all zero in 1 of 16 images"):
        summed([x], "dds:identity,cosine")


def test_features_too_large_for_products():
    x = BATCHES[0] | {"c": np.float32(1e30) * BATCHES[0]["c"]}
    with pytest.raises(ValueError, match="products of its features, up to .*, are beyond the range of float32"):
        summed([x])


# Refusals


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        ("rsa", "spearman of all images is not a sum over batches; js.affinity computes it, in tiles"),
        ("cka-linear-biased", "centered-cosine has a bias that depends on the size of the batch; cka-linear has none"),
        ("rv", "center:linear:u-centered-cosine has none"),
        ("distance-correlation", "distance-correlation-unbiased has none"),
        ("cka-rbf", "rbf needs all images together"),
        ("cka-rbf-biased", "a bias .*; js.affinity computes it"),
        ("dds-laplacian", "the transform zscore needs all images together.*in tiles"),
        ("dds:center,cosine", "the transform center needs all images together"),
        ("cca", r"canonical-correlation of all images is not a sum over batches; js.affinity computes it\."),
    ],
)
def test_measures_without_sums_are_refused(measure, words):
    with pytest.raises(ValueError, match=f"{measure if measure[0] != 'd' else ''}.* cannot be summed over .*{words}"):
        Minibatches.of(NAMES, measure)


class Noting:
    """A transform that notes when it is traced."""

    by_image = only_shifts = True

    def __init__(self, calls):
        self.calls = calls

    def __call__(self, x):
        self.calls.append(x.shape)
        return x


def kernel(x):
    """A linear kernel that declares nothing."""
    return jnp.matmul(x, x.T, precision=lax.Precision.HIGHEST)


class Kernel:
    """The same kernel, which says that it is by pair."""

    by_pair = True

    def __call__(self, x):
        return kernel(x)


@pytest.mark.slow
def test_kernels_of_your_own():
    compare = js.compare.u_centered_cosine
    with pytest.raises(ValueError, match="kernel needs all images together, as it does not declare by_pair"):
        Minibatches.of(NAMES, js.Measure(js.transforms.identity, kernel, compare))
    got = summed(BATCHES, js.Measure(js.transforms.identity, Kernel(), compare))
    np.testing.assert_allclose(values(got), oracle(BATCHES), atol=ACCURACY)


@pytest.mark.parametrize(
    ("names", "measure", "error", "words"),
    [
        ("ab", "cka", TypeError, "names must be a list of names"),
        ([1, 2], "cka", TypeError, "names must be a list of names"),
        (None, "cka", TypeError, "names must be a list of names"),
        (["a"], "cka", ValueError, "names has 1 name"),
        (["a", "a"], "cka", ValueError, "two networks in names have the name 'a'"),
        (["a", "b"], ["cka", "cka"], TypeError, "one measure, not a list"),
        (["a", "b"], "kca", ValueError, "no measure is named 'kca'"),
    ],
)
def test_names_and_measures_that_are_none(names, measure, error, words):
    with pytest.raises(error, match=words):
        Minibatches.of(names, measure)


X = BATCHES[0]


@pytest.mark.parametrize(
    ("features", "error", "words"),
    [
        ({"a": X["a"], "b": X["b"]}, ValueError, "lacks network 'c'; the networks are b, a, c"),
        (X | {"d": X["a"]}, ValueError, "has network 'd'; the networks"),
        ([X["a"]], ValueError, "features of 1 networks, without names; there are 3: b, a, c"),
        (X | {"c": X["c"][:9]}, ValueError, "'b' and 'c' have 16 and 9 images; all networks in a batch need the same"),
        ({n: x[:3] for n, x in X.items()}, ValueError, "at least 4 images in a batch; this one has 3: .*drop_small"),
        (X | {"a": X["a"][:, 0]}, ValueError, "network 'a' has features of shape"),
        (X | {"a": X["a"] + 1j}, TypeError, "network 'a' has elements of type complex"),
        (None, TypeError, "features must map names"),
    ],
)
def test_batches_that_are_none(features, error, words):
    with pytest.raises(error, match=words):
        Minibatches.of(NAMES, "cka-linear").add(features)


def test_small_batches_are_refused_inside_jit_too():
    with pytest.raises(ValueError, match="this one has 3"):
        jax.jit(lambda x: summed([x]))({n: x[:3] for n, x in X.items()})


def test_merging_other_networks_or_measures():
    one = summed(BATCHES[:1])
    with pytest.raises(TypeError, match="merge takes other Minibatches, not Affinity"):
        one.merge(one.affinity())
    with pytest.raises(ValueError, match="have the networks b, a, c, and the others a, b"):
        one.merge(Minibatches.of(["a", "b"], "cka"))
    with pytest.raises(ValueError, match="have the measure cka-linear, and the others distance-correlation-unbiased"):
        one.merge(Minibatches.of(NAMES, "distance-correlation-unbiased"))


def test_scores_that_are_not_there():
    with pytest.raises(ValueError, match="no batch was added"):
        Minibatches.of(NAMES, "cka").affinity()
    found = summed(BATCHES[:1])
    with pytest.raises(ValueError, match="against names 'z'; the networks are b, a, c"):
        found.affinity(against=["z"])
    with pytest.raises(TypeError, match="against must be a list of names of networks"):
        found.affinity(against="a")
    for none in ([], NAMES):
        with pytest.raises(ValueError, match="against must name some of the networks and leave some"):
            found.affinity(against=none)
