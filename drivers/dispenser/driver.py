"""The driver `dispenser`: a simulated dispenser in the daemon itself, to try on it what sets a process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from edge import DeviceRefused, Identifier, Point, Poller, Source, Writable, Write

from .plant import INPUTS, OUTPUTS, START, UNITS, Plant, tripped

LIMITS = {name: Writable(range=bounds) for name, bounds in INPUTS.items()}
TAGS: dict[str, Point] = {
    **{name: Point(unit=UNITS[name], writable=LIMITS[name]) for name in INPUTS},
    **{name: Point(unit=unit) for name, unit in OUTPUTS.items()},
    "lot": Point(),
    "stopped": Point(labels={0: "runs", 1: "stopped by an interlock"}),
}


class DispenserConfig(Poller.Config):
    """A machine that makes a lot of dots every `every`."""

    seed: int = Field(1, ge=0, description="which machine with which glue: its constants, noise and drift")
    tags: dict[Identifier, Point] = Field(
        default_factory=lambda: dict(TAGS),
        description="pressure, time, height, temperature (settings, writable); mass, diameter, thread, cycle, lot, stopped",
    )

    def faults(self) -> Any:
        for name in self.tags:
            if name not in TAGS:
                yield ("tags", name), f"a dispenser has no {name!r}", f"it has {', '.join(TAGS)}"
        for name, point in self.tags.items():
            if point.writable is not None and name in TAGS and name not in INPUTS:
                yield ("tags", name, "writable"), f"{name} is what comes out", f"settings are {', '.join(INPUTS)}"


class Dispenser(Poller):
    """Each poll is a lot, made with the settings as they are then."""

    Config = DispenserConfig

    def __init__(self, config: DispenserConfig, source: Source) -> None:
        super().__init__(config, source)
        self._plant = Plant(config.seed)
        self._settings = dict(START)
        self._names = {tag.id: name for name, tag in source.tags.items()}

    async def poll(self) -> Mapping[str, float]:
        x = np.array(list(self._settings.values()))
        stopped = bool(tripped(x[None])[0])
        made = dict(zip(OUTPUTS, self._plant.lot(x).tolist(), strict=True))
        shown = {**self._settings, **made, "lot": float(self._plant.age), "stopped": float(stopped)}
        return {name: shown[name] for name in self.config.tags}

    async def write(self, write: Write) -> float:
        """Refused beyond the machine's own range, whatever the site allows."""
        name, value = self._names[write.tag], float(write.value)
        low, high = INPUTS[name]
        if not low <= value <= high:
            raise DeviceRefused(f"{value:g} is outside {low:g}..{high:g}, the machine's own range of {name}")
        self._settings[name] = value
        return value

    async def read(self, tag: int) -> float:
        return self._settings[self._names[tag]]
