"""What every inspection says, whatever judged it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from edge import Event, Frame, Picture

Box = tuple[int, int, int, int, str, float]  # x0, y0, x1, y1 in pixels of the frame, label, score


@dataclass
class Verdict:
    """`state` is ok, ng or recheck; `text` tells a person why."""

    state: str
    score: float
    label: str = ""
    text: str = ""
    boxes: Sequence[Box] = field(default_factory=tuple)


def results(
    stage: str, frame: Frame, verdict: Verdict, took_ms: float, picture: np.ndarray | None, model: str = ""
) -> Iterable[Any]:
    """The picture, if it is kept, and last the inspection event, journaled together. `model`: name, version and SHA-256."""
    refs: tuple[str, ...] = ()
    if picture is not None:
        done, body = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
        if done:
            digest = hashlib.sha256(body.tobytes()).hexdigest()
            refs = (digest,)
            yield Picture(digest, "image/jpeg", body.tobytes())
    data: dict[str, Any] = {
        "part": frame.part,
        "source": frame.source,
        "frame": frame.seq,
        "label": verdict.label,
        "score": round(float(verdict.score), 4),
        "boxes": [[*map(int, box[:4]), box[4], round(float(box[5]), 4)] for box in verdict.boxes],
        "took_ms": round(took_ms, 3),
    } | ({"model": model} if model else {})
    severity = {"ok": "info", "ng": "medium"}.get(verdict.state, "low")
    yield Event("inspection", stage, verdict.state, frame.ts, severity, verdict.text, data, refs)


def unjudged(stage: str, source: str, seq: int, part: int | None, ts: int, cause: str) -> Event:
    """The event of a part that nobody judged: it has to be looked at again."""
    data: dict[str, Any] = {
        "part": part,
        "source": source,
        "frame": seq,
        "label": "",
        "score": 0.0,
        "boxes": [],
        "took_ms": 0.0,
    }
    return Event("inspection", stage, "recheck", ts, "low", cause, data)
