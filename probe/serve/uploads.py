"""An upload is anybody's bytes: received up to a limit, and decoded only where its header says that it is small enough.

async with uploads.received(request) as content:
    image = decoded(content, limits)
"""

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO

from fastapi import Request
from PIL import Image

from probe.data import decode
from probe.index import Box
from probe.serve.limits import Limits
from probe.serve.refusals import Refused

FORMATS = "JPEG, PNG, WebP, GIF, BMP, TIFF, JPEG 2000, PPM or AVIF"


class Uploads:
    """Those that are in memory. For one event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.held = limits, 0

    @asynccontextmanager
    async def received(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request, which counts as held until the end of the block.

        Raises Refused: 413 for one that is too large, 408 for one that is too slow, 400 for an empty one, 503 where
        others have the memory.
        """
        content = bytearray()
        try:
            await self._fill(content, request)
            yield bytes(content)
        finally:
            self.held -= len(content)

    async def _fill(self, content: bytearray, request: Request) -> None:
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self.limits.upload_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self.limits.seconds):
                async for chunk in request.stream():
                    self._hold(content, chunk)
        except TimeoutError:
            raise Refused(408, f"the upload took longer than {self.limits.seconds:g} s; send it again.") from None
        if not content:
            raise Refused(400, "there is no image in the request; send the file's bytes as its body.")

    def _hold(self, content: bytearray, chunk: bytes) -> None:
        if len(content) + len(chunk) > self.limits.upload_bytes:
            raise self._too_large()
        if self.held + len(chunk) > self.limits.held_bytes:
            raise Refused(503, "too many uploads at once; send it again in a moment.")
        content += chunk
        self.held += len(chunk)

    def _too_large(self) -> Refused:
        return Refused(413, f"the file is larger than {self.limits.upload_bytes / 1e6:,.0f} MB; send a smaller one.")


def decoded(content: bytes, limits: Limits) -> Image.Image:
    """RGB, upright. Raises Refused: 415 for what is no image, 413 for one of too many pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is below
            return decode(BytesIO(content), max_pixels=limits.pixels)
    except (Image.DecompressionBombError, MemoryError):
        raise Refused(413, f"the image has more than {limits.pixels:,} pixels; send a smaller one.") from None
    except Exception:  # decoders raise anything on hostile bytes
        raise Refused(415, f"this is no image that can be read; send a whole {FORMATS} file.") from None


def part_of(image: Image.Image, box: Box | None, limits: Limits) -> Image.Image:
    """The part in the box, or the image. Raises Refused where the box is outside, and for what is all too narrow."""
    if box is not None:
        if box.x + box.w > image.width or box.y + box.h > image.height:
            raise Refused(422, f"the box goes beyond the image, of {image.width} x {image.height} pixels; move it.")
        image = image.crop((box.x, box.y, box.x + box.w, box.y + box.h))
    if max(image.size) > limits.elongation * min(image.size):
        raise Refused(
            422,
            f"{image.width} x {image.height} pixels are too narrow: one side is {limits.elongation} times the other.",
        )
    return image
