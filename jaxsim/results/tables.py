"""Records as short tables: plain text for `print`, HTML for notebooks."""

import html
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxsim.io.files import printable

MOST_ROWS = MOST_COLUMNS = 12
"""Rows and columns shown; the rest are only counted."""


class Table(NamedTuple):
    """A table to display.

    Attributes:
        title: one line.
        header: column names, starting with the column of labels.
        rows: a label and its cells for each row.
        note: a line below the table, or "".
        flags: sentences below the table about what the numbers may not mean.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    flags: Sequence[str] = ()

    def to_text(self) -> str:
        """Plain text: title and columns, with labels on the left and numbers on the right."""
        rows = [[*map(printable, row)] for row in (self.header, *self.rows)]
        width = [max(len(row[k]) for row in rows) for k in range(len(self.header))]
        lines = ["  ".join([row[0].ljust(width[0]), *map(str.rjust, row[1:], width[1:])]).rstrip() for row in rows]
        return "\n".join([printable(self.title), *lines, *map(printable, self._below())])

    def _below(self):
        return [*([self.note] if self.note else []), *flagged(self.flags)]

    def to_html(self) -> str:
        """The table as HTML."""

        def row(cells, tag):
            return "<tr>" + "".join(f"<{tag}>{html.escape(printable(cell))}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(row(cells, "td") for cells in self.rows)
        caption = f"<caption>{html.escape(printable(self.title))}</caption>"
        note = "".join(f"<p>{html.escape(printable(line))}</p>" for line in self._below())
        return f"<table>{caption}<thead>{row(self.header, 'th')}</thead><tbody>{body}</tbody></table>{note}"


def flagged(flags: Sequence[str]) -> list[str]:
    """Lines below a table about what its numbers may not mean."""
    return [f"warning: {flag}" for flag in flags]


def matrix(title: str, values: np.ndarray, names: Sequence[str], targets: Sequence[str]) -> Table:
    """Scores of sources (rows) with targets (columns), at most MOST_ROWS by MOST_COLUMNS of them."""
    names_shown, targets_shown = names[:MOST_ROWS], targets[:MOST_COLUMNS]
    rows = [[name, *map(number, row)] for name, row in zip(names_shown, values[:, : len(targets_shown)], strict=False)]
    hidden = len(names) > MOST_ROWS or len(targets) > MOST_COLUMNS
    note = f"... {len(names)} rows and {len(targets)} columns in all" if hidden else ""
    return Table(title, ["", *targets_shown], rows, note)


def number(value: float) -> str:
    """Format a score with three decimals; a score within rounding of 1 is 1.

    >>> number(0.99999994), number(-0.5), number(float("nan"))
    ('1.000', '-0.500', 'nan')
    """
    return f"{value:.3f}".replace("-0.000", "0.000")


def p_value(value: float) -> str:
    """Format a p-value with three decimals, never as zero.

    >>> p_value(0.0421), p_value(2e-5)
    ('0.042', '<.001')
    """
    return "<.001" if value < 0.001 else number(value)
