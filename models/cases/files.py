"""Cases in a file: YAML, JSON (the same document) or CSV (a row each)."""

from __future__ import annotations

import contextlib
import csv
import difflib
import io
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge import ConfigFault, Place, Tree, bind_options, read_tree, to_disk, written_yaml

from .case import Case, CaseFile

KINDS = (".yaml", ".yml", ".json", ".csv")
COLUMNS = ("id", "asset", "component", "symptom", "alarm", "shares", "cause", "remedy", "parts", "pictures", "source")
MOST_BYTES = 1_000_000
RUNS = ("=", "+", "-", "@")  # what a spreadsheet takes for a formula at the start of a cell


def read(path: Path) -> list[Case]:
    """The cases of a file. Blocks. Raises ConfigFault with every fault and its place."""
    _known(path)
    tree = _rows(path) if path.suffix.lower() == ".csv" else read_tree(path)
    if not tree.problems and not isinstance(tree.data, dict):
        tree.fault((), "holds no cases", "begin with `cases:` and a list (lines that begin with -)")
    found = None
    if isinstance(tree.data, dict):
        found = bind_options(CaseFile, tree.data, tree, ())
        _once(tree)
    if found is None or tree.problems:
        told = sorted(tree.problems, key=lambda p: (p.place.line, p.place.column))
        raise ConfigFault("\n".join(map(str, told)))
    return found.cases


def write(path: Path, cases: Sequence[Case]) -> None:
    """Write them whole, or leave the file that is there. Blocks. Raises OSError and ConfigFault."""
    _known(path)
    document = {"cases": [case.model_dump(mode="json", exclude_defaults=True) for case in cases]}
    if path.suffix.lower() == ".csv":
        text = _csv(cases)
    elif path.suffix.lower() == ".json":
        text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    else:
        text = written_yaml(document)
    if len(text.encode()) > MOST_BYTES:
        hint = f"keep fewer, or split them; {MOST_BYTES:,} bytes are the most"
        raise ConfigFault(f"{path} would be larger than can be read again", hint=hint)
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(number, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fchmod(number, path.stat().st_mode & 0o777 if path.exists() else 0o644)
            os.fsync(number)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    to_disk(path.parent)


def merged(old: Sequence[Case], new: Sequence[Case]) -> list[Case]:
    """One with an id that was there takes its place; the others follow."""
    return list({case.id: case for case in (*old, *new)}.values())


def _known(path: Path) -> None:
    if path.suffix.lower() not in KINDS:
        raise ConfigFault(f"{path} is no file of cases", hint=f"its name has to end with {', '.join(KINDS)}")


def _once(tree: Tree) -> None:
    listed = tree.data.get("cases")
    first: dict[Any, int] = {}
    for index, case in enumerate(listed if isinstance(listed, list) else ()):
        if not isinstance(case, dict) or not isinstance(case.get("id"), str):
            continue
        if case["id"] in first:
            line = tree.place(("cases", first[case["id"]])).line
            tree.fault(("cases", index, "id"), f"{case['id']!r} stands twice", f"first in line {line}")
        first.setdefault(case["id"], index)


def _rows(path: Path) -> Tree:
    """A table as the document that it stands for, each value with the line of its row."""
    tree = Tree(places={(): Place(str(path), 1, 1)})
    try:
        body = path.read_bytes() if path.stat().st_size <= MOST_BYTES else None
    except OSError as error:
        tree.fault((), f"cannot read {path}: {error.strerror}")
        return tree
    if body is None:
        tree.fault((), f"{path} is larger than {MOST_BYTES:,} bytes", "split it")
        return tree
    line = 1
    try:
        reader = csv.DictReader(io.StringIO(body.decode("utf-8-sig").replace("\r\n", "\n"), newline=""), strict=True)
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        for name in columns:
            if name not in COLUMNS:
                near = difflib.get_close_matches(name, COLUMNS, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COLUMNS)}"
                tree.fault((), f"unknown column {name!r}", hint)
            elif columns.count(name) > 1:
                tree.fault((), f"the column {name!r} stands twice")
        cases: list[Any] = []
        line = reader.line_num + 1
        for row in reader:
            at = ("cases", len(cases))
            tree.places[at] = Place(str(path), line, 1)
            line = reader.line_num + 1
            if any(row.get(None) or ()):
                tree.fault(at, "has more cells than the first line", "put texts with commas into quotes")
            cases.append(_case(tree, at, {k: _bare(v.strip()) for k, v in row.items() if k in COLUMNS and v}))
        tree.data = {"cases": cases}
    except UnicodeDecodeError:
        tree.fault((), "not UTF-8 text", "save it as CSV UTF-8")
    except csv.Error as error:
        tree.places[()] = Place(str(path), line, 1)
        tree.fault((), f"not CSV: {error}")
    return tree


def _case(tree: Tree, at: tuple[str | int, ...], row: dict[str, str]) -> dict[str, Any]:
    case: dict[str, Any] = {k: v for k, v in row.items() if v and k not in ("alarm", "shares", "parts", "pictures")}
    for name in ("parts", "pictures"):
        if listed := _listed(row.get(name, "")):
            case[name] = listed
    signature: dict[str, Any] = {"alarm": row["alarm"]} if row.get("alarm") else {}
    for one in _listed(row.get("shares", "")):
        tag, _, share = (piece.strip() for piece in one.rpartition("="))
        try:
            signature.setdefault("shares", {})[tag] = float(share)
        except ValueError:
            tree.fault((*at, "shares"), f"{one!r} is no share of a tag", "write flow=-0.7; current=0.2")
    if signature:
        case["signature"] = signature
    return case


def _listed(cell: str) -> list[str]:
    return [one.strip() for one in cell.split(";") if one.strip()]


def _csv(cases: Sequence[Case]) -> str:
    out = io.StringIO(newline="")
    table = csv.writer(out)
    table.writerow(COLUMNS)
    for case in cases:
        said = case.model_dump(mode="json")
        said |= {"alarm": case.signature.alarm, "parts": "; ".join(case.parts), "pictures": "; ".join(case.pictures)}
        said["shares"] = "; ".join(f"{tag}={share!r}" for tag, share in case.signature.shares.items())
        table.writerow([_safe(said[name]) for name in COLUMNS])
    return out.getvalue()


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(RUNS) else text


def _bare(text: str) -> str:
    return text[1:] if text[:1] == "'" and text[1:].startswith(RUNS) else text
