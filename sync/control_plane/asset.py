"""What people say of assets: a machine, what is due again and again, what was done and which parts came."""

from __future__ import annotations

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

MOST_RULES = 20


def _plain(text: str) -> str:
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
        raise ValueError("holds control characters; write it in one line")
    return text.strip()


def _long(text: str) -> str:
    if any(unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\r\t" for letter in text):
        raise ValueError("holds control characters")
    return text.strip()


def _said(text: str) -> str:
    if not text:
        raise ValueError("is empty")
    return text


Line = Annotated[str, Field(max_length=200), AfterValidator(_plain)]
Name = Annotated[Line, AfterValidator(_said)]
Note = Annotated[str, Field(max_length=4000), AfterValidator(_long)]
When = Annotated[float, Field(ge=0, le=4e9, description="s UTC")]


class DueRule(BaseModel):
    """What has to be done again and again: after so many running hours, after so many days, or whichever comes first."""

    model_config = ConfigDict(extra="forbid")
    what: Name
    hours: float | None = Field(None, gt=0, le=1e6, allow_inf_nan=False, description="of running")
    days: float | None = Field(None, gt=0, le=36_500, allow_inf_nan=False)

    @model_validator(mode="after")
    def _whole(self) -> DueRule:
        if ";" in self.what:
            raise ValueError(f"{self.what}: a semicolon parts rules in a table; write a comma")
        if self.hours is None and self.days is None:
            raise ValueError(f"{self.what}: after how many `hours` of running, or `days`?")
        return self


class Asset(BaseModel):
    """A machine, or a part of one that people look after by itself."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    id: str = Field(pattern=r"^[\w.-]{1,64}$", description="by which people call it; once in an enterprise")
    place: str = Field("", max_length=400, description='where in the tree it stands, "" is the root')
    name: Line = ""
    class_: Line = Field("", alias="class", description="as fault cases say it (`asset`)")
    device: Line = Field("", description="that reads it")
    tags: Line = Field("", description="how the names of its tags begin, as in pump")
    running: Line = Field("", description="the tag that says that it runs")
    above: float = Field(0.0, ge=-1e18, le=1e18, description="it runs while that tag is above this")
    counter: Line = Field("", description="a tag that counts its hours (unit h, min or s), instead of `running`")
    before: float = Field(0.0, ge=0, le=1e7, description="hours that it had run before it began here")
    begun: When | None = Field(None, description="from when on it is counted, s UTC (now)")
    retired: When = Field(0.0, description="since when it is out of service, s UTC; 0: it is not")
    rules: list[DueRule] = Field([], max_length=MOST_RULES, description="what is due, when")

    @model_validator(mode="after")
    def _whole(self) -> Asset:
        if self.running and self.counter:
            raise ValueError("`running` and `counter` both say how long it runs; name one of them")
        if (self.running or self.counter or self.tags) and not self.device:
            raise ValueError("its tags are of which `device`?")
        names = [rule.what for rule in self.rules]
        if len(set(names)) < len(names):
            raise ValueError("two of its rules are called the same")
        if any(rule.hours for rule in self.rules) and not (self.running or self.counter):
            raise ValueError("a rule by hours needs `running` or `counter`, which says how long it runs")
        return self


class Part(BaseModel):
    """What is built in at a position; what was there before is removed. Without `part` it is only removed."""

    model_config = ConfigDict(extra="forbid")
    position: Name = Field(description="where in the asset, as in bearing, drive end")
    part: Line = Field("", description="its number")
    serial: Line = ""
    note: Note = ""


class Deed(BaseModel):
    """What was done to an asset."""

    model_config = ConfigDict(extra="forbid")
    did: Annotated[Note, AfterValidator(_said)]
    rule: Line = Field("", description="the due one that it was")
    at: When | None = Field(None, description="when, s UTC (now)")
    parts: list[Part] = Field([], max_length=50, description="what was built in or removed")

    @model_validator(mode="after")
    def _once(self) -> Deed:
        if len({part.position for part in self.parts}) < len(self.parts):
            raise ValueError("two of its parts are at the same position; say what is there in the end")
        return self
