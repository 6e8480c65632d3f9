"""What a site says of a Modbus connection: its options, and the plan that follows from them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from edge import DriverConfig, Duration, Identifier, Period, Point, ReadPlan, SystemClock, Templated

from .address import TABLES, Span, parse_span
from .cover import joined, touched
from .learned import Learned
from .line_frames import FRAMINGS
from .line_port import fault_of
from .line_url import Where, parse_url
from .plan import Item, Plan
from .points import DeviceTime, ModbusPoint
from .rules import GAP, MOST_REGISTERS, Rules
from .shown import shown_plan

SpanText = Annotated[
    Span, BeforeValidator(parse_span), WithJsonSchema({"type": ["string", "integer"], "examples": ["holding:120..139"]})
]


def _gap(given: Any) -> int | str:
    if given == "auto" or (isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= 120):
        return given
    raise ValueError(f"{given!r} is no gap; write auto, or a number from 0 to 120")


Gap = Annotated[
    int | Literal["auto"],
    PlainValidator(_gap),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 0, "maximum": 120}]}),
]


def _in_flight(given: Any) -> int | str:
    if given == "auto" or (isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= 32):
        return given
    raise ValueError(f"{given!r} is no number of requests; write auto, or a number from 1 to 32")


InFlight = Annotated[
    int | Literal["auto"],
    PlainValidator(_in_flight),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": 32}]}),
]


HOLES = "addresses the device does not have, never read along, as in holding:120..139"


class UnitConfig(Templated):
    """One unit (slave) below the connection."""

    from_template: ClassVar[tuple[str, ...]] = ("tags", "max_registers", "holes")
    needs: ClassVar[tuple[str, ...]] = ("scale_from",)
    model_config = {"extra": "forbid", "frozen": True, "arbitrary_types_allowed": True}
    unit: int = Field(ge=0, le=255, description="unit number (slave address)")
    every: Period | None = Field(None, description="how often to read this unit (as the connection says)")
    max_registers: int | None = Field(None, ge=4, le=125, description="of this unit, in place of the connection's")
    holes: list[SpanText] = Field(default_factory=list, description=f"{HOLES}; beside the connection's")
    time: DeviceTime | None = Field(None, description="device time, read in the same request")
    tags: dict[Identifier, ModbusPoint] = Field(default_factory=dict, description="tags of this unit, by name")


def _url(text: Any) -> str:
    return str(parse_url(str(text)))


class ModbusConfig(Templated, DriverConfig):
    """One connection to a device or gateway."""

    from_template: ClassVar[tuple[str, ...]] = ("tags", "max_registers", "holes", "pause")
    needs: ClassVar[tuple[str, ...]] = ("scale_from",)
    url: Annotated[str, BeforeValidator(_url)] = Field(
        description="tcp://host:port (502), rtu:///dev/ttyUSB0?baud=9600&parity=even&stop=1, ascii:///dev/..., or "
        "rtu+tcp://host:port"
    )
    unit: int = Field(1, ge=0, le=255, description="unit number of the tags directly below")
    every: Period = Field(1.0, description="how often to read")
    timeout: Period = Field(2.0, description="how long a unit may take for an answer")
    in_flight: InFlight = Field(
        1,
        description="requests on the wire at once; more only if the device allows it; auto: found by trying, up to 16",
    )
    max_registers: int = Field(MOST_REGISTERS, ge=4, le=125, description="registers the device gives in one answer")
    gap: Gap = Field(
        "auto",
        description=f"unused registers read along to save a request; auto: {GAP}, more where that is measured to be faster",
    )
    holes: list[SpanText] = Field(default_factory=list, description=f"{HOLES}; of every unit")
    pause: Duration = Field(0.0, description="wait after connecting, for slow gateways")
    turnaround: Duration = Field(
        0.1, description="quiet on lines (all but tcp://) after a time-out or a wrong answer", validate_default=False
    )
    time: DeviceTime | None = Field(None, description="device time, read in the same request")
    tags: dict[Identifier, ModbusPoint] = Field(default_factory=dict, description="tags of `unit`, by name")
    units: dict[Identifier, UnitConfig] = Field(default_factory=dict, description="several units on this connection")

    def points(self) -> dict[str, Point]:
        out: dict[str, Point] = dict(self.tags)
        for name, unit in self.units.items():
            out |= {f"{name}.{tag}": point for tag, point in unit.tags.items()}
        return out

    @property
    def most_in_flight(self) -> int:
        """At the start."""
        return 1 if self.in_flight == "auto" else self.in_flight

    def period(self) -> float:
        """The longest of its units, each by the tag that is read most often."""
        return max(self.periods().values(), default=self.every)

    def period_of(self, tag: str) -> float:
        name, _, below = tag.partition(".")
        part = self.units[name] if below else self
        return part.tags[below or name].every or part.every or self.every

    def periods(self) -> dict[int, float]:
        """Seconds between two scans of each unit that has tags or a clock: the shortest of its tags."""
        return {part.unit: min(each) for _, part in self._parts() if (each := self._each(part))}

    def _each(self, part: ModbusConfig | UnitConfig) -> set[float]:
        """The periods of its tags and its clock, in seconds."""
        usual = part.every or self.every
        return {point.every or usual for point in part.tags.values()} | ({usual} if part.time else set())

    @property
    def where(self) -> Where:
        return parse_url(self.url)

    def port(self) -> str:
        return self.where.identity

    def faults(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        if not self.points():
            yield (), "reads nothing", "add `tags:` or `units:`"
        if self.pause >= max(5.0, 2 * self.timeout):
            yield ("pause",), "as long as a connection may take in all", "shorten it or raise `timeout`"
        yield from self._in_holes()
        yield from self._too_long()
        yield from self._line_faults()
        seen = {self.unit: "the connection's own `unit`"} if self.tags or self.time else {}
        for name, unit in self.units.items():
            if unit.unit in seen:
                yield ("units", name, "unit"), f"unit {unit.unit} is {seen[unit.unit]} already", "one entry per unit"
            seen[unit.unit] = repr(name)
        yield from self._scale_faults()
        if clocks := self.clocks():
            plan = self.plan()
        for path, clock, tags in clocks:
            if len({plan.items[i].every for i in (clock, *tags)}) > 1:
                said = "stamps tags of one request, and some of them have a period of their own"
                yield (*path, "time"), said, "take `every` off those tags, or make them a unit of their own"
            elif len({int(plan.request_of[i]) for i in (clock, *tags)}) > 1:
                yield (
                    (*path, "time"),
                    "does not fit into one request with the tags",
                    "read them as two units or raise `gap`",
                )

    def _scale_faults(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        for path, tags in self._tables():
            for name, point in tags.items():
                if (other := point.scale_from) is None:
                    continue
                where = (*path, "tags", name, "scale_from")
                if other not in tags:
                    near = difflib.get_close_matches(other, list(tags), 1)
                    hint = f"did you mean {near[0]!r}?" if near else "with `only:`, name it there too"
                    yield where, f"no tag of this unit is called {other!r}", hint
                elif tags[other].type == "text":
                    yield where, f"{other!r} is text", "name the one that holds the number"
                elif tags[other].scale_from:
                    yield where, f"{other!r} is scaled by another tag itself", "name the one that holds the number"
                elif len({self.period_of(".".join((*path[1:], tag))) for tag in (name, other)}) > 1:
                    yield where, f"{other!r} is read in another period", "give both tags the same `every`, or none"

    def _tables(self) -> list[tuple[tuple[str, ...], dict[Identifier, ModbusPoint]]]:
        """Every `tags:` and where it stands, in the order of `points()`."""
        return [((), self.tags), *((("units", name), unit.tags) for name, unit in self.units.items())]

    def powers(self) -> list[tuple[int, int]]:
        """(tag, tag that holds its power of ten), both counted as in `points()`."""
        out: list[tuple[int, int]] = []
        start = 0
        for _, tags in self._tables():
            at = {name: start + i for i, name in enumerate(tags)}
            out += [(at[n], at[p.scale_from]) for n, p in tags.items() if p.scale_from in at]
            start += len(tags)
        return out

    def _too_long(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        for path, part in self._parts():
            most = part.max_registers or self.max_registers
            for name, point in part.tags.items():
                if (point.length or 0) > most:
                    said = f"a text comes in one answer, which holds {most} registers at most here"
                    yield (*path, "tags", name, "length"), said, "shorten it, or raise `max_registers`"

    def _in_holes(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        for path, part in self._parts():
            if not (holes := [*self.holes, *(part.holes if part is not self else ())]):
                continue
            ranges = {table: joined((h.first, h.end) for h in holes if h.table == table) for table in TABLES}
            found = [((*path, "tags", name, "address"), point.item(0)) for name, point in part.tags.items()]
            found += [((*path, "time", "address"), part.time.item(0))] if part.time else []
            for place, item in found:
                if hole := touched(ranges[item.address.table], *item.span):
                    said = f"lies in {Span(item.address.table, *hole)}, which the device does not have"
                    yield place, said, "mend the address or `holes`"

    def _line_faults(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        where = self.where
        if where.numbered:
            return
        if where.serial and (fault := fault_of(where.device)):
            yield ("url",), fault, "name the port of the adapter, as in /dev/ttyUSB0"
        least = FRAMINGS[where.scheme]
        takes = [(least.size(r.pdu) * where.character + 2 * where.gap, r.every) for r in self.plan().requests]
        if (load := sum(seconds / period for seconds, period in takes)) > 1:
            said = f"{where.baud} baud carry this only every {load * self.every:.2g} s at best"
            yield ("every",), said, "read less often, fewer registers, or at a higher speed"
        if self.in_flight != 1:
            yield ("in_flight",), "a line carries one request at a time", "leave it out"
        if self.turnaround >= self.timeout:
            yield ("turnaround",), "as long as an answer may take", "shorten it or raise `timeout`"
        zero = [("units", name, "unit") for name, unit in self.units.items() if unit.unit == 0]
        for path in [*zero, *([("unit",)] if self.tags and self.unit == 0 else [])]:
            yield path, "unit 0 is every unit of the line at once; none answers", "number the unit from 1 to 247"

    def read_together(self, names: Sequence[str]) -> bool:
        plan, order = self.plan(), list(self.points())
        return len({int(plan.request_of[order.index(name)]) for name in names}) == 1

    def shown_plan(self, memory: Mapping[str, Any]) -> ReadPlan:
        learned = Learned(self.url, memory, SystemClock().utc())
        return shown_plan(self.url, self.plan(learned), len(self.points()), learned.lines())

    def items(self) -> list[Item]:
        """In the order of `points()`, then the clocks in the order of `clocks()`."""
        parts = [part for _, part in self._parts()]
        items = [point.item(p.unit, p.every or self.every) for p in parts for point in p.tags.values()]
        return items + [p.time.item(p.unit, p.every or self.every) for p in parts if p.time]

    def plan(self, learned: Learned | None = None) -> Plan:
        """Of `items()`."""
        gap, bridge = (GAP, GAP) if self.gap == "auto" else (self.gap, 0)
        rules = {self.unit: Rules(self.max_registers, gap=gap, bridge=bridge, holes=self.holes)}
        for part in self.units.values():
            most, holes = part.max_registers or self.max_registers, [*self.holes, *part.holes]
            rules[part.unit] = Rules(most, gap=gap, bridge=bridge, holes=holes)
        return Plan(self.items(), learned.applied(rules) if learned else rules, self.powers())

    def _parts(self) -> list[tuple[tuple[str, ...], ModbusConfig | UnitConfig]]:
        """The connection's own unit and those below it, with where each stands."""
        return [((), self), *((("units", name), unit) for name, unit in self.units.items())]

    def clocks(self) -> list[tuple[tuple[str, ...], int, range]]:
        """For each device time: where it stands, its index among the items, and the tags it stamps."""
        index, start = len(self.points()), 0
        out: list[tuple[tuple[str, ...], int, range]] = []
        for path, part in self._parts():
            tags = range(start, start + len(part.tags))
            start += len(part.tags)
            if part.time:
                out.append((path, index, tags))
                index += 1
        return out
