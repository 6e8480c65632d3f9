"""A block goes past the routes: whatever is asked there, the answer is the one that the routes give."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from edge import Batch, Record, encode
from sync import wire
from sync.control_plane import tables
from sync.control_plane.ca import Authority
from sync.control_plane.database import insert_new
from sync.control_plane.ingest import Ingest
from sync.control_plane.live import Hub
from sync.control_plane.store import Store
from tests.sync.enrolled import shown
from tests.sync.stored import with_store

EPOCH = "0" * 16
BLOCK = wire.pack(EPOCH, [Record("samples:plc", 1, encode(Batch.of("plc", [1], [1.0], 1)), 1, 1, 1)])
_authority = Authority(Path(tempfile.mkdtemp()))
ENROLLED, OTHER, GUESS = (shown(_authority, name) for name in ("dev-1", "dev-2", "dev-1"))
KNOWN = ENROLLED.scope
ASKED = {
    "a block": ("POST", "/d/v1/up", KNOWN, BLOCK),
    "in pieces that are not here": ("POST", "/d/v1/up?whole=" + "0" * 64, KNOWN, b""),
    "a stranger": ("POST", "/d/v1/up", OTHER.scope, BLOCK),
    "another key": ("POST", "/d/v1/up", GUESS.scope, BLOCK),
    "no proof": ("POST", "/d/v1/up", {}, BLOCK),
    "garbage": ("POST", "/d/v1/up", KNOWN, b"garbage"),
    "too large": ("POST", "/d/v1/up", KNOWN, bytes(wire.MOST_MESSAGE + 1)),
    "a number beyond 64 bits": (
        "POST",
        "/d/v1/up",
        KNOWN,
        wire.pack(EPOCH, [Record("samples:plc", 2, b"", 1, 2**63 - 1)]),
    ),
    "another method": ("GET", "/d/v1/up", KNOWN, b""),
    "another path": ("POST", "/d/v1/up/", KNOWN, BLOCK),
    "no path": ("POST", "/d/v1/none", KNOWN, BLOCK),
}


async def ask(app: Any, method: str, target: str, proof: dict[str, Any], body: bytes) -> list[dict[str, Any]]:
    path, _, query = target.partition("?")
    said: list[dict[str, Any]] = []
    parts = [body[k : k + 2**20] for k in range(0, len(body), 2**20)] or [b""]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(part: Any) -> None:
        said.append(part)

    headers = [(b"host", b"plane")]
    scope: dict[str, Any] = {
        **proof,
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": headers,
    }
    await app({**scope, "scheme": "https", "server": ("plane", 443), "root_path": ""}, receive, send)
    return said


def test_every_answer_is_that_of_the_routes(database: str) -> None:
    async def work(store: Store) -> None:
        await store.write(lambda c: insert_new(c, tables.device, [ENROLLED.row]))
        ingest = Ingest(store, Hub(), _authority)
        door: Any = ingest.app
        for name, asked in ASKED.items():
            short, long = await ask(door, *asked), await ask(door._application, *asked)
            assert short == long, name
            assert short[0]["status"] in (200, 307, 401, 404, 405, 409, wire.REJECTED), name

    with_store(database, work)


def test_a_fault_of_ours_is_an_error_by_both_ways(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(store: Store) -> None:
        async def broken(*_: Any) -> Any:
            raise RuntimeError("a fault of ours")

        ingest = Ingest(store, Hub(), _authority)
        monkeypatch.setattr(ingest.callers.keys, "of", broken)
        door: Any = ingest.app
        for way in (door, door._application):
            with pytest.raises(RuntimeError, match="a fault of ours"):
                await ask(way, *ASKED["a block"])

    with_store(database, work)
