"""Shared pieces of the tests. Nothing here sleeps or reaches the network beyond loopback."""

import gc
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("here", deadline=None)  # no test is failed by a clock
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
os.environ.pop("PYTHONUNBUFFERED", None)  # what a program says must reach a pipe at once by its own doing
gc.disable()  # until all tests are there
MEMORY = Path("/dev/shm")  # where a new database of PostgreSQL costs far less
if "TMPDIR" not in os.environ and MEMORY.is_dir():
    room = os.statvfs(MEMORY)
    if room.f_bavail * room.f_frsize > 4 * 2**30 and not room.f_flag & os.ST_NOEXEC and os.access(MEMORY, os.W_OK):
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)
DATA = Path(os.environ.get("DATA", Path(__file__).parent.parent.parent / "shared" / "data"))


LONG_FILES = {
    "alerts",
    "conform",
    "console",
    "demo",
    "faults",
    "first_meter",
    "fleet_pages",
    "full_disk",
    "garbage",
    "matrix",
    "node_opcua",
    "opcua_browse",
    "opcua_security",
    "openapi",
    "restored",
    "review_page",
    "reviews",
    "roles",
    "spine",
    "station_faults",
    "texture",
    "token_key",
    "torture",
    "twin_config",
    "twin_models",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take half a minute begin first, so that none of them is what all wait for in the end."""
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in LONG_FILES)


def pytest_collection_finish() -> None:
    """Five thousand tests are no garbage: looked through at each collection, they were a fifth of all computing."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    gc.enable()


@pytest.fixture(scope="session")
def data() -> Path:
    """The recorded real data; tests that use it are skipped where it is not."""
    if not DATA.is_dir():
        pytest.skip("the recorded data sets are not on this machine (set DATA=folder)")
    return DATA


@pytest.fixture(scope="session")
def libmodbus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Modbus TCP server built on libmodbus: an independent reading of the protocol."""
    source, out = Path(__file__).parent / "drivers" / "libmodbus_server.c", tmp_path_factory.mktemp("c") / "server"
    try:
        flags = subprocess.run(
            ["pkg-config", "--cflags", "--libs", "libmodbus"], capture_output=True, text=True, check=True
        ).stdout.split()
        empty = "#include <modbus.h>\n#include <stdio.h>\nint main(void) { return 0; }\n"
        subprocess.run(["cc", "-o", out, "-xc", "-", *flags], input=empty, text=True, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no C compiler with libmodbus: gcc libc6-dev libmodbus-dev pkg-config (make system-packages)")
    subprocess.run(["cc", "-o", out, source, *flags], check=True)
    return out


@pytest.fixture
def process() -> Iterator[list[subprocess.Popen[str]]]:
    """Child processes that end with the test."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for child in started:
        child.kill()
        child.communicate()
