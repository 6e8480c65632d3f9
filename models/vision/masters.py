"""Master samples: parts whose verdict is known, shown to the station each shift. Until it judged all of them as it should, it
says OK to nothing else."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from edge import SECOND, Period


class MastersConfig(BaseModel):
    """The master samples of a recipe, known by their part numbers."""

    model_config = {"extra": "forbid", "frozen": True}
    every: Period = Field(28_800.0, description="how long the proof holds: a shift")
    parts: dict[int, Literal["ok", "ng"]] = Field(
        min_length=1, max_length=32, description="part number of each master sample, and what it is"
    )


class Masters:
    """What was proved, by the digest of a recipe: another file, model or threshold has to be proved anew. `utc` in ns."""

    def __init__(self, proved: dict[str, dict[int, int]] | None = None) -> None:
        self.proved = proved or {}

    def wanted(self, config: MastersConfig | None, digest: str, utc: int) -> list[int]:
        """The part numbers that have to be shown before other parts are judged."""
        if config is None:
            return []
        proved, holds = self.proved.get(digest, {}), round(config.every * SECOND)
        return [n for n in config.parts if not 0 <= utc - proved.get(n, -holds - 1) < holds]

    def judged(self, config: MastersConfig, digest: str, number: int, state: str, utc: int) -> bool:
        """Whether this one was judged as it should; one that was not ends the proof of all."""
        if state != config.parts[number]:
            self.proved.pop(digest, None)
            return False
        self.proved.setdefault(digest, {})[number] = utc
        return True
