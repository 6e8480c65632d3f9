"""The plane's database: one writer thread that commits for many at once, readers beside it."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import alembic.command
import alembic.config
import alembic.util
import msgpack
from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from edge import CodecFault, Cursor, Event, LinesideError, decode_event, decode_text, log

from ..wire import Frame, shallow
from . import fold, tables

T = TypeVar("T")
MOST_TOGETHER = 256  # requests committed in one transaction


class StoreFault(LinesideError):
    """The database refused; the device keeps everything and tries again."""

    heals = True


class Store:
    """`write(work)` runs `work(connection)` on the writer thread, many in one COMMIT, and returns only after it."""

    def __init__(self, url: str) -> None:
        """Raises LinesideError where there is no such database."""
        self.engine = _engine(url)
        try:
            _migrate(self.engine, url)
        except (SQLAlchemyError, alembic.util.CommandError) as error:
            raise LinesideError(
                f"the database {self.engine.url.database} cannot be used: {_why(error)}",
                hint="copy it back from a backup, or move it away: then every device enrols anew",
            ) from None
        self._waiting: queue.SimpleQueue[tuple[Callable[[Connection], Any], asyncio.Future[Any]] | None]
        self._waiting = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="plane-writer", daemon=True)
        self._thread.start()
        self.commits = 0
        self._trouble = ""  # why the last commit failed; said once

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Raises StoreFault when it could not be committed."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.put((work, done))
        return await done

    def _write(self) -> None:
        while (first := self._waiting.get()) is not None:
            group = [first]
            while len(group) < MOST_TOGETHER and not self._waiting.empty():
                more = self._waiting.get()
                if more is None:
                    self._waiting.put(None)
                    break
                group.append(more)
            self._commit(group)

    def _commit(self, group: list[tuple[Callable[[Connection], Any], asyncio.Future[Any]]]) -> None:
        answers: list[tuple[asyncio.Future[Any], Any, Exception | None]] = []
        try:
            with self.engine.begin() as connection:
                for work, done in group:
                    try:
                        with connection.begin_nested():
                            answers.append((done, work(connection), None))
                    except LinesideError as error:
                        answers.append((done, None, error))
                    except (SQLAlchemyError, OSError):
                        raise
                    except Exception:  # what one device sent must not hold up the others
                        log.exception("plane: a write failed")
                        answers.append((done, None, StoreFault("the plane failed to write this")))
            self.commits += 1
            if self._trouble:
                log.warning("plane: writing again")
                self._trouble = ""
        except (SQLAlchemyError, OSError) as error:
            why = _why(error)
            if why != self._trouble:
                log.error("plane: cannot write: %s; nothing is acknowledged, the devices keep it and try again", why)
                self._trouble = why
            answers = [(done, None, StoreFault(f"the plane cannot write: {why}")) for _, done in group]
        except Exception:
            log.exception("plane: a commit failed")
            answers = [(done, None, StoreFault("the plane failed to write this")) for _, done in group]
        for done, answer, fault in answers:
            done.get_loop().call_soon_threadsafe(_settle, done, answer, fault)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run a reading `work` on another thread."""

        def ask() -> T:
            with self.engine.connect() as connection:
                return work(connection)

        return await asyncio.to_thread(ask)

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join(timeout=5)
        self.engine.dispose()


def _settle(done: asyncio.Future[Any], answer: Any, fault: Exception | None) -> None:
    if done.done():
        return
    if fault is not None:
        done.set_exception(fault)
    else:
        done.set_result(answer)


def _why(error: Exception) -> str:
    """The database's own words, without the statement."""
    words = str(getattr(error, "orig", None) or error)
    return "the disk is full, free some space" if "disk is full" in words or "No space left" in words else words


def _engine(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 30} if url.startswith("sqlite") else {})
    if url.startswith("sqlite"):

        @event.listens_for(engine, "connect")
        def _(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # transactions are ours, see "begin"
            for pragma in ("journal_mode=WAL", "synchronous=FULL"):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def _(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

    return engine


def _migrate(engine: Engine, url: str) -> None:
    settings = alembic.config.Config()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        settings.attributes["connection"] = connection
        alembic.command.upgrade(settings, "head")


def insert_new(connection: Connection, table: Any, rows: list[dict[str, Any]]) -> None:
    """Insert rows; one whose key is there already is a repeat and changes nothing."""
    if rows:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        connection.execute(dialect.insert(table).on_conflict_do_nothing(), rows)


def upsert(connection: Connection, table: Any, row: dict[str, Any]) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    keys = [column.name for column in table.primary_key]
    rest = {name: value for name, value in row.items() if name not in keys}
    connection.execute(dialect.insert(table).values(row).on_conflict_do_update(index_elements=keys, set_=rest))


# What a message means


def apply_frames(connection: Connection, device: str, frames: Iterable[Frame]) -> dict[str, Cursor]:
    """Take the frames of one device in, each once; returns where its streams now stand. In the writer's transaction."""
    streams: dict[tuple[str, str], list[Frame]] = {}
    for frame in frames:
        streams.setdefault((frame.epoch, frame.stream), []).append(frame)
    answer: dict[str, Cursor] = {}
    for (epoch, stream), group in streams.items():
        cursor = stands(connection, device, epoch, stream).get(stream, Cursor())
        if cursor == Cursor():
            fold.journal(connection, device, epoch)
        fresh = list({f.seq: f for f in group if f.seq not in cursor}.values())
        try:
            _TAKE.get(stream, _take_blocks)(connection, device, fresh)
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
            raise CodecFault(f"what {stream} holds cannot be taken: {error}") from None
        answer[stream] = covers(connection, device, epoch, stream, [(f.seq, f.seq) for f in fresh])
    return answer


def stands(connection: Connection, device: str, epoch: str, *only: str) -> dict[str, Cursor]:
    """Where every stream of a journal stands, or `only` these."""
    t = tables.applied
    wanted = select(t.c.stream, t.c.watermark, t.c.ranges).where(t.c.device == device, t.c.epoch == epoch)
    rows = connection.execute(wanted.where(t.c.stream.in_(only)) if only else wanted)
    return {s: Cursor(w, [(a, b) for a, b in json.loads(r)]) for s, w, r in rows}


def covers(connection: Connection, device: str, epoch: str, stream: str, spans: Iterable[tuple[int, int]]) -> Cursor:
    """Mark spans of a stream as taken or told. Reads anew where it stands: a gap event may have moved its own stream."""
    cursor = stands(connection, device, epoch, stream).get(stream, Cursor())
    for first, last in spans:
        cursor.add(first, last)
    place = {"device": device, "epoch": epoch, "stream": stream}
    upsert(connection, tables.applied, {**place, "watermark": cursor.watermark, "ranges": json.dumps(cursor.ranges)})
    return cursor


def _take_blocks(connection: Connection, device: str, frames: list[Frame]) -> None:
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
        for f in frames
    ]
    insert_new(connection, tables.block, rows)


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
                    "name": str(name)[:200],
                    "type": str(kind)[:20],
                    "unit": str(unit)[:40],
                    "labels": json.dumps({str(k): str(v) for k, v in labels.items()}, ensure_ascii=False),
                    "source": str(source)[:200],
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
    rows = []
    for frame in sorted(frames, key=lambda f: f.seq):
        happened = decode_event(frame.body)
        if not shallow(happened.data):
            raise CodecFault(f"event {frame.seq} is nested too deep")
        rows.append(_event_row(device, frame, happened))
        if happened.kind == "alarm":
            fold.alarm(connection, device, frame.epoch, frame.seq, happened)
        elif happened.kind == "gap":
            _take_gap(connection, device, frame.epoch, happened)
    insert_new(connection, tables.event, rows)


def _event_row(device: str, frame: Frame, happened: Event) -> dict[str, Any]:
    return {
        "device": device,
        "epoch": frame.epoch,
        "seq": frame.seq,
        "ts": _whole(happened.ts),
        "kind": str(happened.kind)[:40],
        "key": str(happened.key)[:200],
        "state": str(happened.state)[:40],
        "severity": str(happened.severity)[:10],
        "text": str(happened.text)[:2000],
        "data": json.dumps(happened.data, ensure_ascii=False, default=str),
        "refs": json.dumps([str(ref) for ref in happened.refs]),
    }


def _whole(number: Any) -> int:
    """A whole number as the database holds it. Raises ValueError."""
    if not -(2**63) <= int(number) < 2**63:
        raise ValueError(f"{number} is beyond 64 bits")
    return int(number)


def _take_gap(connection: Connection, device: str, epoch: str, gap: Event) -> None:
    """Sealed blocks the device gave up count as told: the stream's cursor covers them."""
    stream = str(gap.data.get("stream", ""))
    first, last = _whole(gap.data.get("first", 0)), _whole(gap.data.get("last", 0))
    if not 0 < first <= last:
        return
    covers(connection, device, epoch, stream, [(first, last)])


_TAKE: dict[str, Callable[[Connection, str, list[Frame]], None]] = {
    "tag": _take_tags,
    "text": _take_texts,
    "event": _take_events,
}
