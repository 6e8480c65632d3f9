"""Labelled pictures as a COCO detection file (cocodataset.org, format data): what every labelling and training program reads.

Beside the format's own keys an image says the `inspection` it is of, its `view` and `template`, what the station (`verdict`) and a
person (`truth`) said, and whether its boxes are all that is to be found on it (`whole`). Others pass over them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .ledger import Part

Boxed = tuple[float, float, float, float, str, float]  # x0, y0, x1, y1 in pixels of the picture, label, score


@dataclass(frozen=True)
class Labelled:
    """One view of a part: its picture and its template as files beside the COCO file (`template` "": none), and the boxes that the
    station drew onto it, those that its rules let pass left out."""

    part: Part
    view: str
    file: str
    template: str
    size: tuple[int, int]  # height, width
    boxes: Sequence[Boxed]


def number(*words: object) -> int:
    """The same words have the same number, everywhere and always; 52 bits, so that any JSON reader keeps it."""
    return int(hashlib.sha256("\n".join(map(str, words)).encode()).hexdigest()[:13], 16)


def truth_of(shown: Labelled, drawn: int) -> tuple[list[Boxed], bool]:
    """The boxes that hold, and whether they are all. `drawn` counts the boxes in all views of the part. A person who says OK takes
    the boxes away. One who says NG confirms them, by another name where there is but one; where the station drew none, or none
    of that name, a person has to draw."""
    part, boxes = shown.part, list(shown.boxes)
    if part.truth == "ok":
        return [], True
    if part.truth != "ng" or not boxes:
        return boxes, False
    if part.found and drawn == 1:
        boxes = [(*boxes[0][:4], part.found, boxes[0][5])]
    return boxes, part.found in ("", *(box[4] for box in boxes))


def file_of(
    shown: Iterable[Labelled], labels: Sequence[str], before: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The COCO file of these, after what one from `before` holds: an image that comes again replaces itself, and categories keep
    their numbers. `labels` come first in the order of the recipe's models."""
    shown = list(shown)
    images = {image["id"]: image for image in (before or {}).get("images", [])}
    notes: dict[int, list[dict[str, Any]]] = {}
    for note in (before or {}).get("annotations", []):
        notes.setdefault(note["image_id"], []).append(note)
    categories = {kind["name"]: kind for kind in (before or {}).get("categories", [])}
    drawn: dict[str, int] = {}
    for one in shown:
        drawn[one.part.id] = drawn.get(one.part.id, 0) + len(one.boxes)
    held = [(one, *truth_of(one, drawn[one.part.id])) for one in shown]
    for name in [*labels, *sorted({box[4] for _, boxes, _ in held for box in boxes})]:
        if name not in categories:
            last = max((kind["id"] for kind in categories.values()), default=0)
            categories[name] = {"id": last + 1, "name": name, "supercategory": "defect"}
    for one, boxes, whole in held:
        image = _image(one, whole)
        images[image["id"]] = image
        by = one.part.by or one.part.stage
        notes[image["id"]] = [_note(image["id"], box, categories[box[4]]["id"], by) for box in dict.fromkeys(boxes)]
    return {
        "images": sorted(images.values(), key=lambda image: str(image["file_name"])),
        "annotations": [note for key in sorted(notes) for note in notes[key]],
        "categories": sorted(categories.values(), key=lambda kind: int(kind["id"])),
    }


def _image(one: Labelled, whole: bool) -> dict[str, Any]:
    said = {"inspection": one.part.id, "part": one.part.number, "view": one.view, "template": one.template}
    said |= {"verdict": one.part.verdict, "truth": one.part.truth, "found": one.part.found, "whole": whole}
    height, width = one.size
    return {"id": number(one.part.id, one.view), "file_name": one.file, "width": width, "height": height} | said


def _note(image: int, box: Boxed, category: int, by: str) -> dict[str, Any]:
    x0, y0, x1, y1, label, score = box
    sides = [x0, y0, x1 - x0, y1 - y0]
    return {
        "id": number(image, *sides, label),
        "image_id": image,
        "category_id": category,
        "bbox": sides,
        "area": sides[2] * sides[3],
        "iscrowd": 0,
        "score": round(score, 4),
        "by": by,
    }
