"""Resampling of images: the verb that runs a scheme on the device."""

from jaxsim.resampling.verbs import resample

__all__ = ["resample"]
