"""One normal of a detector: learned from rows, judged by, moved on a person's word, learned anew, and kept over a restart."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge import Answer, Event, Job

from .baseline import Baseline, Settings, fit
from .gathered import KEPT, Gathered
from .reconstruction import Leftover
from .refit import Candidate, Refit, too_few
from .renewal import Stand, lack, renewed, resumed, told
from .scorer import Scorer

DRIFTED = 6.0  # standard deviations of the learned rows, from which on a tag's centre should be learned anew
TOLD = 5  # tags that an alarm names
Judged = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Watched:
    """`name` of the stage, `tags` of a row's columns, `rows` to learn from, `refit` as its option; `at`: what is said of the
    machine behind the name, where a detector has several normals."""

    name: str
    tags: Sequence[str]
    settings: Settings
    rows: int
    refit: int = 0
    at: str = ""

    @property
    def where(self) -> str:
        return f" at {self.at}" if self.at else ""

    @property
    def said(self) -> str:
        return self.name + self.where


class Watch:
    """Called with rows that follow each other. `file` was learned before; `left` is what a network makes of rows first."""

    def __init__(self, of: Watched, file: Baseline | None = None, left: Leftover | None = None) -> None:
        self.of, self.name = of, of.name
        self.file, self._left = file, left
        self._learned = Gathered(len(of.tags))
        self._scorer = Scorer(file) if file else None
        self._alarm = False
        self._drifted: set[str] = set()
        self._recent = np.empty((0, len(of.tags)))  # the last rows that were judged, as many as a window has
        self._earlier: Stand | None = None  # before a person said what is normal
        self._refit: Refit | None = None

    @property
    def learning(self) -> bool:
        return self._scorer is None

    def __call__(self, ts: np.ndarray, rows: np.ndarray) -> Generator[Event | Job, None, Judged]:
        """What is told of good rows [n, c], and at last (score, alarm), each float64[n]; NaN where it still learns."""
        score, alarm, learned = np.full(len(ts), np.nan), np.full(len(ts), np.nan), 0
        if self._scorer is None:  # what comes behind them in one block is judged
            learned = min(max(self.of.rows - len(self._learned), 0), len(ts))
            yield from self._learn(rows[:learned], int(ts[learned - 1]) if learned else 0)
        if self._scorer is not None and learned < len(ts):
            seen = rows[learned:] if self._left is None else self._left(rows[learned:])
            score[learned:], on = self._scorer(seen)
            alarm[learned:] = on
            longest = max(window.rows for window in self._scorer.baseline.windows)
            self._recent = np.concatenate([self._recent, seen])[-longest:]
            # before it drifts: what came until then is no new normal
            yield from self._gathered(seen, on)
            yield from self._told(ts[learned:], on)
        return score, alarm

    def left(self, ts: int, why: str) -> Iterator[Event]:
        """What comes next does not follow; an alarm that stands ends, since nothing is known of it any more."""
        self._learned.cut()
        if self._refit:
            self._refit.cut()
        if self._alarm:
            self._alarm = False
            yield Event("anomaly", self.name, "cleared", ts, text=why)

    def _told(self, ts: np.ndarray, alarm: np.ndarray) -> Iterator[Event]:
        """An event where an alarm begins, with its reasons, and one where it ends; one for a tag that drifted far."""
        assert self._scorer is not None
        before = np.concatenate([[self._alarm], alarm[:-1]])
        for i in np.flatnonzero(before != alarm):
            if alarm[i]:
                yield self._raised(int(ts[i]), int(i))
            else:
                yield Event(
                    "anomaly", self.name, "cleared", int(ts[i]), text=f"{self.of.said} is as it was learned again"
                )
        self._alarm = bool(alarm[-1])
        drift = dict(zip(self.of.tags, self._scorer.drift(), strict=True))
        for tag in sorted(tag for tag, d in drift.items() if abs(d) > DRIFTED and tag not in self._drifted):
            self._drifted.add(tag)
            text = f"{tag} has moved {drift[tag]:+.1f} of its learned spreads{self.of.where}; if that is normal"
            text += "" if self._left else f", say so: `lineside normal SITE {self.name}`; or"
            text += f" learn anew: `lineside fit SITE {self.name} --since TIME`"
            yield Event(
                "model", self.name, "drifted", int(ts[-1]), "low", text, {"tag": tag, "by": round(drift[tag], 2)}
            )
            if self.of.refit and self._refit is None:
                self._refit = Refit(self.of.refit, len(self.of.tags))
        self._drifted = {tag for tag in self._drifted if abs(drift[tag]) > DRIFTED / 2}

    def _raised(self, ts: int, row: int) -> Event:
        assert self._scorer is not None
        shares, deviations = self._scorer.reasons(row)
        first = np.argsort(-shares)[:TOLD]
        reasons = [
            {
                "tag": self.of.tags[i],
                "share": round(float(shares[i]), 3),
                "deviation": round(float(deviations[i]), 2),
            }
            for i in first
            if shares[i] > 0.01
        ]
        text = ", ".join(f"{r['tag']} {r['deviation']:+.1f} ({r['share']:.0%})" for r in reasons)
        text = f"unlike normal{self.of.where}: {text}"
        return Event("anomaly", self.name, "raised", ts, "medium", text, {"reasons": reasons})

    def _learn(self, rows: np.ndarray, ts: int) -> Iterator[Event]:
        self._learned.add(rows)
        if len(self._learned) < self.of.rows:
            return
        known, starts = self._learned.rows(), tuple(self._learned.starts)
        self._learned = Gathered(len(self.of.tags))
        try:
            self._scorer = Scorer(fit(known, self.of.settings, starts))
        except ValueError as error:
            yield Event("model", self.name, "not_learned", ts, "medium", f"{self.of.said} begins anew: {error}")
            return
        yield Event(
            "model", self.name, "learned", ts, text=f"{self.of.said} learned what is normal from {len(known)} rows"
        )

    def ordered(self, order: Event) -> Iterator[Event]:
        back, by, learn = bool(order.data.get("back")), str(order.data.get("by", "")), order.data.get("learn") or 0
        why = lack(self._scorer, self._earlier, self._recent, back) or too_few(learn, self._scorer)
        if why or self._scorer is None:
            yield Event("model", self.name, "refused", order.ts, "low", f"{self.of.said}: {why}", {"by": by})
            return
        was, stood = self._scorer.stands(), (self._scorer.baseline, self._scorer.centres)
        if back and self._earlier:
            self._scorer, self._earlier = resumed(self._earlier), None
        else:
            self._scorer, self._earlier = renewed(self._scorer, self._recent), stood
        self._refit = Refit(int(learn), len(self.of.tags), by or "somebody") if learn and not back else None
        self._drifted = set()
        said = told(self.name, self.of.said, order, self.of.tags, was, self._scorer.stands())
        yield said
        if self._alarm:
            self._alarm = False
            yield Event("anomaly", self.name, "cleared", order.ts, text=said.text)

    def _gathered(self, rows: np.ndarray, alarm: np.ndarray) -> Iterator[Job]:
        if self._refit and not self._refit.asked and self._refit.gather(rows, alarm):
            refit, settings = self._refit, self.of.settings
            refit.asked = True
            step = self._left.step if self._left else 0.0
            none = Candidate(refit, None, "not at all, since the device had no room for that")
            yield Job(lambda: [Answer(refit.candidate(settings, step))], lambda: [Answer(none)], name=self.name)

    def relearned(self, new: Candidate) -> Iterator[Event]:
        """A candidate takes over, or is dropped; one that an order has overtaken is nobody's."""
        if self._refit is not new.of or self._scorer is None:
            return
        self._refit, by = None, {"by": new.of.by} if new.of.by else {}
        if new.scorer is None:
            text = f"{self.of.said} stays as it was: learned anew {new.words}"
            yield Event("model", self.name, "not_learned", severity="medium", text=text, data=by)
            return
        if not new.of.by:  # else what was before the order
            self._earlier = self._scorer.baseline, self._scorer.centres
        self._scorer, self._drifted = new.scorer, set()
        text = f"{self.of.said} learned anew {new.words}; `lineside normal SITE {self.name} --back` takes it back"
        yield Event("model", self.name, "learned", severity="low", text=text, data=by)

    def as_json(self, whole: bool = True, most: int = KEPT) -> dict[str, Any]:
        """For `resume`; `whole`: with the rows that the next window begins with. `most` numbers of rows are kept."""
        if self._scorer is None:
            return {"learning": self._learned.as_json(most)}
        own = {"learned": self._scorer.baseline.as_json()} if self._scorer.baseline is not self.file else {}
        of = {"file": _limits(self.file)} if self.file else {}
        earlier: dict[str, Any] = {"refit": self._refit.as_json(most)} if self._refit else {}
        if self._earlier:
            earlier["earlier"] = {"learned": self._earlier[0].as_json(), "centres": self._earlier[1]}
        stand: dict[str, Any] = {"limits": _limits(self._scorer.baseline), "centres": self._scorer.centres}
        stand |= {"state": self._scorer.state if whole else None, "alarm": self._alarm}
        stand["window"] = self._left.state if self._left else None
        return {**stand, **own, **of, **earlier}

    def resume(self, document: Mapping[str, Any]) -> None:
        """Go on with learning, or with what was learned and where the centres stood; with what was said of a `baseline` file as
        long as it is the same one. Raises ValueError for what is damaged, or was learned with other settings."""
        columns = len(self.of.tags)
        if "learning" in document:
            if self._scorer is None:
                self._learned = Gathered.from_json(document["learning"], columns)
            return
        if "learned" in document and (self.file is None or document.get("file") == _limits(self.file)):
            scorer = Scorer(self._baseline(document["learned"]))
            if "earlier" in document:
                earlier = self._baseline(document["earlier"]["learned"]), document["earlier"]["centres"]
                resumed(earlier)
                self._earlier = earlier
            self._scorer = scorer
        if self._scorer and document["limits"] == _limits(self._scorer.baseline):
            if document.get("state"):
                self._scorer.go_on(document["state"])
            else:
                self._scorer.resume(document["centres"])
            if self._left and document.get("window"):
                self._left.go_on(document["window"])
            self._alarm = bool(document.get("alarm"))  # so that one that is over is told as over
        if self._scorer and "refit" in document:
            self._refit = Refit.from_json(document["refit"], columns)

    def _baseline(self, document: Mapping[str, Any]) -> Baseline:
        """Raises ValueError for one that is not of these tags and settings."""
        found = Baseline.from_json(document)
        if found.settings != self.of.settings or len(found.mean) != len(self.of.tags):
            raise ValueError("it was learned with other settings")
        return found


def _limits(baseline: Baseline) -> list[float]:
    """What tells one baseline from another."""
    return [window.limit for window in baseline.windows]
