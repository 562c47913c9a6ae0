"""Checkpoints without any training: damage is named, and a full disk costs nothing that was there."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
from machine import full_disk

pytest.importorskip("orbax.checkpoint", reason="checkpoints need the nn extra")

from jaxsim.vision.training import checkpoints

RUN = {"steps": 9}


def tree(seed):
    random = np.random.default_rng(seed)
    return {"net": {"a": random.normal(size=3000).astype(np.float32), "b": random.normal(size=(40, 50))}}


def restored(folder):
    step, found, _ = checkpoints.restore(folder, lambda step: tree(0), RUN)
    return step, found["net"]


def same(found, seed):
    for name, values in tree(seed)["net"].items():
        np.testing.assert_array_equal(found[name], values)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "run"
    for step in (3, 6):
        checkpoints.save(folder, step, tree(step), RUN)
    return folder


@pytest.fixture
def run(written, tmp_path):
    return shutil.copytree(written, tmp_path / "run")


def test_a_flipped_byte_is_named_and_the_checkpoint_before_is_used(run):
    for file in (run / "step_00000006" / "arrays").rglob("d/*"):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 16
        file.write_bytes(data)
    with pytest.warns(RuntimeWarning, match=r"step_00000006 is damaged: .*\. Training resumes from step 3"):
        step, found = restored(run)
    assert step == 3
    same(found, 3)


def test_a_flipped_byte_of_the_arrays_is_found_by_their_checksums(run):
    """The storage library itself reads the file of values without complaint."""
    file = max((run / "step_00000006" / "arrays").rglob("d/*"), key=lambda file: file.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 16
    file.write_bytes(data)
    with pytest.warns(RuntimeWarning, match=r"step_00000006 is damaged: array 'net\.[ab]' differs from its checksum\."):
        assert restored(run)[0] == 3


@pytest.mark.parametrize("part", ["step", "run", "arrays"])
def test_a_change_of_the_record_is_named(run, part):
    path = run / "step_00000006" / "checksums.json"
    record = json.loads(path.read_text())
    record[part] = 5 if part == "step" else {}
    path.write_text(json.dumps(record))
    with pytest.warns(
        RuntimeWarning, match="step_00000006/checksums.json is damaged: its record differs from its checksum"
    ):
        assert restored(run)[0] == 3


@pytest.mark.parametrize("limit", [100, 9000])
def test_a_full_disk_is_one_sentence_and_earlier_checkpoints_stay(run, limit, capfd, caplog):
    with full_disk(limit), pytest.raises(OSError, match=r"^.*step_00000009 could not be written: file too large\.$"):
        checkpoints.save(run, 9, tree(9), RUN)
    visible = [path.name for path in run.iterdir() if path.name[0] != "."]  # the storage library's threads may be late
    assert sorted(visible) == ["step_00000003", "step_00000006"]
    assert "Traceback" not in capfd.readouterr().err
    assert not caplog.records
    same(restored(run)[1], 6)
    checkpoints.save(run, 9, tree(9), RUN)
    same(restored(run)[1], 9)


def test_no_space_for_the_record(run, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OSError, match=r"step_00000009/checksums.json could not be written: no space left on device\.$"
    ) as caught:
        checkpoints.save(run, 9, tree(9), RUN)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert sorted(path.name for path in run.iterdir()) == ["step_00000003", "step_00000006"]


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "run").write_text("precious")
    with pytest.raises(OSError, match=r"step_00000003 could not be written: part of its folder's path is a file\.$"):
        checkpoints.save(tmp_path / "run", 3, tree(3), RUN)
    assert (tmp_path / "run").read_text() == "precious"
