"""Published packages as second oracles, on random data and on the 92-image set of Kriegeskorte et al. 2008.

Every shared measure is checked against the float64 oracles and against jaxsim; where a package follows
another convention, a test named after the difference holds it fast. A package that is not installed skips
its tests, saying so.
"""

import functools
import importlib.util
import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import oracles as o
import pytest
from machine import DATA

EXACT = 1e-10  # float64 against float64
LIBRARY = {}  # comparators that jaxsim calls otherwise than `oracles.COMPARE` does
TRIANGLE = {
    "spearman": "spearman",
    "pearson": "corr",
    "cosine": "cosine",
    "rho_a": "rho-a",
}  # ours: rsatoolbox's


def peer(name, package=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{package or name} is not installed (extra: peers)")


class Oracles:
    tolerance = EXACT

    def maps(self, features, transform, pairwise):
        return np.stack([o.PAIRWISE[pairwise](o.TRANSFORMS[transform](x)) for x in features])

    def affinity(self, features, transform, pairwise, compare):
        return o.affinity(features, o.Measure(o.TRANSFORMS[transform], o.PAIRWISE[pairwise], o.COMPARE[compare]))

    def compare(self, maps, compare):
        return o.compare_maps(maps, o.COMPARE[compare])


class Jaxsim:
    """The library, given the same numbers as float32."""

    tolerance = 2e-6

    def __init__(self):
        import jaxsim

        self.js = jaxsim

    def measure(self, transform, pairwise, compare):
        js = self.js
        return js.Measure(getattr(js.transforms, transform), getattr(js.pairwise, pairwise), self.comparator(compare))

    def comparator(self, name):
        return getattr(self.js.compare, LIBRARY.get(name, name))

    def named(self, arrays):
        return {f"network{i}": np.asarray(a, np.float32) for i, a in enumerate(arrays)}

    def maps(self, features, transform, pairwise):
        measure = self.measure(transform, pairwise, "pearson")
        return np.asarray(self.js.maps(self.named(features), measure).values)

    def affinity(self, features, *names):
        return np.asarray(self.js.affinity(self.named(features), self.measure(*names)).values)

    def compare(self, maps, compare):
        return np.asarray(self.js.compare_maps(self.named(maps), self.comparator(compare)).values)


@pytest.fixture(params=[Oracles, Jaxsim], ids=["oracle", "jaxsim"])
def ours(request):
    return request.param()


def assert_same(got, want, ours):
    np.testing.assert_allclose(got, want, rtol=0, atol=ours.tolerance * max(1.0, np.abs(want).max()))


def as_float32(arrays):
    """The same numbers for everyone: rounded to float32, held as float64."""
    return [np.asarray(a, np.float32).astype(np.float64) for a in arrays]


@pytest.fixture(scope="module")
def rdm92():
    """The 95 maps of the 92 images: human IT, models, judgments, AlexNet layers."""
    folder = DATA / "rdm92"
    if not folder.is_dir():
        pytest.skip(f"the 92-image maps are absent: no folder {folder} (set JAXSIM_DATA)")
    loadmat, square = peer("scipy.io").loadmat, peer("scipy.spatial.distance").squareform
    tables = {
        "brain": loadmat(folder / "92_brainRDMs.mat")["RDMs"],
        "model": loadmat(folder / "92_modelRDMs.mat")["Models"],
        "behavior": loadmat(folder / "92_behavRDMs.mat")["rdms_behav_92"],
        "alexnet": loadmat(folder / "modelRDMs_A2020.mat")["modelRDMs"],
    }
    maps = {name: [np.asarray(row["RDM"], np.float64) for row in t.ravel()] for name, t in tables.items()}
    maps["alexnet"] = [square(m.ravel()) for m in maps["alexnet"]]
    return {name: as_float32(group) for name, group in maps.items()}


def random_features():
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(30, 8))
    return as_float32(shared @ rng.normal(size=(8, d)) + rng.normal(size=(30, d)) + 0.3 for d in (6, 20, 45))


@pytest.fixture(params=["random", "rdm92"])
def maps(request):
    if request.param == "random":
        return as_float32(np.round(o.euclidean(x), 1) for x in random_features())
    groups = request.getfixturevalue("rdm92")
    return groups["brain"] + groups["model"] + groups["behavior"] + groups["alexnet"][::9]


@pytest.fixture(params=["random", "rdm92"])
def features(request):
    """Features of some networks; of a map of the 92 images each row is an image's features."""
    if request.param == "random":
        return random_features()
    groups = request.getfixturevalue("rdm92")
    chosen = [
        groups["brain"][0],
        groups["brain"][3],
        groups["behavior"][0],
        groups["model"][2],
        groups["alexnet"][20],
    ]
    # a column less, so that they are no maps
    return [m[:, 1:] for m in chosen]


def off_diagonal(maps):
    return np.stack([o.condense(m) for m in maps])


# rsatoolbox.
@pytest.fixture(scope="module")
def rsatoolbox():
    package = peer("rsatoolbox")
    for part in ("data", "rdm", "inference", "util.inference_util"):
        peer(f"rsatoolbox.{part}", "rsatoolbox")
    return package


def rdms_of(rsatoolbox, maps):
    return rsatoolbox.rdm.RDMs(off_diagonal(maps))


def calc_rdm(rsatoolbox, features, method):
    return rsatoolbox.rdm.calc_rdm([rsatoolbox.data.Dataset(x) for x in features], method=method)


@pytest.mark.parametrize("name", TRIANGLE)
def test_rsatoolbox_comparison(name, maps, ours, rsatoolbox):
    rdms = rdms_of(rsatoolbox, maps)
    assert_same(ours.compare(maps, name), rsatoolbox.rdm.compare(rdms, rdms, method=TRIANGLE[name]), ours)


def test_rsatoolbox_correlation_distance(features, ours, rsatoolbox):
    want = calc_rdm(rsatoolbox, features, "correlation").dissimilarities
    assert_same(off_diagonal(ours.maps(features, "identity", "correlation")), want, ours)


@pytest.mark.parametrize("name", TRIANGLE)
@pytest.mark.parametrize("transform", ["identity", "center"])
def test_rsatoolbox_rsa(transform, name, features, ours, rsatoolbox):
    """RSA of the papers subtracts the image mean first; rsatoolbox does so only when the caller does."""
    given = [o.TRANSFORMS[transform](x) for x in features]
    rdms = calc_rdm(rsatoolbox, given, "correlation")
    want = rsatoolbox.rdm.compare(rdms, rdms, method=TRIANGLE[name])
    # one map holds two distances 1.3 float32 spacings apart, which change places (in float64 scores agree to 1e-15);
    # a swap of neighbors among p moves a rank correlation by at most 12 / p^2
    pairs = len(features[0]) * (len(features[0]) - 1) / 2
    swaps = 12 / pairs**2 if name in ("spearman", "rho_a") and isinstance(ours, Jaxsim) else 0
    np.testing.assert_allclose(
        ours.affinity(features, transform, "correlation", name), want, rtol=0, atol=ours.tolerance + swaps
    )


def test_rsatoolbox_does_not_center_the_features(rsatoolbox):
    features = random_features()
    rdms = calc_rdm(rsatoolbox, features, "correlation")
    theirs = rsatoolbox.rdm.compare(rdms, rdms, method="spearman")
    assert np.abs(theirs - o.affinity(features, o.RSA)).max() > 1e-3


def test_rsatoolbox_euclidean_is_squared_and_divided_by_the_channels(features, ours, rsatoolbox):
    rdms = calc_rdm(rsatoolbox, features, "euclidean")
    mine = off_diagonal(ours.maps(features, "identity", "euclidean"))
    channels = np.array([[x.shape[1]] for x in features])
    assert_same(mine**2 / channels, rdms.dissimilarities, ours)
    same = ours.affinity(features, "identity", "euclidean", "spearman")
    assert_same(same, rsatoolbox.rdm.compare(rdms, rdms, method="spearman"), ours)
    other = ours.affinity(features, "identity", "euclidean", "pearson")
    assert np.abs(other - rsatoolbox.rdm.compare(rdms, rdms, method="corr")).max() > 1e-3


def test_rsatoolbox_whitened_cosine_is_biased_linear_cka(features, ours, rsatoolbox):
    """Its `cosine_cov` of squared Euclidean RDMs, under noise of identity covariance."""
    rdms = calc_rdm(rsatoolbox, features, "euclidean")
    want = rsatoolbox.rdm.compare(rdms, rdms, method="cosine_cov")
    assert_same(ours.affinity(features, "identity", "linear", "centered_cosine"), want, ours)


@pytest.mark.parametrize("name", TRIANGLE)
def test_rsatoolbox_bootstrap_drops_pairs_of_copies(name, maps, rsatoolbox):
    """One resample is one set of image weights; its pairs of two copies of an image do not count."""
    rdms = rdms_of(rsatoolbox, maps[:5])
    state = np.random.get_state()  # noqa: NPY002 (rsatoolbox draws from the global generator)
    np.random.seed(3)  # noqa: NPY002
    sample, index = rsatoolbox.inference.bootstrap_sample_pattern(rdms)
    np.random.set_state(state)  # noqa: NPY002
    want = rsatoolbox.rdm.compare(sample, sample, method=TRIANGLE[name])
    n = len(maps[0])
    assert_same(o.bootstrap(maps[:5], [index], o.VECTOR_COMPARE[name])[0], want, Oracles)
    weights = np.bincount(index, minlength=n)
    assert_same(o.compare_maps(maps[:5], o.COMPARE[name], weights), want, Oracles)


@pytest.mark.parametrize("name", TRIANGLE)
def test_rsatoolbox_noise_ceiling(name, maps, rsatoolbox):
    want = rsatoolbox.inference.boot_noise_ceiling(rdms_of(rsatoolbox, maps[:8]), method=TRIANGLE[name])
    np.testing.assert_allclose(o.noise_ceiling(maps[:8], name), want, rtol=0, atol=EXACT)


@pytest.mark.parametrize("variances", [(0.5, 0.3, 0.3), (0.7, 0.3, 0.3), (0.4, 0.05, 0.3), (0.3, 0.05, 0.3)])
def test_rsatoolbox_two_factor_variance(variances, rsatoolbox):
    extract = rsatoolbox.util.inference_util.extract_variances
    want = extract(np.array(variances)[:, None, None], nc_included=False, n_rdm=8, n_pattern=92)[0]
    got = o.two_factor_variance(*variances, n_networks=8, n_images=92)
    # its upper bound lacks the factors of few members and images
    assert min(got, variances[0]) == pytest.approx(want.item(), abs=EXACT)


# scikit-learn.
SKLEARN = {
    "linear": ("linear_kernel", {}),
    "laplacian": ("laplacian_kernel", {}),
    "cosine": ("cosine_distances", {}),
    "euclidean": ("euclidean_distances", {}),
    "cityblock": ("manhattan_distances", {}),
}


@pytest.mark.slow
@pytest.mark.parametrize(("transform", "name"), [("zscore", "linear"), *(("identity", name) for name in SKLEARN)])
def test_sklearn_pairwise(transform, name, features, ours):
    pairwise, scaler = peer("sklearn.metrics.pairwise"), peer("sklearn.preprocessing").StandardScaler
    function, options = SKLEARN[name]
    given = [x if transform == "identity" else scaler().fit_transform(x) for x in features]
    want = np.stack([getattr(pairwise, function)(x, **options) for x in given])
    assert_same(ours.maps(features, transform, name), want, ours)


def _sklearn_rbf(x):
    pairwise = peer("sklearn.metrics.pairwise")
    return pairwise.rbf_kernel(x, gamma=2.0 / np.median(pairwise.euclidean_distances(x, squared=True)))


def test_sklearn_rbf_with_the_median_bandwidth(features, ours):
    assert_same(ours.maps(features, "identity", "rbf"), np.stack([_sklearn_rbf(x) for x in features]), ours)


def test_sklearn_rbf_default_bandwidth_is_one_over_the_columns(features):
    kernel = peer("sklearn.metrics.pairwise").rbf_kernel
    for x in features:
        want = np.exp(-o.squared_euclidean(x) / x.shape[1])
        np.testing.assert_allclose(kernel(x), want, rtol=0, atol=EXACT)
        assert np.abs(kernel(x) - o.rbf(x)).max() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["linear", "rbf", "laplacian"])
def test_sklearn_kernel_centerer_gives_the_biased_cka(kernel, features, ours):
    center, pairwise = peer("sklearn.preprocessing").KernelCenterer, peer("sklearn.metrics.pairwise")
    build = _sklearn_rbf if kernel == "rbf" else getattr(pairwise, f"{kernel}_kernel")
    rows = [center().fit_transform(build(x)).ravel() for x in features]
    want = [[a @ b / np.sqrt((a @ a) * (b @ b)) for b in rows] for a in rows]
    assert_same(ours.affinity(features, "identity", kernel, "centered_cosine"), np.array(want), ours)


# dcor, in a process that is begun again where numba's compiler aborts, as it does now and then ("Symbol not found")
@pytest.fixture(scope="module")
def dcor():
    if importlib.util.find_spec("dcor") is None:
        pytest.skip("dcor is not installed (extra: peers)")
    pools = [_one_process()]

    def call(name, *given):
        try:
            return pools[-1].submit(_of_dcor, name, given).result()
        except BrokenProcessPool:
            if len(pools) == 4:
                raise
            pools.append(_one_process())
            return call(name, *given)

    yield call
    for pool in pools:
        pool.shutdown()


def _one_process():
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def _of_dcor(name, given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import dcor
    return getattr(dcor, name)(*given)


def _table(function, items):
    return np.array([[float(function(a, b)) for b in items] for a in items])


@pytest.mark.parametrize(
    ("function", "compare"),
    [
        ("u_distance_correlation_sqr", "u_centered_cosine"),
        ("distance_correlation_sqr", "centered_cosine"),
        ("distance_correlation", "root_centered_cosine"),
    ],
)
def test_dcor(function, compare, features, ours, dcor):
    want = _table(lambda a, b: dcor(function, a, b), features)
    assert_same(ours.affinity(features, "identity", "euclidean", compare), want, ours)


def test_dcor_u_centering_of_ready_made_maps(maps, ours, dcor):
    centered = [dcor("u_centered", m) for m in maps]
    product = functools.partial(dcor, "u_product")
    want = _table(lambda a, b: product(a, b) / np.sqrt(product(a, a) * product(b, b)), centered)
    assert_same(ours.compare(maps, "u_centered_cosine"), want, ours)


def test_dcor_distance_correlation_is_a_root_and_the_unbiased_one_is_not(dcor):
    x, y = np.random.default_rng(2).normal(size=(2, 40, 30))
    root, square = dcor("distance_correlation", x, y), dcor("distance_correlation_sqr", x, y)
    assert root**2 == pytest.approx(square, abs=EXACT)
    assert root > 0.8  # biased: near one when columns are many, although x and y are independent
    unbiased = dcor("u_distance_correlation_sqr", x, y)
    assert unbiased == pytest.approx(o.DISTANCE_CORRELATION_UNBIASED(x, y), abs=EXACT)
    assert abs(unbiased) < 0.2


# hoggorm.
def test_hoggorm_rv_of_centered_features(features, ours):
    want = peer("hoggorm").RVcoeff([o.center(x) for x in features])
    assert_same(ours.affinity(features, "identity", "linear", "centered_cosine"), want, ours)


def test_hoggorm_modified_rv_leaves_the_diagonal_out_after_centering(features, ours):
    want = peer("hoggorm").RV2coeff([o.center(x) for x in features])
    assert_same(ours.affinity(features, "center", "linear", "cosine"), want, ours)
    assert np.abs(want - o.affinity(features, o.CKA_LINEAR)).max() > 1e-4  # unbiased CKA is a third number


def test_hoggorm_does_not_center_by_itself(features):
    raw = peer("hoggorm").RVcoeff([x + 1.0 for x in features])
    assert np.abs(raw - o.affinity(features, o.RV)).max() > 1e-2


# pytorch-cka (imported as cka).
@pytest.fixture(scope="module")
def torch():
    return peer("torch")


@pytest.fixture(scope="module")
def cka(torch):
    return peer("cka", "pytorch-cka")


def test_pytorch_cka_of_features(features, ours, cka, torch):
    tensors = [torch.from_numpy(x) for x in features]
    want = _table(lambda a, b: cka.cka_from_features(a, b).item(), tensors)
    assert want.min() > 0.01  # so that nothing was clamped
    assert_same(ours.affinity(features, "identity", "linear", "u_centered_cosine"), want, ours)


def test_pytorch_cka_hsic_of_ready_made_maps(maps, ours, cka, torch):
    stack = torch.from_numpy(np.stack(maps))
    cross, own, _ = cka.hsic(stack, stack)
    want = (cross / torch.sqrt(torch.outer(own, own))).numpy()
    assert_same(ours.compare(maps, "u_centered_cosine"), want, ours)


def independent_pair():
    """Two sets of features of negative unbiased similarity."""
    rng = np.random.default_rng(0)
    pairs = (rng.normal(size=(2, 12, 30)) for _ in range(50))
    return next(p for p in (as_float32(pair) for pair in pairs) if o.CKA_LINEAR(*p) < -0.1)


def test_pytorch_cka_clamps_negative_scores_to_zero(ours, cka, torch):
    x, y = independent_pair()
    assert cka.cka_from_features(torch.from_numpy(x), torch.from_numpy(y)).item() == 0.0
    assert ours.affinity([x, y], "identity", "linear", "u_centered_cosine")[0, 1] < -0.1


def test_pytorch_cka_gives_zero_for_constant_features(cka, torch):
    x = torch.from_numpy(random_features()[0])
    assert cka.cka_from_features(x, torch.zeros_like(x)).item() == 0.0
    assert np.isnan(o.CKA_LINEAR(x.numpy(), np.zeros(x.shape)))


def columns(torch, features):
    """One data set and one module per network, which picks the network's own columns."""

    class Columns(torch.nn.Module):
        def __init__(self, start, stop):
            super().__init__()
            self.span = slice(start, stop)

        def forward(self, batch):
            return batch[:, self.span]

    ends = np.cumsum([0] + [x.shape[1] for x in features])
    nets = [torch.nn.Sequential(Columns(a, b)) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    return torch.utils.data.TensorDataset(torch.from_numpy(np.concatenate(features, 1))), nets


def batch_sums(x, y, size):
    """Unbiased HSIC (xy, xx, yy) of each batch of `size` images, one row a batch."""
    cuts = [slice(a, a + size) for a in range(0, len(x), size)]
    kernels = [(o.linear(x[c]), o.linear(y[c])) for c in cuts]
    return np.array([[o.hsic_song(k, m), o.hsic_song(k, k), o.hsic_song(m, m)] for k, m in kernels])


@pytest.fixture
def float64_torch(torch):
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


def test_pytorch_cka_of_batches_is_the_ratio_of_summed_hsics(cka, float64_torch):
    x, y, _ = random_features()
    data, nets = columns(float64_torch, [x, y])
    loader = float64_torch.utils.data.DataLoader(data, batch_size=10)
    got = cka.compute_cka(*nets, loader, layers=["0"], device="cpu", progress=False)[0].item()
    xy, xx, yy = batch_sums(x, y, 10).sum(0)
    assert got == pytest.approx(xy / np.sqrt(xx * yy), abs=EXACT)
    assert abs(got - o.CKA_LINEAR(x, y)) > 1e-3  # batches of ten are not the whole


# torch-cka.
def torch_cka_score(torch, x, y, batch):
    data, nets = columns(torch, [x, y])
    loaders = [torch.utils.data.DataLoader(data, batch_size=batch) for _ in range(2)]
    layers = {"model1_layers": ["0"], "model2_layers": ["0"]}
    comparison = peer("torch_cka", "torch-cka").CKA(*nets, "x", "y", **layers)
    comparison.compare(*loaders)
    return comparison.export()["CKA"].item()


def test_torch_cka_of_one_batch(features, ours, float64_torch):
    want = _table(lambda a, b: torch_cka_score(float64_torch, a, b, len(a)), features[:3])
    assert_same(ours.affinity(features[:3], "identity", "linear", "u_centered_cosine"), want, ours)


def test_torch_cka_returns_negative_scores(float64_torch):
    x, y = independent_pair()
    assert torch_cka_score(float64_torch, x, y, len(x)) == pytest.approx(o.CKA_LINEAR(x, y), abs=EXACT)


def test_torch_cka_gives_a_short_last_batch_full_weight(float64_torch):
    x, y, _ = random_features()
    got = torch_cka_score(float64_torch, x, y, 13)  # batches of 13, 13 and 4
    xy, xx, yy = batch_sums(x, y, 13).mean(0)
    assert got == pytest.approx(xy / np.sqrt(xx * yy), abs=EXACT)
    assert abs(got - o.CKA_LINEAR(x, y)) > 1e-2


def test_torch_cka_fails_on_constant_features(float64_torch):
    x = random_features()[0]
    with pytest.raises(AssertionError, match="NAN"):
        torch_cka_score(float64_torch, x, np.zeros_like(x), len(x))
