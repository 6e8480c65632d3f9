"""The plane's tests run on both of its databases; readers that talk to a broker have a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import Broker
from tests.postgres import Postgres, absent, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    pytest.importorskip("psycopg", reason="needs the postgres extra")
    if missing := absent():
        pytest.skip(f"{missing} (make system-packages)")
    with running("fsync=off", "max_connections=50") as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database, which a plane in `tmp_path/plane` uses."""
    folder = tmp_path / "plane"
    folder.mkdir(mode=0o700)
    if request.param == "sqlite":
        yield f"sqlite:///{folder / 'plane.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = server.database()
    (folder / "database").write_text(server.address(name))
    yield server.address(name)
    server.drop(name)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as broker:
        yield broker
