"""One picture of a part on a pool thread: what its view finds in it."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from edge import SECOND, Answer, Frame, Job, Picture

from .rules import Rule, Seen, striking
from .tools.contract import Finding
from .view import Viewer


@dataclass(frozen=True)
class Judged:
    """What a job says of one view: `check` tells its camera's picture from another one."""

    id: int
    camera: str
    seen: Seen
    check: int = 0
    frame: int = 0
    ts: int = 0
    picture: Picture | None = None
    image: np.ndarray | None = None  # for shadow tools, where the view has any
    after: float = 0.0  # seconds from the trigger to the picture
    about: Mapping[str, Any] = field(default_factory=dict)  # what is known of the camera, `size` [h, w] at least


def missing(view: str, why: str) -> Seen:
    return Seen(view, {"picture": Finding("recheck", text=why)})


def job(
    number: int, view: Viewer, frame: Frame, keep: str, rules: Sequence[Rule], began: int, deadline: int, name: str
) -> Job:
    """Of the view of inspection `number`, for the pool; the frame is the job's own."""
    return Job(
        lambda: [Answer(judge(number, view, frame, keep, began, rules))],
        lambda: [Answer(given_up(number, view, frame))],
        deadline,
        name,
    )


def judge(number: int, view: Viewer, frame: Frame, keep: str, began: int = 0, rules: Sequence[Rule] = ()) -> Judged:
    """On a pool thread; `began` is when the part did. Of a film, which one picture does not judge, `ng` keeps what `all` keeps.
    Gives the frame back whatever happens."""
    try:
        image = frame.image
        seen = view(image)
        wanted = keep == "all" or (keep == "ng" and (view.lasts > 0 or striking(seen, rules)))
        picture = encoded(image) if wanted else None
        check = zlib.crc32(image[::8].tobytes())
        kept, after = image.copy() if view.shadow else None, (frame.mono - began) / SECOND
        about = {"size": list(image.shape[:2]), **frame.about}
        return Judged(number, view.camera, seen, check, frame.seq, frame.ts, picture, kept, after, about)
    except Exception as error:  # no part is without a finding
        return Judged(number, view.camera, missing(view.name, f"cannot be judged: {type(error).__name__}: {error}"))
    finally:
        frame.release()


def given_up(number: int, view: Viewer, frame: Frame) -> Judged:
    frame.release()
    return Judged(number, view.camera, missing(view.name, "no time left to judge it"), frame=frame.seq, ts=frame.ts)


def encoded(image: np.ndarray) -> Picture | None:
    done, body = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])
    if not done:
        return None
    whole = body.tobytes()
    return Picture(hashlib.sha256(whole).hexdigest(), "image/jpeg", whole)
