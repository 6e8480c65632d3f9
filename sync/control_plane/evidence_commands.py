"""`lineside plane evidence` and `lineside plane verify`."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import sys
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from edge import LinesideError, plain_data

from .. import evidence_file
from .. import verify as verifying
from . import issuers
from .ca import Authority
from .completeness import _ns
from .evidence import Wish, export
from .pictures import Pictures
from .verb import Verb, never
from .where import Where, beside, objects_of
from .witness import Witness

SHOWN = 50  # faults that are told one by one


def run_export(where: Where, options: argparse.Namespace) -> int:
    """0, or 1 where something of it is not here (the file is written and says so, too). Raises LinesideError."""
    file: Path = options.file
    if file.exists():
        raise LinesideError(f"{file} is there already", hint="name another file")
    since = _ns(options.since) if options.since else 0
    until = _ns(options.until) if options.until else 2**62
    if since >= until:
        raise LinesideError("--since is not before --until")
    wish = Wish(options.device, since, until, options.part, not options.no_samples, not options.no_pictures)
    return asyncio.run(_export(where, wish, file))


async def _export(where: Where, wish: Wish, file: Path) -> int:
    with beside(where) as store:
        pictures = Pictures(store, objects_of(where))
        try:
            authority = Authority(where.folder)
            authority.learn(*await store.read(issuers.known))
            witness = Witness(where.folder, authority)
            found, missing = await export(store, pictures, witness, wish, file)
        except OSError as error:
            raise LinesideError(f"{file} cannot be written: {error.strerror}") from None
        finally:
            pictures.close()
    print(f"{file}: {len(found.records)} records and {len(found.checkpoints)} checkpoints of {wish.device}")
    lacks = [*found.absent, *(f"picture {digest}" for digest in missing)]
    for line in lacks[:SHOWN]:
        print(f"not here, so not in it: {line}", file=sys.stderr)
    if len(lacks) > SHOWN:
        print(f"and {len(lacks) - SHOWN} more", file=sys.stderr)
    return 1 if lacks else 0


def run_verify(where: Where, options: argparse.Namespace) -> int:
    """0 where everything is proven, 1 where not. Raises LinesideError where the file is no export."""
    verdict = verifying.verify(evidence_file.Export(options.file), _fingerprint(options.authority))
    if options.events:
        for (epoch, _, seq), event in verdict.events:
            said = {"epoch": epoch, "seq": seq, "ts": event.ts, "kind": event.kind, "key": event.key}
            said |= {"state": event.state, "text": event.text, "data": plain_data(event.data), "refs": list(event.refs)}
            print(json.dumps(said, ensure_ascii=False))
    if options.json:
        print(json.dumps(facts(verdict), ensure_ascii=False))
    else:
        for line in lines(verdict, bool(options.authority)):
            print(line, file=sys.stderr if options.events else sys.stdout)
    return 0 if verdict.whole else 1


def _fingerprint(said: str) -> str:
    """Raises LinesideError."""
    plain = said.replace(":", "").lower()  # openssl writes it so
    if not said or (len(plain) == 64 and all(c in "0123456789abcdef" for c in plain)):
        return plain
    try:
        cert = x509.load_pem_x509_certificates(Path(said).read_bytes())[-1]
    except (OSError, ValueError) as error:
        raise LinesideError(
            f"--authority {said}: neither a SHA-256 in hex nor a file with a certificate: {error}"
        ) from None
    return bytes(cert.fingerprint(hashes.SHA256())).hex()


def facts(verdict: verifying.Verdict) -> dict[str, Any]:
    """A verdict as JSON, times in ns UTC."""
    return {
        "whole": verdict.whole,
        "device": verdict.device,
        "scope": verdict.scope,
        "authority": verdict.authority,
        "keys": verdict.keys,
        "checkpoints": verdict.checkpoints,
        "records": verdict.records,
        "pictures": verdict.pictures,
        "signed": verdict.signed,
        "countersigned": verdict.countersigned,
        "journals": verdict.journals,
        "told": verdict.told,
        "faults": [{"kind": fault.kind, "text": fault.text} for fault in verdict.faults],
    }


def lines(verdict: verifying.Verdict, pinned: bool) -> list[str]:
    """A verdict for a person."""
    records = ", ".join(f"{n} of {stream}" for stream, n in sorted(verdict.records.items())) or "none"
    part = verdict.scope.get("part")
    about = f"part {part}" if part else f"{_time(verdict.scope.get('from'))} to {_time(verdict.scope.get('to'))}"
    out = [
        f"device         {verdict.device}, {about}",
        f"records        {records}; {verdict.pictures} pictures",
        f"signed         by the device, {' and '.join(key[:16] for key in verdict.keys) or 'no key'}, in "
        f"{verdict.checkpoints} checkpoints, {_time(verdict.signed[0])} to {_time(verdict.signed[1])} by its clock",
        f"countersigned  by the plane, {_time(verdict.countersigned[0])} to {_time(verdict.countersigned[1])} by its clock",
        f"authority      {verdict.authority}"
        + (
            ""
            if pinned
            else "\n               compare it with what the plane's owner gave you, or say it as --authority"
        ),
    ]
    out += [f"journal        {one}" for one in map(_journal, verdict.journals)]
    out += [f"told           {one}" for one in verdict.told]
    out += [f"{fault.kind.upper():14} {fault.text}" for fault in verdict.faults[:SHOWN]]
    if len(verdict.faults) > SHOWN:
        out.append(f"               and {len(verdict.faults) - SHOWN} more")
    if not verdict.whole:
        out.append(f"NOT PROVEN: {len(verdict.faults)} faults")
    elif part:
        out.append(
            "proven: these records are as the device signed them; that there are no others, an export of a time proves"
        )
    else:
        which = "" if verdict.scope.get("samples") else ", but for samples, which are not in it,"
        out.append(f"proven: nothing{which} of that time and these journals was altered or left out")
    return out


def _journal(one: tuple[str, int, int]) -> str:
    epoch, begun, ended = one
    spans = [f"begun {_time(begun)}"] * bool(begun) + [f"ended {_time(ended)}"] * bool(ended)
    beside = " or ".join(["before"] * bool(begun) + ["after"] * bool(ended))
    return ", ".join([epoch, *spans]) + (f": that there was no other {beside} is the plane's word" if spans else "")


def _time(ns: Any) -> str:
    if not isinstance(ns, int) or not 0 < ns < 2**62:
        return "the beginning"
    return datetime.datetime.fromtimestamp(ns // 10**9, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device")
    parser.add_argument("file", type=Path, help="a ZIP, as in proof.zip")
    for name, which in (
        ("--since", "first time, default: the beginning"),
        ("--until", "last time, default: the newest"),
    ):
        told = f"{which}: ISO 8601, UTC where it names no zone, as in 2026-01-31T08:00"
        parser.add_argument(name, type=datetime.datetime.fromisoformat, metavar="TIME", help=told)
    parser.add_argument("--part", default="", metavar="NUMBER", help="what was said of this part only")
    parser.add_argument("--no-samples", action="store_true", help="events and their pictures only")
    parser.add_argument("--no-pictures", action="store_true", help="without the pictures that events name")


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="what `lineside plane evidence` wrote")
    told = "of the plane: its SHA-256, or a file with its certificate, as the plane's owner gave it to you"
    parser.add_argument("--authority", default="", metavar="SHA256", help=told)
    told = "print the events that are proven, a line of JSON each, before the verdict"
    parser.add_argument("--events", action="store_true", help=told)
    parser.add_argument("--json", action="store_true", help="the verdict as one line of JSON, times in ns UTC")


VERBS = {
    "evidence": Verb(
        "write what proves a time of a device, or one of its parts, to a file", run_export, _export_arguments, never
    ),
    "verify": Verb(
        "say what such a file proves: exit 0 all of it, 1 not; no plane is asked", run_verify, _verify_arguments, never
    ),
}
