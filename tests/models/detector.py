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


def patterns(kinds: int) -> np.ndarray:
    """uint8[kinds, CELL, CELL] of 0 and 1, at most 63: each has half of a cell white, and half of that in common with each other
    (rows of a Hadamard matrix)."""
    signs = np.ones((1, 1), int)
    while len(signs) < CELL**2:
        signs = np.block([[signs, signs], [signs, -signs]])
    return (signs[1 : kinds + 1] > 0).astype(np.uint8).reshape(kinds, CELL, CELL)


def of_patterns(kinds: int, large: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights that name the pattern of a cell, of heat and of place: those from `large` on are told twice as large."""
    signs = (2.0 * patterns(kinds) - 1).reshape(kinds, CELL, CELL // FOLD, FOLD)
    heat, place = np.zeros((kinds, *signs.shape[1:3], 2 * FOLD)), np.zeros((4, *signs.shape[1:3], 2 * FOLD))
    heat[..., 0::2], heat[..., 1::2] = signs, -signs
    place[2:, ..., 0::2] = signs[large:].sum(axis=0) * np.log(2) / (CELL**2 / 2)
    return heat, place


def network(shift: float = 0.0, side: int = SIDE, alone: bool = False, kinds: int = 0, large: int = 0) -> bytes:
    """Log odds are 40 for each share of a cell that differs, less 10; `shift` of a cell to the right is told as the
    place. One that is `alone` has no template, as if it were black. One of many `kinds` names the pattern of each cell."""
    weight = np.zeros((2, CELL, CELL // FOLD, 2 * FOLD))
    weight[0, :, :, 0::2], weight[0, :, :, 1::2] = 1, -1  # channels are part, template, part, template ...
    weight[1] = -weight[0]
    off = np.zeros((4, *weight.shape[1:]))
    if kinds:
        weight, off = of_patterns(kinds, large)
    weight, off = (weight[:, :, :, ::2], off[:, :, :, ::2]) if alone else (weight, off)
    writer = Writer()
    given = writer.picture((side, side // FOLD, weight.shape[3]))
    step = (CELL, CELL // FOLD)
    heat = writer.conv(given, Conv(weight * 40 / CELL**2, np.full(len(weight), -10.0), step, -12, 12, relu=False))
    bias = np.array([shift, 0, 0, 0])
    place = writer.conv(given, Conv(off, bias, step, -1, 1, relu=False))
    return writer.finish([given], [heat, place])


def package(
    folder: Path, shift: float = 0.0, side: int = SIDE, kinds: int = 0, large: int = 0, **options: object
) -> Path:
    """`options` replace or add lines of model.yaml."""
    from models.engines.tflite import LiteRt

    folder.mkdir(parents=True, exist_ok=True)
    alone = bool(options.get("alone"))
    body = network(shift, side, alone, kinds, large)
    options = {"size": [side, side], **options}
    (folder / "difference.tflite").write_bytes(body)
    lines = dict(line.split(": ", 1) for line in MODEL.replace("SUM", hashlib.sha256(body).hexdigest()).splitlines())
    lines |= {name: str(value) for name, value in options.items()}
    (folder / "model.yaml").write_text("".join(f"{name}: {value}\n" for name, value in lines.items()))
    part, template = pictures((16, 24), side=side)
    if kinds:
        part[24 : 24 + CELL, 16 : 16 + CELL] *= patterns(kinds)[-1]
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
