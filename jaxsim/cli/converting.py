"""The command `convert`: a checkpoint of a public network as an encoder of this package."""

import math
from argparse import Namespace
from pathlib import Path
from typing import Any

from jaxsim import extras
from jaxsim.cli.output import check, emit, note, table


def run_convert(arguments: Namespace) -> None:
    """Convert one checkpoint, with a table of what was taken and what was left out."""
    out = Path(arguments.out)
    if out.suffix != ".safetensors":
        raise ValueError(f"--out {out} must be a file that ends in .safetensors.")
    check(out.parent, [out.name], arguments.overwrite)
    with extras.needed("converting needs"):
        from jaxsim.vision import models
    checkpoint, name = Path(arguments.checkpoint), arguments.name or arguments.network
    found = models.from_checkpoint(checkpoint, arguments.network, leave_out=arguments.leave_out or ())
    origin = {"network": arguments.network, "checkpoint": checkpoint.name, "names_of": found.naming}
    models.to_safetensors({name: found.network}, out, origin, overwrite=arguments.overwrite)
    layers = _layers(found)
    values = {"layers": layers, "taken": found.taken, "left_out": found.left_out, "cast": found.cast}
    values |= {"notes": found.notes, "encoder": name, "file": str(out)}
    emit(arguments, _text(checkpoint, found, layers), origin | values)
    note(arguments, f"wrote {out}")


def _layers(found: Any) -> dict[str, dict[str, int]]:
    """Tensors and numbers in each layer."""
    from jaxsim.vision.models.weights import variables

    sizes = {name: math.prod(slot.shape) for name, slot in variables(found.network).items()}
    layers = sorted({name.split("/")[0] for name in sizes}, key=lambda layer: (layer == "code", layer != "stem", layer))
    inside = {layer: [size for name, size in sizes.items() if name.startswith(f"{layer}/")] for layer in layers}
    return {layer: {"tensors": len(counts), "numbers": sum(counts)} for layer, counts in inside.items()}


def _text(checkpoint: Path, found: Any, layers: dict[str, dict[str, int]]) -> str:
    rows = [[layer, counts["tensors"], counts["numbers"]] for layer, counts in layers.items()]
    rows.append(["in all", *(sum(row[i] for row in rows) for i in (1, 2))])
    lines = [f"{checkpoint}, names of {found.naming}", "", table(["layer", "tensors", "numbers"], rows)]
    if found.left_out:
        left = [[reason, len(keys), _some(keys)] for reason, keys in found.left_out.items()]
        lines += ["", table(["left out", "tensors", "names"], left)]
    if found.cast:
        lines += ["", f"made float32: {len(found.cast)} tensors ({', '.join(sorted(set(found.cast.values())))})"]
    return "\n".join([*lines, *([""] if found.notes else []), *found.notes])


def _some(keys: tuple[str, ...]) -> str:
    return ", ".join(keys[:2]) + (", ..." if len(keys) > 2 else "")
