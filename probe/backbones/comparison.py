"""What was compared before a model of the hub was taken: the pixels that it gets with those of the library's processor.

It is kept beside the features that the model gives, and decides nothing.

    PixelComparison(
        processor="ViTImageProcessorPil", library="transformers 5.0.0", sizes=((97, 60),), largest_difference=0.0
    )
"""

from probe.validation import Strict


class PixelComparison(Strict):
    processor: str
    """The class of the library's own."""
    library: str
    """With its version."""
    sizes: tuple[tuple[int, int], ...]
    """Width and height of the pictures."""
    largest_difference: float
    """Between two values of a pixel, of which 255 is white."""
