"""The plane behind a real broker that dies, freezes, forgets, and is shared with strangers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the plane extra")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from edge import DeviceLost, Event, LinesideError, Record, encode_event
from edge.cli import main
from edge.config.load import load_text
from sync import mqtt_line, wire
from sync.broker import BrokerConfig
from sync.control_plane import broker as at_broker
from sync.control_plane import ca
from sync.control_plane.ca import Asked, Authority
from sync.control_plane.invite import Wish, invited
from sync.device import certificate, key, transport
from sync.device.certificate import EARLY, Certificate
from sync.device.enrolment import enroll as enrol
from sync.device.identity import Identity
from sync.device.mqtt import Mqtt
from sync.device.transport import Refused, Rejected, Stranger, TooLarge
from sync.invitation import token
from sync.mqtt_line import Line, Message, trusting
from tests.broker import Broker
from tests.sync.test_spine import Rig, rig

pytestmark = pytest.mark.system
KEY = wire.key_of("s")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker", "max_packet_size 50000") as broker:
        yield broker


async def asked(
    broker: Broker, says: Callable[[Message], tuple[str, bytes, str]] | None, body: bytes = b"x", there: bool = True
) -> bytes:
    """What a device makes of a far side that answers with (status, body, key of its proof), or not at all."""
    url = f"mqtt://127.0.0.1:{broker.port}"
    far, near = Line(url, "far"), Mqtt(BrokerConfig(url=url), Identity("d", "https://x", "s", "", ""), Path("none"))
    await far.open()
    answers = []

    def heard(message: Message) -> None:
        if says is not None:
            status, body, key = says(message)
            words = {"status": status, "proof": wire.proof(key, "answer", message.number, status, body)}
            publish = far.publish(wire.down("d"), body, 0, message.number, words if key else {"status": status})
            answers.append(asyncio.ensure_future(publish))

    try:
        if there:
            await far.listen(wire.EVERY_DEVICE, heard)
        return await near.exchange("POST", "/d/v1/up", body, timeout=2.0)
    finally:
        near.close()
        far.close()


ANSWERS: dict[str, tuple[tuple[str, bytes, str], type[LinesideError], str]] = {
    "a no": (("400", b'{"detail": "because"}', KEY), Refused, "400 because"),
    "too large": (("413", b"", KEY), TooLarge, "413"),
    "never": (("422", b'{"detail": "junk"}', KEY), Rejected, "422 junk"),
    "a fault": (("503", b'{"detail": "the disk is full"}', KEY), DeviceLost, "503: the disk is full"),
    "a stranger": (("401", b"", ""), Stranger, "does not know this device"),
    "a forged acknowledgement": (("200", wire.pack_ack({}), "another"), DeviceLost, "not the plane's is not believed"),
    "no proof": (("200", wire.pack_ack({}), ""), DeviceLost, "not the plane's is not believed"),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_every_answer_has_its_meaning(broker: Broker, what: str) -> None:
    answer, fault, words = ANSWERS[what]
    with pytest.raises(LinesideError, match=words) as caught:
        asyncio.run(asked(broker, lambda message: answer))
    assert type(caught.value) is fault and caught.value.heals


def test_a_broker_that_took_it_is_no_plane_that_took_it(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asyncio.run(asked(broker, lambda message: ("200", message.body, KEY))) == b"x"
    with pytest.raises(DeviceLost, match=r"no plane listens .* with --broker"):
        asyncio.run(asked(broker, None, there=False))
    with pytest.raises(TooLarge, match="60,000 bytes, and the broker takes 50,000"):
        asyncio.run(asked(broker, None, b"x" * 60_000))
    monkeypatch.setattr(transport, "GRACE", -1.5)
    with pytest.raises(DeviceLost, match=r"no answer of the plane through .* within 0\.5 s"):
        asyncio.run(asked(broker, None))


def test_a_broker_killed_and_frozen_loses_and_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(it: Rig) -> None:
        async def some() -> bool:
            return await it.count() > 10

        await it.until(some)
        monkeypatch.setattr(mqtt_line, "CONNECT_WITHIN", 1.0)
        monkeypatch.setattr(transport, "GRACE", -7.0)  # seconds: the live lane gives up after three

        async def waits() -> bool:
            return it.daemon.health.part("sync").state == "waiting"

        broker = it.broker
        assert broker is not None
        for fault, healed in ((broker.kill, broker.start), (broker.freeze, broker.thaw), (broker.kill, broker.start)):
            before = await it.count()

            async def more(before: int = before) -> bool:
                return await it.count() > before + 10

            await it.until(more, 60)
            await asyncio.to_thread(fault)
            await it.until(waits, 60)
            sealed = it.daemon.journal.totals.sealed

            async def kept(sealed: int = sealed) -> bool:
                return it.daemon.journal.totals.sealed > sealed + 2

            await it.until(kept)
            await asyncio.to_thread(healed)
            await it.until(more, 60)
        assert await it.all_arrived() == it.daemon.journal.totals.appended

    rig(tmp_path, work, "mqtts")


def test_what_is_sent_again_since_the_answer_was_lost_is_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truly, came, lost = at_broker.ask, [], [0]

    async def forgetful(app: Any, device: str, line: str, body: bytes, by: str) -> tuple[int, bytes]:
        answer = await truly(app, device, line, body, by)  # after COMMIT
        if line == "POST /d/v1/up":
            came.extend((frame.stream, frame.seq) for frame in wire.unpack(body))
            lost[0] += 1
            return (503, b"") if lost[0] in (1, 3) else answer
        return answer

    monkeypatch.setattr(at_broker, "ask", forgetful)

    async def work(it: Rig) -> None:
        async def some() -> bool:
            return lost[0] > 4

        await it.until(some)
        assert await it.all_arrived() == it.daemon.journal.totals.appended
        assert len(came) > len(set(came)), "some came twice"

    rig(tmp_path, work, "mqtts")


def test_what_the_broker_took_and_nobody_answered_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker says that it has it (PUBACK); the plane does nothing with it; then the broker ends, and remembers nothing."""
    swallowed = []

    async def ends(self: Any, line: Line, message: Message) -> None:
        swallowed.append(message.said["ask"])

    async def work(it: Rig) -> None:
        async def some() -> bool:
            return await it.count() > 10

        async def gone() -> bool:
            return swallowed.count("POST /d/v1/up") > 0

        await it.until(some)
        monkeypatch.setattr(at_broker.AtBroker, "_answer", ends)
        await it.until(gone)
        monkeypatch.undo()
        assert it.broker is not None
        await asyncio.to_thread(it.broker.kill)
        await asyncio.to_thread(it.broker.start)
        assert await it.all_arrived() == it.daemon.journal.totals.appended
        assert await it.events("reader") == [], "the cursor had not moved; else the plane is said to lack what it had"

    rig(tmp_path, work, "mqtts")


def test_a_plane_that_has_too_much_to_do_says_so_and_gets_it_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(it: Rig) -> None:
        async def full() -> bool:
            return "answers 503" in it.daemon.health.part("sync").reason

        async def some() -> bool:
            return await it.count() > 10

        await it.until(some)
        monkeypatch.setattr(at_broker, "MOST_WAITING", -1)
        await it.until(full)
        monkeypatch.undo()
        assert await it.all_arrived() == it.daemon.journal.totals.appended

    rig(tmp_path, work, "mqtts")


class Open(Rig):
    """Its broker lets everybody in."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "mqtts")
        assert self.broker is not None
        text = self.broker.config.read_text()
        for option in ("require_certificate", "use_identity_as_username", "allow_anonymous", "acl_file"):
            text = re.sub(f"{option} .*\n", "allow_anonymous true\n" if option == "allow_anonymous" else "", text)
        self.broker.config.write_text(text)


def test_who_proves_nothing_is_answered_with_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with Open(tmp_path) as it:
            await work(it)

    async def work(it: Rig) -> None:
        assert it.broker is not None
        url = f"mqtts://127.0.0.1:{it.broker.port}"
        line = Line(url, "stranger", context=trusting(known=it.plane.authority.pem))
        await line.open()
        secret = json.loads((it.folder / "dev" / "identity.json").read_text())["secret"]
        answers: dict[bytes, Message] = {}
        await line.listen("lineside/1/+/dn", lambda message: answers.update({message.number: message}))

        async def status(number: bytes, device: str, key: str, words: str, body: bytes) -> str:
            said = {"ask": words, "proof": wire.proof(key, "ask", number, words, body)}
            await line.publish(wire.up(device), body, number=number, said=said)

            async def came() -> bool:
                return number in answers

            await it.until(came)
            return answers[number].said["status"]

        mine, event = wire.key_of(secret), encode_event(Event("x", "told"))
        told = wire.pack("f" * 16, [Record("event", 1, event)])
        assert await status(b"1", "dev-2", mine, "POST /d/v1/up", told) == "401"
        assert await status(b"2", "dev-1", wire.key_of("guess"), "POST /d/v1/up", told) == "401"
        assert await status(b"3", "dev-1", mine, "POST /d/v1/up", b"garbage") == str(wire.REJECTED)
        assert await status(b"4", "dev-1", mine, "GET /d/v1/none", b"") == "404"
        assert await status(b"5", "dev-1", mine, "", b"") == "404"
        assert await it.events("x") == []
        assert await status(b"6", "dev-1", mine, "POST /d/v1/up", told) == "200"
        answers.clear()
        assert await status(b"6", "dev-1", mine, "POST /d/v1/up", told) == "200", "again is no harm"
        assert await it.events("x") == [("told", "")]
        line.close()

    asyncio.run(main())


def test_the_broker_of_the_plane_lets_in_its_devices_and_each_to_its_own(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        assert it.broker is not None
        url, known = f"mqtts://127.0.0.1:{it.broker.port}", it.plane.authority.pem
        with pytest.raises(DeviceLost, match="the broker at"):
            nobody = Line(url, "nobody", context=trusting(known=known))
            await nobody.open()
            await nobody.publish(wire.up("dev-1"), b"")
        folder = it.folder / "two"
        folder.mkdir()
        two = Certificate(folder, Identity("dev-2", it.plane.url, "", known, key.made()))

        async def signs(method: str, path: str, body: bytes) -> bytes:
            return it.plane.authority.client(Asked.read(body))

        await two.renew(signs)
        assert 0 < two.over < EARLY and two.path.stat().st_mode & 0o077 == 0
        context = trusting(known=known)
        two.show(context)
        line, heard = Line(url, "two", context=context), asyncio.Queue[Message]()
        await line.open()
        await line.listen("lineside/1/+/dn", heard.put_nowait)
        with pytest.raises(mqtt_line.Refused, match="Not authorized"):
            await line.publish(wire.up("dev-1"), b"")
        plane = Line(url, "plane", context=trusting("", *map(str, it.plane.authority.own(at_broker.NAME)), known))
        await plane.open()
        for device in ("dev-1", "dev-2"):
            await plane.publish(wire.down(device), device.encode())
        assert (await heard.get()).body == b"dev-2", "what another device is answered it does not hear"
        assert await it.all_arrived() == it.daemon.journal.totals.appended
        line.close()
        plane.close()
        nobody.close()

    rig(tmp_path, work, "mqtts")


def test_a_certificate_is_renewed_in_time_through_the_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ca, "CLIENT_DAYS", 0.4)  # a day of it is over at the beginning
    monkeypatch.setattr(certificate, "AGAIN", 0.0)

    async def work(it: Rig) -> None:
        seen = set()

        async def three() -> bool:
            file = it.folder / "dev" / "device.pem"
            seen.add(file.read_bytes() if file.exists() else b"")
            return len(seen - {b""}) >= 3

        await it.until(three)
        assert await it.all_arrived() == it.daemon.journal.totals.appended

    rig(tmp_path, work, "mqtts")


def test_a_certificate_of_no_use_is_none(tmp_path: Path) -> None:
    mine, other = Authority(tmp_path / "mine"), Authority(tmp_path / "other")
    me = Identity("dev-1", "https://x", "s", mine.pem, key.made())

    def kept(authority: Authority, device: str) -> Certificate:
        async def signs(method: str, path: str, body: bytes) -> bytes:
            return authority.client(replace(Asked.read(body), device=device))

        found = Certificate(tmp_path, me)
        asyncio.run(found.renew(signs))
        return Certificate(tmp_path, me)

    assert kept(mine, "dev-1").over < EARLY
    assert kept(mine, "dev-2").over == 1 and kept(other, "dev-1").over == 1
    (tmp_path / "device.pem").write_text("junk")
    assert Certificate(tmp_path, me).over == 1 and Certificate(tmp_path / "none", me).over == 1


def test_a_request_for_a_certificate_that_is_none_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, at_broker.NAME)])

    def request(key: Any) -> bytes:
        signed = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    for body in (b"", b"junk", authority.pem.encode(), request(rsa.generate_private_key(65537, 2048))):
        with pytest.raises(wire.WireFault, match="no request"):
            Asked.read(body)
    for curve in (ec.SECP384R1(), ec.SECP256K1()):
        with pytest.raises(wire.WireFault, match="no request"):
            Asked.read(request(ec.generate_private_key(curve)))
    fresh = ec.generate_private_key(ec.SECP256R1())
    asked = Asked.read(request(fresh))
    assert asked.key == ca.hash_of(fresh.public_key()) and asked.device == at_broker.NAME
    spoiled = request(fresh).replace(b"MI", b"MJ", 1)
    with pytest.raises(wire.WireFault, match="no request"):
        Asked.read(spoiled)


def test_nobody_enrols_under_the_plane_s_own_names(tmp_path: Path) -> None:
    async def work(it: Rig) -> None:
        for name in (at_broker.NAME, ca.PROXY, "@plane", "a/b"):
            words = token(it.plane.url, it.plane.authority.fingerprint, await invited(it.plane.store, Wish()))
            with pytest.raises(LinesideError, match="the plane said no: that is no device id"):
                await asyncio.to_thread(enrol, words, name, it.folder / "other")

    rig(tmp_path, work)


def test_the_files_of_a_broker_are_written_for_its_owner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["plane", "broker", "--folder", str(tmp_path), "--name", "broker.example", "--broker-port", "18883"]) == 0
    )
    said = capsys.readouterr().out
    assert f"mosquitto -c {tmp_path}/broker/mosquitto.conf" in said and "mqtts://broker.example:18883" in said
    assert {file.stat().st_mode & 0o077 for file in (tmp_path / "broker").iterdir()} == {0}
    assert "listener 18883 127.0.0.1\n" in (tmp_path / "broker" / "mosquitto.conf").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ('url: "http://x"', "is no plane; write https://host:8443, or mqtts://host:8883"),
        ('url: "mqtt://x"', "is no plane; write https://host:8443, or mqtts://host:8883"),
        ('url: "mqtts://x/y"', "is no broker"),
        ('url: "mqtts://me:pw@x"', "user and password have options of their own"),
        ('url: "https://x", user: me', "are for a broker"),
    ],
)
def test_options_that_cannot_be(options: str, words: str) -> None:
    (problem,) = load_text(f"device: {{id: a}}\nsync: {{{options}}}\n").problems
    assert words in str(problem)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--broker", "mqtt://x"], "with TLS only"),
        (["--broker", "mqtts://x/y"], "'mqtts://x/y' is no broker"),
        (["--broker", "mqtts://x", "--broker-ca", "none.pem"], "there is no none.pem"),
        (["--broker", "mqtts://x", "--broker-password", "none"], "No such file"),
    ],
)
def test_a_plane_with_no_broker_says_so(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plane", "--folder", str(tmp_path), *options]) == 2
    assert words in capsys.readouterr().err
