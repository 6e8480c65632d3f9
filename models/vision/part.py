"""One part on its way through a station: its views as they come in, and the record of its verdict."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from edge import SECOND, Event

from .judging import Judged, missing
from .recipe import Recipe
from .rules import Decision, Seen, decide, plain, striking
from .view import Viewer

SEVERITY = {"ok": "info", "ng": "medium", "recheck": "low"}


@dataclass
class Part:
    """`deadline` in monotonic ns: at it the part has its verdict, whatever is missing. `left_out`: views for which there is no
    time, and `pictures` where none is kept. `failed`: by camera, why it gives no picture."""

    id: int
    number: int
    recipe: Recipe
    began: int
    ts: int
    deadline: int
    left_out: tuple[str, ...] = ()
    masters: tuple[str, ...] = ()  # that were wanted when it came
    judged: dict[str, Judged] = field(default_factory=dict)
    arrived: set[str] = field(default_factory=set)  # cameras whose picture is here
    failed: dict[str, str] = field(default_factory=dict)
    started: set[str] = field(default_factory=set)  # cameras that gave a picture
    rounds: dict[str, int] = field(default_factory=dict)  # when a camera that films is asked next
    films: dict[str, list[Judged]] = field(default_factory=dict)  # by view
    numbered: bool = True  # `number` is what the PLC said, and not the inspection id
    out: Counter[str] = field(default_factory=Counter)  # pictures of a film that are being judged, by view

    def roll(self) -> None:
        """The films begin; their first pictures were asked for."""
        for view in self.views():
            if view.lasts:
                self.rounds[view.camera] = min(
                    self.rounds.get(view.camera, self.deadline), self.began + round(view.every * SECOND)
                )
                self.films[view.name] = []

    def asks(self, now: int) -> list[str]:
        """The cameras that film and whose next picture is due. One whose film is over has given all its pictures."""
        due = [camera for camera, at in self.rounds.items() if at <= now]
        for camera in due:
            films = [view for view in self.views(camera) if view.lasts]
            if now >= self.began + round(max(view.lasts for view in films) * SECOND):
                del self.rounds[camera]
                self.arrived.add(camera)
            else:
                every = round(min(view.every for view in films) * SECOND)
                self.rounds[camera] += every * ((now - self.rounds[camera]) // every + 1)
        return [camera for camera in due if camera in self.rounds]

    def develop(self) -> None:
        """Judge each film that is over and whose pictures are all back."""
        for view in self.views():
            over = view.camera in self.arrived and not self.out[view.name]
            if view.name in self.films and over and view.name not in self.judged:
                film = self.films[view.name]
                seen = view.over([(shot.after, shot.seen) for shot in film])
                kept = next((shot for shot in film if shot.picture), Judged(self.id, view.camera, seen))
                self.judged[view.name] = replace(kept, seen=seen)

    def keeps(self, keep: str) -> str:
        """Whose pictures are encoded, where a station keeps `keep`: of bad parts alone, of all that other things than the picture
        may make a recheck."""
        identity = self.recipe.identity
        once = identity is not None and not identity.again
        return "all" if keep == "ng" and (self.masters or once) else keep

    def clear(self, state: str) -> None:
        """Give up the pictures that show nothing to look at; of a part that is not OK (`state`) all the same, none."""
        plain = [name for name, shot in self.judged.items() if not striking(shot.seen, self.recipe.rules)]
        if state == "ok" or len(plain) < len(self.judged):
            self.judged |= {name: replace(self.judged[name], picture=None) for name in plain}

    def due(self) -> int:
        return min([self.deadline, *self.rounds.values()])

    def views(self, camera: str | None = None) -> list[Viewer]:
        wanted = [v for v in self.recipe.views.values() if v.name not in self.left_out]
        return [v for v in wanted if camera in (None, v.camera)]

    @property
    def whole(self) -> bool:
        """Whether no view of its recipe is left out."""
        return self.recipe.views.keys().isdisjoint(self.left_out)

    def cameras(self) -> list[str]:
        return sorted({view.camera for view in self.views()})

    def waits(self) -> bool:
        """Whether a camera has not given its picture yet, so that the part must not move and no other one come."""
        return not self.arrived.union(self.failed).issuperset(self.cameras())

    def complete(self) -> bool:
        return all(view.name in self.judged or view.camera in self.failed for view in self.views())

    def decide(self, before: str = "") -> Decision:
        """The verdict on what was seen; a view that is missing is a recheck, whatever the others say but NG. So is a part that
        does not say who it is where it should, or has the code of the last one that was OK (`before`), and everything while
        master samples are wanted."""
        seen = [self._seen(view) for view in self.views()] or [missing("part", "every view of it was left out")]
        if self.recipe.identity is not None and not self.is_master:
            if not self.code:
                seen.append(missing("part", "who it is was not read"))
            elif self.code == before and not self.recipe.identity.again:
                seen.append(missing("part", f"the part before has the code {self.code}, too"))
        if self.masters and not self.is_master:
            seen.append(missing("masters", f"show the master samples first: {', '.join(self.masters)}"))
        return decide(seen, self.recipe.rules)

    @property
    def code(self) -> str:
        """Who it is, as its picture says; empty where its recipe reads no code, or none was read for sure."""
        identity = self.recipe.identity
        shot = self.judged.get(identity.view) if identity else None
        finding = shot.seen.findings.get(identity.tool) if identity and shot else None
        return finding.text if finding is not None and finding.state == "ok" else ""

    @property
    def name(self) -> str:
        """By which master samples are known: its code where its recipe reads one, else its number."""
        number = str(self.number) if self.numbered else ""
        return self.code if self.recipe.identity is not None else number

    @property
    def is_master(self) -> bool:
        return self.recipe.masters is not None and self.name in self.recipe.masters.known

    def _seen(self, view: Viewer) -> Seen:
        if view.name in self.judged:
            return self.judged[view.name].seen
        came = view.camera in self.arrived
        why = self.failed.get(view.camera) or (
            "no time left to judge it" if came else f"no picture from {view.camera} in time"
        )
        return missing(view.name, why)

    def record(self, stage: str, decision: Decision, now: int) -> Event:
        """The inspection event, not yet linked to the one before it; of a master sample an event `master`."""
        shots = [self.judged[view.name] for view in self.views() if view.name in self.judged]
        data: dict[str, Any] = {
            "part": self.number,
            "inspection": self.id,
            "recipe": self.recipe.name,
            "checksum": self.recipe.checksum,
            "digest": self.recipe.digest,
            "models": dict(self.recipe.models),
            "tools": {name: dict(options) for name, options in self.recipe.options.items()},
            "source": shots[0].camera if shots else "",
            "label": decision.label,
            "score": round(decision.score, 4),
            "boxes": plain(decision.boxes),
            "measured": {name: round(value, 4) for name, value in decision.measured.items()},
            "findings": {
                f"{shot.seen.view}.{name}": [f.state, round(float(f.score), 4)]
                for shot in shots
                for name, f in shot.seen.findings.items()
            },
            "pictures": {
                s.seen.view: [s.camera, s.frame, s.ts, s.picture.digest if s.picture else None] for s in shots
            },
            "cameras": {shot.camera: dict(shot.about) for shot in shots if shot.about},
            "left_out": list(self.left_out),
            "took_ms": round((now - self.began) / 1e6, 3),
            "judged_ms": {shot.seen.view: round(shot.seen.took_ms, 3) for shot in shots},
        }
        if self.recipe.identity is not None:
            data["code"] = self.code
        refs = tuple(dict.fromkeys(shot.picture.digest for shot in shots if shot.picture))
        without = ", ".join(name for name in self.left_out if name in self.recipe.views)
        text = f"{decision.text}; without {without}".removeprefix("; ") if without else decision.text
        kind = "master" if self.is_master else "inspection"
        return Event(kind, stage, decision.state, self.ts, SEVERITY[decision.state], text, data, refs)
