"""Similarity of neural representations in JAX: RSA, CKA and duality diagram similarity for sets of networks.

Verbs:
    affinity: similarity of networks with each other, or with a second set of networks.
    resample: affinity on resamples of the images, for errors, intervals and tests. recommend_scheme suggests a scheme.
    resample_scores: resampling of scores that are computed per image, such as those of attribution maps.
    calibrate: affinity compared with the scores of unrelated networks, including the search over layers.
    variance_study: error, bias and rank stability as a function of the number of images. How many do I need?
    sweep, sweep_status: affinity of hundreds of networks across many processes and machines, and its progress.
    Minibatches: debiased affinity from running sums over batches of images, in jit and scan, without keeping features.
    maps, compare_maps: pairwise maps of networks, and the similarity of existing maps.
    explain: how affinity or resample would run, with memory and time.
    noise_ceiling: how well the best possible network could agree with a group.
    crossnobis: unbiased distances from repeated measurements, such as scanner runs.
    compare_models: models against the maps of several subjects, with tests and the noise ceiling.
    evaluate, compare_agreements, agreement_intervals: agreement of affinities with measured transfer.
    read_features, load, load_truth: read features, saved results and measured transfer from files.
    report: an HTML file of results with a methods paragraph.

Values:
    RSA, CKA_LINEAR, DDS_LAPLACIAN and other measures. `dds` and `Measure` combine any `transforms`, `pairwise` and
    `compare` functions. HalfSamples, Bootstrap and other resampling schemes.

Results:
    Affinity, Calibration, ImageScores, Maps, ModelComparison, Resamples and VarianceStudy are labeled records. You can
    print them, save them, or convert them to xarray. Scores can also be plotted and converted to pandas tables.

>>> import jax, jaxsim as js
>>> features = jax.random.normal(jax.random.key(0), (3, 40, 8))
>>> print(js.affinity(features, "cka"))
cka-linear, 3 x 3, 40 images
           network_0  network_1  network_2
network_0      1.000     -0.023      0.023
network_1     -0.023      1.000     -0.005
network_2      0.023     -0.005      1.000
"""

from jaxsim import compare, demo, measures, pairwise, plotting, schemes, statistics, subspaces, taxonomy, transforms
from jaxsim.advice import recommend_scheme
from jaxsim.calibration import calibrate
from jaxsim.engine import affinity, compare_maps, maps, noise_ceiling
from jaxsim.evaluation import agreement_intervals, compare_agreements, evaluate, load_truth
from jaxsim.explanations import explain
from jaxsim.inference import compare_models
from jaxsim.io import read_features
from jaxsim.measurements import crossnobis
from jaxsim.measures import (
    CCA,
    CCA_SQUARED,
    CKA_LINEAR,
    CKA_LINEAR_BIASED,
    CKA_RBF,
    CKA_RBF_BIASED,
    DDS_COSINE,
    DDS_LAPLACIAN,
    DISTANCE_CORRELATION,
    DISTANCE_CORRELATION_UNBIASED,
    RSA,
    RSA_UNCENTERED,
    RV,
    SVCCA,
    Measure,
    dds,
)
from jaxsim.minibatches import Minibatches
from jaxsim.reports import report
from jaxsim.resampling import resample, resample_scores
from jaxsim.results import (
    Affinity,
    Calibration,
    DoubtfulInference,
    FewResamples,
    ImageScores,
    Maps,
    ModelComparison,
    Resamples,
    UndefinedScores,
    VarianceStudy,
    load,
)
from jaxsim.results.saved import version as _version
from jaxsim.schemes import BayesianBootstrap, Bootstrap, HalfSamples, Jackknife, Permutation, Subsample
from jaxsim.sweeps import SweepStatus, sweep, sweep_status
from jaxsim.variance import variance_study

__version__ = _version("jaxsim-similarity")

__all__ = [
    "CCA",
    "CCA_SQUARED",
    "CKA_LINEAR",
    "CKA_LINEAR_BIASED",
    "CKA_RBF",
    "CKA_RBF_BIASED",
    "DDS_COSINE",
    "DDS_LAPLACIAN",
    "DISTANCE_CORRELATION",
    "DISTANCE_CORRELATION_UNBIASED",
    "RSA",
    "RSA_UNCENTERED",
    "RV",
    "SVCCA",
    "Affinity",
    "BayesianBootstrap",
    "Bootstrap",
    "Calibration",
    "DoubtfulInference",
    "FewResamples",
    "HalfSamples",
    "ImageScores",
    "Jackknife",
    "Maps",
    "Measure",
    "Minibatches",
    "ModelComparison",
    "Permutation",
    "Resamples",
    "Subsample",
    "SweepStatus",
    "UndefinedScores",
    "VarianceStudy",
    "__version__",
    "affinity",
    "agreement_intervals",
    "calibrate",
    "compare",
    "compare_agreements",
    "compare_maps",
    "compare_models",
    "crossnobis",
    "dds",
    "demo",
    "evaluate",
    "explain",
    "load",
    "load_truth",
    "maps",
    "measures",
    "noise_ceiling",
    "pairwise",
    "plotting",
    "read_features",
    "recommend_scheme",
    "report",
    "resample",
    "resample_scores",
    "schemes",
    "statistics",
    "subspaces",
    "sweep",
    "sweep_status",
    "taxonomy",
    "transforms",
    "variance_study",
]


def __dir__():
    return __all__
