"""Registration: where a part lies in its picture, and the picture brought to where the template has it.

A coarse search by one of three ways (fiducials, phase correlation, features), then a least-squares fit on the template's
strongest edges (Lucas and Kanade 1981; the inverse form of Baker and Matthews 2004), then the gate. What does not pass the gate
is not placed at all: nobody judges a part by a guess of where it lies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from edge import ConfigFault

from .alike import alike, slopes_of
from .fit import Fit
from .placing import RegistrationConfig

COARSE = 1000  # pixels of the longer side above which coarse search and likeness see the picture half as large
FEWEST_MATCHES = 12
SLACK = (2.0, 0.06)  # degrees and share by which a coarse estimate may pass its limit
LEVEL = 4.0  # standard deviation in grey levels below which a template shows nothing


class NotPlaced(ValueError):
    """The part cannot be judged: where it lies is not known. The words are for the operator."""


@dataclass(frozen=True)
class Placed:
    """`image` lies as the template does; `seen` uint8[h, w] is 0 where the picture ends; `matrix` float64[2, 3] maps a place of
    the template to the place in the picture; `turn` in degrees, `scale` as a share; `quality` is the likeness from 0 to 1."""

    image: np.ndarray
    seen: np.ndarray
    matrix: np.ndarray
    dx: float
    dy: float
    turn: float
    scale: float
    quality: float


@dataclass(frozen=True)
class Mark:
    """A fiducial: its top left corner in the template, its picture, and how far it may lie off, in pixels."""

    x: int
    y: int
    patch: np.ndarray
    fit: Fit
    reach: int


def grey(image: np.ndarray) -> np.ndarray:
    """uint8[h, w] of a picture of one or three channels."""
    if image.ndim == 3:
        return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.shape[2] == 3 else np.ascontiguousarray(image[:, :, 0])
    return image


class Registration:
    """Made once for a template; called from any thread.

    Raises ConfigFault for a template that shows nothing to hold on to, or a mark that is not within it.
    """

    def __init__(self, config: RegistrationConfig, template: np.ndarray) -> None:
        self.config, self.template = config, grey(template)
        if float(self.template.std()) < LEVEL:
            raise ConfigFault("the template shows one grey only: nothing to find a part by")
        self._times = 2 ** max(0, math.ceil(math.log2(max(self.template.shape) / COARSE)))
        self._small = _shrunk(self.template, self._times)
        self._slopes = slopes_of(self._small)
        self._fit = Fit(self.template, config.turn > 0, config.scale > 0)
        if config.by == "phase":
            self._window = cv2.createHanningWindow(self._small.shape[::-1], cv2.CV_32F)
            self._waves = np.conj(self._waves_of(self._small))
        if config.by == "feature":
            self._points, self._words = _orb().detectAndCompute(self._small, None)
            if len(self._points) < 2 * FEWEST_MATCHES:
                raise ConfigFault(f"only {len(self._points)} corners in the template: use fiducial or phase")
        self._marks = [self._mark(*m) for m in config.marks]

    def __call__(self, image: np.ndarray) -> Placed:
        """Bring a picture of the template's size to where the template lies. Raises NotPlaced in words, and no guess."""
        flat = grey(image)
        if flat.shape != self.template.shape or flat.dtype != np.uint8:
            h, w = self.template.shape
            raise NotPlaced(
                f"the picture is {flat.shape[1]} x {flat.shape[0]} {flat.dtype}, its template {w} x {h} uint8"
            )
        matrix, likeness = {"fiducial": self._by_marks, "phase": self._by_phase, "feature": self._by_features}[
            self.config.by
        ](flat)
        image, seen = moved(image, matrix)
        if likeness is None:
            small, every = _shrunk(grey(image), self._times), self._times
            likeness = alike(small, self._slopes, seen[::every, ::every][: small.shape[0], : small.shape[1]])
        if not likeness >= self.config.quality:
            raise NotPlaced(f"it is like the template by {max(likeness, 0):.2f} only, {self.config.quality:g} is asked")
        return Placed(image, seen, matrix, *self._within(matrix, 0.05, 1e-3), likeness)

    def same(self, other: Registration) -> bool:
        """Whether both place every part alike."""
        return self.config == other.config and np.array_equal(self.template, other.template)

    def _within(self, matrix: np.ndarray, turns: float, scales: float) -> tuple[float, float, float, float]:
        """Shift of the picture's middle, turn and scale. Raises NotPlaced beyond the limits."""
        dx, dy, turn, scale = decomposed(matrix, self.template.shape)
        limit = self.config
        if max(abs(dx), abs(dy)) > limit.search + 0.5:
            raise NotPlaced(
                f"no such part within {limit.search} px: what is most like it lies {dx:.0f}, {dy:.0f} px off"
            )
        if abs(turn) > limit.turn + turns:
            raise NotPlaced(f"the part is turned by {turn:.1f} degrees, {limit.turn:g} are allowed")
        if abs(scale) > limit.scale + scales:
            raise NotPlaced(f"the part is {scale:+.1%} in size, {limit.scale:.1%} is allowed")
        return dx, dy, turn, scale

    def _fitted(self, flat: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, None]:
        dx, dy, turn, scale = self._within(matrix, *SLACK)
        turn, scale = turn * bool(self.config.turn), scale * bool(self.config.scale)
        return self._fit(flat, composed(dx, dy, turn, scale, flat.shape)), None

    def _waves_of(self, small: np.ndarray) -> np.ndarray:
        return np.fft.rfft2((small - np.float32(small.mean())) * self._window)

    def _by_phase(self, flat: np.ndarray) -> tuple[np.ndarray, None]:
        """The best shift within the search: a pattern that repeats has others outside of it. Only rows within it are computed."""
        small = _shrunk(flat, self._times)
        both = self._waves_of(small)
        both *= self._waves
        both /= np.abs(both) + np.float32(1e-9)
        reach = [min(math.ceil(self.config.search / self._times) + 1, n // 2 - 1) for n in small.shape]
        rows, columns = (np.r_[-r : r + 1] for r in reach)
        near = np.fft.irfft(np.fft.ifft(both, axis=0)[rows], small.shape[1])[:, columns]
        at_y, at_x = np.unravel_index(int(near.argmax()), near.shape)
        dx, dy = int(columns[at_x]) * self._times, int(rows[at_y]) * self._times
        return self._fitted(flat, np.array([[1.0, 0, dx], [0, 1, dy]]))

    def _by_features(self, flat: np.ndarray) -> tuple[np.ndarray, None]:
        points, words = _orb().detectAndCompute(_shrunk(flat, self._times), None)
        pairs = cv2.BFMatcher(cv2.NORM_HAMMING, True).match(self._words, words) if words is not None else []
        matrix, count = None, 0
        if len(pairs) >= FEWEST_MATCHES:
            here = np.array([self._points[p.queryIdx].pt for p in pairs])
            there = np.array([points[p.trainIdx].pt for p in pairs])
            matrix, inside = cv2.estimateAffinePartial2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=2.0)
            kept = inside.ravel() > 0
            count = int(kept.sum())
        if matrix is None or count < FEWEST_MATCHES:
            raise NotPlaced(f"{count} corners are where the template has them, {FEWEST_MATCHES} are needed")
        self._within(np.column_stack([matrix[:, :2], matrix[:, 2] * self._times]), *SLACK)
        matrix = _similar(here[kept], there[kept], self.config.turn > 0, self.config.scale > 0)
        return self._fitted(flat, np.column_stack([matrix[:, :2], matrix[:, 2] * self._times]))

    def _mark(self, x: int, y: int, w: int, h: int) -> Mark:
        height, width = self.template.shape
        if x < 0 or y < 0 or x + w > width or y + h > height or min(w, h) < 12:
            raise ConfigFault(
                f"mark {x}, {y}, {w}, {h}: 12 px or more each way, within the {width} x {height} of the template"
            )
        patch = self.template[y : y + h, x : x + w]
        if float(patch.std()) < LEVEL:
            raise ConfigFault(f"mark {x}, {y}, {w}, {h} shows one grey only")
        arm = max(math.hypot(u - width / 2, v - height / 2) for u in (x, x + w) for v in (y, y + h))
        swing = arm * (math.radians(self.config.turn) + self.config.scale)
        return Mark(
            x, y, patch, Fit(patch, self.config.turn > 0, self.config.scale > 0), math.ceil(self.config.search + swing)
        )

    def _by_marks(self, flat: np.ndarray) -> tuple[np.ndarray, float]:
        found = [self._seek(flat, mark) for mark in self._marks]
        here = np.array([[m.x + (m.patch.shape[1] - 1) / 2, m.y + (m.patch.shape[0] - 1) / 2] for m in self._marks])
        off = np.array([f[:2] for f in found])
        matrix = _similar(here, here + off, self.config.turn > 0, self.config.scale > 0)
        strays = np.hypot(*(here @ matrix[:, :2].T + matrix[:, 2] - here - off).T).max()
        if strays > 2.0:
            raise NotPlaced(f"the marks lie up to {strays:.1f} px otherwise to each other than in the template")
        return matrix, min(f[2] for f in found)

    def _seek(self, flat: np.ndarray, mark: Mark) -> tuple[float, float, float]:
        """Shift of a mark and its likeness. Raises NotPlaced for one that is absent or there twice."""
        (h, w), x, y = mark.patch.shape, mark.x, mark.y
        left, top = max(0, x - mark.reach), max(0, y - mark.reach)
        window = flat[top : y + h + mark.reach, left : x + w + mark.reach]
        likes = cv2.matchTemplate(window, mark.patch, cv2.TM_CCOEFF_NORMED)
        likes[~np.isfinite(likes)] = 0
        _, best, _, (u, v) = cv2.minMaxLoc(likes)
        if best < self.config.quality:
            raise NotPlaced(f"the mark at {x}, {y} is not there: {max(best, 0):.2f} alike at best")
        others = likes.copy()
        others[max(0, v - h // 2) : v + h // 2 + 1, max(0, u - w // 2) : u + w // 2 + 1] = -1
        if (second := float(others.max())) > 0.95 * best:
            raise NotPlaced(f"the mark at {x}, {y} is there twice ({best:.2f} and {second:.2f} alike)")
        dx, dy, _, _ = decomposed(mark.fit(window, np.array([[1.0, 0, u], [0, 1, v]])), mark.patch.shape)
        if max(abs(dx - u), abs(dy - v)) > 2.0:
            raise NotPlaced(f"the mark at {x}, {y} lies at the end of the search, or farther")
        return left + dx - x, top + dy - y, best


def rectangle(seen: np.ndarray) -> tuple[slice, slice] | None:
    """What was seen, rows and columns; None where that is no rectangle."""
    x, y, w, h = cv2.boundingRect(seen)
    return (slice(y, y + h), slice(x, x + w)) if cv2.countNonZero(seen) == w * h > 0 else None


def always_seen(config: RegistrationConfig, shape: tuple[int, ...]) -> np.ndarray:
    """bool[h, w]: which of a template's pixels every picture shows, wherever within its limits the part lies."""
    whole = np.full(shape, 255, np.uint8)
    seen: Any = whole
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    turns = np.linspace(-config.turn, config.turn, 1 + 2 * math.ceil(config.turn / 3))
    for turn in turns:
        for dx in (-config.search, config.search):
            for dy in (-config.search, config.search):
                move = composed(dx, dy, float(turn), config.scale, shape)
                seen = cv2.bitwise_and(seen, cv2.warpAffine(whole, move, shape[::-1], flags=flags))
    return seen > 0


def composed(dx: float, dy: float, turn: float, scale: float, shape: tuple[int, ...]) -> np.ndarray:
    """float64[2, 3]: turned (degrees) and scaled about the picture's middle, then shifted."""
    middle = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
    c, s = (1 + scale) * math.cos(math.radians(turn)), (1 + scale) * math.sin(math.radians(turn))
    linear = np.array([[c, -s], [s, c]])
    return np.column_stack([linear, middle - linear @ middle + (dx, dy)])


def decomposed(matrix: np.ndarray, shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    """dx, dy, turn (degrees) and scale (share) of such a matrix."""
    middle = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
    dx, dy = matrix[:, :2] @ middle + matrix[:, 2] - middle
    a, b = matrix[0, 0], matrix[1, 0]
    return float(dx), float(dy), math.degrees(math.atan2(b, a)), math.hypot(a, b) - 1


def _similar(here: np.ndarray, there: np.ndarray, turns: bool, scales: bool) -> np.ndarray:
    """float64[2, 3], least squares of here[n, 2] on there[n, 2], by turn and scale only where they are allowed."""
    a, b = here.mean(0), there.mean(0)
    p, q = (here - a) @ (1, 1j), (there - b) @ (1, 1j)
    ratio = np.vdot(p, q) / max(float(np.vdot(p, p).real), 1e-9) if turns or scales else 1.0
    if not scales or not turns:
        ratio = (ratio / abs(ratio) if turns else abs(ratio)) if ratio else 1.0
    linear = np.array([[ratio.real, -ratio.imag], [ratio.imag, ratio.real]])
    return np.column_stack([linear, b - linear @ a])


def _shrunk(image: np.ndarray, times: int) -> np.ndarray:
    """As many times smaller; what is left over at the right and below falls away."""
    h, w = (n // times for n in image.shape)
    whole = image[: h * times, : w * times]
    return cv2.resize(whole, (w, h), interpolation=cv2.INTER_AREA) if times > 1 else image


def moved(image: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The picture where `matrix` takes it from, and uint8[h, w] which is 0 where it ends."""
    height, width = image.shape[:2]
    size = width, height
    if not np.array_equal(matrix[:, :2], np.eye(2)):
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen = cv2.warpAffine(
            np.full((height, width), 255, np.uint8), matrix, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        )
        return cv2.warpAffine(image, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), seen
    dx, dy = matrix[:, 2].tolist()  # a shift alone is a quarter of the work
    middle = (width - 1) / 2 + dx, (height - 1) / 2 + dy
    each = [cv2.getRectSubPix(one, size, middle) for one in (cv2.split(image) if image.ndim == 3 else [image])]
    seen = np.zeros((height, width), np.uint8)
    seen[_shown(dy, height), _shown(dx, width)] = 255
    return cv2.merge(each) if image.ndim == 3 else each[0], seen


def _shown(shift: float, length: int) -> slice:
    """Which of 0 to length - 1 lie between the middles of the first and the last pixel, or half a pixel beyond, when shifted."""
    return slice(max(0, math.ceil(-0.5 - shift)), max(0, min(length, math.floor(length - 0.5 - shift) + 1)))


def _orb() -> Any:
    return cv2.ORB_create(1000, fastThreshold=10)  # type: ignore[attr-defined]
