"""The course of trials as people read it: a line in the terminal, and a page with pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from edge import LinesideError

from .session import Trial
from .task import Limit
from .told import Told

WIDE, HIGH, LEFT, BELOW = 720, 200, 64, 24  # pixels
SMALL = 96
BAR = 24  # characters
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 60rem; padding: 0 1rem; color: #1c2024 }
h2 { font-size: 1.05rem; margin: 1.6rem 0 .2rem } svg { display: block; width: 100%; height: auto; margin: .2rem 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } td, th { padding: .1rem .9rem .1rem 0; text-align: right }
td:last-child, th:last-child { text-align: left; min-width: 14rem } .wide { overflow-x: auto } .bad { color: #b3261e }
text { font: 11px system-ui, sans-serif; fill: #556 } .grid { stroke: #dde }
.best { stroke: #1f6f54; fill: none; stroke-width: 2 }
.doubt { stroke: #9ab; stroke-width: 2 } .dot { fill: #2456a6 } .out { fill: #b3261e }
.limit { stroke: #b3261e; stroke-dasharray: 5 4 }
.line { stroke: #2456a6; fill: none; stroke-width: 1.6 }
@media (prefers-color-scheme: dark) { body { color: #dde; background: #16181c } text { fill: #aab } .grid { stroke: #333842 }
  .best { stroke: #6fd0ae } .dot { fill: #8ab4f8 } .line { stroke: #8ab4f8 } .doubt { stroke: #567 } .out { fill: #ff8a80 }
  .bad { color: #ff8a80 } .limit { stroke: #ff8a80 } }
"""


def bar(trial: Trial, trials: Sequence[Trial], told: Told) -> str:
    """One line: number, objective as a bar over all there was, the limits, what changed."""
    seen = [each.worth for each in trials]
    low, high = min(0.0, *seen) if min(seen) > 0 else min(seen), max(seen)
    filled = round(BAR * (trial.worth - low) / ((high - low) or 1.0))
    limits = "".join(
        f"  {limit.name} {trial.made[limit.name]:.4g}{'' if limit.kept(trial.made[limit.name]) else ' BROKEN'}"
        for limit in told.task.limits
    )
    unit = told.units.get(told.options.objective, "")
    line = f"{trial.number:>4}  {trial.worth:>10.4g} {unit:<6} |{'#' * filled:<{BAR}}|{limits}  {trial.why}"
    return f"{line}\n      {trial.alarm}: the best settings come back" if trial.alarm else line


def page(
    trials: Sequence[Trial], told: Told, title: str, best: Mapping[str, float], words: Sequence[str]
) -> Iterator[str]:
    """It holds its pictures and loads nothing."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{STYLE}</style></head><body>'
    yield f"<h1>{escape(title)}</h1>" + "".join(f"<p>{escape(line)}</p>" for line in words)
    objective = told.options.objective
    yield f"<h2>{_unit(objective, told)}: measured (dots), foretold (grey), the best known (line)</h2>"
    yield _objective(trials)
    for limit in told.task.limits:
        yield f"<h2>{_unit(limit.name, told)}: {_limit(limit)}</h2>"
        yield _limited(trials, limit)
    for k, one in enumerate(told.task.space.inputs):
        yield f"<h2>{_unit(one.name, told)}: {best[one.name]:.4g} is best</h2>"
        yield _steps([trial.x[k] for trial in trials], one.low, one.high)
    yield '<h2>All trials</h2><div class="wide"><table>' + _head(told)
    yield from (_row(trial, told) for trial in trials)
    yield "</table></div></body></html>\n"


def writable(path: Path) -> None:
    """Before hours of trials. Raises LinesideError."""
    try:
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        raise LinesideError(f"cannot write {path}: {error.strerror}") from None


def write(path: Path, pieces: Iterator[str]) -> None:
    try:
        path.write_text("".join(pieces), encoding="utf-8")
    except OSError as error:
        raise LinesideError(f"cannot write {path}: {error.strerror}") from None


def _unit(name: str, told: Told) -> str:
    unit = told.units.get(name, "")
    return escape(f"{name} ({unit})" if unit else name)


def _limit(limit: Limit) -> str:
    return f"at most {limit.at_most:g}" if limit.at_most is not None else f"at least {limit.at_least:g}"


class _Axes:
    """Where trial `k` and a value lie in a picture."""

    def __init__(self, trials: int, values: Sequence[float], high: int) -> None:
        least, most = min(values), max(values)
        room = 0.06 * ((most - least) or abs(most) or 1.0)
        self._least, self._most, self.high = least - room, most + room, high
        self._across = (WIDE - LEFT - 12) / max(1, trials - 1)
        self._trials = trials

    def x(self, k: float) -> float:
        return LEFT + 4 + k * self._across

    def y(self, value: float) -> float:
        return 6 + (self.high - 6) * (1 - (value - self._least) / (self._most - self._least))

    def frame(self, parts: Sequence[str], label: str, marks: Sequence[float] = ()) -> str:
        lines = []
        for value in marks or [self._least + (self._most - self._least) * part for part in (0.05, 0.5, 0.95)]:
            y = self.y(value)
            lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDE}" y1="{y:.1f}" y2="{y:.1f}"/>')
            lines.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
        every = max(1, round(self._trials / 10))
        for k in range(0, self._trials, every):
            lines.append(f'<text x="{self.x(k):.1f}" y="{self.high + 16}" text-anchor="middle">{k + 1}</text>')
        box = f'viewBox="0 0 {WIDE} {self.high + BELOW}"'
        return f'<svg role="img" aria-label="{escape(label)}" {box}>{"".join([*lines, *parts])}</svg>'


def _objective(trials: Sequence[Trial]) -> str:
    seen = [trial.worth for trial in trials] + [trial.best for trial in trials]
    axes = _Axes(len(trials), seen, HIGH)
    low, high = axes.y(min(seen)), axes.y(max(seen))
    parts = []
    for k, trial in enumerate(trials):
        if trial.foretold:
            ends = [min(max(axes.y(value), high - 4), low + 4) for value in trial.foretold[1:]]
            parts.append(
                f'<line class="doubt" x1="{axes.x(k):.1f}" x2="{axes.x(k):.1f}" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}"/>'
            )
    way = " ".join(f"{axes.x(k):.1f},{axes.y(trial.best):.1f}" for k, trial in enumerate(trials))
    parts.append(f'<polyline class="best" points="{way}"/>')
    parts += [_dot(axes, k, trial.worth, trial.kept) for k, trial in enumerate(trials)]
    return axes.frame(parts, "the objective by trial")


def _limited(trials: Sequence[Trial], limit: Limit) -> str:
    bound = limit.at_most if limit.at_most is not None else limit.at_least
    assert bound is not None
    seen = [trial.made[limit.name] for trial in trials]
    axes = _Axes(len(trials), [*seen, bound], SMALL)
    line = f'<line class="limit" x1="{LEFT}" x2="{WIDE}" y1="{axes.y(bound):.1f}" y2="{axes.y(bound):.1f}"/>'
    dots = [_dot(axes, k, value, limit.kept(value)) for k, value in enumerate(seen)]
    return axes.frame([line, *dots], f"{limit.name} by trial")


def _steps(values: Sequence[float], low: float, high: float) -> str:
    axes = _Axes(len(values), [low, high], SMALL)
    way = " ".join(f"{axes.x(k):.1f},{axes.y(value):.1f}" for k, value in enumerate(values))
    dots = [_dot(axes, k, value, True) for k, value in enumerate(values)]
    return axes.frame(
        [f'<polyline class="line" points="{way}"/>', *dots], "the setting by trial", [low, (low + high) / 2, high]
    )


def _dot(axes: _Axes, k: int, value: float, kept: bool) -> str:
    return f'<circle class="{"dot" if kept else "out"}" cx="{axes.x(k):.1f}" cy="{axes.y(value):.1f}" r="3.2"/>'


def _head(told: Told) -> str:
    names = [
        "trial",
        told.options.objective,
        *(limit.name for limit in told.task.limits),
        *told.task.space.names,
        "why",
    ]
    return "<tr>" + "".join(f"<th>{escape(name)}</th>" for name in names) + "</tr>"


def _row(trial: Trial, told: Told) -> str:
    limits = [trial.made[limit.name] for limit in told.task.limits]
    cells = [str(trial.number), *(f"{value:.4g}" for value in (trial.worth, *limits, *trial.x.tolist()))]
    why = f"{trial.why}; {trial.alarm}" if trial.alarm else trial.why
    mark = "" if trial.kept and not trial.alarm else ' class="bad"'
    return f"<tr{mark}>" + "".join(f"<td>{escape(cell)}</td>" for cell in [*cells, why]) + "</tr>\n"
