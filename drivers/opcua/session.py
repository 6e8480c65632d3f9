"""How a session begins: end point, certificates, user."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asyncua import Client, ua
from asyncua.crypto import security_policies as known
from asyncua.crypto.uacrypto import CertProperties
from asyncua.ua.uaerrors import UaError

from edge import DeviceLost, DeviceRefused, log, reason_of

from .options import OpcUaConfig
from .trust import out_of_date, own, raise_unless_trusted

logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # what matters is raised, and said once by the supervisor
LOST = (UaError, OSError, asyncio.TimeoutError, ConnectionError)
GONE = (
    "onnect",
    "Session",
    "SecureChannel",
    "Timeout",
    "Shutdown",
)  # in what asyncua says when nobody answers any more
POLICIES: dict[str, Any] = {  # strongest first
    "Aes256_Sha256_RsaPss": known.SecurityPolicyAes256Sha256RsaPss,
    "Basic256Sha256": known.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": known.SecurityPolicyAes128Sha256RsaOaep,
}
LIFETIME = 3_600_000  # ms of a secure channel; it is renewed at three quarters of it
OURS = ("SecurityChecksFailed", "CertificateUntrusted", "CertificateInvalid", "CertificateUri", "CertificateUse")


async def connect(config: OpcUaConfig, name: str, state: Path) -> Client:
    """A new client with its session; `state` is the device's state folder. Raises DeviceLost, or DeviceRefused where server and
    site do not agree about security."""
    client = Client(config.url, timeout=config.timeout, watchdog_intervall=config.timeout)  # else a second decides
    client.name = client.description = "Lineside"
    client.secure_channel_timeout = LIFETIME
    if config.user:
        client.set_user(config.user)
        client.set_password(config.password)
    connected = False
    try:
        if config.security != "None":
            async with asyncio.timeout(config.timeout + 1):
                await _secure(client, config, name, state)
        async with asyncio.timeout(config.timeout + 1):
            await client.connect()
        connected = True
    except LOST as error:
        raise _lost(config, state, said(error)) from None
    except Exception as error:
        if isinstance(error, ValueError) and config.security != "None":  # keys and certificates that are none
            raise DeviceRefused(f"the server's security cannot be used: {error}") from None
        if not _met_by_asyncua(error):
            raise
        raise _lost(config, state, f"its answer cannot be read ({type(error).__name__}: {error})") from None
    finally:
        if not connected:
            client.disconnect_socket()
    return client


async def disconnect(client: Client) -> None:
    """End a session within a second, or drop it. Does not raise; who may be cancelled meanwhile looks afterwards."""
    with contextlib.suppress(*LOST, Exception):
        async with asyncio.timeout(1):
            await client.disconnect()
    client.disconnect_socket()


async def _secure(client: Client, config: OpcUaConfig, name: str, state: Path) -> None:
    mode = ua.MessageSecurityMode[config.security]
    wanted = [config.policy] if config.policy else list(POLICIES)
    ends = [end for end in await client.connect_and_get_server_endpoints() if end.SecurityMode == mode]
    by_policy = {_short(end.SecurityPolicyUri): end for end in reversed(ends)}
    policy = next((policy for policy in wanted if policy in by_policy), None)
    if policy is None:
        there = ", ".join(sorted(by_policy)[:8]) or "no policy at all"
        raise DeviceRefused(
            f"the server has no end point with {config.security} and {' or '.join(wanted)}; with it it has {there}",
            hint="switch one on at the server; Basic256 and Basic128Rsa15 are broken and never used",
        )
    end = by_policy[policy]
    certificate = known_first(bytes(end.ServerCertificate or b""))
    if config.trust == "listed":
        raise_unless_trusted(state, name, certificate)
        if told := out_of_date(certificate, time.time_ns()):
            log.warning("%s: %s", name, told)
    if config.user:
        _raise_if_readable(end, config)
    mine = await asyncio.to_thread(own, state)
    client.application_uri = mine.uri
    await client.set_security(
        POLICIES[policy], mine.certificate, CertProperties(mine.key, "pem"), server_certificate=certificate, mode=mode
    )


def known_first(chain: bytes) -> bytes:
    """The server's own certificate, which comes first of a chain (part 6, 6.2.6). Raises DeviceRefused for what is none."""
    size = 4 + int.from_bytes(chain[2:4], "big")
    if chain[:2] != b"\x30\x82" or len(chain) < size:
        raise DeviceRefused("the server shows no certificate", hint="give it one in its configuration")
    return chain[:size]


def _raise_if_readable(end: ua.EndpointDescription, config: OpcUaConfig) -> None:
    """The password has a policy of its own (part 4, 7.42); empty means that of the channel."""
    policies = [t.SecurityPolicyUri for t in end.UserIdentityTokens if t.TokenType == ua.UserTokenType.UserName]
    policy = _short(policies[0]) if policies and policies[0] else ""
    if policy and policy not in POLICIES and not (policy == "None" and config.security == "SignAndEncrypt"):
        raise DeviceRefused(f"the server wants the password under {policy}, where others can read it")


def _short(uri: str | None) -> str:
    name = (uri or "").rpartition("#")[2][:40]
    return name if name.isprintable() else "?"


def _lost(config: OpcUaConfig, state: Path, words: str) -> DeviceLost:
    hint = "check address and user"
    if config.security != "None" and any(word in words for word in OURS):
        hint = f"the server must trust this device: give it {state / 'opcua' / 'own.der'}"
    if "CertificateTimeInvalid" in words:
        hint = "the server finds this device's certificate out of date (2024 to 2048); check the server's clock"
    return DeviceLost(f"no session with {config.url}: {words}", hint=hint)


@contextlib.contextmanager
def telling(what: str) -> Iterator[None]:
    """What a session breaks on, as DeviceLost; also an answer in which asyncua finds no sense."""
    try:
        yield
    except LOST as error:
        raise DeviceLost(f"{what}: {said(error)}") from None
    except Exception as error:
        if not _met_by_asyncua(error):
            raise
        raise DeviceLost(f"{what}: the server's answer cannot be read ({type(error).__name__}: {error})") from None


def _met_by_asyncua(error: BaseException) -> bool:
    """Whether the last of us two that was at work was asyncua: then it is no mistake of ours."""
    modules = (str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__))
    ours = [name for name in modules if name.startswith(("asyncua.", "drivers.", "edge."))]
    return bool(ours) and ours[-1].startswith("asyncua.")


def said(error: BaseException) -> str:
    if isinstance(error, UaError):
        return str(error).split("(")[-1].rstrip(")") or type(error).__name__
    return reason_of(error) if isinstance(error, OSError) and error.args else str(error) or "no answer"
