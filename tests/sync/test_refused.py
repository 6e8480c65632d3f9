"""What the plane cannot read is kept beside the streams, within bounds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the plane extra")

from sync.control_plane import refused
from sync.control_plane.store import Store
from sync.wire import Frame


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
