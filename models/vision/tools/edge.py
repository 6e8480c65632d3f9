"""The tool `edge`: where an edge lies, to a fraction of a pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from ..recipe_config import ViewConfig
from .contract import Finding, View
from .measure import Measured, edges, judged, turned, unscaled


class EdgeConfig(Measured):
    """The distance of one edge from the border of the region where looking begins."""

    to: Literal["light", "dark", "either"] = Field("either", description="what lies behind the edge")
    pick: Literal["first", "strongest"] = Field("first", description="where there are several")


class EdgeTool:
    """Measures `edge_px` (and `edge_mm`). Recheck where there is no such edge."""

    Config = EdgeConfig
    labels: tuple[str, ...] = ()

    def __init__(self, config: EdgeConfig, folder: Path) -> None:
        self.config = config

    def cannot(self, size: tuple[int, int], view: ViewConfig) -> str:
        return unscaled(self.config, view.mm)

    def __call__(self, view: View) -> Finding:
        found = edges(*turned(view, self.config.towards), self.config.contrast)
        if self.config.to != "either":
            found = [edge for edge in found if (edge.step > 0) == (self.config.to == "light")]
        if not found:
            return Finding("recheck", text=f"no edge of {self.config.contrast:g} grey levels is seen")
        one = found[0] if self.config.pick == "first" else max(found, key=lambda edge: abs(edge.step))
        return judged("edge", [one.at], self.config, view)
