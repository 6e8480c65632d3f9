"""The options under `sync:`."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from edge import Period, Size

from ..broker import BrokerConfig
from ..updates.manifest import CLASS
from .allowance import LINKS, Link, window
from .asked import VERBS, Verb
from .twin_firmware import FirmwareConfig


class SyncConfig(BrokerConfig):
    """Which plane everything goes to, and how: straight to it, or through a broker that both reach. The link, and what the plane is
    allowed here, stay with the device whatever the plane sends."""

    stays: ClassVar[tuple[str, ...]] = (
        *BrokerConfig.model_fields,
        "link",
        "takes",
        "installs",
        "signed",
        "firmware",
        "writes",
        "commands",
    )

    url: str = Field(
        description="the plane's address for devices, https://host:8443; or a broker's, mqtts://host:8883",
        json_schema_extra={"pattern": r"^(https|mqtts)://[^\s/]+$"},
    )
    ca: str = Field("", description="file with the authority that signed the broker's certificate (the plane's own)")
    link: Literal["ethernet", "wifi", "cellular", "satellite"] = Field(
        "ethernet", description="what the line is: sets `a_day` (cellular 300MB, satellite 20MB) and `live` (5s, 5min)"
    )
    a_day: Size | None = Field(
        None,
        ge=1_000_000,
        description="bytes a day, both ways; then samples wait for midnight, pictures from the half of it on",
    )
    a_second: Size | None = Field(
        None,
        ge=1_000,
        description="bytes a second that samples and pictures take at most; what is urgent goes beside them",
    )
    windows: list[str] = Field(
        [],
        description="times of the day in which samples and pictures go, as `22:00-06:00`; alarms and events always go",
    )
    live: Period | None = Field(None, description="how often the newest values go to the page (`1s`)")
    takes: list[Annotated[str, Field(pattern=CLASS.pattern)]] = Field(
        [], description="classes of this device: updates that are for one of them are for it, see docs/updates.md"
    )
    installs: list[Literal["config", "model", "runtime", "firmware", "cases"]] = Field(
        [], description="what the plane may bring here without anybody at the device, see docs/twin.md"
    )
    evidence: Period | None = Field(
        600.0,
        description="how often the device signs what it recorded, so that others can verify it, see docs/evidence.md; null: never",
    )
    commands: list[Verb] = Field(
        list(VERBS),
        description="what people at the plane may ask of this device, see docs/commands.md; nothing of it changes anything here",
    )
    firmware: FirmwareConfig | None = Field(
        None, description="how the board takes an image, where `installs` says firmware"
    )
    signed: bool = Field(
        False, description="whether a configuration has to be signed as updates are: the plane alone can send none then"
    )
    writes: bool = Field(False, description="whether the plane may order what is `writable`, too")

    @field_validator("url")
    @classmethod
    def _broker(cls, text: str) -> str:
        if text.startswith("mqtts:"):
            return super()._broker(text)
        if not re.fullmatch(r"https://[^\s/]+", text):
            raise ValueError(f"{text!r} is no plane; write https://host:8443, or mqtts://host:8883 for a broker")
        return text

    @field_validator("windows")
    @classmethod
    def _windows(cls, texts: list[str]) -> list[str]:
        for text in texts:
            window(text)
        return texts

    @property
    def takes_a_site(self) -> bool:
        """Whether the plane may send what runs in place of this very site."""
        return "config" in self.installs

    @property
    def gives(self) -> Link:
        """What may go a day and how often newest values go, by the line and by what the site says itself."""
        usual = LINKS[self.link]
        return Link(usual.a_day if self.a_day is None else self.a_day, self.live or usual.live)

    @model_validator(mode="after")
    def _of_a_broker(self) -> SyncConfig:
        if self.url.startswith("https:") and (self.user or self.ca or self.certificate):
            raise ValueError(
                "`user`, `ca` and `certificate` are for a broker; `lineside enroll` brings what https:// needs"
            )
        return self
