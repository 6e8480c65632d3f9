"""The stage `vibration`: a fast signal becomes a few slow tags that say how a machine runs."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, field_validator, model_validator

from edge import TRUSTED, Batch, ConfigFault, Identifier, Job, Point, Quality, Setting, StageConfig

from .baseline import ABSURD
from .diagnosis import Diagnosis, fit
from .document import RUNS, read
from .fast import Bearing, bands, envelope, prominence, waveform, whitened

FAULTS = ("outer", "inner", "ball", "cage")
WAVEFORM = ("rms", "peak", "crest", "kurtosis")
UNUSED = (
    "peak",
    "cage",
    "fault",
    "dropped",
)  # of the points, to tell faults apart: said by others, or too slow for most blocks
LEAST = -7.0  # logarithm of a band's share of the rms that is told from less
INLINE = (
    32_768  # samples of a block, above which its spectra are a job for the pool: they would hold up all other stages
)
WORTH = 10  # seconds of a block, from which on it is kept over a restart
MOST = 65_536  # samples of one that is
UNEVEN = 0.2  # of a period by which a sample may come early or late within a block
Edges = tuple[float, float]


class BearingConfig(BaseModel):
    """Geometry, from the maker's sheet."""

    model_config = {"extra": "forbid", "frozen": True, "allow_inf_nan": False}
    balls: int = Field(ge=3, le=200, description="number of rolling elements")
    ratio: float = Field(gt=0, lt=1, description="their diameter over that of the circle of their centres")
    angle: float = Field(0, ge=0, lt=90, description="angle of contact, degrees")


class VibrationConfig(StageConfig):
    """One fast signal, and what is to be known of it."""

    tag: str = Field(description="the fast signal")
    rate: float = Field(gt=0, le=1e6, description="samples a second")
    block: int = Field(4096, ge=64, le=1_000_000, description="samples that are judged together")
    unit: str = Field("", description="unit of the signal, as shown to people")
    bands: dict[Identifier, Edges] = Field(
        default_factory=dict, description="the rms between two frequencies in Hz, by name"
    )
    bearing: BearingConfig | None = Field(None, description="rolling bearing whose damage is looked for")
    speed: float | str | None = Field(None, description="turns a minute, or the tag that says them")
    envelope: Edges | None = Field(
        None, description="Hz, in which a bearing's damage rings (upper three quarters of what the rate can say)"
    )
    whiten: bool = Field(
        False, description="take tones and resonances out of the envelope; for blocks of a second and more"
    )
    faults: list[Identifier] = Field(
        default_factory=list,
        max_length=32,
        description="kinds of states that recordings were made of, as `healthy`, `outer`",
    )
    learned: str = Field(
        "", description="file beside the site, written by `lineside fit` (NAME.json), if there are `faults`"
    )

    @field_validator("faults")
    @classmethod
    def _several(cls, faults: list[str]) -> list[str]:
        if faults and (len(faults) < 2 or len(set(faults)) < len(faults)):
            raise ValueError("takes two states or more, each once; `healthy` is one")
        return faults

    @field_validator("bands")
    @classmethod
    def _named(cls, given: dict[str, Edges]) -> dict[str, Edges]:
        if taken := [name for name in given if name in (*WAVEFORM, *FAULTS, "fault", "dropped")]:
            raise ValueError(f"{taken[0]!r} is a tag that the stage makes itself; call the band otherwise")
        return given

    @model_validator(mode="after")
    def _makes_sense(self) -> VibrationConfig:
        half = self.rate / 2
        named = {**self.bands, **({"envelope": self.envelope} if self.envelope else {})}
        for name, (low, high) in named.items():
            if not 0 <= low < high <= half:
                raise ValueError(f"{name}: [{low:g}, {high:g}] is no band below half of the rate, {half:g} Hz")
            if high - low < 2 * self.rate / self.block:
                raise ValueError(
                    f"{name}: lines of a block lie {self.rate / self.block:g} Hz apart; the band holds none"
                )
        if (self.bearing is None) != (self.speed is None):
            raise ValueError("`bearing` and `speed` belong together: its frequencies follow from both")
        if isinstance(self.speed, float | int) and self.speed <= 0:
            raise ValueError("speed: a shaft that stands shows no damage; give turns a minute above 0")
        return self

    def points(self) -> dict[str, Any]:
        level = {name: Point(unit=self.unit) for name in ("rms", "peak", *self.bands)}
        faults = {name: Point(unit="dB") for name in FAULTS} if self.bearing else {}
        known = dict(enumerate(self.faults))
        told = {"fault": Point(labels=known)} if known else {}
        return {**level, "crest": Point(), "kurtosis": Point(), **faults, **told, "dropped": Point()}

    def features(self) -> list[str]:
        """The points that tell one fault from another."""
        return [name for name in self.points() if name not in UNUSED]

    def reads(self) -> tuple[str, ...]:
        return (self.tag, self.speed) if isinstance(self.speed, str) else (self.tag,)


class Vibration:
    """Batches in; for each full block of good, evenly spaced samples one value of each tag, at the time of its last sample. A
    sample that is lost, late or bad begins a new block: what was gathered is dropped, and counted in `dropped`."""

    Config = VibrationConfig

    def __init__(self, config: VibrationConfig, setting: Setting) -> None:
        self.config, self.name, self.dropped = config, setting.name, 0
        self.inputs = frozenset(config.reads())
        for tag in config.reads():
            if tag not in setting.table:
                raise ConfigFault(f"{setting.name}: no tag is called {tag!r}", hint="tags are called source.name")
        self._tag = setting.table[config.tag].id
        self._speed_tag = setting.table[config.speed].id if isinstance(config.speed, str) else None
        self._speed = np.nan if config.speed is None or self._speed_tag is not None else float(config.speed)
        self._names = list(config.points())
        self.outputs = frozenset(f"{setting.name}.{name}" for name in self._names)
        self._out = np.array([setting.table[f"{setting.name}.{name}"].id for name in self._names], np.int32)
        given = config.bearing
        self._bearing = Bearing(given.balls, given.ratio, given.angle) if given else None
        self._diagnosis = _diagnosis(config, setting) if config.faults else None
        self._parts: list[np.ndarray] = []  # even and good samples, fewer than a block
        self._n, self._last = 0, 0

    @classmethod
    def columns(cls, config: VibrationConfig, name: str) -> list[str]:
        """Of a file of `lineside fit`: the tags that the stage made of the recording."""
        return [f"{name}.{feature}" for feature in config.features()]

    @classmethod
    def fit_runs(cls, config: VibrationConfig, runs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """A document for `learned` from recordings float64[n, columns] by file name, which begins with what it is of. Raises
        ValueError."""
        if not config.faults:
            raise ValueError("the stage names no `faults`")
        said = {name: re.split(r"[-.]", name)[0] for name in runs}
        for name, label in said.items():
            if label not in config.faults:
                raise ValueError(
                    f"{name} begins with none of the `faults` {', '.join(config.faults)}, as in outer-1.csv"
                )
        if missing := [fault for fault in config.faults if fault not in said.values()]:
            raise ValueError(f"no recording of {', '.join(missing)}")
        rows = np.vstack([_scaled(run, config.features()) for run in runs.values()])
        labels = [label for name, label in said.items() for _ in runs[name]]
        return {"features": config.features(), **fit(rows, labels).as_json()}

    def __call__(self, item: Any) -> Iterator[Batch | Job]:
        if not isinstance(item, Batch):
            return
        if self._speed_tag is not None:
            self._follow(item)
        mine = item.tag == self._tag
        if mine.any():
            yield from self._gather(item.ts[mine], item.value[mine], item.quality[mine], item.mono)

    def _follow(self, batch: Batch) -> None:
        said = np.flatnonzero(batch.tag == self._speed_tag)
        if len(said):
            good = batch.quality[said[-1]] <= TRUSTED
            self._speed = float(batch.value[said[-1]]) if good else np.nan

    def _gather(self, ts: np.ndarray, value: np.ndarray, quality: np.ndarray, mono: int) -> Iterator[Batch | Job]:
        period, dropped = 1e9 / self.config.rate, self.dropped
        good = (quality <= TRUSTED) & (np.abs(value) < ABSURD)
        first = self._last if self._n else int(ts[0] - period)
        even = np.abs(np.diff(ts, prepend=first) - period) <= max(UNEVEN * period, 1.0)
        begins = ~(even & good)
        begins[1:] |= ~good[:-1]
        edges = np.flatnonzero(begins)
        for start, end in pairwise([0, *edges[edges > 0], len(ts)]):
            if begins[start]:
                self.dropped += self._n
                self._parts, self._n = [], 0
            if good[start]:
                yield from self._add(ts[start:end], value[start:end], mono)
            else:
                self.dropped += end - start
        self._last = int(ts[-1])
        if self.dropped > dropped:
            yield Batch.of(self.name, self._out[-1:], [self.dropped], int(ts[-1]), mono=mono)

    def _add(self, ts: np.ndarray, value: np.ndarray, mono: int) -> Iterator[Batch | Job]:
        """Even, good samples that follow those gathered."""
        self._parts.append(value)
        self._n += len(value)
        if self._n < self.config.block:
            return
        x, size = np.concatenate(self._parts), self.config.block
        blocks = len(x) // size
        for k in range(1, blocks + 1):
            told = x[(k - 1) * size : k * size], int(ts[k * size - 1 - len(x)]), mono, self.dropped, self._speed
            yield Job(partial(self._all_judged, *told), name=self.name) if size > INLINE else self._judged(*told)
        self._parts, self._n = [x[blocks * size :].copy()], len(x) - blocks * size

    def _all_judged(self, *told: Any) -> list[Batch]:
        """On a thread of the pool."""
        return [self._judged(*told)]

    def _judged(self, x: np.ndarray, ts: int, mono: int, dropped: int, speed: float) -> Batch:
        """Reads nothing that the next block changes."""
        rate = self.config.rate
        told: dict[str, Any] = {"dropped": dropped, **waveform(x), **bands(x, rate, self.config.bands)}
        if self._bearing:
            told |= self._damage(self._bearing, x, speed)
        if self._diagnosis:
            told["fault"] = self._fault(self._diagnosis, told)
        value = np.array([float(told[name]) for name in self._names])
        quality = np.where(np.isfinite(value), Quality.GOOD, Quality.SUBSTITUTED)
        return Batch.of(self.name, self._out, value, ts, quality, mono)

    def _damage(self, bearing: Bearing, x: np.ndarray, speed: float) -> dict[str, float]:
        if not (np.isfinite(speed) and speed > 0):
            return dict.fromkeys(FAULTS, np.nan)
        rate = self.config.rate
        asked = [bearing.frequencies(speed / 60)[name] for name in FAULTS]
        whiten = self.config.whiten
        amplitude = envelope(whitened(x) if whiten else x, rate, self.config.envelope or (rate / 8, rate / 2))
        heights = prominence(amplitude**2 if whiten else amplitude, rate, asked)
        return dict(zip(FAULTS, heights.tolist(), strict=True))

    def _fault(self, diagnosis: Diagnosis, told: Mapping[str, Any]) -> float:
        """The likeliest of `faults`; NaN where a feature is not known, or the block is like none that was learned."""
        features = self.config.features()
        row = _scaled(np.array([[float(told[name]) for name in features]]), features)
        if not (np.isfinite(row).all() and diagnosis.known(row)[0]):
            return float("nan")
        return float(self.config.faults.index(diagnosis.labels[int(diagnosis(row)[0].argmax())]))

    def due(self) -> int | None:
        return None

    def snapshot(self) -> bytes | None:
        """The samples of a block that takes long to gather."""
        size = self.config.block
        if size < WORTH * self.config.rate or size > MOST:
            return None
        file, samples = io.BytesIO(), np.concatenate([np.empty(0), *self._parts])
        np.savez(file, of=np.array(self._same()), last=np.array(self._last), samples=samples)
        return file.getvalue()

    def restore(self, state: bytes) -> None:
        """Go on with the block, which ends like any other where the next sample does not follow. Raises ValueError where tag, rate
        or block are others now, and for what is damaged."""
        with np.load(io.BytesIO(state), allow_pickle=False) as file:
            of, last, samples = str(file["of"]), int(file["last"]), file["samples"]
        if of != self._same():
            raise ValueError(f"it is of {of}, not of {self._same()}")
        if samples.ndim != 1 or len(samples) >= self.config.block or not np.isfinite(samples).all():
            raise ValueError("a damaged block")
        self._parts, self._n, self._last = [samples], len(samples), last

    def _same(self) -> str:
        return f"{self.config.tag} in blocks of {self.config.block} at {self.config.rate:g} Hz"


def _scaled(rows: np.ndarray, features: Sequence[str]) -> np.ndarray:
    """Levels by their logarithm, bands by that of their share of the first one, the rms; dB are that already."""
    level = np.array([name not in FAULTS for name in features])
    band = np.array([name not in (*FAULTS, *WAVEFORM) for name in features])
    rows = np.where(level, np.log(np.maximum(rows, 1e-12)), rows)
    return np.where(band, np.maximum(rows - rows[:, :1], LEAST), rows)


def _diagnosis(config: VibrationConfig, setting: Setting) -> Diagnosis:
    """What was fitted for these options. Raises LinesideError."""

    def parsed(document: Any) -> Diagnosis:
        found = Diagnosis.from_json(document)
        if document.get("features") != config.features() or set(found.labels) != set(config.faults):
            raise ValueError("it was fitted for other `faults`, `bands` or another `bearing`")
        if len(found.mean) != len(config.features()):
            raise ValueError("a damaged diagnosis")
        return found

    return read(setting.folder / (config.learned or f"{setting.name}.json"), parsed, RUNS)
