"""`lineside scan modbus URL`: who answers on a gateway or a line, and at which speed. One short read at a time, nothing written."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edge import LinesideError

from .address import Address
from .commands import asking, checked, progress
from .probe import Probe, Unit
from .reach import Direct, Reach, of_url

HELP = "Modbus units: behind a gateway, or on a serial line of unknown speed and parity"
BAUDS, PARITIES = (9600, 19200, 38400, 115200, 57600, 4800, 2400), ("even", "none", "odd")
USUAL = ((9600, "none"), (9600, "even"), (19200, "even"), (19200, "none"))  # are tried first


def arguments(parser: argparse.ArgumentParser) -> None:
    told = (
        "tcp://host:502, rtu+tcp://host:port, rtu:///dev/ttyUSB0 (each speed is tried), or with ?baud=9600&parity=even"
    )
    parser.add_argument("url", help=told)
    asking(parser, "1-32")


@dataclass
class Search:
    """`found`: the units of the first url at which one answers; it grows while it runs."""

    urls: Sequence[str]
    at: str = ""
    found: list[Unit] = field(default_factory=list)
    any: bool = False
    odd: list[str] = field(default_factory=list)  # urls at which something came that is no answer

    async def run(
        self,
        units: Sequence[int],
        first: Address,
        pause: float,
        reach: Callable[[str], Reach],
        tell: Callable[[str], None],
    ) -> None:
        for index, url in enumerate(self.urls):
            line = reach(url)
            many = f"{url} ({index + 1} of {len(self.urls)}): " if len(self.urls) > 1 else ""
            left = (len(self.urls) - index - 1) * len(units) * (line.timeout + pause)
            more = f", {left:.0f} s for the other speeds" if left else ""
            probe = Probe(line, units, pause, lambda text, many=many, more=more: tell(many + text + more))  # type: ignore[misc]
            self.at, self.found = url, probe.found
            try:
                await probe.run(deep=False, first=first)
            finally:
                self.found, self.any = [unit for unit in probe.found if unit.sound], probe.any
                self.odd += [url] if len(self.found) < len(probe.found) else []
                await line.close()
            if self.found:
                return


def speeds(url: str) -> list[str]:
    """The urls to try for one: of a serial line without `baud`, each speed and parity, the usual ones first."""
    scheme, _, rest = url.partition("://")
    device, _, query = rest.partition("?")
    if scheme not in ("rtu", "ascii") or "baud=" in query:
        return [url]
    given = f"&{query}" if query else ""
    parities = [None] if "parity=" in query else list(PARITIES)
    pairs = [(baud, parity) for baud in BAUDS for parity in parities]
    pairs.sort(key=lambda pair: USUAL.index(pair) if pair in USUAL else len(USUAL))
    return [f"{scheme}://{device}?baud={b}{f'&parity={p}' if p else ''}{given}" for b, p in pairs]


def run(options: argparse.Namespace) -> int:
    units, first = checked(options)
    urls = speeds(options.url)
    configs = {url: of_url(url) for url in urls}
    search, why = Search(urls), ""
    try:
        asyncio.run(
            search.run(units, first, options.pause, lambda url: Direct(configs[url], options.timeout), progress)
        )
    except KeyboardInterrupt:
        why = "stopped"
    except LinesideError as error:
        if not search.found:
            raise
        why = str(error)
    finally:
        progress("")
    for unit in search.found:
        row = {"url": search.at, "unit": unit.unit, "said": unit.said}
        print(json.dumps(row, ensure_ascii=False) if options.json else f"{search.at} unit {unit.unit}: {unit.said}")
    if search.any:
        print("it answers to every unit number: a device of its own, not a gateway", file=sys.stderr)
    for url in search.odd:
        print(f"{url}: something came that is no answer: wrong speed, or two units of one number", file=sys.stderr)
    if not search.found and not why:
        print(
            "nobody answers: is it on, are A and B swapped, is it the right port? --units asks others", file=sys.stderr
        )
    if why:
        print(f"{why}; this is what was found until then", file=sys.stderr)
        return 130 if why == "stopped" else 2
    return 0 if search.found else 1
