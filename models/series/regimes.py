"""Which of its ways a machine runs in by now: by a tag that names it, or by the band in which a tag lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .baseline import Baseline, Settings, fit
from .gathered import Gathered

MOST = 32  # of one machine


class Regimes:
    """Follows one tag. `edges`: bands instead of values, a band from one edge up to the next, known by its number from 0 on;
    `after`: rows let be after a change, in which the machine settles."""

    def __init__(self, edges: Sequence[float] = (), after: int = 0) -> None:
        self._edges, self._after = np.array(edges, float), after
        self.now: float | None = None
        self.since = after  # rows in it; where it runs when nobody has seen it change it has settled

    def __call__(self, value: np.ndarray) -> Iterator[tuple[float, bool, slice, int]]:
        """Of the tag's values float64[n] that follow each other, each stretch: (regime, whether it has just begun, its rows, how
        many of them are to be let be)."""
        of = np.searchsorted(self._edges, value, "right").astype(float) if len(self._edges) else value
        cuts = np.flatnonzero(np.diff(of)) + 1
        for begin, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(of)], strict=True):
            if begin == end:
                continue
            regime = float(of[begin])
            began = regime != self.now
            self.since = 0 if began and self.now is not None else self.since
            skipped = min(self._after - self.since, end - begin)
            self.now, self.since = regime, min(self.since + end - begin, self._after)
            yield regime, began, slice(begin, end), skipped

    def go_on(self, now: float, since: int) -> None:
        """After a restart: in which it ran, and for how many rows."""
        self.now, self.since = now, min(max(since, 0), self._after)


def shown(edges: Sequence[float], regime: float | str) -> str:
    """A regime to people: a band by its edges."""
    if isinstance(regime, str) or not edges:
        return regime if isinstance(regime, str) else f"{regime:g}"
    low, high = (["", *edges, ""][int(regime) + i] for i in (0, 1))
    return f"below {high:g}" if low == "" else f"from {low:g} on" if high == "" else f"{low:g} to {high:g}"


def fitted(
    rows: np.ndarray,
    value: np.ndarray,
    starts: Sequence[int],
    settings: Settings,
    regimes: Callable[[], Regimes],
    called: Callable[[float], str],
) -> tuple[dict[float, Baseline], list[str]]:
    """Of rows [n, c] with the tag's value float64[n] in each; `starts` as of `baseline.fit`, `called` a regime to people. Also what
    a person should know. Raises ValueError where no regime teaches anything."""
    found: dict[float, Gathered] = {}
    for begin, end in zip(starts, (*starts[1:], len(rows)), strict=True):
        part = rows[begin:end]
        for regime, _, stretch, skipped in regimes()(value[begin:end]):
            gathered = found.setdefault(regime, Gathered(rows.shape[1]))
            gathered.cut()
            gathered.add(part[stretch][skipped:])
    if len(found) > MOST:
        raise ValueError(f"{len(found)} values of `by` are more than {MOST} regimes; say `edges` of bands")
    baselines, told = {}, []
    for regime in sorted(found):
        gathered = found[regime]
        try:
            baselines[regime] = fit(gathered.rows(), settings, tuple(gathered.starts))
        except ValueError as error:
            told.append(f"at {called(regime)} nothing is learned: {error}")
    if not baselines:
        raise ValueError("; ".join(told))
    learned = ", ".join(f"{called(regime)} ({one.rows} rows)" for regime, one in baselines.items())
    return baselines, [f"learned at {learned}", *told]
