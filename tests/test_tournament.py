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
    with pytest.raises(ValueError, match="already contains distances"):
        taxonomy.transfer_distance(D)


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        (np.zeros((2, 5)), r"losses must have shape \(sources, targets, images\) for 2 sources and 1 targets"),
        (np.zeros((2, 2, 5)), "not of shape"),
        (np.zeros((2, 1, 0)), "not of shape"),
        (np.array([[[0.0, 1.0]], [[np.nan, 1.0]]]), "the loss of image 0 under transfer from 'b' to 'x' is NaN"),
    ],
)
def test_bad_losses(losses, said):
    with pytest.raises(ValueError, match=said):
        taxonomy.transfer_affinity(losses, ("a", "b"), ("x",))


def test_images_without_a_loss_take_no_part():
    losses = np.random.default_rng(1).normal(size=(3, 2, 12))
    without = losses.copy()
    without[1, 0, :4] = np.nan
    found = taxonomy.win_rates(without)
    np.testing.assert_array_equal(found[1], taxonomy.win_rates(losses)[1])
    np.testing.assert_array_equal(found[0, 0, 1], taxonomy.win_rates(losses[..., 4:])[0, 0, 1])
    np.testing.assert_array_equal(found[0, 0, 2], taxonomy.win_rates(losses)[0, 0, 2])
    np.testing.assert_allclose(found[0, 0, 1] + found[0, 1, 0], 1)
    baseline = losses[0].copy()
    baseline[0, 0] = np.nan
    rates = taxonomy.win_rates_over(losses, baseline)
    np.testing.assert_array_equal(rates[:, 0], taxonomy.win_rates_over(losses[..., 1:], baseline[:, 1:])[:, 0])


def test_a_source_without_losses_leaves_no_strengths_for_that_target_alone():
    losses = np.random.default_rng(2).normal(size=(3, 2, 12))
    losses[2, 0] = np.nan
    wins = taxonomy.win_rates(losses)
    assert np.isnan(wins[0, 2, :2]).all()
    found = taxonomy.strengths(wins)
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1].sum(), 1)
