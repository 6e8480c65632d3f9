"""`lineside model import`: files as others export them become packages that judge, or are refused in words."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge import LinesideError, ModelRefused
from edge.cli import main
from models import package
from models.commands.importing import bounds_in, gives_in, labels_in, range_in, size_in
from models.engines.contract import Engine, Tensor
from models.package import Classify, HeatMap, Objects, load
from models.vision import adopt, intake, parity
from models.vision.graph import RANGES, Wishes, decide
from models.vision.heatmap import HeatMapper
from models.vision.intake import look
from models.vision.tools.contract import Finding, View
from models.vision.tools.table import tool
from tests.conftest import DATA
from tests.models import graphs

REFERENCE = DATA / "tflite-reference"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What children do is done here: each of them takes a second to start."""

    def child(name: str, *words: str) -> Any:
        try:
            return json.loads(json.dumps(intake.answer(*words)))
        except Exception as error:
            said, hint = adopt.words_for(str(error))
            raise ModelRefused(f"{name}: {said}", hint=hint) from None

    def proved(folder: Path, seal: str) -> package.Package:
        package.prove(folder)
        return package.Package(folder, package.describe(folder))

    monkeypatch.setattr(adopt, "child", child)
    monkeypatch.setattr(package, "_proved", proved)


def judged(folder: Path, name: str, image: np.ndarray) -> Finding:
    kind = tool(name)
    return kind(kind.Config(tool=name, model=folder.name), folder.parent)(View(image))


def given(tmp_path: Path, body: bytes, name: str = "net.onnx") -> Path:
    (tmp_path / name).write_bytes(body)
    return tmp_path / name


def samples(tmp_path: Path, pictures: Sequence[np.ndarray], name: str = "samples") -> Path:
    folder = tmp_path / name
    folder.mkdir()
    for number, image in enumerate(pictures):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


def test_a_two_stage_detector_as_torchvision_exports_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = [graphs.picture(), graphs.picture((16, 24, "red")), graphs.picture((8, 8, "green"), light=80)]
    words = [
        "--labels",
        "red,green",
        "--samples",
        str(samples(tmp_path, shown)),
        "--trained-on",
        "nothing",
        "--takt",
        "30",
    ]
    file, out = given(tmp_path, graphs.two_stage()), tmp_path / "spots"
    assert main(["model", "import", str(file), "--out", str(out), *words, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["verdicts"] == {"ok": 1, "recheck": 1, "ng": 1} and figures["pictures"] == 3
    assert figures == json.loads((out / "figures.json").read_text()) and figures["ms"]["most"] > 0
    assert sorted(path.name for path in out.iterdir()) == [
        "card.md",
        "figures.json",
        "golden.npz",
        "model.onnx",
        "model.yaml",
    ]
    model = load(out).described(Objects)
    assert (model.given.layout, model.gives.first, model.gives.masks, model.data) == ("chw", 1, "masks", "nothing")
    found = judged(out, "detect", graphs.picture((40, 8, "green"), (16, 24, "red")))
    assert {box[4] for box in found.boxes} == {"red", "green"} and found.measured["area_px"] == 128
    assert "its class 0 is taken for the background, 1 for red" in (out / "card.md").read_text()
    assert main(["model", "import", str(file), "--out", str(out), *words]) != 0
    assert "is there already" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_rows_of_paddle_whose_pictures_have_any_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = given(tmp_path, graphs.paddle("h, w")), tmp_path / "rows"
    words = ["model", "import", str(file), "--out", str(out), "--labels", "red,green", "--takt", "30"]
    assert main(words) != 0
    assert (
        "picture [?, 3, ?, ?]; time and memory have to be known before (say --size HEIGHT,WIDTH"
        in capsys.readouterr().err
    )
    assert main([*words, "--size", "64,64"]) != 0
    assert "say how its training scaled a picture: --normalise 0..1, " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [file], "nothing is left of what was refused"
    assert main([*words, "--size", "64,64", "--normalise", "0..1"]) == 0
    assert "its golden vectors prove little" in capsys.readouterr().out
    twice = graphs.picture((16, 24, "red")).repeat(2, axis=0).repeat(2, axis=1)
    assert judged(out, "detect", twice).boxes[0][:5] == (32, 48, 48, 64, "red")


@pytest.mark.usefixtures("here")
def test_a_classifier_with_shares_and_a_scaled_input(tmp_path: Path) -> None:
    file, out = given(tmp_path, graphs.classes()), tmp_path / "colours"
    words = ["--labels", "red,green,blue", "--normalise", "imagenet", "--takt", "30"]
    assert main(["model", "import", str(file), "--out", str(out), *words]) == 0
    model = load(out).described(Classify)
    assert model.says == "shares" and model.given and model.given.std == [0.229, 0.224, 0.225]
    image = np.zeros((50, 70, 3), np.uint8)
    image[:, :, 2] = 200
    assert judged(out, "classify", image).state == "ok"
    image[:, :, 1] = 255
    found = judged(out, "classify", image)
    assert found.state == "ng" and found.boxes[0][4] == "green" and found.score == pytest.approx(1, abs=0.01)


@pytest.mark.usefixtures("here")
@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference models are not on this machine (set DATA=folder)")
def test_a_detector_of_tflite_that_nobody_here_trained(tmp_path: Path, engine: Engine) -> None:
    import zipfile

    with zipfile.ZipFile(REFERENCE / "images.zip") as archive:
        name = next(name for name in archive.namelist() if "cat" in name.lower() and not name.endswith("/"))
        body = archive.read(name)
    shown = tmp_path / "samples"
    shown.mkdir()
    (shown / f"cat{Path(name).suffix}").write_bytes(body)
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"class {n}\n" for n in range(90)))
    file, out = REFERENCE / "models" / "ssd_mobilenet_v1_coco_uint8.tflite", tmp_path / "ssd"
    words = ["--labels", str(labels), "--samples", str(shown), "--takt", "30"]
    assert main(["model", "import", str(file), "--out", str(out), *words]) == 0
    model = load(out).described(Objects)
    assert model.given.mean == [0.5] and (model.gives.corners, model.gives.unit) == ("yxyx", "share")
    found = judged(out, "detect", cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR))
    assert found.boxes[0][4] == "class 16" and found.score > 0.6, "a cat"


def test_weights_in_another_file_are_refused_though_it_lies_beside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = graphs.onnx.load_from_string(graphs.two_stage())
    for held in whole.graph.initializer:
        if held.name == "apart":
            (tmp_path / "net.bin").write_bytes(held.raw_data)
            held.ClearField("raw_data")
            held.data_location = 1
            held.external_data.add(key="location", value="net.bin")
    file = given(tmp_path, whole.SerializeToString())
    assert look(file, "onnx"), "with that file beside it the engine takes it"
    assert main(["model", "import", str(file), "--out", str(tmp_path / "out"), "--labels", "a,b"]) != 0
    said = capsys.readouterr().err
    assert "net.onnx: its weights lie in another file" in said and "save it as one file" in said
    assert {path.name for path in tmp_path.iterdir()} == {"net.bin", "net.onnx"}


@pytest.mark.usefixtures("here")
def test_what_is_too_slow_for_the_takt_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = given(tmp_path, graphs.two_stage("h, w"))
    words = ["--labels", "red,green", "--size", "64,64", "--takt", "0.001"]
    big = samples(tmp_path, [np.zeros((2000, 2000, 3), np.uint8)])
    assert main(["model", "import", str(file), "--out", str(tmp_path / "out"), *words, "--samples", str(big)]) != 0
    said = capsys.readouterr().err
    assert "ms on this board" in said and "the takt is 1 ms (a quiet board" in said and not (tmp_path / "out").exists()


def test_what_takes_half_of_the_memory_is_refused() -> None:
    tried = {"ms": {"median": 1.0, "cpu": 1.0}, "memory_mb": 1000}
    adopt._fits_the_board(Path("net.onnx"), tried, adopt.Terms())
    with pytest.raises(ModelRefused, match="it takes 1000000000 MB, and half of this board's memory is"):
        adopt._fits_the_board(Path("net.onnx"), tried | {"memory_mb": 10**9}, adopt.Terms())


@pytest.mark.parametrize(
    ("change", "words", "todo"),
    [
        (
            lambda body: body.replace(b"\x04Clip", b"\x04Clap"),
            "an operation in it is unknown to the engine here: .*Clap",
            "opset",
        ),
        (lambda body: body[: len(body) // 2], "it is no such model, or cut off", "anew"),
        (lambda body: b"\x08\x63" + body[2:], "it is made for a newer engine: .*version: 99", "older opset"),
    ],
)
def test_what_the_engine_does_not_take_is_told_with_what_to_do(
    tmp_path: Path, change: Any, words: str, todo: str
) -> None:
    file = given(tmp_path, change(graphs.two_stage()))
    with pytest.raises(ModelRefused) as refused:
        look(file, "onnx")
    said, hint = adopt.words_for(str(refused.value))
    assert re.search(words, said) and todo in hint, said


def test_a_file_that_ends_its_process_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nkill -11 $$\n")
    script.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(script))
    with pytest.raises(ModelRefused, match=r"net.onnx: it ended the process that tried it \(signal 11\)"):
        adopt.child("net.onnx", "look")


F = np.float32
PICTURE = Tensor("x", (1, 3, 64, 64), F)
TORCHVISION = [
    Tensor("a", (1, 4), F, free=(0,)),
    Tensor("b", (1,), np.int64, free=(0,)),
    Tensor("c", (1,), F, free=(0,)),
]


def test_outputs_are_known_by_what_they_are() -> None:
    told = decide([Tensor("x", (3, 64, 64), F)], TORCHVISION, Wishes(["red"]), "onnx")
    assert told["gives"] == {"boxes": "a", "labels": "b", "scores": "c", "first": 1} and told["given"]["white"] == 1
    told = decide([PICTURE], TORCHVISION, Wishes(["red"], normalise=RANGES["imagenet"], colour="bgr", first=0), "onnx")
    assert told["gives"]["first"] == 0 and told["given"]["mean"] == [0.406, 0.456, 0.485]
    whole = Tensor("x", (1, 32, 48, 3), np.uint8, 1 / 128, 128)
    told = decide([whole], [Tensor("y", (1, 2), np.uint8, 1 / 256)], Wishes(["good", "bad"]), "tflite")
    assert told["task"] == "classify" and told["size"] == [32, 48] and told["given"]["layout"] == "nhwc"
    assert told["given"]["mean"] == [0.5] and told["given"]["fit"] == "stretch"
    names = {"boxes": "y", "scores": "s", "labels": "l"}
    four = [Tensor(name, (1, 10, 4) if name == "y" else (1, 10), F) for name in "sly"]
    wishes = Wishes(["red"], normalise=RANGES["0..1"], gives=names, first=0)
    assert decide([PICTURE], four, wishes, "onnx")["gives"] == {**names, "first": 0}
    six = [Tensor("y", (1, 6), F)]
    assert decide([PICTURE], six, Wishes(list("abcdef"), normalise=RANGES["0..1"]), "onnx")["task"] == "classify"


@pytest.mark.parametrize("kind", [np.int64, np.int32, F])
@pytest.mark.parametrize("gives", [{}, {"boxes": "a", "labels": "labels", "scores": "c"}], ids=["found", "named"])
def test_what_number_the_first_label_has_is_asked_where_no_layout_says_it(kind: Any, gives: dict[str, str]) -> None:
    outputs = [TORCHVISION[0], Tensor("labels", (1, 300), kind), TORCHVISION[2]]
    wishes = Wishes(["red", "green"], normalise=RANGES["0..1"], gives=gives)
    with pytest.raises(
        ModelRefused, match=r"whether its label 0 \(labels\) is 'red' or the background is not"
    ) as fault:
        decide([PICTURE], outputs, wishes, "onnx")
    assert "--first 0 where 0 is 'red', or --first 1 where 0 is the background" in fault.value.hint
    for first in (0, 1):
        assert decide([PICTURE], outputs, replace(wishes, first=first), "onnx")["gives"]["first"] == first
    assert decide([PICTURE], outputs, wishes, "tflite")["gives"]["first"] == 0


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ([Tensor("x", (1, 640), F)], TORCHVISION, r"it takes x \[1, 640\], which is no picture"),
        ([PICTURE, Tensor("z", (1, 3, 64, 64), F)], TORCHVISION, "more than one picture"),
        ([Tensor("x", (8, 3, 64, 64), F)], TORCHVISION, "it takes 8 pictures at once"),
        ([Tensor("x", (1, 5, 64, 64), F)], TORCHVISION, "no axis has the 1 or 3 channels"),
        ([Tensor("x", (1, 3, 64, 64), np.int64)], TORCHVISION, "of int64"),
        ([Tensor("x", (1, 3, 8, 8), F)], TORCHVISION, "a side has 16 to 8192 pixels"),
        ([PICTURE], [Tensor("y", (1, 5), F)], "gives 5 numbers, one for each class, and --labels names 1"),
        (
            [PICTURE],
            [Tensor("y", (1, 21, 64, 64), F)],
            "classes or several numbers for each pixel, by which no tool judges",
        ),
        ([PICTURE], [Tensor("y", (1, 64, 64), np.int64)], "classes or several numbers for each pixel"),
        ([PICTURE], [Tensor("y", (1, 84, 8400), F)], "boxes that are not sorted out yet: .*NMS"),
        ([PICTURE], [TORCHVISION[0], TORCHVISION[2], TORCHVISION[2]], "it is not plain what that is"),
        ([PICTURE], TORCHVISION, "what it takes for black and white is not in the file"),
    ],
)
def test_graphs_that_no_tool_can_judge_by_are_refused(inputs: Any, outputs: Any, words: str) -> None:
    with pytest.raises(ModelRefused, match=words):
        decide(inputs, outputs, Wishes(["red"]), "onnx")
    with pytest.raises(ModelRefused, match="nothing in the file names what it finds"):
        decide([PICTURE], TORCHVISION, Wishes([], normalise=RANGES["0..1"]), "onnx")


def test_options_that_are_none_are_said(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("good\n\nbad\n")
    assert labels_in(str(tmp_path / "names.txt")) == ["good", "bad"] and labels_in("a, b") == ["a", "b"]
    assert size_in("480,640") == (480, 640) and range_in("0.5/0.25") == (1.0, [0.5], [0.25])
    assert gives_in("boxes=b,unit=share") == {"boxes": "b", "unit": "share"}
    for wrong, words in (
        (lambda: labels_in("a,,b"), "wanted are names"),
        (lambda: labels_in("a,b,a"), "'a' stands there twice"),
        (lambda: size_in("480"), "HEIGHT,WIDTH"),
        (lambda: range_in("1,2/3,0"), "deviations above 0"),
        (lambda: range_in("much"), "wanted is one of 0..1"),
        (lambda: bounds_in("0.1,2,0"), "three numbers from 0 to 1"),
        (lambda: gives_in("box=b"), "'box' is none of boxes"),
    ):
        with pytest.raises(LinesideError, match=words):
            wrong()


@pytest.mark.usefixtures("here")
def test_an_anomaly_map_is_calibrated_on_good_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = [graphs.picture((8 * k, 8, "green"), light=10 + k) for k in range(6)]
    file, out, shown = given(tmp_path, graphs.heat_map()), tmp_path / "map", samples(tmp_path, good)
    words = ["model", "import", str(file), "--out", str(out), "--normalise", "0..255", "--takt", "30"]
    assert main(words) != 0
    assert "--good FOLDER with 5 good parts or more" in capsys.readouterr().err
    few = samples(tmp_path, good[:4], "few")
    assert main([*words, "--good", str(few)]) != 0 and "4 good parts are too few" in capsys.readouterr().err
    assert main([*words, "--good", str(shown), "--full", "3"]) != 0 and not out.exists()
    assert main([*words, "--good", str(shown)]) == 0
    said = capsys.readouterr().out
    assert "OK is what stays below the highest of 6 good parts" in said and "LOOK AT" not in said
    model = load(out).described(HeatMap)
    assert (model.map, model.size, model.full) == ("anomaly_map", (64, 64), pytest.approx(15 / 0.2, rel=1e-4))
    twice = graphs.picture((16, 24, "red"), light=60).repeat(2, axis=0).repeat(3, axis=1)
    found = judged(out, "heatmap", twice)
    assert found.state == "ng" and found.boxes == [(48, 48, 72, 64, "difference", pytest.approx(0.8, abs=1e-4))]
    assert found.measured == {"score": pytest.approx(0.8, abs=1e-4), "area_px": 24 * 16}
    assert [judged(out, "heatmap", image).state for image in (good[5], graphs.picture((8, 8, "red"), light=20))] == [
        "ok",
        "recheck",
    ]
    two = judged(out, "heatmap", graphs.picture((16, 24, "red"), light=60) | graphs.picture((40, 8, "red"), light=20))
    assert [(box[:2], two.of(box)) for box in two.boxes] == [((16, 24), "ng"), ((40, 8), "recheck")]
    assert two.state == "ng" and two.text.startswith("one place is") and two.measured["area_px"] == 64
    kind = tool("heatmap")
    mask = np.full((64, 64), 255, np.uint8)
    mask[:, 8:24] = 0
    judge = kind(kind.Config(tool="heatmap", model=out.name), out.parent)
    assert judge(View(graphs.picture((8, 8, "red")), mask=mask)).state == "ok"
    assert judge(View(graphs.picture((8, 8, "red"), (40, 8, "red")), mask=mask)).boxes[0][:4] == (40, 8, 48, 16)
    large, speck = graphs.picture((8, 8, "red")).repeat(10, axis=0).repeat(10, axis=1), np.zeros((640, 640), np.uint8)
    speck[100, 100] = 255
    found = judge(View(large, mask=speck))
    assert found.state == "recheck" and "the mask leaves too little" in found.text


@pytest.mark.usefixtures("here")
def test_a_defect_among_the_samples_of_an_anomaly_map_is_not_taken_for_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [graphs.picture((8 * k, 8, "green"), light=10 + k) for k in range(6)]
    bad = graphs.picture((16, 24, "red"), light=60)
    mixed, sound = samples(tmp_path, [*good, bad]), samples(tmp_path, good, "good")
    file, out = given(tmp_path, graphs.heat_map()), tmp_path / "map"
    words = ["model", "import", str(file), "--out", str(out), "--normalise", "0..255", "--takt", "30"]
    assert main([*words, "--samples", str(mixed)]) != 0, "nobody said that these are good"
    assert "what its map says of a good part has to be known (--good FOLDER" in capsys.readouterr().err
    assert main([*words, "--samples", str(mixed), "--good", str(sound)]) == 0
    assert "on 7 pictures: 6 OK, 0 RECHECK, 1 NG" in capsys.readouterr().out
    assert judged(out, "heatmap", bad).state == "ng"
    words[4] = str(tmp_path / "another")
    assert main([*words, "--good", str(mixed)]) == 0
    said = "LOOK AT 6.png: its map says 60 there, and 12.5 of the others (median)"
    assert said in capsys.readouterr().out and said in (tmp_path / "another" / "card.md").read_text()


@pytest.mark.usefixtures("here")
def test_a_map_that_says_what_is_no_number_is_a_recheck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, out = given(tmp_path, graphs.heat_map()), tmp_path / "map"
    words = ["--normalise", "0..255", "--full", "100", "--takt", "30"]
    assert main(["model", "import", str(file), "--out", str(out), *words]) == 0
    judge = HeatMapper(load(out))
    real = judge._run

    class Odd:
        inputs, outputs = real.inputs, real.outputs

        def __call__(self, *given: np.ndarray) -> list[np.ndarray]:
            return [x * np.nan for x in real(*given)]

    monkeypatch.setattr(judge, "_run", Odd())
    with pytest.raises(ValueError, match="no map of numbers"):
        judge(graphs.picture())


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    """Words of an import of an int8 file beside its float one, on pictures with and without defects."""
    shown = [graphs.picture((16, 24, "red"), light=light) for light in (0, 60, 80, 255)]
    shown.append(graphs.picture((8, 8, "green"), (40, 40, "red")))
    fine = given(tmp_path, graphs.two_stage(), "fine.onnx")
    words = ["--labels", "red,green", "--samples", str(samples(tmp_path, shown)), "--takt", "30", "--float", str(fine)]
    return ["model", "import", str(tmp_path / "int8.onnx"), "--out", str(tmp_path / "spots"), *words]


@pytest.mark.usefixtures("here")
def test_int8_that_decides_like_its_float_file_is_taken(pair: list[str], tmp_path: Path) -> None:
    given(tmp_path, graphs.two_stage(step=1 / 200), "int8.onnx")
    assert main(pair) == 0
    told = json.loads((tmp_path / "spots" / "figures.json").read_text())["parity"]
    assert (told["pictures"], told["with_findings"], told["verdicts_changed"]) == (5, 4, 0)
    assert 0 < told["differs_mean"] <= told["differs_most"] < 0.01 and told["float"] == "fine.onnx"
    assert "beside fine.onnx: scores differ by 0.00" in (tmp_path / "spots" / "card.md").read_text()
    assert not (tmp_path / "spots" / "float").exists() and not (tmp_path / "spots" / "answers.npz").exists()


@pytest.mark.usefixtures("here")
def test_int8_that_decides_otherwise_is_refused(
    pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given(tmp_path, graphs.two_stage(step=0.6), "int8.onnx")
    assert main(pair) != 0
    said = capsys.readouterr().err
    assert "int8.onnx: it decides otherwise than its float file: a score differs (0.286, at most 0.25)" in said
    assert "2 of 5 verdicts change (0.4, at most 0.02): 1.png recheck -> ok, 2.png recheck -> ng" in said
    assert {path.name for path in tmp_path.iterdir()} == {"fine.onnx", "int8.onnx", "samples"}
    assert main([*pair, "--parity", "0.5,0.5,0.5"]) == 0, "whoever says so gets it"


@pytest.mark.usefixtures("here")
def test_a_comparison_that_compares_nothing_is_none(
    pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given(tmp_path, graphs.two_stage(step=1 / 200), "int8.onnx")
    for path in (tmp_path / "samples").iterdir():
        cv2.imwrite(str(path), graphs.picture())
    assert main(pair) != 0
    assert "in none of the 5 pictures do the two find anything" in capsys.readouterr().err
    assert main([*pair[:5], "--labels", "a", "--float", pair[-1]]) != 0
    assert "the two are compared on pictures (say --samples FOLDER)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("which", "words"), [("worst", "a score differs"), ("mean", "in the mean"), ("changed", "1 of 4 verd")]
)
def test_each_bound_of_the_parity_gate_counts(which: str, words: str) -> None:
    figures = {
        "pictures": 4,
        "differs_most": 0.2,
        "differs_mean": 0.1,
        "verdicts_changed": 0.25,
        "changed": ["a ok -> ng"],
    }
    parity.within(figures, parity.Bounds(0.2, 0.1, 0.25))
    with pytest.raises(ModelRefused, match=words):
        parity.within(figures, replace(parity.Bounds(0.2, 0.1, 0.25), **{which: 0.05}))
    with pytest.raises(ModelRefused):
        parity.within(figures | {"differs_mean": float("nan")}, parity.Bounds(1, 1, 1))


def blocks() -> list[list[str]]:
    """The commands `lineside model import` of the page, as words."""
    page = (Path(__file__).parent.parent.parent / "docs" / "models.md").read_text("utf-8")
    return [line.split()[1:] for line in re.findall(r"^lineside model import .*$", page, re.M)]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("words", blocks(), ids=lambda words: words[2])
def test_the_commands_of_the_page_work(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    samples(tmp_path, [graphs.picture((16, 24, "red"), light=250 - k) for k in range(5)]).rename(tmp_path / "pictures")
    samples(tmp_path, [graphs.picture((16, 24, "red"), light=250 - k) for k in range(5)], "good")
    (tmp_path / "names.txt").write_text("".join(f"class {n}\n" for n in range(90)))
    if words[2] == "objects.tflite":
        if not REFERENCE.is_dir():
            pytest.skip("the reference models are not on this machine (set DATA=folder)")
        (tmp_path / words[2]).symlink_to(REFERENCE / "models" / "ssd_mobilenet_v1_coco_uint8.tflite")
    else:
        of = {
            "castings.onnx": graphs.two_stage,
            "surfaces.onnx": graphs.heat_map,
            "castings-int8.onnx": lambda: graphs.two_stage(step=1 / 200),
            "washers.onnx": graphs.classes,
            "plates.onnx": lambda: graphs.paddle("h, w"),
        }
        given(tmp_path, of[words[2]](), words[2])
    if "--float" in words:
        given(tmp_path, graphs.two_stage(), words[words.index("--float") + 1])
    assert main([*words, "--takt", "30"]) == 0
    assert (tmp_path / words[words.index("--out") + 1] / "card.md").is_file()
