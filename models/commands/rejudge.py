"""`lineside backtest SITE --recipe FILE`: the stored parts of a station judged again by another recipe, off line."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge import (
    Event,
    LinesideError,
    between,
    events_of,
    load_site,
    state_folder,
    stored_pictures,
)

from ..quality.calls import Call, compare
from ..quality.commands import said_of
from ..quality.ledger import Part, parts_of
from ..vision import page
from ..vision.recipe import Recipe
from ..vision.replay import images, replay
from ..vision.rules import Decision
from ..vision.view import plain
from .known import known, loaded


def run(options: argparse.Namespace) -> int:
    site = load_site(options.site)
    journal = state_folder(site.device.id, options.state) / "journal.db"
    recipe = loaded(options.recipe)
    parts = list(_chosen(journal, options, options.of or recipe.name))
    before = known(site.folder, site.stages.values(), [options.before] if options.before else [])
    with stored_pictures(journal) as body_of:
        trial = Trial(recipe, before, body_of)
        for event, part in _watched(parts):
            trial.judge(event, part)
        told = _figures(trial, options)
        if options.page:
            _write(options.page, told, trial, options)
    print(json.dumps(told, default=asdict, ensure_ascii=False) if options.json else "\n".join(_words(told, options)))
    return 0


def _chosen(journal: Path, options: argparse.Namespace, name: str) -> Iterator[tuple[Event, Part]]:
    events = [e for e in events_of(journal, "inspection", "review") if options.stage in (None, e.key)]
    stored = {event.id: event for event in events if event.kind == "inspection" and event.data.get("recipe")}
    t0, t1 = between(options)
    found = [
        (stored[part.id], part)
        for part in parts_of(events)
        if part.id in stored and stored[part.id].data["recipe"] == name and t0 <= part.ts <= t1
    ]
    if not found:
        there = sorted({str(event.data["recipe"]) for event in stored.values()})
        raise LinesideError(
            f"the journal holds no part that the recipe {name!r} judged" + (" in that time" if name in there else ""),
            hint=f"`--of NAME` takes those of another: {', '.join(there) or 'there is none'}",
        )
    yield from found


@dataclass
class Trial:
    """`recipe` judges now; `before` by digest are those that may have judged then. `calls` of the parts that could be judged again,
    and by cause how many could not."""

    recipe: Recipe
    before: dict[str, Recipe]
    body_of: Callable[[str], bytes | None]
    calls: list[tuple[Event, Call, Decision]] = field(default_factory=list)
    not_judged: Counter[str] = field(default_factory=Counter)

    def judge(self, event: Event, part: Part) -> None:
        found = images(event, self.body_of)
        now = replay(event, self.recipe, found)
        if isinstance(now, str):
            self.not_judged[now] += 1
            return
        old = self.then(event)
        again = replay(event, old, found) if old else None
        self.calls.append((event, Call(part, now.state, again.state if isinstance(again, Decision) else None), now))

    def then(self, event: Event) -> Recipe | None:
        return self.before.get(str(event.data.get("digest")))


def _watched(parts: list[tuple[Event, Part]]) -> Iterator[tuple[Event, Part]]:
    """With a count for the person who waits."""
    for done, entry in enumerate(parts, 1):
        yield entry
        if sys.stderr.isatty():
            print(f"\r{done} of {len(parts)} parts", end="" if done < len(parts) else "\n", file=sys.stderr)


def _figures(trial: Trial, options: argparse.Namespace) -> dict[str, Any]:
    told = {
        "recipe": trial.recipe.name,
        "digest": trial.recipe.digest,
        "parts": len(trial.calls) + sum(trial.not_judged.values()),
        "not_judged": dict(sorted(trial.not_judged.items())),
    }
    told |= compare((call for _, call, _ in trial.calls), options.rate, options.confidence)
    told["changed"] = [_shown(event, call, now) for event, call, now in trial.calls if call.changed]
    told["differ_as_stored"] = [_shown(event, call, now) for event, call, now in trial.calls if not call.alike]
    return told


def _shown(event: Event, call: Call, now: Decision) -> dict[str, Any]:
    said = {"id": event.id, "stage": event.key, "part": call.part.number, "inspection": event.data.get("inspection")}
    said |= {"said": call.part.verdict, "again": call.again, "now": call.now, "truth": call.part.truth}
    return said | {"label": now.label, "score": round(now.score, 4), "text": now.text}


def _words(told: dict[str, Any], options: argparse.Namespace) -> Iterator[str]:
    yield f"{told['parts']:,} parts that were judged, {told['compared']:,} compared"
    yield from (f"  {count:,} not judged again: {why}" for why, count in told["not_judged"].items())
    if told["unlike"]:
        why = "the recipe of then says something else of the stored picture already (JPEG, or the verdict was not on it alone)"
        yield f"  {told['unlike']:,} left out: {why}"
    if told["untried"]:
        words = "the recipe of then is not here (`--before FILE`): a call may change by the stored picture (JPEG) alone"
        yield f"  {told['untried']:,} of which nobody can tell: {words}"
    yield "calls that change: " + (_changes(told) or "none")
    for name in ("before", "after"):
        yield f"{name:<7} escapes:     {said_of(told[name]['escapes'], 'OK', options.confidence, options.rate)}"
        yield f"{name:<7} false calls: {said_of(told[name]['false_calls'], 'NG', options.confidence, options.rate)}"


def _changes(told: dict[str, Any]) -> str:
    return ", ".join(f"{count:,} {change.replace('->', ' -> ').upper()}" for change, count in told["changes"].items())


def _write(path: Path, told: dict[str, Any], trial: Trial, options: argparse.Namespace) -> None:
    changed = [entry for entry in trial.calls if entry[1].changed]
    lines = [(head.strip(), rest.strip()) for head, _, rest in (line.partition(":") for line in _words(told, options))]
    if len(changed) > options.most:
        lines.append((f"the first {options.most:,} of {len(changed):,} are shown", ""))
    try:
        with path.open("w", encoding="utf-8") as file:
            title = f"{trial.recipe.name}: calls that change"
            file.writelines(page.page(title, lines, (_row(trial, *entry) for entry in changed[: options.most])))
    except OSError as error:
        raise LinesideError(f"cannot write {path}: {error.strerror}") from None


def _row(trial: Trial, event: Event, call: Call, now: Decision) -> page.Row:
    found = images(event, trial.body_of)
    views = []
    for name, viewer in trial.recipe.views.items():
        if viewer.camera not in found:
            continue
        image = plain(found[viewer.camera])
        was = [
            (*box[:5], float(box[5] or 0), box[7])
            for box in event.data.get("boxes", [])
            if len(box) == 8 and box[6] == name
        ]
        left = page.Side(f"{name}, then", call.part.verdict, event.text, image, was)
        boxes = [(*box, state) for view, box, state in now.boxes if view == name]
        views.append((left, page.Side(f"{name}, now", call.now, now.text, image, boxes)))
    part = call.part
    truth = f"; {part.by} found it {part.truth.upper()} {part.found}".rstrip() if part.truth else ""
    return page.Row(
        f"Part {part.number} of {event.key}: {part.verdict.upper()} becomes {call.now.upper()}{truth}", views
    )
