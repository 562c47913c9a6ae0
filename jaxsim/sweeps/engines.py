"""Engines that run blocks: anything with `submit(function, *args) -> future`, as in `concurrent.futures`.

A future has `done()`, `exception()` and `result()`, and may have `cancel()`. The futures of the standard library, of
Dask and of submitit do.
"""

import concurrent.futures
import contextlib
import dataclasses
import importlib.util
import multiprocessing
import os
import pickle
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxsim import extras
from jaxsim.io.files import counted
from jaxsim.statistics.checks import shown
from jaxsim.sweeps.blocks import KINDS, Block, Outcome, forget

NAMES = ("processes", "serial", "dask", "submitit")
"""Engines by name."""
TRIES = 6
"""Number of times that a block is given to workers that get lost."""
BEAT = 1.0
"""Seconds between two checks of work in progress."""
CLUSTER = '"jaxsim-similarity[cluster]"'
"""`pip install` argument for the extra."""


@dataclasses.dataclass
class Lane:
    """Workers that take work from the same queue.

    Attributes:
        start: creates the executor, again after it has lost its worker.
        limit: number of submissions that may be in flight.
        bundle: number of blocks in a submission.
        own: whether the executor is shut down here.
        alive: whether futures may still complete.
        recent: networks of the last blocks, which a worker still has in memory.
    """

    start: Callable[[], Any]
    limit: int
    bundle: int = 1
    own: bool = True
    alive: Callable[[], bool] = lambda: True
    executor: Any = None
    recent: deque[frozenset[str]] = dataclasses.field(default_factory=lambda: deque(maxlen=4))
    running: dict[Any, list[Block]] = dataclasses.field(default_factory=dict)

    def submit(self, function: Callable, work: Any, blocks: list[Block]) -> None:
        """Give blocks to the workers."""
        if self.executor is None:
            self.executor = self.start()
        self.running[self.executor.submit(function, work, blocks)] = blocks
        self.recent.extend(map(_members, blocks))

    def renew(self) -> None:
        """Abandon an executor that accepts no more work."""
        if self.own and self.executor is not None:
            self.executor.shutdown(wait=False)
            self.executor = None
        self.recent.clear()

    def stop(self) -> None:
        """Cancel what is running, and end workers that were started here."""
        for future in self.running:
            with contextlib.suppress(Exception):  # engines raise arbitrary errors, and there is nothing left to save
                future.cancel()
        if self.own and self.executor is not None:
            kill = getattr(self.executor, "kill", None) if self.running else None
            (kill or self.executor.shutdown)()


def _members(block: Block) -> frozenset[str]:
    return frozenset(source.checksum for _, source in block.networks)


def run(
    lanes: Sequence[Lane],
    function: Callable[[Any, Sequence[Block]], list[Outcome]],
    work: Any,
    blocks: Sequence[Block],
    each: Callable[[int], None] = lambda done: None,
) -> None:
    """Run all blocks, and run those of lost workers again.

    Args:
        lanes: lanes of the engine.
        function: what a worker calls, with `work` and some blocks.
        work: sent to every worker.
        blocks: blocks in the order of groups.
        each: called with the number of blocks done, after each one and at least every second.

    Raises:
        RuntimeError: a block was lost too often.
        Exception: of the class that the function reported; finished blocks stay.
    """
    pending, done, losses = _bundles(blocks, lanes[0].bundle), 0, _Losses()
    try:
        while pending or any(lane.running for lane in lanes):
            lost, before = [], done
            for lane in lanes:
                while pending and len(lane.running) < lane.limit:
                    bundle = pending.pop(_nearest(pending, lane))
                    try:
                        lane.submit(function, work, bundle)
                    except Exception as error:  # noqa: BLE001 (every engine has its own)
                        lost.append((lane, bundle, error))
                        break
            for lane, future in _finished(lanes):
                bundle = lane.running.pop(future)
                error = _error_of(future)
                if error is not None:
                    lost.append((lane, bundle, error))
                    continue
                outcomes = future.result()
                if not outcomes or not all(isinstance(one, Outcome) for one in outcomes):
                    text = f"the executor gave {shown(outcomes)} as the result of a block, instead of what the function"
                    raise TypeError(f"{text} returned; finished blocks are kept.")
                if outcomes[-1].error:
                    raise KINDS[outcomes[-1].kind](outcomes[-1].error)
                done += len(outcomes)
            each(done)
            for lane, bundle, _ in lost:
                pending.append(bundle)  # the others first, in case this block is what kills workers
                lane.renew()
            losses.note([(bundle, error) for _, bundle, error in lost], done > before)
            if any(lane.running and not lane.alive() for lane in lanes):
                raise ConnectionError(
                    "the connection to the scheduler of the workers was lost; finished blocks are kept."
                )
    finally:
        for lane in lanes:
            lane.stop()


def _bundles(blocks, size):
    return [list(blocks[k : k + size]) for k in range(0, len(blocks), size)]


def _nearest(pending, lane):
    """Number of the nearby pending bundle with the most networks that the lane's worker has ready."""
    if not lane.recent or lane.limit > 1:
        return 0
    ready = frozenset().union(*lane.recent)
    near = range(min(len(pending), 256))
    return max(near, key=lambda k: (len(ready & _members(pending[k][0])), -k))


def _finished(lanes) -> list[tuple[Lane, Any]]:
    """Futures that are done, after waiting for one for at most a second."""
    futures = [(lane, future) for lane in lanes for future in lane.running]
    if not futures:
        return []
    plain = [future for _, future in futures]
    if all(isinstance(future, concurrent.futures.Future) for future in plain):
        concurrent.futures.wait(plain, timeout=BEAT, return_when=concurrent.futures.FIRST_COMPLETED)
    elif not any(future.done() for future in plain):
        time.sleep(BEAT / 5)
    return [(lane, future) for lane, future in futures if future.done()]


def _error_of(future) -> BaseException | None:
    try:
        return future.exception()
    except concurrent.futures.CancelledError as error:
        return error
    except Exception as error:  # noqa: BLE001 (some engines raise it)
        return error


class _Losses:
    """Counts the losses of each block, and consecutive rounds of losses with nothing done."""

    def __init__(self):
        self.tries: dict[str, int] = {}
        self.barren = 0

    def note(self, lost: Sequence[tuple[list[Block], BaseException]], advanced: bool) -> None:
        """Record what a round has lost, and wait a while if it lost anything.

        Raises:
            RuntimeError: there is no point in going on.
        """
        self.barren = 0 if advanced else self.barren + bool(lost)
        for bundle, error in lost:
            name = bundle[0].name
            self.tries[name] = self.tries.get(name, 0) + 1
            if self.tries[name] >= TRIES or self.barren >= 2 * TRIES:
                often = f"{TRIES} times on the block {name}" if self.tries[name] >= TRIES else "again and again"
                reason = (" ".join(str(error).split()) or type(error).__name__)[:300].rstrip(".")
                if isinstance(error, concurrent.futures.BrokenExecutor):
                    reason += '; in a script, js.sweep must be called under `if __name__ == "__main__":`'
                raise RuntimeError(f"workers were lost {often}: {reason}; finished blocks are kept.") from error
        if lost:
            time.sleep(min(0.1 * 2**self.barren, BEAT))


# Engines


class Serial:
    """An executor that runs what it receives immediately, in this process."""

    def submit(self, function: Callable, *args: Any) -> concurrent.futures.Future:
        """The finished future."""
        future = concurrent.futures.Future()
        try:
            future.set_result(function(*args))
        except Exception as error:  # noqa: BLE001 (the future carries it)
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True) -> None:
        """Drop what was kept for further blocks."""
        forget()


class Worker:
    """One process, with its own device if there are several.

    It ends with the process that started it, however that ends.
    """

    def __init__(self, device: str | None):
        self._pool = concurrent.futures.ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(device,)
        )
        with _without_interruptions():  # inherited, since the process imports JAX before it gets to `_begin`
            self._number = self._pool.submit(os.getpid)

    def submit(self, function: Callable, *args: Any) -> concurrent.futures.Future:
        """The future of a call in that process."""
        return self._pool.submit(function, *args)

    def shutdown(self, wait: bool = True) -> None:
        """Shut the process down when its work is done."""
        self._pool.shutdown(wait=wait, cancel_futures=True)

    def kill(self) -> None:
        """Kill the process now; files are written completely or not at all, so nothing is left half-done."""
        if self._number.done() and not self._number.cancelled() and self._number.exception() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._number.result(), signal.SIGTERM)
        self.shutdown(wait=True)


@contextlib.contextmanager
def _without_interruptions():
    """Hold Ctrl-C back from this thread and from processes started in the block; only POSIX systems support this."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(device: str | None) -> None:
    """Set up a worker process: choose its device, leave Ctrl-C to the parent, and exit if the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # the parent has already warned about the files
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def gpus() -> list[str]:
    """Numbers of the GPUs that JAX would use, found without starting one; empty if there are none."""
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    if os.environ.get("JAX_PLATFORMS", "cuda").split(",")[0] not in ("cuda", "gpu", ""):
        return []
    if not any(importlib.util.find_spec(name) for name in plugins):
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [one for one in given.split(",") if one.strip()]
    there = Path("/proc/driver/nvidia/gpus")
    return [str(k) for k in range(len([*there.iterdir()]))] if there.is_dir() else []


def _processes(workers: int | None) -> list[Lane]:
    devices: list[Any] = [*gpus()] or [None]
    count = workers or (len(devices) if devices[0] else max(1, (os.cpu_count() or 2) // 2))
    return [Lane(lambda k=k: Worker(devices[k % len(devices)]), 1) for k in range(count)]


@contextlib.contextmanager
def started(
    engine: Any,
    work: Any,
    count: int,
    *,
    workers: int | None = None,
    address: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Iterator[list[Lane]]:
    """Start the lanes of an engine by name, or of any executor.

    Args:
        engine: one of NAMES, or an object with `submit`, which is left running.
        work: sent to every worker.
        count: number of blocks.
        workers: number of processes, or of simultaneous jobs.
        address: address of a Dask scheduler.
        options: options for submitit's `update_parameters`.

    Raises:
        MissingExtra: Dask or submitit is not installed.
        TypeError: the engine is not an engine, or the measure cannot be sent to another process.
        ValueError: the name is unknown, or an option belongs to another engine.
    """
    if address is not None and engine != "dask":
        raise ValueError("address is for a Dask scheduler and works only with the engine dask.")
    if options and engine != "submitit":
        raise ValueError("options are for submitit and work only with the engine submitit.")
    if workers is not None and engine == "serial":
        raise ValueError("the engine serial uses only this process; leave out workers.")
    if isinstance(engine, str) and engine not in NAMES:
        raise ValueError(f"there is no engine {engine!r}; use {', '.join(NAMES)} or, in Python, any executor.")
    if not isinstance(engine, str):
        if not callable(getattr(engine, "submit", None)):
            raise TypeError(f"executor must be one of {', '.join(NAMES)} or have a method submit, not {engine!r}.")
        yield [Lane(lambda: engine, 2 * workers if workers else 64, own=False, alive=_alive(engine))]
    elif engine == "serial":
        yield [Lane(Serial, 1)]
    elif engine == "processes":
        _refuse_unsendable(work)
        yield _processes(workers)
    elif engine == "dask":
        with extras.needed("sweeps by Dask need", "dask", install=CLUSTER):
            from dask import distributed
        own: Any = {"address": address} if address else {"n_workers": workers or 1, "threads_per_worker": 1}
        with distributed.Client(**own) as client:
            there: Any = client.nthreads()
            executor = client.get_executor(pure=False)
            yield [Lane(lambda: executor, 2 * max(1, len(there)), own=False, alive=_alive(executor))]
    else:
        with extras.needed("sweeps by submitit need", "submitit", install=CLUSTER):
            import submitit
        executor = submitit.AutoExecutor(Path(work.folder, "logs"))
        executor.update_parameters(**{"name": "jaxsim-sweep", "timeout_min": 24 * 60, **(options or {})})
        jobs = workers or (1 if executor.cluster in ("local", "debug") else 16)
        yield [Lane(lambda: executor, jobs, bundle=-(-count // (4 * jobs)), own=False)]


def _alive(executor: Any) -> Callable[[], bool]:
    """Whether a Dask client is connected: without a connection, futures wait forever."""
    client = getattr(executor, "_client", None)
    return lambda: getattr(client, "status", "running") != "closed"


def _refuse_unsendable(work):
    try:
        pickle.dumps(work)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"{work.measure} cannot be sent to another process ({error}); build it from functions that are defined in "
            'a module, or give executor="serial".'
        ) from None


def described(engine: Any, workers: int | None) -> str:
    """Text that describes an engine."""
    name = engine if isinstance(engine, str) else type(engine).__name__
    return f"{name}, {counted(workers, 'worker')}" if workers else name
