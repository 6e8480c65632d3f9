"""Every option says what it means, and the tables show each one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from edge.config.options import markdown
from edge.config.types import as_duration, as_size, octets, seconds

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "configs" / "schema.json").read_text("utf-8"))  # `make check` holds it against the models


def options() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, model in SCHEMA["$defs"].items():
        for option, document in model.get("properties", {}).items():
            yield name, option, document


def test_every_option_has_a_description() -> None:
    assert [f"{model}: {name}" for model, name, option in options() if not option.get("description")] == []


def test_every_section_part_and_option_is_on_the_page() -> None:
    page = markdown(SCHEMA)
    for section in SCHEMA["properties"]:
        assert f"## {section}\n" in page
    for group, key in (("drivers", "driver"), ("stages", "stage")):
        for name in entry_points(group=f"lineside.{group}").names:
            assert f"### {key}: {name}\n" in page
    for model, name, option in options():
        meaning = option["description"].replace("|", "\\|")
        assert any(r.startswith(f"| `{name}` |") and r.endswith(f"| {meaning} |") for r in page.splitlines()), model
    assert "| `timeout` | duration | `4s` | how long to wait for an answer |" in page
    assert markdown({"properties": {"sync": {}}}).endswith(
        "## sync\n\nThe package that brings it is not installed here.\n"
    )
    assert "`tags.NAME.writable`: allows writing a tag" in page and "| any |" not in page


def test_defaults_are_written_as_a_person_would() -> None:
    assert [as_duration(x) for x in (0.0, 0.1, 1.5, 60.0, 90.0, 259200.0)] == [
        "0s",
        "100ms",
        "1.5s",
        "1min",
        "90s",
        "72h",
    ]
    assert [as_size(x) for x in (500, 64_000, 4 * 10**9, 1_500_000)] == ["500B", "64kB", "4GB", "1500kB"]
    assert all(seconds(as_duration(x)) == x for x in (0.1, 60.0, 90.0)) and octets(as_size(1_500_000)) == 1_500_000


@pytest.mark.parametrize("name", sorted(p.parent.name for p in (ROOT / "drivers").glob("*/driver.py")))
def test_a_drivers_readme_has_wiring_limits_and_its_options(name: str) -> None:
    page = (ROOT / "drivers" / name / "README.md").read_text("utf-8")
    assert "\n## Wiring\n" in page and "\n## Limits\n" in page
    assert f"(../../docs/options.md#driver-{name})" in page
    assert f"### driver: {name}\n" in (ROOT / "docs" / "options.md").read_text("utf-8")
