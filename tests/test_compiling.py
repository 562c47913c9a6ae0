"""Kernels compile in seconds at thousands of images, alone in a `jit` as others call them."""

import subprocess
import sys

import pytest

PROGRAM = """
import jax, jaxsim as js
x = jax.ShapeDtypeStruct((2000, 8), "float32")
for f in ({kernels}):
    jax.jit(f).lower(x).compile()
"""


@pytest.mark.parametrize(
    "kernels",
    [
        "js.pairwise.linear, js.pairwise.rbf",
        pytest.param("js.pairwise.correlation, js.pairwise.cosine", marks=pytest.mark.slow),
    ],
)
def test_a_map_of_thousands_compiles(kernels):
    """In a process of its own: a compiler that runs wild takes minutes or crashes. This takes about five seconds."""
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(kernels=kernels)], timeout=120, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
