"""The contract of a driver, and what a driver is given."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol, runtime_checkable

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, model_validator

from .batch import Batch
from .clock import Clock
from .config.types import Duration, Period
from .event import Event
from .frame import Frame
from .tags import Tag
from .texts import LONGEST, TYPE, Texts, clean

MOST_FOUND = 10_000  # by one `browse`
MOST_CHOICES = 256  # strings that a text tag may be written to


def _tolerance(given: Any) -> Any:
    """true: exactly (0.0); false: not at all (None); a number: that far off at most."""
    return (0.0 if given else None) if isinstance(given, bool) else given


Tolerance = Annotated[
    Annotated[float, Field(ge=0)] | None,
    BeforeValidator(_tolerance),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "number", "minimum": 0}]}),
]


class Writable(BaseModel):
    """Allows writing a tag: a number between two bounds (both included), a text out of a list or up to a length. Nothing that a
    site does not declare so can be written."""

    model_config = {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    range: tuple[float, float] | None = Field(None, description="lowest and highest value that may be written")
    one_of: tuple[Annotated[str, Field(max_length=LONGEST)], ...] = Field(
        (), max_length=MOST_CHOICES, description="of a text: the strings that may be written"
    )
    longest: int | None = Field(
        None, ge=1, le=LONGEST, description="of a text, in place of `one_of`: any string of up to so many characters"
    )
    every: Duration = Field(0.0, description="at most one write in this time; one that comes sooner is refused")
    readback: Tolerance = Field(
        None, description="read the value back, and fail unless it holds: true, or how far off it may be"
    )
    expires: Period = Field(5.0, description="how old an order may be when it goes to the device, else it is refused")

    @model_validator(mode="after")
    def _ordered(self) -> Writable:
        if (self.range is not None) + bool(self.one_of) + (self.longest is not None) != 1:
            raise ValueError("say `range: [low, high]`; of a text `one_of: [A, B]` or `longest: 20`")
        if self.range is not None and self.range[0] > self.range[1]:
            raise ValueError(f"range runs backwards: {self.range[0]:g} is above {self.range[1]:g}")
        if odd := [text for text in self.one_of if clean(text) != text]:
            raise ValueError(f"{odd[0]!r} holds a character that cannot be shown")
        if self.range is None and self.readback:
            raise ValueError("a text is read back as it is: `readback: true`")
        return self

    def why_not(self, value: float | str, name: str) -> str:
        """Why this value may not be written to the tag `name`; empty where it may."""
        if isinstance(value, str) != (self.range is None):
            wanted = "a number" if self.range is not None else "a string"
            return f"{value!r} is not {wanted}, which {name} takes"
        if not isinstance(value, str):
            low, high = self.range or (math.nan, math.nan)
            within = math.isfinite(value) and low <= value <= high
            return "" if within else f"{value:g} is outside {low:g}..{high:g} of {name}"
        if self.one_of:
            more = f" and {len(self.one_of) - 8} more" if len(self.one_of) > 8 else ""
            listed = ", ".join(map(repr, self.one_of[:8])) + more
            return "" if value in self.one_of else f"{clean(value[:LONGEST])!r} is none of {listed} of {name}"
        if len(value) > (self.longest or 0):
            return f"{len(value)} characters are more than the {self.longest} that may be written to {name}"
        return "" if clean(value) == value else f"{clean(value)!r}: a character in it cannot be shown"


_SAID: dict[frozenset[str], set[str]] = {}
_NO_LABELS: dict[int, str] = {}


class Point(BaseModel):
    """What every tag may say, whatever its driver."""

    model_config = {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    unit: str = Field("", description="engineering unit, as shown to people")
    labels: dict[int, str] = Field(default_factory=dict, description="names of the numbers of an enum")
    deadband: float | None = Field(None, ge=0, description="keep a value only when it moved by more than this")
    writable: Writable | None = Field(None, description="may be written, as this allows")
    stale_after: Duration | None = Field(None, description="age at which rules stop trusting it (three periods)")

    @model_validator(mode="after")
    def _sharing(self) -> Point:
        """Ten thousand tags say the same few things, in a fifth of a kilobyte each: points that never change may share them."""
        said = frozenset(self.__pydantic_fields_set__)
        object.__setattr__(self, "__pydantic_fields_set__", _SAID.setdefault(said, self.__pydantic_fields_set__))
        if not self.labels:
            self.__dict__["labels"] = _NO_LABELS
        return self

    @model_validator(mode="after")
    def _writes_its_kind(self) -> Point:
        if self.writable is not None and (self.writable.range is None) != (self.value_type() == TYPE):
            kinds = ("a number", "range: [low, high]"), ("a text", "one_of: [A, B]` or `longest: 20")
            kind, wanted = kinds[self.value_type() == TYPE]
            raise ValueError(f"it is {kind}: say `{wanted}` in `writable`")
        return self

    def value_type(self) -> str:
        """Name of the value's type, part of the tag's identity."""
        return str(getattr(self, "type", "float64"))

    def fits(self) -> str:
        """Name of the type that holds every value: the same, unless a scale makes another number of what is stored."""
        return self.value_type()

    def tag(self, name: str, source: str, period: float) -> Tag:
        """The tag this point becomes, not yet numbered; `period` of its source in seconds (0: none)."""
        return Tag(
            name=name,
            type=self.value_type(),
            unit=self.unit,
            labels=self.labels,
            source=source,
            writable=self.writable,
            deadband=self.deadband,
            stale_after=3 * period if self.stale_after is None else self.stale_after,
            fits=self.fits(),
        )


class ReadPlan(NamedTuple):
    """How a driver reads its tags: `lines` for people, and the same as `facts` that JSON can hold."""

    lines: Sequence[str]
    facts: Mapping[str, Any]


class DriverConfig(BaseModel):
    """What every entry under `drivers:` may say. One entry is one connection."""

    model_config = {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    driver: str = Field(description="name of the driver")

    def points(self) -> dict[str, Point]:
        """The tags by name below the entry (`oil_temp`, `meter07.kwh`)."""
        return getattr(self, "tags", {})

    def period(self) -> float:
        """Seconds between samples of a tag, 0 where nothing regular is promised."""
        return float(getattr(self, "every", 0.0))

    def period_of(self, tag: str) -> float:
        """Likewise of one tag, where they differ; by its name below the entry."""
        return self.period()

    def pushes(self) -> bool:
        """Whether samples come when the device likes, as where only a change is told: then nothing is said of their rate."""
        return False

    def port(self) -> str:
        """What no second entry may open too (a serial port, a host:port); empty: anybody may."""
        return ""

    def read_together(self, names: Sequence[str]) -> bool:
        """Whether these tags (names below the entry) come in one request, so that they belong to one moment."""
        return True

    def only_written(self) -> Collection[str]:
        """The tags (names below the entry) that nothing is read of: STALE without a value until somebody writes them."""
        return ()

    def shown_plan(self, memory: Mapping[str, Any]) -> ReadPlan | None:
        """For `lineside check --plan`; None where there is nothing to plan. `memory` as `Source.memory`."""
        return None

    def faults(self) -> Iterable[tuple[tuple[str | int, ...], str, str]]:
        """Cross-checks beyond types: (path below the entry, message, hint)."""
        return ()

    def warnings(self) -> Iterable[tuple[tuple[str | int, ...], str, str]]:
        """What is allowed and should not stay: shown by `lineside check`, not counted as a fault."""
        return ()


class Source(Protocol):
    """What a driver is given: its name, its tags, the clock, and where to put what it reads. Nothing here blocks.

    `memory` is what `remember` was last told, in this run or an earlier one; empty at first. The driver judges whether it still
    fits: it says itself of which device and in which form it is.
    `folder` is the device's state folder: what a driver must keep over a restart goes below a folder of its own there.
    `phase` is the share of a period (0 to 1) by which its grids are moved, so that a hundred devices are not read in one instant.
    """

    name: str
    tags: Mapping[str, Tag]
    clock: Clock
    memory: Mapping[str, Any]
    texts: Texts
    folder: Path
    phase: float

    def text(self, tag: int, text: str) -> float:
        """The value of a text tag (by id) that shows this string; nan where its table is full or the string too long, which is
        then said in an event: such a sample carries RANGE. Ask when the text changed, not for every sample."""
        ...

    def ready(self) -> bool:
        """False while the journal is full: a poller then skips its grid slot (and counts it)."""
        ...

    def emit(self, batch: Batch) -> None: ...

    def frame(self, frame: Frame) -> None:
        """Hand over a picture; the source's own hold on it passes to the flow."""
        ...

    def event(self, event: Event) -> None: ...

    def count(self, cause: str, n: int = 1) -> None: ...

    def running(self) -> None:
        """Say that the device answers."""
        ...

    def remember(self, facts: Mapping[str, Any]) -> None:
        """Keep this over restarts in place of what was kept: a little JSON, safe with the next commit. What is no JSON or more than
        64 kB is not kept, which is logged and counted as `not_remembered`."""
        ...


@runtime_checkable
class Driver(Protocol):
    """Emits batches or frames until cancelled; raises to be restarted. Built as `Driver(config, source)`.

    Optional: `async write(write)` sets one tag and returns when the device confirmed it: the value as the device stores it,
    where that may differ (rounded to a register's step), or None. `async read(tag)` asks the device for the value of one tag
    id now (of a text its string), for `readback`; it may be called while others are written. `async probe()` connects once,
    reads once and returns lines for `lineside check --connect`; what it emits shows whether every tag is good.
    `async tool(request)` answers what a commissioning tool asks while the driver runs (a raw read, wire frames): plain JSON
    both ways.
    `async browse(start, most)` returns what the device offers below `start` (a text of its own; empty: everything), at most
    `most`, for `lineside browse`: {"name", "tag": options of a line under `tags:`, or None, "note": type and value in words, ...}
    each, plain JSON.
    """

    Config: type[DriverConfig]

    async def run(self) -> None: ...
