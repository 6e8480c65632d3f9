"""The people's side of the plane against strangers, other pages of the same browser, and nonsense."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import urllib3

pytest.importorskip("fastapi", reason="needs the plane extra")

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select
from sqlalchemy.event import listen

from edge import Batch, Event, LinesideError
from edge.codec import encode, encode_event
from sync import wire
from sync.control_plane import forward_state, forward_tables, tables
from sync.control_plane.ca import Authority
from sync.control_plane.messages import apply_frames
from sync.control_plane.permissions import TABLE, Of
from sync.control_plane.plane import Plane
from sync.control_plane.signin import KEY_BYTES, People
from sync.control_plane.store import Store
from sync.control_plane.where import Where

Ask = Callable[..., Awaitable[tuple[int, bytes, dict[str, str]]]]


def page(folder: Path, work: Callable[[Plane, Ask], Awaitable[None]], config: Path | None = None) -> None:
    """`work(plane, ask)` with a running plane; `ask(method, path, body, **headers)` brings no session of its own."""

    async def main() -> None:
        plane = Plane(Where(folder / "plane", device_port=0, page_port=0, config=config))
        await plane.start()
        base = plane.link.split("/login")[0]
        browser = urllib3.PoolManager(retries=False, timeout=60)

        def request(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
            answer = browser.request(method, base + path, body=body or None, headers=headers, redirect=False)
            return answer.status, answer.data, {k.lower(): v for k, v in answer.headers.items()}

        async def ask(method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes, dict[str, str]]:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await asyncio.to_thread(request, method, path, body, named)

        try:
            await work(plane, ask)
        finally:
            browser.clear()
            await plane.stop()

    asyncio.run(main())


@pytest.mark.usefixtures("database")
def test_an_order_for_a_tag_goes_to_a_device_that_is_heard(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        cookie, own = f"session={plane.people.login(plane.people.key)}", plane.link.split("/login")[0]
        tag = wire.Frame("0" * 16, "tag", 1, 0, 0, 1, msgpack.packb(["plc.set", "float64", "", {}, "plc"]))
        await plane.store.write(lambda c: apply_frames(c, "d", [tag]))

        async def order(body: str, path: str = "d/tags/plc.set", **headers: str) -> int:
            given = {"Cookie": cookie, "Content_Type": "application/json", "Origin": own} | headers
            return (await ask("POST", f"/api/devices/{path}", body.encode(), **given))[0]

        assert await order('{"value": 21.5}') == 409, "nobody heard of it"
        nothing = [np.zeros(0, kind).tobytes() for kind in (np.int32, np.int64, np.float64, np.uint8)]
        plane.hub.take("d", msgpack.packb([wire.VERSION, "0" * 16, *nothing, {}]))
        assert await order('{"value": 21.5}') == await order('{"value": "A7"}') == 202
        assert (
            await order('{"value": 1}', "d/tags/plc.other") == 404
            and await order('{"value": 1}', "e/tags/plc.set") == 409
        )
        for body in ("{}", '{"value": null}', '{"value": NaN}', '{"value": []}', '{"value": "%s"}' % ("x" * 300), "no"):
            assert await order(body) == 422, body
        assert await order('{"value": 1}', Cookie="") == 401 and await order('{"value": 1}', Origin="null") == 403
        kept = select(tables.command.c.verb, tables.command.c.data)
        rows = await plane.store.read(lambda c: [(verb, json.loads(data)) for verb, data in c.execute(kept)])
        by = {"tag": "plc.set", "by": "console", "epoch": "0" * 16}
        assert rows == [("write", by | {"value": 21.5}), ("write", by | {"value": "A7"})]

    page(tmp_path, work)


def test_every_route_wants_a_session(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        cookie = f"session={plane.people.login(plane.people.key)}"
        paths: dict[str, dict[str, Any]] = json.loads((await ask("GET", "/openapi.json", Cookie=cookie))[1])["paths"]
        assert "/api/live" in paths and len(paths) >= 8
        open_ones = [tuple(route.split(" ")) for route, need in TABLE.items() if need.of is Of.ANYONE]
        routes = [(method.upper(), path) for path, methods in paths.items() for method in methods]
        for method, path in [*routes, ("GET", "/openapi.json")]:
            if (method, path) not in open_ones:
                assert (await ask(method, re.sub(r"{\w+}", "0", path)))[0] == 401, path

    page(tmp_path, work)


@pytest.mark.usefixtures("database")
def test_nonsense_is_no_error_of_ours(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        cookie = f"session={plane.people.login(plane.people.key)}"
        far, unknown = "9" * 30, 422 if plane.store.engine.dialect.name == "postgresql" else 200
        for path, status in (
            ("/login?key=%C3%A9", 403),
            ("/login", 422),
            ("/%00", 404),
            ("/api/unknown", 404),
            (f"/api/events?before={far}", 422),
            (f"/api/devices/d/series?tag=a&from={far}", 422),
            (f"/api/devices/d/series?tag=a&to={far}", 422),
            ("/api/devices/d/series?tag=a%00", unknown),
            ("/api/devices/%00/tags", unknown),
            ("/api/events?kind=%00", unknown),
            ("/api/pictures/..%2f..%2fplane.db", 404),
        ):
            assert (await ask("GET", path, Cookie=cookie))[0] == status, path
        for path in ("/..%2f..%2fstore.py", "/%2e%2e/%2e%2e/store.py", "//etc/passwd"):
            assert b"def apply_frames" not in (found := (await ask("GET", path))[1]) and b"root:" not in found

    page(tmp_path, work)


@pytest.mark.usefixtures("database")
def test_orders_come_from_our_own_page_about_alarms_that_exist(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        raised = encode_event(Event("alarm", "hot", "raised", time.time_ns(), "high"))
        frame = wire.Frame("0" * 16, "event", 1, 1, 1, 1, raised)
        await plane.store.write(lambda c: apply_frames(c, "d", [frame]))
        cookie = f"session={plane.people.login(plane.people.key)}"
        own = plane.link.split("/login")[0]
        order, kind = b'{"verb": "ack"}', "application/json"
        for origin, status in (
            (own, 202),
            ("http://localhost:3000", 403),
            ("null", 403),
            ("https://evil.example", 403),
        ):
            answer = await ask(
                "POST", "/api/devices/d/alarms/hot", order, Cookie=cookie, Content_Type=kind, Origin=origin
            )
            assert answer[0] == status, origin
        for path in ("/api/devices/d/alarms/cold", "/api/devices/e/alarms/hot"):
            assert (await ask("POST", path, order, Cookie=cookie, Content_Type=kind))[0] == 404

    page(tmp_path, work)


@pytest.mark.usefixtures("database")
def test_what_a_system_refused_is_sent_again_for_people_who_are_signed_in(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        place = {"target": "webhook mes", "device": "d", "epoch": "0" * 16, "seq": 1}
        raised = encode_event(Event("alarm", "hot", "raised", time.time_ns(), "high"))

        def there(c: Any) -> None:
            forward_state.begin(c, "webhook mes")
            apply_frames(c, "d", [wire.Frame("0" * 16, "event", 1, 1, 1, 1, raised)])
            c.execute(forward_tables.undelivered.insert().values(**place, why="422", tries=5, at=time.time()))

        await plane.store.write(there)
        cookie = f"session={plane.people.login(plane.people.key)}"
        for target, origin, status in (
            ("webhook mes", "https://evil.example", 403),
            ("webhook none", plane.link.split("/login")[0], 404),
            ("x" * 90, plane.link.split("/login")[0], 422),
            ("webhook mes", plane.link.split("/login")[0], 202),
        ):
            body = json.dumps({"target": target}).encode()
            given = {"Cookie": cookie, "Content_Type": "application/json", "Origin": origin}
            answer = await ask("POST", "/api/forwarding/again", body, **given)
            assert answer[0] == status, target
        assert json.loads(answer[1]) == {"events": 1}
        assert await plane.store.read(lambda c: c.execute(select(forward_tables.undelivered.c.tries)).scalar()) == 0

    page(tmp_path, work)


def test_what_a_browser_is_told(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        _, _, said = await ask("GET", plane.link[plane.link.index("/login") :])
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(said["set-cookie"].split("; "))
        for path in ("/", "/api/devices"):
            _, _, said = await ask("GET", path)
            assert (
                "default-src 'self'" in said["content-security-policy"]
                and "script" not in said["content-security-policy"]
            )
            assert said["x-content-type-options"] == "nosniff" and said["referrer-policy"] == "no-referrer"
        assert {server.servers[0].sockets[0].getsockname()[0] for server in plane._servers} == {"127.0.0.1"}

    page(tmp_path, work)


def test_half_a_key_signs_nothing(tmp_path: Path) -> None:
    file = tmp_path / "sessions.key"
    file.write_bytes(b"")
    first = People(file)
    assert len(file.read_bytes()) == KEY_BYTES
    assert People(file).known(first.login(first.key))


@pytest.mark.parametrize("query", ["", "kind=gap", "device=d", "device=d&kind=gap", "routine=false", "before=9"])
def test_the_newest_events_come_from_an_index_already_sorted(tmp_path: Path, query: str) -> None:
    asked: list[tuple[str, Any]] = []

    async def work(plane: Plane, ask: Ask) -> None:
        cookie = f"session={plane.people.login(plane.people.key)}"
        listen(
            plane.store.engine, "before_cursor_execute", lambda c, k, text, given, x, many: asked.append((text, given))
        )
        assert (await ask("GET", f"/api/events?{query}", Cookie=cookie))[0] == 200
        ((text, given),) = [(text, given) for text, given in asked if "FROM event" in text]
        with plane.store.engine.connect() as connection:
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", given)]
        assert len(plan) == 1 and "USING INDEX event_" in plan[0]

    page(tmp_path, work)


def test_the_tables_are_what_the_migrations_make(database: str) -> None:
    store = Store(database)
    own = {"table": ("block_", "case_word"), "index": ("case_word",)}  # days of blocks, and the index of words
    known: dict[str, Any] = {"include_name": lambda name, kind, of: not (name or "").startswith(own.get(kind, ("\0",)))}
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=known), tables.metadata) == []
    store.close()


@pytest.mark.usefixtures("database")
def test_numbers_that_json_has_no_word_for_leave_the_page_whole(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        cookie = f"session={plane.people.login(plane.people.key)}"
        data = {"value": math.nan, "range": [-math.inf, math.inf], "text": "NaN"}
        refused = encode_event(Event("write", "plc.a", "refused", time.time_ns(), data=data))
        tag = msgpack.packb(["plc.a", "float64", "", {}, "plc"])
        now = time.time_ns()
        sealed = encode(Batch.of("plc", [1, 1], [math.inf, 2.0], [now - 2000, now - 1000]))
        frames = [
            wire.Frame("0" * 16, "event", 1, 1, 1, 1, refused),
            wire.Frame("0" * 16, "tag", 1, 1, 1, 1, tag),
            wire.Frame("0" * 16, "samples:plc", 1, now - 2000, now - 1000, 2, sealed),
        ]
        await plane.store.write(lambda c: apply_frames(c, "d", frames))
        _, body, _ = await ask("GET", "/api/events", Cookie=cookie)
        assert json.loads(body, parse_constant=refuse)[0]["data"] == {
            "value": None,
            "range": [None, None],
            "text": "NaN",
        }
        _, body, _ = await ask("GET", "/api/devices/d/series?tag=plc.a", Cookie=cookie)
        assert json.loads(body, parse_constant=refuse)["v"] == [None, 2.0]

    page(tmp_path, work)


def refuse(word: str) -> None:
    raise AssertionError(word)


@pytest.mark.parametrize("file", ["ca.pem", "ca.key", "plane.db"])
def test_a_plane_whose_files_are_damaged_says_which(tmp_path: Path, file: str) -> None:
    Authority(tmp_path)
    Store(f"sqlite:///{tmp_path / 'plane.db'}").close()
    (tmp_path / file).write_text("garbage")
    with pytest.raises(LinesideError, match=rf"{file}.* back from a backup"):
        Plane(Where(tmp_path, device_port=0, page_port=0))


def test_a_key_of_another_authority_is_no_pair(tmp_path: Path) -> None:
    Authority(tmp_path / "other")
    Authority(tmp_path / "mine")
    (tmp_path / "mine" / "ca.key").write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    with pytest.raises(LinesideError, match="no pair"):
        Authority(tmp_path / "mine")


def test_names_of_the_plane(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.server([f"{'x' * 60}.example", "werk-süd.example", "::1"])
    with pytest.raises(LinesideError, match="neither a host name nor an address"):
        authority.server(["plane..example"])


def test_what_is_secret_is_read_by_its_owner_only(tmp_path: Path) -> None:
    async def work(plane: Plane, ask: Ask) -> None:
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "plane").iterdir()}
        assert {modes[name] for name in ("ca.key", "sessions.key")} == {0o600}
        assert not [name for name in modes if name.startswith(("server", "tls-"))], "that of the listener is on no disk"
        assert (tmp_path / "plane").stat().st_mode & 0o777 == 0o700

    page(tmp_path, work)
