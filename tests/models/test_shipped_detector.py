"""The shipped detector, trained on rendered boards: it proves itself and tells boards with defects from boards without."""

from __future__ import annotations

import numpy as np
import pytest

from models.package import SHIPPED, load
from models.train import boards, samples
from models.vision.tools.contract import View
from models.vision.tools.detect import DetectConfig, DetectTool

pytestmark = pytest.mark.usefixtures("engine")


def test_it_finds_defects_of_boards_it_never_saw_and_none_on_good_ones() -> None:
    package = load(SHIPPED / "pcb-rendered")
    judge = DetectTool(DetectConfig(tool="detect", model="pcb-rendered"), package.folder)
    told = wanted = right = 0
    for seed in range(6):
        rng = np.random.default_rng((40_000_000, seed))
        picture, boxes = samples.rendered(rng, samples.WHOLE, 8)
        finding = judge(View(picture[:, :, 0].copy(), picture[:, :, 1].copy()))
        middles = np.array([[(b[0] + b[2]) / 2, (b[1] + b[3]) / 2] for b in finding.boxes]).reshape(-1, 1, 2)
        inside = ((boxes[:, :2] < middles) & (middles < boxes[:, 2:4])).all(axis=2)
        told, wanted, right = told + len(inside), wanted + len(boxes), right + int(inside.any(axis=1).sum())
        assert finding.state == "ng"
    assert right > 0.7 * wanted and right > 0.7 * told
    part, _ = boards.board(np.random.default_rng((40_000_000, 99)), samples.WHOLE)
    assert judge(View(part, part)).state != "ng"
