"""The tool `blob`: things darker or lighter than a level, told by their size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from pydantic import Field, model_validator

from ..registration import grey
from ..verdict import Box
from .contract import Finding, State, ToolConfig, View


class BlobConfig(ToolConfig):
    """How many there may be, and how large they count."""

    level: int = Field(ge=1, le=255, description="grey level below which a pixel belongs to a thing")
    lighter: bool = Field(False, description="a pixel belongs to a thing from that level on instead")
    area: float = Field(20, gt=0, description="pixels a thing has at least; what is smaller is noise")
    largest: float | None = Field(
        None, gt=0, description="pixels it has at most; what is larger is another thing and not counted"
    )
    least: int = Field(0, ge=0, description="fewer are NG, and no rule makes that OK")
    most: int = Field(0, ge=0, description="more are NG")

    @model_validator(mode="after")
    def _between(self) -> BlobConfig:
        if self.least > self.most:
            raise ValueError(f"least {self.least} is above most {self.most}: no part would be good")
        return self


class BlobTool:
    """Measures `blobs`, `area_px` of all and `largest_px` (and `area_mm2`)."""

    Config = BlobConfig

    def __init__(self, config: BlobConfig, folder: Path) -> None:
        self.config, self.labels = config, ["light" if config.lighter else "dark"]

    def __call__(self, view: View) -> Finding:
        config, image = self.config, grey(view.image)
        inside = ((image >= config.level) if config.lighter else (image < config.level)).astype(np.uint8)
        if view.mask is not None:
            inside[view.mask == 0] = 0
        _, _, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
        stats = stats[1:]
        keep = stats[:, 4] >= config.area
        if config.largest is not None:
            keep &= stats[:, 4] <= config.largest
        x, y, w, h, area = stats[keep].T.astype(int)
        (label,) = self.labels
        boxes: list[Box] = [
            (a, b, a + c, b + d, label, float(e)) for a, b, c, d, e in zip(x, y, w, h, area, strict=True)
        ]
        total, top, many = float(area.sum()), float(area.max(initial=0)), len(boxes)
        measured = {"blobs": float(many), "area_px": total, "largest_px": top}
        if view.mm is not None:
            measured["area_mm2"] = total * view.mm**2
        state: State = "ok" if config.least <= many <= config.most else "ng"
        wanted = f"{config.least} to {config.most}" if config.least != config.most else f"{config.most}"
        text = f"{many} {label} things, the largest of {top:.0f} px" if many else f"no {label} thing"
        text = text if state == "ok" else f"{text}; {wanted} wanted"
        return Finding(state, total, boxes, measured, text, firm=many < config.least)
