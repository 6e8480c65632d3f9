"""`lineside plane assets list|import|export|orders`. Works beside a running plane, on the same database."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

from edge import LinesideError

from . import assets, work_orders
from .asset_files import assets_as, orders_as, read
from .asset_import import take
from .asset_tables import asset as A
from .tree import is_below, node
from .verb import Verb
from .where import Where, beside

USE = "list | import FILE | export FILE | orders FILE"
MOST = 50_000


def run(where: Where, options: argparse.Namespace) -> int:
    """Raises LinesideError."""
    at = node(options.at)
    those = [is_below(A.c.place, (at,))] if at else []
    match options.words:
        case [] | ["list"]:
            found = _read(where, lambda c: assets.listed(c, [*those, A.c.retired == 0], MOST, time.time()))
            for one in found:
                print(json.dumps(one, ensure_ascii=False) if options.json else line(one))
        case ["import", file]:
            given = read(file, _bytes(Path(file)))
            with beside(where) as store:
                new, changed = asyncio.run(take(store, given, at))
            print(f"{new} new assets, {changed} changed")
        case ["export", file]:
            rows = _read(where, lambda c: assets.rows(c, those))
            _write(Path(file), assets_as(_kind(file), rows))
            print(f"{len(rows)} assets are in {file}")
        case ["orders", file]:
            told = _read(where, lambda c: work_orders.orders(c, those, MOST))
            _write(Path(file), orders_as(_kind(file), told))
            print(f"{len(told)} work orders are in {file}")
        case _:
            raise LinesideError("that is not how it goes", hint=f"plane assets {USE}")
    return 0


def line(one: dict[str, Any]) -> str:
    """An asset, for people."""
    hours = "" if one["hours"] is None else f"{one['hours']:,.1f} h"
    due = "; ".join(f"{rule['what']} is due" for rule in one["due"] if rule["due"])
    opened = f"{one['open']} open" if one["open"] else ""
    told = "  ".join(part for part in (one["name"], hours, due, opened) if part)
    return f"{one['id']:16} {one['place'] or 'the root':32} {told}".rstrip()


def _read(where: Where, work: Any) -> Any:
    with beside(where) as store:
        return asyncio.run(store.read(work))


def _kind(file: str) -> str:
    kind = file.rpartition(".")[2].lower()
    if kind not in ("csv", "json"):
        raise LinesideError(f"{file} is no file that can be made", hint="FILE.csv or FILE.json")
    return kind


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise LinesideError(f"cannot read {file}: {error.strerror}") from None


def _write(file: Path, text: str) -> None:
    try:
        file.write_bytes(text.encode("utf-8-sig" if file.suffix.lower() == ".csv" else "utf-8", errors="replace"))
    except OSError as error:
        raise LinesideError(f"cannot write {file}: {error.strerror}") from None


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="WORD", help=f"{USE} (default: list); a FILE is .csv or .json")
    told = "of this node of the tree and below it; of an import: where assets stand that say no place"
    parser.add_argument("--at", default="", metavar="NODE", help=told)
    parser.add_argument("--json", action="store_true", help="`list` as JSON, a line each")


def _changes(options: argparse.Namespace) -> bool:
    return options.words[:1] == ["import"]


VERBS = {"assets": Verb("list, import and export assets and their work orders", run, arguments, _changes)}
