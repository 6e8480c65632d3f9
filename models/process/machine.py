"""The machine as the running daemon shows it: tags are read and written through its local socket, so every write is guarded,
journaled and told."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from edge import LinesideError, ask_daemon, numbered_events

PACE = 0.05  # seconds between two looks
GOOD = ("GOOD", "LATE")
BEGIN, END = ("raised", "unusual"), ("cleared", "usual")  # states of what stands
STAGES = ("anomaly", "station")  # kinds of their events that tell of it


class Machine:
    """`lot` is the tag that counts lots. Each call blocks; `patience` seconds is the longest that a lot may take."""

    def __init__(self, folder: Path, lot: str, patience: float, sleep: Callable[[float], None] = time.sleep) -> None:
        self._folder, self._lot, self._patience, self._sleep = folder, lot, patience, sleep
        self._standing: dict[str, bool] = {}  # stages
        self._active: set[str] = set()  # alarms, at the last look
        self._ahead: set[str] = set()  # alarms that the daemon told and the journal not yet
        self._looked = False
        self._seen = self._heard = 0  # numbers of the last events that were looked at: alarms, writes

    def ask(self, **request: Any) -> dict[str, Any]:
        return ask_daemon(self._folder, request, self._patience)

    def read(self, names: Sequence[str]) -> dict[str, float | None]:
        """Of one moment; None where a tag has no good value."""
        rows = self.ask(do="read", tags=list(names))["values"]
        return {row["tag"]: row["value"] if row["quality"] in GOOD else None for row in rows}

    def settings(self, names: Sequence[str]) -> dict[str, float]:
        """Raises LinesideError where one has no good value within `patience`."""
        return self._until(lambda: _whole(self.read(names)), f"no good value of all of {', '.join(names)}")

    def write(self, values: Mapping[str, float]) -> None:
        """One after another, in this order. Raises LinesideError where the site or the device says no."""
        for name, value in values.items():
            self.ask(do="write", tag=name, value=value, by=f"{getpass.getuser()}, tune")

    def set_by(self, names: Sequence[str]) -> list[str]:
        """Who wrote these tags since the last call, in the journal's words (`user anna`); none where it was done at the machine."""
        found = list[str]()
        for seq, event in numbered_events(self._folder / "journal.db", "write", after=self._heard):
            self._heard = seq
            if event.key in names and event.state == "done":
                found.append(str(event.data.get("cause", "")))
        return list(dict.fromkeys(found))

    def tell(self, key: str, state: str, text: str, data: Mapping[str, Any], severity: str = "info") -> None:
        """An event `trial` in the journal, by this user."""
        data = {"by": getpass.getuser(), **data}
        self.ask(do="tell", kind="trial", key=key, state=state, text=text, severity=severity, data=data)

    def alarms(self, names: Sequence[str]) -> list[str]:
        """Those of `names`, alarms or stages, that stand now or began since the last call, even where they ended again: a lot is
        longer than many an alarm. The first call says what stands. What began is read from the journal, which may be a moment
        behind the daemon: how alarms stand is asked of that."""
        if not names:
            return []
        first, began, self._looked = not self._looked, set[str](), True
        for seq, event in numbered_events(self._folder / "journal.db", "alarm", *STAGES, after=self._seen):
            self._seen = seq
            if event.state in BEGIN:
                began.add(event.key)
            if event.kind in STAGES and event.state in BEGIN + END:
                self._standing[event.key] = event.state in BEGIN
        active = {one["alarm"] for one in self.ask(do="status")["alarms"] if one["active"]}
        told = active if first else active | (began - self._ahead)
        self._ahead = (self._ahead | (active - self._active)) - began
        self._active = active
        return [one for one in names if one in told or self._standing.get(one)]

    def made(
        self, settings: Sequence[str], outputs: Sequence[str], settle: int, lots: int
    ) -> tuple[dict[str, float], dict[str, float]]:
        """The settings and the mean outputs of the next `lots` lots after the one under way and `settle` more. Settings count as
        they were read with each lot: right after a write the newest reading is still the old one. Where they change meanwhile it
        begins anew; a lot without a good value of every tag does not count. Raises LinesideError where none comes in time."""
        last = self.settings([self._lot])[self._lot] + settle
        rows: list[dict[str, float]] = []
        while len(rows) < lots:
            why = f"{self._lot} does not count on, or a setting or an output is not good"
            row = self._until(partial(self._after, last, [*settings, *outputs]), why)
            if rows and any(row[name] != rows[0][name] for name in settings):
                rows, last = [], row[self._lot] + settle
                continue
            last = row.pop(self._lot)
            rows.append(row)
        return (
            {name: rows[0][name] for name in settings},
            {name: sum(row[name] for row in rows) / len(rows) for name in outputs},
        )

    def _after(self, last: float, names: Sequence[str]) -> dict[str, float] | None:
        row = _whole(self.read([self._lot, *names]))
        return row if row and row[self._lot] > last else None

    def until_set(self, wanted: Mapping[str, float], near: float) -> None:
        """Wait until a person has set it; a setting may be off by `near` of itself."""

        def stands() -> dict[str, float] | None:
            found = _whole(self.read(list(wanted)))
            fine = found and all(
                abs(found[name] - value) <= near * max(abs(value), 1e-9) for name, value in wanted.items()
            )
            return found if fine else None

        self._until(stands, "nobody set it")

    def _until(self, look: Callable[[], dict[str, float] | None], otherwise: str) -> dict[str, float]:
        end = time.monotonic() + self._patience
        while (found := look()) is None:
            if time.monotonic() > end:
                raise LinesideError(
                    f"{otherwise} within {self._patience:g} s", hint="`lineside read SITE` shows what there is"
                )
            self._sleep(PACE)
        return found


def _whole(row: Mapping[str, float | None]) -> dict[str, float] | None:
    return (
        None if any(value is None for value in row.values()) else {k: float(v) for k, v in row.items() if v is not None}
    )
