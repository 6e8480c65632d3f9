"""What a station has to stand before the PLC engineer arrives: each case plays one mood of the PLC and looks at the bits."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from edge import SECOND

from .bench import Bench
from .handshake import BUFFER

Case = Callable[[Bench], Awaitable[str]]
SLACK = 3.0  # seconds
TAKTS, REST = 10, 35.0  # that all cases take of a station that passes: so many takts, and seconds besides
QUIET = 0.3  # seconds without a move, after which nothing more comes of what was


@dataclass(frozen=True)
class Outcome:
    """`fault` in words; empty where the case passed."""

    name: str
    fault: str
    seconds: float


async def conform(bench: Bench, tell: Callable[[str], None] = lambda said: None) -> list[Outcome]:
    """Every case in order, on a bench that runs; `tell` of each before it. The first one that fails at the start ends it: nothing
    else would say anything."""
    out: list[Outcome] = []
    about = round((REST + TAKTS * bench.options.takt) / 60) or 1
    tell(f"{len(CASES)} cases take about {about} min at a takt of {bench.options.takt:g} s")
    for number, case in enumerate(CASES, 1):
        tell(f"{number} of {len(CASES)}: {(case.__doc__ or '').strip()}")
        began = time.monotonic()
        fault = await case(bench)
        out.append(Outcome((case.__doc__ or "").strip(), fault, time.monotonic() - began))
        if fault and case is starts:
            break
        await _calm(bench)
    return out


async def starts(b: Bench) -> str:
    """the station starts and is ready; its heartbeat changes"""
    if not await b.until(lambda: b.see("ready"), 60):
        return f"`ready` did not rise within 60 s; the daemon says: {b.said()}"
    beats = _count(b, "heartbeat")
    return (
        "" if await b.until(lambda: _count(b, "heartbeat") > beats + 1, 4 * b.options.heartbeat + 1) else "no heartbeat"
    )


async def parts(b: Bench) -> str:
    """each part has one whole verdict under its own id"""
    before = len(b.plc.results)
    if not await _parts(b, 4):
        return f"{len(b.plc.results) - before} of 4 verdicts came"
    odd = [number for number, state in b.plc.results if state not in ("ok", "ng", "recheck")]
    if odd:
        return f"verdict {odd[0]} was not exactly one of ok, ng, recheck"
    if "checksum" in b.below and not b.see("checksum"):
        return "the verdict names no recipe"
    return ""


async def in_time(b: Bench) -> str:
    """verdicts come within the takt"""
    b.slowest = max(b.plc.waited, default=0)
    slow = [waited for waited in b.plc.waited if waited > b.takt]
    return f"{len(slow)} of {len(b.plc.waited)} took longer, the worst {b.slowest / 1e6:.0f} ms" if slow else ""


async def long_trigger(b: Bench) -> str:
    """a trigger that stays high is one part"""
    before = len(b.plc.results)
    b.plc.faults.trigger_high = _in(1.0 + b.options.takt)
    if not await _parts(b, 1, more=1.0 + b.options.takt):
        return "no verdict came"
    return "" if len(b.plc.results) == before + 1 else f"{len(b.plc.results) - before} verdicts came"


async def double_trigger(b: Bench) -> str:
    """a double trigger doubles no verdict"""
    b.plc.faults.double = True
    return "" if await _parts(b, 2) else "verdicts are missing"


async def skipped_ack(b: Bench) -> str:
    """a skipped acknowledgement raises overrun, and the verdict stays until it is acknowledged"""
    b.plc.faults.no_ack, b.plc.resting = _in(600), False
    if not await b.until(lambda: b.see("valid"), b.options.takt + SLACK):
        return "no verdict came"
    number = b.see("result_id")
    if not await b.until(lambda: b.see("overrun"), b.ack_within + SLACK):
        return "overrun did not rise"
    if not b.see("valid") or b.see("result_id") != number:
        return "the verdict was taken away or written over"
    b.plc.faults.no_ack, b.plc.resting = 0, True
    return "" if await b.until(lambda: not b.see("overrun") and not b.see("valid"), SLACK) else "overrun did not fall"


async def stuck_ack(b: Bench) -> str:
    """an acknowledgement stuck high takes no further verdict"""
    b.plc.faults.ack_high = _in(600)
    b.plc.resting = False
    if not await b.until(lambda: b.see("overrun"), 2 * b.options.takt + b.ack_within + 2 * SLACK):
        return "overrun did not rise"
    if b.see("valid"):
        return "a verdict is shown under the old acknowledgement"
    b.plc.faults.ack_high, b.plc.resting = 0, True
    return "" if await b.until(lambda: not b.see("overrun"), SLACK) else "overrun did not fall"


async def wrong_product(b: Bench) -> str:
    """for a product without recipe the station is not ready, and refuses a trigger"""
    if "product" not in b.below:
        return ""
    codes = {str(code) for code in b.options.recipes}
    b.product(next(str(code) for code in range(1, 10_000) if str(code) not in codes))
    if not await b.until(lambda: not b.see("ready"), SLACK):
        return "`ready` did not fall"
    if "recipe" in b.below and not await b.until(lambda: not b.see("recipe"), SLACK):
        return "it still shows a recipe"
    b.plc.faults.blind, b.plc.resting, b.plc.next_part = True, False, 0
    refused = await b.until(lambda: b.see("refused") and b.see("overrun") and not b.see("taken"), SLACK)
    b.plc.resting = True
    b.product(str(next(iter(b.options.recipes))))
    if not refused:
        return "the trigger was not refused"
    return "" if await b.until(lambda: b.see("ready"), SLACK) else "it does not come back with the right product"


async def changeover(b: Bench) -> str:
    """another product code loads its recipe within 100 ms"""
    codes = [str(code) for code in b.options.recipes]
    if "recipe" not in b.below or "product" not in b.below or len(codes) < 2:
        return ""
    for code in (codes[1], codes[0]):
        before, began = b.see("recipe"), time.monotonic_ns()
        b.product(code)
        if not await b.until(lambda before=before: b.see("recipe") not in (0, before), SLACK):  # type: ignore[misc]
            return f"the recipe of product {code} does not come"
        b.changeover = max(b.changeover, time.monotonic_ns() - began)
    return "" if b.changeover <= SECOND // 10 else f"it took {b.changeover / 1e6:.0f} ms"


async def full_buffer(b: Bench) -> str:
    """with eight verdicts unacknowledged nothing more is taken, and all eight come in order"""
    before, taken = len(b.plc.results), len(b.plc.taken)
    b.plc.faults.no_ack, b.plc.cadence, b.plc.resting = _in(600), SECOND // 20, False
    full = await b.until(
        lambda: len(b.plc.taken) >= taken + BUFFER and not b.see("ready"), 30 + BUFFER * b.options.takt
    )
    b.plc.resting, b.plc.cadence, b.plc.faults.no_ack = True, b.takt, 0
    if not full:
        return f"{len(b.plc.taken) - taken} were taken, and `ready` is {b.see('ready'):.0f}"
    done = await b.until(lambda: len(b.plc.results) >= before + BUFFER, b.options.takt + BUFFER)
    return "" if done and b.plc.results[before][0] == b.plc.taken[taken] else "not all of them came"


async def pulled_cable(b: Bench) -> str:
    """a pulled cable stops the heartbeat, and a verdict that waits comes once"""
    if why := await _waiting(b, 1):
        return why
    await b.pull()
    before, beats = len(b.plc.results), _count(b, "heartbeat")
    b.plc.faults.no_ack = 0  # it acknowledges into the void
    await b.until(lambda: False, 2 * b.options.heartbeat)
    if _count(b, "heartbeat") != beats:
        return "the heartbeat goes on"
    await b.plug()
    if not await b.until(lambda: b.see("ready") and not b.see("valid"), 30):
        return "the station does not come back"
    return "" if len(b.plc.results) == before + 1 and await _parts(b, 1) else "the verdict was lost or came twice"


async def pulled_at_trigger(b: Bench) -> str:
    """a cable pulled while a trigger rises costs no part that was taken"""
    b.plc.resting, b.plc.next_part = False, 0
    if not await b.until(lambda: b.plc.trigger, b.options.takt + SLACK):
        return "`ready` stays low"
    await b.pull()
    b.plc.resting = True
    await b.until(lambda: False, b.options.heartbeat)
    await b.plug()
    if not await b.until(lambda: b.see("ready") and not b.plc.trigger, 30):
        return "the station does not come back"
    return "" if await _parts(b, 1) else "no verdict comes any more"


async def restarted_plc(b: Bench) -> str:
    """a PLC that lost its memory gets every output again"""
    b.restart_plc()
    if not await b.until(lambda: b.see("ready"), SLACK):
        return "`ready` was not written again"
    return "" if await _parts(b, 2) else "verdicts are missing"


async def killed_station(b: Bench) -> str:
    """a station that is killed and started again shows what was not acknowledged, under its ids"""
    before, taken = len(b.plc.results), len(b.plc.taken)
    if why := await _waiting(b, 2):
        return why
    await b.kill()
    await b.start()
    b.plc.faults.no_ack = 0
    if not await b.until(lambda: len(b.plc.results) >= before + 2 and b.see("ready"), 60):
        return f"{len(b.plc.results) - before} of 2 verdicts came"
    numbers = [number for number, _ in b.plc.results[before:]]
    return "" if numbers == b.plc.taken[taken:] else f"taken were {b.plc.taken[taken:]}, the verdicts say {numbers}"


async def none_lost(b: Bench) -> str:
    """in all of that no verdict was missed and none was doubled"""
    if not b.plc.results:
        return "there was none"
    first = b.plc.results[0][0]
    numbers = [number for number, _ in b.plc.results]
    if numbers != list(range(first, first + len(numbers))):
        return f"the ids were {numbers}"
    lacking = set(b.plc.taken) - set(numbers)
    return f"taken and never judged: {sorted(lacking)}" if lacking else ""


CASES: tuple[Case, ...] = (
    starts,
    parts,
    in_time,
    long_trigger,
    double_trigger,
    skipped_ack,
    stuck_ack,
    wrong_product,
    changeover,
    full_buffer,
    pulled_cable,
    pulled_at_trigger,
    restarted_plc,
    killed_station,
    none_lost,
)


async def _parts(b: Bench, count: int, more: float = 0.0) -> bool:
    """That many parts, one takt after another, and their verdicts."""
    wanted, taken = len(b.plc.results) + count, len(b.plc.taken) + count
    b.plc.resting, b.plc.next_part = False, 0
    limit = count * b.options.takt + more + SLACK
    came = await b.until(lambda: len(b.plc.taken) >= taken or len(b.plc.results) >= wanted, limit)
    b.plc.resting = True
    return came and await b.until(lambda: len(b.plc.results) >= wanted, b.options.takt + SLACK)


async def _waiting(b: Bench, count: int) -> str:
    """That many parts taken and judged, the first verdict standing without its acknowledgement."""
    taken = len(b.plc.taken)
    b.plc.faults.no_ack, b.plc.resting, b.plc.next_part = _in(600), False, 0
    came = await b.until(lambda: len(b.plc.taken) >= taken + count, count * b.options.takt + SLACK)
    b.plc.resting = True
    judged = await b.until(lambda: b.see("valid") and not b.see("busy"), b.options.takt + SLACK)
    return "" if came and judged else "no part was taken and judged"


async def _calm(b: Bench) -> None:
    """Until nothing is under way, so that no case sees what another one left."""
    b.plc.resting = True

    def moves() -> bool:
        judged = {number for number, _ in b.plc.results}
        return bool(b.plc.trigger or b.plc.ack or b.see("valid") or b.see("busy") or set(b.plc.taken) - judged)

    for _ in range(10):
        await b.until(lambda: not moves(), b.options.takt + SLACK)
        if not await b.until(moves, QUIET):
            return


def _in(seconds: float) -> int:
    return time.monotonic_ns() + round(seconds * SECOND)


def _count(b: Bench, name: str) -> int:
    return sum(moved == name for _, moved, _ in b.log)


def bits(log: list[tuple[float, str, float]]) -> Iterator[str]:
    """The log as lines: seconds, name, value."""
    return (f"{at:10.3f}  {name:<10} {value:.0f}" for at, name, value in log)
