"""The command `features`: pictures through encoders, to a folder that the other commands read."""

import json
import math
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from jaxsim import extras
from jaxsim.cli.arguments import LAYOUTS, add_output, count
from jaxsim.cli.inputs import read_encoders
from jaxsim.cli.output import emit, note, progress, table

SUMMARY = "features of pictures"
HELP = """Take the features that encoders have of pictures, for the commands that compare them.

Encoders are files of `jaxsim convert` or `jaxsim rooms`. Each is shown what it was trained on, by its kind:
  ResNet-50 of torchvision   imagenet: short side to 256 pixels, center of 224, ImageNet's mean and deviation
  networks of Taskonomy      center square of 256 pixels in [-1, 1] and, by the name of the encoder, which must be
                             that of its task: low saturation, the lightness alone, or the center hidden
  small encoders             unit: pictures in [0, 1] at their own size, or that of --size; those of the built-in
                             world at the size they were trained on, gray for colorization
--preprocessing rgb2depth gives another for all encoders, --preprocessing ENCODER=rgb2depth for one.

Writes the folder DIR, complete or not at all:
  ENCODER.npy, or ENCODER.LAYER.npy where an encoder has several layers: (images, ..., channels), float32
  image_ids.npy, features.json   which image each row is of; how the features were made
Until then they are in DIR.part. After an error, Ctrl-C or a kill the same command goes on there; a picture that
cannot be read may be mended or removed in between. Memory does not grow with the number of pictures.

examples:
  jaxsim features pictures --encoder depth.safetensors --encoder normals.safetensors --out features
  jaxsim features VOC2012 --split val --encoder resnet50.safetensors --layer "block*" --out voc
  jaxsim features nyu_depth_v2_labeled.mat --encoder resnet50.safetensors --pool --out features"""


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    command.add_argument("images", metavar="IMAGES", help="folder of pictures, or of a dataset; for nyu the .mat file")
    text = "safetensors file of one or more encoders; repeat it for several files"
    command.add_argument("--encoder", metavar="FILE", action="append", required=True, help=text)
    text = "layer to take, * being any text; repeat it for several; default: the last one of each encoder"
    command.add_argument("--layer", metavar="NAME", action="append", help=text)
    command.add_argument("--layout", "--dataset", choices=LAYOUTS, help="of IMAGES; default: detected")
    command.add_argument("--split", metavar="NAME", help="of voc, nyud_mt or pascal_mt; default: train")
    text = "what encoders are shown, where they should not be shown what they were trained on; see above"
    command.add_argument("--preprocessing", metavar="[ENCODER=]NAME", action="append", help=text)
    command.add_argument("--size", type=count, metavar="PIXELS", help="side of the pictures, instead of the usual")
    command.add_argument("--pool", action="store_true", help="write means over positions")
    command.add_argument("--batch", type=count, default=32, metavar="N", help="pictures at a time; default: 32")
    add_output(command)


def run(arguments: Namespace) -> None:
    """Take features; a stopped run goes on where it was."""
    with extras.needed("taking features needs"):
        from jaxsim.vision import extraction
        from jaxsim.vision.extraction.storage import MARK, part_of
    pictures = _pictures(arguments)
    encoders, shown = _encoders(arguments)
    note(arguments, f"{len(pictures)} pictures ({pictures.layout}); {len(encoders)} encoders")
    try:
        out = extraction.extract(
            pictures,
            encoders,
            arguments.out,
            layers=arguments.layer or (),
            preprocessing=shown,
            size=arguments.size,
            batch=arguments.batch,
            pool=arguments.pool,
            overwrite=arguments.overwrite,
            progress=progress(arguments, "pictures"),
        )
    except KeyboardInterrupt:
        if part_of(arguments.out).is_dir():
            note(arguments, f"\nwhat is done is kept in {part_of(arguments.out)}; the same command goes on there")
        raise
    made = json.loads((out / MARK).read_text(encoding="utf-8"))["features"]
    rows = [[name, one["layer"], _times(one["shape"]), _megabytes(one, len(pictures))] for name, one in made.items()]
    text = table(["features", "layer", "shape of one", "MB"], rows)
    emit(arguments, text, {"pictures": len(pictures), "features": made, "out": str(out)})
    note(arguments, f"wrote {out}")


def _times(shape: list[int]) -> str:
    return " x ".join(map(str, shape))


def _megabytes(one: dict[str, Any], pictures: int) -> float:
    return pictures * math.prod(one["shape"]) * 4 / 1e6


def _pictures(arguments: Namespace) -> Any:
    """The dataset.

    Raises:
        ValueError: a split is given for a layout that has none, or the folder is not of that layout, or of several.
    """
    from jaxsim.vision.datasets import LAYOUTS, recognize

    place = Path(arguments.images)
    layout = arguments.layout or recognize(place)
    how = LAYOUTS[layout]
    if arguments.split is not None and how.split is None:
        several = ", ".join(name for name, one in LAYOUTS.items() if one.split is not None)
        raise ValueError(f"--split goes with --layout {several}; {layout} is read whole.")
    return how.read(place, arguments.split or how.split, ())


def _encoders(arguments: Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """The encoders of all files, and the preprocessing of those for which one is given or stated by their file.

    Raises:
        ValueError: two encoders have one name, or --preprocessing names none.
    """
    from jaxsim.vision import models

    encoders: dict[str, Any] = {}
    shown: dict[str, Any] = {}
    for path, found in read_encoders(arguments.encoder, "--encoder").items():
        encoders |= found
        shown |= _of_built_in_world(found, models.safetensors_metadata(path))
    for text in arguments.preprocessing or ():
        encoder, separator, name = text.rpartition("=")
        if separator and encoder not in encoders:
            raise ValueError(
                f"--preprocessing {text}: there is no encoder {encoder!r}; there are {', '.join(encoders)}."
            )
        shown |= dict.fromkeys([encoder] if separator else encoders, name)
    return encoders, shown


def _of_built_in_world(encoders: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    """Preprocessing of encoders of `jaxsim rooms`: pictures of one size, gray for colorization."""
    from jaxsim.studies.rooms.encoders import preprocessing_of

    if "world_version" not in metadata:
        return {}
    size = metadata.get("recipe", {}).get("resolution")
    return {name: preprocessing_of(name).at(size) for name in encoders}
