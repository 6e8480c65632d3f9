"""How TLS is spoken between device, plane and broker, and what it means in words where it comes to nothing."""

from __future__ import annotations

import datetime
import re
import ssl

GONE = ("UNEXPECTED_EOF_WHILE_READING", "")  # it may come back
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; those of 1.3 are all of this kind
REASON = re.compile(r"\[(?:SSL|X509)(?:: ([A-Z0-9_]+))?\]")
UNTRUSTED = re.compile(r"certificate verify failed: ([^(]+)")
OLD = ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "VERSION_TOO_LOW", "UNSUPPORTED_SSL_VERSION")
WEAK = (
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "NO_SHARED_CIPHER",
    "WRONG_CIPHER_RETURNED",
    "UNKNOWN_CIPHER_RETURNED",
    "DH_KEY_TOO_SMALL",
)
NONE = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


def safe(context: ssl.SSLContext) -> ssl.SSLContext:
    """TLS 1.2 or newer, with forward secrecy and authenticated encryption, whatever this machine's OpenSSL takes otherwise."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    return context


def doubt(far: str, who: str, error: Exception) -> tuple[str, str] | None:
    """(what, hint) where TLS did not come about with `far`, whom we take for `who` ("the plane"); None where it was not for TLS."""
    text = str(error)
    if untrusted := UNTRUSTED.search(text):
        return _untrusted(far, who, untrusted[1].strip().rstrip("."))
    if (reason := REASON.search(text)) is None:
        return None
    if (said := reason[1] or "") in GONE:
        return None
    hint = f"it is not {who} of today; update what stands there, or look for who sits between"
    if said in OLD:
        return f"{far} speaks TLS 1.1 or older only", hint
    if said in WEAK:
        return f"{far} knows no safe cipher of TLS", hint
    if said in NONE:
        return f"{far} does not speak TLS", "is that the port for devices? nothing was sent there"
    return (
        f"{far} does not speak TLS as {who} does ({said.lower().replace('_', ' ')})",
        "who sits between? nothing was sent there",
    )


def _untrusted(far: str, who: str, why: str) -> tuple[str, str]:
    if "not yet valid" in why or "expired" in why:
        now = datetime.datetime.now(datetime.UTC)
        return f"by this device's clock ({now:%Y-%m-%d}) {who}'s {why}", f"set the clock, or restart {who}"
    if "mismatch" in why or "not valid for" in why:
        return f"{who}'s certificate is not for {far} ({why})", "start `lineside plane` with --name, or mend `url`"
    if "purpose" in why:
        return (
            f"{far} shows a certificate that is not a server's ({why})",
            "somebody there passes for it; nothing was sent",
        )
    if "rejected" in why:
        hint = (
            "it passes for it, or its files are to be made anew: `lineside plane proxy`, or `broker`; nothing was sent"
        )
        return f"{far} shows a certificate of an issuer that the root of {who} believes no more", hint
    return (
        f"{far} is not {who} we enrolled with: {why}",
        "enroll again, if the plane was made anew; nothing was sent there",
    )
