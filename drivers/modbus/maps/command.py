"""`lineside import`: register maps that others wrote become device templates.

A file or a folder is read: SunSpec models (JSON), solarman inverter maps (YAML), tables of registers (CSV), our own templates.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from edge import LinesideError

from . import find, template
from .contract import Map, as_name

HELP = "make device templates of register maps: SunSpec JSON, inverter YAML, register CSV"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "maps", nargs="+", type=Path, metavar="MAP", help="file, or a folder in which all maps are read"
    )
    parser.add_argument("--json", action="store_true", help="one line per map: map, ok, tags, faults (row, message)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write the templates there (default: show them)")
    parser.add_argument(
        "--start", type=_address, metavar="N", help="SunSpec: first register (the ID) of the model, as in 40069"
    )
    parser.add_argument(
        "--writable", action="store_true", help="allow writing where a map says which values; without it nothing is"
    )


def _address(text: str) -> int:
    number = int(text, 0)
    if not 0 <= number <= 65535:
        raise ValueError
    return number


def run(options: argparse.Namespace) -> int:
    good = seen = 0
    for path, place in _files(options.maps):
        maps = find.maps(path, str(place), options.start, options.writable, named=path in options.maps)
        for found in maps if isinstance(maps, list) else ():
            seen += 1
            good += _told(found, options, place)
        if isinstance(maps, str):
            print(f"{path}: skipped, {maps}", file=sys.stderr)
    if not seen:
        raise LinesideError("no register map was found", hint="maps are .json, .yaml and .csv files")
    print(f"maps: {seen}, loaded: {good}", file=sys.stderr)
    return 0 if good == seen else 1


def _files(named: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Every file and where its template belongs below --out."""
    for path in named:
        if path.is_dir():
            for file in sorted(p for p in path.rglob("*") if p.is_file() or p.is_symlink()):
                yield file, file.relative_to(path)
        else:
            yield path, Path(path.name)


def _told(found: Map, options: argparse.Namespace, place: Path) -> bool:
    for row, message in found.notes:
        print(f"{found.name}:{row}: {message}", file=sys.stderr)
    if found.ok and options.out is not None:
        _write(found, options.out, place)
    if options.json:
        faults = [{"row": row, "message": message} for row, message in found.faults]
        print(
            json.dumps(
                {"map": found.name, "ok": found.ok, "tags": len(found.lines) if found.ok else 0, "faults": faults},
                ensure_ascii=False,
            )
        )
        return found.ok
    for row, message in found.faults:
        print(f"{found.name}:{row}: {message}")
    if found.ok and options.out is None:
        print(f"# {found.name}\n{template.text(found)}")
    elif found.ok:
        print(f"{found.name}: fine; tags: {len(found.lines)}")
    return found.ok


def _write(found: Map, folder: Path, place: Path) -> None:
    """`place.yaml`, or one file for each device of a table below a folder of its name. What is there already stays."""
    device = found.name.rpartition(":")[2] if place.suffix.lower() == ".csv" else ""
    target = (
        folder / place.with_suffix("") / f"{as_name(device)}.yaml" if device else folder / place.with_suffix(".yaml")
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(template.text(found))
    except FileExistsError:
        found.fault("out", f"{target} is there already; move it away or choose another folder")
