"""A spec: the JSON object that says what produced a store. Its fingerprint is the SHA-256 of its canonical JSON.

Two specs have the same fingerprint exactly when they are equal as JSON, whatever the order of their keys.

    fingerprint({"backbone": {"model": "vit_b16"}, "dtype": "float16"})   # '5f0c…', 64 hex digits
"""

import hashlib
import json
from typing import Any, NamedTuple

Spec = dict[str, Any]
Location = dict[str, str]
"""Where weights lay when features were made with them, such as a file's path."""
Evidence = dict[str, Any]
"""What was compared before features were made, and what came of it, as JSON."""


class Remarks(NamedTuple):
    """What a store says of its features beside their spec. It decides nothing."""

    weights: Location | None = None
    evidence: Evidence | None = None


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; NaN and infinity are refused (ValueError)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(value: Any) -> str:
    """SHA-256 of the canonical JSON, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def differences(ours: Spec, theirs: Spec, prefix: str = "") -> list[str]:
    """One line `key: ours, not theirs` for each leaf in which two specs differ, in order of the keys."""
    lines = []
    for key in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(key), theirs.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            lines += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {canonical_json(a)}, not {canonical_json(b)}")
    return lines
