"""`lineside plane`: what it can be told to do, and that what is said before a verb counts for it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from edge.cli import main
from sync.control_plane import commands
from sync.control_plane.ca import Authority
from sync.control_plane.where import Where


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    commands.arguments(parser)
    return parser.parse_args(words)


def test_without_a_verb_it_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    served: list[Where] = []

    async def serve(where: Where) -> None:
        served.append(where)

    monkeypatch.setattr(commands, "serve", serve)
    words = ["--folder", str(tmp_path), "--port", "0", "--name", "a", "--name", "b"]
    for asked in (["plane", *words], ["plane", "serve", *words], ["plane", *words, "serve"]):
        assert main(asked) == 0
    assert served[0].folder == tmp_path and served[0].device_port == 0 and served[0].names == ("a", "b")
    assert served[1:] == served[:1] * 2


def test_what_is_said_before_a_verb_counts_and_after_it_too() -> None:
    assert parsed("--folder", "/a", "devices").folder == Path("/a") == parsed("devices", "--folder", "/a").folder
    assert parsed("--url", "https://a:1", "proxy").url == parsed("proxy", "--url", "https://a:1").url == "https://a:1"
    assert parsed("devices").folder.name == "plane"


@pytest.mark.parametrize("name", [name for name in commands.VERBS if name != "serve"])
def test_no_verb_takes_an_option_of_the_plane_for_its_own(name: str) -> None:
    whole, its = argparse.ArgumentParser(), argparse.ArgumentParser()
    commands.arguments(whole)
    commands.VERBS[name].arguments(its)
    plane = {action.dest: action for action in whole._actions}
    for action in its._actions:
        same = plane.get(action.dest)
        assert same is None or action.dest == "help" or same.help == action.help


@pytest.mark.parametrize(
    "words", [["devices"], ["revoke", "a"], ["invite"], ["complete", "a", "b"], ["backup", "file"]]
)
def test_where_no_plane_has_run_none_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["plane", *words, "--folder", str(tmp_path / "none")]) == 2
    assert f"no plane has run in {tmp_path / 'none'}" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_nobody_is_invited_to_a_plane_that_never_listened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Authority(tmp_path)
    assert main(["plane", "invite", "--folder", str(tmp_path)]) == 2
    assert "has not listened for devices yet" in capsys.readouterr().err
