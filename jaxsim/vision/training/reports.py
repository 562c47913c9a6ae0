"""What a run says while it goes on: loss curves as CSV, progress lines, and the stop at a loss that is not finite."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxsim import io


def write_curves(path: str | Path, tasks: Sequence[str], curves: np.ndarray) -> None:
    """Write losses `(steps, tasks)` as CSV with the header `step,<task>,...`, replacing an older file whole."""
    lines = [",".join(["step", *map(_quoted, tasks)])]
    lines += [",".join([str(step), *map(str, row)]) for step, row in enumerate(curves)]
    io.write_text(path, "\n".join(lines) + "\n", overwrite=True)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if set(name) & set(',"\r\n') else name


def check_finite(tasks: Sequence[str], losses: np.ndarray, first: int) -> None:
    """Raise at the first loss that is not finite among losses `(steps, tasks)` from step `first` on.

    Raises:
        FloatingPointError: naming the step, and the task if there are several.
    """
    bad = np.argwhere(~np.isfinite(losses))
    if len(bad):
        step, task = bad[0]
        whose = f" of task {tasks[task]!r}" if len(tasks) > 1 else ""
        value = losses[step, task]
        raise FloatingPointError(f"The loss{whose} or its gradient is not finite ({value}) at step {first + step}.")


class Progress:
    """Lines on standard error: steps done, mean loss since the last line, images per second."""

    def __init__(self, steps: int):
        self.steps = steps
        self.time = time.monotonic()

    def report(self, step: int, losses: np.ndarray, images: int) -> None:
        """Say where the run is after `step` steps of `images`, given the losses `(steps, tasks)` since last time."""
        now = time.monotonic()
        rate = len(losses) * images / max(now - self.time, 1e-9)
        sys.stderr.write(f"step {step}/{self.steps}  loss {losses.mean():.4g}  {rate:.0f} images/s\n")
        self.time = now
