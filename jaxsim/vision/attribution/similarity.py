"""Attribution maps of encoders, and their per-picture similarity, streamed in batches."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from jaxsim.io.files import few, warn
from jaxsim.results import ImageScores, Provenance, UndefinedScores
from jaxsim.results.per_image import refuse_repeated
from jaxsim.statistics.checks import as_count, callback
from jaxsim.vision import datasets, models
from jaxsim.vision.attribution.propagation import modified
from jaxsim.vision.attribution.rules import Rule, describe, named
from jaxsim.vision.datasets import Dataset
from jaxsim.vision.extraction import forward
from jaxsim.vision.extraction.crops import Size
from jaxsim.vision.extraction.jobs import Views, check_names, one_behind, preprocessings, views_of, without_targets
from jaxsim.vision.extraction.preprocessing import Preprocessing

Pictures = str | Path | Dataset | np.ndarray


def attribute(encoder: Any, x: Float[Array, "b h w c"], rule: str | Rule) -> Float[Array, "b h w c"]:
    """Attribute the sum of an encoder's outputs to the numbers of its inputs.

    The output is the complete last layer. Each image has its own map, independent of the others.

    Args:
        encoder: an `nnx.Module`, or a JAX function from a batch to its features or to layers by name.
        x: inputs that the encoder accepts, preprocessed.
        rule: a rule, or the name of one in `RULES`.

    Raises:
        TypeError: the encoder is neither a network nor a JAX function.
        ValueError: it does not accept such inputs, has no gradient, or has an operation that the rule is not defined
            for (the message names it); or there is no such rule.

    Example:
        >>> import jax.numpy as jnp
        >>> double = lambda x: jax.nn.relu(2 * x)
        >>> attribute(double, jnp.asarray([3.0, -1.0]).reshape(1, 1, 2, 1), "gradient-x-input").ravel().tolist()
        [6.0, -0.0]
    """
    x = jnp.asarray(x)
    network = _network("encoder", encoder, x.shape)
    _check("encoder", network, (named(rule),), x.shape)
    return _maps(network.graph, (named(rule),), network.state, x)[0]


def image_scores(
    pictures: Pictures,
    encoders: Mapping[str, Any],
    rules: str | Rule | Sequence[str | Rule],
    *,
    preprocessing: Mapping[str, Preprocessing | str] | None = None,
    size: Size | None = None,
    batch: int = 32,
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Any:
    r"""Compare networks by their attribution maps, picture by picture.

    The score of networks i and j on a picture x is the cosine of their maps :math:`A_i(x)` and :math:`A_j(x)`, averaged
    over channels and flattened, neither centered nor smoothed. `ImageScores.affinity` is the mean over pictures.
    Gradients that rules share are computed once. Networks compute in float32, with products at the highest precision.

    Memory: twice the maps of one batch, `(rules, T, batch, h w)` in float32, plus the encoders and what one batch takes
    in one encoder. For each of the other pictures only `(rules, T, T)` numbers are kept.

    Source: Song et al., Deep model transferability from attribution maps (2019), section 3.

    Args:
        pictures: a folder of pictures, a dataset, or an array `(n, h, w, 3)` in [0, 255]; two or more.
        encoders: encoders by name, as for `attribute`; a network is run by `models.for_inference`.
        rules: a rule or its name in `RULES`, or a list of them.
        preprocessing: by encoder, as for `extraction.extract`; all must give pictures of the same size.
        size: picture size to use instead of that of the preprocessing.
        batch: pictures in a batch on all devices together, rounded up to a multiple of their number.
        threads: number of threads that read pictures.
        progress: called with (pictures done, all pictures) after each batch.

    Returns:
        `ImageScores`, or a list of them for a list of rules. If a network's map of a picture is zero everywhere, its
        scores are NaN, with a warning.

    Raises:
        FileNotFoundError: there is no such folder of pictures.
        TypeError: an encoder is neither a network nor a JAX function.
        ValueError: as for `attribute`; or there are fewer than two pictures, they differ in size, two have the same id,
            the encoders take pictures of different sizes, or a picture is damaged.

    Example:
        >>> from jaxsim.studies.rooms import encoders
        >>> bank = {name: encoders.shipped()[name] for name in ("edge2d", "rgb2sfnorm")}
        >>> pictures = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8)
        >>> scores = image_scores(pictures, bank, "gradient-x-input", batch=8)
        >>> scores.values.shape, scores.affinity().values.shape
        ((8, 2, 2), (2, 2))
    """
    batch, threads, progress = as_count(batch, "batch"), as_count(threads, "threads"), callback(progress, "progress")
    several = not isinstance(rules, str) and isinstance(rules, Sequence)
    chosen = tuple(map(named, rules if several else [rules]))  # pyright: ignore[reportArgumentType]
    dataset = _dataset(pictures)
    refuse_repeated((), dataset.ids)
    check_names(encoders, preprocessing or {}, "a preprocessing is")
    shown = preprocessings(encoders, preprocessing or {}, size)
    if len(dataset) < 2 or not chosen:
        text = f"{len(dataset)} pictures in batches of {batch} by {len(chosen)} rules cannot be compared"
        raise ValueError(f"{text}; give at least two pictures and one rule.")
    views, first, together = views_of(dataset, shown, batch)
    networks = {}
    for name, encoder in encoders.items():
        shape = forward.input_shape(shown[name], first[name], together)
        networks[name] = _network(name, encoder, shape)
        _check(name, networks[name], chosen, shape)
    _check_sizes({name: view.shape for name, view in first.items()})
    parts, done = [], 0
    for count, values in one_behind(_started(dataset, views, shown, networks, chosen, together, threads)):
        parts.append(np.asarray(values)[:, :count])
        done += count
        if progress is not None:
            progress(done, len(dataset))
    scores = np.concatenate(parts, 1)
    made = [_record(one, values, tuple(encoders), dataset.ids) for one, values in zip(chosen, scores, strict=True)]
    return made if several else made[0]


class _Network(NamedTuple):
    """A network split into its compiled graph and its weights.

    Attributes:
        graph: `nnx.GraphDef`, or a function.
        state: its variables, or None.
    """

    graph: Any
    state: Any


def _network(name: str, encoder: Any, shape: tuple[int, ...]) -> _Network:
    """Check that an encoder accepts such inputs.

    Raises:
        TypeError: it is neither a network nor a JAX function.
        ValueError: it does not accept them.
    """
    if not callable(encoder):
        raise TypeError(f"encoder {name!r} has type {type(encoder).__name__}; it must be a network or a function.")
    found = _Network(encoder, None)
    if isinstance(encoder, nnx.Module):
        network = models.for_inference(encoder)
        network.eval()
        graph, state = nnx.split(network)
        found = _Network(graph, jax.device_put(state, forward.over_devices()[1]))
    try:
        with forward.refusing(name, shape):
            jax.eval_shape(lambda x: _encode(found, x), jax.ShapeDtypeStruct(shape, jnp.float32))
    except ValueError as error:
        if isinstance(error.__cause__, jax.errors.JAXTypeError | jax.errors.TracerArrayConversionError):
            raise TypeError(
                f"encoder {name!r} is not a JAX function, so it has no gradient; give an nnx.Module."
            ) from error
        raise
    return found


def _encode(network: _Network, x: Array) -> Array:
    """All outputs of the last layer."""
    graph, state = network
    encoder = graph if state is None else nnx.merge(graph, state)
    if not hasattr(encoder, "layers"):
        found = encoder(x)
        return [*found.values()][-1] if isinstance(found, Mapping) else found
    return [*models.all_layers(encoder, x).values()][-1]


def _check(name: str, network: _Network, rules: Sequence[Rule], shape: tuple[int, ...]) -> None:
    """Reject an encoder without gradients, or with an operation that a rule is not defined for."""
    try:
        _maps.eval_shape(network.graph, rules, network.state, jax.ShapeDtypeStruct(shape, jnp.float32))
    except ValueError as error:
        raise ValueError(f"encoder {name!r}: {error}") from None


@functools.partial(jax.jit, static_argnums=(0, 1))
def _maps(graph: Any, rules: tuple[Rule, ...], state: Any, x: Array) -> list[Array]:
    """Maps `(b, h, w, c)` by each rule, sharing the forward pass of the gradients."""

    def encode(image):
        return _encode(_Network(graph, state), image[None])

    gradients: dict[Any, Array] = {}
    for rule in rules:
        key = None if rule.slope is None else rule
        if key not in gradients:
            follow = jax.vmap(modified(encode, rule))
            with jax.default_matmul_precision("highest"):
                y, back = jax.vjp(follow, x)
                (gradients[key],) = back(jnp.ones_like(y))
    return [rule.map(x, gradients[None if rule.slope is None else rule]) for rule in rules]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _directions(graph: Any, rules: tuple[Rule, ...], state: Any, x: Array) -> Float[Array, "r b p"]:
    """Maps averaged over channels and scaled to length 1; NaN for an all-zero map."""
    flat = jnp.stack([m.mean(-1).reshape(len(x), -1) for m in _maps(graph, rules, state, x)])
    # divided by the largest first, since squares of small gradients underflow
    flat = flat / jnp.max(jnp.abs(flat), -1, keepdims=True)
    return flat / jnp.linalg.norm(flat, axis=-1, keepdims=True)


@jax.jit
def _cosines(directions: list[Float[Array, "r b p"]]) -> Float[Array, "r b t t"]:
    a = jnp.stack(directions, 2)
    return jnp.clip(jnp.einsum("rbtp,rbup->rbtu", a, a, precision=lax.Precision.HIGHEST), -1, 1)


def _started(
    dataset: Dataset,
    views: Views,
    shown: Mapping[str, Preprocessing],
    networks: Mapping[str, _Network],
    rules: tuple[Rule, ...],
    together: int,
    threads: int,
) -> Iterator[tuple[int, Array]]:
    """Start each batch: its number of pictures and their cosines."""
    for found in datasets.batches(dataset, together, finish=views, threads=threads):
        given = views.prepared(found, shown.values(), together)
        yield (
            len(found),
            _cosines([_directions(net.graph, rules, net.state, given[shown[name]]) for name, net in networks.items()]),
        )


def _dataset(pictures: Pictures) -> Dataset:
    """Pictures without their targets.

    Raises:
        ValueError: an array is not of pictures.
    """
    if isinstance(pictures, str | Path | Dataset):
        return without_targets(pictures)
    array = np.asarray(pictures)
    if array.ndim != 4 or array.shape[-1] != 3 or array.dtype.kind not in "uif":
        text = f"pictures must be an array (n, h, w, 3) of numbers from 0 to 255, not {array.dtype}"
        raise ValueError(f"{text} of shape {array.shape}; to compare features, use js.affinity.")
    return Dataset("array", tuple(map(str, range(len(array)))), lambda name: array[int(name)], {})


def _check_sizes(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Reject encoders that see pictures of different sizes, since their maps cannot be compared."""
    sizes = {name: " x ".join(map(str, shape[:2])) for name, shape in shapes.items()}
    first = next(iter(sizes))
    if other := next((name for name in sizes if sizes[name] != sizes[first]), None):
        raise ValueError(
            f"encoder {first!r} sees pictures of {sizes[first]} pixels and {other!r} of {sizes[other]}, so their maps "
            "cannot be compared; give a size."
        )


def _record(rule: Rule, values: np.ndarray, names: tuple[str, ...], ids: tuple[str, ...]) -> ImageScores:
    measure, scores = f"attribution by {describe(rule)}", jnp.asarray(values)
    found = ImageScores(scores, names, ids, Provenance.now(measure, scores))
    if found.undefined:
        said = few([f"{name} ({count})" for name, count in found.undefined], 5)
        warn(
            f"{measure}: pictures whose map is zero have no score (NaN); their number by encoder: {said}.",
            UndefinedScores,
        )
    return found
