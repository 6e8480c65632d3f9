"""What the plane wants to run here: asked for, given to who can do it, and told how it ended. What is wanted, what was tried, what
runs and why are four things."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

from edge import AnswerContradicts, Event, Host, LinesideError, kept_snapshots, log

from .. import wire
from .transport import DeviceLost, Refused, Stranger, Transport

KEPT = "sync:twin"  # among the journal's snapshots
AGAIN = 60.0  # seconds until something that could not be done yet is tried once more
LOOK = 60.0  # seconds between two looks at whether what was done is still so
ENDED = ("running", "shadow", "draft", "rolled_back", "refused")
LONGEST_REASON = 2000
SEVERITY = {"rolled_back": "medium", "refused": "medium"}
SCARCE = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # what a device may have again later


class Want(NamedTuple):
    """That a version of something runs here; version "": that nothing of the plane's does. A generation never comes twice."""

    kind: str
    name: str
    version: str
    stage: str
    generation: int

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.name}"


class Meanwhile(LinesideError):
    """It goes on by itself, and is to be asked again how it ended: others have their turn first."""

    heals = True


Tell = Callable[[str, str], None]


class Handler(Protocol):
    """Brings one kind of thing to run here."""

    def running(self, name: str) -> str:
        """The version that runs; "" where none of the plane's does."""
        ...

    async def __call__(self, want: Want, tell: Tell) -> None:
        """Do it, and `tell(state, reason)` each step; when it returns the last state told has to be one of ENDED. What is told is
        an event of the journal at once, and `tell` may be called later too, as when a model is taken back. Raises LinesideError
        where it cannot be: one that heals (no link, no bytes left today) is tried again, as an OSError for want of room or memory
        is; another one refuses this generation for good. Raises Meanwhile where something else may go on beside it. May be
        cancelled at any moment, and is then called again after the next start with the same want.

        Optional: `async look(want, tell)`, now and then after it has ended, may tell what has become of it since."""
        ...


class Twin:
    """`handlers` by kind, of what this site allows; `refusals` says of the other kinds what to do."""

    def __init__(self, host: Host, handlers: Mapping[str, Handler], refusals: Mapping[str, str]) -> None:
        self._host, self._handlers, self._refusals = host, handlers, refusals
        self._path = "/d/v1/twin?cases=1" if "cases" in handlers else "/d/v1/twin"  # to others the plane gives none
        self._told: dict[str, dict[str, Any]] | None = None
        self._wants: dict[str, Want] = {}  # those that have not ended
        self._all: list[Want] = []
        self._going = set[str]()  # of what goes on by itself, and is asked how it ended though the plane is away
        self._more = asyncio.Event()
        self._asked = asyncio.Event()  # the plane has said that there is something newer
        self._asked.set()
        self.generation = 0  # of what the plane is known to want

    def hint(self, data: Mapping[str, Any]) -> None:
        """Something newer is wanted; the lane that asks for it is `ask`."""
        if isinstance(generation := data.get("generation"), int):
            self.generation = max(self.generation, generation)
        self._asked.set()

    async def ask(self, transport: Transport) -> None:
        """One round: wait until there is something to ask, and ask; in between look at what has ended. What answers oddly is asked
        again later, and says nothing of the rest of the line. Raises DeviceLost and Stranger."""
        try:
            async with asyncio.timeout(LOOK):
                await self._asked.wait()
        except TimeoutError:
            await self._look()
            return
        try:
            self.generation, wants = wire.unpack_wants(await transport.exchange("GET", self._path))
        except Stranger:
            raise
        except (Refused, AnswerContradicts) as error:
            if getattr(error, "status", 0) != 404:  # which is a plane of an earlier release
                log.warning("sync: what is wanted here is not known: %s; asked again in %.0f s", error, AGAIN)
                await asyncio.sleep(AGAIN)
                return
            wants = []
        self._asked.clear()
        told = await self._known()
        found = [Want(*one) for one in wants]
        self._wants = {want.key: want for want in found if self._is_open(want, told.get(want.key))}
        self._all = found
        self._more.set()
        await self._look()

    def _is_open(self, want: Want, told: Mapping[str, Any] | None) -> bool:
        """Not done; or done once, and not allowed any more."""
        if not _ended(want, told):
            return True
        return want.kind not in self._handlers and told is not None and told["state"] != "refused"

    async def _look(self) -> None:
        told = await self._known()
        for want in self._all:
            handler = self._handlers.get(want.kind)
            if handler is not None and hasattr(handler, "look") and _ended(want, told.get(want.key)):
                await handler.look(want, partial(self._tell, want))

    @property
    def goes_on(self) -> bool:
        """Whether there is something to do without the plane."""
        return bool(self._going)

    async def work(self) -> None:
        """One round: the next want that has not ended, to its end. Raises DeviceLost where the line broke meanwhile."""
        await self._more.wait()
        if not self._wants:
            self._more.clear()
            return
        key, want = next(iter(self._wants.items()))
        self._going.discard(key)
        try:
            await self._one(want)
        except Meanwhile:
            self._going.add(key)
            self._wants[key] = self._wants.pop(key, want)
            return
        except LinesideError as error:
            if not error.heals:
                self._tell(want, "refused", str(error))
            else:
                self._tell(want, "waiting", str(error))
                if isinstance(error, DeviceLost):
                    self._wants[key] = self._wants.pop(key, want)
                    raise
                await self._later(key, want)
                return
        except Exception as error:
            if isinstance(error, OSError) and error.errno in SCARCE:
                self._tell(want, "waiting", f"{error.filename or key}: {error.strerror}")
                await self._later(key, want)
                return
            log.exception("sync: %s %s failed in an unexpected way", key, want.version)
            self._tell(want, "refused", f"it failed in an unexpected way: {type(error).__name__}: {error}")
        if self._wants.get(key) == want:
            del self._wants[key]

    async def _later(self, key: str, want: Want) -> None:
        """The others have their turn."""
        self._wants[key] = self._wants.pop(key, want)
        await asyncio.sleep(AGAIN)

    async def _one(self, want: Want) -> None:
        handler = self._handlers.get(want.kind)
        if handler is None:
            unknown = f"this release cannot take a {want.kind[:16]} from the plane; update it"
            raise LinesideError(self._refusals.get(want.kind, unknown))
        await handler(want, partial(self._tell, want))
        if not _ended(want, (await self._known()).get(want.key)):
            raise RuntimeError("nothing was told of its end")

    def _tell(self, want: Want, state: str, reason: str) -> None:
        """Journaled in one commit with the memory of it; what was told last is not told again."""
        told = self._told
        assert told is not None
        handler = self._handlers.get(want.kind)
        running = handler.running(want.name) if handler else ""
        before = told.get(want.key, {})
        tried = before.get("tried", "") if state in ("refused", "waiting") else want.version
        said = {"version": want.version, "running": running, "tried": tried, "stage": want.stage}
        said |= {"generation": want.generation}
        if before == {**said, "state": state, "reason": reason} or before.get("generation", 0) > want.generation:
            return
        told[want.key] = {**said, "state": state, "reason": reason}
        severity = SEVERITY.get(state, "info")
        level = log.warning if severity == "medium" else log.info
        level("%s %s: %s", want.key, want.version or "(its own)", f"{state}: {reason}" if reason else state)
        text = reason[:LONGEST_REASON]
        self._host.accept(Event("twin", want.key[:200], state, severity=severity, text=text, data=said))
        self._host.journal.append(snapshots={KEPT: json.dumps(told).encode()})

    async def again(self) -> None:
        """Tell once more how everything stands: the plane has lost what it was told, and here that is over its time."""
        for key, told in (await self._known()).items():
            said = {name: value for name, value in told.items() if name not in ("state", "reason")}
            state, text = str(told["state"]), str(told["reason"])[:LONGEST_REASON]
            self._host.accept(
                Event("twin", key[:200], state, severity=SEVERITY.get(state, "info"), text=text, data=said)
            )

    async def _known(self) -> dict[str, dict[str, Any]]:
        """What was told last of each thing, over all starts."""
        if self._told is None:
            kept = (await self._host.journal.ask(kept_snapshots)).get(KEPT)
            self._told = json.loads(kept) if kept else {}
        return self._told


def _ended(want: Want, told: Mapping[str, Any] | None) -> bool:
    """Done, or older than what was done: a plane that was put back to a backup wants what it wanted then."""
    if told is None or told["generation"] != want.generation:
        return told is not None and told["generation"] > want.generation
    return told["state"] in ENDED


def refusals(installs: Collection[str]) -> dict[str, str]:
    """What is said of each kind that a site does not take."""
    kinds = ("config", "model", "runtime", "firmware", "cases")
    words = "this site takes no {0} that the plane wants; `sync: {{installs: [{0}]}}` in its file allows it"
    return {kind: words.format(kind) for kind in kinds if kind not in installs}
