"""What kind of map a file is, by what stands in it, and its maps."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge import read_tree

from . import registers_csv, site, solarman, sunspec, tags_csv, template
from .contract import Fault, Map

MOST_BYTES = 4_000_000
BESIDE = re.compile(
    r"(readme|licen[cs]e|copying|notice|changelog)(\..*)?|schema\.json", re.IGNORECASE
)  # not maps: by name


@dataclass(frozen=True, slots=True)
class How:
    """What a person said: where a SunSpec model starts, how often its groups are there, whether writing may be allowed; and
    whether the file was `named`, not met in a folder. `used`: the groups that `times` was asked for and has."""

    start: int | None = None
    times: Mapping[str, int] = field(default_factory=dict)
    writable: bool = False
    named: bool = True
    used: set[str] = field(default_factory=set)


def maps(path: Path, name: str, how: How) -> list[Map] | str:
    """The maps of a file, or why it is skipped. A file that a person named is not skipped, what it is not is its fault; but
    `maps/*` names what lies beside maps too."""
    kind = path.suffix.lower()
    if not path.exists():
        found: list[Map] | str = [_refused(name, 1, "cannot be read: there is no such file")]
    elif kind not in (".json", ".yaml", ".yml", ".csv"):
        found = "no .json, .yaml or .csv"
    else:
        try:
            if not path.is_file() or path.stat().st_size > MOST_BYTES:
                raise OSError(0, f"larger than {MOST_BYTES:,} bytes" if path.is_file() else "it is no file")
            found = {".json": _json, ".csv": _csv}.get(kind, _yaml)(path, name, how)
            if isinstance(found, str) and not path.stat().st_size:
                found = [_refused(name, 1, "is empty")]
        except OSError as error:
            found = [_refused(name, 1, f"cannot be read: {error.strerror}")]
        except UnicodeDecodeError as error:
            row = error.object.count(b"\n", 0, error.start) + 1
            found = [_refused(name, row, f"is not UTF-8 text (byte {error.start}); save it as UTF-8")]
    beside = BESIDE.fullmatch(path.name) or path.parent.name == "simulator"
    refused = isinstance(found, str) and how.named and not beside
    return [_refused(name, 1, f"is no register map: {found}")] if refused else found


def _refused(name: str, row: int | str, message: str) -> Map:
    return Map(name, faults=[Fault(row, message)])


def _json(path: Path, name: str, how: How) -> list[Map] | str:
    text = path.read_text("utf-8-sig")
    try:
        data = json.loads(text)
        if "\\u" in text:  # halves of characters, which an escape can write and no file or terminal takes
            data = json.loads(json.dumps(data, ensure_ascii=False).encode(errors="replace"))
    except json.JSONDecodeError as error:
        return [_refused(name, error.lineno, f"is not JSON: {error.msg} (column {error.colno})")]
    except (RecursionError, ValueError):
        return [_refused(name, 1, "is not JSON that can be read: nested too deeply, or a number without end")]
    if sunspec.is_one(data):
        return [sunspec.read(data, name, how.start, how.times, how.used)]
    return "JSON, but no SunSpec model (`id` and `group`)"


def _yaml(path: Path, name: str, how: How) -> list[Map] | str:
    tree = read_tree(path)

    def line(place: tuple[Any, ...]) -> int:
        return tree.place(place, key=True).line

    if tree.problems:
        out = Map(name)
        for problem in tree.problems[:20]:
            out.fault(problem.place.line, f"{problem.message}, {problem.hint}" if problem.hint else problem.message)
        return [out]
    if solarman.is_one(tree.data):
        return [solarman.read(tree.data, name, line, how.writable)]
    if site.is_one(tree.data):
        return site.read(path, name) if how.named else "a site; name it to have its tags"
    if template.is_one(tree.data):
        return [template.read(tree.data, name, line)]
    return "YAML, but neither a template (`tags:`) nor an inverter map (`parameters:`)"


def _csv(path: Path, name: str, _: How) -> list[Map] | str:
    text = path.read_text("utf-8-sig")
    first = text[:10_000].partition("\n")[0]
    mark = tags_csv.separator(first)
    try:
        head = next(csv.reader([first], delimiter=mark), [])
    except csv.Error:
        head = []
    if registers_csv.is_one(head):
        return registers_csv.read(text, name, mark)
    if tags_csv.is_one(head):
        return [tags_csv.read(text, name)]
    return f"CSV, but with neither the columns name, address, ... nor {', '.join(registers_csv.COLUMNS)}"
