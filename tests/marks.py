"""What of a table of parameters runs by default."""

import pytest


def slow_but(kept, values):
    """The parameters, all of them slow but those that are kept; of a dictionary, its names."""
    assert all(one in values for one in kept), "what is kept must be there"
    return [one if one in kept else pytest.param(one, marks=pytest.mark.slow) for one in values]
