"""The stage `inspect`: a network judges each picture of a camera, on the pool."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from edge import (
    Answer,
    ConfigFault,
    Event,
    Frame,
    Job,
    ModelRefused,
    NewModel,
    Period,
    Setting,
    StageConfig,
    Write,
    model_home,
)

from ..package import find, load
from . import parity
from .exchange import Exchange, Seen, Shadowed
from .judging import encoded
from .network import Network
from .verdict import Verdict, results, unjudged

UPDATES = "updates:"  # a model that updates bring, by its name
LAST = 2**63  # a deadline after every other, also after none
ROOM = 0.9  # of a deadline that a picture may take here


class InspectConfig(StageConfig):
    """One camera, one model package."""

    camera: str = Field(description="name of the driver whose pictures are judged")
    model: str = Field(
        description="model package: a folder beside the site, the name of a shipped one, or `updates:NAME` for the one that "
        "updates bring"
    )
    keep: Literal["all", "ng", "none"] = Field("all", description="whose pictures are kept")
    ng_above: float | None = Field(None, gt=0, lt=1, description="in place of the package's own")
    ok_below: float | None = Field(None, gt=0, lt=1, description="in place of the package's own")
    deadline: Period | None = Field(None, description="a verdict later than this after the picture is of no use")
    trial: Period = Field(
        600.0,
        description="how long a new version from updates has to do no worse than the one before, which then comes back",
    )
    drift: float = Field(
        0.1, ge=0, le=1, description="by which a share of verdicts may differ on trial, beyond what chance explains"
    )
    shadow: float = Field(
        0.1,
        gt=0,
        le=1,
        description="share of one thread's time that a version in shadow may take; other parts it passes over",
    )
    ng: dict[str, float] = Field(default_factory=dict, description="tags written when a part is NG or cannot be judged")
    ok: dict[str, float] = Field(default_factory=dict, description="tags written when a part is OK")

    def reads(self) -> tuple[str, ...]:
        return (self.camera,)

    def orders(self) -> dict[str, dict[str, float]]:
        return {"ng": self.ng, "ok": self.ok}


class Inspect:
    """Frames in, one inspection event each out. `model` is the name of a model that updates bring, if it is one: then others are
    taken as `NewModel`s, between two pictures."""

    Config = InspectConfig

    def __init__(self, config: InspectConfig, setting: Setting) -> None:
        self.config, self.name = config, setting.name
        self.inputs = frozenset({config.camera})
        self.outputs = frozenset({f"event:inspection {setting.name}"})
        for tag in (*config.ng, *config.ok):
            if tag not in setting.table:
                raise ConfigFault(f"{setting.name}: no tag is called {tag!r}")
        self._writes = {
            state: [(setting.table[tag].id, value) for tag, value in orders.items()]
            for state, orders in (("ng", config.ng), ("ok", config.ok), ("recheck", config.ng))
        }
        self.model = config.model.removeprefix(UPDATES) if config.model.startswith(UPDATES) else ""
        place = model_home(setting.state, self.model) / "current" if self.model else find(config.model, setting.folder)
        first = self._network(place.resolve()) if not self.model or place.exists() else None
        self._exchange = Exchange(self.name, self.model, first, config.trial, config.drift, config.shadow)

    def _network(self, folder: Path) -> Network:
        return Network(load(folder), self.name, self.config.model, self.config.ng_above, self.config.ok_below)

    def prepared(self, folder: Path) -> Network:
        """Another version, proved here and fast enough. Blocks; on any thread. Raises ModelRefused, ConfigFault."""
        parity.told(folder)
        network, deadline = self._network(folder), self.config.deadline
        room = ROOM * 1e3 * (deadline or np.inf)
        if (took := network.measure()) > room and (took := network.measure()) > room:  # something else may have run
            words = f"{network.known.rpartition(' ')[0]} takes {took:.1f} ms a picture here at p95"
            raise ModelRefused(f"{words}; the deadline of {self.name} is {deadline * 1e3:g} ms" if deadline else words)
        return network

    def __call__(self, item: Any) -> Iterator[Any]:
        if isinstance(item, Frame):
            yield self._job(item.hold())
        elif isinstance(item, Answer) and isinstance(item.value, NewModel):
            yield from self._exchange.told(item.value, item.mono)
        elif isinstance(item, Answer) and isinstance(item.value, Seen):
            yield from self._exchange.seen(item.value, item.mono)
            yield from self._shadow(item.value)
        elif isinstance(item, Answer):
            yield from self._exchange.shadowed(item.value, item.mono)

    def due(self) -> int | None:
        return None

    def snapshot(self) -> bytes | None:
        return self._exchange.snapshot() if self.model else None

    def restore(self, state: bytes) -> None:
        self._exchange.restore(state)

    def _job(self, frame: Frame) -> Job:
        """Who judges is settled as the picture comes: a switch is between two of them."""
        judges, fallback = self._exchange.judges, self._exchange.fallback
        asked = self._exchange.looks(frame.mono)
        deadline = frame.mono + round(self.config.deadline * 1e9) if self.config.deadline and frame.mono else 0
        judge = partial(self._judge, frame, judges, fallback, asked)
        return Job(judge, partial(self._late, frame, judges, asked), deadline, self.name)

    def _late(self, frame: Frame, judges: Network | None, asked: bool) -> list[Any]:
        try:
            late = unjudged(self.name, frame.source, frame.seq, frame.part, frame.ts, "no time left to judge it")
            return [*self._orders("recheck"), late, *self._told(Seen(judges, "late", asked=asked))]
        finally:
            frame.release()

    def _told(self, seen: Seen) -> list[Any]:
        return [Answer(seen)] if self.model else []

    def _orders(self, state: str) -> list[Write]:
        return [Write(tag, value, cause=self.name) for tag, value in self._writes[state]]

    def _judge(self, frame: Frame, judges: Network | None, fallback: Network | None, asked: bool) -> list[Any]:
        """On a pool thread. Gives the frame back whatever happens."""
        fault, by = "", judges
        try:
            if judges is None:
                raise ModelRefused(f"no model {self.model} has come yet")
            try:
                verdict = judges(frame.image)
            except Exception as error:
                if fallback is None:
                    raise
                verdict, by = fallback(frame.image), fallback  # raises, too, where it is the picture
                fault = f"it cannot judge a part that the one before can: {type(error).__name__}: {error}"
            assert by is not None
            took = (time.monotonic_ns() - frame.mono) / 1e6 if frame.mono else 0.0
            wanted = self.config.keep == "all" or (self.config.keep == "ng" and verdict.state != "ok")
            *pictures, record = results(self.name, frame, verdict, took, frame.image if wanted else None, by.known)
            image = frame.image.copy() if asked else None
            seen = Seen(judges, verdict.state, verdict.score, fault, asked, image, record)
            return [*self._orders(verdict.state), *pictures, record, *self._told(seen)]
        except Exception as error:  # the engines' errors share no base, and no part is without a verdict
            why: Event = unjudged(
                self.name, frame.source, frame.seq, frame.part, frame.ts, f"cannot be judged: {error}"
            )
            return [*self._orders("recheck"), why, *self._told(Seen(judges, "recheck", asked=asked))]
        finally:
            frame.release()

    # The shadow

    def _shadow(self, seen: Seen) -> Iterator[Job]:
        """The same picture for the one in shadow, when every other job of the pool has had its turn."""
        shadow = self._exchange.shadow
        if shadow is None or not seen.asked:
            return
        if seen.image is None or seen.record is None:
            self._exchange.missed()
            return
        judges = shadow.order.judges
        given_up = lambda: [Answer(Shadowed(judges))]  # noqa: E731
        yield Job(partial(self._beside, judges, seen.image, seen.record), given_up, LAST, f"{self.name} shadow")

    def _beside(self, judges: Network, image: np.ndarray, record: Event) -> list[Any]:
        """On a pool thread. Where the two differ the picture is kept, and an event says so."""
        began, fault = time.perf_counter(), ""
        try:
            found = judges(image)
        except Exception as error:
            found, fault = Verdict("recheck", 1.0), f"{type(error).__name__}: {error}"
        took = (time.perf_counter() - began) * 1e3
        if found.state == record.state:
            return [Answer(Shadowed(judges, True, took, fault))]
        picture = encoded(image) if self.config.keep != "none" else None
        data = {name: record.data.get(name) for name in ("part", "source", "frame")}
        data |= {"model": judges.known, "took_ms": round(took, 3)}
        data["findings"] = {"model": [record.state, found.state, round(float(found.score), 4)]}
        text = f"model: {record.state}, the shadow {found.state}" + (
            f": {fault or found.text}" if fault or found.text else ""
        )
        refs = (picture.digest,) if picture else record.refs
        told = Event("shadow", self.name, "differs", record.ts, "info", text, data, refs)
        return [*([picture] if picture else []), told, Answer(Shadowed(judges, False, took, fault))]
