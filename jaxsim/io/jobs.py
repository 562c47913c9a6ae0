"""Interruptible jobs: locks, records with checksums, settings that must match, results stored as blocks.

Whatever is killed at any moment, readers find complete files, and the same call continues the work:

    begin(folder, settings)     stores the settings; a folder with other settings is rejected, naming them
    lock(folder)                one process at a time; a killed one releases the lock
    write_record, read_record   a JSON object with its SHA-256: progress, settings, checksums
    write_block, read_block     arrays with a record and a SHA-256 each
    Blocks(folder, settings)    many blocks, each computed once by one process, and again if damaged

Files and folders are published by `files.atomic` and `files.publish`.
"""

import contextlib
import hashlib
import json
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim.io import files
from jaxsim.io.arrays import read_npz, write_npz
from jaxsim.io.files import warn

RECIPE = "recipe.json"
"""File with the settings of the work in a folder."""
RECORD = "record"
"""Name of a block's record among its arrays."""
SEAL = "sha256_of_record"
"""Key of a record's own SHA-256."""
REMEDY = "give the same settings or another folder"


class Damaged(ValueError):
    """A file has changed since it was written; the message names it."""


# Checksums


def sha256(values: np.ndarray) -> str:
    """SHA-256 of an array's type, shape, and bytes in C order, in hexadecimal.

    >>> sha256(np.zeros(2, np.int8)) == sha256(np.zeros(2, np.uint8))
    False
    """
    values = np.asarray(values)
    total = hashlib.sha256(f"{values.dtype.str} {values.dtype.name} {values.shape} ".encode())
    total.update(values.tobytes())
    return total.hexdigest()


def sha256_of_json(content: Any) -> str:
    """SHA-256 of JSON values, whatever the order of their keys.

    >>> sha256_of_json({"a": 1, "b": [2]}) == sha256_of_json({"b": [2], "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def verify(path: str | Path, arrays: Mapping[str, np.ndarray], sums: Mapping[str, str]) -> None:
    """Compare arrays read from `path` with their checksums.

    Raises:
        Damaged: an array differs, is missing, or has no checksum; the message names it.
    """
    for name in {**sums, **arrays}:
        if name not in arrays or sha256(arrays[name]) != sums.get(name):
            raise Damaged(f"{path} is damaged: array {name!r} differs from its checksum.")


# Records


def write_record(path: str | Path, content: Mapping[str, Any], *, overwrite: bool = True) -> Path:
    """Write a JSON object with its SHA-256, completely or not at all.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        OSError: the file cannot be written.

    >>> import tempfile
    >>> path = write_record(Path(tempfile.mkdtemp()) / "done.json", {"pictures": 3})
    >>> read_record(path)
    {'pictures': 3}
    """
    return files.write_text(path, _sealed(content) + "\n", overwrite=overwrite)


def read_record(path: str | Path) -> dict[str, Any]:
    """Read the JSON object that `write_record` wrote.

    Raises:
        Damaged: the file cannot be read, or has changed since it was written.
    """
    try:
        return _unsealed(path, Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Damaged(f"{path} is damaged: it cannot be read ({type(error).__name__}).") from error


def _sealed(content: Mapping[str, Any]) -> str:
    plain = _plain(content)
    return json.dumps(plain | {SEAL: sha256_of_json(plain)}, indent=1)


def _unsealed(path: str | Path, text: str) -> dict[str, Any]:
    try:
        found = files.parse_json(text)
    except ValueError as error:
        raise Damaged(f"{path} is damaged: {error}.") from None
    if not isinstance(found, dict):
        raise Damaged(f"{path} is damaged: it is not a JSON object.")
    if found.pop(SEAL, None) != sha256_of_json(found):
        raise Damaged(f"{path} is damaged: its record differs from its checksum.")
    return found


def _plain(content: Any) -> Any:
    return json.loads(json.dumps(content))


# Settings


def begin(folder: str | Path, settings: Mapping[str, Any], *, remedy: str = REMEDY) -> None:
    """Store the settings of the work in a folder, created if missing, or compare them with those stored there.

    Args:
        folder: folder of the work.
        settings: what the results depend on, as JSON types.
        remedy: end of the message.

    Raises:
        ValueError: the folder has work with other settings, or they are damaged.
        OSError: the folder cannot be written to.
    """
    path = Path(folder) / RECIPE
    try:
        write_record(path, settings, overwrite=False)
    except FileExistsError:
        agree(read_record(path), settings, folder, remedy=remedy)


def agree(theirs: Mapping[str, Any], ours: Mapping[str, Any], what: str | Path, *, remedy: str = REMEDY) -> None:
    """Refuse to continue work with other settings.

    Args:
        theirs: settings of the existing work, as read from JSON.
        ours: settings now, as JSON types.
        what: the existing work; start of the message.
        remedy: end of the message.

    Raises:
        ValueError: they differ; the message names the settings that do, with nested ones as `outer.inner`.

    >>> agree({"steps": 9, "plan": {"size": 8}}, {"steps": 9, "plan": {"size": 4}, "seed": 0}, "run")
    Traceback (most recent call last):
    ValueError: run was made with other settings: plan.size is 8 (here 4), seed is None (here 0); give ...
    """
    if odd := list(_differing(theirs, _plain(ours))):
        raise ValueError(f"{what} was made with other settings: {files.few(odd)}; {remedy}.")


def _differing(theirs: Mapping[str, Any], ours: Mapping[str, Any], outer: str = "") -> Iterator[str]:
    for key in {**theirs, **ours}:
        there, here = theirs.get(key), ours.get(key)
        if isinstance(there, dict) and isinstance(here, dict):
            yield from _differing(there, here, f"{outer}{key}.")
        elif there != here and json.dumps(there) != json.dumps(here):  # NaN is not equal to itself
            there, here = (textwrap.shorten(str(value), 100) for value in (there, here))
            yield f"{outer}{key} is {there} (here {here})"


# Locks


@contextlib.contextmanager
def lock(folder: str | Path) -> Iterator[None]:
    """Keep others out of a folder, created if missing, while the block runs; a killed process releases it.

    If the system or the file system has no locks, nobody is kept out.

    Raises:
        BlockingIOError: it is in use by another process, or by another block in this one.
        OSError: it cannot be created.
    """
    with files.one_sentence(folder):
        descriptor = _locked(Path(folder))
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _locked(folder: Path) -> int | None:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return files.locked(folder)
        except BlockingIOError:
            text = f"{folder} is in use by another process; wait for it to end, or give another folder."
            raise BlockingIOError(text) from None
        except FileNotFoundError:  # its owner has removed it in the meantime
            continue


# Blocks


def write_block(
    path: str | Path, arrays: Mapping[str, Any], record: Mapping[str, Any], *, overwrite: bool = False
) -> Path:
    """Write arrays to an npz file with a record that describes them and a SHA-256 of each, completely or not at all.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        OSError: the file cannot be written.

    >>> import tempfile
    >>> path = write_block(Path(tempfile.mkdtemp()) / "a.npz", {"x": np.arange(3)}, {"seed": 1})
    >>> read_block(path)
    ({'seed': 1}, {'x': array([0, 1, 2])})
    """
    if RECORD in arrays or "arrays" in record:
        raise ValueError(
            f"{path}: an array cannot be named {RECORD!r}, and a record cannot have 'arrays'; these names are reserved."
        )
    plain = {name: np.asarray(values) for name, values in arrays.items()}
    sums = {name: sha256(values) for name, values in plain.items()}
    return write_npz(path, plain | {RECORD: np.array(_sealed({**record, "arrays": sums}))}, overwrite=overwrite)


def read_block(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read the record and the arrays that `write_block` wrote.

    Raises:
        FileNotFoundError: the file does not exist.
        Damaged: the file has changed since it was written.
    """
    try:
        arrays = read_npz(path)
    except ValueError as error:
        raise Damaged(str(error)) from error
    record = _unsealed(path, str(arrays.pop(RECORD, "")))
    verify(path, arrays, record.pop("arrays"))
    return record, arrays


class Blocks:
    """Results by name in a folder, each computed once by one process, and again if damaged.

    Processes may share the folder. If one requests a result that another is computing, `lock` tells it, and it can
    continue with the next one. While a result is being computed, `NAME.part` is available for its checkpoints.

    Args:
        folder: folder of the results; created if missing.
        settings: what all results depend on, as JSON types.
        provenance: recorded in every block, such as versions, as JSON types.
        remedy: end of the message about other settings.

    Raises:
        ValueError: the folder has results with other settings, or they are damaged.
        OSError: the folder cannot be written to.

    >>> import tempfile
    >>> blocks = Blocks(tempfile.mkdtemp(), {"seed": 0})
    >>> for _ in range(2):
    ...     print(blocks.get("a", lambda checkpoints: print("computed") or {"score": 0.5}))
    computed
    {'score': array(0.5)}
    {'score': array(0.5)}
    """

    def __init__(
        self,
        folder: str | Path,
        settings: Mapping[str, Any],
        *,
        provenance: Mapping[str, Any] | None = None,
        remedy: str = REMEDY,
    ):
        self.folder = Path(folder)
        self._own, self._provenance = sha256_of_json(settings), dict(provenance or {})
        begin(folder, settings, remedy=remedy)

    def path(self, name: str) -> Path:
        """Path of the block of that name."""
        return files.inside(self.folder / "results", f"{name}.npz")

    def read(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of that name; None if they are missing, or damaged, with a warning."""
        path = self.path(name)
        if not path.exists():
            return None
        try:
            record, arrays = read_block(path)
            if (record["name"], record["settings"]) != (name, self._own):
                raise Damaged(f"{path} is damaged: it is a block with another name or other settings.")
        except Damaged as error:
            warn(f"{error} It is computed again.", RuntimeWarning)
            return None
        return arrays

    def get(self, name: str, compute: Callable[[Path], Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """The arrays of that name, or the result of `compute` if they are missing or damaged.

        Args:
            name: name of the block.
            compute: function of a folder for checkpoints, which is not created yet; it is removed together with its
                parent when the arrays are stored.

        Raises:
            BlockingIOError: another process is computing them.
            OSError: they cannot be written; the checkpoints stay.
        """
        path = self.path(name)
        part = path.with_name(f"{path.stem}{files.PART}")
        found = self.read(name)
        if found is None:
            with lock(part):
                found = self.read(name)  # another process may have been faster
                if found is None:
                    files.clear(path.parent, path.stem, held=True)
                    found = {key: np.asarray(values) for key, values in compute(part / "checkpoints").items()}
                    record = {**self._provenance, "name": name, "settings": self._own}
                    write_block(path, found, record, overwrite=True)
                files.remove(part)
        elif part.exists():  # left by a process that was killed after it had written the block
            with contextlib.suppress(BlockingIOError), lock(part):
                files.remove(part)
        return found
