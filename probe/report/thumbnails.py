"""Thumbnails of a manifest's images, made on demand, from files or from tar shards.

thumbnails = Thumbnails(manifest, px=96)
thumbnails.get("pocket", "coins/1.jpg")       # a PIL image whose longer side is 96 px; None where the image is gone
"""

import io
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from probe.data import Manifest, decode, read_image
from probe.errors import ProbeError

Key = tuple[str, str]  # source and image id
THREADS = 4  # Pillow decodes without the interpreter's lock


@dataclass(frozen=True)
class Thumbnails:
    manifest: Manifest
    px: int
    """The longer side; smaller images stay as they are."""

    def get(self, source: str, image: str) -> Image.Image | None:
        """None when the image is gone, cannot be decoded, or its source's folder is not known."""
        root = self.manifest.roots.get(source)
        if root is None:
            return None
        try:
            small = decode(io.BytesIO(read_image(root, image)))
        except (OSError, KeyError, ValueError, SyntaxError, Image.DecompressionBombError, ProbeError):
            return None
        small.thumbnail((self.px, self.px), Image.Resampling.LANCZOS)
        return small

    def encoded(self, keys: Iterable[Key], advance: Callable[[int], None]) -> list[bytes | None]:
        """WebP of each, in order."""
        found = []
        with ThreadPoolExecutor(THREADS) as pool:
            for content in pool.map(self._encode, keys):
                found.append(content)
                advance(1)
        return found

    def _encode(self, key: Key) -> bytes | None:
        thumbnail = self.get(*key)
        if thumbnail is None:
            return None
        content = io.BytesIO()
        thumbnail.save(content, "WEBP", quality=62, method=4)
        return content.getvalue()
