"""LiteRT, and its predecessor tflite-runtime: the same interface under two names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge import ModelRefused

from .contract import Interpreter, Tensor, bounded


class LiteRt:
    """The default engine (`ai-edge-litert`)."""

    def __init__(self) -> None:
        from ai_edge_litert import interpreter

        self._interpreter = interpreter

    def load(
        self, path: Path, threads: int = 1, plain: bool = False, shape: tuple[int, ...] | None = None
    ) -> Interpreter:
        """Raises ModelRefused for what the engine does not take."""
        resolver = self._interpreter.OpResolverType
        kind = resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else resolver.AUTO
        try:
            made = self._interpreter.Interpreter(
                str(bounded(path)), num_threads=threads, experimental_op_resolver_type=kind
            )
            if shape:
                made.resize_tensor_input(made.get_input_details()[0]["index"], shape)
            made.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelRefused(f"{path.name}: {str(error).splitlines()[0][:200]}") from None
        return Loaded(made)


class TfliteRuntime(LiteRt):
    """For numpy below 2 and Python 3.11: 32-bit boards."""

    def __init__(self) -> None:
        """Raises ModelRefused under numpy 2: there it imports, prints a traceback and fails at the first model."""
        if int(np.__version__.split(".")[0]) >= 2:
            raise ModelRefused(
                f"tflite-runtime was built for numpy 1 and cannot compute under numpy {np.__version__}",
                hint="install numpy below 2, or ai-edge-litert instead",
            )
        from tflite_runtime import interpreter

        self._interpreter = interpreter


class Loaded:
    """An interpreter with its tensors allocated; where a value is longer along a free axis than the last one, anew."""

    def __init__(self, made: Any) -> None:
        self._made = made
        self._in, self._out = made.get_input_details(), made.get_output_details()
        self.inputs: Sequence[Tensor]
        self.outputs: Sequence[Tensor]
        self.inputs, self.outputs = [_tensor(d) for d in self._in], [_tensor(d) for d in self._out]
        self._free = {i: tensor.shape for i, tensor in enumerate(self.inputs) if tensor.free}  # as they are allocated

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        if self._free:
            self._lengthen([value.shape for value in inputs])
        for detail, value in zip(self._in, inputs, strict=True):
            self._made.set_tensor(detail["index"], value)
        return self._said()

    def filled(self, shape: tuple[int, ...], fill: Callable[[np.ndarray], None]) -> list[np.ndarray]:
        if self._free:
            self._lengthen([shape])
        fill(self._made.tensor(self._in[0]["index"])())  # a view, which must be gone when it is invoked
        return self._said()

    def _said(self) -> list[np.ndarray]:
        self._made.invoke()
        return [self._made.get_tensor(detail["index"]) for detail in self._out]

    def _lengthen(self, shapes: Sequence[tuple[int, ...]]) -> None:
        wanted = {i: shapes[i] for i in self._free}
        if wanted != self._free:
            for i, shape in wanted.items():
                self._made.resize_tensor_input(self._in[i]["index"], shape, strict=True)
            self._made.allocate_tensors()
            self._free = wanted


def _tensor(detail: dict[str, Any]) -> Tensor:
    scale, zero = detail["quantization"]
    shape, signed = tuple(map(int, detail["shape"])), detail.get("shape_signature", ())
    free = tuple(axis for axis, n in enumerate(signed) if n < 0)
    return Tensor(detail["name"], shape, detail["dtype"], float(scale), int(zero), free)
