"""What a part of the tree has and how it runs, on paper: devices, yield, faults, hours without data, software. And the same of a
chain of enterprises, as sums alone and only of figures that five of its members have at least.

The same facts make the same dossier, to the letter; its version is the SHA-256 of them. So two can be compared, and a copy be told
from a changed one.
"""

from __future__ import annotations

import argparse
import asyncio
import html
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from edge import LinesideError

from . import tables
from .audit import digest
from .tree import is_below, node
from .verb import Verb, never
from .where import Where, beside

HOUR = 3600 * 10**9  # ns
MOST_DAYS, FEWEST = 3650, 5  # members of a chain that a figure needs: of fewer, one could be told from the others
Table = tuple[str, tuple[str, ...], list[tuple[Any, ...]]]  # title, heads, rows


@dataclass
class Facts:
    """Of the devices at and below a node, in whole hours of a span."""

    devices: list[dict[str, Any]] = field(default_factory=list)
    parts: dict[str, Counter[str]] = field(default_factory=dict)  # verdicts by device
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)  # (device, alarm) raised
    hours: dict[str, tuple[int, int]] = field(default_factory=dict)  # with data, of those since it is enrolled
    software: list[tuple[str, str, str, str]] = field(default_factory=list)  # device, kind/name, running, state

    def figures(self) -> dict[str, float]:
        """Sums that stand for all of it; one that there is nothing for is left out."""
        judged = Counter[str]()
        for verdicts in self.parts.values():
            judged.update(verdicts)
        had, of = (sum(column) for column in zip(*self.hours.values(), strict=True)) if self.hours else (0, 0)
        found = {"devices": float(len(self.devices)), "alarms raised": float(self.faults.total())}
        found |= {"parts judged": float(judged.total()), "parts OK": float(judged["ok"])} if judged else {}
        return found | ({"hours with data": float(had), "hours": float(of)} if of else {})


def facts(connection: Connection, at: str, since: int, until: int) -> Facts:
    """Of the span from `since` to `until` (ns UTC, whole hours)."""
    d, e, r, w = tables.device, tables.event, tables.rollup, tables.told_twin
    mine = [is_below(d.c.site, (at,))] if at else []
    columns = (d.c.id, d.c["class"], d.c.site, d.c.enrolled, d.c.seen, d.c.revoked)
    found = Facts([dict(row) for row in connection.execute(select(*columns).where(*mine).order_by(d.c.id)).mappings()])
    own = select(d.c.id).where(*mine)
    span = (e.c.ts >= since, e.c.ts < until, e.c.device.in_(own))
    judged = select(e.c.device, e.c.state, func.count()).where(e.c.kind == "inspection", *span)
    for device, state, many in connection.execute(judged.group_by(e.c.device, e.c.state)):
        found.parts.setdefault(device, Counter())[state] = many
    raised = select(e.c.device, e.c.key, func.count()).where(e.c.kind == "alarm", e.c.state == "raised", *span)
    for device, key, many in connection.execute(raised.group_by(e.c.device, e.c.key)):
        found.faults[device, key] = many
    had = select(r.c.device, func.count(r.c.hour.distinct())).where(r.c.device.in_(own))
    had = had.where(r.c.hour >= since // HOUR, r.c.hour < until // HOUR, r.c.n > 0).group_by(r.c.device)
    with_data: dict[str, int] = dict(connection.execute(had).all())
    for row in found.devices:
        first = max(since // HOUR, int(row["enrolled"]) // 3600)
        found.hours[row["id"]] = (with_data.get(row["id"], 0), max(0, until // HOUR - first))
    told = select(w.c.device, w.c.kind, w.c.name, w.c.running, w.c.state).where(w.c.device.in_(own))
    rows = connection.execute(told.order_by(w.c.device, w.c.kind, w.c.name))
    found.software = [(device, f"{kind}/{name}", running, state) for device, kind, name, running, state in rows]
    return found


def of_node(found: Facts) -> list[Table]:
    devices = [
        (
            one["id"],
            one["class"],
            one["site"],
            day(one["enrolled"]),
            day(one["seen"]),
            "revoked" if one["revoked"] else "",
        )
        for one in found.devices
    ]
    parts = [
        (device, sum(of.values()), of["ok"], of["ng"], f"{100 * of['ok'] / sum(of.values()):.2f} %")
        for device, of in sorted(found.parts.items())
    ]
    faults = [(*place, many) for place, many in sorted(found.faults.items(), key=lambda it: (-it[1], it[0]))]
    hours = [(device, of - had, of) for device, (had, of) in sorted(found.hours.items())]
    return [
        ("Devices", ("device", "class", "place", "enrolled", "heard", ""), devices),
        ("Yield", ("device", "parts", "OK", "NG", "OK of all"), parts),
        ("Faults", ("device", "alarm", "raised"), faults),
        ("Hours without data", ("device", "hours", "of"), hours),
        ("Software", ("device", "what", "runs", "state"), list(found.software)),
    ]


def of_chain(members: Sequence[Facts]) -> list[Table]:
    """Sums over all members; a figure that fewer than five of them have is not told. Raises LinesideError."""
    if len(members) < FEWEST:
        raise LinesideError(
            f"a chain of {len(members)} is none",
            hint=f"{FEWEST} members at least, so that none is told from the others",
        )
    each = [one.figures() for one in members]
    rows = []
    for name in ("devices", "parts judged", "parts OK", "alarms raised", "hours with data", "hours"):
        having = [figures[name] for figures in each if figures.get(name)]
        rows.append(
            (name, len(having), f"{sum(having):.0f}")
            if len(having) >= FEWEST
            else (name, f"fewer than {FEWEST}", "not told")
        )
    return [("The chain", ("figure", "members", "sum"), rows)]


def day(seconds: float) -> str:
    """UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds)) if seconds else "never"


def head(at: str, since: int, until: int, told: list[Table]) -> list[str]:
    span = f"{day(since / 10**9)} to {day(until / 10**9)} (UTC, whole hours)"
    return [f"Dossier of {at or 'the whole plane'}", span, f"version {digest([at, since, until, told])}"]


def as_markdown(title: list[str], told: list[Table]) -> str:
    def cell(thing: Any) -> str:
        return html.escape(" ".join(str(thing).split()), quote=False).replace("|", "\\|")

    lines = [f"# {cell(title[0])}", "", *(f"{cell(line)}  " for line in title[1:])]
    for name, heads, rows in told:
        lines += ["", f"## {name}", ""]
        lines += (
            [f"| {' | '.join(map(cell, row))} |" for row in (heads, ["---"] * len(heads), *rows)] if rows else ["None."]
        )
    return "\n".join(lines) + "\n"


def as_html(title: list[str], told: list[Table]) -> str:
    def row(cells: Sequence[Any], kind: str) -> str:
        return f"<tr>{''.join(f'<{kind}>{html.escape(str(one))}</{kind}>' for one in cells)}</tr>"

    body = [f"<h1>{html.escape(title[0])}</h1>", *(f"<p>{html.escape(line)}</p>" for line in title[1:])]
    for name, heads, rows in told:
        table = (
            f"<table><thead>{row(heads, 'th')}</thead><tbody>{''.join(row(one, 'td') for one in rows)}</tbody></table>"
        )
        body += [f"<h2>{name}</h2>", table if rows else "<p>None.</p>"]
    style = "body{font:11pt sans-serif}td,th{border-bottom:1px solid #999;padding:2pt 6pt;text-align:left}tr{break-inside:avoid}"
    start = f'<!doctype html><meta charset="utf-8"><title>{html.escape(title[0])}</title><style>{style}</style>'
    return start + "\n".join(body) + "\n"


# `lineside plane dossier`


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("nodes", nargs="*", metavar="NODE", help="of the tree, as in acme (none: the whole plane)")
    parser.add_argument(
        "--chain", action="store_true", help=f"sums over {FEWEST} enterprises or more, and nothing of one of them"
    )
    parser.add_argument("--days", type=int, default=90, metavar="N", help="until this hour (default: 90)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="FILE.md or FILE.html (default: Markdown, here)")


def run(where: Where, options: argparse.Namespace) -> int:
    """Raises LinesideError."""
    nodes = [node(at) for at in options.nodes] or [""]
    if not 1 <= options.days <= MOST_DAYS:
        raise LinesideError(f"{options.days} days", hint=f"1 to {MOST_DAYS}")
    if len(nodes) > 1 and not options.chain:
        raise LinesideError("a dossier is of one node", hint="--chain sums up several")
    if len(set(nodes)) < len(nodes) or any(a != b and f"{a}/".startswith(f"{b}/") for a in nodes for b in nodes):
        raise LinesideError("one of these members is named twice, or stands below another")
    if options.out and options.out.suffix not in (".md", ".html"):
        raise LinesideError(f"{options.out} is no dossier that can be made", hint="FILE.md or FILE.html")
    until = time.time_ns() // HOUR * HOUR
    since = until - options.days * 24 * HOUR

    async def looked() -> list[Facts]:
        with beside(where) as store:
            return await store.read(lambda c: [facts(c, at, since, until) for at in nodes])

    found = asyncio.run(looked())
    told = of_chain(found) if options.chain else of_node(found[0])
    title = head(f"a chain of {len(nodes)} members" if options.chain else nodes[0], since, until, told)
    text = (as_html if options.out and options.out.suffix == ".html" else as_markdown)(title, told)
    if not options.out:
        print(text, end="")
        return 0
    try:
        options.out.write_text(text, "utf-8")
    except OSError as error:
        raise LinesideError(f"cannot write {options.out}: {error.strerror}") from None
    return 0


VERBS = {"dossier": Verb("what a part of the tree has and how it runs, to print", run, arguments, never)}
