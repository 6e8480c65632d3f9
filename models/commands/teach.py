"""`lineside model teach FOLDER --out PACKAGE`: a few good parts become a package that judges the next one."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge import LinesideError

from ..vision.certificate import write
from ..vision.detect import one_thread
from ..vision.good_parts import picture, pictures, size
from ..vision.placing import RegistrationConfig
from ..vision.surface import learn as learn_surface
from ..vision.surface_package import write as write_surface
from ..vision.teaching import learn
from ..vision.variation import Allowance

PLACED: dict[str, Any] = {  # options of parts that are placed, and what they are where nobody says them
    "by": "phase",
    **{name: RegistrationConfig.model_fields[name].default for name in ("search", "turn", "scale", "quality")},
    "edge": 1,
    "levels": 8.0,
    "spread": 3.0,
    "every": False,
}
HELP = "learn from a folder of good parts (5 to 20) what is normal, on this device"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="pictures of good parts, of one size, and nothing else")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="PACKAGE", help="folder of the package; must not be there yet"
    )
    fields = RegistrationConfig.model_fields
    parser.add_argument("--by", choices=("phase", "feature"), help=f"how a part is found (default: {PLACED['by']})")
    for name, kind in (("search", int), ("turn", float), ("scale", float), ("quality", float)):
        described = f"{fields[name].description} (default: {PLACED[name]})"
        parser.add_argument(f"--{name}", type=kind, help=described)
    moves = f"pixels an edge may move (default: {PLACED['edge']})"
    parser.add_argument("--edge", type=int, choices=range(9), metavar="PX", help=moves)
    levels = f"grey levels that are no defect anywhere (default: {PLACED['levels']:g})"
    parser.add_argument("--levels", type=_above_zero, help=levels)
    spread = f"standard deviations that are none (default: {PLACED['spread']:g})"
    parser.add_argument("--spread", type=_above_zero, help=spread)
    parser.add_argument("--mask", type=Path, metavar="PICTURE", help="where it is black nothing is judged")
    parser.add_argument(
        "--every", action="store_true", default=None, help="keep parts that are unlike the others: they are good"
    )
    parser.add_argument(
        "--texture",
        action="store_true",
        help="a surface with nothing to place on it, of any size: defects are drawn on the parts to learn from",
    )
    parser.add_argument("--json", action="store_true", help="the certificate as one JSON object, the last line")


def run(options: argparse.Namespace) -> int:
    began = time.monotonic()
    one_thread()
    if options.out.exists():
        raise LinesideError(f"{options.out} is there already", hint="name another folder: a package is never changed")
    if options.texture:
        return _texture(options, began)
    for name, usual in PLACED.items():
        if getattr(options, name) is None:
            setattr(options, name, usual)
    try:
        place = RegistrationConfig(
            by=options.by, search=options.search, turn=options.turn, scale=options.scale, quality=options.quality
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise LinesideError(f"{f'--{where}: ' if where else ''}{first['msg'].removeprefix('Value error, ')}") from None
    names, parts = pictures(options.folder)
    mask = None
    if options.mask:
        mask = picture(options.mask)
        if mask.shape != parts[0].shape:
            raise LinesideError(f"{options.mask} is {size(mask)}, the parts are {size(parts[0])}")
    allowance = Allowance(options.edge, options.levels, options.spread)
    lesson = learn(parts, names, place, allowance, mask, options.every, _say)
    certificate = write(options.out, lesson, parts, place, allowance, datetime.now(UTC), began, _say)
    print(json.dumps(certificate) if options.json else words(options.out, certificate))
    return 0


def _texture(options: argparse.Namespace, began: float) -> int:
    if options.mask:
        raise LinesideError("--mask says where a placed part is judged", hint="a texture's mask stands in the recipe")
    if said := [f"--{name}" for name in PLACED if getattr(options, name) is not None]:
        belong = "belong" if len(said) > 1 else "belongs"
        raise LinesideError(
            f"{', '.join(said)} {belong} to parts that are placed, and a texture is not", hint="leave it away"
        )
    names, parts = pictures(options.folder, alike=False)
    lesson = learn_surface(parts, names, say=_say)
    certificate = write_surface(options.out, lesson, names, parts, datetime.now(UTC), began, _say)
    print(json.dumps(certificate) if options.json else texture_words(options.out, certificate))
    return 0


def texture_words(out: Path, told: dict[str, Any]) -> str:
    """The certificate of a texture for a person."""
    scores = told["scores_by_the_others"]
    worst = max(scores, key=scores.__getitem__)
    finds = ", ".join(f"{one['drawn']} {one['noticed']:.0%} ({one['ng']:.0%} NG)" for one in told["finds"])
    lines = [
        f"{out}: learned from {told['parts']} parts in {told['took_s']:.1f} s",
        f"OK below {told['ok_below']:.3f}, NG from {told['ng_above']:.3f}, between them RECHECK",
        f"good parts that are looked at again: {told['good_parts_looked_at_again']}",
        f"the most striking part is {worst} ({scores[worst]:.3f}): if it has a defect, take it out and teach anew",
        f"of defects drawn on parts it did not know it notices: {finds}",
        f"{told['ms']['median']:.0f} ms a part, at most {told['ms']['most']:.0f}, on {told['board']['cpu']}",
        f"use it in a recipe: {{tool: texture, model: {out.name}}}; all figures: {out / 'certificate.json'}",
    ]
    return "\n".join(lines)


def words(out: Path, told: dict[str, Any]) -> str:
    """The certificate for a person."""
    sure = [spot for spot in told["finds"] if spot["noticed"] >= 0.95]
    least = min(sure, key=lambda spot: (spot["across_px"], spot["grey_levels"]), default=None)
    finds = (
        f"a spot of {least['across_px']} px that is {least['grey_levels']} grey levels off is noticed ({least['noticed']:.0%})"
        if least
        else "none of the planted spots is noticed reliably: steadier light and place would help"
    )
    lines = [
        f"{out}: learned from {told['parts']} parts of {told['size'][1]} x {told['size'][0]} in {told['took_s']:.1f} s",
        f"OK below {told['ok_below']:.3f}, NG from {told['ng_above']:.3f}, between them RECHECK",
        f"{told['judged_share']:.0%} of the picture is judged: what every allowed place of the part shows",
        f"good parts that are looked at again: {told['good_parts_looked_at_again']}",
        finds,
        f"{told['ms']['median']:.0f} ms a part, at most {told['ms']['most']:.0f}, on {told['board']['cpu']}",
        f"use it in a recipe: {{tool: variation, model: {out.name}}}; all figures: {out / 'certificate.json'}",
    ]
    return "\n".join(lines)


def _above_zero(text: str) -> float:
    value = float(text)
    if not 0 < value <= 255:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 255")
    return value


def _say(text: str) -> None:
    print(f"{text} ...", file=sys.stderr)
