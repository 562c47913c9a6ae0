"""Contenders in separate processes, started once, that wait idle and each do one turn on request.

A contender's process calls `serve`. The requesting process uses `started`, `in_turn` and `rates`.
"""

import contextlib
import dataclasses
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

THREADS = 2
READY = "READY"


@dataclasses.dataclass(frozen=True)
class Turn:
    """What one turn took: seconds on the clock, and seconds of processor over all threads of the process."""

    wall: float
    processor: float


# A contender's process


def limit(threads: int = THREADS) -> None:
    """Keep this process to that many cores (Linux); call it before the contender's library starts its threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def serve(prepare: Callable[[str], Callable[[], Any]]) -> None:
    """Say READY, then time one turn for every line on standard input.

    Args:
        prepare: from the line, a word, to the turn's function, which must not return before its work is done. It is
            called once a word and not timed: the place to compile and to warm up.
    """
    turns: dict[str, Callable[[], Any]] = {}
    print(READY, flush=True)
    for line in sys.stdin:
        word = line.strip()
        if word not in turns:
            turns[word] = prepare(word)
        start, processor = time.perf_counter(), time.process_time()
        turns[word]()
        print(time.perf_counter() - start, time.process_time() - processor, flush=True)


# The process that asks them


class Contender:
    """A waiting process.

    Args:
        name: of the contender, for messages.
        command: its command line; the process calls `serve`.
        threads: that OpenMP gives it.

    Raises:
        RuntimeError: it ended before it was ready.
    """

    def __init__(self, name: str, command: Sequence[str], threads: int = THREADS):
        environment = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu"}
        self.name = name
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=os.environ | environment,
        )
        try:
            while self._line("start") != READY:
                pass
        except BaseException:
            self.stop()
            raise

    def ask(self, word: str = "go") -> Turn:
        """Have it do one turn.

        Raises:
            RuntimeError: it ended instead; its own message is on standard error.
        """
        with contextlib.suppress(BrokenPipeError):
            print(word, file=self._process.stdin, flush=True)
        return Turn(*map(float, self._line(word).split()))

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()

    def _line(self, what: str) -> str:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError(f"{self.name} ended at {what!r}.")
        return line.strip()


@contextlib.contextmanager
def started(commands: Mapping[str, Sequence[str]], threads: int = THREADS) -> Iterator[dict[str, Contender]]:
    """The contenders by name, ready and waiting; they are ended with the block.

    Raises:
        RuntimeError: one ended before it was ready.
    """
    waiting: dict[str, Contender] = {}
    try:
        for name, command in commands.items():
            waiting[name] = Contender(name, command, threads)
        yield waiting
    finally:
        for contender in waiting.values():
            contender.stop()


def in_turn(
    contenders: Mapping[str, Contender],
    words: Sequence[str] = ("go",),
    rounds: int = 15,
    tell: Callable[[str], None] | None = None,
) -> dict[str, dict[str, list[Turn]]]:
    """Every contender's turns at every word, by contender and word; who begins changes from round to round.

    Args:
        contenders: as `started` gives them.
        words: what they are asked, one after the other in each round.
        rounds: turns of each contender at each word.
        tell: called with a line when a round is over.
    """
    names = list(contenders)
    turns: dict[str, dict[str, list[Turn]]] = {name: {word: [] for word in words} for name in names}
    for r in range(rounds):
        for word in words:
            for i in range(len(names)):
                name = names[(i + r) % len(names)]
                turns[name][word].append(contenders[name].ask(word))
        if tell is not None:
            tell(f"round {r + 1} of {rounds}")
    return turns


def rates(turns: Sequence[Turn], images: int) -> dict[str, float]:
    """Images/s of turns of that many images: of the median turn, the slowest, the fastest; and by processor time."""
    return {
        "images_per_second": images / statistics.median(turn.wall for turn in turns),
        "slowest": images / max(turn.wall for turn in turns),
        "fastest": images / min(turn.wall for turn in turns),
        "images_per_processor_second": images / statistics.median(turn.processor for turn in turns),
    }
