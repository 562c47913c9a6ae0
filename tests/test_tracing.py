"""The verbs inside jit, vmap, scan and grad, on sharded stacks and exported: the numbers of a plain call, one trace."""

import functools
import os
import subprocess
import sys

import chex
import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import QUICK
from jax import lax
from marks import slow_but

import jaxsim as js
from jaxsim import measures, schemes
from jaxsim.engine import padding

T, N, D = 3, 12, 5
NAMES = list(measures.NAMED)
FEW = ["rsa", "cka"]
SMOOTH = ["cka-linear", "dds-laplacian"]  # by features and by maps
SCHEMES = {kind: (make(size=6) if make is js.Subsample else make()) for kind, make in schemes.NAMED.items()}
KEY = jax.random.key(3)
ACCURACY = 2e-6
RNG = np.random.default_rng(0)
CAUSES = RNG.normal(size=(2, 1, N, D))
STACKS = (CAUSES + RNG.normal(size=(2, T, N, D))).astype(np.float32)
OTHERS = (CAUSES[..., 1:] + RNG.normal(size=(2, 2, N, D - 1))).astype(np.float32)

EVENTS = []
jax.monitoring.register_event_duration_secs_listener(lambda event, _, **what: EVENTS.append(event))


def count(scheme):
    return {"jackknife": None, "permutation": 20}.get(scheme.kind, 4)


def scores(x, y, names=NAMES):
    """Measures in a list, and networks of a dictionary against others."""
    return {
        "list": [a.values for a in js.affinity(x, names)],
        "against": js.affinity({"a": x[0], "b": x[1]}, "distance-correlation", against={"t": y[0]}).values,
    }


def some_scores(x, y):
    """Ranks and distances."""
    return {"list": [a.values for a in js.affinity(x, ["rsa", "dds-laplacian"])]}


def resampled(x, y):
    """Every scheme on one set of networks, ranks under weights, and two sets."""
    found = [resample(x, "cka", scheme) for scheme in SCHEMES.values()]
    ranked = resample(x, ["rsa", "distance-correlation"], SCHEMES["bootstrap"])
    crossed = resample(x, "cka", SCHEMES["permutation"], against=y)
    return [(r.values, r.estimate) for r in [*found, *ranked, crossed]]


def some_resampled(x, y):
    """Weights and subsets."""
    found = [resample(x, "cka", SCHEMES[kind]) for kind in ("bootstrap", "subsample")]
    return [(r.values, r.estimate) for r in found]


def resample(x, measure, scheme, **rest):
    return js.resample(x, measure, scheme, n_resamples=count(scheme), key=KEY, **rest)


def one_by_one(f):
    return lambda xs, ys: jax.tree.map(lambda *a: np.stack(a), *(f(x, y) for x, y in zip(xs, ys, strict=True)))


def vmapped(f):
    return jax.jit(jax.vmap(f))


def scanned(f):
    def run(xs, ys):
        return lax.scan(lambda done, xy: (done + 1, f(*xy)), 0, (xs, ys))[1]

    return jax.jit(run)


@functools.cache
def plain(program):
    return one_by_one(program)(STACKS, OTHERS)


@pytest.mark.parametrize(
    ("inside", "program"),
    [
        (vmapped, some_scores),
        pytest.param(scanned, some_resampled, marks=pytest.mark.slow),
        *(pytest.param(vmapped, program, marks=pytest.mark.slow) for program in (scores, resampled)),
    ],
)
def test_inside_a_transformation_the_numbers_are_those_of_a_plain_call(inside, program):
    traces = []

    def counted(x, y):
        traces.append(program)
        return program(x, y)

    run = inside(counted)
    run(STACKS[:, :, ::-1], OTHERS)
    found = run(STACKS, OTHERS)
    assert len(traces) == 1
    chex.assert_trees_all_close(found, plain(program), rtol=0, atol=ACCURACY)


def test_a_record_comes_out_of_jit_with_its_names():
    both = jax.jit(lambda x: (js.affinity(x, "dds-laplacian"), js.resample(x, "cka", "jackknife")))
    a, r = both({"a": STACKS[0, 0], "b": STACKS[0, 1]})
    assert (a.names, a.provenance.measure, a.provenance.device) == (("a", "b"), "dds-laplacian", "traced")
    assert (r.targets, r.kind, r.images) == (("a", "b"), "jackknife", N)
    assert "dds-laplacian, 2 x 2, 12 images" in str(a)
    assert jax.eval_shape(lambda r: r.interval(), r).shape == (2, 2, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "key", [pytest.param(jnp.uint32(7), marks=pytest.mark.slow), jax.random.key(7)], ids=["seed", "key"]
)
def test_seeds_and_keys_may_be_traced(key):
    want = js.resample(STACKS[0], "cka", js.Bootstrap(), n_resamples=4, key=7)
    run = jax.jit(lambda x, k: js.resample(x, "cka", js.Bootstrap(), n_resamples=4, key=k))
    np.testing.assert_allclose(run(STACKS[0], key).values, want.values, rtol=0, atol=ACCURACY)


def test_a_seed_that_is_known_stays_in_the_record():
    found = jax.eval_shape(lambda x: js.resample(x, "cka", js.Bootstrap(), n_resamples=4, key=7), STACKS[0])
    assert found.provenance.key == f"{jax.random.key_impl(jax.random.key(7))}:[0, 7]"


WEIGHTS = RNG.uniform(0.5, 2, (3, N)).astype(np.float32)
SUBSETS = np.stack([RNG.permutation(N)[:6] for _ in range(3)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "given", "wrong", "said"),
    [
        pytest.param(lambda w: js.Bootstrap(weights=w), WEIGHTS, WEIGHTS[:, :9], r"\(3, 9\)", marks=pytest.mark.slow),
        (lambda i: js.Subsample(indices=i), SUBSETS, SUBSETS[:, :3], "3 images"),
    ],
    ids=["weights", "indices"],
)
def test_explicit_resamples_may_be_traced(make, given, wrong, said):
    run = jax.jit(lambda x, g: js.resample(x, "cka", make(g)).values)
    want = js.resample(STACKS[0], "cka", make(given)).values
    np.testing.assert_allclose(run(STACKS[0], given), want, rtol=0, atol=ACCURACY)
    with pytest.raises(ValueError, match=said):
        run(STACKS[0], wrong)


# Gradients


@pytest.mark.slow
def test_gradients_are_those_of_the_plain_formulas_and_ranks_have_none():
    def of_verb(xs):
        return sum(js.affinity(x, n).values[0, 1] for n, x in zip([*SMOOTH, "rsa"], xs, strict=True))

    def of_formulas(xs):
        return sum(measures.NAMED[n](*x) for n, x in zip(SMOOTH, xs, strict=True))

    @jax.jit
    def slopes(xs):
        return jax.grad(of_verb)(xs), jax.grad(of_formulas)(xs[:-1])

    (*found, ranks), wanted = slopes(np.stack([STACKS[0, :2]] * 3))
    np.testing.assert_array_equal(ranks, 0)
    for name, slope, want in zip(SMOOTH, found, wanted, strict=True):
        size = np.abs(want).max()
        assert size > 1e-3
        np.testing.assert_allclose(slope, want, rtol=0, atol=2e-5 * size, err_msg=name)


@pytest.mark.slow
def test_the_gradient_where_maps_replace_scores_that_lost_their_digits():
    x = STACKS[0, :2].copy()
    x[0, 0] *= 1e4
    found = jax.jit(jax.grad(lambda x: js.affinity(x, "cka").values[0, 1]))(x)
    want = jax.jit(jax.grad(lambda x: js.CKA_LINEAR(x[0], x[1])))(x)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_the_gradient_of_resamples_under_equal_weights_is_that_of_the_estimate():
    def total(x, of):
        r = js.resample(x, "cka", js.Bootstrap(weights=np.ones((2, N))))
        return jnp.sum(jnp.triu(getattr(r, of), 1))

    found, want = jax.jit(lambda x: [jax.grad(total)(x, of) for of in ("values", "estimate")])(STACKS[0])
    np.testing.assert_allclose(found / 2, want, rtol=0, atol=2e-5 * np.abs(want).max())


# One device call


def top_level(f, *args):
    return [e.primitive.name for e in jax.make_jaxpr(f)(*args).eqns]


def test_affinity_is_one_equation():
    assert top_level(lambda x: js.affinity(x, FEW), STACKS[0]) == ["jit"]
    assert top_level(lambda x, y: js.affinity(x, FEW, against=y), STACKS[0], OTHERS[0]) == ["jit"]
    assert top_level(lambda x, y: js.affinity({"a": x, "b": y}, FEW), STACKS[0, 0], STACKS[0, 1]) == ["jit"]
    assert top_level(lambda x: js.maps(x, "rsa"), STACKS[0]) == ["jit"]
    assert top_level(lambda m: js.compare_maps(m, "spearman"), np.ones((T, N, N), np.float32)) == ["jit"]
    assert top_level(lambda x: js.noise_ceiling(x, "rsa"), STACKS[0]) == ["jit"]


@pytest.mark.parametrize("kind", slow_but(set(SCHEMES) - {"bootstrap"}, SCHEMES))
def test_resampling_is_one_equation(kind):
    if kind == "bootstrap":
        assert top_level(lambda x: js.resample(x, FEW, SCHEMES[kind]), STACKS[0]) == ["jit"]
    assert top_level(lambda x, y, k: js.resample(x, "cka", SCHEMES[kind], against=y, key=k), *STACKS, KEY) == ["jit"]


HELD = {
    "numpy": STACKS[0],
    "jax": jnp.asarray(STACKS[0]),
    "named": dict(zip("abc", STACKS[0], strict=True)),
    "of both": {"a": STACKS[0, 0], "b": jnp.asarray(STACKS[0, 1])},
    "padded": {str(d): STACKS[0, 0, :, :d] for d in range(2, 6)},
}
CALLS = {f"affinity of {k}": lambda x=x: js.affinity(x, "cka") for k, x in HELD.items()}
CALLS |= {
    f"resamples of {k}": lambda x=HELD[k]: js.resample(x, "cka", "bootstrap", n_resamples=4)
    for k in ("named", "padded")
}
CALLS |= {k: lambda s=s: resample(HELD["jax"], "cka", s) for k, s in SCHEMES.items()}
CALLS |= {
    "maps": lambda: js.maps(HELD["jax"], "rsa"),
    "ceiling": lambda: js.noise_ceiling(HELD["jax"], "center:correlation:pearson"),
}


def work():
    """Traces and compilations since EVENTS was cleared."""
    return [e for e in EVENTS if "trace" in e or "compile" in e]


def test_tracing_and_compiling_are_heard():
    EVENTS.clear()
    jax.jit(lambda x: x * 17.5)(jnp.ones(3)).block_until_ready()
    assert any("trace" in e for e in work())
    assert any("compile" in e for e in work())


@pytest.mark.slow
def test_a_dictionary_keeps_its_names_whatever_its_order():
    named = dict(zip("bac", STACKS[0], strict=True))
    plain, inside = js.affinity(named, "cka"), jax.jit(lambda x: js.affinity(x, "cka"))(named)
    assert (plain.names, inside.names) == (("b", "a", "c"), ("a", "b", "c"))
    order = [inside.names.index(name) for name in plain.names]
    np.testing.assert_allclose(np.asarray(inside.values)[np.ix_(order, order)], plain.values, rtol=0, atol=2e-6)


@pytest.mark.parametrize("call", slow_but(["affinity of named", "affinity of padded", "half-samples", "maps"], CALLS))
def test_a_second_plain_call_traces_nothing_and_moves_nothing_unasked(call, monkeypatch):
    monkeypatch.setattr(padding, "BUCKETS", 1)  # every bucket is more to compile
    jax.block_until_ready(jax.tree.leaves(CALLS[call]()))
    EVENTS.clear()
    with jax.transfer_guard("disallow"):
        found = CALLS[call]()
    assert work() == []
    assert all(isinstance(leaf, (jax.Array, np.ndarray)) for leaf in jax.tree.leaves(found))


# Elsewhere

PLATFORMS = ("cpu", "cuda", "tpu")
CORES = {
    "affinity": lambda x: [a.values for a in js.affinity(x, NAMES)],
    "maps": lambda x: js.maps(x, "rsa").values,
    "ceiling": lambda x: tuple(js.noise_ceiling(x, "rsa")),
} | {k: lambda x, s=s: resample(x, "cka", s).values for k, s in SCHEMES.items()}


@pytest.mark.parametrize("core", slow_but(["maps", "half-samples"], CORES))
def test_every_core_can_be_exported(core):
    run = jax.jit(CORES[core])
    exported = jax.export.export(run, platforms=PLATFORMS)(jax.ShapeDtypeStruct(STACKS[0].shape, np.float32))
    assert exported.platforms == PLATFORMS


@pytest.mark.slow
def test_an_exported_program_gives_the_same_numbers():
    exported = jax.export.export(jax.jit(CORES["subsample"]), platforms=PLATFORMS)(STACKS[0])
    np.testing.assert_allclose(exported.call(STACKS[0]), CORES["subsample"](STACKS[0]), rtol=0, atol=ACCURACY)


SHARDED = """
import jax
jax.config.update("jax_num_cpu_devices", 8)
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import jaxsim as js

x = np.random.default_rng(0).normal(size=(8, 16, 5)).astype(np.float32)

def run(x):
    r = js.resample(x, "cka", js.HalfSamples(), n_resamples=2)
    return [a.values for a in js.affinity(x, ["rsa", "cka"])] + [r.values, r.estimate]

slope = jax.jit(jax.grad(js.CKA_LINEAR))

want = run(x)
for kind in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((8,), ("d",), axis_types=(kind,))
    pair = [jax.device_put(x[k], NamedSharding(mesh, PartitionSpec("d"))) for k in range(2)]
    np.testing.assert_allclose(slope(*pair), slope(x[0], x[1]), rtol=0, atol=2e-6, err_msg=f"{kind} pair")
    for spec in (PartitionSpec("d"), PartitionSpec(None, "d")):
        placed = jax.device_put(x, NamedSharding(mesh, spec))
        found = [run(placed), jax.jit(run)(placed)]
        with jax.set_mesh(mesh):
            found.append(run(placed))
        for values in found:
            for ours, theirs in zip(values, want, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6, err_msg=f"{kind} {spec}")
print("same")
"""


@pytest.mark.slow
def test_a_sharded_stack_gives_the_same_numbers():
    """On eight devices, networks or images divided among them, mesh axes automatic or explicit."""
    run, environment = [sys.executable, "-c", SHARDED], os.environ | {"XLA_FLAGS": QUICK}
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.stdout.strip() == "same", done.stderr[-2000:]


# What stays outside


@pytest.mark.parametrize("read", [float, bool, np.asarray])
def test_a_score_that_is_read_inside_jit_is_an_error_of_jax_at_that_line(read):
    with pytest.raises(jax.errors.JAXTypeError, match="traced array") as error:
        jax.jit(lambda x: read(js.CKA_LINEAR(x[0], x[1])))(STACKS[0])
    assert str(error.traceback[-1].path) == __file__


@pytest.mark.slow
def test_second_derivatives_are_those_of_finite_differences():
    with jax.enable_x64(True):
        y, other, direction = jnp.asarray(np.random.default_rng(0).normal(size=(3, 10, 3)))
        slope = jax.jit(jax.grad(lambda y: js.CKA_LINEAR(y, other)))
        hessian = jax.jit(jax.jacfwd(slope))(y)
        apart = (slope(y + 1e-5 * direction) - slope(y - 1e-5 * direction)) / 2e-5
        np.testing.assert_allclose(jnp.einsum("ijkl,kl->ij", hessian, direction), apart, rtol=0, atol=1e-9)
        np.testing.assert_allclose(hessian, hessian.transpose(2, 3, 0, 1), rtol=0, atol=1e-14)


MAPS = np.ones((T, N, N), np.float32)
OTHER_IDS = {"a": range(N), "b": range(1, N + 1)}
OUTSIDE = {
    "progress": (lambda x: js.resample(x, "cka", n_resamples=4, progress=print), TypeError, "leave it out"),
    "progress of a study": (lambda x: js.variance_study(x, "cka", progress=print), TypeError, "leave it out"),
    "memory": (lambda x: js.affinity(x, "cka", memory=1e9), TypeError, "leave it out"),
    "pairs of networks": (
        lambda x: js.affinity({"a": x[0], "b": x[1]}, "cka", ids=OTHER_IDS, align=True, missing="pairwise"),
        TypeError,
        'use missing="shared"',
    ),
    "pairs of maps": (
        lambda x: js.compare_maps(x @ x.mT, "pearson", missing="pairwise"),
        TypeError,
        "does not work inside jit",
    ),
    "strata": (
        lambda x: js.resample(x, "cka", js.Bootstrap(strata=x[0, :, 0])),
        TypeError,
        "must not be traced by jit",
    ),
    "a file": (lambda x: js.affinity(x, "cka").save("a.npz"), TypeError, "return it from the function"),
    "a ranking": (lambda x: js.affinity(x, "cka").ranking("network_0"), TypeError, "return it from the function"),
    "a table": (lambda x: js.resample(x, "cka", n_resamples=4).table(), TypeError, "return it from the function"),
    "a frame": (lambda x: js.affinity(x, "cka").to_pandas(), TypeError, "return it from the function"),
    "a picture": (lambda x: js.affinity(x, "cka").plot(), TypeError, "return it from the function"),
    "agreement": (
        lambda x: js.evaluate(js.affinity(x, "cka"), js.affinity(x, "rsa"), diagonal=True),
        TypeError,
        "return it from the function",
    ),
    "too few images": (lambda x: js.affinity(x[:, :3], "cka"), ValueError, "at least 4 images"),
    "one network": (lambda x: js.affinity(x[:1], "cka"), ValueError, "only 'network_0'"),
    "no stack": (lambda x: js.affinity(x[0], "cka"), ValueError, "not a stack"),
    "no maps": (lambda x: js.compare_maps(x, "spearman"), ValueError, "(12, 5)"),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_what_cannot_be_traced_says_so_in_one_sentence(case):
    call, kind, said = OUTSIDE[case]
    with pytest.raises(kind) as error:
        jax.jit(lambda x: jax.tree.leaves(call(x)))(STACKS[0])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_network_without_scores_is_nan_under_jit_and_nobody_is_warned():
    x = STACKS[0].copy()
    x[1] = 2
    found = jax.jit(lambda x: js.affinity(x, "cka"))(x)
    assert found.undefined == ()
    np.testing.assert_array_equal(np.isnan(found.values), [[False, True, False], [True] * 3, [False, True, False]])
