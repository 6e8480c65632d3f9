"""A detector whose weights were worked out by hand: it counts in each cell of 8 x 8 pixels what is white in the part only and
what is white in the template only, and needs no training."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from models.engines.int8 import Conv, Writer

SIDE, CELL, FOLD = 64, 8, 4
MODEL = f"""name: difference
version: 1
task: detect
engine: tflite
weights: difference.tflite
sha256: "SUM"
size: [{SIDE}, {SIDE}]
fold: {FOLD}
stride: {CELL}
unit: 16
labels: [spurious, lacking]
level: 128
ng_above: 0.5
ok_below: 0.2
licence: Apache-2.0
data: none, made by hand
"""


def network(shift: float = 0.0, side: int = SIDE, alone: bool = False) -> bytes:
    """Log odds are 40 for each share of a cell that differs, less 10; `shift` of a cell to the right is told as the
    place. One that is `alone` has no template, as if it were black."""
    weight = np.zeros((2, CELL, CELL // FOLD, 2 * FOLD))
    weight[0, :, :, 0::2], weight[0, :, :, 1::2] = 1, -1  # channels are part, template, part, template ...
    weight[1] = -weight[0]
    weight = weight[:, :, :, ::2] if alone else weight
    writer = Writer()
    given = writer.picture((side, side // FOLD, weight.shape[3]))
    step = (CELL, CELL // FOLD)
    heat = writer.conv(given, Conv(weight * 40 / CELL**2, np.full(2, -10.0), step, -12, 12, relu=False))
    bias = np.array([shift, 0, 0, 0])
    place = writer.conv(given, Conv(np.zeros((4, *weight.shape[1:])), bias, step, -1, 1, relu=False))
    return writer.finish([given], [heat, place])


def package(folder: Path, shift: float = 0.0, side: int = SIDE, **options: object) -> Path:
    """`options` replace or add lines of model.yaml."""
    from models.engines.tflite import LiteRt

    folder.mkdir(parents=True, exist_ok=True)
    alone = bool(options.get("alone"))
    body = network(shift, side, alone)
    options = {"size": [side, side], **options}
    (folder / "difference.tflite").write_bytes(body)
    lines = dict(line.split(": ", 1) for line in MODEL.replace("SUM", hashlib.sha256(body).hexdigest()).splitlines())
    lines |= {name: str(value) for name, value in options.items()}
    (folder / "model.yaml").write_text("".join(f"{name}: {value}\n" for name, value in lines.items()))
    part, template = pictures((16, 24), side=side)
    pair = np.stack([part, template][: 2 - alone], axis=2).reshape(1, side, side // FOLD, -1)
    given = (pair ^ 0x80).view(np.int8)
    heat, place = LiteRt().load(folder / "difference.tflite")(given)
    np.savez_compressed(folder / "golden.npz", input=given, heat=heat, place=place)
    return folder


def pictures(*spots: tuple[int, int], side: int = SIDE, lacks: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A part and its template, black; at each (x, y) a cell is white in the part only, or in the template only (`lacks`)."""
    part, template = np.zeros((side, side), np.uint8), np.zeros((side, side), np.uint8)
    for x, y in spots:
        (template if lacks else part)[y : y + CELL, x : x + CELL] = 255
    return part, template
