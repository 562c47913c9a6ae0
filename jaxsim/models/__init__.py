"""Networks in Flax NNX, channels last: small ones, ResNet-50, decoders; weights converted, and as checked safetensors.

Needs the `nn` extra; `import jaxsim` leaves this package out. Every convolution and product asks for
`Precision.HIGHEST` unless told otherwise, so features are not TensorFloat-32 numbers on a GPU.
"""

from jaxsim.models.convert import Conversion, from_checkpoint
from jaxsim.models.decoders import AsppDecoder, SmallDecoder, VectorHead
from jaxsim.models.deeplab import Branch, DeepLabDecoder
from jaxsim.models.encoders import SIZES, SmallEncoder, check_size
from jaxsim.models.inference import compiler_options, for_inference
from jaxsim.models.networks import Network, all_layers, layer_shapes, matching
from jaxsim.models.normed import fold
from jaxsim.models.resnet import NETWORKS, ResNet
from jaxsim.models.taskonomy import TaskonomyDecoder, TaskonomyHead
from jaxsim.models.weights import from_safetensors, safetensors_metadata, to_safetensors

__all__ = [
    "NETWORKS",
    "SIZES",
    "AsppDecoder",
    "Branch",
    "Conversion",
    "DeepLabDecoder",
    "Network",
    "ResNet",
    "SmallDecoder",
    "SmallEncoder",
    "TaskonomyDecoder",
    "TaskonomyHead",
    "VectorHead",
    "all_layers",
    "check_size",
    "compiler_options",
    "fold",
    "for_inference",
    "from_checkpoint",
    "from_safetensors",
    "layer_shapes",
    "matching",
    "safetensors_metadata",
    "to_safetensors",
]
