"""Encoders as one safetensors file: shapes and a SHA-256 per array in its header, verified on load."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsim import io
from jaxsim.models.encoders import SmallEncoder

HEADER = "jaxsim_encoders"
"""The header's one entry: a JSON text. One, because the format does not keep the order of several."""


def to_safetensors(
    encoders: Mapping[str, SmallEncoder],
    path: str | Path,
    metadata: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write named encoders to one file, whole or not at all; arrays are named `depth/conv1/kernel`.

    Equal encoders and metadata give equal bytes.

    Args:
        encoders: the encoders by name, each name without a slash.
        path: the file to write.
        metadata: anything JSON can hold: what the encoders were trained on, and how.
        overwrite: replace a file that is there already.

    Returns:
        The path.

    Raises:
        ValueError: there is no encoder, or a name is empty or holds a slash.
        TypeError: one is not a `SmallEncoder`, or the metadata are not JSON.
        FileExistsError: the file is there and `overwrite` is False.
        OSError: it cannot be written.

    Example:
        >>> import tempfile
        >>> from jaxsim import models
        >>> encoders = {"depth": models.SmallEncoder(rngs=nnx.Rngs(0))}
        >>> path = models.to_safetensors(encoders, Path(tempfile.mkdtemp()) / "e.safetensors", {"steps": 800})
        >>> list(models.from_safetensors(path)), models.safetensors_metadata(path)
        (['depth'], {'steps': 800})
    """
    from safetensors.numpy import save

    if not encoders:
        raise ValueError(f"{path} was not written: there are no encoders.")
    arrays: dict[str, np.ndarray] = {}
    for name, encoder in encoders.items():
        if not isinstance(encoder, SmallEncoder):
            raise TypeError(f"{path} was not written: {name!r} is a {type(encoder).__name__}, no SmallEncoder.")
        if not name or "/" in name:
            raise ValueError(f"{path} was not written: {name!r} cannot name an encoder (empty or with a slash).")
        arrays |= {key: np.asarray(variable[...]) for key, variable in _variables(name, encoder).items()}
    header = {
        "encoders": {name: encoder.configuration for name, encoder in encoders.items()},
        "metadata": dict(metadata or {}),
        "sha256": {key: _sha256(values) for key, values in arrays.items()},
    }
    data = save(arrays, {HEADER: json.dumps(header)})
    with io.atomic(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def from_safetensors(path: str | Path) -> dict[str, SmallEncoder]:
    """Read the encoders that `to_safetensors` wrote, in their order.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: the file is damaged or not of this kind; or an array is missing, unknown, of the wrong shape or
            type, or differs from its checksum. The message names the file and the array.
    """
    header, arrays = _read(path)
    try:
        encoders = {name: _without_values(configuration) for name, configuration in header["encoders"].items()}
        sums = dict(header["sha256"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: its header does not describe encoders ({error}).") from None
    slots = {key: slot for name, encoder in encoders.items() for key, slot in _variables(name, encoder).items()}
    for key in sorted(slots.keys() | arrays.keys()):
        if key not in arrays:
            raise ValueError(f"{path} has no array {key!r}.")
        if key not in slots:
            raise ValueError(f"{path} has an array {key!r} that belongs to none of its encoders.")
        _check(path, key, arrays[key], slots[key], sums.get(key))
        slots[key].set_value(jnp.asarray(arrays[key]))
    return encoders


def safetensors_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata given to `to_safetensors`.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: the file is damaged or not of this kind.
    """
    return _read(path)[0].get("metadata", {})


def _variables(name: str, encoder: SmallEncoder) -> dict[str, nnx.Param]:
    """The encoder's weights by their names in the file."""
    layers = [f"conv{i}" for i in range(1, len(encoder.widths) + 1)]
    convolutions = [(layer, encoder.convolutions[layer]) for layer in layers]
    return {f"{name}/{layer}/{part}": getattr(c, part) for layer, c in convolutions for part in ("kernel", "bias")}


def _without_values(configuration: dict[str, Any]) -> SmallEncoder:
    """An encoder whose weights have shapes but no values yet."""
    return nnx.eval_shape(lambda: SmallEncoder(**configuration, rngs=nnx.Rngs(0)))


def _check(path: str | Path, key: str, values: np.ndarray, slot: Any, expected: str | None) -> None:
    if values.shape != slot.shape:
        raise ValueError(f"{path}: array {key!r} has shape {values.shape}, but its encoder needs {slot.shape}.")
    if values.dtype != slot.dtype:
        raise ValueError(f"{path}: array {key!r} is of type {values.dtype}, but its encoder needs {slot.dtype}.")
    if _sha256(values) != expected:
        raise ValueError(f"{path} is damaged: array {key!r} differs from its checksum.")


def _sha256(values: np.ndarray) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()


def _read(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header's JSON and the arrays."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            text = (file.metadata() or {}).get(HEADER)
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        header = json.loads(text) if text is not None else None
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is not there.") from None
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged: {error}.") from None
    if not isinstance(header, dict):
        raise ValueError(f"{path} holds no jaxsim encoders: its header has no entry {HEADER!r}.")
    return header, arrays
