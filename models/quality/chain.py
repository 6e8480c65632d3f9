"""Whether records stand where they were made: the inspections of a stage, and what people said of them (edge/chain.py)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edge import Chain, Event, hash_of, plain_data

__all__ = ["Chain", "breaks", "taken_out"]


def breaks(events: Iterable[Event]) -> Iterator[tuple[Event, str]]:
    """Each record of one chain, in the journal's order, that does not stand where it was made, with why. Records without a hash are
    passed over, but for a review after one that has one. The first one may follow one that is no longer kept; a chain may begin
    anew where the journal did."""
    last: str | None = None
    for event in events:
        said = event.data.get("hash")
        if said is None:
            if last is not None and event.kind == "review":
                yield event, "it has no hash, and those before it have one: it was put in"
            continue
        before = event.data.get("before")
        if said != hash_of(event, plain_data(event.data)):
            yield event, "it was changed after it was made"
        elif last is not None and before != last:
            yield (
                event,
                "the record before it is another one: one was taken out or put in"
                if before
                else "a chain begins anew here",
            )
        last = str(said)


def taken_out(events: Iterable[Event]) -> list[Event]:
    """Orders of the plane to review a part that were carried out, and whose review is not there: no chain tells of its newest
    record."""
    events = list(events)
    orders = [e for e in events if e.kind == "command" and e.key == "review" and not e.state]
    reviewed = {event.data.get("number") for event in events if event.kind == "review"}
    return [order for order in orders if order.data.get("number") not in reviewed]
