"""`lineside export` and `lineside tail`: what the journal holds, as CSV, or as it grows, as JSON lines."""

from __future__ import annotations

import argparse
import csv
import datetime
import difflib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from .. import parquet
from ..batch import Batch, Quality
from ..codec import CodecFault, decode, decode_event
from ..config.load import folder_of
from ..errors import LinesideError
from ..event import plain_data
from ..log import log
from ..records import batches, reading, tag_names, texts
from ..texts import TYPE
from .arguments import between, since_until, site_and_state

HELP = "write samples from the journal as CSV or Parquet"


def arguments(parser: argparse.ArgumentParser) -> None:
    site_and_state(parser)
    parser.add_argument("--tag", action="append", default=[], metavar="TAG", help="only this tag (may be given again)")
    told = "write to this file, as Parquet where its name ends so (default: CSV to standard output)"
    parser.add_argument("--out", type=Path, metavar="FILE", help=told)
    since_until(parser)


def run(options: argparse.Namespace) -> int:
    with reading(_journal(options)) as db:
        names, found = Names(db), _wanted(db, options)
        if options.out is None:
            _csv(sys.stdout, found, names)
        elif options.out.suffix.lower() in parquet.ENDS:
            log.info("%s: %d samples", options.out, parquet.save(options.out, found, names))
        else:
            with options.out.open("w", encoding="utf-8", newline="") as file:
                _csv(file, found, names)
    return 0


def _wanted(db: Any, options: argparse.Namespace) -> Iterator[Batch]:
    """What lies in the span, of the tags that were asked for."""
    t0, t1 = between(options)
    tags = {number: name for number, (name, *_) in tag_names(db).items()}
    for name in options.tag:
        _known(name, set(tags.values()))
    ids = [number for number, name in tags.items() if name in options.tag]

    def look() -> Iterator[Batch]:
        for batch in batches(db, t0, t1):
            keep = (batch.ts >= t0) & (batch.ts <= t1)
            if ids:
                keep &= np.isin(batch.tag, ids)
            if keep.any():
                yield batch.where(keep)

    return look()


def _csv(file: TextIO, found: Iterator[Batch], names: Names) -> None:
    out = csv.writer(file)
    out.writerow(["time", "tag", "value", "unit", "quality"])
    for batch in found:
        for tag, ts, value, quality in zip(batch.tag, batch.ts, batch.value, batch.quality, strict=True):
            name, unit = names.of(int(tag))
            known = names.value(int(tag), float(value))
            cell = "" if known is None else known if isinstance(known, str) else repr(known)
            out.writerow([iso(int(ts)), name, cell, unit, Quality(int(quality)).name])


def _known(name: str, names: set[str]) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        raise LinesideError(f"the journal holds no tag {name!r}", hint=f"did you mean {near[0]!r}?" if near else "")


def _journal(options: argparse.Namespace) -> Path:
    return folder_of(options.site, options.state) / "journal.db"


def iso(ts: int) -> str:
    """Nanoseconds as 2026-01-31T12:00:00.000000Z, with nine places where six are not all."""
    places = f"{ts % 10**9 // 1000:06d}" if ts % 1000 == 0 else f"{ts % 10**9:09d}"
    return datetime.datetime.fromtimestamp(ts // 10**9, datetime.UTC).strftime(f"%Y-%m-%dT%H:%M:%S.{places}Z")


class Names:
    """What the numbers of a journal stand for: tags, and the strings of text tags. Read again when one is not known yet."""

    def __init__(self, db: Any) -> None:
        self._db = db
        self._tags: dict[int, tuple[str, str, str]] = {}
        self._strings: dict[float, str] = {}

    def of(self, tag: int) -> tuple[str, str]:
        """(name, unit)"""
        if tag not in self._tags:
            self._tags = tag_names(self._db)
        name, _, unit = self._tags.get(tag, (str(tag), "", ""))
        return name, unit

    def kind(self, tag: int) -> str:
        """Its type."""
        self.of(tag)
        return self._tags[tag][1] if tag in self._tags else ""

    def value(self, tag: int, value: float) -> float | str | None:
        """As people read it: None where there is none, of a text its string."""
        if value != value:
            return None
        if self.kind(tag) != TYPE:
            return value
        if value not in self._strings:
            self._strings = {seq: text for seq, _, text in texts(self._db)}
        return self._strings.setdefault(value, f"text {value:.0f}")  # a damaged one


class Tail:
    HELP = "follow events and samples of a journal as JSON lines"

    @staticmethod
    def arguments(parser: argparse.ArgumentParser) -> None:
        site_and_state(parser)
        parser.add_argument("--events", action="store_true", help="events only, no samples")
        parser.add_argument(
            "--once",
            action="store_true",
            help="what is there now, then end (default: what comes, until Ctrl-C)",
        )

    @staticmethod
    def run(options: argparse.Namespace) -> int:
        with reading(_journal(options)) as db:
            follow = Follow(db, from_now=not options.once)
            while True:
                rows = [*follow.events(), *([] if options.events else follow.samples())]
                for row in rows:
                    print(json.dumps(row, ensure_ascii=False), flush=True)
                if options.once:
                    return 0
                time.sleep(0.5)


class Follow:
    """What is new in a journal since the last look: samples when they reach the tail, or the block that was sealed before
    the next look. `from_now` passes over what is there already."""

    def __init__(self, db: Any, *, from_now: bool) -> None:
        self._db, self._event, self._names = db, 0, Names(db)
        self._tail: set[tuple[int, int]] = set()  # (row, checksum): rows are numbered anew when the tail was emptied
        self._blocks: dict[str, int] = dict(db.execute("SELECT stream, max(seq) FROM block GROUP BY stream"))
        self._newest: dict[int, int] = {}
        if from_now:
            (self._event,) = next(db.execute("SELECT coalesce(max(seq), 0) FROM event"))
            list(self.samples())

    def events(self) -> Iterator[dict[str, Any]]:
        for seq, body in list(
            self._db.execute("SELECT seq, body FROM event WHERE seq > ? ORDER BY seq", (self._event,))
        ):
            self._event = seq
            try:
                yield shown_event(body)
            except CodecFault as fault:
                log.warning("event %d is left out: %s", seq, fault)

    def samples(self) -> Iterator[dict[str, Any]]:
        for (stream,) in list(self._db.execute("SELECT name FROM stream WHERE name LIKE 'samples:%'")):
            sealed = "SELECT seq, body FROM block WHERE stream = ? AND seq > ? ORDER BY seq"
            for seq, body in list(self._db.execute(sealed, (stream, self._blocks.get(stream, 0)))):
                self._blocks[stream] = seq
                yield from self._shown(stream, body, again=True)
        there = list(self._db.execute("SELECT id, crc FROM tail ORDER BY id"))
        for row in there:
            if row not in self._tail:
                for stream, body in list(
                    self._db.execute("SELECT stream, body FROM tail WHERE id = ? AND crc = ?", row)
                ):
                    yield from self._shown(stream, body, again=False)
        self._tail = set(there)

    def _shown(self, stream: str, body: bytes, *, again: bool) -> Iterator[dict[str, Any]]:
        """A batch as rows; of a block (`again`) only what was not seen in the tail."""
        try:
            batch = decode(stream.removeprefix("samples:"), body)
        except CodecFault as fault:
            log.warning("a record of %s is left out: %s", stream, fault)
            return
        if again:
            newest = np.array([self._newest.get(int(tag), -1) for tag in batch.tag])
            batch = batch.where(batch.ts > newest)
        for tag, ts in zip(batch.tag.tolist(), batch.ts.tolist(), strict=True):
            self._newest[tag] = max(ts, self._newest.get(tag, -1))
        yield from shown_batch(batch, self._names)


def shown_event(body: bytes) -> dict[str, Any]:
    event = decode_event(body)
    return {
        "time": iso(event.ts),
        "kind": event.kind,
        "key": event.key,
        "state": event.state,
        "severity": event.severity,
        "text": event.text,
        "data": plain_data(event.data),
    }


def shown_batch(batch: Batch, names: Names) -> Iterator[dict[str, Any]]:
    for tag, ts, value, quality in zip(batch.tag, batch.ts, batch.value, batch.quality, strict=True):
        name, unit = names.of(int(tag))
        shown = names.value(int(tag), float(value))
        yield {"time": iso(int(ts)), "tag": name, "value": shown, "unit": unit, "quality": Quality(int(quality)).name}
