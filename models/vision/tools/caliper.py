"""The tool `caliper`: how wide a thing is, between its two outer edges."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import Field

from ..recipe_config import ViewConfig
from .contract import Finding, View
from .measure import Measured, edges, judged, turned, unscaled


class CaliperConfig(Measured):
    """A width along the direction, in one or several strips; each of them has to be within the limits."""

    thing: Literal["dark", "light"] = Field("dark", description="the thing's grey against what is around it")
    strips: int = Field(
        1, ge=1, le=64, description="strips that are measured apart: more of them see a taper or a notch"
    )


class CaliperTool:
    """Measures `width_px` (and `width_mm`), the median of the strips. Recheck where a strip shows no two edges."""

    Config = CaliperConfig
    labels: tuple[str, ...] = ()

    def __init__(self, config: CaliperConfig, folder: Path) -> None:
        self.config = config

    def cannot(self, size: tuple[int, int], view: ViewConfig) -> str:
        return unscaled(self.config, view.mm)

    def __call__(self, view: View) -> Finding:
        image, shown = turned(view, self.config.towards)
        many = min(self.config.strips, image.shape[0])
        bounds = [round(k * image.shape[0] / many) for k in range(many + 1)]
        widths, enters = [], -1 if self.config.thing == "dark" else 1
        for number, (top, bottom) in enumerate(pairwise(bounds)):
            found = edges(image[top:bottom], shown[top:bottom], self.config.contrast)
            into = [edge.at for edge in found if edge.step * enters > 0]
            out = [edge.at for edge in found if edge.step * enters < 0]
            if not into or not out or out[-1] <= into[0]:
                where = f" in strip {number + 1} of {many}" if many > 1 else ""
                return Finding("recheck", text=f"no {self.config.thing} thing with two edges is seen{where}")
            widths.append(out[-1] - into[0])
        return judged("width", widths, self.config, view)
