"""Inputs of commands: features with image ids, matrices, records, measures by name."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import extras, io, measures, results
from jaxsim.evaluation import load_truth
from jaxsim.results import Affinity

BUILT_IN = "rooms"
"""Stands for the measured transfer that comes with the package, where a file of a matrix is asked for."""
_MATRIX_FILES = (".csv", ".pkl", ".pickle")


def read_measures(names: Sequence[str] | None) -> dict[str, Any]:
    """The measures by the name they were asked for; RSA where none was.

    Raises:
        ValueError: an unknown name, or one given twice.
    """
    chosen: dict[str, Any] = {}
    for name in names or ["rsa"]:
        label = name.strip().lower().replace("_", "-")
        if label in chosen:
            raise ValueError(f"--measure {label} is given twice.")
        chosen[label] = measures.by_name(label)
    folders = [folder_name(label) for label in chosen]
    if len(set(folders)) < len(folders):
        raise ValueError(f"the measures {', '.join(chosen)} need folders of different names.")
    return chosen


def read_measure(names: Sequence[str] | None) -> tuple[str, Any]:
    """One measure with its name; RSA where none was asked for.

    Raises:
        ValueError: an unknown name, or several.
    """
    if names and len(names) > 1:
        raise ValueError(f"this command takes one --measure, not {len(names)}.")
    return next(iter(read_measures(names).items()))


def folder_name(label: str) -> str:
    """A measure's name as the name of a folder: letters, digits, dots and hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", label.lower()).strip("-")


def places(labels: Sequence[str]) -> dict[str, str]:
    """Folder of each measure's files within the output folder."""
    return dict.fromkeys(labels, "") if len(labels) == 1 else {n: folder_name(n) + "/" for n in labels}


def read_ids(path: str | Path) -> tuple[str, ...]:
    """Image ids from an npy file or a text file with one per line.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: it holds no list of ids.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"--ids {path} is not there or is not a file.")
    if path.suffix.lower() != ".npy":
        try:
            ids = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise ValueError(f"--ids {path} is not UTF-8 text.") from None
    else:
        try:
            values = np.load(path, allow_pickle=False)
        except (EOFError, OSError, ValueError):
            raise ValueError(f"--ids {path} is no readable npy file.") from None
        if values.ndim != 1 or values.dtype.kind not in "iuSU":
            raise ValueError(f"--ids {path} must hold one axis of text or whole numbers.")
        ids = [v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist()]
    if not ids or not all(ids):
        raise ValueError(f"--ids {path} holds no ids, or an empty one.")
    return tuple(ids)


def read_set(path: str, ids: str | None = None, *, x64: bool = False) -> tuple[dict[str, np.ndarray], Any]:
    """Features by name, as float64 where asked, and their image ids where the file or --ids gives any."""
    features, own = io.read_features(path)
    if x64:
        features = {name: x.astype(np.float64) if _real(x) else x for name, x in features.items()}
    return features, own if ids is None else read_ids(ids)


def _real(x: np.ndarray) -> bool:
    return x.dtype.kind in "biuf" or x.dtype.name == "bfloat16"


def is_matrix(path: str | Path, key: str | None) -> bool:
    """Whether a file holds a matrix of scores rather than features.

    Raises:
        FileNotFoundError: nothing is there.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there.")
    if key is not None or path.suffix.lower() in _MATRIX_FILES:
        return True
    if path.suffix.lower() != ".npz":
        return False
    return "record_json" in io.read_npz(path)


def read_affinity(path: str | Path, key: str | None = None) -> Affinity:
    """An affinity matrix: the record that `jaxsim affinity` saved, any matrix with names, or `BUILT_IN`.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: it holds another record, or no matrix with names.
    """
    if str(path) == BUILT_IN and not Path(path).is_file():
        with extras.needed("the built-in world needs"):
            from jaxsim.studies.rooms import world
        return world.load_truth().matrix(key or "affinity")
    if Path(path).suffix.lower() != ".npz" or key is not None or not is_matrix(path, key):
        return load_truth(path, key)
    return read_record(path, "Affinity")


def read_record(path: str | Path, kind: str) -> Any:
    """A saved record of that kind.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: it holds no record, or one of another kind.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is not there or is not a file.")
    record = results.load(path)
    if type(record).__name__ != kind:
        raise ValueError(f"{path} holds a record of the kind {type(record).__name__}, not {kind}.")
    return record


def read_resamples(path: str | Path, affinity: Affinity) -> Any:
    """A saved record of resamples, of the same measure as a matrix of our own.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: it holds no such record, or one of another measure.
    """
    found = read_record(path, "Resamples")
    ours, theirs = affinity.provenance.measure, found.provenance.measure
    if affinity.images is not None and ours != theirs:
        raise ValueError(f"{path} holds resamples of {theirs}, and the matrix is of {ours}: give those of one measure.")
    return found


def read_encoders(paths: Sequence[str], flag: str) -> dict[str, dict[str, Any]]:
    """The encoders of each file by name, no name in two files.

    Raises:
        ValueError: two encoders have one name, or a file is damaged.
    """
    from jaxsim.vision import models

    files: dict[str, dict[str, Any]] = {}
    for path in paths:
        found = models.from_safetensors(path)
        twice = sorted(name for name in found if any(name in other for other in files.values()))
        if twice:
            raise ValueError(f"{flag} {path} has an encoder {twice[0]!r}, and so has another file.")
        files[path] = found
    return files
