"""`lineside enroll SITE TOKEN`."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from edge import LinesideError

from .certificate import Certificate
from .enrolment import enroll
from .identity import Identity
from .key import on_token
from .transport import Https
from .update_commands import trust_plane

HELP = "make this device known to a control plane"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", type=Path, help="the site file the daemon runs")
    parser.add_argument("token", help="what `lineside plane invite` printed")
    told = "a key in a TPM or on another token, pkcs11:... (default: one is made and kept in the state folder)"
    parser.add_argument("--key", default="", metavar="URI", help=told)
    parser.add_argument("--state", type=Path, help="folder of the journal, if not the usual one")


def run(options: argparse.Namespace) -> int:
    from edge import load_site, state_folder

    device = load_site(options.site).device.id
    folder = state_folder(device, options.state)
    if options.key and not on_token(options.key):
        hint = "pkcs11:token=NAME;object=NAME?module-path=FILE&pin-source=file:FILE, see docs/identity.md"
        raise LinesideError(f"{options.key} is no key of a token", hint=hint)
    identity = enroll(options.token, device, folder, options.key)
    said = asyncio.run(_trusting(identity, folder))
    print(f"{device} is enrolled with {identity.url}")
    if said:
        print(said)
    return 0


async def _trusting(identity: Identity, folder: Path) -> str:
    line = Https(identity, Certificate(folder, identity))
    try:
        return await trust_plane(identity.device, folder, line)
    except (LinesideError, OSError) as error:
        return f"no updates yet: {error}"
    finally:
        line.close()
