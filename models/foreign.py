"""Networks that others trained and exported: how a picture becomes what one takes, and what it gives means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from .described import Described, Side

Number = Annotated[float, Field(allow_inf_nan=False)]
Spread = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Given(BaseModel):
    """What the network takes: each value of a picture, 0 to `white`, less `mean`, by `std`. Where its input is of integers with a
    scale these follow from it."""

    model_config = {"extra": "forbid", "frozen": True}
    name: str = Field(description="of the network's input")
    layout: Literal["nchw", "nhwc", "chw"] = Field(
        description="order of its axes: n pictures, c channels, height, width"
    )
    colour: Literal["rgb", "bgr", "grey"] = Field(description="the channels and their order")
    white: float = Field(1.0, gt=0, le=65535, description="what white is, before mean and std: 1 or 255")
    mean: list[Number] = Field(default=[0.0], description="of each channel, or one for all")
    std: list[Spread] = Field(default=[1.0], description="of each channel, or one for all")
    fit: Literal["pad", "stretch"] = Field(
        "pad", description="how another size becomes the network's: black right and below, or stretched"
    )

    @model_validator(mode="after")
    def _channels(self) -> Self:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                raise ValueError(f"{name} has {len(values)} numbers for {self.channels} channels")
        return self

    @property
    def channels(self) -> int:
        return 1 if self.colour == "grey" else 3

    def shape(self, size: Sequence[int]) -> tuple[int, ...]:
        """Of the tensor, for a picture of this height and width."""
        height, width = size
        return {
            "nchw": (1, self.channels, height, width),
            "nhwc": (1, height, width, self.channels),
            "chw": (self.channels, height, width),
        }[self.layout]


class Gives(BaseModel):
    """Which outputs are what, by name: `boxes`, `scores` and `labels` (and `masks`), or `rows` of label, score and box."""

    model_config = {"extra": "forbid", "frozen": True}
    boxes: str = Field("", description="four numbers each")
    scores: str = Field("", description="0 to 1, one for each box")
    labels: str = Field("", description="a number, one for each box")
    masks: str = Field("", description="one for each box, over the whole picture or over its box")
    rows: str = Field("", description="label's number, score, x0, y0, x1, y1 of each box (Paddle)")
    corners: Literal["xyxy", "yxyx"] = Field("xyxy", description="order of a box's four numbers")
    unit: Literal["px", "share"] = Field("px", description="pixels of the network's picture, or shares of it")
    first: int = Field(
        0, ge=0, le=1, description="number of the first label; 1 where 0 is the background (torchvision)"
    )

    @model_validator(mode="after")
    def _either(self) -> Self:
        three = (self.boxes, self.scores, self.labels)
        if any(three) if self.rows else not all(three):
            raise ValueError("say boxes, scores and labels, or rows")
        return self


class Objects(Described):
    """A picture in; boxes with a label and a score each, as many as there are, out: two-stage detectors and others whose graph
    ends with its own suppression of doubles."""

    task: Literal["objects"]
    size: tuple[Side, Side] = Field(description="height and width of the picture that the network takes")
    given: Given
    gives: Gives
    labels: list[str] = Field(min_length=1, max_length=4096, description="of what it finds")


class HeatMap(Described):
    """A picture in; a number for each place, higher is worse, out: anomaly maps."""

    task: Literal["heatmap"]
    size: tuple[Side, Side] = Field(description="height and width of the picture that the network takes")
    given: Given
    map: str = Field(description="name of the output")
    full: float = Field(gt=0, allow_inf_nan=False, description="what the map says where the score is 1")
