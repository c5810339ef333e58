"""Small pictures of a manifest's images, made when they are asked for, from files or from tar shards.

pictures = Pictures(manifest, px=96)
pictures.get("pocket", "coins/1.jpg")       # a PIL image whose longer side is 96 px; None where there is none to show
"""

import io
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from probe.data.decoding import decode
from probe.data.images import read_image
from probe.data.manifest import Manifest
from probe.errors import ProbeError

Key = tuple[str, str]  # source and image id
THREADS = 4  # Pillow decodes without the interpreter's lock


@dataclass(frozen=True)
class Pictures:
    """`px`: the longer side; what is smaller stays as it is."""

    manifest: Manifest
    px: int

    def get(self, source: str, image: str) -> Image.Image | None:
        """None when the image is gone, cannot be decoded, or its source's folder is not known."""
        root = self.manifest.roots.get(source)
        if root is None:
            return None
        try:
            picture = decode(io.BytesIO(read_image(root, image)))
        except (OSError, KeyError, ValueError, SyntaxError, Image.DecompressionBombError, ProbeError):
            return None
        picture.thumbnail((self.px, self.px), Image.Resampling.LANCZOS)
        return picture

    def encoded(self, keys: Iterable[Key], advance: Callable[[int], None]) -> list[bytes | None]:
        """WebP of each, in order."""
        found = []
        with ThreadPoolExecutor(THREADS) as pool:
            for content in pool.map(self._encode, keys):
                found.append(content)
                advance(1)
        return found

    def _encode(self, key: Key) -> bytes | None:
        picture = self.get(*key)
        if picture is None:
            return None
        content = io.BytesIO()
        picture.save(content, "WEBP", quality=62, method=4)
        return content.getvalue()
