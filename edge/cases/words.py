"""The words of a case, as an index holds them, and those of a question: the same on a device and on the plane.

Chinese has no blanks, and most of its technical words are two characters: it goes in as pairs, which any index sees as words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from .case import Case

MOST_WORDS = 24  # of a question that count
LONGEST = 64  # characters of a word that count
IDLE = {"the", "and", "for", "with", "that", "this"}
HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"


def _pieces(text: str) -> Iterable[tuple[str, bool]]:
    """Words in lower case, each with whether it is a run of Chinese."""
    for word in re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).lower().replace("ς", "σ")):
        for piece in re.findall(f"[{HAN}]+|[^{HAN}]+", word):
            han = re.match(f"[{HAN}]", piece) is not None
            yield piece if han else piece[:LONGEST], han


def _pairs(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)]


def asked(text: str) -> list[str]:
    """What is looked for: words, and the pairs of characters of Chinese; at most MOST_WORDS, each once."""
    terms: dict[str, None] = {}
    for piece, han in _pieces(text):
        terms |= dict.fromkeys((_pairs(piece) or [piece]) if han else [piece])
    told = [term for term in terms if len(term) > 2 or re.match(f"[{HAN}]", term)]
    return [term for term in told or terms if term not in IDLE][:MOST_WORDS]


def indexed(case: Case) -> str:
    """The words of a case as an index holds them, with blanks between them. Of Chinese the pairs, and the last character: any
    character begins one."""
    said = [case.id, case.symptom, case.cause, case.remedy, case.asset, case.component, *case.parts, case.source]
    words: list[str] = []
    for piece, han in _pieces("\n".join(said)):
        words += [*_pairs(piece), piece[-1]] if han else [piece]
    return " ".join(words)
