"""Compiled programs that later runs of a command reuse, in the user's cache folder."""

import contextlib
import hashlib
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

VARIABLE, OWN = "JAXSIM_CACHE", "JAX_COMPILATION_CACHE_DIR"
"""Variable with the folder, or 0 for none; and JAX's own variable, which takes precedence."""
MOST = 2**29
"""Size of a folder in bytes above which its oldest programs are removed."""
LEAST_SECONDS = 0.1
"""Compilations that took less time are not kept."""


def folder() -> Path | None:
    """The folder for this kind of machine, or None if caching is off.

    Programs for one processor may not run on another, and home folders may be shared by different machines.
    """
    given = os.environ.get(VARIABLE)
    if OWN in os.environ or given in ("", "0"):
        return None
    return (Path(given) if given else _user_cache() / "jaxsim") / f"{platform.machine()}-{_processor()}"


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _processor() -> str:
    """A short string that identifies what the processor supports."""
    text = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        text += "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def keep(tell: Callable[[str], None]) -> None:
    """Keep programs that this process compiles, and reuse those kept; `tell` is called with a new folder.

    A folder that cannot be written to is ignored.
    """
    with contextlib.suppress(OSError, RuntimeError):  # no home folder, or not writable
        place = folder()
        if place is None:
            return
        if not place.exists():
            place.mkdir(parents=True)
            tell(f"compiled programs are kept in {place} for the next run; set {VARIABLE}=0 to keep none")
        if not os.access(place, os.W_OK):
            return
        prune(place, MOST)
        import jax

        jax.config.update("jax_compilation_cache_dir", str(place))
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)


def prune(place: Path, most: int) -> None:
    """Remove the oldest files of a folder until the rest take at most `most` bytes."""
    files = [(one.stat(), one) for one in place.iterdir() if one.is_file()]
    total = sum(status.st_size for status, _ in files)
    for status, one in sorted(files, key=lambda file: file[0].st_mtime):
        if total <= most:
            break
        one.unlink(missing_ok=True)
        total -= status.st_size
