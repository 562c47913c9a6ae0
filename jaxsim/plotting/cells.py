"""Cells of a heat map: their scores, intervals and marks, and the scale of their colors."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from jaxsim.plotting.canvas import GRAY, INK, bare, require_matplotlib
from jaxsim.results import Affinity, Resamples, color_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PRINT_UP_TO = 12
_UNDEFINED = "0.88"
_UNKNOWN = "no interval"


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
    """Arrays `(S, T)` of a heat map.

    Attributes:
        values: scores.
        own: whether row and column are the same network.
        detail: second line of a cell's text, an interval or a p-value; "" for none.
        faded: whether the cell is not a finding.
        starred: whether the cell is marked.
        printed: whether scores are printed.
        null: whether p-values determine which cells are faded.
    """

    values: np.ndarray
    own: np.ndarray
    detail: np.ndarray
    faded: np.ndarray
    starred: np.ndarray
    printed: bool
    null: bool = False

    @classmethod
    def of(
        cls,
        scores: Affinity | Resamples,
        level: float,
        interval: Any,
        stars: Mapping[str, str] | None,
        annotate: bool | None,
        p: Any = None,
    ) -> Self:
        """The cells of a record."""
        given = scores.estimate if isinstance(scores, Resamples) else scores.values
        values = np.asarray(given, dtype=float)
        own = scores.own
        detail, faded = np.full(values.shape, "", dtype=object), np.zeros(values.shape, bool)
        if p is not None or (isinstance(scores, Resamples) and scores.can.null):
            p = np.asarray(scores.p_value() if isinstance(scores, Resamples) else p, dtype=float)
            detail, faded = _texts("p {:.3f}", p), ~(p < 1 - level)
        elif isinstance(scores, Resamples) or interval is not None:
            ends = scores.interval(level) if isinstance(scores, Resamples) else interval
            low, high = np.asarray(ends, dtype=float)
            detail, faded = _texts("[{:.2f}, {:.2f}]", low, high), ~((low > 0) | (high < 0))
        none = own | ~np.isfinite(values)
        detail = np.where(none, "", detail)
        printed = max(values.shape) <= _PRINT_UP_TO if annotate is None else annotate
        return cls(values, own, detail, faded & ~none, _starred(scores, stars), printed, p is not None)

    def reordered(self, rows: list[int], columns: list[int]) -> Self:
        """The same cells in another order."""
        at, arrays = np.ix_(rows, columns), ("values", "own", "detail", "faded", "starred")
        return dataclasses.replace(self, **{name: getattr(self, name)[at] for name in arrays})

    @property
    def undefined(self) -> np.ndarray:
        """Cells without a score."""
        return ~np.isfinite(self.values)

    @property
    def detailed(self) -> bool:
        """Whether an interval or a p-value is printed in any cell."""
        return self.printed and bool(np.any(self.detail != ""))

    def sizes(self) -> tuple[float, float]:
        """Font size of the labels in points, and side of a cell in inches."""
        count = max(self.values.shape)
        if self.printed:
            return 9.0, 0.72 if self.detailed else 0.46 if count > 3 else 0.6
        font = float(np.clip(320 / count, 5.0, 9.0))
        return font, max(font * 1.3 / 72, 4.0 / count)

    def notes(self, scores: Affinity | Resamples, level: float) -> list[str]:
        """Sentences about the marks in the cells."""
        lines, null = [], self.null
        made = f" ({scores.origin})" if isinstance(scores, Resamples) else ""
        if self.detailed:
            lines.append(
                f"p: no similarity{_beyond(scores)}{made}"
                if null
                else f"in brackets: {100 * level:g} % intervals{made}"
            )
        if self.faded.any():
            why = f"p ≥ {1 - level:.2g}" if null else f"the {100 * level:g} % interval holds zero"
            why += " or is not known" * bool(np.any(self.detail[self.faded] == _UNKNOWN))
            lines.append(f"{'faded' if self.printed else 'faded, ×'}: no finding, {why}")
        if self.starred.any():
            lines.append("★: recommended" + "; hollow: but no finding" * bool(np.any(self.starred & self.faded)))
        if self.undefined.any():
            lines.append("hatched: undefined")
        if self.negative.any():
            lines.append("–: below zero")
        return lines

    @property
    def negative(self) -> np.ndarray:
        """Negative cells whose sign is not shown by text or (in gray) by color."""
        far = np.nanmin(self.values, initial=0.0) < -0.15 * max(np.nanmax(self.values, initial=0.0), 0.0)
        return (self.values < 0) & ~self.faded & (far and not self.printed)


def _texts(form: str, *numbers: np.ndarray) -> np.ndarray:
    made = [form.format(*cell).replace("-", "\N{MINUS SIGN}") for cell in zip(*map(np.ravel, numbers), strict=True)]
    unknown = np.any([np.isnan(one) for one in numbers], 0)
    return np.where(unknown, _UNKNOWN, np.array(made, dtype=object).reshape(unknown.shape))


def _starred(scores: Affinity | Resamples, stars: Mapping[str, str] | None) -> np.ndarray:
    marked = np.zeros((len(scores.names), len(scores.targets)), bool)
    for target, name in (stars or {}).items():
        if target not in scores.targets or name not in scores.names:
            raise ValueError(f"stars marks {name!r} for {target!r}, which is not a row and column of this matrix.")
        marked[scores.names.index(name), scores.targets.index(target)] = True
    return marked


def scale(
    cells: Cells, scores: Affinity | Resamples, cmap: Any, vmin: float | None, vmax: float | None
) -> tuple[Any, float, float, str]:
    """Colormap, scores at its ends, and the ends of the color bar that have arrows."""
    every = cells.values[~cells.undefined]
    low, high = color_scale.ends(cells.values, scores, count_own=max(cells.values.shape) <= _PRINT_UP_TO)
    low, high = low if vmin is None else float(vmin), high if vmax is None else float(vmax)
    if not low < high:
        raise ValueError(
            f"colors must go from a lower to a higher score, not from {low:g} to {high:g}: change vmin or vmax."
        )
    beyond = (bool(np.any(every < low - 1e-3 * (high - low))), bool(np.any(every > high + 1e-3 * (high - low))))
    arrows = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    return _colors(cmap, low, high, scores.distance), low, high, arrows[beyond]


def _colors(cmap: Any, low: float, high: float, distance: bool) -> Any:
    """The requested colormap, or viridis, or for scores far below zero a diverging one with white at zero.

    Distances get it reversed, so that similar pairs are as bright or red as in a matrix of similarities.
    """
    require_matplotlib()
    import matplotlib
    from matplotlib.colors import Colormap, ListedColormap

    if isinstance(cmap, Colormap):
        return cmap.with_extremes(bad=_UNDEFINED)
    if cmap is not None and cmap not in matplotlib.colormaps:
        raise ValueError(f"matplotlib has no colormap {cmap!r}; it has viridis, cividis, gray and RdBu_r.")
    if cmap is not None or not color_scale.is_diverging(low, high):
        return matplotlib.colormaps[cmap or ("viridis_r" if distance else "viridis")].with_extremes(bad=_UNDEFINED)
    reach = max(-low, high)
    sampled = np.linspace(0.5 + low / (2 * reach), 0.5 + high / (2 * reach), 256)
    return ListedColormap(matplotlib.colormaps["RdBu" if distance else "RdBu_r"](sampled)).with_extremes(bad=_UNDEFINED)


def draw(axes: "Axes", cells: Cells, colors: Any, low: float, high: float, pitch: float | None) -> Any:
    """Draw the cells with their texts and marks; `pitch` is their side in inches, or None if unknown."""
    values, (rows, columns) = cells.values, cells.values.shape
    how: dict[str, Any] = {"aspect": "auto", "interpolation": "nearest"}
    image = axes.imshow(values, cmap=colors, vmin=low, vmax=high, **how)
    if cells.faded.any():
        veil = np.ones((rows, columns, 4))
        veil[..., 3] = 0.75 * cells.faded
        axes.imshow(veil, **how)
    if max(rows, columns) <= 40:
        axes.set_xticks(np.arange(columns - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(rows - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.0 if max(rows, columns) <= _PRINT_UP_TO else 0.5)
    axes.tick_params(which="both", length=0)
    bare(axes)
    _mark(axes, cells, 6.0 if pitch is None else float(np.clip(pitch * 72 * 0.45, 1.0, 6.0)))
    if cells.printed:
        _print_scores(axes, cells, image)
    return image


def _mark(axes: "Axes", cells: Cells, size: float) -> None:
    """Hatch undefined cells, and mark starred, faded and negative ones that have no text to show it."""
    from matplotlib.collections import PolyCollection
    from matplotlib.patheffects import withStroke

    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    blank = [corners + place[::-1] for place in np.argwhere(cells.undefined)]
    axes.add_collection(PolyCollection(blank, facecolors="none", edgecolors=GRAY, linewidths=0, hatch="////"))
    if not cells.printed:
        for marker, marked in (("x", cells.faded), ("_", cells.negative)):
            where = np.argwhere(marked & ~cells.starred)
            edge = {
                "markersize": size,
                "markeredgewidth": 0.7,
                "path_effects": [withStroke(linewidth=2, foreground="w")],
            }
            axes.plot(where[:, 1], where[:, 0], marker, color=INK, linestyle="", **edge)
    for faded, fill, edge in ((False, INK, "white"), (True, "white", INK)):
        where = np.argwhere(cells.starred & (cells.faded == faded)) + ([-0.3, 0.3] if cells.printed else [0.0, 0.0])
        (line,) = axes.plot(where[:, 1], where[:, 0], "*", color=fill, markersize=9 if cells.printed else size * 1.8)
        line.set(markeredgecolor=edge, markeredgewidth=0.6)


def _print_scores(axes: "Axes", cells: Cells, image: Any) -> None:
    for (row, column), value in np.ndenumerate(cells.values):
        known, faded = np.isfinite(value), cells.faded[row, column]
        dark = known and not faded and _lightness(image.cmap(image.norm(value))) < 0.55
        text = f"{value:.2f}".replace("-", "\N{MINUS SIGN}") if known else "n/a"
        how: dict[str, Any] = {"ha": "center", "color": "white" if dark else "0.35" if faded else INK}
        detail = str(cells.detail[row, column])
        axes.text(column, row - (0.02 if detail else 0), text, va="bottom" if detail else "center", fontsize=7.5, **how)
        if detail:
            axes.text(column, row + 0.06, detail, va="top", fontsize=5.5, **how)


def _lightness(color: tuple[float, ...]) -> float:
    red, green, blue, *_ = color
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _beyond(scores) -> str:
    """The part of the null hypothesis that strata of permutations add."""
    return " beyond that of strata" if "strata=" in (scores.provenance.scheme or "") else ""
