"""What the shipped packages say of themselves to a person."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.package import SHIPPED, describe


@pytest.mark.parametrize("folder", sorted(SHIPPED.iterdir()), ids=lambda folder: folder.name)
def test_each_shipped_package_has_a_card(folder: Path) -> None:
    card, model = (folder / "card.md").read_text(), describe(folder)
    assert card.startswith(f"# {folder.name}\n") and f"Licence: {model.licence}" in card and model.data in card
    assert "Seed 1, " in card and all(label in card for label in model.labels)


def test_the_card_of_the_washer_is_that_of_its_figures() -> None:
    pytest.importorskip("torch", reason="needs the train extra")
    from models.train.washer import card

    figures = json.loads((SHIPPED / "washer/figures.json").read_text())
    assert (SHIPPED / "washer/card.md").read_text() == card(figures)
