"""Reading a text file that someone published: UTF-8, or an error that names the line.

text(Path("list_eval_partition.txt"))
"""

import codecs
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from probe.errors import UsageError


def text(path: Path) -> str:
    """Raises UsageError where a line is not UTF-8, or the text is UTF-16. A byte order mark is no part of the text."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).") from error
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content[:2]:
        raise UsageError(f"{path} is UTF-16 text; save it as UTF-8, or download it again.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}, line {line}: not UTF-8 text; convert the file, or download it again.") from error


def read_json(path: Path, keys_are_data: bool = False) -> Any:
    """Raises UsageError for a file that is no JSON, with the line; and for a key that comes twice in one object, of
    which JSON would keep the last, where keys are data."""
    try:
        return json.loads(text(path), object_pairs_hook=_distinct(path) if keys_are_data else None)
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise UsageError(f"{path}, line {line}: not JSON ({error}); download the file again.") from error


def _distinct(path: Path) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
            raise UsageError(
                f"{path} has the key {twice!r} twice in one object; correct the file or download it again."
            )
        return found

    return as_dict
