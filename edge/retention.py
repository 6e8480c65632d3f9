"""What leaves the journal, and the gap record that says so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from itertools import islice

import apsw

from . import sums
from .clock import SECOND
from .codec import CodecFault, decode_event
from .event import Event
from .log import log
from .records import Place, marks, sample_streams
from .rows import cursors

FILL = 0.97  # of the pages a journal may have: eviction starts here and ends 4 % lower
STEP = 64  # rows of a class before it is looked whether there is room
MOST = 64  # steps of a class a turn: one transaction must not hold up all others
HOUR, REST = 3600 * SECOND, 60 * SECOND
OLD = 256  # rows of a stream a turn that are over their time
Run = tuple[int, int, int, int, int]  # first and last number, from, to (ns), samples


def gap(utc: int, source: str, t0: int, t1: int, n: int, cause: str, first: int = 0, last: int = 0) -> Event:
    """The delivered record of samples that are not there: `first`..`last` are block numbers, 0 where none was sealed."""
    return lack(utc, f"samples:{source}", (first, last, t0, t1, n), cause)


def lack(utc: int, stream: str, run: Run, cause: str, text: str = "") -> Event:
    """The delivered record of a run of records that are not there, in its own words where `text` has none."""
    first, last, t0, t1, n = run
    key = stream.removeprefix("samples:")
    data = {"stream": stream, "from": t0, "to": t1, "samples": n, "cause": cause, "first": first, "last": last}
    records = f"record {first} of {stream}" if first == last else f"records {first} to {last} of {stream}"
    what = f"{n} samples of {key}" if stream.startswith("samples:") else records
    return Event("gap", key, cause, utc, "medium", text or f"{what} were given up: {cause}", data)


def unkept(utc: int, stream: str, since: int, n: int) -> Event:
    """The record of events or pictures that never became durable and gave way to newer ones; they had no number yet. The oldest of
    them was of `since`."""
    data = {
        "stream": stream,
        "from": min(since, utc),
        "to": utc,
        "samples": n,
        "cause": "journal_full",
        "first": 0,
        "last": 0,
    }
    text = f"{n} {stream}s were given up: journal_full"
    return Event("gap", stream, "journal_full", utc, "medium", text, data)


def quarantine(db: apsw.Connection, damaged: Iterable[Place], utc: int, gone: Collection[Place] = ()) -> list[Event]:
    """Inside the caller's transaction: take out records that no longer are what was written; a gap event tells of each. Where only
    one bit beside its body flipped, it is put right. Raises apsw.CorruptError where a record that was read as damaged is not found
    by its number, and is not among those that are `gone`: the number is what was damaged."""
    gaps = []
    for stream, seq in sorted(damaged):
        samples = stream.startswith("samples:")
        table, number = "block" if samples else stream, "id" if stream in ("tail", "tag") else "seq"
        columns = ("rowid", "crc", "body", *sums.HEADS[table])
        where, values = (f"{number} = ? AND stream = ?", (seq, stream)) if samples else (f"{number} = ?", (seq,))
        found = (stream, seq) in gone
        for row in list(db.execute(f"SELECT {', '.join(columns)} FROM {table} WHERE {where}", values)):
            wrong = dict(zip(columns, row, strict=True))
            if sums.sound_row(table, wrong):
                continue
            found = True
            db.execute(f"DELETE FROM {table} WHERE rowid = ?", (wrong.pop("rowid"),))
            right = sums.righted(table, wrong)
            if right is not None and table != "tail":
                marks = ", ".join("?" * len(right))
                db.execute(
                    f"INSERT OR IGNORE INTO {table} ({', '.join(right)}) VALUES ({marks})", tuple(right.values())
                )
                log.warning("journal: a bit of record %d of %s had flipped and was put right", seq, stream)
                continue
            t0, t1 = wrong.get("t0", wrong.get("ts", 0)), wrong.get("t1", wrong.get("ts", utc))
            if table == "tail":  # what came since the last block; the clock may have been set back
                (since,) = next(db.execute("SELECT max(t1) FROM block WHERE stream = ?", (wrong["stream"],)))
                t0, t1 = min(since or 0, utc), max(since or 0, utc)
            place = (str(wrong["stream"]), 0) if table == "tail" else (stream, seq)
            gaps.append(lack(utc, place[0], (place[1], place[1], t0, t1, wrong.get("n", 0)), "damaged"))
        if not found:
            raise apsw.CorruptError(f"a record of {stream} is not where its number says")
    return gaps


def used_bytes(db: apsw.Connection) -> int:
    """Of the file, without the pages that wait to be used again."""
    pages, free, size = (_number(db, name) for name in ("page_count", "freelist_count", "page_size"))
    return (pages - free) * size


def free_bytes(db: apsw.Connection) -> int:
    """Of the pages in the file that wait to be used again."""
    return _number(db, "freelist_count") * _number(db, "page_size")


def _number(db: apsw.Connection, pragma: str) -> int:
    return int(next(db.execute(f"PRAGMA {pragma}"))[0])


def delivered(db: apsw.Connection, readers: Collection[str], stream: str) -> int:
    """The sequence number up to which every reader has delivered a stream; without readers, everything counts."""
    if not readers:
        return 2**62
    found = (cursors(db, "WHERE reader = ? AND stream = ?", reader, stream) for reader in readers)
    return min(next((mark for _, _, mark, _ in one), 0) for one in found)


class Age:
    """Whether the clock can say how old something is: not for a day after somebody set it by more than an hour, perhaps by
    mistake, nor at a start: what was recorded before a long stop may still have to be signed."""

    def __init__(self) -> None:
        self._off: int | None = None
        self._again = 0

    def trusted(self, mono: int, utc: int) -> bool:
        """To be asked now and then."""
        if self._off is None:
            self._again = mono + REST
        elif abs(utc - mono - self._off) > HOUR:
            self._again = mono + 24 * HOUR
        self._off = utc - mono
        return mono >= self._again


def evict(db: apsw.Connection, readers: Collection[str], utc: int, cut: int, most: int) -> list[Event]:
    """Inside the caller's transaction: drop what is delivered and was written before `cut` (whatever the time of its samples),
    some of it a turn; then, where the file has more than `most` bytes in use, `give_up` down to 4 % less."""
    for stream in sample_streams(db):
        oldest = "SELECT rowid AS r, written FROM block WHERE stream = ? AND seq <= ? ORDER BY seq LIMIT ?"
        remove = f"DELETE FROM block WHERE rowid IN (SELECT r FROM ({oldest}) WHERE written < ?)"
        db.execute(remove, (stream, delivered(db, readers, stream), OLD, cut))
    oldest = "SELECT seq, ts FROM picture WHERE seq <= ? ORDER BY seq LIMIT ?"
    remove = f"DELETE FROM picture WHERE seq IN (SELECT seq FROM ({oldest}) WHERE ts < ?)"
    db.execute(remove, (delivered(db, readers, "picture"), OLD, cut))
    events = list(islice(_told_events(db, readers, cut), OLD))
    db.executemany("DELETE FROM event WHERE seq = ?", [(seq,) for seq, _, written in events if written < cut])
    if used_bytes(db) <= most * FILL:
        return []
    return give_up(db, readers, utc, lambda: used_bytes(db) <= most * (FILL - 0.04))


def clear(db: apsw.Connection, readers: Collection[str], utc: int, need: int, *, unsent: bool) -> list[Event]:
    """Inside the caller's transaction: `give_up` until `need` bytes inside the file are free to be used again."""
    return give_up(db, readers, utc, lambda: free_bytes(db) >= need, unsent=unsent)


def give_up(
    db: apsw.Connection, readers: Collection[str], utc: int, enough: Callable[[], bool], *, unsent: bool = True
) -> list[Event]:
    """Class by class until there is enough: delivered pictures, samples, events, each from the oldest; then, if `unsent`, what
    nobody has yet in the same order, so that events go when nothing else is left, and gap records never. Returns the gap
    events of what nobody had, one for each run of numbers."""
    runs: dict[str, list[Run]] = {}
    told = _told_events(db, readers)  # looked through once, not at each step
    for waiting in (False, True)[: 1 + unsent]:
        for step in (_pictures, _samples, partial(_events, told)):
            one = partial(step, db, readers, runs, waiting)
            steps = 0
            while steps < MOST and not enough() and one():
                steps += 1
    return [lack(utc, stream, run, "evicted") for stream, found in runs.items() for run in joined(found)]


def _pictures(db: apsw.Connection, readers: Collection[str], runs: dict[str, list[Run]], waiting: bool) -> int:
    done = delivered(db, readers, "picture")
    find = "DELETE FROM picture WHERE seq IN (SELECT seq FROM picture WHERE seq <= ? ORDER BY seq LIMIT 8) RETURNING seq, ts"
    gone = list(db.execute(find, (2**62 if waiting else done,)))
    _note(runs, "picture", [(seq, seq, ts, ts, 0) for seq, ts in gone if seq > done])
    return len(gone)


def _samples(db: apsw.Connection, readers: Collection[str], runs: dict[str, list[Run]], waiting: bool) -> int:
    if waiting:  # all that is delivered is gone
        rows = list(db.execute("SELECT rowid, stream, seq, t0, t1, n FROM block ORDER BY written LIMIT ?", (STEP,)))
    else:
        streams = sample_streams(db)
        oldest = "SELECT rowid, stream, seq, t0, t1, n FROM block WHERE stream = ? AND seq <= ? ORDER BY seq LIMIT ?"
        share = max(1, STEP // max(1, len(streams)))
        rows = [row for s in streams for row in db.execute(oldest, (s, delivered(db, readers, s), share))]
    db.executemany("DELETE FROM block WHERE rowid = ?", [(row[0],) for row in rows])
    for _, stream, seq, t0, t1, n in rows if waiting else ():
        if seq > delivered(db, readers, stream):
            _note(runs, stream, [(seq, seq, t0, t1, n)])
    return len(rows)


def _events(
    told: Iterator[tuple[int, int, int]],
    db: apsw.Connection,
    readers: Collection[str],
    runs: dict[str, list[Run]],
    waiting: bool,
) -> int:
    gone = [(seq, ts) for seq, ts, _ in islice(told, STEP)]
    if waiting and not gone:
        more = "SELECT seq, ts FROM event WHERE seq > ? AND kind <> 'gap' ORDER BY seq LIMIT ?"
        gone = list(db.execute(more, (delivered(db, readers, "event"), STEP)))
        _note(runs, "event", [(seq, seq, ts, ts, 0) for seq, ts in gone])
    db.executemany("DELETE FROM event WHERE seq = ?", [(seq,) for seq, _ in gone])
    return len(gone)


def _told_events(db: apsw.Connection, readers: Collection[str], cut: int = 2**63 - 1) -> Iterator[tuple[int, int, int]]:
    """(number, time, written) of what is delivered, from the oldest, but for gap events from before `cut` of what a reader has
    still to come to: it would be missed there without a word, and told of a second time."""
    behind: dict[str, int] = {}
    oldest = "SELECT seq, ts, written, kind, body FROM event WHERE seq <= ? ORDER BY seq"
    for seq, ts, written, kind, body in db.execute(oldest, (delivered(db, readers, "event"),)):
        if kind == "gap" and written < cut:
            stream, last = _gap_of(body)
            if stream not in behind:
                behind[stream] = _behind(db, readers, stream)
            if last > behind[stream]:
                continue
        yield seq, ts, written


def _gap_of(body: bytes) -> tuple[str, int]:
    """The stream that a gap event is about, and the last number that it tells of; 0 where it tells of none."""
    try:
        data = decode_event(body).data
        return str(data["stream"]), int(data["last"])
    except (CodecFault, KeyError, TypeError, ValueError):
        return "", 0


def _behind(db: apsw.Connection, readers: Collection[str], stream: str) -> int:
    """What no reader has still to come to: all of them read samples, some of them other streams."""
    if stream.startswith("samples:"):
        return delivered(db, readers, stream)
    found = cursors(db, "WHERE stream = ?", stream)
    return min((mark for reader, _, mark, _ in found if reader in readers), default=2**62)


def _note(runs: dict[str, list[Run]], stream: str, found: Iterable[Run]) -> None:
    runs.setdefault(stream, []).extend(found)


def joined(runs: Iterable[Run]) -> list[Run]:
    """Runs of numbers that touch, as one."""
    out: list[Run] = []
    for run in sorted(runs):
        first, last, t0, t1, n = run
        if out and first == out[-1][1] + 1:
            before = out[-1]
            out[-1] = before[0], last, min(before[2], t0), max(before[3], t1), before[4] + n
        else:
            out.append(run)
    return out


def end_reader(db: apsw.Connection, reader: str) -> dict[str, int]:
    """Forget the cursor of a reader that left the site; returns where it stood, for the event that says so."""
    stood = marks(db, reader)
    db.execute("DELETE FROM cursor WHERE reader = ?", (reader,))
    return stood
