"""`python -m tests.torture SEEDS [--minutes M] [--kills K] [--first SEED]`, and `--mutants`: see docs/reliability.md."""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from .check import Verdict

STUCK = 180  # seconds that a seed may take here
MOST_SEEDS = 25  # tried for a mutant until one of them notices it
TROUBLE = Path("build/torture")  # histories of seeds that failed


def one(seed: int, keep: bool = True) -> Verdict:
    """In a process of its own. A history is kept where the verdict is bad."""
    from .world import play

    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, _stuck)
    signal.alarm(STUCK)
    try:
        verdict, world = play(seed)
    finally:
        signal.alarm(0)
    if keep and verdict.bad():
        TROUBLE.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(line, default=str, ensure_ascii=False) for line in world.history]
        (TROUBLE / f"seed-{seed}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return verdict


def _stuck(*_: object) -> None:
    raise RuntimeError(f"the run has not ended after {STUCK} s")


def safely(seed: int) -> tuple[Verdict, str]:
    """A verdict, and what was raised instead of one."""
    try:
        return one(seed), ""
    except Exception:
        return Verdict(violations=1), traceback.format_exc()


def hunt(name: str) -> int:
    """The seed that notices a planted bug, 0 if none does. An exception is noticed, too."""
    from .mutants import MUTANTS

    MUTANTS[name]()
    for seed in range(1, MOST_SEEDS + 1):
        try:
            if one(seed, keep=False).bad():
                return seed
        except Exception:
            return seed
    return 0


def spread(
    work: Callable[[Any], Any], items: list[Any], minutes: float, what: str, fresh: bool = False
) -> Iterator[tuple[Any, Any]]:
    """(item, result) as they end, on all cores; none is begun after `minutes`. Says on standard error how long it will take."""
    began, done, todo = time.monotonic(), 0, list(reversed(items))
    cores = max(1, len(os.sched_getaffinity(0)))
    with ProcessPoolExecutor(
        cores, multiprocessing.get_context("spawn"), max_tasks_per_child=1 if fresh else None
    ) as pool:
        running: dict[Future[Any], Any] = {}
        while running or todo:
            while todo and len(running) < cores:
                if time.monotonic() - began > minutes * 60:
                    todo.clear()
                    break
                item = todo.pop()
                running[pool.submit(work, item)] = item
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                item = running.pop(future)
                done += 1
                passed = time.monotonic() - began
                left = min(passed / done * (len(items) - done), max(0.0, minutes * 60 - passed))
                print(f"{done} of {len(items)} {what}: {item}, about {left:.0f} s to go", file=sys.stderr, flush=True)
                yield item, future.result()


def torture(first: int, seeds: int, minutes: float, kills: int) -> int:
    began = time.monotonic()
    total, ran, bad = Verdict(), 0, []
    print(f"seeds {first} to {first + seeds - 1}", file=sys.stderr)
    for seed, (verdict, raised) in spread(safely, list(range(first, first + seeds)), minutes, "seeds"):
        ran += 1
        for field in fields(Verdict):
            setattr(total, field.name, getattr(total, field.name) + getattr(verdict, field.name))
        if verdict.bad():
            bad.append(seed)
            where = raised or f"{asdict(verdict)}; its history is {TROUBLE}/seed-{seed}.jsonl"
            print(f"seed {seed}: {where}", file=sys.stderr)
    print(f"of the faults {total.cuts} cut the power, {total.kills} killed a machine", file=sys.stderr)
    if kills and time.monotonic() - began < minutes * 60:
        from tests.system import faults

        progress = faults.Progress(kills)
        for way, some in faults.ways(kills):
            print(f"real processes, {way}: {some} kills, seed {first}", file=sys.stderr)
            real = faults.main(some, first, way=way, progress=progress)
            total.faults += real["kills"]
            total.committed += real["durable"]
            total.applied += real["kept"]
            total.lost += real["lost"]
            total.doubled += real["doubled"]
    if bad:
        print(f"failed: seeds {bad}; one again: make torture FIRST={bad[0]} SEEDS=1 KILLS=0", file=sys.stderr)
    names = ("faults", "committed", "applied", "lost", "doubled", "reordered", "violations")
    print(json.dumps({"seeds": ran, **{name: getattr(total, name) for name in names}}), flush=True)
    return 1 if total.bad() or not ran else 0


def prove(real: bool, only: list[str]) -> int:
    from .mutants import MUTANTS

    killed, names = 0, only or list(MUTANTS)
    planted = len(names)
    for name, seed in spread(hunt, names, 1e9, "planted bugs", fresh=True):
        killed += bool(seed)
        print(f"{name}: {f'noticed by seed {seed}' if seed else 'NOT NOTICED'}", file=sys.stderr, flush=True)
    if real:
        from tests.system import faults

        progress = faults.Progress(faults.PROOF_KILLS * len(faults.PLANTS))
        for name, noticed in faults.prove(1, progress):
            planted, killed = planted + 1, killed + noticed
            print(f"{name}: {'noticed' if noticed else 'NOT NOTICED'}", file=sys.stderr, flush=True)
    print(json.dumps({"planted": planted, "killed": killed}), flush=True)
    return 0 if killed == planted else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("seeds", type=int, nargs="?", default=200)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--minutes", type=float, default=60.0, help="no seed is begun later than this")
    parser.add_argument(
        "--kills", type=int, default=0, help="kill -9 of a real daemon and a real plane, after the seeds"
    )
    parser.add_argument("--mutants", action="store_true", help="plant bugs and see each of them noticed")
    parser.add_argument("--only", nargs="*", default=[], help="these mutants, and no real processes")
    given = parser.parse_args()
    os.environ["PYTHONHASHSEED"] = "0"  # of the processes that play the seeds: so that a seed is the same each time
    if given.mutants:
        return prove(not given.only, given.only)
    return torture(given.first, given.seeds, given.minutes, given.kills)
