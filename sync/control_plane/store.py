"""The plane's database: one writer thread that commits for many at once on a connection of its own, readers beside it."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import msgpack
from sqlalchemy import Connection, select, update
from sqlalchemy.exc import DataError, SQLAlchemyError

from edge import CodecFault, Cursor, Event, LinesideError, decode_event, decode_text, log

from ..checkpoint import KIND, NotSigned, signed
from ..wire import Frame, shallow
from . import days, fold, hold, rollup, tables, witness
from .database import among, beside, insert_new, opened, snapshots, why, word
from .readers import Readers
from .standing import (
    Place,
    StoreFault,
    cover,
    covers,
    cursors_of,
    fitting,
    gap_of,
    room_for,
    stand,
    stands,
    streams,
    told,
    whole,
)

T = TypeVar("T")
Work = Callable[[Connection], Any]
ALONG: ContextVar[Callable[[Work], Work] | None] = ContextVar(
    "along", default=None
)  # what goes with each piece of work
Answer = tuple[asyncio.Future[Any], Any, Exception | None]
MOST_TOGETHER = 256  # requests committed in one transaction
FEW, GATHER = 64, 0.02  # where several come at a time and fewer than that wait, seconds to wait for more
CROWD, LONGER = 16, 0.06  # where so many came together last time, seconds to wait: half the work for each
READERS, GLANCES = 8, 4  # threads for what pages and works ask, and for what devices wait for
FURTHEST = 9 * 10**18  # ns from 1970; 64 bits hold it, and the hours around it
MOST_SAMPLES = 2**20  # of a block; the codec makes and reads none with more
TRIES = 3  # of a transaction that another process is in the way of


class Displaced(LinesideError):
    """What was under way when another key became the device: its numbers are the other box's to give."""


class Job(NamedTuple):
    """What waits to be written, and of which device ("": of none)."""

    device: str
    work: Callable[[Connection], Any]
    done: asyncio.Future[Any]


class Store:
    """`write(work)` runs `work(connection)` on the writer thread, many in one COMMIT, and returns only after it."""

    def __init__(self, url: str) -> None:
        """Raises LinesideError where there is no such database."""
        self.engine = opened(url)
        self.writing = beside(self.engine)  # whoever asks for long leaves the writer its connection
        self._readers = Readers(snapshots(self.engine), READERS, "plane-reader")
        self._glances = Readers(snapshots(self.engine), GLANCES, "plane-glance")
        self.shared = self.engine.dialect.name == "postgresql"  # other processes may be at work on it
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="plane-writer", daemon=True)
        self._thread.start()
        self.commits = 0
        self._trouble = ""  # why the last commit failed; said once

    async def write(self, work: Callable[[Connection], T], device: str = "") -> T:
        """What `work` reads of `device` nobody else changes before it is committed. Raises StoreFault when it could not be
        committed."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        along = ALONG.get()
        if isinstance(work, Message):
            self._take(Job(work.device, work, done))
        else:
            self._take(Job(device, along(work) if along else work, done))
        return await done

    def _take(self, job: Job) -> None:
        self._waiting.put(job)

    def _write(self) -> None:
        many = 1
        while (first := self._waiting.get()) is not None:
            if many > 1 and self._waiting.qsize() < FEW:
                time.sleep(LONGER if many > CROWD else GATHER)  # a transaction for each would cost ten times as much
            group = [first]
            while len(group) < MOST_TOGETHER and not self._waiting.empty():
                more = self._waiting.get()
                if more is None:
                    self._waiting.put(None)
                    break
                group.append(more)
            many = len(group)
            answers = defaultdict[asyncio.AbstractEventLoop, list[Answer]](list)
            for answer in self._commit(group):
                answers[answer[0].get_loop()].append(answer)
            for loop, some in answers.items():
                loop.call_soon_threadsafe(settle_all, some)  # one wake for all of them

    def _commit(self, group: list[Job]) -> list[Answer]:
        """Never raises."""
        for left in reversed(range(TRIES)):
            try:
                answers = self._transaction(group)
                self.commits += 1
                if self._trouble:
                    log.warning("plane: writing again")
                    self._trouble = ""
                return answers
            except (SQLAlchemyError, OSError) as error:
                if left and hold.clashed(error):
                    continue
                words = why(error)
                if words != self._trouble:
                    log.error(
                        "plane: cannot write: %s; nothing is acknowledged, the devices keep it and try again", words
                    )
                    self._trouble = words
                fault = StoreFault(f"the plane cannot write: {words}")
            except Exception:
                log.exception("plane: a commit failed")
                fault = StoreFault("the plane failed to write this")
            break
        return [(job.done, None, fault) for job in group]

    def _transaction(self, group: list[Job]) -> list[Answer]:
        answers: list[Answer] = []
        with self.writing.begin() as connection:
            hold.devices(connection, {job.device for job in group if job.device})
            messages = [(job.work, job.done) for job in group if isinstance(job.work, Message)]
            found, fault = self._together(connection, [message for message, _ in messages])
            for job in group:
                if fault or not isinstance(job.work, Message):  # one message that spoils the others is found by itself
                    answers.append((job.done, *self._attempt(connection, job.work)))
            if not fault:
                answers += [(done, answer, None) for (_, done), answer in zip(messages, found, strict=True)]
        return answers

    def _together(self, connection: Connection, messages: list[Message]) -> tuple[Any, Exception | None]:
        return self._attempt(connection, lambda c: apply_messages(c, messages)) if messages else ([], None)

    def _attempt(self, connection: Connection, work: Callable[[Connection], Any]) -> tuple[Any, Exception | None]:
        """(answer, fault) of a piece of work, which leaves nothing behind where it fails. Raises what is the database's fault."""
        try:
            with connection.begin_nested():
                return work(connection), None
        except LinesideError as error:
            return None, error
        except DataError as error:  # of what one device sent
            return None, CodecFault(f"no database holds this: {why(error)}")
        except (SQLAlchemyError, OSError):
            raise
        except Exception:  # what one device sent must not hold up the others
            log.exception("plane: a write failed")
            return None, StoreFault("the plane failed to write this")

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What a reading `work(connection)` returns, of one snapshot of the database, for pages and works. Raises StoreFault when
        the database does not answer, LinesideError for what none can hold."""
        return await self._readers.read(work)

    async def glance(self, work: Callable[[Connection], T]) -> T:
        """As `read`, for a device that waits: what pages ask for long is not waited for."""
        return await self._glances.read(work)

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join(timeout=5)
        for readers in (self._readers, self._glances):
            readers.close()
        self.writing.dispose()
        self.engine.dispose()


def settle(done: asyncio.Future[Any], answer: Any, fault: Exception | None) -> None:
    """Give who waits the answer or the fault."""
    if done.done():
        return
    if fault is not None:
        done.set_exception(fault)
    else:
        done.set_result(answer)


def settle_all(answers: list[Answer]) -> None:
    for answer in answers:
        settle(*answer)


# What a message means


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
    answers = [_apply_records(connection, m.device, [f for f in m.frames if f.stream in _TAKE]) for m in messages]
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
    blocks = [(m.device, [f for f in m.frames if f.stream not in _TAKE]) for m in messages]
    sent: dict[Place, list[Frame]] = {}
    for device, frames in blocks:
        for f in frames:
            sent.setdefault((device, f.epoch, f.stream), []).append(f)
    cursors = cursors_of(connection, sent)
    _begun(connection, [place for place in sent if place not in cursors])
    fresh, moved = list[tuple[str, Frame]](), dict[Place, Cursor]()
    more = {m.device for m in messages if any(f.stream in _TAKE for f in m.frames)}
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
            _TAKE[stream](connection, device, fresh)
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


def _take_tags(connection: Connection, device: str, frames: list[Frame]) -> None:
    rows = []
    for frame in frames:
        try:
            name, kind, unit, labels, source = msgpack.unpackb(frame.body, strict_map_key=False, max_map_len=10_000)
            rows.append(
                {
                    "device": device,
                    "epoch": frame.epoch,
                    "id": frame.seq,
                    "name": word(name, 200),
                    "type": word(kind, 20),
                    "unit": word(unit, 40),
                    "labels": json.dumps({str(k): str(v) for k, v in labels.items()}, ensure_ascii=False),
                    "source": word(source, 200),
                }
            )
        except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
            raise CodecFault(f"tag {frame.seq} cannot be read: {error}") from None
    insert_new(connection, tables.tag, rows)


def _take_texts(connection: Connection, device: str, frames: list[Frame]) -> None:
    rows = []
    for frame in frames:
        tag, text = decode_text(frame.body)
        rows.append({"device": device, "epoch": frame.epoch, "id": frame.seq, "tag": tag, "text": text})
    insert_new(connection, tables.text, rows)


def _take_events(connection: Connection, device: str, frames: list[Frame]) -> None:
    rows, gaps = [], defaultdict[tuple[str, str], list[tuple[int, int]]](list)
    for frame in sorted(frames, key=lambda f: f.seq):
        happened = decode_event(frame.body)
        if not shallow(happened.data):
            raise CodecFault(f"event {frame.seq} is nested too deep")
        if happened.kind == KIND and _signed(connection, device, frame, happened):
            continue
        happened = _fitted(happened)
        rows.append(_event_row(device, frame, happened))
        if happened.kind == "alarm":
            fold.alarm(connection, device, frame.epoch, frame.seq, happened)
        elif happened.kind == "twin":
            fold.twin(connection, device, frame.epoch, frame.seq, happened)
        elif happened.kind == "model" and happened.state == "shadow":
            fold.shadow(connection, device, frame.epoch, frame.seq, happened)
        elif happened.kind == "gap":
            stream, spans = gap_of(happened.data)
            gaps[frame.epoch, stream] += spans
    for (epoch, stream), spans in gaps.items():
        if spans:
            told(connection, device, epoch, stream, spans)
    insert_new(connection, tables.event, rows)


def _signed(connection: Connection, device: str, frame: Frame, happened: Event) -> bool:
    """Keep a checkpoint apart from what happened. False where it is none: people see it as it is."""
    try:
        witness.take(connection, device, frame, *signed(happened), time.time_ns())
    except NotSigned as error:
        log.error("plane: event %d of %s is no checkpoint: %s", frame.seq, device, error)
        return False
    return True


def _event_row(device: str, frame: Frame, happened: Event) -> dict[str, Any]:
    return {
        "device": device,
        "epoch": frame.epoch,
        "seq": frame.seq,
        "ts": whole(happened.ts),
        "kind": happened.kind,
        "key": happened.key,
        "state": happened.state,
        "severity": happened.severity,
        "text": happened.text,
        "data": json.dumps(happened.data, ensure_ascii=False, default=str),
        "refs": json.dumps([str(ref) for ref in happened.refs]),
    }


def _fitted(happened: Event) -> Event:
    """With words as long as their columns."""
    kind, key, state, severity, text = happened.kind, happened.key, happened.state, happened.severity, happened.text
    return replace(
        happened,
        kind=word(kind, 40),
        key=word(key, 200),
        state=word(state, 40),
        severity=word(severity, 10),
        text=word(text, 2000),
    )


_TAKE: dict[str, Callable[[Connection, str, list[Frame]], None]] = {
    "tag": _take_tags,
    "text": _take_texts,
    "event": _take_events,
}
