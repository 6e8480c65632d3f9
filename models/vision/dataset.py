"""Stored parts written into a folder as labelled pictures: each view as its tools saw it, with its template."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge import Event, LinesideError

from ..quality.coco import Boxed, Labelled, file_of, number
from ..quality.ledger import Part
from . import coco
from .recipe import Recipe
from .replay import images
from .rules import placed
from .verdict import Box
from .view import Viewer

Body = Callable[[str], bytes | None]


class Export:
    """Parts into a folder; what lies there from before stays."""

    def __init__(self, folder: Path, recipes: dict[str, Recipe], body_of: Body) -> None:
        self._folder, self._recipes, self._body_of = folder, recipes, body_of
        self.left_out: Counter[str] = Counter()

    def __call__(self, parts: list[tuple[Event, Part]]) -> dict[str, Any]:
        """Raises LinesideError where it cannot write, or what is there cannot be read."""
        before = coco.before(self._folder)
        try:
            for name in ("pictures", "templates"):
                (self._folder / name).mkdir(parents=True, exist_ok=True)
            shown = [one for event, part in parts for one in self._views(event, part)]
            found = file_of(shown, self._labels(), before)
            target = self._folder / coco.FILE
            target.with_suffix(".new").write_text(json.dumps(found, ensure_ascii=False, indent=1), "utf-8")
            os.replace(target.with_suffix(".new"), target)
        except OSError as error:
            raise LinesideError(f"cannot write {self._folder}: {error.strerror}") from None
        whole = sum(bool(image.get("whole", True)) for image in found["images"])
        counts = {name: len(found[name]) for name in ("images", "annotations", "categories")}
        return {"written": len(shown), **counts, "whole": whole, "left_out": dict(sorted(self.left_out.items()))}

    def _labels(self) -> list[str]:
        """Of the defects that the models of all recipes know by name, in their order."""
        viewers = (viewer for recipe in self._recipes.values() for viewer in recipe.views.values())
        all_tools = (tool for viewer in viewers for tool in viewer.tools.values())
        tools = (tool for tool in all_tools if "model" in tool.Config.model_fields)
        return list(dict.fromkeys(label for tool in tools for label in getattr(tool, "labels", ())))

    def _views(self, event: Event, part: Part) -> Iterator[Labelled]:
        recipe = self._recipes.get(str(event.data.get("digest")))
        if recipe is None:
            self.left_out["the recipe that judged it is not here (`--recipe FILE`)"] += 1
            return
        found = images(event, self._body_of)
        if not found:
            self.left_out["its pictures are not kept"] += 1
        for viewer in recipe.views.values():
            if viewer.lasts:
                self.left_out[f"{viewer.name} was a film, of which one picture is kept"] += 1
            elif viewer.camera in found:
                yield from self._view(event, part, viewer, found[viewer.camera])

    def _view(self, event: Event, part: Part, viewer: Viewer, image: np.ndarray) -> Iterator[Labelled]:
        try:
            view, place = viewer.prepared(image)
        except (ValueError, cv2.error):
            self.left_out[f"{viewer.name} cannot be placed"] += 1
            return
        file = self._written(f"pictures/{number(part.id, viewer.name):013x}.png", view.image)
        template = ""
        if view.template is not None:
            digest = hashlib.sha256(view.template.tobytes()).hexdigest()
            template = self._written(f"templates/{digest[:16]}.png", view.template)
        back = None if place is None else cv2.invertAffineTransform(place)
        rows = [
            box for box in event.data.get("boxes", []) if len(box) == 8 and box[6] == viewer.name and box[7] != "ok"
        ]
        boxes = [_inside(placed((*box[:4], str(box[4]), float(box[5] or 0)), back), view.image.shape) for box in rows]
        yield Labelled(part, viewer.name, file, template, (view.image.shape[0], view.image.shape[1]), boxes)

    def _written(self, name: str, image: np.ndarray) -> str:
        done, body = cv2.imencode(".png", image)
        if not done:
            raise LinesideError(f"{name} cannot be written as PNG")
        (self._folder / name).write_bytes(body.tobytes())
        return name


def _inside(box: Box, shape: tuple[int, ...]) -> Boxed:
    x0, x1 = np.clip([box[0], box[2]], 0, shape[1]).tolist()
    y0, y1 = np.clip([box[1], box[3]], 0, shape[0]).tolist()
    return (float(x0), float(y0), float(x1), float(y1), box[4], box[5])
