"""`lineside sample DRIVER`: a site to start from."""

from __future__ import annotations

import argparse
import importlib.resources

from .. import plugins
from ..errors import LinesideError

HELP = "print a sample site for a driver"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("driver", help="one of: " + ", ".join(plugins.names("drivers")))


def run(options: argparse.Namespace) -> int:
    package = plugins.find("drivers", options.driver).__module__.rpartition(".")[0]
    sample = importlib.resources.files(package) / "sample.yaml" if package else None
    if sample is None or not sample.is_file():
        raise LinesideError(f"the driver {options.driver!r} brings no sample.yaml")
    print(sample.read_text("utf-8"), end="")
    return 0
