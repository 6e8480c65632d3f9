"""What was learned as a network: neighbours of a row as channels, and not a step otherwise than pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip(
    "ai_edge_litert", reason="LiteRT, whose wheel a model is written with, is not installed: make setup brings it"
)
from models.engines.contract import Engine
from models.vision.compiled import compiled
from models.vision.teaching import Lesson, Limits
from models.vision.variation import Normal, field, softened


def lesson(height: int, width: int) -> Lesson:
    rng = np.random.default_rng([height, width])
    low = rng.uniform(40, 120, (height, width)).astype(np.float32)
    tolerance = rng.choice(np.float32([0, 8, 8, 12]), (height, width))
    normal = Normal(low, low + 30, tolerance)
    template = np.zeros((height, width), np.uint8)
    return Lesson(template, [template], tolerance > 0, normal, [0.3], Limits(1.0, 3.0, 6))


@pytest.mark.parametrize("width", [48, 36, 34, 33], ids=["by 8", "by 4", "by 2", "by 1"])
@pytest.mark.parametrize("height", [24, 31])
def test_folded_it_says_the_same(engine: Engine, tmp_path: Path, height: int, width: int) -> None:
    learned = lesson(height, width)
    image = np.random.default_rng(1).integers(20, 180, (height, width), np.uint8)
    image[:, ::5] = 255
    said = []
    for name, folds in (("folded", (8, 4, 2)), ("plain", ())):
        body, full = compiled(learned, folds)
        (tmp_path / name).write_bytes(body)
        run = engine.load(tmp_path / name)
        (out,), spec = run((image ^ 0x80).view(np.int8)[None, :, :, None]), run.outputs[0]
        said.append(out)
        exact = np.clip(field(softened(image), learned.normal) / full, 0, 1)
        shown = (out[0, :, :, 0].astype(float) - spec.zero) * spec.scale
        assert shown.shape == exact.shape and np.abs(shown - exact)[2:-2, 2:-2].max() < 0.05
    assert np.array_equal(*said) and len(np.unique(said[0])) > 50
