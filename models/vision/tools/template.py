"""The tool `template`: what differs from the template by more than an edge may move. No training, one good picture."""

from __future__ import annotations

from pathlib import Path

import cv2
from pydantic import Field

from ..compare import Rules, compare
from ..registration import grey
from ..verdict import Box
from .contract import Finding, ToolConfig, View


class TemplateConfig(ToolConfig):
    """Works in black and white; the view has to have a template."""

    search: int = Field(4, ge=0, le=32, description="pixels each way the part may lie off")
    local: int = Field(2, ge=0, le=8, description="pixels each way that a place of the part may lie off besides")
    tolerance: int = Field(1, ge=0, le=16, description="pixels an edge may move")
    area: int = Field(8, ge=1, description="pixels a defect has at least")
    strength: float = Field(0, ge=0, description="sum over its pixels of squared depth that a defect has at least")
    level: int = Field(128, ge=1, le=255, description="from this grey level on a pixel is white")
    refuse_below: float = Field(
        0.8, ge=0, le=1, description="share of agreeing pixels below which it is no such part: recheck"
    )


class TemplateTool:
    """NG with a box for each place that differs."""

    Config = TemplateConfig
    labels = ["differs"]
    compares = True

    def __init__(self, config: TemplateConfig, folder: Path) -> None:
        self.config = config
        self._rules = Rules(
            search=config.search, local=config.local, tolerance=config.tolerance, area=config.area, level=config.level
        )

    def __call__(self, view: View) -> Finding:
        template = view.grey_template
        if template is None:
            return Finding("recheck", text="nothing to compare with: the view has no template")
        try:
            found = compare(grey(view.image), template, self._rules, view.mask)
        except (ValueError, cv2.error) as error:
            return Finding("recheck", text=f"cannot be compared: {error}")
        if found.fit < self.config.refuse_below:
            return Finding("recheck", found.fit, text=f"only {found.fit:.0%} of the picture fit the template")
        strong = found.strengths >= self.config.strength
        boxes: list[Box] = [
            (int(x0), int(y0), int(x1), int(y1), "differs", float(area))
            for (x0, y0, x1, y1), area in zip(found.boxes[strong], found.areas[strong], strict=True)
        ]
        total, most = float(found.areas[strong].sum()), float(found.strengths[strong].max(initial=0))
        measured = {"differs_px": total, "strength": most}
        if not boxes:
            return Finding("ok", measured=measured)
        places = "one place differs" if len(boxes) == 1 else f"{len(boxes)} places differ"
        return Finding("ng", most, boxes, measured, f"{places} from the template")
