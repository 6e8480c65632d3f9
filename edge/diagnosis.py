"""What a daemon tells of itself to who asks from afar: how it stands, what may be wrong, a picture, its site without secrets."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .config.places import Secret, read_kept
from .errors import LinesideError
from .frame import Frame

if TYPE_CHECKING:
    from .app import Daemon

MASK = "(masked)"
_HIDDEN = re.compile(
    r"pass(word|wd|phrase|code)?$|pwd$|secret|token|(^|[_-]|api)key$|(^|_)pin$|community|credential|webhook|authorization|cookie",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"(?<=://)[^/\s\"]+@")
_QUERY = re.compile(r"((?:pass\w*|pwd|secret|token|key|sig\w*|auth)=)[^&\s\"]+", re.IGNORECASE)


class Diagnosis:
    """Asked by readers; none of it blocks the loop."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._wanted: dict[str, list[asyncio.Future[Frame]]] = {}

    async def status(self) -> dict[str, Any]:
        from .control import status

        return await status(self._daemon)

    async def findings(self) -> list[tuple[str, str, str, str]]:
        """As `lineside doctor SITE` says them: (ok, warn or bad; what; how it is; what to do)."""
        from .commands import doctor

        path, folder = self._daemon.config.path, self._daemon.folder

        def look() -> list[tuple[str, str, str, str]]:
            found = list(doctor.machine())
            return found + (list(doctor.site(path, folder)) if path is not None and path.is_file() else [])

        return await asyncio.to_thread(look)

    def site(self) -> Any:
        """The site with its includes as plain data: secrets by their names, and masked what looks like one. Blocks. Raises
        LinesideError."""
        path = self._daemon.config.path
        if path is None or not path.is_file():
            raise LinesideError("this daemon has no file of its site")
        return masked(read_kept(path).data)

    # Pictures

    async def frame(self, source: str, within: float) -> Frame:
        """The next picture of a camera, to be released. It is not triggered: that would judge a part. Raises LinesideError."""
        if source not in self._daemon.drivers:
            raise LinesideError(f"no driver is called {source!r}", hint=f"there are {', '.join(self._daemon.drivers)}")
        next_: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._wanted.setdefault(source, []).append(next_)
        try:
            async with asyncio.timeout(within):
                return await next_
        except TimeoutError:
            hint = "a camera with a trigger takes one when its part comes; is it a camera?"
            raise LinesideError(f"no picture of {source} came within {within:g} s", hint=hint) from None
        finally:
            waiting = self._wanted.get(source, [])
            if next_ in waiting:
                waiting.remove(next_)

    def saw(self, frame: Frame) -> None:
        """A frame comes in: who waits for it keeps it alive."""
        for next_ in self._wanted.pop(frame.source, ()):
            if not next_.done():
                next_.set_result(frame.hold())


def masked(data: Any) -> Any:
    """Plain data without what may be a secret: by the name of its key, and in addresses."""
    if isinstance(data, Secret):
        return f"!secret {data}"
    if isinstance(data, Mapping):
        return {k: MASK if _HIDDEN.search(str(k)) and not isinstance(v, Secret) else masked(v) for k, v in data.items()}
    if isinstance(data, list):
        return [masked(one) for one in data]
    return without_secrets(data) if isinstance(data, str) else data


def without_secrets(text: str) -> str:
    """A text with what may be secret in its addresses masked: a login, and what a query calls so."""
    return _QUERY.sub(rf"\1{MASK}", _LOGIN.sub(f"{MASK}@", text))
