"""The page of a report: one HTML file with its style, script and numbers inside.

The page is rendered by Jinja, which escapes everything that it fills in. Its script is a few hundred lines of plain
JavaScript: a plotting library would add 1 to 4 MB to every file, and its canvases have no cells that screen readers and
arrow keys can reach. The script writes names only through `textContent`, and the page's content security policy allows
no other script and no network.
"""

import base64
import functools
import hashlib
import json
import warnings
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import extras, io
from jaxsim.io.files import label, printable, warn
from jaxsim.reports import methods, remake
from jaxsim.reports.record_sections import LONGEST, Section, sections, title_of
from jaxsim.results import Affinity, Provenance, Resamples, Saved, on_host
from jaxsim.statistics.checks import flag, probability
from jaxsim.taxonomy import Tree


def report(
    *records: Any,
    path: str | Path,
    level: float = 0.95,
    title: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write an HTML report of records to one file that needs no network.

    A matrix becomes a sortable heat map with the score, interval and p-value of each pair, a ranking of the sources of
    each target, and histograms of resamples. A tree becomes a dendrogram. A paragraph for a paper says how the numbers
    were computed, with citations, and commands reproduce them. A matrix is shown in the order of a tree of the same
    networks, if one is given. An `Affinity` with the scores of given `Resamples` is shown together with them, and so
    are p-values of permutations with intervals of the same scores.

    Args:
        records: results of `js.affinity`, `js.resample`, `js.calibrate`, `js.taxonomy.tree` or any other verb; or
            sections.
        path: file to write.
        level: confidence level of the intervals.
        title: title of the page; names the measures by default.
        overwrite: replace an existing file.

    Returns:
        The path.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        ImportError: Jinja is not installed (extra `report`).
        OSError: the file cannot be written.
        TypeError: one of them is not a record.
        ValueError: there is no record, the level is not between 0 and 1, or the path does not end in .html.

    Example:
        >>> import jaxsim as js, tempfile
        >>> found = js.affinity(js.demo.features(), "cka")
        >>> written = js.report(found, path=tempfile.mkdtemp() + "/report.html")
        >>> "linear CKA, unbiased" in written.read_text()
        True
    """
    overwrite = flag(overwrite, "overwrite")
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"a report is an HTML page: path {str(path)!r} must end in .html.")
    return io.write_text(path, page(*records, level=level, title=title), overwrite=overwrite)


def page(*records: Any, level: float = 0.95, title: str | None = None, command: str | None = None) -> str:
    """Make the HTML text that `report` writes.

    Args:
        records: as for `report`.
        level: as for `report`.
        title: as for `report`.
        command: the command that made the records, if there was one.

    Raises:
        ImportError: Jinja is not installed.
        TypeError: one of them is not a record.
        ValueError: there is no record, or the level is not between 0 and 1.
    """
    level = probability(level)
    if not isinstance(title, str | None):
        raise TypeError(f"title must be a string, not of type {type(title).__name__}.")
    if not records:
        raise ValueError("a report needs at least one record, such as js.resample returns.")
    template = _template()
    shown, doubts = _sections(records, level)
    text, references = methods.paragraph(records, level)
    flags = list(dict.fromkeys([flag for one in shown for flag in one.flags] + doubts))
    given = [title_of(one) for one in records if hasattr(one, "provenance")] or [shown[0].title]
    saved = [one for one in records if isinstance(one, Saved)]
    style, script = _asset("page.css"), _asset("page.js")
    return template.render(
        title=label(title or f"jaxsim report: {', '.join(dict.fromkeys(given))}", LONGEST),
        sections=shown,
        data=_json({f"s{k}": one.data for k, one in enumerate(shown) if one.data is not None}),
        flags=[printable(flag) for flag in flags],
        methods=printable(text),
        references=references,
        provenance=_provenance(saved),
        command=None if command is None else printable(command),
        commands=remake.commands(records),
        python=remake.python(saved, level) if saved else None,
        style=style,
        script=script,
        policy=_policy(script),
    )


def _sections(records: Sequence[Any], level: float) -> tuple[list[Section], list[str]]:
    """Sections of all records, and the warnings raised meanwhile, which are raised again."""
    trees = [one for one in records if isinstance(one, Tree)]
    resampled = [one for one in records if isinstance(one, Resamples)]
    shown: list[Section] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for one in records:
            if isinstance(one, Affinity) and any(_same_scores(one, r) for r in resampled):
                continue
            kinds = [{*getattr(one, name, ())} for name in ("names", "networks")]
            tree = None if isinstance(one, Tree) else next((t for t in trees if {*t.names} in kinds), None)
            null = next((r for r in resampled if r is not one and _tests(r, one)), None)
            shown += sections(one, level=level, tree=tree, **({} if null is None else {"null": null}))
    for found in caught:
        warn(str(found.message), found.category)
    return shown, [str(found.message) for found in caught]


def _tests(null: Resamples, record: Any) -> bool:
    """Whether permutations are of the same scores as resamples that have intervals."""
    if not isinstance(record, Resamples) or record.can.null or not null.can.null:
        return False
    ours, theirs = ((r.names, r.targets, r.against, r.images, r.provenance.measure) for r in (null, record))
    return ours == theirs and not (null.between or record.between)


def _same_scores(affinity: Affinity, resamples: Resamples) -> bool:
    """Whether resamples include everything that an affinity does."""
    ours, theirs = ((r.names, r.targets, r.against, r.provenance.measure) for r in (affinity, resamples))
    counts = affinity.images is None or bool((on_host(affinity.images) == resamples.images).all())
    if ours != theirs or not counts or affinity.pairs is not None:
        return False
    return np.array_equal(on_host(affinity.values), on_host(resamples.estimate), equal_nan=True)


def _provenance(records: Sequence[Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Rows of the provenance table: kind of the record and its provenance."""
    found = []
    for record in records:
        said = getattr(record, "provenance", None)
        rows = [] if not isinstance(said, Provenance) else _rows(said)
        for name in ("images", "groups", "kind", "size", "n_permutations", "level", "adjust", "convention"):
            value = getattr(record, name, None)
            if isinstance(value, (int, float, str)):
                rows.append((name.replace("_", " "), printable(str(value))))
        found.append((type(record).__name__, rows))
    return found


def _rows(said: Provenance) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version}" for name, version in said.versions)
    rows = {
        "measure": said.measure,
        "scheme": said.scheme,
        "random key": said.key,
        "data type": said.dtype,
        "precision": said.precision,
        "device": said.device,
        "versions": versions,
        "notes": "; ".join(said.notes),
    }
    return [(name, printable(label(str(value), 2000))) for name, value in rows.items() if value]


@functools.cache
def _template() -> Any:
    """The template; everything it fills in is escaped.

    Raises:
        MissingExtra: Jinja is not installed.
    """
    with extras.needed("reports need", "jinja2", install=extras.REPORT):
        import jinja2
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(_asset("page.html"))


@functools.cache
def _asset(name: str) -> str:
    return resources.files("jaxsim.reports").joinpath("templates", name).read_text(encoding="utf-8")


def _json(values: Any) -> str:
    """JSON that is safe in a script element: no name can end the element."""
    text = json.dumps(values, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _policy(script: str) -> str:
    """Content security policy: only this script, and no network."""
    made = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    none = "default-src 'none'; base-uri 'none'; form-action 'none'"
    return f"{none}; script-src 'sha256-{made}'; style-src 'unsafe-inline'"
