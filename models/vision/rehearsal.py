"""The tests of a recipe: pictures of parts whose verdict is known, judged as the station judges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from edge import Frame, read_tree

from .image import decoded
from .judging import judge
from .part import Part
from .recipe import MOST_BYTES, MOST_PIXELS, Recipe, Refused, load
from .recipe_config import RecipeTest


def rehearsed(files: Iterable[str], folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each test of these recipes: its file and name, and its faults. Blocks while models prove themselves; a recipe without tests
    is not loaded."""
    for file in dict.fromkeys(files):
        tree = read_tree(folder / file)
        if tree.problems or not isinstance(tree.data, dict) or not tree.data.get("tests"):
            continue
        recipe = load(folder / file)
        if isinstance(recipe, Refused):
            yield f"{file}", recipe.faults
            continue
        yield from ((f"{file}: {test.name}", _faults(recipe, test)) for test in recipe.tests)


def _faults(recipe: Recipe, test: RecipeTest) -> list[str]:
    pictures: dict[str, np.ndarray] = {}
    for camera, name in test.pictures.items():
        path = recipe.path.parent / name
        try:
            image = decoded(path.read_bytes(), cv2.IMREAD_UNCHANGED) if path.stat().st_size <= MOST_BYTES else None
        except OSError as error:
            return [f"cannot read {path}: {error.strerror}"]
        if image is None or image.size > MOST_PIXELS:
            return [f"{path} is no picture, or too large"]
        pictures[camera] = image
    part = Part(0, 0, recipe, 0, 0, 0)
    for view in part.views():
        if view.camera in pictures and not view.lasts:  # no picture is a film
            part.judged[view.name] = judge(0, view, Frame(view.camera, 0, 0, pictures[view.camera]), "none")
    found = part.decide()
    said = {"expect": found.state, "label": found.label, "code": part.code}
    wanted = {name: value for name in said if (value := getattr(test, name)) is not None}
    return [
        f"expected {value!r}, it is {said[name]!r}: {found.text}"
        for name, value in wanted.items()
        if value != said[name]
    ]
