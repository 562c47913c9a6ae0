"""Every contraction that reaches a number asks for full float32 precision: seen in the jaxprs, since a CPU ignores it.

On Ampere and later GPUs the default float32 matmul is TF32, wrong by 1e-3. Nothing here is compiled or run.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr
from marks import slow_but

import jaxsim as js
from jaxsim import centering, compare, engine, measures, pairwise, protocols, resampling, transforms

CONTRACTIONS = {"dot_general", "conv_general_dilated", "ragged_dot", "ragged_dot_general"}
OPAQUE = {"svd", "qr", "eigh", "eig", "cholesky", "triangular_solve", "lu", "householder_product", "schur"}
"""Decompositions, whose inner products take no precision."""
SUBSPACES = {name for name, m in measures.NAMED.items() if m.pairwise == js.subspaces.principal_coordinates}
FOUND = frozenset({"svd", "qr"})
"""Decompositions that find subspaces, and no other measure."""
N = 8
X = jax.ShapeDtypeStruct((N, 2, 3, 4), jnp.float32)
FLAT = jax.ShapeDtypeStruct((N, 6), jnp.float32)
MAP = jax.ShapeDtypeStruct((N, N), jnp.float32)
STACK = jax.ShapeDtypeStruct((3, N, N), jnp.float32)
WEIGHTS = jax.ShapeDtypeStruct((N, 5), jnp.float32)
TRANSFORMS, PAIRWISE, COMPARE = ([n.replace("-", "_") for n in parts] for parts in measures.PARTS.values())
NO_PRODUCT = ("laplacian", "cityblock")
"""Distances and kernels that multiply no matrices."""


def inner(value):
    """Jaxprs in a parameter of an equation, in lists and tuples too."""
    if isinstance(value, ClosedJaxpr):
        yield value.jaxpr
    elif isinstance(value, Jaxpr):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from inner(part)


def equations(jaxpr):
    """All equations, through scan, while, cond, jit, checkpoint, custom derivatives and whatever else holds a jaxpr."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for sub in inner(value):
                yield from equations(sub)


def is_exact(equation):
    precision = equation.params["precision"]
    both = precision if isinstance(precision, tuple) else (precision, precision)
    return all(p == lax.Precision.HIGHEST for p in both)


def check(closed, allowed=frozenset()):
    """Number of contractions, all of them exact, and no decompositions but those that are allowed."""
    found = list(equations(closed.jaxpr))
    assert not {e.primitive.name for e in found} & OPAQUE - allowed
    contractions = [e for e in found if e.primitive.name in CONTRACTIONS]
    leaks = [f"{e.primitive.name} {[v.aval.str_short() for v in e.invars]}" for e in contractions if not is_exact(e)]
    assert not leaks, f"contractions at default precision: {leaks}"
    return len(contractions)


def value_and_slope(f):
    return lambda *args: jax.value_and_grad(lambda *a: jnp.sum(f(*a)))(*args)


# The algebra.
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name):
    where = np.ones(X.shape[1:], bool)
    for f in (getattr(transforms, name), lambda x: getattr(transforms, name)(x, where)):
        check(jax.make_jaxpr(value_and_slope(f))(X))


def test_duality():
    square = jax.ShapeDtypeStruct((6, 6), jnp.float32)
    run = value_and_slope(lambda x, q, d: transforms.Duality(q, d)(x))
    assert check(jax.make_jaxpr(run)(FLAT, square, MAP)) >= 3


@pytest.mark.parametrize("name", slow_but(["correlation", "euclidean", "linear", "rbf"], PAIRWISE))
def test_pairwise(name):
    value = getattr(pairwise, name)
    expected = 0 if name in NO_PRODUCT else 1
    own = protocols.declared(value, protocols.PairwiseCapabilities)
    for level in range(3 if own.stable else 1):
        product, finish = own.stable(level) if own.stable else (own.product, own.finish)
        run = value_and_slope(lambda x, p=product, f=finish: f(p(x, None), jnp.float32(x.shape[1])))
        closed = jax.make_jaxpr(run)(FLAT)
        assert check(closed) >= expected
    assert check(jax.make_jaxpr(value_and_slope(value))(FLAT)) >= expected


@pytest.mark.parametrize("name", ["biased", "unbiased"])
def test_centering(name):
    weights = jax.ShapeDtypeStruct((N,), jnp.float32)
    assert check(jax.make_jaxpr(value_and_slope(getattr(centering, name)))(MAP, weights)) >= 2


@pytest.mark.parametrize("name", COMPARE)
def test_comparators(name):
    check(jax.make_jaxpr(value_and_slope(getattr(compare, name)))(MAP, MAP))


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPARE)
def test_comparators_of_two_sets_under_weights(name):
    """Of one set they are in the program of the bootstrap."""
    value = getattr(compare, name)
    own = protocols.declared(value, protocols.ComparatorCapabilities)

    def run(x, y, w):
        x, y = (jax.vmap(own.prepare or own.embed)(a) for a in (x, y))
        return value.weighted(x, y, w)

    assert check(jax.make_jaxpr(run)(STACK, STACK, WEIGHTS)) >= (not name.startswith("kendall"))  # which counts


def test_pair_moments():
    pairs = jax.ShapeDtypeStruct((3, 28), jnp.float32)
    weights = jax.ShapeDtypeStruct((28, 5), jnp.float32)
    assert check(jax.make_jaxpr(compare.pair_moments)(pairs, pairs, weights)) == 1


# Measures.
@pytest.mark.parametrize("name", slow_but(["rsa", "cka-linear", "svcca"], measures.NAMED))
def test_named_measures_and_their_gradients(name):
    allowed = FOUND if name in SUBSPACES else frozenset()
    count = check(jax.make_jaxpr(jax.value_and_grad(measures.NAMED[name], (0, 1)))(X, X), allowed)
    assert count >= 2 or name == "dds-laplacian" or name in SUBSPACES


@pytest.mark.slow
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("kernel", PAIRWISE)
def test_cells(transform, kernel):
    measure = js.dds(getattr(transforms, transform), getattr(pairwise, kernel))
    check(jax.make_jaxpr(jax.value_and_grad(measure))(X, X))


# The device programs, as the verbs call them.
class TracedError(Exception):
    """Carries the jaxpr out of the verb instead of running it."""


@pytest.fixture
def program(monkeypatch):
    """The jaxpr of the device call that a verb makes."""

    def spy(module, name):
        real = getattr(module, name)

        def trace(measures_, x, y, *rest, **options):
            arrays, static = (
                {k: a for k, a in enumerate(rest) if jax.tree.leaves(a) and _arrays(a)},
                dict(enumerate(rest)),
            )

            def run(measures_, x, y, arrays):
                return real(measures_, x, y, *({**static, **arrays}[k] for k in range(len(rest))), **options)

            raise TracedError(jax.make_jaxpr(run)(measures_, x, y, arrays))

        monkeypatch.setattr(module, name, trace)

    def of(verb, *args, **options):
        spy(engine.verbs, "affinity_call")
        spy(resampling.verbs, "whole_call")
        with pytest.raises(TracedError) as caught:
            verb(*args, **options)
        return caught.value.args[0]

    return of


def _arrays(a):
    return all(isinstance(leaf, (jax.Array, np.ndarray)) for leaf in jax.tree.leaves(a))


def networks(shapes=((2, 3, 4),) * 3):
    rng = np.random.default_rng(0)
    return {f"network {k}": rng.normal(size=(N, *shape)).astype(np.float32) for k, shape in enumerate(shapes)}


EVERY = [m for name, m in measures.NAMED.items() if name not in SUBSPACES]
COMPARED = [js.Measure(transforms.center, pairwise.euclidean, getattr(compare, g)) for g in COMPARE]
PADDED = [(2, 3, c) for c in (2, 4, 6, 8, 10)]  # more shapes than the engine compiles for


def test_affinity(program):
    every = [*EVERY, *COMPARED]
    assert check(program(js.affinity, networks(), every)) >= len(every)


@pytest.mark.slow
def test_affinity_of_padded_networks_and_others(program):
    every = list({(m.transform, m.pairwise): m for m in EVERY}.values())
    assert check(program(js.affinity, networks(PADDED), every, against=networks(PADDED[:1]))) >= len(every)


@pytest.mark.parametrize("shapes", [((2, 3, 4),) * 3, PADDED], ids=["one shape", "padded"])
def test_affinity_of_subspaces(program, shapes):
    assert check(program(js.affinity, networks(shapes), sorted(SUBSPACES)), FOUND) >= len(SUBSPACES)


@pytest.mark.slow
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_affinity_of_padded_cells(program, transform):
    cells = [js.dds(getattr(transforms, transform), getattr(pairwise, f)) for f in PAIRWISE]
    assert check(program(js.affinity, networks(PADDED), cells)) >= len(cells)


def test_affinity_of_a_comparator_of_ones_own(program):
    check(program(js.affinity, networks(), js.Measure(transforms.center, pairwise.linear, alignment)))


def alignment(a, b):
    return jnp.sum(a * b)


SCHEMES = {
    "bootstrap": js.Bootstrap(),
    "bayesian": js.BayesianBootstrap(),
    "subsample": js.Subsample(6),
    "permutation": js.Permutation(),
}


@pytest.mark.parametrize("scheme", slow_but(["bayesian", "subsample"], SCHEMES))
@pytest.mark.parametrize("against", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_resampling(program, scheme, against):
    # subsets go through the program of affinity, and weights of two schemes through one
    every = EVERY[:3] if scheme in ("bayesian", "subsample") else [*EVERY, *COMPARED]
    options = {"against": networks(((5,),))} if against else {}
    closed = program(js.resample, networks(), every, SCHEMES[scheme], n_resamples=20, key=jax.random.key(0), **options)
    assert check(closed) >= len(every)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_resampling_of_subspaces(program, scheme):
    options = {"n_resamples": 20, "key": jax.random.key(0)}
    closed = program(js.resample, networks(), sorted(SUBSPACES), SCHEMES[scheme], **options)
    assert check(closed, FOUND) >= len(SUBSPACES)


# The check itself.
def _in_scan(x):
    return lax.scan(lambda c, _: (c @ x, None), x, None, length=2)[0]


def _in_while(x):
    return lax.while_loop(lambda c: c[0, 0] > 0, lambda c: jnp.einsum("ij,jk->ik", c, x), x)


def _in_cond(x):
    return lax.cond(x[0, 0] > 0, lambda x: jnp.dot(x, x), lambda x: x, x)


def _in_map(x):
    return lax.map(lambda row: row @ x, x)


@jax.custom_jvp
def _custom(x):
    return x * jnp.sum(x @ x)


_custom.defjvp(lambda p, t: (_custom(*p), t[0]))


def _in_gradient(x):
    """Exact forwards; its derivative rule is not."""
    return jax.grad(lambda x: jnp.sum(_rule(x)))(x)


@jax.custom_vjp
def _rule(x):
    return 2 * x


_rule.defvjp(lambda x: (2 * x, x), lambda x, g: (g @ x,))


def _half(x):
    return lax.dot_general(x, x, (((1,), (0,)), ((), ())), precision=(lax.Precision.HIGHEST, lax.Precision.DEFAULT))


def _convolution(x):
    return lax.conv_general_dilated(x[None, None], x[None, None], (1, 1), "SAME")


PLANTED = {
    "bare matmul": lambda x: x @ x,
    "jit": jax.jit(lambda x: x @ x),
    "scan": _in_scan,
    "while": _in_while,
    "cond": _in_cond,
    "map": _in_map,
    "custom_jvp": _custom,
    "rule of a gradient": _in_gradient,
    "vmap": jax.vmap(lambda row: jnp.dot(row, row)),
    "checkpoint": jax.checkpoint(lambda x: x @ x),
    "cov": jnp.cov,
    "corrcoef": jnp.corrcoef,
    "one operand only": _half,
    "convolution": _convolution,
    "high": lambda x: jnp.matmul(x, x, precision=lax.Precision.HIGH),
}


@pytest.mark.parametrize("where", PLANTED)
def test_a_planted_leak_is_caught(where):
    with pytest.raises(AssertionError, match="default precision"):
        check(jax.make_jaxpr(PLANTED[where])(MAP))


@pytest.mark.parametrize("f", [jnp.linalg.svd, jnp.linalg.qr, jnp.linalg.eigh, jnp.linalg.inv])
def test_a_planted_decomposition_is_caught(f):
    with pytest.raises(AssertionError):
        check(jax.make_jaxpr(f)(MAP))


def test_exact_contractions_pass():
    run = jax.jit(
        lambda x: lax.map(lambda r: jnp.dot(r, x, precision="highest"), jnp.matmul(x, x, precision="highest"))
    )
    assert check(jax.make_jaxpr(run)(MAP)) == 2


def test_the_library_leaves_the_configuration_alone():
    before = jax.config.jax_default_matmul_precision, jax.config.jax_enable_x64
    jax.make_jaxpr(js.RSA)(X, X)
    jax.jit(transforms.center)(np.ones((4, 2), np.float32))
    assert before == (jax.config.jax_default_matmul_precision, jax.config.jax_enable_x64) == (None, False)
