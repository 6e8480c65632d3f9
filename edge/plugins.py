"""Finds parts by entry-point name. Names come from package metadata; only what is used is imported."""

from __future__ import annotations

import difflib
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .errors import ConfigFault

GROUPS = ("drivers", "stages", "readers", "engines", "commands", "configs", "scans", "sims", "seals", "proofs")
_extra: dict[tuple[str, str], Any] = {}


@cache
def _group(group: str) -> dict[str, EntryPoint]:
    assert group in GROUPS, group
    return {point.name: point for point in entry_points(group=f"lineside.{group}")}


def names(group: str) -> list[str]:
    """Names registered in a group, without importing anything."""
    return sorted({*_group(group), *(name for kind, name in _extra if kind == group)})


def find(group: str, name: str) -> Any:
    """The object behind a name. Raises ConfigFault with a near miss, or with what is missing to import it."""
    if (group, name) in _extra:
        return _extra[group, name]
    try:
        point = _group(group)[name]
    except KeyError:
        near = difflib.get_close_matches(name, names(group), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"installed here: {', '.join(names(group)) or 'none'}"
        hint += "; a new one is found after its package was installed again"
        raise ConfigFault(f"no {group[:-1]} is called {name!r}", hint=hint) from None
    try:
        return point.load()
    except ImportError as error:
        raise ConfigFault(
            f"{group[:-1]} {name!r} needs a package that is not installed: {error.name or error}",
            hint="install lineside with the extra that brings it (vision, onnx, plane, updates)",
        ) from error


def register(group: str, name: str, thing: Any) -> None:
    """Add a part for this process only: for tests and for trying out a driver before it is packaged."""
    assert group in GROUPS, group
    _extra[group, name] = thing
