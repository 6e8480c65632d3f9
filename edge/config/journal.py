"""The options under `journal:`."""

from __future__ import annotations

from pydantic import BaseModel, Field

from .types import Period, Size


class JournalConfig(BaseModel):
    """How much is kept, and how soon it is safe."""

    model_config = {"extra": "forbid", "frozen": True}
    keep: Period = Field(72 * 3600.0, description="history kept on the device after it was delivered")
    at_most: Size = Field(
        4 * 10**9, description="size on the disk, all included; beyond it the oldest goes, delivered first"
    )
    offline: Period = Field(
        72 * 3600.0, description="time without a link that has to fit; `lineside doctor` says if it does not"
    )
    durable_within: Period = Field(2.0, description="longest time a sample waits for the disk")
    block: Period = Field(60.0, description="time a sealed block of samples spans")
