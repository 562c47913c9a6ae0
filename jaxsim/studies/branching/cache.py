"""A folder in which a long comparison keeps what is done, so that a killed one goes on."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim.io.arrays import read_npz
from jaxsim.io.json_files import differing, finite, read_json
from jaxsim.io.writing import write_npz, write_text
from jaxsim.vision.extraction.storage import Unfinished


class Work:
    """Results by name, each computed once; checkpoints while one is being computed.

    Args:
        folder: where; made if missing.
        recipe: what all results depend on, JSON types.

    Raises:
        ValueError: the folder holds work of another recipe, or is damaged.
        OSError: it cannot be written.

    >>> import tempfile
    >>> work = Work(tempfile.mkdtemp(), {"seed": 0})
    >>> work.result("a", lambda checkpoints: {"miou": 0.5}), work.result("a", lambda checkpoints: {"miou": 0.1})
    ({'miou': 0.5}, {'miou': 0.5})
    """

    def __init__(self, folder: str | Path, recipe: Mapping[str, Any]):
        self.folder = Path(folder)
        path, wanted = self.folder / "recipe.json", json.loads(json.dumps(recipe))
        if not path.exists():
            write_text(path, json.dumps(wanted, indent=1) + "\n")
            return
        found = read_json(path)
        if odd := differing(found, wanted):
            name = min(odd)
            raise ValueError(
                f"{self.folder} holds work with another {name} ({found.get(name)}, here {wanted.get(name)}); "
                "give another --work folder or the same settings."
            )

    def result(self, name: str, compute: Callable[[Path], dict[str, float]]) -> dict[str, float]:
        """The result of that name; `compute` is given a folder for checkpoints, which is removed when it is done."""
        path = self.folder / "results" / f"{name}.json"
        if path.exists():
            return {key: float("nan") if value is None else value for key, value in read_json(path).items()}
        checkpoints = self.folder / "checkpoints" / name
        found = compute(checkpoints)
        write_text(path, json.dumps(finite(found)) + "\n", overwrite=True)
        shutil.rmtree(checkpoints, ignore_errors=True)
        return found

    def arrays(self, name: str, compute: Callable[[Path], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The arrays of that name, in the same way."""
        path = self.folder / "arrays" / f"{name}.npz"
        if path.exists():
            return read_npz(path)
        checkpoints = self.folder / "checkpoints" / name
        found = compute(checkpoints)
        write_npz(path, found, overwrite=True)
        shutil.rmtree(checkpoints, ignore_errors=True)
        return found


@contextlib.contextmanager
def working(folder: str | Path | None, recipe: Mapping[str, Any]) -> Iterator[Work]:
    """The work folder, or one that is gone after the block where `folder` is None."""
    if folder is not None:
        yield Work(folder, recipe)
        return
    with tempfile.TemporaryDirectory(prefix="jaxsim-") as temporary:
        try:
            yield Work(temporary, recipe)
        except Unfinished as error:
            error.args = (error.reason,)  # what is done is not kept after the block
            raise
