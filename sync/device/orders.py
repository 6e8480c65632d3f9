"""What the plane orders, carried out here or refused in words."""

from __future__ import annotations

from typing import Any

from edge import SECOND, Event, Host, Write, log

LONGEST_KEY = 200  # characters of what an order says that is not carried out
VERBS = ("ack", "shelve", "unshelve", "write")


class Orders:
    """`writes`: whether the site takes values, too."""

    def __init__(self, host: Host, writes: bool) -> None:
        self._host, self._writes = host, writes

    async def __call__(self, verb: str, data: dict[str, Any]) -> None:
        if verb not in VERBS:
            log.warning("sync: the plane asks for %r, which is not known here", verb[:40])
            return
        if (epoch := data.get("epoch", self._host.journal.epoch)) != self._host.journal.epoch:
            log.info("sync: an order (%s) of the time of another journal, %s, is not carried out again", verb, epoch)
            return
        self._host.accept(Event("command", verb, data=data))
        if verb == "write":
            await self._write(data)

    async def _write(self, data: dict[str, Any]) -> None:
        """Carry an order out once it is durable; whatever becomes of it is told by an event."""
        name, value, age = str(data.get("tag")), data.get("value"), data.get("age", 0.0)
        cause = f"plane {str(data.get('by', ''))[:80]}".rstrip()
        why = "" if await self._host.journal.commit() else f"the journal cannot keep it: {self._host.journal.trouble}"
        if not self._writes:
            why = "this site takes no orders of the plane; `sync: {writes: true}` allows them"
        if name not in self._host.live.table:
            why = "this site has no such tag"
        if not (isinstance(value, (int, float, str)) and isinstance(age, (int, float))):
            why, value = "that is no value", None
        if value is None or why:
            told = {"value": value[:LONGEST_KEY] if isinstance(value, str) else value, "cause": cause}
            text = f"by {cause}: {why}"
            self._host.accept(Event("write", name[:LONGEST_KEY], "refused", severity="medium", text=text, data=told))
            return
        tag, now = self._host.live.table[name], self._host.clock.mono()
        lives = tag.writable.expires - min(max(0.0, age), 1e9) if tag.writable else 0.0
        value = value if isinstance(value, str) else float(value)
        self._host.accept(Write(tag.id, value, expires=now + round(lives * SECOND), cause=cause))
