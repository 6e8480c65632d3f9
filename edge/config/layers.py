"""Documents laid over one another: what a later one says goes before what an earlier one does, key by key; a list takes the place
of a list as a whole, and null takes a key away (RFC 7386). Each piece keeps the place in the document that it came from.

A document is what a site is, without what belongs to the device that has it: its id, and those options of a section that its model
names in `stays`.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import plugins
from ..errors import ConfigFault
from .dump import shown, written
from .places import MOST_BYTES, Path_, Place, Tree, _Reading

STAYS: dict[str, tuple[str, ...]] = {"device": ("id",)}
_elsewhere = contextvars.ContextVar("elsewhere", default=False)


def document(text: str, name: str) -> Tree:
    """One document. `!secret` stays a reference, nothing else is read, and what belongs to the device is a fault. Never raises for
    what a person wrote."""
    tree = Tree()
    tree.places[()] = Place(name, 1, 1)
    if len(text.encode()) > MOST_BYTES:
        tree.fault((), f"larger than {MOST_BYTES:,} bytes", "lay several over one another")
        return tree
    tree.data = _Reading(tree, None, kept=True).text(text, name, (), ())
    if tree.data is None and not tree.problems:
        tree.data = {}
    if not isinstance(tree.data, dict):
        if not tree.problems:
            tree.fault((), "expected sections (key: value)")
        tree.data = {}
    for section, options in _own(tree.data).items():
        for option in options:
            hint = "it stands in the file on the device, and nothing that is sent there changes it"
            tree.fault((section, option), "belongs to the device", hint, key=True)
    _no_files(tree, tree.data.get("drivers"), ("drivers",))
    return tree


def _no_files(tree: Tree, data: Any, at: Path_) -> None:
    """A template is a shipped one: a file lies on the device, and what it says is not known here."""
    for key, value in data.items() if isinstance(data, dict) else ():
        if key == "template" and isinstance(value, str) and not value.isidentifier():
            tree.fault((*at, key), f"{value!r} is a file", "what is sent to a device takes shipped templates only")
        _no_files(tree, value, (*at, key))


def _own(data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What of a site belongs to its device."""
    out = {}
    for section, body in data.items():
        stays = STAYS.get(section) or _stays(section)
        if isinstance(body, dict) and (found := {key: body[key] for key in stays if key in body}):
            out[section] = found
    return out


def _stays(section: str) -> tuple[str, ...]:
    if section not in plugins.names("configs"):
        return ()
    try:
        return tuple(getattr(plugins.find("configs", section), "stays", ()))
    except ConfigFault:
        return ()


def parted(data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what belongs to the device, the document that is left) of a whole site. A section of which only the first is left is none
    of the document."""
    own = _own(data)
    rest: dict[str, Any] = {}
    for section, body in data.items():
        if section in own:
            body = {key: value for key, value in body.items() if key not in own[section]}
            if not body:
                continue
        rest[section] = body
    return own, without_nulls(rest)


def laid(trees: Sequence[Tree]) -> Tree:
    """All of them, the first at the bottom."""
    out = Tree(data={})
    for tree in trees:
        out.data = _over(out, out.data, tree, tree.data, ())
        out.secrets |= tree.secrets
        out.problems += tree.problems
    out.secrets &= out.places.keys()
    return out


def _over(out: Tree, below: Any, tree: Tree, data: Any, at: Path_) -> Any:
    if not isinstance(data, dict):
        _drop(out, at)
        _copy(out, tree, data, at)
        return data
    if not isinstance(below, dict):
        _drop(out, at)
        below = {}
    out.places[at] = tree.places.get(at, out.places.get(at, Place("", 1, 1)))
    merged = dict(below)
    for key, value in data.items():
        path = (*at, key)
        if value is None:
            merged.pop(key, None)
            _drop(out, path)
            continue
        if (found := tree.keys.get(path)) is not None:
            out.keys[path] = found
        merged[key] = _over(out, below.get(key), tree, value, path)
    return merged


def _copy(out: Tree, tree: Tree, data: Any, at: Path_) -> None:
    out.places[at] = tree.places.get(at, Place("", 1, 1))
    if at in tree.keys:
        out.keys[at] = tree.keys[at]
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inside:
        _copy(out, tree, value, (*at, key))


def _drop(out: Tree, at: Path_) -> None:
    for kept in (out.places, out.keys):
        for path in [path for path in kept if path[: len(at)] == at]:
            del kept[path]


def origins(tree: Tree) -> dict[str, str]:
    """By the path of each value (a list is one): the name of the document that it came from."""
    out: dict[str, str] = {}

    def walk(data: Any, at: Path_) -> None:
        if isinstance(data, dict) and data:
            for key, value in data.items():
                walk(value, (*at, key))
        elif at:
            out[".".join(map(str, at))] = tree.place(at).file

    walk(tree.data, ())
    return out


def without_nulls(data: Any) -> Any:
    """A null says what a missing key does."""
    if not isinstance(data, dict):
        return data
    return {key: without_nulls(value) for key, value in data.items() if value is not None}


def difference(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """The least document that makes `above` of `below` when it is laid over it; neither has nulls."""
    out: dict[str, Any] = {key: None for key in below if key not in above}
    for key, value in above.items():
        old = below.get(key)
        if key in below and isinstance(old, dict) and isinstance(value, dict):
            if more := difference(old, value):
                out[key] = more
        elif key not in below or not same(old, value):
            out[key] = value
    return out


def same(one: Any, other: Any) -> bool:
    """Equal, and of one kind: 1 is not true."""
    return type(one) is type(other) and written({"": one}) == written({"": other})


def changes(below: Mapping[str, Any], above: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """What is to be seen of the difference, a line for each value: `+ key: new`, `- key: old`, `key: old -> new`."""
    for key in dict.fromkeys([*below, *above]):
        path = f"{at}.{key}" if at else str(key)
        old, new = below.get(key), above.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from changes(old, new, path)
        elif key not in below:
            yield f"+ {path}: {shown(new)}"
        elif key not in above:
            yield f"- {path}: {shown(old)}"
        elif not same(old, new):
            yield f"{path}: {shown(old)} -> {shown(new)}"


@contextmanager
def elsewhere() -> Iterator[None]:
    """Within it sites are looked at that belong to another machine: whether a file is there nobody can say."""
    token = _elsewhere.set(True)
    try:
        yield
    finally:
        _elsewhere.reset(token)


def is_elsewhere() -> bool:
    return _elsewhere.get()


def lacks(path: Path) -> bool:
    """Whether a file or folder that a site names is not there."""
    return not _elsewhere.get() and not path.exists()
