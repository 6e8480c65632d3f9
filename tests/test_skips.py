"""A test that is skipped says what to install or to set, so that a person can make it run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent
SAYS_HOW = r"make [a-z]|\bextra\b|pip install|DATA=|its registry|mount -t"
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT.parent / "Makefile").read_text("utf-8"), re.M))


def reasons() -> Iterator[tuple[str, str]]:
    """(place, reason) of each skip, skipif and importorskip; a reason's changing parts are left out."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name = node.func.attr
                if name in ("skipif", "importorskip") or (name == "skip" and ast.unparse(node.func) == "pytest.skip"):
                    given = [k.value for k in node.keywords if k.arg == "reason"] or node.args[:1]
                    parts = [n for n in ast.walk(given[0]) if isinstance(n, ast.Constant)]
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", "".join(str(part.value) for part in parts)


def test_each_reason_says_how_to_make_it_run() -> None:
    found = list(reasons())
    assert len(found) >= 10
    assert [f"{place}: {reason}" for place, reason in found if not re.search(SAYS_HOW, reason)] == []


def test_the_targets_they_name_exist() -> None:
    assert {target for _, reason in reasons() for target in re.findall(r"make ([a-z0-9-]+)", reason)} <= TARGETS
