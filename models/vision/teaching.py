"""Teaching: 5 to 20 pictures of good parts become a package that judges the next one, on the device itself.

Parts are placed, twice: by the first of them, then by the mean of all. What is normal is learned (`variation.py`). Each part is
scored by what the others teach, so the scores are those of parts never seen; the limits follow from them. The model is written as
full int8, compared with what it was computed from, and measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import cv2
import numpy as np

from edge import LinesideError

from .placing import RegistrationConfig
from .registration import LEVEL, NotPlaced, Placed, Registration, always_seen
from .variation import BORDER, Allowance, Learner, Normal, field, lit, softened

FEWEST = 5
ODD = 3.0  # times the middle score from which a part is no longer like the others
SURE = 0.995  # share of good parts that are not NG, if the logarithms of their scores are spread as a bell
FLOORS = (0.25, 0.5)  # tolerances below which no part is looked at again, and none is NG
MOST_SCORE = 6.0  # tolerances of good parts above which nothing can be told from them
Say = Callable[[str], None]


@dataclass(frozen=True)
class Limits:
    """In tolerances. Of good parts about one in `again` is looked at again, as far as so few tell."""

    ok_below: float
    ng_above: float
    again: int


@dataclass(frozen=True)
class Lesson:
    """What was learned. `images` are the parts, placed by the `template` and in its light; `scores` of each part by the others."""

    template: np.ndarray
    images: list[np.ndarray]
    judged: np.ndarray
    normal: Normal
    scores: list[float]
    limits: Limits


def learn(
    parts: Sequence[np.ndarray],
    names: Sequence[str],
    place: RegistrationConfig,
    allowance: Allowance,
    mask: np.ndarray | None = None,
    every: bool = False,
    say: Say = lambda text: None,
) -> Lesson:
    """Parts uint8[h, w] of one size; where `mask` is 0 nothing is judged; `every` keeps parts that are unlike the others. Raises
    LinesideError in words, naming the picture."""
    if len(parts) < FEWEST:
        raise LinesideError(
            f"{len(parts)} parts tell nothing of how they differ", hint=f"{FEWEST} at least; 20 are good"
        )
    if flat := [name for name, part in zip(names, parts, strict=True) if float(part.std()) < LEVEL]:
        raise LinesideError(
            f"{', '.join(flat)}: one grey only, nothing to find a part by", hint="take that picture out"
        )
    say(f"placing {len(parts)} parts")
    wide = place.model_copy(update={"search": 2 * place.search, "turn": 2 * place.turn, "scale": 2 * place.scale})
    rough = _placed(parts, names, wide, parts[0], f"as it is in {names[0]}", names[0])
    middle = _middle(rough)
    first = _placed(parts, names, place, parts[middle], f"as it is in {names[middle]}, which lies in the middle of all")
    template = np.mean(_in_one_light(first, names, parts[middle]), axis=0).round().astype(np.uint8)
    placed = _placed(parts, names, place, template, "as it is in the mean of all")
    judged = np.asarray(always_seen(place, template.shape))
    judged[:BORDER], judged[-BORDER:], judged[:, :BORDER], judged[:, -BORDER:] = False, False, False, False
    for one in placed:
        judged &= one.seen > 0
    if mask is not None:
        judged &= mask > 0
    if judged.mean() < 0.01:
        raise LinesideError("nothing is left to judge", hint="a smaller `search` or `turn`, or another mask")
    say("learning what is normal, each part by the others")
    images = _in_one_light(placed, names, template)
    softs = np.stack([softened(image) for image in images])
    learner = Learner(softs, judged, allowance)
    scores = [float(field(soft, learner.normal(without=k)).max()) for k, soft in enumerate(softs)]
    _are_alike(scores, names, every)
    return Lesson(template, images, judged, learner.normal(), scores, limits(scores))


def limits(scores: Sequence[float]) -> Limits:
    """OK up to the highest score of n good parts: the next good part exceeds it with a chance of 1 in n + 1, whatever the scores'
    shape (exchangeability). NG from where the logarithm of a further score would lie with a chance of 1 - SURE if they were
    spread as a bell: Student's prediction limit for one more, so few parts set it far out."""
    n, logs = len(scores), np.log(np.maximum(scores, 1e-3))
    spread = max(float(logs.std(ddof=1)), 0.05)
    far = math.exp(float(logs.mean()) + student(SURE, n - 1) * spread * math.sqrt(1 + 1 / n))
    ok = max(max(scores), FLOORS[0])
    return Limits(ok, max(far, 1.2 * ok, FLOORS[1]), n + 1)


def student(share: float, freedom: int) -> float:
    """Quantile of Student's t, 0.5 < share < 1. Bisection on the distribution function, which is summed by Simpson's rule."""
    size = (
        math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))
        if freedom < 300
        else 0.0
    )
    if not size:
        return NormalDist().inv_cdf(share)
    low, high = 0.0, 1e3
    for _ in range(60):
        middle = (low + high) / 2
        t = np.linspace(0, middle, 2001)
        y = size * (1 + t * t / freedom) ** (-(freedom + 1) / 2)
        below = 0.5 + float(y[0] + y[-1] + 4 * y[1:-1:2].sum() + 2 * y[2:-1:2].sum()) * middle / 6000
        low, high = (middle, high) if below < share else (low, middle)
    return low


def planted(image: np.ndarray, judged: np.ndarray, across: int, levels: int, rng: np.random.Generator) -> np.ndarray:
    """A placed part with a spot somewhere within what is judged, `across` pixels wide and that much darker or lighter."""
    ys, xs = np.nonzero(judged)
    at = int(rng.integers(len(ys)))
    spot = np.zeros((9 * 8, 9 * 8), np.uint8)
    cv2.circle(spot, (36, 36), 4 * across, 255, -1)
    size = 9
    small = cv2.resize(spot, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    top, left = max(0, min(int(ys[at]) - 4, image.shape[0] - size)), max(0, min(int(xs[at]) - 4, image.shape[1] - size))
    out = image.astype(np.float32)
    cut = out[top : top + size, left : left + size]
    cut += small * (levels if cut.mean() < 128 else -levels)
    return np.clip(out, 0, 255).round().astype(np.uint8)


def _placed(
    parts: Sequence[np.ndarray],
    names: Sequence[str],
    place: RegistrationConfig,
    template: np.ndarray,
    told: str,
    by: str = "",
) -> list[Placed]:
    """`by` is the picture that the template is, if it is one."""
    registration = Registration(place, template)
    found, lost = [], []
    for part, name in zip(parts, names, strict=True):
        try:
            found.append(registration(part))
        except NotPlaced as error:
            lost.append((name, error))
    if not lost:
        return found
    which = ", ".join(name for name, _ in lost[:5]) + " and others" * (len(lost) > 5)
    out = f"take {by} out, of which most differ" if by and len(lost) > len(parts) // 2 else "take that picture out"
    raise LinesideError(
        f"{which}: the part is not found {told}: {lost[0][1]}",
        hint=f"{out}, or allow more: --search, --turn, --by feature, --quality",
    )


def _in_one_light(placed: Sequence[Placed], names: Sequence[str], template: np.ndarray) -> list[np.ndarray]:
    found = []
    for one, name in zip(placed, names, strict=True):
        try:
            found.append(lit(one, template)[0])
        except NotPlaced as error:
            raise LinesideError(f"{name}: {error}", hint="take that picture out, or steady the light") from None
    return found


def _middle(placed: Sequence[Placed]) -> int:
    """Which part lies nearest to the middle of all."""
    where = np.array([(one.dx, one.dy, one.turn) for one in placed])
    return int(np.abs(where - np.median(where, axis=0)).sum(axis=1).argmin())


def _are_alike(scores: Sequence[float], names: Sequence[str], every: bool) -> None:
    middle = max(float(np.median(scores)), FLOORS[0])
    odd = [(name, score) for name, score in zip(names, scores, strict=True) if score > ODD * middle]
    if odd and not every:
        told = ", ".join(f"{name} ({score / middle:.0f} times)" for name, score in odd)
        raise LinesideError(
            f"unlike the other parts, against the middle one: {told}. Is there a defect?",
            hint="take it out of the folder, or say --every if it is a good part",
        )
    if max(scores) > MOST_SCORE:
        raise LinesideError(
            f"the good parts differ by {max(scores):.1f} tolerances among themselves: no defect could be told from that",
            hint="steadier light and place, more parts, a mask for what may vary, or a larger --levels or --edge",
        )
