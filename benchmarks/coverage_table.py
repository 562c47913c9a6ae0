"""Markdown tables from the JSON of `benchmarks.coverage`."""

import math

DEFAULT = "half-samples, Fisher t"
LOW, HIGH = 93.0, 97.0
SIZES = (100, 200, 500)


def render(results: dict) -> str:
    """Coverage of the default and of every other scheme."""
    return "\n\n".join([_heading(results), _default(results), _alternatives(results)])


def _heading(results):
    sets = [c["datasets"] for c in results["cells"].values()]
    error = 100 * math.sqrt(0.95 * 0.05 / max(sets))
    return (
        f"Share of 95 % intervals that contain the true value, in %, at true values of about 0.2 / 0.5 / 0.8; "
        f"{min(sets)} to {max(sets)} data sets per cell (standard error {error:.1f} at {max(sets)})."
    )


def _row(*cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def _shares(cell, scheme):
    return [100 * c / cell["datasets"] for c in cell["schemes"][scheme]["covered"]]


def _cells(results, group):
    found = {}
    for text, cell in results["cells"].items():
        name, n, kind = text.split(" ")
        if kind == group:
            found.setdefault(name, {})[int(n[2:])] = cell
    return found


def _text(shares):
    return " / ".join(f"{v:.1f}" if LOW <= v <= HIGH else f"**{v:.1f}**" for v in shares)


def _default(results):
    lines = [f"Default interval ({DEFAULT}); bold: outside {LOW:.0f} to {HIGH:.0f}.", ""]
    lines += [
        _row("measure", "true values", *(f"n = {n}" for n in SIZES), "data sets"),
        _row(*["---"] * (3 + len(SIZES))),
    ]
    for name, cells in _cells(results, "halves").items():
        truth = " / ".join(f"{v:.3f}" for v in results["truth"][name]["value"])
        columns = [_text(_shares(cells[n], DEFAULT)) if n in cells else "" for n in SIZES]
        lines.append(_row(name, truth, *columns, "/".join(str(cells[n]["datasets"]) for n in SIZES if n in cells)))
    return "\n".join(lines)


def _alternatives(results):
    """Per scheme and n: lowest and highest coverage over measures and levels, and the measures that fail."""
    lines = [
        "All schemes on the same populations: range of coverage over measures and levels, and the measures outside.",
        "",
    ]
    lines += [_row("scheme", "n", "lowest", "highest", f"outside {LOW:.0f} to {HIGH:.0f}"), _row(*["---"] * 5)]
    groups = [_cells(results, g) for g in ("halves", "weights")]
    for cells in groups:
        names = dict.fromkeys(s for sizes in cells.values() for c in sizes.values() for s in c["schemes"])
        for scheme in names:
            for n in SIZES:
                found = {name: _shares(sizes[n], scheme) for name, sizes in cells.items() if n in sizes}
                if not found:
                    continue
                flat = [v for shares in found.values() for v in shares]
                bad = [name for name, shares in found.items() if not all(LOW <= v <= HIGH for v in shares)]
                lines.append(_row(scheme, n, f"{min(flat):.1f}", f"{max(flat):.1f}", ", ".join(bad) or "none"))
    return "\n".join(lines)
