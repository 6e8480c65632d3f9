"""What an export of evidence proves, by itself: no plane, no network, no database.

Each record is looked up in the checkpoints that the device signed; each checkpoint names the one before; the plane's authority
vouches for whose key that was and when it came. What the export says of itself is believed as far as the plane signed it.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from edge import CodecFault, Event, decode_event

from . import checkpoint, countersignature, evidence_file, wire
from .checkpoint import HASH, Checkpoint, NotSigned
from .evidence_file import Export, NoExport, Signed
from .wire import Frame

Place = tuple[str, str, int]  # epoch, stream, number
MOST_NUMBERS = 10_000_000  # checkpoints of an export, and records of a stream


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind`: altered, left_out, added, chain, signature, countersignature, stranger, picture, scope, authority."""

    kind: str
    text: str


@dataclass(slots=True)
class Verdict:
    """`faults` is empty where everything is proven. `told` are records that the device itself said were lost. `journals` (epoch,
    begun, ended; ns UTC) are what the time is of: 0 where one goes on before or after it. Nothing ties one journal of a device to
    the next: that there was no other, or that one ended there, is the plane's word."""

    device: str = ""
    scope: dict[str, Any] = field(default_factory=dict)
    authority: str = ""
    keys: list[str] = field(default_factory=list)  # of the device, their fingerprints
    checkpoints: int = 0
    records: dict[str, int] = field(default_factory=dict)  # proven, by stream
    pictures: int = 0
    signed: tuple[int, int] = (0, 0)  # by the device's clock, the first and the last (ns UTC)
    countersigned: tuple[int, int] = (0, 0)  # by the plane's
    journals: list[tuple[str, int, int]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    events: list[tuple[Place, Event]] = field(default_factory=list)  # proven

    @property
    def whole(self) -> bool:
        return not self.faults


def verify(export: Export, authority: str = "") -> Verdict:
    """`authority`: the fingerprint that it has to be of. Raises NoExport where the file is none."""
    out = Verdict()
    said = _about(export, out)
    if authority and out.authority != authority.lower():
        out.faults.append(Fault("authority", f"the authority is {out.authority}, not {authority.lower()}"))
    chains = _chains(export, out)
    listed = {(epoch, *place): one for epoch, chain in chains.items() for place, one in _listed(chain)}
    bodies, altered = _records(export, listed, out)
    out.events = list(_events(bodies))
    _left_out(_wanted(said, chains, out) - bodies.keys() - altered, out)
    if said.get("pictures"):
        _pictures(export, out)
    return out


def _about(export: Export, out: Verdict) -> dict[str, Any]:
    proof, certificates = export.proof()
    try:
        said = dict(checkpoint.read_statement(export.statement, evidence_file.VERSION))
        out.device, made = str(said["device"]), int(said["made"])
    except (ValueError, KeyError, TypeError) as error:
        raise NoExport(f"export.json is none: {error}") from None
    out.scope = {key: said[key] for key in ("from", "to", "part", "epochs", "samples", "pictures") if key in said}
    try:
        own, above = countersignature.witness(certificates)
        out.authority = countersignature.authority_of(above)
        if not countersignature.signs(own, export.statement, proof, made):
            raise NotSigned("the plane did not sign it so")
    except NotSigned as error:
        out.faults.append(Fault("scope", f"what the export says of itself is not proven: {error}"))
    return said


# The chain


def _chains(export: Export, out: Verdict) -> dict[str, dict[int, Checkpoint]]:
    """By journal and number, those that device and plane have signed."""
    found: dict[str, dict[int, Checkpoint]] = {}
    heads: dict[tuple[str, int], str] = {}
    arrivals: list[int] = []
    for signed in export.checkpoints():
        try:
            one = Checkpoint.read(signed.statement)
        except NotSigned as error:
            out.faults.append(Fault("signature", f"the checkpoint of event {signed.seq}: {error}"))
            continue
        name = f"checkpoint {one.number} of journal {one.epoch}"
        if (fault := _proven(signed, one, out)) is not None:
            out.faults.append(Fault(fault.kind, f"{name}: {fault.text}"))
            continue
        if one.number in found.get(one.epoch, {}):
            if heads[one.epoch, one.number] != checkpoint.head(signed.statement):
                out.faults.append(Fault("chain", f"{name} is there twice, and not the same"))
            continue
        found.setdefault(one.epoch, {})[one.number] = one
        heads[one.epoch, one.number] = checkpoint.head(signed.statement)
        arrivals.append(countersignature.fits(signed.countersigned, one, heads[one.epoch, one.number]))
    for epoch, chain in found.items():
        for number, one in chain.items():
            before = heads.get((epoch, number - 1), one.before if number > 1 else "")
            if one.before != before:
                out.faults.append(
                    Fault("chain", f"checkpoint {number} of journal {epoch} does not follow the one before")
                )
    times = [one.ts for chain in found.values() for one in chain.values()]
    out.checkpoints = len(times)
    out.keys = sorted({checkpoint.fingerprint(one.key) for chain in found.values() for one in chain.values()})
    out.signed = (min(times), max(times)) if times else (0, 0)
    out.countersigned = (min(arrivals), max(arrivals)) if arrivals else (0, 0)
    return found


def _proven(signed: Signed, one: Checkpoint, out: Verdict) -> Fault | None:
    """Why a checkpoint proves nothing."""
    head = checkpoint.head(signed.statement)
    if one.device != out.device:
        return Fault("stranger", f"it is of {one.device}, not of {out.device}")
    try:
        if not checkpoint.check(checkpoint.public(one.key), signed.statement, signed.signature):
            return Fault("signature", "it is not what its key signed")
    except NotSigned as error:
        return Fault("signature", str(error))
    if not signed.proof:
        return Fault("stranger", f"the plane did not countersign it: {signed.countersigned}")
    try:
        arrived = countersignature.fits(signed.countersigned, one, head)
        own, above = countersignature.witness(signed.certificates)
        if countersignature.authority_of(above) != out.authority:
            return Fault("countersignature", "another authority vouches for it")
        if not countersignature.signs(own, signed.countersigned, signed.proof, arrived):
            return Fault("countersignature", "the plane did not sign it so")
    except NotSigned as error:
        return Fault("countersignature", str(error))
    return None


def _listed(chain: dict[int, Checkpoint]) -> Iterator[tuple[tuple[str, int], bytes]]:
    for one in chain.values():
        yield from one.listed().items()


# The records


def _records(export: Export, listed: dict[Place, bytes], out: Verdict) -> tuple[dict[Place, bytes], set[Place]]:
    """The bodies of those that are as they were signed, and the places of those that are not."""
    found: dict[Place, bytes] = {}
    altered: set[Place] = set()
    for frame in export.records():
        place = (frame.epoch, frame.stream, frame.seq)
        words = _words(place)
        if place not in listed:
            out.faults.append(Fault("added", f"{words} is in no checkpoint"))
        elif not _same(frame, listed[place]):
            out.faults.append(Fault("altered", f"{words} is not what was signed"))
            altered.add(place)
        else:
            if place not in found:
                out.records[frame.stream] = out.records.get(frame.stream, 0) + 1
            found[place] = frame.body
    return found, altered


def _events(bodies: dict[Place, bytes]) -> Iterator[tuple[Place, Event]]:
    for place, body in sorted(bodies.items()):
        if place[1] == "event":
            with contextlib.suppress(CodecFault):  # the device itself signed it so
                yield place, decode_event(body)


def _same(frame: Frame, hashed: bytes) -> bool:
    try:
        return checkpoint.leaf(frame.stream, frame.body) == hashed
    except CodecFault:
        return False


def _wanted(said: dict[str, Any], chains: dict[str, dict[int, Checkpoint]], out: Verdict) -> set[Place]:
    """What an export of this scope has to hold."""
    try:
        if "records" in said:
            return {(str(epoch), str(stream), int(seq)) for epoch, stream, seq in said["records"]}
        spans = [(str(one["epoch"]), int(one["first"]), int(one["last"])) for one in said["epochs"]]
        since, until = int(said["from"]), int(said["to"])
    except (ValueError, TypeError, KeyError) as error:
        raise NoExport(f"export.json says no scope: {error}") from None
    if any(not 0 < first <= last < first + MOST_NUMBERS for _, first, last in spans):
        raise NoExport("export.json says a scope that cannot be")
    wanted: set[Place] = set()
    for epoch, first, last in spans:
        chain = chains.get(epoch, {})
        for a, b in _runs(number for number in range(first, last + 1) if number not in chain):
            out.faults.append(Fault("chain", f"checkpoints {a} to {b} of journal {epoch} are left out"))
        mine = [chain[number] for number in range(first, last + 1) if number in chain]
        wanted |= {
            (epoch, *place) for place in _due(mine, chain.get(first - 1)) if said.get("samples") or _short(place)
        }
    begins = [chains.get(epoch, {}).get(first - 1) for epoch, first, _ in spans if first > 1]
    if not all(one is not None and one.ts <= since for one in begins):
        out.faults.append(Fault("chain", "it begins later than it says: what is before is not in it"))
    ends = [chains.get(epoch, {}).get(last) for epoch, _, last in spans]
    if not any(one is not None and one.ts >= until for one in ends):
        out.faults.append(Fault("chain", "it ends earlier than it says: its tail is cut off"))
    for epoch, first, last in spans:
        began, ended = chains.get(epoch, {}).get(first), chains.get(epoch, {}).get(last)
        begun = began.ts if began is not None and first == 1 else 0
        out.journals.append((epoch, begun, ended.ts if ended is not None and ended.ts < until else 0))
    return wanted


def _due(mine: list[Checkpoint], before: Checkpoint | None) -> Iterator[tuple[str, int]]:
    """What these list, and every number between: who lists 5 and 7 has left out 6. (Of ids of tags some are never used.)"""
    ends: dict[str, tuple[int, int]] = {}
    for one in [before, *mine] if before else mine:
        for stream, first, run in one.lists:
            last = first + len(run) // HASH - 1
            low, high = ends.get(stream, (first, 0))
            ends[stream] = (last + 1, last) if one is before else (min(low, first), max(high, last))
    for stream, (low, high) in ends.items():
        if high - low > MOST_NUMBERS:
            raise NoExport(f"a checkpoint lists record {high} of {stream}, which cannot be")
        if stream != "tag":
            yield from ((stream, n) for n in range(low, high + 1))
    yield from (place for one in mine for place in one.listed() if place[0] == "tag")


def _short(place: tuple[str, int]) -> bool:
    return not place[0].startswith("samples:")


def _left_out(missing: set[Place], out: Verdict) -> None:
    """By run. What a proven gap record of the device tells of is no fault."""
    told: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
    for (epoch, _, _), event in out.events:
        if (event.kind, event.state) == ("device", "replaced"):
            for stream, span in _unsigned(event):
                told.setdefault((epoch, stream), []).append((*span, "on the box before this one"))
        if event.kind == "gap":
            first, last = event.data.get("first"), event.data.get("last")
            if isinstance(first, int) and isinstance(last, int):
                told.setdefault((epoch, str(event.data.get("stream"))), []).append((first, last, event.state))
    by_stream: dict[tuple[str, str], list[int]] = {}
    for epoch, stream, seq in missing:
        by_stream.setdefault((epoch, stream), []).append(seq)
    for (epoch, stream), numbers in sorted(by_stream.items()):
        gaps = told.get((epoch, stream), [])
        lost = {n: why for n in numbers for first, last, why in gaps if first <= n <= last}
        out.told += [f"{_span(stream, a, b)}: {lost[a]}, as the device says" for a, b in _runs(lost)]
        for a, b in _runs(n for n in numbers if n not in lost):
            out.faults.append(Fault("left_out", f"{_span(stream, a, b)} left out (journal {epoch})"))


def _unsigned(event: Event) -> Iterator[tuple[str, tuple[int, int]]]:
    """What was recorded and not signed yet when another box took the place of this one."""
    found = event.data.get("unsigned")
    for stream, span in found.items() if isinstance(found, dict) else ():
        if isinstance(span, list) and len(span) == 2 and all(isinstance(n, int) for n in span):
            yield str(stream), (span[0], span[1])


def _pictures(export: Export, out: Verdict) -> None:
    here = set()
    for digest in export.pictures:
        if hashlib.sha256(export.picture(digest)).hexdigest() != digest:
            out.faults.append(Fault("picture", f"picture {digest} is another one"))
        else:
            here.add(digest)
    wrong = set(export.pictures) - here
    named = {ref: place for place, event in out.events for ref in event.refs if wire.DIGEST.fullmatch(ref)}
    for digest, place in named.items():
        if digest not in here | wrong:
            out.faults.append(Fault("picture", f"picture {digest}, named by event {place[2]}, is not in it"))
    for digest in sorted(here - named.keys()):
        out.faults.append(Fault("added", f"picture {digest} is named by no event"))
    out.pictures = len(here & named.keys())


def _words(place: Place) -> str:
    return f"record {place[2]} of {place[1]} (journal {place[0]})"


def _span(stream: str, first: int, last: int) -> str:
    return f"record {first} of {stream}" if first == last else f"records {first} to {last} of {stream}"


def _runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for n in sorted(numbers):
        if out and n == out[-1][1] + 1:
            out[-1] = (out[-1][0], n)
        else:
            out.append((n, n))
    return out
