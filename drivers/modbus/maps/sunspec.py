"""SunSpec information models (JSON) -> templates.

By the SunSpec Information Model Specification 1.2 and its JSON encoding: a model is a group of points, laid out one after the
other from its ID on; groups inside follow their parent's points. Scale factors are points of type sunssf (a power of ten).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .contract import Map, as_name

START, FIRST = 40069, 40002  # where a model lies: behind "SunS", and model 1 with its 65 registers, which comes first
DEEPEST = 6
NONE = {
    "int16": 0x8000,
    "uint16": 0xFFFF,
    "raw16": None,
    "int32": 0x80000000,
    "uint32": 0xFFFFFFFF,
    "int64": 0x8000000000000000,
    "uint64": 0xFFFFFFFFFFFFFFFF,
    "enum16": 0xFFFF,
    "enum32": 0xFFFFFFFF,
    "sunssf": 0x8000,
    "count": 0xFFFF,
    "eui48": 0xFFFF_FFFF_FFFF,
}
STORED = {
    "acc16": "uint16",
    "acc32": "uint32",
    "acc64": "uint64",
    "enum16": "uint16",
    "enum32": "uint32",
    "sunssf": "int16",
    "count": "uint16",
    "raw16": "uint16",
    "ipaddr": "uint32",
    "eui48": "uint64",
    "float32": "float32",
    "float64": "float64",
    **{kind: kind for kind in ("int16", "uint16", "int32", "uint32", "int64", "uint64")},
}
SIZES = {"uint16": 1, "int16": 1, "uint32": 2, "int32": 2, "float32": 2, "uint64": 4, "int64": 4, "float64": 4}
BITS = {"bitfield16": 1, "bitfield32": 2, "bitfield64": 4}


def is_one(data: Any) -> bool:
    return isinstance(data, dict) and "group" in data


def read(
    data: dict[str, Any],
    name: str,
    start: int | None = None,
    times: Mapping[str, int] | None = None,
    used: set[str] | None = None,
) -> Map:
    """One model. `start`: address of its first register (its ID). `times`: how often a group is there, by its name; those that
    the model has go into `used`."""
    number, group = data.get("id"), data["group"]
    out = Map(name, source="SunSpec information model", licence="Apache-2.0 (SunSpec Alliance)")
    if not isinstance(group, dict):
        out.fault("group", "must be a group with its points")
        return out
    at = start if start is not None else FIRST if number == 1 else START
    label = group.get("label") or group.get("name") or name
    out.description = f"SunSpec model {number}: {label}, first register (its ID) at holding:{at}"
    _Layout(out, at, times or {}, set() if used is None else used).group(group, "", "", {}, 1)
    return out.close()


class _Layout:
    """A walk over a model in the order of its registers."""

    def __init__(self, out: Map, at: int, times: Mapping[str, int], used: set[str]) -> None:
        self.out, self.at, self.times, self.used = out, at, times, used

    def group(self, group: Any, path: str, prefix: str, scales: dict[str, str], depth: int) -> None:
        where = f"{path}.{group.get('name', '?')}".lstrip(".") if isinstance(group, dict) else path
        points, groups = (group.get("points", []), group.get("groups", [])) if isinstance(group, dict) else (None, None)
        if not isinstance(points, list) or not isinstance(groups, list) or depth > DEEPEST:
            said = (
                f"groups are more than {DEEPEST} deep"
                if depth > DEEPEST
                else "a group needs lists of points and groups"
            )
            self.out.fault(where or "group", said)
            return
        known = [point for point in points if isinstance(point, dict)]
        own = {
            str(p.get("name")): prefix + as_name(p.get("name"), lower=False) for p in known if p.get("type") == "sunssf"
        }
        scales = scales | own
        for index, point in enumerate(points):
            row = f"{where}.{point.get('name', index)}" if isinstance(point, dict) else f"{where}.points[{index}]"
            self.point(point, row, prefix, scales)
        for inner in groups:
            self.repeated(inner, where, prefix, scales, depth)

    def repeated(self, group: Any, where: str, prefix: str, scales: dict[str, str], depth: int) -> None:
        """A group inside: as often as its `count` says. How often a count of 0 or a name means is known only on site: once."""
        count = self.times.get(str(group.get("name")), group.get("count", 1)) if isinstance(group, dict) else 1
        name = as_name(group.get("name", "group"), lower=False) if isinstance(group, dict) else "group"
        self.used |= {str(group.get("name"))} & self.times.keys() if isinstance(group, dict) else set()
        fixed = isinstance(count, int) and not isinstance(count, bool) and count > 0
        if not fixed:
            times = "as often as the model is long" if count == 0 else f"{count} times"
            self.out.note(f"{where}.{name}", f"is there {times}; the first one is read (--repeat {name}=N)")
        for n in range(1, count + 1 if fixed else 2):
            if self.at > 65535 or not self.out.ok:
                self.out.fault(
                    f"{where}.{name}", f"runs past the last register in its repetition {n}"
                ) if self.out.ok else None
                return
            once = fixed and count == 1
            self.group(group, where, f"{prefix}{name}_" if once else f"{prefix}{name}_{n}_", scales, depth + 1)

    def point(self, point: Any, row: str, prefix: str, scales: dict[str, str]) -> None:
        kind, size = (point.get("type"), point.get("size")) if isinstance(point, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= 1000:
            self.out.fault(row, "a point needs name, type and size (in registers)")
            return
        if point.get("count", 1) != 1:
            self.out.fault(row, "an array of points is not known here; write its points one by one")
            return
        at, self.at = self.at, self.at + size
        if at + size > 65536:
            self.out.fault(row, f"at register {at} it runs past the last one, 65535")
            return
        name = prefix + as_name(point.get("name"), lower=False)
        about = str(point.get("label") or point.get("desc") or "")
        if kind == "pad":
            return
        if kind in BITS:
            self.bits(point, row, name, at, about)
        elif kind == "string":
            self.out.text(name, {"address": f"holding:{at}"}, size, row, about)
        elif kind not in STORED:
            known = kind == "ipv6addr"
            (self.out.note if known else self.out.fault)(
                row, f"a point of type {kind!r} cannot be read" + " as a number" * known
            )
        elif size != SIZES[STORED[kind]]:
            self.out.fault(row, f"{kind} has {SIZES[STORED[kind]]} registers, not {size}")
        else:
            self.number(point, row, name, at, scales, about)

    def number(self, point: dict[str, Any], row: str, name: str, at: int, scales: dict[str, str], about: str) -> None:
        kind, factor = point["type"], point.get("sf")
        options: dict[str, Any] = {
            "address": f"holding:{at}",
            "type": STORED[kind],
            "unit": str(point.get("units") or ""),
        }
        options["none"] = NONE.get(kind)
        options["labels"] = dict(_symbols(point)) if kind.startswith("enum") else {}
        if isinstance(factor, int) and not isinstance(factor, bool) and -10 <= factor <= 10:
            options["scale"] = float(f"1e{factor}") if factor else None
        elif isinstance(factor, str) and factor in scales:
            options["scale_from"] = scales[factor]
        elif factor is not None:
            self.out.fault(row, f"its scale factor {factor!r} is no point of this model")
            return
        if options["type"] == "uint16":
            del options["type"]
        self.out.add(name, options, row, about)

    def bits(self, point: dict[str, Any], row: str, name: str, at: int, about: str) -> None:
        """A field of bits: one tag for each that has a meaning, else the number. The high word comes first."""
        words, symbols = BITS[point["type"]], dict(_symbols(point))
        if point["size"] != words:
            self.out.fault(row, f"{point['type']} has {words} registers, not {point['size']}")
            return
        if not symbols:
            kind = {1: None, 2: "uint32", 4: "uint64"}[words]
            options = {"address": f"holding:{at}", "type": kind, "none": (1 << 16 * words) - 1}
            self.out.add(name, options, row, about)
        for bit, text in symbols.items():
            if not 0 <= bit < 16 * words:
                self.out.fault(row, f"the symbol {text} is bit {bit}, and there are {16 * words}")
                continue
            where = f"holding:{at + words - 1 - bit // 16}.{bit % 16}"
            self.out.add(
                f"{name}_{as_name(text, lower=False)}", {"address": where, "none": 0xFFFF}, row, f"{about}: {text}"
            )


def _symbols(point: dict[str, Any]) -> list[tuple[int, str]]:
    found = point.get("symbols")
    good = [s for s in found if isinstance(s, dict)] if isinstance(found, list) else []
    return [(s["value"], str(s.get("name", ""))) for s in good if type(s.get("value")) is int]
