"""Plain data -> YAML, which `places` reads as the same data again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from .places import Secret, scalar


def shown(value: Any) -> str:
    """A value in one line of YAML."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, sort_keys=False, width=2**20
    )
    return text.removesuffix("\n...\n").strip()


def written(data: Mapping[str, Any]) -> str:
    """A document as YAML; the same data give the same text."""
    return str(yaml.dump(dict(data), Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=120))


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    """Quoted where YAML 1.2 would read something else."""
    plain = scalar(text) == text and isinstance(scalar(text), str)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Secret, lambda dumper, name: dumper.represent_scalar("!secret", str(name)))
