"""Commands and lines of Python that make results again, from what records say of themselves."""

import ast
import re
import shlex
from collections.abc import Sequence
from typing import Any

from jaxsim import measures
from jaxsim.results import Affinity, Calibration, ModelComparison, Resamples
from jaxsim.results.model_comparisons import AVERAGED, MADE_BY
from jaxsim.schemes import NAMED
from jaxsim.taxonomy import LINKAGES, Tree

FEATURES, OTHERS, LABELS = "FEATURES", "OTHERS", "LABELS"
"""Stand for the files that a record does not know."""
MODELS, SUBJECTS, TEXT = "MODELS", "SUBJECTS", "TEXT"
"""The same for models compared with subjects; TEXT ends the name of a subject in the names of its maps."""
_KEY = re.compile(r"threefry2x32:\[0, (\d+)\]")


def commands(records: Sequence[Any]) -> list[str]:
    """Commands that make the records again; FEATURES, OTHERS and LABELS stand for your files.

    Example:
        >>> import jaxsim as js
        >>> commands([js.affinity(js.demo.features(), "cka")])
        ['jaxsim affinity FEATURES --measure cka-linear --out results']
    """
    found = []
    for record in records:
        provenance = getattr(record, "provenance", None)
        if provenance is None or not measures.is_known(provenance.measure):
            continue
        words = _words(record, provenance)
        if words:
            found.append("jaxsim " + " ".join(map(shlex.quote, words)))
    return list(dict.fromkeys(found))


def _words(record, provenance):
    if isinstance(record, Tree):
        linkage = next((k for k, one in LINKAGES.items() if one.name == record.convention), None)
        if linkage is None:
            return []
        words = ["taxonomy", "results/affinity.npz"]
        words += ["--support", "results/resamples.npz"] * (record.support is not None)
        words += ["--linkage", linkage] * (linkage != "average") + ["--symmetrize"] * record.symmetrized
        return [*words, "--out", "tree"]
    if isinstance(record, ModelComparison):
        return _models_words(record, provenance)
    command = {Affinity: "affinity", Resamples: "bootstrap", Calibration: "calibrate"}.get(type(record))
    if command is None:
        return []
    words = [command, FEATURES, *(["--against", OTHERS] if record.against else [])]
    words += ["--measure", provenance.measure.lower()]
    if isinstance(record, Resamples):
        words += ["--scheme", record.kind]
        words += ["--size", str(record.size)] * (record.kind == "subsample")
        if record.kind != "jackknife":
            words += ["--resamples", str(len(record.values))]
    if isinstance(record, Calibration):
        words += ["--permutations", str(record.n_permutations), "--adjust", record.adjust]
        words += ["--level", f"{record.level:g}"]
        words += ["--layers-of", LABELS] * record.has_layers
    if isinstance(record, (Resamples, Calibration)):
        words += [part for name in _labels(provenance) for part in (f"--{name}", LABELS)]
        seed = _seed(provenance)
        words += ["--seed", str(seed)] * isinstance(seed, int)
    if getattr(record, "pairs", None) is not None:
        words += ["--missing", "pairwise"]
    words += ["--x64"] * (provenance.dtype == "float64")
    return [*words, "--out", "results"]


def _models_words(record, provenance):
    seed, measure, averaged = _seed(provenance), *_of_models(provenance)
    words = ["rdm", MODELS, "--against", SUBJECTS, "--compare", provenance.measure]
    words += ["--measure", measure] * bool(measure) + ["--subject-of", TEXT] * averaged
    words += ["--over", record.over, "--test", record.test, "--resamples", str(len(record.draws))]
    words += ["--squared"] * record.squared + ["--seed", str(seed)] * isinstance(seed, int)
    return [*words, "--level", f"{record.level:g}", *(["--x64"] * (provenance.dtype == "float64")), "--out", "results"]


def _of_models(provenance):
    """What made the maps of models that were features, and whether subjects had several maps."""
    made = [note.removeprefix(MADE_BY) for note in provenance.notes if note.startswith(MADE_BY)]
    return next(iter(made), ""), any(note.startswith(AVERAGED) for note in provenance.notes)


def _labels(provenance):
    """Kinds of labels of the images that a scheme had."""
    return [name for name in ("strata", "groups") if f"{name}=" in (provenance.scheme or "")]


def _seed(provenance):
    """The seed of a key, or an expression of it that is none."""
    text = provenance.key or ""
    if found := _KEY.fullmatch(text):
        return int(found[1])
    kind, _, words = text.partition(":")
    try:
        return f"jax.random.wrap_key_data(jax.numpy.array({ast.literal_eval(words)}, 'uint32'), impl={kind!r})"
    except (SyntaxError, ValueError):
        return 0


def python(records: Sequence[Any], level: float = 0.95) -> str:
    """Lines of Python that make the records and their report again.

    Example:
        >>> import jaxsim as js
        >>> print(python([js.affinity(js.demo.features(), "cka")]))
        import jaxsim as js
        <BLANKLINE>
        features = js.read_features("FEATURES")[0]
        affinity = js.affinity(features, "cka-linear")
        js.report(affinity, path="report.html")
    """
    lines, names, loaded = [], [], set()
    imports = ["import jaxsim as js"]
    for record in records:
        name, line = _line(record, names, loaded)
        names.append(name)
        lines.append(line)
    if any("jax." in line for line in lines) or any(_dtype(r) == "float64" for r in records):
        imports.insert(0, "import jax")
    setup = ['jax.config.update("jax_enable_x64", True)'] * any(_dtype(r) == "float64" for r in records)
    files = {"features": FEATURES, "maps": FEATURES, "others": OTHERS, "models": MODELS, "subjects": SUBJECTS}
    setup += [f'{name} = js.read_features("{file}")[0]' for name, file in files.items() if name in loaded]
    setup += [f"{name} = ...  # labels of the images" for name in ("strata", "groups") if name in loaded]
    setup += ["subject_of = ...  # the subject of each map"] * ("subject_of" in loaded)
    setup += ["layers_of = ...  # the network of each layer"] * ("layers_of" in loaded)
    last = f", level={level:g}" if level != 0.95 else ""
    return "\n".join([*imports, "", *setup, *lines, f'js.report({", ".join(names)}, path="report.html"{last})'])


def _dtype(record):
    return getattr(getattr(record, "provenance", None), "dtype", "")


def _line(record, names, loaded):
    """A free name for a record, and the line that makes it; `loaded` collects what the line reads."""
    kind = {ModelComparison: "comparison"}.get(type(record), type(record).__name__.lower())
    name = next(n for n in (kind, *(f"{kind}_{k}" for k in range(2, len(names) + 3))) if n not in names)
    provenance = getattr(record, "provenance", None)
    if isinstance(record, Tree):
        linkage = next((k for k, one in LINKAGES.items() if one.name == record.convention), "")
        own = "" if linkage == "average" else f", linkage=js.taxonomy.{linkage or '...'}" + "_linkage" * bool(linkage)
        half = ", symmetrize=True" * record.symmetrized
        source = next((n for n in names if n.startswith("affinity")), None)
        made = source or _affinity(provenance, False, loaded)
        if not source and made is None:
            return name, f'{name} = js.load("{name}.npz")'
        line = f"{name} = js.taxonomy.tree({made}{own}{half})"
        resamples = next((n for n in names if n.startswith("resamples")), None)
        if record.support is not None and resamples:
            line = f"{name} = js.taxonomy.branch_support(js.taxonomy.tree({made}{own}{half}), {resamples})"
        return name, line
    if isinstance(record, ModelComparison) and measures.is_known(record.provenance.measure):
        return name, f"{name} = {_compared(record, record.provenance, loaded)}"
    if not isinstance(record, (Affinity, Resamples, Calibration)) or not measures.is_known(record.provenance.measure):
        return name, f'{name} = js.load("{name}.npz")'
    if isinstance(record, Affinity):
        provenance = record.provenance
        pairwise = ', missing="pairwise"' * (record.pairs is not None)
        return name, f"{name} = {_affinity(provenance, record.against, loaded, pairwise)}"
    provenance = record.provenance
    measure, first = _measure(provenance, loaded)
    more = [first, measure]
    labels = _labels(provenance)
    loaded.update(labels)
    words = [f"{one}={one}" for one in labels]
    if isinstance(record, Resamples):
        size = [f"size={record.size}"] * (record.kind == "subsample")
        more.append(f"js.{NAMED[record.kind].__name__}({', '.join([*size, *words])})")
        more += [f"n_resamples={len(record.values)}"] * (record.kind != "jackknife")
        verb = "resample"
    else:
        more += [f"n_permutations={record.n_permutations}", f'adjust="{record.adjust}"']
        more += [f"level={record.level:g}", *words]
        if record.has_layers:
            loaded.add("layers_of")
            more.append("layers_of=layers_of")
        verb = "calibrate"
    more += [f"key={_seed(provenance)}"] * bool(provenance.key)
    if record.against:
        loaded.add("others")
        more.append("against=others")
    return name, f"{name} = js.{verb}({', '.join(more)})"


def _compared(record, provenance, loaded):
    loaded.update({"models", "subjects"})
    measure, averaged = _of_models(provenance)
    words = ["models", "subjects", f'"{provenance.measure}"', *([f'measure="{measure}"'] * bool(measure))]
    words += [f'over="{record.over}"', f'test="{record.test}"', f"n_resamples={len(record.draws)}"]
    words += [f"key={_seed(provenance)}", f"level={record.level:g}", *(["squared=True"] * record.squared)]
    if averaged:
        loaded.add("subject_of")
        words.append("subject_of=subject_of")
    return f"js.compare_models({', '.join(words)})"


def _measure(provenance, loaded):
    """The measure as an argument, and the name of what it is of."""
    name = provenance.measure.lower()
    of_maps = name in measures.PARTS["compare"]
    loaded.add("maps" if of_maps else "features")
    value = f"js.compare.{name.replace('-', '_')}" if of_maps else f'"{name}"'
    return value, "maps" if of_maps else "features"


def _affinity(provenance, against, loaded, more=""):
    if not measures.is_known(provenance.measure):
        return None
    measure, first = _measure(provenance, loaded)
    if against:
        loaded.add("others")
        more = f", against=others{more}"
    verb = "compare_maps" if first == "maps" else "affinity"
    return f"js.{verb}({first}, {measure}{more})"
