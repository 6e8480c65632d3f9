"""How a broker is reached: the options that every reader has that speaks MQTT."""

from __future__ import annotations

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator, model_validator

from edge import lacks


class BrokerConfig(BaseModel):
    """One broker and who we are there."""

    model_config = {"extra": "forbid", "frozen": True}
    url: str = Field(description="mqtt://host (1883), or mqtts://host (8883) with TLS")
    user: str = Field("", description="name at the broker")
    password: str = Field("", description="written as `!secret NAME`", repr=False)
    ca: str = Field("", description="file with the authority that signed the broker's certificate (the system's)")
    certificate: str = Field("", description="file with our own certificate, if the broker wants one")
    key: str = Field("", description="file with the key of that certificate")

    @field_validator("url")
    @classmethod
    def _broker(cls, text: str) -> str:
        parts = urlsplit(text)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.username or parts.password:
            raise ValueError("user and password have options of their own")
        if (
            parts.scheme not in ("mqtt", "mqtts")
            or not parts.hostname
            or port == 0
            or parts.path.strip("/")
            or parts.query
        ):
            raise ValueError(f"{text!r} is no broker; write mqtt://192.168.1.5:1883")
        return text

    @field_validator("ca", "certificate", "key")
    @classmethod
    def _there(cls, text: str) -> str:
        if text and (lacks(Path(text)) or Path(text).is_dir()):
            raise ValueError(f"there is no {text}; a path is taken from where the daemon was started")
        return text

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.password and not self.user:
            raise ValueError("a password without a user; add `user:`")
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key belong together; name both")
        if (self.ca or self.certificate) and not self.url.startswith("mqtts:"):
            raise ValueError("certificates say nothing without TLS; write mqtts:// in `url`")
        return self
