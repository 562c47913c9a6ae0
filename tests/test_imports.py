"""What importing costs, what the package promises by name, and which module may know which."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import jaxsim

PACKAGE = Path(jaxsim.__file__).parent
PROMISED = [
    "affinity",
    "maps",
    "compare_maps",
    "crossnobis",
    "explain",
    "noise_ceiling",
    "resample",
    "resample_scores",
    "recommend_scheme",
    "calibrate",
    "variance_study",
    "sweep",
    "sweep_status",
    "Minibatches",
    "evaluate",
    "compare_agreements",
    "load",
    "report",
    "dds",
    "Measure",
    "Affinity",
    "ImageScores",
    "Maps",
    "Resamples",
    "RSA",
    "RSA_UNCENTERED",
    "CKA_LINEAR",
    "CKA_LINEAR_BIASED",
    "CKA_RBF",
    "CKA_RBF_BIASED",
    "DDS_LAPLACIAN",
    "DDS_COSINE",
    "RV",
    "DISTANCE_CORRELATION",
    "DISTANCE_CORRELATION_UNBIASED",
    "CCA",
    "CCA_SQUARED",
    "SVCCA",
    "Subsample",
    "Bootstrap",
    "BayesianBootstrap",
    "HalfSamples",
    "Jackknife",
    "Permutation",
    "transforms.identity",
    "transforms.center",
    "transforms.zscore",
    "transforms.batch_norm",
    "transforms.instance_norm",
    "transforms.layer_norm",
    "transforms.group_norm",
    "transforms.mean_pool",
    "transforms.Duality",
    "pairwise.linear",
    "pairwise.rbf",
    "pairwise.laplacian",
    "pairwise.correlation",
    "pairwise.euclidean",
    "pairwise.cosine",
    "pairwise.cityblock",
    "compare.pearson",
    "compare.spearman",
    "compare.cosine",
    "compare.u_centered_cosine",
    "compare.rho_a",
    "compare.kendall_a",
    "compare.kendall_b",
    "compare.whitened_cosine",
    "compare.whitened_pearson",
    "compare.whitened_by",
]
HEAVY = [
    "flax",
    "optax",
    "orbax",
    "matplotlib",
    "scipy",
    "h5py",
    "pandas",
    "xarray",
    "safetensors",
    "torch",
    "sklearn",
    "skimage",
    "grain",
    "PIL",
    "jinja2",
]

# A wing imports only from itself and the wings to its right.
WINGS = ["cli", "studies", "vision", "core"]

# Within a wing, from the top: a part imports only from lines below its own. Names on one line may not import each
# other, except in the algebra, where they import only names to their right.
LAYERS = {
    "core": [
        ["plotting", "reports", "demo"],
        ["taxonomy"],
        ["evaluation"],
        [
            "calibration",
            "explanations",
            "inference",
            "measurements",
            "minibatches",
            "source_selection",
            "sweeps",
            "variance",
        ],
        ["resampling"],
        ["engine"],
        ["inputs"],
        ["results"],
        ["advice"],
        ["assumptions", "schemes"],
        ["layouts"],
        ["io"],
        ["statistics"],
        ["measures", "extras"],
        ["foreign_arrays"],
        ["casts"],
        ["compare", "centering", "pairwise", "subspaces", "transforms", "ranks", "linalg", "protocols", "meshes"],
    ],
    "vision": [
        ["attribution", "modules"],
        ["torch_modules", "flax_modules"],
        ["layer_outputs"],
        ["extraction"],
        ["datasets", "training"],
        ["models"],
    ],
    "studies": [["leaderboard"], ["reproduce"], ["branching"], ["rooms"]],
}
ALGEBRA = LAYERS["core"][-1]
PROGRAMS = {
    *ALGEBRA,
    "engine",
    "resampling",
    "calibration",
    "inference",
    "minibatches",
    "sweeps",
    "variance",
    "statistics",
    "measures",
}
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def place(name):
    """Wing and part of a dotted name below the package: `vision.models.resnet` is in vision, part models."""
    first, *rest = name.split(".")
    if first == "__main__":  # the command
        return "cli", first
    return (first, rest[0] if rest else "") if first in WINGS else ("core", first)


def place_of(path):
    """Wing and part that a file is in."""
    return place(".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"))


def part_of(path):
    """The part of its wing that a file belongs to."""
    return place_of(path)[1]


def imported(path):
    """Dotted names of everything that a file imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def known_places(path):
    """Wings and parts of jaxsim that a file imports, its own left out."""
    return {place(name.removeprefix("jaxsim.")) for name in imported(path) if name.startswith("jaxsim.")} - {
        place_of(path)
    }


@pytest.mark.parametrize("name", PROMISED)
def test_promised_names(name):
    value = jaxsim
    for part in name.split("."):
        value = getattr(value, part)
    assert value is not None


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_wing_imports_one_above_it(path):
    for wing, part in known_places(path):
        assert WINGS.index(wing) >= WINGS.index(place_of(path)[0]), f"{path} imports {wing}.{part}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_within_a_wing_point_down(path):
    wing, own = place_of(path)
    level = {name: k for k, names in enumerate(LAYERS.get(wing, ())) for name in names}
    assert own in level or not level or not own, f"{own} has no place in the import order of {wing}"
    for other in (part for other_wing, part in known_places(path) if other_wing == wing and level and part and own):
        below = level[other] > level[own]
        beside = own in ALGEBRA and other in ALGEBRA and ALGEBRA.index(other) > ALGEBRA.index(own)
        assert below or beside, f"{path.name} imports {other}, which is not below {own}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_module_imports(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    importlib.import_module(".".join(p for p in parts if p != "__init__"))


def test_the_algebra_knows_jax_alone():
    allowed = {
        "jax",
        "jaxtyping",
        "jaxsim",
        "dataclasses",
        "collections",
        "typing",
        "math",
        "functools",
        "enum",
        "operator",
        "itertools",
    }
    for path in FILES:
        if place_of(path)[0] == "core" and part_of(path) in ALGEBRA:
            assert {name.split(".")[0] for name in imported(path)} <= allowed, path


def test_importing_is_light():
    modules = "jaxsim, jaxsim.taxonomy, jaxsim.evaluation, jaxsim.io, jaxsim.plotting, jaxsim.reports, jaxsim.cli, "
    modules += "jaxsim.vision.modules"
    code = f"import sys, {modules}; print(*sorted({{m.split('.')[0] for m in sys.modules}} & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == []


def test_importing_changes_no_setting_of_jax_and_starts_no_device():
    code = (
        "import jax; before = dict(jax.config.values); import jaxsim; "
        "from jax._src import xla_bridge; "
        "print(before == dict(jax.config.values), xla_bridge.backends_are_initialized())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["True", "False"]


def settings_of(tree):
    """Places where a syntax tree sets or replaces configuration of JAX."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("jax.config.update", "config.update"):
            yield node.lineno
        targets = node.targets if isinstance(node, ast.Assign) else ()
        if any(ast.unparse(t).startswith(("jax.config.", "config.")) for t in targets):
            yield node.lineno


def test_only_the_command_line_configures_jax():
    found = {str(p.relative_to(PACKAGE)) for p in FILES if list(settings_of(ast.parse(p.read_text())))}
    assert {part.split("/")[0].removesuffix(".py") for part in found} <= {"cli"}
    assert list(settings_of(ast.parse("jax.config.update('jax_enable_x64', True)"))) == [1]


def test_one_function_warns_so_that_every_warning_names_a_line_of_the_user():
    warning = {str(p.relative_to(PACKAGE)) for p in FILES if "warnings.warn(" in p.read_text()}
    assert warning == {"io/files.py"}


def public_functions(package):
    """Functions that a package offers by name: its own and those it takes from its modules."""
    for name, value in vars(importlib.import_module(package)).items():
        ours = (getattr(value, "__module__", None) or "").startswith("jaxsim")
        if ours and callable(value) and not isinstance(value, type) and not name.startswith("_"):
            yield name


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("__init__.py")), ids=lambda p: p.parent.name)
def test_no_module_has_the_name_of_a_public_function(path):
    """But for the modules of commands, which are named after them and not imported by users."""
    package = ".".join(path.relative_to(PACKAGE.parent).parent.parts)
    files = [p for p in FILES if place_of(p)[0] != "cli"]
    modules = {p.parent.name if p.name == "__init__.py" else p.stem for p in files}
    assert modules.isdisjoint(public_functions(package))


def loose_contractions(tree):
    """Matrix products that leave the precision to the backend."""
    names = {"dot", "matmul", "einsum", "tensordot", "vdot", "inner", "dot_general", "cov", "corrcoef"}
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            yield node.lineno
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names:
            module = ast.unparse(node.func.value)
            if module in ("jnp", "jax.numpy", "lax", "jax.lax") and "precision" not in {k.arg for k in node.keywords}:
                yield node.lineno


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if place_of(p)[0] == "core" and part_of(p) in PROGRAMS],
    ids=lambda p: str(p.relative_to(PACKAGE)),
)
def test_every_contraction_states_its_precision(path):
    assert list(loose_contractions(ast.parse(path.read_text()))) == []
