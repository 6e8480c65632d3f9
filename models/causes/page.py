"""The ranking as one page with pictures: how frequent NG is along each column that was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

import numpy as np

from edge import wilson

from .parts import Parts
from .rank import Found, Ranking
from .words import UNORDERED, doubts, rare, sentence, taken, words

WIDE, HIGH, LEFT, BELOW = 720, 150, 48, 40  # pixels
MOST = 20  # pictures
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 60rem; padding: 0 1rem; color: #1c2024 }
h2 { font-size: 1.05rem; margin: 1.8rem 0 .1rem } p { margin: .2rem 0 } svg { display: block; width: 100%; height: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0 } .wide { overflow-x: auto }
td, th { padding: .1rem 1rem .1rem 0; text-align: right; white-space: nowrap } td:first-child, th:first-child { text-align: left }
text { font: 11px system-ui, sans-serif; fill: #556 } .grid { stroke: #dde } .cell { fill: #b9c4d0 } .band { fill: #b3261e }
.doubt { stroke: #333; stroke-width: 1.2 } .small { color: #667; font-size: .9rem }
@media (prefers-color-scheme: dark) { body { color: #dde; background: #16181c } text { fill: #aab } .grid { stroke: #333842 }
  .cell { fill: #4b5661 } .band { fill: #ff8a80 } .doubt { stroke: #ccd } .small { color: #99a } }
"""

HEAD = '<div class="wide"><table><tr>'
HEAD += (
    "".join(f"<th>{name}</th>" for name in ("where", "kind", "NG there", "NG else", "times", "q", "stretches"))
    + "</tr>"
)


def page(told: Mapping[str, tuple[Parts, Ranking]], title: str) -> Iterator[str]:
    """It holds its pictures and loads nothing. `told`: by stage."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{STYLE}</style></head><body>'
    yield f"<h1>{escape(title)}</h1>"
    for stage, (parts, ranking) in told.items():
        yield from _stage(stage, parts, ranking)
    yield "</body></html>\n"


def _stage(stage: str, parts: Parts, told: Ranking) -> Iterator[str]:
    said = list(words(stage, told))
    yield f"<h2>{escape(said[0])}</h2>"
    if not told.found:
        yield "".join(f"<p>{escape(line)}</p>" for line in said[1:2])
    else:
        yield HEAD + "".join(map(_row, told.found)) + "</table></div>"
    if not told.ordered:
        yield f'<p class="small">{UNORDERED}</p>'
    for k, one in enumerate(told.found[:MOST]):
        yield f"<h2>{escape(sentence(one))}</h2>"
        yield "".join(f'<p class="small">{escape(line)}</p>' for line in doubts(one, told.rivals.get(k, [])))
        yield _picture(one, parts.kind == one.kind if one.kind else parts.ng)
    if len(told.found) > MOST:
        yield f"<p>The first {MOST} of {len(told.found)} are drawn.</p>"
    if told.others:
        yield f"<h2>No more than chance</h2>{HEAD}" + "".join(map(_row, told.others)) + "</table></div>"
    yield "".join(f'<p class="small">{escape(line)}</p>' for line in taken(told))
    for name, why in sorted(told.left_out.items()):
        yield f'<p class="small">not looked at: {escape(name)}: {escape(why)}</p>'


def _row(one: Found) -> str:
    there, other = (f"{ng:,} of {of:,} ({ng / of:.1%})" for ng, of in ((one.ng, one.of), (one.other_ng, one.other_of)))
    times = f"{one.times:.3g}" if one.other_ng else "only there"
    cells = (
        one.where,
        one.kind or "any",
        there,
        other,
        times,
        rare(one.q).removeprefix("q "),
        str(one.stretches or "?"),
    )
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>\n"


def _picture(one: Found, bad: np.ndarray) -> str:
    """The share of NG in each cell, with what it may be at 95 %; the band in colour."""
    bands = one.bands
    known = bands.code >= 0
    of = np.bincount(bands.code[known], minlength=bands.cells)
    ng = np.bincount(bands.code[known & bad], minlength=bands.cells)
    holds = bands.holds[one.band] != one.turned
    cells = np.flatnonzero(of)
    if bands.column.labels is not None and not bands.column.ring and len(cells) > 24:
        cells = np.union1d(cells[np.argsort(-of[cells])[:23]], np.flatnonzero(holds & (of > 0))[:1])
    share = ng[cells] / of[cells]
    ends = np.array([wilson(int(a), int(b)) for a, b in zip(ng[cells], of[cells], strict=True)])
    top = min(1.0, max(1.25 * float(share.max()), float(np.median(ends[:, 1])), 0.01))
    step = (WIDE - LEFT) / len(cells)
    y = lambda part: 8 + (HIGH - 8) * (1 - min(part, top) / top)  # noqa: E731
    parts = []
    for part in (0.0, top / 2, top):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDE}" y1="{y(part):.1f}" y2="{y(part):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(part) + 4:.1f}" text-anchor="end">{part:.3g}</text>'.replace(
            f">{part:.3g}<", f">{part:.0%}<" if top > 0.1 else f">{part:.1%}<"))  # fmt: skip
    for k, cell in enumerate(cells.tolist()):
        x, wide = LEFT + k * step, max(1.0, step - 2)
        kind = "band" if holds[cell] else "cell"
        parts.append(
            f'<rect class="{kind}" x="{x:.1f}" width="{wide:.1f}" y="{y(share[k]):.1f}" height="{HIGH - y(share[k]):.1f}">'
            f"<title>{escape(bands.label(cell))}: {ng[cell]:,} of {of[cell]:,}</title></rect>"
        )
        middle = x + wide / 2
        parts.append(
            f'<line class="doubt" x1="{middle:.1f}" x2="{middle:.1f}" y1="{y(ends[k, 0]):.1f}" y2="{y(ends[k, 1]):.1f}"/>'
        )
        parts.append(
            f'<text x="{middle:.1f}" y="{HIGH + 14}" text-anchor="middle">{escape(bands.label(cell)[:12])}</text>'
            if len(cells) <= 12 or k % 2 == 0
            else ""
        )
    parts.append(f'<text x="{LEFT}" y="{HIGH + 32}">{escape(_axis(one))}</text>')
    return f'<svg role="img" aria-label="{escape(one.name)}" viewBox="0 0 {WIDE} {HIGH + BELOW}">{"".join(parts)}</svg>'


def _axis(one: Found) -> str:
    from_ = "" if one.bands.each else f"from the value below each bar on{_unit(one)}; "
    return f"{from_}share of NG, and within which it lies at 95 %"


def _unit(one: Found) -> str:
    return f" ({one.bands.column.unit})" if one.bands.column.unit else ""
