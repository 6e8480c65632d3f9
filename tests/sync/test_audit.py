"""The audit: a row for whatever was changed, and nothing about it can be made undone."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import delete, func, select, update

from edge import SECOND, LinesideError
from edge.cli import main
from sync.control_plane import audit, commands, entrance, tables, unended
from sync.control_plane.audit import Deed
from sync.control_plane.plane import Plane
from sync.control_plane.standing import StoreFault
from sync.control_plane.store import Store
from sync.control_plane.verb import never
from tests.sync.stored import with_store
from tests.sync.tenants import FOREIGN, OWN, settled, somebody
from tests.sync.test_page import Ask, page

t = tables.audit


async def written(store: Store, many: int) -> None:
    for k in range(many):
        deed = Deed("li", "127.0.0.1", "POST /x", "acme", f"d{k}", after=audit.digest(k), result="200")
        await store.write(lambda c, d=deed: audit.record(c, d))  # type: ignore[misc]


def swapped(connection: Any) -> None:
    for number, other in ((2, 100), (3, 2), (100, 3)):
        connection.execute(update(t).where(t.c.number == number).values(number=other))


def anew(connection: Any) -> None:
    """By somebody who knows how it is made."""
    connection.execute(update(t).where(t.c.number == 2).values(who="nobody"))
    before = audit.START
    for row in list(audit.rows(connection)):
        before = audit.chained(row, before)
        connection.execute(update(t).where(t.c.number == row["number"]).values(hash=before))


@pytest.mark.parametrize(
    ("hand", "told"),
    [
        (lambda c: c.execute(update(t).where(t.c.number == 3).values(who="nobody")), "row 3 does not follow"),
        (lambda c: c.execute(update(t).where(t.c.number == 5).values(ts=1)), "row 5 does not follow"),
        (lambda c: c.execute(delete(t).where(t.c.number == 1)), "row 1 is missing"),
        (lambda c: c.execute(delete(t).where(t.c.number == 3)), "row 3 is missing: after 2 comes 4"),
        (swapped, "row 2 does not follow"),
        (lambda c: c.execute(delete(t).where(t.c.number > 3)), "the end is cut: row 5 of the export"),
        (anew, "row 5 is another one than in the export"),
        (None, ""),
    ],
)
def test_a_hand_in_the_audit_is_found(database: str, tmp_path: Path, hand: Any, told: str) -> None:
    async def work(store: Store) -> None:
        await written(store, 5)
        file = tmp_path / "export.jsonl"
        assert (await store.read(lambda c: audit.export(c, file)))[0] == 5
        if hand:
            await store.write(lambda c: hand(c) and None)
        await store.write(lambda c: c.execute(delete(t).where(t.c.number > 5)) and None)

        def look(connection: Any) -> None:
            audit.checked(audit.rows(connection))
            audit.compared(connection, audit.exported(file))

        if told:
            with pytest.raises(LinesideError, match=told):
                await store.read(look)
        else:
            await store.read(look)
            await written(store, 2)
            await store.read(look)

    with_store(database, work)


def test_an_export_that_was_changed_is_none(database: str, tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await written(store, 4)
        file = tmp_path / "export.jsonl"
        await store.read(lambda c: audit.export(c, file))
        lines = file.read_text().splitlines()
        assert len(audit.exported(file)) == 4
        other = lines[0].replace("li", "xi")
        changed = [
            lines[:-1],
            lines[:2] + lines[3:],
            lines[1:],
            [*lines[:3], lines[-1]],
            [],
            ["x"],
            [other, *lines[1:]],
        ]
        for some in changed:
            file.write_text("\n".join(some))
            with pytest.raises(LinesideError):
                audit.exported(file)

    with_store(database, work)


def test_two_that_write_at_once_make_one_chain(database: str) -> None:
    """A command beside a running plane, or two processes of one."""

    async def work(store: Store) -> None:
        other = Store(database)
        try:
            await asyncio.gather(*(written(one, 20) for one in (store, other)))
            deed = Deed("li", "127.0.0.1", "POST /x", "acme", "d" * 500)
            for _ in range(2):
                await other.write(lambda c: unended.Under(lambda: deed).note(c, deed))
            assert len(await store.write(closed)) == 2 and await other.write(closed) == []
            assert (await store.read(lambda c: audit.checked(audit.rows(c))))[0] == 42
        finally:
            other.close()

    with_store(database, work)


CASES: dict[str, list[str]] = {
    "invite": ["--site", "acme"],
    "backup": ["{folder}/../backup"],
    "broker": [],
    "proxy": ["--url", "https://plane.example:8443"],
    "issuer": [],
    "revoke": [OWN],
    "place": [OWN, "acme"],
    "person": ["signout", "li"],
    "apikey": ["add", "k", "viewer"],
    "config": ["put", "site/acme", "{folder}/layer.yaml"],
    "rollout": ["start", "config", "--all"],
    "model": ["promote", "washer-3"],
    "command": [OWN, "tail"],
    "cases": ["import", "{folder}/cases.csv", "--at", "acme"],
    "assets": ["import", "{folder}/assets.csv", "--at", "acme"],
}
LATER = {"restore"}  # has its own case below


def test_each_command_that_changes_something_leaves_one_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Done, and refused as well. A new command is listed here, or among those that only read."""

    async def work(plane: Plane, ask: Ask) -> None:
        await settled(plane)

    page(tmp_path, work)
    changing = {name for name, verb in commands.VERBS.items() if verb.changes is not never}
    assert set(CASES) | LATER == changing, "each has a case here, with words that change something"
    (tmp_path / "plane" / "layer.yaml").write_text("{}")
    (tmp_path / "plane" / "cases.csv").write_text("id,symptom\nP-1,it is loud\n")
    (tmp_path / "plane" / "assets.csv").write_text("id,place,name\nP-1,acme/suzhou,Pump\n")
    folder = tmp_path / "plane"
    (folder / "url").write_text("https://plane.example:8443")

    def newest() -> list[dict[str, Any]]:
        assert main(["plane", "audit", "--folder", str(folder)]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    for do, words in CASES.items():
        before = len(newest())
        said = [word.format(folder=folder) for word in words]
        code = main(["plane", do, *said, "--folder", str(folder)])
        capsys.readouterr()
        *_, row = rows = newest()
        assert len(rows) == before + 1 and row["what"].startswith(f"plane {do}")
        assert (row["result"] == "done") == (code == 0) and (code == 0 or do in ("config", "rollout", "model")), row
        assert row["who"].startswith("local") and row["origin"] == "local"
    for words in (["revoke", "nobody"], ["place", "nobody", "acme"], ["person", "remove", "nobody"]):
        before = len(newest())
        assert main(["plane", *words, "--folder", str(folder)]) == 2
        capsys.readouterr()
        assert newest()[before:][0]["result"].startswith("refused: ") and len(newest()) == before + 1
    fresh = tmp_path / "fresh"
    assert main(["plane", "restore", str(tmp_path / "backup"), "--folder", str(fresh)]) == 0
    assert main(["plane", "audit", "check", "--folder", str(fresh)]) == 0
    folder = fresh
    capsys.readouterr()
    assert newest()[-1]["what"] == "plane restore"


def test_an_auditor_reads_what_was_done_at_their_node(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        await settled(plane)
        all_of_it = await somebody(plane, "wang", ("platform_admin", ""))
        ours = await somebody(plane, "li", ("auditor", "acme"))
        for device in (OWN, FOREIGN):
            path = f"/api/devices/{device}/alarms/{device}-alarm"
            for verb in ("ack", "shelve"):
                body = json.dumps({"verb": verb}).encode()
                assert (await ask("POST", path, body, Content_Type="application/json", **all_of_it))[0] == 202
        rows = json.loads((await ask("GET", "/api/audit", **ours))[1])
        assert [row["about"] for row in rows] == [f"{OWN} alarm {OWN}-alarm"] * 2
        assert rows[0]["before"] == rows[1]["before"] != "" and rows[0]["after"] != rows[1]["after"]
        assert len(json.loads((await ask("GET", "/api/audit", **all_of_it))[1])) == 4
        assert len(json.loads((await ask("GET", f"/api/audit?before={rows[0]['number']}", **ours))[1])) == 1
        command = tables.command
        data = await plane.store.read(lambda c: c.scalars(select(command.c.data)).all())
        assert {json.loads(one)["by"] for one in data} == {"wang"}, "the device is told who wanted it"

    page(tmp_path, work)


def test_a_sign_in_is_a_row_also_one_that_failed(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        body = json.dumps({"name": "li", "password": "not it at all"}).encode()
        await ask("POST", "/api/login", body, Content_Type="application/json")
        await ask("GET", "/login?key=wrong")
        rows = await plane.store.read(lambda c: audit.newest(c, 9))
        assert [(row["what"], row["who"], row["about"], row["result"], row["after"]) for row in rows] == [
            ("GET /login", "", "the link", "403", ""),
            ("POST /api/login", "", "li", "401", ""),
        ]
        await ask("POST", "/api/login", b'{"password": "not it at all"}', Content_Type="application/json")
        (row,) = await plane.store.read(lambda c: audit.newest(c, 1))
        assert (row["result"], row["after"]) == ("422", ""), "no hash of what a password is part of"
        await ask("POST", "/api/devices/d/alarms/a", b"{}", Content_Type="application/json")
        assert await plane.store.read(lambda c: c.scalar(select(func.count()).select_from(t))) == 3, (
            "a stranger fills no table"
        )

    page(tmp_path, work)


def test_a_stranger_fills_no_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "TRIES", 3.0)
    monkeypatch.setattr(entrance, "TRIED", 1e-3)

    async def work(plane: Plane, ask: Ask) -> None:
        wrong = [(await ask("GET", "/login?key=wrong"))[0] for _ in range(5)]
        assert wrong == [403] * 3 + [429] * 2
        assert (await ask("POST", "/api/login", b"{}", Content_Type="application/json"))[0] == 429
        assert (await ask("GET", f"/login?key={plane.people.key}"))[0] == 303, "who is known is let in all the same"
        rows = await plane.store.read(lambda c: audit.newest(c, 9))
        assert [(row["who"], row["result"]) for row in rows] == [("console", "303"), *[("", "403")] * 3]

    page(tmp_path, work)


def closed(connection: Any, later: float = 61.0) -> list[tuple[str, ...]]:
    """The rows of what nobody has ended, so many seconds later."""
    many = unended.close(connection, time.time_ns() + int(later * SECOND))
    audit.checked(audit.rows(connection))
    named = ("who", "what", "about", "after", "result")
    return [tuple(row[name] for name in named) for row in (audit.newest(connection, many) if many else [])]


def test_what_cannot_be_recorded_is_not_said_to_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not at once; and later what was stored has its row all the same, and what was not has none."""

    def broken(*_: Any) -> None:
        raise StoreFault("the disk is full, or the plane was killed")

    monkeypatch.setattr("sync.control_plane.entrance.record", broken)

    async def work(plane: Plane, ask: Ask) -> None:
        await settled(plane)
        who = await somebody(plane, "li", ("operator", "acme"))
        json_of = {"Content_Type": "application/json", **who}
        for alarm in (f"{OWN}-alarm", "unknown"):
            status, said, _ = await ask("POST", f"/api/devices/{OWN}/alarms/{alarm}", b'{"verb": "ack"}', **json_of)
            assert status == 503 and b"cannot be recorded" in said
        (order,) = await plane.store.read(lambda c: c.execute(select(tables.command)).mappings().all())
        assert order["verb"] == "ack" and await plane.store.write(lambda c: closed(c, 5.0)) == [], "it may be under way"
        ((*row, result),) = await plane.store.write(closed)
        what = "POST /api/devices/{device}/alarms/{key}"
        assert row == ["li", what, f"{OWN} alarm {OWN}-alarm", hashlib.sha256(b'{"verb": "ack"}').hexdigest()]
        assert result.startswith("begun 20") and result.endswith(", its end is not known")
        assert await plane.store.write(closed) == [], "once"
        monkeypatch.undo()
        await ask("POST", f"/api/devices/{OWN}/alarms/{OWN}-alarm", b'{"verb": "ack"}', **json_of)
        assert await plane.store.write(closed) == [], "what has its row needs none"

    page(tmp_path, work)
    (folder := tmp_path / "plane").joinpath("url").write_text("https://plane.example:8443")
    with closing(Store(f"sqlite:///{folder}/plane.db")) as store, monkeypatch.context() as patched:
        patched.setattr(audit, "record", broken)
        for words in (["place", OWN, "acme"], ["place", "nobody", "acme"], ["proxy"], ["apikey", "list"]):
            main(["plane", *words, "--folder", str(folder)])
        patched.undo()
        assert asyncio.run(store.write(closed)) == [], "a command may wait for a device"
        done = asyncio.run(store.write(lambda c: closed(c, 3601.0)))
        assert [row[1] for row in done] == ["plane proxy", "plane place"], "the newest first"
        main(["plane", "proxy", "--folder", str(folder)])
        assert asyncio.run(store.write(lambda c: closed(c, 3601.0))) == []
    capsys.readouterr()
