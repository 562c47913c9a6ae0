"""ResNet-50 and Taskonomy's encoder in PyTorch, with the public checkpoints' key names: peer and oracle of `models`.

Written from the papers' tables and the names of the public weights. PyTorch does every computation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Bottleneck(nn.Module):
    """One unit; `downsample` is a 1x1 convolution with normalization, a subsampling or None."""

    def __init__(self, inputs: int, planes: int, stride: int, dilation: int, downsample: nn.Module | None):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """The unit's values."""
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return functional.relu(y, inplace=True)


class TorchResNet(nn.Module):
    """Torchvision's: strides 1, 2, 2, 2 in the first units; `dilated` of the last strides become dilation."""

    strides, last = (1, 2, 2, 2), False

    def __init__(self, depths: Sequence[int] = (3, 4, 6, 3), width: int = 64, *, classes: int = 0, dilated: int = 0):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.inputs, self.dilation = width, 1
        for b, depth in enumerate(depths):
            setattr(self, f"layer{b + 1}", self.block(width * 2**b, depth, self.strides[b], b >= len(depths) - dilated))
        self.names = [f"layer{b + 1}" for b in range(len(depths))]
        if classes:
            self.fc = nn.Linear(self.inputs, classes)

    def block(self, planes: int, depth: int, stride: int, dilate: bool) -> nn.Sequential:
        """The units of one block."""
        before = self.dilation
        if dilate:
            self.dilation, stride = self.dilation * stride, 1
        units = []
        for u in range(depth):
            s = stride if u == (depth - 1 if self.last else 0) else 1
            downsample = None
            if self.inputs != 4 * planes:
                convolution = nn.Conv2d(self.inputs, 4 * planes, 1, s, bias=False)
                downsample = nn.Sequential(convolution, nn.BatchNorm2d(4 * planes))
            elif s > 1:
                downsample = nn.MaxPool2d(1, s)
            units.append(Bottleneck(self.inputs, planes, s, before if u == 0 else self.dilation, downsample))
            self.inputs = 4 * planes
        return nn.Sequential(*units)

    def pool(self, x: Tensor) -> Tensor:
        """Max-pooling of the stem."""
        return functional.max_pool2d(x, 3, 2, 1)

    def code(self, x: Tensor) -> Tensor:
        """Mean over space."""
        return x.mean((2, 3))

    def layers(self, x: Tensor) -> dict[str, Tensor]:
        """Values of every layer by the name that `models.ResNet` gives it."""
        values = {"stem": self.pool(functional.relu(self.bn1(self.conv1(x)), inplace=True))}
        x = values["stem"]
        for b, name in enumerate(self.names, 1):
            x = values[f"block{b}"] = getattr(self, name)(x)
        return values | {"code": self.code(x)}

    def forward(self, x: Tensor) -> Tensor:
        """The code."""
        return self.layers(x)["code"]


class TorchTaskonomy(TorchResNet):
    """Taskonomy's: strides 2, 2, 1, 1 in the last units, SAME pooling, a 3x3 compression to 8 channels."""

    strides, last = (2, 2, 1, 1), True

    def __init__(self, depths: Sequence[int] = (3, 4, 6, 3), width: int = 64):
        super().__init__(depths, width)
        self.compress1 = nn.Conv2d(self.inputs, 8, 3, padding=1, bias=False)
        self.compress_bn = nn.BatchNorm2d(8)

    def pool(self, x: Tensor) -> Tensor:
        """TensorFlow's SAME: what padding is needed, the odd one at the end."""
        pads = [max((-(-n // 2) - 1) * 2 + 3 - n, 0) for n in x.shape[:1:-1]]
        padded = functional.pad(x, [p for n in pads for p in (n // 2, n - n // 2)], value=-torch.inf)
        return functional.max_pool2d(padded, 3, 2)

    def code(self, x: Tensor) -> Tensor:
        """The compression."""
        return functional.relu(self.compress_bn(self.compress1(x)))


def randomize(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and statistics of plausible size, so that activations neither vanish nor explode."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.weight.data.uniform_(0.5, 1.2, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.num_batches_tracked.fill_(7)
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            module.weight.data.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=generator)
            if module.bias is not None:
                module.bias.data.normal_(0, 0.2, generator=generator)
    return network.eval()


def folded(network: nn.Module) -> nn.Module:
    """The network with each normalization fused into the convolution before it, by PyTorch's own function."""
    for parent in list(network.modules()):
        children = list(parent.named_children())
        for (name, first), (after, second) in zip(children, children[1:], strict=False):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(first, second))
                setattr(parent, after, nn.Identity())
    return network
