"""A detector of single pictures: what it is trained on, and from a folder of pictures and boxes to a package that judges them."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from models.engines.contract import Tensor
from models.package import Detect, load
from models.train import pieces, samples
from models.vision import peaks
from models.vision.detect import Detector
from models.vision.score import Score
from models.vision.singles import COLUMNS, Single, Singles

LABELS = ["bar", "spot"]


def drawn(number: int, side: int = 96) -> Single:
    """A noisy grey picture with a bright spot or a dark bar."""
    rng = np.random.default_rng(number)
    picture = rng.normal(128, 6, (side, side))
    w, h = ((24, 24), (16, 48))[number % 2]
    x, y = rng.integers(4, side - 52, 2).tolist()
    picture[y : y + h, x : x + w] += (90, -90)[number % 2]
    grey, box = picture.clip(0, 255).astype(np.uint8), np.array([[x, y, x + w, y + h]], np.float32)
    return Single(f"{number:03}.png", grey, box, [LABELS[not number % 2]])


def written(folder: Path, many: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [",".join(COLUMNS)]
    with zipfile.ZipFile(folder / "all.zip", "w") as packed:
        for one in map(drawn, range(many)):
            packed.writestr(one.id, cv2.imencode(".png", one.part)[1].tobytes())
            rows.append(f"{one.id},96,96,{one.types[0]},{','.join(map(str, one.boxes[0]))}")
    (folder / "all_boxes.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.parametrize("seed", range(6))
def test_boxes_lie_where_their_pieces_show_them(seed: int) -> None:
    source = pieces.Pieces(map(drawn, range(8)), LABELS, 96)
    rng = np.random.default_rng(seed)
    for way in range(source.ways):
        picture, boxes = samples.turned(source(rng), way)
        grey = cv2.GaussianBlur(picture[:, :, 0], (5, 5), 0).astype(int)
        for x0, y0, x1, y1, label in boxes.round().astype(int):
            inner = grey[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2]
            if label >= 0 and inner.size > 40:
                rest = np.median(grey)
                assert (inner.mean() > rest + 20) if LABELS[label] == "spot" else (inner.mean() < rest - 20)


def test_a_seed_and_a_number_give_the_same_pieces() -> None:
    source = pieces.Pieces(map(drawn, range(8)), LABELS, 96)
    one, two, other = (samples.batch(source, 7, number, 4) for number in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True)) and not np.array_equal(one[0], other[0])
    assert one[0].shape == (4, 96, 96, 1) and one[1].shape == (4, 2, 12, 12)


def test_what_training_wants_is_what_the_runtime_reads() -> None:
    boxes = np.array([[4, 8, 90, 70, 1], [30, 40, 46, 52, 0]], np.float32)  # a small one within a large one
    heat, counts, off, weight = pieces.targets(boxes, 96, 2)
    assert counts.all() and (weight > 0).sum() > 9
    model: Any = Detect.model_construct(stride=samples.STRIDE, unit=samples.UNIT, size=(96, 96))
    odds = np.log(np.clip(heat, 1e-4, 0.999) / (1 - np.clip(heat, 1e-4, 0.999))).transpose(1, 2, 0)
    said = peaks.read(odds, off.transpose(1, 2, 0), None, Tensor("plain", (), np.float32))
    found = peaks.boxes(*said, model, 0.9)
    assert np.allclose(found[np.argsort(found[:, 5])][:, :4], boxes[[1, 0], :4], atol=1e-3)


def test_of_what_is_hardly_seen_a_piece_says_nothing() -> None:
    heat, counts, _, weight = pieces.targets(np.array([[0, 40, 10, 80, -1]], np.float32), 96, 2)
    assert not heat.any() and not weight.any() and not counts[5:10, 0].any() and counts[:4].all()


def test_from_a_folder_to_a_package_that_judges_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed here: make train brings it (extra train)")
    from models.train import boxes

    data, out = written(tmp_path / "set", 48), tmp_path / "spots-1"
    words = f"--data {data} --out {out} --checkpoint {tmp_path / 'c.pt'} --width 0.25 --steps 150 --batch 8 --threads 1"
    monkeypatch.setattr(sys, "argv", ["boxes", *words.split()])
    assert boxes.main() == 0
    package = load(out)
    model = package.described(Detect)
    assert (model.alone, model.fit, model.size, model.labels, model.look) == (True, "scale", (96, 96), LABELS, 96)
    assert (out / "spots-1.tflite").stat().st_size < 200_000
    unseen = [drawn(number) for number in range(1000, 1020)]
    detector = Detector(package, 0.02)
    found = [detector(one.part, None) for one in unseen]
    score = Score(found, [(one.boxes, np.array([LABELS.index(one.types[0])])) for one in unseen], LABELS, 0.5)
    assert score.mean() > 50, score.by_type()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--continue"])
    monkeypatch.setattr(boxes, "WORSE", -100)  # the check point of the end is packed anew, and no int8 is good enough
    assert boxes.main() == 1


@pytest.mark.parametrize(
    ("many", "words", "said"),
    [
        (8, "", "8 pictures, 2 kinds of boxes; 40 pictures are the least"),
        (0, "", "holds no pictures of the part 'all'"),
        (48, "--part test", "has no table of boxes of the part 'test'"),
        (48, "--size 100", "invalid choice: 100"),
        (48, "--out a+b", "'a+b' is no name of a model"),
    ],
)
def test_a_folder_that_teaches_nothing_is_refused_before_it_is_trained_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    many: int,
    words: str,
    said: str,
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed here: make train brings it (extra train)")
    from models.train import boxes

    data = written(tmp_path / "set", many)
    monkeypatch.setattr(sys, "argv", ["boxes", "--data", str(data), "--out", str(tmp_path / "out"), *words.split()])
    with pytest.raises(SystemExit):
        boxes.main()
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_label_is_read_as_the_text_that_it_is(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed here: make train brings it (extra train)")
    from edge import read_yaml
    from models.train.export import said

    labels = [
        "spot",
        "rolled-in_scale",
        "no",
        "Null",
        "1",
        "1e3",
        "a: b",
        "x, y]",
        "'",
        '"',
        "# c",
        "缺口",
        "two words",
        "y",
    ]
    (tmp_path / "a.yaml").write_text(f"labels: [{', '.join(map(said, labels))}]\n")
    assert read_yaml(tmp_path / "a.yaml") == ({"labels": labels}, [])


def test_folds_are_the_same_each_time_and_have_their_share_of_every_kind(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed here: make train brings it (extra train)")
    from models.train.folds import dealt

    singles = Singles(written(tmp_path / "set", 50))
    parts = dealt(singles, 5)
    assert (
        parts == dealt(Singles(tmp_path / "set"), 5) and sorted(name for part in parts for name in part) == singles.ids
    )
    assert [sum(singles.types(name) == ["spot"] for name in part) for part in parts] == [5] * 5


def test_no_fold_judges_what_it_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed here: make train brings it (extra train)")
    import torch

    from models.train import folds

    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    trained: list[set[str]] = []
    tested: list[set[str]] = []

    def learned(options: object, singles: Singles, names: list[str]) -> int:
        trained.append(set(names))
        return 0

    def judged(folder: Path, singles: Singles, names: list[str]) -> tuple[list[np.ndarray], list[Any]]:
        """Right of the first fold, and of the others nothing is found."""
        tested.append(set(names))
        each = [singles[name] for name in names]
        truth = [(one.boxes, np.array([LABELS.index(one.types[0])])) for one in each]
        found = [np.column_stack([boxes, [0.9], types]) for boxes, types in truth]
        return [one if len(tested) == 1 else one[:0] for one in found], truth

    monkeypatch.setattr(folds, "learned", learned)
    monkeypatch.setattr(folds, "judged", judged)
    data = written(tmp_path / "set", 50)
    monkeypatch.setattr(sys, "argv", ["folds", "--data", str(data), "--out", str(tmp_path / "out")])
    assert folds.main() == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert all(not one & two and len(one | two) == 50 for one, two in zip(trained, tested, strict=True))
    assert [one["mAP"] for one in figures["folds"]] == [100, 0, 0, 0, 0]
    assert (figures["mAP_mean"], figures["pooled"]["mAP"], figures["pooled"]["boxes"]) == (20, 20, 50)
