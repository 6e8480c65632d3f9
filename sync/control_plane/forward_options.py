"""What a person writes about where the plane forwards events to."""

from __future__ import annotations

import fnmatch
import re
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator

from ..broker import BrokerConfig
from .objects import SECRETS, address_of


class DeviceOptions(BaseModel):
    """Of which devices something goes there."""

    model_config = {"extra": "forbid", "frozen": True}
    devices: str = Field("*", max_length=64, description="names of devices, such as press-*; the plane's own is @plane")

    def wants(self, device: str) -> bool:
        return fnmatch.fnmatchcase(device, self.devices)


class ForwardOptions(DeviceOptions):
    """Which events go there."""

    kinds: list[str] = Field(["alarm", "inspection"], max_length=50, description="kinds of events; an empty list: all")


class ParquetOptions(DeviceOptions):
    """Samples as Parquet files, one for each device and hour."""

    to: str = Field(
        min_length=1, max_length=2000, description="a folder, or https://s3.example/BUCKET; it has to be there"
    )
    key: str = Field(
        "",
        description=f"file with the key of that and its secret, a line each (default: {' and '.join(SECRETS)} of the environment)",
    )

    @field_validator("to")
    @classmethod
    def _somewhere(cls, to: str) -> str:
        if "://" in to and address_of(to) is None:
            raise ValueError("write a folder, or https://s3.example/BUCKET; its key goes into a file, see `key`")
        return to


class PostOptions(BaseModel):
    """A system that is asked by POST."""

    model_config = {"extra": "forbid", "frozen": True}
    url: str = Field(max_length=2000, description="https://host/path of the system that takes them", repr=False)
    private: bool = Field(False, description="let it be in a private network, or on this machine")
    ca: str = Field("", description="file with the certificate of the authority that its server has one of")
    tries: int = Field(
        5, ge=1, le=20, description="how often one that it refuses (400, 422 ...) is sent before it is set aside"
    )

    @field_validator("url")
    @classmethod
    def _of_the_web(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            fits = parts.scheme in ("https", "http") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            fits = False
        if not fits or not url.isascii() or any(ord(c) <= 32 for c in url):
            raise ValueError("write https://host/path")
        if parts.username is not None or parts.fragment:
            raise ValueError("no user and no #fragment belong into it; requests are signed")
        return url


class SealedOptions(PostOptions):
    """Such a system, which checks who asks."""

    secret: str = Field(
        min_length=16, description="what signs them: `!secret NAME`, at least 16 characters", repr=False
    )


class WebhookOptions(SealedOptions, ForwardOptions):
    """Each event as a signed POST."""


class BrokerTargetOptions(ForwardOptions, BrokerConfig):
    """Each event as a message to a broker."""

    topic: str = Field(
        "lineside/{device}/{kind}/{key}",
        description="where each is published; {device}, {kind}, {key} and {state} are those of the event",
    )

    @field_validator("topic")
    @classmethod
    def _to_publish(cls, topic: str) -> str:
        plain = topic
        for name in ("device", "kind", "key", "state"):
            plain = plain.replace(f"{{{name}}}", "")
        if (
            re.search(r"[+#{}\0-\x1f\x7f-\x9f\ud800-\udfff]", plain)
            or topic.startswith("$")
            or not 0 < len(topic.encode()) <= 200
        ):
            raise ValueError("a topic has no + and no #, and in braces only {device}, {kind}, {key} and {state}")
        return topic
