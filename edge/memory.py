"""What a driver remembers of its device over restarts: one small JSON object for each name under `drivers:`.

It lies among the journal's snapshots as `driver:NAME`, so it is as safe as they are and goes with the journal. What was kept by
another kind of driver, by another version of this envelope, or is damaged, counts as nothing remembered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .records import reading, snapshots

PREFIX = "driver:"
MOST_REMEMBERED = 64_000  # bytes
_VERSION = 1


def packed(kind: str, facts: Mapping[str, Any]) -> bytes:
    """`facts` of a driver of this kind, for the journal. Raises ValueError where they are too many, or are not JSON."""
    try:
        body = json.dumps([_VERSION, kind, dict(facts)], ensure_ascii=False, allow_nan=False).encode()
    except TypeError as error:
        raise ValueError(f"cannot be remembered: {error}") from None
    if len(body) > MOST_REMEMBERED:
        raise ValueError(f"cannot be remembered: {len(body)} bytes, at most {MOST_REMEMBERED} are kept")
    return body


def unpacked(kind: str, body: bytes | None) -> dict[str, Any]:
    """What `packed` made, or {}."""
    if body is None or len(body) > MOST_REMEMBERED:
        return {}
    try:
        version, by, facts = json.loads(body)
    except (ValueError, TypeError, RecursionError):
        return {}
    return facts if (version, by) == (_VERSION, kind) and isinstance(facts, dict) else {}


def remembered(journal: Path, kinds: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What the journal holds for drivers {name: kind}, for tools. Raises LinesideError where the file is damaged."""
    if not journal.is_file():
        return {}
    with reading(journal) as db:
        rows = snapshots(db)
    return {name: unpacked(kind, rows.get(PREFIX + name)) for name, kind in kinds.items()}
