"""The tool `count`: how many things like a small picture a region holds."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from ..recipe_config import ViewConfig
from ..registration import grey
from ..verdict import Box
from .contract import Finding, State, ToolConfig, View
from .likeness import likes, small_picture, too_small, tops

SURPLUS = 64  # found beyond `most` before counting ends


class CountConfig(ToolConfig):
    """A place is one of them from `like` on; between `doubt` and `like` somebody has to look."""

    picture: str = Field(description="cut of a good part with one of them, a file beside the recipe")
    like: float = Field(0.8, gt=0, le=1, description="likeness from which a place is one")
    doubt: float = Field(0.65, gt=0, le=1, description="likeness from which it may be one: recheck")
    least: int = Field(ge=0, le=1000, description="fewer are NG, and no rule makes that OK")
    most: int = Field(ge=0, le=1000, description="more are NG")

    @model_validator(mode="after")
    def _between(self) -> CountConfig:
        if self.least > self.most or self.doubt > self.like:
            raise ValueError("least has to be no more than most, and doubt no more than like")
        return self


class CountTool:
    """Measures `count`."""

    Config = CountConfig
    labels = ["one", "doubtful"]

    def __init__(self, config: CountConfig, folder: Path) -> None:
        self.config, self._thing = config, small_picture(folder / config.picture)

    def cannot(self, size: tuple[int, int], view: ViewConfig) -> str:
        return too_small(size, self._thing, self.config.picture)

    def __call__(self, view: View) -> Finding:
        config = self.config
        field = likes(grey(view.image), self._thing, view)
        if field is None:
            return Finding("recheck", text=f"the region is smaller than {config.picture}")
        found = tops(field, self._thing.shape, config.doubt, config.most + SURPLUS)
        h, w = self._thing.shape
        sure = sum(like >= config.like for _, _, like in found)
        boxes: list[Box] = [(x, y, x + w, y + h, "one" if s >= config.like else "doubtful", s) for x, y, s in found]
        state: State = "ok" if config.least <= sure and len(found) <= config.most else "recheck"
        if sure > config.most or len(found) < config.least:
            state = "ng"
        wanted = f"{config.least} to {config.most}" if config.least != config.most else f"{config.most}"
        doubts = f" and {len(found) - sure} doubtful" if len(found) > sure else ""
        text = f"{sure}{doubts} counted" + ("" if state == "ok" else f"; {wanted} wanted")
        off = max(config.least - sure, sure - config.most, 0)
        measured = {"count": float(sure), "doubtful": float(len(found) - sure)}
        return Finding(state, float(off), boxes, measured, text, firm=sure < config.least)
