"""Inference on resampled scores: pure functions on arrays, no labels, no files.

`values` are scores `(B, S, T)` of B resamples and `estimate` the full-sample scores `(S, T)`; sources are
rows, targets columns, higher is more similar. Undefined entries are NaN and stay NaN in their own entries
alone.
"""

from jaxsim.inference.adjust import FamilyWise as FamilyWise
from jaxsim.inference.adjust import benjamini_yekutieli as benjamini_yekutieli
from jaxsim.inference.adjust import false_discovery as false_discovery
from jaxsim.inference.adjust import family_wise as family_wise
from jaxsim.inference.adjust import resamples_needed as resamples_needed
from jaxsim.inference.adjust import simultaneous_interval as simultaneous_interval
from jaxsim.inference.adjust import smallest_p as smallest_p
from jaxsim.inference.adjust import supports as supports
from jaxsim.inference.agreement import column_agreement as column_agreement
from jaxsim.inference.agreement import target_agreement as target_agreement
from jaxsim.inference.agreement import usable_entries as usable_entries
from jaxsim.inference.agreement_intervals import OVER_BOTH as OVER_BOTH
from jaxsim.inference.agreement_intervals import OVER_IMAGES as OVER_IMAGES
from jaxsim.inference.agreement_intervals import OVER_TARGETS as OVER_TARGETS
from jaxsim.inference.agreement_intervals import Agreement as Agreement
from jaxsim.inference.agreement_intervals import agreement_over_both as agreement_over_both
from jaxsim.inference.agreement_intervals import agreement_over_images as agreement_over_images
from jaxsim.inference.agreement_intervals import agreement_over_targets as agreement_over_targets
from jaxsim.inference.columns import average_ranks as average_ranks
from jaxsim.inference.columns import masked_pearson as masked_pearson
from jaxsim.inference.columns import masked_spearman as masked_spearman
from jaxsim.inference.differences import column_differences as column_differences
from jaxsim.inference.differences import difference as difference
from jaxsim.inference.differences import pair_differences as pair_differences
from jaxsim.inference.differences import pairs as pairs
from jaxsim.inference.differences import select as select
from jaxsim.inference.groups import NoiseCeiling as NoiseCeiling
from jaxsim.inference.groups import TwoFactor as TwoFactor
from jaxsim.inference.groups import corrected_variance as corrected_variance
from jaxsim.inference.groups import noise_ceiling_from_scores as noise_ceiling_from_scores
from jaxsim.inference.groups import two_factor as two_factor
from jaxsim.inference.intervals import basic_interval as basic_interval
from jaxsim.inference.intervals import bca_interval as bca_interval
from jaxsim.inference.intervals import bootstrap_error as bootstrap_error
from jaxsim.inference.intervals import fisher_interval as fisher_interval
from jaxsim.inference.intervals import half_sample_error as half_sample_error
from jaxsim.inference.intervals import jackknife_error as jackknife_error
from jaxsim.inference.intervals import normal_interval as normal_interval
from jaxsim.inference.intervals import percentile_interval as percentile_interval
from jaxsim.inference.intervals import spread as spread
from jaxsim.inference.intervals import student_stretch as student_stretch
from jaxsim.inference.intervals import subsample_error as subsample_error
from jaxsim.inference.permutation import permutation_p as permutation_p
from jaxsim.inference.permutation import permutation_p_two_sided as permutation_p_two_sided
from jaxsim.inference.stability import first_share as first_share
from jaxsim.inference.stability import rank_distribution as rank_distribution
from jaxsim.inference.stability import rank_stability as rank_stability
