"""Names and storage of our networks' tensors in public checkpoints, one table per family."""

import dataclasses
import re
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np


@dataclasses.dataclass(frozen=True)
class Naming:
    """One family of checkpoints.

    Attributes:
        label: name in reports.
        layers: from our module names, as regular expressions with named groups of digits, to theirs; `{unit}` is
            replaced by the group's number and `{index}` by the unit's number counted from zero.
        parts: from our module kind and parameter, such as `norm/scale`, to their suffix.
        left_out: descriptions of tensors that the network does not have, by regular expression.
        outputs_first: whether kernels are (outputs, inputs, height, width), as in PyTorch.
        matrices: whether our matrices are stored as matrices and not as 1x1 convolutions.
    """

    label: str
    layers: Mapping[str, str]
    parts: Mapping[str, str]
    left_out: Mapping[str, str]
    outputs_first: bool
    matrices: bool = False

    def key(self, name: str) -> str:
        """Their name of one of our parameters, without a prefix.

        Raises:
            KeyError: the parameter is not in the table.
        """
        module, _, part = name.rpartition("/")
        for pattern, there in self.layers.items():
            if found := re.fullmatch(pattern, module):
                numbers = {group: int(digits) for group, digits in found.groupdict().items()}
                ending = self.parts[f"{module.rpartition('/')[2]}/{part}"]
                return there.format(**numbers, index=numbers.get("unit", 1) - 1) + ending
        raise KeyError(name)

    def shape(self, ours: tuple[int, ...]) -> tuple[int, ...]:
        """Their shape of a parameter of our shape."""
        if len(ours) < 2:
            return ours
        whole = ours if len(ours) > 2 or self.matrices else (1, 1, *ours)
        return (whole[-1], whole[-2], *whole[:-2]) if self.outputs_first else whole

    def values(self, there: np.ndarray, ours: tuple[int, ...]) -> np.ndarray:
        """Their values in our axis order and shape."""
        if there.ndim > 1 and self.outputs_first:
            there = np.moveaxis(there, (0, 1), (-1, -2))
        return there.reshape(ours)


_UNIT = r"block(?P<block>\d)/unit(?P<unit>\d+)"
_CONV = rf"{_UNIT}/conv(?P<conv>\d)"

_TORCH = {
    "linear/kernel": ".weight",
    "out/kernel": ".weight",
    "out/bias": ".bias",
    "norm/scale": ".weight",
    "norm/bias": ".bias",
    "norm/mean": ".running_mean",
    "norm/var": ".running_var",
}
_TORCH_RESNET = {
    "stem/linear": "conv1",
    "stem/norm": "bn1",
    f"{_CONV}/linear": "layer{block}.{index}.conv{conv}",
    f"{_CONV}/norm": "layer{block}.{index}.bn{conv}",
    f"{_UNIT}/shortcut/linear": "layer{block}.{index}.downsample.0",
    f"{_UNIT}/shortcut/norm": "layer{block}.{index}.downsample.1",
}
_COUNTERS = {r"(.*\.)?num_batches_tracked": "counts of training batches"}

_SLIM = {
    "linear/kernel": "/weights",
    "out/kernel": "/weights",
    "out/bias": "/biases",
    "norm/scale": "/BatchNorm/gamma",
    "norm/bias": "/BatchNorm/beta",
    "norm/mean": "/BatchNorm/moving_mean",
    "norm/var": "/BatchNorm/moving_variance",
}
_SLIM_TRAINING = {
    r".*/(Adam|Adam_1|Momentum)": "state of the optimizer",
    r"(.*/)?(beta1_power|beta2_power|global_step)(_\d+)?": "counts of training steps",
    r"(.*/)?discriminator/.*": "discriminator of the training",
}
_SLIM_ENCODER = {r"(feedforward/)?(encoder|compress1)/.*": "encoder"}
_SLIM_DECODER = {r"decoder/.*": "decoder"}
_SLIM_HEAD = {r"three_layer_fc_network/.*": "head"}


def _frozen(*parts: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType({key: value for part in parts for key, value in part.items()})


TORCHVISION = Naming(
    label="torchvision or timm",
    layers=_frozen(_TORCH_RESNET),
    parts=_frozen(_TORCH),
    left_out=_frozen(_COUNTERS, {r"fc\.(weight|bias)": "classifier"}),
    outputs_first=True,
)
"""Torchvision's ResNet-50, whose names timm and the Places networks keep."""

VISUAL_PRIOR = Naming(
    label="visual-prior",
    layers=_frozen(_TORCH_RESNET, {"code/linear": "compress1", "code/norm": "compress_bn"}),
    parts=_frozen(_TORCH),
    left_out=_frozen(_COUNTERS, {r"decoder\..*": "decoder"}),
    outputs_first=True,
)
"""The port of Taskonomy's encoders to PyTorch by its authors, `visual-prior`."""

TASKBANK = Naming(
    label="Taskonomy's task bank",
    layers=_frozen(
        {
            "stem/(linear|norm)": "encoder/conv1",
            f"{_CONV}/(linear|norm)": "encoder/block{block}/unit_{unit}/bottleneck_v1/conv{conv}",
            f"{_UNIT}/shortcut/(linear|norm)": "encoder/block{block}/unit_{unit}/bottleneck_v1/shortcut",
            "code/(linear|norm)": "compress1",
        }
    ),
    parts=_frozen(_SLIM),
    left_out=_frozen(_SLIM_TRAINING, _SLIM_DECODER, _SLIM_HEAD),
    outputs_first=False,
)
"""Taskonomy's own checkpoints, written by TF-slim; networks with a head have the prefix `feedforward/`."""

VISUAL_PRIOR_DECODER = Naming(
    label="visual-prior decoder",
    layers=_frozen(
        {
            "hidden/conv_extra/linear": "conv_extra.0",
            "hidden/conv_extra/norm": "conv_extra.1",
            r"hidden/conv(?P<conv>\d+)/linear": "conv{conv}.0",
            r"hidden/conv(?P<conv>\d+)/norm": "conv{conv}.1",
            r"hidden/deconv(?P<conv>\d+)/linear": "deconv{conv}.1",
            r"hidden/deconv(?P<conv>\d+)/norm": "deconv{conv}.3",
            "out": "decoder_output.0",
        }
    ),
    parts=_frozen(_TORCH),
    left_out=_frozen(_COUNTERS, {r"encoder\..*": "encoder"}),
    outputs_first=True,
)
"""The port's decoders; the numbers count the padding before and the cropping after a transposed convolution."""

TASKBANK_DECODER = Naming(
    label="Taskonomy's task bank, decoder",
    layers=_frozen(
        {
            "hidden/conv_extra/(linear|norm)": "decoder/conv_extra",
            r"hidden/conv(?P<conv>\d+)/(linear|norm)": "decoder/conv{conv}",
            r"hidden/deconv(?P<conv>\d+)/(linear|norm)": "decoder/deconv{conv}",
            "out": "decoder/decoder_output",
        }
    ),
    parts=_frozen(_SLIM),
    left_out=_frozen(_SLIM_TRAINING, _SLIM_ENCODER),
    outputs_first=False,
)
"""The decoders in Taskonomy's own checkpoints."""

TASKBANK_HEAD = Naming(
    label="Taskonomy's task bank, head",
    layers=_frozen(
        {"hidden/(linear|norm)": "three_layer_fc_network/fc0", "out": "three_layer_fc_network/fc2"},
    ),
    parts=_frozen(_SLIM),
    left_out=_frozen(_SLIM_TRAINING, _SLIM_ENCODER),
    outputs_first=False,
    matrices=True,
)
"""The heads in Taskonomy's own checkpoints, which have two layers despite their name."""

NAMINGS: Mapping[str, tuple[Naming, ...]] = MappingProxyType(
    {
        "resnet50": (TORCHVISION,),
        "resnet50-taskonomy": (VISUAL_PRIOR, TASKBANK),
        "taskonomy-decoder": (VISUAL_PRIOR_DECODER, TASKBANK_DECODER),
        "taskonomy-head": (TASKBANK_HEAD,),
    }
)
"""Families of checkpoints by network."""
