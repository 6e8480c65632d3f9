"""Master samples: parts whose verdict is known, shown to the station each shift. Until it judged all of them as it should, it
says OK to nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from edge import SECOND, Event, Period

if TYPE_CHECKING:
    from .recipe import Recipe


class MastersConfig(BaseModel):
    """The master samples of a recipe, known by their part numbers."""

    model_config = {"extra": "forbid", "frozen": True}
    every: Period = Field(28_800.0, description="how long the proof holds: a shift")
    parts: dict[int, Literal["ok", "ng"]] = Field(
        min_length=1, max_length=32, description="part number of each master sample, and what it is"
    )


class Masters:
    """What was proved, by the digest of a recipe: another file, model or threshold has to be proved anew. `utc` in ns."""

    def __init__(self, stage: str, proved: Mapping[str, Mapping[Any, Any]] | None = None) -> None:
        """`proved` as a snapshot had it."""
        self._stage = stage
        self.proved = {d: {int(n): int(utc) for n, utc in each.items()} for d, each in (proved or {}).items()}

    def wanted(self, recipe: Recipe | None, utc: int) -> list[int]:
        """The part numbers that have to be shown before other parts are judged."""
        if recipe is None or recipe.masters is None:
            return []
        proved, holds = self.proved.get(recipe.digest, {}), round(recipe.masters.every * SECOND)
        return [n for n in recipe.masters.parts if not 0 <= utc - proved.get(n, -holds - 1) < holds]

    def judged(self, recipe: Recipe, number: int, state: str, utc: int) -> Iterator[Event]:
        """A master sample was judged: what that proves. One that was not judged as it should ends the proof of all."""
        assert recipe.masters is not None
        known = recipe.masters.parts[number]
        if state != known:
            self.proved.pop(recipe.digest, None)
            text = f"master sample {number} is {known}, and was judged {state}: no part is judged"
            yield Event("station", self._stage, "interlock", 0, "high", text)
            return
        self.proved.setdefault(recipe.digest, {})[number] = utc
        if not self.wanted(recipe, utc):
            text = f"all master samples of {recipe.name} were judged as they should"
            yield Event("station", self._stage, "proved", text=text)

    def forget(self, known: Collection[str]) -> None:
        """What was proved of other recipes than these (digests)."""
        self.proved = {digest: each for digest, each in self.proved.items() if digest in known}
