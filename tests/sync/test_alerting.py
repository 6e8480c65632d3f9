"""Alarms become messages: each once, whatever is restarted, and together where there are many."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from sqlalchemy import Connection, func, select

from edge import Event
from sync.control_plane import alert_rows, alerting, forward_state, forward_tables, forward_target, tables
from sync.control_plane.alert_file import Alerts
from sync.control_plane.database import insert_new
from sync.control_plane.forward_target import Happened
from sync.control_plane.own import PLANE, tell
from sync.control_plane.retention import forget_once
from sync.control_plane.store import Store
from tests.sync.stored import with_store
from tests.sync.told import MINUTE, T0, Told, alerts, comes, frame, hook

HOT = "[HIGH] press-4 hot, raised: the oil is hot"


async def taken(store: Store, channel: str) -> None:
    """As if it had taken all of its messages."""
    name = f"alert {channel}"

    def take(connection: Connection) -> None:
        journals = {journal: to for journal, (_, to) in forward_state.pending(connection, name).items()}
        forward_state.pass_by(connection, name, journals)

    await store.write(take)


def test_an_alarm_is_told_once_and_that_it_cleared(database: str) -> None:
    async def work(store: Store) -> None:
        await comes(store, "press-4", frame(1, "old", "raised", T0))  # what was before is not told
        given = alerts({"mes": hook()}, {"all": {"to": ["mes"], "devices": "press-*"}})
        row = {
            "id": "press-4",
            "site": "acme/suzhou/line-3",
            "class": "press",
            "secret": "",
            "enrolled": 1.0,
            "seen": 1.0,
        }
        await store.write(lambda c: insert_new(c, tables.device, [row]) and None)
        it = await Told(store, given, "https://plane.example").begin()
        await comes(store, "press-4", frame(2, "hot", "raised", T0, value=81.5, when="plc.oil_temp > 80"))
        await comes(store, "oven-1", frame(1, "hot", "raised", T0))
        for _ in range(3):
            await it.look(T0 + MINUTE)
        ((channel, event),) = await it.messages()
        assert channel == "mes" and event["severity"] == "high" and event["device"] == PLANE
        assert event["text"].splitlines() == [
            HOT,
            "acme/suzhou/line-3 press",
            "raised at 2026-11-18 11:06:40 (UTC)",
            "value 81.5 (plc.oil_temp > 80)",
            "https://plane.example/#/device/press-4",
        ]
        assert event["data"]["alarms"][0]["key"] == "hot" and event["data"]["alarms"][0]["route"] == "all"
        await taken(store, "mes")
        it = await Told(store, given).begin()  # a start anew
        await comes(
            store, "press-4", frame(3, "hot", "acked", T0 + MINUTE), frame(4, "hot", "cleared", T0 + 2 * MINUTE)
        )
        for _ in range(2):
            await it.look(T0 + 3 * MINUTE)
        assert (await it.heads())[1:] == ["mes: [HIGH] press-4 hot, cleared: the oil is hot"]
        assert "cleared at 2026-11-18 11:08:40 (UTC)" in (await it.messages())[1][1]["text"]

    with_store(database, work)


def test_an_alarm_of_a_rule_is_of_the_device_it_is_about(database: str) -> None:
    async def work(store: Store) -> None:
        it = await Told(
            store,
            alerts({"mes": hook(language="zh", zone="Asia/Shanghai")}, {"one": {"to": ["mes"], "devices": "press-*"}}),
        ).begin()
        for device in ("press-4", "oven-1", ""):
            data = {
                "rule": "hot",
                "device": device,
                "values": {"oven": 85.0, "hall": 20.25},
                "when": "oven - hall > 60",
            }
            event = Event("alarm", f"hot@{device}", "raised", T0, "critical", "过热", data)
            await store.write(lambda c, e=event: tell(c, [e]))
        await it.look(T0 + MINUTE)
        ((_, event),) = await it.messages()
        assert event["text"].splitlines() == [
            "[紧急] press-4 hot@press-4, 已触发: 过热",
            "触发时间 2026-11-18 19:06:40 (Asia/Shanghai)",
            "数值 oven 85, hall 20.25 (oven - hall > 60)",
        ]

    with_store(database, work)


def test_a_route_takes_what_it_names(database: str) -> None:
    async def work(store: Store) -> None:
        routes: dict[str, dict[str, Any]] = {
            "grave": {"to": ["a"], "severity": ["critical"]},
            "oil": {"to": ["b"], "keys": "oil_*"},
            "gaps": {"to": ["c"], "kinds": ["gap"]},
        }
        it = await Told(store, alerts({name: hook() for name in "abc"}, routes)).begin()
        await comes(
            store,
            "press-4",
            frame(1, "oil_hot", "raised", T0, "low"),
            frame(2, "stop", "raised", T0, "critical"),
            frame(3, "plc", "data", T0, "medium", kind="gap"),
        )
        await it.look(T0 + 1)
        heads = await it.heads()
        assert [head[:22] for head in heads] == [
            "a: [CRITICAL] press-4 ",
            "b: [LOW] press-4 oil_h",
            "c: [MEDIUM] press-4 pl",
        ]
        assert heads[2] == "c: [MEDIUM] press-4 plc, gap data: the oil is hot"

    with_store(database, work)


def test_many_at_one_time_and_what_came_while_a_channel_was_away_are_one_message(database: str) -> None:
    async def work(store: Store) -> None:
        it = await Told(store, alerts({"mes": hook(together=3)}, {"all": {"to": ["mes"]}})).begin()
        await comes(store, "a", *(frame(k, f"k{k:02}", "raised", T0) for k in range(1, 4)))
        await it.look(T0)
        assert len(await it.heads()) == 3
        await comes(
            store, "a", *(frame(k, f"k{k:02}", "raised", T0, "low" if k < 29 else "high") for k in range(4, 30))
        )
        await it.look(T0 + 1)
        assert len(await it.heads()) == 3  # the channel has not taken the first ones
        await comes(store, "a", frame(30, "k05", "cleared", T0 + 2), frame(31, "k06", "cleared", T0 + 2))
        await it.look(T0 + 2)
        await taken(store, "mes")
        await it.look(T0 + 3)
        text = (await it.messages())[3][1]["text"]
        assert text.startswith(
            "[HIGH] Lineside: 26 messages\n- 2026-11-18 11:06:40 [HIGH] a k29, raised: the oil is hot\n"
        )
        assert "a k05, raised, and over by now" in text and text.endswith("and 12 more") and len(text) < 2000
        assert await store.read(lambda c: c.scalar(select(func.count()).select_from(forward_tables.alert_note))) == 0

    with_store(database, work)


def test_a_storm_is_one_message_for_people_and_all_of_it_for_programs(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerting, "MOST_NOTES", 4)
    group = {"type": "slack", "url": "https://hooks.example/x"}

    async def work(store: Store) -> None:
        given = alerts({"mes": hook(together=1), "group": {**group, "together": 1}}, {"all": {"to": ["mes", "group"]}})
        it = await Told(store, given).begin()
        await comes(
            store, "a", *(frame(k, f"k{k}", "raised", T0, "low" if k < 10 else "critical") for k in range(1, 11))
        )
        for second in range(3):
            await it.look(T0 + second)
            for channel in ("mes", "group"):
                await taken(store, channel)
        many = [(channel, len(event["data"]["alarms"])) for channel, event in await it.messages()]
        assert sorted(many) == [("group", 4), ("mes", 2), ("mes", 4), ("mes", 4)]
        (text,) = [event["text"] for channel, event in await it.messages() if channel == "group"]
        assert text.startswith("[CRITICAL] Lineside: 10 messages\n") and "a k10" in text.splitlines()[1]

    with_store(database, work)


def test_a_digest_gathers_and_mute_waits(database: str) -> None:
    async def work(store: Store) -> None:
        mute = [{"zone": "UTC", "until": "2026-11-18 11:40"}]  # 33 minutes and 20 s after T0
        routes = {
            "low": {"to": ["mes"], "digest": "30min", "keys": "k*"},
            "mute": {"to": ["ops"], "mute": mute, "keys": "m*"},
        }
        it = await Told(store, alerts({"mes": hook(), "ops": hook()}, routes)).begin()
        await comes(
            store, "a", frame(1, "k1", "raised", T0), frame(2, "m1", "raised", T0), frame(3, "m2", "raised", T0)
        )
        await it.look(T0)
        await comes(store, "a", frame(4, "k2", "raised", T0), frame(5, "k1", "cleared", T0 + MINUTE))
        await comes(store, "a", frame(6, "m2", "cleared", T0 + MINUTE))
        await it.look(T0 + 29 * MINUTE)
        assert await it.heads() == []
        await it.look(T0 + 30 * MINUTE)
        ((_, event),) = await it.messages()
        assert event["text"].splitlines()[0] == "[HIGH] Lineside: 2 messages"
        assert "a k1, raised, and over by now" in event["text"] and "a k2, raised" in event["text"]
        await it.look(T0 + 33 * MINUTE)
        assert len(await it.heads()) == 1
        await it.look(T0 + 34 * MINUTE)
        assert (await it.heads())[1:] == ["ops: [HIGH] a m1, raised: the oil is hot"]

    with_store(database, work)


def test_what_nobody_acknowledges_goes_further(database: str) -> None:
    async def work(store: Store) -> None:
        routes = {"all": {"to": ["a"], "escalate": [{"after": "15min", "to": ["b"]}, {"after": "30min", "to": ["c"]}]}}
        it = await Told(store, alerts({name: hook() for name in "abc"}, routes)).begin()
        await comes(store, "p", frame(1, "x", "raised", T0), frame(2, "y", "raised", T0))
        await it.look(T0)
        await comes(store, "p", frame(3, "y", "acked", T0 + MINUTE, by="anna"))
        await it.look(T0 + 14 * MINUTE)
        assert [head[0] for head in await it.heads()] == ["a", "a"]
        await taken(store, "a")
        for minute in (15, 16, 29):
            await it.look(T0 + minute * MINUTE)
        assert (await it.heads())[2:] == ["b: [HIGH] p x, nobody has acknowledged it: the oil is hot"]
        await comes(store, "p", frame(4, "x", "cleared", T0 + 20 * MINUTE))
        await taken(store, "b")
        await it.look(T0 + 31 * MINUTE)
        assert (await it.heads())[3:] == [f"{name}: [HIGH] p x, cleared: the oil is hot" for name in "ab"]

    with_store(database, work)


def test_what_a_channel_does_not_take_goes_further_at_once(database: str) -> None:
    async def work(store: Store) -> None:
        routes = {"all": {"to": ["a"], "escalate": [{"after": "15min", "to": ["b"]}, {"after": "30min", "to": ["c"]}]}}
        it = await Told(store, alerts({name: hook() for name in "abc"}, routes)).begin()
        await comes(store, "p", frame(1, "x", "raised", T0), frame(2, "y", "raised", T0))
        await comes(store, "p", frame(3, "y", "acked", T0, by="anna"))
        await it.look(T0)

        def aside(c: Connection) -> None:
            ((journal, (after, to)),) = forward_state.pending(c, "alert a").items()
            for message in forward_state.read(c, journal, after, to, ["alert"], "a"):
                alerting.set_aside(c, message)

        await store.write(aside)
        await it.look(T0 + MINUTE)
        assert (await it.heads())[2:] == ["b: [HIGH] p x, nobody has acknowledged it: the oil is hot"]
        await taken(store, "b")
        await it.look(T0 + 29 * MINUTE)
        assert len(await it.heads()) == 3, "the step after that has its time"
        await it.look(T0 + 30 * MINUTE)
        assert (await it.heads())[3:] == ["c: [HIGH] p x, nobody has acknowledged it: the oil is hot"]

    with_store(database, work)


def test_whatever_a_device_says_makes_one_short_message(database: str) -> None:
    async def work(store: Store) -> None:
        it = await Told(store, alerts({"mes": hook(together=1)}, {"all": {"to": ["mes"]}})).begin()
        wild: dict[str, Any] = {
            "values": {f"v{k}": k for k in range(5000)},
            "when": "w" * 9000,
            "value": [1],
            "device": ["x"],
        }
        odd = [frame(k, f"k{k}\nx\r\n" * 9, "raised", -5 if k % 2 else 2**62, "grave", **wild) for k in range(1, 100)]
        await comes(store, "a", *odd)
        await it.look(T0)
        ((_, event),) = await it.messages()
        assert event["text"].startswith("[INFO] Lineside: 99 messages\n- ") and event["text"].count("\n") == 15
        assert len(event["text"]) < 2000 and len(json.dumps(event["data"])) < 200_000

    with_store(database, work)


def test_two_planes_at_work_at_one_time_say_nothing_twice(database: str) -> None:
    async def work(store: Store) -> None:
        given = alerts({"mes": hook(together=100)}, {"all": {"to": ["mes"]}})
        other = Store(store.engine.url.render_as_string(hide_password=False))
        try:
            planes = [await Told(one, given).begin() for one in (store, other)]
            for k in range(1, 41):
                await comes(store, "a", frame(k, f"k{k}", "raised", T0))
                await asyncio.gather(*(plane.look(T0 + k) for plane in planes))
                await taken(store, "mes")
            await planes[0].look(T0 + 50)
            alarms = [alarm["key"] for _, event in await planes[0].messages() for alarm in event["data"]["alarms"]]
            assert sorted(alarms) == sorted(f"k{k}" for k in range(1, 41))
        finally:
            other.close()

    with_store(database, work)


def test_what_fails_in_the_middle_leaves_nothing_behind(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last thing of a transaction fails: alarms, notes and cursor are as before, and the next look tells it."""

    async def work(store: Store) -> None:
        it = await Told(store, alerts({"mes": hook()}, {"all": {"to": ["mes"]}})).begin()
        await comes(store, "press-4", frame(1, "hot", "raised", T0))

        def breaks(*_: Any) -> bool:
            raise forward_target.Later("the database is away")

        with monkeypatch.context() as broken:
            broken.setattr(alert_rows, "under_way", breaks)
            with pytest.raises(forward_target.Later):
                await it.look(T0)
        for table in (forward_tables.alert, forward_tables.alert_note):
            assert await store.read(lambda c, t=table: c.execute(select(t)).all()) == []
        await it.look(T0 + 1)
        await it.look(T0 + 2)
        assert await it.heads() == [f"mes: {HOT}"]

    with_store(database, work)


def test_what_leaves_the_file_is_forgotten_and_old_events_too(database: str) -> None:
    async def work(store: Store) -> None:
        it = await Told(
            store, alerts({"mes": hook(), "ops": hook()}, {"all": {"to": ["mes", "ops"], "digest": "1h"}})
        ).begin()
        await comes(store, "press-4", frame(1, "hot", "raised", T0))
        assert await forget_once(store, "events", T0 + 2 * MINUTE) == 0, "it is not followed yet"
        await it.look(T0)
        assert await forget_once(store, "events", T0 + 2 * MINUTE) == 1
        await Told(store, alerts({"mes": hook()}, {"all": {"to": ["mes"]}})).begin()
        n = forward_tables.alert_note
        assert await store.read(lambda c: c.scalars(select(n.c.channel)).all()) == ["mes"]
        await Told(store, Alerts()).begin()
        for table in (forward_tables.alert, n):
            assert await store.read(lambda c, t=table: c.execute(select(t)).all()) == []

    with_store(database, work)


def test_forwarding_brings_a_channel_its_own_messages_and_shows_what_waits(database: str) -> None:
    async def work(store: Store) -> None:
        it = await Told(store, alerts({"mes": hook(), "ops": hook()}, {"all": {"to": ["mes", "ops"]}})).begin()
        await comes(store, "press-4", frame(1, "hot", "raised", T0))
        for _ in range(2):
            await it.look(T0)
        names = await store.read(lambda c: {row["name"]: row for row in forward_state.told(c)})
        assert {name: row["waits"] for name, row in names.items()} == {"alerts": 0, "alert mes": 2, "alert ops": 2}
        assert names["alerts"]["delivered"] == 1
        pending = await store.read(lambda c: forward_state.pending(c, "alert mes"))
        ((journal, (after, to)),) = pending.items()
        mine = await store.read(lambda c: forward_state.read(c, journal, after, to, ["alert"], "mes"))
        assert [happened.content["key"] for happened in mine] == ["mes"] and isinstance(mine[0], Happened)
        assert json.loads(mine[0].body)["data"]["alarms"][0]["device"] == "press-4"

    with_store(database, work)
