"""The section `tune:` of a site: what is to become better, by which settings, and what must hold meanwhile."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, model_validator

from edge import Period

from .space import MOST_INPUTS

Tags = Annotated[list[str], Field(max_length=64)]


class InputConfig(BaseModel):
    """One setting."""

    model_config = {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    range: tuple[float, float] | None = Field(
        None, description="lowest and highest to try (default: what may be written)"
    )
    step: float = Field(0.0, ge=0, description="in multiples of which it is set (default: any value)")

    @model_validator(mode="after")
    def _ordered(self) -> InputConfig:
        if self.range and self.range[0] >= self.range[1]:
            raise ValueError(f"range has to rise: {self.range[0]:g} is not below {self.range[1]:g}")
        return self


class LimitConfig(BaseModel):
    """What an output has to keep."""

    model_config = {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    at_least: float | None = Field(None, description="lowest value that is kept")
    at_most: float | None = Field(None, description="highest value that is kept")
    measured: bool = Field(
        False, description="as it is measured, noise and all (default: the value without that noise)"
    )

    @model_validator(mode="after")
    def _some(self) -> LimitConfig:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("say `at_least` or `at_most`; for both, make a virtual tag such as abs(plc.size - 2)")
        return self


class RuleConfig(BaseModel):
    """What an expert knows: what a setting raises or lowers, where it is likely best, or what to keep away from."""

    model_config = {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    input: str = Field("", description="the setting that is meant")
    raises: Tags = Field(default_factory=list, description="outputs that it raises")
    lowers: Tags = Field(default_factory=list, description="outputs that it lowers")
    likely: tuple[float, float] | None = Field(None, description="where its best value probably lies; a wish, no limit")
    avoid: str = Field("", description="expression of settings; where it is true nothing is ever tried")

    @model_validator(mode="after")
    def _says_something(self) -> RuleConfig:
        told = bool(self.raises or self.lowers or self.likely)
        if bool(self.avoid) == told or bool(self.avoid) == bool(self.input):
            raise ValueError(
                "say `avoid: EXPRESSION`, or `input: TAG` with `raises`, `lowers` or `likely: [low, high]`"
            )
        if self.likely and self.likely[0] > self.likely[1]:
            raise ValueError(f"likely runs backwards: {self.likely[0]:g} is above {self.likely[1]:g}")
        return self


class TuneConfig(BaseModel):
    """How `lineside tune` makes one tag better by setting others."""

    model_config = {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    objective: str = Field(
        description="the tag that is to become better; a virtual tag is learned by what it is made of"
    )
    goal: Literal["maximise", "minimise"] = Field("maximise", description="which way is better")
    inputs: dict[str, InputConfig] = Field(min_length=1, max_length=MOST_INPUTS, description="writable tags, by name")
    limits: dict[str, LimitConfig] = Field(default_factory=dict, description="outputs that must keep within, by tag")
    interlocks: list[str] = Field(default_factory=list, description="expressions of settings that must stay true")
    rules: list[RuleConfig] = Field(default_factory=list, description="what experts know")
    lot: str = Field(description="a tag that counts lots (parts, shots, cycles): a trial ends by it")
    settle: int = Field(1, ge=0, le=1000, description="lots left out after a change")
    lots: int = Field(1, ge=1, le=1000, description="lots of a trial; their mean counts")
    trials: int = Field(25, ge=1, le=500, description="how many, the first one being the settings as they are")
    changes: int = Field(2, ge=1, le=4, description="settings that a trial may change")
    certain: float = Field(0.975, gt=0.5, lt=1, description="how surely each trial has to keep each limit")
    drift: float = Field(25.0, ge=0, description="trials over which the process may drift; 0: it does not")
    write: bool = Field(False, description="write the settings; else they are proposed to a person")
    rollback_on: list[str] = Field(
        default_factory=list,
        description="alarms, and stages that tell what is unusual, that end a trial: the best settings come back",
    )
    history: str = Field(
        "", description="CSV beside the site with a column per setting and output: trials of earlier days"
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="how a setting or an output is called in `history`, where it is not as the tag: as that of another station",
    )
    kept: str = Field(
        "trials.csv",
        pattern=r"^[\w-]+\.csv$",
        description="file in the device's state folder that keeps its trials; another one for each station of a device",
    )
    patience: Period = Field(600.0, description="how long a lot, or a person, may take")
