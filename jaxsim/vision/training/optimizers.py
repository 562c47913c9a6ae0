"""Optimizers as functions of a run's highest learning rate and number of steps."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

Optimizer = Callable[[float, int], optax.GradientTransformation]
"""Function of (highest learning rate, steps). Equal optimizers must compare equal, or each run is compiled again."""


WARMUP_STEPS = 100
"""Steps over which Adam's learning rate rises; at most a tenth of the run."""


def adam(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Adam on gradients clipped to unit norm, with a linear warm-up and a cosine decay to zero.

    Without clipping and warm-up, all ReLUs of a network died early in the training of one task in forty.
    """
    rise = min(WARMUP_STEPS, steps // 10)
    rate = optax.warmup_cosine_decay_schedule(0.0 if rise else learning_rate, learning_rate, rise, steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


@dataclasses.dataclass(frozen=True)
class Sgd:
    """Stochastic gradient descent with momentum and the "poly" schedule of DDS 2020 and ASTMT.

    In epoch e of E, counted from 0, the rate is lr (1 - e / E)^power; it is constant within an epoch. Weight
    decay is added to the gradient before the momentum, as in PyTorch's SGD, and applies to all weights.

    Source: Dwivedi et al., Duality diagram similarity (2020), section 5.2; Maninis et al. (2019). The latter's released
    code lowers the rate one epoch later, and starts each epoch without momentum.

    Attributes:
        epochs: E; the run's steps are a multiple of it.
        momentum: share of the last update that is kept.
        weight_decay: factor of the weights that is added to their gradient.
        power: exponent of the schedule.

    >>> rate = Sgd(epochs=4).schedule(1e-3, steps=8)
    >>> [round(float(rate(step)), 6) for step in (0, 1, 2, 7)]
    [0.001, 0.001, 0.000772, 0.000287]
    """

    epochs: int
    momentum: float = 0.9
    weight_decay: float = 1e-4
    power: float = 0.9

    def __call__(self, learning_rate: float, steps: int) -> optax.GradientTransformation:
        """The gradient transformation of a run.

        Raises:
            ValueError: the steps are not a multiple of the epochs.
        """
        rate = self.schedule(learning_rate, steps)
        return optax.chain(optax.add_decayed_weights(self.weight_decay), optax.sgd(rate, self.momentum))

    def schedule(self, learning_rate: float, steps: int) -> Callable[[Any], jax.Array]:
        """The learning rate as a function of the step, counted from 0.

        Raises:
            ValueError: the steps are not a multiple of the epochs.
        """
        if self.epochs < 1 or steps % self.epochs:
            raise ValueError(f"{steps} steps are not a multiple of {self.epochs} epochs.")

        def rate(step: Any) -> jax.Array:
            passed = jnp.minimum(step // (steps // self.epochs), self.epochs) / self.epochs
            return learning_rate * (1 - passed) ** self.power

        return rate


def describe(function: Callable) -> str:
    """Text that identifies an optimizer or a loss: a function's name, or a record with its fields.

    >>> describe(optax.adam), describe(Sgd(epochs=2))[:4]
    ('adam', 'Sgd(')
    """
    return getattr(function, "__qualname__", None) or re.sub(r" at 0x[0-9a-f]+", "", repr(function))
