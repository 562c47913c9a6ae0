"""Agreement of affinities with measured transfer, and its intervals."""

from jaxsim.evaluation.comparison import AgreementComparison as AgreementComparison
from jaxsim.evaluation.comparison import compare_agreements as compare_agreements
from jaxsim.evaluation.intervals import AgreementIntervals as AgreementIntervals
from jaxsim.evaluation.intervals import agreement_intervals as agreement_intervals
from jaxsim.evaluation.prediction import Agreement as Agreement
from jaxsim.evaluation.prediction import evaluate as evaluate
from jaxsim.evaluation.prediction import pearson as pearson
from jaxsim.evaluation.prediction import spearman as spearman
from jaxsim.evaluation.truth import as_affinity as as_affinity
from jaxsim.evaluation.truth import load_truth as load_truth
