"""Work divided among devices: the numbers of one device, whatever the number of networks and resamples."""

import dataclasses
import hashlib
import os
import socket
import subprocess
import sys

import jax
import numpy as np
import oracles as o
import pytest
from conftest import QUICK

import jaxsim as js
from jaxsim.engine import devices as sharing
from jaxsim.engine import feature_space, padding, processes, tiles, verbs

EIGHT = """
import sys; sys.path.insert(0, {tests!r})
import jax
jax.config.update("jax_num_cpu_devices", 8)
import test_devices
test_devices.{name}()
print("same")
"""
ENVIRONMENT = os.environ | {"XLA_FLAGS": QUICK}
"""Of processes, where optimizing would take minutes."""
ATOL = 1e-6
SEVERAL = ["rsa", "cka", "dds:zscore,laplacian"]


def in_eight(name):
    """Run a function of this module in a process of eight devices."""
    code = EIGHT.format(tests=os.path.dirname(os.path.abspath(__file__)), name=name)
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=1200, check=False)
    assert done.stdout.split()[-1:] == ["same"], done.stderr[-3000:]


def features(networks=11, images=14, widths=(5,), seed=0):
    """Networks that share causes, of the widths in turn."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(images, 3))
    mixed = [causes @ rng.normal(size=(3, widths[k % len(widths)])) for k in range(networks)]
    noisy = [x + rng.normal(size=x.shape) for x in mixed]
    return {f"n{k}": x.astype(np.float32) for k, x in enumerate(noisy)}


def assert_same(ours, theirs):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=ATOL)
        assert not isinstance(a, jax.Array) or len(a.sharding.device_set) == 1  # goes on with results of other calls


def few():
    x, others = features(widths=(5, 7, 4, 6)), features(3, seed=1)
    x["n3"][2] = np.nan
    padding.BUCKETS = 1
    scores = js.affinity(x, SEVERAL[2], against=others, devices=8)
    assert_same(scores, js.affinity(x, SEVERAL[2], against=others))
    assert scores.undefined == (("n3", 1),)
    half = {"n_resamples": 10, "key": 1}
    y = features(5)
    assert_same(js.resample(y, "cka", devices=jax.devices()[2:5], **half), js.resample(y, "cka", **half))


@pytest.mark.slow
def test_a_few_calls_on_eight_devices():
    in_eight("few")


def grid():
    mesh = jax.make_mesh((2, 4), ("a", "b"))
    x, others = features(9, 24, (8, 9, 12, 7)), features(3, 24, (8,), seed=1)
    assert_same(js.affinity(x, SEVERAL, devices=mesh), js.affinity(x, SEVERAL))
    padding.BUCKETS = 1
    measures = [*js.measures.NAMED.values()]
    assert_same(js.affinity(x, measures, devices=mesh), js.affinity(x, measures))
    positions = {k: v.reshape(24, 2, -1) for k, v in features(9, 24, (8, 12)).items()}
    own = js.Measure(js.transforms.center, js.pairwise.euclidean, loop)
    for y in (np.stack([*features(16, 24, (8,)).values()]), positions):
        chosen = ["rsa", own, *(y is positions) * ["dds:instance-norm,cosine"]]
        assert_same(js.affinity(y, chosen, devices=mesh), js.affinity(y, chosen))
    chosen = ["rsa", "dds-laplacian"]
    assert_same(js.affinity(x, chosen, devices=8, memory=24_000), js.affinity(x, chosen))  # 8 networks, then 1
    both, told = {"against": others}, {"progress": lambda done, count: None}
    calls = {"permutation": (both, told), "subsample": ({}, both | told)}
    for kind, make in js.schemes.NAMED.items():
        scheme = make(size=16) if make is js.Subsample else make()
        counts = {} if kind == "jackknife" else {"n_resamples": 26}
        chosen = ["cka", "rsa" if kind == "bootstrap" else "dds-laplacian"]
        for more in calls.get(kind, ({},)):
            options = {"key": 3, **counts, **more}
            ours = js.resample(x, chosen, scheme, devices=8, **options)
            assert_same(ours, js.resample(x, chosen, scheme, **options))
    given, options = (x, "rsa", js.Subsample(12)), {"key": 3, "n_resamples": 10, "estimate": False}
    assert_same(js.resample(*given, devices=8, **options), js.resample(*given, **options))
    lost = features(9, 300, (4,))
    for k in lost:
        lost[k][0] *= 1e5  # so that linear CKA goes back to maps
    assert_same(js.affinity(lost, "cka", devices=8), js.affinity(lost, "cka"))
    maps = js.maps(x, "rsa")
    both = ["spearman", "pearson"]
    assert_same(js.compare_maps(maps, both, devices=8), js.compare_maps(maps, both))
    gaps = np.array(maps.values)
    gaps[1, 3, 4] = gaps[1, 4, 3] = np.nan
    options = {"missing": "pairwise"}
    assert_same(js.compare_maps(gaps, "pearson", devices=8, **options), js.compare_maps(gaps, "pearson", **options))


def loop(a, b):
    """A comparator of one's own, without an embedding."""
    return -(abs(a - b)).mean()


@pytest.mark.slow
def test_all_measures_and_schemes_on_eight_devices():
    in_eight("grid")


def calibrated():
    layers = {f"{name}_{k}": v for k, (name, v) in enumerate(zip("aabbbcc", features(7, 16).values(), strict=True))}
    for more in ({}, {"against": {"d": features(1, 16, seed=5)["n0"]}}):
        options = {"layers_of": lambda name: name[0], "n_permutations": 150, "key": 2, **more}
        ours, theirs = (js.calibrate(layers, ["rsa", "cka"], devices=d, **options) for d in (8, None))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a.p, b.p)
            np.testing.assert_array_equal(a.step_down, b.step_down)
            for name in ("best_source", "best_target"):  # of a network with itself, any layer is as good
                ours_, theirs_ = (np.where(np.isnan(c.best_p), -1, getattr(c, name)) for c in (a, b))
                np.testing.assert_array_equal(ours_, theirs_)
            assert_same(dataclasses.replace(a, best_source=b.best_source, best_target=b.best_target), b)


@pytest.mark.slow
def test_calibration_on_eight_devices():
    in_eight("calibrated")


PROCESS = """
import os, sys; sys.path.insert(0, {tests!r})
import jax
rank = int(sys.argv[1])
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize("localhost:" + sys.argv[2], 2, rank)
import test_devices
test_devices.{name}(rank)
"""


def in_two(name):
    """Exit statuses, outputs and errors of a function of this module in two processes of two devices."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    code = PROCESS.format(tests=os.path.dirname(os.path.abspath(__file__)), name=name)
    command = [sys.executable, "-W", "ignore", "-c", code]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": ENVIRONMENT}
    started = [subprocess.Popen([*command, str(rank), port], **pipes) for rank in range(2)]
    try:
        outputs = [process.communicate(timeout=900) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(started, outputs, strict=True)]


def own(x, rank):
    """The first four networks for one process, the others for the other."""
    return {name: array for k, (name, array) in enumerate(x.items()) if (k < 4) == (rank == 0)}


def shared(rank):
    """Scores of two processes, compared with those of one in the first of them once both have computed all."""
    x, others = features(7, widths=(5, 7, 4, 6)), features(3, seed=1)
    x["n5"][2] = np.nan
    mine, compared = own(x, rank), []

    def compare(ours, plain):
        compared.append((ours, plain))

    three = js.affinity(mine, "cka", devices="all")
    padding.BUCKETS, buckets = 1, padding.BUCKETS
    found = js.affinity(mine, SEVERAL, devices="all")
    compare(found, lambda: js.affinity(x, SEVERAL))
    assert found[0].names == tuple(x)
    assert all(one.undefined == (("n5", 1),) for one in found)
    against = {f"other {rank}": others[f"n{rank}"]}
    whole = {f"other {k}": others[f"n{k}"] for k in range(2)}
    compare(js.affinity(mine, "rsa", devices="all", against=against), lambda: js.affinity(x, "rsa", against=whole))
    drawn = {"n_resamples": 10, "key": 1}
    for scheme in (js.HalfSamples(), js.Subsample(10)):
        ours = js.resample(mine, "cka", scheme, devices="all", **drawn)
        compare(ours, lambda scheme=scheme: js.resample(x, "cka", scheme, **drawn))
    fine = {k: v for k, v in x.items() if k != "n5"}
    options = {"n_permutations": 99}
    p = js.calibrate(own(fine, rank), "cka", devices="all", **options).p
    compare(p, lambda: js.calibrate(fine, "cka", **options).p)
    far = {name: v + 1e5 * (name == "n5") for name, v in fine.items()} | {"n6": features(7)["n6"].astype(float) + 1e9}
    compare(js.affinity(own(far, rank), SEVERAL[1:], devices="all"), lambda: js.affinity(far, SEVERAL[1:]))
    with pytest.raises(ValueError, match="two networks"):
        js.affinity({"a": x["n0"]}, "cka", devices="all")
    for ours, plain in compared:
        assert_same(ours, ours if rank else plain())
    padding.BUCKETS = buckets
    assert_same(three, three if rank else js.affinity(x, "cka"))
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves([three, *(ours for ours, _ in compared)])]
    print(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one():
    (status, first, errors), (other, second, more) = in_two("shared")
    assert (status, other) == (0, 0), (errors[-3000:], more[-3000:])
    assert first.split()[-1] == second.split()[-1]


def left(rank):
    mine = own(features(7), rank)
    js.affinity(mine, "cka", devices="all")
    if rank == 1:
        os._exit(9)
    try:
        js.affinity(mine, "cka", devices="all")
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(3)  # as JAX waits for the other process at the end


@pytest.mark.slow
def test_a_process_that_lost_another_says_so():
    (status, output, errors), (other, *_) = in_two("left")
    assert (status, other) == (3, 9), errors[-3000:]
    assert "process 0 of 2 lost another" in output


CPU = jax.devices()[0]
REFUSED = {
    "none": (0, ValueError, "between 1 and"),
    "too many": (10_000, ValueError, "not 10000"),
    "a truth": (True, TypeError, "not True"),
    "a word": ("gpu", ValueError, "'gpu'"),
    "a float": (2.0, TypeError, "not 2.0"),
    "numbers": ([0, 1], TypeError, "not 0"),
    "an empty list": ([], ValueError, "devices is empty"),
    "twice": ([CPU, CPU], ValueError, "twice"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("verb", [js.affinity, js.resample, js.calibrate])
def test_what_is_no_set_of_devices_is_refused(verb, case):
    devices, kind, said = REFUSED[case]
    with pytest.raises(kind) as error:
        verb(features(3), "cka", devices=devices)
    assert said in str(error.value)


def test_accelerators_share_what_is_on_the_host_alone(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_devices", lambda: ["first", "second"])
    monkeypatch.setattr(sharing, "_over", list)
    host = np.zeros((2, 4, 3), np.float32)
    assert sharing.mesh_of(None, (host, host), None) == ["first", "second"]
    there = jax.numpy.asarray(host)  # computed somewhere, committed nowhere
    assert sharing.mesh_of(None, (host, there), None) is None
    assert sharing.mesh_of(None, (host,), there) is None
    assert jax.jit(lambda x: x + (sharing.mesh_of(None, x) is None))(there)[0, 0, 0] == 1


def test_tiles_are_of_one_device():
    with pytest.raises(ValueError, match="leave devices out"):
        js.affinity(features(3), "cka", tile=4, devices=[CPU])


def test_tiles_leave_devices_that_nobody_asked_for(monkeypatch):
    wanted = js.affinity(features(3), "cka", tile=4).values
    monkeypatch.setattr(processes, "mesh_of", lambda devices, *_: sharing.mesh_of([CPU]))
    np.testing.assert_array_equal(js.affinity(features(3), "cka", tile=4).values, wanted)
    assert js.explain(features(3), "cka", tile=4).devices == 1
    monkeypatch.setattr(tiles, "automatic", lambda *_, **__: 4)
    np.testing.assert_array_equal(js.affinity(features(3), "cka").values, wanted)


@pytest.mark.parametrize("against", [None, 3])
@pytest.mark.parametrize(("memory", "block"), [(None, 8), (6 * 14 * 14 * 4 + 4 * 14 * 13 * 2, 2)])
def test_the_calls_of_a_plan_are_those_of_the_verb(monkeypatch, against, memory, block):
    calls = []

    def counted(measures, x, y, rows, columns, mesh, cheaper):
        assert cheaper == (False,)
        calls.append(len(rows))
        values = jax.numpy.zeros((len(rows), len(columns)))
        return [(values, np.full(len(rows), -1), np.full(len(columns), -1))]

    monkeypatch.setattr(verbs, "affinity_call", counted)
    options = {"memory": memory, "against": against and features(against, seed=1)}  # two blocks of two maps
    plan = js.explain(features(5), "rsa", **options)
    js.affinity(features(5), "rsa", **options)
    assert plan.routes == (("rsa", "maps"),)
    assert plan.block == min(block, 5 + (against or 0))
    assert plan.calls == len(calls) == (1 if memory is None else 6)
    assert max(calls) <= plan.block


@pytest.mark.slow
def test_blocks_take_the_routes_of_the_plan(monkeypatch):
    """CKA of few networks of 7 features is cheaper by products, and of these 24 by maps: also where blocks hold few."""
    traced, real = [], feature_space.scores_or_maps
    monkeypatch.setattr(feature_space, "scores_or_maps", lambda *args: traced.append(1) or real(*args))
    x = features(24, 59, (7,))
    plan = js.explain(x, "cka", memory=14 * 59 * 59 * 4)
    found = js.affinity(x, "cka", memory=14 * 59 * 59 * 4)
    assert plan.routes == (("cka-linear", "maps"),)
    assert plan.block < 24
    assert not traced
    np.testing.assert_allclose(found.values, o.affinity([*x.values()], o.CKA_LINEAR), atol=ATOL)


def test_a_plan_of_tiles():
    plan = js.explain(features(3), ["dds-laplacian", "cka"], tile=4)
    assert plan.tile == 4
    assert dict(plan.routes) == {"dds-laplacian": "blocks", "cka-linear": "feature space"}
    ranked, plain = (js.explain(features(3), name, tile=4) for name in ("rsa", "dds-laplacian"))
    assert ranked.calls == 2 * plain.calls == 20
    assert js.explain(features(3), "cka", tile=4).calls == 4  # blocks of 14 images
    assert ranked.bytes > plain.bytes
    assert dict(ranked.work)["ordered"] > 0


@pytest.mark.parametrize("verb", [js.affinity, js.explain])
def test_a_tile_leaves_no_choice_to_memory(verb):
    with pytest.raises(ValueError, match="leave one out"):
        verb(features(3), "dds-laplacian", tile=4, memory=1e6)


@pytest.mark.slow
def test_a_plan_takes_more_memory_and_work_with_more_images():
    small, large = (js.explain(features(5, n), ["rsa", "dds-laplacian"]) for n in (20, 200))
    assert large.bytes > 20 * small.bytes
    assert all(b > 9 * a for (_, a), (_, b) in zip(small.work, large.work, strict=True))
    assert "time: " in str(large)


def test_a_plan_of_what_does_not_fit_says_how_much_it_takes():
    with pytest.raises(ValueError, match=r"two networks' maps of 50 images need 6.5e-05 GiB"):
        js.explain(features(3, 50), "rsa", memory=60_000)


def test_devices_stay_outside_of_jit():
    with pytest.raises(TypeError, match="inside jit"):
        jax.jit(lambda x: js.affinity(x, "cka", devices=2).values)(np.stack([*features(3).values()]))
