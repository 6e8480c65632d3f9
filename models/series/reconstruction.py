"""A network of `network` in int8: written, compared with what it was computed from, kept beside its baseline, and run.

What the network does not say again is judged as rows are by any other method: by a baseline of what was left over of normal rows,
each told by a network that had not learned from it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from edge import LinesideError, ModelRefused

from .. import proof
from ..engines.contract import Interpreter, bounded, choose
from .baseline import Baseline, Settings, scaled, standard
from .baseline import fit as fit_rows
from .network import Network, ends_of, folds, train, windows
from .scorer import Scorer

LOSES = 0.1  # of a tag's learned spread, by which int8 may differ from float (root mean square)
FINE = 1e-3  # of a tag's spread, to which float32 has to hold its mean
LOOKED_AT = 2048  # windows that give the ranges and are compared
VECTORS = 32  # rows that are told again before the network is trusted
STEPS = 4  # of the output, by which kernels may differ there
FEWEST = 20  # windows for each tag


class Leftover:
    """Rows float64[n, c] in their order; out what the network does not say again, in the unit of each tag. `off` float64[c] is
    taken from rows before they are float32: of a counter too large for that its mean, else 0."""

    def __init__(self, run: Interpreter, off: np.ndarray, step: np.ndarray, settings: Settings) -> None:
        self._run, self._off, self.step = run, off if off.any() else None, step
        self._before = np.empty((settings.window - 1, len(off)), np.float32)
        self._any = False

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        if not len(rows):
            return rows
        before = len(self._before)

        def fill(given: np.ndarray) -> None:
            given = given[0, :, 0, :]
            new = given[before:]
            if self._off is None:
                new[:] = rows
            else:
                np.subtract(rows, self._off, out=new, casting="same_kind")
            if not self._any:  # as if it had always been like the first row
                self._before[:], self._any = new[0], True
            given[:before] = self._before
            self._before[:] = given[len(rows) :]

        return np.asarray(self._run.filled((1, before + len(rows), 1, rows.shape[1]), fill)[0][0, :, 0, :])

    @property
    def state(self) -> list[list[float]] | None:
        """The rows that the next window begins with, for `go_on`; None before the first."""
        return self._before.tolist() if self._any else None

    def go_on(self, state: list[list[float]]) -> None:
        """Raises ValueError for rows of another network."""
        before = np.array(state, np.float32)
        if before.shape != self._before.shape or not np.isfinite(before).all():
            raise ValueError("rows of another network")
        self._before, self._any = before, True


def left(run: Interpreter, given: np.ndarray) -> np.ndarray:
    """float32[n, c]: what is left over of the rows [window - 1 + n, c] behind the first ones, as they go in (less `off`)."""
    return np.asarray(run(given[None, :, None, :])[0][0, :, 0, :])


def too_large(mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """`off` of a Leftover: the means that float32 would round by more than FINE of their spread, else 0."""
    return np.where(np.abs(mean) * 2.0**-24 > FINE * spread, mean, 0.0)


def written(
    network: Network, z: np.ndarray, ends: np.ndarray, clip: float, mean: np.ndarray, spread: np.ndarray
) -> bytes:
    """The network in int8, its ranges those of rows [n, c] of spread 1 up to some of `ends`. Rows go in with their own `mean` and
    `spread`; what it leaves over of them comes out. Raises LinesideError where there is no LiteRT."""
    try:
        from ..engines.int8 import Conv, Writer
    except ImportError as error:
        what = f"a network is written with LiteRT, and {error.name or 'it'} is not installed"
        hint = "pip install ai-edge-litert, or fit where it is; the two files run without it by tflite-runtime"
        raise LinesideError(what, hint=hint) from None
    c, writer = z.shape[1], Writer()
    given = writer.numbers((network.window, 1, c))
    at = writer.in_steps(writer.scaled(given, 1 / spread, -mean / spread), -clip, clip)
    out = network(windows(z, some(ends), network.window))
    for i, ((weight, bias), said) in enumerate(zip(network.layers, out[1:], strict=True)):
        high = network.window if i == 0 else 1
        kernel = weight.T.reshape(len(bias), high, 1, -1)
        span = float(said.min()), float(said.max())
        at = writer.conv(at, Conv(kernel, bias, 1, *span, network.bends(i), same=False))
    says = writer.scaled(writer.in_float(at), spread, np.zeros(c))
    newest = writer.scaled(given, np.ones(c), -mean, behind=network.window - 1)
    return writer.finish([given], [writer.less(newest, says)])


def some(ends: np.ndarray) -> np.ndarray:
    """LOOKED_AT of them at most, evenly."""
    return ends if len(ends) <= LOOKED_AT else ends[np.linspace(0, len(ends) - 1, LOOKED_AT).astype(int)]


def lost(
    network: Network, run: Interpreter, z: np.ndarray, ends: np.ndarray, mean: np.ndarray, spread: np.ndarray
) -> np.ndarray:
    """float64[c]: the root mean square of what int8 leaves over otherwise than float, in spreads of each tag; `mean` of what goes
    in."""
    given, at = windows(z * spread + mean, some(ends), network.window), some(ends)
    exact = z[at] - network(windows(z, at, network.window))[-1]
    shape = (1, network.window, 1, z.shape[1])
    off = np.array([run(one.reshape(shape))[0].ravel() for one in given]) / spread - exact
    return np.asarray(np.sqrt((off.astype(float) ** 2).mean(axis=0)))


@dataclass(frozen=True)
class Lesson:
    """What rows taught: `body` the .tflite, `kept` what a document says of it, `left` float64[m, c] what is left over of the rows
    with a whole window, each told by a network that had not learned from it, `starts` where one of those does not follow the one
    before, `step` float64[c] of what int8 says of each tag."""

    body: bytes
    kept: dict[str, Any]
    left: np.ndarray
    starts: tuple[int, ...]
    step: np.ndarray

    def baseline(self, settings: Settings) -> Baseline:
        return fit_rows(self.left, settings, self.starts, self.step)


def fit(rows: np.ndarray, tags: Sequence[str], settings: Settings, starts: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """As `teach`: the document, under "files" its .tflite, under "told" what a person should know."""
    lesson = teach(rows, tags, settings, starts)
    baseline = lesson.baseline(settings)
    alarmed = float(Scorer(baseline)(lesson.left)[1].mean())
    told = (
        f"int8 differs from float by {lesson.kept['lost']:.3f} of a tag's spread at most ({LOSES} are allowed); of these rows, "
        f"each told by a network that had not learned from it, {alarmed:.2%} would have been in alarm"
    )
    document = {"tags": list(tags), **baseline.as_json(), "network": lesson.kept}
    return document | {"files": {".tflite": lesson.body}, "told": told}


def teach(rows: np.ndarray, tags: Sequence[str], settings: Settings, starts: tuple[int, ...] = (0,)) -> Lesson:
    """Of rows [n, c] that are normal; `starts` as of `baseline.fit`. Takes seconds to a minute. Raises ValueError where there are
    too few or int8 loses too much, LinesideError where there is no LiteRT."""
    window, least = settings.window, FEWEST * len(tags)
    mean, spread = scaled(rows)
    z, off = standard(rows, mean, spread, settings.clip), too_large(mean, spread)
    plain = (rows - off).astype(np.float32)
    ends = ends_of(len(z), starts, window)
    if len(ends) < least:
        raise ValueError(f"{len(ends)} windows of {window} rows are too few for {len(tags)} tags; at least {least}")
    found = np.empty((len(ends), len(tags)))
    with tempfile.TemporaryDirectory() as folder:
        paths = (Path(folder) / f"{i}.tflite" for i in count())  # the engine maps its file
        engine = choose("tflite")

        def taught(of: np.ndarray) -> tuple[Network, bytes, Interpreter]:
            network, path = train(z, of, window, settings.code), next(paths)
            path.write_bytes(body := written(network, z, of, settings.clip, mean - off, spread))
            return network, body, engine.load(path)

        for part in folds(ends):
            found[np.searchsorted(ends, part)] = _left_at(taught(np.setdiff1d(ends, part))[2], plain, part, window)
        network, body, run = taught(ends)
        differs = lost(network, run, z, ends, mean - off, spread)
        given = plain[ends[len(ends) // 2] + 1 - window :][: window - 1 + VECTORS]
        (said,) = run(given[None, :, None, :])
    worst = int(differs.argmax())
    if not differs[worst] <= LOSES:  # also what is no number
        raise ValueError(
            f"int8 says {tags[worst]} otherwise than float by {differs[worst]:.2f} of its spread; {LOSES} are allowed. Leave that "
            "tag out, or use another method"
        )
    step = float(np.ptp(network(windows(z, some(ends), window))[-1])) / 255
    kept = {
        "sha256": hashlib.sha256(body).hexdigest(),
        "off": off.tolist(),
        "spread": spread.tolist(),
        "lost": round(float(differs[worst]), 4),
        "given": base64.b64encode(given.tobytes()).decode(),
        "said": base64.b64encode(said.tobytes()).decode(),
        "step": step,
    }
    return Lesson(body, kept, found, (0, *cuts(ends).tolist()), step * spread)


def cuts(ends: np.ndarray) -> np.ndarray:
    """Where one row does not follow the one before."""
    return np.flatnonzero(np.diff(ends) != 1) + 1


def _left_at(run: Interpreter, given: np.ndarray, ends: np.ndarray, window: int) -> np.ndarray:
    """What is left over at `ends`, stretch by stretch."""
    parts = np.split(ends, cuts(ends))
    return np.concatenate([left(run, given[part[0] + 1 - window : part[-1] + 1]) for part in parts])


def loaded(baseline: Baseline, kept: Any, path: Path, proved: bool = False) -> Leftover:
    """Of the "network" of a document `path` and the .tflite beside it, after both proved themselves here in a child (or were
    written by this process: `proved`); blocks. Raises ValueError for a damaged document, ModelRefused for a network that is not
    the one it names or does not say what it said."""
    try:
        off, spread, step = (np.array(kept[name], float) for name in ("off", "spread", "step"))
    except (KeyError, TypeError) as error:
        raise ValueError(f"it holds no network: {error}") from None
    sound = off.shape == spread.shape == baseline.mean.shape and np.isfinite(off).all() and np.isfinite(spread).all()
    if not (sound and (spread > 0).all() and step.shape == () and 0 < step < np.inf):
        raise ValueError("a damaged network")
    _same(kept, path.with_suffix(".tflite"), path)
    if not proved:
        proof.in_child("models.series.reconstruction", path)
    run = interpreter(kept, baseline.settings.window, path)
    return Leftover(run, off, float(step) * spread, baseline.settings)


def _same(kept: Mapping[str, Any], weights: Path, path: Path) -> None:
    if hashlib.sha256(bounded(weights).read_bytes()).hexdigest() != kept.get("sha256"):
        raise ModelRefused(f"{weights.name} is not the file that {path.name} names", hint="fit it anew, or copy both")


def interpreter(kept: Mapping[str, Any], window: int, path: Path) -> Interpreter:
    """Of the .tflite beside the document `path`. Raises ModelRefused."""
    weights = path.with_suffix(".tflite")
    run = choose("tflite").load(weights)
    c = len(kept["off"])
    if [run.inputs[0].shape, run.outputs[0].shape] != [(1, window, 1, c), (1, 1, 1, c)]:
        raise ModelRefused(f"{weights.name} is no network for {c} tags and windows of {window}")
    return run


def prove(path: Path) -> None:
    """Let the network of the document `path` say again what it said where it was fitted. Raises ModelRefused."""
    document = json.loads(path.read_text(encoding="utf-8"))
    kept = document["network"]
    run = interpreter(kept, int(document["settings"]["window"]), path)
    given, said = (np.frombuffer(base64.b64decode(kept[name]), np.float32) for name in ("given", "said"))
    got = run(given.reshape(1, -1, 1, len(kept["off"])))[0].ravel()
    steps = kept["step"] * np.array(kept["spread"])
    fits = got.shape == said.shape and len(got)
    far = (np.abs(got - said).reshape(-1, len(steps)) / steps).max() if fits else np.inf
    if not far <= STEPS:  # also what is no number
        raise ModelRefused(
            f"its network is off by {far:.3g} steps of what it said when it was fitted, {STEPS} are allowed"
        )


if __name__ == "__main__":
    sys.exit(proof.here(prove))
