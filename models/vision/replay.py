"""A stored part judged again: the pictures that the journal keeps of it, by a recipe, with what judges at the station."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from edge import Event, Frame

from .image import decoded
from .judging import judge
from .part import Part
from .recipe import Recipe
from .rules import Decision


def pictures(event: Event) -> Iterator[tuple[str, str, str | None]]:
    """(view, camera, digest) of an inspection of a station; digest None where the picture was not kept."""
    said = event.data.get("pictures")
    for view, shot in said.items() if isinstance(said, dict) else ():
        if isinstance(shot, (list, tuple)) and len(shot) == 4:
            yield str(view), str(shot[0]), None if shot[3] is None else str(shot[3])


def images(event: Event, body_of: Callable[[str], bytes | None]) -> dict[str, np.ndarray]:
    """By camera, of those that are kept and whole."""
    found: dict[str, np.ndarray] = {}
    for _, camera, digest in pictures(event):
        body = body_of(digest) if digest and camera not in found else None
        image = decoded(body, cv2.IMREAD_UNCHANGED) if body else None
        if image is not None:
            found[camera] = image
    return found


def replay(event: Event, recipe: Recipe, found: dict[str, np.ndarray]) -> Decision | str:
    """The verdict on pictures by camera, or why none. Views that were left out for lack of time stay out. A part of which a
    picture is missing is not judged: its verdict would be another part's. Blocks for about as long as the station took."""
    out = event.data.get("left_out")
    left_out = tuple(name for name in recipe.views if isinstance(out, list) and name in out)
    part = Part(0, 0, recipe, 0, event.ts, 0, left_out)
    for view in part.views():
        if view.camera not in found:
            return f"no picture of {view.camera} is kept"
        if view.lasts:
            return f"{view.name} was a film, of which one picture is kept"
        frame = Frame(view.camera, 0, event.ts, found[view.camera])
        part.judged[view.name] = judge(0, view, frame, "none")
    if not part.judged:
        return "every view of it was left out"
    return part.decide()
