"""Inputs of commands: features with image ids, matrices, records, measures by name."""

import dataclasses
import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import extras, io, measures, results
from jaxsim.cli.arguments import refuse
from jaxsim.cli.output import note
from jaxsim.evaluation import load_truth
from jaxsim.inputs import unfolded
from jaxsim.io.arrays import names_in_npz
from jaxsim.io.feature_files import read_ids
from jaxsim.io.files import counted, repeated
from jaxsim.measures import Measure
from jaxsim.results import Affinity
from jaxsim.results.matrices import image_count

ROWS = 30
"""Most rows of a table to print."""
BUILT_IN = "rooms"
"""Name for the transfer measured in the built-in world, given in place of a matrix file."""
_MATRIX_FILES = (".csv", ".tsv", ".txt", ".pkl", ".pickle")


def read_measures(arguments: Namespace, *, maps: bool = False) -> dict[str, Any]:
    """The measures of --measure by name, or the command's default; with `maps`, comparators of maps too.

    Raises:
        ValueError: a name is unknown, or given twice.
    """
    chosen: dict[str, Any] = {}
    comparators = measures.PARTS["compare"] if maps else {}
    for name in arguments.measure or arguments.default_measures:
        label = measures.plain(name.strip())
        if label in chosen:
            raise ValueError(f"--measure {label} is given twice.")
        chosen[label] = comparators.get(label) or measures.by_name(label)
    if len({label in comparators for label in chosen}) > 1:
        some = [next(label for label in chosen if (label in comparators) is kind) for kind in (True, False)]
        raise ValueError(
            f"--measure {some[0]} compares precomputed maps, and {some[1]} compares features; use one kind per call."
        )
    return chosen


def read_measure(arguments: Namespace, *, maps: bool = False) -> tuple[str, Any]:
    """One measure with its name.

    Raises:
        ValueError: the name is unknown, or there are several.
    """
    if arguments.measure and len(arguments.measure) > 1:
        raise ValueError(f"this command takes one --measure, not {len(arguments.measure)}.")
    return next(iter(read_measures(arguments, maps=maps).items()))


def read_sets(
    arguments: Namespace, paths: Sequence[str], against: Sequence[str] | None, maps: bool
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Features or `maps` at the paths, and the verbs' options: the set of `against`, ids, computing.

    Raises:
        ValueError: an option has no effect on these files.
    """
    if arguments.per_image:
        refuse(arguments, "with --per-image", "stack")
    found = _read_set(arguments, paths, maps, arguments.ids)
    each = not maps and (len(_listed(paths)) > 1 or Path(_listed(paths)[0]).is_dir())  # so an array alone is too
    others = _read_set(arguments, against, maps, each=each) if against else (None, None)
    arrays = [*found[0].values(), *(others[0] or {}).values()]
    if not any(map(_may_be_stack, [*_listed(paths), *_listed(against or ())])):
        refuse(arguments, "without an npy file or a tensor of PyTorch", "stack")
    if maps or not any(x.ndim > 2 for x in arrays):
        refuse(arguments, "on maps" if maps else "on features of two axes", "channels")
    if found[1] is None and others[1] is None:
        refuse(arguments, "without image ids", "align")
    names = ("align", "memory", "devices", *["channels"] * (not maps))
    how = {name: getattr(arguments, name) for name in names if name in arguments}
    return found[0], {"ids": found[1], "against": others[0], "against_ids": others[1]} | how


def read_targeted(arguments: Namespace, chosen: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """FEATURES and --against for the chosen measures, as in `read_sets`, with --target among the columns.

    Raises:
        ValueError: there is no such --target, or an option has no effect on these files.
    """
    maps = not any(isinstance(measure, Measure) for measure in chosen.values())
    features, options = read_sets(arguments, arguments.features, arguments.against, maps)
    targets = list(options["against"] or features)
    if arguments.target is not None and arguments.target not in targets:
        raise ValueError(f"--target {arguments.target} is not a target; the targets are {', '.join(targets)}.")
    return features, options


def _listed(paths: str | Sequence[str]) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)


def _may_be_stack(path: str) -> bool:
    return Path(path).is_dir() or Path(path).suffix.lower() in (".npy", ".pt", ".pth")


def _read_set(
    arguments: Namespace, paths: Sequence[str], maps: bool, ids: str | None = None, each: bool = False
) -> tuple[dict[str, np.ndarray], Any]:
    """Features by name, in float64 if requested, and their image ids if the files or --ids provide any.

    Prints how they were read. With `each`, every array is one network unless --stack says otherwise.
    """
    paths = _listed(paths)
    stack = False if each and arguments.stack is None else arguments.stack
    features, own = io.read_features(paths, stack=stack, per_image=arguments.per_image)
    if maps:
        features, own = _each_map(features, own)
    note(arguments, f"{', '.join(paths)}: {_describe(features, maps)}")
    if len(paths) > 1:
        for name, x in list(features.items())[:ROWS]:
            note(arguments, f"  {name}: {_describe({name: x}, maps)}")
        if len(features) > ROWS:
            note(arguments, f"  ... and {len(features) - ROWS} more")
    if ids is not None and own is not None:
        note(arguments, f"--ids {ids} replaces the image ids of {', '.join(paths)}")
    return as_asked(arguments, features), own if ids is None else ids_of(ids)


def as_asked(arguments: Namespace, features: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The features, with floating-point ones in float64 for --x64."""
    if not arguments.x64:
        return features
    real = {name: x.dtype.kind == "f" or x.dtype.name == "bfloat16" for name, x in features.items()}
    return {name: x.astype(np.float64) if real[name] else x for name, x in features.items()}


def ids_of(path: str, option: str = "--ids") -> tuple[str, ...]:
    """Image ids, or labels of images, from a file.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{option} {path} does not exist or is not a file.")
    return read_ids(Path(path))


def read_labels(arguments: Namespace) -> dict[str, tuple[str, ...]]:
    """Labels of the images from --strata and --groups, as far as given.

    Raises:
        ValueError: images are matched by ids, which labels lack, or a file contains more than labels.
    """
    given = {n: path for n in ("strata", "groups") if (path := getattr(arguments, n)) is not None}
    if given and arguments.align:
        raise ValueError(
            f"--{next(iter(given))} labels images in their order, which --align changes; use only one of them."
        )
    found = {name: ids_of(path, f"--{name}") for name, path in given.items()}
    for name, labels in found.items():
        if Path(given[name]).suffix.lower() in (".csv", ".tsv") and any(re.search("[,;\t]", label) for label in labels):
            raise ValueError(
                f"--{name} {given[name]} is a table with several columns; give only the labels, one per line, in "
                "the order of the images."
            )
    return found


def _each_map(features: dict[str, np.ndarray], ids: Any) -> tuple[dict[str, np.ndarray], Any]:
    """Maps by name, with stacks split up, and their ids."""
    names, arrays = tuple(features), tuple(features.values())
    if names == tuple(f"network_{k}" for k in range(len(arrays))) and {x.shape[:-1] for x in arrays} == {(len(names),)}:
        arrays = np.stack(arrays)  # read along an image axis
    names, arrays, ids = unfolded(names, arrays, ids)
    if twice := repeated(names):
        raise ValueError(f"two maps have the name {twice[0]!r}, one of them in a stack; rename one.")
    return dict(zip(names, arrays, strict=True)), ids


def _describe(features: dict[str, np.ndarray], maps: bool) -> str:
    if not maps or any(x.ndim > 2 or x.ndim == 2 and len(set(x.shape)) > 1 for x in features.values()):
        return io.describe_shapes(features)
    sizes = sorted({x.shape[-1] if x.ndim > 1 else image_count(x.size) or 0 for x in features.values()})
    return f"{counted(len(features), 'map')} of {' or '.join(map(str, sizes))} images"


def is_matrix(path: str | Path, key: str | None) -> bool:
    """Whether a file has a matrix of scores rather than features.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if key is not None or path.suffix.lower() in _MATRIX_FILES:
        return True
    if path.suffix.lower() != ".npz":
        return False
    return "record_json" in names_in_npz(path)


def read_affinity(path: str | Path, key: str | None = None, *, distance: bool = False) -> Affinity:
    """An affinity matrix: a record saved by `jaxsim affinity`, any matrix with names, or `BUILT_IN`.

    `distance` says that lower is more similar.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file has another record, or no matrix with names.
    """
    if distance:
        return dataclasses.replace(read_affinity(path, key), distance=True)
    if str(path) == BUILT_IN and not Path(path).is_file():
        with extras.needed("the built-in world needs"):
            from jaxsim.studies.rooms import world
        return world.load_truth().matrix(key or "affinity")
    if Path(path).is_dir():
        inside = ", ".join(sorted(file.name for file in Path(path).iterdir() if is_matrix(file, None))) or "none"
        raise ValueError(f"{path} is a folder; give a file with a matrix. The matrices in it are: {inside}.")
    if Path(path).suffix.lower() != ".npz" or key is not None or not is_matrix(path, key):
        return load_truth(path, key)
    return read_record(path, "Affinity")


def describe_matrix(matrix: Affinity) -> str:
    """Text with the size and meaning of a matrix."""
    held = "distances, lower is more similar" if matrix.distance else "scores, higher is more similar"
    return f"{len(matrix.names)} sources x {len(matrix.targets)} targets of {held}"


def read_record(path: str | Path, kind: str) -> Any:
    """A saved record of that kind.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file has no record, or one of another kind.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist or is not a file.")
    made = {"Affinity": "affinity", "Resamples": "bootstrap"}[kind]
    if Path(path).suffix.lower() != ".npz":
        raise ValueError(f"{path} is not an npz file; give {kind.lower()}.npz from `jaxsim {made}`.")
    record = results.load(path)
    if type(record).__name__ != kind:
        found = type(record).__name__
        raise ValueError(f"{path} contains results of the kind {found}, not {kind}; `jaxsim {made}` writes those.")
    return record


def read_resamples(path: str | Path, affinity: Affinity) -> Any:
    """A saved record of resamples, for the same measure as a matrix computed here.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file has no such record, or one for another measure.
    """
    found = read_record(path, "Resamples")
    ours, theirs = affinity.provenance.measure, found.provenance.measure
    if affinity.images is not None and ours != theirs:
        raise ValueError(
            f"{path} has resamples of {theirs}, but the matrix has scores of {ours}; use the same measure for both."
        )
    return found


def converted(path: str, flag: str) -> str:
    """A path with the suffix of an encoder file; for `BUILT_IN`, the path of the shipped encoders.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the suffix is another one.
    """
    if path == BUILT_IN and not Path(path).exists():
        from jaxsim.studies.rooms import encoders

        return str(encoders.shipped_file())
    if not Path(path).is_file():
        text = f"{flag} {path} does not exist or is not a file"
        raise FileNotFoundError(f"{text}; give a file from `jaxsim convert`, or {BUILT_IN} for the shipped encoders.")
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"{flag} {path} does not end in .safetensors; convert a checkpoint with `jaxsim convert`.")
    return path


def read_encoders(paths: Sequence[str], flag: str) -> dict[str, dict[str, Any]]:
    """The encoders of each file by name.

    Raises:
        ValueError: two encoders share a name, or a file is damaged.
    """
    from jaxsim.vision import models

    files: dict[str, dict[str, Any]] = {}
    for path in [converted(one, flag) for one in paths]:
        found = models.from_safetensors(path)
        twice = sorted(name for name in found if any(name in other for other in files.values()))
        if twice:
            text = f"{flag} {path} has an encoder {twice[0]!r}, and so does another file"
            raise ValueError(f"{text}; rename one with `jaxsim convert --name`.")
        files[path] = found
    return files
