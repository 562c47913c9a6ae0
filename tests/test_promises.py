"""What `docs/backend.md` promises to those who build on jaxsim: names, parameters, attributes and saved files."""

import inspect
import re
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxsim as js

PAGE = Path(__file__).parents[1] / "docs" / "backend.md"
LINES = re.search(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[1].splitlines()
CALLS = [line for line in LINES if "(" in line]
RECORDS = [line for line in LINES if ":" in line]
SAVED = sorted((Path(__file__).parent / "saved").glob("*/*.npz"))


@pytest.mark.parametrize("line", CALLS)
def test_parameters_are_there(line):
    name, promised = re.fullmatch(r"(\w+)\((.*)\)", line).groups()
    listed = re.findall(r"\w+", promised)
    places, _, words = promised.partition("*, ")
    parameters = inspect.signature(getattr(js, name)).parameters
    by_place = [key for key, p in parameters.items() if p.kind is not p.KEYWORD_ONLY]
    assert by_place == [word for word in places.split(", ") if word], "parameters are added by keyword alone"
    missing = [word for word in words.split(", ") if word and word not in parameters]
    assert not missing
    added = [p for p in parameters.values() if p.name not in listed]
    assert all(p.default is not p.empty for p in added), "an added parameter has a default"


@pytest.mark.parametrize("line", RECORDS)
def test_attributes_are_there(line):
    name, promised = line.split(": ")
    record = getattr(js, name)
    assert not [word for word in promised.split() if not hasattr(record, word) and word not in record.__annotations__]


@pytest.mark.parametrize("path", SAVED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_files_of_earlier_releases_are_read(path):
    found = js.load(path)
    assert type(found).__name__.lower() == path.stem.replace("_", "")
    with np.load(path) as kept:
        for name in set(kept) - {"record_json"}:
            np.testing.assert_array_equal(getattr(found, name), kept[name])
    assert len(str(found).splitlines()) > 1


def test_every_kind_of_record_was_saved():
    from jaxsim.results import saved

    kinds = {path.stem.replace("_", "") for path in SAVED}
    assert {name.lower() for name in saved._RECORDS} <= kinds


@pytest.mark.parametrize("name", ["cityblock", "correlation", "laplacian", "linear", "rbf"])
def test_maps_take_float64_numpy_without_a_warning(name):
    x = np.random.default_rng(0).normal(size=(8, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert getattr(js.pairwise, name)(x).dtype == jax.numpy.float32


@pytest.mark.parametrize("name", ["centered_cosine", "root_centered_cosine", "u_centered_cosine"])
def test_comparators_take_float64_numpy_without_a_warning(name):
    x = np.random.default_rng(0).normal(size=(2, 8, 5))
    a, b = (np.linalg.norm(m[:, None] - m, axis=2) for m in x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(getattr(js.compare, name)(a, b))
