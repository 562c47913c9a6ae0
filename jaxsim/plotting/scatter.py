"""Networks and images as points in the plane."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jaxsim import measures
from jaxsim.plotting.canvas import (
    COLORS,
    INK,
    bare,
    colors_of,
    expect,
    legend,
    new_figure,
    place,
    shown,
    text_width,
    wrapped,
)
from jaxsim.results import Affinity, Maps, Resamples, on_host
from jaxsim.taxonomy import classical_scaling, one_minus

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 4.0
"""Inches of the plane."""
FONT = 6.5
"""Points of the names."""


def mds(
    found: Affinity | Resamples | Maps,
    network: str | None = None,
    *,
    groups: Mapping[str, str] | None = None,
    ax: "Axes | None" = None,
    title: str | None = None,
) -> "Figure":
    """Draw networks, or the images of one network's map, as points: close points are similar (classical scaling).

    Distances between networks are 1 - S. Entries of a map are treated as distances, negative ones (crossnobis) as zero.
    A map with a diagonal, such as a kernel, gives distances in its feature space. A note below says how well distances
    on the page agree with the true ones. Names are shown where there is room.

    Args:
        found: a square matrix of similarities, full-sample scores of resamples, or maps.
        network: the network whose map to draw; needed if there are several maps.
        groups: group by network or image id, for colors and legend.
        ax: matplotlib axes to draw in; a new figure by default.
        title: text above; by default the measure and the number of points.

    Raises:
        TypeError: `found` is not such a record.
        ValueError: there is no such network, scores are of two sets or undefined, or a point has no group.
        ImportError: matplotlib is not installed.

    Example:
        >>> import jaxsim as js
        >>> figure = mds(js.affinity(js.demo.features(50), "rsa"))
        >>> len(figure.axes[0].texts)
        12
    """
    expect(found, (Affinity, Resamples, Maps), "mds", "js.affinity and js.maps make them")
    names, distances = _of_images(found, network) if isinstance(found, Maps) else _of_networks(found, network)
    points = classical_scaling(distances, min(2, len(names)))
    points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    measure = measures.title_of(found.provenance.measure) or found.provenance.measure
    if title is None:
        title = f"{measure}, {len(names)} networks" if network is None and not isinstance(found, Maps) else ""
        title = title or f"{network or found.names[0]}: {len(names)} images, {measure}"
    kinds = {} if groups is None else {name: _group(groups, name) for name in names}
    colors = colors_of(kinds.values())
    title = wrapped(title, SIDE)
    if ax is None:
        top = 0.2 + 0.15 * len(title.splitlines()) + 0.2 * -(-len(colors) // 4)
        ax = place(new_figure(SIDE + 0.8, SIDE + 0.55 + top), 0.4, 0.55, SIDE, SIDE)
    for kind in colors or (None,):
        some = np.array([kind is None or kinds[name] == kind for name in names])
        ax.plot(*points[some].T, "o", color=COLORS[0] if kind is None else colors[kind], markersize=5, alpha=0.85)
    half = 0.58 * max(np.ptp(points, 0).max(), 1e-9)
    middle = (points.max(0) + points.min(0)) / 2
    ax.set_xlim(middle[0] - half, middle[0] + half)
    ax.set_ylim(middle[1] - half, middle[1] + half)
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    bare(ax)
    _label(ax, shown(names), points)
    ax.set_xlabel(_caption(points, distances), fontsize=7, color=INK)
    if colors:
        legend(ax, list(colors), columns=4, title=title)
    else:
        ax.set_title(title, fontsize=9, loc="left", color=INK, parse_math=False)
    figure = ax.get_figure(root=True)
    assert figure is not None
    return figure


def _of_networks(found: Affinity | Resamples, network: str | None) -> tuple[tuple[str, ...], np.ndarray]:
    if network is not None:
        raise ValueError(f"network={network!r} names a map, and these are scores; leave it out.")
    if not found.square:
        raise ValueError("mds draws scores of one set of networks, not of two.")
    values = on_host(found.estimate if isinstance(found, Resamples) else found.values).astype(float)
    if not np.isfinite(values).all():
        bad = [name for name, row in zip(found.names, values, strict=True) if not np.isfinite(row).any()]
        raise ValueError(f"some scores are undefined{f', all of {bad[0]!r}' * bool(bad)}; leave those networks out.")
    if found.distance:
        np.fill_diagonal(values, 0)
        return found.names, values
    from scipy.spatial.distance import squareform

    return found.names, squareform(one_minus(values))


def _of_images(found: Maps, network: str | None) -> tuple[tuple[str, ...], np.ndarray]:
    if network is None and len(found.names) > 1:
        raise ValueError(f"name the network whose images to draw: {', '.join(shown(found.names[:10]))}.")
    if network is not None and network not in found.names:
        raise ValueError(f"there is no map of {network!r}; there are {', '.join(shown(found.names[:10]))}.")
    m = on_host(found.values).astype(float)[0 if network is None else found.names.index(network)]
    own = np.diagonal(m)
    if np.abs(own).max() > 1e-5 * np.abs(m).max():  # a kernel
        m = np.sqrt(np.maximum(own[:, None] + own - 2 * m, 0))
    return found.ids or tuple(map(str, range(len(m)))), np.maximum(m, 0)


def _group(groups: Mapping[str, str], name: str) -> str:
    if name not in groups:
        raise ValueError(f"groups has no group for {name!r}.")
    return str(groups[name])


def _label(axes: "Axes", names: list[str], points: np.ndarray) -> None:
    """Write the names next to their points, at the first of four positions clear of points and other names."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    dots = axes.transData.transform(points) / figure.dpi
    window = axes.get_window_extent()
    low, high = np.array([window.x0, window.y0]) / figure.dpi, np.array([window.x1, window.y1]) / figure.dpi
    taken = np.concatenate([dots - 0.03, dots + 0.03], 1)
    for name, point, dot in zip(names, points, dots, strict=True):
        size = np.array([text_width([name], FONT), 1.2 * FONT / 72])
        for right, up in ((1, 1), (1, 0), (0, 1), (0, 0)):
            corner = dot + np.where([right, up], 0.04, -0.04 - size)
            box = np.concatenate([corner, corner + size])
            meets = (box[:2] < taken[:, 2:]).all(1) & (taken[:, :2] < box[2:]).all(1)
            if not meets.any() and (box[:2] > low - 0.3).all() and (box[2:] < high + 0.3).all():
                how = {"ha": "left" if right else "right", "va": "bottom" if up else "top", "fontsize": FONT}
                shift = tuple(72 * np.where([right, up], 0.04, -0.04))
                axes.annotate(name, point, shift, textcoords="offset points", color=INK, parse_math=False, **how)
                taken = np.concatenate([taken, box[None]])
                break


def _caption(points: np.ndarray, distances: np.ndarray) -> str:
    pairs = np.triu_indices(len(points), 1)
    made, given = np.linalg.norm(points[:, None] - points, axis=-1)[pairs], distances[pairs]
    if len(made) < 3 or made.std() == 0 or given.std() == 0:
        return "classical scaling"
    agreement = np.corrcoef(made, given)[0, 1]
    return f"classical scaling; distances here correlate {agreement:.2f} with the dissimilarities"
