"""The stage `cases`: what is raised brings the cases that it looks like, with no network."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from edge import (
    ConfigFault,
    Event,
    Job,
    NearCase,
    Setting,
    StageConfig,
    StatelessStage,
    seen_of,
)

from .knowledge import Knowledge

SHOWN = 300  # characters of each text that an event carries


class CasesConfig(StageConfig):
    """Where the cases are, and how near one has to be to be told."""

    file: str = Field(
        "",
        description="file beside the site, YAML, JSON or CSV, which `lineside cases SITE --import` fills; without it: those of the "
        "plane alone, where `sync: {installs: [cases]}` takes them",
    )
    assets: dict[str, str] = Field(
        default_factory=dict,
        max_length=1000,
        description="class of what is behind the beginning of tags: `line1.pump3: water_pump`",
    )
    near: float = Field(0.5, gt=0, le=1, description="least nearness that is told")
    most: int = Field(3, ge=1, le=10, description="cases that are told of one alarm")

    def at_odds(self, sections: Mapping[str, BaseModel | None]) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        sync = sections.get("sync")
        unknown = "sync" in sections and sync is None
        if not (self.file or unknown or "cases" in getattr(sync, "installs", ())):
            hint = "say `file: cases.yaml`, or take the plane's: `sync: {installs: [cases]}`"
            yield (), "it knows no case and gets none: it has no `file`, and the site takes none of a plane", hint


class Cases(StatelessStage):
    """`alarm` and `anomaly` events in; `NAME.KEY` found, with the nearest cases, out."""

    Config = CasesConfig
    inputs = frozenset({"event:alarm", "event:anomaly"})

    def __init__(self, config: CasesConfig, setting: Setting) -> None:
        self.config, self.name = config, setting.name
        names = [tag.name for tag in setting.table]
        for prefix in config.assets:
            if not any(name.startswith(f"{prefix}.") for name in names):
                raise ConfigFault(f"assets: no tag begins with {prefix}.", hint="say under which source its tags are")
        state = None if setting.alone else setting.state
        self.knowledge = Knowledge(own_file(config, setting.folder), state, config.assets)
        self._waiting: dict[tuple[str, str], Event] = {}  # the newest of each alarm, for the pool
        self._busy, self._lock = False, threading.Lock()

    def __call__(self, item: Any) -> Iterator[Job]:
        if not isinstance(item, Event) or item.kind not in ("alarm", "anomaly") or item.state != "raised":
            return
        with self._lock:
            self._waiting[item.kind, item.key] = item
            idle, self._busy = not self._busy, True
        if idle:
            yield Job(self._look, self._given_up, name=self.name)

    def _look(self) -> Iterator[Event]:
        """All that wait, on a thread of the pool: a storm of alarms is one job and holds up nobody. Cases that were imported
        or came from the plane since then are known."""
        known = self.knowledge.now()
        while True:
            with self._lock:
                if not self._waiting:
                    self._busy = False
                    return
                event = self._waiting.pop(next(iter(self._waiting)))
            found = known.nearest(seen_of(event), self.config.near, self.config.most)
            if found:
                data = {"about": event.kind, "key": event.key, "raised": event.id, "cases": [*map(_shown, found)]}
                key = f"{self.name}.{event.key}"
                yield Event("cases", key, "found", event.ts, "info", said(found), data)

    def _given_up(self) -> tuple[()]:
        """The pool had no room, or a look failed: what waits is looked up with the next alarm."""
        with self._lock:
            self._busy = False
        return ()


def own_file(config: CasesConfig, folder: Path) -> Path | None:
    """The site's file, if it has one."""
    return folder / config.file if config.file else None


def said(found: list[NearCase]) -> str:
    """A sentence: the nearest case, and the names of the others."""
    case = found[0].case
    told = [f"like {case.id} ({found[0].near:.0%}): {_cut(case.symptom)}"]
    told += [f"its cause: {_cut(case.cause)}"] if case.cause else []
    told += [f"what helped: {_cut(case.remedy)}"] if case.remedy else []
    told += [f"also like {', '.join(f'{one.case.id} ({one.near:.0%})' for one in found[1:])}"] if found[1:] else []
    return "; ".join(told)


def _shown(one: NearCase) -> dict[str, Any]:
    case = one.case
    told = {"id": case.id, "symptom": case.symptom, "cause": case.cause, "remedy": case.remedy}
    more = {"near": round(one.near, 2), "why": list(one.why), "parts": case.parts, "pictures": case.pictures}
    return {name: _cut(text) for name, text in told.items()} | more


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"
