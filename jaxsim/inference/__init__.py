"""Inference on models: mean scores with subjects, against zero, the noise ceiling and each other."""

from jaxsim.inference.verbs import compare_models

__all__ = ["compare_models"]
