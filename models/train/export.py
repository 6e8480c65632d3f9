"""From a trained network to a package: int8 by our own writer, the gate (int8 has to be as good as float), golden vectors, figures
and card. All that is chosen (ranges, threshold) is chosen on what was held back from training."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..engines.contract import Tensor
from ..package import Detect, Package, describe, prove
from ..vision import peaks
from ..vision.detect import Detector
from ..vision.score import ENOUGH, Score
from . import samples
from .detector import Net, calibrated, compiled
from .training import Training
from .weights import kept

LEAST = 0.02  # as `lineside model evaluate` counts
WORSE = 0.1  # mAP that int8 may lose
LOOK = 96  # pixels around a doubtful place that are looked at again
DOUBTS = ((0.2, 0.6), (0.15, 0.7), (0.2, 0.8), (0.1, 0.8), (0.03, 0.9))  # of doubtful places, from few to many ...
GIVEN_UP = 0.03  # mAP that looking at fewer may cost
TOLERANCE = 12  # int8 steps between kernel sets, ADR 14; the boxes over the threshold have to be the same
MANY = 60  # pictures from which on every second one does for ranges and gate
CLEAR = 0.05  # of a score from the threshold that no engine's rounding crosses
WORDS = {"yes", "no", "on", "off", "true", "false", "null"}
CARD = """# {name}

A detector of {of} ({labels}), for the tool `detect`.

- Data: {data}
- Licence: {licence}
- Seed {seed}, {steps} steps of {batch} pieces of {crop} x {crop} in {minutes:.0f} minutes on {threads} thread(s), width {width:g}
- On what was held back from training ({pictures} pictures): {figures}
"""


@dataclass(frozen=True)
class About:
    """What a package says of itself and nobody measures, and what is asked of it: `of` and `data` are words, `lines` further ones
    of model.yaml, `worse` is the mAP that int8 may lose."""

    of: str
    data: str
    labels: Sequence[str]
    size: tuple[int, int] = (samples.WHOLE, samples.WHOLE)
    lines: dict[str, Any] = field(default_factory=dict)
    look: int = LOOK
    worse: float = WORSE
    enough: float = ENOUGH  # of a box that another one has to overlap


def in_float(net: Net, held: list[samples.Sample], package: Package, enough: float = ENOUGH) -> Score:
    """What the float network says of what was held back at a first look, decoded as the package is."""
    model, found = package.described(Detect), []
    plain = Tensor("plain", (), np.float32)
    net.eval()
    with torch.no_grad():
        for picture, _ in held:
            heat, place = (out[0].permute(1, 2, 0).numpy() for out in net(torch.from_numpy(picture[None])))
            found.append(peaks.boxes(*peaks.read(heat, place, None, plain), model, LEAST))
    return scored(found, held, model.labels, enough)


def in_int8(package: Package, held: list[samples.Sample], enough: float = ENOUGH) -> Score:
    detector = Detector(package, LEAST)
    found = [detector(picture[:, :, 0], None if detector.model.alone else picture[:, :, 1]) for picture, _ in held]
    return scored(found, held, detector.model.labels, enough)


def scored(found: list[np.ndarray], held: list[samples.Sample], labels: Sequence[str], enough: float) -> Score:
    return Score(found, [(boxes[:, :4], boxes[:, 4].astype(int)) for _, boxes in held], labels, enough)


def figures_of(score: Score, threshold: float) -> dict[str, float]:
    precision, recall, f = score.at(threshold)
    said = {"mAP": score.mean(), "mAP_pooled": score.pooled(), "F": f, "precision": precision, "recall": recall}
    return {name: round(value, 4) for name, value in said.items()}


def describe_in(
    folder: Path,
    options: argparse.Namespace,
    about: About,
    ng_above: float = 0.5,
    views: int = 1,
    doubt: tuple[float, float] = DOUBTS[0],
) -> Package:
    """Write model.yaml beside the weights; the package is not proved yet."""
    weights = folder / f"{folder.name}.tflite"
    lines = {
        "name": said(folder.name),
        "version": 1,
        "task": "detect",
        "engine": "tflite",
        "weights": weights.name,
        "sha256": f'"{hashlib.sha256(weights.read_bytes()).hexdigest()}"',
        "size": list(about.size),
        "fold": samples.FOLD,
        "stride": samples.STRIDE,
        "unit": samples.UNIT,
        "labels": f"[{', '.join(map(said, about.labels))}]",
        **about.lines,
        "views": views,
        "doubt": list(doubt),
        "look": about.look,
        "ng_above": round(ng_above, 3),
        "ok_below": round(ng_above / 2, 3),
        "tolerance": TOLERANCE,
        "licence": said(options.licence),
        "data": said(about.data),
    }
    (folder / "model.yaml").write_text("".join(f"{name}: {value}\n" for name, value in lines.items()))
    return Package(folder, describe(folder))


def said(text: str) -> str:
    """As YAML takes it for this text and nothing else."""
    return text if re.fullmatch(r"[A-Za-z][\w -]*[\w]", text) and text.lower() not in WORDS else json.dumps(text)


def golden(package: Package, pictures: Iterable[samples.Sample], ng_above: float) -> None:
    """The first two pictures whose decisions are no matter of a step: no score lies near the threshold."""
    model, run = package.described(Detect), package.interpreter()
    kept: list[tuple[np.ndarray, ...]] = []
    for picture, _ in pictures:
        if len(kept) == 2:
            break
        given = np.bitwise_xor(np.ascontiguousarray(picture), 0x80).view(np.int8).reshape(model.shapes[0])
        heat, place = run(given)
        read = peaks.read(heat[0], place[0], peaks.odds(run.outputs[0]), run.outputs[1])
        score = peaks.boxes(*read, model, 0.01)[:, 4]
        if (score > ng_above).any() and (np.abs(score - ng_above) > CLEAR).all():
            kept.append((given[0], heat[0], place[0]))
    if not kept:
        raise SystemExit("refused: there is no picture whose decision is clear")
    given, heat, place = (np.stack(each) for each in zip(*kept, strict=True))
    np.savez_compressed(package.folder / "golden.npz", input=given, heat=heat, place=place)


def doubted(
    folder: Path, options: argparse.Namespace, about: About, held: list[samples.Sample]
) -> tuple[tuple[float, float], Score]:
    """Which places are looked at again, the fewest that cost next to nothing; and what comes out."""
    if options.views == 1:
        return DOUBTS[0], in_int8(describe_in(folder, options, about), held, about.enough)
    tried = {
        doubt: in_int8(describe_in(folder, options, about, views=options.views, doubt=doubt), held, about.enough)
        for doubt in DOUBTS
    }
    best = max(score.mean() for score in tried.values())
    return next((doubt, score) for doubt, score in tried.items() if not score.mean() < best - GIVEN_UP)


def export(run: Training, held: list[samples.Sample], about: About, further: Iterable[samples.Sample] = ()) -> int:
    """Make the package and its figures; 1 where the gate refuses it. Golden vectors may be of `further` ones."""
    options, folder, net = run.options, run.options.out, run.mean
    folder.mkdir(parents=True, exist_ok=True)
    some = held[:: 1 + (len(held) >= MANY)]  # float is slow here
    weights = compiled(net, calibrated(net, [picture for picture, _ in some]), about.size)
    (folder / f"{folder.name}.tflite").write_bytes(weights)
    kept(net, folder)
    once = describe_in(folder, options, about)
    exact, same = in_float(net, some, once, about.enough), in_int8(once, some, about.enough)
    doubt, whole = doubted(folder, options, about, held)
    ng_above = float(np.clip(whole.best_threshold(), 0.05, 0.95))
    package = describe_in(folder, options, about, ng_above, options.views, doubt)
    golden(package, chain(held, further), ng_above)
    prove(folder)
    figures = {
        "held_back": len(held),
        "int8": figures_of(whole, ng_above),
        "float_of_some_once": figures_of(exact, ng_above),
        "int8_of_some_once": figures_of(same, ng_above),
        "threshold": round(ng_above, 3),
        "views": options.views,
        "doubt": doubt,
        "seed": options.seed,
        "steps": run.step,
        "minutes": round(run.spent / 60, 1),
        "threads": options.threads,
        "width": options.width,
        "batch": [options.batch, options.crop],
    }
    (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    lost = exact.mean() - same.mean()
    words_of = f"mAP {whole.mean():.2f}, F {whole.at(ng_above)[2]:.2f}; int8 loses {lost:.3f} mAP against float"
    words = {
        "name": folder.name,
        "of": about.of,
        "labels": ", ".join(about.labels),
        "data": about.data,
        "pictures": len(held),
        "figures": words_of,
    }
    words |= {"minutes": run.spent / 60, "steps": run.step}
    words |= {name: getattr(options, name) for name in ("licence", "seed", "threads", "width", "crop", "batch")}
    (folder / "card.md").write_text(CARD.format(**words))
    print(json.dumps(figures))
    if not lost <= about.worse:
        print("refused: int8 is not as good as float", file=sys.stderr)
        return 1
    print(f"{folder} is ready: lineside model evaluate {folder} --data FOLDER says what it is worth", file=sys.stderr)
    return 0
