"""`lineside`: the command line. Finds its sub-commands by entry point, imports only the one that is asked for.

A sub-command is a module with `HELP` (one line), `arguments(parser)` and `run(arguments) -> int`. Exit codes: 0 fine, 1 faults
found, 2 the command could not run. Machine-readable output goes to standard output, everything else to standard error.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from importlib import metadata

from . import plugins
from .errors import LinesideError
from .log import to_stderr

PROGRAM = "lineside"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a person never sees a traceback for what a person did."""
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # who read it has enough, as in `lineside export SITE | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130


def _run(arguments: list[str]) -> int:
    names = plugins.names("commands")
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _overview(names)
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        print(metadata.version(PROGRAM))
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean `{PROGRAM} {near[0]}`?" if near else f"there are {', '.join(names)}"
        print(f"{PROGRAM}: no command is called {name!r}; {hint}", file=sys.stderr)
        return 2
    to_stderr()
    try:
        command = plugins.find("commands", name)
        parser = argparse.ArgumentParser(prog=f"{PROGRAM} {name}", description=command.HELP)
        command.arguments(parser)
        return int(command.run(_parse(parser, rest)) or 0)
    except LinesideError as error:
        print(f"{PROGRAM} {name}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise
    except (OSError, UnicodeError) as error:
        where = f"{file}: " if (file := getattr(error, "filename", None)) else ""
        print(f"{PROGRAM} {name}: {where}{getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return 2
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2


def _parse(parser: argparse.ArgumentParser, rest: Sequence[str]) -> argparse.Namespace:
    """Options may stand between the names, as in `read SITE --state FOLDER TAG`; argparse knows that only without sub-commands."""
    try:
        return parser.parse_intermixed_args(rest)
    except TypeError:
        return parser.parse_args(rest)


def _overview(names: Sequence[str]) -> None:
    print(f"{PROGRAM} {metadata.version(PROGRAM)}: the runtime that sits beside the line\n")
    for name in names:
        try:
            said = plugins.find("commands", name).HELP
        except LinesideError as error:
            said = f"(not available: {error})"
        print(f"  {name:<10} {said}")
    print(f"\n`{PROGRAM} COMMAND --help` tells more.")


if __name__ == "__main__":
    sys.exit(main())
