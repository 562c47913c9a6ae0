"""Several files published together: all of them or none, even if interrupted or killed at any moment.

A set is written in a hidden folder that its process has locked. If the output folder is new, the hidden folder is
renamed. Otherwise the files are moved into place one by one, the files that they replace are kept until the end, and a
journal records how to undo the changes. They are undone immediately after an error, or after a kill by the next set in
that folder.
"""

import contextlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxsim.io import files, jobs

HIDDEN = re.compile(r"\.jaxsim-[0-9a-f]{16}")
NEW, OLD, JOURNAL = "new", "old", "journal.json"
"""Contents of a hidden folder: the set, what it replaces, and how to undo its publishing while NEW exists."""


@contextlib.contextmanager
def staged(folder: str | Path, names: Sequence[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Provide an empty folder for files, and move them together to `folder` when the block ends.

    Its parent can be used for other temporary files of the block. If anything is raised, including KeyboardInterrupt,
    `folder` is left unchanged. Without `overwrite`, files that another process created in the meantime are not
    replaced. What killed processes left in or next to `folder` is undone and removed.

    Args:
        folder: created if missing, with its parents; a link is followed.
        names: the files, relative to the folder; the block must write all of them.
        overwrite: replace existing files.

    Raises:
        FileExistsError: a file exists and `overwrite` is False.
        ValueError: a name leads out of the folder.
        OSError: the files cannot be written, or the previous files cannot be put back; the message then says where they
            are.

    Example:
        >>> import tempfile
        >>> out = Path(tempfile.mkdtemp()) / "out"
        >>> with staged(out, ["a.csv", "b.csv"]) as new:
        ...     _ = [(new / name).write_text("1") for name in ("a.csv", "b.csv")]
        >>> sorted(file.name for file in out.iterdir())
        ['a.csv', 'b.csv']
    """
    folder = Path(folder)
    folder = folder if folder.is_dir() else Path(os.path.realpath(folder))  # creates what a link points to
    places = {name: files.inside(folder, name) for name in names}
    clear(folder)
    missing = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    near = folder if folder.is_dir() else folder.parent
    temporary = near / f".jaxsim-{secrets.token_hex(8)}"
    published = False
    try:
        there = [place for place in places.values() if os.path.lexists(place)]
        if there and not overwrite:
            raise files.exists(there[0])
        try:
            with jobs.lock(temporary):
                (temporary / NEW).mkdir()
                yield temporary / NEW
                with files.held_back():
                    try:
                        _publish(temporary, folder, names, overwrite)
                    finally:
                        published = not any((place / NEW).exists() for place in (temporary, folder / temporary.name))
        finally:
            with files.held_back():
                _remove(temporary, folder, missing)
    except KeyboardInterrupt:
        if published:
            raise files.interrupted_after(folder) from None
        raise


def _remove(temporary: Path, folder: Path, missing: Sequence[Path]) -> None:
    """Remove the hidden folder, unless the next set must undo it, and folders created for nothing."""
    for left in (temporary, folder / temporary.name):
        if not (left / NEW).exists() or not (left / JOURNAL).exists():
            files.remove(left)
    with contextlib.suppress(OSError):
        for place in missing:
            place.rmdir()


def _publish(temporary: Path, folder: Path, names: Sequence[str], overwrite: bool) -> None:
    for name in names:
        files.flush(temporary / NEW / name)
    if not os.path.lexists(folder) and _within(temporary / NEW) == set(map(Path, names)):
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            try:
                os.rename(temporary / NEW, folder)
            except OSError:
                if os.path.lexists(folder):  # somebody created it in the meantime
                    raise FileExistsError from None
                raise
            files.flush(folder.parent)
            return
    folder.mkdir(exist_ok=True)
    if temporary.parent != folder:
        temporary = temporary.rename(folder / temporary.name)
    with _alone(folder):
        try:
            _place(temporary, folder, names, overwrite)
        except BaseException as error:
            if (temporary / NEW).exists():
                _undo(temporary, error)  # its exception, if any, says more
            raise


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process puts files in a folder, so that sets do not mix, if the system has locks."""
    if files.fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # the file system has no locks
            files.fcntl.flock(descriptor, files.fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _within(folder: Path) -> set[Path]:
    return {file.relative_to(folder) for file in folder.rglob("*") if not file.is_dir()}


def _place(temporary: Path, folder: Path, names: Sequence[str], overwrite: bool) -> None:
    """Move the files into place, keeping what they replace; the last step, a rename, makes it final."""
    (temporary / OLD).mkdir()
    parents = {parent for name in names for parent in Path(name).parents if not (folder / parent).exists()}
    marks = {name: _mark(temporary / NEW / name) for name in names}
    journal = {"marks": marks, "folders": sorted(map(str, parents), reverse=True)}
    files.write_text(temporary / JOURNAL, json.dumps(journal), overwrite=True)  # overwriting takes one step
    for number, name in enumerate(names):
        made, target = temporary / NEW / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if overwrite:
            if os.path.lexists(target):
                _keep(target, temporary / OLD / str(number))
            os.replace(made, target)
        else:
            _put(made, target)
    for parent in {(folder / name).parent for name in names}:
        files.flush(parent)
    os.rename(temporary / NEW, temporary / "published")


def _put(made: Path, target: Path) -> None:
    try:
        os.link(made, target)
    except FileExistsError:
        raise files.exists(target) from None
    except OSError:  # no hard links here: a name reserved instead would be left behind by a kill
        if os.path.lexists(target):
            raise files.exists(target) from None
        os.rename(made, target)


def _keep(target: Path, kept: Path) -> None:
    try:
        os.link(target, kept, follow_symlinks=False)
    except (OSError, NotImplementedError):  # no hard links here
        os.rename(target, kept)


def _mark(path: Path) -> list[int] | None:
    """Identity of a file, which a rename keeps."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return [found.st_ino, found.st_size, found.st_mtime_ns]


def _undo(temporary: Path, error: BaseException | None = None) -> None:
    """Restore the folder around a hidden one, if the journal there says that it was changed.

    Raises:
        OSError: not everything could be put back; the rest stays in the hidden folder.
    """
    folder, failed = temporary.parent, []
    if not (temporary / JOURNAL).exists():
        return
    journal = json.loads((temporary / JOURNAL).read_text(encoding="utf-8"))
    for number, (name, mark) in enumerate(journal["marks"].items()):
        target, kept = files.inside(folder, name), temporary / OLD / str(number)
        found = _mark(target)
        try:
            if os.path.lexists(kept) and found in (None, mark):
                os.replace(kept, target)
            elif found == mark:
                target.unlink()
        except (OSError, KeyboardInterrupt):
            failed.append(name)
    for name in journal["folders"]:
        with contextlib.suppress(OSError):
            files.inside(folder, name).rmdir()
    if failed:
        raise OSError(
            f"publishing in {folder} failed and could not be undone for {files.few(failed)}: the previous files are "
            f"kept in {temporary}, and the next run with this folder restores them."
        ) from error
    (temporary / JOURNAL).unlink()


def clear(folder: Path) -> None:
    """Undo and remove what this user's killed processes left of sets in a folder and next to it."""
    near = [
        left for place in {folder, folder.parent} if os.access(place, os.R_OK | os.X_OK) for left in _entries(place)
    ]
    for left in near if files.fcntl is not None else ():
        if HIDDEN.fullmatch(left.name) and _ours(left):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError), files.abandoned(left):
                if (left / NEW).exists():
                    _undo(left)
                files.remove(left)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _ours(folder: Path) -> bool:
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
