"""Extraction job: pictures through encoders to a folder of features, batch by batch, resumable."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from jaxsim.io.files import warn
from jaxsim.statistics.checks import as_count
from jaxsim.vision import datasets
from jaxsim.vision.datasets import Batch, Dataset, Example
from jaxsim.vision.extraction import forward, storage
from jaxsim.vision.extraction.crops import Frame, Size
from jaxsim.vision.extraction.preprocessing import Preprocessing, named, preprocessing_of

NO_PICTURE = np.zeros((1, 1, 3), np.uint8)
"""Placeholder for the picture if only views of it are used."""
FAULTS = (ValueError, OSError, jax.errors.JaxRuntimeError)
"""Errors after which finished batches are kept."""


def extract(
    pictures: str | Path | Dataset,
    encoders: Mapping[str, Any],
    out: str | Path,
    *,
    layers: Sequence[str] | Mapping[str, Sequence[str]] = (),
    preprocessing: Mapping[str, Preprocessing | str] | None = None,
    size: Size | None = None,
    batch: int = 32,
    pool: bool = False,
    threads: int = 2,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Extract encoders' features of pictures and write them as a folder that `read_features` reads.

    The folder has `ENCODER.npy` `(n, ..., c)` float32 for each encoder, or `ENCODER.LAYER.npy` if several of its layers
    are extracted, `image_ids.npy`, and `features.json`, which says how the features were made. It appears when it is
    complete. Until then everything is in `OUT.part`, and the same call resumes after an error, Ctrl-C or a kill, losing
    one batch and the last five seconds. On the same machine the result is bit-identical to an uninterrupted one. A
    picture that cannot be read may be repaired or removed before resuming, but pictures that are done must stay
    unchanged. `Dataset.readable` leaves out all pictures that cannot be read. Features that are not finite cause a
    warning, once per file.

    Networks compute in float32, with products at the highest precision and with stored normalization statistics,
    prepared by `models.for_inference`. Batches are split over all devices. The last batch is padded, so each network is
    compiled once. Pictures are read ahead in threads.

    Memory: at most 4 `threads` + 3 batches of pictures as the networks see them (4 or 1 bytes per number), two batches
    of features, the encoders, and what one batch takes in two encoders. It does not depend on the number of pictures.

    Args:
        pictures: a folder of pictures, or any dataset; its targets are not read.
        encoders: encoders by name; each an `nnx.Module` with `layers(x)`, such as `ResNet` and `SmallEncoder`, or a
            function from a batch `(b, h, w, c)` to arrays `(b, ..., k)` by layer. A function is called directly; if it
            was made by `jax.jit`, it is compiled and gets arrays split over all devices.
        out: folder to create.
        layers: layer names, where `*` is any text, for all encoders or by encoder; by default each encoder's last
            layer.
        preprocessing: by encoder, a `Preprocessing` or a name in `NAMED`; by default that of `preprocessing_of`.
        size: picture size to use instead of that of the preprocessing: height and width, or one number for both.
        batch: pictures in a batch on all devices together, rounded up to a multiple of their number.
        pool: write means over positions `(n, c)`.
        threads: number of threads that read pictures.
        overwrite: replace the features in `out`, and discard an unfinished job that differs.
        progress: called with (pictures done, all pictures) after each batch.

    Returns:
        The folder.

    Raises:
        FileExistsError: `out` already exists.
        FileNotFoundError: there is no such folder of pictures.
        OSError: the folder cannot be written to, or the disk is full. Finished work is kept.
        TypeError: an encoder is neither a network nor a function.
        ValueError: an unfinished job in `OUT.part` differs from this one; there are no pictures, or no such layer or
            preprocessing; a network does not accept its input; pictures differ in size; a picture is damaged (finished
            work is kept); a batch is too large for the device.

    Example:
        >>> import tempfile
        >>> from flax import nnx
        >>> import jaxsim
        >>> from jaxsim.vision import models
        >>> gray = Dataset("made up", ("a", "b", "c"), lambda name: np.full((16, 16, 3), ord(name), np.uint8), {})
        >>> encoder = models.SmallEncoder((3, 3), (2, 2), rngs=nnx.Rngs(0))
        >>> out = extract(gray, {"net": encoder}, Path(tempfile.mkdtemp()) / "features", layers=["conv*"])
        >>> features, ids = jaxsim.read_features(out)
        >>> {name: x.shape for name, x in features.items()}, ids
        ({'net.conv1': (3, 8, 8, 3), 'net.conv2': (3, 4, 4, 3)}, ('a', 'b', 'c'))
    """
    storage.check(out, overwrite)
    dataset = without_targets(pictures)
    check_names(encoders, preprocessing or {}, "a preprocessing is")
    check_names(encoders, layers if isinstance(layers, Mapping) else {}, "layers are")
    shown = preprocessings(encoders, preprocessing or {}, size)
    batch, threads = as_count(batch, "batch"), as_count(threads, "threads")
    if not len(dataset):
        raise ValueError("the dataset has no pictures to extract features from.")
    views, first, together = views_of(dataset, shown, batch)
    ready = {
        name: forward.ready(name, encoder, shown[name], first[name], together, _of(layers, name), pool)
        for name, encoder in encoders.items()
    }
    places = _places(ready)
    job = _job(ready, places, batch, pool)
    rows = {file: ready[name].shapes[layer] for file, (name, layer) in places.items()}
    with storage.opened(out, job, dataset.ids, rows, overwrite=overwrite) as store:
        told: set[str] = set()
        try:
            rest = dataclasses.replace(dataset, ids=dataset.ids[store.done :])
            loaded = datasets.batches(rest, together, finish=views, threads=threads) if len(rest) else ()
            started = one_behind(_started(loaded, ready, views, together))
            for values in _rows(started, places, list(ready)[-1]):
                _warn_of_odd(values, told)
                store.append(values)
                if progress is not None:
                    progress(store.done, len(dataset))
        except FAULTS as error:
            raise _with_what_is_kept(error, store, out, batch) from error
    return Path(out)


def without_targets(pictures: str | Path | Dataset) -> Dataset:
    """The pictures of a folder or of a dataset, without targets."""
    dataset = pictures if isinstance(pictures, Dataset) else datasets.folder(pictures)
    return dataclasses.replace(dataset, labels={}, image=functools.partial(_read_picture, dataset.image))


def _read_picture(read: Callable[[str], np.ndarray], name: str) -> np.ndarray:
    """Read a picture; an error says how to continue without it."""
    try:
        return read(name)
    except (ValueError, OSError) as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(f"{str(error).rstrip('.')} (Dataset.readable, --skip-damaged, leaves it out).") from error


def check_names(encoders: Mapping[str, Any], given: Mapping[str, Any], what: str) -> None:
    """Raise ValueError if there are no encoders, or none of a given name."""
    if not encoders:
        raise ValueError("there are no encoders.")
    strange = [name for name in given if name not in encoders]
    if strange:
        raise ValueError(f"{what} given for {strange[0]!r}; the encoders are {', '.join(encoders)}.")


def preprocessings(encoders: Mapping[str, Any], given: Mapping[str, Preprocessing | str], size: Size | None):
    """Each encoder's preprocessing."""
    shown = {}
    for name, encoder in encoders.items():
        own = given.get(name)
        found = preprocessing_of(name, encoder) if own is None else named(own) if isinstance(own, str) else own
        shown[name] = found.at(size)
    return shown


def _of(layers: Sequence[str] | Mapping[str, Sequence[str]], name: str) -> Sequence[str]:
    wanted = layers.get(name, ()) if isinstance(layers, Mapping) else layers
    if isinstance(wanted, str):
        raise TypeError(f"layers must be a list of names, not the text {wanted!r}.")
    return wanted


def _places(ready: Mapping[str, forward.Ready]) -> dict[str, tuple[str, str]]:
    """Encoder and layer of each file."""
    places: dict[str, tuple[str, str]] = {}
    for name, one in ready.items():
        for layer in one.shapes:
            file = name if len(one.shapes) == 1 else f"{name}.{layer}"
            if not file or file.startswith((".", "__")) or set(file) & set("/\\\0") or file == "image_ids":
                raise ValueError(f"{file!r}, of encoder {name!r} and layer {layer!r}, cannot be a file name.")
            if file in places:
                raise ValueError(f"two features would have the name {file!r}; rename an encoder.")
            places[file] = name, layer
    return places


def _job(ready: Mapping[str, forward.Ready], places: Mapping[str, tuple[str, str]], batch: int, pool: bool):
    """Settings that the features depend on, besides the pictures."""
    made = {}
    for file, (name, layer) in places.items():
        one = ready[name]
        made[file] = {"encoder": name, "layer": layer, "shape": one.shapes[layer], "weights": one.weights}
        made[file]["preprocessing"] = one.preprocessing.to_json()
    return {"features": made, "batch": batch, "pool": pool, "jax": jax.__version__, "platform": jax.default_backend()}


@dataclasses.dataclass(frozen=True)
class Views:
    """Replaces a picture by what the networks see of it, one target per frame; checks that sizes do not change."""

    frames: tuple[Frame, ...]
    shapes: tuple[tuple[int, ...], ...] = ()

    def __call__(self, example: Example) -> Example:
        """Views of an example; raise ValueError if their sizes differ from the first's."""
        views = {self.key(frame): frame(example.image) for frame in self.frames}
        for view, shape in zip(views.values(), self.shapes, strict=bool(self.shapes)):
            if view.shape != shape:
                sizes = [f"{height} x {width}" for height, width, _ in (view.shape, shape)]
                raise ValueError(
                    f"Picture {example.id!r} has {sizes[0]} pixels, but the first one has {sizes[1]}; give a size."
                )
        return Example(example.id, NO_PICTURE, views, {})

    def key(self, frame: Frame) -> str:
        """Name of a frame's target."""
        return str(self.frames.index(frame))

    def prepared(self, found: Batch, shown: Iterable[Preprocessing], together: int) -> dict[Preprocessing, jax.Array]:
        """A batch under each preprocessing, over all devices, padded with its last picture."""
        shares, _ = forward.over_devices()
        seen = {}
        for frame in self.frames:
            view = found.targets[self.key(frame)]
            seen[frame] = jax.device_put(np.concatenate([view, np.repeat(view[-1:], together - len(view), 0)]), shares)
        return {own: forward.prepare(own, seen[own.frame]) for own in dict.fromkeys(shown)}


def views_of(
    dataset: Dataset, shown: Mapping[str, Preprocessing], batch: int
) -> tuple[Views, dict[str, np.ndarray], int]:
    """Views of a dataset, the first picture's by encoder, and pictures per batch: a multiple of the devices."""
    views = Views(tuple(dict.fromkeys(p.frame for p in shown.values())))
    first = views(dataset[0]).targets
    views = dataclasses.replace(views, shapes=tuple(view.shape for view in first.values()))
    devices = jax.local_device_count()
    together = -(-min(batch, len(dataset)) // devices) * devices
    return views, {name: first[views.key(own.frame)] for name, own in shown.items()}, together


def _started(
    loaded: Iterable[Batch], ready: Mapping[str, forward.Ready], views: Views, together: int
) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """Start each encoder on each batch: (pictures, encoder, layers)."""
    for found in loaded:
        shown = views.prepared(found, (one.preprocessing for one in ready.values()), together)
        for name, one in ready.items():
            yield len(found), name, one.run(shown[one.preprocessing])


Item = TypeVar("Item")


def one_behind(items: Iterator[Item]) -> Iterator[Item]:
    """Yield each item only after the next has been requested, so that the device works ahead.

    On failure yield what is pending, then raise.
    """
    waiting: list[Item] = []
    failure = None
    while True:
        try:
            started = [next(items)]
        except StopIteration:
            started = []
        except FAULTS as error:
            failure, started = error, []
        yield from waiting
        if failure is not None:
            raise failure
        if not started:
            return
        waiting = started


def _rows(
    items: Iterator[tuple[int, str, Mapping[str, Any]]], places: Mapping[str, tuple[str, str]], last: str
) -> Iterator[dict[str, np.ndarray]]:
    """The features of each batch on the host, by file, once the last encoder has finished it."""
    rows: dict[str, np.ndarray] = {}
    for count, name, layers in items:
        rows |= {file: np.asarray(layers[layer])[:count] for file, (own, layer) in places.items() if own == name}
        if name == last:
            yield rows
            rows = {}


def _warn_of_odd(values: Mapping[str, np.ndarray], told: set[str]) -> None:
    """Warn once about each file whose features are not all finite."""
    for file, features in values.items():
        if file not in told and not np.isfinite(features).all():
            told.add(file)
            text = f"Features {file!r} have numbers that are not finite, so no similarity can be computed from them."
            warn(text, RuntimeWarning)


def _with_what_is_kept(error: Exception, store: storage.Store, out: str | Path, batch: int) -> Exception:
    """The error as one sentence, with a note on how to continue if anything is done."""
    text = str(error)
    if isinstance(error, jax.errors.JaxRuntimeError):
        if "RESOURCE_EXHAUSTED" not in text:
            return error
        text = f"A batch of {batch} does not fit in the device's memory; give a smaller one."
    if store.done:
        return storage.Unfinished(text, store.done, len(store.ids), storage.part_of(out))
    return OSError(text) if isinstance(error, OSError) else ValueError(text)
