"""The plane's private certificate authority: made at first start, kept in the plane's folder."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge import LinesideError

from .. import chain, disown
from ..countersignature import WITNESS
from ..wire import WireFault
from . import issuer, outside
from .issuer import Issuer, Wanted
from .kept import ISSUING, alone, keep
from .outside import Outside

SERVER_DAYS, CLIENT_DAYS, WITNESS_DAYS = 365, 90, 1825
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
    pem: bytes = b""

    @classmethod
    def read(cls, request: bytes) -> Asked:
        """From PKCS #10, PEM; it wishes for nothing more, since who signs may grant it. Raises WireFault."""
        try:
            asked = x509.load_pem_x509_csr(request)
            key, names = asked.public_key(), asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            fits = asked.is_signature_valid and len(names) == 1 and isinstance(key, ec.EllipticCurvePublicKey)
            if fits and not list(asked.attributes) and isinstance(key.curve, ec.SECP256R1):  # type: ignore[union-attr]
                pem = asked.public_bytes(serialization.Encoding.PEM)
                return cls(str(names[0].value), key, pem)  # type: ignore[arg-type]
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
    """The root that devices know, and who signs for it. Opens or makes both in `folder`; keys are 0600. Where no command of
    somebody else's signs (outside.py), an issuer does; once there is one the root's key (`ca.key`) may be taken away, until a new
    issuer is due. Raises LinesideError."""

    def __init__(self, folder: Path, root_key: Path | None = None) -> None:
        """`root_key`: where the root's key lies, if not in the folder; then a new issuer is made at once."""
        self._folder, self._outside = folder, outside.remembered(folder)
        self._signer: Issuer | Outside
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with alone(folder):
            if not (folder / "ca.pem").exists():
                self._make()
            self._root = self._read_root(folder / "ca.pem")
            self.pem = issuer.pem([self._root]).decode()
            key = self._root_key(root_key or folder / "ca.key")
            self._read_issuing(key, anew=root_key is not None)
        self._known: set[x509.Certificate] = set()
        self._heard: tuple[set[str], set[str]] = (set(), set())
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
        raise LinesideError(f"{file} cannot be read", hint=BACK)

    def _root_key(self, file: Path) -> ec.EllipticCurvePrivateKey | None:
        if not file.exists() and file.parent == self._folder:
            return None
        key = _key_of(file)
        if key is not None and key.public_key() == self._root.public_key():
            return key
        if file.parent == self._folder and file.name == "ca.key":
            raise LinesideError(f"{file} and ca.pem cannot be read, or are no pair", hint=BACK)
        hint = "it is the ca.key that was taken out of the plane's folder"
        raise LinesideError(f"{file} is not the key of this plane's root", hint=hint)

    def _read_issuing(self, root: ec.EllipticCurvePrivateKey | None, anew: bool) -> None:
        """Who signs, and those that did before; a new issuer where there is none, where it is time for one, or `anew`."""
        file = self._folder / ISSUING
        key, found, now = _key_of(file), _certificates(file), None
        if self._outside:
            self._signer, self._signers = self._outside, found
            return
        if key and found and key.public_key() == found[0].public_key() and chain.leads_to(self._root, found[:1]):
            now = Issuer(key, found[0])
        if now and anew and root is None:
            raise LinesideError(
                "the root's key is not in the plane's folder", hint="say where it lies: --root-key FILE"
            )
        if not now or anew or (root is not None and now.due(self._root)):
            if root is None and found and key is None:
                hint = "start it with --config and the `authority` of its file, or copy issuing.pem back from a backup"
                raise LinesideError(f"{file} holds no key: a command has signed for this plane", hint=hint)
            if root is None:
                raise LinesideError(
                    f"{file} cannot be read, or is not of this authority",
                    hint="copy it back from a backup, or make a new one: `lineside plane issuer --root-key FILE`",
                )
            now = issuer.issuer(root, self._root)
            found = [now.cert, *found]
            keep(file, issuer.private(now.key) + issuer.pem(found))
        self._signer, self._signers = now, found

    def disown(self, issuers: Sequence[str], root_key: Path | None = None) -> str:
        """The root's word (PEM) that what these (PEM) have signed counts no more. Raises LinesideError."""
        key = self._root_key(root_key or self._folder / "ca.key")
        if key is None:
            raise LinesideError(
                "the root's key is not in the plane's folder", hint="say where it lies: --root-key FILE"
            )
        return disown.word(key, self._root, [cert for text in issuers for cert in chain.read(text)])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the root's certificate, as hex; what a token carries."""
        return hashlib.sha256(self._root.public_bytes(serialization.Encoding.DER)).hexdigest()

    @property
    def until(self) -> datetime.datetime | None:
        """When the issuer's time is over, if there is one."""
        return self._signer.cert.not_valid_after_utc if isinstance(self._signer, Issuer) else None

    @property
    def due(self) -> bool:
        """Whether it is time for a new issuer, and the root's key is not here to make one."""
        return isinstance(self._signer, Issuer) and self._signer.due(self._root)

    @property
    def by_command(self) -> bool:
        """Whether somebody else's authority signs."""
        return self._outside is not None

    @property
    def issuers(self) -> list[str]:
        """Who signs here and who did before, as PEM."""
        return [issuer.pem([cert]).decode() for cert in self._signers]

    def server(self, names: list[str], folder: Path | None = None, stem: str = "server") -> tuple[Path, Path]:
        """(certificates, key) for a listener of ours under these host names and addresses; made anew at each start, and good from
        when the authority was made: a device's clock may be far behind."""
        return self._own("server", names[0][:64], SERVER_DAYS, folder, stem, names)

    def proxy(self, names: list[str]) -> tuple[Path, Path]:
        """(certificates, key) for a proxy that ends TLS before us: for devices, and as our own client, whose word we take."""
        return self._own("proxy", PROXY, SERVER_DAYS, None, "proxy", names)

    def own(self, name: str, folder: Path | None = None) -> tuple[Path, Path]:
        """(certificates, key) with which we ourselves knock at a broker; made anew at each connection."""
        return self._own("plane", name, CLIENT_DAYS, folder, "client")

    def client(self, asked: Asked) -> bytes:
        """The certificate for a device and its key, and those above it (PEM). May block for as long as a command does."""
        return self._sign(Wanted("device", asked.device, asked.public, CLIENT_DAYS, asked.pem))

    def _sign(self, wanted: Wanted) -> bytes:
        signed = self._signer.sign(wanted)
        fresh = [cert for cert in signed[1:] if cert not in self._signers]
        if fresh:  # somebody else's
            self._signers = [*fresh, *self._signers]
            keep(self._folder / ISSUING, issuer.pem(self._signers))
            self._judge()
        return issuer.pem(signed)

    def witness(self) -> tuple[Path, Path]:
        """(certificates, key) of who countersigns what devices sign; good from when the authority was made."""
        return self._own("witness", WITNESS, WITNESS_DAYS, None, "witness")

    def learn(self, issuers: Iterable[str], distrusted: Iterable[str] = ()) -> None:
        """Which other issuers (PEM) of our root sign for this plane, and whose word counts no more."""
        self._heard = set(issuers), set(distrusted)
        with (
            contextlib.suppress(LinesideError, OSError),
            alone(self._folder),
        ):  # `plane issuer` may have put another one there
            self._read_issuing(self._root_key(self._folder / "ca.key") if self.due else None, anew=False)
        self._judge()

    def _judge(self) -> None:
        heard, out = self._heard
        found = {cert for text in {*heard, *self.issuers} - out for cert in chain.read(text) if chain.may_issue(cert)}
        known = {self._root}
        while more := {cert for cert in found - known if any(chain.leads_to(above, [cert]) for above in known)}:
            known |= more
        if known != self._known:
            self._known = known
            remembered = lru_cache(MOST_KNOWN)(partial(_must_be_signed, tuple(known)))
            self.signed = partial(_signed, remembered)

    def _own(
        self, kind: str, name: str, days: float, folder: Path | None, stem: str, names: Sequence[str] = ()
    ) -> tuple[Path, Path]:
        folder, key = folder or self._folder, ec.generate_private_key(ec.SECP256R1())
        cert_file, key_file = folder / f"{stem}.pem", folder / f"{stem}.key"
        since = self._root.not_valid_before_utc if names or kind == "witness" else None
        request = issuer.request(key, name, names)
        signed = self._sign(Wanted(kind, name, key.public_key(), days, request, names, since))
        keep(key_file, issuer.private(key))
        keep(cert_file, signed)
        return cert_file, key_file


def _signed(remembered: Callable[[bytes], None], der: bytes) -> bool:
    try:
        remembered(der)
    except InvalidSignature:
        return False
    return True


def _must_be_signed(known: tuple[x509.Certificate, ...], der: bytes) -> None:
    """Raises InvalidSignature, which is not remembered: anybody can make as many of those as he likes."""
    cert = x509.load_der_x509_certificate(der)
    for signer in known:
        with contextlib.suppress(*chain.NOT_OURS):
            cert.verify_directly_issued_by(signer)
            return
    raise InvalidSignature


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
