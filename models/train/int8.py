"""A full-int8 TFLite model, written tensor by tensor: per-channel symmetric weights, per-tensor asymmetric activations, int32
biases (the TFLite 8-bit quantisation specification). Only what our networks need: convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


@dataclass(frozen=True)
class Conv:
    """`weight` float[out, kh, kw, in], `bias` float[out]; `low`, `high` the calibrated range of what comes out."""

    weight: np.ndarray
    bias: np.ndarray
    stride: int
    low: float
    high: float
    relu: bool = True
    same: bool = True


def scale_of(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point that hold low..high (and zero exactly) in -128..127."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255.0, 1e-8)
    return scale, int(np.clip(round(-128 - low / scale), -128, 127))


class Writer:
    """Collects tensors and operators, then gives the bytes."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._buffers: list[bytes] = [b""]
        self._operators: list[Any] = []

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        kind: int,
        scale: np.ndarray,
        zero: np.ndarray,
        body: np.ndarray | None = None,
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), [int(n) for n in shape], kind, 0
        if body is not None:
            self._buffers.append(np.ascontiguousarray(body).tobytes())
            tensor.buffer = len(self._buffers) - 1
        quantization = schema.QuantizationParametersT()
        quantization.scale, quantization.zeroPoint = scale.astype(np.float32), zero.astype(np.int64)
        tensor.quantization = quantization
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def conv(self, number: int, at: int, layer: Conv, scale_in: float) -> tuple[int, float]:
        """Append one convolution on tensor `at`; returns its output tensor and that one's scale."""
        weight, int8 = layer.weight, schema.TensorType.INT8
        scales = np.maximum(np.abs(weight).max(axis=(1, 2, 3)), 1e-8) / 127.0
        whole = np.clip(np.round(weight / scales[:, None, None, None]), -127, 127).astype(np.int8)
        none = np.zeros(len(scales))
        weights = self.tensor(f"w{number}", weight.shape, int8, scales, none, whole)
        bias = np.round(layer.bias / (scales * scale_in)).astype(np.int32)
        biases = self.tensor(f"b{number}", bias.shape, schema.TensorType.INT32, scales * scale_in, none, bias)
        _, height, width, _ = self._tensors[at].shape
        sides = zip((height, width), weight.shape[1:3], strict=True)
        step = layer.stride
        size = [-(-n // step) if layer.same else (n - k) // step + 1 for n, k in sides]
        scale, zero = scale_of(layer.low, layer.high)
        out = self.tensor(f"y{number}", (1, *size, len(scales)), int8, np.array([scale]), np.array([zero]))
        options = schema.Conv2DOptionsT()
        options.padding = schema.Padding.SAME if layer.same else schema.Padding.VALID
        options.strideH = options.strideW = layer.stride
        options.dilationHFactor = options.dilationWFactor = 1
        options.fusedActivationFunction = int(layer.relu)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = 0, [at, weights, biases], [out]
        operator.builtinOptions, operator.builtinOptionsType = options, schema.BuiltinOptions.Conv2DOptions
        self._operators.append(operator)
        return out, scale

    def finish(self, start: int, end: int) -> bytes:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
        code.version = 3
        graph = schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = b"main", self._tensors, self._operators
        graph.inputs, graph.outputs = [start], [end]
        model = schema.ModelT()
        model.version, model.description, model.operatorCodes, model.subgraphs = 3, b"lineside", [code], [graph]
        model.buffers = []
        for body in self._buffers:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(body, np.uint8) if body else None
            model.buffers.append(buffer)
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def compile_int8(shape: tuple[int, int, int], layers: Sequence[Conv]) -> bytes:
    """The model of a chain of convolutions on uint8 pictures [h, w, c] that were shifted by -128: a pixel's own scale is 1/255."""
    writer = Writer()
    scale = 1 / 255.0
    at = start = writer.tensor("picture", (1, *shape), schema.TensorType.INT8, np.array([scale]), np.array([-128]))
    for number, layer in enumerate(layers):
        at, scale = writer.conv(number, at, layer, scale)
    return writer.finish(start, at)
