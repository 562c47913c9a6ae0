"""The small networks of the rooms, their losses and their training in PyTorch: peer and oracle of `rooms.encoders`.

Written from the docstrings of `jaxsim.vision.models` and `jaxsim.studies.rooms.losses`. PyTorch does every computation.
Networks take `(b, 3, h, w)`, in either memory layout.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

# Networks, with the names of parts that `jaxsim.vision.models` uses


class Same(nn.Conv2d):
    """A square convolution with SAME padding of even sides: an odd row or column more is at the end."""

    def __init__(self, inputs: int, outputs: int, side: int = 3, stride: int = 1, dilation: int = 1):
        missing = (side - 1) * dilation + 1 - stride
        super().__init__(inputs, outputs, side, stride, missing // 2, dilation)
        self.end = missing % 2

    def forward(self, x: Tensor) -> Tensor:
        """The convolution."""
        return super().forward(functional.pad(x, (0, self.end, 0, self.end)) if self.end else x)


class Encoder(nn.ModuleDict):
    """3x3 convolutions with ReLU between them."""

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 64, 8), strides: Sequence[int] = (2, 2, 2, 1, 1)):
        layers = (Same(a, b, stride=s) for a, b, s in zip((3, *widths), widths, strides, strict=False))
        super().__init__({f"conv{i}": layer for i, layer in enumerate(layers, 1)})

    def forward(self, x: Tensor) -> Tensor:
        """The code."""
        *hidden, last = self.values()
        for layer in hidden:
            x = functional.relu(layer(x), inplace=True)
        return last(x)


class Decoder(nn.Module):
    """Convolution, ReLU and doubling by repetition, three times; then a convolution."""

    def __init__(self, outputs: int, inputs: int = 8, widths: Sequence[int] = (32, 16, 8)):
        super().__init__()
        channels = (inputs, *widths)
        self.hidden = nn.ModuleList(Same(a, b) for a, b in zip(channels, widths, strict=False))
        self.out = Same(channels[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The target's values."""
        for layer in self.hidden:
            x = functional.interpolate(functional.relu(layer(x), inplace=True), scale_factor=2, mode="nearest")
        return self.out(x)


class Aspp(nn.Module):
    """Atrous spatial pyramid and bilinear enlargement."""

    def __init__(self, classes: int, inputs: int = 8, channels: int = 32, rates: Sequence[int] = (1, 2, 4)):
        super().__init__()
        self.point = Same(inputs, channels, 1)
        self.atrous = nn.ModuleList(Same(inputs, channels, dilation=rate) for rate in rates)
        self.pooled = Same(inputs, channels, 1)
        self.project = Same((len(rates) + 2) * channels, channels, 1)
        self.out = Same(channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        pooled = self.pooled(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        joined = torch.cat([self.point(x), *(layer(x) for layer in self.atrous), pooled], 1)
        joined = functional.relu(self.project(functional.relu(joined, inplace=True)), inplace=True)
        return functional.interpolate(self.out(joined), scale_factor=8, mode="bilinear", align_corners=False)


class Head(nn.Module):
    """Flatten, the channels last; a hidden layer with ReLU; a linear layer."""

    def __init__(self, outputs: int, inputs: int = 512, hidden: int = 128):
        super().__init__()
        self.hidden, self.out = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The vector."""
        return self.out(functional.relu(self.hidden(x.permute(0, 2, 3, 1).flatten(1))))


class Network(nn.Module):
    """Encoder and the decoder of a kind of task, with weights of the names and axes that `jaxsim` gives them."""

    def __init__(self, kind: str, channels: int, weights: Mapping[str, np.ndarray]):
        super().__init__()
        decoders = {"image": Decoder, "embedding": Decoder, "segmentation": Aspp}
        self.encoder, self.decoder = Encoder(), decoders.get(kind, Head)(channels)
        self.load_state_dict(renamed(weights))

    def forward(self, x: Tensor) -> Tensor:
        """The decoder's values for the images' code."""
        return self.decoder(self.encoder(x))


def evenly_padded(network: nn.Module) -> nn.Module:
    """Another network of the same cost: strided convolutions pad by one on all sides, without a copy of their input."""
    for layer in network.modules():
        if isinstance(layer, Same) and layer.end:
            layer.end, layer.padding = 0, (1, 1)
    return network


def renamed(weights: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Arrays by PyTorch's names, such as `encoder.conv1.weight`, with its order of axes: outputs, inputs, space."""
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
    turned = {name: torch.tensor(a.transpose(axes[a.ndim]).copy()) for name, a in weights.items()}
    return {name.replace("/", ".").replace("kernel", "weight"): tensor for name, tensor in turned.items()}


# Losses of (prediction, target); images and scores with channels second


def hidden_absolute(prediction: Tensor, target: Tensor) -> Tensor:
    """Absolute error, half of it for the hidden central quarter."""
    inside = _inside(*target.shape[2:])
    weights = torch.where(inside, 0.5 / inside.float().mean(), 0.5 / (~inside).float().mean())
    return (functional.l1_loss(prediction, target, reduction="none") * weights).mean()


def _inside(height: int, width: int) -> Tensor:
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    return inside


def cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy with class numbers of any type."""
    return functional.cross_entropy(prediction, target.long())


def weighted_cross_entropy(prediction: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy times the weight of the class, over the number of pixels."""
    weights = weights.to(prediction)
    return functional.cross_entropy(prediction, target.long(), weights, reduction="sum") / target.numel()


def divergence(prediction: Tensor, target: Tensor) -> Tensor:
    """Divergence of the prediction's shares from the target's."""
    return functional.kl_div(functional.log_softmax(prediction, -1), target, reduction="batchmean")


class Pairs:
    """Pairs of pixels, `first` and `second` numbered row by row: one segment's close, two segments' a margin apart.

    `gather` is PyTorch's fastest way to pick them, with its gradient, of seven tried in both memory layouts.
    """

    def __init__(self, first: np.ndarray, second: np.ndarray, margin: float = 1.0):
        self.first, self.second, self.margin = torch.tensor(first), torch.tensor(second), margin

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss of outputs `(b, c, h, w)` for segment numbers `(b, h, w)`."""
        pixels, segment = prediction.flatten(2), target.flatten(1)
        shape = (*pixels.shape[:2], len(self.first))
        apart = pixels.gather(2, self.first.expand(shape)) - pixels.gather(2, self.second.expand(shape))
        square = apart.square().sum(1)
        short = functional.relu(self.margin - (square + 1e-8).sqrt()).square()
        same = segment[:, self.first] == segment[:, self.second]
        alike = same.sum(1, keepdim=True)
        halves = 0.5 / alike.clamp(min=1), 0.5 / (same.shape[1] - alike).clamp(min=1)
        return torch.where(same, square * halves[0], short * halves[1]).sum(1).mean()


def loss_named(name: str, weights: Sequence[float] = (), pairs: np.ndarray | None = None) -> Callable[..., Tensor]:
    """The loss of this name in `jaxsim.studies.rooms.losses`; `weights` of its classes, `pairs (2, count)`."""
    if pairs is not None:
        return Pairs(pairs[0], pairs[1])
    if name == "balanced_cross_entropy":
        return functools.partial(weighted_cross_entropy, weights=torch.tensor(weights))
    return {
        "absolute": functional.l1_loss,
        "hidden_absolute": hidden_absolute,
        "squared": functional.mse_loss,
        "cross_entropy": cross_entropy,
        "divergence": divergence,
    }[name]


# Training


def rate(step: int, steps: int, learning_rate: float) -> float:
    """Learning rate of a step: rising over a tenth of the run or 100 steps, then half a cosine to zero."""
    rise = min(100, steps // 10)
    if step < rise:
        return learning_rate * step / rise
    return learning_rate * (1 + math.cos(math.pi * min((step - rise) / (steps - rise), 1))) / 2


class Training:
    """Adam on gradients of length 1 at most, on batches that are rows of arrays in memory.

    Args:
        network: trained in place.
        loss: of prediction and target.
        images: `(n, h, w, 3)` uint8.
        targets: as the loss takes them but with channels last, `(n, h, w, c)`, or without space, `(n, ...)`.
        last: whether images, targets and weights lie in memory with channels last.
        steps: length of the whole run.
        learning_rate: the highest.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        images: np.ndarray,
        targets: np.ndarray,
        *,
        last: bool,
        steps: int,
        learning_rate: float,
    ):
        layout = torch.channels_last if last else torch.contiguous_format
        self.network, self.loss = network.to(memory_format=layout), loss  # pyright: ignore[reportCallIssue]
        self.images, self.targets = _laid(images, last), _laid(targets, last)
        self.done, self.steps, self.learning_rate = 0, steps, learning_rate
        self.parameters = list(network.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, learning_rate, fused=True)

    def step(self, rows: Tensor) -> Tensor:
        """One step on these rows; the loss before it."""
        images = self.images[rows].float().div_(255)
        value = self.loss(self.network(images), self.targets[rows])
        self.optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.done, self.steps, self.learning_rate)
        self.optimizer.step()
        self.done += 1
        return value.detach()


def _laid(array: np.ndarray, last: bool) -> Tensor:
    """Channels second in shape, and second or last in memory; reals as float32."""
    tensor = torch.from_numpy(array)
    if tensor.is_floating_point():
        tensor = tensor.float()
    if array.ndim < 4:
        return tensor
    seen = tensor.permute(0, 3, 1, 2)
    return seen if last else seen.contiguous()
