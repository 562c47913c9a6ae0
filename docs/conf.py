"""Sphinx configuration; `sphinx-build -W -b html docs docs/_build/html` from the root of the repository."""

import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
for folder in (HERE, HERE.parent):
    sys.path.insert(0, str(folder))
os.environ["PYTHONPATH"] = str(HERE.parent)  # the kernels of executed pages import this tree too

import derived  # noqa: E402

import jaxsim  # noqa: E402

project = "jaxsim"
author = "The jaxsim authors"
project_copyright = "The jaxsim authors"
release = jaxsim.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
    "sphinxcontrib.bibtex",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "measures/_template.md"]
html_theme = "sphinx_book_theme"
html_title = "jaxsim"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_theme_options = {
    "navbar_persistent": [],
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
}

default_role = "literal"
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
myst_links_external_new_tab = True
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
# pages of notebooks that cannot run here show the outputs that are kept in the files
can_run = {"torch_layers": importlib.util.find_spec("torch"), "brain_rdms": os.environ.get("JAXSIM_DATA")}
nb_execution_excludepatterns = [f"notebooks/{name}.ipynb" for name, able in can_run.items() if not able]
nb_merge_streams = True
bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"
bibtex_reference_style = "author_year"

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True, "exclude-members": "tree_flatten, tree_unflatten"}
napoleon_google_docstring = True
napoleon_use_ivar = True
napoleon_use_rtype = False
copybutton_prompt_text = ">>> "
# figures in notebooks come with a second form that a browser does not need
suppress_warnings = ["mystnb.unknown_mime_type"]


def _copy_notebooks(app):
    """Notebooks live beside the package; Sphinx reads only its own folder."""
    folder = HERE / "notebooks"
    folder.mkdir(exist_ok=True)
    for path in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
        shutil.copy(path, folder / path.name)


def _fill_in(app, docname, source):
    """Put tables that follow from the package in place of `<!-- derived: FUNCTION ARGUMENT -->`."""
    mark = re.compile(r"^<!-- derived: (\w+) ?([\w.-]*) -->$", re.M)
    source[0], count = mark.subn(lambda found: getattr(derived, found[1])(*found[2].split()), source[0])
    if count:
        app.env.note_reread()


def _escape_bars(app, what, name, obj, options, lines):
    """Norms such as |x| are no substitutions of reStructuredText."""
    literal = False
    for k, line in enumerate(lines):
        spans = [(span, literal ^ bool(j % 2)) for j, span in enumerate(line.split("`"))]
        literal = spans[-1][1]
        if not line.lstrip().startswith((">>>", "...")):
            lines[k] = "`".join(span if code else span.replace("|", r"\|") for span, code in spans)


def setup(app):
    """Connect what runs before the pages are read, on every page and on every docstring."""
    app.connect("builder-inited", _copy_notebooks)
    app.connect("source-read", _fill_in)
    app.connect("autodoc-process-docstring", _escape_bars)
