"""The README's commands exist and its site is a good one."""

from __future__ import annotations

import re
from pathlib import Path

from edge import plugins
from edge.config.load import load_text
from edge.rehearse import rehearse

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def test_commands_exist() -> None:
    asked = set(re.findall(r"`?lineside ([a-z]+)", README)) - {"lineside"}
    assert asked and asked <= set(plugins.names("commands")), asked - set(plugins.names("commands"))
    targets = set(re.findall(r"(?:^    |`)make ([a-z-]+)", README, re.M))
    assert targets <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)), targets


def test_the_site_in_it_is_fine_and_passes_its_own_test() -> None:
    (site,) = re.findall(r"```yaml\n(.*?)```", README, re.S)
    config = load_text(site)
    assert not config.problems, config.problems
    assert [rehearse(config, test).faults for test in config.tests] == [[]]


def test_links_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("drivers/*/README.md")]
    for page in pages:
        for target, heading in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text("utf-8")):
            if not target.startswith("http"):
                there = page.parent / target if target else page
                assert there.exists(), f"{page.name}: {target}"
                titles = re.findall(r"^#+ (.*)", there.read_text("utf-8"), re.M) if heading else []
                anchors = {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}
                assert not heading or heading in anchors, f"{page.name}: {target}#{heading}"


def test_the_field_guides_say_the_same() -> None:
    rows = [
        [
            sorted(re.findall(r"`[^`]+`", row))
            for row in (ROOT / "docs" / name).read_text("utf-8").splitlines()
            if row[:1] == "|"
        ]
        for name in ("field-guide.md", "field-guide.zh.md")
    ]
    assert len(rows[0]) > 15 and rows[0] == rows[1]
