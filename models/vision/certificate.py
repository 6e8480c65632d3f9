"""A lesson as a package with its certificate: what was measured, and on which board."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge import ModelRefused

from ..engines.contract import Interpreter, choose
from ..package import describe, load
from .card import taught_card
from .compiled import compiled
from .placing import RegistrationConfig
from .teaching import Lesson, Say, planted
from .tools.contract import Finding, View
from .tools.variation import VariationConfig, VariationTool, as_input, judged
from .variation import Allowance, field, softened

PARITY = 0.35  # tolerances that a cell may differ between int8 and what it was computed from
SPOTS = [(across, levels) for across in (2, 3, 5, 8) for levels in (15, 25, 40)]
TRIES = 20  # spots of each kind
GOLDEN = 2  # good parts among the golden vectors, and one with a spot


def write(
    out: Path,
    lesson: Lesson,
    parts: Sequence[np.ndarray],
    place: RegistrationConfig,
    allowance: Allowance,
    day: datetime,
    began: float,
    say: Say,
) -> dict[str, Any]:
    """The package in the folder `out`, whole or not at all; returns its certificate. `began` is the `time.monotonic()` of the
    start. Raises LinesideError."""
    with drafted(out) as draft:
        say("writing it as int8, and comparing")
        model, full = compiled(lesson)
        (draft / "variation.tflite").write_bytes(model)
        run = choose("tflite").load(draft / "variation.tflite")
        parity = _parity(run, lesson, full)
        ok, ng = (round(x / full + parity["adds"], 4) for x in (lesson.limits.ok_below, lesson.limits.ng_above))
        _golden(draft, run, lesson)
        cv2.imwrite(str(draft / "template.png"), lesson.template)
        _describe(draft, out.name, model, lesson, place, ok, ng)
        load(draft)
        say("measuring it on this board")
        tool = VariationTool(VariationConfig(tool="variation", model=draft.name), draft.parent)
        certificate = {
            "made": day.isoformat(timespec="seconds"),
            "board": board(),
            "parts": len(parts),
            "size": list(lesson.template.shape),
            "judged_share": round(float(lesson.judged.mean()), 4),
            "allowance": vars(allowance),
            "scores_by_the_others": sorted(round(score / full, 4) for score in lesson.scores),
            "ok_below": ok,
            "ng_above": ng,
            "good_parts_looked_at_again": f"about 1 in {lesson.limits.again}; {len(parts)} parts tell no less",
            "int8": parity,
            "finds": _finds(run, lesson, ok, ng),
            "ms": timed(tool, parts),
        }
        return signed(draft, out.name, certificate, began)


@contextmanager
def drafted(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place once all in it is done: a package is there whole or not at all."""
    draft = out.with_name(f".{out.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        draft.rename(out)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def signed(draft: Path, name: str, certificate: dict[str, Any], began: float) -> dict[str, Any]:
    """Written beside the package, with how long all of it took, and as a card."""
    certificate["took_s"] = round(time.monotonic() - began, 2)
    (draft / "certificate.json").write_text(json.dumps(certificate, indent=1) + "\n")
    (draft / "card.md").write_text(taught_card(name, describe(draft), certificate))
    return certificate


def timed(tool: Callable[[View], Finding], parts: Sequence[np.ndarray]) -> dict[str, float]:
    """Picture to finding, milliseconds."""
    took = []
    for part in [parts[0], *parts]:
        at = time.perf_counter()
        tool(View(part))
        took.append((time.perf_counter() - at) * 1e3)
    return {"median": round(float(np.median(took[1:])), 2), "most": round(max(took[1:]), 2)}


def board() -> dict[str, Any]:
    """What the figures were measured on."""
    name = platform.processor() or platform.machine()
    for path, key in ((Path("/proc/device-tree/model"), ""), (Path("/proc/cpuinfo"), "model name")):
        try:
            lines = path.read_text(errors="replace").strip("\0\n").splitlines()
        except OSError:
            continue
        if found := [line.partition(":")[2].strip() if key else line for line in lines if line.startswith(key)]:
            name = found[0]
            break
    try:
        engine = f"ai-edge-litert {version('ai-edge-litert')}"
    except PackageNotFoundError:
        engine = "tflite"
    return {
        "cpu": name,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "engine": engine,
        "opencv": cv2.__version__,
    }


def _parity(run: Interpreter, lesson: Lesson, full: float) -> dict[str, float]:
    """int8 against float, on the good parts and on parts with a spot. Raises ModelRefused beyond PARITY."""
    rng, apart, adds, both = np.random.default_rng(1), 0.0, 0.0, []
    for part in lesson.images:
        for image, good in ((part, True), (planted(part, lesson.judged, 5, 40, rng), False)):
            exact = np.clip(field(softened(image), lesson.normal) / full, 0, 1)
            got = judged(run, as_input(image))
            apart = max(apart, float(np.abs(exact - got).max()))
            adds = max(adds, float(got.max() - exact.max())) if good else adds
            both.append((float(exact.max()), float(got.max())))
    if apart * full > PARITY:
        raise ModelRefused(
            f"int8 differs from what it was computed from by {apart * full:.2f} tolerances, {PARITY} are allowed"
        )
    return {
        "differs_at_most": round(apart, 4),
        "adds": round(adds, 4),
        "a_tolerance": round(1 / full, 4),
        "correlation": round(float(np.corrcoef(np.array(both).T)[0, 1]), 4),
    }


def _golden(folder: Path, run: Interpreter, lesson: Lesson) -> None:
    pictures = [as_input(image) for image in lesson.images[:GOLDEN]]
    pictures.append(as_input(planted(lesson.images[0], lesson.judged, 8, 60, np.random.default_rng(2))))
    np.savez_compressed(
        folder / "golden.npz", input=np.concatenate(pictures), output=np.concatenate([run(one)[0] for one in pictures])
    )


def _describe(
    folder: Path, name: str, model: bytes, lesson: Lesson, place: RegistrationConfig, ok: float, ng: float
) -> None:
    height, width = lesson.template.shape
    (folder / "model.yaml").write_text(
        f"name: {json.dumps(name)}\nversion: 1\ntask: variation\nengine: tflite\nweights: variation.tflite\n"
        f'sha256: "{hashlib.sha256(model).hexdigest()}"\n'
        f'template: "{hashlib.sha256((folder / "template.png").read_bytes()).hexdigest()}"\n'
        f"size: [{height}, {width}]\nplace: {json.dumps(place.model_dump())}\nng_above: {ng}\nok_below: {ok}\ntolerance: 2\n"
        f"licence: that of the pictures\ndata: {len(lesson.images)} good parts, taught on the device\n"
    )


def _finds(run: Interpreter, lesson: Lesson, ok: float, ng: float) -> list[dict[str, float]]:
    """Spots of several sizes and contrasts, planted into the good parts: which share is NG, which is at least looked at again."""
    rng, found = np.random.default_rng(3), []
    for across, levels in SPOTS:
        scores = np.array(
            [
                judged(
                    run, as_input(planted(lesson.images[k % len(lesson.images)], lesson.judged, across, levels, rng))
                ).max()
                for k in range(TRIES)
            ]
        )
        found.append(
            {
                "across_px": across,
                "grey_levels": levels,
                "ng": float((scores >= ng).mean()),
                "noticed": float((scores >= ok).mean()),
            }
        )
    return found
