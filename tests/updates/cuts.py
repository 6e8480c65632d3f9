"""Updates that are cut: a process that refreshes, brings and installs a model is killed at each of its file operations in turn, in
the folder that the ones before it left. After each there has to be a whole model that runs."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from edge import CURRENT, LinesideError, ManualClock, find_part
from sync.device.floor import Floors
from sync.device.install import Models
from sync.device.update_source import InFolder
from sync.device.updates import Updates
from tests.sync.signers import Signers

SHIPPED = Path(__file__).parent.parent.parent / "models" / "packages" / "washer"
EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.truncate", "subprocess.Popen")


class Bench:
    """A device with a stick on which two versions of a model are; version 1 is installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.signers = Signers(folder / "repo").begin()
        self.files: dict[str, dict[str, bytes]] = {}
        for version in ("1", "2"):
            self.files[version] = {path.name: path.read_bytes() for path in SHIPPED.iterdir()}
            self.files[version]["card.md"] += f"\nrelease {version}\n".encode()
            self.publish(version, self.files[version])
        self.clock = ManualClock(time.time_ns())
        self.updates.trust((folder / "repo" / "metadata" / "1.root.json").read_bytes())
        self.install("1")

    def publish(self, version: str, files: dict[str, bytes]) -> None:
        packed = self.folder / "packed.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
            for name, body in files.items():
                out.writestr(name, body)
        self.signers.add(f"model/washer-{version}", packed.read_bytes())

    @property
    def updates(self) -> Updates:
        floors = Floors((self.folder / "state", self.folder / "second"))
        return Updates(self.folder / "state" / "updates", floors, self.clock)

    @property
    def models(self) -> Models:
        return Models(self.updates)

    def install(self, version: str) -> Path:
        updates, source = self.updates, InFolder(self.folder / "repo")
        updates.refresh(source)
        updates.bring(source, f"model/washer-{version}")
        return Models(updates).install(f"model/washer-{version}")

    def runs(self) -> str:
        """The version that `current` leads to, file by file; "" where it is no whole one."""
        current = self.models.folder / "washer" / CURRENT
        try:
            found = {path.name: path.read_bytes() for path in current.iterdir()}
        except OSError:
            return ""
        return next((version for version, files in self.files.items() if found == files), "")

    def proves(self) -> bool:
        """Whether what runs passes its golden vectors."""
        try:
            find_part("proofs", "model")((self.models.folder / "washer" / CURRENT).resolve())
        except LinesideError:
            return False
        return True

    def forget(self) -> None:
        """What was brought comes anew, so that bringing is cut, too."""
        shutil.rmtree(self.folder / "state" / "updates" / "store", ignore_errors=True)


def cut(work: Callable[[], object], at: int) -> int:
    """Run it in a child that is killed at its file operation number `at`; how many it did where it came to its end before, or 0."""
    seen, told = os.pipe()
    child = os.fork()
    if child == 0:
        _in_child(work, at, told)
    os.close(told)
    with os.fdopen(seen, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return 0
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0, said.decode(errors="replace")
    return int(said)


def _in_child(work: Callable[[], object], at: int, told: int) -> None:
    count = 0

    def hook(event: str, _: object) -> None:
        nonlocal count
        if event in EVENTS:
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        sys.addaudithook(hook)
        work()
        os.write(told, str(count).encode())
        code = 0
    except BaseException as error:
        os.write(told, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(code)


def interrupted(bench: Bench, times: int, say: Callable[[str], None]) -> tuple[int, int]:
    """(interruptions, of these without a running version)."""
    done = stranded = 0
    at, version, long = 1, "2", 0
    while done < times:
        bench.forget()
        if steps := cut(lambda wanted=version: bench.install(wanted), at):  # type: ignore[misc]
            assert bench.runs() == version, "one that nobody cut is the one that runs"
            say(f"{steps} file operations of an update to version {version} were each cut once")
            long = max(long, steps)
            at, version = 1, "1" if version == "2" else "2"
            continue
        done, at = done + 1, at + 1
        if not bench.runs() or (done % 50 == 0 and not bench.proves()):
            stranded += 1
            say(f"STRANDED: cut at operation {at - 1} of an update to version {version}")
    return done, stranded
