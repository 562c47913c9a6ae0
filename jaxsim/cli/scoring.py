"""The commands `affinity` and `bootstrap`, and scoring for the others."""

import csv
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import engine, io, plotting, resampling, schemes, taxonomy
from jaxsim.cli.loading import places, read_measures, read_set
from jaxsim.cli.output import emit, note, progress, staged, table
from jaxsim.results import Affinity

_ROWS = 30


def run_affinity(arguments: Namespace) -> None:
    """Affinity matrices, one or several, with their pictures."""
    chosen = read_measures(arguments.measure)
    where = places(list(chosen))
    names = [w + n for w in where.values() for n in ("affinity.npz", "affinity.csv", "affinity.png")]
    with staged(arguments.out, names, overwrite=arguments.overwrite) as folder:
        found = score(arguments, arguments.features, arguments.against, chosen)
        for affinity, place in zip(found, where.values(), strict=True):
            (folder / place).mkdir(exist_ok=True)
            save_affinity(affinity, folder / place)
    files = [str(Path(arguments.out) / name) for name in names]
    parts = [f"{label}\n{describe(a)}" for label, a in zip(chosen, found, strict=True)]
    values = [{"measure": label} | a.to_json() for label, a in zip(chosen, found, strict=True)]
    emit(arguments, "\n\n".join(parts), {"affinities": values, "files": files})
    note(arguments, f"wrote {', '.join(names)} in {arguments.out}")


def score(arguments: Namespace, path: str, against: str | None, chosen: Mapping[str, Any]) -> list[Affinity]:
    """One matrix per measure, of the features at `path` with themselves or with those at `against`."""
    features, ids = read_set(path, arguments.ids, x64=arguments.x64)
    options = {"align": arguments.align, "memory": memory(arguments)}
    wanted = list(chosen.values())
    note(arguments, f"{len(features)} networks from {path}; {', '.join(chosen)}")
    if against is None:
        return engine.affinity(features, wanted, ids=ids, **options)
    others, other_ids = read_set(against, x64=arguments.x64)
    return engine.affinity(features, wanted, against=others, ids=ids, against_ids=other_ids, **options)


def memory(arguments: Namespace) -> int | None:
    """The budget in bytes, or None."""
    return None if arguments.memory is None else int(arguments.memory * 2**30)


def save_affinity(affinity: Affinity, folder: Path) -> None:
    """Write the record, the table and the picture."""
    affinity.save(folder / "affinity.npz")
    io.write_csv_matrix(folder / "affinity.csv", affinity.values, affinity.names, affinity.targets)
    plotting.save_figure(plotting.affinity_heatmap(affinity, order_of(affinity)), folder / "affinity.png")


def order_of(affinity: Affinity) -> Any:
    """A tree to order a picture by, or None where the matrix has none: two sets, or undefined scores."""
    if not affinity.square or len(affinity.names) < 2 or not np.isfinite(np.asarray(affinity.values)).all():
        return None
    return taxonomy.tree(affinity)


def describe(affinity: Affinity) -> str:
    """Small matrices whole, larger ones as the most similar other network of each target."""
    if max(np.shape(affinity.values)) <= 12:
        cells = np.asarray(affinity.values, dtype=float).tolist()
        marks = [str(i + 1) for i in range(len(affinity.targets))]
        tags = [f"{i + 1:>{len(marks[-1])}} {n}" if affinity.square else n for i, n in enumerate(affinity.names)]
        shown = table(["", *marks], [[tag, *line] for tag, line in zip(tags, cells, strict=True)])
        columns = ", ".join(f"{m} {t}" for m, t in zip(marks, affinity.targets, strict=True))
        return shown if affinity.square else f"{shown}\ncolumns: {columns}"
    best = [(t, *next(iter(affinity.ranking(t)), ("", float("nan")))) for t in affinity.targets]
    return table(["target", "most similar", "score"], best, limit=_ROWS)


def run_bootstrap(arguments: Namespace) -> None:
    """Resampled matrices with intervals, or p values."""
    chosen = read_measures(arguments.measure)
    where, permuted = places(list(chosen)), arguments.scheme == "permutation"
    each = ["resamples.npz", "p_values.csv"] if permuted else ["resamples.npz", "intervals.csv", "ranking.png"]
    names = [w + n for w in where.values() for n in each]
    scheme = scheme_of(arguments)
    with staged(arguments.out, names, overwrite=arguments.overwrite) as folder:
        found = resampled(arguments, chosen, scheme)
        target = arguments.target or found[0].targets[0]
        tables = []
        for resamples, place in zip(found, where.values(), strict=True):
            (folder / place).mkdir(exist_ok=True)
            resamples.save(folder / place / "resamples.npz")
            header, rows = pairs(resamples, arguments.level, permuted)
            write_rows(folder / place / each[1], header, rows)
            tables.append((header, rows))
            if not permuted:
                shown = plotting.ranking(resamples, target, arguments.level)
                plotting.save_figure(shown, folder / place / "ranking.png")
    files = [str(Path(arguments.out) / name) for name in names]
    parts = [f"{label}\n{table(h, r, limit=_ROWS)}" for label, (h, r) in zip(chosen, tables, strict=True)]
    lists = [[dict(zip(h, line, strict=True)) for line in r] for h, r in tables]
    values = [{"measure": label, "pairs": rows} for label, rows in zip(chosen, lists, strict=True)]
    settings = {"scheme": scheme.kind, "level": arguments.level, "seed": arguments.seed}
    emit(arguments, "\n\n".join(parts), settings | {"resamples": values, "files": files})
    note(arguments, f"wrote {', '.join(names)} in {arguments.out}")


def scheme_of(arguments: Namespace) -> Any:
    """The resampling scheme that the arguments name.

    Raises:
        ValueError: a subset size is missing, or given for another scheme.
    """
    if (arguments.size is not None) != (arguments.scheme == "subsample"):
        raise ValueError("--size goes with --scheme subsample, which needs it.")
    if arguments.scheme == "subsample":
        return schemes.Subsample(size=arguments.size)
    kinds: dict[str, Callable[[], Any]] = {
        "halves": schemes.HalfSamples,
        "bootstrap": schemes.Bootstrap,
        "bayesian": schemes.BayesianBootstrap,
        "jackknife": schemes.Jackknife,
        "permutation": schemes.Permutation,
    }
    return kinds[arguments.scheme]()


def _count(arguments: Namespace) -> int | None:
    """Resamples asked for, or those that the scheme makes do with; the jackknife has its own number."""
    if arguments.scheme == "jackknife":
        return None
    return arguments.resamples or (100 if arguments.scheme == "halves" else 1000)


def resampled(arguments: Namespace, chosen: Mapping[str, Any], scheme: Any) -> list[Any]:
    """Resamples of each measure.

    Raises:
        ValueError: `--target` is no target.
    """
    import jax

    features, ids = read_set(arguments.features, arguments.ids, x64=arguments.x64)
    others, other_ids = read_set(arguments.against, x64=arguments.x64) if arguments.against else (None, None)
    targets = list(others or features)
    if arguments.target is not None and arguments.target not in targets:
        raise ValueError(f"--target {arguments.target} is no target; there are {', '.join(targets)}.")
    note(arguments, f"{len(features)} networks from {arguments.features}; {', '.join(chosen)}")
    return resampling.resample(
        features,
        list(chosen.values()),
        scheme,
        n_resamples=_count(arguments),
        key=jax.random.key(arguments.seed),
        against=others,
        ids=ids,
        against_ids=other_ids,
        align=arguments.align,
        memory=memory(arguments),
        progress=progress(arguments, "resamples"),
    )


def pairs(resamples: Any, level: float, permuted: bool = False) -> tuple[list[str], list[list[Any]]]:
    """One row per pair of different networks; each pair once where both orders give the same score."""
    estimate = np.asarray(resamples.estimate, dtype=float)
    if permuted:
        columns = {"estimate": estimate, "p": np.asarray(resamples.p_value(), dtype=float)}
    else:
        low, high = (np.asarray(v, dtype=float) for v in resamples.interval(level))
        error = np.asarray(resamples.standard_error(), dtype=float)
        columns = {"estimate": estimate, "standard error": error, "low": low, "high": high}
    square = resamples.square
    rows = []
    for (i, j), _ in np.ndenumerate(estimate):
        if not square or i < j:
            scores = [float(c[i, j]) for c in columns.values()]
            rows.append([resamples.names[i], resamples.targets[j], *scores])
    return ["source", "target", *columns], rows


def write_rows(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    """Write a table as CSV."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([header, *rows])
