"""One view of a recipe at work: a camera's picture in, the findings of its tools out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np

from .registration import NotPlaced, Registration, grey
from .rules import Seen
from .tools.contract import Finding, There, Tool, View

RUNS = 3  # of which the slowest counts for the certificate


UNSEEN = 0.01  # share of a region that a picture may lack; more of it is not judged by what is left


@dataclass(frozen=True)
class Viewer:
    """`shape` of the camera's picture, [h, w]; `region` x, y, width, height. Called from pool threads, several at a time."""

    name: str
    camera: str
    shape: tuple[int, int]
    tools: Mapping[str, Tool]
    template: np.ndarray | None = None
    mask: np.ndarray | None = None
    registration: Registration | None = None
    region: tuple[int, int, int, int] | None = None
    mm: float | None = None
    optional: bool = False
    shadow: Mapping[str, Tool] = field(default_factory=dict)
    lasts: float = 0.0  # seconds; a film where it is not 0
    every: float = 0.1  # seconds between two of its pictures
    neighbour: tuple[int, int] | None = None  # x, y in the picture of what the region is compared with

    @property
    def judged(self) -> tuple[int, int]:
        """[h, w] of what the tools see."""
        return self.shape if self.region is None else (self.region[3], self.region[2])

    @cached_property
    def _whole(self) -> Mapping[int, np.ndarray | None]:
        """The template for pictures of 2 and of 3 dimensions, in grey and as it is: made for the first part, not for each."""
        return {2: None if self.template is None else grey(self.template), 3: self.template}

    @cached_property
    def _within(self) -> Mapping[int, np.ndarray | None]:
        """Likewise its region."""
        region = self.region or (0, 0, self.shape[1], self.shape[0])
        return {n: None if whole is None else _cut(whole, region) for n, whole in self._whole.items()}

    def over(self, film: Sequence[tuple[float, Seen]]) -> Seen:
        """What a film shows: seconds after the trigger, and what was seen then."""
        findings: dict[str, Finding] = {}
        unfit = [seen.findings["picture"] for _, seen in film if "picture" in seen.findings]
        if unfit and len(unfit) == len(film):  # why no picture of it could be judged, and not that there were none
            findings["picture"] = unfit[0]
        for name, judge in self.tools.items() if not findings else ():
            told = [(t, seen.findings[name]) for t, seen in film if name in seen.findings]
            try:
                findings[name] = judge.over_time(told)  # type: ignore[attr-defined]
            except Exception as error:  # against its contract; no part is without a finding
                findings[name] = Finding("recheck", text=f"cannot be judged: {type(error).__name__}: {error}")
        return Seen(
            self.name, findings, self.mm, sum(seen.took_ms for _, seen in film), film[0][1].place if film else None
        )

    def __call__(self, image: np.ndarray) -> Seen:
        """uint8 or uint16[h, w] or [h, w, c]. Never raises for a picture: what cannot be judged is a recheck."""
        began = time.perf_counter()
        place: np.ndarray | None = None
        try:
            view, place = self.prepared(image)
        except (NotPlaced, ValueError, cv2.error) as error:
            findings: dict[str, Finding] = {"picture": Finding("recheck", text=str(error))}
        else:
            findings = {name: _finding(judge, view) for name, judge in self.tools.items()}
        return Seen(self.name, findings, self.mm, (time.perf_counter() - began) * 1e3, place)

    def watch(self, image: np.ndarray) -> dict[str, Finding]:
        """What the shadow tools find; nothing on a picture that cannot be judged."""
        try:
            view, _ = self.prepared(image)
        except (NotPlaced, ValueError, cv2.error):
            return {}
        return {name: _finding(judge, view) for name, judge in self.shadow.items()}

    def prepared(self, image: np.ndarray) -> tuple[View, np.ndarray | None]:
        """What the tools see, and where it lies in the picture. Raises ValueError or cv2.error for what cannot be judged."""
        image = plain(image)
        if image.shape[:2] != self.shape:
            told = f"the picture is {image.shape[1]} x {image.shape[0]}, the recipe is for {self.shape[1]} x {self.shape[0]}"
            raise ValueError(told)
        template, plane = self._whole[image.ndim], self._whole[2]
        mask = self.mask
        place: np.ndarray | None = None
        there: There | None = None
        if self.registration is not None:
            placed = self.registration(image)
            there = self.registration, placed
            if self.region is not None and (unseen := float((_cut(placed.seen, self.region) == 0).mean())) > UNSEEN:
                raise NotPlaced(f"the picture ends within the region: {unseen:.0%} of it cannot be seen")
            image, place = placed.image, placed.matrix
            if template is not None:  # what the picture does not show is not judged, and must not look like a defect
                cv2.copyTo(template, cv2.bitwise_not(placed.seen), image)
            mask = placed.seen if mask is None else cv2.bitwise_and(mask, placed.seen)
        if self.region is not None:
            if self.neighbour is not None:
                template, plane = _cut(image, (*self.neighbour, *self.region[2:])), None
            else:
                template, plane = self._within[image.ndim], self._within[2]
            image = _cut(image, self.region)
            mask = None if mask is None else _cut(mask, self.region)
            base = np.eye(2, 3) if place is None else place
            place = np.column_stack([base[:, :2], base @ (*self.region[:2], 1)])
        return View(image, template, mask, self.mm, there if self.region is None else None, plane), place

    def measure(self) -> float:
        """Milliseconds from picture to findings on this board, the slowest of RUNS after a first one that warms everything up."""
        image = self._sample()
        self(image)
        return max(self(image).took_ms for _ in range(RUNS)) + self._in_the_way(image)

    def warm(self) -> None:
        """Once from picture to findings, so that the first part takes no longer than the next one."""
        self(self._sample())

    def _sample(self) -> np.ndarray:
        image = self.template
        if image is None:
            image = np.random.default_rng(1).integers(0, 255, (*self.shape, 3), np.uint8)
        if self.region is not None and self.neighbour is not None:  # a part that is as good as its neighbour
            (nx, ny), (_, _, w, h) = self.neighbour, self.region
            image[ny : ny + h, nx : nx + w] = _cut(image, self.region)
        return image

    def _in_the_way(self, image: np.ndarray) -> float:
        """Milliseconds for which shadow tools that had begun may hold up this view."""
        if not self.shadow:
            return 0.0
        self.watch(image)
        began = time.perf_counter()
        self.watch(image)
        return (time.perf_counter() - began) * 1e3


def _cut(image: np.ndarray, region: tuple[int, int, int, int]) -> np.ndarray:
    x, y, w, h = region
    return np.ascontiguousarray(image[y : y + h, x : x + w])


def _finding(judge: Tool, view: View) -> Finding:
    try:
        return judge(view)
    except Exception as error:  # against its contract; no part is without a finding
        return Finding("recheck", text=f"cannot be judged: {type(error).__name__}: {error}")


def plain(image: np.ndarray) -> np.ndarray:
    """uint8[h, w] or uint8[h, w, 3] of what a camera gives."""
    if image.dtype == np.uint16:
        image = np.right_shift(image, 8).astype(np.uint8)
    return image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
