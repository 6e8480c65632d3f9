"""What every importer gives: the tags of one device, what is wrong with them, and what was left out and why."""

from __future__ import annotations

import difflib
import keyword
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from ..options import ModbusPoint

MOST_TAGS = 5000  # of one map
Row = int | str  # a line of a file, or the name of a piece of it


@dataclass(frozen=True, slots=True)
class Line:
    """One tag of a template: its options as a site writes them, where they come from, and what it is for people."""

    name: str
    options: dict[str, Any]
    row: Row
    about: str = ""


@dataclass(slots=True)
class Map:
    """One device. `faults` keep it from being used; `notes` say which rows it goes without, or how they were read."""

    name: str
    description: str = ""
    source: str = ""
    licence: str = ""
    more: dict[str, Any] = field(default_factory=dict)  # options of the connection: max_registers, pause
    lines: list[Line] = field(default_factory=list)
    faults: list[tuple[Row, str]] = field(default_factory=list)
    notes: list[tuple[Row, str]] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)

    @property
    def ok(self) -> bool:
        return not self.faults

    def fault(self, row: Row, message: str) -> None:
        self.faults.append((row, message))

    def note(self, row: Row, message: str) -> None:
        self.notes.append((row, message))

    def add(self, name: str, options: dict[str, Any], row: Row, about: str = "") -> str:
        """Check one tag as a site would, and keep it under a free name, which is returned; a fault is noted with its row."""
        if len(self.lines) >= MOST_TAGS:
            if not any("more than" in message for _, message in self.faults):
                self.fault(row, f"more than {MOST_TAGS:,} tags in one map")
            return name
        stem, n = (name[:-2], 2) if name.endswith("_1") else (name, 2)
        free = name
        while free in self._names:
            free, n = f"{stem}_{n}", n + 1
        options = {key: value for key, value in options.items() if value not in (None, "", {})}
        found = list(faults_of(options))
        if found and "writable" in options:
            self.note(row, f"{name}: stays read-only: {found[0]}")
            options.pop("writable")
            found = list(faults_of(options))
        for message in found:
            self.fault(row, f"{name}: {message}")
        self._names.add(free)
        self.lines.append(Line(free, options, row, about))
        return free

    def text(self, name: str, options: dict[str, Any], length: int, row: Row, about: str = "") -> None:
        """A text of `length` registers; left out, and said, where texts cannot be read."""
        if "length" not in ModbusPoint.model_fields:
            self.note(row, f"{name} is a text, which cannot be read yet; left out")
            return
        self.add(name, options | {"type": "text", "length": length}, row, about)

    def close(self) -> Map:
        """The last look: a map without tags is none, and a scale must be found."""
        for line in self.lines:
            power = line.options.get("scale_from")
            if power is not None and power not in self._names:
                near = difflib.get_close_matches(power, sorted(self._names), 1)
                self.fault(
                    line.row, f"{line.name}: no row is called {power!r}" + (f", did you mean {near[0]!r}?" * bool(near))
                )
        if not self.lines and not self.faults:
            row, why = self.notes[0] if self.notes else (1, "it has no rows")
            self.fault(row, f"nothing of this map can be read: {why}")
        return self


def faults_of(options: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the options of one tag, in the words of the configuration."""
    try:
        ModbusPoint.model_validate(options, context={"site": True})
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            where = ".".join(str(step) for step in detail["loc"])
            said = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
            yield f"{where}: {said}" if where else said


def as_name(text: Any, *, lower: bool = True) -> str:
    """A name that expressions can use, from any text: 'PV1 Power (W)' -> 'pv1_power_w'."""
    plain = re.sub(r"\W+", "_", unicodedata.normalize("NFKC", str(text))[:120]).strip("_")
    plain = plain.lower() if lower else plain
    if not plain or not re.match(r"[^\W\d]", plain):
        plain = f"tag_{plain}".rstrip("_")
    return f"{plain}_" if keyword.iskeyword(plain) or plain in ("true", "false") else plain


def side_by_side(numbers: list[int]) -> tuple[int, str | None] | None:
    """Registers listed low word first -> (first address, word order), or None where they do not lie side by side."""
    steps = {b - a for a, b in pairwise(numbers)}
    if not steps or steps == {1}:
        return numbers[0], "CDAB" if steps else None
    return (numbers[-1], None) if steps == {-1} else None
