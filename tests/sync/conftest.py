"""The plane's tests run on both of its databases; readers that talk to a broker have a real one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import Broker
from tests.postgres import Postgres, absent, running
from tests.walks import WALKS

PAIRS = {("sqlite", "https"), ("postgresql", "mqtts")}  # each database and each way of a test that has both


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    pytest.importorskip("psycopg", reason="needs the postgres extra")
    if missing := absent():
        pytest.skip(f"{missing} (make system-packages)")
    with running("fsync=off", "full_page_writes=off", "autovacuum=off", "max_connections=50") as server:
        yield server


@pytest.fixture(scope="session")
def fresh(postgres: Postgres) -> str:
    """The name of a database with the tables of this version, to be copied: each step of the migrations costs."""
    from sync.control_plane.database import opened

    name = postgres.database()
    opened(postgres.address(name)).dispose()
    return name


@pytest.fixture(scope="session")
def fresh_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file of SQLite."""
    from sync.control_plane.database import opened

    path = tmp_path_factory.mktemp("fresh") / "plane.db"
    opened(f"sqlite:///{path}").dispose()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database in which nothing has happened yet, which a plane in `tmp_path/plane` uses."""
    yield from _made(request, tmp_path / "plane", copied=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def without_tables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The same before its first plane."""
    yield from _made(request, tmp_path / "plane", copied=False)


def _made(request: pytest.FixtureRequest, folder: Path, copied: bool) -> Iterator[str]:
    way = getattr(request.node, "callspec", request).params.get("way")
    if way and not WALKS and (request.param, way) not in PAIRS:
        pytest.skip("the other two pairs of a database and a way: make walks")
    folder.mkdir(mode=0o700)
    if request.param == "sqlite":
        if copied:
            shutil.copy(request.getfixturevalue("fresh_file"), folder)
        yield f"sqlite:///{folder / 'plane.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = server.database(f"TEMPLATE {request.getfixturevalue('fresh')}" if copied else "")
    (folder / "database").write_text(server.address(name))
    yield server.address(name)
    server.drop(name)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as broker:
        yield broker
