"""Graphs as others export them, written by hand: detectors of what is red or green on black, cell by cell of 8 x 8 pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the graphs are built with onnx: make setup brings it (extra dev)")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: make setup brings it (extra onnx)")
from onnx import parser

SIDE, CELL = 64, 8
LABELS = ["red", "green"]
# From `picture` [1, 3, h, w] to boxes [n, 4], scores [n] and kind [n].
FOUND = """
    heat = Conv <kernel_shape = [8, 8], strides = [8, 8]> (picture, apart)
    clipped = Clip (heat, low, high)
    each = Reshape (clipped, flat)
    chosen = NonMaxSuppression (grid, each, most, overlap, least)
    kind = Gather <axis = 1> (chosen, at1)
    where = Gather <axis = 1> (chosen, at2)
    boxes = Gather <axis = 0> (places, where)
    scores = GatherND (each, chosen)
"""
QUANTISED = f"""
    whole = QuantizeLinear (picture, step)
    coarse = DequantizeLinear (whole, step)
    {FOUND.replace("(picture,", "(coarse,")}
"""
TWO_STAGE = """two_stage (float[3, SIDE] image) => (float[n, 4] boxes, int64[n] labels, float[n] scores) {
    picture = Unsqueeze (image, first)
    FOUND
    labels = Add (kind, at1)
}"""
WITH_MASKS = """two_stage (float[3, SIDE] image) => (float[n, 4] boxes, int64[n] labels, float[n] scores, float[n, 1, 4, 4] masks) {
    picture = Unsqueeze (image, first)
    FOUND
    labels = Add (kind, at1)
    seen = ReduceMax <axes = [1], keepdims = 1> (picture)
    batch = Gather <axis = 1> (chosen, at0)
    masks = RoiAlign <output_height = 4, output_width = 4, sampling_ratio = 1> (seen, boxes, batch)
}"""
PADDLES = """rows (float[b, 2] im_shape, float[b, 3, SIDE] picture, float[b, 2] scale_factor) => (float[n, 6] rows, int64[1] many) {
    FOUND
    number = Cast <to = 1> (kind)
    column0 = Unsqueeze (number, last)
    column1 = Unsqueeze (scores, last)
    scales = Concat <axis = 1> (scale_factor, scale_factor)
    placed = Div (boxes, scales)
    rows = Concat <axis = 1> (column0, column1, placed)
    many = Shape (kind)
}"""

CLASSIFIES = """classes (float[b, 3, SIDE] input) => (float[b, 3] output) {
    mean = ReduceMean <axes = [2, 3], keepdims = 0> (input)
    wide = Mul (mean, gain)
    output = Softmax <axis = 1> (wide)
}"""

MAP = """difference (float[b, 3, SIDE] input) => (float[b, 1, 16, 16] anomaly_map, float[b] pred_score) {
    small = AveragePool <kernel_shape = [4, 4], strides = [4, 4]> (input)
    anomaly_map = ReduceMax <axes = [1], keepdims = 1> (small)
    pred_score = ReduceMax <axes = [1, 2, 3], keepdims = 0> (input)
}"""


def two_stage(side: str = "64, 64", masks: bool = True, step: float = 0) -> bytes:
    """As torchvision exports one: image [3, h, w] of 0 to 1; boxes [n, 4], labels [n] from 1, scores [n], masks [n, 1, 4, 4].
    With a `step` the picture is whole numbers of it, as quantisation leaves it."""
    text = (WITH_MASKS if masks else TWO_STAGE).replace("FOUND", QUANTISED if step else FOUND)
    return model(text, side, step=np.float32(step))


def paddle(side: str = "64, 64") -> bytes:
    """As Paddle exports one: picture, its size and its scale in; rows of class, score and box, and how many they are, out."""
    return model(PADDLES, side)


def classes(side: str = "64, 64") -> bytes:
    """Shares of red, green and blue of a picture [1, 3, h, w]."""
    return model(CLASSIFIES, side)


def heat_map() -> bytes:
    """What is bright of a picture [1, 3, 64, 64], as a map of 16 x 16."""
    return model(MAP)


def model(text: str, side: str = "64, 64", **more: Any) -> bytes:
    """`more` are further constants."""
    text = text.replace("FOUND", FOUND).replace("SIDE", side)
    made = parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    cells = SIDE // CELL
    y, x = np.divmod(np.arange(cells**2), cells)
    places = (np.stack([x, y, x + 1, y + 1], axis=1) * CELL).astype(np.float32)
    apart = np.zeros((2, 3, CELL, CELL), np.float32)
    apart[0, 0] = apart[1, 1] = 1 / CELL**2
    apart[0, 1] = apart[1, 0] = -1 / CELL**2
    held = {
        "apart": apart,
        "places": places,
        "grid": places[None],
        "flat": np.array([1, 2, cells**2]),
        "low": np.float32(0),
        "high": np.float32(1),
        "most": np.array([50]),
        "overlap": np.array([0.5], np.float32),
        "least": np.array([0.05], np.float32),
        "first": np.array([0]),
        "last": np.array([1]),
        "gain": np.float32(20),
        **{f"at{i}": np.array(i) for i in range(3)},
        **more,
    }
    used = {name for node in made.graph.node for name in node.input}
    made.graph.initializer.extend(tensor(name, np.asarray(value)) for name, value in held.items() if name in used)
    return bytes(made.SerializeToString())


def tensor(name: str, value: np.ndarray) -> Any:
    kind = {"f": onnx.TensorProto.FLOAT, "i": onnx.TensorProto.INT64}[value.dtype.kind]
    return onnx.TensorProto(name=name, dims=value.shape, data_type=kind, raw_data=value.tobytes())


def picture(*spots: tuple[int, int, str], size: tuple[int, int] = (SIDE, SIDE), light: int = 255) -> np.ndarray:
    """uint8[h, w, 3], blue, green, red: black with cells of that colour at (x, y)."""
    image = np.zeros((*size, 3), np.uint8)
    for x, y, colour in spots:
        image[y : y + CELL, x : x + CELL, {"green": 1, "red": 2}[colour]] = light
    return image


MODEL = """name: {name}
version: 1
task: objects
engine: onnx
weights: model.onnx
sha256: "{sum}"
size: [64, 64]
given: {given}
gives: {gives}
labels: {labels}
ng_above: 0.5
ok_below: 0.2
licence: Apache-2.0
data: none, made by hand
"""
TORCHVISION = {
    "given": "{name: image, layout: chw, colour: rgb}",
    "gives": "{boxes: boxes, scores: scores, labels: labels, masks: masks, first: 1}",
}
PADDLE = {"given": "{name: picture, layout: nchw, colour: rgb}", "gives": "{rows: rows}"}


def package(folder: Path, body: bytes, shown: Sequence[np.ndarray] = (), **options: str) -> Path:
    """A package of these weights; its golden vectors are what it finds in `shown`."""
    from models.package import Objects, Package, describe
    from models.vision import trial

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(body)
    told = {"name": folder.name, "sum": hashlib.sha256(body).hexdigest(), "labels": "[red, green]"}
    (folder / "model.yaml").write_text(MODEL.format(**told | TORCHVISION | options))
    one = Package(folder, describe(folder))
    assert isinstance(one.description, Objects)
    pictures = list(shown) or [picture((16, 24, "red")), picture((40, 8, "green"), (8, 48, "red"))]
    trial.keep(folder, pictures, [trial.judge(one)(image) for image in pictures])
    return folder
