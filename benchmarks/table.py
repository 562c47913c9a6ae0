"""Markdown for the README from the JSON of a run: `python -m benchmarks.table benchmarks/results/cpu.json`."""

import json
import sys
from pathlib import Path

WHO = {
    "published": "published pairwise pipeline",
    "strongest": "strongest NumPy/SciPy",
    "rsatoolbox": "rsatoolbox",
    "pytorch-cka": "pytorch-cka",
    "torch-cka": "torch-cka",
    "matmul XLA": "bare matmul, XLA",
    "matmul NumPy": "bare matmul, NumPy GEMM",
    "SYRK NumPy": "bare matmul, NumPy SYRK",
}


def seconds(value: float) -> str:
    """A duration with two or three significant digits."""
    if value < 1:
        return f"{1e3 * value:.3g} ms"
    return f"{value:.3g} s" if value < 1000 else f"{value / 60:.0f} min"


def render(results: dict) -> str:
    """The whole report."""
    parts = [_heading(results)]
    good = {name: c for name, c in results["cases"].items() if "failed" not in c}
    parts += [f"* {name} failed: {c['failed']}" for name, c in results["cases"].items() if "failed" in c]
    if good:
        parts += [_speed(good), _memory(good)]
    if "matmul" in good.get("cka", {}):
        parts.append(_matmul(good["cka"]["matmul"]))
    parts += [_startup(results["startup"])] if "startup" in results else []
    parts += [_compilations(results["compilations"])] if "compilations" in results else []
    parts += [_accuracy(results["accuracy"])] if "accuracy" in results else []
    return "\n\n".join(parts)


def _heading(results: dict) -> str:
    m = results["machine"]
    versions = ", ".join(f"{p} {v}" for p, v in m["versions"].items() if v)
    text = f"Device: {m['platform']} ({m['device']}); host: {m['processor']}, {m['cores']} cores; {versions}."
    if results["skipped"]:
        text += f" Not installed, so not compared: {', '.join(results['skipped'])}."
    return ("**Quick run: a smoke test, not a measurement.** " if results["quick"] else "") + text


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(c) for c in cells) + " |"


def _speed(cases: dict) -> str:
    lines = [
        _row("work", "jaxsim", "compile", "against", "time", "ratio", "target", "largest difference"),
        _row(*["---"] * 8),
    ]
    for case in cases.values():
        mine, work = case["sides"]["ours"]["seconds"], case["title"]
        for side, ratio in case["ratios"].items():
            s = case["sides"][side]
            share = s["fraction_timed"]
            takes = seconds(s["seconds"]) + (f" ({100 * share:.2g} % timed)" if share < 1 else "")
            target = case["targets"].get(side)
            wanted = f">= {target['ratio']}x: {'met' if target['met'] else 'missed'}" if target else ""
            gap = case["difference"].get(side)
            gap = "" if gap is None else f"{gap:.0e}"
            first = (work, seconds(mine), seconds(case["compile_seconds"]))
            lines.append(_row(*first, WHO.get(side, side), takes, f"{ratio:.3g}x", wanted, gap))
            work = ""
    return "\n".join(lines)


def _memory(cases: dict) -> str:
    lines = [
        _row("peak memory beyond the features", "jaxsim", "strongest NumPy", "features to device"),
        _row(*["---"] * 4),
    ]
    for case in cases.values():
        if case["memory"]:
            held = [_megabytes(case["memory"].get(side, {})) for side in ("ours", "strongest")]
            lines.append(_row(case["title"], *held, seconds(case["transfer_seconds"])))
    return "\n".join(lines)


def _megabytes(memory: dict) -> str:
    if "added_mb" not in memory:
        return memory.get("failed", "")
    text = f"{memory['added_mb']:.0f} MB"
    return text + (f" (device peak {memory['device_peak_mb']:.0f} MB)" if "device_peak_mb" in memory else "")


def _matmul(m: dict) -> str:
    rates = ", ".join(f"{WHO.get(side, side)} {rate:.0f}" for side, rate in m["gflops"].items())
    return (
        f"Linear CKA runs at {100 * m['share']:.0f} % of the best general matmul's rate (target >= 80 %: "
        f"{'met' if m['met'] else 'missed'}). GFLOP/s at 2 T n^2 d operations: {rates}. "
        "(SYRK does half the operations.)"
    )


def _startup(s: dict) -> str:
    cold = s["cold_start"]
    if "failed" in cold:
        return f"Cold start failed: {cold['failed']}"
    phases = ", ".join(f"{k} {seconds(v)}" for k, v in cold.items() if k != "wall")
    return (
        f"Cold start to the first 20 x 20 RSA matrix (n=200, d=2048): {seconds(cold['wall'])} ({phases}), "
        f"target <= 6 s: {'met' if s['cold_start_met'] else 'missed'}. `import jaxsim` adds "
        f"{1e3 * s['import_added']:.0f} ms to `import jax` (target <= 200 ms: "
        f"{'met' if s['import_met'] else 'missed'})."
    )


def _compilations(c: dict) -> str:
    tried = c["measures"].items()
    counts = ", ".join(f"{m} {v.get('programs', 'failed')} (again: {v.get('again', '')})" for m, v in tried)
    state = "met" if c["met"] else "missed"
    return f"Programs compiled for fifty networks of fifty widths: {counts}; target <= 4: {state}."


def _accuracy(a: dict) -> str:
    lines = [
        _row("largest error in float32", "cells held to the limit", "worst of them", "<= 2e-6", "others"),
        _row(*["---"] * 5),
    ]
    for name, r in a.items():
        rest = {c: e for c, e in r["cells"].items() if c not in r["held_to_the_limit"]}
        worst = max(rest, key=lambda c: rest[c]) if rest else ""
        other = f"{worst} {rest[worst]:.0e}" if rest else ""
        met = "met" if r["met"] else "missed"
        bound, at = len(r["held_to_the_limit"]), f"{r['worst']} {r['worst_error']:.1e}"
        lines.append(_row(f"{name}, T={r['networks']}", bound, at, met, other))
    return "\n".join(lines)


if __name__ == "__main__":
    print(render(json.loads(Path(sys.argv[1]).read_text())))
