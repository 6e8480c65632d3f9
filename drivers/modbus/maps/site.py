"""The Modbus tags of a site, one map for each connection and each unit below it: to have them in a spreadsheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge import load_site

from ..options import ModbusConfig, ModbusPoint
from .contract import Map


def is_one(data: Any) -> bool:
    return isinstance(data, dict) and "device" in data and "drivers" in data


def read(path: Path, name: str) -> list[Map]:
    """Templates are filled in. A site with faults is refused by line."""
    site = load_site(path)
    if site.problems:
        out = Map(name)
        for problem in site.problems[:20]:
            where = ".".join(map(str, problem.path))
            said = f"{where}: {problem.message}" if where else problem.message
            out.fault(problem.place.line, f"{said}, {problem.hint}" if problem.hint else said)
        return [out]
    found: list[Map] = []
    for driver, config in site.drivers.items():
        if isinstance(config, ModbusConfig):
            parts = [(driver, config.tags), *((f"{driver}.{unit}", part.tags) for unit, part in config.units.items())]
            found += [
                _map(Map(f"{name}:{part}", part, source=f"{part} of {name}"), tags) for part, tags in parts if tags
            ]
    return found or [Map(name).close()]


def _map(out: Map, tags: dict[str, ModbusPoint]) -> Map:
    for row, (tag, point) in enumerate(tags.items(), 1):
        out.keep(tag, options_of(point), row)
    return out


def options_of(point: ModbusPoint) -> dict[str, Any]:
    """The options of a tag as a site writes them; those that say nothing are left out."""
    options = point.model_dump(exclude_defaults=True) | {"address": str(point.address)}
    if len(point.none) == 1:
        options["none"] = point.none[0]
    for key in options.keys() & {"stale_after", "every"}:
        options[key] = f"{options[key]:.9g}s"
    if point.writable is not None:
        said = point.writable.model_dump(exclude_defaults=True)
        times = {key: f"{said[key]:.9g}s" for key in ("every", "expires") if key in said}
        lists = {key: list(said[key]) for key in ("range", "one_of") if key in said}
        options["writable"] = said | times | lists
    return options
