"""Plans of resamples, and of pairs on their own images: `explain` says what verbs do, and refuses what they refuse."""

import dataclasses
import importlib

import numpy as np
import pytest

import jaxsim as js
from jaxsim.engine import memory, tiles
from jaxsim.engine import verbs as similarity
from jaxsim.engine.plans import KINDS
from jaxsim.resampling import plans
from jaxsim.results import ImageScores, Provenance

N = 40
RANDOM = np.random.default_rng(0)
MADE = {k: RANDOM.normal(size=(N, 6)).astype(np.float32) for k in "abc"}
SCHEMES = [js.HalfSamples(), js.Bootstrap(), js.Jackknife(), js.Permutation(), js.Subsample(20)]


@pytest.fixture(autouse=True)
def rates(monkeypatch):
    """Rates of a slow machine, in no time."""
    monkeypatch.setattr("jaxsim.engine.plans.rates", lambda: dict.fromkeys(KINDS, 1e4))


def without_costs(plan):
    return dataclasses.replace(plan, bytes=0.0, work=(), budget=0.0)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda one: one.kind)
def test_the_plan_is_the_one_that_resample_follows(scheme, monkeypatch):
    followed, chunks, real = [], [], plans.plan
    monkeypatch.setattr(plans, "plan", lambda *given, **more: followed.append(real(*given, **more)) or followed[0])
    count = None if scheme.kind == "jackknife" else 30
    plan = js.explain(MADE, ["cka", "rsa"], scheme, n_resamples=count)
    followed.clear()
    found = js.resample(MADE, ["cka", "rsa"], scheme, n_resamples=count, progress=lambda *done: chunks.append(done))
    assert without_costs(plan) == without_costs(followed[0])
    assert chunks[-1] == (plan.resamples, plan.resamples)
    assert all("tiles" not in note for one in found for note in one.provenance.notes)
    assert (plan.scheme, plan.resamples) == (scheme.kind, count or N)
    assert plan.at_once == (8 if scheme.kind in ("bootstrap", "jackknife") else 1)
    assert dict(plan.routes) == {"cka-linear": "maps", "rsa": "maps"}
    assert f"{plan.resamples} resamples by {scheme.kind}" in str(plan)


@pytest.mark.parametrize(("scheme", "calls"), [(js.HalfSamples(), 3 + 3 + 20), (js.Permutation(), 3 + 20 * 3)])
def test_the_plan_of_tiles(scheme, calls, monkeypatch):
    monkeypatch.setattr(tiles, "largest", lambda *_: 24)
    plan = js.explain(MADE, "dds-laplacian", scheme, n_resamples=20, memory=1e4)
    assert (plan.tile, plan.routes, plan.devices) == (24, (("dds-laplacian", "blocks"),), 1)
    assert plan.calls == calls - 3 * (scheme.kind == "half-samples")  # two blocks of 24 images, one of halves
    found = js.resample(MADE, "dds-laplacian", scheme, n_resamples=20, memory=1e4)
    assert "in tiles of 24 images" in found.provenance.notes
    assert js.explain(MADE, "dds-laplacian", js.Bootstrap(), n_resamples=20).tile is None


@pytest.mark.parametrize("tile", [None, 24])
@pytest.mark.parametrize("scheme", [js.HalfSamples(), js.Permutation(), js.Bootstrap()], ids=lambda one: one.kind)
def test_work_is_that_of_the_full_sample_and_of_each_resample(scheme, tile, monkeypatch):
    monkeypatch.setattr(tiles, "largest", lambda *_: tile)
    options = {"memory": 1e4} if tile and scheme.kind != "bootstrap" else {}  # which takes no tiles
    one, two, three = (
        dict(js.explain(MADE, ["rsa", "dds-laplacian"], scheme, n_resamples=b, **options).work) for b in (20, 40, 60)
    )
    for kind in ("products", "ordered", "bytes"):
        assert three[kind] - two[kind] == pytest.approx(two[kind] - one[kind])
        assert (two[kind] > one[kind] > 0) or (kind == "ordered" and scheme.kind == "permutation" and tile is None)


def test_subsets_without_the_full_sample_take_less():
    whole, part = (js.explain(MADE, "rsa", js.Subsample(10), estimate=given) for given in (True, False))
    assert part.bytes < whole.bytes
    assert all(a < b for (_, a), (_, b) in zip(part.work, whole.work, strict=True) if b)


REFUSED = [
    ({"n_resamples": 31}, js.HalfSamples(), "half-samples come in pairs"),
    ({"memory": 1e3}, js.Bootstrap(), "too small for one resample"),
    ({"memory": 100}, js.HalfSamples(), "too small for one resample"),
    ({"estimate": False}, js.Permutation(), "needs the full-sample scores"),
    ({"against": MADE, "against_ids": range(3)}, js.Bootstrap(), "ids"),
    ({}, js.Subsample(50), "50"),
]


@pytest.mark.parametrize("verb", [js.resample, js.explain])
@pytest.mark.parametrize(("options", "scheme", "words"), REFUSED, ids=lambda one: str(one)[:20])
def test_explain_refuses_as_resample_does(verb, options, scheme, words):
    with pytest.raises(ValueError, match=words):
        verb(MADE, "cka", scheme, **options)


@pytest.mark.parametrize("verb", [js.resample, js.explain])
def test_maps_that_do_not_fit_are_refused(verb, monkeypatch):
    monkeypatch.setattr("jaxsim.engine.memory.available", lambda: 1e4)
    with pytest.raises(ValueError, match=r"GiB are free; js.HalfSamples\(\) takes them in tiles"):
        verb(MADE, "dds-laplacian", js.Bootstrap(), n_resamples=100)


def test_what_has_no_effect_is_refused():
    for options in ({"n_resamples": 20}, {"estimate": False}):
        with pytest.raises(ValueError, match="give a scheme such as js.HalfSamples"):
            js.explain(MADE, "cka", **options)
    for options in ({"tile": 8}, {"missing": "pairwise"}):
        with pytest.raises(ValueError, match="takes neither tile nor missing"):
            js.explain(MADE, "cka", js.Bootstrap(), **options)


def test_ready_made_maps_have_a_plan():
    maps = {k: np.abs(x[:, :1] - x[:, 0]) for k, x in MADE.items()}
    plan = js.explain(maps, "spearman", "bootstrap", n_resamples=20)
    assert plan.routes == (("spearman", "maps"),)
    with pytest.raises(ValueError, match="recomputes maps from features"):
        js.explain(maps, "spearman", "half-samples")


def test_pairs_on_their_own_images_have_one_plan_of_all(monkeypatch):
    ids = {"a": range(N), "b": range(4, N + 4), "c": range(N)}
    calls, real = [], similarity.plan
    monkeypatch.setattr(similarity, "plan", lambda *given, **more: calls.append(real(*given, **more)) or calls[-1])
    monkeypatch.setattr(similarity, "affinity_call", lambda *_: pytest.fail("nothing is computed"))
    plan = js.explain(MADE, "rsa", ids=ids, align=True, missing="pairwise")
    assert (plan.calls, plan.images, plan.networks) == (3, N, (3, 3))  # a and c; b with these; b by itself
    assert sorted(one.images for one in calls) == [N - 4, N, N]
    shared = js.explain(
        MADE, "rsa", ids=ids, align=True, missing="pairwise", against={"d": MADE["a"]}, against_ids=range(N)
    )
    assert shared.networks == (3, 1)
    apart = {"against": {"d": MADE["a"]}, "against_ids": range(N, 2 * N)}
    with pytest.raises(ValueError, match="share enough images"):
        js.explain({"a": MADE["a"]}, "rsa", ids=range(N), align=True, missing="pairwise", **apart)


def test_long_resamples_in_tiles_say_how_long(monkeypatch):
    monkeypatch.setattr(tiles, "largest", lambda *_: 24)
    monkeypatch.setattr("jaxsim.resampling.tiled.resampled", None)
    options = {"n_resamples": 20, "memory": 1e4}
    with pytest.raises(TypeError, match="NoneType"):
        js.resample(MADE, "dds-laplacian", **options)  # too little to measure rates for
    monkeypatch.setattr(plans, "SHORT", 0)
    words = (
        "20 resamples by half-samples in tiles take about .* min here; fewer images, networks or resamples take less"
    )
    words += " time"
    with pytest.warns(UserWarning, match=words + "; progress= shows how far it has got"), pytest.raises(TypeError):
        js.resample(MADE, "dds-laplacian", **options)
    with pytest.warns(UserWarning, match=words + r"\.$"), pytest.raises(TypeError):
        js.resample(MADE, "dds-laplacian", progress=print, **options)


class Compiled(Exception):
    """Holds the bytes that a program says it takes."""


def bytes_of(monkeypatch, place, call):
    """Bytes of a device program, by XLA's account; it does not run."""
    module, _, name = place.rpartition(".")
    real = getattr(importlib.import_module(module), name)

    def compiled(*given, **more):
        found = real.lower(*given, **more).compile().memory_analysis()
        raise Compiled(found.argument_size_in_bytes + found.temp_size_in_bytes + found.output_size_in_bytes)

    with monkeypatch.context() as patch:
        patch.setattr(place, compiled)
        with pytest.raises(Compiled) as found:
            call()
    return found.value.args[0]


MADE_UP = Provenance("made up", "float32", "cpu")
TEN = RANDOM.normal(size=(10, N, 6)).astype(np.float32)
MAPS = np.linalg.norm(TEN[:, :, None] - TEN[:, None], axis=-1)
IMAGE_SCORES = ImageScores(
    RANDOM.random((N, 4, 4)).astype(np.float32), tuple("abcd"), tuple(map(str, range(N))), MADE_UP
)
DRAWN = {
    "resample": ("jaxsim.resampling.verbs.whole_call", lambda b: js.resample(TEN, "cka", n_resamples=b)),
    "resample_scores": (
        "jaxsim.resampling.per_image._means",
        lambda b: js.resample_scores(IMAGE_SCORES, n_resamples=b),
    ),
    "variance_study": (
        "jaxsim.variance.verbs.weighted_call",
        lambda b: js.variance_study(TEN, "cka", n_resamples=b, sizes=(20,), schemes="bootstrap"),
    ),
    "calibrate": ("jaxsim.calibration.verbs.calibrated_call", lambda b: js.calibrate(TEN, "cka", n_permutations=b)),
    "calibrate, layers": (
        "jaxsim.calibration.verbs.calibrated_call",
        lambda b: js.calibrate(TEN, "cka", n_permutations=b, layers_of=list("ababababab")),
    ),
    "compare_models": (
        "jaxsim.inference.verbs.inference_call",
        lambda b: js.compare_models(MAPS[:6], MAPS[6:], "pearson", n_resamples=b, test="bootstrap"),
    ),
}
"""Verbs by the program that takes most memory for many draws."""


@pytest.mark.slow
@pytest.mark.parametrize(("place", "call"), DRAWN.values(), ids=DRAWN)
@pytest.mark.filterwarnings("ignore")
def test_memory_for_many_draws_is_that_of_the_program(place, call, monkeypatch):
    asked = []
    for module in ("engine.memory", "calibration.verbs", "inference.verbs", "resampling.per_image"):
        monkeypatch.setattr(f"jaxsim.{module}.require", lambda need, what, remedy="": asked.append(need))

    def told(b):
        """Bytes that are asked for, and bytes taken."""
        asked.clear()
        taken = bytes_of(monkeypatch, place, lambda: call(b))
        return sum(asked), taken

    few, many = told(20_000), told(60_000)
    asked_more, taken_more = many[0] - few[0], many[1] - few[1]
    assert 0.95 <= asked_more / taken_more <= 2


@pytest.mark.parametrize("version", [1, 2])
def test_the_memory_of_a_job_is_what_its_control_groups_leave(tmp_path, version):
    top, own = tmp_path / ("memory" if version == 1 else ""), tmp_path / "cgroup"
    own.write_text("0::/slurm/job\n" if version == 2 else "7:cpu:/slurm\n4:memory:/slurm/job\n")
    most, held = (
        ("memory.limit_in_bytes", "memory.usage_in_bytes") if version == 1 else ("memory.max", "memory.current")
    )
    for folder, limit in ((top / "slurm", "8000"), (top / "slurm" / "job", "max")):
        folder.mkdir(parents=True)
        (folder / most).write_text(limit)
        (folder / held).write_text("3000")
        (folder / "memory.stat").write_text("anon 2000\ninactive_file 600\nactive_file 400\n")
    assert min(memory.of_job(own, tmp_path)) == 8000 - 2000
    assert memory.of_job(tmp_path / "none", tmp_path) == [np.inf]
