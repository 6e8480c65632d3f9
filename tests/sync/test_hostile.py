"""An enrolled device that sends what it should not, and strangers at the page: refused in words, the others go on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

import msgpack
import numpy as np
import urllib3
import zstandard

from edge import Event, Record, encode_event
from edge.cli import main
from sync import wire
from sync.control_plane import heads, live
from tests.sync.enrolled import tls_of
from tests.sync.test_spine import Rig, rig

EPOCH = "0123456789abcdef"


def raw(fields: list[Any]) -> bytes:
    return b"\1" + zstandard.compress(msgpack.packb(fields))


def deep(levels: int) -> Any:
    data: Any = {}
    for _ in range(levels):
        data = {"x": data}
    return data


def gap(**data: Any) -> bytes:
    return encode_event(
        Event("gap", "plc", "x", 1, data={"stream": "samples:plc", "first": 1, "last": 2, **data}, id="1")
    )


EVENTS = [
    b"\1" + zstandard.compress(bytes(60 * 2**20)),
    b"\1" + zstandard.compress(b"\x91" * 100_000),
    gap(first="one"),
    gap(last=2**64 - 1),
    gap(first=None),
    raw(["1", 2**64 - 1, "k", "k", "", "info", "", {}, []]),
    raw(["1", "soon", "k", "k", "", "info", "", {}, []]),
    raw(["1", 1, "alarm", "hot", "shelved", "high", "", {"until": "x"}, []]),
    raw(["1", 1, "alarm", "hot", "raised", "high", "", [1, 2], []]),
    raw(["1", 1, "gap", "k", "", "info", "", 7, []]),
    raw(["1", 1, "alarm", "hot", "raised", ["high"], "", {}, []]),
    raw(["1", 1, "alarm", {"hot": 1}, "raised", "high", "", {}, []]),
    raw([1, 1, None, "k", "", "info", b"text", {}, []]),
    raw(["1", 1, "k", "k", "", "info", "", deep(500), []]),
]


def test_what_an_enrolled_device_should_not_send(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        tls = tls_of(it.folder / "dev", "dev-1")

        def ask(method: str, path: str, body: bytes = b"") -> int:
            with urllib3.PoolManager(ssl_context=tls, retries=False, timeout=60) as plane:
                return int(plane.request(method, it.plane.url + path, body=body).status)

        async def refused(*arguments: Any) -> bool:
            return await asyncio.to_thread(ask, *arguments) in (400, wire.REJECTED)

        for number, body in enumerate(EVENTS):
            assert await refused("POST", "/d/v1/up", wire.pack(EPOCH, [Record("event", 1, body)])), f"event {number}"
        for tag in (b"", b"\x91" * 100_000, msgpack.packb([1, 2]), msgpack.packb(["n", "t", "u", 5, "s"])):
            assert await refused("POST", "/d/v1/up", wire.pack(EPOCH, [Record("tag", 1, tag)]))
        assert await refused("POST", "/d/v1/up", b"\x91" * 100_000)
        for status in ({"a": b"bytes"}, {"a": float("nan")}, deep(900)):
            assert await refused("POST", "/d/v1/live", msgpack.packb([wire.VERSION, EPOCH, b"", b"", b"", b"", status]))
        assert await refused("GET", f"/d/v1/dn?after={10**30}")
        assert await refused("GET", "/d/v1/stands?epoch=x")
        assert await refused("POST", "/d/v1/enroll", b"[" * 4000)
        assert await it.all_arrived() == it.daemon.journal.totals.appended

    rig(tmp_path, work)


@pytest.mark.parametrize(
    "said", [b"GET /", b"GET / HTTP/1.1\r\na: ", b"GET / HTTP/1.1\r\n"], ids=["line", "header", "headers"]
)
def test_a_head_without_an_end_is_read_up_to_a_bound(
    tmp_path: Path, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a stranger too, and on both listeners; and not because time is over."""
    monkeypatch.setattr(heads, "LONGEST_HEAD", 1000.0)

    async def hangs_up(address: str) -> None:
        host, _, port = address.rpartition(":")
        secure = ssl._create_unverified_context() if address.startswith("https") else None
        read, write = await asyncio.open_connection(host.partition("//")[2], int(port.partition("/")[0]), ssl=secure)
        try:
            async with asyncio.timeout(60):
                write.write(said)
                for _ in range(100):
                    write.write(b"x-y: z\r\n" * 1000 if said.endswith(b"\n") else b"x" * 8000)
                    await write.drain()
                assert not await read.read()
        except ConnectionError:
            pass
        finally:
            write.transport.abort()

    async def work(it: Rig) -> None:
        for address in (it.plane.url, it.plane.link):
            await hangs_up(address)

    rig(tmp_path, work)


@pytest.mark.parametrize(
    "said", [b"", b"GET / HT", b"GET /login HTTP/1.1\r\nHost: x\r\n\r\nGET / HT"], ids=["none", "half", "second"]
)
def test_a_head_that_never_ends_is_waited_for_up_to_a_bound(tmp_path: Path, monkeypatch: Any, said: bytes) -> None:
    monkeypatch.setattr(heads, "LONGEST_HEAD", 0.5)

    async def work(it: Rig) -> None:
        for address in (it.plane.url, it.plane.link):
            host, _, port = address.rpartition(":")
            secure = ssl._create_unverified_context() if address.startswith("https") else None
            read, write = await asyncio.open_connection(
                host.partition("//")[2], int(port.partition("/")[0]), ssl=secure
            )
            write.write(said)
            async with asyncio.timeout(120):
                with contextlib.suppress(OSError):
                    await read.read()
            write.close()

    rig(tmp_path, work)


def test_what_a_stranger_should_not_ask_the_page(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        base = it.plane.link.partition("/login")[0]
        session = it.plane.people.login(it.plane.people.key)

        def get(path: str) -> int:
            with urllib3.PoolManager(retries=False, timeout=60) as page:
                answer = page.request("GET", base + path, headers={"Cookie": f"session={session}"}, redirect=False)
                return int(answer.status)

        assert await asyncio.to_thread(get, "/login?key=%C3%BC") == 403
        for path in (
            "/login?key=%ED%A0%80",
            f"/api/devices/dev-1/series?tag=plc.temp&from={10**30}",
            f"/api/events?before={10**30}",
            f"/api/events?kind=%00&device={'x' * 5000}",
            "/api/devices/%00/tags",
            "/%00",
            "/..%2f..%2f..%2fetc%2fpasswd",
            f"/{'x' * 5000}",
        ):
            assert await asyncio.to_thread(get, path) < 500, path

    rig(tmp_path, work)


def test_a_device_that_leaves_in_the_middle_of_a_message_is_no_error_of_ours(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        said: list[Any] = []

        async def leaves() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            said.append(message)

        scope = {"type": "http", "method": "POST", "path": "/d/v1/enroll", "headers": [], "query_string": b""}
        await it.plane.ingest.app(scope, leaves, send)
        assert said[0]["status"] == wire.REJECTED  # to nobody

    rig(tmp_path, work)


def test_the_plane_ends_without_a_complaint_while_a_device_keeps_its_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(it: Rig) -> None:
        async def some() -> bool:
            return await it.count() > 0

        await it.until(some)
        logging.getLogger("uvicorn.error").addHandler(caplog.handler)
        await it.plane.stop()
        assert not [record.getMessage() for record in caplog.records if record.name == "uvicorn.error"]
        await it.plane_starts()

    rig(tmp_path, work)


@pytest.mark.parametrize("port", ["65536", "-1", "http"])
def test_what_is_no_port_is_said(port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plane", "--folder", str(tmp_path), f"--page-port={port}"]) == 2
    assert f"{port!r} is no port" in capsys.readouterr().err


def test_what_a_device_says_of_its_newest_values_fills_no_memory(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setattr(live, "MOST_TAGS", 5)
    hub, page = live.Hub(), []

    def says(epoch: str, *tags: int) -> None:
        n = len(tags)
        columns = np.array(tags, np.int32), np.full(n, 1, np.int64), np.zeros(n), np.zeros(n, np.uint8)
        hub.take("d", msgpack.packb([wire.VERSION, epoch, *(c.tobytes() for c in columns), {"every": "soon"}]))
        page.append(told.get_nowait())

    told = hub.listen()
    for tags in ((1, 2, 3), (4, 1, 5, 6), (7, 8, 2)):
        says(EPOCH, *tags)
    newest = hub.devices["d"]
    assert set(newest.values) == set(newest.recent.all()["tag"]) == {1, 2, 3, 4, 5} and not newest.silent()
    assert [set(message["values"]) for message in page] == [{1, 2, 3}, {1, 4, 5}, {2}]
    assert sum("more than 5 tags" in line for line in caplog.messages) == 1
    says("f" * 16, 9)
    assert set(newest.values) == {9}, "another journal has its own numbers"
    with pytest.raises(wire.WireFault, match="50,000 go at once"):
        says(EPOCH, *range(live.MOST_ROWS + 1))
