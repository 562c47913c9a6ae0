"""Folders and places: written whole or not at all, found writable before any work, faults told in one sentence."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

PART = ".part"
"""How names of what is not complete end."""


def unwritable(what: str | Path, error: OSError) -> OSError:
    """An error of the system as one sentence about `what`, of the same class and with the same `errno`.

    >>> unwritable("notes.txt", OSError(28, "No space left on device"))
    OSError('notes.txt could not be written: no space left on device.')
    """
    reason = error.strerror or (os.strerror(error.errno) if error.errno else str(error)).rstrip(".")
    told = type(OSError(error.errno, ""))(f"{what} could not be written: {reason[:1].lower()}{reason[1:]}.")
    told.errno = error.errno
    return told


@contextlib.contextmanager
def one_sentence(what: str | Path) -> Iterator[None]:
    """Turn errors of the system inside the block into one sentence about `what`; those already told stay."""
    try:
        yield
    except OSError as error:
        if error.strerror is None:
            raise
        raise unwritable(what, error) from error


def check(folder: Path, what: str | Path) -> Path:
    """Refuse a folder that cannot be made or written in; give the nearest one on the way to it that is there.

    Raises:
        NotADirectoryError: it, or a part of its path, is a file.
        PermissionError: it cannot be written.
    """
    near = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not near.is_dir():
        raise NotADirectoryError(f"{what} could not be written: {near} is a file.")
    if not os.access(near, os.W_OK | os.X_OK):
        raise PermissionError(f"{what} could not be written: the folder {near} cannot be written.")
    return near


@contextlib.contextmanager
def whole(path: Path, what: str | Path) -> Iterator[Path]:
    """Give a hidden folder beside `path`, and rename it to `path` after the block has ended without error.

    Raises:
        OSError: `path` is there already or cannot be written; the message is about `what`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "notes"
    >>> with whole(path, path) as folder:
    ...     write(folder / "a.txt", b"whole")
    >>> (path / "a.txt").read_text()
    'whole'
    """
    temporary = hidden(path)
    try:
        with one_sentence(what):
            temporary.mkdir(parents=True)
            yield temporary
            temporary.rename(path)
            flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def hidden(path: Path) -> Path:
    """A new name beside `path` for what is not complete, which readers pass over."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}{PART}")


def write(path: Path, content: bytes) -> None:
    """Write a file in a folder that no one reads yet, and flush it to the disk."""
    path.write_bytes(content)
    flush(path)


def flush(path: Path) -> None:
    """Bring a file's bytes to the disk, or a folder's own entries where the system can."""
    folder = path.is_dir()
    try:
        descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        if not folder:
            raise
