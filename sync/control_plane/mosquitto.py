"""Which broker the plane is at, and files for a mosquitto of its own: TLS both ways with the plane's authority, and for each device
its own topics only."""

from __future__ import annotations

import argparse
import os
import pwd
from pathlib import Path

from pydantic import ValidationError

from edge import LinesideError

from .. import wire
from ..broker import BrokerConfig
from .broker import NAME
from .ca import Authority, keep
from .where import Where

LIMITS = {  # what waits at the broker while the plane is slow; beyond it a device sends again
    "max_packet_size": wire.MOST_PICTURE + 65536,
    "max_inflight_messages": 1000,
    "max_queued_messages": 20_000,
    "max_queued_bytes": 2**28,
}


def arguments(parser: argparse.ArgumentParser) -> None:
    told = "also take in what devices send through this broker: mqtts://host:8883"
    parser.add_argument("--broker", default="", metavar="URL", help=told)
    whose = "authority of the broker's certificate (default: the plane's own)"
    parser.add_argument("--broker-ca", default="", metavar="FILE", help=whose)
    parser.add_argument("--broker-user", default="", metavar="NAME", help="our name at the broker")
    parser.add_argument("--broker-password", type=Path, metavar="FILE", help="file with the password, one line")


def access(options: argparse.Namespace) -> BrokerConfig | None:
    """Raises LinesideError where that is no broker."""
    if not options.broker:
        return None
    try:
        if not options.broker.startswith("mqtts:"):
            raise ValueError(
                f"{options.broker!r}: through a broker devices are reached with TLS only, mqtts://host:8883"
            )
        secret = options.broker_password.read_text().strip() if options.broker_password else ""
        return BrokerConfig(url=options.broker, user=options.broker_user, password=secret, ca=options.broker_ca)
    except ValidationError as error:
        raise LinesideError(f"--broker: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    except (OSError, ValueError) as error:
        raise LinesideError(f"--broker: {error}") from None


def write(folder: Path, authority: Authority, names: list[str], listen: str, port: int) -> Path:
    """The configuration, with everything it names beside it: `mosquitto -c` it. The certificate lasts a year."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = folder.resolve()
    cert, key = authority.server(names, stem="broker")
    keep(folder / "acl", _rules().encode())
    keep(folder / "ca.pem", authority.pem.encode())
    lines = {
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "listener": f"{port} {listen}",
        "cafile": folder / "ca.pem",
        "certfile": cert.resolve(),
        "keyfile": key.resolve(),
        "require_certificate": "true",
        "use_identity_as_username": "true",
        "allow_anonymous": "false",
        "acl_file": folder / "acl",
        "persistence": "false",
        **LIMITS,
    }
    config = folder / "mosquitto.conf"
    keep(config, "".join(f"{name} {value}\n" for name, value in lines.items()).encode())
    return config


def _rules() -> str:
    every, answers = wire.EVERY_DEVICE, wire.down("+")
    ours = f"user {NAME}\ntopic read {every}\ntopic write {answers}\n\n"
    return ours + f"pattern write {wire.up('%u')}\npattern read {wire.down('%u')}\n"


def run(where: Where, options: argparse.Namespace) -> int:
    config = write(
        where.folder / "broker", Authority(where.folder), where.all_names(), where.listen, options.broker_port
    )
    print(f"start it with: mosquitto -c {config}")
    print(f"and the plane with: --broker mqtts://localhost:{options.broker_port}")
    name = where.names[0] if where.names else "localhost"
    print(f'devices have: sync: {{url: "mqtts://{name}:{options.broker_port}"}}')
    return 0
