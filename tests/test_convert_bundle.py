"""TensorFlow's checkpoints read without it: one it wrote, ones written here from the formats' descriptions, damage."""

import base64
import importlib.util
import struct
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("flax.nnx")

from jaxsim.io import limits
from jaxsim.vision.models.convert.leveldb import matches
from jaxsim.vision.models.convert.tensorflow_checkpoint import Bundle, bundle_prefix

INDEX = """
AAAGCAEaAggBAAUPZW1wdHkIAhIGEgASAggDNdjqgqIBGw9uY29kZXIvY29udjEvQmF0Y2hOb3JtL2JldGEIARIEEgIIAigINT0z
yPQYBRFnYW1tYQgBEgQSAggCIAgoCDUOHU8eDgced2VpZ2h0cwgBEhASAggHEgIIBxICCAESAggCIBAoiAM1kdbidAAEEmZsYWcI
ChIEEgIIAiCYAygCNV+wzoEACw5nbG9iYWxfc3RlcAgJEgAgmgMoCDUuUSbZAAQWaGFsZggTEggSAggBEgIIAyCiAygGNSfu/YMA
AAAAAQAAAABBMQtOAAAAAAEAAAAAwPKhsAABA2kA6AEAAAAAAQAAAADbC4FM7QEI+gEPAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
AAAAAAAAAAAAAFf7gIskdUfb
"""
DATA = """
AADAPwAAAMAAAAAAAACAP2y/AD5/Rge+vfIjP9/V1j2hIQm//SK5Pnnppj/mc3I//ic0v1X5ob/qjh+/bkUpPU7NFMDsCmC+A3qf
v+B1O7+PVAu/GPKhvj3B0j4UcYU/l54Dvkborj8zSiq/IfmzPtJJZz+FicA9+FU+vzL2a78KW+q+1XphPis7gb8fMla+4gsjvtt0
Cj+az1s+afO1PlBhJ79wuQS+nrJIP8Aovz8PKaG/QcjBP6VFrD8GBEg/umaHPn66oL5soLo/v+n6P/mb5j9SVag/kfq2Pi+qmr/6
85G7vg4oPwfppL9wTco+GBfcPtsvMj8tkZe/V2Upv3F0374SvJW/m6PePwPo/b61bqg+n2OEvj2vyj+XAak/ZiMiP04GDcBVHFU9
DwYvP9CBgD8oLx6/qzfpP+IDqb/nWSm/cF9vP37tSD0zJwBALQtBPgIZIr8BUMG+raqLvwaLo7+mYiE/SMcUPxq0pT/YLUG/rDTY
P3skk742hsk/G5bdvqJIPL+9x38+qAaEP7LfJD445RW/AQAUGpm+HAAAAAA8AEAAQg==
"""
WRITTEN = """
import sys, numpy as np, tensorflow as tf
tf.compat.v1.disable_eager_execution()
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    arrays = dict(np.load(sys.argv[1]))
    slots = [tf.compat.v1.get_variable(name, initializer=value) for name, value in arrays.items()]
    session.run(tf.compat.v1.global_variables_initializer())
    tf.compat.v1.train.Saver(slots).save(session, sys.argv[2], write_meta_graph=False)
reader = tf.train.load_checkpoint(sys.argv[3])
np.savez(sys.argv[4], **{name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()})
"""
"""What wrote INDEX and DATA, with TensorFlow 2.21.0 and the arrays of `expected()`; it also reads a checkpoint."""


def expected():
    return {
        "encoder/conv1/weights": np.random.default_rng(0).normal(size=(7, 7, 1, 2)).astype(np.float32),
        "encoder/conv1/BatchNorm/gamma": np.arange(2, dtype=np.float32),
        "encoder/conv1/BatchNorm/beta": np.float32([1.5, -2]),
        "global_step": np.int64(123456789012),
        "half": np.float16([[1, 2, 3]]),
        "flag": np.array([True, False]),
        "empty": np.zeros((0, 3), np.float64),
    }


def assert_same(found, arrays):
    assert sorted(found) == sorted(arrays)
    for name, values in arrays.items():
        np.testing.assert_array_equal(found[name], values)
        assert (found[name].dtype, found[name].shape) == (np.asarray(values).dtype, np.shape(values)), name


@pytest.fixture
def prefix(tmp_path):
    (tmp_path / "model.index").write_bytes(base64.b64decode(INDEX))
    (tmp_path / "model.data-00000-of-00001").write_bytes(base64.b64decode(DATA))
    return tmp_path / "model"


def test_a_checkpoint_that_tensorflow_wrote(prefix):
    assert_same(Bundle(prefix), expected())
    for ending in (".index", ".data-00000-of-00001", ".meta"):
        assert bundle_prefix(f"{prefix}{ending}") == prefix
    assert len(Bundle(f"{prefix}.index")) == 7
    assert "half" in Bundle(prefix)
    assert "other" not in Bundle(prefix)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed")
def test_tensorflow_and_this_reader_and_writer_understand_each_other(tmp_path):
    np.savez(tmp_path / "arrays.npz", **expected(), large=np.random.default_rng(1).normal(size=(300, 1000)))
    ours = write_bundle(tmp_path / "ours", expected())
    names = ("arrays.npz", "theirs", ours.name, "read.npz")
    run = [sys.executable, "-c", WRITTEN, *(str(tmp_path / name) for name in names)]
    subprocess.run(run, check=True, capture_output=True, timeout=300)
    assert_same(Bundle(tmp_path / "theirs"), dict(np.load(tmp_path / "arrays.npz")))
    assert_same(dict(np.load(tmp_path / "read.npz")), expected())


# A writer of its own, from the descriptions of LevelDB's tables and of the messages in tensor_bundle.proto.


def slow_crc32c(data):
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def masked(value):
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def message(*parts):
    """Fields (number, value): integers as varints, bytes with their length, `("fixed", n)` as four bytes."""
    out = b""
    for number, value in parts:
        if isinstance(value, bytes):
            out += varint(number << 3 | 2) + varint(len(value)) + value
        elif isinstance(value, tuple):
            out += varint(number << 3 | 5) + struct.pack("<I", value[1])
        else:
            out += varint(number << 3) + varint(value)
    return out


def block(entries, *, restart=3, compression=0):
    """A block with its trailer: keys share their beginnings, but every third is written out."""
    body, restarts, before = b"", [], b""
    for i, (key, value) in enumerate(entries):
        shared = 0
        if i % restart == 0:
            restarts.append(len(body))
        else:
            shared = next((n for n, (a, b) in enumerate(zip(before, key, strict=False)) if a != b), len(before))
        body += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    body += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts)) + bytes([compression])
    return body + struct.pack("<I", masked(slow_crc32c(body)))


def table(entries, *, per_block=4, **rest):
    out, handles = b"", []
    for start in range(0, len(entries), per_block):
        part = block(entries[start : start + per_block], **rest)
        last = entries[start : start + per_block][-1][0]
        handles.append((last, varint(len(out)) + varint(len(part) - 5)))
        out += part
    places = []
    for part in (block([]), block(handles)):
        places.append(varint(len(out)) + varint(len(part) - 5))
        out += part
    return out + b"".join(places).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


NUMBERS = {"f4": 1, "f8": 2, "i4": 3, "i8": 9, "b1": 10, "f2": 19}


def write_bundle(prefix, arrays, *, shards=1, header=(), extra=(), **rest):
    datas, entries = [b""] * shards, []
    for i, name in enumerate(sorted(arrays)):
        values, shard = np.asarray(arrays[name]), i % shards
        shape = b"".join(message((2, message((1, n)))) for n in values.shape)
        data = values.tobytes()
        places = [(3, shard), (4, len(datas[shard])), (5, len(data)), (6, ("fixed", masked(slow_crc32c(data))))]
        kind = NUMBERS[values.dtype.str[1:]]
        fields = [(1, kind), (2, shape), *(p for p in places if p[1] != 0), *extra]
        entries.append((name.encode(), message(*fields)))
        datas[shard] += data
    whole = [(b"", message((1, shards), *header)), *entries]
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(whole, **rest))
    for i, data in enumerate(datas):
        prefix.with_name(f"{prefix.name}.data-{i:05d}-of-{shards:05d}").write_bytes(data)
    return prefix


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("per_block", [1, 2, 100])
def test_a_checkpoint_written_from_the_formats_description(tmp_path, shards, per_block):
    arrays = expected() | {f"encoder/block1/unit_{u}/weights": np.full((u, 2), u, np.int32) for u in range(1, 12)}
    assert_same(Bundle(write_bundle(tmp_path / "m", arrays, shards=shards, per_block=per_block)), arrays)


def test_checksums():
    random = np.random.default_rng(0)
    for length in (0, 1, 2047, 9973):
        data = random.bytes(length)
        assert matches(data, masked(slow_crc32c(data)) & 0xFFFFFFFF)
        assert not matches(data, masked(slow_crc32c(data) ^ 1) & 0xFFFFFFFF)


def test_a_changed_byte_of_the_index_is_told_or_harmless(prefix):
    path = prefix.with_suffix(".index")
    whole, told = path.read_bytes(), 0
    for where in range(len(whole)):
        data = bytearray(whole)
        data[where] ^= 0x55
        path.write_bytes(data)
        try:
            assert_same(Bundle(prefix), expected())
        except ValueError as error:
            told += "model.index is " in str(error)
    assert told > 260  # the rest are zeros that fill the footer, and the empty block of meta data


@pytest.mark.parametrize("where", [0, 11, 423])
def test_a_changed_byte_of_the_data_is_told_with_the_tensor(prefix, where):
    path = prefix.with_suffix(".data-00000-of-00001")
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"data-00000-of-00001 is damaged: tensor '[\w/]+' differs from its checksum"):
        dict(Bundle(prefix))


def test_what_is_cut_off_missing_or_foreign(prefix, tmp_path):
    index, data = prefix.with_suffix(".index"), prefix.with_suffix(".data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(ValueError, match="tensor 'half' of shape .1, 3. does not match its number of bytes"):
        dict(Bundle(prefix))
    data.unlink()
    with pytest.raises(FileNotFoundError, match="data-00000-of-00001 does not exist, but its index names it"):
        Bundle(prefix)["half"]
    with pytest.raises(KeyError):
        Bundle(prefix)["whole"]
    index.write_bytes(index.read_bytes()[:100])
    with pytest.raises(ValueError, match="does not end in a table footer"):
        Bundle(prefix)
    index.write_bytes(b"")
    with pytest.raises(ValueError, match="does not end in a table footer"):
        Bundle(prefix)
    with pytest.raises(FileNotFoundError, match="nowhere.index does not exist"):
        Bundle(tmp_path / "nowhere")
    index.write_bytes(table([(b"key", b"value")]))
    with pytest.raises(ValueError, match="its table has no header"):
        Bundle(prefix)


def test_what_is_not_supported_is_one_sentence(tmp_path):
    arrays = {"weights": np.ones(3, np.float32)}
    with pytest.raises(ValueError, match="compressed table .snappy., which is not supported"):
        Bundle(write_bundle(tmp_path / "a", arrays, compression=1))
    with pytest.raises(ValueError, match="big-endian"):
        Bundle(write_bundle(tmp_path / "b", arrays, header=[(2, 1)]))
    with pytest.raises(ValueError, match="'weights' is stored in slices"):
        Bundle(write_bundle(tmp_path / "c", arrays, extra=[(7, b"")]))["weights"]
    with pytest.raises(ValueError, match=r"'weights' does not contain numbers \(type 7\)"):
        Bundle(write_bundle(tmp_path / "d", arrays, extra=[(1, 7)]))["weights"]


def test_an_index_that_asks_for_more_than_it_holds_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "FLOOR", 1000)
    long, part = b"x" * 2000, block([(b"", b"x" * 300)])
    place = varint(0) + varint(len(part) - 5)
    twice = part + block([(bytes([i]), place) for i in range(9)])
    end = b"".join(varint(len(part)) + varint(len(twice) - len(part) - 5) for _ in "12").ljust(40, b"\0")
    hostile = {
        "is damaged": twice + end + struct.pack("<Q", 0xDB4775248B80FB57),
        "the table of names takes": table([(long, b"")] * 1000, per_block=1000, restart=1000),
        "m.index is damaged": table([(b"", b"\x08" + b"\xff" * 11)]),
    }
    for words, content in hostile.items():
        (tmp_path / "m.index").write_bytes(content)
        with pytest.raises(ValueError, match=words):
            Bundle(tmp_path / "m")
    for shape, words in (((-1, -1), "does not match its number of bytes"), ((0, 2**40), "is empty")):
        sides = message((2, b"".join(message((2, message((1, n % 2**64)))) for n in shape)))
        data = b"\0" * 4 if 0 not in shape else b""
        fields = message((1, 1), (5, len(data)), (6, ("fixed", masked(slow_crc32c(data))))) + sides
        (tmp_path / "m.index").write_bytes(table([(b"", message((1, 1))), (b"w", fields)]))
        (tmp_path / "m.data-00000-of-00001").write_bytes(data)
        with pytest.raises(ValueError, match=words):
            Bundle(tmp_path / "m")["w"]


@pytest.mark.parametrize("entry", [b"\x08", b"\x12\x05a", b"\x0b", message((6, b"ab")), message((2, 5))])
def test_an_entry_that_is_no_message_is_refused(tmp_path, entry):
    (tmp_path / "m.index").write_bytes(table([(b"", message((1, 1))), (b"weights", entry)]))
    with pytest.raises(ValueError, match="m.index is damaged"):
        Bundle(tmp_path / "m")
