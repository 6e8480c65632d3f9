"""A lesson about a texture as a package with its certificate: full int8, compared with what it was computed from, and measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from edge import ModelRefused

from ..engines.contract import Interpreter, choose
from ..package import Texture, load
from .certificate import board, drafted, signed, timed
from .compiled import ROOM, writing
from .drawn import KINDS
from .surface import Lesson, Say
from .tools.texture import TextureConfig, TextureTool, judged

PARITY = 0.35  # standard deviations that a score may differ between int8 and what it was computed from
GOLDEN = 4  # good parts among the golden vectors, and as many with a drawn defect


def write(
    out: Path,
    lesson: Lesson,
    names: Sequence[str],
    parts: Sequence[np.ndarray],
    day: datetime,
    began: float,
    say: Say,
) -> dict[str, Any]:
    """The package in the folder `out`, whole or not at all; returns its certificate. `began` is the `time.monotonic()` of the
    start. Raises LinesideError."""
    full = ROOM * lesson.ng_above
    with drafted(out) as draft:
        say("writing it as int8, and comparing")
        model = compiled(lesson, full)
        (draft / "texture.tflite").write_bytes(model)
        run = choose("tflite").load(draft / "texture.tflite")
        apart = _apart(run, lesson, full)
        _golden(draft, run, lesson)
        np.savez(draft / "usual.npz", mean=lesson.ways.mean, each=lesson.ways.each)
        ok, ng = (round(limit / full, 4) for limit in (lesson.ok_below + apart, lesson.ng_above))
        _describe(draft, out.name, model, lesson, ok, max(ng, ok))
        load(draft)
        say("measuring it on this board")
        tool = TextureTool(TextureConfig(tool="texture", model=draft.name), draft.parent)
        certificate = {
            "made": day.isoformat(timespec="seconds"),
            "board": board(),
            "parts": len(parts),
            "scores_by_the_others": {
                name: round(max(score, 0) / full, 4) for name, score in zip(names, lesson.scores, strict=True)
            },
            "ok_below": ok,
            "ng_above": max(ng, ok),
            "good_parts_looked_at_again": f"about 1 in {len(parts) + 1}; {len(parts)} parts tell no less",
            "int8": {"differs_at_most": round(apart / full, 4), "a_standard_deviation": round(1 / full, 4)},
            "finds": _finds(lesson),
            "ms": timed(tool, parts[:20]),
        }
        return signed(draft, out.name, certificate, began)


def compiled(lesson: Lesson, full: float) -> bytes:
    """The ways as a full-int8 model whose highest answer, 1.0, stands for `full` standard deviations; what rounding the weights
    takes from the mean part is given back. Raises LinesideError where there is no LiteRT."""
    int8 = writing()
    weights = lesson.ways.each / full
    steps = np.maximum(np.abs(weights).max(axis=1, keepdims=True), 1e-8) / 127
    whole = np.round(weights / steps) * steps
    writer = int8.Writer()
    start = writer.picture((1, 1, Texture.FEATURES))
    layer = int8.Conv(whole[:, None, None, :], -whole @ lesson.ways.mean, 1, 0.0, 1.0, relu=False)
    model: bytes = writer.finish([start], [writer.conv(start, layer)])
    return model


def _apart(run: Interpreter, lesson: Lesson, full: float) -> float:
    """How far int8 lies from float at most, in standard deviations, on the good parts and what was drawn. Raises ModelRefused
    beyond PARITY."""
    apart = 0.0
    for seen in (one for part in lesson.parts for one in (part.good, *(worse for _, worse in part.drawn))):
        exact = np.clip(lesson.ways(seen) / full, 0, 1)
        apart = max(apart, full * abs(float(judged(run, seen).max() - exact.max())))
    if apart > PARITY:
        raise ModelRefused(
            f"int8 differs from what it was computed from by {apart:.2f} standard deviations, {PARITY} are allowed"
        )
    return apart


def _golden(folder: Path, run: Interpreter, lesson: Lesson) -> None:
    seen = [one for part in lesson.parts[:GOLDEN] for one in (part.good, part.drawn[0][1])]
    given = (np.stack(seen)[:, None, None, :] ^ 0x80).view(np.int8)
    np.savez_compressed(folder / "golden.npz", input=given, output=np.concatenate([run(one[None])[0] for one in given]))


def _describe(folder: Path, name: str, model: bytes, lesson: Lesson, ok: float, ng: float) -> None:
    light, rough = ([round(x, 3) for x in pair] for pair in (lesson.light, lesson.rough))
    usual = hashlib.sha256((folder / "usual.npz").read_bytes()).hexdigest()
    (folder / "model.yaml").write_text(
        f"name: {json.dumps(name)}\nversion: 1\ntask: texture\nengine: tflite\nweights: texture.tflite\n"
        f'sha256: "{hashlib.sha256(model).hexdigest()}"\nusual: "{usual}"\n'
        f"kinds: {json.dumps(list(KINDS))}\nlight: {light}\nrough: {rough}\nng_above: {ng}\nok_below: {ok}\ntolerance: 2\n"
        f"licence: that of the pictures\ndata: {len(lesson.parts)} good parts with defects drawn on them, on the device\n"
    )


def _finds(lesson: Lesson) -> list[dict[str, Any]]:
    """Of each kind of drawn defect, on parts that were not known: which share is NG, which at least looked at again."""
    return [
        {
            "drawn": kind,
            "ng": _share(scores, lesson.ng_above),
            "noticed": _share(scores, lesson.ok_below),
            "of": len(scores),
        }
        for kind, scores in lesson.noticed.items()
    ]


def _share(scores: Sequence[float], least: float) -> float:
    return round(float((np.asarray(scores) >= least).mean()), 3)
