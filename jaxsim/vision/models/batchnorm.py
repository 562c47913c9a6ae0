"""Linear layers with batch normalization, and folding the normalization into the layer."""

from typing import Any, TypeVar, cast

from flax import nnx
from jax import lax
from jaxtyping import Array, Float

EPSILON = 1e-5
"""Constant added to the variance, in torchvision and in Taskonomy."""

Linear = nnx.Conv | nnx.ConvTranspose | nnx.Linear
Network = TypeVar("Network", bound=nnx.Module)


class Normed(nnx.Module):
    """A linear layer without bias and its batch normalization; once folded, a layer with bias and no `norm`.

    The normalization uses its stored mean and variance unless `train()` is called on the module or a parent. Its
    running averages keep 0.9 of the past, which PyTorch calls a momentum of 0.1.

    Args:
        linear: the layer, without bias.
        rngs: required by NNX; nothing is drawn from it.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxsim.vision.models.batchnorm import fold, normed_convolution
        >>> layer = normed_convolution(3, 4, side=3, precision=None, rngs=nnx.Rngs(0))
        >>> layer(jnp.zeros((1, 5, 5, 3))).shape, layer.norm is None, fold(layer).norm is None
        ((1, 5, 5, 4), False, True)
    """

    def __init__(self, linear: Linear, *, rngs: nnx.Rngs):
        self.linear = linear
        norm = nnx.BatchNorm(
            linear.out_features,
            use_running_average=True,
            momentum=0.9,
            epsilon=EPSILON,
            use_fast_variance=False,
            rngs=rngs,
        )
        self.norm: nnx.BatchNorm | None = nnx.data(norm)

    def __call__(self, x: Float[Array, "b *d c"]) -> Float[Array, "b *e k"]:
        """Apply the layer and the normalization."""
        x = self.linear(x)
        return x if self.norm is None else self.norm(x)


def normed_convolution(
    channels_in: int,
    channels_out: int,
    *,
    side: int,
    stride: int = 1,
    dilation: int = 1,
    precision: lax.Precision | None,
    rngs: nnx.Rngs,
) -> Normed:
    """A normalized square convolution of odd side, padded symmetrically, initialized as in He et al. (2015).

    The padding is PyTorch's, and at stride 2 Taskonomy's; SAME would pad only one side there. A 1x1 convolution at
    stride 1 is a product with a matrix `(channels_in, channels_out)`, which is faster.
    """
    start = nnx.initializers.he_normal()
    if side == 1 and stride == 1:
        product = nnx.Linear(
            channels_in, channels_out, use_bias=False, kernel_init=start, precision=precision, rngs=rngs
        )
        return Normed(product, rngs=rngs)
    pad = dilation * (side // 2)
    convolution = nnx.Conv(
        channels_in,
        channels_out,
        (side, side),
        strides=stride,
        padding=((pad, pad), (pad, pad)),
        kernel_dilation=dilation,
        use_bias=False,
        kernel_init=start,
        precision=precision,
        rngs=rngs,
    )
    return Normed(convolution, rngs=rngs)


def fold(network: Network) -> Network:
    r"""Copy a network for inference with every normalization folded into the preceding layer.

    With scale g, shift b, mean m and variance v of a normalization, the weights w become
    :math:`w g / \sqrt{v + \epsilon}` and the layer gets the bias :math:`b - m g / \sqrt{v + \epsilon}`.

    Args:
        network: any module; it is not changed.

    Returns:
        A copy in which every `Normed` is folded. Folding twice changes nothing.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxsim.vision import models
        >>> network = models.ResNet((1,), 4, rngs=nnx.Rngs(0))
        >>> images = jnp.ones((1, 32, 32, 3))
        >>> bool(jnp.allclose(network(images), models.fold(network)(images), rtol=1e-4))
        True
    """
    network = nnx.clone(network)
    for _, module in nnx.iter_modules(network):
        if isinstance(module, Normed):
            _fold_one(module)
    return network


class Frozen(nnx.Variable):
    """A weight that training leaves unchanged."""


def freeze(network: Network) -> Network:
    """Copy a network whose weights and statistics stay fixed in training.

    Normalizations are folded into the layers before them (`fold`), and every `nnx.Param` becomes a `Frozen` variable.

    Args:
        network: any module; it is not changed.

    Example:
        >>> from flax import nnx
        >>> from jaxsim.vision import models
        >>> network = models.freeze(models.SmallEncoder((4, 8), (2, 2), rngs=nnx.Rngs(0)))
        >>> nnx.state(network, nnx.Param)
        State({})
    """
    network = fold(network)
    for _, module in nnx.iter_modules(network):
        for name, value in list(vars(module).items()):
            if isinstance(value, nnx.Param):
                setattr(module, name, Frozen(value[...]))
    return network


def is_folded(network: nnx.Module) -> bool:
    """Whether any layer of a network has its normalization folded in."""
    return any(isinstance(module, Normed) and module.norm is None for _, module in nnx.iter_modules(network))


def _fold_one(layer: Normed) -> None:
    linear, norm = layer.linear, cast(Any, layer.norm)
    if norm is None:
        return
    gain = norm.scale[...] * lax.rsqrt(norm.var[...] + norm.epsilon)
    transposed = isinstance(linear, nnx.ConvTranspose) and linear.transpose_kernel
    linear.kernel.set_value(linear.kernel[...] * (gain[:, None] if transposed else gain))
    linear.bias = nnx.Param(norm.bias[...] - norm.mean[...] * gain)
    linear.use_bias = True
    layer.norm = None
