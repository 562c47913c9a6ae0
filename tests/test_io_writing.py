"""Writing is whole or not at all; npz files come back as they were, and damaged ones are named."""

import errno
import io as streams
import os
import signal
import subprocess
import sys
import threading
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxsim import io
from jaxsim.io import file_sets, files

WRITERS = {
    "npz": lambda path, **kw: io.write_npz(path, {"values": np.eye(3), "file": np.array("é")}, **kw),
    "csv": lambda path, **kw: io.write_csv_matrix(path, [[0.1, np.nan]], ["a,b"], ['"c"', "d\ne"], **kw),
    "text": lambda path, **kw: io.write_text(path, "one\r\ntwo\n", **kw),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_existing_files_are_kept_unless_asked(write, tmp_path):
    path = tmp_path / "new" / "folder" / "x.out"
    assert write(path) == path
    first = path.read_bytes()
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError, match=r"x.out already exists; give overwrite=True"):
        write(path)
    assert path.read_bytes() == b"old"
    write(path, overwrite=True)
    assert path.read_bytes() == first  # equal content gives equal bytes
    assert [f.name for f in path.parent.iterdir()] == ["x.out"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("overwrite", [False, True])
def test_failure_midway_leaves_the_old_file_and_no_other(error, overwrite, tmp_path):
    old = tmp_path / "x.csv"
    if overwrite:
        old.write_text("old")

    def fail():
        with io.atomic(old, overwrite=overwrite) as temporary:
            assert temporary.parent == tmp_path
            assert temporary.suffix == ".csv"
            temporary.write_text("half")
            raise error("midway")

    with pytest.raises(error, match="midway"):
        fail()
    assert [f.read_text() for f in tmp_path.iterdir()] == ["old"] * overwrite


def test_a_file_that_appears_meanwhile_is_kept(tmp_path, monkeypatch):
    def race():
        with io.atomic(tmp_path / "x") as temporary:
            temporary.write_text("ours")
            (tmp_path / "x").write_text("theirs")

    for link in (os.link, None):  # with hard links, and on a file system that has none
        if link is None:
            monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
        with pytest.raises(FileExistsError, match="already exists"):
            race()
        assert [f.read_text() for f in tmp_path.iterdir()] == ["theirs"]
        (tmp_path / "x").unlink()
    assert io.write_text(tmp_path / "x", "no links").read_text() == "no links"


def test_a_symbolic_link_is_written_through(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(FileExistsError):
        io.write_text(tmp_path / "link", "new")
    io.write_text(tmp_path / "link", "new", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_unwritable_places_are_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "x", tmp_path / "file" / "y" / "x"):
        with pytest.raises(NotADirectoryError, match=r"x could not be written: part of its folder's path is"):
            io.write_text(path, "text")
    for path in (tmp_path, "/dev/full"):
        with pytest.raises(OSError, match="is not a plain file"):
            io.write_text(path, "text", overwrite=True)
    with pytest.raises(OSError, match=r"could not be written: file name too long\.$"):
        io.write_text(tmp_path / ("x" * 300), "text")
    if os.geteuid():
        tmp_path.chmod(0o500)
        with pytest.raises(PermissionError, match="could not be written: permission denied"):
            io.write_text(tmp_path / "x", "text")


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "x").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"x could not be written: no space left on device\.$"):
        io.write_text(tmp_path / "x", "new", overwrite=True)
    assert [f.read_text() for f in tmp_path.iterdir()] == ["old"]


@pytest.mark.slow
def test_a_write_that_the_system_cuts_short(tmp_path):
    code = """
        import resource, sys, numpy as np
        from jaxsim import io
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            io.write_npz(sys.argv[1], {"a": np.ones(5), "b": np.ones(100_000)}, overwrite=True)
        except OSError as error:
            print(type(error).__name__, error)
    """
    (tmp_path / "x.npz").write_text("old")
    command = [sys.executable, "-c", "if True:" + code, str(tmp_path / "x.npz")]
    root = str(Path(__file__).parents[1])
    run = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=120)
    assert run.stdout.strip() == f"OSError {tmp_path / 'x.npz'} could not be written: file too large.", run.stderr
    assert [f.read_text() for f in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("dtype", ["object", "bfloat16"])
def test_write_npz_refuses_what_npz_cannot_hold(dtype, tmp_path):
    pytest.importorskip("ml_dtypes")
    with pytest.raises(ValueError, match=r"x.npz was not written: entry 'a' has dtype"):
        io.write_npz(tmp_path / "x.npz", {"a": np.ones(3).astype(dtype)})
    assert not list(tmp_path.iterdir())


ARRAYS = {
    "float": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">i4"),
    "text": np.array(["dög", "cat"]),
    "scalar": np.array(2.0),
    "empty": np.zeros((0, 3)),
    "file": np.eye(2),
    "allow_pickle": np.array(True),
    "self": np.ones(1),
    "a/b": np.arange(3),
}


def test_npz_round_trip_under_any_name(tmp_path):
    arrays = ARRAYS | {
        "file": np.eye(2),
        "allow_pickle": np.array(True),
        "a/b": np.arange(3),
        "self": np.ones(1),
    }
    path = io.write_npz(tmp_path / "no_suffix", arrays)
    got, numpys = io.read_npz(path), np.load(path)
    assert list(got) == list(ARRAYS) == numpys.files
    for name, value in ARRAYS.items():
        assert got[name].dtype == value.dtype
        np.testing.assert_array_equal(got[name], value)
        np.testing.assert_array_equal(numpys[name], value)


def _archive(*entries: tuple[str, bytes]) -> bytes:
    file = streams.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(file, "w") as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return file.getvalue()


def _npy(values: np.ndarray) -> bytes:
    file = streams.BytesIO()
    np.save(file, values)
    return file.getvalue()


GOOD = _npy(np.arange(100.0))
DEFLATED = streams.BytesIO()
np.savez_compressed(DEFLATED, values=np.arange(100.0))
HUGE = GOOD.replace(b"(100,), }" + 9 * b" ", b"(100" + 9 * b"0" + b",), }")
DAMAGED = {
    "cut": _archive(("values.npy", GOOD))[:500],
    "cut compressed": DEFLATED.getvalue()[:200],
    "tail lost": _archive(("values.npy", GOOD))[:-5],
    "empty": b"",
    "text": b"hello",
    "an npy file": GOOD,
    "short entry": _archive(("values.npy", GOOD[:-8])),
    "huge shape": _archive(("values.npy", HUGE)),
    "not an array": _archive(("values.npy", b"hello")),
    "two of a name": _archive(("values.npy", GOOD), ("values", GOOD)),
    "flipped bit": _archive(("values.npy", GOOD)).replace(np.float64(7).tobytes(), np.float64(8).tobytes()),
    "flipped bit, compressed": DEFLATED.getvalue()[:150] + b"?" + DEFLATED.getvalue()[151:],
    "long entry": _archive(("values.npy", GOOD + b"12345678")),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_damaged_npz_names_the_file(how, tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(DAMAGED[how])
    with pytest.raises(ValueError, match=r"x.npz is damaged, truncated or of another format") as caught:
        io.read_npz(path)
    assert "\n" not in str(caught.value)
    if how not in ("flipped bit", "long entry"):  # a memory map does not read the checksum
        with pytest.raises(ValueError, match=r"x.npz is damaged"):
            io.read_features(path)


def test_missing_files(tmp_path):
    for read in (io.read_npz, io.load_pickle, io.read_features, io.read_matrix):
        with pytest.raises(FileNotFoundError, match=r"x.npz does not exist"):
            read(tmp_path / "x.npz")


# Several files: all or none

SET = {"a.csv": "new a", "deep/b.csv": "new b", "c.csv": "new c"}
CALLS = ("rename", "replace", "link", "unlink", "mkdir", "rmdir", "open", "fsync", "scandir")
"""Everything in `os` by which publishing changes the file system, or asks it."""


class Killed(BaseException):
    """Stands for a process that ends here."""


class Faults:
    """Let the call of that number fail, before or after it is done, and with `on` all that follow."""

    def __init__(self, monkeypatch, error=None, number=0, *, after=False, on=False):
        self.count, self.error, self.number, self.after, self.on = 0, error, number, after, on
        for name in CALLS:
            monkeypatch.setattr(os, name, self.wrapped(getattr(os, name)))

    def wrapped(self, real):
        def call(*args, **options):
            self.count += 1
            late = self.on and self.count > self.number
            hit = self.error and (self.count == self.number or late)
            if hit and (late or not self.after):
                raise self.error
            result = real(*args, **options)
            if hit:
                raise self.error
            return result

        return call


def publish_set(folder, overwrite, monkeypatch=None, meanwhile=bool, **faults):
    """Publish SET, the faults counted from the end of the block; the number of calls."""
    with file_sets.staged(folder, list(SET), overwrite=overwrite) as new:
        for name, text in SET.items():
            (new / name).parent.mkdir(exist_ok=True)
            (new / name).write_text(text)
        meanwhile()
        if monkeypatch:
            found = Faults(monkeypatch, **faults)
    return found.count if monkeypatch else 0


def contents(folder):
    return {str(f.relative_to(folder)): f.read_text() for f in folder.rglob("*") if f.is_file()}


SITUATIONS = {
    "new folder": ({}, False),
    "other files there": ({"notes.txt": "mine"}, False),
    "some replaced": ({"notes.txt": "mine", "a.csv": "old a", "deep/b.csv": "old b"}, True),
}
FAULTS = {
    "an error": {"error": OSError(errno.EIO, "input/output error")},
    "errors from then on": {"error": OSError(errno.EIO, "input/output error"), "on": True},
    "Ctrl-C before": {"error": KeyboardInterrupt()},
    "Ctrl-C after": {"error": KeyboardInterrupt(), "after": True},
    "Ctrl-C again and again": {"error": KeyboardInterrupt(), "on": True},
    "a kill before": {"error": Killed(), "on": True},
    "a kill after": {"error": Killed(), "after": True, "on": True},
    "a kill, no links": {"error": Killed(), "on": True, "links": False},
    "errors, no links": {"error": OSError(errno.EIO, "input/output error"), "on": True, "links": False},
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize(("before", "overwrite"), SITUATIONS.values(), ids=SITUATIONS)
def test_publishing_a_set_is_all_or_nothing_at_every_call(before, overwrite, faults, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # slow, and not what is tested
    faults = dict(faults)
    links = faults.pop("links", True)
    number, calls, after = 0, 1, before | SET
    while number <= calls:
        number += 1
        folder = tmp_path / str(number) / "out"
        for name, text in before.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        with pytest.MonkeyPatch.context() as patch:
            if not links:
                patch.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
            try:
                calls = publish_set(folder, overwrite, patch, **(faults | {"number": number}))
                told = "published"
            except (OSError, KeyboardInterrupt, Killed) as error:
                calls, told = number, str(error)
        found = contents(folder) if folder.exists() else {}
        if not faults.get("on") and not isinstance(faults["error"], Killed):
            found = {name: text for name, text in found.items() if not name.startswith(".jaxsim-")}
            whole = told == "published" or "is complete" in told
            assert found == (after if whole else before), (number, told)
            assert folder.exists() == bool(found)
        file_sets.clear(folder)
        found = contents(folder) if folder.exists() else {}
        assert found in (before, after), (number, told)
        publish_set(folder, overwrite or found == after)
        assert contents(folder) == after
        assert [f.name for f in folder.parent.iterdir()] == ["out"]


def test_sets_that_are_published_at_once_do_not_mix(tmp_path, monkeypatch):
    def publish(text):
        with file_sets.staged(tmp_path, list(SET), overwrite=True) as new:
            for name in SET:
                (new / name).parent.mkdir(exist_ok=True)
                (new / name).write_text(text)

    publish("old")
    real, other = os.replace, threading.Thread(target=publish, args=("theirs",))

    def replace(*given):
        if not other.ident and str(given[1]).endswith("b.csv"):  # a.csv is in its place
            other.start()
            other.join(0.2)
        return real(*given)

    monkeypatch.setattr(os, "replace", replace)
    publish("ours")
    other.join()
    assert contents(tmp_path) == dict.fromkeys(SET, "theirs")


def test_a_set_is_written_through_links_and_leaves_no_folder_of_the_way(tmp_path):
    (tmp_path / "link").symlink_to("deep/real")
    publish_set(tmp_path / "link", False)
    publish_set(tmp_path / "way" / ".." / "other", False)
    assert contents(tmp_path / "deep" / "real") == contents(tmp_path / "other") == SET
    assert sorted(f.name for f in tmp_path.iterdir()) == ["deep", "link", "other"]
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(NotADirectoryError, match="could not be written: .*circle is a link that leads in a circle"):
        files.check(tmp_path / "circle" / "x", "--out circle/x")


def test_a_file_of_a_set_that_appears_meanwhile_is_kept(tmp_path):
    for name in SET:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        with pytest.raises(FileExistsError, match="already exists"):
            publish_set(tmp_path, False, meanwhile=lambda name=name: (tmp_path / name).write_text("theirs"))
        assert contents(tmp_path) == {name: "theirs"}
        (tmp_path / name).unlink()


@pytest.fixture
def interrupted(monkeypatch):
    """Ctrl-C at every renaming, under a handler of its own: processes in the background may ignore the signal."""
    real, before = os.rename, signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(os, "rename", lambda *a: (signal.raise_signal(signal.SIGINT), real(*a)))
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_while_a_set_is_published_waits_for_its_end(tmp_path, interrupted):
    interrupted(signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt, match="the output in .*out is complete"):
        publish_set(tmp_path / "out", False)
    assert contents(tmp_path / "out") == SET


def test_ctrl_c_that_is_ignored_stays_so(tmp_path, interrupted):
    interrupted(signal.SIG_IGN)
    publish_set(tmp_path / "out", False)
    assert contents(tmp_path / "out") == SET
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_sets_of_living_processes_and_of_others_are_left_alone(tmp_path):
    with file_sets.staged(tmp_path, ["a"]) as new:
        (tmp_path / ".jaxsim-notes").mkdir()
        (tmp_path / f".jaxsim-{'0' * 16}").symlink_to(tmp_path)
        file_sets.clear(tmp_path)
        assert new.is_dir()
        (new / "a").write_text("")
    assert sorted(f.name for f in tmp_path.iterdir()) == [f".jaxsim-{'0' * 16}", ".jaxsim-notes", "a"]


def test_a_file_changed_after_a_kill_is_not_undone(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_sets, "_undo", lambda *_: (_ for _ in ()).throw(Killed))
        patch.setattr(files, "flush", lambda path: (_ for _ in ()).throw(Killed) if path == tmp_path else None)
        with pytest.raises(Killed):
            publish_set(tmp_path, True)
    assert contents(tmp_path).items() >= SET.items()
    (tmp_path / "a.csv").write_text("edited since")
    file_sets.clear(tmp_path)
    assert contents(tmp_path) == {"notes": "mine", "a.csv": "edited since"}


LEADING_OUT = ["../a", "/a", "a/../../b", "", ".", "a//b", "a\\b", "a\0", "a\x1b[2J", "\u202ea", "x" * 300]


@pytest.mark.parametrize("name", LEADING_OUT)
def test_names_that_lead_out_of_a_folder_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match="cannot be a file in"):
        files.inside(tmp_path, name)
    with pytest.raises(ValueError, match="cannot be a file in"), file_sets.staged(tmp_path, [name]):
        pass
