"""The bundled sample: a small instance-retrieval benchmark with nothing to download.

It has the shape of UnED: several domains, a few hundred classes, several images of each, every class
in one split only. A class is one place, object or digit in the pictures that scikit-image and
scikit-learn carry. No pixel is in the images of two classes, and the same installed versions give the
same bytes.

    root = ensure_sample(Path("data"))  # data/sample/<domain>/<class>/<number>.jpg and manifest.csv
"""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from probe.data.manifest import COLUMNS
from probe.data.shots import Region, Shot
from probe.errors import UsageError
from probe.progress import track
from probe.storage import new_folder

SAMPLE = "sample"  # what a user writes for it, its folder and its source
SAMPLE_VERSION = 1
SAMPLE_IMAGES = 3250
SEED = 2024
VAL_SHARE, TEST_SHARE = 0.15, 0.30  # of the classes of each domain

SCANS_PER_DIGIT = 28
SCAN_PX, SCAN_MARGIN = 8, 3
TILE = SCAN_PX + 2 * SCAN_MARGIN

PICTURES = {  # none of them shows a human face
    "brick": ("skimage.data", "brick.png"),
    "cat": ("skimage.data", "chelsea.png"),
    "china": ("sklearn.datasets", "images/china.jpg"),
    "coffee": ("skimage.data", "coffee.png"),
    "coins": ("skimage.data", "coins.png"),
    "flower": ("sklearn.datasets", "images/flower.jpg"),
    "garage": ("skimage.data", "motorcycle_left.png"),
    "garage-second": ("skimage.data", "motorcycle_right.png"),
    "grass": ("skimage.data", "grass.png"),
    "gravel": ("skimage.data", "gravel.png"),
    "hubble": ("skimage.data", "hubble_deep_field.jpg"),
    "retina": ("skimage.data", "retina.jpg"),
    "tissue": ("skimage.data", "ihc.png"),
}

Places = dict[str, tuple[Region, ...]]  # the name of a class -> where it is to be seen


@dataclass(frozen=True)
class SampleClass:
    """Something to be found again. Image i shows region i, cyclically: another camera, or another scan."""

    name: str
    domain: str
    split: str
    regions: tuple[Region, ...]
    images: int

    def shots(self) -> Iterator[tuple[Region, Shot]]:
        """Seeded by the name alone, so that a class looks the same whatever else is drawn."""
        rng = _generator(self.name)
        for i in range(self.images):
            yield self.regions[i % len(self.regions)], Shot.random(rng)


# ---- the plan: which classes there are, before anything is drawn ----


def plan() -> list[SampleClass]:
    """Every class of the sample, by domain and name."""
    sharp = _cells("china", "coffee", side=64, count=30)
    half_blurred = _cells("cat", "flower", side=64, count=15)  # a shallow depth of field
    return [
        *_deal("coins", _objects("coins", side=48, count=24, blur=8)),
        *_deal("digits", _digits(), images=SCANS_PER_DIGIT),
        *_deal("garage", _stereo_cells("garage", "garage-second", side=56, count=45)),
        *_deal("microscopy", _cells("tissue", side=68, count=28) | _cells("retina", side=180, count=20)),
        *_deal("photographs", sharp | half_blurred),
        *_deal("sky", _objects("hubble", side=44, count=45, blur=2)),
        *_deal("textures", _cells("brick", "grass", "gravel", side=96, count=15)),
    ]


def _deal(domain: str, places: Places, images: int = 10) -> list[SampleClass]:
    """One class per place, dealt to the splits by a seeded shuffle."""
    names = sorted(places)
    val, test = round(VAL_SHARE * len(names)), round(TEST_SHARE * len(names))
    splits = ["val"] * val + ["test"] * test + ["train"] * (len(names) - val - test)
    _generator(domain).shuffle(splits)
    return [SampleClass(name, domain, split, places[name], images) for name, split in zip(names, splits, strict=True)]


def _cells(*pictures: str, side: int, count: int) -> Places:
    """The `count` most detailed cells of a grid over each picture; a flat one shows nothing to recognise."""
    places: Places = {}
    for picture in pictures:
        places |= _disjoint([(cell,) for cell in _cells_by_detail(picture, side)], count)
    return places


def _stereo_cells(first: str, second: str, side: int, count: int) -> Places:
    """The `count` most detailed cells that both cameras see, each with its region in either picture."""
    disparity = _disparity()
    pairs: list[tuple[Region, ...]] = []
    for cell in _cells_by_detail(first, side):
        shifts = cell.of(disparity)
        if np.isfinite(shifts).mean() > 0.5 and (left := cell.left - round(np.median(shifts))) >= 0:
            pairs.append((cell, Region(second, left, cell.top, side)))
    return _disjoint(pairs, count)


def _cells_by_detail(picture: str, side: int) -> list[Region]:
    """A cell counts as its flattest quarter does, for a shot may see little more than that."""
    from skimage.filters import gaussian

    down, right = np.gradient(gaussian(_grey(picture), 1.5))  # film grain is not detail
    detail = np.hypot(down, right)
    height, width = detail.shape
    cells = [
        Region(picture, left, top, side)
        for top in range(0, height - side + 1, side)
        for left in range(0, width - side + 1, side)
    ]

    def flattest_quarter(cell: Region) -> float:
        return cell.of(detail).reshape(2, side // 2, 2, side // 2).mean(axis=(1, 3)).min()

    return sorted(cells, key=flattest_quarter, reverse=True)


def _objects(picture: str, side: int, count: int, blur: float) -> Places:
    """The `count` brightest objects, each in the middle of its region."""
    from skimage.feature import peak_local_max
    from skimage.filters import gaussian

    peaks = peak_local_max(gaussian(_grey(picture), blur), min_distance=side // 2)  # brightest first
    corners = (peaks - side // 2).tolist()
    return _disjoint([(Region(picture, left, top, side),) for top, left in corners], count)


def _disjoint(candidates: list[tuple[Region, ...]], count: int) -> Places:
    """The first `count` candidates that share no pixel with an earlier one in any of their pictures.

    Cells that are neighbours for one camera may overlap for the other: what is near moves further.
    """
    taken: list[tuple[Region, ...]] = []
    for regions in candidates:
        before = [region for others in taken for region in others]
        if not any(region.overlaps(other) for region in regions for other in before):
            taken.append(regions)
    return {f"{at.picture}-x{at.left}-y{at.top}": (at, *elsewhere) for at, *elsewhere in taken[:count]}


def _digits() -> Places:
    """Ten classes, each with one region per scan: a row of the sheet of digits."""
    return {
        f"digit-{digit}": tuple(
            Region("digits", column * TILE, digit * TILE, TILE) for column in range(SCANS_PER_DIGIT)
        )
        for digit in range(10)
    }


# ---- the pictures ----


@cache
def _picture(name: str) -> Image.Image:
    if name == "digits":
        return _sheet_of_digits()
    # Read in place: skimage.data's own functions go to the network for a file that is not there.
    package, file = PICTURES[name]
    with (files(package) / file).open("rb") as stream:
        return Image.open(stream).convert("RGB")


def _grey(name: str) -> np.ndarray:
    return np.asarray(_picture(name).convert("L"), np.float64)


def _disparity() -> np.ndarray:
    """How many pixels further left the second camera sees each pixel of the first; infinite where unknown."""
    with (files("skimage.data") / "motorcycle_disp.npz").open("rb") as stream:
        return np.load(stream)["arr_0"]


def _sheet_of_digits() -> Image.Image:
    """One row per digit, dark ink on white paper."""
    from sklearn.datasets import load_digits

    scans, digits = load_digits(return_X_y=True)
    sheet = np.full((10 * TILE, SCANS_PER_DIGIT * TILE), 255, np.uint8)
    for digit in range(10):
        rows = np.flatnonzero(digits == digit)
        spread = np.linspace(0, len(rows) - 1, SCANS_PER_DIGIT).astype(int)  # over the file's writers
        for column, scan in enumerate(scans[rows[spread]].reshape(-1, SCAN_PX, SCAN_PX)):
            top, left = digit * TILE + SCAN_MARGIN, column * TILE + SCAN_MARGIN
            sheet[top : top + SCAN_PX, left : left + SCAN_PX] = 255 - scan * 15
    return Image.fromarray(sheet).convert("RGB")


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng([SEED, *name.encode()])


# ---- the build ----


def ensure_sample(data_root: Path) -> Path:
    """`data_root/sample`, built first where it is missing or of another version."""
    folder = data_root / SAMPLE
    if _version(folder) != SAMPLE_VERSION:
        with track("build the bundled sample", SAMPLE_IMAGES, "images") as advance:
            build_sample(folder, advance)
    return folder


def build_sample(folder: Path, advance: Callable[[int], None] | None = None) -> None:
    """Draws the sample; an existing folder is a finished one.

    `advance` is called with 1 after each of the SAMPLE_IMAGES images.
    """
    if folder.exists() and _version(folder) is None:
        raise UsageError(f"{folder} is not a sample that probe has built; move it away or choose another place.")
    classes = plan()
    counts = {
        "version": SAMPLE_VERSION,
        "classes": len(classes),
        "images": sum(each.images for each in classes),
    }
    with new_folder(folder) as building:
        for each in classes:
            for _ in draw(each, building):
                if advance is not None:
                    advance(1)
        _write_manifest(classes, building / "manifest.csv")
        (building / "sample.json").write_text(json.dumps(counts) + "\n", encoding="utf-8")


def draw(each: SampleClass, folder: Path) -> Iterator[Path]:
    """Writes the images of one class, and yields the path of each."""
    for image, (region, shot) in zip(_images_of(each), each.shots(), strict=True):
        path = folder / image
        path.parent.mkdir(parents=True, exist_ok=True)
        shot.draw(_picture(region.picture), region).save(path, quality=shot.quality)
        yield path


def _images_of(each: SampleClass) -> list[str]:
    return [f"{each.domain}/{each.name}/{number:02d}.jpg" for number in range(each.images)]


def _write_manifest(classes: list[SampleClass], path: Path) -> None:
    rows = sorted(
        (image, SAMPLE, each.name, each.domain, each.split, "train" if each.split == "train" else "both")
        for each in classes
        for image in _images_of(each)
    )
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def _version(folder: Path) -> int | None:
    try:
        return json.loads((folder / "sample.json").read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError):
        return None
