"""Random files for the readers of features, checkpoints and pictures: intact ones and ones with odd or hostile bytes.

An intact file gives back what was written. A damaged one gives arrays if its format has no checksum, or a one-sentence
error.
"""

import contextlib
import functools
import io
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import strategies as st
from PIL import Image

from benchmarks.fuzz_scores import Fault, Outcome, heard
from jaxsim.io import read_features

DTYPES = ("bool", "int8", "uint8", "int16", "int32", "int64", "uint64", "float16", "float32", "float64", ">f4", ">i4")
SHAPES = ((5, 3), (6, 2, 2), (3, 2, 2, 2), (1, 4), (4, 1))
KEYS = ("a", "b", "layer1.conv", "with space", "é", "x/y", "=1+2", "ids2", "\x1b[31m", "a" * 300)
damage = st.lists(
    st.tuples(
        st.sampled_from(["flip", "flip", "cut", "insert", "zero", "repeat", "huge", "quote"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
    ),
    max_size=4,
)


def damaged(data: bytes, steps) -> bytes:
    """Bytes after changes at places that are given as shares of the length; half of them fall into the first bytes."""
    made = bytearray(data)
    for kind, share, value in steps:
        at = int(share * len(made)) if value % 2 else int(share * min(len(made), 200))
        if kind == "flip" and made:
            made[at] ^= value or 255
        if kind == "cut":
            del made[at : at + 1 + value if value % 3 else None]
        if kind == "insert":
            made[at:at] = bytes([value]) * (1 + value % 9)
        if kind == "zero":
            made[at : at + 8] = bytes(len(made[at : at + 8]))
        if kind == "repeat":
            made[at:at] = made[at : at + 40]
        if kind == "huge":
            made[at : at + 8] = b"\xff" * len(made[at : at + 8])
        if kind == "quote":
            digits = re.search(rb"\d+", bytes(made[at:]))
            if digits:
                made[at + digits.start() : at + digits.end()] = b"9" * (1 + value % 25)
    return bytes(made)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder in memory where there is one; thousands are made."""
    place = tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    try:
        yield Path(place)
    finally:
        shutil.rmtree(place)


def numbers(rng: np.random.Generator, shape, dtype: str) -> np.ndarray:
    """Numbers of a type, NaN and infinity among the floats."""
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    if kind.kind in "biu":
        return rng.integers(0, 2 if kind.kind == "b" else 100, shape).astype(kind)
    with np.errstate(over="ignore"):
        x = (rng.normal(size=shape) * 10.0 ** rng.integers(-30, 31)).astype(kind)
    x.flat[: rng.integers(0, 3)] = rng.choice([np.nan, np.inf, -np.inf])
    return x


def arrays_of(sample) -> dict[str, np.ndarray]:
    """Arrays by key."""
    rng = np.random.default_rng(sample["seed"])
    keys = sample["keys"]
    return {key: numbers(rng, sample["shape"], dtype) for key, dtype in zip(keys, sample["dtypes"], strict=False)}


# Writers: the bytes of a file, and what it should be read as (None: whatever it is).
def npy(arrays, sample):
    x = next(iter(arrays.values()))
    made = io.BytesIO()
    np.save(made, np.asfortranarray(x) if sample["fortran"] else x)
    return made.getvalue(), {"file": x}


def npz(arrays, sample):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED if sample["fortran"] else zipfile.ZIP_STORED) as archive:
        for key, x in arrays.items():
            archive.writestr(f"{key}.npy", npy({key: x}, {"fortran": False})[0])
    return made.getvalue(), arrays


def safetensors(arrays, sample):
    from safetensors.numpy import save

    arrays = {key: x.astype(x.dtype.newbyteorder("=")) for key, x in arrays.items()}
    return save({key: np.ascontiguousarray(x) for key, x in arrays.items()}), arrays


def hdf5(arrays, sample):
    import h5py

    made = io.BytesIO()
    with h5py.File(made, "w") as file:
        for key, x in arrays.items():
            file.create_dataset(key, data=x, chunks=x.shape if sample["fortran"] else None)
    return made.getvalue(), arrays


def matlab(arrays, sample):
    from scipy.io import savemat

    made = io.BytesIO()
    kept = {re.sub(r"\W", "_", f"v{key}")[:30]: x for key, x in arrays.items() if x.dtype not in ("f2", "?")}
    savemat(made, kept, do_compression=sample["fortran"])
    return made.getvalue(), kept or None


def table(separator):
    def write(arrays, sample):
        x = next(iter(arrays.values())).astype(np.float64)
        x = x.reshape(len(x), -1)
        rows = [[repr(float(v)) for v in row] for row in x]
        if sample["fortran"]:
            rows = [["id", *(f"f{k}" for k in range(x.shape[1]))], *([f"im{i}", *r] for i, r in enumerate(rows))]
        return "\n".join(separator.join(row) for row in rows).encode(), {"file": x}

    return write


def pickled(arrays, sample):
    import pickle

    made = io.BytesIO()
    np.save(made, np.array(pickle.loads(pickle.dumps(dict(arrays)))), allow_pickle=True)
    return made.getvalue(), arrays


FORMATS: dict[str, tuple[str, Callable]] = {
    "npy": (".npy", npy),
    "npz": (".npz", npz),
    "safetensors": (".safetensors", safetensors),
    "hdf5": (".h5", hdf5),
    "matlab": (".mat", matlab),
    "csv": (".csv", table(",")),
    "tsv": (".tsv", table("\t")),
    "semicolons": (".csv", table(";")),
    "pickle": (".npy", pickled),
}
feature_files = st.fixed_dictionaries(
    {
        "format": st.sampled_from(list(FORMATS)),
        "seed": st.integers(0, 2**16),
        "shape": st.sampled_from(SHAPES),
        "keys": st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True),
        "dtypes": st.lists(st.sampled_from(DTYPES), min_size=3, max_size=3),
        "fortran": st.booleans(),
        "damage": damage,
    }
)


def same(found, want, what: str) -> None:
    """Compare bits, shape and type.

    Raises:
        Fault: they differ.
    """
    found, want = np.asarray(found), np.asarray(want)
    kinds = (found.dtype.newbyteorder("="), want.dtype.newbyteorder("="))
    equal = found.shape == want.shape and np.array_equal(found, want, equal_nan=want.dtype.kind == "f")
    if not equal or kinds[0] != kinds[1]:
        told = f"{found.dtype} {found.shape}: {found!r} for {want.dtype} {want.shape}: {want!r}"
        raise Fault(f"{what} was read as {told}")


def features(sample) -> Outcome:
    """`read_features` of one file."""
    suffix, write = FORMATS[sample["format"]]
    data, want = write(arrays_of(sample), sample)
    changed = damaged(data, sample["damage"])
    with folder() as place:
        path = place / f"file{suffix}"
        path.write_bytes(changed)
        found, _ = heard(lambda: read_features(path, stack=False))
        if found is None and changed == data and np.prod(sample["shape"]) and want is not None:
            raise Fault(f"a whole {sample['format']} file was refused: {sample}")
        if found is None:
            return Outcome("refused")
        read, _ids = found
        for x in read.values():
            bytes(np.ascontiguousarray(x).data.cast("B")[:1]) if x.size else None
        if changed == data and want is not None:
            compare_all(read, want, sample["format"])
        return Outcome("right" if changed == data else "read")


def compare_all(read, want, form: str) -> None:
    """Compare arrays by name.

    Raises:
        Fault: some are missing or differ.
    """
    if len(read) != len(want):
        raise Fault(f"{form}: {list(want)} was read as {list(read)}")
    if form in ("npy", "csv", "tsv", "semicolons") or len(want) == 1:
        return same(next(iter(read.values())), next(iter(want.values())), form)
    if set(read) != set(want):
        raise Fault(f"{form}: {list(want)} was read as {list(read)}")
    for key, x in want.items():
        same(read[key], x, f"{form}, {key!r}")
    return None


# Checkpoints
def torch_file(arrays, sample):
    import torch

    tensors = {key: torch.from_numpy(x.astype(x.dtype.newbyteorder("="))) for key, x in arrays.items()}
    wrapped = {"plain": tensors, "nested": {"state_dict": tensors, "epoch": 3}, "prefixed": {}}
    wrapped["prefixed"] = {f"module.{key}": x for key, x in tensors.items()}
    made = io.BytesIO()
    torch.save(wrapped[sample["wrapper"]], made, _use_new_zipfile_serialization=not sample["fortran"])
    entry, prefix = {"plain": ("", ""), "nested": ("state_dict", ""), "prefixed": ("", "module.")}[sample["wrapper"]]
    return made.getvalue(), {entry: {f"{prefix}{key}": x for key, x in arrays.items()}}


def safetensors_checkpoint(arrays, sample):
    data, want = safetensors(arrays, sample)
    return data, {"": want}


CHECKPOINTS = {"torch": (".pth", torch_file), "safetensors": (".safetensors", safetensors_checkpoint)}
checkpoint_files = st.fixed_dictionaries(
    {
        "format": st.sampled_from(list(CHECKPOINTS)),
        "wrapper": st.sampled_from(["plain", "nested", "prefixed"]),
        "seed": st.integers(0, 2**16),
        "shape": st.sampled_from(SHAPES),
        "keys": st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True),
        "dtypes": st.lists(st.sampled_from([d for d in DTYPES if d[0] != ">"]), min_size=3, max_size=3),
        "fortran": st.booleans(),
        "damage": damage,
    }
)


def checkpoints(sample) -> Outcome:
    """`read_checkpoint` of one file, and `from_checkpoint`, which finds no network in it."""
    from jaxsim.vision.models.convert import from_checkpoint, read_checkpoint

    suffix, write = CHECKPOINTS[sample["format"]]
    data, want = write(arrays_of(sample), sample)
    changed = damaged(data, sample["damage"])
    with folder() as place:
        path = place / f"file{suffix}"
        path.write_bytes(changed)

        def read():
            entries, _ = read_checkpoint(path)
            return {entry: {key: np.asarray(tensors[key]) for key in tensors} for entry, tensors in entries.items()}

        found, _ = heard(read)
        if sample["seed"] % 16 == 0:  # takes most of the time
            heard(lambda: from_checkpoint(path))
        unread = suffix == ".pth" and sample["fortran"] and "uint64" in sample["dtypes"]  # PyTorch's own limit
        if found is None and changed == data and not unread:
            raise Fault(f"a whole {sample['format']} checkpoint was refused: {sample}")
        if found is None:
            return Outcome("refused")
        if changed == data:
            names = [{entry: set(tensors) for entry, tensors in x.items()} for x in (want, found)]
            if names[0] != names[1]:
                raise Fault(f"{names[0]} was read as {names[1]}")
            for entry, tensors in want.items():
                for key, x in tensors.items():
                    same(found[entry][key], x, f"{sample['format']}, {key!r}")
        return Outcome("right" if changed == data else "read")


def bundle_bytes():
    """A TensorFlow checkpoint, from the tests."""
    import base64

    from tests import test_convert_bundle as made

    return base64.b64decode(made.INDEX), base64.b64decode(made.DATA), made.expected()


def bundles(sample) -> Outcome:
    """`read_checkpoint` of a TensorFlow checkpoint."""
    from jaxsim.vision.models.convert import read_checkpoint

    index, data, want = bundle_bytes()
    changed = damaged(index, sample["index"]), damaged(data, sample["data"])
    with folder() as place:
        (place / "m.index").write_bytes(changed[0])
        (place / "m.data-00000-of-00001").write_bytes(changed[1])
        found, _ = heard(lambda: {key: np.asarray(x) for key, x in read_checkpoint(place / "m")[0][""].items()})
        if found is None:
            return Outcome("refused")
        for key, x in want.items():
            if key in found:  # a damaged name is another tensor, since names have no checksum of their own
                same(found[key], x, key)
        return Outcome("right" if changed == (index, data) else "read")


# Pictures
MODES = ("RGB", "L", "P", "1", "RGBA", "LA", "CMYK", "I;16", "F", "I", "YCbCr", "HSV")
PICTURE_FORMATS = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "GIF": ".gif", "TIFF": ".tif", "WEBP": ".webp"}
PICTURE_FORMATS |= {"PPM": ".ppm", "TGA": ".tga", "ICO": ".ico", "PCX": ".pcx"}
TURNS = {3: 2, 6: -1, 8: 1}
"""Quarter turns against the clock by EXIF orientation."""
LOSSLESS = ("PNG", "BMP", "TIFF", "PPM", "TGA", "PCX")
picture_files = st.fixed_dictionaries(
    {
        "format": st.sampled_from(list(PICTURE_FORMATS)),
        "mode": st.sampled_from(MODES),
        "size": st.sampled_from([(1, 1), (5, 3), (16, 16), (17, 9)]),
        "seed": st.integers(0, 2**16),
        "turn": st.sampled_from([None, None, 1, 3, 6, 8, 99]),
        "damage": damage,
    }
)


@functools.cache
def readers() -> dict[str, Callable]:
    """Readers of pictures, label maps and depth maps."""
    from jaxsim.vision.datasets import image_files as files

    return {
        "picture": files.picture,
        "upright": lambda path: files.picture(path, upright=True),
        "first channel": lambda path: files.bytes_of(path, 1),
        "three channels": lambda path: files.bytes_of(path, 3),
        "deep": files.deep,
        "class map": lambda path: files.class_map(path, 21).values,
    }


def picture_bytes(sample) -> tuple[bytes, np.ndarray] | None:
    """Bytes of a picture and its pixels; None where the format does not hold the mode."""
    rng = np.random.default_rng(sample["seed"])
    w, h = sample["size"]
    base = Image.fromarray(rng.integers(0, 256, (h, w, 3), np.uint8))
    mode = sample["mode"]
    try:
        image = Image.fromarray(rng.integers(0, 2**16, (h, w), np.uint16)) if mode == "I;16" else base.convert(mode)
        made = io.BytesIO()
        options = {}
        if sample["turn"]:
            exif = Image.Exif()
            exif[0x0112] = sample["turn"]
            options = {"exif": exif} if sample["format"] in ("JPEG", "PNG", "WEBP", "TIFF") else {}
        image.save(made, sample["format"], **options)
    except (OSError, ValueError, KeyError):
        return None
    return made.getvalue(), np.asarray(image)


def pictures(sample) -> Outcome:
    """Every reader of single pictures on one file."""
    made = picture_bytes(sample)
    if made is None:
        return Outcome("not written")
    data, pixels = made
    changed = damaged(data, sample["damage"])
    with folder() as place:
        path = place / f"file{PICTURE_FORMATS[sample['format']]}"
        path.write_bytes(changed)
        found = {name: heard(lambda read=read: read(path))[0] for name, read in readers().items()}
    if changed == data and sample["format"] in LOSSLESS:
        check_pixels(sample, found, pixels)
    for name, x in found.items():
        if x is not None and not (x.dtype in (np.uint8, np.uint16, bool) and x.ndim in (2, 3)):
            raise Fault(f"{name} of {sample} gives {x.dtype} {x.shape}")
    given = any(x is not None for x in found.values())
    return Outcome(("right" if changed == data else "read") if given else "refused")


def check_pixels(sample, found, pixels) -> None:
    """Compare pixels; Pillow itself turns TIFF, whoever reads it.

    Raises:
        Fault: they differ.
    """
    mode, form = sample["mode"], sample["format"]
    upright = np.rot90(pixels, TURNS.get(sample["turn"], 0)) if form in ("PNG", "TIFF") else pixels
    lying = upright if form == "TIFF" else pixels
    wanted = {"RGB": {"picture": lying, "three channels": lying, "upright": upright}, "L": {"first channel": lying}}
    wanted["I;16"] = {"deep": lying} if form in ("PNG", "TIFF") else {}
    for name, want in wanted.get(mode, {}).items():
        same(found[name], want, f"{form}, {name}")


def _of(strategy: Any) -> Any:
    return st.fixed_dictionaries(strategy)


VERBS = {
    "read_features": (features, feature_files),
    "checkpoints": (checkpoints, checkpoint_files),
    "bundles": (bundles, _of({"index": damage, "data": damage})),
    "pictures": (pictures, picture_files),
}
"""A check and a strategy for each reader."""
