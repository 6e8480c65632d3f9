"""A case that somebody may make of an alarm: what the event says of itself, and which cases are near to it."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from edge import SECOND, Event, KnownCases, SeenAlarm, seen_of

from . import asset_tables, tables
from .access import place_of
from .asset_alarms import begins
from .asset_marks import reaches
from .cases import served

KINDS = ("alarm", "anomaly")
MOST_SHARES, LONGEST_ID, LONGEST = 20, 100, 2000


def draft(connection: Connection, device: str, epoch: str, seq: int) -> dict[str, Any] | None:
    """{"place", "case", "near"} of an alarm or anomaly that a device told of; None where there is none under that number."""
    t = tables.event
    those = (t.c.device == device, t.c.epoch == epoch, t.c.seq == seq, t.c.kind.in_(KINDS))
    row = connection.execute(select(t).where(*those)).mappings().first()
    if row is None:
        return None
    data = _plain(row["data"])
    event = Event(row["kind"], row["key"], "raised", row["ts"], row["severity"], row["text"], data)
    place, seen = place_of(connection, device) or "", _seen(event)
    assets = classes(connection, device, place)
    near = _told(connection, device, event) or [
        one.as_json() for one in KnownCases([one.case for one in served(connection, place)], assets).nearest(seen)
    ]
    pictures = [digest for digest in map(str, json.loads(row["refs"])) if re.fullmatch("[0-9a-f]{64}", digest)]
    return {
        "place": place,
        "case": _case(device, event, seen, pictures[:20], _asset(assets, seen)),
        "near": near,
    }


def _told(connection: Connection, device: str, event: Event) -> list[Any]:
    """The cases that the device itself found for it: it knows of which class its assets are, and may have cases of its own."""
    t = tables.event
    those = (t.c.device == device, t.c.kind == "cases", t.c.ts == event.ts)
    for said in connection.scalars(select(t.c.data).where(*those).limit(10)):
        data = _plain(said)
        if data.get("about") == event.kind and data.get("key") == event.key and isinstance(data.get("cases"), list):
            return list(data["cases"])
    return []


def _plain(said: str) -> dict[str, Any]:
    """What an event says, without what no JSON has."""
    found: dict[str, Any] = json.loads(said, parse_constant=lambda _: None)
    return found


def _seen(event: Event) -> SeenAlarm:
    """What it is about; what a device says of its reasons may be anything."""
    try:
        seen = seen_of(event)
        if all(isinstance(tag, str) and math.isfinite(share) for tag, share in seen.shares.items()):
            return seen
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
        pass
    return SeenAlarm(event.key, event.text)


def _case(device: str, event: Event, seen: SeenAlarm, pictures: list[str], whose: tuple[str, str]) -> dict[str, Any]:
    day = time.strftime("%Y-%m-%d %H:%M", time.gmtime(event.ts / SECOND))
    asset, start = whose
    most = sorted(seen.shares.items(), key=lambda one: -abs(one[1]))[:MOST_SHARES]
    shares = {tag.removeprefix(f"{start}."): round(max(-100.0, min(100.0, share)), 2) for tag, share in most}
    said = " ".join("".join(one if one.isprintable() else " " for one in event.text).split())
    return {
        "id": re.sub(r"[;\s]+", " ", f"{device} {event.key} {day}")[:LONGEST_ID].strip(),
        "asset": asset[:200],
        "component": "",
        "symptom": (said or event.key)[:LONGEST],
        "signature": {"alarm": event.key, "shares": {tag: share for tag, share in shares.items() if share}},
        "cause": "",
        "remedy": "",
        "parts": [],
        "pictures": pictures,
        "source": f"{device} {day}",
    }


def classes(connection: Connection, device: str, site: str) -> dict[str, str]:
    """Of the assets that a device reads: how the names of their tags begin, the longest first, and of which class they are."""
    t = asset_tables.asset
    own = select(t.c["class"], t.c.tags, t.c.place).where(t.c.device == device, t.c["class"] != "", t.c.tags != "")
    rows = connection.execute(own.order_by(func.length(t.c.tags).desc(), t.c.number.desc()).limit(1000))
    return {start.rstrip("."): kind for kind, start, place in rows if reaches(place, site)}


def _asset(known: Mapping[str, str], seen: SeenAlarm) -> tuple[str, str]:
    """What it is about, and how its tags begin: the class of an asset that has them all, else that beginning."""
    tags = seen.shares or seen.tags
    for start, kind in known.items():
        if tags and all(begins(tag, start) for tag in tags):
            return kind, start
    return (_common(tags),) * 2


def _common(tags: Collection[str]) -> str:
    """The beginning that all these tags have: what they are measured at."""
    steps = [tag.split(".")[:-1] for tag in tags]
    common: list[str] = []
    for several in zip(*steps, strict=False):
        if len(set(several)) > 1:
            break
        common.append(several[0])
    return ".".join(common)
