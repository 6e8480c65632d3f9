"""`lineside enroll SITE TOKEN`."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from .certificate import Certificate
from .identity import enroll
from .transport import Https

HELP = "make this device known to a control plane"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", type=Path, help="the site file the daemon runs")
    parser.add_argument("token", help="what `lineside plane invite` printed")
    parser.add_argument("--state", type=Path, help="folder of the journal, if not the usual one")


def run(options: argparse.Namespace) -> int:
    from edge import load_site, state_folder

    device = load_site(options.site).device.id
    folder = state_folder(device, options.state)
    identity = enroll(options.token, device, folder)
    asyncio.run(Certificate(folder, identity).renew(Https(identity).exchange))
    print(f"{device} is enrolled with {identity.url}")
    return 0
