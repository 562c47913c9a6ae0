"""Features of pictures: encoders and layers run over a folder or dataset, streamed to disk, resumable.

Needs the `nn` extra; `import jaxsim` leaves this package out. `extract` is the job; `preprocessing_of` says what each
network is shown.

Networks of other libraries take part as functions. A function gets a batch `(b, h, w, c)` as a JAX array and gives
arrays by layer, of any library that speaks DLPack; on one device no number is copied on the way in. A recipe for
PyTorch, and so for timm and Hugging Face's transformers; channels go last, tokens stay as they are::

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
Features that are in memory already need none of this: `jaxsim.affinity({"resnet": tensor}, ...)` takes tensors
`(n, ..., c)` as they are.
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
