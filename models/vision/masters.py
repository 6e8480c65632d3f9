"""Master samples: parts whose verdict is known, shown to the station each shift. Until it judged all of them as it should, it
says OK to nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from edge import SECOND, Event, Period

from .shifts import Shifts, ShiftsConfig

if TYPE_CHECKING:
    from .part import Part
    from .recipe import Recipe


SHIFT = 28_800.0  # seconds


class MastersConfig(BaseModel):
    """The master samples of a recipe, known by their part numbers, or by their codes where the recipe reads who a part is."""

    model_config = {"extra": "forbid", "frozen": True}
    every: Period | None = Field(
        None, description="how long the proof holds (default: the shift, where the station has `shifts:`; else 8h)"
    )
    parts: dict[int | str, Literal["ok", "ng"]] = Field(
        min_length=1, max_length=32, description="part number or code of each master sample, and what it is"
    )

    @property
    def known(self) -> dict[str, str]:
        return {str(name): state for name, state in self.parts.items()}


class Masters:
    """What was proved, by the digest of a recipe: another file, model or threshold has to be proved anew. `utc` in ns."""

    def __init__(
        self, stage: str, shifts: ShiftsConfig | None = None, proved: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """`proved` as a snapshot had it."""
        self._stage = stage
        self._shifts = Shifts(shifts) if shifts else None
        self.proved = {d: {str(n): int(utc) for n, utc in each.items()} for d, each in (proved or {}).items()}
        self.due = False  # of the recipe that was looked at last
        self._told: set[str] = set()  # recipes (digests) whose masters are due, as people know

    def wanted(self, recipe: Recipe | None, utc: int) -> list[str]:
        """The master samples that have to be shown before other parts are judged."""
        if recipe is None or recipe.masters is None:
            return []
        proved, since = self.proved.get(recipe.digest, {}), self._since(recipe.masters, utc)
        return [name for name in recipe.masters.known if not since <= proved.get(name, -1) <= utc]

    def _since(self, config: MastersConfig, utc: int) -> int:
        """From when on a proof holds at `utc`."""
        shift = self._shifts.since(utc) if self._shifts else 0
        every = config.every or (None if self._shifts else SHIFT)
        return max(shift, 0 if every is None else utc - round(every * SECOND) + 1)

    def look(self, recipe: Recipe | None, utc: int) -> Iterator[Event]:
        """Tells when those of a recipe become due: once, however often the recipe changes until they are shown."""
        wanted = self.wanted(recipe, utc)
        self.due = bool(wanted)
        if recipe is None or not wanted:
            self._told.discard(recipe.digest if recipe else "")
        elif recipe.digest not in self._told:
            self._told.add(recipe.digest)
            text = f"the master samples of {recipe.name} are due: {', '.join(wanted)}; no other part is OK before"
            yield Event("station", self._stage, "interlock", 0, "medium", text)

    def judged(self, part: Part, state: str, utc: int) -> Iterator[Event]:
        """A master sample was judged: what that proves. One that was not judged as it should ends the proof of all; one that is OK
        without a view proves nothing of that view, and ends nothing."""
        recipe, name = part.recipe, part.name
        assert recipe.masters is not None
        known = recipe.masters.known[name]
        if state != known:
            self.proved.pop(recipe.digest, None)
            self._told.add(recipe.digest)
            text = f"master sample {name} is {known}, and was judged {state}: no part is judged"
            yield Event("station", self._stage, "interlock", 0, "high", text)
            return
        if state == "ok" and not part.whole:
            return
        self.proved.setdefault(recipe.digest, {})[name] = utc
        if not self.wanted(recipe, utc):
            text = f"all master samples of {recipe.name} were judged as they should"
            yield Event("station", self._stage, "proved", text=text)

    def forget(self, known: Collection[str]) -> None:
        """What was proved of other recipes than these (digests)."""
        self.proved = {digest: each for digest, each in self.proved.items() if digest in known}


def unknown(recipes: Iterable[Recipe], *, numbered: bool) -> list[str]:
    """A fault where master samples cannot be known: parts have no numbers (`numbered`), and say no code."""
    if numbered or all(recipe.masters is None or recipe.identity for recipe in recipes):
        return []
    return ["master samples are known by their part numbers or codes: add `plc: {part: TAG}`, or `part:` to the recipe"]
