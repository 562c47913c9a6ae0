"""Banks of encoders, and how branches of them are compared and trained: shared by `layers`, `branch` and `transfer`."""

from argparse import Namespace
from typing import Any

from jaxsim import extras
from jaxsim.cli.inputs import read_encoders
from jaxsim.cli.output import note

ENCODER = "class_object"
"""Encoder whose layers are compared by default: the shipped one of object classes, as in DDS 2020."""
QUICK = {"images": 48, "resamples": 20, "epochs": 2, "pictures": 64}


def parts() -> tuple[Any, Any]:
    """The packages that need the `nn` extra.

    Raises:
        MissingExtra: it is not installed.
    """
    with extras.needed("branches need"):
        from jaxsim.studies import branching
        from jaxsim.studies.branching import similarity
    return branching, similarity


def read_bank(arguments: Namespace) -> dict[str, Any]:
    """Encoders of tasks by name: those of all --bank files, or those that come with the package.

    Raises:
        ValueError: two encoders have one name, or a file is damaged.
    """
    from jaxsim.studies.rooms import encoders

    if arguments.bank is not None:
        return {name: one for file in read_encoders(arguments.bank, "--bank").values() for name, one in file.items()}
    note(arguments, "no --bank: compared with the twenty small encoders of the built-in world")
    return encoders.shipped()


def some(bank: dict[str, Any], names: list[str] | None) -> dict[str, Any]:
    """Those named, or all.

    Raises:
        ValueError: there is no encoder of some name, or none at all.
    """
    unknown = [name for name in names or () if name not in bank]
    if unknown:
        raise ValueError(f"the bank has no encoder {unknown[0]!r}; it has {', '.join(bank)}.")
    if not bank:
        raise ValueError("the bank has no other encoder to compare with.")
    return {name: encoder for name, encoder in bank.items() if not names or name in names}


def encoder_of(arguments: Namespace, path: str | None) -> tuple[Any, str]:
    """The encoder whose layers are compared, with its name; the bank's own of object classes without a file.

    Raises:
        ValueError: the file holds several and --name does not say which, or none of that name.
    """
    from jaxsim.studies.rooms import encoders
    from jaxsim.vision import models

    found = encoders.shipped() if path is None else models.from_safetensors(path)
    name = arguments.name or (ENCODER if path is None else next(iter(found)) if len(found) == 1 else None)
    if name is None:
        raise ValueError(f"{path} holds {len(found)} encoders; say which with --name: {', '.join(found)}.")
    if name not in found:
        raise ValueError(f"there is no encoder {name!r} in {path or 'the package'}; there are {', '.join(found)}.")
    return found[name], name


def probe_of(arguments: Namespace, measure: Any) -> Any:
    """Pictures that similarity is computed on."""
    from jaxsim.studies.branching import Probe

    count = arguments.images or (QUICK["images"] if arguments.quick else 200)
    resamples = getattr(arguments, "resamples", None) or (QUICK["resamples"] if arguments.quick else 100)
    return Probe(measure, count, resamples, arguments.seed, arguments.size)


def plan_of(arguments: Namespace, folder: Any, encoder: Any) -> Any:
    """Training of branches; by default as long as in DDS 2020."""
    from jaxsim.studies.branching import Plan
    from jaxsim.vision.datasets import LAYOUTS

    return Plan(
        size=arguments.size or encoder.side,
        epochs=arguments.epochs or (QUICK["epochs"] if arguments.quick else LAYOUTS[folder.layout].epochs),
        batch=arguments.batch,
        learning_rate=arguments.learning_rate,
        optimizer=arguments.optimizer,
        max_pictures=QUICK["pictures"] if arguments.quick else None,
    )


def groups() -> dict[str, str]:
    """Group of each of Taskonomy's tasks."""
    from jaxsim.studies.rooms import tasks

    return {name: task.group for name, task in tasks.TASKS.items()}
