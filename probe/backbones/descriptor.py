"""The built-in backbone: a descriptor of shape, texture and colour that needs no weights.

Every pixel votes for the direction of its gradient, its local binary pattern, its tone and its colour;
the votes are counted over grids from fine to coarse, as in a histogram of oriented gradients. Each
histogram becomes a unit vector, so all of them weigh alike. The result is finite and never zero.

    features = describe(image)  # (PX, PX, 3) uint8 RGB -> (DIM,) float32
"""

from functools import cache

import numpy as np

DESCRIPTOR_VERSION = 1
PX = 128

DIRECTIONS, DIRECTION_GRIDS = 8, (6, 4, 2)
PATTERNS, PATTERN_GRID, PATTERN_RADII = 10, 4, (2, 4)  # 10 rotation-invariant patterns of 8 neighbours
LEVELS, LEVEL_GRID, CAST_GRID = 8, 4, 2

DIM = (
    DIRECTIONS * sum(grid**2 for grid in DIRECTION_GRIDS)
    + PATTERNS * PATTERN_GRID**2 * len(PATTERN_RADII)
    + LEVELS * LEVEL_GRID**2 * 3
    + LEVELS * CAST_GRID**2 * 2
)

BLACK = 0.03  # added before the logarithm, so that noise in the shadows stays small
OPPONENT = np.array([(1 / 3, 1, 0), (1 / 3, -1, -1), (1 / 3, 0, 1)], np.float32)  # RGB -> lightness, r-g, b-g
TONE_RANGE = 2.0  # standard deviations of the image's lightness
COLOUR_RANGE = 0.6  # log units around the image's median colour
CAST_RANGE = 1.2  # log units around grey


def describe(image: np.ndarray) -> np.ndarray:
    """(PX, PX, 3) uint8 RGB -> (DIM,) float32."""
    # In logarithms a brighter lamp or another white balance only adds a constant.
    light = np.log(image.astype(np.float32) / 255 + BLACK)
    lightness, *colours = np.moveaxis(light @ OPPONENT, -1, 0)
    return np.concatenate([*_shape(lightness), *_texture(lightness), *_tone(lightness), *_colour(colours)])


def _shape(lightness: np.ndarray) -> list[np.ndarray]:
    votes = _direction_votes(_blurred(lightness, 3))
    return [_histogram(votes, grid) for grid in DIRECTION_GRIDS]


def _texture(lightness: np.ndarray) -> list[np.ndarray]:
    smooth = _blurred(lightness, 1)
    return [_histogram(_pattern_votes(smooth, radius), PATTERN_GRID) for radius in PATTERN_RADII]


def _tone(lightness: np.ndarray) -> list[np.ndarray]:
    smooth = _blurred(lightness, 2)
    contrast = smooth.std() + 0.05  # the constant keeps a blank image blank
    return [_histogram(_level_votes((smooth - smooth.mean()) / contrast / TONE_RANGE), LEVEL_GRID)]


def _colour(colours: list[np.ndarray]) -> list[np.ndarray]:
    """Where the colours lie around the image's own median, and coarsely what they are."""
    smooth = [_blurred(colour, 2) for colour in colours]
    relative = [_level_votes((colour - np.median(colour)) / COLOUR_RANGE) for colour in smooth]
    absolute = [_level_votes(colour / CAST_RANGE) for colour in smooth]
    return [_histogram(votes, LEVEL_GRID) for votes in relative] + [_histogram(votes, CAST_GRID) for votes in absolute]


def _direction_votes(channel: np.ndarray) -> np.ndarray:
    """(PX, PX) -> (DIRECTIONS, PX, PX): the gradient's magnitude, shared by the two nearest directions."""
    down, right = np.gradient(channel)
    turn = np.arctan2(down, right) % (2 * np.pi) * (DIRECTIONS / (2 * np.pi))
    away = np.abs(turn - _bins(DIRECTIONS))
    return np.hypot(down, right) * np.maximum(0, 1 - np.minimum(away, DIRECTIONS - away))


def _pattern_votes(channel: np.ndarray, radius: int) -> np.ndarray:
    """(PX, PX) -> (PATTERNS, PX, PX): one vote for the uniform local binary pattern around the pixel."""
    from skimage.feature import local_binary_pattern

    steps = np.round(channel * 50).astype(np.int16)  # finer steps would be patterns of noise
    codes = local_binary_pattern(steps, P=8, R=radius, method="uniform")
    return (codes == _bins(PATTERNS)).astype(np.float32)


def _level_votes(channel: np.ndarray) -> np.ndarray:
    """(PX, PX) of -1..1 -> (LEVELS, PX, PX): one vote, shared by the two nearest levels."""
    level = (channel.clip(-1, 1) + 1) * ((LEVELS - 1) / 2)
    return np.maximum(0, 1 - np.abs(level - _bins(LEVELS)))


def _histogram(votes: np.ndarray, grid: int) -> np.ndarray:
    """(C, PX, PX) -> (C * grid * grid,): the votes of each cell, square-rooted, centred, of unit length."""
    cells = _cells(grid)
    counts = cells @ votes @ cells.T  # (grid, PX) @ (C, PX, PX) @ (PX, grid)
    root = np.sqrt(counts).ravel()  # Hellinger: a dot product then compares distributions
    root -= root.mean()  # what all images share would drown what sets them apart
    return root / max(float(np.linalg.norm(root)), 1e-6)


@cache
def _cells(grid: int) -> np.ndarray:
    """(grid, PX): how much of a pixel each cell counts; neighbours overlap, so a shift changes little."""
    centres = (np.arange(grid) + 0.5) * PX / grid
    distance = np.abs(np.arange(PX) + 0.5 - centres[:, None])
    return np.maximum(0, 1 - distance * grid / PX).astype(np.float32)


def _bins(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32)[:, None, None]


def _blurred(channel: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(channel, sigma)
