"""Calibrated scores against a float64 loop over the same permutations, and what is refused before the work."""

import dataclasses
import functools
import json
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import oracles as o
import pytest
from scipy import stats

import jaxsim as js
from jaxsim import io
from jaxsim.calibration import program, verbs
from jaxsim.cli import main
from jaxsim.results.calibrations import ADJUSTMENTS, Calibration

N, B, LEVEL = 12, 39, 0.1
KEY = jax.random.key(5)
NETWORK = {"a1": "a", "b1": "b", "a2": "a", "c1": "c", "b2": "b"}  # other layer counts, in no order
STRATA = np.arange(N) % 2
RNG = np.random.default_rng(0)
CAUSES = RNG.normal(size=(N, 3))
FEATURES = {k: (CAUSES @ RNG.normal(size=(3, 6)) + 2 * RNG.normal(size=(N, 6))).astype("f") for k in NETWORK}
OTHERS = {k: (CAUSES @ RNG.normal(size=(3, 5)) + 2 * RNG.normal(size=(N, 5))).astype("f") for k in ("d1", "d2", "e")}
NAMES = ["rsa", "cka-linear", "distance-correlation"]
CELLS = [
    ("center", "correlation", "spearman"),
    ("identity", "linear", "u_centered_cosine"),
    ("identity", "euclidean", "root_centered_cosine"),
]
ORACLES = [o.Measure(o.TRANSFORMS[t], o.PAIRWISE[f], o.COMPARE[g]) for t, f, g in CELLS]


@functools.cache
def calibrated(*, names=tuple(NAMES), at_once=64, against=False, strata=False):
    """Several measures in one call, by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verbs, "MOST_AT_ONCE", at_once)
        given = {"against": OTHERS, "layers_of": lambda name: name[0]} if against else {"layers_of": NETWORK}
        given |= {"strata": STRATA} if strata else {}
        made = js.calibrate(FEATURES, names, n_permutations=B, key=KEY, level=LEVEL, **given)
    return dict(zip(names, made, strict=True))


@functools.cache
def orders(strata):
    plan = js.Permutation(STRATA if strata else None).plan(N, 4, B)
    layout = jax.tree.map(jnp.asarray, plan.layout)
    draw = jax.jit(jax.vmap(lambda b: js.Permutation.draw(KEY, b, layout)))
    return np.asarray(draw(np.arange(B + program.PILOTS)))


@functools.cache
def scores(name, against, strata):
    """Observed scores `(S, T)` and those of every permutation and pilot `(B + P, S, T)`, one pair after the other."""
    oracle = ORACLES[NAMES.index(name)]
    rows = list(FEATURES.values())
    columns = list(OTHERS.values()) if against else rows
    network = list(NETWORK.values())
    a, b = [oracle.map(x) for x in rows], [oracle.map(x) for x in columns]

    def once(order):
        made = np.array([[oracle.compare(u, v[np.ix_(order, order)]) for v in b] for u in a])
        if not against:  # the later network is permuted, and of one network the later layer
            for s, t in np.ndindex(made.shape):
                place = [("abc".index(network[k]), k) for k in (s, t)]
                made[s, t] = made[t, s] if place[0] > place[1] else made[s, t]
        return made

    return once(np.arange(N)), np.array([once(order) for order in orders(strata)])


def tie(observed):
    """The lowest score that counts as high as the observed one."""
    return observed - 100 * np.finfo("f").eps * np.abs(observed)


def threshold(observed, null):
    """The ceil((1 - level) (B + 1))-th of all scores, the observed one among them."""
    every = np.sort(np.concatenate([observed[None], null]), 0)
    return every[math.ceil(round((1 - LEVEL) * (len(null) + 1), 9)) - 1]


CASES = [("distance-correlation", False, False), pytest.param("rsa", False, False, marks=pytest.mark.slow)]
CASES += [pytest.param("cka-linear", *one, marks=pytest.mark.slow) for one in ((True, False), (False, True))]


def best_of(values, against):
    """Highest score of each pair of networks `(..., N, M)`, and its layers."""
    rows = np.array(list(NETWORK.values()))
    columns = np.array([name[0] for name in OTHERS]) if against else rows
    sides = (dict.fromkeys(rows), dict.fromkeys(columns))
    made = [[values[..., rows == a, :][..., columns == b].max((-2, -1)) for b in sides[1]] for a in sides[0]]
    return np.moveaxis(np.array(made), (0, 1), (-2, -1))


adjusted_p = jax.jit(Calibration.adjusted_p, static_argnums=1)


@pytest.mark.parametrize(("name", "against", "strata"), CASES)
def test_every_number_is_that_of_the_loop(name, against, strata):
    several = {"names": (name,)} if against or strata else {}  # other tests ask for several, too
    found = calibrated(**several, against=against, strata=strata)[name]
    observed, null = scores(name, against, strata)
    null, pilots = null[:B], null[B:]
    same = functools.partial(np.testing.assert_allclose, rtol=0, atol=5e-6)
    same(found.estimate, observed)
    same(found.mean, null.mean(0))
    same(found.deviation, null.std(0, ddof=1))
    same(found.threshold, threshold(observed, null))
    same(found.p, (1 + (null >= tie(observed)).sum(0)) / (B + 1), atol=1e-7)
    top, tops, first = (best_of(v, against) for v in (observed, null, pilots))
    off = np.ones(top.shape, bool) if against else ~np.eye(3, dtype=bool)
    same(found.best, np.where(off, top, np.nan))
    same(found.best_mean, np.where(off, tops.mean(0), np.nan))
    same(found.best_deviation, np.where(off, tops.std(0, ddof=1), np.nan))
    same(found.best_threshold, np.where(off, threshold(top, tops), np.nan))
    same(found.best_p, np.where(off, (1 + (tops >= tie(top)).sum(0)) / (B + 1), np.nan), atol=1e-7)
    source, target, estimate, best = map(np.asarray, (found.best_source, found.best_target, found.estimate, found.best))
    for i, j in np.argwhere(off):
        s, t = source[i, j], target[i, j]
        assert (found.network_of[s], found.target_of[t]) == (found.networks[i], found.target_networks[j])
        assert estimate[s, t] == best[i, j]
    family = off if against else np.triu(off)
    z, stars = ((v - first.mean(0)) / first.std(0, ddof=1) for v in (top, tops))
    z, stars = z[family], stars[:, family]
    single = (1 + (stars.max(1)[:, None] >= z - 1e-6).sum(0)) / (B + 1)
    down, floor = np.empty_like(z), 0
    for h in np.argsort(-z):
        floor = max(floor, (1 + (stars[:, z <= z[h]].max(1) >= z[h] - 1e-6).sum()) / (B + 1))
        down[h] = floor
    same(np.asarray(found.single_step)[family], single, atol=1e-7)
    same(np.asarray(found.step_down)[family], down, atol=1e-7)
    same(adjusted_p(found, "bonferroni"), np.minimum(found.best_p * family.sum(), 1), atol=1e-7)
    rate = np.asarray(adjusted_p(found, "false-discovery"))
    same(rate[family], stats.false_discovery_control(np.asarray(found.best_p)[family]), atol=1e-6)
    if not against:
        assert all(np.array_equal(v, v.T, equal_nan=True) for v in map(np.asarray, (found.step_down, rate, found.best)))


@pytest.mark.slow
def test_chunks_change_nothing_and_one_key_gives_the_same_numbers():
    one, other = calibrated()["cka-linear"], calibrated(names=("cka-linear",), at_once=8)["cka-linear"]
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_layers_of_their_own_are_the_resamples_of_a_permutation():
    found = js.calibrate(FEATURES, "cka", n_permutations=B, key=KEY, level=LEVEL)
    resamples = js.resample(FEATURES, "cka", js.Permutation(), n_resamples=B, key=KEY)
    np.testing.assert_array_equal(found.p, resamples.p_value())
    np.testing.assert_allclose(found.estimate, resamples.estimate, atol=1e-7)
    np.testing.assert_allclose(found.mean, resamples.values.mean(0), atol=1e-7)
    off = ~np.eye(len(FEATURES), dtype=bool)
    np.testing.assert_array_equal(np.asarray(found.best_p)[off], np.asarray(found.p)[off])
    np.testing.assert_array_equal(np.asarray(found.best)[off], np.asarray(found.estimate)[off])
    assert found.networks == found.names


@pytest.mark.parametrize("name", NAMES)
def test_a_calibrated_score_is_positive_where_p_reaches_the_level(name):
    found = calibrated()[name]
    for score, p in ((found.calibrated(), found.p), (found.best_calibrated(), found.best_p)):
        known = ~np.isnan(p)
        np.testing.assert_array_equal((np.asarray(score) > 0)[known], (np.asarray(p) <= LEVEL + 1e-6)[known])
    s, t = np.asarray(found.estimate), np.asarray(found.threshold)
    np.testing.assert_allclose(found.calibrated(), np.clip((s - t) / (1 - t), 0, 1), atol=1e-6)
    np.testing.assert_allclose(found.above_chance(), (s - found.mean) / (1 - np.asarray(found.mean)), atol=1e-6)


def test_a_published_package_defines_the_same():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = pytest.importorskip("calibrated_similarity", reason="not installed (extra: peers)")
        import torch
    oracle, found = ORACLES[1], calibrated(names=("cka-linear",), against=True)["cka-linear"]
    rows = {n: [torch.tensor(x) for name, x in FEATURES.items() if NETWORK[name] == n] for n in "abc"}
    columns = {n: [torch.tensor(x) for name, x in OTHERS.items() if name[0] == n] for n in "de"}
    for i, a in enumerate("abc"):
        for j, b in enumerate("de"):
            given = iter(orders(False))
            score, p, tau = peer.calibrate_layers(
                rows[a],
                columns[b],
                lambda x, y: oracle.compare(oracle.map(x.numpy()), oracle.map(y.numpy())),
                K=B,
                alpha=LEVEL,
                perm_fn=lambda *_, given=given: torch.tensor(next(given)),
            )
            ours = (found.best_calibrated(), found.best_p, found.best_threshold)
            np.testing.assert_allclose([v[i, j] for v in ours], [float(v) for v in (score, p, tau)], atol=5e-6)


def test_a_layer_without_a_score_is_left_out_and_a_network_of_such_has_none():
    features = FEATURES | {"a2": np.ones_like(FEATURES["a2"]), "c1": np.ones_like(FEATURES["c1"])}
    with pytest.warns(js.UndefinedScores):
        found = js.calibrate(features, NAMES, n_permutations=B, key=KEY, level=LEVEL, layers_of=NETWORK)[1]
    assert [name for name, _ in found.undefined] == ["a2", "c1"]
    whole = calibrated()["cka-linear"]
    assert np.isnan([found.best[0, 2], found.step_down[1, 2]]).all()
    assert np.isnan(np.asarray(found.p)[2]).all()
    assert np.isfinite([found.best[0, 1], found.best_p[0, 1], found.step_down[0, 1]]).all()
    assert found.best[0, 1] == np.asarray(whole.estimate)[0, [1, 4]].max()


def test_saved_printed_and_as_tables(tmp_path):
    found = calibrated()["cka-linear"]
    back = js.load(found.save(tmp_path / "calibration.npz"))
    assert back.metadata() == found.metadata()
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(a, b)
    text = str(back)
    assert "3 x 3 networks, 39 permutations of 12 images" in text
    assert "a1 - b" in text or "a2 - b" in text
    table = found.to_pandas()
    assert table.loc[("a", "b"), "score"] == pytest.approx(float(found.best[0, 1]))
    assert list(table.index) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found.to_pandas(layers=True).loc[("a1", "c1"), "p"] == pytest.approx(float(found.p[0, 3]))
    assert "best layers" not in str(js.calibrate(FEATURES, "cka", n_permutations=B, key=KEY, level=LEVEL))


def test_an_interval_ends_where_the_calibrated_ends_of_the_resamples_lie():
    found = calibrated()["rsa"]
    values = found.estimate + 0.05 * RNG.normal(size=(40, *found.estimate.shape))
    resamples = js.Resamples(values, found.estimate, found.names, found.targets, found.provenance, "bootstrap", N)
    low, high = np.asarray(found.interval(resamples))
    t = np.asarray(found.threshold)
    np.testing.assert_allclose(high, np.clip((resamples.interval()[1] - t) / (1 - t), 0, 1), atol=1e-6)
    assert (low <= high).all()
    with pytest.raises(ValueError, match="another measure"):
        calibrated()["cka-linear"].interval(resamples)
    with pytest.raises(TypeError, match="js.resample of the same layers"):
        found.interval(np.zeros(3))


REFUSED = {
    "too few permutations": ({"n_permutations": 18}, "18 permutations can reject nothing at level 0.05: give n_perm"),
    "bonferroni that cannot reject": (
        {"n_permutations": 39, "adjust": "bonferroni"},
        'over 10 pairs of networks: give n_permutations=199 or more, or adjust="step-down"',
    ),
    "strata with few orders": (
        {"strata": [0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7]},
        "strata or groups leave only 16 distinct orders of the images, so no p-value is below 0.062, and level",
    ),
    "groups with few orders": ({"groups": np.arange(N) // 4}, "leave only 6 distinct orders"),
    "one group": ({"groups": np.zeros(N)}, "one label for all 12 images"),
    "strata of another length": ({"strata": STRATA[1:]}, r"strata of shape \(11,\)"),
    "strata with a heading": ({"strata": ["class", *STRATA]}, r"\(13,\)"),
    "a missing label": ({"strata": [None, *STRATA[1:].tolist()]}, "no label for image 0"),
    "groups across strata": ({"groups": np.arange(N) // 3, "strata": STRATA}, "has images in two strata"),
    "one network": ({"layers_of": dict.fromkeys(NETWORK, "a")}, "puts all 5 layers in one network, 'a'"),
    "a layer without a network": ({"layers_of": {"a1": "a"}}, "layers_of has no network for b1, a2, c1 and 1 more"),
    "a network of no layer": (
        {"layers_of": NETWORK | {"a7": "a"}},
        r"names 'a7', which is not a layer; there are a1, b1, a2, c1, b2\.$",
    ),
    "too few networks": ({"layers_of": ["a", "b"]}, "holds 2 networks for 5 layers"),
    "no network": ({"layers_of": ["a", "b", "", "c", "d"]}, "no network for a2"),
    "an unknown network": ({"layers_of": ["a", "b", float("nan"), "c", "d"]}, "no network for a2"),
    "a level of confidence": ({"level": 0.95}, "level is the share of false findings, such as 0.05"),
    "little memory": ({"memory": 1000}, "more than the memory budget"),
}


@pytest.mark.parametrize("case", [case for case, (_, said) in REFUSED.items() if said])
def test_what_cannot_work_is_refused_before_the_work(case, monkeypatch):
    monkeypatch.setattr(verbs, "calibrated_call", None)
    options, said = REFUSED[case]
    with pytest.raises(ValueError, match=said):
        js.calibrate(FEATURES, "cka", **options)


def test_texts_and_parts_of_other_kinds_are_refused():
    with pytest.raises(TypeError, match="layers_of must give the network of each layer"):
        js.calibrate(FEATURES, "cka", layers_of="a")
    own = js.Measure(js.transforms.center, js.pairwise.linear, lambda a, b: a[0, 1] * b[0, 1])
    with pytest.raises(TypeError, match="does not declare embed and permuted"):
        js.calibrate(FEATURES, own)


def test_a_false_discovery_rate_that_takes_several_pairs_is_said_before(monkeypatch):
    monkeypatch.setattr(verbs, "calibrated_call", None)
    said = (
        "39 permutations by .* can reject 5 or more of 10 pairs of networks together, but no fewer.*_permutations=199"
    )
    with pytest.warns(js.FewResamples, match=said), pytest.raises(TypeError):
        js.calibrate(FEATURES, "cka", n_permutations=39, adjust="false-discovery")


def test_adjustments_need_what_they_say():
    """One pair alone takes p = 1 / (B + 1) times the number of pairs where it is adjusted by that number."""
    for name, rule in ADJUSTMENTS.items():
        for pairs in (1, 10):
            need, alone = rule.needed(0.05, pairs), rule.alone(0.05, pairs)
            assert 19 <= need <= alone <= 199
            assert alone == (20 * pairs - 1 if name in ("bonferroni", "false-discovery") else 19)


LAYERED = [f"{network}{k}" for network in "ab" for k in range(4)]


@functools.cache
def unrelated(sets=200, images=12):
    """P-values of two unrelated networks of four layers, many data sets in one program; layers share causes."""

    def once(key):
        a, b, c = jax.random.split(key, 3)
        causes = jax.random.normal(a, (2, 1, images, 3))
        layers = jnp.matmul(causes, jax.random.normal(b, (2, 4, 3, 4))).reshape(8, images, 4)
        layers = jnp.tanh(layers) + 0.5 * jax.random.normal(c, layers.shape)
        found = js.calibrate(
            dict(zip(LAYERED, layers, strict=True)), "cka", layers_of=lambda name: name[0], n_permutations=39, key=key
        )
        own = found.p[found.best_source[0, 1], found.best_target[0, 1]]
        return found.best_p[0, 1], own, found.p[0, 4]

    return jax.jit(jax.vmap(once))(jax.random.split(jax.random.key(1), sets))


@pytest.mark.slow
def test_p_of_the_best_layers_holds_its_level_and_the_best_layers_own_does_not():
    best, own, single = (np.asarray(p) for p in unrelated())
    for p in (best, single):
        assert stats.kstest(p - np.random.default_rng(0).random(p.size) / 40, "uniform").pvalue > 0.01
        assert 0.01 <= (p <= LEVEL / 2 + 1e-6).mean() <= 0.1
    assert (own <= LEVEL / 2 + 1e-6).mean() > 0.2


def test_drawn_with_what_is_no_finding_faded():
    pytest.importorskip("matplotlib")
    found = calibrated()["cka-linear"]
    networks, layers = found.plot(), found.plot(layers=True)
    texts = [t.get_text() for t in networks.axes[0].texts]
    assert f"p {found.step_down[0, 1]:.3f}" in texts
    assert f"{found.best_calibrated()[0, 1]:.2f}" in texts
    assert "p step-down, 39 permutations" in networks.axes[0].get_title("left")
    assert [t.get_text() for t in layers.axes[0].get_yticklabels()] == list(FEATURES)
    from jaxsim.plotting import cells

    drawn = cells.Cells.of(found.scores(), 1 - LEVEL, None, None, None, found.step_down)
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_array_equal(drawn.faded[off], ~(np.asarray(found.step_down) < LEVEL)[off])
    assert not drawn.faded.diagonal().any()
    assert "p: no similarity" in drawn.notes(found.scores(), 1 - LEVEL)[0]
    within = dataclasses.replace(
        found, provenance=dataclasses.replace(found.provenance, scheme="permutation(strata=given)")
    )
    assert drawn.notes(within.scores(), 1 - LEVEL)[0] == "p: no similarity beyond that of strata"


@pytest.fixture
def path(tmp_path):
    """Features whose names say their networks, a/1, b/1, a/2, ..."""
    return str(io.write_npz(tmp_path / "layers.npz", {f"{name[0]}/{name[1]}": x for name, x in FEATURES.items()}))


def command(path, out, *more):
    return main(["calibrate", path, "--measure", "cka", "--permutations", "39", "--level", "0.1", "--out", out, *more])


def test_the_command_writes_and_prints_it(path, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    networks, strata = tmp_path / "networks.csv", tmp_path / "strata.txt"
    networks.write_text("".join(f"{name[0]}/{name[1]},{name[0]}\n" for name in FEATURES))
    strata.write_text("".join(f"{label}\n" for label in STRATA))
    given = ["--strata", str(strata), "--layers-of"]
    assert command(path, str(tmp_path / "a"), *given, "/") == 0
    printed = capsys.readouterr()
    assert "networks, with their number of layers: a (2), b (2), c (1)" in printed.err
    assert "adjusted p" in printed.out
    assert command(path, str(tmp_path / "b"), *given, str(networks), "--json") == 0
    assert json.loads(capsys.readouterr().out)["calibrated"][0]["pairs"][0]["source layer"].startswith("a/")
    one, other = (js.load(tmp_path / folder / "calibration.npz") for folder in "ab")
    np.testing.assert_array_equal(one.step_down, other.step_down)
    assert one.networks == ("a", "b", "c")
    rows = [len((tmp_path / "a" / name).read_text().splitlines()) for name in ("calibration.csv", "layers.csv")]
    assert rows == [1 + 3, 1 + 10]
    assert (tmp_path / "a" / "calibration.png").stat().st_size > 1000
    assert "strata=given" in one.provenance.scheme
    assert (tmp_path / "a" / "calibration.csv").read_text().startswith("source,target,source layer,target layer,score,")
    assert command(path, str(tmp_path / "c")) == 0
    assert " layer" not in capsys.readouterr().out
    assert (tmp_path / "c" / "calibration.csv").read_text().startswith("source,target,score,")
    assert sorted(f.name for f in (tmp_path / "c").iterdir()) == [f"calibration.{end}" for end in ("csv", "npz", "png")]
    assert "strata=given" not in js.load(tmp_path / "c" / "calibration.npz").provenance.scheme


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--layers-of", "."], "no layer has --layers-of . in its name; the first layer is a/1."),
        (["--layers-of", "none.csv"], "--layers-of none.csv does not exist or is not a file."),
        (["--adjust", "bonferroni"], "give --permutations 99 or more, or --adjust step-down, which needs 9."),
        (["--adjust", "holm"], "invalid choice: 'holm'"),
        (["--strata", "none.txt"], "--strata none.txt does not exist"),
    ],
)
def test_the_command_refuses(more, said, path, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(verbs, "calibrated_call", None)
    assert command(path, str(tmp_path / "out"), *more) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
