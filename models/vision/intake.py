"""A file of others at work in a child process, since it may crash or hang what loads it.

`look` says what it takes and gives; `judge` runs a draft package on pictures, keeps its golden vectors and measures it. One JSON
object on standard output, or why not (status 1).
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge import LinesideError

from ..engines.contract import choose
from ..package import Classify, Package, describe
from . import trial
from .detect import one_thread
from .good_parts import ENDINGS, picture
from .network import prepare

MOST_PICTURES = 200
TRIES = 5  # runs that are timed at least
HOPELESS = 5  # takts for a first run, after which no more are tried
MADE = 3  # pictures that are drawn where nobody gave any


def look(path: Path, engine: str) -> dict[str, Any]:
    run = choose(engine).load(path)
    return {
        side: [
            {
                "name": s.name,
                "shape": s.shape,
                "dtype": np.dtype(s.dtype).name,
                "scale": s.scale,
                "zero": s.zero,
                "free": s.free,
            }
            for s in specs
        ]
        for side, specs in (("inputs", run.inputs), ("outputs", run.outputs))
    }


def judge(folder: Path, samples: Path | None, takt_ms: float) -> dict[str, Any]:
    """Answers on all samples in answers.npz, golden.npz, and the figures. Stops early where runs take longer than the
    takt allows. Raises LinesideError."""
    package = Package(folder, describe(folder))
    model, before = trial.described(package), _memory()
    decide = trial.judge(package)
    names, read = _pictures(samples, model.size)
    began = time.perf_counter()
    decide(read(0))
    tries = 1 if (time.perf_counter() - began) * 1e3 > HOPELESS * takt_ms else TRIES
    answers, took, busy = [], [], []
    for i in range(max(len(names), tries)):
        image = read(i % len(names))
        began, cpu = time.perf_counter(), time.thread_time()
        answers.append(decide(image))
        took.append((time.perf_counter() - began) * 1e3)
        busy.append((time.thread_time() - cpu) * 1e3)
        if i + 1 == tries and float(np.median(took)) > takt_ms:
            break
    answers = answers[: len(names)]
    shares = isinstance(model, Classify) and _are_shares(package, model, [read(i) for i in range(min(len(names), 8))])
    chosen = _golden(model, answers)
    golden = [trial.seen(model, read(i)) for i in chosen]
    trial.keep(folder, golden, [decide(image) for image in golden])
    kept: dict[str, Any] = {f"answer_{i}": answer for i, answer in enumerate(answers)}
    np.savez_compressed(folder / "answers.npz", **kept)
    return {
        "pictures": names[: len(answers)] if samples else [],
        "golden": [names[i] for i in chosen],
        "verdicts": [trial.state(model, answer) for answer in answers],
        "ms": {
            name: round(float(x), 2)
            for name, x in (("median", np.median(took)), ("most", max(took)), ("cpu", np.median(busy)))
        },
        "memory_mb": round(_memory() - before),
        "shares": shares,
        "tops": [float(answer.max(initial=0)) for answer in answers],
    }


def _memory() -> float:
    """The most this process has taken so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _pictures(samples: Path | None, size: tuple[int, int]) -> tuple[list[str], Callable[[int], np.ndarray]]:
    """Names, and what gives the picture of a number; drawn ones where there are no samples."""
    if samples is None:
        made = [_drawn(size, number) for number in range(MADE)]
        return [f"drawn {number + 1}" for number in range(MADE)], made.__getitem__
    paths = sorted(path for path in samples.iterdir() if path.suffix.lower() in ENDINGS)
    if not 1 <= len(paths) <= MOST_PICTURES:
        raise LinesideError(
            f"{samples} holds {len(paths)} pictures", hint=f"1 to {MOST_PICTURES}: {', '.join(ENDINGS)}"
        )
    return [path.name for path in paths], lambda number: picture(paths[number], cv2.IMREAD_COLOR)


def _drawn(size: tuple[int, int], seed: int) -> np.ndarray:
    """Soft blots on grey, uint8[h, w, 3]."""
    rng = np.random.default_rng(seed)
    rough = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(rough, size[::-1], interpolation=cv2.INTER_CUBIC))


def _are_shares(package: Package, model: Classify, images: list[np.ndarray]) -> bool:
    """Whether what it gives is not below 0 and sums up to 1 on each of these pictures and on drawn ones."""
    run = package.interpreter()
    spec = run.outputs[0]
    for image in [*images, *(_drawn(model.size, number) for number in range(MADE))]:
        numbers = run(prepare(image, model, run.inputs[0]))[0].astype(np.float64)
        numbers = (numbers - spec.zero) * spec.scale if spec.scale else numbers
        if numbers.min() < 0 or abs(numbers.sum() - 1) > 0.05:
            return False
    return True


def _golden(model: trial.Others, answers: list[np.ndarray]) -> list[int]:
    """The pictures with the highest scores, that with the lowest, and one between."""
    order = sorted(range(len(answers)), key=lambda i: -trial.score(model, answers[i]))
    return sorted({*order[:2], order[len(order) // 2], order[-1]})[: trial.MOST_GOLDEN]


def answer(does: str, *words: str) -> dict[str, Any]:
    """Raises LinesideError, or whatever an engine raises."""
    if does == "look":
        return look(Path(words[0]), words[1])
    return judge(Path(words[0]), Path(words[1]) if words[1] else None, float(words[2]))


def main() -> int:
    try:
        with suppress(OSError):  # a model that takes all memory takes this child along, not the command
            Path("/proc/self/oom_score_adj").write_text("1000")
        one_thread()
        told = json.dumps(answer(*sys.argv[1:]))
    except Exception as error:  # the engines' errors share no base
        print(" ".join(str(error).split())[:400] or type(error).__name__)
        return 1
    print(told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
