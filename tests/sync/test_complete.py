"""Which minutes of a tag are complete, and why the others are not."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

import msgpack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from edge import Batch, Event, Poller, Quality, encode, encode_event, plugins
from edge.app import Daemon
from edge.cli import main
from edge.config.load import load_text
from edge.testing import VirtualClock, virtual_run
from sync import wire
from sync.control_plane import compact, marks, rollup, tables
from sync.control_plane.complete import complete
from sync.control_plane.ledger import KIND, LAST, START, WIDEST, columns, note, runs_in, runs_of
from sync.control_plane.messages import Message, _take_blocks, apply_frames
from sync.control_plane.plane import Plane
from sync.control_plane.retention import forget_once
from sync.control_plane.store import Store
from sync.control_plane.where import Where
from tests.sync.slow import FIRST, MINUTE, SECOND, Slow, lived
from tests.sync.stored import rolled, with_store
from tests.sync.test_page import Ask, page

EPOCH = "0" * 16
DEVICES = itertools.count()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('plane') / 'plane.db'}")
    yield store
    store.close()


def taken(store: Store, device: str, frames: list[wire.Frame]) -> None:
    with store.engine.begin() as connection:
        apply_frames(connection, device, frames)


def answer(store: Store, device: str, start: int, end: int, tag: str = "plc.a") -> list[str]:
    """The cause of each minute."""
    with store.engine.connect() as connection:
        found = complete(connection, device, tag, start, end)
    return [found.causes[code] for code in found.minutes]


def agrees(store: Store, seed: int) -> None:
    rng = random.Random(seed)
    life, device = lived(rng), f"d{next(DEVICES)}"
    frames = life.frames()
    while frames:
        n = rng.randrange(1, 2 + len(frames))
        taken(store, device, frames[:n])
        frames = frames[n:]
        if rng.random() < 0.4:
            rolled(store, device)
    minutes = (max(life.now, FIRST) - FIRST) // MINUTE + 3
    start = FIRST + rng.randrange(-2, int(minutes)) * MINUTE
    end = start + rng.randrange(1, int(minutes) + 2) * MINUTE
    wanted = Slow(life).answer(start, end)
    got = answer(store, device, start, end)
    assert [
        (i, one, all_) for i, (one, all_) in enumerate(zip(got, wanted, strict=True)) if one not in all_.split("|")
    ] == []


@given(seed=st.integers(0, 2**32))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_life_of_a_device_gives_what_a_slow_look_at_its_samples_gives(store: Store, seed: int) -> None:
    agrees(store, seed)


# By hand


def promise(
    seq: int, ts: int, every: float = 1, quiet: float = 0, state: str = "started", ids: str = "1"
) -> wire.Frame:
    event = Event("device", "d", state, ts, data={"every": [[every, quiet, ids]]})
    return wire.Frame(EPOCH, "event", seq, ts, ts, 1, encode_event(event))


def happened(seq: int, ts: int, kind: str, state: str, **data: Any) -> wire.Frame:
    return wire.Frame(EPOCH, "event", seq, ts, ts, 1, encode_event(Event(kind, "plc", state, ts, data=data)))


def block(seq: int, ts: Any, quality: Any = Quality.GOOD) -> wire.Frame:
    ts = np.asarray(ts)
    body = encode(Batch.of("plc", np.ones(len(ts)), np.ones(len(ts)), ts, quality))
    return wire.Frame(EPOCH, "samples:plc", seq, int(ts.min()), int(ts.max()), len(ts), body)


def seconds(first: int, last: int, step: int = 1) -> np.ndarray:
    """Times from second `first` to before `last` of the test."""
    return FIRST + np.arange(first, last, step) * SECOND


TAG_IS = wire.Frame(EPOCH, "tag", 1, 0, 0, 1, msgpack.packb(["plc.a", "float64", "", {}, "plc"]))
BEGIN = [TAG_IS, promise(1, FIRST)]
HOUR = [block(1 + k, seconds(60 * k, 60 * k + 60)) for k in range(61)]


def causes(store: Store, frames: list[wire.Frame], minutes: int = 5) -> list[str]:
    """Which have to be the same before and after the hourly work."""
    device = f"d{next(DEVICES)}"
    taken(store, device, frames)
    before = answer(store, device, FIRST, FIRST + minutes * MINUTE)
    rolled(store, device)
    assert answer(store, device, FIRST, FIRST + minutes * MINUTE) == before
    return before


def test_an_hour_that_is_here_is_complete_and_nothing_is_decoded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "decode", None)
    assert causes(store, [*BEGIN, *HOUR], 60) == ["complete"] * 60


OK, GAP = "complete", {"stream": "samples:plc", "samples": 60, "cause": "evicted"}
AWAY = {"from": FIRST + 120 * SECOND, "to": FIRST + 179 * SECOND, "first": 3, "last": 3}
LONG_AGO = {**AWAY, "from": 0}


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        (HOUR[:2] + HOUR[3:6], [OK, OK, "not_arrived", OK, OK]),
        (HOUR[3:6] + HOUR[:2], [OK, OK, "not_arrived", OK, OK]),
        (HOUR[3:6] + HOUR[:3] + HOUR[:6], [OK] * 5),
        (HOUR[:3], [OK, OK, OK, "not_yet", "not_yet"]),
        (HOUR[:2] + HOUR[3:6] + [happened(2, FIRST, "gap", "evicted", **GAP, **AWAY)], [OK, OK, "evicted", OK, OK]),
        (HOUR[:2] + HOUR[3:6] + [happened(2, FIRST, "gap", "forgotten", **GAP, **LONG_AGO)], [OK, OK, "forgotten", OK, OK]),
        ([*HOUR[:2], block(3, seconds(120, 180), Quality.TIMEOUT), *HOUR[3:6]], [OK, OK, "timeout", OK, OK]),
        ([*HOUR[:2], block(3, seconds(120, 180), Quality.LATE), *HOUR[3:6]], [OK] * 5),
        ([*HOUR[:2], block(3, np.delete(seconds(120, 180), 30)), *HOUR[3:6]], [OK, OK, "unread", OK, OK]),
        ([*HOUR[:2], block(3, np.delete(seconds(120, 180), 30)), *HOUR[3:6], block(7, seconds(150, 151))], [OK] * 5),
        ([*HOUR[:2], block(3, seconds(120, 180, 2)), *HOUR[3:6], block(7, seconds(121, 181, 2))], [OK] * 5),
        ([*HOUR[:2], promise(2, FIRST + 120 * SECOND, 2, state="changed"), block(3, seconds(120, 182, 2)), *HOUR[3:6]], [OK] * 5),
        ([*HOUR[:6], promise(2, FIRST + 180 * SECOND, 0.5, state="changed")], [OK, OK, OK, "unread", "unread"]),
        (
            [*HOUR[:2], happened(2, FIRST, "source", "lost"), promise(3, FIRST + 180 * SECOND), block(3, seconds(180, 301))],
            [OK, OK, "stopped", OK, OK],
        ),
        (
            [*HOUR[:2], happened(2, FIRST + 120 * SECOND, "source", "lost"), block(3, seconds(240, 301))],
            [OK, OK, "source_lost", "source_lost", OK],
        ),
        ([block(1, seconds(0, 301)), block(2, [FIRST + 90 * SECOND + SECOND // 2], Quality.TIMEOUT)], [OK, "timeout", OK, OK, OK]),
        ([*HOUR[:2], promise(2, FIRST + 120 * SECOND, ids="2", state="changed")], [OK, OK, "absent", "absent", "absent"]),
        ([promise(2, FIRST + 60 * SECOND), *HOUR[:6]], [OK] * 5),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(store: Store, frames: list[wire.Frame], found: list[str]) -> None:
    assert causes(store, [*BEGIN, *frames]) == found


def test_before_the_device_told_how_often_nothing_is_complete(store: Store) -> None:
    assert causes(store, [TAG_IS, *HOUR[:6]]) == ["no_promise"] * 5
    assert causes(store, [TAG_IS, promise(1, FIRST + 60 * SECOND), *HOUR[:6]]) == ["no_promise", OK, OK, OK, OK]


def test_a_tag_with_a_deadband_is_believed_only_while_nothing_speaks_against_it(store: Store) -> None:
    def quiet(*frames: wire.Frame) -> list[str]:
        return causes(store, [TAG_IS, promise(1, FIRST, 1, 600), block(1, [FIRST]), *frames])

    at = FIRST + 400 * SECOND
    other = [wire.Frame(EPOCH, "samples:plc", 2, at, at, 1, encode(Batch.of("plc", [2], [1.0], at)))]
    assert quiet(*other) == [OK] * 5
    assert quiet() == ["not_yet"] * 5
    assert quiet(block(2, [FIRST + 60 * SECOND], Quality.BAD), block(3, [FIRST + 120 * SECOND, FIRST + 400 * SECOND])) == [
        OK, "bad", OK, OK, OK,
    ]  # fmt: skip
    assert quiet(block(3, [FIRST + 180 * SECOND, FIRST + 400 * SECOND])) == ["not_arrived"] * 3 + [OK, OK]
    assert quiet(promise(2, FIRST + 120 * SECOND, 1, 600), block(2, [FIRST + 180 * SECOND, FIRST + 400 * SECOND])) == [
        "stopped", "stopped", "unread", OK, OK,
    ]  # fmt: skip


def test_a_gap_between_two_samples_of_a_deadband_is_seen(store: Store) -> None:
    told = {"from": FIRST + 120 * SECOND, "to": FIRST + 170 * SECOND, "first": 0, "last": 0, "stream": "samples:plc"}
    frames = [TAG_IS, promise(1, FIRST, 1, 600), block(1, seconds(0, 500, 100))]
    assert causes(store, frames) == [OK] * 5
    assert causes(store, [*frames, happened(2, FIRST, "gap", "journal_full", **told)]) == [
        OK, OK, "journal_full", "unread", OK,
    ]  # fmt: skip


def test_a_clock_that_was_set_back_hides_nothing(store: Store) -> None:
    """An hour twice: what the first time lacks, the second brings."""
    first, second = block(1, np.delete(seconds(0, 300), slice(100, 200))), block(2, seconds(50, 301))
    assert causes(store, [*BEGIN, first]) == [OK, "unread", "unread", "unread", OK]
    assert causes(store, [*BEGIN, first, second]) == [OK] * 5


def test_a_block_that_nobody_can_read_is_a_cause(store: Store) -> None:
    spoiled = wire.Frame(EPOCH, "samples:plc", 3, AWAY["from"], AWAY["to"], 60, b"\1nothing")
    assert causes(store, [*BEGIN, *HOUR[:2], spoiled, *HOUR[3:6]]) == [OK, OK, "unreadable", OK, OK]


def test_blocks_from_before_the_ledger_count_too(store: Store) -> None:
    device = f"d{next(DEVICES)}"
    taken(store, device, [*BEGIN, *HOUR[:6]])
    rolled(store, device)
    with store.engine.begin() as connection:
        connection.execute(delete(tables.ledger).where(tables.ledger.c.device == device, tables.ledger.c.seq < 4))
    assert answer(store, device, FIRST, FIRST + 5 * MINUTE) == [OK] * 5


def test_the_ledger_outlives_the_blocks(store: Store) -> None:
    """Where it says not enough without them, a minute is not called complete."""
    device = f"d{next(DEVICES)}"
    worn = block(3, seconds(120, 180, 2))
    taken(store, device, [*BEGIN, *HOUR[:2], worn, *HOUR[3:6]])
    rolled(store, device)
    with store.engine.begin() as connection:
        connection.execute(delete(tables.block).where(tables.block.c.device == device))
    assert answer(store, device, FIRST, FIRST + 5 * MINUTE) == [OK, OK, "unread", OK, OK]


def test_what_did_not_count_does_not_count_either_once_it_is_forgotten(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks that lie over each other: bad samples between good ones, of which only the ends are known later."""
    device = f"d{next(DEVICES)}"
    good = [block(k, seconds(60 * k - 60, 60 * k)) for k in range(1, 6)]
    bad = block(6, seconds(30, 270, 2) + SECOND // 2, Quality.TIMEOUT)
    taken(store, device, [TAG_IS, promise(1, FIRST, 60), *good, bad])
    monkeypatch.setattr(compact, "MOST", 0)  # each block stays by itself
    before = answer(store, device, FIRST, FIRST + 5 * MINUTE)
    rolled(store, device)
    with store.engine.begin() as connection:
        connection.execute(delete(tables.block).where(tables.block.c.device == device))
    after = answer(store, device, FIRST, FIRST + 5 * MINUTE)
    assert OK not in before and OK not in after


def test_a_block_stays_until_it_is_noted(database: str) -> None:
    """Forgotten before, its minutes would be missing for ever, and its roll-up."""

    async def work(store: Store) -> None:
        await store.write(Message("d", [*BEGIN, *HOUR]))
        old = FIRST + 10**6 * MINUTE
        assert await forget_once(store, "samples", old) == 0
        while await rollup.roll_once(store, old):
            pass
        assert await forget_once(store, "samples", old) > 0
        assert await store.read(lambda c: c.execute(select(tables.block.c.seq)).all()) == []
        assert answer(store, "d", FIRST, FIRST + 60 * MINUTE) == [OK] * 60

    with_store(database, work)


def test_what_a_device_may_say_breaks_nothing(store: Store) -> None:
    odd = [
        promise(9, FIRST, float("nan")),
        promise(10, 2**62, -1),
        promise(11, -5, 1, ids="x-,,"),
        happened(12, FIRST, "gap", "evicted", stream="samples:plc", **{"from": "x", "to": 2**62}),
        happened(13, FIRST, "gap", "evicted", stream="samples:plc", **{"from": 2**62, "to": -(2**62), "first": -1, "last": -9}),
        wire.Frame(EPOCH, "event", 14, 0, 0, 1, encode_event(Event("device", "d", "started", 0, data={"every": {"a": 1}}))),
        wire.Frame(EPOCH, "samples:plc", 9, -(2**62), 2**62 - 1, 1, b"\1"),
        block(10, [-(2**62), 2**62 - 1]),
    ]  # fmt: skip
    device = f"d{next(DEVICES)}"
    taken(store, device, [*BEGIN, *HOUR[:6], *odd])
    with store.engine.begin() as connection:  # what an older plane took in
        _take_blocks(connection, [(device, block(11, [-(2**63), 2**63 - 1]))])
    for _ in range(2):
        assert len(answer(store, device, FIRST, FIRST + 5 * MINUTE)) == 5
        rolled(store, device)


@given(st.integers(0, 2**32))
def test_runs_say_all_of_a_block_that_is_asked_for(seed: int) -> None:
    """Each sample lies in a run of its kind, runs touch no others, and the widest space in one is told."""
    rng = np.random.default_rng(seed)
    n, tags = int(rng.integers(1, 200)), int(rng.integers(1, 5))
    ts = rng.integers(0, 50, n) * SECOND if rng.random() < 0.5 else np.arange(n) * SECOND
    batch = Batch.of("plc", rng.integers(1, 1 + tags, n), np.zeros(n), ts, rng.choice([0, 0, 0, 2, 6, 8], n))
    first, last, body = note(encode(batch))
    assert (first, last) == (ts.min(), ts.max())
    tag, at, kind = columns(batch)
    runs = runs_in(body, range(1, 1 + tags))
    assert sorted(runs) == np.unique(batch.tag).tolist()
    for number, rows in runs.items():
        own, kinds = at[tag == number], kind[tag == number]
        assert (rows[1:, START] > rows[:-1, LAST]).all() and (np.diff(own) > 0).all()
        for row in rows:
            inside = (own >= row[START]) & (own <= row[LAST])
            assert inside.any() and {row[START], row[LAST]} <= set(own[inside]) and set(kinds[inside]) == {row[KIND]}
            assert np.diff(own[inside]).max(initial=0) == row[WIDEST]
        assert sum(((own >= row[START]) & (own <= row[LAST])).sum() for row in rows) == len(own)


@given(st.integers(0, 2**32))
def test_whole_scans_are_noted_as_if_they_were_decoded(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k, m, requests = int(rng.integers(1, 9)), int(rng.integers(1, 30)), int(rng.integers(1, 3))
    jitter = rng.integers(0, rng.choice([1, 10**6, 10**9]), (m, requests))
    ts = (np.arange(m)[:, None] * SECOND + jitter)[:, rng.integers(0, requests, k)]
    quality = rng.choice([0, 6], m * k, p=[1, 0]) if rng.random() < 0.7 else rng.choice([0, 0, 6], m * k)
    batch = Batch.of("plc", np.tile(np.arange(1, 1 + k), m), np.zeros(m * k), ts.ravel(), quality)
    given, slow = note(encode(batch)), runs_of(batch)
    assert given[:2] == slow[:2]
    got, wanted = (runs_in(body, range(1, 1 + k)) for body in (given[2], slow[2]))
    assert {tag: rows.tolist() for tag, rows in got.items()} == {tag: rows.tolist() for tag, rows in wanted.items()}


def test_the_ledger_is_forgotten_when_it_is_told_to_be(tmp_path: Path) -> None:
    async def work() -> None:
        store = Store(f"sqlite:///{tmp_path / 'plane.db'}")
        taken(store, "d", [*BEGIN, *HOUR])
        rolled(store, "d")
        await forget_once(store, "events", FIRST + 10**6 * MINUTE)
        assert answer(store, "d", FIRST, FIRST + 60 * MINUTE) == [OK] * 60, "how often a tag comes is kept"
        await forget_once(store, "ledger", FIRST + 10**6 * MINUTE)
        await forget_once(store, "samples", FIRST + 10**6 * MINUTE)
        assert OK not in answer(store, "d", FIRST, FIRST + 60 * MINUTE)
        store.close()

    asyncio.run(work())


# A real device and a real plane

SITE = """
device: {id: dev-1}
drivers:
  plc: {driver: ticking, every: 1s, tags: {a: {}, calm: {deadband: 5}}}
tags: {twice: {expression: "plc.a * 2"}}
"""


class Ticking(Poller):
    async def poll(self) -> dict[str, float]:
        return dict.fromkeys(self.source.tags, 7.0)


def test_a_daemon_tells_what_the_ledger_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs for five minutes and a half, is off for three, and runs again."""
    monkeypatch.setitem(plugins._extra, ("drivers", "ticking"), Ticking)
    config = load_text(SITE)
    assert not config.problems

    async def run() -> list[wire.Frame]:
        clock = VirtualClock(FIRST)
        daemon = Daemon(config, tmp_path, clock)
        await daemon.start()
        await asyncio.sleep(330)
        await daemon.stop()
        await asyncio.sleep(180)
        daemon = Daemon(config, tmp_path, clock)
        await daemon.start()
        await asyncio.sleep(330)
        await daemon.journal.commit(seal=True)
        streams = ("tag", "event", "samples:plc", "samples:virtual")
        records = [record for stream in streams for record in await daemon.journal.read(stream, 0, 1000)]
        epoch = daemon.journal.epoch
        await daemon.stop()
        return wire.unpack(wire.pack(epoch, records))

    frames = virtual_run(run())
    store = Store(f"sqlite:///{tmp_path / 'plane.db'}")
    taken(store, "dev-1", frames)
    for tag in ("plc.a", "twice", "plc.calm"):
        found = answer(store, "dev-1", FIRST + MINUTE, FIRST + 13 * MINUTE, tag)
        assert found == [OK] * 4 + ["stopped"] * 4 + [OK] * 4, tag
    store.close()


def test_a_page_asks(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        frames = [*BEGIN, *HOUR[:2], *HOUR[3:6]]
        await plane.store.write(lambda c: apply_frames(c, "press-4", frames))
        cookie = f"session={plane.people.login(plane.people.key)}"

        async def asked(words: str) -> tuple[int, Any]:
            status, body, _ = await ask("GET", f"/api/devices/press-4/complete?{words}", Cookie=cookie)
            return status, json.loads(body)

        status, facts = await asked(f"tag=plc.a&from={FIRST}&to={FIRST + 5 * MINUTE}")
        at = FIRST // 10**6
        assert (status, facts["tag"], facts["whole"], facts["complete"], facts["minutes"]) == (
            200,
            "plc.a",
            False,
            4,
            5,
        )
        assert (facts["from"], facts["to"]) == (at, at + 300_000)
        assert facts["gaps"] == [{"from": at + 120_000, "to": at + 180_000, "minutes": 1, "cause": "not_arrived"}]
        assert (await asked(f"tag=plc.a&from={-2 * MINUTE}&to={FIRST + 2 * MINUTE}"))[1]["whole"]
        assert (await asked(f"tag=plc.b&from={FIRST}&to={FIRST + MINUTE}"))[0] == 404
        assert (await asked(f"tag=plc.a&from={FIRST}&to={FIRST}"))[0] == 422

    page(tmp_path, work)


def test_a_person_asks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "plane"
    plane = Plane(Where(folder))
    taken(plane.store, "press-4", [*BEGIN, *HOUR[:2], *HOUR[3:6]])
    plane.store.close()
    times = ["--since", "2023-03-28T10:40Z", "--until", "2023-03-28T10:45Z"]
    assert FIRST == 28_000_000 * MINUTE

    def asked(*words: str) -> tuple[int, str, str]:
        code = main(["plane", "complete", *words, "--folder", str(folder)])
        return code, *capsys.readouterr()

    code, said, _ = asked("press-4", "plc.a", *times)
    assert code == 1 and said.splitlines() == [
        "2023-03-28T10:40Z to 2023-03-28T10:45Z: 4 of 5 minutes are complete",
        "  2023-03-28T10:42Z to 2023-03-28T10:43Z  1 min  not_arrived: blocks are missing, later ones are here",
    ]
    code, said, _ = asked("press-4", "plc.a", "--json", *times)
    facts = json.loads(said)
    assert (code, facts["whole"], facts["complete"], [gap["cause"] for gap in facts["gaps"]]) == (
        1,
        False,
        4,
        ["not_arrived"],
    )
    code, said, _ = asked("press-4", "plc.a", "--since", "2023-03-28T10:40", "--until", "2023-03-28T10:42")
    assert (code, said) == (0, "2023-03-28T10:40Z to 2023-03-28T10:42Z: complete, 2 minutes\n")
    assert "did you mean 'plc.a'?" in asked("press-4", "plc.b")[2]
    assert "delivered anything yet?" in asked("press-5", "plc.a")[2]
    assert (
        "from A to a later B"
        in asked("press-4", "plc.a", "--since", "2026-01-02T00:00", "--until", "2026-01-01T00:00")[2]
    )
    assert "arguments are required: tag" in asked("press-4")[2]
    assert main(["plane", "complete", "a", "b", "--folder", str(tmp_path / "none")]) == 2
