"""List the named measures, and the parts to build others from.

Shows the parts of each measure and its source. Any cell of duality diagram similarity can be written as
dds:TRANSFORM,PAIRWISE, as in dds:zscore,laplacian. A comparator alone (compare), such as spearman, compares
precomputed maps (RDMs).

Examples:
  jaxsim measures
  jaxsim measures --json
"""

from argparse import ArgumentParser, Namespace

from jaxsim import measures
from jaxsim.cli.output import emit, records, table

HEADER = ("name", "transform", "pairwise", "compare", "source")


def add_arguments(command: ArgumentParser) -> None:
    """Add no arguments."""


def run(arguments: Namespace) -> None:
    """Print the named measures."""
    rows = [
        [name, *map(measures.name_of, (measure.transform, measure.pairwise, measure.compare)), measure.source]
        for name, measure in measures.NAMED.items()
    ]
    parts = {kind: list(named) for kind, named in measures.PARTS.items()}
    lines = [f"{kind}: {', '.join(names)}" for kind, names in parts.items()]
    text = "\n".join([table(HEADER, rows), "", "parts:", *lines])
    emit(arguments, text, {"measures": records(HEADER, rows), "parts": parts})
