"""The table of docs/security.md names controls, files and tests that there are, and leaves none out."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from tests.controls import CONTROLS
from tests.safeguards import SAFEGUARDS

ROOT = Path(__file__).parent.parent
ROW = re.compile(r"^\| ([^|`]+) \| `([^`]+)` \| `([^`]+)` \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$", re.M)
CR = re.compile(r"(CR|EDR|HDR|NDR|SAR) [1-7]\.\d{1,2}")
PROVISION = re.compile(r"5\.([1-9]|1[0-3])-\d{1,2}")
HEADING = re.compile(r"8\.[14]\.\d(\.\d{1,2})? \w[\w ]*")


def rows() -> list[tuple[str, ...]]:
    return [match.groups() for match in ROW.finditer((ROOT / "docs" / "security.md").read_text("utf-8"))]


def test_each_row_is_a_control_that_can_be_switched_off_and_its_test_is_there() -> None:
    known = SAFEGUARDS | CONTROLS
    found = rows()
    assert len(found) >= 50
    for name, file, test, *_ in found:
        assert name in known, name
        one = known[name]
        assert (file, test) == (one.file, one.test), name
        path, _, function = test.partition("::")
        assert f"def {function}(" in (ROOT / path).read_text("utf-8"), name
        assert (ROOT / file).read_text("utf-8").count(one.on) == 1, f"{name}: {file} has not exactly one {one.on!r}"


def test_no_control_is_left_out_or_told_twice() -> None:
    told = Counter(name for name, *_ in rows())
    assert set(CONTROLS) <= set(told)
    assert [name for name, times in told.items() if times > 1] == []
    assert not set(CONTROLS) & set(SAFEGUARDS)


def test_each_row_says_what_it_is_for_as_the_standards_number_it() -> None:
    for name, _, _, *columns in rows():
        for form, column, between in zip((CR, PROVISION, HEADING), columns, (", ", ", ", "; "), strict=True):
            assert column and all(form.fullmatch(part) for part in column.split(between)), f"{name}: {column}"


def test_every_table_is_read() -> None:
    """A row that is written in another way would be checked by nobody."""
    page = (ROOT / "docs" / "security.md").read_text("utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| control |")]
    assert len(lines) == len(rows())
