"""The long form of a proof, which `make walks` does; its short form is in the suite."""

import os

import pytest

WALKS = "WALKS" in os.environ
LONG = pytest.mark.skipif(not WALKS, reason="the long form: make walks")
