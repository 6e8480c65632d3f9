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
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
