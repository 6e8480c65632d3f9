"""What native code makes of a file is tried in a child first, with a time limit: a truncated or hostile model may crash or hang
that child, never the daemon."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL

from edge import ModelRefused

WITHIN = 60.0  # seconds


def in_child(module: str, path: Path) -> None:
    """Run `python -m module path`; blocks. Raises ModelRefused with the last line it said, when it fails or takes too long."""
    words = [sys.executable, "-P", "-m", module, str(path)]  # -P: nothing comes from where we were started
    try:
        child = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=WITHIN)
    except subprocess.TimeoutExpired:
        raise ModelRefused(f"{path.name} did not answer within {WITHIN:g} s") from None
    if child.returncode:
        if child.returncode == -SIGKILL:  # here() makes the child the first that the system ends
            hint = "most likely for want of memory: `free -m` says what there is; try it again with more"
            raise ModelRefused(f"{path.name} is refused: what tried it was killed", hint=hint)
        said = (child.stdout.strip().splitlines() or ["it crashed the interpreter"])[-1]
        raise ModelRefused(f"{path.name} is refused: {said}", hint="copy it here anew")


def here(prove: Callable[[Path], None]) -> int:
    """The child's side: 0, or 1 after it said why not."""
    try:
        with suppress(OSError):  # a model that takes all memory takes this child along, not the daemon
            Path("/proc/self/oom_score_adj").write_text("1000")
        prove(Path(sys.argv[1]))
    except Exception as error:  # the engines' errors share no base
        print(" ".join(str(error).split())[:300] or type(error).__name__)
        return 1
    return 0
