"""Sections of a report: what to show of a record, as text and as JSON for the page's script."""

import base64
import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxsim import measures
from jaxsim.io.files import counted, label, printable
from jaxsim.reports.methods import scheme_title
from jaxsim.results import Affinity, Calibration, Resamples, Saved, color_scale, on_host
from jaxsim.results.matrices import Scores
from jaxsim.results.resamples import UNSCORED
from jaxsim.taxonomy import Tree

BINS = 20
"""Number of bins in the histogram of a pair's resamples."""
LONGEST = 200
"""Characters to show of a name; the middle of longer names is left out."""


@dataclasses.dataclass(frozen=True, eq=False)
class Column:
    """Numbers of all pairs.

    Attributes:
        name: short description.
        values: `(S, T)`, NaN for missing values; whole numbers for counts.
        scale: numbers at the lowest and the highest color; None for a column that is not drawn.
        reverse: whether lower numbers are brighter, as for p-values and distances.
    """

    name: str
    values: np.ndarray
    scale: tuple[float, float] | None = None
    reverse: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Section:
    """A part of a report with a heading.

    Attributes:
        title: the heading.
        kind: "matrix", "tree", "models" or "table", the template that shows it.
        text: paragraphs below the heading.
        flags: sentences about what the numbers may not mean.
        content: what the template reads.
        data: JSON that the script of the page reads; None for sections without one.
    """

    title: str
    kind: str
    text: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    content: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data: Mapping[str, Any] | None = None


@functools.singledispatch
def sections(record: Any, *, level: float = 0.95, tree: Tree | None = None) -> list[Section]:
    """Make the sections that show a record; `sections.register` adds kinds of records.

    Args:
        record: a record of results.
        level: confidence level of the intervals.
        tree: a tree of the same networks, whose order the matrix can use.

    Raises:
        TypeError: it is not a record.
    """
    if not isinstance(record, Saved):
        text = f"a report is made from records, such as js.resample returns, not from {type(record).__name__}"
        apart = "; give records as separate arguments, js.report(R, A, path=...)" * isinstance(record, list | tuple)
        raise TypeError(f"{text}{apart}.")
    table = record.table()
    notes = ((table.note,) if table.note else ()) + tuple(getattr(getattr(record, "provenance", None), "notes", ()))
    content = {"header": [label(str(c), LONGEST) for c in table.header], "rows": _shown_rows(table.rows)}
    return [Section(label(table.title, LONGEST), "table", notes, tuple(table.flags), content)]


def _lines(text):
    return "\n".join(map(printable, text.split("\n")))


def _shown_rows(rows):
    return [[label(str(cell), LONGEST) for cell in row] for row in rows]


@sections.register
def _of_section(record: Section, *, level: float = 0.95, tree: Tree | None = None) -> list[Section]:
    return [record]


@sections.register
def _of_affinity(record: Affinity, *, level: float = 0.95, tree: Tree | None = None) -> list[Section]:
    values = on_host(record.values).astype(float)
    columns = [Column("score", values, color_scale.ends(values, record), record.distance)]
    for what, counts in (("images", record.images), ("pairs of images", record.pairs)):
        if counts is not None and np.ptp(np.asarray(counts)) > 0:
            columns.append(Column(what, np.asarray(counts)))
    shown = ", ".join(record.counts())
    return [matrix(record, columns, tree=tree, text=(f"{_sides(record)}{f', {shown}' if shown else ''}.",))]


@sections.register
def _of_resamples(
    record: Resamples, *, level: float = 0.95, tree: Tree | None = None, null: Resamples | None = None
) -> list[Section]:
    values, names = on_host(record.estimate).astype(float), f"{100 * level:g} %"
    columns = [Column("score", values, color_scale.ends(values, record), record.distance)]
    for name, found in record.columns(level).items():
        if name == "estimate":
            continue
        numbers = on_host(found)
        what = {"low": f"{names} low", "high": f"{names} high", UNSCORED: "resamples without a score"}.get(name, name)
        scale = (0.0, 1.0) if name == "p" else (0.0, _most(numbers)) if name == "error" else None
        shown = numbers if numbers.dtype.kind in "iu" else np.where(record.own, np.nan, numbers)
        columns.append(Column(what, shown, scale, name == "p"))
    if record.can.null:
        adjusted = on_host(record.false_discovery()).astype(float)
        columns.append(Column("p, false discovery rate", adjusted, (0.0, 1.0), True))
    if null is not None:
        p = np.where(record.own, np.nan, on_host(null.p_value()))
        columns.append(Column("p, permutation", p, (0.0, 1.0), True))
    if record.ranks and (~record.own).sum(0).min() > 1:
        share = np.where(record.own, np.nan, on_host(record.first_share()).astype(float))
        columns.append(Column("share ranked first", share, (0.0, 1.0)))
    text = f"{_sides(record)}, {record.images} images; {scheme_title(record)}."
    return [
        matrix(
            record,
            columns,
            tree=tree,
            text=(text, *_said_of(record, level, null)),
            flags=record.flags,
            interval=(f"{names} low", f"{names} high"),
            p="p" if record.can.null else None,
            level=level,
            resamples=on_host(record.values),
            histogram=_said_of_histogram(record),
        )
    ]


def _said_of(record, level, null):
    if record.can.null:
        return (
            "p is the share of permutations that score at least as high, for each pair separately; the false discovery "
            "rate is adjusted for all pairs.",
        )
    if record.size == record.images:
        return ("Subsets of all images have no error and no interval.",)
    unscored = int((record.unscored() > 0).sum())
    entries = "1 entry" if unscored == 1 else f"{unscored} entries"
    none = f"{entries} without a score in some resample: no interval."
    test = "A p value for no similarity at all needs permutations."
    if null is not None:
        test = f"p for no similarity at all, for each pair separately: {scheme_title(null)}."
    text = f"Intervals are {100 * level:g} % for each pair separately, for new images like these. {test}"
    return (text, *([none] * bool(unscored)))


def _said_of_histogram(record):
    if record.can.null:
        return "scores of permuted images: what unrelated networks score"
    if record.can.bootstraps:
        return "scores of the resamples"
    if record.kind == "half-samples":
        return f"scores on halves of {record.size} images; they scatter more than scores on all images would"
    return "scores of the resamples; their spread is scaled to the standard error"


@sections.register
def _of_calibration(record: Calibration, *, level: float = 0.95, tree: Tree | None = None) -> list[Section]:
    made = f"{record.n_permutations} permutations of {record.images} images"
    text = f"{_counted(record.networks, record.target_networks, record.against, 'network')}, {made}."
    meaning = (
        "A calibrated score runs from 0, at the score that unrelated networks reach with probability "
        f"{record.level:g}, to 1. The adjusted p accounts for the number of pairs ({record.adjust}); p is for each "
        "pair separately, including the search for the best layers."
    )
    title, best = f"{title_of(record)}, calibrated", record.columns()
    words = {}
    if record.has_layers:
        places = np.ndindex(*np.shape(record.best))
        pairs = [" – ".join(record.best_layers(*place)) for place in places]
        words = {"best layers": np.reshape(np.asarray(pairs, object), np.shape(record.best)).tolist()}
    found = [_calibrated(record, record.scores(), best, "adjusted p", tree, (text, meaning), title, words)]
    if record.has_layers:
        layers = record.columns(layers=True)
        text = (
            f"{_counted(record.names, record.targets, record.against, 'layer')}, {made}; p is for each pair separately."
        )
        found.append(_calibrated(record, record.scores(layers=True), layers, "p", tree, (text,), f"{title}, layers"))
    return found


def _calibrated(record, scores, numbers, p, tree, text, title, words=None):
    own, numbers = scores.own, {name: on_host(values) for name, values in numbers.items()}
    ends = {"calibrated": (0.0, 1.0), "p": (0.0, 1.0), "adjusted p": (0.0, 1.0)}
    ends["score"] = color_scale.ends(numbers["score"], scores)
    columns = [Column("calibrated", np.asarray(scores.values), (0.0, 1.0))]
    columns += [
        Column(name, np.where(own, np.nan, values), ends.get(name), name.endswith("p"))
        for name, values in numbers.items()
        if name != "calibrated"
    ]
    fits = tree if tree is not None and set(tree.names) == set(scores.names) else None
    undefined = _reasons(record.undefined) if scores.names == record.names else {}
    if scores.names != record.names:  # for networks whose layers lack scores
        of = dict(zip(record.names + record.targets, record.network_of + record.target_of, strict=True))
        undefined = {of[name]: f"{name}: {said}" for name, said in _reasons(record.undefined).items()}
    return matrix(
        scores, columns, title=title, tree=fits, text=text, p=p, level=1 - record.level, reasons=undefined, words=words
    )


@sections.register
def _of_tree(record: Tree, *, level: float = 0.95, tree: Tree | None = None) -> list[Section]:
    text = [f"Heights: {record.convention}."]
    if record.support is not None:
        text.append("Numbers at the joints: percent of the resamples whose tree has this branch.")
    content = {"drawing": drawing(record), "text": _lines(record.to_text()), "newick": _lines(record.to_newick())}
    return [Section(f"Tree: {title_of(record)}", "tree", (*text, *record.notes), (), content)]


def matrix(
    scores: Scores,
    columns: Sequence[Column],
    *,
    title: str | None = None,
    tree: Tree | None = None,
    text: Sequence[str] = (),
    flags: Sequence[str] = (),
    interval: tuple[str, str] | None = None,
    p: str | None = None,
    level: float = 0.95,
    resamples: np.ndarray | None = None,
    histogram: str = "",
    reasons: Mapping[str, str] | None = None,
    words: Mapping[str, Sequence[Sequence[str]]] | None = None,
) -> Section:
    """Make a section of scores: heat map, ranking of sources, histograms and a table of all pairs.

    Args:
        scores: the record, for its names.
        columns: numbers of all pairs; the first are the scores that are ranked.
        title: the heading; the measure by default.
        tree: a tree of the same networks, for its order.
        text: paragraphs.
        flags: warnings.
        interval: names of the columns with the ends of an interval.
        p: name of the column with the p-value that determines whether an entry is a finding.
        level: confidence level of the interval; entries whose interval contains zero, or whose p is at least 1 - level,
            are faded.
        resamples: `(B, S, T)` for histograms.
        histogram: description of the resamples.
        reasons: why a network lacks scores, by name; from `undefined` of the record by default.
        words: texts of all pairs, `(S, T)`, by name.
    """
    shape = (len(scores.names), len(scores.targets))
    whole = tuple(np.indices(shape).reshape(2, -1))
    alike = scores.square and _symmetric(columns[0].values)
    kept = np.triu_indices(shape[0]) if alike else whole
    at = [c.name for c in columns]
    orders = {}
    if tree is not None and scores.square and set(tree.names) == set(scores.names):
        orders["tree"] = [scores.names.index(tree.names[i]) for i in tree.order]
    values = columns[0].values
    low = np.nanmin(values, initial=0.0)
    found = reasons if reasons is not None else _reasons(getattr(scores, "undefined", ()))
    data = {
        "names": [label(n, LONGEST) for n in scores.names],
        "targets": [label(n, LONGEST) for n in scores.targets],
        "square": scores.square,
        "symmetric": alike,
        "distance": scores.distance,
        "own": np.asarray(scores.own)[kept].astype(int).tolist(),
        "columns": [
            {
                "name": c.name,
                "scale": c.scale,
                "reverse": c.reverse,
                "whole": c.values.dtype.kind in "iu",
                "diverging": c is columns[0] and color_scale.is_diverging(low, np.nanmax(values, initial=0.0)),
                "symmetric": bool(alike and _symmetric(c.values)),
                "values": [_number(v) for v in c.values[kept if alike and _symmetric(c.values) else whole].tolist()],
            }
            for c in columns
        ],
        "interval": None if interval is None or interval[0] not in at else [at.index(end) for end in interval],
        "p": None if p is None else at.index(p),
        "alpha": round(1 - level, 12),
        "orders": orders,
        "words": {name: _shown_rows(of) for name, of in (words or {}).items()},
        "reasons": {label(n, LONGEST): said for n, said in found.items()},
    }
    if resamples is not None:
        data["histogram"] = {"title": histogram} | histograms(resamples[:, *kept])
    undefined = int(np.isnan(values[kept]).sum())
    none = f"{undefined} of {len(kept[0])} entries have no score"
    why = "; ".join(f"{label(n, LONGEST)}: {said}" for n, said in list(found.items())[:10])
    more = f"{none}. {why}." if why else f"{none}: NaN in the record, which does not say which networks have no map."
    return Section(
        title_of(scores) if title is None else title,
        "matrix",
        (*text, *([more] * bool(undefined))),
        tuple(flags),
        {"table": scores.table(), "faded": _faded(interval, p, level), "histogram": histogram},
        data,
    )


def _faded(interval, p, level):
    """What faded cells mean; empty if no cell is faded."""
    if p is not None:
        return f"Faded: no finding, {p} ≥ {1 - level:.2g}."
    return "" if interval is None else f"Faded: no finding, the {100 * level:g} % interval contains zero."


def _symmetric(values):
    return np.array_equal(values, values.T, equal_nan=True)


def _number(value):
    """A number with five digits, or None for NaN."""
    return None if not math.isfinite(value) else value if isinstance(value, int) else float(f"{value:.5g}")


def histograms(values: np.ndarray) -> dict[str, Any]:
    """Counts in `BINS` bins between the smallest and the largest resample of each of P pairs, `(B, P)`.

    Counts are little-endian unsigned integers of 16 or 32 bits, P rows of `BINS`, in base 64.
    """
    count = len(values)
    empty = np.asarray(~np.isfinite(values).any(0)).ravel()
    safe = np.where(np.isfinite(values), values, np.nan)
    safe[:, empty] = 0.0
    low, high = np.nanmin(safe, 0), np.nanmax(safe, 0)
    width = np.where(high > low, high - low, 1.0)
    known = np.isfinite(values)
    bins = np.clip(np.nan_to_num((safe - low) / width) * BINS, 0, BINS - 1).astype(int)
    place = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    counts = np.bincount((place * BINS + bins)[known], minlength=values.shape[1] * BINS)
    kind = "<u2" if count < 2**16 else "<u4"
    ends = [[None if e else _number(float(v)) for e, v in zip(empty, end, strict=True)] for end in (low, high)]
    return {
        "bins": BINS,
        "bits": 16 if kind == "<u2" else 32,
        "count": count,
        "low": ends[0],
        "high": ends[1],
        "counts": base64.b64encode(counts.astype(kind).tobytes()).decode(),
    }


def drawing(tree: Tree) -> dict[str, Any]:
    """Lines and labels of a dendrogram, leaves from top to bottom and heights in percent from the right."""
    merges, count = np.asarray(tree.merges, float), len(tree.names)
    places = np.empty(count + len(merges))
    places[np.asarray(tree.order, int)] = np.arange(count)
    heights = np.r_[np.zeros(count), merges[:, 2]]
    top = max(float(heights.max(initial=0.0)), 1e-12)
    support = None if tree.support is None else np.asarray(tree.support, float)
    joints = []
    for step, (first, second) in enumerate(merges[:, :2].astype(int)):
        node = count + step
        places[node] = (places[first] + places[second]) / 2
        share = None if support is None or step == len(merges) - 1 else f"{100 * support[step]:.0f}"
        at = [round(float(v), 3) for v in (*(heights[[first, second, node]] / top), places[first], places[second])]
        joints.append({"at": at, "support": share, "middle": round(float(places[node]), 3)})
    return {"names": [label(tree.names[i], 60) for i in tree.order], "joints": joints, "top": f"{top:.3g}"}


def _reasons(undefined):
    """Why networks lack scores."""
    return {
        name: f"its map has no value for {counted(count, 'image')}" if count > 0 else "it has no map"
        for name, count in undefined
    }


def _most(values):
    return max(float(np.nanmax(values, initial=0.0)), 1e-9)


def title_of(record: Any) -> str:
    """Name of the measure of a record, for headings."""
    return label(measures.title_of(record.provenance.measure) or "scores", LONGEST)


def _counted(names, targets, against, what):
    same = not against and tuple(names) == tuple(targets)
    return counted(len(names), what) if same else f"{len(names)} {what}s (sources) by {len(targets)} (targets)"


def _sides(record):
    maps = measures.title_of(record.provenance.measure).endswith("of maps")
    said = _counted(record.names, record.targets, record.against, "map" if maps else "network")
    return said + (", lower is more similar" if record.distance else "")
