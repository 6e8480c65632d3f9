"""Inverter maps as Home Assistant's solarman integrations read them (YAML) -> templates.

Both formats list `parameters`: groups of `items` with `registers` (low word first), a `rule` (1 and 3 unsigned, 2 and 4 signed,
5 text, 6 raw, 7 version, 8 date and time, 9 time, 10 raw), `scale`, `offset` (taken off before scaling), `uom`, `lookup`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from .contract import Map, as_name, side_by_side

MOST_ITEMS, MOST_REGISTERS = 5000, 64
RAW = {6: "bits", 7: "a version, one digit in four bits", 8: "date and time", 9: "a time of day", 10: "raw numbers"}
TABLES = {3: "holding", 4: "input"}
OCTAL = re.compile(r"0[0-7]{1,8}")
DIVIDERS = tuple(1 << n for n in range(1, 16))
Where = Callable[[tuple[Any, ...]], int]


def is_one(data: Any) -> bool:
    return isinstance(data, dict) and "parameters" in data


def read(data: dict[str, Any], name: str, line: Where, writable: bool = False) -> Map:
    """One map. `line`: the line of a path in the file. `writable`: allow writing where the map says in which range."""
    info = data.get("info")
    about = [str(info[key]) for key in ("manufacturer", "model") if info.get(key)] if isinstance(info, dict) else []
    out = Map(name, description=" ".join(about) or Path(name).stem.replace("_", " "), source="a solarman inverter map")
    reading = _Reading(out, data, writable)
    for path, item in _items(out, data, line):
        reading.item(item, line(path))
    return out.close()


def _items(out: Map, data: dict[str, Any], line: Where) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    groups = data["parameters"]
    if not isinstance(groups, list):
        out.fault(line(("parameters",)), "`parameters` must be a list of groups")
        return
    left = MOST_ITEMS
    for g, group in enumerate(groups):
        items = group.get("items", 0) if isinstance(group, dict) else 0
        if items is None:  # all of it is commented out
            continue
        if not isinstance(items, list):
            out.fault(line(("parameters", g)), "a group needs a list of `items`")
            continue
        for i, item in enumerate(items):
            path = ("parameters", g, "items", i)
            left -= 1
            if left < 0:
                out.fault(line(path), f"more than {MOST_ITEMS:,} items")
                return
            if isinstance(item, dict):
                yield path, {key: value for key, value in group.items() if key != "items"} | item
            else:
                out.fault(line(path), "an item needs options (name, rule, registers)")


class _Reading:
    def __init__(self, out: Map, data: dict[str, Any], writable: bool) -> None:
        self.out, self.writable = out, writable
        self.requests: list[tuple[int, int, int]] = []
        default = data.get("default")
        self.code = _code(default.get("code") if isinstance(default, dict) else None) or 3
        asked = data.get("requests")
        for request in asked if isinstance(asked, list) else ():
            if isinstance(request, dict) and (first := _whole(request.get("start"))) is not None:
                code = _code(request.get("mb_functioncode", request.get("code"))) or self.code
                last = _whole(request.get("end"))
                self.requests.append((first, first if last is None else last, code))

    def table(self, item: dict[str, Any], register: int) -> str | None:
        code = _code(item.get("code"))
        if code is None:
            code = next((c for first, last, c in reversed(self.requests) if first <= register <= last), self.code)
        return TABLES.get(code)

    def item(self, item: dict[str, Any], row: int) -> None:
        rule, numbers = _whole(item.get("rule")), item.get("registers")
        title = str(item.get("name") or item.get("platform") or "unnamed")[:100]
        if isinstance(numbers, list) and any(isinstance(n, list) for n in numbers):
            numbers = next((n for n in numbers if isinstance(n, list) and n), [])
            self.out.note(row, f"{title}: has other registers in another device; these are read: {numbers}")
        if isinstance(numbers, list):
            numbers = [n if (whole := _whole(n)) is None else whole for n in numbers]
        if rule is None or not 0 <= rule <= 10:
            self.out.fault(row, f"{title}: `rule` must be a number from 0 to 10, not {item.get('rule')!r}")
        elif rule == 0 or "sensors" in item:
            self.out.note(row, f"{title}: is computed from other rows; write it as a tag with an `expression`")
        elif numbers is None or numbers == []:
            self.out.note(row, f"{title}: names no registers; left out")
        elif not isinstance(numbers, list) or not 0 < len(numbers) <= MOST_REGISTERS or not all(map(_address, numbers)):
            self.out.fault(row, f"{title}: `registers` must list 1 to {MOST_REGISTERS} numbers from 0 to 65535")
        elif (table := self.table(item, min(numbers))) is None:
            self.out.fault(row, f"{title}: its function code is none that reads registers; 3 and 4 do")
        elif rule == 5:
            self.text(item, title, table, numbers, row)
        elif rule in RAW:
            self.raw(title, table, numbers, row, RAW[rule])
        else:
            self.number(item, title, table, numbers, row, signed=rule in (2, 4))

    def text(self, item: dict[str, Any], title: str, table: str, numbers: list[int], row: int) -> None:
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            self.raw(title, table, numbers, row, "a text whose registers do not follow each other")
            return
        self.out.text(as_name(title), {"address": f"{table}:{numbers[0]}"}, len(numbers), row, title)

    def raw(self, title: str, table: str, numbers: list[int], row: int, what: str) -> None:
        self.out.note(row, f"{title}: is {what}; its registers are read as they stand")
        for n, number in enumerate(numbers, 1):
            name = as_name(title) + (f"_{n}" if len(numbers) > 1 else "")
            self.out.add(name, {"address": f"{table}:{number}"}, row, title)

    def number(
        self, item: dict[str, Any], title: str, table: str, numbers: list[int], row: int, *, signed: bool
    ) -> None:
        lookup = item.get("lookup")
        bits = [e for e in lookup if isinstance(e, dict) and "bit" in e] if isinstance(lookup, list) else []
        labels, bit = _labels(lookup), _single_bit(item)
        if len(bits) > sum(map(bool, labels)):  # else most names are of the number, some given as a bit
            self.bits(bits, title, table, numbers, row)
            return
        labels |= _labels([{"key": 1 << e["bit"], "value": e.get("value")} for e in bits if _address(e["bit"])])
        if labels and not signed:  # the names belong to what stands in the register
            item = {key: value for key, value in item.items() if key not in ("scale", "offset", "divide")}
        if bit is not None and bit < 16 * len(numbers):
            address = f"{table}:{numbers[bit // 16]}.{bit % 16}"
            if max(labels, default=0) > 1:  # the names of what the mask leaves
                labels = {int(key != 0): text for key, text in labels.items()}
            self.out.add(as_name(title), {"address": address, "labels": labels}, row, title)
            return
        if not signed and (part := _part(item, numbers)) is not None:
            self.part(item, title, f"{table}:{part.number}.{part.bit}..{part.last}", part, row, labels)
            return
        if isinstance(item.get("mask"), int) and not signed:
            self.raw(title, table, numbers, row, f"in the bits {item['mask']:#x} of its registers")
            return
        place, kind = side_by_side(numbers), {1: "int16", 2: "int32", 4: "int64"}.get(len(numbers))
        magnitude = _yes(item.get("magnitude")) and signed
        if kind is None or place is None or (magnitude and (len(numbers) > 2 or item.get("offset"))):
            self.pieces(item, title, table, numbers, row, signed=signed)
            return
        kind = kind.replace("int", "signmag") if magnitude else kind if signed else f"u{kind}"
        scale, offset = self.scaled(item, title, row, signed=signed)
        options = {
            "address": f"{table}:{place[0]}",
            "type": kind if kind != "uint16" else None,
            "order": place[1],
            "scale": scale if scale != 1 else None,
            "offset": offset or None,
            "unit": _unit(item),
            "labels": labels if scale == 1 and not offset else {},
        }
        limits = _range(item, scale, offset) if self.writable and table == "holding" else None
        self.out.add(as_name(title), options | ({"writable": {"range": limits}} if limits else {}), row, title)

    def part(self, item: dict[str, Any], title: str, where: str, part: Part, row: int, labels: dict[int, str]) -> None:
        """A number in some bits of a register. The map does not move it down to the lowest of them, we do."""
        scale, offset = self.scaled(item, title, row, step=part.step)
        if labels and all(key % part.step == 0 for key in labels):
            labels, scale = {key // part.step: text for key, text in labels.items()}, 1
        options = {"address": where, "scale": scale if scale != 1 else None, "offset": offset or None, "labels": labels}
        self.out.add(as_name(title), options | {"unit": _unit(item)}, row, title)

    def pieces(
        self, item: dict[str, Any], title: str, table: str, numbers: list[int], row: int, *, signed: bool
    ) -> None:
        """A number that no tag can be: its pieces are, and the note has the expression that puts them together."""
        name, place = as_name(title), side_by_side(numbers)
        scale, offset = self.scaled(item, title, row, signed=signed)
        after = (f" * {scale:g}" if scale != 1 else "") + (f" + {offset:g}" if offset else "")
        if place is not None and len(numbers) <= 2:
            half, raw = 1 << (16 * len(numbers) - 1), f"{name}_raw"
            kind = "uint32" if len(numbers) == 2 else None
            self.out.note(
                row,
                f"{title}: has its sign in the highest bit; write it as `where({raw} < {half}, {raw}, {half} - {raw}){after}`",
            )
            self.out.add(raw, {"address": f"{table}:{place[0]}", "type": kind, "order": place[1]}, row, title)
        elif place is None and len(numbers) == 2:
            low, high = f"{name}_low", f"{name}_high"
            self.out.note(row, f"{title}: its two registers lie apart; write it as `({high} * 65536 + {low}){after}`")
            self.out.add(low, {"address": f"{table}:{numbers[0]}"}, row, title)
            self.out.add(high, {"address": f"{table}:{numbers[1]}", "type": "int16" if signed else None}, row, title)
        else:
            self.raw(title, table, numbers, row, f"a number in {len(numbers)} registers")

    def bits(self, bits: list[dict[str, Any]], title: str, table: str, numbers: list[int], row: int) -> None:
        for entry in bits:
            text = str(entry.get("value", ""))[:100]
            for bit in entry["bit"] if isinstance(entry["bit"], list) else [entry["bit"]]:
                if not isinstance(bit, int) or isinstance(bit, bool):
                    self.out.fault(row, f"{title}: `bit` must be a number, not {bit!r}")
                elif not 0 <= bit < 16 * len(numbers):
                    self.out.note(
                        row, f"{title}: bit {bit} ({text}) is in none of its {len(numbers)} registers; left out"
                    )
                else:
                    address = f"{table}:{numbers[bit // 16]}.{bit % 16}"
                    labels = {1: text} if text else {}
                    self.out.add(f"{as_name(title)}_{bit}", {"address": address, "labels": labels}, row, text)

    def scaled(
        self, item: dict[str, Any], title: str, row: int, *, signed: bool = False, step: int = 1
    ) -> tuple[float, float]:
        """Scale and offset as `raw * scale + offset`, where a raw 1 is `step` for the map."""
        scale = item.get("scale", 1)
        if isinstance(scale, list) and scale:
            self.out.note(row, f"{title}: its scale is {' or '.join(map(str, scale))} by device; {scale[0]} is taken")
            scale = scale[0]
        taken_off, divide = item.get("offset") or 0, item.get("divide") or 1
        for what, value in (("scale", scale), ("offset", taken_off), ("divide", divide)):
            if (
                not isinstance(value, int | float)
                or isinstance(value, bool)
                or not abs(value) < 1e100
                or value != value
            ):
                self.out.fault(row, f"{title}: `{what}` must be a number, not {value!r}")
                return 1.0, 0.0
        if not scale:
            return 0.0, 0.0  # refused by the tag itself
        exact = Fraction(repr(scale)) / Fraction(repr(divide))
        exact = -exact if signed and _yes(item.get("inverted")) else exact
        return _plain(exact * step), _plain(-Fraction(repr(taken_off)) * exact)


def _plain(number: Fraction) -> float:
    return int(number) if number.denominator == 1 else float(number)


def _code(given: Any) -> int | None:
    given = given.get("read") if isinstance(given, dict) else given
    return _whole(given)


def _whole(given: Any) -> int | None:
    """A number. The readers of these maps know YAML 1.1: what begins with a zero is octal there, and text for us."""
    if isinstance(given, str) and OCTAL.fullmatch(given):
        return int(given, 8)
    return given if isinstance(given, int) and not isinstance(given, bool) else None


def _yes(given: Any) -> bool:
    """Likewise of yes and no."""
    return given.lower() in ("yes", "on", "true") if isinstance(given, str) else bool(given)


def _address(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= 65535


class Part(NamedTuple):
    """Bits `bit` to `last` of a register; the lowest of them is worth `step` in the number of all registers."""

    number: int
    bit: int
    last: int
    step: int


def _part(item: dict[str, Any], numbers: list[int]) -> Part | None:
    """The bits that a mask leaves of an unsigned number, or that dividing by a power of two does, where they lie side by side in
    one register."""
    mask, divide = item.get("mask"), item.get("divide")
    if (
        mask is None
        and len(numbers) == 1
        and divide in DIVIDERS
        and item.get("scale", 1) == 1
        and not item.get("offset")
    ):
        mask = 0x10000 - divide  # it rounds down
    if not isinstance(mask, int) or isinstance(mask, bool) or not 0 < mask < 1 << 16 * len(numbers):
        return None
    first, last = (mask & -mask).bit_length() - 1, mask.bit_length() - 1
    if mask >> first != (2 << (last - first)) - 1 or first // 16 != last // 16:
        return None
    return Part(numbers[first // 16], first % 16, last % 16, 1 << first)


def _single_bit(item: dict[str, Any]) -> int | None:
    """The one bit that an item is, by `bit`, `value: {bit: n}` or a mask of one bit that is divided down to it."""
    value, mask = item.get("value"), item.get("mask")
    if item.get("bitmask") is not None:
        mask, item = item["bitmask"], {"divide": item["bitmask"]}  # by its own definition
    for bit in (item.get("bit"), value.get("bit") if isinstance(value, dict) else None):
        if isinstance(bit, int) and not isinstance(bit, bool) and bit >= 0:
            return bit
    if (
        isinstance(mask, int)
        and mask > 0
        and mask & (mask - 1) == 0
        and item.get("divide", 1 if mask == 1 else None) == mask
    ):
        return mask.bit_length() - 1
    return None


def _labels(lookup: Any) -> dict[int, str]:
    out: dict[int, str] = {}
    for entry in lookup if isinstance(lookup, list) else ():
        keys = entry.get("key") if isinstance(entry, dict) else None
        for key in keys if isinstance(keys, list) else [keys]:
            if isinstance(key, int) and not isinstance(key, bool):
                out[key] = str(entry.get("value", ""))[:100]
    return out


def _unit(item: dict[str, Any]) -> str:
    text = str(item.get("uom") or item.get("unit_of_measurement") or "").strip()
    return {"VAR": "var", "kVar": "kvar", "kΩ": "kΩ"}.get(text, text)


def _range(item: dict[str, Any], scale: float, offset: float) -> list[float] | None:
    """What may be written, in the tag's own unit, where an item for writing says one range for all devices."""
    if item.get("platform") not in ("number", "select", "switch"):
        return None
    shown, raw = item.get("configurable"), item.get("range")
    for limits, times, plus in ((shown, 1.0, 0.0), (raw, scale, offset)):
        ends: list[Any] = [limits.get("min"), limits.get("max")] if isinstance(limits, dict) else []
        if len(ends) == 2 and all(isinstance(e, int | float) and not isinstance(e, bool) for e in ends):
            return sorted(round(e * times + plus, 9) for e in ends)
    return None
