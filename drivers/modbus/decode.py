"""`lineside decode`: one raw read under every type, order and base; with what the display says, the tag line."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

import numpy as np

from edge import ConfigFault

from .address import ORDERS, Address, parse_address
from .candidates import Display, Fit, Look, Reading, fits, readings
from .points import ModbusPoint
from .reach import Answer, Reach, of_url, reach, refused, target_arguments, unit_of

HELP = "read raw registers once and show them under every type and order; find the tag line for what a display says"
NAME = "value"
MOST_SHOWN = 8  # fits, on a terminal


def arguments(parser: argparse.ArgumentParser) -> None:
    target_arguments(parser, "; then an address, as in holding:100. Or SITE TAG. With --words, the address alone")
    parser.add_argument(
        "--unit", metavar="UNIT", help="unit number, or its name in the site (default: the only one, else 1)"
    )
    parser.add_argument(
        "--count", type=int, default=4, metavar="N", help="registers to read from the address on (default: 4)"
    )
    told = "what the meter's display shows; given again for each later read"
    parser.add_argument("--display", action="append", default=[], metavar="NUMBER", help=told)
    told = "registers read before, as in 0x4367,0x6666 or 99:17255,26214 (first address): nothing is read for them"
    parser.add_argument("--words", action="append", default=[], metavar="WORDS", help=told)
    parser.add_argument("--name", default=NAME, help="name of the tag in the line that is written (default: value)")
    parser.add_argument("--timeout", type=float, default=1.0, metavar="SECONDS", help="for the answer (default: 1)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


@dataclass(frozen=True)
class Case:
    """What was read and what can be said of it."""

    address: Address
    unit: int
    looks: list[Look]
    displays: list[Display]

    def fits(self) -> list[Fit]:
        return fits(self.address, list(zip(self.looks, self.displays, strict=True))) if self.displays else []


def run(options: argparse.Namespace) -> int:
    where, address = _meant(options)
    if address.bits or address.bit is not None:
        what = "a single bit" if address.single else "a part of a register"
        raise ConfigFault(f"{address} is {what}, which has one reading", hint="`lineside read` shows a tag's value")
    if not 1 <= options.count <= 120:
        raise ConfigFault(f"--count {options.count} is out of range", hint="1 to 120")
    if not re.fullmatch(r"[^\W\d]\w*", options.name):
        raise ConfigFault(f"{options.name!r} is no tag name", hint="letters, digits and _")
    case = asyncio.run(_case(options, where, address))
    if options.json:
        print(json.dumps(_as_json(case, options.name), ensure_ascii=False))
        return 0 if not case.displays or case.fits() else 1
    _show(case, options, where)
    return 0 if not case.displays or case.fits() else 1


def _meant(options: argparse.Namespace) -> tuple[list[str], Address]:
    """Where to read, and what: an address, or SITE TAG, whose name and unit are then the defaults. Raises ConfigFault."""
    *where, last = options.target
    try:
        return where, parse_address(last)
    except ValueError as error:
        driver, dot, name = last.partition(".")
        if len(where) != 1 or "://" in where[0] or not dot:
            raise ConfigFault(str(error)) from None
    _, config = reach([where[0], driver], options.state, options.timeout)
    point = config.points().get(name)
    if not isinstance(point, ModbusPoint):
        near = difflib.get_close_matches(name, config.points(), 1)
        raise ConfigFault(f"no tag is called {last!r}", hint=f"did you mean '{driver}.{near[0]}'?" if near else "")
    above, _, own = name.rpartition(".")
    options.unit = options.unit or (above if above in config.units else str(config.unit))
    options.name = own if options.name == NAME else options.name
    return [where[0], driver], point.address


async def _case(options: argparse.Namespace, where: Sequence[str], address: Address) -> Case:
    """The looks given by hand, and one more where a device is named."""
    looks = [look_of(text, address) for text in options.words]
    displays = [Display.parse(text) for text in options.display]
    if where:
        line, config = reach(where, options.state, options.timeout)
        unit = unit_of(config, options.unit)
        try:
            looks.append(await look(line, unit, address, options.count))
        finally:
            await line.close()
    elif looks:
        unit = unit_of(of_url("tcp://none"), options.unit)
    else:
        raise ConfigFault("nothing to decode", hint="name a device (tcp://host:502), or give registers with --words")
    if displays and len(displays) != len(looks):
        raise ConfigFault(
            f"{len(displays)} displays, {len(looks)} reads: each display belongs to one read",
            hint="give the registers of each earlier read with --words, in the order of the displays",
        )
    return Case(address, unit, looks, displays)


async def look(line: Reach, unit: int, address: Address, count: int) -> Look:
    """One read around an address: from the register before to the one after `count`; less where the device refuses that."""
    end = min(address.number + count, 65536)
    spans = [
        (max(0, address.number - 1), min(end + 1, 65536)),
        (address.number, end),
        (address.number, address.number + 2),
    ]
    answer = Answer((), 2)
    for start, stop in [*spans, (address.number, address.number + 1)]:
        answer = await line.read(unit, Address(address.table, start), min(stop, 65536) - start)
        if not answer.code:
            return Look(start, answer.words)
        if answer.code not in (2, 3):
            break
    raise refused(line.where, unit, address, answer)


def look_of(text: str, address: Address) -> Look:
    """Registers given by hand. Raises ConfigFault."""
    first, _, rest = text.rpartition(":")
    try:
        words = tuple(int(word, 0) for word in rest.replace(" ", ",").split(",") if word)
        start = int(first) if first else address.number
    except ValueError:
        raise ConfigFault(f"{text!r} are no registers", hint="write 0x4367,0x6666, or 99:17255,26214") from None
    if not words or len(words) > 125 or any(not 0 <= word <= 0xFFFF for word in words) or not 0 <= start <= 65535:
        raise ConfigFault(f"{text!r} are no registers", hint="1 to 125 numbers from 0 to 0xFFFF")
    return Look(start, words)


def _by_hand(look: Look) -> str:
    return f"{look.start}:{','.join(f'0x{word:04X}' for word in look.words)}"


def verdict(found: Sequence[Fit], looks: int) -> str:
    """In plain words how sure this is."""
    if not found:
        return (
            "nothing fits: is it the right unit and address, does the display round or show another quantity? "
            "A larger --count looks further"
        )
    if len(found) == 1:
        sure = (
            "one reading fits"
            if found[0].exact
            else "one reading is near; the value may have moved between read and look"
        )
        return sure if looks > 1 else f"{sure}; a second look at another value makes sure"
    if looks > 1 and len({fit.values for fit in found}) == 1:
        return f"{len(found)} readings fit, and they are one number until it grows: the manual decides which"
    return f"{len(found)} readings fit; read again when the value has moved"


def _place(address: Address, offset: int) -> str:
    why = {0: "counted from zero", -1: f"if {address.number + 1} counts from one", 1: "the one after"}
    return f"{address} ({why[offset]})"


def _show(case: Case, options: argparse.Namespace, where: Sequence[str]) -> None:
    newest = case.looks[-1]
    print(f"unit {case.unit}, {case.address.table}:{newest.start} and what follows:")
    print("  " + " ".join(f"{word:04X}" for word in newest.words))
    if not case.displays:
        print(*_table(case.address, readings(case.address, newest)), *_texts(newest), sep="\n")
        print("\nwith --display NUMBER (what the meter shows) the tag line is written")
        return
    found = case.fits()
    print("\n" + verdict(found, len(case.looks)))
    for fit in found[:MOST_SHOWN]:
        also = f", or {fit.also}: the same until it passes the sign" if fit.also else ""
        values = " then ".join(f"{value:.10g}" for value in fit.values) + ("" if fit.exact else ", near")
        print(f"\n  {fit.line(options.name)}\n      = {values}; {_place(fit.address, fit.offset)}{also}")
    if len(found) > MOST_SHOWN:
        print(f"\n  and {len(found) - MOST_SHOWN} more, less likely (--json shows all)")
    if found and (len(found) > 1 or len(case.looks) == 1):
        print("\nagain, when the display shows another value:\n  " + _again(case, options, where))


def _again(case: Case, options: argparse.Namespace, where: Sequence[str]) -> str:
    """The command that narrows it, with what is known already."""
    words = ["lineside", "decode", *where, str(case.address)]
    words += ["--state", str(options.state)] if options.state else []
    words += ["--unit", options.unit] if options.unit else []
    words += ["--count", str(options.count)] if options.count != 4 else []
    words += ["--name", options.name] if options.name != NAME else []
    for look, shown in zip(case.looks, options.display, strict=True):
        words += ["--words", _by_hand(look), "--display", shown]
    return shlex.join(words) + (" --display NUMBER" if where else " --words WORDS --display NUMBER")


def _table(address: Address, found: Sequence[Reading]) -> list[str]:
    lines = [f"\n{'address':<16}{'type':<9}" + "".join(f"{order:>22}" for order in ORDERS)]
    rows = sorted(found, key=lambda r: r.address.number)
    for (place, kind), group in groupby(rows, key=lambda r: (r.address, r.type)):
        by_order = {reading.order: reading.value for reading in group}
        cells = "".join(f"{by_order[o]:>22.12g}" if o in by_order else f"{'':>22}" for o in ORDERS)
        lines.append(f"{place!s:<16}{kind:<9}{cells}".rstrip())
    lines.append(
        f"\n{address} as named, counted from zero; {address.table}:{address.number - 1} where the manual counts from one"
    )
    return lines if address.number else lines[:-1]


def _texts(look: Look) -> list[str]:
    """The registers as characters, where they are some."""
    raw = {order: np.array(look.words, kind).tobytes() for order, kind in (("ABCD", ">u2"), ("BADC", "<u2"))}
    shown = {order: text.rstrip(b" \0").decode("ascii", "replace") for order, text in raw.items()}
    return [
        f"as text, {order}: {text!r}"
        for order, text in shown.items()
        if len(text) > 1 and text.isprintable() and text.isascii()
    ]


def _as_json(case: Case, name: str) -> dict[str, object]:
    newest, found = case.looks[-1], case.fits()
    return {
        "address": str(case.address),
        "unit": case.unit,
        "start": newest.start,
        "words": list(newest.words),
        "readings": [asdict(r) | {"address": str(r.address)} for r in readings(case.address, newest)],
        "fits": [asdict(fit) | {"address": str(fit.address), "line": fit.line(name)} for fit in found],
        "said": verdict(found, len(case.looks)) if case.displays else "",
    }
