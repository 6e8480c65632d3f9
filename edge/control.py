"""The local Unix socket: one JSON object in, one out, per line. Only this user may open it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import uuid
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .apply import apply_site
from .driver import MOST_FOUND
from .errors import LinesideError, WriteRefused
from .event import SEVERITIES, Event, Write, plain_data
from .log import log
from .records import sound_events
from .tags import named
from .writes import SETTLES, WITHIN, guard, value_of

if TYPE_CHECKING:
    from .app import Daemon

MOST_LINE = 65_536
NAME = "control.sock"
PATIENCE = WITHIN + SETTLES + 2  # seconds that a caller waits for the outcome of a write
LONGEST_NAME = 80  # characters of who asks
LONGEST_TEXT = 1000
BY_TOOLS = ("trial",)  # kinds of events that tools on this box tell
LONGEST_TOOL = 30.0  # seconds
NORMAL = "event:command normal"  # read by stages that a person may tell what is normal


class NoDaemon(LinesideError):
    """Nobody answers at a state folder."""


class Control:
    """Serves `ask()`; each answer is {"ok": true, ...} or {"ok": false, "error": text}."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.path = daemon.folder / NAME
        self._server: asyncio.Server | None = None
        self._callers: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """The socket has its name only when it answers, so that whoever waits for it is not refused."""
        unnamed = self.path.with_suffix(".new")
        unnamed.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, short_path(unnamed), limit=MOST_LINE)
        finally:
            os.umask(before)
        unnamed.replace(self.path)

    async def stop(self) -> None:
        """Before the daemon stops: what is under way (a site on trial) ends here, and starts nothing any more."""
        if self._server is not None:
            self._server.close()
            self.path.unlink(missing_ok=True)
        for caller in self._callers:
            caller.cancel()
        if self._callers:
            await asyncio.wait(self._callers, timeout=1)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        assert me is not None
        self._callers.add(me)
        try:
            while line := await reader.readline():
                try:
                    answer = {"ok": True, **await self._answer(json.loads(line))}
                except (
                    LinesideError,
                    ValueError,
                    KeyError,
                    TypeError,
                    AttributeError,
                    OSError,
                    RecursionError,
                ) as error:
                    words = f"unknown: {error}" if isinstance(error, KeyError) else str(error)
                    answer = {"ok": False, "error": words}
                except Exception as error:
                    log.exception("the local socket: %r failed in an unexpected way", line[:200])
                    answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
                writer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
                await writer.drain()
        except (ValueError, ConnectionError):
            pass  # a line beyond the limit, or a caller that left
        except asyncio.CancelledError:
            pass  # by `stop`; asyncio would print it
        finally:
            self._callers.discard(me)
            writer.close()

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        daemon = self._daemon
        match request["do"]:
            case "status":
                return await status(daemon)
            case "read":
                names = request.get("tags") or list_tags(daemon)
                return {"values": [daemon.live.show(named(daemon.table, str(name)).name) for name in names]}
            case "write":
                values = request["values"] if "values" in request else {request["tag"]: request["value"]}
                tags = {str(tag): named(daemon.table, str(tag)) for tag in values}
                orders = {name: value_of(values[name], tag) for name, tag in tags.items()}
                return await self._write_all(orders, str(request.get("by", "local")))
            case "tool":
                return await self._tool(str(request["driver"]), request)
            case "browse":
                return {"found": await self._browse(str(request["driver"]), str(request["node"]), int(request["most"]))}
            case "ack" | "shelve" | "unshelve" as verb:
                return await self._command(verb, str(request["alarm"]), str(request.get("by", "local")))
            case "normal":
                said = {name: request.get(name) for name in ("back", "learn")}
                return await self._normal(str(request["stage"]), said, str(request.get("by", "local"))[:LONGEST_NAME])
            case "review":
                return await self._review(request)
            case "tell":
                return await self._tell(request)
            case "apply":
                trial, by = float(request.get("trial", 10)), str(request.get("by", "local"))[:LONGEST_NAME]
                return {"done": await apply_site(daemon, Path(request["site"]), trial, by)}
        raise LinesideError(f"cannot do {request['do']!r}")

    async def _write_all(self, orders: dict[str, float | str], by: str) -> dict[str, Any]:
        """One after another, in the order given. None is written where the site does not allow one of them."""
        for tag, value in orders.items():
            if not self._allowed(tag, value):
                await self._write(tag, value, by)  # refused, with its event
        done: list[str] = []
        for tag, value in orders.items():
            with telling_what_was_done(done):
                await self._write(tag, value, by)
            done.append(tag)
        return {"written": done, "values": orders}

    def _allowed(self, tag: str, value: float | str) -> bool:
        table = self._daemon.table
        try:
            guard(Write(named(table, tag).id, value), table, 0)
        except WriteRefused:
            return False
        return True

    async def _write(self, tag: str, value: float | str, by: str) -> dict[str, Any]:
        daemon = self._daemon
        number_of_tag = named(daemon.table, tag).id
        done: asyncio.Future[Event] = asyncio.get_running_loop().create_future()

        def listen(item: Any) -> None:
            mine = isinstance(item, Event) and item.kind == "write" and item.data.get("write") == number
            if mine and not done.done():
                done.set_result(item)

        number = f"c{uuid.uuid4().hex[:12]}"
        daemon.listeners.add(listen)
        try:
            for refused in daemon.writes(Write(number_of_tag, value, id=number, cause=f"user {by}")):
                daemon.accept(refused)
            async with asyncio.timeout(PATIENCE):
                outcome = await done
        except TimeoutError:
            hint = "is its device connected? `lineside tail --events` shows how the order ends"
            raise LinesideError(f"{tag} was not written within {PATIENCE:g} s", hint=hint) from None
        finally:
            daemon.listeners.discard(listen)
        if outcome.state != "done":
            raise LinesideError(f"{tag} {outcome.state}: {outcome.text}")
        return {"tag": tag, "value": value}

    async def _tool(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        """What a tool asks of one driver; the driver knows its own questions."""
        if name not in self._daemon.drivers:
            raise LinesideError(f"no driver is called {name!r}", hint=f"there are {', '.join(self._daemon.drivers)}")
        driver = self._daemon.drivers[name].driver
        if not hasattr(driver, "tool"):
            raise LinesideError(f"{name} has nothing for tools" if driver else f"{name} could not be started")
        try:
            async with asyncio.timeout(LONGEST_TOOL):
                return dict(await driver.tool(request))
        except TimeoutError:
            raise LinesideError(f"{name} did not answer the tool within {LONGEST_TOOL:g} s") from None

    async def _browse(self, name: str, start: str, most: int) -> list[dict[str, Any]]:
        running = self._daemon.drivers.get(name)
        if running is None:
            raise LinesideError(f"no driver is called {name!r}", hint=f"there are {', '.join(self._daemon.drivers)}")
        if not hasattr(running.driver, "browse"):
            raise LinesideError(f"the driver {running.config.driver!r} cannot list what its device offers")
        found: list[dict[str, Any]] = await running.driver.browse(start, min(most, MOST_FOUND))
        return found

    async def _command(self, verb: str, alarm: str, by: str) -> dict[str, Any]:
        """Answers when the new state is durable: who was told "done" finds it so after a power cut."""
        if alarm not in self._daemon.config.alarms:
            raise LinesideError(f"no alarm is called {alarm!r}")
        self._daemon.accept(Event("command", verb, data={"alarm": alarm, "by": by}))
        return {"alarm": alarm, "durable": await self._daemon.journal.commit()}

    async def _tell(self, request: dict[str, Any]) -> dict[str, Any]:
        """What a tool on this box found out or did, as an event. Answers when it is durable."""
        kind, severity, data = str(request["kind"]), str(request.get("severity", "info")), request.get("data", {})
        if kind not in BY_TOOLS or severity not in SEVERITIES or not isinstance(data, dict):
            raise LinesideError(f"no tool tells a {severity} event of the kind {kind[:40]!r} with such data")
        key, state, text = (
            str(request.get(name, ""))[:most]
            for name, most in (("key", LONGEST_NAME), ("state", LONGEST_NAME), ("text", LONGEST_TEXT))
        )
        self._daemon.accept(Event(kind, key, state, severity=severity, text=text, data=plain_data(data)))
        return {"durable": await self._daemon.journal.commit()}

    async def _normal(self, stage: str, said: dict[str, Any], by: str) -> dict[str, Any]:
        """What a machine does now is normal, or it is not after all. Answers what became of it when that is durable."""
        if stage not in (known := self._daemon.flow.taking(NORMAL)):
            hint = f"there are {', '.join(known) or 'none'}"
            raise LinesideError(f"{stage!r} is no detector that can be told what is normal", hint=hint)
        self._daemon.accept(Event("command", "normal", data={"stage": stage, **said, "by": by}))
        if not await self._daemon.journal.commit():
            raise LinesideError(
                "the journal keeps nothing now, so that nobody knows what became of it", hint="see its disk"
            )
        found = await self._daemon.journal.ask(partial(newest_of_model, key=stage))
        if found is None or found.state == "refused":
            raise LinesideError(found.text if found else f"{stage} did not answer")
        return {"stage": stage, "told": found.text}

    async def _review(self, request: dict[str, Any]) -> dict[str, Any]:
        """A person's own verdict on an inspection, see `Reviews.taken`. Answers when it is durable."""
        reviews, said = self._daemon.reviews, {k: v for k, v in request.items() if k != "number"}
        async with reviews.turn(said["seq"]) as inspection:
            if inspection is None:
                raise LinesideError("the journal does not keep this inspection (any more)")
            review = await reviews.taken(inspection, said)
        return {"review": review.data["hash"], "durable": True}


def newest_of_model(db: Any, key: str) -> Event | None:
    return next(sound_events(db, "WHERE kind = 'model' AND key = ? ORDER BY seq DESC LIMIT 1", (key,)), None)


@contextlib.contextmanager
def telling_what_was_done(done: Sequence[str]) -> Iterator[None]:
    """Where one of several writes fails, its error names those that came before it."""
    try:
        yield
    except LinesideError as error:
        if not done:
            raise
        raise LinesideError(f"{error}; written before it: {', '.join(done)}") from None


def list_tags(daemon: Daemon) -> list[str]:
    return [tag.name for tag in daemon.table]


async def status(daemon: Daemon) -> dict[str, Any]:
    """What the status line, `lineside doctor` and the console show; plain JSON."""
    totals, journal = daemon.journal.totals, daemon.journal
    return {
        "device": daemon.config.device.id,
        "site": str(daemon.config.path),
        "site_sha256": daemon.config.digest,
        "sent": daemon.sent.running,
        "uptime": (daemon.clock.mono() - daemon.started) / 1e9,
        "samples": totals.appended,
        "durable": totals.durable,
        "dropped": totals.dropped,
        "sealed_bytes": totals.sealed_bytes,
        "sources": {name: {"all": n, "good": daemon.live.good.get(name, 0)} for name, n in daemon.live.all.items()},
        "journal": journal.complaint or "fine",
        "disk": (await journal.outlook()).plain() | {"written_a_day": journal.room.wear.per_day()},
        "backlog": {name: await journal.backlog(name) for name in sorted(journal.readers)},
        "tags": len(daemon.table),
        "alarms": daemon.alarms(),
        "parts": daemon.health.report(),
    }


def short_path(path: Path) -> str:
    """A Unix socket's path may have 107 bytes at most; a longer one is reached through its folder's open descriptor."""
    return str(path) if len(os.fsencode(path)) < 100 else f"/proc/self/fd/{_opened(path.parent)}/{path.name}"


@cache
def _opened(folder: Path) -> int:
    return os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def ask(folder: Path, request: dict[str, Any], timeout: float = 30.0) -> dict[str, Any]:
    """Ask the running daemon of a state folder. Blocks. Raises LinesideError where none runs or it says no."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(timeout)
        try:
            line.connect(short_path(folder / NAME))
        except (FileNotFoundError, ConnectionRefusedError):
            raise NoDaemon(f"no daemon runs on {folder}", hint="start `lineside run SITE`") from None
        line.sendall(json.dumps(request).encode() + b"\n")
        with line.makefile("rb") as answers:
            answer = json.loads(answers.readline() or b'{"ok": false, "error": "the daemon ended"}')
    if not answer.pop("ok"):
        raise LinesideError(answer["error"])
    return answer
