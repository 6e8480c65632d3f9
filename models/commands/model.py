"""`lineside model evaluate`: what a model package is worth on pictures that people labelled."""

from __future__ import annotations

import argparse

from . import evaluate

HELP = "model packages: `model evaluate PACKAGE --data FOLDER` says how good one is"
DOES = {"evaluate": evaluate}


def arguments(parser: argparse.ArgumentParser) -> None:
    does = parser.add_subparsers(dest="do", required=True, metavar="|".join(DOES))
    for name, module in DOES.items():
        module.arguments(does.add_parser(name, help=module.HELP, description=module.HELP))


def run(options: argparse.Namespace) -> int:
    return DOES[options.do].run(options)
