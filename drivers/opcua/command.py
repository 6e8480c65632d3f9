"""`lineside trust SITE DRIVER [FINGERPRINT]`: show the server certificate that a driver refused, and put it on the trust list."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from edge import ConfigFault, LinesideError, load_site, state_folder

from .options import OpcUaConfig
from .trust import ENOUGH, fingerprint, refused, subject, trust, validity

HELP = "trust the certificate of an OPC UA server that a driver refused"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", type=Path, help="site file (YAML)")
    parser.add_argument("driver", help="name of the entry under `drivers:`")
    told = f"SHA-256 of the certificate, its first {ENOUGH} digits or more (default: only show it)"
    parser.add_argument("fingerprint", nargs="?", help=told)
    where = "the device's state folder (default: $LINESIDE_STATE, else ~/.local/state/lineside/DEVICE)"
    parser.add_argument("--state", type=Path, metavar="FOLDER", help=where)


def run(options: argparse.Namespace) -> int:
    config = load_site(options.site)
    if options.driver not in config.drivers and config.problems:
        raise ConfigFault("\n".join(map(str, config.problems)))
    if not isinstance(config.drivers.get(options.driver), OpcUaConfig):
        there = ", ".join(name for name, part in config.drivers.items() if isinstance(part, OpcUaConfig)) or "none"
        raise ConfigFault(f"{options.site}: no OPC UA driver is called {options.driver!r}", hint=f"there are {there}")
    state = state_folder(config.device.id, options.state)
    der = refused(state, options.driver)
    if der is None:
        hint = "run `lineside check --connect SITE` or the daemon first; a file copied there is trusted too"
        raise LinesideError(f"no certificate waits; the list is {state / 'opcua' / 'trusted'}", hint=hint)
    digits = fingerprint(der)
    if options.fingerprint is None:
        thumb = hashlib.sha1(der, usedforsecurity=False).hexdigest()
        print(f"certificate  {subject(der)}\nSHA-256      {digits}\nthumbprint   {thumb}")
        if found := validity(der):
            print(f"valid        {found[0]:%Y-%m-%d} to {found[1]:%Y-%m-%d}")
        print(f"If the server shows the same: lineside trust {options.site} {options.driver} {digits[:ENOUGH]}")
        return 1
    given = options.fingerprint.replace(":", "").replace(" ", "").lower()
    if len(given) < ENOUGH or not digits.startswith(given):
        raise LinesideError(
            f"the certificate that waits has SHA-256 {digits}", hint=f"give {ENOUGH} of its digits or more"
        )
    print(f"trusted: {trust(state, options.driver, der)}")
    return 0
