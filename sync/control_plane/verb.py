"""What `lineside plane` can be told to do: each part of the plane says its own verbs, in a table `VERBS`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from .where import Where


def nothing_more(parser: argparse.ArgumentParser) -> None:
    """A verb without arguments of its own."""


def always(options: argparse.Namespace) -> bool:
    """A verb that changes something whatever it is told."""
    return True


def never(options: argparse.Namespace) -> bool:
    """A verb that changes nothing of the plane."""
    return False


@dataclass(frozen=True)
class Verb:
    """`run` returns the exit code and may raise LinesideError; every verb has --folder and --database, which say where the plane
    is whether it runs or not. What `changes` something leaves a row in the audit; of what is in `files`, and in no transaction, a
    note goes before."""

    help: str
    run: Callable[[Where, argparse.Namespace], int]
    arguments: Callable[[argparse.ArgumentParser], None] = nothing_more
    changes: Callable[[argparse.Namespace], bool] = always
    files: bool = False
