"""The command `jaxsim`: each subcommand loads, makes one public call, and saves."""

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence

from jaxsim.cli.parser import build_parser
from jaxsim.extras import MissingExtra

OK, USAGE, INTERRUPTED = 0, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Codes: 0 done; 2 wrong usage or bad input, told in one sentence on standard error; 130 interrupted with
    Ctrl-C, nothing half-written. Anything unexpected is raised, which ends the process with code 1.

    Args:
        argv: the arguments after the program's name; those of the process by default.
    """
    try:
        arguments = build_parser().parse_args(argv)
        with _warnings_as_lines(arguments.quiet), _precision(arguments.x64):
            arguments.run(arguments)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else OK
    except KeyboardInterrupt:
        return _stop("interrupted; no output was written or changed", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (ValueError, TypeError, OSError, FloatingPointError, MissingExtra) as error:
        return _stop(f"error: {_sentence(error)}", USAGE)
    return OK


def _stop(text: str, code: int) -> int:
    sys.stderr.write(f"jaxsim: {text}\n")
    return code


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror.lower()}."
    if isinstance(error, FloatingPointError):
        return f"{str(error).rstrip('.')}."
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"pass (\w+)=True", r"give --\1", text)  # an option of a Python call as a flag of this command


@contextlib.contextmanager
def _warnings_as_lines(quiet: bool) -> Iterator[None]:
    """Print the library's warnings as one line each on standard error; hide those meant for developers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not quiet:
            for kind in (UserWarning, RuntimeWarning):
                warnings.simplefilter("default", kind)
        warnings.showwarning = _show_warning
        yield


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    sys.stderr.write(f"jaxsim: warning: {' '.join(str(message).split())}\n")


@contextlib.contextmanager
def _precision(x64: bool) -> Iterator[None]:
    """Compute in float64 where asked; the process is left as it was."""
    if not x64:
        yield
        return
    import jax

    with jax.enable_x64(True):
        yield
