"""The PLC's side of the handshake, as a program in it has to keep it: the counterpart in tests and in `lineside station conform`.

Pure as the other side: `step` looks at `memory` (the station's outputs as they stand in the PLC) and moves `trigger` and `ack`.
`faults` makes it misbehave in the ways that a station has to survive.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .handshake import LAST_ID


@dataclass
class Faults:
    """Until when (monotonic ns) the PLC keeps from acknowledging, from letting `ack` fall, or from letting `trigger` fall; and
    whether the next trigger comes twice, and whether it comes though `ready` is low."""

    no_ack: int = 0
    ack_high: int = 0
    trigger_high: int = 0
    double: bool = False
    blind: bool = False


@dataclass
class Plc:
    """`cadence`: ns from one part to the next. `last` is in retained memory, the rest is lost in a `restart`."""

    cadence: int
    next_part: int = 0
    memory: dict[str, float] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    trigger: bool = False
    ack: bool = False
    resting: bool = False  # no further part comes
    last: int = 0
    part: int = 0
    taken: list[int] = field(default_factory=list)  # ids that it saw taken
    refused: int = 0
    results: list[tuple[int, str]] = field(default_factory=list)  # each id once
    repeats: int = 0  # results that it had already, known by their ids
    waited: list[int] = field(default_factory=list)  # ns from trigger to verdict
    log: list[tuple[int, str, float]] = field(default_factory=list)  # its own bits, as they moved
    _raised: int = 0
    _began: dict[int, int] = field(default_factory=dict)

    def restart(self) -> None:
        """The power of the PLC went: what is not retained is zero."""
        self.trigger = self.ack = False
        self.memory = dict.fromkeys(self.memory, 0.0)

    def step(self, now: int) -> None:
        """One cycle of its program."""
        see = self.memory.get
        may = (see("ready") and not see("taken")) or self.faults.blind
        if self.trigger:
            self._answered(now)
        elif may and not self.resting and now >= self.next_part:
            self._set("trigger", True, now)
            self._raised, self.faults.blind = now, False
            self.part += 1
        if see("valid") and not self.ack and now >= self.faults.no_ack:
            self._read(now)
            self._set("ack", True, now)
        elif self.ack and not see("valid") and now >= self.faults.ack_high:
            self._set("ack", False, now)

    def _answered(self, now: int) -> None:
        taken = bool(self.memory.get("taken"))
        if not (taken or self.memory.get("refused")) or now < self.faults.trigger_high:
            return
        if taken:
            number = int(self.memory.get("taken_id", 0))
            if number not in self.taken[-LAST_ID:]:
                self.taken.append(number)
                self._began[number] = self._raised
        else:
            self.refused += 1
        self.next_part = now if self.faults.double or not taken else max(now, self._raised + self.cadence)
        self.faults.blind |= self.faults.double
        self.faults.double = False
        self._set("trigger", False, now)

    def _read(self, now: int) -> None:
        number = int(self.memory.get("result_id", 0))
        if number == self.last:
            self.repeats += 1
            return
        states = [state for state in ("ok", "ng", "recheck") if self.memory.get(state)]
        self.results.append((number, " ".join(states)))
        self.last = number
        if number in self._began:
            self.waited.append(now - self._began.pop(number))

    def _set(self, bit: str, high: bool, now: int) -> None:
        setattr(self, bit, high)
        self.log.append((now, bit, float(high)))
