"""Conversion of other libraries' arrays, lists and tables to NumPy or JAX."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxsim import casts


def traced(*values: Any) -> bool:
    """Whether any of these arrays is a JAX tracer."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(values))


def numeric(array: Any, who: str, *, cast: bool = True):
    """Convert the array to NumPy or JAX, in floating point if `cast`; DLPack arrays are not copied.

    Raises:
        TypeError: it is not an array of real numbers; the message starts with `who`.
        ValueError: it is a list of arrays of different shapes.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{who} is a masked array; leave its missing images out and give ids.")
    if not isinstance(array, (jax.Array, np.ndarray)):
        array = _from_dlpack(array, who) if hasattr(array, "__dlpack__") else _from_lists(array, who)
    if not casts.is_real(array.dtype):
        raise TypeError(f"{who} has elements of type {array.dtype}; they must be real numbers.")
    if not cast or (array.dtype.kind == "f" and array.dtype.itemsize >= 4):
        return array
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array.astype(np.float32)
    if array.dtype.itemsize >= 4 and not traced(array):
        array = np.asarray(array)
    return array if casts.is_wide(array) else array.astype(jax.dtypes.canonicalize_dtype(float))


def _from_dlpack(array: Any, who: str) -> Any:
    if getattr(array, "requires_grad", False):
        array = array.detach()
    steps = [lambda x: x, lambda x: x.contiguous(), lambda x: x.cpu().contiguous()]  # for PyTorch: views, other devices
    ways = [*itertools.product(steps, (jax.dlpack.from_dlpack, np.asarray))]
    if "64" in str(getattr(array, "dtype", "")):  # JAX would wrap large integers and round other numbers
        whole = "int" in str(array.dtype)
        ways = [*((step, np.from_dlpack) for step in steps), *(w for w in ways if not whole or w[1] is np.asarray)]
    for step, take in ways:
        try:
            return take(step(array))
        except (TypeError, RuntimeError, BufferError, ValueError, AttributeError):
            continue
    kind = " ".join([type(array).__name__, *(str(getattr(array, x)) for x in ("dtype", "layout") if hasattr(array, x))])
    raise TypeError(f"{who} could not be converted from {kind}; give a dense array, such as x.float().cpu().numpy().")


def _from_lists(array: Any, who: str) -> Any:
    if isinstance(array, list | tuple) and any(hasattr(row, "__dlpack__") for row in array):
        return _from_rows([numeric(row, f"{who}, row {k},") for k, row in enumerate(array)], who)
    try:
        found = np.asarray(array)
    except ValueError:
        raise ValueError(f"{who} is not an array: its rows have different lengths.") from None
    if found.dtype == object and hasattr(array, "columns"):
        _refuse_text(array, who)
    if found.dtype == object and found.ndim == 0:
        raise TypeError(f"{who} has type {type(array).__name__}, which is not an array of real numbers (object).")
    return found


def _refuse_text(frame, who):
    """Reject a DataFrame with a column that is not numeric."""
    for column, dtype in zip(frame.columns, frame.dtypes, strict=True):
        if dtype.kind not in "biuf":
            raise TypeError(f"{who} has the column {column!r} of type {dtype}; give only columns of numbers.")


def _from_rows(rows, who):
    shapes = [row.shape for row in rows]
    if odd := [shape for shape in shapes if shape != shapes[0]]:
        raise ValueError(f"{who} is not an array: its rows have shapes {shapes[0]} and {odd[0]}.")
    if traced(rows):
        return jnp.stack([row.astype(casts.score_type(row.dtype)) for row in rows])
    return (jnp if all(isinstance(row, jax.Array) for row in rows) else np).stack(rows)
