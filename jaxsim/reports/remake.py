"""Commands and Python code that reproduce results, from what records store about themselves."""

import ast
import contextlib
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jaxsim import measures
from jaxsim.results import Affinity, Calibration, ModelComparison, Resamples
from jaxsim.results.model_comparisons import AVERAGED, MADE_BY
from jaxsim.schemes import NAMED
from jaxsim.taxonomy import LINKAGES, Tree

VARIABLES = {
    "features": 'js.read_features("FEATURES")[0]',
    "maps": 'js.read_features("FEATURES")[0]',
    "others": 'js.read_features("OTHERS")[0]',
    "models": 'js.read_features("MODELS")[0]',
    "subjects": 'js.read_features("SUBJECTS")[0]',
    "strata": "...  # labels of the images",
    "groups": "...  # labels of the images",
    "subject_of": "...  # the subject of each map",
    "layers_of": "...  # the network of each layer",
}
"""What the Python code reads; capitals stand for files, which a record does not know."""
_CALLS = {
    Affinity: ("affinity", "affinity"),
    Resamples: ("bootstrap", "resample"),
    Calibration: ("calibrate", "calibrate"),
    ModelComparison: ("rdm", "compare_models"),
}
"""The command and the function that make each kind of record."""
_KEY = re.compile(r"threefry2x32:\[0, (\d+)\]")


class _Option(NamedTuple):
    """An option in both spellings: command-line words, function argument, and the variable that it reads."""

    words: Sequence[str]
    argument: str = ""
    variable: str = ""


def commands(records: Sequence[Any]) -> list[str]:
    """Commands that reproduce the records; FEATURES, OTHERS and LABELS stand for your files.

    Example:
        >>> import jaxsim as js
        >>> commands([js.affinity(js.demo.features(), "cka")])
        ['jaxsim affinity FEATURES --measure cka-linear --out results']
    """
    found = []
    for record in records:
        if isinstance(record, Tree) and _is_known(record):
            words = _tree_words(record)
        elif type(record) in _CALLS and _is_known(record):
            options = [word for option in _options(record) for word in option.words]
            words = [_CALLS[type(record)][0], *options, "--out", "results"]
        else:
            continue
        found += ["jaxsim " + " ".join(map(shlex.quote, words))] * bool(words)
    return list(dict.fromkeys(found))


def python(records: Sequence[Any], level: float = 0.95) -> str:
    """Python code that reproduces the records and their report.

    Example:
        >>> import jaxsim as js
        >>> print(python([js.affinity(js.demo.features(), "cka")]))
        import jaxsim as js
        <BLANKLINE>
        features = js.read_features("FEATURES")[0]
        affinity = js.affinity(features, "cka-linear")
        js.report(affinity, path="report.html")
    """
    lines: list[str] = []
    names: list[str] = []
    read: set[str] = set()
    for record in records:
        kind = {ModelComparison: "comparison"}.get(type(record), type(record).__name__.lower())
        name = next(n for n in (kind, *(f"{kind}_{k}" for k in range(2, len(names) + 3))) if n not in names)
        if isinstance(record, Tree):
            made = _tree_call(record, names, read)
        elif type(record) in _CALLS and _is_known(record):
            made = _called(_CALLS[type(record)][1], _options(record), read)
        else:
            made = ""
        lines.append(f"{name} = " + (made or f'js.load("{name}.npz")'))
        names.append(name)
    double = any(_dtype(record) == "float64" for record in records)
    imports = ["import jax"] * (double or any("jax." in line for line in lines)) + ["import jaxsim as js"]
    setup = ['jax.config.update("jax_enable_x64", True)'] * double
    setup += [f"{name} = {value}" for name, value in VARIABLES.items() if name in read]
    last = f", level={level:g}" if level != 0.95 else ""
    return "\n".join([*imports, "", *setup, *lines, f'js.report({", ".join(names)}, path="report.html"{last})'])


def _is_known(record):
    """Whether a record says how it was made, with a measure that can be found by name."""
    provenance = getattr(record, "provenance", None)
    return provenance is not None and measures.is_known(provenance.measure)


def _dtype(record):
    return getattr(getattr(record, "provenance", None), "dtype", "")


def _called(function, options, read):
    """The call of a function with these options; `read` collects its variables."""
    options = list(options)
    read.update(option.variable for option in options)
    if function == "affinity" and options[0].variable == "maps":
        function = "compare_maps"
    return f"js.{function}({', '.join(option.argument for option in options if option.argument)})"


def _options(record) -> Iterator[_Option]:
    """All options of a record except where it goes."""
    provenance = record.provenance
    if isinstance(record, ModelComparison):
        yield from _of_models(record, provenance)
    else:
        yield from _of_pairs(record, provenance)
    if provenance.dtype == "float64":
        yield _Option(["--x64"])


def _of_models(record, provenance) -> Iterator[_Option]:
    yield _Option(["MODELS"], "models", "models")
    yield _Option(["--against", "SUBJECTS"], "subjects", "subjects")
    yield _Option(["--compare", provenance.measure], f'"{provenance.measure}"')
    for note in provenance.notes:
        if note.startswith(MADE_BY):
            measure = note.removeprefix(MADE_BY)
            yield _Option(["--measure", measure], f'measure="{measure}"')
    yield _Option(["--over", record.over], f'over="{record.over}"')
    yield _Option(["--test", record.test], f'test="{record.test}"')
    yield _resamples(len(record.draws))
    yield from _seed(provenance)
    yield _level(record)
    if record.squared:
        yield _Option(["--squared"], "squared=True")
    if any(note.startswith(AVERAGED) for note in provenance.notes):  # TEXT follows the name of a subject
        yield _Option(["--subject-of", "TEXT"], "subject_of=subject_of", "subject_of")


def _of_pairs(record, provenance) -> Iterator[_Option]:
    yield from _measure(provenance)
    labels = [name for name in ("strata", "groups") if f"{name}=" in (provenance.scheme or "")]
    of_labels = [_Option([f"--{name}", "LABELS"], f"{name}={name}", name) for name in labels]
    if isinstance(record, Resamples):
        subset = record.kind == "subsample"
        own = [f"size={record.size}"] * subset + [option.argument for option in of_labels]
        size = ["--size", str(record.size)] * subset
        yield _Option(["--scheme", record.kind, *size], f"js.{NAMED[record.kind].__name__}({', '.join(own)})")
        yield from (option._replace(argument="") for option in of_labels)
        if record.kind != "jackknife":
            yield _resamples(len(record.values))
    if isinstance(record, Calibration):
        count = record.n_permutations
        yield _Option(["--permutations", str(count)], f"n_permutations={count}")
        yield _Option(["--adjust", record.adjust], f'adjust="{record.adjust}"')
        yield _level(record)
        yield from of_labels
        if record.has_layers:
            yield _Option(["--layers-of", "LABELS"], "layers_of=layers_of", "layers_of")
    yield from _seed(provenance)
    if record.against:
        yield _Option(["--against", "OTHERS"], "against=others", "others")
    if getattr(record, "pairs", None) is not None:
        yield _Option(["--missing", "pairwise"], 'missing="pairwise"')


def _measure(provenance) -> Iterator[_Option]:
    """What is compared, and with which measure."""
    name = provenance.measure.lower()
    maps = name in measures.PARTS["compare"]
    variable = "maps" if maps else "features"
    yield _Option(["FEATURES"], variable, variable)
    yield _Option(["--measure", name], f"js.compare.{name.replace('-', '_')}" if maps else f'"{name}"')


def _resamples(count) -> _Option:
    return _Option(["--resamples", str(count)], f"n_resamples={count}")


def _level(record) -> _Option:
    return _Option(["--level", f"{record.level:g}"], f"level={record.level:g}")


def _seed(provenance) -> Iterator[_Option]:
    """The random key: as a seed, or as Python code only."""
    text = provenance.key or ""
    kind, _, words = text.partition(":")
    if found := _KEY.fullmatch(text):
        yield _Option(["--seed", found[1]], f"key={found[1]}")
    elif text:
        with contextlib.suppress(SyntaxError, ValueError):  # a user's own record may contain anything
            data = f"jax.numpy.array({ast.literal_eval(words)}, 'uint32')"
            yield _Option([], f"key=jax.random.wrap_key_data({data}, impl={kind!r})")


def _linkage(tree):
    """The name of a tree's linkage; None if it is user-defined."""
    return next((name for name, linkage in LINKAGES.items() if linkage.name == tree.convention), None)


def _tree_words(tree):
    linkage = _linkage(tree)
    if linkage is None:
        return []
    words = ["taxonomy", "results/affinity.npz"]
    words += ["--support", "results/resamples.npz"] * (tree.support is not None)
    words += ["--linkage", linkage] * (linkage != "average") + ["--symmetrize"] * tree.symmetrized
    return [*words, "--out", "tree"]


def _tree_call(tree, names, read):
    """The call that makes a tree of scores that have a name or come from a known measure; else nothing."""
    made = next((name for name in names if name.startswith("affinity")), None)
    if made is None:
        if not _is_known(tree):
            return ""
        made = _called("affinity", _measure(tree.provenance), read)
    linkage = _linkage(tree)
    own = "" if linkage == "average" else f", linkage=js.taxonomy.{f'{linkage}_linkage' if linkage else '...'}"
    call = f"js.taxonomy.tree({made}{own}{', symmetrize=True' * tree.symmetrized})"
    resamples = next((name for name in names if name.startswith("resamples")), None)
    return call if tree.support is None or resamples is None else f"js.taxonomy.branch_support({call}, {resamples})"
