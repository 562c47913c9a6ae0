"""Calibration: scores of layers and networks against what unrelated networks would score."""

from jaxsim.calibration.verbs import calibrate

__all__ = ["calibrate"]
