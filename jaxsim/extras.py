"""Packages that only a part of this one needs: what to install where one of them is missing."""

import contextlib
from collections.abc import Iterator

NN, PLOT, FILES, TAXONOMY = (f'"jaxsim-similarity[{extra}]"' for extra in ("nn", "plot", "files", "taxonomy"))
"""What pip installs for each extra."""


class MissingExtra(ImportError):
    """A package is not installed; the message says how to install it."""


@contextlib.contextmanager
def needed(what: str, package: str = "", *, install: str = NN) -> Iterator[None]:
    """Imports of a package that may be missing.

    Args:
        what: begins the message: who needs it.
        package: its name; that of the module that is missing by default.
        install: what to write after `pip install`.

    Raises:
        MissingExtra: an import in the block has failed.

    >>> with needed("Clouds need", install=PLOT):
    ...     import no_such_package
    Traceback (most recent call last):
    jaxsim.extras.MissingExtra: Clouds need no_such_package: pip install "jaxsim-similarity[plot]".
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtra(f"{what} {package or error.name}: pip install {install}.") from error
