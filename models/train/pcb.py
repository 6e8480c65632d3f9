"""Trains a detector of defects on bare boards: `make train-pcb [DATA=FOLDER] [OUT=FOLDER]`, or `python -m models.train.pcb`.

With DATA on the list `trainval` of a folder laid out like DeepPCB, else on rendered boards alone. Float first (PyTorch), then int8
by our own writer, then the gate: int8 has to be as good as float within 0.1 mAP. All that is chosen (ranges, threshold) is chosen
on what was held back from training; no test list is ever read.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import multiprocessing
import os
import pickle
import signal
import sys
import time
from itertools import count
from pathlib import Path
from queue import Empty, Full
from typing import Any

import cv2
import numpy as np
import torch

from edge import LinesideError

from ..engines.contract import Tensor
from ..package import SHIPPED, Detect, Package, describe, prove
from ..vision import peaks
from ..vision.detect import Detector, one_thread
from ..vision.score import Score
from . import samples, synth
from .detector import Net, calibrated, compiled, loss

LEAST = 0.02  # as `lineside model evaluate` counts
WORSE = 0.1  # mAP that int8 may lose
DOUBT, GIVEN_UP = (0.05, 0.9), 0.03  # the second view only there, if that costs no more mAP than this
SAVED = 60.0  # seconds between two check points
TOLERANCE = 6  # int8 steps between kernel sets, ADR 14; the boxes over the threshold have to be the same
CLEAR = 0.05  # of a score from the threshold that no engine's rounding crosses
RATE, WARM = 2e-3, 200
CARD = """# {name}

A detector of six defects of bare boards ({labels}), for the tool `detect`.

- Data: {data}
- Licence: {licence}
- Seed {seed}, {steps} steps of {batch} pieces of {crop} x {crop} in {minutes:.0f} minutes on {threads} thread(s), width {width:g}
- On what was held back from training ({pictures} pictures): {figures}
"""


def produce(queue: Any, folder: Path | None, seed: int, first: int, crop: int, many: int) -> None:
    """In a process of its own: batches in order, from number `first` on, until nobody wants them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the trainer is interrupted, and ends this one
    one_thread()
    queue.cancel_join_thread()
    source = samples.Recorded(folder, crop) if folder else samples.Rendered(crop)
    for number in count(first):
        made = samples.batch(source, seed, number, many)
        while True:
            try:
                queue.put(made, timeout=5)
                break
            except Full:
                if not (parent := multiprocessing.parent_process()) or not parent.is_alive():
                    return


class Training:
    """Network, mean of its last states, optimiser and how far they are; saved whole, and continued from there."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(options.seed)
        self.options, self.step, self.spent = options, 0, 0.0
        net = Net(options.width, len(synth.LABELS))
        self.net: Net = net.to(memory_format=torch.channels_last)
        self.mean = copy.deepcopy(net).eval()
        self.rate = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-2)
        self._settings = {
            name: str(getattr(options, name)) for name in ("data", "seed", "width", "steps", "crop", "batch")
        }

    def save(self) -> None:
        path: Path = self.options.checkpoint
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {name: getattr(self, name).state_dict() for name in ("net", "mean", "rate")}
        new = path.with_suffix(".new")
        torch.save({**state, "step": self.step, "spent": self.spent, "settings": self._settings}, new)
        os.replace(new, path)

    def restore(self) -> None:
        path: Path = self.options.checkpoint
        if not path.exists():
            raise SystemExit(f"there is no check point {path} to go on from")
        try:
            held = torch.load(path, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            raise SystemExit(f"{path} is no check point, or a damaged one") from None
        if held["settings"] != self._settings:
            raise SystemExit(f"{path} was made with {held['settings']}: say the same, or --checkpoint elsewhere")
        for name in ("net", "mean", "rate"):
            getattr(self, name).load_state_dict(held[name])
        self.step, self.spent = held["step"], held["spent"]

    def done(self) -> float:
        """0..1: by steps, or by time where that ends sooner."""
        minutes = self.options.minutes
        return max(self.step / self.options.steps, self.spent / 60 / minutes if minutes else 0.0)

    def learn(self, batch: samples.Batch) -> tuple[float, float]:
        pace = RATE * min(1, (self.step + 1) / WARM) * (0.5 + 0.5 * math.cos(math.pi * min(self.done(), 1))) + 1e-5
        for group in self.rate.param_groups:
            group["lr"] = pace
        pictures, *wanted = (torch.from_numpy(part) for part in batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.options.bf16):
            heat, place = self.net(pictures)
        of_heat, of_place = loss(heat, place, *wanted)
        self.rate.zero_grad(set_to_none=True)
        (of_heat + of_place).backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.rate.step()
        self.step += 1
        total = self.step / max(self.done(), 1e-9)  # of a short run the mean is over its last twentieth
        keep = max(0.0, min(0.999, 1 - 20 / total, self.step / (self.step + 9)))
        with torch.no_grad():
            for old, new in zip(self.mean.state_dict().values(), self.net.state_dict().values(), strict=True):
                old.lerp_(new, 1 - keep) if old.dtype.is_floating_point else old.copy_(new)
        return of_heat.item(), of_place.item()


def following(queue: Any, child: Any) -> samples.Batch:
    """The next batch. Exits where the process that makes them died."""
    while True:
        try:
            batch: samples.Batch = queue.get(timeout=2)
            return batch
        except Empty:
            if not child.is_alive():
                raise SystemExit("the process that draws the pieces ended: what it said stands above") from None


def train(run: Training) -> None:
    """Until its steps or its minutes are over. Saves each minute, and when somebody interrupts."""
    options, queue = run.options, multiprocessing.get_context("spawn").Queue(4)
    words = (queue, options.data, options.seed, run.step, options.crop, options.batch)
    child = multiprocessing.get_context("spawn").Process(target=produce, args=words, daemon=True)
    child.start()
    began, before, saved, seen = time.monotonic(), run.spent, time.monotonic(), np.zeros(2)
    told, first = 0.0, run.done()
    try:
        while run.done() < 1:
            losses = np.array(run.learn(following(queue, child)))
            seen = seen * 0.98 + 0.02 * losses if seen.any() else losses
            now = time.monotonic()
            run.spent = before + now - began
            if now - saved > SAVED:
                run.save()
                saved = now
            if now - told > (0.5 if sys.stderr.isatty() else 30):
                told = now
                progress(run, (now - began) * (1 - run.done()) / max(run.done() - first, 1e-9), seen)
    except KeyboardInterrupt:
        run.save()
        raise SystemExit(f"\nstopped at step {run.step}; go on with --continue") from None
    finally:
        child.terminate()
    run.save()
    print(file=sys.stderr)


def progress(run: Training, left: float, seen: np.ndarray) -> None:
    share = min(run.done(), 1)
    bar = "#" * round(30 * share)
    time_left = f"{left / 60:.0f} min" if left > 100 else f"{left:.0f} s"
    text = f"[{bar:30}] {share:4.0%} step {run.step}, heat {seen[0]:.3f}, place {seen[1]:.3f}, about {time_left} to go"
    print(
        f"\r{text}" if sys.stderr.isatty() else text,
        end="" if sys.stderr.isatty() else "\n",
        file=sys.stderr,
        flush=True,
    )


def in_float(net: Net, held: list[samples.Sample], package: Package, views: int) -> Score:
    """What the float network says of what was held back, decoded as the package is."""
    model, found = package.described(Detect), []
    heat, place = Tensor("heat", (), np.float32), Tensor("place", (), np.float32)
    net.eval()
    with torch.no_grad():
        for picture, _ in held:
            shown = np.stack([picture, picture[::-1, ::-1]][:views])
            said = [out.permute(0, 2, 3, 1).numpy() for out in net(torch.from_numpy(shown))]
            found.append(peaks.boxes(list(zip(*said, strict=True)), peaks.odds(heat), place, model, LEAST))
    return scored(found, held)


def in_int8(package: Package, held: list[samples.Sample]) -> Score:
    detector = Detector(package, LEAST)
    return scored([detector(picture[:, :, 0], picture[:, :, 1]) for picture, _ in held], held)


def scored(found: list[np.ndarray], held: list[samples.Sample]) -> Score:
    return Score(found, [(boxes[:, :4], boxes[:, 4].astype(int)) for _, boxes in held], synth.LABELS)


def figures_of(score: Score, threshold: float) -> dict[str, float]:
    precision, recall, f = score.at(threshold)
    said = {"mAP": score.mean(), "mAP_pooled": score.pooled(), "F": f, "precision": precision, "recall": recall}
    return {name: round(value, 4) for name, value in said.items()}


def describe_in(
    folder: Path, options: argparse.Namespace, data: str, ng_above: float, doubt: tuple[float, float] | None = None
) -> Package:
    """Write model.yaml beside the weights; the package is not proved yet."""
    weights = folder / f"{folder.name}.tflite"
    lines = {
        "name": folder.name,
        "version": 1,
        "task": "detect",
        "engine": "tflite",
        "weights": weights.name,
        "sha256": f'"{hashlib.sha256(weights.read_bytes()).hexdigest()}"',
        "size": [samples.WHOLE, samples.WHOLE],
        "fold": samples.FOLD,
        "stride": samples.STRIDE,
        "unit": samples.UNIT,
        "labels": f"[{', '.join(synth.LABELS)}]",
        "level": 128,
        "views": options.views,
        "ng_above": round(ng_above, 3),
        "ok_below": round(ng_above / 2, 3),
        "tolerance": TOLERANCE,
        "licence": options.licence,
        "data": data,
    }
    if doubt:
        lines["doubt"] = list(doubt)
    (folder / "model.yaml").write_text("".join(f"{name}: {value}\n" for name, value in lines.items()))
    return Package(folder, describe(folder))


def golden(package: Package, held: list[samples.Sample], ng_above: float) -> None:
    """The first two pictures whose decisions are no matter of a step: no score lies near the threshold."""
    model, run = package.described(Detect), package.interpreter()
    kept: list[tuple[np.ndarray, ...]] = []
    for picture, _ in held:
        given = np.bitwise_xor(np.ascontiguousarray(picture), 0x80).view(np.int8).reshape(model.shapes[0])
        heat, place = run(given)
        score = peaks.boxes([(heat[0], place[0])], peaks.odds(run.outputs[0]), run.outputs[1], model, 0.01)[:, 4]
        if len(kept) < 2 and (score > ng_above).any() and (np.abs(score - ng_above) > CLEAR).all():
            kept.append((given[0], heat[0], place[0]))
    if not kept:
        raise SystemExit("refused: there is no picture whose decision is clear")
    given, heat, place = (np.stack(each) for each in zip(*kept, strict=True))
    np.savez_compressed(package.folder / "golden.npz", input=given, heat=heat, place=place)


def export(run: Training) -> int:
    """Make the package and its figures; 1 where the gate refuses it."""
    options, folder = run.options, run.options.out
    held = list(samples.held_back(options.data))
    net = run.mean
    folder.mkdir(parents=True, exist_ok=True)
    weights = compiled(net, calibrated(net, [picture for picture, _ in held[::2]]), (samples.WHOLE, samples.WHOLE))
    (folder / f"{folder.name}.tflite").write_bytes(weights)
    data = (
        "the training list of DeepPCB and defects drawn onto it"
        if options.data
        else "rendered boards alone, no real picture"
    )
    package = describe_in(folder, options, data, 0.5)
    some = held[::2]  # float is slow here: the gate compares on every second picture
    exact, same = in_float(net, some, package, options.views), in_int8(package, some)
    whole, doubt = in_int8(package, held), None
    if options.views == 2:
        quick = in_int8(describe_in(folder, options, data, 0.5, DOUBT), held)
        if quick.mean() >= whole.mean() - GIVEN_UP:
            doubt, whole = DOUBT, quick
    ng_above = float(np.clip(whole.best_threshold(), 0.05, 0.95))
    package = describe_in(folder, options, data, ng_above, doubt)
    golden(package, held, ng_above)
    prove(folder)
    figures = {
        "held_back": len(held),
        "int8": figures_of(whole, ng_above),
        "float_of_half": figures_of(exact, ng_above),
        "int8_of_half": figures_of(same, ng_above),
        "threshold": round(ng_above, 3),
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
    said = f"mAP {whole.mean():.2f}, F {whole.at(ng_above)[2]:.2f}; int8 loses {lost:.3f} mAP against float"
    words = {
        "name": folder.name,
        "labels": ", ".join(synth.LABELS),
        "data": data,
        "pictures": len(held),
        "figures": said,
    }
    words |= {"minutes": run.spent / 60, "steps": run.step}
    words |= {name: getattr(options, name) for name in ("licence", "seed", "threads", "width", "crop", "batch")}
    (folder / "card.md").write_text(CARD.format(**words))
    print(json.dumps(figures))
    if not lost <= WORSE:
        print("refused: int8 is not as good as float", file=sys.stderr)
        return 1
    print(f"{folder} is ready: lineside model evaluate {folder} --data FOLDER says what it is worth", file=sys.stderr)
    return 0


def _more_than_none(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text[:10]) < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of steps; write 24000")
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m models.train.pcb", description="train a detector of defects on bare boards"
    )
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="laid out like DeepPCB; default: rendered boards alone"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="package to write; its name is the model's")
    parser.add_argument("--steps", type=_more_than_none, default=24_000)
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="end sooner: the schedule is shortened to fit (default: no)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--width", type=float, default=1.125, help="1 has 0.41 million weights (default: 1.125)")
    parser.add_argument(
        "--crop", type=int, choices=(128, 192, 256, 320, 384), default=samples.CROP, help="side of a piece"
    )
    parser.add_argument(
        "--batch", type=int, choices=range(2, 65), metavar="2..64", default=samples.BATCH, help="pieces a step"
    )
    parser.add_argument("--views", type=int, choices=(1, 2), default=2)
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--no-bf16", dest="bf16", action="store_false", help="where the CPU has no bf16 of its own")
    parser.add_argument("--continue", dest="go_on", action="store_true", help="from the check point")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE")
    parser.add_argument("--licence", default="")
    options = parser.parse_args()
    if options.data:
        options.data = options.data.resolve()
        try:  # now, not after hours
            next(samples.held_back(options.data))
        except (LinesideError, ValueError) as error:
            parser.error(f"--data {options.data}: {error}")
    options.out = options.out or (Path("build/packages/pcb-deeppcb") if options.data else SHIPPED / "pcb-rendered")
    options.checkpoint = options.checkpoint or Path(f"build/train/{options.out.name}-{options.seed}.pt")
    options.licence = options.licence or ("research only, not to be passed on" if options.data else "Apache-2.0")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {options.out}: {error.strerror}")
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    run = Training(options)
    if options.go_on:
        run.restore()
    train(run)
    return export(run)


if __name__ == "__main__":
    sys.exit(main())
