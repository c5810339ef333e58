"""Damage to a file's bytes: what disks, transfers, editors and people do to one.

A mutation is decided by the generator alone, so that a seed gives it again.

    mutate(content, random.Random("0 store 17"))
"""

from collections.abc import Callable
from random import Random

NUMBERS = (b"0", b"-1", b"1e999", b"NaN", b"4020.0", b"9223372036854775808", b"4611686018427387904", b"0.5")
DIGITS = b"0123456789"


def mutate(content: bytes, chance: Random) -> bytes:
    """Other bytes than `content`, by one or two of the KINDS."""
    damaged = content
    while damaged == content:
        for _ in range(chance.choice((1, 1, 1, 2))):
            damaged = chance.choice(KINDS)(damaged, chance)
    return damaged


def flip_bit(content: bytes, chance: Random) -> bytes:
    start, _ = _range(content, chance, 1)
    return _replaced(content, start, bytes(byte ^ 1 << chance.randrange(8) for byte in content[start : start + 1]))


def change_bytes(content: bytes, chance: Random) -> bytes:
    start, stop = _range(content, chance, 8)
    return _replaced(content, start, chance.randbytes(stop - start))


def cut_off(content: bytes, chance: Random) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def insert(content: bytes, chance: Random) -> bytes:
    start, _ = _range(content, chance, 1)
    return content[:start] + chance.randbytes(chance.randint(1, 16)) + content[start:]


def delete(content: bytes, chance: Random) -> bytes:
    start, stop = _range(content, chance, 64)
    return content[:start] + content[stop:]


def repeat(content: bytes, chance: Random) -> bytes:
    start, stop = _range(content, chance, 512)
    return content[:stop] + content[start:stop] + content[stop:]


def zero(content: bytes, chance: Random) -> bytes:
    """A hole, as in a sparse copy."""
    start, stop = _range(content, chance, 4096)
    return _replaced(content, start, bytes(stop - start))


def swap_blocks(content: bytes, chance: Random) -> bytes:
    first, second = sorted(_range(content, chance, 1)[0] for _ in range(2))
    size = min(chance.choice((1, 16, 512, 4096)), second - first)
    one, other = content[first : first + size], content[second : second + size]
    return _replaced(_replaced(content, first, other), second, one[: len(other)])


def edit_number(content: bytes, chance: Random) -> bytes:
    """Of a text: a run of digits becomes another number."""
    start = next((at for at in range(_range(content, chance, 1)[0], len(content)) if content[at] in DIGITS), None)
    if start is None:
        return content
    stop = next((at for at in range(start, len(content)) if content[at] not in DIGITS), len(content))
    return content[:start] + chance.choice(NUMBERS) + content[stop:]


KINDS: tuple[Callable[[bytes, Random], bytes], ...] = (
    flip_bit,
    change_bytes,
    cut_off,
    insert,
    delete,
    repeat,
    zero,
    swap_blocks,
    edit_number,
)


def _range(content: bytes, chance: Random, longest: int) -> tuple[int, int]:
    """A place in it, of at least one byte where there is one."""
    start = chance.randrange(len(content)) if content else 0
    return start, min(len(content), start + chance.randint(1, longest))


def _replaced(content: bytes, start: int, piece: bytes) -> bytes:
    return content[:start] + piece + content[start + len(piece) :]
