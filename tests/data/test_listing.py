import pytest

from probe.data.listing import in_words


@pytest.mark.parametrize(
    ("images", "classes", "words"),
    [
        (1, 1, "1 image of 1 class"),
        (1, None, "1 image"),
        (0, 2, "0 images of 2 classes"),
        (59551, 11318, "59,551 images of 11,318 classes"),
    ],
)
def test_one_is_singular(images: int, classes: int | None, words: str):
    assert in_words(images, classes) == words
