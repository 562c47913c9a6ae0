"""What accelerators compute in another way gives the same numbers: programs for one, run on a CPU."""

import jax
import numpy as np
import pytest
from marks import slow_but

import jaxsim as js
from jaxsim import linalg
from jaxsim.calibration import program as calibration
from jaxsim.engine import program
from jaxsim.resampling import plans

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::jaxsim.results.{kind}") for kind in ("FewResamples", "UndefinedScores")
]
N = 40
RANDOM = np.random.default_rng(0)
SHARED = RANDOM.normal(size=(N, 6))
FEATURES = {
    name: (SHARED @ RANDOM.normal(size=(6, 70)) + RANDOM.normal(size=(N, 70))).astype(np.float32) for name in "abc"
}
TIED = {name: np.round(x[:, :2]) for name, x in FEATURES.items()}
KEY = jax.random.key(3)
CALLS = {
    "affinity": lambda x, m: js.affinity(x, m).values,
    "against": lambda x, m: js.affinity(x, m, against={"d": x["a"] + x["b"]}).values,
    "bootstrap": lambda x, m: js.resample(x, m, js.Bootstrap(), n_resamples=11, key=KEY).values,
    "bayesian": lambda x, m: js.resample(x, m, js.BayesianBootstrap(), n_resamples=5, key=KEY).values,
    "half-samples": lambda x, m: js.resample(x, m, js.HalfSamples(), n_resamples=4, key=KEY).values,
    "permutation": lambda x, m: js.resample(x, m, js.Permutation(), n_resamples=5, key=KEY, against=x).values,
    "gradient": lambda x, m: jax.grad(lambda a: js.affinity({**x, "a": a}, m).values[0, 1])(jax.numpy.asarray(x["a"])),
    "calibration": lambda x, m: js.calibrate(x, m, n_permutations=19, key=KEY).p,
}
MEASURES = ["rsa", "cka", "cka-rbf", "dds-laplacian", "center:correlation:rho-a"]


@pytest.fixture
def accelerator(monkeypatch):
    """Programs are compiled as for an accelerator from here on, which takes all of this in several steps."""

    def begin():
        jax.clear_caches()
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        monkeypatch.setattr(linalg, "MOST_CELLS", 2)
        monkeypatch.setattr(calibration, "BLOCK", 16)
        monkeypatch.setattr(program, "WORKING_BYTES", 3e5)
        monkeypatch.setattr(plans, "WEIGHTINGS_AT_ONCE", (8, 4))

    yield begin
    monkeypatch.undo()
    jax.clear_caches()


@pytest.mark.parametrize("measure", slow_but(["rsa"], MEASURES))
@pytest.mark.parametrize("call", slow_but(["bootstrap"], CALLS))
@pytest.mark.parametrize("features", [FEATURES, TIED], ids=["continuous", "tied"])
def test_numbers_are_those_of_a_cpu(call, measure, features, accelerator):
    with jax.enable_x64(True):  # where rounding neither makes ties nor parts them
        wide = {name: x.astype(np.float64) for name, x in features.items()}
        want = CALLS[call](wide, measure)
        accelerator()
        got = CALLS[call](wide, measure)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_noise_ceilings_under_weights_are_those_of_a_cpu(accelerator):
    group = js.maps(FEATURES, "rsa")
    want = js.compare_models(group, group, "spearman", over="images", n_resamples=20, key=KEY)
    accelerator()
    got = js.compare_models(group, group, "spearman", over="images", n_resamples=20, key=KEY)
    np.testing.assert_allclose(got.ceiling, want.ceiling, atol=1e-6)
    np.testing.assert_allclose(got.low, want.low, atol=1e-6)
