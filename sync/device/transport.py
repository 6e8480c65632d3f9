"""How bytes get to the plane: one interface, HTTPS behind it here, a broker in `mqtt`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import warnings
from typing import Any, Protocol

import urllib3
import urllib3.connection

from edge import DeviceLost, LinesideError

from .. import wire
from ..apart import apart
from ..half_open import LEVEL, OPTIONS
from ..tls import doubt
from .certificate import Certificate
from .identity import Identity, body_of

MOST_ANSWER = 4 * 2**20
_mine = threading.local()  # `uses`: the connections of this thread's exchange
GRACE = 15.0  # seconds to connect and to hand over; beyond them and its time-out an exchange is given up


class Refused(LinesideError):
    """The plane is there and said no; `status` is that of its answer."""

    heals = True
    status = 0


class Stranger(Refused):
    """The plane does not know this device; a new enrolment is read at the next start of the uplink."""


class Rejected(Refused):
    """The plane read a message and will never take it; nobody but the plane itself says so."""


class TooLarge(Refused):
    """Something on the way takes no message of this size; a smaller one may pass."""


class Transport(Protocol):
    async def exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
        """One request and its answer. Raises DeviceLost when nobody is there, Refused when the plane says no."""
        ...

    def close(self) -> None: ...


class _Connection(urllib3.connection.HTTPSConnection):
    """Says to its exchange which one it is."""

    def request(self, *what: Any, **how: Any) -> None:
        _mine.uses.append(self)
        super().request(*what, **how)

    def hang_up(self) -> None:
        """End it under the thread that waits for its far side."""
        with contextlib.suppress(OSError, TypeError):  # it may have no socket any more
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)  # not TLS's own, which forgets its state


class _Pool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Connection


class Https:
    """urllib3, each request on a thread of its own. One that is given up loses its connection, so that its thread ends whatever
    the far side does: a peer that sends a byte now and then holds nothing here."""

    def __init__(self, identity: Identity, certificate: Certificate | None = None) -> None:
        """Shows its `certificate`, and has it renewed in time."""
        self._identity, self._certificate = identity, certificate
        self._renewal: asyncio.Task[None] | None = None
        self._pool = self._dial()

    def _dial(self) -> urllib3.PoolManager:
        context = self._identity.tls()
        if self._certificate:
            self._certificate.show(context)
            self._certificate.refuse(context)
        options = [(LEVEL, socket.TCP_NODELAY, 1), *OPTIONS]
        warnings.simplefilter(
            "ignore", urllib3.exceptions.SystemTimeWarning
        )  # we say it ourselves, and go on: `no_clock`
        pool = urllib3.PoolManager(ssl_context=context, maxsize=6, retries=False, socket_options=options)
        pool.pool_classes_by_scheme = {"https": _Pool}
        return pool

    async def exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
        if (certificate := self._certificate) is None:
            return await self._exchange(method, path, body, timeout)
        certificate.able()
        if certificate.wanted(1.0):
            await self._renew(certificate)
        said = await self._exchange(method, path, body, timeout)
        if self._renewal is None and certificate.wanted():
            self._renewal = asyncio.create_task(self._renew(certificate))
        return said

    async def _renew(self, certificate: Certificate) -> None:
        """A new certificate, and connections that show it; those that are under way end as they are."""
        if await certificate.renew(self._exchange):
            self._pool = self._dial()
        self._renewal = None

    async def _exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
        uses: list[_Connection] = []

        def work() -> bytes:
            _mine.uses = uses
            return self._asked(method, path, body, timeout)

        try:
            async with asyncio.timeout(timeout + GRACE):
                return await apart("sync", work)
        except (TimeoutError, asyncio.CancelledError) as why:
            for connection in uses:
                connection.hang_up()
            if isinstance(why, asyncio.CancelledError):
                raise
            raise DeviceLost(f"no whole answer from {self._identity.url} within {timeout + GRACE:g} s") from None

    def _asked(self, method: str, path: str, body: bytes, timeout: float) -> bytes:
        limits = urllib3.Timeout(connect=min(10.0, timeout), read=timeout)
        try:
            answer = self._pool.request(
                method, self._identity.url + path, body=body or None, timeout=limits, preload_content=False
            )
            said = body_of(answer, MOST_ANSWER)
        except urllib3.exceptions.SSLError as error:
            if (found := doubt(self._identity.url, "the plane", error)) is not None:
                raise Refused(found[0], hint=found[1]) from None
            raise DeviceLost(f"the connection to {self._identity.url} ended: {_short(error)}") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise DeviceLost(f"no plane at {self._identity.url}: {_short(error)}") from None
        if self._certificate and answer.status == 401 and wire.EXPIRED.encode() in said:
            self._certificate.forget()
            self._pool = self._dial()
            raise DeviceLost("the time of our certificate is over, the plane says; a new one is asked for")
        understood(answer.status, said, path, self._identity.url)
        if len(said) > MOST_ANSWER:
            raise DeviceLost(f"{self._identity.url} answers {path} with more than {MOST_ANSWER} bytes")
        return said

    def close(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
        self._pool.clear()


def understood(status: int, said: bytes, path: str, url: str) -> None:
    """What an answer's status means. Raises Stranger, DeviceLost, Rejected, TooLarge or Refused."""
    if status == 401:
        revoked = wire.REVOKED.encode() in said
        what = "lets this device in no more: it was revoked" if revoked else "does not know this device"
        raise Stranger(f"the plane {what}", hint="run `lineside enroll SITE TOKEN` again")
    if status >= 500:
        raise DeviceLost(f"the plane at {url} answers {status}: {_said(said)}")
    if status >= 300:
        fault = {wire.REJECTED: Rejected, 413: TooLarge}.get(status, Refused)
        refusal = fault(f"the plane said no to {path}: {status} {_said(said)}")
        refusal.status = status
        raise refusal


def _said(body: bytes) -> str:
    """What an answer says about its refusal."""
    try:
        return str(json.loads(body)["detail"])[:200]
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")


def _short(error: Exception) -> str:
    return str(error).rsplit(": ", 1)[-1][:120]
