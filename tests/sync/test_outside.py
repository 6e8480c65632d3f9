"""An authority of somebody else's, here `openssl ca`, signs for a plane; what it should not have signed is not believed."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge import LinesideError
from edge.cli import main
from sync import chain, wire
from sync.control_plane import outside, signing
from sync.control_plane.ca import Asked, Authority
from sync.control_plane.outside import AuthorityOptions
from sync.control_plane.plane import Plane
from sync.control_plane.plane_file import load
from sync.control_plane.where import Where
from sync.device import identity, key
from sync.device.certificate import Certificate
from sync.device.transport import Https
from tests.sync.test_issuer import STANDS, enrolled

CONF = """
[ca]
default_ca = ours
[ours]
dir = {folder}
new_certs_dir = {folder}
database = {folder}/index
serial = {folder}/serial
certificate = {folder}/issuing.pem
private_key = {folder}/issuing.key
default_md = sha256
policy = any
unique_subject = no
email_in_dn = no
[any]
commonName = supplied
[issuing]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[device]
basicConstraints = critical, CA:false
extendedKeyUsage = clientAuth
authorityKeyIdentifier = keyid
[plane]
basicConstraints = critical, CA:false
extendedKeyUsage = clientAuth
[witness]
basicConstraints = critical, CA:false
extendedKeyUsage = critical, timeStamping
[server]
basicConstraints = critical, CA:false
extendedKeyUsage = serverAuth
subjectAltName = ${{ENV::LINESIDE_NAMES}}
authorityKeyIdentifier = keyid
[careless]
basicConstraints = critical, CA:false
extendedKeyUsage = clientAuth, serverAuth
"""
SIGN = """#!/bin/sh
cd {folder} && cat > request.pem && echo "$LINESIDE_KIND $LINESIDE_NAME" >> asked &&
openssl ca -batch -notext -config ca.cnf -extensions ${{1:-$LINESIDE_KIND}} -days "$LINESIDE_DAYS" \\
  -in request.pem -out signed.pem &&
cat signed.pem issuing.pem middle.pem root.pem
"""
RSA = "-newkey rsa:2048 -nodes"
BELOW = "-CAcreateserial -days 900 -extfile ca.cnf -extensions issuing"


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """The folder of an authority of three levels with RSA keys: `root.pem`, and `sign` for requests."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed (make system-packages)")
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "ca.cnf").write_text(CONF.format(folder=folder))
    (folder / "index").touch()
    (folder / "serial").write_text("1000\n")
    (folder / "sign").write_text(SIGN.format(folder=folder))
    (folder / "sign").chmod(0o755)
    for words in (
        f"req -x509 {RSA} -keyout root.key -out root.pem -days 3650 -subj /CN=Works",
        f"req {RSA} -keyout middle.key -out middle.csr -subj /CN=Middle",
        f"x509 -req -in middle.csr -CA root.pem -CAkey root.key {BELOW} -out middle.pem",
        f"req {RSA} -keyout issuing.key -out issuing.csr -subj /CN=Machines",
        f"x509 -req -in issuing.csr -CA middle.pem -CAkey middle.key {BELOW} -out issuing.pem",
    ):
        env = {"LINESIDE_NAMES": "DNS:none"}
        subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True, env=env)
    return folder


def options(theirs: Path, within: str = "60s") -> AuthorityOptions:
    given = {"root": str(theirs / "root.pem"), "command": [str(theirs / "sign")], "within": within}
    return AuthorityOptions.model_validate(given)


def asked() -> Asked:
    return Asked.read(key.request(key.made(), "d").encode())


def test_devices_are_enrolled_renewed_and_let_in_by_certificates_of_theirs(
    tmp_path: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "plane.yaml"
    file.write_text(f"authority: {{root: {theirs}/root.pem, command: [{theirs}/sign], within: 60s}}\n")
    assert load(file).faults == []

    async def work() -> None:
        folder = tmp_path / "plane"
        it = Plane(Where(folder, device_port=0, page_port=0, config=file))
        await it.start()
        assert not (folder / "ca.key").exists() and it.authority.pem == (theirs / "root.pem").read_text()
        me = await enrolled(it, tmp_path / "d")
        asked = (theirs / "asked").read_text()
        again = Https(me)
        await again.exchange("POST", "/d/v1/certificate", key.request(me.key, "d").encode())
        again.close()
        assert (theirs / "asked").read_text() == asked, "who asks again at once keeps nobody busy"
        monkeypatch.setattr(signing, "REPEATED", 0.0)
        issued = chain.read((tmp_path / "d" / "device.pem").read_bytes())
        assert [cert.subject.rfc4514_string() for cert in issued] == ["CN=d", "CN=Machines", "CN=Middle"]
        line = Https(me, certificate := Certificate(tmp_path / "d", me))
        assert certificate.over < 1 and await line.exchange("GET", STANDS) == wire.pack_ack({})
        await certificate.renew(line.exchange)
        assert chain.read((tmp_path / "d" / "device.pem").read_bytes())[0] != issued[0]
        assert await line.exchange("GET", STANDS) == wire.pack_ack({})
        assert (theirs / "asked").read_text().split("\n")[0].startswith("server ")

        (theirs / "sign").write_text("#!/bin/sh\necho the vault is sealed >&2; exit 3\n")
        with pytest.raises(LinesideError, match="who signs certificates for the plane does not answer"):
            await line.exchange("POST", "/d/v1/certificate", key.request(me.key, "d").encode())
        other = await enrolled(it, tmp_path / "e", "e")
        assert other.device == "e" and not (tmp_path / "e" / "device.pem").exists(), "it is enrolled, and asks again"
        line.close()
        (theirs / "sign").write_text(SIGN.format(folder=theirs))
        line = Https(replace(other, url=it.url), Certificate(tmp_path / "e", other))
        assert await line.exchange("GET", STANDS) == wire.pack_ack({})
        line.close()
        await it.stop()
        other_plane = Plane(Where(folder, device_port=0, page_port=0))  # the folder remembers who signs
        await other_plane.start()
        line = Https(replace(me, url=other_plane.url), Certificate(tmp_path / "d", me))
        assert await line.exchange("GET", STANDS) == wire.pack_ack({})
        line.close()
        await other_plane.stop()

    asyncio.run(work())
    assert main(["plane", "issuer", "--folder", str(tmp_path / "plane")]) == 2
    assert identity.load(tmp_path / "d", "d").ca == (theirs / "root.pem").read_text()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo the vault is sealed >&2; exit 3", "ended with 3: the vault is sealed"),
        ("exit 0", "printed no certificate"),
        ("exec sleep 600", "has not answered within 0.5 s"),
        ("cat issuing.pem middle.pem", "it is for another key"),
        ("cat root.pem", "it does not lead to `root`; print the certificate first"),
        ("{sign} | head -n -1 >/dev/null; cat signed.pem", "it does not lead to `root`"),
        ("{careless}", "its extended key usage has to be clientAuth"),
        ("{issuing}", "it could sign others"),
        ("{renamed}", "it is for CN=somebody"),
    ],
)
def test_what_they_should_not_have_signed_is_not_believed(tmp_path: Path, theirs: Path, script: str, why: str) -> None:
    (theirs / "own").write_text(SIGN.format(folder=theirs))
    sign = f"sh {theirs}/own"
    renamed = SIGN.format(folder=theirs).replace("openssl ca", "openssl ca -subj /CN=somebody")
    given = {"sign": sign, "careless": f"{sign} careless", "issuing": f"{sign} issuing", "renamed": renamed}
    (theirs / "sign").write_text(f"#!/bin/sh\ncd {theirs}\n{script.format(**given)}\n")
    outside.choose(tmp_path / "plane", options(theirs, "500ms" if "sleep" in script else "60s"))
    with pytest.raises(LinesideError) as caught:
        Authority(tmp_path / "plane").client(asked())
    assert why in str(caught.value) and "`authority` of its file" in str(caught.value)


def test_a_device_wishes_for_nothing_in_its_request(theirs: Path) -> None:
    """Who signs may grant it: to be an authority, or to be a server of the plane's name."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "d")])
    wish = x509.CertificateSigningRequestBuilder().subject_name(name)
    wish = wish.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    request = wish.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    with pytest.raises(wire.WireFault):
        Asked.read(request.public_bytes(serialization.Encoding.PEM))


def test_an_authority_that_cannot_be_is_told(tmp_path: Path, theirs: Path) -> None:
    Authority(tmp_path / "plane")
    for options_, why in (
        (options(theirs), "the devices of this plane know another root than"),
        (AuthorityOptions(root=str(tmp_path / "none"), command=["sh"]), "is no file with one certificate"),
        (AuthorityOptions(root=str(theirs / "root.pem"), command=["/no/such"]), "there is no program /no/such"),
    ):
        with pytest.raises(LinesideError, match=why):
            outside.choose(tmp_path / "plane", options_)
    assert not (tmp_path / "plane" / "signer").exists()
    file = tmp_path / "plane.yaml"
    file.write_text("authority: {command: [sign], rot: x}\n")
    assert len(load(file).faults) == 1 and "unknown option 'rot', did you mean 'root'?" in load(file).faults[0]
