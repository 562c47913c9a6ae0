"""Features and matrices in: names, image ids, memory maps, and one sentence where something is wrong."""

import json
import struct
import tracemalloc

import numpy as np
import pytest
from machine import DATA
from scipy import io as scipy_io

from jaxsim import io
from jaxsim.io import jobs

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
    with pytest.warns(UserWarning, match="has its own image ids, so those of the file next to it"):
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
    few = pytest.warns(UserWarning, match="9 networks of 3 images")
    with pytest.warns(UserWarning, match="README.md, groups.json not read as features"), few:
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
    with pytest.raises(ValueError, match="image ids for some networks but not for c"):
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
    assert list(io.read_features(tmp_path / "x.npy", stack=False)[0]) == ["x"]
    np.save(tmp_path / "x.npy", X[0])
    _same(io.read_features(tmp_path / "x.npy")[0], {"x": X[0]})
    with pytest.raises(ValueError, match=r"x.npy has shape \(4, 2\), which is not a stack"):
        io.read_features(tmp_path / "x.npy", stack=True)


@pytest.mark.parametrize("shape", [(50, 7, 7, 16), (8, 20, 14, 14), (12, 5, 3)])
def test_one_array_that_may_be_one_network_is_doubted(shape, tmp_path):
    np.save(tmp_path / "conv.npy", np.zeros(shape))
    with pytest.warns(UserWarning, match=f"read as {shape[0]} networks of {shape[1]} images; if .* pass stack=False"):
        io.read_features(tmp_path / "conv.npy")
    for stack, count in ((True, shape[0]), (False, 1)):
        assert len(io.read_features(tmp_path / "conv.npy", stack=stack)[0]) == count


def test_sizes_are_said_in_words():
    say = io.describe_shapes
    assert say({k: np.zeros((120, 40)) for k in "abcd"}) == "4 networks x 120 images x 40 features"
    assert say({"a": np.zeros((5, 2))}) == "1 network x 5 images x 2 features"
    assert say({"a": np.zeros((5, 2)), "b": np.zeros((6, 2, 3))}) == "2 networks x 5 to 6 images x 2 to 3 axes"


def test_entries_that_are_fewer_images_than_networks_are_doubted(tmp_path):
    np.savez(tmp_path / "x.npz", **{f"image{k}": X[0] for k in range(9)})
    with pytest.warns(UserWarning, match="read as 9 networks of 4 images.*per_image=True"):
        io.read_features(tmp_path / "x.npz")


def test_weights_are_doubted(tmp_path):
    shapes = {"w": (2, 3), "b": (2,), "c": (4, 2, 3, 3)}
    np.savez(tmp_path / "x.npz", **{name: np.ones(shape) for name, shape in shapes.items()})
    with pytest.warns(
        UserWarning,
        match="3 networks of 2 images.*; if these are weights of a network, use them to extract features of pictures",
    ):
        io.read_features(tmp_path / "x.npz")


def test_several_files_and_folders(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "conv.npy", X)
    np.savez(tmp_path / "both.npz", a=X, b=X)
    paths = [tmp_path / "one" / "conv.npy", tmp_path / "two" / "conv.npy", tmp_path / "both.npz"]
    features, ids = io.read_features([*paths[:2]])
    _same(features, {"one/conv": X, "two/conv": X})
    assert ids is None
    with pytest.warns(UserWarning, match="4 networks of 3 images"):
        assert [*io.read_features([tmp_path / "one", *paths[1:]])[0]] == ["one", "conv", "both/a", "both/b"]
    (tmp_path / "one" / "image_ids.txt").write_text("a\nb\nc\n")
    with pytest.raises(ValueError, match="together has image ids for some networks but not for two"):
        io.read_features(paths[:2])
    with pytest.raises(ValueError, match=r"both.npz is given twice"):
        io.read_features([paths[2], paths[2]])
    with pytest.raises(ValueError, match="no file or folder"):
        io.read_features([])


TABLE = np.array([[1.5, 2.0, -3.0], [4.0, 5.25, 6e-3]])
TABLES = {
    "plain.csv": ("1.5,2,-3\n4,5.25,6e-3\n", None),
    "header.csv": ("x,y,z\n1.5,2,-3\n4,5.25,6e-3\n", None),
    "counted.csv": ("0,1,2\n1.5,2,-3\n4,5.25,6e-3\n", None),
    "pandas.csv": (",0,1,2\n0,1.5,2,-3\n1,4,5.25,6e-3\n", ("0", "1")),
    "ids.csv": ("cat_1,1.5,2,-3\n2_1,4,5.25,6e-3\n", ("cat_1", "2_1")),
    "quoted.csv": ('image,"x,1",y,z\n"a,b",1.5,2,-3\nc,4,5.25,6e-3\n', ("a,b", "c")),
    "tabs.tsv": ("id\tx\ty\tz\n7\t1.5\t2\t-3\n8\t4\t5.25\t6e-3\n", ("7", "8")),
    "semicolons.csv": ("\ufeffname;x;y;z\r\na;1.5;2;-3\r\nb;4;5.25;6e-3\r\n", ("a", "b")),
    "comma.csv": ("1,5;2;-3\n4;5,25;0,006\n", None),
    "spaces.txt": ("# x y z\n 1.5  2 -3\n4 5.25   6e-3\n", None),
    "named.txt": ("image x y z\na_1 1.5 2 -3\nb 4 5.25 6e-3\n", ("a_1", "b")),
    "short.txt": ('"x" "y" "z"\n"a b" 1,5 2 -3\n"c" 4 5,25 6e-3\n', ("a b", "c")),
    "commas.txt": ("a, 1.5, 2, -3\nb, 4, 5.25, 6e-3\n", ("a", "b")),
}


@pytest.mark.parametrize("file", TABLES)
def test_tables_of_one_network(file, tmp_path):
    text, wanted = TABLES[file]
    (tmp_path / file).write_text(text, encoding="utf-8", newline="")
    features, ids = io.read_features(tmp_path / file)
    _same(features, {file.split(".")[0]: TABLE})
    assert ids == wanted
    assert [*io.read_features(tmp_path)[0]] == [file.split(".")[0]]
    np.save(tmp_path / "x.npy", TABLE)
    with pytest.warns(UserWarning, match=f"{file} not read as features; to read them, give these files by name"):
        assert [*io.read_features(tmp_path)[0]] == ["x"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2\n3,x\n", "'x' instead of a number in row 2, column '2'"),
        ("1,2\n3\n", "1 cells in row 2 and 2 in its first"),
        ("1,5;2\n3.5;4\n", "'1,5' and '3.5'; write all decimals with points"),
        ("x,y\n", "no rows of numbers"),
        ("", "no rows of numbers"),
    ],
)
def test_bad_tables_are_one_sentence(text, said, tmp_path):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"x.csv h.*{said}"):
        io.read_features(tmp_path / "x.csv")


def test_a_first_column_that_counts_the_rows_is_doubted(tmp_path):
    (tmp_path / "x.csv").write_text("1,5\n2,7\n3,5\n")
    with pytest.warns(UserWarning, match="first column only counts the rows"):
        assert io.read_features(tmp_path / "x.csv")[0]["x"].shape == (3, 2)


def test_whole_numbers_that_float64_does_not_hold_are_told(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n9007199254740993,1\n+9007199254740993.0,-9007199254740992\n1e300,inf\n")
    with pytest.warns(UserWarning, match=r"x.csv has 2 whole .* beyond 2\^53 .*: 9007199254740993 is read as .*92;"):
        io.read_features(tmp_path / "x.csv")
    (tmp_path / "m.csv").write_text(",a,b\na,9007199254740993,1\nb,1,2\n")
    with pytest.warns(UserWarning, match=r"m.csv has 1 whole number beyond"):
        io.read_matrix(tmp_path / "m.csv")


def test_folders_of_thingsvision(tmp_path):
    """A folder a model and module, each with features.npy and file_names.txt."""
    for place in ("alexnet/avgpool", "vgg16/avgpool"):
        (tmp_path / place).mkdir(parents=True)
        np.save(tmp_path / place / "features.npy", X)
        (tmp_path / place / "file_names.txt").write_text("cat.jpg\ndog.jpg\ncow.jpg\n")
    features, ids = io.read_features(sorted(tmp_path.glob("*/*")))
    _same(features, {"alexnet/avgpool": X, "vgg16/avgpool": X})
    assert ids == ("cat.jpg", "dog.jpg", "cow.jpg")
    (tmp_path / "vgg16" / "avgpool" / "image_ids.txt").write_text("a\nb\nc\n")
    with pytest.raises(ValueError, match="has both image_ids.txt and file_names.txt; keep only one"):
        io.read_features(tmp_path / "vgg16" / "avgpool")


def test_folders_of_net2brain(tmp_path):
    """A folder a model: a file an image of all layers, or consolidated, a file a layer of all images."""
    images = ["b.jpg", "a.jpg", "c.jpg"]
    apart, layers = tmp_path / "apart" / "AlexNet", tmp_path / "layers" / "AlexNet"
    apart.mkdir(parents=True)
    layers.mkdir(parents=True)
    fc = X.reshape(len(X), -1)
    for k, name in enumerate(images):
        np.savez_compressed(apart / f"{name}.npz", **{"layer1.conv": X[k : k + 1], "fc": fc[k : k + 1]})
    for layer, x in {"layer1.conv": X, "fc": fc}.items():
        np.savez_compressed(layers / f"consolidated_{layer}.npz", **{n: x[k : k + 1] for k, n in enumerate(images)})
    order = [1, 0, 2]
    for kind in ("apart", "layers"):
        features, ids = io.read_features(tmp_path / kind, per_image=True)
        _same(features, {"AlexNet/layer1.conv": X[order], "AlexNet/fc": fc[order]})
        assert ids == ("a.jpg", "b.jpg", "c.jpg")
    assert set(io.read_features(layers, per_image=True)[0]) == {"layer1.conv", "fc"}
    np.savez(layers / "consolidated_odd.npz", **{"a.jpg": np.ones((1, 3)), "image_ids": np.array(["a", "b"])})
    with pytest.raises(ValueError, match="odd.npz contains image ids; here the names of entries or files are the ids"):
        io.read_features(layers, per_image=True)
    np.savez(layers / "consolidated_odd.npz", **{"a.jpg": np.ones((1, 3)), "b.jpg": np.ones((1, 4))})
    with pytest.raises(ValueError, match=r"odd.npz, a.jpg and .*odd.npz, b.jpg have arrays of shapes \(1, 3\) and"):
        io.read_features(layers, per_image=True)
    (layers / "consolidated_odd.npz").rename(layers / "d.jpg.npz")
    with pytest.raises(ValueError, match="files of one layer and files of one image; keep only one kind"):
        io.read_features(layers, per_image=True)


@pytest.mark.parametrize(
    ("suffixes", "words"), [(("npy",), "an array without a name"), (("npz", "npy"), "two files"), ((), "no arrays")]
)
def test_layers_without_ids_or_in_two_files_are_refused(tmp_path, suffixes, words):
    np.savez(tmp_path / "consolidated_fc.npz", **{"a.jpg": X[0]} if suffixes else {})
    if "npy" in suffixes:
        np.save(tmp_path / "consolidated_fc.npy", X)
    if suffixes == ("npy",):
        (tmp_path / "consolidated_fc.npz").unlink()
    with pytest.raises(ValueError, match=words):
        io.read_features(tmp_path, per_image=True)


def test_a_file_per_image(tmp_path):
    for k in range(3):
        for layer in ("conv", "top"):
            (tmp_path / "npy" / layer).mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / "npy" / layer / f"im{k}.npy", X[k][None])
        (tmp_path / "npz").mkdir(exist_ok=True)
        np.savez(tmp_path / "npz" / f"im{k}.npz", conv=X[k][None], top=X[k])
    for folder in ("npy", "npz"):
        features, ids = io.read_features(tmp_path / folder, per_image=True)
        _same(features, {"conv": X, "top": X})
        assert ids == ("im0", "im1", "im2")
    _same(io.read_features(tmp_path / "npy" / "conv", per_image=True)[0], {"conv": X})
    with pytest.raises(ValueError, match="conv, which is a subfolder.* in a list, or pass per_image=True"):
        io.read_features(tmp_path / "npy")
    np.savez(tmp_path / "npz" / "im3.npz", conv=X[0])
    with pytest.raises(ValueError, match=r"im0.npz and .*im3.npz differ: only one of them has 'top'"):
        io.read_features(tmp_path / "npz", per_image=True)
    np.savez(tmp_path / "npz" / "im3.npz", conv=X, top=X)
    with pytest.raises(ValueError, match=r"im3.npz have arrays of shapes \(1, 4, 2\) and \(3, 4, 2\)"):
        io.read_features(tmp_path / "npz", per_image=True)


@pytest.mark.parametrize("suffix", ["h5", "hdf5", "mat"])
@pytest.mark.parametrize("chunks", [None, True])
def test_axes_that_matlab_reversed_are_turned_back(suffix, chunks, tmp_path):
    h5py = pytest.importorskip("h5py")
    arrays = {"conv": X, "g/flat": X[..., 0], "image_ids": np.array([[7.0, 8.0, 9.0]])}
    path = tmp_path / f"x.{suffix}"
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values.T, chunks=chunks).attrs["MATLAB_class"] = np.bytes_("double")
        file["own"] = X
    features, ids = io.read_features(path)
    _same(features, {"conv": X, "g/flat": X[..., 0], "own": X})
    assert ids == ("7", "8", "9")


def test_links_of_hdf5_and_ids_that_are_not_used_are_named(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"], file["ids"], file["g/b"] = X, np.arange(3), X
        file["soft"], file["g/away"] = h5py.SoftLink("/a"), h5py.ExternalLink("other.h5", "/a")
    (tmp_path / "image_ids.txt").write_text("x\ny\nz\n")
    links, ids = (
        "x.h5: soft, g/away left out, because links",
        "x.h5 has its own image ids, so those of the file next to it",
    )
    with pytest.warns(UserWarning, match=links), pytest.warns(UserWarning, match=ids):
        features, own = io.read_features(tmp_path / "x.h5")
    _same(features, {"a": X, "g/b": X})
    assert own == ("0", "1", "2")


def test_text_of_matlab(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"] = X
        cells = []
        for k, text in enumerate(("cat", "lion", "ox")):
            file[f"#refs#/{k}"] = np.array([[ord(c)] for c in text], np.uint16)
            file[f"#refs#/{k}"].attrs["MATLAB_class"] = np.bytes_("char")
            cells.append(file[f"#refs#/{k}"].ref)
        file.create_dataset("ids", data=np.array([cells], object), dtype=h5py.ref_dtype)
        file["ids"].attrs["MATLAB_class"] = np.bytes_("cell")
    features, ids = io.read_features(tmp_path / "x.h5")
    _same(features, {"a": X})
    assert ids == ("cat", "lion", "ox")
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file["#refs#/1"].attrs["MATLAB_class"] = np.bytes_("double")
    with pytest.raises(ValueError, match="cell array 'ids' contains more than text"):
        io.read_features(tmp_path / "x.h5")


@pytest.mark.parametrize("suffix", ["v5.mat", "v73.mat"])
def test_cells_and_structs_of_matlab(suffix, tmp_path):
    a, b = X[:, 0], X[:, 1, :1]
    cell, table, structs = {"c/0": a, "c/1": b}, {"t/cat": a, "t/dog": b}, {"s/cat/x": a, "s/dog/x": b}
    rdms = {"r/one": a[:, :2], "r/two": b[:, :1] * np.ones((3, 2))}
    path = tmp_path / suffix
    (_write_older if suffix == "v5.mat" else _write_newer)(path, a, b, [*rdms.values()])
    note, few = f"{suffix}: note left out, because they are text", "8 networks of 3 images"
    with pytest.warns(UserWarning, match=note), pytest.warns(UserWarning, match=few):
        features, ids = io.read_features(path)
    _same(features, cell | table | structs | rdms)
    assert ids == ("x", "yy", "z")


def _write_older(path, a, b, rdms):
    def column(*cells):
        found = np.empty((len(cells) // 2, 2) if isinstance(cells[0], str) else (len(cells), 1), object)
        for k, x in enumerate(cells):
            found[np.unravel_index(k, found.shape)] = x
        return found

    structs = np.array([("cat", a), ("dog", b)], [("name", object), ("x", object)])
    maps = np.array([(rdms[0], "one"), (rdms[1], "two")], [(n, object) for n in ("RDM", "name")])
    held = {"c": column(a, b), "t": column("cat", a, "dog", b), "s": structs, "r": maps, "note": "made by hand"}
    pytest.importorskip("scipy.io").savemat(path, held | {"ids": np.array(["x", "yy", "z"])})


def _write_newer(path, a, b, rdms):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:

        def put(place, values, kind="double"):
            if kind == "char":
                values = np.array([[ord(c) for c in text] for text in np.atleast_1d(values)], np.uint16)
            file.create_dataset(place, data=values.T).attrs["MATLAB_class"] = np.bytes_(kind)
            return file[place]

        def refer(place, rows, kind=None):
            items = [[put(f"#refs#/{place}{i}{j}", x, "char" if isinstance(x, str) else "double") for j, x in row]
                     for i, row in enumerate(map(enumerate, rows))]  # fmt: skip
            refs = np.array([[item.ref for item in row] for row in items], h5py.ref_dtype)
            made = file.create_dataset(place, data=refs.T)
            if kind:
                made.attrs["MATLAB_class"] = np.bytes_(kind)

        refer("c", [[a], [b]], "cell")
        refer("t", [["cat", a], ["dog", b]], "cell")
        for struct, fields in {
            "s": {"x": (a, b), "name": ("cat", "dog")},
            "r": {"RDM": rdms, "name": ("one", "two")},
        }.items():
            file.create_group(struct).attrs["MATLAB_class"] = np.bytes_("struct")
            for field, values in fields.items():
                refer(f"{struct}/{field}", [[x] for x in values])
        put("note", "made by hand", "char")
        put("ids", ["x ", "yy", "z "], "char")


def test_objects_of_matlab_are_refused_by_name(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.mat", "w", userblock_size=512) as file:
        file.create_dataset("T", data=np.ones((1, 6), np.uint32)).attrs["MATLAB_class"] = np.bytes_("table")
    with pytest.raises(ValueError, match="variable 'T' is a MATLAB table; store its numbers as an array"):
        io.read_features(tmp_path / "x.mat")


def _saved(tmp_path, values):
    torch = pytest.importorskip("torch")
    torch.save(values(torch), tmp_path / "x.pt")
    return io.read_features(tmp_path / "x.pt")


def test_tensors_of_pytorch(tmp_path):
    features, ids = _saved(tmp_path, lambda torch: {"a": torch.tensor(X), "g": {"b": torch.tensor(X[0]).bfloat16()}})
    assert features["g/b"].dtype.name == "bfloat16"
    _same(features, {"a": X, "g/b": X[0].astype(features["g/b"].dtype)})
    assert ids is None
    features, _ = _saved(tmp_path, lambda torch: [torch.tensor(X, requires_grad=True), torch.tensor(X[0]).T])
    _same(features, {"network_0": X, "network_1": X[0].T})
    _same(_saved(tmp_path, lambda torch: torch.tensor(X[0]))[0], {"x": X[0]})
    _same(_saved(tmp_path, lambda torch: torch.tensor(X[:2]))[0], {"network_0": X[0], "network_1": X[1]})
    _same(io.read_features(tmp_path / "x.pt", stack=False)[0], {"x": X[:2]})


def test_what_stands_beside_arrays_is_named(tmp_path):
    def values(torch):
        beside = {"labels": torch.arange(3), "epoch": 3, "args": {"lr": 0.1}, "classes": ["a", "b"], "ids": [*"abc"]}
        return {"a": torch.tensor(X)} | beside

    with pytest.warns(
        UserWarning, match=r"x.pt: labels, epoch, args/lr, classes left out, because they are text, labels or"
    ):
        features, ids = _saved(tmp_path, values)
    _same(features, {"a": X})
    assert ids == ("a", "b", "c")
    np.savez(tmp_path / "x.npz", a=X, labels=np.arange(3), classes=np.array(["a", "b"]))
    with pytest.warns(UserWarning, match=r"x.npz: labels, classes left out"):
        _same(io.read_features(tmp_path / "x.npz")[0], {"a": X})


def test_files_of_pytorch_that_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"x.pt contains .*_reconstruct besides tensors.* load it with torch.load"):
        _saved(tmp_path, lambda torch: {"a": X})
    with pytest.raises(ValueError, match=r"'a' takes .* MB of memory"):
        _saved(tmp_path, lambda torch: {"a": torch.zeros(1).expand(2**26)})
    shared = {}
    with pytest.raises(ValueError, match="the same list or dict in two places; the second is 'b'"):
        _saved(tmp_path, lambda torch: {"a": shared, "b": shared})


def test_older_files_of_matlab(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    fields = [("RDM", object), ("name", object), ("color", object)]
    structs = np.array([(X[0], "first", [0, 0, 1]), (X[1], "second", [1, 0, 0])], fields)
    held = {"a": X, "s": {"b": X}, "RDMs": structs, "ids": np.array(["x", "yy", "z"], object)}
    scipy_io.savemat(tmp_path / "x.mat", held)
    few, rest = "4 networks of 3 images", "only the field RDM of the MATLAB struct 'RDMs' is read; left out: color"
    with pytest.warns(UserWarning, match=few), pytest.warns(UserWarning, match=rest):
        features, ids = io.read_features(tmp_path / "x.mat")
    _same(features, {"a": X, "s/b": X, "RDMs/first": X[0], "RDMs/second": X[1]})
    assert ids == ("x", "yy", "z")
    structs["name"] = "same"
    scipy_io.savemat(tmp_path / "y.mat", {"RDMs": structs})
    same = pytest.raises(ValueError, match="two elements of an array of structs have the same name")
    with same, pytest.warns(UserWarning, match=rest):
        io.read_features(tmp_path / "y.mat")
    _cut(tmp_path / "x.mat", 0.6)
    with pytest.raises(ValueError, match=r"x.mat is damaged"):
        io.read_features(tmp_path / "x.mat")


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (145, 8, "of type 0"),
        (176, 99, "an element of type"),
        (156, 12, "of type"),
        (126, 0, "byte order"),
    ],
)
def test_files_of_matlab_that_would_crash_scipy_are_refused(tmp_path, place, value, said):
    """SciPy looks up types of numbers outside its table: complex without a second part, an unknown type, odd sizes."""
    pytest.importorskip("scipy.io").savemat(tmp_path / "x.mat", {"a": X[0], "b": X[0]})
    data = bytearray((tmp_path / "x.mat").read_bytes())
    data[place] = value
    (tmp_path / "x.mat").write_bytes(data)
    with pytest.raises(ValueError, match=rf"x.mat is damaged, .*{said}"):
        io.read_features(tmp_path / "x.mat")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn", "bool", "uint64"])
def test_safetensors_dtypes(dtype, tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    wanted = np.abs(X).astype(getattr(ml_dtypes, dtype, dtype))
    arrays = {"odd": np.ones((3, 1), np.uint8), "a": wanted, "b": wanted[:, 0]}
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
    with pytest.raises(ValueError, match=r"x.safetensors is damaged, truncated or of another format"):
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
    "empty": (_folder(), "contains no files of features"),
    "no features": (_folder(notes__md="hello"), "contains no files of features"),
    "unknown": (_folder(a__npy=X, b__bin="torch"), "contains b.bin, which is not a file of features"),
    "picture": (
        _folder(a__jpg="x"),
        "a.jpg, which is not a file of features .*; extract features of pictures with `jaxsim features`",
    ),
    "subfolder": (_folder(a__npy=X, deeper=None), "contains deeper, which is a subfolder"),
    "one name twice": (_folder(a__npy=X, a__npz={"a": X}), "two networks named 'a', one of them in a.npz"),
    "two sets of ids": (_folder(a__npy=X, image_ids__npy=IDS, image_ids__txt="1"), "both image_ids.npy and"),
    "both ids": (_folder(a__npz={"a": X, "ids": IDS, "image_ids": IDS}), "both 'image_ids' and 'ids'"),
    "float ids": (
        _folder(a__npy=X, image_ids__npy=np.ones(3)),
        "image_ids.npy must be one-dimensional, with one text or whole",
    ),
    "ids in two axes": (
        _folder(a__npy=X, image_ids__npy=IDS[None]),
        "image_ids.npy must be one-dimensional, with one text",
    ),
    "empty id": (
        _folder(a__npy=X, image_ids__txt="a\n\nb\n"),
        "image_ids.txt is empty at position 1, counting from 0",
    ),
    "only ids": (_folder(a__npz={"ids": IDS}), "contains no features"),
    "pickled dicts": (_folder(a__npy={"a": {"b": X}}), "a.npy contains a pickled dict; arrays"),
    "pickled keys": (
        _folder(a__npy={1: X}),
        "a.npy contains a pickled dict whose keys are not all text",
    ),
    "ragged": (_folder(a__npy={"a": [[1], [1, 2]]}), "a.npy contains 'a' as lists of unequal lengths"),
}


@pytest.mark.parametrize(("write", "said"), BAD_FOLDERS.values(), ids=BAD_FOLDERS)
def test_bad_folders_are_one_sentence(write, said, tmp_path):
    write(tmp_path)
    with pytest.raises(ValueError, match=said) as caught:
        io.read_features(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_unknown_suffix(tmp_path):
    (tmp_path / "x.bin").touch()
    with pytest.raises(ValueError, match=r"x.bin has the unknown suffix '.bin' \(features are read from .npy"):
        io.read_features(tmp_path / "x.bin")
    with pytest.raises(ValueError, match=r"x.bin has the unknown suffix '.bin': matrices are read from"):
        io.read_matrix(tmp_path / "x.bin")


@needs_networks
def test_real_features_and_their_ids():
    features, ids = io.read_features(DATA / "networks92" / "features.npz")
    assert len(features) == 10
    assert {len(x) for x in features.values()} == {92}
    assert ids == tuple(f"{i:02d}" for i in range(92))


def test_real_maps_of_matlab():
    path = DATA / "rdm92" / "92_brainRDMs.mat"
    if not path.exists():
        pytest.skip(f"{path} is absent (set JAXSIM_DATA)")
    with pytest.warns(UserWarning, match="only the field RDM of the MATLAB struct 'RDMs' is read; left out: color"):
        maps, _ = io.read_features(path)
    assert {x.shape for x in maps.values()} == {(92, 92)}
    assert list(maps)[0] == "RDMs/hIT | BE | Session: 1"


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
    _refused(io.read_features, tmp_path, "is empty, but its longest axis")
    stack = tmp_path / "s"
    stack.mkdir()
    for count in (2_000_000, 1_000_000):
        header = f"{{'descr':'<f4','fortran_order':False,'shape':({count},0,2)}}"
        _refused(io.read_features, _npy(stack / "s.npy", header), "is empty")


def test_lists_that_stand_in_many_places_are_refused(tmp_path):
    lists = b"\x80\x02}X\x01\0\0\0a]K\x01aq\x00"
    for level in range(1, 26):
        lists += b"0](" + b"h" + bytes([level - 1]) + b"h" + bytes([level - 1]) + b"eq" + bytes([level])
    header = "{'descr':'|O','fortran_order':False,'shape':()}"
    _refused(io.read_features, _npy(tmp_path / "m.npy", header, lists + b"s."), "over 200 times its")


def test_deflate_bombs_are_refused_unless_trusted(tmp_path):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, a=np.zeros((3, 30_000_000), np.uint8))
    for read in (io.read_npz, io.read_features):
        _refused(read, path, r"bomb\.npz .*over 200 times its .* MB in the file; if you trust it, give --unlimited")
    with io.unlimited():
        assert io.read_features(path)[0]["a"].shape == (3, 30_000_000)


def test_bombs_in_files_of_matlab_and_in_chunks_of_hdf5_are_refused(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    monkeypatch.setattr(io.limits, "FLOOR", 100_000)
    scipy_io.savemat(tmp_path / "a.mat", {"a": np.zeros((90, 100_000), np.uint8)}, do_compression=True)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("a", (3, 2), "u1", chunks=(9000, 1000), maxshape=(None, None), compression="gzip")
        made[...] = 1
    for name in ("a.mat", "a.h5"):
        _refused(
            io.read_features,
            tmp_path / name,
            r"a\..* takes .*over 200 times its .* MB in the file; if you trust it, give --unlimited",
        )
        with io.unlimited():
            assert io.read_features(tmp_path / name)[0]["a"].size in (6, 9_000_000)
    scipy_io.savemat(tmp_path / "b.mat", {"a": np.ones((3, 2)), "b": np.zeros((3, 3_000))}, do_compression=True)
    assert set(io.read_features(tmp_path / "b.mat")[0]) == {"a", "b"}


def test_tensors_that_share_their_bytes_are_refused(tmp_path):
    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    header = json.dumps({"a": entry, "b": entry}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 16)
    _refused(io.read_features, tmp_path / "a.safetensors", "tensors overlap")


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


def test_warnings_of_readers_point_at_the_line_that_called(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 4)))
    (tmp_path / "notes.md").write_text("a note")
    with pytest.warns(UserWarning, match=r"notes\.md not read") as caught:
        io.read_features(tmp_path)
    assert {w.filename for w in caught} == {__file__}


def test_features_are_found_by_the_names_that_they_are_read_by(tmp_path):
    rng = np.random.default_rng(5)
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    np.save(one / "a.npy", rng.normal(size=(4, 3)))
    np.savez(one / "b.npz", x=rng.normal(size=(4, 2)), y=rng.normal(size=(4, 2, 3)))
    (one / "image_ids.txt").write_text("p\nq\nr\ns\n")
    np.savez_compressed(two / "c.npz", z=rng.normal(size=(4, 5)), ids=list("pqrs"))
    np.save(tmp_path / "stack.npy", rng.normal(size=(2, 4, 3)))
    for given in (one, [one, two / "c.npz"], tmp_path / "stack.npy", [one / "a.npy", two / "c.npz"]):
        read, ids = io.read_features(given)
        found, own = io.find_features(given)
        assert list(found) == list(read)
        assert own == (ids if isinstance(ids, dict) else {} if ids is None else dict.fromkeys(read, ids))
        for name, source in found.items():
            np.testing.assert_array_equal(source.read(), read[name])
            assert (source.shape, source.checksum) == (read[name].shape, jobs.sha256(read[name]))
    with pytest.raises(ValueError, match="is given twice"):
        io.find_features([one, one])
    np.savez(one / "b.npz", y=np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"b.npz no longer has an array 'x'"):
        io.Source(str(one / "b.npz"), "x", False, (4, 2), "").read()


def test_layers_come_in_the_order_of_their_numbers(tmp_path):
    names = [f"layer{k}" for k in (1, 2, 3, 10, 11, 20)]
    x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    arrays = {name: x + k for k, name in enumerate(names)}
    (tmp_path / "folder").mkdir()
    for name, x in reversed(arrays.items()):
        np.save(tmp_path / "folder" / f"{name}.npy", x)
    _write_safetensors(tmp_path / "x.safetensors", arrays)
    with pytest.importorskip("h5py").File(tmp_path / "x.h5", "w") as file:
        for name, x in arrays.items():
            file[f"net/{name}"] = x
    for place, start in (("folder", ""), ("x.safetensors", ""), ("x.h5", "net/")):
        found, _ = io.read_features(tmp_path / place)
        assert list(found) == [start + name for name in names], place
        assert list(io.find_features(tmp_path / place)[0]) == list(found)


def test_images_come_in_the_order_of_letters(tmp_path):
    """As lists of labels do, which go with them by place."""
    for k in (1, 2, 10):
        np.savez(tmp_path / f"image{k}.npz", a=X[0] + k, b=X[0])
    assert io.read_features(tmp_path, per_image=True)[1] == ("image1", "image10", "image2")
