"""Everything that the library draws: keys are distinct, and draws follow their law, outcome by outcome.

Seeds are fixed, so that a test passes or fails for good; RATE is how often one would fail for another seed.
"""

import functools
import itertools
import math
from collections import Counter
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import slow_but
from scipy import stats

import jaxsim as js
from jaxsim import demo
from jaxsim.statistics.checks import as_key
from jaxsim.statistics.members import replacement_weights
from jaxsim.studies.branching import augmentation, similarity
from jaxsim.studies.reproduce import rankings
from jaxsim.studies.rooms import encoders, pictures, scenes, tasks
from jaxsim.taxonomy import tree_agreement
from jaxsim.vision.datasets.records import Dataset
from jaxsim.vision.training import sources

KEY = jax.random.key(0)
DRAWS = 4000
RATE = 1e-5


def follows(outcomes, law):
    """Chi-square test of outcomes against their probabilities, and of each against those one to three draws before."""
    outcomes = list(outcomes)
    counts = Counter(outcomes)
    assert set(counts) <= set(law), "an outcome that cannot be"
    seen, expected = [counts[o] for o in law], np.array(list(law.values())) * len(outcomes)
    assert expected.sum() == pytest.approx(len(outcomes))
    assert stats.chisquare(seen, expected).pvalue > RATE, "not the law"
    again = sum(p * p for p in law.values())
    for lag in (1, 2, 3):
        same = sum(a == b for a, b in zip(outcomes, outcomes[lag:], strict=False))
        assert stats.binomtest(same, len(outcomes) - lag, again).pvalue > RATE, f"draws repeat after {lag}"


def even(outcomes):
    outcomes = list(outcomes)
    return dict.fromkeys(outcomes, 1 / len(outcomes))


def counts_law(n):
    """Probabilities of the counts of n draws with replacement among n."""
    law = Counter()
    for drawn in itertools.product(range(n), repeat=n):
        law[tuple(drawn.count(i) for i in range(n))] += 1 / n**n
    return law


def both(first, second, places):
    """Law of two independent parts whose entries stand at these places."""
    made = {}
    for (a, p), (b, q) in itertools.product(first.items(), second.items()):
        row = dict(zip(places, (*a, *b), strict=True))
        made[tuple(row[i] for i in range(len(places)))] = p * q
    return made


@functools.partial(jax.jit, static_argnums=0)
def many(draw, key, numbers, layout):
    return jax.vmap(draw, (None, 0, None))(key, numbers, layout)


def drawn(scheme, n, count=DRAWS, key=KEY):
    """What a scheme draws, one row a resample, as the device program draws it."""
    layout = scheme.plan(n, 1, 2).layout
    return np.asarray(many(scheme.draw, key, jnp.arange(count), layout))


def rows(scheme, n):
    return [tuple(row) for row in drawn(scheme, n).astype(int).tolist()]


# Schemes

LABELS = list("ababa")  # images 0, 2, 4 and 1, 3
PLACES = (0, 2, 4, 1, 3)
ORDERS = {tuple(i for i in p): 1 / 6 for p in itertools.permutations((0, 2, 4))}
TWO = dict.fromkeys(itertools.permutations((1, 3)), 1 / 2)
ACROSS = [tuple(sorted(p)) for p in itertools.product((0, 2, 4), (1, 3))]
PAIRED = list("aabbcc")


def of_groups(law):
    """The law of counts of groups, for each of their two images."""
    return {tuple(k for k in counts for _ in range(2)): p for counts, p in law.items()}


def groups_moved():
    """Three groups of two in any order, images of a group in their own."""
    return even(tuple(i for g in p for i in (2 * g, 2 * g + 1)) for p in itertools.permutations(range(3)))


LAWS = {
    "bootstrap": (js.Bootstrap(), 3, counts_law(3)),
    "bootstrap in strata": (js.Bootstrap(strata=LABELS), 5, both(counts_law(3), counts_law(2), PLACES)),
    "permutation": (js.Permutation(), 5, even(itertools.permutations(range(5)))),
    "permutation in strata": (js.Permutation(strata=LABELS), 5, both(ORDERS, TWO, PLACES)),
    "bootstrap of groups": (js.Bootstrap(groups=PAIRED), 6, of_groups(counts_law(3))),
    "permutation of groups": (js.Permutation(groups=PAIRED), 6, groups_moved()),
    "subsample of groups": (js.Subsample(2, groups=PAIRED), 6, even([(0, 1), (2, 3), (4, 5)])),
    "subsample": (js.Subsample(2), 5, even(itertools.combinations(range(5), 2))),
    "subsample in strata": (js.Subsample(2, strata=LABELS), 5, even(ACROSS)),
}


@pytest.mark.parametrize("name", LAWS)
def test_every_outcome_of_a_scheme_is_as_likely_as_it_says(name):
    scheme, n, law = LAWS[name]
    follows(rows(scheme, n), law)


def pairs_of_halves(images, size):
    for one in itertools.combinations(images, size):
        for other in itertools.combinations([i for i in images if i not in one], size):
            yield (*one, *other)


@pytest.mark.parametrize("strata", [None, LABELS], ids=["plain", "in strata"])
def test_every_pair_of_halves_is_as_likely(strata):
    halves = rows(js.HalfSamples(strata=strata), 5)
    law = list(pairs_of_halves(range(5), 2))
    if strata:
        law = [p for p in law if p[0] % 2 != p[1] % 2 and p[2] % 2 != p[3] % 2]
    follows(((*a, *b) for a, b in zip(halves[::2], halves[1::2], strict=True)), even(law))


def test_every_pair_of_halves_of_groups_is_as_likely():
    halves = rows(js.HalfSamples(groups=list("aabbccdd")), 8)
    law = [sum(([2 * g, 2 * g + 1] for g in p), []) for p in pairs_of_halves(range(4), 2)]
    follows(((*a, *b) for a, b in zip(halves[::2], halves[1::2], strict=True)), even(map(tuple, law)))


@pytest.mark.parametrize("strata", [None, LABELS], ids=["plain", "in strata"])
def test_weights_of_the_bayesian_bootstrap_are_dirichlet(strata):
    weights = drawn(js.BayesianBootstrap(strata=strata), 5)
    for part in [[0, 1, 2, 3, 4]] if strata is None else [[0, 2, 4], [1, 3]]:
        m, shares = len(part), weights[:, part] / len(part)
        np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
        assert all(stats.kstest(share, stats.beta(1, m - 1).cdf).pvalue > RATE for share in shares.T)
        follows((tuple(order) for order in np.argsort(shares, 1).tolist()), even(itertools.permutations(range(m))))
        if m > 2:
            # given the largest of them, what is left of the others is spread evenly too
            rest = shares[:, 1] / (1 - shares[:, 0])
            assert stats.kstest(rest, stats.beta(1, m - 2).cdf).pvalue > RATE
            assert abs(stats.spearmanr(rest, shares[:, 0]).statistic) < 4.5 / math.sqrt(DRAWS)


SCHEMES = {
    "half-samples": js.HalfSamples(),
    "bootstrap": js.Bootstrap(),
    "bayesian-bootstrap": js.BayesianBootstrap(),
    "subsample": js.Subsample(12),
    "permutation": js.Permutation(),
    "half-samples in strata": js.HalfSamples(strata=np.arange(24) % 2),
    "bootstrap in strata": js.Bootstrap(strata=np.arange(24) % 2),
    "bayesian-bootstrap in strata": js.BayesianBootstrap(strata=np.arange(24) % 2),
    "subsample in strata": js.Subsample(12, strata=np.arange(24) % 2),
    "permutation in strata": js.Permutation(strata=np.arange(24) % 2),
    "half-samples of groups": js.HalfSamples(groups=np.arange(24)),
    "bootstrap of groups": js.Bootstrap(groups=np.arange(24) // 2),
    "bayesian-bootstrap of groups": js.BayesianBootstrap(groups=np.arange(24) // 2),
    "subsample of groups": js.Subsample(12, groups=np.arange(24)),
    "permutation of groups": js.Permutation(groups=np.arange(24) // 2),
}


@pytest.mark.parametrize("name", slow_but(list(SCHEMES)[:5], SCHEMES))
def test_no_two_resamples_and_no_two_keys_draw_the_same(name):
    """Two of 400 agree by chance once in 1e5 at most: halves within strata are the fewest, 924^2."""
    found = [drawn(SCHEMES[name], 24, 200, jax.random.key(seed)) for seed in (0, 1)]
    assert len({row.tobytes() for row in np.concatenate(found)}) >= 400 - ("half" in name or "subsample" in name)
    np.testing.assert_array_equal(drawn(SCHEMES[name], 24, 200), found[0])


def test_the_tests_cover_every_scheme():
    assert {s.kind for s in SCHEMES.values()} == set(js.schemes.NAMED) - {"jackknife"}
    assert {name.split()[0] for name in LAWS} == {"bootstrap", "permutation", "subsample"}


def test_strata_of_several_types_are_told_apart():
    mixed = np.array(["1", 1, "1", 1, (2,)], object)
    code = js.Bootstrap(strata=mixed).plan(5, 1, 2).layout.code
    assert (code[0], code[1], len(set(code.tolist()))) == (code[2], code[3], 3)


def test_the_jackknife_draws_nothing():
    plan = js.Jackknife().plan(5, 3, None)
    assert js.Jackknife.draw is None
    np.testing.assert_array_equal(plan.given, 1 - np.eye(5))


# Seeds


def test_seeds_of_any_size_are_distinct_or_refused():
    seeds = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, np.int64(2), np.uint64(3)]
    assert len({jax.random.key_data(as_key(s)).tobytes() for s in seeds}) == len(seeds)
    for seed in (2**32, 2**40, -1, 2**80, np.int64(2**33)):
        with pytest.raises(ValueError, match=r"^key must be a random key, or a seed from 0 to 2\^32 - 1, not "):
            as_key(seed)


# Members, permutations of names, rows of batches


def test_members_are_drawn_with_replacement_among_those_kept():
    kept = jnp.array([True, False, True, True, False])
    weights = np.asarray(jax.jit(replacement_weights, static_argnums=(1, 3))(KEY, DRAWS, kept, jnp.float32)) * 3
    np.testing.assert_array_equal(weights[:, [1, 4]], 0)
    follows((tuple(row) for row in np.round(weights[:, [0, 2, 3]]).astype(int).tolist()), counts_law(3))


def test_groups_of_members_are_drawn_apart():
    same = np.tile(np.random.default_rng(0).normal(size=(20, 1, 3)), 2).astype(np.float32)
    run = jax.jit(functools.partial(js.statistics.two_factor, groups=(0, 0, 0, 1, 1, 1)))
    found, again = (run(same, same[0], key=jax.random.key(seed)) for seed in (0, 1))
    assert found.estimate[0, 0] == found.estimate[0, 1]
    assert found.members[0, 0] != found.members[0, 1]
    assert found.members[0, 0] != again.members[0, 0]


def test_names_of_a_grouping_are_shuffled_in_every_order(monkeypatch):
    seen = []
    monkeypatch.setattr(tree_agreement, "_labels", lambda *_: (np.arange(4), np.arange(4)))
    monkeypatch.setattr(tree_agreement, "_adjusted_rand", lambda a, b: seen.append(b) or np.zeros(len(b)))
    tree_agreement.cluster_agreement_p(None, None, 2, key=KEY, permutations=DRAWS)
    assert seen[0][0].tolist() == [0, 1, 2, 3]
    follows(map(tuple, seen[0][1:].tolist()), even(itertools.permutations(range(4))))


def test_relabelings_come_in_every_order():
    made = [rankings.relabelings(SimpleNamespace(seed=seed, quick=False), 4) for seed in range(4)]
    follows((tuple(order.tolist()) for one in made for order in one), even(itertools.permutations(range(4))))


def test_rows_of_a_batch_are_drawn_without_replacement_in_every_order():
    rows_of_steps = jax.jit(functools.partial(sources.rows_of_steps, rows=5, batch=2))
    found = np.asarray(rows_of_steps(KEY, jnp.arange(DRAWS)))
    follows(map(tuple, found.tolist()), even(itertools.permutations(range(5), 2)))
    other = np.asarray(rows_of_steps(jax.random.key(1), jnp.arange(DRAWS)))
    assert np.mean(np.all(found == other, 1)) < 0.1


# Pictures


def test_random_changes_of_pictures_follow_their_law(monkeypatch):
    made, rng = [], np.random.default_rng(0)
    monkeypatch.setattr(augmentation, "warp", lambda _, **how: made.append(how))
    draw = augmentation.Augment(degrees=20, scales=(0.75, 1.25))
    for _ in range(DRAWS):
        draw(SimpleNamespace(image=np.zeros((8, 16, 3))), rng)
    flip, degrees, scale = (np.array([how[name] for how in made]) for name in ("flip", "degrees", "scale"))
    room = np.abs(scale - 1)[:, None] / 2 * [16, 8]
    shift = np.array([how["shift"] for how in made]) / room
    assert stats.binomtest(int(flip.sum()), DRAWS).pvalue > RATE
    uniform = {"degrees": degrees / 20, "scale": (scale - 1) * 4, "right": shift[:, 0], "down": shift[:, 1]}
    for name, values in uniform.items():
        assert stats.kstest(values, stats.uniform(-1, 2).cdf).pvalue > RATE, name
    apart = stats.spearmanr(np.column_stack([flip, *uniform.values()])).statistic - np.eye(5)
    assert np.abs(apart).max() < 4.5 / math.sqrt(DRAWS)


def test_pictures_of_a_probe_are_drawn_without_replacement():
    held = Dataset("made up", tuple("abcdefghij"), None, {})

    class Ten:
        dataset = held

        def __len__(self):
            return 10

    taken = [similarity.Probe(js.RSA, count=8, seed=seed).pictures(Ten()).ids for seed in range(DRAWS // 4)]
    follows(taken, even(itertools.combinations(held.ids, 8)))


def test_scenes_use_every_number_once():
    draw = scenes._Draws(KEY, 4000)
    kinds = np.asarray(draw.category(jnp.array([1.0, 0.0, 3.0]), (1000,)))
    follows(kinds.tolist(), {0: 0.25, 2: 0.75})
    follows(np.asarray(draw.whole(5, (1000,))).tolist(), even(range(5)))
    between = np.asarray(draw.between(-2.0, 6.0, (2000,)))
    assert stats.kstest(between, stats.uniform(-2, 8).cdf).pvalue > RATE
    assert draw.used == len(set(draw.numbers.tolist())) == 4000


def test_noise_differs_between_pictures_and_batches_of_them():
    task = next(t for t in tasks.TASKS.values() if t.corrupt is tasks.image.noisy)
    seen = encoders.inputs(task, np.full((300, 4, 4, 3), 128, np.uint8))
    assert len({one.tobytes() for one in seen}) == 300
    assert stats.kstest((seen.astype(float).ravel() - 128) / 255 / tasks.image.NOISE, stats.norm.cdf).statistic < 0.05
    assert (encoders.inputs(task, np.full((300, 4, 4, 3), 128, np.uint8), seed=1) != seen).any()


def test_pictures_of_a_set_have_keys_of_their_own(monkeypatch):
    given, Views = [], NamedTuple("Views", [("rgb", np.ndarray)])

    def views(keys, look, resolution):
        given.extend(jax.random.key_data(keys).tolist())
        return Views(np.zeros((len(keys), 1)))

    monkeypatch.setattr(pictures.render, "views", views)
    monkeypatch.setattr(pictures, "BATCH", 8)
    for seed in (0, 1):
        list(pictures.rendered(20, seed, None, 1, []))
    assert len(given) == 48
    assert len(set(map(tuple, given))) == 48


def test_made_up_networks_differ_between_seeds_and_names():
    made = [x.ravel()[:50].tobytes() for seed in (0, 1) for x in demo.features(seed).values()]
    assert len(set(made)) == len(made)
