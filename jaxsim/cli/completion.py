"""Print a script that completes commands, options and file names in a shell.

Add the bash script to ~/.bashrc and the tcsh script to ~/.tcshrc. The zsh script goes in a file _jaxsim in a
folder of $fpath.

Examples:
  jaxsim completion bash
  jaxsim completion zsh
"""

import sys
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Iterator

from jaxsim import extras
from jaxsim.cli.output import emit

SHELLS = ("bash", "zsh", "tcsh")


def add_arguments(command: ArgumentParser) -> None:
    """Add the arguments of the command."""
    command.add_argument("shell", choices=SHELLS, help="one of %(choices)s")


def run(arguments: Namespace) -> None:
    """Print the script."""
    from jaxsim.cli import build_parser

    with extras.needed("completion needs", "shtab", install=extras.COMPLETION):
        import shtab
    parser = build_parser()
    for action in _values(parser):
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    script = shtab.complete(parser, arguments.shell)
    if arguments.json:
        emit(arguments, "", {"shell": arguments.shell, "script": script})
    else:
        sys.stdout.write(script + "\n")  # written directly, because escapes would change it


def _values(parser: ArgumentParser) -> Iterator[Action]:
    """Arguments of all commands whose values may be files or folders."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for command in action.choices.values():
                yield from _values(command)
        elif action.choices is None and (action.nargs != 0) and action.type is None:
            yield action
