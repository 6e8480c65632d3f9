"""The state of an alarm of the plane, minute by minute: no database, no clock."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge import Event, Expression, compile_expression

from .rollup import MINUTE
from .rule_options import RuleOptions, RuleTest


def key_of(rule: str, device: str) -> str:
    """What its alarm for that device is called; "" of several together."""
    return f"{rule}@{device}" if device else rule


@dataclass(frozen=True, slots=True)
class Rule:
    """One alarm with its expressions compiled. `said` is its conditions in short: what was held for others does not count."""

    name: str
    options: RuleOptions
    when: Expression
    clear: Expression
    said: str

    @classmethod
    def of(cls, name: str, options: RuleOptions) -> Rule:
        """Raises ExpressionFault."""
        clear = options.clear if options.clear is not None else f"not ({options.when})"
        values = sorted((key, value.model_dump_json()) for key, value in options.values.items())
        said = hashlib.sha256(repr((options.when, clear, values)).encode()).hexdigest()[:16]
        return cls(name, options, compile_expression(options.when), compile_expression(clear), said)

    def event(self, kind: str, device: str, state: str, ts: int, text: str, **data: Any) -> Event:
        data = {"rule": self.name, "device": device, **data}
        severity = self.options.severity if kind == "alarm" else "info"
        return Event(kind, key_of(self.name, device), state, ts, severity, text, data)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an alarm stands: all minutes before `until` (minutes since 1970) are judged. `held` minutes in a row, those without a
    value left out, the condition that would change it was true; `blind` minutes in a row it had no value at all."""

    until: int
    active: bool = False
    held: int = 0
    blind: int = 0
    said: str = ""


def judge(
    rule: Rule, device: str, stood: Standing, columns: Mapping[str, np.ndarray]
) -> tuple[Standing, list[tuple[int, Event]]]:
    """Judge the minutes from `stood.until` on, for which `columns` hold float64[n] each, nan where there is no value. Returns how
    it stands then, and (minute, event) of what changed. What has no value is neither true nor false: nothing is raised, cleared or
    begun anew by it."""
    options, n = rule.options, len(next(iter(columns.values())))
    sides = [np.broadcast_to(side.evaluate(columns), n) for side in (rule.when, rule.clear)]
    needed = [max(1, math.ceil(time / 60)) for time in (options.for_, options.clear_for)]
    patience = max(1, math.ceil(options.wait / 60))
    now = stood if stood.said == rule.said else replace(stood, held=0, said=rule.said)
    out: list[tuple[int, Event]] = []
    for k in range(n):
        truth, end = float(sides[int(now.active)][k]), (now.until + 1) * MINUTE
        if math.isnan(truth):
            now = replace(now, blind=now.blind + 1)
            if now.blind == patience:
                gone = sorted(name for name, column in columns.items() if math.isnan(column[k]))
                words = f"not judged: no value of {', '.join(gone)}" if gone else "not judged: it has no value"
                out.append((now.until, rule.event("rule", device, "blind", end, words, values=gone)))
        else:
            if now.blind >= patience:
                words = f"judged again: {now.blind} minutes were not"
                out.append((now.until, rule.event("rule", device, "sees", end, words, minutes=now.blind)))
            now = replace(now, blind=0, held=now.held + 1 if truth else 0)
            if now.held >= needed[int(now.active)]:
                now = replace(now, held=0, active=not now.active)
                values = {name: _shown(column[k]) for name, column in columns.items()}
                state = "raised" if now.active else "cleared"
                event = rule.event("alarm", device, state, end, options.text, when=options.when, values=values)
                out.append((now.until, event))
        now = replace(now, until=now.until + 1)
    return now, out


def _shown(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def rehearse(rule: Rule, test: RuleTest) -> list[str]:
    """Run a test of a rule; what was not as expected, one line each."""
    n = max((len(column) for column in test.given.values()), default=0)
    if not n:
        return ["nothing is given"]
    columns = {
        name: np.array([math.nan if v is None else v for v in test.given.get(name, [None] * n)], np.float64)
        for name in rule.options.values
    }
    _, changes = judge(rule, "", Standing(0, said=rule.said), columns)
    happened = [(minute, event.state) for minute, event in changes if event.kind == "alarm"]
    wanted = [(one.minute, one.state) for one in test.expect]
    same = len(wanted) == len(happened) and all(
        state == other and minute in (None, at) for (minute, state), (at, other) in zip(wanted, happened, strict=False)
    )
    if same:
        return []
    said = ", ".join(f"{state} in minute {minute}" for minute, state in happened) or "nothing"
    told = (
        ", ".join(state if minute is None else f"{state} in minute {minute}" for minute, state in wanted) or "nothing"
    )
    return [f"expected {told}", f"happened {said}"]
