"""What a request costs beside a register, from the times at which the answers of many scans came."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .address import BITS
from .plan import Request

SCANS = 30  # that are looked at, once for each plan
LEAST_REQUESTS = 3  # of a unit, of two sizes at least


class Cost:
    """Collects scans of one plan whose requests went out one at a time, each after the answer to the one before."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._unit = np.array([request.unit for request in requests])
        self._size = np.array([request.count / 16 if request.table in BITS else request.count for request in requests])
        self._took: list[np.ndarray] = []

    @property
    def wanted(self) -> bool:
        return len(self._took) < SCANS and bool(self._units())

    def scan(self, began: int, stamps: Sequence[int]) -> bool:
        """A scan in which all was answered, in the order of the plan: when it began and each answer came, in ns. True when
        that was the last one."""
        self._took.append(np.diff(np.array([began, *stamps], np.int64)))
        return len(self._took) == SCANS

    def overheads(self) -> dict[int, float]:
        """For each unit that shows it: how many registers could be read in the time that another request takes. An estimate
        from below: the median of each request over the scans, a straight line through them, and for the time of a register
        two standard errors more than it shows."""
        out = {}
        took = np.median(self._took, axis=0)
        for unit in self._units():
            size, y = self._size[self._unit == unit], took[self._unit == unit]
            apart = size - size.mean()
            slope = float(apart @ y / (apart @ apart))
            rest = y - y.mean() - slope * apart
            unsure = float(np.sqrt(rest @ rest / (len(y) - 2) / (apart @ apart)))
            slope = max(slope, 0.0) + 2 * unsure
            request = float(y.mean() - slope * size.mean())
            out[unit] = max(0.0, request / slope) if slope > 0 else float("inf")
        return out

    def _units(self) -> list[int]:
        return [
            unit
            for unit in sorted(set(self._unit.tolist()))
            if (self._unit == unit).sum() >= LEAST_REQUESTS and np.ptp(self._size[self._unit == unit]) >= 1
        ]
