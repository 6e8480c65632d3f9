"""What devices sent is taken in: each frame once, the blocks of all of them together."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from edge import CodecFault, Cursor, LinesideError

from ..wire import Frame
from . import days, fold, rollup, tables, witness
from .database import among, insert_new
from .records import TAKE
from .standing import FURTHEST, Place, StoreFault, cover, covers, cursors_of, fitting, room_for, stand, stands, streams

MOST_SAMPLES = 2**20  # of a block; the codec makes and reads none with more


class Displaced(LinesideError):
    """What was under way when another key became the device: its numbers are the other box's to give."""


@dataclass(frozen=True, slots=True)
class Message:
    """What one device sent. Given to `Store.write` it is taken in together with the messages of others. `by`: the hash of the key,
    or secret, that proved it; "" where nothing has to."""

    device: str
    frames: list[Frame]
    by: str = ""

    def __call__(self, connection: Connection) -> dict[str, Cursor]:
        return apply_messages(connection, [self])[0]


def apply_frames(connection: Connection, device: str, frames: Iterable[Frame]) -> dict[str, Cursor]:
    """Take the frames of one device in, each once; returns where its streams now stand. In the writer's transaction."""
    return Message(device, list(frames))(connection)


def apply_messages(connection: Connection, messages: list[Message]) -> list[dict[str, Cursor]]:
    """Take messages in, each frame once; returns where the streams of each now stand. The blocks of all devices go in together, in
    a few statements, however many there are."""
    _heard(connection, messages)
    answers = [_apply_records(connection, m.device, [f for f in m.frames if f.stream in TAKE]) for m in messages]
    for answer, stood in zip(answers, _apply_blocks(connection, messages), strict=True):
        answer.update(stood)
    return answers


def _heard(connection: Connection, messages: list[Message]) -> None:
    t, heard = tables.device, {message.device for message in messages}
    seen = update(t).where(among(connection, t.c.id, heard)).values(seen=time.time())
    own = {row.id: row for row in connection.execute(seen.returning(t.c.id, t.c.key, t.c.secret))} if heard else {}
    for message in messages:
        _still(message.device, own.get(message.device), message.by)


def still(connection: Connection, device: str, by: str) -> None:
    """Raises Displaced where what proved a message to be of that device proves so no more. In the writer's transaction."""
    t = tables.device
    own = connection.execute(select(t.c.key, t.c.secret).where(t.c.id == device)).first() if by else None
    _still(device, own, by)


def _still(device: str, own: Any, by: str) -> None:
    if by and (own is None or by not in (own.key, own.secret)):
        raise Displaced(f"another box is {device} by now")


def _apply_blocks(connection: Connection, messages: list[Message]) -> list[dict[str, Cursor]]:
    blocks = [(m.device, [f for f in m.frames if f.stream not in TAKE]) for m in messages]
    sent: dict[Place, list[Frame]] = {}
    for device, frames in blocks:
        for f in frames:
            sent.setdefault((device, f.epoch, f.stream), []).append(f)
    cursors = cursors_of(connection, sent)
    _begun(connection, [place for place in sent if place not in cursors])
    fresh, moved = list[tuple[str, Frame]](), dict[Place, Cursor]()
    more = {m.device for m in messages if any(f.stream in TAKE for f in m.frames)}
    for place, frames in sent.items():
        cursor = cursors.setdefault(place, Cursor())
        new = cursor.missing(f.seq for f in frames)
        if new:
            try:
                cover(cursor, place[2], ((seq, seq) for seq in new))
            except StoreFault:
                new = fitting(
                    cursor, new
                )  # the answer says which are not taken; what came with them may tell of the holes
                if not new and place[0] not in more:
                    raise
                cover(cursor, place[2], ((seq, seq) for seq in new))
            first = {f.seq: f for f in reversed(frames)}
            fresh += [(place[0], _believed(first[seq])) for seq in new]
            moved[place] = cursor
    _take_blocks(connection, fresh)
    stand(connection, moved)
    return [{f.stream: cursors[device, f.epoch, f.stream] for f in frames} for device, frames in blocks]


def _begun(connection: Connection, places: list[Place]) -> None:
    """The first record of these streams: of thousands at once after a start, so they are asked for together."""
    more = Counter(place[:2] for place in places)
    had = streams(connection, {device for device, _ in more}) if more else {}
    known = {device for device, _ in had}
    for (device, epoch), many in more.items():
        room_for(many, had.get((device, epoch), 0))
        if device in known and (device, epoch) not in had:
            fold.journal(connection, device, epoch)


def _believed(f: Frame) -> Frame:
    """Raises CodecFault for a block with times or a number of samples that none can have."""
    if max(abs(f.t0), abs(f.t1)) > FURTHEST or f.n > MOST_SAMPLES:
        raise CodecFault(f"block {f.seq} of {f.stream}: {f.n} samples from {f.t0} to {f.t1} ns cannot be")
    return f


def _apply_records(connection: Connection, device: str, frames: list[Frame]) -> dict[str, Cursor]:
    """Events, tags and texts."""
    streams: dict[tuple[str, str], list[Frame]] = {}
    for frame in frames:
        streams.setdefault((frame.epoch, frame.stream), []).append(frame)
    answer: dict[str, Cursor] = {}
    for (epoch, stream), group in streams.items():
        cursor = stands(connection, device, epoch, stream).get(stream, Cursor())
        if cursor == Cursor():
            fold.journal(connection, device, epoch)
        new = set(cursor.missing(f.seq for f in group))
        fresh = list({f.seq: f for f in group if f.seq in new}.values())
        try:
            TAKE[stream](connection, device, fresh)
            witness.keep_originals(connection, device, fresh)
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
            raise CodecFault(f"what {stream} holds cannot be taken: {error}") from None
        answer[stream] = covers(connection, device, epoch, stream, [(f.seq, f.seq) for f in fresh])
    return answer


def _take_blocks(connection: Connection, frames: list[tuple[str, Frame]]) -> None:
    rows = [
        {
            "device": device,
            "epoch": f.epoch,
            "stream": f.stream,
            "seq": f.seq,
            "t0": f.t0,
            "t1": f.t1,
            "n": f.n,
            "body": f.body,
        }
        for device, f in frames
    ]
    days.prepare(connection, (f.t1 for _, f in frames), time.time_ns())
    insert_new(connection, tables.block, rows)
    rollup.mark(connection, frames)
