"""The way out: what may be written, in which order, and how each write ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from edge import Event, LinesideError, Write
from edge.clock import SECOND
from edge.tags import Tag, TagTable
from edge.testing import VirtualClock, virtual_run
from edge.writes import MOST_WAITING, WITHIN, WriteQueue, Writes


class Rig:
    def __init__(self) -> None:
        names = ["plc.a", "plc.b", "plc.fixed", *(f"plc.t{i}" for i in range(MOST_WAITING))]
        self.table = TagTable.numbered(
            Tag(n, source="plc", writable=None if n == "plc.fixed" else (0.0, 10.0)) for n in names
        )
        self.clock = VirtualClock()
        self.writes = Writes(self.table, self.clock)
        self.ended: list[Event] = []
        self.queue = self.writes.queues["plc"] = WriteQueue(self.table, self.clock, self.ended.append)
        self.sent: list[tuple[str, float]] = []
        self.error: BaseException | None = None
        self.hangs = False

    async def write(self, order: Write) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        self.sent.append((self.table.by_id(order.tag).name, order.value))

    def put(self, name: str, value: float, **more: Any) -> list[Event]:
        return self.writes(Write(self.table[name].id, value, **more))

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(e.key, e.state) for e in self.ended]


def rig(work: Callable[[Rig], Awaitable[None]]) -> None:
    async def main() -> None:
        it = Rig()
        serving = asyncio.ensure_future(it.queue.serve(it))
        try:
            await work(it)
            assert not serving.done(), "the queue must be served for ever"
        finally:
            serving.cancel()

    virtual_run(main())


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("plc.fixed", 1, "read-only"), ("plc.a", 11, "outside"), ("plc.a", float("nan"), "outside")],
)
def test_what_the_site_does_not_allow_is_refused(name: str, value: float, words: str) -> None:
    async def work(it: Rig) -> None:
        (event,) = it.put(name, value)
        assert event.state == "refused" and words in event.text and event.key == name
        await asyncio.sleep(1)
        assert not it.sent

    rig(work)


def test_a_tag_that_is_nobodys_is_refused_and_not_taken_for_another() -> None:
    async def work(it: Rig) -> None:
        for number in (-1, 0, 999_999, len(it.table) + 1):
            (event,) = it.writes(Write(number, 1.0))
            assert event.state == "refused" and "not part of this site" in event.text
        await asyncio.sleep(1)
        assert not it.sent

    rig(work)


def test_the_newest_wins_and_the_older_is_told() -> None:
    async def work(it: Rig) -> None:
        assert not it.put("plc.a", 1) and not it.put("plc.b", 5)
        (older,) = it.put("plc.a", 2)
        assert (older.state, older.data["value"]) == ("superseded", 1)
        await asyncio.sleep(1)
        assert sorted(it.sent) == [("plc.a", 2), ("plc.b", 5)] and it.states.count(("plc.a", "done")) == 1

    rig(work)


def test_a_full_queue_refuses() -> None:
    async def work(it: Rig) -> None:
        for i in range(MOST_WAITING):
            assert not it.put(f"plc.t{i}", 1)
        (event,) = it.put("plc.a", 1)
        assert event.state == "refused" and "waiting already" in event.text

    rig(work)


def test_what_waited_too_long_is_refused_not_sent_late() -> None:
    async def work(it: Rig) -> None:
        it.hangs = True
        it.put("plc.a", 1)
        await asyncio.sleep(1)
        it.put("plc.b", 1, expires=it.clock.mono() + SECOND)
        it.hangs = False
        await asyncio.sleep(WITHIN + 1)
        assert it.states == [("plc.a", "failed"), ("plc.b", "refused")] and not it.sent

    rig(work)


@pytest.mark.parametrize("error", [LinesideError("no"), OSError("gone"), ValueError("a bug"), KeyError("another")])
def test_a_write_that_fails_is_told_and_the_next_is_served(error: Exception) -> None:
    async def work(it: Rig) -> None:
        it.error = error
        it.put("plc.a", 1)
        await asyncio.sleep(1)
        it.put("plc.b", 2)
        await asyncio.sleep(1)
        assert it.states == [("plc.a", "failed"), ("plc.b", "done")] and it.sent == [("plc.b", 2)]

    rig(work)


def test_a_driver_that_gives_a_write_up_ends_no_queue() -> None:
    async def work(it: Rig) -> None:
        it.error = asyncio.CancelledError()
        it.put("plc.a", 1)
        await asyncio.sleep(1)
        it.put("plc.b", 2)
        await asyncio.sleep(1)
        assert it.states == [("plc.a", "failed"), ("plc.b", "done")]

    rig(work)


def test_writes_that_the_end_of_their_driver_overtakes_are_told() -> None:
    async def main() -> None:
        it = Rig()
        it.hangs = True
        serving = asyncio.ensure_future(it.queue.serve(it))
        it.put("plc.a", 1)
        await asyncio.sleep(1)
        it.put("plc.b", 2)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        assert serving.cancelled() and it.states == [("plc.a", "failed"), ("plc.b", "failed")]
        assert "may have been done" in it.ended[0].text and "may have" not in it.ended[1].text

    virtual_run(main())
