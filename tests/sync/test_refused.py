"""What the plane cannot read is kept beside the streams, within bounds."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import urllib3

pytest.importorskip("fastapi", reason="needs the plane extra")

from sync.control_plane import refused
from sync.control_plane.store import Store
from sync.wire import Frame
from tests.sync.test_spine import Rig, rig

pytestmark = pytest.mark.usefixtures("database")


def test_what_is_set_aside_is_kept_once_and_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused, "MOST", 3)
    monkeypatch.setattr(refused, "MOST_BYTES", 100)

    async def main() -> None:
        store = Store(f"sqlite:///{tmp_path / 'plane.db'}")

        async def comes(device: str, seq: int, size: int) -> list[tuple[str, int, int]]:
            frame = Frame("0" * 16, "event", seq, 1, 2, 1, bytes(size))
            await store.write(lambda c: refused.set_aside(c, device, frame, "no event"))
            return [(row["device"], row["seq"], row["bytes"]) for row in await store.read(refused.listed)]

        assert await comes("a", 1, 10) == [("a", 1, 10)]
        assert await comes("a", 1, 10) == [("a", 1, 10)], "once"
        for seq in (2, 3, 4):
            held = await comes("a", seq, 10)
        assert held == [("a", 4, 10), ("a", 3, 10), ("a", 2, 10)], "the oldest goes"
        assert await comes("a", 5, 85) == [("a", 5, 85), ("a", 4, 10)], "also where they are large"
        assert len(await comes("b", 1, 10)) == 3, "each device has its own room"
        store.close()

    asyncio.run(main())


def test_a_record_is_fetched_as_it_came_and_discarded_once_with_a_reason(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        session = it.plane.people.login(it.plane.people.key)

        async def ask(method: str, path: str, **more: Any) -> Any:
            def send() -> Any:
                with urllib3.PoolManager(retries=False, timeout=60) as page:
                    url = it.plane.link.split("/login")[0] + path
                    return page.request(method, url, headers={"Cookie": f"session={session}"}, **more)

            return await asyncio.to_thread(send)

        frame = Frame("0" * 16, "samples:锅炉", 7, 1, 2, 3, b"\x00\xff<script>")
        await it.plane.store.write(lambda c: refused.set_aside(c, "dev-1", frame, "no block"))
        place = {"device": "dev-1", "epoch": "0" * 16, "stream": "samples:锅炉", "seq": 7}
        (row,) = (await ask("GET", "/api/refused")).json()
        assert (await ask("GET", "/api/refused/count")).json() == {"records": 1}
        assert {k: row[k] for k in place} == place and (row["bytes"], row["why"]) == (10, "no block")
        copy = await ask("GET", "/api/refused/body", fields={k: str(v) for k, v in place.items()})
        assert (copy.data, copy.headers["Content-Type"]) == (frame.body, "application/octet-stream")
        assert copy.headers["Content-Disposition"].startswith("attachment;")
        for reason in ("", "   ", "x" * 201, None):
            assert (await ask("POST", "/api/refused/discard", json=place | {"reason": reason})).status == 422
        other = place | {"seq": 8, "reason": "x"}
        assert (await ask("POST", "/api/refused/discard", json=other)).status == 404
        assert len((await ask("GET", "/api/refused")).json()) == 1
        assert (await ask("POST", "/api/refused/discard", json=place | {"reason": " seen "})).status == 200
        assert (await ask("POST", "/api/refused/discard", json=place | {"reason": "again"})).status == 404
        assert (await ask("GET", "/api/refused")).json() == []
        gone = await ask("GET", "/api/refused/body", fields={k: str(v) for k, v in place.items()})
        assert gone.status == 404
        (event,) = (await ask("GET", "/api/events?kind=refused")).json()
        kept = {k: event["data"][k] for k in ("stream", "seq", "bytes", "why", "reason", "by")}
        assert kept == {
            "stream": "samples:锅炉",
            "seq": 7,
            "bytes": 10,
            "why": "no block",
            "reason": "seen",
            "by": "console",
        }
        assert (event["device"], event["key"], event["state"]) == ("@plane", "dev-1", "discarded")

    rig(tmp_path, work)
