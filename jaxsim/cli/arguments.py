"""Arguments that several commands take, and the types of their values."""

import argparse
from argparse import ArgumentParser

SIZES = ("tiny", "small", "paper", "wide", "deep", "large")
"""Sizes of small encoders; those of `models.SIZES`. Help and usage errors import none of what is listed here."""
LAYOUTS = ("nyu", "nyud_mt", "pascal_mt", "voc", "taskonomy", "folder")
"""Layouts of datasets; those of `branching.LAYOUTS`."""
TASKS = ("edge", "depth", "normals", "semantic", "object", "scene")
"""Tasks to branch for; those of `branching.KINDS`."""
FEATURES = """FEATURES is a directory with one file per network, or one file that holds several: npy, npz,
safetensors or HDF5. Each array is (images, ..., channels), with the same images in the same order."""
DATA = """DATA is a dataset's folder: VOC2012 (with SBD beside it, if there), PASCAL_MT, the official NYUv2 files,
NYUD_MT, Taskonomy in any of its layouts, or any pictures where no labels are needed. The layout is detected."""


def add_folder(command: ArgumentParser) -> None:
    """A dataset, a bank of encoders, and the pictures that similarity is computed on."""
    command.add_argument("data", metavar="DATA", help="a dataset's folder")
    command.add_argument("--layout", choices=LAYOUTS, help="of DATA; default: detected")
    text = "file of encoders of tasks; repeat it for several files; default: the small ones of the built-in world"
    command.add_argument("--bank", metavar="FILE", action="append", help=text)
    text = "pictures that similarity is computed on; default: 200"
    command.add_argument("--images", type=count, metavar="N", help=text)
    command.add_argument("--size", type=count, metavar="PIXELS", help="side of the pictures, instead of the usual")
    command.add_argument("--seed", type=seed, default=0, metavar="N", help="of all draws; default: 0")
    command.add_argument("--quick", action="store_true", help="few pictures, resamples and epochs")
    command.add_argument("--work", metavar="DIR", help="keep what is done here; a killed run goes on there")


def add_layers(command: ArgumentParser) -> None:
    """One encoder of a file, and some of its layers."""
    command.add_argument("--name", metavar="NAME", help="which encoder of the file")
    command.add_argument("--layer", metavar="NAME", action="append", help="only this, * being any text; repeatable")


def add_training(command: ArgumentParser) -> None:
    """Training of branches."""
    group = command.add_argument_group("training")
    group.add_argument("--epochs", type=count, metavar="N", help="default: 60, and 200 for NYUv2")
    group.add_argument("--batch", type=count, default=8, metavar="N", help="pictures a step; default: 8")
    text = "the highest; default: 0.001"
    group.add_argument("--learning-rate", type=positive, default=1e-3, metavar="R", help=text)
    group.add_argument("--optimizer", choices=("sgd", "adam"), default="sgd", help="default: sgd")
    group.add_argument("--seeds", type=count, default=1, metavar="K", help="runs of each network; default: 1")


def add_measure(command: ArgumentParser, *, several: bool = True, default: str = "rsa") -> None:
    """One measure, or several."""
    more = "; repeat it for several" if several else ""
    text = f"name from `jaxsim measures` or dds:TRANSFORM,PAIRWISE (default: {default}){more}"
    command.add_argument("--measure", metavar="NAME", action="append", help=text)


def add_resampling(command: ArgumentParser, number: int | None, default: str) -> None:
    """Number of resamples, seed and level."""
    command.add_argument("--resamples", type=count, default=number, metavar="B", help=f"default: {default}")
    add_draws(command)


def add_draws(command: ArgumentParser) -> None:
    """Seed of the random key, and level of intervals."""
    command.add_argument("--seed", type=seed, default=0, metavar="N", help="of the random key; default: 0")
    command.add_argument("--level", type=share, default=0.95, metavar="P", help="of the intervals; default: 0.95")


def add_computing(command: ArgumentParser) -> None:
    """Image ids, memory and precision."""
    group = command.add_argument_group("images and computing")
    group.add_argument("--ids", metavar="FILE", help="image ids of FEATURES: npy, or text with one per line")
    group.add_argument("--align", action="store_true", help="bring differently ordered image ids into one order")
    group.add_argument("--memory", type=positive, metavar="GB", help="budget for device memory")
    group.add_argument("--x64", action="store_true", help="compute in float64")


def add_output(command: ArgumentParser, *, required: bool = True) -> None:
    """Folder of the results."""
    group = command.add_argument_group("output")
    group.add_argument("--out", required=required, metavar="DIR", help="directory for the results")
    group.add_argument("--overwrite", action="store_true", help="replace results that are there already")


def count(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def seed(text: str) -> int:
    """A whole number that fits 31 bits."""
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**31 - 1}")
    return int(text)


def positive(text: str) -> float:
    """A number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return value


def share(text: str) -> float:
    """A number between 0 and 1."""
    value = positive(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return value
