"""Chains of certificates: who signed whom, up to a root."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

NOT_OURS = (
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
)  # what a certificate that is none of ours raises


def read(pem: str | bytes) -> list[x509.Certificate]:
    """Every certificate in a PEM text, whatever else is in it. Raises ValueError where there is none."""
    return x509.load_pem_x509_certificates(pem.encode() if isinstance(pem, str) else pem)


def may_issue(cert: x509.Certificate) -> bool:
    """Whether it is an authority's."""
    try:
        return cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def leads_to(root: x509.Certificate, chain: list[x509.Certificate]) -> bool:
    """Whether each of a chain was signed by the next one, the last by `root`, and all but the first may sign. Asks no clock."""
    try:
        for cert, signer in zip(chain, [*chain[1:], root], strict=True):
            cert.verify_directly_issued_by(signer)
    except NOT_OURS:
        return False
    return bool(chain) and all(may_issue(cert) for cert in [*chain[1:], root])
