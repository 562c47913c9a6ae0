"""CCA and SVCCA against bases found anew in float64, and on resampled images against the measure on those images."""

import dataclasses
import functools

import jax
import numpy as np
import oracles as o
import pytest

import jaxsim as js
from jaxsim import subspaces
from jaxsim.engine import memory

N = 40
MEASURES = {"cca": o.CCA, "cca-squared": o.CCA_SQUARED, "svcca": o.SVCCA}
every = pytest.mark.parametrize("name", MEASURES)
ACCURACY = 1e-5


@functools.cache
def networks(n=N, widths=(3, 5, 6, 8, 12), seed=0):
    """Networks of several widths that share causes, more widths than the engine compiles for."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(n, 4))
    scale = 2.0 ** -np.arange(max(widths))
    made = {f"of {d}": causes @ rng.normal(size=(4, d)) + rng.normal(size=(n, d)) * scale[:d] + 2 for d in widths}
    return {name: x.astype(np.float32) for name, x in made.items()}


def scores(nets, name):
    """Scores of the measure by its oracle."""
    return o.affinity([x.astype(float) for x in nets.values()], MEASURES[name])


def by_name(verb, *args, **settings):
    """Values of all three measures, from one call."""
    found = verb(args[0], list(MEASURES), *args[1:], **settings)
    return {name: np.asarray(one.values) for name, one in zip(MEASURES, found, strict=True)}


@functools.cache
def of_all():
    return by_name(js.affinity, networks())


@every
def test_networks_of_many_widths_against_the_oracle(name):
    np.testing.assert_allclose(of_all()[name], scores(networks(), name), rtol=0, atol=ACCURACY)
    np.testing.assert_allclose(np.diag(of_all()[name]), 1, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_against_others_is_part_of_the_whole():
    found = js.affinity({"of 3": networks()["of 3"]}, "svcca", against=pair()).values
    np.testing.assert_allclose(found, of_all()["svcca"][:1, 2:4], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_more_features_than_images():
    """CCA is 1 then; SVCCA is not, and its decomposition is as exact."""
    rng = np.random.default_rng(1)
    causes = rng.normal(size=(N, 5))
    nets = {
        k: (causes @ rng.normal(size=(5, d)) + 0.05 * rng.normal(size=(N, d))).astype(np.float32)
        for k, d in (("a", 90), ("b", 200))
    }
    for name, found in zip(("cca", "svcca"), js.affinity(nets, ["cca", "svcca"]), strict=True):
        np.testing.assert_allclose(found.values, scores(nets, name), rtol=0, atol=ACCURACY, err_msg=name)
        assert (found.values[0, 1] > 0.999999) == (name == "cca")


def test_features_that_others_add_up_to_count_once():
    x = networks()["of 3"]
    nets = {**networks(), "of 6": np.hstack([x, x[:, :2] + x[:, 1:], np.ones((N, 1), np.float32)])}
    for name, found in by_name(js.affinity, nets).items():
        np.testing.assert_allclose(found, scores(nets, name), rtol=0, atol=ACCURACY, err_msg=name)
        if name != "svcca":
            np.testing.assert_allclose(found[2, 3:], found[0, 3:], rtol=0, atol=ACCURACY, err_msg=name)


def test_cca_keeps_directions_that_a_gram_matrix_loses():
    """Their variances differ by 1e7, all the digits of float32."""
    rng = np.random.default_rng(2)
    shared = rng.normal(size=(200, 6))
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    x = (shared * np.logspace(0, -3.5, 6) @ turn).astype(np.float32)
    y = (shared + rng.normal(size=(200, 6))).astype(np.float32)
    want = o.CCA(x.astype(float), y.astype(float))
    assert 0.5 < want < 0.9
    np.testing.assert_allclose(js.affinity({"x": x, "y": y}, "cca").values[0, 1], want, rtol=0, atol=1e-4)


FRACTIONS = [0.5, 0.9]


@functools.cache
def of_fractions():
    made = {name: js.measures.by_name(name) for name in MEASURES}
    cells = {
        (name, part): dataclasses.replace(measure, compare=dataclasses.replace(measure.compare, fraction=part))
        for name, measure in made.items()
        for part in FRACTIONS
    }
    return jax.jit(lambda x, y: {cell: m(x, y) for cell, m in cells.items()})(*list(networks().values())[3:])


@pytest.mark.slow
@every
@pytest.mark.parametrize("fraction", FRACTIONS)
def test_fractions_of_the_variance(name, fraction):
    x, y = (f.astype(float) for f in list(networks().values())[3:])
    transformed = (o.zscore(x), o.zscore(y)) if name != "svcca" else (x, y)
    want = MEASURES[name].compare(*(o.basis(f, fraction) for f in transformed))
    np.testing.assert_allclose(of_fractions()[name, fraction], want, rtol=0, atol=ACCURACY)


@pytest.mark.slow
def test_squares_and_means_of_two_dimensions_by_hand():
    """Planes at 60 and 0 degrees: correlations 1 and .5."""
    q = np.linalg.qr(np.column_stack([np.ones(9), np.random.default_rng(3).normal(size=(9, 3))]))[0][:, 1:]
    x, y = q[:, :2] * [2, 3], np.column_stack([q[:, 0], 0.5 * q[:, 1] + np.sqrt(0.75) * q[:, 2]])
    found = jax.jit(lambda x, y: [m(x, y) for m in (js.CCA, js.CCA_SQUARED, js.SVCCA)])(np.float32(x), np.float32(y))
    np.testing.assert_allclose(found, [0.75, 0.625, 0.75], rtol=0, atol=1e-6)


# Resamples
WEIGHTS = np.random.default_rng(4).multinomial(N, np.ones(N) / N, size=3)


def pair():
    return dict(list(networks().items())[2:4])


@functools.cache
def resampled():
    return by_name(js.resample, pair(), js.Bootstrap(weights=WEIGHTS))


@pytest.mark.slow
@every
def test_a_bootstrap_finds_the_subspaces_of_the_repeated_images(name):
    for w, values in zip(WEIGHTS, resampled()[name], strict=True):
        np.testing.assert_allclose(values, scores({k: np.repeat(x, w, 0) for k, x in pair().items()}, name), atol=1e-5)


@pytest.mark.slow
def test_a_bootstrap_against_others():
    x, y = ({k: v} for k, v in pair().items())
    found = js.resample(x, "svcca", js.Bootstrap(weights=WEIGHTS), against=y).values
    np.testing.assert_allclose(found[:, 0, 0], resampled()["svcca"][:, 0, 1], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_subsets_are_the_measure_on_these_rows():
    rows = np.stack([np.random.default_rng(k).permutation(N)[:25] for k in range(3)])
    found = js.resample(pair(), "svcca", js.Subsample(indices=rows)).values
    for some, values in zip(rows, found, strict=True):
        np.testing.assert_allclose(values, scores({k: x[some] for k, x in pair().items()}, "svcca"), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_jackknife_leaves_out_a_row():
    nets = {k: x[:10, :3] for k, x in pair().items()}
    found = js.resample(nets, "cca", "jackknife").values
    for k, values in enumerate(found):
        left = {name: np.delete(x, k, 0) for name, x in nets.items()}
        np.testing.assert_allclose(values, scores(left, "cca"), rtol=0, atol=ACCURACY)


@pytest.mark.slow
def test_too_few_images_with_weight_have_no_score():
    weights = WEIGHTS.astype(float)
    weights[0] = np.where(np.arange(N) < 2, N / 2, 0)
    with pytest.warns(js.UndefinedScores, match="1 of 3 resamples have no .* score") as caught:
        found = by_name(js.resample, pair(), js.Bootstrap(weights=weights))
    assert any("no svcca score" in str(one.message) for one in caught)
    for values in found.values():
        assert np.isnan(values[0]).all()
        assert np.isfinite(values[1:]).all()


@pytest.mark.slow
def test_a_permutation_is_the_measure_on_reordered_rows():
    order = np.random.default_rng(5).permutation(N)

    @jax.jit
    def run(*nets):
        found = {}
        for name in MEASURES:
            measure = js.measures.by_name(name)
            x, y = (measure.compare.embed(measure.pairwise(measure.transform(f))) for f in nets)
            found[name] = measure.compare.scores(x[None], y[measure.compare.permuted(order)][None])[0, 0]
        return found

    x, y = (f.astype(float) for f in pair().values())
    for name, got in run(*pair().values()).items():
        np.testing.assert_allclose(got, MEASURES[name](x, y[order]), rtol=0, atol=ACCURACY, err_msg=name)


@pytest.mark.slow
def test_unrelated_networks_are_within_the_null_and_related_ones_beyond():
    rng = np.random.default_rng(6)
    nets = {**pair(), "unrelated": rng.normal(size=(N, 4)).astype(np.float32)}
    found = js.calibrate(nets, "svcca", n_permutations=99, key=1)
    p = np.asarray(found.p)
    assert p[0, 1] == 0.01
    assert p[0, 2] > 0.05
    assert p[1, 2] > 0.05


# Inside JAX
@functools.cache
def slopes(equal_variances=False):
    """Gradients in float64, at ordinary features or where all directions of the first have one variance."""
    x, y = (f.astype(float) for f in pair().values())
    if equal_variances:
        x = np.concatenate([*[np.eye(6), -np.eye(6)] * 3, np.zeros((N - 36, 6))])
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, _slopes(x, y))


@jax.jit
def _slopes(x, y):
    return {name: jax.grad(js.measures.by_name(name), (0, 1))(x, y) for name in MEASURES}


@pytest.mark.slow
@every
def test_gradient_is_the_difference_quotient(name):
    both = [f.astype(float) for f in pair().values()]
    for k, (i, j) in ((0, (3, 1)), (1, (7, 0)), (1, (11, 5))):
        step = np.zeros_like(both[k])
        step[i, j] = 1e-5
        up, down = ([f + sign * step if m == k else f for m, f in enumerate(both)] for sign in (1, -1))
        want = (MEASURES[name](*up) - MEASURES[name](*down)) / 2e-5
        np.testing.assert_allclose(slopes()[name][k][i, j], want, rtol=1e-4, atol=1e-9)


@pytest.mark.slow
@every
def test_gradient_is_finite_where_directions_have_equal_variances(name):
    slope = slopes(equal_variances=True)[name][0]
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() > 1e-3


@pytest.mark.slow
def test_vmap_is_a_loop():
    stacks = np.stack([list(networks(widths=(5, 5), seed=seed).values())[0] for seed in range(4)]).reshape(2, 2, N, 5)
    got = jax.jit(jax.vmap(lambda both: js.affinity(both, "svcca").values))(stacks)
    want = np.stack([js.affinity(both, "svcca").values for both in stacks])
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_pairs_are_compared_at_the_least_width_that_holds_them():
    assert subspaces._widths(10) == [10]
    assert subspaces._widths(40) == [12, 16, 22, 30, 40][-len(subspaces._widths(40)) :]
    x = np.random.default_rng(8).normal(size=(60, 40)) * 2.0 ** -np.arange(40)
    y = x + 0.1 * np.random.default_rng(9).normal(size=(60, 40)) * 2.0 ** -np.arange(40)
    nets = {"x": x.astype(np.float32), "y": y.astype(np.float32)}
    np.testing.assert_allclose(js.affinity(nets, "svcca").values, scores(nets, "svcca"), rtol=0, atol=ACCURACY)


# What has no score, or none that says anything
def test_constant_features_have_no_score_and_the_reason_is_said():
    match = "'of 3' has no .* all of its images have the same features"
    with pytest.warns(js.UndefinedScores, match=match) as caught:
        found = by_name(js.affinity, {**networks(), "of 3": np.full((N, 3), 0.1, np.float32)})
    for name, values in found.items():
        assert any(f"no {name} score" in str(one.message) for one in caught)
        assert np.isnan(values[0]).all()
        assert np.isfinite(values[1:, 1:]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_have_no_score(bad):
    broken = networks()["of 3"].copy()
    broken[2, 1] = bad
    with pytest.warns(js.UndefinedScores, match="'of 3' has no .* in 1 of 40 images"):
        found = by_name(js.affinity, {**networks(), "of 3": broken})
    for values in found.values():
        assert np.isnan(values[0]).all()
        assert np.isfinite(values[1:, 1:]).all()


def test_correlations_that_are_1_by_construction_are_told_of_once():
    rng = np.random.default_rng(10)
    nets = {k: rng.normal(size=(20, d)) for k, d in (("a", 8), ("b", 13), ("c", 15))}
    text = (
        r"^9 of 13 canonical correlations of 'b' and 'c' are 1 by construction.* 13 and 15.* 3 pairs by cca: use more"
    )
    with pytest.warns(RuntimeWarning, match=text) as caught:
        js.affinity(nets, "cca")
    assert len(caught) == 1
    a, b = (o.basis(nets[k]) for k in "bc")
    assert (o.canonical_correlations(a, b) > 1 - 1e-9).sum() == 9


def test_few_dimensions_are_not_told_of(recwarn):
    js.affinity(networks(), list(MEASURES))
    assert not recwarn.list


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, float("nan")])
def test_fractions_out_of_range_are_refused(fraction):
    with pytest.raises(ValueError, match=r"fraction is a share of the variance in \(0, 1\], not"):
        subspaces.CanonicalCorrelation(fraction=fraction)


def test_parts_that_do_not_fit_are_refused():
    of_maps = js.Measure(js.transforms.center, js.pairwise.linear, subspaces.canonical_correlation)
    of_coordinates = js.Measure(js.transforms.center, subspaces.principal_coordinates, js.compare.pearson)
    with pytest.raises(ValueError, match=r"canonical-correlation compares coordinates .* and linear makes maps"):
        js.affinity(pair(), of_maps)
    with pytest.raises(ValueError, match=r"pearson compares maps .* and principal-coordinates makes coordinates"):
        js.affinity(pair(), of_coordinates)
    with pytest.raises(ValueError, match=r"canonical-correlation compares coordinates"):
        js.compare_maps(np.ones((2, 5, 5)), subspaces.canonical_correlation)


def test_verbs_that_need_maps_say_so():
    with pytest.raises(ValueError, match="svcca compares subspaces and has no maps"):
        js.maps(pair(), "svcca")
    with pytest.raises(TypeError, match="does not declare embed_pooled"):
        js.noise_ceiling(pair(), "svcca")


@pytest.mark.slow
def test_many_images_take_no_map_of_their_pairs():
    """Maps of 70,000 images would take 20 GB each, and have more pairs than a device counts."""
    x = np.random.default_rng(11).normal(size=(70_000, 3)).astype(np.float32)
    nets = {"x": x, "y": x[:, :2] + np.random.default_rng(12).normal(size=(70_000, 2)).astype(np.float32)}
    found = js.affinity(nets, "cca", memory=50e6).values
    np.testing.assert_allclose(found, scores(nets, "cca"), rtol=0, atol=ACCURACY)
    assert memory.map_bytes((js.CCA, js.SVCCA), 70_000, 4, 3) == 2 * 70_000 * 3 * 4
