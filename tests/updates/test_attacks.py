"""The short form of `make prove-updates`: each attack once, the kinds by turns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("tuf", reason="needs the updates extra")
pytest.importorskip("fastapi", reason="needs the plane extra")

from tests.updates.attacks import ATTACKS, KINDS, refused
from tests.updates.scene import Hall, Scene, hall


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    with hall(tmp_path_factory.mktemp("hall")) as found:
        yield found


@pytest.mark.system
@pytest.mark.parametrize(("name", "kind"), [(name, KINDS[i % len(KINDS)]) for i, name in enumerate(ATTACKS)])
def test_it_is_refused_and_what_runs_goes_on(here: Hall, tmp_path: Path, name: str, kind: str) -> None:
    refused(Scene(here, tmp_path / "scene", kind), name)
