"""Extract features of pictures with encoders, for the other commands.

Encoders are files from `jaxsim convert` or `jaxsim rooms`, or with --encoder rooms the shipped ones. By default
each gets the preprocessing it was trained with:
  ResNet-50 of torchvision   imagenet: short side of 256 pixels, center crop of 224, ImageNet mean and deviation
  networks of Taskonomy      center square of 256 pixels in [-1, 1]; depending on the encoder's name, which must be
                             that of its task, also low saturation, lightness only, or the center hidden
  small encoders             unit: pictures in [0, 1] at their own size or that of --size; those of the built-in
                             world at the size they were trained on, gray for colorization
--preprocessing rgb2depth sets another preprocessing for all encoders, --preprocessing ENCODER=rgb2depth for one.

Writes the folder DIR, complete or not at all:
  ENCODER.npy, or ENCODER.LAYER.npy with several layers per encoder: (images, ..., channels), float32
  image_ids.npy, features.json   the image of each row; how the features were made
Unfinished features are in DIR.part. After an error, Ctrl-C or a kill, run the same command again to continue.
If a picture cannot be read, repair or remove it first; --skip-damaged lists all such pictures and leaves them out.
Links to folders are followed; files with suffixes that Pillow does not read are counted and listed. Photographs in
a plain folder are rotated upright by their EXIF orientation; pictures of datasets stay aligned with their labels.
Transparency is dropped, gray is repeated, CMYK becomes RGB; animations and 16-bit pictures are rejected.
Memory use does not grow with the number of pictures.

Examples:
  jaxsim features pictures --encoder rooms --out features
  jaxsim features pictures --encoder depth.safetensors --encoder normals.safetensors --out features
  jaxsim features VOC2012 --split val --encoder resnet50.safetensors --layer "block*" --out voc
  jaxsim features nyu_depth_v2_labeled.mat --encoder resnet50.safetensors --pool --out features
"""

import json
import math
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxsim import extras
from jaxsim.cli.arguments import add_output, count
from jaxsim.cli.inputs import read_encoders
from jaxsim.cli.output import emit, note, progress, table
from jaxsim.io.files import counted


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    text = "safetensors file with one or more encoders, or rooms for the twenty shipped encoders; repeatable"
    command.add_argument("--encoder", metavar="FILE", action="append", required=True, help=text)
    text = "layer to extract; * matches any text; repeatable; default: the last layer of each encoder"
    command.add_argument("--layer", metavar="NAME", action="append", help=text)
    command.add_argument("--pool", action="store_true", help="write the mean over positions")
    add_pictures(command)
    add_output(command, figures=False, tables=False)


def add_pictures(command: ArgumentParser) -> None:
    """Add pictures, and how to read them and show them to encoders."""
    text = "folder of pictures or of a dataset; for nyu also the .mat file"
    command.add_argument("images", metavar="IMAGES", help=text)
    text = "layout of IMAGES, such as voc; an unknown name lists all layouts; default: detected"
    command.add_argument("--layout", "--dataset", metavar="NAME", help=text)
    text = "split of a dataset, such as val; default: the pictures for training"
    command.add_argument("--split", metavar="NAME", help=text)
    text = "read all pictures once first, then list and leave out those that cannot be read"
    command.add_argument("--skip-damaged", action="store_true", help=text)
    text = (
        "in an incomplete Taskonomy folder, read only the pictures that all its domains have, and report the number of "
        "others"
    )
    command.add_argument("--complete-only", action="store_true", help=text)
    text = "preprocessing to use instead of the default; see above; repeatable"
    command.add_argument("--preprocessing", metavar="[ENCODER=]NAME", action="append", help=text)
    command.add_argument("--size", type=count, metavar="PIXELS", help="side of the pictures; default: see above")
    text = "pictures per batch; default: %(default)s"
    command.add_argument("--batch", type=count, default=32, metavar="N", help=text)


def run(arguments: Namespace) -> None:
    """Extract features, continuing a stopped run."""
    with extras.needed("extracting features needs"):
        from jaxsim.vision import extraction
        from jaxsim.vision.extraction.storage import MARK, part_of
    pictures = read_pictures(arguments)
    encoders, preprocessing = read_preprocessed(arguments, arguments.encoder, "--encoder")
    note(arguments, f"{counted(len(pictures), 'picture')} ({pictures.layout}); {counted(len(encoders), 'encoder')}")
    try:
        out = extraction.extract(
            pictures,
            encoders,
            arguments.out,
            layers=arguments.layer or (),
            preprocessing=preprocessing,
            size=arguments.size,
            batch=arguments.batch,
            pool=arguments.pool,
            overwrite=arguments.overwrite,
            progress=progress(arguments, "pictures"),
        )
    except KeyboardInterrupt:
        if part_of(arguments.out).is_dir():
            note(
                arguments,
                f"\nfinished pictures are kept in {part_of(arguments.out)}; run the same command again to continue",
            )
        raise
    made = json.loads((out / MARK).read_text(encoding="utf-8"))["features"]
    rows = [
        [name, one["layer"], " x ".join(map(str, one["shape"])), len(pictures) * math.prod(one["shape"]) * 4 / 1e6]
        for name, one in made.items()
    ]
    text = table(["features", "layer", "shape of one", "MB"], rows)
    emit(arguments, text, {"pictures": len(pictures), "features": made, "out": str(out)})
    note(arguments, f"wrote {out}")


def read_pictures(arguments: Namespace) -> Any:
    """The dataset.

    Raises:
        ValueError: the layout is unknown, the folder has another layout or several, or the layout has no splits.
    """
    from jaxsim.vision.datasets import LAYOUTS, layout_named, recognize

    place = Path(arguments.images)
    name = arguments.layout or recognize(place)
    layout = layout_named(name).complete() if arguments.complete_only else layout_named(name)
    if arguments.split is not None and layout.split is None:
        several = ", ".join(name for name, one in LAYOUTS.items() if one.split is not None)
        raise ValueError(f"--split works only with --layout {several}; {name} has no splits.")
    found = layout.read(place, arguments.split or layout.split, ())
    return found.readable() if arguments.skip_damaged else found


def read_preprocessed(arguments: Namespace, paths: Sequence[str], flag: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The encoders in all files, and the preprocessing of those that do not use the default.

    Raises:
        ValueError: two encoders share a name, or --preprocessing names an unknown encoder.
    """
    from jaxsim.vision import models

    encoders: dict[str, Any] = {}
    chosen: dict[str, Any] = {}
    seen: set[str] = set()
    for path, found in read_encoders(paths, flag).items():
        encoders |= found
        chosen |= _of_built_in_world(found, models.safetensors_metadata(path))
    for text in arguments.preprocessing or ():
        encoder, separator, name = text.rpartition("=")
        if separator and encoder not in encoders:
            known = ", ".join(encoders)
            raise ValueError(f"--preprocessing {text}: there is no encoder {encoder!r}; choose from {known}.")
        of = encoder if separator else "all encoders"
        if of in seen:
            raise ValueError(f"--preprocessing is given twice for {of}; give it once.")
        seen.add(of)
        chosen |= dict.fromkeys([encoder] if separator else encoders, name)
    return encoders, chosen


def _of_built_in_world(encoders: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    """Preprocessing of encoders from `jaxsim rooms`: pictures of one size, gray for colorization."""
    from jaxsim.studies.rooms.encoders import preprocessing_of

    if "world_version" not in metadata:
        return {}
    size = metadata.get("recipe", {}).get("resolution")
    return {name: preprocessing_of(name).at(size) for name in encoders}
