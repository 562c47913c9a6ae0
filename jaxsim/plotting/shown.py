"""The figure that all plots are drawn on; it needs matplotlib, so it is imported when the first one is made."""

import io

from matplotlib.figure import Figure

DPI = 80
"""Dots per inch in a notebook; files have more."""


class ShownFigure(Figure):
    """A figure that a notebook shows where it is the value of a cell, without pyplot."""

    def _repr_png_(self) -> bytes:
        """The figure as a notebook asks for it."""
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=DPI)
        return file.getvalue()
