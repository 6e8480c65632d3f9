"""`lineside backtest SITE --rules`: the alarms and detectors of a site, as it is written now, over the samples that the journal
holds."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from edge import (
    SECOND,
    LinesideError,
    Stood,
    Tried,
    alarm_needs,
    alarms_of_journal,
    alike_alarms,
    between,
    load_site,
    state_folder,
)

from . import truth

DAY = 86_400_000_000_000  # ns
MOST_SAID = 5  # of the alarms of one kind that are gained or lost
WIDE, HIGH, BAND = 900, 120, 12  # of a picture, in pixels
STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem; max-width: 62rem; color: #1c2024; background: #fff }
h2 { font-size: 1.05rem; margin: 2rem 0 .3rem } table { border-collapse: collapse }
td, th { padding: .15rem 1rem .15rem 0; text-align: right } td:first-child, th:first-child { text-align: left }
svg { width: 100%; height: auto } text { font-size: 11px; fill: currentColor }
.signal { fill: #9aa7b4; stroke: #9aa7b4 } .then { fill: #6b7682 } .now { fill: #b3261e } .known { fill: #2e7d32 }
@media (prefers-color-scheme: dark) { body { color: #dde; background: #16181c } .signal { fill: #4b5661; stroke: #4b5661 }
  .then { fill: #9aa7b4 } .now { fill: #ff8a80 } }
"""


@dataclass(frozen=True)
class Change:
    """One alarm or detector: when it stood before and now, which of those are gained and lost, and the measured tags it is made
    of."""

    key: str
    before: list[Stood]
    now: list[Stood]
    gained: list[Stood]
    lost: list[Stood]
    tags: list[str]
    scores: list[str]  # of detectors, drawn first

    @property
    def later_s(self) -> float | None:
        """Median seconds by which those that stood before and now begin later now; negative: earlier."""
        pairs = ((a, b) for a in self.before for b in self.now if a.t0 <= b.t1 and b.t0 <= a.t1)
        first: dict[int, Stood] = {}
        for a, b in pairs:
            first.setdefault(a.t0, b)
        late = [(b.t0 - t0) / SECOND for t0, b in first.items()]
        return round(float(np.median(late)), 1) + 0.0 if late else None


def run(options: argparse.Namespace) -> int:
    sites = [load_site(path) for path in (options.site, options.before) if path]
    if faults := [str(problem) for site in sites for problem in site.problems]:
        print(*faults, sep="\n", file=sys.stderr)
        return 1
    if not any(alarm_needs(site) for site in sites):
        raise LinesideError(f"{options.site} has no alarms, and no stage that judges samples")
    journal = state_folder(sites[0].device.id, options.state) / "journal.db"
    tried, told = alarms_of_journal(journal, sites, *between(options), watched)
    changes = list(_changes(sites, tried, tried.stood[1] if options.before else told))
    known_at: list[Stood] = _faults(changes, options.truth) if options.truth else []
    known = _known(changes, options.truth, known_at, (tried.t1 - tried.t0) / DAY) if options.truth else {}
    changes = [change for change in changes if change.key != options.truth]
    figures = _figures(changes, tried, options) | known
    if options.page:
        _write(options.page, figures, changes, known_at, tried, options)
    print(json.dumps(figures, ensure_ascii=False) if options.json else "\n".join(_words(figures)))
    return 0


def watched(share: float) -> None:
    """For the person who waits."""
    if sys.stderr.isatty():
        print(f"\r{share:.0%} of the journal", end="" if share < 1 else "\n", file=sys.stderr)


def _changes(sites: list[Any], tried: Tried, before: list[Stood]) -> Iterator[Change]:
    now, tags = tried.stood[0], {key: names for site in reversed(sites) for key, names in alarm_needs(site).items()}
    gained, lost = alike_alarms(before, now)
    for key in dict.fromkeys([*alarm_needs(sites[0]), *(one.key for one in before)]):
        then, today, more, less = ([one for one in some if one.key == key] for some in (before, now, gained, lost))
        yield Change(key, then, today, more, less, sorted(tags.get(key, ())), _scores(sites[0], key))


def _scores(site: Any, key: str) -> list[str]:
    """The scores of a detector, or of those that an alarm looks at."""
    if key.startswith("stage "):
        return [f"{key.removeprefix('stage ')}.score"]
    when = site.alarms[key].when if key in site.alarms else ""
    return [f"{name}.score" for name in site.stages if f"{name}." in when]


def _figures(changes: list[Change], tried: Tried, options: argparse.Namespace) -> dict[str, Any]:
    told: dict[str, Any] = {"from": iso(tried.t0), "to": iso(tried.t1), "days": round((tried.t1 - tried.t0) / DAY, 3)}
    told |= {
        "before": str(options.before) if options.before else "journal",
        "samples": dict(sorted(tried.counts.items())),
    }
    told["without"] = sorted({tag for change in changes for tag in change.tags} - tried.counts.keys())
    told["alarms"] = {
        c.key: {
            **{name: len(getattr(c, name)) for name in ("before", "now")},
            **{name: [_span(one) for one in getattr(c, name)] for name in ("gained", "lost")},
            "later_s": c.later_s,
            "per_day": _per_day(c),
        }
        for c in changes
    }
    told["learned"] = [[iso(event.ts), event.text] for event in tried.learned]
    return told


def _span(one: Stood) -> list[str]:
    return [iso(one.t0), iso(one.t1), *([one.why] if one.why else [])]


def _faults(changes: list[Change], key: str) -> list[Stood]:
    """When something was really wrong, as the alarm `key` says."""
    found = next((c for c in changes if c.key == key), None)
    if found is None:
        raise LinesideError(f"no alarm is called {key!r}", hint=f"there are {', '.join(c.key for c in changes)}")
    faults = found.now or found.before
    if not faults:
        raise LinesideError(f"{key} stood at no time that was looked at: nothing is known to have been wrong")
    return faults


def _known(changes: list[Change], key: str, faults: list[Stood], days: float) -> dict[str, Any]:
    scores = {
        c.key: {name: truth.Score.of(getattr(c, name), faults, days).as_json() for name in ("before", "now")}
        for c in changes
        if c.key != key
    }
    return {"known": {"by": key, "faults": len(faults), "alarms": scores}}


def _per_day(change: Change) -> dict[str, list[int]]:
    """Of each day (UTC): [before, now, gained, lost], by when they began."""
    days: dict[str, list[int]] = {}
    for k, some in enumerate((change.before, change.now, change.gained, change.lost)):
        for one in some:
            days.setdefault(iso(one.t0)[:10], [0] * 4)[k] += 1
    return dict(sorted(days.items()))


def _words(told: dict[str, Any]) -> Iterator[str]:
    then = "the alarms that the journal tells of" if told["before"] == "journal" else told["before"]
    yield f"{told['from']} to {told['to']}: {sum(told['samples'].values()):,} samples; measured tags: {len(told['samples'])}"
    yield f"before: {then}"
    for tag in told["without"]:
        yield f"  no sample of {tag} in that time: what is made of it could not be raised"
    yield from (f"  {at} {text}" for at, text in told["learned"][:MOST_SAID])
    yield f"{'alarm':<30} {'before':>7} {'now':>7} {'gained':>7} {'lost':>7} {'later':>8} {'a day':>14}"
    for key, c in told["alarms"].items():
        days = told["days"]  # less than one says nothing of a day
        rate = f"{c['before'] / days:.3g} -> {c['now'] / days:.3g}" if days >= 1 else "-"
        later = "-" if c["later_s"] is None else f"{c['later_s']:+g} s"
        counts = f"{c['before']:>7,} {c['now']:>7,} {len(c['gained']):>7,} {len(c['lost']):>7,}"
        yield f"{key:<30} {counts} {later:>8} {rate:>14}"
        if c["gained"] or c["lost"]:
            yield from (
                f"  {day:<28} {b:>7,} {n:>7,} {g:>7,} {lost:>7,}" for day, (b, n, g, lost) in c["per_day"].items()
            )
        for sign, some in (("+", c["gained"]), ("-", c["lost"])):
            yield from (f"  {sign} {one[0]} to {one[1]} {''.join(one[2:])}".rstrip() for one in some[:MOST_SAID])
            if len(some) > MOST_SAID:
                yield f"  {sign} and {len(some) - MOST_SAID:,} more, which --json lists"
    if known := told.get("known"):
        yield from truth.words(known)


def iso(ts: int) -> str:
    return datetime.fromtimestamp(ts // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _write(
    path: Path,
    told: dict[str, Any],
    changes: list[Change],
    faults: list[Stood],
    tried: Tried,
    options: argparse.Namespace,
) -> None:
    shown = [c for c in changes if c.gained or c.lost]
    try:
        path.write_text("".join(_page(told, shown[: options.most], len(shown), faults, tried)), encoding="utf-8")
    except OSError as error:
        raise LinesideError(f"cannot write {path}: {error.strerror}") from None


def _page(told: dict[str, Any], shown: list[Change], of: int, faults: list[Stood], tried: Tried) -> Iterator[str]:
    """It holds its pictures and loads nothing."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Alarms that change</title>'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{STYLE}</style></head>'
    yield "<body><h1>Alarms that change</h1>"
    words = _words(told)
    yield f"<p>{escape(next(words))}; {escape(next(words))}</p>"
    yield from (f"<p>No sample of {escape(tag)} in that time.</p>" for tag in told["without"])
    if known := told.get("known"):
        yield f"<pre>{escape(chr(10).join(truth.words(known)))}</pre>"
    if len(shown) < of:
        yield f"<p>The first {len(shown)} of {of} are shown.</p>"
    yield "" if shown else "<p>None.</p>"
    for c in shown:
        yield f"<h2>{escape(c.key)}: {len(c.before)} before, {len(c.now)} now; {len(c.gained)} gained, {len(c.lost)} lost</h2>"
        yield _picture(c, faults, tried)
        yield "<table><tr><th>day</th><th>before</th><th>now</th><th>gained</th><th>lost</th></tr>"
        for day, counts in told["alarms"][c.key]["per_day"].items():
            yield f"<tr><td>{day}</td>{''.join(f'<td>{n:,}</td>' for n in counts)}</tr>"
        yield "</table><ul>"
        for sign, some in (("+", c.gained), ("-", c.lost)):
            yield from (f"<li>{sign} {escape(' '.join(_span(one)))}</li>" for one in some[:MOST_SAID])
        yield "</ul>"
    yield "</body></html>\n"


def _picture(c: Change, faults: list[Stood], tried: Tried) -> str:
    """The tags it is made of, each over its own range, and below them when it stood then and now, and when something was wrong."""
    x = WIDE / max(1, tried.t1 - tried.t0)
    parts, y = [], 0
    for tag in [tag for tag in (*c.scores, *c.tags) if tag in tried.drawn][:3]:
        low, high = tried.drawn[tag].low, tried.drawn[tag].high
        at = np.flatnonzero(np.isfinite(low))
        if not len(at):
            continue
        least, most = float(low[at].min()), float(high[at].max())
        by, bins = HIGH / ((most - least) or 1.0), WIDE / len(low)
        bars = "".join(
            f"M{k * bins:.1f} {y + HIGH - (low[k] - least) * by + 0.5:.1f}V{y + HIGH - (high[k] - least) * by - 0.5:.1f}h{bins:.2f}"
            f"V{y + HIGH - (low[k] - least) * by + 0.5:.1f}z"
            for k in at.tolist()
        )
        parts.append(
            f'<path class="signal" d="{bars}"/><text x="2" y="{y + 11}">{escape(tag)}: {least:.4g} to {most:.4g}</text>'
        )
        y += HIGH + 8
    bands = [("then", c.before), ("now", c.now), *([("known", faults)] if faults else [])]
    for name, some in bands:
        for one in some:
            left, wide = (one.t0 - tried.t0) * x, max(1.5, (one.t1 - one.t0) * x)
            parts.append(f'<rect class="{name}" x="{left:.2f}" y="{y}" width="{wide:.2f}" height="{BAND}"/>')
        parts.append(f'<text x="{WIDE + 6}" y="{y + 10}">{name}</text>')
        y += BAND + 4
    label = escape(f"{c.key} before and now")
    return f'<svg role="img" aria-label="{label}" viewBox="0 0 {WIDE + 52} {y}">{"".join(parts)}</svg>'
