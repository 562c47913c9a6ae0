"""Banks of encoders, and the settings of `layers`, `branch` and `transfer`."""

from argparse import Namespace
from typing import Any

from jaxsim.cli.inputs import converted, read_encoders
from jaxsim.cli.output import note

ENCODER = "class_object"
"""Shipped encoder whose layers are compared by default: object classes, as in DDS 2020."""
QUICK = {"images": 48, "resamples": 20, "epochs": 2, "pictures": 64}
"""Amounts with --quick."""


def read_bank(arguments: Namespace) -> dict[str, Any]:
    """Encoders of tasks by name: those in all --bank files, or the shipped ones.

    Raises:
        ValueError: two encoders share a name, or a file is damaged.
    """
    from jaxsim.studies.rooms import encoders

    if arguments.bank is not None:
        return {name: one for file in read_encoders(arguments.bank, "--bank").values() for name, one in file.items()}
    note(arguments, "no --bank: comparing with the twenty small encoders of the built-in world")
    return encoders.shipped()


def select(bank: dict[str, Any], names: list[str] | None) -> dict[str, Any]:
    """The named encoders, or all.

    Raises:
        ValueError: there is no encoder with some name, or none at all.
    """
    unknown = [name for name in names or () if name not in bank]
    if unknown:
        raise ValueError(f"the bank has no encoder {unknown[0]!r}; it has {', '.join(bank)}.")
    if not bank:
        raise ValueError("the bank has no other encoder to compare with.")
    return {name: encoder for name, encoder in bank.items() if not names or name in names}


def read_encoder(arguments: Namespace, path: str | None) -> tuple[Any, str]:
    """The encoder whose layers are compared, with its name; `ENCODER` if no file is given.

    Raises:
        ValueError: the file has several encoders and --name is missing, or no encoder has that name.
    """
    from jaxsim.studies.rooms import encoders
    from jaxsim.vision import models

    found = encoders.shipped() if path is None else models.from_safetensors(converted(path, "--encoder"))
    name = arguments.name or (ENCODER if path is None else next(iter(found)) if len(found) == 1 else None)
    if name is None:
        raise ValueError(f"{path} has {len(found)} encoders; choose one with --name: {', '.join(found)}.")
    if name not in found:
        raise ValueError(f"{path or 'the package'} has no encoder {name!r}; it has {', '.join(found)}.")
    return found[name], name


def probe_of(arguments: Namespace, measure: Any) -> Any:
    """The pictures to compute similarity on."""
    from jaxsim.studies.branching import Probe

    count = arguments.images or (QUICK["images"] if arguments.quick else 200)
    equal = getattr(arguments, "equal_view", False)
    return Probe(measure, count, seed=arguments.seed, side=arguments.size, equal_view=equal)


def plan_of(arguments: Namespace, folder: Any, encoder: Any) -> Any:
    """The training plan of branches, by default as long as in DDS 2020.

    Raises:
        ValueError: the optimizer is unknown.
    """
    from jaxsim.studies.branching import Plan
    from jaxsim.studies.branching.training_runs import OPTIMIZERS
    from jaxsim.vision.datasets import layout_named

    if arguments.optimizer not in OPTIMIZERS:
        raise ValueError(f"there is no --optimizer {arguments.optimizer!r}; choose from {', '.join(OPTIMIZERS)}.")
    return Plan(
        size=arguments.size or encoder.side,
        epochs=arguments.epochs or (QUICK["epochs"] if arguments.quick else layout_named(folder.layout).epochs),
        batch=arguments.batch,
        learning_rate=arguments.learning_rate,
        optimizer=arguments.optimizer,
        max_pictures=QUICK["pictures"] if arguments.quick else None,
    )
