"""What each network is shown of a picture, held to restatements in float64 and to scikit-image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("flax", reason="extraction needs the nn extra")
pytest.importorskip("PIL", reason="extraction needs the nn extra")
color = pytest.importorskip("skimage.color")
transform = pytest.importorskip("skimage.transform")

from flax import nnx

from jaxsim.vision import extraction, models
from jaxsim.vision.datasets import Example
from jaxsim.vision.datasets.loader import fit
from jaxsim.vision.extraction import AsIs, Fitted, ShortSide, Square
from jaxsim.vision.extraction.forward import prepare
from jaxsim.vision.extraction.preprocessing import NAMED, SYNONYMS, gray, lightness, named


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


# Frames


def center(image):
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


@pytest.mark.parametrize(
    ("height", "width", "side"), [(64, 64, 32), (37, 53, 16), (53, 37, 16), (9, 12, 20), (8, 8, 8), (5, 3, 1)]
)
def test_square_is_plain_bilinear_between_pixel_centers(height, width, side):
    image = picture(height, width)
    expected = transform.resize(
        center(image).astype(float), (side, side), order=1, mode="edge", anti_aliasing=False, preserve_range=True
    )
    found = Square(side)(image)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)


def weights(have, want):
    """A triangle as wide as a pixel of the result, at its center, `(want, have)`."""
    step = have / want
    middle, places = (np.arange(want)[:, None] + 0.5) * step, np.arange(have) + 0.5
    w = np.maximum(0, 1 - np.abs(places - middle) / max(step, 1))
    return w / w.sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("height", "width", "side", "short", "resized"),
    [(40, 60, 14, 16, (16, 24)), (60, 40, 14, 16, (24, 16)), (33, 47, 9, 12, (12, 17)), (10, 13, 14, 16, (16, 20))],
)
def test_short_side_widens_the_filter_and_cuts_the_center(height, width, side, short, resized):
    image = picture(height, width)
    rows, columns = weights(height, resized[0]), weights(width, resized[1])
    expected = np.einsum("ih,hwc,jw->ijc", rows, image.astype(float), columns)
    top, left = (int(round((n - side) / 2)) for n in resized)
    found = ShortSide(side, short)(image)
    assert found.dtype == np.uint8
    assert np.abs(found - expected[top : top + side, left : left + side]).max() <= 1.01


def test_frames_at_another_size():
    assert ShortSide().at(112) == ShortSide(112, 128)
    assert Square().at((64, 64)) == Square(64)
    assert AsIs().at(8) == Fitted((8, 8)) == Fitted((2, 3)).at(8)
    image = picture(30, 40)
    np.testing.assert_array_equal(Fitted((6, 9))(image), fit(Example("", image, {}, {}), (6, 9)).image)
    assert AsIs()(image) is image
    for frame in (Square(), ShortSide()):
        with pytest.raises(ValueError, match="needs square pictures, not 4 x 5"):
            frame.at((4, 5))


# Colors and ranges

LOW = ["autoencoder", "curvature", "denoise", "edge2d", "edge3d", "keypoint2d", "keypoint3d"]
LOW += ["reshade", "rgb2depth", "rgb2mist", "rgb2sfnorm", "segment25d", "segment2d", "room_layout"]
PLAIN = ["vanishing_point", "segmentsemantic", "class_1000", "class_places"]


def restated(task, image):
    """Zamir et al.'s scripts in float64, from a picture `(h, w, 3)` uint8 of the right size."""
    x = image / 255.0
    if task == "colorization":
        return color.rgb2lab(x)[..., :1] / 100 * 2 - 1
    if task in LOW:
        x = np.minimum(np.maximum(x, 0.1), 0.9)
    x = x * 2 - 1
    if task == "inpainting":
        quarter = len(x) // 4
        x[quarter : 3 * quarter, quarter : 3 * quarter] = 0
    return x


@pytest.mark.parametrize("task", [*LOW, *PLAIN, "colorization", "inpainting"])
def test_taskonomy_by_task(task):
    image = picture(32, 32, seed=len(task))
    image[:2, :2] = [[[0, 0, 0], [255, 255, 255]], [[3, 1, 2], [250, 0, 0]]]
    own = extraction.TASKONOMY[task]
    assert own.frame == Square(256)
    found = np.asarray(prepare(own.at(32), own.at(32).frame(image)[None]))[0]
    expected = restated(task, image)
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5 if task == "colorization" else 1e-6)
    low, high = (-0.8, 0.8) if task in LOW else (-1, 1)
    assert low - 1e-6 <= found.min() < 0.9 * low
    assert 0.9 * high < found.max() <= high + 1e-6


def test_every_network_of_rsa_has_its_preprocessing_under_both_names():
    assert len(LOW) == 14
    assert set(extraction.TASKONOMY) == {*LOW, *PLAIN, "colorization", "inpainting", *SYNONYMS}
    for other, name in SYNONYMS.items():
        assert extraction.TASKONOMY[other] == extraction.TASKONOMY[name]
    assert len(set(extraction.TASKONOMY) - set(SYNONYMS)) == 20


def test_lightness_is_that_of_lab_down_to_black():
    steps = np.linspace(0, 1, 40) ** 2
    x = np.stack(np.meshgrid(steps, steps[::4], steps[::4], indexing="ij"), -1).reshape(1, 40, 100, 3)
    found = np.asarray(jax.jit(lightness)(jnp.asarray(x, jnp.float32)))
    np.testing.assert_allclose(found[..., 0], color.rgb2lab(x)[..., 0] / 100, atol=1e-5)


def test_imagenet():
    image = picture(40, 60)
    own = extraction.IMAGENET
    assert own.frame == ShortSide(224, 256)
    small = own.at(14)
    framed = small.frame(image)
    expected = framed / 255.0
    for c, (mean, sd) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        expected[..., c] = (expected[..., c] - mean) / sd
    np.testing.assert_allclose(np.asarray(prepare(small, framed[None]))[0], expected, atol=2e-6)


def test_gray_is_what_colorization_of_the_built_in_world_was_trained_on():
    from jaxsim.studies.rooms import encoders, tasks

    image = picture(16, 16)
    expected = encoders.inputs(tasks.named("colorization"), image[None])
    luminance = image.astype(float) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(expected, np.repeat(luminance[None, ..., None], 3, -1), atol=0.51)
    assert NAMED["gray"].colors is gray
    found = prepare(NAMED["gray"], image[None])
    np.testing.assert_allclose(np.asarray(found) * 255, expected, atol=1e-3)
    np.testing.assert_allclose(np.asarray(prepare(extraction.UNIT, image[None])) * 255, image[None], atol=1e-4)


# Which network wants which


def network(variant):
    return nnx.eval_shape(lambda: models.ResNet((1,), 4, variant=variant, rngs=nnx.Rngs(0)))


def test_encoders_say_what_they_want():
    small = nnx.eval_shape(lambda: models.SmallEncoder.named("tiny", rngs=nnx.Rngs(0)))
    assert extraction.preprocessing_of("rgb2depth", small) == extraction.UNIT
    assert extraction.preprocessing_of("anything", network("torchvision")) == extraction.IMAGENET
    for name in ("rgb2depth", "depth_zbuffer", "colorization"):
        assert extraction.preprocessing_of(name, network("taskonomy")) == extraction.TASKONOMY[name]
    with pytest.raises(ValueError, match=r"encoder 'depth' is a network of Taskonomy.*autoencoder.*pass its prepro"):
        extraction.preprocessing_of("depth", network("taskonomy"))


def test_an_attribute_of_the_encoder_comes_first():
    def own(x):
        return {"x": x}

    assert extraction.preprocessing_of("own", own) == extraction.UNIT
    own.preprocessing = "imagenet"
    assert extraction.preprocessing_of("own", own) == extraction.IMAGENET
    own.preprocessing = extraction.Preprocessing(mean=(0.5,))
    assert extraction.preprocessing_of("own", own).mean == (0.5,)
    with pytest.raises(ValueError, match="no preprocessing 'fancy'; there are unit, gray, imagenet, autoencoder"):
        named("fancy")
