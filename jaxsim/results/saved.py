"""Base of all records: arrays as pytree leaves, labels as static metadata, provenance, files."""

import dataclasses
import functools
import html
import json
import platform
import textwrap
import typing
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
from jax.core import Tracer

from jaxsim import io
from jaxsim.io.arrays import naming
from jaxsim.io.files import parse_json
from jaxsim.results.tables import Table

OTHERS = (".csv", ".tsv", ".txt", ".json", ".xlsx", ".pkl", ".npy", ".mat", ".png", ".svg", ".pdf", ".html")
"""Suffixes of files that are not npz files."""
_RECORDS: dict[str, type] = {}
_PLOTS: dict[str, Callable] = {}


@typing.dataclass_transform(frozen_default=True, eq_default=False)
def record(*, arrays: Mapping[Any, tuple[str | int, ...]], check: Callable[[Any], str | None] = lambda _: None):
    """Make a frozen dataclass a pytree whose `arrays` fields are leaves, and register it by name for `load`.

    Args:
        arrays: shape of each array, for `load`: numbers, fields whose lengths give the size, and any other strings for
            sizes that must be equal wherever they appear.
        check: what else is wrong with a record of NumPy arrays of these shapes, for `load`; None if nothing is.
    """

    def register(cls):
        cls = dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
        meta = tuple(f.name for f in dataclasses.fields(cls) if f.name not in arrays)
        jax.tree_util.register_dataclass(cls, data_fields=list(arrays), meta_fields=list(meta))
        cls._arrays, cls._meta, cls._shapes, cls._check = tuple(arrays), meta, dict(arrays), staticmethod(check)
        _RECORDS[cls.__name__] = cls
        return cls

    return register


def plots(cls: type) -> Callable[[Callable], Callable]:
    """Decorate the function that draws records of the class, so that `record.plot()` calls it."""

    def register(function):
        _PLOTS[cls.__name__] = function
        return function

    return register


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Origin of a result: what a reader needs to reproduce it.

    Attributes:
        measure: the measure's name or its formula as text.
        dtype: dtype of the computation.
        device: device that computed the scores.
        precision: matmul precision requested from XLA.
        versions: pairs of package and version.
        scheme: resampling scheme as text, or None.
        key: the random key as text (implementation and data), or None.
        notes: what the reader must know, such as which images were left out or what was not refitted.
    """

    measure: str
    dtype: str
    device: str
    precision: str = "highest"
    versions: tuple[tuple[str, str], ...] = ()
    scheme: str | None = None
    key: str | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def now(cls, measure: str, values: jax.Array, **rest: Any) -> Self:
        """Provenance of `values` just computed with this process's packages; a tracer has no device yet."""
        versions = tuple((p, version(p)) for p in ("jaxsim-similarity", "jax", "jaxlib", "numpy"))
        kind = "traced"
        if not isinstance(values, Tracer):
            device = next(iter(values.devices()))
            kind = f"{device.platform}: {device.device_kind}"
        versions += (("python", platform.python_version()),)
        return cls(measure=measure, dtype=str(values.dtype), device=kind, versions=versions, **rest)


@functools.cache
def version(package: str) -> str:
    """Version of an installed package, or "unknown" if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def on_host(values: Any) -> np.ndarray:
    """Convert a record's array to NumPy.

    Raises:
        TypeError: JAX is tracing it.
    """
    if isinstance(values, Tracer):
        raise TypeError("JAX is tracing this record; return it from the function under jit and read it outside.")
    return np.asarray(values)


class Saved:
    """Files, tables and plots of all records: one npz of arrays and a JSON text, never a pickle."""

    _arrays: tuple[str, ...]
    _meta: tuple[str, ...]
    _shapes: dict[str, tuple[str | int, ...]]
    _check: Callable[[Any], str | None]
    _optional: tuple[str, ...] = ()
    """Arrays that may be None."""
    table: Callable[[], Table]
    """The record as a short table, for `print` and notebooks."""

    def __str__(self) -> str:
        return self.table().to_text() if self._is_one() else repr(self)

    def _is_one(self) -> bool:
        """Whether this is a single record with numbers, neither traced nor stacked by `vmap`."""
        arrays = [(getattr(self, n), shape) for n, shape in self._shapes.items() if getattr(self, n) is not None]
        return not any(isinstance(a, Tracer) or np.ndim(a) != len(shape) for a, shape in arrays)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{n}{np.shape(getattr(self, n))}" for n in self._arrays if getattr(self, n) is not None)
        return f"{type(self).__name__}({shapes})" + "; print it for a table" * self._is_one()

    def _repr_html_(self) -> str:
        return self.table().to_html() if self._is_one() else f"<code>{html.escape(repr(self))}</code>"

    def plot(self, *args: Any, **options: Any) -> Any:
        """Draw the record with the `js.plotting` function for its kind; arguments are passed on to that function.

        Returns:
            A matplotlib `Figure`.
        """
        if type(self).__name__ not in _PLOTS:
            raise TypeError(f"there is no plot of a record of type {type(self).__name__}.")
        on_host(getattr(self, self._arrays[0]))
        return _PLOTS[type(self).__name__](self, *args, **options)

    def metadata(self) -> dict[str, Any]:
        """Everything that is not an array, as JSON types."""
        plain = {name: getattr(self, name) for name in self._meta}
        return json.loads(json.dumps({"record": type(self).__name__, **plain}, default=_as_json))

    def to_json(self) -> dict[str, Any]:
        """Convert the whole record to JSON types. Arrays become nested lists; NaN and infinity become None."""
        values = {n: getattr(self, n) for n in self._arrays}
        return self.metadata() | {n: None if v is None else _as_list(v) for n, v in values.items()}

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the record to one npz file, completely or not at all.

        Raises:
            FileExistsError: the file exists and `overwrite` is False.
            OSError: the file cannot be written.
            ValueError: the path has the suffix of another kind of file.
        """
        if (suffix := Path(path).suffix.lower()) in OTHERS:
            raise ValueError(f"records are saved as npz, not {suffix[1:]}; to_pandas() makes a table, plot() a figure.")
        arrays = {n: on_host(getattr(self, n)) for n in self._arrays if getattr(self, n) is not None}
        arrays["record_json"] = np.asarray(json.dumps(self.metadata()))
        return io.write_npz(path, arrays, overwrite=overwrite)


def _as_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return value.item() if isinstance(value, np.generic) else str(value)


def _as_list(values: Any) -> Any:
    values = on_host(values)
    if values.dtype.kind != "f":
        return values.tolist()
    return np.asarray(np.where(np.isfinite(values), values.astype(object), None)).tolist()


def load(path: str | Path) -> Any:
    """Read a record that `save` wrote.

    Raises:
        ValueError: the file is not such a record, or is damaged: wrong field types, mismatched counts or impossible
            numbers.
    """
    arrays = io.read_npz(path)
    text = arrays.pop("record_json", None)
    if text is None:
        raise ValueError(f"{path} holds no jaxsim record: it has no entry 'record_json'.")
    with naming(path):
        meta = parse_json(str(text))
    try:
        cls = _RECORDS.get(meta.pop("record", ""))
        if cls is None:
            raise ValueError(f"{path} holds a record of a kind that this version does not know.")
        if "provenance" in meta:
            meta["provenance"] = Provenance(**{k: _as_tuple(v) for k, v in meta["provenance"].items()})
        missing = [n for n in cls._arrays if n not in arrays and n not in cls._optional]
        if missing:
            raise ValueError(f"{path} is damaged: it has no array {missing[0]!r}.")
        found = cls(**{k: _as_tuple(v) for k, v in meta.items()}, **{n: arrays.get(n) for n in cls._arrays})
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: its record cannot be read ({error}).") from None
    wrong = _wrong_field(found) or _wrong_array(found) or found._check(found)
    if wrong:
        raise ValueError(f"{path} is damaged: {wrong}.")
    return found


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(v) for v in value) if isinstance(value, list) else value


def _wrong_field(found: Any) -> str | None:
    """Find a field of a record, or of its provenance, that has the wrong type."""
    for name, hint in typing.get_type_hints(type(found)).items():
        if name in getattr(found, "_meta", Provenance.__dataclass_fields__):
            value = getattr(found, name)
            if not _fits(value, hint):
                return f"its {name} cannot be {_short(value)}"
            if isinstance(value, Provenance) and (wrong := _wrong_field(value)):
                return wrong
    return None


def _fits(value: Any, hint: Any) -> bool:
    of = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, tuple) or (of[-1] is not ... and len(value) != len(of)):
            return False
        return all(_fits(v, h) for v, h in zip(value, of[:1] * len(value) if of[-1] is ... else of, strict=True))
    if of:
        return any(_fits(value, one) for one in of)
    if isinstance(value, bool) and hint is not bool:
        return hint is Any
    if isinstance(value, str):
        return hint in (str, Any) and value == value.encode(errors="replace").decode()
    return hint is Any or isinstance(value, (int, float) if hint is float else hint)


def _wrong_array(found: Any) -> str | None:
    """Find an array of a record that is not numeric or does not match the length of the record's names."""
    sizes: dict[str, int] = {}
    for name, shape in found._shapes.items():
        values = getattr(found, name)
        if values is None:
            continue
        named = [len(v) if isinstance(v := getattr(found, str(s), None), tuple) else s for s in shape]
        wanted = [
            sizes.setdefault(s, n) if isinstance(s, str) else s for s, n in zip(named, values.shape, strict=False)
        ]
        if values.dtype.kind not in "biuf" or len(shape) != values.ndim or list(values.shape) != wanted:
            said = " x ".join(map(str, named)) or "one number"
            return f"its array {name!r} is {values.dtype} of shape {values.shape}, not numbers of shape ({said})"
    return None


def _short(value: Any) -> str:
    return textwrap.shorten(repr(value), 60)
