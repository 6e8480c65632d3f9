"""What the tools that bring a model package are told."""

from __future__ import annotations

from pydantic import Field

from .contract import ToolConfig


class LearnedConfig(ToolConfig):
    """A model package, and limits in place of its own."""

    model: str = Field(description="model package: a folder beside the recipe, or the name of a shipped one")
    ng_above: float | None = Field(
        None, gt=0, lt=1, description="score from which the part is NG; default: the package's"
    )
    ok_below: float | None = Field(None, gt=0, lt=1, description="score below which it is OK; default: the package's")
