"""The TFLite engine that these tests run on."""

from importlib.util import find_spec

import pytest

from models.engines.contract import Engine, choose


@pytest.fixture(scope="session")
def engine() -> Engine:
    """What a site's `tflite` gets here. None installed skips; one that is installed and wrong fails."""
    if not any(map(find_spec, ("ai_edge_litert", "tflite_runtime"))):
        pytest.skip("no TFLite engine is installed: make setup brings LiteRT")
    return choose("tflite")
