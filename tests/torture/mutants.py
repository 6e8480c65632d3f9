"""Planted bugs: each takes one safeguard out of the real code of this process. A run of seeds has to notice every one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.event import listen

from edge import Cursor, Event, codec, pending, retention, rows, sums, tail
from edge import journal as journal_module
from edge.journal import Journal
from edge.pending import Pending
from sync.control_plane import database, messages, records, rollup, standing, store, tables
from sync.control_plane.messages import Message
from sync.control_plane.store import Store, StoreFault
from sync.device import compare, evidence, uplink
from sync.device.uplink import Uplink

Plant = Callable[[], None]


def put(place: Any, name: str, value: Any) -> None:
    getattr(place, name)  # what is called so no longer would be no bug at all
    setattr(place, name, value)


def take_in_by(apply: Any) -> None:
    """Several messages at a time, and one alone."""
    for place in (store, messages):
        put(place, "apply_messages", apply)


# The journal


def journal_not_synced_at_each_commit() -> None:
    put(journal_module, "PRAGMAS", tuple(p.replace("=FULL", "=NORMAL") for p in journal_module.PRAGMAS))


def journal_never_synced() -> None:
    put(journal_module, "PRAGMAS", tuple(p.replace("=FULL", "=OFF") for p in journal_module.PRAGMAS))


def tail_forgotten_at_start() -> None:
    put(tail, "replay", lambda *_: ({}, set()))


def tail_not_written() -> None:
    put(rows, "tail", lambda *_: 0)


def tail_kept_after_seal() -> None:
    seal = rows.seal

    def twice(db: Any, stream: str, batches: Any, utc: int) -> int:
        kept = list(db.execute("SELECT stream, n, crc, body FROM tail WHERE stream = ?", (stream,)))
        total = seal(db, stream, batches, utc)
        db.executemany("INSERT INTO tail (stream, n, crc, body) VALUES (?, ?, ?, ?)", kept[-1:])
        return total

    put(rows, "seal", twice)


def last_batch_not_sealed() -> None:
    seal = rows.seal
    put(rows, "seal", lambda db, stream, batches, utc: seal(db, stream, batches[:-1] or batches, utc))


def durable_before_commit() -> None:
    commit: Any = Journal._commit

    def lazy(self: Any, taken: Any, *rest: Any) -> int:
        waiting = vars(self).setdefault("waiting", [])
        waiting.append(taken)
        if len(waiting) < 5:
            return 0
        ready = waiting[:]
        waiting.clear()
        return sum(int(commit(self, one, *rest)) for one in ready)

    put(Journal, "_commit", lazy)


def refused_commit_thrown_away() -> None:
    put(Journal, "_take_back", lambda self, taken: None)


def refused_commit_put_behind_the_newer() -> None:
    def behind(self: Any, taken: Any) -> None:
        self._pending.follow(taken)

    put(Journal, "_take_back", behind)


def error_of_the_disk_ignored() -> None:
    commit: Any = Journal._commit

    def brave(self: Any, taken: Any, *rest: Any) -> int:
        try:
            return int(commit(self, taken, *rest))
        except Exception:
            return 0

    put(Journal, "_commit", brave)


def journal_checksum_skipped() -> None:
    sound = sums.sound
    put(sums, "sound", lambda table, *row: table != "tail" or sound(table, *row))


def tail_checksum_skipped() -> None:
    sound = sums.sound
    put(sums, "sound", lambda table, *row: table == "tail" or sound(table, *row))


def damaged_without_a_word() -> None:
    quarantine = retention.quarantine

    def silent(*given: Any) -> list[Event]:
        quarantine(*given)
        return []

    put(retention, "quarantine", silent)


def evicted_without_a_word() -> None:
    give_up = retention.give_up

    def silent(*given: Any, **named: Any) -> list[Event]:
        give_up(*given, **named)
        return []

    put(retention, "give_up", silent)


def evicts_what_is_not_delivered() -> None:
    put(retention, "delivered", lambda *_: 2**62)


def overflow_without_a_word() -> None:
    give_way = Pending.give_way

    def silent(self: Any, utc: int) -> int:
        before = list(self.events)
        n = give_way(self, utc)
        self.events[:] = before
        return n

    put(pending.Pending, "give_way", silent)


def numbers_given_again() -> None:
    def next_number(db: Any, stream: str, n: int) -> int:
        table = "block" if stream.startswith("samples:") else stream
        where = f" WHERE stream = '{stream}'" if table == "block" else ""
        first = int(next(db.execute(f"SELECT coalesce(max(seq), 0) + 1 FROM {table}{where}"))[0])
        rows.set_last(db, stream, first + n - 1)
        return first

    put(rows, "_next", next_number)


def intervals_by_the_wall_clock() -> None:
    opened: Any = Journal.__init__

    def misled(self: Any, path: Any, clock: Any, config: Any = None) -> None:
        opened(self, path, SimpleNamespace(utc=clock.utc, mono=clock.utc), config)

    put(Journal, "__init__", misled)


def quality_dropped() -> None:
    encode = codec.encode
    dressed: Any = lambda batch, **named: encode(replace(batch, quality=batch.quality * 0), **named)  # noqa: E731
    put(rows, "encode", dressed)


# The uplink


def cursor_before_the_answer() -> None:
    send: Any = Uplink._send

    async def early(self: Any, transport: Any, sent: Any) -> None:
        for record in sent:
            self.cursors[record.stream] = Cursor(record.seq)
            self.host.journal.moved(uplink.NAME, record.stream, self.cursors[record.stream])
        await send(self, transport, sent)

    put(Uplink, "_send", early)


def cursor_one_too_far() -> None:
    read: Any = Journal.read

    async def beyond(self: Any, stream: str, after: int = 0, *rest: Any) -> Any:
        return await read(self, stream, after + (after > 0 and stream.startswith("samples:")), *rest)

    put(Journal, "read", beyond)


def plane_never_compared() -> None:
    async def blind(self: Any, transport: Any) -> None: ...

    put(Uplink, "_compare", blind)


def lack_seen_and_not_sent_again() -> None:
    put(compare, "lacking", lambda *_: (0, []))


def commands_forgotten_at_restart() -> None:
    moved: Any = Journal.moved

    def forgetful(self: Any, reader: str, stream: str, cursor: Any) -> None:
        if stream != "commands":
            moved(self, reader, stream, cursor)

    put(Journal, "moved", forgetful)


def tags_not_sent() -> None:
    following: Any = Uplink._next_records

    async def nameless(self: Any) -> Any:
        return [record for record in await following(self) if record.stream != "tag"]

    put(Uplink, "_next_records", nameless)


def no_second_try() -> None:
    again: Any = Uplink._again

    async def once(self: Any, lane: Any, leads: bool = False) -> None:
        async def patient() -> None:
            try:
                await lane()
            except Exception:
                await asyncio.get_running_loop().create_future()

        await again(self, patient, leads)

    put(Uplink, "_again", once)


def epoch_ignored() -> None:
    """Whatever a device sends belongs to the first journal it ever had."""
    apply, first = messages.apply_messages, {}

    def one_series(connection: Any, messages: Any) -> Any:
        alike = []
        for m in messages:
            epoch = first.setdefault(m.device, m.frames[0].epoch)
            alike.append(Message(m.device, [replace(frame, epoch=epoch) for frame in m.frames]))
        return apply(connection, alike)

    take_in_by(one_series)


def half_of_a_message_taken() -> None:
    """The answer is that all is well."""
    apply = messages.apply_messages

    def half(connection: Any, messages: Any) -> Any:
        answers = apply(connection, [Message(m.device, m.frames[: (len(m.frames) + 1) // 2]) for m in messages])
        for message, answer in zip(messages, answers, strict=True):
            for frame in message.frames:
                answer[frame.stream] = Cursor(max(frame.seq, answer.get(frame.stream, Cursor()).watermark))
        return answers

    take_in_by(half)


# The plane


def plane_not_synced_at_each_commit() -> None:
    engine = database._sqlite

    def lax(*given: Any, **pool: Any) -> Any:
        made = engine(*given, **pool)
        listen(made, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=NORMAL"))
        return made

    put(database, "_sqlite", lax)


def answer_before_commit() -> None:
    commit: Any = Store._commit

    def early(self: Any, group: Any) -> Any:
        answers = []
        for job in group:
            try:
                with self.engine.connect() as connection:
                    answers.append((job.done, job.work(connection), None))  # in a transaction that is rolled back
            except Exception as error:
                answers.append((job.done, None, StoreFault(str(error))))
        asyncio.get_running_loop().call_later(0.6, commit, self, group)
        return answers

    put(Store, "_commit", early)


def refusal_of_the_database_acknowledged() -> None:
    settle, apply = store.settle, messages.apply_messages
    last: list[Any] = []

    def noted(connection: Any, messages: Any) -> Any:
        last[:] = apply(connection, messages)
        return last

    def brave(done: Any, answer: Any, fault: Any) -> None:
        if isinstance(fault, StoreFault) and last:
            answer, fault = last[0], None
        settle(done, answer, fault)

    put(store, "settle", brave)
    take_in_by(noted)


def repeats_taken_again() -> None:
    """Rows are numbered as they come."""
    apply = messages.apply_messages

    def append(connection: Any, messages: Any) -> Any:
        t = tables.block
        for device, f in [(m.device, f) for m in messages for f in m.frames if f.stream.startswith("samples:")]:
            mine = (t.c.device == device, t.c.epoch == f.epoch, t.c.stream == f.stream)
            last = connection.execute(select(func.max(t.c.seq)).where(*mine)).scalar() or 0
            row = {"device": device, "epoch": f.epoch, "stream": f.stream, "seq": last + 1}
            connection.execute(t.insert().values(**row, t0=f.t0, t1=f.t1, n=f.n, body=f.body))
        return apply(connection, messages)

    put(messages, "_take_blocks", lambda *_: None)
    take_in_by(append)


def small_blocks_gone_without_the_large() -> None:
    replace_ = rollup._replace

    def careless(connection: Any, place: Any, found: Any) -> None:
        replace_(connection, place, found._replace(blocks=[]))

    put(rollup, "_replace", careless)


def gap_records_not_counted() -> None:
    for place in (standing, records):
        put(place, "gap_of", lambda data: ("", []))


def watermark_over_holes() -> None:
    def generous(cursor: Cursor, _: str, spans: Iterable[tuple[int, int]]) -> None:
        cursor.cover((1, last) for _, last in spans)

    for place in (standing, messages):
        put(place, "cover", generous)


# A device that is not what it was


def journal_copied_back_unnoticed() -> None:
    async def nothing(*_: Any) -> None: ...

    put(compare, "check", nothing)


def old_box_still_heard() -> None:
    put(messages, "_still", lambda *_: None)


def chain_begun_anew_at_each_start() -> None:
    put(evidence, "stood", lambda _: (0, "", {}))


MUTANTS: dict[str, Plant] = {
    plant.__name__: plant
    for plant in (
        journal_not_synced_at_each_commit,
        journal_never_synced,
        tail_forgotten_at_start,
        tail_not_written,
        tail_kept_after_seal,
        last_batch_not_sealed,
        durable_before_commit,
        refused_commit_thrown_away,
        refused_commit_put_behind_the_newer,
        error_of_the_disk_ignored,
        journal_checksum_skipped,
        tail_checksum_skipped,
        damaged_without_a_word,
        evicted_without_a_word,
        evicts_what_is_not_delivered,
        overflow_without_a_word,
        numbers_given_again,
        intervals_by_the_wall_clock,
        quality_dropped,
        cursor_before_the_answer,
        cursor_one_too_far,
        plane_never_compared,
        lack_seen_and_not_sent_again,
        commands_forgotten_at_restart,
        tags_not_sent,
        no_second_try,
        epoch_ignored,
        half_of_a_message_taken,
        plane_not_synced_at_each_commit,
        answer_before_commit,
        refusal_of_the_database_acknowledged,
        repeats_taken_again,
        small_blocks_gone_without_the_large,
        gap_records_not_counted,
        watermark_over_holes,
        journal_copied_back_unnoticed,
        old_box_still_heard,
        chain_begun_anew_at_each_start,
    )
}
