"""The public verb: models compared with the maps of several subjects."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsim import assumptions, inputs, schemes
from jaxsim.assumptions import Facts
from jaxsim.engine import maps as make_maps
from jaxsim.engine.checks import as_comparators, as_one, check, min_images, undefined_networks
from jaxsim.engine.memory import map_bytes, require, require_maps
from jaxsim.engine.padding import joined_buckets
from jaxsim.inference.program import inference_call, rank_p_values, scores_call
from jaxsim.inputs import Networks, OwnersOf
from jaxsim.io.files import warn
from jaxsim.protocols import Comparator, ComparatorCapabilities, declared
from jaxsim.resampling.plans import weightings_at_once
from jaxsim.resampling.verbs import key_text, source_of
from jaxsim.results import FewResamples, Maps, ModelComparison, Provenance
from jaxsim.results.model_comparisons import AVERAGED, MADE_BY, SQUARED, TESTS
from jaxsim.statistics.checks import as_count, as_key, flag, one_of, probability
from jaxsim.statistics.mean_scores import OVER

COMPARATORS = (
    "rho-a",
    "spearman",
    "pearson",
    "cosine",
    "u-centered-cosine",
    "kendall-a",
    "kendall-b",
    "whitened-pearson",
    "whitened-cosine",
)
"""Comparators that have noise ceilings under bootstraps."""
FEWEST_RESAMPLES = 100
"""Number of resamples below which a standard error is mostly chance."""


def compare_models(
    models: Any,
    subjects: Any,
    compare: str | Comparator = "rho-a",
    *,
    measure: Any = None,
    over: str = "both",
    test: str = "t",
    n_resamples: int = 1000,
    key: jax.Array | int = 0,
    level: float = 0.95,
    subject_of: OwnersOf = None,
    squared: bool = False,
    ids: Any = None,
    subject_ids: Any = None,
    align: bool = False,
    memory: float | None = None,
    channels: Any = None,
) -> ModelComparison:
    """Mean scores of models with the maps (RDMs) of subjects, with errors, tests and the noise ceiling.

    A model's score is its mean over subjects. Images and subjects are bootstrapped together, with the corrected
    variance of Schuett et al. 2023 (eLife 12:e82566), so errors are about new images and new subjects. Student's t has
    at least as many degrees of freedom as the number of subjects minus one, see `statistics.MeanDraws.degrees`.
    Differences between models, and between models and the lower noise ceiling, are paired by image and subject.

    Args:
        models: maps as for `js.compare_maps`, `Maps`, or rsatoolbox RDMs. With `measure`, features `(n, ..., c)` by
            name, where square matrices and condensed rows count as maps.
        subjects: maps of two or more subjects on the same images, in the same formats.
        compare: comparator or its name; "rho-a" suits models with ties.
        measure: makes maps from models given as features, such as "rsa"; its comparator is not used.
        over: what is treated as a sample from a population: "both", "images" (with these subjects fixed) or "subjects"
            (with these images fixed).
        test: "t" (Student), "bootstrap" (shares of the resamples; not for few subjects), or "rank" (Wilcoxon's over
            subjects, with these images fixed, whatever `over` is).
        n_resamples: number of bootstrap resamples.
        key: as for `js.resample`.
        level: confidence level of the intervals.
        subject_of: subject of each of the maps in `subjects`, if some subjects have several (sessions, runs) to be
            averaged: a mapping or a function of the name, or a sequence in their order.
        squared: square each subject's score, as Net2Brain and Algonauts do. This loses the sign, and with it the test
            against zero.
        ids: labels of the images of `models`, as for `js.affinity`.
        subject_ids: labels of the images of `subjects`; None uses the ones they carry, or `ids`.
        align: as for `js.affinity`.
        memory: budget in bytes for what is held per chunk of resamples, as for `js.affinity`.
        channels: channels of the models' features, as for `js.affinity`.

    Returns:
        `ModelComparison`.

    Raises:
        TypeError: the comparator is not one of this library, or features come without a `measure`.
        ValueError: names, images or options do not match, a map lacks pairs of images, or there is only one subject.

    >>> import numpy as np, jaxsim as js
    >>> image, noise, *others = np.random.default_rng(0).normal(size=(8, 30, 10))
    >>> brains = js.maps([image + other for other in others], "rsa")
    >>> found = js.compare_models({"a": image, "b": noise}, brains, "pearson", measure="rsa", n_resamples=200)
    >>> found.names, found.p_adjusted.shape, bool(found.p_zero[0] < 0.05)
    (('a', 'b'), (2, 2), True)
    """
    comparator = as_one(as_comparators(compare), "compare_models", "comparator")
    _check_options(comparator, over, test, n_resamples)
    level, squared, align = probability(level), flag(squared, "squared"), flag(align, "align")
    random, scheme = as_key(key), schemes.Bootstrap()
    x, y, averaged = _read(models, subjects, ids, subject_ids, measure, subject_of, align, channels)
    if test == "rank" and inputs.traced(x.arrays, y.arrays):
        raise TypeError('test="rank" sorts on the host, so it cannot run inside jit; use "t" or "bootstrap".')
    if len(y.names) < 2 and over != "images":
        raise ValueError(
            f"over={over!r} is about new subjects and needs at least two; there is only {''.join(y.names)!r}: "
            'give over="images".'
        )
    for nets in (x, y):
        check([comparator], nets)
    size = x.dtype.itemsize
    # each map is held in three forms: its embedding, for the mean, and for weights
    require_maps(len(x.names) + len(y.names), 3 * map_bytes((comparator,), x.images, size), x.images, size)
    plan = scheme.plan(x.images, min_images(comparator), n_resamples)
    _require_resamples(n_resamples, len(x.names), len(y.names), size)
    source = None if over == "subjects" else source_of(plan, random, inputs.traced(x.arrays, y.arrays))
    x, y = x.cast(comparator.freedom), y.cast(comparator.freedom)
    at_once = weightings_at_once(x, y, plan.count, memory)
    scores, values, without, bad_x, bad_y = scores_call(
        comparator, *joined_buckets(x, y, [comparator]), len(x.names), scheme.draw, source, at_once
    )
    undefined = undefined_networks(comparator, x, y, bad_x, bad_y, scores[:-2])
    arrays = inference_call(
        values,
        scores,
        without,
        random,
        images_count=x.images,
        over=over,
        test=test,
        n_resamples=n_resamples,
        level=level,
        squared=squared,
    )
    if test == "rank":
        arrays |= rank_p_values(arrays, x.images, squared)
    facts = Facts(images=x.images if over != "subjects" else np.inf)
    notes = [f"{AVERAGED}{averaged}"] * bool(averaged)
    notes += [SQUARED] * squared + [f"{MADE_BY}{measure}"] * (measure is not None)
    flags = assumptions.flags(facts)
    assumptions.warn_of(flags)
    return ModelComparison(
        **arrays,
        names=x.names,
        subjects=y.names,
        provenance=Provenance.now(
            str(comparator),
            scores,
            scheme=f"bootstrap over {over}, {n_resamples} resamples",
            key=key_text(random),
            notes=tuple(notes),
        ),
        images=x.images,
        over=over,
        test=test,
        level=level,
        squared=squared,
        undefined=tuple(undefined.items()),
        flags=flags,
    )


def _require_resamples(count, models, subjects, size):
    """Reject resamples whose scores, subject draws and model differences do not fit in memory."""
    rows = models + 2  # models and both ceilings
    each = 2 * rows * subjects + subjects**2 + 3 * rows + 4 * math.comb(models, 2)
    require(count * each * size, f"{count} resamples of {models} models and {subjects} subjects")


def _check_options(comparator, over, test, n_resamples):
    one_of(over, OVER, "over")
    one_of(test, TESTS, "test")
    as_count(n_resamples, "n_resamples")
    if test == "rank" and over == "images":
        raise ValueError('test="rank" ranks subjects, which over="images" treats as fixed; use "t" or "bootstrap".')
    own = declared(comparator.compare, ComparatorCapabilities)
    pools = own.weighted_ceiling is not None or (own.pooled is None and own.finish is ComparatorCapabilities().finish)
    fixed = over == "subjects" and own.embed is not None
    if own.embed_pooled is None or not pools or (own.weighted is None and not fixed):
        others = f"{', '.join(COMPARATORS[:-1])} or {COMPARATORS[-1]}"
        remedy = ', or give over="subjects", which resamples no images' * (own.embed_pooled is not None and pools)
        raise TypeError(f"{comparator} has no noise ceiling under bootstraps; compare models with {others}{remedy}.")
    if n_resamples < FEWEST_RESAMPLES:
        warn(f"{n_resamples} resamples are few for standard errors; 1000 are usual.", FewResamples)


def _read(models, subjects, ids, subject_ids, measure, subject_of, align, channels) -> tuple[Networks, Networks, str]:
    """Maps of models and of subjects on the same images, and a text with how many maps each subject had."""
    x = _maps(models, ids, "models", measure, align, channels)
    y = _maps(subjects, _ids_of(subjects, ids, subject_ids), "subjects")
    if subject_of is None:
        _warn_of_sessions(subjects, y.names)
    x, y = inputs.same_images(x, y, align=align)
    for nets, what in ((x, "model"), (y, "subject")):
        _require_all_pairs(nets, what)
    return x, *_averaged(y, subject_of)


def _maps(given: Any, ids: Any, what: str, measure: Any = None, align: bool = False, channels: Any = None) -> Networks:
    """Maps of models or subjects as matrices; `measure` makes the ones of features.

    Raises:
        TypeError: features come without a measure.
        ValueError: there is a measure and no features, or the maps do not match.
    """

    def ready(maps):
        if channels is not None:
            raise ValueError("channels applies to features, and all models are maps; leave channels out.")
        if measure is not None:
            raise ValueError(f"measure={str(measure)!r} makes maps of features, and all models are maps; leave it out.")
        return inputs.square_maps(maps, ids)

    if inputs.is_rdms(given):
        given = Maps.from_rsatoolbox(given)
    ids = inputs.by_text(ids) if isinstance(ids, Mapping) else ids
    if isinstance(given, Maps | Networks):
        return ready(given)
    if not isinstance(given, Mapping):
        if measure is None or getattr(given, "ndim", 3) < 3 or holds_maps(given):
            return ready(given)
        given = {f"network_{k}": x for k, x in enumerate(given)}
    if objects := [name for name, x in given.items() if inputs.is_rdms(x)]:
        text = f"{what} {str(objects[0])!r} is an rsatoolbox RDMs object in a mapping"
        raise TypeError(f"{text}; give the RDMs object itself, or its matrices, {{name: rdms.get_matrices()}}.")
    no_features = what == "subjects" or measure is None
    features = {str(name): x for name, x in given.items() if not holds_maps(x, no_features)}
    if not features:
        return ready(given)
    name, first = next(iter(features.items()))
    if what != "models":
        raise ValueError(
            f"subject {name!r} of shape {np.shape(first)} is not a map (n, n); make maps first with js.maps."
        )
    if measure is None:
        raise TypeError(
            f'model {name!r} of shape {np.shape(first)} is not a map (n, n): give measure="rsa" to make maps.'
        )
    own = {n: ids[n] for n in features if n in ids} if isinstance(ids, Mapping) else None
    made = make_maps(features, measure, ids=own or None, align=align and bool(own), channels=channels)
    if own:
        ids = {**ids, **dict.fromkeys(own, made.ids)}
    found = dict(zip(made.names, made.values, strict=True))
    return inputs.square_maps({n: found.get(str(n), x) for n, x in given.items()}, ids)


def holds_maps(x: Any, no_features: bool = False) -> bool:
    """Whether an array has the shape of a map `(n, n)`, of its condensed row, or of a stack of maps.

    Condensed rows `(K, n (n - 1) / 2)` could also be features by their shape. They count as maps if `no_features`.
    """
    shape = np.shape(x)
    if no_features and inputs.are_condensed(x):
        return True
    if len(shape) == 3:
        return shape[1] == shape[2] or (shape[0] == shape[1] and not inputs.traced(x) and inputs.is_map(x[..., 0]))
    return len(shape) == 1 or (len(shape) == 2 and shape[0] == shape[1])


SESSION = re.compile(r"(?<=\w)[\W_]+(ses|sess|session|run)[\W_]*\d+$", re.IGNORECASE)
"""Suffix of a name such as anna_run2 or BE | Session: 1."""


def _warn_of_sessions(subjects: Any, names: Sequence[str]) -> None:
    """Warn if several maps seem to be from one subject, since they would count as several subjects."""
    given = list(subjects.rdm_descriptors.get("subject", ())) if inputs.is_rdms(subjects) else []
    who = given or [SESSION.sub("", name) for name in names]
    if len(set(who)) < len(who):
        kind = "RDMs" if given else "maps"
        remedy = 'rdms.rdm_descriptors["subject"]' if given else f"a function that makes {who[0]!r} of {names[0]!r}"
        warn(
            f"{len(who)} {kind} of {len(set(who))} subjects count as {len(who)} subjects, so errors are too "
            f"small; give subject_of={remedy} to average those of one subject."
        )


def _ids_of(subjects: Any, ids: Any, subject_ids: Any) -> Any:
    carries = isinstance(subjects, Maps) and subjects.ids is not None
    carries |= any(name != "index" for name in getattr(subjects, "pattern_descriptors", {}))
    return ids if subject_ids is None and not carries else subject_ids


def _require_all_pairs(nets: Networks, what: str) -> None:
    """Reject maps that lack pairs of images; not checked while JAX is tracing.

    Raises:
        ValueError: a map lacks pairs of images.
    """
    if nets.traced:
        return
    for name, m in zip(nets.names, nets.arrays, strict=True):
        lost = np.isnan(np.asarray(m))[np.triu_indices(nets.images, 1)].sum()
        if lost:
            pairs = nets.images * (nets.images - 1) // 2
            raise ValueError(
                f"{what} {name!r} lacks {lost} of {pairs} pairs of images (NaN); leave it out, or the images that it "
                "lacks, so that all scores use the same pairs."
            )


def _averaged(nets: Networks, subject_of: OwnersOf) -> tuple[Networks, str]:
    """Maps averaged by subject, and a text with how many each had."""
    if subject_of is None:
        return nets, ""
    of = inputs.owners(subject_of, nets.names, "subject_of", "subject", "map")
    own = {s: [k for k, one in enumerate(of) if one == s] for s in dict.fromkeys(of)}

    def mean(some):
        if nets.traced:
            return sum(jnp.asarray(nets.arrays[k]) for k in some) / len(some)
        return np.mean([np.asarray(nets.arrays[k], np.float64) for k in some], 0).astype(nets.dtype)

    ids = None if nets.ids is None else (nets.ids[0],) * len(own)
    found = Networks(tuple(own), tuple(map(mean, own.values())), ids, True, nets.condensed)
    return found, ", ".join(f"{s} ({len(some)})" for s, some in own.items())
