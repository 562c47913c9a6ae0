"""Options that several verbs take: one default, one type and one wording each, and a flag of the command line.

Verbs and options are read from signatures and docstrings, so that a new one is compared with its siblings. Where one
differs, a table says why.
"""

import argparse
import collections
import importlib.util
import inspect
import re
import types
import typing

import jax
import pytest

import jaxsim as js
from jaxsim import cli, taxonomy

VERBS = {name: getattr(js, name) for name in js.__all__ if inspect.isfunction(getattr(js, name))}
VERBS |= {f"taxonomy.{name}": f for name, f in vars(taxonomy).items() if inspect.isfunction(f)}
VERBS |= {f"Minibatches.{name}": getattr(js.Minibatches, name) for name in ("add", "affinity")}
if importlib.util.find_spec("flax"):
    from jaxsim.vision import attribution

    VERBS["attribution.image_scores"] = attribution.image_scores


def signature(verb):
    """Parameters with their types; those of pandas, which modules import for checkers alone, stand in."""
    frame = types.SimpleNamespace(DataFrame=type("DataFrame", (), {}))
    return inspect.signature(verb, eval_str=True, locals={"pd": frame, "jax": jax}).parameters


def options(verb):
    """Parameters that have a default or are given by keyword."""
    return {
        name: p
        for name, p in signature(verb).items()
        if p.kind is not p.VAR_POSITIONAL and (p.default is not p.empty or p.kind is p.KEYWORD_ONLY)
    }


def told(verb):
    """What the docstring says of each argument."""
    found = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(verb), re.M | re.S)
    each = re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", found[1], re.M | re.S) if found else []
    return {name: " ".join(words.split()) for name, words in each}


OPTIONS = {name: found for name, verb in VERBS.items() if (found := options(verb))}
TOLD = {name: told(VERBS[name]) for name in OPTIONS}
OTHERS = {
    ("load_truth", "key"): "an array of a file, not of random numbers",
    ("Minibatches.affinity", "against"): "names of networks that are there",
    ("recommend_scheme", "measure"): "what is asked about; that of compare_models makes maps",
}
"""Options that have the name of another one and mean something else."""
HOLDERS = collections.defaultdict(list)
for verb, found in OPTIONS.items():
    for option in found:
        if (verb, option) not in OTHERS:
            HOLDERS[option].append(verb)
SHARED = {option: verbs for option, verbs in HOLDERS.items() if len(verbs) > 1}


# Defaults and types

DIFFERENT = {
    "channels": {"sweep": "files have no names to map before they are read"},
    "level": {"calibrate": "a share of false findings, not of confidence"},
    "linkage": {"taxonomy.branch_support": "that of the tree by default"},
    "n_resamples": {
        "variance_study": "every size and scheme has as many",
        "compare_models": "p-values of many pairs of models take more",
    },
    "progress": {"sweep": "tells of the rate and of what is left"},
    "relabelings": {"compare_agreements": "is about p-values, which evaluate makes if asked"},
    "scheme": {"explain": "None is for affinity"},
}
"""Verbs whose option has another default or type than its siblings', and why."""


@pytest.mark.parametrize("option", SHARED)
def test_siblings_have_one_default_and_one_type(option):
    kinds = {verb: (repr(p.default), str(p.annotation)) for verb in SHARED[option] for p in [OPTIONS[verb][option]]}
    usual = {kind for verb, kind in kinds.items() if verb not in DIFFERENT.get(option, ())}
    assert len(usual) == 1, kinds
    assert not [verb for verb in DIFFERENT.get(option, ()) if kinds[verb] in usual], "no longer different"


# Words

REFERENCE = re.compile(r"as for `(?:js\.)?([\w.]+)`")


@pytest.mark.parametrize("verb", OPTIONS)
def test_every_option_is_told_of(verb):
    assert not set(OPTIONS[verb]) - set(TOLD[verb])
    assert not set(TOLD[verb]) - set(signature(VERBS[verb]))


APART = {
    "against": {"compare_maps": "maps"},
    "correlation": {"evaluate": "takes a function of your own too"},
    "groups": {"calibrate": "of permutations"},
    "level": {"calibrate": "a share of false findings"},
    "linkage": {"taxonomy.branch_support": "that of the tree"},
    "missing": {"compare_maps": "of pairs of images that maps lack too"},
    "n_resamples": {"variance_study": "of each size", "compare_models": "of images and subjects"},
    "overwrite": {"sweep": "blocks stay"},
    "progress": {"sweep": "a record of what is done and left", "attribution.image_scores": "between batches"},
    "relabelings": {"evaluate": "none are made by default", "compare_agreements": "some always are"},
    "strata": {"calibrate": "of permutations"},
}
"""Verbs that tell of an option in words of their own, and why."""


@pytest.mark.parametrize("option", SHARED)
def test_siblings_have_one_wording_or_refer_to_it(option):
    words = {verb: TOLD[verb][option] for verb in SHARED[option] if verb not in APART.get(option, ())}
    own = {verb: text for verb, text in words.items() if not REFERENCE.search(text)}
    assert len(set(own.values())) <= 1, own
    for verb in set(words) - set(own):
        home = REFERENCE.search(words[verb])[1]
        assert home in own or home in APART.get(option, ()), f"{verb} refers to {home}"


@pytest.mark.parametrize("verb", [name for name, verb in VERBS.items() if typing.get_overloads(verb)])
def test_overloads_have_the_options_of_the_verb(verb):
    for one in typing.get_overloads(VERBS[verb]):
        (given,) = typing.get_args(typing.get_type_hints(one)["options"])
        assert typing.get_type_hints(given) == {name: p.annotation for name, p in OPTIONS[verb].items()}


# Siblings without an option

NETWORKS = {v for v in OPTIONS if {"features", "maps", "models", "group"} & set(signature(VERBS[v]))}
TRUTH = {v for v in OPTIONS if "truth" in signature(VERBS[v])}
DRAWS = {v for v in NETWORKS if "key" in OPTIONS[v]}
"""Verbs on networks, those of them that draw images, and verbs on measured transfer."""
LATER, FILES, ONE_BATCH = "the record's methods take it", "files say it", "of one batch, before any score"
WITHOUT = {
    "against": {
        "maps": "a map is of one network",
        "noise_ceiling": "a group has no columns",
        "compare_models": "the subjects are the other set",
        "sweep": "a square matrix",
        "Minibatches.add": "the verb affinity takes it",
    },
    "ids": {"sweep": FILES, "Minibatches.add": ONE_BATCH},
    "against_ids": {
        "maps": "no against",
        "noise_ceiling": "no against",
        "compare_models": "called subject_ids",
        "sweep": "no against",
        "Minibatches.add": ONE_BATCH,
    },
    "align": {"sweep": "all files have the same images", "Minibatches.add": ONE_BATCH},
    "missing": {
        "maps": "of one network",
        "resample": "resamples are of images that all networks have",
        "calibrate": "permutations are of images that all networks have",
        "variance_study": "resamples are of images that all networks have",
        "compare_models": "maps that lack pairs are refused",
        "noise_ceiling": "maps are averaged",
        "sweep": "all files have the same images",
        "Minibatches.add": ONE_BATCH,
    },
    "channels": {"compare_maps": "maps have none"},
    "memory": {
        "maps": "all maps are the result",
        "noise_ceiling": "all maps are held",
        "sweep": "a block is as large as block says",
        "Minibatches.add": "a batch is as large as the user made it",
    },
    "tile": {
        "maps": "all maps are the result",
        "compare_maps": "maps are whole",
        "resample": "chosen by memory",
        "calibrate": "all maps are held",
        "variance_study": "all maps are held",
        "compare_models": "all maps are held",
        "noise_ceiling": "all maps are held",
        "sweep": "features are read network by network",
        "Minibatches.add": "batches are tiles",
    },
    "devices": {
        "maps": "one pass over the networks",
        "variance_study": "one device has all",
        "compare_models": "one device has all",
        "noise_ceiling": "one pass over the networks",
        "sweep": "workers have one each",
        "Minibatches.add": "works inside jit and shard_map",
    },
    "progress": {
        "affinity": "a call of seconds",
        "maps": "one device call",
        "compare_maps": "a call of seconds",
        "calibrate": "one device call",
        "compare_models": "one device call",
        "noise_ceiling": "one device call",
        "Minibatches.add": "one batch",
    },
    "n_resamples": {"calibrate": "called n_permutations"},
    "scheme": {
        "calibrate": "permutations",
        "variance_study": "called schemes",
        "compare_models": "bootstraps of images and subjects",
    },
    "estimate": dict.fromkeys(("calibrate", "variance_study", "compare_models"), "all is about the full sample"),
    "level": {"resample": LATER, "variance_study": "errors, and no intervals"},
    "strata": {"resample": "schemes have them", "compare_models": "images are drawn one by one"},
    "groups": {"resample": "schemes have them", "compare_models": "images are drawn one by one"},
    "diagonal": {"compare_agreements": "relabelings leave the diagonal in place"},
    "relabelings": {"agreement_intervals": "intervals, and no tests"},
}
"""Verbs that lack an option of their siblings, and why; a new verb has it or stands here."""


@pytest.mark.parametrize("option", SHARED)
def test_a_verb_without_an_option_of_its_siblings_says_why(option):
    lacking = set()
    for members in (NETWORKS, TRUTH):
        holders = members.intersection(SHARED[option])
        drawing = holders <= DRAWS | {"explain"}  # which has the options of two verbs
        lacking |= (DRAWS if drawing else members - {"explain"}) - holders if len(holders) > 1 else set()
    assert lacking == set(WITHOUT.get(option, ()))


def test_no_reason_is_left_over():
    assert not set(WITHOUT) - set(SHARED)
    assert not set(DIFFERENT) - set(SHARED)
    assert not set(APART) - set(SHARED)


# The command line

PARSERS = next(a for a in cli.build_parser()._actions if isinstance(a, argparse._SubParsersAction)).choices
COMMANDS = {
    "affinity": "affinity",
    "compare_maps": "affinity",
    "explain": "affinity",
    "read_features": "affinity",
    "resample": "bootstrap",
    "calibrate": "calibrate",
    "variance_study": "variance",
    "compare_models": "rdm",
    "sweep": "sweep",
    "report": "report",
    "evaluate": "evaluate",
    "compare_agreements": "evaluate",
    "agreement_intervals": "evaluate",
    "load_truth": "evaluate",
    "taxonomy.tree": "taxonomy",
    "taxonomy.branch_support": "taxonomy",
    "taxonomy.choose_sources": "taxonomy",
    "attribution.image_scores": "attribution",
    "resample_scores": "attribution",
}
NO_COMMAND = {
    "maps": "maps are for programs; js.Maps saves them",
    "noise_ceiling": "`jaxsim rdm` shows it",
    "crossnobis": "measurements come from the toolboxes of scanners, in Python",
    "recommend_scheme": "a line of Python",
    "Minibatches.add": "inside a training loop",
    "Minibatches.affinity": "inside a training loop",
    "taxonomy.cluster_agreement_p": "groups of networks are given in Python",
    "taxonomy.classical_scaling": "`js.plotting.mds` draws it",
    "taxonomy.transfer_affinity": "`jaxsim transfer` measures and calls it",
    "taxonomy.transfer_distance": "a scale of figures",
}
FLAGS = {
    "key": "seed",
    "n_resamples": "resamples",
    "n_permutations": "permutations",
    "schemes": "scheme",
    "executor": "engine",
    "options": "option",
    "path": "out",
}
NO_FLAG = {
    "against_ids": dict.fromkeys(
        ("affinity", "compare_maps", "explain", "resample", "calibrate", "variance_study"), FILES
    ),
    "subject_ids": {"compare_models": FILES},
    "progress": dict.fromkeys(
        ("resample", "variance_study", "sweep", "attribution.image_scores"), "shown unless --quiet"
    ),
    "estimate": {"resample": "commands draw the matrix", "explain": "of resamples"},
    "scheme": {"resample_scores": "the one with the best intervals", "explain": "`jaxsim bootstrap --explain` has it"},
    "n_resamples": {"explain": "`jaxsim bootstrap --explain` has it"},
    "diagonal": dict.fromkeys(("evaluate", "agreement_intervals"), "both ways are shown"),
    "correlation": dict.fromkeys(("evaluate", "compare_agreements", "agreement_intervals"), "Spearman's alone"),
    "top": {"evaluate": "1, 2 and 5; --curves has all"},
    "relevant": {"evaluate": "five best sources"},
    "importance": {"taxonomy.choose_sources": "weights are given in Python"},
    "cost": {"taxonomy.choose_sources": "costs are given in Python; --free sets those of zero"},
    "threads": {"attribution.image_scores": "two do for a disk"},
}
"""Options that the command of a verb does not offer, and why."""


def flags(verb):
    """Flags of the verb's command with their defaults."""
    actions = PARSERS[COMMANDS[verb]]._actions
    return {text.lstrip("-"): action.default for action in actions for text in action.option_strings}


def flag_of(verb, option):
    named = option if (verb, option) in OTHERS else FLAGS.get(option, option)
    return named.replace("_", "-")


def test_every_verb_has_a_command_or_a_reason():
    assert set(OPTIONS) == set(COMMANDS) | set(NO_COMMAND)
    assert not set(COMMANDS) & set(NO_COMMAND)


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_command_offers_every_option_or_says_why_not(verb):
    if verb not in OPTIONS:
        pytest.skip(f"{verb} takes an extra")
    lacking = {option for option in OPTIONS[verb] if flag_of(verb, option) not in flags(verb)}
    assert lacking == {option for option, verbs in NO_FLAG.items() if verb in verbs}


OTHER_DEFAULTS = {
    ("resample_scores", "n_resamples"): "that of half-samples, which are what it draws",
    ("resample", "scheme"): "by name",
    ("taxonomy.tree", "linkage"): "by name",
    ("taxonomy.branch_support", "linkage"): "that of the tree",
    ("attribution.image_scores", "batch"): "as for `jaxsim features`",
}


@pytest.mark.parametrize("verb", COMMANDS)
def test_flags_have_the_defaults_of_the_options(verb):
    """Or none, where the verb's own is used."""
    if verb not in OPTIONS:
        pytest.skip(f"{verb} takes an extra")
    known = flags(verb)
    for option, p in OPTIONS[verb].items():
        given = known.get(flag_of(verb, option))
        if given and (verb, option) not in OTHER_DEFAULTS:
            assert given == p.default, option
