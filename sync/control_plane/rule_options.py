"""What a person writes about the rules of the plane: values of devices, alarms on them, tests."""

from __future__ import annotations

import fnmatch
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from edge import Duration, Identifier, Period

MOST_WINDOW = 24 * 60  # minutes


class ValueOptions(BaseModel):
    """One number a minute: of a tag's samples, or how many events there were."""

    model_config = {"extra": "forbid", "frozen": True}
    device: str = Field("", max_length=64, description="whose it is (default: the device of `each`)")
    tag: str = Field("", max_length=200, description="full name of a tag, such as plc.oil_temp")
    take: Literal["mean", "min", "max", "last"] = Field("mean", description="what of its samples is taken")
    kind: str = Field("", max_length=40, description="in place of `tag`: count events of this kind, such as inspection")
    key: str = Field("", max_length=200, description="only events about this: the name of an alarm, of an inspection")
    state: str = Field("", max_length=40, description="only events of this state, such as ng or raised")
    over: Period = Field(60.0, description="the time before the end of each minute that it is of, in whole minutes")
    stale_after: Duration = Field(
        600.0, description="how long the last sample stands where none comes, as with a deadband"
    )

    def whose(self, device: str) -> str:
        """Of which device it is, in the alarm for that one."""
        return self.device or device

    @model_validator(mode="after")
    def _one_of(self) -> ValueOptions:
        if bool(self.tag) == bool(self.kind):
            raise ValueError("say one of `tag` (a number of its samples) and `kind` (a number of events)")
        if self.tag and (self.key or self.state):
            raise ValueError("`key` and `state` are about events, and go with `kind`")
        if self.kind and "take" in self.model_fields_set:
            raise ValueError("events are counted; `take` goes with `tag`")
        if self.over % 60 or not 60 <= self.over <= MOST_WINDOW * 60:
            raise ValueError("`over` is whole minutes, from 1min to 24h")
        return self


class RuleOptions(BaseModel):
    """One alarm of the plane, judged once for each minute."""

    model_config = {"extra": "forbid", "frozen": True, "populate_by_name": True}
    each: str = Field("", max_length=64, description='one alarm for each device whose name is like this: "press-*"')
    values: dict[Identifier, ValueOptions] = Field(min_length=1, max_length=32, description="what its expressions read")
    when: str = Field(description="expression of the values that raises it, such as `oven - hall > 20`")
    for_: Duration = Field(
        0.0, alias="for", description="how long `when` must hold; minutes without a value do not count"
    )
    clear: str | None = Field(None, description="expression that clears it (default: `when` no longer holds)")
    clear_for: Duration = Field(0.0, description="how long `clear` must hold")
    severity: Literal["low", "medium", "high", "critical"] = Field("medium", description="how much it matters")
    text: str = Field("", max_length=500, description="what an operator reads")
    wait: Period = Field(600.0, description="how long a minute waits for devices that have not delivered it")

    def concerns(self, devices: list[str]) -> list[str]:
        """Of these devices the ones it has an alarm for; one without a name where it is of several together."""
        return [d for d in devices if fnmatch.fnmatchcase(d, self.each)] if self.each else [""]


class RuleExpectation(BaseModel):
    """One event that a test expects, in order."""

    model_config = {"extra": "forbid", "frozen": True}
    rule: str = Field(description="name of a rule")
    state: Literal["raised", "cleared"] = Field(description="what became of its alarm")
    minute: int | None = Field(None, ge=0, description="in which minute, the first is 0 (default: any)")


class RuleTest(BaseModel):
    """A test of the rules, run by `lineside plane test FILE`."""

    model_config = {"extra": "forbid", "frozen": True}
    name: str = Field(description="what it shows, in a few words")
    rule: str = Field(description="the rule it is about")
    given: dict[str, list[float | None]] = Field(description="each value by minutes; null: nothing came of it")
    expect: list[RuleExpectation] = Field(description="what becomes of the alarm, in order, exactly")
