"""Models that nobody here made give what they gave elsewhere, or a clear refusal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="needs the vision extra")

from edge import ModelRefused
from models.engines.tflite import LiteRt

DATA = Path(__file__).parents[3] / "shared" / "data" / "tflite-reference"
NAMES = sorted(p.stem for p in (DATA / "golden").glob("*.npz"))


@pytest.mark.skipif(not DATA.is_dir(), reason="the reference models are not here")
@pytest.mark.parametrize("name", NAMES)
def test_tensors_are_equal_with_delegates_off(name: str) -> None:
    run = LiteRt().load(DATA / "models" / f"{name}.tflite", plain=True)
    with np.load(DATA / "golden" / f"{name}.npz") as golden:
        samples = [key.removesuffix("__input") for key in golden.files if key.endswith("__input")]
        assert samples
        for sample in samples:
            for i, got in enumerate(run(golden[f"{sample}__input"])):
                assert np.array_equal(got, golden[f"{sample}__optimised_output{i}"], equal_nan=True), (
                    f"{sample} output {i}"
                )


@pytest.mark.skipif(not DATA.is_dir(), reason="the reference models are not here")
def test_the_one_to_refuse_is_refused_in_words() -> None:
    with pytest.raises(ModelRefused, match="person_detect_int8"):
        LiteRt().load(DATA / "models" / "person_detect_int8.tflite")
