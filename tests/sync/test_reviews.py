"""What a person says of a part at the plane reaches the device's journal once and comes back; a second word is a correction."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import urllib3

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import select

from edge import Event, most_by_chance, sound_events
from models.quality.chain import Chain, breaks, taken_out
from models.quality.ledger import account, parts_of
from sync import wire
from sync.control_plane import tables
from tests.sync.enrolled import tls_of
from tests.sync.test_spine import Rig, rig

pytestmark = pytest.mark.usefixtures("database")


class People:
    """Who came by the plane's link."""

    def __init__(self, it: Rig) -> None:
        self._it, self._base = it, it.plane.link.split("/login")[0]
        self._browser = urllib3.PoolManager(retries=False, timeout=60)

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        people = self._it.plane.people
        headers = {
            "Cookie": f"session={people.login(people.key)}",
            "Content-Type": "application/json",
            "Origin": self._base,
        }
        said = None if body is None else json.dumps(body).encode()
        answer = await asyncio.to_thread(self._browser.request, method, self._base + path, body=said, headers=headers)
        return answer.status, json.loads(answer.data)

    async def parts(self, query: str = "") -> dict[str, Any]:
        status, found = await self.ask("GET", f"/api/inspections?{query}")
        assert status == 200, found
        return dict(found)

    async def part(self, number: int) -> dict[str, Any]:
        return next(p for p in (await self.parts())["parts"] if p["data"]["part"] == number)

    async def says(self, part: dict[str, Any], state: str, **more: str) -> tuple[int, Any]:
        words = {"epoch": part["epoch"], "seq": part["seq"], "state": state, "by": "anna", **more}
        return await self.ask("POST", f"/api/devices/{part['device']}/reviews", words)


def judged(number: int, state: str, label: str = "", score: float = 0.5, recipe: str = "A", **more: Any) -> Event:
    data = {
        "part": number,
        "label": label,
        "score": score,
        "recipe": recipe,
        "boxes": [[1, 1, 9, 9, label, score]],
    } | more
    return Event("inspection", "aoi", state, 1_790_000_000_000_000_000 + number, text=f"why {number}", data=data)


async def with_parts(it: Rig, *parts: Event) -> People:
    """They are at the plane."""
    chain = Chain()
    for part in parts:
        it.daemon.accept(chain.link(part))

    async def here() -> bool:
        return len(await it.events("inspection")) == len(parts)

    await it.until(here)
    return People(it)


async def reviews(it: Rig) -> list[Event]:
    return list(await it.daemon.journal.ask(lambda db: list(sound_events(db, "WHERE kind = 'review' ORDER BY seq"))))


def test_a_word_at_the_plane_reaches_the_device_and_a_second_one_corrects_it(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        people = await with_parts(it, judged(1, "ng", "spur"), judged(2, "ok"))

        async def told(count: int) -> Any:
            part = await people.part(1)
            return part if len(part["reviews"]) == count else None

        first = await people.part(1)
        assert (await people.says(first, "ok", label="dust", text="only dust"))[0] == 202
        seen = await it.until(lambda: told(1))
        assert seen["asked"] is None and seen["refusal"] == ""
        (review,) = seen["reviews"]
        assert (review["state"], review["by"], review["label"], review["text"]) == ("ok", "anna", "dust", "only dust")
        assert (await people.says(seen, "ng"))[0] == 409, "not without naming the one that was seen"
        assert (await people.says(seen, "ng", corrects="0" * 64))[0] == 409
        assert (await people.says(seen, "ng", corrects=review["hash"], by="ben"))[0] == 202
        seen = await it.until(lambda: told(2))
        assert [r["by"] for r in seen["reviews"]] == ["anna", "ben"], "the first one is kept"
        found = await reviews(it)
        assert [e.data["said"] for e in found] == ["ng", "ng"] and found[1].data["corrects"] == found[0].data["hash"]
        assert found[0].data["record"] == first["data"]["hash"] and not list(breaks(found))

    rig(tmp_path, work)


def watched(it: Rig, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The order in which the journal is asked for a part, and an order counts as taken."""
    steps: list[str] = []
    about, moved = it.daemon.reviews.about, it.daemon.journal.moved

    async def asked(seq: Any) -> Event | None:
        found = await about(seq)
        steps.append("asked")
        return found

    def taken(reader: str, stream: str, cursor: Any) -> None:
        steps.extend(["taken"] if stream == "commands" else [])
        moved(reader, stream, cursor)

    monkeypatch.setattr(it.daemon.reviews, "about", asked)
    monkeypatch.setattr(it.daemon.journal, "moved", taken)
    return steps


def test_two_at_once_and_a_word_of_an_older_view_are_refused_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(it: Rig) -> None:
        people = await with_parts(it, judged(1, "ng", "spur"))
        part = await people.part(1)
        await it.daemon._end(it.daemon.readers.values())  # nothing comes down
        assert (await people.says(part, "ok"))[0] == 202
        status, answer = await people.says(part, "ng", by="ben")
        assert status == 409 and "anna has just reviewed" in answer["detail"]
        assert (await people.part(1))["asked"] == {"state": "ok", "label": "", "by": "anna", "text": ""}
        assert (await people.parts("reviewed=open"))["parts"] == []
        assert (await people.parts("reviewed=done"))["parts"] == [await people.part(1)], (
            "also after a reload of the page"
        )
        async with it.daemon.reviews.turn(part["seq"]) as inspection:
            assert inspection is not None
            await it.daemon.reviews.taken(inspection, {"seq": part["seq"], "state": "ng", "by": "carl"})
        steps = watched(it, monkeypatch)
        it.daemon._start_reader("sync")

        async def refused() -> Any:
            now = await people.part(1)
            return now if now["refusal"] else None

        now = await it.until(refused)
        assert "part 1 was reviewed already: carl says NG" in now["refusal"] and now["asked"] is None
        assert [r["by"] for r in now["reviews"]] == ["carl"] and len(await reviews(it)) == 1
        assert steps == ["asked", "taken"], "a power cut between the two would lose the order"

    rig(tmp_path, work)


def test_a_review_of_a_part_that_the_device_keeps_no_more_stands_on_the_planes_word(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        people = await with_parts(it, judged(1, "ng", "spur"))
        part = await people.part(1)
        e = tables.event
        moved = e.update().where(e.c.kind == "inspection").values(seq=part["seq"] + 1000)
        await it.plane.store.write(lambda c: c.execute(moved))
        assert (await people.says(await people.part(1), "ng", label="spur"))[0] == 202

        async def said() -> list[Event]:
            return await reviews(it)

        (review,) = await it.until(said)
        assert (review.key, review.data["said"], review.data["record"]) == ("aoi", "ng", part["data"]["hash"])

        async def shown() -> Any:
            return (await people.part(1))["reviews"]

        await it.until(shown)

    rig(tmp_path, work)


def test_an_order_that_an_older_device_passes_over_ends_with_a_refusal(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        people = await with_parts(it, *(judged(n, "ng", "spur") for n in range(1, 4)))
        await it.daemon._end(it.daemon.readers.values())
        tls = tls_of(it.folder / "dev", "dev-1")

        def older(after: int) -> list[int]:
            """Asks as releases did that knew nothing of reviews."""
            with urllib3.PoolManager(ssl_context=tls, retries=False, timeout=60) as plane:
                url = f"{it.plane.url}/d/v1/dn?after={after}&wait=0"
                return [n for n, *_ in wire.unpack_commands(plane.request("GET", url).data)]

        async def stands() -> list[tuple[bool, bool]]:
            parts = [await people.part(n) for n in range(1, 4)]
            assert all("does not know such an order; update it" in p["refusal"] for p in parts if p["refusal"])
            return [(bool(p["asked"]), bool(p["refusal"])) for p in parts]

        assert (await people.says(await people.part(1), "ok"))[0] == 202
        (number,) = await it.plane.store.read(lambda c: list(c.scalars(select(tables.command.c.number))))
        assert (await people.says(await people.part(2), "ok"))[0] == 202
        assert await stands() == [(True, False), (True, False), (False, False)]
        assert len(await asyncio.to_thread(older, number)) == 1, "the first one it had before the plane was updated"
        assert await stands() == [(False, True), (False, True), (False, False)]
        assert (await people.says(await people.part(3), "ok"))[0] == 202
        for _ in range(2):
            assert len(await asyncio.to_thread(older, number)) == 2
        assert await stands() == [(False, True)] * 3
        e = tables.event
        told = select(e.c.data).where(e.c.device == "@plane", e.c.kind == "command")
        assert len(await it.plane.store.read(lambda c: list(c.scalars(told)))) == 3, "each once"
        it.daemon._start_reader("sync")  # as though it was updated meanwhile

        async def reviewed() -> bool:
            return len(await reviews(it)) == 3 and all([(await people.part(n))["reviews"] for n in range(1, 4)])

        await it.until(reviewed)
        assert await stands() == [(False, False)] * 3, "its own word counts"

    rig(tmp_path, work)


def test_an_order_of_a_later_release_is_refused_by_the_device(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        await it.plane.ingest.command("dev-1", "dance", {"by": "anna"})

        async def told() -> list[Any]:
            wanted = select(tables.event.c.state, tables.event.c.text).where(tables.event.c.key == "dance")
            return await it.plane.store.read(lambda c: c.execute(wanted).all())

        (event,) = await it.until(told)
        assert event.state == "refused" and "does not know such an order; update it" in event.text

    rig(tmp_path, work)


def test_a_new_journal_answers_the_orders_of_the_last_one_once_and_together(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        people = await with_parts(it, *(judged(n, "ng", "spur") for n in range(1, 4)))
        for n in (1, 2):
            assert (await people.says(await people.part(n), "ok"))[0] == 202

        async def reviewed(n: int) -> Any:
            return (await people.part(n))["reviews"]

        for n in (1, 2):
            await it.until(lambda n=n: reviewed(n))
        await it.daemon.stop()
        assert (await people.says(await people.part(3), "ok"))[0] == 202
        for file in (it.folder / "dev").glob("journal.db*"):
            file.unlink()
        await it.device_starts()

        async def refusal() -> Any:
            return (await people.part(3))["refusal"]

        assert "3 orders of the plane are not carried out" in await it.until(refusal)
        assert "before this device began a new journal" in await refusal()
        assert [(bool(p["reviews"]), p["refusal"]) for p in [await people.part(1), await people.part(2)]] == [
            (True, ""),
            (True, ""),
        ]
        await it.daemon.stop()
        await it.device_starts()
        it.daemon.accept(judged(4, "ng", "open"))
        new = await it.until(lambda: maybe(people, 4))
        assert (await people.says(new, "ng"))[0] == 202
        await it.until(lambda: reviewed(4))
        told = await it.daemon.journal.ask(lambda db: list(sound_events(db, "WHERE kind = 'command' ORDER BY seq")))
        assert [(e.key, e.state) for e in told] == [("orders", "refused"), ("review", "")], "once, whatever restarts"

    rig(tmp_path, work)


async def maybe(people: People, number: int) -> dict[str, Any] | None:
    return next((p for p in (await people.parts())["parts"] if p["data"]["part"] == number), None)


def test_a_review_that_the_devices_disk_refuses_ends_with_a_word_and_may_be_said_again(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        people = await with_parts(it, judged(1, "ng", "spur"))
        part, journal = await people.part(1), it.daemon.journal

        async def writes(may: bool) -> None:
            await journal.on_writer(lambda db: db.execute(f"PRAGMA query_only = {int(not may)}"))

        async def refused() -> bool:
            return any(event.state == "refused" for event in journal._pending.events)

        async def shown(what: str) -> Any:
            return (await people.part(1))[what]

        await writes(False)
        assert (await people.says(part, "ok"))[0] == 202
        await it.until(refused)
        await writes(True)
        assert "the journal cannot keep it: the disk is read-only" in await it.until(lambda: shown("refusal"))
        assert await shown("asked") is None and not await reviews(it)
        assert (await people.says(part, "ok", by="ben"))[0] == 202
        assert [r["by"] for r in await it.until(lambda: shown("reviews"))] == ["ben"]
        kept = await journal.ask(lambda db: list(sound_events(db, "ORDER BY seq")))
        assert not taken_out(kept) and not list(breaks(await reviews(it)))

    rig(tmp_path, work)


HOUR = 3600 * 10**9


def test_a_device_whose_clock_was_set_back_hours_shows_its_reviews(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        people = await with_parts(it, replace(judged(1, "ng", "spur"), ts=it.daemon.clock.utc() + 8 * HOUR))
        part = await people.part(1)
        await it.daemon._end(it.daemon.readers.values())  # nothing comes down
        assert (await people.says(part, "ok"))[0] == 202
        assert (await people.says(part, "ok", by="ben"))[0] == 409, "the order waits"
        assert (await people.part(1))["asked"]["by"] == "anna"
        it.daemon._start_reader("sync")

        async def told() -> Any:
            return (await people.part(1))["reviews"]

        assert [r["by"] for r in await it.until(told)] == ["anna"]
        e, t = tables.event, tables.command
        await it.plane.store.write(lambda c: c.execute(e.update().values(ts=e.c.ts - 12 * HOUR)))
        await it.plane.store.write(lambda c: c.execute(t.update().values(number=t.c.number - 12 * HOUR // 10**6)))
        assert await told(), "also hours later"

    rig(tmp_path, work)


def test_an_order_that_a_damaged_device_gave_up_is_no_longer_on_its_way(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        people = await with_parts(it, judged(1, "ng", "spur"), judged(2, "ng", "spur"))
        part = await people.part(1)
        await it.daemon._end(it.daemon.readers.values())  # nothing comes down
        assert (await people.says(part, "ok"))[0] == 202
        number = (await it.plane.store.read(lambda c: c.execute(tables.command.select()).one())).number
        row = {"device": part["device"], "epoch": part["epoch"], "kind": "command", "key": "orders", "state": "refused"}
        row |= {"ts": part["ts"], "severity": "medium", "text": "before the damage", "refs": "[]"}

        async def gives_up(seq: int, last: int) -> None:
            told = {**row, "seq": seq, "data": json.dumps({"number": last})}
            await it.plane.store.write(lambda c: c.execute(tables.event.insert().values(**told)))

        async def one() -> dict[str, Any]:
            found = await people.ask("GET", f"/api/devices/{part['device']}/inspections/{part['epoch']}/{part['seq']}")
            return dict(found[1])

        await gives_up(1001, number - 1)
        assert (await people.part(1))["asked"] and (await one())["asked"], "those before it"
        await gives_up(1002, number)
        for now in (await people.part(1), await one()):
            assert now["asked"] is None and now["refusal"] == "before the damage"
        assert (await people.part(2))["refusal"] == "" and (await people.says(part, "ok"))[0] == 202

    rig(tmp_path, work)


def test_parts_are_chosen_and_ordered(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        scores = {1: 0.9, 2: 0.55, 3: 0.7}
        parts = [judged(n, "ng", "spur", score) for n, score in scores.items()]
        parts += [judged(4, "recheck", recipe="B"), *(judged(n, "ok", score=n / 100) for n in range(5, 9))]
        people = await with_parts(it, *parts)

        async def numbers(query: str) -> list[int]:
            return [part["data"]["part"] for part in (await people.parts(query))["parts"]]

        assert await numbers("") == [8, 7, 6, 5, 4, 3, 2, 1]
        assert await numbers("state=ng,recheck&order=hardest") == [4, 2, 3, 1]
        assert await numbers("state=ok&order=hardest") == [8, 7, 6, 5]
        by_chance = await numbers("state=ok&order=chance")
        assert sorted(by_chance) == [5, 6, 7, 8] and by_chance == await numbers("state=ok&order=chance")
        assert await numbers("label=spur&limit=2") == [3, 2]
        assert await numbers("recipe=B") == [4] and await numbers("device=nobody") == []
        found = await people.parts()
        assert found["labels"] == ["spur"] and found["recipes"] == ["A", "B"] and found["open"] == found["of"] == 8

    rig(tmp_path, work)


def test_a_part_is_found_by_its_number_or_its_code(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        codes = {1: "A7-0031", 2: "a7-0032", 3: "", 31: "B2"}
        people = await with_parts(it, *(judged(n, "ok", code=code) for n, code in codes.items()), judged(32, "ng"))

        async def numbers(called: str) -> list[int]:
            return [part["data"]["part"] for part in (await people.parts(f"called={called}"))["parts"]]

        assert await numbers("A7-003") == [2, 1] and await numbers("31") == [31, 1]
        assert await numbers("32") == [32, 2] and await numbers("3") == [3, 2, 1] and await numbers("C") == []
        assert (await people.part(1))["data"]["code"] == "A7-0031", "a list says it"

    rig(tmp_path, work)


def test_the_small_ledger_says_what_the_audit_says(tmp_path: Path) -> None:
    """Of a part that was reviewed twice the newest word counts; parts of other devices and reviews of old do not."""

    async def work(it: Rig) -> None:
        now = it.daemon.clock.utc()
        parts = [
            replace(judged(n, "ok" if n < 40 else "ng", "" if n < 40 else "spur"), ts=now - n) for n in range(1, 51)
        ]
        people = await with_parts(it, *parts)
        numbered = await it.daemon.journal.ask(
            lambda db: list(db.execute("SELECT seq FROM event WHERE kind = 'inspection'"))
        )
        last: dict[int, str] = {}
        said = [(n, "ng" if n == 7 else "ok", "open" if n == 7 else "") for n in range(1, 31)]
        said += [(45, "ok", ""), (46, "ng", "spur"), (45, "ng", "spur")]
        for n, state, label in said:
            (seq,) = numbered[n - 1]
            words = {"seq": seq, "state": state, "label": label, "by": "anna", "corrects": last.get(n, "")}
            async with it.daemon.reviews.turn(seq) as inspection:
                assert inspection is not None
                last[n] = (await it.daemon.reviews.taken(inspection, words)).data["hash"]

        async def told() -> Any:
            found = (await people.ask("GET", "/api/proof"))[1]
            return found if found["false_calls"]["of"] == 2 and found["false_calls"]["found"] == 0 else None

        found = await it.until(told)
        kept = await it.daemon.journal.ask(lambda db: list(sound_events(db, "ORDER BY seq")))
        audit = account(parts_of(kept), 0.004)
        for name in ("escapes", "false_calls"):
            assert found[name] == asdict(audit[name]), name
        assert found["escapes"]["found"] == 1 and found["escapes"]["of"] == 30
        assert found["pareto"] == [["spur", 2], ["open", 1]]
        assert [sum(column) for column in zip(*found["hours"], strict=True)][1:3] == [11, 50]
        assert all(most == most_by_chance(11 / 50, of) for _, _, of, most in found["hours"])
        assert (await people.ask("GET", "/api/proof?device=nobody"))[1]["escapes"]["of"] == 0

    rig(tmp_path, work)


WRONG: list[dict[str, Any]] = [
    {"state": "fine"},
    {"by": "  "},
    {"by": ""},
    {"text": "x" * 1001},
    {"label": "x" * 81},
    {"seq": 0},
    {"corrects": "x" * 65},
]


def test_what_is_no_review_is_refused_before_it_travels(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        people = await with_parts(it, judged(1, "ng"))
        part = await people.part(1)
        words = {"epoch": part["epoch"], "seq": part["seq"], "state": "ok", "by": "anna"}
        for wrong in WRONG:
            assert (await people.ask("POST", "/api/devices/dev-1/reviews", words | wrong))[0] == 422, wrong
        assert (await people.says({**part, "seq": part["seq"] + 7}, "ok"))[0] == 404
        assert (await people.says({**part, "device": "nobody"}, "ok"))[0] == 404
        assert (await people.ask("GET", f"/api/devices/nobody/inspections/{part['epoch']}/{part['seq']}"))[0] == 404
        status, whole = await people.ask("GET", f"/api/devices/dev-1/inspections/{part['epoch']}/{part['seq']}")
        assert status == 200 and part == whole | {"data": {k: v for k, v in whole["data"].items() if k in part["data"]}}
        assert whole["data"].keys() - part["data"].keys() == {"before"}, "a list says less of each part"
        e = tables.event
        old = e.update().where(e.c.kind == "inspection").values(epoch="f" * 16)
        await it.plane.store.write(lambda c: c.execute(old))
        assert (await people.says(await people.part(1), "ok"))[0] == 202, (
            "the plane does not know that this journal ended"
        )

        async def refused() -> Any:
            return (await people.part(1))["refusal"]

        assert "before a new journal began" in await it.until(refused)
        assert not await reviews(it)

    rig(tmp_path, work)
