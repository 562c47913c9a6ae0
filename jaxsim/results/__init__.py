"""Labeled records that every verb returns."""

from jaxsim.results.matrices import Affinity, Maps, UndefinedScores
from jaxsim.results.resamples import FewResamples, Resamples
from jaxsim.results.saved import Provenance, Saved, load, on_host, plots, record

__all__ = [
    "Affinity",
    "FewResamples",
    "Maps",
    "Provenance",
    "Resamples",
    "Saved",
    "UndefinedScores",
    "load",
    "on_host",
    "plots",
    "record",
]
