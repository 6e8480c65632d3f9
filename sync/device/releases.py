"""A release of the runtime that was brought, installed beside the one that runs: an environment of its own from nothing but the
wheels that were signed, without a network, and looked at before anything is handed over to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from edge import CANDIDATE, CURRENT, PREVIOUS, led_to, to_disk
from edge import release_home as home_of
from edge import release_sample as sample_of

from ..updates.manifest import Unusable, UpdateRefused, parted
from .download import SPARE
from .install import unpack
from .updates import Updates

MOST_WHEELS = 400
GROWS = 6  # so many times the wheels' size an environment may take
WITHIN = 900  # seconds
WHOLE = "whole"  # the file that says that an environment is


class Releases:
    """Methods block, some for minutes; they raise UpdateRefused and OSError, and leave what runs as it is."""

    def __init__(self, updates: Updates, state: Path) -> None:
        self._updates, self.home = updates, home_of(state)

    def place(self, path: str) -> Path:
        """The environment of a release that was brought; its folder is VERSION-DIGEST."""
        kind, name, version = parted(path)
        if (kind, name) != ("runtime", "lineside"):
            raise Unusable(f"{path} is no release of the runtime", hint="it is called runtime/lineside-VERSION")
        with self._updates.alone():
            packed = self._updates.verified(path)
            place = self.home / f"{version}-{packed.name[:16]}"
            if not (place / WHOLE).exists():
                self._sweep()
                self._make(packed, place, path)
            return place

    def _make(self, packed: Path, place: Path, path: str) -> None:
        """At its last place from the start: an environment cannot be moved. What is cut before the end is no release."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        wheels, needed = self.home / "wheels", GROWS * packed.stat().st_size + SPARE
        if (free := shutil.disk_usage(self.home).free) < needed:
            raise UpdateRefused(f"no room for {path}: it needs {needed:,} bytes, {free:,} are free")
        for folder in (wheels, place):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            unpack(packed, wheels, path, MOST_WHEELS)
            found = sorted(str(file) for file in wheels.glob("*.whl"))
            if not found or len(found) < len(list(wheels.iterdir())):
                raise Unusable(f"{path} holds other files than wheels, or none", hint="zip a folder of wheels")
            _run([sys.executable, "-m", "venv", str(place)], f"no environment for {path}")
            pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--no-index", "--no-deps", "--no-input"]
            _run([*pip, *found], f"{path} cannot be installed here")
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        finally:
            shutil.rmtree(wheels, ignore_errors=True)
        os.sync()  # thousands of files
        (place / WHOLE).touch()
        to_disk(place)

    def check(self, place: Path, path: str, site: Path, state: Path) -> None:
        """Whether it starts here, takes the site that runs, opens a copy of the journal, and leaves that so that this release opens
        it. Raises Unusable."""
        version = place.name.partition("-")[0]
        program, copy = str(place / "bin" / "lineside"), self.home / "journal.db"
        said = _run([program, "--version"], f"{path} does not start here").strip()
        if said != version:
            raise Unusable(f"{path} says of itself that it is {said[:40]}")
        _run([program, "check", str(site), "--state", str(state)], f"{path} does not take the site of this device")
        try:
            sample_of(state / "journal.db", copy)
            python = str(place / "bin" / "python")
            _run([python, "-P", "-m", "edge.release", str(copy)], f"{path} does not open the journal of this device")
            back = f"after {path} the release that runs could not open the journal any more"
            _run([sys.executable, "-P", "-m", "edge.release", str(copy)], back, ours=True)
        finally:
            for file in self.home.glob("journal.*"):
                file.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Nothing stays that no link names."""
        kept = {led_to(self.home / link) for link in (CURRENT, PREVIOUS, CANDIDATE)}
        for path in self.home.iterdir() if self.home.is_dir() else ():
            if path.is_dir() and not path.is_symlink() and path not in kept:
                self._updates.forget(path.name.partition("-")[2])
                shutil.rmtree(path, ignore_errors=True)


def _run(words: list[str], fault: str, ours: bool = False) -> str:
    """What a child says. Raises Unusable with its last line where it fails. Its surroundings are ours, but for what would bring
    our code into another release."""
    other = ("PIP_",) if ours else ("PIP_", "PYTHON", "LINESIDE_RELEASE")
    told = {key: value for key, value in os.environ.items() if not key.startswith(other)}
    told |= {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        done = subprocess.run(
            words, env=told, capture_output=True, text=True, errors="replace", timeout=WITHIN, cwd="/"
        )
    except subprocess.TimeoutExpired:
        raise Unusable(f"{fault}: no end within {WITHIN} s") from None
    if done.returncode:
        lines = [line for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
        raise Unusable(f"{fault}: {' '.join((lines or ['it says nothing'])[-1].split())[:300]}")
    return done.stdout
