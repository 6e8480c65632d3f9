"""`lineside sign`: for the person who says which updates are genuine, on a machine without a network and without a plane."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge import LinesideError

from .manifest import CLASS, KINDS

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

HELP = "sign updates: keys, who may sign what, and what is published; on a machine without a network"
ROLES = ("root", *KINDS, "online")
DOES = {
    "key": "make a key FILE and its public half FILE.pub",
    "init": "begin a repository in FOLDER with these --role keys; it waits for two approvals",
    "rotate": "give roles other keys, or root more time; it waits for two approvals by the old keys and two by the new",
    "approve": "sign what --key is to sign in FOLDER: drafts, kinds of artefacts, what is online",
    "add": "publish FILE in FOLDER as KIND/NAME-VERSION",
    "drop": "withdraw KIND/NAME-VERSION from FOLDER",
    "show": "what there is in FOLDER, and what waits for whom",
}
PASSPHRASE = "LINESIDE_PASSPHRASE"


def arguments(parser: argparse.ArgumentParser) -> None:
    does = parser.add_subparsers(dest="do", required=True, metavar="|".join(DOES))
    parsers = {name: does.add_parser(name, help=text, description=text) for name, text in DOES.items()}
    parsers["key"].add_argument("file", type=Path)
    told = "without a passphrase: for the key of a plane alone, which has nobody to ask"
    parsers["key"].add_argument("--bare", action="store_true", help=told)
    for name in ("init", "rotate", "approve", "add", "drop", "show"):
        parsers[name].add_argument("folder", type=Path)
    for name in ("init", "rotate"):
        told = f"public key of a role (may be given again): {', '.join(ROLES)}"
        parsers[name].add_argument("--role", action="append", default=[], type=_role, metavar="ROLE=FILE", help=told)
    parsers["add"].add_argument("file", type=Path)
    for name in ("add", "drop"):
        parsers[name].add_argument("path", metavar="KIND/NAME-VERSION")
    told = "a class of devices that it is for (may be given again; default: any)"
    parsers["add"].add_argument(
        "--for", dest="fits", action="append", default=[], type=_class, metavar="CLASS", help=told
    )
    for name in ("approve", "add", "drop"):
        told = f"whose passphrase is asked for, or ${PASSPHRASE}"
        parsers[name].add_argument("--key", type=Path, required=True, metavar="FILE", help=told)


def _role(text: str) -> tuple[str, Path]:
    role, _, file = text.partition("=")
    if role not in ROLES or not file:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no role with its key, as in root=anna.pub; roles: {', '.join(ROLES)}"
        )
    return role, Path(file)


def _class(text: str) -> str:
    if not CLASS.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no class of devices: letters, digits and . _ / -")
    return text


def run(options: argparse.Namespace) -> int:
    from . import keys
    from .repository import Repository

    if options.do == "key":
        made = keys.make(options.file, "" if options.bare else _new_passphrase(options.file))
        print(f"{options.file} stays here; {options.file.name}.pub is for the others (key {made.keyid[:12]})")
        return 0
    repository = Repository(options.folder)
    if options.do in ("init", "rotate"):
        getattr(repository, options.do)(_keys(options.role))
        print(f"{options.folder} waits for signatures: `lineside sign approve {options.folder} --key FILE`")
    elif options.do == "approve":
        print("\n".join(repository.approve(_signer(options.key))))
    elif options.do == "add":
        manifest = repository.add(options.file, options.path, options.fits, _signer(options.key))
        print(f"{manifest.path} is signed, {manifest.size:,} bytes; the online key publishes it")
    elif options.do == "drop":
        repository.drop(options.path, _signer(options.key))
        print(f"{options.path} is withdrawn; the online key publishes that")
    else:
        print("\n".join(repository.status()))
    return 0


def _keys(given: list[tuple[str, Path]]) -> dict[str, list[SSlibKey]]:
    from . import keys

    found: dict[str, list[SSlibKey]] = {}
    for role, file in given:
        found.setdefault(role, []).append(keys.public(file))
    return found


def _signer(file: Path) -> CryptoSigner:
    from . import keys

    return keys.signer(file, _passphrase(file) if keys.is_sealed(file) else "")


def _passphrase(file: Path) -> str:
    if found := os.environ.get(PASSPHRASE):
        return found
    if not sys.stdin.isatty():
        raise LinesideError(f"{file} asks for its passphrase, and nobody is here", hint=f"set {PASSPHRASE}")
    return getpass.getpass(f"passphrase of {file}: ")


def _new_passphrase(file: Path) -> str:
    said = _passphrase(file)
    if not said:
        raise LinesideError("a key without a passphrase", hint="only the plane's own, with --bare")
    if PASSPHRASE not in os.environ and getpass.getpass("once more: ") != said:
        raise LinesideError("the two are not the same")
    return said
