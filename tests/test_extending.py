"""A new part, measure or scheme is added in one place, and every door of the library knows it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import jaxsim

UNIT_LENGTH = '''
@register_static
@dataclasses.dataclass(frozen=True)
class UnitLength:
    """Every image at length 1."""

    def __call__(self, x):
        x = _flatten(x)
        return x / jnp.sqrt(jnp.sum(x * x, 1, keepdims=True))


unit_length = UnitLength()

'''
CHEBYSHEV = '''
@register_static
@dataclasses.dataclass(frozen=True)
class Chebyshev:
    """Largest difference of two images in any feature."""

    def __call__(self, x):
        return jnp.max(jnp.abs(x[:, None] - x[None, :]), 2)


chebyshev = Chebyshev()

'''
POISSON = '''
@dataclasses.dataclass(frozen=True, eq=False)
class PoissonBootstrap:
    """Independent Poisson counts as weights of the images."""

    kind: ClassVar[str] = "poisson bootstrap"
    draws: ClassVar[Draws] = Draws.WEIGHTS
    bootstraps: ClassVar[bool] = True
    standard_error = Bootstrap.standard_error
    interval = Bootstrap.interval

    @staticmethod
    def draw(key, b, layout):
        import jax

        return jax.random.poisson(jax.random.fold_in(key, b), 1.0, layout.code.shape).astype(float)

    def plan(self, images, min_images, n_resamples):
        return Bootstrap().plan(images, min_images, n_resamples)


'''
MEASURE = 'CHEBYSHEV = Measure(_t.unit_length, _f.chebyshev, _g.pearson, "Nobody 2026")\n'
ADDED = {
    "transforms.py": [("__all__ = ", UNIT_LENGTH)],
    "pairwise.py": [("__all__ = ", CHEBYSHEV)],
    "measures.py": [("\n\ndef _named(", MEASURE)],
    "schemes.py": [("_KINDS = ", POISSON), (")}\nNAMED", ", PoissonBootstrap")],
}
"""Text to add before a text that each file has once."""

PROGRAM = """
import numpy as np, jaxsim as js
from jaxsim import cli

measure = js.measures.by_name("chebyshev")
assert (str(measure), measure.source) == ("chebyshev", "Nobody 2026")
assert js.measures.by_name("dds:unit-length,chebyshev").pairwise == js.pairwise.chebyshev
assert "chebyshev" in js.pairwise.__all__ and "unit_length" in js.transforms.__all__

x = np.random.default_rng(0).normal(size=(3, 12, 5)).astype(np.float32)
found = js.affinity(x, "chebyshev")
assert found.provenance.measure == "chebyshev"
np.testing.assert_allclose(found.values[0, 1], measure(x[0], x[1]), rtol=0, atol=2e-6)

r = js.resample(x, "cka", "poisson bootstrap", n_resamples=50)
assert r.scheme is js.schemes.PoissonBootstrap
back = js.load(r.save("resamples.npz"))
assert (back.kind, back.provenance.scheme) == ("poisson bootstrap", "poisson bootstrap()")
np.testing.assert_array_equal(back.interval(), r.interval())
np.testing.assert_array_equal(back.standard_error(), r.standard_error())
back.family_wise()
assert "poisson bootstrap, 50 resamples" in str(back)
raise SystemExit(cli.main(["measures"]))
"""


@pytest.fixture
def extended(tmp_path):
    """A copy of the package with a transform, a distance, a measure and a scheme more."""
    package = Path(shutil.copytree(Path(jaxsim.__file__).parent, tmp_path / "jaxsim"))
    for name, additions in ADDED.items():
        text = (package / name).read_text()
        for place, added in additions:
            assert text.count(place) == 1, (name, place)
            text = text.replace(place, added + place)
        (package / name).write_text(text)
    return tmp_path


@pytest.mark.slow
def test_what_is_added_in_one_place_is_known_everywhere(extended):
    run = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(run, cwd=extended, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    line = next(line.split() for line in done.stdout.splitlines() if line.startswith("chebyshev"))
    assert line == ["chebyshev", "unit-length", "chebyshev", "pearson", "Nobody", "2026"]
