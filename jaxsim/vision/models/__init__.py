"""Networks in Flax NNX, channels last: encoders, decoders, converted public weights, and checked weight files.

Needs the `nn` extra; `import jaxsim` does not import this package. Every convolution and product uses
`Precision.HIGHEST` by default, so features are not computed in TensorFloat-32 on a GPU.
"""

from jaxsim.vision.models.batchnorm import fold, freeze
from jaxsim.vision.models.convert import Conversion, from_checkpoint
from jaxsim.vision.models.decoders import AsppDecoder, SmallDecoder, VectorHead
from jaxsim.vision.models.deeplab import Branch, DeepLabDecoder
from jaxsim.vision.models.deploy import for_inference
from jaxsim.vision.models.encoders import SIZES, SmallEncoder, check_size
from jaxsim.vision.models.networks import Network, all_layers, layer_shapes, matching
from jaxsim.vision.models.resnet import NETWORKS, ResNet
from jaxsim.vision.models.taskonomy_decoders import ColorizationDecoder, TaskonomyDecoder, TaskonomyHead
from jaxsim.vision.models.weights import from_safetensors, safetensors_metadata, to_safetensors

__all__ = [
    "NETWORKS",
    "SIZES",
    "AsppDecoder",
    "Branch",
    "ColorizationDecoder",
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
    "fold",
    "freeze",
    "for_inference",
    "from_checkpoint",
    "from_safetensors",
    "layer_shapes",
    "matching",
    "safetensors_metadata",
    "to_safetensors",
]
