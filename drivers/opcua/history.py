"""HistoryRead of raw values (OPC UA part 11, 6.5.3) out of the journal. Nothing is kept here between two requests."""

from __future__ import annotations

import asyncio
import datetime
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from asyncua import ua

from edge import CodecFault, Host, Tag, decode, held, sound_events, tag_names

MOST_VALUES = 10_000  # in one answer, of all nodes together
MOST_ANSWERS = 64  # of the journal for one node; then a continuation point goes out
MOST_GAPS = 1_000
MOST_NODES = 1_000  # of one request
PLACE = struct.Struct("<qI")  # a continuation point: ns, and how many values of that time were told
FIRST, LAST = -(2**62), 2**62  # ns; no sample is before or after
LOST = 255  # in a column of qualities: what was there is lost
PLANES_OWN = ("forgotten", "rejected")  # gaps that only the plane has
BEGIN = datetime.datetime(1970, 1, 1)
Told = Callable[[Tag, float, int, int], Any]  # of tag, value, quality, ns: a DataValue
Body = tuple[int, bytes | None]  # as `held` gives them
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # ns, values, qualities


class Asked(NamedTuple):
    """A span in ns, read backward where it ends before it begins; `skip` values of its first time were told already."""

    t0: int
    t1: int
    backward: bool
    most: int
    skip: int = 0


class JournalHistory:
    """In place of asyncua's HistoryManager. `tag_of` finds the tag of a node (None: it is none), `told` makes a sample a value."""

    def __init__(self, host: Host, tag_of: Callable[[Any], Tag | None], told: Told) -> None:
        self._host, self._tag_of, self._told = host, tag_of, told
        self._turn = asyncio.Lock()  # one request at a time: the memory of one is bounded

    async def init(self) -> None: ...

    async def stop(self) -> None: ...

    async def read_history(self, params: Any) -> list[Any]:
        if len(params.NodesToRead) > MOST_NODES:
            return [_bad(ua.StatusCodes.BadTooManyOperations) for _ in params.NodesToRead]
        if params.ReleaseContinuationPoints:  # they hold nothing
            return [ua.HistoryReadResult() for _ in params.NodesToRead]
        out, room = [], MOST_VALUES
        async with self._turn:
            for wanted in params.NodesToRead:
                out.append(result := await self._read(params.HistoryReadDetails, wanted, room))
                room -= len(getattr(result.HistoryData, "DataValues", ()))
        return out

    def update_history(self, params: Any) -> list[Any]:
        bad = _status(ua.StatusCodes.BadHistoryOperationUnsupported)
        return [ua.HistoryUpdateResult(StatusCode=bad) for _ in params.HistoryUpdateDetails]

    async def _read(self, details: Any, wanted: Any, room: int) -> Any:
        if not isinstance(details, ua.ReadRawModifiedDetails) or details.IsReadModified:
            return _bad(ua.StatusCodes.BadHistoryOperationUnsupported)
        if (tag := self._tag_of(wanted.NodeId)) is None:
            return _bad(ua.StatusCodes.BadHistoryOperationUnsupported)
        try:
            asked = asked_for(details, wanted.ContinuationPoint)
            rows, place = await self._raw(tag, asked, min(room, asked.most or room))
        except struct.error:
            return _bad(ua.StatusCodes.BadContinuationPointInvalid)
        except ValueError:
            return _bad(ua.StatusCodes.BadHistoryOperationInvalid)
        data = ua.HistoryData()
        data.DataValues = [
            _lost(ts) if quality == LOST else self._told(tag, value, quality, ts) for ts, value, quality in rows
        ]
        if place:
            return ua.HistoryReadResult(ContinuationPoint=PLACE.pack(*place), HistoryData=data)
        status = _status(ua.StatusCodes.Good if rows else ua.StatusCodes.GoodNoData)
        return ua.HistoryReadResult(StatusCode=status, HistoryData=data)

    async def _raw(
        self, tag: Tag, asked: Asked, most: int
    ) -> tuple[list[tuple[int, float, int]], tuple[int, int] | None]:
        """At most `most` samples, and where the next ones begin. Raises ValueError where one moment has too many."""
        stream, (t0, t1, backward, _, skip) = f"samples:{tag.source}", asked
        ask, ids = self._host.journal.ask, await self._ids(tag)
        gaps = await ask(gaps_of, stream, t0, t1)
        out: list[tuple[int, float, int]] = []
        place = (t1 if backward else t0), skip
        for _ in range(MOST_ANSWERS if most > 0 else 0):
            found = await ask(held, stream, t0, t1, backward)
            low, high = t0, t1
            if found.until is not None:
                low, high = (found.until + 1, t1) if backward else (t0, found.until - 1)
                if low > high:
                    raise ValueError("more than fits into an answer lies at one time")
            rows = await asyncio.to_thread(_samples, tag.source, found.bodies, gaps, ids, low, high, backward)
            ts, value, quality = (column[skip : skip + most - len(out) + 1].tolist() for column in rows)
            out += zip(ts, value, quality, strict=True)
            if len(out) > most:
                at = out[most][0]
                same = sum(row[0] == at for row in out[:most])
                return out[:most], (at, same + (skip if at == place[0] else 0))
            if found.until is None:
                return out, None
            t0, t1 = (t0, low - 1) if backward else (high + 1, t1)
            place, skip = ((t1 if backward else t0), 0), 0
        return out, place

    async def _ids(self, tag: Tag) -> np.ndarray:
        """Every number under which the journal knows the tag: its unit or labels may have been others."""
        names, text = await self._host.journal.ask(tag_names), tag.type == "text"
        return np.array([n for n, (name, kind, _) in names.items() if name == tag.name and (kind == "text") == text])


def asked_for(details: Any, place: bytes | None) -> Asked:
    """From its start up to its end, which is left out (6.5.3.2): backward where the end comes first or the start is not said.
    Raises ValueError for neither, struct.error for a continuation point that is none of ours."""
    begins, ends = _ns(details.StartTime), _ns(details.EndTime)
    if begins is None and ends is None:
        raise ValueError("neither start nor end")
    if begins is None:
        asked = Asked(FIRST, ends or 0, True, 0)
    elif ends is not None and ends < begins:
        asked = Asked(ends + 1, begins, True, 0)
    else:
        asked = Asked(begins, LAST if ends is None else ends if ends == begins else ends - 1, False, 0)
    if place:
        at, skip = PLACE.unpack(place)
        if not asked.t0 <= at <= asked.t1:
            raise struct.error("a continuation point of another span")
        asked = asked._replace(skip=skip, **{"t1" if asked.backward else "t0": at})
    return asked._replace(most=details.NumValuesPerNode)


def gaps_of(db: Any, stream: str, t0: int, t1: int) -> list[int]:
    """Where samples of a stream begin and end to be lost, inside a span, as far as gap records tell."""
    out: set[int] = set()
    for event in sound_events(db, "WHERE kind = 'gap' ORDER BY seq DESC LIMIT ?", (MOST_GAPS,)):
        if event.data.get("stream") == stream and event.state not in PLANES_OWN:
            out |= {
                at for at in (event.data.get("from"), event.data.get("to")) if isinstance(at, int) and t0 <= at <= t1
            }
    return sorted(out - {0})


def _samples(
    source: str, bodies: Sequence[Body], gaps: Sequence[int], ids: np.ndarray, low: int, high: int, backward: bool
) -> Rows:
    """Of these numbers of a tag, between two times, along time or backward."""
    found: list[Rows] = []
    lost = [at for at in gaps if low <= at <= high]
    for begins, body in bodies:
        try:
            if body is None:
                raise CodecFault("damaged")
            batch = decode(source, body)
        except CodecFault:
            lost += [begins] if low <= begins <= high else []
            continue
        keep = np.isin(batch.tag, ids) & (batch.ts >= low) & (batch.ts <= high)
        found.append((batch.ts[keep], batch.value[keep], batch.quality[keep]))
    found.append((np.array(lost, np.int64), np.full(len(lost), np.nan), np.full(len(lost), LOST, np.uint8)))
    ts, value, quality = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(ts, kind="stable")
    if backward:
        order = order[::-1]
    return ts[order], value[order], quality[order]


def _ns(moment: Any) -> int | None:
    """None where it is not said, which OPC UA writes as the first moment of its calendar."""
    if moment is None or moment.year <= 1601:
        return None
    past = moment.replace(tzinfo=None) - BEGIN
    return min(max((past.days * 86_400 + past.seconds) * 10**9 + past.microseconds * 1000, FIRST), LAST)


def _lost(ts: int) -> Any:
    at: Any = (BEGIN + datetime.timedelta(microseconds=ts // 1000)).replace(tzinfo=datetime.UTC)
    return ua.DataValue(StatusCode=_status(ua.StatusCodes.BadDataLost), SourceTimestamp=at)


def _bad(code: int) -> Any:
    return ua.HistoryReadResult(StatusCode=_status(code))


def _status(code: int) -> Any:
    return ua.StatusCode(ua.UInt32(code))
