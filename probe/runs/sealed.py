"""The digests of a folder's files, so that a flipped bit, or a file of another folder, is not taken for a result.

`digests.json` is written last, and has a digest of its own, which zeros do not satisfy.

    seal(folder)
    read_digests(folder)["metrics.json"] == digest_of(folder / "metrics.json")
"""

import json
from pathlib import Path

import xxhash

DIGESTS = "digests.json"
BLOCK_BYTES = 4 << 20


def digest_of(file: Path) -> str:
    """128 bits of its content, as hex digits."""
    found = xxhash.xxh3_128()
    with file.open("rb") as content:
        while block := content.read(BLOCK_BYTES):
            found.update(block)
    return found.hexdigest()


def seal(folder: Path) -> None:
    """Writes the digests of the files that are in the folder."""
    files = {file.name: digest_of(file) for file in sorted(folder.iterdir()) if file.is_file() and file.name != DIGESTS}
    content = {"files": files, "seal": _of_all(files)}
    (folder / DIGESTS).write_text(f"{json.dumps(content, indent=1)}\n", encoding="utf-8")


def read_digests(folder: Path) -> dict[str, str]:
    """By file name. Raises OSError where there are none, and ValueError where they are not what was written."""
    content = json.loads((folder / DIGESTS).read_bytes())
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict) or content.get("seal") != _of_all(files):
        raise ValueError("its digests are not what was written")
    return files


def _of_all(files: dict[str, str]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(files, sort_keys=True).encode())
