"""Tables of the documentation that follow from the package: measures, parts, schemes."""

from docutils import nodes
from docutils.parsers.rst import Directive

from jaxsim import measures, schemes


def measures_table() -> list[list[str]]:
    """Rows of all named measures: name, transform, pairwise, compare, source."""
    rows = [["name", "transform", "pairwise", "compare", "source"]]
    for name, measure in measures.NAMED.items():
        parts = [measures.name_of(part) for part in (measure.transform, measure.pairwise, measure.compare)]
        rows.append([name, *parts, measure.source])
    return rows


def schemes_table() -> list[list[str]]:
    """Rows of all schemes: name, value, form of its draws, its first line."""
    rows = [["name", "value", "draws", "resamples"]]
    for name, scheme in schemes.NAMED.items():
        rows.append([name, scheme.__name__, scheme.draws.value, scheme.__doc__.splitlines()[0]])
    return rows


def _node(rows):
    table, group = nodes.table(), nodes.tgroup(cols=len(rows[0]))
    table += group
    for _ in rows[0]:
        group += nodes.colspec(colwidth=1)
    head, body = nodes.thead(), nodes.tbody()
    group += [head, body]
    for k, cells in enumerate(rows):
        row = nodes.row()
        for text in cells:
            entry = nodes.entry()
            entry += nodes.paragraph(text=text)
            row += entry
        (body if k else head).append(row)
    return table


class MeasuresTable(Directive):
    """`measures-table`: every named measure."""

    def run(self):
        return [_node(measures_table())]


class SchemesTable(Directive):
    """`schemes-table`: every resampling scheme."""

    def run(self):
        return [_node(schemes_table())]


def setup(app):
    """Register the directives."""
    app.add_directive("measures-table", MeasuresTable)
    app.add_directive("schemes-table", SchemesTable)
    return {"parallel_read_safe": True}
