"""`lineside model dataset SITE --out FOLDER`: stored parts as labelled pictures in a COCO file, or the ones most worth a look."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edge import (
    Event,
    LinesideError,
    Size,
    between,
    events_of,
    load_site,
    since_until,
    site_and_state,
    state_folder,
    stored_pictures,
)

from ..quality.choice import Chosen, choose
from ..quality.ledger import Part, parts_of
from ..vision import coco
from ..vision.dataset import Body, Export
from ..vision.replay import pictures
from .known import known

HELP = "stored parts as labelled pictures in a COCO file: the reviewed ones, or those most worth a look"
WHY = {
    "shadow": "the shadow model says otherwise",
    "doubt": "its verdict was a doubt",
    "tools": "its tools do not agree",
    "near": "its score is near the other side",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    site_and_state(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write the pictures and annotations.json there")
    told = "not the reviewed parts, but those that a model would learn most from, so many bytes a day (5MB)"
    parser.add_argument("--hardest", type=_size, metavar="SIZE", help=told)
    parser.add_argument("--stage", help="only this station (default: all)")
    told = "recipe that judged, where the site no longer has it (may be given again)"
    parser.add_argument("--recipe", type=Path, action="append", default=[], metavar="FILE", help=told)
    since_until(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def run(options: argparse.Namespace) -> int:
    if options.out is None and options.hardest is None:
        raise LinesideError("say where to: `--out FOLDER`", hint="`--hardest 5MB` alone lists what is worth a look")
    site = load_site(options.site)
    journal = state_folder(site.device.id, options.state) / "journal.db"
    events = [e for e in events_of(journal, "inspection", "review", "shadow") if options.stage in (None, e.key)]
    with stored_pictures(journal) as body_of:
        parts, chosen = _wanted(events, body_of, options)
        told: dict[str, Any] = {"parts": len(parts), "chosen": [asdict(one) for one in chosen]}
        if options.out:
            recipes = known(site.folder, site.stages.values(), options.recipe)
            told |= Export(options.out, recipes, body_of)(parts)
    print(json.dumps(told, ensure_ascii=False) if options.json else "\n".join(_words(told, parts, chosen, options)))
    return 0


def _wanted(
    events: list[Event], body_of: Body, options: argparse.Namespace
) -> tuple[list[tuple[Event, Part]], list[Chosen]]:
    t0, t1 = between(options)
    stored = {e.id: e for e in events if e.kind == "inspection" and e.data.get("pictures") and t0 <= e.ts <= t1}
    parts = {part.id: part for part in parts_of(events) if part.id in stored}
    if options.hardest is None:
        return [(stored[part.id], part) for part in parts.values() if part.truth], []

    def size_of(event: Event) -> int | None:
        bodies = [body_of(digest) if digest else None for _, _, digest in pictures(event)]
        return None if None in bodies else sum(len(body) for body in bodies if body)

    records = {e.data.get("record") for e in events if e.kind == "shadow" and e.state == "differs"}
    shadowed = {e.id for e in stored.values() if e.data.get("hash") in records - {None}}
    reviewed = {part.id for part in parts.values() if part.truth}
    chosen = choose(stored.values(), size_of, options.hardest, shadowed=shadowed, known=reviewed)
    return [(stored[one.id], parts[one.id]) for one in chosen], chosen


def _words(
    told: dict[str, Any], parts: list[tuple[Event, Part]], chosen: list[Chosen], options: argparse.Namespace
) -> Iterator[str]:
    for (_, part), one in zip(parts, chosen, strict=False):
        day = datetime.fromtimestamp(one.day * 86_400, UTC).date()
        yield f"{day} {part.stage} part {part.number}: {WHY[one.why]}, {part.verdict.upper()}, {one.size:,} bytes"
    if not parts:
        yield "no part to choose" if options.hardest else "no part was reviewed yet (`lineside review`)"
    if options.out:
        yield f"{options.out / coco.FILE}: pictures {told['images']:,}, boxes {told['annotations']:,}, labels {told['categories']}"
        if rest := told["images"] - told["whole"]:
            yield f"  {rest:,} of them wait for a person to draw on them; training and `model evaluate` leave them out"
        yield from (f"  left out, {why}: {count:,}" for why, count in told["left_out"].items())


def _size(text: str) -> int:
    try:
        return TypeAdapter(Size).validate_python(text)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error.errors()[0]['msg']}") from None
