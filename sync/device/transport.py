"""How bytes get to the plane: one interface, HTTPS behind it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import urllib3

from edge import DeviceLost, LinesideError

from .identity import Identity


class Refused(LinesideError):
    """The plane is there and said no."""

    heals = True


class Transport(Protocol):
    async def exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
        """One request and its answer. Raises DeviceLost when nobody is there, Refused when the plane says no."""
        ...

    def close(self) -> None: ...


class Https:
    """urllib3 on three threads: one for deliveries, one for the live lane, one that waits for commands."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._pool = urllib3.PoolManager(
            ssl_context=identity.tls(), maxsize=3, retries=False, headers=identity.headers()
        )
        self._threads = ThreadPoolExecutor(3, "sync")

    async def exchange(self, method: str, path: str, body: bytes = b"", timeout: float = 30.0) -> bytes:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._exchange, method, path, body, timeout)

    def _exchange(self, method: str, path: str, body: bytes, timeout: float) -> bytes:
        limits = urllib3.Timeout(connect=min(10.0, timeout), read=timeout)
        try:
            answer = self._pool.request(method, self._identity.url + path, body=body or None, timeout=limits)
        except urllib3.exceptions.SSLError as error:
            raise Refused(
                f"{self._identity.url} is not the plane we enrolled with: {error}", hint="enroll again"
            ) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise DeviceLost(f"no plane at {self._identity.url}: {_short(error)}") from None
        if answer.status == 401:
            raise Refused("the plane does not know this device", hint="run `lineside enroll SITE TOKEN` again")
        if answer.status >= 500:
            raise DeviceLost(f"the plane at {self._identity.url} answers {answer.status}")
        if answer.status >= 300:
            raise Refused(f"the plane said no to {path}: {answer.status} {answer.data[:200].decode(errors='replace')}")
        return answer.data

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pool.clear()


def _short(error: Exception) -> str:
    return str(error).rsplit(": ", 1)[-1][:120]
