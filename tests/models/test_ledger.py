"""Audited parts: what a person says of a part reaches the journal, the ledger counts it, and the chain shows what was changed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge import Event, LinesideError, events_of, numbered_events
from edge.app import Daemon
from edge.cli import main
from edge.config.load import load_text
from edge.control import Control
from models.quality.chain import Chain, breaks
from models.quality.ledger import Proof, account, parts_of
from tests.waiting import run

SITE = "device: {id: aoi-7}\ndrivers: {}\n"
T0 = 1_790_000_000_000_000_000


def judged(number: int, state: str, label: str = "", key: str = "aoi") -> Event:
    return Event(
        "inspection",
        key,
        state,
        T0 + number,
        data={"part": number, "label": label, "score": 0.1 + 0.2},
        id=f"i{number}",
    )


def review(number: int, state: str, label: str = "") -> Event:
    return Event("review", "aoi", state, T0 + 10**9, data={"of": f"i{number}", "label": label, "by": "anna"})


def test_escapes_and_false_calls_count_audited_parts_only() -> None:
    events = [judged(n, "ok") for n in range(800)] + [judged(n, "ng", "spur") for n in range(800, 810)]
    events += [review(n, "ok") for n in range(747)] + [
        review(800, "ok"),
        review(801, "ng", "open"),
        review(99_999, "ng"),
    ]
    told = account(parts_of(events), 0.004)
    assert told["judged"] == {"ok": 800, "ng": 10, "recheck": 0}
    assert (told["escapes"].found, told["escapes"].of, told["escapes"].more) == (0, 747, 1)
    assert (told["false_calls"].found, told["false_calls"].of) == (1, 2)
    assert told["pareto"] == [("spur", 8, 8 / 9), ("open", 1, 1.0)]
    assert Proof.make(0, 748, 0.004, 0.95).more == 0
    events.append(review(0, "ng", "short"))  # anna looked again: the newest word counts
    assert account(parts_of(events), 0.004)["escapes"].found == 1


def chained(count: int) -> list[Event]:
    chain = Chain()
    return [chain.link(judged(n, "ok" if n % 3 else "ng")) for n in range(count)]


def test_a_chain_goes_on_after_a_restart_and_may_lose_its_beginning() -> None:
    first = chained(5)
    again = Chain(str(first[-1].data["hash"]))
    whole = [*first, again.link(judged(5, "ok"))]
    assert not list(breaks(whole)) and not list(breaks(whole[2:])) and not list(breaks([judged(1, "ok")]))


@pytest.mark.parametrize(
    "change",
    [
        lambda e: replace(e, state="ok"),
        lambda e: replace(e, ts=e.ts + 1),
        lambda e: replace(e, refs=("0" * 64,)),
        lambda e: replace(e, text="fine"),
        lambda e: replace(e, data={**e.data, "part": 99}),
        lambda e: replace(e, data={**e.data, "score": 0.3}),
    ],
)
def test_a_record_that_was_changed_is_named(change: Callable[[Event], Event]) -> None:
    events = chained(6)
    events[3] = change(events[3])
    assert [(e.id, "changed" in why) for e, why in breaks(events)] == [("i3", True)]


def test_a_record_that_was_taken_out_put_in_or_moved_is_named() -> None:
    events = chained(6)
    assert [e.id for e, _ in breaks(events[:2] + events[3:])] == ["i3"]
    assert [e.id for e, _ in breaks([*events[:2], Chain().link(judged(77, "ok")), *events[2:]])] == ["i77", "i2"]
    assert [e.id for e, _ in breaks([events[0], events[2], events[1], *events[3:]])] == ["i2", "i1", "i3"]


def test_a_review_without_a_hash_after_one_with_it_was_put_in() -> None:
    chain, old = Chain(), replace(review(0, "ok", ""), id="old")
    real = [chain.link(replace(review(n, "ok", ""), id=f"r{n}")) for n in range(3)]
    forged = [replace(review(n, "ng", "spur"), id=f"f{n}") for n in range(3)]
    assert [(e.id, "put in" in why) for e, why in breaks([old, *real, *forged])] == [(f"f{n}", True) for n in range(3)]
    assert not list(breaks([old, *real, judged(9, "ok")]))


def with_daemon(folder: Path, work: Callable[[Daemon], Awaitable[None]]) -> None:
    """As long as it takes, with its local socket."""

    async def body() -> None:
        daemon = Daemon(load_text(SITE), folder)
        await daemon.start()
        control = Control(daemon)
        await control.start()
        try:
            await work(daemon)
        finally:
            await control.stop()
            await daemon.stop()

    run(body)


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_what_anna_found_is_durable_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(SITE)
    state = ["--state", str(tmp_path)]

    async def work(daemon: Daemon) -> None:
        chain = Chain()
        for n in range(1, 6):
            daemon.accept(chain.link(judged(n, "ok" if n < 5 else "ng", "" if n < 5 else "spur")))
        await daemon.journal.commit()

        async def say(*words: str) -> int:
            return await asyncio.to_thread(main, ["review", str(site), *words, *state])

        assert await say("2", "ng", "--label", "open", "--by", "anna", "--text", "seen at the gate") == 0
        assert await say("5", "ok", "--by", "anna") == 0
        assert "aoi, part 2: the station said ok, anna says ng" in capsys.readouterr().out
        assert await say("77", "ok") == 2
        assert "the journal holds no inspection of part 77" in capsys.readouterr().err
        assert await say("2", "ok", "--by", "ben") == 2
        assert "part 2 was reviewed already: anna says NG open" in capsys.readouterr().err
        assert await say("5", "ng", "--by", "ben", "--correct") == 0
        assert await say("5", "ok", "--by", "anna", "--correct", "--text", "ben looked at the wrong one") == 0

    with_daemon(tmp_path, work)
    kept = list(events_of(tmp_path / "journal.db", "inspection", "review"))
    hashes = {event.id: event.data["hash"] for event in kept if event.kind == "inspection"}
    reviews = [e for e in kept if e.kind == "review"]
    assert [e.data["record"] for e in reviews] == [hashes["i2"], *[hashes["i5"]] * 3]
    assert [e.data.get("corrects") for e in reviews] == [None, None, *(e.data["hash"] for e in reviews[1:3])]
    assert main(["audit", str(site), *state, "--json"]) == 0
    found = told(capsys)
    assert found["parts"] == 5 and found["hashed"] == 5 and found["reviews"] == 4 and not found["broken"]
    assert (found["escapes"]["found"], found["escapes"]["of"]) == (1, 1)
    assert (found["false_calls"]["found"], found["false_calls"]["of"]) == (1, 1)
    assert found["pareto"] == [["open", 1, 1.0]]
    assert main(["audit", str(site), *state]) == 0
    assert (
        "1 of 1 audited parts that were called OK: below 100.000% at 95%; 1,184 more without one"
        in capsys.readouterr().out
    )
    assert main(["audit", str(site), *state, "--stage", "other"]) == 2
    assert "no inspection of 'other'" in capsys.readouterr().err


def test_reviews_go_on_after_a_restart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(SITE)

    async def judges(daemon: Daemon) -> None:
        for event in chained(3):
            daemon.accept(event)

    async def reviews(daemon: Daemon) -> None:
        (newest, *_) = [seq for seq, _ in numbered_events(tmp_path / "journal.db", "inspection")][-1:]
        said = {"seq": newest, "state": "ng", "by": "anna"}
        kept = list(events_of(tmp_path / "journal.db", "review"))
        async with daemon.reviews.turn(newest) as inspection:
            assert inspection is not None
            if kept:
                with pytest.raises(LinesideError, match="part 2 was reviewed already: anna says NG"):
                    await daemon.reviews.taken(inspection, said)
                said["corrects"] = str(kept[-1].data["hash"])
            await daemon.reviews.taken(inspection, said)

    for work in (judges, reviews, reviews, reviews):
        with_daemon(tmp_path, work)
    assert main(["audit", str(site), "--state", str(tmp_path)]) == 0
    assert "and 3 reviews of people, each as it was made and in its place" in capsys.readouterr().out


def test_an_audit_of_a_changed_record_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(SITE)

    async def work(daemon: Daemon) -> None:
        events = chained(4)
        events[1] = replace(events[1], state="ok", data={**events[1].data, "label": "fine"})
        for event in events:
            daemon.accept(event)

    with_daemon(tmp_path, work)
    assert main(["audit", str(site), "--state", str(tmp_path)]) == 1
    assert "BROKEN part 1 of aoi: it was changed after it was made" in capsys.readouterr().out


def test_a_review_is_a_witness_of_the_record_that_was_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(SITE)
    seen, anew = chained(3), Chain()
    records = [anew.link(replace(e, state="ok", data={k: v for k, v in e.data.items() if k != "hash"})) for e in seen]
    assert not list(breaks(records)), "a new chain, whole in itself"

    async def work(daemon: Daemon) -> None:
        for event in (*records, *(review(n, "ng") for n in range(2))):
            said = {"record": seen[0].data["hash"]} if event.kind == "review" and event.data["of"] == "i0" else {}
            daemon.accept(replace(event, data={**event.data, **said, "part": 0}) if said else event)

    with_daemon(tmp_path, work)
    assert main(["audit", str(site), "--state", str(tmp_path)]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "BROKEN" in line]
    assert line == "BROKEN part 0 of aoi: made anew after it was reviewed"


def reviewed(folder: Path, change: Callable[[list[Event]], list[Event]]) -> Path:
    """A site with three parts that anna reviewed, the second one by an order of the plane, and whose journal somebody rewrote."""
    site = folder / "site.yaml"
    site.write_text(SITE)
    made: list[Event] = []

    async def first(daemon: Daemon) -> None:
        records = chained(3)
        for event in records:
            daemon.accept(event)
        await daemon.journal.commit()
        seqs = [seq for seq, _ in numbered_events(folder / "first" / "journal.db", "inspection")]
        for n, seq in enumerate(seqs):
            said = {"seq": seq, "state": "ng", "by": "anna"} | ({"number": 7} if n == 1 else {})
            async with daemon.reviews.turn(seq) as inspection:
                assert inspection is not None
                made.append(await daemon.reviews.taken(inspection, said))
            if n == 1:
                made.insert(-1, Event("command", "review", ts=T0, data={"number": 7, "part": 1, "by": "anna"}))
        made[:0] = records

    with_daemon(folder / "first", first)

    async def again(daemon: Daemon) -> None:
        for event in change(made):
            daemon.accept(event)

    with_daemon(folder, again)
    return site


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda e: e, ""),
        (lambda e: [*e[:-1], replace(e[-1], state="ok")], "part 2 of aoi by anna: it was changed after"),
        (lambda e: [*e[:-1], replace(e[-1], data={**e[-1].data, "by": "ben"})], "part 2 of aoi by ben: it was changed"),
        (lambda e: [*e[:3], *e[4:]], ""),  # the oldest may be no longer kept
        (lambda e: [*e[:5], *e[6:]], "part 2 of aoi by anna: the record before it is another one"),
        (lambda e: e[:5], "part 1 by anna: the plane's order is here, and the review is not"),
    ],
)
def test_a_review_that_was_changed_or_taken_out_is_named(
    change: Callable[[list[Event]], list[Event]], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = reviewed(tmp_path, change)
    assert main(["audit", str(site), "--state", str(tmp_path)]) == (1 if says else 0)
    said = capsys.readouterr().out
    assert f"BROKEN review of {says}" in said if says else "reviews of people, each as it was made" in said


@pytest.mark.parametrize("rate", ["0", "1", "none"])
def test_a_rate_that_is_none(rate: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(tmp_path), "--rate", rate]) == 2
    assert "is no share; write 0.004 for 0.4 %" in capsys.readouterr().err
