"""The command `measures`."""

from argparse import Namespace
from typing import Any

from jaxsim import measures
from jaxsim.cli.output import emit, table


def run_measures(arguments: Namespace) -> None:
    """Table of the measures that have a name."""
    header = ["name", "transform", "pairwise", "compare", "source"]
    rows = [[name, *_parts(measure), measure.source] for name, measure in measures.NAMED.items()]
    emit(arguments, table(header, rows), {"measures": [dict(zip(header, row, strict=True)) for row in rows]})


def _parts(measure: Any) -> list[str]:
    return [measures.name_of(part) for part in (measure.transform, measure.pairwise, measure.compare)]
