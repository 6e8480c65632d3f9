"""What `docs/commissioning.md` says can be typed, and does what it says."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from edge import plugins
from edge.cli import main
from edge.commands.report import expectations

PAGE = (Path(__file__).parent.parent / "docs" / "commissioning.md").read_text("utf-8")


def test_every_command_on_the_page_takes_its_words() -> None:
    typed = re.findall(r"^    lineside (.*)$", PAGE, re.M) + re.findall(r"`lineside (\w+ [^`]*)`", PAGE)
    assert len(typed) > 8
    for line in typed:
        name, *words = shlex.split(line)
        command, parser = plugins.find("commands", name), argparse.ArgumentParser(exit_on_error=False)
        command.arguments(parser)
        try:
            parser.parse_intermixed_args(words)
        except TypeError:
            parser.parse_args(words)


def test_what_is_shown_is_what_comes(capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.findall(r"```console\n\$ lineside (.*?)\n(.*?)```", PAGE, re.S)
    assert shown
    for line, output in shown:
        main(shlex.split(line))
        assert capsys.readouterr().out == output, line


def test_the_expectation_on_the_page_is_read(tmp_path: Path) -> None:
    (text,) = re.findall(r"```csv\n(.*?)```", PAGE, re.S)
    path = tmp_path / "expected.csv"
    path.write_text(text)
    assert set(expectations(path, ["plc.oil_temp", "plc.stop"])) == {"plc.oil_temp", "plc.stop"}
