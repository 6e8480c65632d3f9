"""The newest points of a device, in memory: what a chart shows of the time that is not sealed yet."""

from __future__ import annotations

import numpy as np

EACH = 600  # points a tag, of a device that has few
MOST = 2**24  # points of all devices (20 bytes each), shared equally
MOST_SHARE = 2**19  # of one device, also where there are few
POINT = np.dtype([("tag", "<i4"), ("ts", "<i8"), ("value", "<f8")])


class Recent:
    """A ring of points (tag, ns UTC, value or nan), of which the oldest go, whatever their tags: these were sealed first."""

    def __init__(self) -> None:
        self._rows = np.empty(0, POINT)
        self._next = self._many = 0  # where the next one goes, and how many there are

    def __len__(self) -> int:
        return self._many

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes

    def add(self, points: np.ndarray, most: int) -> None:
        """`points` of POINT; at most `most` are kept."""
        points = points[-most:]
        wanted = self._many + len(points)
        if len(self._rows) > most or len(self._rows) < min(wanted, most):
            self._resize(min(most, 2 * wanted))
        if size := len(self._rows):
            self._rows[(self._next + np.arange(len(points))) % size] = points
            self._next, self._many = (self._next + len(points)) % size, min(size, self._many + len(points))

    def fit(self, most: int) -> None:
        """Keep at most `most`."""
        if len(self._rows) > most:
            self._resize(most)

    def _resize(self, size: int) -> None:
        kept = self.all()[max(0, self._many - size) :]
        self._rows = np.empty(size, POINT)
        self._rows[: len(kept)] = kept
        self._next, self._many = len(kept) % max(1, size), len(kept)

    def all(self) -> np.ndarray:
        """The oldest first."""
        if self._many < len(self._rows):
            return self._rows[: self._many]
        return np.concatenate((self._rows[self._next :], self._rows[: self._next]))

    def of(self, tag: int) -> list[tuple[int, float | None]]:
        """The points of a tag along time: (ns UTC, value; None where it was not to be trusted)."""
        mine = self.all()
        mine = mine[mine["tag"] == tag]
        if not len(mine):
            return []
        newer = np.concatenate(([True], mine["ts"][1:] > np.maximum.accumulate(mine["ts"])[:-1]))
        return [(ts, None if value != value else value) for _, ts, value in mine[newer].tolist()]


def share(devices: int) -> int:
    """Points that each of so many devices may keep. It changes where their number doubles."""
    return int(min(MOST_SHARE, MOST >> max(0, devices - 1).bit_length()))
