"""Arguments shared by several commands, and the types of their values."""

from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace
from typing import Any

FORMATS = ("png", "svg", "pdf")
"""Formats of figures."""


def add_features(command: ArgumentParser) -> None:
    """Add the networks to compare, and options for reading their files."""
    text = (
        "a folder with one file per network, or one or more files: npy, npz, pt or pth from torch.save, safetensors, "
        "h5, hdf5, mat, pkl with a dict of arrays, or csv, tsv or txt tables with one row per image. Arrays are "
        "(images, ..., channels), with the same images in the same order. The networks of all files are compared "
        "together. Image ids are read from an entry named ids, the first column of a table, or image_ids.txt next to "
        "the files"
    )
    command.add_argument("features", metavar="FEATURES", nargs="+", help=text)
    text = "compare FEATURES with these networks instead of with each other; repeatable"
    command.add_argument("--against", metavar="FEATURES", action="append", help=text)
    add_reading(command)


def add_reading(command: ArgumentParser) -> None:
    """Add options for reading feature files."""
    group = command.add_argument_group("feature files")
    text = (
        "read each npy file or single tensor as several networks, (networks, images, ...), or with --no-stack as one "
        "network, (images, ...); default: several if there is only one file and its array has three or more axes"
    )
    group.add_argument("--stack", action=BooleanOptionalAction, help=text)
    text = (
        "FEATURES is a folder with one npy, npz, pt or pth file per image, or a folder with one such folder per network"
    )
    group.add_argument("--per-image", action="store_true", help=text)
    add_channels(group)


def add_channels(group: Any) -> None:
    """Add the position of channels in arrays, to a group or a command."""
    text = (
        "position of the channels. first: (images, channels, ...), as in PyTorch; last, the default: (images, ..., "
        "channels)"
    )
    group.add_argument("--channels", choices=("first", "last"), help=text)


def add_missing(command: ArgumentParser) -> None:
    """Add what to do if networks lack images, or maps lack pairs of images."""
    text = (
        "what to do about missing images. pairwise: compare two maps on the pairs of images that both have (NaN marks "
        "a missing pair), and with --align compare two networks on the images that both have. shared, the default: "
        "the scores of a map that lacks pairs are NaN, and with --align only the images that all networks have are used"
    )
    command.add_argument("--missing", choices=("shared", "pairwise"), help=text)


def add_measures(command: ArgumentParser, *default: str, several: bool = True) -> None:
    """Add one measure, or several, with their defaults."""
    more = "; repeatable" if several else ""
    text = f"name from `jaxsim measures`, or dds:TRANSFORM,PAIRWISE; default: {' and '.join(default)}{more}"
    command.add_argument("--measure", metavar="NAME", action="append", help=text)
    command.set_defaults(default_measures=default)


def add_draws(command: ArgumentParser) -> None:
    """Add the seed of resampling and the level of intervals."""
    add_seed(command)
    text = "confidence level of the intervals; default: %(default)s"
    command.add_argument("--level", type=share, default=0.95, metavar="P", help=text)


def add_seed(command: ArgumentParser, of: str = "") -> None:
    """Add the seed, for everything random or for some of it."""
    command.add_argument("--seed", type=seed, default=0, metavar="N", help=f"random seed{of}; default: %(default)s")


def add_labels(command: ArgumentParser) -> None:
    """Add labels of the images: strata that resamples preserve, and groups that they draw whole."""
    text = (
        "labels of the images, npy or text with one per line; every resample keeps the proportions of the labels. Use "
        "this if new images would come from the same classes"
    )
    command.add_argument("--strata", metavar="FILE", help=text)
    text = (
        "labels of the images, such as class, scene or recording run; whole groups are drawn. Use this if new images "
        "would come from new groups"
    )
    command.add_argument("--groups", metavar="FILE", help=text)


def refuse(arguments: Namespace, why: str, *names: str) -> None:
    """Reject options that have no effect in a combination, instead of ignoring them.

    Raises:
        ValueError: one of them is given.
    """
    for name in names:
        value, no_stack = getattr(arguments, name), name == "stack" and arguments.stack is False
        if value is True or no_stack or name in vars(arguments).get("given", ()):
            flag = "--no-stack" if no_stack else f"--{name.replace('_', '-')}"
            raise ValueError(f"{flag} has no effect {why}; leave it out.")


def add_computing(
    command: ArgumentParser, *, of: str = "FEATURES", devices: bool = True, tile: bool = False, explain: bool = False
) -> None:
    """Add image ids, memory, devices and precision, and optionally tile size and plan."""
    group = command.add_argument_group("images and computing")
    group.add_argument("--ids", metavar="FILE", help=f"image ids of {of}: npy, or text with one id per line")
    group.add_argument(
        "--align", action="store_true", help="match images by their ids, and leave out images that some networks lack"
    )
    group.add_argument("--memory", type=gigabytes, metavar="GB", help="most memory to use on each device")
    if devices:
        text = "number of devices to divide the work among; default: all accelerators of this machine, or the processor"
        group.add_argument("--devices", type=count, metavar="N", help=text)
    if tile:
        text = "compute maps in blocks of this many images, never all at once, and read features in such blocks too"
        group.add_argument("--tile", type=int, metavar="IMAGES", help=text)
    if explain:
        text = "print how the scores would be computed, and the memory and time it would take, and write nothing"
        group.add_argument("--explain", action="store_true", help=text)
    group.add_argument("--x64", action="store_true", help="compute in float64")


def only_explains(arguments: Namespace) -> bool:
    """Whether --explain asks only for the plan, which needs no --out.

    Raises:
        ValueError: --report is combined with it, or both it and --out are missing.
    """
    if arguments.explain:
        refuse(arguments, "with --explain, which writes nothing", "report")
    elif arguments.out is None:
        raise ValueError("give --out DIR, the folder for the results; only --explain works without it.")
    return arguments.explain


def add_output(command: ArgumentParser, *, required: bool = True, figures: bool = True, tables: bool = True) -> None:
    """Add the output folder, and the formats of figures and tables for commands that write them."""
    group = command.add_argument_group("output")
    group.add_argument("--out", required=required, metavar="DIR", help="folder for the results")
    group.add_argument("--overwrite", action="store_true", help="replace existing results")
    if tables:
        text = "in csv files, put ' before names that a spreadsheet would read as formulas"
        group.add_argument("--spreadsheet", action="store_true", help=text)
    if figures:
        text = "one or more of png, svg and pdf for the figures, separated by commas; default: png"
        group.add_argument("--format", type=formats, default=("png",), metavar="LIST", help=text)


def add_report(command: ArgumentParser) -> None:
    """Add the report of results, after `add_output`."""
    text = "also write report.html, the results on one page for a browser, as `jaxsim report` does"
    command.add_argument("--report", action="store_true", help=text)


def add_dataset(command: ArgumentParser) -> None:
    """Add a dataset, a bank of encoders, and the pictures to compute similarity on."""
    text = (
        "folder of a dataset: VOC2012 (with SBD next to it, if available), PASCAL_MT, the official NYUv2 files, "
        "NYUD_MT, Taskonomy in any of its layouts, or any pictures if no labels are needed"
    )
    command.add_argument("data", metavar="DATA", help=text)
    text = "layout of DATA, such as voc; an unknown name lists all layouts; default: detected"
    command.add_argument("--layout", metavar="NAME", help=text)
    text = "in an incomplete Taskonomy folder, leave out the pictures that lack a file, and report their number"
    command.add_argument("--complete-only", action="store_true", help=text)
    text = "file with encoders of tasks; repeatable; default: the small encoders of the built-in world"
    command.add_argument("--bank", metavar="FILE", action="append", help=text)
    text = "pictures to compute similarity on; default: 200"
    command.add_argument("--images", type=count, metavar="N", help=text)
    command.add_argument(
        "--size", type=count, metavar="PIXELS", help="side of the pictures; default: that of the encoder"
    )
    add_seed(command)
    command.add_argument("--quick", action="store_true", help="use few pictures, resamples and epochs")
    command.add_argument("--work", metavar="DIR", help="keep finished work here, so that a killed run can continue")


def add_layers(command: ArgumentParser) -> None:
    """Add one encoder from a file, and some of its layers."""
    command.add_argument("--name", metavar="NAME", help="name of the encoder in its file")
    command.add_argument(
        "--layer", metavar="NAME", action="append", help="use only this layer; * matches any text; repeatable"
    )
    text = "average all maps to the smallest grid among them, so that features describe equal parts of the picture"
    command.add_argument("--equal-view", action="store_true", help=text)


def add_training(command: ArgumentParser) -> None:
    """Add options for training branches."""
    group = command.add_argument_group("training")
    group.add_argument("--epochs", type=count, metavar="N", help="default: 60, and 200 for NYUv2")
    group.add_argument("--batch", type=count, default=8, metavar="N", help="pictures per step; default: %(default)s")
    text = "peak learning rate; default: %(default)s"
    group.add_argument("--learning-rate", type=positive, default=1e-3, metavar="R", help=text)
    text = "sgd or adam; default: %(default)s"
    group.add_argument("--optimizer", default="sgd", metavar="NAME", help=text)
    group.add_argument("--seeds", type=count, default=1, metavar="K", help="runs per network; default: %(default)s")


def count(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def seed(text: str) -> int:
    """A whole number that fits in 31 bits."""
    if not text.isdecimal() or int(text) >= 2**31:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**31 - 1}")
    return int(text)


def positive(text: str) -> float:
    """A number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number above zero")
    return value


def share(text: str) -> float:
    """A number between 0 and 1."""
    value = positive(text)
    if value >= 1:
        raise ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return value


def formats(text: str) -> tuple[str, ...]:
    """Comma-separated formats of figures."""
    found = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",")))
    odd = [one for one in found if one not in FORMATS]
    if odd:
        raise ArgumentTypeError(f"{odd[0]!r} is not one of the formats {', '.join(FORMATS)}")
    return found


def gigabytes(text: str) -> int:
    """A number of gigabytes, in bytes."""
    return int(positive(text) * 2**30)
