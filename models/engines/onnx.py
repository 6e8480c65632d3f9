"""ONNX Runtime, on the CPU."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from edge import ModelRefused

from .contract import Interpreter, Tensor, bounded

BOILERPLATE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?(/\S*:\d+ .*?\(.*?\) )?")
KINDS = {
    "tensor(bool)": np.bool_,
    "tensor(double)": np.float64,
    "tensor(float)": np.float32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float16)": np.float16,
}


class Onnx:
    """The second engine."""

    def load(
        self, path: Path, threads: int = 1, plain: bool = False, shape: tuple[int, ...] | None = None
    ) -> Interpreter:
        """Raises ModelRefused for what the engine does not take."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        if plain:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            session = onnxruntime.InferenceSession(str(bounded(path)), options, providers=["CPUExecutionProvider"])
        except ModelRefused:
            raise
        except Exception as error:  # the runtime's errors share no base
            said = BOILERPLATE.sub("", str(error).splitlines()[0])
            raise ModelRefused(f"{path.name}: {said[:200]}") from None
        loaded = Loaded(session)
        if shape:
            given = session.get_inputs()[0].shape
            if len(given) != len(shape) or any(
                isinstance(n, int) and n != m for n, m in zip(given, shape, strict=True)
            ):
                raise ModelRefused(f"{path.name}: its input is {given} and cannot be {list(shape)}")
        return loaded


class Loaded:
    """A session."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self.inputs: Sequence[Tensor] = [_tensor(d) for d in session.get_inputs()]
        self.outputs: Sequence[Tensor] = [_tensor(d) for d in session.get_outputs()]

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        names = (tensor.name for tensor in self.inputs)
        return [np.array(x) for x in self._session.run(None, dict(zip(names, inputs, strict=True)))]

    def filled(self, shape: tuple[int, ...], fill: Callable[[np.ndarray], None]) -> list[np.ndarray]:
        given = np.empty(shape, self.inputs[0].dtype)
        fill(given)
        return self(given)


def _tensor(detail: onnxruntime.NodeArg) -> Tensor:
    shape = tuple(n if isinstance(n, int) else 1 for n in detail.shape)
    free = tuple(axis for axis, n in enumerate(detail.shape) if not isinstance(n, int))
    return Tensor(detail.name, shape, KINDS.get(detail.type, np.float32), free=free)
