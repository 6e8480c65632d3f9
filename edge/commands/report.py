"""`lineside report SITE`: every tag read once, compared with what the engineer expects, on a sealed sheet to sign."""

from __future__ import annotations

import argparse
import asyncio
import csv
import datetime
import difflib
import io
import json
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import plugins, sheet
from ..batch import TRUSTED, Quality, shown
from ..config.check import raise_if_faulty
from ..config.load import load
from ..control import NoDaemon, ask
from ..errors import ConfigFault, LinesideError
from ..log import log
from ..state import state_folder
from .arguments import state_option
from .bus import Bus
from .export import iso

HELP = "read every tag once, compare with what is expected, and write a sealed sheet to sign"
LARGEST_CSV = 10_000_000  # bytes
COLUMNS = ("tag", "value", "tolerance")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", type=Path, nargs="?", help="site file (YAML)")
    state_option(parser)
    told = "CSV with the columns tag, value and tolerance (0.5 or 2%%; without one: to the last digit written)"
    parser.add_argument("--expected", type=Path, metavar="CSV", help=told)
    parser.add_argument("--out", type=Path, metavar="HTML", help="write the sheet, one file that prints on A4")
    parser.add_argument("--language", choices=sheet.LANGUAGES, default="en", help="of the sheet (default: en)")
    parser.add_argument("--by", default="", metavar="NAME", help="who commissions, for the sheet")
    parser.add_argument("--verify", type=Path, metavar="HTML", help="say whether a sheet is as this device sealed it")
    parser.add_argument("--json", action="store_true", help="one JSON object per tag, then one with the summary")


def run(options: argparse.Namespace) -> int:
    if options.verify is not None:
        return verify(options.verify, options.state)
    if options.site is None:
        raise LinesideError("no site is named", hint="lineside report SITE, or lineside report --verify SHEET")
    record = report(options)
    if options.out is not None:
        write(record, options)
    for row in record["rows"]:
        print(json.dumps(row, ensure_ascii=False) if options.json else _plain(row))
    summary = record["summary"]
    if options.json:
        print(
            json.dumps({"summary": summary, "device": record["device"], "ended": record["ended"]}, ensure_ascii=False)
        )
    else:
        print(
            "tags: {tags}, good: {good}; compared: {compared}, as expected: {ok}; to be mended: {faults}".format(
                **summary
            )
        )
    return 1 if summary["faults"] else 0


def _plain(row: Mapping[str, Any]) -> str:
    around = f" ±{row['tolerance']}" if row["tolerance"] else ""
    against = f"expected {row['expected']}{around}: {row['verdict']}" if row["expected"] else row["verdict"]
    return f"{row['tag']:<32} {row['shown']:>14} {row['unit']:<8} {row['quality']:<12} {against}".rstrip()


@dataclass(frozen=True)
class Expected:
    """What a tag should show: a number within `tolerance`, or a word (an enum's name, a text) exactly."""

    value: float | str
    tolerance: float
    written: tuple[str, str]

    def met(self, value: float | str | None, said: str) -> bool:
        if isinstance(self.value, str) or isinstance(value, str):
            return said == self.written[0]
        return value is not None and abs(value - self.value) <= self.tolerance * (1 + 1e-9)


def expectations(path: Path, tags: Iterable[str]) -> dict[str, Expected]:
    """The rows of a CSV file, checked all at once. Raises ConfigFault with a line for every fault."""
    with path.open("rb") as file:
        raw = file.read(LARGEST_CSV + 1)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigFault(f"{path}: is not UTF-8 text", hint="save it as CSV UTF-8") from None
    if len(raw) > LARGEST_CSV:
        raise ConfigFault(f"{path}: more than {LARGEST_CSV // 10**6} MB", hint="a row per tag is enough")
    head = text.partition("\n")[0]
    mark = next((c for c in ";\t" if c in head and "," not in head), ",")
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=mark))
    except csv.Error as error:
        raise ConfigFault(f"{path}: {error}", hint="is it a CSV file?") from None
    names = [name.strip().lower() for name in rows[0]] if rows else []
    if not {"tag", "value"} <= set(names):
        raise ConfigFault(f"{path}:1: the first row must name the columns", hint=", ".join(COLUMNS))
    known, found, faults = list(tags), {}, []
    for number, row in enumerate(rows[1:], 2):
        cell = dict(zip(names, (text.strip() for text in row), strict=False))
        if not any(cell.values()):
            continue
        tag = cell.get("tag", "")
        try:
            if tag not in known:
                near = difflib.get_close_matches(tag, known, 1)
                raise ValueError(f"no tag is called {tag!r}" + (f", did you mean {near[0]!r}?" if near else ""))
            if tag in found:
                raise ValueError(f"{tag} stands there twice")
            found[tag] = expected(cell.get("value", ""), cell.get("tolerance", ""), comma=mark != ",")
        except ValueError as error:
            faults.append(f"{path}:{number}: {error}")
    if faults:
        raise ConfigFault("\n".join(faults))
    return found


def expected(value: str, tolerance: str, comma: bool = False) -> Expected:
    """`231.4` and `0.5`, `2%` or nothing (half of the last digit written); a word has no tolerance. Raises ValueError."""
    number = re.fullmatch(r"[+-]?\d+(?:[.,](\d+))?(?:[eE][+-]?\d+)?", value) if comma or "," not in value else None
    if not value:
        raise ValueError("no value")
    if number is None:
        if re.fullmatch(r"[+-]?\d+,\d+", value):
            raise ValueError(f"{value!r}: write a point, or separate the columns with ;")
        if tolerance:
            raise ValueError(f"{value!r} is no number, so it has no tolerance")
        return Expected(value, 0.0, (value, ""))
    around = float(value.replace(",", "."))
    if not tolerance:
        half = 0.0 if "e" in value.lower() else 0.5 * 10 ** -len(number[1] or "")
        return Expected(around, half, (value, f"{half:g}"))
    found = re.fullmatch(r"(\d+(?:[.,]\d+)?)\s*(%?)", tolerance)
    if found is None:
        raise ValueError(f"{tolerance!r} is no tolerance; write 0.5 or 2%")
    size = float(found[1].replace(",", "."))
    return Expected(around, size / 100 * abs(around) if found[2] else size, (value, tolerance))


def report(options: argparse.Namespace) -> dict[str, Any]:
    """What stands on the sheet, without its seal."""
    config = raise_if_faulty(load(options.site))
    folder = state_folder(config.device.id, options.state)
    wanted = expectations(options.expected, (t.name for t in config.tags())) if options.expected else {}
    started = _now()
    try:
        running = ask(folder, {"do": "status"}, 60).get("site_sha256")
        if running != config.digest:
            raise LinesideError(
                f"the daemon does not run {options.site} as it stands", hint="`lineside apply` it, then report"
            )
        rows, through = ask(folder, {"do": "read", "tags": []}, 60)["values"], "daemon"
    except NoDaemon:
        log.info("no daemon runs: the devices are asked directly")
        rows, through = asyncio.run(Bus(config, options.state).read([])), "devices"
    only_written = {f"{name}.{tag}" for name, part in config.drivers.items() for tag in part.only_written()}
    judged = [_judged(row, wanted.get(row["tag"]), row["tag"] in only_written) for row in rows]
    return {
        "sheet": 1,
        "device": config.device.id,
        "site": {"file": options.site.name, "sha256": config.digest},
        "through": through,
        "by": options.by,
        "lineside": metadata.version("lineside"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "started": started,
        "ended": _now(),
        "rows": judged,
        "summary": sheet.counted(judged),
    }


def _judged(row: Mapping[str, Any], want: Expected | None, only_written: bool) -> dict[str, Any]:
    value, quality = row["value"], row["quality"]
    said = value if isinstance(value, str) else row["label"] or ("-" if value is None else shown(value))
    good = value is not None and Quality[quality] <= TRUSTED
    waits = only_written and quality == "STALE" and row["ts"] and want is None  # for the first order, which is no fault
    verdict = "" if waits else "bad" if not good else "" if want is None else "ok" if want.met(value, said) else "off"
    told = {"tag": row["tag"], "value": value, "shown": said, "unit": row["unit"], "quality": quality, "good": good}
    told |= {"time": iso(row["ts"])[:23].replace("T", " ") if row["ts"] else "", "verdict": verdict}
    return told | dict(zip(("expected", "tolerance"), want.written if want else ("", ""), strict=True))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write(record: dict[str, Any], options: argparse.Namespace) -> None:
    """The sheet, sealed where this device is enrolled; said plainly where it is not."""
    folder, device = state_folder(record["device"], options.state), record["device"]
    why, kind = "this installation has nothing that seals", next(iter(plugins.names("seals")), "")
    if kind:
        try:
            plugins.find("seals", kind).seal(folder, device, b"")
            why = ""
        except LinesideError as error:
            why = error.args[0]
        except PermissionError:
            why = "this user may not read the device's identity"
    before, after = sheet.draw(record, options.language, why)
    record = record | {"page": sheet.digest(before, after), "language": options.language}
    proof = plugins.find("seals", kind).seal(folder, device, sheet.canonical(record)) if not why else ""
    seal = None if why else {"kind": kind, "proof": proof}
    options.out.write_text(sheet.put_together(before, after, record, seal), "utf-8")
    log.info("%s is written, %s", options.out, f"not sealed: {why}" if why else "sealed")


def verify(path: Path, state: Path | None) -> int:
    """Whether a sheet is as it was sealed. Needs the identity of the device that sealed it."""
    with path.open("rb") as file:
        raw = file.read(sheet.LARGEST + 1)
    if len(raw) > sheet.LARGEST:
        raise LinesideError(f"{path} is too large for a sheet")
    record, seal, page = sheet.take_apart(raw.decode("utf-8", "replace"))
    device, said = record["device"], ""
    if page != record["page"]:
        said = "CHANGED: what the page shows is not what was written"
    elif seal is None:
        said = "NOT SEALED: page and data agree, but nobody can tell whether both were changed"
    elif seal["kind"] not in plugins.names("seals"):
        raise LinesideError(f"it was sealed with {seal['kind']!r}, which this installation does not have")
    elif not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", device) or not plugins.find("seals", seal["kind"]).verify(
        state_folder(device, state), device, sheet.canonical(record), seal["proof"]
    ):
        said = "CHANGED: the seal does not fit, or another device sealed it"
    print(f"{path}: {said}" if said else f"{path}: unchanged since {device} sealed it ({record.get('ended')})")
    return 1 if said else 0
