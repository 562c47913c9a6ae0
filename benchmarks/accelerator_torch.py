"""The same measures in plain PyTorch on the same device: each map computed once, all networks together, no TF32."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import data, published
from benchmarks.accelerator_bench import Amounts, Bench, Case, SkippedError, features
from benchmarks.cases import largest


def device(bench: Bench) -> Any:
    """The GPU, or the CPU where that was asked for; TF32 is off from here on.

    Raises:
        SkippedError: PyTorch is not installed, or sees no GPU.
    """
    try:
        import torch
    except ImportError as error:
        raise SkippedError(f"torch cannot be imported: {error}") from None
    if not bench.cpu and not torch.cuda.is_available():
        raise SkippedError("torch sees no GPU")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    return torch.device("cpu" if bench.cpu else "cuda")


def clock(bench: Bench, run: Callable[[], Any], place: Any) -> tuple[Case, Any]:
    """As `Bench.clock`, waiting for the device; there is nothing that compiles."""
    import torch

    def whole() -> Any:
        value = run()
        if place.type == "cuda":
            torch.cuda.synchronize()
        return value

    times, value = bench.clock(whole)
    return {name: times[name] for name in ("seconds", "best", "runs", "first_call")}, value


def compared(bench: Bench, name: str, run: Callable[[], Any], place: Any) -> Case:
    """Times beside those of the library's row of that name: `ratio` is PyTorch's over the library's."""
    times, value = clock(bench, run, place)
    out = {"title": f"PyTorch: {bench.rows.get(name, {}).get('title', name)}", **times}
    ours = bench.rows.get(name, {}).get("seconds")
    if ours:
        out["ratio"] = times["seconds"] / ours
    if name in bench.scores:
        theirs, mine = np.stack([v.detach().cpu().numpy() for v in value]), bench.scores[name]
        scale = np.max(np.abs(mine)) if name == "gradient" else 1.0
        out["difference"] = largest(mine / scale, theirs / scale)
    return out


def by_images(bench: Bench, measure: str, place: int) -> Case:
    """One matrix of scores, features on the device."""
    a, where = bench.amounts, device(bench)
    x = _flat(features(a.networks, a.images[place], a.shape), where)
    name = f"{measure}_{Amounts().images[place]}"
    return compared(bench, name, lambda: [MEASURES[measure](x)], where)


def grid(bench: Bench) -> Case:
    """All 42 cells."""
    a, where = bench.amounts, device(bench)
    import torch

    x = torch.from_numpy(features(a.networks, a.images[0], a.shape)).to(where)

    def run() -> list[Any]:
        found = []
        for norm in published.NORMS:
            maps = six_maps(normalized(x, norm))
            found += [_products(unit(maps[f])) for f in published.FUNCTIONS]
        return found

    return compared(bench, "grid", run, where)


def table4(bench: Bench) -> Case:
    """DDS Table 4, one subset after another."""
    a, where = bench.amounts, device(bench)
    import torch

    x = _flat(features(a.networks + 1, a.pool, a.shape), where)
    indices = torch.from_numpy(data.subsets(a.subsets, a.subset, a.pool)).long().to(where)

    def run() -> list[Any]:
        found = []
        for rows in indices:
            maps = six_maps(zscore(x[:, rows]))
            z = {f: unit(m) for f, m in maps.items()}
            found.append(torch.stack([z[f][:-1] @ z[f][-1:].T for f in published.FUNCTIONS]))
        return list(torch.stack(found, 1))

    return compared(bench, "table4", run, where)


def gradient(bench: Bench) -> Case:
    """Value and gradient of 1 - CKA."""
    a, where = bench.amounts, device(bench)
    import torch

    x, y = _flat(features(2, a.gradient_images, a.shape), where)[:, None]
    x.requires_grad_()

    def run() -> list[Any]:
        u, v = (unit(z @ z.mT) for z in (x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)))
        (slope,) = torch.autograd.grad(1 - (u * v).sum(), x)
        return [slope[0]]

    return compared(bench, "gradient", run, where)


def _flat(x: np.ndarray, where: Any) -> Any:
    import torch

    return torch.from_numpy(x).to(where).flatten(2)


# Stacks: features (T, n, d), maps (T, n, n)


def rsa(x: Any) -> Any:
    """Spearman correlation of the upper triangles of correlation distances of centered features."""
    m = correlation(x - x.mean(1, keepdim=True))
    return _products(unit_ranks(m))


def cka(x: Any) -> Any:
    """Unbiased linear CKA, of centered features so that float32 will do."""
    x = x - x.mean(1, keepdim=True)
    return _products(unit(x @ x.mT))


def dds(x: Any) -> Any:
    """The Laplacian kernel of z-scored features."""
    return _products(unit(laplacian(zscore(x))))


MEASURES = {"rsa": rsa, "cka": cka, "dds": dds}


def laplacian(x: Any) -> Any:
    """exp(-L1 / d)."""
    import torch

    return torch.exp(torch.cdist(x, x, p=1) / -x.shape[2])


def zscore(x: Any) -> Any:
    """Mean 0 and variance 1 of every feature; a constant one is divided by 1."""
    x = x - x.mean(1, keepdim=True)
    sd = x.square().mean(1, keepdim=True).sqrt()
    return x / sd.masked_fill(sd == 0, 1)


def normalized(x: Any, norm: str) -> Any:
    """`(T, n, h, w, c)` transformed: `(T, n, d)`."""
    flat = x.flatten(2)
    if norm == "identity":
        return flat
    if norm == "center":
        return flat - flat.mean(1, keepdim=True)
    if norm == "zscore":
        return zscore(flat)
    if norm == "batch_norm":
        return _standardized(x, (1, 2, 3)).flatten(2)
    groups = {"instance_norm": x.shape[-1], "layer_norm": 1, "group_norm": 2}[norm]
    parts = x.reshape(*x.shape[:4], groups, -1)
    return _standardized(parts, (2, 3, 5)).flatten(2)


def _standardized(x: Any, axes: Sequence[int]) -> Any:
    x = x - x.mean(axes, keepdim=True)
    return x / (x.square().mean(axes, keepdim=True) + published.EPS).sqrt()


def six_maps(x: Any) -> dict[str, Any]:
    """One Gram matrix of centered features for four functions, one of the rows' directions, L1."""
    import torch

    centered = x - x.mean(1, keepdim=True)
    gram = centered @ centered.mT
    size = gram.diagonal(dim1=1, dim2=2)
    squared = (size[:, :, None] + size[:, None, :] - 2 * gram).clamp(min=0)
    squared.diagonal(dim1=1, dim2=2).zero_()
    ordered, count = squared.flatten(1).sort(1).values, squared[0].numel()
    middle = (ordered[:, (count - 1) // 2] + ordered[:, count // 2])[:, None, None] / 2
    return {
        "linear": gram,
        "laplacian": laplacian(x),
        "rbf": torch.exp(-2 * squared / middle),
        "correlation": correlation(x),
        "euclidean": squared.sqrt(),
        "cosine": 1 - _unit_rows(x) @ _unit_rows(x).mT,
    }


def correlation(x: Any) -> Any:
    """1 - Pearson's r of the images of every network."""
    z = _unit_rows(x - x.mean(2, keepdim=True))
    return 1 - z @ z.mT


def _unit_rows(x: Any) -> Any:
    return x / x.norm(dim=2, keepdim=True)


def unit(m: Any) -> Any:
    """U-centered maps of length 1, flat: `(T, n n)`."""
    import torch

    n = m.shape[1]
    off = 1 - torch.eye(n, device=m.device)
    m = m * off
    rows = m.sum(1) / (n - 2)
    rows = rows - rows.sum(1, keepdim=True) / (2 * (n - 1))
    flat = ((m - rows[:, :, None] - rows[:, None, :]) * off).flatten(1)
    return flat / flat.norm(dim=1, keepdim=True)


def unit_ranks(m: Any) -> Any:
    """Average ranks of the upper triangles, at mean 0 and length 1."""
    import torch

    i, j = torch.triu_indices(m.shape[1], m.shape[1], 1, device=m.device)
    v = m[:, i, j].contiguous()
    ordered = v.sort(1).values
    ranks = (torch.searchsorted(ordered, v) + torch.searchsorted(ordered, v, right=True)).float() / 2
    ranks = ranks - (math.comb(m.shape[1], 2)) / 2
    return ranks / ranks.norm(dim=1, keepdim=True)


def _products(z: Any) -> Any:
    return z @ z.T
