"""Writing is whole or not at all; npz files come back as they were, and damaged ones are named."""

import errno
import io as streams
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxsim import io

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
    with pytest.raises(ValueError, match=r"x.npz is damaged, truncated or not of its kind") as caught:
        io.read_npz(path)
    assert "\n" not in str(caught.value)
    if how not in ("flipped bit", "long entry"):  # a memory map does not read the checksum
        with pytest.raises(ValueError, match=r"x.npz is damaged"):
            io.read_features(path)


def test_missing_files(tmp_path):
    for read in (io.read_npz, io.load_pickle, io.read_features, io.read_matrix):
        with pytest.raises(FileNotFoundError, match=r"x.npz is not there"):
            read(tmp_path / "x.npz")
