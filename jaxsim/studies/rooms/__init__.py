"""A built-in world of furnished rooms in which twenty vision tasks have exact answers.

`pictures.make` renders, `tasks.TASKS` are the tasks, `encoders.shipped` and `encoders.features` give networks and their
features, `world.load_truth` their measured transfer, `world.build` a whole new world.
"""

import importlib
from typing import Any

MODULES = ("encoders", "pictures", "tasks", "transfer", "world")


def __getattr__(name: str) -> Any:
    """Modules by name, loaded when they are asked for: only some need the `nn` extra."""
    if name in MODULES:
        return importlib.import_module(f"jaxsim.studies.rooms.{name}")
    raise AttributeError(f"module 'jaxsim.studies.rooms' has no attribute {name!r}; it has {', '.join(MODULES)}")


def __dir__() -> list[str]:
    """What `__getattr__` knows, for completion."""
    return sorted({*globals(), *MODULES})
