"""What a terminal is sent is the image, by the protocol that it knows; one that knows none is sent nothing."""

import base64
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from probe.commands.thumbnails import CHUNK, GAP, PX, Protocol, escapes, images_of_terminal, strip


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def sent(text: str, protocol: Protocol) -> Image.Image:
    """As the terminal puts it together."""
    if protocol == "iterm2":
        (content,) = re.findall(r"\x1b\]1337;File=[^:]*:([A-Za-z0-9+/=]+)\a", text)
    else:
        parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
        assert all(len(chunk) <= CHUNK for _, chunk in parts)
        assert [head.rpartition("m=")[2] for head, _ in parts] == ["1"] * (len(parts) - 1) + ["0"]
        content = "".join(chunk for _, chunk in parts)
    return Image.open(BytesIO(base64.b64decode(content)))


@pytest.mark.parametrize("protocol", ["kitty", "iterm2"])
def test_the_strip_arrives_whole(protocol: Protocol):
    made = strip([noise(300, 100), None, noise(20, 40)])
    assert made.size == (3 * PX + 2 * GAP, PX)
    text = escapes(made, protocol, columns=30)
    assert text.endswith("\n")
    assert re.search(r"(width|c)=30[;,]", text)
    assert np.array_equal(np.asarray(sent(text, protocol)), np.asarray(made))
    squares = [np.asarray(made)[:, start : start + PX, 3] for start in range(0, made.width, PX + GAP)]
    assert [square.any() for square in squares] == [True, False, True]


@pytest.mark.parametrize(
    ("environment", "known"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-ghostty", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, None),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, None),
        ({"TERM": "screen-256color", "TERM_PROGRAM": "iTerm.app"}, None),
        ({}, None),
    ],
)
def test_it_is_sent_only_to_terminals_that_show_it(environment: dict[str, str], known: Protocol | None):
    assert images_of_terminal(environment, is_terminal=True) == known
    assert images_of_terminal(environment, is_terminal=False) is None
