"""The tool `presence`: whether a thing is in its region, or rightly absent."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ..recipe_config import ViewConfig
from ..registration import grey
from ..verdict import Box
from .contract import Finding, State, ToolConfig, View
from .likeness import likes, small_picture, too_small, tops


class PresenceConfig(ToolConfig):
    """Present from `like` on, absent below `doubt`; between them somebody has to look."""

    picture: str = Field(description="cut of a good part with the thing, a file beside the recipe")
    wanted: Literal["present", "absent"] = Field(
        "present", description="what is good; no rule makes an absent thing that is wanted OK"
    )
    like: float = Field(0.8, gt=0, le=1, description="likeness from which it is there")
    doubt: float = Field(0.6, gt=0, le=1, description="likeness below which it is not")

    @model_validator(mode="after")
    def _between(self) -> PresenceConfig:
        if self.doubt > self.like:
            raise ValueError(f"doubt {self.doubt:g} is above like {self.like:g}: a part would be both")
        return self


class PresenceTool:
    """Measures `likeness`, and where it is: `x_px`, `y_px`, its middle."""

    Config = PresenceConfig
    labels = ["present", "doubtful"]

    def __init__(self, config: PresenceConfig, folder: Path) -> None:
        self.config, self._thing = config, small_picture(folder / config.picture)

    def cannot(self, size: tuple[int, int], view: ViewConfig) -> str:
        return too_small(size, self._thing, self.config.picture)

    def __call__(self, view: View) -> Finding:
        config = self.config
        field = likes(grey(view.image), self._thing, view)
        if field is None:
            return Finding("recheck", text=f"the region is smaller than {config.picture}")
        x, y, like = tops(field, self._thing.shape, -1.0, 1)[0]
        like, (h, w) = max(like, 0.0), self._thing.shape
        there = "present" if like >= config.like else "absent" if like < config.doubt else ""
        state: State = "recheck" if not there else "ok" if there == config.wanted else "ng"
        boxes: list[Box] = [(x, y, x + w, y + h, there or "doubtful", like)] if there != "absent" else []
        measured = {"likeness": like} | ({"x_px": x + w / 2, "y_px": y + h / 2} if boxes else {})
        said = f"{config.picture.rsplit('.', 1)[0]} is {there}" if there else f"not sure of {config.picture}"
        score = 1 - like if config.wanted == "present" else like
        return Finding(state, score, boxes, measured, f"{said} ({like:.0%} alike)", firm=config.wanted == "present")
