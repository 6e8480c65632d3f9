"""A file that others exported becomes a package: looked at, described, tried and measured, each in a child; whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from edge import LinesideError, ModelRefused

from ..engines.contract import Tensor, bounded
from ..package import Package, describe, load
from . import trial
from .card import card
from .certificate import board, drafted
from .good_parts import FEWEST
from .graph import Wishes, decide
from .parity import Bounds, answers, compared, within

TRY_WITHIN = 300.0  # seconds that a file has to be looked at, or to judge all samples
ENGINES = {".onnx": "onnx", ".tflite": "tflite"}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Terms:
    """What a package is to promise, by which pictures that is tried, and what is known about its weights. `good` are pictures of
    good parts alone, which say where a heat map's OK ends; `fine` is the file of floats that they were made from."""

    ng_above: float = 0.5
    ok_below: float = 0.2
    takt: float = 1.0  # seconds
    licence: str = "not stated"
    data: str = "not stated"
    samples: Path | None = None
    good: Path | None = None
    fine: Path | None = None
    parity: Bounds = field(default_factory=Bounds)


def adopt(file: Path, out: Path, wishes: Wishes, terms: Terms, day: datetime, say: Say) -> dict[str, Any]:
    """The package in the folder `out`; returns its figures. Raises LinesideError. Blocks for as long as all pictures take."""
    with drafted(out) as draft:
        told, tried = _described(file, draft, out.name, wishes, terms, say)
        _fits_the_board(file, tried, terms)
        parity = _parity(file, terms.fine, draft, told, tried, wishes, terms, say) if terms.fine else None
        say("proving it")
        load(draft)
        figures = _figures(file, draft, told, tried, terms, day) | {"parity": parity, "good": tried.get("good")}
        (draft / "answers.npz").unlink()
        (draft / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
        (draft / "card.md").write_text(card(out.name, figures))
        return figures


def _described(
    file: Path, draft: Path, name: str, wishes: Wishes, terms: Terms, say: Say
) -> tuple[dict[str, Any], dict[str, Any]]:
    """model.yaml and golden.npz of a draft; what it says, and what a child measured."""
    engine = ENGINES.get(file.suffix.lower(), "")
    if not engine:
        raise LinesideError(f"{file} is neither .onnx nor .tflite", hint="export it as one of these")
    say(f"looking at {file.name}")
    weights = draft / f"model{file.suffix.lower()}"
    try:
        shutil.copyfile(bounded(file), weights)  # alone: weights that lie in another file beside it are not found here
    except OSError as error:
        raise LinesideError(f"{file} cannot be read: {error.strerror}") from None
    seen = child(file.name, "look", str(weights), engine)
    inputs, outputs = ([_tensor(spec) for spec in seen[side]] for side in ("inputs", "outputs"))
    try:
        told = decide(inputs, outputs, wishes, engine)
    except ModelRefused as error:
        raise ModelRefused(f"{file.name}: {error.args[0]}", hint=error.hint) from None
    told = {"name": name, "version": 1, "engine": engine, "weights": weights.name} | told
    told |= {
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "ng_above": terms.ng_above,
        "ok_below": terms.ok_below,
    }
    told |= {"licence": terms.licence, "data": terms.data}
    write(draft, told)
    good = None
    if told["task"] == "heatmap" and not wishes.full:
        say("calibrating it on good parts")
        told["full"], good = _calibrated(file, draft, terms)
        write(draft, told)
    say("trying it")
    shown = terms.samples or terms.good
    words = ("judge", str(draft), str(shown.resolve()) if shown else "", str(terms.takt * 1e3))
    tried = child(file.name, *words)
    if tried["shares"]:
        told["says"] = "shares"
        write(draft, told)
        tried = child(file.name, *words)
    return told, tried | {"good": good}


def _calibrated(file: Path, draft: Path, terms: Terms) -> tuple[float, dict[str, Any]]:
    """What the map has to say for a score of 1, so that the highest of the good parts lies where OK ends; and what it said of
    them. Raises ModelRefused without enough pictures that the person calls good."""
    hint = f"--good FOLDER with {FEWEST} good parts or more, or --full NUMBER: what the map says where the score is 1"
    if not terms.good:
        raise ModelRefused(f"{file.name}: what its map says of a good part has to be known", hint=hint)
    tried = child(file.name, "judge", str(draft), str(terms.good.resolve()), str(terms.takt * 1e3))
    _fits_the_board(file, tried, terms)
    names, tops = tried["pictures"], np.array(tried["tops"])
    if len(names) < FEWEST:
        raise ModelRefused(f"{file.name}: {len(names)} good parts are too few", hint=hint)
    worst, top = int(tops.argmax()), float(tops.max())
    if not 0 < top < np.inf:
        raise ModelRefused(f"{file.name}: its map is nowhere above 0 on the good parts", hint="say --full NUMBER")
    said = {
        "pictures": len(names),
        "worst": names[worst],
        "top": top,
        "median": float(np.median(np.delete(tops, worst))),
    }
    return top * (1 + 1e-6) / terms.ok_below, said


def write(folder: Path, told: dict[str, Any]) -> None:
    """model.yaml, a line for each thing it says; JSON is YAML."""
    (folder / "model.yaml").write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in told.items()))


def child(name: str, *words: str) -> dict[str, Any]:
    """What models.vision.intake says. Raises ModelRefused in words."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "models.vision.intake", *words],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TRY_WITHIN,
        )
    except subprocess.TimeoutExpired:
        raise ModelRefused(
            f"{name}: no answer within {TRY_WITHIN:g} s", hint="fewer samples, or a smaller network"
        ) from None
    lines = done.stdout.strip().splitlines()
    if done.returncode == 1 and lines:
        said, hint = words_for(lines[-1])
        raise ModelRefused(f"{name}: {said}", hint=hint)
    if done.returncode or not lines:
        raise ModelRefused(
            f"{name}: it ended the process that tried it ({_end(done.returncode)})",
            hint="it is damaged, made for another version of the engine, or too large for this board's memory",
        )
    told: dict[str, Any] = json.loads(lines[-1])
    return told


def _end(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"status {code}"


# What the engines say of a file that they do not take, and what a person can do.
KNOWN = (
    (
        ("its network says label",),
        "",
        "name as many --labels as it finds, or say --first 0 or 1: the number of the first",
    ),
    (
        ("external data",),
        "its weights lie in another file",
        "save it as one file: onnx.save(onnx.load(FILE), OUT), or torch.onnx.export(..., external_data=False)",
    ),
    (
        (
            "no op registered",
            "not a registered function",
            "no opset import for domain",
            "custom op",
            "builtin opcode",
            "tensorflow ops",
        ),
        "an operation in it is unknown to the engine here",
        "export it with standard operations of an opset or converter that the engine knows, or take a newer engine",
    ),
    (
        ("ir version", "opset"),
        "it is made for a newer engine",
        "export it with an older opset (17 is known everywhere), or take a newer engine",
    ),
    (
        ("protobuf parsing failed", "model provided has model identifier", "not a valid flatbuffer"),
        "it is no such model, or cut off",
        "copy it here anew",
    ),
    (
        ("no engine works here",),
        "no engine for such a file works here",
        "pip install 'lineside[onnx]' or 'lineside[vision]'",
    ),
)


def words_for(said: str) -> tuple[str, str]:
    """(what is wrong, what to do) for the words of an engine."""
    for signs, what, hint in KNOWN:
        if any(sign in said.lower() for sign in signs):
            return f"{what}: {said}" if what else said, hint
    return said, ""


def _tensor(told: dict[str, Any]) -> Tensor:
    shape, free = tuple(told["shape"]), tuple(told["free"])
    return Tensor(told["name"], shape, np.dtype(told["dtype"]), told["scale"], told["zero"], free)


def _parity(
    file: Path,
    fine: Path,
    draft: Path,
    told: dict[str, Any],
    tried: dict[str, Any],
    wishes: Wishes,
    terms: Terms,
    say: Say,
) -> dict[str, Any]:
    """The float file described and tried on the same pictures; the figures beside it. Raises ModelRefused where they differ by more
    than the bounds."""
    beside, given = draft / "float", told["given"]
    beside.mkdir()
    alike = replace(
        wishes,
        full=told.get("full", 0.0),
        size=tuple(told["size"]),
        normalise=wishes.normalise or (given["white"], given["mean"], given["std"]),
    )
    its, _ = _described(fine, beside, told["name"], alike, replace(terms, takt=float("inf")), say)
    if its["task"] != told["task"]:
        raise ModelRefused(f"{file.name} is a model to {told['task']}, {fine.name} one to {its['task']}")
    say("comparing the two")
    names = tried["pictures"]
    model = trial.described(Package(draft, describe(draft)))
    try:
        figures = compared(model, names, answers(beside, len(names)), answers(draft, len(names)))
        within(figures, terms.parity)
    except ModelRefused as error:
        raise ModelRefused(f"{file.name}: {error.args[0]}", hint=error.hint) from None
    shutil.rmtree(beside)
    return figures | {"float": fine.name, "bounds": vars(terms.parity)}


def _fits_the_board(file: Path, tried: dict[str, Any], terms: Terms) -> None:
    took = tried["ms"]["median"]
    if took > terms.takt * 1e3:
        raise ModelRefused(
            f"{file.name}: a picture takes {took:.0f} ms on this board ({board()['cpu']}; CPU {tried['ms']['cpu']:.0f} ms), "
            f"the takt is {terms.takt * 1e3:.0f} ms",
            hint="a quiet board where CPU time is much less; a smaller --size or network, int8, a faster board, or a longer --takt",
        )
    if tried["memory_mb"] > (most := _memory_mb() / 2):
        raise ModelRefused(
            f"{file.name}: it takes {tried['memory_mb']} MB, and half of this board's memory is {most:.0f} MB",
            hint="a smaller --size or network",
        )


def _memory_mb() -> float:
    try:
        first = Path("/proc/meminfo").read_text().split(maxsplit=2)
        return int(first[1]) / 1024
    except (OSError, ValueError, IndexError):
        return float("inf")


def _figures(
    file: Path, draft: Path, told: dict[str, Any], tried: dict[str, Any], terms: Terms, day: datetime
) -> dict[str, Any]:
    verdicts = tried["verdicts"]
    return {
        "made": day.isoformat(timespec="seconds"),
        "board": board(),
        "file": file.name,
        "bytes": (draft / told["weights"]).stat().st_size,
        "task": told["task"],
        "engine": told["engine"],
        "labels": told.get("labels", []),
        "full": told.get("full"),
        "size": told["size"],
        "given": told["given"],
        "gives": told.get("gives"),
        "pictures": len(tried["pictures"]),
        "verdicts": {state: verdicts.count(state) for state in ("ok", "recheck", "ng")},
        "golden": tried["golden"],
        "ms": tried["ms"],
        "memory_mb": tried["memory_mb"],
        "takt_ms": terms.takt * 1e3,
        "licence": terms.licence,
        "data": terms.data,
    }
