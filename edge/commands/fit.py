"""`lineside fit SITE STAGE`: learn from the journal what is normal, and keep it in a file beside the site."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from .. import plugins
from ..config.check import raise_if_faulty
from ..config.load import load
from ..errors import LinesideError
from ..records import reading, tag_names
from ..state import state_folder
from .arguments import between, since_until, site_and_state
from .export import batches, iso

HELP = "fit a stage that learns (anomaly) from the journal's history"


def arguments(parser: argparse.ArgumentParser) -> None:
    site_and_state(parser)
    parser.add_argument("stage", help="name under `stages:`")
    since_until(parser)


def run(options: argparse.Namespace) -> int:
    config = raise_if_faulty(load(options.site))
    entry = config.stages.get(options.stage)
    if entry is None:
        raise LinesideError(
            f"no stage is called {options.stage!r}", hint=f"there are {', '.join(config.stages) or 'none'}"
        )
    stage = plugins.find("stages", entry.stage)
    if not hasattr(stage, "fit"):
        raise LinesideError(f"{options.stage} is a stage {entry.stage!r}, which learns nothing")
    t0, t1 = between(options)
    columns = history(state_folder(config.device.id, options.state) / "journal.db", entry.tags, t0, t1)  # type: ignore[attr-defined]
    try:
        document = stage.fit(entry, columns)
    except ValueError as error:
        raise LinesideError(f"cannot learn from that: {error}") from None
    path = config.folder / f"{options.stage}.json"
    path.write_text(json.dumps(document) + "\n")
    first, last = min(c[0].min() for c in columns.values()), max(c[0].max() for c in columns.values())
    print(f"{path}: learned from {document['rows']} rows, {iso(int(first))} to {iso(int(last))}")
    print(f"use it with `baseline: {path.name}` in {options.stage}")
    return 0


def history(path: Path, tags: list[str], t0: int, t1: int) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(ts, value, quality) of each tag between t0 and t1. Raises LinesideError for one that has none."""
    found: dict[str, list[tuple[np.ndarray, ...]]] = {tag: [] for tag in tags}
    with reading(path) as db:
        names = {number: name for number, (name, *_) in tag_names(db).items() if name in tags}
        for batch in batches(db, t0, t1):
            for number in np.intersect1d(batch.tag, list(names)):
                mine = (batch.tag == number) & (batch.ts >= t0) & (batch.ts <= t1)
                found[names[int(number)]].append((batch.ts[mine], batch.value[mine], batch.quality[mine]))
    for tag, parts in found.items():
        if not parts:
            raise LinesideError(f"the journal holds nothing of {tag} in that time")
    return {
        tag: (np.concatenate([p[0] for p in v]), np.concatenate([p[1] for p in v]), np.concatenate([p[2] for p in v]))
        for tag, v in found.items()
    }
