"""Fixtures that more than one test file uses."""

import jax
import pytest


@pytest.fixture
def x64():
    """Float64 for the length of one test; the configuration is left as it was."""
    with jax.enable_x64(True):
        yield
