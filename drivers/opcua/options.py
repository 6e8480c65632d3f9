"""What a site says of an OPC UA server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from edge import DriverConfig, Identifier, Period, Point

from .values import deadband_of, node_of

Policy = Literal["", "Aes256_Sha256_RsaPss", "Basic256Sha256", "Aes128_Sha256_RsaOaep"]
BROKEN = ("Basic128Rsa15", "Basic256")  # by SHA-1, withdrawn by the OPC Foundation in 2017


class OpcUaPoint(Point):
    """One variable, or one method that is called by writing the tag."""

    node: str = Field(
        "", description="its node id, as in ns=2;s=Oven.Temperature or nsu=urn:maker:plant;s=Oven.Temperature"
    )
    type: Literal["float64", "text"] = Field("float64", description="`text` where the variable is a String")
    method: str = Field("", description="in place of `node`: a method to call with the written value, if it takes one")
    object: str = Field("", description="the node that the method belongs to")

    server_deadband: float | str | None = Field(
        None, description="the server sends it only when it moved by more: 0.5 (in its unit) or 2% (of its range)"
    )

    @field_validator("node", "method", "object")
    @classmethod
    def _readable(cls, text: str) -> str:
        node_of(text)
        return text

    @model_validator(mode="after")
    def _one(self) -> OpcUaPoint:
        if bool(self.node) == bool(self.method):
            raise ValueError("say `node: ...`, or `method: ...` with its `object: ...`")
        if bool(self.method) != bool(self.object):
            raise ValueError("a method needs its `object:`, the node that it belongs to, and a variable has none")
        if self.method and (self.writable is None or self.server_deadband is not None):
            allows = "one_of: [A, B]" if self.type == "text" else "range: [low, high]"
            raise ValueError(f"a method is called by writing: allow it with `writable: {{{allows}}}`")
        if self.method and self.writable and self.writable.readback is not None:
            raise ValueError("a method holds no value that could be read back; remove `readback`")
        return self

    @field_validator("server_deadband")
    @classmethod
    def _measured(cls, text: float | str | None) -> float | str | None:
        deadband_of(text)
        return text


class OpcUaConfig(DriverConfig):
    """One server."""

    url: str = Field(description="opc.tcp://host:4840/path")
    mode: Literal["subscribe", "poll"] = Field(
        "subscribe", description="the server sends changes, or all nodes are read"
    )
    every: Period = Field(
        1.0, description="how often the server looks for changes and sends them, or how often to read"
    )
    keep_alive: Period = Field(5.0, description="an unchanged value is said again this often while the server answers")
    timeout: Period = Field(4.0, description="how long to wait for an answer")
    time: Literal["source", "server"] = Field("source", description="whose time a value carries, where both are there")
    security: Literal["None", "Sign", "SignAndEncrypt"] = Field("None", description="how messages are protected")
    policy: Policy = Field("", description="security policy (default: the strongest of these that the server has)")
    trust: Literal["listed", "any"] = Field(
        "listed", description="which server certificates: those that `lineside trust` put on the list, or any"
    )
    user: str = Field("", description="user name, if the server wants one")
    password: str = Field("", description="its password; use !secret", repr=False)
    tags: dict[Identifier, OpcUaPoint] = Field(
        default_factory=dict, description="variables to read, by name; `lineside browse` lists those of the server"
    )

    nodesets: list[str] = Field(
        default_factory=list, description="NodeSet2 files (XML) that `lineside sim` serves, too"
    )

    @field_validator("url")
    @classmethod
    def _address(cls, text: str) -> str:
        try:
            parts = urlsplit(text)
            found = parts.scheme == "opc.tcp" and parts.hostname and parts.port != 0
        except ValueError:  # no host, or a port past 65535
            found = False
        if not found:
            raise ValueError(
                f"{text!r} is no address of a server; write opc.tcp://192.168.1.30:4840 (a port is at most 65535)"
            )
        return text

    @field_validator("policy", mode="before")
    @classmethod
    def _sound(cls, text: object) -> object:
        if text in BROKEN:
            raise ValueError(f"{text} is broken and withdrawn; give the server Basic256Sha256 or a newer one")
        return text

    def period(self) -> float:
        return self.every if self.mode == "poll" else max(self.every, self.keep_alive)

    def pushes(self) -> bool:
        return self.mode != "poll"

    def port(self) -> str:
        return self.url.rstrip("/")

    def faults(self) -> Iterable[tuple[tuple[str | int, ...], str, str]]:
        if not self.tags:
            yield (), "reads nothing", "add `tags:`; `lineside browse SITE DRIVER` lists what the server has"
        if self.password and not self.user:
            yield ("password",), "a password without a user", "add `user:`"
        if self.mode == "poll":
            if "keep_alive" in self.model_fields_set:
                yield ("keep_alive",), "does nothing with `mode: poll`", "remove it"
            for name, point in self.tags.items():
                if point.server_deadband is not None:
                    yield ("tags", name, "server_deadband"), "needs a subscription", "use `deadband` with `mode: poll`"
        for option in ("policy", "trust"):
            if self.security == "None" and option in self.model_fields_set:
                yield (option,), "does nothing without security", "add `security: SignAndEncrypt`"

    def warnings(self) -> Iterable[tuple[tuple[str | int, ...], str, str]]:
        if self.security != "None" and self.trust == "any":
            said = "whoever answers at this address is taken for the server"
            yield ("trust",), said, "remove it and put the server's certificate on the list with `lineside trust`"
        if self.security == "None" and self.password:
            said = "the password goes to whoever answers at this address, and may be read on its way"
            yield ("password",), said, "add `security: SignAndEncrypt`"
