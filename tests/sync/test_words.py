"""The console's words and colours, read from its sources."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge import Quality
from edge.event import SEVERITIES

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "sync" / "console" / "src"
SAYS = (
    r'\bEvent\(\s*"(\w+)"',
    r'\bEvent\(\s*"\w+",\s*[\w.]+,\s*"(\w+)"',
    r'\b(?:source|health|self)\.count\((?:\w+, )?"(\w+)"',
    r'_giv(?:e|en)_up\(.*?"(\w+)"\)',
    r'outcome\([^()]*, "(\w+)"',
    r'\.state\([^()]*?, "(\w+)"',
    r'\b_event\((?:row|int\(row\)), "(\w+)"',
    r'gap\(.*"(\w+)"',
    r'return "(the disk [\w ]+)"',
)


def test_every_word_a_device_can_say_has_chinese() -> None:
    words = (SOURCES / "words.ts").read_text("utf-8")
    listed = words.partition("DEVICE_ZH")[2].partition("};")[0]
    known = set(re.findall(r'\b"?([a-z][a-z_ ]*)"?: "[^"]*[\u4e00-\u9fff]', listed))
    said = {*SEVERITIES, *(q.name.lower() for q in Quality), "raised", "cleared", "ok", "ng", "recheck", "timeout"}
    for package in ("edge", "drivers", "models", "sync"):
        for path in (ROOT / package).rglob("*.py"):
            if not {"bench", "train", "node_modules"} & set(path.parts) and path.name != "testing.py":
                text = path.read_text("utf-8")
                said |= {word for pattern in SAYS for word in re.findall(pattern, text)}
    assert {"overruns", "expired", "superseded", "journal_full", "waiting", "unshelved"} < said, (
        "the patterns find them"
    )
    assert sorted(said - known) == []


def contrast(one: str, other: str) -> float:
    """WCAG 2.2 contrast of two colours "#rrggbb"."""

    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(theme: str) -> None:
    style = (SOURCES / "style.css").read_text("utf-8")
    (block,) = [b for b in re.findall(r":root[^{]*\{([^}]*)\}", style) if f"color-scheme: {theme};" in b]
    colour = dict(re.findall(r"--(\w+): (#\w{6})", block))
    texts, grounds = ("ink", "quiet", "accent", "bad", "warn", "calm"), ("ground", "panel", "badground", "warnground")
    pairs = [(text, ground) for text in texts for ground in grounds] + [("panel", "accent")]
    assert [(a, b) for a, b in pairs if contrast(colour[a], colour[b]) < 4.5] == []
