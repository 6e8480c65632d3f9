"""An export of evidence: a ZIP that holds everything to verify it by, but for the fingerprint of the authority.

export.json          what it is about, as the plane says and signs; nothing else in it is believed without proof
export.proof.json    that signature, and whose certificates
checkpoints.jsonl    a line each: statement and signature of the device, countersignature of the plane
certificates.json    [PEM]: of the plane's witness, up to its authority
records/NNNN         records as the device wrote them, frames as on the wire
pictures/SHA-256     by their digest
"""

from __future__ import annotations

import base64
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge import LinesideError, Record

from . import wire

VERSION = "lineside export 1"
MOST_FILES, MOST_SMALL = 200_000, 64 * 2**20  # bytes of what is read as a whole
UNREADABLE = (KeyError, OSError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile, zlib.error)
FULL, MANY = 4 * 2**20, 4000  # bytes and records of one file of records


class NoExport(LinesideError):
    """A file that is none, or is cut off."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint with all that proves it. `proof` is empty where the plane did not countersign it."""

    seq: int
    statement: str
    signature: bytes
    countersigned: str
    proof: bytes
    certificates: str


class Writer:
    """Fills an export; `end()` closes it."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self._waiting: dict[str, list[Record]] = {}
        self._bytes, self._files = 0, 0

    def about(self, statement: str, proof: bytes, certificates: str) -> None:
        self._zip.writestr("export.json", statement)
        self._zip.writestr("export.proof.json", json.dumps({"proof": _text(proof), "certificates": certificates}))

    def checkpoints(self, found: Iterable[Signed]) -> None:
        known: dict[str, int] = {}
        lines = []
        for one in found:
            at = known.setdefault(one.certificates, len(known))
            told = {"seq": one.seq, "statement": one.statement, "signature": _text(one.signature)}
            lines.append(
                json.dumps(
                    {**told, "countersigned": one.countersigned, "proof": _text(one.proof), "certificates": at},
                    ensure_ascii=False,
                )
            )
        self._zip.writestr("checkpoints.jsonl", "".join(f"{line}\n" for line in lines))
        self._zip.writestr("certificates.json", json.dumps(list(known)))

    def record(self, epoch: str, record: Record) -> None:
        if epoch not in self._waiting or len(self._waiting[epoch]) >= MANY or self._bytes + len(record.body) > FULL:
            self._records()
        self._waiting.setdefault(epoch, []).append(record)
        self._bytes += len(record.body)

    def _records(self) -> None:
        for epoch, some in self._waiting.items():
            self._files += 1
            self._zip.writestr(f"records/{self._files:04}", wire.pack(epoch, some))
        self._waiting, self._bytes = {}, 0

    def picture(self, digest: str, body: bytes) -> None:
        self._zip.writestr(zipfile.ZipInfo(f"pictures/{digest}"), body)

    def end(self) -> None:
        self._records()
        self._zip.close()


class Export:
    """Reads one; what it holds is as good as what is proven of it. Raises NoExport."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
            names = self._zip.namelist()
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            raise NoExport(f"{path} is no export: {error}") from None
        if len(names) > MOST_FILES or len(set(names)) != len(names):
            raise NoExport(f"{path} is no export: a name stands there twice, or too many do")
        self.pictures = sorted(name.removeprefix("pictures/") for name in names if name.startswith("pictures/"))
        self._records = sorted(name for name in names if name.startswith("records/"))
        self.statement = self._read("export.json").decode(errors="replace")

    def proof(self) -> tuple[bytes, str]:
        """(signature, certificates) of the statement."""
        said = self._json("export.proof.json")
        return self._held(lambda: (_bytes(said["proof"]), str(said["certificates"])), "export.proof.json")

    def checkpoints(self) -> list[Signed]:
        certificates = self._json("certificates.json")

        def one(line: str) -> Signed:
            said = json.loads(line)
            at = said["certificates"]
            return Signed(
                int(said["seq"]),
                str(said["statement"]),
                _bytes(said["signature"]),
                str(said["countersigned"]),
                _bytes(said["proof"]),
                str(certificates[at]),
            )

        lines = self._read("checkpoints.jsonl").decode(errors="replace").split("\n")
        return self._held(lambda: [one(line) for line in lines if line], "checkpoints.jsonl")

    def records(self) -> Iterator[wire.Frame]:
        for name in self._records:
            body = self._read(name, wire.MOST_MESSAGE)
            yield from self._held(lambda b=body: wire.unpack(b), name)

    def picture(self, digest: str) -> bytes:
        return self._read(f"pictures/{digest}", wire.MOST_PICTURE)

    def _json(self, name: str) -> Any:
        body = self._read(name)
        return self._held(lambda: json.loads(body), name)

    def _read(self, name: str, most: int = MOST_SMALL) -> bytes:
        try:
            with self._zip.open(name) as file:
                body = file.read(most + 1)
        except UNREADABLE as error:
            raise NoExport(f"{name} cannot be read: {error}") from None
        if len(body) > most:
            raise NoExport(f"{name} has more than {most} bytes")
        return body

    def _held(self, read: Any, name: str) -> Any:
        try:
            return read()
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, LinesideError) as error:
            raise NoExport(f"{name} is not what an export has: {error}") from None


def about(device: str, made: int, **more: Any) -> str:
    """The statement of an export: of which device, made when (ns UTC), and its scope."""
    return json.dumps({"lineside": VERSION, "device": device, "made": made, **more}, ensure_ascii=False)


def _text(body: bytes) -> str:
    return base64.b64encode(body).decode()


def _bytes(text: Any) -> bytes:
    return base64.b64decode(text, validate=True)
