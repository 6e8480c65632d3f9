"""Values out of plain JSON: where they stand, what number they are, and when they were taken. Pure."""

from __future__ import annotations

import datetime
import json
import math
import re
from typing import Any

from edge import SECOND, AnswerContradicts, Quality

Sample = tuple[int, int, float | str, int]  # index of the tag, ns UTC, value or text, quality
EARLIEST, LATEST = 631_152_000 * SECOND, 4_102_444_800 * SECOND  # 1990 to 2100: a clock outside is not set
MOST_BYTES = 1_000_000  # of one message
MOST_READINGS = 10_000  # in a list of one message
MOST_SAMPLES = 100_000  # of one message: what it takes to look for them holds up all others
_STEP = re.compile(r"""\.?([^\W\d][\w-]*)|\[(\d{1,6})\]|\["([^"]+)"\]|\['([^']+)'\]""")
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*")
_TRUE, _FALSE = {"true", "on", "yes"}, {"false", "off", "no"}
VALUE, JSON = "{value}", ("{", "[", '"')
Path = tuple[str | int, ...]


def parse_path(text: str) -> Path:
    """`temp`, `a.b[0]`, `$.a["odd name"]` -> keys and positions; empty for the whole. Raises ValueError."""
    rest = text.removeprefix("$")
    out: list[str | int] = []
    while rest:
        found = _STEP.match(rest)
        if found is None:
            raise ValueError(f'{text!r} is no path; write temp, a.b[0] or a["odd name"]')
        name = found[1] or found[3] or found[4]
        out.append(int(found[2]) if name is None else name)
        rest = rest[found.end() :]
    return tuple(out)


def picked(data: Any, path: Path) -> Any:
    """What stands at a path. Raises LookupError where nothing does."""
    for step in path:
        if not isinstance(data, dict if isinstance(step, str) else list):
            raise LookupError(step)
        data = data[step]  # type: ignore[index]
    return data


def parse(payload: bytes) -> Any:
    """JSON, or a plain number or word as simple devices send. Raises AnswerContradicts."""
    if len(payload) > MOST_BYTES:
        raise AnswerContradicts(f"a message of {len(payload):,} bytes, more than {MOST_BYTES:,}")
    try:
        text = payload.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise AnswerContradicts("it is not UTF-8 text") from None
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError:
        raise AnswerContradicts("nested too deeply") from None
    except ValueError:
        if text[:1] in JSON:
            raise AnswerContradicts("it begins like JSON and is none") from None
        return text


def ordered(payload: str, value: float | str) -> bytes:
    """What is published for an order: `{value}` in the payload stands for it; inside of JSON a text is written as JSON has it."""
    if isinstance(value, str):
        said = json.dumps(value, ensure_ascii=False)[1:-1] if _is_json(payload) else value
    else:
        said = f"{value:.15g}"
    return payload.replace(VALUE, said).encode()


def _is_json(payload: str) -> bool:
    begins = payload.lstrip()
    return begins[:1] in JSON and not begins.startswith(VALUE)


def raise_unless_order(payload: str, text: bool) -> None:
    """Raises ValueError for a payload in which no value has a place."""
    if payload.count(VALUE) != 1:
        raise ValueError(f"{payload!r}: write {VALUE} once, where the value belongs")
    if _is_json(payload):
        try:
            json.loads(ordered(payload, 'a"b' if text else 1.5))
        except ValueError:
            hint = f'"{VALUE}", in quotes' if text else f"{VALUE}, without quotes"
            raise ValueError(f"{payload!r} begins like JSON and is none with a value in it; write {hint}") from None


def _whole(text: str) -> float | int:
    return int(text) if len(text) < 400 else math.inf


def number_of(value: Any) -> tuple[float, Quality]:
    """The number that a JSON value stands for; BAD for what is none."""
    if isinstance(value, bool):
        return float(value), Quality.GOOD
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE or word in _FALSE:
            return float(word in _TRUE), Quality.GOOD
        if not _NUMBER.fullmatch(value):
            return math.nan, Quality.BAD
        value = float(value)
    if not isinstance(value, int | float):
        return math.nan, Quality.BAD
    if abs(value) > 2**53 if isinstance(value, int) else not math.isfinite(value):
        return math.nan, Quality.RANGE
    return float(value), Quality.GOOD


def time_of(value: Any) -> int | None:
    """ns UTC from ISO 8601 (UTC where it names no zone), or from seconds, ms, us or ns since 1970, told apart by their size;
    None for what is no time between 1990 and 2100."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        try:
            when = datetime.datetime.fromisoformat(value.strip())
        except ValueError:
            return None
        when = when if when.tzinfo else when.replace(tzinfo=datetime.UTC)
        ts = (when - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1) * 1000
        return ts if EARLIEST <= ts < LATEST else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    number = int(value) if isinstance(value, int) else float(value)
    for factor in (SECOND, 10**6, 10**3, 1):
        if EARLIEST // factor <= number < LATEST // factor:
            return round(number * factor) // 1000 * 1000
    return None
