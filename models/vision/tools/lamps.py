"""The tool `lamps`: which lamps are lit in a picture, and over a film whether each was lit when it had to be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field, PositiveInt, model_validator

from edge import Duration

from ..recipe_config import ViewConfig
from ..registration import grey
from ..verdict import Box
from .contract import Finding, ToolConfig, View

RING = 4  # pixels around a lamp that it is compared with


class LampConfig(BaseModel):
    """One lamp."""

    model_config = {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    at: tuple[int, int, PositiveInt, PositiveInt] = Field(description="x, y, width, height in the view")
    on: list[tuple[Duration, Duration]] = Field(
        description="from when to when it is lit, after the trigger; empty: never"
    )

    @model_validator(mode="after")
    def _ordered(self) -> LampConfig:
        flat = [moment for span in self.on for moment in span]
        if any(a >= b for a, b in pairwise(flat)):
            raise ValueError("`on` runs backwards: from before to, one span after another")
        if min(self.at[:2]) < 0:
            raise ValueError("`at` begins outside of the picture")
        return self


class LampsConfig(ToolConfig):
    """For a view that `lasts`: each lamp against the times at which it has to be lit."""

    lamps: dict[str, LampConfig] = Field(min_length=1, max_length=256, description="each under a name")
    bright: float = Field(40, gt=0, le=255, description="grey levels above what surrounds it from which a lamp is lit")
    tolerance: Duration = Field(0.1, description="how much a lamp may be early or late")


class LampsTool:
    """On one picture `measured` has the level of each lamp; `over_time` judges a film of such findings."""

    Config = LampsConfig

    def __init__(self, config: LampsConfig, folder: Path) -> None:
        self.config, self.labels = config, list(config.lamps)

    def cannot(self, size: tuple[int, int], view: ViewConfig) -> str:
        for name, lamp in self.config.lamps.items():
            x, y, w, h = lamp.at
            if x + w > size[1] or y + h > size[0]:
                return f"the lamp {name} lies outside of the picture of {size[1]} x {size[0]}"
            late = next(((begins, lit) for begins, _, lit in self._spans(lamp) if begins >= view.lasts), None)
            if late is not None:
                what = "lit" if late[1] else "dark"
                return f"{name} has to be {what} from {late[0]:g} s on, and the view `lasts` {view.lasts:g} s"
        return ""

    def __call__(self, view: View) -> Finding:
        image = grey(view.image)
        levels = {}
        for name, lamp in self.config.lamps.items():
            x, y, w, h = lamp.at
            if x + w > image.shape[1] or y + h > image.shape[0]:
                return Finding("recheck", text=f"the lamp {name} lies outside of the picture")
            around = image[max(0, y - RING) : y + h + RING, max(0, x - RING) : x + w + RING]
            inside = image[y : y + h, x : x + w]
            total, here = float(around.sum(dtype=np.int64)), float(inside.sum(dtype=np.int64))
            ring = max(1, around.size - inside.size)
            levels[name] = here / inside.size - (total - here) / ring
        return Finding("ok", measured=levels)

    def over_time(self, film: Sequence[tuple[float, Finding]]) -> Finding:
        """`film`: seconds after the trigger, and what this tool said then. A lamp is wrong in a span (lit or dark) when two
        pictures, or all of that span, contradict; a span of which no picture tells is a recheck."""
        told = [(t, finding) for t, finding in film if finding.measured]
        times = np.array([t for t, _ in told])
        wrong: list[str] = []
        unseen: list[str] = []
        boxes: list[Box] = []
        for name, lamp in self.config.lamps.items():
            lit = np.array([finding.measured[name] > self.config.bright for _, finding in told], bool)
            for begins, ends, wanted in self._spans(lamp):
                mine = (times >= begins) & (times < ends)
                against = int((lit[mine] != wanted).sum())
                if not mine.any():
                    unseen.append(name)
                elif against >= 2 or against == int(mine.sum()):
                    when = float(times[mine][lit[mine] != wanted][0])
                    wrong.append(f"{name} is {'dark' if wanted else 'lit'} at {when:.2f} s")
                    x, y, w, h = lamp.at
                    boxes.append((x, y, x + w, y + h, name, float(against)))
                    break
        if wrong:
            measured = {"wrong": float(len(wrong))}
            return Finding("ng", float(len(wrong)), boxes, measured, "; ".join(wrong[:5]), firm=True)
        if unseen:
            return Finding("recheck", text=f"too few pictures to tell of {', '.join(dict.fromkeys(unseen))}")
        return Finding("ok", measured={"wrong": 0.0, "pictures": float(len(told))})

    def _spans(self, lamp: LampConfig) -> list[tuple[float, float, bool]]:
        """(from, to, lit) without the tolerance at each change; what is shorter than twice that tells nothing and is left out, but
        a span in which it has to be lit."""
        edges = [0.0, *(moment for span in lamp.on for moment in span), float("inf")]
        out = []
        for number, (begins, ends) in enumerate(pairwise(edges)):
            low = begins + (self.config.tolerance if number else 0.0)
            high = ends - self.config.tolerance
            if high > low:
                out.append((low, high, bool(number % 2)))
            elif number % 2:
                out.append(((begins + ends) / 2, (begins + ends) / 2, True))
        return out
