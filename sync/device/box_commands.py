"""`lineside backup SITE FILE` and `lineside restore FILE`: a device goes from one box to another."""

from __future__ import annotations

import argparse
import getpass
import os
import time
from pathlib import Path

from edge import LinesideError, load_site, state_folder

from .box import Box, packed, take_over
from .sealed import opened, sealed

VARIABLE = "LINESIDE_PASSPHRASE"


def _secret(parser: argparse.ArgumentParser) -> None:
    told = f"file with the passphrase (default: ${VARIABLE}, else it is asked for)"
    parser.add_argument("--passphrase-file", type=Path, metavar="FILE", help=told)
    parser.add_argument("--state", type=Path, help="folder of the journal, if not the usual one")


def _passphrase(options: argparse.Namespace, twice: bool) -> str:
    """Raises LinesideError."""
    if options.passphrase_file:
        try:
            return str(options.passphrase_file.read_text().strip())
        except (OSError, UnicodeDecodeError) as error:
            raise LinesideError(f"{options.passphrase_file} cannot be read: {error}") from None
    if (said := os.environ.get(VARIABLE)) is not None:
        return said
    try:
        said = getpass.getpass("passphrase: ")
        if twice and getpass.getpass("once more: ") != said:
            raise LinesideError("these are two passphrases")
    except EOFError:
        raise LinesideError(
            "there is nobody to ask for a passphrase", hint=f"--passphrase-file, or ${VARIABLE}"
        ) from None
    return said


class Backup:
    HELP = "keep what makes another box this device, in one file that a passphrase opens"

    @staticmethod
    def arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("site", type=Path, help="site file (YAML)")
        parser.add_argument("file", type=Path, help="what to write")
        _secret(parser)

    @staticmethod
    def run(options: argparse.Namespace) -> int:
        device = load_site(options.site).device.id
        if options.file.exists():
            raise LinesideError(f"{options.file} is there already", hint="name another file")
        body = packed(options.site, device, state_folder(device, options.state))
        whole = sealed(body, _passphrase(options, twice=True))
        try:
            options.file.touch(0o600)
            options.file.write_bytes(whole)
        except OSError as error:
            raise LinesideError(f"{options.file} cannot be written: {error.strerror}") from None
        print(f"{options.file}: {device}, {len(whole):,} bytes; whoever has it and the passphrase is this device")
        return 0


class Restore:
    HELP = "make this box the device of a backup; the plane lets the old one in no more"

    @staticmethod
    def arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="what `lineside backup` wrote")
        parser.add_argument("--to", type=Path, default=Path(), metavar="FOLDER", help="of the site (default: here)")
        _secret(parser)

    @staticmethod
    def run(options: argparse.Namespace) -> int:
        try:
            whole = options.file.read_bytes()
        except OSError as error:
            raise LinesideError(f"{options.file} cannot be read: {error.strerror}") from None
        box = Box(opened(whole, _passphrase(options, twice=False)))
        state = state_folder(box.device, options.state)
        if (state / "journal.db").exists():
            raise LinesideError(f"there is a journal in {state} already", hint="move it away, or name another --state")
        site = box.lay_out(options.to, state)
        identity = take_over(box, state, time.time_ns())
        config = load_site(site)
        print(f"this box is {box.device}; its site is {site}, start it with: lineside run {site}")
        if identity is not None:
            print(f"{identity.url} lets the old box in no more")
        for problem in config.problems:
            print(problem)
        return 1 if config.problems else 0
