"""What `docs/templates.md` says works, word for word."""

from __future__ import annotations

import re
from pathlib import Path

from edge.config.load import load, load_text
from edge.shipped import templates

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "templates.md").read_text("utf-8")
SITE, TEMPLATE = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)[:2]


def test_the_site_on_the_page_reads_what_it_says() -> None:
    config = load_text("device: {id: d}\n" + SITE)
    assert not config.problems, config.problems
    points = config.points()
    assert [name for name in points if name.startswith("line1.press.")] == [
        "line1.press.p",
        "line1.press.import_kwh",
        "line1.press.own",
    ]
    assert (points["line1.press.p"].unit, points["line1.press.p"].deadband) == ("W", 10)


def test_the_template_on_the_page_works_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "boiler.yaml").write_text(TEMPLATE, "utf-8")
    (tmp_path / "site.yaml").write_text(
        "device: {id: d}\ndrivers: {b: {driver: modbus, url: tcp://a, template: boiler.yaml}}\n"
    )
    config = load(tmp_path / "site.yaml")
    assert not config.problems, config.problems
    assert list(config.points()) == ["b.power", "b.energy", "b.state"]


def test_every_shipped_template_is_named_on_the_page() -> None:
    assert all(f"`{name}`" in PAGE for name in templates())
