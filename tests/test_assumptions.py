"""Assumptions of intervals that do not hold are warned of, kept on the record and shown; those that hold are not."""

import dataclasses
import json
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsim as js
from benchmarks import coverage_assumptions
from jaxsim import advice, assumptions, schemes, statistics
from jaxsim.assumptions import Facts, flags
from jaxsim.cli import main
from jaxsim.cli.bootstrap import _first_two
from jaxsim.resampling import verbs
from jaxsim.results import Provenance

RNG = np.random.default_rng(0)
BROKEN = {
    "biased": (Facts("cka-rbf-biased", "cka-rbf"), "use cka-rbf"),
    "heavy tails": (Facts("cka-linear", images=100, effective=[("a", 90.0), ("b", 6.2)]), "the cka-linear map of b"),
    "uneven groups": (
        Facts("cka-linear", groups=40, effective_groups=[("a", 20.0), ("b", 6.2)]),
        "the cka-linear map of b is as uneven as if 6 groups of 40",
    ),
    "few images": (Facts(images=19), "19 images are few"),
    "few half-samples": (Facts(resamples=4, enough=20), "an interval from 4 resamples"),
    "single images": (Facts(strata=[1, 5, 1]), "2 of 3 strata hold one image"),
    "a group an image": (Facts(apart=40), "each of the 40 images has its own label"),
    "one source": (Facts(lonely=["depth"]), "as for depth"),
    "few members": (Facts(members=[("V1", 8), ("IT", 2)]), "group 'IT' has 2 members"),
}


@pytest.mark.parametrize(("facts", "said"), BROKEN.values(), ids=BROKEN)
def test_every_broken_assumption_is_one_sentence(facts, said):
    (sentence,) = flags(facts)
    assert said in sentence
    assert sentence.endswith(".")
    assert sentence[0] not in "AEFIMNOST"
    assert "\n" not in sentence


def test_assumptions_that_hold_say_nothing():
    held = Facts("cka-linear", images=20, effective=[("a", 5.0)], resamples=20, enough=20, strata=[2, 18])
    assert flags(held) == ()
    assert flags(held._replace(members=[("V1", 10), ("IT", 1)])) == ()
    assert flags(Facts()) == ()


def resample(x, measures: Any = "cka", **options: Any):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = js.resample(x, measures, **options)
    return found, [str(w.message) for w in caught if w.category is js.DoubtfulInference]


def heavy(n):
    x = RNG.normal(size=(3, n, 4))
    x[1, 0] *= 1000
    return dict(zip("abc", x, strict=True))


def test_a_call_warns_of_each_once_and_keeps_them(tmp_path):
    labels = [0, 1] + [2] * 16
    measures = ["cka", "cka-linear-biased"]
    found, said = resample(heavy(18), measures, scheme=js.HalfSamples(labels), n_resamples=4)
    plain, biased = (one.flags for one in found)
    assert len(said) == len(set(said)) == 7  # a heavy tail by each of two maps
    assert set(said) == {*plain, *biased}
    for words in (
        "is biased",
        "heavy tails",
        "18 images are few",
        "from 4 resamples",
        "merge small strata",
        "more alike",
    ):
        assert sum(words in flag for flag in biased) == 1
    assert "map of b is" in next(flag for flag in plain if flag.startswith("heavy"))
    assert not any("biased" in flag for flag in plain)
    assert js.load(found[1].save(tmp_path / "r.npz")).flags == biased
    assert found[1].to_json()["flags"] == list(biased)
    assert all(f"\nwarning: {flag}" in str(found[1]) for flag in biased)
    assert found[1]._repr_html_().count("<p>warning: ") == len(biased)


def test_records_without_flags_still_load(tmp_path):
    found = made(["a", "b", "c"])
    arrays = dict(np.load(found.save(tmp_path / "new.npz")))
    meta = json.loads(str(arrays["record_json"]))
    del meta["flags"]
    np.savez(tmp_path / "old.npz", **arrays | {"record_json": np.asarray(json.dumps(meta))})
    assert js.load(tmp_path / "old.npz").flags == ()


@pytest.fixture
def full_sample_alone(monkeypatch):
    """Options of `resample` with which the resamples, on which no flag on groups depends, are made up."""

    def resampled(measures, ready, *rest):
        part = rest[-3]
        return [np.zeros((len(part.numbers), *full.shape), "f4") for full in ready.estimate]

    monkeypatch.setattr(verbs, "resampled_call", resampled)
    return {"n_resamples": 20, "progress": lambda *_: None}


@pytest.mark.slow
def test_a_group_that_decides_is_warned_of(full_sample_alone):
    labels = np.repeat(np.arange(24), 12)
    x = RNG.normal(size=(2, 288, 4))
    options = {"scheme": js.HalfSamples(groups=labels), **full_sample_alone}
    even, said = resample(x, ["cka-linear", "rsa"], **options)
    assert not said
    x[1, labels == 3] *= 10  # twelve images, too many to be few images that decide
    (found, _), _ = resample(x, ["cka-linear", "rsa"], **options)
    (flag,) = found.flags
    assert flag.startswith("uneven groups: the cka-linear map of network_1 is as uneven as if")


@pytest.mark.slow
def test_permuted_groups_of_a_size_of_their_own_are_no_strata():
    labels = np.r_[np.zeros(30, int), np.repeat(np.arange(1, 6), 6)]
    advised = js.recommend_scheme(60, labels)
    assert resample(RNG.normal(size=(2, 60, 4)), scheme=advised.scheme, n_resamples=20)[1] == []


@pytest.mark.parametrize("labels", [np.repeat(np.arange(4), [1, 2, 3, 4]), np.zeros(10, int)], ids=["sizes", "one"])
def test_no_scheme_is_advised_that_would_be_refused(labels):
    with pytest.raises(ValueError, match="no two groups have the same number of images|one label for all 10 images"):
        js.recommend_scheme(10, labels)


@pytest.mark.slow
def test_groups_of_very_unequal_sizes_are_warned_of(full_sample_alone):
    sizes = np.maximum(1, (40 * 0.75 ** np.arange(20)).astype(int))  # intervals of rsa cover 90 % there
    labels = np.repeat(np.arange(20), sizes)
    x = RNG.normal(size=(2, len(labels), 4))
    found, _ = resample(x, "rsa", scheme=js.HalfSamples(groups=labels), **full_sample_alone)
    assert [flag.split(":")[0] for flag in found.flags] == ["uneven groups"]
    some = np.repeat(np.arange(20), np.tile([1, 6, 10, 15], 5))[: len(labels)]
    found, _ = resample(x, "rsa", scheme=js.HalfSamples(groups=some), **full_sample_alone)
    assert not found.flags


@pytest.mark.slow
def test_tails_of_networks_are_not_heavy():
    """Normal, rectified, one-hot and rare features; a few of Student's t and squares of lognormal ones are."""
    n = 60
    normal = RNG.normal(size=(n, 30))
    nets = {
        "normal": normal,
        "three": normal[:, :3],
        "relu": np.maximum(normal - 0.5, 0),
        "one hot": np.eye(6)[RNG.integers(0, 6, n)],
        "lognormal": np.exp(3 * normal),
    }
    width = max(x.shape[1] for x in nets.values())
    stack = {name: np.pad(x, ((0, 0), (0, width - x.shape[1]))) for name, x in nets.items()}
    _, said = resample(stack, n_resamples=20)
    assert len(said) == 1
    assert "the cka-linear map of lognormal is" in said[0]


def test_permutations_have_no_interval_to_doubt():
    found, said = resample(heavy(12), "cka-linear-biased", scheme=js.Permutation(), n_resamples=30)
    assert (said, found.flags) == ([], ())


@pytest.mark.slow
def test_inside_jit_nothing_is_read():
    x = jnp.asarray(np.stack([*heavy(24).values()]), jnp.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = jax.jit(lambda x: js.resample(x, "cka", n_resamples=20))(x)
    assert found.flags == ()


def made(targets, count=40):
    values = RNG.normal(0.5, 0.05, (count, 3, len(targets)))
    names = ("a", "b", "c")
    given = Provenance("made up", "float32", "host")
    against = tuple(targets) != names
    arrays = (jnp.asarray(values, jnp.float32), jnp.asarray(values[0], jnp.float32))
    return js.Resamples(*arrays, names, tuple(targets), given, "bootstrap", 50, against=against)


def test_a_single_source_ranks_first_by_itself():
    pair = made(["a", "b", "c"])
    cut = dataclasses.replace(pair, values=pair.values[:, :2, :2], estimate=pair.estimate[:2, :2], names=("a", "b"))
    with pytest.warns(js.DoubtfulInference, match="as for a, b"):
        share = dataclasses.replace(cut, targets=("a", "b")).first_share()
    assert share[0, 1] == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pair.first_share()


@pytest.mark.slow
def test_two_members_are_warned_of():
    found = made(["n1", "n2", "m1", "m2", "m3", "m4"])
    with pytest.warns(js.DoubtfulInference, match="group 'n' has 2 members"):
        found.two_factor(["n", "n", "m", "m", "m", "m"])


@pytest.mark.parametrize("members", [2, 3])
def test_variance_of_few_members_has_no_bias(members):
    """Scores of members that differ, images that do not: before, the bound `both` made it (U - 1) / U of the truth."""
    rng, draws = np.random.default_rng(members), 2000
    scores = rng.normal(size=(draws, members))
    by_members = scores.var(1) / members  # of a bootstrap with many draws
    found = statistics.corrected_variance(
        by_members, by_members, 0 * by_members, members_count=members, images_count=50
    )
    truth = 1 / members
    assert float(found.mean()) == pytest.approx(truth, rel=0.1)  # standard error 3 %


@pytest.mark.slow
def test_biased_measures_miss_their_limit():
    """And the debiased forms of the same scores on the same images do not."""
    rates = coverage_assumptions.coverage(("cka-rbf-biased", "cka-rbf"), "normal", 60, 0, at=(2,), pairs=10)
    biased, debiased = (float(np.mean(held)) for held in rates.values())
    assert biased < 0.3
    assert debiased > 0.8


@pytest.mark.slow
def test_the_study_scores_as_the_library_does():
    names = ["cka-rbf-biased", "cka-linear-biased", "distance-correlation", "cka-linear", "rsa"]
    x = coverage_assumptions.WORLDS["normal"](RNG, 24)
    one, *others = x.astype(np.float32)
    for name, wanted in zip(names, js.affinity([one], names, against=others), strict=True):
        found = coverage_assumptions.scores(name, x, [np.arange(24)])[0]
        np.testing.assert_allclose(found, wanted.values[0], atol=2e-3, err_msg=name)


ADVISED = {
    "features": ({"n": 100}, "js.HalfSamples()"),
    "maps": ({"n": 100, "measure": "spearman"}, "js.Bootstrap()"),
    "comparator": ({"n": 100, "measure": js.compare.pearson}, "js.Bootstrap()"),
    "measure": ({"n": 100, "measure": js.CKA_LINEAR}, "js.HalfSamples()"),
    "groups": ({"n": 60, "groups": np.repeat(np.arange(20), 3)}, "js.HalfSamples(groups=...)"),
    "few images": ({"n": 6}, "js.Permutation()"),
    "few groups": ({"n": 60, "groups": np.repeat(np.arange(4), 15)}, "js.Permutation(groups=...)"),
}


@pytest.mark.parametrize(("question", "written"), ADVISED.values(), ids=ADVISED)
def test_recommended_schemes(question, written):
    found = js.recommend_scheme(**question)
    assert str(found).startswith(f"{written}: {found.why}")
    assert found.scheme.plan(question["n"], 3, 100).count == 100


def doubts(**question):
    return " ".join(js.recommend_scheme(**question).doubts)


def test_advice_tells_what_resample_will_warn_of():
    ten, twenty = np.repeat(range(10), 20), np.repeat(range(20), 10)
    assert doubts(n=200) == doubts(n=200, groups=twenty) == ""
    assert "use cka-rbf." in doubts(n=200, measure="cka-rbf-biased")
    assert "But cka-rbf-biased is biased" in str(js.recommend_scheme(200, measure="cka-rbf-biased"))
    assert "12 images are few" in doubts(n=12)
    assert "10 groups are few" in doubts(n=200, groups=ten)
    assert "also compare images within a group" in doubts(n=200, groups=twenty, measure="spearman")
    assert "from 20 groups on" in js.recommend_scheme(200, twenty).why


def test_errors_name_the_recommended_scheme():
    assert repr(js.recommend_scheme(100).scheme) == repr(js.HalfSamples())
    assert repr(js.recommend_scheme(100, measure="spearman").scheme) == repr(advice.FOR_MAPS)
    assert advice.WITH_INTERVALS == "use js.HalfSamples(), or js.Bootstrap() for precomputed maps"
    null = dataclasses.replace(made(["a", "b", "c"]), kind=schemes.Permutation.kind)
    with pytest.raises(ValueError, match=r"no interval for the scheme permutation; use js.HalfSamples\(\), or js.Boot"):
        null.interval()


WRONG = {
    "no images": ({"n": 0}, ValueError, "n must be a positive whole number of images, not 0"),
    "a share": ({"n": 0.5}, ValueError, "not 0.5"),
    "labels": ({"n": 5, "groups": [0, 1]}, ValueError, r"groups of shape \(2,\)"),
    "a name": ({"n": 5, "measure": "ckka"}, ValueError, "no measure is named 'ckka'"),
    "a number": ({"n": 5, "measure": 3}, TypeError, "not 3"),
}


@pytest.mark.parametrize(("question", "kind", "said"), WRONG.values(), ids=WRONG)
def test_questions_that_have_no_advice(question, kind, said):
    with pytest.raises(kind, match=said):
        js.recommend_scheme(**question)


@pytest.mark.slow
def test_the_command_line_shows_flags_below_the_table_and_in_json(tmp_path, capsys):
    np.savez(tmp_path / "f.npz", **heavy(12))
    argv = ["bootstrap", str(tmp_path / "f.npz"), "--measure", "cka-linear-biased", "--resamples", "20"]
    assert main([*argv, "--out", str(tmp_path / "a")]) == 0
    shown = capsys.readouterr()
    assert shown.out.count("\nwarning: ") == 3
    assert shown.err.count("jaxsim: warning: ") == 0
    assert main([*argv, "--json", "--quiet", "--out", str(tmp_path / "b")]) == 0
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)["resamples"][0]["flags"]) == 3
    assert not shown.err


def test_thresholds_are_ordered():
    assert advice.FEWEST < assumptions.FEWEST_IMAGES


def sources(tmp_path):
    rng = np.random.default_rng(0)
    cause = rng.normal(size=(24, 6))
    arrays = {name: share * cause + rng.normal(size=cause.shape) for name, share in zip("abc", (9, 2, 0), strict=True)}
    np.savez(tmp_path / "f.npz", **arrays)
    np.savez(tmp_path / "t.npz", target=cause)
    argv = ["bootstrap", str(tmp_path / "f.npz"), "--against", str(tmp_path / "t.npz"), "--measure", "cka-linear"]
    return [*argv, "--resamples", "20", "--overwrite", "--quiet", "--out", str(tmp_path / "out")]


@pytest.mark.slow
def test_the_command_line_tests_the_two_best_sources_of_a_target(tmp_path, capsys):
    argv = sources(tmp_path)
    assert main([*argv, "--target", "target"]) == 0
    said = capsys.readouterr().out
    assert "best source for target: a, 0." in said
    assert "above b; p < .001" in said
    assert "cannot be told apart from" not in said
    assert main([*argv, "--target", "target", "--json"]) == 0
    test = json.loads(capsys.readouterr().out)["resamples"][0]["best_source"]
    assert (test["first"], test["second"], test["contenders"]) == ("a", "b", ["a"])
    assert test["p"] < 0.05 < test["difference"]
    assert main(argv) == 0
    assert "best source" not in capsys.readouterr().out
    assert _first_two(dataclasses.replace(made(["a", "b", "c"]), kind=schemes.Subsample.kind), "a") == {}


@pytest.mark.slow
def test_the_command_line_says_which_images_groups_compare(tmp_path, capsys):
    argv = sources(tmp_path)
    (tmp_path / "groups.txt").write_text("\n".join(str(k // 2) for k in range(24)))
    assert main([*argv, "--groups", str(tmp_path / "groups.txt")]) == 0
    assert "images are compared with those of other groups only" in capsys.readouterr().out


def test_a_table_of_several_columns_holds_no_labels(tmp_path, capsys):
    argv = sources(tmp_path)
    (tmp_path / "labels.csv").write_text("\n".join(f"im{k},{k // 2}" for k in range(24)))
    assert main([*argv, "--groups", str(tmp_path / "labels.csv")]) == 2
    assert "a table with several columns; give only the labels" in capsys.readouterr().err
