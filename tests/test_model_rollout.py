"""What `docs/model-rollout.md` says is typed in, word for word, and ends as it says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")
pytest.importorskip("tuf", reason="needs the updates extra")
pytest.importorskip("ai_edge_litert", reason="needs the vision extra")

from edge.bench.process import free_port
from sync.control_plane import commands
from tests.walks import LONG

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "model-rollout.md").read_text("utf-8")
LINESIDE = '#!/bin/sh\nexec "{python}" -P -m edge.cli "$@"\n'
PYTHON = '#!/bin/sh\nexec "{python}" "$@"\n'


def test_every_verb_of_the_page_is_known() -> None:
    verbs = set(re.findall(r"lineside plane ([a-z]+)", PAGE))
    assert {"serve", "invite", "devices", "model", "rollout", "apikey"} <= verbs <= commands.VERBS.keys()


@pytest.mark.system
@pytest.mark.timeout(900)
@LONG
def test_the_page_can_be_typed_and_ends_in_production(tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.S | re.M)
    assert len(blocks) > 7
    script = "set -e\n" + "\n".join(blocks)
    for port in ("8443", "8080"):
        script = script.replace(port, str(free_port()))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("lineside", LINESIDE), ("python", PYTHON)):
        (programs / name).write_text(text.format(python=sys.executable))
        (programs / name).chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    with (work / "said").open("wb") as said:
        shell = subprocess.Popen(
            ["bash", "-c", script], cwd=work, env=env, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            shell.wait(timeout=800)
        finally:
            os.killpg(shell.pid, signal.SIGTERM)
    told = (work / "said").read_text()
    assert shell.returncode == 0, told[-4000:]
    versions = [line.split()[:2] for line in told.splitlines() if line.startswith("model/washer-")][-3:]
    assert versions[:2] == [["model/washer-3", "production"], ["model/washer-2", "retired"]]
    assert "3 run it" in next(line for line in reversed(told.splitlines()) if line.startswith("model/washer-3"))
    assert "refused it or went back from it" in told and "it stays where it is" in told
    models, rollout, twin = (json.loads(line) for line in told.splitlines() if line.startswith(("[{", "{")))
    assert [(one["version"], one["stage"]) for one in models] == [("2", "canary"), ("1", "draft")]
    assert (rollout["what"], rollout["state"], rollout["hits"]["failed"]) == ("model/washer-2", "halted", 1)
    assert "washer" in str(twin)
