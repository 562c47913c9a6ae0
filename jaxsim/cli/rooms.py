"""Build the built-in world: pictures, encoders and measured transfer.

Renders pictures with exact targets of twenty tasks, trains one small encoder per task, and measures the
transfer of every encoder to every task. The shipped world was made this way. Run the same command again to
continue a stopped run.

Writes to DIR:
  encoders.safetensors   the encoders, with checksums and validation skills
  transfer.npz           losses for each picture, win rates, tournament eigenvectors and their reliability
  training.csv           validation losses, losses of the best constant, and skills
  recipe.json            the settings; pictures (npz) and checkpoints are next to it and may be deleted

Examples:
  jaxsim rooms --out world
  jaxsim rooms --images 400 --steps 100 --task rgb2depth --task rgb2sfnorm --out small_world
"""

import dataclasses
import functools
from argparse import ArgumentParser, Namespace

from jaxsim import extras
from jaxsim.cli.arguments import add_seed, count
from jaxsim.cli.output import note, progress, report

FILES = ("encoders.safetensors", "transfer.npz", "training.csv", "recipe.json")


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    command.add_argument("--images", type=count, metavar="N", help="pictures for training; default: 6000")
    command.add_argument("--steps", type=count, metavar="N", help="gradient steps per task; default: 1500")
    command.add_argument("--task", metavar="NAME", action="append", help="use only this task; repeatable")
    text = "size of the encoders; an unknown name lists all sizes; default: %(default)s"
    command.add_argument("--size", default="small", metavar="NAME", help=text)
    add_seed(command, " of pictures and weights")
    text = "folder for the world; a killed run continues from it"
    command.add_argument("--out", required=True, metavar="DIR", help=text)


def run(arguments: Namespace) -> None:
    """Render, train and measure in a resumable folder."""
    with extras.needed("the built-in world needs"):
        from jaxsim.studies.rooms import tasks, world
    names = tuple(tasks.named(name).name for name in arguments.task or tasks.TASKS)
    recipe = world.Recipe(seed=arguments.seed, names=names, size=arguments.size)
    if arguments.steps is not None:
        recipe = dataclasses.replace(recipe, steps=arguments.steps)
    if arguments.images is not None:
        some, more = max(8, arguments.images * 3 // 40), max(8, arguments.images // 10)
        recipe = dataclasses.replace(recipe, learn=arguments.images, judge=some, fit=some, test=more)
    tell, show = functools.partial(note, arguments), functools.partial(progress, arguments)
    try:
        skills = world.build(arguments.out, recipe, progress=show, tell=tell)
    except KeyboardInterrupt:
        note(arguments, f"\nfinished work is kept in {arguments.out}; run the same command again to continue")
        raise
    text = "\n".join(f"{name:18} skill {skill:6.3f}" for name, skill in skills.items())
    report(arguments, text, {"skill": skills}, FILES)
