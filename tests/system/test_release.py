"""A release of the runtime that the plane wants: installed beside the one that runs, started into, kept where it is well, and given
up by itself where it crashes or is not; nothing of the journal is lost on the way there and back."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import os
import signal
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")
pytest.importorskip("tuf", reason="needs the updates extra")

from sync.control_plane.twin import Told, Want, told
from sync.device.update_commands import opened
from tests.sync.signers import Signers
from tests.sync.test_spine import SITE, Rig
from tests.walks import LONG

ROOT = Path(__file__).parents[2]
SHORT = "import edge.release as r\nr.WITHIN, r.STEADY, r.LOOK = 20, 1, 0.1\n"
CRASHES = "import sys\nif 'run' in sys.orig_argv: sys.exit('this release crashes')\n"
ILL = "async def ill(*_): return 'plc does not run'\nr.WITHIN, r._ill = 2, ill\n"


def wheelhouse(version: str, more: str = "", says: str = "", entries: str = "") -> bytes:
    """A release as it is signed: a zip of wheels; here of one wheel that leads to this checkout, with `more` done at each start."""
    at, wheel = f"lineside-{says or version}.dist-info", io.BytesIO()
    files = {
        "lineside_release.pth": f"{ROOT}\n{sysconfig.get_path('purelib')}\n",
        "sitecustomize.py": more,
        f"{at}/METADATA": f"Metadata-Version: 2.1\nName: lineside\nVersion: {says or version}\n",
        f"{at}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{at}/entry_points.txt": entries or metadata.distribution("lineside").read_text("entry_points.txt") or "",
    }
    with zipfile.ZipFile(wheel, "w") as out:
        for name, text in files.items():
            out.writestr(name, text)
        sums = "".join(f"{n},sha256={_sum(t)},{len(t.encode())}\n" for n, t in files.items())
        out.writestr(f"{at}/RECORD", f"{sums}{at}/RECORD,,\n")
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as out:
        out.writestr(f"lineside-{says or version}-py3-none-any.whl", wheel.getvalue())
    return body.getvalue()


def _sum(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


class Line(Rig):
    """A device in its own process, as a service would run it."""

    daemon: subprocess.Popen[bytes]  # type: ignore[assignment]

    async def device_starts(self) -> None:
        self.signers = Signers(self.folder / "plane" / "updates").begin()
        root = self.signers.folder / "metadata" / "1.root.json"
        os.environ["LINESIDE_FLOOR"] = str(self.folder / "floor")
        opened("dev-1", self.folder / "dev", []).trust(root.read_bytes())
        site = self.folder / "site.yaml"
        text = SITE.format(port=self.sim.port, url=self.plane.url)
        site.write_text(text.replace("live: 100ms", "live: 100ms, installs: [runtime]"))
        words = [
            sys.executable,
            "-P",
            "-m",
            "edge.cli",
            "run",
            str(site),
            "--state",
            str(self.folder / "dev"),
            "--service",
        ]
        self.words, self.log = words, (self.folder / "log").open("ab")
        self.begin()

    def begin(self) -> None:
        """What the service's manager does."""
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.daemon = subprocess.Popen(self.words, stderr=self.log, stdout=self.log, env=env)

    async def __aexit__(self, *_: object) -> None:
        self.daemon.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self.daemon.wait)
        self.log.close()
        await self.sim.stop()
        await self.plane.stop()

    async def want(self, version: str, body: bytes) -> None:
        await asyncio.to_thread(self.signers.add, f"runtime/lineside-{version}", body)
        await self.plane.ingest.want([Want("dev-1", "runtime", "lineside", version)])

    async def says(self, state: str, words: str) -> Told:
        async def found() -> Told | None:
            assert self.daemon.poll() is None, (self.folder / "log").read_text()[-3000:]
            rows = await self.plane.store.read(lambda c: told(c, "runtime", "lineside", ["dev-1"]))
            return next((one for one in rows if one.state == state and words in one.reason), None)

        one: Told = await self.until(found, 300)
        return one


@pytest.mark.system
@LONG
def test_a_release_is_kept_where_it_is_well_and_given_up_by_itself_where_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINESIDE_FLOOR", str(tmp_path / "floor"))

    async def main() -> None:
        async with Line(tmp_path) as it:
            await it.want("8", wheelhouse("8", says="7"))
            refused = await it.says("refused", "says of itself that it is 7")
            assert refused.running == metadata.version("lineside")
            await it.want("8.1", wheelhouse("8.1", entries="[console_scripts]\nlineside = edge.cli:main\n"))
            await it.says("refused", "does not take the site of this device")
            await it.want("9", wheelhouse("9", SHORT))
            assert (await it.says("running", "well for 1 s")).running == "9"
            await it.want("10", wheelhouse("10", SHORT + CRASHES))

            async def crashed() -> bool:
                return it.daemon.poll() is not None

            for _ in range(3):
                await it.until(crashed, 300)
                it.begin()
            back = await it.says("rolled_back", "was started 3 times and never was well")
            assert back.running == "9"
            before = await it.count()
            await it.want("11", wheelhouse("11", SHORT + ILL))
            assert (await it.says("rolled_back", "not well within 2 s: plc does not run")).running == "9"

            async def more() -> bool:
                return await it.count() > before

            await it.until(more)
            gaps = await it.events("gap")
            assert not gaps, gaps

    asyncio.run(main())
