"""The way out: what may be written, in which order, whether it holds, and how each write ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from edge import Event, LinesideError, Writable, Write, WriteRefused
from edge.clock import SECOND
from edge.tags import Tag, TagTable
from edge.testing import VirtualClock, virtual_run
from edge.writes import MOST_WAITING, SETTLES, WITHIN, Writes

PLAIN = Writable(range=(0, 10))
ALLOWED = {
    "plc.fixed": None,
    "plc.slow": Writable(range=(0, 10), every=60.0),
    "plc.exact": Writable(range=(0, 10), readback=True),
    "plc.near": Writable(range=(0, 10), readback=0.25),
    "plc.brief": Writable(range=(0, 10), expires=1.0),
    "plc.mode": Writable(one_of=("AUTO", "HAND", ""), readback=True),
    "plc.recipe": Writable(longest=5),
}


class Rig:
    """A table, its writes, and a device: `error` is raised by the next write, `shows` is what a read finds then."""

    def __init__(self) -> None:
        names = ["plc.a", "plc.b", *ALLOWED, *(f"plc.t{i}" for i in range(MOST_WAITING))]
        kinds = {"plc.mode": "text", "plc.recipe": "text"}
        self.table = TagTable.numbered(
            Tag(n, type=kinds.get(n, "float64"), source="plc", writable=ALLOWED.get(n, PLAIN)) for n in names
        )
        self.clock = VirtualClock()
        self.writes = Writes(self.table, self.clock)
        self.ended: list[Event] = []
        self.queue = self.writes.open("plc", self.ended.append)
        self.sent: list[tuple[str, float | str]] = []
        self.held: dict[int, Any] = {}
        self.error: BaseException | None = None
        self.shows: Callable[[Any], Any] = lambda value: value
        self.hangs = False

    async def write(self, order: Write) -> float | str | None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        self.sent.append((self.table.by_id(order.tag).name, order.value))
        self.held[order.tag] = order.value
        return _stored(order.value)

    async def read(self, tag: int) -> float | str:
        return _stored(self.shows(self.held[tag]))

    def put(self, name: str, value: float | str, **more: Any) -> list[Event]:
        return self.writes(Write(self.table[name].id, value, **more))

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(e.key, e.state) for e in self.ended]


def _stored(value: Any) -> Any:
    """As a register with a step of 0.1 holds it."""
    return value if isinstance(value, str) else round(value, 1)


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


def test_of_a_quiet_order_only_what_goes_wrong_is_told() -> None:
    async def work(it: Rig) -> None:
        assert not it.put("plc.a", 1, quiet=True) and not it.put("plc.a", 2, quiet=True)
        assert not it.put("plc.exact", 3, quiet=True)
        await asyncio.sleep(1)
        assert it.sent == [("plc.a", 2), ("plc.exact", 3)] and not it.ended
        it.error = LinesideError("nobody there")
        it.put("plc.a", 3, quiet=True)
        await asyncio.sleep(1)
        assert it.states == [("plc.a", "failed")] and it.put("plc.a", 11, quiet=True)[0].state == "refused"

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


# How often, how old, and whether it holds


def test_more_than_the_rate_allows_is_refused_and_said_with_who_and_why() -> None:
    async def work(it: Rig) -> None:
        assert not it.put("plc.slow", 1, cause="alarm hot")
        await asyncio.sleep(20)
        (event,) = it.put("plc.slow", 2, cause="user anna")
        assert (event.key, event.state, event.data["value"], event.data["cause"]) == (
            "plc.slow",
            "refused",
            2,
            "user anna",
        )
        assert event.text == "2 by user anna: plc.slow takes one write in 1min; the last was 20.0 s ago"
        assert not it.put("plc.a", 2), "other tags are not concerned"
        await asyncio.sleep(40)
        assert not it.put("plc.slow", 3)
        await asyncio.sleep(1)
        assert [sent for sent in it.sent if sent[0] == "plc.slow"] == [("plc.slow", 1), ("plc.slow", 3)]

    rig(work)


def test_a_refused_order_does_not_count_against_the_rate() -> None:
    async def work(it: Rig) -> None:
        assert it.put("plc.slow", 99)[0].state == "refused"
        assert not it.put("plc.slow", 1) and it.put("plc.slow", 2)[0].state == "superseded", "nothing was sent yet"
        await asyncio.sleep(1)
        assert it.sent == [("plc.slow", 2)]

    rig(work)


def test_an_order_that_the_driver_refuses_does_not_count_against_the_rate() -> None:
    async def work(it: Rig) -> None:
        it.error = WriteRefused("the node is a Byte")
        it.put("plc.slow", 1)
        await asyncio.sleep(1)
        assert it.states == [("plc.slow", "refused")] and not it.put("plc.slow", 2)
        await asyncio.sleep(1)
        it.error = LinesideError("no answer")
        assert it.put("plc.slow", 3)[0].state == "refused", "one that was sent counts"
        assert it.sent == [("plc.slow", 2)]

    rig(work)


def test_an_order_waits_no_longer_than_its_tag_says() -> None:
    async def work(it: Rig) -> None:
        it.hangs = True
        it.put("plc.a", 1)
        await asyncio.sleep(1)
        it.put("plc.brief", 1)
        it.put("plc.b", 1, expires=it.clock.mono() + 3600 * SECOND)
        it.hangs = False
        await asyncio.sleep(WITHIN + 1)
        assert it.states == [("plc.a", "failed"), ("plc.brief", "refused"), ("plc.b", "refused")] and not it.sent
        assert "came too late: an order for plc.brief is good for 1s" in it.ended[1].text

    rig(work)


@pytest.mark.parametrize(
    ("tag", "value", "shows", "state"),
    [
        ("plc.exact", 5, lambda value: value, "done"),
        ("plc.exact", 5.04, lambda value: value, "done"),  # stored as 5.0, as the driver says
        ("plc.exact", 5, lambda value: value + 0.1, "failed"),
        ("plc.exact", 5, lambda value: float("nan"), "failed"),
        ("plc.near", 5, lambda value: value + 0.2, "done"),
        ("plc.near", 5, lambda value: value - 0.3, "failed"),
        ("plc.a", 5, lambda value: 9.0, "done"),  # nobody asked
    ],
)
def test_what_is_read_back_decides(tag: str, value: float, shows: Any, state: str) -> None:
    async def work(it: Rig) -> None:
        it.shows = shows
        it.put(tag, value, cause="user anna")
        await asyncio.sleep(SETTLES + 1)
        assert it.states == [(tag, state)]
        if state == "failed":
            found = f"{round(shows(value), 1):g}"
            assert it.ended[0].text == f"5 by user anna: the device confirmed it, and shows {found}"

    rig(work)


def test_a_device_that_confirms_before_it_holds_the_value_is_asked_again() -> None:
    async def work(it: Rig) -> None:
        reads: list[float] = []

        def shows(value: float) -> float:
            reads.append(value)
            return value if len(reads) > 3 else 0.0

        it.shows = shows
        it.put("plc.exact", 5)
        await asyncio.sleep(SETTLES + 1)
        assert it.states == [("plc.exact", "done")] and len(reads) == 4

    rig(work)


def test_a_device_that_cannot_be_read_back_fails_the_write_and_holds_up_no_other() -> None:
    async def work(it: Rig) -> None:
        def gone(value: float) -> float:
            raise LinesideError("nobody there")

        it.shows = gone
        it.put("plc.exact", 5)
        it.put("plc.b", 1)
        await asyncio.sleep(0.001)
        assert it.states == [("plc.b", "done")], "a stop must not wait for somebody's proof"
        await asyncio.sleep(SETTLES + 1)
        assert it.states[1] == ("plc.exact", "failed")
        assert it.ended[1].text.endswith("it cannot be read back: nobody there")

    rig(work)


def test_a_newer_order_ends_the_proof_of_the_older() -> None:
    async def work(it: Rig) -> None:
        it.shows = lambda value: 3.0
        it.put("plc.exact", 5)
        await asyncio.sleep(0.1)
        it.put("plc.exact", 3)
        await asyncio.sleep(SETTLES + 1)
        assert it.states == [("plc.exact", "superseded"), ("plc.exact", "done")]

    rig(work)


def test_a_proof_that_the_end_of_its_driver_overtakes_is_told() -> None:
    async def main() -> None:
        it = Rig()
        it.shows = lambda value: 3.0
        serving = asyncio.ensure_future(it.queue.serve(it))
        it.put("plc.exact", 5)
        await asyncio.sleep(0.1)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        assert serving.cancelled() and it.states == [("plc.exact", "failed")]
        assert "sent; its driver was stopped before it was read back" in it.ended[0].text

    virtual_run(main())


# Texts


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("plc.mode", "auto", "'auto' is none of 'AUTO', 'HAND', '' of plc.mode"),
        ("plc.mode", 1.0, "1.0 is not a string, which plc.mode takes"),
        ("plc.a", "1", "'1' is not a number, which plc.a takes"),
        ("plc.recipe", "123456", "6 characters are more than the 5 that may be written to plc.recipe"),
        ("plc.recipe", "A\r\nB", "a character in it cannot be shown"),
        ("plc.recipe", "x" * 100_000, "100000 characters are more than"),
    ],
)
def test_a_text_that_the_site_does_not_allow_is_refused(name: str, value: Any, words: str) -> None:
    async def work(it: Rig) -> None:
        (event,) = it.put(name, value, cause="user anna")
        assert event.state == "refused" and words in event.text and len(event.text) < 500
        assert len(str(event.data["value"])) <= 256
        await asyncio.sleep(1)
        assert not it.sent

    rig(work)


@pytest.mark.parametrize(
    ("name", "value", "shows", "state"),
    [
        ("plc.mode", "AUTO", "AUTO", "done"),
        ("plc.mode", "", "", "done"),
        ("plc.mode", "AUTO", "HAND", "failed"),
        ("plc.mode", "AUTO", 1.0, "failed"),
        ("plc.recipe", "配方 7", "?", "done"),  # nobody asked
    ],
)
def test_a_text_is_read_back_as_it_is(name: str, value: str, shows: Any, state: str) -> None:
    async def work(it: Rig) -> None:
        it.shows = lambda held: shows
        it.put(name, value, cause="user anna")
        await asyncio.sleep(SETTLES + 1)
        assert it.sent == [(name, value)] and it.states == [(name, state)]
        assert it.ended[0].data["value"] == value and it.ended[0].text.startswith(f"{value!r} by user anna")

    rig(work)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "say `range: "),
        ({"range": (0, 1), "one_of": ("A",)}, "say `range: "),
        ({"one_of": ("A",), "longest": 5}, "say `range: "),
        ({"one_of": ("A\n",)}, "cannot be shown"),
        ({"one_of": ("x" * 257,)}, "256"),
        ({"longest": 257}, "256"),
        ({"longest": 5, "readback": 0.5}, "a text is read back as it is"),
    ],
)
def test_what_cannot_be_allowed(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Writable(**options)


def test_while_its_driver_is_exchanged_an_order_is_refused_in_words() -> None:
    async def work(it: Rig) -> None:
        del it.writes.queues["plc"]
        (event,) = it.put("plc.a", 1)
        assert event.state == "refused" and "plc does not run at this moment" in event.text

    rig(work)
