"""A device in one file: what makes another box the same device. History stays behind, it is at the plane."""

from __future__ import annotations

import base64
import io
import json
import ssl
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import msgpack
import urllib3

from edge import Cursor, Event, LinesideError, journal_planted, journal_taken, lack, read_tree

from .. import checkpoint, replacement
from ..wire import unpack_ack
from . import key
from .certificate import FILE as CERTIFICATE
from .certificate import Certificate, refuse
from .compare import BEGAN, NAME, holes
from .evidence import KEPT as EVIDENCE
from .identity import FILE as IDENTITY
from .identity import Identity, body_of, keep, keep_file, load
from .twin import KEPT as TWIN

VERSION = 1
MOST_FILE, MOST_ALL = 2**20, 64 * 2**20  # bytes of a file of the state folder; of everything
FRESH = "replacing.pem"  # the new key, from before the plane knows it until it is kept
STAYS = ("journal", "control.sock", CERTIFICATE, IDENTITY, FRESH)  # how names begin of what does not come along
MOST_SAID = 4 * 2**20  # bytes of the plane's answer
ANEW = {
    BEGAN: b"",
    TWIN: b"",
}  # of what a journal remembers: what the plane wants is looked for, and told of, on this box


def packed(site: Path, device: str, state: Path) -> bytes:
    """tar.gz of the site with its includes and secrets, the small files of the state folder, identity, and what of the journal goes
    on. Also while the daemon runs. Raises LinesideError."""
    files = {f"site/{name}": body for name, body in _site(site)}
    files |= {f"state/{name}": body for name, body in _state(state)}
    said: dict[str, Any] = {
        "version": VERSION,
        "device": device,
        "site": site.name,
        "made": time.time_ns(),
        "identity": None,
    }
    if (state / IDENTITY).exists():
        me = load(state, device)
        if key.on_token(me.key):
            hint = "enrol the new box: `lineside plane invite --device`; the site alone can be copied"
            raise LinesideError(f"the key of {device} lies in a token, which gives it to nobody", hint=hint)
        said["identity"] = {name: getattr(me, name) for name in ("device", "url", "secret", "ca", "key")}
    files["box.json"] = json.dumps(said).encode()
    files["journal.msgpack"] = msgpack.packb(journal_taken(state / "journal.db"))
    if (size := sum(map(len, files.values()))) > MOST_ALL:
        raise LinesideError(f"site and state have {size:,} bytes, at most {MOST_ALL:,} go into a backup")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(body), 0o600
            tar.addfile(info, io.BytesIO(body))
    return out.getvalue()


def _site(site: Path) -> Iterator[tuple[str, bytes]]:
    tree, folder = read_tree(site), site.parent.resolve()
    for file in dict.fromkeys([*tree.files, site.parent / "secrets.yaml"]):
        if not file.exists():
            continue
        if not (path := file.resolve()).is_relative_to(folder):
            raise LinesideError(f"{file} lies outside of {site.parent}", hint="copy it in, so that the site is whole")
        yield str(PurePosixPath(path.relative_to(folder))), path.read_bytes()


def _state(state: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(state.rglob("*")):
        name = path.relative_to(state)
        mine = path.is_file() and not path.is_symlink() and not name.parts[0].startswith(STAYS)
        if mine and path.suffix not in (".lock", ".new") and path.stat().st_size <= MOST_FILE:
            yield str(PurePosixPath(name)), path.read_bytes()


class Box:
    """What such a file holds. Raises LinesideError."""

    def __init__(self, body: bytes) -> None:
        try:
            with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as tar:
                members = [m for m in tar.getmembers() if m.isfile()]
                if sum(m.size for m in members) > MOST_ALL:
                    raise ValueError("it is too large")
                self.files = {m.name: _body(tar, m) for m in members}
            said = json.loads(self.files.pop("box.json"))
            self.journal = msgpack.unpackb(self.files.pop("journal.msgpack"), strict_map_key=False)
            self.device, self.site = str(said["device"]), str(said["site"])
            self.identity = Identity(**said["identity"]) if said["identity"] else None
            if said["version"] != VERSION:
                raise ValueError(f"it is of version {said['version']}, known here is {VERSION}")
        except (OSError, EOFError, tarfile.TarError, ValueError, KeyError, TypeError, msgpack.UnpackException) as error:
            raise LinesideError(f"that backup cannot be read: {error}") from None

    def lay_out(self, folder: Path, state: Path) -> Path:
        """Write the site to `folder` and what belongs into the state folder; nothing is written over. Returns the site's file."""
        there = {"site": folder, "state": state}
        for name, body in self.files.items():
            top, _, rest = name.partition("/")
            path = there[top] / rest
            if ".." in PurePosixPath(rest).parts or PurePosixPath(rest).is_absolute():
                raise LinesideError(f"that backup would write outside of its folders: {name}")
            if path.exists() and path.read_bytes() != body:
                raise LinesideError(f"{path} is there already", hint="name an empty folder")
        for name, body in self.files.items():
            top, _, rest = name.partition("/")
            path = there[top] / rest
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(0o600)
            path.write_bytes(body)
        return folder / self.site


def _body(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return file.read() if file else b""


def take_over(box: Box, state: Path, utc: int) -> Identity | None:
    """Be the device from now on: the plane gets a new key, signed by the old one, lets nobody in with the old one any more, and
    says where the journal stands; then journal and identity are made here. Again after a cut it goes on where it was. Without an
    identity there is nobody to ask. Raises LinesideError."""
    path = state / "journal.db"
    if path.exists():
        raise LinesideError(f"there is a journal at {path} already", hint="move it away, or name another --state")
    state.mkdir(parents=True, exist_ok=True)
    given = {str(stream): int(n) for stream, n in box.journal["given"].items()}
    if box.identity is None:
        marks = {(reader, stream): n for reader, by in box.journal["cursors"].items() for stream, n in by.items()}
        journal_planted(path, box.journal, given, marks, ANEW, [_told(box.device, {}, utc)], utc)
        return None
    fresh = state / FRESH
    if not fresh.exists():
        keep_file(fresh, key.made())
    mine = fresh.read_text()
    tls = box.identity.tls()
    refuse(state, tls)
    answer = _asked(box.identity, mine, str(box.journal["epoch"]), tls)
    identity = replace(box.identity, secret=str(answer["secret"]), key=mine)
    last, marks, states, told = goes_on(box, given, answer, utc)
    keep(identity, state)
    if answer["certificate"]:
        Certificate(state, identity).keep(str(answer["certificate"]).encode())
    journal_planted(path, box.journal, last, marks, states, told, utc)
    fresh.unlink()
    return identity


def _asked(me: Identity, mine: str, epoch: str, tls: ssl.SSLContext) -> dict[str, Any]:
    """What the plane says. Blocks for seconds. Raises LinesideError."""
    new = checkpoint.fingerprint(checkpoint.der(key.private(mine).public_key()))
    asked = replacement.asked(key.private(me.key), key.request(mine, me.device), me.device, epoch, new)
    try:
        with urllib3.PoolManager(ssl_context=tls, timeout=30, retries=False) as plane:
            answer = plane.request("POST", f"{me.url}/d/v1/replace", json=asked, preload_content=False)
            said = json.loads(body_of(answer, MOST_SAID))
    except (urllib3.exceptions.HTTPError, ValueError, OSError, RecursionError) as error:
        hint = "is it running? The old box is the device until the plane has heard of the new one"
        raise LinesideError(f"cannot reach the plane at {me.url}: {error}", hint=hint) from None
    if answer.status != 200 or not isinstance(said, dict) or not said.keys() >= {"secret", "certificate", "stands"}:
        detail = said.get("detail") if isinstance(said, dict) else ""
        hint = "enrol this box anew: `lineside plane invite --device`"
        raise LinesideError(f"the plane said no: {detail or f'it answers {answer.status}'}", hint=hint)
    return said


def goes_on(
    box: Box, given: dict[str, int], answer: Mapping[str, Any], utc: int
) -> tuple[dict[str, int], dict[tuple[str, str], int], dict[str, bytes], list[Event]]:
    """(last number by stream, how far readers got, states, first events) of the new journal."""
    stands = unpack_ack(base64.b64decode(answer["stands"]))
    last = {stream: max(given.get(stream, 0), stands.get(stream, Cursor()).last()) for stream in given | stands}
    marks = {
        (reader, stream): last.get(stream, n)
        for reader, by in box.journal["cursors"].items()
        for stream, n in by.items()
    }
    marks |= {(NAME, stream): n for stream, n in last.items()} | {(NAME, "commands"): int(answer["orders"])}
    told = [
        lack(
            utc,
            stream,
            (first, upto, 0, 0, 0),
            "replaced",
            f"records {first} to {upto} of {stream} were on the box before",
        )
        for stream, n in sorted(last.items())
        for first, upto in holes(stands.get(stream, Cursor()), n)
        if stream not in ("tag", "text")  # what is here of them is sent again
    ]
    unsigned = dict[str, list[int]]()
    states = {**ANEW, EVIDENCE: b""}  # what the plane does not have, nobody goes on from
    if answer.get("checkpoint"):
        number, head, upto_of = answer["checkpoint"]
        states[EVIDENCE] = msgpack.packb([int(number), str(head), last])
        unsigned = {s: [int(upto_of.get(s, 0)) + 1, n] for s, n in last.items() if n > int(upto_of.get(s, 0))}
    return last, marks, states, [*told, _told(box.device, unsigned, utc)]


def _told(device: str, unsigned: dict[str, list[int]], utc: int) -> Event:
    text = f"another box is {device} from here on"
    return Event("device", device, "replaced", utc, "medium", text, {"unsigned": unsigned})
