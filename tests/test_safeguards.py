"""The list of safeguards and the table that tells of them fit what is there. `python -m tests.safeguards` switches them off."""

from __future__ import annotations

import re
from pathlib import Path

from tests.safeguards import SAFEGUARDS

ROOT = Path(__file__).parent.parent


def test_each_stands_in_its_file_once_and_has_its_test() -> None:
    for name, one in SAFEGUARDS.items():
        assert (ROOT / one.file).read_text("utf-8").count(one.on) == 1, name
        path, test = one.test.split("::")
        assert f"def {test}(" in (ROOT / path).read_text("utf-8"), name


def test_each_is_told_of_in_the_table() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    told = re.findall(r"^\| ([^|]+?) \| [^|]+ \| `([^`|]+)` \|$", page, re.M)
    here = {(name, one.test.rpartition("/")[2]) for name, one in SAFEGUARDS.items()}
    assert here <= set(told), here - set(told)
