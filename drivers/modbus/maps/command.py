"""`lineside import`: register maps that others wrote become device templates.

A file or a folder is read: SunSpec models (JSON), solarman inverter maps (YAML), tables of registers or of tags (CSV), our own
templates and sites. With `--csv` a template or a site becomes a table, for a spreadsheet; it comes back the same way.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from edge import LinesideError

from . import find, tags_csv, template
from .contract import Map, as_name

HELP = "make device templates of register maps (SunSpec JSON, inverter YAML, CSV), or tables of templates and sites"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "maps", nargs="+", type=Path, metavar="MAP", help="file, or a folder in which all maps are read"
    )
    parser.add_argument("--json", action="store_true", help="one line per map: map, ok, tags, faults (row, message)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write the templates there (default: show them)")
    parser.add_argument("--csv", action="store_true", help="as tables for a spreadsheet, not as templates")
    parser.add_argument(
        "--start", type=_address, metavar="N", help="SunSpec: first register (the ID) of the model, as in 40069"
    )
    parser.add_argument(
        "--repeat",
        type=_times,
        action="append",
        default=[],
        metavar="GROUP=N",
        help="SunSpec: how often a group is there where the model does not say, as in module=4",
    )
    parser.add_argument(
        "--writable", action="store_true", help="allow writing where a map says which values; without it nothing is"
    )


def _address(text: str) -> int:
    number = int(text, 0) if re.fullmatch(r"0|[1-9]\d{0,4}|0[xX][0-9a-fA-F]{1,4}", text) else -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no register; write a number from 0 to 65535")
    return number


def _times(text: str) -> tuple[str, int]:
    found = re.fullmatch(r"(.+)=([1-9]\d{0,2})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} does not say how often; write GROUP=N, as in module=4")
    return found[1], int(found[2])


def run(options: argparse.Namespace) -> int:
    good = seen = 0
    times, used = dict(options.repeat), set[str]()
    for path, place, target in _files(options.maps):
        how = find.How(options.start, times, options.writable, path in options.maps, used)
        maps = find.maps(path, str(place), how)
        if isinstance(maps, str):
            print(f"{path}: skipped, {maps}", file=sys.stderr)
            continue
        if options.csv and not (options.out or options.json) and seen + len(maps) > 1:
            raise LinesideError("there is more than one table", hint="write them into files with --out FOLDER")
        for found in maps:
            seen += 1
            good += _told(found, options, target)
    if not seen:
        raise LinesideError("no register map was found", hint="maps are .json, .yaml and .csv files")
    for name in times.keys() - used:
        print(f"--repeat {name}: no group of these maps is called so", file=sys.stderr)
    print(f"maps: {seen}, loaded: {good}", file=sys.stderr)
    return 0 if good == seen else 1


def _files(named: list[Path]) -> Iterator[tuple[Path, Path, Path]]:
    """Every file, its name, and where its template belongs below --out. Two of one name have their folder before it; of
    meter.csv beside meter.yaml the templates are meter_csv and meter_yaml."""
    found: dict[Path, Path] = {}
    for path in named:
        inside = sorted(p for p in path.rglob("*") if p.is_file() or p.is_symlink()) if path.is_dir() else [path]
        found |= {file: file.relative_to(path) if file != path else Path(path.name) for file in inside}
    times = Counter(found.values())
    for file, place in found.items():
        if times[place] > 1:
            found[file] = Path(file.absolute().parents[len(place.parts) - 1].name, place)
    kinds = (".json", ".yaml", ".yml", ".csv")
    stems = Counter(place.with_suffix("") for place in found.values() if place.suffix.lower() in kinds)
    for file, place in found.items():
        alone = stems[place.with_suffix("")] < 2
        yield file, place, place if alone else place.with_stem(f"{place.stem}_{place.suffix[1:].lower()}")


def _told(found: Map, options: argparse.Namespace, place: Path) -> bool:
    for row, message in found.notes:
        print(f"{found.name}:{row}: {message}", file=sys.stderr)
    if found.ok and options.out is not None:
        _write(found, options, place)
    if options.json:
        faults = [
            {"row": f.row, "message": f"{f.column}: {f.message}" if f.column else f.message} for f in found.faults
        ]
        print(
            json.dumps(
                {"map": found.name, "ok": found.ok, "tags": len(found.lines) if found.ok else 0, "faults": faults},
                ensure_ascii=False,
            )
        )
        return found.ok
    for fault in found.faults:
        print(f"{found.name}:{fault}", file=sys.stderr)
    if found.ok and options.out is not None:
        print(f"{found.name}: fine; tags: {len(found.lines)}")
    elif found.ok:
        print(
            tags_csv.text(found) if options.csv else f"# {found.name}\n{template.text(found)}",
            end="" if options.csv else "\n",
        )
    return found.ok


def _write(found: Map, options: argparse.Namespace, place: Path) -> None:
    """`place.yaml`, or below a folder of that name one file for each part. What is there already stays."""
    ending = ".csv" if options.csv else ".yaml"
    folder: Path = options.out
    if found.part:
        target = folder / place.with_suffix("") / f"{as_name(found.part, lower=False)}{ending}"
    else:
        target = folder / place.with_suffix(ending)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open(
            "x", encoding="utf-8-sig" if options.csv else "utf-8", newline=""
        ) as file:  # so that Excel sees °C
            file.write(tags_csv.text(found) if options.csv else template.text(found))
    except FileExistsError:
        found.fault("out", f"{target} is there already; move it away or choose another folder")
