"""The option tables of the docs, from the same schema that editors use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..expressions import FUNCTIONS
from .types import DURATION, SIZE, as_duration, as_size

Document = dict[str, Any]
HEAD = f"""# Options

Every option of a site, by section. Written by `make schema` from the models that check a site; `lineside schema --markdown`
writes it for the parts installed on your machine.

A *duration* is a number and a unit (`us`, `ms`, `s`, `min`, `h`, `d`), as in `100ms`; a *size* likewise (`kB`, `MB`, `GB`,
`KiB`, ...), as in `500MB`. *Options by name* means one entry for each name: `tags: {{oil_temp: {{...}}, stop: {{...}}}}`.
Where nothing stands under "default" the option may be left out; **required** ones may not.

An *expression* is made of full names of tags (`plc.oil_temp`), numbers, `+ - * / // % **`, comparisons, `and`, `or`, `not`, and the
functions {", ".join(f"`{name}`" for name in FUNCTIONS)}:
`where(plc.speed > 10, plc.power / plc.speed, 0)`. A text tag is compared by `==` and `!=` with a text in quotes:
`plc.recipe == "A7" and plc.speed > 90`.

`!secret NAME` stands for a text that should not be in the site, such as a password: it is looked up in the environment as
`LINESIDE_SECRET_NAME`, then in `secrets.yaml` beside the site (`name: text`). `!include FILE` takes the options of an entry from
another file, found from the one that includes it.
"""


def markdown(schema: Document) -> str:
    """A page with a table for each section and each kind of driver and stage."""
    lines = [HEAD]
    for name, section in schema["properties"].items():
        lines += [f"## {name}", ""]
        entry = section.get("items") or section.get("additionalProperties") or section
        if entry is not section:
            lines += ["A list of entries." if section["type"] == "array" else "Entries by name.", ""]
        if cases := entry.get("allOf"):
            lines += ["Each names its kind and takes the options of that kind.", ""]
            for case in cases:
                ((key, kind),) = ((k, v["const"]) for k, v in case["if"]["properties"].items())
                lines += [f"### {key}: {kind}", "", *tables(schema, _named(schema, case["then"]))]
        elif "$ref" in entry:
            lines += tables(schema, _named(schema, entry))
        else:
            lines += ["The package that brings it is not installed here.", ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def tables(schema: Document, model: Document) -> Iterator[str]:
    """The table of a model, then one for each model below it, once."""
    waiting, seen = [("", model)], set()
    while waiting:
        path, model = waiting.pop(0)
        if model["title"] in seen:
            continue
        seen.add(model["title"])
        words = model.get("description", "").split("\n\n")[0].replace("\n", " ")
        yield f"`{path.rstrip('.')}`: {words[:1].lower()}{words[1:]}" if path else words
        yield from ("", "| option | type | default | meaning |", "|---|---|---|---|")
        for name, option in model.get("properties", {}).items():
            default = "**required**" if name in model.get("required", ()) else _default(option)
            yield f"| `{name}` | {_cell(_type(option))} | {default} | {_cell(option.get('description', ''))} |"
            waiting += [(f"{path}{name}{step}.", _named(schema, found)) for step, found in _below(option)]
        yield ""


def _below(option: Document) -> Iterator[tuple[str, Document]]:
    """(what is added to the path, reference) for each model inside an option."""
    if "$ref" in option:
        yield "", option
    for found in option.get("anyOf", ()):
        yield from _below(found)
    for step, key in ((".NAME", "additionalProperties"), ("[]", "items")):
        if isinstance(option.get(key), dict):
            yield from ((step + more, found) for more, found in _below(option[key]))


def _named(schema: Document, reference: Document) -> Document:
    found: Document = schema["$defs"][reference["$ref"].removeprefix("#/$defs/")]
    return found


def _type(option: Document) -> str:
    if "$ref" in option:
        return "options"
    if "anyOf" in option:
        return " or ".join(_type(o) for o in option["anyOf"] if o.get("type") != "null")
    if "const" in option or "enum" in option:
        return ", ".join(f"`{value}`" for value in option.get("enum", [option.get("const")]))
    kind = option.get("type")
    if isinstance(kind, list):
        return " or ".join(_type({"type": k}) for k in kind)
    if kind == "object":
        inner = option.get("additionalProperties")
        return f"{_type(inner)} by name" if isinstance(inner, dict) else "options"
    if kind == "array":
        if "prefixItems" in option:
            return f"[{', '.join(_type(item) for item in option['prefixItems'])}]"
        return f"list of {_type(option.get('items', {}))}"
    if kind in ("integer", "number"):
        return ("whole number" if kind == "integer" else "number") + _bounds(option)
    named = {DURATION: "duration", SIZE: "size"}.get(option.get("pattern", ""))
    return named or {"string": "text", "boolean": "`true`, `false`"}.get(str(kind), "any")


def _bounds(option: Document) -> str:
    if "minimum" in option and "maximum" in option:
        return f", {option['minimum']:g} to {option['maximum']:g}"
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return "".join(f", {word} {option[key]:g}" for key, word in words.items() if key in option)


def _default(option: Document) -> str:
    value = option.get("default")
    if value in (None, "", [], {}):
        return ""
    kind = _type(option)
    if isinstance(value, float | int) and kind in ("duration", "size"):
        return f"`{as_duration(value) if kind == 'duration' else as_size(round(value))}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
