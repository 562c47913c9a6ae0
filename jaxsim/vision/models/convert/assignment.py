"""Assignment of a checkpoint's tensors: each is used, left out for a stated reason, or reported in an error."""

import collections
import dataclasses
import fnmatch
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsim.io.files import few, warn
from jaxsim.vision.models.convert.checkpoint_files import read_checkpoint
from jaxsim.vision.models.convert.name_tables import NAMINGS, Naming
from jaxsim.vision.models.resnet import NETWORKS, ResNet
from jaxsim.vision.models.weights import variables

STEM = "stem/linear/kernel"
SHOWN = 5
"""Number of tensors of each kind that an error lists."""
WRAPPED = re.compile(r"(?<=[./])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Parts that wrappers add inside names; parts before all names are found as their prefix."""
_SECOND = "ema|swa|avg|averaged|student|momentum|target|encoder_k|key|exponentialmovingaverage"
SECOND = re.compile(rf"(?<![a-z])({_SECOND})(?![a-z])")
"""Words that mark sets of weights that are not the first choice if a checkpoint has several."""


@dataclasses.dataclass(frozen=True)
class Place:
    """One set of weights in a checkpoint.

    Attributes:
        entry: key of its dict in the file, '' for the whole file.
        prefix: text before all names.
        naming: its family of names.
        count: number of our parameters that it has.
    """

    entry: str
    prefix: str
    naming: Naming
    count: int

    def __str__(self) -> str:
        """The entry and prefix that choose it."""
        return f"entry {self.entry!r} with prefix {self.prefix!r}"

    def keys(self, tensors: Mapping[str, Any]) -> dict[str, str]:
        """Names in the file by names without prefix and wrappers."""
        start = len(self.prefix)
        return {WRAPPED.sub("", key[start:]): key for key in tensors if key.startswith(self.prefix)}


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A converted network and the use of each tensor.

    Attributes:
        network: the network, in float32.
        naming: the checkpoint's family of names.
        entry: the dict of the file that was read, such as 'state_dict'; '' for the whole file.
        prefix: text before all names that were used.
        taken: source tensor of each of our parameters.
        left_out: unused tensors, and what else is in the file, by reason.
        cast: tensors that were not float32, with their dtype.
        notes: sentences about unusual values.
    """

    network: Any
    naming: str
    entry: str
    prefix: str
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
        remedy = " To ignore unknown tensors, give leave_out (--leave-out)." if "unknown" in self.problems else ""
        super().__init__(f"{source} does not fit the names of {naming}: {found}.{remedy}")


def from_checkpoint(
    path: str | Path,
    network: str = "resnet50",
    *,
    entry: str | None = None,
    prefix: str | None = None,
    leave_out: Sequence[str] = (),
) -> Conversion:
    """Load a public encoder from a checkpoint; it has one input channel if the checkpoint does.

    The dict in the file, and the prefix that wrappers gave to all names, are those under which most parameters are
    found. Tensors without the prefix are left out. If there are several sets of weights (raw and averaged, teacher and
    student), the raw ones, the teacher or else the first are read, with a warning that names all.

    Args:
        path: as for `read_checkpoint`.
        network: a name in `NETWORKS`.
        entry: the dict to read, such as 'state_dict_ema' or 'model/teacher'; '' for the file's own tensors.
        prefix: the prefix to read, such as 'module.encoder_k.'.
        leave_out: further tensors to ignore, besides those known to belong to other parts; `*` matches any text.

    Raises:
        FileNotFoundError: the checkpoint does not exist.
        ImportError: the checkpoint needs PyTorch, which is not installed.
        ValueError: the network, entry or prefix is unknown, the checkpoint is damaged, or it does not fit.

    Example:
        >>> from jaxsim.vision import models
        >>> models.from_checkpoint("resnet50.pth", "resnet18")
        Traceback (most recent call last):
        ...
        ValueError: there is no network 'resnet18'; choose from resnet50, resnet50-taskonomy.
    """
    if network not in NETWORKS:
        raise ValueError(f"there is no network {network!r}; choose from {', '.join(NETWORKS)}.")
    entries, beside = read_checkpoint(path)

    def empty(channels: int) -> Any:
        return nnx.eval_shape(lambda: ResNet.named(network, channels_in=channels, rngs=nnx.Rngs(0)))

    places = _places(list(variables(empty(3))), entries, NAMINGS[network], str(path))
    place = _chosen(places, entries, str(path), entry, prefix)
    tensors = entries[place.entry]
    stem = place.keys(tensors).get(place.naming.key(STEM))
    axis = 1 if place.naming.outputs_first else 2
    gray = stem is not None and tensors[stem].shape[axis : axis + 1] == (1,)
    found = _filled(empty(1 if gray else 3), tensors, place, str(path), leave_out)
    return dataclasses.replace(found, left_out=dict(found.left_out) | _elsewhere(entries, place.entry, beside))


def _elsewhere(entries: Mapping[str, Any], used: str, beside: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Tensors of other entries, and what is not tensors."""
    left: dict[str, tuple[str, ...]] = {}
    for entry in entries.keys() - {used}:
        top = entry.split("/")[0]
        reason = f"entry {entry if top == used.split('/')[0] else top!r}" if entry else "outside the entries"
        left[reason] = (*left.get(reason, ()), *(f"{entry}/{key}" if entry else key for key in entries[entry]))
    return left | ({"no tensors by name": tuple(beside)} if beside else {})


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
        To ignore unknown tensors, give leave_out (--leave-out).
    """  # noqa: E501
    entries = {"": tensors}
    places = _places(list(variables(network)), entries, namings, source)
    return _filled(network, tensors, _chosen(places, entries, source), source, leave_out)


def _filled(
    network: Any, tensors: Mapping[str, np.ndarray], place: Place, source: str, leave_out: Sequence[str]
) -> Conversion:
    slots, naming = variables(network), place.naming
    there = place.keys(tensors)
    keys = {name: there.get(naming.key(name), place.prefix + naming.key(name)) for name in slots}
    used = set(keys.values())
    rest = [key for key in tensors if key not in used]
    idle = [one for one in leave_out if not fnmatch.filter(rest, one)]
    if idle:
        warn(f"{source}: leave_out (--leave-out) {', '.join(map(repr, idle))} matches no unused tensor.")
    reasons = {key: _reason(key, place, leave_out) for key in rest}
    values = {name: tensors[key] for name, key in keys.items() if key in tensors}
    problems = {
        "missing": [key for key in keys.values() if key not in tensors],
        "unknown": [key for key, reason in reasons.items() if reason is None],
    }
    for name, value in values.items():
        kind, text = _problem(name, value, naming.shape(slots[name].shape))
        if kind:
            problems.setdefault(kind, []).append(keys[name] + text)
    if any(problems.values()):
        raise Misfit(source, naming.label, problems)
    for name, slot in slots.items():
        slot.set_value(jnp.asarray(naming.values(values[name], slot.shape).astype(np.float32)))
    cast = {keys[name]: str(value.dtype) for name, value in values.items() if value.dtype != np.float32}
    left_out = {reason: tuple(k for k in rest if reasons[k] == reason) for reason in reasons.values() if reason}
    return Conversion(network, naming.label, place.entry, place.prefix, keys, left_out, cast, _notes(values))


def _places(
    names: Sequence[str], entries: Mapping[str, Mapping[str, Any]], namings: Sequence[Naming], source: str
) -> list[Place]:
    """Each entry, prefix and family under which the checkpoint has some of our parameters."""
    found = []
    for naming in namings:
        try:
            ours = {naming.key(name) for name in names}
        except KeyError as error:
            raise ValueError(
                f"no known naming has the tensor {error.args[0]!r} of the network; is the network folded?"
            ) from error
        for entry, tensors in entries.items():
            heads = [(key, head) for key in tensors for head in _heads(key)]
            counts = collections.Counter(head for key, head in heads if WRAPPED.sub("", key[len(head) :]) in ours)
            found += [Place(entry, prefix, naming, count) for prefix, count in counts.items()]
    if not found:
        families = " or ".join(naming.label for naming in namings)
        shown = ", ".join([key for tensors in entries.values() for key in tensors][:4]) or "none"
        raise ValueError(f"{source} has no tensor with a name as in {families}; its first tensors are {shown}.")
    return found


def _heads(text: str) -> list[str]:
    """The prefixes that a name may have, starting with the empty one.

    >>> _heads("module.fc/w")
    ['', 'module.', 'module.fc/']
    """
    return ["", *(text[: dot.end()] for dot in re.finditer("[./]", text))]


def _chosen(
    places: Sequence[Place],
    entries: Mapping[str, Any],
    source: str,
    entry: str | None = None,
    prefix: str | None = None,
) -> Place:
    """The requested set of weights, or the one with most of our parameters; warn if others have about as many."""
    if entry is not None and entry not in entries:
        raise ValueError(f"{source} has no entry {entry!r}; it has {', '.join(map(repr, entries))}.")
    asked = [p for p in places if entry in (None, p.entry) and prefix in (None, p.prefix, p.prefix[:-1])]
    most = max((p.count for p in asked or places), default=0)
    rivals = [p for p in asked or places if 2 * p.count >= most]
    if not asked:
        given = "".join(f" with {k} {v!r}" for k, v in (("entry", entry), ("prefix", prefix)) if v is not None)
        raise ValueError(f"{source} has no weights{given}; its weights are: {'; '.join(map(str, rivals))}.")
    best = min(
        (p for p in rivals if p.count == most), key=lambda p: bool(SECOND.search(f"{p.entry} {p.prefix}".lower()))
    )
    if len(rivals) > 1:
        text = (
            f"{source} has {len(rivals)} sets of weights: {'; '.join(map(str, rivals))}. The one read is {best}. "
            "Choose another "
        )
        warn(f"{text}with entry or prefix (--entry, --prefix).")
    return best


def _reason(key: str, place: Place, leave_out: Sequence[str]) -> str | None:
    """Reason to leave out an unused tensor, or None if it is unknown."""
    for pattern, reason in place.naming.left_out.items():
        if any(re.fullmatch(pattern, key.removeprefix(head)) for head in _heads(place.prefix)):
            return reason
    if any(fnmatch.fnmatchcase(key, pattern) for pattern in leave_out):
        return "as asked"
    return None if key.startswith(place.prefix) else f"without prefix {place.prefix!r}"


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
