"""The wiring: order, routing, and what a stage that fails does to the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from edge import Batch, Event, Tick, Write
from edge.clock import SECOND, ManualClock
from edge.errors import ConfigFault
from edge.event import Answer, Job
from edge.flow import AFTER_FAILURE, Flow, in_order
from edge.health import Health
from edge.stage import StatelessStage
from edge.tags import Tag, TagTable


class Does(StatelessStage):
    """A stage that answers with `work(item)`."""

    def __init__(self, inputs: Iterable[str], outputs: Iterable[str] = (), work: Callable[[Any], Any] = lambda i: ()):
        self.inputs, self.outputs, self.work = frozenset(inputs), frozenset(outputs), work
        self.wants: int | None = None
        self.state: bytes | Exception | None = None

    def __call__(self, item: Any) -> Any:
        return self.work(item)

    def due(self) -> int | None:
        return self.wants

    def snapshot(self) -> bytes | None:
        if isinstance(self.state, Exception):
            raise self.state
        return self.state


class Sink:
    def __init__(self, said: list[str]) -> None:
        self.said, self.calls = said, []  # type: ignore[var-annotated]

    def append(self, batches=(), events=(), pictures=(), snapshots=None) -> None:  # type: ignore[no-untyped-def]
        self.said.append("journal")
        self.calls.append((list(batches), list(events), dict(snapshots or {})))


class Rig:
    def __init__(self, *stages: tuple[str, Does], **options: Any) -> None:
        self.said: list[str] = []
        self.clock = ManualClock()
        self.health = Health(self.clock)
        self.table = TagTable.numbered(Tag(n, source=n.split(".")[0]) for n in ("a.x", "a.y", "b.x"))
        self.sink = Sink(self.said)
        self.flow = Flow(self.table, stages, self.sink, self.clock, self.health, write=self.write, **options)

    def write(self, order: Write) -> list[Event]:
        self.said.append("write")
        return []

    def send(self, name: str, value: float = 1.0) -> None:
        tag = self.table[name]
        self.flow.accept(Batch.of(tag.source, [tag.id], [value], self.clock.utc()))

    @property
    def events(self) -> list[str]:
        return [event.key for _, events, _ in self.sink.calls for event in events]


def test_stages_run_after_those_they_read() -> None:
    late, early = Does({"mid"}, {"out"}), Does({"a.x"}, {"mid"})
    assert [name for name, _ in in_order([("late", late), ("early", early)])] == ["early", "late"]


def test_a_circle_and_a_stage_that_reads_itself_are_faults() -> None:
    with pytest.raises(ConfigFault, match=r"circle: .*one"):
        in_order([("one", Does({"p"}, {"q"})), ("two", Does({"q"}, {"p"}))])
    with pytest.raises(ConfigFault, match="one reads itself"):
        in_order([("one", Does({"p"}, {"p"}))])


def test_a_write_goes_out_before_the_journal() -> None:
    rig = Rig(("rule", Does({"a.x"}, work=lambda i: [Write(1, 1.0), Event("k", "e")])))
    rig.send("a.x")
    assert rig.said == ["write", "journal"]


def test_a_job_comes_back_behind_its_stage_and_is_journaled() -> None:
    jobs: list[Any] = []
    seen: list[Any] = []
    asks = Does({"a.x"}, {"event:done"}, lambda i: [Job(lambda: [Event("done", "k")])])
    hears = Does({"event:done"}, work=lambda i: seen.append(i.key) or ())
    rig = Rig(("asks", asks), ("hears", hears), submit=lambda job, done: jobs.append((job, done)))
    rig.send("a.x")
    assert not rig.events
    job, done = jobs.pop()
    done(job.run())
    assert seen == ["k"] and rig.events == ["k"] and not jobs


def test_an_answer_goes_to_the_stage_that_gave_the_job_and_to_nobody_else() -> None:
    jobs: list[Any] = []
    seen: list[Any] = []

    def asks(item: Any) -> list[Any]:
        if isinstance(item, Answer):
            seen.append((item.value, item.mono))
            return [Event("judged", str(item.value))]
        return [Job(lambda: [Answer(7), Event("beside", "k")])]

    never = Does({"a.x", "event:judged"}, work=lambda i: seen.append("heard") if isinstance(i, Answer) else ())
    rig = Rig(
        ("first", never),
        ("asks", Does({"a.x"}, {"event:judged"}, asks)),
        submit=lambda job, done: jobs.append((job, done)),
    )
    rig.send("a.x")
    job, done = jobs.pop()
    rig.clock.advance(3.0)
    done(job.run())
    assert seen == [(7, rig.clock.mono())] and rig.events == ["k", "7"]


def test_a_stage_that_raises_is_counted_and_stops_nothing() -> None:
    bad = Does({"a.x"}, work=lambda i: 1 / 0)
    rig = Rig(("bad", bad), ("good", Does({"a.x"}, work=lambda i: [Event("k", "still")])))
    rig.send("a.x")
    rig.send("a.x")
    assert rig.health.part("bad").counts["failed"] == 2 and rig.health.part("bad").state == "waiting"
    assert rig.events == ["still", "still"]
    assert sum(len(b) for batches, _, _ in rig.sink.calls for b in batches) == 2


def test_a_stage_that_works_again_is_shown_so() -> None:
    odd = Does({"a.x"}, work=lambda i: [Event("k", f"{1 / (i.value[0] - 1)}")])
    rig = Rig(("odd", odd))
    rig.send("a.x", 1)
    assert rig.health.part("odd").state == "waiting"
    rig.send("a.x", 2)
    assert rig.health.part("odd").state == "running" and rig.health.part("odd").counts["failed"] == 1


def test_a_stage_above_its_budget_is_reported() -> None:
    rig = Rig(("slow", Does({"a.x"}, work=lambda i: rig.clock.advance(i.value[0]) or [])))
    rig.send("a.x", 0.01)
    assert "slow" not in rig.health.report()
    rig.send("a.x", 0.2)
    assert rig.health.part("slow").counts["over_budget"] == 1 and rig.health.part("slow").state == "running"


def test_a_stage_that_fails_on_an_item_keeps_its_timer() -> None:
    bad = Does({"a.x"}, work=lambda i: [Event("k", "tick")] if isinstance(i, Tick) else 1 / 0)
    bad.wants = 5 * SECOND
    rig = Rig(("bad", bad))
    rig.send("a.x")
    assert rig.flow.due() == 5 * SECOND
    rig.clock.advance_to(5 * SECOND)
    rig.flow.tick()
    assert rig.events == ["tick"]


def test_a_stage_that_fails_on_its_tick_is_asked_again_later_not_at_once() -> None:
    bad = Does((), work=lambda i: 1 / 0)
    bad.wants = 0
    rig = Rig(("bad", bad))
    rig.flow.tick()
    assert rig.flow.due() == rig.clock.mono() + AFTER_FAILURE


def test_a_snapshot_lies_in_the_same_append_as_its_events() -> None:
    stage = Does({"a.x"}, work=lambda i: [Event("k", "e")])
    stage.state = b"s"
    rig = Rig(("rule", stage))
    rig.send("a.x")
    ((_, events, snapshots),) = rig.sink.calls
    assert [e.key for e in events] == ["e"] and snapshots == {"rule": b"s"}


def test_an_order_changes_the_state_that_is_kept() -> None:
    stage = Does({"a.x"}, work=lambda i: [Write(1, 1.0)])
    stage.state = b"7"
    rig = Rig(("counter", stage))
    rig.send("a.x")
    assert rig.sink.calls[-1][2] == {"counter": b"7"}


def test_a_snapshot_that_fails_loses_no_event() -> None:
    stage = Does({"a.x"}, work=lambda i: [Event("k", "e")])
    stage.state = RuntimeError("planted")
    rig = Rig(("rule", stage))
    rig.send("a.x")
    assert rig.events == ["e"] and rig.health.part("rule").counts["failed"] == 1


def test_a_snapshot_that_is_no_bytes_is_its_stages_fault_and_reaches_no_journal() -> None:
    stage = Does({"a.x"}, work=lambda i: [Event("k", "e")])
    stage.state = {"parts": 7}
    rig = Rig(("rule", stage))
    rig.send("a.x")
    assert rig.events == ["e"] and "not bytes" in rig.health.part("rule").reason
    assert all(not snapshots for *_, snapshots in rig.sink.calls)


def test_ids_that_are_nobodys_pass_the_flow_and_reach_no_stage() -> None:
    seen: list[Any] = []
    rig = Rig(("rule", Does({"a.x", "a.y", "b.x"}, work=lambda i: seen.append(i) or ())))
    rig.flow.accept(Batch.of("a", [-1, 99_999], [1, 2], rig.clock.utc()))
    assert not seen
    for number in (-1, 0, 4, 99_999):
        with pytest.raises(KeyError):
            rig.table.by_id(number)
