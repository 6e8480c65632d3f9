"""What a person writes about who is told of alarms: channels, and routes to them."""

from __future__ import annotations

import difflib
import fnmatch
import itertools
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, ClassVar, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, Field, model_validator

from edge import Duration, Identifier, LinesideError, Period

from .forward_options import PostOptions, SealedOptions
from .tree import below, node

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
PORTS = {"tls": 465, "starttls": 587, "none": 25}


def known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (LookupError, OSError, ValueError):
        near = difflib.get_close_matches(name, known := available_timezones(), 1)
        hint = f"did you mean {near[0]}?" if near else "write it as in Asia/Shanghai" if known else "install tzdata"
        raise ValueError(f"no time zone is called {name!r}, {hint}") from None
    return name


def _moment(text: str) -> str:
    try:
        if datetime.fromisoformat(text).tzinfo is not None:
            raise ValueError
    except ValueError:
        raise ValueError("write it as in 2026-12-01 08:00; `zone` says whose clock that is") from None
    return text


def minutes(clock: str) -> int:
    """'22:30' -> minutes of the day. Raises ValueError."""
    found = re.fullmatch(r"(\d{1,2}):(\d\d)", clock)
    at = int(found[1]) * 60 + int(found[2]) if found else -1
    if not found or not 0 <= at <= 24 * 60 or int(found[2]) > 59:
        raise ValueError(f"{clock!r} is no time of day; write it as in 22:30")
    return at


def _clock(text: str) -> str:
    minutes(text)
    return text


def _address(text: str) -> str:
    if not text.isascii() or not re.fullmatch(r'[^\s@<>(),;:"\\\x00-\x1f\x7f]+@[^\s@<>(),;:"\\\x00-\x1f\x7f]+', text):
        raise ValueError(f"{text!r} is no address; write it as in someone@example.com")
    return text


def _node(text: str) -> str:
    try:
        return node(text)
    except LinesideError as error:
        raise ValueError(str(error)) from None


Node = Annotated[str, AfterValidator(_node)]
Moment = Annotated[str, AfterValidator(_moment)]
Clock = Annotated[str, AfterValidator(_clock)]
Zone = Annotated[str, AfterValidator(known_zone)]
Address = Annotated[str, AfterValidator(_address)]


# Channels


class ChannelOptions(BaseModel):
    """A way to people. `hidden` are the options that hold secrets."""

    model_config = {"extra": "forbid", "frozen": True, "populate_by_name": True}
    hidden: ClassVar[tuple[str, ...]] = ()
    type: str = Field(description="what it is: webhook, smtp, dingtalk, wecom, feishu or slack")
    language: Literal["en", "zh"] = Field("en", description="of its messages")
    zone: Annotated[str, AfterValidator(known_zone)] = Field(
        "UTC", description="time zone of its messages, such as Asia/Shanghai"
    )
    together: int = Field(
        5, ge=1, le=100, description="more messages than that at one time go as one, with a line for each alarm"
    )


class WebhookChannel(SealedOptions, ChannelOptions):
    """Each message as a signed POST, as those of `webhooks`."""

    hidden = ("secret",)
    type: Literal["webhook"] = Field(description="a system of yours")


class DingTalkChannel(PostOptions, ChannelOptions):
    """A custom robot of a group."""

    hidden = ("url", "secret")
    type: Literal["dingtalk"] = Field(description="a group of DingTalk")
    secret: str = Field("", description="of its signature: `!secret NAME`; without one by its keywords", repr=False)


class WeComChannel(PostOptions, ChannelOptions):
    """A robot of a group."""

    hidden = ("url",)
    type: Literal["wecom"] = Field(description="a group of WeCom")


class FeishuChannel(PostOptions, ChannelOptions):
    """A custom bot of a group."""

    hidden = ("url", "secret")
    type: Literal["feishu"] = Field(description="a group of Feishu or Lark")
    secret: str = Field("", description="of its signature: `!secret NAME`; without one by its keywords", repr=False)


class SlackChannel(PostOptions, ChannelOptions):
    """An incoming webhook as Slack, Mattermost and Rocket.Chat have it."""

    hidden = ("url",)
    type: Literal["slack"] = Field(description="a channel of Slack, or what takes its messages")


class SmtpChannel(ChannelOptions):
    """A message by mail."""

    hidden = ("password",)
    type: Literal["smtp"] = Field(description="mail")
    host: str = Field(min_length=1, max_length=253, pattern=r"^[^\s:/@]+$", description="name of the mail server")
    port: int = Field(0, ge=0, le=65535, description="its port (default: 465, with starttls 587, with none 25)")
    security: Literal["tls", "starttls", "none"] = Field("tls", description="`none` only on this machine")
    user: str = Field("", max_length=200, description="who logs in there (default: nobody)")
    password: str = Field("", description="of that one: `!secret NAME`", repr=False)
    from_: Address = Field(alias="from", description="the address it comes from")
    to: list[Address] = Field(min_length=1, max_length=50, description="the addresses it goes to")
    private: bool = Field(False, description="let the server be in a private network, or on this machine")
    ca: str = Field("", description="file with the certificate of the authority that its server has one of")
    tries: int = Field(5, ge=1, le=20, description="how often a message that it refuses is sent before it is set aside")

    @property
    def at(self) -> int:
        return self.port or PORTS[self.security]

    @model_validator(mode="after")
    def _known(self) -> SmtpChannel:
        if bool(self.user) != bool(self.password):
            raise ValueError("`user` and `password` go together")
        return self


TYPES: Mapping[str, type[ChannelOptions]] = {
    "webhook": WebhookChannel,
    "smtp": SmtpChannel,
    "dingtalk": DingTalkChannel,
    "wecom": WeComChannel,
    "feishu": FeishuChannel,
    "slack": SlackChannel,
}


# Routes


class HoursOptions(BaseModel):
    """A time of each day, or of some days of the week."""

    model_config = {"extra": "forbid", "frozen": True, "populate_by_name": True}
    zone: Zone = Field(description="time zone of its clock, such as Asia/Shanghai")
    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field(
        [], description="on which days of the week it begins (default: each)"
    )
    from_: Clock = Field("00:00", alias="from", description="when it begins")
    to: Clock = Field("24:00", description="when it ends; before `from`: on the day after")

    @model_validator(mode="after")
    def _takes_time(self) -> HoursOptions:
        if minutes(self.from_) == minutes(self.to):
            raise ValueError("it ends when it begins")
        return self


class MuteOptions(HoursOptions):
    """A time in which nothing is sent: of each day or of some days of the week, or once until a moment."""

    until: Moment = Field("", description="in place of these: until this moment, such as 2026-12-01 08:00")

    @model_validator(mode="after")
    def _one_of(self) -> MuteOptions:
        again = {"days", "from_", "to"} & self.model_fields_set
        if bool(self.until) == bool(again):
            raise ValueError("say either `until`, or some of `days`, `from` and `to`")
        return self


class StepOptions(BaseModel):
    """Who else is told of an alarm that nobody acknowledges."""

    model_config = {"extra": "forbid", "frozen": True}
    after: Period = Field(description="how long after the first message")
    to: list[Identifier] = Field(min_length=1, max_length=20, description="names of channels")


class RouteOptions(BaseModel):
    """Which alarms go to which channels, and when."""

    model_config = {"extra": "forbid", "frozen": True}
    to: list[Identifier] = Field(min_length=1, max_length=20, description="names of channels")
    severity: list[Literal["info", "low", "medium", "high", "critical"]] = Field(
        [], description="only these (default: all)"
    )
    kinds: list[str] = Field(["alarm"], min_length=1, max_length=50, description="kinds of events; others do not clear")
    devices: str = Field(
        "*",
        max_length=64,
        description="names of devices, such as press-*; an alarm of a rule is of the device of `each`",
    )
    site: Node = Field(
        "", description="where they stand: this node of the tree of tenants, such as acme/suzhou, or below it"
    )
    keys: str = Field("*", max_length=200, description="names of alarms, such as oil_*")
    hold: Duration = Field(0.0, description="only what stands that long")
    quiet: Duration = Field(600.0, description="after a message, no other that this alarm was raised for so long")
    clear: bool = Field(True, description="a message, too, when it has cleared")
    digest: Duration = Field(0.0, description="gather what there is, and send it as one message after this time")
    late: Duration = Field(3600.0, description="what is over when the plane hears of it is told up to this age")
    mute: list[MuteOptions] = Field([], max_length=20, description="when nothing is sent")
    escalate: list[StepOptions] = Field([], max_length=10, description="who is told when nobody acknowledges it")

    @model_validator(mode="after")
    def _fits(self) -> RouteOptions:
        waits = [step.after for step in self.escalate]
        if any(a >= b for a, b in itertools.pairwise(waits)):
            raise ValueError("each `after` of `escalate` is longer than the one before")
        if "alert" in self.kinds:
            raise ValueError("`alert` is what messages are themselves: they would tell of each other")
        if "alarm" not in self.kinds and (self.hold or self.escalate):
            raise ValueError("`hold` and `escalate` are about alarms; other events stand for no time")
        return self

    @property
    def channels(self) -> list[str]:
        """All that it may send to."""
        return list(dict.fromkeys([*self.to, *(name for step in self.escalate for name in step.to)]))

    def wants(self, device: str, site: str, kind: str, key: str, severity: str) -> bool:
        return (
            kind in self.kinds
            and (not self.severity or severity in self.severity)
            and fnmatch.fnmatchcase(device, self.devices)
            and below(site, self.site)
            and fnmatch.fnmatchcase(key, self.keys)
        )
