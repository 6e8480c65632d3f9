"""`lineside schema`: every option of a site, for editors or for people."""

from __future__ import annotations

import argparse
import json

from ..config.options import markdown
from ..config.schema import schema

HELP = "print the JSON Schema of a site, for the parts installed here; --markdown prints it as tables"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--markdown", action="store_true", help="tables of options, to read, in place of JSON")


def run(options: argparse.Namespace) -> int:
    document = schema()
    if options.markdown:
        print(markdown(document), end="")
    else:
        print(json.dumps(document, indent=1, ensure_ascii=False, sort_keys=False))
    return 0
