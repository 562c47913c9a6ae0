"""Attribution rules: their derivative of an activation, and their map."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

NEAR = 1e-5
"""Difference from the baseline below which DeepLIFT uses the derivative, to avoid rounding errors."""

Activation = Callable[[Array], Array]
Slope = Callable[[Activation, Array, Array], Array]


class Rule(Protocol):
    """An attribution rule.

    Attributes:
        name: name on the command line and in results.
        baseline: value of every input number in the baseline, which represents no picture.
        slope: `(f, z, z0) -> g`, replaces the derivative of activation f at z, whose baseline value is z0; None for
            ordinary gradients.
        from_zero: whether the slope exists only for activations with f(0) = 0.
        shares_pooling: whether max-pooling passes on the difference from the baseline instead of its gradient.
    """

    name: ClassVar[str]
    from_zero: ClassVar[bool]

    @property
    def baseline(self) -> float:
        """Input value that represents no picture."""
        ...

    @property
    def slope(self) -> Slope | None:
        """In place of an activation's derivative."""
        ...

    @property
    def shares_pooling(self) -> bool:
        """Whether max-pooling passes on differences."""
        ...

    def map(self, x: Array, multiplier: Array) -> Array:
        """Attributions of an input, from the sum of outputs' modified gradient."""
        ...


@dataclasses.dataclass(frozen=True)
class Saliency:
    """The gradient's absolute value, |dT/dx|.

    Source: Simonyan et al., Deep inside convolutional networks (2013), section 3.
    """

    name: ClassVar[str] = "saliency"
    from_zero: ClassVar[bool] = False
    baseline = 0.0
    slope = None
    shares_pooling = False

    def map(self, x: Float[Array, "..."], multiplier: Float[Array, "..."]) -> Float[Array, "..."]:
        """Absolute gradient."""
        return jnp.abs(multiplier)


@dataclasses.dataclass(frozen=True)
class GradientTimesInput:
    """The input times its gradient, x dT/dx.

    Source: Shrikumar et al., Not just a black box (2016).
    """

    name: ClassVar[str] = "gradient-x-input"
    from_zero: ClassVar[bool] = False
    baseline = 0.0
    slope = None
    shares_pooling = False

    def map(self, x: Float[Array, "..."], multiplier: Float[Array, "..."]) -> Float[Array, "..."]:
        """Input times gradient."""
        return x * multiplier


@dataclasses.dataclass(frozen=True)
class DeepLift:
    r"""DeepLIFT with the rescale rule: activations pass on :math:`(f(z) - f(z_0)) / (z - z_0)`.

    The map, :math:`x - x_0` times the modified gradient, sums to :math:`T(x) - T(x_0)`, pooling included.

    Source: Shrikumar et al., Learning important features through propagating activation differences (2017), in the
    form of Ancona et al., Towards better understanding of gradient-based attribution methods (2018).

    Attributes:
        baseline: value of every number of the input x0, after preprocessing: gray for inputs in [-1, 1].
        shares_pooling: False gives max-pooling its ordinary gradient, as published code does; maps of a network with
            max-pooling then do not sum to the difference.

    Raises:
        ValueError: the baseline is not finite.
    """

    baseline: float = 0.0
    shares_pooling: bool = True
    name: ClassVar[str] = "deeplift"
    from_zero: ClassVar[bool] = False

    def __post_init__(self):
        if not math.isfinite(self.baseline):
            raise ValueError(f"the baseline of deeplift is {self.baseline}; it must be a finite number, such as 0.")

    def slope(self, f: Activation, z: Float[Array, "..."], z0: Float[Array, "..."]) -> Float[Array, "..."]:
        """Difference quotient, or the derivative halfway if z is close to z0."""
        near = jnp.abs(z - z0) <= NEAR
        quotient = (f(z) - f(z0)) / jnp.where(near, 1, z - z0)
        return jnp.where(near, derivative(f, (z + z0) / 2), quotient)

    def map(self, x: Float[Array, "..."], multiplier: Float[Array, "..."]) -> Float[Array, "..."]:
        """Difference from the baseline times modified gradient."""
        return (x - self.baseline) * multiplier


@dataclasses.dataclass(frozen=True)
class EpsilonLrp:
    r"""Layer-wise relevance propagation with a stabilizer: activations pass on :math:`f(z) / (z \pm \epsilon)`.

    The sign is that of z, + at 0. With ReLUs this is gradient x input, up to epsilon.

    Source: Bach et al., On pixel-wise explanations for non-linear classifier decisions (2015), equation 58, in the
    form of Ancona et al., Towards better understanding of gradient-based attribution methods (2018).

    Attributes:
        epsilon: the stabilizer.

    Raises:
        ValueError: epsilon is not positive and finite.
    """

    epsilon: float = 1e-4
    name: ClassVar[str] = "epsilon-lrp"
    from_zero: ClassVar[bool] = True
    baseline = 0.0
    shares_pooling = False

    def __post_init__(self):
        if not 0 < self.epsilon < math.inf:
            raise ValueError(
                f"the epsilon of epsilon-lrp is {self.epsilon}; it must be a number above 0, such as 1e-4."
            )

    def slope(self, f: Activation, z: Float[Array, "..."], z0: Float[Array, "..."]) -> Float[Array, "..."]:
        """Quotient of output and stabilized input."""
        return f(z) / (z + jnp.where(z >= 0, self.epsilon, -self.epsilon))

    def map(self, x: Float[Array, "..."], multiplier: Float[Array, "..."]) -> Float[Array, "..."]:
        """Input times modified gradient."""
        return x * multiplier


def derivative(f: Activation, z: Float[Array, "..."]) -> Float[Array, "..."]:
    """Derivative of an elementwise function.

    >>> import jax.numpy as jnp
    >>> float(derivative(jnp.square, jnp.asarray(1.5)))
    3.0
    """
    return jax.jvp(f, (z,), (jnp.ones_like(z),))[1]


RULES: Mapping[str, Rule] = MappingProxyType(
    {rule.name: rule for rule in (Saliency(), GradientTimesInput(), DeepLift(), EpsilonLrp())}
)
"""All rules with their defaults, by name."""


def named(rule: str | Rule) -> Rule:
    """Return a rule itself, or the rule with that name.

    Raises:
        ValueError: there is no rule with that name.

    >>> named("epsilon-lrp").epsilon
    0.0001
    """
    if not isinstance(rule, str):
        return rule
    if rule not in RULES:
        raise ValueError(f"there is no attribution rule {rule!r}; choose from {', '.join(RULES)}.")
    return RULES[rule]


def describe(rule: Rule) -> str:
    """A rule's name, with the settings that differ from its defaults.

    >>> describe(EpsilonLrp(0.5)), describe(DeepLift())
    ('epsilon-lrp(epsilon=0.5)', 'deeplift')
    """
    fields = dataclasses.fields(rule) if dataclasses.is_dataclass(rule) else ()
    given = [f"{f.name}={getattr(rule, f.name)}" for f in fields if getattr(rule, f.name) != f.default]
    return f"{rule.name}({', '.join(given)})" if given else rule.name
