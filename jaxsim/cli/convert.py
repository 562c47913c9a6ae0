"""The command `convert`: a checkpoint of a public network as an encoder of this package."""

import math
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from jaxsim import extras
from jaxsim.cli.output import check, emit, note, table

SUMMARY = "weights of a public network"
HELP = """Convert a checkpoint of a public network to a safetensors file for `jaxsim.vision.models.from_safetensors`.
Every tensor is used, or left out for a reason that is shown; else nothing is written, and an error names those
that do not fit.

networks (--network):
  resnet50             ResNet-50 with the names of torchvision, which timm and the Places networks keep
  resnet50-taskonomy   encoders of Taskonomy: its own checkpoints, or its PyTorch port visual-prior

CHECKPOINT is
  FILE.safetensors     tensors by name
  FILE.pth, FILE.pt    what torch.save wrote: a state dict, alone or within a dict of a training run. It needs
                       PyTorch, which reads weights only: no code in the file runs
  PREFIX               a TensorFlow V2 checkpoint, PREFIX.index and PREFIX.data-00000-of-00001; needs no TensorFlow

examples:
  jaxsim convert resnet50.pth --network resnet50 --out resnet50.safetensors
  jaxsim convert rgb2depth/model.permanent-ckpt --network resnet50-taskonomy --out depth.safetensors
  jaxsim convert tuned.pth --network resnet50 --leave-out "head.*" --out tuned.safetensors"""


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    command.add_argument("checkpoint", metavar="CHECKPOINT", help="the file, or the prefix of TensorFlow's files")
    names = ("resnet50", "resnet50-taskonomy")
    command.add_argument("--network", choices=names, required=True, help="what the checkpoint is of")
    command.add_argument("--name", metavar="NAME", help="of the encoder in the file; default: that of the network")
    text = "tensors to leave out besides those known to belong elsewhere; * is any text; repeat it for several"
    command.add_argument("--leave-out", metavar="PATTERN", action="append", help=text)
    group = command.add_argument_group("output")
    group.add_argument("--out", required=True, metavar="FILE", help="file to write, FILE.safetensors")
    group.add_argument("--overwrite", action="store_true", help="replace a file that is there already")


def run(arguments: Namespace) -> None:
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
