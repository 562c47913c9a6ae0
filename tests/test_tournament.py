"""Taskonomy's affinity is the eigenvector of a tournament over images."""

import numpy as np
import pytest

import jaxsim as js
import jaxsim.evaluation
from jaxsim import taxonomy
from jaxsim.studies.rooms import world


def test_consistent_ratios_give_their_strengths():
    strength = np.array([[4.0, 2.0, 1.0], [1.0, 5.0, 2.5]])
    wins = strength[:, :, None] / (strength[:, :, None] + strength[:, None])
    np.testing.assert_allclose(taxonomy.strengths(wins), strength / strength.sum(1, keepdims=True), rtol=1e-12)


def test_the_affinity_is_a_loop_over_pairs_and_powers():
    """Never beaten, always beaten, and ties: each clipped or halved as the definition says."""
    rng = np.random.default_rng(0)
    losses = rng.integers(0, 5, size=(4, 3, 30)).astype(float)
    losses[0, 1], losses[3, 1] = -1, 9
    found = taxonomy.transfer_affinity(losses, "abcd", ("x", "y", "z"))
    for t in range(3):
        ratio = np.ones((4, 4))
        for i in range(4):
            for j in range(4):
                won = np.mean(
                    [1.0 if a < b else 0.5 if a == b else 0.0 for a, b in zip(losses[i, t], losses[j, t], strict=True)]
                )
                won = min(max(won, 0.001), 0.999)
                ratio[i, j] = won / (1 - won)
        v = np.ones(4)
        for _ in range(500):
            v = ratio @ v
            v /= v.sum()
        np.testing.assert_allclose(found.values[:, t], v, rtol=1e-9)
    assert [name for name, _ in found.ranking("y")][:: len("abc")] == ["a", "d"]


def test_the_shipped_truth_is_its_own_tournament():
    """Losses are shipped in half precision, which ties some."""
    truth = world.load_truth()
    found = taxonomy.transfer_affinity(truth.losses, truth.sources, truth.targets)
    np.testing.assert_allclose(found.values, truth.affinity, atol=0.02)
    for a, b in zip(np.asarray(found.values).T, truth.affinity.T, strict=True):
        assert js.evaluation.spearman(a, b) > 0.995


def test_the_scale_of_the_figures():
    P = js.Affinity.from_array([[0.0, 0.1], [0.5, 1.0]], ("a", "b"), measure="tournament")
    D = taxonomy.transfer_distance(P)
    np.testing.assert_allclose(D.values, np.exp([[0, -2], [-10, -20]]), rtol=1e-6)
    assert D.distance
    assert D.ranking("b")[0][0] == P.ranking("b")[0][0] == "a"
    with pytest.raises(ValueError, match="holds distances already"):
        taxonomy.transfer_distance(D)


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        (np.zeros((2, 5)), r"losses must be \(sources, targets, images\) for 2 sources and 1 targets"),
        (np.zeros((2, 2, 5)), "not of shape"),
        (np.zeros((2, 1, 0)), "not of shape"),
        (np.array([[[0.0, 1.0]], [[np.nan, 1.0]]]), "the loss of image 0 under transfer from 'b' to 'x' is NaN"),
    ],
)
def test_bad_losses(losses, said):
    with pytest.raises(ValueError, match=said):
        taxonomy.transfer_affinity(losses, ("a", "b"), ("x",))
