"""Maps of images as panels side by side."""

import math
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsim import measures
from jaxsim.plotting.canvas import EDGE, INK, bare, expect, new_figure, place, shown, wrapped
from jaxsim.results import Maps, on_host, plots
from jaxsim.statistics.checks import is_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 64
"""Most panels in a figure."""
LONGEST = 22
"""Most characters above a panel."""
SIDE, SPACE = 1.5, 0.12
"""Side of a panel and space between two panels, in inches."""


@plots(Maps)
def map_panels(
    maps: Maps,
    *,
    order: Sequence[str] | None = None,
    columns: int = 5,
    ranks: bool = True,
    cmap: Any = "viridis",
    title: str | None = None,
) -> "Figure":
    """Draw maps (RDMs, kernels) of networks over the same images, one panel each.

    All panels have the same colors. By default they show ranks of the entries, as rank correlations see them, from 0
    (smallest) to 1 (largest). Entries that are NaN, and the diagonal of ranks, are white.

    Args:
        maps: `(T, n, n)`; up to 64 networks.
        order: ids of all images in another order.
        columns: number of panels in a row.
        ranks: whether to show ranks within each map, or the entries themselves.
        cmap: colormap or its name.
        title: text above; measure and number of images by default, "" for none.

    Raises:
        TypeError: `maps` is not a record of maps.
        ValueError: there are more than 64 networks, `order` does not list the images, or `columns` is not a positive
            number.
        ImportError: matplotlib is not installed.

    Example:
        >>> import numpy as np, jaxsim as js
        >>> made = js.maps({"a": np.eye(6, 4), "b": np.ones((6, 4)).cumsum(0)}, "dds:identity,euclidean")
        >>> [axes.get_title() for axes in map_panels(made).axes[:2]]
        ['a', 'b']
    """
    expect(maps, (Maps,), "map_panels", "js.maps(features, measure) and js.Maps.from_array(rdms) make them")
    values = on_host(maps.values).astype(float)
    if len(values) > MOST:
        raise ValueError(f"{len(values)} maps do not fit on a page; draw up to {MOST} of them.")
    if not is_whole(columns) or columns < 1:
        raise ValueError(f"columns must be a whole number above zero, not {columns!r}.")
    at = _order(maps, order)
    values = values[:, at][:, :, at]
    drawn = np.stack([_ranked(m) for m in values]) if ranks else values
    columns = min(columns, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    measure, count = maps.provenance.measure, drawn.shape[1]
    kind = "maps as given" if measure == "given" else f"maps of {measures.title_of(measure) or measure}"
    text = f"{kind}, {count} images" if title is None else title
    step, wide = SIDE + SPACE, max(columns * (SIDE + SPACE) + 2 * EDGE + 0.6, 3.2)
    text = wrapped(text, wide - 2 * EDGE) if text else ""
    above = 0.12 + 0.17 * len(text.splitlines())
    high = rows * (step + 0.18) + EDGE + above
    figure = new_figure(wide, high)
    known = drawn[np.isfinite(drawn)]
    low, top = (0.0, 1.0) if ranks or not known.size else (float(known.min()), float(known.max()))
    image = None
    for k, (name, panel) in enumerate(zip(_short(shown(maps.names)), drawn, strict=True)):
        row, column = divmod(k, columns)
        axes = place(figure, EDGE + column * step, high - above - (row + 1) * (step + 0.18) + SPACE, SIDE, SIDE)
        image = axes.imshow(panel, cmap=cmap, vmin=low, vmax=top, interpolation="nearest")
        axes.set_title(name, fontsize=8, color=INK, pad=2, parse_math=False)
        axes.set_xticks([])
        axes.set_yticks([])
        bare(axes)
    bar = place(figure, EDGE + columns * step, high - above - step - 0.18 + SPACE, 0.1, SIDE)
    assert image is not None
    colorbar = figure.colorbar(image, cax=bar)
    colorbar.outline.set_visible(False)  # type: ignore[operator]
    bar.tick_params(labelsize=7, colors=INK, length=2)
    bar.set_ylabel("rank of the entry" if ranks else "entry", fontsize=7, color=INK)
    figure.text(EDGE / wide, 1 - 0.06 / high, text, va="top", fontsize=9, color=INK, parse_math=False)
    return figure


def _ranked(m: np.ndarray) -> np.ndarray:
    """Ranks of the entries between different images from 0 to 1, ties averaged; NaN on the diagonal."""
    from scipy.stats import rankdata

    i, j = np.triu_indices(len(m), 1)
    ranks = rankdata(m[i, j], nan_policy="omit")
    found = np.full(m.shape, np.nan)
    found[i, j] = found[j, i] = (ranks - 1) / max(np.isfinite(ranks).sum() - 1, 1)
    return found


def _order(maps: Maps, order: Sequence[str] | None) -> np.ndarray:
    if order is None:
        return np.arange(maps.values.shape[1])
    if isinstance(order, str) or not isinstance(order, Iterable):
        raise ValueError(f"order must list the ids of the images, not {order!r}.")
    ids, order = list(maps.ids or ()), list(map(str, order))
    if sorted(ids) != sorted(order):
        has = f"the {len(ids)} ids of the images" if ids else "ids, which these maps do not have"
        raise ValueError(f"order must hold {has}, each once; it holds {len(order)} ids.")
    return np.array([ids.index(one) for one in order])


def _short(names: Sequence[str]) -> list[str]:
    """Names shortened to a panel's width: leading words that all share are cut first, then the middle.

    >>> _short(["human IT, first subject", "human IT, second subject"])
    ['first subject', 'second subject']
    """
    if len(names) > 1 and max(map(len, names)) > LONGEST:
        start = os.path.commonprefix(list(names))
        cut = max(start.rfind(mark) for mark in " /_") + 1
        names = [name[cut:] for name in names]
    half = LONGEST // 2 - 1
    return [n if len(n) <= LONGEST else f"{n[:half]}\N{HORIZONTAL ELLIPSIS}{n[-half:]}" for n in names]
