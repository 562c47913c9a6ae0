"""Progress of a sweep, running or stopped, read from its folder."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxsim.io import files, jobs
from jaxsim.sweeps.blocks import FOLDER

RECORD = "progress.json"
"""File in the folder with the plan and the progress of the last run."""
RESULT = ("affinity.npz", "affinity.csv")
"""Files with the matrix."""


@dataclasses.dataclass(frozen=True)
class SweepStatus:
    """Progress of a sweep.

    Attributes:
        done: number of blocks that are done.
        total: number of blocks in the last plan.
        running: whether a process is working on it; None if the file system cannot tell.
        rate: blocks per second in the last run; None before the first.
        left: seconds left at that rate; None if it is not running.
        complete: whether the matrix is there.
        engine: engine of the last run.
    """

    done: int
    total: int
    running: bool | None
    rate: float | None
    left: float | None
    complete: bool
    engine: str

    def __str__(self) -> str:
        state = {True: "running", False: "not running", None: "may be running"}[self.running]
        return ", ".join([self.progress(), f"{state} ({self.engine})", *["the matrix is complete"] * self.complete])

    def progress(self) -> str:
        """Text with blocks, rate and time left."""
        return ", ".join([f"{self.done} of {files.counted(self.total, 'block')}", *files.pace(self.rate, self.left)])


def sweep_status(out: str | Path) -> SweepStatus:
    """Report the progress of the sweep in a folder, whether it is running or not.

    Raises:
        FileNotFoundError: no sweep was started there.
        ValueError: its record is damaged.

    >>> sweep_status("nowhere")
    Traceback (most recent call last):
    FileNotFoundError: nowhere has no sweep in it: there is no progress.json.
    """
    out = Path(out)
    if not (out / RECORD).is_file():
        raise FileNotFoundError(f"{out} has no sweep in it: there is no {RECORD}.")
    record = jobs.read_record(out / RECORD)
    there = {path.stem for path in (out / FOLDER).glob("[!.]*.npz")}
    new = len(there.intersection(record["pending"]))
    running = _is_held(out / FOLDER)
    seconds = (time.time() if running else record["updated"]) - record["started"]
    rate = new / seconds if new and seconds > 0 else None
    total = record["kept"] + len(record["pending"])
    left = (len(record["pending"]) - new) / rate if rate and running else None
    complete = all((out / name).is_file() for name in RESULT)
    return SweepStatus(record["kept"] + new, total, running, rate, left, complete, record["engine"])


def _is_held(folder: Path) -> bool | None:
    if files.fcntl is None:
        return None
    try:
        with files.abandoned(folder, sure=True):
            return False
    except BlockingIOError:
        return True
    except OSError:
        return None


class Progress:
    """Keeps the record of a run in its folder and reports on it.

    Args:
        out: the folder.
        pending: names of the blocks to run.
        kept: number of blocks that were already there.
        engine: description of the engine.
        tell: called with a `SweepStatus`.
    """

    def __init__(self, out: Path, pending: Sequence[str], kept: int, engine: str, tell=None):
        self.out, self.tell, self.written = out, tell, 0.0
        now = time.time()
        self.record = {"pending": list(pending), "kept": kept, "started": now, "updated": now, "engine": engine}
        self._write(now)

    def __call__(self, done: int) -> None:
        """Note that this many blocks of the run are done; written to disk every few seconds."""
        now, total = time.time(), len(self.record["pending"])
        seconds = now - self.record["started"]
        rate = done / seconds if done and seconds > 0 else None
        if self.tell is not None:
            kept, left = self.record["kept"], (total - done) / rate if rate else None
            self.tell(SweepStatus(kept + done, kept + total, True, rate, left, False, self.record["engine"]))
        if now - self.written > 5 or done == total:
            self._write(now)

    def _write(self, now):
        self.record["updated"], self.written = now, now
        jobs.write_record(self.out / RECORD, self.record)


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other sweeps out of a folder while the block runs.

    Raises:
        BlockingIOError: another sweep is running there.
    """
    try:
        with jobs.lock(out / FOLDER):
            yield
    except BlockingIOError:
        raise BlockingIOError(
            f"{out} is in use by another sweep; wait for it to end, or give another folder."
        ) from None
