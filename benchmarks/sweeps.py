"""Killed, stopped and extended sweeps, and the gain from workers: `python -m benchmarks.sweeps [--only kills]`.

* kills: 200 networks of 5 layers, 40 images each. Workers are killed at 50 random moments, the engine is changed twice,
  and 5 networks are added. Then the matrix is compared bit for bit with that of an uninterrupted sweep.
* workers: blocks that sleep, with one worker and with four: the rate after all have started, and the total time.
"""

import argparse
import json
import os
import platform
import random
import signal
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import jaxsim as js
from jaxsim import io
from jaxsim.sweeps import blocks, engines

LAYERS, IMAGES = 5, 40
SLEEP, SLEEPING = 0.25, 320


def write(folder: Path, numbers) -> Path:
    """Features of networks, a file each with an array a layer."""
    folder.mkdir(exist_ok=True)
    for k in numbers:
        rng = np.random.default_rng(k)
        made = {f"layer{i}": rng.normal(size=(IMAGES, 24 + 8 * i)).astype(np.float32) for i in range(LAYERS)}
        io.write_npz(folder / f"network{k:03d}.npz", made, overwrite=True)
    return folder


def workers_of(number: int) -> list[int]:
    """Processes of a pool that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == number and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:  # it has ended
            continue
    return found


class Killer(threading.Thread):
    """Kills workers of this process while `on` is set, each up to 1.5 s after new blocks have appeared in a folder."""

    def __init__(self, out: Path, most: int):
        super().__init__(daemon=True)
        self.out, self.most, self.kills = out, most, 0
        self.on, self.random = threading.Event(), random.Random(0)

    def there(self) -> int:
        """Number of blocks."""
        return len([*self.out.glob("blocks/[!.]*.npz")])

    def run(self):
        """Until the process ends."""
        while True:
            self.on.wait()
            before = self.there()
            while self.there() == before:
                time.sleep(0.05)
            time.sleep(self.random.uniform(0, 1.5))
            there = workers_of(os.getpid())
            if there and self.on.is_set() and self.kills < self.most:
                os.kill(self.random.choice(there), signal.SIGKILL)
                self.kills += 1


def until(share: float):
    """A `progress` that stops the sweep, as Ctrl-C does, when that share of the blocks is there."""

    def tell(status):
        if status.done >= share * status.total:
            raise KeyboardInterrupt

    return tell


def kills(networks: int, most: int) -> dict:
    place = Path(tempfile.mkdtemp())
    folder, engine = write(place / "features", range(networks)), "serial"
    killer, steps, submitted = Killer(place / "out", most), [], 0
    killer.start()
    try:
        from dask import distributed  # noqa: F401

        engine = "dask"
    except ImportError:
        pass

    def go(executor, tell, kill):
        nonlocal submitted
        if kill:
            killer.on.set()
        begun, before = time.perf_counter(), killer.kills
        workers = None if executor == "serial" else 2
        try:
            found = js.sweep(
                folder, "cka", out=place / "out", executor=executor, workers=workers, progress=tell, overwrite=True
            )
        except KeyboardInterrupt:
            found = None
        killer.on.clear()
        status = js.sweep_status(place / "out")
        steps.append(
            {
                "engine": executor,
                "seconds": time.perf_counter() - begun,
                "kills": killer.kills - before,
                "blocks": f"{status.done} of {status.total}",
            }
        )
        print(steps[-1], flush=True)
        return found

    slow = time.sleep

    def tell(status):  # so that there is time for all the kills
        if killer.kills < most // 2 and status.done > 0.4 * status.total:
            slow(0.3)
        elif killer.kills >= most // 2:
            raise KeyboardInterrupt

    go("processes", tell, True)
    go(engine, until(0.7), False)

    def tell_again(status):
        if killer.kills < most and status.done > 0.9 * status.total:
            slow(0.3)

    go("processes", tell_again, True)
    write(folder, range(networks, networks + 5))
    found = go("serial", None, False)
    begun = time.perf_counter()
    whole = js.sweep(folder, "cka", out=place / "whole", workers=2)
    equal = np.array_equal(whole.values.view(np.uint32), found.values.view(np.uint32)) and whole.names == found.names
    return {
        "networks": networks,
        "layers": LAYERS,
        "images": IMAGES,
        "pairs": len(whole.names) * (len(whole.names) + 1) // 2,
        "kills": killer.kills,
        "steps": steps,
        "unbroken_seconds": time.perf_counter() - begun,
        "bits_equal": bool(equal),
    }


def sleeping(work, some):
    """What a worker does."""
    time.sleep(SLEEP)
    return [blocks.Outcome(block.name) for block in some]


def workers() -> dict:
    made = [blocks.Block(str(k), (), ()) for k in range(SLEEPING)]
    found = {}
    for count in (1, 4):
        marks = []
        begun = time.perf_counter()
        with engines.started("processes", None, len(made), workers=count) as lanes:
            engines.run(lanes, sleeping, None, made, lambda done, m=marks: m.append((time.perf_counter(), done)))
        first = next(mark for mark in marks if mark[1] >= 4 * count)
        rate = (marks[-1][1] - first[1]) / (marks[-1][0] - first[0])
        found[str(count)] = {"seconds": time.perf_counter() - begun, "blocks_a_second": rate}
        print(count, found[str(count)], flush=True)
    found["gain"] = found["4"]["blocks_a_second"] / found["1"]["blocks_a_second"]
    found["gain_with_start"] = found["1"]["seconds"] / found["4"]["seconds"]
    return {"sleep": SLEEP, "blocks": SLEEPING, **found}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=("kills", "workers"))
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--out", default="benchmarks/results/sweeps.json")
    chosen = parser.parse_args()
    parts = {"workers": workers, "kills": lambda: kills(chosen.networks, chosen.kills)}
    path = Path(chosen.out)
    found = json.loads(path.read_text()) if path.exists() else {}
    for name in [chosen.only] if chosen.only else parts:
        found[name] = parts[name]() | {"cores": os.cpu_count(), "python": platform.python_version()}
        print(json.dumps({name: found[name]}, indent=1), flush=True)
        io.write_text(path, json.dumps(found, indent=1) + "\n", overwrite=True)


if __name__ == "__main__":
    main()
