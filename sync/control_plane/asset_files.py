"""Assets and work orders as tables and JSON: what a spreadsheet or a CMMS takes."""

from __future__ import annotations

import csv
import difflib
import io
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy import RowMapping

from edge import LinesideError, NotCsv, bare_cell, csv_rows, safe_cell

from .asset import Asset
from .work_orders import COLUMNS as ORDER_COLUMNS

ASSET_COLUMNS = (
    *("id", "place", "name", "class", "device", "tags", "running", "above", "counter", "before", "begun", "retired"),
    "rules",
)
TIMES = ("begun", "retired", "opened", "ended")
EMPTY: dict[str, Any] = {"above": 0.0, "before": 0.0, "begun": None, "retired": 0.0, "rules": [], "place": None}
MOST_BYTES, MOST_ROWS, MOST_FAULTS = 4_000_000, 5000, 20
LONGEST = 500  # characters of a fault, which may quote a cell
KINDS = ("csv", "json")


class Line(NamedTuple):
    """An asset of a file, and where it stands there, for what is wrong with it."""

    where: str
    asset: Asset


# Out


def as_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A table with one row each; a text that a spreadsheet would take for a formula gets an apostrophe before it."""
    out = io.StringIO(newline="")
    table = csv.writer(out)
    table.writerow(columns)
    table.writerows([_cell(name, row[name]) for name in columns] for row in rows)
    return out.getvalue()


def as_json(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """The same as a list of objects, times as in the table."""
    told = [{name: _time(row[name]) if name in TIMES else row[name] for name in columns} for row in rows]
    return json.dumps(told, ensure_ascii=False, indent=1) + "\n"


def orders_as(kind: str, rows: Iterable[Mapping[str, Any]]) -> str:
    return (as_csv if kind == "csv" else as_json)(ORDER_COLUMNS, rows)


def assets_as(kind: str, rows: Iterable[RowMapping]) -> str:
    told = [{**row, "rules": json.loads(row["rules"])} for row in rows]
    return (as_csv if kind == "csv" else as_json)(ASSET_COLUMNS, told)


def _cell(name: str, value: Any) -> str | float | int:
    if name in TIMES:
        return _time(value)
    if name == "rules":
        return safe_cell("; ".join(map(_rule, value)))
    if isinstance(value, list):
        return safe_cell("; ".join(map(_part, value)))
    return safe_cell(value) if isinstance(value, str) else value


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else ""


def _rule(rule: Mapping[str, Any]) -> str:
    spans = [f"{float(rule[name])!r} {name}".replace(".0 ", " ") for name in ("hours", "days") if rule.get(name)]
    return f"{rule['what']} = {' or '.join(spans)}"


def _part(part: Mapping[str, Any]) -> str:
    serial = f" ({part['serial']})" if part["serial"] else ""
    return f"{part['position']}: {part['part']}{serial}"


# In


def read(name: str, body: bytes) -> list[Line]:
    """The assets of a file, by its name CSV or JSON. Raises LinesideError with its faults, each with its row."""
    if len(body) > MOST_BYTES:
        raise LinesideError(f"{name} is larger than {MOST_BYTES:,} bytes", hint="split it")
    text = body.decode("utf-8-sig", errors="replace")
    if "\ufffd" in text:  # also where a browser has read it so
        raise LinesideError(f"{name}: not UTF-8 text", hint="save it as CSV UTF-8")
    kind = name.rpartition(".")[2].lower()
    if kind not in KINDS:
        raise LinesideError(f"{name} is no file of assets", hint="its name has to end with .csv or .json")
    rows = _rows(name, text) if kind == "csv" else _objects(name, text)
    if len(rows) > MOST_ROWS:
        raise LinesideError(f"{name} holds {len(rows):,} assets", hint=f"{MOST_ROWS:,} are the most; split it")
    out, faults = [], list[str]()
    for where, row in rows:
        try:
            out.append(Line(where, Asset.model_validate(_given(row))))
        except ValidationError as error:
            faults += [
                f"{where}: {'.'.join(map(str, one['loc']))}: {_why(one)}".replace(": : ", ": ")
                for one in error.errors()
            ]
        except ValueError as error:
            faults.append(f"{where}: {error}")
    refuse(faults)
    return out


def refuse(faults: Sequence[str]) -> None:
    """Raises LinesideError with the first of these, if there are any."""
    if faults:
        more = [f"and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
        first = (fault if len(fault) <= LONGEST else f"{fault[:LONGEST]} …" for fault in faults[:MOST_FAULTS])
        raise LinesideError("\n".join([*first, *more, "nothing of the file is kept"]))


def _why(one: Mapping[str, Any]) -> str:
    return str(one["msg"]).removeprefix("Value error, ")


def _rows(name: str, text: str) -> list[tuple[str, dict[str, Any]]]:
    columns: list[str] | None = None
    found = []
    try:
        for line, row in csv_rows(text):
            if columns is None:
                columns = _columns(name, [column.strip() for column in row])
                continue
            where = f"{name}:{line}"
            if any(row[len(columns) :]):
                raise LinesideError(f"{where}: more cells than columns", hint="put texts with commas into quotes")
            said = {column: bare_cell(cell.strip()) for column, cell in zip(columns, row, strict=False)}
            found.append((where, dict.fromkeys(columns, "") | said))
    except NotCsv as error:
        raise LinesideError(f"{name}:{error.line}: {error}") from None
    return found


def _columns(name: str, columns: list[str]) -> list[str]:
    for column in columns:
        if column not in ASSET_COLUMNS or columns.count(column) > 1:
            near = difflib.get_close_matches(column, ASSET_COLUMNS, 1)
            twice = columns.count(column) > 1
            hint = "" if twice else f"did you mean {near[0]!r}?" if near else f"there are {', '.join(ASSET_COLUMNS)}"
            what = f"the column {column!r} stands twice" if twice else f"unknown column {column!r}"
            raise LinesideError(f"{name}: {what}", hint=hint)
    return columns


def _objects(name: str, text: str) -> list[tuple[str, dict[str, Any]]]:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LinesideError(f"{name}: not JSON: {error}") from None
    if not isinstance(told, list) or not all(isinstance(row, dict) for row in told):
        raise LinesideError(f"{name} holds no assets", hint='a list of objects: [{"id": "P-101", "place": "acme"}]')
    return [(f"{name}: asset {k}", row) for k, row in enumerate(told, 1)]


def _given(row: dict[str, Any]) -> dict[str, Any]:
    """A row as `Asset` takes it: times and rules may be texts; an empty cell is what it is without one. Raises ValueError."""
    out = {name: EMPTY.get(name, "") if value == "" else value for name, value in row.items()}
    for name in ("begun", "retired"):
        if isinstance(out.get(name), str):
            out[name] = _seconds(name, out[name])
    if isinstance(out.get("rules"), str):
        out["rules"] = [_rule_of(one) for one in out["rules"].split(";") if one.strip()]
    return {name: value for name, value in out.items() if value is not None}


def _seconds(name: str, text: str) -> float | None:
    if not text:
        return None
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name}: {text!r} is no time; write 2026-03-01 or 2026-03-01T08:00:00Z") from None
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()


def _rule_of(text: str) -> dict[str, Any]:
    what, _, spans = text.rpartition("=")
    rule: dict[str, Any] = {"what": what.strip()}
    for span in spans.split(" or "):
        many, _, unit = span.strip().partition(" ")
        if unit not in ("hours", "days") or unit in rule or not what.strip():
            raise ValueError(
                f"rules: {text.strip()!r} is none; write: change oil = 500 hours or 365 days; inspect = 90 days"
            )
        rule[unit] = many
    return rule
