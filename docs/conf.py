"""Sphinx configuration; `sphinx-build -W -b html docs docs/_build/html` from the repository root."""

import shutil
import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "jaxsim"
author = "The jaxsim authors"
project_copyright = "The jaxsim authors"
release = metadata.version("jaxsim-similarity")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
    "sphinxcontrib.bibtex",
    "sphinx_copybutton",
    "tables",
]
exclude_patterns = ["_build"]
templates_path = []
html_theme = "sphinx_book_theme"
html_title = "jaxsim"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_theme_options = {"show_toc_level": 2, "use_download_button": False, "use_fullscreen_button": False}
html_last_updated_fmt = ""

default_role = "literal"
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_use_ivar = True
napoleon_use_rtype = False
copybutton_prompt_text = ">>> "
# a page of the changelog links to its format on the web, and images in notebooks are embedded
suppress_warnings = ["myst.xref_missing", "mystnb.unknown_mime_type"]


def _copy_notebooks(app):
    """Notebooks live beside the package; Sphinx reads only its own folder."""
    folder = HERE / "notebooks"
    folder.mkdir(exist_ok=True)
    for path in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
        shutil.copy(path, folder / path.name)


def _escape_bars(app, what, name, obj, options, lines):
    """Norms such as |x| are no substitutions of reStructuredText."""
    spans = "\n".join(lines).split("`")
    text = "`".join(span if k % 2 else span.replace("|", r"\|") for k, span in enumerate(spans))
    code = (">>>", "...")
    lines[:] = [a if a.lstrip().startswith(code) else b for a, b in zip(lines, text.split("\n"), strict=True)]


def setup(app):
    """Connect what runs before the pages are read, and on every docstring."""
    app.connect("builder-inited", _copy_notebooks)
    app.connect("autodoc-process-docstring", _escape_bars)
