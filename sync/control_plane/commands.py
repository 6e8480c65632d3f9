"""`lineside plane`: runs the plane, or does what a verb says; each part of the plane has its own table of them."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from edge import Duration, LinesideError, log

from . import (
    asset_commands,
    backup,
    case_commands,
    completeness,
    config_commands,
    dossier,
    evidence_commands,
    fleet,
    invite,
    issuers,
    model_commands,
    mosquitto,
    people_commands,
    plane_check,
    question_commands,
    rollout_commands,
)
from .ca import Authority, keep
from .objects import SECRETS
from .plane import Plane
from .retention import DEFAULT, KEPT
from .shown import HEADER
from .verb import Verb, never
from .where import ROLES, Where

SHORTEST = 3600.0  # seconds that anything is kept
LITTER = (50_000, 20, 20)  # objects and rounds before Python looks for what is left over, see `serve`
HELP = "run the control plane; `plane invite` prints a token for a device, `plane backup FILE` keeps everything"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Without a verb it runs the plane, so `plane` itself has every option of `plane serve`."""
    _serving(parser)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs (default: serve)")
    for name, verb in VERBS.items():
        its = verbs.add_parser(name, help=verb.help, description=verb.help)
        verb.arguments(its)
        if name != "serve":
            _again(its, _folder)


def run(options: argparse.Namespace) -> int:
    ports, names = (options.port, options.page_port), tuple(options.name)
    where = Where(
        options.folder,
        options.listen,
        *ports,
        names,
        options.database,
        tuple(options.keep),
        broker=mosquitto.access(options),
        config=options.config,
        roles=tuple(options.role) or ROLES,
        url=options.url or "",
        page_url=options.page_url or "",
        objects=options.objects,
        objects_key=options.objects_key,
    )
    verb = VERBS[options.verb or "serve"]
    return people_commands.recorded(where, options, verb) if verb.changes(options) else verb.run(where, options)


# What is said of the plane itself


def _again(parser: argparse.ArgumentParser, *parts: Callable[[argparse.ArgumentParser], None]) -> None:
    """Options of `plane` that a verb has, too: there only what is said counts, and what stands before the verb counts as well."""
    known = len(parser._actions)
    for part in parts:
        part(parser)
    for action in parser._actions[known:]:
        action.default = argparse.SUPPRESS


def _folder(parser: argparse.ArgumentParser) -> None:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    folder = Path(base) / "lineside" / "plane"
    parser.add_argument("--folder", type=Path, default=folder, help=f"database and keys (default: {folder})")
    told = "postgresql://USER@HOST/NAME instead of a file in the folder, which remembers it"
    parser.add_argument("--database", default="", metavar="ADDRESS", help=told)


def _names(parser: argparse.ArgumentParser) -> None:
    told = "host name or address it is reached under (may be given again)"
    parser.add_argument("--name", action="append", default=[], help=told)


def _address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", default="127.0.0.1", metavar="ADDRESS", help="default: 127.0.0.1, this machine only"
    )


def _proxied(parser: argparse.ArgumentParser) -> None:
    told = "where devices find the plane, if a proxy stands before its processes: https://plane.example:8443"
    parser.add_argument("--url", type=_url("https"), help=told)


def _serving(parser: argparse.ArgumentParser) -> None:
    for part in (_folder, _address, _names, _proxied):
        part(parser)
    kept = ", ".join(f"{name}={seconds / 86400:g}d" for name, seconds in DEFAULT.items())
    told = f"forget what is older, as in samples=90d (CLASS: {', '.join(KEPT)}; may be given again; default: {kept})"
    parser.add_argument("--keep", type=_keep, action="append", default=[], metavar="CLASS=TIME", help=told)
    parser.add_argument("--port", type=_port, default=8443, help="for devices, TLS (default: 8443)")
    parser.add_argument("--page-port", type=_port, default=8080, help="for people (default: 8080)")
    told = "the rules of the plane, where events go and who is told, see docs/plane-rules.md (default: none)"
    parser.add_argument("--config", type=Path, metavar="FILE", help=told)
    told = "what this process does (may be given again; default: all of it); others do the rest, on PostgreSQL"
    parser.add_argument("--role", action="append", default=[], choices=ROLES, help=told)
    told = "where people find it then: https://plane.example"
    parser.add_argument("--page-url", type=_url("https", "http"), metavar="URL", help=told)
    told = (
        "move pictures out of the database: to a folder, or to S3, https://s3.example/BUCKET; the folder remembers it"
    )
    parser.add_argument("--objects", default="", metavar="ADDRESS", help=told)
    told = (
        f"file with the key of that and its secret, a line each (default: {' and '.join(SECRETS)} of the environment)"
    )
    parser.add_argument("--objects-key", type=Path, metavar="FILE", help=told)
    mosquitto.arguments(parser)


def _broker(parser: argparse.ArgumentParser) -> None:
    _again(parser, _address, _names)
    told = "of the mosquitto whose files are written (default: 8883)"
    parser.add_argument("--broker-port", type=_port, default=8883, metavar="PORT", help=told)


def _proxy(parser: argparse.ArgumentParser) -> None:
    _again(parser, _names, _proxied)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; there are 1 to 65535, and 0 for any that is free")
    return int(text)


def _url(*schemes: str) -> Callable[[str], str]:
    def checked(text: str) -> str:
        try:
            parts = urlsplit(text)
            good = parts.scheme in schemes and parts.hostname and parts.port != 0 and not parts.username
        except ValueError:
            good = False
        if not good or parts.path.strip("/") or parts.query or parts.fragment:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no address of a plane, as in {schemes[0]}://plane.example:8443"
            )
        return text.rstrip("/")

    return checked


def _keep(text: str) -> tuple[str, float]:
    name, _, time_ = text.partition("=")
    if name not in KEPT:
        raise argparse.ArgumentTypeError(f"{text!r} names no class of {', '.join(KEPT)}, as in samples=90d")
    try:
        seconds = TypeAdapter(Duration).validate_python(time_)
    except ValidationError:
        raise argparse.ArgumentTypeError(f"{time_!r} is no duration, as in 90d") from None
    if seconds < SHORTEST:
        raise argparse.ArgumentTypeError(f"{time_!r} is less than an hour")
    return name, seconds


def _proxy_files(where: Where, options: argparse.Namespace) -> int:
    """For a proxy that ends TLS itself: devices believe the plane's authority, and so whom it signed."""
    if not where.url:
        raise LinesideError("where do devices find the proxy?", hint="say it as in --url https://plane.example:8443")
    certificate, key = Authority(where.folder).proxy(where.all_names())
    print(f"the proxy's certificate: {certificate.resolve()}")
    print(f"and its key: {key.resolve()} (for a year; make both anew then)")
    print(f"it shows both to the plane as well, and believes it by: {(where.folder / 'ca.pem').resolve()}")
    print(f"of devices it asks for a certificate of the same authority, and hands it on in the header {HEADER}")
    return 0


async def way_in(plane: Plane) -> str:
    """What people are told who want to see its page."""
    if await plane.people.by_link():
        return f"open this link: {plane.link}"
    return f"people sign in at {plane.link.partition('/login')[0]}"


async def serve(where: Where) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    plane = Plane(where)
    try:
        await plane.start()
        gc.set_threshold(
            *LITTER
        )  # ten thousand connections are millions of objects, and all wait while they are looked through
        gc.freeze()
        if plane.url:
            keep(where.folder / "url", plane.url.encode())
        print(await way_in(plane) if plane.link else f"does its part: {', '.join(where.roles)}", flush=True)
        await ended.wait()
    finally:
        await plane.stop()
        log.info("plane: stopped")


def _serve(where: Where, options: argparse.Namespace) -> int:
    asyncio.run(serve(where))
    return 0


VERBS = {
    "serve": Verb("run the plane", _serve, lambda parser: _again(parser, _serving), never),
    **invite.VERBS,
    **fleet.VERBS,
    **people_commands.VERBS,
    **issuers.VERBS,
    **config_commands.VERBS,
    **backup.VERBS,
    "broker": Verb("write the files of a broker", mosquitto.run, _broker, files=True),
    "proxy": Verb("make a certificate for a proxy", _proxy_files, _proxy, files=True),
    **completeness.VERBS,
    **evidence_commands.VERBS,
    **dossier.VERBS,
    **question_commands.VERBS,
    **plane_check.VERBS,
    **rollout_commands.VERBS,
    **model_commands.VERBS,
    **case_commands.VERBS,
    **asset_commands.VERBS,
}
