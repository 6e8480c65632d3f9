"""The calm one-screen status of `lineside run` on a terminal."""

from __future__ import annotations

import shutil
from typing import Any

from .outlook import Outlook


class Screen:
    """Turns two statuses a second apart into lines that fit the terminal."""

    def __init__(self) -> None:
        self._last: dict[str, Any] | None = None

    def lines(self, now: dict[str, Any]) -> list[str]:
        last, self._last = self._last or now, now
        took = max(1e-9, now["uptime"] - last["uptime"])
        rate = (now["samples"] - last["samples"]) / took
        standing = now["alarms"]
        disk, journal = now["disk"], Outlook.of(now["disk"])
        todo = "" if now["journal"] == "fine" else " (free some space; it goes on by itself)"
        wear = f", {disk['written_a_day'] / 1e6:,.0f} MB written a day" if disk["written_a_day"] else ""
        out = [
            f"{now['device']}  {now['tags']} tags  {rate:,.0f} samples/s  up {_span(now['uptime'])}",
            f"journal: {now['journal']}{todo}, {now['durable']:,} samples durable, "
            f"{now['samples'] - now['durable'] - now['dropped']:,} under way, {now['dropped']:,} given up",
        ]
        out.append(f"disk: {journal.size()}, {journal.words()}{wear}")
        for reader, waits in now["backlog"].items():
            out.append(f"{reader}: {waits['records']:,} records, {waits['samples']:,} samples to be delivered")
        out.append("")
        for name, part in sorted(now["parts"].items()):
            counts = ", ".join(f"{cause} {n}" for cause, n in sorted(part["counts"].items()) if n)
            mark = {"running": "●", "starting": "○"}.get(part["state"], "!")
            out.append(f"  {mark} {name:<16} {part['state']:<9} {part['reason']}{'  ' if counts else ''}{counts}")
        out += ["", "no alarms" if not standing else "alarms"]
        for alarm in standing:
            state = "raised" if alarm["active"] else "cleared"
            state += "" if alarm["acked"] else ", not acknowledged"
            out.append(f"  {alarm['severity']:<8} {alarm['alarm']:<20} {state:<26} {alarm['text']}")
        width, height = shutil.get_terminal_size()
        return [line[: width - 1] for line in out[: height - 2]]

    def text(self, now: dict[str, Any]) -> str:
        """Escape codes included: goes home, clears each line's rest and what is below."""
        return "\x1b[H" + "".join(f"{line}\x1b[K\n" for line in self.lines(now)) + "\x1b[J"


def _span(seconds: float) -> str:
    minutes, hours = int(seconds) // 60, int(seconds) // 3600
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min {int(seconds) % 60} s"
