"""The strings behind text tags: each has a number, which is the tag's value; it is given once and never to another string."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable

MOST = 4096  # strings of one tag
MOST_TOGETHER = 65_536  # of all tags of a journal: 16 MB and more would not leave a small device its memory
LONGEST = 256  # characters
UNKNOWN = -1.0  # the number of a string that was never seen; no value is equal to it
TYPE = "text"  # of a tag whose values are such numbers
Row = tuple[int, int, str]  # number, tag, text
_JOINERS = "\u200c\u200d"


class Texts:
    """All strings of a journal. On the loop's thread; never blocks: `record` takes a new one along to the next commit, which
    writes it ahead of the samples that use it. `durable` is the last number that is on the disk."""

    def __init__(
        self, rows: Iterable[Row] = (), last: int = 0, record: Callable[[Row], None] = lambda row: None
    ) -> None:
        self._numbers: dict[int, dict[str, float]] = {}
        self._shown: dict[float, str] = {}
        self._record = record
        for number, tag, text in rows:
            self._numbers.setdefault(tag, {})[text] = float(number)
            self._shown[number] = text
        self._last = self.durable = last

    def value(self, tag: int, text: str) -> float:
        """The number of a string, given on first sight; nan where there is no room for it (`why_not` says why)."""
        known = self._numbers.get(tag)
        if known is not None and (number := known.get(text)) is not None:
            return number
        if self.why_not(tag, text):
            return float("nan")
        plain = clean(text)
        if plain != text:
            return self.value(tag, plain)
        self._last, tag = self._last + 1, int(tag)  # numpy's whole numbers are as good
        self._numbers.setdefault(tag, {})[text] = number = float(self._last)
        self._shown[number] = text
        self._record((self._last, tag, text))
        return number

    def why_not(self, tag: int, text: str) -> str:
        """`too_long` or `too_many` for a new string that finds no room; else empty."""
        if len(text) > LONGEST:
            return "too_long"
        known = self._numbers.get(tag, {})
        full = len(known) >= MOST or len(self._shown) >= MOST_TOGETHER
        return "too_many" if full and clean(text) not in known else ""

    def find(self, tag: int, text: str) -> float:
        """The number of a string, UNKNOWN where it never came."""
        return self._numbers.get(tag, {}).get(clean(text), UNKNOWN)

    def show(self, number: float) -> str | None:
        """The string of a number; None where there is none (nan, a damaged record)."""
        return self._shown.get(number)


def clean(text: str) -> str:
    """Control characters, half characters and invisible ones that turn what stands around them become U+FFFD: a string comes
    from a device and goes to terminals, pages and databases."""
    if text.isprintable():
        return text
    return "".join(
        "\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in _JOINERS else c for c in text
    )
