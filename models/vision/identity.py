"""Who a part is, where its picture says so: the code that a tool of its recipe reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from edge import Tree

if TYPE_CHECKING:
    from .recipe_config import ViewConfig


class IdentityConfig(BaseModel):
    """Where the part says who it is."""

    model_config = {"extra": "forbid", "frozen": True}
    code: str = Field(
        description="VIEW.TOOL: the tool `code` that reads it; a part whose code is not read is a recheck"
    )
    again: bool = Field(
        False, description="the last part that was OK may come again; else its code on another part is a recheck"
    )

    @property
    def view(self) -> str:
        return self.code.partition(".")[0]

    @property
    def tool(self) -> str:
        return self.code.partition(".")[2]


def check(config: IdentityConfig, views: Mapping[str, ViewConfig], tree: Tree) -> None:
    """That the tool is there, reads codes, and is never left out."""
    at = ("part", "code")
    read = [f"{v}.{t}" for v, view in views.items() for t, tool in view.tools.items() if tool.get("tool") == "code"]
    if config.code not in read:
        known = f"there are {', '.join(read)}" if read else "add `tools: {NAME: {tool: code}}` to a view"
        tree.fault(at, f"{config.code!r} is no tool that reads a code", known)
    elif views[config.view].optional:
        tree.fault(
            at, f"the view {config.view} is optional: without it nobody knows who the part is", "remove it there"
        )
