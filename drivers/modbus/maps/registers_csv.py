"""A table of registers (CSV), several devices in one file -> one template for each.

Columns: template, brand, model, usage, quantity, address, register_type, decode, scale, note. `decode` is the type; ending in
`s` for low word first, in `nan` for a "not available" code. Rows whose type, table or address is not told are left out, not
guessed.
"""

from __future__ import annotations

import csv
import io
import re
from typing import Any

from .contract import Map, as_name

COLUMNS = ("template", "quantity", "address", "register_type", "decode", "scale")
MOST_FIELD, MOST_ROWS = 2000, 50_000
UNITS = {
    "power": "W",
    "powers": "W",
    "energy": "kWh",
    "returnenergy": "kWh",
    "currents": "A",
    "voltages": "V",
    "soc": "%",
}
UNITS |= {"capacity": "kWh", "limitsoc": "%"}
PHASES = {"currents": "current_1", "powers": "power_1", "voltages": "voltage_1"}  # then _2 and _3
NAN: dict[str, Any] = {"uint16": 0xFFFF, "uint32": 0xFFFFFFFF, "uint64": 0xFFFFFFFFFFFFFFFF}
NAN |= {"int16": [0x8000, 0x7FFF], "int32": [0x80000000, 0x7FFFFFFF]}  # both are in use, and the table means both
NAN |= {"int64": [0x8000000000000000, 0x7FFFFFFFFFFFFFFF]}
DECODE = re.compile(r"(u?int(?:16|32|64)|float(?:32|64))(s?)(nan)?(s?)")
TABLES = ("holding", "input", "coil", "discrete")


def is_one(columns: list[str]) -> bool:
    return set(COLUMNS) <= set(map(_plain, columns))


def _plain(text: str) -> str:
    return text.strip().lower()


def read(text: str, name: str, mark: str = ",") -> list[Map]:
    """Every device of the table, in its order. A row that is cut off or too long is a fault of its device."""
    maps: dict[str, Map] = {}
    seen: set[tuple[str, ...]] = set()
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
    head = list(map(_plain, next(rows)))
    while True:
        try:
            values = next(rows, None)
        except csv.Error as error:
            maps.setdefault("", Map(name)).fault(rows.line_num, f"is no row of a table: {error}")
            continue
        if values is None or len(maps) > MOST_ROWS:
            break
        if not any(values):
            continue
        row = dict(zip(head, values, strict=False))
        device = row.get("template", "").strip()
        part = device[:100]
        out = maps.setdefault(
            device, Map(f"{name}:{part}" if part else name, part, source=f"{name}, a table of registers")
        )
        out.description = out.description or " ".join(filter(None, (row.get("brand", ""), row.get("model", ""))))[:200]
        if wrong := _unfit(values, len(head), device):
            out.fault(rows.line_num, wrong)
            continue
        key = (row.get("usage", ""), *(row[column] for column in COLUMNS))
        if key not in seen:
            _row(out, row, rows.line_num)
        seen.add(key)
    return [found.close() for found in maps.values() or [Map(name)]]


def _unfit(values: list[str], columns: int, device: str) -> str:
    """Why a row cannot be read at all; empty where it can."""
    if len(values) != columns:
        return f"has {len(values)} columns, not {columns}"
    if max(map(len, values)) > MOST_FIELD:
        return f"a field is longer than {MOST_FIELD}"
    return "" if device else "its template is not told: the first column names the device"


def _row(out: Map, row: dict[str, str], line: int) -> None:
    quantity = PHASES.get(row["quantity"], row["quantity"])
    name = as_name("_".join(filter(None, (row.get("usage", ""), quantity))))
    table, decode, scale = _plain(row["register_type"]), _plain(row["decode"]), row["scale"].strip()
    decode = decode.replace("ieee754", "float32")
    kind, address = DECODE.fullmatch(decode), _number(row["address"].strip())
    bits = table in ("coil", "discrete")
    if table.startswith("write"):
        out.note(line, f"{name}: register {row['address']} is for writing, and its range is not told; left out")
        return
    if table == "" or (decode in ("", "bytes", "string") and not bits) or not row["address"].strip():
        missing = "register type" if table == "" else "address" if not row["address"].strip() else "type"
        out.note(line, f"{name}: the {missing} of register {row['address']} is not told; left out")
        return
    known = decode in ("", "bool", "bool8", "bool16") if bits else kind is not None or decode == "bool16"
    if table not in TABLES or not known or address is None:
        wrong = [("register_type", row["register_type"], table in TABLES), ("decode", row["decode"], known)]
        wrong += [("address", row["address"], address is not None)]
        out.fault(
            line, "; ".join(f"{column}: {value[:60]!r} is not known here" for column, value, good in wrong if not good)
        )
        return
    options: dict[str, Any] = {"address": f"{table}:{address}"}
    if kind is None:
        if not bits:
            out.note(line, f"{name}: which bit of register {address} it is is not told; the register is read whole")
        out.add(name, options, line, row.get("note", ""))
        return
    options |= {"type": kind[1] if kind[1] != "uint16" else None, "unit": UNITS.get(row["quantity"])}
    options["order"] = "CDAB" if kind[2] or kind[4] else None
    options["none"] = NAN.get(kind[1]) if kind[3] else None
    try:
        options["scale"] = float(scale) if scale and float(scale) != 1 else None
    except ValueError:
        out.fault(line, f"scale: {scale[:60]!r} is no number")
        return
    out.add(name, options, line, row.get("note", ""))


def _number(text: str) -> int | None:
    try:
        number = (
            int(text, 0) if re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}|\d{1,8}", text) and not text.startswith("00") else -1
        )
    except ValueError:  # 0123
        return None
    return number if 0 <= number <= 65535 else None
