"""The command `rooms`: make the built-in world from nothing, pictures, encoders and measured transfer."""

import dataclasses
import functools
from argparse import Namespace
from pathlib import Path

from jaxsim import extras
from jaxsim.cli.output import emit, note, progress


def run_rooms(arguments: Namespace) -> None:
    """Render, train and measure into a folder that a killed run goes on from."""
    with extras.needed("the built-in world needs"):
        from jaxsim.studies.rooms import tasks, world
    names = tuple(tasks.named(n).name for n in arguments.task or tasks.TASKS)
    recipe = world.Recipe(seed=arguments.seed, names=names, size=arguments.size)
    if arguments.steps is not None:
        recipe = dataclasses.replace(recipe, steps=arguments.steps)
    if arguments.images is not None:
        some, more = max(8, arguments.images * 3 // 40), max(8, arguments.images // 10)
        recipe = dataclasses.replace(recipe, learn=arguments.images, judge=some, fit=some, test=more)

    skills = world.build(
        arguments.out,
        recipe,
        progress=functools.partial(progress, arguments),
        tell=functools.partial(note, arguments),
    )
    files = [
        str(Path(arguments.out) / name)
        for name in ("encoders.safetensors", "transfer.npz", "training.csv", "recipe.json")
    ]
    text = "\n".join(f"{name:18} skill {skill:6.3f}" for name, skill in skills.items()) + "\n"
    emit(arguments, text, {"skill": skills, "files": files})
    note(arguments, f"wrote {', '.join(files)}")
