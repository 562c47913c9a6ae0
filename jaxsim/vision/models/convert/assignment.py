"""Assignment of a checkpoint's tensors: each is used, left out for a stated reason, or named in an error."""

import dataclasses
import fnmatch
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsim.io.files import few
from jaxsim.vision.models.convert.checkpoint_files import read_checkpoint
from jaxsim.vision.models.convert.name_tables import NAMINGS, Naming
from jaxsim.vision.models.resnet import NETWORKS, ResNet
from jaxsim.vision.models.weights import variables

STEM = "stem/linear/kernel"
SHOWN = 5
"""Tensors of each kind that an error lists."""


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A converted network and the use of each tensor.

    Attributes:
        network: the network, in float32.
        naming: the checkpoint's family of names.
        taken: source tensor of each of our parameters.
        left_out: unused tensors by reason.
        cast: tensors that were not float32, with their dtype.
        notes: oddities of the values, a sentence each.
    """

    network: Any
    naming: str
    taken: Mapping[str, str]
    left_out: Mapping[str, tuple[str, ...]]
    cast: Mapping[str, str]
    notes: tuple[str, ...]


class Misfit(ValueError):
    """A checkpoint that does not fit a network; the message lists the first tensors of each kind.

    Attributes:
        problems: all tensors by problem: 'missing', 'unknown', 'of another shape', ...
    """

    def __init__(self, source: str, naming: str, problems: Mapping[str, Sequence[str]]):
        self.problems = {kind: tuple(names) for kind, names in problems.items() if names}
        found = "; ".join(f"{kind} {few(names, SHOWN)}" for kind, names in self.problems.items())
        super().__init__(f"{source} does not fit the names of {naming}: {found}.")


def from_checkpoint(path: str | Path, network: str = "resnet50", *, leave_out: Sequence[str] = ()) -> Conversion:
    """Load a public encoder from a checkpoint; it has one input channel if the checkpoint does.

    Args:
        path: as for `read_checkpoint`.
        network: a name in `NETWORKS`.
        leave_out: further tensors to ignore, besides those known to belong to other parts; `*` matches any text.

    Raises:
        FileNotFoundError: the checkpoint does not exist.
        ImportError: the checkpoint needs PyTorch, which is not installed.
        ValueError: the network is unknown, the checkpoint is damaged, or it does not fit.

    Example:
        >>> from jaxsim.vision import models
        >>> models.from_checkpoint("resnet50.pth", "resnet18")
        Traceback (most recent call last):
        ...
        ValueError: there is no network 'resnet18'; there are resnet50, resnet50-taskonomy.
    """
    if network not in NETWORKS:
        raise ValueError(f"there is no network {network!r}; there are {', '.join(NETWORKS)}.")
    tensors, namings = read_checkpoint(path), NAMINGS[network]
    stems = {prefix + n.key(STEM): 1 if n.outputs_first else 2 for n in namings for prefix in n.prefixes}
    gray = any(key in tensors and tensors[key].shape[axis : axis + 1] == (1,) for key, axis in stems.items())
    empty = nnx.eval_shape(lambda: ResNet.named(network, channels_in=1 if gray else 3, rngs=nnx.Rngs(0)))
    return fill(empty, tensors, namings, source=str(path), leave_out=leave_out)


def fill(
    network: nnx.Module,
    tensors: Mapping[str, np.ndarray],
    namings: Sequence[Naming],
    *,
    source: str,
    leave_out: Sequence[str] = (),
) -> Conversion:
    """Copy a checkpoint's values into a network, in place.

    Args:
        network: the network; its values may be shapes only (`nnx.eval_shape`).
        tensors: the checkpoint's tensors by name.
        namings: possible families of names; the one that fits most tensors is used.
        source: name of the checkpoint in errors.
        leave_out: as for `from_checkpoint`.

    Returns:
        The network, and the use of every tensor.

    Raises:
        Misfit: tensors are missing, unknown, of another shape or type, not finite, or negative variances; the network
            is not changed.
        ValueError: the network fits none of these families.

    Example:
        >>> import numpy as np
        >>> from flax import nnx
        >>> from jaxsim.vision import models
        >>> from jaxsim.vision.models import convert
        >>> head = models.TaskonomyHead(2, features_in=3, hidden=4, rngs=nnx.Rngs(0))
        >>> first, last = "three_layer_fc_network/fc0", "three_layer_fc_network/fc2"
        >>> tensors = {f"{first}/weights": np.ones((4, 3)), f"{last}/weights": np.ones((4, 2)), f"{last}/b": np.ones(2)}
        >>> tensors |= {f"{first}/BatchNorm/{part}": np.ones(4) for part in ("gamma", "beta", "moving_mean")}
        >>> convert.fill(head, tensors, convert.NAMINGS["taskonomy-head"], source="class_places")
        Traceback (most recent call last):
        ...
        jaxsim.vision.models.convert.assignment.Misfit: class_places does not fit the names of Taskonomy's task bank, head:
        missing three_layer_fc_network/fc0/BatchNorm/moving_variance, three_layer_fc_network/fc2/biases;
        unknown three_layer_fc_network/fc2/b;
        of another shape three_layer_fc_network/fc0/weights (4, 3), not (3, 4): its axes are in another order.
    """  # noqa: E501
    slots = variables(network)
    naming, prefix = _recognized(list(slots), tensors, namings, source)
    keys = {name: prefix + naming.key(name) for name in slots}
    used = set(keys.values())
    rest = [key for key in tensors if key not in used]
    reasons = {key: _reason(key, prefix, naming, leave_out) for key in rest}
    values = {name: tensors[key] for name, key in keys.items() if key in tensors}
    problems = {
        "missing": [key for key in keys.values() if key not in tensors],
        "unknown": [key for key, reason in reasons.items() if reason is None],
    }
    for name, there in values.items():
        kind, text = _problem(name, there, naming.shape(slots[name].shape))
        if kind:
            problems.setdefault(kind, []).append(keys[name] + text)
    if any(problems.values()):
        raise Misfit(source, naming.label, problems)
    for name, slot in slots.items():
        slot.set_value(jnp.asarray(naming.values(values[name], slot.shape).astype(np.float32)))
    cast = {keys[name]: str(there.dtype) for name, there in values.items() if there.dtype != np.float32}
    left_out = {reason: tuple(k for k in rest if reasons[k] == reason) for reason in reasons.values() if reason}
    return Conversion(network, naming.label, keys, left_out, cast, _notes(values))


def _recognized(
    names: Sequence[str], tensors: Mapping[str, np.ndarray], namings: Sequence[Naming], source: str
) -> tuple[Naming, str]:
    """The family of names and the prefix under which the checkpoint has most of our parameters."""
    try:
        named = [(i, prefix, naming) for i, naming in enumerate(namings) for prefix in naming.prefixes]
        counts = {(i, prefix): sum(prefix + naming.key(n) in tensors for n in names) for i, prefix, naming in named}
    except KeyError as error:
        raise ValueError(f"no family of names includes {error.args[0]!r} of the network; is it folded?") from error
    i, prefix = max(counts, key=counts.__getitem__)
    if not counts[i, prefix]:
        families = " or ".join(naming.label for naming in namings)
        shown = ", ".join(list(tensors)[:4]) or "none"
        raise ValueError(f"{source} has no tensor named as in {families}; its first are {shown}.")
    return namings[i], prefix


def _reason(key: str, prefix: str, naming: Naming, leave_out: Sequence[str]) -> str | None:
    """Reason to leave out an unused tensor, or None if it is unknown."""
    for pattern, reason in naming.left_out.items():
        if re.fullmatch(pattern, key) or re.fullmatch(pattern, key.removeprefix(prefix)):
            return reason
    return "as asked" if any(fnmatch.fnmatchcase(key, pattern) for pattern in leave_out) else None


def _problem(name: str, there: np.ndarray, shape: tuple[int, ...]) -> tuple[str, str]:
    """Kind and description of a tensor's problem; both empty if it has none."""
    if there.shape != shape:
        turned = ": its axes are in another order" if sorted(there.shape) == sorted(shape) else ""
        return "of another shape", f" {there.shape}, not {shape}{turned}"
    if not jnp.issubdtype(there.dtype, jnp.floating):
        return "of another type", f" ({there.dtype}, not floating)"
    with np.errstate(over="ignore"):
        low = np.min(there.astype(np.float32), initial=0)
        finite = np.isfinite(there.astype(np.float32)).all()
    if not finite:
        return "not finite", ""
    return ("below zero", "") if name.endswith("var") and low < 0 else ("", "")


def _notes(values: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    scale, shift = values.get("code/norm/scale"), values.get("code/norm/bias")
    if scale is None or shift is None or np.any(scale != 1) or np.any(shift != 0):
        return ()
    return ("The code's scale and shift are 1 and 0, as before training: it may be a random projection.",)
