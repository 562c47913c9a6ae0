"""Arguments shared by several commands, and the types of their values."""

from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace
from typing import Any

FORMATS = ("png", "svg", "pdf")
"""Formats of figures."""


def add_features(command: ArgumentParser) -> None:
    """Add the networks to compare, and options for reading their files."""
    text = (
        "folder with one file per network, or files: npy, npz, pt or pth of torch.save, safetensors, h5, hdf5, mat, "
        "pkl with a dict of arrays, or tables in csv, tsv or txt, a row an image; arrays are (images, ..., channels), "
        "with the same images in the same order; several files are joined; image ids are read from an entry ids, the "
        "first column of a table, or image_ids.txt beside the files"
    )
    command.add_argument("features", metavar="FEATURES", nargs="+", help=text)
    text = "compare with these networks instead; repeatable"
    command.add_argument("--against", metavar="FEATURES", action="append", help=text)
    add_reading(command)


def add_reading(command: ArgumentParser) -> None:
    """Add options for reading feature files."""
    group = command.add_argument_group("files of features")
    text = (
        "each npy file or lone tensor holds several networks, (networks, images, ...), or with --no-stack one, "
        "(images, ...); "
        "default: a single file of three or more axes holds several"
    )
    group.add_argument("--stack", action=BooleanOptionalAction, help=text)
    text = "FEATURES is a folder of one npy, npz, pt or pth file per image, or of such folders, one per network"
    group.add_argument("--per-image", action="store_true", help=text)
    add_channels(group)


def add_channels(group: Any) -> None:
    """Add the position of channels in arrays, to a group or a command."""
    text = "first: arrays are (images, channels, ...), as in PyTorch; default: last"
    group.add_argument("--channels", choices=("first", "last"), help=text)


def add_missing(command: ArgumentParser) -> None:
    """Add what to do if networks lack images, or maps lack pairs of images."""
    text = (
        "pairwise: compare two maps on the pairs of images that both have (NaN stands for a missing pair), and with "
        "--align two networks on the images that both have; shared, the default: NaN for a map that lacks pairs, and "
        "with --align the images that all networks have"
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
    text = "level of the intervals; default: %(default)s"
    command.add_argument("--level", type=share, default=0.95, metavar="P", help=text)


def add_seed(command: ArgumentParser, of: str = "") -> None:
    """Add the seed, for everything random or for some of it."""
    command.add_argument("--seed", type=seed, default=0, metavar="N", help=f"random seed{of}; default: %(default)s")


def add_labels(command: ArgumentParser) -> None:
    """Add labels of the images: strata that resamples preserve, and groups that they draw whole."""
    text = (
        "labels of the images, npy or text with one per line: resamples hold every label in proportion; for new images"
    )
    command.add_argument("--strata", metavar="FILE", help=f"{text} of these very classes")
    text = "labels of the images (class, scene, recording run): whole groups are drawn; for new images of new groups"
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
        "--align", action="store_true", help="match images by their ids, and leave out those that some lack"
    )
    group.add_argument("--memory", type=gigabytes, metavar="GB", help="memory of each device to use at most")
    if devices:
        text = "devices of this machine to divide the work among; default: all accelerators, or the processor"
        group.add_argument("--devices", type=count, metavar="N", help=text)
    if tile:
        text = "compute maps in blocks of so many images, never whole, and read features so"
        group.add_argument("--tile", type=int, metavar="IMAGES", help=text)
    if explain:
        text = "print how the scores would be computed, with memory and time, and write nothing"
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
        raise ValueError("the folder for the results is needed: --out DIR; only --explain goes without.")
    return arguments.explain


def add_output(command: ArgumentParser, *, required: bool = True, figures: bool = True, tables: bool = True) -> None:
    """Add the output folder, and the formats of figures and tables for commands that write them."""
    group = command.add_argument_group("output")
    group.add_argument("--out", required=required, metavar="DIR", help="folder for the results")
    group.add_argument("--overwrite", action="store_true", help="replace existing results")
    if tables:
        text = "put ' before names in csv files that a spreadsheet would take for formulas"
        group.add_argument("--spreadsheet", action="store_true", help=text)
    if figures:
        text = "formats of figures, such as png,pdf; of png, svg and pdf; default: png"
        group.add_argument("--format", type=formats, default=("png",), metavar="LIST", help=text)


def add_report(command: ArgumentParser) -> None:
    """Add the report of results, after `add_output`."""
    text = "also write report.html: the results as one page for a browser, as `jaxsim report` does"
    command.add_argument("--report", action="store_true", help=text)


def add_dataset(command: ArgumentParser) -> None:
    """Add a dataset, a bank of encoders, and the pictures to compute similarity on."""
    text = (
        "folder of a dataset: VOC2012 (with SBD beside it, if available), PASCAL_MT, the official NYUv2 files, "
        "NYUD_MT, Taskonomy in any of its layouts, or any pictures if no labels are needed"
    )
    command.add_argument("data", metavar="DATA", help=text)
    text = "layout of DATA, such as voc; an unknown name lists all; default: detected"
    command.add_argument("--layout", metavar="NAME", help=text)
    text = "leave out the pictures of an incomplete Taskonomy folder that lack a file, and count them"
    command.add_argument("--complete-only", action="store_true", help=text)
    text = "file with encoders of tasks; repeatable; default: the small encoders of the built-in world"
    command.add_argument("--bank", metavar="FILE", action="append", help=text)
    text = "pictures to compute similarity on; default: 200"
    command.add_argument("--images", type=count, metavar="N", help=text)
    command.add_argument(
        "--size", type=count, metavar="PIXELS", help="side of the pictures; default: the encoder's own"
    )
    add_seed(command)
    command.add_argument("--quick", action="store_true", help="use few pictures, resamples and epochs")
    command.add_argument("--work", metavar="DIR", help="keep finished work here; a killed run continues from it")


def add_layers(command: ArgumentParser) -> None:
    """Add one encoder from a file, and some of its layers."""
    command.add_argument("--name", metavar="NAME", help="name of the encoder in its file")
    command.add_argument(
        "--layer", metavar="NAME", action="append", help="use only this layer; * matches any text; repeatable"
    )
    text = "compare maps averaged to the smallest grid among them, so that features speak of equal parts of the picture"
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
