"""Lists of names in messages."""

from collections.abc import Sequence


def few(names: Sequence[str], shown: int = 3) -> str:
    """The first names, and how many more there are.

    >>> few(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")
