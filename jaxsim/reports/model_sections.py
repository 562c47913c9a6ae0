"""Sections of a report that show models compared with subjects."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxsim.io.files import label
from jaxsim.reports.record_sections import LONGEST, Section, sections, title_of
from jaxsim.results import ModelComparison, on_host, tables
from jaxsim.results.model_comparisons import WORDS
from jaxsim.taxonomy import Tree

FINDING = 0.05
"""p values below this are marked, as in `js.plotting.model_scores`."""
LEFT, WIDTH = 230, 400
"""Start and length of the figure's axis, in drawing units."""


@sections.register
def _of_models(record: ModelComparison, *, level: float = 0.95, tree: Tree | None = None) -> list[Section]:
    note = record.ceiling_note()
    measure = f"{title_of(record)}{', squared' * record.squared}"
    ranks = record.test == "rank"
    asked = WORDS[record.over]
    what = f"Errors and intervals are for {asked}, and p values for {WORDS['subjects']}"
    about = (
        f"A score is the mean over {len(record.subjects)} subjects of {measure}. "
        f"{what if ranks else f'Errors, intervals and p values are for {asked}'}; "
        "the level of the intervals is for each model separately."
    )
    zero = "" if record.squared else "p zero: one-sided, is the mean above zero? "
    tested = (
        f"{zero}p ceiling: two-sided, does the model differ from the lower noise ceiling, each subject compared with "
        "the mean of the others? Neither is adjusted for the number of models."
    )
    header, rows = record.rows()
    content = {"header": header, "rows": _cells(rows, ("p zero", "p ceiling"), header), "drawing": drawing(record)}
    notes = [f"{one[:1].upper()}{one[1:]}." for one in (note, *record.provenance.notes)]
    shown = [notes[0], about, tested, *notes[1:]]
    found = [Section(label(record.title, LONGEST), "models", tuple(shown), tuple(record.flags), content)]
    header, rows = record.pair_rows()
    if rows:
        adjusted = np.asarray([row[-1] for row in rows], float)
        how = "Holm's rule" if ranks else "the largest deviation over all pairs"
        text = (
            f"{int((adjusted < FINDING).sum())} of {len(rows)} pairs differ, adjusted p < .05. A difference is the "
            f"score of the first model minus that of the other; p is two-sided, for each pair separately, and adjusted "
            f"p is adjusted for all pairs by {how}. Smallest adjusted p first."
        )
        content = {"header": header, "rows": _cells(rows, ("p", "adjusted p"), header), "long": len(rows) > 20}
        title = f"Pairs of models, for {WORDS['subjects'] if ranks else asked}"
        found.append(Section(title, "table", (text,), (), content))
    return found


def _cells(rows: Sequence[Sequence[Any]], p: Sequence[str], header: Sequence[str]) -> list[list[str]]:
    """Texts of a table; p values below a thousandth are shown as such, and undefined values as a dash."""

    def text(name, value):
        if isinstance(value, str):
            return label(value, LONGEST)
        if math.isnan(value):
            return "–"
        return tables.p_value(value) if name in p else tables.number(value)

    return [[text(name, value) for name, value in zip(header, row, strict=True)] for row in rows]


def drawing(record: ModelComparison) -> dict[str, Any]:
    """Dots, intervals, subjects' scores, ceiling and marks of models, best first, in drawing units."""
    order = [record.names.index(name) for name, _ in record.ranking()]
    columns = [np.asarray(on_host(v), float)[order] for v in (record.estimate, record.low, record.high, record.scores)]
    bounds = np.asarray(on_host(record.ceiling), float)
    outer = np.array([float(on_host(record.ceiling_low)[0]), float(on_host(record.ceiling_high)[1])])
    values = np.concatenate([[0.0], *(np.ravel(v) for v in columns), bounds, outer])
    values = values[np.isfinite(values)]
    low, high = float(values.min()), max(float(values.max()), float(values.min()) + 1e-6)

    def place(value):
        return round(LEFT + WIDTH * (float(value) - low) / (high - low), 1) if math.isfinite(value) else None

    def both(ends):
        return [place(v) for v in ends] if np.isfinite(ends).all() else None

    zero, ceiling = (np.asarray(on_host(p), float)[order] < FINDING for p in (record.p_zero, record.p_ceiling))
    estimate, lows, highs, scores = columns
    rows = [
        {
            "name": label(record.names[k], 32),
            "at": place(estimate[i]),
            "interval": both(np.array([lows[i], highs[i]])),
            "subjects": [x for x in map(place, scores[i]) if x is not None],
            "above": bool(zero[i]),
            "below": bool(ceiling[i] and estimate[i] < bounds[0]),
        }
        for i, k in enumerate(order)
    ]
    step = next(s for s in (1e-3, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, np.inf) if (high - low) / s <= 8)
    marks = np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step if math.isfinite(step) else [0.0]
    return {
        "left": LEFT,
        "right": LEFT + WIDTH,
        "rows": rows,
        "zero": place(0.0),
        "ceiling": both(bounds),
        "outer": both(outer),
        "ticks": [(place(v), f"{v:.3g}".replace("-", "\N{MINUS SIGN}")) for v in marks],
        "legend": f"Dots: means, filled where above zero (p < .05); ticks: subjects; lines: {100 * record.level:g} % "
        "intervals; gray: noise ceiling, dashed to the ends of its intervals; \N{MULTIPLICATION SIGN}: below the "
        "lower ceiling (p < .05).",
    }
