"""The manual covers what there is; the build itself (`sphinx-build -W`) runs in continuous integration."""

import re
import sys
from pathlib import Path

import pytest

import jaxsim as js
from jaxsim import measures

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted({*DOCS.glob("*.md"), *DOCS.glob("measures/*.md")})


def test_every_public_name_is_in_the_api_reference():
    text = (DOCS / "api.md").read_text()
    modules = {f"jaxsim.{n}" for n in js.__all__ if isinstance(getattr(js, n), type(sys))}
    names = [n for n in js.__all__ if n != "__version__" and f"jaxsim.{n}" not in modules]
    assert [n for n in names if not re.search(rf"\b{n}\b", text)] == []
    assert [m for m in modules if f"automodule:: {m}" not in text and m not in text] == []


def test_every_measure_has_a_page():
    pages = {path.stem for path in (DOCS / "measures").glob("*.md")} - {"index"}
    assert pages == set(measures.NAMED)
    for name in measures.NAMED:
        text = (DOCS / "measures" / f"{name}.md").read_text()
        assert all(f"**{part}**" in text for part in ("Does not change with", "Changes with", "Cost")), name


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(DOCS)))
def test_links_and_figures_exist(path):
    for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / link).exists(), link
