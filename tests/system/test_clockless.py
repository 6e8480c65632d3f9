"""A device whose certificate ran out while it was away, and whose clock stands at 1970: it comes back by itself."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from cryptography import x509

pytest.importorskip("fastapi", reason="needs the plane extra")

from edge.bench.process import free_port, running, wait_for
from edge.bench.stack import lineside, plane
from edge.control import NAME
from sync.control_plane import ca
from sync.device import identity, key
from sync.device.certificate import Certificate

FAKE = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
SITE = """
device: {{id: away}}
drivers:
  plc: {{driver: modbus, url: "tcp://127.0.0.1:{port}", every: 100ms, tags: {{temp: {{address: "holding:0", type: int16}}}}}}
journal: {{block: 300ms, durable_within: 100ms}}
sync: {{url: "{url}"}}
"""


@pytest.mark.skipif(FAKE is None, reason="faketime is not installed: make system-packages")
@pytest.mark.parametrize("clock", ["@1970-01-05 00:00:00", ""], ids=["1970", "right"])
def test_a_device_that_was_away_too_long_renews_its_certificate_and_delivers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    site, state = tmp_path / "site.yaml", tmp_path / "device"
    with plane(tmp_path / "plane"):
        site.write_text(SITE.format(port=free_port(), url=(tmp_path / "plane" / "url").read_text()))
        lineside("enroll", site, lineside("plane", "invite", "--folder", tmp_path / "plane"), "--state", state)
        monkeypatch.setattr(ca, "CLIENT_DAYS", -0.5)
        me = identity.load(state, "away")
        expired = ca.Authority(tmp_path / "plane").client(ca.Asked.read(key.request(me.key, "away").encode()))
        certificate = Certificate(state, me)
        certificate.keep(expired)
        assert certificate.over == 1
        env = {"LD_PRELOAD": str(FAKE), "FAKETIME": clock, "FAKETIME_DONT_FAKE_MONOTONIC": "1"} if clock else {}
        with (
            running("sim", site, log=tmp_path / "sim.log"),
            running("run", site, "--state", state, log=tmp_path / "device.log", env=env),
        ):
            wait_for((state / NAME).exists, 120, "a start")

            def delivered() -> int:
                with contextlib.closing(sqlite3.connect(f"file:{tmp_path}/plane/plane.db?mode=ro", uri=True)) as db:
                    return int(db.execute("SELECT count(*) FROM applied WHERE device = 'away'").fetchone()[0])

            wait_for(lambda: certificate.path.read_bytes() != expired + me.key.encode(), 120, "a new certificate")
            wait_for(delivered, 120, "a delivery")
        fresh = x509.load_pem_x509_certificate(certificate.path.read_bytes())
        assert fresh.public_key() == key.private(me.key).public_key(), "the key is the enrolled one"
