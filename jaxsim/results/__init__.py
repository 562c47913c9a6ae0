"""Labeled records that every verb returns."""

from jaxsim.results.matrices import Affinity, Maps, UndefinedScores
from jaxsim.results.resamples import BOOTSTRAPS, FewResamples, Resamples
from jaxsim.results.saved import Provenance, Saved, load, record

__all__ = [
    "BOOTSTRAPS",
    "Affinity",
    "FewResamples",
    "Maps",
    "Provenance",
    "Resamples",
    "Saved",
    "UndefinedScores",
    "load",
    "record",
]
