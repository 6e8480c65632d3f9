"""What the records of parts say of the process that made them: hours that are out of the ordinary, and what lengths it holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge import Event

from .charts import Capability, capability, of_rates
from .ledger import Part

FEWEST = 20  # parts of a lot that say anything of its share


@dataclass(frozen=True)
class Odd:
    """A lot of one stage that began at `ts` (ns UTC): its NG parts, their `usual` share, and the run rules that it breaks."""

    stage: str
    ts: int
    ng: int
    of: int
    usual: float
    rules: list[str]


def odd_lots(parts: Iterable[Part], every: int) -> list[Odd]:
    """Lots of `every` ns, by the p chart of the NG parts of each stage and the run rules. Fewer than 20 parts are no lot."""
    lots: dict[str, dict[int, list[bool]]] = {}
    for part in parts:
        lots.setdefault(part.stage, {}).setdefault(part.ts // every, []).append(part.verdict == "ng")
    out: list[Odd] = []
    for stage in sorted(lots):
        found = sorted((lot, sum(ng), len(ng)) for lot, ng in lots[stage].items() if len(ng) >= FEWEST)
        if not found:
            continue
        lot, ng, of = (np.array(column, np.int64) for column in zip(*found, strict=True))
        chart = of_rates(ng, of)
        for i in np.flatnonzero(np.any(list(chart.broken.values()), axis=0)).tolist():
            rules = [rule for rule, broken in chart.broken.items() if broken[i]]
            out.append(Odd(stage, int(lot[i]) * every, int(ng[i]), int(of[i]), chart.centre, rules))
    return out


@dataclass(frozen=True)
class Length:
    """A measured length (`view.tool.name`, its unit at the end) of `parts` parts against the limits of its tool."""

    stage: str
    recipe: str
    name: str
    low: float | None
    high: float | None
    parts: int
    can: Capability


def lengths(events: Iterable[Event]) -> list[Length]:
    """Of the inspections, in the journal's order: each length whose tool has a limit in its unit, under the newest limits."""
    values: dict[tuple[str, str, str], tuple[tuple[float | None, float | None], list[float]]] = {}
    for event in events:
        tools, measured = event.data.get("tools"), event.data.get("measured")
        if event.kind != "inspection" or not isinstance(tools, dict) or not isinstance(measured, dict):
            continue
        for name, value in measured.items():
            limits = _limits(name, tools)
            if limits is None or not isinstance(value, int | float):
                continue
            at = (event.key, str(event.data.get("recipe", "")), name)
            if at not in values or values[at][0] != limits:
                values[at] = (limits, [])
            values[at][1].append(float(value))
    return [
        Length(*at, *limits, len(found), capability(np.array(found), *limits))
        for at, (limits, found) in sorted(values.items())
    ]


def _limits(name: str, tools: dict[str, Any]) -> tuple[float | None, float | None] | None:
    """What the tool was told of the length of that name; None where it has no limit in its unit, or the two are one."""
    tool, _, length = name.rpartition(".")
    told = tools.get(tool)
    if (
        not isinstance(told, dict)
        or not length.endswith(f"_{told.get('unit')}")
        or "_least_" in length
        or "_most_" in length
    ):
        return None
    low, high = told.get("least"), told.get("most")
    return None if (low is None and high is None) or low == high else (low, high)
