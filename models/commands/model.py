"""`lineside model`: `teach` makes a package from good parts, `import` from a network that others exported, `dataset` labelled
pictures from judged ones; `evaluate` says what a package is worth on those."""

from __future__ import annotations

import argparse

from . import curve, dataset, evaluate, importing, teach

HELP = (
    "model packages: `model teach FOLDER` learns from good parts, `model import FILE` takes a network of others, "
    "`model evaluate` says how good one is"
)
DOES = {"curve": curve, "dataset": dataset, "evaluate": evaluate, "import": importing, "teach": teach}


def arguments(parser: argparse.ArgumentParser) -> None:
    does = parser.add_subparsers(dest="do", required=True, metavar="|".join(DOES))
    for name, module in DOES.items():
        module.arguments(does.add_parser(name, help=module.HELP, description=module.HELP))


def run(options: argparse.Namespace) -> int:
    return DOES[options.do].run(options)
