"""The stage `anomaly`: one score and one alarm for several tags that belong together, with the reasons."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from functools import reduce
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from edge import TRUSTED, Answer, Batch, ConfigFault, Event, Job, Point, Quality, Setting, StageConfig

from . import reconstruction
from .baseline import ABSURD, Baseline, Method, Settings, fit, windows_of
from .distinct import Distinct
from .document import read
from .gathered import Gathered
from .reconstruction import Leftover
from .refit import Candidate, Refit, enough, too_few
from .renewal import ORDER, Stand, lack, renewed, resumed, told
from .scorer import Scorer

DRIFTED = 6.0  # standard deviations of the learned rows, from which on a tag's centre should be learned anew
MOST = 0.5  # of a tag's variance that one row may make without a word
TOLD = 5  # tags that an alarm names
GAP = 10  # times the usual step between two rows, from which on no window reaches across


class AnomalyConfig(StageConfig):
    """What belongs together, and how normal is learned."""

    anew: ClassVar[bool] = True
    tags: Distinct
    rows: int = Field(
        3600, ge=50, le=100_000, description="rows learned from after the first start, if there is no `baseline`"
    )
    refit: int = Field(
        0,
        ge=0,
        le=100_000,
        description="after a tag has drifted far, learn anew from so many rows without an alarm; 0: a person says so",
    )
    baseline: str = Field("", description="file beside the site, written by `lineside fit`")
    method: Method = Field(
        "mahalanobis",
        description="all tags together; `pca`: leading components and the rest; `ewma`: each tag by itself; "
        "`network`: what a small network does not say again, which `lineside fit` trains",
    )
    span: float = Field(17, ge=1, le=10_000, description="rows of the middle one of three windows")
    clip: float = Field(8, gt=0, description="standard deviations a single row may count for")
    shrink: float = Field(0.1, gt=0, lt=1, description="how far the correlation is drawn towards independence")
    share: float = Field(0.9, gt=0, le=1, description="of the variance, carried by the components of `pca`")
    adapt: float = Field(400, ge=0, le=1e9, description="rows in which the centre of normal follows; 0: it stays")
    window: int = Field(16, ge=2, le=256, description="rows that the network of `network` sees")
    code: int = Field(
        2, ge=1, le=16, description="numbers that it has to put them into: about what the machine can be set to"
    )
    factor: float = Field(1.5, gt=0, description="the limit is this many times what the learned rows reach")
    hold: float = Field(0.2, ge=0, lt=1, description="an alarm ends when less than this share of its way out is left")

    @model_validator(mode="after")
    def _fitted(self) -> AnomalyConfig:
        if self.method == "network" and not self.baseline:
            raise ValueError(
                "method network is trained by `lineside fit`; say `baseline: NAME.json`, the file it writes"
            )
        if self.method == "network" and self.refit:
            raise ValueError("a network is trained anew by `lineside fit`, not by itself; remove `refit`")
        least = max(10 * len(self.tags), 4 * windows_of(self.settings())[-1])
        if not self.baseline and self.rows < least:
            said = f"rows: {self.rows} are too few for {len(self.tags)} tags and span {self.span:g}; at least {least}"
            raise ValueError(said)
        if self.refit and self.refit < enough(least):
            said = f"refit: {self.refit} rows are too few to learn and to judge; at least {enough(least)}, or 0"
            raise ValueError(said)
        return self

    def points(self) -> dict[str, Any]:
        return {"score": Point(), "alarm": Point(labels={0: "normal", 1: "unlike normal"})}

    def reads(self) -> tuple[str, ...]:
        return tuple(self.tags)

    def settings(self) -> Settings:
        return Settings(**{field.name: getattr(self, field.name) for field in fields(Settings)})


class Anomaly:
    """Batches in, `NAME.score` and `NAME.alarm` out at the same times; while it learns both are SUBSTITUTED and empty."""

    Config = AnomalyConfig

    def __init__(self, config: AnomalyConfig, setting: Setting) -> None:
        self.config, self.name = config, setting.name
        self.inputs = frozenset({*config.tags, ORDER})
        self.outputs = frozenset(
            {f"{setting.name}.{name}" for name in ("score", "alarm")} | {f"event:anomaly {setting.name}"}
        )
        for tag in config.tags:
            if tag not in setting.table:
                raise ConfigFault(f"{setting.name}: no tag is called {tag!r}", hint="tags are called source.name")
        self._ids = np.array([setting.table[name].id for name in config.tags])
        self._out = [setting.table[f"{setting.name}.{name}"].id for name in ("score", "alarm")]
        self._last = np.full(len(self._ids), np.nan)
        self._quality = np.full(len(self._ids), Quality.BAD, np.uint8)
        self._learned = Gathered(len(self._ids))
        self._scorer: Scorer | None = None
        self._alarm = False
        self._drifted: set[str] = set()
        self._recent = np.empty((0, len(self._ids)))  # the last rows that were judged, as many as a window has
        self._earlier: Stand | None = None  # before a person said what is normal
        self._refit: Refit | None = None
        self._file: Baseline | None = None
        self._left: Leftover | None = None  # of rows, before they are judged
        if config.baseline:
            self._file, self._left = load(setting.folder / config.baseline, config)
            self._scorer = Scorer(self._file)

    @classmethod
    def fit(
        cls, config: AnomalyConfig, columns: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
    ) -> dict[str, Any]:
        """A baseline document from history, (ts, value, quality) by tag; under "files" further ones by suffix, under "told" what a
        person should know. Raises ValueError."""
        rows, starts = together([columns[tag] for tag in config.tags])
        settings = config.settings()
        if config.method == "network":
            document = reconstruction.fit(rows, config.tags, settings, starts)
        else:
            document = {"tags": list(config.tags), **fit(rows, settings, starts).as_json()}
        told = [document.get("told", ""), *_alone(rows, config.tags)]
        return document | {"told": "\n".join(filter(None, told))}

    def __call__(self, item: Any) -> Iterator[Any]:
        if isinstance(item, Event) and item.data.get("stage") == self.name:
            yield from self._ordered(item)
        if isinstance(item, Answer) and isinstance(item.value, Candidate):
            yield from self._relearned(item.value)
        if not isinstance(item, Batch):
            return
        ts, rows, worst = self._rows(item)
        if not len(ts):
            return
        score, alarm = np.full(len(ts), np.nan), np.full(len(ts), np.nan)
        good = (worst <= TRUSTED) & (np.abs(rows) < ABSURD).all(axis=1)  # what is no number would stay in every mean
        quality = worst
        judged = np.flatnonzero(good)
        if self._scorer is None:
            learned = judged[
                : max(self.config.rows - len(self._learned), 0)
            ]  # what comes behind them in one block is judged
            yield from self._learn(rows[learned], int(ts[learned[-1]]) if len(learned) else 0)
            judged = judged[len(learned) :] if self._scorer is not None else judged[:0]
            quality = np.where(good, Quality.SUBSTITUTED, quality)
            quality[judged] = worst[judged]
        if self._scorer is not None and len(judged):
            seen = rows[judged] if self._left is None else self._left(rows[judged])
            score[judged], alarm[judged] = self._scorer(seen)
            longest = max(window.rows for window in self._scorer.baseline.windows)
            self._recent = np.concatenate([self._recent, seen])[-longest:]
            # before it drifts: what came until then is no new normal
            yield from self._gathered(seen, alarm[judged] > 0)
            yield from self._told(ts[judged], alarm[judged] > 0)
        value = np.column_stack([score, alarm]).ravel()
        tag = np.tile(np.array(self._out, np.int32), len(ts))
        yield Batch.of(self.name, tag, value, np.repeat(ts, 2), np.repeat(quality, 2), item.mono)

    def _rows(self, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(times, rows, worst quality): a row for each time at which one of the tags changed; the others hold."""
        mine = np.isin(batch.tag, self._ids)
        times, at = np.unique(batch.ts[mine], return_inverse=True)
        if not len(times):
            return times, np.empty((0, len(self._ids))), np.empty(0, np.uint8)
        c = len(self._ids)
        rows, quality = np.empty((len(times) + 1, c)), np.empty((len(times) + 1, c), np.uint8)
        column = np.argmax(batch.tag[mine][:, None] == self._ids[None, :], axis=1)
        known = np.zeros((len(times) + 1, c), np.intp)  # the row that a place holds
        rows[0], quality[0] = self._last, self._quality
        rows[at + 1, column], quality[at + 1, column] = batch.value[mine], batch.quality[mine]
        known[at + 1, column] = at + 1
        known = np.maximum.accumulate(known, axis=0)
        rows, quality = np.take_along_axis(rows, known, axis=0), np.take_along_axis(quality, known, axis=0)
        self._last, self._quality = rows[-1].copy(), quality[-1].copy()
        return times, rows[1:], quality[1:].max(axis=1)

    def _told(self, ts: np.ndarray, alarm: np.ndarray) -> Iterator[Event]:
        """An event where an alarm begins, with its reasons, and one where it ends; one for a tag that drifted far."""
        assert self._scorer is not None
        before = np.concatenate([[self._alarm], alarm[:-1]])
        for i in np.flatnonzero(before != alarm):
            if alarm[i]:
                yield self._raised(int(ts[i]), int(i))
            else:
                yield Event("anomaly", self.name, "cleared", int(ts[i]), text=f"{self.name} is as it was learned again")
        self._alarm = bool(alarm[-1])
        drift = dict(zip(self.config.tags, self._scorer.drift(), strict=True))
        for tag in sorted(tag for tag, d in drift.items() if abs(d) > DRIFTED and tag not in self._drifted):
            self._drifted.add(tag)
            text = f"{tag} has moved {drift[tag]:+.1f} of its learned spreads; if that is normal"
            text += "" if self._left else f", say so: `lineside normal SITE {self.name}`; or"
            text += f" learn anew: `lineside fit SITE {self.name} --since TIME`"
            yield Event(
                "model", self.name, "drifted", int(ts[-1]), "low", text, {"tag": tag, "by": round(drift[tag], 2)}
            )
            if self.config.refit and self._refit is None:
                self._refit = Refit(self.config.refit, len(self._ids))
        self._drifted = {tag for tag in self._drifted if abs(drift[tag]) > DRIFTED / 2}

    def _raised(self, ts: int, row: int) -> Event:
        assert self._scorer is not None
        shares, deviations = self._scorer.reasons(row)
        first = np.argsort(-shares)[:TOLD]
        reasons = [
            {
                "tag": self.config.tags[i],
                "share": round(float(shares[i]), 3),
                "deviation": round(float(deviations[i]), 2),
            }
            for i in first
            if shares[i] > 0.01
        ]
        text = ", ".join(f"{r['tag']} {r['deviation']:+.1f} ({r['share']:.0%})" for r in reasons)
        return Event("anomaly", self.name, "raised", ts, "medium", f"unlike normal: {text}", {"reasons": reasons})

    def _learn(self, rows: np.ndarray, ts: int) -> Iterator[Event]:
        self._learned.add(rows)
        if len(self._learned) < self.config.rows:
            return
        known, starts = self._learned.rows(), tuple(self._learned.starts)
        self._learned = Gathered(len(self._ids))
        try:
            self._scorer = Scorer(fit(known, self.config.settings(), starts))
        except ValueError as error:
            yield Event("model", self.name, "not_learned", ts, "medium", f"{self.name} begins anew: {error}")
            return
        yield Event(
            "model", self.name, "learned", ts, text=f"{self.name} learned what is normal from {len(known)} rows"
        )

    def _ordered(self, order: Event) -> Iterator[Event]:
        back, by, learn = bool(order.data.get("back")), str(order.data.get("by", "")), order.data.get("learn") or 0
        why = lack(self._scorer, self._earlier, self._recent, back) or too_few(learn, self._scorer)
        if why or self._scorer is None:
            yield Event("model", self.name, "refused", order.ts, "low", f"{self.name}: {why}", {"by": by})
            return
        was, stood = self._scorer.stands(), (self._scorer.baseline, self._scorer.centres)
        if back and self._earlier:
            self._scorer, self._earlier = resumed(self._earlier), None
        else:
            self._scorer, self._earlier = renewed(self._scorer, self._recent), stood
        self._refit = Refit(int(learn), len(self._ids), by or "somebody") if learn and not back else None
        self._drifted = set()
        said = told(self.name, order, self.config.tags, was, self._scorer.stands())
        yield said
        if self._alarm:
            self._alarm = False
            yield Event("anomaly", self.name, "cleared", order.ts, text=said.text)

    def _gathered(self, rows: np.ndarray, alarm: np.ndarray) -> Iterator[Job]:
        if self._refit and not self._refit.asked and self._refit.gather(rows, alarm):
            refit, settings = self._refit, self.config.settings()
            refit.asked = True
            step = self._left.step if self._left else 0.0
            yield Job(lambda: [Answer(refit.candidate(settings, step))], name=self.name)

    def _relearned(self, new: Candidate) -> Iterator[Event]:
        """A candidate takes over, or is dropped; one that an order has overtaken is nobody's."""
        if self._refit is not new.of or self._scorer is None:
            return
        self._refit, by = None, {"by": new.of.by} if new.of.by else {}
        if new.scorer is None:
            text = f"{self.name} stays as it was: learned anew {new.words}"
            yield Event("model", self.name, "not_learned", severity="medium", text=text, data=by)
            return
        if not new.of.by:  # else what was before the order
            self._earlier = self._scorer.baseline, self._scorer.centres
        self._scorer, self._drifted = new.scorer, set()
        text = f"{self.name} learned anew {new.words}; `lineside normal SITE {self.name} --back` takes it back"
        yield Event("model", self.name, "learned", severity="low", text=text, data=by)

    def due(self) -> int | None:
        return None

    def snapshot(self) -> bytes | None:
        same: dict[str, Any] = {"tags": self.config.tags, "settings": asdict(self.config.settings())}
        if self._scorer is None:
            return json.dumps({**same, "learning": self._learned.as_json()}).encode()
        own = {"learned": self._scorer.baseline.as_json()} if self._scorer.baseline is not self._file else {}
        of = {"file": _limits(self._file)} if self._file else {}
        earlier: dict[str, Any] = {"refit": self._refit.as_json()} if self._refit else {}
        if self._earlier:
            earlier["earlier"] = {"learned": self._earlier[0].as_json(), "centres": self._earlier[1]}
        stand = {"limits": _limits(self._scorer.baseline), "centres": self._scorer.centres}
        stand |= {"state": self._scorer.state, "alarm": self._alarm}
        stand["window"] = self._left.state if self._left else None
        return json.dumps({**same, **stand, **own, **of, **earlier}).encode()

    def restore(self, state: bytes) -> None:
        """Go on with learning, or with what was learned and where the centres stood; with what was said of a `baseline` file as
        long as it is the same one. Raises ValueError where tags or settings are others now, or for what is damaged."""
        document, columns = json.loads(state), len(self._ids)
        if document["tags"] != self.config.tags:
            raise ValueError("it is of other tags")
        settings = asdict(self.config.settings())
        if document.get("settings", settings) != settings:
            raise ValueError("it was learned with other settings")
        if "learning" in document:
            if self._scorer is None:
                self._learned = Gathered.from_json(document["learning"], columns)
            return
        if "learned" in document and (self._file is None or document.get("file") == _limits(self._file)):
            scorer = Scorer(Baseline.from_json(document["learned"]))
            if "earlier" in document:
                earlier = Baseline.from_json(document["earlier"]["learned"]), document["earlier"]["centres"]
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


def together(columns: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Rows float64[n, tags] of (ts, value, quality) of each tag, and where a stretch without a gap begins: as the stage makes them,
    one for each time at which a tag said something, while the others hold; less those in which one is bad or not known yet.
    Raises ValueError where there are none."""
    times = reduce(lambda a, b: a if a is b or np.array_equal(a, b) else np.union1d(a, b), [c[0] for c in columns])
    times = np.unique(times)
    steps = [np.median(np.diff(np.unique(ts))) for ts, *_ in columns if len(ts) > 1]
    gap = GAP * min(steps, default=0.0)
    since = np.maximum.accumulate(np.where(np.diff(times, prepend=times[0]) > gap, times, times[0]))
    rows, known = np.empty((len(times), len(columns))), np.ones(len(times), bool)
    for j, (ts, value, quality) in enumerate(columns):
        order = np.argsort(ts, kind="stable")
        at = np.searchsorted(ts[order], times, side="right") - 1
        held = order[at]
        rows[:, j] = value[held]
        known &= (at >= 0) & (ts[held] >= since) & (quality[held] <= TRUSTED)
    known &= (np.abs(rows) < ABSURD).all(axis=1)
    if not known.any():
        raise ValueError("at no time are all of the tags known and good")
    starts = np.flatnonzero(np.diff(times[known]) > gap) + 1
    return rows[known], (0, *starts.tolist())


def _alone(rows: np.ndarray, tags: Sequence[str]) -> Iterator[str]:
    """A word on each tag of which one of the rows [n, tags] makes most of the spread: it is judged by that from then on."""
    far = (rows - rows.mean(axis=0)) ** 2
    share = far.max(axis=0) / np.maximum(far.sum(axis=0), 1e-300)
    for i in np.flatnonzero(share > MOST).tolist():
        value = rows[int(far[:, i].argmax()), i]
        yield (
            f"{tags[i]}: one row, {value:g}, makes {share[i]:.0%} of its spread, and what is less will hardly be seen; if that was "
            "not normal, learn from another time"
        )


def _limits(baseline: Baseline) -> list[float]:
    """What tells one baseline from another."""
    return [window.limit for window in baseline.windows]


def load(path: Path, config: AnomalyConfig) -> tuple[Baseline, Leftover | None]:
    """Of a file that `lineside fit` wrote, and of the network beside it; blocks. Raises LinesideError."""

    def parsed(document: Any) -> tuple[Baseline, Leftover | None]:
        try:
            if document.pop("tags") != config.tags:
                raise ValueError("it was fitted for other tags")
            baseline = Baseline.from_json(document)
        except (KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"it is no baseline: {error}") from None
        if baseline.settings != config.settings():
            raise ValueError("it was fitted with other settings")
        if config.method != "network":
            return baseline, None
        return baseline, reconstruction.loaded(baseline, document.get("network"), path)

    return read(path, parsed)
