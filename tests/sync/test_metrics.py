"""Values and health as Prometheus reads them, asked over real sockets."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge import SECOND, Batch, Quality, listen_at
from edge.app import Daemon
from edge.bench.process import free_port
from edge.config.load import load_text
from sync.device.metrics import PAGE, number
from tests.northbound import port_is_taken, with_reader

SITE = """
device: {{id: press-4}}
drivers:
  plc:
    driver: modbus
    url: tcp://127.0.0.1:1
    every: 1h
    tags:
      temp: {{address: "holding:0", unit: "°C"}}
      odd: {{address: "holding:1", unit: 'a"b\\c'}}
      bad: {{address: "holding:2"}}
      recipe: {{address: "holding:3", type: text, length: 4}}
alarms:
  hot: {{when: "plc.temp > 70", severity: high}}
  odd: {{when: "plc.odd > 70"}}
metrics: {{listen: "127.0.0.1:{port}"{more}}}
"""
SCRAPE = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: lineside
    authorization: {{credentials: s3cret}}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
START = 1_800_000_000 * SECOND


def ask(port: int, path: str = "/metrics", *, method: str = "GET", **headers: str) -> tuple[int, str, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def samples(page: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """{(name, labels): value}, as Prometheus' own client reads it. No series may come twice."""
    found = [
        ((sample.name, tuple(sorted(sample.labels.items()))), sample.value)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


with_daemon = partial(with_reader, "metrics", SITE)


def fill(daemon: Daemon) -> None:
    table = daemon.table
    recipe = table.texts.value(table["plc.recipe"].id, 'A "7"\\')
    values = {"temp": 71.5, "odd": -1e300, "bad": math.nan, "recipe": recipe}
    ids = [table[f"plc.{name}"].id for name in values]
    quality = [Quality.GOOD, Quality.CLOCK_UNSURE, Quality.TIMEOUT, Quality.GOOD]
    daemon.accept(Batch.of("plc", ids, list(values.values()), START, quality))


def test_the_page_is_what_prometheus_reads(tmp_path: Path) -> None:
    async def work(daemon: Daemon, port: int) -> None:
        fill(daemon)
        await daemon.journal.commit(seal=True)
        status, page, headers = await asyncio.to_thread(ask, port)
        assert (status, headers["Content-Type"]) == (200, PAGE)
        found = samples(page)
        temp = (("tag", "plc.temp"), ("unit", "°C"))
        assert found["lineside_tag_value", temp] == 71.5
        assert found["lineside_tag_value", (("tag", "plc.odd"), ("unit", 'a"b\\c'))] == -1e300
        assert found["lineside_tag_timestamp_seconds", temp] == START / SECOND
        assert ("lineside_tag_value", (("tag", "plc.bad"),)) not in found
        assert found["lineside_tag_quality", (("tag", "plc.bad"),)] == Quality.TIMEOUT
        assert found["lineside_tag_text", (("tag", "plc.recipe"), ("text", 'A "7"\\'))] == 1
        assert ("lineside_tag_value", (("tag", "plc.recipe"),)) not in found
        hot = (("alarm", "hot"), ("severity", "high"))
        assert (found["lineside_alarm_active", hot], found["lineside_alarm_acked", hot]) == (1, 0)
        assert [v for (name, given), v in found.items() if name == "lineside_alarm_active" and given != hot] == [0]
        assert found["lineside_samples_total", ()] >= found["lineside_samples_durable_total", ()] > 0
        assert found["lineside_journal_up", ()] == 1 and found["lineside_journal_bytes", ()] > 4096
        assert found["lineside_part_state", (("part", "metrics"), ("state", "running"))] == 1
        assert found["lineside_part_state", (("part", "plc"), ("state", "running"))] == 0
        assert found["lineside_part_restarts_total", (("part", "plc"),)] >= 1
        assert abs(found["process_start_time_seconds", ()] - daemon.clock.utc() / SECOND) < 24 * 3600
        assert found["process_resident_memory_bytes", ()] > 1e6 and found["process_cpu_seconds_total", ()] > 0
        assert sum(name == "lineside_info" for name, _ in found) == 1

    with_daemon(tmp_path, work)


def test_promtool_finds_nothing_wrong(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool here; `make system-packages` installs it")

    async def work(daemon: Daemon, port: int) -> None:
        fill(daemon)
        _, page, _ = await asyncio.to_thread(ask, port)
        pages.append(page)

    pages: list[str] = []
    with_daemon(tmp_path, work)
    told = subprocess.run([promtool, "check", "metrics"], input=pages[0], capture_output=True, text=True)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


def test_a_real_prometheus_scrapes_it(tmp_path: Path, process: list[Any]) -> None:
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        pytest.skip("no prometheus here; `make system-packages` installs it")
    own = free_port()

    def starts(port: int) -> None:
        (tmp_path / "prometheus.yml").write_text(SCRAPE.format(port=port))
        places = [f"--storage.tsdb.path={tmp_path / 'tsdb'}", f"--web.listen-address=127.0.0.1:{own}"]
        command = [prometheus, f"--config.file={tmp_path / 'prometheus.yml'}", *places]
        process.append(subprocess.Popen(command, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def seen(query: str) -> list[Any]:
        try:
            status, body, _ = ask(own, f"/api/v1/query?query={urllib.parse.quote(query)}")
        except OSError:
            return []
        return json.loads(body)["data"]["result"] if status == 200 else []  # it says in words that it is not ready yet

    async def work(daemon: Daemon, port: int) -> None:
        fill(daemon)
        await asyncio.to_thread(starts, port)
        while not (found := await asyncio.to_thread(seen, 'lineside_tag_value{tag="plc.temp"}')):
            await asyncio.sleep(0.05)
        assert found[0]["value"][1] == "71.5" and found[0]["metric"]["unit"] == "°C"
        assert (await asyncio.to_thread(seen, "up"))[0]["value"][1] == "1"

    with_daemon(tmp_path / "state", work, ", token: s3cret")


def test_the_journal_keeps_nothing_for_it(tmp_path: Path) -> None:
    async def work(daemon: Daemon, port: int) -> None:
        assert daemon.journal.readers == set() and "metrics" in daemon.readers
        _, page, _ = await asyncio.to_thread(ask, port)
        assert not any(name.startswith("lineside_backlog") for name, _ in samples(page))

    with_daemon(tmp_path, work)


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    async def work(daemon: Daemon, port: int) -> None:
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret"}):
            status, words, headers = await asyncio.to_thread(lambda given=given: ask(port, **given))
            assert status == 401 and "Bearer" in headers["WWW-Authenticate"] and "plc" not in words
        status, page, _ = await asyncio.to_thread(lambda: ask(port, Authorization="Bearer s3cret"))
        assert status == 200 and "s3cret" not in page

    with_daemon(tmp_path, work, ", token: s3cret")


def test_other_requests_are_told_what_there_is(tmp_path: Path) -> None:
    async def work(daemon: Daemon, port: int) -> None:
        assert (await asyncio.to_thread(ask, port, "/"))[:2] == (404, "there is only /metrics\n")
        assert (await asyncio.to_thread(ask, port, "/metrics?name=x"))[0] == 200
        assert (await asyncio.to_thread(lambda: ask(port, method="POST")))[0] == 405
        status, page, headers = await asyncio.to_thread(lambda: ask(port, method="HEAD"))
        assert (status, page) == (200, "") and int(headers["Content-Length"]) > 100
        for words in (b"hello\r\n\r\n", b"GET /metrics\r\n\r\n", b"GET /" + b"a" * 10_000, b"\x00\xff\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(words)
            writer.write_eof()
            assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
            writer.close()
        assert (await asyncio.to_thread(ask, port))[0] == 200

    with_daemon(tmp_path, work)


def test_callers_that_say_nothing_leave_room_and_then_do_not(tmp_path: Path) -> None:
    async def work(daemon: Daemon, port: int) -> None:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(16)]
        while (await asyncio.to_thread(ask, port))[0] != 503:
            await asyncio.sleep(0)
        for _, writer in silent:
            writer.close()
        while (await asyncio.to_thread(ask, port))[0] != 200:
            await asyncio.sleep(0)

    with_daemon(tmp_path, work)


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    why = port_is_taken("metrics", SITE, tmp_path)
    assert "Address already in use" in why and "`listen:`" in why


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("listen: '0.0.0.0:9464'", "would read every value; add `token: !secret NAME`"),
        ("listen: '[::]:9464'", "would read every value"),
        ("listen: '9464'", "is no address to listen on"),
        ("listen: 'localhost:9464'", "is no address to listen on"),
        ("listen: '127.0.0.1:0'", "is no address to listen on"),
        ("listen: '127.0.0.1:99999'", "is no address to listen on"),
        ("token: 'a b'", "without spaces"),
        ("tokn: x", "did you mean 'token'"),
    ],
)
def test_options_that_cannot_be(options: str, words: str) -> None:
    (problem,) = load_text(f"device: {{id: a}}\nmetrics: {{{options}}}\n").problems
    assert words in str(problem)


def test_a_driver_of_the_same_name_is_refused() -> None:
    driver = "metrics: {driver: modbus, url: 'tcp://h', tags: {t: {address: 'coil:0'}}}"
    (problem,) = load_text(f"device: {{id: a}}\ndrivers:\n  {driver}\nmetrics: {{}}\n").problems
    assert "'metrics' is what `metrics:` runs under" in str(problem) and ":3:" in str(problem)


def test_places_and_numbers() -> None:
    assert listen_at("[::1]:80") == ("::1", 80) and listen_at("127.0.0.1:9464") == ("127.0.0.1", 9464)
    assert [number(x) for x in (0, -3.0, 0.1, 1e16, 2**53, True)] == [
        "0",
        "-3",
        "0.1",
        "1e+16",
        "9007199254740992.0",
        "1",
    ]
    assert not load_text("device: {id: a}\nmetrics: {}\n").problems
    assert not load_text("device: {id: a}\nmetrics: {listen: '0.0.0.0:9464', token: x}\n").problems
