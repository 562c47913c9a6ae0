"""The command `features`: pictures through encoders, to a folder that the other commands read."""

import json
import math
from argparse import Namespace
from pathlib import Path
from typing import Any

from jaxsim import extras
from jaxsim.cli.loading import read_encoders
from jaxsim.cli.output import emit, note, progress, table


def run_features(arguments: Namespace) -> None:
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
    """What encoders of `jaxsim rooms` were trained on: pictures of one size, gray for colorization."""
    from jaxsim.studies.rooms.encoders import preprocessing_of

    if "world_version" not in metadata:
        return {}
    size = metadata.get("recipe", {}).get("resolution")
    return {name: preprocessing_of(name).at(size) for name in encoders}
