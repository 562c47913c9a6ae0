"""Tables of the manual that follow from the package itself, as Markdown."""

import contextlib
import functools
import importlib
import inspect
import io
import json
import os
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

import jaxsim as js
from jaxsim import cli, measures, protocols

HERE = Path(__file__).parent
UNCHANGED = 1e-4
"""Largest difference of two float32 scores that counts as none."""


def changes(x: np.ndarray) -> dict[str, np.ndarray]:
    """Features after each change that a measure may or may not notice."""
    rng = np.random.default_rng(1)
    n, d = x.shape
    changed = {
        "rotation": np.matmul(x, np.linalg.qr(rng.normal(size=(d, d)))[0]),
        "one scale for all features": 3 * x,
        "a shift of each feature": x + 2 * rng.normal(size=d),
        "a scale for each feature": x * rng.uniform(0.2, 3, d),
        "a scale for each image": x * rng.uniform(0.2, 3, (n, 1)),
        "an offset for each image": x + 2 * rng.normal(size=(n, 1)),
        "an invertible linear map": np.matmul(x, np.eye(d) + rng.normal(size=(d, d))),
    }
    return {name: values.astype(x.dtype) for name, values in changed.items()}


@functools.cache
def invariances() -> dict[str, dict[str, bool]]:
    """For every named measure, whether each change of one network's features leaves the score as it is."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(40, 12))
    x, y = ((shared + 0.6 * rng.normal(size=shared.shape) + 0.3).astype(np.float32) for _ in "xy")
    found = changes(x)
    names = list(measures.NAMED)
    scores = js.affinity(np.stack([x, *found.values()]), names, against=y[None])
    columns = {name: np.asarray(a.values)[:, 0] for name, a in zip(names, scores, strict=True)}
    return {
        name: {change: bool(abs(v - first) < UNCHANGED) for change, v in zip(found, rest, strict=True)}
        for name, (first, *rest) in columns.items()
    }


@functools.cache
def gradients() -> dict[str, bool]:
    """For every named measure, whether its gradient is other than zero."""
    x, y = jax.random.normal(jax.random.key(0), (2, 12, 5))
    slopes = jax.jit(lambda a: {name: jax.grad(m)(a, y) for name, m in measures.NAMED.items()})(x)
    return {name: bool(jnp.any(slope != 0)) for name, slope in slopes.items()}


def _parts(measure):
    return [measures.name_of(part) for part in (measure.transform, measure.pairwise, measure.compare)]


def _table(*rows):
    head, *body = [["" if cell is None else str(cell) for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def _link(name):
    return f"[{name}]({name}.md)" if (HERE / "measures" / f"{name}.md").exists() else f"{name} (no page yet)"


def measures_table() -> str:
    """Every named measure with its parts and source, linked to its page."""
    rows = [[_link(name), *_parts(measure), measure.source] for name, measure in measures.NAMED.items()]
    return _table(["name", "transform", "pairwise", "compare", "source"], *rows)


def invariances_table() -> str:
    """Which changes leave which measure's scores as they are, tried on numbers."""
    found = invariances()
    changed = list(next(iter(found.values())))
    rows = [[_link(name), *("✓" if same[c] else "" for c in changed)] for name, same in found.items()]
    return _table(["", *changed], *rows)


def measure_facts(name: str) -> str:
    """What the package says of one measure."""
    measure, same = measures.NAMED[name], invariances()[name]
    aliases = [f'`"{alias}"`' for alias, known in measures.ALIASES.items() if known == name]
    value = next(n for n in js.__all__ if getattr(js, n) is measure)
    own = protocols.declared(measure.compare, protocols.ComparatorCapabilities)
    facts = {
        "in code": ", ".join([f"`js.{value}`", f'`"{name}"`', *aliases]),
        "parts": " → ".join(f"`{part}`" for part in _parts(measure)),
        "source": measure.source,
        "fewest images": own.min_images,
        "unchanged by": "; ".join(change for change, kept in same.items() if kept),
        "changed by": "; ".join(change for change, kept in same.items() if not kept),
        "gradient": "useful" if gradients()[name] else "zero everywhere, as ranks do not move with small changes",
    }
    return "\n".join(f"* **{fact}:** {text}" for fact, text in facts.items())


def parts_table(kind: str) -> str:
    """Every transform, pairwise function or comparator with its record and first line."""
    rows = []
    for name, value in measures.PARTS[kind].items():
        rows.append([f"`{name.replace('-', '_')}`", f"`{value!r}`", inspect.getdoc(type(value)).splitlines()[0]])
    return _table(["value", "record", "meaning"], *rows)


def schemes_table() -> str:
    """Every resampling scheme with the first line of its docstring."""
    known = js.schemes.NAMED.items()
    rows = [[f'`{value.__name__}` `"{name}"`', inspect.getdoc(value).splitlines()[0]] for name, value in known]
    return _table(["scheme", "resamples"], *rows)


def coverage_table() -> str:
    """Coverage of the default interval, from the results of `benchmarks.coverage`."""
    return _coverage()[0]


def coverage_of_schemes() -> str:
    """Coverage of every scheme, from the results of `benchmarks.coverage`."""
    return _coverage()[1]


def levels() -> str:
    """Realized levels of every other procedure, from the results of `benchmarks.coverage --study`."""
    from benchmarks import coverage_studies

    made = [name for name in coverage_studies.studies() if (coverage_studies.RESULTS / f"{name}.json").exists()]
    return "\n\n".join(coverage_studies.render(name) for name in made)


def _coverage():
    from benchmarks import coverage_table as coverage

    results = json.loads((HERE.parent / "benchmarks" / "results" / "coverage.json").read_text())
    return [block for block in coverage.render(results).split("\n\n") if block.startswith("|")]


def commands() -> str:
    """Every command with its help."""
    return "\n\n".join(f"## {name}\n\n```text\n{_help(name)}\n```" for name in cli.COMMANDS)


def _help(command):
    text = io.StringIO()
    with contextlib.redirect_stdout(text), mock.patch.dict(os.environ, COLUMNS="100"):
        cli.main([command, "--help"])
    return text.getvalue().rstrip()


def public_names(module: str) -> list[str]:
    """Names that a module offers: its `__all__`, or what it or its parts define without an underscore."""
    found = importlib.import_module(module)
    named = getattr(found, "__all__", None) or [
        name
        for name, value in vars(found).items()
        if name[0] != "_" and f"{getattr(value, '__module__', '')}.".startswith(f"{module}.")
    ]
    return [name for name in named if name[0] != "_" and not inspect.ismodule(getattr(found, name))]


def reference(module: str) -> str:
    """Reference of a module: its docstring, and every public class, function and value."""
    lines, values = [f".. automodule:: {module}\n   :no-members:\n"], []
    for name in public_names(module):
        value = getattr(importlib.import_module(module), name)
        if inspect.isclass(value):
            kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
            # records share methods with a private base; other bases are Python's own
            inherited = "   :inherited-members:\n" if hasattr(value, "_arrays") else ""
            lines.append(f".. {kind}:: {module}.{name}\n{inherited}")
        elif inspect.isroutine(value):
            lines.append(f".. autofunction:: {module}.{name}\n")
        else:
            values.append(f"`{name}`")
    if values:
        lines.append(f"Values: {', '.join(values)}.\n".replace("`", "``"))
    return "\n".join(["```{eval-rst}", *lines, "```"])
