"""What normal looks like: learned from rows without labels, kept as a small document.

Rows are z-scored and clipped, and averaged over a window. What is left of them above a slowly adapting centre is measured by one
linear map and a norm, so that one scorer serves four methods:

- `mahalanobis`: all tags together, whitened by their correlation (P. C. Mahalanobis, 1936), shrunk towards independence;
- `pca`: the leading components and the residual, each over its own limit, added (the combined index of Yue and Qin, 2001);
- `ewma`: each tag by itself; the farthest one counts (a control chart for each tag);
- `network`: as `mahalanobis`, of rows that are what a network left over (`reconstruction`).

A tag whose neighbouring rows are much closer than its rows at large (von Neumann's ratio, 1941) wanders: its centre follows
faster, so that it is judged by its changes. The same adaptation runs over the learned rows, so that the spread each tag shows
around its own moving centre is what it is measured by later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

Method = Literal["mahalanobis", "pca", "ewma", "network"]
WHITENED = ("mahalanobis", "network")
ABSURD = 1e30  # no machine says that: a float32 without a reading may be 3.4e38
STEP = 8  # rows between two steps of the centre
WANDERS = 0.25  # von Neumann's ratio below which a tag wanders; 1 is noise without memory
FASTER = 4.0  # how much faster the centre of such a tag follows
OUTSIDE = 4.0  # learned rows that may lie beyond the limit's quantile, however many there are
GUESS = 1.8  # times sqrt(tags): where that quantile lies of tags that are normal and of which nobody knows more
EVEN = 400  # learned rows from which on the quantile that they show weighs more than that guess
SPREADS = (0.75, 1.0, 1.5)  # windows, by the span


@dataclass(frozen=True)
class Settings:
    """`span`: rows of the middle window; `clip` in standard deviations; `adapt`: rows in which the centre follows (0: never);
    `share`: of the variance that the components of `pca` carry; `hold`: share of an alarm's own way out below which it ends;
    `window`: rows that a `network` sees, `code`: numbers in its middle."""

    method: Method = "mahalanobis"
    span: float = 17.0
    clip: float = 8.0
    shrink: float = 0.1
    adapt: float = 400.0
    factor: float = 1.5
    hold: float = 0.2
    share: float = 0.9
    window: int = 16
    code: int = 2


@dataclass(frozen=True)
class Window:
    """Fitted for one length: `scale` float64[c], `map` float64[c, k] (a deviation's way to what is measured), `limit` of its
    norm, `centre` float64[c] where the adaptation stood."""

    rows: int
    scale: np.ndarray
    map: np.ndarray
    limit: float
    centre: np.ndarray


@dataclass(frozen=True)
class Baseline:
    """Fitted: `mean`, `spread` float64[c]; `pace` float64[c], the share of its way that each centre goes in a step."""

    mean: np.ndarray
    spread: np.ndarray
    pace: np.ndarray
    windows: tuple[Window, ...]
    rows: int
    settings: Settings

    def at(self, mean: np.ndarray) -> Baseline:
        """The same spreads and limits round another mean float64[c], on which each centre stands."""
        windows = tuple(replace(window, centre=np.zeros(len(mean))) for window in self.windows)
        return replace(self, mean=mean, windows=windows)

    def as_json(self) -> dict[str, Any]:
        windows = [
            {
                "rows": w.rows,
                "scale": w.scale.tolist(),
                "map": w.map.tolist(),
                "limit": w.limit,
                "centre": w.centre.tolist(),
            }
            for w in self.windows
        ]
        kept = {"mean": self.mean.tolist(), "spread": self.spread.tolist(), "pace": self.pace.tolist()}
        return {"version": 2, "rows": self.rows, "settings": asdict(self.settings), **kept, "windows": windows}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Baseline:
        """Raises ValueError for anything that is no baseline of this version."""
        try:
            if document["version"] != 2:
                raise ValueError(f"version {document['version']} is not known here")
            mean, spread, pace = (np.array(document[k], float) for k in ("mean", "spread", "pace"))
            windows = tuple(
                Window(
                    int(w["rows"]),
                    np.array(w["scale"], float),
                    np.array(w["map"], float),
                    float(w["limit"]),
                    np.array(w["centre"], float),
                )
                for w in document["windows"]
            )
            found = cls(mean, spread, pace, windows, int(document["rows"]), Settings(**document["settings"]))
            whole = found.whole()
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"no baseline: {error}") from None
        if not whole:
            raise ValueError("a damaged baseline")
        return found

    def whole(self) -> bool:
        """Whether shapes fit and nothing is out of all bounds."""
        c = len(self.mean)
        rows = [self.mean, self.spread, self.pace, *(x for w in self.windows for x in (w.scale, w.centre))]
        fits = all(x.shape == (c,) and np.isfinite(x).all() for x in rows)
        fits = fits and all(w.map.ndim == 2 and len(w.map) == c and np.isfinite(w.map).all() for w in self.windows)
        sound = all(np.isfinite(w.limit) and w.limit > 0 and (w.scale > 0).all() for w in self.windows)
        sound = sound and tuple(w.rows for w in self.windows) == windows_of(self.settings)
        follows = fits and bool((self.spread > 0).all() and (self.pace >= 0).all() and (self.pace <= 1).all())
        return bool(c and sound and follows)


def fit(
    rows: np.ndarray, settings: Settings, starts: tuple[int, ...] = (0,), step: np.ndarray | float = 0.0
) -> Baseline:
    """Learn from rows [n, c] that are normal; `starts` are where a stretch without a gap begins, `step` is what the
    numbers of each tag are rounded to. Raises ValueError when there are too few, or none that moves."""
    n, c = rows.shape
    if n < 10 * c:
        raise ValueError(f"{n} rows are too few for {c} tags; at least {10 * c}")
    longest = windows_of(settings)[-1]
    if n < 4 * longest:
        raise ValueError(f"{n} rows are too few for windows of {longest}; at least {4 * longest}")
    mean, scale = scaled(rows)
    spread, scale = rows.std(axis=0), np.maximum(scale, step)
    z = standard(rows, mean, scale, settings.clip)
    wanders = np.diff(rows, axis=0).var(axis=0) / 2 < WANDERS * np.maximum(spread**2, 1e-12)
    slow = STEP / settings.adapt if settings.adapt else 0.0
    pace = np.minimum(np.where(wanders & (spread > 0), FASTER * slow, slow), 1.0)
    least = np.maximum(step / scale, 1e-3)  # windows of a still tag move by 1/1000 of its spread
    windows = tuple(_window(z, w, pace, wanders, settings, starts, least) for w in windows_of(settings))
    return Baseline(mean, scale, pace, windows, n, settings)


def scaled(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, spread) float64[c] of rows [n, c]. Raises ValueError where none moves."""
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    if not (spread > 0).any():
        raise ValueError("nothing moves in these rows")
    return mean, np.where(spread > 0, spread, np.maximum(np.abs(mean) * 0.01, 1e-6))  # a still tag may move by 1 %


def windows_of(settings: Settings) -> tuple[int, ...]:
    """Rows of the short, the middle and the long window."""
    return tuple(max(1, round(settings.span * k)) for k in SPREADS)


def standard(rows: np.ndarray, mean: np.ndarray, spread: np.ndarray, clip: float) -> np.ndarray:
    """Clipped z-scores [n, c]."""
    z = (rows - mean) / spread
    return np.clip(z, -clip, clip, out=z)


def averaged(z: np.ndarray, rows: int, before: np.ndarray) -> np.ndarray:
    """The mean of each row [n, c] and the `rows` - 1 before it; `before` [m, c] are those that came earlier."""
    before = before[max(0, len(before) - rows + 1) :]
    total = np.zeros((len(before) + len(z) + 1, z.shape[1]))
    np.cumsum(np.concatenate([before, z]), axis=0, out=total[1:])
    end = np.arange(len(before) + 1, len(total))
    begin = np.maximum(end - rows, 0)
    return (total[end] - total[begin]) / (end - begin)[:, None]


def _window(
    z: np.ndarray,
    rows: int,
    pace: np.ndarray,
    wanders: np.ndarray,
    settings: Settings,
    starts: tuple[int, ...],
    least: np.ndarray,
) -> Window:
    left = []
    centre = np.zeros(z.shape[1])
    for begin, end in zip(starts, (*starts[1:], len(z)), strict=True):
        if end - begin > 2 * rows:
            smooth = averaged(z[begin:end], rows, z[:0])
            centre = np.where(wanders, smooth[rows], 0.0) if settings.adapt else centre
            for at in range(0, len(smooth), STEP):
                step = smooth[at : at + STEP]
                left.append((step - centre)[max(0, rows - at) :])
                if at >= rows:
                    centre = centre + pace * (step.mean(axis=0) - centre)
    if not left:
        raise ValueError(f"no stretch without a gap is longer than {2 * rows} rows")
    deviation = np.concatenate(left)
    scale = np.maximum(np.sqrt((deviation**2).mean(axis=0)), least)
    unit = deviation / scale
    correlation = (1 - settings.shrink) * (unit.T @ unit / len(unit)) + settings.shrink * np.eye(len(scale))
    way = _map(unit, correlation, settings)
    far = distance(unit @ way, settings.method)
    typical = np.sqrt(z.shape[1]) if settings.method in WHITENED else float(np.sqrt(np.mean(far**2)))
    high = np.quantile(far, max(0.5, 1 - OUTSIDE / len(z)))
    trust = len(z) / (len(z) + EVEN)
    return Window(rows, scale, way, float(settings.factor * high**trust * (GUESS * typical) ** (1 - trust)), centre)


def _map(unit: np.ndarray, correlation: np.ndarray, settings: Settings) -> np.ndarray:
    if settings.method == "ewma":
        return np.eye(len(correlation))
    if settings.method in WHITENED:
        return np.asarray(np.linalg.cholesky(np.linalg.inv(correlation)))
    variance, component = np.linalg.eigh(correlation)
    variance, component = variance[::-1], component[:, ::-1]
    kept = int(np.searchsorted(np.cumsum(variance) / variance.sum(), settings.share)) + 1
    leading, rest = component[:, :kept] / np.sqrt(variance[:kept]), component[:, kept:]
    t2 = np.quantile((unit @ leading) ** 2 @ np.ones(kept), 0.99)
    if not rest.shape[1]:
        return np.asarray(leading / np.sqrt(t2))
    q = max(float(np.quantile(((unit @ rest) ** 2).sum(axis=1), 0.99)), 1e-9)
    return np.hstack([leading / np.sqrt(t2), rest / np.sqrt(q)])


def distance(way: np.ndarray, method: Method) -> np.ndarray:
    """[n] of mapped deviations [n, k]."""
    if method == "ewma":
        return np.asarray(np.abs(way).max(axis=1))
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", way, way)))
