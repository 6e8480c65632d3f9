"""The console's words and colours, read from its sources."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("cv2", reason="needs the vision extra")

from edge import Quality
from edge.event import SEVERITIES
from models.vision.tools.contract import ToolConfig

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "sync" / "console" / "src"
SAYS = (
    r'\bEvent\(\s*"(\w+)"',
    r'\bEvent\(\s*"\w+",\s*[\w.]+,\s*"(\w+)"',
    r'\b(?:source|health|self)\.count\((?:\w+, )?"(\w+)"',
    r'_giv(?:e|en)_up\(.*?"(\w+)"\)',
    r'outcome\([^()]*, "(\w+)"',
    r'\.state\([^()]*?, "(\w+)"',
    r'\b_event\((?:row|int\(row\)), "(\w+)"',
    r'gap\(.*"(\w+)"',
    r'return "(the disk [\w ]+)"',
)


def test_every_word_a_device_can_say_has_chinese() -> None:
    words = (SOURCES / "words.ts").read_text("utf-8")
    listed = words.partition("DEVICE_ZH")[2].partition("};")[0]
    known = set(re.findall(r'\b"?([a-z][a-z_ ]*)"?: "[^"]*[\u4e00-\u9fff]', listed))
    said = {*SEVERITIES, *(q.name.lower() for q in Quality), "raised", "cleared", "ok", "ng", "recheck", "timeout"}
    for package in ("edge", "drivers", "models", "sync"):
        for path in (ROOT / package).rglob("*.py"):
            if not {"bench", "train", "node_modules"} & set(path.parts) and path.name != "testing.py":
                text = path.read_text("utf-8")
                said |= {word for pattern in SAYS for word in re.findall(pattern, text)}
    assert {"overruns", "expired", "superseded", "journal_full", "waiting", "unshelved"} < said, (
        "the patterns find them"
    )
    assert sorted(said - known) == []


TOOLS = ROOT / "models" / "vision" / "tools"
SENTENCES = [ROOT / "models" / "cases" / "stage.py", *sorted(TOOLS.glob("[a-z]*.py"))]
SENTENCES += [ROOT / "models" / "vision" / f"{n}.py" for n in ("judging", "part")]
ORDERS = [ROOT / "edge" / "reviews.py", ROOT / "sync" / "device" / "orders.py"]
ORDERS += [ROOT / "sync" / "control_plane" / "silent.py"]


def fixed(node: ast.AST) -> list[str]:
    """The words of a string that are always the same; none where it is no sentence."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    words = [p.value for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str)]
    return words if " " in "§".join(words).strip() and not words[0].startswith("WHERE ") else []


def sentences(path: Path) -> Iterator[str]:
    """What a part's operator or reviewer may read: what a finding, a refusal or a text is made of."""
    tree = ast.parse(path.read_text("utf-8"))
    inside = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
    raised = {id(v) for n in ast.walk(tree) if isinstance(n, ast.Raise) for v in ast.walk(n)}
    for node in ast.walk(tree):
        makes: list[ast.AST] = []
        if isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
            makes = [node.value] if names & {"text", "told", "said", "why", "wanted", "places", "left"} else []
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            mine = {"Finding", "missing", "append", "_refused"} | ({"LinesideError"} if path in ORDERS else set())
            makes = [node] if called in mine else []
        for made in makes:
            for part in ast.walk(made):
                if id(part) not in inside and (path in ORDERS or id(part) not in raised):
                    yield from fixed(part)


def test_every_sentence_about_a_part_or_an_order_has_chinese() -> None:
    listed = (SOURCES / "sentences.ts").read_text("utf-8").partition("const SENTENCES")[2].partition("];")[0]
    pairs = re.findall(r'^  \["(.*)", "(.*)"\],$', listed, re.M)
    assert len(pairs) > 60
    for english, chinese in pairs:
        holes = {f"{{{n}}}" for n in range(english.count("{}"))}
        assert holes == set(re.findall(r"\{\d\}", chinese)) and re.search("[\u4e00-\u9fff]|：", chinese), english
    known = "\n".join(english for english, _ in pairs)
    said = {(path.name, word.strip(" ;:()§")) for path in [*SENTENCES, *ORDERS] for word in sentences(path)}
    assert {("code.py", "no code can be read"), ("reviews.py", "was reviewed already")} <= said, "they are found"
    assert sorted((path, word) for path, word in said if re.search("[a-z]{2}", word) and word not in known) == []


def test_every_limit_of_a_tool_has_chinese() -> None:
    words = (SOURCES / "words.ts").read_text("utf-8").partition("const LIMIT_ZH")[2].partition("};")[0]
    known = set(re.findall(r'\b(\w+): "', words))
    numbers: set[str] = set()
    kinds = [ToolConfig]
    for path in sorted(TOOLS.glob("[a-z]*.py")):
        importlib.import_module(f"models.vision.tools.{path.stem}")
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        annotated = {name: str(field.annotation) for name, field in kind.model_fields.items()}
        numbers |= {name for name, kind_of in annotated.items() if re.search(r"\b(int|float)\b", kind_of)}
    assert {"ng_above", "least"} <= numbers and sorted(numbers - known) == []


def contrast(one: str, other: str) -> float:
    """WCAG 2.2 contrast of two colours "#rrggbb"."""

    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(theme: str) -> None:
    style = (SOURCES / "style.css").read_text("utf-8")
    (block,) = [b for b in re.findall(r":root[^{]*\{([^}]*)\}", style) if f"color-scheme: {theme};" in b]
    colour = dict(re.findall(r"--(\w+): (#\w{6})", block))
    texts, grounds = ("ink", "quiet", "accent", "bad", "warn", "calm"), ("ground", "panel", "badground", "warnground")
    pairs = [(text, ground) for text in texts for ground in grounds] + [("panel", "accent")]
    assert [(a, b) for a, b in pairs if contrast(colour[a], colour[b]) < 4.5] == []
