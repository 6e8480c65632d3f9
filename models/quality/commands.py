"""`lineside review`: what a person found on a part; `lineside audit`: what the reviews prove of the station, and whether its
records are as they were made."""

from __future__ import annotations

import argparse
import getpass
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edge import (
    SECOND,
    Event,
    LinesideError,
    Period,
    ask_daemon,
    between,
    events_of,
    load_site,
    name_of_review,
    numbered_events,
    since_until,
    site_and_state,
    state_folder,
)

from .chain import breaks, taken_out
from .ledger import Part, Proof, account, of_other_records, parts_of, shadowed
from .process import Length, lengths, odd_lots

RATE, CONFIDENCE = 0.004, 0.95
MOST_CLASSES = 64  # of defects that a page shows


class Review:
    HELP = "say what a part really is, for the audit"

    @staticmethod
    def arguments(parser: argparse.ArgumentParser) -> None:
        site_and_state(parser)
        parser.add_argument("part", type=int, help="part number")
        parser.add_argument("truth", choices=["ok", "ng"], help="what the part is")
        parser.add_argument("--stage", help="whose inspection (default: the newest one of that part)")
        parser.add_argument("--label", default="", help="which defect it has")
        parser.add_argument("--text", default="", help="anything else worth knowing")
        parser.add_argument(
            "--correct", action="store_true", help="though it was reviewed already; both reviews are kept"
        )
        parser.add_argument("--by", default=getpass.getuser(), help="who looked (default: this user)")

    @staticmethod
    def run(options: argparse.Namespace) -> int:
        folder = _state(options)
        seq, part, reviews = _newest(folder, options.part, options.stage)
        if reviews and not options.correct:
            hint = f"`--correct` says that it is {options.truth.upper()}, and keeps that"
            raise LinesideError(
                f"part {part.number} was reviewed already: {part.by} says {part.truth.upper()} {part.found}".rstrip(),
                hint=hint,
            )
        said = {"label": options.label, "text": options.text, "by": options.by}
        said |= {"corrects": name_of_review(reviews[-1])} if reviews else {}
        ask_daemon(folder, {"do": "review", "seq": seq, "state": options.truth} | said)
        print(f"{part.stage}, part {part.number}: the station said {part.verdict}, {options.by} says {options.truth}")
        return 0


class Audit:
    HELP = "what audited parts prove: escapes and false calls with their bounds, and whether every record is as it was made"

    @staticmethod
    def arguments(parser: argparse.ArgumentParser) -> None:
        site_and_state(parser)
        since_until(parser)
        parser.add_argument("--stage", help="only this inspection (default: all)")
        told = "share of escapes that is to be shown not to be reached (default: 0.004)"
        parser.add_argument("--rate", type=share, default=RATE, help=told)
        parser.add_argument("--confidence", type=share, default=CONFIDENCE, help="of the bounds (default: 0.95)")
        told = "time of one lot: those whose share of NG parts is out of the ordinary are named (default: 1h)"
        parser.add_argument("--lot", type=_period, default=_period("1h"), metavar="TIME", help=told)
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")

    @staticmethod
    def run(options: argparse.Namespace) -> int:
        t0, t1 = between(options)
        whole = list(events_of(_state(options) / "journal.db", "inspection", "review", "shadow", "command"))
        events = [e for e in whole if options.stage in (None, e.key)]
        if not any(e.kind == "inspection" for e in events):
            raise LinesideError("the journal holds no inspection" + (f" of {options.stage!r}" if options.stage else ""))
        parts = [part for part in parts_of(events) if t0 <= part.ts <= t1]
        told = account(parts, options.rate, options.confidence)
        broken = [*_broken(events), *_broken_reviews(whole)]
        broken += [
            f"part {e.data.get('part')} of {e.key}: made anew after it was reviewed" for e in of_other_records(events)
        ]
        told["shadow"] = shadowed((e for e in events if t0 <= e.ts <= t1), parts)
        inside = (e for e in events if e.kind == "inspection" and t0 <= e.ts <= t1)
        told |= {"odd_lots": odd_lots(parts, options.lot), "lengths": lengths(inside)}
        told |= {"hashed": sum("hash" in e.data for e in events if e.kind == "inspection"), "broken": broken}
        told["reviews"] = sum("hash" in e.data for e in events if e.kind == "review")
        print(_json(told) if options.json else "\n".join(_page(told, options)))
        return 1 if broken else 0


def _json(told: dict[str, Any]) -> str:
    """Null for what is no number, as the Cpk of parts that are all the same."""
    said = json.loads(json.dumps(told, default=asdict), parse_constant=lambda _: None)
    return json.dumps(said, ensure_ascii=False)


def _broken(events: list[Event]) -> Iterator[str]:
    judged = [e for e in events if e.kind == "inspection"]
    for stage in sorted({e.key for e in judged}):
        for e, why in breaks(e for e in judged if e.key == stage):
            yield f"part {e.data.get('part')} of {e.key}: {why}"


def _broken_reviews(events: list[Event]) -> Iterator[str]:
    """Those of all stages are one chain."""
    for e, why in breaks(e for e in events if e.kind == "review"):
        yield f"review of part {e.data.get('part')} of {e.key} by {e.data.get('by')}: {why}"
    for e in taken_out(events):
        yield f"review of part {e.data.get('part')} by {e.data.get('by')}: the plane's order is here, and the review is not"


def _page(told: dict[str, Any], options: argparse.Namespace) -> Iterator[str]:
    judged = told["judged"]
    yield f"{told['parts']:,} parts: {judged['ok']:,} OK, {judged['ng']:,} NG, {judged['recheck']:,} to be looked at again"
    yield f"escapes:     {said_of(told['escapes'], 'OK', options.confidence, options.rate)}"
    yield f"false calls: {said_of(told['false_calls'], 'NG', options.confidence, options.rate)}"
    for label, count, share in told["pareto"][:MOST_CLASSES]:
        yield f"  {label:<24} {count:>8,} {share:>7.1%}"
    if rest := told["pareto"][MOST_CLASSES:]:
        yield f"  {f'{len(rest):,} other classes':<24} {sum(count for _, count, _ in rest):>8,}"
    for odd in told["odd_lots"]:
        began = datetime.fromtimestamp(odd.ts // 10**9, UTC).strftime("%Y-%m-%dT%H:%MZ")
        share = f"{odd.ng:,} of {odd.of:,} parts NG, {odd.ng / odd.of:.1%}, where {odd.usual:.1%} are usual"
        yield f"{odd.stage} from {began}: {share}: rule {'; '.join(odd.rules)}"
    yield from map(_can, told["lengths"])
    if (shadow := told["shadow"])["seen"]:
        passed = f"{shadow['passed_over']:,} not seen for want of time"
        yield f"shadow:      differs on {shadow['differs']:,} of {shadow['seen']:,} parts, {passed}"
        yield (
            f"  of {shadow['reviewed']:,} that were reviewed the shadow was right on {shadow['shadow_right']:,},"
            f" the station on {shadow['station_right']:,}"
        )
    if told["broken"]:
        yield from (f"BROKEN {words}" for words in told["broken"])
    elif told["hashed"]:
        reviews = f", and {told['reviews']:,} reviews of people" if told["reviews"] else ""
        yield f"{told['hashed']:,} records{reviews}, each as it was made and in its place"


def _can(length: Length) -> str:
    limits = " to ".join("open" if limit is None else f"{limit:g}" for limit in (length.low, length.high))
    said = f"{length.stage} {length.name}: mean {length.can.mean:.3f} of {length.parts:,} parts, limits {limits}"
    if length.can.cpk is None or length.can.ppk is None:
        return said
    return f"{said}, Cpk {length.can.cpk:.2f}, Ppk {length.can.ppk:.2f}"


def said_of(proof: Proof, called: str, confidence: float, rate: float) -> str:
    """What reviews of parts that were `called` OK or NG prove, in a line."""
    if not proof.of:
        return f"no part that was called {called} has been audited yet (`lineside review`)"
    words = f"{proof.found} of {proof.of:,} audited parts that were called {called}: "
    words += f"below {proof.below:.3%} at {confidence:.0%}"
    return words + (f"; {proof.more:,} more without one would show {rate:.3%}" if proof.more else "")


def _newest(folder: Path, number: int, stage: str | None) -> tuple[int, Part, list[Event]]:
    """The newest inspection of a part with its number in the journal, and its reviews."""
    events = list(numbered_events(folder / "journal.db", "inspection", "review"))
    parts = parts_of(event for _, event in events)
    found = next((p for p in reversed(parts) if p.number == number and stage in (None, p.stage)), None)
    if found is None:
        raise LinesideError(f"the journal holds no inspection of part {number}" + (f" by {stage!r}" if stage else ""))
    seq = next(seq for seq, event in events if event.id == found.id)
    return seq, found, [event for _, event in events if event.kind == "review" and event.data.get("of") == found.id]


def _state(options: argparse.Namespace) -> Path:
    return state_folder(load_site(options.site).device.id, options.state)


def _period(text: str) -> int:
    """For `type=`: a time such as 8h, in ns."""
    try:
        return max(1, round(TypeAdapter(Period).validate_python(text) * SECOND))
    except ValidationError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error.errors()[0]['msg']}") from None


def share(text: str) -> float:
    """For `type=`: a number between 0 and 1."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; write 0.004 for 0.4 %")
    return number
