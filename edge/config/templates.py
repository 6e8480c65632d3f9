"""Device templates: a register map once, many devices. `template: three_phase_meter` brings the options of that file, and what
the entry says itself goes before them, option by option.

Places stay exact: what came from a template stands in the template's file, as what came by `!include` stands in that one.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, Field

from ..shipped import shipped, templates
from .bind import _below, _model_in
from .places import Path_, Place, Problem, Tree, read

MOST_PIECES = 1_000_000  # that all templates of one site may bring
ABOUT = ("description", "source", "licence")  # what a template says of itself


class Templated(BaseModel):
    """An entry that can take options from a template; `from_template` names which ones a template may bring, `needs` the options
    of a tag that name another tag, which is then read too."""

    from_template: ClassVar[tuple[str, ...]] = ("tags",)
    needs: ClassVar[tuple[str, ...]] = ()
    template: str | None = Field(
        None, description="register map to take over: the name of a shipped one, or a file, as in maps/meter.yaml"
    )
    only: list[str] | None = Field(None, description="which tags of the template to read (all)")


class Templates:
    """Fills the entries of one site; every file is read once, and its faults are said once."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._read: dict[Path, Tree] = {}
        self._left = MOST_PIECES

    def fill(self, annotation: Any, data: Any, at: Path_) -> Any:
        """`data` (what stands at `at`, to be checked by the model in `annotation`) with the options of every template that it
        names. Faults go to the tree; never raises for what a person wrote."""
        if not isinstance(data, dict) or not _takes_templates(annotation):
            return data
        model = _model_in(annotation)
        if model is not None and issubclass(model, Templated):
            if data.get("template") is not None:
                data = self._filled(model, data, at)
            elif data.get("only") is not None:
                self.tree.fault((*at, "only"), "picks from a template, and none is named", "add `template:`", key=True)
        inner = model if model is not None else annotation
        return {key: self.fill(_below(inner, key), value, (*at, key)) for key, value in data.items()}

    def _filled(self, model: type[Templated], own: dict[Any, Any], at: Path_) -> dict[Any, Any]:
        other = self._template(own["template"], (*at, "template"))
        if other is None or self._left <= 0:  # said; without it the entry's own tags are halves
            return {key: value for key, value in own.items() if key not in (*model.from_template, "only")}
        theirs = {key: value for key, value in other.data.items() if key not in ABOUT}
        tags = theirs.get("tags")
        if isinstance(tags, dict) and isinstance(own.get("only"), list):
            picked = self._picked(own, list(map(str, tags)), at)
            chosen = [tags[name] for name in picked if isinstance(tags.get(name), dict)]
            wanted = {str(name) for name in picked} | {
                str(tag[key]) for tag in chosen for key in model.needs if key in tag
            }
            theirs["tags"] = {name: tag for name, tag in tags.items() if str(name) in wanted}
        for key in [key for key in theirs if key not in model.from_template]:
            theirs.pop(key)
            self._unknown(other, key, (*at, key), model.from_template)
        return self._merged(own, theirs, other, at, ())

    def _picked(self, own: dict[Any, Any], known: list[str], at: Path_) -> list[str]:
        for index, name in enumerate(own["only"]):
            if isinstance(name, str) and name not in known:
                near = difflib.get_close_matches(str(name), known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known[:20]) or 'none'}"
                self.tree.fault((*at, "only", index), f"the template has no tag {str(name)!r}", hint)
        mine = own.get("tags")
        return [*(n for n in own["only"] if isinstance(n, str)), *(mine if isinstance(mine, dict) else ())]

    def _unknown(self, other: Tree, key: Any, path: Path_, may: tuple[str, ...]) -> None:
        known = [*may, *ABOUT]
        near = difflib.get_close_matches(str(key), known, 1, 0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"a template may say {', '.join(known)}"
        self.tree.problems.append(
            Problem(other.place((key,), key=True), path, f"unknown option {str(key)!r} of a template", hint)
        )

    def _template(self, name: Any, at: Path_) -> Tree | None:
        """The template's own tree; None where it cannot be used, which is a fault then."""
        path = self._path(name, at) if isinstance(name, str) else None
        if path is None:
            return None  # said, or said by the model
        other = self._read.get(path)
        if other is None:
            other = self._read[path] = read(path, placed=self.tree.placed)
            self.tree.files += other.files
            if not path.is_file():
                self.tree.fault(at, other.problems[0].message)
            else:
                self.tree.problems += [replace(problem, path=(*at[:-1], *problem.path)) for problem in other.problems]
                if not other.problems and not isinstance(other.data, dict):
                    said = "the template is empty" if other.data is None else "a template is options (key: value)"
                    self.tree.problems.append(Problem(Place(str(path), 1, 1), at, said, "it begins with `tags:`"))
        return other if isinstance(other.data, dict) and not other.problems else None

    def _path(self, name: str, at: Path_) -> Path | None:
        if re.search(r"[/\\]|\.ya?ml$", name):
            return Path(self.tree.place(at).file).parent / name.replace("\0", "?")
        found = shipped(f"templates/{name}.yaml") if name.isidentifier() else None
        if found is None:
            known = templates()
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"shipped are {', '.join(known) or 'none'}"
            self.tree.fault(
                at, f"no template is called {name!r}", f"{hint}; a file is named with its ending: {name}.yaml"
            )
        return found

    def _merged(self, own: Any, theirs: Any, other: Tree, at: Path_, below: Path_) -> Any:
        if own is None or not isinstance(own, dict) or not isinstance(theirs, dict):
            if own is None:
                self._place(theirs, other, at, below)
            return theirs if own is None else own
        out = {}
        for key, value in theirs.items():
            if key in own:
                out[key] = self._merged(own[key], value, other, (*at, key), (*below, key))
            else:
                out[key] = value
                self._place(value, other, (*at, key), (*below, key))
        return out | {key: value for key, value in own.items() if key not in theirs}

    def _place(self, value: Any, other: Tree, at: Path_, below: Path_) -> None:
        """Give everything below `at` the places that it has in the template."""
        self._left -= 1
        if self._left <= 0:
            if self._left == 0:
                self.tree.fault(at, f"the templates bring more than {MOST_PIECES:,} pieces", "split the site")
            return
        for mine, others in ((self.tree.places, other.places), (self.tree.keys, other.keys)):
            if below in others and self.tree.placed:
                mine[at] = others[below]
        if below in other.secrets:
            self.tree.secrets.add(at)
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, piece in inner:
            self._place(piece, other, (*at, key), (*below, key))


def _takes_templates(annotation: Any) -> bool:
    """Whether an entry that can name a template stands anywhere in it."""
    model = _model_in(annotation)
    if model is None:
        inner = _below(annotation, "")
        return inner is not None and _takes_templates(inner)
    return issubclass(model, Templated) or any(
        _takes_templates(info.annotation) for info in model.model_fields.values()
    )
