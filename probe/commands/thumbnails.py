"""Images in a terminal that can show them, by kitty's graphics protocol or iTerm2's inline images: one strip of
thumbnails, so that a terminal needs to know nothing of where they stand.

    protocol = images_of_terminal(os.environ, sys.stdout.isatty())
    if protocol:
        sys.stdout.write(escapes(strip([image, other]), protocol, columns=40))
"""

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Literal

from PIL import Image

Protocol = Literal["kitty", "iterm2"]

PX = 128  # of a thumbnail, which is square
GAP = 8  # px between two
CELLS = 10  # columns that one takes
CHUNK = 4096  # characters, which kitty takes at once
KITTY = {"xterm-kitty", "xterm-ghostty"}  # TERM
ITERM2 = {"iTerm.app", "WezTerm", "mintty"}  # TERM_PROGRAM


def images_of_terminal(environment: Mapping[str, str], is_terminal: bool) -> Protocol | None:
    """How the terminal shows images, by the variables that terminals set. None within tmux and screen, which keep what
    they do not know from the terminal."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if not is_terminal or term.startswith(("tmux", "screen")) or "TMUX" in environment:
        return None
    if term in KITTY:
        return "kitty"
    return "iterm2" if program in ITERM2 else None


def strip(images: Sequence[Image.Image | None]) -> Image.Image:
    """RGBA: one beside the other, each in a square; an empty one where there is no image."""
    whole = Image.new("RGBA", (len(images) * (PX + GAP) - GAP, PX))
    for number, image in enumerate(images):
        if image is not None:
            small = image.copy()
            small.thumbnail((PX, PX), Image.Resampling.LANCZOS)
            whole.paste(small, (number * (PX + GAP) + (PX - small.width) // 2, (PX - small.height) // 2))
    return whole


def escapes(image: Image.Image, protocol: Protocol, columns: int) -> str:
    """What shows the image, so many columns wide, and begins a new line."""
    file = BytesIO()
    image.save(file, "PNG")
    content = base64.b64encode(file.getvalue()).decode()
    if protocol == "iterm2":
        return f"\x1b]1337;File=inline=1;width={columns};preserveAspectRatio=1:{content}\a\n"
    chunks = [content[start : start + CHUNK] for start in range(0, len(content), CHUNK)]
    first = f"a=T,f=100,q=2,c={columns},"
    sent = [
        f"\x1b_G{'' if number else first}m={int(number < len(chunks) - 1)};{chunk}\x1b\\"
        for number, chunk in enumerate(chunks)
    ]
    return "".join(sent) + "\n"
