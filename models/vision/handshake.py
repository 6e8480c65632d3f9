"""The handshake with the PLC: a pure state machine on booleans and small numbers; no clock, no tags, no network.

Two four-phase exchanges run beside each other, so that neither side ever has to guess what the other one saw:

- trigger: the PLC sees `ready`, raises `trigger`, sees `taken`, drops `trigger`, sees `taken` fall.
- result:  the station raises `valid`, the PLC reads the words and raises `ack`, sees `valid` fall, drops `ack`.

A trigger that is `taken` has an inspection id and gets exactly one verdict under that id, in the order of the triggers. At most
BUFFER parts are under way or wait for their `ack`; with so many `ready` is low, so that no verdict is ever without a place.
What goes wrong is a state (`Handshake.state`) and shows as `overrun`; docs/aoi-station.md has the table.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

BUFFER = 8
LAST_ID = 65_535  # after it comes 1: an id fits one register, and 0 is none

State = Literal["lost", "refused", "ack_stuck", "unacked", "full", "not_ready", "busy", "idle"]


@dataclass(frozen=True, slots=True)
class Result:
    """One verdict on its way to the PLC: `state` is ok, ng or recheck, `checksum` that of the recipe that judged."""

    id: int
    part: int
    state: str
    checksum: int = 0


class Shown(NamedTuple):
    """What the PLC sees. The words `result_id`, `part_done`, `checksum` and the three verdicts belong together while `valid`."""

    ready: bool = False
    taken: bool = False
    taken_id: int = 0
    refused: bool = False
    busy: bool = False
    valid: bool = False
    ok: bool = False
    ng: bool = False
    recheck: bool = False
    overrun: bool = False
    heartbeat: bool = False
    result_id: int = 0
    part_done: int = 0
    recipe: int = 0
    checksum: int = 0
    interlock: bool = False  # set by the station: master samples are wanted


class Told(NamedTuple):
    """What happened: `taken` (judge this part), `delivered` (the PLC has acknowledged), `refused`, or a state that was entered
    or left (`raised`, `cleared`); `id` of the inspection, or 0."""

    what: Literal["taken", "delivered", "refused", "raised", "cleared"]
    id: int = 0
    state: str = ""


class Handshake:
    """Times are monotonic nanoseconds. `ack_within`: how long a verdict may stand without its `ack`, and `ack` without falling."""

    def __init__(self, ack_within: int, heartbeat: int) -> None:
        self._ack_within, self._every = ack_within, heartbeat
        self._last = 0
        self._under_way: dict[int, int] = {}  # id -> part number, in the order of the triggers
        self._finished: dict[int, Result] = {}  # judged, and one that was triggered before is not
        self._buffer: deque[Result] = deque()
        self._connected = False
        self._trigger = self._taken = self._refused = self._ack = False
        self.acquiring = False  # the part before is still before its cameras: set by the station
        self.doubt = ""  # why the part that the PLC names now cannot be taken: set by the station
        self._missed = False  # the last part that announced itself by its picture was refused
        self._valid = False
        self._why, self._recipe = "nothing is loaded", 0
        self._since = 0  # when valid rose, or fell with ack high
        self._late = False  # the PLC let `ack_within` pass
        self._beat, self._beat_due = False, 0
        self._words = Result(0, 0, "")
        self._faults: set[State] = set()
        self._gone = 0  # when it ceased to answer
        self._met = False  # the PLC has answered since the start

    # What the station says

    def permit(self, why_not: str, recipe: int = 0) -> None:
        """Whether parts can be judged: empty, or why not. `recipe` is the checksum of what is loaded (0: nothing)."""
        self._why, self._recipe = why_not, recipe

    def judged(self, result: Result, mono: int) -> list[Told]:
        """The verdict of a part under way; of any other id nothing follows, so that none is doubled."""
        if result.id in self._under_way and result.id not in self._finished:
            self._finished[result.id] = result
            while self._under_way and (first := next(iter(self._under_way))) in self._finished:
                del self._under_way[first]
                self._buffer.append(self._finished.pop(first))
        return self._on(mono)

    def take(self, mono: int, part: int | None = None) -> list[Told]:
        """A part announces itself without the trigger bit (its picture came). Taken or refused as a trigger is."""
        told = self._begin(part)
        self._missed = told.what == "refused"
        return [told, *self._on(mono)]

    @property
    def connected(self) -> bool:
        return self._connected

    def part_of(self, number: int) -> int:
        """The part number of an inspection that is under way."""
        return self._under_way[number]

    @property
    def under_way(self) -> tuple[int, ...]:
        return tuple(self._under_way)

    # What the PLC says

    def plc(
        self, trigger: bool, ack: bool, mono: int, part: int | None = None, *, standing: int | None = None
    ) -> list[Told]:
        """One scan of the PLC's bits, all of one moment; `part` its part number, where it says one. `standing`: the id of the
        valid result that the same scan shows in the PLC (0: none), where that is known: an `ack` is of no other one."""
        told: list[Told] = []
        unseen = False
        if not self._connected:
            unseen = not self._met or mono - self._gone > self._ack_within
            self._connected, self._met, self._since, self._late = True, True, mono, False
        if trigger and not self._trigger and unseen:  # it rose while nobody saw it: whose part that is nobody knows
            self._refused = True
            told.append(Told("refused", state="refused"))
        elif trigger and not self._trigger:
            told.append(self._begin(part))
            self._taken, self._refused = told[-1].what == "taken", told[-1].what == "refused"
        if not trigger:
            self._taken = self._refused = False
        if ack != self._ack:
            self._since, self._late = mono, False
        self._trigger, self._ack = trigger, ack
        if ack and self._valid and standing in (None, self._words.id):
            told.append(Told("delivered", self._buffer.popleft().id))
            self._valid, self._since, self._late = False, mono, False
        return [*told, *self._on(mono)]

    def lost(self, mono: int) -> list[Told]:
        """The PLC does not answer. Nothing is taken, and what waits goes on waiting."""
        self._gone = mono if self._connected else self._gone
        self._connected = False
        return self._on(mono)

    def tick(self, mono: int) -> list[Told]:
        if mono >= self._beat_due:
            self._beat, self._beat_due = not self._beat, mono + self._every
        return self._on(mono)

    def due(self) -> int:
        """When it wants its next `tick`."""
        waits = (self._valid or (self._ack and bool(self._buffer))) and self._connected and not self._late
        return min(self._beat_due, self._since + self._ack_within) if waits else self._beat_due

    # What follows

    def ready(self) -> bool:
        room = len(self._under_way) + len(self._buffer) < BUFFER
        free = not (self.acquiring or self._taken or self._refused)
        return self._connected and not self._why and room and free

    def _begin(self, part: int | None) -> Told:
        if not self.ready() or self.doubt:
            return Told("refused", state="refused")
        self._last = self._last % LAST_ID + 1
        self._under_way[self._last] = self._last if part is None else part
        return Told("taken", self._last)

    def _on(self, mono: int) -> list[Told]:
        if self._connected and self._buffer and not self._valid and not self._ack:
            self._valid, self._words, self._since, self._late = True, self._buffer[0], mono, False
        if self._connected and mono - self._since >= self._ack_within:
            self._late |= self._valid or (self._ack and bool(self._buffer))
        now = {state for state, holds in self._standing() if holds and self._met}
        told = [
            Told("raised", self._words.id, s)
            for s in ("lost", "unacked", "ack_stuck", "full")
            if s in now - self._faults
        ]
        told += [Told("cleared", 0, s) for s in ("lost", "unacked", "ack_stuck", "full") if s in self._faults - now]
        self._faults = now
        return told

    def _standing(self) -> tuple[tuple[State, bool], ...]:
        return (
            ("lost", not self._connected),
            ("refused", self._refused),
            ("ack_stuck", self._late and not self._valid),
            ("unacked", self._late and self._valid),
            ("full", len(self._under_way) + len(self._buffer) >= BUFFER),
            ("not_ready", bool(self._why)),
            ("busy", bool(self._under_way)),
        )

    @property
    def state(self) -> State:
        """The first of the documented states that holds."""
        return next((state for state, holds in self._standing() if holds), "idle")

    @property
    def why_not_ready(self) -> str:
        return self._why

    def shown(self) -> Shown:
        words = self._words
        return Shown(
            ready=self.ready(),
            taken=self._taken,
            taken_id=self._last,
            refused=self._refused,
            busy=bool(self._under_way),
            valid=self._valid,
            ok=words.state == "ok",
            ng=words.state == "ng",
            recheck=words.state == "recheck",
            overrun=self._refused or self._missed or self._late,
            heartbeat=self._beat,
            result_id=words.id,
            part_done=words.part,
            recipe=self._recipe,
            checksum=words.checksum,
        )

    # What survives

    def snapshot(self) -> dict[str, Any]:
        """JSON can hold it."""
        results = [asdict(r) for r in (*self._buffer, *self._finished.values())]
        return {
            "last": self._last,
            "under_way": list(self._under_way.items()),
            "results": results,
            "taken": self._taken,
            "words": asdict(self._words),
        }

    def restore(self, state: dict[str, Any]) -> list[Result]:
        """After a restart: verdicts that were not acknowledged are shown again under their ids, and a part that was under way
        is rechecked; those are returned. A trigger that was taken and is still high is no new one. Raises for what is no
        snapshot."""
        results = {r["id"]: Result(**r) for r in json.loads(json.dumps(state["results"]))}
        under_way = {int(number): int(part) for number, part in state["under_way"]}
        self._last, self._words = int(state["last"]), Result(**state["words"])
        self._trigger = self._taken = bool(state["taken"])
        self._buffer = deque(r for number, r in results.items() if number not in under_way)
        rechecked = [Result(n, part, "recheck") for n, part in under_way.items() if n not in results]
        self._buffer += sorted(
            [*(r for number, r in results.items() if number in under_way), *rechecked],
            key=lambda r: list(under_way).index(r.id),
        )
        return rechecked

    def catch_up(self, taken_id: int, *, restored: bool) -> list[Result]:
        """At a start, with what the PLC says was taken last. A crash may have come between that and the disk: those parts are
        rechecked under the ids that the PLC has for them, and returned. A station without any memory, or with that of long ago,
        goes on behind them."""
        ahead = (taken_id - self._last) % LAST_ID
        if not 0 < taken_id <= LAST_ID or not ahead:
            return []
        if not restored or BUFFER < ahead < LAST_ID // 2:
            self._last = taken_id
            return []
        owed = []
        for _ in range(ahead if ahead <= BUFFER else 0):
            self._last = self._last % LAST_ID + 1
            owed.append(Result(self._last, self._last, "recheck"))
        self._buffer += owed
        return owed
