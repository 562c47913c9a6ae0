"""Interpreter of a function's jaxpr that replaces the derivative of activations by that of a rule."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jaxtyping import Array

from jaxsim.vision.attribution.rules import Rule


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


LINEAR = _names(
    "add add_any broadcast_in_dim concatenate convert_element_type copy cumsum expand_dims neg pad "
    "reduce_precision reduce_sum reduce_window_sum reshape rev slice split squeeze stack sub tile "
    "transpose"
)
"""Primitives that are linear, or affine, in all arguments together."""
LINEAR_IN_ONE = _names("conv_general_dilated div dot_general dynamic_slice gather mul ragged_dot_general select_n")
"""Primitives that are linear in one argument if the others are constants."""
ELEMENTWISE = _names(
    "abs acos acosh asin asinh atan atanh cbrt clamp cos cosh erf erf_inv erfc exp exp2 expm1 integer_pow "
    "lgamma log log1p logistic max min pow rsqrt sin sinh sqrt square tan tanh"
)
"""Elementwise nonlinear primitives; if there are several arguments, all but one are constants."""
DISCRETE = _names(
    "and argmax argmin ceil eq floor ge gt is_finite le lt ne nextafter not or round sign stop_gradient xor"
)
"""Primitives without a gradient."""
CALLS = _names("checkpoint closed_call custom_jvp_call custom_vjp_call jit pjit remat remat2")
BY_NUMBER = _names("add broadcast_in_dim convert_element_type copy div mul neg select_n sub")
"""Other primitives that elementwise functions consist of."""
SEVERAL = _names("div max min mul select_n")
"""Operations found in activations on more than one number that depends on the input."""
POOLING = "reduce_window_max"
CONSTANT, CUT, LIVE = range(3)


class Value(NamedTuple):
    """A number in the program.

    Attributes:
        x: its value for the input.
        x0: its value for the baseline.
        state: `CONSTANT`, `LIVE` if it has a gradient with respect to the input, `CUT` if it depends on the input
            without a gradient.
    """

    x: Any
    x0: Any
    state: int


def modified(f: Callable[[Array], Array], rule: Rule) -> Callable[[Array], Array]:
    """Replace the gradient of a function by that of a rule.

    Args:
        f: JAX function from one input to its output; it is traced, and its operations are run one by one.
        rule: its slope replaces the derivatives of activations, which are elementwise nonlinear functions.

    Returns:
        A function with the values of `f`.

    Raises:
        ValueError: when called, if `f` has no gradient, or has an operation for which the rule has no slope.

    Example:
        >>> import jax
        >>> from jaxsim.vision.attribution import EpsilonLrp
        >>> halved = modified(jax.nn.relu, EpsilonLrp(epsilon=2.0))
        >>> float(halved(2.0)), float(jax.grad(halved)(2.0))
        (2.0, 0.5)
    """

    def values(x):
        program = jax.make_jaxpr(f)(jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)))
        (state,), cuts = _states(program.jaxpr, [LIVE])
        if state != LIVE:
            by = f": its output passes through {cuts[-1]}" if cuts else " with respect to its input"
            raise ValueError(f"it has no gradient{by}; attribution needs an output that changes smoothly.")
        if rule.slope is None:
            return f(x)
        x0 = jnp.full_like(x, rule.baseline)
        return _run(rule, program.jaxpr, program.consts, [Value(x, x0, LIVE)], ())[0].x

    return values


def _run(rule: Rule, program: Jaxpr, constants: Sequence[Any], given: Sequence[Value], inside: tuple[str, ...]):
    """Outputs of a program, called by the functions `inside`."""
    known = dict(zip(program.constvars, (Value(c, c, CONSTANT) for c in constants), strict=True))
    known |= dict(zip(program.invars, given, strict=True))

    def read(v):
        return Value(v.val, v.val, CONSTANT) if isinstance(v, Literal) else known[v]

    for step in program.eqns:
        found = _step(rule, step, [read(v) for v in step.invars], inside)
        known |= dict(zip(step.outvars, found, strict=True))
    return [read(v) for v in program.outvars]


def _step(rule: Rule, step: Any, given: list[Value], inside: tuple[str, ...]) -> list[Value]:
    """Outputs of one operation."""
    name, states = step.primitive.name, [v.state for v in given]
    found, _ = _states_after(step, states)
    live = [k for k, state in enumerate(states) if state == LIVE]
    if LIVE not in found or _is_linear(name, live, states):
        pairs = zip(_bind(step, [v.x for v in given]), _bind(step, [v.x0 for v in given]), strict=True)
        return [Value(x, x0, state) for (x, x0), state in zip(pairs, found, strict=True)]
    alone, program = len(live) == 1 and CUT not in states, _program(step)
    if alone and (name in ELEMENTWISE or (program is not None and _is_activation(step, live[0]))):
        return [_activated(rule, step, given, live[0], inside)]
    if program is not None:
        return _run(rule, program.jaxpr, program.consts, given, (*inside, step.params.get("name", name)))
    if alone and name == POOLING:
        return [_pooled(rule, step, given[0])]
    raise _undefined(rule, step, inside)


def _states(program: Jaxpr, given: Sequence[int]) -> tuple[list[int], list[str]]:
    """States of a program's outputs, and the operations that cut the gradient."""
    known = dict.fromkeys(program.constvars, CONSTANT) | dict(zip(program.invars, given, strict=True))
    cuts: list[str] = []

    def read(v):
        return CONSTANT if isinstance(v, Literal) else known[v]

    for step in program.eqns:
        found, more = _states_after(step, [read(v) for v in step.invars])
        known |= dict(zip(step.outvars, found, strict=True))
        cuts += more
    return [read(v) for v in program.outvars], cuts


def _states_after(step: Any, given: Sequence[int]) -> tuple[list[int], list[str]]:
    """The same for one operation."""
    program, state = _program(step), max(given, default=CONSTANT)
    if program is not None:
        return _states(program.jaxpr, given)
    smooth = [jnp.issubdtype(v.aval.dtype, jnp.inexact) and step.primitive.name not in DISCRETE for v in step.outvars]
    cuts = [_name(step)] * (state == LIVE and not any(smooth))
    return [state if one else min(state, CUT) for one in smooth], cuts


def _program(step: Any) -> ClosedJaxpr | None:
    """The program that an operation calls, if it is a call."""
    if step.primitive.name not in CALLS:
        return None
    found = next(step.params[name] for name in ("jaxpr", "call_jaxpr", "fun_jaxpr") if name in step.params)
    return found if isinstance(found, ClosedJaxpr) else ClosedJaxpr(found, ())


def _name(step: Any) -> str:
    return str(step.params.get("name", step.primitive.name))


def _is_linear(name: str, live: Sequence[int], states: Sequence[int]) -> bool:
    if name in LINEAR:
        return True
    if name == "select_n":
        return states[0] == CONSTANT
    return name in LINEAR_IN_ONE and len(live) == 1 and CUT not in states and (name, live) != ("div", [1])


def _is_activation(step: Any, k: int) -> bool:
    """Whether a call is an elementwise nonlinear function of its k-th argument."""
    others = [v.aval.size for i, v in enumerate(step.invars) if i != k]
    shapes = [v.aval.shape for v in step.outvars]
    names = _primitives(step)
    return (
        shapes == [step.invars[k].aval.shape]
        and all(size == 1 for size in others)
        and names <= ELEMENTWISE | DISCRETE | BY_NUMBER
        and bool(names & (ELEMENTWISE | {"select_n"}))
    )


def _primitives(step: Any) -> set[str]:
    program = _program(step)
    return {step.primitive.name} if program is None else set().union(*map(_primitives, program.jaxpr.eqns))


def _activated(rule: Rule, step: Any, given: list[Value], k: int, inside: tuple[str, ...]) -> Value:
    """An activation with the rule's slope."""

    def f(z):
        return _bind(step, [z if i == k else v.x for i, v in enumerate(given)])[0]

    if rule.from_zero and not _is_zero_at_zero(step, [0.0 if i == k else v.x for i, v in enumerate(given)]):
        raise _undefined(rule, step, inside, ", which is not 0 at 0")
    assert rule.slope is not None
    z = given[k]
    return Value(_with_slope(z.x, f(z.x), rule.slope(f, z.x, z.x0)), f(z.x0), LIVE)


def _is_zero_at_zero(step: Any, given: Sequence[Any]) -> bool:
    """Whether an activation maps zero to 0; false if it has arrays as parameters."""
    if any(isinstance(v, Tracer) for v in given):
        return False
    with jax.ensure_compile_time_eval():
        return float(_of_one_number(step, given)[0]) == 0


def _of_one_number(step: Any, given: Sequence[Any]) -> list[Any]:
    """An elementwise operation on scalars instead of arrays."""
    program = _program(step)
    if step.primitive.name == "broadcast_in_dim":
        return [given[0]]
    if program is None:
        return _bind(step, [jnp.asarray(v, u.aval.dtype).reshape(()) for v, u in zip(given, step.invars, strict=True)])
    known = dict(zip(program.jaxpr.invars, given, strict=True))
    known |= dict(zip(program.jaxpr.constvars, program.consts, strict=True))

    def read(v):
        return v.val if isinstance(v, Literal) else known[v]

    for inner in program.jaxpr.eqns:
        known |= dict(zip(inner.outvars, _of_one_number(inner, [read(v) for v in inner.invars]), strict=True))
    return [read(v) for v in program.jaxpr.outvars]


@jax.custom_jvp
def _with_slope(z, y, g):
    """The value y of an activation at z, with derivative g."""
    return y


@_with_slope.defjvp
def _with_slope_jvp(primals, tangents):
    _, y, g = primals
    return y, g * tangents[0]


def _pooled(rule: Rule, step: Any, z: Value) -> Value:
    """Max-pooling, with its gradient or with attribution of differences from the baseline."""

    def pool(x):
        return _bind(step, [x])[0]

    y0 = pool(z.x0)
    return Value(_sharing(pool, z.x, z.x0, y0) if rule.shares_pooling else pool(z.x), y0, LIVE)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _sharing(pool, x, x0, y0):
    """Max-pooling whose gradient sums to differences: a maximum above the baseline's is attributed to its own position.

    A smaller one is attributed to the position of the baseline's maximum. The input differs from the baseline at both.
    """
    return pool(x)


@_sharing.defjvp
def _sharing_jvp(pool, primals, tangents):
    x, x0, y0 = primals
    y = pool(x)
    scaled = tangents[0] / jnp.where(x == x0, 1, x - x0)
    here, there = (jax.jvp(pool, (at,), (scaled,))[1] for at in (x, x0))
    return y, (y - y0) * jnp.where(y > y0, here, there)


def _undefined(rule: Rule, step: Any, inside: tuple[str, ...], why: str = "") -> ValueError:
    within = next((f" in {name}" for name in reversed(inside) if name != _name(step)), "")
    hint = "; an activation made of several operations counts as one inside jax.jit" if _name(step) in SEVERAL else ""
    return ValueError(
        f"the rule {rule.name} is not defined for {_name(step)}{within}{why}; use saliency or gradient-x-input{hint}."
    )


def _bind(step: Any, values: Sequence[Any]) -> list[Any]:
    """Run one operation."""
    found = step.primitive.bind(*values, **step.primitive.get_bind_params(step.params))
    return list(found) if step.primitive.multiple_results else [found]
