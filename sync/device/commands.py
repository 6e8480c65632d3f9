"""`lineside enroll SITE TOKEN`."""

from __future__ import annotations

import argparse
from pathlib import Path

from .identity import enroll

HELP = "make this device known to a control plane"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", type=Path, help="the site file the daemon runs")
    parser.add_argument("token", help="what `lineside plane invite` printed")
    parser.add_argument("--state", type=Path, help="folder of the journal, if not the usual one")


def run(options: argparse.Namespace) -> int:
    from edge import load_site, state_folder

    device = load_site(options.site).device.id
    identity = enroll(options.token, device, state_folder(device, options.state))
    print(f"{device} is enrolled with {identity.url}")
    return 0
