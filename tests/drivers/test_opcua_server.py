"""The newest values as an OPC UA server: asked by asyncua's client, and by our own driver in a second daemon."""

from __future__ import annotations

import asyncio
import datetime
import json
import math
import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.ua.uaerrors import UaError

from drivers.opcua import history
from drivers.opcua.server import Users
from drivers.opcua.trust import own
from edge import SECOND, Batch, Quality, span
from edge.app import Daemon
from edge.apply import apply_site
from edge.config.load import load_text
from edge.retention import gap
from tests.northbound import port_is_taken, with_reader
from tests.waiting import until

CLIENT = Path(__file__).parent / "node-opcua" / "client.js"
SITE = """
device: {{id: press-4}}
drivers:
  plc:
    driver: modbus
    url: tcp://127.0.0.1:1
    every: 1h
    tags:
      temp: {{address: "holding:0", scale: 0.1, unit: "°C"}}
      door: {{address: "coil:0"}}
      parts: {{address: "holding:8", type: int32}}
      flow: {{address: "holding:12", type: float32}}
      recipe: {{address: "holding:3", type: text, length: 4}}
    units:
      m7: {{unit: 7, tags: {{kwh: {{address: "holding:1"}}}}}}
tags:
  twice: {{expression: "plc.temp * 2"}}
opcua_server: {{listen: "127.0.0.1:{port}", every: 20ms{more}}}
"""
START = 1_800_000_000 * SECOND


with_daemon = partial(with_reader, "opcua_server", SITE)


def tell(daemon: Daemon, name: str, value: float | str, quality: Quality = Quality.GOOD, later: int = 0) -> None:
    tag = daemon.table[name].id
    number = daemon.table.texts.value(tag, value) if isinstance(value, str) else value
    daemon.accept(Batch.of("plc", [tag], [number], START + later * SECOND, [quality]))


async def shown(client: Client, name: str, good: Callable[[ua.DataValue], bool]) -> ua.DataValue:
    """What a node shows, once it is as wanted."""
    node = client.get_node(f"ns=2;s={name}")
    while not good(value := await node.read_data_value(raise_on_bad_status=False)):
        await asyncio.sleep(0.01)
    return value


def test_what_is_newest_can_be_browsed_and_read(tmp_path: Path) -> None:
    async def work(daemon: Daemon, port: int) -> None:
        async with Client(f"opc.tcp://127.0.0.1:{port}") as client:
            assert (await client.get_namespace_array())[2] == "urn:lineside:press-4"
            way = ["2:press-4", "2:plc", "2:m7", "2:kwh"]
            node = await client.nodes.objects.get_child(way)
            assert node.nodeid == ua.NodeId("plc.m7.kwh", 2)
            waits = await shown(client, "plc.m7.kwh", lambda v: True)
            assert waits.StatusCode.value in (
                ua.StatusCodes.BadWaitingForInitialData,
                ua.StatusCodes.BadNotConnected,
            )
            tell(daemon, "plc.temp", 71.5)
            tell(daemon, "plc.recipe", "A7")
            temp = await shown(client, "plc.temp", lambda v: v.StatusCode.is_good())
            assert (temp.Value.Value, temp.Value.VariantType) == (71.5, ua.VariantType.Double)
            assert temp.SourceTimestamp == datetime.datetime(2027, 1, 15, 8, tzinfo=datetime.UTC)
            unit = await client.get_node("ns=2;s=plc.temp").get_child("0:EngineeringUnits")
            assert (await unit.read_value()).DisplayName.Text == "°C"
            recipe = await shown(client, "plc.recipe", lambda v: v.StatusCode.is_good())
            assert (recipe.Value.Value, recipe.Value.VariantType) == ("A7", ua.VariantType.String)
            assert (await shown(client, "twice", lambda v: v.StatusCode.is_good())).Value.Value == 143
            tell(daemon, "plc.temp", math.nan, Quality.TIMEOUT, later=1)
            bad = await shown(client, "plc.temp", lambda v: not v.StatusCode.is_good())
            assert bad.StatusCode.value == ua.StatusCodes.BadTimeout and bad.Value.Value is None

    with_daemon(tmp_path, work)


def test_a_variable_has_the_type_of_its_tag(tmp_path: Path) -> None:
    kinds = ua.VariantType
    told: list[tuple[str, float | str, ua.VariantType]] = [
        ("plc.door", 1, kinds.Boolean),
        ("plc.parts", -5, kinds.Int32),
        ("plc.m7.kwh", 65535, kinds.UInt16),
        ("plc.flow", 0.5, kinds.Float),
        ("plc.temp", 71.5, kinds.Double),
        ("plc.recipe", "A7", kinds.String),
    ]

    async def work(daemon: Daemon, port: int) -> None:
        for name, value, _ in told:
            tell(daemon, name, value)
        await daemon.journal.commit()
        async with Client(f"opc.tcp://127.0.0.1:{port}") as client:
            for name, value, kind in told:
                node = client.get_node(f"ns=2;s={name}")
                assert await node.read_data_type_as_variant_type() == kind
                now = await shown(client, name, lambda v: v.StatusCode.is_good())
                (then,) = await node.read_raw_history(at(-1), at(1))
                for one in (now.Value, then.Value):
                    assert (one.Value, one.VariantType) == (value, kind)

    with_daemon(tmp_path, work)


def test_nobody_may_write_or_add(tmp_path: Path) -> None:
    async def work(daemon: Daemon, port: int) -> None:
        tell(daemon, "plc.temp", 71.5)
        async with Client(f"opc.tcp://127.0.0.1:{port}") as client:
            await shown(client, "plc.temp", lambda v: v.StatusCode.is_good())
            node = client.get_node("ns=2;s=plc.temp")
            with pytest.raises(UaError):
                await node.write_value(1.0)
            with pytest.raises(UaError):
                await node.set_writable()
            with pytest.raises(UaError):
                await client.nodes.objects.add_variable(2, "x", 1.0)
            assert (await node.read_value()) == 71.5

    with_daemon(tmp_path, work)


def test_our_own_driver_subscribes_with_the_password_and_without_it_is_refused(tmp_path: Path) -> None:
    reader = """
device: {{id: reader}}
drivers:
  line:
    driver: opcua
    url: opc.tcp://127.0.0.1:{port}
    security: SignAndEncrypt
    user: scada
    password: {word}
    every: 50ms
    tags: {{temp: {{node: "nsu=urn:lineside:press-4;s=plc.temp"}}}}
"""

    async def work(daemon: Daemon, port: int) -> None:
        tell(daemon, "plc.temp", 71.5)
        open_client = Client(f"opc.tcp://127.0.0.1:{port}", timeout=30)
        ends = await open_client.connect_and_get_server_endpoints()
        assert {end.SecurityMode for end in ends} == {ua.MessageSecurityMode.SignAndEncrypt}
        await open_client.connect_socket()
        await open_client.send_hello()
        await open_client.open_secure_channel()  # in the clear
        with pytest.raises(UaError):
            await open_client.create_session()
            await open_client.activate_session("scada", "s3cret")
        with pytest.raises(UaError):
            await open_client.get_node("ns=2;s=plc.temp").read_value()
        open_client.disconnect_socket()
        for word, right in (("wrong", False), ("s3cret", True)):
            state = tmp_path / word
            (state / "opcua" / "trusted").mkdir(parents=True)
            (state / "opcua" / "trusted" / "server.der").write_bytes(own(daemon.folder).certificate)
            other = Daemon(load_text(reader.format(port=port, word=word)), state)
            await other.start()
            try:
                if right:
                    await until(lambda other=other: other.live.show("line.temp")["value"] == 71.5)
                    tell(daemon, "plc.temp", 72.5, later=1)
                    await until(lambda other=other: other.live.show("line.temp")["value"] == 72.5)
                else:
                    await until(lambda other=other: other.health.part("line").state == "waiting")
            finally:
                await other.stop()

    with_daemon(tmp_path / "server", work, ", user: scada, password: s3cret")


def test_who_is_let_in() -> None:
    users = Users("scada", "s3cret")
    assert users.get_user(None, "scada", b"s3cret", b"a certificate") is not None
    for name, word, certificate in (
        ("scada", "s3cret", None),
        ("scada", "", b"c"),
        ("", "s3cret", b"c"),
        (None, None, b"c"),
    ):
        assert users.get_user(None, name, word, certificate) is None
    assert Users("", "").get_user(None) is not None


def test_a_new_site_has_its_own_tags(tmp_path: Path) -> None:
    async def work(daemon: Daemon, port: int) -> None:
        path = tmp_path / "site.yaml"
        path.write_text(SITE.format(port=port, more="").replace("twice:", "double:"))
        await apply_site(daemon, path, trial=0)

        async def there() -> bool:
            try:
                async with Client(f"opc.tcp://127.0.0.1:{port}", timeout=30) as client:
                    await client.get_node("ns=2;s=double").read_browse_name()
                    return True
            except (UaError, OSError, TimeoutError):
                return False

        while not await there():
            await asyncio.sleep(0.05)
        assert daemon.journal.readers == set()

    with_daemon(tmp_path / "state", work)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("listen: '0.0.0.0:4840'", "would read every value; add `user:` and `password:`"),
        ("user: a", "user and password belong together"),
        ("listen: 'here'", "is no address to listen on"),
    ],
)
def test_options_that_cannot_be(options: str, words: str) -> None:
    (problem,) = load_text(f"device: {{id: a}}\nopcua_server: {{{options}}}\n").problems
    assert words in str(problem)


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    assert port_is_taken("opcua_server", SITE, tmp_path)


# History


def at(later: float) -> datetime.datetime:
    return datetime.datetime(2027, 1, 15, 8, tzinfo=datetime.UTC) + datetime.timedelta(seconds=later)


async def sealed(daemon: Daemon) -> None:
    await daemon.journal.commit(seal=True)


def values(found: list[ua.DataValue]) -> list[Any]:
    return [dv.Value.Value if dv.Value is not None else None for dv in found]


def raw_values(begins: datetime.datetime, ends: datetime.datetime) -> Any:
    return ua.ReadRawModifiedDetails(IsReadModified=False, StartTime=begins, EndTime=ends)


async def rising(daemon: Daemon, numbers: range, name: str = "plc.temp") -> None:
    """A sample each second in a block each ten."""
    for n in numbers:
        tell(daemon, name, n, later=n)
        if n % 10 == 9:
            await sealed(daemon)


def test_history_is_read_out_of_the_journal_sealed_or_not(tmp_path: Path) -> None:
    async def work(daemon: Daemon, port: int) -> None:
        await rising(daemon, range(25))
        tell(daemon, "plc.recipe", "A7", later=3)
        tell(daemon, "plc.temp", math.nan, Quality.TIMEOUT, later=25)
        tell(daemon, "plc.temp", 4.0, Quality.SUBSTITUTED, later=26)
        await daemon.journal.commit()
        async with Client(f"opc.tcp://127.0.0.1:{port}") as client:
            node = client.get_node("ns=2;s=plc.temp")
            level = await node.get_access_level()
            assert level == {ua.AccessLevel.CurrentRead, ua.AccessLevel.HistoryRead}
            assert (await node.read_attribute(ua.AttributeIds.Historizing)).Value.Value is True
            found = await node.read_raw_history(at(0), at(100))
            assert values(found) == [*map(float, range(25)), None, 4.0]
            assert [dv.SourceTimestamp for dv in found] == [at(n) for n in range(27)]
            codes = ua.StatusCodes
            assert [dv.StatusCode.value for dv in found[-3:]] == [0, codes.BadTimeout, codes.UncertainSubstituteValue]
            assert values(await node.read_raw_history(at(5), at(8))) == [5, 6, 7]  # without the end
            assert values(await node.read_raw_history(at(8), at(5))) == [8, 7, 6]
            assert values(await node.read_raw_history(at(5), at(5))) == [5]
            assert values(await node.read_raw_history(None, at(12), numvalues=3)) == [12, 11, 10]
            assert values(await node.read_raw_history(at(12), None, numvalues=3)) == [12, 13, 14]
            assert await node.read_raw_history(at(200), at(300)) == []
            assert values(await client.get_node("ns=2;s=plc.recipe").read_raw_history(at(0), at(9))) == ["A7"]

    with_daemon(tmp_path, work)


@pytest.mark.parametrize("backward", [False, True])
def test_history_comes_in_pieces_each_value_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backward: bool
) -> None:
    monkeypatch.setattr(history, "MOST_VALUES", 7)
    monkeypatch.setattr(span, "MOST_SAMPLES", 15)

    async def work(daemon: Daemon, port: int) -> None:
        await rising(daemon, range(40))
        ids = [daemon.table["plc.temp"].id] * 9
        daemon.accept(Batch.of("plc", ids, range(100, 109), [START + 39 * SECOND] * 9))  # many of one moment
        await sealed(daemon)
        wanted = [*map(float, range(40)), *map(float, range(100, 109))]
        async with Client(f"opc.tcp://127.0.0.1:{port}") as client:
            node = client.get_node("ns=2;s=plc.temp")
            span_ = (at(99), at(-1)) if backward else (at(0), at(99))
            assert values(await node.read_raw_history(*span_)) == (wanted[::-1] if backward else wanted)
            details = raw_values(*span_)
            first = await node.history_read(details)
            assert len(first.HistoryData.DataValues) == 7 and first.ContinuationPoint
            both = ua.HistoryReadParameters(HistoryReadDetails=details, ReleaseContinuationPoints=False)
            both.NodesToRead = [ua.HistoryReadValueId(NodeId=node.nodeid) for _ in range(3)]
            sizes = [len(r.HistoryData.DataValues) for r in await client.uaclient.history_read(both)]
            assert sizes == [7, 0, 0]  # of all together

    with_daemon(tmp_path, work)


def test_what_a_tag_held_before_it_had_another_type_is_told_as_it_was(tmp_path: Path) -> None:
    async def work(daemon: Daemon, port: int) -> None:
        tell(daemon, "plc.parts", 1.5)
        tell(daemon, "plc.parts", 2, later=1)
        await daemon.journal.commit()
        async with Client(f"opc.tcp://127.0.0.1:{port}") as client:
            found = await client.get_node("ns=2;s=plc.parts").read_raw_history(at(0), at(9))
            told = [(dv.Value.Value, dv.Value.VariantType) for dv in found]
            assert told == [(1.5, ua.VariantType.Double), (2, ua.VariantType.Int32)]

    with_daemon(tmp_path, work)


def test_what_the_journal_lost_is_told_in_its_history(tmp_path: Path) -> None:
    async def work(daemon: Daemon, port: int) -> None:
        await rising(daemon, range(30))
        daemon.accept(gap(daemon.clock.utc(), "plc", START + 10 * SECOND, START + 19 * SECOND, 10, "evicted", 2, 2))
        daemon.accept(gap(daemon.clock.utc(), "plc", START + 5 * SECOND, START + 6 * SECOND, 2, "evicted", 3, 3))
        await sealed(daemon)
        no_word = "UPDATE event SET ts = ts + 4321 WHERE seq = (SELECT max(seq) FROM event WHERE kind = 'gap')"
        await daemon.journal.on_writer(lambda db: db.execute(no_word))  # a damaged one tells of nothing
        gone = f"DELETE FROM block WHERE t0 = {START + 10 * SECOND}"
        await daemon.journal.on_writer(lambda db: db.execute(gone))
        damage = f"UPDATE block SET body = zeroblob(9) WHERE t0 = {START + 20 * SECOND}"
        await daemon.journal.on_writer(lambda db: db.execute(damage))
        async with Client(f"opc.tcp://127.0.0.1:{port}") as client:
            found = await client.get_node("ns=2;s=plc.temp").read_raw_history(at(0), at(99))
            lost = [
                (dv.SourceTimestamp, dv.StatusCode.name) for dv in found if dv.Value is None or dv.Value.Value is None
            ]
            assert lost == [(at(n), "BadDataLost") for n in (10, 19, 20)]
            assert values(found)[:10] == list(range(10))

    with_daemon(tmp_path, work)


def test_history_that_cannot_be_read_is_refused_with_a_reason(tmp_path: Path) -> None:
    async def work(daemon: Daemon, port: int) -> None:
        await rising(daemon, range(10))
        async with Client(f"opc.tcp://127.0.0.1:{port}") as client:

            async def asked(node: str, details: Any, place: bytes | None = None) -> str:
                params = ua.HistoryReadParameters(HistoryReadDetails=details, ReleaseContinuationPoints=False)
                params.NodesToRead = [
                    ua.HistoryReadValueId(NodeId=ua.NodeId.from_string(node), ContinuationPoint=place)
                ]
                return str((await client.uaclient.history_read(params))[0].StatusCode.name)

            raw, temp, never = raw_values(at(0), at(9)), "ns=2;s=plc.temp", ua.get_win_epoch()
            assert await asked(temp, raw) == "Good"
            assert await asked("ns=2;s=nothing", raw) == "BadHistoryOperationUnsupported"
            assert await asked("i=2258", raw) == "BadHistoryOperationUnsupported"
            assert await asked(temp, ua.ReadProcessedDetails()) == "BadHistoryOperationUnsupported"
            assert await asked(temp, ua.ReadRawModifiedDetails(IsReadModified=True)) == "BadHistoryOperationUnsupported"
            assert await asked(temp, raw_values(never, never)) == "BadHistoryOperationInvalid"
            for place in (b"x", b"\0" * 12, b"\xff" * 12):
                assert await asked(temp, raw, place) == "BadContinuationPointInvalid"

    with_daemon(tmp_path, work)


def test_node_ids_are_the_same_after_a_restart(tmp_path: Path) -> None:
    seen: list[set[str]] = []

    async def work(daemon: Daemon, port: int) -> None:
        async with Client(f"opc.tcp://127.0.0.1:{port}") as client:
            assert await client.get_namespace_index("urn:lineside:press-4") == 2
            found, rest = set(), [client.nodes.objects]
            while rest:
                children = await rest.pop().get_children()
                ours = [node for node in children if node.nodeid.NamespaceIndex == 2]
                found |= {node.nodeid.to_string() for node in ours}
                rest += ours
            seen.append(found)

    for _ in range(2):
        with_daemon(tmp_path, work)
    assert seen[0] == seen[1] and "ns=2;s=plc.m7.kwh" in seen[0]


@pytest.mark.system
def test_node_opcua_reads_the_history_too(tmp_path: Path, node_opcua: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_VALUES", 7)
    node = shutil.which("node", path=f"{os.environ['PATH']}:{Path(sys.executable).parent}")

    async def work(daemon: Daemon, port: int) -> None:
        await rising(daemon, range(20), "plc.parts")
        tell(daemon, "plc.parts", math.nan, Quality.TIMEOUT, later=20)
        tell(daemon, "plc.parts", 4.0, Quality.SUBSTITUTED, later=21)
        await daemon.journal.commit()
        begins, ends = (at(n).isoformat().replace("+00:00", "Z") for n in (0, 99))
        words = [str(node), str(CLIENT), f"opc.tcp://127.0.0.1:{port}", "ns=2;s=plc.parts", begins, ends]
        pipe = asyncio.subprocess.PIPE
        client = await asyncio.create_subprocess_exec(
            *words, str(tmp_path / "pki"), cwd=node_opcua, stdout=pipe, stderr=pipe
        )
        out, err = await client.communicate()
        assert client.returncode == 0, err.decode()
        found = json.loads(out.splitlines()[-1])
        assert found["values"] == [*range(20), None, 4] and found["pieces"] == 4
        assert {*found["types"]} - {None, "Null"} == {"Int32"} == {found["declared"]}
        assert found["times"][:2] == ["2027-01-15T08:00:00.000Z", "2027-01-15T08:00:01.000Z"]
        assert found["statuses"][-3:] == ["Good", "BadTimeout", "UncertainSubstituteValue"]

    with_daemon(tmp_path, work)
