"""Work folders of comparisons: results that a stopped run finds again."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxsim.io.jobs import Blocks
from jaxsim.vision.extraction.storage import Unfinished

REMEDY = "give another --work folder or the same settings"


@contextlib.contextmanager
def working(
    folder: str | Path | None, recipe: Mapping[str, Any], *, scratch: str | Path | None = None
) -> Iterator[Blocks]:
    """The results in a work folder, or in one that is gone after the block where `folder` is None.

    Args:
        folder: of the work.
        recipe: what the results depend on, JSON types.
        scratch: where the one that is gone is made; None for the system's temporary folder, where a kill leaves it.

    Raises:
        ValueError: the folder holds work of another recipe, or is damaged.
        OSError: it cannot be written.
    """
    if folder is not None:
        yield Blocks(folder, recipe, remedy=REMEDY)
        return
    with tempfile.TemporaryDirectory(prefix="jaxsim-", dir=scratch) as temporary:
        try:
            yield Blocks(temporary, recipe)
        except Unfinished as error:
            error.args = (error.reason,)  # what is done is not kept after the block
            raise
