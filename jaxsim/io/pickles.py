"""Unpickling through an allow-list: plain containers, numpy scalars and numpy arrays, and nothing else.

A pickle is a program. Here the names that it may call map to stand-ins that check their arguments and build scalars and
arrays from raw bytes, so neither foreign code nor numpy's own unpickling sees the file.
"""

import collections
import math
import pickle
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxsim.io import limits

_PLAIN_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|[SU]\d{1,9}|O[48]?)")
_DAMAGED = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ImportError,
    OverflowError,
    MemoryError,
    RecursionError,
    BufferError,
    AssertionError,
    NameError,
    struct.error,
)


class Refused(ValueError):
    """A file was rejected; the message names it."""


class _Call:
    """A function that a pickle may call, but whose attributes it cannot set."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise ValueError("it sets the state of a function")


class _Dtype:
    """Stand-in for a dtype: plain numbers, text and objects, built only from its name and byte order."""

    __slots__ = ("dtype",)

    def __init__(self, text: Any, *_: Any):
        if not isinstance(text, str) or not _PLAIN_DTYPE.fullmatch(text):
            raise ValueError(f"dtype {text!r} is not a plain dtype")
        self.dtype = np.dtype("O" if "O" in text else text)

    def __setstate__(self, state: tuple) -> None:
        _version, order, subarray, names, fields = state[:5]
        if not (subarray is names is fields is None) or order not in ("<", ">", "|", "="):
            raise ValueError("a structured dtype is not allowed")
        if order != "|":
            self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    """An array whose state is checked before numpy sees it; `_plain` turns it into an ndarray."""

    def __setstate__(self, state: tuple) -> None:
        _version, shape, dtype, fortran, raw = state
        dtype = _plain_dtype(dtype)
        _count(shape)
        limits.check_empty(shape, dtype.itemsize)
        if dtype.hasobject:
            if type(raw) is not list or len(raw) != _count(shape):
                raise ValueError("an object array does not have the number of objects that its shape requires")
        else:
            raw = _array_bytes(raw, _count(shape), dtype)
        super().__setstate__((1, shape, dtype, bool(fortran), raw))  # pyright: ignore[reportArgumentType]


def _plain_dtype(dtype: Any) -> np.dtype:
    if type(dtype) is not _Dtype:
        raise ValueError("an array has no dtype")
    return dtype.dtype


def _count(shape: Any) -> int:
    if type(shape) is not tuple or not all(type(s) is int and s >= 0 for s in shape):
        raise ValueError(f"{shape!r} is not a shape")
    return math.prod(shape)


def _array_bytes(raw: Any, count: int, dtype: np.dtype) -> bytes:
    """The bytes of `count` items, if there are that many and they are valid for that dtype."""
    raw = _bytes(raw)  # text if written by Python 2
    if len(raw) != count * dtype.itemsize:
        raise ValueError("an array does not have the number of bytes that its shape requires")
    if dtype.kind == "U":
        codes = np.frombuffer(raw, np.dtype("u4").newbyteorder(dtype.byteorder))
        if codes.max(initial=0) > 0x10FFFF:
            raise ValueError("it has text with invalid characters")
    return raw


def _reconstruct(*_: Any) -> _Array:
    return np.empty(0, np.int8).view(_Array)


def _scalar(dtype: Any, raw: Any) -> Any:
    plain = _plain_dtype(dtype)
    if plain.hasobject:
        raise ValueError("a scalar of Python objects is not a number")
    return np.frombuffer(_array_bytes(raw, 1, plain), plain)[0]


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> _Array:
    plain = _plain_dtype(dtype)
    if plain.hasobject:
        raise ValueError("a buffer cannot hold objects")
    flat = np.frombuffer(_array_bytes(raw, _count(shape), plain), plain)
    array = flat.reshape(shape, order="F" if order == "F" else "C")
    return np.array(array if axes is None else array.transpose(axes)).view(_Array)


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("it encodes text other than as raw bytes")
    return text.encode("latin-1")


def _bytes(raw: Any = b"", encoding: Any = "latin-1") -> bytes:
    if isinstance(raw, str):
        return _encode(raw, encoding)
    if not isinstance(raw, bytes | bytearray):
        raise ValueError("it makes bytes from something other than bytes or text")
    return bytes(raw)


def _bytearray(*args: Any) -> bytearray:
    return bytearray(_bytes(*args))


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("_codecs", "encode"): _Call(_encode),
    ("numpy", "dtype"): _Call(_Dtype),
    ("numpy", "ndarray"): _Call(_reconstruct),
}
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED[_core + ".multiarray", "_reconstruct"] = _Call(_reconstruct)
    _ALLOWED[_core + ".multiarray", "scalar"] = _Call(_scalar)
    _ALLOWED[_core + ".numeric", "_frombuffer"] = _Call(_frombuffer)
for _module in ("builtins", "__builtin__"):
    for _type in (dict, list, tuple, set, frozenset, complex):
        _ALLOWED[_module, _type.__name__] = _type
    _ALLOWED[_module, "bytes"] = _Call(_bytes)
    _ALLOWED[_module, "bytearray"] = _Call(_bytearray)


_KEYS = (str, bytes, int, float, type(None), np.str_, np.bytes_, np.integer, np.floating)
"""Most keys and members of sets; a tuple may take any amount of time to hash, and many may share a hash."""
_LONGEST = 512
"""Most bits of whole numbers; those of random states have 128."""


class _Bounded:
    """A file that is never asked for more than it has."""

    def __init__(self, file: BinaryIO, size: int):
        self._file, self._left = file, size

    def read(self, count: int) -> bytes:
        if count > self._left:
            raise EOFError("it ends too early")
        return self._taken(self._file.read(count))

    def readline(self) -> bytes:
        return self._taken(self._file.readline())

    def _taken(self, data: bytes) -> bytes:
        self._left -= len(data)
        return data


def _size(file: BinaryIO) -> int:
    """Number of bytes from here to the end."""
    here = file.tell()
    size = file.seek(0, 2) - here
    file.seek(here)
    return size


def _checked(keys: Any) -> None:
    for key in keys:
        if not isinstance(key, _KEYS):
            raise ValueError(f"it has a key of type {type(key).__name__}")
        if isinstance(key, int) and key.bit_length() > 64:
            raise ValueError("it has a key of more than 64 bits")


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined]
    """An unpickler that knows only the names in `_ALLOWED`, and takes no more memory than its size allows.

    This is the Python implementation, because in the C one a single damaged byte (the index of a memo entry) can
    request gigabytes of memory. Both are equally fast on files of a few large arrays.
    """

    dispatch: dict[int, Any] = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined]
    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]

    def __init__(self, file: BinaryIO, size: int):
        super().__init__(_Bounded(file, size), encoding="latin1")  # type: ignore[arg-type]
        self._spent, self._most, self._stored = 0, limits.most(size), size

    def _bytearray8(self) -> None:
        (count,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(count)))

    def _call(self, load: Callable[..., None]) -> None:
        """Allow a call to be made, and count the memory of its result."""
        function, given = self.stack[-2:]
        if any(function is kind for kind in (set, frozenset, dict, collections.OrderedDict)):
            for items in given:
                pairs = function in (dict, collections.OrderedDict) and not isinstance(items, dict)
                _checked([key for key, _ in items] if pairs else items)
        load(self)
        self._spent += sys.getsizeof(self.stack[-1])
        if self._spent > self._most:
            limits.check(self._spent, self._stored, "its content")

    def _whole(self, load: Callable[..., None]) -> None:
        load(self)
        if self.stack[-1].bit_length() > _LONGEST:
            raise ValueError(f"it has a whole number of more than {_LONGEST} bits")

    def _hashed(self, load: Callable[..., None]) -> None:
        alone, pairs = load.__name__ == "load_setitem", load.__name__ in ("load_setitems", "load_dict")
        _checked(self.stack[-2:-1] if alone else self.stack[:: 2 if pairs else 1])
        load(self)

    def _instantiate(self, klass: Any, args: Any) -> None:
        raise ValueError("it makes instances of classes")

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise ValueError(f"it needs {module}.{name}, which is not on the safe list") from None

    def persistent_load(self, pid: Any) -> Any:
        raise ValueError("it refers to objects outside the file")


def _through(step: Callable[..., None], *codes: bytes) -> None:
    """Route the opcodes of pickles through a method."""
    for code in codes:
        load = _Unpickler.dispatch[code[0]]
        _Unpickler.dispatch[code[0]] = lambda self, load=load: step(self, load)


_through(_Unpickler._call, pickle.REDUCE, pickle.NEWOBJ, pickle.BUILD)
_through(_Unpickler._whole, pickle.LONG1, pickle.LONG4, pickle.LONG, pickle.INT)
_through(_Unpickler._hashed, pickle.SETITEM, pickle.SETITEMS, pickle.ADDITEMS, pickle.FROZENSET, pickle.DICT)
_Unpickler.dispatch[pickle.BYTEARRAY8[0]] = _Unpickler._bytearray8
_Unpickler.dispatch[pickle.NEWOBJ_EX[0]] = lambda self: self._instantiate(None, None)


def load_pickle(source: str | Path | BinaryIO, *, name: str | None = None, size: int | None = None) -> Any:
    """Unpickle plain containers, numbers, text, numpy scalars and numpy arrays; reject everything else.

    Nothing that the pickle names is imported or called. Structured, date and user-defined dtypes are rejected too.
    Pickles of Python 2 and of numpy 1 can be read (Python 2 text as latin-1).

    Args:
        source: a path, or a binary file positioned at the pickle's first byte.
        name: name of the source in errors; its path by default.
        size: number of bytes in the source from there; determined by default.

    Raises:
        FileNotFoundError: the file does not exist.
        Refused: the pickle requests anything else (the message names it), or is damaged.

    Example:
        >>> from io import BytesIO
        >>> load_pickle(BytesIO(pickle.dumps({"a__b": np.float64(0.5)})))
        {'a__b': np.float64(0.5)}
        >>> load_pickle(BytesIO(pickle.dumps(print)), name="x.pkl")
        Traceback (most recent call last):
        jaxsim.io.pickles.Refused: x.pkl was not unpickled: it needs builtins.print, which is not on the safe list.
    """
    if isinstance(source, str | Path):
        if not Path(source).is_file():
            raise FileNotFoundError(f"{source} does not exist or is not a file.")
        with open(source, "rb") as file:
            return load_pickle(file, name=name or str(source))
    name = name or str(getattr(source, "name", "the pickle"))
    try:
        return _plain(_Unpickler(source, _size(source) if size is None else size).load(), {})
    except _DAMAGED as error:
        reason = str(error).rstrip(".").replace("\n", " ") or type(error).__name__
        raise Refused(f"{name} was not unpickled: {reason}.") from error


def _plain(value: Any, seen: dict[int, tuple[Any, Any]]) -> Any:
    """Turn every `_Array` in `value` into an ndarray, changing lists and dicts in place.

    `seen` keeps each object together with its plain form, so that no object is freed and its id reused.
    """
    if id(value) in seen:
        return seen[id(value)][1]
    seen[id(value)] = value, value
    if isinstance(value, dict):
        for key, item in value.items():
            value[key] = _plain(item, seen)
    elif isinstance(value, list):
        value[:] = [_plain(item, seen) for item in value]
    elif isinstance(value, tuple):
        seen[id(value)] = value, tuple([_plain(item, seen) for item in value])
    elif isinstance(value, _Array):
        array = value.view(np.ndarray)
        seen[id(value)] = value, array
        if array.dtype.hasobject:
            flat = array.ravel(order="K")  # a view: arrays made by unpickling are contiguous
            for i, item in enumerate(flat.tolist()):
                flat[i] = _plain(item, seen)
    elif isinstance(value, _Dtype | _Call):
        raise ValueError("it contains a dtype or function on its own")
    return seen[id(value)][1]
