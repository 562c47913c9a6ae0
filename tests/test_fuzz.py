"""Random inputs: every outcome is right, or an error or a warning in jaxsim's words; `benchmarks.fuzz` tries more."""

import hypothesis
import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks import fuzz, fuzz_scores

FEW = {"affinity": 4, "bundles": 10, "checkpoints": 4, "pictures": 40, "read_features": 60}
FIXED = {"affinity": fuzz_scores.features(fuzz_scores.SHAPES[:1], ("C", "F", "strided", "negative", "list"))}
"""Of the default tests: one program, the one of tests/test_invariances.py."""
MORE = {"affinity": fuzz_scores.features(((12, 2, 2, 4), (12, 1))), "resample": fuzz_scores.features(((12, 16),))}
"""Of the slow ones: each shape is several programs, and `benchmarks.fuzz` tries all."""


def attempt(verb, examples, strategy):
    check, own = fuzz.VERBS[verb]

    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        phases=(hypothesis.Phase.generate,),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(own if strategy is None else strategy)
    def each(sample):
        check(sample)

    each()


@pytest.mark.parametrize("verb", FEW)
def test_random_input(verb):
    attempt(verb, FEW[verb], FIXED.get(verb))


@pytest.mark.parametrize("comparator", fuzz_scores.COMPARATORS)
def test_a_wrong_score_of_maps_far_from_zero_is_a_fault(comparator):
    made = np.random.default_rng(0).normal(size=(4, 12, 12)) + 1e6
    maps = [fuzz_scores.less((m + m.T) * (1 - np.eye(12)), comparator, True) for m in made.astype(np.longdouble)]
    true = fuzz_scores.truth(lambda m: m, maps, comparator, 0)
    assert fuzz_scores.judge(comparator, true.score, true, [], "abcd").kind == "right"
    wrong = true.score + 1e-3 * (1 - np.eye(4))
    for other in (wrong, np.where(np.eye(4), true.score, np.nan), np.where(np.eye(4), true.score, 2)):
        with pytest.raises(fuzz_scores.Fault):
            fuzz_scores.judge(comparator, other, true, [], "abcd")


@pytest.mark.slow
@pytest.mark.parametrize("verb", fuzz.VERBS)
def test_hundreds_of_random_inputs(verb):
    attempt(verb, round(300 * fuzz.SHARES[verb]), MORE.get(verb))
