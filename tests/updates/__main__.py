"""`make prove-updates`: each attack on each kind of artefact, against a plane's own process, then a thousand updates that are
cut. Ends with one line of JSON."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from tests.updates.attacks import ATTACKS, KINDS, refused
from tests.updates.cuts import Bench, interrupted
from tests.updates.scene import Scene, hall

CUTS = int(os.environ.get("CUTS", "1000"))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    figures = {"attacks": 0, "refused": 0, "interruptions": 0, "stranded": 0}
    with tempfile.TemporaryDirectory() as name, hall(Path(name)) as here:
        for attack in ATTACKS:
            for kind in KINDS:
                figures["attacks"] += 1
                try:
                    said = refused(Scene(here, Path(name) / f"{attack}-{kind}", kind), attack)
                except Exception as error:
                    print(f"NOT REFUSED {attack} of a {kind}: {type(error).__name__}: {error}", file=sys.stderr)
                    continue
                figures["refused"] += 1
                print(f"refused     {attack} of a {kind}: {said}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as name:
        figures["interruptions"], figures["stranded"] = interrupted(Bench(Path(name)), CUTS, _say)
    print(json.dumps(figures))
    return 0 if figures["refused"] == figures["attacks"] and not figures["stranded"] else 1


if __name__ == "__main__":
    sys.exit(main())
