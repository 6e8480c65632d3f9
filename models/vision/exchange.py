"""Another model in the place of the one that runs, between two pictures: first beside it without a say, then on trial, and back by
itself where it does worse than the one before did.

Nothing here waits for anybody: what a trial is judged by was counted on this line, before and since.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge import SECOND, Event, NewModel, wilson

SURE = 3.3  # standard deviations: what chance does once in a thousand trials is no reason to return
LEAST = 20  # parts from which on verdicts are compared, and that a trial needs
FEW = 5  # parts from which on late ones are compared
MOST = 1000  # parts that the time before counts, then each counts half
TALLIES = (30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)  # parts after which a shadow says how it stands
STATES = {"ok": "OK", "ng": "NG", "recheck": "RECHECK"}


@dataclass(frozen=True)
class Seen:
    """What became of one picture, as its job tells the stage. `by` is the model of the verdict or of the lateness; `fault` says why
    the one on trial gave none; a shadow that `asked` gets `image`, a copy, with the `record`."""

    by: Any
    state: str
    score: float = 0.0
    fault: str = ""
    asked: bool = False
    image: np.ndarray | None = None
    record: Event | None = None


@dataclass(frozen=True)
class Shadowed:
    """What the shadow said of a part: its state ("" where the pool had no place for it), and how long it took."""

    by: Any
    agrees: bool = False
    took_ms: float = 0.0
    fault: str = ""


@dataclass
class Counts:
    """Parts by state, and those that were late."""

    ok: int = 0
    ng: int = 0
    recheck: int = 0
    late: int = 0
    scores: deque[float] = field(default_factory=lambda: deque(maxlen=LEAST))

    def add(self, seen: Seen) -> None:
        if seen.state != "late":
            self.scores.append(round(seen.score, 4))
        setattr(self, seen.state, getattr(self, seen.state) + 1)
        if self.parts >= MOST:
            self.ok, self.ng, self.recheck, self.late = (n // 2 for n in (self.ok, self.ng, self.recheck, self.late))

    @property
    def judged(self) -> int:
        return self.ok + self.ng + self.recheck

    @property
    def parts(self) -> int:
        return self.judged + self.late


def worse(before: Counts, now: Counts, drift: float) -> str:
    """Why what was counted since is worse than what was counted before, both within their Wilson bounds; "" where it is not. A
    share of verdicts may differ by `drift` beyond them, either way: a model that finds nothing is as bad as one that finds
    everything."""
    low, high = wilson(now.late, now.parts, SURE)[0], wilson(before.late, before.parts, SURE)[1]
    if now.parts >= FEW and low > high:
        return f"it is too slow: {now.late} of {now.parts} parts were late, {before.late} of {before.parts} before"
    if min(now.judged, before.judged) < LEAST:
        return ""
    for state, word in STATES.items():
        was, have = getattr(before, state), getattr(now, state)
        (old_low, old_high), (low, high) = wilson(was, before.judged, SURE), wilson(have, now.judged, SURE)
        if low > old_high + drift or high < old_low - drift:
            return f"its verdicts drift: {have} of {now.judged} parts are {word}, {was} of {before.judged} before"
    if len(set(now.scores)) == 1 and len(set(before.scores)) >= FEW:
        return f"it says the same of every part: score {now.scores[0]:g} of the last {LEAST}"
    return ""


@dataclass
class Trial:
    """A model in the place of the one before, which stays warm."""

    order: NewModel
    before: Any
    began: int
    counts: Counts = field(default_factory=Counts)


@dataclass
class Shadow:
    """A model beside the one that runs. `next` is when it may look again (monotonic ns); `asked` while a picture is on its way."""

    order: NewModel
    parts: int = 0
    agreed: int = 0
    passed_over: int = 0
    took: deque[float] = field(default_factory=lambda: deque(maxlen=500))
    next: int = 0
    asked: bool = False
    faults: int = 0

    def figures(self) -> dict[str, Any]:
        p95 = round(float(np.percentile(self.took, 95)), 3) if self.took else 0.0
        told = {"parts": self.parts, "agreed": self.agreed, "faults": self.faults, "passed_over": self.passed_over}
        return told | {"p95_ms": p95}

    def words(self) -> str:
        told = self.figures()
        text = f"agrees on {self.agreed} of {self.parts} parts, {told['p95_ms']:g} ms at p95"
        return text + (f", {self.faults} it could not judge" if self.faults else "")


class Exchange:
    """The models of the stage `stage`: `judges` gives the verdicts. `lasts` seconds and LEAST parts are a trial; a shadow takes
    the share `spends` of one thread's time."""

    def __init__(self, stage: str, model: str, judges: Any, lasts: float, drift: float, spends: float) -> None:
        self._stage, self._model, self._lasts, self._drift, self._spends = stage, model, lasts, drift, spends
        self.judges = judges
        self.trial: Trial | None = None
        self.shadow: Shadow | None = None
        self._before = Counts()
        self._kept: dict[str, Any] = {}  # of a shadow, from before a restart

    @property
    def fallback(self) -> Any:
        """Who judges where the one on trial cannot; None where none is."""
        return self.trial.before if self.trial else None

    def told(self, order: NewModel, now: int) -> Iterator[Event]:
        """An order to exchange; `now` is monotonic (ns)."""
        if order.use == "none":
            self.shadow = None
            if self.trial is not None:
                yield self._back("another model is wanted")
        elif order.use == "shadow":
            yield from self._shadowed(order)
        elif order.use == "back":
            yield from self._restored(order)
        elif self.judges is not None and order.judges.known == self.judges.known and self.trial is None:
            yield from self._runs(order, "runs already")
        elif self.judges is None:
            self.judges, self.shadow = order.judges, None
            yield from self._runs(order, "the first one: there was none before to compare it with")
        else:
            yield from self._tried(order, now)

    def _shadowed(self, order: NewModel) -> Iterator[Event]:
        self.shadow = Shadow(order)
        if self._kept.get("known") == order.judges.known:
            for name in ("parts", "agreed", "passed_over", "faults"):
                setattr(self.shadow, name, int(self._kept.get(name, 0)))
        yield self._event(order, "shadow", self.shadow.words(), self.shadow.figures())

    def _restored(self, order: NewModel) -> Iterator[Event]:
        """What ran before, without a trial."""
        if self.trial is not None:
            yield self._back("another model is wanted")
        if self.judges is None or self.judges.known != order.judges.known:
            self.judges, self.shadow, self._before = order.judges, None, Counts()
            yield from self._runs(order, "it ran before, and is back")

    def _tried(self, order: NewModel, now: int) -> Iterator[Event]:
        before = self.trial.before if self.trial else self.judges
        if self.trial is not None and self.trial.order.judges.known == order.judges.known:
            self.trial.order = order  # who asks again hears of its end
            return
        if self.trial is not None:
            yield self._back("another one is tried instead")
        self.trial, self.judges, self.shadow = Trial(order, before, now), order.judges, None
        yield self._event(order, "trying", f"in place of {before.known.rpartition(' ')[0]}")

    def _runs(self, order: NewModel, text: str, figures: dict[str, Any] | None = None) -> Iterator[Event]:
        yield self._event(order, "running", text, figures)

    def _back(self, reason: str) -> Event:
        """To the model before, at once."""
        assert self.trial is not None
        trial, self.trial = self.trial, None
        self.judges = trial.before
        return self._event(trial.order, "rolled_back", reason, {"parts": trial.counts.parts})

    def _event(self, order: NewModel, state: str, text: str, figures: dict[str, Any] | None = None) -> Event:
        order.tell(state, text, figures or {})
        data = {"model": self._model, "version": order.version, "known": order.judges.known, **(figures or {})}
        severity = "medium" if state == "rolled_back" else "info"
        return Event("model", self._stage, state, severity=severity, text=text, data=data)

    # What the line says

    def seen(self, seen: Seen, now: int) -> Iterator[Event]:
        """A part was judged, or was late."""
        trial = self.trial
        if trial is None:
            if seen.by is not None and seen.by is self.judges:
                self._before.add(seen)
            return
        if seen.by is trial.before and not seen.fault:
            return  # it was under way when the trial began
        if seen.fault:
            yield self._back(seen.fault)
            return
        trial.counts.add(seen)
        if reason := worse(self._before, trial.counts, self._drift):
            yield self._back(reason)
        elif trial.counts.judged >= LEAST and now - trial.began >= self._lasts * SECOND:
            self.trial, before = None, self._before
            self._before = trial.counts
            told = (
                f"{trial.counts.ng} NG of {trial.counts.judged} parts on trial, {before.ng} of {before.judged} before"
            )
            yield from self._runs(trial.order, told, {"parts": trial.counts.parts})

    # The shadow

    def looks(self, now: int) -> bool:
        """Whether the shadow is to see the picture that comes now; else it is counted as passed over."""
        if (shadow := self.shadow) is None:
            return False
        if shadow.asked or now < shadow.next:
            shadow.passed_over += 1
            return False
        shadow.asked = True
        return True

    def missed(self) -> None:
        """The picture that it should see did not come back."""
        if self.shadow is not None:
            self.shadow.asked = False

    def shadowed(self, found: Shadowed, now: int) -> Iterator[Event]:
        """What it said. It rests until its time is the share that it may take."""
        shadow = self.shadow
        if shadow is None or found.by is not shadow.order.judges:
            return
        shadow.asked = False
        if not found.took_ms:
            return
        shadow.next = now + round(found.took_ms * 1e6 * (1 / self._spends - 1))
        shadow.parts += 1
        shadow.agreed += found.agrees
        shadow.faults += bool(found.fault)
        shadow.took.append(found.took_ms)
        if shadow.parts in TALLIES or (found.fault and shadow.faults == 1):
            words = shadow.words() + (f": {found.fault}" if found.fault else "")
            yield self._event(shadow.order, "shadow", words, shadow.figures())

    # What survives

    def snapshot(self) -> bytes:
        kept = {name: getattr(self._before, name) for name in ("ok", "ng", "recheck", "late")}
        runs = self.trial.before if self.trial else self.judges
        said = {"version": 1, "known": runs.known if runs else "", "before": kept}
        if self.shadow is not None:
            said["shadow"] = {"known": self.shadow.order.judges.known, **self.shadow.figures()}
        return json.dumps(said).encode()

    def restore(self, state: bytes) -> None:
        said = json.loads(state)
        if said["version"] != 1:
            raise ValueError(f"its version is {said['version']}")
        if self.judges is not None and said["known"] == self.judges.known:
            kept = said["before"]
            self._before = Counts(int(kept["ok"]), int(kept["ng"]), int(kept["recheck"]), int(kept["late"]))
        self._kept = dict(said.get("shadow", {}))
