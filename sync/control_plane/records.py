"""Events, tags and texts of a device become rows of their own."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgpack
from sqlalchemy import Connection

from edge import CodecFault, Event, decode_event, decode_text, log

from ..checkpoint import KIND, NotSigned, signed
from ..wire import Frame, shallow
from . import fold, tables, witness
from .database import insert_new, word
from .standing import gap_of, told, whole


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


TAKE: dict[str, Callable[[Connection, str, list[Frame]], None]] = {
    "tag": _take_tags,
    "text": _take_texts,
    "event": _take_events,
}
