"""The proof that no lie becomes data: `python -m tests.hostile [ANSWERS [SEED]]`.

First the checkers themselves: of a reader that lacks one check, each is found, and so is one that reads a value in halves. Then
ANSWERS answers that contradict their requests (a million) go to the driver over TCP, a quarter as many on an RTU line, on virtual
time and without a socket; it reads ANSWERS values of several registers from a libmodbus device that changes them between any two
answers; and what the checksums of lines can and cannot tell is counted. One JSON object a line. Exits with 1 if a value that rules
would trust is not what its register holds or is half old, if honest answers are not read, if a checksum misses what it must find
or passes more than it may, or if memory grows by more than 5 MB.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from edge import log

from .checksums import crc_misses, lrc_misses, random_frames
from .judge import judge
from .line import LINE_PLANTS, LinePeer
from .peer import PLANTS, Peer
from .torn import moving, read_whole

PLANTED = 3000  # answers to a reader that lacks a check
MOST_GROWTH = 5.0  # MB


def resident() -> float:
    """Memory of this process, in MB."""
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Progress:
    """A line every few seconds, with the time that is left. Notes time and memory from when a tenth is done."""

    def __init__(self, what: str, wanted: int) -> None:
        self._what, self._wanted = what, wanted
        self._began = self._said = time.monotonic()
        self._used, self._resident = time.process_time(), 0.0

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if not self._resident and done > self._wanted / 10:
            self._resident = resident()
        if now - self._said > 5 and done:
            self._said, left = now, (now - self._began) * (self._wanted - done) / done
            print(f"{done:,} of {self._wanted:,} {self._what}, about {left:.0f} s to go", file=sys.stderr, flush=True)

    def end(self) -> dict[str, Any]:
        return {
            "grown_mb": round(resident() - self._resident, 1),
            "seconds": round(time.monotonic() - self._began),
            "cpu_s": round(time.process_time() - self._used),
        }


def say(**found: Any) -> None:
    print(json.dumps(found), flush=True)


def prove(seed: int) -> None:
    for where, kind, checks in (("tcp", Peer, PLANTS), ("rtu", LinePeer, LINE_PLANTS)):
        for check in checks:
            it = judge(PLANTED, kind(random.Random(seed), check))
            say(planted=f"a reader that does not look at: {check}", hostile=where, wrong_good=it.wrong)
            if not it.wrong:
                sys.exit(f"the checker is wrong: a reader that does not look at {check} goes unseen")


def lies(where: str, answers: int, seed: int) -> bool:
    """Whether all is as it should be."""
    progress = Progress(f"answers ({where})", answers)
    peer = (Peer if where == "tcp" else LinePeer)(random.Random(seed))
    it = judge(answers, peer, lambda it: progress(it.peer.told.total()))
    for fault in filter(None, (it.first_wrong, it.peer.broke)):
        print(fault, file=sys.stderr)
    end, by_manner = progress.end(), dict(sorted(it.peer.told.items()))
    told = it.peer.told.total()
    say(hostile=where, seed=seed, contradicting=told, wrong_good=it.wrong, good=it.good, **end, by_manner=by_manner)
    return not (it.wrong or it.peer.broke) and bool(it.good) and end["grown_mb"] <= MOST_GROWTH


def torn(values: int) -> bool:
    """Whether all is as it should be."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with moving(Path(folder)) as port:
                halved = asyncio.run(read_whole(port, 10_000, halved=True))
                say(planted="values read in halves", torn=halved.torn)
                if not halved.torn:
                    sys.exit("the checker is wrong: values read in halves go unseen")
                progress = Progress("values", values)
                it = asyncio.run(read_whole(port, values, step=progress))
                say(hostile="torn", values=it.seen, torn=it.torn, turns=len(it.turns), **progress.end())
                return not it.torn
        except (OSError, subprocess.CalledProcessError):
            say(hostile="torn", skipped="no C compiler with libmodbus (make system-packages)")
            return True


def checksums(frames: int, seed: int) -> bool:
    """Whether all is as it should be."""
    misses, passed = crc_misses(), random_frames(frames, seed)
    say(hostile="rtu, all errors of a kind in 256 bytes", missed=misses)
    say(hostile="rtu, right frames with random data and checksum", **passed)
    say(hostile="ascii, what its LRC takes for data", **lrc_misses())
    return not any(misses.values()) and bool(passed["as_expected"])


if __name__ == "__main__":
    log.setLevel(logging.CRITICAL)
    answers = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    number = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10**6)
    prove(number)
    fine = [
        lies("tcp", answers, number),
        lies("rtu", answers // 4, number),
        torn(answers),
        checksums(4 * answers, number),
    ]
    sys.exit(not all(fine))
