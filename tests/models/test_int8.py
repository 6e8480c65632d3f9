"""The writer of int8 models: every operator against the same sums in float, worked out here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip(
    "ai_edge_litert", reason="LiteRT, whose schema writes models, is not installed: make setup brings it"
)
from models.engines.contract import Engine
from models.engines.int8 import Conv, Writer


def same(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, step: tuple[int, int]) -> np.ndarray:
    """Convolution [h, w, i] with SAME padding as TFLite pads: what is odd is padded after."""
    pads = []
    for n, k, s in zip(x.shape[:2], weight.shape[1:3], step, strict=True):
        need = max(0, (-(-n // s) - 1) * s + k - n)
        pads.append((need // 2, need - need // 2))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, [*pads, (0, 0)]), weight.shape[1:3], (0, 1))
    return np.einsum("hwcij,oijc->hwo", windows[:: step[0], :: step[1]], weight) + bias


def doubled(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    out = np.empty((2 * x.shape[0], 2 * x.shape[1], len(bias)))
    for i in (0, 1):
        for j in (0, 1):
            out[i::2, j::2] = x @ weight[:, i, j].T + bias
    return out


def span(x: np.ndarray) -> tuple[float, float]:
    return float(x.min()), float(x.max())


def test_each_operator_says_what_float_says(engine: Engine, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    w1, w2, w3 = (rng.normal(0, 0.3, shape) for shape in ((8, 6, 3, 2), (8, 3, 3, 8), (8, 2, 2, 8)))
    b1, b2, b3 = rng.normal(0, 0.2, (3, 8))
    given = rng.integers(0, 256, (32, 16, 2))
    one = np.maximum(same(given / 255, w1, b1, (4, 1)), 0)
    two = same(one, w2, b2, (2, 2))
    three = doubled(two, w3, b3)
    total = np.maximum(one + three, 0)
    writer = Writer()
    x = writer.picture(given.shape)
    y1 = writer.conv(x, Conv(w1, b1, (4, 1), *span(one)))
    y2 = writer.conv(y1, Conv(w2, b2, 2, *span(two), relu=False))
    y3 = writer.enlarge(y2, Conv(w3, b3, 2, *span(three)))
    y4 = writer.add(y1, y3, *span(total))
    (tmp_path / "model.tflite").write_bytes(writer.finish([x], [y1, y2, y3, y4]))
    run = engine.load(tmp_path / "model.tflite")
    for spec, got, wanted in zip(
        run.outputs, run((given ^ 0x80).astype(np.uint8).view(np.int8)[None]), (one, two, three, total), strict=True
    ):
        assert got[0].shape == wanted.shape
        off = np.abs((got[0].astype(float) - spec.zero) * spec.scale - wanted) / spec.scale
        assert off.max() < 4 and off.mean() < 1, spec.name


def test_a_channel_with_no_weights_keeps_its_bias(engine: Engine, tmp_path: Path) -> None:
    writer = Writer()
    x = writer.picture((2, 2, 1))
    y = writer.conv(x, Conv(np.zeros((1, 1, 1, 1)), np.array([0.75]), 1, 0, 1))
    (tmp_path / "model.tflite").write_bytes(writer.finish([x], [y]))
    run = engine.load(tmp_path / "model.tflite")
    (got,) = run(np.full((1, 2, 2, 1), 50, np.int8))
    assert np.allclose((got.astype(float) - run.outputs[0].zero) * run.outputs[0].scale, 0.75, atol=0.01)


def test_constants_differences_and_products(engine: Engine, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    picture, most, times = (
        rng.integers(0, 256, (6, 7, 1)),
        rng.integers(0, 256, (6, 7, 1)),
        rng.uniform(0, 3, (6, 7, 1)),
    )
    writer = Writer()
    start = writer.picture(picture.shape)
    more = writer.subtract(start, writer.constant(most / 255, 0.0, 1.0), 1.0)
    end = writer.multiply(more, writer.constant(times, 0.0, 3.0), 0.0, 2.0)
    (tmp_path / "m.tflite").write_bytes(writer.finish([start], [end]))
    run = engine.load(tmp_path / "m.tflite", plain=True)
    (out,), spec = run((picture - 128).astype(np.int8)[None]), run.outputs[0]
    wanted = np.minimum(np.maximum(picture - most, 0) / 255 * times, 2.0)
    assert (
        np.abs((out[0].astype(float) - spec.zero) * spec.scale - wanted).max() < 0.5 * spec.scale + 0.5 * 3 / 255 + 1e-6
    )
    assert wanted.max() > 1.5


def test_numbers_of_any_length_are_scaled_taken_in_steps_and_given_back(engine: Engine, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    weight, bias, factors = rng.normal(0, 0.4, (2, 4, 1, 2)), rng.normal(0, 0.2, 2), np.array([10.0, 0.1])
    mean = np.array([300.0, -2.0])
    writer = Writer()
    given = writer.numbers((4, 1, 2))
    at = writer.in_steps(writer.scaled(given, 1 / factors, -mean / factors), -4, 4)
    says = writer.scaled(writer.in_float(writer.conv(at, Conv(weight, bias, 1, -6, 6, False, False))), factors, mean)
    out = writer.less(writer.scaled(given, np.ones(2), np.zeros(2), behind=3), says)
    (tmp_path / "model.tflite").write_bytes(writer.finish([given], [out]))
    run = engine.load(tmp_path / "model.tflite")
    assert run.inputs[0].free == (1,)
    for n in (1, 30, 1, 7):
        x = np.clip(rng.normal(0, 1, (n + 3, 2)), -4, 4)
        y = (x * factors + mean).astype(np.float32)[None, :, None, :]
        (got,), (again,) = run(y), run.filled(y.shape, lambda at, y=y: np.copyto(at, y))
        assert (got == again).all()
        rows = np.lib.stride_tricks.sliding_window_view(x, 4, axis=0)  # [n, 2, 4]
        wanted = x[3:] - (np.einsum("nck,okc->no", rows, weight[:, :, 0, :]) + bias)
        assert got.shape == (1, n, 1, 2) and np.abs(got[0, :, 0, :] / factors - wanted).max() < 0.15
    far, end = (np.full((1, 4, 1, 2), x) * factors.astype(np.float32) + mean for x in (1e6, 4.0))
    far, end = far.astype(np.float32), end.astype(np.float32)
    said = [x[0, -1, 0] - run(x)[0][0, 0, 0] for x in (far, end)]
    assert (np.abs(said[0] - said[1]) < factors).all(), "what lies beyond the range is its end"
