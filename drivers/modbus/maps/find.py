"""What kind of map a file is, by what stands in it, and its maps."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from edge import read_tree

from . import registers_csv, site, solarman, sunspec, tags_csv, template
from .contract import Fault, Map

MOST_BYTES = 4_000_000


def maps(path: Path, name: str, start: int | None, writable: bool, *, named: bool) -> list[Map] | str:
    """The maps of a file, or why it is skipped. A file that a person `named` is not skipped: what it is not is its fault."""
    kind = path.suffix.lower()
    if kind not in (".json", ".yaml", ".yml", ".csv"):
        found: list[Map] | str = "no .json, .yaml or .csv"
    else:
        try:
            if not path.is_file() or path.stat().st_size > MOST_BYTES:
                raise OSError(0, f"larger than {MOST_BYTES:,} bytes" if path.is_file() else "is no file that is there")
            reader = {".json": _json, ".csv": _csv}.get(kind)
            found = reader(path, name, start) if reader else _yaml(path, name, writable, named)
        except OSError as error:
            found = [_refused(name, 1, f"cannot be read: {error.strerror}")]
        except UnicodeDecodeError as error:
            found = [_refused(name, 1, f"is not UTF-8 text (byte {error.start})")]
    return [_refused(name, 1, f"is no register map: {found}")] if isinstance(found, str) and named else found


def _refused(name: str, row: int | str, message: str) -> Map:
    return Map(name, faults=[Fault(row, message)])


def _json(path: Path, name: str, start: int | None) -> list[Map] | str:
    try:
        data = json.loads(path.read_text("utf-8-sig"))
    except json.JSONDecodeError as error:
        return [_refused(name, error.lineno, f"is not JSON: {error.msg} (column {error.colno})")]
    except (RecursionError, ValueError):
        return [_refused(name, 1, "is not JSON that can be read: nested too deeply, or a number without end")]
    if sunspec.is_one(data):
        return [sunspec.read(data, name, start)]
    return "JSON, but no SunSpec model (`id` and `group`)"


def _yaml(path: Path, name: str, writable: bool, named: bool) -> list[Map] | str:
    tree = read_tree(path)

    def line(place: tuple[Any, ...]) -> int:
        return tree.place(place, key=True).line

    if tree.problems:
        out = Map(name)
        for problem in tree.problems[:20]:
            out.fault(problem.place.line, f"{problem.message}, {problem.hint}" if problem.hint else problem.message)
        return [out]
    if solarman.is_one(tree.data):
        return [solarman.read(tree.data, name, line, writable)]
    if site.is_one(tree.data):
        return site.read(path, name) if named else "a site; name it to have its tags"
    if template.is_one(tree.data):
        return [template.read(tree.data, name, line)]
    return "YAML, but neither a template (`tags:`) nor an inverter map (`parameters:`)"


def _csv(path: Path, name: str, start: int | None) -> list[Map] | str:
    text = path.read_text("utf-8-sig")
    first = text[:10_000].partition("\n")[0]
    try:
        head = next(csv.reader([first], delimiter=tags_csv.separator(first)), [])
    except csv.Error:
        head = []
    if registers_csv.is_one(head):
        return registers_csv.read(text, name)
    if tags_csv.is_one(head):
        return [tags_csv.read(text, name)]
    return f"CSV, but with neither the columns name, address, ... nor {', '.join(registers_csv.COLUMNS)}"
