"""Cases in a file: YAML, JSON (the same document) or CSV (a row each)."""

from __future__ import annotations

import contextlib
import csv
import difflib
import io
import json
import math
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..cells import NotCsv, bare, rows, safe
from ..config.bind import bind as bind_options
from ..config.dump import written as written_yaml
from ..config.places import Place, Tree, read_alone
from ..config.places import read as read_tree
from ..errors import ConfigFault
from ..links import to_disk
from .case import MOST, Case, CaseFile

_HALVES = re.compile(r"\\\\|(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})")  # or an escaped backslash
KINDS = (".yaml", ".yml", ".json", ".csv")
COLUMNS = ("id", "asset", "component", "symptom", "alarm", "shares", "cause", "remedy", "parts", "pictures", "source")
MOST_BYTES = 1_000_000
OF_PLANE = "plane-cases.json"  # how the plane's copy is called in the state folder of a device


def read(path: Path) -> list[Case]:
    """The cases of a file. Blocks. Raises ConfigFault with every fault and its place."""
    if _kind(path.name) not in (".csv", ".json"):
        return _bound(read_tree(path))
    try:
        body = path.read_bytes() if path.stat().st_size <= MOST_BYTES else b"x" * (MOST_BYTES + 1)
    except OSError as error:
        raise ConfigFault(f"{path}:1:1: cannot read {path}: {error.strerror}") from None
    return parse(body, str(path))


def parse(body: bytes, name: str) -> list[Case]:
    """The cases of a text that was sent; `name` says by its ending what it is, and stands in the faults. Nothing else is read,
    whatever it includes. Raises ConfigFault with every fault and its place."""
    csv_, tree = _kind(name) == ".csv", Tree(places={(): Place(name, 1, 1)})
    if len(body) > MOST_BYTES:
        tree.fault((), f"{name} is larger than {MOST_BYTES:,} bytes", "split it")
        return _bound(tree)
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\ufffd"
    if "\ufffd" in text:  # so is each letter called that a browser could not read
        tree.fault((), "not UTF-8 text", "save it as CSV UTF-8" if csv_ else "save it as UTF-8")
        return _bound(tree)
    if not csv_:
        return _bound(read_alone(_whole(text) if _kind(name) == ".json" else text, name))
    _rows(tree, text, name)
    return _bound(tree)


def text_of(cases: Sequence[Case], kind: str) -> str:
    """The same cases as a text; `kind` is an ending of KINDS. Raises ConfigFault where it could not be read again."""
    document = {"cases": [case.model_dump(mode="json", exclude_defaults=True) for case in cases]}
    if _kind(kind) == ".csv":
        text = _csv(cases)
    elif _kind(kind) == ".json":
        text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
        text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")  # ends of a line, to YAML
    else:
        text = written_yaml(document)
    if len(cases) > MOST or len(text.encode()) > MOST_BYTES:
        hint = f"keep fewer, or split them; {MOST:,} cases and {MOST_BYTES:,} bytes are the most"
        raise ConfigFault(f"{len(cases):,} cases would be larger than can be read again", hint=hint)
    return text


def write(path: Path, cases: Sequence[Case]) -> None:
    """Write them whole, or leave the file that is there. Blocks. Raises OSError and ConfigFault."""
    body = text_of(cases, path.name).encode()
    try:
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None
    try:
        with open(number, "wb") as file:
            file.write(body)
            file.flush()
            os.fchmod(number, path.stat().st_mode & 0o777 if path.exists() else 0o644)
            os.fsync(number)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    to_disk(path.parent)


def packed(case: Case) -> str:
    """A case as JSON: the same text for the same case."""
    return json.dumps(case.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False, separators=(",", ":"))


def joined(packed: Iterable[str]) -> bytes:
    """Several of them, as they go from the plane to a device."""
    return f'{{"cases":[{",".join(packed)}]}}'.encode()


def unpacked(body: bytes, name: str) -> list[Case]:
    """The cases of what `joined` made. Raises ConfigFault with what is wrong first."""
    if len(body) > MOST_BYTES:
        raise ConfigFault(f"{name} is larger than {MOST_BYTES:,} bytes")
    try:
        found = CaseFile.model_validate_json(body).cases
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigFault(": ".join([name, *filter(None, [".".join(map(str, first["loc"]))]), first["msg"]])) from None
    if len({case.id for case in found}) < len(found):
        raise ConfigFault(f"{name} holds a case twice")
    return found


def _whole(text: str) -> str:
    """JSON without escapes in two halves, as 😀 is written by who writes ASCII alone: YAML knows none."""
    return _HALVES.sub(lambda it: it[0] if it[1] is None else json.loads(f'"{it[0]}"'), text)


def merged(old: Sequence[Case], new: Sequence[Case]) -> list[Case]:
    """One with an id that was there takes its place; the others follow."""
    return list({case.id: case for case in (*old, *new)}.values())


def _kind(name: str) -> str:
    kind = Path(name if "." in name[1:] else f"x{name}").suffix.lower()
    if kind not in KINDS:
        raise ConfigFault(f"{name} is no file of cases", hint=f"its name has to end with {', '.join(KINDS)}")
    return kind


def _bound(tree: Tree) -> list[Case]:
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


def _rows(tree: Tree, text: str, name: str) -> None:
    """A table as the document that it stands for, each value with the line of its row and the number of its column."""
    columns: list[str] | None = None
    cases: list[Any] = []
    try:
        for line, row in rows(text):
            if columns is None:
                columns = [one.strip() for one in row]
                _columns(tree, columns)
                continue
            at = ("cases", len(cases))
            tree.places[at] = Place(name, line, 1)
            for number, column in enumerate(columns, 1):
                inner = ("signature", column) if column in ("alarm", "shares") else (column,)
                tree.places[*at, *inner] = Place(name, line, number)
            if any(row[len(columns) :]):
                tree.fault(at, "has more cells than the first line", "put texts with commas into quotes")
            said = zip(columns, row, strict=False)
            cases.append(_case(tree, at, {k: bare(v.strip()) for k, v in said if k in COLUMNS}))
        tree.data = {"cases": cases}
    except NotCsv as error:
        tree.places[()] = Place(name, error.line, 1)
        tree.fault((), str(error))


def _columns(tree: Tree, columns: Sequence[str]) -> None:
    for name in columns:
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COLUMNS)}"
            tree.fault((), f"unknown column {name!r}", hint)
        elif columns.count(name) > 1:
            tree.fault((), f"the column {name!r} stands twice")


def _case(tree: Tree, at: tuple[str | int, ...], row: dict[str, str]) -> dict[str, Any]:
    case: dict[str, Any] = {k: v for k, v in row.items() if v and k not in ("alarm", "shares", "parts", "pictures")}
    for name in ("parts", "pictures"):
        if listed := _listed(row.get(name, "")):
            case[name] = listed
    signature: dict[str, Any] = {"alarm": row["alarm"]} if row.get("alarm") else {}
    try:
        if shares := shares_of(row.get("shares", "")):
            signature["shares"] = shares
    except ConfigFault as fault:
        tree.fault((*at, "signature", "shares"), fault.args[0], fault.hint)
    if signature:
        case["signature"] = signature
    return case


def shares_of(cell: str) -> dict[str, float]:
    """By tag, its share, of a text as `flow=-0.7; current=0.2`. Raises ConfigFault."""
    shares = {}
    for one in _listed(cell):
        tag, _, share = (piece.strip() for piece in one.rpartition("="))
        if tag in shares:
            raise ConfigFault(f"{tag!r} has two shares", hint="say which one it is")
        try:
            shares[tag] = float(share)
        except ValueError:
            shares[tag] = math.nan
        if not math.isfinite(shares[tag]):
            raise ConfigFault(f"{one!r} is no share of a tag", hint="write flow=-0.7; current=0.2")
    return shares


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
        table.writerow([safe(said[name]) for name in COLUMNS])
    return out.getvalue()
