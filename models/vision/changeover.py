"""Which recipe judges the parts that come now: by what the PLC says is made, and by what is there to judge it with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edge import Event, TagTable

from .recipe import Recipe
from .shelf import Shelf
from .watch import UNOPENED


class Changeover:
    """`recipe`: of the parts from now on; None where none can be judged, and `why` says why not. `tag`: of the product code; a
    station without one has one recipe."""

    def __init__(self, stage: str, shelf: Shelf, table: TagTable, tag: str, first: str) -> None:
        self._stage, self._shelf, self._table, self._tag, self._first = stage, shelf, table, tag, first
        self.recipe: Recipe | None = None
        self.why = ""
        self._said: str | None = None  # as an event told it

    @property
    def checksum(self) -> int:
        return self.recipe.checksum if self.recipe else 0

    def look(self, value: float | None, away: Mapping[str, str]) -> Iterator[Event]:
        """`value`: the product code as the PLC has it, None before it said one; `away`: cameras that give no picture, and why.
        Tells a change."""
        code = self._code(value)
        why = "the PLC has not said which product" if code is None else self._shelf.why_not(code)
        self.recipe = None if why or code is None else self._shelf.recipes[code]
        if self.recipe is not None:
            why = next((f"{camera} {away[camera]}" for camera in self.recipe.cameras if camera in away), "")
        self.why = why
        said = why or f"ready for {self.recipe.name if self.recipe else ''}, recipe {self.checksum}"
        if said == self._said:
            return
        self._said = said
        data = {"product": code, "digest": self.recipe.digest if self.recipe else ""}
        if code in self._shelf.certificates:
            data["takt"] = str(self._shelf.certificates[code])
        severity = "high" if why and not why.endswith(UNOPENED) else "info"  # at each start some camera is the last one
        yield Event("station", self._stage, "not_ready" if why else "ready", 0, severity, said, data)

    def _code(self, value: float | None) -> str | None:
        if not self._tag:
            return self._first
        if value is None or value != value:
            return None
        return self._table.texts.show(value) if self._table[self._tag].type == "text" else f"{value:.15g}"
