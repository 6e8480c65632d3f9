"""The recipes of a station: loaded and warm before a part comes, chosen by the product code, with their takt certificates."""

from __future__ import annotations

import os
import platform
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .recipe import Recipe, Refused, load


@dataclass(frozen=True)
class Certificate:
    """What a recipe takes on this board: `ms` by view, one after another, against what the takt leaves (`room_ms`).
    `films` by view: how long it lasts and the time between two of its pictures, in ms."""

    recipe: str
    digest: str
    board: str
    ms: Mapping[str, float]
    room_ms: float
    films: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def part_ms(self) -> float:
        return sum(self.ms.values()) + max((lasts for lasts, _ in self.films.values()), default=0.0)

    @property
    def keeps(self) -> bool:
        """Of a film also that the pictures of one round are judged before the next one."""
        round_ms = sum(self.ms[name] for name in self.films)
        return self.part_ms <= self.room_ms and all(round_ms <= every for _, every in self.films.values())

    def __str__(self) -> str:
        views = ", ".join(f"{name} {ms:.1f}" for name, ms in self.ms.items())
        return f"{self.part_ms:.1f} of {self.room_ms:.0f} ms on {self.board} ({views})"


_measured: dict[str, Mapping[str, float]] = {}  # by a recipe's digest: an apply checks a site, then takes it over


def certify(recipe: Recipe, room_ms: float) -> Certificate:
    """Measure it here; once more where it does not keep the takt, since something else may have run. Blocks; a recipe that was
    measured in this process and keeps the takt is not measured again, and runs once."""
    board = f"{platform.machine()}, {os.cpu_count()} cores"
    films = {name: (view.lasts * 1e3, view.every * 1e3) for name, view in recipe.views.items() if view.lasts}

    def certificate(ms: Mapping[str, float]) -> Certificate:
        return Certificate(recipe.name, recipe.digest, board, ms, room_ms, films)

    def measured() -> Certificate:
        return certificate({name: view.measure() for name, view in recipe.views.items()})

    if (known := _measured.get(recipe.digest)) is not None:
        for view in recipe.views.values():
            view.warm()
    first = measured() if known is None else certificate(known)
    found = first if first.keeps else min(first, measured(), key=lambda found: found.part_ms)
    _measured[recipe.digest] = found.ms
    return found


class Shelf:
    """`files` by product code. `room_ms`: what the takt leaves for judging a part. `there`: the cameras of the site."""

    def __init__(
        self, files: Mapping[str | int, str], folder: Path, room_ms: float, there: Collection[str] | None = None
    ) -> None:
        """Blocks while models prove themselves and every recipe is run."""
        self.recipes: dict[str, Recipe] = {}
        self.refused: dict[str, list[str]] = {}  # by product code, every fault
        self.certificates: dict[str, Certificate] = {}
        self.faults: list[str] = []
        self.cameras: set[str] = set()
        known: dict[str, Recipe | Refused] = {}
        for code, file in files.items():
            found = known.setdefault(file, load(folder / file, there)) if file not in known else known[file]
            self.cameras |= {camera for camera in found.cameras if there is None or camera in there}
            self._put(str(code), found, room_ms)

    def _put(self, code: str, found: Recipe | Refused, room_ms: float) -> None:
        if isinstance(found, Refused):
            self.refused[code] = found.faults
            self.faults += [fault for fault in found.faults if fault not in self.faults]
            return
        same = next((c for c in self.certificates.values() if c.digest == found.digest), None)
        certificate = self.certificates[code] = same or certify(found, room_ms)
        if certificate.keeps:
            self.recipes[code] = found
            return
        self.refused[code] = [f"{found.path}: cannot keep the takt: {certificate}"]
        self.faults += self.refused[code]

    def why_not(self, code: str) -> str:
        """Why there is no recipe for a product; empty where there is one."""
        if code in self.recipes:
            return ""
        return next(
            iter(self.refused.get(code, ())),
            f"no recipe for product {code!r}; there are {', '.join(self.recipes) or 'none'}",
        )
