"""Pictures: what they show, that nothing is clipped or overlaps, and what they refuse."""

import dataclasses
import functools
import sys

import numpy as np
import pytest
from marks import slow_but

from jaxsim import measures, plotting, taxonomy
from jaxsim.evaluation import evaluate
from jaxsim.plotting import canvas
from jaxsim.results import Affinity, Maps, Provenance, Resamples

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
    "heatmap of intervals": lambda: plotting.affinity_heatmap(resampled(affinity(8, negative=True))),
    "heatmap of many intervals": lambda: plotting.affinity_heatmap(resampled(affinity(20, negative=True))),
    "ranking of all": lambda: plotting.ranking(resampled(affinity(5))),
    "ranking of groups": lambda: plotting.ranking(
        dataclasses.replace(resampled(affinity(3, negative=True), 1000), groups=12, groups_drawn=12)
    ),
    "heatmap of long names": lambda: plotting.affinity_heatmap(affinity(3, names=(LONG, LONG + "2", "c"))),
    **{f"ranking {n}": (lambda n=n: plotting.ranking(resampled(affinity(n)), "net_01")) for n in (2, 8, 60)},
    "ranking of long names": lambda: plotting.ranking(resampled(affinity(3, names=("a", LONG, "c"))), "a"),
    **{f"dendrogram {n}": (lambda n=n: plotting.dendrogram(taxonomy.tree(affinity(n)))) for n in (2, 9, 100)},
    "dendrogram with support": lambda: plotting.dendrogram(with_support(15)),
    "correlations": lambda: plotting.column_correlations(agreements(("RSA", "CKA", "DDS"))),
    "correlations of one": lambda: plotting.column_correlations(agreements(("RSA",))),
    "correlations of seven": lambda: plotting.column_correlations(agreements(tuple("abcdefg"))),
    **{f"mds {n}": (lambda n=n: plotting.mds(affinity(n))) for n in (1, 2, 20, 150)},
    "mds of grouped images": lambda: plotting.mds(maps(30, ("it",)), groups={f"i{k}": "abc"[k % 3] for k in range(30)}),
    **{f"maps {n}": (lambda n=n: plotting.map_panels(maps(9, tuple(f"{LONG}{k}" for k in range(n))))) for n in (1, 7)},
}


def maps(images, names=("it", "v1")):
    x = np.random.default_rng(images).standard_normal((len(names), images, 5))
    values = np.linalg.norm(x[:, :, None] - x[:, None], axis=-1)
    return Maps.from_array(values, names, ids=[f"i{k}" for k in range(images)], measure="rsa")


def agreements(labels):
    truth = affinity(9)
    rng = np.random.default_rng(0)
    made = {}
    for label in labels:
        noisy = truth.values + 0.2 * rng.standard_normal(truth.values.shape)
        noisy = Affinity(noisy, None, truth.names, truth.targets, truth.provenance)
        made[label] = evaluate(noisy, truth, diagonal=False)
    return made


LARGE = ["heatmap 40", "heatmap 100", "heatmap of many intervals", "ranking 60", "dendrogram 100", "mds 150"]
"""Take longest to draw."""


@pytest.mark.parametrize("name", slow_but(set(FIGURES) - set(LARGE), FIGURES))
def test_no_text_is_clipped(name):
    figure, boxes = drawn(name)
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in boxes:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text


@pytest.mark.parametrize(
    "name", [one for one in slow_but(set(FIGURES) - set(LARGE), FIGURES) if "dendrogram" not in str(one)]
)
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


def clim(base, **options):
    return plotting.affinity_heatmap(base, **options).axes[0].images[0].get_clim()


@pytest.mark.parametrize(
    ("measure", "title"),
    [("cka-linear", "linear CKA, unbiased"), ("RSA", "RSA"), ("dds-cosine", "DDS, cosine"), ("win rate", "win rate")],
)
def test_the_bar_prints_the_name_of_the_measure(measure, title):
    assert plotting.affinity_heatmap(affinity(6, measure=measure)).axes[1].get_ylabel() == title


def test_every_named_measure_has_a_printed_name():
    assert set(measures.TITLES) == set(measures.NAMED)


def test_colors_go_from_0_to_1_for_our_measures_unless_negative_or_asked():
    assert clim(affinity(6)) == (0, 1)
    negative = affinity(8, negative=True)
    np.testing.assert_allclose(clim(negative), (negative.values.min(), 1))
    assert clim(affinity(6), vmin=0.2, vmax=0.9) == (0.2, 0.9)


def test_distances_are_drawn_from_0_in_reversed_colors_and_said_so():
    made = Affinity.from_array([[0.0, 3.0], [3.0, 0.0]], ["a", "b"], measure="rsa", distance=True)
    figure = plotting.affinity_heatmap(made)
    image = figure.axes[0].images[0]
    assert (image.get_clim(), image.get_cmap().name) == ((0.0, 3.0), "viridis_r")
    assert figure.axes[1].get_ylabel().replace("\n", " ") == "RSA: distance, lower is more similar"


def test_colors_of_other_numbers_span_them_the_diagonal_of_a_large_matrix_left_out():
    small, large = (dataclasses.replace(affinity(n, measure="win rate")) for n in (6, 40))
    np.testing.assert_allclose(clim(small), (small.values.min(), small.values.max()))
    off = large.values[~np.eye(40, dtype=bool)]
    np.testing.assert_allclose(clim(large), (off.min(), off.max()))


@pytest.mark.parametrize("count", [2, 40])
def test_equal_names_in_two_sets_are_not_self(count):
    base = affinity(count, measure="win rate")
    values = np.full((count, count), 0.01)
    values[0, 0] = 0.92
    two = dataclasses.replace(base, values=values, against=True)
    image = plotting.affinity_heatmap(two).axes[0].images[0]
    assert image.get_clim() == (0.01, 0.92)
    assert image.cmap(image.norm(0.92)) != image.cmap(image.norm(0.5))


def test_two_sets_have_axis_titles_and_one_has_none():
    axes = plotting.affinity_heatmap(rectangle(3, 4)).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("target", "source")
    axes = plotting.affinity_heatmap(rectangle(3, 4), xlabel="vit", ylabel="resnet", title="layers").axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left")) == ("vit", "resnet", "layers")
    axes = plotting.affinity_heatmap(affinity(3)).axes[0]
    assert (axes.get_xlabel(), axes.get_title(loc="left")) == ("", "3 networks, 50 images")


def test_order_is_that_asked_for_and_must_be_whole():
    base = affinity(3)
    axes = plotting.affinity_heatmap(base, order=["net_02", "net_00", "net_01"], annotate=False).axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["net_02", "net_00", "net_01"]
    np.testing.assert_array_equal(axes.images[0].get_array(), base.values[np.ix_([2, 0, 1], [2, 0, 1])])
    assert not axes.texts
    two = plotting.affinity_heatmap(rectangle(2, 2), order=(["s1", "s0"], ["t0", "t1"])).axes[0]
    np.testing.assert_array_equal(two.images[0].get_array(), rectangle(2, 2).values[::-1])
    with pytest.raises(ValueError, match="missing or repeated: net_02"):
        plotting.affinity_heatmap(base, order=["net_00", "net_01"])


def test_resamples_have_intervals_in_the_cells_and_fade_where_these_hold_zero():
    base = affinity(3)
    values = np.array(base.values)
    values[0, 1] = values[1, 0] = 0.02
    drawn = resampled(dataclasses.replace(base, values=values))
    figure = drawn.plot()
    printed = [t.get_text() for t in figure.axes[0].texts]
    low, high = np.asarray(drawn.interval())[:, 0, 2]
    assert f"[{low:.2f}, {high:.2f}]" in printed
    veil = figure.axes[0].images[1].get_array()[..., 3]
    np.testing.assert_array_equal(veil > 0, [[False, True, False], [True, False, False], [False] * 3])
    assert any("interval holds zero" in t.get_text() for t in figure.texts)


def test_permutations_have_p_values_in_the_cells():
    drawn = dataclasses.replace(resampled(affinity(3)), kind="permutation")
    printed = [t.get_text() for t in plotting.affinity_heatmap(drawn).axes[0].texts]
    assert sum(text.startswith("p ") for text in printed) == 6


def test_the_recommendation_is_starred_and_named_below():
    figure = plotting.affinity_heatmap(rectangle(3, 2), stars={"t1": "s2"})
    star, hollow = (line for line in figure.axes[0].lines if line.get_marker() == "*")
    assert not len(hollow.get_xdata())
    assert (round(star.get_xdata()[0]), round(star.get_ydata()[0])) == (1, 2)
    assert any("recommended" in t.get_text() for t in figure.texts)


def test_a_recommendation_whose_interval_holds_zero_is_hollow_and_said_to_be_no_finding():
    base = rectangle(3, 2)
    ends = np.stack([base.values - 0.01, base.values + 0.01])
    ends[0, 2, 1] = -1
    figure = plotting.affinity_heatmap(base, interval=ends, stars={"t1": "s2", "t0": "s0"})
    full, hollow = (line for line in figure.axes[0].lines if line.get_marker() == "*")
    assert [round(x) for x in full.get_xdata()] == [0]
    assert [round(x) for x in hollow.get_xdata()] == [1]
    assert any("hollow: but no finding" in t.get_text() for t in figure.texts)


def test_everything_draws_in_given_axes():
    from matplotlib.figure import Figure

    axes = Figure((12, 18)).subplots(3, 2)
    plotting.mds(base := affinity(3), ax=axes[2, 0])
    axes[2, 1].remove()
    plotting.affinity_heatmap(resampled(base), taxonomy.tree(base), ax=axes[0, 0])
    plotting.dendrogram(taxonomy.tree(base), ax=axes[0, 1])
    plotting.ranking(resampled(base), "net_01", ax=axes[1, 0])
    figure = plotting.column_correlations(agreements(("RSA",)), ax=axes[1, 1])
    assert figure is axes[0, 0].figure
    assert len(figure.axes) == 6
    assert axes[0, 0].images
    assert len(axes[2, 0].texts) == 3
    assert all(one.get_yticklabels() for one in axes[:2].ravel())


def test_ranking_without_a_target_has_a_panel_for_each_on_one_scale():
    axes = plotting.ranking(resampled(affinity(5))).axes
    assert [one.get_title(loc="left") for one in axes] == [f"sources for net_{i:02d}" for i in range(5)]
    assert len({one.get_xlim() for one in axes}) == 1
    assert len({len(one.lines) for one in axes}) == 1


def test_panels_of_a_ranking_share_one_caption():
    base = affinity(5)
    values = np.array(base.values)
    values[0, 1] = values[1, 0] = 0.01  # hollow in two panels of five
    made = resampled(dataclasses.replace(base, values=values))
    figure = plotting.ranking(made)
    assert not any(one.get_xlabel() for one in figure.axes)
    (caption,) = [text.get_text() for text in figure.texts]
    assert caption.split() == plotting.ranking(made, "net_01").axes[0].get_xlabel().split()
    assert caption.endswith("\nhollow: the interval holds zero")


def test_ranking_is_hollow_where_the_interval_holds_zero():
    base = affinity(3)
    values = np.array(base.values)
    values[0, 1] = 0.01
    axes = plotting.ranking(resampled(dataclasses.replace(base, values=values)), "net_01").axes[0]
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert [list(line.get_xdata()) for line in hollow] == [[0.01]]
    assert axes.get_xlabel().endswith("hollow: the interval holds zero")


def test_scores_without_an_interval_are_not_said_to_hold_zero():
    r = resampled(affinity(3))
    r.values[4, 0, 1] = r.values[4, 1, 0] = np.nan
    assert plotting.ranking(r, "net_01").axes[0].get_xlabel().endswith("holds zero, or there is none")
    figure = plotting.affinity_heatmap(r)
    assert sum(t.get_text().endswith("no interval") for t in figure.axes[0].texts) == 2
    assert any("holds zero or is not known" in " ".join(t.get_text().split()) for t in figure.texts)


def test_names_are_escaped_and_shortened():
    names = ("a\x1b[31m", "b" * 100_000, "$c_1$")
    axes = plotting.affinity_heatmap(affinity(3, names=names)).axes[0]
    labels = [t.get_text() for t in axes.get_yticklabels()]
    assert labels[0] == "a\\x1b[31m"
    assert len(labels[1]) == 60
    assert labels[2] == "$c_1$"


def test_no_series_is_left_out_of_the_legend_or_looks_like_another():
    made = agreements(("_rsa", "$a$", *"cdefgh"))
    axes = plotting.column_correlations(made).axes[0]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == list(made)
    assert len({(line.get_marker(), line.get_color()) for line in axes.lines if line.get_marker() != "None"}) == 8


def test_support_touches_no_branch_and_no_other_number():
    base = affinity(25)
    tree = taxonomy.branch_support(taxonomy.tree(base), np.stack([base.values] * 4))
    figure = plotting.dendrogram(tree)
    extents(figure)
    axes = figure.axes[0]
    boxes = [t.get_window_extent() for t in axes.texts]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        for line in axes.lines:
            corners = axes.transData.transform(np.stack(line.get_data(), -1))
            for (x0, y0), (x1, y1) in zip(corners, corners[1:], strict=False):
                apart = max(x0, x1) < box.x0 or min(x0, x1) > box.x1 or max(y0, y1) < box.y0 or min(y0, y1) > box.y1
                assert apart, (box, x0, x1, y0, y1)


def test_zero_is_white_where_negative_scores_matter():
    image = plotting.affinity_heatmap(affinity(8, negative=True)).axes[0].images[0]
    assert min(image.cmap(image.norm(0.0))[:3]) > 0.93
    assert image.cmap(image.norm(image.get_clim()[0]))[2] > image.cmap(image.norm(image.get_clim()[0]))[0]


def test_undefined_scores_are_hatched_and_said_so():
    base = affinity(4)
    base.values[0, 1] = base.values[1, 0] = np.nan
    figure = plotting.affinity_heatmap(base)
    assert [t.get_text() for t in figure.axes[0].texts].count("n/a") == 2
    assert "hatched: undefined" in [t.get_text() for t in figure.texts]
    (hatched,) = figure.axes[0].collections
    assert hatched.get_hatch()
    assert hatched.get_alpha() is None
    assert len(hatched.get_paths()) == 2
    every = Affinity(np.full((3, 3), np.nan), None, base.names[:3], base.names[:3], base.provenance)
    assert len(plotting.affinity_heatmap(every).axes[0].texts) == 9


def test_ranking_is_sorted_and_leaves_the_target_out():
    base = affinity(8)
    axes = plotting.ranking(resampled(base), "net_03", level=0.8).axes[0]
    names = [t.get_text() for t in axes.get_yticklabels()]
    assert names == [name for name, _ in base.ranking("net_03")]
    assert "80 % intervals: bayesian-bootstrap, 200 resamples" in axes.get_xlabel()
    shares = [t.get_text() for t in axes.texts[:-1]]
    assert len(shares) == 7
    assert shares[0] != "0 %"


def test_ranking_of_two_sets_keeps_a_source_of_the_targets_name():
    base = dataclasses.replace(affinity(8), against=True)
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
        (lambda: plotting.column_correlations(agreements("a")["a"]), TypeError, "not Agreement; give {"),
        (lambda: plotting.precision_recall({}), ValueError, "no agreement"),
        (lambda: plotting.precision_recall({"a": 3}), TypeError, "draws Agreement, not int; give {"),
        (lambda: plotting.affinity_heatmap(np.eye(3)), TypeError, "draws Affinity or Resamples, not ndarray; "),
        (lambda: plotting.affinity_heatmap(affinity(3), "net_01"), TypeError, "draws Tree, not str"),
        (lambda: plotting.ranking(affinity(3)), TypeError, "ranking draws Resamples, not Affinity; js.resample"),
        (lambda: plotting.dendrogram(affinity(3)), TypeError, "dendrogram draws Tree, not Affinity"),
        (lambda: plotting.affinity_heatmap(affinity(3), cmap="reds"), ValueError, "no colormap 'reds'"),
        (lambda: plotting.affinity_heatmap(affinity(3), vmin=2), ValueError, "from 2 to 1"),
        (lambda: plotting.affinity_heatmap(affinity(3), stars={"net_01": "b"}), ValueError, "marks 'b'"),
        (lambda: plotting.ranking(resampled(affinity(31))), ValueError, "31 targets are too many"),
        (lambda: plotting.mds(maps(5)), ValueError, "name the network whose images to draw: it, v1."),
        (lambda: plotting.mds(maps(5), "v4"), ValueError, "no map of 'v4'; there are it, v1."),
        (lambda: plotting.mds(affinity(3), "v4"), ValueError, "network='v4' names a map, and these are scores"),
        (lambda: plotting.mds(rectangle(2, 3)), ValueError, "one set of networks, not of two"),
        (lambda: plotting.mds(maps(3, ("it",)), groups={"i0": "a"}), ValueError, "groups has no group for 'i1'"),
        (lambda: plotting.mds(undefined(4)), ValueError, "some scores are undefined, all of 'net_01'"),
        (lambda: plotting.map_panels(affinity(3)), TypeError, "map_panels draws Maps, not Affinity; js.maps"),
        (lambda: plotting.map_panels(maps(3, range(65))), ValueError, "65 maps do not fit on a page"),
        (lambda: plotting.map_panels(maps(3), order=["i0", "i1"]), ValueError, "the 3 ids of the images, each once"),
        (lambda: plotting.map_panels(maps(3), order=3), ValueError, "order must list the ids of the images, not 3"),
        (
            lambda: plotting.map_panels(maps(3), columns=0),
            ValueError,
            "a whole number above zero, not 0",
        ),
        (lambda: plotting.map_panels(maps(3), columns=2.5), ValueError, "a whole number above zero, not 2.5"),
    ],
)
def test_refuses(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)


def undefined(count):
    base = affinity(count)
    values = base.values.copy()
    values[1], values[:, 1] = np.nan, np.nan
    return dataclasses.replace(base, values=values)


def places(figure):
    return np.concatenate([line.get_xydata() for line in figure.axes[0].lines])


def test_points_in_the_plane_are_drawn_where_they_are():
    plane = np.random.default_rng(0).standard_normal((7, 2))
    distances = np.linalg.norm(plane[:, None] - plane[None], axis=-1)
    figure = plotting.mds(Maps.from_array(distances, measure="euclidean"))
    drawn = places(figure)
    np.testing.assert_allclose(np.linalg.norm(drawn[:, None] - drawn[None], axis=-1), distances, atol=1e-6)
    assert "correlate 1.00" in figure.axes[0].get_xlabel()


def test_a_kernel_is_drawn_by_its_features_and_distances_of_networks_as_they_are():
    plane = np.random.default_rng(0).standard_normal((7, 2))
    distances = np.linalg.norm(plane[:, None] - plane[None], axis=-1)
    expected = places(plotting.mds(Maps.from_array(distances)))
    np.testing.assert_allclose(places(plotting.mds(Maps.from_array(plane @ plane.T))), expected, atol=1e-6)
    given = Affinity.from_array(distances, list("abcdefg"), measure="distance", distance=True)
    np.testing.assert_allclose(places(plotting.mds(given)), expected, atol=1e-6)


def test_panels_show_ranks_in_the_order_asked_for_and_gaps_as_such():
    given = maps(4, ("it",))
    values = given.values.copy()
    values[0, 0, 1] = values[0, 1, 0] = np.nan
    figure = plotting.map_panels(dataclasses.replace(given, values=values), order=["i3", "i0", "i1", "i2"])
    drawn = np.asarray(figure.axes[0].images[0].get_array(), float)
    assert np.isnan(np.diagonal(drawn)).all()
    assert np.isnan(drawn[1, 2])
    known = [(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)]
    before = [values[0, (3, 0, 1, 2)[i], (3, 0, 1, 2)[j]] for i, j in known]
    np.testing.assert_allclose([drawn[i, j] for i, j in known], np.argsort(np.argsort(before)) / 4)


def test_panels_of_entries_share_their_colors():
    given = maps(5)
    figure = given.plot(ranks=False)
    assert {axes.images[0].get_clim() for axes in figure.axes[:2]} == {(0.0, given.values.max())}
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), given.values[1])


def test_panels_without_any_entry_are_white():
    given = maps(4)
    figure = plotting.map_panels(dataclasses.replace(given, values=np.full_like(given.values, np.nan)), ranks=False)
    assert np.isnan(np.asarray(figure.axes[0].images[0].get_array(), float)).all()


def test_negative_distances_between_images_count_as_zero():
    given = maps(4, ("it",))
    near = given.values < np.median(given.values)
    signed, zero = (dataclasses.replace(given, values=np.where(near, k * given.values, given.values)) for k in (-1, 0))
    drawn = [plotting.mds(one).axes[0].lines[0].get_xydata() for one in (signed, zero, given)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.allclose(drawn[0], drawn[2])


def test_correlations_of_different_targets_are_refused():
    made = agreements(("RSA",))
    truth = affinity(5)
    with pytest.raises(ValueError, match="CKA was evaluated on different targets than RSA"):
        plotting.column_correlations(made | {"CKA": evaluate(truth, truth, diagonal=False)})


@pytest.mark.parametrize("ending", slow_but(["png"], ["png", "pdf", "svg"]))
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


@pytest.mark.parametrize("name", ["heatmap 3", "ranking 2", "dendrogram 2", "correlations", "mds 2", "maps 1"])
def test_missing_matplotlib_is_one_sentence(name, monkeypatch):
    for module in [one for one in sys.modules if one.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    canvas._notebook_figure.cache_clear()
    with pytest.raises(ImportError, match=r"plots need matplotlib: pip install \"jaxsim-similarity\[plot\]\"."):
        FIGURES[name]()
    canvas._notebook_figure.cache_clear()


def test_the_four_groups_keep_their_colors():
    from jaxsim.plotting.canvas import COLORS, colors_of

    whole = colors_of(["2d", "3d", "geometric", "semantic"])
    assert list(whole.values()) == list(COLORS[:4])
    assert colors_of(["semantic", "2d", "semantic"]) == {"semantic": COLORS[3], "2d": COLORS[0]}
    assert colors_of(["x", "y", "x"]) == {"x": COLORS[0], "y": COLORS[1]}
    assert len(set(colors_of(["2d", "x", "3d", "y"]).values())) == 4


def test_long_and_hostile_names_are_shortened_and_escaped():
    from jaxsim.plotting.canvas import labeled_rows

    figure, axes = labeled_rows(["x" * 100_000, "a\x1b[2J\n", "plain"], 2)
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown[1:] == ["a\\x1b[2J\\n", "plain"]
    assert len(shown[0]) <= 61
    assert figure.get_size_inches()[0] < 10
