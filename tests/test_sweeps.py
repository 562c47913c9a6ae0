"""Sweeps: the same bits however the work was cut, by whatever engine, stopped and resumed, with networks added."""

import concurrent.futures
import itertools
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import oracles as o
import pytest

import jaxsim as js
from jaxsim import io
from jaxsim.cli import main
from jaxsim.io import jobs
from jaxsim.sweeps import blocks, engines, progress, verbs

IMAGES = 30


def features_of(names, seed=0, images=IMAGES, width=None):
    """Networks of three widths, padded to one; each depends on its name and the seed alone."""
    found = {}
    for k, name in enumerate(names):
        rng = np.random.default_rng([seed, *name.encode()])
        found[name] = rng.normal(size=(images, width or 17 + k % 3)).astype(np.float32)
    return found


def write(folder, features, ids=None):
    folder.mkdir(exist_ok=True)
    for name, x in features.items():
        io.write_npz(folder / f"{name}.npz", {"x": x} | ({} if ids is None else {"ids": np.array(ids)}), overwrite=True)
    return folder


def serial(features, out, **options):
    return js.sweep(features, options.pop("measure", "cka"), out=out, executor="serial", **{"block": 2, **options})


def same(a, b):
    assert a.names == b.names
    np.testing.assert_array_equal(a.values.view(np.uint32), b.values.view(np.uint32))


@pytest.fixture
def six(tmp_path):
    return write(tmp_path / "features", features_of("abcdef"))


# What it refuses


@pytest.mark.parametrize("other", ["order", "images"])
def test_frames_of_other_images_are_refused(tmp_path, other):
    pandas = pytest.importorskip("pandas")
    features, ids = features_of("ab"), [f"i{k}" for k in range(IMAGES)]
    theirs = ids[::-1] if other == "order" else [*ids[1:], "new"]
    frames = {name: pandas.DataFrame(features[name], index=own) for name, own in (("a", ids), ("b", theirs))}
    with pytest.raises(ValueError, match=r"network 'a' and network 'b' have .* the same images in the same order"):
        serial(frames, tmp_path / "out")


@pytest.mark.parametrize(
    ("option", "words"), [({"workers": 3}, "leave out workers"), ({"stack": True}, "leave it out")]
)
def test_options_without_effect_are_refused(tmp_path, option, words):
    with pytest.raises(ValueError, match=words):
        serial(features_of("ab"), tmp_path / "out", **option)


def test_a_list_of_arrays_is_refused(tmp_path):
    with pytest.raises(TypeError, match="a mapping from names to arrays, or a stack, not a list of ndarray"):
        serial([*features_of("ab").values()], tmp_path / "out")


def test_one_file_with_ids_and_one_without(tmp_path):
    folder = write(tmp_path / "features", features_of("a"), [f"i{k}" for k in range(IMAGES)])
    write(folder, features_of("b"))
    with pytest.raises(ValueError, match="ids"):
        serial(folder, tmp_path / "out")


# What it gives


def own_cosine(a, b):
    ab, aa, bb = (jnp.vdot(*pair, precision="highest") for pair in ((a, b), (a, a), (b, b)))
    return ab / jnp.sqrt(aa * bb)


@pytest.mark.parametrize(
    "measure",
    [
        "cka",
        pytest.param("rsa", marks=pytest.mark.slow),
        js.Measure(js.transforms.mean_pool, js.pairwise.linear, own_cosine),
    ],
)
def test_a_sweep_gives_the_scores_of_affinity(tmp_path, measure):
    # with seed 0, two distances of b differ by less than an eps, and either order of theirs is right
    features = features_of("abc", seed=1, width=None if measure == "cka" else 18)
    if not isinstance(measure, str):
        features = {name: x.reshape(IMAGES, 2, -1) for name, x in features.items()}
    found = serial(features, tmp_path / "out", measure=measure)
    full = js.affinity(features, measure)
    np.testing.assert_allclose(found.values, full.values, atol=2e-6)
    same(found, js.load(tmp_path / "out" / "affinity.npz"))
    assert found.provenance.measure == full.provenance.measure
    assert (found.images == IMAGES).all()
    read = js.load_truth(tmp_path / "out" / "affinity.csv")
    np.testing.assert_allclose(read.values, found.values, atol=1e-6)


def test_the_command_and_its_status(tmp_path, six, capsys):
    out, cka = str(tmp_path / "o"), ["--measure", "cka"]
    command = ["sweep", str(six), *cka, "--engine", "serial", "--block", "2", "--out", out]
    assert main(command) == 0
    text = capsys.readouterr()
    assert "6 of 6 blocks" in text.err
    assert main(["affinity", str(six), *cka, "--out", str(tmp_path / "a")]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        line.split()[:2] for line in text.out.splitlines()
    ]
    a, b = (js.load(tmp_path / place / "affinity.npz") for place in "ao")
    assert a.names == b.names
    np.testing.assert_allclose(a.values, b.values, atol=2e-6)
    assert main(["sweep", "--status", "--out", out]) == 0
    assert capsys.readouterr().out.startswith("6 of 6 blocks")
    before = (tmp_path / "o" / "affinity.npz").read_bytes()
    assert main(command) == 0  # a job that is submitted again
    assert (tmp_path / "o" / "affinity.npz").read_bytes() == before
    write(six, features_of(["new"], seed=9))
    assert main(command) == 2
    assert "give --overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--status", "--workers", "2"], "--workers has no effect with --status"),
        (["--status", "--x64"], "--x64 has no effect with --status"),
        (["--status", "f"], "FEATURES has no effect with --status"),
        (["--status"], "has no sweep in it"),
        ([], "FEATURES is missing"),
        (["f", "--option", "partition"], "is not NAME=VALUE"),
        (["f"], "f does not exist"),
    ],
)
def test_wrong_usage(tmp_path, capsys, given, words):
    assert main(["sweep", *given, "--out", str(tmp_path / "o")]) == 2
    assert words in capsys.readouterr().err


def test_bits_do_not_depend_on_blocks(tmp_path, six):
    whole = serial(six, tmp_path / "whole", block=16)
    same(serial(six, tmp_path / "two", block=2), whole)
    same(serial(features_of("abcdef"), tmp_path / "memory", block=5), whole)


@pytest.mark.slow
def test_double_precision_is_another_sweep(tmp_path, x64):
    features = features_of("abc")
    found = serial(features, tmp_path / "out")
    assert found.values.dtype == np.float64
    np.testing.assert_allclose(found.values, o.affinity([*features.values()], o.CKA_LINEAR), atol=1e-12)
    with jax.enable_x64(False), pytest.raises(ValueError, match="x64 is True"):
        serial(features, tmp_path / "out", overwrite=True)


def test_networks_of_the_same_numbers_are_computed_once(tmp_path):
    features = features_of("abc")
    found = serial(features | {"z": features["a"]}, tmp_path / "out")
    np.testing.assert_array_equal(found.values[0], found.values[3])
    assert found.values[0, 3] == found.values[0, 0]
    assert sum(len(jobs.read_block(path)[1]["scores"]) for path in block_files(tmp_path / "out")) == 6


def test_a_network_without_scores_is_named(tmp_path):
    features = features_of("abc") | {"flat": np.ones((IMAGES, 4), np.float32)}
    with pytest.warns(js.UndefinedScores, match="network 'flat' has no cka-linear scores .*same features"):
        found = serial(features, tmp_path / "out")
    assert np.isnan(found.values[3]).all()
    assert not np.isnan(found.values[:3, :3]).any()
    assert found.undefined == (("flat", 0),)


# Going on


def projected(a, b):
    return jnp.vdot(a, b) / jnp.vdot(b, b)


def test_a_comparator_that_is_not_symmetric_is_refused(tmp_path):
    measure = js.Measure(js.transforms.identity, js.pairwise.linear, projected)
    with pytest.raises(ValueError, match="projected is not symmetric: it gives .* the other way around"):
        serial(features_of("ab"), tmp_path / "out", measure=measure)


def test_a_finished_sweep_gives_its_matrix_again_where_its_measure_has_a_name(tmp_path):
    features = features_of("abc")
    features["c"][:] = 1
    with pytest.warns(js.UndefinedScores, match="network 'c'"):
        first = serial(features, tmp_path / "out")
    with pytest.warns(js.UndefinedScores, match="network 'c'"):
        same(serial(features, tmp_path / "out"), first)
    (tmp_path / "out" / "affinity.csv").write_text("")
    with pytest.raises(FileExistsError, match="affinity.npz already exists"):
        serial(features, tmp_path / "out")
    own = js.Measure(js.transforms.center, js.pairwise.linear, own_cosine)
    serial(features_of("ab"), tmp_path / "own", measure=own)
    with pytest.raises(FileExistsError, match="affinity.npz already exists"):
        serial(features_of("ab"), tmp_path / "own", measure=own)


def test_a_folder_with_a_matrix_and_no_sweep_stays_as_it_is(tmp_path):
    (tmp_path / "affinity.csv").write_text("mine")
    with pytest.raises(FileExistsError, match="affinity.csv already exists"):
        serial(features_of("ab"), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["affinity.csv"]


def block_files(out):
    return sorted((out / "blocks").glob("[!.]*.npz"))


def pairs_in(paths):
    return sum(len(jobs.read_block(path)[1]["scores"]) for path in paths)


def test_a_stopped_sweep_goes_on(tmp_path, six, monkeypatch):
    whole, calls, real = serial(six, tmp_path / "whole"), [], blocks.compute

    def stopped(work, some):
        calls.append(some)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(work, some)

    monkeypatch.setattr(blocks, "compute", stopped)
    with pytest.raises(KeyboardInterrupt, match="are kept in .*; the next run continues there"):
        serial(six, tmp_path / "out")
    assert len(block_files(tmp_path / "out")) == 2
    status = js.sweep_status(tmp_path / "out")
    assert (status.done, status.total, status.running, status.complete) == (2, 6, False, False)
    same(serial(six, tmp_path / "out"), whole)
    assert len(calls) == 3 + 4


def test_damaged_blocks_are_computed_again(tmp_path, six):
    whole = serial(six, tmp_path / "out")
    first, second, *_ = block_files(tmp_path / "out")
    first.write_bytes(first.read_bytes()[:-40])
    record, arrays = jobs.read_block(second)
    jobs.write_block(second, arrays, record | {"name": "another"}, overwrite=True)
    with pytest.warns(RuntimeWarning) as caught:
        again = serial(six, tmp_path / "out", overwrite=True)
    assert [str(path) in str(w.message) for path, w in zip((first, second), caught, strict=True)] == [True, True]
    same(again, whole)


def test_added_and_changed_networks_need_their_own_pairs_alone(tmp_path, six):
    serial(six, tmp_path / "out")
    before = set(block_files(tmp_path / "out"))
    write(six, features_of(["ab", "g"], seed=1))  # one between the others by name
    added = serial(six, tmp_path / "out", overwrite=True)
    new = set(block_files(tmp_path / "out")) - before
    assert pairs_in(before) == 21
    assert pairs_in(new) == 8 * 9 // 2 - 21
    same(added, serial(six, tmp_path / "unbroken", block=3))

    write(six, {"c": features_of("c", seed=2)["c"]})
    changed = serial(six, tmp_path / "out", overwrite=True)
    assert pairs_in(set(block_files(tmp_path / "out")) - before - new) == 8
    same(changed, serial(six, tmp_path / "unbroken", overwrite=True))

    (six / "c.npz").rename(six / "d2.npz")
    (six / "a.npz").unlink()
    count = len(block_files(tmp_path / "out"))
    fewer = serial(six, tmp_path / "out", overwrite=True)
    assert fewer.names == ("ab", "b", "d", "d2", "e", "f", "g")
    assert len(block_files(tmp_path / "out")) == count


# Faults


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: write(f, features_of("c", images=29)), r"b.npz and .*c.npz have 30 and 29 images"),
        (lambda f: write(f, features_of("c"), range(IMAGES)), "has image ids for some networks"),
        (lambda f: [path.unlink() for path in f.glob("[b-f].npz")], "there is only 'a'"),
        (lambda f: (f / "b.npz").write_bytes((f / "b.npz").read_bytes()[:99]), r"b.npz is damaged, truncated"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path, six, change, words):
    change(six)
    with pytest.raises(ValueError, match=words):
        serial(six, tmp_path / "out")


def test_other_image_ids_are_named_with_both_files(tmp_path):
    ids = [f"i{k}" for k in range(IMAGES)]
    folder = write(tmp_path / "features", features_of("abc"), ids)
    serial(folder, tmp_path / "out")
    write(folder, features_of("c"), [ids[1], ids[0], *ids[2:]])
    with pytest.raises(ValueError, match=r"a.npz and .*c.npz have the same image ids in another order \(row 0: 'i0'"):
        serial(folder, tmp_path / "other")
    write(folder, features_of("c"), [*ids[:-1], "new"])
    with pytest.raises(ValueError, match=r"a.npz and .*c.npz have different image ids \('i29' is only in .*a.npz\)"):
        serial(folder, tmp_path / "other")


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path, six, monkeypatch):
    real = blocks.compute

    def late(work, some):
        write(six, {"e": features_of("e", seed=9)["e"]})
        return real(work, some)

    monkeypatch.setattr(blocks, "compute", late)
    with pytest.raises(
        ValueError, match=r"e.npz has changed since the sweep started \(network 'e'\); start the sweep again"
    ):
        serial(six, tmp_path / "out")
    monkeypatch.setattr(blocks, "compute", real)
    same(serial(six, tmp_path / "out"), serial(six, tmp_path / "new"))


def test_a_worker_of_another_version_refuses(tmp_path, six, monkeypatch):
    real = blocks.compute

    def old(work, some):
        with monkeypatch.context() as patch:
            patch.setattr(blocks, "version", lambda: "0.0.1")
            return real(work, some)

    monkeypatch.setattr(blocks, "compute", old)
    with pytest.raises(
        ValueError, match=r"has jaxsim 0.0.1, but the sweep was started with .*; install the same version"
    ):
        serial(six, tmp_path / "out")


def test_a_full_disk_loses_nothing(tmp_path, six, monkeypatch):
    real, written = jobs.write_block, []

    def full(path, *given, **more):
        written.append(path)
        if len(written) > 3:
            raise OSError(f"{path} could not be written: no space left on device.")
        return real(path, *given, **more)

    monkeypatch.setattr(jobs, "write_block", full)
    with pytest.raises(OSError, match="no space left on device"):
        serial(six, tmp_path / "out")
    monkeypatch.undo()
    assert len(block_files(tmp_path / "out")) == 3
    same(serial(six, tmp_path / "out"), serial(six, tmp_path / "new"))


def test_a_device_without_memory_is_told_in_a_sentence(tmp_path, six, monkeypatch):
    def small(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 bytes")

    monkeypatch.setattr(blocks, "embed_call", small)
    blocks.forget()
    with pytest.raises(RuntimeError, match="ran out of device memory|device ran out of memory in a block of"):
        serial(six, tmp_path / "out")


def test_two_sweeps_in_a_folder(tmp_path, six):
    with progress.alone(tmp_path / "out"):
        with pytest.raises(BlockingIOError, match=f"{tmp_path / 'out'} is in use by another sweep"):
            serial(six, tmp_path / "out")
        record = {"pending": ["a"], "kept": 1, "started": 0.0, "updated": 1.0, "engine": "dask"}
        jobs.write_record(tmp_path / "out" / progress.RECORD, record)
        assert js.sweep_status(tmp_path / "out").running
    assert js.sweep_status(tmp_path / "out").running is False
    serial(six, tmp_path / "out")
    with pytest.raises(ValueError, match=r"other settings: measure is cka-linear \(here rsa\)"):
        serial(six, tmp_path / "out", measure="rsa", overwrite=True)
    write(six, features_of(["new"], seed=9))
    with pytest.raises(FileExistsError, match="affinity.npz already exists"):
        serial(six, tmp_path / "out")


@pytest.mark.parametrize("given", [None, [], ["done"]])
def test_an_executor_that_gives_something_else_is_named(tmp_path, six, given):
    class Other:
        def submit(self, function, *args):
            future = concurrent.futures.Future()
            future.set_result(given)
            return future

    with pytest.raises(TypeError, match="the executor gave .* as the result of a block"):
        js.sweep(six, "cka", out=tmp_path / "out", executor=Other())


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"executor": "slurm"}, ValueError, "there is no engine 'slurm'; use processes, serial, dask, submitit"),
        ({"executor": 3}, TypeError, "have a method submit, not 3"),
        ({"channels": "middle"}, ValueError, "channels must be"),
        ({"measure": ["rsa", "cka"]}, TypeError, "one measure, not a list"),
        ({"address": "tcp://here:1"}, ValueError, "works only with the engine dask"),
        ({"options": {"timeout_min": 3}}, ValueError, "work only with the engine submitit"),
        ({"measure": "spearman"}, TypeError, "To compare precomputed maps, use js.compare_maps"),
        ({"measure": js.Measure(lambda x: x, js.pairwise.linear, js.compare.cosine)}, TypeError, "another process"),
    ],
)
def test_bad_options(tmp_path, six, options, kind, words):
    with pytest.raises(kind, match=words):
        js.sweep(six, **{"measure": "cka", "out": tmp_path / "out", **options})


class Unsteady:
    """An executor whose workers are lost, some after they have done their work."""

    def __init__(self, share):
        self.random, self.share = random.Random(1), share

    def submit(self, function, *given):
        future = concurrent.futures.Future()
        if self.random.random() < self.share:
            if self.random.random() < 0.5:
                function(*given)
            future.set_exception(concurrent.futures.BrokenExecutor("a worker has died"))
        else:
            future.set_result(function(*given))
        return future


def test_lost_workers_cost_their_block(tmp_path, six, monkeypatch):
    monkeypatch.setattr(engines.time, "sleep", lambda seconds: None)
    whole = serial(six, tmp_path / "whole")
    same(js.sweep(six, "cka", out=tmp_path / "out", executor=Unsteady(0.4), block=1, workers=3), whole)
    with pytest.raises(RuntimeError, match="workers were lost 6 times on the block .*: a worker has died"):
        js.sweep(six, "cka", out=tmp_path / "never", executor=Unsteady(1.0))
    same(serial(six, tmp_path / "never"), whole)


class Gone:
    """An executor of a client of Dask that has lost its scheduler: futures wait for ever."""

    class _client:
        status = "closed"

    def submit(self, function, *given):
        return concurrent.futures.Future()


def test_a_scheduler_that_is_gone_is_told(tmp_path, six, monkeypatch):
    monkeypatch.setattr(engines, "BEAT", 0.01)
    with pytest.raises(ConnectionError, match="scheduler of the workers was lost; finished blocks are kept"):
        js.sweep(six, "cka", out=tmp_path / "out", executor=Gone())


def test_what_goes_to_workers_is_plain(tmp_path):
    work = verbs._work(tmp_path, js.RSA, None)
    assert work.measure == "rsa"
    assert pickle.loads(pickle.dumps(work)) == work


def test_gpus_are_counted_without_starting_one(monkeypatch):
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: name == "jax_cuda13_plugin")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert engines.gpus() == ["2", "5"]
    assert len(engines._processes(None)) == 2
    assert len(engines._processes(3)) == 3
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert engines.gpus() == []
    assert len(engines._processes(None)) == max(1, os.cpu_count() // 2)


def test_embedded_maps_that_do_not_fit_are_made_again(tmp_path, six, monkeypatch):
    whole = serial(six, tmp_path / "whole")
    made, real = [], blocks._embed
    monkeypatch.setattr(blocks, "_embed", lambda *given: made.append(given[2]) or real(*given))
    same(serial(six, tmp_path / "once", block=3), whole)
    assert len(made) == 6
    monkeypatch.setattr(blocks, "_room", lambda: 1)
    same(serial(six, tmp_path / "often", block=3), whole)
    assert len(made) > 12


def test_neighbors_go_to_the_worker_that_has_them():
    def source(name):
        return name, io.Source("", "", False, (3, 2), name)

    made = [blocks.Block(f"{a}{b}", (source(a), source(b)), ((0, 1),)) for a, b in itertools.combinations("abcdef", 2)]
    ran = {0: [], 1: []}

    class Both:
        def __init__(self, lane):
            self.lane = lane

        def submit(self, function, work, some):
            ran[self.lane].extend(block.name for block in some)
            future = concurrent.futures.Future()
            future.set_result([blocks.Outcome(block.name) for block in some])
            return future

        def shutdown(self, wait=True):
            pass

    done = []
    engines.run([engines.Lane(lambda k=k: Both(k), 1) for k in range(2)], blocks.compute, None, made, done.append)
    assert sorted(ran[0] + ran[1]) == sorted(block.name for block in made)
    assert done[-1] == len(made)
    assert all(
        set(one) & set("".join(own[max(0, k - 4) : k])) for own in ran.values() for k, one in enumerate(own) if k
    )


# Engines


SCRIPT = """
import signal, sys, time
from jaxsim.sweeps import blocks

real = blocks.compute

def slow(work, some):
    time.sleep(0.2)
    return real(work, some)

if __name__ == "__main__":
    from jaxsim.cli import main

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    blocks.compute = slow
    sys.exit(main(sys.argv[1:]))
"""


def children_of(number):
    """Processes that a process has started, and those that they have."""
    own = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        if parent == number:
            own += [int(path.parent.name), *children_of(int(path.parent.name))]
    return own


def workers_of(number):
    """Those of them that compute."""
    found = []
    for child in children_of(number):
        try:
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
        except OSError:
            continue
    return found


def start(tmp_path, folder, out, stderr=subprocess.DEVNULL):
    """The command with two workers, whose blocks take a while."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    words = [sys.executable, str(script), "sweep", str(folder), "--measure", "cka", "--block", "2", "--workers", "2"]
    words += ["--overwrite", "--out", str(out)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=stderr, text=True, start_new_session=True)


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


NAMES = [f"n{k:02d}" for k in range(16)]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Features of sixteen networks, and the bits of an unbroken sweep of them."""
    place = tmp_path_factory.mktemp("many")
    folder = write(place / "features", features_of(NAMES))
    return folder, serial(folder, place / "serial")


@pytest.mark.slow
def test_local_processes_give_the_same_bits(tmp_path, many):
    folder, whole = many
    same(js.sweep(folder, "cka", out=tmp_path / "out", workers=2, block=3), whole)


@pytest.mark.slow
def test_the_process_that_plans_takes_no_device(tmp_path, many):
    """On a GPU it would hold the memory that its workers need."""
    code = """
        import sys
        import jaxsim as js
        from jax._src import xla_bridge

        if __name__ == "__main__":
            js.sweep(sys.argv[1], "cka", out=sys.argv[2], workers=1)
            print(xla_bridge.backends_are_initialized())
    """
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))
    words = [sys.executable, str(script), str(many[0]), str(tmp_path / "out")]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.split() == ["False"]


@pytest.mark.slow
def test_an_executor_of_the_standard_library(tmp_path, many):
    folder, whole = many
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        same(js.sweep(folder, "cka", out=tmp_path / "out", executor=executor, workers=2), whole)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dask_gives_the_same_bits(tmp_path, many):
    distributed = pytest.importorskip("dask.distributed")
    folder, whole = many
    same(js.sweep(folder, "cka", out=tmp_path / "own", executor="dask", workers=2, block=3), whole)
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster:
        with distributed.Client(cluster) as client:
            same(js.sweep(folder, "cka", out=tmp_path / "given", executor=client.get_executor()), whole)
        found = js.sweep(folder, "cka", out=tmp_path / "address", executor="dask", address=cluster.scheduler_address)
        same(found, whole)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_submitit_gives_the_same_bits(tmp_path, many):
    pytest.importorskip("submitit")
    folder, whole = many
    same(js.sweep(folder, "cka", out=tmp_path / "out", executor="submitit", workers=2, block=4), whole)


@pytest.mark.slow
def test_workers_killed_at_random_and_networks_added(tmp_path, many):
    """Workers are killed at 12 moments, then the whole sweep, which goes on in another engine."""
    folder, whole = many
    out, rng = tmp_path / "out", random.Random(7)
    few = write(tmp_path / "few", features_of(NAMES)) and tmp_path / "few"
    for name in NAMES[3:8]:
        (few / f"{name}.npz").unlink()
    kills, seen, lost = 0, set(), 0
    while kills < 12:
        running = start(tmp_path, few, out)
        wait_for(lambda running=running: workers_of(running.pid) or running.poll() is not None)
        until = time.monotonic() + 8
        while running.poll() is None and time.monotonic() < until:
            time.sleep(rng.uniform(0.2, 2.0))
            there = [number for number in workers_of(running.pid) if number not in seen]
            if there:
                seen.add(victim := rng.choice(there))
                os.kill(victim, signal.SIGKILL)
                kills += 1
        done = set(block_files(out))
        running.kill()
        running.wait()
        lost += len(done - set(block_files(out)))
        if running.returncode == 0:  # it was finished before there were kills enough
            for path in block_files(out)[::2]:
                path.unlink()
    assert lost == 0
    for path in block_files(out):
        jobs.read_block(path)
    same(js.sweep(folder, "cka", out=out, executor="serial", block=3, overwrite=True), whole)


@pytest.mark.slow
def test_a_killed_scheduler_leaves_no_workers_and_a_folder_that_goes_on(tmp_path, many):
    folder, whole = many
    running = start(tmp_path, folder, tmp_path / "out")
    wait_for(lambda: len(block_files(tmp_path / "out")) > 3)
    assert js.sweep_status(tmp_path / "out").running
    with pytest.raises(BlockingIOError, match="in use by another sweep"):
        serial(folder, tmp_path / "out")
    workers = workers_of(running.pid)
    assert len(workers) == 2
    running.kill()
    running.wait()
    wait_for(lambda: not any(Path(f"/proc/{number}").exists() for number in workers), 20)
    assert js.sweep_status(tmp_path / "out").running is False
    same(serial(folder, tmp_path / "out", overwrite=True), whole)


def test_arrays_of_other_numbers_of_images_are_named(tmp_path):
    features = {"a": np.ones((6, 3)), "b": np.ones((5, 3))}
    with pytest.raises(ValueError, match="network 'a' and network 'b' have 6 and 5 images; a sweep needs the same"):
        js.sweep(features, "cka", out=tmp_path / "out", executor="serial")


@pytest.mark.slow
def test_ctrl_c_does_not_reach_a_worker_that_is_starting(capfd):
    worker = engines.Worker(None)
    try:
        process = next(iter(worker._pool._processes.values()))
        while not worker._number.done():
            os.kill(process.pid, signal.SIGINT)
            time.sleep(0.01)
        assert worker._number.result() == process.pid
        assert worker.submit(pow, 2, 3).result() == 8
    finally:
        worker.shutdown()
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_ctrl_c_ends_the_workers_and_keeps_the_blocks(tmp_path, many):
    (folder, whole), out = many, tmp_path / "out"
    running = start(tmp_path, folder, out, subprocess.PIPE)
    wait_for(lambda: len(block_files(out)) > 0)
    workers = workers_of(running.pid)
    assert len(workers) == 2
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert said.splitlines()[-1] == (
        f"jaxsim: interrupted; finished blocks are kept in {out}; the next run continues there"
    )
    assert "Traceback" not in said
    assert not any(Path(f"/proc/{number}").exists() for number in workers)
    same(js.sweep(folder, "cka", out=out, workers=1), whole)
