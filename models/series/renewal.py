"""A person's word on what is normal for a detector, and the way back from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge import Event

from .baseline import Baseline
from .scorer import Scorer

ORDER = "event:command normal"  # what the machine does now is normal, or (`back`) it is not after all
Stand = tuple[Baseline, list[list[float]]]  # what was normal, and where its centres stood


def lack(scorer: Scorer | None, earlier: Stand | None, recent: np.ndarray, back: bool) -> str:
    """Why such an order cannot be carried out; empty where it can."""
    if scorer is None:
        return "it has learned nothing yet"
    if scorer.baseline.settings.method == "network":
        return "what its network knows is not moved; train it anew with `lineside fit`"
    if back:
        return "" if earlier else "it has only what it learned first"
    return "" if len(recent) else "no good row has come since the start"


def renewed(scorer: Scorer, recent: np.ndarray) -> Scorer:
    """The same spreads and limits round where the machine stands now, by its recent rows [n, c]; at first it judges nothing."""
    found = Scorer(scorer.baseline.at(recent.mean(axis=0)))
    found.settle()
    return found


def resumed(earlier: Stand) -> Scorer:
    """A scorer that goes on from where it stood. Raises ValueError for centres of another baseline."""
    scorer = Scorer(earlier[0])
    scorer.resume(earlier[1])
    return scorer


def told(name: str, of: str, order: Event, tags: Sequence[str], was: np.ndarray, now: np.ndarray) -> Event:
    """The event of an order that was carried out: who said it `of` what, and each tag's normal before and after, float64[c]."""
    back, by = bool(order.data.get("back")), str(order.data.get("by", "")) or "somebody"
    moved = {tag: [_plain(a), _plain(b)] for tag, a, b in zip(tags, was, now, strict=True)}
    said = "normal is again what it was" if back else "what it does now is normal"
    said += f", and to learn from the next {order.data['learn']} rows" if order.data.get("learn") and not back else ""
    text = f"{by} says of {of}: {said}; " + ", ".join(f"{tag} {a:g} to {b:g}" for tag, (a, b) in moved.items())
    return Event("model", name, "undone" if back else "renewed", order.ts, "low", text, {"by": by, "moved": moved})


def _plain(value: float) -> float:
    return float(f"{value:.6g}")
