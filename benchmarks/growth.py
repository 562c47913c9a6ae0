"""Time and memory against the numbers of images, networks, features, resamples and devices, next to the alternatives.

    python -m benchmarks.growth                      # all series: an hour on two cores, half of it for 100,000 images
    python -m benchmarks.growth --only images        # one series; the others in the file stay
    python -m benchmarks.growth --draw               # the table and docs/_static/growth.png again, nothing measured

Every size of every contender runs in a fresh process. Its time is CPU time over all threads. If the first call took
less than LONG seconds, the second call counts; otherwise the first one does, including compilation. Its memory is the
peak beyond what the process used once the features were read, including compilation (about 0.3 GB). A contender's
series ends if a call takes more than a minute of CPU time or its process uses more than MEMORY bytes; tiles continue to
the end. Exponents are slopes of log time and log memory through the largest three sizes.
"""

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.timing import forget_peak, machine, peak_mb, resident_mb

RESULTS = Path(__file__).parent / "results" / "growth.json"
PICTURE = Path(__file__).parents[1] / "docs" / "_static" / "growth.png"
LONG, LIMIT, MEMORY = 20, 60, 6e9
"""Seconds of a first call that is not repeated, those that end a series, and bytes that do."""
TILE = 1024
IMAGES = [500, 1000, 2000, 4000, 8000, 16000, 32000, 100_000]
SERIES = {
    "images": ("images", IMAGES, {"networks": 4, "width": 64}),
    "images-pearson": ("images", IMAGES, {"networks": 4, "width": 64}),
    "images-cka": ("images", IMAGES, {"networks": 4, "width": 64}),
    "networks": ("networks", [10, 30, 100, 300, 1000], {"images": 200, "width": 64}),
    "features": ("width", [64, 256, 1024, 4096, 16384], {"networks": 8, "images": 500}),
    "resamples": ("resamples", [100, 300, 1000, 3000, 10000], {"networks": 8, "images": 100, "width": 64}),
    "devices": ("devices", [1, 2, 4, 8], {"networks": 16, "images": 500, "width": 64}),
}
"""What grows, through which sizes, and what stays."""
CONTENDERS = {
    "images": ("jaxsim", "jaxsim tiles", "NumPy", "rsatoolbox"),
    "images-pearson": ("jaxsim", "NumPy", "rsatoolbox"),
    "images-cka": ("jaxsim", "NumPy", "pytorch-cka"),
    "networks": ("jaxsim", "NumPy", "rsatoolbox"),
    "features": ("jaxsim", "NumPy", "rsatoolbox"),
    "resamples": ("jaxsim", "NumPy", "rsatoolbox"),
    "devices": ("jaxsim", "two processes"),
}
MEASURES = {"images-cka": "cka", "images-pearson": "center:correlation:pearson"}
"""Of series; the others are of RSA."""
TITLES = {
    "images": "RSA, 4 networks",
    "images-pearson": "RSA by Pearson, 4 networks",
    "images-cka": "debiased linear CKA, 4 networks",
    "networks": "RSA, 200 images",
    "features": "RSA, 8 networks, 500 images",
    "resamples": "bootstrap of RSA, 8 networks, 100 images",
    "devices": "RSA, 16 networks, 500 images",
}


def features(networks: int, images: int, width: int) -> np.ndarray:
    """Correlated float32 features `(T, n, d)`."""
    random = np.random.default_rng(0)
    shared = random.standard_normal((images, 16), np.float32)
    made = [shared @ random.standard_normal((16, width), np.float32) for _ in range(networks)]
    return np.stack([x + random.standard_normal(x.shape, np.float32) for x in made])


def call(series: str, contender: str, x: np.ndarray, resamples: int):
    """What is timed, as a function without arguments that returns scores `(T, T)`, or of the last resample."""
    from benchmarks import peers, strongest_rsa

    if series == "devices":
        import jax

        import jaxsim as js

        mine = {str(k): x[k] for k in range(jax.process_index(), len(x), jax.process_count())}
        return lambda: np.asarray(js.affinity(mine, "rsa", devices="all").values)
    if contender.startswith("jaxsim"):
        import jaxsim as js

        if series == "resamples":
            options = {"scheme": js.Bootstrap(), "n_resamples": resamples, "key": 0}
            return lambda: np.asarray(js.resample(x, "rsa", **options).values)[-1]
        import jax

        # a device that is asked for makes maps whole
        whole = {"devices": jax.devices()[:1]} if series == "images" else {}
        how: dict = {"tile": TILE} if "tiles" in contender else whole
        return lambda: np.asarray(js.affinity(x, MEASURES.get(series, "rsa"), **how).values)
    if contender == "pytorch-cka":
        import torch

        held = torch.from_numpy(x)
        return lambda: peers.pytorch_cka(held)
    if contender == "rsatoolbox":
        from rsatoolbox.rdm.compare import compare

        x = x - x.mean(1, keepdims=True)
        if series == "resamples":
            return lambda: peers.rsatoolbox_bootstrap(peers.rsatoolbox_maps(x), resamples)[0][-1]

        def scores():
            maps = peers.rsatoolbox_maps(x)
            return compare(maps, maps, method="corr" if "pearson" in series else "spearman")

        return scores
    if series == "resamples":
        images = x.shape[1]
        draws = np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), resamples)
        return lambda: strongest_rsa.rsa_bootstrap(x, draws.astype(np.float32), center=True)[-1]
    if "cka" in series:
        return lambda: strongest_rsa.cka_linear(x)
    return lambda: strongest_rsa.rsa(x, ranks="pearson" not in series)


def measure(series: str, contender: str, size: int) -> dict:
    """Seconds and bytes of one size, in this process."""
    if address := os.environ.get("COORDINATOR"):
        import jax

        jax.distributed.initialize(address, num_processes=2, process_id=int(os.environ["RANK"]))
    grows, _, fixed = SERIES[series]
    problem: dict = {"resamples": 0, **fixed, grows: size}
    run = call(
        series, contender, features(*(problem[k] for k in ("networks", "images", "width"))), problem["resamples"]
    )
    held, seconds = resident_mb(), []
    forget_peak()
    while len(seconds) < 2 and (not seconds or seconds[0] < LONG):
        start = time.process_time()
        scores = run()
        seconds.append(time.process_time() - start)
    row = {"size": size, "seconds": seconds[-1], "first": seconds[0], "bytes": 1e6 * (peak_mb() - held)}
    return {**row, "score": float(np.asarray(scores)[0, 1])}


def host_rate() -> float:
    """Bytes of features that one processor reads and transforms in a second, for tiles of RSA."""
    import jaxsim as js
    from jaxsim.engine.row_blocks import RowBlocks

    blocks = RowBlocks(features(1, 8 * TILE, 1024)[0], js.RSA, TILE)
    blocks[0].block_until_ready()
    start = time.process_time()
    for k in range(blocks.count):
        blocks[k].block_until_ready()
    return blocks.x.nbytes / (time.process_time() - start)


def attempt(series: str, contender: str, size: int) -> dict:
    """The same in a process of its own, or two, or why there is none."""
    if contender != "two processes":
        return _one(series, contender, size, {"JAX_NUM_CPU_DEVICES": str(size)} if series == "devices" else {})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        share = {"JAX_NUM_CPU_DEVICES": str(size // 2), "COORDINATOR": f"127.0.0.1:{free.getsockname()[1]}"}
    with ThreadPoolExecutor(2) as both:
        rows = [*both.map(lambda rank: _one(series, contender, size, {**share, "RANK": str(rank)}), range(2))]
    failed = [row for row in rows if "ends" in row]
    return failed[0] if failed else rows[0] | {k: rows[0][k] + rows[1][k] for k in ("seconds", "first", "bytes")}


def _one(series, contender, size, environment):
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.growth", "--one", series, contender, str(size)]
    most = 60 * LIMIT if "tiles" in contender else LIMIT + LONG

    def limited():
        resource.setrlimit(resource.RLIMIT_CPU, (most, most + 5))

    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limited,
        env=os.environ | environment,
    )
    status, why = Path(f"/proc/{process.pid}/status"), ""
    while process.poll() is None:
        lines = status.read_text(encoding="ascii").splitlines()
        resident = [1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS")]
        if resident and resident[0] > MEMORY:
            why = f"takes more than {MEMORY / 1e9:g} GB"
            process.kill()
        time.sleep(0.2)
    out, err = process.communicate()
    if process.returncode == 0:
        return json.loads(out.splitlines()[-1])
    why = why or ("takes more than a minute" if process.returncode < 0 else (err.strip().splitlines() or ["fails"])[-1])
    return {"size": size, "ends": why}


def exponent(rows: list[dict], what: str) -> float | None:
    """Slope of log `what` against log size through the largest three sizes."""
    rows = [row for row in rows if row.get(what, 0) > 0][-3:]
    if len(rows) < 3:
        return None
    return float(np.polyfit(np.log([row["size"] for row in rows]), np.log([row[what] for row in rows]), 1)[0])


def table(record: dict) -> str:
    """Markdown rows: of each series, seconds and megabytes at every size, and the exponents."""
    lines = []
    for name, contenders in record["series"].items():
        grows, sizes, _ = SERIES[name]
        lines += ["", f"**{TITLES[name]}**: s (MB)", ""]
        lines.append(f"| {grows if grows != 'width' else 'features'} | " + " | ".join(f"{k:,}" for k in sizes))
        lines[-1] += " | time grows as | memory as |"
        lines.append("|" + "---|" * (len(sizes) + 3))
        for contender, own in contenders.items():
            cells = {row["size"]: row for row in own["rows"]}
            shown = [_cell(cells.get(size)) for size in sizes]
            powers = ["" if own[k] is None else f"{own[k]:.1f}" for k in ("time_exponent", "memory_exponent")]
            lines.append("| " + " | ".join([contender, *shown, *powers]) + " |")
    return "\n".join(lines)


def _cell(row):
    if row is None:
        return ""
    return row["ends"] if "ends" in row else f"{row['seconds']:.2g} ({row['bytes'] / 1e6:.0f})"


def draw(record: dict):
    """A panel a series: seconds against size, a line a contender."""
    from jaxsim.plotting.canvas import INK, bare, new_figure, place, style_of

    panels, columns, width, height, left = record["series"], 3, 2.3, 1.7, 0.65
    lines = -(-(len(panels) + 1) // columns)
    figure = new_figure(left + columns * (width + 0.5), lines * (height + 0.8))
    names, axes = [*dict.fromkeys(name for own in panels.values() for name in own)], None
    for k, (name, contenders) in enumerate(panels.items()):
        line, column = divmod(k, columns)
        bottom = (lines - 1 - line) * (height + 0.8) + 0.5
        axes = place(figure, left + column * (width + 0.5), bottom, width, height)
        for contender in names:
            rows = [row for row in contenders.get(contender, {"rows": []})["rows"] if "seconds" in row]
            sizes, seconds = [row["size"] for row in rows], [row["seconds"] for row in rows]
            axes.plot(sizes, seconds, label=contender, markersize=3.5, **style_of(names.index(contender)))
        axes.set(xscale="log", yscale="log")
        if name == "devices":
            axes.set(xticks=SERIES[name][1], xticklabels=SERIES[name][1], ylim=(0.1, 1))
            axes.tick_params(which="minor", labelbottom=False, labelleft=False)
        axes.set_title(TITLES[name], fontsize=8, color=INK, loc="left")
        axes.set_xlabel({"width": "features"}.get(SERIES[name][0], SERIES[name][0]), fontsize=8)
        axes.tick_params(labelsize=7)
        bare(axes, keep=("left", "bottom"))
        if column == 0:
            axes.set_ylabel("seconds of processors", fontsize=8)
    if axes is not None:
        figure.legend(*axes.get_legend_handles_labels(), loc="lower right", fontsize=8, frameon=False)
    return figure


def main() -> None:
    """Measure, write, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*SERIES], default=[*SERIES])
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        series, contender, size = options.one
        print(json.dumps(measure(series, contender, int(size))))
        return
    record: dict = json.loads(options.out.read_text()) if options.out.exists() else {"series": {}}
    for name in () if options.draw else options.only:
        record["machine"], record["load"], found = machine(), os.getloadavg()[0], {}
        for contender in CONTENDERS[name]:
            rows = []
            for size in SERIES[name][1][contender == "two processes" :]:
                rows.append(attempt(name, contender, size))
                print(name, contender, json.dumps(rows[-1]), flush=True)
                if "ends" in rows[-1] or (rows[-1]["seconds"] > LIMIT and "tiles" not in contender):
                    break
            found[contender] = {"rows": rows}
            found[contender] |= {
                f"{k}_exponent": exponent(rows, v) for k, v in (("time", "seconds"), ("memory", "bytes"))
            }
        record["series"] = {
            key: {**record["series"], name: found}[key] for key in SERIES if key in {*record["series"], name}
        }
        options.out.write_text(json.dumps(record, indent=1) + "\n")
    if not options.draw:
        record["host_rate"] = host_rate()
        options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(table(record))
    from jaxsim.plotting.canvas import save_figure

    save_figure(draw(record), PICTURE, overwrite=True)


if __name__ == "__main__":
    main()
