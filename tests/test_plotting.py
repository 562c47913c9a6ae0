"""Pictures: what they show, that nothing is clipped or overlaps, and what they refuse."""

import dataclasses
import functools
import sys

import numpy as np
import pytest

from jaxsim import plotting, taxonomy
from jaxsim.evaluation import evaluate
from jaxsim.results import Affinity, Provenance, Resamples

pytest.importorskip("matplotlib")

LONG = "a_very_long_name_of_a_network.stage_3.block_11"


def affinity(count, *, negative=False, measure="RSA", names=None):
    rng = np.random.default_rng(count)
    x = rng.standard_normal((count, 20)) + (0.0 if negative else 1.0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    names = names or tuple(f"net_{i:02d}" for i in range(count))
    scores = np.sum(x[:, None] * x[None], axis=-1)
    images = np.full(scores.shape, 50)
    return Affinity(scores, images, names, names, Provenance(measure, "float64", "cpu"))


def rectangle(rows, columns):
    scores = np.random.default_rng(0).random((rows, columns))
    names, targets = (tuple(f"{k}{i}" for i in range(n)) for k, n in (("s", rows), ("t", columns)))
    return Affinity(scores, np.full(scores.shape, 9), names, targets, Provenance("", "float64", "cpu"))


def resampled(base, count=200):
    values = base.values + 0.05 * np.random.default_rng(1).standard_normal((count, *base.values.shape))
    given = (base.names, base.targets, base.provenance, "bayesian-bootstrap", 50)
    return Resamples(values, base.values, *given, against=base.against)


def with_support(count):
    base = affinity(count)
    return taxonomy.branch_support(taxonomy.tree(base), np.stack([base.values] * 4))


def texts(figure):
    from matplotlib.text import Text

    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]


@functools.cache
def drawn(name):
    figure = FIGURES[name]()
    return figure, extents(figure)


def extents(figure):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    # An axis keeps the labels of ticks outside its limits, undrawn, in the tree of artists: leave them out.
    renderer = canvas.get_renderer()
    ticks = [t for a in figure.axes for axis in (a.xaxis, a.yaxis) for t in axis._update_ticks()]
    labels = {id(label) for t in ticks for label in (t.label1, t.label2)}
    every = {
        id(label)
        for a in figure.axes
        for axis in (a.xaxis, a.yaxis)
        for t in (*axis.majorTicks, *axis.minorTicks)
        for label in (t.label1, t.label2)
    }
    hidden = every - labels | {id(t) for a in figure.axes if not a.axison for t in a.findobj() if id(t) in every}
    return [(t.get_text(), t.get_window_extent(renderer)) for t in texts(figure) if id(t) not in hidden]


FIGURES = {
    **{
        f"heatmap {n}": (lambda n=n: plotting.affinity_heatmap(a := affinity(n), taxonomy.tree(a)))
        for n in (2, 3, 8, 12, 13, 40, 100)
    },
    "heatmap of negative scores": lambda: plotting.affinity_heatmap(affinity(8, negative=True)),
    "heatmap without tree": lambda: plotting.affinity_heatmap(affinity(5, measure="a long formula " * 5)),
    "heatmap of one": lambda: plotting.affinity_heatmap(affinity(1)),
    "heatmap 3 x 30": lambda: plotting.affinity_heatmap(rectangle(3, 30)),
    "heatmap 30 x 3": lambda: plotting.affinity_heatmap(rectangle(30, 3)),
    "heatmap of long names": lambda: plotting.affinity_heatmap(affinity(3, names=(LONG, LONG + "2", "c"))),
    **{f"ranking {n}": (lambda n=n: plotting.ranking(resampled(affinity(n)), "net_01")) for n in (2, 8, 60)},
    "ranking of long names": lambda: plotting.ranking(resampled(affinity(3, names=("a", LONG, "c"))), "a"),
    **{f"dendrogram {n}": (lambda n=n: plotting.dendrogram(taxonomy.tree(affinity(n)))) for n in (2, 9, 100)},
    "dendrogram with support": lambda: plotting.dendrogram(with_support(15)),
    "correlations": lambda: plotting.column_correlations(agreements(("RSA", "CKA", "DDS"))),
    "correlations of one": lambda: plotting.column_correlations(agreements(("RSA",))),
    "correlations of seven": lambda: plotting.column_correlations(agreements(tuple("abcdefg"))),
}


def agreements(labels):
    truth = affinity(9)
    rng = np.random.default_rng(0)
    made = {}
    for label in labels:
        noisy = truth.values + 0.2 * rng.standard_normal(truth.values.shape)
        noisy = Affinity(noisy, None, truth.names, truth.targets, truth.provenance)
        made[label] = evaluate(noisy, truth, diagonal=False)
    return made


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_clipped(name):
    figure, boxes = drawn(name)
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in boxes:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text


@pytest.mark.parametrize("name", [n for n in FIGURES if not n.startswith("dendrogram")])
def test_no_texts_overlap(name):
    _, boxes = drawn(name)
    for i, (first, a) in enumerate(boxes):
        for second, b in boxes[i + 1 :]:
            across, up = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            assert min(across, up) <= 1.0, (first, second)


@pytest.mark.parametrize("name", [n for n in FIGURES if n.startswith("dendrogram")])
def test_names_of_leaves_do_not_overlap(name):
    boxes = sorted((b.y0, b.y1) for text, b in drawn(name)[1] if text.startswith("net_"))
    assert boxes
    assert all(below[1] <= above[0] + 1.0 for below, above in zip(boxes, boxes[1:], strict=False))


@pytest.mark.parametrize(("count", "printed"), [(12, 144), (13, 0)])
def test_scores_are_printed_in_small_matrices_only(count, printed):
    base = affinity(count)
    axes = plotting.affinity_heatmap(base).axes[0]
    assert len(axes.texts) == printed
    assert {t.get_text() for t in axes.texts} <= {f"{v:.2f}" for v in base.values.ravel()}


def test_a_notebook_shows_a_figure_without_pyplot():
    shown = plotting.contact_sheet(np.zeros((2, 8, 8, 3), np.uint8))._repr_png_()
    assert shown.startswith(b"\x89PNG")


def test_heatmap_is_in_the_order_of_the_tree():
    base = affinity(9)
    tree = taxonomy.tree(base)
    axes = plotting.affinity_heatmap(base, tree).axes[0]
    labels = [t.get_text() for t in axes.get_yticklabels()]
    assert labels == [base.names[i] for i in tree.order]
    assert labels != list(base.names)
    shown = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(shown, base.values[np.ix_(tree.order, tree.order)])


def test_colors_span_the_scores_of_different_networks_and_the_bar_names_the_measure():
    base = affinity(6, measure="CKA linear")
    image, bar = plotting.affinity_heatmap(base).axes[0].images[0], plotting.affinity_heatmap(base).axes[1]
    off = base.values[~np.eye(6, dtype=bool)]
    np.testing.assert_allclose(image.get_clim(), (off.min(), off.max()))
    assert bar.get_ylabel() == "CKA linear"
    assert image.cmap.name == "viridis"


def test_zero_is_white_where_negative_scores_matter():
    image = plotting.affinity_heatmap(affinity(8, negative=True)).axes[0].images[0]
    assert min(image.cmap(image.norm(0.0))[:3]) > 0.93
    assert image.cmap(image.norm(image.get_clim()[0]))[2] > image.cmap(image.norm(image.get_clim()[0]))[0]


def test_undefined_scores_are_gray_and_said_so():
    base = affinity(4)
    base.values[0, 1] = base.values[1, 0] = np.nan
    axes, bar = plotting.affinity_heatmap(base).axes
    assert [t.get_text() for t in axes.texts].count("n/a") == 2
    assert "undefined" in bar.get_title(loc="left")
    every = Affinity(np.full((3, 3), np.nan), None, base.names[:3], base.names[:3], base.provenance)
    assert len(plotting.affinity_heatmap(every).axes[0].texts) == 9


def test_ranking_is_sorted_and_leaves_the_target_out():
    base = affinity(7)
    axes = plotting.ranking(resampled(base), "net_03", level=0.8).axes[0]
    names = [t.get_text() for t in axes.get_yticklabels()]
    assert names == [name for name, _ in base.ranking("net_03")]
    assert "80 % intervals: bayesian-bootstrap, 200 resamples" in axes.get_xlabel()
    shares = [t.get_text() for t in axes.texts[:-1]]
    assert len(shares) == 6
    assert shares[0] != "0 %"


def test_ranking_of_two_sets_keeps_a_source_of_the_targets_name():
    base = dataclasses.replace(affinity(7), against=True)
    axes = plotting.ranking(resampled(base), "net_03").axes[0]
    names = [t.get_text() for t in axes.get_yticklabels()]
    assert names == [name for name, _ in base.ranking("net_03")]
    assert names[0] == "net_03"


def test_support_is_printed_for_every_branch_but_the_root():
    axes = plotting.dendrogram(with_support(10)).axes[0]
    assert [t.get_text() for t in axes.texts] == ["100"] * 8


def test_mean_is_the_last_line_of_the_correlations():
    made = agreements(("RSA", "CKA"))
    axes = plotting.column_correlations(made).axes[0]
    assert axes.get_yticklabels()[-1].get_text() == "mean"
    means = [line.get_xdata()[-1] for line in axes.lines if line.get_label() in made]
    np.testing.assert_allclose(means, [a.mean for a in made.values()])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: plotting.affinity_heatmap(rectangle(2, 3), taxonomy.tree(affinity(2))),
            ValueError,
            "(2, 3)",
        ),
        (
            lambda: plotting.affinity_heatmap(affinity(3), taxonomy.tree(affinity(4))),
            ValueError,
            "different networks",
        ),
        (lambda: plotting.ranking(resampled(affinity(3)), "depth"), ValueError, "depth"),
        (lambda: plotting.column_correlations({}), ValueError, "no agreement"),
    ],
)
def test_refuses(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)


def test_correlations_of_different_targets_are_refused():
    made = agreements(("RSA",))
    truth = affinity(5)
    with pytest.raises(ValueError, match="CKA was evaluated on other targets than RSA"):
        plotting.column_correlations(made | {"CKA": evaluate(truth, truth, diagonal=False)})


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_saves_whole_and_never_over_an_existing_file(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    figure = plotting.affinity_heatmap(affinity(3))
    assert plotting.save_figure(figure, path) == path
    before = path.read_bytes()
    assert len(before) > 1000
    with pytest.raises(FileExistsError):
        plotting.save_figure(figure, path)
    assert path.read_bytes() == before
    plotting.save_figure(figure, path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_unknown_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'\.docx'"):
        plotting.save_figure(plotting.affinity_heatmap(affinity(2)), tmp_path / "a.docx")
    assert not list(tmp_path.iterdir())


def test_no_state_of_pyplot_is_touched():
    before = "matplotlib.pyplot" in sys.modules
    plotting.affinity_heatmap(affinity(3))
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_missing_matplotlib_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.font_manager", None)
    with pytest.raises(ImportError, match=r"jaxsim-similarity\[plot\]"):
        plotting.affinity_heatmap(affinity(3))


def test_the_four_groups_keep_their_colors():
    from jaxsim.plotting.canvas import COLORS, colors_of

    whole = colors_of(["2d", "3d", "geometric", "semantic"])
    assert list(whole.values()) == list(COLORS[:4])
    assert colors_of(["semantic", "2d", "semantic"]) == {"semantic": COLORS[3], "2d": COLORS[0]}
    assert colors_of(["x", "y", "x"]) == {"x": COLORS[0], "y": COLORS[1]}
    assert len(set(colors_of(["2d", "x", "3d", "y"]).values())) == 4
