"""Networks prepared for inference: normalizations folded, and convolutions with fewer multiplications on CPUs."""

from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from jaxsim.vision.models.batchnorm import Network, Normed, fold

WORTHWHILE = 128
"""Input channels from which `Winograd` is faster than XLA's own convolution on a CPU; measured on ResNet-50."""


def for_inference(network: Network) -> Network:
    """Copy a network for faster inference: fold normalizations and, on a CPU, use `Winograd` for wide 3x3 convolutions.

    On other devices the compiler selects such algorithms itself. The copy can be neither trained nor saved.

    Args:
        network: any module; it is not changed.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxsim.vision import models
        >>> from jaxsim.vision.models.batchnorm import normed_convolution
        >>> layer = normed_convolution(128, 2, side=3, precision=None, rngs=nnx.Rngs(0))
        >>> ready, images = models.for_inference(layer), jnp.ones((1, 6, 6, 128))
        >>> type(ready.linear).__name__, bool(jnp.allclose(layer(images), ready(images), rtol=1e-4))
        ('Winograd', True)
    """
    network = fold(network)
    if jax.default_backend() == "cpu":
        for _, module in nnx.iter_modules(network):
            if isinstance(module, Normed) and _suits(module.linear):
                cast(Any, module).linear = Winograd(cast(nnx.Conv, module.linear))
    return network


def _suits(layer: nnx.Module) -> bool:
    """Whether `Winograd` computes a layer, and faster."""
    if not isinstance(layer, nnx.Conv) or layer.kernel_size != (3, 3) or layer.in_features < WORTHWHILE:
        return False
    return (layer.strides, layer.kernel_dilation, layer.padding) == (1, 1, ((1, 1), (1, 1)))


class Winograd(nnx.Module):
    r"""A 3x3 convolution at stride 1 with padding 1 by the Winograd algorithm F(2 x 2, 3 x 3).

    Each 4 x 4 patch d, taken every two pixels, gives 2 x 2 outputs :math:`A^T [(G g G^T) \cdot (B^T d B)] A`, in
    which the product over channels is one matrix product for each of the 16 positions: 2.25 times fewer
    multiplications. The transforms only add, subtract and halve; the result differs from a direct convolution by
    rounding, 1e-6 of the largest value.

    Source: Lavin & Gray, Fast algorithms for convolutional neural networks (2016), section 4.1.

    Args:
        convolution: the convolution to replace, with bias.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from jaxsim.vision.models.deploy import Winograd
        >>> layer = nnx.Conv(2, 3, (3, 3), rngs=nnx.Rngs(0))
        >>> images = jnp.arange(70.0).reshape(1, 7, 5, 2)
        >>> bool(jnp.allclose(Winograd(layer)(images), layer(images), rtol=1e-4, atol=1e-4))
        True
    """

    def __init__(self, convolution: nnx.Conv):
        kernel = convolution.kernel[...]
        g = jnp.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]], kernel.dtype) / 2
        kernels = jnp.einsum("ia,abck,jb->ijck", g, kernel, g, precision=lax.Precision.HIGHEST)
        self.kernel = nnx.Param(kernels.reshape(16, *kernel.shape[2:]))
        self.bias = nnx.Param(cast(nnx.Param, convolution.bias)[...])
        self.precision = convolution.precision

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w k"]:
        """Convolve."""
        b, h, w, c = x.shape
        rows, columns = -(-h // 2), -(-w // 2)
        x = jnp.pad(x, ((0, 0), (1, 2 * rows + 1 - h), (1, 2 * columns + 1 - w), (0, 0)))
        bands = _spread([x[:, i : i + 2 * rows - 1 : 2] for i in range(4)])
        patches = [
            part for band in bands for part in _spread([band[:, :, j : j + 2 * columns - 1 : 2] for j in range(4)])
        ]
        stacked = jnp.stack(patches).reshape(16, b * rows * columns, c)
        products = lax.dot_general(stacked, self.kernel[...], (((2,), (1,)), ((0,), (0,))), precision=self.precision)
        products = products.reshape(4, 4, b, rows, columns, -1)
        lines = [jnp.stack(_gather(list(band)), 3) for band in _gather(list(products))]
        return jnp.stack(lines, 2).reshape(b, 2 * rows, 2 * columns, -1)[:, :h, :w] + self.bias[...]


def _spread(d: list[Array]) -> list[Array]:
    """Apply B^T along an axis given as its four slices."""
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _gather(m: list[Array]) -> list[Array]:
    """Apply A^T along an axis given as its four slices."""
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]
