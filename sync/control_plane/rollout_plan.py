"""What a rollout goes by, without a database or a clock: the order of devices, the sizes of waves, when one is over, when it is a
breach."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .rollout_options import GateOptions, GatesOptions

SURE = 1.645  # standard deviations: one side, 95 %
# where a device stands in a rollout
WAITS, ASKED, TRYING, WATCHED, GOOD, FAILED = "waits", "asked", "trying", "watched", "good", "failed"
OVER, GONE = "over", "gone"  # something else is wanted of it by now; it was revoked
BACK, RETURNED, STUCK = "back", "returned", "stuck"  # asked to go back, has gone, could not
AWAY = (OVER, GONE)  # no part of the rollout any more
HITS = ("failed", "alarms", "silent", "ng")  # what a gate may find of a device


class Some(NamedTuple):
    """What devices that are counted together have in common: `due`, that somebody waits for them; `counts`, that they tried, and
    that gates judge them."""

    wave: int
    state: str
    hit: str
    due: bool
    counts: bool


class Breach(NamedTuple):
    """`found` of `of` devices that tried have it, in one wave, or (None) in all of them; `most` in % may."""

    gate: str
    wave: int | None
    found: int
    of: int
    most: float
    enough: bool = True  # have tried for it to be judged

    @property
    def low(self) -> float:
        """The share that they show at least, in %."""
        return wilson(self.found, self.of)[0] * 100

    def words(self) -> str:
        where = "in all" if self.wave is None else f"in wave {self.wave + 1}"
        said = {"failed": "did not take it", "alarms": "raised new alarms after it"}
        said |= {"silent": "are not heard after it", "ng": "judge more parts as NG than before"}
        return f"{self.found} of {self.of} that tried {where} {said[self.gate]}; {self.most:.3g} % may"


def place(rollout: int, device: str) -> int:
    """Where a device stands in the order of a rollout, int63: of each another, so that not always the same ones are first."""
    return int.from_bytes(hashlib.sha256(f"{rollout}/{device}".encode()).digest()[:8], "big") >> 1


def sizes(waves: Sequence[int | str], total: int) -> list[int]:
    """How many devices each wave has; a share is one of all, rounded up. What is left over is the last one."""
    out, left = list[int](), total
    for wave in waves:
        wanted = wave if isinstance(wave, int) else math.ceil(total * float(wave.rstrip("%")) / 100 - 1e-9)
        if min(wanted, left) > 0:
            out.append(min(wanted, left))
            left -= out[-1]
    return [*out, left] if left else out


def spread(sizes: Sequence[int]) -> list[int]:
    """The wave of each device, in their order."""
    return [wave for wave, size in enumerate(sizes) for _ in range(size)]


def wilson(found: int, of: int, z: float = SURE) -> tuple[float, float]:
    """Between what the share is that `found` of `of` show (Wilson, J. Amer. Statist. Assoc. 22, 1927): each bound is right in 95 of
    100 times. (0, 1) where there are none."""
    if not of:
        return 0.0, 1.0
    share, square = found / of, z * z
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = z * math.sqrt(share * (1 - share) / of + square / (4 * of * of)) / (1 + square / of)
    return max(0.0, middle - half), min(1.0, middle + half)


def judged(counts: Mapping[Some, int], gates: GatesOptions) -> Iterator[Breach]:
    """What each gate found of those that tried, in each wave and in all of them together; a breach or not."""
    waves = sorted({some.wave for some in counts if some.counts})
    for gate in HITS:
        options: GateOptions | None = getattr(gates, gate)
        if options is None:
            continue
        for wave in [*waves, None] if len(waves) > 1 else waves:
            those = [(some, n) for some, n in counts.items() if some.counts and wave in (some.wave, None)]
            if gate == "failed":  # one that is still at it has not failed yet
                those = [(some, n) for some, n in those if some.state != TRYING]
            of, found = sum(n for _, n in those), sum(n for some, n in those if some.hit == gate)
            yield Breach(gate, wave, found, of, options.most * 100, of >= options.at_least)


def breach(counts: Mapping[Some, int], gates: GatesOptions) -> Breach | None:
    """The first gate that more devices fail than its share and chance explain: in a wave, or in all of them together."""
    return next((one for one in judged(counts, gates) if one.found and one.enough and one.low > one.most), None)


def nearest(counts: Mapping[Some, int], gates: GatesOptions) -> list[dict[str, Any]]:
    """Of each gate that is judged where it is nearest to a breach, for people: shares in %."""
    found = list(judged(counts, gates))
    out = []
    for gate in HITS:
        options: GateOptions | None = getattr(gates, gate)
        if options is None:
            continue
        mine = [one for one in found if one.gate == gate]
        worst = max(
            mine,
            key=lambda one: (one.enough, one.low, one.of),
            default=Breach(gate, None, 0, 0, options.most * 100, False),
        )
        out.append({**worst._asdict(), "low": worst.low, "at_least": options.at_least})
    return out


class Stand(NamedTuple):
    """Of the open wave: `left` still wait to be asked, `due` are asked or watched, `judged` have come through or failed."""

    left: int
    due: int
    judged: int


def stand(counts: Mapping[Some, int], wave: int) -> Stand:
    mine = {some: n for some, n in counts.items() if some.wave == wave and some.state not in AWAY}
    left = sum(n for some, n in mine.items() if some.state == WAITS)
    due = sum(n for some, n in mine.items() if some.due)
    judged = sum(n for some, n in mine.items() if some.state in (GOOD, FAILED))
    return Stand(left, due, judged)


def lacks(now: Stand, wanted: int) -> int | None:
    """None while the wave goes on. Else how many devices it lacks, because of the `wanted` ones less than half have come through or
    failed: others take the places of those that are not heard. 0: it is over."""
    if now.left or now.due:
        return None
    return max(0, math.ceil(wanted / 2) - now.judged)


def states(counts: Mapping[Some, int]) -> dict[str, int]:
    """How many devices are in which state."""
    out = Counter[str]()
    for some, n in counts.items():
        out[some.state] += n
    return _sorted(out)


def in_words(counts: Mapping[Some, int]) -> str:
    return ", ".join(f"{n} {state}" for state, n in states(counts).items())


def shown(counts: Mapping[Some, int]) -> list[dict[str, int]]:
    """How many devices of each wave are in each state, for people."""
    out: dict[int, Counter[str]] = {}
    for some, n in counts.items():
        of = out.setdefault(some.wave, Counter())
        of[some.state] += n
        if some.hit:
            of[f"hit_{some.hit}"] += n
        if some.state in (ASKED, TRYING, BACK) and not some.due:
            of["late"] += n
    return [{"wave": wave, **_sorted(of)} for wave, of in sorted(out.items())]


def _sorted(counter: Counter[str]) -> dict[str, int]:
    return dict(sorted(counter.items()))


def picked(
    devices: Iterable[tuple[str, str]], rollout: int, waves: Sequence[int | str]
) -> list[tuple[str, str, int, int]]:
    """(device, site, place, wave) of each of these (device, site), in their order."""
    ordered = sorted((place(rollout, device), device, site) for device, site in devices)
    of = spread(sizes(waves, len(ordered)))
    return [(device, site, at, wave) for (at, device, site), wave in zip(ordered, of, strict=True)]
