"""What a site says of one tag of a Modbus device, and of its clock."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, PlainValidator, WithJsonSchema, model_validator

from edge import Identifier, Period, Point, Writable

from .address import WORDS, Address, parse_address
from .plan import Item, encode_value
from .text import LONGEST, encode_text

Type = Literal[
    "bool",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float32",
    "float64",
    "signmag16",
    "signmag32",
    "text",
]
Order = Literal["ABCD", "CDAB", "BADC", "DCBA"]
AddressText = Annotated[
    Address,
    BeforeValidator(parse_address),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["holding:100"]}),
]


def _codes(given: Any) -> tuple[int, ...]:
    found = tuple(given) if isinstance(given, list | tuple) else () if given is None else (given,)
    if len(found) > 8 or not all(isinstance(code, int) and not isinstance(code, bool) for code in found):
        raise ValueError("must be a whole number, or a list of up to 8")
    return found


Codes = Annotated[
    tuple[int, ...],
    PlainValidator(_codes),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]}),
]


class ModbusPoint(Point):
    """One tag of a device."""

    model_config = {"extra": "forbid", "frozen": True, "arbitrary_types_allowed": True}
    address: AddressText = Field(
        description="holding:100, input:7, coil:0, discrete:3, holding:100.3 (a bit), holding:100.8..11 (a number in "
        "some bits), or 40101"
    )
    type: Type | None = Field(
        None,
        description="how the device stores it (uint16; bool for coils and bits); signmag: the highest bit is the sign",
    )
    order: Order = Field("ABCD", description="order of bytes and words; CDAB: low word first")
    scale: float = Field(1.0, description="the raw number times this ...")
    offset: float = Field(0.0, description="... plus this is the value")
    none: Codes = Field(
        (), description='raw number that says "not available", as in 0x8000, or a list of some; of bits, their register'
    )
    scale_from: Identifier | None = Field(
        None, description="tag of the same unit that holds the power of ten (SunSpec scale factors)"
    )
    length: int | None = Field(None, ge=1, le=LONGEST, description="of a text, in registers of two characters")
    encoding: Literal["ascii", "latin-1", "utf-8"] = Field("ascii", description="of a text")
    every: Period | None = Field(None, description="how often to read this tag (as its unit)")

    @model_validator(mode="after")
    def _fits(self) -> ModbusPoint:
        single = self.address.single
        if self.address.last is not None and self.type not in (None, "uint16"):
            raise ValueError(f"{self.address} is a part of a register; its type can only be uint16")
        if single and self.type not in (None, "bool"):
            raise ValueError(f"{self.address} is a single bit; its type can only be bool")
        if not single and self.type == "bool" and self.address.bit is None:
            raise ValueError(f"say which bit: {self.address}.0")
        if self.scale == 0:
            raise ValueError("a scale of 0 makes every value 0")
        if not 1e-100 < abs(self.scale) < 1e100:
            raise ValueError(f"a scale of {self.scale:g} makes no usable value")
        self._fits_text()
        if self.address.number + (self.length or WORDS[self.stored]) > 65536:
            raise ValueError(f"{self.stored} at {self.address} runs past the last register")
        if self.writable and self.address.table in ("input", "discrete"):
            raise ValueError(f"{self.address} cannot be written; {self.address.table} is a read-only table")
        if self.writable and self.address.bit is not None:
            raise ValueError(f"{self.address}: a bit of a register cannot be written alone")
        if self.writable and self.scale_from:
            raise ValueError(
                f"its scale stands in {self.scale_from}: that it cannot be written with; remove `writable`"
            )
        self.raw_none()
        if self.writable:
            self._fits_orders(self.writable)
        return self

    def _fits_orders(self, allowed: Writable) -> None:
        for bound in allowed.range or ():
            encode_value(self.item(0), bound)
        for text in allowed.one_of:
            encode_text(self.item(0), text)
        if allowed.longest and self.length and allowed.longest > 2 * self.length:
            raise ValueError(f"`longest`: {self.length} registers hold {2 * self.length} characters")

    def _fits_text(self) -> None:
        given = self.model_fields_set
        if self.type != "text":
            if odd := given & {"length", "encoding"}:
                raise ValueError(f"`{min(odd)}` is for a text; add `type: text`")
            return
        if self.length is None:
            raise ValueError("say how many registers the text has, as in `length: 8`")
        if self.order not in ("ABCD", "BADC"):
            raise ValueError(f"{self.order} is no order of a text; ABCD, or BADC where each two characters are swapped")
        if odd := given & {"scale", "offset", "none", "scale_from", "deadband", "labels"}:
            raise ValueError(f"`{min(odd)}` cannot be said of a text: a text is no number")

    @property
    def stored(self) -> str:
        return self.type or ("bool" if self.address.single else "uint16")

    def value_type(self) -> str:
        return self.stored

    def fits(self) -> str:
        scaled = self.scale != 1 or self.offset or self.scale_from
        return "float64" if scaled else self.stored.replace("signmag", "int")

    def raw_none(self) -> tuple[int, ...]:
        """`none` as the type reads it: 0xFFFF of an int16 is -1. Raises ValueError where it cannot be sent."""
        if not self.none or self.stored.startswith("float"):
            return self.none
        if self.stored.startswith("signmag"):
            raise ValueError(f"`none` cannot be said of {self.stored}")
        size = 16 * WORDS[self.stored]
        for code in self.none:
            if not -(1 << (size - 1)) <= code < 1 << size or self.address.bits:
                raise ValueError(f"{code:#x} does not fit into {self.stored} at {self.address}")
        raw = [code % (1 << size) for code in self.none]
        signed = self.stored.startswith("int")
        return tuple(code - (1 << size) if signed and code >> (size - 1) else code for code in raw)

    def item(self, unit: int, every: float = 0.0) -> Item:
        """`every`: seconds, of what it belongs to."""
        text = (self.length or 0, self.encoding, self.every or every)
        return Item(unit, self.address, self.stored, self.order, self.scale, self.offset, self.raw_none(), *text)


class DeviceTime(BaseModel):
    """A clock in the device's registers: samples of the same request carry its time."""

    model_config = {"extra": "forbid", "frozen": True, "arbitrary_types_allowed": True}
    address: AddressText = Field(description="where its first register is, as in holding:200")
    type: Literal["unix_s", "unix_ms"] = Field(
        "unix_ms", description="32-bit seconds or 64-bit milliseconds since 1970"
    )
    order: Order = Field("ABCD", description="order of bytes and words; CDAB: low word first")

    @model_validator(mode="after")
    def _fits(self) -> DeviceTime:
        if self.address.bits or self.address.bit is not None:
            raise ValueError(f"{self.address} is a single bit; the time is in registers, as in holding:200")
        if self.item(0).span[1] > 65536:
            raise ValueError(f"{self.type} at {self.address} runs past the last register")
        return self

    def item(self, unit: int, every: float = 0.0) -> Item:
        return Item(unit, self.address, "uint32" if self.type == "unix_s" else "uint64", self.order, every=every)
