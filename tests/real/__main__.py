"""The main job on recorded reality: `python -m tests.real DATA [--short]`; the last line on standard output is one JSON object.

Pump-rig tables are served as Modbus registers at 100 times real speed, several at once; board pictures run as camera frames
through the template comparison, each template also as a good part. One plane takes it all.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge import decode_event
from edge.bench.process import cpu, pss, running, wait_for
from edge.bench.stack import lineside, plane
from edge.control import ask
from models.benchmarks.skab import JUDGED, SIGNALS, TRAINING
from tests.real import deeppcb, skab

TOGETHER = 4  # recordings played at once
RATE = 100.0  # rows a second; recorded at one


@dataclass
class Sums:
    """What adds up over all devices."""

    produced: int = 0
    journaled: int = 0
    acknowledged: int = 0
    cpu: float = 0.0
    sealed_bytes: int = 0
    all_samples: int = 0
    pss: float = 0.0
    skipped: int = 0
    repeated: int = 0
    alarms: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("raised", "true", "false", "missed"), 0))
    alarm_ms: list[float] = field(default_factory=list)


class Device:
    """One enrolled daemon, as its own process."""

    def __init__(self, folder: Path, name: str, site: str, url: str, until_end: contextlib.ExitStack) -> None:
        self.folder, self.name = folder / name, name
        self.folder.mkdir()
        path = self.folder / "site.yaml"
        path.write_text(f'device: {{id: {name}}}\n{site}\njournal: {{block: 3s}}\nsync: {{url: "{url}"}}\n')
        lineside("enroll", path, lineside("plane", "invite", "--folder", folder / "plane"), "--state", self.folder)
        self.process = until_end.enter_context(running("run", path, "--state", self.folder, log=self.folder / "log"))
        wait_for(lambda: (self.folder / "control.sock").exists() or self.process.poll() is not None, 30, "the start")
        if self.process.poll() is not None:
            raise RuntimeError((self.folder / "log").read_text()[-800:])

    def status(self) -> dict[str, Any]:
        return ask(self.folder, {"do": "status"})

    def blocks(self, sources: Iterable[str], column: str = "n") -> int:
        with contextlib.closing(sqlite3.connect(f"file:{self.folder / 'journal.db'}?mode=ro", uri=True)) as db:
            wanted = [f"samples:{s}" for s in sources]
            marks = ",".join("?" * len(wanted))
            found = db.execute(f"SELECT coalesce(sum({column}), 0) FROM block WHERE stream IN ({marks})", wanted)
            return int(found.fetchone()[0])

    def events(self, kind: str) -> list[Any]:
        with contextlib.closing(sqlite3.connect(f"file:{self.folder / 'journal.db'}?mode=ro", uri=True)) as db:
            rows = db.execute("SELECT body FROM event WHERE kind = ? ORDER BY seq", (kind,)).fetchall()
        return [decode_event(body) for (body,) in rows]


def held(folder: Path, device: str, sources: Iterable[str]) -> int:
    """Samples the plane holds of a device's drivers."""
    with contextlib.closing(sqlite3.connect(f"file:{folder / 'plane' / 'plane.db'}?mode=ro", uri=True)) as db:
        wanted = [f"samples:{s}" for s in sources]
        marks = ",".join("?" * len(wanted))
        sql = f"SELECT coalesce(sum(n), 0) FROM block WHERE device = ? AND stream IN ({marks})"
        return int(db.execute(sql, (device, *wanted)).fetchone()[0])


# The pump rig


def pump_site(servers: list[skab.Server]) -> str:
    drivers, stages, alarms = [], [], []
    for server in servers:
        name, (data, lamp) = server.recording.name, server.ports
        drivers += [skab.entry(server.recording, data, RATE), skab.lamp(server.recording, lamp)]
        tags = ", ".join(f"{name}.{skab.slug(SIGNALS[c])}" for c in JUDGED)
        stages.append(f"  {name}_health: {{stage: anomaly, tags: [{tags}], rows: {TRAINING}}}")
        alarms.append(
            f'  {name}_odd: {{when: "{name}_health.alarm > 0", '
            f"then: {{{name}_out.lamp: 1}}, on_clear: {{{name}_out.lamp: 0}}}}"
        )
    return "drivers:\n" + "\n".join(drivers) + "\nstages:\n" + "\n".join(stages) + "\nalarms:\n" + "\n".join(alarms)


async def pump(files: list[Path], folder: Path, url: str, sums: Sums, number: int) -> None:
    """Play a few recordings at once through one device and add up what came of it."""
    servers = [await skab.Server(skab.read(path), RATE).start() for path in files]
    with contextlib.ExitStack() as until_end:
        name = f"rig-{number}"
        device = await asyncio.to_thread(Device, folder, name, pump_site(servers), url, until_end)
        await asyncio.to_thread(wait_for, lambda: reads(device, servers), 30, "the first reading")
        await asyncio.gather(*(server.play() for server in servers))
        last = max(server.put[-1] for server in servers)
        await asyncio.sleep(max(0.0, last + 1.5 - asyncio.get_running_loop().time()))
        await asyncio.to_thread(settle, device, folder, [s.recording.name for s in servers], sums)
    for server in servers:
        await server.stop()
        rows_seen(device, server, sums)
        alarms_of(device, server, sums)


def reads(device: Device, servers: list[skab.Server]) -> bool:
    """Every source has been read, and the plane has been reached."""
    status = device.status()
    seen = all(status["sources"].get(s.recording.name, {}).get("all") for s in servers)
    return bool(seen and status["parts"].get("sync", {}).get("state") == "running")


def settle(device: Device, folder: Path, sources: list[str], sums: Sums) -> None:
    """Wait until the plane holds what was produced, then read the figures."""
    produced = sum(n["all"] for name, n in device.status()["sources"].items() if name in sources)
    sums.pss = max(sums.pss, pss(device.process.pid))
    with contextlib.suppress(TimeoutError):  # what is missing shows in the figures
        wait_for(lambda: held(folder, device.name, sources) >= produced, 30, "delivery")
    status = device.status()
    sums.produced += sum(n["all"] for name, n in status["sources"].items() if name in sources)
    sums.journaled += device.blocks(sources)
    sums.acknowledged += held(folder, device.name, sources)
    sums.cpu += cpu(device.process.pid)
    sums.sealed_bytes += device.blocks(sources, "length(body)")
    sums.all_samples += device.blocks(sources)


def rows_seen(device: Device, server: skab.Server, sums: Sums) -> None:
    """Compare the row numbers in the journal with the rows that were served."""
    import csv

    site = device.folder / "site.yaml"
    text = lineside("export", site, "--state", device.folder, "--tag", f"{server.recording.name}.row")
    rows = [int(float(row["value"])) for row in csv.DictReader(text.splitlines()) if row["value"]]
    sums.skipped += len(server.recording.stamp) - len(set(rows))
    sums.repeated += len(rows) - len(set(rows))


def alarms_of(device: Device, server: skab.Server, sums: Sums) -> None:
    key = f"{server.recording.name}_odd"
    events = [e for e in device.events("alarm") if e.key == key]
    judged = skab.judge(server.recording, [(e.state, e.ts // 10**6) for e in events])
    for name in sums.alarms:
        sums.alarms[name] += judged[name]
    lit = [at for at, value in server.lamp if value]
    row_of = {int(stamp): i for i, stamp in enumerate(server.recording.stamp)}
    for at, event in zip(lit, [e for e in events if e.state == "raised"], strict=False):
        row = row_of.get(event.ts // 10**6)
        if row is not None:
            sums.alarm_ms.append((at - server.put[row]) * 1000)


# The boards


def board_files(data: Path, folder: Path, most: int | None) -> list[tuple[str, bool, np.ndarray]]:
    """Write every pair as pictures to replay; returns (name, is defective, labelled boxes) in the order they will come."""
    truth = []
    for index, pair in enumerate(deeppcb.pairs(data, most=most)):
        part, template = pair.read()
        for kind, picture in (("a", part), ("b", deeppcb.good_part(template, index))):
            name = f"{index:05d}{kind}"
            cv2.imwrite(str(folder / f"{name}_test.bmp"), picture)
            cv2.imwrite(str(folder / f"{name}_temp.bmp"), template)
            truth.append((name, kind == "a" and len(pair.boxes) > 0, pair.boxes if kind == "a" else pair.boxes[:0]))
    return truth


def boards(data: Path, folder: Path, url: str, most: int | None, sums: Sums) -> dict[str, Any]:
    pictures = folder / "pictures"
    pictures.mkdir()
    truth = board_files(data, pictures, most)
    site = (
        f'drivers:\n  top: {{driver: replay, url: "pictures:{pictures}?pair=_test,_temp", speed: 0, buffers: 2}}\n'
        "stages:\n  board: {stage: template, camera: top, keep: none}"
    )
    with contextlib.ExitStack() as until_end:
        device = Device(folder, "aoi-1", site, url, until_end)
        wait_for(lambda: len(device.events("inspection")) >= len(truth), 300, "all verdicts")
        sums.pss = max(sums.pss, pss(device.process.pid))
        status, events = device.status(), device.events("inspection")
    captured = status["parts"]["top"]["counts"].get("frames", 0)
    return board_figures(truth, events, captured)


def board_figures(truth: list[tuple[str, bool, np.ndarray]], events: list[Any], captured: int) -> dict[str, Any]:
    hit = false = missed = found = labelled = 0
    states = dict.fromkeys(("ok", "ng", "recheck"), 0)
    took = []
    for event in events:
        states[event.state] += 1
        _, defective, boxes = truth[int(event.data["part"]) - 1]
        said = event.state == "ng"
        hit, false, missed = (
            hit + (said and defective),
            false + (said and not defective),
            missed + (defective and not said),
        )
        got = np.array([b[:4] for b in event.data["boxes"]], np.int32).reshape(-1, 4)
        found, labelled = found + deeppcb.recalled(boxes, got), labelled + len(boxes)
        took.append(float(event.data["took_ms"]))
    return {
        "frames": {"captured": captured, "judged": len(events), "dropped": captured - len(events)},
        "inspections": {
            **states,
            "precision": round(hit / max(1, hit + false), 4),
            "recall": round(hit / max(1, hit + missed), 4),
            "box_recall": round(found / max(1, labelled), 4),
        },
        "frame_ms": took,
    }


# All of it


async def everything(data: Path, short: bool) -> dict[str, Any]:
    missing: list[str] = []
    rigs = [p for p in sorted((data / "skab").glob("*/*.csv")) if p.parent.name.startswith(("valve", "other"))]
    if not rigs:
        missing.append("skab/valve*, skab/other")
    if not deeppcb.archives(data):
        missing.append("deeppcb/test_*.zip")
    rigs = rigs[:: max(1, len(rigs) // 3)][:3] if short else rigs
    sums, shown = Sums(), board_figures([], [], 0)
    with tempfile.TemporaryDirectory(prefix="lineside-real-") as name, plane(folder_of(name) / "plane"):
        folder = folder_of(name)
        url = (folder / "plane" / "url").read_text()
        began = time.monotonic()
        for number, start in enumerate(range(0, len(rigs), TOGETHER)):
            await pump(rigs[start : start + TOGETHER], folder, url, sums, number)
            progress("recordings", min(len(rigs), start + TOGETHER), len(rigs), began)
        if deeppcb.archives(data):
            shown = await asyncio.to_thread(boards, data, folder, url, 40 if short else None, sums)
            print(f"{shown['frames']['judged']} pictures judged", file=sys.stderr)
    return summary(sums, shown, missing)


def folder_of(name: str) -> Path:
    return Path(name)


def progress(what: str, done: int, of: int, began: float) -> None:
    left = (time.monotonic() - began) / max(1, done) * (of - done)
    print(f"{done} of {of} {what}, about {left:.0f} s to go", file=sys.stderr, flush=True)


def summary(sums: Sums, shown: dict[str, Any], missing: list[str]) -> dict[str, Any]:
    def rank(values: list[float], q: float) -> float | None:
        return round(float(np.quantile(values, q)), 2) if values else None

    return {
        "samples": {"produced": sums.produced, "journaled": sums.journaled, "acknowledged": sums.acknowledged},
        "rows": {"skipped": sums.skipped, "repeated": sums.repeated},
        "alarms": sums.alarms,
        "frames": shown["frames"],
        "inspections": shown["inspections"],
        "latency_ms": {
            "frame_p50": rank(shown["frame_ms"], 0.5),
            "frame_p99": rank(shown["frame_ms"], 0.99),
            "alarm_p99": rank(sums.alarm_ms, 0.99),
        },
        "values_per_cpu_second": round(sums.acknowledged / sums.cpu) if sums.cpu else None,
        "bytes_per_sample": round(sums.sealed_bytes / sums.all_samples, 3) if sums.all_samples else None,
        "pss_mb": round(sums.pss, 1),
        "missing": missing,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="run-real")
    parser.add_argument("data", type=Path)
    parser.add_argument("--short", action="store_true", help="3 recordings and 40 pairs")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"there is no folder {options.data}; say make run-real DATA=FOLDER", file=sys.stderr)
        return 2
    print(json.dumps(asyncio.run(everything(options.data, options.short))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
