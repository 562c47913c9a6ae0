"""The README's code runs, and its tables name what there is."""

import re
from pathlib import Path

import jaxsim as js
from jaxsim import measures

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_ten_lines_run(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", README, re.S)
    names = {}
    exec(block, names)
    assert names["A"].values.shape == (12, 12)
    assert names["low"].shape == (12, 12)
    assert "estimate" in capsys.readouterr().out


def test_table_of_measures_is_true():
    rows = re.findall(r"^\| `([A-Z_]+)`(?:, `([a-z-]+)`)? \| (\w+) \| (\w+) \| (\w+) \|", README, re.M)
    assert len(rows) >= 8
    for value, name, *parts in rows:
        measure = getattr(js, value)
        assert [
            measures.part_name(p).replace("-", "_") for p in (measure.transform, measure.pairwise, measure.compare)
        ] == parts
        if name:
            assert measures.by_name(name) == measure


def test_every_named_measure_has_a_source():
    assert measures.NAMED.keys() == measures.SOURCES.keys()
