"""Inference on resampled scores: pure functions on arrays, no labels, no files.

`values` are scores `(B, S, T)` of B resamples and `estimate` the full-sample scores `(S, T)`. Sources are rows, targets
are columns, and higher is more similar. A NaN only affects its own entry.
"""

from jaxsim.statistics.columns import average_ranks as average_ranks
from jaxsim.statistics.columns import column_agreement as column_agreement
from jaxsim.statistics.columns import masked_pearson as masked_pearson
from jaxsim.statistics.columns import masked_spearman as masked_spearman
from jaxsim.statistics.columns import target_agreement as target_agreement
from jaxsim.statistics.columns import usable_entries as usable_entries
from jaxsim.statistics.hypotheses import FamilyWise as FamilyWise
from jaxsim.statistics.hypotheses import difference as difference
from jaxsim.statistics.hypotheses import false_discovery as false_discovery
from jaxsim.statistics.hypotheses import family_wise as family_wise
from jaxsim.statistics.hypotheses import holm as holm
from jaxsim.statistics.hypotheses import pair_differences as pair_differences
from jaxsim.statistics.hypotheses import pairs as pairs
from jaxsim.statistics.hypotheses import permutation_p as permutation_p
from jaxsim.statistics.hypotheses import resamples_needed as resamples_needed
from jaxsim.statistics.hypotheses import select as select
from jaxsim.statistics.hypotheses import simultaneous_interval as simultaneous_interval
from jaxsim.statistics.intervals import basic_interval as basic_interval
from jaxsim.statistics.intervals import bca_interval as bca_interval
from jaxsim.statistics.intervals import fisher_interval as fisher_interval
from jaxsim.statistics.intervals import gap as gap
from jaxsim.statistics.intervals import half_sample_error as half_sample_error
from jaxsim.statistics.intervals import half_sample_errors as half_sample_errors
from jaxsim.statistics.intervals import jackknife_error as jackknife_error
from jaxsim.statistics.intervals import normal_interval as normal_interval
from jaxsim.statistics.intervals import percentile_interval as percentile_interval
from jaxsim.statistics.intervals import second_order as second_order
from jaxsim.statistics.intervals import spread as spread
from jaxsim.statistics.intervals import student_stretch as student_stretch
from jaxsim.statistics.intervals import subsample_error as subsample_error
from jaxsim.statistics.intervals import subsample_errors as subsample_errors
from jaxsim.statistics.mean_scores import MeanDraws as MeanDraws
from jaxsim.statistics.mean_scores import MeanTests as MeanTests
from jaxsim.statistics.mean_scores import bootstrap_tests as bootstrap_tests
from jaxsim.statistics.mean_scores import mean_draws as mean_draws
from jaxsim.statistics.mean_scores import mean_interval as mean_interval
from jaxsim.statistics.mean_scores import rank_tests as rank_tests
from jaxsim.statistics.mean_scores import student_p as student_p
from jaxsim.statistics.mean_scores import student_quantile as student_quantile
from jaxsim.statistics.mean_scores import student_tests as student_tests
from jaxsim.statistics.members import NoiseCeiling as NoiseCeiling
from jaxsim.statistics.members import TwoFactor as TwoFactor
from jaxsim.statistics.members import corrected_variance as corrected_variance
from jaxsim.statistics.members import member_ceilings as member_ceilings
from jaxsim.statistics.members import noise_ceiling_from_scores as noise_ceiling_from_scores
from jaxsim.statistics.members import two_factor as two_factor
from jaxsim.statistics.rotations import rotation_tests as rotation_tests
from jaxsim.statistics.stability import first_share as first_share
from jaxsim.statistics.stability import order_agreement as order_agreement
from jaxsim.statistics.stability import rank_distribution as rank_distribution
from jaxsim.statistics.stability import rank_stability as rank_stability
from jaxsim.statistics.transfer_agreement import Agreement as Agreement
from jaxsim.statistics.transfer_agreement import agreement_over_both as agreement_over_both
from jaxsim.statistics.transfer_agreement import agreement_over_images as agreement_over_images
from jaxsim.statistics.transfer_agreement import agreement_over_targets as agreement_over_targets
