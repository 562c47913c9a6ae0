"""Ranks from NumPy between device programs: those of the programs to the last bit, and the same scores."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_ranks import KINDS, average, draws

import jaxsim as js
from jaxsim.engine import host_ranks

RANKED = [
    js.RSA,
    js.Measure(js.transforms.identity, js.pairwise.euclidean, js.compare.kendall_b),
    js.measures.by_name("identity:cosine:rho-a"),
]


@pytest.mark.parametrize("size", [2, 3, 36, 3001])
@pytest.mark.parametrize("kind", KINDS)
def test_the_host_ranks_as_programs_do(kind, size):
    v = draws(kind, size)
    for given in (v, -v, np.append(v[1:], np.float32(np.nan))):
        np.testing.assert_array_equal(host_ranks.average(given), average(given))


def test_in_double_precision(x64):
    v = np.round(np.random.default_rng(0).normal(size=500), 2) + 1e-16
    found = host_ranks.average(v)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, average(v))


@pytest.fixture
def features(monkeypatch):
    """Networks of two widths and shapes, one of them with a map of equal values and one with a NaN."""
    monkeypatch.setattr(host_ranks, "FEWEST", 10)
    rng = np.random.default_rng(0)
    made = {str(k): rng.normal(size=(24, width)).astype(np.float32) for k, width in enumerate((5, 5, 8, 8, 24, 24))}
    made["4"] = np.eye(24, dtype=np.float32)
    made["5"][3, 2] = np.nan
    return made


def calls(monkeypatch, name):
    found, real = [], getattr(host_ranks, name)
    monkeypatch.setattr(host_ranks, name, lambda *args: found.append(args) or real(*args))
    return found


@pytest.mark.parametrize("against", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::jaxsim.UndefinedScores")
def test_scores_are_those_of_one_program(features, against, monkeypatch):
    measures = [js.CKA_LINEAR, *RANKED, js.measures.by_name("center:correlation:pearson")]
    options = {"against": {name: features[name] for name in "150"}} if against else {}
    counted = calls(monkeypatch, "_ranks")
    found = js.affinity(features, measures, **options)
    assert len(counted) == len(RANKED) * (1 + against)
    monkeypatch.setattr(host_ranks, "applies", lambda *_: False)
    for own, want in zip(found, js.affinity(features, measures, **options), strict=True):
        np.testing.assert_allclose(own.values, want.values, rtol=0, atol=3e-7, err_msg=own.provenance.measure)
        assert own.undefined == want.undefined
    assert [name for name, _ in found[2].undefined] == ["4", "5"]
    assert len(counted) == len(RANKED) * (1 + against)


def test_blocks_and_ready_made_maps(features, monkeypatch):
    del features["4"], features["5"]
    counted = calls(monkeypatch, "_ranks")
    whole = js.affinity(features, js.RSA)
    few = js.affinity(features, js.RSA, memory=1.75e4)
    assert len(counted) > 3  # blocks of networks
    np.testing.assert_allclose(few.values, whole.values, rtol=0, atol=3e-7)
    maps = js.maps(features, js.RSA)
    before = len(counted)
    np.testing.assert_allclose(js.compare_maps(maps, "spearman").values, whole.values, rtol=0, atol=3e-7)
    assert len(counted) == before + 1


def test_where_programs_rank(features, monkeypatch):
    """Inside jit, on accelerators, and for few images."""
    x = jnp.stack([features["0"], features["1"]])
    monkeypatch.setattr(host_ranks, "_ranked", lambda *_: pytest.fail("ranked on the host"))
    inside = jax.jit(lambda x: js.affinity(x, js.RSA).values)(x)
    monkeypatch.setattr(host_ranks, "FEWEST", 25)
    np.testing.assert_allclose(js.affinity(x, js.RSA).values, inside, atol=3e-7)
    monkeypatch.setattr(host_ranks, "FEWEST", 10)
    assert not host_ranks.applies(dataclasses.replace(js.RSA, compare=js.compare.pearson), 24)
    monkeypatch.setattr(host_ranks, "on_cpu", lambda: False)
    assert not host_ranks.applies(js.RSA, 24)
