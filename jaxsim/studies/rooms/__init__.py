"""A built-in world of furnished rooms with exact targets for twenty vision tasks.

`pictures.make` renders, `tasks.TASKS` lists the tasks, `encoders.shipped` and `encoders.features` provide networks and
their features, `world.load_truth` their measured transfer, and `world.build` makes a new world.
"""

import importlib
from typing import Any

MODULES = ("encoders", "pictures", "tasks", "transfer", "world")


def __getattr__(name: str) -> Any:
    """Load a module on access: only some need the `nn` extra."""
    if name in MODULES:
        return importlib.import_module(f"jaxsim.studies.rooms.{name}")
    raise AttributeError(f"module 'jaxsim.studies.rooms' has no attribute {name!r}; it has {', '.join(MODULES)}")


def __dir__() -> list[str]:
    """List the modules for completion."""
    return sorted({*globals(), *MODULES})
