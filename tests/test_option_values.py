"""What is no value of an option: every verb says so in one sentence that names it, before anything is compiled."""

import dataclasses
import math
import re
import types

import jax
import jax.monitoring
import numpy as np
import pytest
from test_bad_input import assert_one_sentence
from test_options import OPTIONS, VERBS

import jaxsim as js
from jaxsim import cli, taxonomy
from jaxsim.engine import memory
from jaxsim.statistics import checks

COMPILED = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, _, **what: COMPILED.append(event) if "backend_compile" in event else None
)

N = 12
RNG = np.random.default_rng(0)
X = {name: RNG.normal(size=(N, 5)).astype(np.float32) for name in ("first", "second", "third")}
MAP = (X["first"] @ X["first"].T).astype(np.float32)
MAPS = {"first": MAP, "second": MAP**2, "third": MAP**3}
IDS = [f"image {k}" for k in range(N)]
FOUR = tuple("abcd")
SCORES = js.Affinity.from_array(RNG.normal(size=(4, 4)), FOUR, measure="made up")
SQUARE = js.Affinity.from_array(np.eye(4), FOUR, measure="made up")
TREE = taxonomy.tree(SQUARE)
MADE_UP = js.results.Provenance("made up", "float32", "cpu")
RESAMPLES = js.Resamples(RNG.normal(size=(9, 4, 4)), SCORES.values, FOUR, FOUR, MADE_UP, "bootstrap", N)
IMAGES = js.ImageScores(RNG.normal(size=(N, 2, 2)), ("a", "b"), tuple(IDS), MADE_UP)
SUMS = js.Minibatches.of(X, "cka")
PICTURES = RNG.integers(0, 256, (3, 4, 4, 3), np.uint8)
GOOD = {
    "affinity": (X, "cka"),
    "explain": (X, "cka"),
    "maps": (X, "cka"),
    "compare_maps": (MAPS, "pearson"),
    "resample": (X, "cka"),
    "calibrate": (X, "cka"),
    "variance_study": (X, "rsa"),
    "compare_models": (MAPS, MAPS),
    "noise_ceiling": (X, "cka"),
    "sweep": (X, "cka"),
    "Minibatches.add": (SUMS, X),
    "Minibatches.affinity": (dataclasses.replace(SUMS, batches=SUMS.batches + 1),),
    "crossnobis": (RNG.normal(size=(3, N, 5)),),
    "recommend_scheme": (N,),
    "resample_scores": (IMAGES,),
    "read_features": ("nowhere.npz",),
    "evaluate": (SCORES, SQUARE),
    "compare_agreements": ({"one": SCORES, "other": SQUARE}, SQUARE),
    "agreement_intervals": (RESAMPLES, SQUARE),
    "report": (SCORES,),
    "taxonomy.tree": (SQUARE,),
    "taxonomy.branch_support": (TREE, RESAMPLES),
    "taxonomy.choose_sources": (SCORES, 2),
    "taxonomy.cluster_agreement_p": (TREE, TREE, 2),
    "taxonomy.classical_scaling": (1 - np.eye(4),),
    "taxonomy.transfer_distance": (SCORES,),
    "attribution.image_scores": (PICTURES, {"a": abs, "b": abs}, "saliency"),
}
"""Arguments that every verb takes."""
BESIDE = {
    "evaluate": {"diagonal": False},
    "agreement_intervals": {"diagonal": False},
    "sweep": {"executor": "serial"},
    "against_ids": {"against": X},
    ("explain", "n_resamples"): {"scheme": "bootstrap"},
    ("explain", "estimate"): {"scheme": js.Subsample(6)},
    ("compare_maps", "against_ids"): {"against": MAPS},
    ("evaluate", "key"): {"relabelings": 9},
    ("compare_agreements", "key"): {"relabelings": 9},
}
"""What a verb, an option, or an option of a verb takes beside it."""

NAN, INF = math.nan, math.inf
LONG = np.linspace(0, 1, 50)
SWITCHES = ["no", "", None, 1, 0, NAN, [True], LONG]
COUNTS = [0, -1, 2.5, 100.0, True, "10", NAN, INF, [10], LONG, 2**31, 10**30]
CHOICES = ["drop", "", None, 1, True, NAN, ["shared"], {}, LONG, np.array(["shared", "shared"])]
FUNCTIONS = [3, "yes", True, [], {}, LONG]
POSITIVE = [0, -1, NAN, INF, "20", "", True, [1e9], 1j, b"1", LONG]
SEEDS = [None, 0.5, True, "0", NAN, -1, 2**32, [0], [[0], [0, 1]], {}, object, np.int64(-1)]
SEEDS += [np.array(-1), np.array(2**40), np.arange(2), jax.numpy.int32(-1)]
SEEDS += [jax.random.PRNGKey(0), jax.random.split(jax.random.key(0))]
LABELS = [3, "abc", b"abc", [], {"a", "b"}, object, IDS[:-1], [*IDS, "one more"]]
LABELS += [[*IDS[:-1], one] for one in ([1, 2], None, NAN, "")] + [[*range(N - 1), NAN]]
LABELS += [[IDS], np.reshape(IDS, (3, 4)), [[name] for name in IDS]]
DIFFERENT = [[*IDS[:-1], IDS[0]], [0] * N, [True, False] * 6]
BY_NAME = [dict.fromkeys(("first", "second"), IDS), *(dict.fromkeys(X, IDS) | {"third": one} for one in (None, 3))]
OWNERS = ["_", b"_", 3, NAN, True, [], ["a", "b"], *(["a", "b", one] for one in (None, NAN, "", ["c"]))]
OWNERS += [{"first": "a"}, dict.fromkeys(X, "a") | {"fourth": "b"}, dict.fromkeys(X, "a") | {"third": None}]
OWNERS += [lambda name: None]
SHARES = [0, 1, -0.1, 95, NAN, INF, True, "0.95", None, [0.95], 1j, LONG]
WEIGHTS = [3, "a", ["a"], {"z": 1}, {"a": -1}, {"a": NAN}, {"a": "1"}, {"a": True}, {"a": None}]
ROW = list(range(6))
BAD = {
    "adjust": [*CHOICES, "holm"],
    "against": [{}, [], 3, "features.npz", True, object, np.zeros(5)]
    + [{"a": one} for one in (None, "text", np.zeros((N, 0)))],
    "against_ids": [*LABELS, *DIFFERENT, *BY_NAME],
    "align": SWITCHES,
    "batch": COUNTS,
    "beta": POSITIVE,
    "block": COUNTS,
    "channels": ["middle", "", 1, True, NAN, ["first"], LONG, {"fourth": "first"}]
    + [{"first": one} for one in ("middle", None, ["first"])],
    "compare": ["kendall", "", "rsa", js.RSA, 3, None, [], True, NAN, ["pearson", "spearman"]],
    "correlation": ["spearman", None, 3, [], LONG],
    "cost": WEIGHTS,
    "devices": [
        0,
        -1,
        10**6,
        1.5,
        True,
        "gpu",
        "",
        NAN,
        [],
        ["cpu:0"],
        jax.devices()[:1] * 2,
        {},
        b"all",
        LONG,
        object,
    ],
    "diagonal": SWITCHES,
    "dimensions": [0, -1, 5, 2.5, "2", True, None, NAN],
    "drop_small": SWITCHES,
    "estimate": SWITCHES,
    "executor": [3, None, "threads", "", [], object],
    "free": ["a", 3, ["z"], [None], [["a"]], True],
    "groups": [*LABELS, [0] * N],
    "ids": [*LABELS, *DIFFERENT, *BY_NAME],
    "importance": WEIGHTS,
    "indices": ["text", 3, True, {}, ROW, [ROW, [0, 1]], [[0.0, 1, 2, 3]], [[True] * 6], [[NAN] * 6], [[None] * 6], []]
    + [[[*ROW[1:], one]] for one in (1, N, -1)],
    "key": SEEDS,
    "layers_of": [*OWNERS, ["a", "a", "a"]],
    "level": SHARES,
    "linkage": ["average", 3, [], True],
    "measure": ["rsaa", "", 3, [], True, NAN, object],
    "memory": POSITIVE,
    "missing": CHOICES,
    "n_permutations": COUNTS,
    "n_resamples": COUNTS,
    "options": [3, {"slurm_partition": "gpu"}, "gpu", [1]],
    "over": CHOICES,
    "overwrite": SWITCHES,
    "per_image": SWITCHES,
    "permutations": COUNTS,
    "precision": ["text", 3, {"s1": np.eye(5)}, [[1], [1, 2]], np.eye(4), np.eye(5) * NAN, -np.eye(5), np.tri(5)],
    "progress": FUNCTIONS,
    "relabelings": [-1, 0.0, 2.5, True, False, None, "9", "", NAN, [9], LONG, 2**31],
    "relevant": [0, -1, 2.5, True, None, "5", NAN, [5]],
    "residuals": ["text", 3, {"s1": np.eye(5)}, [[1], [1, 2]], np.zeros((1, 5)), np.ones((9, 5)), np.full((9, 5), NAN)],
    "scheme": ["bootstrapp", "", 3, None, True, js.Bootstrap, [js.Bootstrap()], NAN, object],
    "schemes": ["jackknife", "", 3, None, [], [3], True, js.Bootstrap, NAN]
    + [[js.Bootstrap], ["bootstrap"] * 2, [["bootstrap"]]],
    "size": [0, -1, 3, N + 1, 2.5, 6.0, "6", True, None, NAN, [6]],
    "sizes": [0, -1, 2.5, "10", True, NAN, [], [6, 4], [4, 4], [4.5], [[4]], [None], [N + 1], {"a"}, LONG, object],
    "squared": SWITCHES,
    "stack": ["no", 1, NAN, []],
    "strata": LABELS,
    "subject_ids": [*LABELS, *DIFFERENT, *BY_NAME],
    "subject_of": OWNERS,
    "subset": SWITCHES,
    "symmetrize": SWITCHES,
    "test": CHOICES,
    "threads": COUNTS,
    "tile": [0, 1, -4, 2.5, True, "4", NAN, 10**6, [4], LONG],
    "title": [3, True, ["a"], NAN],
    "top": [0, -1, 2.5, True, None, "5", NAN, [1, 0], [[1]], ["1"]],
    "weights": ["text", 3, True, {}, [1] * N, [[1] * 9], [[1], [1, 2]], [], [["a"] * N]]
    + [[[1] * (N - 1) + [one]] for one in (NAN, INF, -1, None, 1j)]
    + [np.zeros((2, N))],
    "workers": COUNTS,
}
"""What is no value of an option."""
UNTRIED = {
    "address": "of a scheduler, which says what it lacks",
    "out": "pathlib says what is no path",
    "path": "pathlib says what is no path",
    "preprocessing": "tests of extraction",
    ("attribution.image_scores", "size"): "of pictures: tests of extraction",
    "targets": "names of networks",
    ("load_truth", "key"): "of an array in a file",
}
"""Options, or those of one verb, that are not tried here, and why."""
ALSO = dict.fromkeys(("ids", "against_ids", "subject_ids"), "ids") | {"compare": "comparator", "key": "seed"}
ALSO |= {"against": "network|map", "groups": "group", "sizes": "size", "schemes": "scheme", "size": "subset"}
"""Other words that name an option."""
DRAWS = ("n_resamples", "n_permutations", "permutations", "relabelings")
SEVERAL = js.Affinity.from_array(RNG.normal(size=(14, 14)), [f"task {k}" for k in range(14)], measure="made up")
MANY = {"evaluate": (SEVERAL, SEVERAL), "compare_agreements": ({"one": SEVERAL, "other": SEVERAL}, SEVERAL)}
"""Tasks with more relabelings than can be counted up."""
FIELDS = [(kind, f.name) for kind, scheme in js.schemes.NAMED.items() for f in dataclasses.fields(scheme)]


def cases():
    """Verbs and options whose values are tried, with those that the type alone leaves out."""
    for verb, found in OPTIONS.items():
        for option, p in found.items():
            if option not in UNTRIED and (verb, option) not in UNTRIED:
                bad = [value for value in BAD[option] if value is not None or p.default is not None]
                yield verb, option, bad + [None] * (p.annotation in (bool, int, float, str))


def complaint(call, option, value):
    """What is wrong with how a value is refused; empty if it is one clear sentence about the option."""
    try:
        call(value)
    except (TypeError, ValueError) as error:
        text = str(error)
        if not cli._raised_here(error):
            return f"{value!r}: {type(error).__name__} from below: {text}"
        if not re.search(rf"{option}|{ALSO.get(option, option)}", text):
            return f"{value!r}: {option} is not named: {text}"
        try:
            assert_one_sentence(types.SimpleNamespace(value=error), [])
        except AssertionError:
            return f"{value!r}: no clear sentence: {text}"
        return ""
    except Exception as error:  # noqa: BLE001 (which must not come)
        return f"{value!r}: {type(error).__name__}: {error}"
    return f"{value!r} is accepted"


def refuses(call, option, values):
    """Assert that a call refuses all values of an option."""
    checks.as_key(0)  # the default, which is a program
    before = len(COMPILED)
    found = [text for value in values if (text := complaint(call, option, value))]
    assert not found, "\n".join(found)
    assert len(COMPILED) == before, "refused before anything is compiled"


@pytest.mark.parametrize(("verb", "option", "values"), [pytest.param(*c, id=f"{c[0]}: {c[1]}") for c in cases()])
@pytest.mark.filterwarnings("ignore")
def test_bad_values_of_options(verb, option, values, tmp_path):
    given = {name: tmp_path / "made.html" for name in ("out", "path") if name in OPTIONS[verb]}
    given |= BESIDE.get(verb, {}) | BESIDE.get((verb, option), BESIDE.get(option, {}))
    refuses(lambda value: VERBS[verb](*GOOD[verb], **given | {option: value}), option, values)


@pytest.mark.parametrize(("verb", "option"), [(v, o) for v, o, _ in cases() if o in DRAWS])
@pytest.mark.filterwarnings("ignore")
def test_more_draws_than_fit_in_memory(verb, option, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 2.0 * memory.GIB)
    given = MANY.get(verb, GOOD[verb])
    with pytest.raises(ValueError, match=r"need [\de+.]+ GiB of memory, and 2 GiB are free") as error:
        VERBS[verb](*given, **BESIDE.get((verb, option), BESIDE.get(verb, {})) | {option: 2**31 - 2})
    assert_one_sentence(error, ["2147483646"] * (verb != "calibrate"))


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_bad_values_of_fields_of_schemes(kind, field):
    sized = {"size": 6} if kind == "subsample" and field in ("strata", "groups") else {}
    scheme = js.schemes.NAMED[kind]
    refuses(lambda value: js.resample(X, "cka", scheme(**sized | {field: value})), field, BAD[field])
