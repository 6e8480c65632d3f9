"""What every importer gives: the tags of one device, what is wrong with them, and what was left out and why."""

from __future__ import annotations

import difflib
import keyword
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from pydantic import BaseModel, TypeAdapter, ValidationError

from edge import Identifier

from ..options import ModbusPoint
from ..text import LONGEST

MOST_TAGS = 5000  # of one map
_NAME: TypeAdapter[str] = TypeAdapter(Identifier)
Row = int | str  # a line of a file, or the name of a piece of it


@dataclass(frozen=True, slots=True)
class Line:
    """One tag of a template: its options as a site writes them, where they come from, and what it is for people."""

    name: str
    options: dict[str, Any]
    row: Row
    about: str = ""


class Fault(NamedTuple):
    """What keeps a map from being used: where, and in a table in which column."""

    row: Row
    message: str
    column: str = ""

    def __str__(self) -> str:
        """As it stands behind the name of the map."""
        return f"{self.row}:{self.column}: {self.message}" if self.column else f"{self.row}: {self.message}"


@dataclass(slots=True)
class Map:
    """One device. `faults` keep it from being used; `notes` say which rows it goes without, or how they were read."""

    name: str  # the file, and behind a colon which `part` of it
    part: str = ""
    description: str = ""
    source: str = ""
    licence: str = ""
    more: dict[str, Any] = field(default_factory=dict)  # options of the connection: max_registers, pause
    lines: list[Line] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    notes: list[tuple[Row, str]] = field(default_factory=list)
    _rows: dict[str, Row] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.faults

    def fault(self, row: Row, message: str, column: str = "") -> None:
        self.faults.append(Fault(row, message, column))

    def note(self, row: Row, message: str) -> None:
        self.notes.append((row, message))

    def add(self, name: str, options: dict[str, Any], row: Row, about: str = "") -> None:
        """A tag of a map that others wrote: kept under a free name, and read-only where its limits do not fit it."""
        stem, n = (name[:-2], 2) if name.endswith("_1") else (name, 2)
        free = name
        while free in self._rows:
            free, n = f"{stem}_{n}", n + 1
        options = {key: value for key, value in options.items() if value not in (None, "", {})}
        if "writable" in options and (found := list(faults_of(options))):
            self.note(row, f"{name}: stays read-only: {found[0][1]}")
            options.pop("writable")
        self.keep(free, options, row, about, spread=True)

    def keep(self, name: str, options: dict[str, Any], row: Row, about: str = "", *, spread: bool = False) -> None:
        """Check one tag as a site would. `spread`: its options do not stand in columns of their own."""
        if len(self.lines) >= MOST_TAGS:
            if not any("more than" in fault.message for fault in self.faults):
                self.fault(row, f"more than {MOST_TAGS:,} tags in one map")
            return
        if name in self._rows:
            self.fault(row, f"{name!r} stands twice, first in line {self._rows[name]}", "" if spread else "name")
        for where, message in faults_of(options):
            if spread:
                self.fault(row, f"{name}: {where}: {message}" if where else f"{name}: {message}")
            else:
                self.fault(row, message, where)
        self._rows[name] = row
        self.lines.append(Line(name, options, row, about))

    def text(self, name: str, options: dict[str, Any], length: int, row: Row, about: str = "") -> None:
        """A text of `length` registers; one that does not come in one answer is left out, and that is said."""
        if length > LONGEST:
            self.note(row, f"{name} is a text of {length} registers, more than {LONGEST}; left out")
            return
        self.add(name, options | {"type": "text", "length": length}, row, about)

    def close(self) -> Map:
        """The last look: a map without tags is none, and a scale must be found."""
        for line in self.lines:
            power = line.options.get("scale_from")
            if power is not None and power not in self._rows:
                self.fault(line.row, f"no row is called {power!r}{near(str(power), self._rows)}", "scale_from")
        if not self.lines and not self.faults:
            row, why = self.notes[0] if self.notes else (1, "it has no rows")
            self.fault(row, f"nothing of this map can be read: {why}")
        return self


def faults_of(options: dict[str, Any], model: type[BaseModel] = ModbusPoint) -> Iterator[tuple[str, str]]:
    """What is wrong with the options of one tag, in the words of the configuration: (option, message)."""
    try:
        model.model_validate(options, context={"site": True})
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            said = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
            if detail["type"] in ("float_parsing", "int_parsing", "float_type", "int_type", "int_from_float"):
                said = f"must be a number, not {str(detail['input'])[:60]!r}"
            if detail["type"] == "extra_forbidden":
                said = f"is no option of a tag{near(str(detail['loc'][-1]), ModbusPoint.model_fields)}"
            yield ".".join(str(step) for step in detail["loc"]), said


def near(word: str, known: Iterable[str]) -> str:
    """What was meant perhaps, to be added to a fault."""
    found = difflib.get_close_matches(word, list(known), 1)
    return f", did you mean {found[0]!r}?" if found else ""


def name_fault(name: str) -> str:
    """Why this cannot be the name of a tag; empty where it can."""
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        return error.errors()[0]["msg"].removeprefix("Value error, ")
    return ""


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
