"""A network of integers beside the one of floats that it was made from: whether they decide alike on the same pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge import ModelRefused

from . import trial

NAMED = 5  # pictures that a refusal names


@dataclass(frozen=True)
class Bounds:
    """What int8 may lose, of scores from 0 to 1 and as a share of the pictures."""

    worst: float = 0.25
    mean: float = 0.05
    changed: float = 0.02


def compared(
    model: trial.Others, names: Sequence[str], fine: Sequence[np.ndarray], coarse: Sequence[np.ndarray]
) -> dict[str, Any]:
    """The figures. A picture in which a detector finds nothing in either way tells nothing of scores and counts for the verdicts
    only. Raises ModelRefused where that is so of all."""
    off, changed = [], []
    for name, one, two in zip(names, fine, coarse, strict=True):
        was, now = trial.state(model, one), trial.state(model, two)
        if was != now:
            changed.append(f"{name} {was} -> {now}")
        if trial.tells(model, one) or trial.tells(model, two):
            off.append(trial.apart(model, one, two))
    if not off:
        raise ModelRefused(
            f"in none of the {len(names)} pictures do the two find anything: nothing was compared",
            hint="show parts with defects too: --samples",
        )
    return {
        "pictures": len(names),
        "with_findings": len(off),
        "differs_most": round(max(off), 4),
        "differs_mean": round(float(np.mean(off)), 4),
        "verdicts_changed": round(len(changed) / len(names), 4),
        "changed": changed,
    }


def within(figures: dict[str, Any], bounds: Bounds) -> None:
    """The gate. Raises ModelRefused."""
    many, changed = figures["pictures"], figures["changed"]
    said = [
        f"{told} ({have:.3g}, at most {most:g})"
        for told, have, most in (
            ("a score differs", figures["differs_most"], bounds.worst),
            ("scores differ in the mean", figures["differs_mean"], bounds.mean),
            (f"{len(changed)} of {many} verdicts change", figures["verdicts_changed"], bounds.changed),
        )
        if not have <= most  # also what is no number
    ]
    if said:
        which = f": {', '.join(changed[:NAMED])}{' ...' * (len(changed) > NAMED)}" if changed else ""
        raise ModelRefused(
            f"it decides otherwise than its float file: {'; '.join(said)}{which}",
            hint="calibrate it on more pictures of this kind, keep sensitive layers in float, or say other bounds: --parity",
        )


def told(folder: Path) -> None:
    """What the figures of a package, where it has any, say of its integers beside the floats that it was made from. Raises
    ModelRefused where they decide otherwise."""
    try:
        figures = json.loads((folder / "figures.json").read_text())
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise ModelRefused(f"its figures.json cannot be read ({type(error).__name__})") from None
    found = figures.get("parity") if isinstance(figures, dict) else None
    if isinstance(found, dict):
        try:
            within(found, Bounds(**found.get("bounds", {})))
        except (KeyError, TypeError, ValueError):
            raise ModelRefused("its figures.json does not say how its integers compare with its floats") from None


def answers(folder: Path, many: int) -> list[np.ndarray]:
    """What a child wrote of so many pictures."""
    with np.load(folder / "answers.npz", allow_pickle=False) as kept:
        return [kept[f"answer_{i}"] for i in range(many)]
