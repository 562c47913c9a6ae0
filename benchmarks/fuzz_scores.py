"""Random features and maps for the verbs, and the correct results: a NumPy oracle with 64-bit mantissas.

Every outcome is correct to within the stated error, or NaN with a warning that explains it, or a one-sentence error
from jaxsim. Anything else is a `Fault`. The stated error is 2e-6, plus WIDER times the change in the score when the
input or its map is rounded to float32, after removing the shift that the measure ignores. If that change is large, the
example is counted as "ill-posed". Its scores must still be within the bound, and NaN is correct only if some rounding
gives NaN.
"""

import dataclasses
import itertools
import linecache
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from hypothesis import strategies as st

import jaxsim as js

LIMIT = 2e-6
WIDER = 4
"""Times that a score may be farther off than the roundings of its input and map that were drawn."""
ROUNDINGS = 4
"""Roundings of the input that are drawn, and as many of the map."""
ILL = 1e-3
"""Scores that may be farther off are counted as ill-posed: float32 does not hold them."""
EPS = 2.0**-23
TIE = 8 * EPS
"""Differences that are rounding, in a map of size one."""
RANKED = ("spearman", "rho-a")
FAR = 16
"""Ranges of a wide map from zero beyond which its offset is taken away before it is cast."""
WIDE = np.longdouble
NAMES = ("a", "b", "c", "d")
SHAPES = ((7, 5), (12, 16))
"""(n, d) of the default tests, those of tests/test_invariances.py."""
MORE_SHAPES = (*SHAPES, (12, 2, 2, 4), (12, 1), (30, 3))
CELLS = ("identity,correlation", "identity,cosine", "identity,laplacian", "identity,cityblock", "center,cosine")
MAPPED = {name: m for name, m in js.measures.NAMED.items() if not getattr(m.compare, "coordinates", False)}
"""Measures that compare maps; which directions of a subspace are rounding is asked in tests/test_subspaces.py."""
MEASURES = MAPPED | {f"dds:{cell}": js.measures.by_name(f"dds:{cell}") for cell in CELLS}
COMPARATORS = ("pearson", "spearman", "rho-a", "cosine", "u-centered-cosine", "centered-cosine", "root-centered-cosine")
DTYPES = ("bool", "int8", "uint8", "int16", "int32", "uint32", "int64", "uint64", "float16", "bfloat16", "float32")
DTYPES += ("float64", "longdouble", ">f4", ">i4", ">f8")
PATTERNS = ("normal", "one-hot", "repeated", "few", "outlier", "constant", "constant image", "constant feature")
LAYOUTS = ("C", "F", "strided", "negative", "list", "rows", "read-only", "jax", "dlpack", "torch")


class Fault(AssertionError):
    """An outcome that is neither right nor explained."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of one example.

    Attributes:
        kind: "right", "undefined" (NaN, explained), "ill-posed", "refused", "read" (a damaged file that is still one)
            or "not written" (no such file exists).
        errors: largest error by measure.
    """

    kind: str
    errors: dict[str, float] = dataclasses.field(default_factory=dict)


# What jaxsim may say.
BESIDE = re.compile(
    "Corrupt EXIF|Tag data larger|Truncated File|Metadata Warning|More samples per|appears not to|not the expected size"
)
"""Pillow's warnings of damaged notes in a picture that it reads all the same.

Pictures are read in threads, where warnings cannot be caught and said in other words.
"""
FOREIGN = re.compile(r"Tracer|XLA|jaxpr|INVALID_ARGUMENT|Traceback|encountered in|aval|inhomogeneous|\n")
ROOT = Path(js.__file__).parent


def check_error(error: BaseException) -> None:
    """Accept errors that jaxsim raised, in one sentence.

    Raises:
        Fault: it is another.
    """
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = "" if frame is None else frame.tb_frame.f_code.co_filename
    line = "" if frame is None else linecache.getline(where, frame.tb_lineno).strip()
    own = Path(where).is_relative_to(ROOT) and line.startswith("raise")
    text = str(error)
    if not own or not isinstance(error, (ValueError, TypeError, OSError)) or not is_sentence(text):
        raise Fault(f"{type(error).__name__} from {where}: {line}: {text}") from error


def is_sentence(text: str) -> bool:
    """Whether this is one sentence in lower case without words of other packages."""
    return text.endswith((".", "?")) and not FOREIGN.search(text) and not text[0].isupper()


def heard(call: Callable[[], Any]) -> tuple[Any, list[str]]:
    """Result of a call, None if it was refused, and its warnings.

    Raises:
        Fault: an error or a warning is not jaxsim's.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = call()
        except Exception as error:  # noqa: BLE001
            check_error(error)
            found = None
    said = [str(w.message) for w in caught]
    odd = [text for text in said if not (is_sentence(text) or BESIDE.search(text))]
    if odd:
        raise Fault(f"a warning in other words: {odd[0]}")
    return found, said


# Features
def recipes(layouts=LAYOUTS):
    """Strategy of four recipes of numbers."""
    one = {
        "pattern": st.sampled_from(PATTERNS),
        "dtype": st.sampled_from(DTYPES),
        "layout": st.sampled_from(layouts),
        "scale": st.sampled_from([1.0, 1.0, 1e-30, 1e-20, 1e-5, 1e5, 1e20, 1e30]),
        "offset": st.sampled_from([0.0, 0.0, 0.0, 1.0, 1e3, 1e6, 1e9]),
        "bad": st.sampled_from([None] * 8 + ["nan", "inf", "-inf", "nan image"]),
    }
    return st.lists(st.fixed_dictionaries(one), min_size=len(NAMES), max_size=len(NAMES))


def features(shapes=MORE_SHAPES, layouts=LAYOUTS):
    """Strategy of four networks of the same images: each its own recipe, or all the same in one stack."""
    return st.fixed_dictionaries(
        {
            "shape": st.sampled_from(shapes),
            "seed": st.integers(0, 2**16),
            "stack": st.sampled_from([False, False, True]),
            "channels": st.sampled_from(["last", "first"]),
            "recipes": recipes(layouts),
        }
    )


def values(rng: np.random.Generator, shape, recipe) -> np.ndarray:
    """Numbers by a recipe, in its dtype."""
    z = patterned(rng, shape, recipe["pattern"])
    dtype = np.dtype(getattr(ml_dtypes, recipe["dtype"], recipe["dtype"]))
    if dtype.kind == "b":
        return z > 0
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        z = np.round(10 * z) + (recipe["offset"] if info.max > 1e9 else 0) + (100 if dtype.kind == "u" else 0)
        return np.clip(z, info.min, min(info.max, 2**62)).astype(dtype)
    with np.errstate(over="ignore"):
        x = (recipe["scale"] * (z + recipe["offset"])).astype(dtype)
    if recipe["bad"]:
        where = (rng.integers(shape[0]),) if "image" in recipe["bad"] else tuple(map(rng.integers, shape))
        x[where] = float(recipe["bad"].split()[0])
    return x


def patterned(rng, shape, pattern) -> np.ndarray:
    """Numbers near one, with the ties and the constants of a pattern."""
    z = rng.normal(size=shape)
    if pattern == "one-hot":
        z = np.zeros(shape)
        z.reshape(len(z), -1)[np.arange(len(z)), rng.integers(0, z[0].size, len(z))] = 1
    if pattern == "repeated":
        z = z[rng.integers(0, max(2, shape[0] // 2), shape[0])]
    if pattern == "few":
        z = np.sign(np.round(z))
    if pattern == "outlier":
        z[rng.integers(shape[0])] *= 10
    if pattern == "constant":
        z[:] = 1
    if pattern == "constant image":
        z[rng.integers(shape[0])] = rng.integers(0, 2)
    if pattern == "constant feature":
        z[..., 0] = 1
    return z


def laid_out(x: np.ndarray, layout: str) -> Any:
    """The same numbers as another object, or with other strides."""
    if layout == "F":
        return np.asfortranarray(x)
    if layout == "strided":
        return np.repeat(x, 2, 0)[::2]
    if layout == "negative":
        return np.ascontiguousarray(x[::-1])[::-1]
    if layout == "list":
        return x.tolist()
    if layout == "rows":
        return list(x)
    if layout == "read-only":
        x = x.copy()
        x.flags.writeable = False
    native = x.dtype.isnative and x.dtype != WIDE
    if layout == "jax" and native and x.dtype.itemsize < 8:
        import jax

        return jax.device_put(x)
    if layout == "dlpack" and native and x.dtype != ml_dtypes.bfloat16:
        return Lent(x)
    if layout == "torch" and native and x.dtype != ml_dtypes.bfloat16:
        import torch

        return torch.from_numpy(x.copy())
    return x


class Lent:
    """An array of another package, taken over through DLPack."""

    def __init__(self, x):
        self._x = x.copy()
        self.shape, self.dtype, self.ndim = x.shape, x.dtype, x.ndim

    def __dlpack__(self, **options):
        return self._x.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._x.__dlpack_device__()

    def __len__(self):
        return len(self._x)


def networks(sample) -> tuple[Any, list[np.ndarray], dict[str, Any]]:
    """Features as a user gives them, their exact numbers, and keywords for the verb."""
    rng = np.random.default_rng(sample["seed"])
    stack, shape = sample["stack"], sample["shape"]
    own = sample["recipes"][:1] * len(NAMES) if stack else sample["recipes"]
    made = [values(rng, shape, recipe) for recipe in own]
    exact = [x.astype(WIDE).reshape(len(x), -1) for x in made]
    options = {}
    if len(shape) > 2 and sample["channels"] == "first":
        made, options = [np.moveaxis(x, -1, 1) for x in made], {"channels": "first"}
    if stack:
        layout = own[0]["layout"]
        return laid_out(np.stack(made), "C" if layout in ("list", "rows") else layout), exact, options
    given = [laid_out(x, recipe["layout"]) for x, recipe in zip(made, own, strict=True)]
    return dict(zip(NAMES, given, strict=True)), exact, options


# The oracle, from the definitions.
def center(x):
    return x - x.mean(0)


def zscore(x):
    spread = np.where(np.ptp(x, 0) > 0, x.std(0), 1)
    return np.where(np.ptp(x, 0) > 0, center(x), 0) / np.where(spread > 0, spread, 1)


def cosine_distance(x):
    size = np.sqrt((x * x).sum(1, keepdims=True))
    unit = x / size
    return ((unit[:, None] - unit[None]) ** 2).sum(-1) / 2  # 1 - cos, without its cancellation


def correlation(x):
    x = x - x[:, :1]
    return cosine_distance(x - x.mean(1, keepdims=True))


def squared(x):
    return ((x[:, None] - x[None]) ** 2).sum(-1)


def euclidean(x):
    return np.sqrt(squared(x))


def cityblock(x):
    return np.abs(x[:, None] - x[None]).sum(-1)


def linear(x):
    return x @ x.T


def rbf(x):
    s = squared(x)
    return np.exp(-s / (0.5 * np.median(s)))


def laplacian(x):
    return np.exp(-cityblock(x) / x.shape[1])


def triangle(m):
    return m[np.triu_indices(len(m), 1)]


def standard(v):
    return v - v.mean()


def ranks(v, bound):
    """Average ranks; values closer than `bound` to their neighbor tie."""
    order = np.argsort(v, kind="stable")
    group = np.empty(len(v), int)
    with np.errstate(invalid="ignore"):  # of two infinities
        group[order] = np.cumsum(np.diff(v[order], prepend=v[order[:1]]) > bound)
    own = np.bincount(group)
    return (np.cumsum(own) - own + (own + 1) / 2)[group].astype(WIDE)


def largest(m):
    """The largest finite magnitude."""
    return np.abs(m[np.isfinite(m)]).max(initial=0)


def u_center(k):
    n = len(k)
    k = np.where(np.eye(n, dtype=bool), 0, k)
    rows = k.sum(1)
    out = k - rows[:, None] / (n - 2) - rows[None] / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    return np.where(np.eye(n, dtype=bool), 0, out)


def double_center(k):
    return k - k.mean(0) - k.mean(1)[:, None] + k.mean()


def embedded(m, comparator, bound):
    """The vector whose cosine with another map's is the score."""
    if comparator in RANKED:
        return standard(ranks(triangle(m), bound * largest(m)))
    return {
        "pearson": lambda: standard(triangle(m)),
        "cosine": lambda: triangle(m),
        "u-centered-cosine": lambda: u_center(m).ravel(),
        "centered-cosine": lambda: double_center(m).ravel(),
        "root-centered-cosine": lambda: double_center(m).ravel(),
    }[comparator]()


TRANSFORMS = {"identity": lambda x: x, "center": center, "zscore": zscore}
PAIRWISE = {"correlation": correlation, "cosine": cosine_distance, "cityblock": cityblock, "euclidean": euclidean}
PAIRWISE |= {"linear": linear, "rbf": rbf, "laplacian": laplacian}


def parts(name: str) -> list[str]:
    """Names of a measure's transform, pairwise function and comparator."""
    measure = MEASURES[name]
    return [js.measures.name_of(p) for p in (measure.transform, measure.pairwise, measure.compare)]


PARTS = {name: parts(name) for name in MEASURES}


def ignores_shift(name: str) -> bool:
    """Whether a constant added to a feature changes nothing."""
    transform, pairwise, _ = PARTS[name]
    return transform != "identity" or pairwise not in ("correlation", "cosine")


def cosines(vectors, comparator):
    """Scores of all pairs; NaN where a vector is zero."""
    with np.errstate(all="ignore"):
        rows = np.stack(vectors)
        rows = rows / np.abs(rows).max(1, keepdims=True)
        if comparator == "rho-a":
            p = rows.shape[1]
            whole = np.stack(vectors)
            return (12 * whole @ whole.T / (WIDE(p) ** 3 - p)).astype(float)
        rows = rows / np.sqrt((rows * rows).sum(1, keepdims=True))
        scores = rows @ rows.T
        return (np.sqrt(scores) if comparator == "root-centered-cosine" else scores).astype(float)


def compared(maps, comparator, bound):
    return cosines([embedded(m, comparator, bound) for m in maps], comparator)


def rounded(x, rng):
    """Numbers that float32 may hold in the place of these."""
    return x * (1 + EPS * rng.uniform(-1, 1, x.shape))


def rounded_map(m, rng):
    moved = m + EPS * largest(m) * rng.uniform(-1, 1, m.shape)
    return (moved + moved.T) / 2


class Truth(NamedTuple):
    """Scores `(T, T)` in exact arithmetic, and where those of rounded inputs and maps lie.

    Attributes:
        score: NaN where there is none.
        slack: how far rounding moves a score.
        fragile: whether rounding takes a score away, or makes one.
    """

    score: np.ndarray
    slack: np.ndarray
    fragile: np.ndarray


def truth(maps_of, exact, comparator, same=1e-11) -> Truth:
    """Scores by the oracle; differences of values below `same`, in a map of size one, are its own rounding."""
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        maps = [maps_of(x) for x in exact]
        score, moved = compared(maps, comparator, same), []
        if comparator in RANKED:
            moved = [compared(maps, comparator, tie) for tie in (EPS, 4 * EPS, TIE)]
        for _ in range(ROUNDINGS):
            moved.append(compared([maps_of(rounded(x, rng)) for x in exact], comparator, TIE))
            moved.append(compared([rounded_map(m, rng) for m in maps], comparator, TIE))
    both = np.array([score, *moved])
    slack = np.nanmax(np.abs(both - np.nan_to_num(score)), 0, initial=0, where=~np.isnan(score))
    return Truth(score, slack, np.isnan(both).any(0) & ~np.isnan(both).all(0))


def reduced(x, name):
    """The features without the shift that the measure ignores, which costs the oracle digits."""
    return x - x[:1] if ignores_shift(name) and np.isfinite(x).all() else x


def less(m, comparator, wide):
    """The map without the constant that the comparator ignores, which costs digits."""
    finite = triangle(m)[np.isfinite(triangle(m))]  # ties are as wide as a map is large
    if comparator == "cosine" or not finite.size:
        return m
    if comparator in RANKED and (not wide or largest(m) <= FAR * np.ptp(finite)):
        return m
    counts = comparator in ("centered-cosine", "root-centered-cosine")
    return np.where(np.eye(len(m), dtype=bool) & (not counts), 0, m - finite.min())


def map_of(name, x):
    transform, pairwise, _ = PARTS[name]
    return PAIRWISE[pairwise](TRANSFORMS[transform](x))


def judge(name, found, true: Truth, said, names=NAMES) -> Outcome:
    """Compare scores with the oracle's; NaN must be explained by a warning with the network's name.

    Raises:
        Fault: a score is wrong in silence.
    """
    found = np.asarray(found, np.float64)
    undefined = [n for n, own in zip(names, np.diagonal(found), strict=True) if np.isnan(own)]
    for network in undefined:
        if not any(f"{network!r}" in text and name in text for text in said):
            raise Fault(f"{name}: no warning says why {network!r} has no scores; said: {said}")
    none, warned = np.isnan(found), np.array([any(f"{n!r}" in t for t in said) for n in names])
    warned = warned[:, None] | warned[None, :]
    allowed, error = LIMIT + WIDER * true.slack, np.abs(found - true.score)
    wrong = np.where(none | np.isnan(true.score), (none != np.isnan(true.score)) & ~true.fragile, ~(error <= allowed))
    beyond = (np.abs(found) > 1 + LIMIT) | ~(none | (np.abs(found - found.T) <= LIMIT))
    wrong = (wrong & ~warned) | beyond
    if wrong.any():
        i, j = np.argwhere(wrong)[0]
        told = f"{found[i, j]:.7g} for {true.score[i, j]:.7g} +- {allowed[i, j]:.2g}"
        raise Fault(f"{name} of {names[i]!r} and {names[j]!r}: {told}; said: {said}")
    sure = ~np.isnan(error) & (true.slack < LIMIT)
    ill = (true.fragile | (allowed >= ILL)) & ~np.isnan(true.score)
    kind = "ill-posed" if ill.any() else "undefined" if undefined else "right"
    return Outcome(kind, {name: float(error[sure].max(initial=0))})


def joined(outcomes: list[Outcome]) -> Outcome:
    """One outcome of several measures: the least certain kind."""
    kinds = [o.kind for o in outcomes]
    kind = next((k for k in ("ill-posed", "undefined") if k in kinds), "right")
    return Outcome(kind, dict(itertools.chain(*(o.errors.items() for o in outcomes))))


# The verbs
def affinity(sample) -> Outcome:
    """`js.affinity` of all measures."""
    given, exact, options = networks(sample)
    measures = list(MEASURES.values())
    found, said = heard(lambda: js.affinity(given, measures, **options))
    if found is None:
        return Outcome("refused")
    made = []
    for name, one in zip(MEASURES, found, strict=True):
        inputs = [reduced(x, name) for x in exact]
        true = truth(lambda x, name=name: map_of(name, x), inputs, PARTS[name][2])
        own = [text for text in said if name_in(text, str(MEASURES[name]))]
        made.append(judge(str(MEASURES[name]), one.values, true, own, one.names))
    return joined(made)


def name_in(text, name):
    """Whether a warning is about that measure or about all."""
    return name in text or "scores" not in text


def ready_maps(sample) -> tuple[Any, list[np.ndarray], list[bool]]:
    """Maps as a user gives them, their exact numbers, and whether their type is wider than float32."""
    rng = np.random.default_rng(sample["seed"])
    n, made = sample["n"], []
    for recipe in sample["recipes"]:
        x = values(rng, (n, n), recipe | {"bad": None})
        x = np.triu(x, 1)
        x = x + x.T if x.dtype.kind != "b" else x | x.T
        if recipe["bad"] and x.dtype.kind not in "biu":
            i, j = rng.choice(n, 2, replace=False)
            x[i, j] = x[j, i] = float(recipe["bad"].split()[0])
        made.append(x)
    exact = [x.astype(WIDE) for x in made]
    if sample["condensed"]:
        made = [triangle(x) for x in made]
    kinds = [r["layout"] for r in sample["recipes"]]
    given = dict(zip(NAMES, map(laid_out, made, kinds), strict=True))
    types = [np.asarray(x).dtype if isinstance(x, list) else made[k].dtype for k, x in enumerate(given.values())]
    return given, exact, [t.kind in "iufO" and t.itemsize >= (8 if t.kind == "f" else 4) for t in types]


maps = st.fixed_dictionaries(
    {
        "n": st.sampled_from([7, 12]),
        "seed": st.integers(0, 2**16),
        "condensed": st.booleans(),
        "recipes": recipes(),
    }
)


def compare_maps(sample) -> Outcome:
    """`js.compare_maps` of all comparators; those that read the diagonal refuse condensed rows."""
    given, exact, wide = ready_maps(sample)
    comparators = [c for c in COMPARATORS if not (sample["condensed"] and "centered" in c and c[0] != "u")]
    found, said = heard(lambda: js.compare_maps(given, comparators))
    if found is None:
        return Outcome("refused")
    made = []
    for name, one in zip(comparators, found, strict=True):
        true = truth(lambda m: m, [less(m, name, x) for m, x in zip(exact, wide, strict=True)], name, 0)
        own = [text for text in said if name_in(text, f"no {name} scores")]
        made.append(judge(name, one.values, true, own))
    return joined(made)


REFITTED = ("rsa", "cka-linear", "dds-laplacian")


def resample(sample) -> Outcome:
    """`js.resample` of subsets of the images: every resample is the affinity of the subset."""
    given, exact, options = networks(sample)
    n = sample["shape"][0]
    rng = np.random.default_rng(sample["seed"] + 1)
    subsets = np.stack([np.sort(rng.permutation(n)[: n - 2]) for _ in range(3)])
    measures = [MEASURES[name] for name in REFITTED]
    found, said = heard(lambda: js.resample(given, measures, js.Subsample(indices=subsets), **options))
    if found is None:
        return Outcome("refused")
    made = []
    for name, one in zip(REFITTED, found, strict=True):
        own = [text for text in said if name_in(text, name)]
        for index, got in zip([np.arange(n), *subsets], [one.estimate, *one.values], strict=True):
            inputs = [reduced(x[index], name) for x in exact]
            true = truth(lambda x, name=name: map_of(name, x), inputs, PARTS[name][2])
            full = len(index) == n
            told = own if full else [*own, *(f"{x!r} {name}" for x in one.names if np.isnan(true.score).any())]
            made.append(judge(name, got, true, told, one.names))
    return joined(made)


VERBS = {
    "affinity": (affinity, features()),
    "compare_maps": (compare_maps, maps),
    "resample": (resample, features(((7, 5), (12, 16)))),
}
"""A check and a strategy for each verb."""
