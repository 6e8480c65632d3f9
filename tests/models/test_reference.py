"""Models that nobody here made give what they gave elsewhere, or a clear refusal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from edge import ModelRefused
from models.engines.contract import Engine
from models.engines.tflite import TfliteRuntime
from tests.conftest import DATA

MODELS = DATA / "tflite-reference"
NAMES = sorted(p.stem for p in (MODELS / "golden").glob("*.npz"))
pytestmark = pytest.mark.skipif(not NAMES, reason="the reference models are not on this machine (set DATA=folder)")


def runs(engine: Engine, name: str) -> Iterator[tuple[str, list[np.ndarray], list[np.ndarray]]]:
    """(sample, what the engine gives with delegates off, what LiteRT gave) for each stored input."""
    run = engine.load(MODELS / "models" / f"{name}.tflite", plain=True)
    with np.load(MODELS / "golden" / f"{name}.npz") as golden:
        samples = [key.removesuffix("__input") for key in golden.files if key.endswith("__input")]
        assert samples
        for sample in samples:
            got = run(golden[f"{sample}__input"])
            yield sample, got, [golden[f"{sample}__optimised_output{i}"] for i in range(len(got))]


@pytest.mark.parametrize("name", NAMES)
def test_tensors_are_equal_with_delegates_off(name: str, engine: Engine) -> None:
    if isinstance(engine, TfliteRuntime):
        pytest.skip("the stored tensors are LiteRT's (extra vision); of tflite-runtime the decisions are compared")
    for sample, got, wanted in runs(engine, name):
        for i, (mine, theirs) in enumerate(zip(got, wanted, strict=True)):
            assert np.array_equal(mine, theirs, equal_nan=True), f"{sample} output {i}"


@pytest.mark.parametrize("name", NAMES)
def test_decisions_are_equal_on_every_engine(name: str, engine: Engine) -> None:
    for sample, got, wanted in runs(engine, name):
        assert [x.shape for x in got] == [x.shape for x in wanted]
        mine, theirs = got[0], wanted[0]
        if name.startswith("ssd"):  # boxes, classes, scores
            sure = [(x[2][0] > 0.4).nonzero()[0] for x in (got, wanted)]
            assert len(sure[0]) and [*got[1][0, sure[0]]] == [*wanted[1][0, sure[1]]], sample
            assert np.allclose(mine[0, sure[0]], theirs[0, sure[1]], atol=0.02), sample
        elif name.startswith("movenet"):  # y and x as fractions; its scores differ more between any two kernel sets
            assert np.abs(mine[..., :2] - theirs[..., :2]).max() <= 0.04, sample
        elif name.startswith("deeplab"):
            assert (mine == theirs).mean() > 0.99, sample
        elif "_ad0" in name:  # an autoencoder decides by the distance from its input
            assert np.abs(mine.astype(int) - theirs.astype(int)).max() <= 2, sample
        else:
            assert mine.argmax() == theirs.argmax(), sample


def test_the_one_to_refuse_is_refused_in_words(engine: Engine) -> None:
    with pytest.raises(ModelRefused, match="person_detect_int8"):
        engine.load(MODELS / "models" / "person_detect_int8.tflite")
