import numpy as np
import pytest
from PIL import Image, ImageEnhance

from probe.backbones.descriptor import DIM, PX, describe


def scene(seed: int) -> np.ndarray:
    """Coloured blobs, unlike those of any other seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).resize((PX, PX), Image.Resampling.BICUBIC))


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    a, b = describe(one), describe(other)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def constant(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((PX, PX, 3), colour, np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(scene(0), id="coloured"),
        pytest.param(scene(0)[..., :1].repeat(3, axis=2), id="grey"),
        pytest.param(constant((0, 0, 0)), id="black"),
        pytest.param(constant((255, 255, 255)), id="white"),
        pytest.param(constant((3, 200, 90)), id="one colour"),
        pytest.param(np.random.default_rng(0).integers(0, 256, (PX, PX, 3), np.uint8), id="noise"),
    ],
)
def test_every_image_has_a_finite_vector_that_is_not_zero(image: np.ndarray) -> None:
    features = describe(image)
    assert features.shape == (DIM,)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert np.linalg.norm(features) > 0.5


def test_the_same_image_has_the_same_vector() -> None:
    np.testing.assert_array_equal(describe(scene(1)), describe(scene(1)))


def test_the_image_is_left_as_it_was() -> None:
    image = scene(1)
    before = image.copy()
    describe(image)
    np.testing.assert_array_equal(image, before)


def test_dimension_is_a_multiple_of_64() -> None:
    assert DIM % 64 == 0


@pytest.mark.parametrize("seed", range(5))
def test_another_light_or_another_crop_changes_less_than_another_scene(seed: int) -> None:
    image = scene(seed)
    darker = np.asarray(ImageEnhance.Brightness(Image.fromarray(image)).enhance(0.6))
    shifted = np.roll(image, (4, -4), axis=(0, 1))
    stranger = cosine(image, scene(seed + 100))
    assert cosine(image, darker) > stranger + 0.3
    assert cosine(image, shifted) > stranger + 0.3


def test_colour_alone_sets_images_apart() -> None:
    grey = scene(2)[..., :1].repeat(3, axis=2)
    assert cosine(grey, (grey * (1.0, 0.5, 0.3)).astype(np.uint8)) < 0.99
