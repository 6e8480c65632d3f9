"""How a view finds its part: the options of `registration.py`, which need no OpenCV to be read."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, PositiveInt, model_validator


class RegistrationConfig(BaseModel):
    """How a view finds its part."""

    model_config = {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    by: Literal["fiducial", "phase", "feature"] = Field(
        "phase",
        description="fiducial: small marks; phase: shifts, turns of a degree; feature: any allowed turn and scale",
    )
    search: int = Field(20, ge=1, le=1000, description="pixels each way the part may lie off")
    turn: float = Field(0, ge=0, le=180, description="degrees each way the part may be turned")
    scale: float = Field(0, ge=0, le=0.25, description="share by which the part may be larger or smaller")
    quality: float = Field(
        0.75,
        ge=0.3,
        le=1,
        description="likeness of its edges (of a mark: of its picture) below which the part cannot be judged",
    )
    marks: list[tuple[int, int, PositiveInt, PositiveInt]] = Field(
        default_factory=list, max_length=8, description="of `fiducial`: x, y, width, height of each in the template"
    )

    @model_validator(mode="after")
    def _whole(self) -> RegistrationConfig:
        if (self.by == "fiducial") != bool(self.marks):
            raise ValueError("`marks` and `by: fiducial` go together")
        if self.by == "fiducial" and len(self.marks) < 2 and (self.turn or self.scale):
            raise ValueError("one mark tells no turn and no scale: give two or more")
        if self.by == "phase" and (self.turn > 2 or self.scale > 0.02):
            raise ValueError("phase follows turns of 2 degrees and 0.02 of scale at most: use feature")
        return self
