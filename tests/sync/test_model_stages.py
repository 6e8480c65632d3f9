"""Versions of models from stage to stage: none is skipped, and each needs what devices and rollouts said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import Connection

from edge import Event, LinesideError, encode_event
from edge.cli import main
from sync import wire
from sync.control_plane import tables
from sync.control_plane.messages import Message
from sync.control_plane.model_stages import STAGES, history, listed, move, raise_if_not_due, stage_of
from sync.control_plane.rollout_options import from_words
from sync.control_plane.rollouts import act, start
from sync.control_plane.store import Store
from sync.control_plane.twin import Want, want
from tests.sync.stored import with_store

pytestmark = pytest.mark.usefixtures("database")
PUBLISHED = ["model/washer-3", "model/washer-10"]
NOW = 1_790_000_000_000_000_000
EPOCH = "00000000000000ab"


class Told:
    """What devices say, one event after another."""

    def __init__(self, store: Store) -> None:
        self.store, self.seq = store, 0

    async def __call__(self, kind: str, key: str, state: str, data: dict[str, Any], device: str = "press-1") -> None:
        self.seq += 1
        body = encode_event(Event(kind, key, state, NOW, "info", "", data))
        await self.store.write(Message(device, [wire.Frame(EPOCH, "event", self.seq, NOW, NOW, 1, body)]))

    async def shadow(self, parts: int, faults: int = 0, device: str = "press-1", version: str = "3") -> None:
        data = {"model": "washer", "version": version, "parts": parts, "agreed": parts - 2, "faults": faults}
        await self("model", "washer", "shadow", data | {"p95_ms": 4.5}, device)

    async def twin(self, state: str, running: str, tried: str = "3", device: str = "press-1") -> None:
        await self("twin", "model/washer", state, {"running": running, "tried": tried, "generation": 1}, device)


async def moved(store: Store, to: str = "", note: str = "", what: str = "washer-3") -> str:
    try:
        return (await store.write(lambda c: move(c, what, to, "li", note, PUBLISHED))).stage
    except LinesideError as error:
        return str(error)


def test_a_version_goes_from_stage_to_stage_with_what_each_needs(database: str) -> None:
    async def work(store: Store) -> None:
        tell = Told(store)
        assert "it can be validated next, and not production (no stage is skipped)" in await moved(store, "production")
        assert "nobody says what it was validated by (--note" in await moved(store)
        assert await moved(store, "", "mAP 98.9 on the October boards") == "validated"
        assert await moved(store) == "shadow"
        assert "it has seen 0 parts in shadow, 100 are needed" in await moved(store)
        await tell.shadow(60)
        await tell.shadow(60, device="press-2", version="2")
        assert "it has seen 60 parts" in await moved(store), "another version's parts are not its own"
        await tell.shadow(70, 3, device="press-2")
        assert "it could not judge 3 parts" in await moved(store)
        await tell.shadow(90, device="press-2")
        assert await moved(store) == "canary"
        assert "no device runs it" in await moved(store)
        await tell.twin("rolled_back", "2")
        assert "press-1 refused it or went back from it" in await moved(store)
        await tell.twin("running", "3")
        number, _ = await store.write(_rollout)
        assert f"rollout {number} of it is not done" in await moved(store)
        await store.write(lambda c: c.execute(tables.rollout.update().values(state="done")))
        assert await moved(store) == "production"
        (three,) = [one for one in await store.read(lambda c: listed(c, PUBLISHED)) if one["version"] == "3"]
        assert (three["stage"], three["by"], three["running"], three["failed"]) == ("production", "li", 1, [])
        assert (three["shadow_parts"], three["shadow_agreed"], three["shadow_p95_ms"]) == (150, 146, 4.5)
        await store.write(lambda c: want(c, [Want("press-1", "model", "washer", "3")]))
        assert "1 devices are to run it (bring another version" in await moved(store, "retired")
        await store.write(lambda c: want(c, [Want("press-1", "model", "washer", "2")]))
        again, _ = await store.write(_rollout)
        assert f"rollout {again} brings it to devices" in await moved(store, "retired")
        await store.write(lambda c: act(c, again, "halt", "li"))
        assert await moved(store, "retired") == "retired"
        with pytest.raises(LinesideError, match="model/washer-3 is retired"):
            await store.write(lambda c: act(c, again, "resume", "li"))
        assert "is retired: it stays so" in await moved(store)
        assert [one.stage for one in await store.read(lambda c: history(c, "washer", "3"))] == list(STAGES[1:])

    with_store(database, work)


def _rollout(connection: Connection) -> tuple[int, int]:
    row = {"id": "press-1", "secret": "", "key": "k", "enrolled": 1.0, "seen": 0.0}
    if not connection.execute(tables.device.select()).first():
        connection.execute(tables.device.insert().values(row))
    return start(connection, from_words({"what": "model/washer-3", "devices": {"all": True}}), "li")


def test_what_goes_to_devices_has_come_so_far(database: str) -> None:
    async def work(store: Store) -> None:
        async def due(version: str, use: str) -> str:
            try:
                await store.read(lambda c: raise_if_not_due(c, "model", "washer", version, use))
            except LinesideError as error:
                return str(error)
            return ""

        assert await due("3", "run") == "", "nobody moves versions of this model"
        assert await moved(store, "validated", "by hand") == "validated"
        assert "model/washer-3 is validated (`lineside plane model promote washer-3`" in await due("3", "shadow")
        with pytest.raises(LinesideError, match="model/washer-3 is validated"):
            await store.write(_rollout)
        assert await moved(store, "shadow") == "shadow"
        assert await due("3", "shadow") == "" and "it has to be canary to run" in await due("3", "run")
        assert "model/washer-10 is draft" in await due("10", "shadow")
        assert await store.read(lambda c: stage_of(c, "washer", "10")) == "draft"

    with_store(database, work)


@pytest.mark.parametrize(
    ("what", "to", "said"),
    [
        ("washer", "", "'washer' is no version of a model (write NAME-VERSION"),
        ("washer-9", "", "model/washer-9 is not among the updates of this plane"),
        ("washer-3", "nonsense", "'nonsense' is no stage of a model (there are draft"),
        ("washer-3", "draft", "it can be validated next, and not draft"),
    ],
)
def test_what_cannot_be_is_refused_in_words(database: str, what: str, to: str, said: str) -> None:
    async def work(store: Store) -> None:
        assert said in await moved(store, to, "x", what)

    with_store(database, work)


def test_by_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "plane"
    targets = folder / "updates" / "targets" / "model"
    targets.mkdir(parents=True)
    for name in ("3", "10"):
        (targets / f"{'0' * 64}.washer-{name}").write_bytes(b"")

    def does(*words: str) -> tuple[int, str]:
        code = main(["plane", "model", *words, "--folder", str(folder)])
        out = capsys.readouterr()
        return code, out.out + out.err

    assert "no plane has run" in does("list")[1]
    (folder / "ca.pem").write_text("")
    assert [line.split()[:2] for line in does("list")[1].splitlines()] == [
        ["model/washer-10", "draft"],
        ["model/washer-3", "draft"],
    ]
    assert does("promote", "washer-3", "--note", "by hand") == (0, "model/washer-3 is validated now\n")
    code, said = does("promote", "washer-3", "--to", "canary")
    assert code == 2 and "it can be shadow next, and not canary" in said
    assert does("retire", "washer-3")[1] == "model/washer-3 is retired now\n"
    told = [json.loads(line) for line in does("list", "--json")[1].splitlines()]
    assert [(one["version"], one["stage"]) for one in told] == [("10", "draft"), ("3", "retired")]
    assert "promote which version?" in does("promote")[1]
    assert "--to nowhere is for no such step" in does("promote", "washer-3", "--to", "nowhere")[1]
