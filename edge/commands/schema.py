"""`lineside schema`: the JSON Schema of a site, for editors."""

from __future__ import annotations

import argparse
import json

from ..config.schema import schema

HELP = "print the JSON Schema of a site, for the parts installed here"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Takes none."""


def run(options: argparse.Namespace) -> int:
    print(json.dumps(schema(), indent=1, ensure_ascii=False, sort_keys=False))
    return 0
