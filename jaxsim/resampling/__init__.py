"""Resampling of images: the verbs that run a scheme on the device."""

from jaxsim.resampling.per_image import resample_scores
from jaxsim.resampling.verbs import resample

__all__ = ["resample", "resample_scores"]
