"""The tool `colour`: which share of a region has a colour."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
from pydantic import Field, field_validator, model_validator

from .contract import Finding, State, ToolConfig, View

HEX = re.compile(r"^#[0-9a-fA-F]{6}$")


class ColourConfig(ToolConfig):
    """The distance is that of CIE 1976 (L*a*b*): 2 is just seen, 10 is another shade, 50 another colour."""

    colour: str = Field(description="as #rrggbb", json_schema_extra={"pattern": HEX.pattern})
    near: float = Field(15, gt=0, le=200, description="distance up to which a pixel has that colour")
    least: float = Field(0.5, ge=0, le=1, description="share of the region below which the part is NG")
    most: float = Field(1.0, ge=0, le=1, description="share above which it is NG")

    @field_validator("colour")
    @classmethod
    def _written(cls, text: str) -> str:
        if not HEX.match(text):
            raise ValueError(f"{text!r} is no colour; write red, green and blue as '#ff8000', in quotes")
        return text

    @model_validator(mode="after")
    def _between(self) -> ColourConfig:
        if self.least > self.most:
            raise ValueError(f"least {self.least:g} is above most {self.most:g}: no part would be good")
        return self


class ColourTool:
    """Measures `share` and `distance` (of the mean colour)."""

    Config = ColourConfig
    labels: tuple[str, ...] = ()

    def __init__(self, config: ColourConfig, folder: Path) -> None:
        self.config = config
        blue_green_red = [int(config.colour[k : k + 2], 16) for k in (5, 3, 1)]
        self._wanted = _lab(np.array([[blue_green_red]], np.uint8))[0, 0]

    def __call__(self, view: View) -> Finding:
        config = self.config
        if view.image.ndim != 3 or view.image.shape[2] != 3:
            return Finding("recheck", text="the picture has no colours")
        lab = _lab(view.image)
        shown = np.ones(lab.shape[:2], bool) if view.mask is None else view.mask > 0
        if not shown.any():
            return Finding("recheck", text="the mask leaves nothing to judge")
        far = np.linalg.norm(lab[shown] - self._wanted, axis=1)
        share = float((far <= config.near).mean())
        measured = {"share": share, "distance": float(np.linalg.norm(lab[shown].mean(axis=0) - self._wanted))}
        state: State = "ok" if config.least <= share <= config.most else "ng"
        wanted = f"{config.least:.0%} to {config.most:.0%} wanted"
        text = f"{share:.1%} has the colour {config.colour}"
        return Finding(
            state,
            max(config.least - share, share - config.most, 0.0),
            (),
            measured,
            text if state == "ok" else f"{text}; {wanted}",
        )


def _lab(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
