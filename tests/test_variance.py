"""Variance studies: errors, biases and rank stability against the number of images, of resamples, and the scheme."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr

import jaxsim as js
from jaxsim import cli, layouts
from jaxsim.results import ImagesNeeded
from jaxsim.results.variance_studies import VarianceStudy
from jaxsim.variance import verbs
from jaxsim.variance.draws import DRAWINGS

N, SIZES, B = 48, (12, 24), 8
KINDS = tuple(DRAWINGS)
NAMES = ("amber", "coral", "indigo", "jade")


def features(n=N, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(n, 6))
    return {
        name: (base @ rng.normal(size=(6, 9)) + (0.4 + 0.4 * k) * rng.normal(size=(n, 9))).astype("f")
        for k, name in enumerate(NAMES)
    }


FEATURES = features()


def studied(measure="cka-linear", **options):
    return js.variance_study(FEATURES, measure, **{"sizes": SIZES, "n_resamples": B, "key": 3} | options)


@pytest.fixture(scope="module")
def study():
    return studied()


# A float64 loop


@functools.cache
def draw_of(kind):
    """Draws of the resamples with 16 numbers, one program for all quotas and strata."""

    def drawn(units, quota, first):
        draw = DRAWINGS[kind].draw
        return jax.vmap(lambda b: draw(jax.random.key(3), first + b, units, quota))(jnp.arange(16))

    return jax.jit(drawn)


def weights(kind, m, count=B, strata=None, groups=None):
    """The draws of a study as weights of the images."""
    layout = layouts.layout(strata, N, groups)
    units = layout if groups is None else layout.groups.units
    quota = layouts.in_proportion(np.bincount(units.code), m)[units.code]
    found = np.concatenate([np.asarray(draw_of(kind)(units, quota, b), float) for b in range(0, count, 16)])[:count]
    return found if groups is None else found[:, layout.groups.code]


def cka(w, names=NAMES):
    """Weighted correlation of kernels off the diagonal, after a weighted fit of a_i + a_j by least squares."""
    at = np.flatnonzero(w)
    i, j = np.triu_indices(at.size, 1)
    pairs = w[at][i] * w[at][j]
    design = np.zeros((i.size, at.size))
    design[np.arange(i.size), i] += 1
    design[np.arange(i.size), j] += 1
    design, root = design * np.sqrt(pairs)[:, None], np.sqrt(pairs)
    kernels = [(x @ x.T)[i, j] * root for x in (FEATURES[name].astype(float)[at] for name in names)]
    fit = np.linalg.solve(design.T @ design, design.T @ np.transpose(kernels))
    z = kernels - (design @ fit).T
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    return z @ z.T


def looped(kind, m, n, values, estimate, share):
    """Error, bias and stability from scores `(B, S, T)`, as `js.variance_study` defines them."""
    half = m // 2
    apart = values[0::2] - values[1::2]
    if kind == "half-samples":
        error = np.sqrt((apart**2).mean(0)) / 2 * np.sqrt(2 * half / m)
        bias = (values.mean(0) - estimate) * (1 / m - 1 / n) / (1 / half - 1 / n)
        draws = apart / 2 * np.sqrt(2 * half / m)
    else:
        stretch = np.sqrt(n / (n - m)) if kind == "subsample" else 1
        error = values.std(0, ddof=1) * stretch
        bias = (values.mean(0) - estimate) * (1 if kind == "subsample" else 1 - m / n)
        draws = apart / np.sqrt(2) * stretch
    found = []
    for t in range(estimate.shape[1]):
        others = np.arange(estimate.shape[0]) != t
        r = []
        for k in range(len(draws)):
            middle = estimate + bias + np.sqrt(1 - share) * draws[k ^ 1]
            r.append(spearmanr((middle + draws[k])[others, t], (middle - draws[k])[others, t]).statistic)
        r = np.mean(r)
        found.append(2 * r / (1 + r) if r > 0 else r)
    return error, bias, np.array(found)


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_is_that_of_the_loop(kind, study):
    estimate, k = cka(np.ones(N)), KINDS.index(kind)
    np.testing.assert_allclose(study.estimate, estimate, atol=1e-5)
    for j, m in enumerate(SIZES):
        values = np.array([cka(w) for w in weights(kind, m)])
        error, bias, stability = looped(kind, m, N, values, estimate, m / N)
        np.testing.assert_allclose(study.error[k, j, -1], error, atol=1e-5)
        np.testing.assert_allclose(study.bias[k, j, -1], bias, atol=1e-5)
        np.testing.assert_allclose(study.stability[k, j, -1], stability, atol=1e-5)


def test_fewer_resamples_are_the_first_of_more(study):
    assert study.counts == (4, 8)
    values = np.array([cka(w) for w in weights("bootstrap", 24)])
    np.testing.assert_allclose(study.error[2, 1, 1], values.std(0, ddof=1), atol=1e-5)
    np.testing.assert_allclose(study.error[2, 1, 0], values[:4].std(0, ddof=1), atol=1e-5)


@pytest.mark.slow
def test_draws_are_those_of_resample():
    unit = np.arange(N)
    for kind, scheme, m in (
        ("subsample", js.Subsample(20), 20),
        ("half-samples", js.HalfSamples(), N),
        ("bootstrap", js.Bootstrap(), N),
    ):
        plan, key, draw = scheme.plan(N, 3, 6), jax.random.key(3), jax.jit(scheme.draw)
        for b, w in enumerate(weights(kind, m, 6)):
            drawn = np.asarray(draw(key, b, plan.layout))
            np.testing.assert_array_equal(unit[w > 0] if drawn.size < N else w, drawn)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_hold_strata(kind):
    labels = np.repeat(["a", "b", "c"], (24, 16, 8))
    for w in weights(kind, 12, 4, strata=labels):
        wanted = [3, 2, 1] if "half" in kind else [6, 4, 2]
        np.testing.assert_allclose([w[labels == s].sum() for s in "abc"], wanted, rtol=1e-5)


@pytest.mark.parametrize("kind", ["half-samples", "bootstrap"])
def test_groups_are_drawn_whole(kind):
    labels = np.arange(N) // 4
    for w in weights(kind, 6, 4, groups=labels):
        assert (w.reshape(-1, 4) == w.reshape(-1, 4)[:, :1]).all()
        np.testing.assert_allclose(w[::4].sum(), 3 if "half" in kind else 6, rtol=1e-5)


def test_halves_of_one_draw_share_no_image():
    for first, second in weights("half-samples", 24).reshape(-1, 2, N):
        assert not (first * second).any()


def test_dirichlet_weights_are_as_uneven_as_counts():
    counts, shares = (weights(kind, 12, 400).var(0, ddof=1).mean() for kind in ("bootstrap", "bayesian-bootstrap"))
    assert shares == pytest.approx(12 / N * (1 - 1 / N) * (N / 13) * 12 / N, rel=0.1)
    assert counts == pytest.approx(12 / N * (1 - 1 / N), rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["half-samples", "subsample"])
def test_subsets_refit_what_depends_on_other_images(kind):
    found = studied("rsa", schemes=kind, sizes=(24,))
    if kind == "subsample":
        values = np.asarray(js.resample(FEATURES, "rsa", js.Subsample(24), n_resamples=B, key=3).values, float)
    else:
        subsets = np.array([np.flatnonzero(w) for w in weights(kind, 24)])
        values = np.asarray(js.resample(FEATURES, "rsa", js.Subsample(indices=subsets)).values, float)
    error, bias, stability = looped(kind, 24, N, values, np.asarray(found.estimate, float), 0.5)
    np.testing.assert_allclose(found.error[0, 0, -1], error, atol=1e-5)
    np.testing.assert_allclose(found.bias[0, 0, -1], bias, atol=1e-5)
    np.testing.assert_allclose(found.stability[0, 0, -1], stability, atol=1e-5)


@pytest.mark.slow
def test_numbers_do_not_depend_on_what_else_is_studied(study):
    alone = studied(sizes=(24,), schemes="bootstrap")
    np.testing.assert_allclose(alone.error[0, 0], study.error[2, 1], atol=1e-6)
    np.testing.assert_array_equal(alone.stability[0, 0], study.stability[2, 1])


def same_with_progress(whole, measure, calls):
    """Weighted in chunks of eight, refitted one by one."""
    told = []
    found = studied(measure, progress=lambda *now: told.append(now))
    for name in ("error", "bias", "stability", "estimate"):
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=0, atol=6e-7)
    total = len(SIZES) * len(KINDS) * B
    assert (len(told), told[-1]) == (calls, (total, total))
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_progress_changes_no_number(study):
    same_with_progress(study, "cka-linear", 8)


@pytest.mark.slow
def test_progress_changes_no_number_of_what_is_refitted():
    # not by ranks: of two distances that lie too close for float32, either may come first
    measure = "center:correlation:pearson"
    same_with_progress(studied(measure), measure, 4 + 4 * B)


@pytest.mark.slow
def test_it_works_inside_jit():
    x = {name: np.random.default_rng(k).normal(size=(24, 3)).astype(np.float32) for k, name in enumerate("abc")}

    def study(x):
        return js.variance_study(x, "cka", sizes=(12,), schemes="half-samples", n_resamples=8)

    inside, outside = jax.jit(study)(x), study(x)
    for name in ("error", "bias", "stability", "estimate"):
        np.testing.assert_allclose(getattr(inside, name), getattr(outside, name), atol=1e-6)


@pytest.mark.slow
def test_errors_are_those_of_new_images():
    """Errors at m of N images, from one sample of N, against the spread of scores of many samples of m."""
    m, n = 60, 120

    def sample(seed, size):
        rng = np.random.default_rng(seed)
        base = rng.normal(size=(size, 6))
        return np.stack(
            [base @ mixing[0] + noise[0] * rng.normal(size=(size, 9)), base @ mixing[1] + rng.normal(size=(size, 9))]
        )

    rng = np.random.default_rng(7)
    mixing, noise = rng.normal(size=(2, 6, 9)), (0.5,)
    score = jax.jit(jax.vmap(lambda x: js.affinity(x, "cka").values[0, 1]))
    scores = score(np.stack([sample(s, m) for s in range(400)]).astype("f"))
    found = np.mean(
        [
            np.asarray(js.variance_study(sample(s, n).astype("f"), "cka", sizes=(m,), key=s).error)[:, 0, -1, 0, 1]
            for s in range(1000, 1020)
        ],
        0,
    )
    np.testing.assert_allclose(found, np.std(scores), rtol=0.25)


# Bad input


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sizes": (12, 49)}, "sizes go up to 49 images, and there are 48"),
        ({"sizes": (24, 12)}, "ascending and different, not 24, 12"),
        ({"sizes": (12, 12)}, "ascending and different, not 12, 12"),
        ({"sizes": ()}, "at least one"),
        ({"sizes": (12.5,)}, "whole numbers of images, not 12.5"),
        ({"sizes": (0, 12)}, "whole numbers of images, not 0"),
        ({"sizes": (12, 48)}, "a subset of all 48 images has no error"),
        ({"sizes": (6, 12)}, "half-samples of 6 images hold 3, and the measure needs 4"),
        ({"schemes": "bootstraps"}, "no scheme is named 'bootstraps'; a variance study takes half-samples"),
        ({"schemes": "jackknife"}, "the scheme jackknife says nothing about fewer images"),
        ({"schemes": js.Permutation()}, "the scheme permutation says nothing about fewer images"),
        ({"schemes": ("bootstrap", js.Bootstrap())}, "bootstrap is given twice"),
        ({"schemes": js.Subsample(10)}, "give sizes=, strata= and groups= to variance_study"),
        ({"n_resamples": 1}, "an even number of at least 4, not 1"),
        ({"n_resamples": 5}, "an even number of at least 4, not 5"),
        ({"groups": np.arange(N) // 4, "sizes": (20,)}, "sizes go up to 20 groups, and there are 12"),
        ({"strata": np.arange(3)}, "strata of shape"),
    ],
)
def test_bad_input_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        studied(**options)


@pytest.mark.parametrize(
    ("schemes", "said"), [((), "at least one of"), (js.Bootstrap, "names or values"), ((3,), "not 3")]
)
def test_no_scheme_is_refused(schemes, said):
    with pytest.raises(TypeError, match=said):
        studied(schemes=schemes)


def test_one_network_and_few_images_are_refused():
    with pytest.raises(ValueError, match="variance_study"):
        js.variance_study({"a": FEATURES["amber"]}, "cka")
    with pytest.raises(ValueError, match="12 images are too few for a variance study"):
        js.variance_study({k: x[:12] for k, x in FEATURES.items()}, "cka")


# Answers, from made-up numbers


def made(error=None, stability=None, sizes=(25, 50, 100), images=200, groups=None):
    m = np.asarray(sizes, float)
    error = 0.5 / np.sqrt(m) if error is None else np.asarray(error)
    odds = m / 50
    stability = odds / (1 + odds) if stability is None else np.asarray(stability)
    entries = np.ones((1, len(m), 1, 2, 2)) * error[:, None, None, None]
    entries[..., 0, 1] *= 2
    return VarianceStudy(
        error=entries,
        bias=0 * entries,
        stability=np.ones((1, len(m), 1, 2)) * stability[:, None, None],
        estimate=np.eye(2),
        names=("a", "b"),
        targets=("a", "b"),
        kinds=("half-samples",),
        sizes=tuple(sizes),
        counts=(100,),
        provenance=js.results.Provenance("rsa", "float32", "cpu"),
        images=images,
        groups=groups,
    )


def test_answers_by_two_terms():
    m = np.array([25.0, 50, 100])
    found = made(error=np.sqrt(0.25 / m + 4 / m**2)).images_for(0.05, "b", "a")
    assert found.trusted
    assert found.images == next(n for n in range(1, 1000) if 0.25 / n + 4 / n**2 <= 0.05**2)


def test_answers_by_the_root_law():
    found = made().images_for(0.0625, "b", "a")
    assert found == ImagesNeeded(64, True, found.text)
    assert str(found) == (
        "for a standard error of 0.0625, about 64 images of the 200 there are "
        "(b - a; error^2 = a / n + b / n^2 through 3 sizes)."
    )
    worst = made().images_for(0.0625)
    assert worst.images == 256
    assert "more than you have: about 260 images, and there are 200 (the pair with the largest error;" in worst.text
    assert (
        made()
        .images_for(0.5, "b", "a")
        .text.startswith("for a standard error of 0.5, the smallest size studied is enough: 25 images")
    )


def test_answers_by_spearman_and_brown():
    found = made().images_for_stability(0.75, "a")
    assert found.images == 150
    assert found.trusted
    assert (
        made(groups=50, sizes=(10, 20, 40))
        .images_for_stability(0.9)
        .text.startswith("for a rank stability of 0.9, more than you have: about 450 groups, and there are 50")
    )


def test_answers_that_are_not_to_be_trusted_say_why():
    curved = made(error=(0.1, 0.1, 0.1)).images_for(0.04, "b", "a")
    assert not curved.trusted
    assert "not to be trusted: a size is off the curve by" in curved.text
    steep = made(error=(0.2, 0.09, 0.04)).images_for(0.03, "b", "a")
    assert not steep.trusted
    assert "the part that falls as a / n does not show yet" in steep.text
    assert "; study larger sizes)" in steep.text
    far = made().images_for(0.001, "b", "a")
    assert not far.trusted
    assert "it is more than 4 times the largest size, 100" in far.text
    assert "one size does not make a curve" in made(sizes=(25,)).images_for(0.1).text
    assert "only 2 of the sizes could be used" in made(stability=(-0.1, 0.5, 0.7)).images_for_stability(0.6).text


def test_answers_that_cannot_be_given():
    none = made(stability=(-0.1, 0, -0.2)).images_for_stability(0.6)
    assert none.images is None
    assert "no number of images can be given: the order is no better than chance" in none.text
    assert made(error=(0, 0, 0)).images_for(0.1).images is None
    with pytest.raises(ValueError, match="no target has two sources"):
        made(stability=(np.nan,) * 3).images_for_stability(0.5)
    for wanted in (0, -1, "0.1", np.nan, np.inf):
        with pytest.raises(ValueError, match="standard error above zero"):
            made().images_for(wanted)
    for wanted in (0, 1, 2, "0.9"):
        with pytest.raises(ValueError, match="strictly between 0 and 1"):
            made().images_for_stability(wanted)
    for call in (
        lambda: made().images_for(0.1, "c"),
        lambda: made().images_for(0.1, target="c"),
        lambda: made().images_for(0.1, scheme="c"),
        lambda: made().images_for_stability(0.1, "c"),
    ):
        with pytest.raises(ValueError, match="is named 'c'; there are"):
            call()


# The record


def test_it_is_saved_shown_and_drawn(study, tmp_path):
    path = study.save(tmp_path / "study.npz")
    again = js.load(path)
    assert again.kinds == KINDS
    np.testing.assert_array_equal(again.error, study.error)
    assert json.loads(json.dumps(study.to_json()))["sizes"] == [12, 24]
    assert "half-samples, 12" in str(study)
    assert "<table>" in study._repr_html_()
    assert len(study.to_pandas()) == 4 * 2 * 2 * 12
    figure = study.plot(error=0.05, stability=0.9)
    assert [axes.get_ylabel() for axes in figure.axes] == ["standard error", "bias", "rank stability"]


@pytest.mark.parametrize(
    ("change", "said"),
    [({"sizes": [24, 12]}, "sizes are not ascending"), ({"images": 20}, "do not fit"), ({"groups": 60}, "60 groups")],
)
def test_a_damaged_file_is_refused(change, said, study, tmp_path):
    path = study.save(tmp_path / "study.npz")
    arrays = dict(np.load(path))
    arrays["record_json"] = np.asarray(json.dumps(json.loads(str(arrays["record_json"])) | change))
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=said):
        js.load(path)


@pytest.mark.slow
def test_a_budget_says_how_many_weightings_are_held_at_once(study, monkeypatch):
    held, real = [], verbs.weighted_call
    monkeypatch.setattr(verbs, "weighted_call", lambda *given: held.append(given[-1]) or real(*given))
    each = 4 * 4 * (len(FEATURES) + 4) * N**2 / 2
    found = studied(memory=2.5 * each, schemes="bootstrap", sizes=SIZES[:1])
    assert held == [2]
    np.testing.assert_allclose(found.error[0, 0], study.error[KINDS.index("bootstrap"), 0], atol=1e-6)
    with pytest.raises(ValueError, match="too small for one resample"):
        studied(memory=each / 2)


# The command


@pytest.fixture
def command(study, tmp_path, monkeypatch):
    """The command on features in a file; the study is made already."""
    path = tmp_path / "features.npz"
    np.savez(path, **FEATURES)
    asked = {}

    def remembered(*_, **options):
        asked.update(options)
        return [study]

    monkeypatch.setattr("jaxsim.variance.variance_study", remembered)

    def run(*more):
        given = [str(path), "--measure", "cka-linear", "--out", str(tmp_path / "out"), *more]
        return cli.main(["variance", *given]), asked

    return run


def test_the_command_writes_and_answers(command, tmp_path, capsys):
    given = ["--sizes", "12,24", "--scheme", "bootstrap", "--error", "0.05", "--stability", "0.9", "--memory", "0.5"]
    code, asked = command(*given)
    assert code == 0
    assert asked["memory"] == 2**29
    asked["progress"](16, 16)
    assert asked["sizes"] == (12, 24)
    assert asked["schemes"] == ["bootstrap"]
    said, told = capsys.readouterr()
    assert "resamples: 16 of 16\n" in told
    assert "for a standard error of 0.05" in said
    assert "for a rank stability of 0.9" in said
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["variance.csv", "variance.npz", "variance.png"]
    lines = (tmp_path / "out/variance.csv").read_text().splitlines()
    assert lines[0] == "scheme,images,resamples,source,target,standard error,bias,stability of target"
    assert len(lines) == 1 + 4 * 2 * 2 * 12


def test_the_command_prints_json(command, capsys):
    assert command("--json", "--error", "0.05", "--target", "coral")[0] == 0
    found = json.loads(capsys.readouterr().out)["studies"][0]
    assert found["measure"] == "cka-linear"
    assert "of coral" in found["answers"]["error"]["text"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--sizes", "12;24"), "is not a whole number; give numbers of images such as 25,50,100"),
        (("--target", "coral"), "--target has no effect without --error or --stability"),
        (("--error", "0.1", "--target", "x"), "--target x is not a target"),
        (("--stability", "1"), "is not between 0 and 1"),
        (("--error", "0"), "is not a number above zero"),
    ],
)
def test_the_command_refuses(more, said, command, capsys):
    assert command(*more)[0] == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_two_networks_have_no_order_to_draw():
    pytest.importorskip("matplotlib")
    found = made(stability=(np.nan,) * 3)
    assert [axes.get_ylabel() for axes in found.plot().axes] == ["standard error", "bias"]
    asked = found.plot(stability=0.9).axes
    assert [axes.get_ylabel() for axes in asked] == ["standard error", "bias", "rank stability"]


def test_a_comparator_that_is_not_symmetric_is_refused():
    def projected(a, b):
        return jnp.vdot(a, b) / jnp.vdot(b, b)

    measure = js.Measure(js.transforms.identity, js.pairwise.linear, projected)
    x = np.random.default_rng(0).normal(size=(2, 20, 4)).astype(np.float32)
    with pytest.raises(ValueError, match="projected is not symmetric"):
        js.variance_study(x, measure, schemes=("half-samples",), n_resamples=4, key=0)
