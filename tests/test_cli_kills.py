"""Every command stopped at every call that changes the file system: all or nothing, true words, nothing lost.

The calls are those that Python reports to audit hooks, and `os.fsync`. Figures,
and what takes long without writing, are made cheap. Commands that train are
stopped at a sample of the calls, and killed at random times with true training.
"""

import errno
import functools
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import QUICK

from jaxsim import cli, demo, engine, io, plotting
from jaxsim.cli import main
from jaxsim.results import saved

figure = pytest.importorskip("matplotlib.figure")

CHANGES = ("os.rename", "os.link", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "os.symlink", "os.fsync")
"""Audit events that change something, beside `open` for writing."""
GROWS = ("open", "os.link", "os.mkdir", "os.symlink", "os.fsync")
"""Those that a full disk refuses."""


class Killed(BaseException):
    """Stands for a process that ends here."""


class Watch:
    """Counts changes below a folder; at the given one, and with `on` from then on, `fault` is called with the path."""

    now: "Watch | None" = None
    real_fsync = staticmethod(os.fsync)

    def __init__(self, root: Path, events: Sequence[str] = ("open", *CHANGES)):
        self.root, self.events = str(root), events
        self.count, self.at, self.on, self.fault = 0, 0, False, lambda path: None

    def run(self, call: Callable[[], Any], at: int = 0, fault: Callable[[str], None] = id, on: bool = False) -> Any:
        """What the call returns, or the Killed that it raises."""
        self.count, self.at, self.fault, self.on = 0, at, fault, on
        Watch.now = self
        try:
            return call()
        except Killed as stop:
            return stop
        finally:
            Watch.now = None

    def see(self, event: str, path: Any) -> None:
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        if event in self.events and (not os.path.isabs(text) or text.startswith(self.root)):
            self.count += 1
            if self.count == self.at or (self.on and self.count > self.at > 0):
                self.fault(text)


def _audit(event: str, given: tuple[Any, ...]) -> None:
    if Watch.now is None or (event != "open" and event not in CHANGES):
        return
    if event == "open" and not given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
        return
    Watch.now.see(event, given[0])


def _fsync(descriptor: int) -> None:  # slow, and a kill does not lose what the system has been given
    if Watch.now is not None:
        Watch.now.see("os.fsync", "")


def called_once(real: Callable[..., Any]) -> Callable[..., Any]:
    """The function, called once for every number of pictures, seed and name."""
    found = {}

    @functools.wraps(real)
    def call(*given: Any, **more: Any) -> Any:
        key = (*(x for x in given if isinstance(x, int | str)), more.get("seed"))
        if key not in found:
            now, Watch.now = Watch.now, None
            try:
                found[key] = real(*given, **more)
            finally:
                Watch.now = now
        return found[key]

    return call


def once(patch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    """Let a function of a module be called once for its words and numbers."""
    patch.setattr(module, name, called_once(getattr(module, name)))


@pytest.fixture(scope="module", autouse=True)
def _watched():
    """Audit hooks stay for good, so there is one, that does nothing without a `Watch`."""
    if not hasattr(sys, "_jaxsim_watched"):
        sys.addaudithook(_audit)
        sys._jaxsim_watched = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", _fsync)
        patch.setattr(figure.Figure, "savefig", lambda self, path, **_: Path(path).write_bytes(b"a figure"))
        once(patch, cli, "build_parser")
        for name in ("affinity_heatmap", "dendrogram", "ranking", "column_correlations"):
            once(patch, plotting, name)
        for record, draw in saved._PLOTS.items():
            patch.setitem(saved._PLOTS, record, called_once(draw))
        yield


# Commands, on small inputs; what takes long and writes nothing is done once


class Case(NamedTuple):
    """A command.

    Attributes:
        argv: of it, but for --out.
        out: name of --out.
        kept: names of what was there before that stays, beside older outputs.
        resumes: whether --out itself is where a stopped run goes on.
        files: those that are compared; all if empty.
    """

    argv: list[Any]
    out: str = "out"
    kept: tuple[str, ...] = ("notes.txt",)
    resumes: bool = False
    files: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("kills")


@pytest.fixture(scope="module")
def inputs(place):
    made = demo.features()
    io.write_npz(place / "features.npz", {name: made[name][:40] for name in list(made)[:6]})
    scores = np.corrcoef(np.random.default_rng(0).normal(size=(5, 40)))
    io.write_csv_matrix(place / "scores.csv", scores, list("abcde"), list("abcde"))
    return place


def affinity(place, patch):
    once(patch, engine, "affinity")
    return Case(["affinity", place / "features.npz", "--format", "png,svg", "--spreadsheet"])


def two_measures(place, patch):
    once(patch, engine, "affinity")
    return Case(["affinity", place / "features.npz", "--measure", "rsa", "--measure", "cka-linear"])


def bootstrap(place, patch):
    from jaxsim import resampling

    once(patch, resampling, "resample")
    return Case(["bootstrap", place / "features.npz", "--resamples", "10"])


def variance(place, patch):
    from jaxsim import variance

    once(patch, variance, "variance_study")
    return Case(["variance", place / "features.npz", "--measure", "cka-linear", "--resamples", "4"])


def taxonomy(place, patch):
    return Case(["taxonomy", place / "scores.csv", "--clusters", "2"])


def evaluate(place, patch):
    return Case(["evaluate", place / "scores.csv", place / "scores.csv"])


def leaderboard(place, patch):
    """Any truth with features, scored once."""
    for name in ("score", "draw"):
        once(patch, pytest.importorskip("jaxsim.studies.leaderboard"), name)
    if not (place / "five.npz").exists():
        rng = np.random.default_rng(0)
        io.write_npz(place / "five.npz", {name: rng.normal(size=(9, 4)) for name in "abcde"})
    argv = ["leaderboard", "--truth", place / "scores.csv", "--features", place / "five.npz", "--relabelings", "19"]
    return Case([*argv, "--method", "tournament"])


def made_up(place, patch):
    from jaxsim import resampling, taxonomy

    once(patch, resampling, "resample")
    once(patch, engine, "affinity")
    once(patch, taxonomy, "branch_support")
    once(patch, demo, "features")
    return Case(["demo", "--made-up", "--resamples", "10"])


def convert(place, patch):
    convert = pytest.importorskip("test_convert")
    patch.setattr(convert.assignment, "NETWORKS", convert.TINY)
    patch.setattr(convert.resnet, "NETWORKS", convert.TINY)
    tensors = convert.exported(convert.network("resnet50"), convert.TORCHVISION)
    convert.safetensors_numpy.save_file(tensors, place / "public.safetensors")
    return Case(["convert", place / "public.safetensors", "--network", "resnet50"], "out/o.safetensors")


def features(place, patch):
    whole = pytest.importorskip("test_extraction")
    (place / "pictures").mkdir(exist_ok=True)
    for name in "abc":
        whole.Image.fromarray(whole.picture(name)).save(place / "pictures" / f"{name}.png")
    whole.models.to_safetensors({"a": whole.small(1), "b": whole.small(2)}, place / "two.safetensors", overwrite=True)
    argv = ["features", place / "pictures", "--encoder", place / "two.safetensors", "--batch", "2"]
    return Case(argv, kept=())


def branching(place, patch):
    """A folder of pictures, a bank, and training that only writes a file."""
    known, data = pytest.importorskip("test_branching_cli"), pytest.importorskip("test_branching")
    if not (place / "voc").exists():
        known.export.voc(place / "voc", data.labeled(12))
        known.models.to_safetensors({n: known.small(i) for i, n in enumerate(known.BANK)}, place / "bank.safetensors")
        known.models.to_safetensors({"mine": known.small(9)}, place / "9.safetensors")

    def train(network, *given, checkpoints, **more):
        io.write_text(Path(checkpoints) / "step", "", overwrite=True)
        return known.training.Fitted(network, np.zeros(1))

    once(patch, known.training_runs, "evaluate")
    patch.setattr(known.training_runs, "train", train)
    patch.setattr("jaxsim.studies.branching.initializations.PERMUTATIONS", 9)
    return known


def layers(place, patch):
    return Case(branching(place, patch).layers(place, "voc", "")[:-2])


def branch(place, patch):
    return Case([*branching(place, patch).branch(place, "voc", "")[:-2], "--task", "edge", *WORK])


def transfer(place, patch):
    return Case(branching(place, patch).transfer(place, "voc", "")[:-2])


def transfer_with_work(place, patch):
    return Case([*transfer(place, patch).argv, *WORK])


def rooms(place, patch):
    world = pytest.importorskip("jaxsim.studies.rooms.world")
    for module, name in ((world.pictures, "make"), (world.encoders, "train"), (world, "measure_transfer")):
        once(patch, module, name)
    from jaxsim.cli.rooms import FILES

    return Case(["rooms", *SMALLEST], resumes=True, files=FILES)


def reproduce(place, patch):
    """Experiments with known outcomes, beside a network that is kept at every stage of its training."""
    known, world = pytest.importorskip("test_reproduce"), pytest.importorskip("jaxsim.studies.rooms.world")
    recipe = world.Recipe(learn=4, judge=2, steps=100, names=("rgb2depth",), size="tiny", resolution=16)
    for module, name in ((world.pictures, "make"), (world.encoders, "train"), (known.reproduce, "run")):
        once(patch, module, name)
    train, run = world.encoders.train, known.reproduce.run

    def trained(*given, until, checkpoints, **more):
        io.write_text(checkpoints / f"{until}", "", overwrite=True)
        return train(*given, **more, until=1)

    def setting(*given, work, scratch, **more):
        folder, shown = None if work is None else Path(work), {"rooms": np.zeros((1, 16, 16, 3), np.uint8)}
        shop = known.reproduce.ModelCache({}, shown, recipe, folder=folder, scratch=scratch)
        return known.dataclasses.replace(known.made("true"), workshop=shop)

    def ran(setting, *given):
        setting.workshop.made("rgb2depth")
        return run(setting, *given)

    patch.setattr(known.reproduce.ModelCache, "_code", lambda *_: np.zeros(1))
    patch.setattr(world.encoders, "train", trained)
    patch.setattr(known.reproduce, "setting", setting)
    patch.setattr(known.reproduce, "run", ran)
    return Case(["reproduce", "depth", "selection"])


def reproduce_with_work(place, patch):
    return Case([*reproduce(place, patch).argv, *WORK])


COMMANDS = [affinity, two_measures, bootstrap, variance, taxonomy, evaluate, leaderboard, made_up, convert, features]
TRAINING = [layers, branch, transfer, transfer_with_work, rooms, reproduce, reproduce_with_work]
WORK = ("--work", "WORK")
SMALLEST = ("--images", "8", "--steps", "2", "--size", "tiny", "--task", "rgb2depth")
SAMPLED = 2
"""Changes at which each fault stops commands that train, with and without old outputs: 16 places, first to last."""


# Faults


def full(path: str) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def broken(path: str) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO), path)


def interrupt(path: str) -> None:
    signal.raise_signal(signal.SIGINT)


def kill(path: str) -> None:
    raise Killed


FAULTS = {"full": (full, GROWS, True), "error": (broken, ("open", *CHANGES), False)}
FAULTS |= {"ctrl-c": (interrupt, ("open", *CHANGES), False), "kill": (kill, ("open", *CHANGES), True)}
# Each fault stops a command at every 40th change. Faults begin 10 apart, old and new outputs 5, commands 3, so that
# together they stop each command at every fifth change.
STRIDE = 40


def tree(folder: Path, hidden: bool = False) -> dict[str, bytes]:
    """Files of a folder; those in hidden ones, or that are hidden, alone or not at all."""
    found = {str(f.relative_to(folder)): f for f in sorted(folder.rglob("*")) if f != folder / ".tmp"}
    told = {n: f for n, f in found.items() if hidden == any(p.startswith(".") for p in Path(n).parts)}
    return {
        n: f.read_bytes() if f.is_file() else b"" for n, f in told.items() if n != "tmp" and (hidden or f.is_file())
    }


class Stage:
    """A command with its folder for every attempt."""

    def __init__(self, place: Path, case: Case, old: bool, patch: pytest.MonkeyPatch, capsys: Any):
        self.place, self.case, self.old, self.patch, self.capsys = place, case, old, patch, capsys
        self.root = place / "undisturbed"
        self.begin("undisturbed", {})
        assert self.main() == 0, self.said()
        self.after = self.results()
        before = dict.fromkeys(case.kept, b"mine") | {n: b"old" if case.kept else b for n, b in self.after.items()}
        self.before = {self.place_of(name): content for name, content in before.items()} if old else {}
        self.after = {self.place_of(name): content for name, content in self.after.items()}

    def place_of(self, name: str) -> str:
        return str(Path(self.case.out).parent / name) if "/" in self.case.out else f"{self.case.out}/{name}"

    def results(self) -> dict[str, bytes]:
        folder = self.root / (Path(self.case.out).parts[0])
        found = tree(folder) if folder.exists() else {}
        return {n: b for n, b in found.items() if not self.case.files or n in self.case.files}

    def begin(self, name: str, before: dict[str, bytes]) -> None:
        self.root = self.place / name
        (self.root / ".tmp").mkdir(parents=True)
        self.patch.setattr("tempfile.tempdir", str(self.root / ".tmp"))
        for name, content in before.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes(content)

    def main(self, *more: str) -> int:
        argv = [str(self.root / "work" if part == "WORK" else part) for part in self.case.argv]
        return main([*argv, "--out", str(self.root / self.case.out), *more])

    def said(self) -> str:
        return self.capsys.readouterr().err

    def seen(self) -> dict[str, bytes]:
        """What a user sees, but for unfinished work."""
        found = {n: b for n, b in tree(self.root).items() if not n.startswith(("work/", "out.part/"))}
        return {n: b for n, b in found.items() if not self.case.files or Path(n).name in self.case.files}

    def changes(self, events: Sequence[str]) -> int:
        """Number of changes of a command that is not stopped."""
        self.begin("counted", self.before)
        watch = Watch(self.root, events)
        assert watch.run(lambda: self.main(*["--overwrite"] * self.old)) == 0, self.said()
        return watch.count

    def attempt(self, number: int, fault: str) -> bool:
        """Stop the command at that change; False if there are not so many."""
        act, events, on = FAULTS[fault]
        self.begin(f"{fault}-{number}", self.before)
        flags, whole = ["--overwrite"] * self.old, self.before | self.after
        watch = Watch(self.root, events)
        code = watch.run(lambda: self.main(*flags), number, act, on)
        where, said, seen = (self.case.argv[0], fault, number), self.said(), self.seen()
        assert code in (0, 2, 130) or isinstance(code, Killed), (where, said)
        if not isinstance(code, Killed) and not self.case.resumes:
            complete = code == 0 or "is complete" in said
            assert seen == (whole if complete else self.before), (where, said, list(seen))
            assert fault == "error" or not tree(self.root, hidden=True), (where, said)
        if isinstance(code, Killed) and not self.old and not self.case.resumes:
            assert seen in (self.before, whole), (where, list(seen))
        if "no output was written or changed" in said:
            assert seen == self.before, where
        code = self.main(*flags)
        said = self.said()
        if code == 2 and "already exists" in said and not self.old:
            assert seen == whole, (where, said)
            code = self.main("--overwrite")
        assert code == 0, (where, said, self.said())
        assert self.seen() == whole, (where, list(self.seen()))
        assert not tree(self.root, hidden=True), (where, list(tree(self.root, hidden=True)))
        assert not (self.root / "out.part").exists(), where
        return watch.count >= number


@pytest.fixture
def staged(inputs, tmp_path, capsys, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda case, old: Stage(tmp_path, case(inputs, monkeypatch), old, monkeypatch, capsys)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_command_that_is_stopped_at_a_change_leaves_all_or_nothing(fault, staged):
    stage = staged(taxonomy, True)
    assert stage.attempt(8, fault)
    assert stage.attempt(20, fault)


@pytest.mark.slow
@pytest.mark.parametrize("old", [False, True], ids=["new", "over"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("case", COMMANDS, ids=lambda case: case.__name__)
def test_a_command_that_is_stopped_at_many_changes_leaves_all_or_nothing(case, fault, old, staged):
    start = 10 * list(FAULTS).index(fault) + 5 * old + 3 * COMMANDS.index(case)
    stage, number = staged(case, old), 1 + start % STRIDE
    if old and stage.case.resumes:
        pytest.skip("it goes on with what is there")
    while stage.attempt(number, fault):
        number += STRIDE


@pytest.mark.slow
@pytest.mark.parametrize("old", [False, True], ids=["new", "over"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("case", TRAINING, ids=lambda case: case.__name__)
def test_a_command_that_trains_and_is_stopped_at_some_changes_leaves_all_or_nothing(case, fault, old, staged):
    stage = staged(case, old)
    if old and stage.case.resumes:
        pytest.skip("it goes on with what is there")
    count = stage.changes(FAULTS[fault][1])
    assert count > 10
    apart = (2 * list(FAULTS).index(fault) + old) / (2 * len(FAULTS) - 1)
    for i in range(SAMPLED):
        assert stage.attempt(1 + round((count - 1) * (i + apart) / SAMPLED), fault)


# Killed at random times: real processes, real figures


def random_kills(place: Path, kills: int, training: bool) -> None:
    """Kill each command again and again, in children of a process that has not begun to compute."""
    moments, done = np.random.default_rng(0), {}
    patch = pytest.MonkeyPatch()
    if training:
        cases = {"branch": _in_child(lambda: branch(place, patch))}
        cases["rooms"] = Case(["rooms", *SMALLEST], resumes=True, kept=())
    else:
        chosen = (affinity, taxonomy, evaluate, features)
        cases = {case.__name__: _in_child(lambda case=case: case(place, patch)) for case in chosen}
        cases["bootstrap"] = Case(["bootstrap", place / "features.npz", "--resamples", "10"])
        cases["made_up"] = Case(["demo", "--made-up", "--resamples", "10"])
    for name, case in cases.items():
        done[name] = _killed_at_random(place / name, case, kills, moments)
    print("kills that fell before the end:", done)


def _in_child(call: Callable[[], Any]) -> Any:
    """What the call returns in a child, pickled."""
    inside, outside = os.pipe()
    if (child := os.fork()) == 0:
        os.write(outside, pickle.dumps(call()))
        os._exit(0)
    os.close(outside)
    with open(inside, "rb") as file:
        found = pickle.loads(file.read())
    os.waitpid(child, 0)
    return found


def _started(case: Case, out: Path, said: Path, over: bool) -> int:
    if child := os.fork():
        return child
    text = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(text, 1)
    os.dup2(text, 2)
    argv = [str(out.with_name("work") if part == "WORK" else part) for part in case.argv]
    os._exit(main([*argv, "--out", str(out), *["--overwrite"] * over]))


def _ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _files(case: Case, out: Path) -> dict[str, bytes]:
    found = {n: b for n, b in tree(out).items() if "/" not in n or not case.resumes}
    return {n: b for n, b in found.items() if not n.endswith((".svg", "features.json"))}  # SVG files have random names


def _killed_at_random(place: Path, case: Case, kills: int, moments: np.random.Generator) -> int:
    place.mkdir()
    for name in ("warm", "undisturbed"):
        start = time.monotonic()
        assert _ended(_started(case, place / name / "out", place / "said", False)) == 0, (place / "said").read_text()
        length = time.monotonic() - start
    whole, cut = _files(case, place / "undisturbed" / "out"), 0
    for i in range(kills):
        out, over = place / str(i) / "out", bool(i % 2) and not case.resumes
        kept = {name: b"mine" for name in case.kept if over}
        if over:
            shutil.copytree(place / "undisturbed" / "out", out)
            for name in kept:
                (out / name).write_bytes(b"mine")
        child = _started(case, out, place / "said", over)
        time.sleep(moments.uniform(0, 1.1 * length))
        os.kill(child, signal.SIGKILL)
        cut += _ended(child) == -signal.SIGKILL
        if not over and not case.resumes and out.exists():
            assert _files(case, out) == whole, (place, i, list(tree(out)))
        code = _ended(_started(case, out, place / "said", over))
        assert code == 0 or "already exists" in (place / "said").read_text(), (place, i, (place / "said").read_text())
        assert _files(case, out) == whole | kept, (place, i, list(tree(out)))
        assert not tree(out.parent, hidden=True), (place, i, list(tree(out.parent, hidden=True)))
        assert {f.name for f in out.parent.iterdir()} <= {"out", "work"}, (place, i)
        shutil.rmtree(out.parent)
    return cut


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are killed in forked processes")
@pytest.mark.parametrize("training", [False, True], ids=["others", "training"])
def test_commands_that_are_killed_at_random_times_go_on(training, inputs):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import pathlib, test_cli_kills as kills\n"
    code += "kills.random_kills(pathlib.Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == 'True')"
    here, kills = str(Path(__file__).parent), os.environ.get("JAXSIM_KILLS", "1")
    run = [sys.executable, "-W", "ignore", "-c", code, here, str(inputs), kills, str(training)]
    environment = os.environ | {"XLA_FLAGS": QUICK}
    done = subprocess.run(run, capture_output=True, text=True, cwd=Path(here).parent, env=environment)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
