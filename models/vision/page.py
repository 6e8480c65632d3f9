"""One HTML page of parts whose verdict changes: what the station said and what another recipe says, each on its picture."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np

WIDE = 640  # pixels a shown picture has at most
COLOURS = {"ng": (40, 40, 220), "recheck": (0, 150, 240), "ok": (80, 170, 60)}
Shown = tuple[float, float, float, float, str, float, str]  # x0, y0, x1, y1, label, score, state
STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem; max-width: 84rem; color: #1c2024; background: #fff }
h2 { font-size: 1.05rem; margin: 2rem 0 .3rem; border-top: 1px solid #ccd; padding-top: 1rem }
table { border-collapse: collapse } td, th { padding: .15rem .8rem .15rem 0; text-align: left }
.pair { display: flex; gap: 1rem; flex-wrap: wrap } figure { margin: .4rem 0; max-width: 40rem } img { max-width: 100% }
figcaption { color: #445 } .ng { color: #b3261e } .ok { color: #2e6b2e } .recheck { color: #8a5a00 }
@media (prefers-color-scheme: dark) { body { color: #dde; background: #16181c } figcaption { color: #aab }
  .ng { color: #ff8a80 } .ok { color: #8fd18f } .recheck { color: #ffc46b } }
"""


@dataclass(frozen=True)
class Side:
    """One picture with its boxes: `state` and `text` are the part's."""

    title: str
    state: str
    text: str
    image: np.ndarray
    boxes: Sequence[Shown]


@dataclass(frozen=True)
class Row:
    """A part: `title`, and for each view what was said and what is said now."""

    title: str
    views: list[tuple[Side, Side]]


def page(title: str, told: Iterable[tuple[str, str]], rows: Iterable[Row]) -> Iterator[str]:
    """The page, piece by piece. It holds its pictures and loads nothing."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{STYLE}</style></head><body>\n'
    yield f"<h1>{escape(title)}</h1>\n<table>"
    yield from (f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>\n" for name, value in told)
    yield "</table>\n"
    for row in rows:
        yield f"<h2>{escape(row.title)}</h2>\n"
        for pair in row.views:
            yield f'<div class="pair">{"".join(map(_figure, pair))}</div>\n'
    yield "</body></html>\n"


def _figure(side: Side) -> str:
    done, body = cv2.imencode(".jpg", drawn(side.image, side.boxes), [cv2.IMWRITE_JPEG_QUALITY, 85])
    source = base64.b64encode(body.tobytes()).decode() if done else ""
    state = side.state if side.state in COLOURS else "recheck"
    boxes = "".join(f"<br>{escape(label)} {score:.3g}" for *_, label, score, _ in side.boxes[:12])
    head = f'{escape(side.title)}: <b class="{state}">{escape(side.state.upper())}</b> {escape(side.text)}{boxes}'
    return f'<figure><figcaption>{head}</figcaption><img alt="" src="data:image/jpeg;base64,{source}"></figure>'


def drawn(image: np.ndarray, boxes: Iterable[Shown]) -> np.ndarray:
    """uint8[h, w, 3], as large as it is shown, with a box around each defect that leaves it to be seen."""
    shown = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image[:, :, :3].copy()
    scale = WIDE / shown.shape[1]
    if scale < 1 or scale >= 2:
        by = scale if scale < 1 else float(int(scale))
        shown = cv2.resize(shown, None, fx=by, fy=by, interpolation=cv2.INTER_AREA if by < 1 else cv2.INTER_NEAREST)
    by = shown.shape[1] / image.shape[1]
    for x0, y0, x1, y1, _, _, state in boxes:
        edges = zip((x0, y0, x1, y1), (-4, -4, 4, 4), shown.shape[1::-1] * 2, strict=True)
        corners = [min(max(round(v * by) + off, 1), side - 2) for v, off, side in edges]
        cv2.rectangle(shown, corners[:2], corners[2:], COLOURS.get(state, COLOURS["recheck"]), 2)
    return shown
