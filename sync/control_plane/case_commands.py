"""`lineside plane cases`: the fault cases of the plane. Works beside a running plane; devices see a change within half a minute."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlalchemy import ColumnElement, Connection

from edge import Case, LinesideError, read_cases, write_cases

from . import cases
from .case_search import found, graph
from .cases import NODES, Kept, T
from .people_commands import me
from .tree import is_below, node
from .verb import Verb
from .where import Where, beside

USE = "cases list | find WORDS | show ID | graph [KIND TEXT] | import FILE | export FILE | remove ID"
MOST = 10_000  # cases of a list
Does = Callable[[Connection, str, bool], list[str]]  # at which node, whether as JSON; the lines to print


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="WORD", help=f"{USE}; FILE ends with .csv, .json or .yaml")
    told = "at which node of the tree, as in acme/east; looking looks below it, too (default: the root)"
    parser.add_argument("--at", default="", metavar="NODE", help=told)
    parser.add_argument("--json", action="store_true", help="one JSON object per case")


def run(where: Where, options: argparse.Namespace) -> int:
    """Raises LinesideError."""
    match options.words:
        case [] | ["list"]:
            does: Does = partial(_list, None)
        case ["find", *words] if words:
            does = partial(_list, " ".join(words))
        case ["show", name]:
            does = partial(_show, name)
        case ["graph", *said] if len(said) in (0, 2) and {*said[:1]} <= {*NODES}:
            does = partial(_graph, *(said or ("", "")))
        case ["import", file]:
            does = partial(_import, read_cases(Path(file)))
        case ["export", file]:
            does = partial(_export, Path(file))
        case ["remove", name]:
            does = partial(_remove, name)
        case _:
            raise LinesideError("that is not how it goes", hint=f"plane {USE}; a KIND is one of {', '.join(NODES)}")
    at = node(options.at)
    with beside(where) as store:
        once = store.write if _changes(options) else store.read
        for line in asyncio.run(once(lambda c: does(c, at, options.json))):
            print(line)
    return 0


def _list(words: str | None, c: Connection, at: str, as_json: bool) -> list[str]:
    here = _below(at)
    rows = cases.listed(c, *here, most=MOST) if words is None else [row for row, _ in found(c, words, *here)]
    return [json.dumps(row.as_json(), ensure_ascii=False) if as_json else _line(row) for row in rows]


def _line(row: Kept) -> str:
    symptom = " ".join(row.case.symptom.split())
    return f"{row.case.id:16} {row.place or 'the root':24} {symptom[:80]}"


def _show(name: str, c: Connection, at: str, as_json: bool) -> list[str]:
    rows = cases.listed(c, T.c.id == name, *_below(at))
    if not rows:
        raise LinesideError(f"there is no case {name!r}{f' at {at}' if at else ''}", hint="`list` shows them")
    return [json.dumps(row.as_json(), ensure_ascii=False, indent=None if as_json else 1) for row in rows]


def _graph(kind: str, text: str, c: Connection, at: str, as_json: bool) -> list[str]:
    node_ = graph(c, kind, text, *_below(at))
    if as_json:
        return [json.dumps(node_, ensure_ascii=False)]
    head = f"cases{f' with the {kind} {text!r}' if kind else ''}: {node_['cases']}"
    rows = [(other, one) for other, nodes in node_["neighbours"].items() for one in nodes]
    return [head, *(f"  {other:10} {one['cases']:5}  {' '.join(one['text'].split())[:100]}" for other, one in rows)]


def _import(given: list[Case], c: Connection, at: str, as_json: bool) -> list[str]:
    new, anew, devices = cases.take_in(c, at, cases.ready(given), me())
    return [f"at {at or 'the root'}: {new} new, {anew} anew; devices that are to have them: {len(devices)}"]


def _export(file: Path, c: Connection, at: str, as_json: bool) -> list[str]:
    rows = cases.listed(c, T.c.place == at)
    write_cases(file, [row.case for row in rows])
    return [f"cases in {file}: {len(rows)}"]


def _remove(name: str, c: Connection, at: str, as_json: bool) -> list[str]:
    rows = cases.listed(c, T.c.id == name, T.c.place == at)
    if not rows:
        raise LinesideError(
            f"there is no case {name!r} at {at or 'the root'}", hint="say --at; `list` shows where it is"
        )
    devices = cases.remove(c, rows[0].number, rows[0].version)
    return [f"{name} is no case at {at or 'the root'} any more; devices that are to forget it: {len(devices)}"]


def _below(at: str) -> list[ColumnElement[bool]]:
    return [is_below(T.c.place, (at,))] if at else []


def _changes(options: argparse.Namespace) -> bool:
    return options.words[:1] in (["import"], ["remove"])


VERBS = {"cases": Verb("keep, find and exchange fault cases", run, arguments, _changes)}
