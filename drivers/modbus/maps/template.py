"""Our own templates: read as a map (to check one before a site uses it), and written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from ..options import ModbusConfig
from .contract import Map, as_name, faults_of, name_fault

ABOUT = ("description", "source", "licence")
MORE = tuple(name for name in ModbusConfig.from_template if name != "tags")  # what the device needs of every master
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_/%.-]*( [A-Za-z0-9_/%.-]+)*")
ORDER = ("address", "type", "length", "order", "scale", "scale_from", "offset", "unit", "none")
WORDS = {
    "true",
    "false",
    "null",
    "yes",
    "no",
    "on",
    "off",
}  # not all are words of YAML 1.2, but other readers are older


def is_one(data: Any) -> bool:
    return isinstance(data, dict) and "tags" in data and "device" not in data


def read(data: dict[str, Any], name: str, line: Callable[[tuple[Any, ...]], int]) -> Map:
    out = Map(name)
    out.description, out.source, out.licence = (str(data.get(key) or "") for key in ABOUT)
    may = (*ABOUT, *MORE, "tags")
    for key in data:
        if key not in may:
            out.fault(line((key,)), f"unknown option {str(key)!r} of a template; it may say {', '.join(may)}")
    out.more = {key: data[key] for key in MORE if key in data}
    for option, message in faults_of({"driver": "modbus", "url": "tcp://x", **out.more}, ModbusConfig):
        out.fault(line(tuple(option.split(".")[:1])), f"{option}: {message}")
    tags = data["tags"]
    if not isinstance(tags, dict):
        out.fault(line(("tags",)), "`tags` must be entries (name: options)")
        return out
    for tag, options in tags.items():
        row = line(("tags", tag))
        if not isinstance(options, dict):
            out.fault(row, f"{tag}: expected options (key: value)")
        elif why := name_fault(str(tag)):
            out.fault(row, why)
        else:
            out.keep(str(tag), options, row, spread=True)
    return out.close()


def text(found: Map) -> str:
    """The map as a template file."""
    lines = [f"{key}: {_scalar(value)}" for key, value in zip(ABOUT, _about(found), strict=True) if value]
    lines += [f"{key}: {_flow(value)}" for key, value in found.more.items()]
    lines.append("tags:")
    for line in found.lines:
        about = _comment(line.about) if line.about and as_name(line.about) != line.name.lower() else ""
        lines.append(f"  {line.name}: {{{', '.join(_options(line.options))}}}{about}")
    if found.notes:
        lines += ["# Left out, or read otherwise than the map means it:"]
        lines += [f"# {row}: {_one_line(message, 200)}" for row, message in found.notes]
    return "\n".join(lines) + "\n"


def _about(found: Map) -> tuple[str, str, str]:
    return found.description, found.source, found.licence


def _options(options: dict[str, Any]) -> Iterator[str]:
    """In the order in which people write them; a code for "not available" in hexadecimal."""
    for key in sorted(options, key=lambda key: ORDER.index(key) if key in ORDER else len(ORDER)):
        value = options[key]
        yield f"{key}: {_code(value) if key == 'none' else _flow(value)}"


def _code(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_code, value))}]"
    return f"0x{value:X}" if value > 9 else _flow(value)


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = str(value)
    if PLAIN.fullmatch(text) and text.lower() not in WORDS:
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in json.dumps(text, ensure_ascii=False))


def _comment(text: str) -> str:
    return f"  # {_one_line(text, 80)}"


def _one_line(text: str, most: int) -> str:
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain if len(plain) <= most else plain[: most - 3] + "..."
