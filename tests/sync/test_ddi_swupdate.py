"""SWUpdate as Debian ships it takes its firmware from the plane, as it would from hawkBit."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sync.control_plane import ddi
from sync.control_plane.invite import Wish, invited
from sync.control_plane.plane import Plane
from sync.control_plane.twin import Told, Want, told
from sync.device import enrolment, identity
from sync.device.certificate import FILE
from sync.invitation import token
from tests.sync.test_page import Ask, page

pytestmark = pytest.mark.skipif(
    not shutil.which("swupdate") or os.geteuid() != 0, reason="no swupdate, or not root (make system-packages)"
)
CONFIG = """
globals : {{ verbose = true; loglevel = 5; }};
suricatta : {{ tenant = "DEFAULT"; id = "gate-1"; url = "{url}"; polldelay = 1;
  cafile = "{folder}/ca.pem"; sslkey = "{folder}/key.pem"; sslcert = "{folder}/gate-1/{pem}"; }};
identify : ( {{ name = "board"; value = "rev3"; }} );
"""
WHAT = """software = {{ version = "1.0"; hardware-compatibility: [ "1.0" ];
  scripts: ( {{ filename = "do.sh"; type = "shellscript"; sha256 = "{sum}"; }} ); }}
"""


def archive(files: dict[str, bytes]) -> bytes:
    """cpio of the form newc."""
    out = b""
    for number, (name, body) in enumerate([*files.items(), ("TRAILER!!!", b"")]):
        named = name.encode() + b"\0"
        numbers = (number, 0o100755, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(named), 0)
        head = b"070701" + "".join(f"{one:08X}" for one in numbers).encode() + named
        out += head + b"\0" * (-len(head) % 4) + body + b"\0" * (-len(body) % 4)
    return out


def signed(folder: Path, script: bytes) -> bytes:
    """An image with that script, signed; who signs it is in `signer.pem`."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "images")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
    made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=9))
    made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    certificate = made.add_extension(x509.BasicConstraints(True, None), True).sign(key, SHA256())
    (folder / "signer.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    what = WHAT.format(sum=hashlib.sha256(script).hexdigest()).encode()
    how = [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoCapabilities]
    signature = pkcs7.PKCS7SignatureBuilder().set_data(what).add_signer(certificate, key, SHA256())
    return archive({"sw-description": what, "sw-description.sig": signature.sign(Encoding.DER, how), "do.sh": script})


@contextlib.asynccontextmanager
async def swupdate(folder: Path, *words: str) -> AsyncIterator[None]:
    """The daemon, with more words for what talks to the plane; what it says is in `swupdate.log`."""
    command = ["swupdate", "-f", f"{folder}/swupdate.cfg", "-H", "gate:1.0", "-k", f"{folder}/signer.pem", "-u"]
    with (folder / "swupdate.log").open("ab") as log:
        env = {"TMPDIR": str(folder), "PATH": "/usr/bin:/bin"}
        running = await asyncio.create_subprocess_exec(*command, " ".join(words), stdout=log, stderr=log, env=env)
        try:
            yield
        finally:
            running.terminate()
            await running.wait()


@pytest.mark.parametrize("good", [True, False])
def test_swupdate_installs_and_says_how_it_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good: bool) -> None:
    monkeypatch.setattr(ddi, "AWAKE", "00:00:01")
    monkeypatch.setattr(ddi, "SLEEP", "00:00:01")
    done = tmp_path / "done"
    image = signed(tmp_path, f"#!/bin/sh\n{f'touch {done}' if good else 'exit 7'}\n".encode())
    targets = tmp_path / "plane" / "updates" / "targets" / "firmware"
    targets.mkdir(parents=True)
    (targets / f"{hashlib.sha256(image).hexdigest()}.image-1").write_bytes(image)

    async def work(plane: Plane, ask: Ask) -> None:
        words = token(plane.url, plane.authority.fingerprint, await invited(plane.store, Wish()))
        await asyncio.to_thread(enrolment.enroll, words, "gate-1", tmp_path / "gate-1")
        me = identity.load(tmp_path / "gate-1", "gate-1")
        (tmp_path / "ca.pem").write_text(me.ca)
        (tmp_path / "key.pem").write_text(me.key)
        (tmp_path / "swupdate.cfg").write_text(CONFIG.format(url=plane.url, folder=tmp_path, pem=FILE))
        await plane.ingest.want([Want("gate-1", "firmware", "image", "1")])

        async def says(state: str, words: str) -> Told:
            while True:
                found = await plane.store.read(lambda c: told(c, "firmware", "image", ["gate-1"]))
                if found and found[0].state == state and words in found[0].reason:
                    return found[0]
                await asyncio.sleep(0.05)

        async with swupdate(tmp_path):
            if not good:
                assert (await says("refused", "")).running == "" and not done.exists()
                return
            await says("trying", "Installed")
            assert done.exists()
        async with swupdate(tmp_path, "-c", "2"):  # the image has started, and works
            assert (await says("running", "")).running == "1"

    page(tmp_path, work)
