"""YAML with places: text -> plain data plus where each piece stands. PyYAML is imported here and nowhere else.

YAML 1.2 core schema only: true/false, null, decimal/0o/0x integers, floats; `no`, `1:30`, `012` and dates are text.
Duplicate keys are faults, merge keys and foreign tags too; aliases, size and depth are bounded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_Parser: Any = getattr(yaml, "CSafeLoader", None)  # in C, eight times as fast; absent without libyaml

MOST_BYTES, MOST_DEPTH, MOST_NODES = 1_000_000, 24, 200_000
MOST_DIGITS = 60  # what is longer is no number
Step = str | int
Path_ = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: `file`, and `line` and `column` counted from one."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a site: where, what, and what to do. `path` is where in the tree; ordered by place when printed."""

    place: Place
    path: Path_
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = ".".join(str(step) for step in self.path)
        text = f"{self.place}: {where}: {self.message}" if where else f"{self.place}: {self.message}"
        return f"{text}, {self.hint}" if self.hint else text

    def as_json(self) -> dict[str, Any]:
        return {
            "file": self.place.file,
            "line": self.place.line,
            "column": self.place.column,
            "path": list(self.path),
            "message": self.message,
            "hint": self.hint,
        }


@dataclass(slots=True)
class Tree:
    """Plain data, the place of each path, the place of each key, and the faults met while reading.

    `secrets` are the paths whose text came from `!secret`; `files` all files that were read, `folder` that of the site. Where
    nothing is wrong nobody asks for places, which are most of a large site: a tree that is not `placed` knows the files alone,
    until `locate` finds the rest.
    """

    data: Any = None
    places: dict[Path_, Place] = field(default_factory=dict)
    keys: dict[Path_, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    secrets: set[Path_] = field(default_factory=set)
    files: list[Path] = field(default_factory=list)
    folder: Path = field(default_factory=Path)
    placed: bool = True
    locate: Callable[[], Tree] | None = None

    def place(self, path: Path_, *, key: bool = False) -> Place:
        """The place of a path, or of its nearest parent that stands in a file."""
        if self.locate is not None:
            locate, self.locate = self.locate, None
            found = locate()
            self.places, self.keys = found.places, found.keys
        path = tuple(path)
        if key and path in self.keys:
            return self.keys[path]
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place("site", 1, 1))

    def forget(self) -> None:
        """Give up what was read and where it stands; the faults stay."""
        self.data, self.places, self.keys, self.locate = None, {}, {}, None

    def fault(self, path: Path_, message: str, hint: str = "", *, key: bool = False) -> None:
        self.problems.append(Problem(self.place(path, key=key), tuple(path), message, hint))


_PLAIN = {
    f"tag:yaml.org,2002:{kind}"
    for kind in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "map", "seq")
}


class Secret(str):
    """The name of a secret, where what it is stays unknown: a site as it is sent."""

    __slots__ = ()


class _InC(_Parser or object):  # type: ignore[misc]
    """What a plain scalar is, `scalar` says, by YAML 1.2: the loader need not find out by 1.1."""

    def resolve(self, kind: type, value: str, implicit: tuple[bool, bool]) -> str:
        return "tag:yaml.org,2002:str"

    def descend_resolver(self, parent: Any, index: Any) -> None: ...

    def ascend_resolver(self) -> None: ...


_Fast = _InC if _Parser else None
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
    **dict.fromkeys((".inf", ".Inf", "+.inf"), float("inf")),
    "-.inf": float("-inf"),
    ".nan": float("nan"),
}


def scalar(text: str) -> Any:
    """A plain (unquoted) scalar by the YAML 1.2 core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > MOST_DIGITS:
        return text
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _utf8(text: str) -> str:
    """Without halves of characters, which an escape can write and no file, socket or terminal takes."""
    return text if text.isascii() else text.encode(errors="replace").decode()


class _Reading:
    """One walk over one site with its included files. With `kept` a secret stays a `Secret`."""

    def __init__(self, tree: Tree, secrets: Path | None, kept: bool = False) -> None:
        self.tree, self.nodes, self.kept = tree, 0, kept
        self._secrets_file = secrets
        self._secrets: dict[str, Any] | None = None

    def file(self, path: Path, at: Path_, chain: tuple[Path, ...]) -> Any:
        self.tree.files.append(path)
        if not self.tree.placed:
            self.tree.places[at] = Place(str(path), 1, 1)
        try:
            if not path.is_file() and path.exists() and not path.is_dir():
                self.tree.fault(at, f"{path} is no file")
                return None
            if path.stat().st_size > MOST_BYTES:
                self.tree.fault(at, f"{path} is larger than {MOST_BYTES:,} bytes", "split it with !include")
                return None
            read = path.read_bytes()
            text = read.decode()
        except UnicodeDecodeError as error:
            before = read[: error.start].rpartition(b"\n")[2].decode(errors="replace")
            place = Place(str(path), read.count(b"\n", 0, error.start) + 1, len(before) + 1)
            self.tree.problems.append(Problem(place, at, "not UTF-8 text", "save it as UTF-8"))
            return None
        except OSError as error:
            self.tree.fault(at, f"cannot read {path}: {error.strerror}")
            return None
        return self.text(text, str(path), at, chain)

    def text(self, text: str, name: str, at: Path_, chain: tuple[Path, ...]) -> Any:
        try:
            node = _node(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = Place(name, mark.line + 1, mark.column + 1) if mark else Place(name, 1, 1)
            said = error.problem or str(error)
            hint = "a tab cannot indent YAML, use spaces" if "\\t" in said or "tab" in said else ""
            self.tree.problems.append(Problem(place, at, f"not YAML: {said}", hint))
            return None
        except yaml.reader.ReaderError as error:
            before = text[: error.position]
            place = Place(name, before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1)
            self.tree.problems.append(
                Problem(place, at, f"not YAML: the character {error.character!r} cannot stand here")
            )
            return None
        except RecursionError:
            self.tree.problems.append(Problem(_too_deep(text, name), at, f"more than {MOST_DEPTH} levels deep"))
            return None
        except (yaml.YAMLError, ValueError) as error:
            self.tree.problems.append(Problem(Place(name, 1, 1), at, f"not YAML: {error}"))
            return None
        if node is None:
            self.tree.places.setdefault(at, Place(name, 1, 1))
            return None
        return self.node(node, name, at, chain, ())

    def node(self, node: yaml.Node, name: str, at: Path_, chain: tuple[Path, ...], above: tuple[int, ...]) -> Any:
        if self.tree.placed:
            self.tree.places[at] = _place(node, name)
        self.nodes += 1
        if self.nodes > MOST_NODES or len(above) > MOST_DEPTH or id(node) in above:
            if self.nodes <= MOST_NODES + 1:
                self.tree.fault(at, "too deep or too many pieces", "an alias that repeats itself, or a bomb")
            self.nodes += MOST_NODES if id(node) in above else 0
            return None
        above = (*above, id(node))
        if isinstance(node, yaml.ScalarNode):
            node.value = _utf8(node.value)
            return self.leaf(node, name, at, chain)
        if node.tag not in _PLAIN:
            self.tree.fault(at, f"unknown YAML tag {node.tag}", "only !secret and !include exist")
            return None
        if isinstance(node, yaml.SequenceNode):
            return [self.node(child, name, (*at, i), chain, above) for i, child in enumerate(node.value)]
        out: dict[Any, Any] = {}
        for key_node, child in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                key_node.value = _utf8(key_node.value)
            key = scalar(key_node.value) if isinstance(key_node, yaml.ScalarNode) and not key_node.style else None
            if isinstance(key_node, yaml.ScalarNode) and key_node.style:
                key = key_node.value
            if isinstance(key, bool) or key is None or not isinstance(key, (str, int)):
                text = getattr(key_node, "value", "?") if isinstance(key_node, yaml.ScalarNode) else "a structure"
                key = text if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                self.tree.problems.append(Problem(_place(key_node, name), at, "a key must be a word or a number"))
                continue
            if key == "<<":
                said = "merge keys (<<) are not supported"
                self.tree.problems.append(Problem(_place(key_node, name), at, said, "use !include"))
                continue
            path = (*at, key)
            if key in out:
                hint = f"first in line {self.tree.place(path, key=True).line}; remove one"
                self.tree.problems.append(Problem(_place(key_node, name), path, f"{key!r} stands twice", hint))
                continue
            if self.tree.placed:
                self.tree.keys[path] = _place(key_node, name)
            out[key] = self.node(child, name, path, chain, above)
        return out

    def leaf(self, node: yaml.ScalarNode, name: str, at: Path_, chain: tuple[Path, ...]) -> Any:
        if node.tag == "!secret":
            return self.secret(node.value, at)
        if node.tag == "!include" and not chain:
            self.tree.fault(at, "what is sent to a device is one document", "write here what that file says")
            return None
        if node.tag == "!include":
            path = (Path(name).parent / node.value.replace("\0", "?")).resolve()
            if path in chain:
                self.tree.fault(at, f"{node.value} includes itself")
                return None
            if len(chain) > 8:
                self.tree.fault(at, "more than 8 includes inside each other")
                return None
            return self.file(path, at, (*chain, path))
        if node.tag not in _PLAIN and node.tag != "!":
            self.tree.fault(at, f"unknown YAML tag {node.tag}", "only !secret and !include exist")
            return None
        return node.value if node.style else scalar(node.value)

    def secret(self, key: str, at: Path_) -> str | None:
        """A secret from the environment (LINESIDE_SECRET_NAME) or from secrets.yaml beside the site."""
        self.tree.secrets.add(at)
        if self.kept:
            return Secret(key)
        found = os.environ.get(f"LINESIDE_SECRET_{key.upper()}")
        if found is None and self._secrets is None:
            self._secrets = {}
            if self._secrets_file and self._secrets_file.is_file():
                other = Tree()
                data = _Reading(other, None).file(self._secrets_file, (), ())
                self.tree.problems += other.problems
                self._secrets = data if isinstance(data, dict) else {}
        if found is None and self._secrets:
            found = self._secrets.get(key)
        if found is None:
            self.tree.fault(
                at,
                f"no secret is called {key!r}",
                f"put it into secrets.yaml beside the site or into LINESIDE_SECRET_{key.upper()}",
            )
            return None
        return str(found)


def _place(node: yaml.Node, name: str) -> Place:
    return Place(name, node.start_mark.line + 1, node.start_mark.column + 1)


def _node(text: str) -> Any:
    """The text as nodes. What the fast parser does not take, the other one says better, with its place."""
    if _Fast is not None:
        with suppress(yaml.YAMLError, ValueError, RecursionError):
            return yaml.compose(text, Loader=_Fast)
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _too_deep(text: str, name: str) -> Place:
    """Where a text first goes deeper than MOST_DEPTH."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH and event.start_mark:
            return Place(name, event.start_mark.line + 1, event.start_mark.column + 1)
    return Place(name, 1, 1)


def read(path: Path, *, placed: bool = True) -> Tree:
    """Read a site file with everything it includes. Never raises for what a person wrote: see `Tree.problems`."""
    tree = Tree(placed=placed)
    tree.places[()] = Place(str(path), 1, 1)
    tree.data = _Reading(tree, path.parent / "secrets.yaml").file(path, (), (path.resolve(),))
    return tree


def read_kept(path: Path) -> Tree:
    """The same, with each secret as its name."""
    tree = Tree()
    tree.places[()] = Place(str(path), 1, 1)
    tree.data = _Reading(tree, None, kept=True).file(path, (), (path.resolve(),))
    return tree


def read_text(text: str, name: str = "site.yaml", *, placed: bool = True) -> Tree:
    """The same for text in hand; `!include` and secrets.yaml are looked for beside `name`."""
    tree = Tree(placed=placed)
    tree.places[()] = Place(name, 1, 1)
    if len(text.encode()) > MOST_BYTES:
        tree.fault((), f"larger than {MOST_BYTES:,} bytes", "split it with !include")
        return tree
    tree.data = _Reading(tree, Path(name).parent / "secrets.yaml").text(text, name, (), (Path(name).resolve(),))
    return tree


def read_alone(text: str, name: str) -> Tree:
    """The same for text that somebody sent: nothing else is read, and `!secret` stays a name."""
    tree = Tree()
    tree.places[()] = Place(name, 1, 1)
    tree.data = _Reading(tree, None, kept=True).text(text, name, (), ())
    return tree


def read_yaml(path: Path) -> tuple[Any, list[str]]:
    """Any YAML file under the same rules as a site: (plain data, faults with their places). Never raises for its content."""
    tree = read(path)
    return tree.data, [str(problem) for problem in tree.problems]
