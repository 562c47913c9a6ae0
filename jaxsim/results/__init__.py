"""Labeled records that every verb returns."""

from jaxsim.assumptions import DoubtfulInference
from jaxsim.results.calibrations import Calibration
from jaxsim.results.matrices import Affinity, Maps, UndefinedScores
from jaxsim.results.model_comparisons import ModelComparison
from jaxsim.results.per_image import ImageScores
from jaxsim.results.resamples import FewResamples, Resamples
from jaxsim.results.saved import Provenance, Saved, load, on_host, plots, record
from jaxsim.results.variance_studies import ImagesNeeded, VarianceStudy

__all__ = [
    "Affinity",
    "Calibration",
    "DoubtfulInference",
    "FewResamples",
    "ImageScores",
    "ImagesNeeded",
    "Maps",
    "ModelComparison",
    "Provenance",
    "Resamples",
    "Saved",
    "UndefinedScores",
    "VarianceStudy",
    "load",
    "on_host",
    "plots",
    "record",
]
