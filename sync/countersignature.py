"""What the plane signs of a checkpoint that came to it, and of an export: its own word, by a key that its authority vouches for."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from . import chain, checkpoint
from .checkpoint import Checkpoint, NotSigned

VERSION = "lineside countersignature 1"
WITNESS = "lineside:witness"  # no device can be called so
MOST_LINKS = 4  # certificates from the witness up to its authority


def statement(one: Checkpoint, head: str, arrived: int) -> str:
    """That this checkpoint came at that time (ns UTC), signed by a key that was enrolled for this device."""
    said = {"lineside": VERSION, "device": one.device, "epoch": one.epoch, "number": one.number, "checkpoint": head}
    return json.dumps({**said, "key": checkpoint.fingerprint(one.key), "arrived": arrived}, ensure_ascii=False)


def fits(said: str, one: Checkpoint, head: str) -> int:
    """When that checkpoint came, by a countersignature's statement. Raises NotSigned where it is about another one."""
    try:
        arrived = checkpoint.read_statement(said, VERSION)["arrived"]
    except (ValueError, KeyError) as error:
        raise NotSigned(f"that is no countersignature: {error}") from None
    if not isinstance(arrived, int) or said != statement(one, head, arrived):
        raise NotSigned("it countersigns something else")
    return arrived


def witness(pem: str) -> tuple[x509.Certificate, list[x509.Certificate]]:
    """(the certificate of the plane's witness, those from it to its authority) of their PEM. Raises NotSigned where it is not made
    for this: any device has a certificate of the same authority."""
    try:
        own, *above = chain.read(pem)
        name = own.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        uses = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, IndexError, x509.ExtensionNotFound) as error:
        raise NotSigned(f"its certificates cannot be read: {error}") from None
    if name != WITNESS or ExtendedKeyUsageOID.TIME_STAMPING not in uses:
        raise NotSigned("that is no certificate of a plane's witness")
    if not above or len(above) > MOST_LINKS or not chain.leads_to(above[-1], [own, *above]):
        raise NotSigned("its certificates do not lead to an authority")
    return own, above


def signs(own: x509.Certificate, said: str, proof: bytes, at: int) -> bool:
    """Whether the witness signed that, at a time (ns UTC) at which its certificate was good."""
    key = own.public_key()
    good = own.not_valid_before_utc.timestamp() <= at / 1e9 <= own.not_valid_after_utc.timestamp()
    return good and isinstance(key, ec.EllipticCurvePublicKey) and checkpoint.check(key, said, proof)


def authority_of(above: Sequence[x509.Certificate]) -> str:
    """The fingerprint by which people know the authority, as `lineside plane invite` writes it into tokens."""
    return bytes(above[-1].fingerprint(hashes.SHA256())).hex()
