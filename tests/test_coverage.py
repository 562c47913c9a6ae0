"""The coverage study's NumPy restatements are the library's measures."""

import jax
import numpy as np
import pytest

from benchmarks import coverage_numpy
from benchmarks.coverage_data import images, world
from jaxsim import measures


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [(name, 25) for name in coverage_numpy.RESTATED] + [("cka-rbf", 20)])
def test_restated_scores_are_the_librarys(name, size):
    """Odd and even sizes: the median of all entries counts the diagonal."""
    features = np.asarray(images(jax.random.key(3), 60, np.array([0.3, 1.0]), world()))
    subsets = np.stack([np.random.default_rng(k).permutation(60)[:size] for k in range(3)])
    found = coverage_numpy.scores(name, features, subsets)
    m = measures.NAMED[name]
    wanted = [[m(features[0, s], y) for y in features[1:, s]] for s in subsets]
    assert found.shape == (3, 2)
    # two distances within float32's spacing may swap ranks: 3 (n pairs)^-2 for one swap of neighbors
    atol = 1e-4 if measures.NAMED[name].compare == measures.RSA.compare else 3e-6
    np.testing.assert_allclose(found, wanted, atol=atol)
