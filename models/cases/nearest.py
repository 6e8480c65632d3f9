"""Cases found again: by the alarm that they name, by the tags of an anomaly, and by words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import apsw
import numpy as np

from .case import Case

ALIKE = 0.5  # cosine from which on tags are called alike
BY_WORDS, BY_ASSET = 0.6, 0.2  # what all words, and the asset, count for where no signature speaks
MOST_WORDS = 24  # of a question that count
LOOKED_AT = 50  # of the index's answers
IDLE = {"the", "and", "for", "with", "that", "this"}
HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"


@dataclass(frozen=True)
class Seen:
    """What was raised: key and words of the alarm or anomaly, the tags it is about, and their shares, negative for one that is
    lower than usual."""

    key: str
    text: str = ""
    shares: Mapping[str, float] = field(default_factory=dict)
    tags: Collection[str] = ()


@dataclass(frozen=True)
class Near:
    """A case, how near it is (0 to 1), and why."""

    case: Case
    near: float
    why: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {**self.case.model_dump(mode="json"), "near": round(self.near, 2), "why": list(self.why)}


class Known:
    """An index over cases, in memory. `assets` is the class of each prefix of tags, `tags` the names of the site. For one thread
    at a time; a question to 2,000 cases takes 5 ms."""

    def __init__(
        self, cases: Sequence[Case], assets: Mapping[str, str] | None = None, tags: Collection[str] = ()
    ) -> None:
        self.cases = list(cases)
        self._prefixes = [_prefixes(case.asset, assets or {}) for case in self.cases]
        self._signatures = _Signatures(self.cases, self._prefixes, frozenset(tags))
        self._by_alarm: dict[str, list[int]] = {}
        self._words = [_indexed(case) for case in self.cases]
        self._db = apsw.Connection(":memory:")
        self._db.execute("CREATE VIRTUAL TABLE word USING fts5(body, tokenize='unicode61 remove_diacritics 0')")
        self._db.executemany("INSERT INTO word(rowid, body) VALUES (?, ?)", enumerate(self._words))
        for index, case in enumerate(self.cases):
            if case.signature.alarm:
                self._by_alarm.setdefault(case.signature.alarm, []).append(index)

    def find(self, text: str, most: int = 20) -> list[Near]:
        """By words alone, the best first; Chinese words need no blanks, and the beginning of another word is enough."""
        found = self._by_words(text)
        near = [Near(self.cases[i], share, (_words(share, len(asked(text))),)) for i, share in found.items()]
        return sorted(near, key=lambda one: -one.near)[:most]

    def nearest(self, seen: Seen, least: float = 0.5, most: int = 3) -> list[Near]:
        """Those that are at least `least` near, the nearest first; the order of the file where they are equally near."""
        alike, words = self._signatures.alike(seen.shares), self._by_words(seen.text)
        candidates = {*self._by_alarm.get(seen.key, ()), *np.flatnonzero(alike >= ALIKE).tolist(), *words}
        told = [self._judged(i, seen, float(alike[i]), words.get(i, 0.0)) for i in sorted(candidates)]
        return sorted((one for one in told if one.near >= least), key=lambda one: -one.near)[:most]

    def _judged(self, index: int, seen: Seen, alike: float, words: float) -> Near:
        case, why, counts = self.cases[index], [], []
        if case.signature.alarm == seen.key:
            counts.append(1.0)
            why.append(f"names {seen.key}")
        if seen.shares and case.signature.shares:
            counts.append(max(0.0, alike))
            why.append(f"tags {max(0.0, alike):.0%} alike")
        near = sum(counts) / len(counts) if counts else 0.0
        spoken = BY_WORDS * words
        if words:
            why.append(_words(words, len(asked(seen.text))))
            if any(tag.startswith(f"{prefix}.") for prefix in self._prefixes[index] for tag in seen.tags):
                spoken += BY_ASSET
                why.append(f"asset {case.asset}")
        return Near(case, max(near, spoken), tuple(why))

    def _by_words(self, text: str) -> dict[int, float]:
        """Of the cases that hold any of the words: which share of the words they hold."""
        terms = asked(text)
        if not terms:
            return {}
        question = " OR ".join(f'"{term}"*' for term in terms)
        rows = self._db.execute(
            f"SELECT rowid FROM word WHERE word MATCH ? ORDER BY rank LIMIT {LOOKED_AT}", (question,)
        )
        return {i: sum(f" {t}" in self._words[i] for t in terms) / len(terms) for (i,) in rows}


class _Signatures:
    """The shares of all cases as rows of one matrix: a row for each asset of the case's class."""

    def __init__(self, cases: Sequence[Case], prefixes: Sequence[Sequence[str]], tags: frozenset[str]) -> None:
        rows = [
            (i, {_full(tag, prefix, tags): share for tag, share in case.signature.shares.items()})
            for i, case in enumerate(cases)
            if case.signature.shares
            for prefix in prefixes[i] or [""]
        ]
        self._column = {tag: c for c, tag in enumerate(sorted({tag for _, row in rows for tag in row}))}
        self._case, self._cases = np.array([i for i, _ in rows], np.intp), len(cases)
        self._unit = np.zeros((len(rows), len(self._column)), np.float32)
        for r, (_, row) in enumerate(rows):
            self._unit[r, [self._column[tag] for tag in row]] = list(row.values())
            self._unit[r] /= np.linalg.norm(self._unit[r])

    def alike(self, shares: Mapping[str, float]) -> np.ndarray:
        """Cosine of each case to these shares; 0 for one without a signature."""
        out = np.zeros(self._cases)
        size = float(np.sqrt(sum(share * share for share in shares.values())))
        if size and len(self._case):
            seen = np.zeros(len(self._column), np.float32)
            for tag, share in shares.items():
                if tag in self._column:
                    seen[self._column[tag]] = share / size
            np.maximum.at(out, self._case, self._unit @ seen)
        return out


def _prefixes(asset: str, assets: Mapping[str, str]) -> list[str]:
    if not asset:
        return []
    return [prefix for prefix, kind in assets.items() if kind == asset] or [asset]


def _full(tag: str, prefix: str, tags: frozenset[str]) -> str:
    below = f"{prefix}.{tag}"
    return tag if not prefix or tag.startswith(f"{prefix}.") or (tag in tags and below not in tags) else below


def _words(share: float, of: int) -> str:
    return "all words" if share == 1 else f"{round(share * of)} of {of} words"


def _pieces(text: str) -> Iterable[tuple[str, bool]]:
    """Words in lower case, each with whether it is a run of Chinese."""
    for word in re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).lower()):
        for piece in re.findall(f"[{HAN}]+|[^{HAN}]+", word):
            yield piece, re.match(f"[{HAN}]", piece) is not None


def _pairs(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)]


def asked(text: str) -> list[str]:
    """What is looked for: words, and the pairs of characters of Chinese; at most MOST_WORDS, each once."""
    terms: dict[str, None] = {}
    for piece, han in _pieces(text):
        terms |= dict.fromkeys((_pairs(piece) or [piece]) if han else [piece])
    told = [term for term in terms if len(term) > 2 or re.match(f"[{HAN}]", term)]
    return [term for term in told or terms if term not in IDLE][:MOST_WORDS]


def _indexed(case: Case) -> str:
    """The words of a case as its index holds them. Of Chinese the pairs, and the last character: any character begins one."""
    said = [case.id, case.symptom, case.cause, case.remedy, case.asset, case.component, *case.parts, case.source]
    words: list[str] = []
    for piece, han in _pieces("\n".join(said)):
        words += [*_pairs(piece), piece[-1]] if han else [piece]
    return " " + " ".join(words)
