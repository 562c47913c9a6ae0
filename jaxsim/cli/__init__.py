"""The command `jaxsim`: one module per command, which loads data, makes one public call, and saves the result.

The docstring of a command's module is its help, and the first line is the summary. `add_arguments` declares its
arguments, and `run` does the work. To add a command, write such a module and add its name to `COMMANDS`. Parsing and
help must stay light: packages from extras are imported inside `run`.
"""

import argparse
import contextlib
import difflib
import dis
import importlib
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

from jaxsim import __version__
from jaxsim.extras import MissingExtra

COMMANDS = (
    "affinity",
    "bootstrap",
    "calibrate",
    "rdm",
    "variance",
    "sweep",
    "taxonomy",
    "report",
    "evaluate",
    "measures",
    "demo",
    "rooms",
    "reproduce",
    "leaderboard",
    "convert",
    "features",
    "attribution",
    "layers",
    "branch",
    "transfer",
    "completion",
)
"""Modules of this package that are commands, in the order of `jaxsim --help`."""
OK, USAGE, INTERRUPTED = 0, 2, 130
WAIT = 10.0
"""Seconds without progress on a terminal."""
START = """\
jaxsim measures how similar the representations of networks are, with intervals. Three commands to start with:

  jaxsim demo --made-up --out demo --report
      a full run on generated features with known groups; open demo/report.html in a browser
  jaxsim affinity FEATURES --measure cka --out results
      how similar your networks are, as numbers and a heat map
  jaxsim bootstrap FEATURES --measure cka --out intervals --report
      the same, with an interval for every score and the networks most similar to each one

FEATURES is a folder with one file per network, or a single file with several: arrays (images, ..., channels) in npy,
npz, pt, safetensors, h5, mat or csv. demo/features.npz is an example.

`jaxsim --help` lists all commands, and `jaxsim COMMAND --help` explains one, with examples.
"""
"""Output of `jaxsim` without arguments."""


class _Once(argparse._StoreAction):
    """Store a value, and reject a second one, which would silently replace the first."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        given = vars(namespace).setdefault("given", set())
        if self.option_strings and self.dest in given:
            parser.error(f"{option_string} is given twice")
        given.add(self.dest)
        super().__call__(parser, namespace, values, option_string)


class _Parser(argparse.ArgumentParser):
    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, allow_abbrev=False, **options)  # --n would otherwise match --no-stack
        for name in (None, "store"):
            self.register("action", name, _Once)

    def parse_known_args(self, args=None, namespace=None):  # each command reports its own unknown options
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            odd = next((one for one in unknown if one.startswith("-")), unknown[0])
            self.error(f"unrecognized arguments: {' '.join(unknown)}{_near(odd, self._option_string_actions)}")
        return found, unknown

    def _check_value(self, action, value) -> None:
        if action.choices is not None and value not in action.choices:
            near = _near(value, action.choices) or f"; choose from {', '.join(map(str, action.choices))}"
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}{near}")

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"jaxsim: error: {_escaped(message)} (see {self.prog} --help)\n")


def _near(word: Any, known: Iterable[Any]) -> str:
    near = difflib.get_close_matches(str(word), [str(one) for one in known], 1)
    return f"; did you mean {near[0]}?" if near else ""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets `run`, a function of the parsed arguments."""
    parser = _Parser(
        prog="jaxsim",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=18),
        description="Measure how similar the representations of neural networks are, and how certain that is.",
        epilog="`jaxsim COMMAND --help` explains a command, with examples. Exit codes: 0 success, 1 unexpected "
        "error, 2 wrong usage or bad input, 130 interrupted.",
    )
    version = f"jaxsim {__version__}"
    parser.add_argument("--version", action="version", version=version, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        _add_command(commands, name, importlib.import_module(f"jaxsim.cli.{name}"))
    return parser


def _add_command(commands: Any, name: str, module: Any) -> None:
    text = module.__doc__ or name  # python -OO drops docstrings
    summary, style = text.partition("\n")[0].rstrip("."), argparse.RawDescriptionHelpFormatter
    command = commands.add_parser(
        name, help=summary[0].lower() + summary[1:], description=text.strip(), formatter_class=style
    )
    module.add_arguments(command)
    group = command.add_argument_group("terminal")
    group.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    text = "read files that expand to over 200 times their size in memory; use only with files you trust"
    group.add_argument("--unlimited", action="store_true", help=text)
    group.add_argument("--quiet", action="store_true", help="print no progress, notes or warnings")
    command.set_defaults(run=module.run, command=name, x64=False, spreadsheet=False, printed="")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Codes: 0 for success; 2 for wrong usage or bad input, explained in one sentence on standard error; 130 if
    interrupted with Ctrl-C, with nothing half-written. Unexpected errors are raised, which ends the process with code
    1.

    Args:
        argv: arguments after the program's name; by default those of the process.
    """
    of_process, argv = argv is None, sys.argv[1:] if argv is None else argv
    if not argv:
        sys.stdout.write(START)
        return OK
    arguments = None
    try:
        arguments = build_parser().parse_args(argv)
        arguments.argv = [*argv]
        if of_process:
            _keep_programs(arguments)
        patience = of_process and not arguments.quiet and sys.stderr.isatty()
        with (
            told_of_waiting(WAIT if patience else None) as arguments.progress_shows,
            _warnings_as_lines(arguments),
            _precision(arguments.x64),
            _limits(arguments.unlimited),
        ):
            arguments.run(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else OK
    except KeyboardInterrupt as stop:
        return _stop(_interruption(stop, getattr(arguments, "written", None)), INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (ValueError, TypeError, OSError, FloatingPointError, MissingExtra) as error:
        if isinstance(error, TypeError) and not _raised_here(error):
            raise
        return _stop(f"error: {_sentence(error, argv)}", USAGE)
    return OK


@contextlib.contextmanager
def told_of_waiting(seconds: float | None) -> Iterator[Callable[[], None]]:
    """Print once, after some seconds, that work continues; None prints nothing. The return value ends the wait."""
    if seconds is None:
        yield lambda: None
        return
    text = "jaxsim: still working; JAX first compiles programs for this number of images and networks\n"
    timer = threading.Timer(seconds, lambda: sys.stderr.write(text))
    timer.daemon = True
    timer.start()
    try:
        yield timer.cancel
    finally:
        timer.cancel()


def _keep_programs(arguments: Any) -> None:
    from jaxsim.cli import cache, output

    cache.keep(lambda text: output.note(arguments, f"jaxsim: {text}"))


def _raised_here(error: TypeError) -> bool:
    """Whether a `raise` in this package made the error; Python's own errors are bugs."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    code, ours = trace.tb_frame.f_code, trace.tb_frame.f_globals.get("__name__", "").startswith("jaxsim")
    return ours and dis.opname[code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"


def _limits(unlimited: bool) -> contextlib.AbstractContextManager[None]:
    from jaxsim.io import limits

    return limits.unlimited() if unlimited else contextlib.nullcontext()


def _interruption(stop: KeyboardInterrupt, written: bool | None) -> str:
    """Text on the state of the output; commands that keep unfinished work report it themselves."""
    outcome = {None: "", False: "; no output was written or changed", True: "; the output is complete"}
    return f"interrupted; {stop}" if str(stop) else f"interrupted{outcome[written]}"


def _escaped(text: str) -> str:
    from jaxsim.io.files import printable

    return printable(text)


def _stop(text: str, code: int) -> int:
    sys.stderr.write(f"jaxsim: {_escaped(text)}\n")
    return code


def _sentence(error: Exception, argv: Sequence[str]) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror.lower()}."
    if isinstance(error, FloatingPointError):
        return f"{str(error).rstrip('.')}."
    text = " ".join(str(error).split()) or type(error).__name__
    return _with_flags(text, argv)


def _with_flags(text: str, argv: Sequence[str] = ()) -> str:
    """Rewrite library options in a sentence as flags: `pass stack=False` becomes `give --no-stack`.

    Quoted names, names with a slash, and arguments with a dot or an equals sign stay as they are.
    """
    given = [one for arg in argv for one in (arg, arg.partition("=")[2]) if re.search(r"[.=]", one)]
    names, kept = sorted(map(re.escape, given), key=len, reverse=True), []

    def hide(found):
        kept.append(found[0])
        return f"\0{len(kept) - 1}\0"

    text = re.sub("|".join([r"(?<=(?<!\w)')[^']*(?='(?!\w))", *names, r"\S*/\S*"]), hide, text)
    for phrase, flag in _PHRASES.items():
        text = re.sub(phrase, flag, text)
    text = re.sub(r'\b(channels|missing)="(\w+)"', r"--\1 \2", text)
    for value, flag in (("True", "--"), ("False", "--no-")):
        text = text.replace(f"js.Affinity.from_array(..., distance={value})", f"{flag}distance")
        phrase = rf"(pass |otherwise )?\b(?<!\w\()(?!weights_only)(\w+)={value}\b"  # weights_only belongs to PyTorch
        text = re.sub(phrase, lambda m, f=flag: _flag(m, f), text)
    return re.sub("\0(\\d+)\0", lambda found: kept[int(found[1])], text)


_PHRASES = {
    r" \(--overwrite on the command line\)": "",
    r"js\.compare_maps\(\.\.\., missing=\"pairwise\"\)": "`jaxsim affinity --missing pairwise`",
    r"a comparator such as \"spearman\" \(.*--measure\)": "a comparator, such as --measure spearman",
    r"a measure such as js\.RSA": "a measure such as --measure rsa",
    r"\(against\)": "(--against of `jaxsim affinity`)",
    r"\bn_resamples\b": "--resamples",
    r"\bn_permutations=(\d+)": r"--permutations \1",
    r"\bn_permutations\b": "--permutations",
    r'\badjust="([\w-]+)"': r"--adjust \1",
    r"\blayers_of\b": "--layers-of",
    r"subject_of=a function that makes .*? of (?=')": "--subject-of with the text after the subject in ",
    r"\(Dataset\.readable, --skip-damaged, leaves": "(--skip-damaged leaves",
    r"(\bjs\.\w+\(\)|\b[a-z_]+(?:=True)?) \((--[\w-]+( [\w-]+)?)\)": r"\2",
}
"""Library terms, and the command-line terms for them."""


def _flag(found: re.Match[str], start: str) -> str:
    return (found[1] or "").replace("pass", "give") + start + found[2].replace("_", "-")


@contextlib.contextmanager
def _warnings_as_lines(arguments: Any) -> Iterator[None]:
    """Print the library's warnings as lines on standard error, each once, and hide those for developers.

    Those of `DoubtfulInference` wait for the report (`arguments.printed`), which may include them.
    """
    from jaxsim.assumptions import DoubtfulInference

    said, waiting = set(), []

    def show(message, category, filename, lineno, file=None, line=None) -> None:
        text = str(message)
        if text in said:
            return
        said.add(text)
        if issubclass(category, DoubtfulInference):
            waiting.append(text)
        else:
            _say(text, getattr(arguments, "argv", ()))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not arguments.quiet:
            for kind in (UserWarning, RuntimeWarning):
                warnings.simplefilter("always", kind)
        warnings.showwarning = show
        try:
            yield
        finally:
            for text in waiting:
                if text not in arguments.printed:
                    _say(text, getattr(arguments, "argv", ()))


def _say(warning: str, argv: Sequence[str]) -> None:
    sys.stderr.write(f"jaxsim: warning: {_escaped(_with_flags(' '.join(warning.split()), argv))}\n")


@contextlib.contextmanager
def _precision(x64: bool) -> Iterator[None]:
    """Compute in float64 if requested, and restore the process afterward."""
    if not x64:
        yield
        return
    import jax

    with jax.enable_x64(True):
        yield
