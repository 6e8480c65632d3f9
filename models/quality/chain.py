"""The passport of a part: each record holds the hash of the one before it, so that none can be changed, taken out or put in
afterwards without breaking the chain.

A hash is SHA-256 over the hash before it, the key, state and time of the inspection, the digests of its pictures, and its data as
JSON with sorted keys. Whoever owns the device can make a new chain from the first change on; what shows that is any later hash that
is kept elsewhere: the plane has every record that it acknowledged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from edge import Event, plain_data

FIRST = ""  # what stands before the first record of a chain


class Chain:
    """The chain of one stage. `last` is the hash of its newest record, and all that has to survive."""

    def __init__(self, last: str = FIRST) -> None:
        self.last = last

    def link(self, event: Event) -> Event:
        """The event as the next record: `before` and `hash` in its data. Its `ts` has to be given."""
        data = plain_data(event.data) | {"before": self.last}
        self.last = data["hash"] = of(event, data)
        return Event(
            event.kind, event.key, event.state, event.ts, event.severity, event.text, data, event.refs, event.id
        )


def of(event: Event, data: Mapping[str, Any]) -> str:
    """The hash of a record whose data say what was `before`."""
    said = {k: v for k, v in data.items() if k != "hash"}
    whole = [event.key, event.state, event.ts, event.text, list(event.refs), said]
    return hashlib.sha256(
        json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    ).hexdigest()


def breaks(events: Iterable[Event]) -> Iterator[tuple[Event, str]]:
    """Each record of one stage, in the journal's order, that does not stand where it was made, with why. Records without a hash are
    passed over. The first one may follow one that is no longer kept; a chain may begin anew where the journal did."""
    last: str | None = None
    for event in events:
        said = event.data.get("hash")
        if said is None:
            continue
        before = event.data.get("before")
        if said != of(event, plain_data(event.data)):
            yield event, "it was changed after it was made"
        elif last is not None and before != last:
            yield (
                event,
                "a chain begins anew here"
                if before == FIRST
                else "the record before it is another one: one was taken out or put in",
            )
        last = str(said)
