"""What a person writes about where the plane forwards events to."""

from __future__ import annotations

import fnmatch
import re
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator

from ..broker import BrokerConfig


class ForwardOptions(BaseModel):
    """Which events go there."""

    model_config = {"extra": "forbid", "frozen": True}
    kinds: list[str] = Field(["alarm", "inspection"], max_length=50, description="kinds of events; an empty list: all")
    devices: str = Field("*", max_length=64, description="names of devices, such as press-*; the plane's own is @plane")

    def wants(self, device: str) -> bool:
        return fnmatch.fnmatchcase(device, self.devices)


class WebhookOptions(ForwardOptions):
    """Each event as a signed POST."""

    url: str = Field(max_length=2000, description="https://host/path of the system that takes them")
    secret: str = Field(
        min_length=16, description="what signs them: `!secret NAME`, at least 16 characters", repr=False
    )
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
