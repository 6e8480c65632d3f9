"""Bringing configurations to devices: what would change, sending it, taking over what somebody wrote at a device, or not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from edge import (
    LinesideError,
    laid_documents,
    log,
    read_document,
    shown_yaml,
    site_changes,
    site_difference,
    written_yaml,
)

from ..updates.manifest import parted
from . import config
from .config import KIND, NAME, Layer, Rendered
from .repeat import repeat
from .store import Store
from .twin import Want, told, wanted

UNUSED, DAILY = 30 * 86400.0, 86400.0  # seconds after which what nobody needs is forgotten, and between two looks
Wanting = Callable[[Sequence[Want], bool], Awaitable[int]]  # how wants are written: see `Ingest.want`


class Change(NamedTuple):
    """Of devices that have the same layers: what comes of them, and in which `lines` that differs from what did."""

    devices: list[str]
    after: Rendered
    lines: tuple[str, ...] = ()


def _change(devices: list[str], old: tuple[Layer, ...], new: tuple[Layer, ...]) -> Change:
    """Blocks."""
    before = read_document(config.rendered(old).text, "").data if old else {}
    after = config.rendered(new)
    return Change(devices, after, tuple(site_changes(before, read_document(after.text, "").data)))


async def prepare(store: Store, name: str) -> list[Change]:
    """What comes of the newest layers for every device of a layer, kept for them to fetch; nothing is wanted of anybody yet."""
    found = await store.read(lambda c: config.stacks(c, config.reached(c, name)))
    if not found:
        raise LinesideError(
            f"no device has the layer {name}", hint="`lineside plane devices` shows class and site of each"
        )
    made = [Change(devices, await config.beside(config.rendered, stack)) for stack, devices in found.items()]
    good = [one.after for one in made if not one.after.problems]
    await store.write(lambda c: config.keep(c, good))
    return made


async def check(store: Store, name: str, body: str) -> list[Change]:
    """What a new version of a layer would change, and for whom. Raises LinesideError with every fault of it by itself."""
    name = config.layer_named(name)
    there = await store.read(lambda c: config.newest(c, [name]).get(name))
    fresh = Layer(name, there.version + 1 if there else 1, time.time(), "", body)
    await config.beside(config.sound, body, fresh.place)

    def stacks(c: Any) -> dict[tuple[tuple[Layer, ...], tuple[Layer, ...]], list[str]]:
        devices = config.reached(c, name)
        layers = config.newest_of(c, devices)
        out: dict[tuple[tuple[Layer, ...], tuple[Layer, ...]], list[str]] = {}
        for device in devices:
            names = config.chain(device)
            old = tuple(layers[n] for n in names if n in layers)
            new = tuple(fresh if n == name else layers[n] for n in names if n == name or n in layers)
            out.setdefault((old, new), []).append(device[0])
        return out

    found = await store.read(stacks)
    return [await config.beside(_change, devices, old, new) for (old, new), devices in found.items()]


async def send(store: Store, name: str, by: str, wanting: Wanting, again: bool = False) -> list[Change]:
    """Want the newest of every device of a layer whose document is sound; the others are in what is returned, with their faults.
    `again`: also of those of which it is wanted already."""
    made = await prepare(store, name)
    wants = [
        Want(d, KIND, NAME, one.after.version, by=by) for one in made if not one.after.problems for d in one.devices
    ]
    if wants:
        await wanting(wants, again)
    return made


async def want_signed(
    store: Store, name: str, version: str, by: str, wanting: Wanting, published: Callable[[str], bool]
) -> list[str]:
    """Want a signed configuration (NAME-VERSION of an artefact config/NAME-VERSION) of every device of a layer; which they are.
    Raises LinesideError where it is not `published` here."""
    parted(path := f"{KIND}/{version}")
    if not await asyncio.to_thread(published, path):
        hint = "copy the repository with it into `updates` of the plane's folder, see docs/updates.md"
        raise LinesideError(f"{path} is not among the updates of this plane", hint=hint)
    devices = [row[0] for row in await store.read(lambda c: config.reached(c, name))]
    if not devices:
        raise LinesideError(
            f"no device has the layer {name}", hint="`lineside plane devices` shows class and site of each"
        )
    await wanting([Want(device, KIND, NAME, version, by=by) for device in devices], False)
    return devices


async def adopt(store: Store, device: str, by: str, wanting: Wanting) -> Layer:
    """Make a layer of the device's draft, such that its document says what the draft does, and want that. Raises LinesideError."""
    text = await store.read(lambda c: config.draft(c, device))
    if text is None:
        raise LinesideError(
            f"{device} has told of no draft", hint="only what is edited at the device after it took one of ours"
        )
    name = config.layer_named(f"device/{device}")

    def under(c: Any) -> list[Layer]:
        rows = config.reached(c, name)
        layers = config.newest_of(c, rows)
        return [layers[n] for row in rows for n in config.chain(row) if n in layers and n != name]

    body = await config.beside(_over, await store.read(under), text)
    changes = await check(store, name, body)
    for problem in changes[0].after.problems if changes else ():
        raise LinesideError(problem, hint="mend it at the device, or write the layer yourself")
    layer = await store.write(lambda c: config.put(c, name, body, by))
    await send(store, name, by, wanting, again=True)
    return layer


def _over(lower: Sequence[Layer], draft: str) -> str:
    """The layer that makes a draft of those below. Blocks."""
    own = config.sound(draft, "draft")
    return written_yaml(
        site_difference(laid_documents([read_document(one.body, one.place) for one in lower]).data, own.data)
    )


async def leave(store: Store, device: str, by: str, wanting: Wanting) -> None:
    """Want nothing of a device any more: it goes back to its own file."""
    await sent(store, device)
    await wanting([Want(device, KIND, NAME, "", by=by)], False)


async def revert(store: Store, device: str, by: str, wanting: Wanting) -> str:
    """Want once more what is wanted already: the device leaves its draft for it. The version. Raises LinesideError."""
    version = await sent(store, device)
    await wanting([Want(device, KIND, NAME, version, by=by)], True)
    return version


async def sent(store: Store, device: str) -> str:
    """Which version is wanted of a device. Raises LinesideError where none is."""
    rows = await store.read(lambda c: wanted(c, device))
    version = next((row.version for row in rows if (row.kind, row.name) == (KIND, NAME)), "")
    if not version:
        raise LinesideError(
            f"no configuration is wanted of {device}", hint=f"`lineside plane config send device/{device}`"
        )
    return version


async def stands(store: Store, device: str) -> dict[str, Any]:
    """What is wanted of a device, what it says, what its layers make now, and how its draft differs, as JSON."""

    def ask(c: Any) -> tuple[Any, ...]:
        rows = config.reached(c, f"device/{device}")
        wants = [row for row in wanted(c, device) if (row.kind, row.name) == (KIND, NAME)]
        want = wants[0] if wants else None
        said = next(iter(told(c, KIND, NAME, [device])), None)
        return (
            config.stacks(c, rows),
            want,
            said,
            config.draft(c, device),
            config.document(c, want.version) if want else None,
        )

    found, want, said, draft, text = await store.read(ask)
    if not found:
        raise LinesideError(f"{device} is not enrolled here", hint="`lineside plane devices` lists them")
    ((stack, _),) = found.items()
    now = await config.beside(config.rendered, stack) if stack else None
    drift = await config.beside(_drift, text, draft) if draft and text else []
    return {
        "layers": [layer.place for layer in stack],
        "version": now.version if now else "",
        "text": now.text if now else "",
        "values": await config.beside(_values, now) if now else [],
        "problems": list(now.problems) if now else [],
        "wanted": want._asdict() if want else None,
        "told": said._asdict() if said else None,
        "unsent": bool(now and (want is None or want.version != now.version)),
        "drift": drift,
    }


def _drift(document: str, draft: str) -> list[str]:
    return list(site_changes(read_document(document, "").data, read_document(draft, "").data))


def _values(made: Rendered) -> list[dict[str, str]]:
    """Each value of a document in a line of YAML, and which layer it comes from."""
    out = []

    def walk(data: Any, at: str) -> None:
        if at in made.origins:
            out.append({"path": at, "value": shown_yaml(data), "from": made.origins[at]})
            return
        for key, value in data.items():
            walk(value, f"{at}.{key}" if at else str(key))

    walk(read_document(made.text, "").data, "")
    return out


async def tidy(store: Store) -> None:
    """Forget them, for as long as this runs."""

    async def work() -> None:
        if gone := await store.write(lambda c: config.forget(c, time.time() - UNUSED)):
            log.info("plane: %d configurations that no device needs any more are forgotten", gone)

    await repeat(work, DAILY, "no configuration is forgotten for now")
