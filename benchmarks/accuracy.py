"""Float32 scores of the library against the float64 oracle on the same float32 inputs."""

from collections.abc import Callable

import numpy as np
from scipy.spatial.distance import pdist, squareform

from benchmarks import data, published
from benchmarks.strongest import over_cores

LIMIT = 2e-6
SHIFT_INVARIANT = tuple(
    (norm, f)
    for norm, f in published.CELLS
    if norm in ("center", "zscore", "batch_norm")
    or (norm == "identity" and f in ("linear", "laplacian", "rbf", "euclidean"))
)
"""Cells whose score does not change when a constant is added to each feature; the rest see the shift."""


def oracle_rows(x: np.ndarray, norm: str) -> dict[str, np.ndarray]:
    """Unit, U-centered float64 maps of one network, flat, by function."""
    flat, rows = published.normalize(x, norm), {}
    for f in published.FUNCTIONS:
        if f == "laplacian":
            m = np.exp(squareform(pdist(flat, "cityblock")) / -flat.shape[1])
        else:
            m = published.pairwise_map(flat, f)
        m = published.u_center(m).ravel()
        rows[f] = m / np.linalg.norm(m)
    return rows


def oracle(features: np.ndarray, norm: str) -> dict[str, np.ndarray]:
    """Float64 scores of the six functions under one norm."""
    rows = over_cores(lambda x: oracle_rows(x, norm), features)
    stacks = {f: np.stack([r[f] for r in rows]) for f in published.FUNCTIONS}
    return {f: np.matmul(z, z.T) for f, z in stacks.items()}


def errors(features: np.ndarray, progress: Callable[[str], None] = lambda text: None) -> dict[str, float]:
    """Largest absolute error of each cell, of RSA and of linear CKA, in float32."""
    import jax.numpy as jnp

    import jaxsim as js
    from benchmarks.cases import blocked, largest, measures

    on_device = jnp.asarray(features)
    ours = blocked(js.affinity(on_device, [*measures(), js.RSA, js.CKA_LINEAR]))
    if any(v.dtype != np.float32 for v in ours):
        raise ValueError("the scores are not float32, so this would not measure the error of float32")
    out, truth = {}, {}
    for norm in published.NORMS:
        progress(norm)
        truth[norm] = oracle(features, norm)
    for (norm, f), mine in zip(published.CELLS, ours, strict=False):
        out[f"{norm}/{f}"] = largest(mine, truth[norm][f])
    out["RSA"] = largest(ours[-2], published.rsa_oracle(features))
    out["CKA_LINEAR"] = largest(ours[-1], truth["identity"]["linear"])
    return out


def report(quick: bool, progress: Callable[[str], None] = lambda text: None) -> dict:
    """Errors for n = 200 and 2,000, for features of mean 1,000 and standard deviation 1, and for copies of five images.

    With copies of images RSA is left out, as the oracle's ranks do not know which distances are equal.
    """
    settings = {"n=200": data.networks(20, 200), "n=200, mean 1e3": data.shifted(6, 200)}
    if not quick:
        settings |= {"n=2000": data.networks(5, 2000)}
        settings |= {"n=2000, mean 1e3": data.shifted(4, 2000), "n=2000, copies": data.repeated(3, 2000)}
    out = {}
    for name, features in settings.items():
        progress(f"accuracy {name}")
        cells = errors(features)
        shifted = "mean" in name
        bound = [f"{n}/{f}" for n, f in SHIFT_INVARIANT] + ["RSA", "CKA_LINEAR"]
        held = bound if shifted else [c for c in cells if c != "RSA" or "copies" not in name]
        worst = max(held, key=lambda c: np.inf if np.isnan(cells[c]) else cells[c])
        out[name] = {
            "networks": len(features),
            "cells": cells,
            "held_to_the_limit": held,
            "worst": worst,
            "worst_error": cells[worst],
            "limit": LIMIT,
            "met": bool(cells[worst] <= LIMIT),
        }
    return out
