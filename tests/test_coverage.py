"""The coverage study: its NumPy restatements are the library's measures, and its counts are what was seen."""

import jax
import numpy as np
import pytest

from benchmarks import coverage, coverage_numpy, coverage_studies
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


def test_a_study_counts_outcomes_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    seeds = []

    def once(seed):
        seeds.append(seed)
        return {"interval": np.arange(4) > 0, "test": np.array([0.01, 0.2, 0.5, 0.9])}

    study = coverage_studies.Study("Held?", 5, (3, 7), {"new classes": once, "another": once})
    monkeypatch.setattr(coverage_studies, "studies", lambda: {"groups": study})
    for datasets in (4, 7):
        coverage_studies.extend("groups", datasets, "new", coverage.write, tmp_path)
    assert seeds == [0, 4]
    rows = coverage_studies.render("groups", tmp_path).splitlines()[4:]
    assert rows[0] == "| new classes | interval | **75.0** ± 15.3 | 8 |"
    assert rows[1].startswith("| new classes | test | **25.0** ± 15.3; KS p 0.")


def test_every_study_can_be_run_and_shown():
    for name, study in coverage_studies.studies().items():
        assert study.settings, name
        coverage_studies.render(name)
