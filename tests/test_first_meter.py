"""`docs/first-meter.md` and `first-hall.md` are typed word for word: each command ends well, and shows what the page shows."""

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

DOCS = Path(__file__).parent.parent / "docs"
METER, HALL = ((DOCS / name).read_text("utf-8") for name in ("first-meter.md", "first-hall.md"))
READY = {"sim": "all devices of", "run": "runs; its journal is", "replay": "simulated Modbus device on"}
PORTS = ("5020", "5021", "5022", "4840", "8081")
FINGERPRINT = "3f2a91c05b7d6e84"  # on the page; each server has its own

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


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "lineside").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edge.cli "$@"\n')
    (bin_ / "lineside").chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "PYTHONPATH": str(DOCS.parent),
        "LINESIDE_STATE": str(tmp_path / "state"),
    }


def typed(page: str, folder: Path, env: dict[str, str]) -> None:
    """Write the page's files and type its commands, in its order, on ports of our own."""
    for port in PORTS:
        page = page.replace(port, free_port())
    seen = ""
    with contextlib.ExitStack() as until_end:
        for kind, name, text in re.findall(r"```(\w+)(?: (\S+))?\n(.*?)```", page, re.S):
            if kind != "console":
                first, _, rest = text.partition("\n")
                (folder / (name or first.removeprefix("# "))).write_text(text if name else rest)
                continue
            for command, shown in commands(text):
                command = command.replace(FINGERPRINT, seen)
                if command.endswith("&"):
                    until_end.enter_context(background(command.rstrip("& "), folder, env))
                    continue
                done = subprocess.run(command, shell=True, cwd=folder, env=env, capture_output=True, text=True)
                said = done.stdout + done.stderr
                assert done.returncode == 0 and "Traceback" not in said, f"{command}\n{said}"
                if found := re.search("^SHA-256 +([0-9a-f]{16})", said, re.M):
                    seen = found[1]
                for line in shown:
                    line = line.replace(FINGERPRINT, seen)
                    assert line in said, f"{command}\nshows no {line!r}:\n{said}"


def test_the_meter_is_taken_out_of_its_box(tmp_path: Path, env: dict[str, str]) -> None:
    typed(METER, tmp_path, env)
    assert "231.4" in (tmp_path / "sheet.html").read_text("utf-8")
    assert (tmp_path / "m.rec").stat().st_size > 100


def test_the_hall_is_taken_in(tmp_path: Path, env: dict[str, str]) -> None:
    pytest.importorskip("cv2", reason="cameras need the vision extra")
    typed(HALL, tmp_path, env)
    assert "MPPT" in (tmp_path / "hall.html").read_text("utf-8")
    assert len(list(tmp_path.glob("*.jpg"))) == 1


def test_every_tool_is_used_on_the_pages() -> None:
    used = {
        tuple(c.split()[1:3]) for t in re.findall(r"```console\n(.*?)```", METER + HALL, re.S) for c, _ in commands(t)
    }
    tools = {
        "read",
        "write",
        "browse",
        "probe",
        "decode",
        "doctor",
        "wire",
        "record",
        "replay",
        "report",
        "trust",
        "import",
    }
    assert tools <= {name for name, _ in used} and {("scan", "modbus"), ("scan", "cameras")} <= used


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
