"""A bounded walk of a server's address space (part 4, 5.8): what there is, and the tag line of each variable."""

from __future__ import annotations

import keyword
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from asyncua import Client, ua

from edge import DeviceRefused, Quality

from .reading import Reading
from .values import kind_of, node_of, number_of, text_of

AT_ONCE = 100  # nodes in one request
MOST_CHILDREN = 10_000  # of one node
OF_ITSELF = {  # what every server says about itself; walked only where asked for
    ua.NodeId(ua.Int32(n)) for n in (ua.ObjectIds.Server, ua.ObjectIds.Aliases, ua.ObjectIds.Locations)
}
PROPERTY, HIERARCHY = (ua.NodeId(ua.Int32(n)) for n in (ua.ObjectIds.HasProperty, ua.ObjectIds.HierarchicalReferences))
SHOWN = ua.NodeClass.Object, ua.NodeClass.Variable, ua.NodeClass.Method


@dataclass
class Found:
    """A node on the way; `unit` is the node of its EngineeringUnits."""

    node: ua.NodeId
    kind: ua.NodeClass
    path: tuple[str, ...]
    below: list[Found] = field(default_factory=list)
    unit: ua.NodeId | None = None


async def walk(client: Client, start: str, most: int) -> list[dict[str, Any]]:
    """Everything below `start` (a node id; empty: the Objects folder), `most` nodes at most, each after its parent."""
    namespaces = await client.get_namespace_array()
    try:
        first = node_of(start, namespaces) if start else ua.NodeId(ua.Int32(ua.ObjectIds.ObjectsFolder))
    except ValueError as error:
        raise DeviceRefused(str(error)) from None
    if first is None:
        raise DeviceRefused(f"the server has no namespace of {start}", hint="leave the node away to see what there is")
    top = Found(first, ua.NodeClass.Object, ())
    await _descend(client, top, most)
    flat = _flat(top)
    return await _rows(client, flat, namespaces)


async def _descend(client: Client, top: Found, most: int) -> None:
    """Level by level, so that what is near is there though the walk ends at `most`."""
    level, seen, left = [top], {top.node, *OF_ITSELF}, most
    while level and left > 0:
        deeper: list[Found] = []
        for k in range(0, len(level), AT_ONCE):
            some = level[k : k + AT_ONCE]
            for parent, references in zip(some, await _children(client, [f.node for f in some]), strict=True):
                for found in _taken(parent, references, seen):
                    if left > 0:
                        left -= 1
                        parent.below.append(found)
                        deeper.append(found)
        level = deeper


def _taken(parent: Found, references: Sequence[ua.ReferenceDescription], seen: set[ua.NodeId]) -> list[Found]:
    out = []
    for reference in references:
        node, name = reference.NodeId, str(reference.BrowseName.Name or "")
        if reference.ReferenceTypeId == PROPERTY:
            if name == "EngineeringUnits":
                parent.unit = node
        elif reference.NodeClass in SHOWN and node not in seen:
            seen.add(node)
            out.append(Found(node, reference.NodeClass, (*parent.path, name)))
    return out


async def _children(client: Client, nodes: Sequence[ua.NodeId]) -> list[list[ua.ReferenceDescription]]:
    """The hierarchical references of each node. Raises DeviceRefused where the first one is none."""
    wanted = [
        ua.BrowseDescription(
            NodeId=node,
            BrowseDirection=ua.BrowseDirection.Forward,
            ReferenceTypeId=HIERARCHY,
            IncludeSubtypes=True,
            ResultMask=ua.UInt32(ua.BrowseResultMask.All),
        )
        for node in nodes
    ]
    results = await client.uaclient.browse(ua.BrowseParameters(NodesToBrowse=wanted))
    if len(nodes) == 1 and not results[0].StatusCode.is_good():
        raise DeviceRefused(f"the server refuses {nodes[0].to_string()}: {results[0].StatusCode.name}")
    out = []
    for result in results:
        references = list(result.References or [])
        while result.ContinuationPoint and len(references) < MOST_CHILDREN:
            more = ua.BrowseNextParameters(ContinuationPoints=[result.ContinuationPoint])
            (result,) = await client.uaclient.browse_next(more)
            references += result.References or []
        out.append(references[:MOST_CHILDREN])
    return out


def _flat(top: Found) -> list[Found]:
    out, waiting = [], list(reversed(top.below))
    while waiting:
        out.append(found := waiting.pop())
        waiting += reversed(found.below)
    return out


async def _rows(client: Client, flat: Sequence[Found], namespaces: Sequence[str]) -> list[dict[str, Any]]:
    reading, names = await Reading.of(client), _Names()
    variables = [found for found in flat if found.kind == ua.NodeClass.Variable]
    units = [found.unit for found in variables if found.unit is not None]
    values = dict(zip([v.node for v in variables], await reading.values([v.node for v in variables]), strict=True))
    shown = dict(zip(units, await reading.values(units), strict=True))
    rows = []
    for found in flat:
        node, path = written(found.node, namespaces), "/".join(map(_plain, found.path))
        row: dict[str, Any] = {"node": node, "path": path, "kind": found.kind.name, "name": "", "tag": None}
        if found.kind == ua.NodeClass.Variable:
            row |= _variable(values[found.node], shown.get(found.unit) if found.unit is not None else None)
            row["name"] = names.of(found.path)
            if row["tag"] is not None:
                row["tag"] = {"node": node, **row["tag"], **({"unit": row["unit"]} if row["unit"] else {})}
        else:
            row["note"] = f"{path} ({found.kind.name}, {node})"
        rows.append(row)
    return rows


def _variable(found: ua.DataValue, unit: ua.DataValue | None) -> dict[str, Any]:
    variant = found.Value
    value = variant.Value if variant is not None else None
    status = found.StatusCode or ua.StatusCode()
    good = status.is_good()
    kind = variant.VariantType.name if variant is not None and value is not None else ""
    kind += f"[{len(value)}]" if isinstance(value, list) else ""
    said = _plain(str(value))[:60] if good else status.name
    text = text_of(value, variant) is not None
    fits = not good or text or number_of(value)[1] != Quality.BAD
    note = f"{kind} = {said}" if good and kind else said
    note += "" if fits else f": {kind_of(value)}"
    named = getattr(unit.Value.Value if unit is not None and unit.Value is not None else None, "DisplayName", None)
    return {
        "type": kind,
        "value": _json(value),
        "status": "Good" if good else status.name,
        "unit": _plain(str(named.Text or ""))[:20] if named is not None else "",
        "note": note,
        "tag": {"type": "text"} if text else {} if fits else None,
    }


def _json(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, bool | int | str) else None


def written(node: ua.NodeId, namespaces: Sequence[str]) -> str:
    """A node id as a site writes it: by the name of its namespace, where it has one."""
    text, index = node.to_string(), node.NamespaceIndex
    uri = namespaces[index] if 0 < index < len(namespaces) else ""
    if not uri or ";" in uri:
        return text
    return f"nsu={uri};{text.partition(';')[2]}"


class _Names:
    """A name of its own for each variable, fit for a tag: its last step, with those before it where that is taken."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, path: Sequence[str]) -> str:
        steps = [re.sub(r"\W+", "_", unicodedata.normalize("NFKC", step)).strip("_").lower() for step in path]
        name = ""
        for k in range(len(steps) - 1, -1, -1):
            name = "_".join(filter(None, steps[k:])) or "node"
            name = name if name.isidentifier() else f"n_{name}"
            name += "_" if keyword.iskeyword(name) or name in ("true", "false", "null") else ""
            if name not in self._taken:
                break
        known, n = name, 1
        while name in self._taken:
            n += 1
            name = f"{known}_{n}"
        self._taken.add(name)
        return name


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
