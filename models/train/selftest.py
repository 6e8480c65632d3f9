"""Makes the bundled models that every engine proves itself with: `python -m models.train.selftest`.

A little convolution whose right answer is worked out in numpy here, not by an engine.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..engines.int8 import Conv, compile_int8, scale_of

FOLDER = Path(__file__).parent.parent / "engines" / "selftest"


def convolved(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """VALID 3x3 convolution and ReLU: x [h, w, 1], weight [o, 3, 3, 1] -> [h-2, w-2, o]."""
    windows = np.lib.stride_tricks.sliding_window_view(x[:, :, 0], (3, 3))
    return np.maximum(np.einsum("hwij,oij->hwo", windows, weight[:, :, :, 0]) + bias, 0.0)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    weight, bias = rng.normal(0, 1, (4, 3, 3, 1)), rng.normal(0, 0.2, 4)
    picture = rng.integers(0, 256, (8, 8, 1))
    answer = convolved(picture / 255.0, weight, bias)
    scale, zero = scale_of(0.0, float(answer.max()))
    whole = np.clip(np.round(answer / scale) + zero, -128, 127).astype(np.int8)
    model = compile_int8((8, 8, 1), [Conv(weight, bias, 1, 0.0, float(answer.max()), True, False)])
    (FOLDER / "selftest.tflite").write_bytes(model)
    np.savez(FOLDER / "tflite.npz", input=(picture - 128).astype(np.int8)[None], output=whole[None])
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["picture", "weight", "bias"], ["sum"], kernel_shape=[3, 3]),
            helper.make_node("Relu", ["sum"], ["answer"]),
        ],
        "selftest",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [1, 4, 6, 6])],
        [
            numpy_helper.from_array(weight.transpose(0, 3, 1, 2).astype(np.float32) * 100, "weight"),
            numpy_helper.from_array(bias.astype(np.float32) * 100, "bias"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, str(FOLDER / "selftest.onnx"))
    given = (picture / 255.0).astype(np.float32).transpose(2, 0, 1)[None]
    np.savez(FOLDER / "onnx.npz", input=given, output=(answer * 100).astype(np.float32).transpose(2, 0, 1)[None])


if __name__ == "__main__":
    main()
