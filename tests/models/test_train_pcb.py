"""What a detector of board defects is trained on: rendered boards, defects whose type follows from what they do to the copper, and
what the network has to say of them. Training itself is `make train-pcb`."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from models.engines.contract import Engine, Tensor
from models.package import Detect
from models.train import boards, samples, synth
from models.vision import peaks

TRACK = [(28, 0, 40, 96), (52, 0, 64, 96)]  # two tracks of copper, x0 y0 x1 y1


def copper() -> np.ndarray:
    window = np.zeros((96, 96), np.uint8)
    for x0, y0, x1, y1 in TRACK:
        window[y0:y1, x0:x1] = 1
    return window


@pytest.mark.parametrize(
    ("change", "taken", "kind"),
    [
        ((26, 40, 42, 46), True, "open"),
        ((32, 40, 36, 46), True, "pin-hole"),
        ((28, 40, 34, 46), True, "mousebite"),
        ((40, 40, 52, 46), False, "short"),
        ((40, 40, 46, 46), False, "spur"),
        ((70, 40, 80, 46), False, "copper"),
    ],
)
def test_a_defect_is_what_it_does_to_the_copper(change: tuple[int, int, int, int], taken: bool, kind: str) -> None:
    window, mask = copper(), np.zeros((96, 96), np.uint8)
    x0, y0, x1, y1 = change
    mask[y0:y1, x0:x1] = 1
    mask &= window if taken else 1 - window
    assert synth.kind_of(window, mask, taken) == synth.LABELS.index(kind)


def test_a_conductor_that_vanishes_is_none_of_the_six() -> None:
    mask = np.zeros((96, 96), np.uint8)
    mask[40:50, 40:50] = 1
    assert synth.kind_of(mask.copy(), mask, True) is None


def test_what_closes_a_gap_between_two_ends_of_one_conductor_is_a_short() -> None:
    window = copper()
    window[:8, 28:64] = 1  # above, the two tracks are one
    mask = np.zeros((96, 96), np.uint8)
    mask[20:26, 40:52] = 1
    assert synth.kind_of(window, mask, False) == synth.SHORT


def test_boxes_are_around_all_that_was_changed_and_every_kind_comes() -> None:
    kinds: set[int] = set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        part, template = boards.board(rng, 320)
        before = part.copy()
        boxes = synth.add(part, samples.NONE, rng, 8)
        changed, left = part != before, part != before
        for x0, y0, x1, y1, kind in boxes.astype(int):
            inner = changed[y0:y1, x0:x1]
            assert inner.any()
            rows, columns = np.nonzero(inner)
            near = min(y0, 320 - y1, x0, 320 - x1) > 0  # boxes at the rim are cut there
            assert not near or (rows.min(), columns.min()) == (synth.MARGIN, synth.MARGIN)
            left[y0:y1, x0:x1] = False
            kinds.add(kind)
        assert not left.any() and len(boxes) <= 8
        assert (before != template).mean() < 0.1, "a part without defects is its template but for the edges"
    assert kinds == set(range(6))


def test_the_defects_are_in_the_picture_that_is_trained_on() -> None:
    for seed in range(6):
        picture, boxes = samples.rendered(np.random.default_rng(seed), 320, 8)
        differs = (picture[:, :, 0] != picture[:, :, 1]).astype(np.uint8)
        solid = cv2.erode(differs, np.ones((3, 3), np.uint8))  # not the edges alone
        for x0, y0, x1, y1, _ in boxes.astype(int):
            assert solid[y0:y1, x0:x1].any() or differs[y0:y1, x0:x1].sum() >= synth.SMALLEST
        assert len(boxes) and solid.sum() > 10 * len(boxes)


def test_a_seed_and_a_number_give_the_same_pieces() -> None:
    one, two = (samples.batch(samples.Rendered(), 7, 3) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0], samples.batch(samples.Rendered(), 7, 4)[0])
    assert one[0].shape == (16, 320, 320, 2) and one[1].shape == (16, 6, 40, 40)


def test_what_training_wants_is_what_the_runtime_reads() -> None:
    rng = np.random.default_rng(4)
    corner = np.array([[x, y] for x in range(0, 260, 64) for y in range(0, 260, 64)]) + rng.uniform(0, 10, (25, 2))
    boxes = np.column_stack([corner, corner + rng.uniform(20, 44, (25, 2)), rng.integers(0, 6, 25)]).astype(np.float32)
    heat, counts, off, _ = samples.targets(boxes, 320, 6)
    assert counts.all()
    model: Any = Detect.model_construct(stride=samples.STRIDE, unit=samples.UNIT, size=(320, 320))
    odds = np.log(np.clip(heat, 1e-4, 0.999) / (1 - np.clip(heat, 1e-4, 0.999))).transpose(1, 2, 0)
    found = peaks.boxes(*peaks.read(odds, off.transpose(1, 2, 0), None, Tensor("place", (), np.float32)), model, 0.9)
    order, wanted = np.lexsort(found[:, [1, 0]].round().T), np.lexsort(boxes[:, [1, 0]].round().T)
    assert np.allclose(found[order][:, [0, 1, 2, 3, 5]], boxes[wanted], atol=1e-3)


def test_what_is_cut_by_the_rim_counts_neither_way() -> None:
    heat, counts, _, weight = samples.targets(np.array([[-20, 40, 20, 80, 2]], np.float32), 320, 6)
    assert not heat.any() and not weight.any() and not counts[5:10, 0:2].any() and counts[20:].all()


@pytest.mark.parametrize("way", range(8))
def test_boxes_turn_with_their_picture(way: int) -> None:
    picture, boxes = np.zeros((64, 64, 2), np.uint8), np.array([[8, 20, 24, 30, 1]], np.float32)
    picture[20:30, 8:24] = 255
    turned, (box,) = samples.turned((picture, boxes), way)
    x, y, w, h = cv2.boundingRect(np.ascontiguousarray(turned[:, :, 0]))
    assert box.tolist() == [x, y, x + w, y + h, 1]


def test_recorded_pairs_are_trained_on_but_each_tenth_and_no_test_list_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    with zipfile.ZipFile(tmp_path / "trainval.zip", "w") as packed:
        for number in range(12):
            for which in ("test", "temp"):
                picture = np.full((328, 328), 255 if which == "temp" else 0, np.uint8)
                picture[0, 0] = 255 - number
                packed.writestr(f"g/{number:02}_{which}.png", cv2.imencode(".png", picture)[1].tobytes())
    (tmp_path / "trainval_list.txt").write_text("".join(f"g {number:02}\n" for number in range(12)))
    (tmp_path / "trainval_boxes.csv").write_text(
        "group,id,x1,y1,x2,y2,type\n" + "".join(f"g,{n:02},100,100,{120 + n},130,spur\n" for n in range(12))
    )
    (tmp_path / "test.zip").write_text("nobody reads this")
    source = samples.Recorded(tmp_path)
    assert [int(b[0, 2]) - 120 for _, b in samples.held_back(tmp_path)] == [0, 10]
    assert sorted(int(b[0, 2]) - 120 for b in source._boxes) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 11]
    picture, boxes = source(rng)
    assert picture.shape == (320, 320, 2) and set(np.unique(picture)) <= {0, 255} and boxes.shape[1] == 5
    assert picture[:, :, 1].mean() > picture[:, :, 0].mean(), "the part is the first of the two, and black here"


def test_int8_says_what_the_float_network_says(engine: Engine, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed here: make train brings it (extra train)")
    from models.train.detector import Net, calibrated, compiled

    torch.manual_seed(1)
    net = Net(0.25, 6)
    picture = samples.rendered(np.random.default_rng(2), 128, 3)[0]
    (tmp_path / "net.tflite").write_bytes(compiled(net, calibrated(net, [picture]), (128, 128)))
    run = engine.load(tmp_path / "net.tflite")
    got = run(np.bitwise_xor(picture, 0x80).view(np.int8).reshape(1, 128, 32, 8))
    with torch.no_grad():
        wanted = net(torch.from_numpy(picture[None]))
    for spec, one, two in zip(run.outputs, got, wanted, strict=True):
        off = np.abs((one.astype(float) - spec.zero) * spec.scale - two.permute(0, 2, 3, 1).numpy())
        assert off.mean() < 2 * spec.scale, spec.name


def test_the_loudest_picture_sets_the_range(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed here: make train brings it (extra train)")
    from models.train.detector import HIGH, Net, calibrated

    torch.manual_seed(1)
    net = Net(0.25, 6)
    quiet = np.full((64, 64, 2), 120, np.uint8)
    loud = samples.rendered(np.random.default_rng(2), 64, 3)[0]
    one, both = calibrated(net, [loud]), calibrated(net, [quiet, loud, quiet])
    for name, (low, high) in calibrated(net, [quiet]).items():
        assert both[name] == (min(low, one[name][0]), max(high, one[name][1]))
    torch.nn.init.constant_(net.layers["heat"].bias, 50.0)
    assert calibrated(net, [loud])["heat"][1] == HIGH, "log odds beyond say nothing more"


def test_a_process_that_draws_no_more_ends_training_in_words() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed here: make train brings it (extra train)")
    from queue import Empty

    from models.train.training import following

    class Gone:
        def get(self, timeout: float) -> None:
            raise Empty

        def is_alive(self) -> bool:
            return False

    with pytest.raises(SystemExit, match="the process that draws the pieces ended"):
        following(Gone(), Gone())


def test_training_goes_on_as_if_there_had_been_no_break(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed here: make train brings it (extra train)")
    from argparse import Namespace
    from functools import partial

    from models.train.detector import Net
    from models.train.pcb import SETTINGS
    from models.train.training import Training

    options = Namespace(
        seed=1,
        width=0.25,
        steps=4,
        minutes=0.0,
        crop=320,
        batch=16,
        data=None,
        bf16=False,
        checkpoint=tmp_path / "here.pt",
        start=None,
    )
    batches = [tuple(part[:2] for part in samples.batch(samples.Rendered(), 1, number)) for number in range(4)]
    make = partial(Net, options.width, 6)
    whole, first, second = (Training(options, make, SETTINGS) for _ in range(3))
    losses = [whole.learn(batch) for batch in batches]
    assert [first.learn(batch) for batch in batches[:2]] == losses[:2]
    first.save()
    second.restore()
    assert [second.learn(batch) for batch in batches[2:]] == losses[2:]
    options.width = 0.5
    with pytest.raises(SystemExit, match="say the same"):
        Training(options, partial(Net, options.width, 6), SETTINGS).restore()


def test_training_starts_from_the_weights_of_a_package(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed here: make train brings it (extra train)")
    from models.train.detector import Net
    from models.train.weights import WEIGHTS, kept, started

    trained, other, more = Net(0.25, 6), Net(0.25, 6), Net(0.25, 7)
    kept(trained, tmp_path)
    assert (tmp_path / WEIGHTS).stat().st_size < 100_000
    started(other, tmp_path)
    picture = torch.from_numpy(samples.rendered(np.random.default_rng(1), 64, 2)[0][None])
    with torch.no_grad():
        for one, two in zip(trained.eval()(picture), other.eval()(picture), strict=True):
            assert torch.allclose(one, two, atol=0.02)
    before = more.state_dict()["layers.heat.weight"].clone()
    started(more, tmp_path)
    assert torch.equal(more.state_dict()["layers.heat.weight"], before), "a label more: its last layer begins anew"
    assert torch.allclose(
        more.state_dict()["layers.stem.weight"], trained.state_dict()["layers.stem.weight"], atol=1e-3
    )
    with pytest.raises(SystemExit, match="is --width the same"):
        started(Net(0.5, 6), tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"PK no")
    with pytest.raises(SystemExit, match=r"float.npz, the weights to start from: cannot be read"):
        started(other, tmp_path)
    with pytest.raises(SystemExit, match="there is none"):
        started(other, tmp_path / "elsewhere")


def test_a_training_is_as_wide_as_what_it_starts_from(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed here: make train brings it (extra train)")
    from argparse import ArgumentParser

    from models.train.training import arguments, prepared

    def width(*said: str) -> float:
        parser = ArgumentParser()
        arguments(parser, 24, "2", 0.1)
        options = parser.parse_args([*said, "--out", str(tmp_path / "model"), "--threads", "1"])
        prepared(parser, options, 2.0)
        return float(options.width)

    (tmp_path / "figures.json").write_text('{"width": 0.5}')
    start = ("--start", str(tmp_path))
    assert (width(), width(*start), width(*start, "--width", "1")) == (2.0, 0.5, 1.0)
    (tmp_path / "figures.json").write_text("[]")
    with pytest.raises(SystemExit, match="says how wide its network is"):
        width(*start)
