"""Which devices somebody sees, and that no route is served of which nobody has said who may ask."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from fastapi import APIRouter
from sqlalchemy import select

from edge import LinesideError
from sync.control_plane import tables
from sync.control_plane.access import Asker, Asks, declared
from sync.control_plane.database import insert_new
from sync.control_plane.permissions import PERMISSIONS, ROLES, TABLE, Of
from sync.control_plane.store import Store
from sync.control_plane.tree import below, node
from tests.sync.stored import with_store

PLACES = {
    "a1": "acme/suzhou/line-1",
    "a2": "acme/suzhou/line-10",
    "a3": "acme",
    "b1": "ACME/suzhou/line-1",
    "b2": "acme-two/suzhou",
    "b3": "acme0",
    "c1": "苏州/三号线",
    "n1": "",
}


@pytest.mark.parametrize(
    ("places", "seen"),
    [
        (("",), set(PLACES)),
        (("acme",), {"a1", "a2", "a3"}),
        (("acme/suzhou/line-1",), {"a1"}),
        (("acme/suzhou", "苏州"), {"a1", "a2", "c1"}),
        (("acme/such",), set()),
        ((), set()),
    ],
)
def test_who_asks_gets_the_devices_below_their_nodes(database: str, places: tuple[str, ...], seen: set[str]) -> None:
    async def work(store: Store) -> None:
        rows = [{"id": d, "secret": "s", "enrolled": 1.0, "seen": 0.0, "site": site} for d, site in PLACES.items()]
        await store.write(lambda c: insert_new(c, tables.device, rows))
        asks = Asker("li", tuple(("viewer", place) for place in places)).scope("watch")
        t = tables.device
        listed = select(t.c.id).where(*asks.narrow(t.c.id))
        assert set(await store.read(lambda c: c.scalars(listed).all())) == seen
        for device in PLACES:
            assert await store.read(lambda c, d=device: asks.holds_device(c, d)) == (device in seen)  # type: ignore[misc]
        assert await store.read(lambda c: asks.holds_device(c, "stranger")) == ("" in places)
        assert await store.read(lambda c: asks.holds_device(c, "@plane")) == ("" in places)

    with_store(database, work)


def test_a_role_says_what_may_be_done_and_where() -> None:
    asker = Asker("li", (("viewer", "acme"), ("engineer", "acme/suzhou")))
    assert asker.scope("watch").places == ("acme", "acme/suzhou")
    assert asker.scope("write").places == ("acme/suzhou",)
    assert not asker.scope("people").places and not asker.scope("write").holds("acme/other")


@pytest.mark.parametrize("text", ["a//b", "/a", "a/", "a/../b", "a/./b", "a/ /b", "a\nb", "x" * 201, "/".join("a" * 9)])
def test_what_is_no_place_is_told(text: str) -> None:
    with pytest.raises(LinesideError, match="place"):
        node(text)


def test_a_place_is_one_however_it_is_written() -> None:
    assert node(" acme / su\u0308d ") == "acme/s\u00fcd" and node("") == ""
    assert below("acme/x", "acme") and below("acme", "acme") and below("any", "") and not below("acme2", "acme")


async def new(device: str = "") -> None: ...


async def narrowed(asks: Asks) -> None: ...


@pytest.mark.parametrize(
    ("path", "of", "handler", "words"),
    [
        ("/api/new", None, narrowed, r"POST /api/new declares no permission.*permissions\.py"),
        ("/api/new", Of.EACH, new, "does not ask whose.*asks: Asks"),
        ("/api/new", Of.DEVICE, new, "has no {device} in its path"),
        ("/api/new", Of.EACH, narrowed, ""),
        ("/api/new/{device}", Of.DEVICE, new, ""),
    ],
)
def test_a_route_says_who_may_ask(
    path: str, of: Of | None, handler: object, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = APIRouter()
    router.add_api_route(path, handler, methods=["POST"])  # type: ignore[arg-type]
    if of:
        monkeypatch.setitem(TABLE, f"POST {path}", TABLE["GET /api/devices"]._replace(of=of))
    if words:
        with pytest.raises(LinesideError, match=words):
            declared(router.routes)
    else:
        declared(router.routes)


def test_roles_and_routes_name_permissions_that_there_are() -> None:
    assert set.union(*map(set, ROLES.values())) == set(PERMISSIONS)
    assert all(need.permission in PERMISSIONS or need.of in (Of.SELF, Of.ANYONE) for need in TABLE.values())
    assert [role for role, may in ROLES.items() if "plane" in may] == ["platform_admin"]
