"""Cases found again: by the alarm that they name, by the tags of an anomaly, and by words."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import apsw
import numpy as np

from ..event import Event
from ..expressions import ExpressionFault, compile_expression
from .case import Case
from .words import asked, indexed

ALIKE = 0.5  # cosine from which on tags are called alike
BY_WORDS, BY_ASSET = 0.6, 0.2  # what all words, and the asset, count for where no signature speaks
LOOKED_AT = 50  # of the index's answers


@dataclass(frozen=True)
class Seen:
    """What was raised: key and words of the alarm or anomaly, the tags it is about, and their shares, negative for one that is
    lower than usual."""

    key: str
    text: str = ""
    shares: Mapping[str, float] = field(default_factory=dict)
    tags: Collection[str] = ()


def seen_of(event: Event) -> Seen:
    """What an alarm or anomaly is about. Where it has reasons its words are the tags, which no case holds."""
    reasons = event.data.get("reasons", ())
    shares = {reason["tag"]: reason["share"] * (-1 if reason["deviation"] < 0 else 1) for reason in reasons}
    tags = {*shares, *([event.data["tag"]] if event.data.get("tag") else [])}
    if event.kind == "alarm":
        with contextlib.suppress(ExpressionFault):
            tags |= set(compile_expression(str(event.data.get("when", ""))).names)
    return Seen(event.key, "" if reasons else event.text, shares, tags)


@dataclass(frozen=True)
class Near:
    """A case, how near it is (0 to 1), and why."""

    case: Case
    near: float
    why: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {**self.case.model_dump(mode="json"), "near": round(self.near, 2), "why": list(self.why)}


class Known:
    """An index over cases, in memory. `assets` is the class of each beginning of tags. For one thread at a time: a question to
    2,000 cases takes 7 ms."""

    def __init__(self, cases: Sequence[Case], assets: Mapping[str, str] | None = None) -> None:
        self.cases, self._assets = list(cases), dict(assets or {})
        self._signatures = _Signatures(self.cases)
        self._by_alarm: dict[str, list[int]] = {}
        self._words = [f" {indexed(case)}" for case in self.cases]
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
        assets = _assets(seen.tags, self._assets)
        alike = self._signatures.alike(seen.shares, _assets(seen.shares, self._assets))
        words = self._by_words(seen.text)
        candidates = {*self._by_alarm.get(seen.key, ()), *np.flatnonzero(alike >= ALIKE).tolist(), *words}
        told = [
            self._judged(i, seen, float(alike[i]), words.get(i, 0.0), self.cases[i].asset in assets)
            for i in sorted(candidates)
        ]
        return sorted((one for one in told if one.near >= least), key=lambda one: -one.near)[:most]

    def _judged(self, index: int, seen: Seen, alike: float, words: float, its_asset: bool) -> Near:
        case, why, counts = self.cases[index], [], []
        if seen.key and case.signature.alarm == seen.key:
            counts.append(1.0)
            why.append(f"names {seen.key}")
        if seen.shares and case.signature.shares:
            counts.append(alike)
            why.append(f"tags {alike:.0%} alike")
        near = sum(counts) / len(counts) if counts else 0.0
        spoken = BY_WORDS * words
        if words:
            why.append(_words(words, len(asked(seen.text))))
            if its_asset:
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
    """By tag, the cases that name it, and their shares over the length of their signature."""

    def __init__(self, cases: Sequence[Case]) -> None:
        rows: dict[str, list[tuple[int, float]]] = {}
        for index, case in enumerate(cases):
            length = math.hypot(*case.signature.shares.values())
            for tag, share in case.signature.shares.items():
                rows.setdefault(tag, []).append((index, share / length))
        columns = {tag: tuple(zip(*row, strict=True)) for tag, row in rows.items()}
        self._by_tag = {tag: (np.array(index, np.intp), np.array(unit)) for tag, (index, unit) in columns.items()}
        self._asset = np.array([case.asset for case in cases], object)

    def alike(self, shares: Mapping[str, float], assets: Mapping[str, Collection[str]]) -> np.ndarray:
        """Cosine of each case to these shares, 0 without a signature. A case of an asset names tags without the beginning that
        all of the asset's have, or in full."""
        out, length = np.zeros(len(self._asset)), math.hypot(*shares.values())
        for asset, prefixes in {"": [""], **assets}.items() if length else ():
            for prefix in prefixes:
                dot = np.zeros(len(out))
                for tag, share in shares.items():
                    for name in {tag, tag.removeprefix(f"{prefix}.")} & self._by_tag.keys():
                        index, unit = self._by_tag[name]
                        dot[index] += unit * share / length
                np.maximum(out, dot, out=out, where=self._asset == asset)
        return out


def _assets(tags: Iterable[str], classes: Mapping[str, str]) -> dict[str, set[str]]:
    """What such tags are about: each asset, by its beginning of tags' names or its class, with the beginnings."""
    found: dict[str, set[str]] = {}
    for tag in tags:
        steps = tag.split(".")[:-1]
        for n in range(1, len(steps) + 1):
            prefix = ".".join(steps[:n])
            for asset in {prefix, classes.get(prefix, prefix)}:
                found.setdefault(asset, set()).add(prefix)
    return found


def _words(share: float, of: int) -> str:
    return "all words" if share == 1 else f"{round(share * of)} of {of} words"
