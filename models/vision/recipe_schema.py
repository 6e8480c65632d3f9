"""The JSON Schema of a recipe, for editors, from the same models that check it."""

from __future__ import annotations

from typing import Any

from .recipe import RecipeConfig
from .tools.table import TOOLS


def schema() -> dict[str, Any]:
    """With the options of every tool under its name."""
    document = RecipeConfig.model_json_schema(ref_template="#/$defs/{model}", by_alias=True)
    definitions: dict[str, Any] = document.pop("$defs")
    cases = []
    for name, kind in TOOLS.items():
        options = kind.Config.model_json_schema(ref_template="#/$defs/{model}", by_alias=True)
        definitions |= options.pop("$defs", {})
        definitions[f"tool {name}"] = options
        cases.append({"if": {"properties": {"tool": {"const": name}}}, "then": {"$ref": f"#/$defs/tool {name}"}})
    definitions["tool"] = {
        "type": "object",
        "required": ["tool"],
        "properties": {"tool": {"enum": list(TOOLS)}},
        "allOf": cases,
    }
    for group in ("tools", "shadow"):
        definitions["ViewConfig"]["properties"][group]["additionalProperties"] = {"$ref": "#/$defs/tool"}
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **document,
        "title": "A recipe of a Lineside station",
    }
    return {**head, "$defs": dict(sorted(definitions.items()))}
