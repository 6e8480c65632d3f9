"""What people say of inspections: each review is an event, and they are one chain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from .chain import Chain
from .clock import Clock
from .errors import LinesideError
from .event import Event
from .records import sound_events

if TYPE_CHECKING:
    from .journal import Journal

MOST_WORDS = 1000  # characters of what a person says of a part
MOST_NAME = 80
OLD = 50_000  # reviews that are looked through at the first one after a start
LAST_NUMBER = 2**63 - 1


class Reviews:
    """Of one daemon. A part's second review is a correction: it names the one that its author saw, and both are kept. The chain
    goes on from what is durable: a review that the journal cannot keep never was."""

    def __init__(self, journal: Journal, clock: Clock, accept: Callable[[Event], None]) -> None:
        self._journal, self._clock, self._accept = journal, clock, accept
        self._chain: Chain | None = None
        self._newest: dict[Any, Event] = {}  # by the inspection's number in the journal, and by its id
        self._one = asyncio.Lock()
        self._settling: asyncio.Task[str] | None = None

    @contextlib.asynccontextmanager
    async def turn(self, seq: Any) -> AsyncIterator[Event | None]:
        """Within it nobody else's review is taken. Gives the inspection of this number in the journal; None where none is kept."""
        await self._one.acquire()
        try:
            yield await self.about(seq)
        finally:
            settling, self._settling = self._settling, None
            if settling is None or settling.done():
                self._one.release()
            else:  # who waited for it was cancelled
                settling.add_done_callback(lambda _: self._one.release())

    async def about(self, seq: Any) -> Event | None:
        if self._chain is None:
            self._chain = await self._read()
        return await self._journal.ask(_inspection, seq) if _is_number(seq) else None

    async def taken(self, inspection: Event, said: Mapping[str, Any], order: Event | None = None) -> Event:
        """The review of an inspection, next in the chain, durable in one commit with the `order` for it. Within `turn`; both are
        accepted before anything is waited for. `said`: `seq` (the inspection's number), `state`, `by`, and where there are any
        `label`, `text`, `number` (of the order) and `corrects` (the hash of the newest review of this part, or its id). Raises
        LinesideError where it cannot be one, or the journal cannot keep it; then there is neither."""
        review = self._made(inspection, said)
        both = [order, review] if order else [review]
        for event in both:
            self._accept(event)
        self._settling = asyncio.ensure_future(self._settle(review, both))
        if why := await asyncio.shield(self._settling):
            raise LinesideError(f"the journal cannot keep it: {why}", hint="say it again when it can")
        return review

    async def _settle(self, review: Event, both: list[Event]) -> str:
        """Why these are not durable, and taken back; empty where they are."""
        assert self._chain is not None
        if await self._journal.commit():
            self._keep(self._chain, review)
            return ""
        why = self._journal.trouble
        if await self._journal.withdraw(both):
            return why
        self._chain = None  # another commit took them: what it made of them stands in the journal
        self._chain = await self._read()
        return "" if self._chain.last == review.data["hash"] else why

    def _made(self, inspection: Event, said: Mapping[str, Any]) -> Event:
        assert self._chain is not None
        state, by, seq = said.get("state"), _words(said, "by", MOST_NAME), said.get("seq")
        if state not in ("ok", "ng"):
            raise LinesideError(f"a part is ok or ng, not {str(state)[:40]!r}")
        if not by or not _is_number(seq):
            raise LinesideError("a review says of which inspection it is, and by whom" if by else "who looked?")
        newest = self._newest.get(seq) or self._newest.get(inspection.id)
        corrects = str(said.get("corrects") or "")
        if newest is not None and corrects != name_of(newest):
            words = " ".join(filter(None, (newest.state.upper(), str(newest.data.get("label", "")))))
            hint = "look at that one; who thinks otherwise corrects it, and both are kept"
            who = newest.data.get("by", "somebody")
            raise LinesideError(
                f"part {inspection.data.get('part')} was reviewed already: {who} says {words}", hint=hint
            )
        if newest is None and corrects:
            raise LinesideError("the review that this one corrects is not here")
        data = {
            "of": inspection.id,
            "seq": seq,
            "part": inspection.data.get("part"),
            "said": inspection.state,
            "by": by,
        }
        told = {"record": inspection.data.get("hash"), "label": _words(said, "label", MOST_NAME), "corrects": corrects}
        data |= {name: value for name, value in told.items() if value} | {k: said[k] for k in ("number",) if k in said}
        text, ts = _words(said, "text", MOST_WORDS), self._clock.utc()
        return Chain(self._chain.last).link(Event("review", inspection.key, state, ts, text=text, data=data))

    async def _read(self) -> Chain:
        chain = Chain()
        for event in await self._journal.ask(_kept):
            self._keep(chain, event)
        return chain

    def _keep(self, chain: Chain, event: Event) -> None:
        chain.last = str(event.data.get("hash", chain.last))
        for name in {event.data.get("of"), event.data.get("seq")} - {None, ""}:
            self._newest[name] = event


def name_of(review: Event) -> str:
    """What a correction calls the review that it corrects."""
    return str(review.data.get("hash") or review.id)


def _is_number(seq: Any) -> bool:
    return isinstance(seq, int) and not isinstance(seq, bool) and 0 < seq <= LAST_NUMBER


def _words(said: Mapping[str, Any], name: str, most: int) -> str:
    return str(said.get(name) or "").replace("\0", "").encode(errors="replace").decode().strip()[:most]


def _kept(db: Any) -> list[Event]:
    newest = f"WHERE seq IN (SELECT seq FROM event WHERE kind = 'review' ORDER BY seq DESC LIMIT {OLD}) ORDER BY seq"
    return list(sound_events(db, newest))


def _inspection(db: Any, seq: int) -> Event | None:
    return next(sound_events(db, "WHERE kind = 'inspection' AND seq = ?", (seq,)), None)
