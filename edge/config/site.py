"""The frame of a site, and what a checked site becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, field_validator

from ..alarms import AlarmConfig
from ..driver import DriverConfig, Point
from ..expressions import expression_names
from ..stage import StageConfig
from ..tags import Tag
from ..texts import TYPE
from ..virtual import SOURCE, VirtualPoint
from .journal import JournalConfig
from .places import Problem, Tree
from .types import Period


class DeviceConfig(BaseModel):
    """Who this device is."""

    model_config = {"extra": "forbid", "frozen": True}
    id: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="name of this device, unique in the fleet"
    )
    site: str = Field("", max_length=200, description="where it stands, as a path: plant/line")
    location: tuple[float, float] | None = Field(None, description="latitude and longitude, WGS-84")

    @field_validator("location")
    @classmethod
    def _on_earth(cls, place: tuple[float, float] | None) -> tuple[float, float] | None:
        if place and not (abs(place[0]) <= 90 and abs(place[1]) <= 180):
            raise ValueError(f"[{place[0]:g}, {place[1]:g}] is no place: latitude (-90 to 90) first, then longitude")
        return place


class Expectation(BaseModel):
    """One thing a test expects, in order."""

    model_config = {"extra": "forbid", "frozen": True}
    event: str | None = Field(None, description="key of an event, such as the name of an alarm")
    state: str | None = Field(None, description="state of that event: raised, cleared, ...")
    write: str | None = Field(None, description="a tag that is written")
    value: float | str | None = Field(None, description="the value written, or that `tag` has at the end")
    tag: str | None = Field(None, description="a tag whose value at the end is `value`")


class TestCase(BaseModel):
    """A test of the rules, run on virtual time by `lineside test`."""

    __test__ = False
    model_config = {"extra": "forbid", "frozen": True}

    def is_of_stage(self, key: str) -> bool:
        """Whether an event of this key comes from a stage that takes part."""
        return any(key == name or key.startswith(f"{name}.") for name in self.stages)

    name: str = Field(description="what it shows, in a few words")
    given: dict[str, list[float | str | None]] = Field(description="values of tags, one per step; null: no sample")
    every: Period = Field(1.0, description="time between the steps; takes the place of the sources' periods")
    until: Period | None = Field(None, description="how long to run (default: the last step and one `every`)")
    stages: list[str] = Field(
        default_factory=list,
        description="entries of `stages:` that take part, without pictures; what they write is read back at the next step",
    )
    expect: list[Expectation] = Field(description="events in order, exactly; writes in order, at least")


class Simulation(BaseModel):
    """How `lineside sim` moves one tag."""

    model_config = {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    mean: float = Field(0.0, description="value it moves around")
    swing: float = Field(0.0, description="half height of a sine around `mean`")
    period: Period = Field(60.0, description="of the sine, the ramp or the pulse")
    noise: float = Field(0.0, ge=0, description="standard deviation of what is added")
    ramp: float = Field(0.0, description="added once per period, and kept: a counter")
    pulse: Period | None = Field(None, description="1 more than `mean` for this long in every period")
    texts: list[str] = Field(default_factory=list, description="what a text tag shows, in turn, all once a period")


@dataclass
class Config:
    """A site whose parts all parsed (where `problems` is empty). Parts that did not parse are left out."""

    path: Path
    tree: Tree
    device: DeviceConfig = field(default_factory=lambda: DeviceConfig(id="unnamed"))
    drivers: dict[str, DriverConfig] = field(default_factory=dict)
    virtual: dict[str, VirtualPoint] = field(default_factory=dict)
    alarms: dict[str, AlarmConfig] = field(default_factory=dict)
    stages: dict[str, StageConfig] = field(default_factory=dict)
    simulate: dict[str, Simulation] = field(default_factory=dict)
    journal: JournalConfig = field(default_factory=JournalConfig)
    sections: dict[str, BaseModel] = field(default_factory=dict)
    tests: list[TestCase] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    digest: str = ""  # SHA-256 of the file; of what it includes nothing

    @property
    def folder(self) -> Path:
        return self.path.resolve().parent

    def parts(self) -> list[str]:
        """The names under which something runs and has a state of health."""
        return [*self.drivers, *self.stages, *self.sections]

    def tags(self, period: float | None = None) -> list[Tag]:
        """All tags, not yet numbered; `period` (seconds) takes the place of every source's own."""
        out = []
        for name, driver in self.drivers.items():
            for tag, point in driver.points().items():
                out.append(point.tag(f"{name}.{tag}", name, driver.period_of(tag) if period is None else period))
        out += [point.tag(name, SOURCE, 0.0) for name, point in self.virtual.items()]
        for name, stage in self.stages.items():
            out += [point.tag(f"{name}.{tag}", name, 0.0) for tag, point in stage.points().items()]
        return self._aged(out)

    def _aged(self, tags: list[Tag]) -> list[Tag]:
        """What is computed comes as often as what it is computed from, so it is as soon too old, unless it says itself."""
        by_name, points = {tag.name: tag for tag in tags}, self.points()
        made_from = {name: expression_names(point.expression) for name, point in self.virtual.items()}
        for name, stage in self.stages.items():
            reads = frozenset(getattr(stage, "reads", tuple)())
            made_from |= {f"{name}.{tag}": reads for tag in stage.points()}

        def age(name: str, seen: frozenset[str] = frozenset()) -> float:
            if name not in by_name or name in seen:
                return 0.0
            if name not in made_from or points[name].stale_after is not None:
                return by_name[name].stale_after
            return min((a for n in made_from[name] if (a := age(n, seen | {name}))), default=0.0)

        return [replace(tag, stale_after=age(tag.name)) if tag.name in made_from else tag for tag in tags]

    def every(self) -> dict[str, float]:
        """Seconds between two samples of each tag; 0 where nothing regular is promised: what is pushed, only written, or made by
        a stage. A computed tag comes as often as the most frequent of what it is computed from."""
        out: dict[str, float] = {}
        for name, driver in self.drivers.items():
            only_written = driver.only_written()
            out |= {f"{name}.{tag}": 0.0 if tag in only_written else driver.period_of(tag) for tag in driver.points()}
        made_from = {name: expression_names(point.expression) for name, point in self.virtual.items()}

        def fastest(name: str, seen: frozenset[str] = frozenset()) -> float:
            if name in seen or name not in made_from:
                return out.get(name, 0.0)
            return min((p for n in made_from[name] if (p := fastest(n, seen | {name}))), default=0.0)

        return out | {name: fastest(name) for name in made_from}

    def texts(self) -> set[str]:
        """The tags whose values are strings."""
        return {name for name, point in self.points().items() if point.value_type() == TYPE}

    def points(self) -> Mapping[str, Point]:
        """Every tag's point by full name."""
        out: dict[str, Point] = dict(self.virtual)
        parts: dict[str, DriverConfig | StageConfig] = {**self.drivers, **self.stages}
        for name, part in parts.items():
            out |= {f"{name}.{tag}": point for tag, point in part.points().items()}
        return out


FRAME: dict[str, Any] = {
    "device": DeviceConfig,
    "drivers": DriverConfig,
    "tags": VirtualPoint,
    "alarms": AlarmConfig,
    "stages": StageConfig,
    "simulate": Simulation,
    "journal": JournalConfig,
    "tests": TestCase,
}
