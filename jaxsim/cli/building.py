"""The command `rooms`: make the built-in world from nothing, pictures, encoders and measured transfer."""

import dataclasses
import sys
from argparse import Namespace
from pathlib import Path

from jaxsim.cli.output import emit, note


def run_rooms(arguments: Namespace) -> None:
    """Render, train and measure into a folder that a killed run goes on from."""
    try:
        from jaxsim.rooms import tasks, world
    except ImportError as error:
        raise ImportError(f"the built-in world needs {error.name}: pip install 'jaxsim-similarity[nn]'.") from error
    names = tuple(tasks.named(n).name for n in arguments.task or tasks.TASKS)
    recipe = world.Recipe(seed=arguments.seed, names=names, size=arguments.size)
    if arguments.steps is not None:
        recipe = dataclasses.replace(recipe, steps=arguments.steps)
    if arguments.images is not None:
        some, more = max(8, arguments.images * 3 // 40), max(8, arguments.images // 10)
        recipe = dataclasses.replace(recipe, learn=arguments.images, judge=some, fit=some, test=more)

    def tell(text: str) -> None:
        if not arguments.quiet:
            ending = "\r" if text.endswith("pictures") else "\n"
            sys.stderr.write(f"jaxsim: {text}{ending}")

    world.build(arguments.out, recipe, tell)
    folder = Path(arguments.out)
    rows = (folder / "training.csv").read_text().splitlines()[1:]
    skills = {row.split(",")[0]: float(row.split(",")[-1]) for row in rows}
    files = [str(folder / name) for name in ("encoders.safetensors", "transfer.npz", "training.csv", "recipe.json")]
    text = "\n".join(f"{name:18} skill {skill:6.3f}" for name, skill in skills.items()) + "\n"
    emit(arguments, text, {"skill": skills, "files": files})
    note(arguments, f"wrote {', '.join(files)}")
