"""One model over one subtree: pydantic's errors become Problems with places, hints and no repetition."""

from __future__ import annotations

import difflib
import re
import types
import typing
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .places import Path_, Tree

M = TypeVar("M", bound=BaseModel)


def bind(model: type[M], data: Any, tree: Tree, path: Path_) -> M | None:
    """Validate `data` (the subtree at `path`) by `model`; faults go to `tree.problems`, then the result is None."""
    if data is None:
        data = {}
    if not isinstance(data, dict):
        tree.fault(path, f"expected options (key: value), found {_shown(data)}")
        return None
    before = len(tree.problems)
    try:
        bound = model.model_validate(data, context={"site": True, "folder": tree.folder})
    except ValidationError as error:
        _faults(model, error, tree, path)
        return None
    except RecursionError:
        tree.fault(path, "nested too deeply")
        return None
    return bound if len(tree.problems) == before else None


def _faults(model: type[BaseModel], error: ValidationError, tree: Tree, path: Path_) -> None:
    details = error.errors(include_url=False, include_context=True)
    unknown = [d for d in details if d["type"] == "extra_forbidden"]
    near: set[Path_] = set()
    before = len(tree.problems)
    for detail in unknown:
        loc = tuple(detail["loc"])
        known = options(model, loc[:-1])
        match = difflib.get_close_matches(str(loc[-1]), known, 1, 0.6)
        if match:
            near.add((*loc[:-1], match[0]))
            hint = f"did you mean {match[0]!r}?"
        else:
            hint = f"known here: {', '.join(known)}" if known else ""
        tree.fault((*path, *loc), f"unknown option {str(loc[-1])!r}", hint, key=True)
    for detail in details:
        loc = tuple(step for step in detail["loc"] if step != "[key]")
        if detail["type"] == "extra_forbidden" or loc in near:
            continue
        where = (*path, *loc)
        if any(problem.path == where for problem in tree.problems[:before]):
            continue  # reading it failed already, and was said
        if detail["type"] == "missing":
            tree.fault(where, "is missing", f"it belongs under {'.'.join(map(str, where[:-1])) or 'the site'}")
            continue
        message = _message(detail)
        if where in tree.secrets:
            message = "the secret is not what this option needs"
        tree.fault(where, message, key="[key]" in detail["loc"])


def _message(detail: Any) -> str:
    kind, said, given = detail["type"], detail["msg"], detail.get("input")
    if kind == "value_error":
        return said.removeprefix("Value error, ")
    if kind in ("too_long", "too_short"):
        limit = detail["ctx"]
        most = "at most" if kind == "too_long" else "at least"
        return (
            f"takes {most} {limit['max_length' if kind == 'too_long' else 'min_length']}, not {limit['actual_length']}"
        )
    said = said.replace("Input should be", "must be").replace("a valid ", "a ")
    for stiff, plain in (
        ("must be a string", "must be text"),
        ("must be a integer", "must be a whole number"),
        ("must be a dictionary", "must be options (key: value)"),
        ("must be a list", "must be a list ([a, b] or lines with -)"),
    ):
        said = said.replace(stiff, plain)
    said = re.sub(r" or instance of \w+", "", said.split(", unable to parse")[0])
    return f"{said}, not {_shown(given)}" if kind != "missing" else said


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "options"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def options(model: Any, loc: Path_) -> list[str]:
    """The option names that may stand at `loc` below a model."""
    for step in loc:
        model = _below(model, step)
    model = _model_in(model)
    if model is None:
        return []
    return [info.alias or name for name, info in model.model_fields.items()]


def _below(annotation: Any, step: Any) -> Any:
    model = _model_in(annotation)
    if model is not None:
        for name, info in model.model_fields.items():
            if step in (name, info.alias):
                return info.annotation
        return None
    for part in _parts(annotation):
        origin, args = typing.get_origin(part), typing.get_args(part)
        if origin in (dict, list) and args:
            return args[-1]
    return None


def _parts(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None
