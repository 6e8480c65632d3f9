"""Events as JSON for the pages, and what a list of judged parts needs of each. Their data lie in the database as JSON and go
out as they are; what is read of a part is read once, since a record never changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, desc, select

from . import tables

SCANNED = 1000  # newest parts that are looked through for those that are asked for
MOST_KEPT = 2**24  # characters
PLAIN = ("device", "epoch", "seq", "ts", "kind", "key", "state", "severity", "text")
LISTED = ("part", "inspection", "code", "label", "score", "recipe", "boxes", "pictures", "source", "took_ms", "hash")
Place = tuple[str, str, int]  # device, epoch, number of an inspection


@dataclass(frozen=True, slots=True)
class Brief:
    """A judged part as a list shows it: `json` is its event, with those of its data that are `LISTED`."""

    place: Place
    ts: int
    state: str
    part: str
    code: str
    label: str
    recipe: str
    score: float
    record: str
    found: tuple[str, ...]  # what its boxes are called
    json: str

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> Brief:
        data = json.loads(row["data"], parse_constant=lambda _: None)
        label, record, score = str(data.get("label") or ""), str(data.get("hash") or ""), data.get("score")
        boxes = data.get("boxes")
        found = tuple(str(b[4]) for b in boxes if isinstance(b, list) and len(b) > 4) if isinstance(boxes, list) else ()
        shown = json.dumps({name: data[name] for name in LISTED if name in data}, ensure_ascii=False)
        place = (row["device"], row["epoch"], row["seq"])
        recipe, rated = str(data.get("recipe", "")), float(score) if isinstance(score, int | float) else 0.0
        names = str(data.get("part", "")), str(data.get("code") or ""), label, recipe
        return cls(place, row["ts"], row["state"], *names, rated, record, found, _spliced(row, shown))

    def is_called(self, words: str) -> bool:
        """Whether a person who writes this means it: its number, or a piece of its code."""
        return not words or words == self.part or words.lower() in self.code.lower()


class Briefs:
    """Of the newest parts. Threads may ask at the same time."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Brief] = {}

    def newest(self, connection: Connection, *those: ColumnElement[bool]) -> list[Brief]:
        """The newest 1,000 inspections that are such, the newest first. Only those that are not known yet are read."""
        e, known = tables.event, self._known
        places = list(connection.execute(_newest(e.c.device, e.c.epoch, e.c.seq, e.c.ts).where(*those)))
        listed = {tuple(row): known.get(tuple(row)) for row in places}
        if new := [row.ts for row in places if listed[tuple(row)] is None]:
            for row in connection.execute(_newest(e).where(*those, e.c.ts >= min(new))).mappings():
                place = (row["device"], row["epoch"], row["seq"], row["ts"])
                if place in listed and listed[place] is None:
                    listed[place] = Brief.of(row)
        found = {place: brief for place, brief in listed.items() if brief is not None}
        known = known | found
        self._known = known if sum(len(brief.json) for brief in known.values()) < MOST_KEPT else found
        return list(found.values())


def _newest(*columns: Any) -> Select[Any]:
    e = tables.event
    return select(*columns).where(e.c.kind == "inspection").order_by(desc(e.c.ts), desc(e.c.seq)).limit(SCANNED)


def as_json(row: Mapping[Any, Any]) -> str:
    """The whole event of a row of the table."""
    data: str = row["data"]
    if "NaN" in data or "Infinity" in data:  # as Python writes what no JSON has
        data = json.dumps(json.loads(data, parse_constant=lambda _: None), ensure_ascii=False)
    return _spliced(row, data)


def with_more(event: str, more: Mapping[str, Any]) -> str:
    """The JSON of an event with more beside what it says."""
    return f"{event[:-1]}, {json.dumps(dict(more), ensure_ascii=False)[1:]}"


def _spliced(row: Mapping[Any, Any], data: str) -> str:
    head = json.dumps({name: row[name] for name in PLAIN}, ensure_ascii=False)
    return f'{head[:-1]}, "data": {data}, "refs": {row["refs"]}}}'
