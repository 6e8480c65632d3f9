"""What a commissioning tool asks of the driver while it runs, through the daemon's local socket."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edge import LinesideError

from .address import parse_address
from .busdoctor import findings
from .exchanges import describe
from .plan import FUNCTIONS, Request
from .rules import MOST_BITS, MOST_REGISTERS

if TYPE_CHECKING:
    from .driver import Modbus

MOST_FRAMES = 1000  # in one answer
LONGEST = 5.0  # seconds that one read of a tool may hold the line


async def serve(driver: Modbus, request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer, plain JSON. Raises LinesideError or ValueError for what cannot be asked."""
    try:
        match request.get("want"):
            case "read":
                return await _read(driver, request)
            case "frames":
                return _frames(driver, request)
            case "doctor":
                return _doctor(driver)
    except OverflowError:
        raise LinesideError("a number that is none was asked for") from None
    raise LinesideError(f"a Modbus driver cannot tell {request.get('want')!r}")


async def _read(driver: Modbus, request: Mapping[str, Any]) -> dict[str, Any]:
    """One raw read between the driver's own: `words`, and `code` 0, an exception, -1 for silence, -2 for a wrong answer."""
    first, unit, count = parse_address(request["first"]), int(request["unit"]), int(request["count"])
    most = MOST_BITS if first.bits else MOST_REGISTERS
    if not (0 <= unit <= 255 and 1 <= count <= most and first.number + count <= 65536):
        raise LinesideError(f"unit {unit}, {count} from {first}: no such read")
    within = min(LONGEST, max(0.05, float(request.get("timeout", driver.config.timeout))))
    words = np.zeros(count, np.uint16)
    scan = await (await driver._line()).scan(
        [Request(unit, FUNCTIONS[first.table], first.number, count, 0)], words, within
    )
    code = scan.codes[0]
    return {"words": [] if code else words.tolist(), "code": max(code, -2)}


def _frames(driver: Modbus, request: Mapping[str, Any]) -> dict[str, Any]:
    """What went over the wire since `after` (null: from now on), and `about` the connection."""
    scheme = driver.config.url.partition(":")[0]
    after, most = request.get("after"), min(MOST_FRAMES, max(1, int(request.get("most", 100))))
    say = partial(describe, scheme) if request.get("plain") else None
    said = driver.tape.after(None if after is None else int(after), most, say)
    return said | {"about": {"driver": "modbus", "scheme": scheme, "url": driver.config.url}}


def _doctor(driver: Modbus) -> dict[str, Any]:
    """A line for each unit of the site, and what concerns the whole bus."""
    site = {item.unit for item in driver.plan.items}
    units = {number: unit.report() for number, unit in driver.units.items() if number in site}
    where = driver.config.where
    echoes = where.echoes if driver.units.echoes else ""
    return {"findings": list(findings(driver.source.name, units, where.serial, echoes))}
