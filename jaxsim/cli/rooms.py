"""The command `rooms`: make the built-in world from nothing, pictures, encoders and measured transfer."""

import dataclasses
import functools
from argparse import ArgumentParser, Namespace
from pathlib import Path

from jaxsim import extras
from jaxsim.cli.arguments import SIZES, count, seed
from jaxsim.cli.output import emit, note, progress

SUMMARY = "make the built-in world: pictures, encoders, transfer"
HELP = """Make the built-in world from nothing: render pictures with the exact targets of twenty tasks, train one
small encoder a task, and measure transfer of every encoder to every task. What ships with the package was made so.
A run that was stopped goes on where it was when the same command is given again.

Writes in DIR:
  encoders.safetensors   the encoders, with checksums and validation skills
  training.csv           validation losses, those of the best constant, and skills
  transfer.npz           per-image losses, win rates, tournament eigenvectors and their reliability
  recipe.json            what was asked for; also pictures (npz) and checkpoints, which may be deleted

examples:
  jaxsim rooms --out world
  jaxsim rooms --images 400 --steps 100 --task rgb2depth --task rgb2sfnorm --out small_world"""


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    command.add_argument("--images", type=count, metavar="N", help="to learn from; default: 6000")
    command.add_argument("--steps", type=count, metavar="N", help="gradient steps a task; default: 1500")
    command.add_argument("--task", metavar="NAME", action="append", help="only this task; repeat it for several")
    command.add_argument("--size", choices=SIZES, default="small", help="of the encoders; default: small")
    command.add_argument("--seed", type=seed, default=0, metavar="N", help="of pictures and weights; default: 0")
    command.add_argument("--out", required=True, metavar="DIR", help="folder of the world; a killed run goes on there")


def run(arguments: Namespace) -> None:
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
