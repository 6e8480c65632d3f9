"""What a site says of an MQTT broker and what is published there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path as File
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, model_validator

from edge import DriverConfig, Duration, Identifier, Period, Point, SampleType, lacks

from .values import parse_path, raise_unless_order


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        found = parts.scheme in ("mqtt", "mqtts") and parts.hostname and parts.port != 0
    except ValueError:
        found = False
    if not found or parts.path not in ("", "/") or parts.query:
        raise ValueError(f"{text!r} is no broker; write mqtt://192.168.1.5:1883, or mqtts:// for TLS")
    if parts.username:
        raise ValueError("user and password do not belong into the url; write `user:` and `password: !secret NAME`")
    return text


def _filter(text: str) -> str:
    steps = text.split("/")
    odd = [
        s for k, s in enumerate(steps) if ("+" in s and s != "+") or ("#" in s and (s != "#" or k != len(steps) - 1))
    ]
    if odd or "\0" in text or len(text.encode()) > 1024:
        raise ValueError(f"{text!r} is no topic; + stands for one level, # for all that follow at the end")
    return text


def _edge(text: str) -> str:
    if text and (len(text.split("/")) not in (2, 3) or not all(text.split("/")) or set(text) & set("+#")):
        raise ValueError(f"{text!r} names no node; write GROUP/NODE, or GROUP/NODE/DEVICE")
    return text


def _path(text: str) -> str:
    parse_path(text)
    return text


Topic = Annotated[str, AfterValidator(_filter)]
Edge = Annotated[str, AfterValidator(_edge)]
JsonPath = Annotated[str, AfterValidator(_path)]


class MqttBlock(BaseModel):
    """A fast signal, many samples in a message: JSON with their time, or their bytes alone."""

    model_config = {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    rate: float | None = Field(
        None, gt=0, le=1e6, description="samples a second, where the message does not say its `step`"
    )
    values: JsonPath = Field(
        "values", description="path of the samples: a list of numbers, or base64 of bytes, see `type`"
    )
    start: JsonPath = Field(
        "start", description="path of the time of the first one (default: the last was taken when it came)"
    )
    step: JsonPath = Field("step", description="path of the seconds from one sample to the next, if there is no `rate`")
    number: JsonPath = Field(
        "", description="path of a number that rises by one with each message, so that a lost one is seen"
    )
    type: SampleType | None = Field(None, description="how samples are stored in bytes (default: numbers in JSON)")
    order: Literal["little", "big"] = Field("little", description="order of their bytes")
    scale: float = Field(1.0, description="the stored number times this ...")
    offset: float = Field(0.0, description="... plus this is the value")
    raw: bool = Field(False, description="the message is not JSON: it is the bytes of the samples, behind the `head`")
    head: int = Field(0, ge=0, le=1024, description="bytes before the samples of a `raw` message")
    clock: Literal["", "s", "ms", "us", "ns"] = Field(
        "", description="the head begins with a uint64, the time of the first sample since 1970 in this unit"
    )

    @model_validator(mode="after")
    def _one_form(self) -> MqttBlock:
        if self.raw and (self.type is None or self.rate is None):
            raise ValueError("bytes say neither how they are stored nor how fast: `raw` takes `type` and `rate`")
        if self.raw and (given := self.model_fields_set & {"values", "start", "step", "number"}):
            raise ValueError(f"`{min(given)}` is a path in JSON, which a `raw` message is not")
        if not self.raw and (given := self.model_fields_set & {"head", "clock"}):
            raise ValueError(f"`{min(given)}` belongs to a `raw` message")
        if self.clock and self.head < 8:
            raise ValueError("a time takes the first 8 bytes of the `head`")
        if self.type is None and (given := self.model_fields_set & {"order", "scale", "offset"}):
            raise ValueError(f"`{min(given)}` says nothing without `type`")
        return self


class MqttPoint(Point):
    """One value: at a path of the JSON under a topic, or a metric of a Sparkplug node."""

    topic: Topic = Field("", description="where it is published, if not under the entry's `topic`")
    path: JsonPath = Field(
        "",
        description='where it stands in the JSON, as in a.b[0] or $.a["odd name"] (default: the whole, or its `value`)',
    )
    time: JsonPath | None = Field(None, description="path of its time, if not the entry's `time`")
    edge: Edge = Field("", description="GROUP/NODE or GROUP/NODE/DEVICE, if not the entry's `edge`")
    type: Literal["float64", "text"] = Field("float64", description="`text` where it is a string")
    metric: str = Field("", max_length=500, description="name of the Sparkplug metric")
    command: Topic = Field("", description="where an order for it is published; that of a metric goes to its node")
    block: MqttBlock | None = Field(None, description="it is a fast signal, many samples in a message")
    payload: str = Field(
        "{value}",
        max_length=1000,
        description='what an order says, as in {value} or {"on": {value}} (a text in quotes)',
    )

    @model_validator(mode="after")
    def _one_kind(self) -> MqttPoint:
        if self.metric and (self.topic or self.path or self.time):
            raise ValueError("a metric has neither `topic` nor `path` nor `time`")
        if self.block and (self.metric or self.time or self.writable or self.type == "text"):
            raise ValueError("a `block` has neither `metric` nor `time` nor `writable`, and is no text")
        if self.edge and not self.metric:
            raise ValueError("say which metric of the node: `metric: NAME`")
        self._ordered()
        return self

    def _ordered(self) -> None:
        """Off by default: an order needs a place to go to and what it may say."""
        given = self.model_fields_set & {"command", "payload"}
        if self.metric and given:
            raise ValueError(f"a metric has no `{min(given)}`: an order goes to its node")
        if set(self.command) & set("+#"):
            raise ValueError(f"{self.command!r}: an order goes to one topic, without + and #")
        if self.writable and not (self.command or self.metric):
            raise ValueError("say where an order for it is published: `command: TOPIC`")
        if given and not self.writable:
            raise ValueError(f"`{min(given)}` says nothing without `writable`: what may be ordered")
        if self.writable and not self.metric:
            raise_unless_order(self.payload, self.type == "text")


class MqttConfig(DriverConfig):
    """One connection to a broker."""

    url: Annotated[str, AfterValidator(_url)] = Field(description="mqtt://host:1883, or mqtts://host:8883 for TLS")
    user: str = Field("", description="user name, if the broker wants one")
    password: str = Field("", description="its password; use !secret", repr=False)
    ca: str = Field(
        "", description="file with the authority that signed the broker's certificate (default: the system's)"
    )
    certificate: str = Field("", description="file with our own certificate, if the broker wants one")
    key: str = Field("", description="file with the key of that certificate")
    client: str = Field("", max_length=64, description="our name at the broker (default: a new one each time)")
    version: Literal[3, 5] = Field(5, description="of the protocol: 5, or 3 (3.1.1) for old brokers")
    qos: Literal[0, 1] = Field(1, description="0: at most once; 1: at least once")
    every: Duration = Field(
        0.0, description="how often each tag is published; after three of these it is stale (0s: never)"
    )
    timeout: Period = Field(5.0, description="how long to wait for the broker")
    topic: Topic = Field(
        "", description="of tags that name none; with + and #, the first path that fits gives the value"
    )
    time: JsonPath = Field("", description="path of the time in the JSON (default: when the message came)")
    edge: Edge = Field("", description="GROUP/NODE or GROUP/NODE/DEVICE of metrics that name none")
    rebirth: bool = Field(False, description="ask a node to be born again where messages of it were missed")
    tags: dict[Identifier, MqttPoint] = Field(min_length=1, description="what is published, by name")

    def pushes(self) -> bool:
        return True

    def period(self) -> float:
        return self.every

    def topics(self) -> dict[str, list[int]]:
        """Filters of plain JSON, and the indices of the tags under each."""
        out: dict[str, list[int]] = {}
        for i, point in enumerate(self.tags.values()):
            if not point.metric:
                out.setdefault(point.topic or self.topic, []).append(i)
        return out

    def metrics(self) -> dict[tuple[str, str, str], list[int]]:
        """(group/node, device, metric) -> indices of tags."""
        out: dict[tuple[str, str, str], list[int]] = {}
        for i, point in enumerate(self.tags.values()):
            if point.metric:
                group, node, device = f"{point.edge or self.edge}//".split("/")[:3]
                out.setdefault((f"{group}/{node}", device, point.metric), []).append(i)
        return out

    def faults(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        for name, point in self.tags.items():
            if not point.metric and not (point.topic or self.topic):
                yield ("tags", name), "has no topic", "add `topic:` to it or to the whole entry, or `metric:`"
            if point.metric and not (point.edge or self.edge):
                yield ("tags", name), "has no node", "add `edge: GROUP/NODE` to it or to the whole entry"
        if self.password and not self.user:
            yield ("password",), "a password without a user", "add `user:`"
        if self.rebirth and not self.metrics():
            yield ("rebirth",), "only a Sparkplug node can be born again", "remove it"
        secured = urlsplit(self.url).scheme == "mqtts"
        for option in ("ca", "certificate", "key"):
            file = getattr(self, option)
            if file and not secured:
                yield (option,), "says nothing without TLS", "write mqtts:// in `url`"
            elif file and (lacks(File(file)) or File(file).is_dir()):
                yield (option,), f"there is no file {file}", "a path is taken from where the daemon was started"
        if bool(self.certificate) != bool(self.key):
            yield ("certificate",), "certificate and key belong together", "name both"
