"""The stage `anomaly`: one score and one alarm for several tags that belong together, with the reasons."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from edge import TRUSTED, Answer, Batch, ConfigFault, Event, LinesideError, Point, Quality, Setting, StageConfig

from . import reconstruction
from .baseline import ABSURD, Baseline, Method, Settings, fit, windows_of
from .distinct import Distinct
from .document import read
from .gathered import KEPT
from .reconstruction import Leftover
from .refit import Candidate, enough
from .regimes import MOST as REGIMES
from .regimes import Regimes, fitted, shown
from .renewal import ORDER
from .together import alone, together
from .watch import Watch, Watched

ONE = 0.0  # the regime of a machine that has no others


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
    by: str = Field(
        "",
        description="tag that says how the machine runs (a recipe, a speed): what is normal is learned for each of its values",
    )
    edges: list[float] = Field(
        default_factory=list,
        max_length=REGIMES - 1,
        description="rising; of the tag `by` bands count, from one of these up to the next, instead of its values",
    )
    after: int = Field(17, ge=0, le=100_000, description="rows let be after `by` changed, in which the machine settles")
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
        if self.by and self.method == "network":
            raise ValueError("a network learns all ways of a machine at once; put the tag of `by` among `tags`")
        if self.edges and not self.by:
            raise ValueError("`edges` are of the tag `by`; name it")
        if any(a >= b for a, b in pairwise(self.edges)):
            raise ValueError(f"edges: {self.edges} do not rise")
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
        return (*self.tags, self.by) if self.by and self.by not in self.tags else tuple(self.tags)

    def reads_text(self) -> tuple[str, ...]:
        return (self.by,) if self.by and self.by not in self.tags and not self.edges else ()

    def settings(self) -> Settings:
        return Settings(**{field.name: getattr(self, field.name) for field in fields(Settings)})


class Anomaly:
    """Batches in, `NAME.score` and `NAME.alarm` out at the same times; while it learns both are SUBSTITUTED and empty. With `by` it
    has a `Watch` for each regime of the machine, else one."""

    Config = AnomalyConfig

    def __init__(self, config: AnomalyConfig, setting: Setting) -> None:
        self.config, self.name, self._table = config, setting.name, setting.table
        self.inputs = frozenset({*config.reads(), ORDER})
        self.outputs = frozenset(
            {f"{setting.name}.{name}" for name in ("score", "alarm")} | {f"event:anomaly {setting.name}"}
        )
        for tag in config.reads():
            if tag not in setting.table:
                raise ConfigFault(f"{setting.name}: no tag is called {tag!r}", hint="tags are called source.name")
        self._ids = np.array([setting.table[name].id for name in config.reads()])
        self._out = [setting.table[f"{setting.name}.{name}"].id for name in ("score", "alarm")]
        self._last = np.full(len(self._ids), np.nan)
        self._quality = np.full(len(self._ids), Quality.BAD, np.uint8)
        self._regimes = Regimes(config.edges, config.after) if config.by else None
        self._by = config.reads().index(config.by) if config.by else 0  # its column
        self._crowded = False  # more regimes than can be
        self._watches: dict[float, Watch] = {}
        files, self._left = load(setting.folder / config.baseline, config) if config.baseline else ({}, None)
        self._files = {self._number(regime): one for regime, one in files.items()}
        for regime in self._files:
            self._watches[regime] = self._watch(regime)
        if not config.by:
            self._watches.setdefault(ONE, self._watch(ONE))

    def _watch(self, regime: float | None) -> Watch:
        """Of a regime; None: nobody knows which."""
        config = self.config
        at = f"{config.by} {self._shown(regime)}" if config.by and regime is not None else ""
        of = Watched(self.name, tuple(config.tags), config.settings(), config.rows, config.refit, at)
        return Watch(of, self._files.get(regime) if regime is not None else None, self._left)

    def _number(self, regime: float | str) -> float:
        """That a text has on this device. Raises LinesideError."""
        if isinstance(regime, float):
            return regime
        tag = self._table[self.config.by]
        if tag.type != "text":
            raise LinesideError(
                f"{self.config.baseline} knows {regime!r}, and {tag.name} is no text", hint="fit it anew"
            )
        return self._table.texts.value(tag.id, regime)

    def _shown(self, regime: float) -> str:
        """A regime to people."""
        tag = self._table[self.config.by]
        label = tag.labels.get(int(regime)) if regime.is_integer() else None
        text = self._table.texts.show(regime) if tag.type == "text" else label
        return text if text and not self.config.edges else shown(self.config.edges, regime)

    @classmethod
    def fit(
        cls,
        config: AnomalyConfig,
        columns: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
        texts: Mapping[float, str] = MappingProxyType({}),
    ) -> dict[str, Any]:
        """A baseline document from history, (ts, value, quality) by tag, and the `texts` behind numbers; under "files" further
        ones by suffix, under "told" what a person should know. Raises ValueError."""
        rows, starts = together([columns[tag] for tag in config.reads()])
        settings, rows, by = config.settings(), rows[:, : len(config.tags)], rows
        document: dict[str, Any]
        if config.by:
            value, texts = by[:, config.reads().index(config.by)], texts if config.reads_text() else {}
            follow = partial(Regimes, config.edges, config.after)
            named = {regime: texts.get(regime, regime) for regime in np.unique(value).tolist()}
            found, said = fitted(rows, value, starts, settings, follow, lambda r: shown(config.edges, named.get(r, r)))
            regimes = [[named.get(regime, regime), one.as_json()] for regime, one in found.items()]
            document = {"tags": list(config.tags), "by": [config.by, config.edges], "regimes": regimes}
            document |= {"rows": sum(one.rows for one in found.values()), "told": "\n".join(said)}
        elif config.method == "network":
            document = reconstruction.fit(rows, config.tags, settings, starts)
        else:
            document = {"tags": list(config.tags), **fit(rows, settings, starts).as_json()}
        told = [document.get("told", ""), *alone(rows, config.tags)]
        return document | {"told": "\n".join(filter(None, told))}

    def __call__(self, item: Any) -> Iterator[Any]:
        if isinstance(item, Event) and item.data.get("stage") == self.name:
            yield from self._now().ordered(item)
        if isinstance(item, Answer) and isinstance(item.value, Candidate):
            for watch in self._watches.values():
                yield from watch.relearned(item.value)
        if not isinstance(item, Batch):
            return
        ts, rows, worst = self._rows(item)
        if not len(ts):
            return
        score, alarm = np.full(len(ts), np.nan), np.full(len(ts), np.nan)
        good = (worst <= TRUSTED) & (np.abs(rows) < ABSURD).all(axis=1)  # what is no number would stay in every mean
        for watch, part in self._parts(ts, rows, np.flatnonzero(good)):
            if not isinstance(watch, Watch):
                yield watch
                continue
            score[part], alarm[part] = yield from watch(ts[part], rows[part, : len(self.config.tags)])
        quality = np.where(good & np.isnan(score), Quality.SUBSTITUTED, worst)
        value = np.column_stack([score, alarm]).ravel()
        tag = np.tile(np.array(self._out, np.int32), len(ts))
        yield Batch.of(self.name, tag, value, np.repeat(ts, 2), np.repeat(quality, 2), item.mono)

    def _now(self) -> Watch:
        """Of the regime in which it runs."""
        now = ONE if self._regimes is None else self._regimes.now
        return self._watch(now) if now is None or now not in self._watches else self._watches[now]

    def _parts(self, ts: np.ndarray, rows: np.ndarray, good: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
        """Which watch judges which of the good rows; an Event stands in the place of one that is told."""
        if self._regimes is None:
            if len(good):
                yield self._watches[ONE], good
            return
        before = self._regimes.now
        for regime, began, stretch, skipped in self._regimes(rows[good, self._by]):
            part = good[stretch]
            if began:
                for event in self._changed(before, regime, int(ts[part[0]])):
                    yield event, part[:0]
            before = regime
            if regime in self._watches and skipped < len(part):
                yield self._watches[regime], part[skipped:]

    def _changed(self, before: float | None, regime: float, ts: int) -> Iterator[Event]:
        if before in self._watches:
            yield from self._watches[before].left(
                ts, f"{self.name}: it runs at {self.config.by} {self._shown(regime)} now"
            )
        yield from self._met(regime, ts)

    def _met(self, regime: float, ts: int) -> Iterator[Event]:
        """A regime that nobody knows is said, and learned from."""
        if regime in self._watches:
            return
        if len(self._watches) < REGIMES:
            self._watches[regime] = watch = self._watch(regime)
            text = f"{watch.of.said}: nothing is known of that yet; it learns from {self.config.rows} rows and does not alarm"
            yield Event("model", self.name, "not_learned", ts, "low", text)
        elif not self._crowded:
            self._crowded = True
            text = (
                f"{self.name}: {self.config.by} has more than {REGIMES} values, and others are not judged; say `edges`"
            )
            yield Event("model", self.name, "not_learned", ts, "medium", text)

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

    def due(self) -> int | None:
        return None

    def snapshot(self) -> bytes | None:
        same: dict[str, Any] = {"tags": self.config.tags, "settings": asdict(self.config.settings())}
        if self._regimes is None:
            return json.dumps({**same, **self._watches[ONE].as_json()}).encode()
        most, now = KEPT // max(1, len(self._watches)), self._regimes.now
        same |= {"by": [self.config.by, self.config.edges], "now": now, "since": self._regimes.since}
        kept = [[regime, watch.as_json(regime == now, most)] for regime, watch in self._watches.items()]
        return json.dumps({**same, "regimes": kept}).encode()

    def restore(self, state: bytes) -> None:
        """Go on. Raises ValueError where tags, settings or regimes are others now, or for what is damaged; then nothing of it is
        used."""
        document, settings = json.loads(state), asdict(self.config.settings())
        if document["tags"] != self.config.tags:
            raise ValueError("it is of other tags")
        if document.get("settings", settings) != settings:
            raise ValueError("it was learned with other settings")
        if document.get("by", ["", []]) != [self.config.by, self.config.edges]:
            raise ValueError("it was learned by other regimes, or by none")
        watches, now = dict(self._watches), document.get("now")
        for regime, kept in document["regimes"] if self._regimes else [[ONE, document]]:
            if len(watches) < REGIMES or float(regime) in watches:
                watches[float(regime)] = watch = self._watch(float(regime))
                watch.resume(kept)
        if self._regimes and now is not None:
            self._regimes.go_on(float(now), int(document.get("since", self.config.after)))
        self._watches = watches


def load(path: Path, config: AnomalyConfig) -> tuple[dict[float | str, Baseline], Leftover | None]:
    """By regime, of a file that `lineside fit` wrote, and of the network beside it; blocks. Raises LinesideError."""

    def parsed(document: Any) -> tuple[dict[float | str, Baseline], Leftover | None]:
        try:
            if document.pop("tags") != config.tags:
                raise ValueError("it was fitted for other tags")
            if document.pop("by", ["", []]) != [config.by, config.edges]:
                raise ValueError("it was fitted by other regimes, or by none")
            of = document["regimes"] if config.by else [[ONE, document]]
            found = {at if isinstance(at, str) else float(at): Baseline.from_json(one) for at, one in of}
        except (KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"it is no baseline: {error}") from None
        if any(one.settings != config.settings() for one in found.values()):
            raise ValueError("it was fitted with other settings")
        if not 0 < len(found) <= REGIMES or any(len(one.mean) != len(config.tags) for one in found.values()):
            raise ValueError("a damaged baseline")
        if config.method != "network":
            return found, None
        return found, reconstruction.loaded(found[ONE], document.get("network"), path)

    return read(path, parsed)
