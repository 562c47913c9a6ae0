"""Fixtures that more than one test file uses, and a compilation cache that workers and runs share."""

import os
from importlib.metadata import version
from pathlib import Path

# most of the time of a test is compilation; JAX reads these when it is imported, here and in every subprocess
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# a third less of it without LLVM's optimizations; .ci/run sets the level of users' programs, 3, for a second run
LEVEL = "--xla_backend_optimization_level"
QUICK = f"{LEVEL}=0"
"""XLA's flags for the shortest compilation, also for subprocesses that compare numbers with each other."""
if version("jaxlib").startswith("0.10."):  # half of the rest; newer versions abort at a flag that they do not know
    QUICK += " --xla_cpu_use_fusion_emitters=false"
if LEVEL not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}".strip()

import jax
import numpy as np
import pytest


@pytest.fixture
def x64():
    """Float64 for the length of one test; the configuration is left as it was."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def out(tmp_path):
    """A folder for what a command writes, which is not there yet."""
    return tmp_path / "out"


@pytest.fixture(scope="module")
def one_thread():
    """One thread of PyTorch: its waiting threads would take the processor from XLA's."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SKIPPED = "jaxsim/skipped"
"""Tests and files that the last run without --skipped skipped, in pytest's cache."""
_skipped = set()


def pytest_addoption(parser):
    """A run after an extra was installed need not repeat what has passed without it."""
    parser.addoption("--skipped", action="store_true", help="run only the tests that the last run skipped")


def pytest_runtest_logreport(report):
    """Note a test that skips."""
    if report.skipped:
        _skipped.add(report.nodeid)


def pytest_collectreport(report):
    """Note a file that skips as a whole."""
    if report.skipped:
        _skipped.add(report.nodeid)


def pytest_sessionfinish(session):
    """Keep what was skipped; workers report to the process that started them."""
    config = session.config
    if hasattr(config, "cache") and not config.getoption("skipped") and not hasattr(config, "workerinput"):
        config.cache.set(SKIPPED, sorted(_skipped))


SLOW_EXAMPLES = [
    "calibration.verbs.calibrate",
    "centering.between",
    "compare.concordance.concordance",
    "compare.rank_correlations.Kendall",
    "compare.rank_correlations.Spearman",
    "compare.whitened.whitened_by",
    "engine.ceilings.noise_ceiling",
    "evaluation.intervals.agreement_intervals",
    "inference.verbs.compare_models",
    "measures.Measure",
    "plotting.curves.variance_curves",
    "plotting.matrices.calibration_heatmap",
    "plotting.model_dots.model_scores",
    "plotting.scatter.mds",
    "ranks.average",
    "ranks.counted",
    "reports.html_page.report",
    "reports.methods.paragraph",
    "reports.remake.commands",
    "reports.remake.python",
    "results.resamples.Resamples.contenders",
    "results.variance_studies.VarianceStudy.images_for",
    "source_selection.SourceSelector",
    "statistics.mean_scores.mean_draws",
    "statistics.mean_scores.student_tests",
    "statistics.members.two_factor",
    "statistics.rotations.rotation_tests",
    "statistics.transfer_agreement.agreement_over_both",
    "statistics.transfer_agreement.agreement_over_images",
    "statistics.transfer_agreement.agreement_over_targets",
    "studies.branching.networks.branch",
    "studies.rooms.export.writers.write_world",
    "studies.rooms.pictures.make",
    "subspaces.CanonicalCorrelation",
    "sweeps.verbs.sweep",
    "variance.verbs.variance_study",
    "vision.attribution.similarity.image_scores",
    "vision.models.batchnorm.fold",
    "vision.models.decoders.AsppDecoder",
    "vision.models.decoders.SmallDecoder",
    "vision.models.deeplab.DeepLabDecoder",
    "vision.models.deploy.Winograd",
    "vision.models.deploy.for_inference",
    "vision.models.networks.Network",
    "vision.models.resnet.ResNet",
    "vision.models.taskonomy_decoders.TaskonomyHead",
    "vision.models.weights.to_safetensors",
    "vision.modules.features",
    "vision.training.verbs.fit_stream",
]
"""Examples of docstrings that compile for seconds what tests compile too."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark the slow examples; with --skipped, leave out what ran."""
    for item in items:
        if item.name.removeprefix("jaxsim.") in SLOW_EXAMPLES:
            item.add_marker(pytest.mark.slow)
    if config.getoption("skipped"):
        before = set(config.cache.get(SKIPPED, []))
        items[:] = [item for item in items if before & {item.nodeid, item.nodeid.partition("::")[0]}]


def pytest_configure(config):
    """Most tests resample few images; `test_assumptions` asks for the warnings of that."""
    config.addinivalue_line("filterwarnings", "ignore::jaxsim.results.DoubtfulInference")


def pytest_runtest_setup(item):
    """Start the generators of a module anew, so that a test draws the same whatever ran before it in its process."""
    for value in vars(getattr(item, "module", None) or item).values():
        if isinstance(value, np.random.Generator):
            bits = value.bit_generator
            bits.state = type(bits)(bits.seed_seq).state


MOST_MAPPINGS = 12_000
"""Memory mappings of a process, of the 65,530 that Linux allows; a compiled program takes about four, and half a MB."""


@pytest.fixture(autouse=True, scope="module")
def _few_mappings():
    """Drop the compiled programs of a worker that has thousands: beyond the limit, loading another one crashes."""
    yield
    try:
        mappings = Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return
    if mappings > MOST_MAPPINGS:
        jax.clear_caches()
