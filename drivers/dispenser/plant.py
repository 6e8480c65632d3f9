"""A simulated time-pressure dispenser of glue dots: what its settings make of a lot of dots, with noise and drift.

The laws are the usual ones of the trade: flow by a power of the pressure above a yield point, thinner when warm (Reynolds), a
dot that is pressed wide under a low needle, a thread that is drawn out by a high needle and a high pressure. Their constants,
the noise and the drift are drawn from ranges by a seed, so that no two of them are alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

INPUTS = {"pressure": (1.0, 6.0), "time": (20.0, 200.0), "height": (0.1, 0.8), "temperature": (20.0, 45.0)}
UNITS = {"pressure": "bar", "time": "ms", "height": "mm", "temperature": "°C"}
OUTPUTS = {"mass": "mg", "diameter": "mm", "thread": "mm", "cycle": "ms"}
START = {"pressure": 2.0, "time": 80.0, "height": 0.3, "temperature": 28.0}  # safe, and far from good
INTERLOCKS = ("pressure * time <= 600", "temperature <= 40 or pressure <= 4")
OVERHEAD = 300.0  # ms of a cycle beside the dispensing


def tripped(x: np.ndarray) -> np.ndarray:
    """Where the machine's own interlocks stop it, bool[n], at settings float64[n, 4] in the order of INPUTS."""
    pressure, time, _, temperature = x.T
    return (pressure * time > 600) | ((temperature > 40) & (pressure > 4))


def outside(x: np.ndarray) -> np.ndarray:
    """Where a setting is beyond its range, bool[n]."""
    low, high = np.array(list(INPUTS.values())).T
    return ((x < low) | (x > high)).any(axis=1)


@dataclass(frozen=True)
class Glue:
    """The constants of one machine with one glue. `made` draws them."""

    strength: float  # mg per ms and bar**power, at 30 °C
    yield_point: float  # bar
    power: float
    warmth: float  # 1/K
    spread: float  # mm of a dot of 2 mg under a high needle
    squeeze: float  # how much wider under a low one
    thread: float  # mm at 3 bar, 0.3 mm and 30 °C
    drawn: float  # power of the height in the thread
    pushed: float  # power of the pressure in the thread
    drift: float  # of the strength, per lot
    wander: float  # likewise, standard deviation per lot
    noise: tuple[float, float, float]  # relative, of mass, diameter and thread of a lot

    @classmethod
    def made(cls, rng: np.random.Generator) -> Glue:
        squeeze, best_height = rng.uniform(0.15, 0.35), rng.uniform(0.2, 0.5)
        return cls(
            strength=0.006 * rng.uniform(0.8, 1.25),
            yield_point=rng.uniform(0.2, 0.5),
            power=rng.uniform(0.9, 1.3),
            warmth=rng.uniform(0.015, 0.03),
            spread=1.6 / (1 + squeeze * np.exp(-best_height / 0.25)),
            squeeze=squeeze,
            thread=rng.uniform(0.10, 0.16),
            drawn=rng.uniform(0.8, 1.4),
            pushed=rng.uniform(0.8, 1.3),
            drift=rng.uniform(-0.006, 0.002),
            wander=rng.uniform(0.0, 0.003),
            noise=(rng.uniform(0.01, 0.03), rng.uniform(0.005, 0.02), rng.uniform(0.03, 0.08)),
        )


class Plant:
    """One machine on one day. `lot(x)` makes a lot and is a lot older; `truth(x)` says what it would give without noise."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 1711])
        self.glue = Glue.made(self._rng)
        self.age = 0
        self._log_strength = 0.0

    def truth(self, x: np.ndarray) -> np.ndarray:
        """float64[n, 4] in the order of OUTPUTS, of settings float64[n, 4] in the order of INPUTS, as the machine is now. A lot
        that an interlock stops is empty."""
        glue = self.glue
        pressure, time, height, temperature = np.asarray(x, float).T
        above, warmer = np.maximum(pressure - glue.yield_point, 0.01), temperature - 30
        flow = glue.strength * np.exp(self._log_strength + glue.warmth * warmer) * above**glue.power
        mass = flow * time
        wide = 1 + glue.squeeze * np.exp(-height / 0.25)
        diameter = glue.spread * np.cbrt(mass / 2) * wide * (1 + 0.004 * warmer)
        thread = glue.thread * (height / 0.3) ** glue.drawn * (above / 2.65) ** glue.pushed * np.exp(0.02 * warmer)
        made = np.column_stack([mass, diameter, thread, OVERHEAD + time])
        made[tripped(x), :3] = 0.0
        return made

    def lot(self, x: np.ndarray) -> np.ndarray:
        """The measured outputs float64[4] of the next lot at settings float64[4]."""
        made = self.truth(x[None])[0]
        made[:3] *= np.exp(self._rng.normal(0, self.glue.noise))
        self.age += 1
        self._log_strength += self.glue.drift + self._rng.normal(0, self.glue.wander)
        return made
