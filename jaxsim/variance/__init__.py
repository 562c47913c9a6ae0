"""Variance studies: error, bias and rank stability as a function of the number of images."""

from jaxsim.variance.verbs import variance_study

__all__ = ["variance_study"]
