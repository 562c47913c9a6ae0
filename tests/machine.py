"""What tests take from the machine: the folder of real data, and a disk that is full."""

import contextlib
import os
import resource
from pathlib import Path

DATA = Path(os.environ.get("JAXSIM_DATA", Path(__file__).parents[2] / "shared" / "data"))


@contextlib.contextmanager
def full_disk(size):
    """Let no file grow beyond so many bytes, as on a disk that has no more room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
