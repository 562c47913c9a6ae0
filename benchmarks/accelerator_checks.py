"""Float32 scores against float64 scores computed on the device, and the precision and oracle tests."""

import functools
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import accuracy, data, published
from benchmarks.accelerator_bench import GRACE, Bench, Case, SkippedError, features
from benchmarks.cases import blocked, largest, measures
from benchmarks.strongest import over_cores

ROOT = Path(__file__).parents[1]
TESTS = ("tests/test_precision.py", "tests/test_oracles.py")


def exact(bench: Bench, place: int, shifted: bool) -> Case:
    """Largest error of every cell, RSA and linear CKA.

    Args:
        bench: the run.
        place: of the number of images in the amounts; the first has all networks, another has fewer.
        shifted: features of mean 1,000 and standard deviation 1, for the cells that no shift changes.
    """
    import jax.numpy as jnp

    import jaxsim as js

    a = bench.amounts
    count, n = (a.networks if place == 0 else a.exact_networks), a.images[place]
    l1 = count if place == 0 else a.exact_l1
    x = data.shifted(count, n, a.shape) if shifted else features(count, n, a.shape)
    on_device = jnp.asarray(x)
    ours = blocked(js.affinity(on_device, measures()))
    ours += [blocked(js.affinity(on_device, m))[0] for m in (js.RSA, js.CKA_LINEAR)]
    if any(v.dtype != np.float32 for v in ours):
        raise ValueError("the scores are not float32, so this would not measure the error of float32")
    truth = scores(x, l1)
    names = ["/".join(cell) for cell in published.CELLS] + ["RSA", "CKA_LINEAR"]
    errors = {}
    for name, mine in zip(names, ours, strict=True):
        k = len(truth[name])
        errors[name] = largest(np.asarray(mine)[:k, :k], truth[name])
    held = names if not shifted else ["/".join(c) for c in accuracy.SHIFT_INVARIANT] + names[-2:]
    worst = max(held, key=lambda c: np.inf if np.isnan(errors[c]) else errors[c])
    title = f"largest error against float64, T={count} ({l1} under L1), n={n}" + (", mean 1e3" if shifted else "")
    verdict = {"worst": worst, "worst_error": errors[worst], "target": accuracy.LIMIT}
    met = bool(errors[worst] <= accuracy.LIMIT)
    return {"title": title, **verdict, "met": met, "cells": errors, "held_to_the_target": held}


def scores(x: np.ndarray, l1: int) -> dict[str, np.ndarray]:
    """Float64 scores of `(T, n, h, w, c)` by cell, of the first `l1` networks under the Laplacian kernel; RSA and CKA.

    Transforms are NumPy's, on the host; products, L1 sums and ranks are made on the device.
    """
    import jax
    import jax.numpy as jnp

    out: dict[str, np.ndarray] = {}
    with jax.enable_x64(True):
        for norm in published.NORMS:
            flat = over_cores(lambda one, norm=norm: published.normalize(one, norm), x)
            rows = [_compiled(unit_maps)(jnp.asarray(f)) for f in flat]
            for f in rows[0]:
                out[f"{norm}/{f}"] = _products([r[f] for r in rows])
            out[f"{norm}/laplacian"] = _products([_compiled(unit_laplacian)(jnp.asarray(f)) for f in flat[:l1]])
            if norm == "center":
                out["RSA"] = _products([_compiled(unit_ranks)(jnp.asarray(f)) for f in flat])
    return out | {"CKA_LINEAR": out["identity/linear"]}


@functools.cache
def _compiled(f: Any) -> Any:
    import jax

    return jax.jit(f)


def _products(rows: Sequence[Any]) -> np.ndarray:
    import jax.numpy as jnp

    z = jnp.stack(rows)
    if z.dtype != np.float64:
        raise ValueError(f"the oracle's numbers are {z.dtype}, not float64")
    return np.asarray(_dot(z, z.T))


def _dot(a: Any, b: Any) -> Any:
    import jax
    import jax.numpy as jnp

    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def unit_maps(x: Any) -> dict[str, Any]:
    """Five maps of `(n, d)`, U-centered and of length 1, flat."""
    import jax.numpy as jnp

    gram = _dot(x, x.T)
    size = jnp.diagonal(gram)
    squared = jnp.maximum(size[:, None] + size[None, :] - 2 * gram, 0) * (1 - jnp.eye(len(x)))
    maps = {
        "linear": gram,
        "rbf": jnp.exp(-squared / (2 * 0.5**2 * jnp.median(squared))),
        "correlation": correlation_distance(x),
        "euclidean": jnp.sqrt(squared),
        "cosine": 1 - gram / jnp.sqrt(size[:, None] * size[None, :]),
    }
    return {name: _u_centered_unit(m) for name, m in maps.items()}


def correlation_distance(x: Any) -> Any:
    """1 - Pearson's r of all rows."""
    import jax.numpy as jnp

    x = x - jnp.mean(x, 1, keepdims=True)
    x = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    return 1 - _dot(x, x.T)


def unit_laplacian(x: Any) -> Any:
    """The Laplacian kernel of `(n, d)`, U-centered and of length 1, flat; L1 row by row."""
    import jax
    import jax.numpy as jnp

    distances = jax.lax.map(lambda row: jnp.sum(jnp.abs(x - row), 1), x)
    return _u_centered_unit(jnp.exp(-distances / x.shape[1]))


def unit_ranks(x: Any) -> Any:
    """Ranks of the upper triangle of the correlation distances, of mean 0 and length 1; ties share their mean."""
    import jax.numpy as jnp

    upper = jnp.triu(jnp.ones((len(x), len(x)), bool), 1).ravel()
    v = jnp.where(upper, correlation_distance(x).ravel(), jnp.inf)
    ordered = jnp.sort(v)
    below, upto = (jnp.searchsorted(ordered, v, side=side) for side in ("left", "right"))
    ranks = jnp.where(upper, (below + upto).astype(v.dtype) / 2, 0)
    ranks = jnp.where(upper, ranks - jnp.sum(ranks) / jnp.sum(upper), 0)
    return ranks / jnp.linalg.norm(ranks)


def _u_centered_unit(m: Any) -> Any:
    """Szekely and Rizzo 2014: off-diagonal rows sum to zero."""
    import jax.numpy as jnp

    n = len(m)
    off = 1 - jnp.eye(n)
    m = m * off
    rows = jnp.sum(m, 1)
    m = (m - (rows[:, None] + rows[None, :]) / (n - 2) + jnp.sum(rows) / ((n - 1) * (n - 2))) * off
    return m.ravel() / jnp.linalg.norm(m)


def tests(bench: Bench) -> Case:
    """Counts and failures of the tests, in a process of its own."""
    files = [name for name in TESTS if (ROOT / name).exists()]
    if not files:
        raise SkippedError("the tests are not here")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, *bench.amounts.tests]
    left = max(bench.seconds + GRACE / 2 - bench.elapsed, 1.0)
    flags = os.environ.get("XLA_FLAGS", "")
    level = "--xla_backend_optimization_level"  # the tests lower it where it is not said
    env = os.environ | {"XLA_FLAGS": flags if level in flags else f"{flags} {level}=3"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=left, env=env)
    counts = {what: int(n) for n, what in re.findall(r"(\d+) (passed|failed|errors?|skipped|xfailed)", done.stdout)}
    if not counts:
        last = (done.stdout + done.stderr).strip().splitlines()[-5:]
        raise RuntimeError(f"pytest ended with {done.returncode} and said: " + " / ".join(last))
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return {"title": " ".join(files), "counts": counts, "failures": lines, "met": done.returncode == 0}
