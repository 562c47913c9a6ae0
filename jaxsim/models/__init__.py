"""Networks in Flax NNX, channels last: small encoders and decoders, and encoder weights as checked safetensors.

Needs the `nn` extra; `import jaxsim` leaves this package out. Every convolution and product asks for
`Precision.HIGHEST` unless told otherwise, so features are not TensorFloat-32 numbers on a GPU.
"""

from jaxsim.models.decoders import AsppDecoder, SmallDecoder, VectorHead
from jaxsim.models.encoders import SIZES, SmallEncoder
from jaxsim.models.networks import Network
from jaxsim.models.weights import from_safetensors, safetensors_metadata, to_safetensors

__all__ = [
    "SIZES",
    "AsppDecoder",
    "Network",
    "SmallDecoder",
    "SmallEncoder",
    "VectorHead",
    "from_safetensors",
    "safetensors_metadata",
    "to_safetensors",
]
