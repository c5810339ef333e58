"""Reading a text file that someone published: UTF-8, or an error that names the line.

text(Path("list_eval_partition.txt"))
"""

import json
from pathlib import Path
from typing import Any

from probe.errors import UsageError


def text(path: Path) -> str:
    """Raises UsageError where a line is not UTF-8. A byte order mark is no part of the text."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}, line {line}: not UTF-8 text; convert the file, or download it again.") from error


def json_of(path: Path) -> Any:
    """Raises UsageError for a file that is no JSON, with the line."""
    try:
        return json.loads(text(path))
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise UsageError(f"{path}, line {line}: not JSON ({error}); download the file again.") from error
