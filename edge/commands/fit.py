"""`lineside fit SITE STAGE`: learn from the journal what is normal, from recordings how long is left or what is broken, or from a
table what becomes of a part, and keep it in a file beside the site."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .. import plugins
from ..config.check import raise_if_faulty
from ..config.load import load
from ..config.site import Config
from ..errors import LinesideError
from ..records import reading, tag_names
from ..records import texts as journal_texts
from ..state import state_folder
from .arguments import between, since_until, site_and_state
from .export import batches, iso
from .runs import runs_of
from .table import table_of

HELP = "fit a stage that learns: from the journal (anomaly, forecast), runs (lifetime), faults (vibration), a table (quality)"
NEVER, END = -(2**63), 2**63 - 1
RARELY = 0.01  # of a stretch, in which a tag says nothing at its begin
STRETCHES = 40  # of what is longer than `--rows`, so that nights and Mondays are among them


def arguments(parser: argparse.ArgumentParser) -> None:
    site_and_state(parser)
    parser.add_argument("stage", help="name under `stages:`")
    since_until(parser)
    runs = "a CSV file of each run to its failure, or of each recording of a fault: a column for each tag, a line for each row"
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help=runs)
    told = "a CSV file with a line for each part: a column for each tag, and one for what became of it"
    parser.add_argument("--table", type=Path, metavar="FILE", help=told)
    parser.add_argument("--target", metavar="COLUMN", help="with --table: the column that says what became of the part")
    told = "learn from so many at most, in even stretches of that time, so that a week needs no more memory than a day (20000)"
    parser.add_argument("--rows", type=_some, default=20_000, metavar="N", help=told)


def _some(text: str) -> int:
    if not text.isdecimal() or not 100 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows from 100 to 1000000")
    return int(text)


def run(options: argparse.Namespace) -> int:
    config = raise_if_faulty(load(options.site))
    entry = config.stages.get(options.stage)
    if entry is None:
        raise LinesideError(
            f"no stage is called {options.stage!r}", hint=f"there are {', '.join(config.stages) or 'none'}"
        )
    stage = plugins.find("stages", entry.stage)
    ways = {"fit_table": _from_table, "fit_runs": _from_runs, "fit": _from_journal, "fit_stream": _from_journal}
    learn = next((way for name, way in ways.items() if hasattr(stage, name)), None)
    if learn is None:
        raise LinesideError(f"{options.stage} is a stage {entry.stage!r}, which learns nothing")
    try:
        document, told = learn(stage, entry, config, options)
    except ValueError as error:
        raise LinesideError(f"cannot learn from that: {error}") from None
    path = config.folder / f"{options.stage}.json"
    also = document.pop("told", "")
    for suffix, body in document.pop("files", {}).items():
        _put(path.with_suffix(suffix), body)
    _put(path, json.dumps(document).encode() + b"\n")
    print(f"{path}: learned from {told}")
    if also:
        print(also)
    if learn is _from_journal:
        print(f"use it with `baseline: {path.name}` in {options.stage}")
    return 0


def _put(path: Path, body: bytes) -> None:
    """In place of the file that was there: a running daemon may have that one mapped, and writing into it would end it."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(body)
    fresh.replace(path)


def _from_table(stage: Any, entry: Any, config: Config, options: argparse.Namespace) -> tuple[Any, str]:
    if not options.table or not options.target:
        raise LinesideError(
            f"a stage {entry.stage!r} learns from a table; name it with --table FILE --target COLUMN",
            hint=f"columns: {', '.join(stage.columns(entry, options.stage))}, and the target",
        )
    table = table_of(options.table, stage.columns(entry, options.stage), options.target)
    document, said = stage.fit_table(entry, table.rows, table.target)
    print(*said, sep="\n")
    empty = f", {table.empty} with an empty cell left out" if table.empty else ""
    return document, f"{len(table.target)} rows{empty}"


def _from_journal(stage: Any, entry: Any, config: Config, options: argparse.Namespace) -> tuple[Any, str]:
    if options.runs or options.table:
        given = "runs" if options.runs else "a table"
        raise LinesideError(
            f"a stage {entry.stage!r} learns from the journal, not from {given}", hint="leave out --runs and --table"
        )
    t0, t1 = between(options)
    path = state_folder(config.device.id, options.state) / "journal.db"
    if hasattr(stage, "fit_stream"):  # of one tag, all that there is
        document = stage.fit_stream(entry, stream(path, entry.tag, t0, t1))
        return document, f"{document['rows']} slots of {entry.tag}"
    columns = history(path, entry.reads(), t0, t1, options.rows)
    document = stage.fit(entry, columns, _texts(path) if config.texts().intersection(entry.reads()) else {})
    first, last = min(c[0].min() for c in columns.values()), max(c[0].max() for c in columns.values())
    return document, f"{document['rows']} rows, {iso(int(first))} to {iso(int(last))}"


def _texts(path: Path) -> dict[float, str]:
    """Of all text tags, by the numbers that stand for them."""
    with reading(path) as db:
        return {float(number): text for number, _, text in journal_texts(db)}


def _from_runs(stage: Any, entry: Any, config: Config, options: argparse.Namespace) -> tuple[Any, str]:
    if not options.runs:
        raise LinesideError(
            f"a stage {entry.stage!r} learns from recordings; name their folder with --runs",
            hint="a CSV file of each, a column for each tag",
        )
    runs = runs_of(options.runs, stage.columns(entry, options.stage))
    return stage.fit_runs(entry, runs), f"{len(runs)} runs, {sum(map(len, runs.values()))} rows"


def history(
    path: Path, tags: list[str], t0: int, t1: int, rows: int
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(ts, value, quality) of each tag between t0 and t1, in even stretches where that would be more than about `rows` a tag; of
    one that rarely says something also what it held where a stretch begins. Raises LinesideError for one that has none."""
    found: dict[str, list[tuple[np.ndarray, ...]]] = {tag: [] for tag in tags}
    with reading(path) as db:
        names = {number: name for number, (name, *_) in tag_names(db).items() if name in tags}
        spans = stretches(db, tags, t0, t1, rows)
        for begin, end in spans:
            for batch in batches(db, begin, end):
                within = (batch.ts >= begin) & (batch.ts <= end)
                for number in np.intersect1d(batch.tag[within], list(names)):
                    mine = within & (batch.tag == number)
                    found[names[int(number)]].append((batch.ts[mine], batch.value[mine], batch.quality[mine]))
        if len(spans) > 1:
            for tag, held in _held(db, found, names, t0, np.array(spans)).items():
                found[tag].insert(0, held)
    for tag, parts in found.items():
        if not parts:
            raise _nothing_of(tag)
    return {
        tag: (np.concatenate([p[0] for p in v]), np.concatenate([p[1] for p in v]), np.concatenate([p[2] for p in v]))
        for tag, v in found.items()
    }


def _held(
    db: Any, found: dict[str, list[tuple[np.ndarray, ...]]], names: dict[int, str], t0: int, spans: np.ndarray
) -> dict[str, tuple[np.ndarray, ...]]:
    """Of tags that say nothing where stretches int64[k, 2] begin, as one that is told when it changes: (ts, value, quality) of what
    they had said last, at the first time that is known of the stretch."""
    begin, end = spans.T
    first = {}
    for tag, parts in found.items():
        ts = np.sort(np.concatenate([np.array([NEVER]), *(part[0] for part in parts)]))
        first[tag] = ts[np.minimum(np.searchsorted(ts, begin), len(ts) - 1)]
    least = np.min([np.where(one < begin, END, one) for one in first.values()], axis=0)
    late = {
        tag: (least <= end) & ((one < begin) | (one - least > RARELY * (end - begin))) for tag, one in first.items()
    }
    wanted = {tag: np.flatnonzero(some) for tag, some in late.items() if some.any()}
    said = {tag: np.full((3, len(at)), [[NEVER], [0], [0]], object) for tag, at in wanted.items()}
    for batch in batches(db, t0, int(begin[-1]), {tag.partition(".")[0] for tag in wanted}) if wanted else ():
        for number in np.unique(batch.tag).tolist():
            if (tag := names.get(number, "")) in wanted:
                mine = np.flatnonzero((batch.tag == number) & (batch.ts >= t0))
                mine = mine[np.argsort(batch.ts[mine], kind="stable")]
                at = np.searchsorted(batch.ts[mine], begin[wanted[tag]]) - 1
                newer = (
                    np.flatnonzero((at >= 0) & (batch.ts[mine][np.maximum(at, 0)] > said[tag][0]))
                    if len(mine)
                    else at[:0]
                )
                rows = mine[at[newer]]
                said[tag][:, newer] = batch.ts[rows], batch.value[rows], batch.quality[rows]
    out = {}
    for tag, (ts, value, quality) in said.items():
        known = ts > NEVER
        out[tag] = least[wanted[tag]][known], value[known].astype(float), quality[known].astype(np.uint8)
    return {tag: held for tag, held in out.items() if len(held[0])}


def stream(path: Path, tag: str, t0: int, t1: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(ts, value, quality) of one tag between t0 and t1, block by block in the order of time. Raises LinesideError where there is
    none."""
    found = False
    with reading(path) as db:
        numbers = [number for number, (name, *_) in tag_names(db).items() if name == tag]
        for batch in batches(db, t0, t1):
            mine = np.isin(batch.tag, numbers) & (batch.ts >= t0) & (batch.ts <= t1)
            if mine.any():
                found = True
                yield batch.ts[mine], batch.value[mine], batch.quality[mine]
    if not found:
        raise _nothing_of(tag)


def _nothing_of(tag: str) -> LinesideError:
    what = f"the journal holds nothing of {tag} in that time"
    return LinesideError(what, hint="another --since; `lineside read` says whether the tag comes")


def stretches(db: Any, tags: list[str], t0: int, t1: int, rows: int) -> list[tuple[int, int]]:
    """Spans between t0 and t1 in which about `rows` of each tag lie: the whole, or STRETCHES of it, evenly spread."""
    whole, most, first, last = [(t0, t1)], 0.0, t1, t0
    for source in {tag.partition(".")[0] for tag in tags}:
        asked = "SELECT min(t0), max(t1), sum(n) FROM block WHERE stream = ? AND t1 >= ? AND t0 <= ?"
        begin, end, n = db.execute(asked, (f"samples:{source}", t0, t1)).fetchone()
        if n:
            block = next((b for b in batches(db, begin, begin) if b.source == source), None)
            most = max(most, n / (1 if block is None else len(np.unique(block.tag))))
            first, last = min(first, max(begin, t0)), max(last, min(end, t1))
    if most <= rows:
        return whole
    every, long = (last - first) / STRETCHES, (last - first) / STRETCHES * rows / most
    return [(round(first + i * every), round(first + i * every + long)) for i in range(STRETCHES)]
