"""Attribution maps of encoders, and the similarity of networks based on them.

Which pixels of a picture does an encoder's output depend on? A rule answers with a map of the picture's size, for the
sum of all outputs. `attribute` returns the maps of a batch; `image_scores` compares those of many networks picture by
picture without keeping them. The mean over pictures is an `Affinity`, and `js.resample_scores` adds intervals.

Needs the `nn` extra; `import jaxsim` does not import this package.
"""

from jaxsim.vision.attribution.propagation import modified
from jaxsim.vision.attribution.rules import RULES, DeepLift, EpsilonLrp, GradientTimesInput, Rule, Saliency, named
from jaxsim.vision.attribution.similarity import attribute, image_scores

__all__ = [
    "RULES",
    "DeepLift",
    "EpsilonLrp",
    "GradientTimesInput",
    "Rule",
    "Saliency",
    "attribute",
    "image_scores",
    "modified",
    "named",
]
