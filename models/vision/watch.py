"""Whether the cameras of a station are there, and whether they move."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from edge import Event

from .judging import Judged, missing

UNOPENED = "has not opened yet"


class Watch:
    """`away`: cameras that give no picture now, and why: lost, or not open yet. `hanging`: those that showed two parts the very
    same picture, which no sensor does twice."""

    def __init__(self, stage: str, unopened: Iterable[str], *, frozen: bool) -> None:
        self._stage, self._frozen = stage, frozen
        self.away = dict.fromkeys(unopened, UNOPENED)
        self.hanging: set[str] = set()
        self._checks: dict[str, tuple[int, int]] = {}  # camera -> check of its last picture, and of which part

    def looked(self, judged: Judged) -> Iterator[Event]:
        """A picture of a camera was judged; the events tell where it began to hang, or moves again."""
        camera = judged.camera
        check, of = self._checks.get(camera, (0, judged.id))
        if not self._frozen or not judged.check or of == judged.id:
            self._checks.setdefault(camera, (judged.check, judged.id))
            return
        self._checks[camera] = judged.check, judged.id
        if check == judged.check and camera not in self.hanging:
            self.hanging.add(camera)
            text = f"{camera} hangs: two parts, one picture"
            yield Event("camera", f"{self._stage}.{camera}", "frozen", severity="high", text=text)
        elif check != judged.check and camera in self.hanging:
            self.hanging.discard(camera)
            yield Event("camera", f"{self._stage}.{camera}", "moves", text=f"{camera} moves again")

    def believed(self, judged: Judged) -> Judged:
        """What a camera that hangs showed is no picture of this part."""
        if judged.camera not in self.hanging:
            return judged
        told = f"{judged.camera} shows the same picture as for the part before: it hangs"
        return replace(judged, seen=missing(judged.seen.view, told), picture=None, image=None)

    def opened(self, camera: str) -> bool:
        """It gave something: a picture, or the value that a camera shows when it is open for a trigger. True when that is news."""
        news = self.away.get(camera) == UNOPENED
        if news:
            del self.away[camera]
        return news

    def heard(self, event: Event) -> str:
        """What the site tells of a camera. Its name where it gives no picture now; else empty."""
        if event.kind != "source":
            lost = event.state in ("failed", "refused", "superseded")
            return event.key.removesuffix(".trigger") if lost else ""
        self.away.pop(event.key, None)
        if event.state == "lost":
            self.away[event.key] = f"is lost: {event.text}"
        return event.key if event.state == "lost" else ""
