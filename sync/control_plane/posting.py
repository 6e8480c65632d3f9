"""One POST to a system of a customer, whoever that is.

The address is checked on the connection itself, after the name was looked up: what only this machine or this network reaches is not
asked unless the file says so, redirects are not followed, and no proxy of the environment is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urlsplit

from edge import ConfigFault, reason_of

from .forward_target import Later, Refused

AT_ONCE = 4  # requests
CONNECT_WITHIN, ANSWER_WITHIN = 10.0, 30.0  # seconds, the second for the whole request
NO_ANSWER = "no answer within {:g} s"
MOST_ANSWER = 2000  # bytes of an answer that are read
AGAIN = (401, 403, 404, 405, 407, 408, 425, 429)  # and 5xx: it is not about this event, and may be taken later
SECRET = 8  # characters of a part of a hidden address, at least
LONGEST_WISH = 3600.0  # seconds of a Retry-After


class Answer(NamedTuple):
    """`wish`: seconds that the other side wants to be left alone; `said`: the beginning of what it says."""

    status: int
    wish: float
    said: str

    def taken(self) -> None:
        """Raises Later or Refused for a status that is not 2xx."""
        if 200 <= self.status < 300:
            return
        words = f"{self.status} {http.client.responses.get(self.status, '')}".strip()
        words += f": {' '.join(self.said.split())[:200]}" if self.said else ""
        if (
            self.status in AGAIN or self.status >= 500 or self.status < 400
        ):  # a redirect is not followed: it leads anywhere
            raise Later(words, self.wish)
        raise Refused(words)


class Poster:
    """Posts to one address; a `hidden` one, which is a secret itself, is blotted out of what the other side says. Raises
    ConfigFault where its authority cannot be read."""

    def __init__(self, url: str, private: bool = False, ca: str = "", hidden: bool = False) -> None:
        parts = urlsplit(url)
        self._secure, self._host, self._private = parts.scheme == "https", parts.hostname or "", private
        self._port = parts.port or (443 if self._secure else 80)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._hidden = [word for word in re.split(r"[/?&=]", self._path) if len(word) >= SECRET] if hidden else []
        self._threads = ThreadPoolExecutor(AT_ONCE, "poster")  # others must not wait for a slow one
        self._context = trusting(ca)

    async def post(self, body: bytes, headers: dict[str, str], query: str = "") -> Answer:
        """`query` goes behind what the address has. Raises Later where there is no answer."""
        request = _Request(self._host, self._port, self._context if self._secure else None, self._private)
        path = self._path + (f"{'&' if '?' in self._path else '?'}{query}" if query else "")
        asked = asyncio.get_running_loop().run_in_executor(self._threads, request.post, path, body, headers)
        try:
            async with asyncio.timeout(ANSWER_WITHIN):  # wait_for of Python 3.11 can lose a cancellation
                return self._blotted(await asked)
        except TimeoutError:
            raise Later(NO_ANSWER.format(ANSWER_WITHIN)) from None
        finally:
            request.abort()

    def _blotted(self, answer: Answer) -> Answer:
        said = answer.said
        for word in self._hidden:  # a proxy's page for 404 repeats what was asked for
            said = said.replace(word, "***")
        return answer._replace(said=said)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def trusting(ca: str) -> ssl.SSLContext:
    """Believes the authority in a file, or those of the system. Raises ConfigFault."""
    try:
        return ssl.create_default_context(cafile=ca or None)
    except (OSError, ValueError) as error:
        raise ConfigFault(f"the authority {ca} cannot be read: {error}", hint="check `ca`") from None


class _Request:
    """One POST on a connection of its own, on a thread; `abort()` ends it from elsewhere."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None, private: bool) -> None:
        self._host, self._port, self._context, self._private = host, port, context, private
        self._line: socket.socket | None = None
        self._aborted = False

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Raises Later."""
        try:
            line = self._open()
            asked = http.client.HTTPConnection(self._host, self._port)
            asked.sock = line
            asked.request("POST", path, body, headers)
            answer = asked.getresponse()
            said = answer.read(MOST_ANSWER).decode(errors="replace")
            return Answer(answer.status, _seconds(answer.getheader("Retry-After")), said)
        except ssl.SSLCertVerificationError as error:
            raise Later(f"the certificate of {self._host} is not trusted: {error.verify_message}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            if (
                isinstance(error, TimeoutError) and self._line is not None
            ):  # it was reached; the one that asked gives up as well
                raise Later(NO_ANSWER.format(ANSWER_WITHIN)) from None
            why = reason_of(error) if isinstance(error, OSError) else f"no HTTP: {error}"
            raise Later(f"cannot reach {self._host}:{self._port}: {why}") from None
        finally:
            self.abort()

    def _open(self) -> socket.socket:
        line = reach(self._host, self._port, self._private, secure=self._context is not None)
        try:
            self._line = self._context.wrap_socket(line, server_hostname=self._host) if self._context else line
        except OSError:
            line.close()
            raise
        if self._aborted:
            raise OSError("given up")
        self._line.settimeout(ANSWER_WITHIN)
        return self._line

    def abort(self) -> None:
        self._aborted = True
        if self._line is not None:
            with contextlib.suppress(OSError):
                self._line.shutdown(socket.SHUT_RDWR)
            self._line.close()


def reach(host: str, port: int, private: bool, secure: bool) -> socket.socket:
    """A connection to the first address of a name that takes one. Raises Later for one that is not to be asked, OSError."""
    trouble: OSError | None = None
    for family, kind, number, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if why := forbidden(str(address[0]), private, secure):
            raise Later(f"{host} is {address[0]}, {why}")
        line = socket.socket(family, kind, number)
        line.settimeout(CONNECT_WITHIN)
        try:
            line.connect(address)
            return line
        except OSError as error:
            line.close()
            trouble = error
    raise trouble or OSError("it has no address")


def forbidden(address: str, private: bool, secure: bool) -> str:
    """Why nothing is sent to an address, or nothing."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        return "which no system of a customer has"  # the metadata of a cloud's machine are there
    if not private and not ip.is_global:
        return "in a private network; say `private: true` if that is meant"
    if not secure and not ip.is_loopback:
        return "and what leaves this machine goes by https:// only"
    return ""


def _seconds(wish: str | None) -> float:
    return min(float(wish), LONGEST_WISH) if wish and wish.isascii() and wish.isdecimal() else 0.0
