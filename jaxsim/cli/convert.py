"""Convert a checkpoint of a public network to a safetensors file.

`jaxsim.vision.models.from_safetensors` and the other commands read the file. Every tensor is used, or left out
for a reason that is shown. If any tensor does not fit, nothing is written and an error names it.

Networks (--network):
  resnet50             ResNet-50 with the tensor names of torchvision, as in timm and the Places networks
  resnet50-taskonomy   encoders of Taskonomy: its own checkpoints, or their PyTorch port visual-prior

CHECKPOINT is one of:
  FILE.safetensors     tensors by name
  FILE.pth, FILE.pt    a state dict saved by torch.save, alone or inside a training checkpoint; needs PyTorch,
                       which reads only weights: no code in the file runs
  PREFIX               a TensorFlow V2 checkpoint, PREFIX.index and PREFIX.data-00000-of-00001; needs no TensorFlow

Prefixes that wrappers add to all names, such as module._orig_mod.backbone., are detected. If a file has several
sets of weights (raw and averaged, teacher and student), all are listed and one is read; choose another with
--entry and --prefix.

Examples:
  jaxsim convert resnet50.pth --network resnet50 --out resnet50.safetensors
  jaxsim convert rgb2depth/model.permanent-ckpt --network resnet50-taskonomy --out depth.safetensors
  jaxsim convert run.pth --network resnet50 --entry state_dict_ema --out averaged.safetensors
  jaxsim convert tuned.pth --network resnet50 --leave-out "head.*" --out tuned.safetensors
"""

import math
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from jaxsim import extras
from jaxsim.cli.output import emit, note, staged, table


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    command.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="the file, or the common prefix of TensorFlow's files"
    )
    command.add_argument("--network", required=True, metavar="NAME", help="the checkpoint's network; see above")
    text = "name of the encoder in the new file; default: the name of the network"
    command.add_argument("--name", metavar="NAME", help=text)
    text = "dict in the file that holds the weights, such as state_dict_ema or model/teacher; default: detected"
    command.add_argument("--entry", metavar="KEY", help=text)
    text = "text before the names of all tensors, such as module.encoder_k.; default: detected"
    command.add_argument("--prefix", metavar="TEXT", help=text)
    text = "leave out these tensors too; * matches any text; repeatable"
    command.add_argument("--leave-out", metavar="PATTERN", action="append", help=text)
    group = command.add_argument_group("output")
    group.add_argument("--out", required=True, metavar="FILE", help="file to write, FILE.safetensors")
    group.add_argument("--overwrite", action="store_true", help="replace an existing file")


def run(arguments: Namespace) -> None:
    """Convert one checkpoint, and list the tensors used and left out."""
    out = Path(arguments.out)
    if out.suffix != ".safetensors":
        raise ValueError(f"--out {out} must be a file that ends in .safetensors.")
    with extras.needed("converting needs"):
        from jaxsim.vision import models
    checkpoint, name = Path(arguments.checkpoint), arguments.name or arguments.network
    with staged(arguments, [out.name], folder=out.parent) as new:
        found = models.from_checkpoint(
            checkpoint,
            arguments.network,
            entry=arguments.entry,
            prefix=arguments.prefix,
            leave_out=arguments.leave_out or (),
        )
        origin = {"network": arguments.network, "checkpoint": checkpoint.name, "names_of": found.naming}
        origin |= {key: text for key in ("entry", "prefix") if (text := getattr(found, key))}
        models.to_safetensors({name: found.network}, new / out.name, origin)
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
    rows: list[list[Any]] = [[layer, *counts.values()] for layer, counts in layers.items()]
    rows.append(["total", *(sum(row[i] for row in rows) for i in (1, 2))])
    place = "".join(f", {key} {text}" for key in ("entry", "prefix") if (text := getattr(found, key)))
    lines = [f"{checkpoint}{place}, names of {found.naming}", "", table(["layer", "tensors", "numbers"], rows)]
    if found.left_out:
        left = [[reason, len(keys), _some(keys)] for reason, keys in found.left_out.items()]
        lines += ["", table(["left out", "number", "names (--json lists all)"], left)]
    if found.cast:
        lines += ["", f"cast to float32: {len(found.cast)} tensors ({', '.join(sorted(set(found.cast.values())))})"]
    return "\n".join([*lines, *([""] if found.notes else []), *found.notes])


def _some(keys: tuple[str, ...]) -> str:
    return ", ".join(keys[:2]) + (", ..." if len(keys) > 2 else "")
