"""Which units answer on a connection, which tables each has, and how many registers it gives at once. One request at a time,
with a pause after each; nothing is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from edge import AnswerContradicts, DeviceLost

from .address import TABLES, Address
from .reach import BROKEN, SILENT, Answer, Reach
from .rules import MOST_REGISTERS

ABSENT = (SILENT, 10, 11)  # codes of nobody: silence, and a gateway that says so
TRIED = (0, 1, 100, 1000)  # where a table is looked for
ANY = 8  # units in a row that answer: it answers to every number


@dataclass
class Table:
    """One table of a unit: `at` an address that answers (None: none found), `most` registers that it gives at once."""

    name: str
    said: str
    at: int | None = None
    most: int | None = None
    why: str = ""


@dataclass
class Unit:
    unit: int
    said: str
    tables: list[Table] = field(default_factory=list)
    sound: bool = True  # its answers are whole and its own

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Probe:
    """`found` grows while it runs, so that an end in the middle keeps what was found."""

    def __init__(self, line: Reach, units: Sequence[int], pause: float, tell: Callable[[str], None]) -> None:
        self.line, self.units, self.pause, self._tell = line, units, pause, tell
        self.found: list[Unit] = []
        self.any = False
        self._hint: dict[str, int] = {}  # where the last unit answered: units of one kind share their map

    async def run(self, *, deep: bool, first: Address) -> None:
        """Look for the units; with `deep` look into each of them. `first` is asked of each, a register that should be there."""
        for index, unit in enumerate(self.units):
            left = (len(self.units) - index) * (self.line.timeout + self.pause)
            self._tell(
                f"unit {unit} ({index + 1} of {len(self.units)}); found: {len(self.found)}; at most {left:.0f} s left"
            )
            answer = await self._ask(unit, first, 1)
            if answer.code in ABSENT:
                continue
            self.found.append(Unit(unit, _said(answer), sound=answer.code != BROKEN))
            if len(self.found) == ANY and index == ANY - 1:
                self.any, self.found = True, self.found[:1]
                break
        for found in self.found if deep else []:
            for table in TABLES:
                self._tell(f"unit {found.unit}: {table}")
                found.tables.append(await self._table(found.unit, table, first))

    async def _table(self, unit: int, name: str, first: Address) -> Table:
        tried = [first.number] if first.table == name else []
        last = Answer((), 2)
        for at in dict.fromkeys([*tried, *([self._hint[name]] if name in self._hint else []), *TRIED]):
            last = await self._ask(unit, Address(name, at), 1)
            if not last.code:
                self._hint[name] = at
                table = Table(name, f"answers from {name}:{at}", at)
                if not Address(name, at).bits:
                    await self._most(unit, table, at)
                return table
            if last.code not in (2, 3):
                break
        if last.code in (2, 3):
            return Table(name, f"is known, but has none of {name}:{', '.join(map(str, TRIED))}")
        return Table(name, "not there" if last.code == 1 else last.said)

    async def _most(self, unit: int, table: Table, at: int) -> None:
        """The longest read that it answers from `at` on, by halving."""
        fine, fails = 1, min(MOST_REGISTERS, 65536 - at) + 1
        why = Answer(())
        count = fails - 1
        while fails - fine > 1:
            answer = await self._ask(unit, Address(table.name, at), count)
            fine, fails, why = (count, fails, why) if not answer.code else (fine, count, answer)
            count = (fine + fails) // 2
        table.most = fine
        if why.code == 2:
            table.why = f"{table.name}:{at + fine} is refused: a hole, or the map ends there"
        elif why.code:
            table.why = f"more is refused ({why.said}): max_registers: {fine}"

    async def _ask(self, unit: int, first: Address, count: int) -> Answer:
        """One read and the pause. A device that hangs up or answers something else is asked once more, on a new connection."""
        for _ in range(2):
            try:
                answer = await self.line.read(unit, first, count)
                break
            except AnswerContradicts:
                answer = Answer((), BROKEN)
            except DeviceLost:
                if not self.line.reached:
                    raise
                answer = Answer((), SILENT)
            await asyncio.sleep(self.pause)
        await asyncio.sleep(self.pause)
        return answer


def _said(answer: Answer) -> str:
    return {
        0: "answers",
        BROKEN: "something answers, but not as it must: two units of one number, or the wrong speed?",
    }.get(answer.code, f"answers: {answer.said}")


def lines(probe: Probe) -> list[str]:
    """What was found, for people."""
    out = []
    if probe.any:
        out.append(
            f"it answers to every unit number: a device of its own, not a gateway; unit {probe.found[0].unit} was looked at"
        )
    for unit in probe.found:
        out.append(f"unit {unit.unit}: {unit.said}")
        for table in unit.tables:
            most = f"; {table.most} registers at once{f'; {table.why}' if table.why else ''}" if table.most else ""
            out.append(f"  {table.name:<9} {table.said}{most}")
    return out or ["nobody answers"]
