"""An event on its way out, and what takes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from edge import LinesideError

from .forward_options import ForwardOptions


class Later(LinesideError):
    """It could not be taken now; `wish`: seconds that the target wants to be left alone."""

    heals = True

    def __init__(self, message: str, wish: float = 0.0) -> None:
        super().__init__(message)
        self.wish = wish


class Refused(LinesideError):
    """This event is not wanted, and will not be."""


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of a device, or of the plane itself."""

    device: str
    epoch: str
    seq: int
    content: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The same whenever it is sent."""
        return f"{self.device}/{self.epoch}/{self.seq}"

    @property
    def body(self) -> bytes:
        head = {"id": self.key, "device": self.device, "epoch": self.epoch, "seq": self.seq}
        return json.dumps(head | dict(self.content), ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


class Target(Protocol):
    """Where they go. `tries` of one that it refuses, `at_once` of all; of a `key` only events about that."""

    tries: int
    at_once: int
    key: str

    @property
    def options(self) -> ForwardOptions: ...

    async def deliver(self, happened: Happened) -> None: ...

    def close(self) -> None: ...
