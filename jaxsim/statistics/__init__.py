"""Inference on resampled scores: pure functions on arrays, no labels, no files.

`values` are scores `(B, S, T)` of B resamples and `estimate` the full-sample scores `(S, T)`; sources are
rows, targets columns, higher is more similar. Undefined entries are NaN and stay NaN in their own entries
alone.
"""

from jaxsim.statistics.agreement import column_agreement as column_agreement
from jaxsim.statistics.agreement import target_agreement as target_agreement
from jaxsim.statistics.agreement import usable_entries as usable_entries
from jaxsim.statistics.columns import average_ranks as average_ranks
from jaxsim.statistics.columns import masked_pearson as masked_pearson
from jaxsim.statistics.columns import masked_spearman as masked_spearman
from jaxsim.statistics.differences import column_differences as column_differences
from jaxsim.statistics.differences import difference as difference
from jaxsim.statistics.differences import pair_differences as pair_differences
from jaxsim.statistics.differences import pairs as pairs
from jaxsim.statistics.differences import select as select
from jaxsim.statistics.groups import NoiseCeiling as NoiseCeiling
from jaxsim.statistics.groups import TwoFactor as TwoFactor
from jaxsim.statistics.groups import corrected_variance as corrected_variance
from jaxsim.statistics.groups import noise_ceiling_from_scores as noise_ceiling_from_scores
from jaxsim.statistics.groups import two_factor as two_factor
from jaxsim.statistics.intervals import basic_interval as basic_interval
from jaxsim.statistics.intervals import bca_interval as bca_interval
from jaxsim.statistics.intervals import bootstrap_error as bootstrap_error
from jaxsim.statistics.intervals import fisher_interval as fisher_interval
from jaxsim.statistics.intervals import half_sample_error as half_sample_error
from jaxsim.statistics.intervals import jackknife_error as jackknife_error
from jaxsim.statistics.intervals import normal_interval as normal_interval
from jaxsim.statistics.intervals import percentile_interval as percentile_interval
from jaxsim.statistics.intervals import spread as spread
from jaxsim.statistics.intervals import student_stretch as student_stretch
from jaxsim.statistics.intervals import subsample_error as subsample_error
from jaxsim.statistics.multiple_testing import FamilyWise as FamilyWise
from jaxsim.statistics.multiple_testing import benjamini_yekutieli as benjamini_yekutieli
from jaxsim.statistics.multiple_testing import false_discovery as false_discovery
from jaxsim.statistics.multiple_testing import family_wise as family_wise
from jaxsim.statistics.multiple_testing import resamples_needed as resamples_needed
from jaxsim.statistics.multiple_testing import simultaneous_interval as simultaneous_interval
from jaxsim.statistics.multiple_testing import smallest_p as smallest_p
from jaxsim.statistics.multiple_testing import supports as supports
from jaxsim.statistics.permutation import permutation_p as permutation_p
from jaxsim.statistics.permutation import permutation_p_two_sided as permutation_p_two_sided
from jaxsim.statistics.stability import first_share as first_share
from jaxsim.statistics.stability import rank_distribution as rank_distribution
from jaxsim.statistics.stability import rank_stability as rank_stability
from jaxsim.statistics.transfer_agreement import OVER_BOTH as OVER_BOTH
from jaxsim.statistics.transfer_agreement import OVER_IMAGES as OVER_IMAGES
from jaxsim.statistics.transfer_agreement import OVER_TARGETS as OVER_TARGETS
from jaxsim.statistics.transfer_agreement import Agreement as Agreement
from jaxsim.statistics.transfer_agreement import agreement_over_both as agreement_over_both
from jaxsim.statistics.transfer_agreement import agreement_over_images as agreement_over_images
from jaxsim.statistics.transfer_agreement import agreement_over_targets as agreement_over_targets
