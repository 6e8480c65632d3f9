"""The JSON Schema of a site, from the same models that check it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from .. import plugins
from ..errors import ConfigFault
from .site import FRAME


def schema() -> dict[str, Any]:
    """For the parts installed here. A part that cannot be imported is left open instead of missing."""
    definitions: dict[str, Any] = {}

    def define(name: str, model: type[BaseModel]) -> dict[str, Any]:
        document = model.model_json_schema(ref_template="#/$defs/{model}", by_alias=True)
        definitions.update(document.pop("$defs", {}))
        definitions[name] = document
        return {"$ref": f"#/$defs/{name}"}

    def chosen(section: str, key: str) -> dict[str, Any]:
        cases = []
        for name in plugins.names(section):
            try:
                model = plugins.find(section, name).Config
            except ConfigFault:
                continue
            cases.append({"if": {"properties": {key: {"const": name}}}, "then": define(f"{key} {name}", model)})
        kinds = {"enum": plugins.names(section)}
        entry = {"type": "object", "required": [key], "properties": {key: kinds}, "allOf": cases}
        return {"type": "object", "additionalProperties": entry}

    properties: dict[str, Any] = {
        "drivers": chosen("drivers", "driver"),
        "stages": chosen("stages", "stage"),
        "device": define("device", FRAME["device"]),
        "journal": define("journal", FRAME["journal"]),
        "tests": {"type": "array", "items": define("test", FRAME["tests"])},
    }
    for key in ("tags", "alarms", "simulate"):
        properties[key] = {"type": "object", "additionalProperties": define(key, FRAME[key])}
    for name in plugins.names("configs"):
        try:
            properties[name] = define(f"section {name}", plugins.find("configs", name))
        except ConfigFault:
            properties[name] = {}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A Lineside site",
        "type": "object",
        "required": ["device"],
        "additionalProperties": False,
        "properties": {key: properties[key] for key in (*FRAME, *plugins.names("configs"))},
        "$defs": dict(sorted(definitions.items())),
    }
