"""Work folders of comparisons: stored results that a stopped run reuses."""

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
    """The results in a work folder, or in a temporary one that is deleted after the block if `folder` is None.

    Args:
        folder: the work folder.
        recipe: what the results depend on, as JSON types.
        scratch: where to create the temporary one; None for the system's temporary folder, where a kill leaves it
            behind.

    Raises:
        ValueError: the folder has work with another recipe, or is damaged.
        OSError: it cannot be written to.
    """
    if folder is not None:
        yield Blocks(folder, recipe, remedy=REMEDY)
        return
    with tempfile.TemporaryDirectory(prefix="jaxsim-", dir=scratch) as temporary:
        try:
            yield Blocks(temporary, recipe)
        except Unfinished as error:
            error.args = (error.reason,)  # finished work is not kept after the block
            raise
