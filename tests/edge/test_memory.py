"""What a driver remembers over restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge import DriverConfig, load_site, plugins
from edge.app import Daemon
from edge.memory import MOST_REMEMBERED, packed, remembered, unpacked


class Counting:
    """Remembers how many times it ran."""

    class Config(DriverConfig):
        note: str = ""

    seen: list[dict[str, Any]] = []

    def __init__(self, config: Any, source: Any) -> None:
        self.source = source

    async def run(self) -> None:
        Counting.seen.append(dict(self.source.memory))
        self.source.remember({"runs": self.source.memory.get("runs", 0) + 1})
        self.source.running()
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    Counting.seen = []
    for name in ("counting", "other"):
        monkeypatch.setitem(plugins._extra, ("drivers", name), Counting)
    yield


def site(folder: Path, *lines: str) -> Any:
    path = folder / "site.yaml"
    path.write_text("\n".join(["device: {id: d}", "drivers:", *lines]) + "\n")
    return load_site(path)


async def until(daemon: Daemon, runs: int) -> None:
    async with asyncio.timeout(120):
        while len(Counting.seen) < runs:
            await asyncio.sleep(0)


def test_a_memory_outlives_the_daemon_and_a_change_of_the_site(tmp_path: Path) -> None:
    async def first() -> None:
        daemon = Daemon(site(tmp_path, "  a: {driver: counting}"), tmp_path)
        await daemon.start()
        await until(daemon, 1)
        await daemon.change(site(tmp_path, "  a: {driver: counting, note: changed}"))
        await until(daemon, 2)
        await daemon.stop()

    async def second() -> None:
        daemon = Daemon(site(tmp_path, "  a: {driver: counting}", "  b: {driver: counting}"), tmp_path)
        await daemon.start()
        await until(daemon, 4)
        await daemon.stop()

    asyncio.run(first())
    assert Counting.seen == [{}, {"runs": 1}]
    asyncio.run(second())
    assert Counting.seen[2:] == [{"runs": 2}, {}], "each entry has its own"
    kinds = {"a": "counting", "b": "counting", "c": "counting"}
    assert remembered(tmp_path / "journal.db", kinds) == {"a": {"runs": 3}, "b": {"runs": 1}, "c": {}}
    assert remembered(tmp_path / "journal.db", {"a": "other"}) == {"a": {}}, "of another kind of driver"
    assert remembered(tmp_path / "nothing.db", kinds) == {}


def test_too_much_to_remember_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.memory.MOST_REMEMBERED", 10)

    async def main() -> None:
        daemon = Daemon(site(tmp_path, "  a: {driver: counting}"), tmp_path)
        await daemon.start()
        await until(daemon, 1)
        part = daemon.health.part("a")
        assert part.counts["not_remembered"] == 1 and daemon.memories == {}
        assert daemon.drivers["a"].outlet and daemon.drivers["a"].outlet.state == "running"
        await daemon.stop()

    asyncio.run(main())


def test_only_a_little_json_is_remembered() -> None:
    assert unpacked("k", packed("k", {"a": [1, "ü"]})) == {"a": [1, "ü"]}
    for facts in ({"a": "x" * MOST_REMEMBERED}, {"a": object()}, {"a": float("nan")}, {"a": b""}):
        with pytest.raises(ValueError, match=r"remembered|JSON"):
            packed("k", facts)


NONE = [None, b"", b"\xff", b"{}", b"7", b"[1]", b'[1, "k", []]', b'[2, "k", {}]', b"[" * 60_000, b" " * 70_000]


@pytest.mark.parametrize("body", [*NONE, packed("other", {"a": 1})])
def test_what_is_no_memory_is_none(body: bytes | None) -> None:
    assert unpacked("k", body) == {}
