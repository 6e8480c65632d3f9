"""A full-int8 TFLite model, written tensor by tensor: per-channel symmetric weights, per-tensor asymmetric activations, int32
biases (the TFLite 8-bit quantisation specification). Only what our networks need: convolutions, sums, products, other shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

INT8, INT32, FLOAT32 = schema.TensorType.INT8, schema.TensorType.INT32, schema.TensorType.FLOAT32
VERSIONS = {
    schema.BuiltinOperator.CONV_2D: 3,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: 2,
    schema.BuiltinOperator.ADD: 2,
    schema.BuiltinOperator.SUB: 2,
    schema.BuiltinOperator.MUL: 2,
    schema.BuiltinOperator.DEPTH_TO_SPACE: 2,
    schema.BuiltinOperator.RESHAPE: 1,
    schema.BuiltinOperator.PAD: 2,
    schema.BuiltinOperator.SLICE: 2,
    schema.BuiltinOperator.QUANTIZE: 1,
    schema.BuiltinOperator.DEQUANTIZE: 2,
}


@dataclass(frozen=True)
class Conv:
    """`weight` float[out, kh, kw, in], `bias` float[out]; `low`, `high` the calibrated range of what comes out; `stride` of both
    sides, or of height and width."""

    weight: np.ndarray
    bias: np.ndarray
    stride: int | tuple[int, int]
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
    """Collects tensors and operators, then gives the bytes. A tensor is named by its number."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._buffers: list[bytes] = [b""]
        self._operators: list[Any] = []
        self._codes: list[int] = []

    def picture(self, shape: Sequence[int]) -> int:
        """What goes in: uint8[h, w, c] shifted by -128, a pixel's own scale is 1/255."""
        return self._tensor("picture", (1, *shape), INT8, np.array([1 / 255.0]), np.array([-128]))

    def numbers(self, shape: Sequence[int]) -> int:
        """What goes in: float32[h, w, c] of which h may be any."""
        given = self._tensor("numbers", (1, *shape), FLOAT32, None, None)
        self._tensors[given].shapeSignature = [1, -1, *shape[1:]]
        return given

    def scaled(self, at: int, factors: np.ndarray, sums: np.ndarray, behind: int = 0) -> int:
        """Float tensor `at` [h, 1, c], each channel by its own factor and plus its own sum; without the first `behind` rows."""
        taps = np.zeros((1, 1 + bool(behind), 1, len(factors)), np.float32)
        taps[0, -1, 0] = factors
        height, number = self._tensors[at].shape[1], len(self._tensors)
        given = [at, self._tensor(f"w{number}", taps.shape, FLOAT32, None, None, taps)]
        given.append(self._tensor(f"b{number}", (len(factors),), FLOAT32, None, None, sums.astype(np.float32)))
        options = schema.DepthwiseConv2DOptionsT()
        options.padding, options.depthMultiplier = schema.Padding.VALID, 1
        options.strideH = options.strideW = options.dilationWFactor = 1
        options.dilationHFactor = max(behind, 1)
        out = self._tensor(f"y{number}", (1, height - behind, 1, len(factors)), FLOAT32, None, None)
        kind = schema.BuiltinOptions.DepthwiseConv2DOptions
        return self._operator(schema.BuiltinOperator.DEPTHWISE_CONV_2D, given, out, options, kind)

    def less(self, one: int, two: int) -> int:
        """Float tensor `one` less float tensor `two`, of one shape."""
        out = self._tensor(f"y{len(self._tensors)}", self._tensors[one].shape, FLOAT32, None, None)
        kind = schema.BuiltinOptions.SubOptions
        return self._operator(schema.BuiltinOperator.SUB, [one, two], out, schema.SubOptionsT(), kind)

    def in_steps(self, at: int, low: float, high: float) -> int:
        """Float tensor `at` in steps of low..high; what lies beyond is taken for the end of them."""
        out, kind = self._activation(self._tensors[at].shape, low, high), schema.BuiltinOptions.QuantizeOptions
        return self._operator(schema.BuiltinOperator.QUANTIZE, [at], out, schema.QuantizeOptionsT(), kind)

    def in_float(self, at: int) -> int:
        """Tensor `at` as float32."""
        out = self._tensor(f"y{len(self._tensors)}", self._tensors[at].shape, FLOAT32, None, None)
        kind = schema.BuiltinOptions.DequantizeOptions
        return self._operator(schema.BuiltinOperator.DEQUANTIZE, [at], out, schema.DequantizeOptionsT(), kind)

    def conv(self, at: int, layer: Conv) -> int:
        """One convolution of tensor `at`."""
        weights, biases = self._parameters(at, layer)
        steps = layer.stride if isinstance(layer.stride, tuple) else (layer.stride, layer.stride)
        sides = zip(self._tensors[at].shape[1:3], layer.weight.shape[1:3], steps, strict=True)
        size = [-(-n // step) if layer.same else (n - k) // step + 1 for n, k, step in sides]
        out = self._activation((1, *size, len(layer.bias)), layer.low, layer.high)
        options = schema.Conv2DOptionsT()
        options.padding = schema.Padding.SAME if layer.same else schema.Padding.VALID
        options.strideH, options.strideW = steps
        options.dilationHFactor = options.dilationWFactor = 1
        options.fusedActivationFunction = int(layer.relu)
        kind = schema.BuiltinOptions.Conv2DOptions
        return self._operator(schema.BuiltinOperator.CONV_2D, [at, weights, biases], out, options, kind)

    def add(self, one: int, two: int, low: float, high: float, relu: bool = True) -> int:
        """The sum of two tensors of one shape."""
        out = self._activation(self._tensors[one].shape, low, high)
        options = schema.AddOptionsT()
        options.fusedActivationFunction = int(relu)
        return self._operator(schema.BuiltinOperator.ADD, [one, two], out, options, schema.BuiltinOptions.AddOptions)

    def constant(self, values: np.ndarray, low: float, high: float) -> int:
        """Numbers [h, w, c] that are the same for every picture, in steps of low..high."""
        scale, zero = scale_of(low, high)
        whole = np.clip(np.round(values / scale) + zero, -128, 127).astype(np.int8)
        scales, zeros = np.array([scale]), np.array([zero])
        return self._tensor(f"c{len(self._tensors)}", (1, *values.shape), INT8, scales, zeros, whole)

    def subtract(self, one: int, two: int, high: float) -> int:
        """What `one` is more than `two`, or 0: tensors of one shape."""
        out, options = self._activation(self._tensors[one].shape, 0.0, high), schema.SubOptionsT()
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        return self._operator(schema.BuiltinOperator.SUB, [one, two], out, options, schema.BuiltinOptions.SubOptions)

    def multiply(self, one: int, two: int, low: float, high: float) -> int:
        """Number by number: tensors of one shape."""
        out, options = self._activation(self._tensors[one].shape, low, high), schema.MulOptionsT()
        return self._operator(schema.BuiltinOperator.MUL, [one, two], out, options, schema.BuiltinOptions.MulOptions)

    def enlarge(self, at: int, layer: Conv) -> int:
        """Twice as high and wide: the transposed convolution of 2 x 2 at stride 2 that `layer` says, with no ReLU. Written as one
        of 1 x 1 whose channels become four pixels: so no number in the model says how large its pictures are."""
        four = layer.weight.transpose(1, 2, 0, 3).reshape(-1, 1, 1, layer.weight.shape[3])
        wide = self.conv(at, Conv(four, np.tile(layer.bias, 4), 1, layer.low, layer.high, relu=False))
        _, height, width, _ = self._tensors[at].shape
        out = self._activation((1, 2 * height, 2 * width, len(layer.bias)), layer.low, layer.high)
        options = schema.DepthToSpaceOptionsT()
        options.blockSize = 2
        kind = schema.BuiltinOptions.DepthToSpaceOptions
        return self._operator(schema.BuiltinOperator.DEPTH_TO_SPACE, [wide], out, options, kind)

    def reshape(self, at: int, shape: Sequence[int]) -> int:
        """The same numbers as [h, w, c] of another shape: neighbours in a row become channels, or the other way about."""
        wanted = np.array([1, *shape], np.int32)
        sizes, options = self._whole(wanted), schema.ReshapeOptionsT()
        options.newShape = wanted.tolist()
        out = self._alike(at, wanted.tolist())
        return self._operator(
            schema.BuiltinOperator.RESHAPE, [at, sizes], out, options, schema.BuiltinOptions.ReshapeOptions
        )

    def wider(self, at: int, columns: int) -> int:
        """So many columns of 0 more at the right."""
        one, height, width, depth = self._tensors[at].shape
        more = self._whole(np.array([[0, 0], [0, 0], [0, columns], [0, 0]], np.int32))
        out = self._alike(at, (one, height, width + columns, depth))
        kind = schema.BuiltinOptions.PadOptions
        return self._operator(schema.BuiltinOperator.PAD, [at, more], out, schema.PadOptionsT(), kind)

    def left(self, at: int, columns: int) -> int:
        """Its first columns alone."""
        one, height, _, depth = self._tensors[at].shape
        size = np.array([one, height, columns, depth], np.int32)
        given = [at, self._whole(np.zeros(4, np.int32)), self._whole(size)]
        kind = schema.BuiltinOptions.SliceOptions
        out = self._alike(at, size.tolist())
        return self._operator(schema.BuiltinOperator.SLICE, given, out, schema.SliceOptionsT(), kind)

    def finish(self, given: Sequence[int], out: Sequence[int]) -> bytes:
        graph = schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = b"main", self._tensors, self._operators
        graph.inputs, graph.outputs = list(given), list(out)
        model = schema.ModelT()
        model.version, model.description, model.operatorCodes, model.subgraphs = 3, b"lineside", [], [graph]
        for builtin in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = builtin
            code.version = VERSIONS[builtin]
            model.operatorCodes.append(code)
        model.buffers = []
        for body in self._buffers:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(body, np.uint8) if body else None
            model.buffers.append(buffer)
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _parameters(self, at: int, layer: Conv) -> tuple[int, int]:
        """Weights, whole numbers of a step for each output channel, and biases in steps of that and of what comes in."""
        before = float(self._tensors[at].quantization.scale[0])
        least = np.abs(layer.bias) / (
            before * 2**30
        )  # of a channel whose weights are almost nothing the bias has to fit too
        scales = np.maximum(np.maximum(np.abs(layer.weight).max(axis=(1, 2, 3)), 1e-8) / 127.0, least)
        whole = np.clip(np.round(layer.weight / scales[:, None, None, None]), -127, 127).astype(np.int8)
        none, number = np.zeros(len(scales)), len(self._tensors)
        weights = self._tensor(f"w{number}", layer.weight.shape, INT8, scales, none, whole)
        steps = scales * before
        bias = np.round(layer.bias / steps).astype(np.int32)
        return weights, self._tensor(f"b{number}", bias.shape, INT32, steps, none, bias)

    def _activation(self, shape: Sequence[int], low: float, high: float) -> int:
        scale, zero = scale_of(low, high)
        return self._tensor(f"y{len(self._tensors)}", shape, INT8, np.array([scale]), np.array([zero]))

    def _alike(self, at: int, shape: Sequence[int]) -> int:
        """In the steps of tensor `at`."""
        steps = self._tensors[at].quantization
        return self._tensor(f"y{len(self._tensors)}", shape, INT8, steps.scale, steps.zeroPoint)

    def _whole(self, numbers: np.ndarray) -> int:
        """int32 that an operator is told, not computed with."""
        return self._tensor(f"s{len(self._tensors)}", numbers.shape, INT32, None, None, numbers)

    def _tensor(
        self,
        name: str,
        shape: Sequence[int],
        kind: int,
        scale: np.ndarray | None,
        zero: np.ndarray | None,
        body: np.ndarray | None = None,
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), [int(n) for n in shape], kind, 0
        if body is not None:
            self._buffers.append(np.ascontiguousarray(body).tobytes())
            tensor.buffer = len(self._buffers) - 1
        if scale is not None and zero is not None:
            quantization = schema.QuantizationParametersT()
            quantization.scale, quantization.zeroPoint = scale.astype(np.float32), zero.astype(np.int64)
            tensor.quantization = quantization
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _operator(self, builtin: int, given: list[int], out: int, options: Any, kind: int) -> int:
        if builtin not in self._codes:
            self._codes.append(builtin)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = self._codes.index(builtin), given, [out]
        operator.builtinOptions, operator.builtinOptionsType = options, kind
        self._operators.append(operator)
        return out


def compile_int8(shape: tuple[int, int, int], layers: Sequence[Conv]) -> bytes:
    """The model of a chain of convolutions on uint8 pictures [h, w, c] that were shifted by -128."""
    writer = Writer()
    at = start = writer.picture(shape)
    for layer in layers:
        at = writer.conv(at, layer)
    return writer.finish([start], [at])
