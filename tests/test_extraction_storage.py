"""Features on their way to disk: killed at every step, on a full disk, beside others, over what is there."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from machine import full_disk

pytest.importorskip("flax", reason="extraction needs the nn extra")
pytest.importorskip("grain", reason="datasets need the nn extra")

import test_extraction as whole

import jaxsim
from jaxsim.vision.datasets import folder
from jaxsim.vision.extraction import extract, storage

HERE = os.path.dirname(os.path.abspath(__file__))
IDS = ("a", "b é\nc", "d", "e", "f")
ROWS = {"one": (2, 3), "two.x": (4,)}
JOB = {"features": {"of": "a test"}, "batch": 2}


def rows_of(name, start, stop, seed=0):
    random = np.random.default_rng([seed, len(name)]).normal(size=(len(IDS), *ROWS[name])).astype(np.float32)
    return random[start:stop]


def write(out, *, stop=None, seed=0, job=JOB, ids=IDS, **rest):
    """A job of two pictures at a time; `stop` raises once so many are done."""
    with storage.opened(out, job, ids, ROWS, **rest) as store:
        while store.done < len(ids):
            if stop is not None and store.done >= stop:
                raise RuntimeError("stopped")
            there = store.done
            store.append({name: rows_of(name, there, there + 2, seed)[: len(ids) - there] for name in ROWS})


def stopped(out, stop, **rest):
    with pytest.raises(RuntimeError, match="stopped"):
        write(out, stop=stop, **rest)


def check(out, seed=0, ids=IDS):
    features, found = jaxsim.read_features(out)
    assert found == ids
    assert sorted(path.name for path in out.iterdir()) == ["features.json", "image_ids.npy", "one.npy", "two.x.npy"]
    for name, x in features.items():
        np.testing.assert_array_equal(x, rows_of(name, 0, len(ids), seed))


def contents(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


def left(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir())


# Complete or not at all


def test_a_complete_folder_is_read_with_its_ids(tmp_path):
    write(tmp_path / "deep" / "out")
    check(tmp_path / "deep" / "out")
    assert left(tmp_path / "deep") == ["out"]
    assert json.loads((tmp_path / "deep" / "out" / "features.json").read_text()) == {"pictures": 5} | JOB


def test_an_unfinished_folder_is_not_read_as_features(tmp_path):
    stopped(tmp_path / "out", 4)
    assert left(tmp_path) == ["out.part"]
    with pytest.raises(ValueError, match="out.part contains unfinished, which is a subfolder"):
        jaxsim.read_features(tmp_path / "out.part")
    for place in (tmp_path / "out.part" / "unfinished", tmp_path / "out.part" / "unfinished" / "one.npy"):
        with pytest.raises(ValueError, match="one.npy is damaged, truncated"):
            jaxsim.read_features(place)


def test_going_on_gives_the_same_bytes_as_no_stop(tmp_path):
    write(tmp_path / "whole")
    for stop in (2, 4):
        stopped(tmp_path / "broken", stop)
    write(tmp_path / "broken")
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")
    assert left(tmp_path) == ["broken", "whole"]


def test_a_job_that_has_done_nothing_leaves_nothing(tmp_path):
    stopped(tmp_path / "out", 0)
    assert left(tmp_path) == []


KILLS = """
import os, signal, sys; sys.path.insert(0, {tests!r})
from pathlib import Path
import test_extraction_storage as t
from jaxsim.vision.extraction import storage
storage.SECONDS = 0.0
os.fsync = int  # a kill does not lose what the system has been given, and flushing takes long
STEPS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "shutil.rmtree")

def child(out, kill, overwrite):
    count = 0
    def step():
        nonlocal count
        count += 1
        if count == kill:
            os.kill(os.getpid(), signal.SIGKILL)
    def halves(file, content):
        content = bytes(content)
        file.write(content[: len(content) // 2])
        step()
        file.write(content[len(content) // 2 :])
    sys.addaudithook(lambda event, arguments: step() if event in STEPS else None)
    storage.npy_rows.write_all = halves
    t.write(out, overwrite=overwrite)
    os._exit(0)

def run(out, overwrite, kill):
    process = os.fork()
    if process == 0:
        child(out, kill, overwrite)
    return os.waitpid(process, 0)[1]

def seen(out, old):
    part = storage.part_of(out)
    if out.is_dir():
        try:
            t.check(out)
            return "new"
        except AssertionError:
            t.check(out, seed=1)
            assert old
            return "old"
    if part.is_dir():
        try:
            t.jaxsim.read_features(part)
        except ValueError:
            return "replacing" if old else "none"
        raise AssertionError("an unfinished folder was read")
    assert not old
    return "none"

for old in (False, True):
    states, kill = [], 0
    while True:
        kill += 1
        out = Path({root!r}) / f"{{old}}-{{kill}}" / "out"
        if old:
            t.write(out, seed=1)
        ended = run(out, old, kill)
        states.append(seen(out, old))
        if ended == 0:
            break
        assert os.WIFSIGNALED(ended) and os.WTERMSIG(ended) == signal.SIGKILL, ended
        if states[-1] != "new":
            t.write(out, overwrite=old)
        else:
            t.pytest.raises(FileExistsError, t.write, out)
        t.check(out)
        assert t.left(out.parent) == ["out"], t.left(out.parent)
    assert states == sorted(states, key=["none", "old", "replacing", "new"].index), states
    print(kill, *dict.fromkeys(states))
"""


@pytest.mark.slow
def test_killed_at_any_step_a_reader_sees_all_or_nothing_and_the_job_goes_on(tmp_path):
    code = KILLS.format(tests=HERE, root=str(tmp_path))
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (first, *new), (second, *replaced) = (line.split() for line in done.stdout.splitlines())
    assert int(first) > 30
    assert int(second) > int(first)
    assert new == ["none", "new"]
    assert replaced in (["old", "new"], ["old", "replacing", "new"])


SLOW = """
import sys, time; sys.path.insert(0, {tests!r})
import test_extraction_storage as t
t.storage.SECONDS = 0.0
t.take({out!r}, {pause!r})
"""


def take(out, pause=0.0):
    def image(name):
        time.sleep(pause)
        return whole.picture(name)

    return extract(whole.made_up(23, image), {"a": whole.small(), "b": whole.small(1)}, out, batch=3, layers=["*"])


@pytest.mark.slow
def test_a_killed_extraction_goes_on_to_the_same_bits(tmp_path):
    unbroken, out = take(tmp_path / "unbroken"), tmp_path / "out"
    record, before = tmp_path / "out.part" / "done.json", 0
    code = SLOW.format(tests=HERE, out=str(out), pause=0.1)
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", code])
        while process.poll() is None and not (record.is_file() and _done(record) > before):
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert before < _done(record) < 23
        assert not out.exists()
        before = _done(record)
    take(out)
    assert contents(out) == contents(unbroken)
    assert left(tmp_path) == ["out", "unbroken"]


def _done(record):
    return json.loads(record.read_text())["pictures"]


# What may change in between


def test_a_corrupt_picture_is_named_and_what_is_done_is_kept(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in "abcdefgh":
        whole.Image.fromarray(whole.picture(name)).save(pictures / f"{name}.png")
    good = (pictures / "f.png").read_bytes()
    (pictures / "f.png").write_bytes(good[:100])
    encoders, out, again = {"a": whole.small()}, tmp_path / "out", tmp_path / "again"
    match = r"f.png is damaged, truncated .*\. 4 of 8 pictures are done and kept in .*part; fix this and run the same"
    for place in (out, again):
        with pytest.raises(ValueError, match=match):
            extract(pictures, encoders, place, batch=2)
    (pictures / "f.png").write_bytes(good)
    told = []
    extract(pictures, encoders, out, batch=2, progress=lambda *counts: told.append(counts))
    assert told == [(6, 8), (8, 8)]
    assert contents(out) == contents(extract(pictures, encoders, tmp_path / "mended", batch=2))
    (pictures / "f.png").unlink()
    extract(pictures, encoders, again, batch=2)
    assert contents(again) == contents(extract(pictures, encoders, tmp_path / "removed", batch=2))
    assert jaxsim.read_features(again)[1] == folder(pictures).ids


def test_pictures_that_are_done_must_stay(tmp_path):
    stopped(tmp_path / "out", 4)
    for ids in (("a", "d", "e", "f"), ("new", *IDS), IDS[:3]):
        with pytest.raises(ValueError, match="out.part was made with other pictures; pass overwrite"):
            write(tmp_path / "out", ids=ids)
    write(tmp_path / "out", ids=IDS[:4])
    check(tmp_path / "out", ids=IDS[:4])


def test_another_job_does_not_go_on_with_this_one(tmp_path):
    stopped(tmp_path / "out", 2)
    other = JOB | {"batch": 3}
    with pytest.raises(ValueError, match=r"out.part .* other settings: batch is 2 \(here 3\); pass overwrite=True"):
        write(tmp_path / "out", job=other)
    write(tmp_path / "out", job=other, seed=1, overwrite=True)
    check(tmp_path / "out", seed=1)
    stopped(tmp_path / "b", 2)
    with pytest.raises(ValueError, match=r"features.of is a test \(here None\), more is None \(here 1\)"):
        write(tmp_path / "b", job=JOB | {"features": {}, "more": 1})


def test_other_weights_are_another_job(tmp_path):
    data, calls = whole.made_up(6), []

    def stop(done, count):
        calls.append(done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(data, {"a": whole.small(1)}, tmp_path / "out", batch=2, progress=stop)
    for changed in ({"encoders": {"a": whole.small(2)}}, {"pool": True}, {"batch": 3}, {"layers": ["conv1"]}):
        arguments = {"encoders": {"a": whole.small(1)}, "batch": 2} | changed
        with pytest.raises(ValueError, match="made with other settings: (features|pool|batch)"):
            extract(data, out=tmp_path / "out", **arguments)
    extract(data, {"a": whole.small(1)}, tmp_path / "out", batch=2)


@pytest.mark.parametrize("file", ["job.json", "done.json", "unfinished/one.npy"])
@pytest.mark.parametrize("how", ["cut", "absent", "odd"])
def test_damage_to_what_is_unfinished_is_told(tmp_path, file, how):
    stopped(tmp_path / "out", 4)
    path = tmp_path / "out.part" / file
    data = path.read_bytes()
    path.unlink()
    if how != "absent":
        path.write_bytes(data[: len(data) // 2] if how == "cut" else b'{"pictures": 99}')
    with pytest.raises(ValueError, match=r"out.part is damaged: .*; pass overwrite=True to start over"):
        write(tmp_path / "out")
    write(tmp_path / "out", overwrite=True)
    check(tmp_path / "out")


# Full disks, other processes, what is there


def test_a_disk_that_fills_up_keeps_what_is_done(tmp_path):
    def flat(x):
        return {"x": np.asarray(x).reshape(len(x), -1)}

    data, limit = whole.made_up(8), 2 * 16 * 16 * 3 * 4 * 2 + 500  # five rows and a part
    with (
        full_disk(limit),
        pytest.raises(OSError, match=r"f.npy could not be written: file too large\. 4 of 8 pictures .*part"),
    ):
        extract(data, {"f": flat}, tmp_path / "out", batch=2)
    assert left(tmp_path) == ["out.part"]
    extract(data, {"f": flat}, tmp_path / "out", batch=2)
    assert contents(tmp_path / "out") == contents(extract(data, {"f": flat}, tmp_path / "whole", batch=2))


def test_no_space_even_for_the_record(tmp_path, monkeypatch):
    stopped(tmp_path / "out", 2)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage.npy_rows, "write_all", full)
    monkeypatch.setattr(storage.jobs, "write_record", full)
    with pytest.raises(OSError, match="out.part could not be written: no space left on device"):
        write(tmp_path / "out")
    monkeypatch.undo()
    write(tmp_path / "out")
    check(tmp_path / "out")


def test_too_little_space_is_found_before_any_work(tmp_path, monkeypatch):
    stopped(tmp_path / "more", 4)
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: type("", (), {"free": 60}))
    for name in ("out", "more"):
        if name == "out":
            with pytest.raises(
                OSError, match="out could not be written: the features need .* GB, but the disk has only"
            ):
                write(tmp_path / name)
        else:
            write(tmp_path / name)  # one row of 40 bytes is left
    assert left(tmp_path) == ["more"]


def test_two_processes_do_not_write_the_same_features(tmp_path):
    with (
        pytest.raises(OSError, match=r"out.part is in use by another process; wait for it"),
        storage.opened(tmp_path / "out", JOB, IDS, ROWS),
    ):
        write(tmp_path / "out")


def test_what_is_there_is_replaced_only_if_asked_for_and_only_features(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    write(out)  # an empty folder is as none
    with pytest.raises(FileExistsError, match="out already exists; pass overwrite=True to replace it"):
        write(out, seed=1)
    check(out)
    stopped(out, 2, seed=1, overwrite=True)
    check(out)
    write(out, seed=1, overwrite=True)
    check(out, seed=1)
    (out / "thesis.tex").write_text("precious")
    with pytest.raises(FileExistsError, match="contains other things than features"):
        write(out, overwrite=True)
    assert (out / "thesis.tex").read_text() == "precious"
    (tmp_path / "home").mkdir()
    np.save(tmp_path / "home" / "x.npy", np.ones(3))
    with pytest.raises(FileExistsError, match="contains other things than features"):
        write(tmp_path / "home", overwrite=True)
    (tmp_path / "new.part").mkdir()
    (tmp_path / "new.part" / "thesis.tex").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(
            FileExistsError, match="new.part, where unfinished features are kept, contains other things"
        ):
            write(tmp_path / "new", overwrite=overwrite)
    assert left(tmp_path) == ["home", "new.part", "out"]
    assert left(tmp_path / "new.part") == ["thesis.tex"]


def test_places_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(NotADirectoryError, match="could not be written: .*file is a file"):
            write(out)
    monkeypatch.setattr(storage.os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="the folder .* cannot be written"):
        write(tmp_path / "out")
    assert left(tmp_path) == ["file"]


def test_rows_must_be_those_announced(tmp_path):
    match = "features of 0 pictures were written instead of 5"
    with pytest.raises(ValueError, match=match), storage.opened(tmp_path / "out", JOB, IDS, ROWS):
        pass
    match = r"one has features of shape \(3, 2\), not the expected \(2, 3\)"
    with pytest.raises(ValueError, match=match), storage.opened(tmp_path / "out", JOB, IDS, ROWS) as store:
        store.append({"one": np.ones((2, 3, 2)), "two.x": np.ones((2, 4))})
    assert left(tmp_path) == []
