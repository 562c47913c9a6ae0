"""Resampling of images: schemes as values, and the verb that runs them on the device."""

from jaxsim.resampling.schemes import BayesianBootstrap, Bootstrap, HalfSamples, Jackknife, Permutation, Subsample
from jaxsim.resampling.verbs import resample

__all__ = ["BayesianBootstrap", "Bootstrap", "HalfSamples", "Jackknife", "Permutation", "Subsample", "resample"]
