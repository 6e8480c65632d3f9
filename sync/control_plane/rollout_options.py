"""What a person writes about a rollout: what goes where, in which steps, and what ends it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, field_validator, model_validator

from edge import ConfigFault, Duration, LinesideError, Period, Tree, bind_options, read_tree

from ..updates.manifest import parted
from ..wire import DEVICE
from .alert_options import HoursOptions
from .tree import node

MOST_IDS = 10_000
CONFIG = "config/site"  # each device has a document of its own, so it has no version here


def _share(given: Any) -> Any:
    """'5%' -> 0.05; 100% is never more. Raises ValueError."""
    if isinstance(given, float) and 0 <= given <= 1:
        return given
    found = re.fullmatch(r"\s*(\d{1,3}(?:\.\d+)?)\s*%\s*", str(given))
    if not found or float(found[1]) > 100:
        raise ValueError(f"{given!r} is no share; write it as in 5%, or 100% where it ends nothing")
    return float(found[1]) / 100


def _wave(given: Any) -> Any:
    """A number of devices, or a share of all of them as text. Raises ValueError."""
    if isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= 10**7:
        return given
    found = re.fullmatch(r"\s*(\d{1,3}(?:\.\d+)?)\s*%\s*", str(given))
    if not found or not 0 < float(found[1]) <= 100:
        raise ValueError(f"{given!r} is no wave; write a number of devices, or a share of all as in 10%")
    return f"{float(found[1]):g}%"


Share = Annotated[float, BeforeValidator(_share)]
Wave = Annotated[int | str, BeforeValidator(_wave)]


class _Options(BaseModel):
    model_config = {"extra": "forbid", "frozen": True, "populate_by_name": True}


class FilterOptions(_Options):
    """Which devices: those to which all of this applies."""

    class_: str = Field("", alias="class", max_length=64, description="of this class")
    site: str = Field("", max_length=200, description="at this site, or below it: suzhou is suzhou/line-3, too")
    ids: list[str] = Field([], max_length=MOST_IDS, description="one of these")
    all: bool = Field(False, description="`true` in place of the others: every device")

    @field_validator("ids")
    @classmethod
    def _names(cls, ids: list[str]) -> list[str]:
        for name in ids:
            if not DEVICE.fullmatch(name):
                raise ValueError(f"{name[:80]!r} is no device id")
        return list(dict.fromkeys(ids))

    @field_validator("site")
    @classmethod
    def _node(cls, site: str) -> str:
        try:
            return node(site.rstrip("/"))
        except LinesideError as fault:
            raise ValueError(str(fault)) from None

    @model_validator(mode="after")
    def _says(self) -> FilterOptions:
        if bool(self.class_ or self.site or self.ids) == self.all:
            raise ValueError("say `class`, `site` or `ids`; every device there is: `all: true`")
        return self

    def words(self) -> str:
        """For people."""
        said = [f"class {self.class_}"] if self.class_ else []
        said += [f"site {self.site}"] if self.site else []
        said += [f"{len(self.ids)} named"] if self.ids else []
        return ", ".join(said) or "all"


class GateOptions(_Options):
    """How many of the devices that tried may have it; more than chance explains is a breach."""

    most: Share = Field(0.05, description="share of those that tried")
    at_least: int = Field(1, ge=1, description="how many have to have tried before it is judged")


class AlarmsGate(GateOptions):
    """A device raises an alarm after it tried that it had not raised before."""

    severity: list[Literal["info", "low", "medium", "high", "critical"]] = Field(
        ["high", "critical"], min_length=1, description="alarms of these only"
    )
    before: Period = Field(86400.0, description="the time before in which it must not have raised it")


class SilentGate(GateOptions):
    """A device is not heard any more after it tried."""

    after: Period = Field(300.0, ge=120, description="how long not; longer than its line makes it tell")


class NgGate(GateOptions):
    """A device judges more parts as NG than in its own time before, beyond what chance explains."""

    most: Share = Field(0.2, description="share of those that tried")
    before: Period = Field(7 * 86400.0, description="its own time before")
    parts: int = Field(50, ge=10, description="how many parts there have to be, before and after")


class GatesOptions(_Options):
    """What ends a rollout of itself."""

    failed: GateOptions = Field(GateOptions(), description="the device refused it, or went back by itself")
    alarms: AlarmsGate = Field(AlarmsGate(), description="new alarms")
    silent: SilentGate = Field(SilentGate(), description="not heard any more")
    ng: NgGate | None = Field(None, description="parts that are NG (default: not judged)")


class RolloutOptions(_Options):
    """One rollout."""

    what: str = Field(max_length=120, description="KIND/NAME-VERSION as in model/washer-3, or config/site")
    stage: Literal["run", "shadow"] = Field("run", description="`shadow`: a model beside the one that runs")
    devices: FilterOptions = Field(description="which devices")
    waves: list[Wave] = Field(
        [1, "2%", "10%", "50%"], max_length=20, description="how many devices each wave has; the rest are the last one"
    )
    per_site: int = Field(0, ge=0, description="at most so many under way at one site at a time (0: any number)")
    per_minute: int = Field(600, ge=1, le=10**6, description="at most so many begin in a minute")
    hours: list[HoursOptions] = Field([], max_length=20, description="devices begin only then (default: at any time)")
    soak: Duration = Field(600.0, description="how long a device is watched after it has it")
    patience: Period = Field(600.0, description="how long one has to begin; then nobody waits for it any longer")
    attempt: Period = Field(3600.0, description="how long one that began has to end; then it has failed")
    gates: GatesOptions = Field(GatesOptions(), description="what ends it")
    at_breach: Literal["halt", "back"] = Field("halt", description="`back`: then each goes back to what it had before")
    late: bool = Field(True, description="devices that are enrolled later and fit get it, too")

    @field_validator("what")
    @classmethod
    def _known(cls, what: str) -> str:
        if what != CONFIG:
            try:
                parted(what)
            except LinesideError as fault:
                raise ValueError(str(fault)) from None
        return what

    @model_validator(mode="after")
    def _fits(self) -> RolloutOptions:
        if self.stage == "shadow" and self.parted[0] != "model":
            raise ValueError(f"only a model runs in shadow, no {self.parted[0]}")
        return self

    @property
    def parted(self) -> tuple[str, str, str]:
        """(kind, name, version); version "": that of each device."""
        return ("config", "site", "") if self.what == CONFIG else parted(self.what)


def load(path: Path) -> RolloutOptions:
    """A rollout as it stands in a file. Raises ConfigFault with every fault on a line of its own."""
    tree = read_tree(path)
    found = bind_options(RolloutOptions, tree.data if isinstance(tree.data, dict) else {}, tree, ())
    if found is None or tree.problems:
        raise ConfigFault("\n".join(dict.fromkeys(map(str, tree.problems))))
    return found


def from_words(said: dict[str, Any]) -> RolloutOptions:
    """A rollout as a program or the command line says it. Raises ConfigFault."""
    tree = Tree(said)
    found = bind_options(RolloutOptions, said, tree, ())
    if found is None:
        lines = [f"{'.'.join(map(str, one.path)) or 'rollout'}: {one.message}" for one in tree.problems]
        hints = [f", {one.hint}" if one.hint else "" for one in tree.problems]
        raise ConfigFault("\n".join(map("".join, zip(lines, hints, strict=True))))
    return found
