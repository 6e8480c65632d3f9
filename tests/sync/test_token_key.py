"""A device whose key lies in a TPM, or on a token of PKCS #11: enrolled, let in and renewed by it, and it is nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

pytest.importorskip("fastapi", reason="needs the plane extra")

from edge import DeviceLost, LinesideError
from edge.bench.process import free_port, running, wait_for
from edge.bench.stack import lineside, plane
from edge.cli import main
from sync import chain
from sync.control_plane import ca
from sync.device import identity, key, pkcs11
from sync.device.certificate import Certificate
from sync.device.identity import Identity
from sync.device.transport import Https
from tests.tokens import Token, softhsm, tpm

SITE = """
device: {{id: press-4}}
drivers:
  plc: {{driver: modbus, url: "tcp://127.0.0.1:{port}", every: 100ms, tags: {{temp: {{address: "holding:0", type: int16}}}}}}
journal: {{block: 300ms, durable_within: 100ms}}
sync: {{url: "{url}"}}
"""


@pytest.mark.system
@pytest.mark.parametrize("kind", [tpm, softhsm])
def test_a_device_whose_key_is_on_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Callable[[Path], AbstractContextManager[Token]]
) -> None:
    site, state = tmp_path / "site.yaml", tmp_path / "device"
    with kind(tmp_path / "token") as token, plane(tmp_path / "plane"):
        for name, value in token.env.items():
            monkeypatch.setenv(name, value)
        site.write_text(SITE.format(port=free_port(), url=(tmp_path / "plane" / "url").read_text()))
        words = lineside("plane", "invite", "--folder", tmp_path / "plane")
        with pytest.raises(LinesideError, match="no such key is on the token"):
            lineside("enroll", site, words, "--state", state, "--key", token.uri.replace("=device", "=other"))
        token.forget()
        said = lineside("enroll", site, words, "--state", state, "--key", token.uri)
        token.forget()
        assert said.startswith("press-4 is enrolled with https://")
        assert identity.load(state, "press-4").key == token.uri
        assert not [file for file in state.iterdir() if b"PRIVATE KEY" in file.read_bytes()], "the key is in no file"

        leaf = chain.read((state / "device.pem").read_bytes())[0]
        public = leaf.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        monkeypatch.setattr(ca, "CLIENT_DAYS", -0.5)
        expired = ca.Authority(tmp_path / "plane").client(ca.Asked("press-4", public))
        (state / "device.pem").write_bytes(expired)
        with (
            running("sim", site, log=tmp_path / "sim.log"),
            running("run", site, "--state", state, log=tmp_path / "device.log"),
        ):

            def delivered() -> int:
                with contextlib.closing(sqlite3.connect(f"file:{tmp_path}/plane/plane.db?mode=ro", uri=True)) as db:
                    return int(db.execute("SELECT count(*) FROM applied WHERE device = 'press-4'").fetchone()[0])

            wait_for(
                lambda: (state / "device.pem").read_bytes() != expired, 120, "a new certificate, by its own signature"
            )
            wait_for(delivered, 120, "a delivery")
        fresh = x509.load_pem_x509_certificate((state / "device.pem").read_bytes())
        assert fresh.public_key() == public


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("pkcs11:object=d", "is no key of a token as it is written here (pkcs11:token=NAME"),
        ("pkcs11:object=d;pin-value=1?module-path=/bin/sh", "is no key of a token as it is written here"),
        ("pkcs11:object=d?module-path=/no/such.so", "there is no module /no/such.so"),
        ("pkcs11:object=d?module-path=/bin/sh&pin-source=file:/no/such", "the PIN cannot be read from /no/such"),
        ("pkcs11:object=d?module-path=/bin/sh&pin=7", "'pin' of pkcs11:object=d is not known"),
    ],
)
def test_a_key_that_is_written_wrongly_is_told(uri: str, why: str) -> None:
    with pytest.raises(LinesideError) as caught:
        pkcs11.on_token(uri)
    assert why in str(caught.value)


def test_a_pin_that_everybody_reads_is_none(tmp_path: Path) -> None:
    pin = tmp_path / "pin"
    pin.write_text("5678\n")
    pin.chmod(0o644)
    with pytest.raises(LinesideError, match=r"everybody here may read the PIN in .* \(chmod 600"):
        pkcs11.on_token(f"pkcs11:object=d?module-path=/bin/sh&pin-source=file:{pin}")


def test_enrolling_with_what_is_no_key_of_a_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "site.yaml").write_text("device: {id: d}\n")
    assert main(["enroll", str(tmp_path / "site.yaml"), "x", "--key", "tpm"]) == 2
    assert "tpm is no key of a token" in capsys.readouterr().err


def test_a_token_that_was_pulled_out_is_waited_for_and_said(tmp_path: Path) -> None:
    """The plane would say that it does not know this device, which is another matter."""

    async def work() -> None:
        authority = ca.Authority(tmp_path / "a")
        me = Identity("d", "https://127.0.0.1:1", "s", authority.pem, "pkcs11:token=t;object=d?module-path=/no/such.so")
        (tmp_path / "device.pem").write_bytes(authority.client(ca.Asked.read(key.request(key.made(), "d").encode())))
        assert Certificate(tmp_path, me).over == 1
        line = Https(me, Certificate(tmp_path, me))
        with pytest.raises(DeviceLost, match=r"the key of this device cannot be used: there is no module /no/such.so"):
            await line.exchange("GET", "/d/v1/dn")
        line.close()

    asyncio.run(work())
