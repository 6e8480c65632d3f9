"""What people read of an alarm, in their language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from edge import SECOND

from .own import PLANE

Note = Mapping[str, Any]
LINES, SHORT = 14, 100  # alarms that one message names, and characters of each
MOST = 300  # characters of what a device says
ORDER = ("critical", "high", "medium", "low", "info")

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "raised": "raised",
        "over": "raised, and over by now",
        "cleared": "cleared",
        "unacked": "nobody has acknowledged it",
        "since": "raised at",
        "at": "at",
        "until": "cleared at",
        "value": "value",
        "times": "{} times since the last message",
        "many": "{} messages",
        "more": "and {} more",
        "plane": "the plane",
        "test": "Lineside: this is a test of the channel {}, nothing has happened",
        "critical": "CRITICAL",
        "high": "HIGH",
        "medium": "MEDIUM",
        "low": "LOW",
        "info": "INFO",
    },
    "zh": {
        "raised": "已触发",
        "over": "触发后已恢复",
        "cleared": "已恢复",
        "unacked": "尚无人确认",
        "since": "触发时间",
        "at": "时间",
        "until": "恢复时间",
        "value": "数值",
        "times": "自上次通知以来共 {} 次",
        "many": "共 {} 条通知",
        "more": "另有 {} 条",
        "plane": "控制平台",
        "test": "Lineside:这是通道 {} 的测试消息,没有发生任何报警",
        "critical": "紧急",
        "high": "高",
        "medium": "中",
        "low": "低",
        "info": "信息",
    },
}


def text_of(notes: Sequence[Note], language: str, zone: str, page: str) -> str:
    """One message of one or more, the gravest first; its first line says the most."""
    if len(notes) == 1:
        return _whole(notes[0], language, zone, page)
    words, grave = WORDS[language], sorted(notes, key=lambda note: ORDER.index(note["severity"]))
    head = f"[{words[worst(notes)]}] Lineside: {words['many'].format(len(notes))}"
    lines = [f"- {_clock(note, zone)} {_head(note, language)[:SHORT]}" for note in grave[:LINES]]
    if len(notes) > LINES:
        lines.append(words["more"].format(len(notes) - LINES))
    return "\n".join([head, *lines, *([f"{page}/#/alarms"] if page else [])])


def trial(channel: str, language: str) -> str:
    return WORDS[language]["test"].format(channel)


def worst(notes: Sequence[Note]) -> str:
    """The severity of the gravest."""
    return min((note["severity"] for note in notes), key=ORDER.index)


def _whole(note: Note, language: str, zone: str, page: str) -> str:
    words = WORDS[language]
    shown = f"{_moment(note['since'], zone)} ({zone})"
    lines = [_head(note, language)]
    if where := " ".join(_line(note.get(name, "")) for name in ("site", "class") if note.get(name)):
        lines.append(where)
    lines.append(f"{words['at' if note['what'] == 'happened' else 'since']} {shown}")
    if note.get("cleared"):
        lines.append(f"{words['until']} {_moment(note['cleared'], zone)} ({zone})")
    if value := _value(note["data"]):
        lines.append(f"{words['value']} {value}")
    if note.get("times", 1) > 1:
        lines.append(words["times"].format(note["times"]))
    if page:
        lines.append(
            f"{page}/#/alarms" if note["device"] == PLANE else f"{page}/#/device/{quote(note['device'], safe='')}"
        )
    return "\n".join(lines)


def _head(note: Note, language: str) -> str:
    """`[HIGH] press-4 oil_hot, raised: the oil is hot`."""
    words = WORDS[language]
    device = words["plane"] if note["device"] == PLANE else note["device"]
    said = f": {_line(note['text'])}" if note["text"] else ""
    what = f"{note['kind']} {note['state']}" if note["what"] == "happened" else words[note["what"]]
    return f"[{words[note['severity']]}] {device} {_line(note['key'])}, {what.strip()}{said}"


def _line(text: str) -> str:
    return " ".join(text.encode(errors="replace").decode().split())[:MOST]


def _value(data: Mapping[str, Any]) -> str:
    """What it was raised by, as the device or the rule told."""
    values = data.get("values")
    pairs = values.items() if isinstance(values, dict) else [("", data.get("value"))]
    shown = ", ".join(f"{name} {_number(v)}".strip() for name, v in pairs if isinstance(v, int | float))
    when = _line(str(data.get("when") or ""))
    return f"{shown} ({when})" if shown and when else shown


def _number(value: float) -> str:
    return f"{value:.6g}"


def _clock(note: Note, zone: str) -> str:
    return _moment(note.get("cleared") or note["since"], zone)


def _moment(ns: int, zone: str) -> str:
    try:
        return f"{datetime.fromtimestamp(ns // SECOND, ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, OSError, ValueError):  # no clock was ever there
        return "?"
