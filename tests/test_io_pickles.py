"""Unpickling: what is allowed comes back as it was, and what is not is refused before it runs."""

import io as streams
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from jaxsim import io

ARRAYS = {
    "float": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "transposed": np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2),
    "strided": np.arange(10, dtype=np.int16)[::2],
    "big_endian": np.array([1, 256, -5], dtype=">i4"),
    "text": np.array(["dög", "cat"]),
    "bytes": np.array([b"ab", b"c"]),
    "complex": np.array([1j]),
    "half": np.ones(3, np.float16),
    "bool": np.array([True, False]),
    "scalar": np.array(2.0),
    "empty": np.zeros((0, 3)),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ARRAYS)
def test_pickled_arrays_come_back(name, protocol):
    value = {
        "a": [ARRAYS[name], (ARRAYS[name], {1, 2.0, "x"})],
        "b": np.array({"c": ARRAYS[name]}, dtype=object),
    }
    got = io.load_pickle(streams.BytesIO(pickle.dumps(value, protocol=protocol)))
    for array in (got["a"][0], got["a"][1][0], got["b"].item()["c"]):
        assert type(array) is np.ndarray
        assert array.dtype.newbyteorder("=") == ARRAYS[name].dtype.newbyteorder("=")
        np.testing.assert_array_equal(array, ARRAYS[name])
    assert got["a"][1][1] == {1, 2.0, "x"}


@pytest.mark.parametrize("value", [np.float64(0.1), np.float32(2), np.int8(-3), np.bool_(True), np.str_("ab"), 1j])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_scalars_come_back(value, protocol):
    got = io.load_pickle(streams.BytesIO(pickle.dumps([value, {"k": value}], protocol=protocol)))
    assert got == [value, {"k": value}]
    assert type(got[0]) is type(value)


def test_python_2_pickle_of_numpy_1():
    state = b"(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
    number = struct.pack("<d", 0.25).decode("latin1").encode("unicode_escape")
    text = b"(dS'a__b'\ncnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n" + state + b"S'" + number + b"'\ntRs."
    assert io.load_pickle(streams.BytesIO(text)) == {"a__b": 0.25}


def test_shared_and_cyclic_containers():
    loop: list = [np.ones(2)]
    loop.append(loop)
    got = io.load_pickle(streams.BytesIO(pickle.dumps(loop)))
    assert got[1] is got
    deep = [np.ones(1)]
    for _ in range(60):  # 2^60 paths, 60 objects
        deep = [deep, deep]
    assert len(io.load_pickle(streams.BytesIO(pickle.dumps(deep)))) == 2


class Evil:
    """Pickles to a call of `function`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def _dtype(text: bytes, tail: bytes) -> bytes:
    return b"cnumpy\ndtype\n(V" + text + b"\nI0\nI1\ntR(" + tail + b"tb"


F8 = _dtype(b"f8", b"I3\nV<\nNNNI-1\nI-1\nI0\n")
O8 = _dtype(b"O8", b"I3\nV|\nNNNI-1\nI-1\nI63\n")
NEW = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"
CRAFTED = {
    "os.system": (b"cos\nsystem\n(Vtouch ran\ntR.", "os.system"),
    "posix.system": (b"cposix\nsystem\n(Vtouch ran\ntR.", "posix.system"),
    "eval": (b"c__builtin__\neval\n(Vopen('ran','w')\ntR.", "__builtin__.eval"),
    "getattr": (b"cbuiltins\ngetattr\n(Va\nVb\ntR.", "builtins.getattr"),
    "inst": (b"(Vtouch ran\nios\nsystem\n.", "os.system"),
    "numpy.load": (b"cnumpy\nload\n(Vx\ntR.", "numpy.load"),
    "dotted": (b"\x80\x04\x8c\x05numpy\x8c\x0ecore.os.system\x93.", "numpy.core.os.system"),
    "runstring": (b"cnumpy.testing._private.utils\nrunstring\n.", "runstring"),
    "persistent": (b"Pelsewhere\n.", "outside the file"),
    "extension code": (b"\x80\x02\x82\x01.", ""),
    "state of a function": (b"cnumpy\ndtype\n}V__call__\nI1\nsb.", "state of a function"),
    "attribute of a function": (b"cnumpy\ndtype\nN}V_function\nI1\ns\x86b.", "state of a function"),
    "attribute of a type": (b"cbuiltins\nset\nN}Vadd\nI1\ns\x86b.", ""),
    "structured dtype": (_dtype(b"V8", b"I3\nV|\nNNNI8\nI1\nI0\n") + b".", "plain"),
    "fields on a plain dtype": (_dtype(b"f8", b"I3\nV<\nN(Va\nt}I8\nI1\nI0\n") + b".", "structured"),
    "bare dtype": (F8 + b".", "a dtype or function on its own"),
    "objects from bytes": (NEW + b"(I1\n(I1\nt" + O8 + b"I00\nVAAAAAAAA\ntb.", "object array"),
    "too few objects": (NEW + b"(I1\n(I2\nt" + O8 + b"I00\n(Nltb.", "the number of objects"),
    "bytes short of the shape": (NEW + b"(I1\n(I99\nt" + F8 + b"I00\nVAAAAAAAA\ntb.", "the number of bytes"),
    "negative shape": (NEW + b"(I1\n(I-1\nt" + F8 + b"I00\nVAAAAAAAA\ntb.", "not a shape"),
    "object scalar": (b"cnumpy.core.multiarray\nscalar\n(" + O8 + b"VAAAAAAAA\ntR.", "not a number"),
    "object buffer": (
        b"cnumpy._core.numeric\n_frombuffer\n(VAAAAAAAA\n" + O8 + b"(I1\ntVC\ntR.",
        "hold objects",
    ),
    "other encoding": (b"c_codecs\nencode\n(Va\nVrot13\ntR.", "encodes"),
    "memory": (b"cbuiltins\nbytearray\n(L4611686018427387904L\ntR.", ""),
    "truncated": (pickle.dumps({"a": np.ones(3)})[:-20], ""),
    "empty": (b"", ""),
    "text": (b"not a pickle", ""),
}


@pytest.mark.parametrize("wrapped", ["pickle", "npy", "npz"])
@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_pickles_are_refused_and_do_not_run(name, wrapped, tmp_path, monkeypatch):
    payload, said = CRAFTED[name]
    monkeypatch.chdir(tmp_path)
    header = streams.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    file = tmp_path / f"x.{wrapped.replace('pickle', 'pkl')}"
    if wrapped == "npz":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("x.npy", header.getvalue() + payload)
    else:
        file.write_bytes((header.getvalue() if wrapped == "npy" else b"") + payload)
    with pytest.raises(ValueError, match="x.*not unpickled") as caught:
        io.load_pickle(file) if wrapped == "pickle" else io.read_features(file)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [f.name for f in tmp_path.iterdir()] == [file.name]
    assert io.load_pickle(streams.BytesIO(pickle.dumps({np.float64(1)}))) == {1.0}  # nothing was poisoned


def test_evil_inside_an_object_array_is_refused(tmp_path):
    evil = np.array({"a": np.ones((3, 2)), "b": Evil(os.mkdir, str(tmp_path / "ran"))}, dtype=object)
    np.save(tmp_path / "x.npy", evil)
    np.savez(tmp_path / "x.npz", x=evil)
    np.savez_compressed(tmp_path / "y.npz", x=evil)
    for file in ("x.npy", "x.npz", "y.npz"):
        with pytest.raises(ValueError, match=rf"{file}.*mkdir"):
            io.read_features(tmp_path / file)
    with pytest.raises(ValueError, match=r"x.npz contains a pickle"):
        io.read_npz(tmp_path / "x.npz")
    assert not (tmp_path / "ran").exists()


def _nested_keys():
    """A tuple of 2^30 paths as a key: hashing it takes hours."""
    text = b"\x80\x02}q\x00)q\x01"
    for level in range(2, 32):
        text += b"0h" + bytes([level - 1]) + b"h" + bytes([level - 1]) + b"\x86q" + bytes([level])
    return text + b"0h\x00h" + bytes([31]) + b"K\x01s."


def _copied_lists():
    """A list copied 20,000 times by calls of three bytes."""
    items = b"\x80\x02cbuiltins\nlist\nq\x00](" + b"K\x01" * 20_000 + b"e\x85q\x01]"
    return items + b"h\x00h\x01Ra" * 20_000 + b"."


GREEDY = {
    "a length beyond the file": b"\x80\x05\x96" + struct.pack("<Q", 1 << 30) + b"a.",
    "a frame beyond the file": b"\x80\x05\x95" + struct.pack("<Q", 1 << 40) + b"N.",
    "bytes beyond the file": b"\x80\x05\x8e" + struct.pack("<Q", 1 << 34) + b"a.",
    "a huge number": b"\x80\x02}X\x04\0\0\0a__b\x8b" + struct.pack("<i", 500) + b"\x7f" * 500 + b"s.",
    "keys that are nested tuples": _nested_keys(),
    "members that are tuples": b"\x80\x04\x8f()\x90.",
    "a list copied by many calls": _copied_lists(),
}


@pytest.mark.parametrize("text", GREEDY.values(), ids=GREEDY)
def test_work_is_bounded_by_the_size(text, tmp_path):
    (tmp_path / "x.pkl").write_bytes(text)
    tracemalloc.start()
    for read in (io.load_pickle, io.read_matrix):
        with pytest.raises(ValueError, match=r"x\.pkl was not unpickled"):
            read(tmp_path / "x.pkl")
    assert tracemalloc.get_traced_memory()[1] < 2**27
    tracemalloc.stop()
