"""An authority of somebody else's signs for a plane: a command gets each request, and prints the certificate."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pydantic import BaseModel, Field

from edge import Duration, LinesideError

from .. import chain
from .issuer import KNOCKS, SERVES, STAMPS, Wanted, names_of, pem
from .kept import SIGNER, keep

MOST_SAID = 65_536  # characters of an answer


class AuthorityOptions(BaseModel):
    """Who signs certificates, in place of the plane itself."""

    model_config = {"extra": "forbid", "frozen": True}
    root: str = Field(description="file with the root's certificate (PEM): what devices will know the plane by")
    command: list[str] = Field(
        min_length=1,
        description="program and words; gets a request (PKCS #10, PEM) on standard input and prints the certificate and those "
        "above it, see docs/identity.md",
    )
    within: Duration = Field(30.0, gt=0, le=300, description="how long it may take")


class Outside:
    """Signs by `command`. What comes back is not believed before it is seen to be what was asked for."""

    def __init__(self, root: x509.Certificate, command: list[str], within: float) -> None:
        self._root, self._command, self._within = root, command, within

    def sign(self, wanted: Wanted) -> list[x509.Certificate]:
        """The certificate, and those above it up to the root. Blocks for as long as the command takes. Raises LinesideError."""
        names = ",".join(
            f"{'IP' if isinstance(n, x509.IPAddress) else 'DNS'}:{n.value}" for n in names_of(wanted.names)
        )
        told = {"KIND": wanted.kind, "NAME": wanted.name, "NAMES": names, "DAYS": f"{wanted.days:g}"}
        env = {**os.environ, **{f"LINESIDE_{name}": value for name, value in told.items()}}
        try:
            done = subprocess.run(
                self._command, input=wanted.request, env=env, capture_output=True, timeout=self._within, check=False
            )
        except OSError as error:
            raise self._fault(f"cannot be started: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise self._fault(f"has not answered within {self._within:g} s") from None
        if done.returncode:
            said = " ".join(done.stderr[-2000:].decode(errors="replace").split())[-300:]
            raise self._fault(f"ended with {done.returncode}: {said or 'without a word'}")
        try:
            found = [cert for cert in chain.read(done.stdout[:MOST_SAID]) if cert != self._root]
        except ValueError:
            raise self._fault("printed no certificate") from None
        if why := _unlike(found, wanted, self._root):
            raise self._fault(f"signed something else than was asked for, {wanted.kind} {wanted.name}: {why}")
        return found

    def _fault(self, what: str) -> LinesideError:
        return LinesideError(
            f"the command that signs for the plane, {self._command[0]}, {what}", hint="`authority` of its file"
        )


def _unlike(found: list[x509.Certificate], wanted: Wanted, root: x509.Certificate) -> str:
    """Why that is not what was asked for; "" where it is."""
    if not chain.leads_to(root, found):
        return "it does not lead to `root`; print the certificate first, then each that signed the one before"
    leaf = found[0]
    if leaf.public_key() != wanted.key:
        return "it is for another key"
    if [name.value for name in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] != [wanted.name]:
        return f"it is for {leaf.subject.rfc4514_string()}"
    if chain.may_issue(leaf):
        return "it could sign others"
    try:
        uses = set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        uses = set()
    if uses & {SERVES, KNOCKS, STAMPS, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} != set(wanted.uses):
        return f"its extended key usage has to be {' and '.join(use._name for use in wanted.uses)}"
    return ""


def choose(folder: Path, options: AuthorityOptions) -> None:
    """From now on that command signs for the plane in `folder`, which remembers it. Raises LinesideError."""
    try:
        (root,) = chain.read(Path(options.root).read_bytes())
    except (OSError, ValueError):
        raise LinesideError(f"authority: {options.root} is no file with one certificate") from None
    if not chain.may_issue(root):
        raise LinesideError(f"authority: {options.root} is no authority's certificate")
    if shutil.which(options.command[0]) is None:
        raise LinesideError(f"authority: there is no program {options.command[0]}")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / "ca.pem"
    if file.exists() and chain.read(file.read_bytes()) != [root]:
        raise LinesideError(
            f"authority: the devices of this plane know another root than {options.root}",
            hint="take `root` from ca.pem in its folder and let that root sign for your authority, or begin with a new folder",
        )
    keep(folder / SIGNER, json.dumps({"command": options.command, "within": options.within}).encode())
    keep(file, pem([root]))


def remembered(folder: Path) -> Outside | None:
    """Who signs for the plane in `folder`, if not the plane itself. Raises LinesideError."""
    file = folder / SIGNER
    if not file.exists():
        return None
    try:
        said = json.loads(file.read_bytes())
        (root,) = chain.read((folder / "ca.pem").read_bytes())
        return Outside(root, [str(word) for word in said["command"]], float(said["within"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise LinesideError(
            f"{file} cannot be read", hint="start the plane with --config and `authority` in it, which writes it"
        ) from None
