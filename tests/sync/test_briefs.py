"""Lists of judged parts are built beside the plane's loop, and each part is read once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import Connection

from sync.control_plane import tables
from sync.control_plane.briefs import Briefs, as_json, with_more
from tests.sync.test_reviews import People, judged, with_parts
from tests.sync.test_spine import Rig, rig

pytestmark = pytest.mark.usefixtures("database")
e = tables.event


def row(seq: int, ts: int, data: str) -> dict[str, Any]:
    told = {"device": "dev-1", "epoch": "e", "kind": "inspection", "key": "aoi", "state": "ng", "severity": "low"}
    return told | {"seq": seq, "ts": ts, "text": "why", "data": data, "refs": '["a"]'}


def test_a_part_is_read_once_whenever_it_comes(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        briefs = Briefs()

        async def seen(*more: dict[str, Any]) -> list[tuple[int, str]]:
            if more:
                await it.plane.store.write(lambda c: c.execute(e.insert(), list(more)))
            return [(b.place[2], b.label) for b in await it.plane.store.read(briefs.newest)]

        assert await seen() == []
        assert await seen(row(1, 10, '{"label": "spur"}'), row(2, 20, '{"label": "open"}')) == [
            (2, "open"),
            (1, "spur"),
        ]
        await it.plane.store.write(lambda c: c.execute(e.update().values(data="who reads this once more fails")))
        late = row(3, 5, '{"label": "late"}')
        assert await seen(row(4, 30, "{}"), late) == [(4, ""), (2, "open"), (1, "spur"), (3, "late")]
        await it.plane.store.write(lambda c: c.execute(e.delete().where(e.c.seq == 2)))
        assert await seen() == [(4, ""), (1, "spur"), (3, "late")], "what is gone is not listed"

    rig(tmp_path, work)


def test_what_a_page_gets_was_built_on_a_readers_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(it: Rig) -> None:
        people = await with_parts(it, judged(1, "ng", "spur"))
        read = it.plane.store.read
        built: list[Any] = []

        async def kept(ask: Callable[[Connection], Any]) -> Any:
            built.append(await read(ask))
            return built[-1]

        monkeypatch.setattr(it.plane.store, "read", kept)
        for path, of in (("/api/inspections?limit=200", "parts"), ("/api/events?kind=inspection", None)):
            status, said = await people.ask("GET", path)
            assert status == 200 and isinstance(built[-1], bytes), path
            (part,) = json.loads(built[-1])[of] if of else json.loads(built[-1])
            assert (part["data"]["label"], part["refs"]) == ("spur", []) and said == json.loads(built[-1])

    rig(tmp_path, work)


def test_what_python_says_and_no_json_has_reaches_a_page_as_null() -> None:
    said = json.loads(as_json(row(1, 1, '{"score": NaN, "most": -Infinity, "text": "好"}')), parse_constant=pytest.fail)
    assert said["data"] == {"score": None, "most": None, "text": "好"} and said["refs"] == ["a"]
    assert json.loads(with_more('{"a": {}}', {"b": "é"})) == {"a": {}, "b": "é"}


def test_odd_numbers_of_a_part_leave_the_list_readable(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        odd = row(1, 1, '{"score": NaN, "boxes": [[1], 2], "label": {"a": 1}, "recipe": null}')
        await it.plane.store.write(lambda c: c.execute(e.insert(), [odd]))
        found = await People(it).parts("order=hardest")
        assert found["parts"][0]["data"]["score"] is None and found["of"] == 1

    rig(tmp_path, work)
