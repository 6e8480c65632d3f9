"""A reader that shows the newest values and the daemon's own health to Prometheus: its text format 0.0.4, over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, field_validator, model_validator

from edge import SECOND, TRUSTED, DeviceLost, Host, Listen, Quality, TagTable, listen_at, only_here, reason_of

NAME = "metrics"
MOST_HEAD = 8192  # bytes of a request
MOST_CALLERS = 16
WITHIN = 10.0  # seconds for a request to come, and for its answer to be taken
AT_ONCE = 1000  # tags written between two turns of others
PAGE = "text/plain; version=0.0.4; charset=utf-8"
STATES = ("starting", "running", "waiting", "stopped")
WHY = {400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class MetricsConfig(BaseModel):
    """Where Prometheus may ask for the newest value of every tag and how the daemon fares (`/metrics`)."""

    model_config = {"extra": "forbid", "frozen": True}
    listen: Listen = Field("127.0.0.1:9464", description="address:port; other machines need an address of this one")
    token: str = Field("", description="what a caller has to bring (Bearer), written as `!secret NAME`", repr=False)

    @field_validator("token")
    @classmethod
    def _sendable(cls, text: str) -> str:
        if text and not (text.isascii() and text.isprintable() and " " not in text):
            raise ValueError("a token is made of letters, digits and signs, without spaces")
        return text

    @model_validator(mode="after")
    def _guarded(self) -> MetricsConfig:
        if not only_here(self.listen) and not self.token:
            raise ValueError(f"whoever reaches {self.listen} would read every value; add `token: !secret NAME`")
        return self


class Metrics:
    """Answers `GET /metrics`. It shows what is newest and has no cursor, so that the journal keeps nothing for it."""

    delivers = False

    def __init__(self, config: MetricsConfig, host: Host) -> None:
        self.config, self.host = config, host
        self._labels: tuple[TagTable | None, list[str]] = (None, [])
        self._callers: set[asyncio.Task[None] | None] = set()

    async def run(self) -> None:
        address, port = listen_at(self.config.listen)
        try:
            server = await asyncio.start_server(self._serve, address, port, limit=MOST_HEAD)
        except OSError as error:
            hint = "is the address one of this machine, and the port free? `listen:` names another"
            raise DeviceLost(f"cannot listen on {self.config.listen}: {reason_of(error)}", hint=hint) from None
        try:
            self.host.health.state(NAME, "running")
            await asyncio.get_running_loop().create_future()  # for ever
        finally:
            server.close()
            for caller in self._callers:
                if caller is not None:
                    caller.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        self._callers.add(me)
        try:
            async with asyncio.timeout(WITHIN):
                writer.write(await self._answer(reader))
                await writer.drain()
        except (OSError, TimeoutError):
            pass  # a caller that left, or says nothing
        except asyncio.CancelledError:
            pass  # by the end of this reader; asyncio would print it
        finally:
            self._callers.discard(me)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        if len(self._callers) > 4 * MOST_CALLERS:
            return b""
        try:
            asked = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return _http(400, b"that is no request\n")
        if len(self._callers) > MOST_CALLERS:
            return _http(503, b"too many ask at once\n")
        first, *lines = asked.split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _http(400, b"that is no request\n")
        given = next((line[14:].strip() for line in lines if line[:14].lower() == "authorization:"), "")
        if self.config.token and not hmac.compare_digest(given.encode(), f"Bearer {self.config.token}".encode()):
            return _http(401, b"bring the token of `metrics:` as `Authorization: Bearer TOKEN`\n")
        if words[1].partition("?")[0] != "/metrics":
            return _http(404, b"there is only /metrics\n")
        if words[0] not in ("GET", "HEAD"):
            return _http(405, b"this can only be read\n")
        return _http(200, (await self.page()).encode(errors="replace"), bare=words[0] == "HEAD")

    async def page(self) -> str:
        """Everything, as it stands now."""
        out = [*self._process(), *self._journal(), *await self._backlog(), *self._parts(), *self._alarms()]
        table, live = self.host.live.table, self.host.live
        if self._labels[0] is not table:
            self._labels = table, [labels(tag=tag.name, unit=tag.unit) for tag in table]
        names, ts, value, quality = self._labels[1], live.ts.copy(), live.value.copy(), live.quality.copy()
        seen = ts != 0
        text = np.array([tag.type == "text" for tag in table], bool)
        good = seen & (quality <= TRUSTED) & np.isfinite(value)
        columns: list[tuple[str, str, np.ndarray, Callable[[int], str]]] = [
            ("value", "newest value; left out while its quality is above 1", good & ~text, lambda i: number(value[i])),
            ("quality", f"of the newest sample: {QUALITIES}", seen, lambda i: str(quality[i])),
            ("timestamp_seconds", "time of the newest sample", seen, lambda i: f"{ts[i] / SECOND:.3f}"),
        ]
        for what, words, picked, shown in columns:
            out += head(f"lineside_tag_{what}", "gauge", words)
            rows = np.flatnonzero(picked).tolist()
            for start in range(0, len(rows), AT_ONCE):
                out += [f"lineside_tag_{what}{names[i]} {shown(i)}" for i in rows[start : start + AT_ONCE]]
                await asyncio.sleep(0)
        out += head("lineside_tag_text", "gauge", "the string that a text tag shows, as a label of 1")
        for i in np.flatnonzero(good & text).tolist():
            if (string := table.texts.show(value[i])) is not None:
                out.append(f"lineside_tag_text{names[i][:-1]},{labels(text=string)[1:]} 1")
        return "\n".join(out) + "\n"

    def _process(self) -> Iterator[str]:
        device, epoch = self.host.config.device.id, self.host.journal.epoch
        info = labels(device=device, epoch=epoch, version=version("lineside"))
        yield from family("lineside_info", "gauge", "which daemon this is, as labels of 1", [(info, 1)])
        used = os.times()
        yield from family(
            "process_cpu_seconds_total", "counter", "time on the processor", [("", used.user + used.system)]
        )
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open("/proc/self/statm", encoding="ascii") as file:
                pages = int(file.read().split()[1])
            resident = pages * os.sysconf("SC_PAGE_SIZE")
            yield from family("process_resident_memory_bytes", "gauge", "memory in use", [("", resident)])
            with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
                ticks = int(file.read().rpartition(")")[2].split()[19])  # proc(5): starttime, the 22nd field
            up = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
            began = self.host.clock.utc() / SECOND - up
            yield from family("process_start_time_seconds", "gauge", "when the daemon was started", [("", began)])

    def _journal(self) -> Iterator[str]:
        journal, totals = self.host.journal, self.host.journal.totals
        for name, words, value in (
            ("samples", "samples that came to the journal", totals.appended),
            ("samples_durable", "samples that are safe on the disk", totals.durable),
            ("samples_dropped", "samples given up before they were safe; a gap event tells of them", totals.dropped),
            ("journal_commits", "transactions", totals.commits),
            ("journal_sealed_blocks", "sealed blocks", totals.sealed),
            ("journal_sealed_bytes", "bytes of sealed blocks", totals.sealed_bytes),
            ("journal_tail_bytes", "bytes written to the tail", totals.tail_bytes),
        ):
            yield from family(f"lineside_{name}_total", "counter", words, [("", value)])
        size = 0
        for end in ("", "-wal"):
            with contextlib.suppress(OSError):
                size += os.stat(f"{journal.path}{end}").st_size
        yield from family("lineside_journal_bytes", "gauge", "size of the journal's files", [("", size)])
        words = "1 while the journal can be written"
        yield from family("lineside_journal_up", "gauge", words, [("", int(not journal.trouble))])

    async def _backlog(self) -> Iterable[str]:
        waits = {name: await self.host.journal.backlog(name) for name in sorted(self.host.journal.readers)}
        out: list[str] = []
        for what in ("records", "samples"):
            rows = [(labels(reader=name), found[what]) for name, found in waits.items()]
            out += family(f"lineside_backlog_{what}", "gauge", f"durable {what} that a reader has to deliver", rows)
        return out

    def _parts(self) -> Iterator[str]:
        live, parts = self.host.live, list(self.host.health.parts.values())
        for name, words, counts in (
            ("samples", "samples of a source", live.all),
            ("good_samples", "those among them that rules may trust", live.good),
        ):
            rows: list[tuple[str, float]] = [(labels(source=source), n) for source, n in list(counts.items())]
            yield from family(f"lineside_source_{name}_total", "counter", words, rows)
        states = [(labels(part=p.name, state=s), int(p.state == s)) for p in parts for s in STATES]
        yield from family("lineside_part_state", "gauge", "1 for the state that a part is in", states)
        restarts = [(labels(part=p.name), p.restarts) for p in parts]
        yield from family("lineside_part_restarts_total", "counter", "how often a part began anew", restarts)
        causes = [(labels(part=p.name, cause=c), n) for p in parts for c, n in list(p.counts.items())]
        words = "what a part counted, by cause: drops, retries, delays"
        yield from family("lineside_part_counted_total", "counter", words, causes)

    def _alarms(self) -> Iterator[str]:
        standing = {alarm["alarm"]: alarm for alarm in self.host.alarms()}
        rows = [(labels(alarm=name, severity=a.severity), name) for name, a in self.host.config.alarms.items()]
        active = [(given, int(name in standing and standing[name]["active"])) for given, name in rows]
        yield from family("lineside_alarm_active", "gauge", "1 while an alarm is raised", active)
        acked = [(given, int(name not in standing or standing[name]["acked"])) for given, name in rows]
        yield from family("lineside_alarm_acked", "gauge", "0 while nobody acknowledged it", acked)


QUALITIES = ", ".join(f"{int(q)} {q.name}" for q in Quality)


def family(name: str, kind: str, words: str, rows: Iterable[tuple[str, float]]) -> Iterator[str]:
    """Lines of one metric: what it is, then each (labels, value)."""
    yield from head(name, kind, words)
    yield from (f"{name}{given} {number(value)}" for given, value in rows)


def head(name: str, kind: str, words: str) -> tuple[str, str]:
    return f"# HELP {name} {words}", f"# TYPE {name} {kind}"


def labels(**given: str) -> str:
    """`{a="b"}`; a label without a value is the same as none."""
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in given.items() if value)
    return f"{{{inside}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: Any) -> str:
    return str(int(value)) if abs(value) < 1e15 and value == int(value) else repr(float(value))


def _http(status: int, body: bytes, *, bare: bool = False) -> bytes:
    lines = [f"HTTP/1.1 {status} {WHY.get(status, 'OK')}", f"Content-Type: {PAGE}", f"Content-Length: {len(body)}"]
    lines += ['WWW-Authenticate: Bearer realm="lineside"'] if status == 401 else []
    lines += ["Allow: GET, HEAD"] if status == 405 else []
    lines += ["Connection: close", "", ""]
    return "\r\n".join(lines).encode() + (b"" if bare else body)
