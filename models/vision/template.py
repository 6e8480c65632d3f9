"""The stage `template`: judges a part by what differs from its template. Needs one good picture and no training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from pydantic import Field

from edge import ConfigFault, Event, Frame, Job, Period, Setting, StageConfig, StatelessStage

from .compare import Difference, Rules, compare
from .verdict import Verdict, results, unjudged


class TemplateConfig(StageConfig):
    """One camera, one template."""

    camera: str = Field(description="name of the driver whose pictures are judged")
    template: str = Field(
        "", description="picture of a good part, beside the site; empty: the second channel of each frame"
    )
    search: int = Field(4, ge=0, le=32, description="pixels each way the part may lie off")
    local: int = Field(2, ge=0, le=8, description="pixels each way that a place of the part may lie off besides")
    tolerance: int = Field(1, ge=0, le=16, description="pixels an edge may move")
    area: int = Field(8, ge=1, description="pixels a defect has at least")
    level: int = Field(128, ge=1, le=255, description="from this grey level on a pixel is white")
    refuse_below: float = Field(
        0.8, ge=0, le=1, description="share of agreeing pixels below which it is no such part: recheck"
    )
    keep: Literal["all", "ng", "none"] = Field("ng", description="whose pictures are kept")
    deadline: Period | None = Field(None, description="a verdict later than this after the picture is of no use")

    def reads(self) -> tuple[str, ...]:
        return (self.camera,)


class Template(StatelessStage):
    """Frames in, one inspection event each out; the work is done on the pool."""

    Config = TemplateConfig

    def __init__(self, config: TemplateConfig, setting: Setting) -> None:
        self.config, self.name = config, setting.name
        self.inputs = frozenset({config.camera})
        self.outputs = frozenset({f"event:inspection {setting.name}"})
        self._rules = Rules(
            search=config.search, local=config.local, tolerance=config.tolerance, area=config.area, level=config.level
        )
        self._template = _read(setting.folder / config.template) if config.template else None

    def __call__(self, item: Any) -> Iterator[Any]:
        if isinstance(item, Frame):
            frame = item.hold()
            deadline = item.mono + round(self.config.deadline * 1e9) if self.config.deadline and item.mono else 0
            yield Job(lambda: self._judge(frame), lambda: self._late(frame), deadline, self.name)

    def _late(self, frame: Frame) -> list[Event]:
        try:
            return [unjudged(self.name, frame.source, frame.seq, frame.part, frame.ts, "no time left to judge it")]
        finally:
            frame.release()

    def _judge(self, frame: Frame) -> list[Any]:
        """On a pool thread. Gives the frame back whatever happens."""
        try:
            image = frame.image
            grey, template = _pair(image, self._template)
            verdict = self._verdict(compare(grey, template, self._rules))
            wanted = self.config.keep == "all" or (self.config.keep == "ng" and verdict.state != "ok")
            took = (time.monotonic_ns() - frame.mono) / 1e6 if frame.mono else 0.0
            return list(results(self.name, frame, verdict, took, grey if wanted else None))
        except (ValueError, cv2.error) as error:
            return [unjudged(self.name, frame.source, frame.seq, frame.part, frame.ts, f"cannot be judged: {error}")]
        finally:
            frame.release()

    def _verdict(self, found: Difference) -> Verdict:
        if found.fit < self.config.refuse_below:
            return Verdict("recheck", found.fit, "", f"only {found.fit:.0%} of the picture fit the template")
        if not len(found.boxes):
            return Verdict("ok", 0.0)
        boxes = [(*map(int, b), "differs", float(a)) for b, a in zip(found.boxes, found.areas, strict=True)]
        most = max(map(int, found.areas))
        return Verdict("ng", float(most), "differs", f"{len(boxes)} places differ from the template", boxes)  # type: ignore[arg-type]


def _pair(image: np.ndarray, template: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    if template is None:
        if image.ndim != 3 or image.shape[2] != 2:
            raise ValueError("no template is given, and the frame brings none in a second channel")
        return np.ascontiguousarray(image[:, :, 0]), np.ascontiguousarray(image[:, :, 1])
    grey = (
        image if image.ndim == 2 else image[:, :, 0] if image.shape[2] < 3 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    )
    return np.ascontiguousarray(grey), template


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
    if image is None:
        raise ConfigFault(f"{path} is no picture", hint="save one picture of a good part there")
    return image
