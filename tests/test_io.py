"""Features and matrices in: names, image ids, memory maps, and one sentence where something is wrong."""

import json
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from jaxsim import io

DATA = Path(os.environ.get("JAXSIM_DATA", Path(__file__).parents[2] / "shared" / "data"))
TRANSFER = DATA / "taskonomy_transfer"
needs_transfer = pytest.mark.skipif(not TRANSFER.is_dir(), reason=f"no Taskonomy data in {DATA}")
needs_networks = pytest.mark.skipif(not (DATA / "networks92").is_dir(), reason=f"no networks92 in {DATA}")

X = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
NETWORKS = {"alex": X, "vgg": X[:, :3] * 2, "resnet": (X[..., 0] * 9).astype(np.int16)}


def _write_safetensors(path, arrays):
    contiguous = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    pytest.importorskip("safetensors.numpy").save_file(contiguous, path)


def _write_hdf5(path, arrays, **options):
    with pytest.importorskip("h5py").File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, **options)


def _write_pickled(path, arrays):
    np.save(path, np.array(arrays, dtype=object))


WRITERS = {
    "stored.npz": lambda path, arrays: np.savez(path, **arrays),
    "deflated.npz": lambda path, arrays: np.savez_compressed(path, **arrays),
    "pickled.npy": _write_pickled,
    "plain.safetensors": _write_safetensors,
    "contiguous.h5": _write_hdf5,
    "chunked.HDF5": lambda path, arrays: _write_hdf5(path, arrays, chunks=True, compression="gzip"),
}
MAPPED = ("stored.npz", "plain.safetensors", "contiguous.h5")


def _same(got, wanted):
    assert got.keys() == wanted.keys()
    for name, values in wanted.items():
        assert isinstance(got[name], np.ndarray)
        assert got[name].dtype == values.dtype
        np.testing.assert_array_equal(got[name], values)


def _is_mapped(array):
    while array is not None and not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
    return array is not None


@pytest.mark.parametrize("file", WRITERS)
def test_one_file_of_networks(file, tmp_path):
    WRITERS[file](tmp_path / file, NETWORKS)
    features, ids = io.read_features(tmp_path / file)
    _same(features, NETWORKS)
    assert ids is None
    for array in features.values():
        assert _is_mapped(array) == (file in MAPPED)


@pytest.mark.parametrize("file", WRITERS)
@pytest.mark.parametrize("entry", ["ids", "image_ids"])
def test_ids_inside_a_file(file, entry, tmp_path):
    numbers = NETWORKS | {entry: np.array([7, 0, 12])}
    WRITERS[file](tmp_path / file, numbers)
    (tmp_path / "image_ids.txt").write_text("not\nthese\nones\n")
    features, ids = io.read_features(tmp_path / file)
    _same(features, NETWORKS)
    assert ids == ("7", "0", "12")


def test_text_ids_of_every_kind(tmp_path):
    np.savez(tmp_path / "x.npz", ids=np.array(["é", "b"]), a=X)
    np.savez(tmp_path / "y.npz", ids=np.array([b"e", b"b"]), a=X)
    _write_hdf5(tmp_path / "z.h5", {"ids": ["é", "b"], "a": X})
    _write_pickled(tmp_path / "w.npy", {"ids": ["e", "b"], "a": X})
    got = [io.read_features(tmp_path / f)[1] for f in ("x.npz", "y.npz", "z.h5", "w.npy")]
    assert got == [("é", "b"), ("e", "b"), ("é", "b"), ("e", "b")]


def test_a_folder_of_networks_in_every_format(tmp_path):
    np.save(tmp_path / "b.npy", X)
    np.save(tmp_path / "f.npy", np.asfortranarray(X[..., 0]))
    np.savez(tmp_path / "a.npz", only=X)
    np.savez(tmp_path / "c.npz", one=X, two=X)
    _write_hdf5(tmp_path / "d.h5", {"block1/conv": X, "block1/pool": X, "top": X})
    _write_safetensors(tmp_path / "e.safetensors", {"only": X})
    for other in ("README.md", "groups.json", ".hidden.pt", "image_ids.txt"):
        (tmp_path / other).write_text("one\ntwo\nthree")
    features, ids = io.read_features(tmp_path)
    names = ["a", "b", "c/one", "c/two", "d/block1/conv", "d/block1/pool", "d/top", "e", "f"]
    _same(features, {name: X if name != "f" else X[..., 0] for name in names})
    assert list(features) == names
    assert _is_mapped(features["b"])
    assert _is_mapped(features["f"])
    assert ids == ("one", "two", "three")


def test_ids_by_network(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, ids=["1", "2", "3"])
    np.savez(tmp_path / "b.npz", x=X, ids=["3", "2", "1"])
    assert io.read_features(tmp_path)[1] == {"a": ("1", "2", "3"), "b": ("3", "2", "1")}
    np.save(tmp_path / "c.npy", X)
    with pytest.raises(ValueError, match="image ids for some networks, and none for c"):
        io.read_features(tmp_path)
    np.save(tmp_path / "image_ids.npy", [1, 2, 3])
    assert io.read_features(tmp_path)[1]["c"] == ("1", "2", "3")
    groups = {"g/a": X, "g/ids": [1, 2, 3], "b": X, "ids": [4, 5, 6]}
    _write_hdf5(tmp_path / "x.h5", groups)
    assert io.read_features(tmp_path / "x.h5")[1] == {"b": ("4", "5", "6"), "g/a": ("1", "2", "3")}


def test_a_stack_is_named_by_place(tmp_path):
    np.save(tmp_path / "x.npy", X)
    features, _ = io.read_features(tmp_path / "x.npy")
    _same(features, {f"network_{i}": X[i] for i in range(3)})
    assert _is_mapped(features["network_1"])
    np.save(tmp_path / "x.npy", X[0])
    with pytest.raises(ValueError, match=r"x.npy has shape \(4, 2\)"):
        io.read_features(tmp_path / "x.npy")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn", "bool", "uint64"])
def test_safetensors_dtypes(dtype, tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    wanted = np.abs(X).astype(getattr(ml_dtypes, dtype, dtype))
    arrays = {"odd": np.ones(3, np.uint8), "a": wanted, "b": wanted[:, 0]}
    _write_safetensors(tmp_path / "x.safetensors", arrays)
    _same(io.read_features(tmp_path / "x.safetensors")[0], arrays)


def _cut(path, keep=0.6):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])


@pytest.mark.parametrize("file", [*WRITERS, "stack.npy"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.6, 0.99])
def test_truncated_files_are_named(file, keep, tmp_path):
    WRITERS.get(file, lambda path, _: np.save(path, X))(tmp_path / file, NETWORKS)
    _cut(tmp_path / file, keep)
    with pytest.raises(ValueError, match=file) as caught:
        io.read_features(tmp_path / file)
    assert "\n" not in str(caught.value)


SAFETENSORS = {
    "not JSON": b"{",
    "no object": b"[]",
    "past the end": b'{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}',
    "negative": b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[4,0]}}',
    "another size": b'{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}',
    "unknown type": b'{"a":{"dtype":"Q4","shape":[3],"data_offsets":[0,8]}}',
    "no type": b'{"a":{"shape":[3],"data_offsets":[0,8]}}',
    "twice": b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{}}',
}


@pytest.mark.parametrize("header", SAFETENSORS.values(), ids=SAFETENSORS)
def test_damaged_safetensors_are_named(header, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ValueError, match=r"x.safetensors is damaged, truncated or not of its kind"):
        io.read_features(tmp_path / "x.safetensors")


def _folder(**files):
    """A folder of files whose names and contents are given; `__` in a name stands for the dot."""

    def write(folder):
        for name, content in files.items():
            path = folder / name.replace("__", ".")
            if content is None:
                path.mkdir()
            elif isinstance(content, str):
                path.write_text(content)
            elif isinstance(content, dict) and path.suffix == ".npz":
                np.savez(path, **content)
            else:
                np.save(path, content)

    return write


IDS = np.arange(3)
BAD_FOLDERS = {
    "empty": (_folder(), "holds no features file"),
    "no features": (_folder(notes__txt="hello"), "holds no features file"),
    "unknown": (_folder(a__npy=X, b__pt="torch"), "holds b.pt, which is no features file"),
    "subfolder": (_folder(a__npy=X, deeper=None), "holds deeper, which is a subfolder"),
    "one name twice": (_folder(a__npy=X, a__npz={"a": X}), "two networks named 'a', one of them in a.npz"),
    "two sets of ids": (_folder(a__npy=X, image_ids__npy=IDS, image_ids__txt="1"), "both image_ids.npy and"),
    "both ids": (_folder(a__npz={"a": X, "ids": IDS, "image_ids": IDS}), "both 'image_ids' and 'ids'"),
    "float ids": (_folder(a__npy=X, image_ids__npy=np.ones(3)), "image_ids.npy must hold one text or whole"),
    "ids in two axes": (_folder(a__npy=X, image_ids__npy=IDS[None]), "image_ids.npy must hold one text"),
    "empty id": (_folder(a__npy=X, image_ids__txt="a\n\nb\n"), "image_ids.txt holds an empty id at place 1"),
    "only ids": (_folder(a__npz={"ids": IDS}), "holds no features"),
    "pickled dicts": (_folder(a__npy={"a": {"b": X}}), "a.npy holds a pickled dict where arrays"),
    "pickled keys": (
        _folder(a__npy={1: X}),
        "a.npy holds a pickled dict whose keys are not all network names",
    ),
    "ragged": (_folder(a__npy={"a": [[1], [1, 2]]}), "a.npy holds 'a' as lists of unequal lengths"),
}


@pytest.mark.parametrize(("write", "said"), BAD_FOLDERS.values(), ids=BAD_FOLDERS)
def test_bad_folders_are_one_sentence(write, said, tmp_path):
    write(tmp_path)
    with pytest.raises(ValueError, match=said) as caught:
        io.read_features(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_unknown_suffix(tmp_path):
    (tmp_path / "x.mat").touch()
    with pytest.raises(ValueError, match=r"x.mat has the unknown suffix '.mat' \(features are read from .npy"):
        io.read_features(tmp_path / "x.mat")
    with pytest.raises(ValueError, match=r"x.mat has the unknown suffix '.mat': matrices are read from"):
        io.read_matrix(tmp_path / "x.mat")


@needs_networks
def test_real_features_and_their_ids():
    features, ids = io.read_features(DATA / "networks92" / "features.npz")
    assert len(features) == 10
    assert {len(x) for x in features.values()} == {92}
    assert ids == tuple(f"{i:02d}" for i in range(92))


# Small files that ask for much, and files that would read others


def _npy(path, header, data=b""):
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data)
    return path


def _refused(read, path, match):
    before = tracemalloc.get_traced_memory()[1] if tracemalloc.is_tracing() else 0
    tracemalloc.start()
    with pytest.raises(ValueError, match=match):
        read(path)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak < 2**26


def test_ids_and_stacks_of_huge_empty_axes_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((4, 3)))
    _npy(tmp_path / "image_ids.npy", "{'descr':'<U1','fortran_order':False,'shape':(8000000,0)}")
    _refused(io.read_features, tmp_path, "holds no numbers, and its longest axis")
    stack = tmp_path / "s"
    stack.mkdir()
    for count in (2_000_000, 1_000_000):
        header = f"{{'descr':'<f4','fortran_order':False,'shape':({count},0,2)}}"
        _refused(io.read_features, _npy(stack / "s.npy", header), "holds no numbers")


def test_lists_that_stand_in_many_places_are_refused(tmp_path):
    lists = b"\x80\x02}X\x01\0\0\0a]K\x01aq\x00"
    for level in range(1, 26):
        lists += b"0](" + b"h" + bytes([level - 1]) + b"h" + bytes([level - 1]) + b"eq" + bytes([level])
    header = "{'descr':'|O','fortran_order':False,'shape':()}"
    _refused(io.read_features, _npy(tmp_path / "m.npy", header, lists + b"s."), "over 200 times as much")


def test_deflate_bombs_are_refused_unless_trusted(tmp_path):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, a=np.zeros((3, 30_000_000), np.uint8))
    for read in (io.read_npz, io.read_features):
        _refused(read, path, r"bomb\.npz .*over 200 times as much: give --unlimited")
    with io.unlimited():
        assert io.read_features(path)[0]["a"].shape == (3, 30_000_000)


def test_tensors_that_share_their_bytes_are_refused(tmp_path):
    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    header = json.dumps({"a": entry, "b": entry}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 16)
    _refused(io.read_features, tmp_path / "a.safetensors", "share their bytes")


def test_hdf5_files_that_read_others_or_nothing_are_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "secret").write_bytes(b"SECRET".ljust(64, b"."))
    _write_hdf5(tmp_path / "source.h5", {"s": np.full((4, 4), 7.5, "f4")})
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("a", (4, 16), "u1", external=[(str(tmp_path / "secret"), 0, 64)])
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((4, 4), "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "source.h5"), "s", (4, 4))
        file.create_virtual_dataset("a", layout)
    with h5py.File(tmp_path / "unwritten.h5", "w") as file:
        file.create_dataset("a", (10**6, 10**3), "f4", chunks=(100, 100))
    for name, match in {"external": "other files", "virtual": "other files", "unwritten": "over 200 times"}.items():
        _refused(io.read_features, tmp_path / f"{name}.h5", match)


def test_many_texts_that_hdf5_holds_once_are_refused(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    monkeypatch.setattr(io.limits, "FLOOR", 10_000)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = np.ones((3, 2))
        file["ids"] = ["cat", "dog", "x" * 9_000]
    assert io.read_features(tmp_path / "a.h5")[1] == ("cat", "dog", "x" * 9_000)
