"""Jobs that are cut off: killed at random moments, run twice at once, damaged, or asked for with other settings."""

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from marks import slow_but

from jaxsim import io
from jaxsim.io import files, jobs

ROOT = str(Path(__file__).parents[1])
SETTINGS = {"seed": 0, "plan": {"size": 8, "names": ["a", "b"]}}
X = np.arange(6.0).reshape(2, 3)


def python(code, *arguments):
    """A process with this package, its standard output a pipe."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def killed(process, after):
    """Kill a process so many seconds after its first line of output."""
    assert process.stdout.readline() == "ready\n"
    time.sleep(after)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()


def flip(path, place=-1):
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


# Whole or nothing under a kill, at random moments

KILLS = """
import itertools, os, random, signal, sys, time
from pathlib import Path
import numpy as np
from jaxsim.io import files, jobs

def write_file(path, i):
    with files.atomic(path, overwrite=True) as file, open(file, "w") as stream:
        for _ in range(200):
            stream.write(str(i % 10) * 500)

def write_folder(path, i):
    with files.atomic(path, overwrite=True, folder=True) as folder:
        for k in range(20):
            (folder / str(k)).write_text(str(i))

def write_record(path, i):
    jobs.write_record(path, {"i": i, "text": "x" * 50_000})

def write_block(path, i):
    jobs.write_block(path, {"x": np.full(20_000, i)}, {"i": i}, overwrite=True)

def read_file(path):
    text = path.read_text()
    assert text == text[0] * 100_000

def read_folder(path):
    assert len({(path / str(k)).read_text() for k in range(20)}) == 1

def read_record(path):
    jobs.read_record(path)

def read_block(path):
    record, arrays = jobs.read_block(path)
    assert (arrays["x"] == record["i"]).all()

what, folder = sys.argv[1], Path(sys.argv[2])
write, read = globals()["write_" + what], globals()["read_" + what]
start = time.perf_counter()
for i in range(5):
    write(folder / "out", i)
length = (time.perf_counter() - start) / 5  # of one writing: a loaded disk can take a hundred times as long
moments, seen, left = random.Random(what), 0, 0
while seen < 15 or left < 5:  # kills that fell while something was being written
    process = os.fork()
    if process == 0:
        for i in itertools.count():
            write(folder / "out", i)
    time.sleep(3 * length * moments.random() ** 3)  # early ones more often: a folder is flushed after it is there
    os.kill(process, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(process, 0)[1]) == signal.SIGKILL
    left += len(list(folder.glob(".out.*")))
    read(folder / "out")
    seen += 1
    files.clear(folder)
    assert [path.name for path in folder.iterdir()] == ["out"]
"""


@pytest.mark.parametrize("what", slow_but(["block"], ["file", "folder", "record", "block"]))
def test_killed_at_random_a_reader_sees_all_or_nothing(what, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLS, what, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_the_next_writer_removes_what_dead_ones_left_and_nothing_of_the_living(tmp_path):
    pytest.importorskip("fcntl", reason="locks need a POSIX system")
    dead = [files.hidden(tmp_path / jobs.RECIPE) for _ in range(2)]
    dead[0].write_text("half")
    dead[1].mkdir()
    with files.atomic(tmp_path / jobs.RECIPE) as alive:
        jobs.begin(tmp_path, {"seed": 0})
        assert alive.exists()
        assert not any(path.exists() for path in dead)
        alive.unlink()
        with pytest.raises(FileNotFoundError):
            files.locked(alive)
        alive.write_text("")
        (tmp_path / jobs.RECIPE).unlink()
    assert [path.name for path in tmp_path.iterdir()] == [jobs.RECIPE]


def test_clearing_takes_only_what_was_left_of_that_output(tmp_path):
    left = [files.hidden(tmp_path / name) for name in ("a.npz", "a.b.npz", "b.npz", "a")]
    for path in left:
        path.mkdir()
    (tmp_path / ".a.hidden.part").write_text("mine")
    files.clear(tmp_path, "a")
    assert [path.exists() for path in left] == [False, True, True, False]
    files.clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".a.hidden.part"]


# Folders


def test_a_folder_is_published_once_unless_asked(tmp_path):
    def make(text, **how):
        with files.atomic(tmp_path / "deep" / "out", folder=True, **how) as folder:
            (folder / "a").write_text(text)

    make("old")
    with pytest.raises(FileExistsError, match="out already exists"):
        make("new")
    with pytest.raises(KeyError), files.atomic(tmp_path / "deep" / "out", folder=True, overwrite=True) as folder:
        raise KeyError(folder.name)
    assert (tmp_path / "deep" / "out" / "a").read_text() == "old"
    make("new", overwrite=True)
    assert (tmp_path / "deep" / "out" / "a").read_text() == "new"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    for path, folder in ((tmp_path / "deep" / "out" / "a", True), (tmp_path / "deep", False)):
        with (
            pytest.raises(OSError, match="it already exists and is not a"),
            files.atomic(path, overwrite=True, folder=folder),
        ):
            pass


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path):
    def race():
        with files.atomic(tmp_path / "out", folder=True) as folder:
            (folder / "a").write_text("ours")
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "a").write_text("theirs")

    with pytest.raises(FileExistsError, match="already exists"):
        race()
    assert [path.read_text() for path in tmp_path.rglob("a")] == ["theirs"]


def test_what_is_replaced_comes_back_where_publishing_fails(tmp_path, monkeypatch):
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    rename = Path.rename

    def fails(path, target):
        if path.name == "new":
            raise OSError(errno.EIO, "no")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="no"):
        files.publish(tmp_path / "new", tmp_path / "old", overwrite=True, aside=tmp_path / "aside")
    assert (tmp_path / "old" / "a").read_text() == "old"


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="the system cannot exchange two names")
def test_a_folder_is_replaced_in_one_step(tmp_path, monkeypatch):
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    seen, trade = [], files._trade_names

    def traded(one, other):
        assert trade(one, other)
        seen.extend((path / "a").read_text() for path in (one, other))
        return True

    monkeypatch.setattr(files, "_trade_names", traded)
    files.publish(tmp_path / "new", tmp_path / "old", overwrite=True)
    assert seen == ["old", "new"]
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert not trade(tmp_path / "old", tmp_path / "missing")


def test_a_folder_is_replaced_where_names_cannot_be_exchanged(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_trade_names", lambda one, other: False)
    for text in ("old", "new"):
        with files.atomic(tmp_path / "out", folder=True, overwrite=True) as folder:
            (folder / "a").write_text(text)
    assert (tmp_path / "out" / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_only_faults_of_what_is_written_are_told_as_such(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="No such file .*other"),
        files.atomic(tmp_path / "out", folder=True),
    ):
        (tmp_path / "other").read_text()
    match = "out could not be written: no such file or directory"
    with pytest.raises(FileNotFoundError, match=match), files.atomic(tmp_path / "out", folder=True) as folder:
        (folder / "deep" / "x").write_text("x")


# Locks

HOLD = """
import sys, time
from jaxsim.io import jobs
with jobs.lock(sys.argv[1]):
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_one_process_a_folder_and_a_killed_one_lets_go(tmp_path):
    pytest.importorskip("fcntl", reason="locks need a POSIX system")
    place = tmp_path / "deep" / "work"
    for _ in range(2):
        process = python(HOLD, place)
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(BlockingIOError, match=r"work is in use by another process; wait for it"), jobs.lock(place):
            pass
        process.kill()
        process.wait()
        process.stdout.close()
        with jobs.lock(place):  # a stale lock does not block
            pass


def test_a_lock_of_a_folder_that_was_removed_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="locks need a POSIX system")
    flock, place = fcntl.flock, tmp_path / "work"

    def removed(descriptor, how):
        monkeypatch.setattr(fcntl, "flock", flock)
        place.rmdir()
        return flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", removed)
    with jobs.lock(place):
        assert place.is_dir()
        with pytest.raises(BlockingIOError, match="in use"), jobs.lock(place):
            pass


def test_a_lock_is_let_go_after_an_error_and_where_there_are_none_nobody_is_kept_out(tmp_path, monkeypatch):
    with contextlib.suppress(KeyError), jobs.lock(tmp_path):
        raise KeyError
    with jobs.lock(tmp_path):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file could not be written: file exists"), jobs.lock(tmp_path / "file"):
        pass
    monkeypatch.setattr(files, "fcntl", None)
    with jobs.lock(tmp_path / "new"), jobs.lock(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()


# Records and settings


def test_records_come_back_and_are_replaced(tmp_path):
    path = tmp_path / "done.json"
    for done in range(3):
        jobs.write_record(path, {"pictures": done, "names": ("a", "é")})
        assert jobs.read_record(path) == {"pictures": done, "names": ["a", "é"]}
    with pytest.raises(FileExistsError):
        jobs.write_record(path, {}, overwrite=False)
    assert [p.name for p in tmp_path.iterdir()] == ["done.json"]


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"\xff", b'{"pictures": 99}'])
def test_a_damaged_record_is_named(content, tmp_path):
    path = jobs.write_record(tmp_path / "done.json", {"pictures": 3})
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(jobs.Damaged, match=r"done\.json is damaged: .*[^.]\.$"):
        jobs.read_record(path)


def test_any_flipped_byte_of_a_record_is_found(tmp_path):
    path = jobs.write_record(tmp_path / "done.json", {"pictures": 3, "name": "x"})
    whole = path.read_bytes()
    for place in range(len(whole) - 1):
        path.write_bytes(whole)
        flip(path, place)
        with contextlib.suppress(jobs.Damaged):
            assert jobs.read_record(path) == {"pictures": 3, "name": "x"}  # white space


DIFFERENT = {
    "plan.size is 8 (here 4)": {"plan": {"size": 4, "names": ["a", "b"]}},
    "plan.names is ['a', 'b'] (here ['b'])": {"plan": {"size": 8, "names": ["b"]}},
    "plan is {'size': 8, 'names': ['a', 'b']} (here None)": {"plan": None},
    "seed is 0 (here 1), more is None (here 2)": {"seed": 1, "more": 2},
    "a is None (here 1), b is None (here 1), c is None (here 1) and 2 more": dict.fromkeys("abcde", 1),
}


@pytest.mark.parametrize("words", DIFFERENT)
def test_work_of_other_settings_is_refused_naming_them(words, tmp_path):
    jobs.begin(tmp_path / "work", SETTINGS)
    jobs.begin(tmp_path / "work", SETTINGS | {"plan": {"names": ("a", "b"), "size": 8}})
    with pytest.raises(ValueError, match="was made with other settings") as caught:
        jobs.begin(tmp_path / "work", SETTINGS | DIFFERENT[words], remedy="do so")
    assert str(caught.value) == f"{tmp_path / 'work'} was made with other settings: {words}; do so."
    flip(tmp_path / "work" / jobs.RECIPE, 12)
    with pytest.raises(ValueError, match=r"recipe\.json is damaged"):
        jobs.begin(tmp_path / "work", SETTINGS)


# Blocks

DAMAGE = {
    "flipped byte of an array": lambda path: flip(path, path.read_bytes().index(X.tobytes()) + 20),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:300]),
    "empty": lambda path: path.write_bytes(b""),
    "no record": lambda path: io.write_npz(path, {"x": X}, overwrite=True),
    "other array": lambda path: changed(path, x=X + 1),
    "other type": lambda path: changed(path, x=X.view(f"u{X.itemsize}")),
    "other shape": lambda path: changed(path, x=X[None]),
    "array missing": lambda path: changed(path, x=None),
    "array too many": lambda path: changed(path, z=X),
    "another block": lambda path: jobs.write_block(path, {"x": X}, {"name": "b", "settings": ""}, overwrite=True),
}
NAMED = {
    "other array": "array 'x' differs from its checksum",
    "other type": "array 'x' differs from its checksum",
    "other shape": "array 'x' differs from its checksum",
    "array missing": "array 'x' differs from its checksum",
    "array too many": "array 'z' differs from its checksum",
    "another block": "it is a block with another name or other settings",
}


def changed(path, **arrays):
    arrays = io.read_npz(path) | arrays
    io.write_npz(path, {name: values for name, values in arrays.items() if values is not None}, overwrite=True)


def never(checkpoints):
    raise AssertionError("computed again")


def test_a_block_is_computed_once_and_its_checkpoints_go(tmp_path):
    blocks, calls = jobs.Blocks(tmp_path, SETTINGS, provenance={"versions": {"jaxsim": "0.1"}}), []

    def compute(checkpoints):
        checkpoints.mkdir(parents=True)
        calls.append(checkpoints)
        return {"score": 0.5, "odd": float("nan"), "x": X}

    for one in (blocks, jobs.Blocks(tmp_path, SETTINGS)):
        found = one.get("a.b", compute)
        assert found["score"] == 0.5
        assert np.isnan(found["odd"])
        np.testing.assert_array_equal(found["x"], X)
    assert len(calls) == 1
    assert not calls[0].exists()
    assert jobs.read_block(blocks.path("a.b"))[0]["versions"] == {"jaxsim": "0.1"}
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.b.npz", "recipe.json", "results"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_block_is_named_and_computed_again(damage, tmp_path):
    blocks = jobs.Blocks(tmp_path, SETTINGS)
    blocks.get("a", lambda _: {"x": X})
    before = blocks.path("a").read_bytes()
    DAMAGE[damage](blocks.path("a"))
    match = rf"a\.npz is damaged.*{NAMED.get(damage, '')}.* It is computed again\.$"
    with pytest.warns(RuntimeWarning, match=match):
        assert blocks.read("a") is None
    with pytest.warns(RuntimeWarning, match=match):
        blocks.get("a", lambda _: {"x": X})
    assert blocks.path("a").read_bytes() == before
    np.testing.assert_array_equal(blocks.get("a", never)["x"], X)


def test_a_full_disk_keeps_what_is_done_and_the_checkpoints(tmp_path, monkeypatch):
    def compute(checkpoints):
        checkpoints.mkdir(parents=True, exist_ok=True)
        (checkpoints / "step").write_text("far")
        return {"score": 0.5}

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    blocks = jobs.Blocks(tmp_path, {})
    blocks.get("one", compute)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"two.npz could not be written: no space left on device\.$"):
            blocks.get("two", compute)
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["one.npz", "two.part"]
    assert (tmp_path / "results" / "two.part" / "checkpoints" / "step").exists()
    assert blocks.get("one", never) == {"score": 0.5}
    assert blocks.get("two", compute) == {"score": 0.5}


def test_a_failed_computation_leaves_no_block_but_its_checkpoints(tmp_path):
    def fails(checkpoints):
        checkpoints.mkdir(parents=True)
        raise KeyError("no")

    blocks = jobs.Blocks(tmp_path, {})
    with pytest.raises(KeyError, match="no"):
        blocks.get("one", fails)
    assert blocks.read("one") is None
    assert (tmp_path / "results" / "one.part" / "checkpoints").is_dir()


def test_what_a_process_killed_after_writing_a_block_has_left_goes(tmp_path):
    blocks = jobs.Blocks(tmp_path, {})
    blocks.get("one", lambda _: {"score": 1})
    part = tmp_path / "results" / "one.part"
    (part / "checkpoints").mkdir(parents=True)
    with jobs.lock(part):  # somebody computes it again
        assert blocks.get("one", never) == {"score": 1}
        assert part.exists()
    assert blocks.get("one", never) == {"score": 1}
    assert not part.exists()


def test_a_block_that_another_is_computing_is_not_waited_for(tmp_path):
    pytest.importorskip("fcntl", reason="locks need a POSIX system")
    blocks = jobs.Blocks(tmp_path, {})

    def compute(_):
        with pytest.raises(BlockingIOError, match=r"one\.part is in use by another process"):
            blocks.get("one", never)
        return {"score": blocks.get("two", lambda _: {"score": 2})["score"] + 1}

    assert blocks.get("one", compute) == {"score": 3}


SWEEP = """
import sys, time
import numpy as np
from jaxsim.io import jobs
blocks = jobs.Blocks(sys.argv[1], {"n": 12})
print("ready", flush=True)

def compute(k):
    with open(sys.argv[2], "a") as log:
        log.write(f"{k}\\n")
    time.sleep(0.03)
    return {"x": np.full(1000, k)}

names = [f"block-{k}" for k in range(12)]
while not all(blocks.path(name).exists() for name in names):
    for k, name in enumerate(names):
        try:
            blocks.get(name, lambda checkpoints: compute(k))
        except BlockingIOError:
            time.sleep(0.01)
"""


@pytest.mark.slow
def test_two_processes_share_a_sweep_and_others_finish_what_killed_ones_began(tmp_path):
    pytest.importorskip("fcntl", reason="locks need a POSIX system")
    work, log, moments = tmp_path / "work", tmp_path / "log", random.Random(0)
    for _ in range(3):
        killed(python(SWEEP, work, log), moments.uniform(0, 0.1))
    pair = [python(SWEEP, work, log) for _ in range(2)]
    for process in pair:
        assert process.wait(60) == 0
        process.stdout.close()
    blocks = jobs.Blocks(work, {"n": 12})
    for k in range(12):
        assert {*blocks.get(f"block-{k}", never)["x"].tolist()} == {k}
    assert 12 <= len(log.read_text().split()) <= 12 + 3  # a kill costs one block
    assert {path.name for path in (work / "results").iterdir()} == {f"block-{k}.npz" for k in range(12)}


def test_provenance_and_settings_that_look_odd_compute_once(tmp_path):
    made = []
    blocks = jobs.Blocks(tmp_path, {"rate": float("nan")}, provenance={"name": "v", "settings": 3})
    for _ in range(2):
        blocks.get("a", lambda _: made.append(1) or {"x": np.arange(3)})
    assert len(made) == 1
    jobs.Blocks(tmp_path, {"rate": float("nan")})
    with pytest.raises(ValueError, match="these names are reserved"):
        jobs.write_block(tmp_path / "b.npz", {"record": np.arange(3)}, {})


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "\x1b[2J"])
def test_names_of_results_stay_in_their_folder(name, tmp_path):
    blocks = jobs.Blocks(tmp_path / "work", {"seed": 0})
    with pytest.raises(ValueError, match="cannot be a file in"):
        blocks.get(name, lambda _: {"score": 0.5})
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
