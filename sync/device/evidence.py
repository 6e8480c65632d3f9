"""The lane that signs what the journal holds: every so often a checkpoint over the records since the one before."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

import msgpack
from cryptography.hazmat.primitives.asymmetric import ec

from edge import Host, kept_snapshots, sound_events

from .. import checkpoint
from ..checkpoint import HASH, MOST_LISTED, Checkpoint

KEPT = "evidence"  # among the journal's snapshots: the event itself may be over its time before the next start
AT_ONCE = 256  # records in memory
FIRST_AFTER = 5.0  # seconds after a start


class Evidence:
    """Where it stands is committed with the checkpoint's event: none is left out or signed twice, whenever the power goes. It reads
    the journal as it was written, so acquisition never waits for it, and asks no plane."""

    def __init__(self, host: Host, device: str, key: ec.EllipticCurvePrivateKey, every: float) -> None:
        self._host, self._device, self._key, self._every = host, device, key, every
        self._public = checkpoint.der(key.public_key())
        self._number, self._before, self._upto = 0, "", dict[str, int]()

    async def run(self) -> None:
        """Until cancelled."""
        self._number, self._before, self._upto = await self._host.journal.ask(stood)
        await asyncio.sleep(min(FIRST_AFTER, self._every))
        while True:
            while await self.sign():
                pass
            await asyncio.sleep(self._every)

    async def sign(self) -> bool:
        """One checkpoint over what is new; whether there is more."""
        lists, room = [], MOST_LISTED
        for stream in ("tag", "text", "event", *sorted(await self._host.journal.streams())):
            while room and (found := await self._hashes(stream, min(room, AT_ONCE))):
                lists += checkpoint.runs(stream, found)
                room -= len(found)
        await self._append(_joined(lists))
        return not room

    async def _hashes(self, stream: str, limit: int) -> list[tuple[int, bytes]]:
        out = []
        for record in await self._host.journal.read(stream, self._upto.get(stream, 0), limit):
            self._upto[stream] = record.seq
            out.append((record.seq, checkpoint.leaf(stream, record.body)))
        return out

    async def _append(self, lists: list[tuple[str, int, bytes]]) -> None:
        now = self._host.clock.utc()
        one = Checkpoint(
            self._device,
            self._host.journal.epoch,
            self._number + 1,
            max(0, now),
            self._before,
            self._public,
            tuple(lists),
        )
        statement = one.statement()
        event = checkpoint.event_of(statement, await asyncio.to_thread(checkpoint.sign, self._key, statement), one)
        self._number, self._before = one.number, checkpoint.head(statement)
        stands = {KEPT: msgpack.packb([self._number, self._before, self._upto])}
        self._host.journal.append(
            events=[replace(event, data={**event.data, "upto": dict(self._upto)})], snapshots=stands
        )


def _joined(lists: list[tuple[str, int, bytes]]) -> list[tuple[str, int, bytes]]:
    """Runs that were read in several goes as one."""
    out: list[tuple[str, int, bytes]] = []
    for stream, first, run in lists:
        if out and out[-1][0] == stream and out[-1][1] + len(out[-1][2]) // HASH == first:
            stream, begun, before = out.pop()
            out.append((stream, begun, before + run))
        else:
            out.append((stream, first, run))
    return out


def stood(db: Any) -> tuple[int, str, dict[str, int]]:
    """(number, hash, last number of each stream) of the last checkpoint of this journal."""
    return max(_kept(db), _told(db), key=lambda one: one[0])


def _told(db: Any) -> tuple[int, str, dict[str, int]]:
    for event in sound_events(db, "WHERE kind = ? ORDER BY seq DESC LIMIT 8", (checkpoint.KIND,)):
        with contextlib.suppress(checkpoint.NotSigned, KeyError, TypeError, ValueError, AttributeError):
            statement, _ = checkpoint.signed(event)
            upto = {str(stream): int(n) for stream, n in event.data["upto"].items()}
            return Checkpoint.read(statement).number, checkpoint.head(statement), upto
    return 0, "", {}


def _kept(db: Any) -> tuple[int, str, dict[str, int]]:
    with contextlib.suppress(ValueError, TypeError, AttributeError, msgpack.UnpackException):
        number, head, upto = msgpack.unpackb(kept_snapshots(db).get(KEPT, b""))
        return int(number), str(head), {str(stream): int(n) for stream, n in upto.items()}
    return 0, "", {}
