"""The car that the simulated camera sees: the front and the side of one, with 22 lamps that its own test program switches one after
another. The programs of two models differ in order."""

from __future__ import annotations

import cv2
import numpy as np

HEIGHT, WIDTH = 240, 320
SIDES = ("left", "right")
KINDS = ("low", "high", "day", "position", "fog", "turn", "mirror", "corner", "door", "step", "plate")
NAMES = tuple(f"{kind}_{side}" for kind in KINDS for side in SIDES)
LAMPS = {
    name: (20 + 50 * (i // 4) + (4 if i % 4 > 1 else 0), 40 + 45 * (i % 4), 20, 20) for i, name in enumerate(NAMES)
}  # x, y, width, height
STEP, ON = 0.36, 0.32  # seconds from one lamp to the next, and each is on
MODELS = ("sedan", "suv")
FAULTS = ("dead", "stuck", "late")
_GRAIN = np.random.default_rng(7).normal(0, 4, (2 * HEIGHT, 2 * WIDTH)).astype(np.float32)


def program(model: str) -> dict[str, tuple[float, float]]:
    """When each lamp goes on and off, in seconds after the test program began."""
    order = NAMES if model == "sedan" else NAMES[::-1]
    return {name: (0.04 + STEP * i, 0.04 + STEP * i + ON) for i, name in enumerate(order)}


def render(model: str, t: float, seed: int = 1, fault: str = "", lamp: str = "") -> np.ndarray:
    """One picture, uint8[240, 320, 3], `t` seconds into the program. `fault` is one of FAULTS, at `lamp`."""
    rng = np.random.default_rng([seed, round(t * 1e6) % 2**31])
    light = 1 + 0.15 * float(np.random.default_rng(seed).uniform(-1, 1))
    image = np.full((HEIGHT, WIDTH), 70 * light, np.float32)
    for name, (begins, ends) in program(model).items():
        x, y, w, h = LAMPS[name]
        late = 0.5 if fault == "late" and name == lamp else 0.0
        on = begins + late <= t < ends + late
        if name == lamp and fault in ("dead", "stuck"):
            on = fault == "stuck"
        image[y : y + h, x : x + w] = 235 if on else 45 * light
    down, along = rng.integers(HEIGHT), rng.integers(WIDTH)
    noisy = cv2.add(cv2.GaussianBlur(image, (5, 5), 0), _GRAIN[down : down + HEIGHT, along : along + WIDTH])
    return cv2.cvtColor(cv2.convertScaleAbs(noisy), cv2.COLOR_GRAY2BGR)
