"""Random inputs: every outcome is right, or an error or a warning in jaxsim's words; `benchmarks.fuzz` tries more."""

import hypothesis
import pytest

pytest.importorskip("torch")

from benchmarks import fuzz, fuzz_scores

FEW = {"affinity": 4, "bundles": 10, "checkpoints": 4, "pictures": 40, "read_features": 60}
FIXED = {"affinity": fuzz_scores.features(fuzz_scores.SHAPES[:1], ("C", "F", "strided", "negative", "list"))}
"""Of the default tests: one program, the one of tests/test_invariances.py."""


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


@pytest.mark.slow
@pytest.mark.parametrize("verb", fuzz.VERBS)
def test_a_thousand_random_inputs(verb):
    attempt(verb, round(1000 * fuzz.SHARES[verb]), None)
