"""Arguments of every command, and the help that teaches them."""

import argparse
import importlib
from collections.abc import Callable
from typing import Any, NoReturn

from jaxsim.cli import guide

SIZES = ("tiny", "small", "paper", "wide", "deep", "large")
"""Sizes of small encoders; those of `models.SIZES`. Help and usage errors import none of what is listed here."""
LAYOUTS = ("nyu", "nyud_mt", "pascal_mt", "voc", "taskonomy", "folder")
"""Layouts of datasets; those of `datasets.LAYOUTS`."""
TASKS = ("edge", "depth", "normals", "semantic", "object", "scene")
"""Tasks to branch for; those of `branching.KINDS`."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"jaxsim: error: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of `jaxsim` with all its commands; each sets `run`, a function of the parsed arguments."""
    parser = _Parser(
        prog="jaxsim",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=16),
        description="Similarity of neural representations: how alike networks are, and how sure one can be.",
        epilog="`jaxsim COMMAND --help` explains a command with examples. Exit codes: 0 done, 1 unexpected "
        "error, 2 wrong usage or bad input, 130 interrupted.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _affinity(_command(commands, "affinity", "similarity of every pair of networks", guide.AFFINITY, "scoring"))
    _bootstrap(_command(commands, "bootstrap", "intervals by resampling images", guide.BOOTSTRAP, "scoring"))
    _taxonomy(_command(commands, "taxonomy", "cluster networks into a tree", guide.TAXONOMY, "judging"))
    _evaluate(_command(commands, "evaluate", "agreement with measured transfer", guide.EVALUATE, "judging"))
    _command(commands, "measures", "list the measures", guide.MEASURES, "listing")
    _demo(_command(commands, "demo", "the whole pipeline on the built-in world", guide.DEMO, "tour"))
    _rooms(
        _command(commands, "rooms", "make the built-in world: pictures, encoders, transfer", guide.ROOMS, "building")
    )
    _reproduce(_command(commands, "reproduce", "the papers' experiments", guide.REPRODUCE, "reproducing"))
    _convert(_command(commands, "convert", "weights of a public network", guide.CONVERT, "converting"))
    _features(_command(commands, "features", "features of pictures", guide.FEATURES, "extracting"))
    _layers(_command(commands, "layers", "which layer to branch from", guide.LAYERS, "branching"))
    _branch(_command(commands, "branch", "train branches from every layer", guide.BRANCH, "branching"))
    _transfer(_command(commands, "transfer", "which network to start from", guide.TRANSFER, "transferring"))
    return parser


class _Version(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None) -> NoReturn:
        from importlib import metadata

        parser.exit(0, f"jaxsim {metadata.version('jaxsim-similarity')}\n")


def _command(commands: Any, name: str, summary: str, text: str, module: str) -> argparse.ArgumentParser:
    style = argparse.RawDescriptionHelpFormatter
    command = commands.add_parser(name, help=summary, description=text, formatter_class=style)
    command.set_defaults(run=_later(module, f"run_{name}"), command=name, x64=False)
    group = command.add_argument_group("what is printed")
    group.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    group.add_argument("--quiet", action="store_true", help="no progress, notes or warnings on standard error")
    return command


def _later(module: str, name: str) -> Callable[[argparse.Namespace], None]:
    """The command's function, imported when it is called: help and usage errors need no JAX."""

    def run(arguments: argparse.Namespace) -> None:
        getattr(importlib.import_module(f"jaxsim.cli.{module}"), name)(arguments)

    return run


def _affinity(command: argparse.ArgumentParser) -> None:
    command.add_argument("features", metavar="FEATURES", help="directory or file of features")
    command.add_argument("--against", metavar="FEATURES", help="score against these networks instead")
    _add_measure(command)
    _add_computing(command)
    _add_output(command)


def _bootstrap(command: argparse.ArgumentParser) -> None:
    command.add_argument("features", metavar="FEATURES", help="directory or file of features")
    command.add_argument("--against", metavar="FEATURES", help="score against these networks instead")
    _add_measure(command)
    schemes = ("halves", "bootstrap", "bayesian", "subsample", "jackknife", "permutation")
    command.add_argument("--scheme", choices=schemes, default="halves", help="default: halves")
    command.add_argument("--size", type=_count, metavar="M", help="images per subset, for subsample")
    _add_resampling(command, None, "100 for halves, else 1000")
    command.add_argument("--target", metavar="NAME", help="target of ranking.png; default: the first column")
    _add_computing(command)
    _add_output(command)


def _taxonomy(command: argparse.ArgumentParser) -> None:
    command.add_argument("input", metavar="INPUT", help="features, or a matrix")
    _add_measure(command, several=False)
    command.add_argument("--key", metavar="NAME", help="INPUT is an npz file and this array is the matrix")
    command.add_argument("--support", metavar="NPZ", help="resamples.npz of `jaxsim bootstrap`")
    linkages = ("average", "authors", "transfer")
    text = (
        "average: average linkage on 1 - S (default); authors: single linkage, Euclidean distance of rows, "
        "as the code of RSA; transfer: average linkage, Euclidean distance of rows, as Taskonomy"
    )
    command.add_argument("--linkage", choices=linkages, default="average", help=text)
    command.add_argument("--symmetrize", action="store_true", help="use (S + S^T) / 2")
    command.add_argument("--clusters", type=_count, metavar="K", help="also list K clusters")
    _add_computing(command)
    _add_output(command)


def _evaluate(command: argparse.ArgumentParser) -> None:
    command.add_argument("affinity", metavar="AFFINITY", help="the prediction")
    command.add_argument("truth", metavar="TRUTH", help="measured transfer")
    command.add_argument("--key", metavar="NAME", help="array of TRUTH, where it is an npz file of several")
    command.add_argument("--affinity-key", metavar="NAME", help="the same for AFFINITY")
    command.add_argument("--subset", action="store_true", help="use the networks that both have")
    text = "resamples.npz of `jaxsim bootstrap --scheme bootstrap`: intervals over images, over targets and over both"
    command.add_argument("--resamples", metavar="NPZ", help=text)
    _add_draws(command)
    _add_output(command, required=False)


def _demo(command: argparse.ArgumentParser) -> None:
    command.add_argument("--images", type=_count, default=500, metavar="N", help="pictures rendered; default: 500")
    command.add_argument("--made-up", action="store_true", help="use generated features, none trained, instead")
    _add_measure(command, several=False)
    _add_resampling(command, 100, "100, in pairs of halves")
    command.add_argument("--x64", action="store_true", help="compute in float64")
    _add_output(command)


def _reproduce(command: argparse.ArgumentParser) -> None:
    command.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help="names, or all (default)")
    command.add_argument(
        "--quick", action="store_true", help="fewer pictures and resamples; four tasks trained for, briefly"
    )
    command.add_argument(
        "--world", metavar="DIR", help="folder of `jaxsim rooms`; default: what ships with the package"
    )
    command.add_argument(
        "--seed", type=_seed, default=0, metavar="N", help="of pictures, resampling and training; default: 0"
    )
    command.add_argument(
        "--work", metavar="DIR", help="keep pictures and trained networks here; a killed run goes on there"
    )
    _add_output(command)


def _convert(command: argparse.ArgumentParser) -> None:
    command.add_argument("checkpoint", metavar="CHECKPOINT", help="the file, or the prefix of TensorFlow's files")
    names = ("resnet50", "resnet50-taskonomy")
    command.add_argument("--network", choices=names, required=True, help="what the checkpoint is of")
    command.add_argument("--name", metavar="NAME", help="of the encoder in the file; default: that of the network")
    text = "tensors to leave out besides those known to belong elsewhere; * is any text; repeat it for several"
    command.add_argument("--leave-out", metavar="PATTERN", action="append", help=text)
    group = command.add_argument_group("output")
    group.add_argument("--out", required=True, metavar="FILE", help="file to write, FILE.safetensors")
    group.add_argument("--overwrite", action="store_true", help="replace a file that is there already")


def _features(command: argparse.ArgumentParser) -> None:
    command.add_argument("images", metavar="IMAGES", help="folder of pictures, or of a dataset; for nyu the .mat file")
    text = "safetensors file of one or more encoders; repeat it for several files"
    command.add_argument("--encoder", metavar="FILE", action="append", required=True, help=text)
    text = "layer to take, * being any text; repeat it for several; default: the last one of each encoder"
    command.add_argument("--layer", metavar="NAME", action="append", help=text)
    command.add_argument("--layout", "--dataset", choices=LAYOUTS, help="of IMAGES; default: detected")
    command.add_argument("--split", metavar="NAME", help="of voc, nyud_mt or pascal_mt; default: train")
    text = "what encoders are shown, where they should not be shown what they were trained on; see above"
    command.add_argument("--preprocessing", metavar="[ENCODER=]NAME", action="append", help=text)
    command.add_argument("--size", type=_count, metavar="PIXELS", help="side of the pictures, instead of the usual")
    command.add_argument("--pool", action="store_true", help="write means over positions")
    command.add_argument("--batch", type=_count, default=32, metavar="N", help="pictures at a time; default: 32")
    _add_output(command)


def _layers(command: argparse.ArgumentParser) -> None:
    _add_folder(command)
    command.add_argument("--encoder", metavar="FILE", help="the encoder; default: the built-in one of object classes")
    _add_layers(command)
    command.add_argument("--task", metavar="NAME", action="append", help="only this encoder of the bank; repeatable")
    _add_measure(command, several=False, default="dds-laplacian")
    command.add_argument("--resamples", type=_count, metavar="B", help="half-samples for intervals; default: 100")
    _add_output(command)


def _branch(command: argparse.ArgumentParser) -> None:
    _add_folder(command)
    text = "the encoder, default: the built-in one of object classes; repeat it for seeds of one encoder"
    command.add_argument("--encoder", metavar="FILE", action="append", help=text)
    _add_layers(command)
    text = "to train branches for; repeat it for several"
    command.add_argument("--task", choices=TASKS, action="append", required=True, help=text)
    _add_measure(command, several=False, default="dds-laplacian")
    _add_training(command)
    _add_output(command)


def _transfer(command: argparse.ArgumentParser) -> None:
    _add_folder(command)
    command.add_argument("--task", choices=TASKS, default="semantic", help="the new task; default: semantic")
    command.add_argument("--init", metavar="NAME", action="append", help="only this encoder of the bank; repeatable")
    command.add_argument("--small", choices=SIZES, default="small", help="the small network; default: small")
    _add_measure(command, default="rsa and dds-laplacian")
    _add_training(command)
    _add_output(command)


def _add_folder(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", metavar="DATA", help="a dataset's folder")
    command.add_argument("--layout", choices=LAYOUTS, help="of DATA; default: detected")
    text = "file of encoders of tasks; repeat it for several files; default: the small ones of the built-in world"
    command.add_argument("--bank", metavar="FILE", action="append", help=text)
    text = "pictures that similarity is computed on; default: 200"
    command.add_argument("--images", type=_count, metavar="N", help=text)
    command.add_argument("--size", type=_count, metavar="PIXELS", help="side of the pictures, instead of the usual")
    command.add_argument("--seed", type=_seed, default=0, metavar="N", help="of all draws; default: 0")
    command.add_argument("--quick", action="store_true", help="few pictures, resamples and epochs")
    command.add_argument("--work", metavar="DIR", help="keep what is done here; a killed run goes on there")


def _add_layers(command: argparse.ArgumentParser) -> None:
    command.add_argument("--name", metavar="NAME", help="which encoder of the file")
    command.add_argument("--layer", metavar="NAME", action="append", help="only this, * being any text; repeatable")


def _add_training(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("training")
    group.add_argument("--epochs", type=_count, metavar="N", help="default: 60, and 200 for NYUv2")
    group.add_argument("--batch", type=_count, default=8, metavar="N", help="pictures a step; default: 8")
    text = "the highest; default: 0.001"
    group.add_argument("--learning-rate", type=_positive, default=1e-3, metavar="R", help=text)
    group.add_argument("--optimizer", choices=("sgd", "adam"), default="sgd", help="default: sgd")
    group.add_argument("--seeds", type=_count, default=1, metavar="K", help="runs of each network; default: 1")


def _rooms(command: argparse.ArgumentParser) -> None:
    command.add_argument("--images", type=_count, metavar="N", help="to learn from; default: 6000")
    command.add_argument("--steps", type=_count, metavar="N", help="gradient steps a task; default: 1500")
    command.add_argument("--task", metavar="NAME", action="append", help="only this task; repeat it for several")
    command.add_argument("--size", choices=SIZES, default="small", help="of the encoders; default: small")
    command.add_argument("--seed", type=_seed, default=0, metavar="N", help="of pictures and weights; default: 0")
    command.add_argument("--out", required=True, metavar="DIR", help="folder of the world; a killed run goes on there")


def _add_measure(command: argparse.ArgumentParser, *, several: bool = True, default: str = "rsa") -> None:
    more = "; repeat it for several" if several else ""
    text = f"name from `jaxsim measures` or dds:TRANSFORM,PAIRWISE (default: {default}){more}"
    command.add_argument("--measure", metavar="NAME", action="append", help=text)


def _add_resampling(command: argparse.ArgumentParser, count: int | None, default: str) -> None:
    command.add_argument("--resamples", type=_count, default=count, metavar="B", help=f"default: {default}")
    _add_draws(command)


def _add_draws(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=_seed, default=0, metavar="N", help="of the random key; default: 0")
    command.add_argument("--level", type=_share, default=0.95, metavar="P", help="of the intervals; default: 0.95")


def _add_computing(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("images and computing")
    group.add_argument("--ids", metavar="FILE", help="image ids of FEATURES: npy, or text with one per line")
    group.add_argument("--align", action="store_true", help="bring differently ordered image ids into one order")
    group.add_argument("--memory", type=_positive, metavar="GB", help="budget for device memory")
    group.add_argument("--x64", action="store_true", help="compute in float64")


def _add_output(command: argparse.ArgumentParser, *, required: bool = True) -> None:
    group = command.add_argument_group("output")
    group.add_argument("--out", required=required, metavar="DIR", help="directory for the results")
    group.add_argument("--overwrite", action="store_true", help="replace results that are there already")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**31 - 1}")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return value


def _share(text: str) -> float:
    value = _positive(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return value
