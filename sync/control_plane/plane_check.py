"""`lineside plane check FILE`, `plane test FILE`, `plane try FILE CHANNEL` and `plane schema`."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import json
import sys
import time
from pathlib import Path
from typing import Any

from edge import LinesideError

from . import channels
from .alert_options import TYPES, RouteOptions
from .alert_rehearsal import AlertTest
from .alert_rehearsal import rehearse as rehearse_alerts
from .alert_text import trial
from .forward_target import Happened
from .judge import rehearse
from .openid_options import OpenIdOptions
from .outside import AuthorityOptions
from .own import EPOCH, PLANE
from .plane_file import SECTIONS, PlaneFile, load
from .rule_options import RuleTest
from .verb import Verb, never
from .where import Where


def check(path: Path) -> int:
    """Every fault of the file on standard error; the code is 1 where there is one."""
    found = _read(path)
    if found is not None:
        alerts = f", {len(found.alerts.channels)} channels, {len(found.alerts.routes)} routes"
        print(
            f"{path}: ok: {len(found.rules)} rules, {len(found.tests)} tests{alerts if found.alerts.channels else ''}"
        )
    return int(found is None)


def test(path: Path) -> int:
    """Run its tests; the code is 1 where one fails."""
    if (found := _read(path)) is None:
        return 1
    failed = 0
    for case in found.tests:
        match case:
            case AlertTest():
                faults = rehearse_alerts(found.alerts, case)
            case RuleTest():
                faults = rehearse(found.rules[case.rule], case)
        failed += bool(faults)
        print(f"{path}: {'FAILED' if faults else 'ok'}: {case.name}", *faults, sep="\n    ")
    if not found.tests:
        print(f"{path}: has no `tests:`", file=sys.stderr)
    return int(failed > 0)


def try_channel(path: Path, name: str) -> int:
    """Send a message to a channel of the file, once; the code is 1 where it is not taken. No plane is needed for
    that, and none hears of it."""
    if (found := _read(path)) is None:
        return 1
    if (options := found.alerts.channels.get(name)) is None:
        near = difflib.get_close_matches(name, found.alerts.channels, 1)
        known = f"there are {', '.join(found.alerts.channels) or 'none'}"
        raise LinesideError(f"no channel is called {name!r}", hint=f"did you mean {near[0]!r}?" if near else known)
    channel = channels.opened(name, options)
    now = time.time_ns()
    text = trial(name, options.language)
    said = {"ts": now, "kind": "alert", "key": name, "state": "test", "severity": "info", "text": text}
    try:
        asyncio.run(
            channel.deliver(Happened(PLANE, EPOCH, now // 1_000_000, said | {"data": {"alarms": []}, "refs": []}))
        )
    except LinesideError as fault:
        print(f"{path}: alerts.channels.{name}: not taken: {fault}", file=sys.stderr)
        return 1
    finally:
        channel.close()
    print(f"{path}: alerts.channels.{name}: taken")
    return 0


def schema() -> str:
    """The JSON Schema of a plane's file, for editors."""
    definitions: dict[str, Any] = {}

    def define(name: str, model: Any) -> dict[str, str]:
        document = model.model_json_schema(ref_template="#/$defs/{model}", by_alias=True)
        definitions.update(document.pop("$defs", {}))
        definitions[name] = document
        return {"$ref": f"#/$defs/{name}"}

    properties: dict[str, Any] = {
        name: {"type": "object", "additionalProperties": define(name, model)} for name, model in SECTIONS.items()
    }
    kinds = [define(f"{name}_channel", model) for name, model in TYPES.items()]
    parts: dict[str, Any] = {"channels": {"oneOf": kinds}, "routes": define("route", RouteOptions)}
    entries = {name: {"type": "object", "additionalProperties": what} for name, what in parts.items()}
    properties["alerts"] = {"type": "object", "additionalProperties": False, "properties": entries}
    properties["authority"] = define("authority", AuthorityOptions)
    properties["openid"] = define("openid", OpenIdOptions)
    properties["tests"] = {
        "type": "array",
        "items": {"anyOf": [define("test", RuleTest), define("alert_test", AlertTest)]},
    }
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What a Lineside plane does of itself",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "$defs": dict(sorted(definitions.items())),
    }
    return json.dumps(document, indent=1, ensure_ascii=False)


def _read(path: Path) -> PlaneFile | None:
    found = load(path)
    print(*found.faults, sep="\n", end="\n" if found.faults else "", file=sys.stderr)
    return None if found.faults else found


# As verbs


def _file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")


def _file_and_channel(parser: argparse.ArgumentParser) -> None:
    _file(parser)
    parser.add_argument("channel", metavar="CHANNEL", help="its name in the file")


def _print_schema(where: Where, options: argparse.Namespace) -> int:
    print(schema())
    return 0


VERBS = {
    "check": Verb("say every fault of a plane's file", lambda where, options: check(options.file), _file, never),
    "test": Verb("run the tests of such a file", lambda where, options: test(options.file), _file, never),
    "try": Verb(
        "send a message to one of its channels", lambda w, o: try_channel(o.file, o.channel), _file_and_channel, never
    ),
    "schema": Verb("print the schema of such files", _print_schema, changes=never),
}
