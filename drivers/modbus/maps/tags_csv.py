"""Tags as a table for a spreadsheet, out and in again without loss.

One row is one tag, one column one option: name, address, type, order, scale, offset, unit and what else is used. `labels` are
written `0=off; 1=on`, `writable` as `20..250; every=5s; readback=true`, of a text as `one_of=A|B` or `longest=8`. Both
separators are read, `,` and `;`; with `;` a number may have its comma.
A text that a spreadsheet would take for a formula stands behind an apostrophe.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from typing import Any

from ..options import ModbusPoint
from .contract import Map, name_fault, near

CORE = ("name", "address", "type", "order", "scale", "offset", "unit")
OPTIONS = tuple(ModbusPoint.model_fields)
MOST_FIELD = 4000
WHOLE, NUMBER = (
    re.compile(r"[-+]?\d{1,20}|0[xX][0-9a-fA-F]{1,16}"),
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?"),
)
FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def is_one(columns: list[str]) -> bool:
    found = [column.strip().lower() for column in columns]
    return "name" in found and bool(difflib.get_close_matches("address", found, 1, 0.7))


def separator(head: str) -> str:
    """Of the columns, from the first line."""
    return ";" if head.count(";") > head.count(",") else ","


def read(text: str, name: str) -> Map:
    out = Map(name, source=f"{name}, a table of tags")
    mark = separator(text.partition("\n")[0])
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
    head = [column.strip().lower() for column in next(rows)]
    for index, column in enumerate(head[:200]):
        if column in head[:index]:
            out.fault(1, "stands twice", column)
        elif column not in ("name", *OPTIONS):
            out.fault(1, f"is no option of a tag{near(column, ('name', *OPTIONS))}", column or f"column {index + 1}")
    if not out.ok:
        return out
    while True:
        try:
            values = next(rows, None)
        except csv.Error as error:
            out.fault(rows.line_num, f"is no row of a table: {error}")
            continue
        if values is None:
            return out.close()
        if any(value.strip() for value in values):
            _row(out, dict(zip(head, values, strict=False)), rows.line_num, len(values) - len(head), mark)
        if len(out.faults) > 1000:
            return out


def _row(out: Map, row: dict[str, str], line: int, odd: int, mark: str) -> None:
    name = row.get("name", "").strip()
    if odd > 0 or any(len(value) > MOST_FIELD for value in row.values()):
        out.fault(
            line, f"has {odd} columns more than the first line" if odd > 0 else f"a field is longer than {MOST_FIELD}"
        )
        return
    if why := name_fault(name):
        out.fault(line, why, "name")
        return
    options: dict[str, Any] = {}
    for column, cell in row.items():
        if column != "name" and cell.strip():
            try:
                options[column] = _value(column, cell.strip(), mark)
            except ValueError as error:
                out.fault(line, str(error), column)
                return
    out.keep(name, options, line)


def _value(column: str, cell: str, mark: str) -> Any:
    """A cell as the option means it. Raises ValueError."""
    cell = cell.removeprefix("'")
    if column == "labels":
        parts = [part.partition("=") for part in re.split(r";\s*(?=[-+]?\w+\s*=)", cell.rstrip("; ")) if part.strip()]
        if not all(equals and WHOLE.fullmatch(number.strip()) for number, equals, _ in parts):
            raise ValueError(f"{cell[:60]!r} is no list of labels; write 0=off; 1=on")
        return {_whole(number.strip()): text.strip() for number, _, text in parts}
    if column == "none" and ";" in cell:
        return [_number(code.strip(), mark) for code in cell.split(";")]
    if column == "writable":
        return _writable(cell, mark)
    if column in ("unit", "type", "order", "address", "stale_after", "every", "scale_from", "encoding"):
        return cell
    return _number(cell, mark)


def _writable(cell: str, mark: str) -> dict[str, Any]:
    """`20..250; every=5s`, or of a text `one_of=A|B; readback=true`. Raises ValueError."""
    out: dict[str, Any] = {}
    first, *parts = cell.rstrip("; ").split(";")
    if "=" in first:
        parts.insert(0, first)
    else:
        ends = out["range"] = [_number(end.strip(), mark) for end in first.split("..")]
        if len(ends) != 2 or not all(isinstance(end, int | float) for end in ends):
            raise ValueError(f"{cell[:60]!r} is no range; write 20..250, or of a text one_of=A|B")
    words = {"true": True, "false": False}
    for key, _, text in (tuple(word.strip() for word in part.partition("=")) for part in parts):
        out[key] = text.split("|") if key == "one_of" else words.get(text, _number(text, mark))
    return out


def _number(cell: str, mark: str) -> Any:
    """A number, or the text as it stands, for the option to refuse."""
    cell = cell.replace(",", ".") if mark == ";" else cell
    if WHOLE.fullmatch(cell):
        return _whole(cell)
    return float(cell) if NUMBER.fullmatch(cell) else cell


def _whole(cell: str) -> int:
    return int(cell, 16) if cell[:2].lower() == "0x" else int(cell)


def text(found: Map) -> str:
    """The tags as a table; the columns of CORE, and those that a tag uses."""
    used = {key for line in found.lines for key in line.options}
    columns = [*CORE, *(option for option in OPTIONS if option in used and option not in CORE)]
    out = io.StringIO(newline="")
    rows = csv.writer(out, lineterminator="\r\n")
    rows.writerow(columns)
    for line in found.lines:
        cells = {"name": line.name} | {key: _cell(key, value) for key, value in line.options.items()}
        rows.writerow([cells.get(column, "") for column in columns])
    return out.getvalue()


def _cell(option: str, value: Any) -> str:
    if option == "labels":
        value = "; ".join(f"{number}={label}" for number, label in value.items())
    elif option == "writable":
        told = ["..".join(repr(end) for end in value["range"])] if "range" in value else []
        told += [f"one_of={'|'.join(value['one_of'])}"] if "one_of" in value else []
        more = {key: str(said).lower() for key, said in value.items() if key not in ("range", "one_of")}
        value = "; ".join([*told, *(f"{key}={said}" for key, said in more.items())])
    elif option == "none":
        value = "; ".join(map(hex, value if isinstance(value, list | tuple) else [value]))
    if not isinstance(value, str):
        return repr(value)
    return f"'{value}" if value.startswith(FORMULA) and not NUMBER.fullmatch(value) else value
