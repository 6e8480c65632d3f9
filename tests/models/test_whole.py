"""A large picture judged whole: what the network says of it is what it says of tiles, and threads share what is warm."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest

from models.package import Detect, find, load
from models.vision import peaks
from models.vision.detect import Detector, cuts
from models.vision.tools.contract import View
from models.vision.tools.detect import DetectConfig, DetectTool
from models.vision.whole import detector, side

pytest.importorskip(
    "ai_edge_litert", reason="LiteRT, whose schema writes the network, is not installed: make setup brings it"
)
from tests.models import detector as made

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.package(tmp_path_factory.mktemp("models") / "difference")


def where(found: np.ndarray) -> list[tuple[float, ...]]:
    return sorted(tuple(round(float(v)) for v in (*box[:4], box[5])) for box in found)


def test_the_whole_of_a_large_picture_is_judged_at_once(folder: Path) -> None:
    rng = np.random.default_rng(2)
    spots = {(int(x) * 24, int(y) * 24) for x, y in rng.integers(1, 12, (30, 2))}
    whole = detector(load(folder), 0.2, (300, 300))
    assert whole.model.size == (320, 320) != Detector(load(folder), 0.2).model.size
    found = whole(*made.pictures(*spots, side=300))
    assert where(found) == sorted((x - 4, y - 4, x + 12, y + 12, 0) for x, y in spots)


@pytest.mark.parametrize(("cell", "fold", "size"), [(24, 3, 288), (64, 4, 256)])
def test_a_picture_is_whole_cells_and_folds_of_any_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: int, fold: int, size: int
) -> None:
    monkeypatch.setattr(made, "CELL", cell)
    monkeypatch.setattr(made, "FOLD", fold)
    whole = detector(
        load(made.package(tmp_path / "odd", side=192, fold=fold, stride=cell, look=2 * cell)), 0.2, (200, 200)
    )
    assert whole.model.size == (size, size)
    middle = cell + cell // 2
    at = (middle - 8, middle - 8, middle + 8, middle + 8, 0)
    assert where(whole(*made.pictures((cell, cell), side=200))) == [at]


def test_a_network_of_odd_steps_judges_in_its_own_tiles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = load(folder)
    odd = package.described(Detect).model_copy(update={"fold": 13})  # 416 px at a time
    monkeypatch.setattr(package, "described", lambda kind: odd)
    asked: list[object] = []
    monkeypatch.setattr("models.vision.whole.Detector", lambda one, least: asked.append(one))
    detector(package, 0.2, (300, 300))
    assert asked == [package]


def test_a_trained_network_sees_no_seams_and_the_same_defects() -> None:
    from models.train.samples import rendered

    package = load(find("pcb-rendered", Path()))
    tiled, whole = Detector(package, 0.4), detector(package, 0.4, (800, 800))
    assert whole.model.size == (800, 800) != tiled.model.size
    found = 0
    for seed in range(3):
        sample, _ = rendered(np.random.default_rng(seed), 800, 8)
        part, template = (np.ascontiguousarray(sample[:, :, k]) for k in (0, 1))
        one, two = tiled(part, template), whole(part, template)
        assert peaks.agree(one, two)
        found += len(one)
    assert found > 10


@pytest.mark.parametrize(
    ("length", "own", "size"), [(640, 640, 640), (300, 640, 640), (1080, 640, 1088), (4000, 640, 2048)]
)
def test_a_whole_picture_is_taken_while_it_is_not_too_large(length: int, own: int, size: int) -> None:
    assert side(length, own, 96) == size
    assert len(cuts(max(length, size), size, 96)) == (2 if length > 2048 else 1)


def test_a_network_for_one_size_alone_judges_in_tiles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = load(folder)
    ask = package.interpreter

    def fixed(threads: int = 1, engine: str = "", shape: tuple[int, ...] | None = None) -> Any:
        return ask(threads, engine)  # gives its own size, whatever was asked for

    monkeypatch.setattr(package, "interpreter", fixed)
    assert detector(package, 0.2, (300, 300)).model.size == (64, 64)


def test_what_is_scaled_to_the_network_stays_so(tmp_path: Path) -> None:
    scaled = load(made.package(tmp_path / "scaled", fit="scale"))
    assert detector(scaled, 0.2, (300, 300)).model.size == (64, 64)


def test_threads_share_warm_detectors_and_never_one(folder: Path) -> None:
    judge, many = DetectTool(DetectConfig(tool="detect", model=folder.name), folder.parent), 4
    together, ask, made_here = Barrier(many), judge._detector, []

    def counted(shape: tuple[int, ...]) -> Any:
        one = ask(shape)
        made_here.append(one)
        look = one.told
        one.told = lambda part, template: (together.wait(100), look(part, template))[1]  # type: ignore[method-assign]
        return one

    judge._detector = counted  # type: ignore[method-assign, assignment]
    with ThreadPoolExecutor(many) as pool:
        for _ in range(3):
            views = [View(*made.pictures((16, 16 * k + 16), side=96)) for k in range(many)]
            found = list(pool.map(judge, views))
            assert [finding.boxes[0][:2] for finding in found] == [(12, 16 * k + 12) for k in range(many)]
    assert len(made_here) == many
