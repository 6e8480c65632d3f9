"""What devices are configured to do: layers of a class, of each part of the path of a site, of one device, laid over one another.

What comes of them is one document for all devices of the same layers, called by the first 16 hex digits of its SHA-256. It says
nothing of what belongs to the device itself, so nothing that is sent can cut its link; and no secret, only their names.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Row, delete, func, select, tuple_

from edge import (
    LinesideError,
    Tree,
    elsewhere,
    laid_documents,
    load_tree,
    origins_of,
    read_document,
    written_yaml,
)

from ..updates.manifest import CLASS
from ..wire import DEVICE
from . import tables
from .database import upsert, word
from .tree import is_below, node

KIND, NAME = "config", "site"  # of what is wanted
DIGITS = 16
FEW = 100  # devices whose layers are asked for by name
MOST_DRAFT = 2**20  # bytes
T = TypeVar("T")
_ONE = ThreadPoolExecutor(1, "plane-config")
LAYERS = "class/NAME, site/PATH (as site/suzhou and site/suzhou/line-3) or device/ID"


class Layer(NamedTuple):
    """A version of what is said in one place; `at` in s UTC."""

    name: str
    version: int
    at: float
    by: str
    body: str

    @property
    def place(self) -> str:
        """What its faults, and what came from it, call it."""
        return f"{self.name}@{self.version}"


class Rendered(NamedTuple):
    """What comes of layers: a document, its version, which layer each value came from, and what is wrong with it."""

    version: str
    text: str
    origins: dict[str, str]
    problems: tuple[str, ...]


def layer_named(text: str) -> str:
    """As it is kept. Raises LinesideError."""
    kind, _, rest = text.partition("/")
    if kind == "site" and rest:
        return f"site/{node(rest)}"
    fits = {"class": CLASS, "device": DEVICE}.get(kind)
    if fits is None or not fits.fullmatch(rest):
        raise LinesideError(f"{text[:60]!r} is no layer", hint=f"there are {LAYERS}")
    return text


def chain(device: Sequence[str]) -> list[str]:
    """The layers of a device (a row of `reached`), the lowest first."""
    name, of_class, site = device
    names = [f"class/{of_class}"] if of_class else []
    parts = site.split("/") if site else []
    return [*names, *(f"site/{'/'.join(parts[: k + 1])}" for k in range(len(parts))), f"device/{name}"]


def newest(connection: Connection, names: Collection[str] | None = None) -> dict[str, Layer]:
    """The newest version of each of these layers, or of all."""
    t = tables.config_layer
    last = select(t.c.layer, func.max(t.c.version)).group_by(t.c.layer)
    if names is not None:
        last = last.where(t.c.layer.in_(sorted(names)))
    found = connection.execute(select(t).where(tuple_(t.c.layer, t.c.version).in_(last)).order_by(t.c.layer))
    return {row.layer: Layer._make(row) for row in found}


def versions(connection: Connection, name: str) -> list[Layer]:
    """All of one layer, the newest first."""
    t = tables.config_layer
    found = connection.execute(select(t).where(t.c.layer == name).order_by(t.c.version.desc()))
    return [Layer._make(row) for row in found]


def put(connection: Connection, name: str, body: str, by: str) -> Layer:
    """A new version of a layer; where it says what the newest one does, that one. Whether it is sound is seen before that: the
    writer, for which every device waits, reads no YAML. Raises LinesideError for what is no layer."""
    name = layer_named(name)
    old = newest(connection, [name]).get(name)
    if old is not None and old.body == body:
        return old
    layer = Layer(name, old.version + 1 if old else 1, time.time(), by[:80], body)
    row = {**layer._asdict(), "layer": name}
    row.pop("name")
    connection.execute(tables.config_layer.insert().values(**row))
    return layer


async def beside(work: Callable[..., T], *given: Any) -> T:
    """What `work` makes of documents, of which a large one takes seconds: one at a time, and on a thread of its own, so that
    whoever sends many takes none from those that passwords and pictures wait for."""
    return await asyncio.get_running_loop().run_in_executor(_ONE, partial(work, *given))


def sound(body: str, called: str) -> Tree:
    """A document. Blocks. Raises LinesideError with every fault of it by itself."""
    tree = read_document(body, called)
    if tree.problems:
        raise LinesideError("\n".join(map(str, tree.problems)))
    return tree


@lru_cache(maxsize=256)
def rendered(layers: tuple[Layer, ...]) -> Rendered:
    """What comes of these, the first at the bottom, judged by the models that a device has. Blocks."""
    tree = laid_documents([read_document(layer.body, layer.place) for layer in layers])
    text = written_yaml(tree.data)
    version, origins = hashlib.sha256(text.encode()).hexdigest()[:DIGITS], origins_of(tree)
    return Rendered(version, text, origins, tuple(_problems(tree)))


def _problems(tree: Tree) -> list[str]:
    """With what the device itself puts in."""
    if not tree.data:
        return ["no layer says anything of this device"]
    if "drivers" not in tree.data:
        told = "a document is the whole site, and all that the device reads would end; write `drivers: {}` where that is meant"
        return [f"no layer says `drivers`: {told}"]
    own = {"device": {"id": "device"}} | ({"sync": {"url": "https://plane"}} if "sync" in tree.data else {})
    for section, options in own.items():
        body = tree.data.setdefault(section, {})
        if isinstance(body, dict):
            body.update(options)
    with elsewhere():
        return list(map(str, load_tree(tree, Path("site.yaml")).problems))


def reached(connection: Connection, name: str) -> list[Row[Any]]:
    """The devices of a layer: rows of (id, class, site)."""
    t = tables.device
    kind, _, rest = layer_named(name).partition("/")
    of = {"class": t.c["class"] == rest, "device": t.c.id == rest, "site": is_below(t.c.site, (rest,))}[kind]
    return list(connection.execute(select(t.c.id, t.c["class"], t.c.site).where(of, t.c.revoked == 0).order_by(t.c.id)))


def stacks(connection: Connection, devices: Iterable[Any]) -> dict[tuple[Layer, ...], list[str]]:
    """Which devices (rows of `reached`) have which layers."""
    devices = list(devices)
    there = newest_of(connection, devices)
    out: dict[tuple[Layer, ...], list[str]] = {}
    for device in devices:
        stack = tuple(there[name] for name in chain(device) if name in there)
        out.setdefault(stack, []).append(device[0])
    return out


def newest_of(connection: Connection, devices: Sequence[Any]) -> dict[str, Layer]:
    """The newest version of every layer that one of these devices has, and maybe of others."""
    few = {name for device in devices for name in chain(device)} if len(devices) <= FEW else None
    return newest(connection, few)


def keep(connection: Connection, made: Sequence[Rendered]) -> None:
    """Keep documents, for devices to fetch."""
    rows = [{"version": m.version, "at": time.time(), "body": m.text, "origins": json.dumps(m.origins)} for m in made]
    upsert(connection, tables.config_document, *rows)


def forget(connection: Connection, before: float) -> int:
    """Documents that were made last before then (s UTC), and that nobody is to run, runs, or could go back to; how many."""
    t, w, r, d, told = (
        getattr(tables, name) for name in ("config_document", "want", "rollout", "rollout_device", "told_twin")
    )
    of = d.join(r, (r.c.number == d.c.rollout) & (r.c.kind == KIND))
    used = [select(w.c.version).where(w.c.kind == KIND), select(told.c.running).where(told.c.kind == KIND)]
    used += [select(column).select_from(of).distinct() for column in (d.c.version, d.c.before)]
    gone = connection.execute(delete(t).where(t.c.at < before, *(t.c.version.not_in(some) for some in used)))
    return gone.rowcount


def document(connection: Connection, version: str) -> str | None:
    t = tables.config_document
    found: str | None = connection.scalar(select(t.c.body).where(t.c.version == version))
    return found


def document_for(connection: Connection, device: str, version: str) -> str | None:
    """The same, where it is wanted of that device."""
    t = tables.want.c
    wanted = select(t.version).where(t.device == device, t.kind == KIND, t.version == version)
    return document(connection, version) if connection.execute(wanted).first() else None


def draft(connection: Connection, device: str) -> str | None:
    """What somebody wrote at the device itself, where that differs from what was there when it took the plane's."""
    t = tables.config_draft
    found: str | None = connection.scalar(select(t.c.body).where(t.c.device == device))
    return found


def keep_draft(connection: Connection, device: str, text: str) -> None:
    t = tables.config_draft
    if text:
        upsert(connection, t, {"device": device, "at": time.time(), "body": word(text, MOST_DRAFT)})
    else:
        connection.execute(delete(t).where(t.c.device == device))
