"""Strings in registers, two characters each. They are decoded only when their registers changed."""

from __future__ import annotations

import numpy as np

from edge import Quality, Source

from .plan import Item, Plan

LONGEST = 120  # registers; one request has to bring them all


class TextColumns:
    """The rows of text tags in the columns of a plan, which itself gives them no value."""

    def __init__(self, plan: Plan, ids: np.ndarray, source: Source) -> None:
        self._source, self._ids = source, ids
        self._rows = np.array([i for i, item in enumerate(plan.items) if item.type == "text"], np.int64)
        self._items = [plan.items[i] for i in self._rows]
        lengths = [item.length for item in self._items]
        self._ends = np.cumsum(lengths, dtype=np.int64)
        self._owner = np.repeat(np.arange(len(self._rows)), lengths)
        begins = np.repeat(plan.first[self._rows] - (self._ends - lengths), lengths)
        self._at = begins + np.arange(len(self._owner))
        self._last = np.zeros(len(self._at), np.uint16)
        self._new = np.ones(len(self._rows), bool)
        self._value = np.full(len(self._rows), np.nan)

    def __call__(self, words: np.ndarray, value: np.ndarray, quality: np.ndarray, codes: np.ndarray | None) -> None:
        """Fill in value and quality of the text rows; those whose `codes` are not 0 were not answered. A string that finds no
        room has no value, and RANGE."""
        if not len(self._rows):
            return
        now = words[self._at]
        moved = self._new.copy()
        moved[self._owner[now != self._last]] = True
        if codes is not None:
            answered = codes[self._rows] == 0
            moved &= answered
            now = np.where(answered[self._owner], now, self._last)  # others may be under way, in another scan
        for k in np.flatnonzero(moved).tolist():
            item, end = self._items[k], self._ends[k]
            text = decode_text(item, now[end - item.length : end])
            self._value[k] = self._source.text(int(self._ids[self._rows[k]]), text)
        self._new &= ~moved
        self._last = now
        value[self._rows] = self._value
        quality[self._rows] = np.where(np.isnan(self._value), Quality.RANGE, Quality.GOOD)


def decode_text(item: Item, words: np.ndarray) -> str:
    """Up to the first NUL, without spaces at the end; what the encoding does not have becomes U+FFFD. A NUL at the very
    beginning stays visible: such a device puts one character into a register."""
    raw = words.astype("<u2" if item.order == "BADC" else ">u2").tobytes().rstrip(b"\0 ")
    end = raw.find(b"\0", 1)
    return (raw if end < 0 else raw[:end]).decode(item.encoding, "replace").rstrip("\0 ")


def encode_text(item: Item, text: str) -> list[int]:
    """The words that hold a string, filled up with NUL. Raises ValueError when it does not fit."""
    try:
        raw = text.encode(item.encoding)
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} cannot be written in {item.encoding}") from None
    if len(raw) > 2 * item.length:
        raise ValueError(f"{text!r} has {len(raw)} bytes, {item.length} registers hold {2 * item.length}")
    kind = "<u2" if item.order == "BADC" else ">u2"
    return [int(word) for word in np.frombuffer(raw.ljust(2 * item.length, b"\0"), kind)]
