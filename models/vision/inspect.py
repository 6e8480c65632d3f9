"""The stage `inspect`: a network judges each picture of a camera, on the pool."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal

import cv2
import numpy as np
from pydantic import Field

from edge import ConfigFault, Event, Frame, Job, Period, Setting, StageConfig, StatelessStage, Write

from ..engines.contract import Interpreter, Tensor
from ..package import Classify, find, load
from .given import fitted, tensor
from .spare import Spare
from .verdict import Verdict, results, unjudged
from .view import plain


class InspectConfig(StageConfig):
    """One camera, one model package."""

    camera: str = Field(description="name of the driver whose pictures are judged")
    model: str = Field(description="model package: a folder beside the site, or the name of a shipped one")
    keep: Literal["all", "ng", "none"] = Field("all", description="whose pictures are kept")
    ng_above: float | None = Field(None, gt=0, lt=1, description="in place of the package's own")
    ok_below: float | None = Field(None, gt=0, lt=1, description="in place of the package's own")
    deadline: Period | None = Field(None, description="a verdict later than this after the picture is of no use")
    ng: dict[str, float] = Field(default_factory=dict, description="tags written when a part is NG or cannot be judged")
    ok: dict[str, float] = Field(default_factory=dict, description="tags written when a part is OK")

    def reads(self) -> tuple[str, ...]:
        return (self.camera,)

    def orders(self) -> dict[str, dict[str, float]]:
        return {"ng": self.ng, "ok": self.ok}


class Inspect(StatelessStage):
    """Frames in, one inspection event each out."""

    Config = InspectConfig

    def __init__(self, config: InspectConfig, setting: Setting) -> None:
        self.config, self.name = config, setting.name
        self.inputs = frozenset({config.camera})
        self.outputs = frozenset({f"event:inspection {setting.name}"})
        for tag in (*config.ng, *config.ok):
            if tag not in setting.table:
                raise ConfigFault(f"{setting.name}: no tag is called {tag!r}")
        self._writes = {
            state: [(setting.table[tag].id, value) for tag, value in orders.items()]
            for state, orders in (("ng", config.ng), ("ok", config.ok), ("recheck", config.ng))
        }
        self._package = load(find(config.model, setting.folder))
        self._described = described = self._package.described(Classify)
        said = config.ng_above, config.ok_below
        self._ng_above, self._ok_below = described.limits(setting.name, config.model, *said)
        self._spare = Spare(self._package.interpreter)

    def __call__(self, item: Any) -> Iterator[Any]:
        if isinstance(item, Frame):
            frame = item.hold()
            deadline = item.mono + round(self.config.deadline * 1e9) if self.config.deadline and item.mono else 0
            yield Job(lambda: self._judge(frame), lambda: self._late(frame), deadline, self.name)

    def _late(self, frame: Frame) -> list[Any]:
        try:
            late = unjudged(self.name, frame.source, frame.seq, frame.part, frame.ts, "no time left to judge it")
            return [*self._orders("recheck"), late]
        finally:
            frame.release()

    def _orders(self, state: str) -> list[Write]:
        return [Write(tag, value, cause=self.name) for tag, value in self._writes[state]]

    def _judge(self, frame: Frame) -> list[Any]:
        """On a pool thread. Gives the frame back whatever happens."""
        try:
            described = self._described
            with self._spare.one() as run:
                chances = probabilities(run, prepare(frame.image, described, run.inputs[0]), described.says)
            verdict = self._verdict(chances)
            took = (time.monotonic_ns() - frame.mono) / 1e6 if frame.mono else 0.0
            wanted = self.config.keep == "all" or (self.config.keep == "ng" and verdict.state != "ok")
            return [
                *self._orders(verdict.state),
                *results(self.name, frame, verdict, took, frame.image if wanted else None),
            ]
        except Exception as error:  # the engines' errors share no base, and no part is without a verdict
            why: Event = unjudged(
                self.name, frame.source, frame.seq, frame.part, frame.ts, f"cannot be judged: {error}"
            )
            return [*self._orders("recheck"), why]
        finally:
            frame.release()

    def _verdict(self, chances: np.ndarray) -> Verdict:
        described = self._described
        defect = 1.0 - float(chances[0])
        worst = 1 + int(np.argmax(chances[1:]))
        if defect >= self._ng_above:
            label = described.labels[worst]
            return Verdict("ng", defect, label, f"{label.replace('_', ' ')} ({chances[worst]:.0%})")
        if defect < self._ok_below:
            return Verdict("ok", defect, described.labels[0])
        return Verdict(
            "recheck", defect, described.labels[worst], f"not sure: {described.labels[worst]} {chances[worst]:.0%}"
        )


def prepare(image: np.ndarray, described: Classify, spec: Tensor) -> np.ndarray:
    """uint8 or uint16[h, w, c] -> what the network takes: the middle cut out, and brought to its size and colours. Raises
    ValueError."""
    height, width = described.crop or image.shape[:2]
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    if top < 0 or left < 0:
        raise ValueError(f"the picture is {image.shape[1]} x {image.shape[0]}, the model wants {width} x {height}")
    cut = image[top : top + height, left : left + width]
    if described.given is not None:
        return tensor(fitted(plain(cut), described.size, described.given)[0], described.given, spec)
    grey = cut if cut.ndim == 2 else cut[:, :, 0] if cut.shape[2] < 3 else cv2.cvtColor(cut, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, described.size[::-1], interpolation=cv2.INTER_AREA)
    if small.dtype == np.uint16:
        small = np.right_shift(small, 8).astype(np.uint8)
    return np.bitwise_xor(small, 0x80).view(np.int8)[None, :, :, None]


def probabilities(run: Interpreter, picture: np.ndarray, says: str = "logits") -> np.ndarray:
    """float64[labels]: softmax over the outputs, or they themselves where they are shares of 1. Raises ValueError for what is no
    number."""
    (out,) = run(picture)
    spec = run.outputs[0]
    numbers = out.ravel().astype(np.float64)
    if spec.scale:
        numbers = (numbers - spec.zero) * spec.scale
    if not np.isfinite(numbers).all():
        raise ValueError("its network says what is no number")
    if says == "shares":
        return np.clip(numbers, 0, 1)
    chances = np.exp(numbers - numbers.max())
    return np.asarray(chances / chances.sum())
