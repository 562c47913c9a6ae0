"""Training: exact resumption, damaged checkpoints, many tasks at once, and the stop at NaN."""

import csv
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

nnx = pytest.importorskip("flax.nnx")
optax = pytest.importorskip("optax")
pytest.importorskip("orbax.checkpoint")

from jaxsim.io import jobs
from jaxsim.vision import models, training
from jaxsim.vision.training import checkpoints, loop, sources
from jaxsim.vision.training import steps as stepping

pytestmark = pytest.mark.slow

KEY = jax.random.key(5)
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.random((24, 32, 32, 3), np.float32)


@functools.cache
def build(seed=0, channels=1):
    def make():
        encoder = models.SmallEncoder((4, 8), (2, 1), rngs=nnx.Rngs(0))
        return models.Network(encoder, models.SmallDecoder(channels, 1, widths=(4,), rngs=nnx.Rngs(0)))

    graph, state = nnx.split(nnx.eval_shape(make))  # NumPy's random weights are quicker than compiled ones
    random = np.random.default_rng(seed)
    weights = jax.tree.map(lambda v: jnp.asarray(random.normal(0, 0.2, v.shape).astype(np.float32)), state)
    return nnx.merge(graph, weights)


@functools.cache
def linear():
    """A network that compiles quickly."""
    return nnx.Linear(3, 1, rngs=nnx.Rngs(0))


def squared_error(prediction, batch):
    return jnp.mean((prediction - batch["target"]) ** 2)


def absolute_error(prediction, batch):
    return jnp.mean(jnp.abs(prediction - batch["target"]))


def gray(images):
    return {"images": images, "target": images.mean(-1, keepdims=True)}


DATA = gray(IMAGES)
SETTINGS = {"steps": 12, "batch": 4, "key": KEY, "every": 3, "progress": False}


def fitted(**changes):
    return training.fit(build(), squared_error, DATA, **{**SETTINGS, **changes})


def leaves(network):
    return [np.asarray(v) for v in jax.tree.leaves(nnx.to_pure_dict(nnx.state(network)))]


def assert_same(a, b):
    for x, y in zip(leaves(a.network), leaves(b.network), strict=True):
        np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(a.curve, b.curve)


@pytest.fixture(scope="module")
def reference():
    return fitted()


def test_it_learns_and_leaves_the_network_given_alone():
    network = linear()
    before = leaves(network)
    done = training.fit(network, squared_error, DATA, **{**SETTINGS, "steps": 60, "learning_rate": 0.03})
    assert done.curve.shape == (60,)
    assert done.curve[-5:].mean() < done.curve[:5].mean() / 3
    for old, new in zip(before, leaves(network), strict=True):
        np.testing.assert_array_equal(old, new)


def test_against_a_plain_loop_of_optax(reference):
    network = build()
    graph, state = nnx.split(network)
    rate = optax.warmup_cosine_decay_schedule(0, 1e-3, 1, 12)
    optimizer = optax.chain(optax.clip_by_global_norm(1), optax.adam(rate))
    memory, curve = optimizer.init(state), []

    @jax.jit
    def step(state, memory, batch):
        loss, slopes = jax.value_and_grad(lambda s: squared_error(nnx.merge(graph, s)(batch["images"]), batch))(state)
        changes, memory = optimizer.update(slopes, memory, state)
        return optax.apply_updates(state, changes), memory, loss

    for s in range(12):
        rows = np.argsort(-np.asarray(jax.random.uniform(jax.random.fold_in(KEY, s), (24,))))[:4]
        state, memory, loss = step(state, memory, {name: values[rows] for name, values in DATA.items()})
        curve.append(float(loss))
    np.testing.assert_allclose(reference.curve, curve, rtol=1e-5)


def test_batches_depend_on_the_step_alone_and_hold_distinct_rows():
    rows = np.asarray(sources.rows_of_steps(KEY, jnp.arange(40), rows=10, batch=5))
    later = np.asarray(sources.rows_of_steps(KEY, jnp.arange(30, 40), rows=10, batch=5))
    np.testing.assert_array_equal(rows[30:], later)
    assert all(len(set(row)) == 5 for row in rows)
    counts = np.bincount(rows.ravel(), minlength=10)
    assert counts.min() > 8
    assert counts.max() < 33
    assert len({tuple(row) for row in rows}) == 40


def test_tuples_and_bytes_are_as_dicts_and_fractions():
    pixels = (IMAGES * 255).astype(np.uint8)
    target = DATA["target"]
    a = training.fit(linear(), lambda p, b: jnp.mean((p - b[1]) ** 2), (pixels, target), **SETTINGS)
    b = training.fit(linear(), squared_error, {"images": pixels / np.float32(255), "target": target}, **SETTINGS)
    np.testing.assert_allclose(a.curve, b.curve, rtol=1e-5)


class Normalized(nnx.Module):
    def __init__(self):
        self.norm = nnx.BatchNorm(3, momentum=0.5, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return jnp.mean(self.norm(x), -1, keepdims=True)


def test_batch_statistics_are_updated():
    done = training.fit(Normalized(), squared_error, DATA, **SETTINGS)
    np.testing.assert_allclose(done.network.norm.mean[...], IMAGES.mean((0, 1, 2)), atol=0.02)


# Checkpoints


def test_checkpoints_change_nothing_and_only_the_newest_stay(tmp_path, reference):
    assert_same(fitted(checkpoints=tmp_path / "run"), reference)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [f"step_{s:08d}" for s in (6, 9, 12)]
    assert_same(fitted(checkpoints=tmp_path / "run"), reference)  # nothing left to do


class Stopped(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("saves", [0, 1, 2])
@pytest.mark.parametrize("during", ["checksums", "rename", "after"])
def test_a_stop_around_a_save_resumes_to_the_same_bits(tmp_path, monkeypatch, reference, saves, during):
    count = iter(range(100))

    def stop_at(original, after=False):
        def call(*arguments, **keywords):
            stopping = next(count) == saves
            if stopping and not after:
                raise Stopped
            result = original(*arguments, **keywords)
            if stopping:
                raise Stopped
            return result

        return call

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *a, **k: None)  # a killed process cleans nothing up
        if during == "checksums":
            patch.setattr(jobs, "write_record", stop_at(jobs.write_record))
        elif during == "rename":
            patch.setattr(Path, "rename", stop_at(Path.rename))
        else:
            patch.setattr(checkpoints, "save", stop_at(checkpoints.save, after=True))
        with pytest.raises(Stopped):
            fitted(checkpoints=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(fitted(checkpoints=tmp_path), reference)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_stages_of_a_run_are_the_unbroken_run(tmp_path, reference):
    for until in (1, 3, 3, 8):
        stage = fitted(checkpoints=tmp_path, until=until)
        assert_same(stage, fitted(until=until))
        np.testing.assert_array_equal(stage.curve, reference.curve[:until])
    assert_same(fitted(checkpoints=tmp_path), reference)
    assert_same(fitted(checkpoints=tmp_path, until=12), reference)


def test_a_stage_in_the_past_or_beyond_the_run_is_refused(tmp_path):
    fitted(checkpoints=tmp_path, until=5)
    with pytest.raises(ValueError, match="has a checkpoint of step 5, past the requested step 4"):
        fitted(checkpoints=tmp_path, until=4)
    for until in (0, 13, 2.5):
        with pytest.raises(ValueError, match=f"from 1 to the 12 steps of the run, not {until}"):
            fitted(until=until)


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import test_training as t
t.fitted(checkpoints={folder!r}, steps=4000, every=20)
"""


def kill_after(begun, script, seconds):
    """Run Python in a process of its own, and kill it as soon as `begun()`."""
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    try:
        limit = time.monotonic() + seconds
        while not begun() and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.02)
        time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()


def test_a_killed_process_resumes_to_the_same_bits(tmp_path):
    folder = tmp_path / "run"
    script = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(folder))
    kill_after(lambda: list(folder.glob("step_*[1-9]?")), script, 90)
    step = max(int(p.name[5:]) for p in folder.glob("step_*"))
    assert 0 < step < 4000
    again = resumed_for(folder, step + 30)
    once = resumed_for(tmp_path / "fresh", step + 30)
    np.testing.assert_array_equal(again, once)


def resumed_for(folder, stop):
    """Losses and weights at the first checkpoint at or past `stop` of the run that the killed process began."""

    class Enough(Exception):
        pass

    seen = {}
    original = checkpoints.save

    def save(where, step, tree, *rest):
        if step >= stop:
            seen["all"] = np.concatenate([np.ravel(np.asarray(v, np.float64)) for v in jax.tree.leaves(tree)])
            raise Enough
        return original(where, step, tree, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "save", save)
        with pytest.raises(Enough):
            fitted(checkpoints=folder, steps=4000, every=20)
    return seen["all"]


def values_of(folder):
    """The files of a checkpoint that hold arrays; the storage format keeps some bytes twice, in folders named d."""
    return [path for path in (folder / "arrays").rglob("d/*") if path.is_file()]


def flip(folder):
    for path in values_of(folder):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 16
        path.write_bytes(data)


def truncate(folder):
    for path in values_of(folder):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_checksums(folder):
    path = folder / "checksums.json"
    path.write_text(path.read_text().replace('"batch": 4', '"batch": 5'))


DAMAGE = {
    "flipped byte": flip,
    "truncated": truncate,
    "no checksums": lambda folder: (folder / "checksums.json").unlink(),
    "flipped checksums": flip_checksums,
    "no arrays": lambda folder: os.rename(folder / "arrays", folder / "away"),
}


@pytest.fixture(scope="module")
def half_done(tmp_path_factory):
    """A run's folder as it was after nine steps."""
    folder = tmp_path_factory.mktemp("half") / "run"
    fitted(checkpoints=folder)
    checkpoints._remove(folder / "step_00000012")
    return folder


@pytest.fixture
def run(half_done, tmp_path):
    return Path(shutil.copytree(half_done, tmp_path / "run"))


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(run, reference, damage):
    DAMAGE[damage](run / "step_00000009")
    with pytest.warns(RuntimeWarning, match="step_00000009.* is damaged.*resumes from step 6"):
        assert_same(fitted(checkpoints=run), reference)


def test_all_damaged_is_one_error(run):
    for path in run.iterdir():
        flip(path)
    with pytest.raises(ValueError, match="no checkpoint in .*step_00000009 is damaged.*step_00000006 is damaged"):
        fitted(checkpoints=run)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 24}, r"other settings: steps is 12 \(here 24\)"),
        ({"batch": 5}, r"batch is 4 \(here 5\)"),
        ({"learning_rate": 0.1}, r"learning rate is 0.001 \(here 0.1\)"),
        ({"key": jax.random.key(6)}, "key is"),
    ],
)
def test_checkpoints_of_another_run_are_refused(run, changes, words):
    with pytest.raises(ValueError, match=words):
        fitted(checkpoints=run, **changes)


def test_checkpoints_of_another_network_are_refused(run):
    with pytest.raises(ValueError, match="other settings: network.loss is"):
        training.fit(build(channels=2), squared_error, DATA, **SETTINGS, checkpoints=run)


def test_checkpoints_of_other_data_or_another_loss_are_refused(run):
    with pytest.raises(ValueError, match="other settings: data.loss.target is"):
        training.fit(build(), squared_error, DATA | {"target": -DATA["target"]}, **SETTINGS, checkpoints=run)
    with pytest.raises(ValueError, match="other settings: loss.loss is squared_error .here absolute_error"):
        training.fit(build(), absolute_error, DATA, **SETTINGS, checkpoints=run)


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    pytest.importorskip("fcntl", reason="locks need a POSIX system")
    with (
        jobs.lock(tmp_path / "run"),
        pytest.raises(BlockingIOError, match=f"{tmp_path / 'run'} is in use by another process"),
    ):
        fitted(checkpoints=tmp_path / "run")
    fitted(checkpoints=tmp_path / "run")


# Many tasks

LOSSES = {"gray": squared_error, "red": absolute_error, "odd one": squared_error}
TASKS = tuple(LOSSES)


def many(loss=LOSSES, **changes):
    networks = {"gray": build(1), "red": build(2), "odd one": build(3, channels=2)}
    data = {
        "gray": DATA,
        "red": {"images": IMAGES, "target": IMAGES[..., :1].copy()},
        "odd one": {"images": IMAGES, "target": IMAGES[..., :2].copy()},
    }
    return training.fit_many(networks, loss, data, **{**SETTINGS, **changes}), networks, data


def test_each_task_is_as_alone():
    done, networks, data = many()
    assert tuple(done) == TASKS
    for task in TASKS:
        assert_same(done[task], training.fit(networks[task], LOSSES[task], data[task], **SETTINGS))


def test_stacked_tasks_agree_with_single_ones_and_resume(tmp_path, monkeypatch):
    alone, *_ = many()
    monkeypatch.setattr(stepping, "stacks_tasks", lambda: True)
    stacked, *_ = many(checkpoints=tmp_path)
    for task in TASKS:
        np.testing.assert_allclose(stacked[task].curve, alone[task].curve, rtol=1e-4)
    checkpoints._remove(tmp_path / "step_00000012")
    again, *_ = many(checkpoints=tmp_path)
    for task in TASKS:
        assert_same(again[task], stacked[task])


def test_tasks_alike_are_stacked_and_others_are_not(monkeypatch):
    seen = []
    original = loop._gather
    monkeypatch.setattr(stepping, "stacks_tasks", lambda: True)
    monkeypatch.setattr(loop, "_gather", lambda group, states: seen.append(group) or original(group, states))
    many()
    assert [(g.tasks, g.stacked) for g in seen] == [(("gray", "red"), True), (("odd one",), False)]
    assert seen[0].shared == {"images"}


def test_stacked_gradients_equal_single_ones():
    losses = (squared_error, absolute_error, squared_error)
    begun = [stepping.initial(build(seed), 1e-3, 10) for seed in (1, 2, 3)]
    batch = {name: jnp.asarray(values[:4]) for name, values in DATA.items()}
    targets = jnp.stack([batch["target"], 2 * batch["target"], -batch["target"]])
    states = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *(state for _, state in begun))
    together = jax.jit(stepping.stacked_gradient(begun[0][0], losses, "images", frozenset({"images"})))
    loss, stacked, _ = jax.device_get(together(states, batch | {"target": targets}))
    for i, (_, state) in enumerate(begun):
        single = jax.jit(stepping.gradient(begun[0][0], losses[i], "images"))
        expected_loss, expected, _ = single(state, batch | {"target": targets[i]})
        np.testing.assert_allclose(loss[i], expected_loss, rtol=1e-5)
        for a, b in zip(jax.tree.leaves(stacked), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-5)


def test_the_backend_decides_in_one_place():
    assert stepping.stacks_tasks() == (jax.default_backend() != "cpu")


def test_equal_tasks_share_one_compiled_step(monkeypatch):
    seen = []
    original = loop._gather
    monkeypatch.setattr(loop, "_gather", lambda group, states: seen.append(group) or original(group, states))
    many(squared_error)
    assert [g.tasks for g in seen] == [(task,) for task in TASKS]
    assert seen[0].step is seen[1].step is not seen[2].step


def test_curves_are_written_as_csv(tmp_path):
    done, *_ = many(log=tmp_path / "curves.csv")
    with open(tmp_path / "curves.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["step", *TASKS]
    assert [int(row[0]) for row in rows[1:]] == list(range(12))
    for i, task in enumerate(TASKS, 1):
        np.testing.assert_array_equal([np.float32(row[i]) for row in rows[1:]], done[task].curve)


def test_progress_is_said_on_standard_error(capsys):
    fitted(progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split()[1] for line in err.splitlines()] == ["3/12", "6/12", "9/12", "12/12"]


# Refusals


def poisoned(row):
    target = DATA["target"].copy()
    target[row] = np.nan
    return {"images": IMAGES, "target": target}


def test_nan_names_task_and_first_step_and_is_not_saved(tmp_path):
    rows = np.asarray(sources.rows_of_steps(KEY, jnp.arange(12), rows=24, batch=4))
    row = next(r for r in range(24) if r not in rows[:4] and r in rows[4:])
    step = int(np.argmax((rows == row).any(1)))
    networks = {"good": linear(), "bad": linear()}
    data = {"good": DATA, "bad": poisoned(row)}
    with pytest.raises(FloatingPointError, match=f"task 'bad' .* at step {step}"):
        training.fit_many(networks, squared_error, data, **SETTINGS, checkpoints=tmp_path)
    assert max(int(p.name[5:]) for p in tmp_path.iterdir()) <= step


def infinite_slope(prediction, batch):
    return jnp.sqrt(jnp.sum(prediction * 0)) + squared_error(prediction, batch)


def test_a_gradient_that_is_not_finite_stops_too():
    with pytest.raises(FloatingPointError, match="at step 0"):
        training.fit(linear(), infinite_slope, DATA, **SETTINGS)


@pytest.mark.parametrize(
    ("data", "changes", "error", "words"),
    [
        ({"target": IMAGES}, {}, ValueError, "no images"),
        ({"images": IMAGES, "target": IMAGES[:5]}, {}, ValueError, "different numbers of rows"),
        (DATA, {"batch": 25}, ValueError, "batch of 25 .* 24 rows"),
        (DATA, {"batch": 0}, ValueError, "batch must be a whole number from 1"),
        (DATA, {"steps": 0}, ValueError, "steps must be a whole number from 1"),
        (DATA, {"every": 2.5}, ValueError, "every must be a whole number from 1"),
        (DATA, {"key": jax.random.PRNGKey(0)}, TypeError, "typed random key"),
    ],
    ids=["no images", "lengths", "large batch", "no batch", "no steps", "no every", "old key"],
)
def test_refusals(data, changes, error, words):
    with pytest.raises(error, match=words):
        training.fit(build(), squared_error, data, **{**SETTINGS, **changes})


def test_tasks_must_be_the_same_everywhere():
    with pytest.raises(ValueError, match="tasks of the data"):
        training.fit_many({"a": build()}, squared_error, {"b": DATA}, **SETTINGS)
    with pytest.raises(ValueError, match="tasks of the losses"):
        training.fit_many({"a": build()}, {"b": absolute_error}, {"a": DATA}, **SETTINGS)


def test_losses_may_differ_by_task():
    losses = {"a": squared_error, "b": absolute_error}
    done = training.fit_many({"a": linear(), "b": linear()}, losses, {"a": DATA, "b": DATA}, **SETTINGS)
    np.testing.assert_array_equal(done["b"].curve, training.fit(linear(), absolute_error, DATA, **SETTINGS).curve)
