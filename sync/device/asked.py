"""What people at the plane may ask of a device: to look, never to change. Each question is an order with an answer.

An order is journaled as `accepted` when it is taken, and ends as `done` with its answer, `failed`, `refused` or `expired`: events
of the kind `command` with the order's number, which go up like all others.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Literal, get_args

from edge import (
    SECOND,
    ConfigFault,
    Event,
    Host,
    LinesideError,
    Picture,
    find_part,
    log,
    plain_data,
    png,
    recent_lines,
    sound_events,
    without_secrets,
)

from .lease import Lease

Verb = Literal["read", "capture", "tail", "selftest", "support", "live"]
VERBS: tuple[Verb, ...] = get_args(Verb)
LIVES = 300.0  # seconds for which an order is good that says nothing else
AT_ONCE = 4  # questions that are answered at a time
MOST_TAIL, MOST_BUNDLED = 200, 1000  # events and lines
MOST_TAGS, LONGEST_LIVE, FASTEST = 64, 900.0, 0.1  # of live mode: tags, seconds, seconds between two messages
PICTURE_WITHIN, LONGEST_ANSWER = 30.0, 300.0  # seconds
LONGEST_KEY = 200  # characters of what an order says that is told again
OFF = "this site does not answer that; `sync: {{commands: [..., {verb}]}}` allows it"
Answer = tuple[dict[str, Any], tuple[Picture, ...]]


class Asked:
    """Answers beside the lane of orders: a picture that does not come holds up no write."""

    def __init__(self, host: Host, allowed: Collection[str], lease: Lease) -> None:
        self._host, self._allowed, self._lease = host, allowed, lease
        self._at_work: set[asyncio.Task[None]] = set()
        self._answers: dict[str, Callable[[dict[str, Any]], Awaitable[Answer]]] = {
            "read": self._read,
            "capture": self._capture,
            "tail": self._tail,
            "selftest": self._selftest,
            "support": self._support,
            "live": self._live,
        }

    def take(self, number: int, verb: str, data: dict[str, Any]) -> None:
        """In one commit with the number of the order: it is accepted, or why not."""
        age, lives = data.get("age", 0.0), data.get("expires", LIVES)
        known = all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in (age, lives))
        if not known or age > lives:
            words = f"given {age:.0f} s ago, it was good for {lives:g} s" if known else "its time is no number"
            self._tell(number, verb, data, "expired", words, "low")
        elif verb not in self._allowed:
            self._tell(number, verb, data, "refused", OFF.format(verb=verb), "low")
        elif len(self._at_work) >= AT_ONCE:
            self._tell(number, verb, data, "refused", f"{AT_ONCE} others are being answered; ask again later", "low")
        else:
            self._tell(number, verb, data, "accepted")
            task = asyncio.create_task(self._answer(number, verb, data), name=f"order {verb}")
            self._at_work.add(task)
            task.add_done_callback(self._at_work.discard)

    async def resume(self) -> None:
        """What was accepted before a stop and has no answer failed: it is not asked a second time."""
        for number, verb, data in await self._host.journal.ask(unanswered):
            self._tell(number, verb, data, "failed", "the device stopped before it had the answer; ask again", "low")

    def stop(self) -> None:
        for task in self._at_work:
            task.cancel()

    async def _answer(self, number: int, verb: str, data: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(LONGEST_ANSWER):
                answer, pictures = await self._answers[verb](data)
            refs = tuple(picture.digest for picture in pictures)
            event = self._event(number, verb, data, "done", answer=plain_data(answer), refs=refs)
        except (LinesideError, ValueError, TypeError, OSError) as error:
            event, pictures = self._event(number, verb, data, "failed", str(error) or type(error).__name__, "low"), ()
        except TimeoutError:
            event = self._event(number, verb, data, "failed", f"no answer within {LONGEST_ANSWER:g} s", "low")
            pictures = ()
        except Exception as error:
            log.exception("sync: order %d (%s) failed in an unexpected way", number, verb)
            event, pictures = self._event(number, verb, data, "failed", f"{type(error).__name__}: {error}", "low"), ()
        for picture in pictures:
            self._host.accept(picture)
        self._host.accept(event)

    def _tell(
        self, number: int, verb: str, data: dict[str, Any], state: str, text: str = "", severity: str = "info"
    ) -> None:
        self._host.accept(self._event(number, verb, data, state, text, severity))

    def _event(
        self,
        number: int,
        verb: str,
        data: dict[str, Any],
        state: str,
        text: str = "",
        severity: str = "info",
        answer: dict[str, Any] | None = None,
        refs: tuple[str, ...] = (),
    ) -> Event:
        told: dict[str, Any] = {"number": number, **{k: str(data[k])[:LONGEST_KEY] for k in ("id", "by") if k in data}}
        if answer is not None:
            told["answer"] = answer
        return Event("command", verb, state, severity=severity, text=text, data=told, refs=refs)

    # Answers

    async def _read(self, data: dict[str, Any]) -> Answer:
        """The newest value of each tag and how old it is, in seconds."""
        now = self._host.clock.utc()
        shown = [self._host.live.show(name) for name in self._tags(data)]
        return {"values": [{**one, "age": (now - one["ts"]) / SECOND if one["ts"] else None} for one in shown]}, ()

    def _tags(self, data: dict[str, Any]) -> list[str]:
        names = data.get("tags")
        if not isinstance(names, list) or not 0 < len(names) <= MOST_TAGS or not all(isinstance(n, str) for n in names):
            raise LinesideError(f"`tags` names 1 to {MOST_TAGS} tags")
        for name in names:
            if name not in self._host.live.table:
                raise LinesideError(f"this site has no tag {name[:LONGEST_KEY]}")
        return names

    async def _capture(self, data: dict[str, Any]) -> Answer:
        frame = await self._host.diagnosis.frame(str(data.get("camera")), _number(data, "within", 10.0, PICTURE_WITHIN))
        try:
            size = list(frame.image.shape)
            body = await asyncio.to_thread(png, frame.image)
            told = {"camera": frame.source, "ts": frame.ts, "seq": frame.seq, "size": size}
        finally:
            frame.release()
        picture = _picture(body, "image/png")
        return {**told, "picture": picture.digest}, (picture,)

    async def _tail(self, data: dict[str, Any]) -> Answer:
        n = round(_number(data, "n", 20.0, MOST_TAIL))
        events = await self._host.journal.ask(newest_events, n)
        return {"events": events, "log": [line[:LONGEST_KEY] for line in recent_lines(n)]}, ()

    async def _selftest(self, data: dict[str, Any]) -> Answer:
        """What `lineside doctor` finds, every part that does not run, and the golden vectors of the models in use, run anew."""
        found = [*await self._host.diagnosis.findings(), *await asyncio.to_thread(models)]
        found += [("bad", part, f"{said['state']}: {said['reason']}", "") for part, said in self._stopped()]
        if complaint := self._host.journal.complaint:
            found.append(("bad", "journal", complaint, ""))
        keys = ("state", "what", "how", "todo")
        told = [dict(zip(keys, (str(words)[:500] for words in one), strict=True)) for one in found]
        return {"passed": all(one["state"] != "bad" for one in told), "findings": told}, ()

    def _stopped(self) -> list[tuple[str, dict[str, Any]]]:
        report = self._host.health.report()
        return [(name, said) for name, said in report.items() if said.get("state") not in ("running", None)]

    async def _support(self, data: dict[str, Any]) -> Answer:
        """A tar.gz for whoever helps: status, site, findings, lines and events; nothing of `secrets.yaml`, no key."""
        diagnosis = self._host.diagnosis
        files = {
            "status.json": _json(await diagnosis.status()),
            "site.json": _json(await asyncio.to_thread(_or_why, diagnosis.site)),
            "findings.json": _json([*await diagnosis.findings(), *await asyncio.to_thread(models)]),
            "log.txt": "\n".join(recent_lines(MOST_BUNDLED)).encode(),
            "events.jsonl": b"\n".join(map(_line, await self._host.journal.ask(newest_events, MOST_BUNDLED))),
            "versions.json": _json({"python": platform.python_version(), "machine": platform.platform()}),
        }
        files = {name: without_secrets(body.decode()).encode() for name, body in files.items()}
        bundle = _picture(await asyncio.to_thread(_packed, files), "application/gzip")
        return {"bundle": bundle.digest, "bytes": len(bundle.body), "files": sorted(files)}, (bundle,)

    async def _live(self, data: dict[str, Any]) -> Answer:
        """These tags to the page so often, for so long; then as before. `seconds: 0` ends it."""
        names, every = self._tags(data), max(FASTEST, _number(data, "every", 1.0, 60.0))
        seconds = _number(data, "seconds", LIVES, LONGEST_LIVE)
        self._lease.begin([self._host.live.table.slot(name) for name in names], every, seconds)
        return {"tags": names, "every": every, "seconds": seconds}, ()


def models() -> list[tuple[str, str, str, str]]:
    """The golden vectors of every model that this process uses, run anew: (ok or bad, its name, how, what to do). Blocks."""
    try:
        again = find_part("proofs", "models")
    except ConfigFault:
        return []
    return [("bad" if why else "ok", f"model {name}", why or "its golden vectors hold", "") for name, why in again()]


def unanswered(db: Any) -> list[tuple[int, str, dict[str, Any]]]:
    """Orders of the newest events that were accepted and have no end: (number, verb, what was told)."""
    open_: dict[int, tuple[int, str, dict[str, Any]]] = {}
    newest = "WHERE seq IN (SELECT seq FROM event WHERE kind = 'command' ORDER BY seq DESC LIMIT 500) ORDER BY seq"
    for event in sound_events(db, newest):
        number = event.data.get("number")
        if isinstance(number, int) and event.state == "accepted":
            open_[number] = (number, event.key, dict(event.data))
        elif isinstance(number, int):
            open_.pop(number, None)
    return list(open_.values())


def newest_events(db: Any, most: int) -> list[dict[str, Any]]:
    """As JSON, the oldest of them first; long texts and data are cut."""
    found = sound_events(db, "ORDER BY seq DESC LIMIT ?", (most,))
    told = [{"ts": e.ts, "kind": e.kind, "key": e.key, "state": e.state, "text": e.text[:LONGEST_KEY]} for e in found]
    return told[::-1]


def _number(data: dict[str, Any], name: str, usual: float, most: float) -> float:
    """Raises LinesideError."""
    found = data.get(name, usual)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 <= found <= most:
        raise LinesideError(f"`{name}` is a number, {most:g} at most")
    return float(found)


def _or_why(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except LinesideError as error:
        return {"absent": str(error)}


def _picture(body: bytes, media: str) -> Picture:
    return Picture(hashlib.sha256(body).hexdigest(), media, body)


def _json(said: Any) -> bytes:
    return json.dumps(said, indent=1, ensure_ascii=False, default=str).encode(errors="replace")


def _line(said: Any) -> bytes:
    return json.dumps(said, ensure_ascii=False, default=str).encode(errors="replace")


def _packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=6) as tar:
        for name, body in files.items():
            info = tarfile.TarInfo(f"support/{name}")
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return out.getvalue()
