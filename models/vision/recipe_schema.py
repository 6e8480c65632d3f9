"""The JSON Schema of a recipe, for editors, from the same models that check it."""

from __future__ import annotations

from typing import Any

from edge import option_tables

from .recipe_config import RecipeConfig
from .tools.table import TOOLS

HEAD = """# Options of a recipe

Every option of a recipe ([recipes.md](recipes.md)), then those of each tool. Written by `make schema` from the models that check a
recipe; `lineside station schema --markdown` writes it for what is installed on your machine. A *duration* is a number and a unit,
as in `100ms`. Where nothing stands under "default" the option may be left out; **required** ones may not.
"""


def markdown() -> str:
    """The same as tables, to read."""
    document = schema()
    lines = [HEAD, "## recipe", "", *option_tables(document, document)]
    for name in TOOLS:
        lines += [f"## tool: {name}", "", *option_tables(document, document["$defs"][f"tool {name}"])]
    return "\n".join(lines).rstrip("\n") + "\n"


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
        "title": "Tool",
        "description": "The options of the tool that it names, see below.",
        "type": "object",
        "required": ["tool"],
        "properties": {"tool": {"enum": list(TOOLS), "description": "name of the tool"}},
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
