"""The section `alerts:` of a plane's file, with what its parts say of each other."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from edge import Tree, bind_options

from .alert_options import TYPES, ChannelOptions, RouteOptions

PARTS = ("channels", "routes")
MOST_NAME = 60  # characters


@dataclass(frozen=True, slots=True)
class Alerts:
    """Who is told of what."""

    channels: dict[str, ChannelOptions] = field(default_factory=dict)
    routes: dict[str, RouteOptions] = field(default_factory=dict)


def read_alerts(tree: Tree, data: Any) -> Alerts:
    """Its faults go into the tree."""
    out, at = Alerts(), ("alerts",)
    written: dict[str, dict[Any, Any]] = {}
    given = _entries(tree, at, data)
    for part in given:
        if part not in PARTS:
            tree.fault((*at, part), f"unknown option {str(part)!r}", hint_of(str(part), PARTS), key=True)
    for part in PARTS:
        written[part] = _entries(tree, (*at, part), given.get(part))
        for name in written[part]:
            if not str(name).isidentifier() or len(str(name)) > MOST_NAME:
                said = f"{name!r} is no name: use up to {MOST_NAME} letters, digits and _"
                tree.fault((*at, part, name), said, key=True)
    for name, entry in written["channels"].items():
        if channel := _channel(tree, (*at, "channels", name), entry):
            out.channels[name] = channel
    for name, entry in written["routes"].items():
        if route := bind_options(RouteOptions, entry, tree, (*at, "routes", name)):
            out.routes[name] = route
            _goes_somewhere(tree, (*at, "routes", name), route, written["channels"])
    return out


def _channel(tree: Tree, at: tuple[Any, ...], entry: Any) -> ChannelOptions | None:
    kind = entry.get("type") if isinstance(entry, dict) else ""
    model = TYPES.get(kind, ChannelOptions) if isinstance(kind, str) else ChannelOptions
    if model is ChannelOptions and isinstance(entry, dict):
        if "type" not in entry:
            tree.fault((*at, "type"), "is missing", f"there are {', '.join(TYPES)}")
        else:
            tree.fault((*at, "type"), f"no channel is of type {str(kind)!r}", hint_of(str(kind), TYPES))
        return None
    bound = bind_options(model, entry, tree, at)
    for name in model.hidden if isinstance(entry, dict) else ():
        if entry.get(name) and (*at, name) not in tree.secrets:
            tree.fault((*at, name), "a secret does not belong into this file", f"write `{name}: !secret NAME`")
    return bound


def _goes_somewhere(tree: Tree, at: tuple[Any, ...], route: RouteOptions, channels: dict[Any, Any]) -> None:
    lists = [((*at, "to"), route.to)]
    lists += [((*at, "escalate", k, "to"), step.to) for k, step in enumerate(route.escalate)]
    for path, names in lists:
        for k, name in enumerate(names):
            if name not in channels:
                tree.fault((*path, k), f"no channel is called {name!r}", hint_of(name, channels))


def hint_of(given: str, known: Iterable[Any]) -> str:
    names = [str(name) for name in known]
    near = difflib.get_close_matches(given, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}"


def _entries(tree: Tree, at: tuple[Any, ...], found: Any) -> dict[Any, Any]:
    if found is not None and not isinstance(found, dict):
        if not any(problem.path == at for problem in tree.problems):
            tree.fault(at, "expected entries (name: options)")
        return {}
    return found or {}
