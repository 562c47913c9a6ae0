"""Permutation tests of unrelated networks that see images of the same classes.

"Nothing in common but the classes": both networks have the same class centers, so images are exchangeable within
classes. "Classes apart": the centers have nothing in common either, but images of one class are alike in both networks,
so whole classes are exchangeable.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.coverage_groups import NORMAL, drawer
from benchmarks.coverage_studies import Study
from jaxsim import centering, schemes

CLASSES, EACH, SHARE, BATCH, COUNT = 10, 6, 0.8, 100, 199


@jax.jit
def _p(x, y, orders):
    """P-value of linear CKA; permuted maps keep their length."""
    x, y = (centering.unbiased(jnp.matmul(z, z.T, precision="highest")) for z in (x, y))
    null = jax.lax.map(lambda o: jnp.vdot(x, y[o][:, o], precision="highest"), orders)
    observed = jnp.vdot(x, y, precision="highest")
    return (1 + jnp.sum(null >= observed * (1 - 1e-6))) / (len(orders) + 1)


def p_values(apart: bool, schemes_of: dict, seed: int) -> dict[str, np.ndarray]:
    """P-values of one batch of pairs of networks."""
    code, found = np.repeat(np.arange(CLASSES), EACH), {}
    plans = {text: scheme.plan(code.size, 4, COUNT) for text, scheme in schemes_of.items()}
    layouts = {text: jax.tree.map(jnp.asarray, plan.layout) for text, plan in plans.items()}
    for k in range(BATCH):
        rng = np.random.default_rng([9, seed + k])
        x, y = NORMAL.features(rng, code, SHARE, [np.pi / 2])
        if not apart:
            # the classes of x, and images of its own
            center = NORMAL.features(np.random.default_rng([9, seed + k]), np.arange(CLASSES), 1, [0])[0]
            y = center[code] @ rng.normal(size=(32, 32)).astype(np.float32) / 6 + rng.normal(size=x.shape)
            x = center[code] + rng.normal(size=x.shape)
        x, y = (jnp.asarray(z, jnp.float32) for z in (x, y))
        for text, scheme in schemes_of.items():
            key = jax.random.fold_in(jax.random.key(3), seed + k)
            orders = drawer(scheme.draw)(key, jnp.arange(COUNT), layouts[text])
            found.setdefault(text, []).append(float(_p(x, y, orders)))
    return {text: np.array(p) for text, p in found.items()}


LABELS = np.repeat(np.arange(CLASSES), EACH)
SETTINGS = {
    "nothing in common but the classes": functools.partial(
        p_values,
        False,
        {"Permutation()": schemes.Permutation(), "Permutation(strata=class)": schemes.Permutation(LABELS)},
    ),
    "classes apart": functools.partial(
        p_values,
        True,
        {"Permutation()": schemes.Permutation(), "Permutation(groups=class)": schemes.Permutation(groups=LABELS)},
    ),
}
STUDY = Study("Permutation tests of unrelated networks with ten classes: share of p <= .05.", 5, (3, 7), SETTINGS)
