"""Work folders of comparisons, and the settings that the results in one depend on."""

import contextlib
import dataclasses
import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxsim.io.jobs import Blocks
from jaxsim.studies.branching.data import Folder
from jaxsim.studies.branching.similarity import Probe
from jaxsim.studies.branching.training_runs import Plan
from jaxsim.vision.extraction.storage import Unfinished
from jaxsim.vision.models.weights import Encoder, digest

REMEDY = "give another --work folder or the same settings"


def recipe(
    comparison: str,
    folder: Folder,
    probe: Probe,
    encoders: Mapping[str, Encoder],
    plan: Plan | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The recipe that `working` takes: a folder with results of another one is refused.

    Scores are computed anew each time and runs are kept by their seed: measure and number of runs are left out.

    Args:
        comparison: its name; `jaxsim layers`, `branch` and `transfer` take their own.
        folder: as the comparison is given it, after `Plan.shown`.
        probe: of the similarity.
        encoders: all that take part, by any names.
        plan: of the training; None where nothing is trained.
        **more: what else the results depend on, JSON types: `layers` for `compare_layers`; `task` and `small`, the size
            of the small network, for `compare_initializations`.

    Returns:
        JSON types; weights and the ids of the pictures by their SHA-256.

    Example:
        >>> import numpy as np
        >>> from flax import nnx
        >>> from jaxsim.studies import branching
        >>> from jaxsim.vision import datasets, models
        >>> from jaxsim import measures
        >>> gray = datasets.Dataset("made up", ("a", "b"), lambda name: np.zeros((16, 16, 3), np.uint8), {})
        >>> folder = branching.Folder("folder", *(branching.Pictures(gray.select([name])) for name in "ab"), ())
        >>> encoders = {"mine": models.SmallEncoder((4, 8), (2, 2), rngs=nnx.Rngs(0))}
        >>> plan, probe = branching.Plan(size=16), branching.Probe(measures.RSA)
        >>> found = branching.recipe("mine", folder, probe, encoders, plan, layers=["conv1"])
        >>> with branching.working(None, found) as work:
        ...     sorted(found), work.folder.is_dir()  # branching.compare_layers(..., work, layers=["conv1"])
        (['command', 'encoders', 'images', 'layers', 'layout', 'pictures', 'plan', 'seed', 'size'], True)
    """
    ids = "\n".join((*folder.train.dataset.ids, "", *folder.val.dataset.ids))
    return {
        "command": comparison,
        "images": probe.count,
        "seed": probe.seed,
        "size": probe.side,
        "layout": folder.layout,
        "pictures": hashlib.sha256(ids.encode()).hexdigest(),
        "encoders": {name: digest(encoder) for name, encoder in encoders.items()},
        "plan": None if plan is None else dataclasses.asdict(plan),
    } | more


@contextlib.contextmanager
def working(folder: str | Path | None, recipe: Mapping[str, Any]) -> Iterator[Blocks]:
    """The results in a work folder, or in one that is gone after the block where `folder` is None.

    Raises:
        ValueError: the folder holds work of another recipe, or is damaged.
        OSError: it cannot be written.
    """
    if folder is not None:
        yield Blocks(folder, recipe, remedy=REMEDY)
        return
    with tempfile.TemporaryDirectory(prefix="jaxsim-") as temporary:
        try:
            yield Blocks(temporary, recipe)
        except Unfinished as error:
            error.args = (error.reason,)  # what is done is not kept after the block
            raise
