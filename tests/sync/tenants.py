"""A plane of two enterprises: one device each, which has told of everything there is; and somebody of every role at one of them."""

from __future__ import annotations

import json
import time
from typing import Any

import msgpack
from sqlalchemy import Connection, update

from edge import Case, Event, encode_event
from sync import wire
from sync.control_plane import assets, cases, config, people, tables, work_orders
from sync.control_plane.asset import Asset
from sync.control_plane.database import insert_new
from sync.control_plane.messages import apply_frames
from sync.control_plane.plane import Plane
from sync.control_plane.refused import set_aside
from sync.control_plane.rollout_options import from_words
from sync.control_plane.rollouts import start

OWN, FOREIGN = "ours-1", "foreign-1"
PLACES = {OWN: "acme/suzhou/line-1", FOREIGN: "foreign-corp/suzhou/line-1"}
EPOCH = "0" * 16
PASSWORD = "correct horse battery"


def picture_of(device: str) -> str:
    return wire.digest(f"a picture of {device}".encode())


def case_of(device: str) -> int:
    """The number of the fault case at its place."""
    return list(PLACES).index(device) + 1


def told(connection: Connection, device: str, place: str) -> None:
    """All that a device may have told of."""
    row = {"id": device, "secret": "s", "key": "k", "enrolled": 1.0, "seen": time.time(), "site": place}
    insert_new(connection, tables.device, [row])
    now, digest = time.time_ns(), picture_of(device)
    part = {"part": 7, "label": f"{device}-label", "recipe": f"{device}-recipe", "hash": device, "pictures": []}
    events = [
        Event("alarm", f"{device}-alarm", "raised", now, "high", f"{device} is hot"),
        Event("inspection", f"{device}-station", "ng", now, data=part, refs=(digest,)),
        Event("review", f"{device}-station", "ng", now, data={"seq": 2, "said": "ng", "label": f"{device}-label"}),
    ]
    frames = [wire.Frame(EPOCH, "event", n, now, now, 1, encode_event(e)) for n, e in enumerate(events, 1)]
    tag = msgpack.packb([f"plc.{device}", "float64", "", {}, "plc"])
    apply_frames(connection, device, [*frames, wire.Frame(EPOCH, "tag", 1, 1, 1, 1, tag)])
    set_aside(connection, device, wire.Frame(EPOCH, "samples:plc", 9, now, now, 1, b"x"), f"{device} is garbled")
    body = f"a picture of {device}".encode()
    insert_new(
        connection, tables.picture, [{"digest": digest, "media": "image/png", "body": body, "stored": time.time()}]
    )
    stands = {"until": 0, "active": False, "held": 0, "blind": 0, "said": ""}
    insert_new(connection, tables.judged, [{"rule": "hot", "device": device, **stands}])


async def settled(plane: Plane) -> None:
    for device, place in PLACES.items():
        await plane.store.write(lambda c, d=device, p=place: told(c, d, p))  # type: ignore[misc]


async def governed(plane: Plane) -> None:
    """And each has a layer of a configuration, a rollout, asset, work order and fault case of its own: the first is `OWN`'s."""

    def given(connection: Connection, device: str, place: str) -> None:
        config.put(connection, f"site/{place}", f"alarms: {{}}  # of {device}", device)
        plan = {"what": "model/washer-3", "devices": {"site": place, "ids": [device]}}
        start(connection, from_words(plan), device)
        its = Asset(id=f"{device}-pump", place=place, device=device)
        number = assets.add(connection, its)
        work_orders.open_one(connection, number, work_orders.Opening(title=f"{device} leaks"), device)
        known(connection, device)

    for device, place in PLACES.items():
        await plane.store.write(lambda c, d=device, p=place: given(c, d, p))  # type: ignore[misc]


def known(connection: Connection, device: str) -> None:
    """The fault case at a device's place."""
    case = Case(id=f"{device}-case", symptom=f"{device} hums")
    cases.take_in(connection, PLACES[device], cases.ready([case]), "wang")
    t = tables.fault_case
    connection.execute(update(t).where(t.c.place == PLACES[device]).values(number=case_of(device)))


async def somebody(plane: Plane, name: str, *roles: tuple[str, str], password: str = "") -> dict[str, str]:
    """A new person who is signed in: the header of their requests."""
    kept = people.password(password) if password else ""

    def new(connection: Connection) -> str:
        people.add(connection, name, kept)
        for role, place in roles:
            people.bind(connection, name, role, place)
        return people.begin(connection, name, people.kept(connection, name))

    return {"Cookie": f"session={await plane.store.write(new)}"}


def as_json(body: bytes) -> Any:
    return json.loads(body)
