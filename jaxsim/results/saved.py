"""Base of all records: arrays as pytree leaves, labels as static metadata, provenance, files."""

import dataclasses
import functools
import json
import platform
import typing
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
from jax.core import Tracer

from jaxsim import io
from jaxsim.results.tables import Table

_RECORDS: dict[str, type] = {}
_PLOTS: dict[str, Callable] = {}


@typing.dataclass_transform(frozen_default=True, eq_default=False)
def record(*, arrays: tuple[str, ...]):
    """Make a frozen dataclass a pytree whose `arrays` fields are leaves, and let `load` find it by name."""

    def register(cls):
        cls = dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
        meta = tuple(f.name for f in dataclasses.fields(cls) if f.name not in arrays)
        jax.tree_util.register_dataclass(cls, data_fields=list(arrays), meta_fields=list(meta))
        cls._arrays, cls._meta = arrays, meta
        _RECORDS[cls.__name__] = cls
        return cls

    return register


def plots(cls: type) -> Callable[[Callable], Callable]:
    """Decorate the function that draws records of that class, so that `record.plot()` calls it."""

    def register(function):
        _PLOTS[cls.__name__] = function
        return function

    return register


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Origin of a result: what a reader needs to make it again.

    Attributes:
        measure: the measure's name or its formula as text.
        dtype: dtype the scores were computed in.
        device: device that computed them.
        precision: matmul precision asked of XLA.
        versions: pairs of package and version.
        scheme: resampling scheme as text, or None.
        key: the random key as text (implementation and words), or None.
        notes: what the reader must know: which images were left out, what was not refitted.
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
        """The provenance of `values`, just computed with this process's packages; a tracer has no device yet."""
        versions = tuple((p, _version(p)) for p in ("jaxsim-similarity", "jax", "jaxlib", "numpy"))
        kind = "traced"
        if not isinstance(values, Tracer):
            device = next(iter(values.devices()))
            kind = f"{device.platform}: {device.device_kind}"
        versions += (("python", platform.python_version()),)
        return cls(measure=measure, dtype=str(values.dtype), device=kind, versions=versions, **rest)


@functools.cache
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def on_host(values: Any) -> np.ndarray:
    """An array of a record as NumPy.

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
    _optional: tuple[str, ...] = ()
    """Arrays that may be None."""
    table: Callable[[], Table]
    """The record as a short table, for `print` and notebooks."""

    def __str__(self) -> str:
        if any(isinstance(getattr(self, n), Tracer) for n in self._arrays):
            return repr(self)
        return self.table().to_text()

    def __repr__(self) -> str:
        shapes = ", ".join(f"{n}{np.shape(getattr(self, n))}" for n in self._arrays if getattr(self, n) is not None)
        return f"{type(self).__name__}({shapes})"

    def _repr_html_(self) -> str:
        return self.table().to_html()

    def plot(self, *args: Any, **options: Any) -> Any:
        """Draw the record with the function of `js.plotting` for its kind; arguments are that function's.

        Returns:
            A matplotlib `Figure`.
        """
        if type(self).__name__ not in _PLOTS:
            raise TypeError(f"nothing draws a record of {type(self).__name__}.")
        on_host(getattr(self, self._arrays[0]))
        return _PLOTS[type(self).__name__](self, *args, **options)

    def metadata(self) -> dict[str, Any]:
        """All that is not an array, as JSON types."""
        plain = {name: getattr(self, name) for name in self._meta}
        return json.loads(json.dumps({"record": type(self).__name__, **plain}, default=_as_json))

    def to_json(self) -> dict[str, Any]:
        """The whole record as JSON types; arrays become nested lists; NaN and infinity become None."""
        values = {n: getattr(self, n) for n in self._arrays}
        return self.metadata() | {n: None if v is None else _as_list(v) for n, v in values.items()}

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the record to one npz file, whole or not at all.

        Raises:
            FileExistsError: the file is there and `overwrite` is False.
            OSError: it cannot be written.
        """
        arrays = {n: on_host(getattr(self, n)) for n in self._arrays if getattr(self, n) is not None}
        arrays["record_json"] = np.asarray(json.dumps(self.metadata()))
        return io.write_npz(path, arrays, overwrite=overwrite)


def _as_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return str(value)


def _as_list(values: Any) -> Any:
    values = on_host(values)
    if values.dtype.kind != "f":
        return values.tolist()
    return np.asarray(np.where(np.isfinite(values), values.astype(object), None)).tolist()


def load(path: str | Path) -> Any:
    """Read a record that `save` wrote.

    Raises:
        ValueError: the file is not such a record, or is damaged.
    """
    arrays = io.read_npz(path)
    text = arrays.pop("record_json", None)
    if text is None:
        raise ValueError(f"{path} holds no jaxsim record: it has no entry 'record_json'.")
    try:
        meta = json.loads(str(text))
        cls = _RECORDS.get(meta.pop("record", ""))
        if cls is None:
            raise ValueError(f"{path} holds a record of a kind that this version does not know.")
        if "provenance" in meta:
            meta["provenance"] = Provenance(**{k: _as_tuple(v) for k, v in meta["provenance"].items()})
        missing = [n for n in cls._arrays if n not in arrays and n not in cls._optional]
        if missing:
            raise ValueError(f"{path} is damaged: it has no array {missing[0]!r}.")
        return cls(**{k: _as_tuple(v) for k, v in meta.items()}, **{n: arrays.get(n) for n in cls._arrays})
    except (TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged: its record cannot be read ({error}).") from None


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(v) for v in value) if isinstance(value, list) else value
