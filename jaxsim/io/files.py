"""Files and folders published completely or not at all, and file system errors reported in one sentence.

An output is written under a hidden temporary name next to its final path, flushed to disk, and renamed. Its process
keeps it locked until then. An output without a lock was left by a killed process, and anybody may remove it.
"""

import contextlib
import ctypes
import difflib
import glob
import inspect
import json
import math
import os
import re
import secrets
import shutil
import signal
import stat
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

PART = ".part"
"""Suffix of unfinished outputs."""


@contextlib.contextmanager
def atomic(path: str | Path, *, overwrite: bool = False, folder: bool = False) -> Iterator[Path]:
    """Provide a temporary path next to `path`, and publish what was written there when the block ends.

    A file appears at `path` after its bytes have reached the disk. A folder appears after it was renamed; the block has
    to `flush` the files in it. If the block raises anything, including KeyboardInterrupt, the temporary path is removed
    and what was at `path` stays. Without `overwrite`, what another process created in the meantime is not replaced
    either. A temporary file keeps the suffix of `path`, missing parent folders are created, and a symbolic link is
    followed. What killed processes left of earlier attempts is removed.

    Args:
        path: the file or folder to write.
        overwrite: replace what already exists.
        folder: create a folder instead of a file.

    Raises:
        FileExistsError: the path exists and `overwrite` is False.
        OSError: it cannot be written, or the disk is full.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp())
        >>> with atomic(place / "notes.txt") as temporary:
        ...     _ = temporary.write_text("whole")
        >>> (place / "notes.txt").read_text()
        'whole'
    """
    target = Path(os.path.realpath(path))
    temporary, held = hidden(target), None
    try:
        clear(target.parent, target.stem)
        _check_target(path, target, overwrite, folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary, held = _begun(target, folder)
        yield temporary
        if not folder:
            flush(temporary)
        publish(temporary, target, overwrite=overwrite)
    except OSError as error:
        raise _one_sentence(error, path, target, temporary) from error
    finally:
        try:
            remove(temporary)
        finally:
            if held is not None:
                os.close(held)


def _begun(target: Path, folder: bool) -> tuple[Path, int | None]:
    """A new hidden file or folder next to `target`, and the descriptor of its lock."""
    while True:
        temporary = hidden(target)
        if folder:
            temporary.mkdir()
        try:
            return temporary, locked(temporary, 0 if folder else os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except (BlockingIOError, FileNotFoundError):  # mistaken for a leftover between creating and locking it
            if not target.parent.is_dir():
                raise


def locked(path: Path, flags: int = os.O_RDONLY) -> int | None:
    """Lock a file or folder, opened with `flags`, until the descriptor is closed; None if there are no locks.

    Raises:
        BlockingIOError: it is locked.
        FileNotFoundError: its owner has removed it.
        OSError: it cannot be opened.
    """
    if fcntl is None and path.is_dir():
        return None
    descriptor, kept = os.open(path, flags, 0o666), False
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError:  # the file system has none
                return None
            kept = os.path.samestat(os.fstat(descriptor), os.stat(path))
            if not kept:
                raise FileNotFoundError(f"{path} was removed.")
        return descriptor if kept else None
    finally:
        if not kept:
            os.close(descriptor)


@contextlib.contextmanager
def abandoned(path: Path, *, sure: bool = False) -> Iterator[None]:
    """Lock what a killed process left behind while the block runs.

    Args:
        path: the file or folder.
        sure: whether nobody else writes there, so that it can be taken even without locks.

    Raises:
        OSError: its process is alive, or may be alive.
    """
    descriptor = locked(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | getattr(os, "O_NONBLOCK", 0))
    if descriptor is None and not sure:
        raise BlockingIOError(f"{path} may be in use: this file system has no locks.")
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _check_target(path: str | Path, target: Path, overwrite: bool, folder: bool) -> None:
    if not os.path.lexists(target):
        return
    if not (stat.S_ISDIR if folder else stat.S_ISREG)(target.lstat().st_mode):
        kind = "folder" if folder else "plain file"
        raise OSError(f"{path} could not be written: it already exists and is not a {kind}.")
    if not overwrite:
        raise exists(path)


def exists(path: str | Path) -> FileExistsError:
    """The error for a path that already exists."""
    return FileExistsError(
        f"{path} already exists; give overwrite=True (--overwrite on the command line) to replace it."
    )


def publish(made: Path, target: Path, *, overwrite: bool = False, aside: Path | None = None) -> None:
    """Rename what was `made`, a file or folder on the same disk, to `target`.

    Args:
        made: the file or folder, already flushed to disk.
        target: its new name.
        overwrite: replace what exists. An empty folder is always replaced by a folder.
        aside: where to move a folder that is replaced before the new one takes its name, for a caller who can put it
            back after a kill; it is removed at the end. By default the two swap names in one step. If the system cannot
            do that, the old folder gets a hidden name first, and a kill at that moment leaves nothing under `target`.

    Raises:
        FileExistsError: `target` exists, or has appeared in the meantime, and `overwrite` is False.
    """
    if made.is_dir():
        _publish_folder(made, target, overwrite, aside)
    elif overwrite:
        os.replace(made, target)
    else:
        _publish_file(made, target)
    flush(target.parent)


def _publish_file(made: Path, target: Path) -> None:
    """Rename a file to a name that is not taken.

    Raises:
        FileExistsError: something is there.
    """
    try:
        try:
            os.link(made, target)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links: reserve the name instead
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            try:
                os.replace(made, target)
            except BaseException:
                remove(target)
                raise
        else:
            remove(made)
    except FileExistsError:
        raise exists(target) from None


def _publish_folder(made: Path, target: Path, overwrite: bool, aside: Path | None) -> None:
    replaces = target.is_dir() and any(target.iterdir())
    if replaces and not overwrite:
        raise exists(target)
    if replaces and aside is None and _trade_names(made, target):
        remove(made)
        return
    aside = aside or hidden(target)
    if replaces:
        target.rename(aside)
    try:
        made.rename(target)
    except BaseException:
        if replaces:
            aside.rename(target)
        raise
    remove(aside)


def _trade_names(one: Path, other: Path) -> bool:
    """Swap the names of two folders in one step; False if the system or the file system cannot."""
    names = os.fsencode(one), os.fsencode(other)
    try:
        system = ctypes.CDLL(None)
        if sys.platform == "darwin":
            return system.renamex_np(*names, ctypes.c_uint(2)) == 0  # RENAME_SWAP
        here = ctypes.c_int(-100)  # AT_FDCWD
        return system.renameat2(here, names[0], here, names[1], ctypes.c_uint(2)) == 0  # RENAME_EXCHANGE
    except (AttributeError, OSError, TypeError):  # there is no such call
        return False


def _one_sentence(error: OSError, path: str | Path, target: Path, temporary: Path) -> OSError:
    """The error as one sentence about `path`, unless it already is one or is about another file."""
    about = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    inside = about is not None and temporary in about.parents
    place = about in (target, temporary, *target.parents)
    if error.strerror is None and str(temporary) in str(error):  # the error is about a file in the folder
        told = type(error)(str(error).replace(str(temporary), str(path)))
        told.errno = error.errno
        return told
    if error.strerror is None or not (about is None or inside or place):
        return error
    if place and isinstance(error, FileExistsError | NotADirectoryError):
        return NotADirectoryError(f"{path} could not be written: part of its folder's path is a file.")
    return unwritable(path, error)


def write_text(path: str | Path, text: str, *, overwrite: bool = False) -> Path:
    r"""Write `text` as UTF-8 with unchanged line endings, completely or not at all, and return the path.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> write_text(Path(tempfile.mkdtemp()) / "notes.txt", "one line\n").read_text()
        'one line\n'
    """
    with atomic(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(text.encode())
    return Path(path)


def hidden(path: Path) -> Path:
    """A new hidden name next to `path` for something incomplete, which readers skip."""
    return path.with_name(f".{path.stem[:100]}.{secrets.token_hex(8)}{PART}{path.suffix}")


def clear(folder: Path, stem: str = "*", *, held: bool = False) -> None:
    """Remove what killed processes left of outputs in a folder, or of those whose name without suffix is `stem`.

    Args:
        folder: folder of the outputs.
        stem: stem of their names; all outputs by default.
        held: whether the folder or that output is locked by `jobs.lock`, so that leftovers are dead even without locks.
    """
    for left in folder.glob(f".{stem if stem == '*' else glob.escape(stem[:100])}.{'[0-9a-f]' * 16}{PART}*"):
        with contextlib.suppress(OSError), abandoned(left, sure=held):
            remove(left)


def remove(path: Path) -> None:
    """Remove a file or folder as far as the system allows."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.unlink()


def flush(path: Path) -> None:
    """Flush a file to disk, or a folder's own entries if the system can."""
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


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold Ctrl-C back while the block runs, in the only thread that receives it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held = []
    before = signal.signal(signal.SIGINT, lambda *given: held.append(given))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)
    if held and callable(before):
        before(*held[0])


def check(folder: Path, what: str | Path) -> Path:
    """Reject a folder that cannot be created or written to; return its nearest existing parent or itself.

    Raises:
        NotADirectoryError: it, or a part of its path, is a file or a circular link.
        PermissionError: it cannot be written to.
    """
    real = Path(os.path.realpath(folder))
    near = folder if folder.exists() else next(place for place in (real, *real.parents) if os.path.lexists(place))
    if not near.is_dir():
        kind = "a link that leads in a circle" if near.is_symlink() else "a file"
        raise NotADirectoryError(f"{what} could not be written: {near} is {kind}.")
    if not os.access(near, os.W_OK | os.X_OK):
        raise PermissionError(f"{what} could not be written: the folder {near} cannot be written.")
    return near


@contextlib.contextmanager
def one_sentence(what: str | Path) -> Iterator[None]:
    """Turn system errors in the block into one sentence about `what`; ones that already are stay as they are."""
    try:
        yield
    except OSError as error:
        if error.strerror is None:
            raise
        raise unwritable(what, error) from error


def unwritable(what: str | Path, error: OSError) -> OSError:
    """A system error as one sentence about `what`, with the same class and `errno`.

    >>> unwritable("notes.txt", OSError(28, "No space left on device"))
    OSError('notes.txt could not be written: no space left on device.')
    """
    reason = error.strerror or (os.strerror(error.errno) if error.errno else str(error)).rstrip(".")
    told = type(OSError(error.errno, ""))(f"{what} could not be written: {reason[:1].lower()}{reason[1:]}.")
    told.errno = error.errno
    return told


def interrupted_after(out: str | Path) -> KeyboardInterrupt:
    """The interruption of a command whose output is already complete."""
    return KeyboardInterrupt(f"the output in {out} is complete")


def inside(folder: str | Path, name: str) -> Path:
    """The path of a name within a folder; `/` in the name separates subfolders.

    Names come from files, options and other people: everything that becomes part of a path goes through here.

    Raises:
        ValueError: the name is empty, leads out of the folder, or has characters that file systems do not accept.

    >>> inside("out", "a/b.csv").as_posix()
    'out/a/b.csv'
    >>> inside("out", "../b.csv")
    Traceback (most recent call last):
    ValueError: the name '../b.csv' cannot be a file in out: use letters, digits and plain signs, up to 200 bytes.
    """
    parts, special = name.split("/"), "\\:" if os.name == "nt" else "\\"
    if any(
        part in ("", ".", "..") or not part.isprintable() or set(special) & set(part) or len(part.encode()) > 200
        for part in parts
    ):
        shown = name if len(name) <= 60 else f"{name[:57]}..."
        raise ValueError(
            f"the name {shown!r} cannot be a file in {folder}: use letters, digits and plain signs, up to 200 bytes."
        )
    return Path(folder, *parts)


def printable(text: str) -> str:
    r"""Escape control characters in text, because names are data and must not control a terminal.

    >>> printable("a\x1b[2Jb\nc")
    'a\\x1b[2Jb\\nc'
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def label(name: str, most: int = 60) -> str:
    """A name for a figure: printable, with the middle left out if it is longer than `most`.

    >>> label("x" * 100_000, 7)
    'xxx…xxx'
    """
    name = printable(name[: 2 * most] + name[-most:] if len(name) > 3 * most else name)
    return name if len(name) <= most else f"{name[: most - 1 - most // 2]}…{name[-(most // 2) :]}"


def counted(count: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "image"), counted(2, "image")
    ('1 image', '2 images')
    """
    return f"{count} {noun}{'s' * (count != 1)}"


def in_words(seconds: float) -> str:
    """A time in seconds, minutes or hours.

    >>> in_words(5.2), in_words(700), in_words(9000)
    ('5.2 s', '12 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def pace(rate: float | None, left: float | None) -> list[str]:
    """Text with the rate per second and the time left; leaves out what is zero or unknown.

    >>> pace(3.14159, 700), pace(3.14159, 0), pace(None, None)
    (['3.14 a second', '12 min left'], ['3.14 a second'], [])
    """
    return [f"{rate or 0:.3g} a second"] * bool(rate) + [f"{in_words(left or 0)} left"] * bool(left)


def few(names: Sequence[str], shown: int = 3) -> str:
    """The first names and the number of remaining ones, for messages.

    >>> few(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")


def nearest(name: str, known: Iterable[str]) -> str:
    """Known names similar to an unknown one, or all of them, for messages.

    >>> nearest("depht", ["depth", "edges"])
    'did you mean depth?'
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, 3)
    return (
        f"did you mean {', '.join(near)}?"
        if near
        else f"there {'is' if len(known) == 1 else 'are'} {', '.join(known)}."
    )


def natural(name: str) -> tuple[Any, ...]:
    """Key that sorts names by the numbers in them: layer 2 comes before layer 10.

    >>> sorted(["conv10", "conv2", "conv", "bn1"], key=natural)
    ['bn1', 'conv', 'conv2', 'conv10']
    """
    parts = re.split(r"([0-9]{1,18})", name)
    return tuple(int(part) if k % 2 else part for k, part in enumerate(parts)), name


def repeated(names: Iterable[Any]) -> list[Any]:
    """Names that appear more than once, in order, in linear time.

    >>> repeated(["b", "a", "b", "a", "c"])
    ['a', 'b']
    """
    return sorted(name for name, count in Counter(names).items() if count > 1)


def parse_json(text: str | bytes, **options: Any) -> Any:
    """Parse JSON; `options` are those of `json.loads`.

    Raises:
        ValueError: the text is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text, **options)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None


def finite(value: Any) -> Any:
    """Replace numbers that are not finite by None in JSON values, since JSON lacks them.

    >>> finite({"a": [1.0, float("nan")]})
    {'a': [1.0, None]}
    """
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line outside of jaxsim that led here."""
    frame, level = inspect.currentframe(), 1
    while frame and frame.f_globals.get("__name__", "").split(".")[0] in ("jaxsim", "contextlib"):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
