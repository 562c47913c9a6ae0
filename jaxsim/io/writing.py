"""Writing files whole or not at all: a temporary file beside the target, flushed to disk, then renamed."""

import contextlib
import os
import secrets
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from jaxsim.io.folders import flush, unwritable


@contextlib.contextmanager
def atomic(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`, and put what was written there in place of `path`.

    The file appears at `path` after the block has ended and its bytes have reached the disk. If the block
    raises anything, KeyboardInterrupt included, the temporary file is removed and an older file at `path` is
    left as it was. Without `overwrite` a file that another process made meanwhile is not replaced either.
    The temporary name ends in the suffix of `path`; missing parent folders are made; a symbolic link is
    written through, to the file it points at.

    Args:
        path: the file to write.
        overwrite: replace a file that is there already.

    Raises:
        FileExistsError: the file is there and `overwrite` is False.
        OSError: the folder cannot be written, or the disk is full.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with atomic(folder / "notes.txt") as temporary:
        ...     _ = temporary.write_text("whole")
        >>> (folder / "notes.txt").read_text()
        'whole'
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.stem[:100]}.{secrets.token_hex(8)}.part{target.suffix}")
    try:
        _check_target(path, target, overwrite)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        flush(temporary)
        _publish(temporary, target, overwrite)
    except OSError as error:
        raise _one_sentence(error, path, target, temporary) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _check_target(path: str | Path, target: Path, overwrite: bool) -> None:
    if not os.path.lexists(target):
        return
    if not stat.S_ISREG(target.lstat().st_mode):
        raise OSError(f"{path} could not be written: it is there already and is not a plain file.")
    if not overwrite:
        raise _exists(path)


def _exists(path: str | Path) -> FileExistsError:
    return FileExistsError(
        f"{path} already exists; give overwrite=True (--overwrite on the command line) to replace it."
    )


def _publish(temporary: Path, target: Path, overwrite: bool) -> None:
    """Rename `temporary` to `target`; without `overwrite` fail where `target` has appeared meanwhile."""
    if not overwrite:
        try:
            os.link(temporary, target)
        except FileExistsError:
            raise _exists(target) from None
        except OSError:  # a file system without hard links: reserve the name instead
            try:
                os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            except FileExistsError:
                raise _exists(target) from None
            os.replace(temporary, target)
    else:
        os.replace(temporary, target)
    flush(target.parent)


def _one_sentence(error: OSError, path: str | Path, target: Path, temporary: Path) -> OSError:
    """The error as one sentence naming `path`, unless it already is one or is about another file."""
    ours = {None, str(target), str(temporary), *map(str, target.parents)}
    if error.strerror is None or error.filename not in ours | {Path(f) for f in ours if f}:
        return error
    if isinstance(error, FileExistsError | NotADirectoryError):
        return NotADirectoryError(f"{path} could not be written: part of its folder's path is a file.")
    return unwritable(path, error)


def write_text(path: str | Path, text: str, *, overwrite: bool = False) -> Path:
    r"""Write `text` as UTF-8 with its line ends unchanged, whole or not at all, and return the path.

    Raises:
        FileExistsError: the file is there and `overwrite` is False.
        OSError: it cannot be written.

    Example:
        >>> import tempfile
        >>> write_text(Path(tempfile.mkdtemp()) / "notes.txt", "one line\n").read_text()
        'one line\n'
    """
    with atomic(path, overwrite=overwrite) as temporary, open(temporary, "wb") as file:
        file.write(text.encode())
    return Path(path)


def write_npz(path: str | Path, arrays: Mapping[str, np.ndarray], *, overwrite: bool = False) -> Path:
    """Write arrays to exactly `path` in the npz format, uncompressed, whole or not at all.

    Entries are stored uncompressed and without time stamps: they can be memory-mapped, and equal arrays give
    equal bytes. No suffix is added to the path.

    Raises:
        ValueError: an array is of Python objects, or of a type that npy files cannot hold (bfloat16).
        FileExistsError: the file is there and `overwrite` is False.
        OSError: it cannot be written.

    Example:
        >>> import tempfile
        >>> path = write_npz(Path(tempfile.mkdtemp()) / "scores.npz", {"values": np.eye(2)})
        >>> np.load(path)["values"].shape
        (2, 2)
    """
    plain = {name: np.asarray(values) for name, values in arrays.items()}
    for name, values in plain.items():
        if values.dtype.hasobject or (values.dtype.kind == "V" and values.dtype.type is not np.void):
            raise ValueError(f"{path} was not written: entry {name!r} has dtype {values.dtype}, no npz type.")
    with atomic(path, overwrite=overwrite) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, values in plain.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.external_attr = 0o644 << 16
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
    return Path(path)
