"""`docs/first-meter.md` is typed word for word: each command ends well, and what the page shows is what comes."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "first-meter.md").read_text("utf-8")
READY = {"sim": "all devices of", "run": "runs; its journal is"}

pytestmark = pytest.mark.system


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return str(free.getsockname()[1])


def commands(block: str) -> list[tuple[str, list[str]]]:
    """(command, lines that it shows) of a console block."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.strip():
            found[-1][1].append(line.strip())
    return found


def test_the_page_works_word_for_word(tmp_path: Path) -> None:
    port = free_port()
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "lineside").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edge.cli "$@"\n')
    (bin_ / "lineside").chmod(0o755)
    root = str(Path(__file__).parent.parent)
    env = {
        **os.environ,
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "PYTHONPATH": root,
        "LINESIDE_STATE": str(tmp_path / "state"),
    }
    with contextlib.ExitStack() as until_end:
        for kind, text in re.findall(r"```(\w+)\n(.*?)```", PAGE.replace("5020", port), re.S):
            if kind in ("yaml", "csv"):
                name, _, rest = text.partition("\n")
                (tmp_path / name.removeprefix("# ")).write_text(rest)
                continue
            for command, shown in commands(text):
                if command.endswith("&"):
                    until_end.enter_context(background(command.rstrip("& "), tmp_path, env))
                    continue
                done = subprocess.run(command, shell=True, cwd=tmp_path, env=env, capture_output=True, text=True)
                said = done.stdout + done.stderr
                assert done.returncode == 0 and "Traceback" not in said, f"{command}\n{said}"
                for line in shown:
                    assert line in said, f"{command}\nshows no {line!r}:\n{said}"
        assert "231.4" in (tmp_path / "sheet.html").read_text("utf-8")
        assert (tmp_path / "m.rec").stat().st_size > 100


@contextlib.contextmanager
def background(command: str, folder: Path, env: dict[str, str]):  # type: ignore[no-untyped-def]
    word = command.split()[1]
    log = folder / f"{word}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command.split(), cwd=folder, env=env, stdout=out, stderr=out)
    try:
        end = time.monotonic() + 30
        while READY[word] not in log.read_text():
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(20)
