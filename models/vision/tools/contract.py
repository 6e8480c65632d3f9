"""The contract of a tool: a view of a part in, a finding out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Protocol

import numpy as np
from pydantic import BaseModel, Field

from ..registration import Placed, Registration, grey
from ..verdict import Box

State = Literal["ok", "ng", "recheck"]
There = tuple[Registration, Placed]


@dataclass(frozen=True)
class View:
    """One picture of a part, as its recipe prepared it (registered, cut to the region).

    `image` uint8[h, w] or uint8[h, w, 3] (blue, green, red); `template` of the same shape, or None; `mask` uint8[h, w], where it
    is 0 nothing is judged, or None; `mm` millimetres a pixel, or None; `there`: by what the whole of it was placed and how, or
    None; `plane`: the template in grey, where somebody has it already. Raises ValueError for anything else: OpenCV ends the whole
    process on a picture without pixels.
    """

    image: np.ndarray
    template: np.ndarray | None = None
    mask: np.ndarray | None = None
    mm: float | None = None
    there: There | None = None
    plane: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape, kind = self.image.shape, self.image.dtype
        if kind != np.uint8 or 0 in shape or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)):
            raise ValueError(f"a picture of {kind}{shape} cannot be judged: uint8, grey or blue-green-red")
        if self.mask is not None and self.mask.shape != shape[:2]:
            raise ValueError(f"the mask is {self.mask.shape}, the picture {shape[:2]}")
        if self.mask is not None and not self.mask.any():
            raise ValueError("the mask leaves nothing to judge")

    @property
    def grey_template(self) -> np.ndarray | None:
        """uint8[h, w]"""
        return self.plane if self.plane is not None or self.template is None else grey(self.template)


@dataclass(frozen=True)
class Finding:
    """`state` of the part by this tool alone; `score`, higher is worse; `boxes` in pixels of the view; `measured` values by name,
    the unit in the name (`gap_mm`, `area_px`); `text` tells the operator why. `ng_above`: the score from which a box alone is NG,
    below it alone is a recheck; None: each of the boxes alone is as bad as `state`. `firm`: no rule makes it better than it is,
    since it tells what was read, or that something is missing, and not of a defect: its boxes are around what is there. `also`:
    what each box may be instead, where the tool is not sure of its class; it counts when rules let all of `boxes` pass."""

    state: State
    score: float = 0.0
    boxes: Sequence[Box] = ()
    measured: Mapping[str, float] = field(default_factory=dict)
    text: str = ""
    ng_above: float | None = None
    firm: bool = False
    also: Sequence[Box] = ()

    def of(self, box: Box) -> State:
        """Of one of the boxes, where no rule says otherwise."""
        if self.ng_above is None:
            return self.state
        return "ng" if box[5] >= self.ng_above else "recheck"


class ToolConfig(BaseModel):
    """What every entry under a view's `tools:` may say."""

    model_config = {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    tool: str = Field(description="name of the tool")


def state_of(score: float, ok_below: float, ng_above: float) -> State:
    """What a part is of which the worst has this score."""
    return "ok" if score < ok_below else "ng" if score >= ng_above else "recheck"


class Tool(Protocol):
    """Made once for a recipe, called from any pool thread, several at a time.

    `__init__` loads what it needs (relative to `folder`, the recipe's) and raises ConfigFault or ModelRefused in words. A call is
    pure: no clock, no files. It raises for no picture: what cannot be judged is a finding "recheck" that says why.
    One that needs the view's template says so: `compares` is true. `labels` are all the classes that its boxes may have.
    One whose boxes are the whole view has `placeless`.
    `cannot(size, view)` says why it could judge no part whose pictures are of this size [h, w] in such a view; empty where it can.
    """

    Config: ClassVar[type[ToolConfig]]

    def __init__(self, config: ToolConfig, folder: Path) -> None: ...

    def __call__(self, view: View) -> Finding: ...
