"""Input that cannot be used: one clear sentence that says what and where, raised before anything is computed."""

import dataclasses
import re
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import slow_but

import jaxsim as js
from jaxsim import evaluation, io
from jaxsim.engine import memory as budgets

N, D = 12, 5
RNG = np.random.default_rng(0)
X = {k: RNG.normal(size=(N, D)).astype(np.float32) for k in ("first", "second", "third")}
A, B = X["first"], X["second"]
MAP = (A @ A.T).astype(np.float32)
KEY = jax.random.key(0)


def assert_one_sentence(error, said):
    text = str(error.value)
    assert text.endswith((".", "?")), text
    assert not text.endswith(".."), text
    assert "\n" not in text, text
    assert len(text) < 320, text
    assert not re.search(r"Tracer|XLA|jaxpr|INVALID_ARGUMENT|UNIMPLEMENTED|broadcast|aval|inhomogeneous", text), text
    for word in said:
        assert word in text, f"{word!r} is not in {text!r}"


def affinity(features, measure=js.CKA_LINEAR, **rest):
    return lambda: js.affinity(features, measure, **rest)


def resample(scheme, measure=js.CKA_LINEAR, features=None, **rest):
    return lambda: js.resample(X if features is None else features, measure, scheme, **rest)


def compare(maps, comparator=js.compare.pearson, **rest):
    return lambda: js.compare_maps(maps, comparator, **rest)


def wrong_rank(x):
    return x[0]


def not_square(x):
    return x


def not_a_number(a, b):
    return a + b


def leaves_jax(x):
    return np.asarray(x)


def says_nothing(x):
    raise ValueError


FEATURES = {
    "unequal n": (affinity({"first": A, "second": B[:9]}), ValueError, ["'first'", "'second'", "(12, 5)", "(9, 5)"]),
    "unequal n of two sets": (lambda: js.affinity({"a": A}, js.RSA, against={"b": B[:9]}), ValueError, ["12", "9"]),
    "empty mapping": (affinity({}), ValueError, ["no networks"]),
    "empty list": (affinity([]), ValueError, ["no networks"]),
    "one network": (affinity({"first": A}), ValueError, ["only 'first'"]),
    "one network in a stack": (affinity(A[None]), ValueError, ["only 'network_0'"]),
    "no images": (affinity({"first": A[:0], "second": B[:0]}), ValueError, ["'first'", "(0, 5)"]),
    "no columns": (affinity({"first": A, "second": B[:, :0]}), ValueError, ["'second'", "(12, 0)"]),
    "same name twice": (affinity({1: A, "1": B}), ValueError, ["'1'"]),
    "no name": (affinity({None: A, "second": B}), ValueError, ["features", "None"]),
    "NaN for a name": (lambda: js.affinity(X, js.RSA, against={np.nan: B}), ValueError, ["against", "nan"]),
    "objects": (affinity({"first": A.astype(object), "second": B}), TypeError, ["'first'", "object"]),
    "text": (affinity({"first": A, "second": B.astype(str)}), TypeError, ["'second'", "<U"]),
    "bytes": (affinity({"first": A, "second": B.astype("S8")}), TypeError, ["'second'", "|S8"]),
    "None": (affinity({"first": A, "second": None}), TypeError, ["'second'"]),
    "complex": (affinity({"first": A + 1j, "second": B}), TypeError, ["'first'", "complex"]),
    "dates": (affinity({"first": A, "second": B.astype("M8[s]")}), TypeError, ["'second'", "datetime64"]),
    "spans of time": (affinity({"first": A, "second": B.astype("m8[s]")}), TypeError, ["'second'", "timedelta64"]),
    "records": (affinity({"first": A, "second": np.zeros(B.shape, "i4,f4")}), TypeError, ["'second'", "'f1'"]),
    "random keys": (affinity({"first": A, "second": jax.random.split(KEY, B.shape)}), TypeError, ["'second'", "key<"]),
    "whole numbers of any size": (
        affinity({"first": A, "second": [[10**30] * 5] * 12}),
        TypeError,
        ["'second'", "object"],
    ),
    "turned around": (
        affinity({"first": A, "second": A[:9]}),
        ValueError,
        ["'first'", "(9, 5)", "transposes", "5 columns"],
    ),
    "text, by the measure": (lambda: js.CKA_LINEAR("first", B), TypeError, ["x", "<U5"]),
    "rows of different lengths, by the measure": (lambda: js.RSA(A, [[1.0], [1.0, 2.0]]), ValueError, ["y is"]),
    "features for parts": (lambda: js.dds(A, B), TypeError, ["transform", "(12, 5)", "js.RSA(x, y)"]),
    "names for parts": (lambda: js.Measure("center", "linear", "cosine"), TypeError, ["'center'", "by_name"]),
    "a class for a part": (
        lambda: js.dds(js.transforms.GroupNorm, js.pairwise.linear),
        TypeError,
        ["transform", "GroupNorm()"],
    ),
    "a measure's name for a comparator": (compare({"a": MAP, "b": MAP}, "rsa"), TypeError, ["rsa", "with spearman"]),
    "complex, by the measure": (lambda: js.CKA_LINEAR(A + 1j, B), TypeError, ["complex"]),
    "dates, by the measure": (lambda: js.CKA_LINEAR(A, B.astype("M8[s]")), TypeError, ["datetime64"]),
    "maps of complex numbers": (lambda: js.compare_maps({"first": A.T @ A + 0j}, "pearson"), TypeError, ["complex"]),
    "ragged rows": (affinity({"first": A, "second": [[1.0, 2.0], [3.0]]}), (TypeError, ValueError), ["'second'"]),
    "masked": (affinity({"first": A, "second": np.ma.masked_less(B, 0)}), (TypeError, ValueError), ["'second'"]),
    "rank 1": (affinity({"first": A, "second": B[:, 0]}), ValueError, ["'second'", "(12,)"]),
    "rank 0": (affinity({"first": A, "second": np.float32(3)}), ValueError, ["'second'", "()"]),
    "one matrix": (affinity(A), ValueError, ["(12, 5)", "stack"]),
    "a path": (affinity("features.npz"), TypeError, ["str", "js.read_features"]),
    "features with their ids": (affinity((X, None)), TypeError, ["features, ids = js.read_features"]),
    "rows and a number": (affinity({"first": A, "second": [*B[:5], 1]}), ValueError, ["'second'", "(5,)", "()"]),
    "a number": (affinity(3.5), TypeError, ["float"]),
    "a generator": (affinity(x for x in X.values()), TypeError, ["generator"]),
    "a set of names": (affinity({"first", "second"}), TypeError, ["set"]),
    "too few images": (affinity({k: v[:3] for k, v in X.items()}), ValueError, ["cka-linear", "4", "3"]),
    "too few for ranks": (affinity({k: v[:2] for k, v in X.items()}, js.RSA), ValueError, ["rsa", "3", "2"]),
    "no positions": (
        affinity(X, js.dds(js.transforms.instance_norm, js.pairwise.linear)),
        ValueError,
        ["'first'", "instance_norm", "(12, 5)"],
    ),
    "channels that do not divide": (
        affinity(X, js.dds(js.transforms.group_norm, js.pairwise.linear)),
        ValueError,
        ["'first'", "5 channels", "2"],
    ),
    "duality of another width": (
        affinity(X, js.dds(js.transforms.Duality(q=jnp.ones((4, 2))), js.pairwise.linear)),
        ValueError,
        ["'first'", "(4, 2)", "5"],
    ),
}
IDS = {
    "too few": (affinity(X, ids=range(11)), ValueError, ["'first'", "12", "11"]),
    "a number": (affinity(X, ids=12), ValueError, ["'first'", "()", "label"]),
    "a text": (affinity(X, ids="abcdefghijkl"), ValueError, ["'first'", "()", "label"]),
    "one twice": (affinity(X, ids=[*range(11), 3]), ValueError, ["'first'", "'3'", "more than once"]),
    "a network without": (affinity(X, ids={"first": range(12)}), ValueError, ["'second'"]),
    "in another order": (
        affinity(X, ids=dict.fromkeys(X, range(12)) | {"third": range(11, -1, -1)}),
        ValueError,
        ["'first'", "'third'", "another order", "align=True"],
    ),
    "none shared": (
        affinity(X, ids={k: [f"{k} {j}" for j in range(12)] for k in X}, align=True),
        ValueError,
        ["no image id is shared"],
    ),
    "too few shared": (
        affinity(X, ids={k: range(s, s + 12) for k, s in zip(X, (0, 5, 10), strict=True)}, align=True),
        ValueError,
        ["at least 4 images", "2"],
    ),
    "of nothing to resample": (
        resample(js.Jackknife(), against_ids=range(12)),
        ValueError,
        ["against_ids", "not given"],
    ),
    "unknown way": (affinity(X, missing="drop"), ValueError, ["missing", "'drop'", "pairwise"]),
    "pairwise without align": (
        affinity(X, ids=dict.fromkeys(X, range(12)) | {"third": range(1, 13)}, missing="pairwise"),
        ValueError,
        ["align=True"],
    ),
    "pairwise of features of the same images": (
        affinity(X, missing="pairwise"),
        ValueError,
        ["no effect on features", "align=True"],
    ),
}
MEASURES = {
    "no name": (affinity(X, "rsaa"), ValueError, ["'rsaa'", "did you mean rsa"]),
    "no name of a part": (affinity(X, "dds:zscore,laplace"), ValueError, ["'laplace'", "pairwise", "laplacian"]),
    "a number": (affinity(X, 3), TypeError, ["Measure", "3"]),
    "a comparator": (affinity(X, js.compare.spearman), TypeError, ["Measure"]),
    "a list with a comparator": (affinity(X, [js.RSA, js.compare.spearman]), TypeError, ["Measure"]),
    "a list with no name": (affinity(X, [js.RSA, "qqqqq"]), ValueError, ["'qqqqq'"]),
    "a name of nothing to resample": (resample(js.Jackknife(), "rsaa"), ValueError, ["'rsaa'", "did you mean rsa"]),
    "a number as transform": (
        lambda: js.Measure(3, js.pairwise.linear, js.compare.pearson),  # pyright: ignore[reportArgumentType]
        TypeError,
        ["transform", "3"],
    ),
    "own transform": (affinity(X, js.dds(wrong_rank, js.pairwise.linear)), ValueError, ["wrong_rank", "(5,)"]),
    "own map": (affinity(X, js.dds(js.transforms.center, not_square)), ValueError, ["not_square", "(12, 5)"]),
    "own comparator": (
        affinity(X, js.Measure(js.transforms.center, js.pairwise.linear, not_a_number)),
        ValueError,
        ["not_a_number", "(12, 12)"],
    ),
    "own transform in NumPy": (
        affinity(X, js.dds(leaves_jax, js.pairwise.linear)),
        (TypeError, ValueError),
        ["leaves_jax"],
    ),
    "own transform that says nothing": (
        affinity(X, js.dds(says_nothing, js.pairwise.linear)),
        ValueError,
        ["'first'", "ValueError"],
    ),
}
MAPS = {
    "not square": (compare({"first": A, "second": B}), ValueError, ["'first'", "(12, 5)"]),
    "not symmetric": (compare({"first": MAP, "second": np.triu(MAP)}), ValueError, ["'second'", "symmetric"]),
    "no triangle": (compare({"first": np.ones(7), "second": np.ones(7)}), ValueError, ["'first'", "7"]),
    "unequal n": (compare({"first": MAP, "second": MAP[:9, :9]}), ValueError, ["'first'", "'second'", "12", "9"]),
    "text": (compare({"first": MAP.astype(str), "second": MAP}), TypeError, ["'first'"]),
    "no name of a comparator": (
        compare({"first": MAP, "second": MAP}, "kendall"),
        ValueError,
        ["'kendall'", "compare", "spearman"],
    ),
    "too few images": (compare({"first": [1.0], "second": [2.0]}), ValueError, ["3", "2"]),
    "maps and a measure": (
        resample(js.Jackknife(), js.RSA, js.maps(X, js.RSA)),
        TypeError,
        ["rsa", "comparator"],
    ),
    "subsets of maps": (
        resample(js.Subsample(size=6), js.compare.spearman, js.maps(X, js.RSA), n_resamples=2, key=KEY),
        ValueError,
        ["subsample", "recomputes", "maps"],
    ),
    "halves of maps": (
        resample(js.HalfSamples(), js.compare.spearman, js.maps(X, js.RSA), n_resamples=2, key=KEY),
        ValueError,
        ["half-samples", "recomputes", "maps"],
    ),
}
ROWS = np.stack([RNG.permutation(N)[:6] for _ in range(3)])
TWICE = np.concatenate([ROWS, [[0, 1, 2, 3, 4, 4]]])
WEIGHTS = np.ones((3, N))
SCHEMES = {
    "no key": (resample(js.Bootstrap(), n_resamples=3, key=None), TypeError, ["jax.random.key"]),
    "a class for a scheme": (resample(js.Bootstrap, key=KEY, n_resamples=2), TypeError, ["Bootstrap(...)", "class"]),
    "no name of a scheme": (resample("bootstrapp", key=KEY, n_resamples=2), ValueError, ["'bootstrapp'", "jackknife"]),
    "a number for a scheme": (resample(3, key=KEY, n_resamples=2), TypeError, ["js.HalfSamples()", "3"]),
    "the name of a scheme that needs a size": (resample("subsample", key=KEY), ValueError, ["size or indices"]),
    "jackknife of another number": (resample(js.Jackknife(), n_resamples=7), ValueError, ["12", "7"]),
    "jackknife of too few": (
        resample(js.Jackknife(), features={k: v[:4] for k, v in X.items()}),
        ValueError,
        ["keeps 3", "needs 4"],
    ),
    "no rows of weights": (resample(js.Bootstrap(weights=np.ones((0, N)))), ValueError, ["no resamples"]),
    "no rows of indices": (resample(js.Subsample(indices=ROWS[:0])), ValueError, ["no resamples"]),
    "halves that are not paired": (resample(js.HalfSamples(), n_resamples=7, key=KEY), ValueError, ["even", "7"]),
    "halves that are too small": (
        resample(js.HalfSamples(), features={k: v[:7] for k, v in X.items()}, n_resamples=4, key=KEY),
        ValueError,
        ["halves", "7", "4"],
    ),
    "halves of strata that are too small": (
        resample(js.HalfSamples(strata=range(N)), n_resamples=4, key=KEY),
        ValueError,
        ["half", "4"],
    ),
    "subset larger than n": (resample(js.Subsample(size=13), n_resamples=2, key=KEY), ValueError, ["13", "12"]),
    "subset too small": (resample(js.Subsample(size=3), n_resamples=2, key=KEY), ValueError, ["3", "4"]),
    "subset without size": (resample(js.Subsample(), n_resamples=2, key=KEY), ValueError, ["size or indices"]),
    "size and indices": (resample(js.Subsample(size=6, indices=ROWS)), ValueError, ["size or indices"]),
    "a repeated image": (resample(js.Subsample(indices=TWICE)), ValueError, ["row 3", "image 4", "Bootstrap"]),
    "an image outside": (resample(js.Subsample(indices=ROWS + 6)), ValueError, ["row 0", "0 ... 11"]),
    "a negative image": (resample(js.Subsample(indices=ROWS - 6)), ValueError, ["row 0", "0 ... 11"]),
    "indices that are no integers": (resample(js.Subsample(indices=ROWS * 1.0)), ValueError, ["float64", "(3, 6)"]),
    "one row of indices": (resample(js.Subsample(indices=ROWS[0])), ValueError, ["(B, m)", "(6,)"]),
    "indices of another number": (resample(js.Subsample(indices=ROWS), n_resamples=5), ValueError, ["3", "5"]),
    "indices and strata": (
        resample(js.Subsample(indices=ROWS, strata=np.zeros(N))),
        ValueError,
        ["strata", "indices"],
    ),
    "weights of another width": (resample(js.Bootstrap(weights=WEIGHTS[:, :9])), ValueError, ["(3, 9)", "(B, 12)"]),
    "negative weights": (resample(js.Bootstrap(weights=-WEIGHTS)), ValueError, ["row 0", "negative"]),
    "weights that are NaN": (resample(js.Bootstrap(weights=WEIGHTS * np.nan)), ValueError, ["row 0", "finite"]),
    "weights of zero": (resample(js.Bootstrap(weights=WEIGHTS * 0)), ValueError, ["row 0", "zero"]),
    "weights and strata": (
        resample(js.Bootstrap(weights=WEIGHTS, strata=np.zeros(N))),
        ValueError,
        ["strata", "weights"],
    ),
    "strata of another length": (
        resample(js.Bootstrap(strata=np.zeros(9)), n_resamples=2, key=KEY),
        ValueError,
        ["strata", "(9,)", "12"],
    ),
    "an image without a stratum": (
        resample(js.Bootstrap(strata=["a", None] * 6), n_resamples=2, key=KEY),
        ValueError,
        ["no label for image 1 in strata"],
    ),
    "a stratum that is not a number": (
        resample(js.HalfSamples(strata=[0, 1, np.nan] * 4), n_resamples=2, key=KEY),
        ValueError,
        ["no label for image 2 in strata"],
    ),
    "one network": (
        resample(js.Jackknife(), features={"first": A}),
        ValueError,
        ["resample", "only 'first'", "against"],
    ),
    "unequal n against": (resample(js.Jackknife(), against={"t": B[:9]}), ValueError, ["12", "9"]),
}
CEILINGS = {
    "one member": (lambda: js.noise_ceiling({"first": A}, js.RSA), ValueError, ["two members", "'first'"]),
    "own comparator": (
        lambda: js.noise_ceiling(X, js.Measure(js.transforms.center, js.pairwise.linear, not_a_number)),
        TypeError,
        ["not_a_number", "embed_pooled", "js.compare"],
    ),
    "unequal n": (
        lambda: js.noise_ceiling({"first": A, "second": B[:9]}, js.RSA),
        ValueError,
        ["'first'", "'second'", "12", "9"],
    ),
    "too few images": (lambda: js.noise_ceiling({"first": A[:3], "second": B[:3]}, js.CKA_LINEAR), ValueError, ["4"]),
}
BUDGETS = {
    "affinity": (affinity(X, js.RSA, memory=100.0), ValueError, ["budget", "two networks", "12"]),
    "cross": (lambda: js.affinity(X, js.RSA, against=X, memory=100.0), ValueError, ["budget", "two networks"]),
    "maps": (compare({"first": MAP, "second": MAP}, memory=100.0), ValueError, ["budget"]),
    "resample": (resample(js.Jackknife(), memory=100.0), ValueError, ["budget", "one resample"]),
    "text": (resample(js.Jackknife(), memory="1 GB"), ValueError, ["memory must be a positive number", "'1 GB'"]),
    "one map": (compare({"first": MAP}), ValueError, ["compare_maps", "only 'first'", "against"]),
    "not a number": (affinity(X, js.RSA, memory=np.nan), ValueError, ["memory must be a positive number", "nan"]),
}


def verbs(n, measure):
    """Each verb on two networks of n images."""
    x = {"first": np.zeros((n, 1), np.float32), "second": np.zeros((n, 1), np.float32)}
    return [
        lambda: js.affinity(x, measure),
        lambda: js.resample(x, measure, js.Bootstrap()),
        lambda: js.maps(x, measure),
        lambda: js.noise_ceiling(x, measure),
    ]


@pytest.mark.parametrize(
    ("verb", "measure"),
    # affinity, and resamples that refit, take both in blocks of pairs
    [(verb, measure) for verb in range(1, 4) for measure in (js.RSA, js.CKA_RBF)],
    ids=str,
)
def test_more_pairs_than_a_device_counts_are_refused_before_the_work(verb, measure):
    with pytest.raises(ValueError, match="pairs") as error:
        verbs(100_000, measure)[verb]()
    assert_one_sentence(error, [str(measure), "4999950000 pairs", "18.6 GiB", "65536 images"])


@pytest.mark.parametrize("verb", range(1, 4))
def test_maps_beyond_the_memory_are_refused_before_the_work(verb, monkeypatch):
    monkeypatch.setattr(budgets, "available", lambda: 8.0 * 2**30)
    with pytest.raises(ValueError, match="free") as error:
        verbs(30_000, js.RSA)[verb]()
    assert_one_sentence(error, ["30000 images", "GiB of memory", "8 GiB are free"])


TABLES = {"features": FEATURES, "ids": IDS, "measure": MEASURES, "maps": MAPS, "scheme": SCHEMES}
TABLES |= {"ceiling": CEILINGS, "budget": BUDGETS}


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [pytest.param(*case, id=f"{table}: {name}") for table, cases in TABLES.items() for name, case in cases.items()],
)
@pytest.mark.filterwarnings("ignore:align=True leaves out")
def test_refused_in_one_sentence(call, kind, said):
    with pytest.raises(kind) as error:
        call()
    assert_one_sentence(error, said)


def test_an_infinite_map_has_no_score_and_says_so():
    with pytest.warns(js.results.UndefinedScores, match="'second'"):
        found = js.compare_maps({"first": MAP, "second": np.full_like(MAP, np.inf)}, js.compare.pearson)
    assert np.isnan(found.values).tolist() == [[False, True], [True, True]]


FAR = {k: np.random.default_rng(0).normal(1e5, 1, v.shape) for k, v in X.items()}
CONSTANT = X | {"third": np.ones_like(A)}
SHIFTED = {k: range(s, s + N) for k, s in zip(X, (0, 0, 10), strict=True)}
SCORES = js.Affinity(A[:5], None, tuple("abcde"), tuple("abcde"), js.results.Provenance("rsa", "float32", "cpu"))
FLAT = dataclasses.replace(SCORES, values=np.where(np.arange(5) == 2, 1, A[:5]))
FEW = js.Resamples(np.stack([A[:5], B[:5]]), A[:5], *(tuple("abcde"),) * 2, SCORES.provenance, "bootstrap", N)
WARNINGS = {
    "affinity": affinity(CONSTANT),
    "affinity that loses digits": affinity(FAR, "identity:linear:cosine"),
    "maps that lose digits": lambda: js.maps(FAR, js.CKA_LINEAR),
    "affinity of pairs": affinity(X, ids=SHIFTED, align=True, missing="pairwise"),
    "affinity against": lambda: js.affinity(X, js.CKA_LINEAR, against=CONSTANT),
    "compare_maps": compare({"first": MAP, "second": np.ones_like(MAP)}),
    "noise_ceiling": lambda: js.noise_ceiling(CONSTANT, js.CKA_LINEAR),
    "resample": resample(js.Jackknife(), features=CONSTANT),
    "resample, a list": resample(js.Jackknife(), [js.CKA_LINEAR], CONSTANT, progress=lambda done, count: None),
    "evaluate": lambda: js.evaluate(SCORES, FLAT, diagonal=True),
    "agreement_intervals": lambda: js.agreement_intervals(FEW, FLAT, diagonal=True, key=KEY),
    "family_wise": lambda: FEW.family_wise(),
}


COMPILED = [
    "affinity of pairs",
    "affinity against",
    "noise_ceiling",
    "resample, a list",
    "agreement_intervals",
    "family_wise",
]
"""By programs of their own."""


@pytest.mark.parametrize("name", slow_but(set(WARNINGS) - set(COMPILED), WARNINGS))
def test_a_warning_points_at_the_line_that_called(name):
    call = WARNINGS[name]
    with pytest.warns((RuntimeWarning, UserWarning)) as caught:
        call()
    lines = {line for *_, line in call.__code__.co_lines()}
    assert {(w.filename, w.lineno in lines) for w in caught} == {(__file__, True)}
    if any("network 'third' has no" in str(w.message) for w in caught):
        assert any("all of its images have the same features" in str(w.message) for w in caught)


def test_torch_tensors_that_cannot_be_taken_over():
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
    with pytest.raises(TypeError) as error:
        js.affinity({"first": torch.tensor(A).to_sparse(), "second": B}, js.CKA_LINEAR)
    assert_one_sentence(error, ["'first'"])


# Files


@pytest.fixture
def saved(tmp_path):
    return io.write_npz(tmp_path / "features.npz", X)


def test_pickled_features_are_not_run(tmp_path):
    np.save(tmp_path / "net.npy", np.array([print, None], object), allow_pickle=True)
    with pytest.raises((TypeError, ValueError)) as error:
        io.read_features(tmp_path / "net.npy")
    assert_one_sentence(error, ["net.npy"])


@pytest.mark.parametrize("keep", [0, 20, 0.5, -30])
@pytest.mark.parametrize("read", [io.read_features, js.load], ids=["features", "record"])
def test_truncated_npz(read, keep, saved):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=r"features\.npz") as error:
        read(saved)
    assert_one_sentence(error, ["features.npz"])


def test_an_npz_that_is_no_record(saved, tmp_path):
    with pytest.raises(ValueError, match="no jaxsim record") as error:
        js.load(saved)
    assert_one_sentence(error, ["features.npz"])
    with pytest.raises((OSError, ValueError)) as error:
        js.load(tmp_path / "absent.npz")
    assert_one_sentence(error, ["absent.npz"])


@pytest.mark.parametrize("change", ["unknown kind", "not JSON", "missing array", "missing field"])
def test_damaged_records_are_named(change, tmp_path):
    path = js.affinity(X, js.CKA_LINEAR).save(tmp_path / "a.npz")
    arrays = io.read_npz(path)
    text = str(arrays["record_json"])
    if change == "missing array":
        del arrays["values"]
    else:
        text = {
            "unknown kind": text.replace('"Affinity"', '"Poem"'),
            "not JSON": text[:-5],
            "missing field": text.replace('"names"', '"nimes"'),
        }[change]
    arrays["record_json"] = np.asarray(text)
    io.write_npz(path, arrays, overwrite=True)
    with pytest.raises(ValueError, match=r"a\.npz") as error:
        js.load(path)
    assert_one_sentence(error, ["a.npz"])


def test_a_transform_of_ones_own_that_keeps_positions():
    def squares(x):
        return x * x

    with pytest.raises(ValueError, match="transform") as error:
        js.affinity({"first": A.reshape(N, 1, D), "second": B}, js.dds(squares, js.pairwise.cosine))
    assert_one_sentence(error, ["squares", "returns (12, 1, 5) for (12, 1, 5)", "(12, d)"])


def test_unwritable_and_existing_output(tmp_path):
    a = js.affinity(X, js.CKA_LINEAR)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file") as error:
        a.save(tmp_path / "file" / "a.npz")
    assert_one_sentence(error, ["a.npz"])
    a.save(tmp_path / "a.npz")
    with pytest.raises(FileExistsError) as error:
        a.save(tmp_path / "a.npz")
    assert_one_sentence(error, ["a.npz"])
    assert zipfile.is_zipfile(tmp_path / "a.npz")


def test_ground_truth_with_other_task_names():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed (extra: tables)")
    a = js.affinity(X, js.CKA_LINEAR)
    other = ["first", "second", "fourth"]
    with pytest.raises(ValueError, match="third") as error:
        evaluation.evaluate(a, pandas.DataFrame(np.eye(3), other, other), diagonal=True)
    assert_one_sentence(error, ["third", "subset=True"])
    with pytest.raises(ValueError, match="share no") as error:
        evaluation.evaluate(a, pandas.DataFrame(np.eye(3), list("xyz"), list("xyz")), diagonal=True, subset=True)
    assert_one_sentence(error, ["sources"])


@dataclasses.dataclass(frozen=True)
class Projection:
    """A transform with a field of the name of a capability."""

    width: int = 3

    def __call__(self, x):
        return x[:, : self.width]


@dataclasses.dataclass
class Mutable:
    """A transform that cannot be hashed."""

    def __call__(self, x):
        return x


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (Projection(), "rename the attribute"),
        (Mutable(), "make its class frozen"),
    ],
)
def test_parts_that_cannot_be_used_are_told_why(transform, said):
    with pytest.raises(TypeError, match=said):
        js.affinity(X, js.Measure(transform, js.pairwise.linear, js.compare.pearson))
