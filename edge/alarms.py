"""Alarms: a table of limits evaluated for all tags at once, delay on the clock, and ISA-18.2 states that survive a kill."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from .batch import LATE, TRUSTED, Batch, Quality
from .clock import SECOND
from .config.types import Duration
from .evaluator import Evaluator
from .event import Event, Tick, Write
from .expressions import Expression, compile_expression
from .memo import PerColumn, Rows, distinct, joined, occurrences
from .stage import Item, Result
from .tags import TagTable

REASONS = 64  # of one detector that are remembered: as many times as it may come and go in one block of rows
TURNS = 8  # samples of one tag in a batch, from which on each alarm works through them by itself
SAME = 1024  # of them that are looked at together
NEVER = np.iinfo(np.int64).max


class AlarmConfig(BaseModel):
    """One alarm."""

    model_config = {"extra": "forbid", "frozen": True, "populate_by_name": True}
    when: str = Field(description='expression that raises it, such as "plc.oil_temp > 80"')
    for_: Duration = Field(0.0, alias="for", description="how long `when` must hold, on the clock")
    clear: str | None = Field(None, description="expression that clears it (default: `when` no longer holds)")
    clear_for: Duration = Field(0.0, description="how long `clear` must hold")
    severity: Literal["low", "medium", "high", "critical"] = Field("medium", description="how much it matters")
    text: str = Field("", description="what an operator reads")
    then: dict[str, float | str] = Field(default_factory=dict, description="tags to write when it is raised")
    on_clear: dict[str, float | str] = Field(default_factory=dict, description="tags to write when it clears")


class Alarms:
    """All alarms of a site. One row per alarm holds the condition that would change its state: `when` while it is quiet,
    `clear` while it is raised; so a row whose condition is false is at rest.

    `for:` counts monotonic time while the last value is true, trusted and younger than `stale_after`; it stands still
    while the value is stale or bad, and the change then carries that quality. Silence never clears an alarm.
    """

    Config = AlarmConfig

    def __init__(self, configs: Mapping[str, AlarmConfig], table: TagTable) -> None:
        self.names, self.configs = list(configs), list(configs.values())
        self._table, n = table, len(configs)
        self._index = {name: i for i, name in enumerate(self.names)}
        when = [compile_expression(c.when) for c in self.configs]
        clear = [compile_expression(c.clear if c.clear is not None else f"not ({c.when})") for c in self.configs]
        self._simple = [_same_tag(w, c, self.configs[i]) for i, (w, c) in enumerate(zip(when, clear, strict=True))]
        self._complex = [i for i in range(n) if self._simple[i] is None]
        self._evaluate = Evaluator([e for i in self._complex for e in (when[i], clear[i])], table)
        self.inputs = frozenset({"event:command", "event:anomaly"}).union(*(e.names for e in (*when, *clear)))
        self.outputs = frozenset(f"event:alarm {name}" for name in configs)
        self.active, self.acked = np.zeros(n, bool), np.ones(n, bool)
        self.shelved_until = np.zeros(n, np.int64)  # utc ns, 0: not shelved
        self.since = np.zeros(n, np.int64)
        self._delay = np.array([[c.for_, c.clear_for] for c in self.configs]).reshape(n, 2) * SECOND
        self._sign, self._bound = np.ones(n), np.full(n, np.inf)
        self._true, self._running = np.zeros(n, bool), np.zeros(n, bool)
        self._held, self._marked = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self._fresh = np.zeros(n, np.int64)
        self._value, self._quality = np.full(n, np.nan), np.zeros(n, np.uint8)
        self._stale = np.array([self._stale_after(when[i]) for i in range(n)], np.int64)
        self._rows, self._all = PerColumn(self._match), np.arange(n)
        self._gone: dict[str, int] = {}
        self._sources = [sorted({name.partition(".")[0] for name in e.names}) for e in when]
        self._reasons: dict[str, deque[Event]] = {}  # what each detector said last, by its name
        self._why: dict[int, str] = {}
        self._astir = False  # some condition is true, or some alarm shelved: else nothing is due
        self._unshelve = 0  # monotonic ns at which to look whether a shelving has ended
        for i in range(n):
            self._arm(i)

    def _stale_after(self, expression: Expression) -> int:
        ages = [self._table[name].stale_after for name in expression.names]
        return round(min((a for a in ages if a), default=0) * SECOND) or NEVER // 2

    def _match(self, tag: np.ndarray) -> tuple[Rows, Rows, np.ndarray | None]:
        """(rows, columns) of the simple alarms this tag column feeds, and the rank of repeated tags."""
        pairs = [
            (r, int(c))
            for r, limit in enumerate(self._simple)
            if limit
            for c in np.flatnonzero(tag == self._table[limit[0][0]].id)
        ]
        rows, columns = (np.array(x, np.int64) for x in (zip(*pairs, strict=True) if pairs else ((), ())))
        rank = occurrences(tag)
        return joined(rows), joined(columns), None if rank is None else rank[columns]

    def _arm(self, row: int) -> None:
        """Set the row to the condition that would change its state now."""
        limit = self._simple[row]
        if limit is not None:
            _, self._sign[row], self._bound[row] = limit[int(self.active[row])]
        self._true[row], self._held[row] = False, 0

    # What arrives

    def __call__(self, item: Item) -> Iterator[Result]:
        if isinstance(item, Batch):
            yield from self._batch(item)
        elif isinstance(item, Tick):
            yield from self._tick(item)
        elif isinstance(item, Event) and item.kind == "command":
            yield from self._command(item)
        elif isinstance(item, Event) and item.kind == "anomaly":
            self._reasons.setdefault(item.key, deque(maxlen=REASONS)).append(item)

    def _batch(self, batch: Batch) -> Iterator[Result]:
        rows, columns, rank = self._rows(batch.tag)
        quality = batch.quality[columns]
        if batch.worst >= LATE and (late := quality == LATE).any():
            rows, columns = self._all[rows][~late], np.arange(len(batch))[columns][~late]
            rank, quality = None if rank is None else rank[~late], quality[~late]
        if rank is not None and len(rank) and int(rank.max()) >= TURNS:
            for row in distinct(self._all[rows]):
                mine = np.arange(len(batch))[columns][self._all[rows] == row]
                yield from self._row(int(row), batch, mine)
        elif len(quality):
            for turn in range(1 if rank is None else int(rank.max()) + 1):
                now = None if rank is None else rank == turn
                r = rows if now is None else self._all[rows][now]
                c = columns if now is None else np.arange(len(batch))[columns][now]
                value = batch.value[c]
                truth = value * self._sign[r] > self._bound[r]
                yield from self._see(r, truth, value, batch.quality[c], batch.ts[c], batch.mono)
        if not self._complex:
            return
        found: dict[int, list[tuple[int, int, float, int]]] = {}
        for index, ts, truths, quality in self._evaluate(batch):
            sides = zip(ts.tolist(), [index % 2] * len(ts), truths.tolist(), quality.tolist(), strict=True)
            found.setdefault(self._complex[index // 2], []).extend(sides)
        for number, seen in found.items():
            row, judged = np.array([number]), None
            for at, is_clear, said, cause in sorted(seen, key=lambda one: one[:2]):  # both conditions, along time
                if at == judged or self.active[number] != is_clear:
                    continue
                judged = at
                one = (np.array([said != 0]), np.array([said]), np.array([cause], np.uint8), np.array([at]))
                yield from self._see(row, *one, batch.mono)

    def _row(self, row: int, batch: Batch, mine: np.ndarray) -> Iterator[Result]:
        """Many samples of the tag of one simple alarm, by their places, as in a block of a fast signal. They arrived together, so
        of those that say the same one after another the first decides and the last stays."""
        rows, i = np.array([row]), 0
        value, quality, ts = batch.value[mine], batch.quality[mine], batch.ts[mine]
        sure = (quality <= TRUSTED) & np.isfinite(value)
        while i < len(mine):
            part = slice(i, i + SAME)
            truth = value[part] * self._sign[row] > self._bound[row]
            one, was = slice(i, i + 1), self.active[row]
            yield from self._see(rows, truth[:1], value[one], quality[one], ts[one], batch.mono)
            said = truth & sure[part]
            same = (said == said[0]) & (sure[part] == sure[i])
            alike = len(same) if same.all() else int(same.argmin())
            run = alike if self.active[row] == was else 1  # its condition is another one now
            self._value[row], self._quality[row] = value[i + run - 1], quality[i + run - 1]
            i += run

    def _see(
        self, rows: Rows, truth: np.ndarray, value: np.ndarray, quality: np.ndarray, ts: np.ndarray, mono: int
    ) -> Iterable[Result]:
        """New values for rows (no row twice), all columns over `rows`."""
        trusted = (quality <= TRUSTED) & np.isfinite(value)
        self._value[rows], self._quality[rows] = value, quality
        truth = truth & trusted
        if not (truth.any() or (self._astir and self._true[rows].any())):
            self._running[rows] = trusted
            self._fresh[rows] = mono + self._stale[rows]
            return ()
        return self._move(self._all[rows], truth, trusted, ts, mono)

    def _move(
        self, rows: np.ndarray, truth: np.ndarray, trusted: np.ndarray, ts: np.ndarray, mono: int
    ) -> list[Result]:
        self._astir = True
        self._accumulate(rows, mono)
        self._held[rows[trusted & ~truth]] = 0
        self._true[rows] = np.where(trusted, truth, self._true[rows])
        self._running[rows] = trusted
        self._fresh[rows] = np.where(trusted, mono + self._stale[rows], self._fresh[rows])
        self._marked[rows] = mono
        out: list[Result] = []
        for row, stamp in zip(rows[truth], ts[truth], strict=True):
            out.extend(self._change_if_due(int(row), int(stamp), mono))
        return out

    def _accumulate(self, rows: np.ndarray, mono: int) -> None:
        counting = self._true[rows] & self._running[rows]
        spent = np.minimum(mono, self._fresh[rows]) - self._marked[rows]
        self._held[rows] += np.where(counting, np.maximum(spent, 0), 0)
        self._marked[rows] = mono

    def _change_if_due(self, row: int, ts: int, mono: int) -> list[Result]:
        if self._held[row] < self._delay[row, int(self.active[row])]:
            return []
        config, name = self.configs[row], self.names[row]
        self.active[row] = raised = not self.active[row]
        self.since[row] = ts
        if raised:
            self.acked[row] = False
        self._arm(row)
        wanted = config.then if raised else config.on_clear
        out: list[Result] = [Write(self._table[tag].id, value, cause=f"alarm {name}") for tag, value in wanted.items()]
        said = self._said(row, ts) if raised else {}
        self._why[row] = str(said.pop("text", ""))
        out.append(self._event(row, "raised" if raised else "cleared", ts, **said))
        return out

    def _said(self, row: int, ts: int) -> dict[str, Any]:
        """The reasons of the detectors that this alarm looks at, as they stood at `ts`."""
        before = (next((e for e in reversed(self._reasons.get(s, ())) if e.ts <= ts), None) for s in self._sources[row])
        events = [event for event in before if event and event.state == "raised"]
        if not events:
            return {}
        reasons = [reason for event in events for reason in event.data.get("reasons", ())]
        return {"text": "; ".join(event.text for event in events), "reasons": reasons}

    def _event(self, row: int, state: str, ts: int, **data: Any) -> Event:
        config = self.configs[row]
        value, quality = float(self._value[row]), Quality(int(self._quality[row]))
        data = {"when": config.when, "acked": bool(self.acked[row]), **data}
        if state in ("raised", "cleared"):
            data |= {"value": value if np.isfinite(value) else None, "quality": quality.name}
        text = self._text(row) if state == "raised" else config.text
        return Event("alarm", self.names[row], state, ts, config.severity, text, data)

    def _text(self, row: int) -> str:
        """What an operator reads: the alarm's own words, then the reasons it was raised by."""
        return ": ".join(part for part in (self.configs[row].text, self._why.get(row, "")) if part)

    # The clock

    def due(self) -> int | None:
        if self._gone:
            return 0
        if not self._astir:
            return None
        times = []
        waiting = np.flatnonzero(self._true & self._running)
        if len(waiting):
            delay = self._delay[waiting, self.active[waiting].astype(int)].astype(np.int64)
            ripe = self._marked[waiting] + delay - self._held[waiting]
            ripe = ripe[ripe <= self._fresh[waiting]]
            times.extend(ripe.tolist())
        if self.shelved_until.any():
            times.append(self._unshelve)
        self._astir = bool(times or self._true.any())
        return min(times, default=None)

    def _tick(self, tick: Tick) -> Iterator[Result]:
        for name, since in self._gone.items():
            yield Event("alarm", name, "cleared", tick.utc, text="no longer part of the site", data={"since": since})
        self._gone = {}
        rows = np.flatnonzero(self._true & self._running)
        self._accumulate(rows, tick.mono)
        for row in rows:
            yield from self._change_if_due(int(row), tick.utc, tick.mono)
        for row in np.flatnonzero((self.shelved_until > 0) & (self.shelved_until <= tick.utc)):
            self.shelved_until[row] = 0
            yield self._event(int(row), "unshelved", tick.utc, by="time")
        ends = self.shelved_until[self.shelved_until > 0]
        # the wall clock may be set meanwhile, so never sleep longer than a minute on its word
        self._unshelve = tick.mono + min(60 * SECOND, int(ends.min(initial=NEVER)) - tick.utc)

    # What people do

    def _command(self, event: Event) -> Iterator[Result]:
        row = self._index.get(str(event.data.get("alarm", "")))
        if row is None or event.key not in ("ack", "shelve", "unshelve"):
            return
        by = str(event.data.get("by", ""))
        if event.key == "ack" and not self.acked[row]:
            self.acked[row] = True
            yield self._event(row, "acked", event.ts, by=by)
        elif event.key == "shelve":
            until = event.ts + round(float(event.data.get("seconds", 3600)) * SECOND)
            self.shelved_until[row], self._unshelve, self._astir = until, 0, True
            yield self._event(row, "shelved", event.ts, by=by, until=until)
        elif event.key == "unshelve" and self.shelved_until[row]:
            self.shelved_until[row] = 0
            yield self._event(row, "unshelved", event.ts, by=by)

    def status(self, mono: int = 0) -> list[dict[str, Any]]:
        """Every alarm that is raised, unacknowledged or shelved, with the quality of what it judges, STALE where nothing came
        for too long at `mono`."""
        rows = np.flatnonzero(self.active | ~self.acked | (self.shelved_until > 0))
        return [
            {
                "alarm": self.names[row],
                "active": bool(self.active[row]),
                "acked": bool(self.acked[row]),
                "quality": self._quality_at(row, mono).name,
                "shelved_until": int(self.shelved_until[row]),
                "since": int(self.since[row]),
                "severity": self.configs[row].severity,
                "text": self._text(row) if self.active[row] else self.configs[row].text,
            }
            for row in map(int, rows)
        ]

    def _quality_at(self, row: int, mono: int) -> Quality:
        quality = Quality(int(self._quality[row]))
        return Quality.STALE if quality <= TRUSTED and mono > self._fresh[row] else quality

    # What survives

    def snapshot(self) -> bytes:
        kept = np.flatnonzero(self.active | ~self.acked | (self.shelved_until > 0))
        state = {
            self.names[r]: [bool(self.active[r]), bool(self.acked[r]), int(self.shelved_until[r]), int(self.since[r])]
            for r in map(int, kept)
        }
        why = {self.names[r]: self._why[r] for r in map(int, kept) if self._why.get(r)}
        return json.dumps({"version": 1, "alarms": state, "why": why}).encode()

    def restore(self, state: bytes) -> None:
        """Take up the states of before. An alarm raised then and no longer configured is cleared with the next tick."""
        document = json.loads(state)
        if document.get("version") != 1:
            return
        for name, (active, acked, shelved, since) in document["alarms"].items():
            row = self._index.get(name)
            if row is None:
                if active:
                    self._gone[name] = since
                continue
            self.active[row], self.acked[row] = active, acked
            self.shelved_until[row], self.since[row], self._astir = shelved, since, True
            self._why[row] = str(document.get("why", {}).get(name, ""))
            self._arm(row)


def _same_tag(
    when: Expression, clear: Expression, config: AlarmConfig
) -> tuple[tuple[str, float, float], tuple[str, float, float]] | None:
    """Both conditions as limits on one tag, or None."""
    if when.limit is None:
        return None
    name, sign, bound = when.limit
    if config.clear is None:  # not (s*v > b)  is  -s*v >= -b
        return when.limit, (name, -sign, float(np.nextafter(-bound, -np.inf)))
    return (when.limit, clear.limit) if clear.limit and clear.limit[0] == name else None
