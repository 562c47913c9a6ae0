"""Reports of the leaderboard: tables, Markdown, sentences and a figure."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsim.evaluation.intervals import FEWEST_TARGETS
from jaxsim.io.files import finite
from jaxsim.plotting.canvas import COLORS, GRAY, INK, MARKERS, bare, labeled_rows, place
from jaxsim.studies.leaderboard.standings import LEVEL, OVER, Claim, Overall, Row, Standings, claims

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADER = (
    *("method", "with self", "without self", "over images", "over targets", "over both", "weighted tau"),
    *("top 1", "top 3", "top 5", "regret", "p", "minus best", "p of minus best", "seconds"),
)
"""Columns of the table in Markdown."""
KEY = (
    "Correlations are Spearman correlations of each target's column, averaged over targets; intervals, p values and "
    "differences are for those without self. Over images: for other pictures, bias corrected. Over targets: for other "
    "targets of the same kind, taken as independent. Over both: for other pictures and targets. Weighted tau: without "
    "self. Top k: share of targets whose first choice is one of the k best sources. Regret: skill of the best source "
    "minus that of the first choice. p: from relabelings of the tasks, adjusted for all methods. Minus best: mean "
    "correlation minus that of the best method, with an interval for this pair only; its p is from a jackknife over "
    "tasks, adjusted for all pairs. Oracles are never the best method. Seconds: from pictures to the matrix, compiled; "
    "for the tournament, without the time to measure transfer."
)


def sorted_rows(made: Standings) -> list[Row]:
    """The rows, best first; those without a correlation last."""
    return sorted(made.rows, key=lambda row: -np.nan_to_num(row.without_self, nan=-2))


def table_rows(made: Standings) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Header and rows with all columns, best first; None for unknown numbers."""
    rows = [[made.world, *(None if value != value else value for value in row)] for row in sorted_rows(made)]
    return ("world", *Row._fields), rows


def short_rows(made: Standings) -> list[list[str]]:
    """Rows of text with the columns of `HEADER`, best first."""
    return [
        [
            row.method + (" (static)" if row.static else "") + (f": {row.note}" if row.note else ""),
            *map(_number, (row.with_self, row.without_self)),
            *(_span(getattr(row, f"{over}_low"), getattr(row, f"{over}_high")) for over in OVER),
            *map(_number, (row.weighted_tau, row.top_1, row.top_3, row.top_5)),
            _number(row.regret),
            _number(row.p_adjusted),
            f"{_signed(row.minus_best)} {_span(row.minus_best_low, row.minus_best_high)}".strip(),
            _number(row.minus_best_p),
            "" if row.seconds != row.seconds else f"{row.seconds:.2g}",
        ]
        for row in sorted_rows(made)
    ]


def _number(value: float) -> str:
    return "" if value != value else f"{value:.3f}"


def _signed(value: float) -> str:
    return "" if value != value else f"{value:+.3f}"


def _span(low: float, high: float) -> str:
    return "" if low != low or high != high else f"({low:.2f} to {high:.2f})"


def sentences(made: Standings) -> list[str]:
    """Summarize in words: the best method, those that differ from it, and the planned claims."""
    best = made.best
    if best is None:
        return ["No method has a correlation with this truth, except oracles."]
    rows = {row.method: row for row in made.rows}
    top = rows[best]
    ends = (top.both_low, top.both_high) if top.both_low == top.both_low else (top.targets_low, top.targets_high)
    lines = [f"{best} agrees best: {top.without_self:.3f} {_span(*ends)} without self, regret {top.regret:.3f}."]
    others = [row for row in sorted_rows(made) if row.method != best and row.minus_best_p == row.minus_best_p]
    parts = (
        ("Oracles, for comparison", [row for row in others if row.oracle]),
        (
            "Methods that cannot be told apart from it",
            [r for r in others if not r.oracle and not r.minus_best_p < LEVEL],
        ),
        ("Methods that agree less", [row for row in others if not row.oracle and row.minus_best_p < LEVEL]),
    )
    for start, some in parts:
        told = "; ".join(f"{row.method} {_signed(row.minus_best)}, p = {row.minus_best_p:.2g}" for row in some)
        lines += [f"{start} (level .05, adjusted for all pairs): {told}."] if some else []
    return [*lines, *(_said(claim) for claim in claims(made)), *_doubts(made)]


def _doubts(made: Standings) -> list[str]:
    """What remains open because there are few targets or few relabelings."""
    targets, smallest = len(made.evidence.targets), 1 / (made.relabelings + 1)
    lines = []
    if targets < FEWEST_TARGETS:
        lines.append(
            f"{targets} targets are too few for an interval over targets; at least {FEWEST_TARGETS} are needed."
        )
    if smallest > LEVEL:
        lines.append(f"No p value of {made.relabelings} relabelings is below {smallest:.2g}; use more relabelings.")
    return lines


def _said(claim: Claim) -> str:
    ends = f"{claim.low:+.3f} to {claim.high:+.3f}" if claim.low == claim.low else "no interval"
    start = f"DDS 2020, table 3: {claim.higher} above {claim.lower}"
    return f"{start}: {claim.verdict} here ({claim.difference:+.3f}, {ends}; p = {claim.p:.2g})."


def markdown(several: Sequence[Standings], over: Sequence[Overall] = ()) -> str:
    """Report of one or more worlds, and of the methods over worlds."""
    lines = ["# Leaderboard of predictors of transfer", ""]
    for made in several:
        lines += [f"## {made.world}", "", _subject(made), "", *_table(HEADER, short_rows(made)), ""]
        lines += [line for text in sentences(made) for line in (text, "")]
    if over:
        lines += [f"## Over {len(several)} worlds", "", OVERALL, "", *_table(OVERALL_HEADER, overall_rows(over)), ""]
    return "\n".join([*lines, "## Columns", "", KEY, ""])


OVERALL = (
    "Means over worlds with Student's t intervals over worlds (on Fisher's scale). Differences from the best method "
    "are "
    "paired within worlds, and their p values are adjusted for all pairs of methods. Few worlds give wide intervals; a "
    "value that is the same in all worlds has none."
)
OVERALL_HEADER = ("method", "with self", "without self", "over worlds", "regret", "minus best", "p of minus best")


def overall_rows(over: Sequence[Overall]) -> list[list[str]]:
    """Rows of text with the columns of `OVERALL_HEADER`, best first."""
    return [
        [
            one.method,
            _number(one.with_self),
            _number(one.without_self),
            _span(one.low, one.high),
            _number(one.regret),
            f"{_signed(one.minus_best)} {_span(one.minus_best_low, one.minus_best_high)}".strip(),
            _number(one.minus_best_p),
        ]
        for one in sorted(over, key=lambda one: -one.without_self)
    ]


def _subject(made: Standings) -> str:
    e = made.evidence
    text = f"{len(e.sources)} sources to {len(e.targets)} targets, {len(next(iter(e.features.values())))} pictures, "
    text += f"{made.relabelings} relabelings, {made.level:.0%} intervals."
    if e.losses is None:
        return text
    return f"{text} Truth: half of the held-out images; the tournament uses the other {e.losses.shape[-1]}."


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [header, ["---"] * len(header), *rows]
    safe = [[cell.replace("|", "\\|") for cell in row] for row in cells]
    return [f"| {' | '.join(row)} |" for row in safe]


def _kinds(rows: Sequence[Row]) -> dict[str, dict[int, Row]]:
    """Rows by position, split into three kinds."""
    found = {name: {} for name in ("methods", "static baselines", "oracles")}
    for k, row in enumerate(rows):
        found["oracles" if row.oracle else "static baselines" if row.static else "methods"][k] = row
    return found


def draw(made: Standings) -> "Figure":
    """Draw the mean correlation of each method with its intervals, and the regret of its choices.

    Thick lines are intervals over targets, thin ones over targets and images. Static rows and oracles are
    hollow.

    Raises:
        ImportError: matplotlib is not installed.
    """
    rows = sorted_rows(made)
    wide, gap = 3.4, 0.25
    figure, axes = labeled_rows([row.method for row in rows], wide, above=0.3, right=1.5 + gap + 0.15)
    width, height = figure.get_size_inches()
    left, below, _, up = axes.get_position().bounds * np.array([width, height, width, height])
    regret = place(figure, left + wide + gap, below, 1.5, up)
    for color, (label, some) in zip((COLORS[0], GRAY, COLORS[1]), _kinds(rows).items(), strict=True):
        at, each = list(some), list(some.values())
        face = {"markerfacecolor": "white" if label != "methods" else color, "color": color, "markersize": 5}
        for over, line in (("both", 1.0), ("targets", 3.0)):
            low, high = ([getattr(row, f"{over}_{end}") for row in each] for end in ("low", "high"))
            axes.hlines(at, low, high, color=color, linewidth=line, alpha=0.9 if line == 1 else 0.35)
        axes.plot([row.without_self for row in each], at, MARKERS[0], label=label, **face)
        regret.plot([row.regret for row in each], at, MARKERS[0], **face)
    regret.set_ylim(axes.get_ylim())
    regret.set_yticks([])
    regret.hlines(range(len(rows)), 0, 1, transform=regret.get_yaxis_transform(), color="0.92", linewidth=0.6, zorder=0)
    regret.set_xlim(left=min(0.0, regret.get_xlim()[0]))
    bare(regret, keep=("bottom",))
    regret.tick_params(axis="x", labelsize=8, colors=INK)
    axes.axvline(0, color=GRAY, linewidth=0.8, linestyle="--", zorder=0)
    text = f"thick: {made.level:.0%} interval over targets; thin: over pictures too"
    text = f"mean correlation with transfer, without self\n{text}"
    axes.set_xlabel(text, fontsize=8, color=INK)
    regret.set_xlabel("regret of the\nfirst choice", fontsize=8, color=INK)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=8, frameon=False, labelcolor=INK)
    return figure


def to_json(several: Sequence[Standings], over: Sequence[Overall] = ()) -> dict[str, Any]:
    """All results as JSON types, with each target's scores and the claims."""
    worlds = [
        {
            "world": made.world,
            "sources": list(made.evidence.sources),
            "targets": list(made.evidence.targets),
            "best": made.best,
            "level": made.level,
            "relabelings": made.relabelings,
            "rows": [row._asdict() for row in sorted_rows(made)],
            "targets_of": {
                name: {what: np.asarray(values).tolist() for what, values in scores._asdict().items()}
                for name, scores in made.scores.items()
            },
            "claims": [claim._asdict() | {"verdict": claim.verdict} for claim in claims(made)],
            "sentences": sentences(made),
        }
        for made in several
    ]
    return finite({"worlds": worlds, "over_worlds": [one._asdict() for one in over]})


def as_text(values: dict[str, Any]) -> str:
    """Indented JSON."""
    return json.dumps(values, indent=1, allow_nan=False) + "\n"
