"""The plane's private certificate authority: made at first start, kept in the plane's folder."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge import LinesideError

from .. import chain
from ..wire import WireFault
from . import issuer
from .issuer import Issuer, Wanted

SERVER_DAYS, CLIENT_DAYS = 365, 90
SERVES, KNOCKS = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
ISSUING = "issuing.pem"  # the key that signs, its certificate, and those of before
BACK = (
    "copy ca.key, ca.pem and issuing.pem back from a backup; with all three moved away a new authority is made and every device "
    "enrols anew"
)
MOST_KNOWN = 65_536  # certificates that are looked at once; more than one process has connections
PROXY = "lineside:proxy"  # the name of a proxy before the plane; no device can be called so


@dataclass(frozen=True)
class Asked:
    """A request for a certificate: who it says to be, and the public key, which it is proven to hold."""

    device: str
    public: ec.EllipticCurvePublicKey

    @classmethod
    def read(cls, request: bytes) -> Asked:
        """From PKCS #10, PEM. Raises WireFault."""
        try:
            asked = x509.load_pem_x509_csr(request)
            key, names = asked.public_key(), asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            fits = asked.is_signature_valid and len(names) == 1 and isinstance(key, ec.EllipticCurvePublicKey)
            if fits and isinstance(key.curve, ec.SECP256R1):  # type: ignore[union-attr]
                return cls(str(names[0].value), key)  # type: ignore[arg-type]
        except (ValueError, UnsupportedAlgorithm, InvalidSignature):
            pass
        raise WireFault("that is no request for a certificate with a P-256 key")

    @property
    def key(self) -> str:
        return hash_of(self.public)


def hash_of(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of a public key (SubjectPublicKeyInfo, RFC 5280), as hex: what is kept of it."""
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


class Authority:
    """The root that devices know, and the issuer that signs for it. Opens or makes both in `folder`; keys are 0600. Once there is
    an issuer the root's key (`ca.key`) may be taken away, until a new issuer is due. Raises LinesideError."""

    def __init__(self, folder: Path, root_key: Path | None = None) -> None:
        """`root_key`: where the root's key lies, if not in the folder; then a new issuer is made at once."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with alone(folder):
            if not (folder / "ca.pem").exists():
                self._make()
            self._root = self._read_root(folder / "ca.pem")
            self.pem = issuer.pem([self._root]).decode()
            key = self._root_key(root_key or folder / "ca.key")
            self._issuer, self.former = self._issuing(key, anew=root_key is not None)
        self._known: set[x509.Certificate] = set()
        self.signed: Callable[[bytes], bool]  # whether somebody whose word counts has signed that certificate (DER)
        self.learn([])

    def _make(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        keep(self._folder / "ca.key", issuer.private(key))
        keep(self._folder / "ca.pem", issuer.pem([issuer.root(key)]))

    def _read_root(self, file: Path) -> x509.Certificate:
        try:
            (cert,) = chain.read(file.read_bytes())
            if chain.may_issue(cert):
                return cert
        except (OSError, ValueError):
            pass
        raise LinesideError(
            f"{file} cannot be read",
            hint=BACK,
        )

    def _root_key(self, file: Path) -> ec.EllipticCurvePrivateKey | None:
        if not file.exists() and file.parent == self._folder:
            return None
        key = _key_of(file)
        if key is None or key.public_key() != self._root.public_key():
            raise LinesideError(
                f"{file} and ca.pem cannot be read, or are no pair",
                hint=BACK,
            )
        return key

    def _issuing(self, root: ec.EllipticCurvePrivateKey | None, anew: bool) -> tuple[Issuer, list[x509.Certificate]]:
        """The issuer, and those that were before it; a new one where there is none, where it is time for one, or `anew`."""
        file = self._folder / ISSUING
        key, found = _key_of(file), _certificates(file)
        now = None
        if key and found and key.public_key() == found[0].public_key() and chain.leads_to(self._root, found[:1]):
            now = Issuer(key, found[0])
        if now and not anew and (root is None or not now.due(self._root)):
            return now, found[1:]
        if root is None:
            raise LinesideError(
                f"{file} cannot be read, or is not of this authority",
                hint="copy it back from a backup, or make a new one: `lineside plane issuer --root-key FILE`",
            )
        fresh = issuer.issuer(root, self._root)
        keep(file, issuer.private(fresh.key) + issuer.pem([fresh.cert, *found]))
        return fresh, found

    @property
    def _since(self) -> datetime.datetime:
        return self._root.not_valid_before_utc

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the root's certificate, as hex; what a token carries."""
        return hashlib.sha256(self._root.public_bytes(serialization.Encoding.DER)).hexdigest()

    @property
    def until(self) -> datetime.datetime:
        """When the issuer's time is over."""
        return self._issuer.cert.not_valid_after_utc

    @property
    def due(self) -> bool:
        """Whether it is time for a new issuer, and the root's key is not here to make one."""
        return self._issuer.due(self._root)

    @property
    def issuers(self) -> list[str]:
        """Who signs here and who did before, as PEM."""
        return [issuer.pem([cert]).decode() for cert in (self._issuer.cert, *self.former)]

    def server(self, names: list[str], folder: Path | None = None, stem: str = "server") -> tuple[Path, Path]:
        """(certificates, key) for a listener of ours under these host names and addresses; made anew at each start, and good from
        when the authority was made: a device's clock may be far behind."""
        return self._own(names[0][:64], SERVER_DAYS, [SERVES], folder, stem, names, self._since)

    def proxy(self, names: list[str]) -> tuple[Path, Path]:
        """(certificates, key) for a proxy that ends TLS before us: for devices, and as our own client, whose word we take."""
        return self._own(PROXY, SERVER_DAYS, [SERVES, KNOCKS], None, "proxy", names, self._since)

    def own(self, name: str, folder: Path | None = None) -> tuple[Path, Path]:
        """(certificates, key) with which we ourselves knock at a broker; made anew at each connection."""
        return self._own(name, CLIENT_DAYS, [KNOCKS], folder, "client")

    def client(self, asked: Asked) -> bytes:
        """The certificate for a device and its key, and that of its issuer (PEM)."""
        return issuer.pem(self._issuer.sign(Wanted(asked.device, asked.public, CLIENT_DAYS, [KNOCKS])))

    def learn(self, issuers: Iterable[str], distrusted: Iterable[str] = ()) -> None:
        """Which other issuers (PEM) of our root sign for this plane, and whose word counts no more."""
        out = set(distrusted)
        with contextlib.suppress(LinesideError):  # `plane issuer` may have put another one into the folder
            self._issuer, self.former = self._issuing(None, anew=False)
        found = {cert for text in {*issuers, *self.issuers} - out for cert in chain.read(text)}
        known = {self._root, *(cert for cert in found if chain.leads_to(self._root, [cert]) and chain.may_issue(cert))}
        if known != self._known:
            self._known = known
            self.signed = lru_cache(MOST_KNOWN)(partial(_signed, tuple(known)))

    def _own(
        self,
        name: str,
        days: float,
        uses: Sequence[x509.ObjectIdentifier],
        folder: Path | None,
        stem: str,
        names: Sequence[str] = (),
        since: datetime.datetime | None = None,
    ) -> tuple[Path, Path]:
        folder, key = folder or self._folder, ec.generate_private_key(ec.SECP256R1())
        cert_file, key_file = folder / f"{stem}.pem", folder / f"{stem}.key"
        signed = self._issuer.sign(Wanted(name, key.public_key(), days, uses, names, since))
        keep(key_file, issuer.private(key))
        keep(cert_file, issuer.pem(signed))
        return cert_file, key_file


def _signed(known: tuple[x509.Certificate, ...], der: bytes) -> bool:
    cert = x509.load_der_x509_certificate(der)
    for signer in known:
        with contextlib.suppress(*chain.NOT_OURS):
            cert.verify_directly_issued_by(signer)
            return True
    return False


def _certificates(file: Path) -> list[x509.Certificate]:
    try:
        return chain.read(file.read_bytes())
    except (OSError, ValueError):
        return []


def _key_of(file: Path) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process makes something in that folder."""
    line = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(line, fcntl.LOCK_EX)
        yield
    finally:
        os.close(line)


def keep(path: Path, body: bytes) -> None:
    """Write a file (0600) whole or not at all, also on a full disk."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(body)
    fresh.replace(path)
