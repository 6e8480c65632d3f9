"""Which release goes on is settled at the start: the one on trial, the one that did well, or the one that was installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge import ReleaseTrial, begin_release, release_ended, release_home, release_on_trial, version_of
from edge.release import confirm

ROOT = Path(__file__).parents[2]
SITE = "device: {id: d}\nsync: {url: 'https://x', installs: [runtime]}\n"
START = """
import sys
from edge import load_site
from edge.release import hand_over
from pathlib import Path
hand_over(load_site(Path(sys.argv[1])), Path(sys.argv[2]), ["run", "x"])
print("the one that was installed")
"""


def starts(folder: Path, site: str = SITE) -> str:
    (folder / "site.yaml").write_text(site)
    words = [sys.executable, "-c", START, str(folder / "site.yaml"), str(folder)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, check=True, capture_output=True, text=True, env=env).stdout.strip()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    found = release_home(tmp_path)
    found.mkdir(parents=True)
    return found


def release(home: Path, version: str) -> Path:
    """One whose program says how it was started."""
    place = home / f"{version}-0123456789abcdef"
    (place / "bin").mkdir(parents=True)
    program = place / "bin" / "lineside"
    program.write_text('#!/bin/sh\necho "$LINESIDE_RELEASE $* ${PYTHONPATH:-clean}"\n')
    program.chmod(0o755)
    return place


def trial(home: Path, version: str, place: Path) -> None:
    begin_release(home, place, ReleaseTrial(version, 7, ("plc",)))


def test_what_did_well_runs_and_takes_nothing_of_ours_along(home: Path, tmp_path: Path) -> None:
    assert starts(tmp_path) == "the one that was installed"
    trial(home, "2", release(home, "2"))
    assert starts(tmp_path) == "2 run x clean"
    found = release_on_trial(home)
    assert found is not None and found.starts == 1
    confirm(home, found, "well")
    assert release_on_trial(home) is None and starts(tmp_path) == "2 run x clean"
    assert (version_of(home / "current"), version_of(home / "candidate")) == ("2", "")


def test_a_site_that_does_not_allow_it_runs_what_was_installed(home: Path, tmp_path: Path) -> None:
    place = release(home, "2")
    (home / "current").symlink_to(place.name)
    assert starts(tmp_path) == "2 run x clean"
    for site in (SITE.replace("runtime", "model"), "device: {id: d}\n", "device: {id: d}\nsync: x\n"):
        assert starts(tmp_path, site) == "the one that was installed"
    assert starts(tmp_path, SITE + "nonsense: 1\n") == "2 run x clean", "a fault of a newer release's site is its own"


def test_one_that_never_was_well_is_given_up_at_its_fourth_start(home: Path, tmp_path: Path) -> None:
    (home / "current").symlink_to(release(home, "2").name)
    trial(home, "3", release(home, "3"))
    assert [starts(tmp_path)[:1] for _ in range(4)] == ["3", "3", "3", "2"]
    how = release_ended(home)
    assert how is not None and (how.version, how.state) == ("3", "rolled_back") and "started 3 times" in how.reason
    assert starts(tmp_path)[:1] == "2"


def test_one_that_cannot_be_started_is_given_up_at_once(home: Path, tmp_path: Path) -> None:
    place = release(home, "3")
    trial(home, "3", place)
    (place / "bin" / "lineside").unlink()
    assert starts(tmp_path) == "the one that was installed"
    how = release_ended(home)
    assert how is not None and "cannot be started: No such file" in how.reason


@pytest.mark.parametrize("text", ["", "[]", "{", json.dumps({"version": "3"})])
def test_a_trial_that_nobody_can_read_is_none(home: Path, tmp_path: Path, text: str) -> None:
    (home / "current").symlink_to(release(home, "2").name)
    trial(home, "3", release(home, "3"))
    (home / "trial.json").write_text(text)
    assert starts(tmp_path)[:1] == "2"
