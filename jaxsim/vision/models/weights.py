"""Files of encoders: safetensors with a SHA-256 per array and one of the header, verified on load."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsim import io
from jaxsim.io.files import parse_json
from jaxsim.io.jobs import Damaged, sha256_of_json
from jaxsim.vision.models.batchnorm import is_folded
from jaxsim.vision.models.encoders import SmallEncoder
from jaxsim.vision.models.resnet import ResNet

HEADER = "jaxsim_encoders"
"""The only entry of the file's metadata, a JSON string, because the format does not keep the order of several."""
PARTS = ("encoders", "metadata", "sha256")
WHOLE = "sha256_of_header"
"""Keys of the JSON string: the parts, and their SHA-256, which older files lack."""

Encoder = SmallEncoder | ResNet
KINDS: Mapping[str, type[Encoder]] = MappingProxyType({"SmallEncoder": SmallEncoder, "ResNet": ResNet})
"""Classes of encoders by their name in the header; an unnamed one is a `SmallEncoder`."""
CONTAINERS = ("convolutions", "blocks")
"""Modules that only contain layers; their names are left out of array names."""


def to_safetensors(
    encoders: Mapping[str, Encoder],
    path: str | Path,
    metadata: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write named encoders to one file atomically.

    Arrays are named `depth/conv1/kernel`, or for a `ResNet` `resnet50/block1/unit1/conv1/linear/kernel` and
    `resnet50/stem/norm/mean`. Equal encoders and metadata give equal bytes.

    Args:
        encoders: encoders by name; names contain no slash.
        path: the file to write.
        metadata: JSON types, such as what the encoders were trained on, and how.
        overwrite: replace an existing file.

    Returns:
        The path.

    Raises:
        ValueError: there are no encoders, one is folded, or a name is empty or contains a slash.
        TypeError: one is neither a `SmallEncoder` nor a `ResNet`, or the metadata are not JSON.
        FileExistsError: the file exists and `overwrite` is False.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> from jaxsim.vision import models
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
        if type(encoder).__name__ not in KINDS:
            raise TypeError(
                f"{path} was not written: {name!r} is a {type(encoder).__name__}, not {' or '.join(KINDS)}."
            )
        if is_folded(encoder):
            raise ValueError(f"{path} was not written: {name!r} is folded; save the original network instead.")
        if not name or "/" in name:
            raise ValueError(
                f"{path} was not written: {name!r} cannot be the name of an encoder (it is empty or has a slash)."
            )
        arrays |= {f"{name}/{key}": np.asarray(variable[...]) for key, variable in variables(encoder).items()}
    header = {
        "encoders": {name: _description(encoder) for name, encoder in encoders.items()},
        "metadata": dict(metadata or {}),
        "sha256": {key: _sum(values) for key, values in arrays.items()},
    }
    header[WHOLE] = sha256_of_json(header)
    data = save(arrays, {HEADER: json.dumps(header)})
    with io.atomic(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def from_safetensors(path: str | Path) -> dict[str, Any]:
    """Read the encoders that `to_safetensors` wrote, in their order.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: the file cannot be read.
        ValueError: the file is damaged or not of this kind; or an array is missing, unknown, of the wrong shape or
            type, differs from its checksum, or has values that are not finite. The message names the file and the
            array.
    """
    header, arrays = _read(path)
    try:
        encoders = {name: without_values(**description) for name, description in header["encoders"].items()}
        sums = dict(header["sha256"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: its header does not describe encoders ({error}).") from None
    slots = {f"{name}/{key}": slot for name, encoder in encoders.items() for key, slot in variables(encoder).items()}
    for key in sorted(slots.keys() | arrays.keys()):
        if key not in arrays:
            raise ValueError(f"{path} has no array {key!r}.")
        if key not in slots:
            raise ValueError(f"{path} has an array {key!r} that belongs to none of its encoders.")
        _check(path, key, arrays[key], slots[key], sums.get(key, ""))
        slots[key].set_value(jnp.asarray(arrays[key]))
    return encoders


def safetensors_metadata(path: str | Path) -> dict[str, Any]:
    """Read the metadata that was given to `to_safetensors`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is damaged or not of this kind.
    """
    return _read(path)[0].get("metadata", {})


def variables(network: nnx.Module) -> dict[str, nnx.Variable]:
    """A network's weights and statistics by their names in a file, without the network's name."""
    found = [(path, value) for path, value in nnx.iter_graph(network) if isinstance(value, nnx.Variable)]
    return {"/".join(str(part) for part in path if part not in CONTAINERS): value for path, value in found}


def digest(network: nnx.Module) -> str:
    """SHA-256 of all variables of a network, with their names, types and shapes.

    >>> from flax import nnx
    >>> first, second = (nnx.Linear(2, 3, rngs=nnx.Rngs(seed)) for seed in (0, 1))
    >>> digest(first) == digest(nnx.clone(first)), digest(first) == digest(second)
    (True, False)
    """
    total = hashlib.sha256()
    for name, variable in sorted(variables(network).items()):
        value = variable[...]
        keys = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
        values = np.asarray(jax.random.key_data(value) if keys else value)
        total.update(f"{name} {values.dtype} {values.shape}".encode() + values.tobytes())
    return total.hexdigest()


def without_values(*, network: str = "SmallEncoder", **configuration: Any) -> Encoder:
    """An encoder of that class whose weights have shapes but no values."""
    if network not in KINDS:
        raise ValueError(f"there is no kind of encoder {network!r}")
    return nnx.eval_shape(lambda: KINDS[network](**configuration, rngs=nnx.Rngs(0)))


def _description(encoder: Encoder) -> dict[str, Any]:
    kind = type(encoder).__name__
    return ({} if kind == "SmallEncoder" else {"network": kind}) | encoder.configuration


def _sum(values: np.ndarray) -> str:
    """SHA-256 of the bytes only; the encoders give the type and shape of their arrays."""
    return hashlib.sha256(values.tobytes()).hexdigest()


def _check(path: str | Path, key: str, values: np.ndarray, slot: Any, expected: str) -> None:
    if values.shape != slot.shape:
        raise ValueError(f"{path}: array {key!r} has shape {values.shape}, but its encoder needs {slot.shape}.")
    if values.dtype != slot.dtype:
        raise ValueError(f"{path}: array {key!r} has type {values.dtype}, but its encoder needs {slot.dtype}.")
    if _sum(values) != expected:
        raise Damaged(f"{path} is damaged: array {key!r} differs from its checksum.")
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: array {key!r} has values that are not finite.")


def _read(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read the header's JSON and the arrays."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist or is not a file.")
    try:
        with safe_open(path, "numpy") as file:
            text = (file.metadata() or {}).get(HEADER)
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        header = parse_json(text) if text is not None else None
    except OSError as error:
        raise type(error)(f"{path} could not be read: {error}.") from error
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}.") from None
    if not isinstance(header, dict):
        raise ValueError(f"{path} contains no jaxsim encoders; convert a checkpoint with `jaxsim convert`.")
    whole = header.pop(WHOLE, None)
    if not header.keys() <= set(PARTS) or whole not in (None, sha256_of_json(header)):
        raise ValueError(f"{path} is damaged: its header differs from its checksum.")
    return header, arrays
