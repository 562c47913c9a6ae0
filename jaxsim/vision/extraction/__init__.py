"""Extraction of features from pictures by any encoders and layers, streamed to disk and resumable.

Needs the `nn` extra; `import jaxsim` does not import this package. `extract` does the work; `preprocessing_of` returns
the preprocessing of each network.

`jaxsim.vision.modules.features` extracts layers of PyTorch and Flax networks by name, for tensors and loaders. Here,
networks of other libraries are passed as functions from a batch `(b, h, w, c)`, a JAX array, to arrays by layer, from
any library that supports DLPack. On one device the input is not copied. A recipe for PyTorch, and so for timm and
Hugging Face's transformers, with channels last and tokens unchanged::

    import jax, torch
    from jaxsim.vision import extraction

    network = torch.hub.load(...).eval()  # or timm.create_model, or transformers.AutoModel.from_pretrained
    seen = {}
    network.layer3.register_forward_hook(lambda module, given, result: seen.update(layer3=result))

    @torch.inference_mode()
    def layers(batch: jax.Array):
        network(torch.from_dlpack(batch).permute(0, 3, 1, 2))
        return {"layer3": seen["layer3"].permute(0, 2, 3, 1)}

    extraction.extract("pictures", {"resnet": layers}, "features", preprocessing={"resnet": "imagenet"})

With transformers: `network(pixel_values=..., output_hidden_states=True).hidden_states` is a tuple of `(b, tokens, c)`.
Features in memory need none of this: `jaxsim.affinity({"resnet": tensor}, ...)` accepts tensors `(n, ..., c)`.
"""

from jaxsim.vision.extraction.crops import AsIs, Fitted, ShortSide, Square
from jaxsim.vision.extraction.jobs import extract
from jaxsim.vision.extraction.preprocessing import IMAGENET, NAMED, TASKONOMY, UNIT, Preprocessing, preprocessing_of

__all__ = [
    "IMAGENET",
    "NAMED",
    "TASKONOMY",
    "UNIT",
    "AsIs",
    "Fitted",
    "Preprocessing",
    "ShortSide",
    "Square",
    "extract",
    "preprocessing_of",
]
