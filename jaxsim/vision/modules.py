"""Features of PyTorch, Flax NNX and Flax Linen networks, by the names of their modules.

PyTorch and Flax are only imported if a network of theirs is given. Writing features to a folder needs the `nn` extra.
Several networks can share one pass over the images::

    from jaxsim.vision import modules

    networks = {"resnet": resnet, "vit": vit}
    layers = {"resnet": "layer*", "vit": "blocks.*"}
    features = modules.features(networks, loader, layers, pool="mean")
    jaxsim.resample(features, "cka").plot()

For pictures on disk, use `jaxsim.vision.extraction.extract`, which also preprocesses them as each network was trained.
"""

import contextlib
import functools
import inspect
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxsim import extras
from jaxsim.io import read_features
from jaxsim.io.files import counted, few, nearest, repeated, warn
from jaxsim.statistics.checks import as_count
from jaxsim.vision import layer_outputs
from jaxsim.vision.layer_outputs import Taken

Layers = str | Sequence[str]
INPUTS = ("pixel_values", "images", "image", "x", "input", "inputs")
"""Keys of a batch under which to look for its images."""
TARGETS = ("labels", "label", "y")
"""Keys of a batch that are not passed to a network."""


def features(
    model: Any,
    images: Any,
    layers: Layers | Mapping[str, Layers],
    *,
    pool: str | Callable[[Any], Any] | None = None,
    channels: str | Mapping[str, str] | None = None,
    call: Callable[[Any, Any], Any] | None = None,
    batch: int = 32,
    ids: Sequence[Any] | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> dict[str, np.ndarray]:
    """Extract the outputs of modules of one or several networks, for all images.

    The network computes on its own device, in evaluation mode and without gradients. Its training flags are restored,
    and nothing else in it changes. Its numerical settings, such as PyTorch's TensorFloat-32 on a GPU, stay as you set
    them. Flax networks are compiled, with products at the highest precision. Outputs are copied when a module returns,
    so in-place activations do not change them.

    A module that returns a tuple or a dict gives `layer[0]`, `layer[key]`, ... if it contains several arrays. A module
    that is called several times in one pass gives `layer#1`, `layer#2`, ...

    Args:
        model: a `torch.nn.Module`, an `nnx.Module` or a Linen module with its variables, `module.bind(variables)`; or
            several, by name, whose layers are then `name.layer`.
        images: an array or tensor `(n, ...)`, a dict of them, a PyTorch `Dataset` or `DataLoader`, or any batches:
            tensors, tuples whose first entry is the images, or dicts, from which the network gets the arguments it
            accepts by name. The order must not change between calls.
        layers: dotted names of modules, or patterns in which `*` is any text without a dot and `**` any text; a mapping
            by network if they differ. `layer[0]` and `layer[key]` select one of several arrays.
        pool: None for all features; "mean" over positions; "first", the first token of `(b, tokens, c)`; or a function
            from a module's output, unchanged except for the cast to float32, to an array `(b, ...)`.
        channels: "first" or "last", or one of them by pattern. By default PyTorch outputs with four or more axes have
            channels first, all others last. Features are returned channels last.
        call: function of a network and the images of a batch that runs the network; by default `model(images)`. For
            Linen it is a method of the module.
        batch: images per batch, unless `images` are already batches.
        ids: ids of the images; by default their numbers. They are written to `out`, and required there if the number of
            images is unknown.
        out: folder to write to, batch by batch; it appears when it is complete. After an error or a kill, the same call
            resumes. Finished batches are read again but not recomputed.
        overwrite: replace the features in `out`.
        progress: called with (images done, all images if known) after each batch.

    Returns:
        Features by layer, in the order in which modules were called: `(n, ..., c)` float32, memory-mapped if `out` is
        given. `jaxsim.read_features(out)` returns them with the ids.

    Raises:
        FileExistsError: `out` already exists.
        TypeError: the network or the images are of an unknown kind.
        ValueError: no layer matches (the message lists them), or a layer was not called; its output has no array with
            one row per image; images are shuffled, or not of the announced number; the network does not accept them; a
            layer or an id is given twice, or two layers get the same name; `OUT.part` belongs to another job.

    Example:
        >>> from flax import nnx
        >>> network = nnx.Sequential(nnx.Linear(5, 4, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(4, 3, rngs=nnx.Rngs(0)))
        >>> {name: x.shape for name, x in features(network, np.ones((7, 5), np.float32), "layers.*").items()}
        {'layers.0': (7, 4), 'layers.2': (7, 3)}
    """
    layer_outputs.check(pool, channels)
    several = isinstance(model, Mapping)
    models = dict(model) if several else {"": model}
    if not models:
        raise ValueError("no networks were given.")
    stream, count = _batches(images, batch), _count(images)
    if ids is not None and count is not None and len(ids) != count:
        raise ValueError(f"{counted(len(ids), 'id')} given for {counted(count, 'image')}; give one per image.")
    if twice := repeated(map(str, () if ids is None else ids)):
        raise ValueError(f"ids name {twice[0]!r} more than once; give every image a different id.")
    with contextlib.ExitStack() as stack:
        runs = {}
        for name, one in models.items():
            taken = Taken(_patterns(layers, name, models), pool, channels)
            runs[f"{name}." if several else ""] = stack.enter_context(_running(name, one, taken, call))
        rows = _rows(stream, runs)
        if out is None:
            return _in_memory(rows, count if ids is None else len(ids), progress)
        stated = {"pool": getattr(pool, "__qualname__", pool), "channels": channels}
        stated["networks"] = {name: run.weights() for name, run in runs.items()}
        count = len(ids) if ids is not None else count
        if count is None:
            raise ValueError(
                f"the number of images is not known in advance; pass their ids to write features to {out}."
            )
        ids = [str(one) for one in (range(count) if ids is None else ids)]
        return _in_folder(rows, out, ids, stated, overwrite, progress)


def _patterns(layers: Layers | Mapping[str, Layers], name: str, models: Mapping[str, Any]) -> tuple[str, ...]:
    if isinstance(layers, Mapping):
        if odd := [one for one in (*layers, *models) if one not in models or one not in layers]:
            raise ValueError(f"layers of {odd[0]!r}: give layers for exactly the networks {few([*models])}.")
        layers = layers[name]
    found = (layers,) if isinstance(layers, str) else tuple(layers)
    if not found:
        raise ValueError('no layers were given; pass a name or pattern, such as "layer*" (** matches all).')
    if twice := repeated(found):
        who = f" of network {name!r}" if name else ""
        raise ValueError(f"layers{who} name {twice[0]!r} more than once; give each layer or pattern once.")
    return found


def chosen(there: Sequence[str], taken: Taken, who: str) -> list[str]:
    """The layers that match, where `*` is text without dots.

    Raises:
        ValueError: a pattern matches no layer; the message lists the layers.

    >>> chosen(["stem", "layer1", "layer1.conv", "layer2"], Taken(("layer*",)), "the network")
    ['layer1', 'layer2']
    """
    found = {pattern: [name for name in there if layer_outputs.matches(pattern, name)] for pattern in taken.patterns}
    for pattern, names in found.items():
        if not names:
            near = nearest(pattern, there) if not set("*?[") & set(pattern) else ""
            near = near if near.startswith("did you") else f"it has {few(there, 60)}"
            raise layer_outputs.Unsupported(f"{who} has no layer {pattern!r}; {near.rstrip('.')} (** matches all).")
    every = [name for name in there if any(name in names for names in found.values())]
    nested = any(name.startswith(f"{other}.") for other in every for name in every)
    if len(every) == len(there) > 1 and nested:
        text = f"layers {few(taken.patterns)} of {who} match all its {len(there)} modules, "
        warn(f"{text}including modules that contain others; name the ones you want, such as {there[0]!r}.")
    return every


# Networks


class Run:
    """A network that is ready to run.

    Attributes:
        run: function from the images of a batch to arrays by layer.
        weights: function that returns a checksum of its weights.
    """

    def __init__(self, who: str, run: Callable[[Any], dict[str, np.ndarray]], weights: Callable[[], str]):
        self.who, self.run, self.weights = who, run, weights

    def __call__(self, images: Any, count: int) -> dict[str, np.ndarray]:
        """The arrays of a batch, each checked to have one row per image."""
        try:
            found = self.run(images)
        except (RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, layer_outputs.Unsupported):
                raise
            shapes = " and ".join(" x ".join(map(str, x.shape)) for x in _arrays(images))
            reason = textwrap.shorten(str(error).split("\n")[0], 300)
            raise ValueError(f"{self.who} does not accept a batch of {shapes}: {reason}") from error
        for layer, values in found.items():
            if values.ndim == 0 or len(values) != count:
                text = f"layer {layer!r} of {self.who} returns an array of shape {values.shape} for "
                one = "; name the outputs you want, such as 'layer[0]'"
                remedy = one if layer.endswith("]") else "; pass pool, a function that puts images on the first axis"
                raise ValueError(f"{text}{counted(count, 'image')}{remedy}.")
        return found


@contextlib.contextmanager
def _running(name: str, model: Any, taken: Taken, call: Callable[[Any, Any], Any] | None) -> Iterator[Run]:
    """Prepare a network to run, and restore it when the block ends."""
    who = f"network {name!r}" if name else "the network"
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(model).__mro__}
    if "torch.nn.modules.module.Module" in kinds:
        from jaxsim.vision import torch_modules as backend
    elif any(kind.startswith("flax.") and kind.endswith(".Module") for kind in kinds):
        with extras.needed("networks of Flax need"):
            from jaxsim.vision import flax_modules as backend
    else:
        text = f"{who} has type {type(model).__name__}; give a torch.nn.Module, an nnx.Module or a bound Linen module"
        raise TypeError(f"{text}, or a dict of those by name.")
    with backend.opened(model, functools.partial(chosen, taken=taken, who=who), taken, call or _called) as (
        run,
        weights,
    ):
        yield Run(who, run, weights)


def _called(model: Any, images: Any) -> Any:
    """Call a network on the images of a batch; for a dict, on the entries that it accepts by name."""
    if not isinstance(images, Mapping):
        return model(images)
    takes = inspect.signature(getattr(model, "forward", model.__call__)).parameters
    given = {key: value for key, value in images.items() if key not in TARGETS}
    if known := {key: value for key, value in given.items() if key in takes}:
        return model(**known)
    if key := next((key for key in (*INPUTS, *given) if key in given and (key in INPUTS or len(given) == 1)), None):
        return model(given[key])
    remedy = 'pass call, such as lambda model, batch: model(batch["pixels"])'
    raise layer_outputs.Unsupported(
        f"batches are dicts of {few([*images], 9)}, but the network takes {few([*takes], 9)}; {remedy}."
    )


# Images


def _batches(images: Any, batch: int) -> Iterator[tuple[Any, int]]:
    """Images batch by batch, with their number."""
    if isinstance(images, str | Path):
        raise TypeError(
            f"images must be arrays or batches, not {images!r}; to read folders, use jaxsim.vision.extraction."
        )
    batch = as_count(batch, "batch")
    if "Random" in type(getattr(images, "sampler", None)).__name__:
        raise ValueError("the loader shuffles, so rows would not match your images; make it with shuffle=False.")
    if isinstance(images, Mapping):
        images = _tensors(images)
    if _is_array(images) or isinstance(images, Mapping):
        return _slices(images, batch)
    if "torch" in sys.modules and hasattr(images, "__getitem__") and not isinstance(images, list | tuple):
        images = sys.modules["torch"].utils.data.DataLoader(images, batch)
    if not isinstance(images, Iterable):
        raise TypeError(f"images have type {type(images).__name__}; give an array (n, ...), batches or a DataLoader.")
    return ((found, len(_arrays(found)[0])) for found in map(_images, images))


def _slices(images: Any, batch: int) -> Iterator[tuple[Any, int]]:
    count = len(_arrays(images)[0])
    for start in range(0, count, batch):
        at = slice(start, min(start + batch, count))
        part = {key: x[at] for key, x in images.items()} if isinstance(images, Mapping) else images[at]
        yield part, at.stop - start


def _images(found: Any) -> Any:
    """The images of a batch: its first entry, or the arrays of a dict."""
    while isinstance(found, list | tuple) and found:
        found = found[0]
    if isinstance(found, Mapping):
        return _tensors(found)
    if not _is_array(found) or not getattr(found, "ndim", 0):
        raise TypeError(f"a batch contains a {type(found).__name__}; an array of images (b, ...) is expected.")
    return found


def _tensors(found: Mapping[str, Any]) -> dict[str, Any]:
    arrays = {key: x for key, x in found.items() if _is_array(x) and x.ndim}
    if len({len(x) for x in arrays.values()}) != 1:
        shapes = few([f"{key} {tuple(x.shape)}" for key, x in arrays.items()], 9) or "no arrays"
        raise ValueError(f"images in a dict must be arrays of the same length; the dict has {shapes}.")
    return arrays


def _is_array(x: Any) -> bool:
    return hasattr(x, "shape") and hasattr(x, "dtype")


def _arrays(images: Any) -> list[Any]:
    return list(images.values()) if isinstance(images, Mapping) else [images]


def _count(images: Any) -> int | None:
    """Number of images, if it is known before reading them."""
    if _is_array(images):
        return len(images)
    if isinstance(images, Mapping):
        return len(next(iter(_tensors(images).values())))
    try:
        if not hasattr(images, "dataset"):
            return len(images) if hasattr(images, "__getitem__") and not isinstance(images, list | tuple) else None
        count = len(images.sampler) if hasattr(images, "sampler") else len(images.dataset)
    except TypeError:
        return None
    return count // images.batch_size * images.batch_size if getattr(images, "drop_last", False) else count


# Features


def _rows(stream: Iterator[tuple[Any, int]], runs: Mapping[str, Run]) -> Iterator[tuple[int, Callable[[], dict]]]:
    """For each batch, the number of its images and a function that computes its features."""
    for images, count in stream:
        yield count, functools.partial(_computed, runs, images, count)


def _computed(runs: Mapping[str, Run], images: Any, count: int) -> dict[str, np.ndarray]:
    """Features of a batch by the names of networks and layers."""
    found = [(f"{name}{layer}", x) for name, run in runs.items() for layer, x in run(images, count).items()]
    if twice := repeated(name for name, _ in found):
        raise ValueError(f"two layers would both be named {twice[0]!r}; rename a network.")
    return dict(found)


def _in_memory(rows, count, progress) -> dict[str, np.ndarray]:
    found: dict[str, list[np.ndarray]] = {}
    done = 0
    for k, (more, compute) in enumerate(rows):
        values = compute()
        if k and values.keys() != found.keys():
            _refuse_other_layers(found, values)
        for layer, array in values.items():
            found.setdefault(layer, []).append(array)
        done += more
        if progress is not None:
            progress(done, count)
    _check_count(done, count)
    for layer, arrays in found.items():
        if odd := next((x.shape[1:] for x in arrays if x.shape[1:] != arrays[0].shape[1:]), None):
            raise ValueError(f"layer {layer!r} first has features of shape {arrays[0].shape[1:]}, and later of {odd}.")
    return {layer: np.concatenate(arrays) for layer, arrays in found.items()}


def _check_count(done: int, count: int | None) -> None:
    if not done or count not in (None, done):
        raise ValueError(f"there were {counted(done, 'image')}{f', but {count} were expected' if count else ''}.")


def _refuse_other_layers(before: Iterable[str], now: Iterable[str]) -> None:
    odd = sorted({*before} ^ {*now})[0]
    raise ValueError(f"layer {odd!r} was called for one batch but not for another.")


def _in_folder(rows, out, ids, stated, overwrite, progress) -> dict[str, np.ndarray]:
    with extras.needed("features in a folder need"):
        from jaxsim.vision.extraction import storage
    storage.check(out, overwrite)
    try:
        more, compute = next(rows)
    except StopIteration:
        raise ValueError("there were 0 images.") from None
    first = compute()
    shapes = {layer: values.shape[1:] for layer, values in first.items()}
    described = {layer: {"layer": layer, "shape": shape} for layer, shape in shapes.items()}
    with storage.opened(out, {"features": described, **stated}, ids, shapes, overwrite=overwrite) as store:
        try:
            _append(store, itertools.chain([(more, lambda: first)], rows), len(ids), progress)
        except (ValueError, TypeError, OSError, RuntimeError) as error:
            if not store.done:
                raise
            raise storage.Unfinished(str(error), store.done, len(ids), storage.part_of(out)) from error
    kept, _ = read_features(out, stack=False)
    return {layer: kept[layer] for layer in shapes}


def _append(store, rows, count, progress) -> None:
    """Write the features of all images that are not done yet."""
    seen = 0
    for more, compute in rows:
        seen += more
        if seen > count:
            raise ValueError(f"there were more images than the {count} expected.")
        if seen > store.done:
            values = compute()
            if values.keys() != store.rows.keys():
                _refuse_other_layers(store.rows, values)
            left = seen - store.done
            store.append({layer: array[more - left :] for layer, array in values.items()})
        if progress is not None:
            progress(store.done, count)
    _check_count(seen, count)
