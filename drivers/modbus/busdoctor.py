"""What the counters of a bus say, in plain words, and what to try. Pure: counters in, findings out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .line_units import OUT_AFTER

OK, WARN, BAD = "ok", "warn", "bad"
Finding = tuple[str, str, str, str]  # state, what, how it is, what to try
FEW = 20  # requests below which nothing is judged
BARS = "▁▂▃▄▅▆▇█"

WRONG_SPEED = "compare baud, parity and stop bits with the device; `lineside scan modbus` tries them"
NOBODY = "is it on, are A and B swapped, is it the right port; then baud and parity (`lineside scan modbus` tries them)"
DUPLICATE = "do two units have this number? take one off the line and look again; else its plug and its stub of cable"
GONE = "is it on, is its number right (`lineside probe` shows who answers), is its cable plugged in?"
NOISE = "terminate both ends (120 ohm), shield to ground at one end, keep away from drives; a lower baud"
SLOW = "raise `timeout`, or `every` so that it is asked less often"


def findings(name: str, units: Mapping[int, Mapping[str, Any]], serial: bool, echoes: str = "") -> Iterator[Finding]:
    """A line per unit, then what concerns all. `units`: what `line_units.Unit.report` gives, by number; `echoes`: what to say
    where what we send comes back, and does."""
    judged = {unit: _shares(report) for unit, report in units.items()}
    tried = {unit: share for unit, share in judged.items() if share["asked"] >= FEW}
    for unit, report in sorted(units.items()):
        state, said, todo = _suspicion(unit, judged, tried, serial)
        if state != BAD and (misses := report.get("misses", 0)) >= OUT_AFTER:
            state, said, todo = BAD, f"gone: no answer {misses} times in a row", GONE
        yield state, f"{name} unit {unit}", _how(report) + (f"; {said}" if said else ""), todo
    if echoes:
        what, _, todo = echoes.partition(": ")
        yield BAD, name, f"{what}, so no answer is taken", todo
    elif len(tried) > 1 and all(share["silent"] == 1 for share in tried.values()):
        yield BAD, name, "no unit answers at all", NOBODY
    elif len(tried) > 1 and all(share["broken"] > 0.5 for share in tried.values()):
        yield BAD, name, "what every unit sends is unreadable", WRONG_SPEED


def _shares(report: Mapping[str, Any]) -> dict[str, float]:
    asked = report["answers"] + report["timeouts"] + report["broken"] + report["contradicted"]
    share = {name: report[name] / asked if asked else 0.0 for name in ("timeouts", "broken", "contradicted", "refused")}
    return {"asked": asked, "silent": share.pop("timeouts"), "late": report["late"], **share}


def _suspicion(
    unit: int, judged: Mapping[int, dict[str, float]], tried: Mapping[int, dict[str, float]], serial: bool
) -> tuple[str, str, str]:
    """State, what is suspected, and what to try."""
    share = judged[unit]
    if unit not in tried:
        return OK, f"too few requests to judge (below {FEW})" if share["asked"] else "not asked yet", ""
    others = [other for number, other in tried.items() if number != unit]
    fine = bool(others) and all(other["broken"] + other["contradicted"] < 0.01 for other in others)
    if share["silent"] == 1:
        alone = any(other["silent"] < 1 for other in others)
        return BAD, "never answers", GONE if alone or not serial else NOBODY
    if share["broken"] > 0.5 and not fine:
        return BAD, "what comes is mostly no frame: wrong speed or parity", WRONG_SPEED
    if share["broken"] + share["contradicted"] > 0.02 and fine:
        return BAD, "damaged answers from this unit alone: two units of one number?", DUPLICATE
    if share["contradicted"] > 0:
        todo = (
            "is another master on this line?"
            if serial
            else "leave in_flight at 1; does another master use the gateway?"
        )
        return WARN, "answers that belong to another request", todo
    if share["broken"] > 0.001:
        return WARN, "some answers are damaged on the way", NOISE if serial else "the gateway's serial line: " + NOISE
    if share["late"] and share["silent"] > 0.001:
        return WARN, "answers come after the time-out", SLOW
    if share["silent"] > 0.05:
        return WARN, "often silent", SLOW + "; a loose plug does this too"
    if share["refused"] > 0.5:
        return (
            WARN,
            "refuses most reads",
            "`lineside check --connect SITE` names the registers; compare with its manual",
        )
    return OK, "", ""


def _how(report: Mapping[str, Any]) -> str:
    """Counts and latencies of one unit."""
    parts = [f"answers: {report['answers']:,}"]
    if report["answers"]:
        latency = report["latency"]
        parts.append(f"half within {_within(latency, 0.5)}, 99 % within {_within(latency, 0.99)} {bars(latency)}")
    named = {
        "timeouts": "time-outs",
        "late": "late",
        "broken": "damaged",
        "contradicted": "contradicting",
        "refused": "refused",
    }
    parts += [f"{words}: {report[key]:,}" for key, words in named.items() if report[key]]
    return ", ".join(parts)


def _within(latency: list[int], share: float) -> str:
    """The bucket below which this share of all answers came: bucket k holds those below 2**k ms."""
    wanted, seen = share * sum(latency), 0
    for k, n in enumerate(latency):
        seen += n
        if seen >= wanted:
            return f"{2**k} ms" if k < len(latency) - 1 else f"more than {2 ** (k - 1)} ms"
    return "-"


def bars(latency: list[int]) -> str:
    """The histogram as a line of bars, from 1 ms on, doubling."""
    last = max((k for k, n in enumerate(latency) if n), default=-1)
    most = max(latency, default=0)
    return "".join(" " if not n else BARS[round((len(BARS) - 1) * n / most)] for n in latency[: last + 1])
