"""Records that hold the hash of the one before, so that none can be changed, taken out or put in afterwards without a trace.

A hash is SHA-256 over the hash before it, the key, state, time and text of the event, the digests of its pictures, and its data as
JSON with sorted keys. Whoever owns the device can make a new chain from the first change on; what shows that is any later hash that
is kept elsewhere: the plane has every record that it acknowledged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from .event import Event, plain_data

FIRST = ""  # what stands before the first record of a chain


class Chain:
    """`last` is the hash of its newest record, and all that has to survive."""

    def __init__(self, last: str = FIRST) -> None:
        self.last = last

    def link(self, event: Event) -> Event:
        """The event as the next record: `before` and `hash` in its data. Its `ts` has to be given."""
        data = plain_data(event.data) | {"before": self.last}
        self.last = data["hash"] = hash_of(event, data)
        return Event(
            event.kind, event.key, event.state, event.ts, event.severity, event.text, data, event.refs, event.id
        )


def hash_of(event: Event, data: Mapping[str, Any]) -> str:
    """The hash of a record whose data say what was `before`."""
    said = {k: v for k, v in data.items() if k != "hash"}
    whole = [event.key, event.state, event.ts, event.text, list(event.refs), said]
    return hashlib.sha256(
        json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    ).hexdigest()
