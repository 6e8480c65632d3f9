"""What an engine is, and how one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge import ModelRefused, find_part

MOST_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Tensor:
    """`scale` and `zero` turn integers into numbers: (q - zero) * scale; scale 0 means plain numbers. `free` axes may have any
    length; `shape` says 1 there."""

    name: str
    shape: tuple[int, ...]
    dtype: Any
    scale: float = 0.0
    zero: int = 0
    free: tuple[int, ...] = ()


class Interpreter(Protocol):
    """One model, ready. Not for two threads at once."""

    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Copies of all outputs, in the order of `outputs`."""
        ...

    def filled(self, shape: tuple[int, ...], fill: Callable[[np.ndarray], None]) -> list[np.ndarray]:
        """The same of a model with one input, which `fill` writes where it is read, without a copy; it must not keep the array."""
        ...


class Engine(Protocol):
    """`load(path, threads, plain, shape)` gives an Interpreter; `plain` means without delegates, for bit comparison; `shape` is
    that of its one input where it shall be another than the file says."""

    def load(
        self, path: Path, threads: int = 1, plain: bool = False, shape: tuple[int, ...] | None = None
    ) -> Interpreter: ...


def bounded(path: Path) -> Path:
    """Raises ModelRefused for a file that is absent, empty or absurdly large."""
    if not path.is_file():
        raise ModelRefused(f"there is no {path}")
    if not 16 <= path.stat().st_size <= MOST_BYTES:
        raise ModelRefused(f"{path} has {path.stat().st_size} bytes: no model")
    return path


def choose(wanted: str) -> Engine:
    """The engine of this name, after it proved itself: an import proves nothing (one imports under a numpy it cannot work with).

    `tflite` is LiteRT, or else tflite-runtime. Raises ModelRefused with what each one said.
    """
    said = []
    for name in ("tflite", "tflite-runtime") if wanted == "tflite" else (wanted,):
        try:
            engine: Engine = find_part("engines", name)()
            proves(engine, name)
            return engine
        except Exception as error:
            said.append(f"{name}: {error}")
    raise ModelRefused(
        f"no engine works here: {'; '.join(said)}", hint="install lineside with the extra vision or onnx"
    )


def proves(engine: Engine, name: str) -> None:
    """Run the bundled model and compare with what it gave where it was made. Raises ModelRefused."""
    folder = Path(__file__).parent / "selftest"
    suffix = "onnx" if name == "onnx" else "tflite"
    known = np.load(folder / f"{suffix}.npz")
    got = engine.load(folder / f"selftest.{suffix}")(known["input"])[0]
    if got.shape != known["output"].shape or np.abs(got.astype(float) - known["output"].astype(float)).max() > 2:
        raise ModelRefused("the self-test gives another answer")
