"""Matrices with names: CSV, npz and Taskonomy's pickles come back as they were, with their names in order."""

import json
import pickle

import numpy as np
import pytest
from machine import DATA

from jaxsim import io

TRANSFER = DATA / "taskonomy_transfer"
needs_transfer = pytest.mark.skipif(not TRANSFER.is_dir(), reason=f"no Taskonomy data in {DATA}")

M = np.array([[0.1, -1e-300, np.pi], [1 / 3, np.nan, 1e17]])
ROWS, COLUMNS = ("alex", "vgg"), ("a", "b", "c")


def _matches(got, values=M, names=ROWS, targets=COLUMNS):
    assert got[1:] == (names, targets)
    assert got[0].dtype == np.float64
    np.testing.assert_array_equal(got[0], values)


def test_csv_round_trip(tmp_path):
    odd = ('"quoted", comma', " space ")
    targets = ("line\nbreak", "dög", "")
    path = io.write_csv_matrix(tmp_path / "x.csv", M, odd, targets)
    _matches(io.read_matrix(path), M, odd, ("line\\nbreak", *targets[1:]))  # control characters are shown escaped
    pandas = pytest.importorskip("pandas").read_csv(path, index_col=0)
    np.testing.assert_allclose(pandas.to_numpy(), M, rtol=1e-15)
    single = np.float32([[0.1]])
    assert np.float32(io.read_matrix(io.write_csv_matrix(tmp_path / "y.csv", single, "a", "b"))[0]) == single


def test_csv_as_others_write_it(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbfname,a,b\r\nalex,1,\r\n\r\nvgg,-2e3,nan\r\n")
    _matches(io.read_matrix(tmp_path / "x.csv"), [[1, np.nan], [-2000, np.nan]], ROWS, ("a", "b"))


BAD_CSV = {
    "empty": ("", "no table"),
    "one cell": ("a\n", "no table"),
    "ragged": (",a,b\nx,1,2\ny,1\n", "2 cells in row 'y' and 3 in its first row"),
    "not a number": (",a,b\nx,1,good\n", "'good' instead of a number in row 'x', column 'b'"),
    "one row twice": (",a\nx,1\nx,2\n", "two rows named 'x'"),
    "one column twice": (",a,a\nx,1,2\n", "two columns named 'a'"),
    "open quote": (',a\n"x,1\n', "not a CSV table"),
    "not text": ("\udcff,a\nx,1\n", "damaged, truncated or of another format"),
}


@pytest.mark.parametrize(("text", "said"), BAD_CSV.values(), ids=BAD_CSV)
def test_bad_csv_is_one_sentence(text, said, tmp_path):
    (tmp_path / "x.csv").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=f"x.csv .*{said}"):
        io.read_matrix(tmp_path / "x.csv")


def test_write_csv_refuses_another_shape(tmp_path):
    with pytest.raises(ValueError, match=r"x.csv was not written: .*\(2, 3\), but 3 names and 2 targets were given"):
        io.write_csv_matrix(tmp_path / "x.csv", M, COLUMNS, ROWS)
    assert not list(tmp_path.iterdir())


RECORD = json.dumps({"record": "Affinity", "names": ROWS, "targets": COLUMNS})
LAYOUTS = {
    "values": ({"values": M, "names": ROWS, "targets": COLUMNS, "other": M}, None),
    "only matrix": ({"scores": M, "names": ROWS, "targets": COLUMNS}, None),
    "chosen": ({"x": M[:, :2], "y": M, "y__sources": ROWS, "y__targets": COLUMNS, "tasks": ROWS}, "y"),
    "record": ({"values": M, "images": np.ones((2, 3), int), "record_json": RECORD}, None),
    "resamples": ({"values": np.ones((5, 2, 3)), "estimate": M, "record_json": RECORD}, None),
    "bytes": ({"values": M, "names": [b"alex", b"vgg"], "targets": COLUMNS}, "values"),
}


@pytest.mark.parametrize(("arrays", "key"), LAYOUTS.values(), ids=LAYOUTS)
def test_npz_layouts(arrays, key, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    _matches(io.read_matrix(tmp_path / "x.npz", key))


def test_square_npz_names_both_axes_once(tmp_path):
    np.savez(tmp_path / "x.npz", values=np.eye(2, dtype=np.float32), names=ROWS)
    _matches(io.read_matrix(tmp_path / "x.npz"), np.eye(2), ROWS, ROWS)


BAD_NPZ = {
    "a choice": ({"x": M, "y": M, "names": ROWS}, None, "needs a key to choose one of its matrices: x, y"),
    "no such key": ({"x": M, "y": M, "names": ROWS}, "z", "no matrix 'z'; its matrices are: x, y"),
    "no matrix": ({"names": ROWS}, None, "one of its matrices: none"),
    "no names": ({"values": M}, None, "no names for 'values'"),
    "too few names": (
        {"values": M, "names": ROWS},
        None,
        r"shape \(2, 3\) with 2 row names and 2 column names",
    ),
    "one name twice": ({"values": np.eye(2), "names": ["a", "a"]}, None, "two rows named 'a'"),
    "complex": ({"values": M * 1j, "names": ROWS}, "values", "no matrix 'values'"),
    "bad record": ({"values": M, "record_json": "{"}, None, "damaged, truncated or of another format"),
    "record without names": ({"values": M, "record_json": "{}"}, None, "names"),
}


@pytest.mark.parametrize(("arrays", "key", "said"), BAD_NPZ.values(), ids=BAD_NPZ)
def test_bad_npz_is_one_sentence(arrays, key, said, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match=f"x.npz .*{said}"):
        io.read_matrix(tmp_path / "x.npz", key)


def _pickle(path, value):
    path.write_bytes(pickle.dumps(value))
    return path


def test_pickled_scores_are_ordered_and_missing_ones_are_nan(tmp_path):
    scores = {"zebra__denoise": 1, "class_1000__curvature": np.float64(2), "curvature__apple": np.float32(3)}
    path = _pickle(tmp_path / "x.pkl", scores)
    plain = io.read_matrix(path)
    _pickle(tmp_path / "x.pkl", scores | {"curvature__zebra__denoise": 9.0})
    with pytest.warns(UserWarning, match="x.pkl: left out 1 of 4 scores, which are for several sources"):
        np.testing.assert_equal(io.read_matrix(path), plain)
    _pickle(tmp_path / "x.pkl", scores)
    wanted = np.full((3, 3), np.nan)
    wanted[2, 1], wanted[1, 0], wanted[0, 2] = 1, 2, 3
    _matches(io.read_matrix(path), wanted, ("curvature", "class_1000", "zebra"), ("curvature", "denoise", "apple"))


BAD_PICKLES = {
    "a list": ([1.0], "a pickled list"),
    "no scores": ({}, "a pickled dict"),
    "no target": ({"a": 1.0}, "'a'; every key must be 'source__target' with a number as its value"),
    "empty source": ({"__a": 1.0}, "every key must be"),
    "not a number": ({"a__b": "1"}, "'a__b'; every key must be 'source__target' with a number"),
    "higher order only": ({"a__b__c": 1.0}, "only keys with several sources"),
    "a function": ({"a__b": print}, "builtins.print, which is not on the safe list"),
}


@pytest.mark.parametrize(("value", "said"), BAD_PICKLES.values(), ids=BAD_PICKLES)
def test_bad_pickles_are_one_sentence(value, said, tmp_path):
    with pytest.raises(ValueError, match=f"x.pkl .*{said}"):
        io.read_matrix(_pickle(tmp_path / "x.pkl", value))


def test_a_key_needs_a_choice(tmp_path):
    with pytest.raises(ValueError, match="has only one matrix, so there is no entry 'y' to choose"):
        io.read_matrix(_pickle(tmp_path / "x.pkl", {"a__b": 1.0}), "y")


RELEASED = ("affinities_all_affinities", "winrates_wins_vs_pixels", "winrates_wins_vs_task")


@needs_transfer
@pytest.mark.filterwarnings("ignore:.* which are for several sources")
@pytest.mark.parametrize("size", ["", "_16k", "_1k"])
@pytest.mark.parametrize("name", RELEASED)
def test_released_pickles_are_the_decoded_matrices(name, size):
    values, names, targets = io.read_matrix(TRANSFER / f"results_{name}{size}.pkl")
    key = name.split("_", 1)[1] + size
    first, rows, columns = io.read_matrix(TRANSFER / "first_order_matrices.npz", key)
    order = np.ix_([names.index(r) for r in rows], [targets.index(c) for c in columns])
    assert (set(names), set(targets)) == (set(rows), set(columns))
    np.testing.assert_array_equal(values[order], first)
    dds, tasks, _ = io.read_matrix(TRANSFER / "dds17_matrices.npz", key)
    assert tasks == io.TASKONOMY_17 == names[:17] == targets[:17]
    np.testing.assert_array_equal(values[:17, :17], dds)


@needs_transfer
def test_released_matrices_need_a_key():
    with pytest.raises(ValueError, match="one of its matrices: all_affinities, all_affinities_16k"):
        io.read_matrix(TRANSFER / "dds17_matrices.npz")
