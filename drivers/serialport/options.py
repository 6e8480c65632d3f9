"""What a site says of an instrument on a serial line."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, Field, model_validator

from edge import DriverConfig, Duration, Identifier, LinesideError, Period, Point

from .fields import TYPES, Fields, example, order, ordered, template
from .framing import LONGEST, Checksum, Framer, Framing, Octets, compiled, octets

SETTINGS: dict[str, tuple[str, ...]] = {
    "parity": ("none", "even", "odd", "mark", "space"),
    "data": ("8", "7"),
    "stop": ("1", "1.5", "2"),
    "flow": ("none", "rtscts", "xonxoff"),
}
Type = Literal["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64", "text"]


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"{text!r}: the port must be a number from 1 to 65535") from None
    if parts.scheme == "tcp" and parts.hostname and port and parts.path in ("", "/") and not parts.query:
        return text
    if parts.scheme != "serial" or not parts.path.startswith("/") or parts.netloc:
        raise ValueError(f"{text!r} is no line; write serial:///dev/ttyUSB0?baud=9600&parity=none or tcp://host:port")
    line_settings(parts)
    return text


def line_settings(parts: SplitResult) -> dict[str, str]:
    """baud, parity, data, stop and flow of a serial url. Raises ValueError."""
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    baud = given.pop("baud", "9600")
    if not (baud.isascii() and baud.isdigit() and 50 <= int(baud) <= 4_000_000):
        raise ValueError(f"baud={baud} is no speed of a line; 9600 is usual")
    for name, value in given.items():
        if name not in SETTINGS:
            raise ValueError(f"{name!r} is no setting of a line; there are baud, {', '.join(SETTINGS)}")
        if value not in SETTINGS[name]:
            raise ValueError(f"{name}={value}: it is one of {', '.join(SETTINGS[name])}")
    return {"baud": baud, **{name: given.get(name, known[0]) for name, known in SETTINGS.items()}}


def _pattern(text: str) -> str:
    if text:
        compiled(text)
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]


class SerialBlock(BaseModel):
    """A fast signal, many samples in a frame, one behind the other from `at` on."""

    model_config = {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    rate: float = Field(gt=0, le=1e6, description="samples a second")
    count: int | None = Field(None, ge=1, le=LONGEST, description="samples in a frame (default: all that stand there)")
    number: int | None = Field(
        None,
        ge=0,
        lt=LONGEST,
        description="byte where a number stands that rises by one with each frame: a lost one is seen",
    )
    number_size: Literal[1, 2, 4] = Field(1, description="bytes that it has")


class SerialPoint(Point):
    """One value: a named group of `match`, a column, or bytes of the frame."""

    group: str | None = Field(None, description="named group of `match` (default: the tag's own name)")
    column: int | None = Field(None, ge=0, le=1000, description="column, counted from 0 (default without `match`: 0)")
    at: int | None = Field(None, ge=0, le=4095, description="its first byte in the frame, counted from 0")
    type: Type | None = Field(None, description="how it is stored there, with `at`; or `text` for a group or column")
    order: Literal["little", "big"] = Field("big", description="order of its bytes there")
    block: SerialBlock | None = Field(None, description="it is a fast signal, many samples in a frame")
    scale: float = Field(1.0, description="the raw number times this ...")
    offset: float = Field(0.0, description="... plus this is the value")
    ask: Octets = Field("", description="what asks for this tag, where it is not the line's own `ask`")
    write: Annotated[Octets, AfterValidator(lambda text: template(text) if text else text)] = Field(
        "", description='the order that sets it, as in "SET {value:.1f}\\r\\n", or "REC {value}\\r\\n" of a text'
    )
    confirm: Pattern | None = Field(
        None, description="regular expression that the confirming answer fits; '' for a device that never confirms"
    )

    @model_validator(mode="after")
    def _one_place(self) -> SerialPoint:
        if sum(way is not None for way in (self.group, self.column, self.at)) > 1:
            raise ValueError("say one of `group`, `column` or `at`")
        if self.type == "text" and (self.at is not None or self.scale != 1 or self.offset):
            raise ValueError("a text is a group or a column, and has no scale")
        if self.type != "text" and (self.at is None) != (self.type is None):
            raise ValueError("`at` and `type` belong together: where it is in the frame, and how it is stored")
        if self.block and (self.at is None or self.type == "text" or self.write or self.writable):
            raise ValueError("a `block` stands `at` a byte as a `type` of number, and is never written")
        if not 1e-100 < abs(self.scale) < 1e100:
            raise ValueError(f"a scale of {self.scale:g} makes no usable value")
        if bool(self.writable) != bool(self.write):
            raise ValueError("`writable` and `write` belong together: what is allowed, and the order that does it")
        if self.write and self.confirm is None:
            raise ValueError("say how the device confirms the order: `confirm: OK`, or `confirm: ''` if it never does")
        if self.confirm is not None and not self.write:
            raise ValueError("`confirm` belongs to `write`")
        if self.writable is not None and self.writable.longest:
            raise ValueError("an instrument takes any words for an order: list those that may be sent, as `one_of`")
        try:
            for value in self.writable.range or self.writable.one_of if self.writable else ():
                self._sayable(value)
        except LinesideError as error:
            raise ValueError(str(error)) from None
        return self

    def _sayable(self, value: float | str) -> None:
        """Rounded as the order writes it, a bound must not lie outside of the range."""
        order(self.write, self.raw(value))
        said = self.stored(value)
        if isinstance(said, str) or self.writable is None or self.writable.range is None:
            return
        low, high = self.writable.range
        if not low - 1e-9 * abs(low) <= said <= high + 1e-9 * abs(high):
            raise ValueError(
                f"the order writes {value} as {said:g}, outside of the range; write a bound that it can say"
            )

    def stored(self, value: float | str) -> float | str:
        """The value that the order for it says: a number rounded."""
        if isinstance(value, str):
            return value
        return ordered(self.write, (value - self.offset) / self.scale) * self.scale + self.offset

    def value_type(self) -> str:
        return self.type or "float64"

    def fits(self) -> str:
        return "float64" if self.scale != 1 or self.offset else self.value_type()

    def raw(self, value: float | str) -> float | str:
        """What stands in the order: a text as it is, a number before scale and offset."""
        return value if isinstance(value, str) else (value - self.offset) / self.scale

    def ends(self) -> int:
        """Bytes that a frame has at least to hold it; 0 for what stands at no byte."""
        size = struct.calcsize(f"={TYPES[self.type]}") if self.type in TYPES else 0
        number = (self.block.number or 0) + self.block.number_size if self.block else 0
        return 0 if self.at is None else max(self.at + size * ((self.block and self.block.count) or 1), number)

    def write_only(self, groups: Mapping[str, int], name: str) -> bool:
        """It has an order and no place in any frame."""
        placed = any(way is not None for way in (self.group, self.column, self.at)) or self.ask or name in groups
        return bool(self.write) and not placed


class SerialConfig(DriverConfig):
    """One line with one instrument on it."""

    url: Annotated[str, AfterValidator(_url)] = Field(
        description="serial:///dev/ttyUSB0?baud=9600&parity=none&data=8&stop=1&flow=none, or tcp://host:port"
    )
    ask: Octets = Field(
        "", description='what asks for a frame, as in "READ?\\r\\n"; without it the line is listened to'
    )
    every: Period = Field(1.0, description="how often to ask")
    timeout: Duration = Field(
        2.0, description="how long to wait for a frame; 0s on a line that speaks only when something happens"
    )
    frame: Framing = Field(default_factory=Framing, description="where a frame ends")
    checksum: Checksum | None = Field(None, description="what each frame must be right in")
    match: Pattern = Field("", description="regular expression that a whole frame fits, with named groups")
    separator: Octets = Field(",", min_length=1, description="between two columns")
    example: Octets = Field(
        "", description="a frame, with {tag} for each value: it is checked against `match`, and simulated"
    )
    tags: dict[Identifier, SerialPoint] = Field(min_length=1, description="what the frames hold, by name")

    def period(self) -> float:
        return self.every if self.asks() else self.timeout

    def pushes(self) -> bool:
        return not self.asks()

    def port(self) -> str:
        parts = urlsplit(self.url)
        return parts.path if parts.scheme == "serial" else self.url.rstrip("/")

    def fast(self) -> set[str]:
        """The tags of which a frame holds many samples."""
        return {name for name, point in self.tags.items() if point.block}

    def only_written(self) -> set[str]:
        return set(self.tags) - set(self.placed())

    def placed(self) -> dict[str, SerialPoint]:
        """The tags that are read, each with its place in the frame."""
        groups = compiled(self.match).groupindex if self.match else {}
        out = {}
        for name, point in self.tags.items():
            if point.write_only(groups, name):
                continue
            if point.group is None and point.column is None and point.at is None:
                usual: dict[str, Any] = {"group": name} if self.match else {"column": 0}
                point = point.model_copy(update=usual)
            out[name] = point
        return out

    def asks(self) -> dict[str, list[str]]:
        """The questions, and the tags that each answers; empty for a line that is listened to."""
        out: dict[str, list[str]] = {}
        for name, point in self.placed().items():
            if question := point.ask or self.ask:
                out.setdefault(question, []).append(name)
        return out

    def fields(
        self, names: list[str], framer: Framer, text: Callable[[int, str], float] = lambda k, string: 0.0
    ) -> Fields:
        points = self.placed()
        match = compiled(self.match) if self.match else None
        return Fields([points[name] for name in names], framer, match, octets(self.separator), text)

    def faults(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        placed, asks = self.placed(), self.asks()
        groups = compiled(self.match).groupindex if self.match else {}
        for name, point in placed.items():
            if point.group is not None and point.group not in groups:
                hint = f"write (?P<{point.group}>...) into `match`" if self.match else "add `match:`"
                yield ("tags", name), f"no group is called {point.group!r}", hint
            if asks and not (point.ask or self.ask):
                yield ("tags", name), "is never asked for", "add `ask:` to it or to the whole line"
            if self.frame.length and point.ends() > self.frame.length:
                yield ("tags", name, "at"), f"lies behind the frame's {self.frame.length} bytes", "count from 0"
        asked = {name for names in asks.values() for name in names}
        for name, tag in self.tags.items():
            if tag.writable and tag.writable.readback is not None and name not in asked:
                hint = "add `ask:` to it, and where it stands in the answer"
                yield ("tags", name, "writable", "readback"), "the device is never asked for it", hint
        if asks and not self.timeout:
            yield ("timeout",), "an answer that is waited for without an end", "write how long, as in 2s"
        if self.frame.length and not (self.frame.start or self.checksum or asks):
            yield (
                ("frame", "length"),
                "after a lost byte nothing tells where a frame begins",
                "add its `start:` or the `checksum:`",
            )
        if self.checksum and self.checksum.after_delimiter and (self.frame.length or self.frame.pattern):
            yield ("checksum", "after_delimiter"), "the frame ends by no delimiter", "remove it"
        ends = not (self.frame.length or self.frame.pattern)
        if self.checksum and ends and not (self.checksum.hex or self.checksum.after_delimiter):
            yield (
                ("checksum",),
                "its bytes may look like the end of the frame",
                "`after_delimiter: true`, `hex: true`, or `frame: {length: ...}`",
            )
        if self.example:
            yield from self._example_faults()

    def _example_faults(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        names, framer = [n for n in self.placed() if n not in self.fast()], Framer(self.frame, self.checksum)
        try:
            values = {name: "A" if self.tags[name].type == "text" else 1.0 for name in names}
            frames = framer.feed(framer.sealed(example(self.example, values)))
            if len(frames) != 1:
                raise ValueError(f"it makes {len(frames)} frames as `frame` says, not one")
            self.fields(names, framer)(frames[0])
        except (ValueError, IndexError, LinesideError) as error:
            yield ("example",), str(error), "write a frame as the device sends it, without its ends and checksum"
