"""The tools by the name that a recipe calls them."""

from __future__ import annotations

import difflib
from typing import Any

from edge import ConfigFault

from .blob import BlobTool
from .caliper import CaliperTool
from .classify import ClassifyTool
from .code import CodeTool
from .colour import ColourTool
from .count import CountTool
from .detect import DetectTool
from .edge import EdgeTool
from .heatmap import HeatMapTool
from .lamps import LampsTool
from .presence import PresenceTool
from .template import TemplateTool
from .text import TextTool
from .texture import TextureTool
from .variation import VariationTool

TOOLS: dict[str, Any] = {  # classes that keep the contract of a Tool
    "blob": BlobTool,
    "caliper": CaliperTool,
    "classify": ClassifyTool,
    "code": CodeTool,
    "colour": ColourTool,
    "count": CountTool,
    "detect": DetectTool,
    "edge": EdgeTool,
    "heatmap": HeatMapTool,
    "lamps": LampsTool,
    "presence": PresenceTool,
    "template": TemplateTool,
    "text": TextTool,
    "texture": TextureTool,
    "variation": VariationTool,
}


def tool(name: str) -> Any:
    """The class of that name. Raises ConfigFault with a near miss."""
    if name in TOOLS:
        return TOOLS[name]
    near = difflib.get_close_matches(name, TOOLS, 1)
    raise ConfigFault(
        f"no tool is called {name!r}", hint=f"did you mean {near[0]!r}?" if near else f"there are {', '.join(TOOLS)}"
    )
