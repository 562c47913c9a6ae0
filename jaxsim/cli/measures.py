"""The command `measures`: list the measures."""

from argparse import ArgumentParser, Namespace
from typing import Any

from jaxsim import measures
from jaxsim.cli.output import emit, table

SUMMARY = "list the measures"
HELP = """The measures that have a name, what each is made of, and where it comes from.

Any cell of duality diagram similarity is written dds:TRANSFORM,PAIRWISE, as in dds:zscore,laplacian.

examples:
  jaxsim measures
  jaxsim measures --json"""


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command: it has none."""


def run(arguments: Namespace) -> None:
    """Table of the measures that have a name."""
    header = ["name", "transform", "pairwise", "compare", "source"]
    rows = [[name, *_parts(measure), measure.source] for name, measure in measures.NAMED.items()]
    emit(arguments, table(header, rows), {"measures": [dict(zip(header, row, strict=True)) for row in rows]})


def _parts(measure: Any) -> list[str]:
    return [measures.name_of(part) for part in (measure.transform, measure.pairwise, measure.compare)]
