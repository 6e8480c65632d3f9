"""`lineside sample DRIVER`: a site to start from; `lineside sample TEMPLATE`: a shipped register map, to make another of it."""

from __future__ import annotations

import argparse
import importlib.resources

from .. import plugins
from ..errors import LinesideError
from ..shipped import shipped, templates

HELP = "print a sample site for a driver, or a shipped device template"


def arguments(parser: argparse.ArgumentParser) -> None:
    names = f"a driver ({', '.join(plugins.names('drivers'))}) or a template ({', '.join(templates())})"
    parser.add_argument("driver", metavar="NAME", help=names)


def run(options: argparse.Namespace) -> int:
    if options.driver in templates() and (template := shipped(f"templates/{options.driver}.yaml")):
        print(template.read_text("utf-8"), end="")
        return 0
    package = plugins.find("drivers", options.driver).__module__.rpartition(".")[0]
    sample = importlib.resources.files(package) / "sample.yaml" if package else None
    if sample is None or not sample.is_file():
        raise LinesideError(f"the driver {options.driver!r} brings no sample.yaml")
    print(sample.read_text("utf-8"), end="")
    return 0
