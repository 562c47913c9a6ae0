"""Optional packages: the extras that install them, and the error if one is missing."""

import contextlib
from collections.abc import Iterator

NN, PLOT, FILES, REPORT, COMPLETION, SKLEARN = (
    f'"jaxsim-similarity[{extra}]"' for extra in ("nn", "plot", "files", "report", "completion", "sklearn")
)
"""Arguments of `pip install` for each extra."""


class MissingExtra(ImportError):
    """A package is not installed; the message says how to install it."""


@contextlib.contextmanager
def needed(what: str, package: str = "", *, install: str = NN) -> Iterator[None]:
    """Explain failed imports of an optional package.

    Args:
        what: start of the message, saying who needs the package.
        package: name of the package; by default that of the missing module.
        install: arguments for `pip install`.

    Raises:
        MissingExtra: an import in the block failed.

    Example:
        >>> with needed("clouds need", install=PLOT):
        ...     import no_such_package
        Traceback (most recent call last):
        jaxsim.extras.MissingExtra: clouds need no_such_package: pip install "jaxsim-similarity[plot]".
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtra(f"{what} {package or error.name}: pip install {install}.") from error
