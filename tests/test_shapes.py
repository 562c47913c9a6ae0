"""The shapes in the algebra's annotations are those of its arrays, checked by jaxtyping and beartype."""

import os
import subprocess
import sys

import pytest

ALGEBRA = ("compare", "pairwise", "transforms", "centering", "ranks")
PACKAGES = ",".join(f"jaxsim.{name}" for name in ALGEBRA)
PROGRAM = f"""
from jaxtyping import install_import_hook

with install_import_hook("{PACKAGES}".split(","), "beartype.beartype"):
    import jax, jax.numpy as jnp, jaxsim as js
from jaxsim import centering, measures, ranks
from jaxsim.protocols import ComparatorCapabilities, declared
from jaxsim.resampling.program import prepared

x, w = jnp.ones((8, 2, 3, 4)), jnp.ones((8, 5))
flat = x.reshape(8, -1)
for part in measures.PARTS["transform"].values():
    jax.eval_shape(part, x)
    jax.eval_shape(part, x, jnp.ones((2, 3, 4), bool))
for part in measures.PARTS["pairwise"].values():
    jax.eval_shape(part, flat)
    jax.eval_shape(part, flat, jnp.ones(24, bool))
for name, part in measures.PARTS["compare"].items():
    own, measure = declared(part, ComparatorCapabilities), measures.of_maps(part)
    jax.eval_shape(part, w @ w.T, w @ w.T)
    run = lambda m, w: own.weighted(jax.vmap(lambda k: prepared(measure, k))(m), None, w)
    jax.eval_shape(run, jnp.ones((3, 8, 8)), w)
for center in (centering.biased, centering.unbiased):
    jax.eval_shape(center, w @ w.T, w[:, 0])

wrong = [
    lambda: js.pairwise.rbf(x),
    lambda: js.compare.spearman(flat, flat),
    lambda: js.compare.pearson(w @ w.T, jnp.ones((9, 9))),
    lambda: centering.unbiased(w @ w.T, w[:7, 0]),
    lambda: ranks.average(flat),
    lambda: js.transforms.center(jnp.ones((8, 4), int)),
]
for call in wrong:
    try:
        jax.eval_shape(call)
    except Exception as error:
        assert type(error).__name__ == "TypeCheckError", error
    else:
        raise AssertionError("a wrong shape is not noticed")
print("checked")
"""


@pytest.mark.slow
def test_every_part_has_the_shapes_that_it_states():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.strip() == "checked", done.stderr[-2000:]


@pytest.mark.slow
def test_the_tests_of_the_algebra_pass_with_shapes_checked():
    files = [f"tests/test_{name}.py" for name in ALGEBRA]
    flags = ["-q", "-x", "-p", "no:cacheprovider", f"--jaxtyping-packages={PACKAGES},beartype.beartype"]
    # tests of refusals give what the annotations exclude
    run = [sys.executable, "-m", "pytest", *flags, "-k", "not refused", *files]
    quick = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}  # shapes need no optimization
    done = subprocess.run(run, capture_output=True, text=True, timeout=900, check=False, env=quick)
    assert done.returncode == 0, done.stdout[-2000:]
