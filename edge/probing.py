"""Reading a device once, before anything runs on it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

from . import plugins
from .batch import TRUSTED, Batch
from .clock import SystemClock
from .driver import DriverConfig
from .errors import LinesideError
from .tags import TagTable

LONGEST_PROBE = 60.0  # seconds: a long line, or one of which many do not answer


class ProbeSource:
    """What a driver needs to read once; `bad` tells whether some tag had no good value."""

    def __init__(self, name: str, table: TagTable, folder: Path) -> None:
        self.name, self.tags, self.clock, self.folder = name, table.of_source(name), SystemClock(), folder
        self.texts = table.texts
        self.text = self.texts.value
        self.bad, self.phase = False, 0.0
        self.memory: dict[str, Any] = {}

    def ready(self) -> bool:
        return True

    def emit(self, batch: Batch) -> None:
        self.bad |= bool((batch.quality > TRUSTED).any())

    def frame(self, frame: object) -> None: ...

    def event(self, event: object) -> None: ...

    def count(self, cause: str, n: int = 1) -> None: ...

    def running(self) -> None: ...

    def remember(self, facts: object) -> None: ...


class Probed(NamedTuple):
    """What a driver says of its device, and what is wrong; `late` where it did answer, or may still."""

    lines: list[str]
    fault: str = ""
    late: bool = False


async def probe(name: str, part: DriverConfig, table: TagTable, folder: Path, within: float = LONGEST_PROBE) -> Probed:
    """Connect once and read once. Never raises for what a device or a driver does."""
    source = ProbeSource(name, table, folder)
    try:
        driver = plugins.find("drivers", part.driver)(part, source)
        if not hasattr(driver, "probe"):
            return Probed(["cannot be probed"])
        async with asyncio.timeout(within):
            lines = await driver.probe()
    except TimeoutError:
        return Probed([], f"no answer within {within:g} s", late=True)
    except (LinesideError, OSError) as error:
        return Probed([], str(error))
    except Exception as error:  # a stranger's driver: it must not hide what the others say
        return Probed([], f"{type(error).__name__}: {error}")
    return Probed(list(lines), "not every tag has a good value" if source.bad else "", late=source.bad)
