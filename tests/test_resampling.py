"""Resampling of images: every scheme against the float64 oracles under its own weights, subsets or orders."""

import dataclasses
import functools
import warnings

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import oracles as o
import pytest
import scipy.stats
from marks import slow_but

import jaxsim as js
from jaxsim.engine import padding
from jaxsim.reports import methods

D = 10
KEY = jax.random.key(0)
ACCURACY = 5e-6  # a resampled float32 score against float64 on the same numbers
EVENTS = []
jax.monitoring.register_event_duration_secs_listener(lambda event, _, **what: EVENTS.append((event, what)))


def networks(n, count=3, seed=0):
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(n, 4))
    return {f"net{k}": (causes @ rng.normal(size=(4, D)) + rng.normal(size=(n, D))).astype("f") for k in range(count)}


CELLS = {
    "RSA": ("center", "correlation", "spearman"),
    "CKA_LINEAR": ("identity", "linear", "u_centered_cosine"),
    "DDS_LAPLACIAN": ("zscore", "laplacian", "u_centered_cosine"),
    "CKA_RBF_BIASED": ("identity", "rbf", "centered_cosine"),
    "DISTANCE_CORRELATION": ("identity", "euclidean", "root_centered_cosine"),
    "pearson": ("zscore", "euclidean", "pearson"),
    "cosine": ("zscore", "euclidean", "cosine"),
    "rho_a": ("center", "correlation", "rho_a"),
}
MODULES = (js.transforms, js.pairwise, js.compare)
OURS = [js.Measure(*(getattr(m, p) for m, p in zip(MODULES, c, strict=True))) for c in CELLS.values()]
THEIRS = [o.Measure(o.TRANSFORMS[t], o.PAIRWISE[f], o.COMPARE[g]) for t, f, g in CELLS.values()]


FEW = ("RSA", "CKA_LINEAR", "CKA_RBF_BIASED", "rho_a")  # one of each way to hold a map


def chosen(names):
    return {n: (ours, theirs) for n, ours, theirs in zip(CELLS, OURS, THEIRS, strict=True) if n in names}


def layout(scheme, n):
    return jax.tree.map(jnp.asarray, scheme.plan(n, 2, 2).layout)


def drawn(scheme, n, count, key=KEY):
    """What a scheme draws, one row a resample, each drawn on its own."""
    plan = layout(scheme, n)
    return np.stack([np.asarray(_one(scheme.draw, key, b, plan)) for b in range(count)])


@functools.partial(jax.jit, static_argnums=0)
def _one(draw, key, b, plan):
    return draw(key, b, plan)


def all_weights(n):
    """Counts, Dirichlet weights, one image left out, fractional weights with zeros at two scales, and equal ones."""
    counts = drawn(js.Bootstrap(), n, 2)
    shares = drawn(js.BayesianBootstrap(), n, 2)
    half = np.random.default_rng(1).random(n) * (np.arange(n) % 3 > 0)
    return np.concatenate([counts, shares, 1 - np.eye(n)[:1], [half, 7.3 * half, 3 * np.ones(n)]]).astype(np.float32)


def weighted_oracle(theirs, xs, ys, weights):
    a, b = [theirs.map(x) for x in xs], [theirs.map(y) for y in ys]
    return np.array([[[theirs.compare(u, v, scaled(w)) for v in b] for u in a] for w in weights])


def scaled(w):
    """Counts as they are, fractional weights summing to the number of images; rho-a alone tells them apart."""
    w = w.astype(float)
    return w if (w == np.round(w)).all() else w * len(w) / w.sum()


# Against the oracle


@pytest.fixture(
    scope="module",
    params=[(24, False), pytest.param((25, True), marks=pytest.mark.slow)],
    ids=["square even n", "against odd n"],
)
def weighted(request):
    n, crossed = request.param
    x = networks(n)
    y = {"t0": x["net1"], "t1": networks(n, 4)["net3"]} if crossed else None
    weights = all_weights(n)
    cells = chosen(FEW[:1] if crossed else FEW)
    found = js.resample(x, [ours for ours, _ in cells.values()], js.Bootstrap(weights=weights), against=y)
    return x, y or x, weights, dict(zip(cells, found, strict=True))


def test_weighted_scores_are_the_oracle(weighted):
    x, y, weights, found = weighted
    for name, r in found.items():
        theirs = THEIRS[list(CELLS).index(name)]
        want = weighted_oracle(theirs, x.values(), y.values(), weights)
        np.testing.assert_allclose(r.values, want, rtol=0, atol=ACCURACY, err_msg=name)
        estimate = [[theirs(u, v) for v in y.values()] for u in x.values()]
        np.testing.assert_allclose(r.estimate, estimate, rtol=0, atol=2e-6, err_msg=name)
        assert (r.names, r.targets) == (tuple(x), tuple(y))


def test_equal_weights_are_the_full_sample(weighted):
    """Three copies of every image: no pair of copies counts, and rho-a alone knows how many pairs there are."""
    for name, r in weighted[-1].items():
        if name != "rho_a":
            np.testing.assert_allclose(r.values[-1], r.estimate, rtol=0, atol=ACCURACY, err_msg=name)


def test_scores_do_not_depend_on_the_scale_of_given_weights(weighted):
    for name, r in weighted[-1].items():
        np.testing.assert_allclose(r.values[-2], r.values[-3], rtol=0, atol=2e-6, err_msg=name)


def test_square_resamples_are_symmetric_with_ones_on_the_diagonal(weighted):
    for name, r in weighted[-1].items():
        if r.square and name != "rho_a":
            np.testing.assert_allclose(jnp.diagonal(r.values, axis1=1, axis2=2), 1, atol=ACCURACY, err_msg=name)
            np.testing.assert_array_equal(r.values, jnp.swapaxes(r.values, 1, 2), err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "scheme",
    [pytest.param(js.Bootstrap(), marks=pytest.mark.slow), js.BayesianBootstrap()],
    ids=["bootstrap", "bayesian"],
)
def test_the_bootstraps_are_their_weights(scheme):
    x = networks(24)
    found = js.resample(x, js.CKA_LINEAR, scheme, n_resamples=20, key=KEY)
    given = js.resample(x, js.CKA_LINEAR, js.Bootstrap(weights=drawn(scheme, 24, 20)))
    np.testing.assert_allclose(found.values, given.values, rtol=0, atol=3e-7)
    assert found.provenance.notes == given.provenance.notes
    assert "full sample" in found.provenance.notes[0]
    assert (found.provenance.key, given.provenance.key) == (f"{jax.random.key_impl(KEY)}:[0, 0]", None)
    assert found.provenance.scheme == scheme.kind + "()"


@pytest.mark.parametrize("crossed", slow_but([False], [False, True]), ids=["square", "against"])
def test_subsets_are_computed_anew_from_the_features(crossed):
    x = networks(24)
    (ours, theirs) = chosen(["DDS_LAPLACIAN" if crossed else "cosine"]).popitem()[1]
    y = {"t0": x["net2"]} if crossed else None
    found = js.resample(x, ours, js.Subsample(size=12), n_resamples=4, key=KEY, against=y)
    rows = drawn(js.Subsample(size=12), 24, 4)
    assert all(len(set(r)) == 12 for r in rows)
    for b, images in enumerate(rows):
        cut = [[theirs(u[images], v[images]) for v in (y or x).values()] for u in x.values()]
        np.testing.assert_allclose(found.values[b], cut, rtol=0, atol=ACCURACY)
    assert (found.size, found.images, found.kind, found.provenance.notes) == (12, 24, "subsample", ())


@pytest.mark.slow
def test_subsets_given_as_indices_are_the_same_as_drawn():
    x, rows = networks(24), drawn(js.Subsample(size=12), 24, 20)
    given = js.resample(x, js.CKA_LINEAR, js.Subsample(indices=rows))
    found = js.resample(x, js.CKA_LINEAR, js.Subsample(size=12), n_resamples=20, key=KEY)
    np.testing.assert_allclose(given.values, found.values, rtol=0, atol=5e-7)
    assert given.size == 12


@pytest.mark.slow
def test_subsets_of_networks_of_many_shapes(monkeypatch):
    monkeypatch.setattr(padding, "BUCKETS", 1)  # every bucket is more to compile
    rng = np.random.default_rng(2)
    x = {f"net{d}": rng.normal(size=(24, d)).astype("f") for d in (5, 6, 7, 8)}
    found = js.resample(x, js.CKA_LINEAR, js.Subsample(size=12), n_resamples=2, key=KEY)
    for b, images in enumerate(drawn(js.Subsample(size=12), 24, 2)):
        want = o.affinity([v[images] for v in x.values()], o.CKA_LINEAR)
        np.testing.assert_allclose(found.values[b], want, rtol=0, atol=ACCURACY)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:a p-value of 0.05")
@pytest.mark.parametrize(
    ("n", "crossed"),
    [pytest.param(24, False, marks=pytest.mark.slow), (25, True)],
    ids=["square even n", "against odd n"],
)
def test_permutations_shuffle_the_columns_networks_alone(n, crossed):
    x = networks(n)
    y = {"t0": x["net1"], "t1": networks(n, 4)["net3"]} if crossed else None
    cells = chosen(FEW[1:2] if crossed else FEW)
    found = js.resample(x, [ours for ours, _ in cells.values()], js.Permutation(), n_resamples=3, key=KEY, against=y)
    orders = drawn(js.Permutation(), n, 3)
    assert all(sorted(order) == list(range(n)) for order in orders)
    for r, (_, theirs) in zip(found, cells.values(), strict=True):
        for s, u in enumerate(x.values()):
            for t, v in enumerate((y or x).values()):
                if y is None and t < s:
                    np.testing.assert_array_equal(r.values[:, s, t], r.values[:, t, s])
                    continue
                want = [theirs(u, v[order]) for order in orders]
                np.testing.assert_allclose(r.values[:, s, t], want, rtol=0, atol=ACCURACY)


def test_the_jackknife_leaves_one_image_out_of_the_maps():
    """For comparators of condensed maps that is what cutting the image out of the full-sample map gives."""
    x, cells = networks(24), chosen(("cosine", "DDS_LAPLACIAN"))
    found = js.resample(x, [ours for ours, _ in cells.values()], js.Jackknife())
    for (name, (_, theirs)), r in zip(cells.items(), found, strict=True):
        assert r.values.shape == (24, 3, 3)
        maps = [theirs.map(v) for v in x.values()]
        for b in (0, 11, 23):
            keep = np.delete(np.arange(24), b)
            want = o.compare_maps([m[keep][:, keep] for m in maps], theirs.compare)
            np.testing.assert_allclose(r.values[b], want, rtol=0, atol=ACCURACY, err_msg=name)


def test_maps_are_resampled_with_comparators():
    x = networks(24)
    weights = all_weights(24)
    found = js.resample(js.maps(x, js.RSA), js.compare.cosine, js.Bootstrap(weights=weights))
    want = weighted_oracle(o.RSA._replace(compare=o.COMPARE["cosine"]), x.values(), x.values(), weights)
    np.testing.assert_allclose(found.values, want, rtol=0, atol=ACCURACY)


def test_counts_give_what_rsatoolbox_gives_for_its_own_draw():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        toolbox = pytest.importorskip("rsatoolbox", reason="rsatoolbox is not installed (extra: peers)")
    x = networks(24)
    state = np.random.get_state()  # noqa: NPY002 (rsatoolbox draws from the global generator)
    np.random.seed(5)  # noqa: NPY002
    data = [toolbox.data.Dataset(v.astype(float), obs_descriptors={"image": list(range(24))}) for v in x.values()]
    rdms = toolbox.rdm.concat([toolbox.rdm.calc_rdm(v, method="correlation", descriptor="image") for v in data])
    sample, index = toolbox.inference.bootstrap_sample_pattern(rdms, "image")
    np.random.set_state(state)  # noqa: NPY002
    want = toolbox.rdm.compare(sample, sample, method="spearman")
    counts = np.bincount(index, minlength=24)[None]
    assert counts.max() > 1
    found = js.resample(x, js.RSA_UNCENTERED, js.Bootstrap(weights=counts))
    np.testing.assert_allclose(found.values[0], want, rtol=0, atol=1e-6)


# Half-samples


@pytest.mark.parametrize("n", [24, 25], ids=["even n", "odd n"])
def test_halves_come_in_pairs_that_share_no_image(n):
    rows = drawn(js.HalfSamples(), n, 12)
    assert rows.shape == (12, n // 2)
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        assert len({*one, *other}) == n - n % 2
        assert (np.diff(one) > 0).all()
        assert (np.diff(other) > 0).all()
    assert len({tuple(r) for r in rows}) == 12
    left_out = [set(range(n)).difference(*pair) for pair in zip(rows[::2], rows[1::2], strict=True)]
    assert n % 2 == 0 or len(set(map(tuple, left_out))) > 1


@pytest.mark.parametrize("order", ["sorted", "mixed"])
def test_halves_hold_half_of_every_stratum(order):
    labels = np.array(list("aabbbbbccccccccccccccccc"))  # 2, 5 and 17 of 24
    labels = labels if order == "sorted" else np.random.default_rng(0).permutation(labels)
    rows = drawn(js.HalfSamples(strata=labels), 24, 8)
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        assert [int((labels[r] == k).sum()) for r in (one, other) for k in "abc"] == [1, 2, 8, 1, 2, 8]
        assert not {*one} & {*other}
    assert len({tuple(r) for r in rows}) == 8


def test_half_samples_are_the_affinity_of_each_half():
    x = networks(25)
    r = js.resample(x, js.CKA_RBF, js.HalfSamples(), n_resamples=4, key=KEY)
    rows = drawn(js.HalfSamples(), 25, 4)
    for values, images in zip([*r.values, r.estimate], [*rows, np.arange(25)], strict=True):
        anew = o.affinity([v[images] for v in x.values()], o.CKA_RBF)
        np.testing.assert_allclose(values, anew, rtol=0, atol=ACCURACY)
    assert (r.size, r.images, r.kind, r.provenance.notes) == (12, 25, "half-samples", ())
    assert r.provenance.scheme == "half-samples()"


@pytest.fixture(scope="module")
def halves():
    return js.resample(networks(24), js.CKA_LINEAR, js.HalfSamples(), n_resamples=20, key=KEY)


@pytest.mark.slow
def test_half_samples_do_not_depend_on_their_number_or_on_chunks(halves):
    x, told = networks(24), []
    report = {"progress": lambda *now: told.append(now)}
    fewer = js.resample(x, js.CKA_LINEAR, js.HalfSamples(), n_resamples=18, key=KEY, **report)
    np.testing.assert_allclose(fewer.values, halves.values[:18], rtol=0, atol=3e-7)
    assert told[-1] == (18, 18)
    assert len(told) > 1


def test_many_resamples_are_drawn_by_parts(halves, monkeypatch):
    monkeypatch.setattr("jaxsim.resampling.program.DRAWN_AT_ONCE", 8)
    found = js.resample(networks(24), js.CKA_LINEAR, js.HalfSamples(), n_resamples=18, key=KEY)
    assert found.values.shape == (18, 3, 3)
    np.testing.assert_allclose(found.values, halves.values[:18], rtol=0, atol=3e-7)


def test_strata_reach_the_half_samples(halves):
    found = js.resample(networks(24), js.CKA_LINEAR, js.HalfSamples(strata=STRATA), n_resamples=20, key=KEY)
    assert found.provenance.scheme == "half-samples(strata=given)"
    assert not np.allclose(found.values, halves.values, atol=1e-4)
    images = drawn(js.HalfSamples(strata=STRATA), 24, 1)[0]
    want = o.affinity([v[images] for v in networks(24).values()], o.CKA_LINEAR)
    np.testing.assert_allclose(found.values[0], want, rtol=0, atol=ACCURACY)


def test_half_samples_of_a_real_draw_are_inferred_from_and_saved(halves, tmp_path):
    gap = np.asarray(halves.values[::2] - halves.values[1::2], np.float64)
    np.testing.assert_allclose(halves.standard_error(), np.sqrt((gap**2).mean(0)) / 2, rtol=1e-4, atol=1e-7)
    low, high = np.asarray(halves.interval())
    off = ~np.eye(3, dtype=bool)
    assert (low[off] < halves.estimate[off]).all()
    assert (high[off] > halves.estimate[off]).all()
    np.testing.assert_array_equal(low[~off], high[~off])
    again = js.load(halves.save(tmp_path / "halves.npz"))
    assert (again.kind, again.size) == ("half-samples", 12)
    np.testing.assert_array_equal(again.interval(), halves.interval())


# Keys, chunks, programs


@pytest.fixture(scope="module")
def twenty():
    return js.resample(networks(24), js.CKA_LINEAR, js.Bootstrap(), n_resamples=20, key=KEY)


def test_same_key_same_numbers_whatever_the_chunks(twenty):
    memory = 4 * 4 * 7 * 24**2 / 2 * 3
    found = js.resample(networks(24), js.CKA_LINEAR, js.Bootstrap(), n_resamples=20, key=KEY, memory=memory)
    # the draws are the same, but chunks of other sizes are other programs, which round differently (4.8e-7 on jax 0.12)
    np.testing.assert_allclose(found.values, twenty.values, rtol=0, atol=6e-7)
    np.testing.assert_allclose(found.estimate, twenty.estimate, rtol=0, atol=3e-7)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", [js.Bootstrap(), js.Subsample(size=12), js.Permutation()], ids=lambda s: s.kind)
def test_progress_changes_no_number_of_the_other_schemes(scheme):
    x, told = networks(24), []
    whole = js.resample(x, js.CKA_LINEAR, scheme, n_resamples=20, key=KEY)
    cut = js.resample(x, js.CKA_LINEAR, scheme, n_resamples=20, key=KEY, progress=lambda *now: told.append(now))
    # other programs: each is within 3e-7 of the truth
    np.testing.assert_allclose(cut.values, whole.values, rtol=0, atol=6e-7)
    assert told[-1] == (20, 20)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert len(told) > 1


def test_another_key_gives_other_numbers(twenty):
    other = js.resample(networks(24), js.CKA_LINEAR, js.Bootstrap(), n_resamples=20, key=jax.random.key(1))
    assert float(jnp.min(jnp.max(jnp.abs(other.values - twenty.values)[:, 0, 1:], 1))) > 1e-4


def test_an_interrupt_in_the_progress_stops_at_once_and_spoils_nothing(halves):
    told = []

    def stop(done, of):
        told.append(done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        js.resample(networks(24), js.CKA_LINEAR, js.HalfSamples(), n_resamples=20, key=KEY, progress=stop)
    assert len(told) == 1
    again = js.resample(networks(24), js.CKA_LINEAR, js.HalfSamples(), n_resamples=20, key=KEY)
    np.testing.assert_array_equal(again.values, halves.values)


def test_a_second_call_with_new_features_and_another_key_compiles_nothing(twenty):
    EVENTS.clear()
    js.resample(networks(24, seed=8), js.CKA_LINEAR, js.Bootstrap(), n_resamples=20, key=jax.random.key(7))
    assert [what for event, what in EVENTS if "backend_compile" in event] == []


# Strata

STRATA = np.array(list("aabbbbbbcccccccccccccccc"))  # 2, 6 and 16 of 24


@pytest.mark.parametrize("order", ["sorted", "mixed"])
def test_strata_are_respected_by_every_draw(order):
    labels = STRATA if order == "sorted" else np.random.default_rng(0).permutation(STRATA)
    sizes = np.array([2, 6, 16])

    def members(rows):
        return np.stack([(labels[rows] == label).sum(1) for label in "abc"], 1)

    def sums(weights):
        return np.stack([weights[:, labels == label].sum(1) for label in "abc"], 1)

    counts = drawn(js.Bootstrap(strata=labels), 24, 8)
    shares = drawn(js.BayesianBootstrap(strata=labels), 24, 8)
    subsets = drawn(js.Subsample(size=12, strata=labels), 24, 8)
    orders = drawn(js.Permutation(strata=labels), 24, 8)
    np.testing.assert_array_equal(sums(counts), np.tile(sizes, (8, 1)))
    np.testing.assert_allclose(sums(shares), np.tile(sizes, (8, 1)), rtol=1e-5)
    np.testing.assert_array_equal(members(subsets), np.tile(sizes // 2, (8, 1)))
    assert all((labels[order] == labels).all() for order in orders)
    assert len({tuple(order) for order in orders}) == 8
    assert all(sorted(order) == list(range(24)) for order in orders)
    assert shares.min() > 0
    assert not (sums(drawn(js.Bootstrap(), 24, 8)) == sizes).all()


def test_subset_sizes_that_do_not_divide_go_to_the_largest_remainders():
    rows = drawn(js.Subsample(size=11, strata=STRATA), 24, 6)  # shares .917, 2.75, 7.33
    assert {tuple(np.unique(STRATA[r], return_counts=True)[1]) for r in rows} == {(1, 3, 7)}
    assert all(len(set(r)) == 11 for r in rows)


@pytest.mark.parametrize(
    "scheme",
    slow_but(
        [js.Bootstrap], [js.Bootstrap, js.BayesianBootstrap, js.Permutation, functools.partial(js.Subsample, size=12)]
    ),
    ids=["bootstrap", "bayesian", "permutation", "subsample"],
)
def test_strata_reach_the_scores(scheme):
    plain = js.resample(networks(24), js.CKA_LINEAR, scheme(strata=None), n_resamples=20, key=KEY)
    found = js.resample(networks(24), js.CKA_LINEAR, scheme(strata=STRATA), n_resamples=20, key=KEY)
    assert "strata=given" in found.provenance.scheme
    assert not np.allclose(found.values, plain.values, atol=1e-4)
    one = js.resample(networks(24), js.CKA_LINEAR, scheme(strata=np.zeros(24)), n_resamples=20, key=KEY)
    np.testing.assert_array_equal(one.values, plain.values)


def test_draws_have_the_moments_of_their_distribution():
    counts = drawn(js.Bootstrap(), 24, 600)
    shares = drawn(js.BayesianBootstrap(), 24, 600)
    assert (counts.sum(1) == 24).all()
    np.testing.assert_allclose(counts.var(), 1 - 1 / 24, atol=0.05)
    np.testing.assert_allclose((counts == 0).mean(), (1 - 1 / 24) ** 24, atol=0.01)
    np.testing.assert_allclose(shares.var(), 23 / 25, atol=0.06)
    np.testing.assert_allclose(shares.mean(0), 1, atol=0.2)


# What the resamples are good for


@pytest.mark.slow
def test_the_bootstrap_of_a_debiased_score_stays_near_the_estimate():
    """Drawing rows and recomputing would not: copies of an image agree, and independent features reach 0.5."""
    rng = np.random.default_rng(3)
    n = 40
    x = {k: rng.normal(size=(n, 60)).astype("f") for k in ("x", "y")}
    r = js.resample(x, js.CKA_LINEAR, js.Bootstrap(), n_resamples=200, key=KEY)
    counts = drawn(js.Bootstrap(), n, 5)
    rows = [np.repeat(np.arange(n), w.astype(int)) for w in counts]
    artifact = np.mean([o.CKA_LINEAR(x["x"][r], x["y"][r]) for r in rows])
    assert artifact > 0.4
    assert abs(float(r.estimate[0, 1])) < 0.05
    assert abs(float(jnp.mean(r.values[:, 0, 1]) - r.estimate[0, 1])) < 0.02


@pytest.mark.slow
def test_permutation_p_values_are_uniform_for_independent_networks():
    rng = np.random.default_rng(4)
    x = list(rng.normal(size=(60, 20, 6)).astype("f"))
    found = js.resample(x, js.CKA_LINEAR, js.Permutation(), n_resamples=99, key=KEY)
    p = np.asarray(found.p_value())[np.triu_indices(60, 1)]
    assert p.min() >= 0.01
    for level, slack in ((0.05, 0.02), (0.2, 0.04), (0.5, 0.06)):
        assert abs((p <= level + 1e-6).mean() - level) < slack, level


def test_permutation_finds_networks_that_share_causes():
    found = js.resample(networks(24), js.CKA_LINEAR, js.Permutation(), n_resamples=20, key=KEY)
    np.testing.assert_allclose(found.p_value()[0, 1], 1 / 21, rtol=1e-5)


@pytest.mark.slow
def test_standard_errors_of_the_schemes_agree():
    """Scaled as each demands they estimate one number; unscaled the subsets' and the jackknife's do not."""
    x = networks(60, 2, seed=6)
    given = {"n_resamples": 128, "key": KEY}
    boot = js.resample(x, js.CKA_LINEAR, js.Bootstrap(), **given)
    errors = {
        "jackknife": js.resample(x, js.CKA_LINEAR, js.Jackknife()),
        "half-samples": js.resample(x, js.CKA_LINEAR, js.HalfSamples(), **given),
        "subsample": js.resample(x, js.CKA_LINEAR, js.Subsample(size=12), **given),
    }
    reference = float(boot.standard_error()[0, 1])
    for name, r in errors.items():
        assert 0.7 < float(r.standard_error()[0, 1]) / reference < 1.4, name
    assert float(errors["jackknife"].spread()[0, 1]) < 0.3 * reference
    assert float(errors["subsample"].spread()[0, 1]) > 1.5 * reference


# Undefined scores


@pytest.mark.parametrize(
    "scheme", [js.Bootstrap(), js.Permutation(), js.Subsample(size=12)], ids=["bootstrap", "permutation", "subsample"]
)
def test_a_network_without_a_map_is_nan_in_its_own_entries_alone(scheme):
    x = networks(24)
    spoilt = x | {"net1": np.ones((24, D), "f")}
    with pytest.warns(js.results.UndefinedScores, match="'net1'"):
        found = js.resample(spoilt, js.CKA_LINEAR, scheme, n_resamples=20, key=KEY)
    hit = np.zeros((3, 3), bool)
    hit[1] = hit[:, 1] = True
    np.testing.assert_array_equal(np.isnan(found.values), np.broadcast_to(hit, (20, 3, 3)))
    np.testing.assert_array_equal(np.isnan(found.estimate), hit)
    whole = js.resample(x, js.CKA_LINEAR, scheme, n_resamples=20, key=KEY)
    np.testing.assert_allclose(found.values[:, ~hit], whole.values[:, ~hit], rtol=0, atol=3e-7)
    assert [n for n, _ in found.undefined] == ["net1"]


@pytest.mark.parametrize(
    "scheme",
    [
        *(js.Bootstrap(), js.Subsample(size=12)),
        pytest.param(js.BayesianBootstrap(), marks=pytest.mark.slow),
        pytest.param(js.Jackknife(), marks=pytest.mark.slow),
    ],
    ids=lambda s: s.kind,
)
def test_resamples_without_a_score_are_counted_and_said(scheme):
    """A class of two images: unbiased CKA takes both, which only some schemes keep in every resample."""
    labels = np.zeros((24, D), "f")
    labels[:2, 0] = 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        count = None if scheme.draw is None else 20
        found = js.resample(networks(24) | {"net1": labels}, js.CKA_LINEAR, scheme, n_resamples=count, key=KEY)
    lost = np.isnan(found.values).sum(0)
    np.testing.assert_array_equal(found.unscored(), lost)
    assert np.isfinite(found.estimate).all()
    said = [str(w.message) for w in caught if issubclass(w.category, js.results.UndefinedScores)]
    if scheme.kind == "bayesian-bootstrap":
        assert lost.max() == len(said) == 0
        return
    assert said == [
        f"{lost[0, 1]} of {len(found.values)} resamples have no cka-linear score for net0 - net1, net1 - net2, because "
        "their images are too few or too alike; the errors, intervals and p-values of these pairs are NaN; the scheme "
        "bayesian-bootstrap leaves no image out."
    ]
    assert caught[0].filename == __file__


def test_a_single_resample_is_said_to_give_no_interval():
    with pytest.warns(
        js.results.FewResamples, match="an interval from the scheme bootstrap needs at least 2 resamples"
    ):
        jax.eval_shape(lambda x: js.resample(x, js.CKA_LINEAR, js.Bootstrap(), n_resamples=1), jnp.ones((3, 24, D)))


def test_permutations_too_few_for_a_p_value_are_said_before_the_work():
    said = "a p-value of 0.05 from the scheme permutation needs at least 19 resamples, not 18"
    with pytest.warns(js.results.FewResamples, match=said):
        jax.eval_shape(lambda x: js.resample(x, js.CKA_LINEAR, js.Permutation(), n_resamples=18), jnp.ones((3, 24, D)))


# Ids


def test_resampling_aligns_by_id():
    x = networks(24)
    order = np.random.default_rng(0).permutation(24)
    mixed = x | {"net2": x["net2"][order]}
    ids = dict.fromkeys(x, range(24)) | {"net2": order}
    with pytest.raises(ValueError, match="align=True"):
        js.resample(mixed, js.CKA_LINEAR, js.Jackknife(), ids=ids)
    found = js.resample(mixed, js.CKA_LINEAR, js.Jackknife(), ids=ids, align=True)
    np.testing.assert_allclose(found.values, js.resample(x, js.CKA_LINEAR, js.Jackknife()).values, rtol=0, atol=3e-7)


@pytest.mark.slow
def test_two_sets_with_labels_of_their_own_align():
    """Networks of one name may have their images in different orders in the two sets."""
    x, order = networks(24), np.random.default_rng(0).permutation(24)
    turned = {name: v[order] for name, v in x.items()}
    ids = {"ids": range(24), "against_ids": order}
    with pytest.raises(ValueError, match="align=True"):
        js.resample(x, js.CKA_LINEAR, js.Jackknife(), against=turned, **ids)
    found = js.resample(x, js.CKA_LINEAR, js.Jackknife(), against=turned, align=True, **ids)
    want = js.resample(x, js.CKA_LINEAR, js.Jackknife())
    np.testing.assert_allclose(found.values, want.values, rtol=0, atol=3e-7)


@pytest.mark.slow
def test_maps_of_the_columns_keep_their_own_labels():
    """`ids` labels the rows; it does not say that the columns' images come in the same order."""
    x, order = networks(24), np.arange(24)[::-1]
    turned = js.maps({name: v[order] for name, v in x.items()}, js.RSA)
    columns = js.maps(x, js.RSA, ids=range(24))
    want = js.compare_maps(columns, "cosine").values
    with pytest.raises(ValueError, match="align=True"):
        js.compare_maps(turned, "cosine", ids=order, against=columns)
    of_maps = js.compare_maps(turned, "cosine", ids=order, against=columns, align=True)
    np.testing.assert_allclose(of_maps.values, want, rtol=0, atol=2e-6)
    found = js.resample(turned, "cosine", js.Jackknife(), ids=order, against=columns, align=True)
    np.testing.assert_allclose(found.estimate, want, rtol=0, atol=2e-6)


def plain_pearson(a, b):
    return js.compare.pearson(a, b)


@pytest.mark.slow
def test_a_comparator_of_ones_own_is_subsampled_and_not_weighted():
    own = js.Measure(js.transforms.center, js.pairwise.correlation, plain_pearson)
    for scheme in (js.Bootstrap(), js.Permutation()):
        with pytest.raises(TypeError, match="works with any function of two maps"):
            js.resample(networks(24), own, scheme, n_resamples=2, key=KEY)
    x = networks(24)
    found = js.resample(x, own, js.Subsample(size=12), n_resamples=2, key=KEY)
    theirs = o.Measure(o.center, o.pearson_distance, o.pearson)
    for b, images in enumerate(drawn(js.Subsample(size=12), 24, 2)):
        want = o.affinity([v[images] for v in x.values()], theirs)
        np.testing.assert_allclose(found.values[b], want, rtol=0, atol=ACCURACY)


class Offers:
    """The cosine without `prepare` and `pooled`: both are its embedding."""

    embed, weighted, permuted, embed_pooled = (
        staticmethod(getattr(js.compare.cosine, n)) for n in ("embed", "weighted", "permuted", "embed_pooled")
    )

    def __call__(self, a, b):
        return js.compare.cosine(a, b)


@pytest.mark.slow
def test_a_comparator_of_ones_own_that_offers_enough_is_weighted_permuted_and_pooled():
    made, own = js.maps(networks(12), js.RSA), Offers()
    for scheme, rest in ((js.Jackknife(), {}), (js.Permutation(), {"n_resamples": 19, "key": KEY})):
        found, want = (js.resample(made, g, scheme, **rest) for g in (own, js.compare.cosine))
        np.testing.assert_allclose(found.values, want.values, rtol=0, atol=3e-7)
    bounds = (js.noise_ceiling(made, g) for g in (own, js.compare.cosine))
    np.testing.assert_allclose(*bounds, rtol=0, atol=3e-7)


@pytest.mark.slow
def test_subsets_without_the_full_sample_are_the_same_subsets():
    x = networks(24)
    whole, alone = (
        js.resample(x, [js.RSA, js.CKA_RBF], js.Subsample(size=12), n_resamples=4, key=KEY, estimate=e)
        for e in (True, False)
    )
    for a, b in zip(whole, alone, strict=True):
        np.testing.assert_allclose(a.values, b.values, rtol=0, atol=1e-6)  # of two programs, which round apart
        np.testing.assert_allclose(a.standard_error(), b.standard_error(), rtol=0, atol=1e-6)
        assert np.isnan(b.estimate).all()
    with pytest.raises(ValueError, match="needs the full-sample scores"):
        js.resample(x, js.RSA, js.Bootstrap(), n_resamples=4, key=KEY, estimate=False)


def test_condensed_maps_of_the_columns_lack_a_diagonal():
    m = js.maps(np.random.default_rng(0).normal(size=(2, 12, 5)).astype(np.float32), "cka")
    condensed = {"c": np.asarray(m.values[0])[np.triu_indices(12, 1)]}
    with pytest.raises(ValueError, match="reads the diagonal"):
        js.resample(m, "centered-cosine", "bootstrap", against=condensed, n_resamples=4)


@pytest.mark.filterwarnings("ignore::jaxsim.results.FewResamples")
def test_a_scheme_must_be_registered_before_it_runs():
    class Mine(js.Bootstrap):
        kind = "mine"

    x = networks(24)
    with pytest.raises(ValueError, match="register"):
        js.resample(x, "cka", Mine(), n_resamples=4)
    js.schemes.register(Mine)
    try:
        made = js.resample(x, "cka", Mine(), n_resamples=20)
        assert made.scheme is Mine
        assert "mine" in str(made)
        with pytest.raises(ValueError, match="already"):
            js.schemes.register(type("Other", (js.Bootstrap,), {"kind": "mine"}))
    finally:
        js.schemes._KINDS.pop("mine")


@pytest.mark.slow
def test_subsets_of_all_images_print():
    half = js.resample(networks(24), "cka", js.Subsample(12), n_resamples=20, key=KEY)
    assert "nan" in str(dataclasses.replace(half, size=24))


def mean_product(a, b):
    return jnp.mean(a * b)


def test_scores_beyond_one_have_intervals_on_their_own_scale():
    x = np.random.default_rng(0).normal(size=(3, 40, 6)).astype(np.float32)
    measure = js.Measure(js.transforms.identity, js.pairwise.linear, mean_product)
    found = js.resample(x, measure, n_resamples=40, key=0)
    assert not found.bounded
    assert js.resample(x, "cka", n_resamples=40, key=0).bounded
    error, (low, high) = found.standard_error(), found.interval()
    np.testing.assert_allclose((low + high) / 2, found.estimate, rtol=1e-4)
    np.testing.assert_allclose((high - low) / 2, scipy.stats.t(19).ppf(0.975) * error, rtol=1e-3)
    assert np.isfinite(found.family_wise().step_down[np.triu_indices(3, 1)]).all()
    assert "from Student's t." in methods.paragraph([found])[0]


def test_large_weights_are_scaled_and_are_no_counts():
    x, weights = networks(30), np.random.default_rng(0).random((4, 30))
    small, large = (js.resample(x, "cka", js.Bootstrap(weights=weights * factor)) for factor in (1, 1e20))
    np.testing.assert_allclose(large.values, small.values, rtol=1e-5)
