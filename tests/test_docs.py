"""The manual covers what there is and says what is true; `sphinx-build -W`, which runs its code, is part of CI."""

import ast
import builtins
import inspect
import pkgutil
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import SLOW_EXAMPLES

import jaxsim as js
from jaxsim import cli, measures

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted({*DOCS.glob("*.md"), *DOCS.glob("measures/[!_]*.md"), *DOCS.glob("api/*.md")})
pages = pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(DOCS)))

sys.path.insert(0, str(DOCS))
import derived  # noqa: E402


def filled_in():
    """All of the API reference, lists of names included."""
    text = "\n".join(path.read_text() for path in (DOCS / "api").glob("*.md"))
    return re.sub(r"<!-- derived: reference ([\w.]+) -->", lambda found: derived.reference(found[1]), text)


def undocumented(module, names):
    """Functions and classes without a directive, and values and modules that are not named."""
    text = filled_in()
    directives = set(re.findall(r"^\.\. auto\w+:: (?:\w+\.)*(\w+)$", text, re.M))
    values = {name: getattr(module, name) for name in names}
    own = {name for name, value in values.items() if inspect.isfunction(value) or inspect.isclass(value)}
    return sorted((own - directives) | {n for n in values.keys() - own if not re.search(rf"\b{n}\b", text)})


@pytest.mark.parametrize("name", SLOW_EXAMPLES)
def test_examples_that_are_slow_are_there(name):
    assert ">>>" in pkgutil.resolve_name(f"jaxsim.{name}").__doc__


def test_every_public_name_is_in_the_api_reference():
    assert undocumented(js, set(js.__all__) - {"__version__"}) == []


@pytest.mark.parametrize("module", [measures, js.schemes])
def test_modules_that_are_listed_by_hand_are_complete(module):
    unlisted = {"as_given", "describe", "Layout"}  # told of by the names that use them
    assert undocumented(module, set(derived.public_names(module.__name__)) - unlisted) == []


def test_a_function_without_a_directive_is_missed(monkeypatch):
    text = filled_in().replace(".. autofunction:: maps\n", "")
    monkeypatch.setattr(sys.modules[__name__], "filled_in", lambda: text)
    assert undocumented(js, set(js.__all__) - {"__version__"}) == ["maps"]


def test_every_measure_has_a_page():
    found = {path.stem for path in (DOCS / "measures").glob("[!_]*.md")} - {"index"}
    assert found == set(measures.NAMED), "copy docs/measures/_template.md for a new measure"
    index = (DOCS / "measures" / "index.md").read_text()
    for name in measures.NAMED:
        text = (DOCS / "measures" / f"{name}.md").read_text()
        assert f"<!-- derived: measure_facts {name} -->" in text
        assert re.findall(r"^## (.*)", text, re.M) == ["Formula", "Cost", "When it misleads"]
        assert f"\n{name}\n" in index


def test_a_measure_without_a_page_has_a_row(monkeypatch):
    monkeypatch.setattr(measures, "NAMED", {"new": measures.RSA})
    assert "| new (no page yet) | center | correlation | spearman |" in derived.measures_table()


@pytest.mark.slow
def test_invariances_are_those_of_the_tests():
    """The table is computed; the lists in `test_invariances` were thought out."""
    from test_invariances import BLIND

    blind = {change.__name__: names for change, names in BLIND.items()}
    same = {
        "rotation": "rotation",
        "one scale for all features": "scale",
        "a shift of each feature": "shift",
        "a scale for each feature": "scale_of_every_feature",
        "a scale for each image": "scale_of_every_image",
        "an offset for each image": "offset_of_every_image",
        "an invertible linear map": "invertible",
    }
    for name, found in derived.invariances().items():
        assert found == {change: name in blind[known] for change, known in same.items()}, name


@pytest.mark.slow
def test_gradients_are_zero_for_rank_measures_alone():
    assert {name for name, useful in derived.gradients().items() if not useful} == {"rsa", "rsa-uncentered"}


@pages
def test_what_is_filled_in_is_there(path, monkeypatch):
    """But for what is computed, which the slow tests above look at."""
    monkeypatch.setattr(derived, "invariances", lambda: {name: {"rotation": True} for name in measures.NAMED})
    monkeypatch.setattr(derived, "gradients", lambda: dict.fromkeys(measures.NAMED, True))
    for name, argument in re.findall(r"<!-- derived: (\w+) ?([\w.-]*) -->", path.read_text()):
        assert getattr(derived, name)(*argument.split())


@pages
def test_links_and_figures_exist(path):
    for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        copied = DOCS.parent / f"{link}.ipynb"  # the build copies the notebooks beside the pages
        assert (path.parent / link).exists() or (link.startswith("notebooks/") and copied.exists()), link


@pages
def test_pages_are_in_a_table_of_contents(path):
    name = str(path.relative_to(DOCS).with_suffix(""))
    text = "\n".join(p.read_text() for p in (DOCS / "index.md", path.parent / "index.md"))
    assert name == "index" or f"\n{name}\n" in text or f"\n{path.stem}\n" in text


@pages
def test_python_parses(path):
    for code in re.findall(r"```(?:python|\{code-cell\})\n(.*?)```", path.read_text(), re.S):
        ast.parse(code)


def undefined_in(text):
    """Names that the cells of a page read and none before has set."""
    known, lost = {*dir(builtins)}, []
    for code in re.findall(r"```\{code-cell\}\n(.*?)```", text, re.S):
        nodes = [*ast.walk(ast.parse(code))]
        known |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        known |= {n.arg for n in nodes if isinstance(n, ast.arg)}
        known |= {n.name for n in nodes if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
        imports = [a for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names]
        known |= {a.asname or a.name.split(".")[0] for a in imports}
        lost += [n.id for n in nodes if isinstance(n, ast.Name) and n.id not in known]
    return lost


@pages
def test_cells_set_the_names_that_they_read(path):
    assert not undefined_in(path.read_text())


def test_a_name_that_no_cell_sets_is_seen():
    assert undefined_in("```{code-cell}\na = 1\n```\n```{code-cell}\nprint(a, B)\n```") == ["B"]


@pages
def test_figures_are_made_by_what_shows_them(path):
    assert "matplotlib.figure" not in path.read_text()  # a notebook prints such a figure as text


ROOT = DOCS.parent
TEXTS = [
    *PAGES,
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(ROOT / "benchmarks").rglob("*.md"),
    *ROOT.glob("tests/*.md"),
]


def commands_in(text):
    """Commands in blocks and between backquotes, one by one, and whether each is whole."""
    for language, block in re.findall(r"^ *```([^\n]*)\n(.*?)^ *```$", text, re.S | re.M):
        if language not in ("", "sh"):
            continue
        lines = block.replace("\\\n", " ").splitlines()
        yield from ((part, True) for line in lines for part in line.partition("  #")[0].split("&&"))
    for span in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S)):
        yield from ((part, False) for part in span.split("&&"))


def fault(command, whole):
    """What is wrong with a command of the house; None for others."""
    start = r"^\s*(\$ |([A-Z_]+=\S* )*|nice |for .* do )"
    words = shlex.split(re.sub(start, "", command.strip().replace("$k", "0")).rstrip(";"))
    flags = [word.partition("=")[0] for word in words if word.startswith("--")]
    if words[0] == "jaxsim" and words[1] != "--help":
        return _fault_of_cli(words, flags, whole)
    if words[0] == "python" and words[1] not in ("-c", "-"):
        return _fault_of_python(words, flags)
    extras = re.findall(r"^\.\[([\w,]+)\]$", words[-1]) if "install" in words else []
    known = (ROOT / "pyproject.toml").read_text()
    return next((f"no extra {one}" for one in ",".join(extras).split(",") if one and f"\n{one} = [" not in known), None)


def _fault_of_cli(words, flags, whole):
    if words[1] not in cli.COMMANDS:
        return f"no command {words[1]}"
    known = cli.build_parser()._subparsers._group_actions[0].choices[words[1]]
    if odd := [flag for flag in flags if flag not in known._option_string_actions]:
        return f"{words[1]} has no {odd[0]}"
    return _unparsed(words) if whole else None


def _fault_of_python(words, flags):
    name, path = words[1], ROOT / words[1]
    if name == "-m":
        name, path = words[2], ROOT / (words[2].replace(".", "/") + ".py")
    if name in ("pip", "pytest", "venv"):
        return next((f"no {one}" for one in words if one.startswith("tests/") and not (ROOT / one).exists()), None)
    if not path.exists():
        return f"no {path.name}"
    source = "".join(p.read_text() for p in path.parent.glob("*.py") if p == path or p.stem in path.read_text())
    return next((f"{name} has no {flag}" for flag in flags if f'"{flag}"' not in source), None)


def _unparsed(words):
    try:
        cli.build_parser().parse_args(words[1:])
    except SystemExit:
        return "not valid usage"
    return None


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_are_valid_usage(path):
    found = {command: fault(command, whole) for command, whole in commands_in(path.read_text()) if _is_ours(command)}
    assert {command: wrong for command, wrong in found.items() if wrong} == {}


def _is_ours(command):
    return re.search(r"(^|\s)(jaxsim|python|pip) ", command) and "=" not in command.split()[-1][:1]


def test_wrong_commands_of_every_kind_are_seen():
    wrong = "```\njaxsim affinity x --out y --wrong 1\n```\n`jaxsim afinity` `python -m benchmarks.nothing` "
    wrong += "`python docs/figures.py --galery W` `pip install -e .[nothing]` `A=1 python -m pytest tests/none.py`"
    assert all(fault(command, whole) for command, whole in commands_in(wrong) if command.strip())


def test_recipe_for_a_torch_network_runs(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "pictures").mkdir()
    for k in range(3):
        noise = np.random.default_rng(k).integers(0, 255, (32, 40, 3), np.uint8)
        image.fromarray(noise).save(tmp_path / "pictures" / f"{k}.png")
    network = torch.nn.Sequential()
    network.layer3 = torch.nn.Conv2d(3, 4, 3, stride=16)
    monkeypatch.chdir(tmp_path)
    recipes = re.findall(r"```python\n(.*?)```", (DOCS / "how_to.md").read_text(), re.S)
    (recipe,) = (one for one in recipes if "import jax, torch" in one)
    exec(recipe, {"network": network})
    features, ids = js.read_features(tmp_path / "features")
    assert features["resnet"].shape == (3, 14, 14, 4)
    assert len(ids) == 3
