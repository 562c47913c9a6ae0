"""Baseline (c): published packages, called as their documentation says. Any not installed are skipped by name."""

import contextlib
import importlib.util
import io
import time
import warnings
from typing import Any

import numpy as np


def installed(module: str) -> bool:
    """Whether a package can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


def rsatoolbox_maps(features: np.ndarray) -> Any:
    """Correlation dissimilarity matrices of networks `(T, n, ...)` as rsatoolbox holds them."""
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        datasets = [Dataset(x.reshape(len(x), -1).astype(np.float64)) for x in features]
        return calc_rdm(datasets, method="correlation")


def rsatoolbox_bootstrap(maps: Any, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """The whole Spearman matrix under `resamples` bootstraps of the images.

    Returns:
        scores `(B, T, T)` and how often each image was drawn, `(B, n)` integers.
    """
    from rsatoolbox.inference.bootstrap import bootstrap_sample_pattern
    from rsatoolbox.rdm import compare

    scores, counts = [], []
    for _ in range(resamples):
        sample, drawn = bootstrap_sample_pattern(maps)
        scores.append(compare(sample, sample, method="spearman"))
        counts.append(np.bincount(np.asarray(drawn, int), minlength=maps.n_cond))
    return np.stack(scores), np.stack(counts)


def pytorch_cka(features: Any) -> np.ndarray:
    """All pairs of networks `(T, n, d)` with pytorch-cka (module `cka`), linear and unbiased."""
    from cka import cka_from_features

    return cka_from_features(features, features).numpy()


def torch_cka(features: Any) -> np.ndarray:
    """All pairs of networks `(T, n, d)` with torch-cka: one network is one pass-through layer."""
    import torch
    from torch_cka import CKA

    class Bank(torch.nn.Module):
        def __init__(self, count: int):
            super().__init__()
            self.layers = torch.nn.ModuleList(torch.nn.Identity() for _ in range(count))

        def forward(self, x):
            return [layer(x[:, i]) for i, layer in enumerate(self.layers)]

    count, n = features.shape[:2]
    images = torch.utils.data.TensorDataset(features.transpose(0, 1))
    loader = torch.utils.data.DataLoader(images, batch_size=n)
    names = [f"layers.{i}" for i in range(count)]
    quiet = contextlib.redirect_stderr(io.StringIO())
    with warnings.catch_warnings(), quiet, torch.no_grad():
        warnings.simplefilter("ignore")
        cka = CKA(Bank(count), Bank(count), "a", "b", names, names)
        cka.compare(loader, loader)
    return cka.export()["CKA"].numpy()


_HELD: dict[str, Any] = {}


def start_torch(path: str, threads: int) -> str:
    """In the worker process: load features once and hold them as a tensor; returns torch's version."""
    import torch

    torch.set_num_threads(threads)
    features = np.load(path)
    _HELD["features"] = torch.from_numpy(features.reshape(*features.shape[:2], -1))
    return torch.__version__


def timed_torch(package: str) -> tuple[float, np.ndarray]:
    """In the worker process: seconds of one call and its scores."""
    work = {"cka": pytorch_cka, "torch_cka": torch_cka}[package]
    start = time.perf_counter()
    scores = work(_HELD["features"])
    return time.perf_counter() - start, scores
