"""`lineside browse` on OPC UA, methods, and NodeSet2 files in the simulator."""

from __future__ import annotations

import asyncio
import json
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from asyncua import Server, ua

from drivers.opcua.browse import _Names, written
from drivers.opcua.driver import OpcUa
from drivers.opcua.nodesets import in_order, load
from drivers.opcua.options import OpcUaConfig
from drivers.opcua.sim import OpcUaSim
from edge import DeviceRefused, Quality, SystemClock, Write, WriteRefused
from edge.app import Daemon
from edge.bench.process import free_port
from edge.cli import main
from edge.config.load import load as load_site
from edge.config.load import load_text
from edge.control import Control
from edge.testing import FakeSource

PLANT = {
    "temp": {"node": "nsu=urn:plant;s=Oven.Temp"},
    "start": {"method": "nsu=urn:plant;s=Start", "object": "nsu=urn:plant;s=Oven", "writable": {"range": [0, 9]}},
}


def run(work: Callable[[int], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(120):
            await work(free_port())

    asyncio.run(whole())


def config(port: int, tags: Any = PLANT, **more: Any) -> OpcUaConfig:
    options = {"every": "50ms", "keep_alive": "200ms", **more}
    return OpcUaConfig(driver="opcua", url=f"opc.tcp://127.0.0.1:{port}", tags=tags, **options)


async def served(port: int, tags: Any = PLANT, **more: Any) -> OpcUaSim:
    sim = OpcUaSim("oven", config(port, tags, **more))
    await sim.start()
    return sim


def made(port: int, tags: Any = PLANT, **more: Any) -> tuple[OpcUa, FakeSource]:
    source = FakeSource("oven", list(tags), SystemClock())
    return OpcUa(config(port, tags, **more), source), source


def test_a_walk_gives_tag_lines_that_work(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    site, lines = tmp_path / "site.yaml", tmp_path / "lines.yaml"
    words = [str(site), "oven", "--state", str(tmp_path / "state")]

    async def work(port: int) -> None:
        sim = await served(port)
        site.write_text(f"device: {{id: a}}\ndrivers: {{oven: {{driver: opcua, url: 'opc.tcp://127.0.0.1:{port}'}}}}\n")
        assert await asyncio.to_thread(main, ["browse", *words]) == 0
        assert 'temp: {node: "nsu=urn:plant;s=Oven.Temp"}  # Double = 0.0\n' in (out := capsys.readouterr().out)
        assert "# start_object (Object, nsu=urn:plant;s=Oven)" in out
        assert "# start_object/start (Method, nsu=urn:plant;s=Start)" in out
        assert await asyncio.to_thread(main, ["browse", *words, "--out", str(lines)]) == 0
        assert await asyncio.to_thread(main, ["browse", *words, "--out", str(lines)]) == 2  # it is there already
        site.write_text(site.read_text().replace("'}}", "', tags: !include lines.yaml}}"))
        assert [str(problem) for problem in load_site(site).problems] == []
        daemon = Daemon(load_site(site), tmp_path / "state")
        await daemon.start()
        control = Control(daemon)
        await control.start()
        while not daemon.live.good.get("oven"):
            await asyncio.sleep(0.01)
        capsys.readouterr()
        assert await asyncio.to_thread(main, ["browse", *words, "nsu=urn:plant;s=Oven", "--json"]) == 0
        said = capsys.readouterr()
        assert "asked directly" not in said.err
        (method,) = [json.loads(line) for line in said.out.splitlines()]
        assert (method["kind"], method["node"], method["tag"]) == ("Method", "nsu=urn:plant;s=Start", None)
        for node, told in (
            ("Oven", "is no node id"),
            ("ns=2;s=No", "the server refuses ns=2;s=No: BadNodeId"),
            ("nsu=urn:x;s=a", "no namespace"),
        ):
            assert await asyncio.to_thread(main, ["browse", *words, node]) == 2
            assert told in capsys.readouterr().err
        start = "nsu=urn:plant;s=Start"
        assert await asyncio.to_thread(main, ["browse", *words, start]) == 1
        said = capsys.readouterr()
        assert not said.out and f"nothing is below {start}" in said.err
        await control.stop()
        await daemon.stop()
        await sim.stop()

    run(work)
    assert main(["browse", str(site), "nobody"]) == 2 and "no driver is called 'nobody'" in capsys.readouterr().err
    assert main(["browse", *words]) == 2 and "no session" in capsys.readouterr().err
    assert main(["browse", *words, "--most", "0"]) == 2


def test_a_walk_is_bounded_and_shows_types_units_and_what_is_no_number() -> None:
    async def work(port: int) -> None:
        server = Server()
        await server.init()
        server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        await server.register_namespace("urn:plant")
        oven = await server.nodes.objects.add_object(2, "Oven")
        temp = await oven.add_variable(2, "Temp", 20.5)
        await temp.add_property(
            ua.NodeId(5, 2), "0:EngineeringUnits", ua.EUInformation(DisplayName=ua.LocalizedText("°C"))
        )
        await oven.add_variable(2, "List", [1.0, 2.0])
        deep = oven
        for k in range(30):
            deep = await deep.add_object(2, f"D{k}")
        await deep.add_reference(oven, ua.ObjectIds.Organizes)  # a circle
        async with server:
            driver, _ = made(port, {})
            rows = {row["path"]: row for row in await driver.browse("", 1000)}
            assert rows["Oven/Temp"]["tag"] == {"node": rows["Oven/Temp"]["node"], "unit": "°C"}
            assert (rows["Oven/Temp"]["type"], rows["Oven/Temp"]["value"]) == ("Double", 20.5)
            assert rows["Oven/List"]["tag"] is None and "an array of 2" in rows["Oven/List"]["note"]
            assert len([path for path in rows if path.startswith("Oven")]) == 33
            assert len(await driver.browse("", 7)) == 7

    run(work)


def test_names_and_node_ids_that_a_site_can_take() -> None:
    names = _Names()
    paths = [
        ("Oven", "Temp"),
        ("Kiln", "Temp"),
        ("Kiln", "Temp"),
        ("1 Ofen",),
        ("and",),
        ("null",),
        ("---",),
        ("温度",),
    ]
    found = [names.of(path) for path in paths]
    assert found == ["temp", "kiln_temp", "kiln_temp_2", "n_1_ofen", "and_", "null_", "node", "温度"]
    lines = "".join(f"      {name}: {{node: 'ns=2;s=a'}}\n" for name in found)
    head = "device: {id: a}\ndrivers:\n  o:\n    driver: opcua\n    url: opc.tcp://x:1\n    tags:\n"
    assert not load_text(head + lines).problems
    spaces = ["http://opcfoundation.org/UA/", "urn:server", "urn:a;b"]
    for text, wanted in (
        ("i=85", "i=85"),
        ("ns=1;s=a", "nsu=urn:server;s=a"),
        ("ns=2;i=7", "ns=2;i=7"),
        ("ns=9;i=7", "ns=9;i=7"),
    ):
        assert written(ua.NodeId.from_string(text), spaces) == wanted


def test_a_method_is_called_by_writing_its_tag() -> None:
    async def work(port: int) -> None:
        sim = await served(port)
        driver, source = made(port)
        running = asyncio.ensure_future(source.collect(driver, until=lambda: 7 in source.values("start")))
        while not source.values("temp"):
            await asyncio.sleep(0.01)
        assert (source.values("start")[0], source.qualities("start")[0]) == (0, Quality.SUBSTITUTED)
        await driver.write(Write(source.tags["start"].id, 7))
        await running
        assert await sim.get("start") == 7 and source.qualities("start")[-1] == Quality.GOOD
        assert await driver.probe() == ["temp = 0.0 (GOOD)", "start calls nsu=urn:plant;s=Start when it is written"]
        await sim.stop()

    run(work)


def test_methods_that_cannot_be_called_are_refused_in_words() -> None:
    async def work(port: int) -> None:
        server = Server()
        await server.init()
        server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        await server.register_namespace("urn:plant")
        oven = await server.nodes.objects.add_object("ns=2;s=Oven", "2:Oven")
        calls: list[tuple[Any, ...]] = []

        async def called(_: Any, *given: ua.Variant) -> Any:
            calls.append(tuple(v.Value for v in given))
            return ua.StatusCode(ua.StatusCodes.BadOutOfRange) if given and given[0].Value == 9 else []

        number = ua.VariantType.Byte
        for name, inputs in (("Bare", []), ("One", [number]), ("Two", [number, number])):
            await oven.add_method(f"ns=2;s={name}", f"2:{name}", called, inputs, [])
        tags = {
            name: {"method": f"ns=2;s={name}", "object": "ns=2;s=Oven", "writable": {"range": [0, 500]}}
            for name in ("Bare", "One", "Two", "Nothing")
        }
        async with server:
            driver, source = made(port, tags)
            running = asyncio.ensure_future(driver.run())
            while not source.values("Nothing") or driver._client is None:
                await asyncio.sleep(0.01)

            async def write(tag: str, value: float) -> None:
                await driver.write(Write(source.tags[tag].id, value))

            await write("Bare", 1)
            await write("One", 7)
            assert calls == [(), (7,)]
            for tag, value, error, said in (
                ("One", 9, DeviceRefused, "the method was refused: BadOutOfRange"),
                ("One", 300, WriteRefused, "does not fit the node, a Byte"),
                ("Two", 1, DeviceRefused, "takes 2 arguments"),
                ("Nothing", 1, DeviceRefused, "Bad"),
            ):
                with pytest.raises(error, match=said):
                    await write(tag, value)
            assert source.values("Bare")[-1] == 1 and source.values("One")[-1] == 7
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    run(work)


def test_faults_of_a_method_in_a_site() -> None:
    site = "device: {{id: a}}\ndrivers:\n  o: {{driver: opcua, url: 'opc.tcp://x:1', tags: {{t: {{{}}}}}}}\n"
    for tag, said in (
        ("unit: x", "say `node: ...`, or `method: ...`"),
        ("node: 'i=1', method: 'i=2', object: 'i=3'", "say `node: ...`, or `method: ...`"),
        ("method: 'i=2'", "a method needs its `object:`"),
        ("method: 'i=2', object: 'i=3'", "a method is called by writing"),
        ("method: 'i=2', object: 'i=3', writable: {range: [0, 1], readback: true}", "could be read back; remove"),
        ("method: start, object: 'i=3'", "is no node id"),
    ):
        assert said in str(load_text(site.format(tag)).problems[0])
    assert "reads nothing" in str(
        load_text("device: {id: a}\ndrivers: {o: {driver: opcua, url: 'opc.tcp://x:1'}}\n").problems[0]
    )


# NodeSet2 files


@pytest.fixture(scope="session")
def nodesets(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    packed = data / "opcua-nodesets" / "nodesets.zip"
    if not packed.exists():
        pytest.skip("the OPC UA NodeSet2 files are not on this machine (set DATA=folder)")
    folder = tmp_path_factory.mktemp("nodesets")
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(folder)
    return sorted(path for path in folder.rglob("*") if path.suffix == ".xml")


def test_every_nodeset_loads_or_names_the_model_that_is_missing(nodesets: list[Path]) -> None:
    assert len(nodesets) == 10
    names = [str(path) for path in nodesets]
    with pytest.raises(DeviceRefused, match=r"ProcessValues.NodeSet2.xml needs the model http.*(IRDI|PADIM)"):
        in_order(names)
    names = [name for name in names if "ProcessValues" not in name]

    async def work(port: int) -> None:
        server = Server()
        await server.init()
        assert await load(server, in_order(names)) == 412 + 114 + 143 + 73 + 119 + 60 + 790 + 258  # summary.csv
        spaces = await server.get_namespace_array()
        assert "http://opcfoundation.org/UA/MachineVision" in spaces and "http://opcfoundation.org/UA/DI/" in spaces

    run(work)
    for name in names:
        if "Examples" in name:
            with pytest.raises(DeviceRefused, match="needs the model http"):
                in_order([name])


SMALL = """<UANodeSet xmlns="http://opcfoundation.org/UA/2011/03/UANodeSet.xsd">
  <NamespaceUris><Uri>urn:oven</Uri></NamespaceUris>
  <Models><Model ModelUri="urn:oven" Version="1.0.0" PublicationDate="2024-01-01T00:00:00Z">
    <RequiredModel ModelUri="http://opcfoundation.org/UA/" Version="1.04.0" PublicationDate="2019-01-01T00:00:00Z"/>
  </Model></Models>
  <Aliases><Alias Alias="Organizes">i=35</Alias></Aliases>
  <UAVariable NodeId="ns=1;s=Count" BrowseName="1:Count" DataType="i=5" AccessLevel="3">
    <DisplayName>Count</DisplayName>
    <References><Reference ReferenceType="Organizes" IsForward="false">i=85</Reference></References>
    <Value><UInt16 xmlns="http://opcfoundation.org/UA/2008/02/Types.xsd">7</UInt16></Value>
  </UAVariable>
</UANodeSet>
"""


def test_the_simulator_serves_a_variable_of_a_nodeset_with_its_own_type(tmp_path: Path) -> None:
    path = tmp_path / "oven.xml"
    path.write_text(SMALL)

    async def work(port: int) -> None:
        tags = {"count": {"node": "nsu=urn:oven;s=Count", "writable": {"range": [0, 70000]}}}
        sim = await served(port, tags, nodesets=[str(path)])
        driver, source = made(port, tags)
        running = asyncio.ensure_future(source.collect(driver, until=lambda: 12 in source.values("count")))
        while not source.values("count"):
            await asyncio.sleep(0.01)
        assert source.values("count")[0] == 7
        with pytest.raises(WriteRefused, match="a UInt16"):
            await driver.write(Write(source.tags["count"].id, 70000))
        with pytest.raises(ValueError, match="a UInt16"):
            sim.set("count", -1)
        sim.set("count", 12)
        await running
        await sim.stop()

    run(work)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<a/>", "is no NodeSet2"),
        ("<a", "is no XML"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "has a DOCTYPE"),
        (SMALL.replace('ns=1;s=Count"', 'ns=7;s=Count"'), "cannot be loaded: UaError: Namespace index '7'"),
        (SMALL.replace('http://opcfoundation.org/UA/"', 'urn:nowhere"'), "needs the model urn:nowhere"),
    ],
)
def test_files_that_are_no_nodeset_are_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "oven.xml"
    path.write_text(text)

    async def work(port: int) -> None:
        with pytest.raises(DeviceRefused, match=rf"oven.xml.*{said}"):
            await served(port, nodesets=[str(path)])

    run(work)
    with pytest.raises(DeviceRefused, match=r"nothing.xml: No such file"):
        in_order([str(tmp_path / "nothing.xml")])
