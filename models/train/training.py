"""The training of a detector: batches from a process of their own, a network and the mean of its last states, check points that
it goes on from as if there had been no break."""

from __future__ import annotations

import argparse
import copy
import math
import multiprocessing
import os
import pickle
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from queue import Empty, Full
from typing import Any

import cv2
import numpy as np
import torch

from ..vision.detect import one_thread
from . import samples
from .detector import Net, loss
from .weights import started, width_of

SAVED = 60.0  # seconds between two check points
RATE, WARM = 2e-3, 200
Loss = Callable[..., tuple[torch.Tensor, torch.Tensor]]
AGAIN = 12  # times fewer steps where a package is the start, at half the rate
Make = Callable[
    [], samples.Source
]  # in another process: a class or function of a module and what it is called with (partial)


def produce(queue: Any, make: Make, seed: int, first: int, many: int) -> None:
    """In a process of its own: batches in order, from number `first` on, until nobody wants them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the trainer is interrupted, and ends this one
    one_thread()
    queue.cancel_join_thread()
    source = make()
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

    def __init__(
        self, options: argparse.Namespace, make: Callable[[], Net], settings: Sequence[str], loss: Loss = loss
    ) -> None:
        """`settings` are the names of those options that a check point was made with, and has to go on with."""
        torch.manual_seed(options.seed)
        self.options, self.step, self.spent, self._loss = options, 0, 0.0, loss
        net = make()
        self.net: Net = net.to(memory_format=torch.channels_last)
        self.mean = copy.deepcopy(net).eval()
        self.rate = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-2)
        self._top = RATE
        if options.start:
            started(self.net, options.start)
            self.mean.load_state_dict(self.net.state_dict())
            self._top = RATE / 2
            settings = (*settings, "start")
        self._settings = {name: str(getattr(options, name)) for name in settings}

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
        pace = self._top * min(1, (self.step + 1) / WARM) * (0.5 + 0.5 * math.cos(math.pi * min(self.done(), 1))) + 1e-5
        for group in self.rate.param_groups:
            group["lr"] = pace
        pictures, *wanted = (torch.from_numpy(part) for part in batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.options.bf16):
            heat, place = self.net(pictures)
        of_heat, of_place = self._loss(heat, place, *wanted)
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


def train(run: Training, make: Make) -> None:
    """On what `make` gives, until its steps or its minutes are over. Saves each minute, and when somebody interrupts."""
    if run.done() >= 1:  # a check point of the end
        return
    options, queue = run.options, multiprocessing.get_context("spawn").Queue(4)
    words = (queue, make, options.seed, run.step, options.batch)
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


def _more_than_none(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text[:10]) < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of steps; write 20000")
    return int(text)


def arguments(parser: argparse.ArgumentParser, steps: int, width: str, weights: float) -> None:
    """What every training is asked. `width` says which one is taken, `weights` are those of a network of width 1, in millions."""
    parser.add_argument("--start", type=Path, metavar="PACKAGE", help="go on from its weights, reusing all it learned")
    parser.add_argument(
        "--steps", type=_more_than_none, help=f"default: {steps}, with --start {steps // AGAIN}", default=steps
    )
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="end sooner: the schedule is shortened to fit (default: no)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--width", type=float, help=f"1 has {weights:g} million weights (default: {width}, with --start that of it)"
    )
    parser.add_argument(
        "--batch", type=int, choices=range(2, 65), metavar="2..64", default=samples.BATCH, help="pieces a step"
    )
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--no-bf16", dest="bf16", action="store_false", help="where the CPU has no bf16 of its own")
    parser.add_argument("--continue", dest="go_on", action="store_true", help="from the check point")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE")
    parser.add_argument("--licence", default="")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="package to write; its name is the model's")


def prepared(parser: argparse.ArgumentParser, options: argparse.Namespace, width: float) -> None:
    """Where it writes to, on how many threads it works, how long, and how wide: `width` where nothing else says it. Ends in words
    where it cannot write there."""
    if options.width is None:
        options.width = width_of(options.start) if options.start else width
    if options.start and options.steps == parser.get_default("steps"):
        options.steps //= AGAIN
    if not re.fullmatch(r"[\w.-]+", options.out.name):
        parser.error(
            f"--out {options.out}: {options.out.name!r} is no name of a model; letters, digits, . _ and - make one"
        )
    options.checkpoint = options.checkpoint or Path(f"build/train/{options.out.name}-{options.seed}.pt")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {options.out}: {error.strerror}")
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
